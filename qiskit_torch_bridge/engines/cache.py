# SPDX-License-Identifier: Apache-2.0
"""Remembers engines, so that a program is prepared once however often it is evaluated."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Any

from ..program import CircuitProgram
from .estimator import EstimatorEngine
from .selection import make_engine


class EngineCache:
    """Keeps the engines of the last programs and choices; the least recently used goes first.

    Programs, estimators, gradients and pass managers count by identity, plain values by value.
    """

    def __init__(self, size: int = 16) -> None:
        self._size = size
        self._entries: OrderedDict[Any, tuple[Any, EstimatorEngine]] = OrderedDict()
        self._lock = Lock()

    def __call__(self, program: CircuitProgram, **choices: Any) -> EstimatorEngine:
        """Return the engine for the arguments of :func:`.make_engine`, made now or before."""
        # With its type, since 1, 1.0 and True are equal and only the first is a number of shots.
        plain = (str, int, float)
        parts = ((type(c), c if isinstance(c, plain) else id(c)) for c in choices.values())
        key = (id(program), *parts)
        with self._lock:
            if key not in self._entries:
                engine = make_engine(program, **choices)
                self._entries[key] = ((program, choices), engine)  # kept: their ids are the key
                if len(self._entries) > self._size:
                    self._entries.popitem(last=False)
            self._entries.move_to_end(key)
            return self._entries[key][1]
