# SPDX-License-Identifier: Apache-2.0
"""The half of an engine that evaluates values by jobs, and gradients that are more evaluations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..arrays import FloatArray
from ..jobs import Dispatching
from ..jobs.budget import PlannedRequest, count_planned_usage
from ..primitives.capabilities import innermost
from ..program import CircuitProgram
from ..rules import Differentiation
from .evaluators import Evaluator
from .interface import Gradients, Values, Wanted


class MeasuredForward:
    """The half of an engine that evaluates values.

    Args:
        forward: Does it.
    """

    stands_alone = False

    def __init__(self, forward: Evaluator) -> None:
        self.forward = forward
        self.program = forward.program

    @property
    def precision(self) -> float | None:
        """The precision of a forward pass; ``None`` for the primitive's default."""
        return self.forward.precision

    def evaluate(self, x: FloatArray, w: FloatArray, keep: bool = False) -> Values:
        """Evaluate all rows in one job; there is nothing to keep."""
        return self.submit(x, w)()

    def submit(self, x: FloatArray, w: FloatArray) -> Callable[[], Values]:
        """Submit the job, and return what waits for its result."""
        wait = self.forward.submit(self.program.placed(x, w))

        def values() -> Values:
            found = wait()
            return Values(found.values, found.stds)

        return values

    def plan(self, rows: int, columns: tuple[int, ...] | None) -> list[PlannedRequest]:
        """Return the requests of a step."""
        raise NotImplementedError

    @property
    def _dispatching(self) -> Dispatching | None:
        """What makes the jobs and has a budget, if anything does."""
        found = innermost(self.forward.primitive)
        return found if isinstance(found, Dispatching) else None

    @property
    def is_limited(self) -> bool:
        """Whether there is a budget."""
        return self._dispatching is not None and self._dispatching.budget.limited

    def check_budget(self, rows: int, columns: tuple[int, ...]) -> None:
        """Raise :class:`.BudgetError` if a forward pass, and a backward one, would exceed it."""
        dispatching = self._dispatching
        if dispatching is None or dispatching.entries.known(1):
            return  # paid for by an earlier process; what is not is looked at when it is submitted
        budget, requests = dispatching.budget, self.plan(rows, columns or None)
        shared = [r for r in requests if getattr(innermost(r.primitive), "budget", None) is budget]
        budget.check(count_planned_usage(shared))

    def random_sources(self) -> dict[str, object]:
        """Return the primitive and, where the engine has them, its gradient's parts."""
        return {} if self.forward.primitive is None else {"estimator": self.forward.primitive}


def split_columns(program: CircuitProgram, wanted: Wanted) -> tuple[tuple[int, ...], int]:
    """Return the columns of the wanted gradients, and how many of them are inputs."""
    inputs = program.input_columns if wanted[0] else ()
    return inputs + (program.trained_columns if wanted[1] else ()), len(inputs)


def by_roles(
    by_columns: FloatArray,
    x: FloatArray,
    w: FloatArray,
    program: CircuitProgram,
    split: int,
    stds: FloatArray | None = None,
) -> Gradients:
    """Return gradients ``(B, C)`` as those of inputs, and of weights in their shape."""
    gx, gw = by_columns[:, :split], np.zeros_like(w)
    found = by_columns[:, split:]
    if found.shape[1]:
        gw[:, list(program.trained)] = found.sum(0, keepdims=True) if len(w) == 1 else found
    return Gradients(gx if gx.shape == x.shape else np.zeros_like(x), gw, stds)


def differentiate_by_points(
    d: Differentiation,
    target: Evaluator,
    x: FloatArray,
    w: FloatArray,
    cotangent: FloatArray,
    program: CircuitProgram,
    wanted: Wanted,
) -> Gradients:
    """Carry out a plan of evaluations in one job, and return the vector-Jacobian products."""
    values = program.placed(x, w)
    points = d.points(values)  # (S, B, K)
    shifts, rows, width = points.shape
    found = target.evaluate(points.reshape(shifts * rows, width))
    evs = found.values.reshape(shifts, rows, program.num_outputs)
    _, split = split_columns(program, wanted)
    stds = None
    if wanted[1]:
        of_sums = found.errors_of_sums(np.tile(cotangent, (shifts, 1)))
        if of_sums is not None:
            errors = d.standard_errors(values, of_sums.reshape(shifts, rows))
            squares = errors[:, split:] ** 2
            stds = np.sqrt(squares.sum(0) if len(w) == 1 else squares)
    return by_roles(d.combine(values, (evs * cotangent).sum(-1)), x, w, program, split, stds)
