# SPDX-License-Identifier: Apache-2.0
"""An objective as algorithms hand it over: counted, checked, and differentiated if need be."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from ..arguments import UNREADABLE, require_choice, require_real_number, shown
from ..arrays import FloatArray
from ..exceptions import ObjectiveError, OptimizerError
from ..rules.difference_rules import (
    STENCILS,
    FiniteDifference,
    SimultaneousPerturbation,
    WithOptions,
    is_named_gradient,
    recommended_epsilon,
)
from ..rules.plan import ShiftPlan

NUMERICAL = (FiniteDifference.name, SimultaneousPerturbation.name)
Numerical: TypeAlias = Literal["finite-difference", "spsa"] | WithOptions
SPSA_STEP = 0.1
"""Default step of SPSA, in radians: the estimate is noisy anyway, and this suits sampled values."""
NOT_FINITE = " Lower the learning rate, clip the gradient (clip_norm=), or look at the objective."


class Objective:
    """A function of ``(P,)`` and its gradient, with a memory for the best point.

    Args:
        fun: Takes ``(P,)`` and returns a number; where ``grouped`` allows, takes ``(K, P)`` and
            returns ``K`` numbers.
        jac: Takes ``(P,)`` and returns the gradient ``(P,)``; ``None`` to make one from values.
        numerical: How to make one.
        grouped: The most points that ``fun`` takes in one call; ``None`` for one at a time.
        rng: Draws the directions of SPSA.
        limits: Lower and upper bounds; points outside are evaluated, but none is the best.

    Attributes:
        nfev: Points evaluated.
        njev: Gradients evaluated, by ``jac`` or from values.
        best_point: The point with the least value so far.
        best_value: Its value.
        best_gradient: The gradient there, if one was asked for.
    """

    def __init__(
        self,
        fun: Callable[[FloatArray], Any],
        jac: Callable[[FloatArray], Any] | None,
        *,
        numerical: WithOptions,
        grouped: int | None,
        rng: np.random.Generator,
        limits: tuple[FloatArray, FloatArray] | None = None,
    ) -> None:
        self._fun, self._jac = fun, jac
        self._numerical = numerical
        self._grouped = grouped or 1
        self._rng = rng
        self._limits = limits
        self.nfev = self.njev = 0
        self.best_point: FloatArray | None = None
        self.best_value = math.inf
        self.best_gradient: FloatArray | None = None

    def value(self, x: FloatArray) -> float:
        """Return the value at ``x``."""
        (value,) = self._values([x])
        self._remember(x, value, None)
        return value

    def value_and_gradient(self, x: FloatArray) -> tuple[float, FloatArray]:
        """Return the value at ``x`` and the gradient there."""
        if self._jac is not None:
            value = self.value(x)  # remembered even if the gradient is refused
            gradient = self._checked_gradient(self._jac(x.copy()), x)
        else:
            displacements, combined = self._differences(len(x))
            values = self._values([x, *(x + displacements)])
            value, gradient = values[0], combined(np.array(values[1:]))
        self.njev += 1
        self._remember(x, value, gradient)
        return value, gradient

    def _differences(self, size: int) -> tuple[FloatArray, Callable[[FloatArray], FloatArray]]:
        """Return displacements ``(S, P)``, and what makes a gradient of the values there."""
        how = self._numerical
        if isinstance(how, FiniteDifference):
            step = recommended_epsilon(None, how.method) if how.epsilon is None else how.epsilon
            shifts, coefficients = STENCILS[how.method]
            stencils = [(c, shifts * step, coefficients / step) for c in range(size)]
            plan = ShiftPlan.from_columns(size, stencils)
            return plan.displacements, lambda values: plan.combined(values[:, None])[0]
        step = SPSA_STEP if how.epsilon is None else how.epsilon
        directions = [self._rng.choice([-1.0, 1.0], size) for _ in range(how.resamplings)]
        sides = np.concatenate([directions, np.negative(directions)])
        return sides * step, lambda values: values @ sides / (2 * how.resamplings * step)

    def _values(self, points: Sequence[FloatArray]) -> list[float]:
        values: list[float] = []
        for i in range(0, len(points), self._grouped):
            group = points[i : i + self._grouped]
            argument = group[0].copy() if len(group) == 1 else np.array(group)
            returned = self._fun(argument)
            numbers = _numbers(returned)
            if numbers is None or numbers.shape != (len(group),):
                hint = (
                    "" if len(group) == 1 else " Set max_evals_grouped=1 if it takes one at a time."
                )
                self._refuse(
                    f"Expected the objective to return {len(group)} real number(s) for points of "
                    f"shape {argument.shape}; got {shown(returned)}.{hint}",
                    " Return a number such as loss.item(), or an array of them.",
                )
            for point, number in zip(group, numbers.tolist(), strict=True):
                if not math.isfinite(number):
                    self._refuse(f"The objective is {number} at the point {point.tolist()}.")
                values.append(number)
        self.nfev += len(points)
        return values

    def _checked_gradient(self, returned: Any, x: FloatArray) -> FloatArray:
        numbers = _numbers(returned)
        if numbers is None or numbers.shape != x.shape:
            self._refuse(
                f"Expected the gradient to be {len(x)} real numbers, one for each parameter; got "
                f"{shown(returned)}.",
                f" Return an array of shape ({len(x)},).",
            )
        if not np.isfinite(numbers).all():
            self._refuse(f"The gradient is {numbers.tolist()} at the point {x.tolist()}.")
        return numbers

    def _refuse(self, message: str, advice: str = NOT_FINITE) -> Any:
        kept = (
            "No point had been evaluated before."
            if self.best_point is None
            else f"The best value before was {self.best_value:.10g}; its point is the error's "
            "best_point."
        )
        raise ObjectiveError(f"{message} {kept}{advice}", self.best_point, self.best_value)

    def _remember(self, x: FloatArray, value: float, gradient: FloatArray | None) -> None:
        if self._limits is not None:
            low, high = self._limits
            if (x < low).any() or (x > high).any():
                return
        best = self.best_point
        known = gradient is not None and best is not None and np.array_equal(x, best)
        if value < self.best_value or known:
            self.best_point, self.best_value, self.best_gradient = x.copy(), value, gradient


def _numbers(returned: Any) -> Any:
    """Return a flat float array, or ``None`` if it is not made of real numbers."""
    if returned is None:  # NumPy makes nan of it
        return None
    try:
        array = np.asarray(returned)
        if np.iscomplexobj(array) and not array.imag.any():
            array = array.real  # an expectation value that went through complex arithmetic
        return None if np.iscomplexobj(array) else array.astype(float).reshape(-1)
    except UNREADABLE:  # tensors that require a gradient among them
        return None


def numerical_gradient(gradient: Any, epsilon: Any) -> WithOptions:
    """Return how a gradient is made from values, or raise :class:`OptimizerError`."""
    if not isinstance(gradient, str) and is_named_gradient(gradient):
        if epsilon is not None:
            raise OptimizerError(
                f"Expected epsilon to be left out where the gradient has options of its own; got "
                f"{gradient} and epsilon={shown(epsilon)}."
            )
        chosen: WithOptions = gradient
        return chosen
    hint = " It is used where the algorithm gives no gradient of its own."
    require_choice(gradient, "gradient", NUMERICAL, error=OptimizerError, hint=hint)
    if epsilon is not None:
        name = f"epsilon, the step of the {gradient} gradient in radians,"
        require_real_number(epsilon, name, error=OptimizerError)
    if gradient == FiniteDifference.name:
        return FiniteDifference(epsilon)
    return SimultaneousPerturbation(epsilon)
