# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks share: fair repeats, the environment, and a table on disk."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


@dataclass
class Timing:
    """Seconds that one candidate took, call by call.

    Attributes:
        name: What was timed.
        seconds: One number per repeat; the first call, which warms up, is not among them.
    """

    name: str
    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The median of the repeats."""
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The lower and upper quartile of the repeats."""
        if len(self.seconds) < 2:
            return self.median, self.median
        low, _, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return low, high


def time_interleaved(
    candidates: Mapping[str, Callable[[], object]], repeats: int, budget: float
) -> list[Timing]:
    """Time all candidates in turns, so that a busy moment of the machine strikes them alike.

    Args:
        candidates: Names and calls without arguments.
        repeats: How often each is called after one call to warm up.
        budget: Seconds after which a slow candidate is not repeated any more; three repeats are
            always made.
    """
    timings = [Timing(name) for name in candidates]
    for call in candidates.values():
        call()
    for _ in range(repeats):
        for timing, call in zip(timings, candidates.values(), strict=True):
            if len(timing.seconds) >= 3 and sum(timing.seconds) > budget:
                continue
            start = time.perf_counter()
            call()
            timing.seconds.append(time.perf_counter() - start)
    return timings


def environment(packages: Sequence[str]) -> dict[str, str]:
    """Return versions and the size of the machine."""
    found = {"Python": platform.python_version(), "CPU cores": str(os.cpu_count())}
    found["system"] = f"{platform.system()} {platform.machine()}"
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a markdown table whose columns are aligned as plain text, too."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = [
            c.ljust(w) if i == 0 else c.rjust(w)
            for i, (c, w) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * w if i == 0 else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    return "\n".join([line(header), line(rule), *map(line, rows)])


def timing_rows(timings: Sequence[Timing], baseline: str) -> list[list[str]]:
    """Return name, median, quartiles, repeats and the ratio of the baseline's median to each."""
    reference = next(t.median for t in timings if t.name == baseline)
    return [
        [
            t.name,
            f"{1e3 * t.median:,.1f}",
            " to ".join(f"{1e3 * q:,.1f}" for q in t.quartiles),
            str(len(t.seconds)),
            f"{reference / t.median:,.2f}",
        ]
        for t in timings
    ]


def save(name: str, text: str, facts: Mapping[str, Any], folder: Path) -> None:
    """Write ``name.md`` for people and ``name.json`` for programs."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text + "\n", encoding="utf-8")
    (folder / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def parser(description: str | None, repeats: int, budget: float) -> argparse.ArgumentParser:
    """Return a parser with the flags that every benchmark has."""
    result = argparse.ArgumentParser(description=description)
    result.add_argument("--repeats", type=int, default=repeats, help=f"default {repeats}")
    result.add_argument(
        "--budget",
        type=float,
        default=budget,
        help=f"seconds after which a slow candidate is not repeated any more (default {budget:g})",
    )
    result.add_argument(
        "--output", type=Path, default=RESULTS, help="folder of the results (default: beside this)"
    )
    return result
