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

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import numpy as np
from qiskit.circuit import (
    AnnotatedOperation,
    Barrier,
    Clbit,
    ControlFlowOp,
    Delay,
    Operation,
    Parameter,
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
    GlobalPhaseGate,
    Initialize,
    PhaseGate,
    RXGate,
    RXXGate,
    RYGate,
    RYYGate,
    RZGate,
    RZXGate,
    RZZGate,
    U1Gate,
    U2Gate,
    U3Gate,
    UGate,
    UnitaryGate,
)

from ..exceptions import CircuitError
from .amplitudes import AmplitudePreparation
from .definitions import (
    AT_RUN_TIME,
    Step,
    blocks_of,
    class_of,
    condition_of,
    definition_of,
    is_box,
    is_standard,
    operations_of,
    place_steps,
)
from .expressions import Angle, affine_form, expressions_of, is_free, with_numbers

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


def accepts_shift(operation: Operation) -> bool:
    """Accept what a two-term shift of each angle differentiates exactly, and amplitudes."""
    kind = class_of(operation)
    return not expressions_of(operation) or kind in (*UNIT_SHIFT_GATES, AmplitudePreparation)


def accepts_aer(operation: Operation) -> bool:
    """Accept what Aer runs and binds correctly.

    Aer's EstimatorV2 ignores parameters of controlled gates and knows no library blocks, so only
    parameterized gates without control stay.
    """
    kind = class_of(operation)
    if isinstance(operation, ControlFlowOp):
        return not is_box(operation)
    if condition_of(operation) is not None:
        return False
    if expressions_of(operation):
        known = kind in UNIT_SHIFT_GATES and kind not in (CPhaseGate, CU1Gate)
        return known or kind is AmplitudePreparation
    if isinstance(operation, (Barrier, Delay, Initialize, UnitaryGate, *AT_RUN_TIME)):
        return True
    return is_standard(operation) and operation.name in _AER_FIXED


_AER_FIXED = frozenset(
    "ccx ccz cp cswap cu cu1 cu3 cx cy cz crx cry crz csx ecr h id p r rx rxx ry ryy rz rzx rzz "  # noqa: SIM905
    "s sdg swap sx sxdg t tdg u u1 u2 u3 x y z".split()
)


_AER_NAMES = _AER_FIXED | {"cu2", "mcphase", "mcu1", "mcx", "mcx_gray"}
MAX_CARRIED = 5  # qubits; noise on more of them could not be simulated


def expand(
    circuit: QuantumCircuit, accept: Callable[[Operation], bool], *, for_noise: bool = False
) -> QuantumCircuit:
    """Return ``circuit`` without global phase, with every refused instruction expanded.

    What is in a box that is accepted stays in a box with the same annotations, and so it is with
    other blocks of control flow. Expressions that depend on no parameter become numbers.

    Args:
        circuit: The circuit.
        accept: Whether an operation can stay.
        for_noise: Whether noise that is tied to the names of gates must find them.
    """
    result = _copy_bits(circuit)
    for instruction in circuit.data:
        operation, qubits, clbits = instruction.operation, instruction.qubits, instruction.clbits
        options = {"for_noise": for_noise}
        if is_box(operation) and not accept(operation):
            _insert(result, expand(operation.body, accept, **options), qubits, clbits)
        elif isinstance(operation, ControlFlowOp):
            blocks = [expand(block, accept, **options) for block in operation.blocks]
            result.append(operation.replace_blocks(blocks), qubits, clbits, copy=False)
        elif accept(operation):
            result.append(with_numbers(operation), qubits, clbits, copy=False)
        elif clbits:
            definition = expand(definition_of(operation), accept, **options)
            _insert(result, definition, qubits, clbits)
        else:
            for inner, on in flatten((operation, qubits), accept, **options):
                result.append(with_numbers(inner), on, copy=False)
    return result


def _copy_bits(circuit: QuantumCircuit) -> QuantumCircuit:
    """Return a circuit with the bits, registers and variables of another one, and no more."""
    result = QuantumCircuit(circuit.qubits, circuit.clbits, name=circuit.name)
    for register in (*circuit.qregs, *circuit.cregs):
        result.add_register(register)
    copy_variables(circuit, result)
    return result


def copy_variables(source: QuantumCircuit, target: QuantumCircuit) -> None:
    """Give ``target`` the classical variables of ``source``."""
    for variable in source.iter_input_vars():
        target.add_input(variable)
    for variable in source.iter_captured_vars():
        target.add_capture(variable)
    for variable in source.iter_declared_vars():
        target.add_uninitialized_var(variable)
    if hasattr(source, "iter_stretches"):  # from Qiskit 2.0 on
        for stretch in source.iter_captured_stretches():
            target.add_capture(stretch)
        for stretch in source.iter_declared_stretches():
            target.add_stretch(stretch)


