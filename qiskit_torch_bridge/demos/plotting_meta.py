# SPDX-License-Identifier: Apache-2.0
"""The figure of the meta demonstration: what every optimizer reaches, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from .meta_results import Comparison
from .plotting import new_figure, save_figure

LEARNED = (("tab:olive", "o-"), ("tab:green", "o-"))
OTHERS = (("tab:blue", "s--"), ("tab:red", "s--"))


def plot_meta(path: Path, comparisons: Sequence[Comparison]) -> None:
    """Draw what is reached step by step, and below what the learned optimizers gain at the end.

    Below, problems are compared one by one with the best start that others have: how much they
    differ among themselves, which the bands above show, is then left out.
    """
    columns = range(len(comparisons))
    gains = [2 * column + 1 if comparisons[column].sign > 0 else 2 * column for column in columns]
    figure = new_figure((max(6.5, 4.6 * len(comparisons)), 6.5))
    panels = figure.subplot_mosaic(
        [[2 * column for column in columns], gains], height_ratios=(2.2, 1)
    )
    for column, comparison in enumerate(comparisons):
        _draw_merit(panels[2 * column], comparison)
        if gains[column] != 2 * column:
            _draw_gain(panels[gains[column]], comparison)
    save_figure(figure, path)


def _draw_merit(axes: Any, comparison: Comparison) -> None:
    styles = {True: iter(LEARNED), False: iter(OTHERS)}
    for curve in comparison.curves:
        color, line = next(styles[curve.is_learned])
        _draw_mean(axes, curve.values, color, line, label=curve.label)
    axes.set(xlabel="step", ylabel=comparison.merit, title=comparison.title)
    axes.set_xlim(0, len(comparison.curves[0].values) - 1)
    if comparison.sign < 0:
        axes.set_ylim(bottom=0)
    axes.legend(frameon=False)


def _draw_gain(axes: Any, comparison: Comparison) -> None:
    *curves, other = comparison.curves
    for curve, (color, line) in zip(curves, LEARNED, strict=False):
        _draw_mean(axes, curve.values - other.values, color, line, first=1)
    axes.axhline(0, color=OTHERS[1][0], linestyle="--")
    axes.set(xlabel="step", ylabel="difference", title=f"Gain over {other.label}")
    axes.set_xlim(0, len(other.values) - 1)


def _draw_mean(
    axes: Any, values: Tensor, color: str, line: str, first: int = 0, **options: Any
) -> None:
    means = values.mean(1)[first:]
    error = values.std(1)[first:] / values.shape[1] ** 0.5
    steps = range(first, len(values))
    axes.fill_between(steps, means - error, means + error, color=color, alpha=0.2, linewidth=0)
    axes.plot(steps, means, line, color=color, markersize=4, **options)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.25)
