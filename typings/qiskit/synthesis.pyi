from typing import Any

from .circuit import QuantumCircuit

class EvolutionSynthesis:
    def synthesize(self, evolution: object) -> QuantumCircuit: ...
    # What else a synthesis has depends on its class.
    def __getattr__(self, name: str) -> Any: ...

class ProductFormula(EvolutionSynthesis):
    order: int
    reps: int
    insert_barriers: bool
    preserve_order: bool

class SuzukiTrotter(ProductFormula):
    def __init__(self, order: int = 2, reps: int = 1, *, preserve_order: bool = True) -> None: ...

class LieTrotter(ProductFormula):
    def __init__(self, reps: int = 1, *, preserve_order: bool = True) -> None: ...
