# SPDX-License-Identifier: Apache-2.0
"""Formulas of real variables: built with constants folded, differentiated, expanded, evaluated.

A formula is evaluated on NumPy arrays and on torch tensors alike, and its :func:`derivative` is a
formula again.
"""

from __future__ import annotations

import cmath
import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from scipy.special import xlogy

Evaluator = Callable[[list[Any], Any], Any]  # (values of the variables, array module) -> array


@dataclass(frozen=True)
class Number:
    """A constant; complex ones may occur on the way to a real formula."""

    value: complex


@dataclass(frozen=True)
class Variable:
    """The variable at a position."""

    position: int


@dataclass(frozen=True)
class Sum:
    """A sum of two or more parts."""

    parts: tuple[Formula, ...]


@dataclass(frozen=True)
class Product:
    """A product of two or more parts."""

    parts: tuple[Formula, ...]


@dataclass(frozen=True)
class Power:
    """A power whose base or exponent is not constant."""

    base: Formula
    exponent: Formula


@dataclass(frozen=True)
class Call:
    """A function of :data:`FUNCTIONS`, or ``xlogy`` of two arguments, which derivatives need."""

    name: str
    arguments: tuple[Formula, ...]


Formula: TypeAlias = Number | Variable | Sum | Product | Power | Call

ZERO, ONE = Number(0), Number(1)
FUNCTIONS: dict[str, Callable[[complex], complex]] = {  # by the names that NumPy and torch share
    "sin": cmath.sin,
    "cos": cmath.cos,
    "tan": cmath.tan,
    "arcsin": cmath.asin,
    "arccos": cmath.acos,
    "arctan": cmath.atan,
    "exp": cmath.exp,
    "log": cmath.log,
    "abs": abs,
    "sign": lambda z: z / abs(z) if z else 0,
}


def add(parts: Iterable[Formula]) -> Formula:
    """Return the sum."""
    constant = 0j
    rest: list[Formula] = []
    for part in parts:
        if isinstance(part, Number):
            constant += part.value
        else:
            rest += part.parts if isinstance(part, Sum) else [part]
    rest = [*rest, Number(constant)] if constant or not rest else rest
    return rest[0] if len(rest) == 1 else Sum(tuple(rest))


def multiply(parts: Iterable[Formula]) -> Formula:
    """Return the product."""
    constant = 1 + 0j
    rest: list[Formula] = []
    for part in parts:
        if isinstance(part, Number):
            constant *= part.value
        else:
            rest += part.parts if isinstance(part, Product) else [part]
    if not constant or not rest:
        return Number(constant)
    rest = [*rest, Number(constant)] if constant != 1 else rest
    return rest[0] if len(rest) == 1 else Product(tuple(rest))


def raise_to_power(base: Formula, exponent: Formula) -> Formula:
    """Return the power.

    Raises:
        ArithmeticError: If it is a constant and has no value.
    """
    if isinstance(exponent, Number):
        if exponent.value in (0, 1):
            return base if exponent.value else ONE
        if isinstance(base, Number):
            z, n = base.value, exponent.value
            real = z.imag == n.imag == 0 and (z.real > 0 or n.real == int(n.real))
            return Number(z.real**n.real if real else z**n)
    return Power(base, exponent)


def apply_function(name: str, argument: Formula) -> Formula:
    """Return a function of :data:`FUNCTIONS` at a formula.

    Raises:
        ArithmeticError: If it is a constant and has no value.
        ValueError: Likewise.
    """
    if isinstance(argument, Number):
        return Number(FUNCTIONS[name](argument.value))
    return Call(name, (argument,))


def map_leaves(formula: Formula, change: Callable[[Number | Variable], Formula]) -> Formula:
    """Return the formula with its numbers and variables replaced."""
    if isinstance(formula, (Number, Variable)):
        return change(formula)
    if isinstance(formula, Power):
        return raise_to_power(
            map_leaves(formula.base, change), map_leaves(formula.exponent, change)
        )
    if isinstance(formula, Call):
        return apply_function(formula.name, map_leaves(formula.arguments[0], change))
    build = add if isinstance(formula, Sum) else multiply
    return build([map_leaves(part, change) for part in formula.parts])


