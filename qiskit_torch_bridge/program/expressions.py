# SPDX-License-Identifier: Apache-2.0
"""Parameter expressions, compiled once and evaluated over the whole batch.

An :class:`AngleMap` holds many expressions of the same parameters: the affine ones as one sparse
map, the others as functions built from Qiskit's symbolic form. Both kinds work on NumPy arrays
and on torch tensors alike (the array module ``m`` is an argument), so derivatives of any order
follow from torch where a graph is wanted.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import qiskit
from qiskit.circuit import CircuitError, Parameter, ParameterExpression

from ..exceptions import ExpressionError
from ..rules.plan import FloatArray

if TYPE_CHECKING:
    import sympy

Evaluator = Callable[[list[Any], Any], Any]  # (values of the parameters, array module) -> array


@dataclass(frozen=True)
class Function:
    """A non-affine expression, with its derivative by each of its parameters."""

    text: str
    columns: tuple[int, ...]
    value: Evaluator
    derivatives: tuple[Evaluator, ...]

    def arguments(self, values: Any) -> list[Any]:
        """Pick this function's parameters out of ``values`` of shape ``(..., P)``."""
        return [values[..., column] for column in self.columns]


class AngleMap:
    """The map from values ``(B, P)`` to angles ``(B, A)``, with its derivative.

    Args:
        expressions: ``A`` expressions or numbers.
        parameters: The ``P`` parameters, in the order of the values' last axis.

    Raises:
        ExpressionError: If an expression is complex, cannot be evaluated, or is non-affine on a
            Qiskit version that miscomputes such expressions.
    """

    def __init__(
        self, expressions: Sequence[ParameterExpression | float], parameters: Sequence[Parameter]
    ) -> None:
        index = {parameter: column for column, parameter in enumerate(parameters)}
        self.num_angles = len(expressions)
        self.num_parameters = len(parameters)
        self.offset = np.zeros(self.num_angles)
        self.functions: dict[int, Function] = {}
        entries: list[tuple[int, int, float]] = []
        for a, expression in enumerate(expressions):
            compiled = compile_expression(expression, index)
            if isinstance(compiled, Function):
                self.functions[a] = compiled
            else:
                self.offset[a], coefficients = compiled
                entries += [(a, p, coefficient) for p, coefficient in coefficients.items()]
        self.rows = np.array([a for a, _, _ in entries], dtype=np.int64)
        self.columns = np.array([p for _, p, _ in entries], dtype=np.int64)
        self.coefficients = np.array([c for _, _, c in entries], dtype=float)

    @property
    def is_affine(self) -> bool:
        """Whether every expression is affine in the parameters."""
        return not self.functions

    @functools.cached_property
    def used_columns(self) -> frozenset[int]:
        """The parameters on which any angle depends."""
        used = {int(p) for p in self.columns}
        return frozenset(used.union(*(f.columns for f in self.functions.values())))

    def angles(self, values: Any, m: Any = np) -> Any:
        """Return the angles ``(B, A)`` at ``values`` of shape ``(B, P)``."""
        terms = values[..., m.asarray(self.columns)] * m.asarray(self.coefficients)
        angles = m.asarray(self.offset) + _scatter(terms, m.asarray(self.rows), self.num_angles)
        if self.functions:
            parts = [f.value(f.arguments(values), m) for f in self.functions.values()]
            rows = np.array(list(self.functions), dtype=np.int64)
            angles = angles + _scatter(m.stack(parts, -1), m.asarray(rows), self.num_angles)
        return angles

    def check(self, values: FloatArray) -> None:
        """Raise :class:`ExpressionError` where an expression is not finite at ``values``."""
        for f in self.functions.values():
            with np.errstate(all="ignore"):
                result = f.value(f.arguments(values), np)
            bad = np.flatnonzero(~np.isfinite(result))
            if len(bad):
                at = ", ".join(f"{values[bad[0], column]:g}" for column in f.columns)
                raise ExpressionError(
                    f"The parameter expression {f.text} is singular at the values given: row "
                    f"{bad[0]} has ({at}) and the result is {result[bad[0]]}. Keep the values "
                    "inside the expression's domain, for instance with a bounded activation."
                )

    def angles_of(self, columns: Sequence[int]) -> tuple[int, ...]:
        """Return the angles that depend on any of ``columns``, ascending."""
        wanted = set(columns)
        affine = {int(a) for a, p in zip(self.rows, self.columns, strict=True) if p in wanted}
        other = {a for a, f in self.functions.items() if wanted.intersection(f.columns)}
        return tuple(sorted(affine | other))

    def pullback(self, angles: Sequence[int], columns: Sequence[int]) -> Pullback:
        """Return the chain rule from derivatives by ``angles`` to derivatives by ``columns``."""
        return Pullback(self, angles, columns)


