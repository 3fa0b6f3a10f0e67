# SPDX-License-Identifier: Apache-2.0
"""Generative: a circuit learns to draw bit strings from a given distribution."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import torch
from qiskit.circuit import ParameterVector, QuantumCircuit
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from .. import Probabilities, TorchQuantumModule, Tracker, expectation
from .command_line import (
    BACKEND_OPTION,
    GRADIENTS,
    Options,
    check_extras,
    common_options,
    option,
    place_on,
    positive,
    progress,
    table,
    use_threads,
    whole,
)
from .distributions import Target, bars_and_stripes, mixture
from .plots import plot_generative
from .problems import FloatArray

SUMMARY = "a circuit learns a distribution: by its discrepancy, or against a discriminator"
TAKES = "30 s"

METHODS = {"mmd": "maximum mean discrepancy", "gan": "against a discriminator"}

PLANS = {"bars": ("mmd",), "mixture": ("mmd", "gan")}
"""What is trained on which target. Against a discriminator bars and stripes end with a few of the
images alone, which is what generative adversarial networks are notorious for."""

REPS = {"bars": 8, "mixture": 4}
LEARNING_RATES = {"mmd": 0.1, "gan": 0.03}

DISCRIMINATOR_RATE, DISCRIMINATOR_BETAS, HIDDEN = 0.01, (0.5, 0.999), 64

START_WIDTH = 0.3
"""Deviation of the first angles from those of a uniform distribution."""

SHOTS_ON_BACKEND = 1000

Loss: TypeAlias = Callable[[Tensor], Tensor]
"""From the circuit's probabilities ``(2**n,)`` to what it minimises."""

OPTIONS: Options = {
    **common_options(
        each="circuit",
        shots="default: exact probabilities; 1,000 on a backend",
        gradient="default: exact; parameter-shift with --shots or on a backend",
        plot="write distributions, divergences and samples to this file",
    ),
    **BACKEND_OPTION,
    "--target": option(
        "bars and stripes of 3 x 3 pixels, or a mixture of two Gaussians (default: both)",
        choices=list(PLANS),
    ),
    "--method": option(
        "minimise the maximum mean discrepancy, or play against a discriminator, as a QGAN "
        "(default: both on the mixture, mmd on bars)",
        choices=list(METHODS),
    ),
    "--qubits": option("qubits of the mixture's circuit", whole(2, 10), 6),
    "--reps": option("layers of the circuit (default 8 for bars, 4 for the mixture)", whole(1)),
    "--steps": option("training steps", whole(1), 400),
    "--lr": option(
        "Adam's learning rate in the first step; it falls to zero (default 0.1 for mmd, 0.03 for "
        "gan)",
        positive,
    ),
}


@dataclass
class Training:
    """What one training came to."""

    target: Target
    method: str
    module: TorchQuantumModule
    # the exact probabilities before the first step and after the last, (2**n,)
    before: FloatArray
    after: FloatArray
    # the exact divergence before every step and after the last
    divergences: list[float] = field(default_factory=list)
    points: int = 0  # the points that a sampler evaluated
    seconds: float = 0.0

    @property
    def label(self) -> str:
        """The training in words."""
        return f"{self.target.title}, {self.method}"


def build_circuit(target: Target, reps: int) -> QuantumCircuit:
    """Return layers of Ry, Rz and, along the target's bonds, Rzz; at the end Rz and Ry."""
    size = target.num_qubits
    count = reps * (2 * size + len(target.bonds)) + 2 * size
    weights = iter(ParameterVector("weight", count))
    circuit = QuantumCircuit(size)
    for _ in range(reps):
        for qubit in range(size):
            circuit.ry(next(weights), qubit)
            circuit.rz(next(weights), qubit)
        for bond in target.bonds:
            circuit.rzz(next(weights), *bond)
    for qubit in range(size):
        circuit.rz(next(weights), qubit)
        circuit.ry(next(weights), qubit)
    return circuit


def build_module(target: Target, options: argparse.Namespace, reps: int) -> TorchQuantumModule:
    """Return a circuit whose output are the probabilities of all outcomes.

    It starts near the uniform distribution, from where it is not far to any outcome.
    """
    circuit = build_circuit(target, reps)
    weights = np.random.default_rng(options.seed).normal(0, START_WIDTH, circuit.num_parameters)
    weights[-2 * target.num_qubits + 1 :: 2] += math.pi / 2
    sampled = options.shots is not None or options.backend is not None
    return TorchQuantumModule(
        circuit,
        Probabilities(),
        gradient=None if options.gradient is None else GRADIENTS[options.gradient],
        shots=options.shots or SHOTS_ON_BACKEND if sampled else None,
        initial_weights=torch.from_numpy(weights),
        seed=options.seed,
        **place_on(options.backend, target.num_qubits, options.seed),
    )


@torch.no_grad()
def exact_probabilities(module: TorchQuantumModule) -> FloatArray:
    """Return the probabilities of all outcomes, without shots and noise."""
    found: FloatArray = expectation(module.program, weights=module.weight).double().numpy()
    return found


