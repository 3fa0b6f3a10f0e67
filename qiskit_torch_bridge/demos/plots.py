# SPDX-License-Identifier: Apache-2.0
"""The demonstrations' figures, drawn without pyplot: no backend is chosen, no window opens."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .command_line import DemoError, require
from .large_graphs import cut_sizes
from .problems import cut_values

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from . import generative, hello, kernel, large_qaoa, meta, mnist, qaoa, qcnn, vqe
    from .contest import Run
    from .digits import Digits
    from .distributions import Target

TOLERANCE = 0.05
CASE_COLORS = ("tab:blue", "tab:red", "tab:green")
COLUMNS, ROWS = 6, 2

OPTIMIZER_STYLES = {
    "Adam": ("tab:blue", "-"),
    "RMSprop": ("tab:cyan", "-"),
    "SGD, momentum": ("tab:purple", "-"),
    "L-BFGS": ("tab:green", "-"),
    "natural gradient": ("tab:pink", "-"),
    "COBYLA": ("tab:orange", "--"),
    "SLSQP": ("tab:olive", "--"),
    "SPSA": ("tab:red", "--"),
}
DASHES = "lines: optimizers of torch.optim and of this package; dashes: of SciPy and Qiskit"
CHEMICAL_ACCURACY = 1.6e-3
"""One kcal/mol in hartree: errors below it leave rates of reactions right at room temperature."""

SIDES = ("#4c78a8", "#f2a03d")
LEARNED = (("tab:orange", "o-"), ("tab:green", "o-"))
OTHERS = (("tab:blue", "s--"), ("tab:red", "s--"))

METHOD_STYLES = {"mmd": ("tab:blue", "-"), "gan": ("tab:red", "--")}
IMAGES_ACROSS, IMAGES_DOWN = 10, 5

FLOOR = 1e-10
"""Smaller errors of energies are rounding."""


@contextmanager
def new_figure(path: Path, width: float, height: float) -> Iterator[Figure]:
    """Give an empty figure of a size in inches, and write it to a file in the end."""
    figure = require("matplotlib.figure").Figure(figsize=(width, height), layout="constrained")
    yield figure
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise DemoError(f"Cannot write the plot to '{path}': {error}.") from error


def plot_hello(
    path: Path, trainings: Sequence[hello.Repeats], target: float, num_qubits: int
) -> None:
    """Draw the trainings of all cases over one another: means, and bands of standard deviations."""
    with new_figure(path, 8, 4.8) as figure:
        axes = figure.subplots()
        axes.axhspan(target - TOLERANCE, target + TOLERANCE, color="0.88", linewidth=0)
        axes.axhline(target, color="0.35", linewidth=1, linestyle="--", label=f"target {target:g}")
        for repeats, color in zip(trainings, CASE_COLORS, strict=False):
            curves = np.array([training.curve for training in repeats])
            mean, spread = curves.mean(0), curves.std(0)
            steps = np.arange(len(mean))
            axes.fill_between(steps, mean - spread, mean + spread, color=color, alpha=0.2, lw=0)
            axes.plot(steps, mean, color=color, label=repeats[0].case.label)
        axes.set(
            xlabel="training step",
            ylabel="exact " + " + ".join([r"$\langle Z \rangle$"] * num_qubits),
            ylim=(-1.05 * num_qubits, 1.05 * num_qubits),
            xlim=(0, len(trainings[0][0].curve) - 1),
            title="One qubit learns an expectation value"
            if num_qubits == 1
            else "Two qubits learn the sum of their expectation values",
        )
        axes.grid(alpha=0.25)
        title = f"means of {len(trainings[0])} trainings; bands: their standard deviations"
        figure.legend(loc="outside lower center", ncols=2, frameon=False, title=title)


def plot_mnist(
    path: Path, training: mnist.Training, held_out: Digits, digits: Sequence[int]
) -> None:
    """Draw the loss, the accuracy, and sample images with what they were taken for."""
    epochs = len(training.accuracies)
    losses = torch.tensor(training.losses).reshape(epochs, -1)
    steps = torch.arange(1, losses.numel() + 1) / losses.shape[1]
    percent = [100 * accuracy for accuracy in training.accuracies]
    with new_figure(path, 10, 7) as figure:
        parts: Any = figure.subfigures(2, 1, height_ratios=(1, 1.05))
        top, bottom = parts
        loss_axes: Axes
        accuracy_axes: Axes
        loss_axes, accuracy_axes = top.subplots(1, 2)
        loss_axes.plot(steps, losses.flatten(), color="tab:blue", alpha=0.35, label="step")
        middles, means = torch.arange(epochs) + 0.5, losses.mean(1)
        loss_axes.plot(middles, means, "o-", color="tab:blue", markersize=4, label="mean of epoch")
        loss_axes.set(xlabel="epoch", ylabel="loss", title="Training loss", xlim=(0, epochs))
        if losses.min() >= 0:
            loss_axes.set_ylim(bottom=0)
        loss_axes.legend(frameon=False)
        accuracy_axes.plot(range(1, epochs + 1), percent, "o-", color="tab:green", markersize=4)
        accuracy_axes.set(
            xlabel="epoch",
            ylabel="correct (%)",
            title=f"{len(held_out.classes):,} held-out digits: {percent[-1]:.2f} % correct",
            xlim=(0, epochs + 0.5),
        )
        _use_whole_numbers(accuracy_axes)
        accuracy_axes.set_ylim(top=101)
        for axes in (loss_axes, accuracy_axes):
            axes.grid(alpha=0.25)
        right = training.predictions == held_out.classes
        order = ", all of them right" if bool(right.all()) else ", mistakes first"
        bottom.suptitle(f"Held-out digits and what they were taken for{order}")
        grid = bottom.subplots(ROWS, COLUMNS).ravel()
        chosen = _choose_samples(right)
        for axes in grid:
            axes.axis("off")
        for axes, index in zip(grid, chosen, strict=False):
            taken, true = (
                digits[int(classes[index])] for classes in (training.predictions, held_out.classes)
            )
            axes.imshow(held_out.images[index, 0].numpy(), cmap="gray_r")
            title = f"{taken}" if taken == true else f"{taken}, but is {true}"
            axes.set_title(title, color="tab:green" if taken == true else "tab:red")


def _choose_samples(right: torch.Tensor) -> list[int]:
    order = torch.randperm(len(right), generator=torch.Generator().manual_seed(0))
    mistakes_first = order[right[order].int().argsort(stable=True)]
    return mistakes_first[: COLUMNS * ROWS].tolist()


def plot_meta(path: Path, comparisons: Sequence[meta.Comparison]) -> None:
    """Draw what is reached step by step, and below what the learned optimizers gain at the end.

    Below, problems are compared one by one with the best start that others have: how much they
    differ among themselves, which the bands above show, is then left out.
    """
    columns = range(len(comparisons))
    gains = [2 * column + (comparisons[column].sign > 0) for column in columns]
    mosaic: Any = [[2 * column for column in columns], gains]
    with new_figure(path, max(6.5, 4.6 * len(comparisons)), 6.5) as figure:
        panels = figure.subplot_mosaic(mosaic, height_ratios=(2.2, 1))
        for column, comparison in enumerate(comparisons):
            axes, styles = panels[2 * column], {True: iter(LEARNED), False: iter(OTHERS)}
            for curve in comparison.curves:
                _draw_means(axes, curve.values, *next(styles[curve.is_learned]), label=curve.label)
            axes.set(xlabel="step", ylabel=comparison.merit, title=comparison.title)
            if comparison.sign < 0:
                axes.set_ylim(bottom=0)
            axes.legend(frameon=False)
            if comparison.sign > 0:
                _draw_gain(panels[2 * column + 1], comparison)


def _draw_gain(axes: Axes, comparison: meta.Comparison) -> None:
    *curves, other = comparison.curves
    for curve, style in zip(curves, LEARNED, strict=False):
        _draw_means(axes, curve.values - other.values, *style, first=1)
    axes.axhline(0, color=OTHERS[1][0], linestyle="--")
    axes.set(xlabel="step", ylabel="difference", title=f"Gain over {other.label}")


def _draw_means(
    axes: Axes, values: torch.Tensor, color: str, line: str, first: int = 0, **options: Any
) -> None:
    means = values.mean(1)[first:]
    error = values.std(1)[first:] / values.shape[1] ** 0.5
    steps = range(first, len(values))
    axes.fill_between(steps, means - error, means + error, color=color, alpha=0.2, linewidth=0)
    axes.plot(steps, means, line, color=color, markersize=4, **options)
    axes.set_xlim(0, len(values) - 1)
    _use_whole_numbers(axes)
    axes.grid(alpha=0.25)


def _use_whole_numbers(axes: Axes) -> None:
    locator: Any = axes.xaxis.get_major_locator()
    locator.set_params(integer=True)


def _draw_progress(axes: Axes, run: Run, steps: Any, merits: Any, **options: Any) -> None:
    label = run.contestant.label
    color, line = OPTIMIZER_STYLES[label]
    axes.plot(steps, merits, line, color=color, label=label, **options)
    axes.set_xlabel("evaluations")
    axes.grid(alpha=0.25)


def plot_vqe(path: Path, results: Sequence[vqe.Result]) -> None:
    """Draw the lowest error so far over the evaluations spent."""
    with new_figure(path, 6 * len(results) + 1, 5.2) as figure:
        row = figure.subplots(1, len(results), squeeze=False)[0]
        for axes, result in zip(row, results, strict=True):
            problem = result.problem
            for run in result.runs:
                errors = np.maximum(run.lowest() - problem.least, FLOOR)
                _draw_progress(axes, run, run.evaluations(), errors, drawstyle="steps-post")
            if result.unit == "hartree":
                axes.axhline(CHEMICAL_ACCURACY, color="0.35", linewidth=1, linestyle=":", zorder=1)
                axes.annotate(
                    "chemical accuracy", (0.99, CHEMICAL_ACCURACY), (0, 3), ha="right",
                    xycoords=axes.get_yaxis_transform(), textcoords="offset points", color="0.35",
                    fontsize=9,
                )  # fmt: skip
            axes.set(
                yscale="log",
                ylabel=f"energy above the exact one ({result.unit})",
                title=problem.title,
                xlim=(0, result.conditions.budget),
            )
        handles, labels = row[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside lower center", ncols=3, frameon=False, title=DASHES
        )


def plot_qaoa(path: Path, results: Sequence[qaoa.Result]) -> None:
    """Draw the curves of all problems, and for the graphs what was sampled in the end."""
    with new_figure(path, 5 * len(results), 9.5) as figure:
        top, bottom = figure.subplots(2, len(results))
        for axes, result in zip(top, results, strict=True):
            for run in result.runs:
                evaluations = np.maximum(run.evaluations(), 1)
                ratios = run.lowest() / result.problem.least
                _draw_progress(axes, run, evaluations, ratios, drawstyle="steps-post")
            axes.set(xscale="log", ylabel="approximation ratio", title=result.problem.title)
        handles, labels = top[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside upper center", ncols=len(labels), frameon=False,
            title=DASHES,
        )  # fmt: skip
        _draw_samples(bottom[0], results[1])
        for axes, result in zip(bottom[1:], results[1:], strict=True):
            _draw_cut(axes, result)


def plot_survey(path: Path, results: Sequence[qaoa.Result]) -> None:
    """Draw each optimizer's mean over all graphs of the best ratio so far."""
    most = max(run.spent() for result in results for run in result.runs)
    grid = np.geomspace(1, max(most, 2), 400)
    with new_figure(path, 8, 5.2) as figure:
        axes = figure.subplots()
        for position, run in enumerate(results[0].runs):
            ratios = [r.runs[position].best_after(grid) / r.problem.least for r in results]
            mean, error = np.mean(ratios, 0), np.std(ratios, 0) / math.sqrt(len(results))
            color, _ = OPTIMIZER_STYLES[run.contestant.label]
            low, high = mean - error, mean + error
            axes.fill_between(grid, low, high, color=color, alpha=0.12, linewidth=0)
            _draw_progress(axes, run, grid, mean)
        axes.set(
            xscale="log",
            ylabel="approximation ratio",
            title=f"{len(results)} random 3-regular graphs: means and their standard errors",
        )
        figure.legend(loc="outside lower center", ncols=3, frameon=False)


