# SPDX-License-Identifier: Apache-2.0
r"""Rewriting circuits exactly: into gates that a rule or a simulator accepts, and one angle each.

Definitions are followed until every instruction is accepted. Controlled Pauli rotations are
written as two commuting rotations, so no fixed gates come between:

.. math:: C\text{-}e^{-i\theta P/2} = e^{-i\theta P/4}\, e^{+i\theta Z_c P/4}.

The global phase is dropped: expectation values do not depend on it.

Aer ties noise to the names of gates, or to their labels where they have some. Where it is to find
the noise of a gate that is rewritten, the gate's name is the label of the last step in its place,
and the other steps have labels that no noise is tied to.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from qiskit.circuit import (
    AnnotatedOperation,
    Barrier,
    ControlFlowOp,
    ControlledGate,
    Delay,
    Gate,
    Operation,
    Parameter,
    ParameterExpression,
    ParameterVector,
    QuantumCircuit,
    Qubit,
)
from qiskit.circuit.library import (
    CPhaseGate,
    CRXGate,
    CRYGate,
    CRZGate,
    CU1Gate,
    HamiltonianGate,
    Initialize,
    Isometry,
    PauliEvolutionGate,
    PhaseGate,
    RXGate,
    RXXGate,
    RYGate,
    RYYGate,
    RZGate,
    RZXGate,
    RZZGate,
    StatePreparation,
    U1Gate,
    U2Gate,
    U3Gate,
    UGate,
    UnitaryGate,
)

from ..exceptions import CircuitError
from .annotated import annotated_definition, controlled
from .expressions import affine_form, expressions_of, is_free
from .product_formula import ProductFormula

UNIT_SHIFT_GATES = (
    RXGate,
    RYGate,
    RZGate,
    PhaseGate,
    UGate,
    U1Gate,
    U2Gate,
    U3Gate,
    RXXGate,
    RYYGate,
    RZZGate,
    RZXGate,
    CPhaseGate,
    CU1Gate,
)
"""Gates each of whose angles alone has a generator with two eigenvalues one apart."""

LEAVES = (
    Barrier,
    Delay,
    HamiltonianGate,
    Initialize,
    Isometry,
    PauliEvolutionGate,
    ProductFormula,
    StatePreparation,
    UnitaryGate,
)
"""Operations that are known for what they are, and not looked into."""

Step = tuple[Operation, tuple[Any, ...]]
"""An operation and its qubits, or the indices of these."""

STANDARD_GATES = "qiskit.circuit.library.standard_gates"


_KINDS: dict[type[Operation], type[Operation]] = {}
_STANDARD: dict[type[Operation], bool] = {}


def kind_of(operation: Operation) -> type[Operation]:
    """Return the class of an operation, Qiskit's shared instances looked through."""
    own = type(operation)
    kind = _KINDS.get(own)
    if kind is None:
        kind = getattr(operation, "base_class", own)
        if kind.__module__.startswith("qiskit."):  # others may come and go
            _KINDS[own] = kind
            _STANDARD[own] = kind.__module__.startswith(STANDARD_GATES)
    return kind


def is_standard(operation: Operation) -> bool:
    """Whether the operation is one of Qiskit's standard gates itself, not a gate built from it."""
    found = _STANDARD.get(type(operation))
    return kind_of(operation).__module__.startswith(STANDARD_GATES) if found is None else found


def accepts_shift(operation: Operation) -> bool:
    """Accept what a two-term shift of each angle differentiates exactly."""
    return not expressions_of(operation) or kind_of(operation) in UNIT_SHIFT_GATES


def accepts_aer(operation: Operation) -> bool:
    """Accept what Aer runs and binds correctly.

    Aer's EstimatorV2 ignores parameters of controlled gates and knows no library blocks, so only
    parameterized gates without control stay.
    """
    kind = kind_of(operation)
    if is_box(operation):
        return False
    if expressions_of(operation):
        return kind in UNIT_SHIFT_GATES and kind not in (CPhaseGate, CU1Gate)
    if isinstance(operation, (Barrier, Delay, ControlFlowOp, Initialize, UnitaryGate)):
        return True
    return is_standard(operation) and operation.name in _AER_FIXED


