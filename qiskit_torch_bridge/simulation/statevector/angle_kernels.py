# SPDX-License-Identifier: Apache-2.0
"""The kernels between values and angles: trigonometry ahead of a sweep, the chain rule after it."""

from __future__ import annotations

import numpy as np

from .basics import jit, lane_sign
from .protocol import LANES as W
from .protocol import MATRIX
from .trigonometry import sine_and_cosine


@jit
def prepare(x, w, dx, dw, tangent, begin, count, rows_t, operations, slots, sources, coefficients,
             offsets, halves, sines, cosines, turns, c, s, h):  # fmt: skip
    """Fill in cosine and sine of half of every angle, lane by lane; false if one is not finite."""
    inputs, shared = x.shape[1], len(w) == 1
    lane_rows = W // rows_t
    filled = np.int64(0)  # not a constant, for which Numba would compile a function of its own
    for o in range(len(operations)):
        if operations[o, 0] == MATRIX:
            continue
        slot = operations[o, 5]
        for t in range(1 if _is_constant(slot, slots, sources, inputs, shared) else rows_t):
            b = begin + min(t, count - 1)
            angle, turn = offsets[slot], 0.0
            for e in range(slots[slot], slots[slot + 1]):
                p = sources[e]
                if p < inputs:
                    angle += coefficients[e] * x[b, p]
                    if tangent:
                        turn += coefficients[e] * dx[b, p]
                else:
                    row = 0 if shared else b
                    angle += coefficients[e] * w[row, p - inputs]
                    if tangent:
                        turn += coefficients[e] * dw[row, p - inputs]
            halves[filled] = angle / 2
            if tangent:
                turns[filled] = turn / 2
            filled += 1
    if not sine_and_cosine(halves, sines, cosines, filled):
        return False
    filled = np.int64(0)
    for o in range(len(operations)):
        if operations[o, 0] == MATRIX:
            continue
        slot, sign, mask = operations[o, 5], operations[o, 6], operations[o, 7]
        step = 0 if _is_constant(slot, slots, sources, inputs, shared) else 1
        for m in range(lane_rows):
            lane = sign * lane_sign(m, mask)
            at = o * W + m * rows_t
            for t in range(rows_t):
                c[at + t] = cosines[filled + step * t]
                s[at + t] = lane * sines[filled + step * t]
            if tangent:
                for t in range(rows_t):
                    h[at + t] = lane * turns[filled + step * t]
        filled += rows_t if step else 1
    return True


@jit
def _is_constant(slot, slots, sources, inputs, shared):
    """Whether all rows have the same angle."""
    if not shared:
        return slots[slot] == slots[slot + 1]
    for e in range(slots[slot], slots[slot + 1]):  # noqa: SIM110 - no generators in Numba
        if sources[e] < inputs:
            return False
    return True


@jit
def chain(gx, gw, begin, count, rows_t, parts, operations, slots, sources, coefficients, totals):
    """Take the gradients by angles back to inputs and weights."""
    inputs, shared = gx.shape[1], len(gw) == 1
    lane_rows = W // rows_t
    for o in range(len(operations)):
        if operations[o, 0] == MATRIX or not operations[o, 4]:
            continue
        slot, sign, mask = operations[o, 5], operations[o, 6], operations[o, 7]
        for t in range(count):
            total = 0.0
            for m in range(lane_rows):
                lanes = 0.0
                for part in range(parts):
                    lanes += totals[part, o * W + m * rows_t + t]
                total += lane_sign(m, mask) * lanes
            total *= sign
            for e in range(slots[slot], slots[slot + 1]):
                p = sources[e]
                if p < inputs:
                    gx[begin + t, p] += coefficients[e] * total
                else:
                    row = 0 if shared else begin + t
                    gw[row, p - inputs] += coefficients[e] * total
