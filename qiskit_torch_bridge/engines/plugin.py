# SPDX-License-Identifier: Apache-2.0
"""The engine for gradients from elsewhere: any ``BaseEstimatorGradient`` does the backward pass."""

from __future__ import annotations

import numpy as np
from qiskit.primitives import BaseEstimatorV2
from qiskit.quantum_info import SparsePauliOp
from qiskit_algorithms.gradients import (
    BaseEstimatorGradient,
    FiniteDiffEstimatorGradient,
    SPSAEstimatorGradient,
)

from ..arrays import FloatArray, read_real_numbers
from ..exceptions import BridgeError, ExecutionError, ResultError
from ..gradients.derivative_type import REAL_IN_TORCH, require_real
from ..primitives.precision import default_precision
from ..primitives.submission import UNUSED
from ..program import CircuitProgram
from ..program.binding import check_differentiation
from ..program.operators import as_paulis, merge_terms
from .estimator import EstimatorEngine

DROPPED = 1e-8
"""Coefficients up to this are dropped where Qiskit converts observables for a PUB."""


class PluginEngine(EstimatorEngine):
    r"""Forward on an estimator, backward by a gradient object in one call of its ``run``.

    Expectation values are linear in the observable, so the cotangent :math:`c` of a row makes
    one effective observable :math:`\sum_o c_o O_o / \lVert c\rVert`, and the gradient object is
    asked for one gradient per row, whatever the number of observables. The norm is put back
    afterwards, so that a requested precision means the same as for a single observable. Gradient
    objects of other packages hand operators to Qiskit, which drops coefficients up to 1e-8: where
    that would be seen, the operator is multiplied by a number, and its gradient divided.
    """

    def __init__(
        self,
        program: CircuitProgram,
        estimator: BaseEstimatorV2,
        precision: float | None,
        gradient: BaseEstimatorGradient,
        gradient_precision: float | None = None,
    ) -> None:
        super().__init__(program, estimator, precision, gradient_precision=gradient_precision)
        program.analysed.check_binding()
        if not isinstance(gradient, (FiniteDiffEstimatorGradient, SPSAEstimatorGradient)):
            check_differentiation(program.circuit)
        self.gradient = gradient
        self._name = type(gradient).__name__

    @property
    def gradient_name(self) -> str:
        """The name of the gradient object's class."""
        return self._name

    def vjp(
        self,
        values: FloatArray,
        cotangent: FloatArray,
        columns: tuple[int, ...],
        kept: object = None,
    ) -> FloatArray:
        """Return the vector-Jacobian product ``(B, C)`` for a cotangent ``(B, O)``."""
        require_real(self.gradient, REAL_IN_TORCH)  # it may have been set meanwhile
        analysed = self.program.analysed
        result = np.zeros((len(values), len(columns)))
        wanted = [c for c in columns if analysed.is_used(c)]
        norms = np.linalg.norm(cotangent, axis=-1)
        effective = {}
        for b in np.flatnonzero(norms).tolist():
            operator = self._effective(cotangent[b] / norms[b])
            if operator.coeffs.any():
                scale = self._scale(operator)
                effective[b] = scale * operator
                norms[b] /= scale
        rows = list(effective)
        if not wanted or not len(rows):
            return result
        analysed.check(values)
        (ordered,) = analysed.bindings(values).values()  # as the circuit sorts its parameters
        precision = self.gradient_precision
        options = {} if precision is None else {"precision": precision}
        try:
            gradients = (
                self.gradient.run(
                    [analysed.circuit] * len(rows),
                    [effective[b] for b in rows],
                    [ordered[b].tolist() for b in rows],
                    [[analysed.parameters[c] for c in wanted]] * len(rows),
                    **options,
                )
                .result()
                .gradients
            )
        except BridgeError:
            raise
        except Exception as error:
            raise ExecutionError(f"The gradient {self._name} failed: {error}") from error
        if len(gradients) != len(rows):
            raise ResultError(
                f"{self._name} was asked for {len(rows)} gradients and returned {len(gradients)}."
            )
        place = {c: k for k, c in enumerate(columns)}
        positions = [place[c] for c in wanted]
        for b, gradient in zip(rows, gradients, strict=True):
            try:
                block = read_real_numbers(gradient)
            except ValueError as error:
                raise ResultError(
                    f"{self._name} returned no real numbers for row {b}: {error}. {UNUSED}"
                ) from error
            if block.shape != (len(wanted),) or not np.isfinite(block).all():
                raise ResultError(
                    f"{self._name} returned {block!r} for row {b}; expected {len(wanted)} finite "
                    f"numbers. {UNUSED}"
                )
            result[b, positions] = norms[b] * block
        return result

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
