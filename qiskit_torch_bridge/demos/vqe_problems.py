# SPDX-License-Identifier: Apache-2.0
"""The Hamiltonians and circuits of the VQE demonstration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from scipy.sparse.linalg import eigsh

from ..arrays import FloatArray
from .step_sizes import StepSizes

H2 = SparsePauliOp.from_list(
    [
        ("II", -1.052373245772859),
        ("IZ", 0.39793742484318045),
        ("ZI", -0.39793742484318045),
        ("ZZ", -0.01128010425623538),
        ("XX", 0.18093119978423156),
    ]
)
"""Hydrogen at 0.735 angstrom in the STO-3G basis, by parity mapping on two qubits; in hartree."""


class Problem(NamedTuple):
    """A ground state to find.

    Attributes:
        title: What it is.
        unit: The energy's unit.
        operator: The Hamiltonian.
        ansatz: Its parameters are all trained; at zero it prepares a classical state.
        start: The initial weights.
        exact: The ground state energy by exact diagonalization.
        budget: The evaluations that each optimizer may spend.
        step_sizes: Those of the optimizers chosen.
    """

    title: str
    unit: str
    operator: SparsePauliOp
    ansatz: QuantumCircuit
    start: FloatArray
    exact: float
    budget: int
    step_sizes: StepSizes


def rotation_ansatz(flipped: Sequence[bool], reps: int) -> QuantumCircuit:
    """Return RY rotations with CZ entanglers between them, after X gates on ``flipped`` qubits."""
    size = len(flipped)
    theta = iter(ParameterVector("theta", size * (reps + 1)))
    circuit = QuantumCircuit(size)
    circuit.x([qubit for qubit in range(size) if flipped[qubit]])
    for layer in range(reps + 1):
        if layer:
            for qubit in range(size - 1):
                circuit.cz(qubit, qubit + 1)
        for qubit in range(size):
            circuit.ry(next(theta), qubit)
    return circuit


def exchange_ansatz(num_qubits: int, reps: int) -> QuantumCircuit:
    r"""Return pairs in singlet states, and layers of :math:`e^{-i\theta (XX + YY + ZZ) / 2}`.

    Each of them swaps two neighbours in part, so the total spin stays zero, as it is in the ground
    state. Every bond of every layer has an angle of its own.
    """
    bonds = [(q, q + 1) for first in (1, 0) for q in range(first, num_qubits - 1, 2)]
    theta = iter(ParameterVector("theta", reps * len(bonds)))
    circuit = QuantumCircuit(num_qubits)
    for qubit in range(0, num_qubits, 2):
        circuit.x([qubit, qubit + 1])
        circuit.h(qubit)
        circuit.cx(qubit, qubit + 1)
    for _ in range(reps):
        for bond in bonds:
            angle = next(theta)
            circuit.rxx(angle, *bond)
            circuit.ryy(angle, *bond)
            circuit.rzz(angle, *bond)
    return circuit


def heisenberg(num_qubits: int) -> SparsePauliOp:
    """Return the antiferromagnetic Heisenberg chain with open ends, in units of J."""
    terms = [
        (pauli, [qubit, qubit + 1], 1.0)
        for qubit in range(num_qubits - 1)
        for pauli in ("XX", "YY", "ZZ")
    ]
    return SparsePauliOp.from_sparse_list(terms, num_qubits=num_qubits)


def exact_energy(operator: SparsePauliOp) -> float:
    """Return the lowest eigenvalue."""
    matrix = operator.to_matrix(sparse=True)
    start = np.random.default_rng(0).normal(size=matrix.shape[0])  # ARPACK's own is not repeatable
    return float(eigsh(matrix, k=1, which="SA", return_eigenvectors=False, v0=start)[0])