_AER_FIXED = frozenset(
    "ccx ccz cp cswap cu cu1 cu3 cx cy cz crx cry crz csx ecr h id p r rx rxx ry ryy rz rzx rzz "  # noqa: SIM905
    "s sdg swap sx sxdg t tdg u u1 u2 u3 x y z".split()
)


_AER_NAMES = _AER_FIXED | {"cu2", "mcphase", "mcu1", "mcx", "mcx_gray"}
MAX_CARRIED = 5  # qubits; noise on more of them could not be simulated


def is_box(operation: Operation) -> bool:
    """Whether the operation is a box, whose body is run once, on any condition."""
    return operation.name == "box" and isinstance(operation, ControlFlowOp)


def box_settings(operation: Operation) -> tuple[Any, ...]:
    """Return what a box says beside its body: annotations (new in Qiskit 2.1), and a duration."""
    return list(getattr(operation, "annotations", ())), operation.duration, operation.unit


def operations_of(circuit: QuantumCircuit) -> Iterator[Operation]:
    """Yield a circuit's operations in their order, those in boxes in place of the boxes."""
    for instruction in circuit.data:
        if is_box(instruction.operation):
            yield from operations_of(instruction.operation.body)
        else:
            yield instruction.operation


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
    for operation, qubits in read_of(circuit) if read is None else read:
        places = tuple([index[q] for q in qubits])
        if is_box(operation):
            inside = steps_of(operation.body)
            steps += [(inner, tuple([places[q] for q in on])) for inner, on in inside]
        else:
            steps.append((operation, places))
    return steps


def read_of(circuit: QuantumCircuit) -> list[Step]:
    """Return a circuit's operations with their qubits, boxes as such."""
    return [(instruction.operation, instruction.qubits) for instruction in circuit.data]


def flattened(steps: Iterable[Step], accept: Callable[[Operation], bool]) -> Iterator[Step]:
    """Yield steps, with those that are refused expanded, and without global phases."""
    for step in steps:
        yield from _flatten(step, accept, False)


def expand(
    circuit: QuantumCircuit, accept: Callable[[Operation], bool], *, for_noise: bool = False
) -> QuantumCircuit:
    """Return ``circuit`` without global phase, with every refused instruction expanded.

    What is in a box that is accepted stays in a box with the same annotations.

    Args:
        circuit: The circuit.
        accept: Whether an operation can stay.
        for_noise: Whether noise that is tied to the names of gates must find them.
    """
    result = QuantumCircuit(circuit.qubits, circuit.clbits, name=circuit.name)
    for register in (*circuit.qregs, *circuit.cregs):
        result.add_register(register)
    _expand_into(result, circuit, (*circuit.qubits, *circuit.clbits), accept, for_noise)
    return result


def _expand_into(
    result: QuantumCircuit,
    circuit: QuantumCircuit,
    bits: Sequence[Any],
    accept: Callable[[Operation], bool],
    for_noise: bool,
) -> None:
    place = dict(zip((*circuit.qubits, *circuit.clbits), bits, strict=True))
    for instruction in circuit.data:
        operation = instruction.operation
        qubits, clbits = (
            tuple(place[b] for b in used) for used in (instruction.qubits, instruction.clbits)
        )
        if is_box(operation) and not accept(operation):
            _expand_into(result, operation.body, (*qubits, *clbits), accept, for_noise)
        elif is_box(operation):
            box = operation.replace_blocks([expand(operation.body, accept, for_noise=for_noise)])
            result.append(box, qubits, clbits, copy=False)
        elif clbits:
            result.append(operation, qubits, clbits, copy=False)
        else:
            for inner, inner_qubits in _flatten((operation, qubits), accept, for_noise):
                result.append(inner, inner_qubits, copy=False)


