# SPDX-License-Identifier: Apache-2.0
"""The kernels of Pauli sums: expectation values, and the observable applied to a state."""

from __future__ import annotations

from .basics import aligned, jit, lane_sign, odd, stopped, xor_load
from .protocol import FLUSH
from .protocol import LANES as W
from .vectors import fma, fnma, load, size, splat, store


@jit
def _table_row(tables, at, rows_t, values):
    """Spread one row of a table over the lanes."""
    lane_rows = W // rows_t
    for m in range(lane_rows):
        for t in range(rows_t):
            values[m * rows_t + t] = tables[at + m]


@jit
def expect(state, tangent, dim, rows_t, groups, entries, tables, sums, totals, part, parts,
            signals):  # fmt: skip
    r"""Add the products of amplitudes that each entry sums up, lane by lane.

    For the mask ``x`` of a group they are :math:`\psi^*_{i \oplus x} \psi_i`, real part for entries
    with an even number of Y and imaginary part for the others.
    """
    width = size(state)
    lane_rows = W // rows_t
    rows = dim // W
    first, last = rows * part // parts, rows * (part + 1) // parts
    rho, values = aligned(2 * W, state), aligned(W, state)
    for r in range(first, last):
        if stopped(signals):
            return
        a = r * W
        for g in range(len(groups)):
            x = groups[g, 0]
            high = x // lane_rows
            if high and r & (high & -high):
                continue  # the other one of a pair
            b, shift = (r ^ high) * W, (x & (lane_rows - 1)) * rows_t
            both = groups[g, 3] > groups[g, 2]
            for lane in range(0, W, width):
                ar, ai = load(state, a + lane), load(state, dim + a + lane)
                if x == 0:
                    br, bi = ar, ai
                else:
                    br = xor_load(state, b, lane, shift)
                    bi = xor_load(state, dim + b, lane, shift)
                even = fma(bi, ai, br * ar)
                uneven = fnma(bi, ar, br * ai)
                if tangent:
                    cr, ci = load(state, 2 * dim + a + lane), load(state, 3 * dim + a + lane)
                    if x == 0:
                        dr, di = cr, ci
                    else:
                        dr = xor_load(state, 2 * dim + b, lane, shift)
                        di = xor_load(state, 3 * dim + b, lane, shift)
                    even = fma(di, ai, fma(dr, ar, fma(bi, ci, br * cr)))
                    uneven = fnma(di, ar, fma(dr, ai, fnma(bi, cr, br * ci)))
                store(rho, lane, even)
                if both:
                    store(rho, W + lane, uneven)
            for e in range(groups[g, 1], groups[g, 3]):
                source = 0 if e < groups[g, 2] else W
                if entries[e, 1] < 0:
                    if odd((r * lane_rows) & entries[e, 0]):
                        for lane in range(0, W, width):
                            value = load(sums, e * W + lane) - load(rho, source + lane)
                            store(sums, e * W + lane, value)
                    else:
                        for lane in range(0, W, width):
                            value = load(sums, e * W + lane) + load(rho, source + lane)
                            store(sums, e * W + lane, value)
                else:
                    _table_row(tables, entries[e, 1] + r * lane_rows, rows_t, values)
                    for lane in range(0, W, width):
                        value = load(sums, e * W + lane)
                        value = fma(load(values, lane), load(rho, source + lane), value)
                        store(sums, e * W + lane, value)
        if (r - first) % FLUSH == FLUSH - 1 or r == last - 1:
            for i in range(len(sums)):
                totals[part, i] += sums[i]
                sums[i] = 0.0


@jit
def collect(evs, begin, count, rows_t, parts, groups, entries, pointers, targets, weights, totals):
    """Combine the entries' sums to expectation values of the observables."""
    lane_rows = W // rows_t
    for g in range(len(groups)):
        factor = 2.0 if groups[g, 0] // lane_rows else 1.0
        for e in range(groups[g, 1], groups[g, 3]):
            mask = entries[e, 0] if entries[e, 1] < 0 else 0
            for t in range(count):
                total = 0.0
                for m in range(lane_rows):
                    lanes = 0.0
                    for part in range(parts):
                        lanes += totals[part, e * W + m * rows_t + t]
                    total += lane_sign(m, mask) * lanes
                for k in range(pointers[e], pointers[e + 1]):
                    evs[begin + t, targets[k]] += factor * weights[k] * total


@jit
def weigh(cotangent, begin, count, rows_t, entries, pointers, targets, weights, into):
    """Weigh the entries by the cotangent: one effective observable for each row of the batch."""
    lane_rows = W // rows_t
    for e in range(len(entries)):
        mask = entries[e, 0] if entries[e, 1] < 0 else 0
        for t in range(rows_t):
            total = 0.0
            if t < count:
                for k in range(pointers[e], pointers[e + 1]):
                    total += weights[k] * cotangent[begin + t, targets[k]]
            for m in range(lane_rows):
                into[e * W + m * rows_t + t] = lane_sign(m, mask) * total


@jit
def observe(state, out, source, accumulate, dim, rows_t, groups, entries, tables, weighed, part,
             parts, signals):  # fmt: skip
    """Apply the effective observables to vector ``source`` of the state and put it in ``out``."""
    width = size(state)
    lane_rows = W // rows_t
    rows = dim // W
    o, s = 2 * out * dim, 2 * source * dim
    result, values, d = aligned(2 * W, state), aligned(W, state), aligned(2 * W, state)
    for r in range(rows * part // parts, rows * (part + 1) // parts):
        if stopped(signals):
            return
        a = r * W
        for lane in range(0, W, width):
            if accumulate:
                store(result, lane, load(state, o + a + lane))
                store(result, W + lane, load(state, o + dim + a + lane))
            else:
                store(result, lane, splat(state, 0.0))
                store(result, W + lane, splat(state, 0.0))
        for g in range(len(groups)):
            x = groups[g, 0]
            b, shift = (r ^ (x // lane_rows)) * W, (x & (lane_rows - 1)) * rows_t
            for lane in range(0, 2 * W, width):
                store(d, lane, splat(state, 0.0))
            for e in range(groups[g, 1], groups[g, 3]):
                into = 0 if e < groups[g, 2] else W
                if entries[e, 1] < 0:
                    if odd((r * lane_rows) & entries[e, 0]):
                        for lane in range(0, W, width):
                            value = load(d, into + lane) - load(weighed, e * W + lane)
                            store(d, into + lane, value)
                    else:
                        for lane in range(0, W, width):
                            value = load(d, into + lane) + load(weighed, e * W + lane)
                            store(d, into + lane, value)
                else:
                    _table_row(tables, entries[e, 1] + r * lane_rows, rows_t, values)
                    for lane in range(0, W, width):
                        value = load(d, into + lane)
                        value = fma(load(values, lane), load(weighed, e * W + lane), value)
                        store(d, into + lane, value)
            even, uneven = groups[g, 2] > groups[g, 1], groups[g, 3] > groups[g, 2]
            for lane in range(0, W, width):
                br = xor_load(state, s + b, lane, shift)
                bi = xor_load(state, s + dim + b, lane, shift)
                re, im = load(result, lane), load(result, W + lane)
                if even:
                    factor = load(d, lane)
                    re, im = fma(factor, br, re), fma(factor, bi, im)
                if uneven:
                    factor = load(d, W + lane)
                    re, im = fnma(factor, bi, re), fma(factor, br, im)
                store(result, lane, re)
                store(result, W + lane, im)
        for lane in range(0, W, width):
            store(state, o + a + lane, load(result, lane))
            store(state, o + dim + a + lane, load(result, W + lane))
