# SPDX-License-Identifier: Apache-2.0
"""The default estimator is a complete V2 estimator."""

from __future__ import annotations

import numpy as np
import pytest
from circuits import hybrid, layered
from qiskit.circuit import QuantumCircuit
from qiskit.circuit.library import UnitaryGate
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp

from qiskit_torch_bridge.exceptions import PrecisionError
from qiskit_torch_bridge.primitives import LocalEstimator, local, shots_to_precision
from qiskit_torch_bridge.program import normalise_observables

OPERATORS = [SparsePauliOp(["ZI", "XX"], [1.0, -0.5]), SparsePauliOp("YY")]
POINTS = np.random.default_rng(3).uniform(-3, 3, (2, 3, 5))


@pytest.mark.parametrize(
    ("observables", "points"),
    [
        (OPERATORS[0], POINTS[0, 0]),
        (OPERATORS[0], POINTS),
        ([[o] for o in OPERATORS], POINTS[0]),
        ([OPERATORS[0], OPERATORS[1], "ZZ"], POINTS),
    ],
)
def test_broadcasting_is_qiskits(observables, points):
    pub = (hybrid(), observables, points)
    ours = LocalEstimator().run([pub, pub]).result()
    theirs = StatevectorEstimator().run([pub]).result()[0].data.evs
    assert len(ours) == 2
    for result in ours:
        assert result.data.evs.shape == theirs.shape == result.data.stds.shape
        np.testing.assert_allclose(result.data.evs, theirs, rtol=0, atol=1e-12)


def test_projectors_among_the_observables():
    """Qiskit's observables may name projectors; they are sums of Paulis."""
    terms = {"01": 1.0, "+-": 0.5, "rl": -1.0}
    (operator,), _ = normalise_observables(terms, hybrid())
    evs = LocalEstimator().run([(hybrid(), o, POINTS[0]) for o in (terms, operator)]).result()
    np.testing.assert_allclose(evs[0].data.evs, evs[1].data.evs, rtol=0, atol=1e-12)


def test_an_empty_pub():
    result = LocalEstimator().run([(hybrid(), "ZZ", np.zeros((0, 5)))]).result()[0]
    assert result.data.evs.shape == (0,)


def test_points_are_simulated_in_chunks(monkeypatch):
    monkeypatch.setattr(local, "CHUNK", 2)
    chunked = LocalEstimator().run([(hybrid(), "ZZ", POINTS[0])]).result()[0].data.evs
    monkeypatch.undo()
    whole = LocalEstimator().run([(hybrid(), "ZZ", POINTS[0])]).result()[0].data.evs
    np.testing.assert_array_equal(chunked, whole)


def test_precision_per_pub_and_per_run():
    pubs = [(hybrid(), "ZZ", POINTS[0], 0.25), (hybrid(), "ZZ", POINTS[0])]
    first, second = LocalEstimator(seed=1).run(pubs, precision=0.1).result()
    assert (first.metadata["shots"], second.metadata["shots"]) == (16, 100)
    assert (first.data.evs * 16 / 2 % 1 == 0).all()  # sixteen shots know no other values


@pytest.mark.parametrize("precision", [-0.1, np.nan, np.inf])
def test_precision_is_checked(precision):
    with pytest.raises(PrecisionError):
        LocalEstimator(default_precision=precision)
    with pytest.raises(ValueError, match="precision"):  # a negative one is refused by Qiskit
        LocalEstimator().run([(hybrid(), "ZZ", POINTS[0], precision)])


def test_shots_are_taken_exactly():
    for shots in [*range(1, 3000), 10_000, 12_345, 10**6, 10**9 + 7]:
        assert int(np.ceil(1 / shots_to_precision(shots) ** 2)) == shots


def test_a_circuit_is_analysed_once():
    circuit, _, _ = layered(2, 1)
    circuit.append(UnitaryGate(np.eye(4)), [0, 1])  # a new object at every access to it
    estimator = LocalEstimator()
    for _ in range(3):
        estimator.run([(circuit.copy(), "ZZ", np.zeros((2, 6)))]).result()
    assert len(estimator._analysed) == 1


def test_measurement_free_circuits_without_parameters():
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    evs = LocalEstimator().run([(circuit, [["ZZ"], ["ZI"]])]).result()[0].data.evs
    np.testing.assert_allclose(evs, [[1.0], [0.0]], atol=1e-12)
