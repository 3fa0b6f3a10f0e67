# SPDX-License-Identifier: Apache-2.0
"""The gradients of probabilities by each of the rules, on any V2 sampler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from qiskit.primitives import BaseSamplerV2

from ..rules.difference_rules import Method
from .evaluated_gradient import Transpiler
from .rule_gradients import ByAQGD, ByFiniteDifference, ByParameterShift, BySPSA
from .sampler_gradient import SamplerGradient


class ParameterShiftSamplerGradient(ByParameterShift, SamplerGradient):
    r"""Gradients of probabilities from displaced gate angles, exact on average.

    .. math:: \frac{\partial p_i}{\partial v_p} = \sum_a
        \frac{\partial \alpha_a}{\partial v_p}\,
        \tfrac12\left[p_i(\alpha + \tfrac\pi2 e_a) - p_i(\alpha - \tfrac\pi2 e_a)\right]

    It is to samplers what :class:`.ParameterShiftEstimatorGradient` is to estimators, and takes
    repeated, scaled and non-linear parameters and controlled rotations. The arguments are those of
    :class:`SamplerGradient`.

    Cost:
        Two points per gate angle that depends on a wanted parameter, for all outcomes together.

    Example:
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit_torch_bridge.gradients import ParameterShiftSamplerGradient
        >>> from qiskit_torch_bridge.primitives import BatchedStatevectorSampler
        >>> theta = Parameter("theta")
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.ry(theta, 0)
        >>> circuit.measure_all()
        >>> sampler = BatchedStatevectorSampler(seed=1)
        >>> gradient = ParameterShiftSamplerGradient(sampler, shots=100_000)
        >>> result = gradient.run([circuit], [[0.5]]).result()
        >>> {outcome: round(g, 2) for outcome, g in result.gradients[0][0].items()}
        {0: -0.24, 1: 0.24}
    """


class AQGDSamplerGradient(ByAQGD, SamplerGradient):
    r"""Gradients of probabilities from displaced circuit parameters, on the circuit as written.

    .. math:: \frac{\partial p_i}{\partial v}
        = \sum_{\mu=1}^{R} y_\mu \left[p_i(v + x_\mu) - p_i(v - x_\mu)\right]

    The frequencies, and so shifts and coefficients, follow from the gates alone, whatever is
    measured: see :class:`.AQGDEstimatorGradient`. The arguments are those of
    :class:`SamplerGradient`.

    Raises:
        GradientError: From ``run``, if a parameter enters a non-affine expression or has too
            many frequencies; use :class:`ParameterShiftSamplerGradient` there.

    Cost:
        Two points per frequency of each wanted parameter, for all outcomes together.

    Example:
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit_torch_bridge.gradients import AQGDSamplerGradient
        >>> from qiskit_torch_bridge.primitives import BatchedStatevectorSampler
        >>> theta = Parameter("theta")
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.ry(2 * theta, 0)
        >>> circuit.measure_all()
        >>> sampler = BatchedStatevectorSampler(seed=1)
        >>> gradient = AQGDSamplerGradient(sampler, shots=100_000)
        >>> result = gradient.run([circuit], [[0.5]]).result()
        >>> {outcome: round(g, 1) for outcome, g in result.gradients[0][0].items()}
        {0: -0.8, 1: 0.8}
    """


class FiniteDifferenceSamplerGradient(ByFiniteDifference, SamplerGradient):
    r"""Approximate gradients of probabilities from difference quotients.

    .. math:: \frac{\partial p_i}{\partial v} \approx \frac{p_i(v + h) - p_i(v - h)}{2h}

    The step that suits the shots is the one of expectation values: of a probability both the noise
    and the derivatives are at most half as large. Prefer an analytic gradient where one applies.

    Args:
        sampler: Any V2 sampler.
        epsilon: The step ``h``, and
        method: the kind of difference, as for :class:`.FiniteDifference`.
        shots, transpiler, transpiler_options: As for :class:`SamplerGradient`.

    Raises:
        GradientError: If ``epsilon`` is not a positive finite number or ``method`` is unknown.

    Cost:
        Two points per wanted parameter (central), or one per parameter and one for all.

    Example:
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit_torch_bridge.gradients import FiniteDifferenceSamplerGradient
        >>> from qiskit_torch_bridge.primitives import BatchedStatevectorSampler
        >>> theta = Parameter("theta")
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.ry(theta, 0)
        >>> circuit.measure_all()
        >>> sampler = BatchedStatevectorSampler(seed=1)
        >>> gradient = FiniteDifferenceSamplerGradient(sampler, epsilon=0.2, shots=100_000)
        >>> result = gradient.run([circuit], [[0.5]]).result()
        >>> {outcome: round(g, 1) for outcome, g in result.gradients[0][0].items()}
        {0: -0.2, 1: 0.2}
    """

    def __init__(
        self,
        sampler: BaseSamplerV2,
        epsilon: float | None = None,
        method: Method = "central",
        shots: int | None = None,
        *,
        transpiler: Transpiler | None = None,
        transpiler_options: Mapping[str, Any] | None = None,
    ) -> None:
        self._choose(epsilon, method)
        super().__init__(
            sampler, shots, transpiler=transpiler, transpiler_options=transpiler_options
        )


class SPSASamplerGradient(BySPSA, SamplerGradient):
    r"""Estimate gradients of probabilities at two points, whatever the number of parameters.

    .. math:: \frac{\partial p_i}{\partial v} \approx
        \frac{p_i(v + h\Delta) - p_i(v - h\Delta)}{2h}\, \Delta

    with random signs :math:`\Delta` for every row of values, the same for all outcomes. It is right
    on average; see :class:`.SPSAEstimatorGradient`.

    Args:
        sampler: Any V2 sampler.
        epsilon: The step ``h``, as for :class:`.SimultaneousPerturbation`.
        resamplings: How many directions are averaged.
        seed: Makes the directions reproducible.
        shots, transpiler, transpiler_options: As for :class:`SamplerGradient`.

    Raises:
        GradientError: If ``epsilon`` is not a positive finite number, or ``resamplings`` no
            positive whole number.
        InputTypeError: If ``seed`` is neither a whole number from 0 up nor a generator.

    Cost:
        ``2 * resamplings`` points for each row of values.

    Example:
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit_torch_bridge.gradients import SPSASamplerGradient
        >>> from qiskit_torch_bridge.primitives import BatchedStatevectorSampler
        >>> theta = Parameter("theta")
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.ry(theta, 0)
        >>> circuit.measure_all()
        >>> sampler = BatchedStatevectorSampler(seed=1)
        >>> gradient = SPSASamplerGradient(sampler, epsilon=0.2, shots=100_000, seed=1)
        >>> result = gradient.run([circuit], [[0.5]]).result()
        >>> {outcome: round(g, 1) for outcome, g in result.gradients[0][0].items()}
        {0: -0.2, 1: 0.2}
    """

    def __init__(
        self,
        sampler: BaseSamplerV2,
        epsilon: float | None = None,
        shots: int | None = None,
        *,
        resamplings: int = 1,
        seed: int | np.random.Generator | None = None,
        transpiler: Transpiler | None = None,
        transpiler_options: Mapping[str, Any] | None = None,
    ) -> None:
        self._choose(epsilon, resamplings, seed)
        super().__init__(
            sampler, shots, transpiler=transpiler, transpiler_options=transpiler_options
        )
