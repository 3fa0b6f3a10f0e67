# SPDX-License-Identifier: Apache-2.0
"""What makes two circuits the same: one walk through all that they hold, at the time of the call.

What is asked of the walk differs in how it names its leaves, the numbers and parameters:

* :func:`content_key` keeps parameters as the objects that they are. It is quick, and serves to
  remember within a process what was worked out for a circuit.
* :func:`content_digest` takes their names and every digit of the numbers. It is the same in every
  process, and tells a journal whether a request was made before.
* :func:`same_circuit` and :func:`fingerprint` take the numbers that come of probing the parameters,
  up to rounding. They tell whether two circuits compute the same, whoever wrote their expressions
  in whichever way, and serve for what is read back from files.

None of them knows a circuit by what it is called or where it is in memory: a circuit that is
changed in place is another one, and a copy, or one that the same script builds again, is the same.
Left out is what changes no result: names of circuits, of registers and of bits, metadata, the
layout, and the pulse calibrations of Qiskit 1.
"""

from __future__ import annotations

import hashlib
import numbers
import re
import uuid
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import (
    AnnotatedOperation,
    Bit,
    CircuitInstruction,
    ControlFlowOp,
    ControlledGate,
    Delay,
    IfElseOp,
    Instruction,
    Operation,
    Parameter,
    ParameterExpression,
    QuantumCircuit,
    Register,
    SwitchCaseOp,
    WhileLoopOp,
)
from qiskit.circuit.library import PauliEvolutionGate
from qiskit.quantum_info import SparsePauliOp

from ..arrays import FloatArray
from ..exceptions import CircuitError
from .definitions import class_of, has_matrix, is_box, is_standard
from .evolutions import LEAVES, ProductFormula
from .expressions import Angle, compile_expression, is_free, text_is_exact

TOLERANCE = 1e-9
"""Numbers that differ by less are the same to :func:`same_circuit`, relative above one."""
DIGITS = 9
"""How many digits of a number :func:`fingerprint` sees, behind the point below one."""
GRIDS = (1.0, 0.8318)
"""Numbers are rounded as they are and times the second: few are between two values in both."""

CONDITIONS = hasattr(CircuitInstruction, "condition")
"""Whether any operation can be on a condition, as in Qiskit 1."""
EVOLVES = ("order", "reps", "preserve_order")
"""Settings of a synthesis that change what an evolution computes."""
_COUNTED = re.compile(r"circuit-\d+(-\d+)?")

Place: TypeAlias = Mapping[Bit, int]
Content: TypeAlias = object  # nested tuples of numbers, text and parameters


def content_key(circuit: QuantumCircuit) -> Hashable:
    """Return what a circuit holds, to be looked up by in this process.

    Keys are equal if the circuits hold the same gates with the same parameters, the same objects,
    and numbers. The cost is about two microseconds for each gate of Qiskit's own, and that of its
    definition for one that is built from others.
    """
    return _ByObject().whole(circuit)


def content_digest(circuit: QuantumCircuit) -> str:
    """Return a hash of what a circuit holds that is the same in every process, 64 hex digits.

    Digests are equal if parameters have the same names in the same order, and gates the same
    numbers, to the last digit, labels and names. How affine expressions are written makes no
    difference; others are told apart by their values, to 13 digits, at three points.

    Raises:
        ExpressionError: If an expression is complex, or what it is cannot be known.
    """
    return hashlib.sha256(repr(_ByName().whole(circuit)).encode()).hexdigest()


