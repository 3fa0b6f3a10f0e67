# SPDX-License-Identifier: Apache-2.0
"""Gradients of probabilities where qiskit-algorithms and others take a gradient of a sampler.

Every class inherits the contract of all gradients; what is special to samplers stands here.
"""

from __future__ import annotations

import contextlib
from typing import ClassVar

import numpy as np
import pytest
from circuits import hybrid, nonlinear, rotation
from gradient_contract import (
    OTHERS,
    VALUES,
    EvaluationsContract,
    GradientContract,
    OfSamplers,
    UnusedSampler,
)
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.circuit.library import PauliEvolutionGate, efficient_su2
from qiskit.primitives import BackendSamplerV2, StatevectorSampler
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import SparsePauliOp, Statevector
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_aer import AerSimulator
from qiskit_aer.primitives import SamplerV2 as AerSampler
from qiskit_algorithms.gradients import (
    FiniteDiffSamplerGradient,
    LinCombSamplerGradient,
    ParamShiftSamplerGradient,
)
from qiskit_algorithms.gradients import SPSASamplerGradient as TheirSPSASamplerGradient
from samplers import CountingSampler, ExactSampler
from strategies import circuits, values

from qiskit_torch_bridge import Tracker
from qiskit_torch_bridge.exceptions import (
    CircuitError,
    ExpressionError,
    GradientError,
    InputTypeError,
    MemoryLimitError,
    PrecisionError,
)
from qiskit_torch_bridge.gradients import (
    AdjointSamplerGradient,
    AQGDSamplerGradient,
    FiniteDifference,
    FiniteDifferenceSamplerGradient,
    ParameterShiftSamplerGradient,
    SPSASamplerGradient,
)
from qiskit_torch_bridge.primitives import BatchedStatevectorSampler

MEASURED: tuple = ((2, None), (0, 1))
"""Of three qubits, into two registers of which one has a bit that nothing is measured into."""
SHOTS = 4_000
Z_LIMIT = 5.5
"""For a few hundred normal deviates, at a level of 1e-5."""


def layered() -> tuple[QuantumCircuit, list[float]]:
    circuit = efficient_su2(3, reps=1)
    return circuit, np.random.default_rng(5).uniform(-3, 3, circuit.num_parameters).tolist()


def assert_within_errors(found, stds, right, bias=0.0):
    """Compare ``(C, F)`` numbers, each of which has a standard error of its own."""
    assert (np.abs(found - right) <= Z_LIMIT * stds + bias).all()


