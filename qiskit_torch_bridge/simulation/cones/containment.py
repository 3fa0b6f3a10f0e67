# SPDX-License-Identifier: Apache-2.0
"""Light cones that are parts of others: their terms are read where the others are simulated.

What is in the larger cone and not in the smaller one cancels from the smaller one's terms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ..tape.paulis import PauliString
from .classes import Cone, Form, Gatherer, Reading

CALL = 5e4
"""What one more simulator takes for each call, in complex multiplications."""
READ = 2.0
"""What reading one more string takes, in states that are passed over, derivatives included."""
MAX_CONES = 20_000
"""Cones among which parts of others are looked for."""


class _Place(NamedTuple):
    """A cone in a class of others."""

    host: Gatherer
    member: int


class _Move(NamedTuple):
    """A reading in another class: the string there, and the sign by which the two differ."""

    host: Gatherer
    string: PauliString
    row: int
    sign: int


def absorb(
    gatherers: Sequence[Gatherer],
    form_of: Callable[[Cone], Form],
    strings: Sequence[PauliString],
) -> list[Gatherer]:
    """Read classes of cones from others that contain all of their rows, where that is less work.

    Args:
        gatherers: All classes, changed in place.
        form_of: Returns the form of a cone.
        strings: All terms.

    Returns:
        The classes that are left.
    """
    if len(gatherers) == 1 or sum(len(g.cones) for g in gatherers) > MAX_CONES:
        return list(gatherers)
    finder = _Finder(form_of)
    left: list[Gatherer] = []
    for gatherer in sorted(gatherers, key=lambda g: len(g.form.operations), reverse=True):
        moves = None if gatherer.form.space.is_too_large else _plan(gatherer, finder, strings)
        if moves is not None and _pays(gatherer, moves):
            for (row, place), move in moves.items():
                at = move.host.place(move.string)
                move.host.readings += [
                    Reading(move.row, at, reading.term, reading.sign * move.sign)
                    for reading in gatherer.readings
                    if (reading.row, reading.place) == (row, place)
                ]
        else:
            left.append(gatherer)
            finder.add(gatherer)
    return left


class _Finder:
    """Finds cones that contain another one."""

    def __init__(self, form_of: Callable[[Cone], Form]) -> None:
        self.form_of = form_of
        self._forms: dict[tuple[int, int], Form] = {}
        self._with: dict[int, list[_Place]] = {}
        self._sets: dict[tuple[int, int], frozenset[int]] = {}

    def add(self, gatherer: Gatherer) -> None:
        """Add one cone of each row of a class."""
        if gatherer.form.space.is_too_large:
            return
        _, members = np.unique(gatherer.row_of, return_index=True)
        for member in members.tolist():
            operations = gatherer.cones[member].operations.tolist()
            self._sets[id(gatherer), member] = frozenset(operations)
            for operation in operations:
                self._with.setdefault(operation, []).append(_Place(gatherer, member))

    def find(self, cone: Cone) -> _Place | None:
        """Return the first cone that contains another one."""
        operations = cone.operations.tolist()
        if not self._with.keys() >= set(operations) or not operations:
            return None
        rarest = min((self._with[o] for o in operations), key=len)
        prepared = set(cone.preparations.tolist())
        for place in rarest:
            own = place.host.cones[place.member].preparations.tolist()
            if self._sets[id(place.host), place.member].issuperset(operations) and (
                prepared.issubset(own)
            ):
                return place
        return None

    def form(self, place: _Place) -> Form:
        """Return the form of a cone, in which further terms can be read."""
        key = (id(place.host), place.member)
        if key not in self._forms:
            self._forms[key] = self.form_of(place.host.cones[place.member])
        return self._forms[key]


def _plan(
    gatherer: Gatherer, finder: _Finder, strings: Sequence[PauliString]
) -> dict[tuple[int, int], _Move] | None:
    """Return where each string of each row can be read instead; ``None`` if not all can."""
    moves: dict[tuple[int, int], _Move] = {}
    found: set[int] = set()
    misses = 0
    for row, cone, form in zip(
        gatherer.row_of.tolist(), gatherer.cones, gatherer.forms, strict=True
    ):
        if row in found:
            continue
        place = finder.find(cone)
        if place is None:
            misses += 1
            if misses > len(gatherer.cones) - len(gatherer.angles):
                return None  # not every row has another member to try
            continue
        found.add(row)
        larger = finder.form(place)
        for j, (term, sign) in enumerate(zip(cone.terms.tolist(), form.term_signs, strict=True)):
            inside = larger.space.compress(strings[term])
            if form.terms[j] is None or inside is None:
                continue
            own_row = int(place.host.row_of[place.member])
            moves[row, j] = _Move(place.host, inside[0], own_row, sign * inside[1])
    return moves if len(found) == len(gatherer.angles) else None


def _pays(gatherer: Gatherer, moves: dict[tuple[int, int], _Move]) -> bool:
    """Whether reading more strings elsewhere takes less than simulating a class."""
    known = {id(m.host): set(m.host.strings) for m in moves.values()}
    further = {
        (id(move.host), move.string): move.host.row_work
        for move in moves.values()
        if move.string not in known[id(move.host)]
    }
    own = 3.0 * (len(gatherer.form.operations) + len(gatherer.strings)) * gatherer.row_work
    return READ * sum(further.values()) < own + CALL
