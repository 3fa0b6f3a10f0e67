# SPDX-License-Identifier: Apache-2.0
"""The map from values to gate angles, evaluated over the whole batch, and its chain rule.

The affine expressions are one sparse map, the others functions. Both kinds work on NumPy arrays
and on torch tensors alike (the array module ``m`` is an argument), so derivatives of any order
follow from torch where a graph is wanted.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from qiskit.circuit import Parameter, ParameterExpression

from ..arrays import FloatArray
from ..exceptions import ExpressionError
from .expressions import Function, compile_expression
from .formulas import Evaluator


class AngleMap:
    """The map from values ``(B, P)`` to angles ``(B, A)``, with its derivative.

    Args:
        expressions: ``A`` expressions or numbers.
        parameters: The ``P`` parameters, in the order of the values' last axis.

    Attributes:
        miscomputed: The first expression that the installed Qiskit would bind to something else,
            and what; empty if there is none.

    Raises:
        ExpressionError: If an expression is complex, or what it is cannot be known.
    """

    def __init__(
        self, expressions: Sequence[ParameterExpression | float], parameters: Sequence[Parameter]
    ) -> None:
        index = {parameter: column for column, parameter in enumerate(parameters)}
        self.num_angles = len(expressions)
        self.num_parameters = len(parameters)
        self.offset = np.zeros(self.num_angles)
        self.functions: dict[int, Function] = {}
        self.miscomputed = ""
        entries: list[tuple[int, int, float]] = []
        for a, expression in enumerate(expressions):
            compiled = compile_expression(expression, index)
            if compiled.miscomputed and not self.miscomputed:
                self.miscomputed = f"{expression} to {compiled.miscomputed}"
            if compiled.function is not None:
                self.functions[a] = compiled.function
            else:
                self.offset[a] = compiled.offset
                entries += [(a, p, c) for p, c in compiled.coefficients.items()]
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

    def angles(self, values: Any, m: Any = np, columns: Any = None) -> Any:
        """Return the angles ``(B, A)`` at ``values`` of shape ``(B, P)``.

        Functions take their arguments from ``columns[..., p]`` if that is given.
        """
        terms = values[..., m.asarray(self.columns)] * m.asarray(self.coefficients)
        angles = m.asarray(self.offset) + _scatter(terms, m.asarray(self.rows), self.num_angles)
        if self.functions:
            source = values if columns is None else columns
            parts = [f.value(f.arguments(source), m) for f in self.functions.values()]
            rows = np.array(list(self.functions), dtype=np.int64)
            angles = angles + _scatter(m.stack(parts, -1), m.asarray(rows), self.num_angles)
        return angles

    def check(self, values: FloatArray, first_row: int = 0) -> None:
        """Raise :class:`ExpressionError` where an expression is not finite at ``values``."""
        for f in self.functions.values():
            with np.errstate(all="ignore"):
                result = f.value(f.arguments(values), np)
            bad = np.flatnonzero(~np.isfinite(result))
            if len(bad):
                at = ", ".join(f"{values[bad[0], column]:g}" for column in f.columns)
                raise ExpressionError(
                    f"The parameter expression {f.text} is singular at the values given: row "
                    f"{first_row + bad[0]} has ({at}) and the result is {result[bad[0]]}. Keep the "
                    "values inside the expression's domain, for instance with a bounded activation."
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
        # Not by indexing, which has no batching rule in PyTorch's older vmap.
        taken = (
            m.take(derivatives, self._sources, -1)
            if m is np
            else derivatives.index_select(-1, m.asarray(self._sources))
        )
        terms = taken * self._factors(values, m)
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
