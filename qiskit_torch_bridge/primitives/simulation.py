# SPDX-License-Identifier: Apache-2.0
"""Evaluating one PUB: which simulations it takes, and their values put in their places."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..arrays import FloatArray
from ..lru_cache import LRUCache
from ..program import AnalysedCircuit
from ..program.operators import Observable
from ..program.readouts import Expectations, Outcomes
from ..simulation.choice import AUTOMATIC, make_simulator
from ..simulation.columns.sampling import ColumnSampler
from ..simulation.interface import Simulator
from ..simulation.statevector import StatevectorSimulator
from .outcome_sources import (
    NARROW,
    NO_WEIGHTS,
    StateSource,
    make_outcome_source,
    make_state_source,
)
from .pubs import AnalysedPub, PointBlock, merge_blocks
from .sampling import MeasurementPlan, add_identities, find_idle_qubits, plan_measurement

MEMORY = 64 << 20
"""Bytes that the states or the values of one chunk of points may take."""
COMPILATION = 1 << 24
"""What compiling a simulator costs, in amplitudes that an operation changes in the same time."""
KEPT_AMPLITUDES = 1 << 24
"""Amplitudes that simulators which are remembered may hold one state of, together."""


class Part(NamedTuple):
    """Some points with the observables asked for there, and what gives their values."""

    block: PointBlock
    evaluator: Simulator | MeasurementPlan


@dataclass(frozen=True)
class Plan:
    """One PUB, ready to be evaluated.

    Attributes:
        request: What it asks for.
        parts: What it falls into.
        shots: How many shots to draw; zero for none.
    """

    request: AnalysedPub
    parts: tuple[Part, ...]
    shots: int

    def run(self, seeds: np.random.SeedSequence) -> tuple[FloatArray, FloatArray]:
        """Return expectation values and standard errors in the PUB's shape.

        With a precision but no shots, the values get normal noise.
        """
        shape, precision = self.request.shape, self.request.precision
        evs = np.zeros(math.prod(shape))
        variances = np.zeros(math.prod(shape))
        for number, (block, evaluator) in enumerate(self.parts):
            values = self.request.values
            if len(block.points) < len(values):
                values = values[block.points]
            if isinstance(evaluator, MeasurementPlan):
                generators = [
                    _generator(seeds, number, group) for group in range(len(evaluator.groups))
                ]
                for chunk, *found in _sampled(evaluator, values, self.shots, generators):
                    _place(block, chunk, found, (evs, variances))
            else:
                for chunk, *found in _exact(evaluator, len(block.observables), values):
                    _place(block, chunk, found, (evs,))
        if precision and not self.shots:
            evs += precision * _generator(seeds).standard_normal(evs.shape)
            variances[:] = precision**2
        return evs.reshape(shape), np.sqrt(variances).reshape(shape)


class Simulators:
    """Compiles what PUBs need, and remembers it for the next ones of the same contents.

    Args:
        dtype: The number format of the states.
    """

    def __init__(self, dtype: str) -> None:
        self._dtype = dtype
        self._exact: LRUCache[Simulator] = LRUCache(64, KEPT_AMPLITUDES)
        self._outcomes: LRUCache[Simulator | ColumnSampler] = LRUCache(64, KEPT_AMPLITUDES)
        self._sources: LRUCache[StateSource] = LRUCache(64, KEPT_AMPLITUDES)
        self._measured: LRUCache[MeasurementPlan] = LRUCache(1024, KEPT_AMPLITUDES)

    def plan(self, request: AnalysedPub, blocks: list[PointBlock], shots: int) -> Plan:
        """Return how to evaluate a PUB that falls into ``blocks``."""
        if not shots and len(blocks) > 1 and _together(request, blocks):
            blocks = [merge_blocks(blocks)]
        parts = (Part(b, self._evaluator(request, b, measured=bool(shots))) for b in blocks)
        return Plan(request, tuple(parts), shots)

    def measure(self, circuit: AnalysedCircuit, outcomes: Outcomes) -> Simulator | ColumnSampler:
        """Return what gives the probabilities of outcomes, or draws them from columns."""
        return self._outcomes(
            (circuit, outcomes), lambda: make_outcome_source(circuit, outcomes, self._dtype), _weigh
        )

    def _evaluator(
        self, request: AnalysedPub, block: PointBlock, *, measured: bool
    ) -> Simulator | MeasurementPlan:
        circuit, key = request.circuit, (request.observables, block.observables.tobytes())

        def choose() -> list[Observable]:
            return [request.observables.operators[u] for u in block.observables]

        def plan() -> MeasurementPlan:
            return plan_measurement(self._preparation(circuit, choose()), choose())

        def make() -> Simulator:
            readout = Expectations(tuple(choose()))
            columns = range(circuit.num_parameters)
            return make_simulator(AUTOMATIC, circuit, readout, columns, (), self._dtype)

        if measured:
            return self._measured((circuit, *key), plan, lambda made: made.kept_numbers)
        return self._exact((circuit, *key), make, _weigh)

    def _preparation(self, circuit: AnalysedCircuit, observables: list[Observable]) -> StateSource:
        """Return what prepares the states on all qubits that have to be measured."""

        def source(idle: tuple[int, ...]) -> StateSource:
            def make() -> StateSource:
                whole = add_identities(circuit, idle) if idle else circuit
                return make_state_source(whole, self._dtype)

            return self._sources((circuit, idle), make, lambda made: made.weight)

        found = source(())
        idle = find_idle_qubits(observables, found.position)
        return source(idle) if idle else found


def _weigh(simulator: Simulator | ColumnSampler) -> int:
    """About how many numbers a simulator holds, counted as amplitudes of a state."""
    if isinstance(simulator, StatevectorSimulator):
        kept = len(simulator.sums.paulis.tables) + simulator.size
        return (1 << simulator.tape.num_bits) + kept
    if isinstance(simulator, ColumnSampler):
        return simulator.estimate(1, 0).bytes // 16
    return simulator.estimate(1).bytes // 16


def _together(request: AnalysedPub, blocks: list[PointBlock]) -> bool:
    """Whether it costs less to take all observables at all points than to compile every block."""
    terms = np.array([len(operator) for operator in request.observables.operators])
    gates = len(request.circuit.circuit.data)
    active = len({q for i in request.circuit.circuit.data for q in i.qubits})
    split = sum(len(b.points) * (gates + int(terms[b.observables].sum())) for b in blocks)
    whole = len(request.values) * (gates + int(terms.sum()))
    return (whole - split) << min(active, NARROW) <= len(blocks) * COMPILATION


def _generator(seeds: np.random.SeedSequence, *key: int) -> np.random.Generator:
    child = np.random.SeedSequence(seeds.entropy, spawn_key=(*seeds.spawn_key, *key))
    return np.random.default_rng(child)


def _exact(
    simulator: Simulator, count: int, values: FloatArray
) -> Iterator[tuple[slice, FloatArray]]:
    """Yield the values ``(N, O)`` of ``count`` observables chunk by chunk.

    Those at one point depend on no other one, not even by rounding: parts of a request have the
    values that the whole has.
    """
    numbers = count + values.shape[1]
    if isinstance(simulator, StatevectorSimulator):
        numbers = simulator.size + len(simulator.tape.angle_map.functions)
    for chunk in split_rows(len(values), 8 * numbers):
        yield chunk, simulator.evaluate_separately(values[chunk], NO_WEIGHTS)


def _sampled(
    measured: MeasurementPlan,
    values: FloatArray,
    shots: int,
    generators: Sequence[np.random.Generator],
) -> Iterator[tuple[slice, FloatArray, FloatArray]]:
    """Yield means and variances ``(N, O)`` chunk by chunk; each group has its own generator."""
    for chunk in split_rows(len(values), measured.source.row_bytes):
        states = measured.source.prepare(values[chunk])
        evs = np.tile(measured.constants, (chunk.stop - chunk.start, 1))
        variances = np.zeros_like(evs)
        for group, generator in zip(measured.groups, generators, strict=True):
            mean, variance = states.sample(group, shots, generator)
            evs[:, group.members] += mean
            variances[:, group.members] += variance
        yield chunk, evs, variances


def split_rows(rows: int, row_bytes: int, most_bytes: int | None = None) -> Iterator[slice]:
    """Split rows into chunks that fit into :data:`MEMORY`, or into so many bytes."""
    most = max(1, (most_bytes or MEMORY) // max(1, row_bytes))
    for start in range(0, rows, most):
        yield slice(start, min(start + most, rows))


def _place(
    block: PointBlock, chunk: slice, found: Sequence[FloatArray], results: Sequence[FloatArray]
) -> None:
    """Put values ``(N, O)`` of one chunk of a block's points where the result has them."""
    places, rows, columns = block.places, block.rows, block.columns
    if chunk.stop - chunk.start < len(block.points):
        here = np.flatnonzero((chunk.start <= rows) & (rows < chunk.stop))
        places, rows, columns = places[here], rows[here] - chunk.start, columns[here]
    for values, result in zip(found, results, strict=True):
        result[places] = values[rows, columns]
