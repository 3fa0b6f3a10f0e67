# SPDX-License-Identifier: Apache-2.0
"""In which order qubits stand on the line, so that few gates cross each cut between neighbours."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import connected_components, reverse_cuthill_mckee

Weights = Mapping[tuple[int, ...], float]
"""For each set of bits that gates act on together, the bits of bond that these gates take."""

SWEEPS = 50
"""Times that all neighbours are looked at for an exchange, at most."""

STEEPEST = 300.0
"""Bits of bond beyond which a cut counts no more: nothing of that size is ever computed."""

WIDE = 1e6
r"""The :math:`\sum_c D_c^3` from which it pays to look for other orders."""

MOST_BITS = 1000
"""Bits up to which eigenvectors are found in no time."""

FAR, ROUNDS = 20, 5
"""How many places a bit is carried in search of its best one, and how often each of them is."""


def order_bits(num_bits: int, weights: Weights, thorough: bool = False) -> list[int]:
    r"""Return the bits in an order that keeps :math:`\sum_c D_c^3` over the cuts small.

    The order of the circuit and the one of Cuthill and McKee, reversed, are both improved by
    exchanges of neighbours, which change one cut each; the better one is taken. Where it is wide,
    as on graphs that are no strips, that of Fiedler's vector is looked at as well.

    Args:
        num_bits: The number ``n`` of bits.
        weights: The bits of bond that gates on several bits take; all cuts between the first and
            the last of its bits bear a gate.
        thorough: Whether bits of a wide order are carried to better places farther away, too, which
            takes up to a second for a hundred bits.

    References: E. Cuthill and J. McKee, Proc. 24th Nat. Conf. ACM (1969) 157; M. Juvan and B.
    Mohar, Discrete Appl. Math. 36, 153 (1992), on eigenvectors of the Laplacian.
    """
    together = {bits: weight for bits, weight in weights.items() if len(bits) > 1 and weight > 0}
    lines = [
        _Line(start, together) for start in (range(num_bits), _narrow_band(num_bits, together))
    ]
    for line in lines:
        line.exchange()
    best = min(lines, key=_Line.cost)
    if best.cost() < WIDE or num_bits > MOST_BITS:
        return best.order
    line = _Line(_along_eigenvectors(num_bits, together), together)
    line.exchange()
    best = min(best, line, key=_Line.cost)
    if thorough:
        best.carry_all()
    return best.order


def cut_widths(order: Sequence[int], weights: Weights) -> list[float]:
    """Return the bits of bond of the ``n + 1`` cuts, the outer ones included."""
    place = {bit: i for i, bit in enumerate(order)}
    steps = np.zeros(len(order) + 2)
    for bits, weight in weights.items():
        sites = [place[bit] for bit in bits]
        steps[min(sites) + 1] += weight
        steps[max(sites) + 1] -= weight
    widths: list[float] = np.cumsum(steps)[: len(order) + 1].tolist()
    return widths


def cost_of_cuts(widths: Sequence[float]) -> float:
    r"""Return :math:`\sum_c D_c^3`."""
    return sum(8.0 ** min(width, STEEPEST) for width in widths)


def _narrow_band(num_bits: int, weights: Weights) -> list[int]:
    pairs = {(a, b) for bits in weights for a in bits for b in bits if a != b}
    if not pairs:
        return list(range(num_bits))
    rows, columns = np.array(sorted(pairs)).T
    graph = scipy.sparse.csr_array(
        (np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(num_bits, num_bits)
    )
    order: list[int] = reverse_cuthill_mckee(scipy.sparse.csr_matrix(graph), True).tolist()
    return order


def _along_eigenvectors(num_bits: int, weights: Weights) -> list[int]:
    """Return the bits by the entries of the Laplacian's second eigenvector, part by part."""
    laplacian = np.zeros((num_bits, num_bits))
    for bits, weight in weights.items():
        for a, b in itertools.permutations(bits, 2):
            laplacian[a, b] -= weight
            laplacian[a, a] += weight
    count, part_of = connected_components(scipy.sparse.csr_array(laplacian), directed=False)
    order: list[int] = []
    for part in range(count):
        own = np.flatnonzero(part_of == part)
        vectors = np.linalg.eigh(laplacian[np.ix_(own, own)])[1]
        along = vectors[:, min(1, len(own) - 1)]
        along = -along if along[0] > 0 else along  # of two directions always the same
        order += own[np.argsort(along, kind="stable")].tolist()
    return order


class _Line:
    """Bits in a row, which are moved while that makes cuts narrower.

    Args:
        start: The bits.
        weights: As for :func:`order_bits`.

    Attributes:
        order: The bits by now.
    """

    def __init__(self, start: Sequence[int], weights: Weights) -> None:
        self.order = list(start)
        self._weights = weights
        self._place = {bit: i for i, bit in enumerate(self.order)}
        self._of_bit: dict[int, list[tuple[tuple[int, ...], float]]] = {b: [] for b in self.order}
        for bits, weight in weights.items():
            for bit in bits:
                self._of_bit[bit].append((bits, weight))

    def cost(self) -> float:
        """What :func:`cost_of_cuts` says of it."""
        return cost_of_cuts(cut_widths(self.order, self._weights))

    def exchange(self) -> None:
        """Exchange neighbours while the cut between them becomes narrower."""
        for _ in range(SWEEPS):
            improved = False
            for cut in range(1, len(self.order)):
                if self._swap(cut) < -1e-9:
                    improved = True
                else:
                    self._swap(cut)
            if not improved:
                break

    def carry_all(self) -> None:
        """Carry each bit to the place nearby that makes the cost least, until none moves."""
        self._widths = cut_widths(self.order, self._weights)
        for _ in range(ROUNDS):
            moved = [self._carry(bit) for bit in list(self.order)]
            if not any(moved):
                break

    def _carry(self, bit: int) -> bool:
        """Carry a bit to its best place, and say whether it is another one."""
        start, last = self._place[bit], len(self.order) - 1
        turns = min(start + FAR, last), max(start - FAR, 0)
        gained, best, goal = 0.0, -1e-9 * cost_of_cuts(self._widths), start
        for turn in turns:
            for place in self._walk(bit, turn):
                cut = max(place, self._place[bit])
                before = self._widths[cut]
                self._widths[cut] += self._swap(cut)
                gained += cost_of_cuts([self._widths[cut]]) - cost_of_cuts([before])
                if gained < best:
                    best, goal = gained, place
        for place in self._walk(bit, goal):
            cut = max(place, self._place[bit])
            self._widths[cut] += self._swap(cut)
        return goal != start

    def _walk(self, bit: int, goal: int) -> Iterable[int]:
        """Return the places on the way of a bit."""
        start = self._place[bit]
        return range(start + 1, goal + 1) if goal > start else range(start - 1, goal - 1, -1)

    def _swap(self, cut: int) -> float:
        """Exchange the bits beside a cut, and return by how many bits of bond it becomes wider."""
        left, right = self.order[cut - 1], self.order[cut]
        before = self._crossing(left, right, cut)
        self.order[cut - 1], self.order[cut] = right, left
        self._place[left], self._place[right] = cut, cut - 1
        return self._crossing(left, right, cut) - before

    def _crossing(self, left: int, right: int, cut: int) -> float:
        """Return the weight over a cut of the gates on one of two bits."""
        total = 0.0
        for bit, other in ((left, right), (right, left)):
            for bits, weight in self._of_bit[bit]:
                sites = [self._place[b] for b in bits]
                if min(sites) < cut <= max(sites):
                    total += weight / 2 if other in bits else weight
        return total
