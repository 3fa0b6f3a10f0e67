# SPDX-License-Identifier: Apache-2.0
"""The metric and fidelities of states by their columns: against state vectors, and closed forms.

Entries are sums of overlaps of normalised states over few gates, hence 1e-12 times their number,
which is at most a hundred.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from test_wide_sampling import FEW, entangled, ring_of_qaoa, values_of

from qiskit_torch_bridge import CircuitProgram
from qiskit_torch_bridge.exceptions import ExpressionError, InputError, MemoryLimitError
from qiskit_torch_bridge.optim import FubiniStudyMetric, StateFidelity
from qiskit_torch_bridge.simulation import geometry
from qiskit_torch_bridge.simulation.columns.geometry import ColumnGeometry
from qiskit_torch_bridge.simulation.geometry import make_geometry
from qiskit_torch_bridge.simulation.statevector import StateGeometry

EXACT = 1e-12


def both(circuit: QuantumCircuit) -> tuple[ColumnGeometry, StateGeometry]:
    analysed = CircuitProgram(circuit).analysed
    return ColumnGeometry(analysed), StateGeometry(analysed)


@pytest.mark.parametrize("name", FEW)
def test_metric_and_fidelities_are_those_of_state_vectors(name: str) -> None:
    """All parameters, some in another order, with shared ones and expressions."""
    circuit = FEW[name]
    by_columns, by_states = both(circuit)
    values = values_of(circuit, 3)
    every = list(range(values.shape[1]))
    for columns in (every, every[::-2], every[:1], []):
        expected = by_states.metric(values[0], columns)
        np.testing.assert_allclose(by_columns.metric(values[0], columns), expected, atol=EXACT)
    expected = by_states.fidelities(values[0], values)
    np.testing.assert_allclose(by_columns.fidelities(values[0], values), expected, atol=EXACT)


def test_a_parameter_on_all_sites_and_one_on_none() -> None:
    """One parameter many times, one that does nothing, and a rotation over idle sites between."""
    a, b, c = (Parameter(name) for name in "abc")
    circuit = QuantumCircuit(6)
    circuit.h(range(6))
    for q in range(5):
        circuit.rzz(a * (q + 1), q, q + 1)
    circuit.rxx(b, 0, 5)
    circuit.rx(a + 2 * b, 2)
    circuit.rz(c, 3)
    circuit.rz(-c, 3)
    by_columns, by_states = both(circuit)
    values = np.array([0.3, -0.8, 1.1])
    found = by_columns.metric(values, [0, 1, 2])
    np.testing.assert_allclose(found, by_states.metric(values, [0, 1, 2]), atol=EXACT * 100)
    assert np.abs(found[2]).max() <= EXACT


def test_the_metric_of_a_hundred_independent_qubits() -> None:
    """A quarter of the variance of each generator: 1 for RY on zeros, sin(a)**2 for RZ after it."""
    a, b = ParameterVector("a", 100), ParameterVector("b", 100)
    circuit = QuantumCircuit(100)
    for q in range(100):
        circuit.ry(a[q], q)
        circuit.rz(b[q], q)
    angles = np.linspace(0.1, 3, 100)
    program = CircuitProgram(circuit)
    place = {p: i for i, p in enumerate(program.parameters)}
    order = [place[p] for p in (*a, *b)]
    values = np.zeros(200)
    values[order] = np.concatenate([angles, angles])
    found = make_geometry(program.analysed).metric(values, order)
    expected = np.concatenate([np.ones(100), np.sin(angles) ** 2]) / 4
    np.testing.assert_allclose(found, np.diag(expected), atol=EXACT)


def test_the_metric_of_qaoa_grows_with_the_ring() -> None:
    """Per node it is the same on a ring of 100 as on one of 10, whose cones do not wrap."""
    wide, narrow = ring_of_qaoa(100, 1), ring_of_qaoa(10, 1)
    values = np.array([0.3, 0.6])
    found = make_geometry(CircuitProgram(wide).analysed).metric(values, [0, 1])
    expected = StateGeometry(CircuitProgram(narrow).analysed).metric(values, [0, 1])
    np.testing.assert_allclose(found / 100, expected / 10, atol=EXACT)


def test_what_optimizers_use_takes_a_hundred_qubits() -> None:
    """Near a point the fidelity falls as the metric says: 1 - d.G.d + O(d**3)."""
    circuit = entangled(100)
    weights = values_of(circuit, 1)[0]
    step = 1e-4 * np.random.default_rng(0).normal(size=len(weights))
    metric = FubiniStudyMetric(circuit)(weights)
    (fidelity,) = StateFidelity(circuit)(weights, [weights + step])
    distance = step @ metric @ step
    assert distance > 1e-7
    assert abs(1 - fidelity - distance) <= 10 * np.linalg.norm(step) ** 3


def test_narrow_circuits_keep_their_state_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    analysed = CircuitProgram(entangled(5)).analysed
    assert isinstance(make_geometry(analysed), StateGeometry)
    monkeypatch.setattr(geometry, "NARROW", 0)
    values = values_of(entangled(5), 2)
    found, expected = make_geometry(analysed), StateGeometry(analysed)
    np.testing.assert_allclose(
        found.fidelities(values[0], values), expected.fidelities(values[0], values), atol=EXACT
    )


def test_what_fits_nowhere_is_refused_with_its_cost() -> None:
    circuit = QuantumCircuit(60)
    for a, b in itertools.combinations(range(60), 2):
        circuit.rxx(Parameter(f"t{a}_{b}"), a, b)
    circuit.ry(0.4, range(60))
    with pytest.raises(MemoryLimitError, match=r"1770 parameters of 60 qubits .* qgt="):
        FubiniStudyMetric(circuit)


def test_what_is_not_finite_is_refused() -> None:
    x = Parameter("x")
    circuit = QuantumCircuit(2)
    circuit.ry(x.log(), 0)
    circuit.cx(0, 1)
    found, _ = both(circuit)
    with pytest.raises(ExpressionError):
        found.metric(np.array([-1.0]), [0])
    for columns in ([0], []):
        with pytest.raises(InputError):
            found.metric(np.array([np.nan]), columns)
