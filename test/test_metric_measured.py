# SPDX-License-Identifier: Apache-2.0
"""The metric from qiskit-algorithms' own classes, its blocks, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from circuits import X, hybrid, layered
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.circuit.library import efficient_su2
from qiskit.primitives import StatevectorEstimator, StatevectorSampler
from qiskit_algorithms.gradients import (
    QFI,
    BaseQGT,
    DerivativeType,
    LinCombQGT,
    QGTResult,
    ReverseQGT,
)
from qiskit_algorithms.state_fidelities import ComputeUncompute

from qiskit_torch_bridge import CircuitProgram
from qiskit_torch_bridge import exceptions as e
from qiskit_torch_bridge.optim import FubiniStudyMetric, StateFidelity

APPROXIMATIONS = ["full", "block-diagonal", "diagonal"]
# Exact simulators with a rounding of 1e-16 per gate on both sides.
EXACT = 1e-9
GEOMETRIES = {
    "ReverseQGT": ReverseQGT,
    "LinCombQGT": lambda: LinCombQGT(StatevectorEstimator()),
    "QFI": lambda: QFI(LinCombQGT(StatevectorEstimator())),
    "QFI of ReverseQGT": lambda: QFI(ReverseQGT()),
}


def program() -> CircuitProgram:
    """Inputs, shared and scaled parameters, and weights in an order that is not the circuit's."""
    x, w = Parameter("m"), ParameterVector("w", 4)
    circuit = QuantumCircuit(2)
    circuit.ry(w[0], 0)
    circuit.rx(x, 1)
    circuit.cx(0, 1)
    circuit.rz(w[1], 0)
    circuit.ry(w[2], 1)
    circuit.cx(1, 0)
    circuit.rx(w[3], 0)
    return CircuitProgram(circuit, input_params=[x], weight_params=[w[2], w[0], w[3], w[1]])


@pytest.mark.parametrize("approximation", APPROXIMATIONS)
@pytest.mark.parametrize("name", GEOMETRIES)
def test_every_geometric_tensor_of_qiskit_algorithms_agrees(name, approximation):
    """Subsets of the parameters, and in an order of their own: each entry finds its place."""
    weights, inputs = [0.4, -1.0, 0.8, 1.7], [[0.3], [-1.2]]
    exact = FubiniStudyMetric(program(), approximation)(weights, inputs)
    metric = FubiniStudyMetric(program(), approximation, qgt=GEOMETRIES[name]())
    np.testing.assert_allclose(metric(weights, inputs), exact, rtol=0, atol=EXACT)
    assert len(set(np.diag(exact).round(6))) > 2  # a permutation would show


def test_shared_and_scaled_parameters_on_a_primitive():
    theta = ParameterVector("t", 2)
    circuit = QuantumCircuit(2)
    circuit.ry(2 * theta[0], 0)
    circuit.rx(theta[1] - 0.3, 1)
    circuit.cx(0, 1)
    circuit.rz(theta[0] / 2, 1)
    found = FubiniStudyMetric(circuit, qgt=LinCombQGT(StatevectorEstimator()))([0.3, 0.9])
    np.testing.assert_allclose(found, FubiniStudyMetric(circuit)([0.3, 0.9]), rtol=0, atol=EXACT)


def test_fidelities_of_a_sampler_agree_in_the_weights_order():
    """10,000 shots: five standard errors of at most 1 / (2 sqrt(shots)) = 0.005."""
    fidelity = ComputeUncompute(StatevectorSampler(default_shots=10_000, seed=7))
    weights = np.array([0.4, -1.0, 0.8, 1.7])
    others = weights + np.array([[0.9, 0.0, 0.0, 0.0], [0.0, 0.9, 0.0, 0.2], [0.0, 0.0, 1.5, 0.0]])
    arguments = weights, others, [[0.3], [-1.2]]
    found = StateFidelity(program(), fidelity)(*arguments)
    np.testing.assert_allclose(found, StateFidelity(program())(*arguments), rtol=0, atol=0.025)


