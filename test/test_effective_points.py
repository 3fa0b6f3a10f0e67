# SPDX-License-Identifier: Apache-2.0
"""Shift rules evaluate no point at which what is read cannot change, with noise or without."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from estimators import CountingEstimator
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit_aer.noise import NoiseModel, amplitude_damping_error, depolarizing_error
from qiskit_aer.primitives import EstimatorV2 as AerEstimator

from qiskit_torch_bridge import Probabilities, TorchQuantumModule
from qiskit_torch_bridge.gradients import FiniteDifference, ParameterShiftEstimatorGradient
from qiskit_torch_bridge.program import AnalysedCircuit
from qiskit_torch_bridge.rules import ParameterShiftRule

WIDTH = 6


def chain(layers: int = 1) -> QuantumCircuit:
    """Rotations and CX from each qubit to the next but one neighbour's pair: cones stay narrow."""
    w = iter(ParameterVector("w", 2 * WIDTH * layers))
    circuit = QuantumCircuit(WIDTH)
    for layer in range(layers):
        for q in range(WIDTH):
            circuit.ry(next(w), q)
            circuit.rx(next(w), q)
        for q in range(layer % 2, WIDTH - 1, 2):
            circuit.cx(q, q + 1)
    return circuit


def noisy() -> AerEstimator:
    """Damping is not unital, and what follows a rotation that commutes is no longer undone."""
    model = NoiseModel()
    model.add_all_qubit_quantum_error(amplitude_damping_error(0.1), ["ry", "rx"])
    model.add_all_qubit_quantum_error(
        depolarizing_error(0.05, 2).compose(
            amplitude_damping_error(0.2).tensor(amplitude_damping_error(0.1))
        ),
        ["cx"],
    )
    options = {"backend_options": {"noise_model": model, "method": "density_matrix"}}
    return AerEstimator(options=options)


def module(**choices) -> TorchQuantumModule:
    node = TorchQuantumModule(chain(2), SparsePauliOp("IIIIIZ"), seed=3, **choices)
    return node.double()


def test_columns_reaching_are_those_of_the_causal_cone() -> None:
    """Backward from qubit 0: layer 2 has no gate on it but its rotations, then CX(0, 1)."""
    analysed = AnalysedCircuit(chain(2))
    by_name = {p.name: c for c, p in enumerate(analysed.parameters)}
    layer = 2 * WIDTH
    expected = {by_name[f"w[{k}]"] for k in (0, 1, 2, 3, layer, layer + 1)}
    assert analysed.columns_reaching(frozenset({0})) == expected
    assert analysed.columns_reaching(frozenset()) == frozenset()
    everything = frozenset(range(WIDTH))
    assert analysed.columns_reaching(everything) == frozenset(range(2 * layer))


@pytest.mark.parametrize(
    "gradient", ["parameter-shift", "aqgd", FiniteDifference(epsilon=1e-4)], ids=str
)
@pytest.mark.parametrize("make", [noisy, CountingEstimator], ids=["noisy", "exact"])
def test_gradients_are_those_of_all_points(gradient, make) -> None:
    """With noise, too: central differences of every parameter of the module, error below h**2."""
    node = module(estimator=make(), gradient=gradient)
    node().sum().backward()
    found = node.weight.grad.clone()
    assert (found.abs() > 1e-9).sum() == 5  # RX on qubit 1 commutes with the CX behind it
    assert np.count_nonzero(found.numpy()) <= 6
    h, differences = 1e-4, []
    with torch.no_grad():
        for k in range(len(node.weight)):
            values = []
            for step in (h, -2 * h):
                node.weight[k] += step
                values.append(node().item())
            node.weight[k] += h
            differences.append((values[0] - values[1]) / (2 * h))
    np.testing.assert_allclose(found, differences, rtol=0, atol=1e-6)


def test_a_gate_that_only_noise_lets_through_is_kept() -> None:
    """Ideally <X> does not see a rotation about X at the end; noise of its qubit may."""
    theta = Parameter("t")
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.rx(theta, 0)
    assert AnalysedCircuit(circuit).columns_reaching(frozenset({0})) == {0}


def test_fewer_points_are_paid_for() -> None:
    node = module(estimator=CountingEstimator(), gradient="parameter-shift")
    assert node.cost().usage.points == 1 + 2 * 6
    estimator = node.estimator
    node().sum().backward()
    assert [shape[-1] for run in estimator.runs for shape in run] == [1, 12]


def test_without_any_effect_there_is_no_job() -> None:
    circuit = QuantumCircuit(2)
    circuit.ry(Parameter("t"), 0)
    estimator = CountingEstimator()
    node = TorchQuantumModule(circuit, "ZI", estimator=estimator, initial_weights=[0.3])
    assert node.cost().usage.jobs == 1
    node().sum().backward()
    assert node.weight.grad.tolist() == [0.0] and len(estimator.runs) == 1


def test_probabilities_depend_on_the_measured_qubits_alone() -> None:
    node = TorchQuantumModule(
        chain(1), Probabilities([2]), seed=3, gradient="parameter-shift", shots=10
    )
    assert node.cost().usage.points == 1 + 2 * 4


def test_gradient_objects_leave_the_same_points_out() -> None:
    estimator = CountingEstimator()
    gradient = ParameterShiftEstimatorGradient(estimator)
    circuit = chain(2)
    values = np.linspace(0.1, 2.0, circuit.num_parameters)
    z0, z1 = SparsePauliOp("IIIIIZ"), SparsePauliOp("IIIIZI")
    found = gradient.run([circuit], [z0], [values]).result().gradients[0]
    assert estimator.runs[-1][-1][-1] == 12 and np.count_nonzero(found) == 5
    gradient.run([circuit] * 2, [z0, z1], [values] * 2).result()
    both = AnalysedCircuit(circuit).columns_reaching(frozenset({0, 1}))
    assert estimator.runs[-1][-1][-1] == 2 * len(both)


def test_the_shared_point_of_one_sided_differences_stays() -> None:
    """The undisplaced point belongs to no parameter."""
    rule = FiniteDifference(epsilon=0.1, method="forward").rule(None)
    analysed = AnalysedCircuit(chain(1))
    columns = tuple(range(analysed.num_parameters))
    d = rule.differentiation(analysed, columns).reading(frozenset({3}))
    assert d.plan.num_points == 1 + 4 and (d.plan.shifts == 0).sum() == 1
    whole = rule.differentiation(analysed, columns)
    assert whole.reading(frozenset(range(WIDTH))) is whole


def test_of_a_parameter_with_many_gates_those_outside_are_left_out() -> None:
    theta = Parameter("t")
    circuit = QuantumCircuit(4)
    circuit.ry(theta, range(4))
    d = ParameterShiftRule().differentiation(AnalysedCircuit(circuit), (0,))
    assert d.plan.num_points == 8
    assert d.reading(frozenset({1})).plan.num_points == 2
