# SPDX-License-Identifier: Apache-2.0
"""Simultaneous perturbation: two evaluations per step, whatever the number of weights."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..arguments import require_bool
from ..exceptions import OptimizerError, OptimizerTypeError
from .base import (
    Closure,
    Generator,
    QuantumOptimizer,
    check_positive,
    check_whole,
    required,
    value_of,
)


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

    def __init__(
        self,
        params: Any,
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
        check_positive(zero=True, allowed_increase=allowed_increase)
        check_whole(resamplings=resamplings)
        require_bool(trust_region, "trust_region", error=OptimizerTypeError)
        require_bool(blocking, "blocking", error=OptimizerTypeError)
        defaults = {
            "lr": lr,
            "perturbation": perturbation,
            "alpha": alpha,
            "gamma": gamma,
            "stability": stability,
        }
        super().__init__(params, defaults)
        self.resamplings, self.trust_region = resamplings, trust_region
        self.blocking, self.allowed_increase = blocking, allowed_increase
        self._generator = Generator(seed)
        self._steps = 0
        self._accepted: float | None = None  # the loss that blocking compares with

    def _check_options(self, group: dict[str, Any]) -> None:
        check_positive(perturbation=group["perturbation"])
        others = ("lr", "alpha", "gamma", "stability")
        check_positive(zero=True, **{name: group[name] for name in others})

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> float:  # type: ignore[override]
        """Take one step.

        Args:
            closure: Returns the loss, without calling ``backward()``.

        Returns:
            The mean of the losses evaluated to either side, an estimate of the loss before the
            step.
        """
        closure = required(closure, self)
        before = self._own_state()
        self._steps += 1
        start = [p.clone() for p, _ in self._parameters()]
        try:
            if self.blocking and self._accepted is None:
                self._accepted = value_of(closure, self)
                self._replicas.agree(self._generator, self._generator.state)
            loss, gradients = self._estimate(closure, start)
            steps = [
                gain * d for gain, d in zip(self._gains(), self._direction(gradients), strict=True)
            ]
            length = math.sqrt(sum(float(s.double().square().sum()) for s in steps))
            shorter = 1 / length if self.trust_region and length > 1 else 1.0
            for (parameter, _), origin, taken in zip(self._parameters(), start, steps, strict=True):
                parameter.copy_(origin - shorter * taken)
            if self.blocking and self._accepted is not None:
                after = value_of(closure, self)
                if after > self._accepted + self.allowed_increase:
                    self._restore(start)
                else:
                    self._accepted = after
        except BaseException:
            self._restore(start)
            # Other directions than those that failed come next.
            self._set_own_state({**before, "random_state": self._generator.state})
            raise
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
        required(closure, self)
        check_positive(target=target)
        check_whole(steps=steps)
        start = [p.detach().clone() for p, _ in self._parameters()]
        slopes = []
        try:
            for _ in range(steps):
                (plus, minus), _ = self._pair(closure, start, step=1)
                slopes.append(abs(plus - minus) / 2)
        finally:
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

    def _gains(self) -> list[float]:
        return [
            float(g["lr"]) / (g["stability"] + self._steps) ** g["alpha"]
            for _, g in self._parameters()
        ]

    def _widths(self, step: int) -> list[float]:
        return [g["perturbation"] / step ** g["gamma"] for _, g in self._parameters()]

    def _pair(
        self, closure: Closure, start: list[Tensor], step: int
    ) -> tuple[tuple[float, float], list[Tensor]]:
        """Return the losses to either side of a random direction, and the direction."""
        before = self._generator.state
        signs = [self._generator.signs(p) for p in start]
        losses = []
        for side in (1.0, -1.0):
            self._displace(start, signs, self._widths(step), side)
            losses.append(value_of(closure, self))
            if self._replicas.agree(self._generator, before):
                return self._pair(closure, start, step)
        return (losses[0], losses[1]), signs

    def _displace(
        self, start: list[Tensor], signs: list[Tensor], widths: list[float], side: float
    ) -> None:
        with torch.no_grad():
            for (parameter, _), origin, sign, width in zip(
                self._parameters(), start, signs, widths, strict=True
            ):
                parameter.copy_(origin + side * width * sign)

    def _estimate(self, closure: Closure, start: list[Tensor]) -> tuple[float, list[Tensor]]:
        """Return an estimate of the loss and of the gradients."""
        total, gradients = 0.0, [torch.zeros_like(p) for p in start]
        for _ in range(self.resamplings):
            (plus, minus), signs = self._pair(closure, start, self._steps)
            total += (plus + minus) / 2
            for gradient, sign, width in zip(
                gradients, signs, self._widths(self._steps), strict=True
            ):
                gradient += (plus - minus) / (2 * width * self.resamplings) * sign
        return total / self.resamplings, gradients

    def _direction(self, gradients: list[Tensor]) -> list[Tensor]:
        """Return the direction of the step, given estimates of the gradients."""
        return gradients

    def _restore(self, start: list[Tensor]) -> None:
        with torch.no_grad():
            for (parameter, _), origin in zip(self._parameters(), start, strict=True):
                parameter.copy_(origin)

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
