# SPDX-License-Identifier: Apache-2.0
"""Rotations that displace lanes: they exchange elements of vectors, in registers.

Vector ``v`` of row ``k`` of a block is mixed with vector ``v ^ high`` of row ``k ^ within``, the
elements of which are exchanged by a distance within vectors. See :mod:`.sweep` for blocks.
"""

from __future__ import annotations

from collections.abc import Callable

from ...kernels.disk_cache import name_apart
from ...kernels.tables import LANES as W
from ...kernels.vectors import exchange, fma, fnma, jit, load, size, splat, store
from .tables import X_LIKE


@jit
def _exchanged(vector, distance):
    """Exchange the elements of a vector whose places differ by a mask."""
    if distance & 1:
        vector = exchange(vector, 1)
    if distance & 2:
        vector = exchange(vector, 2)
    if distance & 4:
        vector = exchange(vector, 4)
    if distance & 8:
        vector = exchange(vector, 8)
    return vector


def _compiled_mix(only: int | None) -> Callable[..., None]:
    """Return what mixes the vectors of a block if elements are exchanged by one distance, or any.

    A distance that is known when it is compiled costs one instruction.
    """

    @jit
    @name_apart(only)
    def exchanged(vector, distance):
        if only is None:
            return _exchanged(vector, distance)
        return exchange(vector, only)

    @jit
    @name_apart(only)
    def mix(block, count, gate, flip, signs, c, s, sums, wanted):
        width, rows, within = size(block), gate.rows, gate.within
        comp, first, is_x = rows * W, gate.signs_at, gate.kind == X_LIKE
        distance, high = gate.shift & (width - 1), gate.shift & ~(width - 1)
        minus = splat(block, -1.0)
        alone = gate.within == 0 and high == 0  # a vector is mixed with itself
        for lane in range(0, W, width):
            other = lane ^ high
            if other < lane:
                continue
            cos = load(c, gate.at + lane)
            # What X or Y multiplies real and imaginary parts by, sines being of P's own signs.
            t, u = load(s, gate.at + lane), load(s, gate.at + other)
            here, there = splat(sums, 0.0), splat(sums, 0.0)
            for k in range(rows):
                j = k ^ within
                if other == lane and j < k:
                    continue
                mine, its = signs[first + k], signs[first + j]
                a = t * splat(block, flip * mine)
                b = u * splat(block, flip * its)
                p, q = k * W + lane, j * W + other
                if wanted:  # of ket and bra
                    kr = exchanged(load(block, q), distance)
                    ki = exchanged(load(block, comp + q), distance)
                    lr, li = load(block, 2 * comp + p), load(block, 3 * comp + p)
                    dot = fnma(li, kr, lr * ki) if is_x else minus * fma(li, ki, lr * kr)
                    here = fma(splat(sums, mine), dot, here)
                    if not alone:
                        kr = exchanged(load(block, p), distance)
                        ki = exchanged(load(block, comp + p), distance)
                        lr, li = load(block, 2 * comp + q), load(block, 3 * comp + q)
                        dot = fnma(li, kr, lr * ki) if is_x else minus * fma(li, ki, lr * kr)
                        there = fma(splat(sums, its), dot, there)
                for v in range(count):
                    re, im = 2 * v * comp, (2 * v + 1) * comp
                    ar, ai = load(block, re + p), load(block, im + p)
                    br, bi = load(block, re + q), load(block, im + q)
                    if not alone:
                        mr, mi = exchanged(ar, distance), exchanged(ai, distance)
                        if is_x:
                            store(block, re + q, fma(b, mi, cos * br))
                            store(block, im + q, fnma(b, mr, cos * bi))
                        else:
                            store(block, re + q, fnma(b, mr, cos * br))
                            store(block, im + q, fnma(b, mi, cos * bi))
                    nr, ni = exchanged(br, distance), exchanged(bi, distance)
                    if is_x:
                        store(block, re + p, fma(a, ni, cos * ar))
                        store(block, im + p, fnma(a, nr, cos * ai))
                    else:
                        store(block, re + p, fnma(a, nr, cos * ar))
                        store(block, im + p, fnma(a, ni, cos * ai))
            if wanted:
                way = splat(sums, -flip)  # the rotation is being undone
                total = load(sums, gate.at + lane)
                store(sums, gate.at + lane, fma(way, here, total))
                total = load(sums, gate.at + other)
                store(sums, gate.at + other, fma(way, there, total))

    return mix


_by_any, _by_none = _compiled_mix(None), _compiled_mix(0)
_by_1, _by_2, _by_4, _by_8 = (_compiled_mix(distance) for distance in (1, 2, 4, 8))


@jit
def mix_lanes(block, count, gate, flip, signs, c, s, sums, wanted):
    """Apply a rotation to ``count`` vectors of a block; ``-flip`` undoes it.

    If it is wanted, the vectors are ket and bra, the rotation is being undone, and
    ``Im <bra|P|ket>`` is added to the sums, sign of the lanes left out.
    """
    distance = gate.shift & (size(block) - 1)
    if distance == 0:
        _by_none(block, count, gate, flip, signs, c, s, sums, wanted)
    elif distance == 1:
        _by_1(block, count, gate, flip, signs, c, s, sums, wanted)
    elif distance == 2:
        _by_2(block, count, gate, flip, signs, c, s, sums, wanted)
    elif distance == 4:
        _by_4(block, count, gate, flip, signs, c, s, sums, wanted)
    elif distance == 8:
        _by_8(block, count, gate, flip, signs, c, s, sums, wanted)
    else:
        _by_any(block, count, gate, flip, signs, c, s, sums, wanted)


@jit
def generate_across(block, out, source, gate, flip, signs, h):
    """Do what :func:`generate` does for a rotation that displaces lanes."""
    width, comp = size(block), gate.rows * W
    distance = gate.shift & (width - 1)
    mask = (gate.within * W + gate.shift) // width
    first, at = gate.signs_at, gate.at
    o, s = 2 * out * comp, 2 * source * comp
    for i in range(0, comp, width):
        j = i ^ mask * width
        t = load(h, at + (i & (W - 1))) * splat(h, flip * signs[first + i // W])
        br = _exchanged(load(block, s + j), distance)
        bi = _exchanged(load(block, s + comp + j), distance)
        ar, ai = load(block, o + i), load(block, o + comp + i)
        if gate.kind == X_LIKE:
            store(block, o + i, fma(t, bi, ar))
            store(block, o + comp + i, fnma(t, br, ai))
        else:
            store(block, o + i, fnma(t, br, ar))
            store(block, o + comp + i, fnma(t, bi, ai))


@jit
def inner_across(block, bra, ket, gate, flip, signs, sums):
    """Do what :func:`inner` does for a rotation that displaces lanes."""
    width, comp = size(block), gate.rows * W
    distance = gate.shift & (width - 1)
    mask = (gate.within * W + gate.shift) // width
    first, at = gate.signs_at, gate.at
    b, k = 2 * bra * comp, 2 * ket * comp
    for lane in range(0, W, width):
        total = splat(sums, 0.0)
        for i in range(lane, comp, W):
            j = i ^ mask * width
            br = _exchanged(load(block, k + j), distance)
            bi = _exchanged(load(block, k + comp + j), distance)
            lr, li = load(block, b + i), load(block, b + comp + i)
            if gate.kind == X_LIKE:
                dot = fnma(li, br, lr * bi)
            else:
                dot = splat(sums, 0.0) - fma(li, bi, lr * br)
            total = fma(splat(sums, signs[first + i // W]), dot, total)
        store(sums, at + lane, fma(splat(sums, flip), total, load(sums, at + lane)))
