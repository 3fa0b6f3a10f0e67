# SPDX-License-Identifier: Apache-2.0
"""Meta: networks learn to choose a circuit's angles, by being trained through the circuit."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import rustworkx
import torch
from qiskit.circuit import Parameter, QuantumCircuit
from torch import Tensor
from torch.optim import SGD, Adam

from .. import TorchQuantumModule, Tracker
from ..primitives import BatchedStatevectorEstimator
from .command_line import (
    GRADIENTS,
    DemoError,
    Options,
    check_extras,
    common_options,
    name_values,
    option,
    positive,
    table,
    whole,
)
from .learned_optimizer import LearnedOptimizer, Task, best_rate, descend, train
from .plots import plot_meta
from .problems import MAX_NODES, Graph, cut_operator, max_cut, qaoa_circuit, random_gnp

SUMMARY = "an LSTM learns to optimize: first one rotation, then QAOA's angles, against Adam"
TAKES = "3 min"

Walk: TypeAlias = Callable[[Task, Tensor, int], Tensor]
"""From starts ``(B, I)`` and a number of steps to places ``(steps + 1, B, I)``."""

Node: TypeAlias = tuple[TorchQuantumModule, int]
"""The QAOA circuit of a graph, and the number of its edges."""

TARGETS = 1000
"""Unseen targets that optimizers of the rotation are compared on."""

TUNED_ON_TARGETS = 1000
"""Other targets, that learning rates are chosen on."""

STARTS = 4
"""Random starts for each graph, in training and in the comparison."""

TUNED_ON_GRAPHS = 24
"""Training graphs that Adam's learning rate is chosen on."""

LARGER = 2
"""How many nodes the larger unseen graphs have more."""

DENSITIES = (0.3, 0.7)
"""Graphs are drawn from sparse to dense ones, for their best angles to differ."""

TYPICAL_STARTS, TYPICAL_STEPS = 16, 60
"""The search for typical angles: the best of so many starts, after so many steps."""

ATTEMPTS = 100
"""Draws for each graph that is wanted, until there seem to be no others."""


class Places(NamedTuple):
    """Keyword arguments of modules, for the three things that they are made for."""

    # with the shots' noise, but exact gradients by default: the training takes place in a
    # simulation, where they are to be had
    to_train: dict[str, Any]
    to_use: dict[str, Any]  # with shots or a gradient asked for, everything comes from evaluations
    # the same in any case, so that a :class:`.Tracker` counts the evaluations
    to_count: dict[str, Any]

    @classmethod
    def chosen(cls, gradient: str | None, shots: int | None, seed: int) -> Places:
        """Return those that the options choose: without shots and gradient all is exact."""
        rule = None if gradient is None else GRADIENTS[gradient]
        place = {"estimator": BatchedStatevectorEstimator(seed=seed), "shots": shots, "seed": seed}
        measured = {**place, "gradient": rule or "aqgd"}
        if gradient is None and shots is None:
            return cls({}, {}, measured)
        return cls({**place, "gradient": rule or "adjoint"}, measured, measured)


class Curve(NamedTuple):
    """How one optimizer fares."""

    label: str
    # the exact figure of merit after every step, from the start ``(steps + 1, N)``, for each of the
    # targets or graphs
    values: Tensor
    evaluations: float  # the expectation values that one walk takes, on average

    @property
    def is_learned(self) -> bool:
        """Whether it is a learned optimizer."""
        return self.label.startswith("LSTM")

    @property
    def means(self) -> list[float]:
        """The mean figure of merit after every step."""
        return self.values.mean(1).tolist()


class Comparison(NamedTuple):
    """Optimizers on the same unseen problems."""

    title: str
    merit: str  # the figure of merit, in words
    sign: int  # whether a large figure of merit is good (1) or a small one (-1)
    curves: list[Curve]  # the optimizers, the learned ones first

    def gain(self, learned: Curve, other: Curve) -> tuple[float, float, float]:
        """Return how much better one optimizer ends than another.

        Returns:
            The mean difference, its standard error, and the share of problems where it is better.
        """
        difference = self.sign * (learned.values[-1] - other.values[-1])
        error = difference.std() / len(difference) ** 0.5
        better = (difference > 0).double().mean()
        return difference.mean().item(), error.item(), better.item()


