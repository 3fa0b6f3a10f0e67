# SPDX-License-Identifier: Apache-2.0
"""What classical bits and variables hold, as tables over the outcomes that they depend on.

An outcome is the value of a wire in the computational basis. Whatever a program computes of
outcomes, with registers, expressions and branches, is a value for each combination of those that it
depends on, of which there are few.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qiskit.circuit import ClassicalRegister, Clbit
from qiskit.circuit.classical import expr

from ..exceptions import CircuitError

MOST_OUTCOMES = 14
"""On so many outcomes a classical value may depend."""


@dataclass(frozen=True)
class Table:
    """A classical value as a function of outcomes.

    Attributes:
        wires: Those whose outcomes it depends on, ascending.
        values: The value for each combination of these: bit ``j`` of the index is the outcome of
            ``wires[j]``.
    """

    wires: tuple[int, ...]
    values: tuple[Any, ...]

    @classmethod
    def of(cls, value: Any) -> Table:
        """Return the table of a value that depends on nothing."""
        return cls((), (value,))

    @classmethod
    def of_wire(cls, wire: int) -> Table:
        """Return the table of an outcome itself."""
        return cls((wire,), (False, True))

    @property
    def is_constant(self) -> bool:
        """Whether it depends on no outcome."""
        return not self.wires

    @property
    def is_outcome(self) -> bool:
        """Whether it is the outcome of one wire."""
        return len(self.wires) == 1 and not self.values[0] and bool(self.values[1])

    def renamed(self, names: Mapping[int, int]) -> Table:
        """Return the same function of other wires, of which several may be one."""
        if not any(wire in names for wire in self.wires):
            return self
        parts = [Table.of_wire(names.get(wire, wire)) for wire in self.wires]
        return combine(lambda *bits: self.values[_index_of(bits)], *parts)

    def __invert__(self) -> Table:
        return combine(operator.not_, self)

    def __and__(self, other: Table) -> Table:
        return combine(lambda a, b: bool(a and b), self, other)

    def __or__(self, other: Table) -> Table:
        return combine(lambda a, b: bool(a or b), self, other)

    def __xor__(self, other: Table) -> Table:
        return combine(lambda a, b: bool(a) != bool(b), self, other)


TRUE, FALSE = Table.of(True), Table.of(False)


def combine(function: Callable[..., Any], *tables: Table) -> Table:
    """Return a function of some values.

    Raises:
        CircuitError: If it depends on more than :data:`MOST_OUTCOMES` outcomes.
    """
    wires = tuple(sorted(set().union(*(t.wires for t in tables))))
    if len(wires) > MOST_OUTCOMES:
        raise CircuitError(
            f"A classical value of the circuit depends on {len(wires)} outcomes; the exact engine "
            f"follows up to {MOST_OUTCOMES}. Use an estimator or sampler that runs the circuit, "
            "such as Aer's, or conditions on fewer bits."
        )
    places = [[wires.index(wire) for wire in t.wires] for t in tables]
    values = [
        function(
            *(
                t.values[_index_of([k >> p & 1 for p in at])]
                for t, at in zip(tables, places, strict=True)
            )
        )
        for k in range(1 << len(wires))
    ]
    return _reduced(wires, values)


def choose(condition: Table, one: Table, other: Table) -> Table:
    """Return one value where a condition holds, and the other elsewhere."""
    return combine(lambda c, a, b: a if c else b, condition, one, other)


def cubes_of(table: Table) -> Iterator[dict[int, int]]:
    """Yield combinations of outcomes, some left open, that a condition holds in, each once."""
    if table.is_constant:
        if table.values[0]:
            yield {}
        return
    *_, last = table.wires
    half = len(table.values) // 2
    for outcome in (0, 1):
        part = table.values[outcome * half : (outcome + 1) * half]
        for cube in cubes_of(_reduced(table.wires[:-1], part)):
            yield {**cube, last: outcome}


def _reduced(wires: tuple[int, ...], values: Sequence[Any]) -> Table:
    """Return a table without the outcomes that make no difference."""
    place = 0
    while place < len(wires):
        step = 1 << place
        if all(values[k] == values[k | step] for k in range(len(values)) if not k & step):
            values = [values[k] for k in range(len(values)) if not k & step]
            wires = wires[:place] + wires[place + 1 :]
        else:
            place += 1
    return Table(wires, tuple(values))


def _index_of(bits: Sequence[int]) -> int:
    return sum(int(bit) << place for place, bit in enumerate(bits))


# -- expressions ---------------------------------------------------------------------------------


class Evaluation:
    """Evaluates conditions and expressions of Qiskit.

    Args:
        read_bit: Returns what a classical bit holds.
        variables: What variables hold.
    """

    def __init__(
        self, read_bit: Callable[[Clbit], Table], variables: Mapping[expr.Expr, Table]
    ) -> None:
        self._read_bit, self._variables = read_bit, variables

    def condition(self, condition: Any) -> Table:
        """Return whether a condition in any of Qiskit's forms holds."""
        if isinstance(condition, expr.Expr):
            return combine(bool, self.expression(condition))
        target, wanted = condition
        return combine(lambda value: int(value) == int(wanted), self.target(target))

    def target(self, target: Any) -> Table:
        """Return the value of a bit, a register or an expression."""
        if isinstance(target, Clbit):
            return self._read_bit(target)
        if isinstance(target, ClassicalRegister):
            return combine(lambda *bits: _index_of(bits), *map(self._read_bit, target))
        return self.expression(target)

    def expression(self, node: expr.Expr) -> Table:
        """Return the value of an expression."""
        kind = type(node).__name__
        if kind not in _NODES:
            raise CircuitError(
                f"The circuit computes with a {kind} that is known at run time only. {_HINT}"
            )
        return _NODES[kind](self, node)

    def _var(self, node: Any) -> Table:
        if isinstance(node.var, (Clbit, ClassicalRegister)):
            return self.target(node.var)
        if node not in self._variables:
            raise CircuitError(
                f"The circuit reads the variable {node.name!r}, which has no value. {_HINT}"
            )
        return self._variables[node]

    def _value(self, node: Any) -> Table:
        if not isinstance(node.value, (bool, int, float)):
            raise CircuitError(f"The circuit computes with the duration {node.value}. {_HINT}")
        return Table.of(node.value)

    def _cast(self, node: Any) -> Table:
        return combine(_fitting(node.type), self.expression(node.operand))

    def _unary(self, node: Any) -> Table:
        fit, function = _fitting(node.type), _UNARY[node.op.name]
        return combine(lambda a: fit(function(a)), self.expression(node.operand))

    def _binary(self, node: Any) -> Table:
        fit, function = _fitting(node.type), _BINARY[node.op.name]
        if node.op.name == "DIV" and type(node.type).__name__ == "Uint":
            function = operator.floordiv
        if node.op.name == "SHIFT_LEFT":
            function = functools.partial(_shift_left, node.type.width)
        left, right = self.expression(node.left), self.expression(node.right)
        try:
            return combine(lambda a, b: fit(function(a, b)), left, right)
        except ZeroDivisionError as error:
            raise CircuitError(f"The circuit divides by zero in {node}.") from error

    def _index(self, node: Any) -> Table:
        target, index = self.expression(node.target), self.expression(node.index)
        return combine(lambda a, k: bool(a >> k & 1), target, index)


