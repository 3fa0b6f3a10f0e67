# SPDX-License-Identifier: Apache-2.0
"""Products of matrices in the buffer of a row, with their tangents by the product rule."""

from __future__ import annotations

from ...kernels.vectors import fma, fnma, jit
from .numbers import constant, get, load, put, spread, store, width


@jit
def _product(z, q, c, sc, a, ai, ak, b, sb, rows, inner, count, conj_a, conj_b, adds):
    """Put ``A B``, or add it, to ``C``: rows of ``B`` and ``C`` are contiguous, ``A`` is not."""
    step, zero = width(z), spread(z, constant(z, 0.0))
    flips = conj_a != conj_b  # A conj(B) is the conjugate of conj(A) B
    for j in range(0, count, step):
        i = 0
        while i + 4 <= rows:
            c0, a0 = c + i * sc + j, a + i * ai
            c1, c2, c3 = c0 + sc, c0 + 2 * sc, c0 + 3 * sc
            a1, a2, a3 = a0 + ai, a0 + 2 * ai, a0 + 3 * ai
            r0, r1, r2, r3, i0, i1, i2, i3 = zero, zero, zero, zero, zero, zero, zero, zero
            for k in range(inner):
                br, bi = load(z, b + k * sb + j), load(z, b + q + k * sb + j)
                x, y = _factor(z, q, a0 + k * ak, flips)
                r0, i0 = fnma(y, bi, fma(x, br, r0)), fma(y, br, fma(x, bi, i0))
                x, y = _factor(z, q, a1 + k * ak, flips)
                r1, i1 = fnma(y, bi, fma(x, br, r1)), fma(y, br, fma(x, bi, i1))
                x, y = _factor(z, q, a2 + k * ak, flips)
                r2, i2 = fnma(y, bi, fma(x, br, r2)), fma(y, br, fma(x, bi, i2))
                x, y = _factor(z, q, a3 + k * ak, flips)
                r3, i3 = fnma(y, bi, fma(x, br, r3)), fma(y, br, fma(x, bi, i3))
            _put(z, q, c0, r0, i0, conj_b, adds)
            _put(z, q, c1, r1, i1, conj_b, adds)
            _put(z, q, c2, r2, i2, conj_b, adds)
            _put(z, q, c3, r3, i3, conj_b, adds)
            i += 4
        while i < rows:
            a0 = a + i * ai
            r0, i0 = zero, zero
            for k in range(inner):
                br, bi = load(z, b + k * sb + j), load(z, b + q + k * sb + j)
                x, y = _factor(z, q, a0 + k * ak, flips)
                r0, i0 = fnma(y, bi, fma(x, br, r0)), fma(y, br, fma(x, bi, i0))
            _put(z, q, c + i * sc + j, r0, i0, conj_b, adds)
            i += 1


@jit
def _factor(z, q, at, flips):
    """Vectors of the real and the imaginary part of a number, or of its conjugate."""
    imaginary = get(z, at + q)
    return spread(z, get(z, at)), spread(z, constant(z, 0.0) - imaginary if flips else imaginary)


@jit
def _put(z, q, at, real, imaginary, conjugate, adds):
    if adds:
        real = load(z, at) + real
        old = load(z, at + q)
        imaginary = old - imaginary if conjugate else old + imaginary
    elif conjugate:
        imaginary = spread(z, constant(z, 0.0)) - imaginary
    store(z, at, real)
    store(z, at + q, imaginary)


@jit
def multiply(  # noqa: D417
    z, q, tangent, c, sc, a, ai, ak, b, sb, rows, inner, count, conj_a, conj_b, adds
):  # fmt: skip
    r"""Put :math:`A B`, or add it, to :math:`C`, and likewise the tangent.

    Args:
        z: The buffer, and ``q`` the length of its parts.
        tangent: Whether there are tangents.
        c, sc: Where ``C`` starts, and how far its rows are apart.
        a, ai, ak: Where ``A`` starts, and how far its rows and its columns are apart.
        b, sb: Where ``B`` starts, and how far its rows are apart.
        rows, inner, count: ``C`` is ``(rows, count)``, the latter a number of whole vectors.
        conj_a, conj_b: Which of the two to take the conjugate of.
        adds: Whether to add to what ``C`` holds.
    """
    terms = 3 if tangent else 1
    for term in range(terms):  # one call, so that it is compiled once
        moved_c, moved_a = (2 * q if term > 0 else 0), (2 * q if term == 1 else 0)
        moved_b = 2 * q if term == 2 else 0
        _product(
            z, q, c + moved_c, sc, a + moved_a, ai, ak, b + moved_b, sb, rows, inner, count,
            conj_a, conj_b, adds or term == 2,
        )  # fmt: skip


