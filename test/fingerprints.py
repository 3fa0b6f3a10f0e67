# SPDX-License-Identifier: Apache-2.0
"""Requests that differ in one number each, and their digests."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from qiskit.circuit import AnnotatedOperation, Parameter, PowerModifier, QuantumCircuit
from qiskit.circuit.library import (
    HamiltonianGate,
    Initialize,
    PauliEvolutionGate,
    RXGate,
    UnitaryGate,
)
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.quantum_info import SparsePauliOp

from qiskit_torch_bridge.backends import Journal


def up(x: float) -> float:
    """The next number."""
    return math.nextafter(x, math.inf)


def circuit_of(change: Callable[[QuantumCircuit, list[Parameter]], Any]) -> QuantumCircuit:
    b, a, c = (Parameter(name) for name in "bac")
    circuit = QuantumCircuit(2)
    circuit.rx(0.1 * a + 0.3 * b + c, 0)
    change(circuit, [a, b, c])
    return circuit


def _matrix(entry: float) -> np.ndarray:
    return np.diag([1, np.exp(1j * entry), 1, 1])


def _block(angle: float) -> Any:
    inner = QuantumCircuit(1)  # its name counts the circuits made before
    inner.ry(angle, 0)
    return inner.to_gate()


GATES: dict[str, Callable[..., Any]] = {
    "angle": lambda q, p: q.rx(0.7, 0),
    "another angle": lambda q, p: q.rx(up(0.7), 0),
    "another gate": lambda q, p: q.ry(0.7, 0),
    "another qubit": lambda q, p: q.rx(0.7, 1),
    "control": lambda q, p: q.cx(0, 1),
    "another control": lambda q, p: q.cx(1, 0),
    "open control": lambda q, p: q.cx(0, 1, ctrl_state=0),
    "coefficient": lambda q, p: q.rx(0.7 * p[0], 0),
    "another coefficient": lambda q, p: q.rx(up(0.7) * p[0], 0),
    "another parameter": lambda q, p: q.rx(0.7 * p[1], 0),
    "offset": lambda q, p: q.rx(0.7 * p[0] + 0.3, 0),
    "another offset": lambda q, p: q.rx(0.7 * p[0] + up(0.3), 0),
    "product": lambda q, p: q.rx(0.7 * p[0] * p[1], 0),
    "another product": lambda q, p: q.rx((0.7 + 1e-11) * p[0] * p[1], 0),
    "function": lambda q, p: q.rx(p[0].sin() + p[1] * p[2], 0),
    "another function": lambda q, p: q.rx(p[0].cos() + p[1] * p[2], 0),
    "matrix": lambda q, p: q.append(UnitaryGate(_matrix(0.5)), [0, 1]),
    "another matrix": lambda q, p: q.append(UnitaryGate(_matrix(up(0.5))), [0, 1]),
    "state": lambda q, p: q.append(Initialize([0.6, 0.8]), [0]),
    "another state": lambda q, p: q.append(Initialize([0.8, 0.6]), [0]),
    "Hamiltonian": lambda q, p: q.append(HamiltonianGate(np.diag([1.0, 2.0]), 0.3), [0]),
    "another Hamiltonian": lambda q, p: q.append(HamiltonianGate(np.diag([1, up(2.0)]), 0.3), [0]),
    "evolution": lambda q, p: q.append(
        PauliEvolutionGate(SparsePauliOp(["ZZ"], [0.5]), p[0]), [0, 1]
    ),
    "another evolution": lambda q, p: q.append(
        PauliEvolutionGate(SparsePauliOp(["ZZ"], [0.75]), p[0]), [0, 1]
    ),
    "block": lambda q, p: q.append(_block(0.7), [0]),
    "another block": lambda q, p: q.append(_block(up(0.7)), [0]),
    "controlled block": lambda q, p: q.append(_block(0.7).control(), [0, 1]),
    "power": lambda q, p: q.append(AnnotatedOperation(RXGate(0.7), PowerModifier(2)), [0]),
    "another power": lambda q, p: q.append(AnnotatedOperation(RXGate(0.7), PowerModifier(3)), [0]),
}
POINTS = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
Z = SparsePauliOp(["ZI", "XX"], [0.1, 0.2])


def requests() -> dict[str, EstimatorPub]:
    """Make all of them anew, with parameters of their own."""
    pubs = {name: (circuit_of(change), Z, POINTS) for name, change in GATES.items()}
    plain = circuit_of(GATES["angle"])
    other = POINTS.copy()
    other[1, 2] = up(0.6)
    pubs |= {
        "another point": (plain, Z, other),
        "another shape": (plain, Z, POINTS[:, None]),
        "another observable": (plain, SparsePauliOp(["ZI", "XX"], [0.1, up(0.2)]), POINTS),
        "another Pauli": (plain, SparsePauliOp(["ZI", "XY"], [0.1, 0.2]), POINTS),
        "observables": (plain, [[Z], ["ZZ"]], POINTS),
        "precision": (plain, Z, POINTS, 0.1),
        "another precision": (plain, Z, POINTS, np.float32(0.1)),
        "fewer": (plain, Z, POINTS[:1]),
    }
    return {name: EstimatorPub.coerce(pub) for name, pub in pubs.items()}


def digests() -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "journal")
        found = {name: journal.begin(pub)[0].digest for name, pub in requests().items()}
        journal.close()
    return found
