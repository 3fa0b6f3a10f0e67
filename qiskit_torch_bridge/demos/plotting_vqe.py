# SPDX-License-Identifier: Apache-2.0
"""The figure of ``demo vqe``: errors over evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .plotting import new_figure, save_figure
from .plotting_qaoa import COLORS, OTHERS
from .results import VqeResult

FLOOR = 1e-10
"""Smaller errors are rounding."""


def plot_vqe(path: Path, results: Sequence[VqeResult]) -> None:
    """Draw the lowest error so far over the evaluations spent."""
    figure = new_figure((6 * len(results) + 1, 5.2))
    row = figure.subplots(1, len(results), squeeze=False)[0]
    for axes, result in zip(row, results, strict=True):
        problem = result.problem
        for run in result.runs:
            axes.plot(
                run.evaluations,
                np.maximum(run.lowest() - problem.exact, FLOOR),
                "--" if run.method in OTHERS else "-",
                color=COLORS[run.method],
                label=run.label,
                drawstyle="steps-post",
            )
        axes.set(
            yscale="log",
            xlabel="evaluations",
            ylabel=f"energy above the exact one ({problem.unit})",
            title=problem.title,
            xlim=(0, problem.budget),
        )
        axes.grid(alpha=0.25)
    handles, labels = row[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    save_figure(figure, path)
