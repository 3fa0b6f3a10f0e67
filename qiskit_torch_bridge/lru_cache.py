# SPDX-License-Identifier: Apache-2.0
"""Least recently used caches that make each value once, whichever thread asks for it.

``functools.lru_cache`` and ``cachetools`` have one limit, a count or a weight, refuse or drop a
value that is heavier than it, let two threads make the same value, and take what they hold along
into pickles.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


class LRUCache(Generic[Value]):
    """Keeps the values used last, up to a number of them and a total weight.

    The newest one stays whatever it weighs. Copies and pickles of a cache are empty.

    Args:
        size: How many values are kept.
        weight: What they may weigh together; default: no limit.
    """

    def __init__(self, size: int, weight: float = math.inf) -> None:
        self._size, self._weight = size, weight
        self._total = 0.0
        self._entries: OrderedDict[Hashable, tuple[Value, float]] = OrderedDict()
        self._lock = Lock()

    def __call__(
        self,
        key: Hashable,
        make: Callable[[], Value],
        weigh: Callable[[Value], float] = lambda value: 0,
    ) -> Value:
        """Return the value that belongs to ``key``, made now or before."""
        with self._lock:
            if key not in self._entries:
                value = make()
                self._entries[key] = value, weigh(value)
                self._total += self._entries[key][1]
            self._entries.move_to_end(key)
            while len(self._entries) > 1 and (
                len(self._entries) > self._size or self._total > self._weight
            ):
                self._total -= self._entries.popitem(last=False)[1][1]
            return self._entries[key][0]

    def __len__(self) -> int:
        return len(self._entries)

    def __reduce__(self) -> tuple[Any, ...]:
        return LRUCache, (self._size, self._weight)


class LRUCacheByIdentity(Generic[Value]):
    """Keeps what was made of each object; an object is the same as itself only.

    What an object holds must not change meanwhile.

    Args:
        make: Makes the value for an object.
        size: For how many objects it is kept.
    """

    def __init__(self, make: Callable[[Any], Value], size: int = 64) -> None:
        self._make, self._size = make, size
        self._values: LRUCache[tuple[object, Value]] = LRUCache(size)

    def __call__(self, thing: object) -> Value:
        """Return the value for an object."""
        # The object is kept as well: its id goes to another one when it is gone.
        return self._values(id(thing), lambda: (thing, self._make(thing)))[1]

    def __reduce__(self) -> tuple[Any, ...]:
        return LRUCacheByIdentity, (self._make, self._size)
