# SPDX-License-Identifier: Apache-2.0
"""What every gradient object does, be it one of expectation values or one of probabilities.

A *half* says what is asked of a circuit, and of which primitives: observables of estimators, or
measured bits of samplers. The contracts say what must come of it, and know of neither. Numbers are
arrays ``(C, F)``: derivatives of ``F`` functions, one expectation value or all probabilities, with
respect to ``C`` parameters.
"""

from __future__ import annotations

import copy
import pickle
from typing import ClassVar

import numpy as np
import pytest
import torch
from circuits import hybrid, nonlinear, rotation
from estimators import CountingEstimator
from qiskit.circuit import ClassicalRegister, Parameter, QuantumCircuit
from qiskit.primitives import (
    BackendEstimatorV2,
    BackendSamplerV2,
    StatevectorEstimator,
    StatevectorSampler,
)
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_aer import AerSimulator
from qiskit_aer.primitives import EstimatorV2 as AerEstimator
from qiskit_aer.primitives import SamplerV2 as AerSampler
from qiskit_algorithms.gradients import BaseEstimatorGradient, BaseSamplerGradient
from reference import jacobian, statevector
from samplers import CountingSampler, ExactSampler

from qiskit_torch_bridge.exceptions import (
    EstimatorTypeError,
    GradientError,
    InputError,
    SamplerTypeError,
)
from qiskit_torch_bridge.jobs import DispatchingEstimator, DispatchingSampler
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator, BatchedStatevectorSampler
from qiskit_torch_bridge.program import analysis

Z, ZI, XX = SparsePauliOp("Z"), SparsePauliOp("ZI"), SparsePauliOp(["XX", "ZZ"], [0.5, -1.0])
VALUES = [0.1, -0.2, 0.3, 0.4, -0.5]
OTHERS = [0.3, 0.2, 0.1, 0.0, -0.1]


class UnusedEstimator(StatevectorEstimator):
    def run(self, *_, **__):
        raise AssertionError("a job was submitted")


class UnusedSampler(StatevectorSampler):
    def run(self, *_, **__):
        raise AssertionError("a job was submitted")


class OfEstimators:
    """Expectation values: what is asked is an observable."""

    base, refusal, word = BaseEstimatorGradient, EstimatorTypeError, "BaseEstimatorV2"
    effort, efforts = "precision", (0.05, 0.2, [0.1, 0.3])
    first, second, single = ZI, XX, Z
    pubs_of_entries = 2
    exact, counting, unused = BatchedStatevectorEstimator, CountingEstimator, UnusedEstimator
    classes = (BatchedStatevectorEstimator,)
    defaults: ClassVar = {
        "StatevectorEstimator": lambda: StatevectorEstimator(default_precision=0.2),
        "BatchedStatevectorEstimator": lambda: BatchedStatevectorEstimator(default_precision=0.2),
        "Aer": lambda: AerEstimator(options={"default_precision": 0.2}),
        "backend": lambda: BackendEstimatorV2(
            backend=AerSimulator(), options={"default_precision": 0.2}
        ),
        "dispatching": lambda: DispatchingEstimator([StatevectorEstimator(default_precision=0.2)]),
    }
    default, given = 0.2, (0.5, 0.4)
    sampled = staticmethod(lambda: (BatchedStatevectorEstimator(seed=2), {"precision": 0.1}))

    @staticmethod
    def efforts_of(counting):
        return counting.precisions

    @staticmethod
    def run(gradient, entries, **options):
        """Run entries (circuit, asked, values, parameters) of which parameters may be left out."""
        columns = [list(c) for c in zip(*((*e, None)[:4] for e in entries), strict=True)]
        return gradient.run(*columns, **options).result()

    @staticmethod
    def numbers(found, asked):
        return np.asarray(found)[:, None]

    @staticmethod
    def right(circuit, asked, values):
        point = torch.tensor(values, dtype=torch.float64)
        return jacobian(circuit, [asked], list(circuit.parameters), point)[0].numpy()[:, None]


