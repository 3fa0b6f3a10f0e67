# SPDX-License-Identifier: Apache-2.0
"""Parameter expressions, compiled once to affine forms or to functions of arrays."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from qiskit.circuit import Parameter, ParameterExpression

from ..arrays import FloatArray
from ..exceptions import ExpressionError
from .formulas import (
    Evaluator,
    Formula,
    Number,
    TooManyTerms,
    Variable,
    contracted,
    derivative,
    evaluator,
    expanded,
    mapped,
    numbers_of,
)
from .reading import Reading, read

SecondDerivatives = Callable[[int, int], Evaluator]
"""Returns the derivative with respect to two of the arguments, given by their positions."""


@dataclass(frozen=True, eq=False)
class Function:
    """A non-affine expression, with its derivatives with respect to each of its parameters.

    Those that are the same but for the columns share their evaluators. Second derivatives are made
    when they are first asked for.
    """

    expression: ParameterExpression
    columns: tuple[int, ...]
    value: Evaluator
    derivatives: tuple[Evaluator, ...]
    second_derivatives: SecondDerivatives

    def arguments(self, values: Any) -> list[Any]:
        """Pick this function's parameters out of ``values`` of shape ``(..., P)``."""
        return [values[..., column] for column in self.columns]


@dataclass(frozen=True)
class Compiled:
    """An expression as an affine form, or as a function where it is not affine.

    Attributes:
        offset: Of the affine form.
        coefficients: Of the affine form, by column.
        function: What it is where it is not affine.
        miscomputed: What the installed Qiskit binds instead, in words; empty if it binds rightly.
    """

    offset: float = 0.0
    coefficients: dict[int, float] = field(default_factory=dict)
    function: Function | None = None
    miscomputed: str = ""

    def value(self, values: FloatArray) -> float:
        """Return the value at one point ``(P,)``; not finite outside of the domain."""
        if self.function is None:
            return self.offset + sum(c * float(values[k]) for k, c in self.coefficients.items())
        with np.errstate(all="ignore"):
            return float(self.function.value(self.function.arguments(values), np))

    def slope(self, column: int, values: FloatArray) -> float:
        """Return the derivative by one parameter at one point ``(P,)``."""
        f = self.function
        if f is None or column not in f.columns:
            return self.coefficients.get(column, 0.0)
        with np.errstate(all="ignore"):
            return float(f.derivatives[f.columns.index(column)](f.arguments(values), np))


def is_free(angle: object) -> bool:
    """Whether an operation's parameter still depends on circuit parameters."""
    return isinstance(angle, Parameter) or (
        isinstance(angle, ParameterExpression) and bool(angle.parameters)
    )


def expressions_of(operation: object) -> list[ParameterExpression]:
    """Return the unbound expressions among an operation's parameters."""
    return [p for p in getattr(operation, "params", ()) if is_free(p)]


def affine_form(expression: ParameterExpression) -> tuple[float, dict[Parameter, float]] | None:
    """Return offset and coefficients of one expression by itself; ``None`` if it is not affine."""
    order = sorted(expression.parameters, key=lambda p: p.name)
    compiled = compile_expression(expression, {p: i for i, p in enumerate(order)})
    if compiled.function is not None:
        return None
    return compiled.offset, {order[i]: c for i, c in compiled.coefficients.items()}


def compile_expression(
    expression: ParameterExpression | float, index: dict[Parameter, int]
) -> Compiled:
    """Compile an expression, or a number, over parameters with the columns ``index``.

    Raises:
        ExpressionError: If it is complex, or if what it is cannot be known.
    """
    if isinstance(expression, Parameter):
        return Compiled(coefficients={index[expression]: 1.0})
    if not isinstance(expression, ParameterExpression):
        return Compiled(_real(expression, expression))
    parameters = sorted(expression.parameters, key=index.__getitem__)
    columns = tuple(index[p] for p in parameters)
    reading = read(expression, parameters)
    affine = _affine(reading)
    if affine is not None:
        offset, coefficients = affine
        return Compiled(
            _real(offset, expression),
            {columns[k]: _real(c, expression) for k, c in coefficients.items()},
            miscomputed=reading.miscomputed,
        )
    evaluators = _evaluators(reading, len(parameters))
    if evaluators is None:
        raise _complex(expression)
    function = Function(expression, columns, *evaluators)
    return Compiled(function=function, miscomputed=reading.miscomputed)


@functools.lru_cache(maxsize=1024)
def _affine(reading: Reading) -> tuple[complex, dict[int, complex]] | None:
    """Return offset and coefficients by position, if nothing else is left once it is expanded."""
    offset, coefficients = 0j, {}
    try:
        terms = expanded(reading.formula)
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


@functools.lru_cache(maxsize=1024)
def _evaluators(
    reading: Reading, count: int
) -> tuple[Evaluator, tuple[Evaluator, ...], SecondDerivatives] | None:
    """Return evaluators of a formula and of its derivatives; ``None`` if it is complex."""
    formula = reading.formula
    if not _has_real_numbers(formula):
        try:
            formula = contracted(expanded(formula))  # where imaginary units may meet
        except TooManyTerms:
            return None
        if not _has_real_numbers(formula):
            return None
    formula = mapped(formula, lambda x: Number(x.value.real) if isinstance(x, Number) else x)
    formulas = [formula, *(derivative(formula, k) for k in range(count))]
    if not all(map(_has_real_numbers, formulas)):  # the logarithm of a negative base
        return None
    value, *slopes = map(evaluator, formulas)

    @functools.cache
    def second_derivatives(k: int, other: int) -> Evaluator:
        if k < other:
            return second_derivatives(other, k)
        return evaluator(derivative(formulas[1 + k], other))

    return value, tuple(slopes), second_derivatives


def _has_real_numbers(formula: Formula) -> bool:
    return all(map(_is_real, numbers_of(formula)))


def _is_real(number: complex) -> bool:
    return abs(number.imag) <= 1e-12 * max(1.0, abs(number))


def _real(number: Any, expression: Any) -> float:
    try:
        z = complex(number)
    except (TypeError, ValueError) as error:
        raise ExpressionError(
            f"The parameter expression {expression} does not evaluate to a number."
        ) from error
    if not _is_real(z):
        raise _complex(expression)
    return z.real


def _complex(expression: Any) -> ExpressionError:
    return ExpressionError(
        f"The parameter expression {expression} is complex; a gate angle must be real. Remove "
        "the imaginary factor, or the negative number that is raised to a parameter, from the "
        "circuit."
    )
