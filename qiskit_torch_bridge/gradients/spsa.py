# SPDX-License-Identifier: Apache-2.0
"""The gradient by simultaneous perturbation on any V2 estimator."""

from __future__ import annotations

from typing import Any

import numpy as np
from qiskit.primitives import BaseEstimatorV2

from ..arguments import make_random_generator
from ..rules import SPSARule, recommended_epsilon
from .base import EstimatorGradient


class SPSAEstimatorGradient(EstimatorGradient):
    r"""Estimate gradients from two evaluations, whatever the number of parameters.

    .. math:: \frac{\partial f}{\partial v} \approx
        \frac{f(v + h\Delta) - f(v - h\Delta)}{2h}\, \Delta

    with random signs :math:`\Delta` for every row of values. It is right on average (up to an error
    of order :math:`h^2`) and off by about the length of the gradient in each component: many cheap
    steps in the place of few dear ones.

    Args:
        estimator: Any V2 estimator.
        epsilon: The step ``h`` in radians. Default: :func:`.recommended_epsilon` at the precision
            in use (the requested one, or the estimator's ``default_precision``; 1/64 if it does
            not tell).
        precision: Requested in every evaluation; default: the estimator's own.
        resamplings: How many directions are averaged.
        seed: Makes the directions reproducible.
        transpiler: Transpiles each distinct circuit once; for example a pass manager.
        transpiler_options: Keyword arguments for ``transpiler.run``.

    Raises:
        GradientError: If ``epsilon`` is not a positive finite number, or ``resamplings`` no
            positive whole number.

    Cost:
        ``2 * resamplings`` evaluations for each row of values.

    Example:
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit.quantum_info import SparsePauliOp
        >>> from qiskit_torch_bridge.gradients import SPSAEstimatorGradient
        >>> from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator
        >>> theta = Parameter("theta")
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.ry(theta, 0)
        >>> gradient = SPSAEstimatorGradient(BatchedStatevectorEstimator(), seed=1)
        >>> job = gradient.run([circuit], [SparsePauliOp("Z")], [[0.5]])
        >>> job.result().gradients[0].round(6).tolist()  # -sin(0.5): there is one direction only
        [-0.479426]

    References:
        J. C. Spall, IEEE Trans. Autom. Control 37, 332 (1992).
    """

    def __init__(
        self,
        estimator: BaseEstimatorV2,
        epsilon: float | None = None,
        precision: float | None = None,
        *,
        resamplings: int = 1,
        seed: int | np.random.Generator | None = None,
        transpiler: Any | None = None,
        transpiler_options: dict[str, Any] | None = None,
    ) -> None:
        self._generator = make_random_generator(seed)
        # Checks both arguments; where epsilon is open any valid one will do.
        SPSARule(1.0 if epsilon is None else epsilon, resamplings, self._generator)
        super().__init__(
            estimator, precision, transpiler=transpiler, transpiler_options=transpiler_options
        )
        self._epsilon, self._resamplings = epsilon, resamplings

    @property
    def epsilon(self) -> float | None:
        """The step in radians; ``None`` if it is chosen from the precision."""
        return self._epsilon

    def rule(self, precision: float | None) -> SPSARule:
        """Return the rule with the given step, or with the one that suits ``precision``."""
        epsilon = recommended_epsilon(precision) if self.epsilon is None else self.epsilon
        return SPSARule(epsilon, self._resamplings, self._generator)