@jit
def _small(z, q, c, a, b, transposed_a, transposed_b, adds):
    for i in range(2):
        for j in range(2):
            real, imaginary = constant(z, 0.0), constant(z, 0.0)
            if adds:
                real, imaginary = real + get(z, c + 2 * i + j), real + get(z, c + q + 2 * i + j)
            for k in range(2):
                m = a + (2 * k + i if transposed_a else 2 * i + k)
                n = b + (2 * j + k if transposed_b else 2 * k + j)
                real = real + (get(z, m) * get(z, n) - get(z, m + q) * get(z, n + q))
                imaginary = imaginary + (get(z, m) * get(z, n + q) + get(z, m + q) * get(z, n))
            put(z, c + 2 * i + j, real)
            put(z, c + q + 2 * i + j, imaginary)


@jit
def multiply_small(z, q, tangent, c, a, b, transposed_a, transposed_b, adds):
    """Multiply matrices of two rows and columns, ``C`` another place than ``A`` and ``B``."""
    for term in range(3 if tangent else 1):
        moved_c, moved_a = (2 * q if term > 0 else 0), (2 * q if term == 1 else 0)
        moved_b = 2 * q if term == 2 else 0
        _small(z, q, c + moved_c, a + moved_a, b + moved_b, transposed_a, transposed_b,
               adds or term == 2)  # fmt: skip


@jit
def fill(z, q, tangent, at, count):
    """Put zeros."""
    for part in range(4 if tangent else 2):
        for i in range(at + part * q, at + part * q + count):
            put(z, i, constant(z, 0.0))


@jit
def copy(z, q, tangent, out, at, count):
    """Copy numbers to where nothing of them lies."""
    for part in range(4 if tangent else 2):
        for i in range(count):
            put(z, out + part * q + i, get(z, at + part * q + i))


@jit
def _mix(z, q, out, at, letters, letter, transposed, weight, rows, stride):
    for to in range(2):
        for source in range(2):
            entry = 8 * letter + 2 * (2 * source + to if transposed else 2 * to + source)
            if letters[entry] != 0:
                x = spread(z, weight * constant(z, letters[entry]))
                for row in range(rows):
                    p, o = at + (2 * row + source) * stride, out + (2 * row + to) * stride
                    for j in range(0, stride, width(z)):
                        store(z, o + j, fma(x, load(z, p + j), load(z, o + j)))
                        store(z, o + q + j, fma(x, load(z, p + q + j), load(z, o + q + j)))
            if letters[entry + 1] != 0:
                x = spread(z, weight * constant(z, letters[entry + 1]))
                for row in range(rows):
                    p, o = at + (2 * row + source) * stride, out + (2 * row + to) * stride
                    for j in range(0, stride, width(z)):
                        store(z, o + j, fnma(x, load(z, p + q + j), load(z, o + j)))
                        store(z, o + q + j, fma(x, load(z, p + j), load(z, o + q + j)))


@jit
def mix(z, q, tangent, out, at, letters, letter, transposed, weight_at, rows, stride):
    """Add a letter applied to the middle index of ``(rows, 2, stride)``, times a string's weight.

    Where no weight is (a negative place) it is one.
    """
    for term in range(3 if tangent else 1):
        weight = constant(z, 1.0)
        if weight_at >= 0:
            weight = get(z, weight_at + (2 * q if term == 1 else 0)) * weight
        elif term == 1:
            continue
        _mix(z, q, out + (2 * q if term > 0 else 0), at + (2 * q if term == 2 else 0), letters,
             letter, transposed, weight, rows, stride)  # fmt: skip


@jit
def _inner(z, q, out, a, b, rows, stride, length):
    for s in range(2):
        for t in range(2):
            real, imaginary = constant(z, 0.0), constant(z, 0.0)
            for row in range(rows):
                m, n = a + (2 * row + s) * stride, b + (2 * row + t) * stride
                for r in range(m, m + length):
                    p = n + r - m
                    real = real + (get(z, r) * get(z, p) - get(z, r + q) * get(z, p + q))
                    imaginary = imaginary + (get(z, r) * get(z, p + q) + get(z, r + q) * get(z, p))
            put(z, out + 2 * s + t, get(z, out + 2 * s + t) + real)
            put(z, out + q + 2 * s + t, get(z, out + q + 2 * s + t) + imaginary)


@jit
def inner(z, q, tangent, out, a, b, rows, stride, length):
    r"""Put the matrix of the sums :math:`\sum_{l,r} A[l, s, r] B[l, t, r]`, or its tangent."""
    fill(z, q, q < 0, out, 4)
    for term in range(2 if tangent else 1):
        moved_a = 2 * q if tangent and term == 0 else 0
        moved_b = 2 * q if term == 1 else 0
        _inner(z, q, out, a + moved_a, b + moved_b, rows, stride, length)
