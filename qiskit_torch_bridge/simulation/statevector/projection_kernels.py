# SPDX-License-Identifier: Apache-2.0
"""The kernels of products of projectors: walks over what they leave of a state."""

from __future__ import annotations

import numpy as np

from .basics import jit, odd, stopped
from .vectors import popcount

ASKED = 1 << 10
"""Orbits after which it is asked whether anybody still wants the results."""


@jit
def _lowest(number):
    """The place of the lowest bit that is set: which direction a walk takes next."""
    return popcount((number & -number) - 1)


@jit
def _cosine(power):
    """The real part of a power of i."""
    return (1 - (power & 2)) * (1 - (power & 1))


@jit
def _sine(power):
    """The imaginary part of a power of i."""
    return (1 - (power & 2)) * (power & 1)


@jit
def _walk(state, ket, bra, applied, dim, rows_t, term, view, directions, re, im, weights, sums,
          signals):  # fmt: skip
    """Walk over the orbits of one term.

    The vector that begins at ``ket`` is projected and multiplied by the string. The result is added
    to the vector at ``bra``, with a weight for each row, or the product with it to ``sums``.
    """
    i, signs = term[1], term[2]
    x, z, k = term[3], term[4], term[5]
    start, middle, stop = view[0], view[1], view[2]
    size = 1 << (stop - middle)
    for orbit in range(1 << (middle - start)):
        if orbit & (ASKED - 1) == ASKED - 1 and stopped(signals):
            return
        if orbit:
            i ^= directions[start + _lowest(orbit), 0]
        for t in range(rows_t):
            re[t] = 0.0
            im[t] = 0.0
        power = 0
        for turn in range(2 * size):
            element = turn & (size - 1)
            if turn and size > 1:
                # The Gray code of the elements, which closes with the last direction.
                j = _lowest(element) if element else stop - middle - 1
                power += directions[middle + j, 2] + 2 * (signs >> j & 1)
                power += 2 * odd(i & directions[middle + j, 1])
                i ^= directions[middle + j, 0]
            if turn < size:
                c, s, at = _cosine(power), _sine(power), ket + i * rows_t
                for t in range(rows_t):
                    a, b = state[at + t], state[dim + at + t]
                    re[t] += c * a + s * b
                    im[t] += c * b - s * a
                continue
            total = power + k + 2 * odd(i & z)
            c, s, at = _cosine(total), _sine(total), bra + (i ^ x) * rows_t
            if applied:
                for t in range(rows_t):
                    state[at + t] += weights[t] * (c * re[t] - s * im[t])
                    state[dim + at + t] += weights[t] * (s * re[t] + c * im[t])
            else:
                for t in range(rows_t):
                    a, b = state[at + t], state[dim + at + t]
                    sums[t] += a * (c * re[t] - s * im[t]) + b * (s * re[t] + c * im[t])
        if size > 1:  # back to where the orbit was entered
            i ^= directions[stop - 1, 0]


@jit
def expect_projections(state, tangent, dim, rows_t, begin, count, views, directions, terms,
                       strengths, evs, signals):  # fmt: skip
    """Add the expectation values of products of projectors, or their derivatives."""
    bra, factor = (2 * dim, 2.0) if tangent else (0, 1.0)
    re, im, sums = np.empty(rows_t), np.empty(rows_t), np.empty(rows_t)
    for p in range(len(terms)):
        for t in range(rows_t):
            sums[t] = 0.0
        _walk(state, 0, bra, False, dim, rows_t, terms[p], views[terms[p, 0]], directions, re, im,
              re, sums, signals)  # fmt: skip
        if stopped(signals):
            return
        for t in range(count):
            evs[begin + t, terms[p, 6]] += factor * strengths[p] * sums[t]


@jit
def observe_projections(state, out, source, cotangent, dim, rows_t, begin, count, views,
                        directions, terms, strengths, signals):  # fmt: skip
    """Add products of projectors, weighed by the cotangent, on vector ``source`` to ``out``."""
    re, im, weights = np.empty(rows_t), np.empty(rows_t), np.zeros(rows_t)
    for p in range(len(terms)):
        for t in range(count):
            weights[t] = strengths[p] * cotangent[begin + t, terms[p, 6]]
        _walk(state, 2 * source * dim, 2 * out * dim, True, dim, rows_t, terms[p],
              views[terms[p, 0]], directions, re, im, weights, re, signals)  # fmt: skip
        if stopped(signals):
            return