def map_numbers(formula: Formula, change: Callable[[complex], complex]) -> Formula:
    """Return the formula with its constants replaced."""
    return map_leaves(
        formula, lambda leaf: Number(change(leaf.value)) if isinstance(leaf, Number) else leaf
    )


def constants_of(formula: Formula) -> Iterable[complex]:
    """Yield the constants in a formula."""
    if isinstance(formula, Number):
        yield formula.value
    elif isinstance(formula, (Sum, Product)):
        for part in formula.parts:
            yield from constants_of(part)
    elif isinstance(formula, Power):
        yield from (*constants_of(formula.base), *constants_of(formula.exponent))
    elif isinstance(formula, Call):
        for argument in formula.arguments:
            yield from constants_of(argument)


# -- differentiation -----------------------------------------------------------------------------


def differentiate(formula: Formula, position: int) -> Formula:
    """Return the derivative with respect to one variable."""
    if isinstance(formula, Number):
        return ZERO
    if isinstance(formula, Variable):
        return ONE if formula.position == position else ZERO
    if isinstance(formula, Sum):
        return add(differentiate(part, position) for part in formula.parts)
    if isinstance(formula, Product):
        parts = formula.parts
        return add(
            multiply([differentiate(part, position), *parts[:k], *parts[k + 1 :]])
            for k, part in enumerate(parts)
        )
    if isinstance(formula, Power):
        return _derivative_of_power(formula, position)
    if formula.name == "xlogy":
        factor, x = formula.arguments
        return _derivative_of_xlogy(factor, x, position)
    (argument,) = formula.arguments
    return multiply([_outer_derivative(formula.name, argument), differentiate(argument, position)])


def _derivative_of_power(power: Power, position: int) -> Formula:
    base, exponent = power.base, power.exponent
    lower = raise_to_power(base, add([exponent, Number(-1)]))
    by_base = multiply([exponent, lower, differentiate(base, position)])
    inner = differentiate(exponent, position)
    if inner == ZERO:
        return by_base
    if isinstance(base, Number):  # zero to a power is zero wherever it has a derivative
        factor = cmath.log(base.value) if base.value else 0
        return multiply([Number(factor), power, inner])
    return add([by_base, multiply([Call("xlogy", (power, base)), inner])])


def _derivative_of_xlogy(factor: Formula, x: Formula, position: int) -> Formula:
    """Differentiate ``factor * log(x)``, where the factor is a power of ``x`` or a part of one."""
    if isinstance(factor, Power) and factor.base == x:
        quotient = raise_to_power(x, add([factor.exponent, Number(-1)]))  # also where x is zero
    else:
        quotient = multiply([factor, raise_to_power(x, Number(-1))])
    by_x = multiply([quotient, differentiate(x, position)])
    by_factor = differentiate(factor, position)
    return by_x if by_factor == ZERO else add([by_x, Call("xlogy", (by_factor, x))])


def _outer_derivative(name: str, x: Formula) -> Formula:
    square = raise_to_power(x, Number(2))
    flank = add([ONE, multiply([Number(-1), square])])  # 1 - x**2
    slopes: dict[str, Callable[[], Formula]] = {
        "sin": lambda: apply_function("cos", x),
        "cos": lambda: multiply([Number(-1), apply_function("sin", x)]),
        "tan": lambda: add([ONE, raise_to_power(apply_function("tan", x), Number(2))]),
        "arcsin": lambda: raise_to_power(flank, Number(-0.5)),
        "arccos": lambda: multiply([Number(-1), raise_to_power(flank, Number(-0.5))]),
        "arctan": lambda: raise_to_power(add([ONE, square]), Number(-1)),
        "exp": lambda: apply_function("exp", x),
        "log": lambda: raise_to_power(x, Number(-1)),
        "abs": lambda: apply_function("sign", x),
        "sign": lambda: ZERO,
    }
    return slopes[name]()


# -- expansion -----------------------------------------------------------------------------------

Monomial: TypeAlias = tuple[tuple[Formula, int], ...]  # factors and their powers, sorted by text
MAX_TERMS = 256


class TooManyTerms(Exception):
    """A formula has more terms than an expansion is worth."""


