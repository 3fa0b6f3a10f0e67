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
from .sparse_maps import SparseMap

ROOT = Edge(0, 0, 0)
"""The edge from the root to itself, where further strings begin."""

Gather = Callable[[Tensor], Tensor]


class _Letters(NamedTuple):
    """Matrices of two rows by their diagonal and what is beside it, ``(E, 1, 2, 1)`` each."""

    diagonal: Tensor
    beside: Tensor

    def __call__(self, half: Tensor) -> Tensor:
        """Apply each to its half of an environment, ``(B, E, l, s, r)``."""
        return self.diagonal * half + self.beside * half.flip(3)


class _Level(NamedTuple):
    """What happens to all beginnings of a length.

    Attributes:
        sites: The columns that they meet.
        ends: The beginnings at which a string ends, and the columns there.
        passes: The beginnings that go on, once for each letter, and the columns there.
        letters: These letters; ``None`` if all are the identity.
        any_ends: Whether any string ends.
        any_passes: Whether any goes on.
    """

    sites: Gather
    ends: tuple[Gather, Gather]
    passes: tuple[Gather, Gather]
    letters: _Letters | None
    any_ends: bool
    any_passes: bool


class StringReader:
    """Reads observables.

    Args:
        strings: Those of the observables.
        automaton: Their beginnings.
        dtype: Complex, of the columns.
        device: Where they are.

    Attributes:
        edges: How many columns are read in all, beside those of the identity.
    """

    def __init__(
        self, strings: Strings, automaton: Automaton, dtype: torch.dtype, device: torch.device
    ) -> None:
        self._dtype, self._device = dtype, device
        self._sites = len(automaton.edges)
        self._levels: list[_Level] = []
        self.edges = 0
        leaving = _by_source(automaton)
        sources = [(site, 0) for site in _beginning_sites(automaton)]
        ends: list[tuple[int, int, int]] = []
        total = 0
        while sources:
            edges = [(u, e) for u, source in enumerate(sources) for e in leaving.get(source, [])]
            ending = sorted({u for u, e in edges if e.target == END})
            place = {u: total + k for k, u in enumerate(ending)}
            ends += [(e.string, e.letter, place[u]) for u, e in edges if e.target == END]
            total += len(ending)
            going = [(u, e) for u, e in edges if e.target != END]
            self._levels.append(self._level([site for site, _ in sources], ending, going))
            sources = [(sources[u][0] + 1, e.target) for u, e in going]
            self.edges += len(going) + len(sources) + len(ending)
        self._readout = self._weigh(strings, ends, total)

    def __call__(self, columns: Tensor, environments: Environments) -> Tensor:
        """Return the values of observables, ``(B, O)`` in double precision, without constants."""
        conjugate = columns.conj().resolve_conj()
        found: list[Tensor] = []
        lefts: Tensor | None = None
        for level in self._levels:
            if lefts is None:
                halves = level.sites(environments.lefts)
            else:
                halves = (lefts @ level.sites(conjugate).flatten(3)).unflatten(3, (2, -1))
            if level.any_ends:
                ends, sites = level.ends
                mine = ends(halves).transpose(2, 3).flatten(3)
                theirs = sites(environments.rights).transpose(2, 3).flatten(3)
                found.append((mine @ theirs.mT).flatten(2))
            if level.any_passes:
                passes, sites = level.passes
                mine = passes(halves)
                if level.letters is not None:
                    mine = level.letters(mine)
                lefts = sites(columns).flatten(2, 3).mT @ mine.flatten(2, 3)
        values = torch.cat(found, 1).flatten(1).to(torch.complex128)
        return self._readout(values).real

    def _level(
        self, sites: Sequence[int], ending: Sequence[int], going: Sequence[tuple[int, Edge]]
    ) -> _Level:
        passing = [u for u, _ in going]
        letters = [e.letter for _, e in going]
        return _Level(
            self._gather(sites, self._sites),
            self._gather_both(ending, sites),
            self._gather_both(passing, sites),
            self._letters(MATRICES[letters]) if any(letters) else None,
            bool(ending),
            bool(going),
        )

    def _gather_both(self, members: Sequence[int], sites: Sequence[int]) -> tuple[Gather, Gather]:
        """Return what takes some of the beginnings that meet columns, and what these columns."""
        met = [sites[u] for u in members]
        return self._gather(members, len(sites)), self._gather(met, self._sites)

    def _letters(self, matrices: ComplexArray) -> _Letters:
        # What ends up in row t comes from row s by the entry [s, t].
        diagonal = np.stack([matrices[:, 0, 0], matrices[:, 1, 1]], 1)
        beside = np.stack([matrices[:, 1, 0], matrices[:, 0, 1]], 1)
        on = {"dtype": self._dtype, "device": self._device}
        return _Letters(*(torch.tensor(m, **on)[:, None, :, None] for m in (diagonal, beside)))

    def _gather(self, places: Sequence[int], count: int) -> Gather:
        if list(places) == list(range(count)):
            return _unchanged
        real = torch.float32 if self._dtype == torch.complex64 else torch.float64
        return SparseMap(
            np.arange(len(places)), places, None, (len(places), count), real, self._device
        )

    def _weigh(
        self, strings: Strings, ends: Sequence[tuple[int, int, int]], total: int
    ) -> SparseMap:
        """Return the map from what is found where strings end to the values of observables."""
        by_string = strings.coefficients.tocsc()
        rows, columns, numbers = [], [], []
        for string, letter, place in ends:
            own = slice(by_string.indptr[string], by_string.indptr[string + 1])
            for o, weight in zip(by_string.indices[own], by_string.data[own], strict=True):
                entries = weight * MATRICES[letter].ravel()
                (used,) = np.nonzero(entries)
                rows += [o] * len(used)
                columns += (4 * place + used).tolist()
                numbers += entries[used].tolist()
        shape = (len(strings.constants), 4 * total)
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
