# SPDX-License-Identifier: Apache-2.0
"""This package: a ``TorchQuantumModule`` with nothing but circuit, what is measured and weights."""

from __future__ import annotations

import torch
from adjoint_reference import Step
from workloads import Workload

from peers.candidate import Candidate
from peers.qiskit_form import circuit_of, observables_of
from qiskit_torch_bridge import Probabilities, TorchQuantumModule


def module(work: Workload) -> Candidate:
    """Module call, loss, backward: gradients of inputs and weights in double precision."""
    circuit, inputs, weights = circuit_of(work)
    node = TorchQuantumModule(
        circuit,
        Probabilities() if len(work.costs) else observables_of(work),
        input_params=inputs or None,
        weight_params=weights,
        initial_weights=torch.tensor(work.w),
    )
    x, costs = torch.tensor(work.x, requires_grad=True), torch.tensor(work.costs)

    def step() -> torch.Tensor:
        node.zero_grad()
        x.grad = None
        evs = node(x)
        loss = (evs @ costs).sum() if len(costs) else evs.sum()
        loss.backward()
        return evs

    def read(evs: torch.Tensor) -> Step:
        by_inputs = torch.zeros_like(x) if x.grad is None else x.grad
        return Step(evs.detach().numpy(), by_inputs.numpy(), node.weight.grad.numpy().copy())

    return Candidate(step, read)
