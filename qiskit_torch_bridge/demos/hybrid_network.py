# SPDX-License-Identifier: Apache-2.0
"""A convolutional network for images of digits, whose last layer is a quantum circuit."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from qiskit.circuit import ParameterVector, QuantumCircuit
from torch import Tensor, nn
from torch.nn import functional

from .. import Probabilities, TorchQuantumModule
from .node_circuits import GATES, TWO_QUBITS, NodeCircuit

NODES = ("expectations", "probabilities", "none")
"""What is read from the circuit; with ``"none"`` there is none."""

CIRCUITS = (*GATES, *TWO_QUBITS)

Head: TypeAlias = Callable[[Tensor, int], Tensor]
"""From what is read and a number of shots to logarithms of class probabilities."""

LOGIT_SCALE = 4.0
"""Expectation values end at plus and minus one: without a factor the softmax of two of them could
be no surer than 88 %."""

NO_SHOTS = 10**6
"""What an exact probability counts as, so that the logarithm of zero is never taken."""

BOUND = math.pi / 2
"""Angles that are bounded to this stay where the first rotation's expectation value is
monotonic."""

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "nll": functional.nll_loss,
    "cross-entropy": lambda logarithms, classes: functional.cross_entropy(
        2 * LOGIT_SCALE * logarithms.exp(), classes
    ),
    "linear": lambda logarithms, classes: functional.nll_loss(logarithms.exp(), classes),
}
"""Functions of logarithms of class probabilities and of true classes. ``"linear"`` is minus the
probability of the true class."""


def build_circuit(name: str, num_qubits: int) -> NodeCircuit:
    r"""Return a node's circuit; what else is in it than the angles is trained.

    On each qubit: H, then a gate of :data:`.GATES`; between neighbours a trainable ``Rxx``; at the
    end a trainable ``Ry``. After the H, inputs near zero give expectation values near zero, except
    with ``u2``: undecided, and where their slope is largest. Circuits of :data:`.TWO_QUBITS` are
    what they are, whatever the number of qubits.

    Args:
        name: One of :data:`CIRCUITS`.
        num_qubits: With three or more the neighbours form a ring.
    """
    if name in TWO_QUBITS:
        return TWO_QUBITS[name]()
    gate = GATES[name]
    inputs = ParameterVector("input", gate.angles * num_qubits)
    bonds = num_qubits if num_qubits > 2 else num_qubits - 1
    weights = iter(ParameterVector("weight", bonds + num_qubits))
    circuit = QuantumCircuit(num_qubits)
    for q in range(num_qubits):
        circuit.h(q)
        gate.append(circuit, q, inputs[gate.angles * q : gate.angles * (q + 1)])
    for q in range(bonds):
        circuit.rxx(next(weights), q, (q + 1) % num_qubits)
    for q in range(num_qubits):
        circuit.ry(next(weights), q)
    observables = ["I" * (num_qubits - 1 - q) + "Z" + "I" * q for q in range(num_qubits)]
    return NodeCircuit(circuit, list(inputs), observables)


def half(evs: Tensor, shots: int) -> Tensor:
    """Take each expectation value ``x`` as a probability ``(x + 1) / 2``.

    A single one decides between two classes: up and down.
    """
    evs = _up_and_down(evs)
    # Estimates need not be in the range of what they estimate: Aer adds Gaussian noise.
    return _logarithms(_move_inside((1 + evs) / 2), shots, 2)


def quarter(evs: Tensor, shots: int) -> Tensor:
    """Take the sum ``x`` of two expectation values as ``(x + 1) / 4`` and one minus that.

    From -1/4 to 3/4, this is not quite a probability: what is negative counts as zero.
    """
    first = (evs.sum(-1, keepdim=True) + 1) / 4
    return _logarithms(_move_inside(torch.cat([first, 1 - first], -1)), shots, 2)


def softmax(evs: Tensor, shots: int) -> Tensor:
    """Take expectation values, scaled, as logits."""
    return functional.log_softmax(LOGIT_SCALE * _up_and_down(evs), -1)


HEADS: dict[str, Head] = {"half": half, "quarter": quarter, "softmax": softmax}
"""Those for expectation values."""


def outcomes(probabilities: Tensor, shots: int) -> Tensor:
    """Take probabilities of outcomes as those of the classes."""
    return _logarithms(probabilities, shots, probabilities.shape[-1])


def _up_and_down(evs: Tensor) -> Tensor:
    return torch.cat([evs, -evs], -1) if evs.shape[-1] == 1 else evs


def _move_inside(probabilities: Tensor) -> Tensor:
    """Move values between zero and one, and keep their slopes."""
    return probabilities + (probabilities.clamp(0, 1) - probabilities).detach()


def _logarithms(probabilities: Tensor, shots: int, outcomes: int) -> Tensor:
    """Return logarithms that are finite for frequencies of zero.

    From N shots with k successes the probability is (k + 1) / (N + outcomes): never zero.
    """
    probabilities = (shots * probabilities + 1) / (shots + outcomes)
    return (probabilities / probabilities.sum(-1, keepdim=True)).log()


class HybridNet(nn.Module):
    """A convolutional network whose last layer is a quantum circuit.

    Args:
        num_classes: The number of classes ``d``. Of expectation values one decides between two
            classes, and of more classes each has a qubit. As many qubits as it takes to count the
            classes have outcomes whose probabilities are theirs.
        circuit: One of :data:`CIRCUITS`.
        node: One of :data:`NODES`. Probabilities are those of outcomes modulo ``d``. The network
            alone has logits.
        head: One of :data:`HEADS`, which expectation values go through.
        shots: Shots for every expectation value, or for all probabilities of an image.
        bound: Angles are this times a hyperbolic tangent; zero leaves them unbounded.
        place: From a number of qubits to the module's arguments that say where it is evaluated.
        gradient: How the circuit is differentiated.
        seed: Makes the shots repeatable.

    Shapes:
        Images ``(B, 1, 28, 28)`` to logarithms of class probabilities ``(B, d)``.
    """

    def __init__(
        self,
        num_classes: int,
        circuit: str = "rxry",
        node: str = "expectations",
        head: str = "half",
        shots: int | None = None,
        *,
        bound: float = BOUND,
        place: Callable[[int], dict[str, Any]] | None = None,
        gradient: Any = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.shots, self.bound = shots or NO_SHOTS, bound
        self.conv1 = nn.Conv2d(1, 10, kernel_size=5)
        self.conv2 = nn.Conv2d(10, 20, kernel_size=5)
        self.dropout = nn.Dropout2d()
        self.linear1 = nn.Linear(320, 50)
        if node == "none":
            self.linear2, self.node = nn.Linear(50, num_classes), None
            return
        asked: Any
        self.head: Head = outcomes
        if node == "probabilities":
            parts = build_circuit(circuit, math.ceil(math.log2(num_classes)))
            asked = Probabilities(interpret=lambda k: k % num_classes, output_size=num_classes)
        else:
            parts = build_circuit(circuit, 1 if num_classes == 2 else num_classes)
            asked, self.head = parts.observables, HEADS[head]
        self.linear2 = nn.Linear(50, len(parts.angles))
        self.node = TorchQuantumModule(
            parts.circuit,
            asked,
            input_params=parts.angles,
            gradient=gradient,
            shots=shots,
            initial_weights=[0.0] * (parts.circuit.num_parameters - len(parts.angles)),
            seed=seed,
            **({} if place is None else place(parts.circuit.num_qubits)),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the logarithms of the class probabilities."""
        x = functional.relu(functional.max_pool2d(self.conv1(images), 2))
        x = functional.relu(functional.max_pool2d(self.dropout(self.conv2(x)), 2))
        x = self.linear2(functional.relu(self.linear1(x.flatten(1))))
        if self.node is None:
            return functional.log_softmax(x, -1)
        return self.head(self.node(self.bound * torch.tanh(x) if self.bound else x), self.shots)
