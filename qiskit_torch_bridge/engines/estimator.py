# SPDX-License-Identifier: Apache-2.0
"""The engine for any V2 estimator and one of the package's gradient rules."""

from __future__ import annotations

import copy
import itertools
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
from qiskit.primitives import BaseEstimatorV2
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.providers import BackendV2

from ..arguments import shown
from ..arrays import FloatArray
from ..exceptions import GradientError, MemoryLimitError
from ..free_memory import available
from ..jobs.budget import PlannedRequest, count_planned_usage
from ..primitives.evaluation import Evaluation, make_points_pub, submit
from ..primitives.kinds import binds_rightly, takes_projectors
from ..program import CircuitProgram
from ..rules import Differentiation, Rule

_names = map("#{}".format, itertools.count())
living: weakref.WeakValueDictionary[str, EstimatorEngine] = weakref.WeakValueDictionary()
"""The engines of this process by name, as long as something else holds them."""


class StandardErrors(threading.local):
    """The standard errors of the last passes of a thread; each thread sees its own."""

    values: FloatArray | None = None
    gradient: FloatArray | None = None


class EstimatorEngine:
    """Evaluates a program on an estimator, one PUB in one ``run`` whatever the batch.

    Args:
        program: The program in the form that is submitted.
        estimator: Evaluates values.
        precision: Requested forward; ``None`` for the estimator's default.
        rule: How to differentiate; ``None`` if something else does.
        gradient_estimator: Evaluates shift points; default: ``estimator``.
        gradient_precision: Requested at shift points; default: ``precision``.
    """

    def __init__(
        self,
        program: CircuitProgram,
        estimator: BaseEstimatorV2,
        precision: float | None = None,
        rule: Rule | None = None,
        *,
        gradient_estimator: BaseEstimatorV2 | None = None,
        gradient_precision: float | None = None,
    ) -> None:
        if not binds_rightly(estimator):
            program.analysed.check_binding()
        self.program = program
        self.estimator = estimator
        self.precision = precision
        #: The shots that ``precision`` stands for, if it was given as such.
        self.shots: int | None = None
        self.rule = rule
        self.gradient_estimator = estimator if gradient_estimator is None else gradient_estimator
        self.gradient_precision = precision if gradient_precision is None else gradient_precision
        #: The circuit as transpiled for the whole backend, with its layout.
        self.isa_circuit = program.circuit
        #: The backend, if one was named, and the session or batch on it.
        self.backend: BackendV2 | None = None
        self.mode: Any = None
        self._plans: dict[tuple[int, ...], tuple[Differentiation, EstimatorEngine]] = {}
        self._begin()

    def _begin(self) -> None:
        """Take a name, for what can refer to an engine by text only, and forget all passes."""
        self.name = next(_names)
        living[self.name] = self
        self._stds = StandardErrors()

    @property
    def last_stds(self) -> FloatArray | None:
        """Standard errors ``(B, O)`` of this thread's last evaluation, where there are any."""
        return self._stds.values

    @property
    def last_gradient_stds(self) -> FloatArray | None:
        """Standard errors ``(W,)`` of this thread's last gradient by the weights, propagated."""
        return self._stds.gradient

    @property
    def gradient_name(self) -> str:
        """The name of the gradient in use, with its settings."""
        return repr(self.rule)

    def evaluate(self, values: FloatArray) -> Evaluation:
        """Evaluate ``values`` ``(B, P)``: expectation values and standard errors ``(B, O)``."""
        return self.submit(values)()

    def submit(self, values: FloatArray) -> Callable[[], Evaluation]:
        """Submit the job for :meth:`evaluate`, and return what waits for it; none for no rows."""
        count, rows = self.program.num_observables, len(values)
        if not rows:
            nothing = Evaluation(np.zeros((0, count)), np.zeros((0, count)))
            return lambda: self._noted(nothing)
        self.program.analysed.check(values)
        pub = make_points_pub(self.program.analysed, self._observables, values)
        # Without parameters to bind there is one point, which stands for every row.
        shape = (count, rows if self.program.circuit.parameters else 1)
        wait = submit(self.estimator, [pub], [shape], self.precision)

        def by_row(found: FloatArray) -> FloatArray:
            # A writable copy: torch takes it over.
            return np.array(np.broadcast_to(found.T, (rows, count)), order="C")

        def evaluation() -> Evaluation:
            (found,) = wait()
            stds = None if found.stds is None else by_row(found.stds)
            return self._noted(Evaluation(by_row(found.evs), stds, found.precision))

        return evaluation

    @property
    def _observables(self) -> ObservablesArray:
        if takes_projectors(self.estimator):
            return self.program.projectors_array
        return self.program.observables_array

    def _noted(self, evaluation: Evaluation) -> Evaluation:
        self._stds.values = evaluation.stds
        return evaluation

    def values_at(self, x: FloatArray, w: FloatArray, keep: bool = False) -> tuple[FloatArray, Any]:
        """Evaluate inputs ``(B, I)`` and weights ``(1, W)`` or ``(B, W)``.

        Returns:
            Expectation values ``(B, O)``, and what :meth:`gradient_at` can use, if it is to be
            kept and there is anything.
        """
        return self.evaluate(self.program.placed(x, w)).evs, None

    def gradient_at(
        self,
        x: FloatArray,
        w: FloatArray,
        cotangent: FloatArray,
        kept: Any = None,
        wanted: tuple[bool, bool] = (True, True),
    ) -> tuple[FloatArray, FloatArray]:
        """Return the vector-Jacobian products with respect to ``x`` and ``w``, in their shapes.

        Only what is ``wanted`` is evaluated; the other is empty.
        """
        program = self.program
        columns = program.input_columns if wanted[0] else ()
        split = len(columns)
        columns += program.weight_columns if wanted[1] else ()
        both = self.vjp(program.placed(x, w), cotangent, columns, kept)
        gx, gw = both[:, :split], both[:, split:]
        return gx, gw.sum(0, keepdims=True) if len(w) == 1 else gw

    def drawn(self, columns: tuple[int, ...]) -> tuple[Differentiation, EstimatorEngine] | None:
        """Return :meth:`evaluations_for` some columns, for one gradient."""
        return self.evaluations_for(columns)

    def vjp(
        self,
        values: FloatArray,
        cotangent: FloatArray,
        columns: tuple[int, ...],
        kept: Any = None,
    ) -> FloatArray:
        """Return the vector-Jacobian product ``(B, C)`` for a cotangent ``(B, O)``."""
        found = self.drawn(columns)
        if found is None:
            raise GradientError("Expected an engine with a rule; this one has none.")
        d, engine = found
        points = d.points(values)  # (S, B, K)
        shifts, rows, width = points.shape
        evaluation = engine.evaluate(points.reshape(shifts * rows, width))
        evs = evaluation.evs.reshape(shifts, rows, self.program.num_observables)
        self.note_gradient_errors(d, evaluation.stds, values, cotangent, columns)
        return d.combine(values, (evs * cotangent).sum(-1))

    def set_precision(
        self,
        precision: float | None,
        gradient_precision: float | None,
        shots: int | None = None,
    ) -> None:
        """Ask for other precisions from now on, one of which may stand for a number of shots."""
        self.precision, self.gradient_precision = precision, gradient_precision
        self.shots = shots
        self._plans.clear()

    def differentiation(
        self, columns: tuple[int, ...]
    ) -> tuple[Differentiation, EstimatorEngine] | None:
        """Return the plan for the derivatives by ``columns`` and the engine for its points."""
        return self.evaluations_for(columns)

    def evaluations_for(
        self, columns: tuple[int, ...]
    ) -> tuple[Differentiation, EstimatorEngine] | None:
        """Return what :meth:`differentiation` does, also where torch is not to take part."""
        if self.rule is None:
            return None
        if columns not in self._plans:
            d = self.rule.differentiation(self.program.analysed, columns)
            engine = EstimatorEngine(
                self.program.on(d.target),
                self.gradient_estimator,
                self.gradient_precision,
                self.rule,
            )
            self._plans[columns] = (d, engine)
        return self._plans[columns]

    def note_gradient_errors(
        self,
        d: Differentiation,
        stds: FloatArray | None,
        values: FloatArray,
        cotangent: FloatArray,
        columns: tuple[int, ...],
    ) -> None:
        """Propagate standard errors ``(S * B, O)`` of shift points to the weights' gradient.

        Observables of a point are taken as independent, though they may share its shots.
        """
        self._stds.gradient = None
        if stds is None:
            return
        stds = stds.reshape(d.plan.num_points, len(values), self.program.num_observables)
        variances = np.zeros((len(values), len(columns)))
        for o in range(stds.shape[-1]):
            errors = d.standard_errors(values, stds[..., o])
            variances += (cotangent[:, [o]] * errors) ** 2
        place = {c: k for k, c in enumerate(columns)}
        of_weights = [place[c] for c in self.program.weight_columns if c in place]
        self._stds.gradient = np.sqrt(variances[:, of_weights].sum(0))

    def planned(self, rows: int, columns: tuple[int, ...] | None) -> list[PlannedRequest]:
        """Return the requests of a forward pass and, by some columns, of a backward pass."""
        program = self.program
        points = _no_points(rows, len(program.parameters))
        pub = make_points_pub(program.analysed, self._observables, points)
        requests = [PlannedRequest(self.estimator, pub, self.precision)]
        found = None if columns is None else self.evaluations_for(columns)
        if found is not None and len(columns or ()):
            d, engine = found
            points = _no_points(rows * d.plan.num_points, len(engine.program.parameters))
            pub = make_points_pub(engine.program.analysed, engine._observables, points)
            requests.append(PlannedRequest(engine.estimator, pub, engine.precision))
        elif columns:
            raise GradientError(
                f"What the gradient {self.gradient_name} asks for is known to its own package "
                "only. Use cost(batch_size, backward=False), or one of this package's gradients."
            )
        return requests

    @property
    def is_limited(self) -> bool:
        """Whether there is a budget."""
        budget = getattr(self.estimator, "budget", None)
        return budget is not None and budget.limited

    def check_budget(self, rows: int, columns: tuple[int, ...]) -> None:
        """Raise :class:`.BudgetError` if a forward pass, and a backward one, would exceed it."""
        budget: Any = getattr(self.estimator, "budget", None)
        if getattr(self.estimator, "entries").known(1):  # noqa: B009 - a dispatching estimator
            return  # paid for by an earlier process; what is not is looked at when it is submitted
        known = columns if self.rule is not None else ()  # else only its own package knows
        planned = self.planned(rows, known or None)
        shared = [p for p in planned if getattr(p.estimator, "budget", None) is budget]
        budget.check(count_planned_usage(shared))

    def __getstate__(self) -> dict[str, Any]:
        kept = {k: v for k, v in self.__dict__.items() if k not in ("name", "_stds")}
        return {**kept, "_plans": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    def __deepcopy__(self, memo: dict[int, Any]) -> EstimatorEngine:
        # An estimator may stand for a device or a session, of which there is one: it is shared.
        twin = copy.copy(self)  # by way of the state, so with a name of its own
        memo[id(self)] = twin
        return twin


def _no_points(count: int, width: int) -> FloatArray:
    """Return points whose values do not matter, if there is room for so many."""
    if 8 * count * width > available() // 4:
        raise MemoryLimitError(
            f"Expected a request that fits into memory; got one of {shown(count)} points of "
            f"{width} parameters. Ask for fewer rows: costs grow in proportion."
        )
    return np.zeros((count, width))