def without_boxes(circuit: QuantumCircuit) -> QuantumCircuit:
    """Return ``circuit`` with the contents of its boxes in place of these."""
    if not any(i.name == "box" and is_box(i.operation) for i in circuit.data):
        return circuit
    return expand(circuit, lambda operation: not is_box(operation))


def refuse_lost_noise(circuit: QuantumCircuit, names: Collection[str]) -> None:
    """Raise if noise is tied to a gate that Aer does not run but what it is made of."""
    for operation in operations_of(circuit) if names else ():
        native = is_standard(operation) and operation.name in _AER_NAMES
        if native or accepts_aer(operation):
            continue
        lost = {operation.name, getattr(operation, "label", None)} & set(names)
        if lost:
            raise CircuitError(
                f"The simulator's noise model has noise named {lost.pop()!r}, of the gate "
                f"{operation.name!r}, which Aer does not run: it runs what the gate is made of, "
                "with the noise of that. Tie noise to gates that Aer runs, or transpile the "
                "circuit to these first."
            )
        annotated = isinstance(operation, AnnotatedOperation)
        if annotated or getattr(operation, "definition", None) is not None:
            refuse_lost_noise(definition_of(operation), names)


def _flatten(step: Step, accept: Callable[[Operation], bool], for_noise: bool) -> Iterator[Step]:
    operation, qubits = step
    if accept(operation):
        yield step
        return
    # Aer has no open controls: its noise is that of the gate between two X.
    opened = for_noise and getattr(operation, "ctrl_state", None) == 0
    rewritten = None if opened else _controlled_rotation(operation, qubits)
    if rewritten is None:
        rewritten = steps_of_definition(operation, qubits)
    named = for_noise and is_standard(operation) and operation.name in _AER_NAMES
    # A block inside would be expanded without its label, some day, and its parts find their noise.
    known = functools.partial(_accepts_with_aer, accept) if named else accept
    steps = (leaf for inner in rewritten for leaf in _flatten(inner, known, for_noise))
    yield from _with_noise_of(operation, qubits, list(steps)) if named else steps


def _accepts_with_aer(accept: Callable[[Operation], bool], operation: Operation) -> bool:
    """Accept what ``accept`` does, and of fixed gates only what Aer runs as well."""
    return accept(operation) and (bool(expressions_of(operation)) or accepts_aer(operation))


def _with_noise_of(gate: Operation, qubits: tuple[Qubit, ...], steps: list[Step]) -> list[Step]:
    """Label the steps of a gate so that Aer finds its noise once, after the last of them."""
    name = gate.label or gate.name
    if (not steps or steps[-1][1] != qubits) and len(qubits) <= MAX_CARRIED:
        steps.append((UnitaryGate(np.eye(1 << len(qubits))), qubits))
    last = len(steps) - 1
    return [
        (_labelled(step, name if k == last and on == qubits else f"part of {name}"), on)
        for k, (step, on) in enumerate(steps)
    ]


def _labelled(operation: Operation, label: str) -> Operation:
    copied = operation.to_mutable()
    copied.label = label
    return copied


def steps_of_definition(operation: Operation, qubits: Sequence[Qubit]) -> list[Step]:
    """Return the instructions of an operation's definition on ``qubits``."""
    definition = definition_of(operation)
    place = dict(zip(definition.qubits, qubits, strict=True))
    return [(inner.operation, tuple(place[q] for q in inner.qubits)) for inner in definition.data]


def definition_of(operation: Operation) -> QuantumCircuit:
    """Return the definition, or refuse the operation by name if nothing is known of it.

    Operations without one, Clifford operators for example, are written as what they are made from
    or as their matrix.
    """
    if isinstance(operation, AnnotatedOperation):
        return annotated_definition(operation, definition_of)
    if isinstance(operation, PauliEvolutionGate):
        operation = with_constant_time(operation)
    try:
        definition = getattr(operation, "definition", None)
    except Exception as error:
        if isinstance(operation, ControlledGate) and expressions_of(operation):
            base = QuantumCircuit(operation.base_gate.num_qubits)
            base.append(operation.base_gate, base.qubits, copy=False)
            state = operation.ctrl_state
            return controlled(base, operation.num_ctrl_qubits, state, definition_of)
        raise opaque(operation) from error
    if definition is None and hasattr(operation, "to_circuit"):
        definition = operation.to_circuit()
    if definition is None and not expressions_of(operation) and has_matrix(operation):
        definition = QuantumCircuit(operation.num_qubits)
        definition.append(UnitaryGate(_matrix_of(operation)), definition.qubits)
    if definition is None:
        raise opaque(operation)
    return definition