class OfSamplers:
    """Probabilities: what is asked is a list of registers, each with the qubits of its bits.

    Of a bit that is nothing measured into, the qubit is ``None``.
    """

    base, refusal, word = BaseSamplerGradient, SamplerTypeError, "BaseSamplerV2"
    effort, efforts = "shots", (400, 25, [100, 11])
    first, second, single = ((1, 0),), ((None, 0), (1,)), ((0,),)
    pubs_of_entries = 3  # one for each circuit, and what it measures is part of it
    exact, counting, unused = ExactSampler, CountingSampler, UnusedSampler
    classes = (BatchedStatevectorSampler,)
    defaults: ClassVar = {
        "StatevectorSampler": lambda: StatevectorSampler(default_shots=25),
        "BatchedStatevectorSampler": lambda: BatchedStatevectorSampler(default_shots=25),
        "Aer": lambda: AerSampler(default_shots=25),
        "backend": lambda: BackendSamplerV2(backend=AerSimulator(), options={"default_shots": 25}),
        "dispatching": lambda: DispatchingSampler([StatevectorSampler(default_shots=25)]),
    }
    default, given = 25, (4, 7)
    sampled = staticmethod(lambda: (BatchedStatevectorSampler(seed=2), {"shots": 100}))

    @staticmethod
    def efforts_of(counting):
        return counting.shots

    @staticmethod
    def measured(circuit, asked):
        measured = circuit.copy()
        for k, qubits in enumerate(asked):
            register = ClassicalRegister(len(qubits), f"c{k}")
            measured.add_register(register)
            for clbit, qubit in zip(register, qubits, strict=True):
                if qubit is not None:
                    measured.measure(qubit, clbit)
        return measured

    @classmethod
    def run(cls, gradient, entries, **options):
        """Run entries (circuit, asked, values, parameters) of which parameters may be left out."""
        full = [(*e, None)[:4] for e in entries]
        made = {(id(e[0]), e[1]): cls.measured(e[0], e[1]) for e in full}
        circuits = [made[id(e[0]), e[1]] for e in full]
        return gradient.run(
            circuits, [e[2] for e in full], [e[3] for e in full], **options
        ).result()

    @staticmethod
    def numbers(found, asked):
        array = np.zeros((len(found), 1 << sum(map(len, asked))))
        for row, of_parameter in zip(array, found, strict=True):
            row[list(of_parameter)] = list(of_parameter.values())
        return array

    @staticmethod
    def right(circuit, asked, values):
        """Probabilities of bit strings, the first register's bits lowest."""
        bits = [qubit for register in asked for qubit in register]
        states = np.arange(1 << circuit.num_qubits)
        integers = sum((states >> q & 1) << b for b, q in enumerate(bits) if q is not None)

        def probabilities(point):
            psi = statevector(circuit, list(circuit.parameters), point)
            found = torch.zeros(1 << len(bits), dtype=torch.float64)
            return found.index_add(0, torch.from_numpy(integers), psi.abs() ** 2)

        point = torch.tensor(values, dtype=torch.float64)
        return torch.func.jacrev(probabilities)(point).numpy().T


