# SPDX-License-Identifier: Apache-2.0
"""What a parameter expression is: affine, another formula, complex, unreadable or miscomputed.

Some versions of Qiskit bind some expressions wrongly (2.1.0 to 2.5.1 take ``x**2 + y**2`` for
``(x + y)**2``), differentiate others wrongly (``(x - y)**2`` with respect to ``y``), and give a
wrong symbolic form of a few (``x / (2 * y)``). So an expression has three witnesses: its text, its
symbolic form, and its values. What two of them agree on is what it is, and the package computes
with that. :func:`compile_expression` gives the answer, and nothing else in the package asks.
"""

from __future__ import annotations

import ast
import cmath
import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias, TypeGuard

import numpy as np
import qiskit
from qiskit.circuit import CircuitError, Operation, Parameter, ParameterExpression

from ..arrays import FloatArray
from ..exceptions import ExpressionError
from ..lru_cache import LRUCache
from .formulas import (
    FUNCTIONS,
    ZERO,
    Evaluator,
    Formula,
    Number,
    TooManyTerms,
    Variable,
    add,
    apply_function,
    constants_of,
    differentiate,
    expand_polynomial,
    make_evaluator,
    map_numbers,
    multiply,
    raise_to_power,
    sum_monomials,
)

TOLERANCE = 1e-9
"""Values that differ by less are the same, relative above one."""
NAMES = {  # as Qiskit and SymPy write them
    "asin": "arcsin",
    "acos": "arccos",
    "atan": "arctan",
    "Abs": "abs",
} | {name: name for name in FUNCTIONS}
FAILURES = (ArithmeticError, CircuitError, RuntimeError, TypeError, ValueError)
"""What Qiskit raises where an expression has no value."""

Angle: TypeAlias = ParameterExpression | float
"""What a gate can have as an angle."""


class Evaluators(NamedTuple):
    """A function of ``K`` arguments, and its derivatives.

    Attributes:
        value: The function.
        derivatives: Those with respect to each of the arguments.
        second_derivatives: Returns that with respect to two of them, given by their positions; it
            is made when it is first asked for.
    """

    value: Evaluator
    derivatives: tuple[Evaluator, ...]
    second_derivatives: Callable[[int, int], Evaluator]


class Function(NamedTuple):
    """A non-affine expression: functions that are the same but for the columns share evaluators."""

    expression: ParameterExpression
    columns: tuple[int, ...]
    evaluators: Evaluators

    def arguments(self, values: Any) -> list[Any]:
        """Pick this function's parameters out of ``values`` of shape ``(..., P)``."""
        return [values[..., column] for column in self.columns]


@dataclass(frozen=True, eq=False)
class Compiled:
    """What an expression is: an affine form, or a function where it is not affine.

    Attributes:
        parameters: The parameters that it holds, in the order of their columns.
        formula: The formula; variables are positions in ``parameters``.
        offset: Of the affine form.
        coefficients: Of the affine form, by column.
        function: What it is where it is not affine.
        miscomputed: What the installed Qiskit binds instead, in words; empty if it binds rightly.
    """

    parameters: tuple[Parameter, ...] = ()
    formula: Formula = ZERO
    offset: float = 0.0
    coefficients: Mapping[int, float] = field(default_factory=dict)
    function: Function | None = None
    miscomputed: str = ""

    def value(self, values: FloatArray) -> float:
        """Return the value at one point ``(P,)``; not finite outside of the domain."""
        if self.function is None:
            return self.offset + sum(c * float(values[k]) for k, c in self.coefficients.items())
        with np.errstate(all="ignore"):
            return float(self.function.evaluators.value(self.function.arguments(values), np))

    def slope(self, column: int, values: FloatArray) -> float:
        """Return the derivative with respect to one parameter at one point ``(P,)``."""
        f = self.function
        if f is None or column not in f.columns:
            return self.coefficients.get(column, 0.0)
        with np.errstate(all="ignore"):
            slope = f.evaluators.derivatives[f.columns.index(column)]
            return float(slope(f.arguments(values), np))


def is_free(angle: object) -> TypeGuard[ParameterExpression]:
    """Whether an operation's parameter still depends on circuit parameters."""
    return isinstance(angle, Parameter) or (
        isinstance(angle, ParameterExpression) and bool(angle.parameters)
    )


def expressions_of(operation: Operation) -> list[ParameterExpression]:
    """Return the unbound expressions among an operation's parameters."""
    return [p for p in getattr(operation, "params", ()) if is_free(p)]