def _insert(
    result: QuantumCircuit,
    inner: QuantumCircuit,
    qubits: Sequence[Qubit],
    clbits: Sequence[Clbit],
) -> None:
    """Append what a circuit contains, on other bits."""
    if inner.clbits or inner.num_vars:
        result.compose(inner, qubits, clbits, inplace=True, copy=False, inline_captures=True)
        return
    for operation, on in place_steps(inner, qubits):
        result.append(operation, on, copy=False)


def remove_boxes(circuit: QuantumCircuit) -> QuantumCircuit:
    """Return ``circuit`` with the contents of its boxes in place of these."""
    if not has_boxes(circuit):
        return circuit
    return expand(circuit, lambda operation: not is_box(operation))


def has_boxes(circuit: QuantumCircuit) -> bool:
    """Whether there is a box in a circuit, or in its control flow."""
    return any(
        is_box(i.operation) or any(map(has_boxes, blocks_of(i.operation))) for i in circuit.data
    )


def refuse_lost_noise(circuit: QuantumCircuit, names: Collection[str]) -> None:
    """Raise if noise is tied to a gate that Aer does not run itself, but by its definition."""
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


def flatten(
    step: Step,
    accept: Callable[[Operation], bool],
    *,
    for_noise: bool = False,
    phases: bool = False,
) -> Iterator[Step]:
    """Yield a step, or the steps of its definition if it is refused.

    Args:
        step: The step.
        accept: Whether an operation can stay.
        for_noise: Whether noise that is tied to the names of gates must find them.
        phases: Whether the global phases of definitions are yielded as well, as gates on no qubit.
    """
    operation, qubits = step
    if accept(operation):
        yield step
        return
    # Aer has no open controls: its noise is that of the gate between two X.
    opened = for_noise and getattr(operation, "ctrl_state", None) == 0
    rewritten = None if opened else _rotations_of_controlled(operation, qubits, phases)
    if rewritten is None:
        definition = definition_of(operation)
        rewritten = place_steps(definition, qubits)
        if phases and (is_free(definition.global_phase) or definition.global_phase):
            rewritten.append((GlobalPhaseGate(definition.global_phase), ()))
    named = for_noise and is_standard(operation) and operation.name in _AER_NAMES

    # A block inside would be expanded without its label, some day, and its parts find their noise.
    # So of fixed gates only those are accepted that Aer runs as well.
    def accept_with_aer(inner: Operation) -> bool:
        return accept(inner) and (bool(expressions_of(inner)) or accepts_aer(inner))

    known = accept_with_aer if named else accept
    options = {"for_noise": for_noise, "phases": phases}
    steps = (leaf for inner in rewritten for leaf in flatten(inner, known, **options))
    yield from _label_for_noise(operation, qubits, list(steps)) if named else steps


def _label_for_noise(gate: Operation, qubits: tuple[Qubit, ...], steps: list[Step]) -> list[Step]:
    """Label the steps of a gate so that Aer finds its noise once, after the last of them."""
    name = gate.label or gate.name
    if (not steps or steps[-1][1] != qubits) and len(qubits) <= MAX_CARRIED:
        steps.append((UnitaryGate(np.eye(1 << len(qubits))), qubits))
    last = len(steps) - 1
    labelled: list[Step] = []
    for k, (operation, on) in enumerate(steps):
        operation = operation.to_mutable()
        operation.label = name if k == last and on == qubits else f"part of {name}"
        labelled.append((operation, on))
    return labelled


def _rotations_of_controlled(
    operation: Operation, qubits: tuple[Qubit, ...], phases: bool
) -> list[Step] | None:
    """Write ``crx``, ``crz``, ``cry``, ``cp`` and ``cu1`` as commuting rotations.

    The last two have a quarter of their angle as a phase beside these.
    """
    kind = class_of(operation)
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
        *([(GlobalPhaseGate(half / 2), ())] if phases else []),
    ]


def angles_of(operation: Operation) -> list[Angle]:
    """Return what of an operation gets a parameter of its own, if anything does.

    Of amplitudes these are all numbers, since they change together.
    """
    expressions: list[Angle] = [*expressions_of(operation)]
    whole = expressions and isinstance(operation, AmplitudePreparation)
    return list(operation.params) if whole else expressions