class SamplingsContract(OfSamplers, EvaluationsContract):
    """What gradients made of samples do besides."""

    bias = 0.0

    def check_noise(self, sampler, circuit, asked, values, **options):
        gradient = self.make(sampler, shots=SHOTS, **options)
        result = self.run(gradient, [(circuit, asked, values)])
        found = self.numbers(result.gradients[0], asked)
        stds = self.numbers(result.stds[0], asked)
        right = self.right(circuit, asked, values)
        self.assert_within(found, stds, right)
        return found, stds, right

    def assert_within(self, found, stds, right):
        assert_within_errors(found, stds, right, self.bias)

    def test_estimates_are_right_within_their_standard_errors(self):
        circuit, values = layered()
        for sampler in (StatevectorSampler(seed=1), BatchedStatevectorSampler(seed=1)):
            found, stds, right = self.check_noise(sampler, circuit, MEASURED, values)
            assert stds.any() and not np.allclose(found, right, atol=1e-6)

    def test_parameterized_controlled_gates_are_decomposed_on_the_way_to_aer(self):
        """Which would ignore their angles."""
        circuit = hybrid()
        circuit.cp(circuit.parameters[0], 0, 1)  # two-term on its own, but not on Aer
        circuit.h(0)
        for sampler in (AerSampler(seed=1), BackendSamplerV2(backend=AerSimulator())):
            self.check_noise(sampler, circuit, self.first, VALUES)

    def test_a_transpiled_circuit_is_measured_on_the_qubits_that_it_was_placed_on(self):
        backend = GenericBackendV2(5, coupling_map=[[q, q + 1] for q in range(4)], seed=1)
        manager = generate_preset_pass_manager(
            2, target=backend.target, initial_layout=[3, 1, 4], seed_transpiler=1
        )
        circuit, values = layered()
        counting = CountingSampler(AerSampler(seed=3))
        self.check_noise(counting, circuit, MEASURED, values, transpiler=manager)
        assert [c.num_qubits for c in counting.circuits] == [5]

    def test_gates_that_no_outcome_depends_on_may_be_dropped_by_a_transpiler(self):
        """And with them the parameters: of all there are, or of some."""
        manager = generate_preset_pass_manager(3, basis_gates=["rz", "sx", "x", "cx"])
        a, b = Parameter("a"), Parameter("b")
        circuit = QuantumCircuit(1)
        circuit.rz(a, 0)
        counting = CountingSampler()
        gradient = self.make(counting, transpiler=manager, shots=100)
        result = self.run(gradient, [(circuit, self.single, [0.1])])
        assert result.gradients == [[{}]] and result.stds == [[{}]] and counting.runs == []
        circuit.ry(b, 0)
        circuit.rz(2 * a, 0)
        found, *_ = self.check_noise(
            StatevectorSampler(seed=1), circuit, self.single, [0.1, 0.4], transpiler=manager
        )
        assert found[1].all()

    def test_one_shot_has_no_standard_error(self):
        result = self.run(
            self.make(StatevectorSampler(seed=2), shots=1), [(layered()[0], MEASURED, layered()[1])]
        )
        assert result.stds == [None] and result.shots == 1
        assert any(of_one for of_one in result.gradients[0])

    def test_the_precision_is_that_of_the_shots(self):
        assert self.make(shots=100).precision == 0.1
        assert self.make().precision is None

    @pytest.mark.parametrize("shots", [0, -1, 1.5, float("nan"), "100", True])
    def test_shots_must_be_a_positive_whole_number(self, shots):
        with pytest.raises(PrecisionError, match="shots"):
            self.make(shots=shots)
        with pytest.raises(PrecisionError, match="shots"):
            self.run(self.make(UnusedSampler()), [(hybrid(), self.first, VALUES)], shots=shots)

    def test_a_circuit_must_measure_and_not_before_its_end_on_a_state_vector(self):
        gradient = self.make(UnusedSampler())
        with pytest.raises(CircuitError, match="measure_all"):
            gradient.run([hybrid()], [VALUES]).result()
        early = QuantumCircuit(1, 1)
        early.measure(0, 0)
        early.ry(Parameter("t"), 0)
        early.measure(0, 0)
        with pytest.raises(CircuitError, match="'measure' before its end"):
            gradient.run([early], [[0.1]]).result()


class DisplacementsContract(SamplingsContract):
    """What every rule does that displaces one coordinate at a time."""

    name: ClassVar[str]

    def error_of_two_rotations(self, errors):
        """The standard error for an angle that occurs twice, from those at each shift."""
        raise NotImplementedError

    def test_standard_errors_are_propagated(self):
        r"""An angle that occurs twice: :math:`p_1 = \sin^2\theta`, with ``p (1 - p) / (m - 1)``."""
        circuit, theta = rotation()
        circuit.ry(theta, 0)
        gradient = self.make(StatevectorSampler(seed=1), shots=10_000)
        found = self.run(gradient, [(circuit, self.single, [0.3])]).stds[0][0]

        def error(shift):  # of what the two angles add up to
            p = np.sin((0.6 + shift) / 2) ** 2
            return np.sqrt(p * (1 - p) / 9_999)

        # Its own error is that of p at each point: 1 % of p (1 - p), and half of that of the root.
        right = self.error_of_two_rotations(error)
        assert [found[0], found[1]] == pytest.approx([right, right], rel=0.03)


class TestParameterShift(DisplacementsContract):
    kind = ParameterShiftSamplerGradient

    def error_of_two_rotations(self, errors):
        return np.sqrt(2 * sum(0.25 * errors(s) ** 2 for s in (np.pi / 2, -np.pi / 2)))

    def test_as_theirs_does(self):
        """Parameters of single rotations take the same points: one PUB where theirs takes one."""
        circuit, values = layered()
        counting = CountingSampler(StatevectorSampler(seed=1))
        entry = (circuit, ((2, 0, 1),), values)
        ours = self.run(self.make(counting), [entry] * 2)
        theirs = self.run(ParamShiftSamplerGradient(counting), [entry] * 2)
        points = 2 * circuit.num_parameters
        assert counting.runs == [[(2 * points,)], [(points,), (points,)]]
        for mine, other in zip(ours.gradients, theirs.gradients, strict=True):
            found, reference = self.numbers(mine, entry[1]), self.numbers(other, entry[1])
            stds = self.numbers(ours.stds[0], entry[1])
            # Theirs has errors as large, and none is known where both have never seen an outcome.
            assert_within_errors(found, np.sqrt(2) * np.maximum(stds, 1 / 1024), reference)


