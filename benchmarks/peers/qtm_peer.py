# SPDX-License-Identifier: Apache-2.0
"""qiskit-torch-module: ``QuantumModule`` with gradients of the inputs, all threads.

As in https://github.com/nicomeyer96/qiskit-torch-module, with ``encoding_gradients_flag=True``, as
its hybrid networks need. It needs Python 3.12 and Qiskit 1.0 and computes in single precision.
"""

from __future__ import annotations

import torch
from adjoint_reference import Step
from qiskit_torch_module import QuantumModule
from workloads import Workload

from peers.candidate import Candidate
from peers.qiskit_form import circuit_of, observables_of


def reverse(work: Workload) -> Candidate:
    """Its own reverse gradient, rows spread over processes."""
    circuit, inputs, weights = circuit_of(work)
    module = QuantumModule(
        circuit=circuit,
        encoding_params=inputs,
        variational_params=weights,
        variational_params_initial=work.w.tolist(),
        observables=observables_of(work),
        encoding_gradients_flag=True,
    )
    x = torch.tensor(work.x, dtype=torch.float32, requires_grad=True)

    def step() -> torch.Tensor:
        module.zero_grad()
        x.grad = None
        evs = module(x)
        evs.sum().backward()
        return evs

    def read(evs: torch.Tensor) -> Step:
        found = (evs.detach(), x.grad, module.variational_[0].grad)
        return Step(*(tensor.numpy().astype(float) for tensor in found))

    return Candidate(step, read)
