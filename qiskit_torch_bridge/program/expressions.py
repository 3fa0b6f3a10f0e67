# SPDX-License-Identifier: Apache-2.0
"""Parameter expressions, compiled once to affine forms or to functions of arrays."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import qiskit
from qiskit.circuit import CircuitError, Parameter, ParameterExpression

from ..exceptions import ExpressionError

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


def is_free(angle: object) -> bool:
    """Whether an operation's parameter still depends on circuit parameters."""
    return isinstance(angle, ParameterExpression) and bool(angle.parameters)


def expressions_of(operation: object) -> list[ParameterExpression]:
    """Return the unbound expressions among an operation's parameters."""
    return [p for p in getattr(operation, "params", ()) if is_free(p)]


def affine_form(expression: ParameterExpression) -> tuple[float, dict[Parameter, float]] | None:
    """Return offset and coefficients of one expression by itself; ``None`` if it is not affine."""
    order = sorted(expression.parameters, key=lambda p: p.name)
    compiled = compile_expression(expression, {p: i for i, p in enumerate(order)})
    if isinstance(compiled, Function):
        return None
    offset, coefficients = compiled
    return offset, {order[i]: c for i, c in coefficients.items()}


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
    try:
        tree = sympy.sympify(expression.sympify())
    except (TypeError, ValueError, sympy.SympifyError) as error:
        raise ExpressionError(
            f"Qiskit {qiskit.__version__} cannot say what the parameter expression {expression} "
            "is. Compute it in torch and feed the result to a plain parameter."
        ) from error
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
