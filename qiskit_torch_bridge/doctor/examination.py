# SPDX-License-Identifier: Apache-2.0
"""Running all checks, none of which can keep the others from running."""

from __future__ import annotations

import argparse
import functools
import logging
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from . import conventions, extras, machine, silent, versions
from .findings import WIDTH, Finding, as_json, as_text, worst

Check = Callable[[], "Finding | list[Finding]"]


def stories(compile_now: bool = False) -> dict[str, tuple[Check, ...]]:
    """Return the checks by their stories, in the order of the report."""
    kernels = functools.partial(machine.kernels, compile_now)
    return {
        "Versions": (versions.python, versions.this_package, versions.dependencies),
        "Exact engine": (kernels, machine.threads, machine.memory),
        "Known faults that give wrong numbers": silent.CHECKS,
        "How dependencies read and write": conventions.CHECKS,
        "Backends and extras": extras.CHECKS,
    }


def examine(compile_now: bool = False) -> Iterator[Finding]:
    """Run every check, and yield what each finds.

    Args:
        compile_now: Whether to compile the kernels if they are not on disk.

    Example:
        >>> from qiskit_torch_bridge.doctor import examine
        >>> next(examine()).name
        'Python'
    """
    for group, checks in stories(compile_now).items():
        for check in checks:
            begin = time.perf_counter()
            found = _guarded(check)
            seconds = (time.perf_counter() - begin) / len(found)
            yield from (f._replace(group=group, seconds=seconds) for f in found)


def _guarded(check: Check) -> list[Finding]:
    """Run one check without its warnings; an error in it is a finding."""
    name = getattr(check, "__name__", "kernels").replace("_", " ")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = check()
    except Exception as error:
        return [
            Finding(
                name,
                "fail",
                f"the check failed: {type(error).__name__}: {error}",
                "Something that the package relies on does not work here.",
                "If a package named above is missing or broken, mend that first; else report this.",
            )
        ]
    return found if isinstance(found, list) else [found]


def add_command(subparsers: Any) -> None:
    """Add ``doctor`` to the command line."""
    parser = subparsers.add_parser(
        "doctor",
        help="check versions, known faults of dependencies, kernels, threads, memory, extras",
        description=(
            "Check what is installed: versions, known faults of dependencies, compiled kernels, "
            "threads, memory, backends and extras. Exit status 0 if the package works here, 1 if "
            "something fails."
        ),
    )
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    parser.add_argument(
        "--compile",
        action="store_true",
        help="compile the exact engine's kernels if they are not on disk (a fraction of a minute)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the report and return the exit status."""
    log = logging.getLogger("qiskit_torch_bridge")
    level = log.level
    log.setLevel(logging.ERROR)  # the report itself says what is compiled
    try:
        findings = list(examine(options.compile))
    finally:
        log.setLevel(level)
    if options.json:
        from .. import __version__

        print(as_json(findings, __version__))
    else:
        colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        width = min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)
        print(as_text(findings, colour=colour, width=width))
    return int(worst(findings) == "fail")