def expand_polynomial(formula: Formula) -> dict[Monomial, complex]:
    """Return the coefficients of a polynomial in the variables and in what is none of them.

    Terms that cancel are left out.

    Raises:
        TooManyTerms: If it has more than ``MAX_TERMS``.
    """
    if isinstance(formula, Number):
        return {(): formula.value} if formula.value else {}
    if isinstance(formula, Sum):
        return _collect_terms(
            entry for part in formula.parts for entry in expand_polynomial(part).items()
        )
    if isinstance(formula, Product):
        return functools.reduce(_multiply_polynomials, map(expand_polynomial, formula.parts))
    if isinstance(formula, Power) and isinstance(formula.exponent, Number):
        n = formula.exponent.value
        if n.imag == 0 and n.real == int(n.real) and 0 < n.real <= MAX_TERMS:
            return functools.reduce(
                _multiply_polynomials, [expand_polynomial(formula.base)] * int(n.real)
            )
    return {((formula, 1),): 1}


def _multiply_polynomials(
    a: dict[Monomial, complex], b: dict[Monomial, complex]
) -> dict[Monomial, complex]:
    if len(a) * len(b) > MAX_TERMS**2:
        raise TooManyTerms
    return _collect_terms(
        (_multiply_monomials(m, n), x * y) for m, x in a.items() for n, y in b.items()
    )


def _multiply_monomials(a: Monomial, b: Monomial) -> Monomial:
    powers = dict(a)
    for factor, power in b:
        powers[factor] = powers.get(factor, 0) + power
    return tuple(sorted(powers.items(), key=repr))


def _collect_terms(terms: Iterable[tuple[Monomial, complex]]) -> dict[Monomial, complex]:
    totals: dict[Monomial, complex] = {}
    sizes: dict[Monomial, float] = {}
    for monomial, coefficient in terms:
        totals[monomial] = totals.get(monomial, 0) + coefficient
        sizes[monomial] = sizes.get(monomial, 0.0) + abs(coefficient)
    if len(totals) > MAX_TERMS:
        raise TooManyTerms
    # What is left of terms that cancel is rounding.
    return {m: c for m, c in totals.items() if abs(c) > 4 * np.finfo(float).eps * sizes[m]}


def sum_monomials(terms: dict[Monomial, complex]) -> Formula:
    """Return the formula of an expansion."""
    return add(
        multiply([Number(c), *(raise_to_power(factor, Number(n)) for factor, n in monomial)])
        for monomial, c in terms.items()
    )


# -- evaluation ----------------------------------------------------------------------------------


def make_evaluator(formula: Formula) -> Evaluator:
    """Turn a formula into nested functions of arrays."""
    if isinstance(formula, Number):
        z = formula.value
        # An array, so that torch keeps double precision.
        constant = np.array(z if z.imag else z.real)
        return lambda v, m: m.asarray(constant)
    if isinstance(formula, Variable):
        position = formula.position
        return lambda v, m: v[position]
    if isinstance(formula, Power):
        return _evaluator_of_power(formula)
    if isinstance(formula, Call):
        return _evaluator_of_call(formula)
    parts = [make_evaluator(part) for part in formula.parts]
    if isinstance(formula, Sum):
        return lambda v, m: functools.reduce(lambda a, b: a + b, [p(v, m) for p in parts])
    return lambda v, m: functools.reduce(lambda a, b: a * b, [p(v, m) for p in parts])


def _evaluator_of_power(power: Power) -> Evaluator:
    base, exponent = make_evaluator(power.base), make_evaluator(power.exponent)
    if isinstance(power.exponent, Number):
        n = power.exponent.value.real
        if n == math.floor(n):
            whole = abs(int(n))
            if n > 0:
                return lambda v, m: base(v, m) ** whole
            return lambda v, m: 1.0 / base(v, m) ** whole
    return lambda v, m: base(v, m) ** exponent(v, m)


def _evaluator_of_call(call: Call) -> Evaluator:
    arguments = [make_evaluator(argument) for argument in call.arguments]
    if call.name == "xlogy":  # zero where the power is, whatever the logarithm
        a, b = arguments
        return lambda v, m: (xlogy if m is np else m.xlogy)(a(v, m), b(v, m))
    (argument,) = arguments
    name = call.name
    return lambda v, m: getattr(m, name)(argument(v, m))
