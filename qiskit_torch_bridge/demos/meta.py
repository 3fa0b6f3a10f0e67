# SPDX-License-Identifier: Apache-2.0
"""Meta: networks learn to choose a circuit's angles, by being trained through the circuit."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.optim import SGD, Adam

from .common import add_common_arguments, check_plot, require, whole
from .graphs import MAX_NODES
from .learned import LearnedOptimizer, Problem, best_rate, descend, train
from .meta_problems import (
    Cuts,
    Nodes,
    Rotations,
    draw_graphs,
    random_angles,
    rotation_circuit,
    typical_angles,
)
from .meta_results import Comparison, Curve, summary

SUMMARY = "an LSTM learns to optimize: first one rotation, then QAOA's angles, against Adam"

Walk = Callable[[Problem, Tensor, int], Tensor]
"""From starts ``(B, I)`` and a number of steps to places ``(steps + 1, B, I)``."""

BATCH = 64
"""Targets in an epoch of the training."""

TARGETS = 1000
"""Unseen targets that optimizers of the rotation are compared on."""

TUNED_ON_TARGETS = 1000
"""Other targets, that learning rates are chosen on."""

GRAPHS = 8
"""Graphs in an epoch of the training."""

STARTS = 4
"""Random starts for each graph, in training and in the comparison."""

TUNED_ON_GRAPHS = 24
"""Training graphs that Adam's learning rate is chosen on."""

LARGER = 2
"""How many nodes the larger unseen graphs have more."""


def rotation(options: argparse.Namespace, nodes: Nodes) -> list[Comparison]:
    """Learn to rotate one qubit to random targets, from starts that are not known."""
    steps = options.steps
    spec = rotation_circuit()
    to_train, to_use = nodes.to_train(*spec), nodes.to_use(*spec)
    unseen, tuning = Rotations.draw(to_use, TARGETS), Rotations.draw(to_use, TUNED_ON_TARGETS)
    start = torch.zeros(TARGETS, 1)

    def draw() -> tuple[Problem, Tensor]:
        return Rotations.draw(to_train, BATCH).problem(), torch.zeros(BATCH, 1)

    comparison = Comparison(
        f"One qubit, {TARGETS:,} unseen targets", "mean distance from target", -1
    )
    walks = learned_walks(draw, options, 1)
    for kind in (SGD, Adam):
        rate = best_rate(kind, tuning.problem(), start[:TUNED_ON_TARGETS], steps)
        walks[f"{kind.__name__} ({rate:g})"] = partial(descend, kind, rate)
    exact = unseen.on(nodes.exact(*spec)).problem()
    metered = unseen.first().on(nodes.metered(*spec)).problem()
    for label, walk in walks.items():
        places = walk(unseen.problem(), start, steps)
        with torch.no_grad():
            distances = torch.stack([exact.observe(place).abs() for place in places])
        cost = evaluations(walk, metered, start[:1], steps, nodes)
        comparison.curves.append(Curve(label, distances, cost))
    return [comparison]