def _draw_samples(axes: Axes, result: qaoa.Result) -> None:
    best = min(range(len(result.runs)), key=lambda k: result.runs[k].best)
    assert result.problem.graph is not None
    guessed, trained = cut_values(result.problem.graph), result.cuts[best]
    shown = [
        (guessed, 0.9, 0.0, "guessed", "0.8"),
        (trained, 0.38, -0.2, f"mean, {result.runs[best].contestant.label}", "tab:blue"),
    ]
    if result.tail is not None:
        shown.append((result.tail.cuts, 0.38, 0.2, result.tail.label, "tab:orange"))
    for values, width, shift, name, color in shown:
        cuts, counts = np.unique(values, return_counts=True)
        axes.bar(cuts + shift, 100 * counts / counts.sum(), width, label=name, color=color)
    axes.axvline(result.largest_cut, color="0.35", linewidth=1, linestyle="--")
    axes.set(
        xlabel="cut (dashed: the largest)",
        ylabel="bit strings (%)",
        title=f"Cuts sampled: {result.problem.title}",
    )
    _use_whole_numbers(axes)
    axes.legend(frameon=False, loc="upper left")
    axes.grid(axis="y", alpha=0.25)


def _draw_cut(axes: Axes, result: qaoa.Result) -> None:
    graph, sides = result.problem.graph, result.best_sides
    assert graph is not None
    angles = math.pi / 2 - 2 * math.pi * np.arange(graph.num_nodes) / graph.num_nodes
    places = np.stack([np.cos(angles), np.sin(angles)], 1)
    weighted, heaviest = len(set(graph.weights)) > 1, max(map(abs, graph.weights))
    cut = 0.0
    for (u, v), weight in zip(graph.edges, graph.weights, strict=True):
        crosses = sides[u] != sides[v]
        cut += weight * crosses
        axes.plot(
            *places[[u, v]].T,
            "-" if crosses else "--",
            color="tab:red" if crosses else "0.7",
            linewidth=0.8 + 2.2 * abs(weight) / heaviest if weighted else 1 + 0.8 * crosses,
            zorder=1 + crosses,
        )
    colors = [SIDES[side] for side in sides]
    axes.scatter(places[:, 0], places[:, 1], s=340, c=colors, edgecolors="white", zorder=3)
    for (x, y), label in zip(places, graph.labels or range(graph.num_nodes), strict=True):
        axes.text(x, y, str(label), ha="center", va="center", color="white", zorder=4)
    title = f"Best cut sampled: {cut:g} of at most {result.largest_cut:g}"
    axes.set(aspect="equal", title=title, xlim=(-1.2, 1.2), ylim=(-1.2, 1.2))
    axes.axis("off")


