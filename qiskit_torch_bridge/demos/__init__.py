# SPDX-License-Identifier: Apache-2.0
"""Demonstrations: complete trainings that one command runs, plots and summarises."""

from __future__ import annotations

import argparse
from typing import Any

from . import generative, hello, kernel, meta, mnist, qaoa, qcnn, vqe

DEMOS = {
    "hello": hello,
    "mnist": mnist,
    "qaoa": qaoa,
    "vqe": vqe,
    "meta": meta,
    "generative": generative,
    "kernel": kernel,
    "qcnn": qcnn,
}
"""A demonstration is a module with ``SUMMARY``, ``TAKES``, ``OPTIONS`` and ``run(options)``.

``TAKES`` is about how long the default takes on two idle cores, once the kernels are compiled.
"""


def add_command(subparsers: Any) -> None:
    """Add ``demo`` and one subcommand for each demonstration."""
    parser = subparsers.add_parser("demo", help="run a demonstration", description=__doc__)
    parser.set_defaults(run=list_demos)
    chosen = parser.add_subparsers(dest="demo", metavar="DEMO")
    for name, demo in DEMOS.items():
        sub = chosen.add_parser(name, help=demo.SUMMARY, description=demo.SUMMARY)
        for flag, option in demo.OPTIONS.items():
            sub.add_argument(flag, **option)
        sub.set_defaults(run=demo.run)


def list_demos(options: argparse.Namespace) -> None:
    """Print what there is, a line each, and how long it takes."""
    for name, demo in DEMOS.items():
        print(f"{name:10}  {demo.TAKES:>5}  {demo.SUMMARY}")
    print(
        "\nqiskit-torch-bridge demo NAME runs one; --plot FILE.png draws it, --help has options.\n"
        "Times are about those of two idle cores. The first run on a machine compiles kernels for\n"
        "a minute or two."
    )


__all__ = ["DEMOS", "add_command", "list_demos"]
