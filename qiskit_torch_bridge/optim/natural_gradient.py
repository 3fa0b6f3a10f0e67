# SPDX-License-Identifier: Apache-2.0
"""The quantum natural gradient: steps of equal length in the space of states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from qiskit_algorithms.gradients import QFI, BaseQGT
from torch import Tensor

from ..arguments import require_callable, shown
from ..arrays import FloatArray
from ..exceptions import ObjectiveError, OptimizerError, OptimizerTypeError
from .data_parallel import has_several_processes
from .metric import Approximation, FubiniStudyMetric
from .quantum_optimizer import (
    Group,
    Params,
    QuantumOptimizer,
    check_number,
    to_array,
    to_tensor,
)

Metric = Callable[..., FloatArray]
"""From weights ``(W,)``, and inputs ``(B, I)`` where there are some, to the metric ``(W, W)``."""


class QuantumNaturalGradient(QuantumOptimizer):
    r"""Gradient descent in the geometry of the circuit's states.

    .. math:: w \leftarrow w - \eta\, (G(w) + \lambda)^{-1}\, \nabla L(w)

    with the Fubini-Study metric :math:`G` of the circuit (J. Stokes, J. Izaac, N. Killoran,
    G. Carleo, Quantum 4, 269 (2020), arXiv:1909.02108).

    Args:
        params: A :class:`.TorchQuantumModule`, or a module that contains some: their weights are
            optimized, and train a network's other weights with an optimizer of ``torch.optim``
            next to it. Or parameters, with ``metric``; each group may have a ``metric`` of its own.
        lr: The learning rate :math:`\eta`.
        metric: Takes weights ``(W,)`` and returns the metric ``(W, W)``, for example a
            :class:`.FubiniStudyMetric`. Default: that of each module, exactly simulated.
        approximation: ``"full"``, ``"block-diagonal"`` or ``"diagonal"``; with modules.
        qgt: With modules: an object of qiskit-algorithms, ``LinCombQGT(estimator)`` or ``QFI``,
            that measures the metric on a primitive.
        damping: The number :math:`\lambda` added to the metric's diagonal, which bounds a step
            where the state does not depend on some weight. With 0 the pseudo-inverse is taken.

    Raises:
        OptimizerTypeError: If there is no quantum module and no metric.
        OptimizerError: If an option is out of range, or gradients are missing in ``step``.
        ObjectiveError: If the loss or a gradient is not finite; the parameters are then as before
            the step.

    For a module with inputs the metric is the average over the inputs it has received since the
    last step; under ``DistributedDataParallel`` over those of all processes.

    Cost:
        One metric per step: on the exact engine about that of ``W`` expectation values, and
        ``W**3`` operations for the solution.

    Example:
        >>> import torch
        >>> from qiskit.circuit import ParameterVector, QuantumCircuit
        >>> from qiskit_torch_bridge import TorchQuantumModule
        >>> from qiskit_torch_bridge.optim import QuantumNaturalGradient
        >>> theta = ParameterVector("theta", 2)
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.rx(theta[0], 0), circuit.ry(theta[1], 0)
        >>> node = TorchQuantumModule(circuit, "Z", initial_weights=[0.5, 0.3])
        >>> optimizer = QuantumNaturalGradient(node, lr=0.2)
        >>> for _ in range(30):
        ...     optimizer.zero_grad()
        ...     loss = node().sum()
        ...     loss.backward()
        ...     _ = optimizer.step()
        >>> round(loss.item(), 3)
        -1.0
    """

    def __init__(
        self,
        params: Params,
        lr: float = 0.1,
        *,
        metric: Metric | None = None,
        approximation: Approximation = "full",
        qgt: BaseQGT | QFI | None = None,
        damping: float = 1e-3,
    ) -> None:
        self._metrics: dict[Tensor, Metric] = {}
        self._common = metric
        super().__init__(params, {"lr": lr, "damping": damping}, records_inputs=True)
        if self._module_of and metric is not None:
            raise OptimizerError(
                "A module brings the metric of its circuit; give module.parameters() together "
                "with metric=, or leave metric out."
            )
        if not self._module_of and (approximation != "full" or qgt is not None):
            raise OptimizerError(
                "approximation and qgt are for modules; with parameters give "
                "metric=FubiniStudyMetric(circuit, approximation, qgt)."
            )
        for weight, module in self._module_of.items():
            self._metrics[weight] = FubiniStudyMetric(module.program, approximation, qgt)
        self._replicas.listen()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._replicas.listen()

    def _prepare_group(self, group: Group) -> None:
        check_number(group["lr"], "lr", zero=True)
        check_number(group["damping"], "damping", zero=True)
        metric = group.pop("metric", self._common)  # no state to be saved
        for parameter in group["params"]:
            if parameter in self._module_of:
                continue
            if not callable(metric):
                found = "alone" if metric is None else f"and {shown(metric)}"
                raise OptimizerTypeError(
                    "Expected a TorchQuantumModule, or parameters together with metric=, a "
                    "function from weights (W,) to a matrix (W, W) such as "
                    f"FubiniStudyMetric(circuit); got parameters {found}."
                )
            self._metrics[parameter] = metric

    @torch.no_grad()
    def step(  # type: ignore[override]
        self, closure: Callable[[], Tensor | float | None] | None = None
    ) -> Tensor | float | None:
        """Take one step along the gradients that are there; the closure computes them if given.

        Returns:
            What the closure returned, or ``None``.
        """
        loss = None
        if closure is not None:
            require_callable(closure, "closure", "a function of nothing", error=OptimizerTypeError)
            with torch.enable_grad(), self._replicas.watched():
                loss = closure()
            if loss is not None:
                self._read_loss(loss)
        elif has_several_processes() and not self._replicas.listening:
            raise OptimizerError(
                "torch.distributed was initialised after this optimizer was made, which therefore "
                "cannot know whether gradients are averaged over processes. Make the optimizer "
                "after init_process_group(), or give step a closure."
            )
        wanted = [(p, group) for p, group in self._parameters() if p.grad is not None]
        if not wanted:
            raise OptimizerError(
                "No parameter has a gradient. Call loss.backward() before step(), or give step a "
                "closure that does."
            )
        gradients = [to_array(p.grad) for p, _ in wanted if p.grad is not None]
        for gradient in gradients:
            if not np.isfinite(gradient).all():
                raise ObjectiveError(
                    f"The gradient is not finite: {gradient}. The parameters are those at which "
                    "the step began; lower the learning rate, or look at the loss."
                )
        metrics = self._average_metrics([p for p, _ in wanted])
        directions = [
            solve_damped(metric, gradient, float(group["damping"]))
            for (_, group), metric, gradient in zip(wanted, metrics, gradients, strict=True)
        ]
        for (parameter, group), direction in zip(wanted, directions, strict=True):
            parameter.sub_(to_tensor(float(group["lr"]) * direction, parameter))
        self._recorder.forget()
        self._replicas.forget()
        return loss

    def _average_metrics(self, parameters: list[Tensor]) -> list[FloatArray]:
        """Return the metrics, averaged over the processes that share a batch."""
        metrics = [self._compute_metric(p) for p in parameters]
        numbers = self._replicas.mean(np.concatenate([m.reshape(-1) for m in metrics]))
        if not np.isfinite(numbers).all():
            raise OptimizerError("Expected a finite metric; got one with infinities or NaN.")
        places = np.cumsum([m.size for m in metrics])[:-1]
        parts = np.split(numbers, places)
        return [part.reshape(m.shape) for part, m in zip(parts, metrics, strict=True)]

    def _compute_metric(self, parameter: Tensor) -> FloatArray:
        metric = self._metrics[parameter](self._weights_at(parameter), *self._inputs_of(parameter))
        found = np.asarray(metric, dtype=float)
        count = parameter.numel()
        if found.shape != (count, count):
            raise OptimizerError(
                f"Expected a metric of shape ({count}, {count}); got shape {found.shape}."
            )
        return found


def solve_damped(metric: FloatArray, gradient: FloatArray, damping: float) -> FloatArray:
    """Return the solution of ``(metric + damping) d = gradient`` that has the smallest norm.

    Noise may give a measured metric negative eigenvalues; they count as zero.
    """
    values, vectors = np.linalg.eigh((metric + metric.T) / 2)
    values = np.maximum(values, 0.0) + damping
    tiny = values <= len(values) * np.finfo(float).eps * values.max(initial=0.0)
    inverse = np.where(tiny, 0.0, 1 / np.where(tiny, 1.0, values))
    return np.asarray(vectors @ (inverse * (vectors.T @ gradient)), dtype=float)
