# SPDX-License-Identifier: Apache-2.0
"""The network of the MNIST demonstration: convolutions, and a quantum node that decides."""

from __future__ import annotations

import math
from typing import Any

import torch
from qiskit.circuit import ParameterVector, QuantumCircuit
from torch import Tensor, nn
from torch.nn import functional

from .. import TorchQuantumModule
from .devices import measured_on

CIRCUITS = {"rxry": 2, "u3": 3}
"""The circuits and the number of inputs that each of their qubits takes."""

LOSSES = ("nll", "cross-entropy")

LOGIT_SCALE = 4.0
"""Expectation values end at plus and minus one: without a factor the softmax of two of them could
be no surer than 88 %."""

NO_SHOTS = 10**6
"""What an exact probability counts as, so that the logarithm of zero is never taken."""


def qubits_for(num_digits: int) -> int:
    """Return the number of qubits: one decides between two digits, else each digit has its own."""
    return 1 if num_digits == 2 else num_digits


def build_circuit(name: str, num_qubits: int) -> tuple[QuantumCircuit, ParameterVector]:
    r"""Return the node's circuit and its inputs.

    On each qubit: H, then the inputs as ``Ry`` and ``Rx`` angles (or those of one ``U``); between
    neighbours a trainable ``Rxx``; at the end a trainable ``Ry``. After the H, inputs near zero
    give expectation values near zero: undecided, and where their slope is largest.

    Args:
        name: ``"rxry"`` or ``"u3"``.
        num_qubits: With three or more the neighbours form a ring.
    """
    each = CIRCUITS[name]
    inputs = ParameterVector("input", each * num_qubits)
    pairs = [(q, (q + 1) % num_qubits) for q in range(num_qubits if num_qubits > 2 else 0)]
    weights = iter(ParameterVector("weight", len(pairs) + num_qubits))
    circuit = QuantumCircuit(num_qubits)
    for q in range(num_qubits):
        angles = inputs[each * q : each * (q + 1)]
        circuit.h(q)
        if name == "u3":
            circuit.u(*angles, q)
        else:
            circuit.ry(angles[0], q)
            circuit.rx(angles[1], q)
    for pair in pairs:
        circuit.rxx(next(weights), *pair)
    for q in range(num_qubits):
        circuit.ry(next(weights), q)
    return circuit, inputs


class HybridNet(nn.Module):
    """A convolutional network whose last layer is a quantum circuit.

    Args:
        num_digits: The number of classes ``d``.
        circuit: ``"rxry"`` or ``"u3"``.
        loss: ``"nll"``: the expectation values are probabilities; ``"cross-entropy"``: logits.
        shots: Shots for every expectation value.
        backend: The name of a backend, as ``--backend`` takes it.
        seed: Seeds the shots.
        **options: For :class:`.TorchQuantumModule`: the gradient.

    Attributes:
        node: The quantum node.
        meter: Counts what the node's estimator returns.

    Shapes:
        Images ``(B, 1, 28, 28)`` to logarithms of class probabilities ``(B, d)``.
    """

    def __init__(
        self,
        num_digits: int,
        circuit: str,
        loss: str,
        shots: int | None,
        *,
        backend: str | None = None,
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__()
        self.loss = loss
        self.shots = shots
        self.conv1 = nn.Conv2d(1, 10, kernel_size=5)
        self.conv2 = nn.Conv2d(10, 20, kernel_size=5)
        self.dropout = nn.Dropout2d()
        self.linear1 = nn.Linear(320, 50)
        quantum_circuit, inputs = build_circuit(circuit, qubits_for(num_digits))
        self.linear2 = nn.Linear(50, len(inputs))
        quantum_circuit, observables, self.meter = measured_on(backend, quantum_circuit, None, seed)
        self.node = TorchQuantumModule(
            quantum_circuit,
            observables,
            estimator=self.meter,
            input_params=inputs,
            initial_weights=[0.0] * (quantum_circuit.num_parameters - len(inputs)),
            shots=shots,
            **options,
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the logarithms of the class probabilities."""
        evs = self.expectations(images)
        if evs.shape[-1] == 1:  # one qubit, two classes: up and down
            evs = torch.cat([evs, -evs], -1)
        if self.loss == "cross-entropy":
            return functional.log_softmax(LOGIT_SCALE * evs, -1)
        # Estimates need not be in the range of what they estimate: Aer adds Gaussian noise. The
        # values are moved inside, their slopes stay.
        evs = evs + (evs.clamp(-1, 1) - evs).detach()
        # From N shots with k successes the probability is (k + 1) / (N + 2): never zero.
        shots = self.shots or NO_SHOTS
        probabilities = (shots * (1 + evs) / 2 + 1) / (shots + 2)
        return (probabilities / probabilities.sum(-1, keepdim=True)).log()

    def expectations(self, images: Tensor) -> Tensor:
        """Return the node's expectation values ``(B, qubits)``."""
        x = functional.relu(functional.max_pool2d(self.conv1(images), 2))
        x = functional.relu(functional.max_pool2d(self.dropout(self.conv2(x)), 2))
        x = functional.relu(self.linear1(x.flatten(1)))
        # Bounded to where the first rotation's expectation value is monotonic.
        return self.node(math.pi / 2 * torch.tanh(self.linear2(x)))
