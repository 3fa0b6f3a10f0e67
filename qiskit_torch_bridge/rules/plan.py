# SPDX-License-Identifier: Apache-2.0
r"""A shift plan: the displaced points of a gradient and the weights that combine them.

Every rule of this package is linear in evaluations of the same function,

.. math:: \frac{\partial f}{\partial v_c}(v) = \sum_s k_{cs}\, f(v + d_s),

so one plan of displacements :math:`d` and coefficients :math:`k` describes them all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ..arguments import (
    is_whole_number,
    require_instance,
    require_real_array,
    require_whole_number,
    shown,
)
from ..arrays import FloatArray, IntArray, N
from ..exceptions import GradientError
from ..program import AnalysedCircuit, AngleMap, Pullback
from ..program.angle_map import scatter_entries, take_entries

MOST_COORDINATES = 1 << 24
"""With more, even a few points would not fit into memory."""


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

    def __post_init__(self) -> None:
        require_whole_number(self.size, "size", 0, MOST_COORDINATES, error=GradientError)
        most = MOST_COORDINATES
        require_whole_number(self.num_derivatives, "num_derivatives", 0, most, error=GradientError)
        points = _require_numbers(self.shifts, "shifts")
        count = _require_numbers(self.coefficients, "coefficients")
        _require_places(self.coordinates, "coordinates", (points,), self.size)
        require_real_array(self.entries, "entries", (2, count), error=GradientError)
        _require_places(self.entries[0], "entries[0]", (count,), self.num_derivatives)
        _require_places(self.entries[1], "entries[1]", (count,), points)

    @classmethod
    def from_columns(
        cls, size: int, stencils: Sequence[tuple[int, FloatArray, FloatArray]]
    ) -> ShiftPlan:
        """Build a plan from one stencil ``(coordinate, shifts, coefficients)`` per derivative.

        Equal points are evaluated once: the undisplaced point of one-sided differences is shared
        by all derivatives.
        """
        given: Any = stencils
        listed = isinstance(given, (list, tuple))
        if not listed or not all(isinstance(s, tuple) and len(s) == 3 for s in given):
            raise GradientError(
                "Expected stencils to be a list of triples (coordinate, shifts, coefficients); got "
                f"{shown(stencils)}."
            )
        row_of: dict[tuple[int, float], int] = {}
        entries: list[tuple[int, int]] = []
        coefficients: list[float] = []
        for c, (coordinate, shifts, factors) in enumerate(stencils):
            for shift, factor in zip(
                np.asarray(shifts, float).tolist(), np.asarray(factors, float).tolist(), strict=True
            ):
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
        """Return a plan for points that are drawn later: it only counts them."""
        most = MOST_COORDINATES
        require_whole_number(num_points, "num_points", 0, most, error=GradientError)
        none = np.zeros((2, 0), dtype=np.int64)
        places = np.zeros(num_points, dtype=np.int64)
        return cls(size, places, np.zeros(num_points), num_derivatives, none, np.zeros(0))

    def restricted(self, coordinates: IntArray) -> ShiftPlan:
        """Return the plan without the points of derivatives by other coordinates than these.

        The coefficients of a derivative add up to zero, so that without a change it is zero.
        """
        _require_places(coordinates, "coordinates", (None,), self.size)
        derivatives, points = self.entries
        moves = np.isin(self.coordinates, coordinates) & (self.shifts != 0)
        changing = np.bincount(derivatives[moves[points]], minlength=self.num_derivatives) > 0
        kept = changing[derivatives]
        if kept.all():
            return self
        left, renumbered = np.unique(points[kept], return_inverse=True)
        return ShiftPlan(
            self.size,
            self.coordinates[left],
            self.shifts[left],
            self.num_derivatives,
            np.array([derivatives[kept], renumbered], dtype=np.int64),
            self.coefficients[kept],
        )

    @property
    def displacements(self) -> FloatArray:
        """The displacements as one new array ``(S, K)``."""
        d = np.zeros((self.num_points, self.size))
        d[np.arange(self.num_points), self.coordinates] = self.shifts
        return d

    def combined(self, evs: N, m: Any = np, power: int = 1) -> N:
        """Sum evaluations ``(S, B)`` with the coefficients, or powers of them: ``(B, C)``."""
        derivatives, points = self.entries
        terms = take_entries(evs.T, points, m) * m.asarray(self.coefficients**power)
        return scatter_entries(terms, m.asarray(derivatives), self.num_derivatives)

    @property
    def num_points(self) -> int:
        """The number ``S`` of evaluations that one row of values needs."""
        return len(self.coordinates)


@dataclass(frozen=True)
class Differentiation:
    """How to differentiate with respect to some columns: circuit, points and chain rule.

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

    def __post_init__(self) -> None:
        check_circuit(self.target, "target")
        require_instance(self.plan, "plan", ShiftPlan, "a ShiftPlan", error=GradientError)
        for name, kind in (("angle_map", AngleMap), ("pullback", Pullback)):
            if getattr(self, name) is not None:
                what = f"of {kind.__name__}"
                require_instance(getattr(self, name), name, kind, what, error=GradientError)

    @property
    def num_points(self) -> int:
        """The number ``S`` of evaluations that one row of values needs."""
        return self.plan.num_points

    def reading(
        self, qubits: frozenset[int], bits: frozenset[int] = frozenset()
    ) -> Differentiation:
        """Return the plan without points at which nothing that is read of some bits changes.

        The derivatives that these points are for are zero: see
        :meth:`.AnalysedCircuit.columns_reaching`.
        """
        reached = np.array(sorted(self.target.columns_reaching(qubits, bits)), dtype=np.int64)
        plan = self.plan.restricted(reached)
        return self if plan is self.plan else replace(self, plan=plan)

    def points(self, values: N, m: Any = np) -> N:
        """Displace ``values`` of shape ``(B, P)`` to the shift points ``(S, B, K)``."""
        return self._coordinates(values, m) + m.asarray(self.plan.displacements)[:, None, :]

    def combine(self, values: N, evs: N, m: Any = np) -> N:
        """Combine evaluations ``(S, B)`` at the shift points to derivatives ``(B, C)``."""
        return self._pulled_back(values, self.plan.combined(evs, m), m)

    def _coordinates(self, values: N, m: Any) -> N:
        """Return the coordinates ``(B, K)`` of ``target``."""
        return values if self.angle_map is None else self.angle_map.angles(values, m)

    def _pulled_back(self, values: N, derivatives: N, m: Any) -> N:
        """Return derivatives ``(B, C')`` with respect to coordinates as those by columns."""
        return derivatives if self.pullback is None else self.pullback(values, derivatives, m)

    def standard_errors(self, values: FloatArray, stds: FloatArray) -> FloatArray:
        """Propagate standard errors ``(S, B)`` of the evaluations to the derivatives ``(B, C)``.

        The evaluations are independent, and no two coordinates of a chain rule share one.
        """
        variances = self.plan.combined(stds**2, power=2)  # (B, C')
        if self.pullback is not None:
            variances = self.pullback.variances(values, variances)
        return np.sqrt(variances)


