# SPDX-License-Identifier: Apache-2.0
"""The sweep: all runs of a tape, block by block.

A state is a flat array: for each vector (ket, bra, ...) the real parts of all amplitudes and then
the imaginary ones, each ``(2**n, T)`` with the ``T`` rows of the batch innermost. Kernels handle
``LANES`` numbers at a time: rows, and bits of the index where the rows are fewer.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .basics import aligned, barrier, jit, odd, stopped, xor_load
from .blocks import generate, inner, multiply, rotate, undo
from .protocol import FLUSH, MATRIX, NEAR
from .protocol import LANES as W
from .vectors import load, prefetch, size, store


@jit
def _copy(state, block, into, count, dim, rows_t, coset, offsets, first, rows, lanes, lane_at, low):
    """Copy one coset of ``count`` vectors from the state into the block, or back."""
    width, comp = size(block), rows * W
    lane_rows = W // rows_t
    straight = low == 1
    for v in range(2 * count):
        for k in range(rows):
            index = coset ^ offsets[first + k]
            b = v * comp + k * W
            if straight:
                shift = (index & (lane_rows - 1)) * rows_t
                a = v * dim + (index & ~(lane_rows - 1)) * rows_t
                for lane in range(0, W, width):
                    if into:
                        store(block, b + lane, xor_load(state, a, lane, shift))
                    else:
                        store(state, a + lane, xor_load(block, b, lane, shift))
            elif rows_t >= width:
                for m in range(lane_rows):
                    a = v * dim + (index ^ lanes[lane_at + m]) * rows_t
                    for t in range(0, rows_t, width):
                        if into:
                            store(block, b + m * rows_t + t, load(state, a + t))
                        else:
                            store(state, a + t, load(block, b + m * rows_t + t))
            else:
                for m in range(lane_rows):
                    a = v * dim + (index ^ lanes[lane_at + m]) * rows_t
                    for t in range(rows_t):
                        if into:
                            block[b + m * rows_t + t] = state[a + t]
                        else:
                            state[a + t] = block[b + m * rows_t + t]


@jit
def _expect_coset(state, count, dim, rows_t, coset, offsets, first, rows):
    """Ask for the rows of a coset, so that they are near when it is its turn."""
    lane_rows = W // rows_t
    line = 64 // state.itemsize
    for v in range(2 * count):
        for k in range(rows):
            a = v * dim + ((coset ^ offsets[first + k]) & ~(lane_rows - 1)) * rows_t
            for lane in range(0, W, line):
                prefetch(state, a + lane)


@jit
def _coset(number, free):
    """Spread the bits of ``number`` over the bits set in ``free``."""
    result = 0
    while number:
        low = free & -free
        if number & 1:
            result |= low
        number >>= 1
        free ^= low
    return result


def compiled_sweep(tangent: bool) -> Callable[..., None]:
    """Return the sweep for ket and bra, or the one that carries their tangents with them."""

    @jit
    def sweep(
        state, vectors, backward, dim, rows_t, first_run,
        runs, offsets, lanes, operations, signs, matrices, c, s, h, totals, part, parts, signals,
    ):  # fmt: skip
        """Apply all runs of a tape to the vectors of a state, forward or backward.

        The vectors are ket; ket and tangent; ket and bra; or ket, bra and both tangents. Backward,
        ``totals`` ``(gates, W)`` receives ``Im <bra|P|ket>``, or its tangent, lane by lane.
        """
        largest = 0
        for r in range(len(runs)):
            largest = max(largest, runs[r, 0])
        # Numba compiles a function anew for constants among its arguments; these are none to it.
        ket, bra, ket_tangent, bra_tangent = np.int64(0), np.int64(1), np.int64(2), np.int64(3)
        into, out_of = parts > 0, parts < 0
        block = aligned(2 * vectors * (W << largest), state)
        scratch = aligned(2 * (W << largest), state)
        sums = aligned(len(operations) * W, state)
        for i in range(len(sums)):
            sums[i] = 0.0
        for step in range(len(runs) - first_run):
            r = len(runs) - 1 - step if backward else step
            start, stop, first, free = runs[r, 1], runs[r, 2], runs[r, 3], runs[r, 4]
            lane_at, low = runs[r, 5], runs[r, 6]
            rows, cosets = 1 << runs[r, 0], 1 << runs[r, 7]
            begin, end = cosets * part // parts, cosets * (part + 1) // parts
            for q in range(begin, end):
                if stopped(signals):
                    return
                coset = _coset(q, free)
                if low and q + 1 < end and 2 * vectors * dim > NEAR:
                    next_coset = _coset(q + 1, free)
                    _expect_coset(state, vectors, dim, rows_t, next_coset, offsets, first, rows)
                _copy(state, block, into, vectors, dim, rows_t, coset, offsets, first, rows,
                      lanes, lane_at, low)  # fmt: skip
                for g in range(start, stop):
                    o = stop - 1 - (g - start) if backward else g
                    kind, kx, at = operations[o, 0], operations[o, 1], operations[o, 2]
                    wanted = operations[o, 4]
                    flip = 1.0 - 2.0 * odd(coset & operations[o, 3])
                    if kind == MATRIX:
                        multiply(
                            block, vectors, rows, matrices, operations[o, 5], backward, scratch
                        )
                    elif not backward:
                        rotate(block, vectors, kind, kx, signs, at, flip, rows, c, s, o * W)
                        if tangent:
                            generate(block, bra, ket, kind, kx, signs, at, flip, rows, h, o * W)
                    elif tangent:
                        rotate(block, vectors, kind, kx, signs, at, -flip, rows, c, s, o * W)
                        generate(
                            block, ket_tangent, ket, kind, kx, signs, at, -flip, rows, h, o * W
                        )
                        generate(
                            block, bra_tangent, bra, kind, kx, signs, at, -flip, rows, h, o * W
                        )
                        if wanted:
                            inner(block, bra_tangent, ket, kind, kx, signs, at, flip, rows, sums,
                                   o * W)  # fmt: skip
                            inner(block, bra, ket_tangent, kind, kx, signs, at, flip, rows, sums,
                                   o * W)  # fmt: skip
                    else:
                        undo(block, kind, kx, signs, at, flip, rows, c, s, o * W, sums, wanted)
                _copy(state, block, out_of, vectors, dim, rows_t, coset, offsets, first, rows,
                      lanes, lane_at, low)  # fmt: skip
                if backward and ((q - begin) % FLUSH == FLUSH - 1 or q == end - 1):
                    for i in range(start * W, stop * W):
                        totals[part, i] += sums[i]
                        sums[i] = 0.0
            barrier(signals, parts)

    return sweep
