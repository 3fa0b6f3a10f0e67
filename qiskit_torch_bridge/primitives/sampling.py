# SPDX-License-Identifier: Apache-2.0
"""Shots of observables: which bases they are measured in, and on which qubits."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from ..arrays import FloatArray
from ..program import AnalysedCircuit
from ..program.operators import Observable, as_products, axes_of
from .measurement_groups import KEPT_VALUES, MeasurementGroup, group_terms
from .outcome_sources import StateSource


@dataclass(frozen=True)
class MeasurementPlan:
    """All measurements that some observables on one circuit need.

    Attributes:
        source: Prepares the states.
        groups: What is measured on them.
        constants: The sums of the coefficients of terms without any Pauli, ``(O,)``.
    """

    source: StateSource
    groups: tuple[MeasurementGroup, ...]
    constants: FloatArray

    @property
    def kept_numbers(self) -> int:
        """About how many numbers the groups keep in memory."""
        return sum(
            len(g.masks) + min(KEPT_VALUES, len(g.members) << len(g.bits)) for g in self.groups
        )


def find_idle_qubits(
    observables: Sequence[Observable], simulated: Collection[int]
) -> tuple[int, ...]:
    """Return the qubits that are measured in X or Y though nothing acts on them.

    Their outcomes are random; only Z is known of a qubit in state zero.
    """
    needed = np.any([axes_of(o)[0].any(axis=0) for o in observables], axis=0)
    return tuple(q for q in np.flatnonzero(needed).tolist() if q not in simulated)


def add_identities(analysed: AnalysedCircuit, qubits: Sequence[int]) -> AnalysedCircuit:
    """Return the circuit with identities on ``qubits``, so that these are simulated."""
    circuit = analysed.circuit.copy()
    circuit.rz(0.0, list(qubits))
    return analysed.written(circuit)


def plan_measurement(source: StateSource, observables: Sequence[Observable]) -> MeasurementPlan:
    """Plan the measurement of ``observables`` on the states that ``source`` prepares."""
    position = source.position
    by_bit = sorted(position, key=position.__getitem__)
    groups, constants = group_terms([as_products(o).on_qubits(by_bit) for o in observables])
    return MeasurementPlan(source, groups, constants)
