# SPDX-License-Identifier: Apache-2.0
"""What the machine can do at most, measured: arithmetic in cache and traffic with memory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
from numba import njit
from numpy.typing import NDArray

REPEATS = 9
SIZE = 1536  # of the matrices: 18 MiB each, large enough for BLAS to reach its plateau
ELEMENTS = 1 << 25  # of a triad's array: 256 MiB, larger than any cache


def peak() -> dict[str, float]:
    """Return floating-point operations and bytes per second with all threads, and their number.

    Arithmetic is the rate of a BLAS matrix product, which is nearly all fused multiply-adds (two
    operations each). Traffic is that of the STREAM triad ``a = b + s c``, three arrays a pass
    (https://www.cs.virginia.edu/stream/ref.html); the line that a write reads first is not counted.
    """
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    a = np.random.default_rng(0).random((SIZE, SIZE))
    out = np.empty_like(a)
    flops = 2 * SIZE**3 / _fastest(lambda: np.matmul(a, a, out=out))
    arrays = [np.ones(ELEMENTS) for _ in range(3)]
    bounds = np.linspace(0, ELEMENTS, threads + 1).astype(int)
    parts = [[array[i:j] for array in arrays] for i, j in pairwise(bounds)]
    with ThreadPoolExecutor(threads) as pool:
        seconds = _fastest(lambda: list(pool.map(_call_triad, parts)))
    return {"flops": flops, "bandwidth": 3 * 8 * ELEMENTS / seconds, "threads": threads}


@njit("void(float64[::1], float64[::1], float64[::1])", nogil=True, fastmath=True)
def _triad(a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]) -> None:
    for i in range(a.size):
        a[i] = b[i] + 3.0 * c[i]


def _call_triad(part: list[NDArray[np.float64]]) -> None:
    _triad(*part)


def _fastest(call: Callable[[], object]) -> float:
    """A peak is what was reached once, so the shortest time counts."""
    call()
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best
