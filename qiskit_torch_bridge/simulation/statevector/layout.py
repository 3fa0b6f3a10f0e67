# SPDX-License-Identifier: Apache-2.0
"""A tape and its schedule written as the arrays that the kernels read."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...arrays import FloatArray, IntArray
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
    lowest = tuple(range(lane_bits))
    run_rows: list[tuple[int, ...]] = []
    rows: list[tuple[int, ...]] = []
    offsets: list[int] = []
    lanes: list[int] = []
    signs: list[FloatArray] = []
    matrices: list[FloatArray] = []
    sign_at = matrix_at = 0
    slot_of = _slots(operations)
    for run in schedule(operations, num_bits, lane_bits, BLOCK_BITS):
        free, dim, stop = run.free_bits(num_bits), len(run.basis), len(rows) + len(run.operations)
        at = (dim, len(rows), stop, len(offsets), free, len(lanes))
        run_rows.append((*at, int(run.lanes == lowest), free.bit_count()))
        offsets += _span(run.basis)
        lanes += _span([1 << b for b in run.lanes])
        keys: list[int] = []
        for position in run.operations:
            operation = operations[position]
            if isinstance(operation, FixedMatrix):
                rows.append((MATRIX, 0, 0, 0, 0, matrix_at, 0, 0))
                matrices.append(operation.matrix.ravel().view(float))
                matrix_at += len(matrices[-1])
                continue
            x, z, k = operation.pauli
            within = key = across = 0
            for j, vector in enumerate(run.basis):
                within |= (x >> run.pivots[j] & 1) << j
                key |= ((vector & z).bit_count() & 1) << j
            for j, bit in enumerate(run.lanes):
                across |= (z >> bit & 1) << j
            kind = DIAGONAL if not x else Y_LIKE if k % 2 else X_LIKE
            sign = 1 if k in (0, 1) else -1
            rows.append((kind, within, sign_at, z, 1, slot_of[position], sign, across))
            keys.append(key)
            sign_at += 1 << dim
        if keys:
            signs.append(_signs(dim)[keys].ravel())
    return Layout(
        rows_t,
        rows_t << num_bits,
        np.array(run_rows, dtype=np.int64).reshape(-1, 8),
        np.array(offsets, dtype=np.int64),
        np.array(lanes, dtype=np.int64),
        np.array(rows, dtype=np.int64).reshape(-1, 8),
        np.concatenate(signs) if signs else np.zeros(0),
        np.concatenate(matrices) if matrices else np.zeros(0),
    )


def _slots(operations: Sequence[Rotation | FixedMatrix]) -> list[int]:
    """Return the number of rotations before each operation."""
    turns = [isinstance(operation, Rotation) for operation in operations]
    return [0, *itertools.accumulate(turns)]


@functools.cache
def _signs(dim: int) -> FloatArray:
    """Return the signs of a subspace's elements, a row for each set of basis vectors with a minus.

    They are products of those of the basis vectors.
    """
    signs = np.ones((1, 1))
    for _ in range(dim):
        signs = np.block([[signs, signs], [signs, -signs]])
    return signs


def _span(basis: Sequence[int]) -> list[int]:
    elements = [0]
    for vector in basis:
        elements += [e ^ vector for e in elements]
    return elements
