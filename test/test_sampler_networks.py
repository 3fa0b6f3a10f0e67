# SPDX-License-Identifier: Apache-2.0
"""Gradients of samplers in qiskit-machine-learning, whose networks of samplers take them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from circuits import A, X, hybrid
from gradient_contract import OfSamplers
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.primitives import StatevectorSampler
from qiskit_machine_learning.algorithms.classifiers import NeuralNetworkClassifier
from qiskit_machine_learning.connectors import TorchConnector
from qiskit_machine_learning.neural_networks import SamplerQNN
from qiskit_machine_learning.optimizers import ADAM
from samplers import CountingSampler

from qiskit_torch_bridge.gradients import AdjointSamplerGradient, ParameterShiftSamplerGradient

ROWS = np.array([[0.25, -0.5], [1.0, 2.0], [0.3, 0.1]])
WEIGHTS = np.array([0.1, 0.2, 0.3])
SHOTS = 1_000


def parity(outcome: int) -> int:
    return outcome.bit_count() % 2


def network(sampler, gradient=None, circuit=None, **options):
    return SamplerQNN(
        circuit=hybrid().decompose("crx") if circuit is None else circuit,
        sampler=sampler,
        input_params=X,
        weight_params=A,
        input_gradients=True,
        gradient=gradient,
        **options,
    )


def right(interpret=None, size=4):
    """Derivatives with respect to inputs and weights, ``(B, size, 2)`` and ``(B, size, 3)``."""
    table = np.eye(4) if interpret is None else np.eye(size)[[interpret(i) for i in range(4)]]
    found = []
    for row in ROWS:
        values = [*WEIGHTS, *row]  # a before x
        derivatives = OfSamplers.right(hybrid(), ((0, 1),), values)  # (C, 4)
        found.append((derivatives @ table).T)
    stacked = np.array(found)
    return stacked[..., 3:], stacked[..., :3]


@pytest.mark.parametrize("options", [{}, {"interpret": parity, "output_shape": 2}])
def test_a_networks_gradient_is_exact(options):
    """By their rule it takes a PUB for every shift of every row."""
    counting = CountingSampler(StatevectorSampler(seed=1, default_shots=100))
    qnn = network(counting, AdjointSamplerGradient(), **options)
    found = qnn.backward(ROWS, WEIGHTS)
    expected = right(options.get("interpret"), options.get("output_shape", 4))
    for mine, exact in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, exact, rtol=0, atol=1e-10)
    assert counting.runs == []


def test_one_pub_has_the_shifts_of_all_rows():
    ours, theirs = (
        CountingSampler(StatevectorSampler(seed=s, default_shots=SHOTS)) for s in (1, 2)
    )
    found = network(ours, ParameterShiftSamplerGradient(ours)).backward(ROWS, WEIGHTS)
    reference = network(theirs).backward(ROWS, WEIGHTS)
    ((shape,),) = ours.runs
    (many,) = theirs.runs
    assert sum(int(np.prod(s)) for s in many) == shape[0] == len(many)
    # An expectation of one evaluation has a variance of at most 1/4 over the shots; a derivative
    # is made of two halves of two evaluations, and a parameter of up to four angles with factors
    # up to two.
    error = 5.5 * np.sqrt(4 * 4 * 2 * 0.25 * 0.25 / SHOTS)
    for mine, other, exact in zip(found, reference, right(), strict=True):
        assert np.abs(mine - exact).max() < error and np.abs(other - exact).max() < error


def test_a_classifier_learns_with_either():
    """Whether a point's two signs agree: one weight turns the answer round."""
    x, w = ParameterVector("x", 2), ParameterVector("w", 1)
    circuit = QuantumCircuit(2)
    circuit.rx(x[0], 0)
    circuit.rx(x[1], 1)
    circuit.cx(0, 1)
    circuit.ry(w[0], 1)
    circuit.measure_all()
    points = np.array([[a, b] for a in (0.2, 2.9) for b in (0.3, 2.8)])
    labels = np.array([0, 1, 1, 0])
    counting = CountingSampler(StatevectorSampler(seed=1, default_shots=200))
    for gradient in (AdjointSamplerGradient(), ParameterShiftSamplerGradient(counting)):
        qnn = SamplerQNN(
            circuit=circuit,
            sampler=StatevectorSampler(seed=1),
            input_params=x,
            weight_params=w,
            interpret=lambda outcome: outcome >> 1 & 1,
            output_shape=2,
            gradient=gradient,
        )
        classifier = NeuralNetworkClassifier(
            qnn,
            loss="cross_entropy",
            one_hot=True,
            optimizer=ADAM(maxiter=25, lr=0.3),
            initial_point=np.array([2.0]),
        )
        classifier.fit(points, labels)
        assert classifier.score(points, labels) == 1.0
    assert set(map(len, counting.runs)) == {1}


def test_a_connector_differentiates_by_it():
    qnn = network(StatevectorSampler(seed=1), AdjointSamplerGradient())
    connector = TorchConnector(qnn, initial_weights=WEIGHTS)
    x = torch.tensor(ROWS, dtype=torch.float32, requires_grad=True)
    cotangent = torch.linspace(-1, 1, 12).reshape(3, 4)
    (connector(x) * cotangent).sum().backward()
    inputs, weights = right()
    expected = np.einsum("bo,boi->bi", cotangent.numpy(), inputs)
    np.testing.assert_allclose(x.grad, expected, rtol=0, atol=1e-6)
    expected = np.einsum("bo,bow->w", cotangent.numpy(), weights)
    np.testing.assert_allclose(connector.weight.grad, expected, rtol=0, atol=1e-6)
