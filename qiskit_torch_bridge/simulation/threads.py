# SPDX-License-Identifier: Apache-2.0
"""A small pool of threads for kernels that run without Python's lock, and their interruption.

A signal such as that of Ctrl-C makes an exception in the main thread, between two steps of Python;
a kernel knows nothing of it. So the main thread waits while another one is in a kernel for long.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Lock, RLock

import numpy as np

from ..arrays import IntArray
from .kernels.tables import SIGNALS, STOP

GRACE = 1.0
"""Seconds that an interrupted call waits for its kernels to leave, which takes them far less."""

_pool: ThreadPoolExecutor | None = None
_size = 0
_deputy: ThreadPoolExecutor | None = None
_lock = Lock()
_claim = RLock()
_here = threading.local()


def count_threads() -> int:
    """Return how many threads to use: as torch is set, if it is loaded, and at most the cores.

    It is one within a part of what runs :func:`side_by_side`.
    """
    if getattr(_here, "is_part", False):
        return 1
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_num_threads"):
        return min(int(torch.get_num_threads()), _cores())
    return _cores()


@functools.cache
def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def call_interruptibly(call: Callable[[], bool], signals: IntArray) -> bool:
    """Call in another thread if this is the main one, which can then be interrupted.

    If it is, the kernels are told so by ``signals``, and have left soon after.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    global _deputy
    with _lock:
        if _deputy is None:
            _deputy = ThreadPoolExecutor(1, "qiskit-torch-bridge-main")
    with _giving_up(signals) as futures:
        futures.append(_deputy.submit(call))
        return futures[0].result()


def call_in_parallel(call: Callable[[int], bool], parts: int, signals: IntArray) -> bool:
    """Call ``call(0)`` to ``call(parts - 1)`` at the same time, the first one in this thread."""
    with _giving_up(signals) as futures:
        for part in range(1, parts):
            futures.append(_workers(parts).submit(call, part))
        results = [call(0)]
        return all([*results, *(future.result() for future in futures)])


def side_by_side(calls: Sequence[Callable[[], None]]) -> None:
    """Call functions at the same time, each of which uses one thread and keeps to it.

    Kernels that they call would use more: threads that wait for others of the same pool, which wait
    themselves, would never end.
    """

    def call(part: int) -> bool:
        _here.is_part = True
        try:
            calls[part]()
        finally:
            _here.is_part = False
        return True

    if calls:
        call_in_parallel(call, len(calls), np.zeros(SIGNALS, dtype=np.int64))


def call_together(call: Callable[[int], bool], parts: int, signals: IntArray) -> bool | None:
    """Call as :func:`in_parallel` does, if the calls wait for each other; ``None`` if in vain.

    Two such groups at once could each wait for a thread that the other one has: one at a time.
    """
    try:
        if not _claim.acquire(blocking=False):
            return None
        return call_in_parallel(call, parts, signals)
    finally:
        # Not remembered in a variable, which an interrupt could leave unset.
        with contextlib.suppress(RuntimeError):  # it belongs to another thread
            _claim.release()


@contextlib.contextmanager
def _giving_up(signals: IntArray) -> Iterator[list[Future[bool]]]:
    """Have kernels leave if there is an exception here: they might wait for each other forever."""
    futures: list[Future[bool]] = []
    try:
        yield futures
    except BaseException:
        signals[STOP] = 1
        wait(futures, GRACE)
        raise


def _workers(parts: int) -> ThreadPoolExecutor:
    global _pool, _size
    with _lock:
        if _pool is None or _size < parts - 1:
            # A pool that is too small is left to finish what it has and then goes away.
            _pool, _size = ThreadPoolExecutor(parts - 1, "qiskit-torch-bridge"), parts - 1
        return _pool


def _after_fork() -> None:
    """Forget the threads in a forked process: they live in the parent only."""
    global _pool, _size, _deputy, _lock, _claim
    _pool, _size, _deputy, _lock, _claim = None, 0, None, Lock(), RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
