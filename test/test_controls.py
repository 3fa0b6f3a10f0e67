# SPDX-License-Identifier: Apache-2.0
"""Controls on unbound angles, written gate by gate, are exact with their phases."""

from __future__ import annotations

import pytest
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.circuit.library import (
    HGate,
    PhaseGate,
    RXGate,
    RXXGate,
    RYGate,
    RZGate,
    U1Gate,
    U2Gate,
    U3Gate,
    UGate,
)
from qiskit.quantum_info import Operator

from qiskit_torch_bridge.program.definitions import control

A, B, C = Parameter("a"), Parameter("b"), Parameter("c")
NUMBERS = {A: 0.7, B: -1.3, C: 2.1}


def block(gate):
    circuit = QuantumCircuit(gate.num_qubits, global_phase=A / 3)
    circuit.append(gate, range(gate.num_qubits))
    return circuit


@pytest.mark.parametrize("num_controls", [1, 2, 3])
@pytest.mark.parametrize(
    "gate",
    [
        RXGate(A),
        RYGate(A),
        RZGate(2 * A),
        PhaseGate(A),
        U1Gate(A),
        UGate(A, B, C),
        U3Gate(A, B, C),
        U2Gate(A, B),
        RXXGate(A),
        HGate(),
    ],
    ids=lambda g: g.name,
)
def test_every_state_of_the_controls(gate, num_controls):
    """Equal as operators, not only up to a phase: controls make phases matter."""
    free = block(gate)
    for state in range(2**num_controls):
        written = control(free, num_controls, state)
        numbers = {p: x for p, x in NUMBERS.items() if p in free.parameters}
        bound = free.assign_parameters(numbers).to_gate()
        expected = QuantumCircuit(num_controls + gate.num_qubits)
        expected.append(
            bound.control(num_controls, ctrl_state=state, annotated=False), expected.qubits
        )
        assert Operator(written.assign_parameters(numbers)) == Operator(expected)
