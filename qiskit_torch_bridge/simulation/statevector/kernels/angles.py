# SPDX-License-Identifier: Apache-2.0
"""The kernels between values and angles: trigonometry ahead of a sweep, the chain rule after it.

Sine and cosine are written so that the compiler makes vector instructions of them. The angle is
reduced to an eighth of a turn around zero by a multiple of pi/2 in three parts (W. J. Cody and
W. Waite, Software Manual for the Elementary Functions, 1980), and there the polynomials of
S. Moshier's Cephes library (1989) give both functions to about one unit in the last place.
"""

from __future__ import annotations

import math

import numpy as np

from .tables import LANES as W
from .tables import MATRIX
from .vectors import jit, lane_sign

PART_1 = 1.57079632673412561417
PART_2 = 6.07710050630396597660e-11
PART_3 = 2.02226624879595063154e-21
LARGEST = 1e5  # beyond it the reduction by three parts loses accuracy


@jit
def prepare(values, tangent, chunk, layout, sources, c, s, h):
    """Fill in cosine and sine of half of every angle, lane by lane; false if one is not finite.

    With tangents, ``h`` receives half of every angle's tangent.
    """
    x, w, dx, dw = values.x, values.w, values.dx, values.dw
    operations, rows_t = layout.operations, layout.rows_t
    starts, columns, coefficients = sources.starts, sources.columns, sources.coefficients
    offsets = sources.offsets
    inputs, shared = x.shape[1], len(w) == 1
    angles = len(operations) * rows_t
    halves, sines, cosines = np.empty(angles), np.empty(angles), np.empty(angles)
    turns = np.empty(angles if tangent else 0)
    filled = np.int64(0)  # not a constant, for which Numba would compile a function of its own
    for o in range(len(operations)):
        if operations[o].kind == MATRIX:
            continue
        slot = operations[o].slot
        for t in range(1 if _is_constant(slot, starts, columns, inputs, shared) else rows_t):
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
            halves[filled] = angle / 2
            if tangent:
                turns[filled] = turn / 2
            filled += 1
    if not sine_and_cosine(halves, sines, cosines, filled):
        return False
    filled = np.int64(0)
    for o in range(len(operations)):
        if operations[o].kind == MATRIX:
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
    return True


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
    """Take the gradients with respect to angles back to inputs and weights."""
    operations, rows_t = layout.operations, layout.rows_t
    starts, columns, coefficients = sources.starts, sources.columns, sources.coefficients
    inputs, shared = gx.shape[1], len(gw) == 1
    for o in range(len(operations)):
        if operations[o].kind == MATRIX or not operations[o].wanted:
            continue
        slot, mask = operations[o].slot, operations[o].across
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


@jit
def sine_and_cosine(angles, sines, cosines, count):
    """Fill in sines and cosines of the first ``count`` angles; false if one is not finite."""
    for i in range(count):
        a = angles[i]
        n = math.floor(a * (2 / math.pi) + 0.5)
        r = ((a - n * PART_1) - n * PART_2) - n * PART_3
        z = r * r
        s = r + r * z * (
            -1.66666666666666307295e-1
            + z * (8.33333333332211858878e-3
            + z * (-1.98412698295895385996e-4
            + z * (2.75573136213857245213e-6
            + z * (-2.50507477628578072866e-8
            + z * 1.58962301576546568060e-10))))
        )  # fmt: skip
        c = 1 - 0.5 * z + z * z * (
            4.16666666666665929218e-2
            + z * (-1.38888888888730564116e-3
            + z * (2.48015872888517045348e-5
            + z * (-2.75573141792967388112e-7
            + z * (2.08757008419747316778e-9
            - z * 1.13585365213876817300e-11))))
        )  # fmt: skip
        q = n - 4 * math.floor(n * 0.25)
        swapped = (q == 1.0) | (q == 3.0)
        sine, cosine = c if swapped else s, s if swapped else c
        sines[i] = sine * (-1.0 if q >= 2.0 else 1.0)
        cosines[i] = cosine * (-1.0 if (q == 1.0) | (q == 2.0) else 1.0)
    near = True
    for i in range(count):
        near = near and abs(angles[i]) <= LARGEST  # false for a NaN
    finite = True
    if not near:
        for i in range(count):
            finite = finite and math.isfinite(angles[i])
            sines[i], cosines[i] = math.sin(angles[i]), math.cos(angles[i])
    return finite
