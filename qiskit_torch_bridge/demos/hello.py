# SPDX-License-Identifier: Apache-2.0
"""Hello: a circuit of one gate, and why the gradient matters once there is shot noise."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from statistics import fmean, pstdev
from typing import NamedTuple, TypeAlias

import torch

from .. import TorchQuantumModule, Tracker, expectation
from ..gradients import FiniteDifference
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
    table,
    whole,
)
from .node_circuits import TWO_QUBITS, NodeCircuit, one_qubit
from .plots import plot_hello

SUMMARY = "one qubit learns a given expectation value of sigma-z, by three gradients"
TAKES = "30 s"

EPSILON = 0.01
"""The step of the finite differences. It is small enough for a good difference quotient; at 100
shots the noise it lets through is several times the largest slope there is."""

STARTS: dict[str, list[float]] = {
    "u": [math.pi / 4] * 3,
    "u3": [math.pi / 4] * 3,
    "u2": [0.0, math.pi / 4],
    "ry": [0.0],
    "two-u3": [math.pi / 4] * 3,
    "qaoa": [math.pi / 4, math.pi / 4, 1.0, 0.5, 0.1],
}
"""The circuits and their initial weights: the same for all cases, and for the first circuit no
place where the noise is special. The others are those of the project's origin, and so are their
weights."""

LEARNING_RATES = {"sgd": 0.3, "adam": 0.1}

NOISE_REPEATS = 40

OPTIONS: Options = {
    **common_options(
        shots="default: three cases are compared; 100 if --gradient is given",
        gradient="default: three cases are compared; 'analytic' if --shots is given",
        plot="write the training curves to this file",
    ),
    **BACKEND_OPTION,
    "--target": option("the expectation value to learn, from -1 to 1", number(-1, 1), -0.4),
    "--epsilon": option(f"step of the finite differences (default {EPSILON} radians)", positive),
    "--circuit": option(
        "the circuit: 'u' is a gate alone; 'u3', 'u2' and 'ry' are gates after an H gate; 'two-u3' "
        "and 'qaoa' are circuits of two qubits, whose expectation values are added",
        default="u",
        choices=list(STARTS),
    ),
    "--start": option(
        "the first angles, in radians (default: those of the origin; pi/4 for u)",
        number(-math.inf, math.inf),
        nargs="+",
        metavar="ANGLE",
    ),
    "--steps": option("training steps", whole(1), 200),
    "--repeats": option("trainings of each case, from seeds one after the other", whole(1), 5),
    "--optimizer": option("the optimizer", default="sgd", choices=list(LEARNING_RATES)),
    "--lr": option("learning rate of the first step (default 0.3 for sgd, 0.1 for adam)", positive),
    "--schedule": option(
        "how the learning rate goes on: it falls to zero along a cosine, or stays",
        default="cosine",
        choices=["cosine", "constant"],
    ),
}


class Case(NamedTuple):
    """One training: a value of ``--gradient`` and a number of shots."""

    gradient: str
    shots: int

    @property
    def label(self) -> str:
        """The case in words."""
        return f"{self.gradient.replace('-', ' ')}, {self.shots:,} shots"


CASES = (
    Case("finite-difference", 10_000),
    Case("finite-difference", 100),
    Case("analytic", 100),
)


class Training(NamedTuple):
    """What one training came to."""

    case: Case
    curve: list[float]  # the exact expectation value before every step and after the last
    sampled: float  # the expectation value at the final weights, measured with the case's shots
    noise: float  # the measured standard deviation of the slope with respect to theta at the start
    evaluations: int  # the number of expectation values that the training measured
    seconds: float


Repeats: TypeAlias = list[Training]
"""Trainings that only their seeds tell apart."""


def build_circuit(name: str) -> NodeCircuit:
    """Return a circuit of :data:`STARTS`: ``"u"`` alone begins without an H gate.

    After ``U(theta, phi, lam)`` alone the expectation value of Z is cos(theta).
    """
    if name in TWO_QUBITS:
        return TWO_QUBITS[name]()
    return one_qubit("u3", after_h=False) if name == "u" else one_qubit(name)


def build_module(
    case: Case,
    epsilon: float,
    seed: int,
    backend: str | None = None,
    circuit: str = "u",
    start: Sequence[float] | None = None,
) -> TorchQuantumModule:
    """Return a circuit of :data:`STARTS` as a module whose weights are all of its angles."""
    node = build_circuit(circuit)
    differences = case.gradient == "finite-difference"
    return TorchQuantumModule(
        node.circuit,
        node.observables,
        weight_params=node.angles,
        gradient=FiniteDifference(epsilon) if differences else GRADIENTS[case.gradient],
        shots=case.shots,
        initial_weights=STARTS[circuit] if start is None else start,
        seed=seed,
        **place_on(backend, node.circuit.num_qubits, seed),
    )


def train(module: TorchQuantumModule, case: Case, options: argparse.Namespace) -> Training:
    """Minimise the squared distance to the target.

    As a rule by stochastic gradient descent, with a learning rate that falls to zero: with noisy
    gradients a constant one would leave the weights trembling around the optimum for ever.
    """
    noise = measure_noise(module)
    curve, began = [], time.perf_counter()
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[options.optimizer]
    optimizer = kind(module.parameters(), lr=options.lr or LEARNING_RATES[options.optimizer])
    falls = options.schedule == "cosine"
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
    with progress(options.steps, case.label) as bar, Tracker() as tracker:
        for _ in range(options.steps):
            curve.append(exact_value(module))
            optimizer.zero_grad()
            loss = (module().sum() - options.target).square()
            loss.backward()
            optimizer.step()
            if falls:
                schedule.step()
            bar.set_postfix(value=f"{curve[-1]:+.3f}", refresh=False)
            bar.update()
    seconds = time.perf_counter() - began
    curve.append(exact_value(module))
    with torch.no_grad():
        sampled = module().sum().item()
    return Training(case, curve, sampled, noise, tracker.usage.points, seconds)


@torch.no_grad()
def exact_value(module: TorchQuantumModule) -> float:
    """Return the expectation value without shot noise, or the sum of two."""
    return expectation(module.program, weights=module.weight).sum().item()


def measure_noise(module: TorchQuantumModule) -> float:
    """Return the standard deviation of the slope with respect to the first angle."""
    repeats = range(NOISE_REPEATS)
    slopes = [torch.autograd.grad(module().sum(), module.weight)[0][0] for _ in repeats]
    return torch.stack(slopes).std().item()


def choose_cases(options: argparse.Namespace) -> Sequence[Case]:
    """Return the three cases, or the one that ``--gradient`` and ``--shots`` describe."""
    cases: Sequence[Case] = CASES
    if options.gradient is not None or options.shots is not None:
        cases = [Case(options.gradient or "analytic", options.shots or 100)]
    if options.epsilon is not None and all(c.gradient != "finite-difference" for c in cases):
        raise DemoError(
            f"--epsilon is the step of finite differences; --gradient is {cases[0].gradient}. "
            "Leave --epsilon out, or add --gradient finite-difference."
        )
    return cases


def run(options: argparse.Namespace) -> list[Repeats]:
    """Train every case several times from the same start, print a summary, and plot if asked."""
    cases = choose_cases(options)
    check_extras(options.plot)
    expected = len(STARTS[options.circuit])
    if options.start is not None and len(options.start) != expected:
        raise DemoError(
            f"Expected --start to give {expected} angle{'s' * (expected > 1)} for the circuit "
            f"{options.circuit}; got {len(options.start)}."
        )
    epsilon = options.epsilon or EPSILON
    trainings = []
    for case in cases:
        modules = [
            build_module(case, epsilon, seed, options.backend, options.circuit, options.start)
            for seed in range(options.seed, options.seed + options.repeats)
        ]
        trainings.append([train(module, case, options) for module in modules])
    print(summarise(trainings, options, epsilon))
    if options.plot is not None:
        num_qubits = 2 if options.circuit in TWO_QUBITS else 1
        plot_hello(options.plot, trainings, options.target, num_qubits)
        print(f"\nThe training curves are in {options.plot}.")
    return trainings


def summarise(trainings: Sequence[Repeats], options: argparse.Namespace, epsilon: float) -> str:
    """Return the table that is printed at the end."""
    target, value = options.target, "<Z>" if options.circuit not in TWO_QUBITS else "<Z> + <Z>"
    header = (
        "case",
        f"final {value}",
        "spread",
        "error",
        "measured",
        "slope noise",
        "evaluations",
        "seconds",
    )
    rows = [
        (
            repeats[0].case.label,
            f"{fmean(t.curve[-1] for t in repeats):+.4f}",
            f"{pstdev(t.curve[-1] for t in repeats):.4f}",
            f"{math.sqrt(fmean((t.curve[-1] - target) ** 2 for t in repeats)):.4f}",
            f"{fmean(t.sampled for t in repeats):+.4f}",
            f"{fmean(t.noise for t in repeats):.3f}",
            f"{repeats[0].evaluations:,}",
            f"{fmean(t.seconds for t in repeats):.1f}",
        )
        for repeats in trainings
    ]
    start = round(trainings[0][0].curve[0], 3) + 0.0  # and no negative zero
    count = f"{options.repeats} training{'s' * (options.repeats > 1)}"
    text = f"""
Circuit {options.circuit}: target {value} = {target:+.3f}, {options.steps} steps, start at \
{start:+.3f}; {count} of each case

{table(header, rows)}

final {value}: exact, at the final weights, mean of all trainings; spread: their standard deviation.
error: root of the mean squared distance to the target; measured: means with the shots of the case.
slope noise: standard deviation of one measured slope, with respect to the first angle, at the
start. Evaluations and seconds are those of one training."""
    if any(repeats[0].case.gradient == "finite-difference" for repeats in trainings):
        text += f"\nFinite differences are central, with a step of {epsilon:g}."
    return text
