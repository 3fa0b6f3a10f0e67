# SPDX-License-Identifier: Apache-2.0
r"""What of a tape the kernels apply, in which order, and in which blocks of the state.

The index of an amplitude is a vector over GF(2). Pauli strings displace it by their masks ``x``, so
rotations whose masks lie in a subspace ``V`` never leave a coset of ``V``. A *run* is a sequence
of rotations with a common small ``V``: each coset is copied to a buffer that fits the fastest
cache, all rotations of the run act there, and it is copied back. The lanes of a vector instruction
are the rows of the batch and, if those are few, some bits of the index too: the lowest ``k``, or
others if the run's masks lie in those.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...arrays import FloatArray, IntArray
from ...program.operators import PauliSpan
from .kernels.tables import DIAGONAL, LANES, MATRIX, OPERATION, RUN, X_LIKE, Y_LIKE, Layout
from .operations import FixedMatrix, Preparation, Rotation

LOOKAHEAD = 256
"""How many operations ahead a run looks for one that may act earlier."""
BLOCK_BITS = 5
"""Dimension of the subspaces: a block of ket and bra has 32 KiB, as the fastest cache."""

FULL = LANES.bit_length() - 1


@functools.cache
def choose_rows_side_by_side(rows: int, num_bits: int, widest_matrix: int) -> int:
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
    runs: list[tuple[int, ...]] = []
    rows: list[tuple[int, ...]] = []
    offsets: list[int] = []
    lanes: list[int] = []
    signs: list[FloatArray] = []
    matrices: list[FloatArray] = []
    sign_at = matrix_at = 0
    # The number of rotations before each operation.
    slot_of = [0, *itertools.accumulate(isinstance(o, Rotation) for o in operations)]
    for run in schedule(operations, num_bits, lane_bits, BLOCK_BITS):
        free, dim, stop = run.free_bits(num_bits), len(run.basis), len(rows) + len(run.operations)
        at = (dim, len(rows), stop, len(offsets), free, len(lanes))
        runs.append((*at, int(run.lanes == lowest), free.bit_count()))
        offsets += _span(run.basis)
        lanes += _span([1 << b for b in run.lanes])
        keys: list[int] = []
        for position in run.operations:
            operation = operations[position]
            if isinstance(operation, FixedMatrix):
                rows.append((MATRIX, 0, 0, 0, 0, 0, 0, 0, matrix_at))
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
            rows.append((kind, within, sign_at, z, 1, slot_of[position], sign, across, 0))
            keys.append(key)
            sign_at += 1 << dim
        if keys:
            signs.append(_signs(dim)[keys].ravel())
    return Layout(
        rows_t,
        rows_t << num_bits,
        np.array(runs, dtype=RUN),
        np.array(offsets, dtype=np.int64),
        np.array(lanes, dtype=np.int64),
        np.array(rows, dtype=OPERATION),
        np.concatenate(signs) if signs else np.zeros(0),
        np.concatenate(matrices) if matrices else np.zeros(0),
    )


def want_derivatives(layout: Layout, slots: NDArray[np.bool_]) -> Layout:
    """Return the layout with the derivatives of some rotations, by slot, being wanted."""
    operations = layout.operations.copy()
    rotates = operations["kind"] != MATRIX
    operations["wanted"][rotates] = slots[operations["slot"][rotates]]
    return layout._replace(operations=operations)


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


def drop_ineffective(
    operations: Sequence[Rotation | FixedMatrix],
    preparations: Sequence[Preparation],
    masks: IntArray,
    num_bits: int,
) -> list[Rotation | FixedMatrix]:
    r"""Return the operations without those that have no effect on some expectation values.

    A rotation that commutes with all observables and with everything after it cancels from
    :math:`U^\dagger O U`. One that is diagonal and commutes with everything before it gives the
    initial state a phase.

    Args:
        operations: The tape.
        preparations: What its initial state holds beside zeros.
        masks: The masks ``x`` and ``z`` of all terms of the observables, shape ``(K, 2)``.
        num_bits: The qubits that are simulated.
    """
    later = PauliSpan(num_bits)
    for x, z in masks.tolist():
        later.add(x, z)
        if later.is_full:
            break
    kept: list[Rotation | FixedMatrix] = []
    for position in range(len(operations) - 1, -1, -1):
        operation = operations[position]
        if isinstance(operation, FixedMatrix):
            kept = [*operations[: position + 1], *reversed(kept)]
            break
        x, z, _ = operation.pauli
        if later.is_full:
            if x or z:
                kept.append(operation)
        elif not later.commutes(x, z):
            kept.append(operation)
            later.add(x, z)
    else:
        kept.reverse()
    prepared = sum(1 << b for p in preparations for b in p.bits)
    earlier = PauliSpan(num_bits)
    result: list[Rotation | FixedMatrix] = []
    for position, operation in enumerate(kept):
        if isinstance(operation, FixedMatrix) or earlier.is_full:
            result += kept[position:]
            break
        x, z, _ = operation.pauli
        if not x and not z & prepared and earlier.commutes(x, z):
            continue
        result.append(operation)
        earlier.add(x, z)
    return result


@dataclass(frozen=True)
class Run:
    """Operations that act within the cosets of one subspace.

    Attributes:
        basis: Masks that span the subspace; element ``j`` is the only one with bit ``pivots[j]``.
        pivots: One bit for each basis vector.
        lanes: The bits of the index that are lanes.
        operations: Positions on the tape, in the order in which they act.
    """

    basis: tuple[int, ...]
    pivots: tuple[int, ...]
    lanes: tuple[int, ...]
    operations: tuple[int, ...]

    def free_bits(self, num_bits: int) -> int:
        """The mask of the bits that tell the cosets apart."""
        taken = sum(1 << b for b in (*self.pivots, *self.lanes))
        return ((1 << num_bits) - 1) & ~taken


class _Subspace:
    """A growing subspace in reduced form: no basis vector has another one's pivot.

    Args:
        allowed: The bits that may be pivots, the preferred ones first.
        dimension: How many of them may become pivots.
        high: The bits of which only some may, and
        room: how many.
    """

    def __init__(self, allowed: Sequence[int], dimension: int, high: range, room: int) -> None:
        self.allowed, self._dimension, self._high, self._room = allowed, dimension, high, room
        self.basis: list[int] = []
        self.pivots: list[int] = []

    def residue(self, mask: int) -> int:
        for k, pivot in enumerate(self.pivots):
            if mask >> pivot & 1:
                mask ^= self.basis[k]
        return mask

    def pivot_for(self, residue: int) -> int | None:
        """Return the pivot with which a vector can be added; ``None`` if there is none."""
        if not residue or len(self.basis) == self._dimension:
            return None
        for bit in self.allowed:
            if residue >> bit & 1:
                full = sum(pivot in self._high for pivot in self.pivots) >= self._room
                return None if full and bit in self._high else bit
        return None

    def add(self, residue: int, pivot: int) -> None:
        self.basis = [v ^ residue if v >> pivot & 1 else v for v in self.basis]
        self.basis.append(residue)
        self.pivots.append(pivot)


def schedule(
    operations: Sequence[Rotation | FixedMatrix], num_bits: int, lane_bits: int, block_bits: int
) -> list[Run]:
    """Put the operations of a tape into runs.

    Args:
        operations: The tape.
        num_bits: The number of qubits that are simulated.
        lane_bits: How many of the lowest bits of an index lie side by side in a vector.
        block_bits: The largest dimension of a run's subspace.
    """
    remaining = _Remaining(len(operations))
    runs: list[Run] = []
    while remaining.first < len(operations):
        first = operations[remaining.first]
        if isinstance(first, FixedMatrix):
            runs.append(_matrix_run(first, remaining.first, num_bits, lane_bits))
        else:
            runs.append(_rotation_run(operations, remaining, num_bits, lane_bits, block_bits))
        remaining.take(runs[-1].operations)
    return runs


class _Remaining:
    """Positions that are in no run yet, in a list that ends where the tape does."""

    def __init__(self, count: int) -> None:
        self.first = 0
        self._next = list(range(1, count + 2))
        self._before = list(range(-1, count))

    def __iter__(self) -> Iterator[int]:
        position, end = self.first, len(self._next) - 1
        while position < end:
            yield position
            position = self._next[position]

    def take(self, positions: Iterable[int]) -> None:
        """Take positions out of the list."""
        for position in positions:
            before, after = self._before[position], self._next[position]
            if before < 0:
                self.first = after
            else:
                self._next[before] = after
            if after < len(self._before):
                self._before[after] = before


def _matrix_run(operation: FixedMatrix, at: int, num_bits: int, lane_bits: int) -> Run:
    bits = operation.bits
    if min(bits) >= lane_bits:
        lanes = tuple(range(lane_bits))
    else:
        lanes = tuple([b for b in range(lane_bits, num_bits) if b not in bits][:lane_bits])
    return Run(tuple(1 << b for b in bits), bits, lanes, (at,))


def _rotation_run(
    operations: Sequence[Rotation | FixedMatrix],
    remaining: _Remaining,
    num_bits: int,
    lane_bits: int,
    block_bits: int,
) -> Run:
    low, high = range(lane_bits), range(lane_bits, num_bits)
    first = operations[remaining.first]
    assert isinstance(first, Rotation)
    crossing = bool(first.pauli.x) and not first.pauli.x >> lane_bits
    # If the high bits give lanes too, not all of them can be pivots.
    room = num_bits - 2 * lane_bits if crossing else num_bits
    allowed = [*low, *high] if crossing else high
    space = _Subspace(allowed, min(block_bits, num_bits - lane_bits), high, room)
    taken: list[int] = []
    skipped = PauliSpan(num_bits)
    for r in itertools.islice(remaining, LOOKAHEAD):
        operation = operations[r]
        if isinstance(operation, FixedMatrix) or skipped.is_full:
            break
        x, z, _ = operation.pauli
        residue = space.residue(x)
        pivot = space.pivot_for(residue)
        if (not residue or pivot is not None) and skipped.commutes(x, z):
            taken.append(r)
            if pivot is not None:
                space.add(residue, pivot)
        else:
            skipped.add(x, z)
    for bit in allowed:  # fill up, so that copies are long
        residue = space.residue(1 << bit)
        pivot = space.pivot_for(residue)
        if pivot is not None:
            space.add(residue, pivot)
    lanes = tuple(low)
    if crossing:
        lanes = tuple([b for b in high if b not in space.pivots][:lane_bits])
    return Run(tuple(space.basis), tuple(space.pivots), lanes, tuple(taken))
