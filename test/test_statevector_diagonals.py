# SPDX-License-Identifier: Apache-2.0
"""Groups of diagonal rotations, and the axes in which most rotations are diagonal.

Values and all derivatives are those of a dense simulation; layouts, threads and precisions agree
with each other. Tolerances are those of the other tests of the state vector: rounding, relative to
the size of what is summed up.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import networkx as nx
import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.circuit.library import PauliEvolutionGate
from qiskit.quantum_info import SparsePauliOp
from test_statevector_cases import CIRCUITS, SEEDS, ExactCase, simulator_of
from test_statevector_lanes import EXACT, Results, assert_close, everything
from test_statevector_random import ByValues, check_derivatives
from torch import Tensor

from qiskit_torch_bridge import CircuitProgram
from qiskit_torch_bridge.program import AnalysedCircuit
from qiskit_torch_bridge.program.readouts import Outcomes
from qiskit_torch_bridge.simulation.statevector import (
    StatevectorSimulator,
    schedule,
    simulator,
)
from qiskit_torch_bridge.simulation.statevector.schedule import gather_diagonals
from qiskit_torch_bridge.simulation.tape.axes import turn_axes
from qiskit_torch_bridge.simulation.tape.compile_tape import compile_tape
from qiskit_torch_bridge.simulation.tape.operations import Rotation

Terms = Sequence[tuple[str, list[int], float]]


def cost_layer(circuit: QuantumCircuit, terms: Terms, angles: Sequence[object]) -> None:
    """Rotations about products of Z, each by its coefficient times its angle, as gates."""
    for (letters, qubits, weight), angle in zip(terms, angles, strict=True):
        if len(letters) == 1:
            circuit.rz(weight * angle, *qubits)
        elif len(letters) == 2:
            circuit.rzz(weight * angle, *qubits)
        else:
            *others, last = qubits
            for q in others:
                circuit.cx(q, last)
            circuit.rz(weight * angle, last)
            for q in reversed(others):
                circuit.cx(q, last)


@st.composite
def layered_cases(draw: st.DrawFn, max_qubits: int = 7) -> ExactCase:
    """Layers of diagonal rotations of all kinds, and of mixers, on 1 to ``max_qubits`` qubits."""
    n = draw(st.integers(1, max_qubits))
    rng = np.random.default_rng(draw(SEEDS))
    t = list(ParameterVector("t", 5))
    circuit = QuantumCircuit(n)
    if draw(st.booleans()):
        circuit.h(range(n))
    supports = st.lists(st.integers(0, n - 1), min_size=1, max_size=min(n, 4), unique=True)
    for _ in range(draw(st.integers(1, 3))):
        places = draw(st.lists(supports, min_size=1, max_size=9))
        weights = rng.choice([1.0, -1.0, 0.5], len(places))
        if draw(st.booleans()):
            weights = rng.normal(size=len(places))
        terms = [("Z" * len(q), q, float(w)) for q, w in zip(places, weights, strict=True)]
        kind = draw(st.sampled_from(("shared", "own", "evolution")))
        if kind == "evolution":
            operator = SparsePauliOp.from_sparse_list(terms, n)
            circuit.append(PauliEvolutionGate(operator, time=draw(st.sampled_from(t))), range(n))
        else:
            one = draw(st.sampled_from(t))
            angles = [one if kind == "shared" else t[rng.integers(5)] for _ in terms]
            cost_layer(circuit, terms, angles)
        mixer = draw(st.sampled_from(("x", "y", "some", "xx")))
        for q in range(n):
            if mixer == "some" and rng.random() < 0.5:
                continue
            if mixer == "xx" and n > 1:
                circuit.rxx(t[q % 5], q, (q + 1) % n)
            elif mixer == "y":
                circuit.ry(t[q % 5] + 0.2, q)
            else:
                circuit.rx(2 * t[4], q)
    order = tuple(draw(st.permutations(list(circuit.parameters))))
    rows, num_inputs = draw(st.sampled_from((1, 3, 32, 33))), draw(st.integers(0, len(order)))
    shared = draw(st.booleans())
    values = rng.uniform(-3, 3, (rows, len(order)))
    if shared:
        values[:, num_inputs:] = values[0, num_inputs:]
    labels = ["".join(row) for row in rng.choice(list("IXYZ"), (3, n))]
    costs = ["".join(row) for row in rng.choice(list("IZ"), (6, n))]
    measured = (SparsePauliOp(labels, rng.normal(size=3)), SparsePauliOp(costs))
    return ExactCase(
        circuit, order, num_inputs, measured, torch.from_numpy(values), circuit, shared
    )


@settings(max_examples=CIRCUITS // 4)
@given(layered_cases(), SEEDS)
def test_values_and_all_derivatives(case: ExactCase, seed: int) -> None:
    norms = [float(np.abs(o.coeffs).sum()) for o in case.observables]

    def read(values: Tensor) -> Tensor:
        return reference.expectations(case.twin, case.observables, case.parameters, values)

    check_derivatives(ByValues(case), read, seed, max(1.0, *norms))


@settings(max_examples=CIRCUITS // 8)
@given(layered_cases(max_qubits=5), SEEDS)
def test_outcomes_and_all_derivatives(case: ExactCase, seed: int) -> None:
    """Axes are turned for outcomes, too."""
    n = case.circuit.num_qubits

    def read(values: Tensor) -> Tensor:
        return reference.statevector(case.twin, case.parameters, values).abs() ** 2

    check_derivatives(ByValues(case, Outcomes(tuple(range(n)), None)), read, seed, 1.0)


def qaoa(n: int, layers: int, kind: str = "regular") -> tuple[QuantumCircuit, SparsePauliOp]:
    """QAOA for MaxCut, every layer with two angles, and its cost."""
    rng = np.random.default_rng(n)
    if kind == "regular":
        pairs = list(nx.random_regular_graph(3, n, seed=1).edges)
        weights = np.ones(len(pairs))
    else:
        pairs = list(itertools.combinations(range(n), 2))
        weights = rng.normal(size=len(pairs))
    terms = [("ZZ", list(pair), float(w)) for pair, w in zip(pairs, weights, strict=True)]
    g, b = ParameterVector("g", layers), ParameterVector("b", layers)
    circuit = QuantumCircuit(n)
    circuit.h(range(n))
    for layer in range(layers):
        cost_layer(circuit, terms, [g[layer]] * len(terms))
        circuit.rx(2 * b[layer], range(n))
    return circuit, SparsePauliOp.from_sparse_list(terms, n)


def case_of(circuit: QuantumCircuit, *measured: SparsePauliOp, rows: int = 1) -> ExactCase:
    parameters = tuple(circuit.parameters)
    half = len(parameters) // 2
    values = np.random.default_rng(rows).uniform(-2, 2, (rows, len(parameters)))
    values[:, half:] = values[0, half:]
    return ExactCase(circuit, parameters, half, measured, torch.from_numpy(values), circuit, True)


def results(case: ExactCase, dtype: type = np.complex128) -> Results:
    """Values and all derivatives at a direction and cotangents that are the same every time."""
    ours = ByValues(case)
    ours.simulator = made(case, dtype)
    rng = np.random.default_rng(0)
    direction = torch.from_numpy(rng.normal(size=case.values.shape))
    direction[:, case.num_inputs :] = direction[:1, case.num_inputs :]
    x, w, dx, dw = ours.point(direction)
    c, dc = rng.normal(size=(2, len(x), ours.simulator.size))
    return everything(ours.simulator, x, w, c, dx, dw, dc)


def made(case: ExactCase, dtype: type) -> StatevectorSimulator:
    program = CircuitProgram(
        case.circuit,
        list(case.observables),
        input_params=case.inputs,
        weight_params=case.weights,
    )
    columns = (program.input_columns, program.weight_columns)
    return StatevectorSimulator(program.analysed, program.readout, *columns, dtype=dtype)


@pytest.mark.parametrize("kind", ["regular", "dense"])
@pytest.mark.parametrize("rows", [1, 5, 33])
def test_single_precision(kind: str, rows: int) -> None:
    """A phase is rounded once, whatever the number of rotations that it is made of."""
    case = case_of(*qaoa(8, 2, kind), rows=rows)
    expected = results(case)
    assert_close(results(case, np.complex64), expected, 2e-5)


@pytest.mark.parametrize("kind", ["regular", "dense"])
@pytest.mark.parametrize("rows", [1, 4])
def test_layouts_agree(kind: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rotations one by one, blocks of several pieces, and rows side by side or not."""
    case = case_of(*qaoa(12, 2, kind), rows=rows)
    monkeypatch.setattr(simulator, "count_threads", lambda: 1)
    expected = results(case)
    with monkeypatch.context() as patch:
        patch.setattr(schedule, "LONG", 1)
        assert_close(results(case), expected, EXACT * 10)
    with monkeypatch.context() as patch:
        patch.setattr(schedule, "FEWEST", 1 << 30)
        assert_close(results(case), expected, EXACT * 10)
    with monkeypatch.context() as patch:
        patch.setattr(simulator, "CACHED_NUMBERS", 1 << 20)
        assert_close(results(case), expected, EXACT * 10)


