# SPDX-License-Identifier: Apache-2.0
"""Networks of one form, which differ in their angles only: one order of contraction for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from .network import BOND, FIXED, PAIR, Leaf, Network

ROUNDS = 3
"""How far the numbers look by which tensors are told apart."""


class Form(NamedTuple):
    """A network without its angles.

    Attributes:
        leaves: The ket's tensors, by kind and indices. Fixed ones have their number; of the others
            it is 1 if they depend on inputs, else 0.
        middle: The indices on which Z is measured.
        shared: The indices that ket and bra have in common.
    """

    leaves: tuple[Leaf, ...]
    middle: tuple[int, ...]
    shared: tuple[int, ...]

    def inputs(self) -> list[tuple[int, ...]]:
        """Return the indices of all tensors: of the ket, of the bra, and of Z."""
        count = 1 + max((i for leaf in self.leaves for i in leaf.indices), default=0)
        shared = set(self.shared)
        bra = [
            tuple([i if i in shared else i + count for i in leaf.indices]) for leaf in self.leaves
        ]
        return [*(leaf.indices for leaf in self.leaves), *bra, *((i,) for i in self.middle)]


class Group:
    """Networks of one form.

    Attributes:
        form: What they have in common.
        numbers: For each network what its tensors hold, in the order of the form's; of fixed ones
            that is part of the form.
        places: Where each of them is among all networks.
    """

    def __init__(self, form: Form) -> None:
        self.form = form
        self.numbers: list[tuple[int, ...]] = []
        self.places: list[int] = []


class Groups:
    """Collects networks by their form; what is equal up to the names of indices is there once.

    Args:
        is_by_row: Whether a tensor depends on inputs.
    """

    def __init__(self, is_by_row: Callable[[Leaf], bool]) -> None:
        self._is_by_row = is_by_row
        self._groups: dict[Form, Group] = {}
        self._known: dict[tuple[Form, tuple[int, ...]], int] = {}

    @property
    def groups(self) -> list[Group]:
        """All groups."""
        return list(self._groups.values())

    def __len__(self) -> int:
        return len(self._known)

    def add(self, network: Network) -> int:
        """Add a network and return its place among all."""
        kinds = [
            leaf.number if leaf.kind == FIXED else int(self._is_by_row(leaf))
            for leaf in network.ket
        ]
        order, names = _canonical(network, kinds)
        leaves, numbers = [], []
        for place in order:
            kind, indices, number = network.ket[place]
            renamed = [names[i] for i in indices]
            if kind == PAIR:
                renamed.sort()
            leaves.append(Leaf(kind, tuple(renamed), kinds[place]))
            numbers.append(0 if kind == FIXED else number)
        form = Form(
            tuple(leaves),
            tuple(sorted(names[i] for i in network.middle)),
            tuple(sorted(names[i] for i in network.shared)),
        )
        key = form, tuple(numbers)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = len(self._known)
            group = self._groups.get(form)
            if group is None:
                group = self._groups[form] = Group(form)
            group.numbers.append(key[1])
            group.places.append(found)
        return found


def _canonical(network: Network, kinds: Sequence[int]) -> tuple[list[int], dict[int, int]]:
    """Return an order of the ket's tensors and names for its indices.

    Networks that are equal up to both mostly get the same: tensors are told apart by what is around
    them, and numbered outward from what is measured. Where several look alike, either comes first;
    if they differ farther off, the networks are told to differ, which costs time only.
    """
    tensors = network.ket
    around: dict[int, list[tuple[int, int]]] = {}
    for place, leaf in enumerate(tensors):
        for axis, index in enumerate(leaf.indices):
            around.setdefault(index, []).append((place, 0 if leaf.kind == PAIR else axis))
    colours = [hash((leaf.kind, kind)) for leaf, kind in zip(tensors, kinds, strict=True)]
    middle = set(network.middle)
    of_index = {
        i: hash((i in middle, i in network.shared, len(found))) for i, found in around.items()
    }
    for _ in range(ROUNDS):
        colours = [
            hash((colour, *_looks([of_index[i] for i in leaf.indices], leaf.kind)))
            for colour, leaf in zip(colours, tensors, strict=True)
        ]
        of_index = {
            i: hash((of_index[i], *sorted([(colours[p], axis) for p, axis in found])))
            for i, found in around.items()
        }
    names: dict[int, int] = {}
    order: list[int] = []
    emitted = [False] * len(tensors)
    waiting = sorted(middle, key=of_index.__getitem__)
    starts = iter(sorted(around, key=of_index.__getitem__))
    for index in waiting:
        names[index] = len(names)
    first = 0
    while True:
        if first == len(waiting):
            start = next((i for i in starts if i not in names), None)
            if start is None:
                break
            names[start] = len(names)
            waiting.append(start)
        index = waiting[first]
        first += 1
        here = [
            (colours[p], axis, *sorted(names.get(i, len(around)) for i in tensors[p].indices), p)
            for p, axis in around[index]
            if not emitted[p]
        ]
        for *_, place in sorted(here):
            emitted[place] = True
            order.append(place)
            for i in tensors[place].indices:
                if i not in names:
                    names[i] = len(names)
                    waiting.append(i)
    return order, names


def _looks(colours: list[int], kind: int) -> list[int]:
    """Return the colours of a tensor's indices; their order is not told where it is symmetric."""
    return sorted(colours) if kind in (PAIR, BOND) else colours
