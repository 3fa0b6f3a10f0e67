# SPDX-License-Identifier: Apache-2.0
"""TorchOptimizer and modules with qiskit-machine-learning and qiskit-optimization."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from circuits import A, X, hybrid
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.primitives import StatevectorEstimator, StatevectorSampler
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import generate_preset_pass_manager

from qiskit_torch_bridge import TorchQuantumModule
from qiskit_torch_bridge.algorithms import TorchOptimizer
from qiskit_torch_bridge.exceptions import AlgorithmTypeError

ZI, XX = SparsePauliOp("ZI"), SparsePauliOp(["XX", "ZZ"], [0.5, -1.0])
ROWS = torch.tensor([[0.25, -0.5], [1.0, 2.0]], dtype=torch.float64)


def learning(module):
    return pytest.importorskip(
        f"qiskit_machine_learning.{module}", reason="qiskit-machine-learning is not installed"
    )


def optimization(module):
    return pytest.importorskip(
        f"qiskit_optimization.{module}", reason="qiskit-optimization is not installed"
    )


def network(**options):
    return learning("neural_networks").EstimatorQNN(
        circuit=hybrid(),
        observables=[ZI, XX],
        input_params=list(X),
        weight_params=[A[2], A[0], A[1]],
        input_gradients=True,
        **options,
    )


def test_a_network_and_its_module_agree():
    """Values and both gradients, exact on either side; weights as a connector keeps them."""
    qnn = network()
    connector = learning("connectors").TorchConnector(qnn, initial_weights=[0.1, 0.2, 0.3])
    module = TorchQuantumModule.from_qnn(qnn, initial_weights=connector.weight).double()
    assert module.gradient == "adjoint" and module.precision is None
    x = ROWS.clone().requires_grad_()
    y = module(x)
    weights = module.weight.detach().numpy()
    np.testing.assert_allclose(y.detach(), qnn.forward(ROWS.numpy(), weights), rtol=0, atol=1e-10)
    inputs, by_weight = qnn.backward(ROWS.numpy(), weights)
    for o in range(2):
        found = torch.autograd.grad(y[:, o].sum(), (x, module.weight), retain_graph=True)
        np.testing.assert_allclose(found[0], inputs[:, o], rtol=0, atol=1e-10)
        np.testing.assert_allclose(found[1], by_weight[:, o].sum(0), rtol=0, atol=1e-10)


def test_a_networks_estimator_and_gradient_come_along():
    gradients = learning("gradients")
    estimator = StatevectorEstimator(seed=1)
    for kind, name in (
        (gradients.ParamShiftEstimatorGradient, "parameter-shift"),
        (lambda e: gradients.SPSAEstimatorGradient(e, epsilon=0.1), "spsa"),
    ):
        qnn = network(estimator=estimator, gradient=kind(estimator), default_precision=0.25)
        module = TorchQuantumModule.from_qnn(qnn)
        assert module.estimator is estimator
        assert module.gradient.startswith(name) and module.precision == 0.25


def test_a_transpiled_network():
    manager = generate_preset_pass_manager(
        1,
        basis_gates=["rz", "sx", "x", "cx"],
        coupling_map=[[0, 1], [1, 0]],
        initial_layout=[1, 0],
    )
    circuit = manager.run(hybrid())
    observables = [o.apply_layout(circuit.layout) for o in (ZI, XX)]
    qnn = learning("neural_networks").EstimatorQNN(
        circuit=circuit, observables=observables, input_params=list(X), weight_params=list(A)
    )
    weights = np.array([0.1, 0.2, 0.3])
    module = TorchQuantumModule.from_qnn(qnn, initial_weights=torch.from_numpy(weights))
    expected = qnn.forward(ROWS.numpy(), weights)
    np.testing.assert_allclose(module(ROWS).detach(), expected, rtol=0, atol=1e-10)


def test_networks_on_samplers_are_refused():
    qnn = learning("neural_networks").SamplerQNN(circuit=hybrid(), weight_params=[*X, *A])
    with pytest.raises(AlgorithmTypeError, match="SamplerQNN, which has no observables"):
        TorchQuantumModule.from_qnn(qnn)


def test_a_regressor_learns_with_a_torch_optimizer():
    """The data is a cosine with a shift of 0.6, which one weight fits exactly."""
    x, w = ParameterVector("x", 1), ParameterVector("w", 1)
    circuit = QuantumCircuit(1)
    circuit.ry(x[0] + w[0], 0)
    qnn = learning("neural_networks").EstimatorQNN(
        circuit=circuit, observables=SparsePauliOp("Z"), input_params=x, weight_params=w
    )
    optimizer = TorchOptimizer(torch.optim.LBFGS, 5, lr=0.5)
    regressor = learning("algorithms.regressors").NeuralNetworkRegressor(
        qnn, loss="squared_error", optimizer=optimizer, initial_point=np.array([0.0])
    )
    angles = np.linspace(-1.5, 1.5, 6)[:, None]
    regressor.fit(angles, np.cos(angles + 0.6))
    assert regressor.weights[0] == pytest.approx(0.6, abs=0.02)
    assert len(optimizer.history.values) == 5
    assert optimizer.history.values[-1] < 1e-2 * optimizer.history.values[0]


def edge():
    problem = optimization("problems").QuadraticProgram()
    problem.binary_var("a")
    problem.binary_var("b")
    problem.minimize(linear=[-1, -1], quadratic={("a", "b"): 2})  # the cut of one edge
    return problem


def test_qaoa_of_qiskit_optimization():
    """One layer solves one edge."""
    optimizer = TorchOptimizer(torch.optim.Adam, 12, lr=0.2, epsilon=0.5, max_evals_grouped=5)
    qaoa = optimization("minimum_eigensolvers").QAOA(
        StatevectorSampler(default_shots=1000, seed=1), optimizer, initial_point=[0.5, 0.5]
    )
    solver = optimization("algorithms").MinimumEigenOptimizer(qaoa)
    result = solver.solve(edge())
    assert result.fval == -1 and sum(result.x) == 1
    operator, _ = edge().to_ising()
    energies = TorchQuantumModule.from_algorithm(qaoa, operator, estimator=StatevectorEstimator())
    found = result.min_eigen_solver_result
    module = TorchQuantumModule.from_algorithm(
        qaoa, operator, result=found, estimator=StatevectorEstimator()
    )
    assert energies.weight.tolist() == [0.5, 0.5]
    # The standard error of 1000 shots of an operator with eigenvalues +-1/2, five times.
    assert module().item() == pytest.approx(found.eigenvalue, abs=5 * 0.5 / 1000**0.5)


@pytest.mark.parametrize("layout", [[0, 1], [1, 0]])
def test_pass_managers_of_qiskit_optimization(layout):
    solvers = optimization("minimum_eigensolvers")
    manager = generate_preset_pass_manager(
        1, basis_gates=["rz", "sx", "x", "cx"], coupling_map=[[0, 1]], initial_layout=layout
    )
    circuit = hybrid()
    optimizer = TorchOptimizer(maxiter=2)
    start = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    vqe = solvers.VQE(
        StatevectorEstimator(), circuit, optimizer, initial_point=start, pass_manager=manager
    )
    module = TorchQuantumModule.from_algorithm(vqe, ZI)
    assert set(module.circuit.count_ops()) <= {"rz", "sx", "x", "cx"}
    result = vqe.compute_minimum_eigenvalue(ZI)
    # Weights are single, as torch's default.
    assert module().item() == pytest.approx(optimizer.history.values[0], abs=1e-5)
    again = TorchQuantumModule.from_algorithm(vqe, ZI, result=result)
    assert again().item() == pytest.approx(result.eigenvalue, abs=1e-5)
