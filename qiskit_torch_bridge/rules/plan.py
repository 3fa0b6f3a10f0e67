# SPDX-License-Identifier: Apache-2.0
r"""A shift plan: the displaced points of a gradient and the weights that combine them.

Every rule of this package is linear in evaluations of the same function,

.. math:: \frac{\partial f}{\partial v_c}(v) = \sum_s k_{cs}\, f(v + d_s),

so one plan of displacements :math:`d` and coefficients :math:`k` describes them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..arrays import FloatArray, IntArray
from ..program.angle_map import scattered, taken

if TYPE_CHECKING:  # the rules see circuits, they do not build them
    from ..program import AnalysedCircuit, AngleMap, Pullback


@dataclass(frozen=True)
class ShiftPlan:
    """``S`` points, each displaced by one of ``K`` coordinates, and what ``C`` derivatives take.

    Attributes:
        size: The number ``K`` of coordinates.
        coordinates: Which one displaces a point, shape ``(S,)``.
        shifts: By how much; zero for the undisplaced point.
        num_derivatives: The number ``C``.
        entries: Derivative and point of each coefficient, shape ``(2, E)``.
        coefficients: Shape ``(E,)``.
    """

    size: int
    coordinates: IntArray
    shifts: FloatArray
    num_derivatives: int
    entries: IntArray
    coefficients: FloatArray

    @classmethod
    def from_columns(
        cls, size: int, stencils: Sequence[tuple[int, FloatArray, FloatArray]]
    ) -> ShiftPlan:
        """Build a plan from one stencil ``(coordinate, shifts, coefficients)`` per derivative.

        Equal points are evaluated once: the undisplaced point of one-sided differences is shared
        by all derivatives.
        """
        row_of: dict[tuple[int, float], int] = {}
        entries: list[tuple[int, int]] = []
        coefficients: list[float] = []
        for c, (coordinate, shifts, factors) in enumerate(stencils):
            for shift, factor in zip(shifts.tolist(), factors.tolist(), strict=True):
                key = (coordinate, shift) if shift else (0, 0.0)
                entries.append((c, row_of.setdefault(key, len(row_of))))
                coefficients.append(factor)
        return cls(
            size,
            np.array([coordinate for coordinate, _ in row_of], dtype=np.int64),
            np.array([shift for _, shift in row_of], dtype=float),
            len(stencils),
            np.array(entries, dtype=np.int64).reshape(-1, 2).T.copy(),
            np.array(coefficients, dtype=float),
        )

    @classmethod
    def of_points(cls, size: int, num_points: int, num_derivatives: int) -> ShiftPlan:
        """Return a plan that counts points and says nothing of where they are."""
        none = np.zeros((2, 0), dtype=np.int64)
        places = np.zeros(num_points, dtype=np.int64)
        return cls(size, places, np.zeros(num_points), num_derivatives, none, np.zeros(0))

    @property
    def displacements(self) -> FloatArray:
        """The displacements as one array ``(S, K)``, which is made anew."""
        d = np.zeros((self.num_points, self.size))
        d[np.arange(self.num_points), self.coordinates] = self.shifts
        return d

    def combined(self, evs: Any, m: Any = np, power: int = 1) -> Any:
        """Sum evaluations ``(S, B)`` with the coefficients, or powers of them: ``(B, C)``."""
        derivatives, points = self.entries
        terms = taken(evs.T, points, m) * m.asarray(self.coefficients**power)
        return scattered(terms, m.asarray(derivatives), self.num_derivatives)

    @property
    def num_points(self) -> int:
        """The number ``S`` of evaluations that one row of values needs."""
        return len(self.coordinates)


@dataclass(frozen=True)
class Differentiation:
    """How the derivatives by some columns are had: which circuit, which points, which chain rule.

    The methods take the array module ``m``, NumPy or torch: with torch they build an autograd
    graph, which is what makes a gradient of evaluations differentiable again.

    Attributes:
        target: The circuit to evaluate: the user's own, or its form with one angle per parameter.
        angle_map: How ``target``'s parameters follow from the user's; ``None`` if they are the
            same.
        pullback: The chain rule from ``C'`` coordinates of ``target`` to ``C`` wanted columns;
            ``None`` if they are the same.
        plan: Displacements of ``target``'s ``K`` parameters, and ``C'`` derivatives.
    """

    target: AnalysedCircuit
    angle_map: AngleMap | None
    pullback: Pullback | None
    plan: ShiftPlan

    def points(self, values: Any, m: Any = np) -> Any:
        """Displace ``values`` of shape ``(B, P)`` to the shift points ``(S, B, K)``."""
        coordinates = values if self.angle_map is None else self.angle_map.angles(values, m)
        return coordinates + m.asarray(self.plan.displacements)[:, None, :]

    def combine(self, values: Any, evs: Any, m: Any = np) -> Any:
        """Combine evaluations ``(S, B)`` at the shift points to derivatives ``(B, C)``."""
        derivatives = self.plan.combined(evs, m)  # (B, C')
        return derivatives if self.pullback is None else self.pullback(values, derivatives, m)

    def standard_errors(self, values: FloatArray, stds: FloatArray) -> FloatArray:
        """Propagate standard errors ``(S, B)`` of the evaluations to the derivatives ``(B, C)``.

        The evaluations are independent, and no two coordinates of a chain rule share one.
        """
        variances = self.plan.combined(stds**2, power=2)  # (B, C')
        if self.pullback is not None:
            variances = self.pullback.variances(values, variances)
        return np.sqrt(variances)


class Rule(Protocol):
    """A way to differentiate expectation values by evaluating them elsewhere."""

    name: str

    def differentiation(
        self, circuit: AnalysedCircuit, columns: tuple[int, ...]
    ) -> Differentiation:
        """Return the plan for the derivatives by ``columns`` of ``circuit``'s parameters."""
        ...
