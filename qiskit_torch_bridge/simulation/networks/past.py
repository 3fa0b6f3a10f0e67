# SPDX-License-Identifier: Apache-2.0
r"""Which operations of a tape a Pauli string depends on: those that stay in :math:`U^\dagger O U`.

The tape is walked backward from the string. On each qubit it is known which letters the string may
have become; a rotation whose letters commute with all of them on every qubit cancels.
"""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Mapping, Sequence

from ..tape.compile_tape import Tape
from ..tape.operations import FixedMatrix, Rotation

X, Z, ANY = 1, 2, 4
"""A qubit's letters: X and Z make Y. Two of them, or what a matrix leaves, are any."""


def letters_of(pauli: tuple[int, int, int]) -> dict[int, int]:
    """Return the letters of a string that are not I, by bit."""
    x, z, _ = pauli
    found = {}
    support = x | z
    while support:
        low = support & -support
        support ^= low
        found[low.bit_length() - 1] = X * bool(x & low) + Z * bool(z & low)
    return found


class Past:
    """Finds what strings depend on, in a tape whose operations act on the qubits of their gates.

    Args:
        tape: As :func:`.compile_placed_tape` writes it.

    Cost:
        A string takes as many steps as there are operations on the qubits that it reaches.
    """

    def __init__(self, tape: Tape) -> None:
        self._operations: Sequence[Rotation | FixedMatrix] = tape.operations
        self._letters: list[dict[int, int]] = []
        self._on_bit: list[list[int]] = [[] for _ in range(tape.num_bits)]
        for place, operation in enumerate(tape.operations):
            if isinstance(operation, FixedMatrix):
                letters = dict.fromkeys(operation.bits, ANY)
            else:
                letters = letters_of(operation.pauli)
            self._letters.append(letters)
            for bit in letters:
                self._on_bit[bit].append(place)

    def letters_at(self, place: int) -> dict[int, int]:
        """Return the letters of an operation by bit."""
        return self._letters[place]

    def operations_before(self, string: Mapping[int, int]) -> list[int]:
        """Return the places, in their order, of the operations that a string depends on.

        Args:
            string: Its letters by bit.
        """
        became = dict(string)
        remaining = {bit: len(self._on_bit[bit]) for bit in became}
        waiting: list[int] = []
        queued: set[int] = set()

        def queue(bit: int) -> None:
            count = remaining[bit]
            if count:
                place = self._on_bit[bit][count - 1]
                if place not in queued:
                    queued.add(place)
                    heapq.heappush(waiting, -place)

        for bit in became:
            queue(bit)
        kept: list[int] = []
        while waiting:
            place = -heapq.heappop(waiting)
            letters = self._letters[place]
            if any(
                bit in became and (became[bit] == ANY or became[bit] != letter)
                for bit, letter in letters.items()
            ):
                kept.append(place)
                for bit, letter in letters.items():
                    if bit not in became:
                        became[bit] = letter
                        # Whatever comes later on this bit acts on nothing that is read.
                        remaining[bit] = self._count_before(bit, place)
                    elif became[bit] != letter:
                        became[bit] = ANY
            for bit in letters:
                if bit in became:
                    remaining[bit] = min(remaining[bit], self._count_before(bit, place))
                    queue(bit)
        kept.reverse()
        return kept

    def _count_before(self, bit: int, place: int) -> int:
        """Return how many operations on a bit come before a place."""
        return bisect.bisect_left(self._on_bit[bit], place)
