# SPDX-License-Identifier: Apache-2.0
"""Amplitude preparations in circuits: found wherever they are, and replaced by rotations.

What other packages have as a placeholder for amplitudes, such as ``raw_feature_vector`` of
qiskit-machine-learning, becomes an :class:`.AmplitudePreparation` when a circuit is analysed. The
exact engine takes that as it is. Estimators and samplers cannot bind amplitudes, so they are given
the rotations that it is, and angles as values: these are parameters of the circuit, but not of the
program, and follow from the program's own as a :class:`Vector` says.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from qiskit.circuit import (
    AnnotatedOperation,
    ControlFlowOp,
    ControlledGate,
    Gate,
    Instruction,
    Operation,
    Parameter,
    QuantumCircuit,
    Reset,
)
from qiskit.circuit.library import Initialize, StatePreparation

from ..arrays import FloatArray
from ..exceptions import CircuitError, InputError
from .amplitudes import (
    NAMES,
    AmplitudePreparation,
    count_angles,
    rotation_angles,
    unit_vector,
    write_rotations,
)
from .angle_map import AngleMap
from .definitions import (
    Step,
    blocks_of,
    global_phases_of,
    is_box,
    is_standard,
    operations_of,
    place_steps,
    special_operations_of,
)
from .evolutions import TIMED
from .expressions import Angle, expressions_of
from .lowering import rewrite

PLACEHOLDERS = {
    "ParameterizedInitialize": False,
    **{name: phases for phases, name in NAMES.items()},
}
"""The names of operations without a definition that prepare amplitudes, and whether these have
imaginary parts: that of qiskit-machine-learning, and this package's own, as QPY reads it back."""


_ANGLES = uuid.UUID("8a5f2f8e-7d0a-5f0e-9d5c-3b8f6f0a4c11")
"""Of which the names of angles are."""


@dataclass(frozen=True)
class Vector:
    """Numbers that a program prepares as the amplitudes of a state.

    Attributes:
        expressions: The ``V`` numbers, expressions of the program's parameters.
        is_complex: Whether the second half of them are imaginary parts.
        angles: The parameters of the circuit that are angles of rotations; none where the circuit
            has the preparation itself.
    """

    expressions: tuple[Angle, ...]
    is_complex: bool
    angles: tuple[Parameter, ...] = ()

    @property
    def num_qubits(self) -> int:
        """The number of qubits that are prepared."""
        return (len(self.expressions) >> self.is_complex).bit_length() - 1


def with_preparations(circuit: QuantumCircuit) -> QuantumCircuit:
    """Return ``circuit`` with an :class:`.AmplitudePreparation` for each preparation there is.

    They are found however deep they are in other operations, which are then replaced by their
    definitions. Where other operations have acted on the qubits before, these are reset first, as
    initializing them does.

    Raises:
        CircuitError: If one is to be inverted or controlled, or is in a block of control flow.
    """
    special = list(special_operations_of(circuit))
    blocks = (block for operation in special for block in blocks_of(operation))
    inside = itertools.chain(special, *map(operations_of, blocks))
    if not any(map(_holds_preparation, inside)):
        return circuit
    _refuse_branches(circuit)
    if not any(map(_needs_writing, operations_of(circuit))):
        return circuit
    phases: list[Angle] = []
    touched: set[object] = set()
    result = rewrite(circuit, lambda step: list(_write(step, phases, touched)))
    for phase in phases:
        result.global_phase = result.global_phase + phase
    return result


def vectors_of(steps: Iterable[Step]) -> tuple[Vector, ...]:
    """Return what the preparations among steps prepare.

    Raises:
        CircuitError: If one is not the first operation on its qubits, or the first after a reset.
    """
    touched: set[int] = set()
    found: list[Vector] = []
    for operation, qubits in steps:
        if isinstance(operation, Reset):
            touched.difference_update(qubits)
            continue
        if isinstance(operation, AmplitudePreparation) and expressions_of(operation):
            if not touched.isdisjoint(qubits):
                raise CircuitError(
                    f"The operation {operation.name!r} prepares amplitudes on qubits that other "
                    "gates have acted on. Put it first, or prepare fresh qubits."
                )
            found.append(Vector(tuple(operation.params), operation.is_complex))
        if operation.name != "barrier":
            touched.update(qubits)
    return tuple(found)