def plot_large_qaoa(path: Path, results: Sequence[large_qaoa.LargeResult]) -> None:
    """Draw for each graph what the optimizers reached, and which cuts were found in the end."""
    with new_figure(path, 6.5 * len(results), 9) as figure:
        top, bottom = figure.subplots(2, len(results), squeeze=False)
        for axes, result in zip(top, results, strict=True):
            _draw_depths(axes, result)
        for axes, result in zip(bottom, results, strict=True):
            _draw_fractions(axes, result)
        handles, labels = top[0].get_legend_handles_labels()
        named = dict(zip(labels, handles, strict=True))
        figure.legend(
            named.values(), named, loc="outside upper center", ncols=len(named), frameon=False
        )


def _draw_depths(axes: Axes, result: large_qaoa.LargeResult) -> None:
    """Draw the curves of all depths, and at the right what theory has for graphs without cycles."""
    for training in result.trainings:
        for run in training.runs:
            evaluations = np.maximum(run.evaluations(), 1)
            parts = run.lowest() / training.problem.least
            _draw_progress(axes, run, evaluations, parts, drawstyle="steps-post")
        theory = training.theory.large_girth
        level = training.fraction(training.best) if theory is None else theory
        if theory is not None:
            axes.axhline(theory, color="0.35", linewidth=1, linestyle=":", zorder=1)
        note = f"p = {training.reps}" + ("" if theory is None else f", no short cycles: {theory}")
        axes.annotate(
            note, (0.02, level), (0, 3), xycoords=axes.get_yaxis_transform(),
            textcoords="offset points", color="0.35", fontsize=9,
        )  # fmt: skip
    axes.set(xscale="log", ylabel="mean part of the edges cut", title=result.title)
    axes.margins(y=0.12)  # room for the uppermost note


