# SPDX-License-Identifier: Apache-2.0
"""A quantum convolutional network whose pooling measures: digits, in one circuit from end to end.

Layers of gates between neighbours alternate with pooling layers: half of the qubits are measured,
and what is found turns their neighbours, by angles that are trained (I. Cong, S. Choi and M. D.
Lukin, Nature Physics 15, 1273 (2019), arXiv:1810.03787). Eight qubits become four, two and one.
"""

from __future__ import annotations

import argparse
import math
import time
from typing import Any, NamedTuple

import torch
from qiskit.circuit import ClassicalRegister, ParameterVector, QuantumCircuit, QuantumRegister
from torch import Tensor
from torch.nn import functional

from .. import TorchQuantumModule
from .command_line import (
    GRADIENTS,
    DemoError,
    Options,
    check_extras,
    common_options,
    option,
    positive,
    progress,
    require,
    use_threads,
    whole,
)
from .digits import Digits, Split, load_digits
from .plots import plot_qcnn

SUMMARY = "a quantum convolutional network with measured pooling tells digits apart"
TAKES = "30 s"

NUM_QUBITS = 8
SIDE = 4
"""Images are averaged to so many rows and columns: two pixels for each qubit."""
OF_CONVOLUTION = 7
OF_POOLING = 6

OPTIONS: Options = {
    **common_options(
        shots="of the evaluation on Aer, default 400",
        gradient="default: exact, by the adjoint method",
        plot="write training curves and both evaluations to this file",
    ),
    "--digits": option("the two digits to tell apart", whole(0, 9), [3, 6], nargs=2),
    "--epochs": option("epochs", whole(1), 12),
    "--batch-size": option("images a step", whole(1), 20),
    "--lr": option("learning rate of Adam", positive, 0.05),
    "--judged": option("held-out digits that Aer judges as well", whole(1), 60),
}


