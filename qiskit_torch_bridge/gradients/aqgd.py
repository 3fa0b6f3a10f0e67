# SPDX-License-Identifier: Apache-2.0
"""Analytic quantum gradient descent's gradient: the circuit untouched, its parameters displaced."""

from __future__ import annotations

from ..rules import MultiFrequencyRule
from .base import EstimatorGradient


class AQGDEstimatorGradient(EstimatorGradient):
    r"""Exact gradients from displaced circuit parameters, on the circuit as it was written.

    .. math:: \frac{\partial f}{\partial v}
        = \sum_{\mu=1}^{R} y_\mu \left[f(v + x_\mu) - f(v - x_\mu)\right]

    For a parameter in one Pauli rotation this is half of :math:`f(v+\pi/2) - f(v-\pi/2)`. For
    repeated or scaled parameters and controlled rotations the frequencies follow from the gates'
    generators, and the general rule for them applies. Nothing is rewritten, so a transpiled
    circuit stays one; only evolution gates whose terms do not commute are written out, in the form
    that the estimator evaluates, and on Aer what it does not know or would bind wrongly. Unbiased
    at any number of shots.

    Args:
        estimator: Any V2 estimator.
        precision: Requested in every evaluation; default: the estimator's own.
        transpiler: Transpiles each distinct circuit once; for example a pass manager.
        transpiler_options: Keyword arguments for ``transpiler.run``.

    Raises:
        GradientError: From ``run``, if a parameter enters a non-affine expression or has too
            many frequencies; use :class:`.ParameterShiftEstimatorGradient` there.

    Cost:
        Two evaluations per frequency of each wanted parameter.

    References:
        D. Wierichs et al., Quantum 6, 677 (2022), arXiv:2107.12390.

    Example:
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit.quantum_info import SparsePauliOp
        >>> from qiskit_torch_bridge.gradients import AQGDEstimatorGradient
        >>> from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator
        >>> theta = Parameter("theta")
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.ry(2 * theta, 0), circuit.ry(theta, 0)
        >>> gradient = AQGDEstimatorGradient(BatchedStatevectorEstimator())
        >>> job = gradient.run([circuit], [SparsePauliOp("Z")], [[0.5]])
        >>> job.result().gradients[0].round(6).tolist()  # -3 sin(1.5)
        [-2.992485]
    """

    def rule(self, precision: float | None) -> MultiFrequencyRule:
        """Return the multi-frequency rule; it is the same at any precision."""
        return MultiFrequencyRule()
