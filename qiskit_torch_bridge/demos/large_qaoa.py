# SPDX-License-Identifier: Apache-2.0
"""QAOA on graphs of hundreds of nodes: trained exactly, and held against theory and local search.

No state of so many qubits is ever stored. What QAOA with few layers says of an edge depends on few
nodes around it, and edges with equal surroundings are simulated once; samples come from a matrix
product where the graph is narrow.
"""

from __future__ import annotations

import argparse
import time
from typing import NamedTuple

import numpy as np
import torch
from qiskit.quantum_info import SparsePauliOp

from .. import expectation
from ..exceptions import CircuitError, MemoryLimitError
from .command_line import name_values, table
from .contest import (
    Conditions,
    Price,
    Run,
    StepSizes,
    build_module,
    choose_step_sizes,
    hold_contest,
    price_gradient,
)
from .large_graphs import (
    LARGE_GIRTH,
    cut_sizes,
    find_width,
    largest_cut,
    one_layer_cuts,
    search_locally,
    surroundings,
)
from .problems import MAX_NODES, FloatArray, Graph, Problem, large_cut_problem

STARTS = 1000
"""Of the local search."""

SHOTS = 500

WIDEST_BONDS = 10
"""In bits: samples of wider states may take minutes, where memory does not refuse them."""

DEFAULT = ("adam", "lbfgs", "cobyla")
"""Those optimizers that are worth the time on a large graph, unless the user names others."""


class Theory(NamedTuple):
    """What is known without any simulation."""

    error: float | None  # the largest deviation of an edge from the closed form for one layer
    large_girth: float | None  # what QAOA cuts at best of a 3-regular graph without short cycles
    trees: int  # edges that see no cycle
    tree_value: float | None  # the mean chance of these to be cut, at the best angles


class Training(NamedTuple):
    """What came of one number of layers."""

    reps: int
    problem: Problem
    runs: list[Run]  # one for each optimizer
    first_gradient: float  # the seconds that it took, with everything that is prepared once
    theory: Theory
    cuts: FloatArray | None  # the cuts sampled from the best state; ``None`` if it is too wide
    refusal: str  # why there are none

    @property
    def best(self) -> Run:
        """The run that found the largest mean cut."""
        return min(self.runs, key=lambda run: run.best)

    def fraction(self, run: Run) -> float:
        """Return the mean cut over the weight of all edges that a cut gains by."""
        return run.best / self.problem.least


class LargeResult(NamedTuple):
    """What came of one graph."""

    title: str
    graph: Graph
    trainings: list[Training]  # one for each number of layers
    local: FloatArray  # the cuts that local search found, one for each start
    largest: float | None  # the largest cut, if the graph is narrow enough to find it

    @property
    def total(self) -> float:
        """The weight of all edges that a cut gains by."""
        return sum(weight for weight in self.graph.weights if weight > 0)


def solve_large(
    title: str, graph: Graph, options: argparse.Namespace, step_sizes: StepSizes
) -> LargeResult:
    """Train circuits of all chosen depths on a graph, and compare with what else is known."""
    rng = np.random.default_rng(options.seed)
    trainings = [_train(title, graph, reps, options, step_sizes) for reps in options.reps]
    local, _ = search_locally(graph, STARTS, rng)
    return LargeResult(title, graph, trainings, local, largest_cut(graph))


def _train(
    title: str, graph: Graph, reps: int, options: argparse.Namespace, step_sizes: StepSizes
) -> Training:
    problem = large_cut_problem(f"{title}, p = {reps}", graph, reps)
    gradient = options.gradient or ("parameter-shift" if options.shots else "finite-difference")
    price = Price(gradients=price_gradient(problem.circuit, problem.operator, gradient))
    budget = options.steps * (price.values + price.gradients)
    conditions = Conditions(price, budget, options.shots, options.gradient, options.seed)
    began = time.perf_counter()
    build_module(problem, conditions)().sum().backward()
    first = time.perf_counter() - began
    named = options.optimizers or DEFAULT
    chosen = {
        name: size for name, size in choose_step_sizes(options, step_sizes).items() if name in named
    }
    runs = hold_contest(problem, conditions, chosen)
    best = min(runs, key=lambda run: run.best)
    theory = _compare(problem, graph, reps, best.point)
    cuts, refusal = _sample(best, graph, reps)
    return Training(reps, problem, runs, first, theory, cuts, refusal)


