# SPDX-License-Identifier: Apache-2.0
"""What the tests of optimizers share: small problems, and runs that are saved and taken up."""

from __future__ import annotations

import io
import math

import numpy as np
import torch
from circuits import A, X, hybrid
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from qiskit_torch_bridge import TorchQuantumModule

ENERGY = SparsePauliOp.from_list([("ZZ", 1.0), ("XI", 0.5), ("IX", 0.5)])
GROUND = -math.sqrt(2)  # its least eigenvalue


def energy(start=(0.1, 0.2, 0.3, 0.4), dtype=torch.float64) -> TorchQuantumModule:
    """An ansatz that reaches the ground energy."""
    theta = ParameterVector("theta", 4)
    circuit = QuantumCircuit(2)
    for q in range(2):
        circuit.ry(theta[q], q)
    circuit.cx(0, 1)
    for q in range(2):
        circuit.ry(theta[2 + q], q)
    return TorchQuantumModule(circuit, ENERGY, initial_weights=start).to(dtype)


def with_inputs(dtype=torch.float64) -> TorchQuantumModule:
    """Inputs, a controlled rotation, shared and scaled weights."""
    weights = [0.3, -0.8, 1.9]
    return TorchQuantumModule(
        hybrid(), "ZZ", input_params=X, weight_params=A, initial_weights=weights
    ).to(dtype)


def two_modules(dtype=torch.float64) -> torch.nn.Sequential:
    """Two quantum modules with inputs between classical layers."""
    torch.manual_seed(3)
    nodes = [
        TorchQuantumModule(hybrid(), ["ZI", "IX"], input_params=X, weight_params=A, seed=s)
        for s in (1, 2)
    ]
    layers = [torch.nn.Linear(2, 2), nodes[0], torch.nn.Linear(2, 2), nodes[1]]
    return torch.nn.Sequential(*layers, torch.nn.Linear(2, 1)).to(dtype)


def batch(dtype=torch.float64) -> torch.Tensor:
    return torch.linspace(-2, 2, 10, dtype=dtype).reshape(5, 2)


def loss_of(model) -> torch.Tensor:
    """A scalar of a model, evaluated on a batch if it has inputs."""
    weight = next(model.parameters())
    takes = not isinstance(model, TorchQuantumModule) or model.program.input_params
    y = model(batch(weight.dtype)) if takes else model()
    return y.square().mean() / 4 + y.mean()


def weights_of(model) -> np.ndarray:
    return torch.cat([p.detach().double().reshape(-1) for p in model.parameters()]).numpy()


def trained(model, optimizer, steps, backward=False) -> list[float]:
    """Losses of some steps, with gradients first if the optimizer takes them."""
    losses = []
    for _ in range(steps):

        def closure():
            if backward:
                optimizer.zero_grad()
            loss = loss_of(model)
            if backward:
                loss.backward()
            return loss

        losses.append(torch.as_tensor(optimizer.step(closure)).item())
    return losses


def assert_resumes_bit_identically(model, make, backward=False) -> None:
    """Save to a file after three steps, load into new objects: the next three are the same."""
    build, model = model, model()
    optimizer = make(model)
    before = trained(model, optimizer, 3, backward)
    file = io.BytesIO()
    torch.save((model.state_dict(), optimizer.state_dict()), file)
    expected = trained(model, optimizer, 3, backward)
    file.seek(0)
    saved_model, saved_optimizer = torch.load(file, weights_only=True)
    other = build()
    resumed = make(other)
    trained(other, resumed, 1, backward)  # a state that must be overwritten
    other.load_state_dict(saved_model)
    resumed.load_state_dict(saved_optimizer)
    assert trained(other, resumed, 3, backward) == expected
    np.testing.assert_array_equal(weights_of(other), weights_of(model))
    assert len({*before, *expected}) > 2  # it moves
