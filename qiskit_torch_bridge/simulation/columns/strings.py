# SPDX-License-Identifier: Apache-2.0
"""Observables as strings of letters along the line of sites, beginnings shared.

A string begins at its first letter that is not the identity and ends at its last one. What lies
between a cut and the beginnings of strings to its left is a node there; the root is where no string
has begun yet. An edge leads over one site, by a letter, from a node to a node, or to the end of a
string.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse

from ...arrays import ComplexArray, FloatArray, IntArray
from ...exceptions import CircuitError
from ...program.operators import LETTERS, Observable, as_products

END = -1
"""The target of an edge at the end of a string."""

_PLUS = np.array([[1, 1], [1, 1]]) / 2
_TURNED = np.array([[1, -1j], [1j, 1]]) / 2
_BY_LETTER = {
    "I": np.eye(2), "Z": np.diag([1, -1]), "X": np.array([[0, 1], [1, 0]]),
    "Y": np.array([[0, -1j], [1j, 0]]), "0": np.diag([1, 0]), "1": np.diag([0, 1]),
    "+": _PLUS, "-": np.eye(2) - _PLUS, "r": _TURNED, "l": np.eye(2) - _TURNED,
}  # fmt: skip
MATRICES: ComplexArray = np.zeros((12, 2, 2), dtype=complex)
"""The matrix of each letter, by its number in :data:`.LETTERS`."""
for _letter, _matrix in _BY_LETTER.items():
    MATRICES[LETTERS[_letter]] = _matrix


class Strings(NamedTuple):
    """The different strings of some observables.

    Attributes:
        letters: The numbers of the letters by bit, shape ``(K, n)``.
        coefficients: What each string contributes to each observable, sparse, shape ``(O, K)``.
        constants: What observables have beside strings, shape ``(O,)``.
    """

    letters: IntArray
    coefficients: scipy.sparse.csr_array
    constants: FloatArray


class Edge(NamedTuple):
    """Leads over one site from a node, by a letter, to a node or to the :data:`END` of a string."""

    source: int
    letter: int
    target: int
    string: int = -1


@dataclass(frozen=True)
class Automaton:
    """All beginnings of some strings.

    Attributes:
        nodes: How many there are at each of the ``n + 1`` cuts. The root is the first one, where
            there is one.
        edges: Those over each of the ``n`` sites, by target, ends last.
        first_end: The first site at which a string ends.
    """

    nodes: list[int]
    edges: list[list[Edge]]
    first_end: int

    @property
    def num_edges(self) -> int:
        """Of all edges the number."""
        return sum(map(len, self.edges))


def collect_strings(observables: Sequence[Observable], bits: Sequence[int]) -> Strings:
    """Return the strings of observables on some of a circuit's qubits, the others in state zero.

    Args:
        observables: On the circuit's qubits, with real coefficients.
        bits: The circuit's qubit that each bit is.

    Raises:
        CircuitError: If a coefficient is not real.
    """
    tables, owners, numbers = [np.zeros((0, len(bits)), np.uint8)], [], [np.zeros(0)]
    for o, observable in enumerate(observables):
        products = as_products(observable).on_qubits(bits)
        coefficients = np.asarray(products.coeffs)
        if np.imag(coefficients).any():
            raise CircuitError(
                "Column networks read Hermitian observables; got one with complex coefficients. "
                "Use method='statevector'."
            )
        tables.append(products.letters)
        owners += [o] * len(coefficients)
        numbers.append(np.real(coefficients).astype(float))
    table = np.ascontiguousarray(np.concatenate(tables))
    weights, owner = np.concatenate(numbers), np.array(owners, dtype=np.int64)
    has_letters = table.any(axis=1)
    constants = np.bincount(owner[~has_letters], weights[~has_letters], len(observables)).astype(
        float
    )
    counts = has_letters & (weights != 0)
    table, weights, owner = table[counts], weights[counts], owner[counts]
    keys = np.ascontiguousarray(table).view(f"V{table.shape[1]}").ravel()
    _, first, string = np.unique(keys, return_index=True, return_inverse=True)
    shape = (len(observables), len(first))
    sparse = scipy.sparse.csr_array((weights, (owner, string.ravel())), shape=shape)
    return Strings(table[first].astype(np.int64), sparse, constants)


def masks_of(strings: Strings) -> list[tuple[int, int]]:
    """Return the masks ``x`` and ``z`` of what commutes with all strings if it does with these."""
    found: set[tuple[int, int]] = set()
    rows, bits = np.nonzero(strings.letters)
    masks: dict[int, tuple[int, int]] = {}
    for row, bit, letter in zip(
        rows.tolist(), bits.tolist(), strings.letters[rows, bits].tolist(), strict=True
    ):
        own = (letter >> 1 & 1) << bit, (letter & 1) << bit
        if letter & 12:  # a projector: the identity, and its Pauli
            found.add(own)
        else:
            x, z = masks.get(row, (0, 0))
            masks[row] = x | own[0], z | own[1]
    return sorted(found.union(masks.values()))


def find_automaton(letters: IntArray) -> Automaton:
    """Return the automaton of strings ``(K, n)``, none of them the identity, site by site."""
    count, num_sites = letters.shape
    sorting, begins, lasts, parts = _beginnings(letters)
    last_begin = int(begins.max(initial=-1))
    nodes = [int(cut <= last_begin) for cut in range(num_sites + 1)]
    edges = [[Edge(0, 0, 0)] * (site < last_begin) for site in range(num_sites)]
    path = [0] * (num_sites + 1)
    bounds = zip(sorting.tolist(), begins.tolist(), lasts.tolist(), parts.tolist(), strict=True)
    for string, begin, last, part in bounds:
        node = path[part] if part > begin else 0
        kinds = letters[string, part : last + 1].tolist()
        for site, letter in zip(range(part, last), kinds, strict=False):
            target = nodes[site + 1]
            nodes[site + 1] += 1
            edges[site].append(Edge(node, letter, target))
            node = path[site + 1] = target
        edges[last].append(Edge(node, kinds[-1], END, string))
    for of_site in edges:
        of_site.sort()
    return Automaton(nodes, edges, int(lasts.min()) if count else num_sites)


def count_edges(letters: IntArray) -> int:
    """Return how many edges the automaton of strings has, but for those of the root."""
    _, _, lasts, parts = _beginnings(letters)
    return int((lasts - parts + 1).sum())


def _beginnings(letters: IntArray) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Sort strings and see where each one parts from those before it.

    Returns:
        The strings in the order of their letters, and in it the sites at which they begin and end,
        and the first one over which they have no edge yet; shape ``(K,)``.
    """
    num_sites = letters.shape[1]
    table = np.ascontiguousarray(letters.astype(np.uint8))
    sorting = np.argsort(table.view(f"S{num_sites}").ravel(), kind="stable")
    table = table[sorting]
    present = table != 0
    begins = present.argmax(axis=1)
    lasts = num_sites - 1 - present[:, ::-1].argmax(axis=1)
    parts = begins.copy()
    differs = table[1:] != table[:-1]
    common = differs.argmax(axis=1)
    parts[1:] = np.maximum(begins[1:], np.minimum(common, lasts[:-1]))
    return sorting, begins, lasts, parts
