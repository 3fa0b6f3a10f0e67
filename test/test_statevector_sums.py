# SPDX-License-Identifier: Apache-2.0
"""Observables of many terms, summed one by one or from tables, and rotations that are left out.

Sums of up to a few hundred terms of size one are rounded to 1e-12.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.quantum_info import SparsePauliOp, random_unitary
from test_statevector_cases import CIRCUITS, SEEDS, ExactCase, exact_cases, simulator_of

from qiskit_torch_bridge import CircuitProgram
from qiskit_torch_bridge.simulation.statevector import StatevectorSimulator, pauli_sums
from qiskit_torch_bridge.simulation.statevector.kernels.observables import MANY
from qiskit_torch_bridge.simulation.tape import reduce

EXACT = 1e-12
NO_TABLES, TABLES = 0, 1 << 26


def random_labels(rng: np.random.Generator, num_qubits: int, count: int, letters: str) -> list[str]:
    return ["".join(rng.choice(list(letters), num_qubits)) for _ in range(count)]


def observables_of(rng: np.random.Generator, num_qubits: int) -> list[SparsePauliOp]:
    """Dense in one mask, dense in several, few terms, shared terms, an identity among them."""
    sets = [
        random_labels(rng, num_qubits, 40, "IZ"),
        random_labels(rng, num_qubits, 3, "IZ"),
        [a + "XY"[k % 2] for k, a in enumerate(random_labels(rng, num_qubits - 1, 60, "IZXY"))],
        [*random_labels(rng, num_qubits, 50, "XY"), "I" * num_qubits, "I" * num_qubits],
        ["Z" * num_qubits],
    ]
    return [SparsePauliOp(labels, rng.normal(size=len(labels))) for labels in sets]


def generic_circuit(num_qubits: int) -> QuantumCircuit:
    """Every amplitude differs from zero, and Clifford gates conjugate the observables."""
    theta = ParameterVector("t", 3 * num_qubits)
    circuit = QuantumCircuit(num_qubits)
    for q in range(num_qubits):
        circuit.u(theta[3 * q], theta[3 * q + 1], theta[3 * q + 2], q)
    for q in range(num_qubits - 1):
        circuit.cx(q, q + 1)
        circuit.sx(q)
    circuit.unitary(random_unitary(2, seed=1), [num_qubits - 1])
    return circuit


def make(circuit: QuantumCircuit, observables: list[SparsePauliOp]) -> StatevectorSimulator:
    program = CircuitProgram(circuit, observables)
    return StatevectorSimulator(
        program.analysed, program.readout, program.input_columns, program.weight_columns
    )


@pytest.mark.parametrize("limit", [NO_TABLES, TABLES])
@pytest.mark.parametrize("num_qubits", [4, 5, 7])
def test_sums_of_terms(num_qubits: int, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against dense matrices on the simulator's own states, which other tests hold to the truth."""
    monkeypatch.setattr(pauli_sums, "MAX_TABLES", limit)
    rng = np.random.default_rng(num_qubits)
    circuit, observables = generic_circuit(num_qubits), observables_of(rng, num_qubits)
    s = make(circuit, observables)
    assert bool(len(s.sums.paulis.tables)) == (limit > 0)
    rows = 5
    x, w = np.zeros((rows, 0)), rng.uniform(-3, 3, (rows, 3 * num_qubits))
    program = CircuitProgram(circuit, observables)
    psi = StatevectorSimulator(program.analysed, None, (), program.weight_columns).states(x, w)
    expected = [
        np.einsum("bi,ij,bj->b", psi.conj(), o.to_matrix(), psi).real for o in program.observables
    ]
    norm = max(float(np.abs(o.coeffs).sum()) for o in observables)
    np.testing.assert_allclose(s.evaluate(x, w)[0].T, expected, rtol=0, atol=EXACT * norm)


