# SPDX-License-Identifier: Apache-2.0
"""A small pool of threads for kernels that run without Python's lock."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

_pool: ThreadPoolExecutor | None = None
_size = 0
_lock = Lock()
_claim = Lock()


def thread_count() -> int:
    """Return how many threads to use: as torch is set, if it is loaded, and at most the cores."""
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_num_threads"):
        return min(int(torch.get_num_threads()), _cores())
    return _cores()


@functools.cache
def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_parallel(call: Callable[[int], bool], parts: int) -> bool:
    """Call ``call(0)`` to ``call(parts - 1)`` at the same time, the first one in this thread."""
    if parts == 1:
        return call(0)
    futures = [_workers(parts).submit(call, part) for part in range(1, parts)]
    results = [call(0)]
    return all([*results, *(future.result() for future in futures)])


def claim() -> bool:
    """Reserve the pool for calls that wait for each other; false if others have it."""
    return _claim.acquire(blocking=False)


def together(call: Callable[[int], bool], parts: int) -> bool:
    """Call as :func:`in_parallel` does, after :func:`claim`; the calls may wait for each other.

    Two such groups at once could each wait for a thread that the other one has.
    """
    try:
        return in_parallel(call, parts)
    finally:
        _claim.release()


def _workers(parts: int) -> ThreadPoolExecutor:
    global _pool, _size
    with _lock:
        if _pool is None or _size < parts - 1:
            # A pool that is too small is left to finish what it has and then goes away.
            _pool, _size = ThreadPoolExecutor(parts - 1, "qiskit-torch-bridge"), parts - 1
        return _pool


def _after_fork() -> None:
    """Forget the pool in a forked process: its threads live in the parent only."""
    global _pool, _size, _lock, _claim
    _pool, _size, _lock, _claim = None, 0, Lock(), Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