class GradientContract:
    """What every gradient object does, whatever it is made of. A half comes along with it."""

    kind: ClassVar[type]
    tolerance = 1e-10

    def make(self, primitive=None, **options):
        return self.kind(self.exact() if primitive is None else primitive, **options)

    def assert_right(self, found, right, tolerance=None):
        atol = self.tolerance if tolerance is None else tolerance
        np.testing.assert_allclose(found, right, rtol=0, atol=atol)

    def assert_gradient(self, gradient, circuit, asked=None, values=VALUES, tolerance=None):
        asked = self.second if asked is None else asked
        result = self.run(gradient, [(circuit, asked, values)])
        found = self.numbers(result.gradients[0], asked)
        self.assert_right(found, self.right(circuit, asked, values), tolerance)

    def test_it_is_one_of_theirs_and_is_right(self):
        primitive = self.exact()
        gradient = self.make(primitive)
        assert isinstance(gradient, self.base)
        assert primitive in (getattr(gradient, name, None) for name in ("estimator", "sampler"))
        circuit = hybrid()
        result = self.run(gradient, [(circuit, self.second, VALUES)])
        found = self.numbers(result.gradients[0], self.second)
        self.assert_right(found, self.right(circuit, self.second, VALUES))
        assert result.metadata[0]["parameters"] == list(circuit.parameters)

    def test_non_linear_parameters(self):
        self.assert_gradient(self.make(), nonlinear())

    def entries(self, primitive):
        """Gradients of two circuits, two things asked, two points and some parameters."""
        circuit, other = hybrid(), rotation()[0]
        subset = [circuit.parameters[3], circuit.parameters[1]]
        entries = [
            (circuit, self.first, VALUES),
            (other, self.single, [0.4]),
            (circuit, self.second, VALUES),
            (circuit, self.first, OTHERS, subset),
        ]
        return entries, self.run(self.make(primitive), entries)

    def check_entries(self, primitive, exact=True):
        entries, result = self.entries(primitive)
        chosen = [slice(None)] * 3 + [[3, 1]]
        for (circuit, asked, values, *_), columns, found, stds in zip(
            entries, chosen, result.gradients, result.stds, strict=True
        ):
            right = self.right(circuit, asked, values)[columns]
            self.assert_right(self.numbers(found, asked), right)
            assert stds is None or not self.numbers(stds, asked).any()
        assert [len(m["parameters"]) for m in result.metadata] == [5, 1, 5, 2]

    def test_entries_of_several_circuits_observables_and_parameters(self):
        self.check_entries(self.exact())

    def test_rows_are_named_by_entry(self):
        circuit, _ = rotation()
        with pytest.raises(InputError, match="row 2 has nan for parameter 'theta'"):
            values = [[0.1], [0.2], [np.nan]]
            self.run(self.make(), [(circuit, self.single, v) for v in values])

    def test_a_circuit_changed_in_place_is_analysed_again(self):
        gradient, circuit = self.make(), hybrid()
        self.assert_gradient(gradient, circuit)
        circuit.ry(circuit.parameters[0], 1)
        self.assert_gradient(gradient, circuit)

    def test_it_can_be_pickled_and_copied(self):
        gradient = self.make()
        circuit, _ = rotation()
        right = self.right(circuit, self.single, [0.5])
        for one in (gradient, pickle.loads(pickle.dumps(gradient)), copy.deepcopy(gradient)):
            found = self.run(one, [(circuit, self.single, [0.5])]).gradients[0]
            self.assert_right(self.numbers(found, self.single), right)

    def test_the_primitive_must_be_one(self):
        for wrong in (3, "aer", *self.classes):
            with pytest.raises(self.refusal, match=self.word):
                self.kind(wrong)

    def test_arguments_must_be_lists_that_belong_together(self):
        gradient, circuit = self.make(self.unused()), rotation()[0]
        asked = [[Z]] if self.base is BaseEstimatorGradient else []
        for circuits, values in ((3, [[0.1]]), ([], [[0.1]]), ([circuit], [["x"]])):
            with pytest.raises((GradientError, InputError), match="Expected"):
                gradient.run(circuits, *asked, values)