class TestAQGD(DisplacementsContract):
    kind = AQGDSamplerGradient

    def error_of_two_rotations(self, errors):
        # Frequencies 1 and 2: the four-term rule of Wierichs et al.
        x = np.array([np.pi / 4, 3 * np.pi / 4])
        y = 1 / (8 * np.sin(x / 2) ** 2)
        pairs = zip(np.r_[x, -x], np.r_[y, y], strict=True)
        return np.sqrt(sum(k**2 * errors(2 * shift) ** 2 for shift, k in pairs))

    def test_non_linear_parameters(self):
        with pytest.raises(GradientError, match="parameter-shift"):
            self.run(self.make(), [(nonlinear(), self.second, VALUES)])

    def test_shifts_do_not_depend_on_what_is_measured(self):
        """Each of the qubits depends on all parameters."""
        circuit, values = layered()
        circuit.cx(0, 1)
        circuit.cx(1, 2)
        circuit.cx(2, 0)
        circuit.cx(0, 1)
        shapes = []
        for asked in (((0,),), ((0, 1, 2),), MEASURED):
            counting = CountingSampler()
            self.run(self.make(counting, shots=10), [(circuit, asked, values)])
            shapes += counting.runs
        assert shapes == [[(2 * circuit.num_parameters,)]] * 3


class TestFiniteDifference(DisplacementsContract):
    kind = FiniteDifferenceSamplerGradient
    tolerance = 1e-7  # with the step of 1e-3 below: its square over six, and frequencies up to 3
    step = (3 / np.sqrt(SHOTS)) ** (1 / 3)
    # Probabilities have third derivatives up to half the cube of the frequency, at most 3 here.
    bias = step**2 / 6 * 27 / 2

    def make(self, primitive=None, **options):
        """Exact values are differenced with a step that suits them."""
        if primitive is None or isinstance(primitive, ExactSampler):
            options.setdefault("epsilon", 1e-4)
        return super().make(primitive, **options)

    def error_of_two_rotations(self, errors):
        h = (3 * 0.01) ** (1 / 3)
        return np.hypot(errors(2 * h), errors(-2 * h)) / (2 * h)

    def test_the_step_is_the_one_that_suits_the_shots(self):
        points = []

        class Noting(StatevectorSampler):
            def run(self, pubs, *, shots=None):
                points.extend(pub.parameter_values.as_array() for pub in pubs)
                return super().run(pubs, shots=shots)

        for shots, taken in ((100, 100), (None, 400)):
            gradient = self.kind(Noting(default_shots=400), shots=shots)
            self.run(gradient, [(rotation()[0], self.single, [0.5])])
            step = (3 / np.sqrt(taken)) ** (1 / 3)
            found = np.ravel(points.pop())
            np.testing.assert_allclose(found, [0.5 + step, 0.5 - step], rtol=1e-12)

    def test_as_theirs_does(self):
        circuit, values = layered()
        entry = (circuit, ((2, 0, 1),), values)
        for method in ("central", "forward", "backward"):
            ours = self.make(StatevectorSampler(seed=1), epsilon=0.3, method=method, shots=SHOTS)
            theirs = FiniteDiffSamplerGradient(
                StatevectorSampler(seed=2), epsilon=0.3, method=method, shots=SHOTS
            )
            mine, other = self.run(ours, [entry]), self.run(theirs, [entry])
            found = self.numbers(mine.gradients[0], entry[1])
            stds = np.maximum(self.numbers(mine.stds[0], entry[1]), 1 / SHOTS / 0.3)
            reference = self.numbers(other.gradients[0], entry[1])
            assert_within_errors(found, np.sqrt(2) * stds, reference)

    def test_settings_are_one_value(self):
        assert self.make(epsilon=0.1, method="forward").settings == FiniteDifference(0.1, "forward")
        with pytest.raises(GradientError, match="central"):
            self.make(method="centred")


