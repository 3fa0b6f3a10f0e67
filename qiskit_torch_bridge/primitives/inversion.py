# SPDX-License-Identifier: Apache-2.0
"""The compiled loop that turns uniform numbers into outcomes; imported when it is first called."""

from __future__ import annotations

import numpy as np

from ..arrays import FloatArray, IntArray
from ..simulation.kernels.disk_cache import compile_on_call

CELLS_PER_OUTCOME = 16
"""The most cells for each outcome that the numbers from 0 to 1 are divided into."""


@compile_on_call()
def invert(probabilities: FloatArray, uniform: FloatArray, outcomes: IntArray) -> None:
    r"""Write the outcomes at which the cumulative probability passes each of ``uniform``.

    The numbers from 0 to 1 are divided into cells, about as many as there are shots, and for each
    cell the outcome is found at which it begins. The search for a number then takes as many steps
    on average as there are outcomes to a cell, whatever the probabilities (H.-C. Chen & Y. Asau,
    AIIE Trans. 6, 163 (1974)).

    Args:
        probabilities: Of a power of two of outcomes, in any unit, ``(N, S)``.
        uniform: From 0 to below 1, ``(N, shots)``.
        outcomes: Where they go, ``(N, shots)``.
    """
    size = probabilities.shape[1]
    cells = CELLS_PER_OUTCOME * size
    while cells > max(uniform.shape[1], 1):
        cells //= 2
    cumulative, begins = np.empty(size), np.empty(cells, np.int64)
    for row in range(len(uniform)):
        total, last = 0.0, 0
        for outcome in range(size):
            total += probabilities[row, outcome]
            cumulative[outcome] = total
            if probabilities[row, outcome] > 0:
                last = outcome
        outcome = 0
        for cell in range(cells):
            while outcome < last and cumulative[outcome] <= total * (cell / cells):
                outcome += 1
            begins[cell] = outcome
        for shot in range(uniform.shape[1]):
            number = uniform[row, shot]
            outcome = begins[int(number * cells)]
            while outcome < last and cumulative[outcome] <= total * number:
                outcome += 1
            outcomes[row, shot] = outcome