def split_angles(
    circuit: QuantumCircuit, given: Collection[Parameter] = ()
) -> tuple[QuantumCircuit, list[Angle], list[Parameter]]:
    """Give each parameterized gate angle a parameter of its own.

    Args:
        circuit: The circuit.
        given: Parameters that stay, and get no parameter in their place.

    Returns:
        The circuit over fresh parameters, in the order in which the angles occur; the expression
        that each of them stands for; and the fresh parameters.

    Raises:
        CircuitError: If an angle is no sum of what stays and what does not.
    """
    angles = [angle for operation in operations_of(circuit) for angle in angles_of(operation)]
    if given:
        angles = [_split_sum(angle, given)[1] for angle in angles]
        angles = [angle for angle in angles if is_free(angle)]
    fresh = ParameterVector("angle", len(angles))
    left = iter(fresh)

    def own(angle: Angle) -> Angle:
        stays, rest = _split_sum(angle, given) if given else (None, angle)
        if given and not is_free(rest):
            return angle
        return next(left) if stays is None else next(left) + stays

    def give_own_angles(step: Step) -> list[Step]:
        operation, qubits = step
        replaced = angles_of(operation)
        if replaced:
            every = len(replaced) == len(operation.params)
            operation = operation.to_mutable()
            operation.params = [own(p) if every or is_free(p) else p for p in operation.params]
        return [(operation, qubits)]

    result = rewrite(circuit, give_own_angles)
    result.global_phase = 0
    return result, angles, list(fresh)


def _split_sum(angle: Angle, given: Collection[Parameter]) -> tuple[Angle | None, Angle]:
    """Return the part of an angle by some parameters, ``None`` if there is none, and the rest."""
    if not is_free(angle) or set(angle.parameters).isdisjoint(given):
        return None, angle
    if set(angle.parameters).issubset(given):
        return angle, 0.0
    affine = affine_form(angle)
    if affine is None:
        raise CircuitError(
            f"Expected angles to be sums of what prepares amplitudes and of other parameters; got "
            f"{angle}. Use a lower optimization level of the transpiler."
        )
    parts: list[Angle] = [0.0, affine[0]]
    for parameter, coefficient in affine[1].items():
        parts[parameter not in given] += coefficient * parameter
    return parts[0], parts[1]


def rewrite(
    circuit: QuantumCircuit,
    change: Callable[[Step], Iterable[Step]],
    change_in_blocks: Callable[[Step], Iterable[Step]] | None = None,
) -> QuantumCircuit:
    """Return a copy of ``circuit`` with other steps in the place of each, in its blocks as well.

    Args:
        circuit: The circuit; its global phase is kept.
        change: Returns the steps that take the place of one, on the same qubits.
        change_in_blocks: The same for what is in blocks of control flow; default: ``change``.
    """
    inside = change if change_in_blocks is None else change_in_blocks
    result = circuit.copy_empty_like()
    for instruction in circuit.data:
        operation, qubits, clbits = instruction.operation, instruction.qubits, instruction.clbits
        if isinstance(operation, ControlFlowOp):
            operation = operation.replace_blocks([rewrite(b, inside) for b in operation.blocks])
            result.append(operation, qubits, clbits, copy=False)
            continue
        for changed, on in change((operation, qubits)):
            result.append(changed, on, clbits if changed.num_clbits else (), copy=False)
    return result


def find_active_qubits(circuit: QuantumCircuit) -> tuple[int, ...]:
    """Return the indices of the qubits that some gate acts on, at least one, ascending.

    Operations of control flow act on those that something in one of their blocks acts on.
    """
    return tuple(sorted(_find_active(circuit))) or (0,) * bool(circuit.qubits)


def _find_active(circuit: QuantumCircuit) -> set[int]:
    place = {qubit: i for i, qubit in enumerate(circuit.qubits)}
    used: set[int] = set()
    for instruction in circuit.data:
        qubits = instruction.qubits
        blocks = blocks_of(instruction.operation)
        if blocks:
            used |= {place[qubits[q]] for block in blocks for q in _find_active(block)}
        elif instruction.operation.name != "barrier":
            used.update(place[q] for q in qubits)
    return used


def restrict_circuit(circuit: QuantumCircuit, kept: Sequence[int]) -> QuantumCircuit:
    """Return the circuit on the qubits ``kept`` alone, in their order; it has no layout."""
    place = {circuit.qubits[q]: i for i, q in enumerate(kept)}
    result = QuantumCircuit(len(kept), name=circuit.name, global_phase=circuit.global_phase)
    result.add_bits(circuit.clbits)
    for register in circuit.cregs:
        result.add_register(register)
    copy_variables(circuit, result)
    for instruction in circuit.data:
        operation = instruction.operation
        inside = [k for k, q in enumerate(instruction.qubits) if q in place]
        qubits = [place[instruction.qubits[k]] for k in inside]
        if operation.name == "barrier":
            if qubits:
                result.barrier(qubits)
            continue
        if blocks := blocks_of(operation):
            operation = operation.replace_blocks([restrict_circuit(b, inside) for b in blocks])
        result.append(operation, qubits, instruction.clbits)
    return result