def _draw_fractions(axes: Axes, result: large_qaoa.LargeResult) -> None:
    """Draw the cuts that were guessed, sampled and searched for as parts of all edges."""
    total, rng = result.total, np.random.default_rng(0)
    guesses = cut_sizes(result.graph, rng.integers(0, 2, (1000, result.graph.num_nodes)))
    shown = [(guesses, "guessed", "0.7"), (result.local, "local search", "tab:olive")]
    colors = ("tab:blue", "tab:orange", "tab:green", "tab:purple", "tab:red")
    for training, color in zip(result.trainings, colors, strict=False):
        label = f"QAOA, p = {training.reps}"
        if training.cuts is None:
            mean = training.fraction(training.best)
            axes.axvline(mean, color=color, linestyle="--", label=f"{label}: mean")
        else:
            shown.append((training.cuts, f"{label}, sampled", color))
    values = np.concatenate([cuts for cuts, _, _ in shown])
    # Bins of whole numbers, or some would have more of them than others.
    step = max(1.0, math.ceil(np.ptp(values) / 50))
    bins: Any = np.arange(values.min() - 0.5, values.max() + step, step) / total
    for cuts, label, color in shown:
        weights = np.full(len(cuts), 100 / len(cuts))
        axes.hist(cuts / total, bins, weights=weights, label=label, color=color, alpha=0.6)
    if result.largest is not None:
        limit = result.largest / total
        axes.axvline(limit, color="0.35", linestyle=":", label=f"largest cut: {limit:.3f}")
    axes.set(xlabel="part of the edges cut", ylabel="bit strings (%)", title="Cuts found")
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    axes.grid(axis="y", alpha=0.25)


