# SPDX-License-Identifier: Apache-2.0
"""What a primitive returns is used if it is finite real numbers, and refused otherwise."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.primitives import (
    BaseEstimatorV2,
    DataBin,
    PrimitiveJob,
    PrimitiveResult,
    PubResult,
    StatevectorEstimator,
)
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.quantum_info import SparsePauliOp
from qiskit_algorithms.gradients import (
    BaseEstimatorGradient,
    BaseQGT,
    EstimatorGradientResult,
    QGTResult,
)
from qiskit_algorithms.state_fidelities import BaseStateFidelity, StateFidelityResult

from qiskit_torch_bridge import TorchQuantumModule
from qiskit_torch_bridge.exceptions import ResultError
from qiskit_torch_bridge.gradients import ParameterShiftEstimatorGradient
from qiskit_torch_bridge.jobs import DispatchingEstimator, Jobs, Journal
from qiskit_torch_bridge.optim import FubiniStudyMetric, StateFidelity
from qiskit_torch_bridge.primitives.cutting import PubPart, join_results
from qiskit_torch_bridge.primitives.results import check_result

NO_NUMBERS = {
    "masked": lambda a: np.ma.masked_array(a, mask=[*[False] * (a.size - 1), True]),
    "text": lambda a: a.astype(str),
    "bytes": lambda a: a.astype(bytes),
    "dates": lambda a: (1e6 * a).astype("datetime64[s]"),
    "durations": lambda a: (1e6 * a).astype("timedelta64[s]"),
    "truth values": lambda a: a > 0,
    "objects": lambda a: a.astype(object),
    "complex": lambda a: a + 0.5j,
    "small complex": lambda a: 1e-9 * (a + 0.5j),
    "nan": lambda a: a * np.nan,
    "infinity": lambda a: a + np.inf,
}
NO_ERRORS = {**NO_NUMBERS, "negative": lambda a: -a}


class Damaged(BaseEstimatorV2):
    """Ones, and 0.1 for their standard errors, in another form."""

    def __init__(self, evs=np.array, stds=np.array):
        self.evs, self.stds, self.runs = evs, stds, 0

    def run(self, pubs, *, precision=None):
        coerced = [EstimatorPub.coerce(pub, precision) for pub in pubs]
        self.runs += 1
        job = PrimitiveJob(self._all, coerced)
        job._submit()
        return job

    def _all(self, pubs):
        return PrimitiveResult([self._one(pub.shape) for pub in pubs])

    def _one(self, shape):
        ones = np.ones(shape)
        evs, stds = (
            form(a.ravel()).reshape(shape)
            for form, a in ((self.evs, ones), (self.stds, 0.1 * ones))
        )
        return PubResult(DataBin(evs=evs, stds=stds, shape=shape))


def two_rotations() -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.ry(Parameter("a"), 0)
    circuit.rx(Parameter("b"), 0)
    return circuit


def damaged(form: str, field: str) -> Damaged:
    kinds = NO_NUMBERS if field == "evs" else NO_ERRORS
    return Damaged(**{field: kinds[form]})


EACH = [(field, form) for field in ("evs", "stds") for form in NO_ERRORS]
EACH.remove(("evs", "negative"))


@pytest.mark.parametrize(("field", "form"), EACH)
def test_neither_values_nor_gradients_are_made_of_them(field, form):
    estimator = damaged(form, field)
    node = TorchQuantumModule(two_rotations(), "Z", estimator=estimator, gradient="parameter-shift")
    with pytest.raises(ResultError, match="weights are unchanged"):
        node()
    estimator.evs = estimator.stds = np.array
    y = node()
    setattr(estimator, field, getattr(damaged(form, field), field))
    with pytest.raises(ResultError, match="weights are unchanged"):
        y.backward()
    assert node.weight.grad is None
    with pytest.raises(ResultError):
        ParameterShiftEstimatorGradient(estimator).run(
            [two_rotations()], [SparsePauliOp("Y")], [[0.1, 0.2]]
        ).result()


@pytest.mark.parametrize(("field", "form"), EACH)
def test_a_journal_does_not_keep_them(field, form, tmp_path):
    with closing(Journal(tmp_path / "jobs.jsonl")) as journal:
        dispatching = DispatchingEstimator([damaged(form, field)], Jobs(journal=journal))
        node = TorchQuantumModule(two_rotations(), "Z", estimator=dispatching)
        with pytest.raises(ResultError):
            node()
    assert '"finished"' not in (tmp_path / "jobs.jsonl").read_text()


@pytest.mark.parametrize(("field", "form"), EACH)
def test_parts_are_not_put_together_from_them(field, form):
    pub = EstimatorPub.coerce((two_rotations(), "Z", np.zeros((3, 2))))
    results = [Damaged()._one((3,)), damaged(form, field)._one((3,))]
    parts = [PubPart(0, 3 * i, 3 * i + 3, pub) for i in range(2)]
    with pytest.raises(ResultError):
        check_result(join_results(list(zip(parts, results, strict=True))), (6,), 0, "It")


def test_whole_and_single_precision_numbers_are_used():
    for form in (np.float32, np.int64):
        node = TorchQuantumModule(
            two_rotations(), "Z", estimator=Damaged(evs=lambda a, f=form: a.astype(f))
        )
        assert node().item() == 1
    node = TorchQuantumModule(two_rotations(), "Z", estimator=Damaged(evs=lambda a: a + 1e-16j))
    assert node().item() == 1


def test_a_journal_keeps_results_without_standard_errors(tmp_path):
    class Bare(Damaged):
        def _one(self, shape):
            return PubResult(DataBin(evs=np.ones(shape), stds=None, shape=shape))

    for _ in range(2):
        with closing(Journal(tmp_path / "jobs.jsonl")) as journal:
            dispatching = DispatchingEstimator([Bare()], Jobs(journal=journal))
            node = TorchQuantumModule(
                two_rotations(), "Z", estimator=dispatching, initial_weights=[0, 0]
            )
            assert node().item() == 1
            assert node.last_stds is None


class OtherGradient(BaseEstimatorGradient):
    def __init__(self, form):
        super().__init__(StatevectorEstimator())
        self.form = form

    def _run(self, circuits, observables, parameter_values, parameters, *, precision):
        gradients = [self.form(np.ones(len(p))) for p in parameters]
        return EstimatorGradientResult(gradients, [{}], precision)


@pytest.mark.parametrize("form", NO_NUMBERS)
def test_gradient_objects_are_held_to_the_same(form):
    gradient = OtherGradient(NO_NUMBERS[form])
    node = TorchQuantumModule(
        two_rotations(), "Z", estimator=StatevectorEstimator(), gradient=gradient
    )
    with pytest.raises(ResultError, match="OtherGradient"):
        node().backward()
    assert node.weight.grad is None


class OtherQGT(BaseQGT):
    def __init__(self, form):
        super().__init__(StatevectorEstimator())
        self.form = form

    def _run(self, circuits, parameter_values, parameters, **_):
        qgt = self.form(np.ones(4)).reshape(2, 2)
        return QGTResult([qgt], self.derivative_type, [{}], None)


class OtherFidelity(BaseStateFidelity):
    def __init__(self, form):
        super().__init__()
        self.form = form

    def create_fidelity_circuit(self, circuit_1, circuit_2):
        return circuit_1

    def _run(self, *_, **__):
        raise NotImplementedError

    def run(self, circuits_1, *_, **__):
        found = self.form(np.ones(len(circuits_1)))
        job = PrimitiveJob(StateFidelityResult, found, found, [{}], None)
        job._submit()
        return job


@pytest.mark.parametrize("form", NO_NUMBERS)
def test_fidelities_are_held_to_the_same(form):
    fidelity = StateFidelity(two_rotations(), OtherFidelity(NO_NUMBERS[form]))
    with pytest.raises(ResultError, match="OtherFidelity"):
        fidelity([0.1, 0.2], [[0.1, 0.2], [0.3, 0.4]])


@pytest.mark.parametrize("form", sorted({*NO_NUMBERS} - {"complex", "small complex"}))
def test_metrics_are_held_to_the_same(form):  # a geometric tensor may be complex
    metric = FubiniStudyMetric(two_rotations(), qgt=OtherQGT(NO_NUMBERS[form]))
    with pytest.raises(ResultError, match="OtherQGT"):
        metric([0.1, 0.2])
