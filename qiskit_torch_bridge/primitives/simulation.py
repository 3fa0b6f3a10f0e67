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
from ..simulation.statevector import StatevectorSimulator
from .drawing import find_probabilities
from .pubs import AnalysedPub, PointBlock, merge_blocks
from .sampling import (
    MeasurementPlan,
    add_identities,
    find_idle_qubits,
    plan_measurement,
    sample_group,
)

MEMORY = 64 << 20
"""Bytes that the states or the values of one chunk of points may take."""
COMPILATION = 1 << 24
"""What compiling a simulator costs, in amplitudes that an operation changes in the same time."""
KEPT_AMPLITUDES = 1 << 24
"""Amplitudes that simulators which are remembered may hold one state of, together."""
NO_WEIGHTS = np.zeros((1, 0))


class Part(NamedTuple):
    """Some points with the observables asked for there, and what gives their values."""

    block: PointBlock
    evaluator: StatevectorSimulator | MeasurementPlan


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
                for chunk, *found in _exact(evaluator, values):
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
        self._exact: LRUCache[StatevectorSimulator] = LRUCache(64, KEPT_AMPLITUDES)
        self._measured: LRUCache[MeasurementPlan] = LRUCache(1024, KEPT_AMPLITUDES)

    def plan(self, request: AnalysedPub, blocks: list[PointBlock], shots: int) -> Plan:
        """Return how to evaluate a PUB that falls into ``blocks``."""
        if not shots and len(blocks) > 1 and _together(request, blocks):
            blocks = [merge_blocks(blocks)]
        parts = (Part(b, self._evaluator(request, b, measured=bool(shots))) for b in blocks)
        return Plan(request, tuple(parts), shots)

    def prepare(self, circuit: AnalysedCircuit) -> StatevectorSimulator:
        """Return what prepares the states of the qubits that gates act on."""
        return self._exact((circuit, ()), lambda: self._new(circuit, None), _weight)

    def measure(self, circuit: AnalysedCircuit, outcomes: Outcomes) -> StatevectorSimulator:
        """Return what gives the probabilities of outcomes."""
        columns = range(circuit.num_parameters)
        return self._exact(
            (circuit, outcomes),
            lambda: StatevectorSimulator(circuit, outcomes, columns, (), self._dtype),
            _weight,
        )

    def _evaluator(
        self, request: AnalysedPub, block: PointBlock, *, measured: bool
    ) -> StatevectorSimulator | MeasurementPlan:
        circuit, key = request.circuit, (request.observables, block.observables.tobytes())

        def choose() -> list[Observable]:
            return [request.observables.operators[u] for u in block.observables]

        def plan() -> MeasurementPlan:
            return plan_measurement(self._preparation(circuit, choose()), choose())

        if measured:
            return self._measured((circuit, *key), plan, lambda made: made.kept_numbers)
        return self._exact((circuit, *key), lambda: self._new(circuit, choose()), _weight)

    def _preparation(
        self, circuit: AnalysedCircuit, observables: list[Observable]
    ) -> StatevectorSimulator:
        """Return what prepares the states on all qubits that have to be measured."""
        simulator = self.prepare(circuit)
        idle = find_idle_qubits(observables, simulator.tape.position)
        if not idle:
            return simulator
        return self._exact(
            (circuit, idle), lambda: self._new(add_identities(circuit, idle), None), _weight
        )

    def _new(
        self, circuit: AnalysedCircuit, observables: list[Observable] | None
    ) -> StatevectorSimulator:
        readout = None if observables is None else Expectations(tuple(observables))
        columns = range(circuit.num_parameters)
        return StatevectorSimulator(circuit, readout, columns, (), self._dtype)


def _weight(simulator: StatevectorSimulator) -> int:
    return (1 << simulator.tape.num_bits) + len(simulator.sums.paulis.tables) + simulator.size


def _together(request: AnalysedPub, blocks: list[PointBlock]) -> bool:
    """Whether it costs less to take all observables at all points than to compile every block."""
    terms = np.array([len(operator) for operator in request.observables.operators])
    gates = len(request.circuit.circuit.data)
    active = len({q for i in request.circuit.circuit.data for q in i.qubits})
    split = sum(len(b.points) * (gates + int(terms[b.observables].sum())) for b in blocks)
    whole = len(request.values) * (gates + int(terms.sum()))
    return (whole - split) << active <= len(blocks) * COMPILATION


def _generator(seeds: np.random.SeedSequence, *key: int) -> np.random.Generator:
    child = np.random.SeedSequence(seeds.entropy, spawn_key=(*seeds.spawn_key, *key))
    return np.random.default_rng(child)


def _exact(
    simulator: StatevectorSimulator, values: FloatArray
) -> Iterator[tuple[slice, FloatArray]]:
    """Yield expectation values ``(N, O)`` chunk by chunk."""
    numbers = simulator.size + len(simulator.tape.angle_map.functions)
    for chunk in split_rows(len(values), 8 * numbers):
        yield chunk, simulator.evaluate(values[chunk], NO_WEIGHTS)[0]


def _sampled(
    measured: MeasurementPlan,
    values: FloatArray,
    shots: int,
    generators: Sequence[np.random.Generator],
) -> Iterator[tuple[slice, FloatArray, FloatArray]]:
    """Yield means and variances ``(N, O)`` chunk by chunk; each group has its own generator."""
    simulator = measured.simulator
    for chunk in split_rows(len(values), 32 << simulator.tape.num_bits):
        states = simulator.states(values[chunk], NO_WEIGHTS)
        evs = np.tile(measured.constants, (len(states), 1))
        variances = np.zeros_like(evs)
        for group, generator in zip(measured.groups, generators, strict=True):
            probabilities = find_probabilities(states, group.bits, group.changes)
            mean, variance = sample_group(group, probabilities, shots, generator)
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
