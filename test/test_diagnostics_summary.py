# SPDX-License-Identifier: Apache-2.0
"""The summary of a module: numbers that are those of the functions behind it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from diagnosed_circuits import sim_circuit
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit

from qiskit_torch_bridge import Probabilities, State, TorchQuantumModule
from qiskit_torch_bridge.diagnostics import diagnose, expressibility, gradient_variance
from qiskit_torch_bridge.exceptions import InputError


def test_derivatives_of_a_product_are_known():
    circuit = QuantumCircuit(3)
    for q, angle in enumerate(ParameterVector("w", 3)):
        circuit.rx(angle, q)
    module = TorchQuantumModule(circuit, "ZZZ", initial_weights=[0.5, 0.5, 0.5])
    found = diagnose(module, 20_000, seed=1)
    assert found.derivative == pytest.approx(math.sqrt(1 / 8), rel=0.03)
    assert found.derivative_here == pytest.approx(math.sin(0.5) * math.cos(0.5) ** 2, rel=1e-6)
    # N**2 / (2 (N**2 - 1)(N + 1)) for N = 8
    assert found.derivative_of_designs == pytest.approx(math.sqrt(64 / (2 * 63 * 9)))
    assert (found.lie_algebra.dimension, found.parameters.dimension) == (3, 3)


def test_deep_circuits_are_like_random_ones():
    circuit = sim_circuit(6, 6)
    terms = {"ZIII": 0.5, "IXXI": -1.0, "IIII": 7.0}
    found = diagnose(TorchQuantumModule(circuit, terms, seed=1), 1000, seed=2)
    # A controlled rotation turns two Pauli rotations by half the angle each: half the variance.
    turns = np.array([i.operation.name == "crx" for i in circuit.data])
    exact = found.derivative_of_designs * math.sqrt(1 - 0.5 * turns.mean())
    assert found.derivative == pytest.approx(exact, rel=0.05)
    assert found.entanglement.mean == pytest.approx(14 / 17, abs=0.01)
    assert abs(found.expressibility.corrected) < 4 * found.expressibility.error


def test_inputs_have_their_frequencies_and_curves_have_none():
    x, y, w = Parameter("x"), Parameter("y"), Parameter("w")
    circuit = QuantumCircuit(2)
    circuit.rx(2 * x, 0)
    circuit.rx(y * y, 1)
    circuit.ry(w, 1)
    found = diagnose(TorchQuantumModule(circuit, input_params=[x, y]), 10, seed=1)
    assert dict(found.frequencies) == {"x": (2.0,)}
    assert "frequencies of x" in str(found)


def test_what_is_too_wide_is_left_out():
    circuit = QuantumCircuit(14)
    for q, angle in enumerate(ParameterVector("w", 14)):
        circuit.rx(angle, q)
    found = diagnose(TorchQuantumModule(circuit, "Z" + 13 * "I"), 20, seed=1)
    assert found.expressibility is found.entanglement is found.parameters is None
    assert found.lie_algebra.dimension == 14
    assert "Lie algebra" in str(found) and "Meyer" not in str(found)


def test_other_measurements_have_no_value_of_designs():
    circuit = sim_circuit(2)
    assert (
        diagnose(TorchQuantumModule(circuit, Probabilities([0])), 5).derivative_of_designs is None
    )
    assert diagnose(TorchQuantumModule(circuit, "0000"), 5).derivative_of_designs is None
    with pytest.raises(InputError, match="real outputs"):
        diagnose(TorchQuantumModule(circuit, State()), 5)


def test_the_same_seed_is_the_same_diagnosis():
    module = TorchQuantumModule(sim_circuit(4), "ZZZZ", seed=1)
    assert str(diagnose(module, 50, seed=3)) == str(diagnose(module, 50, seed=3))
    assert expressibility(module, 50, seed=3).num_qubits == 4


def test_frozen_weights_keep_their_values():
    w = ParameterVector("w", 3)
    circuit = QuantumCircuit(2)
    circuit.rx(w[0], 0)
    circuit.rx(w[1], 1)
    circuit.rz(w[2], 0)
    circuit.rx(0.4, 0)
    module = TorchQuantumModule(
        circuit, "ZZ", initial_weights=[0.3, 1.2, 0.5], frozen_params=[w[1], w[2]]
    )
    found = diagnose(module, 2000, seed=1)
    assert found.weights == found.parameters.count == found.lie_algebra.dimension == 1
    # cos(1.2) times sin of the angle, of which the half that RZ leaves along Y counts too.
    y, z = math.sin(0.4) * math.cos(0.5), math.cos(0.4)
    exact = abs(math.cos(1.2)) * math.sqrt((y**2 + z**2) / 2)
    assert found.derivative == pytest.approx(exact, rel=0.05)
    assert found.derivative_here == pytest.approx(
        abs(math.cos(1.2) * (math.sin(0.3) * z + math.cos(0.3) * y)), rel=1e-5
    )
    variance = gradient_variance(lambda n, k: module, [1, 2, 3], samples=2000, seed=2)
    assert variance.by_weight[1, 1] == pytest.approx([exact**2], rel=0.1)
    assert expressibility(module, 10, seed=1).fidelities.shape == (10,)
