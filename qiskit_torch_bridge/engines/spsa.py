# SPDX-License-Identifier: Apache-2.0
"""The engine for gradients along random directions."""

from __future__ import annotations

import numpy as np

from ..arrays import FloatArray
from ..exceptions import GradientError
from ..rules import Differentiation
from .estimator import EstimatorEngine


class SPSAEngine(EstimatorEngine):
    """An estimator, and a :class:`.SPSARule` with new directions for each gradient.

    Its gradients are taken once: derivatives of estimates along directions of their own would have
    an error that grows as the step gets smaller.
    """

    def differentiation(
        self, columns: tuple[int, ...]
    ) -> tuple[Differentiation, EstimatorEngine] | None:
        """Return nothing: torch is not to differentiate this gradient."""
        return None

    def vjp(
        self, values: FloatArray, cotangent: FloatArray, columns: tuple[int, ...]
    ) -> FloatArray:
        """Return an estimate ``(B, C)`` of the vector-Jacobian product, from one job."""
        found = self.evaluations_for(columns)
        if self.rule is None or found is None:
            raise GradientError("Expected a rule; got none.")
        engine = found[1]
        d = self.rule.differentiation(self.program.analysed, columns)
        if not d.plan.num_points:  # no wanted parameter acts on any gate
            return np.zeros((len(values), len(columns)))
        points = d.points(values)  # (S, B, P)
        evs = engine.expval(points.reshape(-1, points.shape[-1]))
        evs = evs.reshape(*points.shape[:2], self.program.num_observables)
        weighted = (evs * cotangent).sum(-1)
        self.note_gradient_errors((d, engine), values, cotangent, columns)
        return d.combine(values, weighted)
