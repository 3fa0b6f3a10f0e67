# SPDX-License-Identifier: Apache-2.0
"""QAOA: PyTorch's optimizers look for the largest cut of a graph, against COBYLA and SPSA."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from qiskit.primitives import StatevectorSampler

from .. import TorchQuantumModule
from ..algorithms import bits_by_qubit
from ..primitives import BatchedStatevectorEstimator
from .common import (
    GRADIENTS,
    DemoError,
    add_common_arguments,
    check_plot,
    require,
    whole,
)
from .contest import Price, contest, gradient_price, warm_up
from .graphs import MAX_NODES, cut_values, petersen, random_regular, read_edge_list
from .qaoa_problems import Problem, cut_problem, origin_problem
from .results import QaoaResult
from .step_sizes import StepSizes, add_optimizer_arguments, chosen_step_sizes
from .summaries import qaoa_summary, survey_summary

SUMMARY = "QAOA for MaxCut: PyTorch's optimizers against COBYLA and SPSA"

STEP_SIZES: StepSizes = {
    "adam": 0.1,
    "rmsprop": 0.02,
    "momentum": 0.2,
    "lbfgs": 1.0,
    "cobyla": 0.1,
    "spsa": None,
}
"""Of those tried, the best ones on graphs that are not the demonstration's (seeds 1000 to 1009)."""

DEGREE = 3
SAMPLES = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the demonstration's flags."""
    add_common_arguments(
        parser,
        shots="default: exact values",
        gradient="default: exact and counted as finite differences; parameter-shift with --shots",
        plot="write curves, sampled cuts and the best cuts to this file",
    )
    parser.add_argument(
        "--nodes",
        type=whole(DEGREE + 1, MAX_NODES),
        default=12,
        help="nodes of the random 3-regular graph, an even number (default 12)",
    )
    parser.add_argument(
        "--graph",
        type=Path,
        metavar="FILE",
        help="a file with lines 'u v [weight]' (default: the Petersen graph)",
    )
    parser.add_argument("--reps", type=whole(1, 20), default=3, help="QAOA layers (default 3)")
    parser.add_argument(
        "--steps",
        type=whole(1),
        default=100,
        help="the budget: evaluations for so many values with gradients (default 100)",
    )
    parser.add_argument(
        "--graphs",
        type=whole(1),
        metavar="N",
        help="instead: N random 3-regular graphs, and a table of means",
    )
    add_optimizer_arguments(parser, STEP_SIZES)


def module_builder(
    problem: Problem, shots: int | None, gradient: str | None, seed: int
) -> Callable[[], TorchQuantumModule]:
    """Return a function that makes the problem's module, always with the same start."""

    def build() -> TorchQuantumModule:
        sampled = shots is not None or gradient is not None
        return TorchQuantumModule(
            problem.circuit,
            problem.operator,
            estimator=BatchedStatevectorEstimator(seed=seed) if sampled else None,
            gradient=None if gradient is None else GRADIENTS[gradient],
            shots=shots,
            initial_weights=torch.from_numpy(problem.start),  # in double precision
        )

    return build


def solve(problem: Problem, options: argparse.Namespace, seed: int) -> QaoaResult:
    """Let all chosen optimizers work on one problem, and sample cuts from where they end."""
    build = module_builder(problem, options.shots, options.gradient, seed)
    gradient = options.gradient or ("parameter-shift" if options.shots else "finite-difference")
    prices = {
        name: gradient_price(problem.circuit, problem.operator, GRADIENTS[name])
        for name in (gradient, "parameter-shift")
    }
    price = Price(prices[gradient])
    warm_up(build())
    runs = contest(
        build,
        chosen_step_sizes(options, STEP_SIZES),
        price,
        options.steps * (1 + price.gradient),
        tolerance=problem.tolerance,
        seed=seed,
        loss=problem.loss,
        title=f"{problem.title}: ",
    )
    result = QaoaResult(problem, runs, price, prices["parameter-shift"], [], [])
    if problem.graph is not None:
        _sample(result, build(), seed)
    return result


def _sample(result: QaoaResult, module: TorchQuantumModule, seed: int) -> None:
    """Do what a user of QAOA does in the end: take the best of some measured bit strings."""
    graph = result.problem.graph
    assert graph is not None
    values = cut_values(graph)
    best = -math.inf
    for run in result.runs:
        with torch.no_grad():
            module.weight.copy_(torch.from_numpy(run.point))
        circuit = module.bind()
        circuit.measure_all()
        job = StatevectorSampler(seed=seed).run([circuit], shots=SAMPLES)
        counts = job.result()[0].data.meas.get_int_counts()
        index = np.repeat(list(counts), list(counts.values()))
        cuts = values[index]
        result.cuts.append(cuts)
        if cuts.max() > best:
            best = cuts.max()
            result.sides[:] = bits_by_qubit(index[cuts.argmax()], graph.num_nodes)


def run(options: argparse.Namespace) -> list[QaoaResult]:
    """Solve all problems, print a table for each, and plot if asked."""
    if options.nodes % 2:
        raise DemoError(
            f"Expected --nodes to be even: {options.nodes} nodes cannot have 3 neighbours each."
        )
    if options.graphs and options.graph is not None:
        raise DemoError("--graphs draws random graphs; leave out --graph, which names one.")
    require("tqdm")
    check_plot(options.plot)
    if options.graphs:
        return _survey(options)
    regular = random_regular(options.nodes, DEGREE, np.random.default_rng(options.seed))
    own = petersen() if options.graph is None else read_edge_list(options.graph)
    problems = (
        origin_problem(),
        cut_problem(f"random 3-regular graph, {options.nodes} nodes", regular, options.reps),
        cut_problem(
            "Petersen graph" if options.graph is None else options.graph.name, own, options.reps
        ),
    )
    results = [solve(problem, options, options.seed) for problem in problems]
    for result in results:
        print(qaoa_summary(result, options))
    if options.plot is not None:
        from .plotting_qaoa import plot_qaoa

        plot_qaoa(options.plot, results)
        print(f"\nCurves, sampled cuts and the best cuts are in {options.plot}.")
    return results


def _survey(options: argparse.Namespace) -> list[QaoaResult]:
    results = []
    for number in range(options.graphs):
        seed = options.seed + number
        graph = random_regular(options.nodes, DEGREE, np.random.default_rng(seed))
        title = f"graph {number + 1} of {options.graphs}"
        results.append(solve(cut_problem(title, graph, options.reps), options, seed))
    print(survey_summary(results, options))
    if options.plot is not None:
        from .plotting_qaoa import plot_survey

        plot_survey(options.plot, results)
        print(f"\nThe mean curves are in {options.plot}.")
    return results
