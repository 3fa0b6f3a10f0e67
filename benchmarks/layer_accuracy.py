# SPDX-License-Identifier: Apache-2.0
"""What accuracy a ``QuantumLayer`` reaches beside a classical layer with as many parameters.

Three kinds of models see the same splits, batches and epochs: with a ``QuantumLayer`` in the
middle; with two linear layers and tanh in its place, as wide as gives the number of parameters
closest to that of the quantum layer; and with nothing there, which leaves a linear classifier. The
learning rate of each is the one of four that is best on validation data, over seeds that the table
has no part of. Nothing else is chosen.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import harness
import numpy as np
import torch
from sklearn.datasets import load_digits, load_iris, make_moons
from torch import Tensor, nn

from qiskit_torch_bridge import QuantumLayer, __version__

NAME = "layer_accuracy"
RATES = (0.003, 0.01, 0.03, 0.1)
CHOOSING = 3
"""Seeds that learning rates are chosen over."""
FIRST_CHOOSING = 1000


class Data(NamedTuple):
    """Rows to train on, to choose by, and to judge by: features and classes."""

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


# -- the examples, in under ten lines each ------------------------------------------------------


def moons() -> nn.Module:
    return nn.Sequential(
        QuantumLayer(2, 2, encoding="reuploading", layers=4, scale_inputs=True),
        nn.Linear(2, 2),
    )


def iris() -> nn.Module:
    return nn.Sequential(QuantumLayer(4, 3, layers=2), nn.Linear(3, 3))


def digits_as_angles() -> nn.Module:
    return nn.Sequential(
        nn.Linear(64, 6), QuantumLayer(6, 10, encoding="reuploading"), nn.Linear(10, 10)
    )


def digits_as_amplitudes() -> nn.Module:
    return nn.Sequential(QuantumLayer(64, 10, encoding="amplitude", layers=6), nn.Linear(10, 10))


class Task(NamedTuple):
    """A model, its data, and for how long it is trained."""

    model: Callable[[], nn.Module]
    load: Callable[[int], tuple[np.ndarray, np.ndarray]]
    standardised: bool
    epochs: int
    batch: int


TASKS = {
    "moons": Task(moons, lambda seed: make_moons(400, noise=0.2, random_state=seed), True, 60, 32),
    "iris": Task(iris, lambda seed: load_iris(return_X_y=True), True, 60, 16),
    "digits, angles": Task(
        digits_as_angles, lambda seed: load_digits(return_X_y=True), True, 20, 64
    ),
    "digits, amplitudes": Task(
        digits_as_amplitudes, lambda seed: load_digits(return_X_y=True), False, 20, 64
    ),
}


# -- what takes the place of the quantum layer --------------------------------------------------


def count(module: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(p.numel() for p in module.parameters())


def quantum(model: nn.Module) -> nn.Module:
    """Return the model as it is."""
    return model


def classical(model: nn.Module) -> nn.Module:
    """Return the model with two linear layers and tanh in place of the quantum layer."""

    def replaced(layer: QuantumLayer) -> nn.Module:
        before, after = layer.in_features, layer.out_features
        each = before + after + 1  # the parameters of a unit in the middle
        width = max(1, round((count(layer) - after) / each))
        return nn.Sequential(nn.Linear(before, width), nn.Tanh(), nn.Linear(width, after))

    return nn.Sequential(*(replaced(m) if isinstance(m, QuantumLayer) else m for m in model))


def linear(model: nn.Module) -> nn.Module:
    """Return a linear classifier of the features that the model takes."""
    first, last = model[0], model[-1]
    return nn.Sequential(nn.Linear(first.in_features, last.out_features))


KINDS = {"QuantumLayer": quantum, "classical layer": classical, "linear alone": linear}


# -- training -----------------------------------------------------------------------------------


def split(task: Task, seed: int) -> Data:
    """Return rows in three parts, 60, 20 and 20 %, features scaled by what training rows say."""
    x, y = task.load(seed)
    order = np.random.default_rng(seed).permutation(len(x))
    features, classes = torch.tensor(x[order]).float(), torch.tensor(y[order]).long()
    ends = [int(0.6 * len(x)), int(0.8 * len(x)), len(x)]
    if task.standardised:
        spread, mean = torch.std_mean(features[: ends[0]], dim=0)
        features = (features - mean) / spread.clamp(min=1e-6)
    return Data(*((features[a:b], classes[a:b]) for a, b in zip([0, *ends], ends, strict=False)))


def accuracy(model: nn.Module, rows: tuple[Tensor, Tensor]) -> float:
    """Return the share of rows whose class the model gives the largest output."""
    with torch.no_grad():
        return (model(rows[0]).argmax(-1) == rows[1]).double().mean().item()


def batches(size: int, batch: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield the positions of each batch of an epoch."""
    yield from torch.randperm(size, generator=generator).split(batch)


