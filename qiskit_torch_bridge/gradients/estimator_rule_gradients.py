# SPDX-License-Identifier: Apache-2.0
"""The gradients by each of the rules, on any V2 estimator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from qiskit.primitives import BaseEstimatorV2

from ..rules.difference_rules import Method
from .estimator_gradient import EstimatorGradient
from .evaluated_gradient import Transpiler
from .rule_gradients import ByAQGD, ByFiniteDifference, ByParameterShift, BySPSA


class ParameterShiftEstimatorGradient(ByParameterShift, EstimatorGradient):
    r"""Exact gradients from displaced gate angles, with the chain rule through expressions.

    .. math:: \frac{\partial f}{\partial v_p} = \sum_a
        \frac{\partial \alpha_a}{\partial v_p}\,
        \tfrac12\left[f(\alpha + \tfrac\pi2 e_a) - f(\alpha - \tfrac\pi2 e_a)\right]

    The circuit is rewritten once, exactly, to gates whose angles each have two eigenvalues one
    apart; repeated, scaled, shifted and non-linear parameters and controlled rotations all
    follow from that. Unbiased at any number of shots. The arguments are those of
    :class:`EstimatorGradient`.

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


class AQGDEstimatorGradient(ByAQGD, EstimatorGradient):
    r"""Exact gradients from displaced circuit parameters, on the circuit as it was written.

    .. math:: \frac{\partial f}{\partial v}
        = \sum_{\mu=1}^{R} y_\mu \left[f(v + x_\mu) - f(v - x_\mu)\right]

    For a parameter in one Pauli rotation this is half of :math:`f(v+\pi/2) - f(v-\pi/2)`. For
    repeated or scaled parameters and controlled rotations the frequencies follow from the gates'
    generators, and the general rule for them applies. Nothing is rewritten, so a transpiled
    circuit stays one; only evolution gates whose terms do not commute are written out, in the form
    that the estimator evaluates, and on Aer what it does not know or would bind wrongly. Unbiased
    at any number of shots. The arguments are those of :class:`EstimatorGradient`.

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


class FiniteDifferenceEstimatorGradient(ByFiniteDifference, EstimatorGradient):
    r"""Approximate gradients from difference quotients of the circuit's own parameters.

    .. math:: \frac{\partial f}{\partial v} \approx \frac{f(v + h) - f(v - h)}{2h}

    It needs nothing but the function, so it works on every circuit. With shots its error is
    about :math:`\sigma / (\sqrt2 h)` from noise and :math:`h^2/6` from the step: at 100 shots and
    :math:`h = 0.1` the noise alone is 0.7. Prefer an analytic gradient where one applies.

    Args:
        estimator: Any V2 estimator.
        epsilon: The step ``h``, and
        method: the kind of difference, as for :class:`.FiniteDifference`.
        precision, transpiler, transpiler_options: As for :class:`EstimatorGradient`.

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
        transpiler: Transpiler | None = None,
        transpiler_options: Mapping[str, Any] | None = None,
    ) -> None:
        self._choose(epsilon, method)
        super().__init__(
            estimator, precision, transpiler=transpiler, transpiler_options=transpiler_options
        )


class SPSAEstimatorGradient(BySPSA, EstimatorGradient):
    r"""Estimate gradients from two evaluations, whatever the number of parameters.

    .. math:: \frac{\partial f}{\partial v} \approx
        \frac{f(v + h\Delta) - f(v - h\Delta)}{2h}\, \Delta

    with random signs :math:`\Delta` for every row of values. It is right on average (up to an error
    of order :math:`h^2`) and off by about the length of the gradient in each component: many cheap
    steps in the place of few expensive ones.

    Args:
        estimator: Any V2 estimator.
        epsilon: The step ``h``, as for :class:`.SimultaneousPerturbation`.
        resamplings: How many directions are averaged.
        seed: Makes the directions reproducible.
        precision, transpiler, transpiler_options: As for :class:`EstimatorGradient`.

    Raises:
        GradientError: If ``epsilon`` is not a positive finite number, or ``resamplings`` no
            positive whole number.
        InputTypeError: If ``seed`` is neither a whole number from 0 up nor a generator.

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
        transpiler: Transpiler | None = None,
        transpiler_options: Mapping[str, Any] | None = None,
    ) -> None:
        self._choose(epsilon, resamplings, seed)
        super().__init__(
            estimator, precision, transpiler=transpiler, transpiler_options=transpiler_options
        )
