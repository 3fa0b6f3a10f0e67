# SPDX-License-Identifier: Apache-2.0
r"""Derivatives with respect to amplitudes, from evaluations at other vectors.

With :math:`\psi = x / \lVert x\rVert` expectation values are :math:`f = \langle\psi|M|\psi\rangle`
with a Hermitian :math:`M`, whatever acts after the preparation. Let
:math:`u = e_c - \psi_c\,\psi` be what is left of the direction of component ``c`` on the sphere.
Then

.. math:: \frac{\partial f}{\partial x_c}
    = \frac{2\,\mathrm{Re}\langle u|M|\psi\rangle}{\lVert x\rVert}
    = \frac{1 + \lVert u\rVert^2}{2\,\lVert x\rVert}\,\bigl(f(\psi + u) - f(\psi - u)\bigr),

since :math:`\psi \pm u` have the norm :math:`\sqrt{1 + \lVert u\rVert^2}`. Two evaluations for each
component give its derivative without any error, and without a division by what may be zero:
components that are zero, and vectors with one component alone, are no exception. Real and imaginary
parts are components alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from typing_extensions import override

from ..arrays import FloatArray, IntArray, N
from ..program.angle_map import scatter_entries, take_entries
from .plan import Differentiation


@dataclass(frozen=True)
class ShiftedVector:
    """A vector of some of the ``K`` coordinates of a circuit, and the components to shift.

    Attributes:
        columns: The coordinates that are its components, ``(V,)``.
        places: Which of them derivatives are wanted with respect to, ``(C',)``.
        is_read: Whether anything that is read depends on it; else derivatives are zero.
    """

    columns: IntArray
    places: IntArray
    is_read: bool = True

    @property
    def num_points(self) -> int:
        """How many evaluations there are: two for each component."""
        return 2 * len(self.places) * self.is_read

    def normalised(self, coordinates: N, m: Any) -> tuple[N, N, N]:
        """Return the unit vectors ``(B, V)``, the wanted components, and the norms ``(B, 1)``."""
        numbers = take_entries(coordinates, self.columns, m)
        norm: N = m.sqrt((numbers * numbers).sum(-1)).reshape((-1, 1))
        unit = numbers / norm
        return unit, take_entries(unit, self.places, m), norm

    def points(self, coordinates: N, m: Any) -> N:
        """Return coordinates ``(B, K)`` with other vectors in place of this one: ``(S, B, K)``."""
        unit, wanted, _ = self.normalised(coordinates, m)
        count, rows = len(self.places), wanted.shape[0]
        axes: N = m.asarray(np.eye(len(self.columns))[self.places, None, :])
        directions = axes - wanted.T.reshape((count, rows, 1)) * unit
        points = _join([unit + directions, unit - directions], 0, m)
        others = np.ones(coordinates.shape[-1])
        others[self.columns] = 0.0
        return coordinates * m.asarray(others) + scatter_entries(
            points, m.asarray(self.columns), coordinates.shape[-1]
        )

    def factors(self, coordinates: N, m: Any) -> N:
        """Return what differences of evaluations are multiplied by, ``(B, C')``."""
        _, wanted, norm = self.normalised(coordinates, m)
        return (2 - wanted * wanted) / (2 * norm)


@dataclass(frozen=True)
class WithVectors(Differentiation):
    """A plan of displacements, and vectors that are turned: their derivatives follow the plan's.

    Attributes:
        vectors: The vectors.
    """

    vectors: tuple[ShiftedVector, ...] = ()

    @property
    @override
    def num_points(self) -> int:
        return self.plan.num_points + sum(v.num_points for v in self.vectors)

    @override
    def reading(
        self, qubits: frozenset[int], bits: frozenset[int] = frozenset()
    ) -> Differentiation:
        reached = self.target.columns_reaching(qubits, bits)
        vectors = tuple(
            replace(v, is_read=not reached.isdisjoint(v.columns.tolist())) for v in self.vectors
        )
        plan = self.plan.restricted(np.array(sorted(reached), dtype=np.int64))
        return replace(self, plan=plan, vectors=vectors)

    @override
    def points(self, values: N, m: Any = np) -> N:
        coordinates = self._coordinates(values, m)
        turned = [v.points(coordinates, m) for v in self.vectors if v.num_points]
        return _join([super().points(values, m), *turned], 0, m)

    @override
    def combine(self, values: N, evs: N, m: Any = np) -> N:
        coordinates, at = self._coordinates(values, m), self.plan.num_points
        found = [self.plan.combined(_part(evs, 0, at), m)]
        for vector in self.vectors:
            factors = vector.factors(coordinates, m)
            if not vector.num_points:
                found.append(0.0 * factors)
                continue
            half = len(vector.places)
            difference = _part(evs, at, half) - _part(evs, at + half, half)
            found.append(factors * difference.T)
            at += 2 * half
        return self._pulled_back(values, _join(found, -1, m), m)

    @override
    def standard_errors(self, values: FloatArray, stds: FloatArray) -> FloatArray:
        coordinates, at = self._coordinates(values, np), self.plan.num_points
        found = [self.plan.combined(stds[:at] ** 2, power=2)]
        for vector in self.vectors:
            factors = vector.factors(coordinates, np)
            if not vector.num_points:
                found.append(np.zeros_like(factors))
                continue
            both = stds[at : at + vector.num_points].reshape(2, len(vector.places), -1)
            found.append(factors**2 * (both**2).sum(0).T)
            at += vector.num_points
        variances = np.concatenate(found, -1)
        if self.pullback is not None:
            variances = self.pullback.variances(values, variances)
        return np.sqrt(variances)


def shift_vectors(
    vectors: Iterable[IntArray], coordinates: Sequence[int]
) -> tuple[ShiftedVector, ...]:
    """Return the vectors of which some components are among the coordinates.

    Args:
        vectors: The columns of the components of all vectors of a circuit.
        coordinates: Of which derivatives are wanted.
    """
    wanted = set(coordinates)
    found = []
    for columns in vectors:
        places = [k for k, column in enumerate(columns.tolist()) if column in wanted]
        if places:
            found.append(ShiftedVector(columns, np.array(places, dtype=np.int64)))
    return tuple(found)


def _part(array: N, first: int, count: int) -> N:
    """Return rows; by ``narrow`` in torch, as slices have no rule in PyTorch's older vmap."""
    if hasattr(array, "narrow"):
        rows: N = array.narrow(0, first, count)
        return rows
    return array[first : first + count]


def _join(arrays: list[N], axis: int, m: Any) -> N:
    """Return arrays one after the other; the older vmap knows ``cat`` only."""
    joined: N = m.concatenate(arrays, axis) if m is np else m.cat(arrays, axis)
    return joined
