# SPDX-License-Identifier: Apache-2.0
"""Numbers of ``benchmarks/results`` for the front page, read when it is built: ``|measured-NAME|``.

``test/test_front_page.py`` compares those in the README with the same files.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the tests read the numbers without it
    from sphinx.application import Sphinx

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
STEP = "n=8, L=3, B=32"
ORDERS = ("gradient", "Hessian-vector product")
PEERS = {
    "tensorcircuit-searched": "TensorCircuit-NG on JAX",
    "tensorcircuit-unrolled": "TensorCircuit-NG on JAX",
    "tensorcircuit-scanned": "TensorCircuit-NG on JAX",
    "tfq": "TensorFlow Quantum",
    "mindquantum-total": "MindQuantum",
}


def read_numbers() -> dict[str, str]:
    """Return what the front page says, by name, as it says it."""
    exact, shift, second, wide = (
        json.loads((RESULTS / f"{name}.json").read_text())
        for name in ("exact_step", "shift_step", "second_order", "wide")
    )
    steps = _medians(exact, STEP)
    here = steps.pop("bridge")
    fastest = min(steps, key=steps.get)
    seconds = {name: median(times) for name, times in shift["seconds"].items()}
    shift_here = seconds["this package, Aer's EstimatorV2"]
    shift_there = seconds["qiskit-machine-learning, Aer's EstimatorV2"]
    gradient, product = (median(second["seconds"][STEP][of]) for of in ORDERS)
    return {
        "step": _milliseconds(here),
        "fastest-peer": PEERS[fastest],
        "fastest-peer-step": _milliseconds(steps[fastest]),
        "fastest-peer-ratio": f"{steps[fastest] / here:.1f}",
        "tfq-step": _milliseconds(steps["tfq"]),
        "shift-here": _milliseconds(shift_here),
        "shift-there": f"{shift_there:.1f} s",
        "shift-ratio": f"{shift_there / shift_here:.0f}",
        "second-order": f"{product / gradient:.1f}",
        "wide": _milliseconds(_medians(wide, "chain, n=100, L=3, B=1")["bridge"]),
    }


def _medians(results: dict, label: str) -> dict[str, float]:
    """Return the median seconds of a row, by candidate."""
    row = next(row for row in results["rows"] if row["label"] == label)
    return {entry["name"]: median(entry["seconds"]) for entry in row["entries"] if entry["seconds"]}


def _milliseconds(seconds: float) -> str:
    """Write a time in milliseconds with two digits, or whole ones from 100 up."""
    return f"{seconds * 1e3:.0f} ms" if seconds >= 0.1 else f"{seconds * 1e3:.2g} ms"


def setup(app: Sphinx) -> dict[str, bool]:
    """Make a substitution of each number."""
    lines = [f".. |measured-{name}| replace:: {text}" for name, text in read_numbers().items()]
    app.config.rst_epilog = "\n".join([app.config.rst_epilog or "", *lines])
    return {"parallel_read_safe": True, "parallel_write_safe": True}