@pytest.mark.parametrize("num_qubits", [4, 5, 7])
def test_tables_change_no_derivative(num_qubits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(num_qubits)
    circuit, observables = generic_circuit(num_qubits), observables_of(rng, num_qubits)
    results = []
    rows = 3
    w, dw = rng.uniform(-3, 3, (2, rows, 3 * num_qubits))
    c, dc = rng.normal(size=(2, rows, len(observables)))
    x = np.zeros((rows, 0))
    for limit in (NO_TABLES, TABLES):
        monkeypatch.setattr(pauli_sums, "MAX_TABLES", limit)
        s = make(circuit, observables)
        results.append(
            (s.vjp(x, w, c)[1], s.tangent(x, w, x, dw), s.vjp_tangent(x, w, c, x, dw, dc)[1])
        )
    # Second derivatives along dw, with 3 * num_qubits parameters that turn by about one.
    size = 100 * float(np.abs(dw).sum())
    for one_by_one, from_tables in zip(*results, strict=True):
        np.testing.assert_allclose(one_by_one, from_tables, rtol=0, atol=EXACT * size)
        assert np.abs(one_by_one).max() > 0.1


@pytest.mark.parametrize(("num_qubits", "rows"), [(6, 3), (12, 1), (12, 3)])
def test_many_strings_of_z_are_as_each_alone(num_qubits: int, rows: int) -> None:
    """Many are read by transforms of one piece of the state after the other, each alone is not.

    The states of 12 qubits have several pieces. Some observables have strings of both kinds.
    """
    n, rng = num_qubits, np.random.default_rng(num_qubits + rows)
    theta = ParameterVector("t", 2 * n)
    circuit = QuantumCircuit(n)
    for q in range(n):
        circuit.rx(theta[q], q)
    for q in range(n):
        circuit.cx(q, (q + 1) % n)
        circuit.ry(theta[n + q], q)
    terms = [
        (letters, [q, (q + 1) % n][: len(letters)]) for letters in ("Z", "ZZ") for q in range(n)
    ]
    observables = [
        SparsePauliOp.from_sparse_list([(*term, 1.0), ("X", [q % n], 0.5 * (q % 3))], n)
        for q, term in enumerate(terms)
    ]
    s = make(circuit, observables)
    first, *others = s.sums.paulis.groups
    assert first["x"] == 0 and first["middle"] - first["start"] >= MANY and others
    x, (w, dw) = np.zeros((rows, 0)), rng.uniform(-3, 3, (2, rows, 2 * n))
    c, dc = rng.normal(size=(2, rows, len(observables)))
    alone = [(make(circuit, [o]), c[:, [i]], dc[:, [i]]) for i, o in enumerate(observables)]
    for one, _, _ in alone:
        assert all(group["middle"] - group["start"] < MANY for group in one.sums.paulis.groups)
    values = np.hstack([one.evaluate(x, w)[0] for one, _, _ in alone])
    np.testing.assert_allclose(s.evaluate(x, w)[0], values, rtol=0, atol=EXACT)
    tangents = np.hstack([one.tangent(x, w, x, dw) for one, _, _ in alone])
    size = 3 * 2 * n  # parameters that turn by at most three
    np.testing.assert_allclose(s.tangent(x, w, x, dw), tangents, rtol=0, atol=EXACT * size)
    gradients = sum(one.vjp(x, w, part)[1] for one, part, _ in alone)
    np.testing.assert_allclose(s.vjp(x, w, c)[1], gradients, rtol=0, atol=EXACT * size)
    products = sum(one.vjp_tangent(x, w, a, x, dw, b)[1] for one, a, b in alone)
    found = s.vjp_tangent(x, w, c, x, dw, dc)[1]
    np.testing.assert_allclose(found, products, rtol=0, atol=EXACT * size * n)
    assert min(np.abs(values).max(), np.abs(gradients).max(), np.abs(products).max()) > 0.1


def test_a_table_is_the_diagonal_of_its_observable() -> None:
    """A circuit without Clifford gates leaves the terms as they are."""
    rng = np.random.default_rng(3)
    labels = random_labels(rng, 4, 12, "IZ")
    observable = SparsePauliOp(labels, rng.normal(size=12)).simplify()
    t = ParameterVector("t", 4)
    circuit = QuantumCircuit(4)
    for q in range(4):
        circuit.rx(t[q], q)
    sums = make(circuit, [observable]).sums
    diagonal = np.diag(observable.to_matrix()).real
    np.testing.assert_allclose(sums.paulis.tables + sums.constants[0], diagonal, rtol=0, atol=EXACT)


def test_tables_keep_to_their_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    observables = [SparsePauliOp(random_labels(rng, 4, 12, "IZ")) for _ in range(3)]
    monkeypatch.setattr(pauli_sums, "MAX_TABLES", 3 << 4)
    circuit = generic_circuit(4)
    assert len(make(circuit, [*observables]).sums.paulis.tables) <= 3 << 4


@settings(max_examples=CIRCUITS // 4)
@given(exact_cases(max_qubits=6, affine_only=True), SEEDS, st.booleans())
def test_what_is_left_out_has_no_effect(case: ExactCase, seed: int, few: bool) -> None:
    rng = np.random.default_rng(seed)
    if few:  # fewer observables leave out more
        case = ExactCase(**{**case.__dict__, "observables": case.observables[:1]})
    x, w = (np.ascontiguousarray(part) for part in np.split(case.values, [case.num_inputs], 1))
    dx, dw = rng.normal(size=x.shape), rng.normal(size=w.shape)
    c, dc = rng.normal(size=(2, len(x), len(case.observables)))
    results = []
    for keep_all in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            if keep_all:
                patch.setattr(reduce, "drop_ineffective", lambda operations, *_: list(operations))
                patch.setattr(reduce, "merge_rotations", lambda operations, **_: list(operations))
            s = simulator_of(case)
        evs, _ = s.evaluate(x, w)
        results.append(
            [evs, s.tangent(x, w, dx, dw), *s.vjp(x, w, c), *s.vjp_tangent(x, w, c, dx, dw, dc)]
        )
    size = 100 * max(1.0, *(float(np.abs(o.coeffs).sum()) for o in case.observables))
    for fewer, all_of_them in zip(*results, strict=True):
        np.testing.assert_allclose(fewer, all_of_them, rtol=10 * EXACT, atol=EXACT * size)


def kept(circuit: QuantumCircuit, observable: str) -> int:
    """How many operations depend on parameters; the state may start in other axes' eigenstates."""
    operations = make(circuit, [SparsePauliOp(observable)]).operations
    return sum(not operation.angle.is_fixed for operation in operations)


def test_what_is_left_out() -> None:
    t = ParameterVector("t", 4)
    circuit = QuantumCircuit(2)
    circuit.rz(t[0], 0)  # a phase of the state zero
    circuit.rx(t[1], 0)
    circuit.rz(t[2], 0)  # commutes with Z, not with X
    circuit.ry(t[3], 1)  # on a qubit that only some observables look at
    assert kept(circuit, "IZ") == 1
    assert kept(circuit, "IX") == 2
    assert kept(circuit, "ZX") == 3


def test_a_diagonal_rotation_of_a_prepared_qubit_stays() -> None:
    t = ParameterVector("t", 2)
    circuit = QuantumCircuit(2)
    circuit.prepare_state([np.sqrt(0.5), np.sqrt(0.5)], [0])
    circuit.rz(t[0], 0)
    circuit.rz(t[1], 1)
    circuit.cx(0, 1)
    assert kept(circuit, "XX") == 1
    s = make(circuit, [SparsePauliOp("XX")])
    w = np.array([[0.7, -0.3]])
    x = np.zeros((1, 0))
    assert abs(s.evaluate(x, w)[0].item() - np.cos(0.7)) < EXACT
    np.testing.assert_allclose(
        s.vjp(x, w, np.ones((1, 1)))[1], [[-np.sin(0.7), 0.0]], rtol=0, atol=EXACT
    )
