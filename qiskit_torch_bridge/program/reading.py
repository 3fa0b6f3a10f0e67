# SPDX-License-Identifier: Apache-2.0
"""What a parameter expression is: read from Qiskit's text or symbolic form, checked by values.

Some versions of Qiskit bind some expressions wrongly (2.1.0 to 2.5.1 take ``x**2 + y**2`` for
``(x + y)**2``), differentiate others wrongly (``(x - y)**2`` by ``y``), and give a wrong symbolic
form of a few (``x / (2 * y)``). So an expression has three witnesses: its text, its symbolic form,
and its values. What two of them agree on is what it is, and the package computes with that.
"""

from __future__ import annotations

import ast
import cmath
import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import qiskit
from qiskit.circuit import CircuitError, Parameter, ParameterExpression

from ..exceptions import ExpressionError
from ..lru_cache import LRUCache
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


@dataclass(frozen=True, eq=False)
class Reading:
    """The formula of an expression in its parameters, and whether Qiskit binds it rightly.

    Expressions that differ in their parameters only, and are right, share one reading; so what
    follows from a formula is worked out once for all of them.

    Attributes:
        formula: Variables are positions in the order of parameters given to :func:`read`.
        values: The formula's values at :func:`points`; not finite where it has none.
        miscomputed: What Qiskit makes of it, in words; empty if it is right.
    """

    formula: Formula
    values: tuple[complex, ...]
    miscomputed: str = ""


def read(expression: ParameterExpression, parameters: Sequence[Parameter]) -> Reading:
    """Return the reading of ``expression`` in its ``parameters``, in any order.

    Raises:
        ExpressionError: If it holds what has no real value or no known derivative, or if its
            witnesses contradict each other.
    """
    order = tuple(parameters)
    # A value tells expressions apart that look alike, and that Qiskit does not compute alike.
    value = _bound(expression, order, points(len(order))[0])
    look = str(expression) if text_is_exact() else expression.sympify()
    names = tuple([p.name for p in order])
    return _readings((names, look, value), lambda: _compared(expression, order))


_readings: LRUCache[Reading] = LRUCache(4096)


def _compared(expression: ParameterExpression, parameters: Sequence[Parameter]) -> Reading:
    """Read an expression, and hold what was read against its values."""
    readers = [_of_text, _of_symbols] if text_is_exact() else [_of_symbols, _of_text]
    found: list[Reading] = []
    cause: Exception | None = None
    probes = points(len(parameters))
    bound = [_bound(expression, parameters, point) for point in probes]
    for reader in readers:
        try:
            found.append(reader(expression, parameters))
        except (*FAILURES, SyntaxError, AttributeError, KeyError, _Unknown) as error:
            cause = error
            continue
        if not _difference(found[-1].values, bound):
            miscomputed = _step_by_step(expression, parameters, found[-1].values[0], probes[0])
            return replace(found[-1], miscomputed=miscomputed) if miscomputed else found[-1]
    if len(found) == 2 and not _difference(found[0].values, found[1].values):
        return replace(found[0], miscomputed=_difference(found[0].values, bound))
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
    """Whether Qiskit writes numbers with all their digits; versions before 2.1 do not.

    They write with SymPy's help, which would be loaded for nothing but this question.
    """
    return tuple(map(int, re.findall(r"\d+", qiskit.__version__)[:2])) >= (2, 1)


def _of_text(expression: ParameterExpression, parameters: Sequence[Parameter]) -> Reading:
    """Read the text, with parameters called ``v0``, ``v1``: names may be any text."""
    variables = _variables(len(parameters))
    renamed = expression.subs(dict(zip(parameters, variables, strict=True)))
    return _reading_of_text(str(renamed), len(parameters))


@functools.lru_cache(maxsize=64)
def _variables(count: int) -> list[Parameter]:
    return [Parameter(f"v{k}") for k in range(count)]


@functools.lru_cache(maxsize=1024)
def _reading_of_text(text: str, count: int) -> Reading:
    python = re.sub(r"(?<=\d)i\b", "j", text)
    return _with_values(_of_syntax(ast.parse(python, mode="eval").body), count)


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


def _of_symbols(expression: ParameterExpression, parameters: Sequence[Parameter]) -> Reading:
    """Read what ``sympify`` gives: symengine's tree before Qiskit 2.1, then SymPy's."""
    tree: Any = expression.sympify()
    position = {p.name: k for k, p in enumerate(parameters)}
    renamed = {s: type(s)(f"v{position[s.name]}") for s in tree.free_symbols}
    return _reading_of_tree(tree.xreplace(renamed), len(parameters))


@functools.lru_cache(maxsize=1024)
def _reading_of_tree(tree: Any, count: int) -> Reading:
    return _with_values(_of_tree(tree), count)


def _of_tree(node: Any) -> Formula:
    name = type(node).__name__
    if name in ("Symbol", "Dummy"):
        return Variable(int(node.name[1:]))
    if not getattr(node, "free_symbols", ()):
        return Number(complex(node))
    parts = [_of_tree(part) for part in node.args]
    if name == "Add":
        return added(parts)
    if name == "Mul":
        return multiplied(parts)
    if name == "Pow":
        return raised(*parts)
    return _function(name, *parts)


# -- values --------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=64)
def points(count: int) -> tuple[tuple[float, ...], ...]:
    """Return points with no relation between their coordinates: positive, mixed, negative ones."""
    coordinates = np.modf(np.arange(1, count + 1) * 0.6180339887498949)[0]
    signs = np.where(np.arange(count) % 2, -1.0, 1.0)
    found = (0.3 + 0.5 * coordinates, signs * (0.2 + 1.3 * coordinates), -0.9 * coordinates)
    return tuple(tuple(point.tolist()) for point in found)


def _with_values(formula: Formula, count: int) -> Reading:
    value = evaluator(formula)
    with np.errstate(all="ignore"):
        found = [complex(value([np.float64(x) for x in point], np)) for point in points(count)]
    return Reading(formula, tuple(found))


def _bound(
    expression: ParameterExpression, parameters: Sequence[Parameter], point: Sequence[float]
) -> complex | None:
    """Qiskit's value at a point; ``None`` if it has none there."""
    try:
        return complex(expression.bind(dict(zip(parameters, point, strict=True))))
    except FAILURES:
        return None


def _difference(expected: Iterable[complex], found: Iterable[complex | None]) -> str:
    """Say where values are not those of a formula; nothing where it has none."""
    for x, got in zip(expected, found, strict=True):
        if not cmath.isfinite(x):
            continue
        if got is None or not abs(got - x) <= TOLERANCE * max(1.0, abs(x)):
            said = "no number" if got is None else f"{got if got.imag else got.real:g}"
            return f"{said} where it is {x.real:g}"
    return ""


def _step_by_step(
    expression: ParameterExpression,
    parameters: Sequence[Parameter],
    expected: complex,
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
    return _difference([expected], [got])