def same_circuit(
    a: QuantumCircuit,
    b: QuantumCircuit,
    order_a: Collection[Parameter],
    order_b: Collection[Parameter],
    in_full: bool = False,
) -> bool:
    """Whether two circuits compute the same with equal numbers in the given orders of parameters.

    Parameters have the same names, gates agree one by one, and so do their numbers, for two sets of
    values of the parameters, up to :data:`TOLERANCE`. The phase of a whole circuit, labels, and the
    names of gates that are built from others do not count; what controlled gates are built from,
    beside what they control, counts ``in_full`` only.

    Raises:
        ExpressionError: If an expression is complex, or what it is cannot be known.
    """
    if [p.name for p in order_a] != [p.name for p in order_b]:
        return False
    built_a, x = _probed(_ByValue(order_a, in_full), a)
    built_b, y = _probed(_ByValue(order_b, in_full), b)
    return built_a == built_b and bool(
        np.allclose(x, y, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
    )


def round_trip_agrees(
    read: QuantumCircuit,
    written: QuantumCircuit,
    order_read: Collection[Parameter],
    order_written: Collection[Parameter],
) -> bool:
    """Whether a circuit came back from a file of this version of Qiskit as it was written.

    This is :func:`same_circuit` in full. A file keeps what controlled gates are built from beside
    what they control; it is what is simulated, and differs between versions of Qiskit.
    """
    return same_circuit(read, written, order_read, order_written, in_full=True)


def fingerprint(circuit: QuantumCircuit, order: Collection[Parameter]) -> str:
    """Return a text by which :func:`fingerprints_agree` finds what :func:`same_circuit` finds.

    It is the same on all versions of Qiskit, except where these define a gate of their library that
    is no standard gate by different parts, and in all processes, except where rounding takes two
    numbers, each on one of two grids, to another value: for a thousand expressions that are written
    in different ways, once in a million times. Numbers that differ by less than 1e-9 may count as
    the same, and, once in 2**128 times, any circuits.

    Args:
        circuit: The circuit.
        order: Its parameters, in the order in which they count.

    Raises:
        ExpressionError: If an expression is complex, or what it is cannot be known.
    """
    built, found = _probed(_ByValue(order), circuit)
    head = repr(([p.name for p in order], built)).encode()
    hashes = [hashlib.sha256(head + _rounded(found * grid).tobytes()) for grid in GRIDS]
    return "-".join(content.hexdigest()[:32] for content in hashes)


def fingerprints_agree(a: str, b: str) -> bool:
    """Whether two fingerprints are of circuits that compute the same."""
    return any(x == y for x, y in zip(a.split("-"), b.split("-"), strict=False))


def _rounded(found: FloatArray) -> FloatArray:
    size = np.abs(np.nan_to_num(found, posinf=1.0, neginf=1.0))
    decade = 10.0 ** np.floor(np.log10(np.maximum(size, 1.0)))
    result: FloatArray = np.round(found / decade, DIGITS) * decade + 0.0  # no negative zeros
    return np.where(np.isnan(result), np.nan, result)  # all alike


def _probed(walk: _ByValue, circuit: QuantumCircuit) -> tuple[Content, FloatArray]:
    """Return how a circuit is built, and all its numbers with some put for the parameters."""
    built = walk.whole(circuit)
    return built, np.concatenate([np.zeros(0), *walk.found])


class _Walk:
    """A walk through a circuit, to nested tuples; what its leaves become, classes below say.

    Each method returns what stands for the thing that it is called after.
    """

    marks = True  # whether labels count, and names of gates that are built from others
    in_full = False  # whether what a controlled gate is built from counts beside what it controls

    def number(self, value: Any) -> Content:
        """Return what stands for a number or an array of them."""
        raise NotImplementedError

    def expression(self, value: ParameterExpression) -> Content:
        """Return what stands for a parameter, or an expression that holds some."""
        raise NotImplementedError

    def phase(self, value: Angle) -> Content:
        """Return what stands for the phase of a definition."""
        return self.angle(value)

    def angle(self, value: object) -> Content:
        """Return what stands for a parameter of a gate, of any type."""
        return self.thing(value, {})

    def function(self, value: Any) -> Content:
        return value.__module__, value.__qualname__

    def unknown(self, value: object) -> Content:
        """Return what stands for something whose content cannot be known, or raise."""
        raise CircuitError(
            f"An operation of the circuit holds a {type(value).__name__}, whose content cannot be "
            "known: it cannot be pickled. Build the operation from standard gates, or give it a "
            "definition and numbers as its parameters."
        )

    def whole(self, circuit: QuantumCircuit) -> tuple[Content, ...]:
        """Return what stands for a circuit with its own parameters."""
        names = tuple(map(self.expression, circuit.parameters))
        return names, self.phase(circuit.global_phase), self.circuit(circuit)

    def circuit(self, circuit: QuantumCircuit) -> tuple[Content, ...]:
        """Return what stands for the instructions of a circuit."""
        place: dict[Bit, int] = {qubit: k for k, qubit in enumerate(circuit.qubits)}
        if circuit.clbits:
            place.update((clbit, k) for k, clbit in enumerate(circuit.clbits))
        found, at, angle, marks = [], place.__getitem__, self.angle, self.marks
        for i in circuit.data:
            # As Qiskit holds it: making an object of each gate would take most of the time.
            if i.is_standard_gate():
                label = i.label if marks else None
                operation: Content = i.name, label, None, tuple(map(angle, i.params))
                bits: Content = tuple(map(at, i.qubits))
            else:
                operation = self.operation(i.operation, place)
                bits = tuple(map(at, i.qubits)), tuple(map(at, i.clbits))
            condition = i.condition if CONDITIONS else None
            if condition is not None:
                operation = operation, self.thing(condition, place)
            found.append((operation, bits))
        declared = [*circuit.iter_vars()] if circuit.num_vars else []
        variables = tuple((v.name, repr(v.type)) for v in declared)
        return circuit.num_qubits, circuit.num_clbits, variables, tuple(found)

    def operation(self, operation: Operation, place: Place) -> tuple[Content, ...]:
        label = getattr(operation, "label", None) if self.marks else None
        if isinstance(operation, AnnotatedOperation):
            modifiers = [(type(m).__name__, vars(m)) for m in operation.modifiers]
            base = self.operation(operation.base_op, place)
            return "annotated", self.thing(modifiers, place), base
        if not isinstance(operation, Instruction):  # a Clifford, for example
            return "object", self.thing(operation.__reduce_ex__(2), place)
        if isinstance(operation, PauliEvolutionGate):
            return self._evolution(operation, label)
        if isinstance(operation, ProductFormula) and self.marks:
            turns = [(letters, tuple(on), self.number(c)) for letters, on, c in operation.rotations]
            return "formula", label, tuple(turns), self.angle(operation.params[0])
        params = self.sequence(operation.params, place)
        state = getattr(operation, "ctrl_state", None)
        if is_standard(operation):
            closed = state is not None and state + 1 == 1 << operation.num_ctrl_qubits
            return operation.name, label, None if closed else state, params
        if isinstance(operation, ControlledGate):
            # Qiskit replaces parameters in the gate, but not in what its base is made of.
            base = params, self.operation(operation.base_gate, place)
            parts = self._definition(operation) if self.in_full else None
            return "controlled", label, (operation.num_ctrl_qubits, state), base, parts
        if isinstance(operation, ControlFlowOp):
            return operation.name, label, params, self.thing(_settings(operation), place)
        return self._built(operation, label, params)

    def _evolution(self, gate: PauliEvolutionGate, label: str | None) -> tuple[Content, ...]:
        # Its definition takes long, and differs between versions.
        settings = getattr(gate.synthesis, "settings", {})
        if not self.marks:
            settings = {"preserve_order": True} | settings
            settings = {key: settings[key] for key in EVOLVES if key in settings}
        synthesis = type(gate.synthesis).__name__, self.thing(settings, {})
        return "evolution", label, self.thing(gate.operator, {}), self.angle(gate.time), synthesis

    def _built(
        self, operation: Instruction, label: str | None, params: tuple[Content, ...]
    ) -> tuple[Content, ...]:
        """Return what stands for an operation that says itself what it is built from."""
        name = _COUNTED.sub("circuit", operation.name)  # the circuits of a process are counted
        if isinstance(operation, LEAVES) and not isinstance(operation, ProductFormula):
            unit = operation.unit if isinstance(operation, Delay) else None
            return name, label, params, unit
        of_library = class_of(operation).__module__.startswith("qiskit.circuit.library")
        if of_library and any(isinstance(p, np.ndarray) for p in operation.params):
            # Its parts come from factoring matrices, with digits of the machine's own.
            return name, label, params, getattr(operation, "up_to_diagonal", None)
        parts = self._definition(operation)
        if parts is not None:
            return name if self.marks else "", label, params, *parts
        if has_matrix(operation):
            return name, label, params, self.number(np.asarray(operation.to_matrix()))
        return name, label, params

    def _definition(self, operation: Instruction) -> tuple[Content, Content] | None:
        """Return what stands for the phase and the steps of a definition, if there is one."""
        try:
            definition = operation.definition
        except Exception:  # of many types; whoever needs it says so
            return None
        if definition is None:
            return None
        return self.phase(definition.global_phase), self.circuit(definition)

    def thing(self, value: object, place: Place) -> Content:
        """Return what stands for anything that an operation holds; bits are known by place."""
        for types, walk in _WALKS:
            if isinstance(value, types):
                return walk(self, value, place)
        if callable(value) and hasattr(value, "__qualname__"):
            return self.function(value)
        try:
            content = value.__reduce_ex__(2)  # what a pickle of it would hold; nothing is run
        except Exception:  # of many types
            return self.unknown(value)
        return type(value).__qualname__, self.thing(content, place)

    def sequence(self, values: Iterable[object], place: Place) -> tuple[Content, ...]:
        return tuple([self.thing(v, place) for v in values])

    def array(self, value: NDArray[Any], place: Place) -> Content:
        if value.dtype.kind in "biufc":
            return self.number(value)
        return value.shape, self.sequence(value.ravel(), place)

    def paulis(self, value: SparsePauliOp, place: Place) -> Content:
        bits = [(m.shape, np.packbits(m).tobytes()) for m in (value.paulis.x, value.paulis.z)]
        return tuple(bits), self.thing(value.coeffs, place)

    def mapping(self, value: Mapping[object, object], place: Place) -> Content:
        """Return what stands for a mapping, in whatever order it is."""
        items = [(self.thing(k, place), self.thing(v, place)) for k, v in value.items()]
        return "mapping", tuple(sorted(items, key=repr))


_WALKS: tuple[tuple[type | tuple[type, ...], Callable[[_Walk, Any, Place], Any]], ...] = (
    ((type(None), str, bytes), lambda walk, value, place: value),
    (
        ParameterExpression,
        lambda walk, value, place: (
            walk.expression(value) if is_free(value) else walk.number(value.numeric())
        ),
    ),
    ((numbers.Number, np.generic), lambda walk, value, place: walk.number(value)),
    (np.ndarray, _Walk.array),
    (QuantumCircuit, lambda walk, value, place: walk.circuit(value)),
    (Instruction, _Walk.operation),
    (Bit, lambda walk, value, place: ("bit", place.get(value))),
    (Register, lambda walk, value, place: ("register", tuple(map(place.get, value)))),
    (SparsePauliOp, _Walk.paulis),
    (Mapping, _Walk.mapping),
    (
        (set, frozenset),
        lambda walk, value, place: ("set", tuple(sorted(walk.sequence(value, place), key=repr))),
    ),
    ((list, tuple), _Walk.sequence),
    (uuid.UUID, lambda walk, value, place: "uuid"),  # the name beside it counts
)
"""How what an operation holds is walked through, by its type; the first that fits."""


def _settings(operation: ControlFlowOp) -> list[object]:
    """Return what an operation of control flow says beside its blocks."""
    if isinstance(operation, (IfElseOp, WhileLoopOp)):
        return [operation.condition]
    if isinstance(operation, SwitchCaseOp):
        return [operation.target, [labels for labels, _ in operation.cases_specifier()]]
    if is_box(operation):  # annotations are new in Qiskit 2.1
        return [list(getattr(operation, "annotations", ())), operation.duration, operation.unit]
    return []


class _ById:
    """An object that equals only itself, kept alive so that its id stays its own."""

    def __init__(self, thing: object) -> None:
        self._thing = thing

    def __hash__(self) -> int:
        return id(self._thing)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ById) and self._thing is other._thing


