# SPDX-License-Identifier: Apache-2.0
"""What commutes with many Pauli strings, asked of the few that the others are products of."""

from __future__ import annotations


class PauliSpan:
    """Pauli strings and all their products, up to phases.

    What commutes with some strings commutes with their products, so it is enough to look at those
    that are no products of others: two for each qubit at most, however many strings there are.

    Args:
        num_qubits: On which the strings are. They are given by the numbers of their masks: the bits
            of ``x`` say where X or Y is, those of ``z`` where Z or Y is.
    """

    def __init__(self, num_qubits: int) -> None:
        self._num_qubits = num_qubits
        self._basis: dict[int, tuple[int, int]] = {}  # by the highest bit of both masks

    def add(self, x: int, z: int) -> None:
        """Add a string."""
        if self.is_full:
            return
        while word := x << self._num_qubits | z:
            other = self._basis.setdefault(word.bit_length(), (x, z))
            x, z = x ^ other[0], z ^ other[1]  # nothing is left if it is the string itself

    def commutes(self, x: int, z: int) -> bool:
        """Whether a string commutes with all of them."""
        for a, b in self._basis.values():
            if ((x & b).bit_count() + (z & a).bit_count()) & 1:
                return False
        return True

    @property
    def is_full(self) -> bool:
        """Whether all strings are in it, so that the identity alone commutes with them."""
        return len(self._basis) == 2 * self._num_qubits