def rotation(options: argparse.Namespace, places: Places) -> Iterator[Comparison]:
    """Learn to rotate one qubit to random targets, from starts that are not known."""
    unseen, tuning = draw_rotations(TARGETS), draw_rotations(TUNED_ON_TARGETS)
    to_train, to_use = rotation_node(**places.to_train), rotation_node(**places.to_use)
    start = torch.zeros(TARGETS, 1)

    def draw() -> tuple[Task, Tensor]:
        targets = options.batch_size
        return rotation_problem(to_train, *draw_rotations(targets)), torch.zeros(targets, 1)

    walks = train_optimizers(draw, options, 1)
    for kind in (SGD, Adam):
        known = rotation_problem(to_use, *tuning)
        rate = best_rate(kind, known, start[:TUNED_ON_TARGETS], options.steps)
        walks[f"{kind.__name__} ({rate:g})"] = partial(descend, kind, rate)
    exact = rotation_problem(rotation_node(), *unseen)
    first = [part[:1] for part in unseen]
    counted = rotation_problem(rotation_node(**places.to_count), *first)
    curves = compare(
        walks,
        rotation_problem(to_use, *unseen),
        start,
        lambda angles: exact.observe(angles).abs(),
        counted,
        start[:1],
        options.steps,
    )
    title = f"One qubit, {TARGETS:,} unseen targets"
    yield Comparison(title, "mean distance from target", -1, curves)


