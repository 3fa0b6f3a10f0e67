# SPDX-License-Identifier: Apache-2.0
"""Whether QPY bytes are such as this package writes, found out before Qiskit reads them.

Qiskit's readers trust a file. Those of versions 10 to 12 unpickle expressions, and so does that of
pulse schedules in any version; all of them make as many qubits, controls and elements of vectors
as a number in the file says, and compute ``i**i`` of two whole numbers. So the bytes are walked
through first. What is not in the grammar below is refused, and every number that Qiskit would turn
into memory is taken from an allowance.

The grammar is that of version 13, the first that holds expressions as data and the newest that
Qiskit 1.4 reads, without what no circuit here has: schedules, calibrations, conditions on single
gates. That of version 14 has boxes as well, without annotations. Both are described in the
documentation of :mod:`qiskit.qpy`.
"""

from __future__ import annotations

import functools
import io
import json
import math
import re
import struct
from collections.abc import Collection
from typing import Any, NamedTuple, NoReturn

import numpy as np
from qiskit.circuit.library import get_standard_gate_name_mapping

from ..arguments import require_whole_number
from ..exceptions import StateDictError

VERSION = 13
VERSION_OF_BOXES = 14
SYMPY = b"p"
EXPRESSION = 2
"""How a condition is written that is one."""
HEADER = struct.Struct("!6sBBBBQc")
DEPTH = 40
"""How deep definitions and expressions may be nested."""
BYTES_OF_PART = 512
"""What a qubit, a control or a Pauli term takes in memory, at most."""
BYTES_OF_ELEMENT = 1280
"""What an element of a vector takes, at most: 1,194 in Qiskit 1.4 and 2.0, 890 to 950 up to 2.4."""
WEIGHT = 1 << 16
"""What an expression may come to: its leaves, times the powers that they are raised to."""
LARGEST_EXPONENT = 1024
LARGER_GATES = {
    "Barrier", "C3XGate", "C4XGate", "Clifford", "DiagonalGate", "HamiltonianGate", "Initialize",
    "Isometry", "LinearFunction", "MCPhaseGate", "MCU1Gate", "MCXGate", "MCXGrayCode",
    "MCXRecursive", "MCXVChain", "MSGate", "PauliGate", "PermutationGate", "QFTGate", "RVGate",
    "StatePreparation", "UCGate", "UCPauliRotGate", "UCRXGate", "UCRYGate", "UCRZGate",
    "UnitaryGate",
}  # fmt: skip
"""Gates beside the standard ones that are no larger than what they are made from."""
CONTROL_FLOW = {
    "IfElseOp": b"q[qz]",
    "SwitchCaseOp": b"[Rx]t",
    "ForLoopOp": b"[rt][pvz]q",
    "WhileLoopOp": b"q",
    "BreakLoopOp": b"",
    "ContinueLoopOp": b"",
}
"""Operations with blocks, or such as are in blocks, and the kinds of what they hold."""
CONDITIONED = ("IfElseOp", "WhileLoopOp")
AT_RUN_TIME = {"Measure", "Reset", "Store"}
WIDEST = 1 << 10
"""The most bits of a classical number."""
ONE_OPERAND, TWO_OPERANDS = (b"u", b"c"), (b"b", b"i")
FORMULAS = {"LieTrotter", "SuzukiTrotter", "MatrixExponential", "QDrift"}
POWER, SUBSTITUTE, REVERSED_POWER, NOTHING = 4, 15, 20, 255
NUMBERS = {b"i": "!q", b"f": "!d", b"c": "!dd"}
SYMBOLS = (b"p", b"v", b"e")  # parameters, elements of vectors, expressions
PRODUCTS = (2, 3, 19)
BINARY = (0, 1, *PRODUCTS, POWER, SUBSTITUTE, 18, REVERSED_POWER)
UNARY = (5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 17)


