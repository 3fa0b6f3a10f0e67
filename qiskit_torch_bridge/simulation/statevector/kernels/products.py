# SPDX-License-Identifier: Apache-2.0
r"""The kernels of product states: what acts on single bits before anything else prepares one.

With a vector :math:`u_q` of two numbers for each bit, the state is :math:`h \otimes l` of the
products :math:`l` over the lower half of the bits and :math:`h` over the upper one, each of about
:math:`2^{n/2}` numbers: one multiplication for each amplitude, however many rotations there are.

Backward, one look at the bra :math:`\lambda` contracts it with either,

.. math:: a_i = \sum_j h^*_j \lambda_{ji}, \qquad b_j = \sum_i l^*_i \lambda_{ji},

and in each half all bits but one are contracted from the products over the bits below it and,
step by step, the vectors above it: :math:`\beta_q`, with :math:`\langle\lambda|\psi\rangle =
\beta_q^\dagger u_q` for each bit. There its rotations are undone one by one, as the sweep does on
the whole state. Tangents are carried along.
"""

from __future__ import annotations

from ...kernels.tables import LANES as W
from ...kernels.vectors import (
    aligned,
    bounds,
    fma,
    fnma,
    jit,
    load,
    popcount,
    size,
    splat,
    stopped,
    store,
)
from .tables import ON_X, ON_Y, ON_Z, Factors


