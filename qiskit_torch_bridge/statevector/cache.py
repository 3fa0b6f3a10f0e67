# SPDX-License-Identifier: Apache-2.0
"""Remembers simulators, so that a circuit is compiled once however often it is evaluated."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np
from qiskit.quantum_info import SparsePauliOp

from ..program import AnalysedCircuit
from .simulator import StatevectorSimulator


class SimulatorCache:
    """Keeps the simulators of the last circuits and observables."""

    def __init__(self, dtype: Any, size: int = 16) -> None:
        self._dtype = dtype
        self._size = size
        self._entries: OrderedDict[Any, tuple[AnalysedCircuit, StatevectorSimulator]] = (
            OrderedDict()
        )
        self._lock = Lock()

    def __call__(
        self, analysed: AnalysedCircuit, observables: Sequence[SparsePauliOp]
    ) -> StatevectorSimulator:
        """Return the simulator for a circuit and observables, all parameters inputs."""
        content = (
            (o.paulis.x.tobytes(), o.paulis.z.tobytes(), np.asarray(o.coeffs).tobytes())
            for o in observables
        )
        key = (id(analysed), *content)
        with self._lock:
            if key not in self._entries:
                simulator = StatevectorSimulator(
                    analysed, observables, range(analysed.num_parameters), (), self._dtype
                )
                self._entries[key] = (analysed, simulator)
                if len(self._entries) > self._size:
                    self._entries.popitem(last=False)
            self._entries.move_to_end(key)
            return self._entries[key][1]

    def __reduce__(self) -> tuple[Any, ...]:
        return SimulatorCache, (self._dtype, self._size)
