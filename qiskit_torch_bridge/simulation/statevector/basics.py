# SPDX-License-Identifier: Apache-2.0
"""What all kernels are made with: how they are compiled, aligned memory, bits and a barrier."""

from __future__ import annotations

import sys

import numpy as np
from numba import njit, types

from .protocol import ARRIVALS, PATIENCE, STOP
from .vectors import atomic_increment, atomic_read, exchange, glance, load, popcount, size

jit = njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)

give_way = types.ExternalFunction(
    "SwitchToThread" if sys.platform == "win32" else "sched_yield", types.int32()
)


@jit
def odd(number):
    """Whether an odd number of bits is set: 0 or 1."""
    return popcount(number) & 1


@jit
def aligned(count, like):
    """Return an array of the dtype of another one that starts at a cache line."""
    array = np.empty(count + 64 // like.itemsize, like.dtype)
    skip = (-array.ctypes.data & 63) // like.itemsize
    return array[skip : skip + count]


@jit
def xor_load(array, start, lane, shift):
    """The vector of lanes ``lane ^ shift, ...`` of the row at ``start``."""
    width = size(array)
    vector = load(array, start + (lane ^ (shift & ~(width - 1))))
    if shift & (width - 1):
        if shift & 1:
            vector = exchange(vector, 1)
        if shift & 2:
            vector = exchange(vector, 2)
        if shift & 4 and width > 4:
            vector = exchange(vector, 4)
        if shift & 8 and width > 8:
            vector = exchange(vector, 8)
    return vector


@jit
def stopped(signals):
    """Whether nobody wants the results of this pass any more."""
    return glance(signals, STOP) != 0


@jit
def barrier(signals, parts):
    """Wait until all parts have come here, or some may have left; signals start at zero."""
    if parts > 1:
        target = (atomic_increment(signals, ARRIVALS) // parts + 1) * parts
        turns = 0
        while atomic_read(signals, ARRIVALS) < target and not stopped(signals):
            turns += 1
            if turns > PATIENCE:  # the others may be waiting for this core
                give_way()


@jit
def lane_sign(lane_row, mask):
    """The sign that a mask gives to a lane: 1.0 or -1.0."""
    return 1.0 - 2.0 * odd(lane_row & mask)
