# SPDX-License-Identifier: Apache-2.0
"""Engines whose gradients are evaluations, too: by a rule, or in random directions.

Each carries out the plan of a rule of this package in one job, on the primitive of the gradient.
"""

from __future__ import annotations

from typing_extensions import Self

from ..arrays import FloatArray
from ..jobs.budget import PlannedRequest
from ..rules import Differentiation, Rule
from .evaluators import Evaluator
from .interface import BOTH, Gradients, Wanted
from .measured_forward import MeasuredForward, differentiate_by_points, split_columns


class _WithRule(MeasuredForward):
    """What engines have in common whose gradients are evaluations by a rule.

    Args:
        forward: Evaluates values.
        rule: How to differentiate.
        gradient: Evaluates the points of gradients.
    """

    def __init__(self, forward: Evaluator, rule: Rule, gradient: Evaluator) -> None:
        super().__init__(forward)
        self.rule, self.gradient = rule, gradient

    @property
    def gradient_name(self) -> str:
        """The name of the rule, with its settings."""
        return repr(self.rule)

    def differentiation(self, columns: tuple[int, ...]) -> tuple[Differentiation, _WithRule]:
        """Return the plan for derivatives of columns, and the engine for its points."""
        d = self.rule.differentiation(self.program.analysed, columns)
        if not self.rule.is_random:
            readout = self.program.readout
            d = d.reading(readout.depends_on, frozenset(readout.bits_read))
        at_points = self.gradient.at(self.program.on(d.target))
        return d, type(self)(at_points, self.rule, at_points)

    def vjp(
        self,
        x: FloatArray,
        w: FloatArray,
        cotangent: FloatArray,
        kept: object = None,
        wanted: Wanted = BOTH,
    ) -> Gradients:
        """Return the vector-Jacobian products, from one job of the points of a plan."""
        columns, _ = split_columns(self.program, wanted)
        d, at = self.differentiation(columns)
        return differentiate_by_points(d, at.forward, x, w, cotangent, self.program, wanted)

    def plan(self, rows: int, columns: tuple[int, ...] | None) -> list[PlannedRequest]:
        """Return the request of the forward pass and, if columns are given, of a backward pass."""
        requests = self.forward.request(rows)
        if columns:
            d, at = self.differentiation(columns)
            points = rows * d.num_points
            requests = requests + (at.forward.request(points) if points else [])
        return requests

    def at_precision(self, forward: float | None, gradient: float | None) -> Self:
        """Return the engine that asks for other precisions."""
        at = self.gradient.at_precision(gradient)
        return type(self)(self.forward.at_precision(forward), self.rule, at)

    def random_sources(self) -> dict[str, object]:
        """Return both primitives and the rule."""
        sources = {**super().random_sources(), "rule": self.rule}
        if self.gradient.primitive is not None:
            sources["gradient_estimator"] = self.gradient.primitive
        return sources


class RuleEngine(_WithRule):
    """Evaluations and a rule; its gradients are functions that can be differentiated again.

    Raises:
        GradientError: If a derivative with respect to a weight cannot be planned.
    """

    order = float("inf")

    def __init__(self, forward: Evaluator, rule: Rule, gradient: Evaluator) -> None:
        super().__init__(forward, rule, gradient)
        self._plans: dict[tuple[int, ...], tuple[Differentiation, _WithRule]] = {}

    def differentiation(self, columns: tuple[int, ...]) -> tuple[Differentiation, _WithRule]:
        """Return the plan and the engine for its points, made once for the columns."""
        if columns not in self._plans:
            self._plans[columns] = super().differentiation(columns)
        return self._plans[columns]

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_plans": {}}


class SimultaneousPerturbationEngine(_WithRule):
    """Evaluations, and new random directions for each gradient.

    Gradients are taken once: derivatives of estimates along directions of their own would have an
    error that grows as the step gets smaller.
    """

    order = 1.0
