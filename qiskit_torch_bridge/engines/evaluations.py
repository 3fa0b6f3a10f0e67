# SPDX-License-Identifier: Apache-2.0
"""Engines on an estimator whose gradients are evaluations too: by a rule, or in random directions.

Each carries out the plan of a rule of this package in one job, on the estimator of the gradient.
"""

from __future__ import annotations

from ..arrays import FloatArray
from ..jobs.budget import PlannedRequest
from ..rules import Differentiation, Rule
from .estimation import Estimation, MeasuredForward, differentiate_by_points, split_columns
from .interface import BOTH, Gradients, Wanted


class RuleEngine(MeasuredForward):
    """An estimator and a rule; its gradients are functions that can be differentiated again.

    Args:
        forward: Evaluates values.
        rule: How to differentiate.
        gradient: The estimator and the precision of the gradient; its program is not used.

    Raises:
        GradientError: If a derivative with respect to a weight cannot be planned.
    """

    order = float("inf")

    def __init__(self, forward: Estimation, rule: Rule, gradient: Estimation) -> None:
        super().__init__(forward)
        self.rule, self.gradient = rule, gradient
        self._plans: dict[tuple[int, ...], tuple[Differentiation, RuleEngine]] = {}

    @property
    def gradient_name(self) -> str:
        """The name of the rule, with its settings."""
        return repr(self.rule)

    def differentiation(self, columns: tuple[int, ...]) -> tuple[Differentiation, RuleEngine]:
        """Return the plan for derivatives with respect to columns, and the engine for its points.

        It is made once for the columns.
        """
        if columns not in self._plans:
            d = self.rule.differentiation(self.program.analysed, columns)
            at_points = Estimation(
                self.program.on(d.target), self.gradient.estimator, self.gradient.precision
            )
            self._plans[columns] = d, RuleEngine(at_points, self.rule, at_points)
        return self._plans[columns]

    def vjp(
        self,
        x: FloatArray,
        w: FloatArray,
        cotangent: FloatArray,
        kept: object = None,
        wanted: Wanted = BOTH,
    ) -> Gradients:
        """Return the vector-Jacobian products, from one job of shift points."""
        columns, _ = split_columns(self.program, wanted)
        d, at = self.differentiation(columns)
        return differentiate_by_points(d, at.forward, x, w, cotangent, self.program, wanted)

    def plan(self, rows: int, columns: tuple[int, ...] | None) -> list[PlannedRequest]:
        """Return the request of the forward pass and, if columns are given, of a backward pass."""
        requests = [self.forward.request(rows)]
        if columns:
            d, at = self.differentiation(columns)
            requests.append(at.forward.request(rows * d.plan.num_points))
        return requests

    def at_precision(self, forward: float | None, gradient: float | None) -> RuleEngine:
        """Return the engine that asks for other precisions."""
        return RuleEngine(
            self.forward.at_precision(forward), self.rule, self.gradient.at_precision(gradient)
        )

    def random_sources(self) -> dict[str, object]:
        """Return both estimators and the rule."""
        return {
            "estimator": self.forward.estimator,
            "gradient_estimator": self.gradient.estimator,
            "rule": self.rule,
        }

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_plans": {}}


class SimultaneousPerturbationEngine(MeasuredForward):
    """An estimator, and new random directions for each gradient.

    Gradients are taken once: derivatives of estimates along directions of their own would have an
    error that grows as the step gets smaller.

    Args:
        forward: Evaluates values.
        rule: Draws the directions.
        gradient: The estimator and the precision of the gradient.
    """

    order = 1.0

    def __init__(self, forward: Estimation, rule: Rule, gradient: Estimation) -> None:
        super().__init__(forward)
        self.rule, self.gradient = rule, gradient

    @property
    def gradient_name(self) -> str:
        """The name of the rule, with its settings."""
        return repr(self.rule)

    def vjp(
        self,
        x: FloatArray,
        w: FloatArray,
        cotangent: FloatArray,
        kept: object = None,
        wanted: Wanted = BOTH,
    ) -> Gradients:
        """Return the vector-Jacobian products, from one job along directions of their own."""
        columns, _ = split_columns(self.program, wanted)
        d = self.rule.differentiation(self.program.analysed, columns)
        return differentiate_by_points(d, self.gradient, x, w, cotangent, self.program, wanted)

    def plan(self, rows: int, columns: tuple[int, ...] | None) -> list[PlannedRequest]:
        """Return the request of the forward pass and, if columns are given, of a backward pass."""
        requests = [self.forward.request(rows)]
        if columns:
            points = self.rule.differentiation(self.program.analysed, columns).plan.num_points
            requests.append(self.gradient.request(rows * points))
        return requests

    def at_precision(
        self, forward: float | None, gradient: float | None
    ) -> SimultaneousPerturbationEngine:
        """Return the engine that asks for other precisions."""
        return SimultaneousPerturbationEngine(
            self.forward.at_precision(forward), self.rule, self.gradient.at_precision(gradient)
        )

    def random_sources(self) -> dict[str, object]:
        """Return both estimators and the rule."""
        return {
            "estimator": self.forward.estimator,
            "gradient_estimator": self.gradient.estimator,
            "rule": self.rule,
        }
