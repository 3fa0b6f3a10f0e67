# SPDX-License-Identifier: Apache-2.0
"""What a circuit may contain, checked once before anything runs.

The check follows definitions to the gates that they are built from, so it also finds a measurement
or an opaque gate in a custom instruction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from qiskit.circuit import (
    AnnotatedOperation,
    Barrier,
    ControlFlowOp,
    Delay,
    Measure,
    Operation,
    ParameterExpression,
    PowerModifier,
    QuantumCircuit,
)
from qiskit.circuit.library import Initialize

from ..exceptions import CircuitError
from .amplitudes import AmplitudePreparation
from .definitions import (
    AT_RUN_TIME,
    Step,
    blocks_of,
    condition_of,
    definition_of,
    has_matrix,
    is_box,
    is_standard,
    operations_of,
    read_steps,
    steps_of,
)
from .encodings import with_preparations
from .evolutions import LEAVES, TIMED, Evolutions, write_out_evolutions
from .expressions import expressions_of
from .final_measurements import split_final_measurements


class Validated(NamedTuple):
    """A circuit that can be run.

    Attributes:
        circuit: The circuit, evolutions written out.
        steps: Its operations with the indices of their qubits, without boxes.
        is_dynamic: Whether it is more than gates after preparations: it measures, resets, branches
            or initializes qubits that something has acted on.
    """

    circuit: QuantumCircuit
    steps: list[Step]
    is_dynamic: bool


def validate(circuit: QuantumCircuit, evolutions: Evolutions) -> Validated:
    """Return ``circuit`` and its steps, or raise :class:`CircuitError` naming what cannot be run.

    Evolutions by terms that do not commute are written out in the form that is asked for.
    """
    if not isinstance(circuit, QuantumCircuit):
        raise CircuitError(
            f"Expected a QuantumCircuit; got {type(circuit).__name__}. For an algorithm or a "
            "library function pass the circuit that it builds."
        )
    if not circuit.num_qubits:
        raise CircuitError("The circuit has no qubits. Give one that acts on at least one qubit.")
    circuit = with_preparations(circuit)
    read = read_steps(circuit)
    found = {_check(op) for op, _ in read if not is_standard(op) or is_conditioned(op)}
    if _DYNAMIC in found:
        _refuse_final_measurements(circuit)
    result = write_out_evolutions(circuit, evolutions, [operation for operation, _ in read])
    is_dynamic = _DYNAMIC in found or (_PREPARES in found and _prepares_again(read))
    return Validated(result, steps_of(result, read if result is circuit else None), is_dynamic)


_GATES, _PREPARES, _DYNAMIC = range(3)
"""What operations are: gates, such as may begin with a preparation, and such as need outcomes."""


def _refuse_final_measurements(circuit: QuantumCircuit) -> None:
    """Raise if all that a circuit has beside gates are measurements that end it."""
    if not any(isinstance(i.operation, Measure) for i in circuit.data):
        return
    gates = split_final_measurements(circuit).circuit
    if max((_check(i.operation) for i in gates.data), default=_GATES) < _DYNAMIC:
        raise CircuitError(
            "The circuit ends with measurements; an estimator measures the observables itself, and "
            "those of X and Y would be zero after the circuit's own. Remove these, for instance "
            "with circuit.remove_final_measurements(inplace=False), or ask for Probabilities()."
        )


def _prepares_again(read: Iterable[Step]) -> bool:
    """Whether an operation that prepares qubits comes after others that act on them."""
    touched = set[object]()
    for operation, qubits in read:
        if isinstance(operation, Barrier):
            continue
        if not touched.isdisjoint(qubits) and _check(operation) == _PREPARES:
            return True
        touched.update(qubits)
    return False


def _check(operation: Operation) -> int:
    """Return what an operation is; raise if it cannot be run or differentiated."""
    if is_conditioned(operation) or isinstance(operation, AT_RUN_TIME):
        return _DYNAMIC
    if isinstance(operation, ControlFlowOp):
        inside = [_check(i.operation) for block in operation.blocks for i in block.data]
        return max(inside, default=_GATES) if is_box(operation) else _DYNAMIC
    if isinstance(operation, Delay) and expressions_of(operation):
        raise CircuitError("A delay has a parameter as its duration, which has no gradient rule.")
    if isinstance(operation, AnnotatedOperation):
        _check_annotated(operation)
        return _GATES
    if isinstance(operation, Initialize):
        return _PREPARES
    if is_standard(operation) or isinstance(operation, LEAVES) or has_matrix(operation):
        return _GATES  # there is nothing to be looked into
    return max((_check(i.operation) for i in definition_of(operation).data), default=_GATES)


def _check_annotated(operation: AnnotatedOperation) -> None:
    if _check(operation.base_op) != _GATES:
        raise CircuitError(
            f"The operation {operation.name!r} inverts, repeats or controls one that is no gate: "
            f"{operation.base_op.name!r} measures, resets or branches. Build it from gates."
        )
    powers = [m.power for m in operation.modifiers if isinstance(m, PowerModifier)]
    if expressions_of(operation) and any(power != int(power) for power in powers):
        raise CircuitError(
            f"The operation {operation.name!r} is a fractional power of a parameterized gate, "
            "which has no definition. Scale the gate's angle instead."
        )


def is_gate(operation: Operation) -> bool:
    """Whether an operation is a gate, or is built from gates alone."""
    return _check(operation) == _GATES


def is_conditioned(operation: Operation) -> bool:
    """Whether Qiskit 1's ``c_if`` was used; Qiskit 2 has no such attribute."""
    return condition_of(operation) is not None


def leaf_expressions(circuit: QuantumCircuit) -> Iterator[ParameterExpression]:
    """Yield the expressions of all standard gates, looking into custom definitions."""
    for operation in operations_of(circuit):
        yield from leaf_expressions_of(operation)


def leaf_expressions_of(operation: Operation) -> Iterator[ParameterExpression]:
    """Yield an operation's expressions, and those of what it is built from."""
    if blocks := blocks_of(operation):
        for block in blocks:
            yield from leaf_expressions(block)
        return
    expressions = expressions_of(operation)
    yield from expressions
    if not expressions or is_standard(operation):
        return
    if isinstance(operation, AnnotatedOperation):
        operation = operation.base_op
    if not is_standard(operation) and not isinstance(operation, (*TIMED, AmplitudePreparation)):
        yield from leaf_expressions(definition_of(operation))
