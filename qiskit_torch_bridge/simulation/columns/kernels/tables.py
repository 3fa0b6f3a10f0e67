# SPDX-License-Identifier: Apache-2.0
"""What Python and the kernels of column networks agree on: records, and where numbers are.

All complex numbers of a row, or of rows side by side, live in one buffer of four parts of equal
length ``q``: real parts, imaginary parts, and the same of tangents. A place in the first part
stands for all four.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ....arrays import FloatArray, IntArray

FORWARD, ADJOINT, COLUMNS = range(3)
"""What a pass computes; each also exists with tangents."""

NUMBERS = 1
"""Numbers before the bounds of the tables; see :func:`.pack`."""


def _record(*fields: str) -> np.dtype[np.void]:
    return np.dtype([(field, np.int64) for field in fields], align=True)


SITE = _record(
    "left", "right",  # dimensions of the cuts beside it
    "left_stride", "right_stride",  # from row to row of matrices whose columns they number
    "column_at",  # where its column K starts in the buffer
    "first_step", "last_step",  # up to before the last
    "places_at", "lattice",  # where the numbers of its state go, and how many
    "wires_at", "wires",  # what is added to them, and how often
    "first_edge", "last_edge",
    "ends",  # whether a string ends here
    "half_at",  # its column times the right environment of strings that have ended
    "states_at", "state_size",  # left environments of nodes times its column, one after the other
)  # fmt: skip
"""A site and its column."""

CUT = _record("nodes", "done", "left_at", "right_at", "size")
"""A cut: its nodes, whether strings have ended before it, where its left and its right environments
start, one after the other, the one of ended strings last, and the numbers in each."""

STEP = _record(
    "first_factor", "last_factor", "blocks", "slot", "matrices_at", "length", "merged", "merge_at"
)  # fmt: skip
"""A step of a column: its turns, its blocks, the slot of their weights or -1, the first of its
matrices among those of all steps, and the length of the blocks. One that merges has no turns and no
matrices, but the number of the blocks before it, and the place of coefficients."""

FACTOR = _record("slot", "letter", "matrix")
"""A turn of a site; without a slot a fixed matrix, the number of it."""

EDGE = _record("source", "letter", "target", "string")
"""An edge of the automaton, sorted by source."""

AREA = _record(
    "quarter",  # the length of each part of the buffer
    "keeps",  # whether each site and each cut have places of their own for what belongs to them
    "factors_at", "products_at",  # of all turns: matrices, and products up to each of them
    "weighted_at", "matrices_at", "turned_at",  # of all blocks: weighted, complete, cotangents
    "small_at",  # for matrices of two rows
    "angles_at", "bars_at",  # cosine and sine of half of each angle as one number; cotangents
    "weights_at", "found_at",  # of each string: its weight in the sum of observables, its value
    "x_at", "y_at", "mixed_at", "sum_at", "done_at", "transposed_at", "cotangent_at",
    "history_at", "planes_at", "other_planes_at",
)  # fmt: skip
"""Where everything is in the buffer."""


class Tables(NamedTuple):
    """A network, and what is read of it.

    Attributes:
        sites: Shape ``(n,)`` of :data:`SITE`.
        cuts: Shape ``(n + 1,)`` of :data:`CUT`.
        steps: Of all sites, :data:`STEP`.
        factors: Of all steps, :data:`FACTOR`.
        edges: Of all sites, :data:`EDGE`.
        area: One :data:`AREA`.
        places: Places in columns, of all sites.
        starts: Where the strings of each observable start, ``(O + 1,)``.
        strings: Which ones they are.
        weights: With which coefficients.
        fixed: Fixed matrices of turns, eight numbers each, and coefficients of merged blocks.
        blocks: Those of steps.
        letters: Those of letters.
    """

    sites: Any
    cuts: Any
    steps: Any
    factors: Any
    edges: Any
    area: Any
    places: IntArray
    starts: IntArray
    strings: IntArray
    weights: FloatArray
    fixed: FloatArray
    blocks: FloatArray
    letters: FloatArray