class TestSPSA(SamplingsContract):
    """Right on average, two points a row, one job."""

    kind = SPSASamplerGradient
    tolerance = 1e-6
    # A slope along signs of up to 8 parameters with frequencies up to 1 each.
    bias = TestFiniteDifference.step**2 / 6 * 8**3 / 2

    def make(self, primitive=None, **options):
        if primitive is None or isinstance(primitive, ExactSampler):
            options.setdefault("epsilon", 1e-4)
        return super().make(primitive, **{"seed": 1, **options})

    def assert_right(self, found, right, tolerance=None):
        """Along its direction an estimate is the slope there, with the signs of the direction."""
        signs = np.sign(found)  # (C, F)
        super().assert_right(found, (right * signs).sum(0) * signs, tolerance)

    def assert_within(self, found, stds, right):
        signs = np.sign(found)
        assert_within_errors(found, stds, (right * signs).sum(0) * signs, self.bias)

    def test_gates_that_no_outcome_depends_on_may_be_dropped_by_a_transpiler(self):
        """All are displaced together, and the estimate of a derivative of zero is another one."""

    def test_the_mean_over_directions_is_the_gradient(self):
        """As for expectation values: the variance is the sum of the squares of the others."""
        right = self.right(hybrid(), self.first, VALUES)
        gradient = self.make(epsilon=1e-3, resamplings=500)
        (found,) = self.run(gradient, [(hybrid(), self.first, VALUES)]).gradients
        errors = np.sqrt(((right**2).sum(0) - right**2) / 500)
        assert_within_errors(self.numbers(found, self.first), errors, right, 1e-5)

    def test_two_points_whatever_the_number_of_parameters(self):
        counting = CountingSampler()
        circuit, values = layered()
        self.run(self.make(counting), [(circuit, MEASURED, values), (circuit, MEASURED, values)])
        assert counting.runs == [[(4,)]]

    def test_as_theirs_does(self):
        """With one parameter, a direction is a sign that cancels."""
        entry = (rotation()[0], self.single, [0.5])
        ours = self.make(StatevectorSampler(seed=1), epsilon=0.3, shots=SHOTS)
        theirs = TheirSPSASamplerGradient(StatevectorSampler(seed=2), 0.3, seed=1, shots=SHOTS)
        mine, other = (self.run(g, [entry]) for g in (ours, theirs))
        stds = self.numbers(mine.stds[0], self.single)
        reference = self.numbers(other.gradients[0], self.single)
        found = self.numbers(mine.gradients[0], self.single)
        assert_within_errors(found, np.sqrt(2) * stds, reference)

    def test_what_is_refused(self):
        for options in ({"epsilon": 0}, {"resamplings": 0}):
            with pytest.raises(GradientError, match=next(iter(options))):
                self.make(**options)
        with pytest.raises(InputTypeError, match="seed"):
            self.make(seed=-1)


