# SPDX-License-Identifier: Apache-2.0
r"""Which operations of a tape the terms of observables depend on.

A rotation cancels from :math:`U^\dagger P U` if it commutes with :math:`P` and with all later
rotations that do not cancel. So what is left, the *light cone* of :math:`P`, are the ancestors of
:math:`P` in one graph for all terms: the one that leads from each string to the earlier ones that
it anticommutes with. It is found on Pauli strings, not on qubits: a Z passes the control of a CX.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from ...arrays import BoolArray, IntArray
from ..tape.operations import FixedMatrix, Preparation, Rotation

X, Z = 1, 2
"""The letters of a string as bits: Y has both."""

MAX_PAIRS = 40_000_000
"""Pairs of strings on a common bit up to which they are compared one by one."""


class Incidence(NamedTuple):
    """The letters of many strings.

    Those of string ``i`` are the entries ``starts[i] <= e < starts[i + 1]``.

    Attributes:
        starts: Shape ``(K + 1,)``.
        bits: On which bit each letter is; ascending within a string.
        letters: Which letter it is.
    """

    starts: IntArray
    bits: IntArray
    letters: IntArray


class Causality(NamedTuple):
    """What leads from each operation of a tape to earlier ones.

    Attributes:
        starts: Where the predecessors of each operation start, shape ``(R + 1,)``.
        predecessors: The earlier operations that it does not commute with.
        levels: How many operations the longest chain that ends with each one has before it. Those
            of one level commute.
    """

    starts: IntArray
    predecessors: IntArray
    levels: IntArray


def tabulate(strings: Sequence[tuple[int, int]], num_bits: int) -> Incidence:
    """Return the letters of strings that are given by the masks ``x`` and ``z`` of any width."""
    width = max(1, -(-num_bits // 8))
    tables = [
        np.frombuffer(
            b"".join([masks[side].to_bytes(width, "little") for masks in strings]), dtype=np.uint8
        ).reshape(-1, width)
        for side in (0, 1)
    ]
    rows, octets = np.nonzero(tables[0] | tables[1])
    has_x, has_z = (
        np.unpackbits(table[rows, octets][:, None], axis=1, bitorder="little") for table in tables
    )
    letters = has_x + Z * has_z
    places, bits = np.nonzero(letters)
    counts = np.bincount(rows[places], minlength=len(strings))
    return Incidence(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        (8 * octets[places] + bits).astype(np.int64),
        letters[places, bits].astype(np.int64),
    )


def expand_ranges(starts: IntArray, chosen: IntArray) -> tuple[IntArray, IntArray]:
    """Return the entries of chosen rows, one row after the other, and how many each one has."""
    counts = starts[chosen + 1] - starts[chosen]
    ends = np.cumsum(counts)
    shifts = np.repeat(starts[chosen] - ends + counts, counts)
    return np.arange(ends[-1] if len(ends) else 0) + shifts, counts


class Strings:
    """The operations of a tape as sets of strings: what does not commute with one depends on it.

    A rotation is its own string, a matrix X and Z of each of its bits.

    Args:
        operations: The tape.
        num_bits: Of the state.
    """

    def __init__(self, operations: Sequence[Rotation | FixedMatrix], num_bits: int) -> None:
        self.num_bits = num_bits
        self._count = len(operations)
        strings: list[tuple[int, int]] = []
        owners: list[int] = []
        for i, operation in enumerate(operations):
            own = [operation.pauli[:2]] if isinstance(operation, Rotation) else _all_on(operation)
            strings += own
            owners += [i] * len(own)
        self._owners = owners if len(strings) > self._count else None
        self._letters = self._tables(tabulate(strings, num_bits))

    def count_pairs(self, terms: Incidence) -> int:
        """Return how many pairs of strings have to be looked at: those on a common bit."""
        own = sum(np.bincount(t.indices, minlength=self.num_bits) for t in self._letters)
        others = np.bincount(terms.bits, minlength=self.num_bits)
        return int((own * (own + others)).sum())

    def find_causality(self) -> Causality:
        """Return the graph of the tape."""
        related = scipy.sparse.tril(self._anticommuting(self._letters), -1, "csr")
        related.sort_indices()
        starts, found = related.indptr.astype(np.int64), related.indices.astype(np.int64)
        levels = np.zeros(self._count, dtype=np.int64)
        bounds = starts.tolist()
        for i in range(self._count):
            if bounds[i] < bounds[i + 1]:
                levels[i] = levels[found[bounds[i] : bounds[i + 1]]].max() + 1
        return Causality(starts, found, levels)

    def find_last(self, terms: Incidence) -> scipy.sparse.csr_array:
        """Return which operations do not commute with each term, ``(R, T)``."""
        return self._anticommuting(self._tables(terms))

    def _tables(self, incidence: Incidence) -> tuple[scipy.sparse.csr_array, ...]:
        rows = np.repeat(np.arange(len(incidence.starts) - 1), np.diff(incidence.starts))
        shape = (len(incidence.starts) - 1, self.num_bits)
        found = []
        for letter in (X, Z):
            has = (incidence.letters & letter) != 0
            ones = np.ones(np.count_nonzero(has), dtype=np.int32)
            at = (rows[has], incidence.bits[has])
            found.append(scipy.sparse.csr_array((ones, at), shape=shape))
        return tuple(found)

    def _anticommuting(self, others: Sequence[scipy.sparse.csr_array]) -> scipy.sparse.csr_array:
        (x, z), (other_x, other_z) = self._letters, others
        swaps = scipy.sparse.csr_array(x @ other_z.T + z @ other_x.T)
        swaps.data &= 1
        swaps.eliminate_zeros()
        if self._owners is not None:
            collect = self._collector(self._owners)
            swaps = collect @ swaps
            if others is self._letters:
                swaps = swaps @ collect.T
        return scipy.sparse.csr_array(swaps)

    def _collector(self, owners: Sequence[int]) -> scipy.sparse.csr_array:
        ones = np.ones(len(owners), dtype=np.int32)
        at = (np.array(owners), np.arange(len(owners)))
        return scipy.sparse.csr_array((ones, at), shape=(self._count, len(owners)))


def _all_on(operation: FixedMatrix) -> list[tuple[int, int]]:
    masks = [1 << bit for bit in operation.bits]
    return [(mask, 0) for mask in masks] + [(0, mask) for mask in masks]


def find_idle(
    operations: Sequence[Rotation | FixedMatrix],
    preparations: Iterable[Preparation],
    causality: Causality,
) -> BoolArray:
    """Return which rotations give the initial state a phase, whatever comes after them: ``(R,)``.

    They are diagonal and depend on no others, and their bits start in zero. What is left out of a
    cone is not before anything of it, so that these are the same in all cones.
    """
    prepared = sum(1 << bit for p in preparations for bit in p.bits)
    first = np.diff(causality.starts) == 0
    diagonal = [
        isinstance(o, Rotation) and not o.pauli.x and not o.pauli.z & prepared for o in operations
    ]
    return first & np.array(diagonal, dtype=bool)


def find_cones(
    causality: Causality, last: scipy.sparse.csr_array, idle: BoolArray
) -> tuple[IntArray, IntArray]:
    """Return the light cone of each term: where its operations start, and these, ascending.

    Args:
        causality: The graph of the tape's ``R`` operations.
        last: The operations that do not commute with each of ``T`` terms, ``(R, T)``.
        idle: Operations that no cone contains, ``(R,)``.
    """
    num_terms = last.shape[1]
    words = -(-num_terms // 64)
    reached: NDArray[np.uint64] = np.zeros((last.shape[0], words), dtype=np.uint64)
    entries = last.tocoo()
    marks = np.left_shift(np.uint64(1), (entries.col % 64).astype(np.uint64))
    np.bitwise_or.at(reached, (entries.row, entries.col // 64), marks)
    bounds, before = causality.starts.tolist(), causality.predecessors
    for i in range(len(reached) - 1, -1, -1):
        if bounds[i] < bounds[i + 1] and reached[i].any():
            reached[before[bounds[i] : bounds[i + 1]]] |= reached[i]
    reached[idle] = 0
    counts, found = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for word in range(words):
        octets = np.ascontiguousarray(reached[:, word]).astype("<u8").view(np.uint8)
        table = np.unpackbits(octets.reshape(-1, 8), axis=1, bitorder="little")
        terms, operations = np.nonzero(table.T)
        counts.append(np.bincount(terms, minlength=64))
        found.append(operations)
    starts = np.concatenate([[0], np.cumsum(np.concatenate(counts)[:num_terms])])
    return starts.astype(np.int64), np.concatenate(found)