def with_numbers(operation: Operation) -> Operation:
    """Return an operation with numbers in place of expressions that are some, as ``x - x`` is."""
    params = getattr(operation, "params", ())
    found = [_number_of(p) for p in params]
    if all(number is None for number in found):
        return operation
    result = operation.to_mutable()
    result.params = [p if n is None else n for p, n in zip(params, found, strict=True)]
    return result


def _number_of(angle: object) -> float | None:
    """Return the number that an expression is; ``None`` if it is none or no expression."""
    if not isinstance(angle, ParameterExpression) or isinstance(angle, Parameter):
        return None
    try:
        return float(angle)
    except (TypeError, ValueError):
        return None


def affine_form(expression: ParameterExpression) -> tuple[float, dict[Parameter, float]] | None:
    """Return offset and coefficients of one expression; ``None`` if it is not affine."""
    compiled = compile_expression(expression)
    if compiled.function is not None:
        return None
    return compiled.offset, {compiled.parameters[k]: c for k, c in compiled.coefficients.items()}


def compile_expression(expression: Angle, index: Mapping[Parameter, int] | None = None) -> Compiled:
    """Find out what an expression, or a number, is.

    Args:
        expression: The expression.
        index: The columns of its parameters; default: their positions in the order of their names.

    Raises:
        ExpressionError: If it is complex or has no known derivative, or if what it is cannot be
            known because its witnesses contradict each other.
    """
    if isinstance(expression, Parameter):
        column = 0 if index is None else index[expression]
        return Compiled((expression,), Variable(0), coefficients={column: 1.0})
    if not isinstance(expression, ParameterExpression):
        number = _real(expression, expression)
        return Compiled(formula=Number(number), offset=number)
    if index is None:
        parameters = sorted(expression.parameters, key=lambda p: p.name)
        columns = tuple(range(len(parameters)))
    else:
        parameters = sorted(expression.parameters, key=index.__getitem__)
        columns = tuple([index[p] for p in parameters])
    reading = _read(expression, parameters)
    offset, coefficients, function = 0.0, {}, None
    if reading.affine is not None:
        constant, factors = reading.affine
        offset = _real(constant, expression)
        coefficients = {columns[k]: _real(c, expression) for k, c in factors.items()}
    elif reading.evaluators is not None:
        function = Function(expression, columns, reading.evaluators)
    else:
        raise _complex_error(expression)
    return Compiled(
        tuple(parameters), reading.formula, offset, coefficients, function, reading.miscomputed
    )


def _real(number: Any, expression: object) -> float:
    try:
        z = complex(number)
    except (TypeError, ValueError) as error:
        raise ExpressionError(
            f"The parameter expression {expression} does not evaluate to a number."
        ) from error
    if not _is_real(z):
        raise _complex_error(expression)
    return z.real


def _is_real(number: complex) -> bool:
    return abs(number.imag) <= 1e-12 * max(1.0, abs(number))


def _complex_error(expression: object) -> ExpressionError:
    return ExpressionError(
        f"The parameter expression {expression} is complex; a gate angle must be real. Remove "
        "the imaginary factor, or the negative number that is raised to a parameter, from the "
        "circuit."
    )


# -- what is read --------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Reading:
    """The formula of an expression in its parameters, and whether Qiskit binds it rightly.

    Expressions that differ in their parameters only, and are right, share one reading; so what
    follows from a formula is worked out once for all of them.

    Attributes:
        formula: Variables are positions in an order of the ``count`` parameters.
        values: The formula's values at :func:`probe_points`; not finite where it has none.
        miscomputed: What Qiskit makes of it, in words; empty if it is right.
    """

    formula: Formula
    count: int
    values: tuple[complex, ...]
    miscomputed: str = ""

    @functools.cached_property
    def affine(self) -> tuple[complex, dict[int, complex]] | None:
        """Offset and coefficients by position, if nothing else is left once it is expanded."""
        offset, coefficients = 0j, {}
        try:
            terms = expand_polynomial(self.formula)
        except TooManyTerms:
            return None
        for monomial, coefficient in terms.items():
            match monomial:
                case ():
                    offset = coefficient
                case ((Variable(position), 1),):
                    coefficients[position] = coefficient
                case _:
                    return None
        return offset, coefficients

    @functools.cached_property
    def evaluators(self) -> Evaluators | None:
        """Evaluators of the formula and of its derivatives; ``None`` if it is complex."""
        formula = self.formula
        if not _has_real_numbers(formula):
            try:  # imaginary units may meet
                formula = sum_monomials(expand_polynomial(formula))
            except TooManyTerms:
                return None
            if not _has_real_numbers(formula):
                return None
        formula = map_numbers(formula, lambda z: z.real)
        slopes = [differentiate(formula, k) for k in range(self.count)]
        if not all(map(_has_real_numbers, [formula, *slopes])):  # logarithm of a negative base
            return None

        @functools.cache
        def second_derivatives(k: int, other: int) -> Evaluator:
            if k < other:
                return second_derivatives(other, k)
            return make_evaluator(differentiate(slopes[k], other))

        return Evaluators(
            make_evaluator(formula), tuple(map(make_evaluator, slopes)), second_derivatives
        )