def discrepancy(target: Target) -> Loss:
    r"""Return the squared maximum mean discrepancy from the target.

    .. math:: (p - q)^T K (p - q)

    with the kernel ``K`` and the target ``q`` (A. Gretton et al., J. Mach. Learn. Res. 13, 723
    (2012); of circuits J.-G. Liu and L. Wang, Phys. Rev. A 98, 062324 (2018), arXiv:1804.04168).
    """
    wanted, kernel = torch.from_numpy(target.probabilities), torch.from_numpy(target.kernel)

    def loss(probabilities: Tensor) -> Tensor:
        difference = probabilities.double() - wanted
        return difference @ kernel @ difference

    return loss


def adversary(target: Target) -> Loss:
    """Return a loss for which a discriminator is trained a step whenever it is asked.

    It tells the target's outcomes from the circuit's, and the circuit wants its own to be taken
    for the target's (I. Goodfellow et al., arXiv:1406.2661; with a circuit in the place of the
    generator C. Zoufal, A. Lucchi and S. Woerner, npj Quantum Inf. 5, 103 (2019)). Means are over
    all outcomes, weighted by their probabilities.
    """
    outcomes = torch.from_numpy(1 - 2 * target.bits)
    wanted = torch.from_numpy(target.probabilities)
    discriminator = nn.Sequential(
        nn.Linear(target.num_qubits, HIDDEN),
        nn.LeakyReLU(0.2),
        nn.Linear(HIDDEN, HIDDEN),
        nn.LeakyReLU(0.2),
        nn.Linear(HIDDEN, 1),
    ).double()
    optimizer = torch.optim.Adam(
        discriminator.parameters(), lr=DISCRIMINATOR_RATE, betas=DISCRIMINATOR_BETAS
    )

    def loss(probabilities: Tensor) -> Tensor:
        found = probabilities.detach().double()
        scores = discriminator(outcomes)[:, 0]
        optimizer.zero_grad()
        (-(wanted * logsigmoid(scores) + found * logsigmoid(-scores)).sum()).backward()
        optimizer.step()
        with torch.no_grad():
            scores = discriminator(outcomes)[:, 0]
        return -(probabilities.double() * logsigmoid(scores)).sum()

    return loss


LOSSES = {"mmd": discrepancy, "gan": adversary}


def train(target: Target, method: str, options: argparse.Namespace, reps: int) -> Training:
    """Train a circuit with Adam, and follow its exact divergence from the target."""
    module = build_module(target, options, reps)
    loss_of = LOSSES[method](target)
    before = exact_probabilities(module)
    training = Training(target, method, module, before, before, [target.divergence(before)])
    optimizer = torch.optim.Adam(module.parameters(), lr=options.lr or LEARNING_RATES[method])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
    began = time.perf_counter()
    with progress(options.steps, training.label) as bar, Tracker() as tracker:
        for _ in range(options.steps):
            optimizer.zero_grad()
            loss_of(module()).backward()
            optimizer.step()
            schedule.step()
            training.after = exact_probabilities(module)
            training.divergences.append(target.divergence(training.after))
            bar.set_postfix(divergence=f"{training.divergences[-1]:.3f}", refresh=False)
            bar.update()
    training.seconds, training.points = time.perf_counter() - began, tracker.usage.points
    return training


def plan(options: argparse.Namespace) -> Iterator[tuple[Target, str, int]]:
    """Yield targets with the methods that are to learn them, and numbers of layers."""
    for name in PLANS if options.target is None else [options.target]:
        target = bars_and_stripes() if name == "bars" else mixture(options.qubits)
        for method in PLANS[name] if options.method is None else [options.method]:
            yield target, method, options.reps or REPS[name]


def run(options: argparse.Namespace) -> list[Training]:
    """Train what is asked for, print a table, and plot if asked."""
    check_extras(options.plot)
    trainings = []
    with torch.random.fork_rng(devices=[]), use_threads(1):  # a caller's stay as they were
        for target, method, reps in plan(options):
            torch.manual_seed(options.seed)
            trainings.append(train(target, method, options, reps))
    print(summarise(trainings))
    if options.plot is not None:
        plot_generative(options.plot, trainings)
        print(f"\nDistributions, divergences and samples are in {options.plot}.")
    return trainings


def summarise(trainings: list[Training]) -> str:
    """Return the table that is printed at the end."""
    header = ["target and method", "angles", "KL before", "after", "distance before", "after"]
    rows = [
        [
            t.label,
            f"{t.module.weight.numel()}",
            f"{t.divergences[0]:.3f}",
            f"{t.divergences[-1]:.3f}",
            f"{t.target.distance(t.before):.3f}",
            f"{t.target.distance(t.after):.3f}",
            f"{t.points:,}" if t.points else "none",
            f"{t.seconds:.1f}",
        ]
        for t in trainings
    ]
    shots = trainings[0].module.shots
    values = "exact probabilities" if shots is None else f"{shots:,} shots"
    methods = "\n".join(f"{name}: {METHODS[name]}." for name in {t.method: None for t in trainings})
    return f"""
{len(trainings[0].divergences) - 1} steps, {values}

{table([*header, "evaluations", "seconds"], rows)}

KL: the divergence of the target from the circuit's exact distribution; distance: the total
variation distance, the probability that is in the wrong place.
{methods}"""
