# SPDX-License-Identifier: Apache-2.0
"""The compiled kernels, loaded when they are first used."""

from __future__ import annotations

import functools
import hashlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path

_first = threading.Lock()
_log = logging.getLogger("qiskit_torch_bridge")


def _digest() -> str:
    """Return what changes whenever a source file of the kernels does."""
    sources = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))]
    return hashlib.sha256(b"".join(sources)).hexdigest()


@functools.cache
def _made(tangent: bool) -> Callable[..., bool]:
    from numba.core import event

    from .passes import compiled_pass

    execute = compiled_pass(_digest(), tangent)
    purpose = " of second derivatives" if tangent else ""

    class Announcement(event.Listener):
        """Says that kernels are being compiled."""

        def on_start(self, event: event.Event) -> None:
            if event.data["dispatcher"] is execute:
                _log.warning(
                    "Compiling the kernels%s of the exact engine, once on this machine; it takes "
                    "10 to 30 seconds.",
                    purpose,
                )

        def on_end(self, event: event.Event) -> None:
            """Nothing is left to be said."""

    event.register("numba:compile", Announcement())
    return execute


def kernel(tangent: bool) -> Callable[..., bool]:
    """Return the compiled pass, with or without the modes of tangents.

    Importing Numba takes longer than importing this package, hence not before the first call. The
    first call on a machine compiles, and says so; later processes read what it has left beside the
    sources, or in the user's cache folder where these cannot be written.
    """
    with _first:  # else callers at the same time would make one each, and compile it
        return _made(tangent)
