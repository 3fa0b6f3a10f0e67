# SPDX-License-Identifier: Apache-2.0
"""The transverse-field Ising chain: its Hamiltonian, its exact energy, and an ansatz for it."""

from __future__ import annotations

import math

import numpy as np
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from .problems import FloatArray


def ising(num_qubits: int, field: float) -> SparsePauliOp:
    r"""Return :math:`-\sum_q Z_qZ_{q+1} - h\sum_q X_q` with open ends."""
    bonds = [("ZZ", [q, q + 1], -1.0) for q in range(num_qubits - 1)]
    return SparsePauliOp.from_sparse_list(
        [*bonds, *(("X", [q], -field) for q in range(num_qubits))], num_qubits
    )


def free_fermion_energy(num_qubits: int, field: float) -> float:
    r"""Return the ground energy of :func:`ising`, for any number of qubits.

    In Majorana operators the chain is one of free fermions, whose energies are the singular values
    of the bidiagonal matrix with :math:`h` on its diagonal and 1 beside it; the ground state has
    minus their sum (P. Pfeuty, Annals of Physics 57, 79 (1970)).
    """
    hopping = field * np.eye(num_qubits) + np.eye(num_qubits, k=1)
    return -float(np.linalg.svd(hopping, compute_uv=False).sum())


def ising_ansatz(num_qubits: int, reps: int) -> QuantumCircuit:
    r"""Return a product state and staircases of rotations about ZY and YZ on neighbours.

    All amplitudes are real, as in the ground state. A staircase goes along the chain once, so that
    its first qubit can be correlated with its last (C. Schoen et al., Phys. Rev. Lett. 95, 110503
    (2005)), and :math:`ZY + YZ` is what suppresses excitations when the field changes (A. del
    Campo, M. Rams and W. Zurek, Phys. Rev. Lett. 109, 115703 (2012)). Every angle is a parameter.
    The bonds of the state have dimension ``4**reps``.
    """
    theta = iter(ParameterVector("theta", _num_angles(num_qubits, reps)))
    circuit = QuantumCircuit(num_qubits)
    for qubit in range(num_qubits):
        circuit.ry(next(theta), qubit)
    for _ in range(reps):
        for qubit in range(num_qubits - 1):
            for z, y in ((qubit, qubit + 1), (qubit + 1, qubit)):
                circuit.sdg(y)
                circuit.rzx(next(theta), z, y)
                circuit.s(y)
        for qubit in range(num_qubits):
            circuit.ry(next(theta), qubit)
    return circuit


def ising_start(num_qubits: int, field: float, reps: int, rng: np.random.Generator) -> FloatArray:
    r"""Return angles near a product state, with little entanglement.

    From the critical field on, spins point along the field; below, at the angle :math:`\theta` from
    the bonds' axis at which a product state has its least energy, :math:`\sin\theta=h/2`.
    """
    start = rng.uniform(-0.1, 0.1, _num_angles(num_qubits, reps))
    start[:num_qubits] += math.pi / 2 if field >= 1 else math.asin(field / 2)
    return start


def _num_angles(num_qubits: int, reps: int) -> int:
    return num_qubits + reps * (3 * num_qubits - 2)
