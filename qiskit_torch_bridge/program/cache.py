# SPDX-License-Identifier: Apache-2.0
"""Remembers the analysis of circuits, so that none is analysed twice in a training run."""

from __future__ import annotations

from qiskit.circuit import QuantumCircuit

from ..recent import Recent
from .analysis import AnalysedCircuit
from .evolutions import Evolutions
from .identity import content_key


class AnalysisCache:
    """Maps circuits, by content, to their analysis; the least recently used one goes first.

    A circuit that is changed in place is analysed anew, custom gates in it included.

    Args:
        evolutions: The form that evolutions are given in all of them.
        size: How many are remembered.
    """

    def __init__(self, evolutions: Evolutions = "definition", size: int = 64) -> None:
        self._evolutions = evolutions
        self._recent: Recent[AnalysedCircuit] = Recent(size)

    def __call__(self, circuit: QuantumCircuit) -> AnalysedCircuit:
        """Return the analysis of ``circuit``, made now or before."""
        return self._recent(
            content_key(circuit),
            lambda: AnalysedCircuit(circuit.copy(), evolutions=self._evolutions),
        )

    def __len__(self) -> int:
        return len(self._recent)