_HINT = (
    "The exact engine follows what depends on outcomes alone: use an estimator or sampler that "
    "runs the circuit, or numbers and outcomes in place of it."
)
_NODES: dict[str, Callable[[Evaluation, Any], Table]] = {
    "Var": Evaluation._var,
    "Value": Evaluation._value,
    "Cast": Evaluation._cast,
    "Unary": Evaluation._unary,
    "Binary": Evaluation._binary,
    "Index": Evaluation._index,
}
"""How each kind of node is evaluated; what later versions of Qiskit add is refused by name."""
_UNARY: dict[str, Callable[[Any], Any]] = {
    "BIT_NOT": operator.invert,
    "LOGIC_NOT": operator.not_,
    "NEGATE": operator.neg,
}
_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "BIT_AND": operator.and_,
    "BIT_OR": operator.or_,
    "BIT_XOR": operator.xor,
    "LOGIC_AND": lambda a, b: a and b,
    "LOGIC_OR": lambda a, b: a or b,
    "EQUAL": operator.eq,
    "NOT_EQUAL": operator.ne,
    "LESS": operator.lt,
    "LESS_EQUAL": operator.le,
    "GREATER": operator.gt,
    "GREATER_EQUAL": operator.ge,
    "SHIFT_LEFT": operator.lshift,
    "SHIFT_RIGHT": operator.rshift,
    "ADD": operator.add,
    "SUB": operator.sub,
    "MUL": operator.mul,
    "DIV": operator.truediv,
}


def _shift_left(width: int, number: int, places: int) -> int:
    return number << min(places, width)


def _fitting(kind: Any) -> Callable[[Any], Any]:
    """Return what makes a value one of a type of Qiskit."""
    name = type(kind).__name__
    if name == "Bool":
        return lambda value: bool(value & 1) if value < 0 else bool(value)
    if name == "Uint":
        return lambda value: int(value) & ((1 << kind.width) - 1)
    return lambda value: value