def check_qpy(data: bytes, max_bytes: int | None = None) -> None:
    """Raise :class:`.StateDictError` unless Qiskit can be given some bytes to read.

    Args:
        data: What claims to be one circuit in QPY.
        max_bytes: What it may take in memory; default: 256 MiB and 64 times its own size.
    """
    if len(data) < 7 or data[:6] != b"QISKIT":
        _refuse("it does not begin like QPY")
    if data[6] not in (VERSION, VERSION_OF_BOXES):
        raise StateDictError(
            f"Expected a circuit in QPY version {VERSION} or {VERSION_OF_BOXES}; got version "
            f"{data[6]}, which this release neither writes nor reads. Nothing was read. "
            f"{_remedy(data[6])}"
        )
    if len(data) < HEADER.size:
        _refuse("it ends inside its header")
    circuits = HEADER.unpack_from(data)[5]
    if circuits != 1:
        _refuse(f"it holds {circuits} circuits, and one is expected")
    if max_bytes is None:
        max_bytes = (256 << 20) + 64 * len(data)
    require_whole_number(max_bytes, "max_bytes", 1, error=StateDictError)
    boxes = data[6] == VERSION_OF_BOXES
    walk = _Walk(memoryview(data)[HEADER.size :], _Allowance(max_bytes), boxes)
    try:
        if walk.take(1) != b"q":
            _refuse("it holds something else than a circuit")
        walk.circuit()
    except (struct.error, UnicodeDecodeError, ValueError, TypeError, KeyError) as error:
        if isinstance(error, StateDictError):
            raise
        _refuse(f"{type(error).__name__}: {error}")


def _remedy(version: int) -> str:
    if version > VERSION:
        return (
            "If a newer release of qiskit-torch-bridge wrote it, upgrade; a circuit of your own is "
            f"written with qiskit.qpy.dump(circuit, file, version={VERSION})."
        )
    return (
        "Reading it could run code that is hidden in it. If an earlier release made the file, its "
        "weights can be used without the circuit: load them with "
        "torch.load(path, weights_only=True), leave out the keys that end in '_extra_state', and "
        "save the module again."
    )


def without_symengine(data: bytes) -> bytes:
    """Return QPY that says of itself that no symengine is needed, as is true of version 13."""
    return data[: HEADER.size - 1] + SYMPY + data[HEADER.size :]


class _Allowance:
    """Counts what Qiskit will make of the numbers in a file."""

    def __init__(self, max_bytes: int) -> None:
        self._left = self._all = max_bytes

    def spend(self, parts: float, bytes_of_part: int = BYTES_OF_PART) -> None:
        self._left -= math.ceil(parts) * bytes_of_part
        if self._left < 0:
            raise StateDictError(
                f"Expected a circuit that takes at most {self._all:,} bytes of memory (max_bytes); "
                "the saved one would take more. Nothing was made of it. If the file is to be "
                "trusted, pass a larger max_bytes."
            )


class _Term(NamedTuple):
    """What is known of an expression before Qiskit computes it.

    Attributes:
        weight: See :data:`WEIGHT`.
        size: The largest that a number in it can become by multiplying constants.
        open: Whether a parameter may be in an exponent.
        number: Whether it is a number of Python, not an expression.
    """

    weight: float
    size: float
    open: bool = False
    number: bool = False


LEAF = _Term(1, 1)


