# SPDX-License-Identifier: Apache-2.0
"""Remembers simulators, so that a circuit is compiled once however often it is evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...lru_cache import LRUCache
from ...program import AnalysedCircuit
from ...program.operators import Observable, term_keys
from .simulator import StatevectorSimulator


class SimulatorCache:
    """Keeps the simulators of the last circuits and observables."""

    def __init__(self, dtype: Any, size: int = 16) -> None:
        self._dtype = dtype
        self._recent: LRUCache[tuple[AnalysedCircuit, StatevectorSimulator]] = LRUCache(size)

    def __call__(
        self, analysed: AnalysedCircuit, observables: Sequence[Observable]
    ) -> StatevectorSimulator:
        """Return the simulator for a circuit and observables, all parameters inputs."""
        content = (
            (term_keys(o).tobytes(), type(o), np.asarray(o.coeffs).tobytes()) for o in observables
        )

        def compiled() -> tuple[AnalysedCircuit, StatevectorSimulator]:
            columns = range(analysed.num_parameters)
            simulator = StatevectorSimulator(analysed, observables, columns, (), self._dtype)
            return analysed, simulator  # kept: its id is part of the key

        return self._recent((id(analysed), *content), compiled)[1]
