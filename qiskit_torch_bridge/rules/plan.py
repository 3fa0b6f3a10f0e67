# SPDX-License-Identifier: Apache-2.0
r"""A shift plan: the displaced points of a gradient and the weights that combine them.

Every rule of this package is linear in evaluations of the same function,

.. math:: \frac{\partial f}{\partial v_c}(v) = \sum_s k_{cs}\, f(v + d_s),

so one plan of displacements :math:`d` and coefficients :math:`k` describes them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..arguments import instance, is_whole, real_array, shown, whole_number
from ..arrays import FloatArray
from ..exceptions import GradientError
from ..program import AnalysedCircuit, AngleMap, Pullback

MOST_COORDINATES = 1 << 24
"""More would not fit into memory, with a few points."""


@dataclass(frozen=True)
class ShiftPlan:
    """Displacements of ``K`` coordinates and the coefficients of ``C`` derivatives.

    Attributes:
        displacements: Shape ``(S, K)``.
        coefficients: Shape ``(C, S)``.
    """

    displacements: FloatArray
    coefficients: FloatArray

    def __post_init__(self) -> None:
        real_array(self.displacements, "displacements", (None, None), error=GradientError)
        points = (None, len(self.displacements))
        real_array(self.coefficients, "coefficients", points, error=GradientError)

    @classmethod
    def from_columns(
        cls, size: int, stencils: Sequence[tuple[int, FloatArray, FloatArray]]
    ) -> ShiftPlan:
        """Build a plan from one stencil ``(coordinate, shifts, coefficients)`` per derivative.

        Equal points are evaluated once: the undisplaced point of one-sided differences is shared
        by all derivatives.
        """
        whole_number(size, "size", 0, MOST_COORDINATES, error=GradientError)
        given: Any = stencils
        listed = isinstance(given, (list, tuple))
        if not listed or not all(isinstance(s, tuple) and len(s) == 3 for s in given):
            raise GradientError(
                "Expected stencils to be a list of triples (coordinate, shifts, coefficients); got "
                f"{shown(stencils)}."
            )
        for coordinate, shifts, coefficients in stencils:
            whole_number(coordinate, "coordinate", 0, size - 1, error=GradientError)
            count = real_array(shifts, "shifts", (None,), error=GradientError).shape
            real_array(coefficients, "coefficients", count, error=GradientError)
        displacements: list[tuple[int, float]] = []
        row_of: dict[tuple[int, float], int] = {}
        entries: list[tuple[int, int, float]] = []
        for c, (coordinate, shifts, coefficients) in enumerate(stencils):
            for shift, coefficient in zip(shifts, coefficients, strict=True):
                key = (coordinate, float(shift)) if shift else (-1, 0.0)
                if key not in row_of:
                    row_of[key] = len(displacements)
                    displacements.append(key)
                entries.append((c, row_of[key], float(coefficient)))
        d = np.zeros((len(displacements), size))
        for s, (coordinate, shift) in enumerate(displacements):
            if coordinate >= 0:
                d[s, coordinate] = shift
        k = np.zeros((len(stencils), len(displacements)))
        for c, s, coefficient in entries:
            k[c, s] += coefficient
        return cls(d, k)

    @property
    def num_points(self) -> int:
        """The number ``S`` of evaluations that one row of values needs."""
        return len(self.displacements)


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
        plan: Displacements ``(S, K)`` of ``target``'s parameters, coefficients ``(C', S)``.
    """

    target: AnalysedCircuit
    angle_map: AngleMap | None
    pullback: Pullback | None
    plan: ShiftPlan

    def __post_init__(self) -> None:
        check_circuit(self.target, "target")
        instance(self.plan, "plan", ShiftPlan, "a ShiftPlan", error=GradientError)
        for name, kind in (("angle_map", AngleMap), ("pullback", Pullback)):
            if getattr(self, name) is not None:
                what = f"of {kind.__name__}"
                instance(getattr(self, name), name, kind, what, error=GradientError)

    def points(self, values: Any, m: Any = np) -> Any:
        """Displace ``values`` of shape ``(B, P)`` to the shift points ``(S, B, K)``."""
        coordinates = values if self.angle_map is None else self.angle_map.angles(values, m)
        return coordinates + m.asarray(self.plan.displacements)[:, None, :]

    def combine(self, values: Any, evs: Any, m: Any = np) -> Any:
        """Combine evaluations ``(S, B)`` at the shift points to derivatives ``(B, C)``."""
        derivatives = (m.asarray(self.plan.coefficients) @ evs).T  # (B, C')
        return derivatives if self.pullback is None else self.pullback(values, derivatives, m)

    def standard_errors(self, values: FloatArray, stds: FloatArray) -> FloatArray:
        """Propagate standard errors ``(S, B)`` of the evaluations to the derivatives ``(B, C)``.

        The evaluations are independent, and no two coordinates of a chain rule share one.
        """
        variances = (self.plan.coefficients**2 @ stds**2).T  # (B, C')
        if self.pullback is not None:
            variances = self.pullback.variances(values, variances)
        return np.sqrt(variances)


def check_circuit(circuit: Any, name: str) -> None:
    """Raise :class:`.GradientError` unless something can be asked what a rule asks a circuit."""
    if not hasattr(circuit, "is_used") or not hasattr(circuit, "parameters"):
        raise GradientError(f"Expected {name} to be an AnalysedCircuit; got {shown(circuit)}.")


def check_wanted(circuit: Any, columns: Any) -> None:
    """Raise :class:`.GradientError` unless columns are those of some parameters of a circuit."""
    check_circuit(circuit, "circuit")
    count = len(circuit.parameters)
    listed = isinstance(columns, (tuple, list))
    if listed and all(is_whole(c) and 0 <= c < count for c in columns):
        return
    raise GradientError(
        f"Expected columns to be whole numbers from 0 to {count - 1}, the positions of parameters "
        f"of the circuit; got {shown(columns)}."
    )


class Rule(Protocol):
    """A way to differentiate expectation values by evaluating them elsewhere."""

    name: str

    def differentiation(
        self, circuit: AnalysedCircuit, columns: tuple[int, ...]
    ) -> Differentiation:
        """Return the plan for the derivatives by ``columns`` of ``circuit``'s parameters."""
        ...