def qaoa(options: argparse.Namespace, places: Places) -> Iterator[Comparison]:
    """Learn to choose QAOA's angles on some graphs; compare on others, and on larger ones."""
    steps, layers = options.steps, options.layers
    rng = np.random.default_rng(options.seed)
    known = draw_graphs(options.graphs, range(options.nodes - 2, options.nodes + 1), rng)
    unseen = [
        draw_graphs(options.unseen, [options.nodes], rng, known),
        draw_graphs(max(2, options.unseen // 2), [options.nodes + LARGER], rng),
    ]
    tuned_on = known[:TUNED_ON_GRAPHS]
    starts = [random_angles(len(graphs) * STARTS, layers) for graphs in (tuned_on, *unseen)]
    typical = typical_angles(cut_nodes(known, layers), layers)
    to_train = cut_nodes(known, layers, **places.to_train)

    def draw() -> tuple[Task, Tensor]:
        graphs = math.ceil(options.batch_size / (2 * STARTS))
        chosen = torch.randperm(len(known))[:graphs].tolist()
        problem = cut_problem([to_train[index] for index in chosen])
        return problem, random_angles(len(chosen) * STARTS, layers)

    walks = train_optimizers(draw, options, 2 * layers, typical)
    tuning = cut_problem(cut_nodes(tuned_on, layers, **places.to_use))
    rate = best_rate(Adam, tuning, starts[0], steps)
    walks[f"Adam ({rate:g})"] = partial(descend, Adam, rate)
    rate = best_rate(Adam, tuning, typical.expand(len(tuned_on), -1), steps)
    walks[f"Adam ({rate:g}) from typical angles"] = lambda problem, start, steps: descend(
        Adam, rate, problem, typical.expand(len(start), -1), steps
    )
    for graphs, start in zip(unseen, starts[1:], strict=True):
        exact, used, counted = (
            cut_problem(cut_nodes(graphs, layers, **place))
            for place in ({}, places.to_use, places.to_count)
        )
        ratios = partial(approximation_ratios, exact, graphs)
        curves = compare(walks, used, start, ratios, counted, start[::STARTS], steps)
        title = f"QAOA, {len(graphs)} unseen graphs of {graphs[0].num_nodes} nodes"
        yield Comparison(title, "mean approximation ratio", 1, curves)


PARTS = {"rotation": rotation, "qaoa": qaoa}
"""The parts of the demonstration: each yields its comparisons."""


def train_optimizers(
    draw: Callable[[], tuple[Task, Tensor]],
    options: argparse.Namespace,
    num_angles: int,
    guess: Tensor | None = None,
) -> dict[str, Walk]:
    """Train an optimizer that is told values only, and one that is told slopes as well."""
    walks: dict[str, Walk] = {}
    for slopes, told in ((False, "values"), (True, "values, slopes")):
        optimizer = LearnedOptimizer(num_angles, options.hidden, slopes, guess)
        label = f"learning from {told}"
        train(optimizer, draw, options.steps, options.epochs, label, options.lr)
        walks[f"LSTM ({told})"] = optimizer.walk
    return walks


def compare(
    walks: dict[str, Walk],
    problem: Task,
    start: Tensor,
    judge: Callable[[Tensor], Tensor],
    counted: Task,
    counted_start: Tensor,
    steps: int,
) -> list[Curve]:
    """Let all optimizers walk on the same problem.

    Args:
        walks: The optimizers and their names.
        problem: What they see.
        start: Where they start ``(B, I)``.
        judge: From angles ``(B, I)`` to exact figures of merit ``(N,)``.
        counted: The same problem, in evaluations that are counted.
        counted_start: Some of the starts, to count on.
        steps: How many steps they have.
    """
    curves = []
    for label, walk in walks.items():
        places = walk(problem, start, steps)
        with torch.no_grad():
            values = torch.stack([judge(place) for place in places])
        curves.append(Curve(label, values, count_evaluations(walk, counted, counted_start, steps)))
    return curves


def count_evaluations(walk: Walk, problem: Task, start: Tensor, steps: int) -> float:
    """Return the expectation values that a walk of one row takes.

    Every step costs the same, so that two short walks tell.
    """
    counts = []
    for few in (1, 2):
        with Tracker() as tracker:
            walk(problem, start, few)
        counts.append(tracker.usage.points / len(start))
    return counts[0] + (steps - 1) * (counts[1] - counts[0])


def rotation_node(**place: Any) -> TorchQuantumModule:
    """Return one rotation of a qubit, whose angle is an input."""
    angle = Parameter("angle")
    circuit = QuantumCircuit(1)
    circuit.ry(angle, 0)
    return TorchQuantumModule(circuit, "Z", input_params=[angle], **place)


def draw_rotations(rows: int) -> tuple[Tensor, Tensor]:
    """Draw hidden angles ``(rows, 1)``, and expectation values ``(rows,)`` to reach from there."""
    return math.pi * (2 * torch.rand(rows, 1) - 1), 2 * torch.rand(rows) - 1


def rotation_problem(node: TorchQuantumModule, hidden: Tensor, targets: Tensor) -> Task:
    """Return the problem of :func:`draw_rotations`: observed is the signed distance to targets."""
    return Task(lambda angles: node(hidden + angles)[:, 0] - targets, torch.square)


def cut_nodes(graphs: Sequence[Graph], layers: int, **place: Any) -> list[Node]:
    """Return the QAOA circuits of graphs as modules, whose angles are inputs."""
    nodes = []
    for graph in graphs:
        circuit, gammas, betas = qaoa_circuit(graph, layers)
        operator, angles = cut_operator(graph), [*gammas, *betas]
        node = TorchQuantumModule(circuit, operator, input_params=angles, **place)
        nodes.append((node, len(graph.edges)))
    return nodes


def cut_problem(nodes: Sequence[Node]) -> Task:
    """Return the problem of some graphs, with as many rows each.

    What is observed is the share of edges cut, less a half, which random cuts have. The size of
    the largest cut is used nowhere here: anyone who knew it would not need QAOA.
    """

    def observe(angles: Tensor) -> Tensor:
        parts = angles.split(len(angles) // len(nodes))
        shares = [
            node(part)[:, 0] / edges for (node, edges), part in zip(nodes, parts, strict=True)
        ]
        return torch.cat(shares) - 0.5

    return Task(observe, torch.neg)


def approximation_ratios(exact: Task, graphs: Sequence[Graph], angles: Tensor) -> Tensor:
    """Return the approximation ratio of each graph, the mean of its rows."""
    shares = (exact.observe(angles) + 0.5).reshape(len(graphs), -1).mean(1)
    return shares * torch.tensor([len(graph.edges) / max_cut(graph) for graph in graphs])


def random_angles(rows: int, layers: int) -> Tensor:
    """Draw angles ``(rows, 2 * layers)`` from a whole period: first all gammas, then all betas."""
    gammas = math.pi * (2 * torch.rand(rows, layers) - 1)
    betas = math.pi / 2 * (2 * torch.rand(rows, layers) - 1)
    return torch.cat([gammas, betas], -1)


def typical_angles(nodes: Sequence[Node], layers: int) -> Tensor:
    """Return the angles ``(2 * layers,)`` that are best for the mean of all graphs.

    Angles of QAOA that suit some graphs suit others of their kind (Brandao et al.,
    arXiv:1812.04170), so this is where someone who knows QAOA begins.
    """
    problem = cut_problem(nodes)
    angles = random_angles(TYPICAL_STARTS, layers).requires_grad_()
    optimizer = Adam([angles], lr=0.05)

    def losses() -> Tensor:
        observed = problem.observe(angles.repeat(len(nodes), 1))
        return problem.loss(observed).reshape(len(nodes), -1).mean(0)

    for _ in range(TYPICAL_STEPS):
        optimizer.zero_grad()
        losses().sum().backward()
        optimizer.step()
    with torch.no_grad():
        return angles[losses().argmin()].clone()


def draw_graphs(
    count: int, num_nodes: Sequence[int], rng: np.random.Generator, known: Sequence[Graph] = ()
) -> list[Graph]:
    """Draw connected graphs, none of them a renumbering of another or of a known one."""
    found: list[Graph] = []
    seen = [as_rustworkx(graph) for graph in known]
    for _ in range(ATTEMPTS * count):
        graph = random_gnp(int(rng.choice(num_nodes)), rng.uniform(*DENSITIES), rng)
        candidate = as_rustworkx(graph)
        if not rustworkx.is_connected(candidate):
            continue
        if any(rustworkx.is_isomorphic(candidate, other) for other in seen):
            continue
        found.append(graph)
        seen.append(candidate)
        if len(found) == count:
            return found
    raise DemoError(
        f"There are too few different graphs of {max(num_nodes)} nodes: found {len(found)} of "
        f"{count} that were still wanted after {len(known)}. Ask for fewer with --graphs and "
        "--unseen, or for larger ones with --nodes."
    )


def as_rustworkx(graph: Graph) -> rustworkx.PyGraph:
    """Return a graph as rustworkx has it."""
    result = rustworkx.PyGraph()
    result.add_nodes_from(range(graph.num_nodes))
    result.add_edges_from_no_data(list(graph.edges))
    return result


OPTIONS: Options = {
    **common_options(
        shots="default: exact values",
        gradient="default: exact in training and without --shots, else analytic",
        plot="write the curves of all optimizers to this file",
    ),
    "--part": option("one rotation, or QAOA (default: one after the other)", choices=list(PARTS)),
    "--steps": option("steps of every optimizer", whole(1), 10),
    "--epochs": option("epochs of each training", whole(1), 200),
    "--hidden": option("size of the LSTM's memory", whole(1), 32),
    "--lr": option(
        "learning rate of the training in its first epoch; it falls to zero", positive, 0.01
    ),
    "--batch-size": option(
        "targets of the rotation in an epoch; half as many walks for qaoa, four for each graph",
        whole(1),
        64,
    ),
    "--layers": option("layers of QAOA", whole(1), 2),
    "--nodes": option(
        "nodes of the graphs, in training up to two fewer", whole(4, MAX_NODES - LARGER), 8
    ),
    "--graphs": option("graphs to train on", whole(1), 48),
    "--unseen": option("graphs to compare on", whole(2), 24),
}


def run(options: argparse.Namespace) -> list[Comparison]:
    """Train and compare, print a table for each comparison, and plot if asked."""
    check_extras(options.plot)
    begin = time.perf_counter()
    places = Places.chosen(options.gradient, options.shots, options.seed)
    comparisons: list[Comparison] = []
    with torch.random.fork_rng(devices=[]):  # a caller's random numbers stay as they were
        for name in PARTS if options.part is None else (options.part,):
            torch.manual_seed(options.seed)
            comparisons += PARTS[name](options, places)
    for comparison in comparisons:
        print(summarise(comparison))
    print(explain(options, time.perf_counter() - begin))
    if options.plot is not None:
        plot_meta(options.plot, comparisons)
        print(f"\nThe curves are in {options.plot}.")
    return comparisons


def summarise(comparison: Comparison) -> str:
    """Return the table of one comparison."""
    curves = comparison.curves
    steps = len(curves[0].values) - 1
    shown = sorted({0, min(1, steps), min(2, steps), steps // 2, steps})
    rows = [
        [c.label, *(f"{c.means[step]:.4f}" for step in shown), f"{c.evaluations:,.0f}"]
        for c in curves
    ]
    lines = [
        f"\n{comparison.title}: {comparison.merit}\n",
        table(["after steps", *map(str, shown), "evaluations"], rows),
        "",
    ]
    for learned in filter(lambda curve: curve.is_learned, curves):
        for other in filter(lambda curve: not curve.is_learned, curves):
            mean, error, better = comparison.gain(learned, other)
            lines.append(
                f"{learned.label} against {other.label}: {mean:+.4f} +- {error:.4f}, "
                f"better on {better:.0%}"
            )
    return "\n".join(lines)


def explain(options: argparse.Namespace, seconds: float) -> str:
    """Return what explains the tables."""
    return f"""
Figures are exact at the angles reached; the optimizers saw {name_values(options.shots)}.
LSTM: the learned optimizers; one is told values alone, the other slopes, too (the gradient with
respect to the angles); {options.epochs} epoch{"s" * (options.epochs > 1)} each.
SGD, Adam: with the learning rate, in brackets, that is best on problems of the training.
evaluations: expectation values that a device would measure for one run, with the gradient
'{options.gradient or "analytic"}'.
against: by how much it is better after the last step, with the standard error.
Training and comparison took {seconds:.0f} s."""
