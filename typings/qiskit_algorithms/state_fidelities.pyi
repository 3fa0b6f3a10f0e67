from abc import ABC
from collections.abc import Sequence
from typing import Any

from qiskit.circuit import QuantumCircuit

from . import AlgorithmJob

class StateFidelityResult:
    fidelities: Sequence[float]
    raw_fidelities: Sequence[float]
    metadata: Sequence[Any]

class BaseStateFidelity(ABC):
    def run(
        self,
        circuits_1: QuantumCircuit | Sequence[QuantumCircuit],
        circuits_2: QuantumCircuit | Sequence[QuantumCircuit],
        values_1: Sequence[float] | Sequence[Sequence[float]] | None = None,
        values_2: Sequence[float] | Sequence[Sequence[float]] | None = None,
        *,
        shots: int | Sequence[int] | None = None,
    ) -> AlgorithmJob[StateFidelityResult]: ...
