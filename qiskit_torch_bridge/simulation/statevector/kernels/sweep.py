# SPDX-License-Identifier: Apache-2.0
"""The sweep: all runs of a tape, block by block; and what happens in one block.

A state is a flat array: for each vector (ket, bra, ...) the real parts of all amplitudes and then
the imaginary ones, each ``(2**n, T)`` with the ``T`` rows of the batch innermost. Kernels handle
``LANES`` numbers at a time: rows, and bits of the index where the rows are fewer.

A block is a flat array, too: for each vector the real parts of ``rows`` rows of ``LANES`` numbers
and then the imaginary ones. A rotation mixes the rows ``k`` and ``k ^ within``, and lanes where its
string displaces the bits that are lanes; ``signs`` holds the signs of the rows, and ``flip`` the
sign of the block as a whole.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...kernels.disk_cache import name_apart
from ...kernels.tables import LANES as W
from ...kernels.vectors import (
    aligned,
    barrier,
    bounds,
    fma,
    fnma,
    jit,
    load,
    odd,
    prefetch,
    size,
    splat,
    stopped,
    store,
)
from .diagonals import (
    PIECE,
    collect_phases,
    differentiate,
    find_phases,
    inner_of_sums,
    look_up_phases,
    multiply_amplitudes,
    room_for_phases,
    turn,
)
from .lanes import generate_across, inner_across, mix_lanes
from .tables import DIAGONAL, FLUSH, GROUPED, MATRIX, NEAR, PHASES, X_LIKE, Gate


@jit
def _highest(mask):
    """The highest bit of a mask; one if there is none."""
    pivot = 1
    while 2 * pivot <= mask:
        pivot *= 2
    return pivot


@jit
def _first_of(pair, pivot):
    """The row of a pair that lacks the pivot's bit."""
    return ((pair & ~(pivot - 1)) << 1) | (pair & (pivot - 1))


@jit
def generate(block, out, source, gate, flip, signs, h):
    """Add ``-i h P`` applied to vector ``source`` of the block to its vector ``out``."""
    if gate.shift:
        generate_across(block, out, source, gate, flip, signs, h)
        return
    kind, kx, first, at = gate.kind, gate.within, gate.signs_at, gate.at
    rows = gate.rows
    width, comp = size(block), rows * W
    o, s = 2 * out * comp, 2 * source * comp
    pivot = _highest(kx)
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
                k = _first_of(pair, pivot)
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
def rotate(block, count, gate, flip, signs, c, s):
    """Apply a rotation to ``count`` vectors of the block; ``-flip`` undoes it."""
    if gate.shift:
        mix_lanes(block, count, gate, flip, signs, c, s, s, count < 0)
        return
    kind, kx, first, at = gate.kind, gate.within, gate.signs_at, gate.at
    rows = gate.rows
    width, comp = size(block), rows * W
    pivot = _highest(kx)
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
                    k = _first_of(pair, pivot)
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
def inner(block, bra, ket, gate, flip, signs, sums):
    """Add ``Im <bra|P|ket>`` of the block to the sums, sign of the lanes left out."""
    if gate.shift:
        inner_across(block, bra, ket, gate, flip, signs, sums)
        return
    kind, kx, first, at = gate.kind, gate.within, gate.signs_at, gate.at
    rows = gate.rows
    width, comp = size(block), rows * W
    b, s = 2 * bra * comp, 2 * ket * comp
    pivot = _highest(kx)
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
                k = _first_of(pair, pivot)
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
def undo(block, gate, flip, signs, c, s, sums, wanted):
    """Undo a rotation of ket and bra and, in the same sweep, take ``Im <bra|P|ket>``."""
    if gate.shift:
        mix_lanes(block, 2, gate, -flip, signs, c, s, sums, wanted > 0)
        return
    kind, kx, first, at = gate.kind, gate.within, gate.signs_at, gate.at
    rows = gate.rows
    width, comp = size(block), rows * W
    pivot = _highest(kx)
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
                k = _first_of(pair, pivot)
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
                k = _first_of(pair, pivot)
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
def multiply(block, count, rows, matrix, start, adjoint, scratch):
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
def _copy(state, block, into, count, dim, rows_t, coset, run, offsets, lanes):
    """Copy one coset of ``count`` vectors from the state into the block, or back."""
    rows, first, lane_at = 1 << run.dimension, run.offsets_at, run.lanes_at
    width, comp = size(block), rows * W
    lane_rows = W // rows_t
    for v in range(2 * count):
        for k in range(rows):
            index = coset ^ offsets[first + k]
            b = v * comp + k * W
            if run.has_lowest_lanes:
                a = v * dim + index * rows_t
                for lane in range(0, W, width):
                    if into:
                        store(block, b + lane, load(state, a + lane))
                    else:
                        store(state, a + lane, load(block, b + lane))
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
def _prefetch_coset(state, count, dim, rows_t, coset, run, offsets):
    """Ask for the rows of a coset, so that they are near when it is its turn."""
    line = 64 // state.itemsize
    for v in range(2 * count):
        for k in range(1 << run.dimension):
            a = v * dim + (coset ^ offsets[run.offsets_at + k]) * rows_t
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
def _turn_block(
    block, vectors, tangent, backward, phases, operations, group, angles, layout, run, coset, sums
):  # fmt: skip
    """Apply a group of diagonal rotations to a block, or undo it; see the sweep for the vectors."""
    ket, bra, ket_tangent, bra_tangent = np.int64(0), np.int64(1), np.int64(2), np.int64(3)
    no, yes = vectors < 0, vectors > 0
    rows, rows_t = 1 << run.dimension, layout.rows_t
    is_multiple, at = operations[group].across > 0, (group + 1) * W
    comp, some = rows * W, min(rows, PIECE)
    direction = -1.0 if backward else 1.0
    weighs = tangent or (backward and operations[group].wanted > 0)
    for row in range(0, rows, some):
        index = coset ^ layout.coset_offsets[run.offsets_at + row]
        first, count = row * W, some * W
        if is_multiple:
            look_up_phases(
                phases, operations, group, angles, layout, run.offsets_at, some, index, weighs,
                tangent,
            )  # fmt: skip
        else:
            find_phases(phases, operations, group, angles, rows_t, some, index, tangent)
        turn(block, vectors, comp, first, count, phases, direction)
        if not backward:
            if tangent:
                differentiate(block, bra, ket, comp, first, count, phases, direction)
            continue
        if tangent:
            differentiate(block, ket_tangent, ket, comp, first, count, phases, direction)
            differentiate(block, bra_tangent, bra, comp, first, count, phases, direction)
        if not operations[group].wanted:
            continue
        if is_multiple:
            if tangent:
                inner_of_sums(block, bra_tangent, ket, comp, first, count, phases, at, sums)
                inner_of_sums(block, bra, ket_tangent, comp, first, count, phases, at, sums)
            else:
                inner_of_sums(block, bra, ket, comp, first, count, phases, at, sums)
        else:
            if tangent:
                multiply_amplitudes(block, bra_tangent, ket, comp, first, count, phases, no)
                multiply_amplitudes(block, bra, ket_tangent, comp, first, count, phases, yes)
            else:
                multiply_amplitudes(block, bra, ket, comp, first, count, phases, no)
            collect_phases(phases, operations, group, rows_t, some, index, sums)


