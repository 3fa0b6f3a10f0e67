# SPDX-License-Identifier: Apache-2.0
"""Tables of compared candidates."""

from __future__ import annotations

import contextlib
import math
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import harness
from comparison import Entry, Method, Row
from peers.registry import OURS, PEERS
from workloads import label

# Packages whose versions tables show; the files with all figures have every package.
SHOWN = (
    *("Python", "numpy", "numba", "torch", "qiskit", "qiskit-torch-bridge", "qiskit-aer"),
    *("qiskit-algorithms", "qiskit-machine-learning", "qiskit-torch-module", "pennylane"),
    *("pennylane-lightning", "qulacs", "tensorcircuit-ng", "jax", "jaxlib", "cotengra"),
    *("tensorflow-quantum", "tensorflow", "mindquantum", "quimb", "qokit"),
)


def overview(rows: Sequence[Row]) -> str:
    """Return medians in milliseconds, a line per candidate and a column per workload."""
    header = ["candidate (median, ms)", *(label(row.spec) for row in rows)]
    names = [entry.name for entry in rows[0].entries]
    lines = [
        [PEERS[name].label, *(_median(row.entry(name)) for row in rows)]
        for name in names
        if any(row.entry(name).seconds for row in rows)
    ]
    lines.append(["**fastest peer / this package**", *(f"**{_ratio(row)}**" for row in rows)])
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for entry in row.entries:
            if entry.why:
                reasons.setdefault((entry.name, entry.why), []).append(label(row.spec))
    notes = [
        f"- {PEERS[name].label} was not run on {'; '.join(where)}: {why}"
        for (name, why), where in reasons.items()
    ]
    return "\n".join([harness.table(header, lines), *(["", *notes] if notes else [])])


def details(row: Row) -> str:
    """Return quartiles, repeats, the first step and the deviation of every candidate."""
    header = (
        "candidate",
        "median (ms)",
        "quartiles (ms)",
        "rounds",
        "steps",
        "first step (s)",
        "deviation",
        "this package is faster by",
    )
    ours = row.entry(OURS)
    lines = []
    for entry in sorted(row.timed, key=lambda e: e.median):
        lines.append(
            [
                PEERS[entry.name].label,
                milliseconds(entry.median),
                " to ".join(milliseconds(q) for q in entry.quartiles),
                str(len(entry.seconds)),
                str(sum(entry.calls)),
                f"{entry.first:.2f}",
                "-" if math.isnan(entry.deviation) else f"{entry.deviation:.0e}",
                f"{entry.median / ours.median:,.1f}" if ours.seconds else "",
            ]
        )
    return f"## {label(row.spec)}\n\n{harness.table(header, lines)}"


def roofline(rows: Sequence[Row], peak: Mapping[str, float]) -> str:
    """Return how much of the machine's measured arithmetic and memory traffic ours reaches."""
    header = (
        "this package",
        "Gflop counted",
        "Gflop/s",
        "of peak arithmetic",
        "GB/s if every gate sweeps",
        "of peak traffic",
        "times the bound",
    )
    lines = []
    for row in rows:
        entry = row.entry(OURS)
        if entry.seconds:
            flops, sweeps = row.operations / entry.median, row.traffic / entry.median
            lines.append(
                [
                    label(row.spec),
                    f"{row.operations / 1e9:.3g}",
                    f"{flops / 1e9:.3g}",
                    f"{flops / peak['flops']:.1%}",
                    f"{sweeps / 1e9:.3g}",
                    f"{sweeps / peak['bandwidth']:.1%}",
                    f"{entry.median / bound(row, peak):,.1f}",
                ]
            )
    text = (
        f"Measured in the same run with {peak['threads']:.0f} threads: "
        f"{peak['flops'] / 1e9:.3g} Gflop/s (matrix product, float64), "
        f"{peak['bandwidth'] / 1e9:.3g} GB/s (triad). Operations and bytes are counted as "
        "`cost.py` says; the bound is the longer of all operations at peak arithmetic and the "
        "state once written and once read at peak traffic."
    )
    return f"## Share of the machine's peak\n\n{text}\n\n{harness.table(header, lines)}"


def bound(row: Row, peak: Mapping[str, float]) -> float:
    """Return the seconds that no engine on this machine goes below, by what ``cost.py`` counts."""
    return max(row.operations / peak["flops"], row.least_traffic / peak["bandwidth"])


def conditions(method: Method, cores: int, packages: Mapping[str, Mapping[str, str]]) -> str:
    """Return how steps were timed, and on what."""
    text = (
        f"One run, candidates in turns, all with {cores} cores and nothing else running; "
        f"{method.rounds} rounds of {method.turn:g} s (a slower step fills a turn alone). A step "
        f"may take {method.budget:g} s, a first step that compiles {method.compile_budget:g} s. "
        "Values and gradients of all candidates agreed with the reference before they were timed."
    )
    return f"## Conditions\n\n{text}\n\n{system(cores, packages)}"


def system(cores: int, packages: Mapping[str, Mapping[str, str]]) -> str:
    """Return the machine and the versions in each environment."""
    found = harness.environment([]) | {"CPU cores in use": str(cores)}
    found["CPU"] = _processor()
    first = ", ".join(f"{key} {value}" for key, value in found.items()) + "."
    return "\n\n".join([first, *(_versions(*item) for item in packages.items())])


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def milliseconds(seconds: float) -> str:
    """Return milliseconds with three digits or more."""
    value = 1e3 * seconds
    digits = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:,.{min(digits, 3)}f}"


def facts(rows: Sequence[Row], **others: Any) -> dict[str, Any]:
    """Return everything for a file."""
    return {"rows": [row.facts() for row in rows], **others}


def _median(entry: Entry) -> str:
    return milliseconds(entry.median) if entry.seconds else "not run"


def _ratio(row: Row) -> str:
    ours, peer = row.entry(OURS), row.fastest_peer
    return f"{peer.median / ours.median:,.2f}" if ours.seconds and peer else "-"


def _versions(environment: str, found: Mapping[str, str]) -> str:
    kept = {key: value for key, value in found.items() if key in SHOWN}
    return f"`{environment}`: " + ", ".join(f"{key} {value}" for key, value in kept.items()) + "."
