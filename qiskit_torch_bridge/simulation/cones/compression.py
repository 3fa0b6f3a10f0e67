# SPDX-License-Identifier: Apache-2.0
r"""A light cone on as few bits as its state has dimensions for.

Pauli strings displace the index of an amplitude by their masks ``x``: from zero, rotations reach
only the span of these over GF(2), which for QAOA is half of the states of the cone's qubits and for
a long string that turns alone two. Its elements are numbered by their coordinates. A string is one
there, too: its mask ``x`` has coordinates, and its signs are parities of the mask ``z`` with the
vectors of the basis.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..tape.paulis import PauliString
from .terms import own_sign

MAX_BITS = 40
"""Bits beyond which no state fits into any memory: nothing is written in them."""


class Coordinates:
    """The span of masks, with a basis of those that come first.

    Args:
        hard: Bits that stay what they are, as those of matrices: the first coordinates.
    """

    def __init__(self, hard: Sequence[int] = ()) -> None:
        self.basis = [1 << bit for bit in hard]
        self._hard = sum(self.basis)
        self._place = {1 << bit: j for j, bit in enumerate(hard)}
        # By the highest bit: a sum of basis vectors, and of which.
        self._echelon: dict[int, tuple[int, int]] = {}

    @property
    def num_bits(self) -> int:
        """The dimension of the span."""
        return len(self.basis)

    @property
    def is_too_large(self) -> bool:
        """Whether no state of so many bits is ever written."""
        return len(self.basis) > MAX_BITS

    def add(self, x: int) -> None:
        """Add a mask to the span."""
        rest, which = self._reduce(x & ~self._hard)
        if rest:
            self._echelon[rest.bit_length()] = (rest, which ^ 1 << len(self.basis))
            self.basis.append(x & ~self._hard)

    def find(self, x: int) -> int | None:
        """Return the coordinates of a mask, ``None`` if it is not in the span."""
        rest, found = self._reduce(x & ~self._hard)
        if rest:
            return None
        fixed = x & self._hard
        while fixed:
            low = fixed & -fixed
            found |= 1 << self._place[low]
            fixed ^= low
        return found

    def compress(self, pauli: PauliString) -> tuple[PauliString, int] | None:
        """Return a string in coordinates without its sign, and the sign.

        ``None`` if it leads out of the span: its expectation value is zero.
        """
        x = self.find(pauli.x)
        if x is None:
            return None
        z = 0
        for j, vector in enumerate(self.basis):
            z |= ((vector & pauli.z).bit_count() & 1) << j
        return PauliString(x, z, (x & z).bit_count() % 4), own_sign(x, z, pauli.k)

    def _reduce(self, x: int) -> tuple[int, int]:
        which = 0
        while x:
            known = self._echelon.get(x.bit_length())
            if known is None:
                break
            x ^= known[0]
            which ^= known[1]
        return x, which
