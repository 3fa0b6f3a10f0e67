# SPDX-License-Identifier: Apache-2.0
"""What a parameter expression is: read from Qiskit's text or symbolic form, checked by values.

Some versions of Qiskit bind some expressions wrongly (2.1.0 to 2.5.1 take ``x**2 + y**2`` for
``(x + y)**2``), differentiate others wrongly (``(x - y)**2`` by ``y``), and give a wrong symbolic
form of a few (``x / (2 * y)``). So an expression has three witnesses: its text, its symbolic form,
and its values. What two of them agree on is what it is, and the package computes with that.
"""

from __future__ import annotations

import ast
import functools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import qiskit
from qiskit.circuit import CircuitError, Parameter, ParameterExpression

from ..exceptions import ExpressionError
from .formulas import (
    FUNCTIONS,
    Formula,
    Number,
    Variable,
    added,
    called,
    conjugated,
    evaluator,
    multiplied,
    raised,
)

TOLERANCE = 1e-9
NAMES = {  # as Qiskit and SymPy write them
    "asin": "arcsin",
    "acos": "arccos",
    "atan": "arctan",
    "Abs": "abs",
} | {name: name for name in FUNCTIONS}
FAILURES = (ArithmeticError, CircuitError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class Reading:
    """The formula of an expression in its parameters, and whether Qiskit binds it rightly.

    Attributes:
        formula: Variables are positions in the order of parameters given to :func:`read`.
        miscomputed: What Qiskit makes of it, in words; empty if it is right.
    """

    formula: Formula
    miscomputed: str


def read(expression: ParameterExpression, parameters: Sequence[Parameter]) -> Reading:
    """Return the formula of ``expression`` in its ``parameters``, in any order.

    Raises:
        ExpressionError: If it holds what has no real value or no known derivative, or if its
            witnesses contradict each other.
    """
    readers: list[Callable[[], Formula]] = [
        lambda: _of_text(_renamed(expression, parameters)),
        lambda: _of_symbols(expression, parameters),
    ]
    if not text_is_exact():
        readers.reverse()
    found: list[Formula] = []
    cause: Exception | None = None
    probes = list(points(len(parameters)))
    bound = [_bound(expression, parameters, point) for point in probes]
    for reader in readers:
        try:
            found.append(reader())
        except (*FAILURES, SyntaxError, AttributeError, KeyError, _Unknown) as error:
            cause = error
            continue
        if not _difference(found[-1], probes, bound):
            return Reading(found[-1], _step_by_step(expression, parameters, found[-1], probes[0]))
    if len(found) == 2 and not _difference(found[0], probes, _values(found[1], probes)):
        return Reading(found[0], _difference(found[0], probes, bound))
    if isinstance(cause, _Unknown):
        raise ExpressionError(
            f"The function {cause} in the parameter expression {expression} is not supported. "
            "Compute it in torch and feed the result to a plain parameter."
        ) from cause
    raise ExpressionError(
        f"Qiskit {qiskit.__version__} cannot say what the parameter expression {expression} is: "
        "its text, its symbolic form and its values differ. Compute it in torch and feed the "
        "result to a plain parameter."
    ) from cause


class _Unknown(Exception):
    """A function that no formula has."""


# -- text ----------------------------------------------------------------------------------------


@functools.cache
def text_is_exact() -> bool:
    """Whether Qiskit writes numbers with all their digits; versions before 2.1 do not."""
    return repr(math.pi) in str(Parameter("x") * math.pi)


def _renamed(expression: ParameterExpression, parameters: Sequence[Parameter]) -> str:
    """The text of an expression with parameters called ``v0``, ``v1``: names may be any text."""
    variables = _variables(len(parameters))
    return str(expression.subs(dict(zip(parameters, variables, strict=True))))


@functools.lru_cache(maxsize=64)
def _variables(count: int) -> list[Parameter]:
    return [Parameter(f"v{k}") for k in range(count)]


@functools.lru_cache(maxsize=1024)
def _of_text(text: str) -> Formula:
    python = re.sub(r"(?<=\d)i\b", "j", text)
    return _of_syntax(ast.parse(python, mode="eval").body)


def _of_syntax(node: ast.expr) -> Formula:
    if isinstance(node, ast.Constant):
        return Number(complex(node.value))  # type: ignore[arg-type]
    if isinstance(node, ast.Name) and re.fullmatch(r"v\d+", node.id):
        return Variable(int(node.id[1:]))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.UAdd, ast.USub)):
        sign = -1 if isinstance(node.op, ast.USub) else 1
        return multiplied([Number(sign), _of_syntax(node.operand)])
    if isinstance(node, ast.BinOp):
        return _of_operation(node.op, _of_syntax(node.left), _of_syntax(node.right))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 1:
        return _function(node.func.id, _of_syntax(node.args[0]))
    raise _Unknown(ast.unparse(node))


