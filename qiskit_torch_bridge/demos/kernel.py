# SPDX-License-Identifier: Apache-2.0
"""Kernel: a support vector machine with a quantum kernel, as it is and trained by alignment."""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from qiskit.circuit import ParameterVector, QuantumCircuit

from ..kernels import FidelityKernel, target_alignment
from .command_line import (
    Options,
    check_extras,
    option,
    positive,
    progress,
    require,
    table,
    use_threads,
    whole,
)
from .plots import plot_kernel
from .problems import FloatArray

SUMMARY = "a quantum kernel is trained by its alignment, for a support vector machine"
TAKES = "30 s"

SQUARES = 4
"""Along each side of the checkerboard."""
MOON_NOISE = 0.2
START_WIDTH = 0.3 * math.pi
"""The first weights are drawn from minus to plus this."""
PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0)
WIDTHS = (0.3, 1.0, 3.0, 10.0, 30.0)
FOLDS = 5
ZZ_REPS = 2
GRID = 60
"""Points along each side of the plot at which decisions are evaluated."""

OPTIONS: Options = {
    "--data": option(
        "fields of a checkerboard, or two moons", default="checkerboard",
        choices=["checkerboard", "moons"],
    ),
    "--points": option("points that are trained with", whole(20, 2000), 100),
    "--tests": option("points that accuracies are measured with", whole(20, 10_000), 400),
    "--repeats": option("trainings, each with data and weights of its own", whole(1, 100), 5),
    "--qubits": option("qubits of the circuit", whole(2, 10), 5),
    "--layers": option("layers of the circuit", whole(1, 20), 6),
    "--steps": option("training steps", whole(1), 60),
    "--lr": option("Adam's learning rate", positive, 0.1),
    "--shots": option(
        "shots for each pair of points that the machine sees; kernels are trained exactly "
        "(default: exact values)",
        whole(1),
    ),
    "--seed": option("makes the run repeatable", whole(0, 2**31 - 1), 0),
    "--plot": option(
        "write decisions before and after the training, and alignments, to this file",
        Path, metavar="FILE.png",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Points:
    """Labelled points of the plane: ``(N, 2)`` between about -1 and 1, and classes ``(N,)``."""

    x: FloatArray
    y: FloatArray


@dataclass
class Repeat:
    """One training, and what came of it.

    Attributes:
        train: What was trained with.
        kernels: The circuit's kernel before and after.
        alignments: Before every step, and after the last.
        accuracies: Of each kernel, by its name, with the points for tests.
        decisions: What a machine decides with the circuit's kernels: a function for each.
        seconds: What the training took.
    """

    train: Points
    kernels: tuple[FidelityKernel, FidelityKernel]
    alignments: list[float]
    accuracies: dict[str, float] = field(default_factory=dict)
    decisions: list[Callable[[FloatArray], FloatArray]] = field(default_factory=list)
    seconds: float = 0.0


def checkerboard(count: int, generator: np.random.Generator) -> Points:
    """Return points on a board whose fields are of two classes in turn.

    T. Hubregtsen et al., Phys. Rev. A 106, 042431 (2022), arXiv:2105.02276, train quantum kernels
    on such a board.
    """
    x = generator.uniform(-1, 1, (count, 2))
    fields = np.floor((x + 1) * SQUARES / 2)
    return Points(x, fields.sum(axis=1) % 2)


def moons(count: int, generator: np.random.Generator) -> Points:
    """Return two half circles that reach into each other, with noise, as scikit-learn has them."""
    y = np.arange(count) % 2
    angles = generator.uniform(0, math.pi, count)
    upper = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    x = np.where(y[:, None] == 0, upper, [1.0, 0.5] - upper)
    x += generator.normal(0, MOON_NOISE, x.shape)
    return Points((x - [0.5, 0.25]) / [1.5, 0.8], y.astype(float))


DATA: dict[str, Callable[[int, np.random.Generator], Points]] = {
    "checkerboard": checkerboard,
    "moons": moons,
}


def build_circuit(
    qubits: int, layers: int
) -> tuple[QuantumCircuit, ParameterVector, ParameterVector]:
    """Return layers that read both coordinates again and again, with their scales as weights.

    Each has Rz of a weight times a coordinate and Ry of a weight on each qubit, and controlled Rz
    of weights around a ring.
    """
    inputs, weights = ParameterVector("x", 2), ParameterVector("w", 3 * qubits * layers)
    angles = iter(weights)
    circuit = QuantumCircuit(qubits)
    circuit.h(range(qubits))
    for layer in range(layers):
        for qubit in range(qubits):
            circuit.rz(next(angles) * inputs[(qubit + layer) % 2], qubit)
            circuit.ry(next(angles), qubit)
        for qubit in range(qubits):
            circuit.crz(next(angles), qubit, (qubit + 1) % qubits)
    return circuit, inputs, weights


def zz_kernel() -> FidelityKernel:
    """Return the kernel of the ZZ feature map, which has no weights.

    V. Havlicek et al., Nature 567, 209 (2019), arXiv:1804.11326.
    """
    x = ParameterVector("x", 2)
    circuit = QuantumCircuit(2)
    for _ in range(ZZ_REPS):
        circuit.h([0, 1])
        circuit.p(2 * x[0], 0)
        circuit.p(2 * x[1], 1)
        circuit.cx(0, 1)
        circuit.p(2 * (math.pi - x[0]) * (math.pi - x[1]), 1)
        circuit.cx(0, 1)
    return FidelityKernel(circuit)


def train(points: Points, options: argparse.Namespace, seed: int, bar: Any) -> Repeat:
    """Train the circuit's kernel by its centered alignment with the labels."""
    circuit, inputs, weights = build_circuit(options.qubits, options.layers)
    start = np.random.default_rng(seed).uniform(-START_WIDTH, START_WIDTH, len(weights))
    kernel = FidelityKernel(circuit, input_params=inputs, initial_weights=start)
    before = kernel.with_backend()
    optimizer = torch.optim.Adam(kernel.parameters(), lr=options.lr)
    x, alignments = torch.from_numpy(points.x), []
    began = time.perf_counter()
    for _ in range(options.steps):
        optimizer.zero_grad()
        alignment = target_alignment(kernel(x), points.y, centered=True)
        (-alignment).backward()
        optimizer.step()
        alignments.append(alignment.item())
        bar.set_postfix(alignment=f"{alignments[-1]:.3f}", refresh=False)
        bar.update()
    seconds = time.perf_counter() - began
    with torch.no_grad():
        alignments.append(target_alignment(kernel(x), points.y, centered=True).item())
    return Repeat(points, (before, kernel), alignments, seconds=seconds)


def fit(kernel: FidelityKernel, points: Points) -> Any:
    """Return a support vector machine whose penalty was chosen by cross-validation."""
    machine = require("sklearn.svm").SVC(kernel="precomputed")
    search = require("sklearn.model_selection").GridSearchCV
    return search(machine, {"C": PENALTIES}, cv=FOLDS).fit(kernel(points.x), points.y)


def fit_gaussian(points: Points) -> Any:
    """Return the same with a Gaussian kernel, the width of which is chosen as well."""
    machine = require("sklearn.svm").SVC(kernel="rbf")
    search = require("sklearn.model_selection").GridSearchCV
    choices = {"C": PENALTIES, "gamma": WIDTHS}
    return search(machine, choices, cv=FOLDS).fit(points.x, points.y)


def evaluate(repeat: Repeat, tests: Points, options: argparse.Namespace, seed: int) -> None:
    """Measure how well each kernel tells the classes of new points."""
    train_set = repeat.train
    gaussian = fit_gaussian(train_set)
    repeat.accuracies["Gaussian, classical"] = gaussian.score(tests.x, tests.y)
    named = {"ZZ feature map": zz_kernel()}
    named |= dict(zip(("circuit, untrained", "circuit, trained"), repeat.kernels, strict=True))
    for name, exact in named.items():
        kernel = exact
        if options.shots is not None:
            kernel = exact.with_backend(shots=options.shots, seed=seed)
            kernel.psd = "clip"
        machine = fit(kernel, train_set)
        repeat.accuracies[name] = machine.score(kernel(tests.x, train_set.x), tests.y)
        if exact in repeat.kernels:
            repeat.decisions.append(_decide(machine, exact, train_set))


def _decide(
    machine: Any, kernel: FidelityKernel, points: Points
) -> Callable[[FloatArray], FloatArray]:
    return lambda x: machine.decision_function(kernel(x, points.x))


def repeats(options: argparse.Namespace) -> Iterator[tuple[int, Points, Points]]:
    """Yield a seed, points to train with and points for tests."""
    for seed in itertools.islice(itertools.count(options.seed), options.repeats):
        generator = np.random.default_rng((seed, 1))
        make = DATA[options.data]
        yield seed, make(options.points, generator), make(options.tests, generator)


def run(options: argparse.Namespace) -> list[Repeat]:
    """Train what is asked for, print a table, and plot if asked."""
    check_extras(options.plot)
    require("sklearn.svm")
    done = []
    with use_threads(1), progress(options.repeats * options.steps, options.data) as bar:
        for seed, points, tests in repeats(options):
            done.append(train(points, options, seed, bar))
            evaluate(done[-1], tests, options, seed)
    print(summarise(done, options))
    if options.plot is not None:
        plot_kernel(options.plot, done, GRID)
        print(f"\nDecisions and alignments are in {options.plot}.")
    return done


def summarise(done: list[Repeat], options: argparse.Namespace) -> str:
    """Return the table that is printed at the end."""
    rows = []
    for name in done[0].accuracies:
        found = np.array([repeat.accuracies[name] for repeat in done])
        spread = found.std(ddof=1) if len(done) > 1 else math.nan
        rows.append([name, f"{found.mean():.3f}", f"{spread:.3f}", f"{found.min():.3f}"])
    first, last = (np.mean([r.alignments[k] for r in done]) for k in (0, -1))
    pairs = zip(*(
        [r.accuracies[name] for r in done] for name in ("circuit, untrained", "circuit, trained")
    ), strict=True)  # fmt: skip
    better = sum(after > before for before, after in pairs)
    seconds = sum(r.seconds for r in done)
    values = "exact values" if options.shots is None else f"{options.shots:,} shots a pair"
    return f"""
{options.data}: {options.points} points to train with, {options.tests} for tests, {values}

{table(["kernel", "test accuracy", "deviation", "lowest"], rows)}

{len(done)} trainings of {options.steps} steps in {seconds:.1f} s. The centered alignment went from
{first:.3f} to {last:.3f}, and accuracy rose in {better} of {len(done)}."""
