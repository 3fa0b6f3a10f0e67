# SPDX-License-Identifier: Apache-2.0
"""Sine and cosine of many angles, written so that the compiler makes vector instructions of it.

The angle is reduced to an eighth of a turn around zero by a multiple of pi/2 in three parts
(W. J. Cody and W. Waite, Software Manual for the Elementary Functions, 1980), and there the
polynomials of S. Moshier's Cephes library (1989) give both functions to about one unit in the last
place.
"""

from __future__ import annotations

import math

from .basics import jit

PART_1 = 1.57079632673412561417
PART_2 = 6.07710050630396597660e-11
PART_3 = 2.02226624879595063154e-21
LARGEST = 1e5  # beyond it the reduction by three parts loses accuracy


@jit
def sine_and_cosine(angles, sines, cosines, count):
    """Fill in sines and cosines of the first ``count`` angles; false if one is not finite."""
    for i in range(count):
        a = angles[i]
        n = math.floor(a * (2 / math.pi) + 0.5)
        r = ((a - n * PART_1) - n * PART_2) - n * PART_3
        z = r * r
        s = r + r * z * (
            -1.66666666666666307295e-1
            + z * (8.33333333332211858878e-3
            + z * (-1.98412698295895385996e-4
            + z * (2.75573136213857245213e-6
            + z * (-2.50507477628578072866e-8
            + z * 1.58962301576546568060e-10))))
        )  # fmt: skip
        c = 1 - 0.5 * z + z * z * (
            4.16666666666665929218e-2
            + z * (-1.38888888888730564116e-3
            + z * (2.48015872888517045348e-5
            + z * (-2.75573141792967388112e-7
            + z * (2.08757008419747316778e-9
            - z * 1.13585365213876817300e-11))))
        )  # fmt: skip
        q = n - 4 * math.floor(n * 0.25)
        swapped = (q == 1.0) | (q == 3.0)
        sine, cosine = c if swapped else s, s if swapped else c
        sines[i] = sine * (-1.0 if q >= 2.0 else 1.0)
        cosines[i] = cosine * (-1.0 if (q == 1.0) | (q == 2.0) else 1.0)
    near = True
    for i in range(count):
        near = near and abs(angles[i]) <= LARGEST  # false for a NaN
    finite = True
    if not near:
        for i in range(count):
            finite = finite and math.isfinite(angles[i])
            sines[i], cosines[i] = math.sin(angles[i]), math.cos(angles[i])
    return finite