class EvaluationsContract(GradientContract):
    """What gradients made of evaluations do: one run, one PUB a circuit, the effort as asked."""

    def test_entries_that_share_a_circuit_share_one_pub(self):
        counting = self.counting()
        self.entries(counting)
        assert len(counting.runs) == 1 and len(counting.runs[0]) == self.pubs_of_entries

    def test_equal_entries_have_independent_shots(self):
        """Four hundred requests for one gradient are as many samples of it."""
        n, (circuit, _) = 400, rotation()
        primitive, options = self.sampled()
        result = self.run(self.make(primitive, **options), [(circuit, self.single, [0.3])] * n)
        samples = np.array([self.numbers(g, self.single)[0, 0] for g in result.gradients])
        errors = np.array([self.numbers(s, self.single)[0, 0] for s in result.stds])
        # chi-square with 399 degrees of freedom is within 35 % of its mean at a level of 1e-6
        assert samples.var() == pytest.approx(np.mean(np.square(errors)), rel=0.35)

    def test_nothing_is_analysed_or_transpiled_twice(self, monkeypatch):
        transpiled = []

        class PassManager:
            def run(self, circuit, **options):
                transpiled.append(options)
                return generate_preset_pass_manager(
                    1, basis_gates=["rz", "sx", "x", "cx"], initial_layout=[1, 0]
                ).run(circuit)

        gradient = self.make(transpiler=PassManager(), transpiler_options={"flag": True})
        circuit = hybrid()
        analyses = []
        original = analysis.AnalysedCircuit
        monkeypatch.setattr(
            analysis, "AnalysedCircuit", lambda c, **k: analyses.append(c) or original(c, **k)
        )
        entries = [(circuit, self.second, VALUES), (hybrid(), self.second, OTHERS)]
        for _ in range(4):
            result = self.run(gradient, entries)
        assert transpiled == [{"flag": True}]
        assert sum(c == circuit for c in analyses) == 1  # else of what it was rewritten to
        for (_, asked, values), found in zip(entries, result.gradients, strict=True):
            self.assert_right(self.numbers(found, asked), self.right(circuit, asked, values))

    def test_the_effort_passes_through_unchanged(self):
        counting, circuit = self.counting(), hybrid()
        one, two, three = self.efforts
        entry = (circuit, self.first, VALUES)
        gradient = self.make(counting, **{self.effort: one})
        self.run(gradient, [entry])
        self.run(gradient, [entry], **{self.effort: two})
        self.run(gradient, [entry] * 2, **{self.effort: three})
        assert self.efforts_of(counting) == [one, two, *three]
        self.run(self.make(counting), [entry])
        assert self.efforts_of(counting)[-1] is None

    def test_the_effort_reported_is_the_one_in_use(self):
        entry, (at_run, at_making) = (rotation()[0], self.single, [0.3]), self.given
        for make in self.defaults.values():
            gradient = self.make(make())

            def used(gradient, count, **options):
                return getattr(self.run(gradient, [entry] * count, **options), self.effort)

            assert used(gradient, 1) == self.default
            assert used(gradient, 1, **{self.effort: at_run}) == at_run
            listed = {self.effort: [None, at_run]}
            assert used(gradient, 2, **listed) == [self.default, at_run]
            assert used(self.make(make(), **{self.effort: at_making}), 1) == at_making

    def test_parameters_without_effect_have_gradient_zero_and_cost_nothing(self):
        x, y = Parameter("x"), Parameter("y")
        circuit = QuantumCircuit(1, global_phase=y)
        circuit.h(0)
        circuit.rx(0.3 + 0 * x, 0)
        counting = self.counting()
        entry = (circuit, self.single, [0.1] * circuit.num_parameters)
        (found,) = self.run(self.make(counting), [entry]).gradients
        assert not self.numbers(found, self.single).any() and counting.runs == []

    def test_a_parameter_that_is_but_a_phase(self):
        circuit = QuantumCircuit(1, global_phase=Parameter("x"))
        circuit.h(0)
        counting = self.counting()
        (found,) = self.run(self.make(counting), [(circuit, self.single, [0.1])]).gradients
        assert not self.numbers(found, self.single).any() and counting.runs == []

    def test_a_primitive_is_needed(self):
        with pytest.raises(self.refusal, match=self.word):
            self.kind(None)
