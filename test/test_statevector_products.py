# SPDX-License-Identifier: Apache-2.0
"""What acts on single bits first prepares a product: values and derivatives stay what they are.

The reference is the dense one of the random circuits, with its tolerances; layouts and threads do
the same arithmetic in other orders, to 1e-12.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import reference
import torch
from hypothesis import HealthCheck, given, settings
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector
from qiskit.quantum_info import SparsePauliOp
from test_statevector_cases import SEEDS, ExactCase, simulator_of
from test_statevector_lanes import assert_close, everything
from test_statevector_random import ByValues, check_derivatives

from qiskit_torch_bridge import CircuitProgram
from qiskit_torch_bridge.simulation.statevector import StatevectorSimulator, simulator

EXACT = 1e-12
SINGLE = 1e-5  # relative to norms of one; some dozen operations in single precision
T = ParameterVector("t", 5)


@pytest.fixture(autouse=True)
def products_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prepare products however small they are."""
    monkeypatch.setattr(simulator, "SMALL_PRODUCT", 0)


def one_qubit() -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.rx(T[0], 0)
    circuit.ry(T[1] + 0.5 * T[0], 0)
    circuit.rz(T[2] - T[3], 0)
    circuit.rx(2 * T[4], 0)
    return circuit


def only_products(num_qubits: int) -> QuantumCircuit:
    """Fixed gates, equal axes in a row, and parameters that several qubits share."""
    circuit = QuantumCircuit(num_qubits)
    for q in range(num_qubits):
        circuit.h(q)
        circuit.t(q)
        circuit.ry(T[q % 5], q)
        circuit.ry(0.3 * T[(q + 1) % 5] + 0.2, q)
        circuit.rx(T[(q + 2) % 5], q)
    return circuit


def with_expressions() -> QuantumCircuit:
    circuit = QuantumCircuit(3)
    circuit.ry(T[0] * T[1], 0)
    circuit.rx(T[1].sin(), 1)
    circuit.ry(T[3] ** 2, 2)
    circuit.rz(T[2] * T[4], 2)
    circuit.cx(0, 2)
    circuit.rx(T[0] * T[3], 2)
    return circuit


def layered(num_qubits: int) -> QuantumCircuit:
    circuit = only_products(num_qubits)
    for layer in range(2):
        for q in range(num_qubits):
            circuit.cx(q, (q + 1) % num_qubits)
            circuit.ry(T[(q + layer) % 5], q)
            circuit.rz(T[(q + 3) % 5], q)
    return circuit


def after_others() -> QuantumCircuit:
    """The last rotation on qubit 1 commutes with what precedes it; that on qubit 0 does not."""
    circuit = QuantumCircuit(2)
    circuit.rx(T[0], 1)
    circuit.rxx(T[1], 0, 1)
    circuit.rx(T[2], 1)
    circuit.rz(T[3], 0)
    circuit.ry(T[4], 1)
    return circuit


CASES: dict[str, Callable[[], QuantumCircuit]] = {
    "one qubit": one_qubit,
    "two qubits": lambda: only_products(2),
    "five qubits": lambda: only_products(5),
    "expressions": with_expressions,
    "three qubits in layers": lambda: layered(3),
    "six qubits in layers": lambda: layered(6),
    "after others": after_others,
}


def observables_of(num_qubits: int) -> tuple[SparsePauliOp, ...]:
    rng = np.random.default_rng(num_qubits)
    labels = ["".join(rng.choice(list("IXYZ"), num_qubits)) for _ in range(6)]
    return SparsePauliOp("Z" * num_qubits), SparsePauliOp(labels, rng.uniform(-1, 1, 6))


def case_of(circuit: QuantumCircuit, rows: int, num_inputs: int, shared: bool) -> ExactCase:
    parameters: tuple[Parameter, ...] = tuple(T)
    for t in T:  # so that all of them are there
        circuit.rz(t, 0)
    values = torch.from_numpy(np.random.default_rng(rows).uniform(-2, 2, (rows, len(T))))
    if shared:
        values[:, num_inputs:] = values[:1, num_inputs:]
    observables = observables_of(circuit.num_qubits)
    return ExactCase(circuit, parameters, num_inputs, observables, values, circuit, shared)


@pytest.mark.parametrize(
    ("rows", "num_inputs", "shared"), [(1, 2, True), (3, 5, False), (33, 2, True)]
)
@pytest.mark.parametrize("name", CASES)
@settings(max_examples=2, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SEEDS)
def test_values_and_all_derivatives(
    name: str, rows: int, num_inputs: int, shared: bool, seed: int
) -> None:
    case = case_of(CASES[name](), rows, num_inputs, shared)

    def read(values: torch.Tensor) -> torch.Tensor:
        return reference.expectations(case.twin, case.observables, case.parameters, values)

    check_derivatives(ByValues(case), read, seed, 3.0)


def made(
    circuit: QuantumCircuit, dtype: type = np.complex128, num_inputs: int = 2
) -> StatevectorSimulator:
    parameters = sorted(circuit.parameters, key=lambda p: p.name)
    program = CircuitProgram(
        circuit, list(observables_of(circuit.num_qubits)), input_params=parameters[:num_inputs]
    )
    columns = (program.input_columns, program.weight_columns)
    return StatevectorSimulator(program.analysed, program.readout, *columns, dtype=dtype)


