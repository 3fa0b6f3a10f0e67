# SPDX-License-Identifier: Apache-2.0
r"""A canonical form of light cones, up to the names of qubits and the order of what commutes.

A cone is a graph: its elements (operations, terms, preparations) are joined to the qubits that they
act on, labelled X, Y or Z. Colours of elements are refined by those of their qubits and vice versa
(B. Weisfeiler & A. Leman, 1968), for all cones at once. Where elements of one cone have the same
colour, one of them is given its own, and so on until all differ: the colours then say in which
order they come. An equal form *is* a renaming of qubits from one cone to the other, whatever the
colours are: where they collide, or where a choice between equal colours matters, cones that are
equal are at worst taken for different ones.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...arrays import BoolArray, IntArray
from .causality import Incidence, expand_ranges

Colours = NDArray[np.uint64]

MAX_CHOICES = 200
"""How often one of equal elements is told from the others before the tape's order does it."""
MAX_ENTRIES = 4_000_000
"""Letters of all cones up to which colours are refined; beyond it, the tape's order counts."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SHIFTS = np.uint64(30), np.uint64(27), np.uint64(31)
_OWN = np.uint64(0xD6E8FEB86659FD93)


class Elements(NamedTuple):
    """What cones are made of: each element occurs in any number of them.

    Attributes:
        incidence: The qubits of each element, and how it acts on them.
        kinds: What else tells elements apart, shape ``(N,)``, signs and angles left out. They come
            in this order.
        angles: Which angle, up to what is the same for all of a kind: breaks ties only.
    """

    incidence: Incidence
    kinds: IntArray
    angles: IntArray


class Ordered(NamedTuple):
    """Cones in canonical form.

    Attributes:
        elements: The elements of all cones, in the place of those that were given, in order.
        qubits: The qubits of all cones, in order, and
        qubit_starts: where those of each cone start.
        keys: The form of each cone: that of equal cones is the same.
    """

    elements: IntArray
    qubits: IntArray
    qubit_starts: IntArray
    keys: list[bytes]


def order_cones(starts: IntArray, chosen: IntArray, elements: Elements) -> Ordered:
    """Bring cones into canonical form.

    Args:
        starts: Where the elements of each cone start, shape ``(C + 1,)``.
        chosen: The elements of all cones.
        elements: What they are.
    """
    graph = _Graph(starts, chosen, elements)
    colours = graph.first_colours(elements, chosen)
    of_qubits = np.zeros(len(graph.qubits), dtype=np.uint64)
    if len(starts) > 2 and len(graph.entry_element) <= MAX_ENTRIES:
        of_qubits = _tell_apart(graph, colours)
    by_place = np.arange(len(chosen))
    order = np.lexsort(
        (by_place, colours[1], colours[0], elements.kinds[chosen], graph.cone_of_element)
    )
    qubit_order = np.lexsort((graph.qubits, of_qubits, graph.cone_of_qubit))
    return Ordered(
        chosen[order], graph.qubits[qubit_order], graph.qubit_starts,
        _write_keys(graph, order, qubit_order, elements.kinds[chosen]),
    )  # fmt: skip


class _Graph:
    """Elements and qubits of cones as the nodes of one graph, in parts that are not connected."""

    def __init__(self, starts: IntArray, chosen: IntArray, elements: Elements) -> None:
        self.starts = starts
        self.cone_of_element = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        entries, counts = expand_ranges(elements.incidence.starts, chosen)
        self.entry_element = np.repeat(np.arange(len(chosen)), counts)
        self.letters = elements.incidence.letters[entries]
        bits = elements.incidence.bits[entries]
        width = int(bits.max()) + 1 if len(bits) else 1
        places = self.cone_of_element[self.entry_element] * width + bits
        found, self.entry_qubit = np.unique(places, return_inverse=True)
        self.cone_of_qubit, self.qubits = np.divmod(found, width)
        self.qubit_starts = np.searchsorted(self.cone_of_qubit, np.arange(len(starts)))
        self._prepare()

    def _prepare(self) -> None:
        self._letter_colours = _mix(self.letters.astype(np.uint64) * _GOLDEN)
        self._by_qubit = np.argsort(self.entry_qubit, kind="stable")
        self._element_at = _beginnings(self.entry_element)
        self._qubit_at = _beginnings(self.entry_qubit[self._by_qubit])

    def first_colours(self, elements: Elements, chosen: IntArray) -> Colours:
        """Return the colours of kinds, and those of kinds and angles: ``(2, N)``."""
        kinds = _mix(elements.kinds[chosen].astype(np.uint64) + _GOLDEN)
        angles = _mix(kinds ^ _mix(elements.angles[chosen].astype(np.uint64) * _GOLDEN + _OWN))
        return np.stack([kinds, angles])

    def part(self, cones: BoolArray) -> tuple[_Graph, BoolArray, BoolArray]:
        """Return the graph of some cones, and which elements and qubits these are."""
        graph = _Graph.__new__(_Graph)
        elements, qubits = cones[self.cone_of_element], cones[self.cone_of_qubit]
        entries = elements[self.entry_element]
        cone_at, element_at, qubit_at = (np.cumsum(a) - 1 for a in (cones, elements, qubits))
        graph.cone_of_element = cone_at[self.cone_of_element[elements]]
        graph.cone_of_qubit = cone_at[self.cone_of_qubit[qubits]]
        graph.entry_element = element_at[self.entry_element[entries]]
        graph.entry_qubit = qubit_at[self.entry_qubit[entries]]
        graph.letters = self.letters[entries]
        graph._prepare()
        return graph, elements, qubits

    def refine(self, colours: Colours) -> Colours:
        """Refine the colours of elements in place until no more differ; return those of qubits."""
        distinct = -1
        while True:
            sent = _mix(colours[:, self.entry_element] ^ self._letter_colours)
            found: Colours = np.add.reduceat(sent[:, self._by_qubit], self._qubit_at, axis=1)
            of_qubits: Colours = _mix(found)
            now = self._count(colours)
            if now == distinct:
                return of_qubits
            distinct = now
            sent = _mix((of_qubits[:, self.entry_qubit] + _OWN) ^ self._letter_colours)
            found = np.add.reduceat(sent, self._element_at, axis=1)
            colours[:] = _mix(colours + _GOLDEN * found)

    def _count(self, colours: Colours) -> int:
        """Return how many elements differ from others of their cone, by either kind of colours."""
        own = _mix(self.cone_of_element.astype(np.uint64) + _OWN)
        found = np.sort(colours ^ own, axis=1)  # takes less time than np.unique
        return int(np.count_nonzero(found[:, 1:] != found[:, :-1]))


def _tell_apart(graph: _Graph, colours: Colours) -> Colours:
    """Refine colours in place until all elements of a cone differ; return those of qubits."""
    of_qubits = graph.refine(colours)[0]
    part, elements, qubits = graph, np.arange(colours.shape[1]), np.arange(len(of_qubits))
    current = colours.copy()
    for _ in range(MAX_CHOICES):
        order = np.lexsort((current[1], current[0], part.cone_of_element))
        cones, sorted_colours = part.cone_of_element[order], current[0, order]
        same = (cones[1:] == cones[:-1]) & (sorted_colours[1:] == sorted_colours[:-1])
        tied = np.flatnonzero(same)
        if not len(tied):
            break
        with_ties, first = np.unique(cones[tied], return_index=True)
        # The first of equal colours has the least angle.
        singled_out = np.zeros(len(order), dtype=bool)
        singled_out[order[tied[first]]] = True
        chosen = np.zeros(cones[-1] + 1, dtype=bool)
        chosen[with_ties] = True
        part, mine, also = part.part(chosen)
        elements, qubits, singled_out = elements[mine], qubits[also], singled_out[mine]
        current = current[:, mine]
        current[:, singled_out] = _mix(current[:, singled_out] ^ _OWN)
        of_qubits[qubits] = part.refine(current)[0]
        colours[:, elements] = current
    return of_qubits


def _write_keys(
    graph: _Graph, order: IntArray, qubit_order: IntArray, kinds: IntArray
) -> list[bytes]:
    """Return all that there is about each cone, elements and qubits being named by their place."""
    place, qubit_place = np.empty_like(order), np.empty_like(qubit_order)
    place[order] = np.arange(len(order)) - graph.starts[graph.cone_of_element]
    first = graph.qubit_starts[graph.cone_of_qubit]
    qubit_place[qubit_order] = np.arange(len(qubit_order)) - first
    by = (qubit_place[graph.entry_qubit], place[graph.entry_element])
    cones = graph.cone_of_element[graph.entry_element]
    entries = np.lexsort((*by, cones))
    table = np.stack([by[1], by[0], graph.letters], axis=1)[entries].astype("<i4")
    bounds = np.searchsorted(cones[entries], np.arange(len(graph.starts)))
    kinds = kinds[order]
    spans = zip(bounds[:-1], bounds[1:], graph.starts[:-1], graph.starts[1:], strict=True)
    return [kinds[k:m].tobytes() + table[i:j].tobytes() for i, j, k, m in spans]


def _beginnings(sorted_numbers: IntArray) -> IntArray:
    """Return where equal numbers begin."""
    changes = np.flatnonzero(sorted_numbers[1:] != sorted_numbers[:-1]) + 1
    return np.concatenate([[0], changes])[: len(sorted_numbers)]


def _mix(numbers: Colours) -> Colours:
    """Scatter the bits of numbers.

    Reference: G. L. Steele, D. Lea & C. H. Flood, OOPSLA 2014 (SplitMix).
    """
    first, second, third = _SHIFTS
    numbers = (numbers ^ (numbers >> first)) * _FIRST
    numbers = (numbers ^ (numbers >> second)) * _SECOND
    mixed: Colours = numbers ^ (numbers >> third)
    return mixed
