# SPDX-License-Identifier: Apache-2.0
"""Whether the installed versions are ones that the package works with."""

from __future__ import annotations

import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from .findings import Finding

PYTHON = ((3, 10), (3, 13))
"""The oldest Python that works and the newest that was tested."""


class Needed(NamedTuple):
    """What the package needs of a dependency.

    Attributes:
        oldest: The oldest version that works.
        tested: The newest major and minor version that was tested.
        excluded: Versions that do not work.
        extra: The package's extra that it comes with; none if it is always needed.
    """

    oldest: tuple[int, ...]
    tested: tuple[int, int]
    excluded: tuple[tuple[int, ...], ...] = ()
    extra: str = ""


NEEDED = {
    "qiskit": Needed((1, 4), (2, 6), ((2, 1, 0), (2, 1, 1))),
    "qiskit-aer": Needed((0, 17), (0, 18)),
    "qiskit-algorithms": Needed((0, 4), (0, 4)),
    "torch": Needed((2, 5), (2, 13)),
    "numpy": Needed((2, 0), (2, 4)),
    "scipy": Needed((1, 13), (1, 17)),
    "numba": Needed((0, 61), (0, 68)),
    "filelock": Needed((3, 32), (4, 2)),
    "qiskit-ibm-runtime": Needed((), (0, 51), extra="runtime"),
}


def python() -> Finding:
    """The version of Python."""
    here, found = sys.version_info[:2], f"{platform.python_version()} on {platform.platform()}"
    oldest, newest = PYTHON
    known = f"Python {_dotted(oldest)} to {_dotted(newest)}"
    if here < oldest:
        return Finding(
            "Python", "fail", found, f"The package needs {known}.", "Use a newer Python."
        )
    if here > newest:
        return Finding(
            "Python", "warn", found, f"It was tested with {known}.", "Run the tests before you "
            "rely on it, or use one of these."
        )  # fmt: skip
    return Finding("Python", "ok", found)


def this_package() -> Finding:
    """The version of the package itself, and where it is."""
    from .. import __file__ as place
    from .. import __version__

    return Finding("qiskit-torch-bridge", "ok", f"{__version__} from {place}")


def dependencies() -> list[Finding]:
    """The versions of all that the package computes with."""
    return [dependency(name) for name in NEEDED]


def dependency(name: str) -> Finding:
    """Judge the version of one dependency."""
    needed = NEEDED[name]
    install = f'pip install "{_requirement(name)}"'
    try:
        found = version(name)
    except PackageNotFoundError:
        if needed.extra:
            return Finding(
                name, "warn", "not installed", "Only devices of IBM Quantum and their fake "
                "counterparts need it.", f'pip install "qiskit-torch-bridge[{needed.extra}]"'
            )  # fmt: skip
        return Finding(name, "fail", "not installed", "The package needs it.", install)
    here = _numbers(found)
    if here < needed.oldest:
        return Finding(
            name, "fail", found, f"The package needs {_dotted(needed.oldest)} or newer.", install
        )
    if here in needed.excluded:
        return Finding(
            name, "fail", found, "This version cannot be used: it fails on circuits that others "
            "run.", install
        )  # fmt: skip
    if here[:2] > needed.tested:
        return Finding(
            name, "warn", found, f"The newest version tested is {_dotted(needed.tested)}.",
            "If something looks wrong, compare with that version, and report it."
        )  # fmt: skip
    return Finding(name, "ok", found)


def _requirement(name: str) -> str:
    needed = NEEDED[name]
    parts = [f">={_dotted(needed.oldest)}"] if needed.oldest else []
    return name + ",".join([*parts, *(f"!={_dotted(v)}" for v in needed.excluded)])


def _numbers(text: str) -> tuple[int, ...]:
    """Return the leading numbers of a version, such as (2, 13, 0) of 2.13.0+cpu."""
    leading = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in leading[0].split(".")) if leading else ()


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))