def _of_operation(op: ast.operator, a: Formula, b: Formula) -> Formula:
    if isinstance(op, ast.Add):
        return added([a, b])
    if isinstance(op, ast.Sub):
        return added([a, multiplied([Number(-1), b])])
    if isinstance(op, ast.Mult):
        return multiplied([a, b])
    if isinstance(op, ast.Div):
        return multiplied([a, raised(b, Number(-1))])
    if isinstance(op, ast.Pow):
        return raised(a, b)
    raise _Unknown(type(op).__name__)


def _function(name: str, argument: Formula) -> Formula:
    if name in ("conj", "conjugate"):
        return conjugated(argument)
    if name not in NAMES:
        raise _Unknown(name)
    return called(NAMES[name], argument)


# -- symbolic form -------------------------------------------------------------------------------


def _of_symbols(expression: ParameterExpression, parameters: Sequence[Parameter]) -> Formula:
    """Read what ``sympify`` gives: symengine's tree before Qiskit 2.1, then SymPy's."""
    return _of_tree(expression.sympify(), {p.name: k for k, p in enumerate(parameters)})


def _of_tree(node: Any, position: dict[str, int]) -> Formula:
    name = type(node).__name__
    if name in ("Symbol", "Dummy"):
        return Variable(position[node.name])
    if not getattr(node, "free_symbols", ()):
        return Number(complex(node))
    parts = [_of_tree(part, position) for part in node.args]
    if name == "Add":
        return added(parts)
    if name == "Mul":
        return multiplied(parts)
    if name == "Pow":
        return raised(*parts)
    return _function(name, *parts)


# -- values --------------------------------------------------------------------------------------


def points(count: int) -> Iterator[list[float]]:
    """Yield points with no relation between their coordinates: positive, mixed, negative ones."""
    coordinates = np.modf(np.arange(1, count + 1) * 0.6180339887498949)[0]
    signs = np.where(np.arange(count) % 2, -1.0, 1.0)
    for point in (0.3 + 0.5 * coordinates, signs * (0.2 + 1.3 * coordinates), -0.9 * coordinates):
        yield point.tolist()


def _values(formula: Formula, at: Sequence[Sequence[float]]) -> list[complex | None]:
    value = evaluator(formula)
    with np.errstate(all="ignore"):
        return [complex(value([np.float64(x) for x in point], np)) for point in at]


def _bound(
    expression: ParameterExpression, parameters: Sequence[Parameter], point: Sequence[float]
) -> complex | None:
    """Qiskit's value at a point; ``None`` if it has none there."""
    try:
        return complex(expression.bind(dict(zip(parameters, point, strict=True))))
    except FAILURES:
        return None


def _difference(
    formula: Formula, at: Sequence[Sequence[float]], values: Sequence[complex | None]
) -> str:
    """Say where values are not those of a formula; nothing where it has none."""
    for expected, got in zip(_values(formula, at), values, strict=True):
        if expected is None or not np.isfinite(expected):
            continue
        if got is None or not abs(got - expected) <= TOLERANCE * max(1.0, abs(expected)):
            found = "no number" if got is None else f"{got if got.imag else got.real:g}"
            return f"{found} where it is {expected.real:g}"
    return ""


def _step_by_step(
    expression: ParameterExpression,
    parameters: Sequence[Parameter],
    formula: Formula,
    point: Sequence[float],
) -> str:
    """Compare what comes of binding one parameter after the other, as circuits do."""
    partial: Any = expression
    try:
        for p, x in sorted(zip(parameters, point, strict=True), key=lambda pair: pair[0].name):
            if isinstance(partial, ParameterExpression) and p in partial.parameters:
                partial = partial.bind({p: x})
        got: complex | None = complex(partial)
    except FAILURES:
        got = None
    return _difference(formula, [point], [got])
