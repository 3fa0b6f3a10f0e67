# SPDX-License-Identifier: Apache-2.0
"""Feature maps that tests of kernels use, and their Gram matrices by Qiskit's own states."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.circuit.library import PauliEvolutionGate, zz_feature_map
from qiskit.quantum_info import SparsePauliOp, Statevector
from torch import Tensor

X = ParameterVector("x", 2)
A = ParameterVector("a", 2)  # weights, which sort before the inputs


def product(n: int = 3) -> QuantumCircuit:
    """Ry of each feature on a qubit of its own."""
    circuit = QuantumCircuit(n)
    for q, parameter in enumerate(ParameterVector("x", n)):
        circuit.ry(parameter, q)
    return circuit


def trainable() -> QuantumCircuit:
    """Inputs scaled by weights, and weights in gates of their own."""
    circuit = QuantumCircuit(2)
    circuit.h([0, 1])
    circuit.rz(A[0] * X[0], 0)
    circuit.ry(X[1] + A[1], 1)
    circuit.crx(A[0] / 2, 0, 1)
    circuit.rz(X[0] - 2 * X[1], 1)
    circuit.ry(A[1], 0)
    return circuit


def evolved() -> QuantumCircuit:
    """An evolution by terms that do not commute, of which the order of the factors counts."""
    circuit = QuantumCircuit(2)
    circuit.h([0, 1])
    terms = SparsePauliOp(["XZ", "YI", "ZZ"], [0.7, 0.4, 1.1])
    circuit.append(PauliEvolutionGate(terms, time=X[0]), [0, 1])
    circuit.rx(X[1], 0)
    circuit.cp(X[0], 0, 1)
    circuit.append(PauliEvolutionGate(terms, time=X[1]), [1, 0])
    return circuit


def prepared() -> QuantumCircuit:
    """A fixed state to begin with, idle qubits, and a matrix."""
    circuit = QuantumCircuit(4, global_phase=0.3)
    circuit.prepare_state([0.6, 0.8j], 1)
    circuit.rx(X[0], 1)
    circuit.cx(1, 3)
    circuit.unitary(np.array([[0, 1j], [1, 0]]), [3])
    circuit.ry(X[1], 3)
    return circuit


MAPS = {
    "product": product(2),
    "zz": zz_feature_map(2, reps=2),
    "evolved": evolved(),
    "prepared": prepared(),
}


def points(*shape: int, seed: int = 0) -> Tensor:
    """Return points, each time the same ones, in double precision."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64) * 4 - 2


def states_of(circuit: QuantumCircuit, params: list[Parameter], rows: Tensor) -> list[Statevector]:
    """Return the states of all rows, by Qiskit."""
    return [
        Statevector(circuit.assign_parameters(dict(zip(params, row, strict=True))))
        for row in rows.tolist()
    ]


def fidelities(
    circuit: QuantumCircuit, params: list[Parameter], x: Tensor, y: Tensor
) -> NDArray[np.float64]:
    """Return the Gram matrix of two sets of points, by Qiskit's own states."""
    left, right = (states_of(circuit, params, rows) for rows in (x, y))
    return np.array([[abs(np.vdot(s.data, t.data)) ** 2 for t in right] for s in left])
