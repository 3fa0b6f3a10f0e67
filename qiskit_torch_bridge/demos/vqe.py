# SPDX-License-Identifier: Apache-2.0
"""VQE: ground states with PyTorch's optimizers and the natural gradient, against SLSQP and SPSA."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import get_args

import numpy as np
import torch
from qiskit.circuit import QuantumCircuit

from .. import TorchQuantumModule
from ..arrays import FloatArray
from ..optim.metric import Approximation
from ..primitives import BatchedStatevectorEstimator
from .common import GRADIENTS, DemoError, add_common_arguments, check_plot, require, whole
from .contest import Price, contest, gradient_price, metric_price, warm_up
from .results import VqeResult
from .step_sizes import StepSizes, add_optimizer_arguments, chosen_step_sizes
from .summaries import vqe_summary
from .through_vqe import through_vqe
from .vqe_problems import H2, Problem, exact_energy, exchange_ansatz, heisenberg, rotation_ansatz

SUMMARY = "VQE: PyTorch's optimizers and the natural gradient against SLSQP and SPSA"

STEP_SIZES: dict[str, StepSizes] = {
    "h2": {
        "adam": 0.1,
        "momentum": 0.2,
        "lbfgs": 1.0,
        "natural": 0.5,
        "slsqp": None,
        "spsa": None,
    },
    "heisenberg": {
        "adam": 0.2,
        "momentum": 0.05,
        "lbfgs": 1.0,
        "natural": 0.02,
        "slsqp": None,
        "spsa": None,
    },
}
"""Of those tried, the best ones from other starts (seeds from 1000 on)."""

TOLERANCE = 1e-5
START_WIDTH = 0.3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the demonstration's flags."""
    add_common_arguments(
        parser,
        shots="default: exact values",
        gradient="default: exact; parameter-shift with --shots",
        plot="write the errors' curves to this file",
    )
    parser.add_argument(
        "--problem",
        choices=list(PROBLEMS),
        help="the hydrogen molecule or a Heisenberg chain (default: both)",
    )
    parser.add_argument(
        "--qubits",
        type=whole(4, 16),
        default=10,
        help="sites of the chain, an even number (default 10)",
    )
    parser.add_argument(
        "--reps", type=whole(1), help="layers of entanglers (default 1 for h2, 3 for heisenberg)"
    )
    parser.add_argument(
        "--evaluations",
        type=whole(1),
        help="each optimizer's budget (default 1,500 for h2, 20,000 for heisenberg)",
    )
    parser.add_argument(
        "--metric",
        choices=get_args(Approximation),
        default="block-diagonal",
        help="metric tensor of the natural gradient (default block-diagonal)",
    )
    add_optimizer_arguments(parser, *STEP_SIZES.values())


def _h2(options: argparse.Namespace) -> Problem:
    # One electron pair in the lower orbital: the Hartree-Fock state.
    ansatz = rotation_ansatz([True, False], options.reps or 1)
    return Problem(
        "H2 molecule",
        "hartree",
        H2,
        ansatz,
        _start(ansatz, options.seed),
        exact_energy(H2),
        options.evaluations or 1500,
        chosen_step_sizes(options, STEP_SIZES["h2"]),
    )


def _heisenberg(options: argparse.Namespace) -> Problem:
    operator = heisenberg(options.qubits)
    ansatz = exchange_ansatz(options.qubits, options.reps or 3)
    return Problem(
        f"Heisenberg chain of {options.qubits} qubits",
        "J",
        operator,
        ansatz,
        _start(ansatz, options.seed),
        exact_energy(operator),
        options.evaluations or 20_000,
        chosen_step_sizes(options, STEP_SIZES["heisenberg"]),
    )


PROBLEMS: dict[str, Callable[[argparse.Namespace], Problem]] = {
    "h2": _h2,
    "heisenberg": _heisenberg,
}


def _start(ansatz: QuantumCircuit, seed: int) -> FloatArray:
    # Not at zero: there the slopes vanish for H2, although it is no minimum.
    rng = np.random.default_rng(seed)
    return rng.uniform(-START_WIDTH, START_WIDTH, ansatz.num_parameters)


def solve(problem: Problem, options: argparse.Namespace, both_ways: bool) -> VqeResult:
    """Let all chosen optimizers look for the ground state, through VQE as well if asked."""
    gradient = options.gradient or "parameter-shift"
    price = Price(
        gradient_price(problem.ansatz, problem.operator, GRADIENTS[gradient]),
        metric_price(problem.ansatz, options.metric),
    )

    def build() -> TorchQuantumModule:
        sampled = options.shots is not None or options.gradient is not None
        return TorchQuantumModule(
            problem.ansatz,
            problem.operator,
            estimator=BatchedStatevectorEstimator(seed=options.seed) if sampled else None,
            gradient=None if options.gradient is None else GRADIENTS[gradient],
            shots=options.shots,
            initial_weights=torch.from_numpy(problem.start),  # in double precision
        )

    warm_up(build())
    runs = contest(
        build,
        problem.step_sizes,
        price,
        problem.budget,
        tolerance=TOLERANCE,
        seed=options.seed,
        approximation=options.metric,
        title=f"{problem.title}: ",
    )
    handed = []
    if both_ways:
        precision = 0.0 if options.shots is None else 1 / math.sqrt(options.shots)
        handed = [
            through_vqe(
                method,
                problem.ansatz,
                problem.operator,
                problem.start,
                price,
                problem.budget,
                step_size=step_size,
                tolerance=TOLERANCE,
                seed=options.seed,
                approximation=options.metric,
                precision=precision,
                gradient=None if precision == 0 and options.gradient is None else gradient,
            )
            for method, step_size in problem.step_sizes.items()
        ]
    return VqeResult(problem, runs, handed, price)


def run(options: argparse.Namespace) -> list[VqeResult]:
    """Solve the chosen problems, print a table for each, and plot if asked."""
    if options.qubits % 2:
        raise DemoError(f"Expected --qubits to be even: {options.qubits} sites cannot form pairs.")
    require("tqdm")
    check_plot(options.plot)
    chosen = list(PROBLEMS) if options.problem is None else [options.problem]
    results = [solve(PROBLEMS[name](options), options, name == "h2") for name in chosen]
    for result in results:
        print(vqe_summary(result, options))
    if options.plot is not None:
        from .plotting_vqe import plot_vqe

        plot_vqe(options.plot, results)
        print(f"\nThe errors' curves are in {options.plot}.")
    return results