class _Walk:
    """A position in some bytes, and what the grammar says may come next."""

    def __init__(self, data: memoryview, allowance: _Allowance, boxes: bool) -> None:
        self._data, self._allowance, self._depth = data, allowance, 0
        self._boxes = boxes  # whether there may be some
        self._times = 1  # how often what is here is run
        self._vectors: set[tuple[str, int]] = set()

    def take(self, count: int) -> bytes:
        return bytes(self._cut(count))

    def _cut(self, count: int) -> memoryview:
        if count > len(self._data):
            _refuse(f"it ends {count - len(self._data)} bytes early")
        part, self._data = self._data[:count], self._data[count:]
        return part

    def _within(self, count: int) -> _Walk:
        inner = _Walk(self._cut(count), self._allowance, self._boxes)
        inner._depth, inner._vectors = self._depth + 1, self._vectors
        inner._times = self._times
        if inner._depth > DEPTH:
            _refuse(f"it is nested more than {DEPTH} deep")
        return inner

    def _integers(self, form: str) -> tuple[int, ...]:
        return struct.unpack(form, self._cut(struct.calcsize(form)))

    def _kind_and_size(self) -> tuple[bytes, int]:
        return self.take(1), self._integers("!Q")[0]

    def _end(self) -> None:
        if len(self._data):
            _refuse(f"{len(self._data)} bytes follow where nothing is expected")

    # -- circuits --------------------------------------------------------------------------------

    def circuit(self) -> None:
        self._vectors = set()
        (name,), phase_kind = self._integers("!H"), self.take(1)
        phase, qubits, clbits, metadata, registers, instructions, variables = self._integers(
            "!HIIQIQI"
        )
        self.take(name).decode()
        self._within(phase).value(phase_kind)
        _json(self.take(metadata))
        self._allowance.spend(qubits + clbits)
        self._registers(registers, max(qubits, clbits))
        self._variables(variables)
        custom = self._custom_operations()
        for _ in range(instructions):
            self._instruction(custom)
        if self._integers("!H") != (0,):
            _refuse("it has calibrations of gates")
        self._layout()
        self._end()

    def _registers(self, count: int, bits: float) -> None:
        for _ in range(count):
            self._cut(2)
            size, name, _ = self._integers("!IH?")
            self.take(name).decode()
            if any(place >= bits for place in self._integers(f"!{size}q")):
                _refuse("a register holds a bit that is not there")
            self._allowance.spend(size)

    def _variables(self, count: int) -> None:
        """Walk through the declarations of classical variables."""
        self._allowance.spend(count)
        for _ in range(count):
            self._cut(17)
            (size,) = self._integers("!H")
            self._classical_type()
            self.take(size).decode()

    def _custom_operations(self) -> set[str]:
        names, bases = set(), []
        for _ in range(*self._integers("!Q")):
            name_size, _ = self._integers("!HB")
            qubits, clbits, defined, size, controls, _, base = self._integers("!II?QIIQ")
            name = self.take(name_size).decode()
            self._allowance.spend(qubits + clbits + controls)
            if defined:
                definition = self._within(size)
                if name.startswith("###PauliEvolutionGate_"):
                    definition._evolution()
                else:
                    definition.circuit()
            if base:
                bases.append(self._within(base))
            names.add(name)
        for inner in bases:
            inner._instruction(names, with_qubits=False)
            inner._end()
        return names

    def _instruction(self, custom: Collection[str], *, with_qubits: bool = True) -> None:
        (name_size, label, count, qubits, clbits, condition, register, _, controls, _) = (
            self._integers("!HHHIIBHqII")
        )
        name = self.take(name_size).decode()
        branches = name in CONTROL_FLOW or (self._boxes and name == "BoxOp")
        known = name in custom or name in AT_RUN_TIME or _is_known_gate(name)
        if not known and not branches:
            _refuse(f"it has the operation {name[:40]!r}, which files hold as its parts")
        self.take(label).decode()
        self._cut(register)
        if bool(condition) != (name in CONDITIONED):
            _refuse(f"it has {name[:40]!r} with a condition, or without one")
        if condition == EXPRESSION:
            self._typed_value()
        elif condition not in (0, 1):
            _refuse(f"it has a condition of kind {condition}")
        if with_qubits:
            self._cut(5 * (qubits + clbits))
        self._allowance.spend(controls * self._times)
        if self._times > 1:  # loops are unrolled
            self._allowance.spend(self._times)
        rounds, kinds = 1, b""
        for _ in range(count):
            kind, size = self._kind_and_size()
            inner = self._within(size)
            if branches:
                kinds += kind
                inner._times *= rounds
                rounds = inner._of_control_flow(kind, name == "ForLoopOp")
                continue
            if kind != b"i":
                inner.value(kind)
                continue
            (number,) = inner._integers("<q")
            inner._end()
            if name != "Delay":
                self._allowance.spend(abs(number))
        if name in CONTROL_FLOW and not re.fullmatch(CONTROL_FLOW[name], kinds):
            _refuse(f"it has {name!r} with something else than belongs to it")

    def _of_control_flow(self, kind: bytes, counts: bool = False) -> int:
        """Walk through what an operation of control flow holds; return the rounds of a loop."""
        rounds = 1
        if kind == b"q":
            self.circuit()
            return rounds
        if kind == b"r":
            start, stop, step = self._integers("!qqq")
            rounds = len(range(start, stop, step)) if counts else 1
        elif kind == b"t":
            (length,) = self._integers("!Q")
            rounds = max(1, length) if counts else 1
            for _ in range(length):
                inner, size = self._kind_and_size()
                self._within(size)._of_control_flow(inner)
        elif kind in (b"i", b"f"):
            self._cut(8)
        elif kind == b"R":
            self.take(len(self._data)).decode()
        elif kind == b"x":
            self._classical()
        elif kind != b"d":
            self.value(kind)
        self._end()
        return rounds

    # -- classical expressions -------------------------------------------------------------------

    def _typed_value(self) -> None:
        kind, size = self._kind_and_size()
        self._within(size).value(kind)

    def _classical_type(self) -> None:
        kind = self.take(1)
        if kind == b"u":
            (width,) = self._integers("!L")
            if width > WIDEST:
                _refuse(f"it has a number of {width} bits")
        elif kind not in (b"b", b"f"):
            _refuse(f"it has a classical type {kind!r}")

    def _classical(self, depth: int = 0) -> None:
        """Walk through an expression over classical bits and variables."""
        if depth > DEPTH:
            _refuse(f"it has an expression that is nested more than {DEPTH} deep")
        node = self.take(1)
        self._classical_type()
        if node == b"x":
            self._classical_variable()
        elif node == b"v":
            kind = self.take(1)
            if kind not in (b"b", b"f", b"i"):
                _refuse(f"it has a classical value of kind {kind!r}")
            self._cut(self._integers("!B")[0] if kind == b"i" else 8 if kind == b"f" else 1)
        elif node in ONE_OPERAND:
            self._cut(1)
            self._classical(depth + 1)
        elif node in TWO_OPERANDS:
            self._cut(1 if node == b"b" else 0)
            self._classical(depth + 1)
            self._classical(depth + 1)
        else:
            _refuse(f"it has a classical expression of kind {node!r}")

    def _classical_variable(self) -> None:
        kind = self.take(1)
        if kind == b"R":
            self.take(*self._integers("!H")).decode()
        elif kind in (b"C", b"U"):
            self._cut(4 if kind == b"C" else 2)
        else:
            _refuse(f"it has a classical variable of kind {kind!r}")

    def _layout(self) -> None:
        exists, initial, mapping, final, registers, _ = self._integers("!?iiiIi")
        if not exists:
            return
        self._registers(registers, math.inf)
        for _ in range(max(initial, 0)):
            _, name = self._integers("!ii")
            self._cut(max(name, 0))
        self._cut(4 * (max(mapping, 0) + max(final, 0)))

    def _evolution(self) -> None:
        count, _ = self._integers("!Q?")
        time_kind, time_size = self._kind_and_size()
        (synthesis,) = self._integers("!Q")
        terms = sum(self._within(*self._integers("!Q"))._array()[0] for _ in range(count))
        self._within(time_size).value(time_kind)
        described = _json(self.take(synthesis))
        settings = described["settings"]
        if described["class"] not in FORMULAS:
            _refuse(f"it has an evolution by {described['class']!r}")
        repetitions, order = settings.get("reps", 1), settings.get("order", 1)
        if type(repetitions) is not int or type(order) is not int:
            _refuse("an evolution has no whole number of steps")
        # A formula of order 2k calls that of order 2(k-1) five times.
        self._allowance.spend(abs(terms * repetitions) * 5.0 ** min(max(order, 0) // 2, 60))
        self._end()

    # -- values ----------------------------------------------------------------------------------

    def value(self, kind: bytes) -> _Term:
        """Walk through a value that takes all bytes; return what it is in an expression."""
        result = LEAF
        if kind in NUMBERS:
            result = _number(NUMBERS[kind], self.take(struct.calcsize(NUMBERS[kind])))
        elif kind == b"s":
            self.take(len(self._data)).decode()
        elif kind == b"n":
            self._array()
        elif kind in SYMBOLS:
            result = self._symbol(kind)
        elif kind == b"m":
            self._cut(1)
            controls, _ = self._integers("!II")
            self._cut(8)
            self._allowance.spend(controls)
        elif kind == b"t":
            for _ in range(*self._integers("!Q")):
                inner, size = self._kind_and_size()
                self._within(size).value(inner)
        elif kind == b"x":
            self._classical()
        elif kind != b"z":
            _refuse(f"it has a value of kind {kind!r}")
        self._end()
        return result

    def _array(self) -> tuple[int, ...]:
        """Walk through an array in NumPy's format that takes all bytes; return its shape."""
        length = len(self._data)
        stream = io.BytesIO(self.take(length))
        try:
            version = np.lib.format.read_magic(stream)
            header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, _, dtype = header(stream)
        except Exception as error:  # NumPy has Python read the header, which fails in many ways
            _refuse(f"it has an array that is none ({type(error).__name__})")
        if dtype.hasobject or not dtype.itemsize:
            _refuse(f"it has an array of {dtype}")
        if min(shape, default=1) < 0 or math.prod(shape) * dtype.itemsize != length - stream.tell():
            _refuse(f"an array of shape {shape} has {length - stream.tell()} bytes")
        return shape or (1,)

    def _symbol(self, kind: bytes) -> _Term:
        if kind == b"e":
            return self._expression()
        if kind == b"p":
            (length,) = self._integers("!H")
            self._cut(16)
            self.take(length).decode()
            return LEAF
        length, size = self._integers("!HQ")
        self._cut(16)
        (index,) = self._integers("!Q")
        name = self.take(length).decode()
        if index >= size:
            _refuse(f"it has element {index} of a vector with {size} elements")
        if (name, size) not in self._vectors:  # Qiskit makes all elements, once in a circuit
            self._vectors.add((name, size))
            self._allowance.spend(size, BYTES_OF_ELEMENT)
        return LEAF

    # -- expressions -----------------------------------------------------------------------------

    def _expression(self) -> _Term:
        count, size = self._integers("!QQ")
        steps = self._within(size)
        for _ in range(count):
            symbol = self.take(1)
            kind, length = self._kind_and_size()
            if symbol not in SYMBOLS:
                _refuse(f"it has a symbol of kind {symbol!r}")
            self._symbol(symbol)
            inner = self._within(length)
            if kind not in (b"p", b"v"):  # of those nothing is read
                inner.value(kind)
        return steps._steps()

    def _steps(self) -> _Term:
        """Walk through the operations that make an expression, on a stack."""
        stack: list[_Term | list[_Term]] = []
        while len(self._data):
            (operation,) = self._integers("!B")
            left, a, right, b = (self.take(size) for size in (1, 16, 1, 16))
            if operation == NOTHING:
                if {left, right} not in ({b"n", b"s"}, {b"n", b"e"}):
                    _refuse("it has a step of an expression that does nothing")
                continue
            for kind, content in ((left, a), (right, b)):
                if kind == b"u" and operation == SUBSTITUTE:
                    stack.append(self._within(int.from_bytes(content[:8], "big"))._mapping())
                elif kind != b"n":
                    stack.append(_operand(kind, content))
            if operation in BINARY and len(stack) > 1:
                last = stack.pop()
                stack.append(_combine_terms(operation, stack.pop(), last))
            elif operation not in UNARY or not stack or not isinstance(stack[-1], _Term):
                _refuse(f"it has the operation {operation} in an expression")
        if len(stack) != 1 or not isinstance(stack[0], _Term):
            _refuse("an expression has no value")
        return stack[0]

    def _mapping(self) -> list[_Term]:
        """What is put in place of parameters."""
        values = []
        for _ in range(*self._integers("!Q")):
            (key,), kind, (size,) = self._integers("!H"), self.take(1), self._integers("!H")
            self.take(key).decode()
            values.append(self._within(size).value(kind))
        self._end()
        return values


def _operand(kind: bytes, content: bytes) -> _Term:
    if kind == b"p":
        return LEAF
    if kind not in NUMBERS:
        _refuse(f"it has an operand of kind {kind!r} in an expression")
    return _number(NUMBERS[kind], content[-struct.calcsize(NUMBERS[kind]) :])


def _number(form: str, content: bytes) -> _Term:
    size = abs(complex(*struct.unpack(form, content)))
    return _Term(1, size if size > 1 else 1, number=True)  # also of what is no number


def _combine_terms(operation: int, a: _Term | list[_Term], b: _Term | list[_Term]) -> _Term:
    """Return what comes of an operation; raise if Qiskit would compute too much for it."""
    if operation == SUBSTITUTE:
        if not isinstance(b, list) or not isinstance(a, _Term):
            _refuse("it puts nothing in place of parameters")
        weight = max((v.weight for v in b), default=1)
        if a.open and any(v != LEAF for v in b):
            _refuse("it puts numbers in place of parameters in exponents")
        size = a.size if all(v == LEAF for v in b) else math.inf
        result = _Term(a.weight * weight, size, a.open or any(v.open for v in b))
    elif not isinstance(a, _Term) or not isinstance(b, _Term) or (a.number and b.number):
        _refuse("it computes with numbers alone")
    elif operation in (POWER, REVERSED_POWER):
        base, exponent = (a, b) if operation == POWER else (b, a)
        if exponent.size > LARGEST_EXPONENT:
            _refuse(f"it has powers beyond {LARGEST_EXPONENT}")
        result = _Term(
            base.weight * exponent.size + exponent.weight,
            math.inf,
            open=a.open or b.open or not exponent.number,
        )
    else:
        size = a.size * b.size if operation in PRODUCTS else a.size + b.size
        result = _Term(a.weight + b.weight, size, a.open or b.open)
    if result.weight > WEIGHT:
        _refuse(f"it has an expression of more than {WEIGHT} terms")
    return result


@functools.cache
def _standard_gates() -> frozenset[str]:
    gates = get_standard_gate_name_mapping().values()
    return frozenset(getattr(g, "base_class", type(g)).__name__ for g in gates)


def _is_known_gate(name: str) -> bool:
    return name in LARGER_GATES or (name in _standard_gates() and not name.startswith("_"))


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        _refuse("it has text that is nested too deep")


def _refuse(what: str) -> NoReturn:
    raise StateDictError(
        f"The saved circuit is damaged, or was not written by this package: {what}. Nothing was "
        "made of it. Restore the file from a copy; the weights can be loaded without the circuit."
    )
