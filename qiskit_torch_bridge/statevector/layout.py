# SPDX-License-Identifier: Apache-2.0
"""A tape and its schedule written as the arrays that the kernels read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..arrays import FloatArray, IntArray
from .operations import FixedMatrix, Rotation
from .protocol import DIAGONAL, LANES, MATRIX, X_LIKE, Y_LIKE
from .schedule import schedule

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

    def differentiated(self, slots: NDArray[np.bool_]) -> Layout:
        """Return the layout with the derivatives of some rotations, by slot, being wanted."""
        operations = self.operations.copy()
        rotates = operations[:, 0] != MATRIX
        operations[rotates, 4] = slots[operations[rotates, 5]]
        return replace(self, operations=operations)


def rows_side_by_side(rows: int, num_bits: int, widest_matrix: int) -> int:
    """Return ``T``: as many rows as there are, or more where the index has too few bits for lanes.

    The remaining lanes come from the index, at most half of the bits that no matrix needs.
    """
    wanted = min(LANES, 1 << max(rows - 1, 0).bit_length())
    most_lane_bits = max(0, (num_bits - max(widest_matrix, 1)) // 2)
    return max(wanted, LANES >> min(FULL, most_lane_bits))


def lay_out(operations: Sequence[Rotation | FixedMatrix], num_bits: int, rows_t: int) -> Layout:
    """Schedule operations for chunks of ``rows_t`` rows, the derivatives of all being wanted."""
    lane_bits = (LANES // rows_t).bit_length() - 1
    runs = schedule(operations, num_bits, lane_bits, BLOCK_BITS)
    lowest = tuple(range(lane_bits))
    run_rows: list[tuple[int, ...]] = []
    order: list[int] = []
    offset_at = 0
    for r, run in enumerate(runs):
        free, stop = run.free_bits(num_bits), len(order) + len(run.operations)
        at = (len(run.basis), len(order), stop, offset_at, free, r << lane_bits)
        run_rows.append((*at, int(run.lanes == lowest), free.bit_count()))
        order += run.operations
        offset_at += 1 << len(run.basis)
    lanes = np.array([[1 << b for b in run.lanes] for run in runs], dtype=np.int64)
    lanes = lanes.reshape(len(runs), lane_bits)
    table = _operations(operations, order)
    rotates, x, z = table[:, 0] != MATRIX, table[:, 1].copy(), table[:, 3]
    run_of = np.repeat(np.arange(len(runs)), [len(run.operations) for run in runs])
    dims = np.array([len(run.basis) for run in runs], dtype=np.int64)
    sizes = np.where(rotates, 1 << dims[run_of], 0)
    table[:, 1] = 0
    table[:, 2] = np.cumsum(sizes) - sizes
    table[:, 7] = _gathered(lanes[run_of] & z[:, None])
    starts = np.cumsum(1 << dims) - (1 << dims)
    offsets, signs = np.empty(offset_at, dtype=np.int64), np.empty(sizes.sum())
    for dim in set(dims.tolist()):
        chosen, places = np.flatnonzero(dims == dim), np.arange(1 << dim)
        spans = _spans(np.array([runs[r].basis for r in chosen], dtype=np.int64))
        offsets[starts[chosen, None] + places] = spans
        members = np.flatnonzero(rotates & (dims[run_of] == dim))
        mine = np.searchsorted(chosen, run_of[members])
        odd = np.bitwise_count(spans[mine] & z[members, None]) & 1
        signs[table[members, 2][:, None] + places] = 1.0 - 2.0 * odd
        pivots = np.array([[1 << p for p in runs[r].pivots] for r in chosen], dtype=np.int64)
        table[members, 1] = _gathered(pivots[mine] & x[members, None])
    matrices = [o.matrix.ravel().view(float) for o in operations if isinstance(o, FixedMatrix)]
    return Layout(
        rows_t,
        rows_t << num_bits,
        np.array(run_rows, dtype=np.int64).reshape(-1, 8),
        offsets,
        _spans(lanes).ravel(),
        table,
        signs,
        np.concatenate(matrices) if matrices else np.zeros(0),
    )


def _operations(operations: Sequence[Rotation | FixedMatrix], order: Sequence[int]) -> IntArray:
    """Return the rows of operations in the order of the runs, mask of the block as on the tape."""
    rows: list[tuple[int, ...]] = []
    slot = start = 0
    for operation in operations:
        if isinstance(operation, FixedMatrix):
            rows.append((MATRIX, 0, 0, 0, 0, start, 0, 0))
            start += 2 * operation.matrix.size
            continue
        x, z, k = operation.pauli
        kind = DIAGONAL if not x else Y_LIKE if k % 2 else X_LIKE
        rows.append((kind, x, 0, z, 1, slot, 1 if k in (0, 1) else -1, 0))
        slot += 1
    return np.array(rows, dtype=np.int64).reshape(-1, 8)[order]


def _gathered(masked: IntArray) -> IntArray:
    """Return the numbers whose bit ``j`` says whether column ``j`` is not zero."""
    found: IntArray = (masked != 0) @ (1 << np.arange(masked.shape[1]))
    return found


def _spans(bases: IntArray) -> IntArray:
    """Return the elements of subspaces, ``(R, 2**dim)``, from their bases ``(R, dim)``."""
    elements = np.zeros((len(bases), 1), dtype=np.int64)
    for j in range(bases.shape[1]):
        elements = np.concatenate([elements, elements ^ bases[:, j : j + 1]], axis=1)
    return elements
