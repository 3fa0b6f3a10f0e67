# SPDX-License-Identifier: Apache-2.0
"""What the comparing benchmarks share: options, the run over workloads, and the files."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import environments
import harness
import report
from comparison import Method, Row, compare
from peers.registry import OURS, PEERS
from peers.registry import environments as environments_of
from processes import START, NotRun, Pool
from workloads import Spec, label


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options of every comparing benchmark."""
    result = harness.parser(description, repeats=15, budget=60)
    add = result.add_argument
    add("--turn", type=float, default=0.3, help="seconds of a candidate's turn (default 0.3)")
    add(
        "--compile-budget",
        type=float,
        default=600,
        help="seconds for a first step that compiles (default 600)",
    )
    add("--cores", type=int, help="cores that every candidate may use (default: all)")
    add("--only", nargs="+", choices=PEERS, metavar="NAME", help=f"among {', '.join(PEERS)}")
    add("--quick", action="store_true", help="tiny workloads, to see that everything works")
    add(
        "--environments",
        type=Path,
        default=environments.FOLDER,
        help="folder of the candidates' environments, which run_all.py makes",
    )
    return result


def method(options: argparse.Namespace) -> Method:
    """Return how to time, from the options."""
    return Method(options.repeats, options.turn, options.budget, options.compile_budget)


def chosen(names: Iterable[str], options: argparse.Namespace) -> list[str]:
    """Return the candidates of a benchmark that the options leave, ours always first."""
    only = set(options.only or PEERS)
    return [OURS, *(name for name in names if name in only and name != OURS)]


@contextmanager
def pool(options: argparse.Namespace) -> Iterator[Pool]:
    """Give a pool of processes whose standard error goes to a file beside the results."""
    options.output.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the processes end with this one
    log = Path(tempfile.gettempdir()) / "qiskit-torch-bridge-benchmarks.log"
    with Pool(options.environments.resolve(), log, options.cores) as result:
        print(f"What the packages print goes to {log}.", flush=True)
        yield result


def rows(
    processes: Pool, specs: Sequence[Spec], names: Sequence[str], how: Method
) -> Iterator[Row]:
    """Compare the candidates on one workload after the other, and say how it went."""
    for spec in specs:
        print(f"{label(spec)} ...", flush=True)
        row = compare(processes, spec, names, how)
        print(f"\n{report.details(row)}\n", flush=True)
        yield row


def packages(processes: Pool, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the versions of all packages in each environment that is there."""
    found = {}
    for environment in environments_of(list(names)):
        try:
            found[environment] = processes.ask(
                f"packages of {environment}", environment, START, do="packages"
            )
        except NotRun:
            continue
    return found


def machine(processes: Pool) -> dict[str, float]:
    """Return the machine's peak, measured now."""
    return processes.ask("machine", "main", START, do="machine")


def save(name: str, parts: Sequence[str], facts: dict[str, Any], folder: Path) -> None:
    """Print and write the text and all figures."""
    text = "\n\n".join(parts)
    print(text, flush=True)
    json.dumps(facts)  # raises before a file is written if anything is not a plain figure
    harness.save(name, text, facts, folder)
