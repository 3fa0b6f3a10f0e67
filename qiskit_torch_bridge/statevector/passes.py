# SPDX-License-Identifier: Apache-2.0
"""The compiled passes over a batch: from values to expectation values, and back to gradients.

Everything between two calls from Python happens here, without Python's lock: angles from values,
the sweeps, the sums of Pauli strings and the chain rule back to inputs and weights.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .kernels import aligned, barrier, jit, odd, sweep, xor_load
from .protocol import ADJOINT, FLUSH, MATRIX, STATE, TANGENT, TANGENT_ADJOINT
from .protocol import LANES as W
from .trigonometry import sine_and_cosine
from .vectors import fma, fnma, load, size, splat, store


@jit
def _lane_sign(lane_row, mask):
    return 1.0 - 2.0 * odd(lane_row & mask)


@jit
def _prepare(x, w, dx, dw, tangent, begin, count, rows_t, operations, slots, sources, coefficients,
             offsets, halves, sines, cosines, turns, c, s, h):  # fmt: skip
    """Fill in cosine and sine of half of every angle, lane by lane; false if one is not finite."""
    inputs, shared = x.shape[1], len(w) == 1
    lane_rows = W // rows_t
    filled = 0
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
    filled = 0
    for o in range(len(operations)):
        if operations[o, 0] == MATRIX:
            continue
        slot, sign, mask = operations[o, 5], operations[o, 6], operations[o, 7]
        step = 0 if _is_constant(slot, slots, sources, inputs, shared) else 1
        for m in range(lane_rows):
            lane = sign * _lane_sign(m, mask)
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
def _start(state, vectors, dim, rows_t, initial, part, parts):
    """Put the initial state into the first vector and zeros into the others."""
    n = dim // rows_t
    first, last = n * part // parts, n * (part + 1) // parts
    for v in range(2 * vectors):
        for i in range(v * dim + first * rows_t, v * dim + last * rows_t):
            state[i] = 0.0
    if len(initial):
        for i in range(first, last):
            for t in range(rows_t):
                state[i * rows_t + t] = initial[2 * i]
                state[dim + i * rows_t + t] = initial[2 * i + 1]
    elif first == 0:
        for t in range(rows_t):
            state[t] = 1.0


@jit
def _duplicate(target, at, source, start, count, part, parts):
    """Copy numbers, each part its share."""
    for i in range(count * part // parts, count * (part + 1) // parts):
        target[at + i] = source[start + i]


@jit
def _table_row(tables, at, rows_t, values):
    """Spread one row of a table over the lanes."""
    lane_rows = W // rows_t
    for m in range(lane_rows):
        for t in range(rows_t):
            values[m * rows_t + t] = tables[at + m]


@jit
def _expect(state, tangent, dim, rows_t, groups, entries, tables, sums, totals, part, parts):
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
def _collect(evs, begin, count, rows_t, parts, groups, entries, pointers, targets, weights, totals):
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
                    total += _lane_sign(m, mask) * lanes
                for k in range(pointers[e], pointers[e + 1]):
                    evs[begin + t, targets[k]] += factor * weights[k] * total


@jit
def _weigh(cotangent, begin, count, rows_t, entries, pointers, targets, weights, into):
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
                into[e * W + m * rows_t + t] = _lane_sign(m, mask) * total


@jit
def _observe(state, out, source, accumulate, dim, rows_t, groups, entries, tables, weighed, part,
             parts):  # fmt: skip
    """Apply the effective observables to vector ``source`` of the state and put it in ``out``."""
    width = size(state)
    lane_rows = W // rows_t
    rows = dim // W
    o, s = 2 * out * dim, 2 * source * dim
    result, values, d = aligned(2 * W, state), aligned(W, state), aligned(2 * W, state)
    for r in range(rows * part // parts, rows * (part + 1) // parts):
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


@jit
def _chain(gx, gw, begin, count, rows_t, parts, operations, slots, sources, coefficients, totals):
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
                total += _lane_sign(m, mask) * lanes
            total *= sign
            for e in range(slots[slot], slots[slot + 1]):
                p = sources[e]
                if p < inputs:
                    gx[begin + t, p] += coefficients[e] * total
                else:
                    row = 0 if shared else begin + t
                    gw[row, p - inputs] += coefficients[e] * total


@njit(nogil=True, error_model="numpy", cache=True)
def execute(  # noqa: D417
    mode, rows_t, dim, first, last, part, parts, counter, first_run,
    runs, coset_offsets, lanes, operations, signs, matrices, slots, sources, coefficients, offsets,
    initial, groups, entries, pointers, targets, weights, tables,
    x, w, dx, dw, cotangent, tangent_cotangent, work, kept, totals, evs, gx, gw,
):  # fmt: skip
    """Run one mode for some chunks of the batch; false if values are not finite.

    Layout and Pauli sums describe the arrays ``runs`` to ``tables``.

    Args:
        mode: FORWARD fills ``evs``; ADJOINT adds to ``gx`` and ``gw``; TANGENT fills ``evs`` with
            derivatives along ``dx`` and ``dw``; TANGENT_ADJOINT adds the derivatives of gradients
            along these and ``tangent_cotangent``; STATE leaves the final states in ``kept``.
        rows_t: The rows ``T`` of one chunk.
        dim: The numbers in one component of a vector, ``2**n * T``.
        first_run: The first run of the tape with a wanted derivative.
        part: Which of ``parts`` threads this is, if they share chunks.
        kept: Final states ``(chunks, 2 * dim)``, written by FORWARD and read by ADJOINT; with no
            rows they are not kept.
    """
    tangent = mode in (TANGENT, TANGENT_ADJOINT)
    backward = mode in (ADJOINT, TANGENT_ADJOINT)
    # Numba compiles a function anew for constants among its arguments; these are none to it.
    zero, bra, ket_tangent, bra_tangent = parts - parts, np.int64(1), np.int64(2), np.int64(3)
    yes, no = parts > 0, parts < 0
    rotations = len(operations) * W
    c, s = aligned(rotations, work), aligned(rotations, work)
    h = aligned(rotations if tangent else 0, work)
    angles = len(operations) * rows_t
    halves, sines, cosines = np.empty(angles), np.empty(angles), np.empty(angles)
    turns = np.empty(angles if tangent else 0)
    sums = aligned(len(entries) * W, work)
    for i in range(len(sums)):
        sums[i] = 0.0
    weighed = aligned(len(entries) * W if backward else 0, work)
    again = aligned(len(entries) * W if mode == TANGENT_ADJOINT else 0, work)
    for chunk in range(first, last):
        begin = chunk * rows_t
        count = min(rows_t, len(evs) - begin)
        if not _prepare(x, w, dx, dw, tangent, begin, count, rows_t, operations, slots, sources,
                        coefficients, offsets, halves, sines, cosines, turns, c, s, h):  # fmt: skip
            return False
        for i in range(totals.shape[1]):
            totals[part, i] = 0.0
        barrier(counter, parts)
        state = kept[chunk] if len(kept) and not tangent and not backward else work
        if mode == ADJOINT and len(kept):
            _duplicate(work, zero, kept[chunk], zero, 2 * dim, part, parts)
            barrier(counter, parts)
        else:
            forward_vectors = 2 if tangent else 1
            _start(state, forward_vectors, dim, rows_t, initial, part, parts)
            barrier(counter, parts)
            sweep(state, forward_vectors, no, tangent, dim, rows_t, zero, runs, coset_offsets,
                  lanes, operations, signs, matrices, c, s, h, totals, part, parts,
                  counter)  # fmt: skip
        if mode == STATE:
            continue
        if not backward:
            _expect(state, tangent, dim, rows_t, groups, entries, tables, sums, totals, part,
                    parts)  # fmt: skip
            barrier(counter, parts)
            if part == 0:
                _collect(evs, begin, count, rows_t, parts, groups, entries, pointers, targets,
                         weights, totals)  # fmt: skip
            barrier(counter, parts)
            continue
        _weigh(cotangent, begin, count, rows_t, entries, pointers, targets, weights, weighed)
        if tangent:  # ket, its tangent, -, - becomes ket, bra, and both tangents
            _duplicate(work, 4 * dim, work, 2 * dim, 2 * dim, part, parts)
            barrier(counter, parts)
            _weigh(tangent_cotangent, begin, count, rows_t, entries, pointers, targets, weights,
                   again)  # fmt: skip
            _observe(work, bra_tangent, ket_tangent, no, dim, rows_t, groups, entries, tables,
                     weighed, part, parts)  # fmt: skip
            _observe(work, bra_tangent, zero, yes, dim, rows_t, groups, entries, tables, again,
                     part, parts)  # fmt: skip
        _observe(work, bra, zero, no, dim, rows_t, groups, entries, tables, weighed, part, parts)
        barrier(counter, parts)
        sweep(work, 4 if tangent else 2, yes, tangent, dim, rows_t, first_run, runs, coset_offsets,
              lanes, operations, signs, matrices, c, s, h, totals, part, parts,
              counter)  # fmt: skip
        if part == 0:
            _chain(gx, gw, begin, count, rows_t, parts, operations, slots, sources, coefficients,
                   totals)  # fmt: skip
        barrier(counter, parts)
    return True
