# SPDX-License-Identifier: Apache-2.0
"""The flags that choose optimizers and their step sizes."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from .common import number

StepSizes = dict[str, float | None]
"""SLSQP searches along a line, and SPSA calibrates itself: they have no step size to set."""


def add_optimizer_arguments(parser: argparse.ArgumentParser, *defaults: StepSizes) -> None:
    """Add the flags that choose optimizers and their step sizes; defaults differ by problem."""
    step_sizes = defaults[0]
    sizes = {
        name: " or ".join(dict.fromkeys(f"{sizes[name]:g}" for sizes in defaults))
        for name, size in step_sizes.items()
        if size is not None
    }
    parser.add_argument(
        "--optimizers",
        nargs="+",
        choices=list(step_sizes),
        default=list(step_sizes),
        metavar="NAME",
        help=f"which of them: {' '.join(step_sizes)} (default: all)",
    )
    parser.add_argument(
        "--lr",
        nargs="+",
        type=_step_size(list(sizes)),
        default=[],
        metavar="NAME=SIZE",
        help="learning rates, and COBYLA's first step where it takes part (default "
        + ", ".join(f"{name}={size}" for name, size in sizes.items())
        + ")",
    )


def _step_size(names: Sequence[str]) -> Callable[[str], tuple[str, float]]:
    def parse(text: str) -> tuple[str, float]:
        name, _, size = text.partition("=")
        if name not in names:
            raise argparse.ArgumentTypeError(
                f"expected NAME=SIZE with one of {', '.join(names)}; got {text!r}"
            )
        return name, number(0)(size)

    return parse


def chosen_step_sizes(options: argparse.Namespace, step_sizes: StepSizes) -> StepSizes:
    """Return the step sizes of the optimizers that the flags choose."""
    sizes = {**step_sizes, **dict(options.lr)}
    return {name: sizes[name] for name in step_sizes if name in options.optimizers}
