# SPDX-License-Identifier: Apache-2.0
"""What is made of modules on an accelerator: kernels, optimizers, diagnostics, layers, outcomes.

Each is used on an emulated accelerator, see :mod:`emulated_device`, and on the processor, with the
same seeds: the numbers are the same but for rounding. Left out is the effective dimension: torch's
transforms within transforms end the process where tensors only say that they are on a device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from circuits import X, hybrid
from emulated_device import DEVICE, emulated_device
from qiskit.circuit.library import real_amplitudes
from torch import Tensor, nn

from qiskit_torch_bridge import (
    Exact,
    QuantumLayer,
    TorchQuantumModule,
)
from qiskit_torch_bridge.diagnostics import (
    diagnose,
    fourier_spectrum,
    gradient_variance,
    hessian_spectrum,
    loss_landscape,
)
from qiskit_torch_bridge.kernels import (
    FidelityKernel,
    ProjectedKernel,
    nearest_psd,
    target_alignment,
)
from qiskit_torch_bridge.optim import (
    QNSPSA,
    SPSA,
    QuantumNaturalGradient,
    Rotosolve,
    ScipyMinimize,
)

TORCH = Exact(kernels="torch")
CLOSE = 1e-6
"""Optimizers stop where they stop: rounding of 1e-15 grows by each step's curvature."""
Move = Callable[[Any], Any]


def points(rows: int = 4) -> Tensor:
    return torch.rand(rows, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def layer(measurement: Any = "ZZ", **options: Any) -> TorchQuantumModule:
    chosen = {"input_params": X, "initial_weights": [0.1, 0.2, 0.3], "estimator": TORCH}
    return TorchQuantumModule(hybrid(), measurement, **chosen | options).double()


def energy() -> TorchQuantumModule:
    return layer(input_params=None, initial_weights=[0.4, 0.5, 0.1, 0.2, 0.3])


def trained(make: Callable[[Any], torch.optim.Optimizer], move: Move) -> Tensor:
    module, x = move(layer()), move(points())
    optimizer: Any = make(module)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = module(x).mean()
        if loss.requires_grad:
            loss.backward()
        return loss

    optimizer.step(closure)
    assert module.weight.device == x.device
    return module.weight.detach()


def aligned(make: Callable[..., Any], move: Move) -> list[Tensor]:
    kernel, x = move(make(hybrid(), input_params=X, estimator=TORCH, seed=1)), move(points())
    gram = kernel(x, x)
    target_alignment(gram, move(torch.tensor([1.0, -1.0, 1.0, 1.0]))).backward()
    assert gram.device == x.device
    return [gram.detach(), *(p.grad for p in kernel.parameters() if p.grad is not None)]


def hybrid_network(move: Move) -> nn.Module:
    torch.manual_seed(0)
    return move(nn.Sequential(nn.Linear(2, 2), layer(), nn.Linear(1, 1)).double())


def spread(move: Move) -> Any:
    def make(qubits: int, layers: int) -> TorchQuantumModule:
        circuit = real_amplitudes(qubits, reps=layers)
        return move(TorchQuantumModule(circuit, "Z" * qubits, estimator=TORCH))

    return gradient_variance(make, [2, 3, 4], samples=6, seed=1).variances


USES: dict[str, Callable[[Move], Any]] = {
    "fidelity kernel": lambda move: aligned(FidelityKernel, move),
    "projected kernel": lambda move: aligned(ProjectedKernel, move),
    "nearest kernel": lambda move: nearest_psd(move(torch.tensor([[1.0, 2.0], [2.0, 1.0]]))),
    "spsa": lambda move: trained(lambda m: SPSA(m.parameters(), seed=1), move),
    "qnspsa": lambda move: trained(lambda m: QNSPSA(m, seed=1), move),
    "natural gradient": lambda move: trained(QuantumNaturalGradient, move),
    "rotosolve": lambda move: trained(Rotosolve, move),
    "scipy": lambda move: trained(lambda m: ScipyMinimize(m.parameters(), max_iter=3), move),
    "lbfgs": lambda move: trained(lambda m: torch.optim.LBFGS(m.parameters()), move),
    "fused adam": lambda move: trained(lambda m: torch.optim.Adam(m.parameters()), move),
    "layer": lambda move: move(
        QuantumLayer(3, 2, qubits=2, layers=1, estimator=TORCH, seed=1).double()
    )(move(torch.ones(2, 3, dtype=torch.float64))).detach(),
    "layer of amplitudes": lambda move: move(
        QuantumLayer(3, 2, qubits=2, layers=1, encoding="amplitude", estimator=TORCH, seed=1)
    )(move(torch.ones(2, 3))).detach(),
    "outcomes": lambda move: move(layer(seed=1)).sample(move(points()), shots=50).bits,
    "variance": spread,
    "landscape": lambda move: loss_landscape(move(energy()), points=4, seed=1).losses,
    "landscape of a loss": lambda move: loss_landscape(
        move(layer()), lambda m: m(move(points())).sum(), points=4, seed=1
    ).losses,
    "landscape of a network": lambda move: loss_landscape(
        hybrid_network(move), lambda m: m(move(points())).sum(), points=4, seed=1
    ).losses,
    "hessian": lambda move: hessian_spectrum(
        hybrid_network(move), lambda m: m(move(points())).square().sum()
    ).eigenvalues,
    "hessian by products": lambda move: hessian_spectrum(
        move(layer()), lambda m: m(move(points())).sum(), method="lanczos", seed=1
    ).eigenvalues,
    "spectrum": lambda move: fourier_spectrum(move(layer()), 2, inputs=[0], seed=1).coefficients,
    "diagnosis": lambda move: np.array(diagnose(move(energy()), 20, seed=1).derivative),
}  # fmt: skip


def to_device(value: Any) -> Any:
    return value.to(DEVICE)


def as_arrays(found: Any) -> list[np.ndarray]:
    parts = found if isinstance(found, list) else [found]
    return [part.cpu().numpy() if isinstance(part, Tensor) else part for part in parts]


@pytest.mark.parametrize("use", USES.values(), ids=list(USES))
def test_it_is_used_on_a_device_as_on_the_processor(use: Callable[[Move], Any]) -> None:
    here = as_arrays(use(lambda value: value))
    with emulated_device():
        there = as_arrays(use(to_device))
    for found, right in zip(there, here, strict=True):
        np.testing.assert_allclose(found, right, rtol=CLOSE, atol=CLOSE)
