# SPDX-License-Identifier: Apache-2.0
"""What Python and all compiled kernels agree on: values, angles, threads, and how tables travel.

Tables go to the kernels together: an array of whole numbers and one of floating numbers hold all
that belongs to one layout, and two more what belongs to one program. A call from Python pays for
each argument, however small it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...arrays import FloatArray, IntArray

LANES = 32
"""Numbers that a kernel handles side by side: a row of a block."""

PATIENCE = 1000
"""Looks at a barrier after which a thread lets others have its core."""

ARRIVALS, STOP = 0, 8
"""Where the signals of a pass have the arrivals at barriers, and whether to give the pass up.

They are a cache line apart: the one is written all the time, the other one only read."""

SIGNALS = 9
"""How many numbers the signals are."""


class Sources(NamedTuple):
    """From which input or weight each rotation's angle comes: a sparse affine map by rows.

    Entry ``e`` of slot ``a``, ``starts[a] <= e < starts[a + 1]``, adds ``coefficients[e]`` times
    input ``columns[e]``, or weight ``columns[e] - I``, to ``offsets[a]``.
    """

    starts: IntArray
    columns: IntArray
    coefficients: FloatArray
    offsets: FloatArray


class Values(NamedTuple):
    """Inputs and weights of a whole batch, and their tangents."""

    x: FloatArray
    w: FloatArray
    dx: FloatArray
    dw: FloatArray


class Chunk(NamedTuple):
    """Rows of the batch that lie side by side: the first one, and how many there are."""

    begin: int
    rows: int


class Share(NamedTuple):
    """Which of how many threads this is, if they share chunks, and how they reach each other."""

    part: int
    parts: int
    signals: IntArray


def pack(numbers: Sequence[int], tables: Sequence[Any]) -> tuple[IntArray, FloatArray]:
    """Put numbers and tables into one array of whole numbers and one of floating numbers.

    The former begins with the numbers, and with the bounds of each table.
    """
    ints: list[IntArray] = []
    floats: list[FloatArray] = [np.zeros(0)]
    bounds: list[int] = []
    num_ints, num_floats = len(numbers) + 2 * len(tables), 0
    for table in tables:
        if table.dtype.kind == "f":
            floats.append(table)
            bounds += [num_floats, num_floats + len(table)]
            num_floats = bounds[-1]
        else:
            ints.append(np.ascontiguousarray(table).view(np.int64))
            bounds += [num_ints, num_ints + len(ints[-1])]
            num_ints = bounds[-1]
    header = np.array([*numbers, *bounds], dtype=np.int64)
    return np.concatenate([header, *ints]), np.concatenate(floats)
