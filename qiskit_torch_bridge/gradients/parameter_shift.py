# SPDX-License-Identifier: Apache-2.0
"""The parameter-shift gradient on any V2 estimator."""

from __future__ import annotations

from ..rules import ParameterShiftRule
from .base import EstimatorGradient


class ParameterShiftEstimatorGradient(EstimatorGradient):
    r"""Exact gradients from displaced gate angles, with the chain rule through expressions.

    .. math:: \frac{\partial f}{\partial v_p} = \sum_a
        \frac{\partial \alpha_a}{\partial v_p}\,
        \tfrac12\left[f(\alpha + \tfrac\pi2 e_a) - f(\alpha - \tfrac\pi2 e_a)\right]

    The circuit is rewritten once, exactly, to gates whose angles each have two eigenvalues one
    apart; repeated, scaled, shifted and non-linear parameters and controlled rotations all
    follow from that. Unbiased at any number of shots.

    Args:
        estimator: Any V2 estimator.
        precision: Requested in every evaluation; default: the estimator's own.
        transpiler: Transpiles the rewritten circuit, once; for example a pass manager.
        transpiler_options: Keyword arguments for ``transpiler.run``.

    Cost:
        Two evaluations per gate angle that depends on a wanted parameter. The exact exponential of
        terms on ``k`` qubits that do not commute has up to ``2**k`` angles.

    References:
        M. Schuld et al., Phys. Rev. A 99, 032331 (2019), arXiv:1811.11184.

    Example:
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit.quantum_info import SparsePauliOp
        >>> from qiskit_torch_bridge.gradients import ParameterShiftEstimatorGradient
        >>> from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator
        >>> theta = Parameter("theta")
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.ry(theta, 0)
        >>> gradient = ParameterShiftEstimatorGradient(BatchedStatevectorEstimator())
        >>> job = gradient.run([circuit], [SparsePauliOp("Z")], [[0.5]])
        >>> job.result().gradients[0].round(6).tolist()  # -sin(0.5)
        [-0.479426]
    """

    def rule(self, precision: float | None) -> ParameterShiftRule:
        """Return the two-term rule; it is the same at any precision."""
        return ParameterShiftRule()