def ising(n: int, layers: int) -> tuple[QuantumCircuit, SparsePauliOp]:
    """Evolutions whose angles are multiples of one, with both signs, and an offset to each time."""
    rng = np.random.default_rng(n)
    terms = [("ZZ", [q, (q + 1) % n], -1.0) for q in range(n)]
    terms += [("Z", [q], float(rng.choice([0.5, -1.5]))) for q in range(n)]
    operator = SparsePauliOp.from_sparse_list(terms, n)
    circuit = QuantumCircuit(n)
    for layer, t in enumerate(ParameterVector("t", layers)):
        for q in range(n):
            circuit.ry(0.3 + q, q)
        circuit.append(PauliEvolutionGate(operator, time=(1 - 2 * layer) * t + 0.4), range(n))
    for q, t in enumerate(ParameterVector("x", n)):
        circuit.rx(t, q)
    return circuit, SparsePauliOp.from_sparse_list([*terms, ("XY", [0, n - 1], 1.0)], n)


def tabulated(s: StatevectorSimulator) -> int:
    """How many tables of sums the simulator has, all layouts together."""
    assert s._schedules
    return sum(8 * len(found.sums) for found in s._schedules.values()) >> s.tape.num_bits


@pytest.mark.parametrize("dtype", [np.complex128, np.complex64])
@pytest.mark.parametrize("rows", [1, 2, 4, 8, 33])
@pytest.mark.parametrize("make", [qaoa, ising])
def test_sums_that_are_looked_up(
    make: Callable[..., tuple[QuantumCircuit, SparsePauliOp]],
    rows: int,
    dtype: type,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are those of a transform, in blocks of one piece or several and by any derivatives."""
    monkeypatch.setattr(simulator, "count_threads", lambda: 1)
    case = case_of(*make(10, 3), rows=rows)
    with monkeypatch.context() as patch:
        patch.setattr(schedule, "MOST_SUMS", 0)
        expected = results(case)
    tolerance = EXACT * 10 if dtype is np.complex128 else 2e-5
    for long in (schedule.LONG, 1):
        with monkeypatch.context() as patch:
            patch.setattr(schedule, "LONG", long)
            assert_close(results(case, dtype), expected, tolerance)
    s = made(case, dtype)
    x, w = ByValues(case).point()
    c = np.ones((rows, s.size))
    whole = s.vjp(x, w, c)
    assert tabulated(s) == 2  # of the first group some rotations prepare a product state
    assert_close(s.vjp(x, w, c, wanted=(True, False))[:1], whole[:1], tolerance)
    assert_close(s.vjp(x, w, c, wanted=(False, True))[1:], whole[1:], tolerance)


@settings(max_examples=2)
@given(SEEDS)
def test_multiples_of_one_angle_against_a_dense_simulation(seed: int) -> None:
    circuit, cost = ising(7, 2)
    case = case_of(circuit, cost, rows=2)

    def read(values: Tensor) -> Tensor:
        return reference.expectations(case.twin, case.observables, case.parameters, values)

    check_derivatives(ByValues(case), read, seed, float(np.abs(cost.coeffs).sum()))
    s = made(case, np.complex128)
    s.evaluate(*ByValues(case).point())
    assert tabulated(s) == 1


@pytest.mark.parametrize("change", [None, "weight", "parameter", "offset", "size"])
def test_which_groups_have_a_table(change: str | None) -> None:
    """None if angles are no whole multiples of one, or if there are too many sums."""
    circuit, t = QuantumCircuit(8), ParameterVector("t", 2)
    for q in range(8):
        circuit.ry(0.3 + q, q)
    angles = {"weight": 1.3 * t[0], "parameter": t[1], "offset": t[0] + 0.1, "size": 300 * t[0]}
    for q in range(7):
        circuit.rzz(angles.get(change, 2 * t[0]) if q == 3 else t[0], q, q + 1)
    for q in range(8):
        circuit.rx(0.3 + t[1], q)
    s = made(case_of(circuit, SparsePauliOp("ZXYZXYZX")), np.complex128)
    s.evaluate(np.ones((1, 1)), np.ones((1, 1)))
    assert tabulated(s) == (change is None)


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_share_a_state(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case = case_of(*qaoa(12, 2))
    expected = results(case)
    monkeypatch.setattr(simulator, "SMALL_WORK", 0)
    monkeypatch.setattr(simulator, "SHARED_STATE", 0)
    monkeypatch.setattr(simulator, "count_threads", lambda: threads)
    assert_close(results(case), expected, EXACT * 10)


@pytest.mark.parametrize("kind", ["regular", "dense"])
def test_a_cost_layer_is_one_group(kind: str) -> None:
    """And what displaces the index are the mixers: one rotation for each qubit and layer."""
    circuit, cost = qaoa(10, 3, kind)
    s = simulator_of(case_of(circuit, cost))
    items = list(gather_diagonals(s.operations, s.tape.num_bits))
    groups = [item for item in items if len(item) > 1]
    assert [len(group) for group in groups] == [len(cost)] * 3
    singles = [s.operations[item[0]] for item in items if len(item) == 1]
    rotations = [o for o in singles if isinstance(o, Rotation)]
    assert all(o.pauli.x for o in rotations)
    assert len([o for o in rotations if not o.angle.is_fixed]) == 10 * 3
    assert s.tape.num_bits == 9  # the parity is another bit less


def test_axes_stay_where_others_are_no_better() -> None:
    circuit = QuantumCircuit(4)
    for q, p in enumerate(ParameterVector("p", 8)):
        (circuit.ry if q < 4 else circuit.rz)(p, q % 4)
        if q == 3:
            circuit.cx([0, 1, 2], [1, 2, 3])
    tape = compile_tape(AnalysedCircuit(circuit))
    assert turn_axes(tape, np.array([[0, 1], [0, 2]])) == (tape, None)
