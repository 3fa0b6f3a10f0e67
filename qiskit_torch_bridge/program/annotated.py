# SPDX-License-Identifier: Apache-2.0
"""Definitions for annotated operations, whose controls Qiskit leaves to a later synthesis.

Qiskit annotates ``gate.control(...)`` where it cannot synthesise a control on unbound angles. It
can be done gate by gate: the control of a product is the product of the controls, and the
control of a phase is a phase gate on the controls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from qiskit.circuit import (
    AnnotatedOperation,
    Barrier,
    ControlModifier,
    Gate,
    InverseModifier,
    Operation,
    ParameterExpression,
    QuantumCircuit,
    Qubit,
)
from qiskit.circuit.library import (
    GlobalPhaseGate,
    MCPhaseGate,
    PhaseGate,
    RXGate,
    RYGate,
    RZGate,
    U2Gate,
    U3Gate,
    UGate,
    UnitaryGate,
)
from qiskit.quantum_info import Operator

Definition = Callable[[Operation], QuantumCircuit]


def annotated_definition(
    operation: AnnotatedOperation, definition_of: Definition
) -> QuantumCircuit:
    """Return a circuit of plain gates that equals an annotated operation."""
    circuit = QuantumCircuit(operation.base_op.num_qubits)
    circuit.append(operation.base_op, circuit.qubits, copy=False)
    for modifier in operation.modifiers:
        if isinstance(modifier, ControlModifier):
            control = _Control(modifier.num_ctrl_qubits, modifier.ctrl_state, circuit.num_qubits)
            control.block(circuit, control.targets, definition_of)
            circuit = control.result
        elif isinstance(modifier, InverseModifier):
            circuit = circuit.inverse()
        elif modifier.power == int(modifier.power):
            base = circuit if modifier.power >= 0 else circuit.inverse()
            circuit = base.repeat(abs(int(modifier.power)))
        else:
            matrix = Operator(circuit).power(modifier.power)
            circuit = QuantumCircuit(circuit.num_qubits)
            circuit.append(UnitaryGate(matrix), circuit.qubits)
    return circuit


class _Control:
    """Writes the controlled form of blocks into one circuit."""

    def __init__(self, num_controls: int, state: int, num_targets: int) -> None:
        self.result = QuantumCircuit(num_controls + num_targets)
        self.controls = self.result.qubits[:num_controls]
        self.targets = self.result.qubits[num_controls:]
        self.state = state

    def block(
        self, block: QuantumCircuit, qubits: Sequence[Qubit], definition_of: Definition
    ) -> None:
        """Append the controlled form of all gates of ``block``, and of its phase."""
        self.phase(block.global_phase)
        place = dict(zip(block.qubits, qubits, strict=True))
        for instruction in block.data:
            operation = instruction.operation
            targets = [place[q] for q in instruction.qubits]
            free = any(
                isinstance(p, ParameterExpression) and p.parameters for p in operation.params
            )
            if isinstance(operation, GlobalPhaseGate):
                self.phase(operation.params[0])
            elif isinstance(operation, Barrier):
                continue
            elif isinstance(operation, (UGate, U3Gate, U2Gate)) and free:
                self._euler(operation, targets)
            elif isinstance(operation, (RXGate, RYGate, RZGate, PhaseGate)) or (
                isinstance(operation, Gate) and not free
            ):
                self._append(operation, targets)
            else:
                self.block(definition_of(operation), targets, definition_of)

    def phase(self, angle: ParameterExpression | float) -> None:
        """Give the phase to the states in which all controls are as wanted."""
        if not isinstance(angle, ParameterExpression) and angle == 0:
            return
        opened = [q for i, q in enumerate(self.controls) if not self.state >> i & 1]
        gate = (
            PhaseGate(angle)
            if len(self.controls) == 1
            else MCPhaseGate(angle, len(self.controls) - 1)
        )
        for q in opened:
            self.result.x(q)
        self.result.append(gate, self.controls)
        for q in opened:
            self.result.x(q)

    def _euler(self, operation: Gate, targets: Sequence[Qubit]) -> None:
        """U is RZ(phi) RY(theta) RZ(lambda) with a phase of half of phi plus lambda."""
        *theta, phi, lam = operation.params
        angle = theta[0] if theta else math.pi / 2
        for gate in (RZGate(lam), RYGate(angle), RZGate(phi)):
            self._append(gate, targets)
        self.phase((phi + lam) / 2)

    def _append(self, gate: Gate, targets: Sequence[Qubit]) -> None:
        controlled = gate.control(len(self.controls), ctrl_state=self.state, annotated=False)
        self.result.append(controlled, [*self.controls, *targets], copy=False)
