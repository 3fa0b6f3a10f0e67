# SPDX-License-Identifier: Apache-2.0
r"""The product formula of an evolution as one gate: rotations about the terms, in their order.

.. math:: \prod_k e^{-i\, c_k t\, P_k / 2}

Its definition is the circuit that Qiskit synthesises, and simulators and transpilers look at
nothing else. That circuit has some twenty gates for each term; who can take the rotations
themselves need not see it made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qiskit.circuit import Gate
from qiskit.circuit.library import PauliEvolutionGate
from qiskit.synthesis import LieTrotter, SuzukiTrotter

LINEAR = (LieTrotter, SuzukiTrotter)
"""Syntheses of rotations whose angles are proportional to the time, and exact where all terms
commute; those of ``QDrift``, for one, are random."""

Turns = tuple[str, Sequence[int], float]
"""Letters, the qubits that they are on, and the angle of the rotation at time one."""


class ProductFormula(Gate):
    """The product formula of a ``PauliEvolutionGate``, which it is not the exponential of.

    Args:
        evolution: The gate, with a synthesis that :func:`is_linear` accepts.
        time: In the place of the gate's own.

    Attributes:
        rotations: The rotations in the order in which they act.
    """

    def __init__(self, evolution: PauliEvolutionGate, time: Any = None) -> None:
        time = evolution.params[0] if time is None else time
        super().__init__("product_formula", evolution.num_qubits, [time], label=evolution.label)
        self._evolution = evolution
        at_one = PauliEvolutionGate(evolution.operator, 1.0, synthesis=evolution.synthesis)
        self.rotations: list[Turns] = evolution.synthesis.expand(at_one)

    def with_time(self, time: Any) -> ProductFormula:
        """Return the formula for another time."""
        return ProductFormula(self._evolution, time)

    def _define(self) -> None:
        own = self._evolution
        (time,) = self.params
        self.definition = PauliEvolutionGate(own.operator, time, synthesis=own.synthesis).definition


def is_linear(operation: PauliEvolutionGate) -> bool:
    """Whether its synthesis is a product of Pauli rotations proportional to the time."""
    synthesis = operation.synthesis
    return type(synthesis) in LINEAR and not synthesis.settings.get("atomic_evolution")


def formula_of(operation: PauliEvolutionGate) -> ProductFormula | None:
    """Return the product formula as one gate; ``None`` where it is more than Pauli rotations."""
    if not is_linear(operation):
        return None
    formula = ProductFormula(operation)
    plain = all(set(letters) <= set("IXYZ") for letters, _, _ in formula.rotations)
    return formula if plain else None