class TestAdjoint(OfSamplers, GradientContract):
    kind = AdjointSamplerGradient

    def test_nothing_is_sampled(self):
        self.check_entries(UnusedSampler())

    def test_a_closed_form(self):
        circuit, _ = rotation()
        circuit.measure_all()
        result = AdjointSamplerGradient().run([circuit], [[0.5]]).result()
        assert result.gradients[0][0] == pytest.approx({0: -np.sin(0.5) / 2, 1: np.sin(0.5) / 2})
        assert result.stds == [[{0: 0.0, 1: 0.0}]] and result.shots == 0
        assert not AdjointSamplerGradient().has_sampler

    def test_few_outcomes_of_many_parameters_and_the_other_way_round(self):
        """Which take vector-Jacobian products, and tangents."""
        circuit, values = layered()
        for asked in (((1,),), ((2, 0, 1),), MEASURED):
            self.assert_gradient(self.make(), circuit, asked, values)

    @pytest.mark.parametrize("asked", [((1,),), ((2, 0, 1),)])
    def test_rows_with_parameters_of_their_own(self, asked):
        circuit, values = layered()
        wanted = [None, [circuit.parameters[k] for k in (7, 2, 5, 0)], [circuit.parameters[3]]]
        points = [values, values[::-1], [v / 2 for v in values]]
        entries = [(circuit, asked, *one) for one in zip(points, wanted, strict=True)]
        result = self.run(self.make(), entries)
        chosen = (slice(None), [7, 2, 5, 0], [3])
        for found, point, columns in zip(result.gradients, points, chosen, strict=True):
            right = self.right(circuit, asked, point)[columns]
            self.assert_right(self.numbers(found, asked), right)

    def test_it_agrees_with_linear_combinations_of_unitaries(self):
        circuit, values = layered()
        asked = ((0, 1, 2),)
        theirs = LinCombSamplerGradient(StatevectorSampler(seed=1), shots=SHOTS)
        measured = circuit.copy()
        measured.measure_all()
        found = theirs.run([measured.remove_final_measurements(inplace=False)], [values]).result()
        reference = self.numbers(found.gradients[0], asked)
        # Their outcomes are +1 and -1 times the frequency of 2**4: at most 1/sqrt(shots) each.
        stds = np.full_like(reference, 1 / np.sqrt(SHOTS))
        assert_within_errors(self.right(circuit, asked, values), stds, reference)
        self.assert_gradient(self.make(), circuit, asked, values)

    def test_single_precision(self):
        """Rounding of 6e-8 a step over some dozens of steps."""
        circuit, values = layered()
        self.assert_gradient(self.make(dtype="complex64"), circuit, MEASURED, values, 1e-5)

    def test_shots_are_checked_and_told(self):
        circuit, _ = rotation()
        entry = (circuit, self.single, [0.1])
        assert self.run(self.make(), [entry] * 2, shots=[5, None]).shots == [5, 0]
        with pytest.raises(PrecisionError, match="shots"):
            self.run(self.make(), [entry], shots=0)

    def test_numbers_that_do_not_fit_into_memory_are_refused(self):
        circuit = efficient_su2(34, reps=1, entanglement="pairwise")
        circuit.measure_all()
        with pytest.raises(MemoryLimitError, match="are available"):
            AdjointSamplerGradient().run([circuit], [[0.1] * circuit.num_parameters]).result()


@settings(suppress_health_check=[HealthCheck.differing_executors])
@given(st.data())
@pytest.mark.parametrize("kind", [ParameterShiftSamplerGradient, AdjointSamplerGradient])
def test_random_circuits_agree_with_dense_differentiation(kind, data):
    """The reference differentiates dense states and shares no code with the package."""
    circuit = data.draw(circuits(max_qubits=3, max_gates=5))
    assume(circuit.num_parameters)
    point = data.draw(values(circuit.num_parameters, ())).tolist()
    qubits = st.lists(st.sampled_from([None, *range(circuit.num_qubits)]), min_size=1, max_size=3)
    asked = tuple(map(tuple, data.draw(st.lists(qubits, min_size=1, max_size=2))))
    assume(any(qubit is not None for register in asked for qubit in register))
    result = OfSamplers.run(kind(ExactSampler()), [(circuit, asked, point)])
    found = OfSamplers.numbers(result.gradients[0], asked)
    right = OfSamplers.right(circuit, asked, point)
    np.testing.assert_allclose(found, right, rtol=1e-9, atol=1e-9)


def test_more_bits_than_an_integer_of_the_machine_has():
    circuit = QuantumCircuit(2, 70)
    theta = Parameter("theta")
    circuit.ry(theta, 1)
    circuit.cx(1, 0)
    circuit.measure([1, 0], [69, 3])
    exact = AdjointSamplerGradient().run([circuit], [[0.5]]).result().gradients[0][0]
    assert set(exact) == {0, 1 << 69 | 1 << 3}
    gradient = ParameterShiftSamplerGradient(StatevectorSampler(seed=1), shots=SHOTS)
    result = gradient.run([circuit], [[0.5]]).result()
    (found,), (stds,) = result.gradients[0], result.stds[0]
    assert all(abs(found[i] - exact[i]) < Z_LIMIT * stds[i] for i in exact)


