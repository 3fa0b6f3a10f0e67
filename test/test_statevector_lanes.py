# SPDX-License-Identifier: Apache-2.0
"""How a batch and a state are laid out changes no number: rows, lanes, blocks and precision.

All layouts do the same arithmetic in other orders, on states of norm one: they agree to 1e-12
times the norm of the observables.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.quantum_info import SparsePauliOp, Statevector, random_unitary
from test_statevector_cases import ROWS

from qiskit_torch_bridge import CircuitProgram
from qiskit_torch_bridge.simulation.statevector import StatevectorSimulator, schedule, simulator

EXACT = 1e-12
LANES = 32
Results = tuple[np.ndarray, ...]


def circuit_of(num_qubits: int, matrix_qubits: int = 0) -> QuantumCircuit:
    """Masks on low bits, on high bits and across; all kinds of rotations; maybe a matrix."""
    t = ParameterVector("t", 8)
    rng = np.random.default_rng(num_qubits)
    circuit = QuantumCircuit(num_qubits)
    for q in range(num_qubits):
        circuit.u(*rng.uniform(-3, 3, 3), q)
    for layer in range(2):
        for q in range(num_qubits):
            (circuit.rx, circuit.ry, circuit.rz)[(q + layer) % 3](t[(q + layer) % 8], q)
        for q in range(num_qubits - 1):
            other = (q + 1 + q % 3) % num_qubits
            if other != q:
                circuit.rxx(0.7 * t[(q + 3) % 8], q, other)
                circuit.cx(q, other)
        if matrix_qubits:
            places = rng.permutation(num_qubits)[:matrix_qubits]
            circuit.unitary(random_unitary(2**matrix_qubits, seed=layer), places.tolist())
    circuit.ry(t[0] - t[7], num_qubits - 1)
    for p in t:  # so that there are always eight
        circuit.rz(p, 0)
    circuit.rx(0.3, 0)
    return circuit


def observables_of(num_qubits: int) -> list[SparsePauliOp]:
    rng = np.random.default_rng(num_qubits)
    labels = ["".join(rng.choice(list("IXYZ"), num_qubits)) for _ in range(12)]
    return [
        SparsePauliOp(labels, rng.uniform(-1, 1, 12)),
        SparsePauliOp("Z" * num_qubits),
        SparsePauliOp("X" + "I" * (num_qubits - 1)),
    ]


def made(circuit: QuantumCircuit, dtype: type = np.complex128) -> StatevectorSimulator:
    program = CircuitProgram(
        circuit, observables_of(circuit.num_qubits), input_params=list(circuit.parameters)[:3]
    )
    columns = (program.input_columns, program.weight_columns)
    return StatevectorSimulator(program.analysed, program.readout, *columns, dtype=dtype)


def numbers(rows: int, own_weights: bool) -> Iterator[np.ndarray]:
    """Values, tangents, and a cotangent with its tangent."""
    rng = np.random.default_rng(rows)
    for shape in (
        (rows, 3),
        (rows if own_weights else 1, 5),
        (rows, 3),
        (rows, 3),
        (rows if own_weights else 1, 5),
        (rows, 3),
    ):
        yield rng.uniform(-2, 2, shape)


def everything(s: StatevectorSimulator, x, w, c, dx, dw, dc) -> Results:
    """Values and all derivatives; the cotangent has as many columns as there are observables."""
    evs, kept = s.evaluate(x, w, keep=True)
    return (
        evs,
        *s.vjp(x, w, c, kept),
        *s.vjp(x, w, c),
        s.tangent(x, w, dx, dw),
        *s.vjp_tangent(x, w, c, dx, dw, dc),
    )


def assert_close(found: Results, expected: Results, tolerance: float) -> None:
    for f, e in zip(found, expected, strict=True):
        size = max(1.0, float(np.abs(e).max()))
        np.testing.assert_allclose(f, e, rtol=0, atol=tolerance * size)


def row_by_row(s: StatevectorSimulator, rows: int, own_weights: bool) -> Results:
    """The same numbers with one row at a time; gradients by shared weights are summed."""
    x, w, c, dx, dw, dc = numbers(rows, own_weights)
    singles = []
    for b in range(rows):
        one = slice(b, b + 1)
        mine = one if own_weights else slice(0, 1)
        singles.append(everything(s, x[one], w[mine], c[one], dx[one], dw[mine], dc[one]))
    by_weights = (2, 4, 7)
    return tuple(
        np.sum(parts, 0) if i in by_weights and not own_weights else np.concatenate(parts)
        for i, parts in enumerate(zip(*singles, strict=True))
    )


@pytest.mark.parametrize("own_weights", [False, True])
@pytest.mark.parametrize("rows", ROWS)
def test_a_batch_is_its_rows(rows: int, own_weights: bool) -> None:
    s = made(circuit_of(4))
    found = everything(s, *numbers(rows, own_weights))
    # A sum over rows is rounded in another order.
    assert_close(found, row_by_row(s, rows, own_weights), EXACT * 10)


@pytest.mark.parametrize("matrix_qubits", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("num_qubits", [4, 7, 11])
def test_rows_side_by_side(
    num_qubits: int, matrix_qubits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All numbers ``T`` of rows: the other lanes come from the index."""
    circuit = circuit_of(num_qubits, matrix_qubits)
    rows = 33 if num_qubits < 11 else 3
    values = list(numbers(rows, own_weights=False))
    monkeypatch.setattr(simulator, "CACHED_NUMBERS", LANES << num_qubits)
    expected, seen = everything(made(circuit), *values), set()
    half = (num_qubits - matrix_qubits) // 2  # as many as a matrix leaves
    stays = matrix_qubits > 1  # one on a single qubit becomes rotations
    lane_bits = min(5, half if stays else num_qubits)
    for most in (16, 8, 4, 2, 1):
        monkeypatch.setattr(simulator, "CACHED_NUMBERS", most << num_qubits)
        s = made(circuit)
        _, kept = s.evaluate(*values[:2], keep=True)
        seen.add(kept.rows_t)
        assert_close(everything(s, *values), expected, EXACT * 10)
    most = 16 if rows == 33 else 4
    assert seen == {max(t, LANES >> lane_bits) for t in (16, 8, 4, 2, 1) if t <= most}