def _compare(problem: Problem, graph: Graph, reps: int, point: FloatArray) -> Theory:
    """Hold the chance of each edge to be cut against closed forms."""
    terms = [
        SparsePauliOp.from_sparse_list([("ZZ", list(edge), -0.5), ("", [], 0.5)], graph.num_nodes)
        for edge in graph.edges
    ]
    weights = torch.from_numpy(point)
    chances = expectation(problem.circuit, observables=terms, weights=weights).numpy().ravel()
    unweighted = len(set(graph.weights)) == 1
    degrees = np.bincount(np.ravel(graph.edges), minlength=graph.num_nodes)
    error = None
    if unweighted and reps == 1:
        # The circuit's parameters are sorted by name.
        beta, gamma = point
        error = float(np.abs(chances - one_layer_cuts(graph, gamma, beta)).max())
    is_tree = np.array([seen.is_tree for seen in surroundings(graph, reps)])
    regular = unweighted and bool((degrees == 3).all())
    trees = chances[is_tree]
    return Theory(
        error,
        LARGE_GIRTH.get(reps) if regular else None,
        len(trees),
        float(trees.mean()) if regular and len(trees) else None,
    )


def _sample(run: Run, graph: Graph, reps: int) -> tuple[FloatArray | None, str]:
    """Measure the best state where its bonds are narrow enough."""
    width = find_width(graph)
    if graph.num_nodes > MAX_NODES and width * reps > WIDEST_BONDS:
        return None, f"with the nodes in a row, {width} edges lead over the busiest place"
    module = build_module(run.problem, run.conditions)
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(run.point))
    try:
        sides = module.sample(shots=SHOTS).bits.numpy().astype(int)
    except (MemoryLimitError, CircuitError) as error:
        return None, str(error).partition("; ")[0]
    return cut_sizes(graph, sides), ""


def summarise_large(result: LargeResult, options: argparse.Namespace) -> str:
    """Return the table of one graph."""
    graph, total = result.graph, result.total
    header = ["optimizer", "layers", "part cut", "sampled", "values", "gradients"]
    rows = []
    for training in result.trainings:
        for run in training.runs:
            sampled = training.cuts.max() / total if training.cuts is not None else None
            shown = f"{sampled:.4f}" if sampled is not None and run is training.best else ""
            counts = run.counts.values, run.counts.gradients, run.spent()
            cells = [run.contestant.label, f"{training.reps}", f"{training.fraction(run):.4f}"]
            rows.append([*cells, shown, *(f"{n:,}" for n in counts), f"{run.seconds:.1f}"])
    best = f"{result.local.max() / total:.4f}"
    rows.append(["local search, mean", "", f"{result.local.mean() / total:.4f}", best])
    if result.largest is not None:
        rows.append(["largest cut", "", f"{result.largest / total:.4f}"])
    rows = [[*row, *[""] * (len(header) + 2 - len(row))] for row in rows]
    lines = [
        f"\n{result.title}: {len(graph.edges):,} edges, {name_values(options.shots)}\n",
        table([*header, "evaluations", "seconds"], rows),
        "",
        "part cut: the mean cut over the weight of all edges; guessing gives 0.5.",
        "sampled: the best one of "
        f"{SHOTS} bit strings, and of {STARTS:,} local searches from random sides.",
    ]
    return "\n".join([*lines, *map(_explain, result.trainings)])


def _explain(training: Training) -> str:
    theory, edges = training.theory, len(training.problem.operator) - 1
    parts = [f"p = {training.reps}: the first gradient took {training.first_gradient:.2f} s"]
    if theory.error is not None:
        parts.append(f"every edge is within {theory.error:.0e} of the closed form")
    if theory.large_girth is not None:
        parts.append(f"{theory.trees:,} of {edges:,} edges see no cycle")
        if theory.tree_value is not None:
            parts.append(
                f"they are cut with {theory.tree_value:.4f}, where theory has "
                f"{theory.large_girth:.4f} at best"
            )
    if training.cuts is None:
        parts.append(f"no samples: {training.refusal}")
    return "; ".join(parts) + "."