def test_seventy_measured_qubits():
    """As many outcomes as shots at most, however many bit strings there are."""
    theta = Parameter("theta")
    circuit = QuantumCircuit(70)
    circuit.ry(theta, 64)
    circuit.ry(theta, 3)
    circuit.measure_all()
    sampler = AerSampler(seed=1, options={"backend_options": {"method": "matrix_product_state"}})
    result = ParameterShiftSamplerGradient(sampler, shots=SHOTS).run([circuit], [[0.5]]).result()
    found, stds = result.gradients[0][0], result.stds[0][0]
    right = {}
    for up in (0, 1):
        for low in (0, 1):
            p = [(1 - s * np.cos(0.5)) / 2 for s in (2 * up - 1, 2 * low - 1)]
            p = [(1 + np.cos(0.5)) / 2 if not bit else (1 - np.cos(0.5)) / 2 for bit in (up, low)]
            d = [(-1 if not bit else 1) * np.sin(0.5) / 2 for bit in (up, low)]
            right[up << 64 | low << 3] = p[0] * d[1] + d[0] * p[1]
    assert set(found) == set(right)
    assert all(abs(found[i] - right[i]) < Z_LIMIT * stds[i] for i in right)


def test_a_table_in_blocks_is_the_same(monkeypatch):
    circuit, point = layered()
    entry = (circuit, MEASURED, point)

    def gradient():
        made = ParameterShiftSamplerGradient(StatevectorSampler(seed=1), shots=100)
        return OfSamplers.run(made, [entry, (circuit, MEASURED, point)])

    whole = gradient()
    monkeypatch.setattr("qiskit_torch_bridge.gradients.sampler_gradient.BLOCK", 40)
    parts = gradient()
    assert (parts.gradients, parts.stds) == (whole.gradients, whole.stds)


def test_expressions_that_qiskit_would_bind_wrongly_are_refused_and_adjoint_takes_them():
    """On versions that have the fault; on others both are right."""
    a, b = Parameter("a"), Parameter("b")
    circuit = QuantumCircuit(1)
    circuit.ry(a**2 + b**2, 0)
    circuit.measure_all()
    exact = AdjointSamplerGradient().run([circuit], [[0.3, 0.4]]).result().gradients[0]
    assert exact[0][1] == pytest.approx(np.sin(0.25) / 2 * 0.6)
    with contextlib.suppress(ExpressionError):
        sampled = ParameterShiftSamplerGradient(ExactSampler()).run([circuit], [[0.3, 0.4]])
        assert sampled.result().gradients[0][0][1] == pytest.approx(exact[0][1])


@pytest.mark.parametrize("transpiled", [False, True])
def test_evolutions_are_what_the_sampler_takes_them_for(transpiled):
    """Exponentials or product formulas, by terms that do not commute."""
    time = Parameter("t")
    circuit = QuantumCircuit(1)
    circuit.append(PauliEvolutionGate(SparsePauliOp(["X", "Z"]), time), [0])
    samplers = [StatevectorSampler(seed=1), BatchedStatevectorSampler(seed=1)]
    form = circuit
    if transpiled:
        samplers, form = [AerSampler(seed=1)], circuit.decompose()

    def probability(t):  # as their simulation has it
        return Statevector(form.assign_parameters([t])).probabilities()[1]

    slope = (probability(0.4 + 1e-5) - probability(0.4 - 1e-5)) / 2e-5
    for sampler in samplers:
        entry = (circuit, ((0,),), [0.4])
        exact = OfSamplers.run(AdjointSamplerGradient(sampler), [entry]).gradients[0][0]
        assert exact[1] == pytest.approx(slope, abs=1e-8)
        result = OfSamplers.run(ParameterShiftSamplerGradient(sampler, shots=SHOTS), [entry])
        error = abs(result.gradients[0][0][1] - slope)
        assert error < Z_LIMIT * result.stds[0][0][1]


def test_a_tracker_counts_its_jobs():
    with Tracker() as tracker:
        sampler = StatevectorSampler(seed=1)
        gradient = ParameterShiftSamplerGradient(sampler, shots=100)
        OfSamplers.run(gradient, [(layered()[0], MEASURED, layered()[1])] * 3)
    points = 3 * 2 * layered()[0].num_parameters
    usage = tracker.usage
    assert (usage.jobs, usage.circuits, usage.shots) == (1, points, 100 * points)


def test_others_points_are_not_shared():
    """Equal circuits at other values, and the same ones twice, in one PUB."""
    counting = CountingSampler()
    entries = [(hybrid(), OfSamplers.first, v) for v in (VALUES, OTHERS, VALUES)]
    OfSamplers.run(FiniteDifferenceSamplerGradient(counting, epsilon=0.3), entries)
    assert counting.runs == [[(30,)]]