@pytest.mark.parametrize("inputs_first", [True, False])
@pytest.mark.parametrize("rows", [1, 40])
def test_only_the_wanted_gradients(rows: int, inputs_first: bool) -> None:
    """The backward sweep ends at the first gate whose angle matters."""
    x, w = ParameterVector("x", 6), ParameterVector("w", 6)
    circuit = QuantumCircuit(6)
    for vector in (x, w) if inputs_first else (w, x):
        for q in range(6):
            circuit.rx(vector[q], q)
            circuit.rxx(vector[q] + 0.1, q, (q + 2) % 6)
            circuit.ry(0.3 + q, q)
    program = CircuitProgram(circuit, observables_of(6), input_params=x)
    columns = (program.input_columns, program.weight_columns)
    s = StatevectorSimulator(program.analysed, program.readout, *columns)
    rng = np.random.default_rng(rows)
    values = rng.normal(size=(rows, 6)), rng.normal(size=(1, 6)), rng.normal(size=(rows, 3))
    gx, gw = s.vjp(*values)
    only_x, no_w = s.vjp(*values, wanted=(True, False))
    no_x, only_w = s.vjp(*values, wanted=(False, True))
    assert_close((only_x, only_w), (gx, gw), EXACT)
    assert not no_w.any()
    assert not no_x.any()


@pytest.mark.parametrize("matrix_qubits", [0, 2])
@pytest.mark.parametrize("rows", [1, 3, 32])
def test_sizes_of_blocks(rows: int, matrix_qubits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    circuit, results = circuit_of(9, matrix_qubits), []
    for block_bits in range(1, 7):
        monkeypatch.setattr(schedule, "BLOCK_BITS", block_bits)
        results.append(everything(made(circuit), *numbers(rows, own_weights=False)))
    for found in results[1:]:
        assert_close(found, results[0], EXACT * 10)


@pytest.mark.parametrize("num_qubits", [*range(1, 13), 15])
def test_one_row_of_any_width(num_qubits: int) -> None:
    """Values against Qiskit; each derivative against the one of lower order, over a small step."""
    circuit = circuit_of(num_qubits)
    s = made(circuit)
    x, w, c, dx, dw, _ = numbers(1, own_weights=False)
    bound = circuit.assign_parameters(np.concatenate([x[0], w[0]]))
    psi = Statevector(bound)
    expected = [psi.expectation_value(o).real for o in observables_of(num_qubits)]
    np.testing.assert_allclose(s.evaluate(x, w)[0][0], expected, rtol=0, atol=EXACT * 12)
    gx, gw = s.vjp(x, w, c)
    along = (gx * dx).sum() + (gw * dw).sum()
    np.testing.assert_allclose((c * s.tangent(x, w, dx, dw)).sum(), along, rtol=0, atol=EXACT * 100)

    def at(step: float) -> np.ndarray:
        moved = (x + step * dx, w + step * dw)
        parts = (s.evaluate(*moved)[0], *s.vjp(*moved, c))
        return np.concatenate([part.ravel() for part in parts])

    h = 1e-4
    central = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
    turned = s.vjp_tangent(x, w, c, dx, dw, 0 * c)
    exact = np.concatenate([part.ravel() for part in (s.tangent(x, w, dx, dw), *turned)])
    # The five-point formula errs by h**4 / 30 times a fifth derivative. All angles together turn
    # at a rate of at most 127, so that is at most 1e-16 * 127**5 / 30 = 1.1e-7 of what is derived.
    np.testing.assert_allclose(exact, central, rtol=1.1e-7, atol=1.1e-7)


@pytest.mark.parametrize("num_qubits", [2, 5, 8, 11])
@pytest.mark.parametrize("rows", [1, 33])
def test_single_precision(num_qubits: int, rows: int) -> None:
    """Each operation rounds each amplitude by some 6e-8: a state of ``G`` of them errs by that.

    Roundings do not add up in one direction, but the bound lets them: 4 * G * 6e-8.
    """
    circuit = circuit_of(num_qubits, 2 if num_qubits > 2 else 0)
    single, double = made(circuit, np.complex64), made(circuit)
    values = list(numbers(rows, own_weights=True))
    found, expected = everything(single, *values), everything(double, *values)
    assert_close(found, expected, 4 * (len(single.operations) + 20) * 6e-8)
    assert np.abs(found[0] - expected[0]).max() > 1e-10  # it is not double precision


def test_states_have_the_dtype() -> None:
    program = CircuitProgram(circuit_of(3))
    for dtype in (np.complex64, np.complex128):
        s = StatevectorSimulator(
            program.analysed, None, program.input_columns, program.weight_columns, dtype=dtype
        )
        states = s.states(np.zeros((5, 0)), np.ones((1, 8)))
        assert states.shape == (5, 8)
        assert states.dtype == dtype
