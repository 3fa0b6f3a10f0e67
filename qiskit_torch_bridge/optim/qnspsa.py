# SPDX-License-Identifier: Apache-2.0
"""Natural gradient by simultaneous perturbation: six evaluations per step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from qiskit_algorithms.state_fidelities import BaseStateFidelity
from torch import Tensor

from ..arguments import shown
from ..arrays import FloatArray
from ..exceptions import OptimizerError, OptimizerTypeError
from .base import Recorder, as_tensor, check_positive, check_whole, numbers_of
from .metric import StateFidelity
from .spsa import SPSA


class QNSPSA(SPSA):
    r"""Quantum natural SPSA: SPSA whose steps follow a sampled estimate of the metric.

    Each step samples, with random signs :math:`\Delta_1, \Delta_2`, one estimate

    .. math:: \hat G = -\frac{\delta F}{4 c^2}\,\frac{\Delta_1\Delta_2^T + \Delta_2\Delta_1^T}{2},
        \qquad \delta F = F(c\Delta_1 + c\Delta_2) - F(c\Delta_1)
        - F(-c\Delta_1 + c\Delta_2) + F(-c\Delta_1)

    from fidelities :math:`F(d) = |\langle\psi(w)|\psi(w + d)\rangle|^2`, averages it with those of
    all steps before and the identity, and solves
    :math:`(\sqrt{\bar G^2} + \lambda)\, d = \hat g` (J. Gacon, C. Zoufal, G. Carleo, S. Woerner,
    Quantum 5, 567 (2021), arXiv:2103.09232).

    Args:
        params: A module that contains :class:`.TorchQuantumModule`, or parameters together with
            ``fidelity``.
        lr: The learning rate.
        fidelity: Takes weights ``(W,)`` and others ``(K, W)`` and returns the fidelities ``(K,)``,
            for example a :class:`.StateFidelity`; with modules also an object of
            qiskit-algorithms, ``ComputeUncompute(sampler)``, that measures them. Default: exactly
            simulated.
        damping: The number :math:`\lambda`.
        metric_resamplings: Estimates of the metric to average per step.
        seed: Seeds the directions.
        **options: The other options of :class:`.SPSA`.

    Raises:
        OptimizerTypeError: If there is no quantum module and no fidelity.
        OptimizerError: If an option is out of range.

    Cost:
        ``2 * resamplings`` evaluations of the loss and ``4 * metric_resamplings`` fidelities, which
        need one circuit of twice the depth each on a device. One evaluation more with ``blocking``.

    Example:
        >>> import torch
        >>> from qiskit.circuit import ParameterVector, QuantumCircuit
        >>> from qiskit_torch_bridge import TorchQuantumModule
        >>> from qiskit_torch_bridge.optim import QNSPSA
        >>> theta = ParameterVector("theta", 2)
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.rx(theta[0], 0), circuit.ry(theta[1], 0)
        >>> node = TorchQuantumModule(circuit, "Z", initial_weights=[0.5, 0.3])
        >>> optimizer = QNSPSA(node, lr=0.1, seed=3)
        >>> for _ in range(150):
        ...     _ = optimizer.step(lambda: node().sum())
        >>> round(node().item(), 1)
        -1.0
    """

    def __init__(
        self,
        params: Any,
        lr: float = 0.05,
        *,
        fidelity: Callable[..., FloatArray] | BaseStateFidelity | None = None,
        damping: float = 1e-2,
        metric_resamplings: int = 1,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        check_positive(damping=damping)
        check_whole(metric_resamplings=metric_resamplings)
        self._given = fidelity
        self._fidelities: dict[Tensor, Any] = {}
        self._metrics: dict[Tensor, FloatArray] = {}
        super().__init__(params, lr, seed=seed, **options)
        self.damping, self.metric_resamplings = damping, metric_resamplings
        self._recorder = Recorder(self._module_of.values())

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, which need the ``fidelity`` that was given."""
        super().add_param_group(param_group)
        fidelity, measured = self._given, isinstance(self._given, BaseStateFidelity)
        for parameter in self.param_groups[-1]["params"]:
            module = self._module_of.get(parameter)
            if module is not None and (fidelity is None or measured):
                self._fidelities[parameter] = StateFidelity(module.program, fidelity)
            elif callable(fidelity) and not measured:
                self._fidelities[parameter] = fidelity
            else:
                self.param_groups.pop()
                raise OptimizerTypeError(
                    "Expected a TorchQuantumModule, or parameters together with fidelity=, a "
                    "function of weights (W,) and others (K, W) such as StateFidelity(circuit); "
                    f"got parameters and {type(fidelity).__name__}."
                )
            self._metrics[parameter] = np.eye(parameter.numel())

    def _direction(self, gradients: list[Tensor]) -> list[Tensor]:
        directions = []
        start = [p.detach().clone() for p in self._origins]
        widths = self._widths(self._steps)
        for (parameter, _), origin, width, gradient in zip(
            self._parameters(), start, widths, gradients, strict=True
        ):
            estimate = np.mean(
                [self._sampled(parameter, origin, width) for _ in range(self.metric_resamplings)],
                axis=0,
            )
            estimate = self._replicas.mean(estimate)
            # The identity counts as one estimate, so that early metrics are not singular.
            weight = 1 / (self._steps + 1)
            average = (1 - weight) * self._metrics[parameter] + weight * estimate
            self._metrics[parameter] = average
            values, vectors = np.linalg.eigh(average)
            inverse = 1 / (np.abs(values) + self.damping)
            direction = vectors @ (inverse * (vectors.T @ numbers_of(gradient)))
            directions.append(as_tensor(direction, gradient))
        self._recorder.forget()
        return directions

    def _estimate(self, closure: Any, start: list[Tensor]) -> tuple[float, list[Tensor]]:
        self._origins = start
        self._recorder.forget()
        self._recorder.active = True
        try:
            return super()._estimate(closure, start)
        finally:
            self._recorder.active = False

    def _sampled(self, parameter: Tensor, origin: Tensor, width: float) -> FloatArray:
        """Return one estimate of the metric at ``origin``."""
        first = numbers_of(self._generator.signs(origin))
        second = numbers_of(self._generator.signs(origin))
        weights = numbers_of(origin)
        offsets = width * np.array([first + second, first, second - first, -first])
        module = self._module_of.get(parameter)
        inputs = None if module is None else self._recorder.inputs(module)
        given = () if inputs is None else (inputs,)
        f = np.asarray(self._fidelities[parameter](weights, weights + offsets, *given), dtype=float)
        if f.shape != (4,) or not np.isfinite(f).all():
            raise OptimizerError(f"Expected 4 finite fidelities; got {shown(f)}.")
        difference = f[0] - f[1] - f[2] + f[3]
        outer = np.outer(first, second)
        return np.asarray(-difference / (4 * width**2) * (outer + outer.T) / 2, dtype=float)

    def _own_state(self) -> dict[str, Any]:
        metrics = [torch.from_numpy(m.copy()) for m in self._metrics.values()]
        return {**super()._own_state(), "metrics": metrics}

    def _set_own_state(self, state: dict[str, Any]) -> None:
        super()._set_own_state(state)
        for parameter, metric in zip(list(self._metrics), state["metrics"], strict=True):
            self._metrics[parameter] = np.array(metric.numpy())