def train(task: Task, kind: str, rate: float, seed: int, epochs: int) -> tuple[nn.Module, Data]:
    """Return a model that was trained, and its data."""
    data = split(task, seed)
    torch.manual_seed(seed)
    model = KINDS[kind](task.model())
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    for _ in range(epochs):
        for rows in batches(len(data.train[0]), task.batch, generator):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(data.train[0][rows]), data.train[1][rows])
            loss.backward()
            optimizer.step()
    return model, data


def choose_rate(task: Task, kind: str, epochs: int) -> float:
    """Return the learning rate with the best mean accuracy on validation rows."""

    def mean(rate: float) -> float:
        seeds = range(FIRST_CHOOSING, FIRST_CHOOSING + CHOOSING)
        trained = [train(task, kind, rate, seed, epochs) for seed in seeds]
        return statistics.mean(accuracy(model, data.validation) for model, data in trained)

    return max(RATES, key=mean)


def measure(task: Task, kind: str, seeds: int, epochs: int) -> dict[str, Any]:
    """Return parameters, learning rate, and the accuracy for each seed."""
    rate = choose_rate(task, kind, epochs)
    trained = [train(task, kind, rate, seed, epochs) for seed in range(seeds)]
    return {
        "kind": kind,
        "parameters": count(trained[0][0]),
        "rate": rate,
        "train": [accuracy(model, data.train) for model, data in trained],
        "test": [accuracy(model, data.test) for model, data in trained],
    }


# -- the report ---------------------------------------------------------------------------------


def spread(accuracies: list[float]) -> str:
    """Return mean and standard deviation in percent."""
    deviation = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
    return f"{100 * statistics.mean(accuracies):.1f} ± {100 * deviation:.1f}"


def report(found: dict[str, list[dict[str, Any]]], seeds: int, versions: dict[str, str]) -> str:
    """Return everything as text."""
    rows = [
        [name, line["kind"], f"{line['parameters']:,}", f"{line['rate']:g}"]
        + [spread(line["train"]), spread(line["test"])]
        for name, lines in found.items()
        for line in lines
    ]
    header = ("data", "middle", "parameters", "rate", "training rows, %", "test rows, %")
    return "\n\n".join(
        [
            "# Accuracy of QuantumLayer",
            (__doc__ or "").partition("\n")[2].strip().replace("``", "`"),
            f"Mean and standard deviation over {seeds} seeds, each of which draws its own split "
            "(60 % to train on, 20 % to choose by, 20 % to judge by), weights and batches. "
            "Values are computed exactly. Parameters are those of the whole model.",
            harness.table(header, rows),
            "- *moons*: `QuantumLayer(2, 2, encoding='reuploading', layers=4, scale_inputs=True)`, "
            "`Linear(2, 2)`; 400 points, noise 0.2.\n"
            "- *iris*: `QuantumLayer(4, 3, layers=2)`, `Linear(3, 3)`; 150 flowers.\n"
            "- *digits, angles*: `Linear(64, 6)`, `QuantumLayer(6, 10, encoding='reuploading')`, "
            "`Linear(10, 10)`; 1,797 images of 8 x 8. The classical layer with as many parameters "
            "has 2 units in the middle.\n"
            "- *digits, amplitudes*: `QuantumLayer(64, 10, encoding='amplitude', layers=6)`, "
            "`Linear(10, 10)`; the classical layer has a single unit in the middle, since it has a "
            "weight for each pixel. Equal numbers of parameters favour whatever shares them among "
            "inputs and outputs; the linear classifier shows what a plain model does.",
            ", ".join(f"{key} {value}" for key, value in versions.items()),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tasks", nargs="*", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="two seeds, two epochs, not kept")
    parser.add_argument("--output", type=Path, default=harness.RESULTS)
    options = parser.parse_args()
    seeds = 2 if options.quick else options.seeds
    torch.set_num_threads(1)
    found: dict[str, list[dict[str, Any]]] = {}
    for name in options.tasks:
        task = TASKS[name]
        epochs = 2 if options.quick else task.epochs
        found[name] = []
        for kind in KINDS:
            line = measure(task, kind, seeds, epochs)
            found[name].append(line)
            print(name, kind, line["parameters"], line["rate"], spread(line["test"]), flush=True)
    versions = {"qiskit-torch-bridge": __version__}
    versions |= harness.environment(["torch", "qiskit", "scikit-learn"])
    text = report(found, seeds, versions)
    print(text)
    if not options.quick:
        harness.save(NAME, text, {"versions": versions, "tasks": found}, options.output)


if __name__ == "__main__":
    main()
