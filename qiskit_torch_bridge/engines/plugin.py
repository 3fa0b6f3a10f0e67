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

from ..arrays import FloatArray
from ..exceptions import BridgeError, ExecutionError, ResultError
from ..program import CircuitProgram
from ..program.binding import check_differentiation
from .estimator import EstimatorEngine


class PluginEngine(EstimatorEngine):
    r"""Forward on an estimator, backward by a gradient object in one call of its ``run``.

    Expectation values are linear in the observable, so the cotangent :math:`c` of a row makes
    one effective observable :math:`\sum_o c_o O_o / \lVert c\rVert`, and the gradient object is
    asked for one gradient per row, whatever the number of observables. The norm is put back
    afterwards, so that a requested precision means the same as for a single observable.
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
        self, values: FloatArray, cotangent: FloatArray, columns: tuple[int, ...]
    ) -> FloatArray:
        """Return the vector-Jacobian product ``(B, C)`` for a cotangent ``(B, O)``."""
        analysed = self.program.analysed
        result = np.zeros((len(values), len(columns)))
        wanted = [c for c in columns if analysed.is_used(c)]
        norms = np.linalg.norm(cotangent, axis=-1)
        effective = {
            int(b): self._effective(cotangent[b] / norms[b]) for b in np.flatnonzero(norms)
        }
        rows = [b for b, operator in effective.items() if operator.coeffs.any()]
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
        positions = [columns.index(c) for c in wanted]
        for b, gradient in zip(rows, gradients, strict=True):
            block = np.real(np.asarray(gradient)).astype(float)
            if block.shape != (len(wanted),) or not np.isfinite(block).all():
                raise ResultError(
                    f"{self._name} returned {block!r} for row {b}; expected {len(wanted)} finite "
                    "numbers. Nothing was used; weights are unchanged."
                )
            result[b, positions] = norms[b] * block
        return result

    def _effective(self, weights: FloatArray) -> SparsePauliOp:
        terms = zip(weights, self.program.observables, strict=True)
        return SparsePauliOp.sum([w * o for w, o in terms]).simplify()
