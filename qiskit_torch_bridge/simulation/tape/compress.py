# SPDX-License-Identifier: Apache-2.0
r"""Fewer bits for a tape whose state stays in a part of the space.

A Pauli string takes the basis state :math:`|i\rangle` to :math:`|i \oplus x\rangle`, so from
:math:`|0\rangle` a tape reaches the span :math:`V` over GF(2) of its masks ``x`` and nothing else.
With a basis :math:`v_j` of it, each of which has a bit, its pivot, that no other one has, the
:math:`2^r` basis states that count are :math:`|\bigoplus_j b_j v_j\rangle`, and the pivots' bits
are :math:`b`. There a string is again one:

.. math:: i^k X^x Z^z \to i^k X^{x'} Z^{z'}, \qquad x = \bigoplus_j x'_j v_j, \quad
    z'_j = |v_j \wedge z| \bmod 2 .

So bits vanish on which nothing but Z acts, and one for each symmetry of the state: the parity in
QAOA for MaxCut, for instance. Strings that lead out of the span have expectation value zero.

Reference: S. Bravyi, J. M. Gambetta, A. Mezzacapo & K. Temme, arXiv:1701.08213, on such symmetries.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ...arrays import IntArray
from .operations import FixedMatrix, Preparation, Rotation
from .paulis import PauliString


@dataclass(frozen=True)
class Compression:
    """The basis states that count, and how they are numbered.

    Attributes:
        basis: Masks that span them; each is the only one with the bit of its pivot.
        pivots: Their bits, in ascending order: bit ``j`` of the new index is that of ``pivots[j]``.
    """

    basis: tuple[int, ...]
    pivots: tuple[int, ...]

    @property
    def num_bits(self) -> int:
        """The number of bits that are left."""
        return len(self.pivots)

    @functools.cached_property
    def _place(self) -> dict[int, int]:
        return {pivot: j for j, pivot in enumerate(self.pivots)}

    @functools.cached_property
    def _units(self) -> int:
        """The bits that are vectors of the basis."""
        return sum(vector for vector in self.basis if not vector & (vector - 1))

    @functools.cached_property
    def _others(self) -> list[tuple[int, int, int]]:
        """The other vectors: their place, pivot and mask."""
        rows = enumerate(zip(self.pivots, self.basis, strict=True))
        return [(j, pivot, vector) for j, (pivot, vector) in rows if vector & (vector - 1)]

    def string(self, pauli: PauliString) -> PauliString | None:
        """Return a string on the bits that are left; ``None`` if it leads to no state of these."""
        x, z, k = pauli
        found_x = found_z = 0
        for bit in _bits((x | z) & self._units):
            j = self._place[bit]
            found_x |= (x >> bit & 1) << j
            found_z |= (z >> bit & 1) << j
        reached = x & self._units
        for j, pivot, vector in self._others:
            if x >> pivot & 1:
                found_x |= 1 << j
                reached ^= vector
            found_z |= ((vector & z).bit_count() & 1) << j
        return PauliString(found_x, found_z, k) if reached == x else None

    def strings(
        self, x: IntArray, z: IntArray, k: IntArray
    ) -> tuple[IntArray, IntArray, IntArray, IntArray]:
        """Return strings ``(K,)`` on the bits that are left, and the indices of those that stay.

        They have at most 63 bits.
        """
        found_x, found_z, reached = (np.zeros_like(x) for _ in range(3))
        for j, (vector, pivot) in enumerate(zip(self.basis, self.pivots, strict=True)):
            there = (x >> pivot) & 1
            found_x |= there << j
            reached ^= there * vector
            found_z |= (np.bitwise_count(vector & z).astype(np.int64) & 1) << j
        stay = np.flatnonzero(reached == x)
        return found_x[stay], found_z[stay], k[stay], stay

    def states(self, indices: IntArray) -> IntArray:
        """Return the new indices of basis states ``(N,)``; -1 for those that are not reached.

        What is -1 already stays so.
        """
        found, _, _, stay = self.strings(indices, np.zeros_like(indices), np.zeros_like(indices))
        states = np.full_like(indices, -1)
        states[stay] = found
        return np.where(indices < 0, -1, states)

    def operations(
        self, operations: Iterable[Rotation | FixedMatrix]
    ) -> list[Rotation | FixedMatrix]:
        """Return operations that lead to no other states on the bits that are left."""
        found: list[Rotation | FixedMatrix] = []
        for operation in operations:
            if isinstance(operation, FixedMatrix):
                bits = tuple([self._place[bit] for bit in operation.bits])
                found.append(FixedMatrix(bits, operation.matrix))
                continue
            pauli = self.string(operation.pauli)
            assert pauli is not None
            found.append(Rotation(pauli, operation.angle))
        return found

    def preparations(self, preparations: Iterable[Preparation]) -> tuple[Preparation, ...]:
        """Return preparations on the bits that are left."""
        return tuple(p.on(tuple([self._place[bit] for bit in p.bits])) for p in preparations)


def find_compression(
    operations: Iterable[Rotation | FixedMatrix],
    preparations: Iterable[Preparation] = (),
    masks: Iterable[int] = (),
) -> Compression:
    """Find the basis states that operations reach from zero.

    A bit that can be turned alone is a vector of the basis, since no sum of others is one, so that
    what acts on it alone still does. At least one bit is left.

    Args:
        operations: A tape's. All basis states of a matrix's bits count as reached.
        preparations: What the initial state holds beside zeros; likewise.
        masks: Masks ``x`` of further strings, whose states count as reached.
    """
    rows: dict[int, int] = {}  # by the highest bit
    seen: set[int] = set()
    for mask in _masks_of(operations, preparations, masks):
        if mask in seen:
            continue
        seen.add(mask)
        rest = mask
        while rest:
            other = rows.setdefault(rest.bit_length() - 1, rest)
            rest ^= other  # nothing is left if it is the mask itself
    if not rows:
        rows[0] = 1
    pivots = sorted(rows)
    all_pivots = sum(1 << pivot for pivot in pivots)
    for pivot in pivots:  # from below, so that what is subtracted is reduced already
        for other in _bits(rows[pivot] & all_pivots & ~(1 << pivot)):
            rows[pivot] ^= rows[other]
    return Compression(tuple([rows[pivot] for pivot in pivots]), tuple(pivots))


def compress(
    operations: Sequence[Rotation | FixedMatrix], strings: Sequence[PauliString] = ()
) -> tuple[list[Rotation | FixedMatrix], list[PauliString | None], int]:
    """Return a tape on as few bits as its state needs.

    Args:
        operations: Acting on a state of zeros.
        strings: Whose expectation values are read.

    Returns:
        The operations, and the strings, on the bits that are left: one at least. Strings with
        expectation value zero whatever the angles are become ``None``. Then the number of bits.

    Cost:
        The number of operations and strings times that of the bits that are left.

    Example:
        Nothing but Z acts on the first of two bits.

        >>> from qiskit_torch_bridge.simulation.tape.operations import Angle
        >>> tape = [Rotation(PauliString(*p), Angle(0.5)) for p in ((0b10, 0), (0, 0b11))]
        >>> fewer, strings, num_bits = compress(tape, [PauliString(0, 0b10), PauliString(1, 0)])
        >>> [tuple(operation.pauli) for operation in fewer], strings, num_bits
        ([(1, 0, 0), (0, 1, 0)], [PauliString(x=0, z=1, k=0), None], 1)
    """
    compression = find_compression(operations)
    return (
        compression.operations(operations),
        [compression.string(string) for string in strings],
        compression.num_bits,
    )


def _masks_of(
    operations: Iterable[Rotation | FixedMatrix],
    preparations: Iterable[Preparation],
    masks: Iterable[int],
) -> Iterator[int]:
    """Yield the masks of basis states that are reached from zero, and from each other."""
    yield from masks
    for operation in operations:
        if isinstance(operation, Rotation):
            yield operation.pauli.x
        else:
            yield from (1 << bit for bit in operation.bits)
    for preparation in preparations:
        yield from (1 << bit for bit in preparation.bits)


def _bits(mask: int) -> Iterator[int]:
    """Yield the places of the bits that are set."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
