# SPDX-License-Identifier: Apache-2.0
"""The engine for gradients along random directions."""

from __future__ import annotations

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

    def drawn(self, columns: tuple[int, ...]) -> tuple[Differentiation, EstimatorEngine] | None:
        """Return the plan with directions of its own."""
        found = self.evaluations_for(columns)
        if self.rule is None or found is None:
            return None
        return self.rule.differentiation(self.program.analysed, columns), found[1]