def _has_real_numbers(formula: Formula) -> bool:
    return all(map(_is_real, constants_of(formula)))


_readings: LRUCache[_Reading] = LRUCache(4096)


def _read(expression: ParameterExpression, parameters: Sequence[Parameter]) -> _Reading:
    # A value tells expressions apart that look alike, and that Qiskit does not compute alike.
    value = _bind(expression, parameters, probe_points(len(parameters))[0])
    look = str(expression) if text_is_exact() else expression.sympify()
    names = tuple([p.name for p in parameters])
    return _readings((names, look, value), lambda: _compare(expression, parameters))


def _compare(expression: ParameterExpression, parameters: Sequence[Parameter]) -> _Reading:
    """Read an expression, and hold what was read against its values."""
    readers = [_read_text, _read_symbols] if text_is_exact() else [_read_symbols, _read_text]
    found: list[_Reading] = []
    cause: Exception | None = None
    bound = [_bind(expression, parameters, point) for point in probe_points(len(parameters))]
    for reader in readers:
        try:
            found.append(reader(expression, parameters))
        except (*FAILURES, SyntaxError, AttributeError, KeyError, _UnknownFunction) as error:
            cause = error
            continue
        if not _difference(found[-1].values, bound):
            miscomputed = _difference_in_steps(expression, parameters, found[-1].values[0])
            return replace(found[-1], miscomputed=miscomputed) if miscomputed else found[-1]
    if len(found) == 2 and not _difference(found[0].values, found[1].values):
        return replace(found[0], miscomputed=_difference(found[0].values, bound))
    if isinstance(cause, _UnknownFunction):
        raise ExpressionError(
            f"The function {cause} in the parameter expression {expression} is not supported. "
            "Compute it in torch and feed the result to a plain parameter."
        ) from cause
    raise ExpressionError(
        f"Qiskit {qiskit.__version__} cannot say what the parameter expression {expression} is: "
        "its text, its symbolic form and its values differ. Compute it in torch and feed the "
        "result to a plain parameter."
    ) from cause


class _UnknownFunction(Exception):
    """A function that no formula has."""


# -- text ----------------------------------------------------------------------------------------


@functools.cache
def text_is_exact() -> bool:
    """Whether Qiskit writes numbers with all their digits; versions before 2.1 do not.

    They write with SymPy's help, which would be loaded for nothing but this question.
    """
    return tuple(map(int, re.findall(r"\d+", qiskit.__version__)[:2])) >= (2, 1)


def _read_text(expression: ParameterExpression, parameters: Sequence[Parameter]) -> _Reading:
    """Read the text, with parameters called ``v0``, ``v1``: names may be any text."""
    variables = _variables(len(parameters))
    renamed = expression.subs(dict(zip(parameters, variables, strict=True)))
    return _reading_of_text(str(renamed), len(parameters))


@functools.lru_cache(maxsize=64)
def _variables(count: int) -> list[Parameter]:
    return [Parameter(f"v{k}") for k in range(count)]


@functools.lru_cache(maxsize=1024)
def _reading_of_text(text: str, count: int) -> _Reading:
    python = re.sub(r"(?<=\d)i\b", "j", text)
    return _reading_of_formula(_formula_of_syntax(ast.parse(python, mode="eval").body), count)


_OPERATORS: dict[type[ast.operator], Callable[[Formula, Formula], Formula]] = {
    ast.Add: lambda a, b: add([a, b]),
    ast.Sub: lambda a, b: add([a, multiply([Number(-1), b])]),
    ast.Mult: lambda a, b: multiply([a, b]),
    ast.Div: lambda a, b: multiply([a, raise_to_power(b, Number(-1))]),
    ast.Pow: raise_to_power,
}


