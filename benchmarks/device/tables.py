# SPDX-License-Identifier: Apache-2.0
"""The tables of ``gpu.py``, of whatever its parts have found so far."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import harness
from report import milliseconds

from device.candidates import CONTENDERS, OURS, OWN, PROCESSOR

Entry = Mapping[str, Any]
PEERS_GOAL, PROCESSOR_GOAL, COPY_GOAL = 3.0, 20.0, 0.5
PROCESSOR_FROM, COPY_FROM = 20, 22
"""Qubits from which goals hold."""
PARTS = ("bandwidth", "correctness", "steps", "vqe", "wide")


def write(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write ``gpu.md`` and ``gpu.json`` of all parts whose findings lie in a folder."""
    found: dict[str, Any] = {}
    for part in PARTS:
        path = folder / f"gpu_{part}.json"
        if path.exists():
            found[part] = json.loads(path.read_text(encoding="utf-8"))
    texts = ["# The exact engine on a device", _conditions(facts)]
    for part, of_part in found.items():
        entries = of_part["entries"]
        texts.append(f"## {TITLES[part]}\n\n{RENDER[part](entries)}")
        notes = _notes(entries)
        if notes:
            texts.append("\n".join(notes))
    harness.save("gpu", "\n\n".join(texts), {**facts, "parts": found}, folder)


def _conditions(facts: Mapping[str, Any]) -> str:
    lines = [f"{key}: {value}" for key, value in facts.items() if not isinstance(value, dict)]
    for part, outcome in facts.get("parts_run", {}).items():
        lines.append(f"part {part}: {outcome}")
    return "\n".join(f"- {line}" for line in lines)


def _bandwidth(entries: Sequence[Entry]) -> str:
    copy = next((e["rate"] for e in entries if e["row"] == "copy" and "rate" in e), None)
    rows = []
    for e in entries:
        if "rate" not in e:
            continue
        share = e["rate"] / copy if copy else float("nan")
        if e["row"] == "copy":
            rows.append(["copy", "", "", "", milliseconds(e["median"]), _giga(e["rate"]), "", ""])
            continue
        goal = _goal(share, COPY_GOAL) if e["qubits"] >= COPY_FROM else ""
        rows.append(
            [
                e["row"], str(e["qubits"]), e["dtype"], str(e["launches"]),
                milliseconds(e["seconds"]), _giga(e["rate"]), f"{share:.2f}", goal,
            ]
        )  # fmt: skip
    header = (
        "pass", "qubits", "dtype", "launches", "ms", "GB/s", "of the copy",
        f"goal {COPY_GOAL:g} from {COPY_FROM}",
    )  # fmt: skip
    return harness.table(header, rows)


def _correctness(entries: Sequence[Entry]) -> str:
    names = ("values", "by_inputs", "by_weights", "product_inputs", "product_weights")
    rows = [
        [e["kernels"], e["dtype"], str(e["circuits"]), *(f"{e[n]:.0e}" for n in names)]
        for e in entries
        if "circuits" in e
    ]
    failed = sum("failed" in e or "why" in e for e in entries)
    large = [f"{e['qubits']} qubits x {e['rows']}" for e in entries if "rows" in e and "far" in e]
    header = ("kernels", "dtype", "circuits", *(name.replace("_", " ") for name in names))
    verdict = f"{failed} comparisons failed." if failed else "No comparison failed."
    closed = f" Compared with closed forms: {', '.join(large)}." if large else ""
    text = f"Largest deviations from the processor's engine. {verdict}{closed}"
    return f"{text}\n\n{harness.table(header, rows)}"


def _steps(entries: Sequence[Entry]) -> str:
    peers = [name for name in CONTENDERS if name not in OWN]
    used = [
        n for n in CONTENDERS if any(e.get("candidate") == n and "median" in e for e in entries)
    ]
    header = [
        "ms", "dtype", *(CONTENDERS[n].label for n in used), "fastest peer / ours",
        f"goal {PEERS_GOAL:g}", "processor / ours", f"goal {PROCESSOR_GOAL:g}",
    ]  # fmt: skip
    rows = []
    for row, dtype in dict.fromkeys((e["row"], e["dtype"]) for e in entries if "row" in e):
        mine = [e for e in entries if e.get("row") == row and e.get("dtype") == dtype]
        medians = {e["candidate"]: e["median"] for e in mine if "median" in e}
        ours, processor = medians.get(OURS), medians.get(PROCESSOR)
        fastest = min((medians[p] for p in (*peers, "bridge-torch") if p in medians), default=None)
        line = [row, dtype, *(milliseconds(medians[n]) if n in medians else "-" for n in used)]
        line += _ratio(fastest, ours, PEERS_GOAL)
        ratio = _ratio(processor, ours, PROCESSOR_GOAL)
        rows.append([*line, ratio[0], ratio[1] if mine[0]["qubits"] >= PROCESSOR_FROM else ""])
    return harness.table(header, rows)


def _wide(entries: Sequence[Entry]) -> str:
    rows = []
    for row, dtype in dict.fromkeys((e["row"], e["dtype"]) for e in entries):
        medians = {
            e["candidate"]: e["median"]
            for e in entries
            if (e["row"], e["dtype"]) == (row, dtype) and "median" in e
        }
        cells = [milliseconds(medians[n]) if n in medians else "-" for n in ("device", "processor")]
        rows.append(
            [row, dtype, *cells, _ratio(medians.get("processor"), medians.get("device"))[0]]
        )
    return harness.table(("ms", "dtype", "device", "processor", "processor / device"), rows)


def _ratio(other: float | None, ours: float | None, goal: float = 0.0) -> list[str]:
    if other is None or ours is None:
        return ["-", "-"]
    return [f"{other / ours:,.2f}", _goal(other / ours, goal)]


def _goal(value: float, goal: float) -> str:
    return "met" if value >= goal else "not met"


def _giga(rate: float) -> str:
    return f"{rate / 1e9:,.1f}"


def _notes(entries: Sequence[Entry]) -> list[str]:
    """Return what was not run, or went wrong, and why."""
    notes = [
        f"- {e['missing']} was not run: {', '.join(e['packages'])} not installed"
        for e in entries
        if "missing" in e
    ]
    for e in entries:
        why = e.get("why") or e.get("failed")
        if why:
            keys = ("row", "qubits", "seed", "kernels", "dtype", "candidate")
            what = ", ".join(str(e[key]) for key in keys if key in e)
            notes.append(f"- {what}: {why}")
    return notes


TITLES = {
    "bandwidth": "Share of the copy bandwidth",
    "correctness": "The same numbers",
    "steps": "Training steps",
    "vqe": "Energies and gradients",
    "wide": "Wide circuits",
}
RENDER = {
    "bandwidth": _bandwidth, "correctness": _correctness, "steps": _steps, "vqe": _steps,
    "wide": _wide,
}  # fmt: skip