def _require_numbers(value: Any, name: str) -> int:
    """Return the length of an array of numbers, or raise unless it is one."""
    array = require_instance(value, name, np.ndarray, "an array of numbers", error=GradientError)
    if not np.isfinite(require_real_array(array, name, (None,), error=GradientError)).all():
        raise GradientError(f"Expected {name} to be finite numbers; got {shown(value)}.")
    return len(array)


def _require_places(value: Any, name: str, shape: tuple[int | None, ...], end: int) -> None:
    """Raise :class:`.GradientError` unless an array holds whole numbers from 0, below ``end``."""
    places = require_real_array(value, name, shape, error=GradientError)
    if (
        getattr(value, "dtype", places.dtype).kind != "i"
        or not ((places >= 0) & (places < end)).all()
    ):
        raise GradientError(
            f"Expected {name} to be whole numbers from 0 to {end - 1}; got {shown(value)}."
        )


def check_circuit(circuit: Any, name: str) -> None:
    """Raise :class:`.GradientError` unless it has what a rule needs of a circuit."""
    if not hasattr(circuit, "is_used") or not hasattr(circuit, "parameters"):
        raise GradientError(f"Expected {name} to be an AnalysedCircuit; got {shown(circuit)}.")


def check_columns(circuit: Any, columns: Any) -> None:
    """Raise :class:`.GradientError` unless columns are those of some parameters of a circuit."""
    check_circuit(circuit, "circuit")
    count = len(circuit.parameters)
    listed = isinstance(columns, (tuple, list))
    if listed and all(is_whole_number(c) and 0 <= c < count for c in columns):
        return
    raise GradientError(
        f"Expected columns to be whole numbers from 0 to {count - 1}, the positions of parameters "
        f"of the circuit; got {shown(columns)}."
    )


class Rule(ABC):
    """A way to differentiate expectation values by evaluating them elsewhere.

    Attributes:
        name: How it is called where a gradient is chosen.
        is_random: Whether each gradient has displacements of its own, so that no plan is used
            twice.
    """

    name: ClassVar[str]
    is_random: ClassVar[bool] = False

    def __repr__(self) -> str:
        return self.name

    @abstractmethod
    def differentiation(
        self, circuit: AnalysedCircuit, columns: tuple[int, ...]
    ) -> Differentiation:
        """Return the plan for the derivatives with respect to ``columns`` of the parameters."""


class StencilRule(Rule):
    """A rule that displaces one of the circuit's own parameters at a time."""

    @abstractmethod
    def stencil(self, circuit: AnalysedCircuit, column: int) -> tuple[FloatArray, FloatArray]:
        """Return the shifts of a parameter, and the coefficients of the evaluations there."""

    def differentiation(
        self, circuit: AnalysedCircuit, columns: tuple[int, ...]
    ) -> Differentiation:
        """Return the plan over the wanted columns of ``circuit`` itself."""
        check_columns(circuit, columns)
        stencils = [(column, *self.stencil(circuit, column)) for column in columns]
        plan = ShiftPlan.from_columns(len(circuit.parameters), stencils)
        return Differentiation(circuit, None, None, plan)
