# SPDX-License-Identifier: Apache-2.0
"""Pauli strings, the Clifford frame, quarter turns and Euler angles are held to matrices.

Products of Pauli strings are exact. Matrices of a few dozen rounded entries near 1 agree to 1e-12.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit
from qiskit.circuit import Gate
from qiskit.circuit import library as lib
from qiskit.quantum_info import (
    Clifford,
    Operator,
    Pauli,
    SparsePauliOp,
    random_clifford,
    random_unitary,
)

from qiskit_torch_bridge import AnalysedCircuit
from qiskit_torch_bridge.simulation.tape.compile_tape import compile_tape
from qiskit_torch_bridge.simulation.tape.operations import (
    CLIFFORDS,
    EULER,
    ROTATIONS,
    count_quarter_turns,
    find_euler_angles,
)
from qiskit_torch_bridge.simulation.tape.paulis import (
    CliffordFrame,
    PauliString,
    find_masks,
    make_pauli_string,
)

N = 3
EXACT = 1e-12
STRINGS = st.builds(PauliString, *[st.integers(0, 2**N - 1)] * 2, st.integers(0, 3))
QUARTERS = st.tuples(
    st.builds(make_pauli_string, st.text("XYZ", min_size=N, max_size=N), st.permutations(range(N))),
    st.integers(-5, 5),
)


def matrix_of(pauli: PauliString, num_qubits: int = N) -> np.ndarray:
    """``i**k X**x Z**z`` by its action on basis states."""
    matrix = np.zeros((2**num_qubits, 2**num_qubits), dtype=complex)
    for i in range(2**num_qubits):
        matrix[i ^ pauli.x, i] = 1j**pauli.k * (-1) ** (i & pauli.z).bit_count()
    return matrix


def turn(pauli: PauliString, quarters: int) -> np.ndarray:
    """The matrix of a rotation by whole quarter turns."""
    half = quarters * np.pi / 4
    return np.cos(half) * np.eye(2**N) - 1j * np.sin(half) * matrix_of(pauli)


def assert_conjugates(frame: CliffordFrame, f: np.ndarray) -> None:
    """The frame makes of every Pauli string what the matrix ``f`` makes of it."""
    for letters in itertools.product("IXYZ", repeat=N):
        pauli = make_pauli_string("".join(letters), range(N))
        expected = f.conj().T @ matrix_of(pauli) @ f
        np.testing.assert_allclose(matrix_of(frame.conjugate(pauli)), expected, atol=EXACT)


def assert_equal_up_to_phase(a: np.ndarray, b: np.ndarray) -> None:
    assert abs(abs(np.vdot(a, b)) / len(a) - 1) < EXACT


@given(STRINGS, STRINGS)
def test_products(a: PauliString, b: PauliString) -> None:
    product = matrix_of(a) @ matrix_of(b)
    np.testing.assert_array_equal(matrix_of(a * b), product)
    np.testing.assert_array_equal(matrix_of(a.times_i(3)), -1j * matrix_of(a))
    assert a.commutes(b) == np.array_equal(product, matrix_of(b) @ matrix_of(a))


@given(st.text("IXYZ", min_size=N, max_size=N), st.permutations(range(N)))
def test_letters(letters: str, qubits: list[int]) -> None:
    label = "".join(letters[qubits.index(q)] for q in reversed(range(N)))
    pauli = make_pauli_string(letters, qubits)
    np.testing.assert_array_equal(matrix_of(pauli), Pauli(label).to_matrix())


def random_place(gate: Gate) -> tuple[list[int], np.ndarray]:
    """Qubits that are neither in order nor adjacent, and the gate's matrix there."""
    qubits = [2, 0][: gate.num_qubits]
    circuit = QuantumCircuit(N)
    circuit.append(gate, qubits)
    return qubits, Operator(circuit).data


@pytest.mark.parametrize("kind", CLIFFORDS)
def test_clifford_gates(kind: type[Gate]) -> None:
    qubits, f = random_place(kind())
    frame, product = CliffordFrame(N), np.eye(2**N)
    for letters, quarters in CLIFFORDS[kind]:
        pauli = make_pauli_string(letters, qubits)
        frame.append_rotation(pauli, quarters)
        product = turn(pauli, quarters) @ product
    assert_equal_up_to_phase(product, f)
    assert_conjugates(frame, f)


@pytest.mark.parametrize(
    ("gate", "method"),
    [
        (lib.CXGate(), CliffordFrame.append_cx),
        (lib.CZGate(), CliffordFrame.append_cz),
    ],
)
def test_shortcuts(gate: Gate, method) -> None:
    """On a frame that holds something already: a shortcut must compose, not only start."""
    qubits, f = random_place(gate)
    frame = CliffordFrame(N)
    frame.append_rotation(make_pauli_string("XYZ", range(N)), 1)
    method(frame, *qubits)
    assert_conjugates(frame, f @ turn(make_pauli_string("XYZ", range(N)), 1))


