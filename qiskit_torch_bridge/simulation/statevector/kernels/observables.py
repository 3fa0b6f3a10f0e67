# SPDX-License-Identifier: Apache-2.0
"""The kernels of observables: expectation values, and the observable applied to a state.

Pauli strings are taken mask by mask in one sweep over the state; products of projectors walk over
what they leave of it. Where there are many strings of Z, a Walsh-Hadamard transform of the squared
amplitudes of a piece of the state has the expectation values of all, and one of their weights the
operator that they amount to.
"""

from __future__ import annotations

import numpy as np

from ...kernels.tables import LANES as W
from ...kernels.vectors import (
    aligned,
    bounds,
    cosine,
    fma,
    fnma,
    jit,
    lane_sign,
    load,
    odd,
    popcount,
    sine,
    size,
    splat,
    stopped,
    store,
    xor_load,
)
from .diagonals import BITS, PIECE, fill_signs, transform
from .tables import FLUSH

MANY = 6
"""Strings of Z that are worth a transform."""

ASKED = 1 << 10
"""Orbits after which it is asked whether anybody still wants the results."""


@jit
def _table_row(tables, at, rows_t, values):
    """Spread one row of a table over the lanes."""
    lane_rows = W // rows_t
    for m in range(lane_rows):
        for t in range(rows_t):
            values[m * rows_t + t] = tables[at + m]


@jit
def _is_transformed(paulis):
    """Whether the first group, which would be that of the strings of Z, is taken by transforms."""
    groups, entries = paulis.groups, paulis.entries
    if len(groups) == 0 or groups[0].x != 0 or groups[0].middle - groups[0].start < MANY:
        return False
    return entries[groups[0].start].table_at < 0


