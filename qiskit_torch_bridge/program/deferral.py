# SPDX-License-Identifier: Apache-2.0
"""Circuits with measurements, resets and control flow as circuits of gates on more qubits.

A measurement copies its qubit onto a fresh one (M. A. Nielsen, I. L. Chuang, Quantum Computation
and Quantum Information, 2010, section 4.4), a gate that depends on outcomes is controlled by these
copies, and a reset goes on with a fresh qubit. Three things keep the number of qubits small:

* what a qubit is known to hold in the computational basis is followed, so that nothing is copied
  that is a function of outcomes already;
* classical bits, registers and variables are no qubits but tables over outcomes
  (:mod:`.classical`): what a program computes of them takes nothing;
* what nothing that is read depends on is left out, and a qubit that is never turned out of the
  computational basis again is its own copy (:mod:`.wires`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from qiskit.circuit import (
    CASE_DEFAULT,
    Barrier,
    Clbit,
    ControlFlowOp,
    Delay,
    ForLoopOp,
    IfElseOp,
    Measure,
    Operation,
    QuantumCircuit,
    Qubit,
    Reset,
    Store,
    SwitchCaseOp,
    WhileLoopOp,
)
from qiskit.circuit.library import CXGate, SwapGate, XGate

from ..exceptions import CircuitError
from .analysis import AnalysedCircuit
from .binding import assign_parameters
from .classical import FALSE, TRUE, Evaluation, Table, choose, combine, cubes_of
from .definitions import (
    blocks_of,
    circuit_of,
    class_of,
    condition_of,
    control,
    definition_of,
    is_box,
    place_steps,
)
from .readouts import Readout
from .validation import is_gate
from .wires import Act, letters_of, simplify

ReadoutOrNone = TypeVar("ReadoutOrNone", Readout, "Readout | None")

MOST_ROUNDS = 10_000
"""So many rounds of a loop are written out."""


@dataclass(frozen=True)
class DeferredCircuit:
    """A circuit of gates that ends with the density matrix of another one.

    Attributes:
        circuit: On ``n + m`` qubits, of which the first ``n`` end as the qubits of the other one
            do, and those behind them are to be ignored.
        qubit_of: For classical bits, by their indices, the qubit that ends with their value. Each
            has one of its own.
    """

    circuit: QuantumCircuit
    qubit_of: dict[int, int]


def defer(
    analysed: AnalysedCircuit, readout: ReadoutOrNone
) -> tuple[AnalysedCircuit, ReadoutOrNone]:
    """Return a circuit of gates, and the readout of it that reads what ``readout`` does.

    Both are returned as they are if the circuit has gates alone. Values and derivatives with
    respect to all parameters are the same; what is not read is left out, and parameters that have
    no influence on what is read may not occur. Where nothing is read, states of all qubits count.

    Raises:
        CircuitError: If something depends on outcomes in a way that cannot be deferred.
    """
    if not analysed.is_dynamic:
        return analysed, readout
    width = analysed.circuit.num_qubits
    if readout is None:
        states = defer_measurements(analysed.circuit).circuit
        return AnalysedCircuit(states, analysed.parameters, encoded=analysed.encoded), None
    axes, bits = readout.axes_read(width), readout.bits_read
    deferred = defer_measurements(analysed.circuit, axes, bits)
    ancillas = range(width, deferred.circuit.num_qubits)
    result = AnalysedCircuit(deferred.circuit, analysed.parameters, encoded=analysed.encoded)
    return result, readout.of_deferred(ancillas, deferred.qubit_of)


def defer_measurements(
    circuit: QuantumCircuit,
    axes: Mapping[int, str] | None = None,
    bits: Iterable[int] | None = None,
) -> DeferredCircuit:
    """Return a circuit with its measurements, resets and control flow deferred.

    Args:
        circuit: The circuit.
        axes: Which qubits are read in the end: ``"Z"`` in the computational basis, ``"*"`` in any.
            Default: all in any.
        bits: The indices of the classical bits that are read. Default: all that are written.

    Raises:
        CircuitError: If something depends on outcomes in a way that cannot be deferred: a loop
            whose rounds do, or an expression over what is known at run time only.

    Example:
        >>> from qiskit.circuit import QuantumCircuit
        >>> circuit = QuantumCircuit(2, 1)
        >>> _ = circuit.h(0), circuit.measure(0, 0)
        >>> with circuit.if_test((circuit.clbits[0], 1)):
        ...     _ = circuit.x(1)
        >>> deferred = defer_measurements(circuit, {1: "*"})
        >>> [instruction.name for instruction in deferred.circuit.data], deferred.qubit_of
        (['h', 'cx'], {0: 0})
    """
    record = _Record(circuit)
    record.run(circuit, circuit.qubits, circuit.clbits, TRUE)
    return record.finish(axes, bits)


@dataclass
class _Loop:
    """Where a loop has been left: all of it, or the round that is under way."""

    broken: Table = FALSE
    skipped: Table = FALSE


class _Record:
    """What a circuit does, as acts on wires, while it is walked through.

    A wire begins in zero. It is a qubit for some time; or it holds an outcome, for good.
    """

    def __init__(self, circuit: QuantumCircuit) -> None:
        self.circuit = circuit
        self.wire_of: dict[Qubit, int] = {qubit: q for q, qubit in enumerate(circuit.qubits)}
        self.num_wires = circuit.num_qubits
        self.acts: list[Act] = []
        self.held: dict[int, Table] = dict.fromkeys(range(self.num_wires), FALSE)
        self.bits: dict[Clbit, Table] = {}
        self.variables: dict[Any, Table] = {}
        self.loops: list[_Loop] = []
        self.phase: Any = 0.0

    # -- the walk --------------------------------------------------------------------------------

    def run(
        self, block: QuantumCircuit, qubits: Sequence[Qubit], clbits: Sequence[Clbit], when: Table
    ) -> None:
        """Do what a block does, on other bits, where a condition holds."""
        qubit_of = dict(zip(block.qubits, qubits, strict=True))
        clbit_of = dict(zip(block.clbits, clbits, strict=True))
        if when == TRUE:  # that of a branch cannot be seen
            self.phase = self.phase + block.global_phase
        read = Evaluation(lambda bit: self.bits.get(clbit_of[bit], FALSE), self.variables)
        for instruction in block.data:
            operation = instruction.operation
            now = self._unless_left(when)
            on = [qubit_of[q] for q in instruction.qubits]
            at = [clbit_of[c] for c in instruction.clbits]
            condition = condition_of(operation)
            if condition is not None:
                now = now & read.condition(condition)
            if now == FALSE or isinstance(operation, (Barrier, Delay)):
                continue
            if isinstance(operation, Store):
                self._store(operation, read, clbit_of, now)
            elif operation.name in ("break_loop", "continue_loop"):
                self._leave(operation.name, now)
            elif isinstance(operation, ControlFlowOp):
                self._branch(operation, read, on, at, now)
            elif isinstance(operation, Measure):
                self._measure(on[0], at[0], now)
            elif isinstance(operation, Reset):
                self._reset(on[0], now)
            elif at or not is_gate(operation):
                self.run(definition_of(operation), on, at, now)
            else:
                self._act(operation, tuple(self.wire_of[q] for q in on), now)

    def _unless_left(self, when: Table) -> Table:
        for loop in self.loops:
            when = when & ~loop.broken & ~loop.skipped
        return when

    def _branch(
        self,
        operation: ControlFlowOp,
        read: Evaluation,
        on: list[Qubit],
        at: list[Clbit],
        when: Table,
    ) -> None:
        if is_box(operation):
            self.run(operation.blocks[0], on, at, when)
        elif isinstance(operation, ForLoopOp):
            self._run_rounds(_rounds_of(operation), on, at, when)
        elif isinstance(operation, WhileLoopOp):
            self._run_rounds(self._rounds_while(operation, read, when), on, at, when)
        elif isinstance(operation, (IfElseOp, SwitchCaseOp)):
            # All conditions are those before any block has been run.
            for condition, block in list(_cases_of(operation, read)):
                self.run(block, on, at, self._as_outcome(when & condition, block))
        else:
            raise CircuitError(
                f"The operation {operation.name!r} cannot be deferred. Use an estimator or a "
                "sampler that runs it."
            )

    def _leave(self, name: str, when: Table) -> None:
        loop = self.loops[-1]
        if name == "break_loop":
            loop.broken = loop.broken | when
        else:
            loop.skipped = loop.skipped | when

    def _run_rounds(
        self, bodies: Iterable[QuantumCircuit], on: list[Qubit], at: list[Clbit], when: Table
    ) -> None:
        loop = _Loop()
        self.loops.append(loop)
        for body in bodies:
            loop.skipped = FALSE
            self.run(body, on, at, when)
            if (when & ~loop.broken) == FALSE:
                break
        self.loops.pop()

    def _rounds_while(
        self, operation: WhileLoopOp, read: Evaluation, when: Table
    ) -> Iterator[QuantumCircuit]:
        """Yield the body as long as the condition holds whatever the outcomes are."""
        for _ in range(MOST_ROUNDS):
            now = self._unless_left(when)
            holds = now & read.condition(operation.condition)
            if holds == FALSE:
                return
            if holds != now:
                raise CircuitError(
                    "How often a while_loop of the circuit is run depends on outcomes, which "
                    "cannot be deferred. Use a for_loop with as many rounds as are needed at most, "
                    "with an if_test in it, or an estimator or sampler that runs it."
                )
            yield operation.blocks[0]
        raise CircuitError(f"A while_loop of the circuit has more than {MOST_ROUNDS} rounds.")

    def _as_outcome(self, when: Table, block: QuantumCircuit) -> Table:
        """Return a condition, put into a wire of its own if that saves work in a block.

        A gate under ``k`` controls takes about ``2**k`` rotations; a wire doubles the states.
        """
        if len(when.wires) < 2 or _parity_of(when) is not None:
            return when
        sizes = [1 << len(cube) for cube in cubes_of(when)]
        count = _count_gates(block)
        if count * sum(sizes) <= 4 * count + sum(sizes):
            return when
        wire = self._add_wire()
        self.acts.append(Act(XGate(), (wire,), when))
        return Table.of_wire(wire)

    # -- what is done ----------------------------------------------------------------------------

    def _add_wire(self) -> int:
        self.num_wires += 1
        return self.num_wires - 1

    def _act(self, operation: Operation, wires: tuple[int, ...], when: Table) -> None:
        self.acts.append(Act(operation, wires, when))
        letters = letters_of(operation)
        if set(letters) == {"Z"}:
            return
        held = [self.held.pop(wire, None) for wire in wires]
        new: Sequence[Any] = held
        if held.count(None) == 0:
            with contextlib.suppress(CircuitError):  # it would depend on too many outcomes
                new = _permuted(operation, held, when)
        for wire, letter, before, after in zip(wires, letters, held, new, strict=True):
            known = before if letter == "Z" else after if new is not held else None
            if known is not None:
                self.held[wire] = known

    def _measure(self, qubit: Qubit, clbit: Clbit, when: Table) -> None:
        wire = self.wire_of[qubit]
        value = self.held.get(wire)
        if value is None:
            value = self._copy(wire, when)
        self.bits[clbit] = choose(when, value, self.bits.get(clbit, FALSE))

    def _copy(self, wire: int, when: Table) -> Table:
        """Return the outcome of a wire, zero where a condition does not hold."""
        copy = self._add_wire()
        self.acts.append(Act(XGate(), (copy,), when & Table.of_wire(wire), copies=when == TRUE))
        outcome = Table.of_wire(copy)
        if when == TRUE:
            self.held[wire] = outcome
        return outcome

    def _reset(self, qubit: Qubit, when: Table) -> None:
        wire = self.wire_of[qubit]
        value = self.held.get(wire)
        if value == FALSE:
            return
        if when == TRUE:  # the old wire is left out if all that it held are outcomes
            self.wire_of[qubit] = self._add_wire()
            self.held[self.wire_of[qubit]] = FALSE
            return
        outcome = self._copy(wire, when) if value is None else value & when
        self._act(XGate(), (wire,), outcome)

    def _store(
        self, operation: Store, read: Evaluation, clbit_of: Mapping[Clbit, Clbit], when: Table
    ) -> None:
        value, target = read.expression(operation.rvalue), operation.lvalue
        place: Any = getattr(target, "var", None)
        if isinstance(place, Clbit):
            bit = clbit_of[place]
            self.bits[bit] = choose(when, value, self.bits.get(bit, FALSE))
        elif type(target).__name__ == "Var" and not hasattr(place, "__iter__"):
            self.variables[target] = choose(when, value, self.variables.get(target, value))
        else:
            raise CircuitError(
                f"The circuit stores to {target}, which cannot be deferred. Store to bits or to "
                "variables."
            )

    # -- the result ------------------------------------------------------------------------------

    def finish(self, axes: Mapping[int, str] | None, bits: Iterable[int] | None) -> DeferredCircuit:
        """Return the circuit of what has been done and is read."""
        qubits, clbits = self.circuit.qubits, self.circuit.clbits
        if axes is None:
            axes = dict.fromkeys(range(len(qubits)), "*")
        if bits is None:
            bits = [c for c, clbit in enumerate(clbits) if clbit in self.bits]
        final = [self.wire_of[qubit] for qubit in qubits]
        needs = {final[q]: axis for q, axis in axes.items()}
        holders: dict[int, int] = {}
        for bit in bits:
            value = self.bits.get(clbits[bit], FALSE)
            wire = value.wires[0] if value.is_outcome else None
            if wire is None or wire in holders.values():
                wire = self._add_wire()
                self.acts.append(Act(XGate(), (wire,), value, copies=value.is_outcome))
            holders[bit] = wire
            needs[wire] = "Z"
        acts, names = simplify(self.acts, needs, final)
        used = {wire for act in acts for wire in (*act.wires, *act.when.wires)}
        used.update(names.get(wire, wire) for wire in holders.values())
        order = [*final, *sorted(used.difference(final))]
        place = {wire: k for k, wire in enumerate(order)}
        result = QuantumCircuit(len(order), global_phase=self.phase)
        for act in acts:
            _append(result, act, place)
        ends = {bit: place[names.get(wire, wire)] for bit, wire in holders.items()}
        return DeferredCircuit(result, ends)


def _permuted(operation: Operation, held: Sequence[Any], when: Table) -> Sequence[Any]:
    """Return what wires hold after a gate that permutes the basis; ``held`` itself for others."""
    kind = class_of(operation)
    if kind is XGate:
        return [held[0] ^ when]
    if kind is CXGate and operation.ctrl_state:
        return [held[0], held[1] ^ (held[0] & when)]
    if kind is SwapGate:
        return [choose(when, held[1], held[0]), choose(when, held[0], held[1])]
    return held


def _rounds_of(loop: ForLoopOp) -> Iterator[QuantumCircuit]:
    """Yield the body of a loop as often as it is run, with the number of the round put in."""
    index, parameter, body = loop.params
    if not hasattr(index, "__iter__"):
        raise CircuitError(
            f"A for_loop of the circuit runs over {index}, which is known at run time only. Give "
            "it a range or a list of numbers."
        )
    if hasattr(index, "__len__") and len(index) > MOST_ROUNDS:
        raise CircuitError(
            f"A for_loop of the circuit has {len(index)} rounds; at most {MOST_ROUNDS} are "
            "unrolled. Take fewer."
        )
    for number in index:
        known = parameter is not None and parameter in body.parameters
        yield assign_parameters(body, {parameter: float(number)}) if known else body


def _cases_of(
    operation: IfElseOp | SwitchCaseOp, read: Evaluation
) -> Iterator[tuple[Table, QuantumCircuit]]:
    """Yield the blocks of a branch, each with its condition."""
    if isinstance(operation, IfElseOp):
        holds = read.condition(operation.condition)
        yield from zip((holds, ~holds), operation.blocks, strict=False)
        return
    value, left = read.target(operation.target), TRUE
    for labels, block in operation.cases_specifier():
        fits = left
        if CASE_DEFAULT not in labels:
            wanted = {int(label) for label in labels}
            fits = left & combine(wanted.__contains__, value)
        left = left & ~fits
        yield fits, block


def _count_gates(block: QuantumCircuit) -> int:
    return sum(1 + sum(map(_count_gates, blocks_of(i.operation))) for i in block.data)


# -- conditional gates ---------------------------------------------------------------------------


def _append(result: QuantumCircuit, act: Act, place: Mapping[int, int]) -> None:
    """Append the gates of an act: its own, under controls where it is on a condition."""
    targets = [place[wire] for wire in act.wires]
    if act.when.is_constant:
        result.append(act.operation, targets, copy=False)
        return
    parity = _parity_of(act.when)
    if parity is None or len(act.when.wires) == 1:
        for cube in cubes_of(act.when):
            controls = [place[wire] for wire in cube]
            state = sum(value << k for k, value in enumerate(cube.values()))
            _append_controlled(result, act.operation, controls, state, targets)
        return
    *others, last = (place[wire] for wire in act.when.wires)
    for other in others:
        result.cx(other, last)
    _append_controlled(result, act.operation, [last], parity, targets)
    for other in others:
        result.cx(other, last)


def _append_controlled(
    result: QuantumCircuit,
    operation: Operation,
    controls: list[int],
    state: int,
    targets: list[int],
) -> None:
    # No phase of the gate counts: its controls are outcomes.
    block = control(circuit_of(operation), len(controls), state, phases=False)
    on = [result.qubits[q] for q in (*controls, *targets)]
    for inner, qubits in place_steps(block, on):
        result.append(inner, qubits, copy=False)


def _parity_of(when: Table) -> int | None:
    """Return which parity of all its outcomes a condition is; ``None`` if it is none."""
    parities = [k.bit_count() & 1 for k in range(len(when.values))]
    for wanted in (1, 0):
        if all(bool(v) == (p == wanted) for v, p in zip(when.values, parities, strict=True)):
            return wanted
    return None
