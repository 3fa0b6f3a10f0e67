# SPDX-License-Identifier: Apache-2.0
"""Compiled kernels, loaded when they are first used."""

from __future__ import annotations

import functools
import hashlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

_first = threading.RLock()
_log = logging.getLogger("qiskit_torch_bridge")


@functools.cache
def _sources(folder: Path) -> bytes:
    """Return what is written in the files of a folder, as it was when it was first asked for.

    Files may change while a process runs, which goes on with what it has imported.
    """
    return b"".join([path.read_bytes() for path in sorted(folder.glob("*.py"))])


def _digest(folder: Path) -> str:
    """Return what changes whenever a source file of the kernels, or of what they share, does."""
    return hashlib.sha256(_sources(folder) + _sources(Path(__file__).parent)).hexdigest()


class KernelLoader:
    """Makes kernels of one folder when they are first asked for, and says so if that takes long.

    Importing Numba takes longer than importing this package, hence not before the first call. The
    first call on a machine compiles, and says so; later processes read what it has left beside the
    sources, or in the user's cache folder where these cannot be written.

    Args:
        folder: Where the sources of the kernels are.
        make: Returns the compiled function for a version, which is part of its key on disk, and
            for what else tells the folder's kernels apart.
    """

    def __init__(self, folder: Path, make: Callable[..., Callable[..., Any]]) -> None:
        self._version, self._make = _digest(folder), make
        self._made: dict[Any, Callable[..., Any]] = {}

    def __call__(self, purpose: str, *kind: Any) -> Callable[..., Any]:
        """Return the kernel of a kind; ``purpose`` says what it is for when it is compiled."""
        with _first:  # else callers at the same time would make one each, and compile it
            if kind not in self._made:
                self._made[kind] = self._announced(purpose, *kind)
            return self._made[kind]

    def _announced(self, purpose: str, *kind: Any) -> Callable[..., Any]:
        from numba.core import event

        execute = self._make(self._version, *kind)

        class Announcement(event.Listener):
            """Says that kernels are being compiled."""

            def on_start(self, event: event.Event) -> None:
                if event.data["dispatcher"] is execute:
                    _log.warning(
                        "Compiling the kernels%s of the exact engine, once on this machine; it "
                        "takes up to a minute or two.",
                        purpose,
                    )

            def on_end(self, event: event.Event) -> None:
                """Nothing is left to be said."""

        event.register("numba:compile", Announcement())
        return execute