def build_circuit() -> tuple[QuantumCircuit, ParameterVector]:
    """Return the network, and its inputs: two angles for each qubit.

    Each layer of convolutions has one set of angles for all pairs of neighbours, and so has each
    pooling layer for all qubits that it measures.
    """
    inputs = ParameterVector("pixel", 2 * NUM_QUBITS)
    layers = NUM_QUBITS.bit_length() - 1
    weights = iter(ParameterVector("weight", layers * (OF_CONVOLUTION + OF_POOLING)))
    qubits = QuantumRegister(NUM_QUBITS, "q")
    circuit = QuantumCircuit(qubits)
    for q in range(NUM_QUBITS):
        circuit.ry(inputs[2 * q], q)
        circuit.rx(inputs[2 * q + 1], q)
    kept = list(range(NUM_QUBITS))
    for layer in range(layers):
        shared = [next(weights) for _ in range(OF_CONVOLUTION)]
        for first in (0, 1):  # pairs, then the pairs between them
            for k in range(first, len(kept) - 1, 2):
                _append_convolution(circuit, kept[k], kept[k + 1], shared)
        shared = [next(weights) for _ in range(OF_POOLING)]
        outcomes = ClassicalRegister(len(kept) // 2, f"pool{layer}")
        circuit.add_register(outcomes)
        for k, bit in enumerate(outcomes):
            neighbour, measured = kept[2 * k], kept[2 * k + 1]
            circuit.measure(measured, bit)
            with circuit.if_test((bit, 1)) as otherwise:
                circuit.u(shared[0], shared[1], shared[2], neighbour)
            with otherwise:
                circuit.u(shared[3], shared[4], shared[5], neighbour)
        kept = kept[::2]
    return circuit, inputs


def _append_convolution(circuit: QuantumCircuit, one: int, other: int, angles: list[Any]) -> None:
    circuit.ry(angles[0], one)
    circuit.ry(angles[1], other)
    circuit.rxx(angles[2], one, other)
    circuit.ryy(angles[3], one, other)
    circuit.rzz(angles[4], one, other)
    circuit.ry(angles[5], one)
    circuit.ry(angles[6], other)


def make_model(gradient: str | None, seed: int) -> TorchQuantumModule:
    """Return the network as a module whose output is Z of the one qubit that is left."""
    circuit, inputs = build_circuit()
    weights = torch.randn(circuit.num_parameters - len(inputs)) / 4
    return TorchQuantumModule(
        circuit,
        "I" * (NUM_QUBITS - 1) + "Z",
        input_params=inputs,
        gradient=GRADIENTS[gradient] if gradient else None,
        initial_weights=weights,
        seed=seed,
    )


def angles_of(images: Tensor) -> Tensor:
    """Return the angles ``(B, 16)`` of images ``(B, 1, 28, 28)``: means of parts, from 0 to pi."""
    return math.pi * functional.adaptive_avg_pool2d(images, SIDE).flatten(1)


class Training(NamedTuple):
    """What the training came to.

    Attributes:
        model: The network.
        losses: The loss of every step.
        accuracies: The accuracy on the held-out digits, from 0 to 1, after every epoch.
        exact: The output for each held-out digit.
        classes: What these digits are.
        sampled: The output for the first of them on Aer, where the circuit is run as it is.
        seconds: How long the training took.
    """

    model: TorchQuantumModule
    losses: list[float]
    accuracies: list[float]
    exact: Tensor
    classes: Tensor
    sampled: Tensor
    seconds: float


def train(options: argparse.Namespace, data: Split) -> Training:
    """Train on the exact engine, and evaluate the result there and on Aer."""
    model = make_model(options.gradient, options.seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr)
    angles, classes = angles_of(data.train.images), data.train.classes
    held_out = _shuffle(data.held_out)
    losses: list[float] = []
    accuracies: list[float] = []
    start = time.perf_counter()
    steps = options.epochs * math.ceil(len(classes) / options.batch_size)
    with progress(steps, "training") as bar:
        for _ in range(options.epochs):
            for batch in torch.randperm(len(classes)).split(options.batch_size):
                optimizer.zero_grad()
                loss = loss_of(model(angles[batch]), classes[batch])
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                bar.update()
            exact = evaluate(model, held_out)
            accuracies.append(accuracy_of(exact, held_out.classes))
            bar.set_postfix(loss=f"{losses[-1]:.3f}", held_out=f"{accuracies[-1]:.1%}")
    seconds = time.perf_counter() - start
    on_aer = model.with_backend(require("qiskit_aer").AerSimulator(), shots=options.shots)
    first = Digits(*(part[: options.judged] for part in held_out))
    sampled = evaluate(on_aer, first)
    return Training(model, losses, accuracies, exact, held_out.classes, sampled, seconds)


def _shuffle(digits: Digits) -> Digits:
    order = torch.randperm(len(digits.classes))
    return Digits(*(part[order] for part in digits))


def loss_of(outputs: Tensor, classes: Tensor) -> Tensor:
    """Return minus the mean logarithm of the true class's probability, (1 + z)/2 of the first."""
    return functional.binary_cross_entropy((1 - outputs[:, 0]) / 2, classes.to(outputs.dtype))


def evaluate(model: TorchQuantumModule, digits: Digits) -> Tensor:
    """Return the outputs ``(N,)`` for some digits."""
    with torch.no_grad():
        return model(angles_of(digits.images))[:, 0]


def accuracy_of(outputs: Tensor, classes: Tensor) -> float:
    """Return which part of some digits is taken for what it is."""
    return ((outputs < 0) == (classes == 1)).double().mean().item()


def run(options: argparse.Namespace) -> Training:
    """Train, print a summary with the accuracy on held-out digits, and plot if asked."""
    options.shots = options.shots or 400
    if options.digits[0] == options.digits[1]:
        raise DemoError(f"Expected --digits to name two different digits; got {options.digits}.")
    check_extras(options.plot)
    require("qiskit_aer")
    data = load_digits(options.digits, None, options.seed)
    # a caller's random numbers and threads stay as they were
    with torch.random.fork_rng(devices=[]), use_threads(1):
        torch.manual_seed(options.seed)
        training = train(options, data)
    print(summarise(training, data, options))
    if options.plot is not None:
        plot_qcnn(options.plot, training, options.digits)
        print(f"\nTraining curves and both evaluations are in {options.plot}.")
    return training


def summarise(training: Training, data: Split, options: argparse.Namespace) -> str:
    """Return what is printed at the end."""
    circuit, judged = training.model.program.circuit, len(training.sampled)
    total = len(training.classes)
    correct = round(training.accuracies[-1] * total)
    on_aer = accuracy_of(training.sampled, training.classes[:judged])
    apart = (training.sampled - training.exact[:judged]).abs().max().item()
    rows = {
        "digits": f"{options.digits[0]} and {options.digits[1]}, from {data.source}",
        "circuit": f"{circuit.num_qubits} qubits, {circuit.num_clbits} measured before the end, "
        f"{training.model.weight.numel()} weights",
        "training": f"{options.epochs} epochs of {len(data.train.classes)} images, "
        f"{training.seconds:.1f} s",
        "last loss": f"{training.losses[-1]:.4f} (first {training.losses[0]:.4f})",
        "exact": f"{correct / total:.2%} of held-out digits ({correct} of {total})",
        "on Aer": f"{on_aer:.2%} of the first {judged}, {options.shots} shots each; at most "
        f"{apart:.3f} from the exact output",
    }
    width = max(map(len, rows))
    return "\n".join(["", *(f"{name:{width}}  {text}" for name, text in rows.items())])