def plot_generative(path: Path, trainings: Sequence[generative.Training]) -> None:
    """Draw what was learned beside the target, the divergences, and images that were sampled."""
    titles = list(dict.fromkeys(t.target.title for t in trainings))
    groups = [[t for t in trainings if t.target.title == title] for title in titles]
    drawn = next((t for t in trainings if t.target.side is not None), None)
    mosaic: Any = [titles, ["divergence"] * len(titles)]
    if drawn is not None and len(titles) > 1:
        mosaic[1][0] = "samples"
    elif drawn is not None:
        mosaic.insert(1, ["samples"])
    with new_figure(path, 6.2 * len(titles), 4 * len(mosaic)) as figure:
        panels = figure.subplot_mosaic(mosaic)
        for title, group in zip(titles, groups, strict=True):
            draw = _draw_numbers if group[0].target.side is None else _draw_patterns
            draw(panels[title], group)
            panels[title].set_title(title)
        if "samples" in panels:
            assert drawn is not None
            _draw_images(panels["samples"], drawn)
        axes = panels["divergence"]
        for group, width in zip(groups, (2.2, 1.2), strict=False):
            for t in group:
                color, line = METHOD_STYLES[t.method]
                label = t.label if len(titles) > 1 else t.method
                axes.plot(t.divergences, line, color=color, linewidth=width, label=label)
        axes.set(
            xlabel="training step",
            ylabel="Kullback-Leibler divergence",
            yscale="log",
            title="How far the circuit is from the target",
            xlim=(0, len(trainings[0].divergences) - 1),
        )
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)


