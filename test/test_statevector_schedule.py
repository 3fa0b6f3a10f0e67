# SPDX-License-Identifier: Apache-2.0
"""The schedule is a valid reordering, and its runs cut the index space into cosets.

Everything here is exact: masks and positions are whole numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_statevector_cases import CIRCUITS

from qiskit_torch_bridge.simulation.statevector import schedule as module
from qiskit_torch_bridge.simulation.statevector.schedule import (
    Run,
    choose_rows_side_by_side,
    schedule,
)
from qiskit_torch_bridge.simulation.tape.operations import Angle, FixedMatrix, Rotation
from qiskit_torch_bridge.simulation.tape.paulis import PauliString

Operations = Sequence[Rotation | FixedMatrix]
LANES = 32


class Problem(NamedTuple):
    operations: Operations
    num_bits: int
    lane_bits: int
    block_bits: int


@st.composite
def problems(draw: st.DrawFn, max_operations: int = 30) -> Problem:
    num_bits = draw(st.integers(1, 10))
    masks = st.integers(0, 2**num_bits - 1)
    sparse = st.integers(0, num_bits - 1).map(lambda b: 1 << b)
    low = masks.map(lambda m: m & 7)  # masks within the lanes
    rotation = st.builds(
        lambda x, z: Rotation(PauliString(x, z, (x & z).bit_count() % 4), Angle(0.1)),
        sparse | st.just(0) | low | masks,
        sparse | masks,
    )
    matrix = st.permutations(range(num_bits)).flatmap(
        lambda bits: st.integers(1, min(4, num_bits)).map(
            lambda k: FixedMatrix(tuple(bits[:k]), np.eye(2**k, dtype=complex))
        )
    )
    kinds = st.sampled_from((rotation,) * 8 + (matrix,)).flatmap(lambda kind: kind)
    operations = draw(st.lists(kinds, max_size=max_operations))
    widest = max((len(o.bits) for o in operations if isinstance(o, FixedMatrix)), default=0)
    fewest = choose_rows_side_by_side(1, num_bits, widest)
    rows_t = draw(st.sampled_from([t for t in (32, 16, 8, 4, 2, 1) if t >= fewest]))
    return Problem(
        operations, num_bits, (LANES // rows_t).bit_length() - 1, draw(st.integers(1, 6))
    )


def may_be_exchanged(a: Rotation | FixedMatrix, b: Rotation | FixedMatrix) -> bool:
    return isinstance(a, Rotation) and isinstance(b, Rotation) and a.pauli.commutes(b.pauli)


def span(basis: Iterable[int]) -> list[int]:
    """All sums of some vectors, as often as they occur."""
    elements = [0]
    for vector in basis:
        elements += [e ^ vector for e in elements]
    return elements


def bits_of(mask: int) -> list[int]:
    return [b for b in range(mask.bit_length()) if mask >> b & 1]


@settings(max_examples=CIRCUITS)
@given(problems())
def test_only_commuting_operations_change_places(problem: Problem) -> None:
    operations = problem.operations
    order = [position for run in schedule(*problem) for position in run.operations]
    assert sorted(order) == list(range(len(operations)))
    for later, earlier in itertools.combinations(order, 2):  # `later` now comes first
        if earlier < later:
            assert may_be_exchanged(operations[earlier], operations[later])


@settings(max_examples=CIRCUITS)
@given(problems())
def test_runs_cut_the_index_space_into_cosets(problem: Problem) -> None:
    operations, num_bits, lane_bits, block_bits = problem
    for run in schedule(*problem):
        assert len(run.lanes) == lane_bits
        assert len(run.pivots) == len(set(run.pivots)) == len(run.basis)
        for vector, pivot in zip(run.basis, run.pivots, strict=True):
            assert [p for p in run.pivots if vector >> p & 1] == [pivot]
        within = set(span([*run.basis, *(1 << b for b in run.lanes)]))
        for position in run.operations:
            operation = operations[position]
            if isinstance(operation, FixedMatrix):
                assert run.operations == (position,)
                assert run.basis == tuple(1 << b for b in operation.bits)
            else:
                assert operation.pauli.x in within  # what is in the lanes exchanges these
                assert run.lanes == tuple(range(lane_bits))
                assert len(run.basis) <= block_bits
        free = [1 << b for b in bits_of(run.free_bits(num_bits))]
        lanes = [1 << b for b in run.lanes]
        assert sorted(span([*free, *run.basis, *lanes])) == list(range(2**num_bits))


def runs_of(*masks: tuple[int, int], block_bits: int = 2, num_bits: int = 6) -> list[Run]:
    rotations = [Rotation(PauliString(x, z), Angle(0.1)) for x, z in masks]
    return schedule(rotations, num_bits, 0, block_bits)


def test_a_rotation_joins_an_earlier_run_past_those_it_commutes_with() -> None:
    """X on bits 0, 1 and 2, then a second one on bit 0 that fits the first run's subspace."""
    runs = runs_of((1, 0), (2, 0), (4, 0), (1, 0))
    assert [run.operations for run in runs] == [(0, 1, 3), (2,)]


def test_a_rotation_stays_behind_one_that_it_does_not_commute_with() -> None:
    """The third rotation has signs on bit 0, so the fourth must not overtake it."""
    runs = runs_of((1, 0), (2, 0), (4, 1), (1, 0))
    assert [run.operations for run in runs] == [(0, 1), (2, 3)]


def test_rotations_that_are_phases_join_any_run() -> None:
    """A group of them has no generators, and is no matrix."""
    runs = runs_of((0, 0), (0, 0), (0, 0))
    assert [run.operations for run in runs] == [(0, 1, 2)]
    runs = runs_of((0, 0), (1, 0), (0, 0), (0, 0), (1, 2))
    assert [run.operations for run in runs] == [(1, 4, 0, 2, 3)]


def test_no_run_looks_ahead_further_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOKAHEAD", 3)
    runs = runs_of((1, 0), (2, 0), (4, 0), (1, 0))
    assert [run.operations for run in runs] == [(0, 1), (2, 3)]


@given(st.integers(1, 100), st.integers(1, 20), st.integers(0, 6))
def test_lanes_leave_room_for_the_widest_matrix(rows: int, num_bits: int, widest: int) -> None:
    rows_t = choose_rows_side_by_side(rows, num_bits, widest)
    lane_bits = (LANES // rows_t).bit_length() - 1
    assert rows_t << lane_bits == LANES
    assert rows_t >= min(rows, LANES)
    # A matrix on low bits takes its lanes from the others.
    assert (2 * lane_bits if widest else lane_bits) + widest <= num_bits or not lane_bits
