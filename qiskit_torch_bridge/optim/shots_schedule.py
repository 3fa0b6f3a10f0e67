# SPDX-License-Identifier: Apache-2.0
"""More shots where noise hides the gradient, few where it does not."""

from __future__ import annotations

import math
from typing import Any

import torch

from ..arguments import is_options, require_real_number, require_whole_number, shown
from ..exceptions import OptimizerError, OptimizerTypeError
from ..module import TorchQuantumModule


class ShotsSchedule:
    r"""Raises a module's shots as its gradient's signal-to-noise ratio falls.

    :meth:`step` compares the weights' last gradient with its standard errors: where the ratio
    :math:`\|g\| / \|\sigma_g\|` is below ``ratio``, the shots are multiplied by ``factor``. Far
    from an optimum few shots are enough; close to it, where gradients vanish, many are needed.

    Args:
        module: A module that samples shots.
        ratio: The smallest ratio for which the shots stay as they are.
        factor: What shots are multiplied by.
        maximum: The most shots.

    Raises:
        OptimizerTypeError: If ``module`` is no :class:`.TorchQuantumModule`.
        OptimizerError: If it samples no shots, or its gradient has no standard errors.

    Example:
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit_torch_bridge import TorchQuantumModule
        >>> from qiskit_torch_bridge.optim import ShotsSchedule
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.ry(Parameter("theta"), 0)
        >>> node = TorchQuantumModule(circuit, "Z", shots=100, seed=0, initial_weights=[0.0])
        >>> schedule = ShotsSchedule(node)
        >>> node().sum().backward()  # at the top of the cosine: no slope, only noise
        >>> schedule.step()
        200
    """

    def __init__(
        self,
        module: TorchQuantumModule,
        *,
        ratio: float = 2.0,
        factor: float = 2.0,
        maximum: int = 100_000,
    ) -> None:
        if not isinstance(module, TorchQuantumModule):
            raise OptimizerTypeError(f"Expected a TorchQuantumModule; got {type(module).__name__}.")
        if module.shots is None:
            raise OptimizerError(
                "Expected a module with shots; this one has none. Give it shots=100 or so to "
                "begin with."
            )
        require_real_number(ratio, "ratio", error=OptimizerError)
        require_real_number(factor, "factor", error=OptimizerError)
        require_whole_number(maximum, "maximum", 1, error=OptimizerError)
        if factor <= 1:
            raise OptimizerError(f"Expected factor to be above 1; got {shown(factor)}.")
        self.module = module
        self.ratio, self.factor, self.maximum = ratio, factor, maximum

    def step(self) -> int:
        """Judge the last gradient, and return the shots for the next step."""
        errors, gradient = self.module.last_gradient_stds, self.module.weight.grad
        shots = self.module.shots
        if errors is None or gradient is None or shots is None:
            raise OptimizerError(
                "The last gradient has no standard errors. Call step() after backward(), with a "
                "gradient made of evaluations, such as 'parameter-shift'."
            )
        noise = float(torch.linalg.vector_norm(errors))
        signal = float(torch.linalg.vector_norm(gradient.double()))
        if signal < self.ratio * noise and shots < self.maximum:
            shots = min(self.maximum, math.ceil(shots * self.factor))
            self.module.shots = shots
        return shots

    def state_dict(self) -> dict[str, Any]:
        """Return the state: the present shots."""
        return {"shots": self.module.shots}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Set the state that :meth:`state_dict` returned."""
        if not is_options(state_dict) or "shots" not in state_dict:
            raise OptimizerError(
                f"Expected state_dict to be what state_dict() returned; got {shown(state_dict)}."
            )
        self.module.shots = state_dict["shots"]