def _formula_of_syntax(node: ast.expr) -> Formula:
    match node:
        case ast.Constant(value=int() | float() | complex() as value):
            return Number(complex(value))
        case ast.Name(id=name) if re.fullmatch(r"v\d+", name):
            return Variable(int(name[1:]))
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _formula_of_syntax(operand)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return multiply([Number(-1), _formula_of_syntax(operand)])
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_formula_of_syntax(left), _formula_of_syntax(right))
        case ast.Call(func=ast.Name(id=name), args=[argument]):
            return _apply_function(name, _formula_of_syntax(argument))
        case _:
            raise _UnknownFunction(ast.unparse(node))


def _apply_function(name: str, argument: Formula) -> Formula:
    if name in ("conj", "conjugate"):
        return map_numbers(argument, lambda z: z.conjugate())  # all variables are real
    if name not in NAMES:
        raise _UnknownFunction(name)
    return apply_function(NAMES[name], argument)


# -- symbolic form -------------------------------------------------------------------------------


def _read_symbols(expression: ParameterExpression, parameters: Sequence[Parameter]) -> _Reading:
    """Read what ``sympify`` gives: symengine's tree before Qiskit 2.1, then SymPy's."""
    tree: Any = expression.sympify()
    position = {p.name: k for k, p in enumerate(parameters)}
    renamed = {s: type(s)(f"v{position[s.name]}") for s in tree.free_symbols}
    return _reading_of_tree(tree.xreplace(renamed), len(parameters))


@functools.lru_cache(maxsize=1024)
def _reading_of_tree(tree: Any, count: int) -> _Reading:
    return _reading_of_formula(_formula_of_tree(tree), count)


def _formula_of_tree(node: Any) -> Formula:
    name = type(node).__name__
    if name in ("Symbol", "Dummy"):
        return Variable(int(node.name[1:]))
    if not getattr(node, "free_symbols", ()):
        return Number(complex(node))
    parts = [_formula_of_tree(part) for part in node.args]
    if name == "Add":
        return add(parts)
    if name == "Mul":
        return multiply(parts)
    if name == "Pow":
        return raise_to_power(*parts)
    return _apply_function(name, *parts)


# -- values --------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=64)
def probe_points(count: int) -> tuple[tuple[float, ...], ...]:
    """Return points with no relation between their coordinates: positive, mixed, negative ones."""
    coordinates = np.modf(np.arange(1, count + 1) * 0.6180339887498949)[0]
    signs = np.where(np.arange(count) % 2, -1.0, 1.0)
    found = (0.3 + 0.5 * coordinates, signs * (0.2 + 1.3 * coordinates), -0.9 * coordinates)
    return tuple(tuple(point.tolist()) for point in found)


def is_close(found: complex, expected: complex) -> bool:
    """Whether two values are the same up to rounding."""
    return abs(found - expected) <= TOLERANCE * max(1.0, abs(expected))


def bind_in_steps(
    expression: ParameterExpression, numbers: Mapping[Parameter, float]
) -> ParameterExpression | complex:
    """Have Qiskit bind one parameter after the other, as circuits do."""
    for p in sorted(expression.parameters & numbers.keys(), key=lambda p: p.name):
        if p in getattr(expression, "parameters", ()):
            expression = expression.bind({p: numbers[p]})
    return expression


def _reading_of_formula(formula: Formula, count: int) -> _Reading:
    value = make_evaluator(formula)
    with np.errstate(all="ignore"):
        found = [
            complex(value([np.float64(x) for x in point], np)) for point in probe_points(count)
        ]
    return _Reading(formula, count, tuple(found))


def _bind(
    expression: ParameterExpression, parameters: Sequence[Parameter], point: Sequence[float]
) -> complex | None:
    """Return Qiskit's value at a point; ``None`` if it has none there."""
    try:
        return complex(expression.bind(dict(zip(parameters, point, strict=True))))
    except FAILURES:
        return None


def _difference(expected: Iterable[complex], found: Iterable[complex | None]) -> str:
    """Say where values are not those of a formula; nothing where it has none."""
    for x, got in zip(expected, found, strict=True):
        if not cmath.isfinite(x):
            continue
        if got is None or not is_close(got, x):
            said = "no number" if got is None else f"{got if got.imag else got.real:g}"
            return f"{said} where it is {x.real:g}"
    return ""


def _difference_in_steps(
    expression: ParameterExpression, parameters: Sequence[Parameter], expected: complex
) -> str:
    """Say where a value is wrong that comes of binding one parameter after the other."""
    numbers = dict(zip(parameters, probe_points(len(parameters))[0], strict=True))
    try:
        found: complex | None = complex(bind_in_steps(expression, numbers))
    except FAILURES:
        found = None
    return _difference([expected], [found])
