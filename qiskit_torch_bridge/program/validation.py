# SPDX-License-Identifier: Apache-2.0
"""What a circuit may contain, checked once before anything runs.

The check follows definitions as deep as parameters go, so it also finds a measurement or an opaque
gate in a custom instruction.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

from qiskit.circuit import (
    AnnotatedOperation,
    ControlFlowOp,
    Delay,
    Instruction,
    Measure,
    Operation,
    ParameterExpression,
    PowerModifier,
    QuantumCircuit,
    Reset,
)

from ..exceptions import CircuitError
from .definitions import (
    Step,
    class_of,
    definition_of,
    has_matrix,
    is_box,
    is_standard,
    operations_of,
    read_steps,
    steps_of,
)
from .evolutions import LEAVES, TIMED, Evolutions, write_out_evolutions
from .expressions import expressions_of

_HAS_CONDITIONS = hasattr(Instruction, "condition")


def validate(circuit: QuantumCircuit, evolutions: Evolutions) -> tuple[QuantumCircuit, list[Step]]:
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
    read = read_steps(circuit)
    for position, (operation, _) in enumerate(read):
        if is_standard(operation) and not is_conditioned(operation):
            continue
        if isinstance(operation, Measure) and not is_conditioned(operation):
            raise _measurement_error(circuit, position)
        _check(operation)
    result = write_out_evolutions(circuit, evolutions, [operation for operation, _ in read])
    return result, steps_of(result, read if result is circuit else None)


def _measurement_error(circuit: QuantumCircuit, position: int) -> CircuitError:
    """Return the error for a measurement, which says what can take its place."""
    measured = circuit.data[position]
    (qubit,), (clbit,) = measured.qubits, measured.clbits
    later = circuit.data[position + 1 :]
    acts = any(qubit in i.qubits and i.operation.name not in ("barrier", "measure") for i in later)
    uses = any(clbit in i.clbits and i.operation.name != "measure" for i in later)
    if not acts and not uses:
        return CircuitError(
            "The circuit contains a measurement; an estimator measures the observables itself. "
            "Remove it, for instance with circuit.remove_final_measurements(inplace=False)."
        )
    index = circuit.find_bit(qubit).index
    what = f"measures qubit {index} and then acts on it" if acts else f"measures qubit {index}"
    if uses:
        return CircuitError(
            f"The circuit {what}, and later operations depend on the outcome. Defer the "
            f"measurement: leave it out, and put gates that are controlled by qubit {index} in the "
            "place of those that depend on the outcome; to go on with the qubit as measured, copy "
            "it first onto a fresh qubit with cx."
        )
    return CircuitError(
        f"The circuit {what}; circuits are measured at their end only. A measurement whose outcome "
        "is not used has the effect of a cx from its qubit onto a fresh qubit that nothing else "
        "acts on: put that in its place, or leave it out if the circuit does not need it."
    )


def _check(operation: Operation) -> None:
    if is_conditioned(operation):
        raise CircuitError(
            f"The operation {operation.name!r} is conditioned on classical bits. Remove the "
            "condition."
        )
    if isinstance(operation, Measure):
        raise CircuitError(
            "An operation of the circuit contains a measurement; an estimator measures the "
            "observables itself. Build the operation without it. A measurement in the middle whose "
            "outcome is not used has the effect of a cx onto a fresh qubit."
        )
    if isinstance(operation, Reset):
        raise CircuitError(
            "The circuit contains a reset, which has no gradient rule. Start from fresh qubits "
            "instead."
        )
    if isinstance(operation, ControlFlowOp):
        _check_blocks(operation)
    elif isinstance(operation, Delay) and expressions_of(operation):
        raise CircuitError("A delay has a parameter as its duration, which has no gradient rule.")
    elif isinstance(operation, AnnotatedOperation):
        _check_annotated(operation)
    elif is_standard(operation) or isinstance(operation, LEAVES) or has_matrix(operation):
        return  # there is nothing to be looked into
    else:
        for inner in definition_of(operation).data:
            _check(inner.operation)


def _check_blocks(operation: ControlFlowOp) -> None:
    if not is_box(operation) and any(block.parameters for block in operation.blocks):
        raise CircuitError(
            f"The control-flow operation {operation.name!r} contains circuit parameters, which "
            "cannot be differentiated there. Move the parameterized gates out of the block."
        )
    for block in operation.blocks:
        for inner in block.data:
            _check(inner.operation)


def _check_annotated(operation: AnnotatedOperation) -> None:
    _check(operation.base_op)
    powers = [m.power for m in operation.modifiers if isinstance(m, PowerModifier)]
    if expressions_of(operation) and any(power != int(power) for power in powers):
        raise CircuitError(
            f"The operation {operation.name!r} is a fractional power of a parameterized gate, "
            "which has no definition. Scale the gate's angle instead."
        )


def is_conditioned(operation: Operation) -> bool:
    """Whether Qiskit 1's ``c_if`` was used; Qiskit 2 has no such attribute."""
    own = type(operation)
    if not _HAS_CONDITIONS or own is not class_of(operation) or not hasattr(own, "condition"):
        return False  # shared instances have none
    with warnings.catch_warnings():  # even reading it is deprecated
        warnings.simplefilter("ignore", DeprecationWarning)
        return getattr(operation, "condition", None) is not None  # annotated ones have none


def leaf_expressions(circuit: QuantumCircuit) -> Iterator[ParameterExpression]:
    """Yield the expressions of all standard gates, looking into custom definitions."""
    for operation in operations_of(circuit):
        yield from leaf_expressions_of(operation)


def leaf_expressions_of(operation: Operation) -> Iterator[ParameterExpression]:
    """Yield an operation's expressions, and those of what it is built from."""
    expressions = expressions_of(operation)
    yield from expressions
    if not expressions or is_standard(operation):
        return
    if isinstance(operation, AnnotatedOperation):
        operation = operation.base_op
    if not is_standard(operation) and not isinstance(operation, TIMED):
        yield from leaf_expressions(definition_of(operation))
