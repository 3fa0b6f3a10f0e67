# SPDX-License-Identifier: Apache-2.0
"""The demonstrations' figures, drawn without pyplot: no backend is chosen, no window opens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from .common import DemoError, require
from .data import Digits
from .results import HelloTraining, MnistTraining

TOLERANCE = 0.05
STYLES = (("tab:blue", "-"), ("tab:red", "-"), ("tab:green", "-"))
COLUMNS, ROWS = 6, 2


def plot_hello(path: Path, trainings: Sequence[HelloTraining], target: float) -> None:
    """Draw the training curves of all cases over one another."""
    figure = new_figure((8, 4.8))
    axes = figure.subplots()
    axes.axhspan(target - TOLERANCE, target + TOLERANCE, color="0.88", linewidth=0)
    axes.axhline(target, color="0.35", linewidth=1, linestyle="--", label=f"target {target:g}")
    for training, (color, line) in zip(trainings, STYLES, strict=False):
        axes.plot(training.curve, line, color=color, linewidth=1.5, label=training.case.label)
    axes.set(
        xlabel="training step",
        ylabel=r"exact $\langle Z \rangle$",
        ylim=(-1.05, 1.05),
        xlim=(0, len(trainings[0].curve) - 1),
        title="One qubit learns an expectation value",
    )
    axes.grid(alpha=0.25)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    save_figure(figure, path)


def plot_mnist(
    path: Path, training: MnistTraining, held_out: Digits, digits: Sequence[int]
) -> None:
    """Draw the loss, the accuracy, and sample images with what they were taken for."""
    figure = new_figure((10, 7))
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.05))
    loss_axes, accuracy_axes = top.subplots(1, 2)
    epochs = len(training.accuracies)
    per_epoch = len(training.losses) // epochs
    positions = [(step + 1) / per_epoch for step in range(len(training.losses))]
    means = torch.tensor(training.losses).reshape(epochs, per_epoch).mean(1).tolist()
    loss_axes.plot(positions, training.losses, color="tab:blue", alpha=0.35, label="step")
    centres = [epoch + 0.5 for epoch in range(epochs)]
    loss_axes.plot(centres, means, "o-", color="tab:blue", markersize=4, label="mean of epoch")
    loss_axes.set(xlabel="epoch", ylabel="loss", title="Training loss", xlim=(0, epochs))
    loss_axes.set_ylim(bottom=0)
    loss_axes.legend(frameon=False)
    percent = [100 * accuracy for accuracy in training.accuracies]
    accuracy_axes.plot(range(1, epochs + 1), percent, "o-", color="tab:green", markersize=4)
    accuracy_axes.set(
        xlabel="epoch",
        ylabel="correct (%)",
        title=f"{len(held_out.classes):,} held-out digits: {percent[-1]:.2f} % correct",
        xlim=(0, epochs + 0.5),
    )
    accuracy_axes.xaxis.get_major_locator().set_params(integer=True)
    accuracy_axes.set_ylim(top=101)
    for axes in (loss_axes, accuracy_axes):
        axes.grid(alpha=0.25)
    _draw_samples(bottom, training, held_out, digits)
    save_figure(figure, path)


def _draw_samples(
    figure: Any, training: MnistTraining, held_out: Digits, digits: Sequence[int]
) -> None:
    right = training.predictions == held_out.classes
    wrong = _spread(torch.nonzero(~right).flatten().tolist(), COLUMNS * ROWS // 2)
    chosen = wrong + _spread(torch.nonzero(right).flatten().tolist(), COLUMNS * ROWS - len(wrong))
    figure.suptitle("Held-out digits and what they were taken for, mistakes first")
    for position, axes in enumerate(figure.subplots(ROWS, COLUMNS).flat):
        axes.axis("off")
        if position >= len(chosen):
            continue
        index = chosen[position]
        taken, true = (
            digits[int(classes[index])] for classes in (training.predictions, held_out.classes)
        )
        axes.imshow(held_out.images[index, 0].numpy(), cmap="gray_r")
        axes.set_title(
            f"{taken}" if taken == true else f"{taken}, but is {true}",
            color="tab:green" if taken == true else "tab:red",
        )


def _spread(items: list[int], count: int) -> list[int]:
    """Choose at most ``count`` items, evenly from all classes: they are sorted by class."""
    if len(items) <= count:
        return items
    return [items[position * len(items) // count] for position in range(count)]


def new_figure(size: tuple[float, float]) -> Any:
    """Return an empty figure of a size in inches."""
    (module,) = require("matplotlib.figure")
    return module.Figure(figsize=size, layout="constrained")


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure to a file, or say why that fails."""
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise DemoError(f"Cannot write the plot to '{path}': {error}.") from error