def _draw_numbers(axes: Axes, trainings: Sequence[generative.Training]) -> None:
    target = trainings[0].target
    numbers = np.arange(len(target.probabilities))
    axes.bar(numbers, 100 * target.probabilities, 1.0, color="0.8", label="target")
    for t in trainings:
        color, line = METHOD_STYLES[t.method]
        axes.step(numbers, 100 * t.after, line, where="mid", color=color, label=t.method)
    before = 100 * trainings[0].before
    axes.step(numbers, before, ":", where="mid", color="0.6", linewidth=1, label="at the start")
    axes.set(xlabel="number", ylabel="probability (%)", xlim=(-0.5, len(numbers) - 0.5))
    axes.set_ylim(top=1.2 * max(100 * t.after.max() for t in trainings))
    axes.legend(frameon=False, loc="upper right", ncols=4)
    axes.grid(axis="y", alpha=0.25)


def _draw_patterns(axes: Axes, trainings: Sequence[generative.Training]) -> None:
    """Draw bars over the images that they are about, and one for all other images."""
    target = trainings[0].target
    wanted = np.flatnonzero(target.probabilities)
    places = np.arange(len(wanted) + 1)

    def heights(probabilities: Any) -> Any:
        found = probabilities[wanted]
        return 100 * np.append(found, probabilities.sum() - found.sum())

    axes.bar(places, heights(target.probabilities), 0.9, color="0.8", label="target")
    width = 0.6 / len(trainings)
    for position, t in enumerate(trainings):
        shift = (position - (len(trainings) - 1) / 2) * width
        color = METHOD_STYLES[t.method][0]
        axes.bar(places + shift, heights(t.after), width, color=color, label=t.method)
    axes.set(ylabel="probability (%)", xlim=(-0.7, len(wanted) + 0.9), xticks=[])
    axes.set_ylim(top=1.2 * axes.get_ylim()[1])
    for place, outcome in enumerate(wanted):
        inset = axes.inset_axes((place - 0.4, -0.17, 0.8, 0.14), transform=_under(axes))
        _show_image(inset, target, int(outcome))
    last = (len(wanted), -0.1)
    axes.text(*last, "all\nothers", ha="center", va="center", transform=_under(axes), fontsize=8)
    axes.legend(frameon=False, loc="upper right", ncols=3)
    axes.grid(axis="y", alpha=0.25)


def _under(axes: Axes) -> Any:
    """Return coordinates of the data across, and of the axes upwards."""
    return axes.get_xaxis_transform()


def _draw_images(axes: Axes, training: generative.Training) -> None:
    target, count = training.target, IMAGES_ACROSS * IMAGES_DOWN
    bits = training.module.sample(shots=count).bits.numpy().astype(int)
    outcomes = (bits << np.arange(target.num_qubits)).sum(-1)
    right = int((target.probabilities[outcomes] > 0).sum())
    for position, outcome in enumerate(outcomes.tolist()):
        down, across = divmod(position, IMAGES_ACROSS)
        box = (
            (across + 0.1) / IMAGES_ACROSS,
            1 - (down + 0.9) / IMAGES_DOWN,
            0.8 / IMAGES_ACROSS,
            0.8 / IMAGES_DOWN,
        )
        color = "tab:green" if target.probabilities[outcome] > 0 else "tab:red"
        _show_image(axes.inset_axes(box), target, outcome, color)
    axes.axis("off")
    axes.set_title(f"{count} samples of the trained circuit: {right} are bars or stripes")


def _show_image(axes: Axes, target: Target, outcome: int, color: str = "0.5") -> None:
    assert target.side is not None
    image = target.bits[outcome].reshape(target.side, target.side)
    axes.imshow(image, cmap="gray_r", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color=color, linewidth=2 if color.startswith("tab") else 1)


