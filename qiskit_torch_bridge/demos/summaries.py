# SPDX-License-Identifier: Apache-2.0
"""What ``demo qaoa`` and ``demo vqe`` print at the end."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from .contest import LABELS, Price, Run
from .results import QaoaResult, VqeResult

WIDTH = max(map(len, LABELS.values()))

START = "All start from the same angles."


def qaoa_summary(result: QaoaResult, options: argparse.Namespace) -> str:
    """Return the table of one problem."""
    problem, price = result.problem, result.price
    angles = len(problem.start)
    lines = ["", f"{problem.title}: {angles} angles, {_values(options)}"]
    start = result.runs[0].values[0] / problem.optimum
    unit = 0.0
    if problem.graph is None:
        lines.append(
            f"exact optimum <E> = {problem.optimum:g}; the start has a ratio of {start:.4f}"
        )
    else:
        unit = result.largest_cut / problem.optimum
        lines.append(
            f"{len(problem.graph.edges)} edges, largest cut {result.largest_cut:g}; "
            f"the start has a ratio of {start:.4f}"
        )
    columns = "<E>" if problem.graph is None else "<cut>  sampled"
    lines += [
        "",
        f"{'optimizer':{WIDTH}}   ratio  {columns:>{8 + 9 * bool(unit)}}  values  gradients  "
        "evaluations  by shift  seconds",
    ]
    for position, run in enumerate(result.runs):
        shown = f"{run.best:8.4f}"
        if unit:
            shown = f"{run.best * unit:8.3f}  {result.cuts[position].max():7g}"
        lines.append(
            f"{run.label:{WIDTH}}  {result.ratio(run):6.4f}  {shown}  {run.counts['values']:6,}  "
            f"{run.counts['gradients']:9,}  {run.spent(price):11,}  {_by_shift(result, run):8,}  "
            f"{run.seconds:7.1f}"
        )
    lines += ["", "ratio: the best exact value on the way over the exact optimum."]
    if unit:
        count = len(result.cuts[0])
        lines.append(f"sampled: the largest of {count:,} cuts sampled from the state that has it.")
    lines += _counting(result, options)
    return "\n".join(lines)


def survey_summary(results: Sequence[QaoaResult], options: argparse.Namespace) -> str:
    """Return the table of means over many graphs."""
    first, count = results[0], len(results)
    lines = [
        "",
        f"{count} random 3-regular graphs, {options.nodes} nodes, QAOA with {options.reps} "
        f"layer{'s' * (options.reps > 1)}, {_values(options)}",
        "",
        f"{'optimizer':{WIDTH}}  mean ratio  deviation   worst  optimal cuts  near the best after  "
        "evaluations  by shift",
    ]
    for position, run in enumerate(first.runs):
        runs = [(result, result.runs[position]) for result in results]
        ratios = np.array([result.ratio(run) for result, run in runs])
        optimal = np.mean([np.mean(r.cuts[position] == r.largest_cut) for r in results])
        near = [n for result in results if (n := _near_the_best(result, position)) is not None]
        after = f"{np.mean(near):,.0f} ({len(near)} of {count})" if near else f"- (0 of {count})"
        spent = np.mean([run.spent(result.price) for result, run in runs])
        shift = np.mean([_by_shift(result, run) for result, run in runs])
        lines.append(
            f"{run.label:{WIDTH}}  {ratios.mean():10.4f}  {ratios.std():9.4f}  {ratios.min():6.4f}"
            f"  {100 * optimal:10.1f} %  {after:>19}  {spent:11,.0f}  {shift:8,.0f}"
        )
    start = np.mean([r.runs[0].values[0] / r.problem.optimum for r in results])
    lines += [
        "",
        f"The start has a mean ratio of {start:.4f}.",
        f"optimal cuts: the part of {len(first.cuts[0]):,} cuts sampled in the end.",
        "near the best after: evaluations until the ratio is within 1 % of the best one that any",
        "optimizer found for the graph, on average over the graphs for which it came so far.",
        *_counting(first, options),
    ]
    return "\n".join(lines)


def _near_the_best(result: QaoaResult, position: int) -> int | None:
    best = max(map(result.ratio, result.runs))
    run = result.runs[position]
    reached = np.flatnonzero(run.lowest() / result.problem.optimum >= 0.99 * best)
    return run.evaluations[reached[0]] if len(reached) else None


def _by_shift(result: QaoaResult, run: Run) -> int:
    return run.spent(Price(result.shift_price))


def _values(options: argparse.Namespace) -> str:
    return "exact values" if options.shots is None else f"{options.shots:,} shots"


def _counting(result: QaoaResult, options: argparse.Namespace) -> list[str]:
    price = result.price.gradient
    if options.gradient is not None:
        how = f"{options.gradient.replace('-', ' ')}, as asked for"
    elif options.shots is not None:
        how = "parameter shift"
    else:
        how = "central differences"
    return [
        f"evaluations: 1 for a value and {price:,} for a gradient by {how};",
        f"by shift: the same with {result.shift_price:,} for a gradient, by parameter shift: 2 for "
        "each gate angle.",
    ]


def vqe_summary(result: VqeResult, options: argparse.Namespace) -> str:
    """Return the table of one problem."""
    problem, price = result.problem, result.price
    lines = [
        "",
        f"{problem.title}: {len(problem.start)} angles, {_values(options)}, at most "
        f"{problem.budget:,} evaluations each",
        "",
        f"{'optimizer':{WIDTH}}  through  {'energy':>14}  {'error':>8}  values  gradients  metrics"
        "  evaluations  seconds",
    ]
    for run in sorted(
        [*result.runs, *result.handed], key=lambda run: list(LABELS).index(run.method)
    ):
        asked = run.counts
        lines.append(
            f"{run.label:{WIDTH}}  {run.through:7}  {run.best:14.9f}  "
            f"{run.best - problem.exact:8.1e}  {asked['values']:6,}  {asked['gradients']:9,}  "
            f"{asked['metrics']:7,}  {run.spent(price):11,}  {run.seconds:7.1f}"
        )
    how = (options.gradient or "parameter shift").replace("-", " ")
    metric = {"full": "full, one circuit for each pair of gates"}.get(
        options.metric, f"{options.metric}, one circuit for each layer"
    )
    lines += [
        f"{'exact diagonalization':{WIDTH + 9}}  {problem.exact:14.9f}",
        "",
        f"energy: in {problem.unit}; the lowest exact one on the way (VQE: the one it returns).",
        f"evaluations: 1 for a value, {price.gradient:,} for a gradient ({how}), {price.metric:,} "
        "for a metric tensor",
        f"({metric}). {START}",
    ]
    return "\n".join(lines)