def numbers(rows: int) -> list[np.ndarray]:
    """Values, a cotangent, and tangents of all of them."""
    rng = np.random.default_rng(rows)
    shapes = [(rows, 2), (1, 3), (rows, 2)] * 2
    return [rng.uniform(-2, 2, shape) for shape in shapes]


def test_rotations_of_single_bits_are_not_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    assert made(one_qubit())._leading == len(made(one_qubit()).operations)
    s = made(layered(6))
    assert 0 < s._leading < len(s.operations)
    assert all(
        o.pauli.x | o.pauli.z in {1 << b for b in range(6)} for o in s.operations[: s._leading]
    )

    monkeypatch.undo()
    assert made(one_qubit())._leading == 0  # one sweep takes less


@pytest.mark.parametrize("name", ["one qubit", "five qubits", "six qubits in layers"])
@pytest.mark.parametrize("rows", [1, 70])
def test_single_precision(name: str, rows: int) -> None:
    circuit, values = CASES[name](), numbers(rows)
    found = everything(made(circuit, np.complex64), *values)
    for single, double in zip(found, everything(made(circuit), *values), strict=True):
        np.testing.assert_allclose(single, double, rtol=SINGLE, atol=SINGLE * 10 * rows)


@pytest.mark.parametrize("wanted", [(True, False), (False, True), (False, False)])
@pytest.mark.parametrize("name", ["one qubit", "expressions", "six qubits in layers"])
def test_what_is_not_wanted_changes_nothing(name: str, wanted: tuple[bool, bool]) -> None:
    s, (x, w, c, dx, dw, dc) = made(CASES[name]()), numbers(3)
    whole, some = s.vjp(x, w, c), s.vjp(x, w, c, wanted=wanted)
    twice = s.vjp_tangent(x, w, c, dx, dw, dc)
    some_twice = s.vjp_tangent(x, w, c, dx, dw, dc, wanted=wanted)
    for found, expected in ((some, whole), (some_twice, twice)):
        for is_wanted, f, e in zip(wanted, found, expected, strict=True):
            np.testing.assert_allclose(f, e if is_wanted else 0 * e, rtol=EXACT, atol=EXACT * 100)


WAYS = {
    "chunks of their own": {"SMALL_WORK": 0, "SHARED_STATE": 1 << 60, "CACHED_NUMBERS": 1 << 10},
    "one state together": {"SMALL_WORK": 0, "SHARED_STATE": 0, "CACHED_NUMBERS": 1 << 20},
}


@pytest.mark.parametrize("rows", [1, 33])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["one qubit", "five qubits", "six qubits in layers"])
def test_threads(name: str, way: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    circuit, values = CASES[name](), numbers(rows)
    monkeypatch.setattr(simulator, "count_threads", lambda: 1)
    expected = everything(made(circuit), *values)
    for constant, number in WAYS[way].items():
        monkeypatch.setattr(simulator, constant, number)
    monkeypatch.setattr(simulator, "count_threads", lambda: 3)
    found = everything(made(circuit), *values)
    assert_close(found, expected, EXACT * 10)
    assert_close(everything(made(circuit), *values), found, 0)


@pytest.mark.parametrize("num_qubits", [1, 3, 7])
def test_states_and_their_tangents(num_qubits: int) -> None:
    r"""The derivative by the angle of one rotation is half of the state half a turn further."""
    angles = ParameterVector("a", 3 * num_qubits)
    circuit = QuantumCircuit(num_qubits)
    for k, angle in enumerate(angles):
        (circuit.ry, circuit.rz, circuit.rx)[k // num_qubits](angle, k % num_qubits)
    case = ExactCase(
        circuit,
        tuple(angles),
        len(angles),
        observables_of(num_qubits),
        torch.zeros(1, len(angles)),
        circuit,
        True,
    )
    s = simulator_of(case, states=True)
    rows = np.random.default_rng(0).uniform(-2, 2, (1, len(angles))).repeat(len(angles), axis=0)
    none, units = np.zeros((1, 0)), np.eye(len(angles))
    states, tangents = s.tangent_states(rows, none, units, none)
    np.testing.assert_allclose(states, s.states(rows, none), rtol=0, atol=EXACT)
    further = s.states(rows + np.pi * units, none)
    np.testing.assert_allclose(tangents, further / 2, rtol=0, atol=EXACT)


def test_nothing_to_prepare() -> None:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    for some in (circuit, QuantumCircuit(1)):
        program = CircuitProgram(some, [SparsePauliOp("Z" * some.num_qubits)])
        s = StatevectorSimulator(program.analysed, program.readout, (), ())
        evs, kept = s.evaluate(np.zeros((3, 0)), np.zeros((1, 0)), keep=True)
        np.testing.assert_allclose(evs, np.ones((3, 1)), rtol=0, atol=EXACT)
        gx, gw = s.vjp(np.zeros((3, 0)), np.zeros((1, 0)), np.ones((3, 1)), kept)
        assert gx.shape == (3, 0) and gw.shape == (1, 0)
