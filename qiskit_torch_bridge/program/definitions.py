# SPDX-License-Identifier: Apache-2.0
"""What an operation is, and which gates define it, also where Qiskit cannot say so itself.

Controls on unbound angles are such a case: Qiskit annotates them, or raises when it is asked for
their definition. It can be given gate by gate: the control of a product is the product of the
controls, and the control of a phase is a phase gate on the controls.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from qiskit.circuit import (
    AnnotatedOperation,
    Barrier,
    BreakLoopOp,
    ContinueLoopOp,
    ControlFlowOp,
    ControlledGate,
    ControlModifier,
    Gate,
    Instruction,
    InverseModifier,
    Measure,
    Operation,
    ParameterExpression,
    PowerModifier,
    QuantumCircuit,
    Qubit,
    Reset,
    Store,
)
from qiskit.circuit.library import (
    GlobalPhaseGate,
    HGate,
    PauliEvolutionGate,
    PhaseGate,
    RXGate,
    RXXGate,
    RYGate,
    RYYGate,
    RZGate,
    RZXGate,
    RZZGate,
    SdgGate,
    SGate,
    U1Gate,
    U2Gate,
    U3Gate,
    UGate,
    UnitaryGate,
)
from qiskit.quantum_info import Operator

from ..exceptions import CircuitError
from .expressions import Angle, affine_form, expressions_of

Step: TypeAlias = tuple[Operation, tuple[Any, ...]]
"""An operation and its qubits, or the indices of these."""

STANDARD_GATES = "qiskit.circuit.library.standard_gates"

AT_RUN_TIME = (Measure, Reset, Store, BreakLoopOp, ContinueLoopOp)
"""What beside control flow is no gate: operations that have or depend on outcomes."""

_CLASSES: dict[type[Operation], type[Operation]] = {}
_STANDARD: dict[type[Operation], bool] = {}


def class_of(operation: Operation) -> type[Operation]:
    """Return the class of an operation, also of Qiskit's shared instances."""
    own = type(operation)
    found = _CLASSES.get(own)
    if found is None:
        found = getattr(operation, "base_class", own)
        if found.__module__.startswith("qiskit."):  # others may come and go
            _CLASSES[own] = found
            _STANDARD[own] = found.__module__.startswith(STANDARD_GATES)
    return found


def is_standard(operation: Operation) -> bool:
    """Whether the operation is one of Qiskit's standard gates itself, not a gate built from it."""
    found = _STANDARD.get(type(operation))
    return class_of(operation).__module__.startswith(STANDARD_GATES) if found is None else found


def is_box(operation: Operation) -> bool:
    """Whether the operation is a box, whose body is run once, on any condition."""
    return operation.name == "box" and isinstance(operation, ControlFlowOp)


def blocks_of(operation: Operation) -> tuple[QuantumCircuit, ...]:
    """Return the circuits that an operation of control flow runs or may run; others have none."""
    return tuple(operation.blocks) if isinstance(operation, ControlFlowOp) else ()


_HAS_CONDITIONS = hasattr(Instruction, "condition")


def condition_of(operation: Operation) -> Any:
    """Return what Qiskit 1's ``c_if`` made a gate depend on; ``None`` if it was not used."""
    own = type(operation)
    if not _HAS_CONDITIONS or own is not class_of(operation) or not hasattr(own, "condition"):
        return None  # shared instances have none
    if isinstance(operation, ControlFlowOp):
        return None  # it is what they are for
    with warnings.catch_warnings():  # even reading it is deprecated
        warnings.simplefilter("ignore", DeprecationWarning)
        return getattr(operation, "condition", None)  # annotated ones have none


def has_matrix(operation: Operation) -> bool:
    """Whether an operation without free angles has a class that gives its matrix."""
    if expressions_of(operation):
        return False
    if hasattr(operation, "__array__"):
        return True
    own = getattr(type(operation), "to_matrix", None)
    return own is not None and own is not Gate.to_matrix


# -- walks ---------------------------------------------------------------------------------------


def operations_of(circuit: QuantumCircuit) -> Iterator[Operation]:
    """Yield a circuit's operations in their order, those in blocks in place of control flow."""
    for instruction in circuit.data:
        operation = instruction.operation
        if not isinstance(operation, ControlFlowOp):
            yield operation
            continue
        for block in operation.blocks:
            yield from operations_of(block)


def special_operations_of(circuit: QuantumCircuit) -> Iterator[Operation]:
    """Yield what is no standard gate in a circuit, or is on a condition; blocks as such.

    No object is made for other gates, which are most.
    """
    for instruction in circuit.data:
        conditioned = _HAS_CONDITIONS and instruction.condition is not None
        if conditioned or not instruction.is_standard_gate():
            yield instruction.operation


def global_phases_of(circuit: QuantumCircuit) -> Iterator[Angle]:
    """Yield the global phases of a circuit and of what is in its boxes, those that are not zero."""
    if isinstance(circuit.global_phase, ParameterExpression) or circuit.global_phase:
        yield circuit.global_phase
    for instruction in circuit.data:
        if is_box(instruction.operation):
            yield from global_phases_of(instruction.operation.body)


