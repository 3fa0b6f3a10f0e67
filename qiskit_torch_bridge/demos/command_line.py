# SPDX-License-Identifier: Apache-2.0
"""What the demonstrations' command lines share: options, checks before the work, and tables."""

from __future__ import annotations

import argparse
import importlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import torch
from qiskit.providers import BackendV2
from qiskit.transpiler import generate_preset_pass_manager

from ..exceptions import BridgeError

Options: TypeAlias = dict[str, dict[str, Any]]
"""Flags, and what ``argparse.ArgumentParser.add_argument`` takes for each of them."""

Parser: TypeAlias = Callable[[str], Any]
"""What argparse calls a type: it reads a word of the command line."""

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


def require(name: str) -> ModuleType:
    """Import an optional dependency, or say how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(
            f"This demonstration needs {name.partition('.')[0]}, which cannot be imported "
            f"({error}). Install the demonstrations' extra: {REMEDY}"
        ) from error


def whole(minimum: int, maximum: float = math.inf) -> Parser:
    """Return an argparse type for whole numbers from ``minimum`` to ``maximum``."""
    return _parser(int, "whole number", minimum, maximum)


def number(minimum: float, maximum: float) -> Parser:
    """Return an argparse type for numbers from ``minimum`` to ``maximum``."""
    return _parser(float, "number", minimum, maximum)


def _parser(read: Parser, noun: str, minimum: float, maximum: float) -> Parser:
    def parse(text: str) -> Any:
        try:
            value = read(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected a {noun}, got {text!r}") from None
        if not abs(value) < math.inf:
            raise argparse.ArgumentTypeError(f"expected a finite number, got {text!r}")
        if value < minimum:
            raise argparse.ArgumentTypeError(f"expected at least {minimum:g}, got {value:g}")
        if value > maximum:
            raise argparse.ArgumentTypeError(f"expected at most {maximum:g}, got {value:g}")
        return value

    return parse


def positive(text: str) -> float:
    """Read a finite number above zero."""
    value: float = number(-math.inf, math.inf)(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return value


def option(
    text: str, kind: Parser | None = None, default: Any = None, **others: Any
) -> dict[str, Any]:
    """Return what argparse takes for an option, with the default at the end of its help."""
    if default is not None:
        words = default if isinstance(default, list) else [default]
        text += f" (default {' '.join(map(str, words))})"
    return {"help": text, "type": kind, "default": default, **others}


def common_options(
    *, shots: str, gradient: str, plot: str, each: str = "expectation value"
) -> Options:
    """Return the options that every demonstration has; the texts say what each defaults to."""
    differentiated = f"how the circuit is differentiated; 'analytic' is 'aqgd' ({gradient})"
    return {
        "--seed": option("makes the run repeatable", whole(0, 2**32 - 1), 0),
        "--shots": option(f"shots per {each} ({shots})", whole(1)),
        "--gradient": option(differentiated, choices=list(GRADIENTS)),
        "--plot": option(plot, Path, metavar="FILE.png"),
    }


BACKEND_OPTION: Options = {
    "--backend": option(
        "'aer', 'generic' (a made-up noisy device of 5 qubits) or a fake device of IBM "
        "Quantum such as 'fake_sherbrooke' (default: an exact simulation in this process)",
        metavar="NAME",
    )
}


def place_on(name: str | None, num_qubits: int, seed: int) -> dict[str, Any]:
    """Return the arguments of a module that put it where ``--backend`` says, repeatably."""
    if name is None:
        return {}
    backend = find_backend(name, num_qubits)
    transpiled = generate_preset_pass_manager(1, backend=backend, seed_transpiler=seed)
    return {"backend": backend, "pass_manager": transpiled}


def find_backend(name: str, num_qubits: int) -> BackendV2:
    """Return the backend that ``--backend`` names."""
    if name == "aer":
        return require("qiskit_aer").AerSimulator()
    if name == "generic":
        provider = require("qiskit.providers.fake_provider")
        return provider.GenericBackendV2(max(5, num_qubits), seed=1)
    if name.startswith("fake_"):
        provider = require("qiskit_ibm_runtime.fake_provider").FakeProviderForBackendV2()
        try:
            return provider.backend(name)
        except Exception as error:
            raise DemoError(
                f"qiskit-ibm-runtime has no fake device {name!r}. For example: fake_sherbrooke, "
                "fake_torino, fake_manila."
            ) from error
    raise DemoError(
        f"Expected --backend to be 'aer', 'generic' or the name of a fake device such as "
        f"'fake_sherbrooke'; got {name!r}. For a real device see the how-to 'Run on hardware'."
    )


def check_extras(path: Path | None) -> None:
    """Raise before the training if its progress or, after it, the plot could not be shown."""
    require("tqdm")
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


@contextmanager
def use_threads(count: int) -> Iterator[None]:
    """Let torch use so many threads, and afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def progress(total: float, description: str, unit: str = "step") -> Any:
    """Return a tqdm progress bar, which shows nothing where no terminal is."""
    return require("tqdm").tqdm(total=total, desc=description, unit=unit, disable=None)


def name_values(shots: int | None) -> str:
    """Return what expectation values are made of, in words."""
    return "exact values" if shots is None else f"{shots:,} shots"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return aligned lines of text: the first column to the left, the others to the right."""
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([first.ljust(widths[0]), *map(str.rjust, others, widths[1:])]).rstrip()
        for first, *others in lines
    )