def qaoa(options: argparse.Namespace, nodes: Nodes) -> list[Comparison]:
    """Learn to choose QAOA's angles on some graphs; compare on others, and on larger ones."""
    steps, layers = options.steps, options.layers
    rng = np.random.default_rng(options.seed)
    known = draw_graphs(options.graphs, range(options.nodes - 2, options.nodes + 1), rng)
    unseen = [
        draw_graphs(options.unseen, [options.nodes], rng, known),
        draw_graphs(max(2, options.unseen // 2), [options.nodes + LARGER], rng),
    ]
    starts = [
        random_angles(len(graphs) * STARTS, layers) for graphs in (known[:TUNED_ON_GRAPHS], *unseen)
    ]
    typical = typical_angles(Cuts.of(known, layers, nodes.exact), layers)
    cuts = Cuts.of(known, layers, nodes.to_train)

    def draw() -> tuple[Problem, Tensor]:
        chosen = torch.randperm(len(known))[:GRAPHS].tolist()
        return cuts.some(chosen).problem(), random_angles(len(chosen) * STARTS, layers)

    walks = learned_walks(draw, options, 2 * layers, typical)
    tuning = Cuts.of(known[:TUNED_ON_GRAPHS], layers, nodes.to_use)
    rate = best_rate(Adam, tuning.problem(), starts[0], steps)
    walks[f"Adam ({rate:g})"] = partial(descend, Adam, rate)
    rate = best_rate(Adam, tuning.problem(), typical.expand(len(tuning.nodes), -1), steps)
    walks[f"Adam ({rate:g}) from typical angles"] = partial(_from, typical, rate)
    found = []
    for graphs, start in zip(unseen, starts[1:], strict=True):
        title = f"QAOA, {len(graphs)} unseen graphs of {graphs[0].num_nodes} nodes"
        used, exact, metered = (
            Cuts.of(graphs, layers, make) for make in (nodes.to_use, nodes.exact, nodes.metered)
        )
        comparison = Comparison(title, "mean approximation ratio", 1)
        for label, walk in walks.items():
            places = walk(used.problem(), start, steps)
            with torch.no_grad():
                ratios = torch.stack([exact.ratios(place) for place in places])
            cost = evaluations(walk, metered.problem(), start[::STARTS], steps, nodes)
            comparison.curves.append(Curve(label, ratios, cost))
        found.append(comparison)
    return found


def learned_walks(
    draw: Callable[[], tuple[Problem, Tensor]],
    options: argparse.Namespace,
    num_angles: int,
    guess: Tensor | None = None,
) -> dict[str, Walk]:
    """Train an optimizer that is told values only, and one that is told slopes as well."""
    walks: dict[str, Walk] = {}
    for slopes, told in ((False, "values"), (True, "values, slopes")):
        optimizer = LearnedOptimizer(num_angles, options.hidden, slopes, guess)
        train(optimizer, draw, options.steps, options.epochs, f"learning from {told}")
        walks[f"LSTM ({told})"] = optimizer.walk
    return walks


def _from(typical: Tensor, rate: float, problem: Problem, start: Tensor, steps: int) -> Tensor:
    return descend(Adam, rate, problem, typical.expand(len(start), -1), steps)


def evaluations(walk: Walk, problem: Problem, start: Tensor, steps: int, nodes: Nodes) -> float:
    """Return the expectation values that a walk of one row takes, counted by the meter.

    Every step costs the same, so that two short walks tell.
    """
    counts = []
    for few in (1, 2):
        before = nodes.meter.values
        walk(problem, start, few)
        counts.append((nodes.meter.values - before) / len(start))
    return counts[0] + (steps - 1) * (counts[1] - counts[0])


PARTS = {"rotation": rotation, "qaoa": qaoa}
"""The parts of the demonstration: each returns its comparisons."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the demonstration's flags."""
    add_common_arguments(
        parser,
        shots="default: exact values",
        gradient="default: exact in training and without --shots, else analytic",
        plot="write the curves of all optimizers to this file",
    )
    parser.add_argument(
        "--part", choices=list(PARTS), help="one rotation, or QAOA (default: one after the other)"
    )
    parser.add_argument(
        "--steps", type=whole(1), default=10, help="steps of every optimizer (default 10)"
    )
    parser.add_argument(
        "--epochs", type=whole(1), default=200, help="epochs of each training (default 200)"
    )
    parser.add_argument(
        "--hidden", type=whole(1), default=32, help="size of the LSTM's memory (default 32)"
    )
    parser.add_argument("--layers", type=whole(1), default=2, help="layers of QAOA (default 2)")
    parser.add_argument(
        "--nodes",
        type=whole(4, MAX_NODES - LARGER),
        default=8,
        help="nodes of the graphs, in training up to two fewer (default 8)",
    )
    parser.add_argument(
        "--graphs", type=whole(1), default=48, help="graphs to train on (default 48)"
    )
    parser.add_argument(
        "--unseen", type=whole(2), default=24, help="graphs to compare on (default 24)"
    )


def run(options: argparse.Namespace) -> list[Comparison]:
    """Train and compare, print a table for each comparison, and plot if asked."""
    require("tqdm")
    check_plot(options.plot)
    begin = time.perf_counter()
    nodes = Nodes(options.gradient, options.shots, options.seed)
    comparisons: list[Comparison] = []
    with torch.random.fork_rng(devices=[]):  # a caller's random numbers stay as they were
        for name in PARTS if options.part is None else (options.part,):
            torch.manual_seed(options.seed)
            comparisons += PARTS[name](options, nodes)
    for comparison in comparisons:
        print(summary(comparison))
    print(notes(options, time.perf_counter() - begin))
    if options.plot is not None:
        from .plotting_meta import plot_meta

        plot_meta(options.plot, comparisons)
        print(f"\nThe curves are in {options.plot}.")
    return comparisons


def notes(options: argparse.Namespace, seconds: float) -> str:
    """Return what explains the tables."""
    shots = "exact values" if options.shots is None else f"{options.shots:,} shots"
    return (
        f"\nFigures are exact at the angles reached; the optimizers saw {shots}.\n"
        "LSTM: the learned optimizers, told values alone or slopes (gradients by the angles), too; "
        f"{options.epochs} epochs each.\n"
        "SGD, Adam: with the best learning rate on problems of the training, in brackets.\n"
        "evaluations: expectation values that a device would measure for one run, with the "
        f"gradient '{options.gradient or 'analytic'}'.\n"
        "against: by how much it is better after the last step, with the standard error.\n"
        f"Training and comparison took {seconds:.0f} s."
    )
