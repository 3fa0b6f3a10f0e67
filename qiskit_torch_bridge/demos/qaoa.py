# SPDX-License-Identifier: Apache-2.0
"""QAOA: PyTorch's optimizers look for the largest cut of a graph, against COBYLA and SPSA."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from .. import CVaR, expectation
from .command_line import (
    DemoError,
    Options,
    check_extras,
    common_options,
    name_values,
    number,
    option,
    table,
    whole,
)
from .contest import (
    Conditions,
    Price,
    Run,
    StepSizes,
    build_module,
    choose_step_sizes,
    hold_contest,
    optimizer_options,
    price_gradient,
)
from .large_graphs import narrow_cubic, random_cubic
from .large_qaoa import LargeResult, solve_large, summarise_large
from .plots import plot_large_qaoa, plot_qaoa, plot_survey
from .problems import (
    MAX_NODES,
    MOST_NODES,
    FloatArray,
    Graph,
    Problem,
    cut_problem,
    cut_values,
    max_cut,
    origin_problem,
    petersen,
    random_regular,
    read_edge_list,
)

SUMMARY = "QAOA for MaxCut: PyTorch's optimizers against COBYLA and SPSA"
TAKES = "30 s"

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
SMALL_REPS = 3
LARGE_REPS = [1, 2]

OPTIONS: Options = {
    **common_options(
        shots="default: exact values",
        gradient="default: exact and counted as finite differences; parameter-shift with --shots",
        plot="write curves, sampled cuts and the best cuts to this file",
    ),
    "--nodes": option(
        f"nodes of the random 3-regular graph, an even number; above {MAX_NODES}, a study of large "
        "graphs",
        whole(DEGREE + 1, MOST_NODES),
        12,
    ),
    "--graph": option(
        "a file with lines 'u v [weight]' (default: the Petersen graph, or a narrow one as large)",
        Path,
        metavar="FILE",
    ),
    "--reps": option(
        f"QAOA layers (default {SMALL_REPS}; {' and '.join(map(str, LARGE_REPS))} on large graphs, "
        "where several numbers of them may be given)",
        whole(1, 20),
        nargs="+",
        metavar="REPS",
    ),
    "--steps": option("the budget: evaluations for so many values with gradients", whole(1), 100),
    "--alpha": option(
        "part of the cuts, the best ones, whose mean (CVaR) is trained on as well",
        number(0.01, 1),
        0.5,
    ),
    "--graphs": option(
        "instead: N random 3-regular graphs, and a table of means", whole(1), metavar="N"
    ),
    **optimizer_options(STEP_SIZES),
}


class Tail(NamedTuple):
    """What came of training on the best part of the cuts instead of all of them."""

    label: str
    run: Run
    mean: float  # the exact expectation value at the weights with the lowest CVaR
    cuts: FloatArray  # the cut values sampled there


@dataclass
class Result:
    """What came of one problem."""

    problem: Problem
    runs: list[Run]  # one for each optimizer
    tail: Tail | None  # the first of them, trained on CVaR
    price: Price  # what a gradient cost
    shift_price: Price  # what it would cost by parameter shift
    cuts: list[FloatArray]  # the cut values sampled from each optimizer's best state
    sides: list[tuple[int, ...]]  # for each optimizer the best of them: the side of each node

    def ratio(self, run: Run) -> float:
        """Return the approximation ratio: 1 for an optimal state."""
        return run.best / self.problem.least

    @property
    def largest_cut(self) -> float:
        """The largest cut of the graph, found by looking at all of them."""
        assert self.problem.graph is not None
        return max_cut(self.problem.graph)

    @property
    def best_sides(self) -> tuple[int, ...]:
        """The sides of the largest cut that was sampled."""
        return self.sides[int(np.argmax([cuts.max() for cuts in self.cuts]))]


def solve(problem: Problem, options: argparse.Namespace, seed: int) -> Result:
    """Let all chosen optimizers work on one problem, and sample cuts from where they end."""
    gradient = options.gradient or ("parameter-shift" if options.shots else "finite-difference")
    price, shift_price = (
        Price(gradients=price_gradient(problem.circuit, problem.operator, name))
        for name in (gradient, "parameter-shift")
    )
    budget = options.steps * (price.values + price.gradients)
    conditions = Conditions(price, budget, options.shots, options.gradient, seed)
    runs = hold_contest(problem, conditions, choose_step_sizes(options, STEP_SIZES))
    samples = [] if problem.graph is None else [sample(run) for run in runs]
    cuts, sides = [cuts for cuts, _ in samples], [sides for _, sides in samples]
    tail = None if problem.graph is None else train_on_tail(problem, conditions, options)
    return Result(problem, runs, tail, price, shift_price, cuts, sides)


def train_on_tail(problem: Problem, conditions: Conditions, options: argparse.Namespace) -> Tail:
    """Let the first chosen optimizer minimise the mean of the lowest values only.

    A user of QAOA takes the best bit string home, and does not mind how bad the others are
    (P. K. Barkoutsos et al., Quantum 4, 256 (2020), arXiv:1907.04769).
    """
    tail = dataclasses.replace(problem, measured=CVaR(problem.operator, options.alpha))
    name, step_size = next(iter(choose_step_sizes(options, STEP_SIZES).items()))
    (run,) = hold_contest(tail, conditions, {name: step_size})
    weights = torch.from_numpy(run.point)
    mean = expectation(problem.circuit, observables=problem.operator, weights=weights).item()
    label = f"{run.contestant.label}, CVaR {options.alpha:g}"
    return Tail(label, run, mean, sample(run)[0])


def sample(run: Run) -> tuple[FloatArray, tuple[int, ...]]:
    """Measure the best state, as a user of QAOA does in the end.

    Returns:
        The cuts that were measured, and the sides of the largest one.
    """
    graph = run.problem.graph
    assert graph is not None
    module = build_module(run.problem, run.conditions)
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(run.point))
    sides = module.sample(shots=SAMPLES).bits.numpy().astype(int)  # entry k is the side of node k
    cuts = cut_values(graph)[(sides << np.arange(graph.num_nodes)).sum(-1)]
    return cuts, tuple(sides[cuts.argmax()].tolist())


def run(options: argparse.Namespace) -> list[Result] | list[LargeResult]:
    """Solve all problems, print a table for each, and plot if asked."""
    if options.nodes % 2:
        raise DemoError(
            f"Expected --nodes to be even: {options.nodes} nodes cannot have 3 neighbours each."
        )
    if options.graphs and options.graph is not None:
        raise DemoError("--graphs draws random graphs; leave out --graph, which names one.")
    check_extras(options.plot)
    own = petersen() if options.graph is None else read_edge_list(options.graph)
    is_large = max(options.nodes, own.num_nodes) > MAX_NODES
    if options.graphs and (is_large or len(options.reps or []) > 1):
        raise DemoError(
            f"--graphs looks at all cuts of graphs of up to {MAX_NODES} nodes, with one number of "
            "layers. Leave it out, or choose fewer --nodes and one of --reps."
        )
    if is_large or len(options.reps or []) > 1:
        return study(options, None if options.graph is None else own)
    (reps,) = options.reps or [SMALL_REPS]
    options = argparse.Namespace(**{**vars(options), "reps": reps})
    if options.graphs:
        return survey(options)
    regular = random_regular(options.nodes, DEGREE, np.random.default_rng(options.seed))
    own_title = "Petersen graph" if options.graph is None else options.graph.name
    problems = (
        origin_problem(),
        cut_problem(f"random 3-regular graph, {options.nodes} nodes", regular, options.reps),
        cut_problem(own_title, own, options.reps),
    )
    results = [solve(problem, options, options.seed) for problem in problems]
    for result in results:
        print(summarise(result, options))
    if options.plot is not None:
        plot_qaoa(options.plot, results)
        print(f"\nCurves, sampled cuts and the best cuts are in {options.plot}.")
    return results


def study(options: argparse.Namespace, own: Graph | None) -> list[LargeResult]:
    """Train on large graphs with all numbers of layers, print a table for each, and plot if asked.

    Without a graph of the user's own the second one is narrow, so that it can be sampled.
    """
    options = argparse.Namespace(**{**vars(options), "reps": options.reps or LARGE_REPS})
    nodes = options.nodes
    graphs = []
    if own is None or nodes > MAX_NODES:
        graphs.append((f"random 3-regular graph, {nodes} nodes", random_cubic(nodes, options.seed)))
    if own is None:
        narrow = narrow_cubic(nodes, np.random.default_rng(options.seed))
        graphs.append((f"chain with chords, {nodes} nodes", narrow))
    else:
        graphs.append((options.graph.name, own))
    results = [solve_large(title, graph, options, STEP_SIZES) for title, graph in graphs]
    for result in results:
        print(summarise_large(result, options))
    if options.plot is not None:
        plot_large_qaoa(options.plot, results)
        print(f"\nCurves and the cuts that were found are in {options.plot}.")
    return results


def survey(options: argparse.Namespace) -> list[Result]:
    """Solve many graphs, print a table of means, and plot if asked."""
    results = []
    for position in range(options.graphs):
        seed = options.seed + position
        graph = random_regular(options.nodes, DEGREE, np.random.default_rng(seed))
        title = f"graph {position + 1} of {options.graphs}"
        results.append(solve(cut_problem(title, graph, options.reps), options, seed))
    print(summarise_survey(results, options))
    if options.plot is not None:
        plot_survey(options.plot, results)
        print(f"\nThe mean curves are in {options.plot}.")
    return results


def summarise(result: Result, options: argparse.Namespace) -> str:
    """Return the table of one problem."""
    problem, graph = result.problem, result.problem.graph
    header = ["optimizer", "ratio", "<E>", "values", "gradients", "evaluations", "by shift"]
    about, unit = f"exact optimum <E> = {problem.least:g}", 1.0
    notes = ["ratio: the best exact value on the way over the exact optimum."]
    if graph is not None:
        header[2:3] = ["<cut>", "sampled", "optimal"]
        about = f"{len(graph.edges)} edges, largest cut {result.largest_cut:g}"
        unit = result.largest_cut / problem.least
        count = len(result.cuts[0])
        notes.append(
            f"sampled: the largest of {count:,} cuts sampled from the state that has it; optimal:\n"
            "the share of those that are the largest cut of all."
        )
    lines = [(run.contestant.label, run, run.best) for run in result.runs]
    sampled = [*result.cuts]
    if (tail := result.tail) is not None:
        lines.append((tail.label, tail.run, tail.mean))
        sampled.append(tail.cuts)
        notes.append(f"{tail.label}: trained on the mean of the best {options.alpha:.0%} of cuts.")
    rows = []
    for position, (label, run, value) in enumerate(lines):
        row = [label, f"{value / problem.least:.4f}", f"{value * unit:.4f}"]
        if graph is not None:
            cuts = sampled[position]
            row += [f"{cuts.max():g}", f"{np.mean(cuts == result.largest_cut):.1%}"]
        counts = run.counts.values, run.counts.gradients, run.spent(), run.spent(result.shift_price)
        rows.append([*row, *(f"{count:,}" for count in counts), f"{run.seconds:.1f}"])
    start = result.runs[0].trace[0][1] / problem.least
    return "\n".join(
        [
            f"\n{problem.title}: {len(problem.start)} angles, {name_values(options.shots)}",
            f"{about}; the start has a ratio of {start:.4f}\n",
            table([*header, "seconds"], rows),
            "",
            *notes,
            explain_counting(result, options),
        ]
    )


def summarise_survey(results: Sequence[Result], options: argparse.Namespace) -> str:
    """Return the table of means over many graphs."""
    first, count = results[0], len(results)
    rows = []
    for position, run in enumerate(first.runs):
        runs = [(result, result.runs[position]) for result in results]
        ratios = np.array([result.ratio(run) for result, run in runs])
        optimal = np.mean([np.mean(r.cuts[position] == r.largest_cut) for r in results])
        needs = [own.evaluations_at(0.99 * min(r.best for r in res.runs)) for res, own in runs]
        near = [need for need in needs if need < np.inf]
        spent = np.mean([run.spent() for _, run in runs])
        shift = np.mean([run.spent(result.shift_price) for result, run in runs])
        rows.append(
            (
                run.contestant.label,
                *(f"{x:.4f}" for x in (ratios.mean(), ratios.std(), ratios.min())),
                f"{100 * optimal:.1f} %",
                f"{np.mean(near) if near else np.nan:,.0f} ({len(near)} of {count})",
                f"{spent:,.0f}",
                f"{shift:,.0f}",
            )
        )
    rows.append(summarise_tails(results))
    header = ["optimizer", "mean ratio", "deviation", "worst", "optimal cuts"]
    header += ["near the best after", "evaluations", "by shift"]
    start = np.mean([result.runs[0].trace[0][1] / result.problem.least for result in results])
    return f"""
{count} random 3-regular graphs, {options.nodes} nodes, QAOA with {options.reps} \
layer{"s" * (options.reps > 1)}, {name_values(options.shots)}

