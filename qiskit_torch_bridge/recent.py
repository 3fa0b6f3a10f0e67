# SPDX-License-Identifier: Apache-2.0
"""Remembers what was made for a key, as long as it is used and there is room."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, Generic, TypeVar

Thing = TypeVar("Thing")


class Recent(Generic[Thing]):
    """Keeps the things used last, up to a number of them and a total weight.

    The newest one stays whatever it weighs. Copies and pickles of it are empty.

    Args:
        size: How many things are kept.
        weight: What they may weigh together; default: no limit.
    """

    def __init__(self, size: int, weight: float = math.inf) -> None:
        self._size = size
        self._weight = weight
        self._total = 0.0
        self._entries: OrderedDict[Hashable, tuple[Thing, float]] = OrderedDict()
        self._lock = Lock()

    def __call__(
        self,
        key: Hashable,
        make: Callable[[], Thing],
        weigh: Callable[[Thing], float] = lambda thing: 0,
    ) -> Thing:
        """Return the thing that belongs to ``key``, made now or before, and once only."""
        with self._lock:
            if key not in self._entries:
                thing = make()
                self._entries[key] = thing, weigh(thing)
                self._total += self._entries[key][1]
            self._entries.move_to_end(key)
            while len(self._entries) > 1 and (
                len(self._entries) > self._size or self._total > self._weight
            ):
                _, (_, weight) = self._entries.popitem(last=False)
                self._total -= weight
            return self._entries[key][0]

    def __len__(self) -> int:
        return len(self._entries)

    def __reduce__(self) -> tuple[Any, ...]:
        return Recent, (self._size, self._weight)


class OfObjects(Generic[Thing]):
    """Remembers what was made of each object, as long as the object is used and there is room.

    Objects count as the same if they are; what they hold must not change meanwhile.

    Args:
        make: Makes it of an object.
        size: Of how many objects it is kept.
    """

    def __init__(self, make: Callable[[Any], Thing], size: int = 64) -> None:
        self._make, self._size = make, size
        self._recent: Recent[tuple[Any, Thing]] = Recent(size)

    def __call__(self, thing: Any) -> Thing:
        """Return what belongs to an object."""
        # It is kept as well: an id is given to another object when the first one is gone.
        return self._recent(id(thing), lambda: (thing, self._make(thing)))[1]

    def __reduce__(self) -> tuple[Any, ...]:
        return OfObjects, (self._make, self._size)
