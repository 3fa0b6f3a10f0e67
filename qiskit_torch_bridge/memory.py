# SPDX-License-Identifier: Apache-2.0
"""How much memory can be taken, and arrays that begin where a core reads fastest."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from .exceptions import MemoryLimitError

GIB = 1 << 30
LINE = 64
SMALL = 1 << 11
GRANTED = 64 << 20
"""Bytes that are not asked for."""


def available() -> int:
    """Return the bytes that can be taken without swapping, as far as the system tells."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 1 << 62  # unknown, on Windows: NumPy's own error will tell


def aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """Return an uninitialised array, from a cache line on if it is large, as vectors like it."""
    count = math.prod(shape)
    if count * dtype.itemsize < SMALL:  # where looking for the line takes longer than it saves
        return np.empty(shape, dtype)
    array = np.empty(count + LINE // dtype.itemsize, dtype)
    skip = (-array.__array_interface__["data"][0] % LINE) // dtype.itemsize
    return array[skip : skip + count].reshape(shape)


def gib(count: int) -> str:
    """Return a number of bytes in GiB, also one that exceeds the range of floating numbers."""
    exponent = count.bit_length() - 1
    return f"{count / GIB:.3g}" if exponent < 1053 else f"2**{exponent - 30}"


def fits(needed: int) -> bool:
    """Whether so many bytes can be taken; a few always can."""
    return needed < GRANTED or needed <= available()


def require(needed: int, num_qubits: int) -> None:
    """Raise :class:`MemoryLimitError` if ``needed`` bytes for states are not available."""
    require_for(
        needed,
        f"Simulating {num_qubits} qubits exactly",
        "Use fewer qubits, Exact(dtype='complex64'), which halves it, or a primitive on a backend.",
    )


def require_outputs(rows: int, size: int) -> None:
    """Raise :class:`MemoryLimitError` if ``rows`` of ``size`` numbers do not fit into memory."""
    require_for(
        8 * rows * size,
        f"A result of {rows} x {size} numbers",
        "Measure fewer qubits, count several outcomes as one, or take fewer rows at a time.",
    )


def require_for(needed: int, what: str, advice: str) -> None:
    """Raise :class:`MemoryLimitError` if what needs so many bytes cannot have them."""
    if not fits(needed):
        raise MemoryLimitError(
            f"{what} needs {gib(needed)} GiB; {gib(available())} GiB are available. {advice}"
        )