def write_out(circuit: QuantumCircuit) -> tuple[QuantumCircuit, tuple[Vector, ...]]:
    """Return ``circuit`` with rotations in place of its preparations, and what these prepare.

    The global phase of the state is another one.
    """
    name = "encoded"
    while any(p.name.startswith(name) for p in circuit.parameters):
        name = f"_{name}"
    preparations = filter(_prepares, operations_of(circuit))
    counts = [count_angles(o.num_qubits, o.is_complex) for o in preparations]
    # Wherever the same is written out, these are the same parameters.
    names = (f"{name}{k}" for k in range(sum(counts)))
    angles = iter([Parameter(each, uuid=uuid.uuid5(_ANGLES, each)) for each in names])
    vectors: list[Vector] = []

    def write(step: Step) -> list[Step]:
        operation, qubits = step
        if not _prepares(operation):
            return [step]
        count = count_angles(operation.num_qubits, operation.is_complex)
        own = tuple(next(angles) for _ in range(count))
        vectors.append(Vector(tuple(operation.params), operation.is_complex, own))
        return place_steps(write_rotations(operation.num_qubits, operation.is_complex, own), qubits)

    return rewrite(circuit, write), tuple(vectors)


def with_numbers_prepared(circuit: QuantumCircuit) -> QuantumCircuit:
    """Return ``circuit`` with Qiskit's ``StatePreparation`` where all amplitudes are numbers."""

    def write(step: Step) -> list[Step]:
        operation, qubits = step
        if not isinstance(operation, AmplitudePreparation) or expressions_of(operation):
            return [step]
        numbers = np.array([float(p) for p in operation.params])
        return [(StatePreparation(unit_vector(numbers, operation.is_complex)), qubits)]

    if not any(isinstance(i.operation, AmplitudePreparation) for i in circuit.data):
        return circuit
    return rewrite(circuit, write)


def with_vectors(circuit: QuantumCircuit, vectors: Sequence[Vector]) -> QuantumCircuit:
    """Return ``circuit`` with what it has angles for appended, for files to hold."""
    if not vectors:
        return circuit
    result = circuit.copy()
    for vector in vectors:
        gate = AmplitudePreparation(vector.expressions, vector.is_complex)
        result.append(gate, result.qubits[: vector.num_qubits])
    return result


def take_vectors(
    circuit: QuantumCircuit, angles: Sequence[Sequence[str]]
) -> tuple[QuantumCircuit, tuple[Vector, ...]]:
    """Return what :func:`with_vectors` was given, the names of angles being known."""
    known = {p.name: p for p in circuit.parameters}
    result = circuit.copy_empty_like()
    first = len(circuit.data) - len(angles)
    for instruction in circuit.data[:first]:
        result.append(instruction)
    vectors = []
    for instruction, names in zip(circuit.data[first:], angles, strict=True):
        gate = instruction.operation
        if not isinstance(gate, AmplitudePreparation):
            raise CircuitError(f"Expected the amplitudes of a vector; got {gate.name!r}.")
        own = tuple(known[name] for name in names)
        vectors.append(Vector(tuple(gate.params), gate.is_complex, own))
    return result, tuple(vectors)


class VectorMap:
    """The map from values to the vectors that are prepared, and to the angles of their rotations.

    Args:
        vectors: What is prepared.
        column_of: The place of each parameter among the values.
    """

    def __init__(self, vectors: Sequence[Vector], column_of: dict[Parameter, int]) -> None:
        self.vectors = tuple(vectors)
        self.maps = [AngleMap(v.expressions, column_of) for v in vectors]
        self.angles = [p for v in vectors for p in v.angles]

    def check(self, values: FloatArray, first_row: int = 0) -> None:
        """Raise :class:`InputError` where a vector of ``values`` ``(B, P)`` has no direction."""
        for vector, numbers in zip(self.vectors, self.maps, strict=True):
            numbers.check(values, first_row)
            largest = np.abs(numbers.angles(values)).max(-1)
            bad = np.flatnonzero(~(np.isfinite(largest) & (largest > 0)))
            if len(bad):
                what = "zero" if largest[bad[0]] == 0 else "not finite"
                raise InputError(
                    f"Expected vectors with a norm, to prepare the states that they point to; row "
                    f"{first_row + bad[0]} has {len(vector.expressions)} amplitudes "
                    f"({vector.expressions[0]}, ...) whose norm is {what}. Leave out such rows, or "
                    "give them one amplitude that is not zero."
                )

    def rotation_angles(self, values: FloatArray) -> FloatArray:
        """Return the angles ``(..., A)`` of all rotations at ``values`` ``(..., P)``."""
        found = [np.zeros((*values.shape[:-1], 0))]
        for vector, numbers in zip(self.vectors, self.maps, strict=True):
            if vector.angles:
                with np.errstate(all="ignore"):
                    found.append(rotation_angles(numbers.angles(values), vector.is_complex))
        return np.concatenate(found, -1)


