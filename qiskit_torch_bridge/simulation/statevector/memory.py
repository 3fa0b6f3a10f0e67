# SPDX-License-Identifier: Apache-2.0
"""How much memory a simulation may take."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import free_memory
from ...exceptions import MemoryLimitError
from ...free_memory import GIB

LINE = 64
SMALL = 1 << 11


def aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """Return an uninitialised array, from a cache line on if it is large, as vectors like it."""
    count = math.prod(shape)
    if count * dtype.itemsize < SMALL:  # where looking for the line takes longer than it saves
        return np.empty(shape, dtype)
    array = np.empty(count + LINE // dtype.itemsize, dtype)
    skip = (-array.__array_interface__["data"][0] % LINE) // dtype.itemsize
    return array[skip : skip + count].reshape(shape)


def require(needed: int, num_qubits: int) -> None:
    """Raise :class:`MemoryLimitError` if ``needed`` bytes are not available."""
    if needed < 64 << 20:
        return
    found = free_memory.available()
    if needed > found:
        raise MemoryLimitError(
            f"Simulating {num_qubits} qubits exactly needs {needed / GIB:.3g} GiB; "
            f"{found / GIB:.3g} GiB are available. Use fewer qubits, dtype='complex64', which "
            "halves it, or an estimator on a backend."
        )
