# SPDX-License-Identifier: Apache-2.0
"""Simultaneous perturbation: a few evaluations per step, whatever the number of weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from qiskit_algorithms.state_fidelities import BaseStateFidelity
from torch import Tensor

from ..arguments import require_bool, require_whole_number, shown
from ..arrays import FloatArray
from ..exceptions import OptimizerError, OptimizerTypeError
from .metric import StateFidelity
from .quantum_optimizer import (
    Closure,
    Group,
    Params,
    QuantumOptimizer,
    SignGenerator,
    check_number,
    to_array,
    to_tensor,
)

Fidelity = Callable[..., FloatArray]
"""From weights ``(W,)``, others ``(K, W)`` and inputs, if there are any, to fidelities ``(K,)``."""


class SPSA(QuantumOptimizer):
    r"""Simultaneous perturbation stochastic approximation.

    .. math:: \hat g_k = \frac{L(w + c_k \Delta) - L(w - c_k \Delta)}{2 c_k}\, \Delta, \qquad
        w \leftarrow w - a_k\, \hat g_k,

    with random signs :math:`\Delta`, :math:`a_k = \mathrm{lr}\,/\,(A + k)^{\alpha}` and
    :math:`c_k = \mathrm{perturbation}\,/\,k^{\gamma}` for steps :math:`k = 1, 2, \dots`
    (J. C. Spall, IEEE Trans. Aerosp. Electron. Syst. 34, 817 (1998), which the default exponents
    are from).

    Args:
        params: Parameters, or a module that contains :class:`.TorchQuantumModule` for the weights
            of these.
        lr: The learning rate.
        perturbation: The displacement of the first step, in radians. Choose it larger than the
            noise of the loss divided by its slope.
        alpha: The exponent by which steps get shorter; 0 leaves that to a scheduler.
        gamma: The exponent by which displacements get smaller.
        stability: The number :math:`A`; about a tenth of all steps keeps early ones in bounds.
        resamplings: Directions to average per step.
        trust_region: Whether to shorten steps to a Euclidean norm of at most one.
        blocking: Whether to undo a step after which the loss is larger than before by more than
            ``allowed_increase``; costs one more evaluation per step.
        allowed_increase: See ``blocking``; twice the noise of the loss is a good choice.
        seed: Seeds the directions.

    Raises:
        OptimizerError: If an option is out of range, or the closure is missing or calls
            ``backward()``.
        ObjectiveError: If the loss is not finite; the parameters are then as before the step.

    Cost:
        ``2 * resamplings`` evaluations of the loss per step, no gradients.

    Example:
        >>> import torch
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit_torch_bridge import TorchQuantumModule
        >>> from qiskit_torch_bridge.optim import SPSA
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.ry(Parameter("theta"), 0)
        >>> node = TorchQuantumModule(circuit, "Z", initial_weights=[0.5])
        >>> optimizer = SPSA(node, lr=0.5, seed=1)
        >>> for _ in range(100):
        ...     _ = optimizer.step(lambda: node().sum())  # no backward()
        >>> round(node().item(), 2)
        -1.0
    """

    _uses_fidelity = False

    def __init__(
        self,
        params: Params,
        lr: float = 0.1,
        *,
        perturbation: float = 0.1,
        alpha: float = 0.602,
        gamma: float = 0.101,
        stability: float = 0.0,
        resamplings: int = 1,
        trust_region: bool = False,
        blocking: bool = False,
        allowed_increase: float = 0.0,
        seed: int | None = None,
    ) -> None:
        check_number(allowed_increase, "allowed_increase", zero=True)
        require_whole_number(resamplings, "resamplings", 1, error=OptimizerError)
        require_bool(trust_region, "trust_region", error=OptimizerTypeError)
        require_bool(blocking, "blocking", error=OptimizerTypeError)
        defaults = {
            "lr": lr,
            "perturbation": perturbation,
            "alpha": alpha,
            "gamma": gamma,
            "stability": stability,
        }
        super().__init__(params, defaults, records_inputs=self._uses_fidelity)
        self.resamplings, self.trust_region = resamplings, trust_region
        self.blocking, self.allowed_increase = blocking, allowed_increase
        self._generator = SignGenerator(seed)
        self._steps = 0
        self._accepted: float | None = None  # the loss that blocking compares with

    def _prepare_group(self, group: Group) -> None:
        check_number(group["perturbation"], "perturbation")
        for name in ("lr", "alpha", "gamma", "stability"):
            check_number(group[name], name, zero=True)

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> float:  # type: ignore[override]
        """Take one step.

        Args:
            closure: Returns the loss, without calling ``backward()``.

        Returns:
            The mean of the losses evaluated to either side, an estimate of the loss before the
            step.
        """
        closure = self._require_closure(closure)
        before = self._own_state()
        self._steps += 1
        try:
            with self._restored_on_error() as start:
                return self._take_step(closure, start)
        except BaseException:
            # Other directions than those that failed come next.
            self._set_own_state({**before, "random_state": self._generator.state})
            raise

    def _take_step(self, closure: Closure, start: list[Tensor]) -> float:
        if self.blocking and self._accepted is None:
            self._accepted = self._evaluate(closure)
            self._replicas.agree(self._generator, self._generator.state)
        loss, gradients = self._estimate(closure, start)
        steps = [
            gain * d
            for gain, d in zip(self._compute_gains(), self._find_directions(gradients), strict=True)
        ]
        length = math.sqrt(sum(float(s.double().square().sum()) for s in steps))
        shorter = 1 / length if self.trust_region and length > 1 else 1.0
        self._displace(start, [-shorter * step for step in steps])
        if self.blocking and self._accepted is not None:
            after = self._evaluate(closure)
            if after > self._accepted + self.allowed_increase:
                self._restore(start)
            else:
                self._accepted = after
        return loss

    def calibrate(
        self, closure: Closure, *, target: float = 2 * math.pi / 10, steps: int = 25
    ) -> float:
        """Set the learning rate so that first steps move each weight by about ``target``.

        The mean slope along random directions tells how long steps are (A. Kandala et al., Nature
        549, 242 (2017), supplement).

        Args:
            closure: Returns the loss.
            target: In radians.
            steps: Directions to average; two evaluations each.

        Returns:
            The learning rate.
        """
        self._require_closure(closure)
        check_number(target, "target")
        require_whole_number(steps, "steps", 1, error=OptimizerError)
        slopes = []
        with self._restored_on_error() as start:
            for _ in range(steps):
                (plus, minus), _ = self._evaluate_pair(closure, start, step=1)
                slopes.append(abs(plus - minus) / 2)
        self._restore(start)
        slope = float(np.mean(slopes))
        if slope < 1e-10:
            raise OptimizerError(
                "The loss does not change along random directions here, so that no learning rate "
                "can be derived. Start elsewhere, use a larger perturbation, or set lr yourself."
            )
        for group in self.param_groups:
            slope_per_radian = slope / group["perturbation"]
            group["lr"] = target / slope_per_radian * (group["stability"] + 1) ** group["alpha"]
        return float(self.param_groups[0]["lr"])

    def _compute_gains(self) -> list[float]:
        return [
            float(g["lr"]) / (g["stability"] + self._steps) ** g["alpha"]
            for _, g in self._parameters()
        ]

    def _compute_widths(self, step: int) -> list[float]:
        return [g["perturbation"] / step ** g["gamma"] for _, g in self._parameters()]

    def _evaluate_pair(
        self, closure: Closure, start: list[Tensor], step: int
    ) -> tuple[tuple[float, float], list[Tensor]]:
        """Return the losses to either side of a random direction, and the direction."""
        before = self._generator.state
        signs = [self._generator.draw(p) for p in start]
        widths = self._compute_widths(step)
        losses = []
        for side in (1.0, -1.0):
            self._displace(start, [side * w * s for w, s in zip(widths, signs, strict=True)])
            losses.append(self._evaluate(closure))
            if self._replicas.agree(self._generator, before):
                return self._evaluate_pair(closure, start, step)
        return (losses[0], losses[1]), signs

    @torch.no_grad()
    def _displace(self, start: list[Tensor], steps: list[Tensor]) -> None:
        for (parameter, _), origin, step in zip(self._parameters(), start, steps, strict=True):
            parameter.copy_(origin + step)

    def _estimate(self, closure: Closure, start: list[Tensor]) -> tuple[float, list[Tensor]]:
        total, gradients = 0.0, [torch.zeros_like(p) for p in start]
        for _ in range(self.resamplings):
            (plus, minus), signs = self._evaluate_pair(closure, start, self._steps)
            total += (plus + minus) / 2
            for gradient, sign, width in zip(
                gradients, signs, self._compute_widths(self._steps), strict=True
            ):
                gradient += (plus - minus) / (2 * width * self.resamplings) * sign
        return total / self.resamplings, gradients

    def _find_directions(self, gradients: list[Tensor]) -> list[Tensor]:
        """Return the directions of the step, given estimates of the gradients."""
        return gradients

    def _own_state(self) -> dict[str, Any]:
        return {
            "steps": self._steps,
            "random_state": self._generator.state,
            "accepted_loss": self._accepted,
        }

    def _set_own_state(self, state: dict[str, Any]) -> None:
        self._steps = state["steps"]
        self._generator.state = state["random_state"]
        self._accepted = state["accepted_loss"]


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

    _uses_fidelity = True

    def __init__(
        self,
        params: Params,
        lr: float = 0.05,
        *,
        fidelity: Fidelity | BaseStateFidelity | None = None,
        damping: float = 1e-2,
        metric_resamplings: int = 1,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        check_number(damping, "damping")
        require_whole_number(metric_resamplings, "metric_resamplings", 1, error=OptimizerError)
        self._given = fidelity
        self._fidelities: dict[Tensor, Fidelity] = {}
        self._metrics: dict[Tensor, FloatArray] = {}
        super().__init__(params, lr, seed=seed, **options)
        self.damping, self.metric_resamplings = damping, metric_resamplings

    def _prepare_group(self, group: Group) -> None:
        super()._prepare_group(group)
        given = self._given
        for parameter in group["params"]:
            module = self._module_of.get(parameter)
            if module is not None and (given is None or isinstance(given, BaseStateFidelity)):
                self._fidelities[parameter] = StateFidelity(module.program, given)
            elif callable(given) and not isinstance(given, BaseStateFidelity):
                self._fidelities[parameter] = given
            else:
                raise OptimizerTypeError(
                    "Expected a TorchQuantumModule, or parameters together with fidelity=, a "
                    "function of weights (W,) and others (K, W) such as StateFidelity(circuit); "
                    f"got parameters and {type(given).__name__}."
                )
            self._metrics[parameter] = np.eye(parameter.numel())

    def _find_directions(self, gradients: list[Tensor]) -> list[Tensor]:
        directions = []
        widths = self._compute_widths(self._steps)
        for (parameter, _), origin, width, gradient in zip(
            self._parameters(), self._origins, widths, gradients, strict=True
        ):
            sampled = range(self.metric_resamplings)
            estimates = [self._sample_metric(parameter, origin, width) for _ in sampled]
            estimate = self._replicas.mean(np.mean(estimates, axis=0))
            # The identity counts as one estimate, so that early metrics are not singular.
            weight = 1 / (self._steps + 1)
            average = (1 - weight) * self._metrics[parameter] + weight * estimate
            self._metrics[parameter] = average
            values, vectors = np.linalg.eigh(average)
            inverse = 1 / (np.abs(values) + self.damping)
            direction = vectors @ (inverse * (vectors.T @ to_array(gradient)))
            directions.append(to_tensor(direction, gradient))
        self._recorder.forget()
        return directions

    def _estimate(self, closure: Closure, start: list[Tensor]) -> tuple[float, list[Tensor]]:
        self._origins = start
        self._recorder.forget()
        self._recorder.active = True
        try:
            return super()._estimate(closure, start)
        finally:
            self._recorder.active = False

    def _sample_metric(self, parameter: Tensor, origin: Tensor, width: float) -> FloatArray:
        first = to_array(self._generator.draw(origin))
        second = to_array(self._generator.draw(origin))
        weights = to_array(origin)
        offsets = width * np.array([first + second, first, second - first, -first])
        fidelity, inputs = self._fidelities[parameter], self._inputs_of(parameter)
        points = [self._weights_at(parameter, w) for w in (weights, weights + offsets)]
        f = np.asarray(fidelity(*points, *inputs), dtype=float)
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
