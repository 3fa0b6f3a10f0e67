# SPDX-License-Identifier: Apache-2.0
r"""What of a tape the kernels apply, in which order, and in which blocks of the state.

The index of an amplitude is a vector over GF(2). Pauli strings displace it by their masks ``x``, so
rotations whose masks lie in a subspace ``V`` never leave a coset of ``V``. A *run* is a sequence
of rotations with a common small ``V``: each coset is copied to a buffer that fits a fast cache, all
rotations of the run act there, and it is copied back. The lanes of a vector instruction are the
rows of the batch and, if those are few, the lowest bits of the index too. These bits belong to
every ``V``: a displacement within them exchanges lanes.

Diagonal rotations commute with each other. Those that can act next to each other are a *group*,
which turns each amplitude by one phase, the sum of theirs. If all of their angles are small whole
multiples of one, there are few such sums; a table has the sum of each amplitude.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...arrays import FloatArray
from ...program.operators import PauliSpan, walsh_hadamard
from ..kernels.tables import LANES, Sources
from ..tape.operations import FixedMatrix, Rotation
from ..tape.paulis import PauliString
from .kernels.tables import (
    DIAGONAL,
    GROUPED,
    MATRIX,
    ON_NONE,
    ON_X,
    ON_Y,
    ON_Z,
    OPERATION,
    PHASES,
    RUN,
    X_LIKE,
    Y_LIKE,
    Layout,
)

LOOKAHEAD = 256
"""How many operations ahead a run looks for one that may act earlier."""
BLOCK_BITS = 5
"""Dimension of the subspaces: a block of ket and bra has 32 KiB, as the fastest cache."""
LONG_BLOCK_BITS = 8
"""The same for states that no cache holds: a block of ket and bra has 256 KiB."""
LONG = 1 << 15
"""Amplitudes times rows of a state from which it is passed over in long blocks."""
FEWEST = 3
"""Diagonal rotations that are worth a group."""

MOST_SUMS = 256
"""Different sums of a group that looks them up: a byte tells which one an amplitude has."""

TABLE_BYTES = 1 << 24
"""What all tables of sums take at most: a byte for each amplitude and kind of group."""

ROUNDING = 4 * float(np.finfo(float).eps)
"""How far an angle may be from a whole multiple, relative to itself."""

GROUP_WORK = 8
"""What a group costs, compared with a rotation of its own."""

FULL = LANES.bit_length() - 1

Item = tuple[int, ...]
"""Positions of an operation, or of a group of diagonal rotations, on the tape."""


@functools.cache
def choose_rows_side_by_side(rows: int, num_bits: int, widest_matrix: int) -> int:
    """Return ``T``: as many rows as there are, or more where the index has too few bits for lanes.

    The remaining lanes come from the index. A matrix on them takes others instead, so that they are
    at most half of the bits that no matrix needs.
    """
    wanted = min(LANES, 1 << max(rows - 1, 0).bit_length())
    most_lane_bits = max(0, (num_bits - widest_matrix) // 2) if widest_matrix else num_bits
    return max(wanted, LANES >> min(FULL, most_lane_bits))


def lay_out(
    operations: Sequence[Rotation | FixedMatrix],
    num_bits: int,
    rows_t: int,
    sources: Sources,
    leading: int = 0,
) -> Layout:
    """Schedule operations for chunks of ``rows_t`` rows, the derivatives of all being wanted.

    The ``leading`` first ones are rotations of single bits, which prepare the initial state.
    ``sources`` tells which angles are multiples of each other.
    """
    first_ones, operations = operations[:leading], operations[leading:]
    lane_bits = (LANES // rows_t).bit_length() - 1
    lowest, low = tuple(range(lane_bits)), (1 << lane_bits) - 1
    runs: list[tuple[int, ...]] = []
    rows: list[tuple[int, ...]] = []
    offsets: list[int] = []
    lanes: list[int] = []
    signs: list[FloatArray] = []
    matrices: list[FloatArray] = []
    sign_at = matrix_at = value_at = 0
    tables: dict[tuple[tuple[int, int], ...], NDArray[np.uint8]] = {}
    # The number of rotations before each operation.
    slot_of = [
        *itertools.accumulate((isinstance(o, Rotation) for o in operations), initial=leading)
    ]
    block_bits = LONG_BLOCK_BITS if rows_t << num_bits >= LONG else BLOCK_BITS
    for run in schedule(operations, num_bits, lane_bits, block_bits):
        free, dim, first = run.free_bits(num_bits), len(run.basis), len(rows)
        keys: list[int] = []
        for item in run.items:
            if len(item) > 1:
                rotations = [(operations[p], slot_of[p]) for p in item]
                members = [(r.pauli, s) for r, s in rotations if isinstance(r, Rotation)]
                unit, multiples = _find_multiples(members, num_bits, sources)
                item = (item[unit], *item[:unit], *item[unit + 1 :])
                table_at = largest = 0
                fits = (len(tables) + 1) << num_bits <= TABLE_BYTES
                if multiples and multiples not in tables and fits:
                    tables[multiples] = _tabulate_sums(multiples, num_bits)
                if multiples in tables:
                    table_at = list(tables).index(multiples) << num_bits
                    largest = sum(abs(v) for _, v in multiples)
                rows.append((PHASES, len(item), table_at, 0, 1, 0, 0, largest, value_at, 0))
                value_at += largest + 1 if largest else 0
            for position in item:
                operation = operations[position]
                if isinstance(operation, FixedMatrix):
                    rows.append((MATRIX, 0, 0, 0, 0, 0, 0, 0, matrix_at, 0))
                    matrices.append(operation.matrix.ravel().view(float))
                    matrix_at += len(matrices[-1])
                    continue
                x, z, k = operation.pauli
                within = key = 0
                for j, vector in enumerate(run.basis):
                    within |= (x >> run.pivots[j] & 1) << j
                    key |= ((vector & z).bit_count() & 1) << j
                sign, slot, shift = 1 if k in (0, 1) else -1, slot_of[position], (x & low) * rows_t
                if len(item) > 1:
                    rows.append((GROUPED, key, 0, z, 1, slot, sign, z & low, 0, 0))
                    continue
                kind = DIAGONAL if not x else Y_LIKE if k % 2 else X_LIKE
                rows.append((kind, within, sign_at, z, 1, slot, sign, z & low, 0, shift))
                keys.append(key)
                sign_at += 1 << dim
        at = (dim, first, len(rows), len(offsets), free, len(lanes))
        runs.append((*at, int(run.lanes == lowest), free.bit_count()))
        offsets += _span(run.basis)
        lanes += _span([1 << b for b in run.lanes])
        if keys:
            signs.append(_signs(dim)[keys].ravel())
    swept = len(rows)
    for slot, rotation in enumerate(first_ones):
        assert isinstance(rotation, Rotation)
        x, z, k = rotation.pauli
        kind = ON_Y if x and z else ON_X if x else ON_Z if z else ON_NONE
        sign = 1 if k in (0, 1) else -1
        bit = max((x | z).bit_length() - 1, 0)
        rows.append((kind, bit, 0, 0, 1, slot, sign, 0, 0, 0))
    return Layout(
        rows_t,
        rows_t << num_bits,
        swept,
        np.array(runs, dtype=RUN),
        np.array(offsets, dtype=np.int64),
        np.array(lanes, dtype=np.int64),
        np.array(rows, dtype=OPERATION),
        np.concatenate(signs) if signs else np.zeros(0),
        np.concatenate(matrices) if matrices else np.zeros(0),
        np.concatenate([*tables.values(), np.zeros(0, np.uint8)]).view(np.int64),
    )


def _find_multiples(
    members: Sequence[tuple[PauliString, int]], num_bits: int, sources: Sources
) -> tuple[int, tuple[tuple[int, int], ...]]:
    """Find of which angle all angles of a group are small whole multiples.

    Args:
        members: The string of each rotation, and its slot.
        num_bits: The number of bits.
        sources: Where the angles come from.

    Returns:
        Which rotation is by that angle, and the mask and the multiple of each of them; no masks if
        there is no such angle, or if a table of the sums would not pay.
    """
    rows = [slice(*sources.starts[slot : slot + 2]) for _, slot in members]
    if not all(np.array_equal(sources.columns[row], sources.columns[rows[0]]) for row in rows):
        return 0, ()
    numbers = np.array(
        [
            [sources.offsets[slot], *sources.coefficients[row]]
            for row, (_, slot) in zip(rows, members, strict=True)
        ]
    )
    numbers *= [[1 if pauli.k in (0, 1) else -1] for pauli, _ in members]
    column = int(np.abs(numbers[0]).argmax())
    first = int(np.abs(numbers[:, column]).argmin())
    unit = numbers[first]
    if not unit[column]:
        return 0, ()
    multiples = np.rint(numbers[:, column] / unit[column])
    exact = np.abs(multiples[:, None] * unit - numbers) <= ROUNDING * np.abs(numbers)
    if not exact.all() or np.abs(multiples).sum() >= min(MOST_SUMS, 1 << num_bits >> 2):
        return 0, ()
    masks = [pauli.z for pauli, _ in members]
    return first, tuple(sorted(zip(masks, multiples.astype(int).tolist(), strict=True)))


def _tabulate_sums(multiples: Iterable[tuple[int, int]], num_bits: int) -> NDArray[np.uint8]:
    """Return for each amplitude which of the sums of signed multiples it has, the least being 0.

    The sums are a Walsh-Hadamard transform; they are all even or all odd.
    """
    sums = np.zeros(1 << num_bits, dtype=np.int16)
    largest = 0
    for z, multiple in multiples:
        sums[z] += multiple
        largest += abs(multiple)
    return ((walsh_hadamard(sums) + np.int16(largest)) >> 1).astype(np.uint8)


def count_contracted(layout: Layout) -> int:
    """Return how many numbers a bra and its tangent leave, contracted with half of a product."""
    num_bits = (layout.dim // layout.rows_t).bit_length() - 1
    low = max(num_bits // 2, (LANES // layout.rows_t).bit_length() - 1)  # whole rows of lanes
    return 4 * layout.rows_t * ((1 << low) + (1 << num_bits - low))


def count_work(operations: Iterable[Rotation | FixedMatrix]) -> int:
    """Return about how many rotations one by one cost as much as the operations."""
    work = diagonal = 0
    for operation in operations:
        if isinstance(operation, Rotation) and not operation.pauli.x:
            diagonal += 1
            continue
        work += 1 + min(diagonal, GROUP_WORK)
        diagonal = 0
    return work + min(diagonal, GROUP_WORK)


def want_derivatives(layout: Layout, slots: NDArray[np.bool_]) -> Layout:
    """Return the layout with the derivatives of some rotations, by slot, being wanted."""
    operations = layout.operations.copy()
    rotates = (operations["kind"] != MATRIX) & (operations["kind"] != PHASES)
    operations["wanted"][rotates] = slots[operations["slot"][rotates]]
    for head in np.flatnonzero(operations["kind"] == PHASES):
        members = slice(head + 1, head + 1 + operations["within"][head])
        operations["wanted"][head] = operations["wanted"][members].any()
        if operations["across"][head]:  # the derivative is one of the first angle
            operations["wanted"][members][1:] = 0
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


@dataclass(frozen=True)
class Run:
    """Operations that act within the cosets of one subspace.

    Attributes:
        basis: Masks that span the subspace; element ``j`` is the only one with bit ``pivots[j]``.
        pivots: One bit for each basis vector.
        lanes: The bits of the index that are lanes.
        items: Positions on the tape, in the order in which they act; those of a group together.
    """

    basis: tuple[int, ...]
    pivots: tuple[int, ...]
    lanes: tuple[int, ...]
    items: tuple[Item, ...]

    @property
    def operations(self) -> tuple[int, ...]:
        """The positions one by one."""
        return tuple(itertools.chain.from_iterable(self.items))

    def free_bits(self, num_bits: int) -> int:
        """The mask of the bits that tell the cosets apart."""
        taken = sum(1 << b for b in (*self.pivots, *self.lanes))
        return ((1 << num_bits) - 1) & ~taken


class _Subspace:
    """A subspace that grows up to a dimension, in reduced form.

    No basis vector has another one's pivot. A pivot is a low bit, so that copies are long.
    """

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
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
        return (residue & -residue).bit_length() - 1

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
    items = list(gather_diagonals(operations, num_bits))
    spans = [_generators(operations, item) for item in items]
    remaining = _Remaining(len(items))
    runs: list[Run] = []
    while remaining.first < len(items):
        first = operations[items[remaining.first][0]]
        if isinstance(first, FixedMatrix):
            runs.append(_matrix_run(first, items[remaining.first], num_bits, lane_bits))
            taken = [remaining.first]
        else:
            size = min(block_bits, num_bits - lane_bits)
            run, taken = _rotation_run(items, spans, remaining, num_bits, lane_bits, size)
            runs.append(run)
        remaining.take(taken)
    return runs


def gather_diagonals(operations: Sequence[Rotation | FixedMatrix], num_bits: int) -> Iterator[Item]:
    """Yield operations in an order in which diagonal rotations come late, and many at a time.

    Only operations that commute change places.
    """
    remaining = _Remaining(len(operations))
    ranks = [_rank_that_stops(operations, diagonal, num_bits) for diagonal in (False, True)]
    while remaining.first < len(operations):
        if isinstance(operations[remaining.first], FixedMatrix):
            yield (remaining.first,)
            remaining.take([remaining.first])
            continue
        for diagonal in (False, True):
            taken = _take_of_kind(operations, remaining, diagonal, num_bits, ranks[diagonal])
            remaining.take(taken)
            if diagonal and len(taken) >= FEWEST:
                yield tuple(taken)
            else:
                yield from ((position,) for position in taken)


def _rank_that_stops(
    operations: Sequence[Rotation | FixedMatrix], diagonal: bool, num_bits: int
) -> int:
    """Return the rank of skipped strings from which no rotation commutes with them.

    Args:
        operations: The tape.
        diagonal: Whether diagonal rotations are looked for, and others skipped, or the others, and
            all skipped.
        num_bits: The number of bits.
    """
    rotations = [o.pauli for o in operations if isinstance(o, Rotation)]
    skipped = PauliSpan(num_bits)
    for x, z, _ in rotations:
        if x or not diagonal:
            skipped.add(x, z)
    wanted = {(x, z) for x, z, _ in rotations if diagonal == (not x)}
    if any(skipped.commutes(x, z) for x, z in wanted):
        return 2 * num_bits
    return skipped.rank


def _take_of_kind(
    operations: Sequence[Rotation | FixedMatrix],
    remaining: _Remaining,
    diagonal: bool,
    num_bits: int,
    stops: int,
) -> list[int]:
    """Return the rotations, all diagonal or none, that may act before all others."""
    taken: list[int] = []
    skipped = PauliSpan(num_bits)
    for position in itertools.islice(remaining, LOOKAHEAD):
        operation = operations[position]
        if isinstance(operation, FixedMatrix) or skipped.rank == stops:
            break
        x, z, _ = operation.pauli
        if diagonal == (not x) and skipped.commutes(x, z):
            taken.append(position)
        elif x or not diagonal:
            skipped.add(x, z)
    return taken


def _generators(operations: Sequence[Rotation | FixedMatrix], item: Item) -> list[tuple[int, int]]:
    """Return masks of strings of which all strings of an item are products; none for a matrix."""
    found: dict[int, tuple[int, int]] = {}
    for position in item:
        operation = operations[position]
        if isinstance(operation, FixedMatrix):
            return []
        x, z, _ = operation.pauli
        if len(item) == 1:
            return [(x, z)]
        while z and (other := found.setdefault(z.bit_length(), (0, z))) != (0, z):
            z ^= other[1]
    return list(found.values()) or [(0, 0)]


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


def _matrix_run(operation: FixedMatrix, item: Item, num_bits: int, lane_bits: int) -> Run:
    bits = operation.bits
    if min(bits) >= lane_bits:
        lanes = tuple(range(lane_bits))
    else:
        lanes = tuple([b for b in range(lane_bits, num_bits) if b not in bits][:lane_bits])
    return Run(tuple(1 << b for b in bits), bits, lanes, (item,))


def _rotation_run(
    items: Sequence[Item],
    spans: Sequence[Sequence[tuple[int, int]]],
    remaining: _Remaining,
    num_bits: int,
    lane_bits: int,
    dimension: int,
) -> tuple[Run, list[int]]:
    """Return a run of what comes next, and which items it takes."""
    high = range(lane_bits, num_bits)
    space = _Subspace(dimension)
    taken: list[int] = []
    skipped = PauliSpan(num_bits)
    for number in itertools.islice(remaining, LOOKAHEAD):
        span = spans[number]
        if not span or skipped.is_full:
            break
        residue = space.residue(span[0][0] >> lane_bits << lane_bits)
        pivot = space.pivot_for(residue)
        if (not residue or pivot is not None) and all(skipped.commutes(x, z) for x, z in span):
            taken.append(number)
            if pivot is not None:
                space.add(residue, pivot)
        else:
            for x, z in span:
                skipped.add(x, z)
    for bit in high:  # fill up, so that copies are long
        residue = space.residue(1 << bit)
        pivot = space.pivot_for(residue)
        if pivot is not None:
            space.add(residue, pivot)
    lanes = tuple(range(lane_bits))
    run = Run(tuple(space.basis), tuple(space.pivots), lanes, tuple(items[i] for i in taken))
    return run, taken