def has_matrix(operation: Operation) -> bool:
    """Whether the class of an operation gives its matrix, at least where no angle is free."""
    if hasattr(operation, "__array__"):
        return True
    own = getattr(type(operation), "to_matrix", None)
    return own is not None and own is not Gate.to_matrix


def _matrix_of(operation: Operation) -> Any:
    try:
        return np.asarray(operation if hasattr(operation, "__array__") else operation.to_matrix())
    except Exception as error:
        raise opaque(operation) from error


def with_constant_time(operation: PauliEvolutionGate) -> PauliEvolutionGate:
    """Put a number for a time in which all parameters cancel, which Qiskit cannot synthesise."""
    for expression in expressions_of(operation):
        affine = affine_form(expression)
        if affine is not None and not affine[1]:
            return PauliEvolutionGate(operation.operator, affine[0], synthesis=operation.synthesis)
    return operation


def opaque(operation: Operation) -> CircuitError:
    """The error for an operation whose content cannot be known."""
    return CircuitError(
        f"The operation {operation.name!r} is opaque: it has no definition that could be "
        "differentiated or run. Give it a definition, transpile the circuit first, or replace it "
        "by standard gates."
    )


def _controlled_rotation(operation: Operation, qubits: tuple[Qubit, ...]) -> list[Step] | None:
    """Write ``crx``, ``crz``, ``cry``, ``cp`` and ``cu1`` as commuting rotations."""
    kind = kind_of(operation)
    if kind not in (CRXGate, CRYGate, CRZGate, CPhaseGate, CU1Gate):
        return None
    (theta,) = operation.params
    control, target = qubits
    half = theta / 2
    sign = 1 if operation.ctrl_state else -1  # an open control: Z of the control flips
    if kind is CRXGate:
        return [(RXGate(half), (target,)), (RZXGate(-sign * half), qubits)]
    if kind is CRZGate:
        return [(RZGate(half), (target,)), (RZZGate(-sign * half), qubits)]
    if kind is CRYGate:  # e^{-i t ZY/2} is RZX between fixed rotations that turn X into Y
        turn, back = RZGate(-math.pi / 2), RZGate(math.pi / 2)
        return [
            (RYGate(half), (target,)),
            (turn, (target,)),
            (RZXGate(-sign * half), qubits),
            (back, (target,)),
        ]
    return [
        (RZGate(sign * half), (control,)),
        (RZGate(half), (target,)),
        (RZZGate(-sign * half), qubits),
    ]


def split_angles(
    circuit: QuantumCircuit,
) -> tuple[QuantumCircuit, list[ParameterExpression]]:
    """Give each parameterized gate angle a parameter of its own.

    Returns:
        The circuit over fresh parameters, in the order in which the angles occur, and the
        expression that each of them stands for.
    """
    expressions = [e for operation in operations_of(circuit) for e in expressions_of(operation)]
    fresh = iter(ParameterVector("angle", len(expressions)))
    return _with_angles(circuit, fresh), expressions


def _with_angles(circuit: QuantumCircuit, fresh: Iterator[Parameter]) -> QuantumCircuit:
    result = circuit.copy_empty_like()
    result.global_phase = 0
    for instruction in circuit.data:
        operation = instruction.operation
        if is_box(operation):
            operation = operation.replace_blocks([_with_angles(operation.body, fresh)])
        elif expressions_of(operation):
            operation = operation.to_mutable()
            operation.params = [next(fresh) if is_free(p) else p for p in operation.params]
        result.append(operation, instruction.qubits, instruction.clbits, copy=False)
    return result
