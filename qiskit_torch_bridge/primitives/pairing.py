# SPDX-License-Identifier: Apache-2.0
"""Which observables are asked for at which points, after broadcasting one against the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..arrays import IntArray


class Block(NamedTuple):
    """Points at which the same observables are asked for, each of these at each of those.

    Attributes:
        points: Ascending, shape ``(N,)``.
        observables: Ascending, shape ``(O,)``.
        places: Where in the flattened result this block's values go, shape ``(K,)``.
        rows: Which of ``points`` belongs to each place.
        columns: Which of ``observables`` belongs to each place.
    """

    points: IntArray
    observables: IntArray
    places: IntArray
    rows: IntArray
    columns: IntArray


def blocks_of(points_shape: tuple[int, ...], index: IntArray, count: int) -> list[Block]:
    """Broadcast an array of points against one of observables and split the result into blocks.

    Args:
        points_shape: The shape of the points, which count in C order.
        index: Which observable stands where.
        count: How many different ones there are.
    """
    num_points = math.prod(points_shape)
    numbers = np.arange(num_points).reshape(points_shape)
    point, observable = (a.ravel() for a in np.broadcast_arrays(numbers, index))
    if not point.size:
        return []
    if point.size >= num_points * count:
        asked = np.zeros((num_points, count), dtype=bool)
        asked[point, observable] = True
        if asked.all():
            everything = np.arange(num_points), np.arange(count), np.arange(point.size)
            return [Block(*everything, point, observable)]
    return _split(point, observable, num_points, count)


def merged(blocks: Sequence[Block]) -> Block:
    """Return one block of all points and all observables, of which only some values are asked."""
    return Block(
        np.unique(np.concatenate([b.points for b in blocks])),
        np.unique(np.concatenate([b.observables for b in blocks])),
        np.concatenate([b.places for b in blocks]),
        np.concatenate([b.points[b.rows] for b in blocks]),
        np.concatenate([b.observables[b.columns] for b in blocks]),
    )


def _split(point: IntArray, observable: IntArray, num_points: int, count: int) -> list[Block]:
    codes = np.unique(point * count + observable)
    starts = np.flatnonzero(np.diff(codes // count, prepend=-1))
    members: dict[bytes, list[int]] = {}
    for p, asked in enumerate(np.split(codes % count, starts[1:])):
        members.setdefault(asked.tobytes(), []).append(p)
    block_of = np.empty(num_points, dtype=np.int64)
    row_of = np.empty(num_points, dtype=np.int64)
    for b, points in enumerate(members.values()):
        block_of[points] = b
        row_of[points] = np.arange(len(points))
    order = np.argsort(block_of[point], kind="stable")
    ends = np.cumsum(np.bincount(block_of[point], minlength=len(members)))
    blocks = []
    for (key, points), places in zip(members.items(), np.split(order, ends[:-1]), strict=True):
        observables = np.frombuffer(key, dtype=np.int64)
        columns = np.searchsorted(observables, observable[places])
        blocks.append(Block(np.array(points), observables, places, row_of[point[places]], columns))
    return blocks
