# SPDX-License-Identifier: Apache-2.0
"""The compiled kernels of column networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...kernels.loading import KernelLoader


def _make(version: str) -> Callable[..., bool]:
    from .passes import compiled_pass

    return compiled_pass(version)


_load = KernelLoader(Path(__file__).parent, _make)


def kernel() -> Callable[..., bool]:
    """Return the compiled pass."""
    return _load(" of column networks")


def lanes(itemsize: int) -> int:
    """Return how many rows lie side by side in a vector, by the bytes of a real number."""
    from ...kernels.vectors import BYTES

    return BYTES // itemsize
