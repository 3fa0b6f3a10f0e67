# SPDX-License-Identifier: Apache-2.0
"""Each method of exact simulation keeps the contract of all: ``simulator_contract``.

Some sixty random circuits of up to 14 qubits for each method, by default. 3,000, which take about
an hour for all methods, are drawn by::

    QTB_EXACT_CIRCUITS=3000 python -m pytest test/test_methods.py

A failing circuit is printed with the family and the seed that :func:`random_case` draws it by.
"""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector
from qiskit.quantum_info import SparsePauliOp
from simulator_contract import FAMILIES, METHODS, SINGLE, check_contract, make, random_case
from test_statevector_cases import FULL, SEEDS, ExactCase, exact_cases

from qiskit_torch_bridge.exceptions import ExpressionError, InputError

COUNT = int(os.environ.get("QTB_EXACT_CIRCUITS", "3000" if FULL else "36"))
X, W = ParameterVector("x", 3), ParameterVector("w", 3)

every_method = pytest.mark.parametrize("method", METHODS)


def case_of(circuit, observables, values, num_inputs=0, shared=False) -> ExactCase:
    found = [o if isinstance(o, SparsePauliOp) else SparsePauliOp(o) for o in observables]
    rows = torch.as_tensor(values, dtype=torch.float64).reshape(len(values), -1)
    order = tuple(circuit.parameters)
    return ExactCase(circuit, order, num_inputs, tuple(found), rows, circuit, shared)


def network() -> QuantumCircuit:
    """Inputs, weights, and entanglement of four qubits of which one is idle."""
    circuit = QuantumCircuit(4)
    for q in range(3):
        circuit.ry(X[q], q)
        circuit.rx(W[q] + X[0] / 2, q)
    circuit.cx(0, 1)
    circuit.rzz(W[1], 1, 2)
    circuit.ry(W[2], 1)
    return circuit