def plot_kernel(path: Path, repeats: Sequence[kernel.Repeat], grid: int) -> None:
    """Draw what a machine decides before and after the training, and the alignments."""
    first = repeats[0]
    names = list(first.accuracies)[-2:]
    with new_figure(path, 13, 4.2) as figure:
        *panels, curves = figure.subplots(1, 3)
        for axes, name, decide in zip(panels, names, first.decisions, strict=True):
            _draw_decisions(axes, first, decide, grid)
            axes.set_title(f"{name}: {100 * first.accuracies[name]:.1f} % of the test points")
        for index, repeat in enumerate(repeats):
            label = "the one on the left" if not index else None
            color, width = ("tab:blue", 2.2) if not index else ("0.65", 1.0)
            curves.plot(repeat.alignments, color=color, linewidth=width, label=label, zorder=-index)
        curves.set(xlabel="training step", title="Centered alignment with the labels")
        curves.set_xlim(0, len(first.alignments) - 1)
        curves.legend(frameon=False, loc="lower right")
        curves.grid(alpha=0.25)


def _draw_decisions(axes: Axes, repeat: kernel.Repeat, decide: Any, grid: int) -> None:
    """Draw the classes of the plane, the line between them, and the points that were learned."""
    points = repeat.train
    low, high = points.x.min(axis=0) - 0.1, points.x.max(axis=0) + 0.1
    across, up = (np.linspace(a, b, grid) for a, b in zip(low, high, strict=True))
    plane = np.stack(np.meshgrid(across, up), axis=-1)
    values = decide(plane.reshape(-1, 2)).reshape(grid, grid)
    limit = np.abs(values).max()
    axes.contourf(across, up, values, 20, cmap="PuOr_r", vmin=-limit, vmax=limit, alpha=0.6)
    axes.contour(across, up, values, [0.0], colors="0.2", linewidths=1.2)
    for label, color in enumerate(SIDES):
        chosen = points.x[points.y == label]
        axes.scatter(
            chosen[:, 0], chosen[:, 1], s=22, color=color, edgecolor="white", linewidth=0.5
        )
    axes.set(xlabel="x[0]", ylabel="x[1]")


def plot_qcnn(path: Path, training: qcnn.Training, digits: Sequence[int]) -> None:
    """Draw training curves, outputs of both digits, and outputs on Aer against exact ones."""
    epochs = len(training.accuracies)
    losses = torch.tensor(training.losses)
    steps = torch.arange(1, len(losses) + 1) / len(losses) * epochs
    exact, classes = training.exact.numpy(), training.classes.numpy()
    with new_figure(path, 11, 3.6) as figure:
        curves: Axes
        outputs: Axes
        compared: Axes
        curves, outputs, compared = figure.subplots(1, 3)
        curves.plot(steps, losses, color="tab:blue", alpha=0.4, label="loss of a step")
        means = losses.reshape(epochs, -1).mean(1)
        curves.plot(torch.arange(epochs) + 0.5, means, "o-", color="tab:blue", markersize=3,
            label="mean of an epoch")  # fmt: skip
        accuracy = [100 * a for a in training.accuracies]
        curves.plot(range(1, epochs + 1), [1 - a / 100 for a in accuracy], "s-",
            color="tab:green", markersize=3, label="held-out digits mistaken")  # fmt: skip
        curves.set(xlabel="epoch", ylabel="loss; fraction", xlim=(0, epochs), ylim=(0, None))
        curves.set_title("Training, exact")
        curves.legend(frameon=False)
        bins = np.linspace(-1, 1, 33).tolist()
        for which, color in enumerate(SIDES):
            outputs.hist(exact[classes == which], bins, color=color, alpha=0.75,
                label=f"digit {digits[which]}")  # fmt: skip
        outputs.axvline(0, color="0.35", linewidth=1, linestyle="--")
        outputs.set(xlabel=r"$\langle Z \rangle$ of the qubit left", ylabel="held-out digits")
        outputs.set_title(f"{accuracy[-1]:.1f} % right")
        outputs.legend(frameon=False)
        judged = len(training.sampled)
        compared.plot([-1, 1], [-1, 1], color="0.35", linewidth=1, linestyle="--")
        for which, color in enumerate(SIDES):
            chosen = classes[:judged] == which
            compared.plot(exact[:judged][chosen], training.sampled.numpy()[chosen], "o",
                color=color, markersize=4)  # fmt: skip
        compared.set(xlabel="exact output", ylabel="output on Aer, measured midway")
        compared.set_title("The same circuit on Aer")
        for axes in (curves, outputs, compared):
            axes.grid(alpha=0.25)
