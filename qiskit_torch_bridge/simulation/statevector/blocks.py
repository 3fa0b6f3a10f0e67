# SPDX-License-Identifier: Apache-2.0
"""The kernels that act on one block: rotations, their generators, and inner products.

A block is a flat array: for each vector (ket, bra, ...) the real parts of ``rows`` rows of
``LANES`` numbers and then the imaginary ones. A rotation mixes the rows ``k`` and ``k ^ kx``;
``signs`` holds the signs of the rows, and ``flip`` the sign of the block as a whole.
"""

from __future__ import annotations

from .basics import jit
from .protocol import DIAGONAL, X_LIKE
from .protocol import LANES as W
from .vectors import fma, fnma, load, size, splat, store


@jit
def generate(block, out, source, kind, kx, signs, first, flip, rows, h, at):
    """Add ``-i h P`` applied to vector ``source`` of the block to its vector ``out``."""
    width, comp = size(block), rows * W
    o, s = 2 * out * comp, 2 * source * comp
    pivot = 1
    while 2 * pivot <= kx:
        pivot *= 2
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
                k = ((pair & ~(pivot - 1)) << 1) | (pair & (pivot - 1))
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
def rotate(block, count, kind, kx, signs, first, flip, rows, c, s, at):
    """Apply a rotation to ``count`` vectors of the block; ``-flip`` undoes it."""
    width, comp = size(block), rows * W
    pivot = 1
    while 2 * pivot <= kx:
        pivot *= 2
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
                    k = ((pair & ~(pivot - 1)) << 1) | (pair & (pivot - 1))
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
def inner(block, bra, ket, kind, kx, signs, first, flip, rows, sums, at):
    """Add ``Im <bra|P|ket>`` of the block to the sums, sign of the lanes left out."""
    width, comp = size(block), rows * W
    b, s = 2 * bra * comp, 2 * ket * comp
    pivot = 1
    while 2 * pivot <= kx:
        pivot *= 2
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
                k = ((pair & ~(pivot - 1)) << 1) | (pair & (pivot - 1))
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
def undo(block, kind, kx, signs, first, flip, rows, c, s, at, sums, wanted):
    """Undo a rotation of ket and bra and, in the same sweep, take ``Im <bra|P|ket>``."""
    width, comp = size(block), rows * W
    pivot = 1
    while 2 * pivot <= kx:
        pivot *= 2
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
                k = ((pair & ~(pivot - 1)) << 1) | (pair & (pivot - 1))
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
                k = ((pair & ~(pivot - 1)) << 1) | (pair & (pivot - 1))
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