@every_method
@pytest.mark.parametrize("family", FAMILIES)
def test_random_circuits(method, family):
    tried, count = 0, max(1, COUNT // len(FAMILIES))
    for seed in range(count):
        case = random_case(family, seed)
        try:
            tried += check_contract(method, case, seed)
        except Exception as error:
            raise AssertionError(f"random_case({family!r}, {seed}): {case!r}") from error
    # Only circuits that a method is the wrong one for may be left out.
    assert tried >= count // 2


@every_method
@settings(max_examples=max(5, COUNT // 4))
@given(exact_cases(max_qubits=6, max_strings=max(8, COUNT // 100)), SEEDS)
def test_whatever_the_exact_engine_takes(method, case, seed):
    few = case.values[:3]
    check_contract(method, _with_values(case, few), seed)


def _with_values(case: ExactCase, values: torch.Tensor) -> ExactCase:
    return ExactCase(
        case.circuit, case.parameters, case.num_inputs, case.observables, values, case.twin,
        case.shares_weights,
    )  # fmt: skip


@every_method
@pytest.mark.parametrize("shared", [True, False])
def test_no_rows_give_empty_results(method, shared):
    case = case_of(network(), ["IIIZ", "IZZI"], np.zeros((1, 6)), num_inputs=3)
    simulator = make(method, case)
    x, w = np.zeros((0, 3)), np.zeros((1 if shared else 0, 3))
    none = np.zeros((0, 2))
    assert simulator.evaluate(x, w)[0].shape == (0, 2)
    for parts in (
        simulator.vjp(x, w, none),
        simulator.vjp_tangent(x, w, none, x, w, none),
    ):
        assert parts[0].shape == (0, 3) and parts[1].shape == w.shape and not parts[1].any()
    assert simulator.tangent(x, w, x, w).shape == (0, 2)


@every_method
def test_a_circuit_without_parameters_has_its_value(method):
    circuit = QuantumCircuit(3)
    circuit.ry(0.7, 0)
    circuit.cx(0, 1)
    case = case_of(circuit, ["IIZ", "IZZ", "III", "ZII", "IXX"], np.zeros((2, 0)))
    simulator = make(method, case)
    x, w = np.zeros((2, 0)), np.zeros((1, 0))
    expected = np.tile([np.cos(0.7), 1, 1, 1, np.sin(0.7)], (2, 1))
    np.testing.assert_allclose(simulator.evaluate(x, w)[0], expected, rtol=0, atol=1e-12)
    gx, gw = simulator.vjp(x, w, np.ones((2, 5)))
    assert gx.shape == (2, 0) and gw.shape == (1, 0)


@every_method
def test_a_circuit_without_gates_stays_at_zero(method):
    case = case_of(QuantumCircuit(3), ["IIZ", "XXX", "ZZZ"], np.zeros((1, 0)))
    values, _ = make(method, case).evaluate(np.zeros((1, 0)), np.zeros((1, 0)))
    np.testing.assert_allclose(values, [[1, 0, 1]], rtol=0, atol=1e-15)


@every_method
def test_constants_have_no_gradient(method):
    case = case_of(network(), [SparsePauliOp(["IIII"], [2.5])], np.zeros((2, 6)), num_inputs=3)
    simulator = make(method, case)
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 3)), rng.normal(size=(1, 3))
    assert simulator.evaluate(x, w)[0].tolist() == [[2.5], [2.5]]
    gx, gw = simulator.vjp(x, w, np.ones((2, 1)))
    assert not gx.any() and not gw.any()


@every_method
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("place", ["input", "weight", "outside every cone"])
def test_numbers_that_are_not_finite_are_refused(method, bad, place):
    """Also those that nothing of what is read depends on: they are mistakes all the same."""
    case = case_of(network(), ["IIIZ"], np.zeros((1, 6)), num_inputs=3)
    order = [p.name for p in case.parameters]
    simulator = make(method, case)
    x, w = np.zeros((2, 3)), np.zeros((1, 3))
    assert order[:3] == ["w[0]", "w[1]", "w[2]"]
    if place == "input":
        x[1, 0] = bad
    elif place == "weight":
        w[0, 0] = bad
    else:
        w[0, 2] = bad  # x[2] turns qubit 2, which the observable does not see
    zeros = np.zeros_like(x), np.zeros_like(w)
    c = np.ones((2, 1))
    for call in (
        lambda: simulator.evaluate(x, w),
        lambda: simulator.vjp(x, w, c),
        lambda: simulator.tangent(x, w, *zeros),
        lambda: simulator.vjp_tangent(x, w, c, *zeros, c),
    ):
        with pytest.raises(InputError):
            call()


@every_method
def test_expressions_without_a_derivative_are_named_on_demand(method):
    theta = Parameter("theta")
    circuit = QuantumCircuit(2)
    circuit.ry(theta**0.5, 0)
    circuit.cx(0, 1)
    simulator = make(method, case_of(circuit, ["IZ", "ZZ"], [[0.0]], num_inputs=1))
    x, w = np.zeros((1, 1)), np.zeros((1, 0))
    assert not simulator.is_affine
    np.testing.assert_allclose(simulator.evaluate(x, w)[0], [[1, 1]], rtol=0, atol=1e-14)
    with pytest.raises(ExpressionError):
        simulator.check_derivatives(x, w)
    simulator.check_derivatives(x + 1, w)


@every_method
def test_a_row_does_not_depend_on_the_others(method):
    case = random_case("chain", 3)
    simulator = make(method, case)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(37, case.num_inputs))
    w = rng.normal(size=(37, len(case.weights)))
    together = simulator.evaluate(x, w)[0]
    c = rng.normal(size=together.shape)
    gx, gw = simulator.vjp(x, w, c)
    for row in (0, 17, 36):
        one = x[row : row + 1], w[row : row + 1]
        near = {"rtol": 0, "atol": 1e-11 * max(1.0, float(np.abs(gw).max(initial=1)))}
        np.testing.assert_allclose(simulator.evaluate(*one)[0][0], together[row], **near)
        px, pw = simulator.vjp(*one, c[row : row + 1])
        np.testing.assert_allclose(px[0], gx[row], **near)
        np.testing.assert_allclose(pw[0], gw[row], **near)


@every_method
def test_many_threads_give_what_one_gives(method):
    case = random_case("ring", 5)
    simulator = make(method, case)
    rng = np.random.default_rng(2)
    x, w = rng.normal(size=(64, case.num_inputs)), rng.normal(size=(1, len(case.weights)))
    before, found = torch.get_num_threads(), []
    try:
        for count in (1, 4):
            torch.set_num_threads(count)
            values = simulator.evaluate(x, w)[0]
            found.append((values, *simulator.vjp(x, w, np.ones_like(values))))
    finally:
        torch.set_num_threads(before)
    for one, many in zip(*found, strict=True):
        np.testing.assert_allclose(many, one, rtol=1e-11, atol=1e-10)


@every_method
def test_a_pickled_simulator_gives_the_same(method):
    case = random_case("custom", 2)
    simulator = make(method, case)
    rng = np.random.default_rng(3)
    x, w = rng.normal(size=(2, case.num_inputs)), rng.normal(size=(1, len(case.weights)))
    values = simulator.evaluate(x, w)[0]
    again = pickle.loads(pickle.dumps(simulator))
    np.testing.assert_allclose(again.evaluate(x, w)[0], values, rtol=0, atol=1e-12)


@every_method
def test_hundreds_of_terms_and_dozens_of_outputs(method):
    num_qubits = 10
    circuit = random_case("chain", 0).circuit
    circuit = QuantumCircuit(num_qubits)
    theta = ParameterVector("t", 2 * num_qubits)
    for q in range(num_qubits):
        circuit.ry(theta[q], q)
    for q in range(num_qubits - 1):
        circuit.cx(q, q + 1)
    for q in range(num_qubits):
        circuit.rx(theta[num_qubits + q], q)
    rng = np.random.default_rng(4)
    labels = ["".join(row) for row in rng.choice(list("IIIXYZ"), (300, num_qubits))]
    many = SparsePauliOp(labels, rng.normal(size=300) / 300)
    pairs = [
        SparsePauliOp.from_sparse_list([("ZZ", [u, v], 1.0)], num_qubits)
        for u in range(num_qubits)
        for v in range(u)
    ]
    case = case_of(circuit, [many, *pairs], rng.uniform(-3, 3, (2, 20)), shared=False)
    # 345 networks are estimated at 9e8 operations, most of them for calls: a method to try here.
    assert check_contract(method, case, 5, most=np.inf)


@every_method
def test_single_precision_stays_near_on_a_deep_chain(method):
    """Rounding grows with the root of the number of gates; none is lost in sums."""
    num_qubits, reps = 8, 3
    theta = iter(ParameterVector("t", 2 * num_qubits * reps))
    circuit = QuantumCircuit(num_qubits)
    for _ in range(reps):
        for q in range(num_qubits):
            circuit.ry(next(theta), q)
            circuit.rz(next(theta), q)
        for q in range(num_qubits - 1):
            circuit.cx(q, q + 1)
    rng = np.random.default_rng(6)
    values = rng.uniform(-3, 3, (1, circuit.num_parameters))
    observables = [
        SparsePauliOp.from_sparse_list([("Z", [q], 1.0)], num_qubits) for q in range(num_qubits)
    ]
    case = case_of(circuit, observables, values)
    single, double = (make(method, case, dtype) for dtype in (np.complex64, np.complex128))
    x, w = np.zeros((1, 0)), values
    found, expected = single.evaluate(x, w)[0], double.evaluate(x, w)[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=SINGLE)