def read_steps(circuit: QuantumCircuit) -> list[Step]:
    """Return a circuit's operations with their qubits, boxes as such."""
    return [(instruction.operation, instruction.qubits) for instruction in circuit.data]


def steps_of(circuit: QuantumCircuit, read: Iterable[Step] | None = None) -> list[Step]:
    """Return a circuit's operations with the indices of their qubits, without its boxes.

    What is in a box takes its place. Qiskit makes an object for an operation at every access to
    it, so whoever needs them more than once takes this list.

    Args:
        circuit: The circuit.
        read: Its operations and their qubits, where they have been read before.
    """
    index = {qubit: q for q, qubit in enumerate(circuit.qubits)}
    steps: list[Step] = []
    for operation, qubits in read_steps(circuit) if read is None else read:
        places = tuple([index[q] for q in qubits])
        if is_box(operation):
            inside = steps_of(operation.body)
            steps += [(inner, tuple([places[q] for q in on])) for inner, on in inside]
        else:
            steps.append((operation, places))
    return steps


# -- definitions ---------------------------------------------------------------------------------


def steps_of_definition(operation: Operation, qubits: Sequence[Qubit]) -> list[Step]:
    """Return the instructions of an operation's definition on ``qubits``."""
    return place_steps(definition_of(operation), qubits)


def place_steps(circuit: QuantumCircuit, qubits: Sequence[Qubit]) -> list[Step]:
    """Return the instructions of a circuit with other qubits in the place of its own."""
    place = dict(zip(circuit.qubits, qubits, strict=True))
    return [(inner.operation, tuple([place[q] for q in inner.qubits])) for inner in circuit.data]


def definition_of(operation: Operation) -> QuantumCircuit:
    """Return the definition, or refuse the operation by name if nothing is known of it.

    Operations without one, Clifford operators for example, are written as what they are made from
    or as their matrix.
    """
    if isinstance(operation, AnnotatedOperation):
        return _define_annotated(operation)
    if isinstance(operation, PauliEvolutionGate):
        operation = with_constant_time(operation)
    try:
        definition = getattr(operation, "definition", None)
    except Exception as error:
        if isinstance(operation, ControlledGate) and expressions_of(operation):
            base = circuit_of(operation.base_gate)
            return control(base, operation.num_ctrl_qubits, operation.ctrl_state)
        raise opaque_error(operation) from error
    if definition is None and hasattr(operation, "to_circuit"):
        definition = operation.to_circuit()
    if definition is None and has_matrix(operation):
        definition = circuit_of(UnitaryGate(_matrix_of(operation)))
    if definition is None:
        raise opaque_error(operation)
    return definition


def opaque_error(operation: Operation) -> CircuitError:
    """Return the error for an operation whose content cannot be known."""
    return CircuitError(
        f"The operation {operation.name!r} is opaque: it has no definition that could be "
        "differentiated or run. Give it a definition, transpile the circuit first, or replace it "
        "by standard gates."
    )


def with_constant_time(operation: PauliEvolutionGate) -> PauliEvolutionGate:
    """Put a number for a time in which all parameters cancel, which Qiskit cannot synthesise."""
    for expression in expressions_of(operation):
        affine = affine_form(expression)
        if affine is not None and not affine[1]:
            return PauliEvolutionGate(operation.operator, affine[0], synthesis=operation.synthesis)
    return operation


def circuit_of(operation: Operation) -> QuantumCircuit:
    """Return the circuit of one operation."""
    circuit = QuantumCircuit(operation.num_qubits)
    circuit.append(operation, circuit.qubits, copy=False)
    return circuit


def _matrix_of(operation: Operation) -> np.ndarray:
    try:
        return np.asarray(operation if hasattr(operation, "__array__") else operation.to_matrix())
    except Exception as error:
        raise opaque_error(operation) from error


# -- annotated and controlled operations ---------------------------------------------------------


def _define_annotated(operation: AnnotatedOperation) -> QuantumCircuit:
    base = operation.base_op
    # Circuits can invert and repeat instructions, but not a Clifford, for example.
    circuit = circuit_of(base) if isinstance(base, Instruction) else definition_of(base)
    return modify(circuit, operation.modifiers)


def modify(circuit: QuantumCircuit, modifiers: Sequence[object]) -> QuantumCircuit:
    """Return ``circuit`` under the modifiers of an annotated operation, one after the other."""
    for modifier in modifiers:
        if isinstance(modifier, ControlModifier):
            circuit = control(circuit, modifier.num_ctrl_qubits, modifier.ctrl_state)
        elif isinstance(modifier, InverseModifier):
            circuit = circuit.inverse()
        elif isinstance(modifier, PowerModifier):
            circuit = _raise_to_power(circuit, modifier.power)
    return circuit


def _raise_to_power(circuit: QuantumCircuit, power: float) -> QuantumCircuit:
    if power != int(power):
        return circuit_of(UnitaryGate(Operator(circuit).power(power)))
    base = circuit if power >= 0 else circuit.inverse()
    return base.repeat(abs(int(power)))


