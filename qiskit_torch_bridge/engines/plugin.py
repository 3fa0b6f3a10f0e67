# SPDX-License-Identifier: Apache-2.0
"""The engine for gradients from elsewhere: any ``BaseEstimatorGradient`` does the backward pass."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from qiskit.quantum_info import SparsePauliOp
from qiskit_algorithms.gradients import (
    BaseEstimatorGradient,
    FiniteDiffEstimatorGradient,
    SPSAEstimatorGradient,
)

from ..arrays import FloatArray, read_real_numbers
from ..exceptions import BridgeError, ExecutionError, GradientError, ResultError
from ..gradients.base import REAL_IN_TORCH, require_real
from ..jobs.budget import PlannedRequest
from ..primitives.evaluation import UNUSED
from ..primitives.precision import default_precision
from ..program.binding import check_differentiation
from ..program.operators import as_paulis, merge_terms
from .evaluators import Evaluator
from .interface import BOTH, Engine, Gradients, Wanted
from .measured_forward import MeasuredForward, by_roles, split_columns


@functools.singledispatch
def make_plugin_engine(gradient: object, forward: Evaluator, precision: float | None) -> Engine:
    """Return the engine that asks a gradient object for what its backward passes need.

    Args:
        gradient: An object of qiskit-algorithms' interface.
        forward: Evaluates values.
        precision: Requested from the gradient; ``None`` for its default.

    Raises:
        GradientError: If it gives gradients of something else than what is read.
    """
    raise GradientError(
        f"Expected a gradient object of qiskit-algorithms; got {type(gradient).__name__}."
    )


@make_plugin_engine.register
def _(gradient: BaseEstimatorGradient, forward: Evaluator, precision: float | None) -> Engine:
    if not forward.program.observables:
        raise GradientError(
            f"{type(gradient).__name__} gives gradients of expectation values, and "
            f"{forward.program.measurement!r} reads something else. Name the gradient, such as "
            "gradient='parameter-shift', or give one of samplers for probabilities."
        )
    return PluginEngine(forward, gradient, precision)


DROPPED = 1e-8
"""Coefficients up to this are dropped where Qiskit converts observables for a PUB."""


class PluginEngine(MeasuredForward):
    r"""Forward on an estimator, backward by a gradient object in one call of its ``run``.

    Expectation values are linear in the observable, so the cotangent :math:`c` of a row makes
    one effective observable :math:`\sum_o c_o O_o / \lVert c\rVert`, and the gradient object is
    asked for one gradient per row, whatever the number of observables. The norm is put back
    afterwards, so that a requested precision means the same as for a single observable. Gradient
    objects of other packages hand operators to Qiskit, which drops coefficients up to 1e-8: where
    that would be seen, the operator is multiplied by a number, and its gradient divided.

    Args:
        forward: Evaluates values.
        gradient: Any gradient object of qiskit-algorithms' interface.
        gradient_precision: Requested from it; ``None`` for its default.
    """

    order = 1.0

    def __init__(
        self,
        forward: Evaluator,
        gradient: BaseEstimatorGradient,
        gradient_precision: float | None = None,
    ) -> None:
        super().__init__(forward)
        self.program.analysed.check_binding()
        if not isinstance(gradient, (FiniteDiffEstimatorGradient, SPSAEstimatorGradient)):
            check_differentiation(self.program.circuit)
        self.gradient = gradient
        self.gradient_precision = gradient_precision
        self.gradient_name = type(gradient).__name__

    def vjp(
        self,
        x: FloatArray,
        w: FloatArray,
        cotangent: FloatArray,
        kept: object = None,
        wanted: Wanted = BOTH,
    ) -> Gradients:
        """Return the vector-Jacobian products, as the gradient object gives them."""
        require_real(self.gradient, REAL_IN_TORCH)  # it may have been set meanwhile
        columns, split = split_columns(self.program, wanted)
        values = self.program.placed(x, w)
        analysed = self.program.analysed
        result = np.zeros((len(values), len(columns)))
        positions = [k for k, c in enumerate(columns) if analysed.is_used(c)]
        operators, factors = self._effective_operators(cotangent)
        rows = list(operators)
        if positions and rows:
            analysed.check(values)
            (ordered,) = analysed.bindings(values).values()  # as the circuit sorts its parameters
            gradients = self._run(
                [operators[b] for b in rows],
                ordered[rows].tolist(),
                [columns[k] for k in positions],
            )
            for b, gradient in zip(rows, gradients, strict=True):
                found = self._checked(gradient, b, len(positions))
                result[b, positions] = factors[b] * found
        return by_roles(result, x, w, split)

    def _effective_operators(
        self, cotangent: FloatArray
    ) -> tuple[dict[int, SparsePauliOp], FloatArray]:
        """Return the operators of the rows that have one, and what multiplies their gradients."""
        factors = np.linalg.norm(cotangent, axis=-1)
        operators = {}
        for b in np.flatnonzero(factors).tolist():
            operator = self._effective(cotangent[b] / factors[b])
            if operator.coeffs.any():
                scale = self._scale(operator)
                operators[b] = scale * operator
                factors[b] /= scale
        return operators, factors

    def _run(
        self, operators: list[SparsePauliOp], values: list[list[float]], wanted: list[int]
    ) -> list[Any]:
        """Return one gradient for each operator, from one call of the gradient object."""
        analysed = self.program.analysed
        precision = self.gradient_precision
        options = {} if precision is None else {"precision": precision}
        try:
            found = self.gradient.run(
                [analysed.circuit] * len(operators),
                operators,
                values,
                [[analysed.parameters[c] for c in wanted]] * len(operators),
                **options,
            )
            gradients = list(found.result().gradients)
        except BridgeError:
            raise
        except Exception as error:
            raise ExecutionError(f"The gradient {self.gradient_name} failed: {error}") from error
        if len(gradients) != len(operators):
            raise ResultError(
                f"{self.gradient_name} was asked for {len(operators)} gradients and returned "
                f"{len(gradients)}."
            )
        return gradients

    def _checked(self, gradient: object, row: int, count: int) -> FloatArray:
        """Return a gradient ``(count,)``, or raise if it cannot be used."""
        try:
            block = read_real_numbers(gradient)
        except ValueError as error:
            raise ResultError(
                f"{self.gradient_name} returned no real numbers for row {row}: {error}. {UNUSED}"
            ) from error
        if block.shape != (count,) or not np.isfinite(block).all():
            raise ResultError(
                f"{self.gradient_name} returned {block!r} for row {row}; expected {count} finite "
                f"numbers. {UNUSED}"
            )
        return block

    def plan(self, rows: int, columns: tuple[int, ...] | None) -> list[PlannedRequest]:
        """Return the request of a forward pass.

        Raises:
            GradientError: For a backward pass.
        """
        if columns:
            raise GradientError(
                f"What the gradient {self.gradient_name} asks for is known to its own package "
                "only. Use cost(batch_size, backward=False), or one of this package's gradients."
            )
        return self.forward.request(rows)

    def check_budget(self, rows: int, columns: tuple[int, ...]) -> None:
        """Raise :class:`.BudgetError` if a forward pass would exceed the budget."""
        super().check_budget(rows, ())

    def at_precision(self, forward: float | None, gradient: float | None) -> PluginEngine:
        """Return the engine that asks for other precisions."""
        return PluginEngine(self.forward.at_precision(forward), self.gradient, gradient)

    def random_sources(self) -> dict[str, object]:
        """Return the estimator and the gradient object."""
        return {**super().random_sources(), "gradient": self.gradient}

    def _effective(self, weights: FloatArray) -> SparsePauliOp:
        terms = zip(weights, self.program.observables, strict=True)
        return as_paulis(merge_terms(SparsePauliOp.sum([w * as_paulis(o) for w, o in terms])))

    def _scale(self, operator: SparsePauliOp) -> float:
        """Return by what to multiply an operator of which Qiskit would drop some terms, or all.

        Where values are noisy, single terms of that size are far below the noise.
        """
        sizes = np.abs(operator.coeffs)
        precision = self.gradient_precision
        if precision is None:
            precision = self.gradient.precision
        if precision is None:
            precision = default_precision(getattr(self.gradient, "_estimator", None))
        if precision == 0:
            return 1.0 if sizes.min() > DROPPED else float(10 * DROPPED / sizes.min())
        return 1.0 if sizes.max() > DROPPED else float(1 / sizes.max())
