# SPDX-License-Identifier: Apache-2.0
"""Definitions for annotated and controlled operations that Qiskit cannot synthesise itself.

Controls on unbound angles are such: Qiskit annotates them, or raises when it is asked for their
definition. It can be done gate by gate: the control of a product is the product of the controls,
and the control of a phase is a phase gate on the controls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from qiskit.circuit import (
    AnnotatedOperation,
    Barrier,
    ControlModifier,
    Gate,
    Instruction,
    InverseModifier,
    Operation,
    ParameterExpression,
    QuantumCircuit,
    Qubit,
)
from qiskit.circuit.library import (
    GlobalPhaseGate,
    HGate,
    PhaseGate,
    RXGate,
    RYGate,
    RZGate,
    SdgGate,
    SGate,
    U1Gate,
    U2Gate,
    U3Gate,
    UGate,
    UnitaryGate,
)
from qiskit.quantum_info import Operator

from .expressions import expressions_of

Definition = Callable[[Operation], QuantumCircuit]


def annotated_definition(
    operation: AnnotatedOperation, definition_of: Definition
) -> QuantumCircuit:
    """Return a circuit of plain gates that equals an annotated operation."""
    if not isinstance(operation.base_op, Instruction):  # a Clifford, which circuits cannot invert
        circuit = definition_of(operation.base_op)
    else:
        circuit = QuantumCircuit(operation.base_op.num_qubits)
        circuit.append(operation.base_op, circuit.qubits, copy=False)
    return modified(circuit, operation.modifiers, definition_of)


def modified(
    circuit: QuantumCircuit, modifiers: Sequence[Any], definition_of: Definition
) -> QuantumCircuit:
    """Return ``circuit`` under the modifiers of an annotated operation, one after the other."""
    for modifier in modifiers:
        if isinstance(modifier, ControlModifier):
            circuit = controlled(
                circuit, modifier.num_ctrl_qubits, modifier.ctrl_state, definition_of
            )
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


def controlled(
    circuit: QuantumCircuit, num_controls: int, state: int, definition_of: Definition
) -> QuantumCircuit:
    """Return ``circuit`` under ``num_controls`` control qubits, which come first."""
    control = _Control(num_controls, state, circuit.num_qubits)
    control.block(circuit, control.targets, definition_of)
    return control.result


def _is_defined(gate: Gate) -> bool:
    """Whether Qiskit can put a control on a gate: it is standard, a matrix, or has a definition."""
    return hasattr(gate, "__array__") or gate.definition is not None


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
            free = bool(expressions_of(operation))
            if isinstance(operation, GlobalPhaseGate):
                self.phase(operation.params[0])
            elif isinstance(operation, Barrier):
                continue
            elif isinstance(operation, (UGate, U3Gate, U2Gate)) and free:
                self._euler(operation, targets[0])
            elif isinstance(operation, (RXGate, RYGate, RZGate)) and free:
                self._rotation(operation, targets[0])
            elif isinstance(operation, (PhaseGate, U1Gate)) and free:
                self._rotation(RZGate(operation.params[0]), targets[0])
                self.phase(operation.params[0] / 2)
            elif isinstance(operation, Gate) and not free and _is_defined(operation):
                controlled = operation.control(
                    len(self.controls), ctrl_state=self.state, annotated=False
                )
                self.result.append(controlled, [*self.controls, *targets], copy=False)
            else:
                self.block(definition_of(operation), targets, definition_of)

    def phase(self, angle: ParameterExpression | float) -> None:
        """Give the phase to the states in which all controls are as wanted."""
        if isinstance(angle, ParameterExpression) or angle:
            self._flip_open_controls()
            self._phase(angle, self.controls)
            self._flip_open_controls()

    def _rotation(self, gate: Gate, target: Qubit) -> None:
        """Control a rotation: only the RZ that it is, between fixed gates, needs the control."""
        into, back = {
            RXGate: ([HGate()], [HGate()]),
            RYGate: ([SdgGate(), HGate()], [HGate(), SGate()]),
            RZGate: ([], []),
        }[type(gate)]
        for fixed in into:
            self.result.append(fixed, [target])
        self._flip_open_controls()
        self._rz(gate.params[0], self.controls, target)
        self._flip_open_controls()
        for fixed in back:
            self.result.append(fixed, [target])

    def _rz(self, angle: Any, controls: Sequence[Qubit], target: Qubit) -> None:
        """Controlled RZ from RZ: two halves that add up or cancel, as the last control says."""
        if not controls:
            self.result.rz(angle, target)
            return
        *others, last = controls
        self.result.cx(last, target)
        self._rz(-angle / 2, others, target)
        self.result.cx(last, target)
        self._rz(angle / 2, others, target)

    def _phase(self, angle: Any, qubits: Sequence[Qubit]) -> None:
        """A phase where all qubits are one: P is RZ with half of its angle as a phase."""
        *controls, target = qubits
        if not controls:
            self.result.p(angle, target)
            return
        self._rz(angle, controls, target)
        self._phase(angle / 2, controls)

    def _flip_open_controls(self) -> None:
        for i, q in enumerate(self.controls):
            if not self.state >> i & 1:
                self.result.x(q)

    def _euler(self, operation: Gate, target: Qubit) -> None:
        """U is RZ(phi) RY(theta) RZ(lambda) with a phase of half of phi plus lambda."""
        *theta, phi, lam = operation.params
        angle = theta[0] if theta else math.pi / 2
        for gate in (RZGate(lam), RYGate(angle), RZGate(phi)):
            self._rotation(gate, target)
        self.phase((phi + lam) / 2)
