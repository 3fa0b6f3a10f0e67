# SPDX-License-Identifier: Apache-2.0
"""From angles to matrices to columns, and back: what is local to one site.

The state of a site is two planes, for its basis states; a step makes of each as many blocks as its
variables have values. A plane ends with room for a vector, so that loops can go on to whole ones.
"""

from __future__ import annotations

from ...kernels.vectors import fma, fnma, jit
from .numbers import constant, get, load, put, spread, store, width
from .products import copy, fill, multiply_small

Z, X, Y = 1, 2, 3


@jit
def plane(length, blocks, width):
    """How far the two planes of a state are apart after a step."""
    padded = -(-length // width) * width
    return -(-((blocks - 1) * length + padded) // width) * width


@jit
def _set(z, q, at, real, imaginary):
    put(z, at, real)
    put(z, at + q, imaginary)


@jit
def _set_turn(z, q, at, letter, c, s):
    """Write ``c - i s P``."""
    zero = constant(z, 0.0)
    minus = zero - s
    _set(z, q, at, c, minus if letter == Z else zero)
    _set(z, q, at + 3, c, zero + s if letter == Z else zero)
    if letter == X:
        _set(z, q, at + 1, zero, minus)
        _set(z, q, at + 2, zero, minus)
    elif letter == Y:
        _set(z, q, at + 1, minus, zero)
        _set(z, q, at + 2, s, zero)
    else:
        _set(z, q, at + 1, zero, zero)
        _set(z, q, at + 2, zero, zero)


@jit
def fill_matrices(z, tangent, tables):
    """Compute the matrices of all steps from cosines and sines."""
    area = tables.area[0]
    q, parts = area.quarter, 2 if tangent else 1
    no = q < 0  # not a constant, for which Numba would compile functions anew
    for o in range(len(tables.steps)):
        step = tables.steps[o]
        if step.merged:
            continue
        for f in range(step.first_factor, step.last_factor):
            factor = tables.factors[f]
            own, product = area.factors_at + 4 * f, area.products_at + 4 * f
            if factor.slot >= 0:
                for part in range(parts):
                    moved, angle = 2 * q * part, area.angles_at + factor.slot + 2 * q * part
                    _set_turn(z, q, own + moved, factor.letter, get(z, angle), get(z, angle + q))
            else:
                fill(z, q, tangent, own, 4)
                for e in range(4):
                    at = 8 * factor.matrix + 2 * e
                    _set(z, q, own + e, constant(z, tables.fixed[at]),
                         constant(z, tables.fixed[at + 1]))  # fmt: skip
            if f == step.first_factor:
                copy(z, q, tangent, product, own, 4)
            else:
                multiply_small(z, q, tangent, product, own, product - 4, no, no, no)
        for m in range(step.blocks):
            number = step.matrices_at + m
            weighted, complete = area.weighted_at + 4 * number, area.matrices_at + 4 * number
            angle = area.angles_at + step.slot
            for part in range(parts):
                real, imaginary = constant(z, 1.0 - part), constant(z, 0.0)
                if step.slot >= 0:
                    if m == 0:
                        real = imaginary + get(z, angle + 2 * q * part)
                    else:
                        real = constant(z, 0.0)
                        imaginary = real - get(z, angle + 2 * q * part + q)
                for e in range(4):
                    x = constant(z, tables.blocks[8 * number + 2 * e])
                    y = constant(z, tables.blocks[8 * number + 2 * e + 1])
                    _set(z, q, weighted + 2 * q * part + e, real * x - imaginary * y,
                         real * y + imaginary * x)  # fmt: skip
            if step.first_factor < step.last_factor:
                last = area.products_at + 4 * (step.last_factor - 1)
                multiply_small(z, q, tangent, complete, weighted, last, no, no, no)
            else:
                copy(z, q, tangent, complete, weighted, 4)


@jit
def _add(z, at, number):
    put(z, at, get(z, at) + number)


@jit
def pull_back_matrices(z, tangent, tables, firsts):
    """Add the cotangents of cosines and sines that those of the steps' matrices amount to."""
    area = tables.area[0]
    q, parts = area.quarter, 2 if tangent else 1
    yes, no = q > 0, q < 0
    bar, further = area.small_at, area.small_at + 4
    for i in range(len(tables.sites)):
        for o in range(firsts[i], tables.sites[i].last_step):
            step = tables.steps[o]
            if step.merged:
                continue
            has_factors = step.first_factor < step.last_factor
            last = area.products_at + 4 * (step.last_factor - 1)
            for m in range(step.blocks):
                number = step.matrices_at + m
                turned = area.turned_at + 4 * number
                if step.slot >= 0:
                    source = turned
                    if has_factors:
                        multiply_small(z, q, tangent, further, turned, last, no, yes, no)
                        source = further
                    _pull_back_weight(z, q, parts, tables.blocks, number, source,
                                      area.bars_at + step.slot + q * (m > 0), m > 0)  # fmt: skip
                if has_factors:
                    weighted = area.weighted_at + 4 * number
                    multiply_small(z, q, tangent, bar, weighted, turned, yes, no, m > 0)
            for back in range(step.last_factor - step.first_factor):
                f = step.last_factor - 1 - back
                factor = tables.factors[f]
                own, before = area.factors_at + 4 * f, area.products_at + 4 * (f - 1)
                if factor.slot >= 0:
                    source = bar
                    if f > step.first_factor:
                        multiply_small(z, q, tangent, further, bar, before, no, yes, no)
                        source = further
                    _pull_back_turn(z, q, parts, area.bars_at + factor.slot, source, factor.letter)
                if f > step.first_factor:
                    multiply_small(z, q, tangent, further, own, bar, yes, no, no)
                    copy(z, q, tangent, bar, further, 4)


@jit
def _pull_back_weight(z, q, parts, blocks, number, source, out, of_sine):
    """Add to the cotangent of the cosine, or sine, that is the weight of a block."""
    for part in range(parts):
        total = constant(z, 0.0)
        for e in range(4):
            x = constant(z, blocks[8 * number + 2 * e])
            y = constant(z, blocks[8 * number + 2 * e + 1])
            u, v = get(z, source + 2 * q * part + e), get(z, source + q + 2 * q * part + e)
            total = total + (x * v + y * u if of_sine else x * u - y * v)
        _add(z, out + 2 * q * part, total + total)


@jit
def _pull_back_turn(z, q, parts, out, source, letter):
    """Add to the cotangents of cosine and sine of a turn."""
    for part in range(parts):
        at = source + 2 * q * part
        total = get(z, at) + get(z, at + 3)
        _add(z, out + 2 * q * part, total + total)
        if letter == Z:
            total = get(z, at + q) - get(z, at + q + 3)
        elif letter == X:
            total = get(z, at + q + 1) + get(z, at + q + 2)
        else:
            total = get(z, at + 2) - get(z, at + 1)
        _add(z, out + q + 2 * q * part, total + total)


@jit
def _times(z, q, g, e, xr, xi, real, imaginary):
    """Add a number of the buffer times a vector."""
    a, b = spread(z, get(z, g + e)), spread(z, get(z, g + q + e))
    return fnma(b, xi, fma(a, xr, real)), fma(b, xr, fma(a, xi, imaginary))


@jit
def _apply(z, q, tangent, out, apart, g, blocks, at, own, length):
    """Put block ``m``, the matrix ``m`` applied to the two planes of a state.

    Blocks come in their order, since each one may go on into the next one's place.
    """
    zero = spread(z, constant(z, 0.0))
    for m in range(blocks):
        for s in range(2):
            e = 4 * m + 2 * s
            for j in range(0, length, width(z)):
                p, o = at + j, out + s * apart + m * length + j
                ur, ui = load(z, p), load(z, p + q)
                vr, vi = load(z, p + own), load(z, p + own + q)
                real, imaginary = _times(z, q, g, e, ur, ui, zero, zero)
                real, imaginary = _times(z, q, g, e + 1, vr, vi, real, imaginary)
                store(z, o, real)
                store(z, o + q, imaginary)
                if tangent:
                    real, imaginary = _times(z, q, g + 2 * q, e, ur, ui, zero, zero)
                    real, imaginary = _times(z, q, g + 2 * q, e + 1, vr, vi, real, imaginary)
                    p += 2 * q
                    ur, ui = load(z, p), load(z, p + q)
                    vr, vi = load(z, p + own), load(z, p + own + q)
                    real, imaginary = _times(z, q, g, e, ur, ui, real, imaginary)
                    real, imaginary = _times(z, q, g, e + 1, vr, vi, real, imaginary)
                    store(z, o + 2 * q, real)
                    store(z, o + 3 * q, imaginary)


@jit
def _merge(z, q, out, apart, blocks, table, at, row, column, source, own, merged, length):
    """Put sums of blocks, each with coefficients ``row`` numbers after those of the one before."""
    zero = spread(z, constant(z, 0.0))
    for s in range(2):
        for m in range(blocks):
            for j in range(0, length, width(z)):
                real, imaginary = zero, zero
                for k in range(merged):
                    e, p = at + 2 * (m * row + k * column), source + s * own + k * length + j
                    x = spread(z, constant(z, table[e]))
                    y = spread(z, constant(z, table[e + 1]))
                    xr, xi = load(z, p), load(z, p + q)
                    real, imaginary = (
                        fnma(y, xi, fma(x, xr, real)),
                        fma(y, xr, fma(x, xi, imaginary)),
                    )
                store(z, out + s * apart + m * length + j, real)
                store(z, out + s * apart + m * length + j + q, imaginary)


@jit
def build(z, tangent, tables, site):
    """Compute the state of a site after all its steps, each after the one before it.

    Returns:
        Where it starts, and how far its planes are apart.
    """
    area = tables.area[0]
    q, padding = area.quarter, width(z)
    at, own = area.history_at, plane(1, 1, padding)
    fill(z, q, tangent, at, own + 1)
    put(z, at, constant(z, 1.0))
    for o in range(site.first_step, site.last_step):
        step = tables.steps[o]
        out, apart = at + 2 * own, plane(step.length, step.blocks, padding)
        g = area.matrices_at + 4 * step.matrices_at
        if step.merged:
            for part in range(2 if tangent else 1):
                moved = 2 * q * part
                _merge(z, q, out + moved, apart, step.blocks, tables.fixed, step.merge_at,
                       step.merged, step.merged // step.merged, at + moved, own, step.merged,
                       step.length)  # fmt: skip
            at, own = out, apart
            continue
        _apply(z, q, tangent, out, apart, g, step.blocks, at, own, step.length)
        at, own = out, apart
    return at, own


@jit
def _sum_products(z, q, out, x, apart, y, own, length, scratch):
    r"""Add :math:`\sum_v x_s[v] y_t[v]` to ``out[s, t]``."""
    step = width(z)
    whole = length // step * step
    for s in range(2):
        for t in range(2):
            m, n = x + s * apart, y + t * own
            real = constant(z, 0.0) + get(z, out + 2 * s + t)
            imaginary = constant(z, 0.0) + get(z, out + q + 2 * s + t)
            if whole:
                r = i = spread(z, constant(z, 0.0))
                for j in range(0, whole, step):
                    ur, ui = load(z, m + j), load(z, m + q + j)
                    vr, vi = load(z, n + j), load(z, n + q + j)
                    r, i = fnma(ui, vi, fma(ur, vr, r)), fma(ui, vr, fma(ur, vi, i))
                store(z, scratch, r)
                store(z, scratch + q, i)
                for j in range(scratch, scratch + step):
                    real = real + get(z, j)
                    imaginary = imaginary + get(z, q + j)
            for j in range(whole, length):
                real = real + (
                    get(z, m + j) * get(z, n + j) - get(z, m + q + j) * get(z, n + q + j)
                )
                imaginary = imaginary + (
                    get(z, m + j) * get(z, n + q + j) + get(z, m + q + j) * get(z, n + j)
                )
            put(z, out + 2 * s + t, real)
            put(z, out + q + 2 * s + t, imaginary)


@jit
def _apply_transposed(z, q, out, apart, g, blocks, at, own, length, adds):
    """Put the cotangent of a step's state, of the cotangent of what the step makes of it."""
    zero = spread(z, constant(z, 0.0))
    for t in range(2):
        for j in range(0, length, width(z)):
            o = out + t * apart + j
            real, imaginary = zero, zero
            if adds:
                real, imaginary = load(z, o), load(z, o + q)
            for m in range(blocks):
                for s in range(2):
                    p = at + s * own + m * length + j
                    real, imaginary = _times(
                        z, q, g, 4 * m + 2 * s + t, load(z, p), load(z, p + q), real, imaginary
                    )
            store(z, o, real)
            store(z, o + q, imaginary)


@jit
def pull_back(z, tangent, tables, site, end, first):
    """Add to the cotangents of a site's matrices what that of its state amounts to.

    The steps before the ``first`` one are not asked for.

    The states after all steps are where :func:`build` has left them, up to ``end``; the cotangent
    is in the first planes.
    """
    area = tables.area[0]
    q, padding = area.quarter, width(z)
    bar, other, state = area.planes_at, area.other_planes_at, end
    for back in range(site.last_step - first):
        o = site.last_step - 1 - back
        step = tables.steps[o]
        length, apart = step.length, plane(step.length, step.blocks, padding)
        own = plane(1, 1, padding)
        if o > site.first_step:
            before = tables.steps[o - 1]
            own = plane(before.length, before.blocks, padding)
        state -= 2 * own
        g = area.matrices_at + 4 * step.matrices_at
        if step.merged:
            for part in range(2 if tangent else 1):
                moved = 2 * q * part
                _merge(z, q, other + moved, own, step.merged, tables.fixed, step.merge_at,
                       step.merged // step.merged, step.merged, bar + moved, apart, step.blocks,
                       length)  # fmt: skip
            bar, other = other, bar
            continue
        for m in range(step.blocks):
            turned = area.turned_at + 4 * (step.matrices_at + m)
            for term in range(3 if tangent else 1):
                _sum_products(
                    z, q, turned + (2 * q if term > 0 else 0),
                    bar + m * length + (2 * q if term == 1 else 0), apart,
                    state + (2 * q if term == 2 else 0), own, length, area.small_at + 8,
                )  # fmt: skip
        if o > first:
            for term in range(3 if tangent else 1):
                _apply_transposed(
                    z, q, other + (2 * q if term > 0 else 0), own, g + (2 * q if term == 1 else 0),
                    step.blocks, bar + (2 * q if term == 2 else 0), apart, length, term == 2,
                )  # fmt: skip
        bar, other = other, bar
