# SPDX-License-Identifier: Apache-2.0
"""Demonstrations: complete trainings that one command runs, plots and summarises."""

from __future__ import annotations

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
"""A demonstration is a module with ``SUMMARY``, ``OPTIONS`` and ``run(options)``."""


def add_command(subparsers: Any) -> None:
    """Add ``demo`` and one subcommand for each demonstration."""
    parser = subparsers.add_parser("demo", help="run a demonstration", description=__doc__)
    chosen = parser.add_subparsers(dest="demo", required=True, metavar="DEMO")
    for name, demo in DEMOS.items():
        sub = chosen.add_parser(name, help=demo.SUMMARY, description=demo.SUMMARY)
        for flag, option in demo.OPTIONS.items():
            sub.add_argument(flag, **option)
        sub.set_defaults(run=demo.run)


__all__ = ["DEMOS", "add_command"]
