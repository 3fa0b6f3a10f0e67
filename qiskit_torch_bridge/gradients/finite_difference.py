# SPDX-License-Identifier: Apache-2.0
"""The finite-difference gradient on any V2 estimator."""

from __future__ import annotations

from typing import Any

from qiskit.primitives import BaseEstimatorV2

from ..rules import FiniteDifferenceRule, recommended_epsilon
from ..rules.finite_difference import Method
from .base import EstimatorGradient


class FiniteDifferenceEstimatorGradient(EstimatorGradient):
    r"""Approximate gradients from difference quotients of the circuit's own parameters.

    .. math:: \frac{\partial f}{\partial v} \approx \frac{f(v + h) - f(v - h)}{2h}

    It needs nothing but the function, so it works on every circuit. With shots its error is
    about :math:`\sigma / (\sqrt2 h)` from noise and :math:`h^2/6` from the step: at 100 shots and
    :math:`h = 0.1` the noise alone is 0.7. Prefer an analytic gradient where one applies.

    Args:
        estimator: Any V2 estimator.
        epsilon: The step ``h`` in radians. Default: :func:`.recommended_epsilon` at the precision
            in use (the requested one, or the estimator's ``default_precision``; 1/64 if it does
            not tell).
        method: ``"central"`` (error of order ``h**2``), ``"forward"`` or ``"backward"`` (``h``).
        precision: Requested in every evaluation; default: the estimator's own.
        transpiler: Transpiles each distinct circuit once; for example a pass manager.
        transpiler_options: Keyword arguments for ``transpiler.run``.

    Raises:
        GradientError: If ``epsilon`` is not a positive finite number or ``method`` is unknown.

    Cost:
        Two evaluations per wanted parameter (central), or one per parameter and one for all.

    Example:
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit.quantum_info import SparsePauliOp
        >>> from qiskit_torch_bridge.gradients import FiniteDifferenceEstimatorGradient
        >>> from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator
        >>> theta = Parameter("theta")
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.ry(theta, 0)
        >>> estimator = BatchedStatevectorEstimator()
        >>> gradient = FiniteDifferenceEstimatorGradient(estimator, epsilon=1e-4)
        >>> job = gradient.run([circuit], [SparsePauliOp("Z")], [[0.5]])
        >>> job.result().gradients[0].round(6).tolist()  # -sin(0.5)
        [-0.479426]
    """

    def __init__(
        self,
        estimator: BaseEstimatorV2,
        epsilon: float | None = None,
        method: Method = "central",
        precision: float | None = None,
        *,
        transpiler: Any | None = None,
        transpiler_options: dict[str, Any] | None = None,
    ) -> None:
        # Building a rule checks both arguments; where epsilon is open any valid one will do.
        FiniteDifferenceRule(1.0 if epsilon is None else epsilon, method)
        super().__init__(
            estimator, precision, transpiler=transpiler, transpiler_options=transpiler_options
        )
        self._epsilon = epsilon
        self._method: Method = method

    @property
    def epsilon(self) -> float | None:
        """The step in radians; ``None`` if it is chosen from the precision."""
        return self._epsilon

    @property
    def method(self) -> Method:
        """The kind of difference: ``"central"``, ``"forward"`` or ``"backward"``."""
        return self._method

    def rule(self, precision: float | None) -> FiniteDifferenceRule:
        """Return the rule with the given step, or with the one that suits ``precision``."""
        if self.epsilon is not None:
            return FiniteDifferenceRule(self.epsilon, self.method)
        return FiniteDifferenceRule(recommended_epsilon(precision, self.method), self.method)
