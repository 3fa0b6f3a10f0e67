# SPDX-License-Identifier: Apache-2.0
"""Where the outcomes of shots come from: state vectors of narrow circuits, columns of wide ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import memory
from ..arrays import FloatArray, IntArray
from ..exceptions import MeasurementError, MemoryLimitError
from ..program import AnalysedCircuit
from ..program.readouts import Outcomes
from ..simulation.choice import AUTOMATIC, choose, make_simulator
from ..simulation.columns import plan_columns
from ..simulation.columns.sampling import CanonicalStates, ColumnSampler
from ..simulation.interface import Cost, Simulator
from ..simulation.statevector import StatevectorSimulator
from ..simulation.statevector.plan import StatevectorPlan
from .drawing import draw_outcomes, find_probabilities
from .grouping import pack_words
from .measurement_groups import (
    WORD,
    MeasurementGroup,
    estimate_from_counts,
    estimate_from_outcomes,
    find_variances,
)

NARROW = 20
"""Up to so many qubits shots are drawn from state vectors, so that a seed keeps its meaning."""
USUAL_SHOTS = 1024
"""For how many shots ways of drawing them are compared."""
FEW_OUTCOMES = 64
"""Outcomes up to which their counts are drawn, however few the shots are."""
OUTCOMES_PER_SHOT = 4
"""Outcomes for each shot above which drawing shot by shot takes less time."""
NO_WEIGHTS = np.zeros((1, 0))


class States(ABC):
    """The states of a circuit at some points, ready to be measured."""

    @abstractmethod
    def sample(
        self, group: MeasurementGroup, shots: int, generator: np.random.Generator
    ) -> tuple[FloatArray, FloatArray]:
        """Draw shots of one group, for each point, and return means and variances of the means.

        Args:
            group: Whose terms are measured; its bits are those of the source.
            shots: Their number ``m``.
            generator: Where randomness comes from; points take it one after the other.

        Returns:
            Two arrays of shape ``(N, M)``, for the members of the group.
        """


class StateSource(ABC):
    """Prepares states of one circuit that shots of observables are drawn from.

    Attributes:
        position: The bits of the qubits that are simulated; the others stay in state zero.
        row_bytes: What the state of a point takes.
        weight: What the source itself holds, in numbers.
    """

    position: Mapping[int, int]
    row_bytes: int
    weight: int

    @abstractmethod
    def prepare(self, values: FloatArray) -> States:
        """Return the states at values ``(N, P)`` of all parameters."""


class VectorSource(StateSource):
    """State vectors.

    Args:
        simulator: Prepares them.
    """

    def __init__(self, simulator: StatevectorSimulator) -> None:
        self._simulator = simulator
        self.position = simulator.tape.position
        self.row_bytes = 32 << simulator.tape.num_bits
        self.weight = 1 << simulator.tape.num_bits

    def prepare(self, values: FloatArray) -> States:
        """Return the state vectors."""
        return _Vectors(self._simulator.states(values, NO_WEIGHTS))


class ColumnSource(StateSource):
    """Matrix products of the circuit's columns.

    Args:
        sampler: Prepares them.
    """

    def __init__(self, sampler: ColumnSampler) -> None:
        self._sampler = sampler
        self.position = sampler.site_of
        self.row_bytes = sampler.estimate(1, 0).bytes
        self.weight = self.row_bytes // 16

    def prepare(self, values: FloatArray) -> States:
        """Return the matrix products."""
        return _Columns(self._sampler.prepare(values))


class _Vectors(States):
    def __init__(self, states: np.ndarray) -> None:
        self._states = states

    def sample(
        self, group: MeasurementGroup, shots: int, generator: np.random.Generator
    ) -> tuple[FloatArray, FloatArray]:
        probabilities = find_probabilities(self._states, group.bits, group.changes)
        if prefers_counts(probabilities.shape[1], shots):
            frequencies = generator.multinomial(shots, probabilities) / shots
            mean, square = estimate_from_counts(group, frequencies)
        else:
            outcomes = draw_outcomes(probabilities, shots, generator)
            mean, square = estimate_from_outcomes(group, outcomes)
        return mean, find_variances(group, mean, square, shots)


class _Columns(States):
    def __init__(self, states: CanonicalStates) -> None:
        self._states = states

    def sample(
        self, group: MeasurementGroup, shots: int, generator: np.random.Generator
    ) -> tuple[FloatArray, FloatArray]:
        axes = {bit: "Y" if is_y else "X" for bit, is_y in group.changes}
        bits = self._states.draw(group.bits, shots, generator, axes)
        mean, square = estimate_from_outcomes(group, _join_bits(bits))
        return mean, find_variances(group, mean, square, shots)


def _join_bits(bits: np.ndarray) -> IntArray:
    """Return outcomes ``(N, shots)`` of bits ``(N, shots, k)``, or words ``(N, shots, words)``."""
    rows, shots, count = bits.shape
    words: Any = pack_words(bits.reshape(rows * shots, count).astype(bool))
    if count > WORD:  # as of the masks of a group
        words = words.view(np.uint64)
    outcomes: IntArray = words.reshape(rows, shots, -1)
    return outcomes if count > WORD else outcomes[..., 0]


def prefers_counts(outcomes: int, shots: int) -> bool:
    """Whether it takes less time to go by the counts of outcomes than by the shots."""
    return outcomes <= max(FEW_OUTCOMES, OUTCOMES_PER_SHOT * shots)


def make_state_source(circuit: AnalysedCircuit, dtype: str) -> StateSource:
    """Return what prepares the states that shots of observables are drawn from.

    Circuits of more than :data:`NARROW` qubits are drawn from as columns, unless these take more
    than the state vector.

    Args:
        circuit: The circuit; all its parameters have values.
        dtype: The number format of state vectors; columns are kept in double precision.

    Raises:
        CircuitError: If the circuit cannot be simulated exactly.
        MemoryLimitError: If neither fits into memory.
    """
    parameters = range(circuit.num_parameters)
    state = StatevectorPlan(circuit, None, parameters, (), dtype)
    if state.num_bits > NARROW and not circuit.vectors:
        sampler = ColumnSampler(plan_columns(circuit, None, parameters, ()))
        cost = sampler.estimate(1, USUAL_SHOTS)
        fits = memory.fits(cost.bytes)
        if fits and (not state.fits or cost.operations < state.most_operations(state.num_bits)):
            return ColumnSource(sampler)
        if not state.fits:
            raise _too_wide(state, cost, "take exact values or noise='gaussian' in place of shots")
    return VectorSource(StatevectorSimulator(circuit, None, parameters, (), dtype))


def make_outcome_source(
    circuit: AnalysedCircuit, outcomes: Outcomes, dtype: str
) -> Simulator | ColumnSampler:
    """Return what outcomes of some qubits are drawn by: their probabilities, or columns.

    Args:
        circuit: The circuit; all its parameters have values.
        outcomes: Which qubits are measured, one or more of those that gates act on.
        dtype: The number format of states; columns are kept in double precision.

    Raises:
        CircuitError: If the circuit cannot be simulated exactly.
        MemoryLimitError: If nothing fits into memory.
    """
    parameters = range(circuit.num_parameters)
    state = StatevectorPlan(circuit, outcomes, parameters, (), dtype)
    if state.num_bits <= NARROW or not outcomes.qubits or circuit.vectors:
        return make_simulator("statevector", circuit, outcomes, parameters, (), dtype)
    sampler = ColumnSampler(plan_columns(circuit, outcomes, parameters, ()))
    cost = sampler.estimate(1, USUAL_SHOTS)
    try:
        choice = choose(AUTOMATIC, circuit, outcomes, parameters, (), dtype)
    except (MemoryLimitError, MeasurementError) as error:  # or too many qubits for probabilities
        if not memory.fits(cost.bytes):
            raise _too_wide(state, cost, "measure at most 12 qubits") from error
        return sampler
    if memory.fits(cost.bytes) and cost.operations < choice.time:
        return sampler
    return choice.plan.compile()


def _too_wide(state: StatevectorPlan, cost: Cost, advice: str) -> MemoryLimitError:
    return MemoryLimitError(
        f"Sampling {state.num_bits} qubits exactly needs {memory.gib(cost.bytes)} GiB, and about "
        f"{cost.operations:.0e} operations for {USUAL_SHOTS} shots, by column networks, and "
        f"{memory.gib(state.estimate(1).bytes)} GiB by state vectors; "
        f"{memory.gib(memory.available())} GiB are available. Use fewer layers of gates between "
        f"distant qubits, {advice}, or use a backend."
    )