class _ByObject(_Walk):
    """Parameters are themselves."""

    def function(self, value: Any) -> Content:
        return _ById(value)

    def unknown(self, value: object) -> Content:
        return _ById(value)

    def angle(self, value: object) -> Content:
        if type(value) is float or isinstance(value, Parameter):
            return value
        if isinstance(value, ParameterExpression):
            return self.expression(value)
        return self.thing(value, {})

    def number(self, value: Any) -> Content:
        if isinstance(value, np.ndarray) and value.shape:
            return value.shape, np.ascontiguousarray(value, dtype="c16").tobytes()
        return complex(value)

    def expression(self, value: ParameterExpression) -> Content:
        # Qiskit 2.6 cannot hash every expression, so its text stands for it. Values would not do:
        # some versions bind different expressions to the same ones.
        if isinstance(value, Parameter) or not text_is_exact():
            return value
        return frozenset(value.parameters), str(value)


class _ByName(_Walk):
    """Parameters are their names, and numbers are written with all their digits."""

    def number(self, value: Any) -> Content:
        array = np.asarray(value, dtype="<c16") + 0  # no negative zeros
        return array.shape, array.tobytes().hex()

    def expression(self, value: ParameterExpression) -> Content:
        if isinstance(value, Parameter):
            return repr(0.0), [(value.name, repr(1.0))]  # as what it is times one
        compiled = compile_expression(value)
        names = [p.name for p in compiled.parameters]
        if compiled.function is None and not any(compiled.coefficients.values()):
            return self.number(compiled.offset)  # as what Qiskit makes of it in some copies
        if compiled.function is None:
            terms = sorted((names[k], repr(c)) for k, c in compiled.coefficients.items())
            return repr(compiled.offset + 0.0), terms
        points = np.multiply.outer((0.5, 1.0, 1.7), 0.1 + 0.618 * np.arange(len(names)))
        # The order of summation differs between processes, and with it the last digits.
        return [*names, *(f"{compiled.value(point):.13g}" for point in points)]


