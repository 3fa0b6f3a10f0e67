# SPDX-License-Identifier: Apache-2.0
"""A program on an estimator: one PUB in one ``run``, whatever the batch and the observables."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from qiskit.primitives import BaseEstimatorV2
from qiskit.primitives.containers.observables_array import ObservablesArray

from ..arguments import shown
from ..arrays import FloatArray
from ..exceptions import MemoryLimitError
from ..jobs import DispatchingEstimator
from ..jobs.budget import PlannedRequest, count_planned_usage
from ..memory import available
from ..primitives.capabilities import binds_rightly, takes_projectors
from ..primitives.evaluation import Evaluation, make_points_pub, submit
from ..program import CircuitProgram
from ..rules import Differentiation
from .interface import Gradients, Values, Wanted


class Estimation:
    """Evaluates a program at points ``(N, P)`` on an estimator.

    Args:
        program: The program in the form that is submitted.
        estimator: Any V2 estimator.
        precision: Requested; ``None`` for the estimator's default.

    Raises:
        ExpressionError: If the estimator would bind a parameter expression wrongly.
    """

    def __init__(
        self, program: CircuitProgram, estimator: BaseEstimatorV2, precision: float | None = None
    ) -> None:
        if not binds_rightly(estimator):
            program.analysed.check_binding()
        self.program = program
        self.estimator = estimator
        self.precision = precision

    def evaluate(self, points: FloatArray) -> Evaluation:
        """Return expectation values and standard errors ``(N, O)``."""
        return self.submit(points)()

    def submit(self, points: FloatArray) -> Callable[[], Evaluation]:
        """Submit the job, and return what waits for it; there is none for no points."""
        count, rows = self.program.num_outputs, len(points)
        if not rows:
            nothing = Evaluation(np.zeros((0, count)), np.zeros((0, count)))
            return lambda: nothing
        self.program.analysed.check(points)
        pub = make_points_pub(self.program.analysed, self._observables, points)
        # Without parameters to bind there is one point, which stands for every row.
        shape = (count, rows if self.program.circuit.parameters else 1)
        wait = submit(self.estimator, [pub], [shape], self.precision)

        def by_row(found: FloatArray) -> FloatArray:
            # A writable copy: torch takes it over.
            return np.array(np.broadcast_to(found.T, (rows, count)), order="C")

        def evaluation() -> Evaluation:
            (found,) = wait()
            stds = None if found.stds is None else by_row(found.stds)
            return Evaluation(by_row(found.evs), stds, found.precision)

        return evaluation

    @property
    def _observables(self) -> ObservablesArray:
        if takes_projectors(self.estimator):
            return self.program.projectors_array
        return self.program.observables_array

    def request(self, count: int) -> PlannedRequest:
        """Return the request for ``count`` points, if there is room for so many."""
        width = len(self.program.parameters)
        if 8 * count * width > available() // 4:
            raise MemoryLimitError(
                f"Expected a request that fits into memory; got one of {shown(count)} points of "
                f"{width} parameters. Ask for fewer rows: costs grow in proportion."
            )
        points = np.zeros((count, width))  # whose values do not matter
        pub = make_points_pub(self.program.analysed, self._observables, points)
        return PlannedRequest(self.estimator, pub, self.precision)

    def at_precision(self, precision: float | None) -> Estimation:
        """Return the same with another precision."""
        return Estimation(self.program, self.estimator, precision)


class MeasuredForward:
    """The half of an engine that evaluates values on an estimator.

    Args:
        forward: Does it.
    """

    stands_alone = False

    def __init__(self, forward: Estimation) -> None:
        self.forward = forward
        self.program = forward.program

    @property
    def precision(self) -> float | None:
        """The precision of a forward pass; ``None`` for the estimator's default."""
        return self.forward.precision

    def evaluate(self, x: FloatArray, w: FloatArray, keep: bool = False) -> Values:
        """Evaluate all rows in one job; there is nothing to keep."""
        return self.submit(x, w)()

    def submit(self, x: FloatArray, w: FloatArray) -> Callable[[], Values]:
        """Submit the job, and return what waits for its result."""
        wait = self.forward.submit(self.program.placed(x, w))

        def values() -> Values:
            found = wait()
            return Values(found.evs, found.stds)

        return values

    def plan(self, rows: int, columns: tuple[int, ...] | None) -> list[PlannedRequest]:
        """Return the requests of a step."""
        raise NotImplementedError

    @property
    def is_limited(self) -> bool:
        """Whether there is a budget."""
        estimator = self.forward.estimator
        return isinstance(estimator, DispatchingEstimator) and estimator.budget.limited

    def check_budget(self, rows: int, columns: tuple[int, ...]) -> None:
        """Raise :class:`.BudgetError` if a forward pass, and a backward one, would exceed it."""
        estimator = self.forward.estimator
        if not isinstance(estimator, DispatchingEstimator) or estimator.entries.known(1):
            return  # paid for by an earlier process; what is not is looked at when it is submitted
        requests = self.plan(rows, columns or None)
        shared = [r for r in requests if getattr(r.primitive, "budget", None) is estimator.budget]
        estimator.budget.check(count_planned_usage(shared))

    def random_sources(self) -> dict[str, object]:
        """Return the estimator and, where the engine has them, its gradient's parts."""
        return {"estimator": self.forward.estimator}


def split_columns(program: CircuitProgram, wanted: Wanted) -> tuple[tuple[int, ...], int]:
    """Return the columns of the wanted gradients, and how many of them are inputs."""
    inputs = program.input_columns if wanted[0] else ()
    return inputs + (program.weight_columns if wanted[1] else ()), len(inputs)


def by_roles(
    by_columns: FloatArray,
    x: FloatArray,
    w: FloatArray,
    split: int,
    stds: FloatArray | None = None,
) -> Gradients:
    """Return gradients ``(B, C)`` as those of inputs, and of weights in their shape."""
    gx, gw = by_columns[:, :split], by_columns[:, split:]
    if len(w) == 1:
        gw = gw.sum(0, keepdims=True)
    return Gradients(
        gx if gx.shape == x.shape else np.zeros_like(x),
        gw if gw.shape == w.shape else np.zeros_like(w),
        stds,
    )


def differentiate_by_points(
    d: Differentiation,
    target: Estimation,
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
    evaluation = target.evaluate(points.reshape(shifts * rows, width))
    evs = evaluation.evs.reshape(shifts, rows, program.num_outputs)
    _, split = split_columns(program, wanted)
    stds = None
    if evaluation.stds is not None and wanted[1]:
        stds = _weight_errors(d, evaluation.stds, values, cotangent, split)
    return by_roles(d.combine(values, (evs * cotangent).sum(-1)), x, w, split, stds)


def _weight_errors(
    d: Differentiation, stds: FloatArray, values: FloatArray, cotangent: FloatArray, split: int
) -> FloatArray:
    """Propagate standard errors ``(S * B, O)`` of shift points to the weights' gradient ``(W,)``.

    Observables of a point are taken as independent, though they may share its shots.
    """
    stds = stds.reshape(d.plan.num_points, *cotangent.shape)
    variances = sum(
        (cotangent[:, [o]] * d.standard_errors(values, stds[..., o])) ** 2
        for o in range(stds.shape[-1])
    )
    errors: FloatArray = np.sqrt(np.asarray(variances)[:, split:].sum(0))
    return errors