class Pullback:
    r"""The chain rule :math:`g_p = \sum_a g_a\, \partial\alpha_a / \partial v_p`.

    Called with ``values`` ``(B, P)`` and derivatives by angles ``(B, A')``, it returns the
    derivatives ``(B, C)`` by the wanted columns.
    """

    def __init__(self, angle_map: AngleMap, angles: Sequence[int], columns: Sequence[int]) -> None:
        row_of = {a: row for row, a in enumerate(angles)}
        column_of = {p: column for column, p in enumerate(columns)}
        sources: list[int] = []
        destinations: list[int] = []
        coefficients: list[float] = []
        for a, p, coefficient in zip(
            angle_map.rows.tolist(), angle_map.columns.tolist(), angle_map.coefficients, strict=True
        ):
            if a in row_of and p in column_of:
                sources.append(row_of[a])
                destinations.append(column_of[p])
                coefficients.append(coefficient)
        self._derivatives: list[tuple[Function, Evaluator]] = []
        for a, f in angle_map.functions.items():
            for p, derivative in zip(f.columns, f.derivatives, strict=True):
                if a in row_of and p in column_of:
                    sources.append(row_of[a])
                    destinations.append(column_of[p])
                    self._derivatives.append((f, derivative))
        self._sources = np.array(sources, dtype=np.int64)
        self._destinations = np.array(destinations, dtype=np.int64)
        self._coefficients = np.array(coefficients, dtype=float)
        self._size = len(columns)

    def __call__(self, values: Any, derivatives: Any, m: Any = np) -> Any:
        """Map derivatives by angles ``(B, A')`` to derivatives by columns ``(B, C)``."""
        terms = derivatives[..., m.asarray(self._sources)] * self._factors(values, m)
        return _scatter(terms, m.asarray(self._destinations), self._size)

    def variances(self, values: FloatArray, variances: FloatArray) -> FloatArray:
        """Map variances of derivatives by angles to those of derivatives by columns."""
        terms = variances[..., self._sources] * self._factors(values, np) ** 2
        result: FloatArray = _scatter(terms, self._destinations, self._size)
        return result

    def _factors(self, values: Any, m: Any) -> Any:
        """The derivatives of the angles by the columns, one for each entry of the sparse map."""
        constant = m.asarray(self._coefficients)
        if not self._derivatives:
            return constant
        with np.errstate(all="ignore"):
            parts = [d(f.arguments(values), m) for f, d in self._derivatives]
        shape = tuple(values.shape[:-1])
        variable = m.stack([m.broadcast_to(part, shape) for part in parts], -1)
        self._check(variable, m)
        constant = m.broadcast_to(constant, (*shape, len(self._coefficients)))
        return m.concatenate([constant, variable], -1)

    def _check(self, variable: Any, m: Any) -> None:
        try:
            finite = bool(m.isfinite(variable).all())
        except RuntimeError:  # inside torch.func.vmap values have no truth value
            return
        if not finite:
            entry = int(np.argwhere(~np.isfinite(np.asarray(variable.tolist())))[0][-1])
            raise ExpressionError(
                f"The derivative of the parameter expression {self._derivatives[entry][0].text} "
                "is singular at the values given. Keep the values inside the domain where the "
                "expression is differentiable."
            )


