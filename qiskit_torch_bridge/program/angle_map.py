# SPDX-License-Identifier: Apache-2.0
"""The map from values to gate angles, evaluated over the whole batch, and its chain rule.

The affine expressions are one sparse map, the others functions. Both kinds work on NumPy arrays
and on torch tensors alike (the array module ``m`` is an argument), so derivatives of any order
follow from torch where a graph is wanted.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from qiskit.circuit import Parameter, ParameterExpression

from ..arrays import FloatArray, IntArray, N
from ..exceptions import ExpressionError
from .expressions import Compiled, Evaluators, Function, compile_expression


@dataclass(frozen=True)
class Family:
    """Functions that are evaluated at once: ``F`` of them, which differ in their arguments only.

    Attributes:
        evaluators: What they share.
        angles: The angles that they are, shape ``(F,)``.
        columns: The parameters that are their ``K`` arguments, shape ``(K, F)``.
    """

    evaluators: Evaluators
    angles: IntArray
    columns: IntArray

    def chosen(self, members: Sequence[int]) -> Family:
        """Return the family of some of the functions."""
        return replace(self, angles=self.angles[members], columns=self.columns[:, members])


class AngleMap:
    """The map from values ``(B, P)`` to angles ``(B, A)``, with its derivative.

    Args:
        expressions: ``A`` expressions or numbers.
        parameters: The ``P`` parameters, in the order of the values' last axis, or their columns.
        known: What some of the expressions, told by identity, have been compiled to.

    Attributes:
        miscomputed: The first expression that the installed Qiskit would bind to something else,
            and what; empty if there is none.

    Raises:
        ExpressionError: If an expression is complex, or what it is cannot be known.
    """

    def __init__(
        self,
        expressions: Sequence[ParameterExpression | float],
        parameters: Sequence[Parameter] | dict[Parameter, int],
        known: Mapping[int, Compiled] | None = None,
    ) -> None:
        index = (
            parameters
            if isinstance(parameters, dict)
            else {parameter: column for column, parameter in enumerate(parameters)}
        )
        self.num_angles = len(expressions)
        self.num_parameters = len(parameters)
        self.offset = np.zeros(self.num_angles)
        self.functions: dict[int, Function] = {}
        self.miscomputed = ""
        self._expressions, self._index = expressions, index
        self._known: dict[int, Compiled] = dict(known or {})
        rows: list[int] = []
        columns: list[int] = []
        coefficients: list[float] = []
        for a, expression in enumerate(expressions):
            if isinstance(expression, Parameter):
                rows.append(a)
                columns.append(index[expression])
                coefficients.append(1.0)
                continue
            compiled = self._known.get(id(expression))
            if compiled is None:
                compiled = compile_expression(expression, index)
                self._known[id(expression)] = compiled
            if compiled.miscomputed and not self.miscomputed:
                self.miscomputed = f"{expression} to {compiled.miscomputed}"
            if compiled.function is not None:
                self.functions[a] = compiled.function
            else:
                self.offset[a] = compiled.offset
                rows += [a] * len(compiled.coefficients)
                columns += compiled.coefficients.keys()
                coefficients += compiled.coefficients.values()
        self.rows = np.array(rows, dtype=np.int64)
        self.columns = np.array(columns, dtype=np.int64)
        self.coefficients = np.array(coefficients, dtype=float)

    def of(self, expressions: Sequence[ParameterExpression | float]) -> AngleMap:
        """Return the map to other expressions, of which these need not be compiled again."""
        mine = self._expressions
        if len(expressions) == len(mine) and all(map(operator.is_, expressions, mine)):
            return self
        return AngleMap(expressions, self._index, self._known)

    def restricted(self, angles: Sequence[int]) -> AngleMap:
        """Return the map to some of the angles."""
        return AngleMap([self._expressions[a] for a in angles], self._index, self._known)

    @property
    def is_affine(self) -> bool:
        """Whether every expression is affine in the parameters."""
        return not self.functions

    @functools.cached_property
    def used_columns(self) -> frozenset[int]:
        """The parameters on which any angle depends."""
        used = {int(p) for p in self.columns}
        return frozenset(used.union(*(f.columns for f in self.functions.values())))

    @functools.cached_property
    def families(self) -> list[Family]:
        """The functions, those together that are the same but for their arguments."""
        members: dict[Evaluators, list[tuple[int, Function]]] = {}
        for a, f in self.functions.items():
            members.setdefault(f.evaluators, []).append((a, f))
        return [
            Family(
                evaluators,
                np.array([a for a, _ in found], dtype=np.int64),
                np.array([f.columns for _, f in found], dtype=np.int64).T,
            )
            for evaluators, found in members.items()
        ]

    def angles(self, values: N, m: Any = np) -> N:
        """Return the angles ``(B, A)`` at ``values`` of shape ``(B, P)``."""
        terms = take_entries(values, self.columns, m) * m.asarray(self.coefficients)
        angles: N = m.asarray(self.offset) + scatter_entries(
            terms, m.asarray(self.rows), self.num_angles
        )
        for family in self.families:
            arguments = [take_entries(values, places, m) for places in family.columns]
            found: N = family.evaluators.value(arguments, m)
            angles = angles + scatter_entries(found, m.asarray(family.angles), self.num_angles)
        return angles

    def check(self, values: FloatArray, first_row: int = 0) -> None:
        """Raise :class:`ExpressionError` where an expression is not finite at ``values``."""
        for family in self.families:
            with np.errstate(all="ignore"):
                arguments = [values[..., places] for places in family.columns]
                result = family.evaluators.value(arguments, np)
            bad = np.argwhere(~np.isfinite(result))
            if len(bad):
                row, place = bad[0]
                f = self.functions[int(family.angles[place])]
                at = ", ".join(f"{values[row, column]:g}" for column in f.columns)
                raise ExpressionError(
                    f"The parameter expression {f.expression} is singular at the values given: row "
                    f"{first_row + row} has ({at}) and the result is {result[row, place]}. Keep "
                    "the values inside the expression's domain, for instance with a bounded "
                    "activation."
                )

    def angles_of(self, columns: Sequence[int]) -> tuple[int, ...]:
        """Return the angles that depend on any of ``columns``, ascending."""
        wanted = set(columns)
        affine = {
            a for a, p in zip(self.rows.tolist(), self.columns.tolist(), strict=True) if p in wanted
        }
        other = {a for a, f in self.functions.items() if wanted.intersection(f.columns)}
        return tuple(sorted(affine | other))

    def pullback(self, angles: Sequence[int], columns: Sequence[int]) -> Pullback:
        """Return the chain rule from derivatives by ``angles`` to derivatives by ``columns``."""
        return Pullback(self, angles, columns)


class Pullback:
    r"""The chain rule :math:`g_p = \sum_a g_a\, \partial\alpha_a / \partial v_p`.

    Called with ``values`` ``(B, P)`` and derivatives with respect to angles ``(B, A')``, it returns
    the derivatives ``(B, C)`` with respect to the wanted columns.
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
        self._slopes: list[tuple[int, Family]] = []  # with respect to which of the arguments
        for family in angle_map.families:
            for place in range(len(family.columns)):
                wanted = [
                    k
                    for k, (a, p) in enumerate(
                        zip(family.angles.tolist(), family.columns[place].tolist(), strict=True)
                    )
                    if a in row_of and p in column_of
                ]
                if wanted:
                    chosen = family.chosen(wanted)
                    sources += [row_of[a] for a in chosen.angles.tolist()]
                    destinations += [column_of[p] for p in chosen.columns[place].tolist()]
                    self._slopes.append((place, chosen))
        self._functions = angle_map.functions
        self._sources = np.array(sources, dtype=np.int64)
        self._destinations = np.array(destinations, dtype=np.int64)
        self._coefficients = np.array(coefficients, dtype=float)
        self._num_angles, self._num_columns = len(angles), len(columns)

    def __call__(self, values: N, derivatives: N, m: Any = np, check: bool = True) -> N:
        """Map derivatives by angles ``(B, A')`` to derivatives by columns ``(B, C)``.

        Unless they are checked, they are not finite where an expression has none.
        """
        terms = take_entries(derivatives, self._sources, m) * self._factors(values, m, check)
        return scatter_entries(terms, m.asarray(self._destinations), self._num_columns)

    def variances(self, values: FloatArray, variances: FloatArray) -> FloatArray:
        """Map variances of derivatives by angles to those of derivatives by columns."""
        terms = variances[..., self._sources] * self._factors(values, np) ** 2
        result: FloatArray = scatter_entries(terms, self._destinations, self._num_columns)
        return result

    def pushforward(self, values: FloatArray, tangents: FloatArray) -> FloatArray:
        """Map tangents of the columns ``(B, C)`` to tangents of the angles ``(B, A')``.

        What does not move needs no derivative.
        """
        along = tangents[..., self._destinations]
        factors = np.broadcast_to(self._factors(values, np, check=False), along.shape)
        factors = np.where(along != 0, factors, 0.0)
        self._check(factors[..., len(self._coefficients) :], "derivative")
        result: FloatArray = scatter_entries(along * factors, self._sources, self._num_angles)
        return result

    def tangent(
        self, values: FloatArray, derivatives: FloatArray, tangents: FloatArray
    ) -> FloatArray:
        r"""Return the derivative ``(B, C)`` of the chain rule itself along tangents of the values.

        .. math:: \sum_{aq} g_a \frac{\partial^2\alpha_a}{\partial v_p\, \partial v_q} \dot v_q

        It is not finite where an expression has no second derivative with respect to ``p`` and what
        moves.

        Args:
            values: Shape ``(B, P)``.
            derivatives: With respect to the angles, ``(B, A')``.
            tangents: Of all values, ``(B, P)``.
        """
        affine = len(self._coefficients)
        parts = [np.zeros((*values.shape[:-1], 0))]
        for family, found in self._second_derivatives(values):
            along = np.stack([tangents[..., columns] for columns in family.columns])
            parts.append(np.sum(along * np.where(along != 0, found, 0.0), axis=0))
        terms = derivatives[..., self._sources[affine:]] * np.concatenate(parts, -1)
        result: FloatArray = scatter_entries(terms, self._destinations[affine:], self._num_columns)
        return result

    def check(self, values: FloatArray) -> None:
        """Raise :class:`ExpressionError` where a first or second derivative is not finite."""
        self._factors(values, np)
        found = [second.sum(0) for _, second in self._second_derivatives(values)]
        if found:
            self._check(np.concatenate(found, -1), "second derivative")

    def _second_derivatives(self, values: FloatArray) -> Iterator[tuple[Family, FloatArray]]:
        """Yield the derivatives ``(K, B, F)`` of each slope with respect to all its arguments."""
        for place, family in self._slopes:
            arguments = [values[..., columns] for columns in family.columns]
            shape = (*values.shape[:-1], len(family.angles))
            with np.errstate(all="ignore"):
                seconds = [
                    family.evaluators.second_derivatives(place, k)(arguments, np)
                    for k in range(len(arguments))
                ]
            yield family, np.stack([np.broadcast_to(second, shape) for second in seconds])

    def _factors(self, values: N, m: Any, check: bool = True) -> N:
        """The derivatives of the angles by the columns, one for each entry of the sparse map."""
        constant: N = m.asarray(self._coefficients)
        if not self._slopes:
            return constant
        parts: list[N] = []
        with np.errstate(all="ignore"):
            for place, family in self._slopes:
                arguments = [take_entries(values, places, m) for places in family.columns]
                found = family.evaluators.derivatives[place](arguments, m)
                parts.append(m.broadcast_to(found, (*values.shape[:-1], len(family.angles))))
        variable: N = m.concatenate(parts, -1)
        if check:
            self._check(variable, "derivative", m)
        constant = m.broadcast_to(constant, (*values.shape[:-1], len(self._coefficients)))
        both: N = m.concatenate([constant, variable], -1)
        return both

    def _check(self, found: Any, what: str, m: Any = np) -> None:
        """Raise :class:`ExpressionError` if derivatives, one for each slope, are not finite."""
        try:
            if bool(m.isfinite(found).all()):
                return
        except RuntimeError:  # inside torch.func.vmap values have no truth value
            return
        entry = int(np.argwhere(~np.isfinite(np.asarray(found.tolist())))[0][-1])
        angle = [a for _, family in self._slopes for a in family.angles.tolist()][entry]
        raise ExpressionError(
            f"The {what} of the parameter expression {self._functions[angle].expression} is "
            "singular at the values given. Keep the values inside the domain where the expression "
            "is differentiable."
        )


def take_entries(array: N, places: IntArray, m: Any) -> N:
    """Return the entries ``(..., E)`` of an array at some places of its last axis."""
    if m is np:
        return array[..., places]
    # Not by indexing, which has no batching rule in PyTorch's older vmap.
    taken: N = m.index_select(array, -1, m.asarray(places))
    return taken


def scatter_entries(entries: N, index: Any, size: int) -> N:
    """Add ``entries`` of shape ``(..., E)`` into ``(..., size)`` at ``index`` of shape ``(E,)``."""
    given: Any = entries
    where: Any = (..., index)
    result: Any
    if hasattr(given, "index_add"):  # a torch tensor
        result = given.new_zeros((*given.shape[:-1], size)).index_add(-1, index, given)
    else:
        result = np.zeros((*given.shape[:-1], size))
        np.add.at(result, where, given)
    found: N = result
    return found
