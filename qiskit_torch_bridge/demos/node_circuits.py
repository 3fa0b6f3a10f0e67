# SPDX-License-Identifier: Apache-2.0
"""Small circuits whose angles something else chooses: an optimizer, or the layer before."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp


class Gate(NamedTuple):
    """Rotations of one qubit."""

    angles: int  # how many it takes
    append: Callable[[QuantumCircuit, int, Sequence[Parameter]], object]


def _ry_rx(circuit: QuantumCircuit, qubit: int, angles: Sequence[Parameter]) -> None:
    circuit.ry(angles[0], qubit)
    circuit.rx(angles[1], qubit)


GATES = {
    "rxry": Gate(2, _ry_rx),
    "u3": Gate(3, lambda circuit, qubit, a: circuit.u(a[0], a[1], a[2], qubit)),
    "u2": Gate(2, lambda circuit, qubit, a: circuit.u(math.pi / 2, a[0], a[1], qubit)),
    "ry": Gate(1, lambda circuit, qubit, a: circuit.ry(a[0], qubit)),
}
"""Those for one qubit. After an H gate, which comes before them, all but ``u2`` give an expectation
value of zero at small angles, where its slope is largest; ``u2`` is at a pole there."""


class NodeCircuit(NamedTuple):
    """A circuit, and what is read from it."""

    circuit: QuantumCircuit
    angles: Sequence[Parameter]
    observables: list[str] | list[SparsePauliOp]


def one_qubit(name: str, after_h: bool = True) -> NodeCircuit:
    """Return a gate of :data:`GATES` on one qubit, as a rule after an H gate, and Z."""
    gate, circuit = GATES[name], QuantumCircuit(1)
    angles = list(ParameterVector("angle", gate.angles))
    if after_h:
        circuit.h(0)
    gate.append(circuit, 0, angles)
    return NodeCircuit(circuit, angles, ["Z"])


def two_u3() -> NodeCircuit:
    """Return the same three angles on two qubits; the observable is Z summed over both."""
    circuit, angles = QuantumCircuit(2), list(ParameterVector("angle", 3))
    for qubit in range(2):
        circuit.h(qubit)
        GATES["u3"].append(circuit, qubit, angles)
    return NodeCircuit(circuit, angles, [SparsePauliOp(["IZ", "ZI"])])


def two_qubit_qaoa() -> NodeCircuit:
    """Return mixer, ZZ rotation and two Ry rotations, with five angles; Z on each qubit."""
    circuit, angles = QuantumCircuit(2), list(ParameterVector("angle", 5))
    circuit.rx(angles[0], 0)
    circuit.rx(angles[1], 1)
    circuit.rzz(-angles[2], 0, 1)
    circuit.ry(angles[3], 0)
    circuit.ry(angles[4], 1)
    return NodeCircuit(circuit, angles, ["IZ", "ZI"])


TWO_QUBITS = {"two-u3": two_u3, "qaoa": two_qubit_qaoa}
"""Circuits of two qubits."""
