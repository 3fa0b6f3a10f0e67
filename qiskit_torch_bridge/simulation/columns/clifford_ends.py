# SPDX-License-Identifier: Apache-2.0
r"""Clifford gates that end a circuit, taken out of it and into its observables.

With :math:`F` for what ends the circuit, :math:`\langle P\rangle` is that of
:math:`F^\dagger P F`, one string again, in the state before :math:`F`: a layer of gates fewer
crosses each cut.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..tape.operations import FixedMatrix, Rotation, count_quarter_turns
from ..tape.paulis import CliffordFrame, PauliString
from .strings import Strings

PROJECTED = 12
"""The bits of a letter that tell projectors."""


def absorb_end(
    operations: Sequence[Rotation | FixedMatrix], num_bits: int
) -> tuple[list[Rotation | FixedMatrix], CliffordFrame | None]:
    """Part a tape into what stays and the Clifford gates that end it.

    Returns:
        The operations that stay, and the frame of the others; ``None`` if there are none.
    """
    blocked = 0
    stay: list[Rotation | FixedMatrix] = []
    absorbed: list[tuple[PauliString, int]] = []
    for operation in reversed(operations):
        if isinstance(operation, FixedMatrix):
            blocked |= sum(1 << bit for bit in operation.bits)
            stay.append(operation)
            continue
        pauli, angle = operation
        support = pauli.x | pauli.z
        turns = count_quarter_turns(angle.offset) if angle.is_fixed else None
        if turns is None or support & blocked:
            blocked |= support
            stay.append(operation)
        elif turns:
            absorbed.append((pauli, turns))
    if not absorbed:
        return list(operations), None
    frame = CliffordFrame(num_bits)
    for pauli, turns in reversed(absorbed):
        frame.append_rotation(pauli, turns)
    return stay[::-1], frame


def conjugate(strings: Strings, frame: CliffordFrame) -> Strings | None:
    """Return the strings conjugated by a frame; ``None`` if there are projectors among them."""
    if (strings.letters & PROJECTED).any():
        return None
    letters = np.zeros(strings.letters.shape, dtype=np.int64)
    signs = np.ones(len(letters))
    for row, string in enumerate(strings.letters):
        (bits,) = np.nonzero(string)
        x = z = 0
        for bit, letter in zip(bits.tolist(), string[bits].tolist(), strict=True):
            x |= (letter >> 1) << bit
            z |= (letter & 1) << bit
        found = frame.conjugate(PauliString(x, z, (x & z).bit_count() % 4))
        if (found.k - (found.x & found.z).bit_count()) % 4:
            signs[row] = -1.0
        letters[row] = 2 * _digits(found.x, frame.num_bits) + _digits(found.z, frame.num_bits)
    return Strings(letters, (strings.coefficients * signs).tocsr(), strings.constants)


def _digits(mask: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    octets = np.frombuffer(mask.to_bytes(math.ceil(count / 8), "little"), dtype=np.uint8)
    return np.unpackbits(octets, count=count, bitorder="little").astype(np.int64)
