# SPDX-License-Identifier: Apache-2.0
"""Shots of observables: which bases they are measured in, and the outcomes drawn there."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from ..arrays import FloatArray
from ..program import AnalysedCircuit
from ..program.operators import Observable, as_products, axes_of
from ..simulation.statevector import StatevectorSimulator
from .drawing import draw_outcomes
from .measurement_groups import (
    KEPT_VALUES,
    MeasurementGroup,
    estimate_from_counts,
    estimate_from_outcomes,
    find_variances,
    group_terms,
)

FEW_OUTCOMES = 64
"""Outcomes up to which their counts are drawn, however few the shots are."""
OUTCOMES_PER_SHOT = 4
"""Outcomes for each shot above which drawing shot by shot takes less time."""


@dataclass(frozen=True)
class MeasurementPlan:
    """All measurements that some observables on one circuit need.

    Attributes:
        simulator: Prepares the states.
        groups: What is measured on them.
        constants: The sums of the coefficients of terms without any Pauli, ``(O,)``.
    """

    simulator: StatevectorSimulator
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
    return AnalysedCircuit(circuit, analysed.parameters)


def plan_measurement(
    simulator: StatevectorSimulator, observables: Sequence[Observable]
) -> MeasurementPlan:
    """Plan the measurement of ``observables`` on the states that ``simulator`` prepares."""
    position = simulator.tape.position
    by_bit = sorted(position, key=position.__getitem__)
    groups, constants = group_terms([as_products(o).on_qubits(by_bit) for o in observables])
    return MeasurementPlan(simulator, groups, constants)


def sample_group(
    group: MeasurementGroup, probabilities: FloatArray, shots: int, generator: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Draw shots of one group, for each point, and return means and variances of the means.

    Args:
        group: Whose terms are measured.
        probabilities: Of each outcome, shape ``(N, S)``.
        shots: Their number ``m``.
        generator: Where randomness comes from; rows take it one after the other.

    Returns:
        Two arrays of shape ``(N, M)``, for the members of the group.
    """
    if prefers_counts(probabilities.shape[1], shots):
        frequencies = generator.multinomial(shots, probabilities) / shots
        mean, square = estimate_from_counts(group, frequencies)
    else:
        outcomes = draw_outcomes(probabilities, shots, generator)
        mean, square = estimate_from_outcomes(group, outcomes)
    return mean, find_variances(group, mean, square, shots)


def prefers_counts(outcomes: int, shots: int) -> bool:
    """Whether it takes less time to go by the counts of outcomes than by the shots."""
    return outcomes <= max(FEW_OUTCOMES, OUTCOMES_PER_SHOT * shots)
