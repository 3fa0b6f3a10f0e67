# SPDX-License-Identifier: Apache-2.0
"""Sines and cosines of many angles, vector by vector.

The angle is reduced to half a turn around zero by a multiple of pi in three parts (W. J. Cody and
W. Waite, Software Manual for the Elementary Functions, 1980). Of half of what is left, the
polynomials of S. Moshier's Cephes library (1989) give both functions to about one unit in the last
place, and the formulas of the double angle give them to about two.
"""

from __future__ import annotations

import math

import numpy as np

from .vectors import fma, fnma, jit, load, size, splat, store

HALF_TURN = 1 / math.pi
AWAY = 1.5 * 2.0**52
"""Added to a number and taken away again, it leaves the nearest whole number."""

PART_1 = 1.57079632673412561417
PART_2 = 6.07710050630396597660e-11
PART_3 = 2.02226624879595063154e-21
"""Their sum is pi / 2; the first two have so few digits that multiples of them are exact."""

LARGEST = 1e5
"""Beyond it the reduction by three parts loses accuracy."""


@jit
def sine_and_cosine(angles, sines, cosines, count):
    """Fill in sines and cosines of the first ``count`` angles; false if one is not finite.

    All are in double precision; ``sines`` may be ``angles``.
    """
    width = size(angles)
    whole, squares = count - count % width, 0.0
    if whole:
        total = splat(angles, 0.0)
        for i in range(0, whole, width):
            total = fma(load(angles, i), load(angles, i), total)
        store(cosines, 0, total)
        for i in range(width):
            squares += cosines[i]
    for i in range(whole, count):
        squares += angles[i] * angles[i]
    if not squares <= LARGEST * LARGEST:  # some are far away, or no numbers
        finite = True
        for i in range(count):
            a = angles[i]
            finite = finite and math.isfinite(a)
            sines[i], cosines[i] = math.sin(a), math.cos(a)
        return finite
    for i in range(0, whole, width):
        s, c = _of_vector(angles, load(angles, i))
        store(sines, i, s)
        store(cosines, i, c)
    if whole < count:  # as in a vector, so that rounding does not depend on the place
        rest = np.zeros(2 * width)
        rest[: count - whole] = angles[whole:count]
        s, c = _of_vector(angles, load(rest, 0))
        store(rest, 0, s)
        store(rest, width, c)
        sines[whole:count] = rest[: count - whole]
        cosines[whole:count] = rest[width : width + count - whole]
    return True


@jit
def _of_vector(like, a):
    """Return sines and cosines of a vector."""
    one, two = splat(like, 1.0), splat(like, 2.0)
    half, away = splat(like, 0.5), splat(like, AWAY)
    n = fma(a, splat(like, HALF_TURN), away) - away
    r = fnma(n, splat(like, PART_1), a * half)
    r = fnma(n, splat(like, PART_2), r)
    r = fnma(n, splat(like, PART_3), r)
    z = r * r
    s = splat(like, 1.58962301576546568060e-10)
    s = fma(z, s, splat(like, -2.50507477628578072866e-8))
    s = fma(z, s, splat(like, 2.75573136213857245213e-6))
    s = fma(z, s, splat(like, -1.98412698295895385996e-4))
    s = fma(z, s, splat(like, 8.33333333332211858878e-3))
    s = fma(z, s, splat(like, -1.66666666666666307295e-1))
    s = fma(r * z, s, r)
    c = splat(like, -1.13585365213876817300e-11)
    c = fma(z, c, splat(like, 2.08757008419747316778e-9))
    c = fma(z, c, splat(like, -2.75573141792967388112e-7))
    c = fma(z, c, splat(like, 2.48015872888517045348e-5))
    c = fma(z, c, splat(like, -1.38888888888730564116e-3))
    c = fma(z, c, splat(like, 4.16666666666665929218e-2))
    c = fma(z * z, c, fnma(half, z, one))
    odd = fnma(two, fma(n, half, away) - away, n)  # 1 or -1 where n is odd
    sign = fnma(two, odd * odd, one)
    return sign * two * s * c, sign * fnma(two * s, s, one)
