# SPDX-License-Identifier: Apache-2.0
"""What the demonstrations share: flags, checks before the work, progress, and a meter."""

from __future__ import annotations

import argparse
import importlib
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from qiskit.primitives import BaseEstimatorV2, BasePrimitiveJob
from qiskit.primitives.containers import EstimatorPubLike

from ..exceptions import BridgeError

GRADIENTS = {
    "analytic": "aqgd",
    "aqgd": "aqgd",
    "parameter-shift": "parameter-shift",
    "finite-difference": "finite-difference",
    "spsa": "spsa",
}
"""The values of ``--gradient`` and the names that ``TorchQuantumModule`` knows them by."""

REMEDY = 'pip install "qiskit-torch-bridge[demos]"'


class DemoError(BridgeError, ValueError):
    """A demonstration cannot run as it was asked to."""


class MissingExtraError(BridgeError, ImportError):
    """An optional dependency of the demonstrations is not installed."""


def require(*names: str) -> list[Any]:
    """Import optional dependencies, or say how to install them."""
    modules = []
    for name in names:
        try:
            modules.append(importlib.import_module(name))
        except ImportError as error:
            raise MissingExtraError(
                f"This demonstration needs {name.partition('.')[0]}, which cannot be imported "
                f"({error}). Install the demonstrations' extra: {REMEDY}"
            ) from error
    return modules


def whole(minimum: int, maximum: float = math.inf) -> Callable[[str], int]:
    """Return an argparse type for whole numbers from ``minimum`` to ``maximum``."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}") from None
        _check_range(value, minimum, maximum)
        return value

    return parse


def number(above: float, maximum: float = math.inf, *, closed: bool = False) -> Any:
    """Return an argparse type for finite numbers above (``closed``: from) a limit."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from None
        if not math.isfinite(value):
            raise argparse.ArgumentTypeError(f"expected a finite number, got {text!r}")
        if not closed and value <= above:
            raise argparse.ArgumentTypeError(f"expected a number above {above:g}, got {text}")
        _check_range(value, above, maximum)
        return value

    return parse


def _check_range(value: float, minimum: float, maximum: float) -> None:
    if value < minimum:
        raise argparse.ArgumentTypeError(f"expected at least {minimum:g}, got {value:g}")
    if value > maximum:
        raise argparse.ArgumentTypeError(f"expected at most {maximum:g}, got {value:g}")


def add_common_arguments(
    parser: argparse.ArgumentParser, *, shots: str, gradient: str, plot: str
) -> None:
    """Add the flags that every demonstration has; the texts say what each defaults to."""
    parser.add_argument(
        "--seed", type=whole(0, 2**32 - 1), default=0, help="makes the run repeatable (default 0)"
    )
    parser.add_argument("--shots", type=whole(1), help=f"shots per expectation value ({shots})")
    parser.add_argument(
        "--gradient",
        choices=list(GRADIENTS),
        help=f"how the circuit is differentiated; 'analytic' is 'aqgd' ({gradient})",
    )
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help=plot)


def check_plot(path: Path | None) -> None:
    """Raise before the training if the plot could not be written after it."""
    if path is None:
        return
    require("matplotlib")
    if path.suffix.lower() != ".png":
        raise DemoError(f"Expected --plot to name a .png file; got '{path}'.")
    if not path.parent.is_dir():
        raise DemoError(f"The folder of --plot, '{path.parent}', does not exist. Create it first.")
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "a device, a pipe or a socket"
        raise DemoError(f"Expected --plot to name a file; '{path}' is {kind}.")


def progress(steps: int, description: str, unit: str = "step") -> Any:
    """Return a tqdm progress bar over ``steps``."""
    (tqdm,) = require("tqdm")
    return tqdm.tqdm(total=steps, desc=description, unit=unit)


class MeteredEstimator(BaseEstimatorV2):
    """Passes everything on to an estimator and counts what it returns.

    Attributes:
        jobs: The number of ``run`` calls.
        values: The number of expectation values returned.
    """

    def __init__(self, estimator: BaseEstimatorV2) -> None:
        self.estimator = estimator
        self.default_precision = getattr(estimator, "default_precision", None)
        self.jobs = 0
        self.values = 0

    def run(
        self, pubs: Iterable[EstimatorPubLike], *, precision: float | None = None
    ) -> BasePrimitiveJob[Any, Any]:
        """Run ``pubs`` on the estimator and wait for them."""
        job = self.estimator.run(pubs, precision=precision)
        self.jobs += 1
        self.values += sum(result.data.evs.size for result in job.result())
        return job
