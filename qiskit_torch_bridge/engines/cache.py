# SPDX-License-Identifier: Apache-2.0
"""Remembers engines, so that a program is prepared once however often it is evaluated."""

from __future__ import annotations

from typing import Any

from ..lru_cache import LRUCache
from ..program import CircuitProgram
from ..rules.options import named
from .estimator import EstimatorEngine
from .selection import make_engine


class EngineCache:
    """Keeps the engines of the last programs and choices; the least recently used goes first.

    Programs, estimators, gradients and pass managers count by identity, plain values by value.
    """

    def __init__(self, size: int = 16) -> None:
        self._recent: LRUCache[tuple[Any, EstimatorEngine]] = LRUCache(size)

    def __call__(self, program: CircuitProgram, **choices: Any) -> EstimatorEngine:
        """Return the engine for the arguments of :func:`.make_engine`, made now or before."""
        # With its type, since 1, 1.0 and True are equal and only the first is a number of shots.
        parts = (
            (type(c), c if isinstance(c, (int, float)) or named(c) else id(c))
            for c in choices.values()
        )

        def made() -> tuple[Any, EstimatorEngine]:
            return (program, choices), make_engine(program, **choices)  # kept: ids are the key

        return self._recent((id(program), *parts), made)[1]