@jit
def _pieces(layout, share):
    """How many rows of lanes a piece has, and this part's share of them."""
    rows = min(PIECE, layout.dim // W)
    first, last = bounds(layout.dim // W // rows, share)
    return rows, first * rows, last * rows


@jit
def _expect_diagonal(state, tangent, layout, paulis, totals, share):
    """Do what :func:`expect` does for the first group by transforms."""
    width = size(state)
    dim, rows_t, entries = layout.dim, layout.rows_t, paulis.entries
    rows, first, last = _pieces(layout, share)
    count, lane_rows = rows * W, W // rows_t
    products, signs = aligned(count, state), aligned(BITS * width, state)
    fill_signs(signs)
    for r in range(first, last, rows):
        if stopped(share):
            return
        for i in range(0, count, width):
            re, im = load(state, r * W + i), load(state, dim + r * W + i)
            if tangent:
                d_re, d_im = load(state, 2 * dim + r * W + i), load(state, 3 * dim + r * W + i)
                half = fma(im, d_im, re * d_re)
                store(products, i, half + half)
            else:
                store(products, i, fma(im, im, re * re))
        transform(products, count, rows_t, signs)
        for e in range(paulis.groups[0].start, paulis.groups[0].stop):
            sign = 1.0 - 2.0 * odd((r * lane_rows) & entries[e].z)
            at = (entries[e].z & (rows * lane_rows - 1)) * rows_t
            for t in range(rows_t):
                totals[share.part, e * W + t] += sign * products[at + t]


@jit
def _observe_diagonal(state, out, source, accumulate, layout, paulis, weighed, share):
    """Do what :func:`observe` does for the first group by transforms."""
    width = size(state)
    dim, rows_t, entries = layout.dim, layout.rows_t, paulis.entries
    rows, first, last = _pieces(layout, share)
    count, lane_rows = rows * W, W // rows_t
    factors, signs = aligned(count, state), aligned(BITS * width, state)
    fill_signs(signs)
    o, s = 2 * out * dim, 2 * source * dim
    for r in range(first, last, rows):
        if stopped(share):
            return
        for i in range(count):
            factors[i] = 0.0
        for e in range(paulis.groups[0].start, paulis.groups[0].stop):
            sign = 1.0 - 2.0 * odd((r * lane_rows) & entries[e].z)
            at = (entries[e].z & (rows * lane_rows - 1)) * rows_t
            for t in range(rows_t):
                factors[at + t] += sign * weighed[e * W + t]
        transform(factors, count, rows_t, signs)
        for i in range(0, count, width):
            a, factor = r * W + i, load(factors, i)
            re, im = factor * load(state, s + a), factor * load(state, s + dim + a)
            if accumulate:
                re, im = re + load(state, o + a), im + load(state, o + dim + a)
            store(state, o + a, re)
            store(state, o + dim + a, im)


@jit
def expect(state, tangent, layout, paulis, sums, totals, share):
    r"""Add the products of amplitudes that each entry sums up, lane by lane.

    For the mask ``x`` of a group they are :math:`\psi^*_{i \oplus x} \psi_i`, real part for entries
    with an even number of Y and imaginary part for the others.
    """
    width = size(state)
    dim, rows_t = layout.dim, layout.rows_t
    groups, entries, tables = paulis.groups, paulis.entries, paulis.tables
    lane_rows = W // rows_t
    _, first, last = _pieces(layout, share)
    begin = 0
    if _is_transformed(paulis):
        _expect_diagonal(state, tangent, layout, paulis, totals, share)
        begin = 1
    if begin == len(groups):
        return
    rho, values = aligned(2 * W, state), aligned(W, state)
    for r in range(first, last):
        if stopped(share):
            return
        a = r * W
        for g in range(begin, len(groups)):
            x = groups[g].x
            high = x // lane_rows
            if high and r & (high & -high):
                continue  # the other one of a pair
            b, shift = (r ^ high) * W, (x & (lane_rows - 1)) * rows_t
            both = groups[g].stop > groups[g].middle
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
            for e in range(groups[g].start, groups[g].stop):
                source = 0 if e < groups[g].middle else W
                if entries[e].table_at < 0:
                    if odd((r * lane_rows) & entries[e].z):
                        for lane in range(0, W, width):
                            value = load(sums, e * W + lane) - load(rho, source + lane)
                            store(sums, e * W + lane, value)
                    else:
                        for lane in range(0, W, width):
                            value = load(sums, e * W + lane) + load(rho, source + lane)
                            store(sums, e * W + lane, value)
                else:
                    _table_row(tables, entries[e].table_at + r * lane_rows, rows_t, values)
                    for lane in range(0, W, width):
                        value = load(sums, e * W + lane)
                        value = fma(load(values, lane), load(rho, source + lane), value)
                        store(sums, e * W + lane, value)
        if (r - first) % FLUSH == FLUSH - 1 or r == last - 1:
            for i in range(len(sums)):
                totals[share.part, i] += sums[i]
                sums[i] = 0.0


@jit
def collect(evs, chunk, share, layout, paulis, totals):
    """Combine the entries' sums to expectation values of the observables."""
    groups, entries, rows_t = paulis.groups, paulis.entries, layout.rows_t
    pointers, targets, weights = paulis.pointers, paulis.targets, paulis.weights
    lane_rows = W // rows_t
    for g in range(len(groups)):
        factor = 2.0 if groups[g].x // lane_rows else 1.0
        for e in range(groups[g].start, groups[g].stop):
            mask = entries[e].z if entries[e].table_at < 0 else 0
            for t in range(chunk.rows):
                total = 0.0
                for m in range(lane_rows):
                    lanes = 0.0
                    for part in range(share.parts):
                        lanes += totals[part, e * W + m * rows_t + t]
                    total += lane_sign(m, mask) * lanes
                for k in range(pointers[e], pointers[e + 1]):
                    evs[chunk.begin + t, targets[k]] += factor * weights[k] * total


@jit
def weigh(cotangent, chunk, layout, paulis, into):
    """Weigh the entries by the cotangent: one effective observable for each row of the batch."""
    entries, rows_t = paulis.entries, layout.rows_t
    pointers, targets, weights = paulis.pointers, paulis.targets, paulis.weights
    lane_rows = W // rows_t
    for e in range(len(entries)):
        mask = entries[e].z if entries[e].table_at < 0 else 0
        for t in range(rows_t):
            total = 0.0
            if t < chunk.rows:
                for k in range(pointers[e], pointers[e + 1]):
                    total += weights[k] * cotangent[chunk.begin + t, targets[k]]
            for m in range(lane_rows):
                into[e * W + m * rows_t + t] = lane_sign(m, mask) * total


@jit
def observe(state, out, source, accumulate, layout, paulis, weighed, share):
    """Apply the effective observables to vector ``source`` of the state and put it in ``out``."""
    width = size(state)
    dim, rows_t = layout.dim, layout.rows_t
    groups, entries, tables = paulis.groups, paulis.entries, paulis.tables
    lane_rows = W // rows_t
    _, first, last = _pieces(layout, share)
    begin, add = 0, accumulate
    if _is_transformed(paulis):
        _observe_diagonal(state, out, source, accumulate, layout, paulis, weighed, share)
        if len(groups) == 1:
            return
        begin, add = 1, share.parts > 0
    o, s = 2 * out * dim, 2 * source * dim
    result, values, d = aligned(2 * W, state), aligned(W, state), aligned(2 * W, state)
    for r in range(first, last):
        if stopped(share):
            return
        a = r * W
        for lane in range(0, W, width):
            if add:
                store(result, lane, load(state, o + a + lane))
                store(result, W + lane, load(state, o + dim + a + lane))
            else:
                store(result, lane, splat(state, 0.0))
                store(result, W + lane, splat(state, 0.0))
        for g in range(begin, len(groups)):
            x = groups[g].x
            b, shift = (r ^ (x // lane_rows)) * W, (x & (lane_rows - 1)) * rows_t
            for lane in range(0, 2 * W, width):
                store(d, lane, splat(state, 0.0))
            for e in range(groups[g].start, groups[g].stop):
                into = 0 if e < groups[g].middle else W
                if entries[e].table_at < 0:
                    if odd((r * lane_rows) & entries[e].z):
                        for lane in range(0, W, width):
                            value = load(d, into + lane) - load(weighed, e * W + lane)
                            store(d, into + lane, value)
                    else:
                        for lane in range(0, W, width):
                            value = load(d, into + lane) + load(weighed, e * W + lane)
                            store(d, into + lane, value)
                else:
                    _table_row(tables, entries[e].table_at + r * lane_rows, rows_t, values)
                    for lane in range(0, W, width):
                        value = load(d, into + lane)
                        value = fma(load(values, lane), load(weighed, e * W + lane), value)
                        store(d, into + lane, value)
            even, uneven = groups[g].middle > groups[g].start, groups[g].stop > groups[g].middle
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


@jit
def _lowest(number):
    """The place of the lowest bit that is set: which direction a walk takes next."""
    return popcount((number & -number) - 1)


@jit
def _walk(state, ket, bra, applied, layout, term, view, directions, re, im, weights, sums, share):
    """Walk over the orbits of one term.

    The vector that begins at ``ket`` is projected and multiplied by the string. The result is added
    to the vector at ``bra``, with a weight for each row, or the product with it to ``sums``.
    """
    dim, rows_t = layout.dim, layout.rows_t
    i, signs, x, z, k = term.offset, term.signs, term.x, term.z, term.k
    start, middle, stop = view.start, view.middle, view.stop
    size = 1 << (stop - middle)
    for orbit in range(1 << (middle - start)):
        if orbit & (ASKED - 1) == ASKED - 1 and stopped(share):
            return
        if orbit:
            i ^= directions[start + _lowest(orbit)].x
        for t in range(rows_t):
            re[t] = 0.0
            im[t] = 0.0
        power = 0
        for turn in range(2 * size):
            element = turn & (size - 1)
            if turn and size > 1:
                # The Gray code of the elements, which closes with the last direction.
                j = _lowest(element) if element else stop - middle - 1
                power += directions[middle + j].k + 2 * (signs >> j & 1)
                power += 2 * odd(i & directions[middle + j].z)
                i ^= directions[middle + j].x
            if turn < size:
                c, s, at = cosine(power), sine(power), ket + i * rows_t
                for t in range(rows_t):
                    a, b = state[at + t], state[dim + at + t]
                    re[t] += c * a + s * b
                    im[t] += c * b - s * a
                continue
            total = power + k + 2 * odd(i & z)
            c, s, at = cosine(total), sine(total), bra + (i ^ x) * rows_t
            if applied:
                for t in range(rows_t):
                    state[at + t] += weights[t] * (c * re[t] - s * im[t])
                    state[dim + at + t] += weights[t] * (s * re[t] + c * im[t])
            else:
                for t in range(rows_t):
                    a, b = state[at + t], state[dim + at + t]
                    sums[t] += a * (c * re[t] - s * im[t]) + b * (s * re[t] + c * im[t])
        if size > 1:  # back to where the orbit was entered
            i ^= directions[stop - 1].x


@jit
def expect_projections(state, tangent, layout, chunk, projections, evs, share):
    """Add the expectation values of products of projectors, or their derivatives."""
    views, directions, terms = projections.views, projections.directions, projections.terms
    bra, factor = (2 * layout.dim, 2.0) if tangent else (0, 1.0)
    rows_t = layout.rows_t
    re, im, sums = np.empty(rows_t), np.empty(rows_t), np.empty(rows_t)
    for p in range(len(terms)):
        term = terms[p]
        for t in range(rows_t):
            sums[t] = 0.0
        _walk(state, 0, bra, False, layout, term, views[term.view_at], directions, re, im, re, sums,
              share)  # fmt: skip
        if stopped(share):
            return
        for t in range(chunk.rows):
            strength = factor * projections.strengths[p]
            evs[chunk.begin + t, term.observable] += strength * sums[t]


@jit
def observe_projections(state, out, source, cotangent, layout, chunk, projections, share):
    """Add products of projectors, weighed by the cotangent, on vector ``source`` to ``out``."""
    views, directions, terms = projections.views, projections.directions, projections.terms
    ket, bra, rows_t = 2 * source * layout.dim, 2 * out * layout.dim, layout.rows_t
    re, im, weights = np.empty(rows_t), np.empty(rows_t), np.zeros(rows_t)
    for p in range(len(terms)):
        term = terms[p]
        for t in range(chunk.rows):
            weight = cotangent[chunk.begin + t, term.observable]
            weights[t] = projections.strengths[p] * weight
        _walk(state, ket, bra, True, layout, term, views[term.view_at], directions, re, im, weights,
              re, share)  # fmt: skip
        if stopped(share):
            return
