# SPDX-License-Identifier: Apache-2.0
"""The compiled kernels of the state vector."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...kernels.loading import KernelLoader


def _make(version: str, tangent: bool) -> Callable[..., bool]:
    from .passes import compiled_pass

    return compiled_pass(version, tangent)


_load = KernelLoader(Path(__file__).parent, _make)


def kernel(tangent: bool) -> Callable[..., bool]:
    """Return the compiled pass, with or without the modes of tangents."""
    return _load(" of second derivatives" if tangent else "", tangent)
