# SPDX-License-Identifier: Apache-2.0
"""Circuits with control flow in a form in which every parameterized gate stands for itself.

A gate in a loop is one gate in the circuit and several in the course of it: with the same angle in
each round it has that many frequencies, and no shift of one angle differentiates it. So loops over
parameters are unrolled, as a compiler does with fixed bounds. What else is brought into one form:
Qiskit 1's conditions become branches; and parameterized gates of the user's own in branches become
the gates that define them, since Qiskit's ``assign_parameters`` changes such gates in the circuit
that it copies, so that a second copy has the numbers of the first.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator

from qiskit.circuit import (
    CircuitInstruction,
    Clbit,
    ControlFlowOp,
    ForLoopOp,
    Gate,
    Instruction,
    Operation,
    Parameter,
    QuantumCircuit,
    Store,
    WhileLoopOp,
)
from qiskit.circuit.controlflow import CONTROL_FLOW_OP_NAMES

from ..exceptions import CircuitError, GradientError
from .amplitudes import AmplitudePreparation
from .binding import assign_parameters
from .definitions import (
    AT_RUN_TIME,
    blocks_of,
    condition_of,
    is_box,
    is_standard,
    special_operations_of,
)
from .evolutions import LEAVES
from .expressions import expressions_of
from .lowering import flatten

MOST_ROUNDS = 10_000
"""The most rounds of a loop that are written out."""
_LEAVING = ("break_loop", "continue_loop")
_LOOPS = (ForLoopOp, WhileLoopOp)


def parameters_of(circuit: QuantumCircuit) -> list[Parameter]:
    """Return the parameters of a circuit, without those that its loops put numbers in place of.

    Up to Qiskit 2.2 or later, a circuit counts these as its own.
    """
    found = list(circuit.parameters)
    if not _COUNTS_LOOPS or CONTROL_FLOW_OP_NAMES.isdisjoint(circuit.count_ops()):
        return found
    loops = _loop_parameters(circuit)
    return [p for p in found if p not in loops]


def _loop_parameters(circuit: QuantumCircuit) -> set[Parameter]:
    found: set[Parameter] = set()
    for instruction in circuit.data:
        operation = instruction.operation
        if isinstance(operation, ForLoopOp):
            found.update([operation.params[1]])
        found.update(*map(_loop_parameters, blocks_of(operation)))
    return found


def _counts_loops() -> bool:
    body, index = QuantumCircuit(1), Parameter("index")
    body.rz(index, 0)
    circuit = QuantumCircuit(1)
    circuit.for_loop(range(2), index, body, [0], [])
    return bool(circuit.parameters)


_COUNTS_LOOPS = _counts_loops()


def normalise_control_flow(circuit: QuantumCircuit) -> QuantumCircuit:
    """Return a circuit in the form that this module is about; itself, if it has that form already.

    Loops that nothing leaves early are unrolled if they hold parameters; others stay.

    Raises:
        CircuitError: If a loop over parameters cannot be unrolled although each round has other
            gates, or has too many rounds.
    """
    return circuit if _is_normal(circuit, inside=False) else _normalise(circuit, inside=False)


def _is_normal(circuit: QuantumCircuit, *, inside: bool) -> bool:
    for instruction in circuit.data:
        operation = instruction.operation
        if condition_of(operation) is not None:
            return False
        blocks = blocks_of(operation)
        if isinstance(operation, ForLoopOp) and operation.blocks[0].parameters:
            return False
        if not all(_is_normal(block, inside=True) for block in blocks):
            return False
        if inside and not blocks and not _stands_alone(operation):
            return False
    return True


def _normalise(circuit: QuantumCircuit, *, inside: bool) -> QuantumCircuit:
    result = circuit.copy_empty_like()
    for instruction in circuit.data:
        _append_normal(result, instruction, inside=inside)
    return result


def _append_normal(
    result: QuantumCircuit, instruction: CircuitInstruction, *, inside: bool
) -> None:
    operation, qubits, clbits = instruction.operation, instruction.qubits, instruction.clbits
    condition = condition_of(operation)
    if condition is not None:
        plain = operation.to_mutable()
        with warnings.catch_warnings():  # it is deprecated where it still exists
            warnings.simplefilter("ignore", DeprecationWarning)
            plain.condition = None
        bare = instruction.replace(operation=plain)
        with result.if_test(condition):
            _append_normal(result, bare, inside=True)
    elif isinstance(operation, ForLoopOp) and _is_unrolled(operation):
        for body in _rounds_of(operation):
            result.compose(
                _normalise(body, inside=inside), qubits, clbits, inplace=True, inline_captures=True
            )
    elif isinstance(operation, ControlFlowOp):
        blocks = [_normalise(block, inside=True) for block in operation.blocks]
        result.append(operation.replace_blocks(blocks), qubits, clbits, copy=False)
    elif inside and not _stands_alone(operation) and not clbits:
        for inner, on in flatten((operation, qubits), _stands_alone):
            result.append(inner, on, copy=False)
    else:
        result.append(operation, qubits, clbits, copy=False)


def _stands_alone(operation: Operation) -> bool:
    whole = isinstance(operation, AmplitudePreparation)  # bound by nobody else
    return whole or is_standard(operation) or not expressions_of(operation)


def _is_unrolled(loop: ForLoopOp) -> bool:
    """Whether to unroll a loop; raise if it would have to be, and cannot."""
    index, parameter, body = loop.params
    if not body.parameters:
        return False
    hint = "Write its rounds out."
    if not isinstance(index, Iterable):
        raise CircuitError(
            f"The for_loop runs over {index}, which is known at run time only, and it holds "
            f"parameters: {_names(body.parameters)}. {hint}"
        )
    if _leaves_early(body) or body.num_declared_vars:
        if parameter is None:
            return False
        what = "can be left early" if _leaves_early(body) else "declares variables"
        raise CircuitError(
            f"The for_loop over {parameter.name!r} {what}, so that it cannot be unrolled, and its "
            f"gates depend on the round. {hint}"
        )
    if len(list(index)) > MOST_ROUNDS:
        raise CircuitError(
            f"The for_loop holds parameters ({_names(body.parameters)}) and has more than "
            f"{MOST_ROUNDS} rounds. Take fewer."
        )
    return True


def _rounds_of(loop: ForLoopOp) -> Iterator[QuantumCircuit]:
    index, parameter, body = loop.params
    for value in index:
        known = parameter is not None and parameter in body.parameters
        yield assign_parameters(body, {parameter: float(value)}) if known else body


def _leaves_early(body: QuantumCircuit) -> bool:
    """Whether something in the body of a loop, but not of loops in it, leaves a round."""
    for instruction in body.data:
        operation = instruction.operation
        if operation.name in _LEAVING:
            return True
        if not isinstance(operation, _LOOPS) and any(map(_leaves_early, blocks_of(operation))):
            return True
    return False


# -- what circuits have beside gates --------------------------------------------------------------


def find_steps_at_run_time(circuit: QuantumCircuit) -> frozenset[str]:
    """Return the names of what is no gate: measurements, resets and control flow but for boxes.

    It looks into blocks and into instructions of the user's own, so that nothing is hidden there.
    """
    operations = special_operations_of(circuit)
    return frozenset(name for operation in operations for name in _find_names(operation))


def _find_names(operation: Operation) -> frozenset[str]:
    if is_standard(operation):
        return _CONDITIONED if condition_of(operation) is not None else frozenset()
    blocks = blocks_of(operation)
    if blocks:
        own = () if is_box(operation) else (operation.name,)
        return frozenset(own).union(*map(find_steps_at_run_time, blocks))
    if isinstance(operation, AT_RUN_TIME):
        return frozenset([operation.name])
    # Gates, and initializations, are what they are; other instructions may be built from anything.
    if isinstance(operation, (Gate, *LEAVES)) or not isinstance(operation, Instruction):
        return frozenset()
    definition = operation.definition
    return frozenset() if definition is None else find_steps_at_run_time(definition)


def written_bits(circuit: QuantumCircuit) -> set[Clbit]:
    """Return the classical bits that something in a circuit, or in a block of it, may write."""
    found: set[Clbit] = set()
    for instruction in circuit.data:
        operation, clbits = instruction.operation, instruction.clbits
        if blocks := blocks_of(operation):
            for block in blocks:
                place = dict(zip(block.clbits, clbits, strict=True))
                found.update(place[clbit] for clbit in written_bits(block))
        elif isinstance(operation, Store):
            found.update(node.var for node in [operation.lvalue] if isinstance(node.var, Clbit))
        else:
            found.update(clbits)
    return found


_CONDITIONED = frozenset(["if_else"])


# -- gates that are run an unknown number of times -----------------------------------------------


def find_repeated(circuit: QuantumCircuit) -> frozenset[Parameter]:
    """Return the parameters that are in loops which have not been unrolled."""
    found: set[Parameter] = set()
    for instruction in circuit.data:
        operation = instruction.operation
        for block in blocks_of(operation):
            inside = block.parameters if isinstance(operation, _LOOPS) else find_repeated(block)
            found.update(inside)
    return frozenset(found)


def repeated_error(parameters: Iterable[Parameter], rule: str) -> GradientError:
    """Return the error for parameters that are in such loops."""
    return GradientError(
        f"{rule} needs to know how often a gate is run; {_names(parameters)} is in a loop whose "
        "rounds depend on outcomes. Use gradient='finite-difference' or 'spsa', or a for_loop "
        "with fixed bounds that nothing leaves early."
    )


def _names(parameters: Iterable[Parameter]) -> str:
    return ", ".join(sorted(p.name for p in parameters))