def compiled_sweep(tangent: bool) -> Callable[..., None]:
    """Return the sweep for ket and bra, or the one that carries their tangents with them."""

    @jit
    @name_apart(tangent)
    def sweep(state, vectors, backward, first_run, layout, angles, totals, share):
        """Apply all runs of a tape to the vectors of a state, forward or backward.

        The vectors are ket; ket and tangent; ket and bra; or ket, bra and both tangents. Backward,
        ``totals`` ``(gates, W)`` receives ``Im <bra|P|ket>``, or its tangent, lane by lane.
        """
        dim, rows_t = layout.dim, layout.rows_t
        runs, offsets, lanes = layout.runs, layout.coset_offsets, layout.lanes
        operations, signs, matrices = layout.operations, layout.signs, layout.matrices
        c, s, h = angles.cosines, angles.sines, angles.tangents
        largest = 0
        for r in range(len(runs)):
            largest = max(largest, runs[r].dimension)
        # Numba compiles a function anew for constants among its arguments; these are none to it.
        ket, bra, ket_tangent, bra_tangent = np.int64(0), np.int64(1), np.int64(2), np.int64(3)
        into, out_of = share.parts > 0, share.parts < 0
        block = aligned(2 * vectors * (W << largest), state)
        scratch = aligned(2 * (W << largest), state)
        sums = aligned(len(operations) * W, state)
        grouped = False
        for i in range(len(sums)):
            sums[i] = 0.0
        for o in range(len(operations)):
            grouped = grouped or operations[o].kind == PHASES
        phases = room_for_phases(state, angles.halves, grouped, tangent)
        for step in range(len(runs) - first_run):
            run = runs[len(runs) - 1 - step if backward else step]
            start, stop, rows = run.first, run.last, 1 << run.dimension
            begin, end = bounds(1 << run.log_cosets, share)
            for q in range(begin, end):
                if stopped(share):
                    return
                coset = _coset(q, run.free)
                if run.has_lowest_lanes and q + 1 < end and 2 * vectors * dim > NEAR:
                    following = _coset(q + 1, run.free)
                    _prefetch_coset(state, vectors, dim, rows_t, following, run, offsets)
                _copy(state, block, into, vectors, dim, rows_t, coset, run, offsets, lanes)
                for g in range(start, stop):
                    o = stop - 1 - (g - start) if backward else g
                    operation = operations[o]
                    if operation.kind == GROUPED:
                        continue
                    if operation.kind == PHASES:
                        _turn_block(
                            block, vectors, tangent, backward, phases, operations, o, angles,
                            layout, run, coset, sums,
                        )  # fmt: skip
                        continue
                    flip = 1.0 - 2.0 * odd(coset & operation.z)
                    gate = Gate(
                        operation.kind, operation.within, operation.signs_at, rows, o * W,
                        operation.shift,
                    )  # fmt: skip
                    if operation.kind == MATRIX:
                        at = operation.matrix_at
                        multiply(block, vectors, rows, matrices, at, backward, scratch)
                    elif not backward:
                        rotate(block, vectors, gate, flip, signs, c, s)
                        if tangent:
                            generate(block, bra, ket, gate, flip, signs, h)
                    elif tangent:
                        rotate(block, vectors, gate, -flip, signs, c, s)
                        generate(block, ket_tangent, ket, gate, -flip, signs, h)
                        generate(block, bra_tangent, bra, gate, -flip, signs, h)
                        if operation.wanted:
                            inner(block, bra_tangent, ket, gate, flip, signs, sums)
                            inner(block, bra, ket_tangent, gate, flip, signs, sums)
                    else:
                        undo(block, gate, flip, signs, c, s, sums, operation.wanted)
                _copy(state, block, out_of, vectors, dim, rows_t, coset, run, offsets, lanes)
                if backward and ((q - begin) % FLUSH == FLUSH - 1 or q == end - 1):
                    for i in range(start * W, stop * W):
                        totals[share.part, i] += sums[i]
                        sums[i] = 0.0
            barrier(share)

    return sweep
