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
from qiskit_algorithms.gradients import ReverseEstimatorGradient
from qiskit_machine_learning import __version__
from qiskit_machine_learning.algorithms.regressors import NeuralNetworkRegressor
from qiskit_machine_learning.connectors import TorchConnector
from qiskit_machine_learning.gradients import (
    ParamShiftEstimatorGradient,
    SPSAEstimatorGradient,
)
from qiskit_machine_learning.neural_networks import EstimatorQNN
from qiskit_optimization.algorithms import MinimumEigenOptimizer
from qiskit_optimization.minimum_eigensolvers import QAOA, VQE
from qiskit_optimization.problems import QuadraticProgram

from qiskit_torch_bridge import TorchQuantumModule
from qiskit_torch_bridge.algorithms import TorchOptimizer
from qiskit_torch_bridge.exceptions import AlgorithmError, AlgorithmTypeError

OF_VERSION_1 = tuple(int(n) for n in __version__.split(".")[:2]) < (0, 9)
"""Whether networks make primitives of version 1 themselves."""

ZI, XX = SparsePauliOp("ZI"), SparsePauliOp(["XX", "ZZ"], [0.5, -1.0])
ROWS = torch.tensor([[0.25, -0.5], [1.0, 2.0]], dtype=torch.float64)


def network(circuit=None, observables=(ZI, XX), estimator=None, **options):
    """A network on a V2 estimator; where none is given, on the one that networks make themselves.

    Those of releases before 0.9 make one of version 1, which is not asked for here.
    """
    if estimator is None and OF_VERSION_1:
        estimator = StatevectorEstimator()
        options["default_precision"] = 0.0
    return EstimatorQNN(
        circuit=hybrid() if circuit is None else circuit,
        observables=list(observables),
        input_params=list(X),
        weight_params=[A[2], A[0], A[1]],
        input_gradients=True,
        estimator=estimator,
        **options,
    )


def test_a_network_and_its_module_agree():
    """Values and both gradients, exact on either side; weights as a connector keeps them."""
    qnn = network()
    connector = TorchConnector(qnn, initial_weights=[0.1, 0.2, 0.3])
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
    estimator = StatevectorEstimator(seed=1)
    for kind, name in (
        (ParamShiftEstimatorGradient, "parameter-shift"),
        (lambda e: SPSAEstimatorGradient(e, epsilon=0.1), "spsa"),
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
    qnn = network(circuit, observables)
    weights = np.array([0.1, 0.2, 0.3])
    module = TorchQuantumModule.from_qnn(qnn, initial_weights=torch.from_numpy(weights))
    expected = qnn.forward(ROWS.numpy(), weights)
    np.testing.assert_allclose(module(ROWS).detach(), expected, rtol=0, atol=1e-10)


def test_a_regressor_learns_with_a_torch_optimizer():
    """The data is a cosine with a shift of 0.6, which one weight fits exactly."""
    x, w = ParameterVector("x", 1), ParameterVector("w", 1)
    circuit = QuantumCircuit(1)
    circuit.ry(x[0] + w[0], 0)
    qnn = EstimatorQNN(
        circuit=circuit,
        observables=SparsePauliOp("Z"),
        input_params=x,
        weight_params=w,
        estimator=StatevectorEstimator(),
        default_precision=0.0,
    )
    optimizer = TorchOptimizer(torch.optim.LBFGS, 5, lr=0.5)
    regressor = NeuralNetworkRegressor(
        qnn, loss="squared_error", optimizer=optimizer, initial_point=np.array([0.0])
    )
    angles = np.linspace(-1.5, 1.5, 6)[:, None]
    regressor.fit(angles, np.cos(angles + 0.6))
    assert regressor.weights[0] == pytest.approx(0.6, abs=0.02)
    assert len(optimizer.history.values) == 5
    assert optimizer.history.values[-1] < 1e-2 * optimizer.history.values[0]


def edge():
    problem = QuadraticProgram()
    problem.binary_var("a")
    problem.binary_var("b")
    problem.minimize(linear=[-1, -1], quadratic={("a", "b"): 2})  # the cut of one edge
    return problem


# qiskit-optimization calls it on Qiskit 1.4.
@pytest.mark.filterwarnings("ignore:.*init_observable:DeprecationWarning")
def test_qaoa_of_qiskit_optimization():
    """One layer solves one edge."""
    optimizer = TorchOptimizer(torch.optim.Adam, 12, lr=0.2, epsilon=0.5, max_evals_grouped=5)
    qaoa = QAOA(StatevectorSampler(default_shots=1000, seed=1), optimizer, initial_point=[0.5, 0.5])
    solver = MinimumEigenOptimizer(qaoa)
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
    manager = generate_preset_pass_manager(
        1, basis_gates=["rz", "sx", "x", "cx"], coupling_map=[[0, 1]], initial_layout=layout
    )
    circuit = hybrid()
    optimizer = TorchOptimizer(maxiter=2)
    start = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    vqe = VQE(StatevectorEstimator(), circuit, optimizer, initial_point=start, pass_manager=manager)
    module = TorchQuantumModule.from_algorithm(vqe, ZI)
    assert set(module.circuit.count_ops()) <= {"rz", "sx", "x", "cx"}
    result = vqe.compute_minimum_eigenvalue(ZI)
    # Weights are single, as torch's default.
    assert module().item() == pytest.approx(optimizer.history.values[0], abs=1e-5)
    again = TorchQuantumModule.from_algorithm(vqe, ZI, result=result)
    assert again().item() == pytest.approx(result.eigenvalue, abs=1e-5)


def test_a_network_keeps_its_order_and_its_precision():
    module = TorchQuantumModule.from_qnn(network(estimator=StatevectorEstimator()))
    assert module.program.weight_params == (A[2], A[0], A[1])
    assert module.program.input_params == tuple(X)
    assert module.gradient == "adjoint" and module.precision is None  # which nobody has chosen
    chosen = network(estimator=StatevectorEstimator(), default_precision=0.25)
    module = TorchQuantumModule.from_qnn(chosen)
    assert module.precision == 0.25 and module.estimator is chosen.estimator
    noisy = network(estimator=StatevectorEstimator(default_precision=0.1))
    module = TorchQuantumModule.from_qnn(noisy)
    assert module.precision == 0.015625 and module.estimator is noisy.estimator


def test_a_network_on_an_exact_simulator():
    """Values and gradients of the exact engine are those of shifts on the network's estimator."""
    weights, found = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64), []
    theirs = ReverseEstimatorGradient()
    for options in ({}, {"estimator": StatevectorEstimator(), "gradient": "parameter-shift"}):
        module = TorchQuantumModule.from_qnn(
            network(gradient=theirs), precision=None, initial_weights=weights, **options
        ).double()
        y = module(ROWS)
        found += [y, *torch.autograd.grad(y[:, 0].sum(), module.weight)]
    torch.testing.assert_close(found[:2], found[2:], rtol=0, atol=1e-10)
    assert module.gradient == "parameter-shift"


