# SPDX-License-Identifier: Apache-2.0
"""The engine for any V2 estimator and one of the package's gradient rules."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from qiskit.primitives import BaseEstimatorV2
from qiskit.providers import BackendV2

from ..arrays import FloatArray
from ..backends.cost import Planned, usage_of_requests
from ..exceptions import GradientError
from ..primitives.kinds import binds_rightly
from ..primitives.submission import points_pub, submitted
from ..program import CircuitProgram
from ..rules import Differentiation, Rule


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
        self.rule = rule
        self.gradient_estimator = estimator if gradient_estimator is None else gradient_estimator
        self.gradient_precision = precision if gradient_precision is None else gradient_precision
        #: The circuit as transpiled for the whole backend, with its layout.
        self.isa_circuit = program.circuit
        #: The backend, if one was named, and the session or batch on it.
        self.backend: BackendV2 | None = None
        self.mode: Any = None
        #: Standard errors ``(B, O)`` of the last evaluation, where the primitive gave some.
        self.last_stds: FloatArray | None = None
        #: Standard errors ``(W,)`` of the last gradient by the weights, propagated.
        self.last_gradient_stds: FloatArray | None = None
        self._plans: dict[tuple[int, ...], tuple[Differentiation, EstimatorEngine]] = {}

    @property
    def gradient_name(self) -> str:
        """The name of the gradient in use, with its settings."""
        return repr(self.rule)

    def expval(self, values: FloatArray) -> FloatArray:
        """Return expectation values ``(B, O)`` at ``values`` ``(B, P)``; no job for no rows."""
        return self.submit(values)()

    def submit(self, values: FloatArray) -> Callable[[], FloatArray]:
        """Submit the job for :meth:`expval`, and return what waits for its values."""
        count, rows = self.program.num_observables, len(values)
        if not rows:
            return lambda: np.zeros((0, count))
        self.program.analysed.check(values)
        pub = points_pub(self.program.analysed, self.program.observables_array, values)
        # Without parameters to bind there is one point, which stands for every row.
        shape = (count, rows if self.program.circuit.parameters else 1)
        wait = submitted(self.estimator, [pub], [shape], self.precision)

        def evs() -> FloatArray:
            (evaluation,) = wait()
            found = np.broadcast_to(evaluation.evs.T, (rows, count))
            stds = evaluation.stds
            self.last_stds = (
                None if stds is None else np.array(np.broadcast_to(stds.T, (rows, count)))
            )
            return np.array(found, order="C")  # a writable copy: torch takes it over

        return evs

    def set_precision(self, precision: float | None, gradient_precision: float | None) -> None:
        """Ask for other precisions from now on."""
        self.precision, self.gradient_precision = precision, gradient_precision
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
        found: tuple[Differentiation, EstimatorEngine],
        values: FloatArray,
        cotangent: FloatArray,
        columns: tuple[int, ...],
    ) -> None:
        """Propagate the standard errors of the last shift points to the weights' gradient.

        Observables of a point are taken as independent, though they may share its shots.
        """
        d, engine = found
        self.last_gradient_stds = None
        if engine.last_stds is None:
            return
        stds = engine.last_stds.reshape(-1, len(values), self.program.num_observables)
        variances = np.zeros((len(values), len(columns)))
        for o in range(stds.shape[-1]):
            errors = d.standard_errors(values, stds[..., o])
            variances += (cotangent[:, [o]] * errors) ** 2
        of_weights = [columns.index(c) for c in self.program.weight_columns if c in columns]
        self.last_gradient_stds = np.sqrt(variances[:, of_weights].sum(0))

    def planned(self, rows: int, columns: tuple[int, ...] | None) -> list[Planned]:
        """Return the requests of a forward pass and, by some columns, of a backward pass."""
        program = self.program
        points = np.zeros((rows, len(program.parameters)))
        pub = points_pub(program.analysed, program.observables_array, points)
        requests = [Planned(self.estimator, pub, self.precision)]
        found = None if columns is None else self.evaluations_for(columns)
        if found is not None and len(columns or ()):
            d, engine = found
            points = np.zeros((rows * d.plan.num_points, len(engine.program.parameters)))
            pub = points_pub(engine.program.analysed, program.observables_array, points)
            requests.append(Planned(engine.estimator, pub, engine.precision))
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
        budget.check(usage_of_requests(shared))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_plans": {}}

    def __deepcopy__(self, memo: dict[int, Any]) -> EstimatorEngine:
        # An estimator may stand for a device or a session, of which there is one: it is shared.
        twin = copy.copy(self)
        twin._plans = {}
        memo[id(self)] = twin
        return twin
