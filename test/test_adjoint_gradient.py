# SPDX-License-Identifier: Apache-2.0
"""The adjoint gradient where qiskit-algorithms takes a gradient."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from circuits import hybrid, nonlinear, rotation
from estimators import CountingEstimator
from qiskit.circuit import Clbit, QuantumCircuit
from qiskit.circuit.library import efficient_su2
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp
from qiskit_algorithms import VQE
from qiskit_algorithms.gradients import BaseEstimatorGradient, ReverseEstimatorGradient
from qiskit_algorithms.optimizers import SLSQP
from reference import jacobian
from test_estimator_gradients import HYDROGEN

from qiskit_torch_bridge.exceptions import CircuitError, InputError, ObservableError
from qiskit_torch_bridge.gradients import (
    AdjointEstimatorGradient,
    ParameterShiftEstimatorGradient,
)
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator
from qiskit_torch_bridge.program import analysis
from qiskit_torch_bridge.simulation.statevector import plan as simulators

ZI, XX = SparsePauliOp("ZI"), SparsePauliOp(["XX", "ZZ"], [0.5, -1.0])
VALUES = [0.1, -0.2, 0.3, 0.4, -0.5]
EXACT = {"rtol": 0, "atol": 1e-10}


def expected(circuit, observable, values):
    point = torch.tensor(values, dtype=torch.float64)
    return jacobian(circuit, [observable], list(circuit.parameters), point)[0].numpy()


def gradient_of(gradient, circuit, observable, values):
    (found,) = gradient.run([circuit], [observable], [values]).result().gradients
    return found


def test_it_is_one_of_theirs_and_evaluates_nothing_on_the_estimator():
    estimator = CountingEstimator()
    gradient = AdjointEstimatorGradient(estimator)
    assert isinstance(gradient, BaseEstimatorGradient) and gradient.estimator is estimator
    circuit = hybrid()
    np.testing.assert_allclose(
        gradient_of(gradient, circuit, XX, VALUES), expected(circuit, XX, VALUES), **EXACT
    )
    assert estimator.runs == []


def test_entries_of_several_circuits_observables_and_parameters():
    circuit, other = hybrid(), rotation()[0]
    z, shifted = SparsePauliOp("Z"), [0.3, 0.2, 0.1, 0.0, -0.1]
    subset = [circuit.parameters[3], circuit.parameters[1]]
    result = (
        AdjointEstimatorGradient()
        .run(
            [circuit, other, circuit, circuit],
            [ZI, z, XX, ZI],
            [VALUES, [0.4], VALUES, shifted],
            [None, None, None, subset],
        )
        .result()
    )
    for found, right in zip(
        result.gradients,
        [
            expected(circuit, ZI, VALUES),
            expected(other, z, [0.4]),
            expected(circuit, XX, VALUES),
            expected(circuit, ZI, shifted)[[3, 1]],
        ],
        strict=True,
    ):
        np.testing.assert_allclose(found, right, **EXACT)
    assert [len(m["parameters"]) for m in result.metadata] == [5, 1, 5, 2]
    assert all(not s.any() for s in result.stds)


def test_the_chain_rule_of_expressions():
    circuit = nonlinear()
    found = gradient_of(AdjointEstimatorGradient(), circuit, XX, VALUES)
    np.testing.assert_allclose(found, expected(circuit, XX, VALUES), **EXACT)


def test_it_agrees_with_parameter_shift_and_with_their_reverse_gradient():
    circuit = efficient_su2(4, reps=2)
    observable = SparsePauliOp(["ZZII", "XIYX", "IYYI", "IIII"], [1.0, 0.5, -0.3, 2.0])
    values = np.random.default_rng(3).uniform(-np.pi, np.pi, circuit.num_parameters)
    mine = gradient_of(AdjointEstimatorGradient(), circuit, observable, values)
    others = (
        ParameterShiftEstimatorGradient(BatchedStatevectorEstimator()),
        ReverseEstimatorGradient(),
    )
    for other in others:
        np.testing.assert_allclose(mine, gradient_of(other, circuit, observable, values), **EXACT)


def test_it_does_what_their_reverse_gradient_cannot():
    """Controlled rotations with a free angle, which it refuses."""
    theta = rotation()[1]
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.crx(theta, 0, 1)
    # <Z> of the target is (1 + cos(theta)) / 2
    found = gradient_of(AdjointEstimatorGradient(), circuit, ZI, [0.7])
    np.testing.assert_allclose(found, [-np.sin(0.7) / 2], **EXACT)


def test_nothing_is_analysed_or_compiled_twice(monkeypatch):
    analysed, compiled = [], []
    analyse, compile_ = analysis.AnalysedCircuit, simulators.StatevectorSimulator
    monkeypatch.setattr(
        analysis, "AnalysedCircuit", lambda c, **k: analysed.append(c) or analyse(c, **k)
    )
    monkeypatch.setattr(
        simulators, "StatevectorSimulator", lambda *a: compiled.append(a) or compile_(*a)
    )
    gradient = AdjointEstimatorGradient()
    for k in range(4):
        gradient.run([hybrid()] * 2, [XX, ZI], [[v + k for v in VALUES], VALUES]).result()
    assert len(compiled) == 1
    gradient.run([hybrid()], [SparsePauliOp("YY")], [VALUES]).result()
    assert len(compiled) == 2


def test_vqe_with_its_own_optimizer_unchanged():
    ansatz = efficient_su2(2, reps=1)
    exact = np.linalg.eigvalsh(HYDROGEN.to_matrix())[0]
    for estimator in (StatevectorEstimator(), BatchedStatevectorEstimator()):
        vqe = VQE(
            estimator,
            ansatz,
            SLSQP(maxiter=100),
            gradient=AdjointEstimatorGradient(estimator),
            initial_point=np.linspace(0.1, 0.8, ansatz.num_parameters),
        )
        found = vqe.compute_minimum_eigenvalue(HYDROGEN).eigenvalue
        assert found == pytest.approx(exact, abs=1e-4)


def test_single_precision():
    """Rounding of 6e-8 a step over some dozens of steps."""
    circuit = efficient_su2(4, reps=2)
    values = np.random.default_rng(3).uniform(-np.pi, np.pi, circuit.num_parameters)
    observable = SparsePauliOp("ZZZZ")
    single = gradient_of(AdjointEstimatorGradient(dtype="complex64"), circuit, observable, values)
    double = gradient_of(AdjointEstimatorGradient(), circuit, observable, values)
    np.testing.assert_allclose(single, double, rtol=0, atol=1e-5)
    assert np.abs(single - double).max() > 1e-12


def test_it_can_be_pickled_and_copied():
    gradient = AdjointEstimatorGradient()
    circuit, _ = rotation()
    gradient_of(gradient, circuit, SparsePauliOp("Z"), [0.5])
    for candidate in (pickle.loads(pickle.dumps(gradient)), copy.deepcopy(gradient)):
        found = gradient_of(candidate, circuit, SparsePauliOp("Z"), [0.5])
        np.testing.assert_allclose(found, [-np.sin(0.5)], **EXACT)


def test_errors_name_what_is_wrong():
    gradient = AdjointEstimatorGradient()
    circuit, _ = rotation()
    z = SparsePauliOp("Z")
    with pytest.raises(InputError, match="row 1 has nan for parameter 'theta'"):
        gradient.run([circuit] * 2, [z] * 2, [[0.1], [np.nan]]).result()
    with pytest.raises(ObservableError, match="Hermitian"):
        gradient.run([circuit], [SparsePauliOp("Z", 1j)], [[0.1]]).result()
    looping = circuit.copy()
    looping.add_bits([Clbit()])
    looping.measure(0, 0)
    with looping.while_loop((looping.clbits[0], 1)):
        looping.ry(0.3, 0)
        looping.measure(0, 0)
    with pytest.raises(CircuitError, match="while_loop of the circuit is run depends on outcomes"):
        gradient.run([looping], [z], [[0.1]]).result()