def give_own_numbers(vectors: Iterable[Vector], own: Iterable[Parameter]) -> tuple[Vector, ...]:
    """Return vectors whose numbers are parameters of their own, in turn."""
    left = iter(own)
    return tuple(replace(v, expressions=tuple(next(left) for _ in v.expressions)) for v in vectors)


# -- what prepares -------------------------------------------------------------------------------


def _prepares(operation: Operation) -> bool:
    return isinstance(operation, AmplitudePreparation) and bool(expressions_of(operation))


def _refuse_branches(circuit: QuantumCircuit) -> None:
    """Raise if a preparation is in control flow other than boxes."""
    for instruction in circuit.data:
        operation = instruction.operation
        for block in operation.blocks if isinstance(operation, ControlFlowOp) else ():
            if is_box(operation):
                _refuse_branches(block)
            elif any(map(_holds_preparation, operations_of(block))):
                raise CircuitError(
                    f"The control-flow operation {operation.name!r} prepares amplitudes that are "
                    "parameters. Prepare them before, on qubits of their own."
                )


def _needs_writing(operation: Operation) -> bool:
    """Whether an operation stands for a preparation, or has one in it, but is none itself."""
    if is_standard(operation) or isinstance(operation, (AmplitudePreparation, *TIMED)):
        return False
    return bool(expressions_of(operation)) and _holds_preparation(operation)


def _holds_preparation(operation: Operation) -> bool:
    if is_standard(operation) or not expressions_of(operation) or isinstance(operation, TIMED):
        return False
    if isinstance(operation, AmplitudePreparation) or _read_placeholder(operation) is not None:
        return True
    if isinstance(operation, AnnotatedOperation):
        return _holds_preparation(operation.base_op)
    if isinstance(operation, ControlledGate):
        return _holds_preparation(operation.base_gate)
    definition = _definition_of(operation)
    return definition is not None and any(_holds_preparation(i.operation) for i in definition.data)


def _definition_of(operation: Operation) -> QuantumCircuit | None:
    """Return a definition, if Qiskit knows one."""
    try:
        definition: QuantumCircuit | None = getattr(operation, "definition", None)
    except Exception:  # of many types; whoever needs it says so
        return None
    return definition


def _read_placeholder(operation: Operation) -> AmplitudePreparation | None:
    """Return the preparation that an operation stands for; ``None`` if it is something else."""
    if isinstance(operation, (Initialize, StatePreparation)):
        return AmplitudePreparation(operation.params)
    if operation.name not in PLACEHOLDERS or not isinstance(operation, Instruction):
        return None
    is_complex = PLACEHOLDERS[operation.name]
    fits = len(operation.params) == (1 + is_complex) << operation.num_qubits
    if not fits or _definition_of(operation) is not None:
        return None
    return AmplitudePreparation(operation.params, is_complex)


def _write(step: Step, phases: list[Angle], touched: set[object]) -> Iterator[Step]:
    """Yield the steps in place of one.

    Args:
        step: The step.
        phases: To which those of definitions are added.
        touched: The qubits that something has acted on, which are added, too.
    """
    operation, qubits = step
    placeholder = _read_placeholder(operation) if _needs_writing(operation) else None
    if placeholder is not None:
        for qubit in qubits if not isinstance(operation, Gate) else ():
            if qubit in touched:
                yield Reset(), (qubit,)
        operation = placeholder
    if not _needs_writing(operation):
        if operation.name != "barrier":
            touched.update(qubits)
        yield operation, qubits
        return
    if isinstance(operation, (AnnotatedOperation, ControlledGate)):
        raise CircuitError(
            f"The operation {operation.name!r} inverts, repeats or controls a preparation of "
            "amplitudes that are parameters, which acts on zeros only. Prepare the amplitudes "
            "first, and control what comes after."
        )
    definition = _definition_of(operation)
    assert definition is not None
    phases.extend(global_phases_of(definition))
    for inner in place_steps(definition, qubits):
        yield from _write(inner, phases, touched)