def test_a_transpiled_networks_observables_are_physical():
    """Of the same width before and after, where nothing else could tell."""
    both = [[0, 1], [1, 0]]
    manager = generate_preset_pass_manager(0, coupling_map=both, initial_layout=[1, 0])
    circuit = manager.run(hybrid())
    values = [0.4, -0.3, 0.1, 0.2, 0.3]
    parameters = [*X, A[2], A[0], A[1]]
    bound = circuit.assign_parameters(dict(zip(parameters, values, strict=True)))
    expected = StatevectorEstimator().run([(bound, "IZ")]).result()[0].data.evs
    module = TorchQuantumModule.from_qnn(
        network(circuit, [SparsePauliOp("IZ")]),
        precision=None,
        initial_weights=torch.tensor(values[2:], dtype=torch.float64),
    )
    found = module(torch.tensor(values[:2], dtype=torch.float64)).item()
    assert found == pytest.approx(float(expected), abs=1e-10)


def test_networks_that_cannot_be_read():
    def refused(error, message, qnn, **options):
        with pytest.raises(error, match=message):
            TorchQuantumModule.from_qnn(qnn, **options)

    class OfVersionOne:
        pass

    class OwnGradient:
        pass

    refused(AlgorithmTypeError, "EstimatorQNN .*; got int, which has no circuit", 3)
    refused(AlgorithmError, "qnn.estimator .*got OfVersionOne", network(estimator=OfVersionOne()))
    other = network(gradient=OwnGradient())
    refused(AlgorithmError, "OwnGradient, has no counterpart .*gradient='parameter-shift'", other)
    module = TorchQuantumModule.from_qnn(other, gradient="parameter-shift")
    assert module.gradient == "parameter-shift"
    module = TorchQuantumModule.from_qnn(
        network(estimator=OfVersionOne()), estimator=StatevectorEstimator()
    )
    assert isinstance(module.estimator, StatevectorEstimator)
