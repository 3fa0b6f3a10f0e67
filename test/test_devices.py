# SPDX-License-Identifier: Apache-2.0
"""Tensors on an accelerator stay there: values, derivatives, and what is made of them.

The accelerator is emulated, see :mod:`emulated_device`; the truth is the engine on the processor.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from circuits import A, X, hybrid
from emulated_device import DEVICE, emulated_device, waiting
from qiskit.circuit import Parameter
from qiskit.quantum_info import SparsePauliOp

from qiskit_torch_bridge import (
    CircuitProgram,
    CVaR,
    Entropy,
    Exact,
    Fidelity,
    Probabilities,
    Purity,
    State,
    TorchQuantumModule,
    Variance,
    expectation,
)
from qiskit_torch_bridge.exceptions import DeviceError, InputError, MemoryLimitError

TORCH = Exact(kernels="torch")
WEIGHTS = [0.1, 0.2, 0.3]
EXACT = 1e-12
"""Rounding of a few dozen gates, in another order."""


@pytest.fixture
def there():
    with emulated_device():
        yield


def layer(measurement: Any = None, **options: Any) -> TorchQuantumModule:
    chosen = {"input_params": X, "initial_weights": WEIGHTS, "estimator": TORCH, **options}
    return TorchQuantumModule(hybrid(), measurement or ["ZI", "XX"], **chosen).double()


def inputs(rows: int = 3) -> torch.Tensor:
    return torch.rand(rows, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def step(module: TorchQuantumModule, x: torch.Tensor) -> list[torch.Tensor]:
    """Values, both gradients, and the weights' gradient of a penalty on the inputs' gradient."""
    x = x.detach().requires_grad_()
    y = module(x)
    total = (y.abs().square() if y.is_complex() else y.square()).sum()
    gx, gw = torch.autograd.grad(total, (x, module.weight), create_graph=True)
    (second,) = torch.autograd.grad(gx.square().sum(), module.weight)
    return [t.detach() for t in (y, gx, gw, second)]


MEASUREMENTS = {
    "observables": lambda: ["ZI", {"XX": 0.5, "ZZ": -1.0}],
    "coefficients": lambda: [SparsePauliOp(["ZI", "XX"], [1.0, Parameter("c")])],
    "probabilities": lambda: Probabilities([0, 1]),
    "variance": lambda: Variance(["ZI", "XX"]),
    "tail": lambda: CVaR("ZZ", 0.3),
    "state": State,
    "purity": lambda: Purity([0]),
    "entropy": lambda: Entropy([0]),
    "fidelity": lambda: Fidelity(np.array([0.6, 0, 0, 0.8])),
}


@pytest.mark.parametrize("measurement", MEASUREMENTS.values(), ids=list(MEASUREMENTS))
def test_a_step_stays_on_the_device(there, measurement: Callable[[], Any]) -> None:
    """Nothing is copied to the processor, and nothing waits for the device; values are the same."""
    weights = [*WEIGHTS, 0.7][: 4 if measurement is MEASUREMENTS["coefficients"] else 3]
    on_processor = layer(measurement(), initial_weights=weights, estimator=Exact(kernels="torch"))
    module = copy.deepcopy(on_processor).to(DEVICE)
    x = inputs().to(DEVICE)
    step(module, x)  # tables are copied once
    with waiting() as waits:
        found = step(module, x)
    assert waits == []
    for here, right in zip(found, step(on_processor, inputs()), strict=True):
        assert here.device == DEVICE
        torch.testing.assert_close(here.cpu(), right, rtol=0, atol=EXACT)
