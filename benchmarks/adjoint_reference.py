# SPDX-License-Identifier: Apache-2.0
"""The numbers that every candidate must return, from a few lines of NumPy in double precision.

The adjoint method (Jones and Gacon, arXiv:2009.02823) on tensors with one axis per qubit, row by
row and gate by gate: slow, short and independent of everything that is timed.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from workloads import Gate, Observable, Workload

PAULIS = {
    "X": np.array([[0, 1], [1, 0]], dtype=complex),
    "Y": np.array([[0, -1j], [1j, 0]]),
    "Z": np.array([[1, 0], [0, -1]], dtype=complex),
}
State = NDArray[np.complex128]  # (2,) * n, the axis of qubit 0 last


class Step(NamedTuple):
    """What a training step computes; gradients are those of the sum of all expectation values.

    Where outcomes have costs, values are probabilities and the sum is that of all mean costs.
    """

    evs: NDArray[np.float64]  # (B, O), or (B, 2**n)
    by_inputs: NDArray[np.float64]  # (B, I)
    by_weights: NDArray[np.float64]  # (W,)


def step(work: Workload) -> Step:
    """Return values and gradients of a workload."""
    inputs = work.x.shape[1]
    read = probabilities if len(work.costs) else expectations
    evs = np.array([read(work, values) for values in work.values])
    gradient = np.array([_gradient(work, values) for values in work.values])
    return Step(evs, gradient[:, :inputs], gradient[:, inputs:].sum(0))


def stored_step(work: Workload, folder: Path) -> Step:
    """Return values and gradients of a workload from a file in a folder, which is made if need be.

    At 20 qubits they take minutes. The name of a file tells what is computed, and how.
    """
    arrays = [array.tolist() for array in (work.x, work.w, work.costs)]
    asked = repr((work.qubits, work.gates, work.observables, arrays)).encode()
    digest = hashlib.sha256(Path(__file__).read_bytes() + asked).hexdigest()
    path = folder / f"{digest[:32]}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(path, **step(work)._asdict())
    with np.load(path) as found:
        return Step(**found)


def difference(found: Step, expected: Step) -> float:
    """Return the largest deviation, in units of 1 or of the largest number, if that is larger."""
    worst = 0.0
    for mine, theirs in zip(found, expected, strict=True):
        if mine.shape != theirs.shape:
            raise ValueError(f"expected shape {theirs.shape}, got {mine.shape}")
        if theirs.size:
            scale = max(1.0, float(np.abs(theirs).max()))
            worst = max(worst, float(np.abs(mine - theirs).max()) / scale)
    return worst


def expectations(work: Workload, values: NDArray[np.float64]) -> list[float]:
    """Return the expectation values at one row of values."""
    ket = _evolve(work, values)
    return [float(np.vdot(ket, _observe(o, ket)).real) for o in work.observables]


def probabilities(work: Workload, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probabilities of all outcomes at one row of values."""
    return np.abs(_evolve(work, values).ravel()) ** 2


def _evolve(work: Workload, values: NDArray[np.float64]) -> State:
    ket = np.zeros((2,) * work.qubits, dtype=complex)
    ket.flat[0] = 1
    for gate in work.gates:
        ket = _apply(gate, values, ket)
    return ket


def _gradient(work: Workload, values: NDArray[np.float64]) -> NDArray[np.float64]:
    ket = _evolve(work, values)
    bra = ket * work.costs.reshape(ket.shape) if len(work.costs) else _observe(work.total, ket)
    gradient = np.zeros(len(values))
    for gate in reversed(work.gates):
        if gate.parameter is not None:
            generator = _generator(gate, ket)
            gradient[gate.parameter] += gate.factor * np.vdot(bra, generator).imag
        ket = _apply(gate, -values, ket)
        bra = _apply(gate, -values, bra)
    return gradient


def _generator(gate: Gate, state: State) -> State:
    """Apply the Pauli string that a rotation is about: a letter for each qubit."""
    for letter, qubit in zip(gate.name[1:].upper(), gate.qubits, strict=True):
        state = _on_qubit(PAULIS[letter], qubit, state)
    return state


def _apply(gate: Gate, values: NDArray[np.float64], state: State) -> State:
    if gate.name == "h":
        return _on_qubit((PAULIS["X"] + PAULIS["Z"]) / np.sqrt(2), gate.qubits[0], state)
    if gate.parameter is None:
        control, target = (_axis(q, state) for q in gate.qubits)
        state = state.copy()
        ones = [slice(None)] * state.ndim
        ones[control] = 1
        axis = target - (target > control)
        state[tuple(ones)] = np.flip(state[tuple(ones)], axis)
        return state
    half = gate.factor * values[gate.parameter] / 2
    if len(gate.qubits) > 1:
        return np.cos(half) * state - 1j * np.sin(half) * _generator(gate, state)
    pauli = PAULIS[gate.name[1].upper()]
    return _on_qubit(np.cos(half) * np.eye(2) - 1j * np.sin(half) * pauli, gate.qubits[0], state)


def _observe(observable: Observable, state: State) -> State:
    total = np.zeros_like(state)
    for word, qubits, coefficient in observable:
        term = state
        for letter, qubit in zip(word, qubits, strict=True):
            term = _on_qubit(PAULIS[letter], qubit, term)
        total += coefficient * term
    return total


def _on_qubit(matrix: NDArray[np.complex128], qubit: int, state: State) -> State:
    axis = _axis(qubit, state)
    return np.moveaxis(np.tensordot(matrix, state, axes=(1, axis)), 0, axis)


def _axis(qubit: int, state: State) -> int:
    return state.ndim - 1 - qubit
