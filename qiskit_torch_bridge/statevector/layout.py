# SPDX-License-Identifier: Apache-2.0
"""A tape and its schedule written as the arrays that the kernels read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..arrays import FloatArray, IntArray
from .operations import FixedMatrix, Rotation
from .protocol import DIAGONAL, LANES, MATRIX, X_LIKE, Y_LIKE
from .schedule import Run, schedule

BLOCK_BITS = 5
"""Dimension of the subspaces: a block of ket and bra has 32 KiB, as the fastest cache."""

FULL = LANES.bit_length() - 1


@dataclass(frozen=True)
class Layout:
    """The schedule of one tape for one number ``T`` of rows side by side.

    Attributes:
        rows_t: The rows ``T`` of one chunk.
        dim: The numbers in one component of a vector, ``2**n * T``.
        runs: For each run: dimension, first and last operation, first offset, mask of the free
            bits, first lane, whether the lanes are the lowest bits, logarithm of the cosets.
        coset_offsets: Elements of the runs' subspaces.
        lanes: Elements spanned by the runs' lanes.
        operations: For each operation: kind, mask within the block, where its signs start, mask of
            its signs, whether its derivative is wanted, slot (of a matrix: its start), sign, mask
            of the lanes' signs.
        signs: For each operation the signs of the block's rows.
        matrices: Real and imaginary parts of all fixed matrices.
    """

    rows_t: int
    dim: int
    runs: IntArray
    coset_offsets: IntArray
    lanes: IntArray
    operations: IntArray
    signs: FloatArray
    matrices: FloatArray


def rows_side_by_side(rows: int, num_bits: int, widest_matrix: int) -> int:
    """Return ``T``: as many rows as there are, or more where the index has too few bits for lanes.

    The remaining lanes come from the index, at most half of the bits that no matrix needs.
    """
    wanted = min(LANES, 1 << max(rows - 1, 0).bit_length())
    most_lane_bits = max(0, (num_bits - max(widest_matrix, 1)) // 2)
    return max(wanted, LANES >> min(FULL, most_lane_bits))


def lay_out(
    operations: Sequence[Rotation | FixedMatrix], wanted: Sequence[bool], num_bits: int, rows_t: int
) -> Layout:
    """Schedule operations, of which ``wanted`` need derivatives, for chunks of ``rows_t`` rows."""
    lane_bits = (LANES // rows_t).bit_length() - 1
    runs = schedule(operations, num_bits, lane_bits, BLOCK_BITS)
    slot_of: dict[int, int] = {}
    for position, operation in enumerate(operations):
        if isinstance(operation, Rotation):
            slot_of[position] = len(slot_of)
    run_rows: list[tuple[int, ...]] = []
    rows: list[tuple[int, ...]] = []
    offsets: list[int] = []
    lanes: list[int] = []
    signs: list[float] = []
    matrices: list[FloatArray] = []
    for run in runs:
        free = run.free_bits(num_bits)
        run_rows.append(
            (
                len(run.basis),
                len(rows),
                len(rows) + len(run.operations),
                len(offsets),
                free,
                len(lanes),
                int(run.lanes == tuple(range(lane_bits))),
                free.bit_count(),
            )
        )
        offsets += _span(run.basis)
        lane_basis = [1 << b for b in run.lanes]
        lanes += _span(lane_basis)
        for position in run.operations:
            operation = operations[position]
            if isinstance(operation, FixedMatrix):
                start = sum(map(len, matrices))
                matrices.append(operation.matrix.ravel().view(float))
                rows.append((MATRIX, 0, 0, 0, 0, start, 0, 0))
                continue
            z = operation.pauli.z
            rows.append(
                (
                    *_kind_and_mask(operation, run),
                    len(signs),
                    z,
                    int(wanted[position]),
                    slot_of[position],
                    1 if operation.pauli.k in (0, 1) else -1,
                    sum(_odd(v & z) << j for j, v in enumerate(lane_basis)),
                )
            )
            signs += [1.0 - 2.0 * _odd(element & z) for element in _span(run.basis)]
    return Layout(
        rows_t,
        rows_t << num_bits,
        np.array(run_rows, dtype=np.int64).reshape(-1, 8),
        np.array(offsets, dtype=np.int64),
        np.array(lanes, dtype=np.int64),
        np.array(rows, dtype=np.int64).reshape(-1, 8),
        np.array(signs),
        np.concatenate(matrices) if matrices else np.zeros(0),
    )


def _kind_and_mask(rotation: Rotation, run: Run) -> tuple[int, int]:
    x, _, k = rotation.pauli
    kind = DIAGONAL if not x else Y_LIKE if k % 2 else X_LIKE
    return kind, sum((x >> pivot & 1) << j for j, pivot in enumerate(run.pivots))


def _odd(number: int) -> int:
    return number.bit_count() & 1


def _span(basis: Sequence[int]) -> list[int]:
    elements = [0]
    for vector in basis:
        elements += [e ^ vector for e in elements]
    return elements
