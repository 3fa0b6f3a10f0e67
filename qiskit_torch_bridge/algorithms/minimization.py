# SPDX-License-Identifier: Apache-2.0
"""A function that is minimized: where from, within what, what its steps have seen, when to stop.

Algorithms hand a function over that nobody has checked. It is counted here, and differentiated if
need be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Literal, NoReturn, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike

from ..arguments import (
    UNREADABLE,
    as_real,
    require_choice,
    require_real_array,
    require_real_number,
    shown,
)
from ..arrays import FloatArray
from ..exceptions import InputError, ObjectiveError, OptimizerError
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
Function: TypeAlias = Callable[[FloatArray], ArrayLike]
"""Of points ``(P,)`` or ``(K, P)``; what it returns is not known before it is checked."""
Bounds: TypeAlias = Sequence[tuple["float | None", "float | None"]]
Numerical: TypeAlias = Literal["finite-difference", "spsa"] | WithOptions
SPSA_STEP = 0.1
"""Default step of SPSA, in radians: the estimate is noisy anyway, and this suits sampled values."""
NOT_FINITE = " Lower the learning rate, clip the gradient (clip_norm=), or look at the objective."


@dataclass
class MinimizedFunction:
    """A function of ``(P,)`` and its gradient, which remembers the best point.

    Args:
        fun: Takes ``(P,)`` and returns a number; where ``grouped`` allows, takes ``(K, P)`` and
            returns ``K`` numbers.
        jac: Takes ``(P,)`` and returns the gradient ``(P,)``; ``None`` to make one from values.
        numerical: How to make one.
        grouped: The most points that ``fun`` takes in one call; ``None`` for one at a time.
        rng: Draws the directions of SPSA.
        bounds: Lower and upper bounds; points outside are evaluated, but none is the best.

    Attributes:
        nfev: Points evaluated.
        njev: Gradients evaluated, by ``jac`` or from values.
        best_point: The point with the least value so far.
        best_value: Its value.
        best_gradient: The gradient there, if one was asked for.
    """

    fun: Function
    jac: Function | None
    _: KW_ONLY
    numerical: WithOptions
    grouped: int | None
    rng: np.random.Generator
    bounds: tuple[FloatArray, FloatArray] | None = None
    nfev: int = 0
    njev: int = 0
    best_point: FloatArray | None = None
    best_value: float = math.inf
    best_gradient: FloatArray | None = None

    def evaluate(self, x: FloatArray) -> float:
        """Return the value at ``x``."""
        (value,) = self._evaluate_all([x])
        self._remember(x, value, None)
        return value

    def differentiate(self, x: FloatArray) -> tuple[float, FloatArray]:
        """Return the value at ``x`` and the gradient there."""
        if self.jac is not None:
            value = self.evaluate(x)  # remembered even if the gradient is refused
            gradient = self._check_gradient(self.jac(x.copy()), x)
        else:
            displacements, combined = self._plan_differences(len(x))
            values = self._evaluate_all([x, *(x + displacements)])
            value, gradient = values[0], combined(np.array(values[1:]))
        self.njev += 1
        self._remember(x, value, gradient)
        return value, gradient

    def _plan_differences(self, size: int) -> tuple[FloatArray, Callable[[FloatArray], FloatArray]]:
        """Return displacements ``(S, P)``, and what makes a gradient of the values there."""
        how = self.numerical
        if isinstance(how, FiniteDifference):
            step = recommended_epsilon(None, how.method) if how.epsilon is None else how.epsilon
            shifts, coefficients = STENCILS[how.method]
            stencils = [(c, shifts * step, coefficients / step) for c in range(size)]
            plan = ShiftPlan.from_columns(size, stencils)
            return plan.displacements, lambda values: plan.combined(values[:, None])[0]
        step = SPSA_STEP if how.epsilon is None else how.epsilon
        directions = [self.rng.choice([-1.0, 1.0], size) for _ in range(how.resamplings)]
        sides = np.concatenate([directions, np.negative(directions)])
        return sides * step, lambda values: values @ sides / (2 * how.resamplings * step)

    def _evaluate_all(self, points: Sequence[FloatArray]) -> list[float]:
        values: list[float] = []
        size = self.grouped or 1
        for i in range(0, len(points), size):
            group = points[i : i + size]
            argument = group[0].copy() if len(group) == 1 else np.array(group)
            returned = self.fun(argument)
            numbers = _read_numbers(returned)
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

    def _check_gradient(self, returned: ArrayLike, x: FloatArray) -> FloatArray:
        numbers = _read_numbers(returned)
        if numbers is None or numbers.shape != x.shape:
            self._refuse(
                f"Expected the gradient to be {len(x)} real numbers, one for each parameter; got "
                f"{shown(returned)}.",
                f" Return an array of shape ({len(x)},).",
            )
        if not np.isfinite(numbers).all():
            self._refuse(f"The gradient is {numbers.tolist()} at the point {x.tolist()}.")
        return numbers

    def _refuse(self, message: str, advice: str = NOT_FINITE) -> NoReturn:
        kept = (
            "No point had been evaluated before."
            if self.best_point is None
            else f"The best value before was {self.best_value:.10g}; its point is the error's "
            "best_point."
        )
        raise ObjectiveError(f"{message} {kept}{advice}", self.best_point, self.best_value)

    def _remember(self, x: FloatArray, value: float, gradient: FloatArray | None) -> None:
        if self.bounds is not None:
            low, high = self.bounds
            if (x < low).any() or (x > high).any():
                return
        best = self.best_point
        known = gradient is not None and best is not None and np.array_equal(x, best)
        if value < self.best_value or known:
            self.best_point, self.best_value, self.best_gradient = x.copy(), value, gradient


def _read_numbers(returned: ArrayLike | None) -> FloatArray | None:
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


def read_numerical_gradient(gradient: Numerical, epsilon: float | None) -> WithOptions:
    """Return how a gradient is made from values, or raise :class:`OptimizerError`."""
    if not isinstance(gradient, str) and is_named_gradient(gradient):
        if epsilon is not None:
            raise OptimizerError(
                f"Expected epsilon to be left out where the gradient has options of its own; got "
                f"{gradient} and epsilon={shown(epsilon)}."
            )
        return gradient
    hint = " It is used where the algorithm gives no gradient of its own."
    require_choice(gradient, "gradient", NUMERICAL, error=OptimizerError, hint=hint)
    if epsilon is not None:
        name = f"epsilon, the step of the {gradient} gradient in radians,"
        require_real_number(epsilon, name, error=OptimizerError)
    if gradient == FiniteDifference.name:
        return FiniteDifference(epsilon)
    return SimultaneousPerturbation(epsilon)


def read_point(x0: ArrayLike | torch.Tensor) -> FloatArray:
    """Return the initial point as an array of its own, of shape ``(P,)``; a number is ``(1,)``."""
    given: object = x0
    if isinstance(x0, torch.Tensor) and not x0.is_meta and not x0.is_complex():
        given = (x0 if x0.dtype == torch.bool else x0.double()).detach().cpu().numpy()
    if math.isfinite(as_real(given)) or getattr(given, "shape", None) == ():
        given = [given]  # a number, as SciPy has it
    point = require_real_array(given, "the initial point", (None,))
    if not np.isfinite(point).all():
        raise InputError(
            f"Expected the initial point to be finite numbers of shape (P,); got {shown(x0)}."
        )
    return point.copy()


def read_bounds(bounds: Bounds | None, size: int) -> tuple[FloatArray, FloatArray]:
    """Return the lower and the upper bounds, infinite where there are none."""
    if bounds is None:
        return np.full(size, -np.inf), np.full(size, np.inf)
    try:
        pairs = [(low, high) for low, high in bounds]
        lower = np.array([-np.inf if a is None else a for a, _ in pairs], dtype=float)
        upper = np.array([np.inf if b is None else b for _, b in pairs], dtype=float)
    except UNREADABLE as error:
        raise InputError(
            f"Expected {size} pairs (lower, upper) as bounds, one per parameter, with None for no "
            f"limit; got {shown(bounds)}."
        ) from error
    if len(pairs) != size:
        raise InputError(
            f"Expected {size} pairs (lower, upper) as bounds, one per parameter; got "
            f"{shown(bounds)}."
        )
    if not (lower <= upper).all():
        raise InputError(f"Expected bounds (lower, upper) with lower <= upper; got {pairs}.")
    return lower, upper


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


@dataclass
class StoppingRule:
    """Tells when a run has converged."""

    tol: float | None
    gradient_tol: float | None
    patience: int | None
    min_improvement: float
    _last: float = math.inf
    _best: float = math.inf
    _waited: int = 0

    def __call__(self, value: float, gradient: FloatArray | None) -> bool:
        """Take note of a step's value and gradient, and return whether to stop after it."""
        stop = self.tol is not None and abs(value - self._last) <= self.tol
        self._last = value
        if self.gradient_tol is not None and gradient is not None:
            stop = stop or bool(np.abs(gradient).max(initial=0) <= self.gradient_tol)
        if value < self._best - self.min_improvement:
            self._best, self._waited = value, 0
        else:
            self._waited += 1
        return stop or (self.patience is not None and self._waited >= self.patience)