def _scatter(entries: Any, index: Any, size: int) -> Any:
    """Add ``entries`` of shape ``(..., E)`` into ``(..., size)`` at ``index`` of shape ``(E,)``."""
    if hasattr(entries, "index_add"):  # a torch tensor
        zeros = entries.new_zeros((*entries.shape[:-1], size))
        return zeros.index_add(-1, index, entries)
    result = np.zeros((*entries.shape[:-1], size))
    where: Any = (..., index)
    np.add.at(result, where, entries)
    return result


def compile_expression(
    expression: ParameterExpression | float, index: dict[Parameter, int]
) -> tuple[float, dict[int, float]] | Function:
    """Compile to ``(offset, {column: coefficient})`` where affine, to a function elsewhere."""
    if isinstance(expression, Parameter):
        return 0.0, {index[expression]: 1.0}
    if not isinstance(expression, ParameterExpression):
        return _real(expression, expression), {}
    parameters = sorted(expression.parameters, key=index.__getitem__)
    columns = tuple(index[p] for p in parameters)
    affine = _affine(expression, parameters, columns)
    if affine is not None:
        return affine
    import sympy  # takes half a second, and only non-affine expressions need it

    symbols = [sympy.Dummy(f"v{column}", real=True) for column in columns]
    named = dict(zip((p.name for p in parameters), symbols, strict=True))
    # On older Qiskit sympify() returns a symengine object; sympify again gives SymPy's own.
    tree = sympy.sympify(expression.sympify())
    tree = tree.xreplace({s: named[s.name] for s in tree.free_symbols})
    expanded = sympy.expand(tree)
    slopes = [sympy.diff(expanded, s) for s in symbols]
    if not any(slope.free_symbols for slope in slopes):
        offset = expanded.xreplace(dict.fromkeys(symbols, sympy.Integer(0)))
        coefficients = [_real(slope, expression) for slope in slopes]
        return _checked(expression, parameters, columns, _real(offset, expression), coefficients)
    if tree.has(sympy.I):
        raise _complex(expression)
    _refuse_unreliable(expression)
    value = _evaluator(tree, symbols)
    function = Function(
        str(expression),
        columns,
        value,
        tuple(_evaluator(sympy.diff(tree, s), symbols) for s in symbols),
    )
    with np.errstate(all="ignore"):
        probe = float(value([np.float64(_probe(p)) for p in columns], np))
    _cross_check(expression, parameters, columns, probe)
    return function


def _affine(
    expression: ParameterExpression, parameters: Sequence[Parameter], columns: Sequence[int]
) -> tuple[float, dict[int, float]] | None:
    """Compile from Qiskit's own derivatives where all of them are numbers."""
    try:
        slopes = [expression.gradient(p) for p in parameters]
        if any(isinstance(slope, ParameterExpression) for slope in slopes):
            return None
        offset = expression.bind(dict.fromkeys(parameters, 0.0))
    except (CircuitError, RuntimeError, ZeroDivisionError):  # no derivative, or singular at zero
        return None
    coefficients = [_real(slope, expression) for slope in slopes]
    return _checked(
        expression, parameters, columns, _real(complex(offset), expression), coefficients
    )


def _checked(
    expression: ParameterExpression,
    parameters: Sequence[Parameter],
    columns: Sequence[int],
    offset: float,
    coefficients: Sequence[float],
) -> tuple[float, dict[int, float]]:
    """Return an affine form once it agrees with Qiskit's evaluation at a point of its own."""
    affine = {p: c for p, c in zip(columns, coefficients, strict=True) if c}
    probe = offset + sum(c * _probe(p) for p, c in affine.items())
    _cross_check(expression, parameters, columns, probe)
    return offset, affine


def _probe(column: int) -> float:
    """A fixed value at which Qiskit's evaluation of an expression is held against ours."""
    return 0.3 + ((column + 1) * 0.6180339887498949) % 0.5


