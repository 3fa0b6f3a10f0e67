# SPDX-License-Identifier: Apache-2.0
r"""Pauli strings as bit masks, and the Clifford frame that fixed gates are absorbed into.

A string is :math:`i^k X^x Z^z`: the masks ``x`` and ``z`` have one bit per qubit, and ``k`` counts
modulo four. It takes the basis state :math:`|i\rangle` to
:math:`i^k (-1)^{|i \wedge z|} |i \oplus x\rangle`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from qiskit.quantum_info import SparsePauliOp

Masks = NDArray[np.int64]

FEW = 32
"""Strings up to this number are conjugated one by one: arrays would take longer."""


class PauliString(NamedTuple):
    """The string ``i**k X**x Z**z``."""

    x: int
    z: int
    k: int = 0

    def __mul__(self, other: PauliString) -> PauliString:  # type: ignore[override]
        swaps = (self.z & other.x).bit_count()
        return PauliString(self.x ^ other.x, self.z ^ other.z, (self.k + other.k + 2 * swaps) % 4)

    def times_i(self, power: int) -> PauliString:
        """Return the string multiplied by ``i**power``."""
        return PauliString(self.x, self.z, (self.k + power) % 4)

    def commutes(self, other: PauliString) -> bool:
        """Whether the two strings commute; otherwise they anticommute."""
        return ((self.x & other.z).bit_count() + (self.z & other.x).bit_count()) % 2 == 0


def make_pauli_string(letters: str, qubits: Sequence[int]) -> PauliString:
    """Return the Hermitian string with ``letters[j]`` on ``qubits[j]``."""
    x = z = 0
    for letter, qubit in zip(letters, qubits, strict=True):
        x |= (letter in "XY") << qubit
        z |= (letter in "ZY") << qubit
    return PauliString(x, z, (x & z).bit_count() % 4)


class CliffordFrame:
    r"""A product :math:`F` of Clifford gates, known by what it makes of Pauli strings.

    The state of the circuit is :math:`F|\varphi\rangle` where only Pauli rotations have acted on
    :math:`|\varphi\rangle`. A rotation about :math:`P` that the circuit applies next is one about
    :math:`F^\dagger P F` there, and an observable is conjugated alike: Clifford gates cost nothing.

    Reference: D. Gottesman, arXiv:quant-ph/9807006.
    """

    def __init__(self, num_bits: int) -> None:
        self.num_bits = num_bits
        self.of_x = [PauliString(1 << q, 0) for q in range(num_bits)]
        self.of_z = [PauliString(0, 1 << q) for q in range(num_bits)]

    def conjugate(self, pauli: PauliString) -> PauliString:
        r"""Return :math:`F^\dagger P F`."""
        x = z = 0
        k = pauli.k
        for masks, images in ((pauli.x, self.of_x), (pauli.z, self.of_z)):
            while masks:
                low = masks & -masks
                image_x, image_z, image_k = images[low.bit_length() - 1]
                k += image_k + 2 * (z & image_x).bit_count()
                x ^= image_x
                z ^= image_z
                masks ^= low
        return PauliString(x, z, k % 4)

    def append_rotation(self, pauli: PauliString, quarter_turns: int) -> None:
        r"""Append :math:`e^{-i t \pi P / 4}` with a whole number :math:`t` of quarter turns."""
        turns = quarter_turns % 4
        if not turns:
            return
        image = self.conjugate(pauli)
        # X of a qubit changes where P has Z or Y on it, and Z of it where P has X or Y.
        for masks, images in ((pauli.z, self.of_x), (pauli.x, self.of_z)):
            while masks:
                low = masks & -masks
                q = low.bit_length() - 1
                images[q] = _rotated(images[q], image, turns)
                masks ^= low

    def append_cx(self, control: int, target: int) -> None:
        """Append a controlled X."""
        self.of_x[control] = self.of_x[control] * self.of_x[target]
        self.of_z[target] = self.of_z[control] * self.of_z[target]

    def append_cz(self, a: int, b: int) -> None:
        """Append a controlled Z."""
        self.of_x[a], self.of_x[b] = (
            self.of_x[a] * self.of_z[b],
            self.of_z[a] * self.of_x[b],
        )

    def conjugate_terms(
        self, x: Masks, z: Masks, k: Masks | None = None
    ) -> tuple[Masks, Masks, Masks]:
        """Conjugate strings ``(K,)`` given by masks; returns ``x``, ``z``, ``k``.

        Without ``k`` they are Hermitian and have no sign.
        """
        if k is None:
            k = np.bitwise_count(x & z).astype(np.int64)
        if len(x) <= FEW:
            given = map(PauliString, x.tolist(), z.tolist(), k.tolist())
            images = [self.conjugate(pauli) for pauli in given]
            found = np.array(images, dtype=np.int64).reshape(-1, 3)
            return found[:, 0], found[:, 1], found[:, 2]
        result_x, result_z, result_k = np.zeros_like(x), np.zeros_like(z), k.copy()
        for masks, images in ((x, self.of_x), (z, self.of_z)):
            for q, image in enumerate(images):
                at = np.flatnonzero((masks >> q) & 1)
                if not len(at):
                    continue
                swaps = np.bitwise_count(result_z[at] & image.x).astype(np.int64)
                result_k[at] += image.k + 2 * swaps
                result_x[at] ^= image.x
                result_z[at] ^= image.z
        return result_x, result_z, result_k % 4


def diagonalise(strings: Sequence[PauliString]) -> tuple[list[PauliString], list[PauliString]]:
    """Turn commuting strings to products of Z, by as many turns as are independent with X.

    Of two strings that anticommute, a quarter turn about their product makes the one from the
    other: one with X and the Z of one of its qubits. What was diagonal before stays so, since it
    commutes with both.

    Returns:
        The strings about which to turn by a quarter, one after the other, and what the turns make
        of the given ones.
    """
    turned, turns = list(strings), []
    for place in range(len(turned)):
        string = turned[place]
        if string.x:
            about = (string * PauliString(0, string.x & -string.x)).times_i(1)
            turned = [s if s.commutes(about) else _rotated(s, about, 3) for s in turned]
            turns.append(about)
    return turns, turned


def _rotated(pauli: PauliString, about: PauliString, turns: int) -> PauliString:
    r"""Return :math:`R^\dagger Q R` for a rotation by one to three quarter turns.

    The two strings anticommute, so that it is :math:`Q R^2`, and
    :math:`R^2 = e^{-i t \pi P / 2}`.
    """
    if turns == 2:
        return pauli.times_i(2)
    return (pauli * about).times_i(3 if turns == 1 else 1)


def find_masks(operator: SparsePauliOp, position: dict[int, int]) -> tuple[Masks, Masks, Masks]:
    """Return the masks of an operator's terms on some qubits, and the terms that stay.

    Args:
        operator: Any Hermitian operator.
        position: Maps the circuit's qubits to bits. The other qubits are in state zero: a term
            with X or Y on one of them has expectation value zero, and Z there is one.

    Returns:
        Masks ``x`` and ``z`` of the terms that stay, and their indices.
    """
    table_x, table_z = np.asarray(operator.paulis.x), np.asarray(operator.paulis.z)
    kept = np.arange(len(table_x))
    qubits = sorted(position, key=position.__getitem__)
    if qubits != list(range(table_x.shape[1])):
        idle = np.ones(table_x.shape[1], dtype=bool)
        idle[qubits] = False
        kept = np.flatnonzero(~table_x[:, idle].any(axis=1))
        table_x, table_z = table_x[kept][:, qubits], table_z[kept][:, qubits]
    return _numbers(table_x), _numbers(table_z), kept


def find_strings(
    operator: SparsePauliOp, position: dict[int, int]
) -> tuple[list[PauliString], Masks]:
    """Return the strings of an operator's terms on any number of bits, and the terms that stay.

    Args:
        operator: Any Hermitian operator.
        position: As for :func:`find_masks`, which is for 62 bits.
    """
    table_x, table_z = np.asarray(operator.paulis.x), np.asarray(operator.paulis.z)
    kept = np.arange(len(table_x))
    qubits = sorted(position, key=position.__getitem__)
    if qubits != list(range(table_x.shape[1])):
        idle = np.ones(table_x.shape[1], dtype=bool)
        idle[qubits] = False
        kept = np.flatnonzero(~table_x[:, idle].any(axis=1))
        table_x, table_z = table_x[kept][:, qubits], table_z[kept][:, qubits]
    both = zip(_wide_numbers(table_x), _wide_numbers(table_z), strict=True)
    return [PauliString(x, z, (x & z).bit_count() % 4) for x, z in both], kept


def _wide_numbers(table: NDArray[np.bool_]) -> list[int]:
    """Return the rows of a table ``(K, n)`` as numbers, the first column least significant."""
    packed = np.packbits(table, axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def _numbers(table: NDArray[np.bool_]) -> Masks:
    """Return the rows of a table ``(K, n)`` as numbers, the first column least significant."""
    packed = np.packbits(table, axis=1, bitorder="little")
    padded = np.zeros((len(table), 8), dtype=np.uint8)
    padded[:, : packed.shape[1]] = packed
    return padded.view("<i8")[:, 0].astype(np.int64, copy=False)
