# SPDX-License-Identifier: Apache-2.0
"""Hello: one qubit, three angles, and why the gradient matters once there is shot noise."""

from __future__ import annotations

import argparse
import math
import time
from typing import Any

import torch
from qiskit.circuit import Parameter, QuantumCircuit

from .. import TorchQuantumModule, expectation
from ..gradients import FiniteDifferenceEstimatorGradient
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
from .devices import add_backend_argument, measured_on
from .results import Case, HelloTraining

SUMMARY = "one qubit learns a given sigma-z expectation value, with three kinds of gradient"

EPSILON = 0.01
"""The step of the finite differences. It is small enough for a good difference quotient; at 100
shots the noise it lets through is several times the largest slope there is."""

START = dict.fromkeys(("theta", "phi", "lam"), math.pi / 4)
"""The initial weights: the same for all cases, and no place where the noise is special."""

NOISE_REPEATS = 40


CASES = (
    Case("finite-difference", 10_000),
    Case("finite-difference", 100),
    Case("analytic", 100),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the demonstration's flags."""
    add_common_arguments(
        parser,
        shots="default: three cases are compared; 100 if --gradient is given",
        gradient="default: three cases are compared; 'analytic' if --shots is given",
        plot="write the training curves to this file",
    )
    add_backend_argument(parser)
    parser.add_argument(
        "--target",
        type=number(-1, 1, closed=True),
        default=-0.4,
        help="the expectation value to learn, from -1 to 1 (default -0.4)",
    )
    parser.add_argument(
        "--epsilon",
        type=number(0),
        help=f"step of the finite differences in radians (default {EPSILON})",
    )
    parser.add_argument("--steps", type=whole(1), default=200, help="training steps (default 200)")
    parser.add_argument(
        "--lr",
        type=number(0),
        default=0.3,
        help="learning rate of the first step; it falls to zero (default 0.3)",
    )


def build_circuit() -> QuantumCircuit:
    """Return one U gate; the expectation value of Z after it is cos(theta)."""
    circuit = QuantumCircuit(1)
    circuit.u(Parameter("theta"), Parameter("phi"), Parameter("lam"), 0)
    return circuit


def build_module(
    case: Case, epsilon: float, seed: int, backend: str | None = None
) -> TorchQuantumModule:
    """Return the circuit as a module with the gradient and the shots of ``case``."""
    circuit, observables, estimator = measured_on(backend, build_circuit(), "Z", seed)
    gradient: Any = GRADIENTS[case.gradient]
    if case.gradient == "finite-difference":
        gradient = FiniteDifferenceEstimatorGradient(estimator, epsilon=epsilon)
    by_name = {p.name: p for p in circuit.parameters}
    return TorchQuantumModule(
        circuit,
        observables,
        weight_params=[by_name[name] for name in START],
        estimator=estimator,
        gradient=gradient,
        shots=case.shots,
        initial_weights=list(START.values()),
    )


def train(
    module: TorchQuantumModule, case: Case, target: float, steps: int, lr: float
) -> HelloTraining:
    """Minimise the squared distance to ``target`` by stochastic gradient descent.

    The learning rate falls to zero along a cosine: with noisy gradients a constant one would
    leave the weights trembling around the optimum for ever.
    """
    training = HelloTraining(case)
    training.noise = _slope_noise(module)
    meter = module.estimator
    before, start = meter.values, time.perf_counter()
    optimizer = torch.optim.SGD(module.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    with progress(steps, case.label) as bar:
        for _ in range(steps):
            training.curve.append(_exact(module))
            optimizer.zero_grad()
            loss = (module() - target).square().sum()
            loss.backward()
            optimizer.step()
            schedule.step()
            bar.set_postfix(value=f"{training.curve[-1]:+.3f}", refresh=False)
            bar.update()
    training.seconds = time.perf_counter() - start
    training.values = meter.values - before
    training.curve.append(_exact(module))
    with torch.no_grad():
        training.sampled = module().item()
    return training


def _exact(module: TorchQuantumModule) -> float:
    with torch.no_grad():
        return expectation(module.program, weights=module.weight).item()


def _slope_noise(module: TorchQuantumModule) -> float:
    slopes = []
    for _ in range(NOISE_REPEATS):
        (slope,) = torch.autograd.grad(module().sum(), module.weight)
        slopes.append(slope[0])
    return torch.stack(slopes).std().item()


def chosen_cases(options: argparse.Namespace) -> tuple[Case, ...]:
    """Return the three cases, or the one that ``--gradient`` and ``--shots`` describe."""
    cases: tuple[Case, ...] = CASES
    if options.gradient is not None or options.shots is not None:
        cases = (Case(options.gradient or "analytic", options.shots or 100),)
    if options.epsilon is not None and all(c.gradient != "finite-difference" for c in cases):
        raise DemoError(
            f"--epsilon is the step of finite differences; --gradient is {cases[0].gradient}. "
            "Leave --epsilon out, or add --gradient finite-difference."
        )
    return cases


def run(options: argparse.Namespace) -> list[HelloTraining]:
    """Train every case from the same start, print a summary, and plot if asked."""
    cases = chosen_cases(options)
    require("tqdm")
    check_plot(options.plot)
    epsilon = EPSILON if options.epsilon is None else options.epsilon
    trainings = [
        train(
            build_module(case, epsilon, options.seed, options.backend),
            case,
            options.target,
            options.steps,
            options.lr,
        )
        for case in cases
    ]
    print(summary(trainings, options.target, options.steps, epsilon))
    if options.plot is not None:
        from .plotting import plot_hello

        plot_hello(options.plot, trainings, options.target)
        print(f"\nThe training curves are in {options.plot}.")
    return trainings


def summary(trainings: list[HelloTraining], target: float, steps: int, epsilon: float) -> str:
    """Return the table that is printed at the end."""
    width = max(len(t.case.label) for t in trainings)
    lines = [
        "",
        f"Target <Z> = {target:+.3f}, {steps} steps, start at {trainings[0].curve[0]:+.3f}",
        "",
        f"{'case':{width}}  final <Z>   error  measured  slope noise  evaluations  seconds",
    ]
    for t in trainings:
        lines.append(
            f"{t.case.label:{width}}  {t.final:+9.4f}  {abs(t.final - target):6.4f}  "
            f"{t.sampled:+8.4f}  {t.noise:11.3f}  {t.values:11,}  {t.seconds:7.1f}"
        )
    lines += [
        "",
        "final <Z>: exact, at the final weights; measured: the same from the case's shots.",
        "slope noise: standard deviation of one measured d<Z>/d(theta), which is never above 1.",
    ]
    if any(t.case.gradient == "finite-difference" for t in trainings):
        lines.append(f"Finite differences are central, with a step of {epsilon:g}.")
    return "\n".join(lines)