def control(
    circuit: QuantumCircuit, num_controls: int, state: int, *, phases: bool = True
) -> QuantumCircuit:
    """Return ``circuit`` under ``num_controls`` control qubits, which come first.

    Without ``phases``, those that the controls get are left out as far as they are separate gates:
    they cannot be seen where the controls hold outcomes.
    """
    writer = _ControlWriter(num_controls, state, circuit.num_qubits, phases)
    writer.append_block(circuit, writer.targets)
    return writer.result


class _ControlWriter:
    """Writes the controlled form of blocks into one circuit."""

    def __init__(self, num_controls: int, state: int, num_targets: int, phases: bool) -> None:
        self.result = QuantumCircuit(num_controls + num_targets)
        self.controls = self.result.qubits[:num_controls]
        self.targets = self.result.qubits[num_controls:]
        self.state, self.phases = state, phases

    def append_block(self, block: QuantumCircuit, qubits: Sequence[Qubit]) -> None:
        """Append the controlled form of all gates of ``block``, and of its phase."""
        self._append_phase(block.global_phase)
        for operation, targets in place_steps(block, qubits):
            if not isinstance(operation, Barrier):
                self._append(operation, targets)

    def _append(self, operation: Operation, targets: Sequence[Qubit]) -> None:
        free = bool(expressions_of(operation))
        if isinstance(operation, GlobalPhaseGate):
            self._append_phase(operation.params[0])
        elif isinstance(operation, (UGate, U3Gate, U2Gate)) and free:
            self._append_euler(operation, targets[0])
        elif isinstance(operation, (RXGate, RYGate, RZGate)) and free:
            self._append_rotation(operation, targets[0])
        elif isinstance(operation, (PhaseGate, U1Gate)) and free:
            self._append_rotation(RZGate(operation.params[0]), targets[0])
            self._append_phase(operation.params[0] / 2)
        elif isinstance(operation, (RXXGate, RYYGate, RZZGate, RZXGate)):
            self._flip_open_controls()
            self._rotate(operation, operation.params[0], self.controls, targets)
            self._flip_open_controls()
        elif isinstance(operation, Gate) and not free and _has_control(operation):
            gate = operation.control(len(self.controls), ctrl_state=self.state, annotated=False)
            self.result.append(gate, [*self.controls, *targets], copy=False)
        else:
            self.append_block(definition_of(operation), targets)

    def _append_phase(self, angle: Angle) -> None:
        """Give the phase to the states in which all controls are as wanted."""
        if self.phases and (isinstance(angle, ParameterExpression) or angle):
            self._flip_open_controls()
            self._phase(angle, self.controls)
            self._flip_open_controls()

    def _append_rotation(self, gate: Gate, target: Qubit) -> None:
        """Control a rotation: only the RZ that it is, between fixed gates, needs the control."""
        around: dict[type[Gate], tuple[list[Gate], list[Gate]]] = {
            RXGate: ([HGate()], [HGate()]),
            RYGate: ([SdgGate(), HGate()], [HGate(), SGate()]),
            RZGate: ([], []),
        }
        into, back = around[type(gate)]
        for fixed in into:
            self.result.append(fixed, [target])
        self._flip_open_controls()
        self._rz(gate.params[0], self.controls, target)
        self._flip_open_controls()
        for fixed in back:
            self.result.append(fixed, [target])

    def _append_euler(self, operation: Gate, target: Qubit) -> None:
        """U is RZ(phi) RY(theta) RZ(lambda) with a phase of half of phi plus lambda."""
        *theta, phi, lam = operation.params
        angle = theta[0] if theta else math.pi / 2
        for gate in (RZGate(lam), RYGate(angle), RZGate(phi)):
            self._append_rotation(gate, target)
        self._append_phase((phi + lam) / 2)

    def _rz(self, angle: Angle, controls: Sequence[Qubit], target: Qubit) -> None:
        """Controlled RZ from RZ: two halves that add up or cancel, as the last control says."""
        if not controls:
            self.result.rz(angle, target)
            return
        *others, last = controls
        self.result.cx(last, target)
        self._rz(-angle / 2, others, target)
        self.result.cx(last, target)
        self._rz(angle / 2, others, target)

    def _rotate(
        self, gate: Gate, angle: Angle, controls: Sequence[Qubit], targets: Sequence[Qubit]
    ) -> None:
        """Controlled rotation of two qubits, as of one: a flip of the first turns it around."""
        if not controls:
            made: Any = class_of(gate)
            self.result.append(made(angle), targets, copy=False)
            return
        *others, last = controls
        flip = self.result.cz if isinstance(gate, RXXGate) else self.result.cx
        flip(last, targets[0])
        self._rotate(gate, -angle / 2, others, targets)
        flip(last, targets[0])
        self._rotate(gate, angle / 2, others, targets)

    def _phase(self, angle: Angle, qubits: Sequence[Qubit]) -> None:
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


def _has_control(gate: Gate) -> bool:
    """Whether Qiskit can put a control on a gate: it is standard, a matrix, or has a definition."""
    return hasattr(gate, "__array__") or gate.definition is not None
