# SPDX-License-Identifier: Apache-2.0
"""The command ``doctor``: what works here, what to know, and what to do about what does not.

It runs all checks, none of which can keep the others from running.
"""

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
from typing import TYPE_CHECKING

from .report import WIDTH, Finding, format_json, format_text, worst_status

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["Finding", "add_command", "examine", "format_json", "format_text", "worst_status"]

Check = Callable[[], "Finding | list[Finding]"]


def group_checks(compile_now: bool = False) -> dict[str, dict[str, Check]]:
    """Return the checks with their names, in the groups and the order of the report."""
    from . import facts, machine, packages  # which import what they examine

    known = {fact.name: functools.partial(facts.judge, fact) for fact in facts.FACTS}
    faults = {fact.name for fact in facts.FACTS if fact.kind == "fault"}
    return {
        "Versions": {
            "Python": packages.check_python,
            "qiskit-torch-bridge": packages.check_this_package,
            "dependencies": packages.check_dependencies,
        },
        "Exact engine": {
            "kernels": functools.partial(machine.check_kernels, compile_now),
            "threads": machine.check_threads,
            "memory": machine.check_memory,
        },
        "Known faults of dependencies": {k: v for k, v in known.items() if k in faults},
        "How dependencies behave": {k: v for k, v in known.items() if k not in faults},
        "Backends and extras": {
            "Aer": packages.check_aer,
            "fake devices": packages.check_fake_devices,
            "devices of torch": machine.check_accelerators,
            "kernels for GPUs": machine.check_device_kernels,
            "optional packages": packages.check_optional_packages,
        },
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
    for group, checks in group_checks(compile_now).items():
        for name, check in checks.items():
            begin = time.perf_counter()
            found = _run_guarded(name, check)
            seconds = (time.perf_counter() - begin) / len(found)
            yield from (f._replace(group=group, seconds=seconds) for f in found)


def _run_guarded(name: str, check: Check) -> list[Finding]:
    """Run one check without its warnings; an error in it is a finding."""
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


def add_command(subparsers: Subparsers) -> None:
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
        help="compile the exact engine's kernels if they are not on disk (about a minute)",
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

        print(format_json(findings, __version__))
    else:
        colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        width = min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)
        print(format_text(findings, colour=colour, width=width))
    return int(worst_status(findings) == "fail")
