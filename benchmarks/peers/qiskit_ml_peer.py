# SPDX-License-Identifier: Apache-2.0
"""qiskit-machine-learning: ``EstimatorQNN`` or ``SamplerQNN``, and ``TorchConnector``.

Put together as in
https://qiskit-community.github.io/qiskit-machine-learning/tutorials/05_torch_connector.html, with
input gradients; once with the estimator and the gradient that it makes for itself, once with Aer's
estimator. The connector casts to single precision.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from adjoint_reference import Step
from qiskit.primitives import BaseEstimatorV2
from qiskit_aer.primitives import EstimatorV2
from qiskit_machine_learning.connectors import TorchConnector
from qiskit_machine_learning.gradients import ParamShiftEstimatorGradient
from qiskit_machine_learning.neural_networks import EstimatorQNN, NeuralNetwork, SamplerQNN
from workloads import Workload

from peers.candidate import Candidate
from peers.qiskit_form import circuit_of, observables_of


def default(work: Workload) -> Candidate:
    """With its own choice of estimator and gradient."""
    return _candidate(work, None)


def aer(work: Workload) -> Candidate:
    """With Aer's estimator and parameter shift."""
    return _candidate(work, EstimatorV2())


def sampler(work: Workload) -> Candidate:
    """``SamplerQNN`` with its own choice of sampler, which is exact, and of gradient."""
    circuit, inputs, weights = circuit_of(work)
    network = SamplerQNN(
        circuit=circuit,
        input_params=list(inputs),
        weight_params=list(weights),
        input_gradients=True,
    )
    costs = torch.tensor(work.costs, dtype=torch.float32)
    return _connected(work, network, lambda values: (values @ costs).sum())


def _candidate(work: Workload, estimator: BaseEstimatorV2 | None) -> Candidate:
    circuit, inputs, weights = circuit_of(work)
    network = EstimatorQNN(
        circuit=circuit,
        observables=observables_of(work),
        input_params=list(inputs),
        weight_params=list(weights),
        estimator=estimator,
        gradient=None if estimator is None else ParamShiftEstimatorGradient(estimator),
        input_gradients=True,
        default_precision=0.0,
    )
    return _connected(work, network, torch.sum)


def _connected(
    work: Workload, network: NeuralNetwork, loss: Callable[[torch.Tensor], torch.Tensor]
) -> Candidate:
    module = TorchConnector(network, initial_weights=work.w)
    x = torch.tensor(work.x, dtype=torch.float32, requires_grad=True)

    def step() -> torch.Tensor:
        module.zero_grad()
        x.grad = None
        evs = module(x)
        loss(evs).backward()
        return evs

    def read(evs: torch.Tensor) -> Step:
        found = (evs.detach(), x.grad, module.weight.grad)
        return Step(*(tensor.numpy().astype(float) for tensor in found))

    return Candidate(step, read)