class _ByValue(_Walk):
    """Two numbers are put for each parameter, and all numbers found are compared by themselves."""

    marks = False

    def __init__(self, order: Collection[Parameter], in_full: bool = False) -> None:
        self.in_full = in_full
        self.found: list[FloatArray] = []
        self._index = {p.name: k for k, p in enumerate(order)}
        golden = np.arange(1, len(order) + 1) * 0.6180339887498949
        self._points = 0.1 + np.modf(np.stack([golden, golden + 0.2718281828459045]))[0]  # (2, P)

    def whole(self, circuit: QuantumCircuit) -> tuple[Content, ...]:
        return self.circuit(circuit)  # names have their order, and no value has the phase

    def number(self, value: Any) -> Content:
        array = np.ascontiguousarray(value, dtype="c16")
        numbers = array.ravel() if np.ndim(value) else np.repeat(array, 2)  # as an expression
        self.found.append(numbers.view(float))
        return np.shape(value)

    def expression(self, value: ParameterExpression) -> Content:
        values = self._values(value)
        return "left unbound" if values is None else self._both(values)

    def phase(self, value: Angle) -> Content:
        values = self._values(value)
        return "left unbound" if values is None else self._both(np.exp(1j * values))

    def _both(self, values: NDArray[Any]) -> Content:
        self.found.append(values.astype("c16").view(float))
        return ()

    def _values(self, value: Angle) -> FloatArray | None:
        """Return the values of an angle, if it has any: Qiskit leaves some definitions unbound."""
        if not is_free(value):
            number: Any = value.numeric() if isinstance(value, ParameterExpression) else value
            return np.full(2, float(number))
        if any(p.name not in self._index for p in value.parameters):
            return None
        compiled = compile_expression(value, {p: self._index[p.name] for p in value.parameters})
        return np.array([compiled.value(point) for point in self._points])
