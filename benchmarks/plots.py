# SPDX-License-Identifier: Apache-2.0
"""Plots of compared candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from comparison import Entry, Row
from matplotlib.axes import Axes
from peers.registry import OURS, PEERS
from workloads import label

COLORS = plt.get_cmap("tab20").colors
MARKERS = "osD^v<>pPX*hd8"


def steps(rows: Sequence[Row], title: str, path: Path) -> None:
    """Draw the median of every candidate on every workload, with quartiles."""
    figure, axes = plt.subplots(figsize=(9, 5.5), layout="constrained")
    _draw(axes, rows, range(len(rows)))
    axes.set_xticks(range(len(rows)), [label(row.spec).replace(", ", "\n") for row in rows])
    axes.set_yscale("log")
    axes.set_ylabel("time of one step (ms)")
    axes.set_title(title)
    axes.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def sweeps(panels: Mapping[str, tuple[Sequence[float], Sequence[Row]]], path: Path) -> None:
    """Draw one panel per sweep: the time of a step against what is varied."""
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    figure, grid = plt.subplots(
        lines, columns, figsize=(4 * columns, 3.4 * lines), layout="constrained", squeeze=False
    )
    for axes in grid.flat[len(panels) :]:
        axes.axis("off")
    for axes, (name, (places, rows)) in zip(grid.flat, panels.items(), strict=False):
        _draw(axes, rows, places)
        axes.set_xlabel(name)
        axes.set_yscale("log")
        if name != "qubits":
            axes.set_xscale("log", base=2)
        axes.grid(alpha=0.3)
    for axes in grid[:, 0]:
        axes.set_ylabel("time of one step (ms)")
    handles = {
        text: handle
        for axes in grid.flat
        for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _draw(axes: Axes, rows: Sequence[Row], places: Sequence[float]) -> None:
    names = [entry.name for entry in rows[0].entries]
    for index, name in enumerate(names):
        found = [(place, row.entry(name)) for place, row in zip(places, rows, strict=True)]
        found = [(place, entry) for place, entry in found if entry.seconds]
        if not found:
            continue
        medians = [1e3 * entry.median for _, entry in found]
        spread = [_spread(entry) for _, entry in found]
        axes.errorbar(
            [place for place, _ in found],
            medians,
            yerr=[list(side) for side in zip(*spread, strict=True)],
            label=PEERS[name].label,
            color="black" if name == OURS else COLORS[index % len(COLORS)],
            marker=MARKERS[index % len(MARKERS)],
            linewidth=2.2 if name == OURS else 1,
            markersize=5,
            zorder=3 if name == OURS else 2,
        )


def _spread(entry: Entry) -> tuple[float, float]:
    low, high = entry.quartiles
    return 1e3 * (entry.median - low), 1e3 * (high - entry.median)
