# SPDX-License-Identifier: Apache-2.0
r"""In which order and in which blocks of the state the kernels apply a tape.

The index of an amplitude is a vector over GF(2). Pauli strings displace it by their masks ``x``, so
rotations whose masks lie in a subspace ``V`` never leave a coset of ``V``. A *run* is a sequence
of rotations with a common small ``V``: each coset is copied to a buffer that fits the fastest
cache, all rotations of the run act there, and it is copied back. The lanes of a vector instruction
are the rows of the batch and, if those are few, some bits of the index too: the lowest ``k``, or
others if the run's masks lie in those.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ...program.operators import PauliSpan
from .operations import FixedMatrix, Rotation

LOOKAHEAD = 256
"""How many operations ahead a run looks for one that may act earlier."""


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
    """A growing subspace in reduced form: no basis vector has another one's pivot."""

    def __init__(self, allowed: Sequence[int]) -> None:
        self.allowed = allowed  # the bits that may be pivots, the preferred ones first
        self.basis: list[int] = []
        self.pivots: list[int] = []

    def residue(self, mask: int) -> int:
        for k, pivot in enumerate(self.pivots):
            if mask >> pivot & 1:
                mask ^= self.basis[k]
        return mask

    def pivot_for(self, residue: int) -> int | None:
        for bit in self.allowed if residue else ():
            if residue >> bit & 1:
                return bit
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
    space = _Subspace([*low, *high] if crossing else high)
    dimension = min(block_bits, num_bits - lane_bits)
    room = num_bits - 2 * lane_bits  # for pivots among the high bits, if they give lanes too
    taken: list[int] = []
    skipped = PauliSpan(num_bits)
    for r in itertools.islice(remaining, LOOKAHEAD):
        operation = operations[r]
        if isinstance(operation, FixedMatrix) or skipped.is_full:
            break
        x, z, _ = operation.pauli
        residue = space.residue(x)
        pivot = space.pivot_for(residue)
        fits = not residue or (
            pivot is not None
            and len(space.basis) < dimension
            and not (crossing and pivot >= lane_bits and _count(space, lane_bits) >= room)
        )
        if fits and skipped.commutes(x, z):
            taken.append(r)
            if residue and pivot is not None:
                space.add(residue, pivot)
        else:
            skipped.add(x, z)
    for bit in [*low, *high] if crossing else high:  # fill up, so that copies are long
        if len(space.basis) == dimension:
            break
        residue = space.residue(1 << bit)
        pivot = space.pivot_for(residue)
        if pivot is None or not residue:
            continue
        if crossing and pivot >= lane_bits and _count(space, lane_bits) >= room:
            continue
        space.add(residue, pivot)
    lanes = tuple(low)
    if crossing:
        lanes = tuple([b for b in high if b not in space.pivots][:lane_bits])
    return Run(tuple(space.basis), tuple(space.pivots), lanes, tuple(taken))


def _count(space: _Subspace, lane_bits: int) -> int:
    return sum(pivot >= lane_bits for pivot in space.pivots)
