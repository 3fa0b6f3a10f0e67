# SPDX-License-Identifier: Apache-2.0
"""Grouping of Pauli strings that commute qubit by qubit, so that one measurement serves all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..arrays import BoolArray, IntArray

_AXES = str.maketrans("01+-rl", "ZZXXYY")

Words: TypeAlias = Sequence[tuple[NDArray[np.integer], NDArray[np.integer]]]
"""For each word of the strings, where X or Y is and where Z or Y is: two arrays ``(K,)``."""


def find_basis(label: str) -> str:
    """Return the Paulis that a term is measured in; projectors count as their axis."""
    return label.translate(_AXES)


def group_labels(labels: Sequence[str]) -> IntArray:
    """Return the group of each label of Pauli letters, all of one length."""
    text = "".join(labels).encode()
    letters = np.frombuffer(text, dtype=np.uint8).reshape(len(labels), -1)[:, ::-1]
    x = (letters == ord("X")) | (letters == ord("Y"))
    z = (letters == ord("Z")) | (letters == ord("Y"))
    return group_qubit_wise(pack_words(x), pack_words(z), letters.shape[1])


def group_qubit_wise(x: IntArray, z: IntArray, num_bits: int) -> IntArray:
    """Return the group of each Pauli string: as few groups as a greedy search finds.

    Two strings are in conflict where both have a letter on a qubit, and not the same one. Strings
    with many conflicts come first, those with equally many by their labels. The groups are those of
    Qiskit's ``PauliList.group_commuting(qubit_wise=True)`` for a sorted list, which makes a graph
    of all pairs in conflict; here one string is compared with all others at a time.

    Args:
        x: Words of 64 bits that say where X or Y is, shape ``(K, words)``.
        z: Where Z or Y is.
        num_bits: How many bits count.
    """
    letter_at = []
    for b in range(num_bits):
        of_x, of_z = (words[:, b >> 6] >> (b & 63) & 1 for words in (x, z))
        letter_at.append(of_x + of_z * (3 - 2 * of_x))
    order = np.lexsort(letter_at)
    pairs = np.concatenate([x, z], axis=1)[order]
    new = np.ones(len(pairs), dtype=bool)
    new[1:] = np.any(pairs[1:] != pairs[:-1], axis=1)
    string_of = np.empty(len(x), dtype=np.int64)
    string_of[order] = np.cumsum(new) - 1
    return _color_greedily(*np.split(pairs[new], 2, axis=1))[string_of]


def _color_greedily(x: IntArray, z: IntArray) -> IntArray:
    # Words of different strings lie side by side in memory, and are no wider than need be.
    bits = np.bitwise_or.reduce(np.bitwise_or(x, z), axis=None)
    word = np.uint16 if 0 <= bits < 1 << 16 else x.dtype
    strings = [(a.astype(word), b.astype(word)) for a, b in zip(x.T, z.T, strict=True)]
    conflicts = [np.count_nonzero(_find_conflicts(strings, t, strings)) for t in range(len(x))]
    groups = [(np.zeros_like(a), np.zeros_like(b)) for a, b in strings]
    group_of = np.zeros(len(x), dtype=np.int64)
    count = 0
    for t in np.argsort(-np.array(conflicts, dtype=np.int64), kind="stable"):
        taken = _find_conflicts(strings, t, [(a[:count], b[:count]) for a, b in groups])
        g = count if taken.all() else int(np.argmin(taken))
        count = max(count, g + 1)
        for (a, b), (own_a, own_b) in zip(groups, strings, strict=True):
            a[g] |= own_a[t]
            b[g] |= own_b[t]
        group_of[t] = g
    return group_of


def _find_conflicts(strings: Words, t: int, others: Words) -> BoolArray:
    """Whether string ``t`` has another letter than others somewhere where both have one."""
    found = np.zeros(len(others[0][0]), dtype=bool)
    for (x, z), (others_x, others_z) in zip(strings, others, strict=True):
        different = (others_x ^ x[t]) | (others_z ^ z[t])
        different &= x[t] | z[t]
        different &= others_x | others_z
        found |= different != 0
    return found


def pack_words(table: BoolArray) -> IntArray:
    """Pack bits ``(K, n)`` into words of 64: ``(K, words)``."""
    padded = np.zeros((len(table), -(-table.shape[1] // 64) * 64), dtype=bool)
    padded[:, : table.shape[1]] = table
    return np.packbits(padded, axis=1, bitorder="little").view(np.int64)