@jit
def make_factors(layout, tangent, like):
    """Return room for the vectors of a layout's bits and their products."""
    rows_t = layout.rows_t
    num_bits = popcount(layout.dim // rows_t - 1)
    some = 1 if len(layout.operations) > layout.swept else 0
    low = max(num_bits // 2, popcount(W // rows_t - 1))  # whole rows of lanes
    numbers = some * 2 * num_bits * rows_t
    stride = some * ((2 << low) + (2 << (num_bits - low))) * rows_t
    vectors = 4 if tangent else 2
    return Factors(
        low,
        num_bits - low,
        numbers,
        stride,
        aligned(vectors * numbers, like),
        aligned(vectors * numbers, like),
        aligned(vectors * stride, like),
    )


@jit
def _pauli(kind, ar, ai, br, bi):
    """Apply a Pauli matrix to two complex numbers."""
    if kind == ON_X:
        return br, bi, ar, ai
    if kind == ON_Y:
        return bi, -br, -ai, ar
    if kind == ON_Z:
        return ar, ai, -br, -bi
    return ar, ai, br, bi


@jit
def _turn(kind, cos, sin, ar, ai, br, bi):
    """Apply ``cos - i sin P`` to two complex numbers."""
    pr, pi, qr, qi = _pauli(kind, ar, ai, br, bi)
    return cos * ar + sin * pi, cos * ai - sin * pr, cos * br + sin * qi, cos * bi - sin * qr


@jit
def _turn_pair(kind, cos, sin, half, tangent, vectors, at, numbers, rows_t):
    """Turn two numbers in place and, where they move, add ``-i half P`` of them to their tangents.

    The numbers are at ``at`` and ``rows_t`` further on, and then their imaginary parts.
    """
    other = at + rows_t
    ar, ai, br, bi = _turn(
        kind, cos, sin, vectors[at], vectors[numbers + at], vectors[other], vectors[numbers + other]
    )
    vectors[at], vectors[numbers + at] = ar, ai
    vectors[other], vectors[numbers + other] = br, bi
    if tangent:
        at, other = at + 2 * numbers, other + 2 * numbers
        cr, ci, dr, di = _turn(
            kind, cos, sin,
            vectors[at], vectors[numbers + at], vectors[other], vectors[numbers + other],
        )  # fmt: skip
        pr, pi, qr, qi = _pauli(kind, ar, ai, br, bi)
        vectors[at], vectors[numbers + at] = cr + half * pi, ci - half * pr
        vectors[other], vectors[numbers + other] = dr + half * qi, di - half * qr


@jit
def multiply_factors(layout, tangent, angles, factors):
    """Fill in the vectors of all bits, and their products over ever more bits of either half.

    The products over ``k`` bits are the ``2**k`` rows from ``2**k`` on.
    """
    rows_t, operations = layout.rows_t, layout.operations
    c, s, h = angles.cosines, angles.sines, angles.tangents
    u, p, numbers, stride = factors.u, factors.p, factors.numbers, factors.stride
    num_bits = factors.low + factors.high
    for i in range(len(u)):
        u[i] = 0.0
    for q in range(num_bits):
        for t in range(rows_t):
            u[2 * q * rows_t + t] = 1.0
    for g in range(layout.swept, len(operations)):
        kind, at = operations[g].kind, 2 * operations[g].within * rows_t
        for t in range(rows_t):
            place = g * W + t
            half = h[place] if tangent else 0.0
            _turn_pair(kind, c[place], s[place], half, tangent, u, at + t, numbers, rows_t)
    for half_number in range(2):
        begin = (2 << factors.low) * rows_t * half_number
        bits = factors.high if half_number else factors.low
        for t in range(rows_t):
            at = begin + rows_t + t
            p[at], p[stride + at] = 1.0, 0.0
            if tangent:
                p[2 * stride + at], p[3 * stride + at] = 0.0, 0.0
        for k in range(bits):
            rows = 1 << k
            for value in range(2):
                factor = 2 * (k + factors.low * half_number) * rows_t + value * rows_t
                for row in range(rows):
                    source = begin + (rows + row) * rows_t
                    target = begin + (2 * rows + value * rows + row) * rows_t
                    for t in range(rows_t):
                        i, j, o = source + t, factor + t, target + t
                        ar, ai = p[i], p[stride + i]
                        br, bi = u[j], u[numbers + j]
                        p[o], p[stride + o] = ar * br - ai * bi, ar * bi + ai * br
                        if tangent:
                            cr, ci = p[2 * stride + i], p[3 * stride + i]
                            dr, di = u[2 * numbers + j], u[3 * numbers + j]
                            p[2 * stride + o] = ar * dr - ai * di + cr * br - ci * bi
                            p[3 * stride + o] = ar * di + ai * dr + cr * bi + ci * br


@jit
def _spread(p, at, stride, count, rows_t, lanes):
    """Spread a row of ``count`` components over the lanes."""
    for v in range(count):
        for lane in range(W):
            lanes[v * W + lane] = p[v * stride + at + (lane & (rows_t - 1))]


@jit
def start_product(state, tangent, layout, factors, share):
    """Put the product into the first vector and, where it moves, its tangent into the second."""
    width = size(state)
    dim, rows_t = layout.dim, layout.rows_t
    p, stride = factors.p, factors.stride
    numbers = rows_t << factors.low
    begin_low = numbers
    begin_high = 2 * numbers + (rows_t << factors.high)
    first, last = bounds(1 << factors.high, share)
    high = aligned(4 * W, state)
    for row in range(first, last):
        if stopped(share):
            return
        _spread(p, begin_high + row * rows_t, stride, 4 if tangent else 2, rows_t, high)
        for block in range(0, numbers, W):
            for lane in range(0, W, width):
                i, o = begin_low + block + lane, row * numbers + block + lane
                fr, fi = load(high, lane), load(high, W + lane)
                lr, li = load(p, i), load(p, stride + i)
                store(state, o, fnma(fi, li, fr * lr))
                store(state, dim + o, fma(fi, lr, fr * li))
                if tangent:
                    gr, gi = load(high, 2 * W + lane), load(high, 3 * W + lane)
                    dr, di = load(p, 2 * stride + i), load(p, 3 * stride + i)
                    store(state, 2 * dim + o, fnma(gi, li, fma(gr, lr, fnma(fi, di, fr * dr))))
                    store(state, 3 * dim + o, fma(gi, lr, fma(gr, li, fma(fi, dr, fr * di))))


@jit
def contract_halves(state, bra, bra_tangent, tangent, layout, factors, totals, start, share):
    """Contract the bra with the product over the upper half of the bits, and over the lower half.

    From ``start`` on, ``totals`` receives two components of either, or four with tangents: of the
    former in each part's row what its share of the latter adds to it, and the latter in the first
    row.
    """
    width = size(state)
    dim, rows_t = layout.dim, layout.rows_t
    p, stride = factors.p, factors.stride
    numbers, rows = rows_t << factors.low, 1 << factors.high
    begin_low = numbers
    begin_high = 2 * numbers + (rows_t << factors.high)
    count = 4 if tangent else 2
    others, step = start + count * numbers, rows * rows_t
    lower = aligned(count * numbers, state)
    for i in range(len(lower)):
        lower[i] = 0.0
    first, last = bounds(rows, share)
    high, sums = aligned(4 * W, state), aligned(4 * W, state)
    for row in range(first, last):
        if stopped(share):
            return
        _spread(p, begin_high + row * rows_t, stride, count, rows_t, high)
        for lane in range(0, W, width):
            fr, fi = load(high, lane), load(high, W + lane)
            sr, si = splat(state, 0.0), splat(state, 0.0)
            if tangent:
                gr, gi = load(high, 2 * W + lane), load(high, 3 * W + lane)
                dsr, dsi = splat(state, 0.0), splat(state, 0.0)
            for block in range(0, numbers, W):
                i, a = begin_low + block + lane, block + lane
                b = 2 * bra * dim + row * numbers + block + lane
                br, bi = load(state, b), load(state, dim + b)
                lr, li = load(p, i), load(p, stride + i)
                sr = fma(li, bi, fma(lr, br, sr))
                si = fnma(li, br, fma(lr, bi, si))
                store(lower, a, fma(fi, bi, fma(fr, br, load(lower, a))))
                store(lower, numbers + a, fnma(fi, br, fma(fr, bi, load(lower, numbers + a))))
                if tangent:
                    d = 2 * bra_tangent * dim + row * numbers + block + lane
                    cr, ci = load(state, d), load(state, dim + d)
                    dr, di = load(p, 2 * stride + i), load(p, 3 * stride + i)
                    dsr = fma(di, bi, fma(dr, br, fma(li, ci, fma(lr, cr, dsr))))
                    dsi = fnma(di, br, fma(dr, bi, fnma(li, cr, fma(lr, ci, dsi))))
                    re = fma(fi, ci, fma(fr, cr, load(lower, 2 * numbers + a)))
                    im = fnma(fi, cr, fma(fr, ci, load(lower, 3 * numbers + a)))
                    store(lower, 2 * numbers + a, fma(gi, bi, fma(gr, br, re)))
                    store(lower, 3 * numbers + a, fnma(gi, br, fma(gr, bi, im)))
            store(sums, lane, sr)
            store(sums, W + lane, si)
            if tangent:
                store(sums, 2 * W + lane, dsr)
                store(sums, 3 * W + lane, dsi)
        for v in range(count):
            for t in range(rows_t):
                total = 0.0
                for lane in range(t, W, rows_t):
                    total += sums[v * W + lane]
                totals[0, others + v * step + row * rows_t + t] = total
    for i in range(len(lower)):
        totals[share.part, start + i] = lower[i]


@jit
def wants_factors(layout):
    """Whether the derivative by the angle of any rotation of a single bit is wanted."""
    for g in range(layout.swept, len(layout.operations)):  # noqa: SIM110 - no generators in Numba
        if layout.operations[g].wanted:
            return True
    return False


@jit
def _contract_bits(half_number, tangent, rows_t, factors, room, begin, step):
    """Contract all bits of a half but one, for each of them.

    The half begins at ``begin`` in ``room``, its components ``step`` numbers apart; it is used up.
    """
    u, p, beta = factors.u, factors.p, factors.beta
    numbers, stride = factors.numbers, factors.stride
    start = (2 << factors.low) * rows_t * half_number
    bits = factors.high if half_number else factors.low
    for k in range(bits - 1, -1, -1):
        rows = 1 << k
        bit = 2 * (k + factors.low * half_number) * rows_t
        for i in range(bit, bit + 2 * rows_t):
            for v in range(4 if tangent else 2):
                beta[v * numbers + i] = 0.0
        for row in range(rows):
            for t in range(rows_t):
                i = start + (rows + row) * rows_t + t
                pr, pi = p[i], p[stride + i]
                kept_re = kept_im = kept_dre = kept_dim = 0.0
                for value in range(2):
                    j = bit + value * rows_t + t
                    a = begin + (value * rows + row) * rows_t + t
                    ar, ai = room[a], room[step + a]
                    ur, ui = u[j], u[numbers + j]
                    beta[j] += pr * ar + pi * ai
                    beta[numbers + j] += pr * ai - pi * ar
                    kept_re += ur * ar + ui * ai
                    kept_im += ur * ai - ui * ar
                    if tangent:
                        dr, di = room[2 * step + a], room[3 * step + a]
                        qr, qi = p[2 * stride + i], p[3 * stride + i]
                        vr, vi = u[2 * numbers + j], u[3 * numbers + j]
                        beta[2 * numbers + j] += pr * dr + pi * di + qr * ar + qi * ai
                        beta[3 * numbers + j] += pr * di - pi * dr + qr * ai - qi * ar
                        kept_dre += ur * dr + ui * di + vr * ar + vi * ai
                        kept_dim += ur * di - ui * dr + vr * ai - vi * ar
                a = begin + row * rows_t + t
                room[a], room[step + a] = kept_re, kept_im
                if tangent:
                    room[2 * step + a], room[3 * step + a] = kept_dre, kept_dim


@jit
def _inner(kind, beta, u, b, v, numbers, rows_t):
    """The imaginary part of ``<beta|P|u>`` on one bit, of components from ``b`` and ``v`` on."""
    ar, ai = u[v], u[numbers + v]
    br, bi = u[v + rows_t], u[numbers + v + rows_t]
    pr, pi, qr, qi = _pauli(kind, ar, ai, br, bi)
    total = beta[b] * pi - beta[numbers + b] * pr
    return total + beta[b + rows_t] * qi - beta[numbers + b + rows_t] * qr


@jit
def chain_factors(gx, gw, chunk, tangent, layout, sources, angles, factors, totals, start, share):
    """Add the gradients with respect to the angles of all bits to those of inputs and weights.

    What :func:`contract_halves` has left in ``totals`` is used up, as the factors are.
    """
    rows_t, operations = layout.rows_t, layout.operations
    c, s, h = angles.cosines, angles.sines, angles.tangents
    u, beta, numbers = factors.u, factors.beta, factors.numbers
    starts, columns, coefficients = sources.starts, sources.columns, sources.coefficients
    inputs, shared = gx.shape[1], len(gw) == 1
    count = 4 if tangent else 2
    low, high = rows_t << factors.low, rows_t << factors.high
    for part in range(1, share.parts):
        for i in range(start, start + count * low):
            totals[0, i] += totals[part, i]
    room, zero = totals[0], share.parts - share.parts  # no constant to Numba, which compiles more
    _contract_bits(zero, tangent, rows_t, factors, room, start, low)
    _contract_bits(zero + 1, tangent, rows_t, factors, room, start + count * low, high)
    for g in range(len(operations) - 1, layout.swept - 1, -1):
        kind, slot, bit = operations[g].kind, operations[g].slot, 2 * operations[g].within * rows_t
        for t in range(rows_t):
            at, place = bit + t, g * W + t
            half = -h[place] if tangent else 0.0
            _turn_pair(kind, c[place], -s[place], half, tangent, u, at, numbers, rows_t)
            _turn_pair(kind, c[place], -s[place], half, tangent, beta, at, numbers, rows_t)
            if not operations[g].wanted or t >= chunk.rows:
                continue
            if tangent:
                total = _inner(kind, beta, u, at + 2 * numbers, at, numbers, rows_t)
                total += _inner(kind, beta, u, at, at + 2 * numbers, numbers, rows_t)
            else:
                total = _inner(kind, beta, u, at, at, numbers, rows_t)
            total *= operations[g].sign
            for e in range(starts[slot], starts[slot + 1]):
                column = columns[e]
                if column < inputs:
                    gx[chunk.begin + t, column] += coefficients[e] * total
                else:
                    row = 0 if shared else chunk.begin + t
                    gw[row, column - inputs] += coefficients[e] * total
