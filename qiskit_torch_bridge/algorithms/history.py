# SPDX-License-Identifier: Apache-2.0
"""What the steps of a run started from, and whether it has converged."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from ..arrays import FloatArray


@dataclass
class History:
    """What each step of a run started from; lists of equal length.

    Attributes:
        parameters: The points, each ``(P,)``.
        values: The objective there; from optimizers that evaluate it to either side only, such as
            :class:`~qiskit_torch_bridge.optim.SPSA`, the estimate that their ``step`` returns.
        gradient_norms: The Euclidean norm of the gradient, before clipping; ``nan`` where the
            optimizer asked for none.
        learning_rates: The learning rate of the step; ``nan`` for optimizers without one.
        evaluations: The points evaluated so far, those of gradients made from values among them.
    """

    parameters: list[FloatArray] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    gradient_norms: list[float] = field(default_factory=list)
    learning_rates: list[float] = field(default_factory=list)
    evaluations: list[int] = field(default_factory=list)

    def add(
        self,
        parameters: FloatArray,
        value: float,
        gradient: FloatArray | None,
        learning_rate: float,
        evaluations: int,
    ) -> None:
        """Append a step."""
        self.parameters.append(parameters)
        self.values.append(value)
        self.gradient_norms.append(math.nan if gradient is None else math.hypot(*gradient))
        self.learning_rates.append(learning_rate)
        self.evaluations.append(evaluations)


class Stop:
    """Says when a run has converged."""

    def __init__(
        self,
        tol: float | None,
        gradient_tol: float | None,
        patience: int | None,
        min_improvement: float,
    ) -> None:
        self._tol, self._gradient_tol = tol, gradient_tol
        self._patience, self._min_improvement = patience, min_improvement
        self._last: float | None = None
        self._best = math.inf
        self._waited = 0

    def __call__(self, value: float, gradient: FloatArray | None) -> bool:
        """Take note of a step's value and gradient, and return whether to stop after it."""
        small = self._tol is not None and self._last is not None
        stop = small and abs(value - self._last) <= self._tol  # type: ignore[operator]
        self._last = value
        if self._gradient_tol is not None and gradient is not None:
            stop = stop or bool(np.abs(gradient).max(initial=0) <= self._gradient_tol)
        if value < self._best - self._min_improvement:
            self._best, self._waited = value, 0
        else:
            self._waited += 1
        return stop or (self._patience is not None and self._waited >= self._patience)
