# SPDX-License-Identifier: Apache-2.0
"""The compiled kernels: a tape applied to blocks of the state, forward, backward and tangent.

A state is a flat array: for each vector (ket, bra, ...) the real parts of all amplitudes and then
the imaginary ones, each ``(2**n, T)`` with the ``T`` rows of the batch innermost. Kernels handle
``W`` numbers at a time: rows, and bits of the index where the rows are fewer.
"""

from __future__ import annotations

import sys

import numpy as np
from numba import njit, types

from .protocol import DIAGONAL, FLUSH, MATRIX, NEAR, PATIENCE, X_LIKE
from .protocol import LANES as W
from .vectors import (
    atomic_increment,
    atomic_read,
    exchange,
    fma,
    fnma,
    load,
    popcount,
    prefetch,
    size,
    splat,
    store,
)

jit = njit(nogil=True, error_model="numpy")


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
def barrier(counter, parts):
    """Wait until all parts have come here; ``counter`` starts at zero."""
    if parts > 1:
        target = (atomic_increment(counter, 0) // parts + 1) * parts
        turns = 0
        while atomic_read(counter, 0) < target:
            turns += 1
            if turns > PATIENCE:  # the others may be waiting for this core
                give_way()


@jit
def _generate(block, out, source, kind, kx, signs, first, flip, rows, h, at):
    """Add ``-i h P`` applied to vector ``source`` of the block to its vector ``out``."""
    width, comp = size(block), rows * W
    o, s = 2 * out * comp, 2 * source * comp
    pivot = 1
    while 2 * pivot <= kx:
        pivot *= 2
    for lane in range(0, W, width):
        half = load(h, at + lane) * splat(h, flip)
        if kind == DIAGONAL:
            for k in range(rows):
                t = half * splat(block, signs[first + k])
                i = k * W + lane
                store(block, o + i, fma(t, load(block, s + comp + i), load(block, o + i)))
                store(
                    block,
                    o + comp + i,
                    fnma(t, load(block, s + i), load(block, o + comp + i)),
                )
        else:
            for pair in range(rows // 2):
                k = ((pair & ~(pivot - 1)) << 1) | (pair & (pivot - 1))
                t = half * splat(block, signs[first + k])
                i, j = k * W + lane, (k ^ kx) * W + lane
                ar, ai = load(block, s + i), load(block, s + comp + i)
                br, bi = load(block, s + j), load(block, s + comp + j)
                if kind == X_LIKE:
                    store(block, o + i, fma(t, bi, load(block, o + i)))
                    store(block, o + comp + i, fnma(t, br, load(block, o + comp + i)))
                    store(block, o + j, fma(t, ai, load(block, o + j)))
                    store(block, o + comp + j, fnma(t, ar, load(block, o + comp + j)))
                else:
                    store(block, o + i, fnma(t, br, load(block, o + i)))
                    store(block, o + comp + i, fnma(t, bi, load(block, o + comp + i)))
                    store(block, o + j, fma(t, ar, load(block, o + j)))
                    store(block, o + comp + j, fma(t, ai, load(block, o + comp + j)))


@jit
def _rotate(block, count, kind, kx, signs, first, flip, rows, c, s, at):
    """Apply a rotation to ``count`` vectors of the block; ``-flip`` undoes it."""
    width, comp = size(block), rows * W
    pivot = 1
    while 2 * pivot <= kx:
        pivot *= 2
    for lane in range(0, W, width):
        cos = load(c, at + lane)
        sin = load(s, at + lane) * splat(s, flip)
        for v in range(count):
            re = 2 * v * comp
            im = re + comp
            if kind == DIAGONAL:
                for k in range(rows):
                    t = sin * splat(block, signs[first + k])
                    i = k * W + lane
                    ar, ai = load(block, re + i), load(block, im + i)
                    store(block, re + i, fma(t, ai, cos * ar))
                    store(block, im + i, fnma(t, ar, cos * ai))
            else:
                for pair in range(rows // 2):
                    k = ((pair & ~(pivot - 1)) << 1) | (pair & (pivot - 1))
                    t = sin * splat(block, signs[first + k])
                    i, j = k * W + lane, (k ^ kx) * W + lane
                    ar, ai = load(block, re + i), load(block, im + i)
                    br, bi = load(block, re + j), load(block, im + j)
                    if kind == X_LIKE:
                        store(block, re + i, fma(t, bi, cos * ar))
                        store(block, im + i, fnma(t, br, cos * ai))
                        store(block, re + j, fma(t, ai, cos * br))
                        store(block, im + j, fnma(t, ar, cos * bi))
                    else:
                        store(block, re + i, fnma(t, br, cos * ar))
                        store(block, im + i, fnma(t, bi, cos * ai))
                        store(block, re + j, fma(t, ar, cos * br))
                        store(block, im + j, fma(t, ai, cos * bi))


@jit
def _inner(block, bra, ket, kind, kx, signs, first, flip, rows, sums, at):
    """Add ``Im <bra|P|ket>`` of the block to the sums, sign of the lanes left out."""
    width, comp = size(block), rows * W
    b, s = 2 * bra * comp, 2 * ket * comp
    pivot = 1
    while 2 * pivot <= kx:
        pivot *= 2
    for lane in range(0, W, width):
        total = splat(sums, 0.0)
        if kind == DIAGONAL:
            for k in range(rows):
                i = k * W + lane
                dot = load(block, b + i) * load(block, s + comp + i)
                dot = fnma(load(block, b + comp + i), load(block, s + i), dot)
                total = fma(splat(block, signs[first + k]), dot, total)
        else:
            for pair in range(rows // 2):
                k = ((pair & ~(pivot - 1)) << 1) | (pair & (pivot - 1))
                i, j = k * W + lane, (k ^ kx) * W + lane
                ar, ai = load(block, s + i), load(block, s + comp + i)
                br, bi = load(block, s + j), load(block, s + comp + j)
                if kind == X_LIKE:
                    dot = load(block, b + i) * bi
                    dot = fnma(load(block, b + comp + i), br, dot)
                    dot = fma(load(block, b + j), ai, dot)
                    dot = fnma(load(block, b + comp + j), ar, dot)
                else:
                    dot = load(block, b + j) * ar
                    dot = fma(load(block, b + comp + j), ai, dot)
                    dot = fnma(load(block, b + i), br, dot)
                    dot = fnma(load(block, b + comp + i), bi, dot)
                total = fma(splat(block, signs[first + k]), dot, total)
        store(sums, at + lane, fma(splat(sums, flip), total, load(sums, at + lane)))


@jit
def _undo(block, kind, kx, signs, first, flip, rows, c, s, at, sums, wanted):
    """Undo a rotation of ket and bra and, in the same sweep, take ``Im <bra|P|ket>``."""
    width, comp = size(block), rows * W
    pivot = 1
    while 2 * pivot <= kx:
        pivot *= 2
    for lane in range(0, W, width):
        cos = load(c, at + lane)
        sin = load(s, at + lane) * splat(s, -flip)
        total = splat(sums, 0.0)
        if kind == DIAGONAL:
            for k in range(rows):
                sign = splat(block, signs[first + k])
                t = sin * sign
                i = k * W + lane
                ar, ai = load(block, i), load(block, comp + i)
                lr, li = load(block, 2 * comp + i), load(block, 3 * comp + i)
                dot = fnma(li, ar, lr * ai)
                total = fma(sign, dot, total)
                store(block, i, fma(t, ai, cos * ar))
                store(block, comp + i, fnma(t, ar, cos * ai))
                store(block, 2 * comp + i, fma(t, li, cos * lr))
                store(block, 3 * comp + i, fnma(t, lr, cos * li))
        elif kind == X_LIKE:
            for pair in range(rows // 2):
                k = ((pair & ~(pivot - 1)) << 1) | (pair & (pivot - 1))
                sign = splat(block, signs[first + k])
                t = sin * sign
                i, j = k * W + lane, (k ^ kx) * W + lane
                ar, ai = load(block, i), load(block, comp + i)
                br, bi = load(block, j), load(block, comp + j)
                lr, li = load(block, 2 * comp + i), load(block, 3 * comp + i)
                mr, mi = load(block, 2 * comp + j), load(block, 3 * comp + j)
                dot = fnma(mi, ar, fma(mr, ai, fnma(li, br, lr * bi)))
                total = fma(sign, dot, total)
                store(block, i, fma(t, bi, cos * ar))
                store(block, comp + i, fnma(t, br, cos * ai))
                store(block, j, fma(t, ai, cos * br))
                store(block, comp + j, fnma(t, ar, cos * bi))
                store(block, 2 * comp + i, fma(t, mi, cos * lr))
                store(block, 3 * comp + i, fnma(t, mr, cos * li))
                store(block, 2 * comp + j, fma(t, li, cos * mr))
                store(block, 3 * comp + j, fnma(t, lr, cos * mi))
        else:
            for pair in range(rows // 2):
                k = ((pair & ~(pivot - 1)) << 1) | (pair & (pivot - 1))
                sign = splat(block, signs[first + k])
                t = sin * sign
                i, j = k * W + lane, (k ^ kx) * W + lane
                ar, ai = load(block, i), load(block, comp + i)
                br, bi = load(block, j), load(block, comp + j)
                lr, li = load(block, 2 * comp + i), load(block, 3 * comp + i)
                mr, mi = load(block, 2 * comp + j), load(block, 3 * comp + j)
                dot = fnma(li, bi, fnma(lr, br, fma(mi, ai, mr * ar)))
                total = fma(sign, dot, total)
                store(block, i, fnma(t, br, cos * ar))
                store(block, comp + i, fnma(t, bi, cos * ai))
                store(block, j, fma(t, ar, cos * br))
                store(block, comp + j, fma(t, ai, cos * bi))
                store(block, 2 * comp + i, fnma(t, mr, cos * lr))
                store(block, 3 * comp + i, fnma(t, mi, cos * li))
                store(block, 2 * comp + j, fma(t, lr, cos * mr))
                store(block, 3 * comp + j, fma(t, li, cos * mi))
        if wanted:
            store(sums, at + lane, fma(splat(sums, flip), total, load(sums, at + lane)))


@jit
def _multiply(block, count, rows, matrix, start, adjoint, scratch):
    """Apply a fixed matrix, or its adjoint, to ``count`` vectors of the block."""
    width, comp = size(block), rows * W
    for v in range(count):
        re = 2 * v * comp
        im = re + comp
        for lane in range(0, W, width):
            for k in range(rows):
                sr, si = splat(block, 0.0), splat(block, 0.0)
                for j in range(rows):
                    if adjoint:
                        at = start + 2 * (j * rows + k)
                        mr, mi = splat(block, matrix[at]), splat(block, -matrix[at + 1])
                    else:
                        at = start + 2 * (k * rows + j)
                        mr, mi = splat(block, matrix[at]), splat(block, matrix[at + 1])
                    ar, ai = load(block, re + j * W + lane), load(block, im + j * W + lane)
                    sr = fnma(mi, ai, fma(mr, ar, sr))
                    si = fma(mi, ar, fma(mr, ai, si))
                store(scratch, k * W + lane, sr)
                store(scratch, comp + k * W + lane, si)
        for i in range(0, comp, width):
            store(block, re + i, load(scratch, i))
            store(block, im + i, load(scratch, comp + i))


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


@jit
def sweep(
    state, vectors, backward, tangent, dim, rows_t, first_run,
    runs, offsets, lanes, operations, signs, matrices, c, s, h, totals, part, parts, counter,
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
            coset = _coset(q, free)
            if low and q + 1 < end and 2 * vectors * dim > NEAR:
                next_coset = _coset(q + 1, free)
                _expect_coset(state, vectors, dim, rows_t, next_coset, offsets, first, rows)
            _copy(state, block, into, vectors, dim, rows_t, coset, offsets, first, rows, lanes,
                  lane_at, low)  # fmt: skip
            for g in range(start, stop):
                o = stop - 1 - (g - start) if backward else g
                kind, kx, at = operations[o, 0], operations[o, 1], operations[o, 2]
                wanted = operations[o, 4]
                flip = 1.0 - 2.0 * odd(coset & operations[o, 3])
                if kind == MATRIX:
                    _multiply(block, vectors, rows, matrices, operations[o, 5], backward, scratch)
                elif not backward:
                    _rotate(block, vectors, kind, kx, signs, at, flip, rows, c, s, o * W)
                    if tangent:
                        _generate(block, bra, ket, kind, kx, signs, at, flip, rows, h, o * W)
                elif not tangent:
                    _undo(block, kind, kx, signs, at, flip, rows, c, s, o * W, sums, wanted)
                else:
                    _rotate(block, vectors, kind, kx, signs, at, -flip, rows, c, s, o * W)
                    _generate(block, ket_tangent, ket, kind, kx, signs, at, -flip, rows, h, o * W)
                    _generate(block, bra_tangent, bra, kind, kx, signs, at, -flip, rows, h, o * W)
                    if wanted:
                        _inner(block, bra_tangent, ket, kind, kx, signs, at, flip, rows, sums,
                               o * W)  # fmt: skip
                        _inner(block, bra, ket_tangent, kind, kx, signs, at, flip, rows, sums,
                               o * W)  # fmt: skip
            _copy(state, block, out_of, vectors, dim, rows_t, coset, offsets, first, rows, lanes,
                  lane_at, low)  # fmt: skip
            if backward and ((q - begin) % FLUSH == FLUSH - 1 or q == end - 1):
                for i in range(start * W, stop * W):
                    totals[part, i] += sums[i]
                    sums[i] = 0.0
        barrier(counter, parts)