@given(st.lists(QUARTERS, max_size=8))
def test_frames_of_quarter_turns(turns: list[tuple[PauliString, int]]) -> None:
    frame, product = CliffordFrame(N), np.eye(2**N)
    for pauli, quarters in turns:
        frame.append_rotation(pauli, quarters)
        product = turn(pauli, quarters) @ product
    assert_conjugates(frame, product)
    x, z = np.divmod(np.arange(4**N), 2**N)
    k = np.bitwise_count(x & z) % 4
    images = [frame.conjugate(PauliString(*map(int, p))) for p in zip(x, z, k, strict=True)]
    many = frame.conjugate_terms(x, z)
    assert [PauliString(*map(int, p)) for p in zip(*many, strict=True)] == images


@settings(max_examples=10)
@given(st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_clifford_circuits_leave_an_empty_tape(num_qubits: int, seed: int) -> None:
    clifford: Clifford = random_clifford(num_qubits, seed=seed)
    tape = compile_tape(AnalysedCircuit(clifford.to_circuit()))
    assert tape.operations == ()
    f = Operator(clifford).data
    for q, bit in tape.position.items():
        for letter in "XZ":
            whole = matrix_of(make_pauli_string(letter, [q]), num_qubits)
            image = tape.frame.conjugate(make_pauli_string(letter, [bit]))
            spread = [sum((m >> b & 1) << r for r, b in tape.position.items()) for m in image[:2]]
            expected = f.conj().T @ whole @ f
            found = matrix_of(PauliString(*spread, image.k), num_qubits)
            np.testing.assert_allclose(found, expected, atol=EXACT)


@pytest.mark.parametrize("kind", [*ROTATIONS, *EULER])
def test_rotations(kind: type[Gate]) -> None:
    """A gate in the tables, alone on a tape, is the product of rotations that the tape holds."""
    places = EULER.get(kind)
    angles = [0.7, -1.1, 2.3][: 1 if places is None else len(places) - (None in places)]
    qubits, f = random_place(kind(*angles))
    circuit = QuantumCircuit(N)
    circuit.append(kind(*angles), qubits)
    product = np.eye(2**N)
    tape = compile_tape(AnalysedCircuit(circuit), in_full=True)
    for rotation in tape.rotations:
        x, z = (
            sum((mask >> bit & 1) << q for q, bit in tape.position.items())
            for mask in rotation.pauli[:2]
        )
        string = PauliString(x, z, rotation.pauli.k)
        product = turn(string, rotation.angle.offset / (np.pi / 2)) @ product
    assert_equal_up_to_phase(product, f)


@given(st.integers(-(10**6), 10**6))
def test_quarter_turns(turns: int) -> None:
    angle = turns * np.pi / 2
    assert count_quarter_turns(angle) == turns % 4
    # Further off than some roundings of the angle, an angle is not taken for a quarter turn.
    assert count_quarter_turns(angle + 1e-13 * max(1.0, abs(turns))) is None
    assert count_quarter_turns(angle + 0.3) is None


def euler_product(theta: float, phi: float, lam: float) -> np.ndarray:
    gates = (lib.RZGate(phi), lib.RYGate(theta), lib.RZGate(lam))
    return np.linalg.multi_dot([gate.to_matrix() for gate in gates])


@given(st.integers(0, 2**32 - 1))
def test_euler_angles_of_any_matrix(seed: int) -> None:
    matrix = random_unitary(2, seed=seed).data
    assert_equal_up_to_phase(euler_product(*find_euler_angles(matrix)), matrix)


@pytest.mark.parametrize("small", [0.0, 1e-17, 1e-16, 1e-15, 2e-15, 1e-12, 1e-8])
@pytest.mark.parametrize("flip", [False, True])
def test_euler_angles_near_the_poles(small: float, flip: bool) -> None:
    theta = np.pi - 2 * small if flip else 2 * small
    c, s = (small, np.sqrt(1 - small**2)) if flip else (np.sqrt(1 - small**2), small)
    for phi, lam, overall in itertools.product((0.0, 1.3, np.pi, -np.pi / 2), repeat=3):
        first, second = np.exp(1j * phi), np.exp(1j * lam)
        matrix = np.exp(1j * overall) * np.array(
            [[c, -second * s], [first * s, first * second * c]]
        )
        angles = find_euler_angles(matrix)
        found = euler_product(*angles)
        phase = np.vdot(found, matrix) / 2
        np.testing.assert_allclose(phase * found, matrix, rtol=0, atol=1e-14)
        assert abs(angles[0] - theta) < 1e-14


def test_masks_leave_out_what_idle_qubits_make_zero() -> None:
    operator = SparsePauliOp(["ZXI", "IIY", "XII", "YZZ", "ZZZ"], [1, 2, 3, 4, 5])
    x, z, kept = find_masks(operator, {0: 1, 1: 0})  # qubit 2 is idle
    assert kept.tolist() == [0, 1, 4]
    assert x.tolist() == [0b01, 0b10, 0b00]
    assert z.tolist() == [0b00, 0b10, 0b11]
