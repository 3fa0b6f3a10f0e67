# SPDX-License-Identifier: Apache-2.0
"""The compiled kernels, loaded when they are first used."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable

_log = logging.getLogger("qiskit_torch_bridge")


@functools.cache
def kernel() -> Callable[..., bool]:
    """Return the compiled pass; importing Numba takes longer than importing this package.

    The first call on a machine compiles, and says so; later processes read what it has left
    beside the sources, or in the user's cache folder where these cannot be written.
    """
    from numba.core import event

    from .passes import execute

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
