# SPDX-License-Identifier: Apache-2.0
"""The figures of ``demo qaoa``: curves, sampled cuts, and the best cuts drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .graphs import cut_values
from .plotting import new_figure, save_figure
from .results import QaoaResult

COLORS = {
    "adam": "tab:blue",
    "rmsprop": "tab:cyan",
    "momentum": "tab:purple",
    "lbfgs": "tab:green",
    "natural": "tab:pink",
    "cobyla": "tab:orange",
    "slsqp": "tab:olive",
    "spsa": "tab:red",
}
OTHERS = ("cobyla", "slsqp", "spsa")
"""Those that are not PyTorch's have dashed lines."""

SIDES = ("#4c78a8", "#f2a03d")


def plot_qaoa(path: Path, results: Sequence[QaoaResult]) -> None:
    """Draw the curves of all problems, and for the graphs what was sampled in the end."""
    figure = new_figure((5 * len(results), 9.5))
    top, bottom = figure.subplots(2, len(results))
    for axes, result in zip(top, results, strict=True):
        draw_curves(axes, result)
    handles, labels = top[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    _draw_samples(bottom[0], results[1])
    for axes, result in zip(bottom[1:], results[1:], strict=True):
        _draw_cut(axes, result)
    save_figure(figure, path)


def draw_curves(axes: Any, result: QaoaResult) -> None:
    """Draw the best ratio so far over the evaluations spent."""
    for run in result.runs:
        axes.plot(
            np.maximum(run.evaluations, 1),
            run.lowest() / result.problem.optimum,
            "--" if run.method in OTHERS else "-",
            color=COLORS[run.method],
            label=run.label,
            drawstyle="steps-post",
        )
    axes.set(
        xscale="log", xlabel="evaluations", ylabel="approximation ratio", title=result.problem.title
    )
    axes.grid(alpha=0.25)


def _draw_samples(axes: Any, result: QaoaResult) -> None:
    best = min(range(len(result.runs)), key=lambda k: result.runs[k].best)
    graph = result.problem.graph
    assert graph is not None
    for values, label, color in (
        (cut_values(graph), "guessed", "0.75"),
        (result.cuts[best], f"trained with {result.runs[best].label}", "tab:blue"),
    ):
        cuts, counts = np.unique(values, return_counts=True)
        width = 0.9 if color == "0.75" else 0.5
        axes.bar(cuts, 100 * counts / counts.sum(), width=width, color=color, label=label)
    axes.axvline(result.largest_cut, color="0.35", linewidth=1, linestyle="--")
    axes.set(
        xlabel="cut (dashed: the largest)",
        ylabel="bit strings (%)",
        title=f"Cuts sampled: {result.problem.title}",
    )
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False, loc="upper left")
    axes.grid(axis="y", alpha=0.25)


def _draw_cut(axes: Any, result: QaoaResult) -> None:
    graph, sides = result.problem.graph, result.sides
    assert graph is not None
    angles = [math.pi / 2 - 2 * math.pi * k / graph.num_nodes for k in range(graph.num_nodes)]
    places = [(math.cos(angle), math.sin(angle)) for angle in angles]
    weighted = len(set(graph.weights)) > 1
    heaviest = max(map(abs, graph.weights))
    cut = 0.0
    for (u, v), weight in zip(graph.edges, graph.weights, strict=True):
        crosses = sides[u] != sides[v]
        cut += weight * crosses
        axes.plot(
            *zip(places[u], places[v], strict=True),
            color="tab:red" if crosses else "0.7",
            linewidth=(0.8 + 2.2 * abs(weight) / heaviest) if weighted else (1.8 if crosses else 1),
            linestyle="-" if crosses else "--",
            zorder=1 + crosses,
        )
    axes.scatter(
        *zip(*places, strict=True),
        s=340,
        c=[SIDES[side] for side in sides],
        edgecolors="white",
        zorder=3,
    )
    for node, place in enumerate(places):
        label = graph.labels[node] if graph.labels else node
        axes.text(*place, str(label), ha="center", va="center", color="white", zorder=4)
    axes.set(
        aspect="equal",
        title=f"Best cut sampled: {cut:g} of at most {result.largest_cut:g}",
        xlim=(-1.2, 1.2),
        ylim=(-1.2, 1.2),
    )
    axes.axis("off")


def plot_survey(path: Path, results: Sequence[QaoaResult]) -> None:
    """Draw each optimizer's mean over all graphs of the best ratio so far."""
    figure = new_figure((8, 5.2))
    axes = figure.subplots()
    most = max(run.evaluations[-1] for result in results for run in result.runs)
    grid = np.geomspace(1, max(most, 2), 400)
    for position, run in enumerate(results[0].runs):
        curves = []
        for result in results:
            own = result.runs[position]
            reached = np.searchsorted(own.evaluations, grid, side="right") - 1
            curves.append(own.lowest()[reached] / result.problem.optimum)
        mean = np.mean(curves, axis=0)
        error = np.std(curves, axis=0) / math.sqrt(len(results))
        color, line = COLORS[run.method], "--" if run.method in OTHERS else "-"
        axes.fill_between(grid, mean - error, mean + error, color=color, alpha=0.12, linewidth=0)
        axes.plot(grid, mean, line, color=color, label=run.label)
    axes.set(
        xscale="log",
        xlabel="evaluations",
        ylabel="approximation ratio",
        title=f"{len(results)} random 3-regular graphs: means and their standard errors",
    )
    axes.grid(alpha=0.25)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    save_figure(figure, path)
