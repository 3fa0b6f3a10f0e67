# SPDX-License-Identifier: Apache-2.0
"""The compiled kernels, loaded when they are first used."""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

SOURCES = (
    "angle_kernels",
    "basics",
    "blocks",
    "passes",
    "pauli_kernels",
    "protocol",
    "sweeps",
    "trigonometry",
    "vectors",
)
_log = logging.getLogger("qiskit_torch_bridge")


def _digest() -> str:
    """Return what changes whenever a source file of the kernels does."""
    folder = Path(__file__).parent
    sources = [(folder / f"{name}.py").read_bytes() for name in SOURCES]
    return hashlib.sha256(b"".join(sources)).hexdigest()


@functools.cache
def kernel() -> Callable[..., bool]:
    """Return the compiled pass; importing Numba takes longer than importing this package.

    The first call on a machine compiles, and says so; later processes read what it has left
    beside the sources, or in the user's cache folder where these cannot be written.
    """
    from numba.core import event

    from .passes import compiled_pass

    execute = compiled_pass(_digest())

    class Announcement(event.Listener):
        """Says that kernels are being compiled."""

        def on_start(self, event: event.Event) -> None:
            if event.data["dispatcher"] is execute:
                _log.warning(
                    "Compiling the kernels of the exact engine, once on this machine; it takes "
                    "about 15 seconds."
                )

        def on_end(self, event: event.Event) -> None:
            """Nothing is left to be said."""

    event.register("numba:compile", Announcement())
    return execute
