# SPDX-License-Identifier: Apache-2.0
"""Observables of which each method simulates some terms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from typing_extensions import override

from .. import memory
from ..arrays import BoolArray, FloatArray, IntArray
from ..program.operators import Observable, ProductOperator
from ..program.readouts import Expectations
from .interface import Cost, Plan, Simulator


class Part(NamedTuple):
    """Some terms of some observables.

    Attributes:
        simulator: Reads these terms.
        places: Which observables they belong to, shape ``(S',)``.
    """

    simulator: Simulator
    places: IntArray


class PlannedPart(NamedTuple):
    """How some terms of some observables would be simulated.

    Attributes:
        plan: Reads these terms.
        places: Which observables they belong to, shape ``(S',)``.
    """

    plan: Plan
    places: IntArray


class CombinedPlan(NamedTuple):
    """How observables would be read part by part.

    Attributes:
        parts: Some terms each.
        size: The number of observables.
    """

    parts: tuple[PlannedPart, ...]
    size: int

    def estimate(self, rows: int) -> Cost:
        """Estimate what values and a gradient of ``rows`` points take."""
        return _add([part.plan.estimate(rows) for part in self.parts])

    def compile(self) -> CombinedSimulator:
        """Return the simulator."""
        return CombinedSimulator([Part(p.compile(), at) for p, at in self.parts], self.size)


class CombinedSimulator(Simulator):
    r"""The sums of what other simulators read.

    .. math:: f_o(x, w) = \sum_p f^{(p)}_o(x, w)

    over parts :math:`p`, each with some of the terms of observable :math:`o`. All derivatives are
    sums alike.

    Args:
        parts: One at least.
        size: The number ``S`` of observables.

    Raises:
        MeasurementError: From what returns states: there is none that all parts share.

    Cost:
        That of all parts, one after the other.
    """

    def __init__(self, parts: Sequence[Part], size: int) -> None:
        self.parts, self.size = tuple(parts), size
        self.is_affine = all(part.simulator.is_affine for part in parts)

    @override
    def estimate(self, rows: int) -> Cost:
        return _add([part.simulator.estimate(rows) for part in self.parts])

    @override
    def evaluate(
        self, x: FloatArray, w: FloatArray, keep: bool = False
    ) -> tuple[FloatArray, list[Any] | None]:
        memory.require_outputs(len(x), self.size)
        values, all_kept = np.zeros((len(x), self.size)), []
        for simulator, places in self.parts:
            found, kept = simulator.evaluate(x, w, keep)
            values[:, places] += found
            all_kept.append(kept)
        return values, all_kept if keep else None

    @override
    def evaluate_separately(self, x: FloatArray, w: FloatArray) -> FloatArray:
        memory.require_outputs(len(x), self.size)
        values = np.zeros((len(x), self.size))
        for simulator, places in self.parts:
            values[:, places] += simulator.evaluate_separately(x, w)
        return values

    @override
    def vjp(
        self,
        x: FloatArray,
        w: FloatArray,
        cotangent: FloatArray,
        kept: list[Any] | None = None,
        wanted: tuple[bool, bool] = (True, True),
    ) -> tuple[FloatArray, FloatArray]:
        gx, gw = np.zeros_like(x), np.zeros_like(w)
        for part, own in zip(self.parts, kept or [None] * len(self.parts), strict=True):
            asked = np.ascontiguousarray(cotangent[:, part.places])
            found = part.simulator.vjp(x, w, asked, own, wanted)
            gx, gw = gx + found[0], gw + found[1]
        return gx, gw

    @override
    def tangent(self, x: FloatArray, w: FloatArray, dx: FloatArray, dw: FloatArray) -> FloatArray:
        moved = np.zeros((len(x), self.size))
        for simulator, places in self.parts:
            moved[:, places] += simulator.tangent(x, w, dx, dw)
        return moved

    @override
    def vjp_tangent(
        self,
        x: FloatArray,
        w: FloatArray,
        cotangent: FloatArray,
        dx: FloatArray,
        dw: FloatArray,
        dcotangent: FloatArray,
        wanted: tuple[bool, bool] = (True, True),
    ) -> tuple[FloatArray, FloatArray]:
        hx, hw = np.zeros_like(x), np.zeros_like(w)
        for simulator, places in self.parts:
            c, dc = (np.ascontiguousarray(a[:, places]) for a in (cotangent, dcotangent))
            found = simulator.vjp_tangent(x, w, c, dx, dw, dc, wanted)
            hx, hw = hx + found[0], hw + found[1]
        return hx, hw

    @override
    def check_derivatives(
        self, x: FloatArray, w: FloatArray, wanted: tuple[bool, bool] = (True, True)
    ) -> None:
        for part in self.parts:
            part.simulator.check_derivatives(x, w, wanted)


def _add(costs: Sequence[Cost]) -> Cost:
    """Return what several simulations take together."""
    return Cost(sum(c.bytes for c in costs), sum(c.operations for c in costs))


def take_terms(readout: Expectations, taken: BoolArray) -> tuple[Expectations, IntArray]:
    """Return some terms of observables, and which observables these belong to.

    Args:
        readout: The observables.
        taken: Which terms, all operators' in a row, shape ``(K,)``.
    """
    operators: list[Observable] = []
    places: list[int] = []
    start = 0
    for place, operator in enumerate(readout.operators):
        chosen = np.flatnonzero(taken[start : start + len(operator)])
        start += len(operator)
        if len(chosen):
            operators.append(_terms_of(operator, chosen))
            places.append(place)
    return Expectations(tuple(operators)), np.array(places, dtype=np.int64)


def _terms_of(operator: Observable, chosen: IntArray) -> Observable:
    if isinstance(operator, ProductOperator):
        return ProductOperator(operator.letters[chosen], operator.coeffs[chosen])
    return operator[chosen]
