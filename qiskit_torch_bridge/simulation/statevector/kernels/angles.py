# SPDX-License-Identifier: Apache-2.0
"""The kernels between values and angles: trigonometry ahead of a sweep, the chain rule after it."""

from __future__ import annotations

import math

import numpy as np

from ...kernels.tables import LANES as W
from ...kernels.trigonometry import sine_and_cosine
from ...kernels.vectors import jit, lane_sign
from .tables import GROUPED, MATRIX, PHASES


@jit
def prepare(values, tangent, chunk, layout, sources, into):
    """Fill in the angles of a chunk; false if one is not finite."""
    x, w, dx, dw = values.x, values.w, values.dx, values.dw
    operations, rows_t = layout.operations, layout.rows_t
    starts, columns, coefficients = sources.starts, sources.columns, sources.coefficients
    offsets = sources.offsets
    inputs, shared = x.shape[1], len(w) == 1
    c, s, h = into.cosines, into.sines, into.tangents
    angles = len(operations) * rows_t
    halves, sines, cosines = np.empty(angles), np.empty(angles), np.empty(angles)
    turns = np.empty(angles if tangent else 0)
    filled = np.int64(0)  # not a constant, for which Numba would compile a function of its own
    group, finite = 0, True
    for o in range(len(operations)):
        kind = operations[o].kind
        if kind == PHASES:
            group = o
            into.uniform[o] = 1
        if kind in (MATRIX, PHASES):
            continue
        slot = operations[o].slot
        constant = _is_constant(slot, starts, columns, inputs, shared)
        for t in range(1 if constant else rows_t):
            b = chunk.begin + min(t, chunk.rows - 1)
            angle, turn = offsets[slot], 0.0
            for e in range(starts[slot], starts[slot + 1]):
                p = columns[e]
                if p < inputs:
                    angle += coefficients[e] * x[b, p]
                    if tangent:
                        turn += coefficients[e] * dx[b, p]
                else:
                    row = 0 if shared else b
                    angle += coefficients[e] * w[row, p - inputs]
                    if tangent:
                        turn += coefficients[e] * dw[row, p - inputs]
            if kind == GROUPED:
                finite = finite and math.isfinite(angle)
                sign, at = operations[o].sign, o * rows_t
                for each in range(t, rows_t if constant else t + 1):
                    into.halves[at + each] = sign * angle / 2
                    if tangent:
                        into.half_tangents[at + each] = sign * turn / 2
                if not constant:
                    into.uniform[group] = 0
                continue
            halves[filled] = angle / 2
            if tangent:
                turns[filled] = turn / 2
            filled += 1
    if not sine_and_cosine(halves, sines, cosines, filled) or not finite:
        return False
    filled = np.int64(0)
    for o in range(len(operations)):
        if operations[o].kind in (MATRIX, PHASES, GROUPED):
            continue
        sign, mask = operations[o].sign, operations[o].across
        step = 1
        if _is_constant(operations[o].slot, starts, columns, inputs, shared):
            step = 0
        for m in range(W // rows_t):
            lane = sign * lane_sign(m, mask)
            at = o * W + m * rows_t
            for t in range(rows_t):
                c[at + t] = cosines[filled + step * t]
                s[at + t] = lane * sines[filled + step * t]
            if tangent:
                for t in range(rows_t):
                    h[at + t] = lane * turns[filled + step * t]
        filled += rows_t if step else 1
    return _prepare_sums(operations, rows_t, into)


@jit
def count_sums(operations):
    """Return how many sums all groups look up."""
    count = 0
    for o in range(len(operations)):
        if operations[o].kind == PHASES and operations[o].across:
            count += operations[o].across + 1
    return count


@jit
def _prepare_sums(operations, rows_t, into):
    """Fill in cosines and sines of the sums that groups look up; false if one is not finite."""
    finite = True
    for o in range(len(operations)):
        largest = operations[o].across
        if operations[o].kind != PHASES or not largest:
            continue
        count, at = (largest + 1) * rows_t, operations[o].matrix_at * rows_t
        halves, cosines = np.empty(count), np.empty(count)
        for i in range(count):
            half = into.halves[(o + 1) * rows_t + i % rows_t]
            halves[i] = (2 * (i // rows_t) - largest) * half
        finite = sine_and_cosine(halves, halves, cosines, count) and finite
        for i in range(count):
            into.of_sums[2 * (at + i)] = cosines[i]
            into.of_sums[2 * (at + i) + 1] = halves[i]
    return finite


@jit
def _is_constant(slot, starts, columns, inputs, shared):
    """Whether all rows have the same angle."""
    if not shared:
        return starts[slot] == starts[slot + 1]
    for e in range(starts[slot], starts[slot + 1]):  # noqa: SIM110 - no generators in Numba
        if columns[e] < inputs:
            return False
    return True


@jit
def chain(gx, gw, chunk, share, layout, sources, totals):
    """Take the gradients with respect to angles of the sweep back to inputs and weights."""
    operations, rows_t = layout.operations, layout.rows_t
    starts, columns, coefficients = sources.starts, sources.columns, sources.coefficients
    inputs, shared = gx.shape[1], len(gw) == 1
    for o in range(layout.swept):
        kind = operations[o].kind
        if kind in (MATRIX, PHASES) or not operations[o].wanted:
            continue
        slot, mask = operations[o].slot, operations[o].across
        if kind == GROUPED:  # the signs of lanes have been taken into account
            mask = 0
        for t in range(chunk.rows):
            total = 0.0
            for m in range(W // rows_t):
                lanes = 0.0
                for part in range(share.parts):
                    lanes += totals[part, o * W + m * rows_t + t]
                total += lane_sign(m, mask) * lanes
            total *= operations[o].sign
            for e in range(starts[slot], starts[slot + 1]):
                p = columns[e]
                if p < inputs:
                    gx[chunk.begin + t, p] += coefficients[e] * total
                else:
                    row = 0 if shared else chunk.begin + t
                    gw[row, p - inputs] += coefficients[e] * total
