# SPDX-License-Identifier: Apache-2.0
"""What is read of a matrix product: the strings of all observables, one letter after the other.

The beginnings that strings share are the nodes of :class:`.strings.Automaton`. Those with as many
letters are handled together, wherever on the line they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..arrays import ComplexArray
from ..simulation.columns.strings import END, MATRICES, Automaton, Edge, Strings
from .column_sweeps import Environments
from .sparse_maps import SparseMap, to_device

ROOT = Edge(0, 0, 0)
"""The edge from the root to itself, where further strings begin."""

Gather = Callable[[Tensor], Tensor]


class _Letters(NamedTuple):
    """Matrices of two rows: their diagonals, and what is beside these, ``(E, 1, 2, 1)`` each."""

    diagonal: Tensor
    beside: Tensor

    def __call__(self, columns: Tensor) -> Tensor:
        """Apply each to its column, ``(B, E, l, s, r)``."""
        return self.diagonal * columns + self.beside * columns.flip(3)


class _Level(NamedTuple):
    """Beginnings of one length.

    Attributes:
        strings: How many there are.
        passes: Those that go on, once for each letter.
        passing: How many these are.
    """

    strings: int
    passes: Gather
    passing: int


class StringReader:
    """Reads observables.

    Each length of beginnings takes two products after those of the length before; whatever else
    they need is gathered for all lengths together.

    Args:
        strings: Those of the observables.
        automaton: Their beginnings.
        dtype: Complex, of the columns.
        device: Where they are.
    """

    def __init__(
        self, strings: Strings, automaton: Automaton, dtype: torch.dtype, device: torch.device
    ) -> None:
        self._dtype, self._device = dtype, device
        count = len(automaton.edges)
        leaving = _by_source(automaton)
        self._levels: list[_Level] = []
        sources = [(site, 0) for site in _beginning_sites(automaton)]
        begun = len(sources)
        met: list[int] = []  # the sites that beginnings meet, one length after the other
        passed: list[tuple[int, int]] = []  # of those that go on sites and letters
        ends: list[tuple[int, Edge]] = []
        while sources:
            edges = [(u, e) for u, source in enumerate(sources) for e in leaving.get(source, [])]
            ends += [(len(met) + u, e) for u, e in edges if e.target == END]
            going = [(u, e) for u, e in edges if e.target != END]
            passed += [(sources[u][0], e.letter) for u, e in going]
            passes = self._gather([u for u, _ in going], len(sources))
            self._levels.append(_Level(len(sources), passes, len(going)))
            met += [site for site, _ in sources]
            sources = [(sources[u][0] + 1, e.target) for u, e in going]
        self._begins = self._gather(met[:begun], count)
        self._met = self._gather(met[begun:], count)
        self._passed = self._gather([site for site, _ in passed], count)
        letters = [letter for _, letter in passed]
        self._letters = self._write_letters(MATRICES[letters]) if any(letters) else _unchanged
        ending = sorted({u for u, _ in ends})
        self._ends = self._gather(ending, len(met))
        self._rights = self._gather([met[u] for u in ending], count)
        self._readout = self._weigh(strings, ends, ending)

    def __call__(self, columns: Tensor, environments: Environments) -> Tensor:
        """Return the values of observables, ``(B, O)`` in double precision, without constants."""
        conjugate = columns.conj().resolve_conj()
        # The columns with the letters that are read on the side of the ket, (B, E, l, s, r).
        passed = self._letters(self._passed(columns)).flatten(2, 3).mT
        passed_by_level = passed.split([level.passing for level in self._levels], 1)
        met = self._met(conjugate).flatten(3)
        met_by_level = met.split([level.strings for level in self._levels[1:]], 1)
        halves = [self._begins(environments.lefts)]
        for level, mine, beyond in zip(self._levels, passed_by_level, met_by_level, strict=False):
            lefts = mine @ level.passes(halves[-1]).flatten(2, 3)
            halves.append((lefts @ beyond).unflatten(3, (2, -1)))
        left = self._ends(torch.cat(halves, 1)).transpose(2, 3).flatten(3)
        right = self._rights(environments.rights).transpose(2, 3).flatten(3)
        values = (left @ right.mT).flatten(1).to(torch.complex128)  # by string, bra and ket
        return self._readout(values).real

    def _write_letters(self, matrices: ComplexArray) -> _Letters:
        diagonal = np.stack([matrices[:, 0, 0], matrices[:, 1, 1]], 1)
        beside = np.stack([matrices[:, 0, 1], matrices[:, 1, 0]], 1)
        given = (to_device(m, self._device, self._dtype) for m in (diagonal, beside))
        return _Letters(*(m[:, None, :, None] for m in given))

    def _gather(self, places: Sequence[int], count: int) -> Gather:
        if list(places) == list(range(count)):
            return _unchanged
        real = torch.float32 if self._dtype == torch.complex64 else torch.float64
        return SparseMap(
            np.arange(len(places)), places, None, (len(places), count), real, self._device
        )

    def _weigh(
        self, strings: Strings, ends: Sequence[tuple[int, Edge]], ending: Sequence[int]
    ) -> SparseMap:
        """Return the map from what is found where strings end to the values of observables."""
        by_string = strings.coefficients.tocsc()
        place = {u: k for k, u in enumerate(ending)}
        rows: list[int] = []
        columns: list[int] = []
        numbers: list[complex] = []
        for u, edge in ends:
            own = slice(by_string.indptr[edge.string], by_string.indptr[edge.string + 1])
            entries = MATRICES[edge.letter].ravel()
            (used,) = np.nonzero(entries)
            for o, weight in zip(by_string.indices[own], by_string.data[own], strict=True):
                rows += [int(o)] * len(used)
                columns += (4 * place[u] + used).tolist()
                numbers += (weight * entries[used]).tolist()
        shape = (len(strings.constants), 4 * len(ending))
        return SparseMap(rows, columns, numbers, shape, torch.complex128, self._device)


def _by_source(automaton: Automaton) -> dict[tuple[int, int], list[Edge]]:
    """Return the edges from each node, but for those of the root to itself."""
    last = _last_beginning(automaton)
    found: dict[tuple[int, int], list[Edge]] = {}
    for site, edges in enumerate(automaton.edges):
        for edge in edges:
            if site >= last or edge != ROOT:
                found.setdefault((site, edge.source), []).append(edge)
    return found


def _beginning_sites(automaton: Automaton) -> list[int]:
    """Return the sites at which strings begin."""
    last = _last_beginning(automaton)
    return [
        site
        for site, edges in enumerate(automaton.edges[: last + 1])
        if any(edge.source == 0 and edge != ROOT for edge in edges)
    ]


def _last_beginning(automaton: Automaton) -> int:
    """Return the last site at which a string begins: up to there the root leads to itself."""
    return next((site for site, edges in enumerate(automaton.edges) if ROOT not in edges), -1)


def _unchanged(x: Tensor) -> Tensor:
    return x