def test_blocks_are_masks_of_the_full_metric():
    circuit, inputs, weights = layered(3, 2)
    p = CircuitProgram(circuit, input_params=inputs, weight_params=list(weights)[::-1])
    values, rows = np.linspace(-2, 2, 12), [[0.1, 0.2, 0.3]]
    full, blocks, diagonal = (FubiniStudyMetric(p, a)(values, rows) for a in APPROXIMATIONS)
    # Layers in the order of gates: RY, RZ, then after the entanglers RY, RZ; two indices a qubit.
    layer = np.array([2 * (i // 6) + i % 2 for i in range(12)])[::-1]
    mask = layer[:, None] == layer[None, :]
    np.testing.assert_array_equal(blocks, np.where(mask, full, 0))
    np.testing.assert_array_equal(diagonal, np.diag(np.diag(full)))
    assert np.abs(full - blocks).max() > 1e-2 and np.abs(blocks - diagonal).max() > 1e-2
    assert sorted(map(len, FubiniStudyMetric(p, "block-diagonal").blocks())) == [3, 3, 3, 3]


def test_layers_follow_qubits_and_a_weight_belongs_to_its_first_gate():
    a = ParameterVector("a", 5)
    circuit = QuantumCircuit(3)
    circuit.ry(a[0], 0)
    circuit.ry(a[1], 2)
    circuit.rz(a[2], 0)  # after a[0] on the same qubit
    circuit.cx(0, 1)
    circuit.ry(a[3], 1)  # reached from a[2] through the entangler
    circuit.rx(a[1], 1)  # a[1] once more, later
    circuit.rz(a[4], 2)
    metric = FubiniStudyMetric(circuit, "block-diagonal")
    assert metric.blocks() == [[0, 1], [2, 4], [3]]


def test_a_program_without_weights():
    circuit = QuantumCircuit(1)
    circuit.ry(Parameter("x"), 0)
    p = CircuitProgram(circuit, input_params=list(circuit.parameters))
    for approximation in APPROXIMATIONS:
        assert FubiniStudyMetric(p, approximation)([], [[0.3]]).shape == (0, 0)


class Constant(BaseQGT):
    """Answers with the same thing always, or fails."""

    def __init__(self, answer):
        super().__init__(StatevectorEstimator())
        self.answer = answer

    def _run(self, circuits, parameter_values, parameters, **_):
        if isinstance(self.answer, Exception):
            raise self.answer
        return QGTResult([self.answer], self.derivative_type, [{}], None)


def test_a_measured_metric_is_symmetrised_and_checked():
    circuit = hybrid().assign_parameters({X[0]: 0.1, X[1]: 0.2})
    noisy = np.arange(9.0).reshape(3, 3) + 1j
    found = FubiniStudyMetric(circuit, qgt=Constant(noisy))([0.1, 0.2, 0.3])
    np.testing.assert_array_equal(found, (noisy.real + noisy.real.T) / 2)
    with pytest.raises(e.ResultError, match=r"finite metric of shape \(3, 3\) from Constant; got"):
        FubiniStudyMetric(circuit, qgt=Constant(np.eye(2)))([0.1, 0.2, 0.3])
    with pytest.raises(e.ResultError, match="finite"):
        FubiniStudyMetric(circuit, qgt=Constant(noisy * np.nan))([0.1, 0.2, 0.3])
    with pytest.raises(e.ExecutionError, match="Constant failed on this circuit") as caught:
        FubiniStudyMetric(circuit, qgt=Constant(ValueError("no")))([0.1, 0.2, 0.3])
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("kind", [DerivativeType.REAL, DerivativeType.COMPLEX])
def test_a_metric_is_the_real_part_of_the_tensor(kind):
    circuit = efficient_su2(2, reps=1)
    values = np.linspace(-1, 1, circuit.num_parameters)
    qgt = LinCombQGT(StatevectorEstimator(), derivative_type=kind)
    np.testing.assert_allclose(
        FubiniStudyMetric(circuit, qgt=qgt)(values), FubiniStudyMetric(circuit)(values), atol=1e-12
    )
    qgt.derivative_type = DerivativeType.IMAG
    with pytest.raises(e.OptimizerError, match=r"Set it to DerivativeType.REAL"):
        FubiniStudyMetric(circuit, qgt=qgt)(values)


def test_what_is_refused_and_how():
    with pytest.raises(e.OptimizerError, match="'block-diagonal' or 'diagonal'; got 'half'"):
        FubiniStudyMetric(hybrid(), "half")
    with pytest.raises(e.OptimizerTypeError, match=r"LinCombQGT\(estimator\); got StatevectorEst"):
        FubiniStudyMetric(hybrid(), qgt=StatevectorEstimator())
    with pytest.raises(e.OptimizerTypeError, match=r"ComputeUncompute\(sampler\); got Statevector"):
        StateFidelity(hybrid(), StatevectorSampler())
    p = CircuitProgram(hybrid(), input_params=X)
    metric = FubiniStudyMetric(p)
    with pytest.raises(e.InputError, match=r"weights of shape \(3,\); got \(2,\)"):
        metric([1.0, 2.0])
    for wrong in ([1.0, 2.0, 3j], torch.tensor([1.0, 2.0, 3j])):
        with pytest.raises(e.InputTypeError, match="Expected real weights and inputs"):
            metric(wrong, [[0.1, 0.2]])
    with pytest.raises(e.InputError, match=r"inputs of shape \(B, 2\); got none"):
        metric([1.0, 2.0, 3.0])
    for wrong in ([1.0, 2.0], [[1.0]], np.zeros((0, 2))):
        with pytest.raises(e.InputError, match=r"inputs of shape \(B, 2\); got \("):
            metric([1.0, 2.0, 3.0], wrong)
    with pytest.raises(e.InputError, match="weights of shape"):
        StateFidelity(p)([1.0, 2.0, 3.0], [[1.0]], [[0.1, 0.2]])