{table(header, rows)}

The start has a mean ratio of {start:.4f}.
optimal cuts: the share of largest ones among {len(first.cuts[0]):,} cuts sampled in the end.
near the best after: evaluations until the ratio is within 1 % of the best one that any
optimizer found for the graph, on average over the graphs on which it comes so far.
CVaR: trained on the mean of the best {options.alpha:.0%} of cuts.
{explain_counting(first, options)}"""


def summarise_tails(results: Sequence[Result]) -> tuple[str, ...]:
    """Return the row of means of the trainings on CVaR."""
    tails = [(result, result.tail) for result in results if result.tail is not None]
    ratios = np.array([tail.mean / result.problem.least for result, tail in tails])
    optimal = np.mean([np.mean(tail.cuts == result.largest_cut) for result, tail in tails])
    spent = np.mean([tail.run.spent() for _, tail in tails])
    shift = np.mean([tail.run.spent(result.shift_price) for result, tail in tails])
    return (
        tails[0][1].label,
        *(f"{x:.4f}" for x in (ratios.mean(), ratios.std(), ratios.min())),
        f"{100 * optimal:.1f} %",
        "",
        f"{spent:,.0f}",
        f"{shift:,.0f}",
    )


def explain_counting(result: Result, options: argparse.Namespace) -> str:
    """Return what counts as an evaluation, in words."""
    how = "central differences" if options.shots is None else "parameter shift"
    if options.gradient is not None:
        how = f"{options.gradient.replace('-', ' ')}, as asked for"
    return (
        f"evaluations: 1 for a value and {result.price.gradients:,} for a gradient by {how};\n"
        f"by shift: the same with {result.shift_price.gradients:,} for a gradient, by parameter "
        "shift: 2 for each gate angle."
    )
