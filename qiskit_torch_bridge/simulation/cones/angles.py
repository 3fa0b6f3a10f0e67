# SPDX-License-Identifier: Apache-2.0
"""Which rotations of a tape have the same angle, up to a sign, whatever the values are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse

from ...arrays import FloatArray, IntArray
from ..kernels.tables import Sources
from ..tape.operations import FixedMatrix, Rotation
from .terms import own_sign


class Contents(NamedTuple):
    """The ``A`` different angles of a tape with ``R`` operations, affine in ``C`` columns.

    Attributes:
        of_operation: Which angle each rotation has, shape ``(R,)``; zero for a matrix.
        signs: And with which sign, that of its Pauli string included: ``(R,)``.
        slopes: The angles' coefficients, ``(A, C)``.
        offsets: And constants, ``(A,)``.
    """

    of_operation: IntArray
    signs: IntArray
    slopes: scipy.sparse.csr_array
    offsets: FloatArray

    def scattered(self, places: IntArray, count: int) -> Contents:
        """Return the angles of a longer tape, on which the operations have these places."""
        of_operation = np.zeros(count, dtype=np.int64)
        signs = np.ones(count, dtype=np.int64)
        of_operation[places], signs[places] = self.of_operation, self.signs
        return self._replace(of_operation=of_operation, signs=signs)


def tell_angles(
    operations: Sequence[Rotation | FixedMatrix], sources: Sources, num_columns: int
) -> Contents:
    """Tell the angles of a tape apart.

    Args:
        operations: The tape.
        sources: Where its angles come from.
        num_columns: How many inputs and weights there are.
    """
    known: dict[tuple[float, tuple[tuple[int, float], ...]], int] = {}
    of_operation = np.zeros(len(operations), dtype=np.int64)
    signs = np.ones(len(operations), dtype=np.int64)
    starts, columns = sources.starts.tolist(), sources.columns.tolist()
    coefficients, offsets = sources.coefficients.tolist(), sources.offsets.tolist()
    slot = 0
    for i, operation in enumerate(operations):
        if isinstance(operation, FixedMatrix):
            continue
        sign = own_sign(operation.pauli.x, operation.pauli.z, operation.pauli.k)
        start, stop = starts[slot], starts[slot + 1]
        pairs = sorted(zip(columns[start:stop], coefficients[start:stop], strict=True))
        offset = offsets[slot]
        slot += 1
        if (pairs[0][1] if pairs else offset) < 0:
            sign, offset = -sign, -offset
            pairs = [(column, -c) for column, c in pairs]
        of_operation[i] = known.setdefault((offset, tuple(pairs)), len(known))
        signs[i] = sign
    if not known:  # matrices alone, which have the first angle
        known[0.0, ()] = 0
    bounds, places, slopes = [0], [], []
    constants = np.zeros(len(known))
    for a, (offset, terms) in enumerate(known):
        constants[a] = offset
        for column, c in terms:
            places.append(column)
            slopes.append(c)
        bounds.append(len(places))
    table = scipy.sparse.csr_array(
        (np.array(slopes, dtype=float), np.array(places, dtype=np.int64), bounds),
        shape=(len(known), num_columns),
    )
    return Contents(of_operation, signs, table, constants)
