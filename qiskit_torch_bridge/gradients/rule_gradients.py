# SPDX-License-Identifier: Apache-2.0
"""Which rule a gradient object follows: the part that those of estimators and samplers share.

A rule displaces points and combines what is found there, whatever function is evaluated:
expectation values, or the probabilities of outcomes, which are expectation values of projectors.
"""

from __future__ import annotations

import numpy as np

from ..arguments import make_random_generator
from ..rules import (
    FiniteDifference,
    MultiFrequencyRule,
    ParameterShiftRule,
    Rule,
    SimultaneousPerturbation,
)
from ..rules.difference_rules import Method


class ByParameterShift:
    """Displaces gate angles."""

    def rule(self, precision: float | None) -> Rule:
        """Return the two-term rule; it is the same at any precision."""
        return ParameterShiftRule()


class ByAQGD:
    """Displaces circuit parameters by what their frequencies ask for."""

    def rule(self, precision: float | None) -> Rule:
        """Return the multi-frequency rule; it is the same at any precision."""
        return MultiFrequencyRule()


class ByFiniteDifference:
    """Displaces circuit parameters by a small step."""

    _settings: FiniteDifference

    def _choose(self, epsilon: float | None, method: Method) -> None:
        self._settings = FiniteDifference(epsilon, method)

    @property
    def settings(self) -> FiniteDifference:
        """The step and the method, as one value."""
        return self._settings

    def rule(self, precision: float | None) -> Rule:
        """Return the rule with the given step, or with the one that suits ``precision``."""
        return self.settings.rule(precision)


class BySPSA:
    """Displaces all circuit parameters at once, in random directions."""

    _settings: SimultaneousPerturbation
    _generator: np.random.Generator

    def _choose(
        self, epsilon: float | None, resamplings: int, seed: int | np.random.Generator | None
    ) -> None:
        self._settings = SimultaneousPerturbation(epsilon, resamplings)
        self._generator = make_random_generator(seed)

    @property
    def settings(self) -> SimultaneousPerturbation:
        """The step and the number of directions, as one value."""
        return self._settings

    def rule(self, precision: float | None) -> Rule:
        """Return the rule with the given step, or with the one that suits ``precision``."""
        return self.settings.rule(precision, self._generator)
