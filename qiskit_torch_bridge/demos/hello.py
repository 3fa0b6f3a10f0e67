# SPDX-License-Identifier: Apache-2.0
"""Hello: one qubit, three angles, and why the gradient matters once there is shot noise."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from typing import NamedTuple

import torch
from qiskit.circuit import Parameter, QuantumCircuit

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
from .plots import plot_hello

SUMMARY = "one qubit learns a given sigma-z expectation value, with three kinds of gradient"

EPSILON = 0.01
"""The step of the finite differences. It is small enough for a good difference quotient; at 100
shots the noise it lets through is several times the largest slope there is."""

START = dict.fromkeys(("theta", "phi", "lam"), math.pi / 4)
"""The initial weights: the same for all cases, and no place where the noise is special."""

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
    "--steps": option("training steps", whole(1), 200),
    "--lr": option("learning rate of the first step; it falls to zero", positive, 0.3),
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


def build_module(
    case: Case, epsilon: float, seed: int, backend: str | None = None
) -> TorchQuantumModule:
    """Return one U gate as a module; the expectation value of Z after it is cos(theta)."""
    circuit = QuantumCircuit(1)
    angles = [Parameter(name) for name in START]
    circuit.u(angles[0], angles[1], angles[2], 0)
    differences = case.gradient == "finite-difference"
    return TorchQuantumModule(
        circuit,
        "Z",
        weight_params=angles,
        gradient=FiniteDifference(epsilon) if differences else GRADIENTS[case.gradient],
        shots=case.shots,
        initial_weights=list(START.values()),
        seed=seed,
        **place_on(backend, 1, seed),
    )


def train(module: TorchQuantumModule, case: Case, target: float, steps: int, lr: float) -> Training:
    """Minimise the squared distance to ``target`` by stochastic gradient descent.

    The learning rate falls to zero along a cosine: with noisy gradients a constant one would
    leave the weights trembling around the optimum for ever.
    """
    noise = measure_noise(module)
    curve, start = [], time.perf_counter()
    optimizer = torch.optim.SGD(module.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    with progress(steps, case.label) as bar, Tracker() as tracker:
        for _ in range(steps):
            curve.append(exact_value(module))
            optimizer.zero_grad()
            loss = (module() - target).square().sum()
            loss.backward()
            optimizer.step()
            schedule.step()
            bar.set_postfix(value=f"{curve[-1]:+.3f}", refresh=False)
            bar.update()
    seconds = time.perf_counter() - start
    curve.append(exact_value(module))
    with torch.no_grad():
        sampled = module().item()
    return Training(case, curve, sampled, noise, tracker.usage.points, seconds)


@torch.no_grad()
def exact_value(module: TorchQuantumModule) -> float:
    """Return the expectation value without shot noise."""
    return expectation(module.program, weights=module.weight).item()


def measure_noise(module: TorchQuantumModule) -> float:
    """Return the standard deviation of the slope with respect to theta at the weights."""
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


def run(options: argparse.Namespace) -> list[Training]:
    """Train every case from the same start, print a summary, and plot if asked."""
    cases = choose_cases(options)
    check_extras(options.plot)
    epsilon = options.epsilon or EPSILON
    trainings = []
    for case in cases:
        module = build_module(case, epsilon, options.seed, options.backend)
        trainings.append(train(module, case, options.target, options.steps, options.lr))
    print(summarise(trainings, options.target, options.steps, epsilon))
    if options.plot is not None:
        plot_hello(options.plot, trainings, options.target)
        print(f"\nThe training curves are in {options.plot}.")
    return trainings


def summarise(trainings: Sequence[Training], target: float, steps: int, epsilon: float) -> str:
    """Return the table that is printed at the end."""
    header = ("case", "final <Z>", "error", "measured", "slope noise", "evaluations", "seconds")
    rows = [
        (
            t.case.label,
            f"{t.curve[-1]:+.4f}",
            f"{abs(t.curve[-1] - target):.4f}",
            f"{t.sampled:+.4f}",
            f"{t.noise:.3f}",
            f"{t.evaluations:,}",
            f"{t.seconds:.1f}",
        )
        for t in trainings
    ]
    text = f"""
Target <Z> = {target:+.3f}, {steps} steps, start at {trainings[0].curve[0]:+.3f}

{table(header, rows)}

final <Z>: exact, at the final weights; measured: the same with the shots of the case.
slope noise: standard deviation of one measured d<Z>/d(theta), which is never above 1."""
    if any(t.case.gradient == "finite-difference" for t in trainings):
        text += f"\nFinite differences are central, with a step of {epsilon:g}."
    return text