def _cross_check(
    expression: ParameterExpression,
    parameters: Sequence[Parameter],
    columns: Sequence[int],
    expected: float,
) -> None:
    """Compare with Qiskit's own evaluation, which is what an estimator will use."""
    if not np.isfinite(expected):
        return
    binding = {p: _probe(c) for p, c in zip(parameters, columns, strict=True)}
    got = complex(expression.bind(binding))
    if abs(got - expected) > 1e-9 * max(1.0, abs(expected)):
        raise ExpressionError(
            f"Qiskit {qiskit.__version__} evaluates the parameter expression {expression} to "
            f"{got.real:g} where its symbolic form gives {expected:g}. Rewrite it as an affine "
            "expression and compute the rest in torch, or use another Qiskit version."
        )


def _refuse_unreliable(expression: ParameterExpression) -> None:
    if expressions_are_unreliable():
        raise ExpressionError(
            f"Qiskit {qiskit.__version__} miscomputes some non-affine parameter expressions "
            f"(versions 2.1.0 to 2.5.1 take x**2 + y**2 for (x + y)**2); got {expression}. "
            "Upgrade to Qiskit 2.5.2 or later, or keep the circuit's expressions affine and "
            "compute the non-linear part in torch."
        )


@functools.cache
def expressions_are_unreliable() -> bool:
    """Whether the installed Qiskit miscomputes non-affine parameter expressions."""
    version = tuple(int(part) for part in qiskit.__version__.split(".")[:2])
    patch = int("".join(ch for ch in qiskit.__version__.split(".")[2] if ch.isdigit()) or 0)
    x, y = Parameter("x"), Parameter("y")
    miscomputed = abs(float((x**2 + y**2).bind({x: 1.0, y: 2.0})) - 5.0) > 1e-12
    return miscomputed or (2, 1, 0) <= (*version, patch) <= (2, 5, 1)


def _real(number: Any, expression: Any) -> float:
    try:
        z = complex(number)
    except (TypeError, ValueError) as error:
        raise ExpressionError(
            f"The parameter expression {expression} does not evaluate to a number."
        ) from error
    if abs(z.imag) > 1e-12 * max(1.0, abs(z)):
        raise _complex(expression)
    return z.real


def _complex(expression: Any) -> ExpressionError:
    return ExpressionError(
        f"The parameter expression {expression} is complex; a gate angle must be real. Remove "
        "the imaginary factor from the circuit."
    )


_FUNCTIONS = {  # SymPy's names and those that NumPy and torch share
    "sin": "sin",
    "cos": "cos",
    "tan": "tan",
    "asin": "arcsin",
    "acos": "arccos",
    "atan": "arctan",
    "exp": "exp",
    "log": "log",
    "Abs": "abs",
    "sign": "sign",
}


def _evaluator(node: sympy.Expr, symbols: Sequence[sympy.Symbol]) -> Evaluator:
    """Turn a SymPy tree into nested functions of arrays, NumPy's or torch's."""
    if not node.free_symbols:
        constant = np.array(_real(node, node))  # an array, so that torch keeps double precision
        return lambda v, m: m.asarray(constant)
    if node.is_Symbol:
        position = list(symbols).index(node)
        return lambda v, m: v[position]
    if node.func.__name__ == "DiracDelta":  # from differentiating sign: zero where it is defined
        return lambda v, m: 0 * v[0]
    parts = [_evaluator(arg, symbols) for arg in node.args]
    if node.is_Add:
        return lambda v, m: functools.reduce(lambda a, b: a + b, [p(v, m) for p in parts])
    if node.is_Mul:
        return lambda v, m: functools.reduce(lambda a, b: a * b, [p(v, m) for p in parts])
    if node.is_Pow:
        base, exponent = parts
        if node.exp.is_Integer and node.exp > 0:
            power = int(node.exp)
            return lambda v, m: base(v, m) ** power
        if node.exp.is_Integer:
            power = -int(node.exp)
            return lambda v, m: 1.0 / base(v, m) ** power
        return lambda v, m: base(v, m) ** exponent(v, m)
    if node.func.__name__ in _FUNCTIONS:
        name, argument = _FUNCTIONS[node.func.__name__], parts[0]
        return lambda v, m: getattr(m, name)(argument(v, m))
    raise ExpressionError(
        f"The function {node.func} in a parameter expression is not supported. Compute it in "
        "torch and feed the result to a plain parameter."
    )
