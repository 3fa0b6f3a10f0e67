# SPDX-License-Identifier: Apache-2.0
"""Expressibility and entangling capability: closed forms, and what was published."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from diagnosed_circuits import sim_circuit
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import Statevector, partial_trace

from qiskit_torch_bridge import TorchQuantumModule
from qiskit_torch_bridge.diagnostics import entangling_capability, expressibility
from qiskit_torch_bridge.exceptions import CircuitError, InputError

PUBLISHED = {
    1: 0.2999, 2: 0.2860, 3: 0.2396, 4: 0.1343, 5: 0.0602, 6: 0.0043, 7: 0.0977, 8: 0.0858,
    9: 0.6773, 11: 0.1312, 12: 0.1984, 13: 0.0516, 14: 0.0144, 15: 0.1892, 16: 0.2602,
    17: 0.1359, 18: 0.2340, 19: 0.0809, 10: 0.2286,
}  # fmt: skip
"""Figure 3 of S. Sim et al. (2019), one layer: 75 bins, 5000 pairs."""


def arcsine(low: float, high: float) -> float:
    return 2 / math.pi * (math.asin(math.sqrt(high)) - math.asin(math.sqrt(low)))


@pytest.mark.parametrize("number", PUBLISHED)
def test_the_nineteen_circuits_have_their_published_expressibility(number):
    found = expressibility(sim_circuit(number), 5000, seed=11)
    # Both are estimates from as many pairs, so the difference has twice the variance.
    assert abs(found.divergence - PUBLISHED[number]) < 4 * math.sqrt(2) * found.error


def test_three_layers_of_circuit_19_are_as_good_as_random():
    found = expressibility(sim_circuit(19, 3), 5000, seed=3)
    assert abs(found.corrected) < 4 * found.error
    assert abs(found.divergence - 0.0040) < 4 * math.sqrt(2) * found.error  # figure 3 as well


@pytest.mark.parametrize("qubits", [1, 2, 4])
@pytest.mark.parametrize("bins", [10, 75])
def test_a_circuit_without_parameters_is_as_far_as_can_be(qubits, bins):
    found = expressibility(QuantumCircuit(qubits), 10, bins, seed=1)
    assert found.divergence == pytest.approx((2**qubits - 1) * math.log(bins), rel=1e-12)
    assert found.bias == 0 and found.error == 0


@pytest.mark.parametrize("bins", [8, 75])
def test_one_angle_on_a_circle_has_the_arcsine_law(bins):
    circuit = QuantumCircuit(1)
    circuit.h(0)
    circuit.rz(Parameter("theta"), 0)
    edges = np.linspace(0, 1, bins + 1)
    p = [arcsine(low, high) for low, high in itertools.pairwise(edges)]
    exact = sum(q * math.log(q * bins) for q in p)
    found = expressibility(circuit, 100_000, bins, seed=5)
    assert abs(found.corrected - exact) < 4 * found.error
    assert found.error < 0.005


def test_bias_and_error_are_those_of_many_repetitions():
    circuit = QuantumCircuit(2)
    for q in range(2):
        circuit.rx(Parameter(f"a{q}"), q)
        circuit.ry(Parameter(f"b{q}"), q)
    many = expressibility(circuit, 400_000, 20, seed=1)
    few = [expressibility(circuit, 500, 20, seed=k) for k in range(150)]
    values = np.array([f.divergence for f in few])
    spread = values.std(ddof=1)
    assert np.mean([f.error for f in few]) == pytest.approx(spread, rel=0.25)  # 4 / sqrt(2 * 150)
    offset = values.mean() - many.corrected
    assert abs(offset - np.mean([f.bias for f in few])) < 4 * spread / math.sqrt(150)


def test_haar_probabilities_are_those_of_the_power_law():
    found = expressibility(sim_circuit(1), 10, 13, seed=1)
    cumulative = 1 - (1 - found.edges) ** 15
    assert found.haar == pytest.approx(np.diff(cumulative), rel=1e-12)
    assert found.haar.sum() == pytest.approx(1)


@pytest.mark.parametrize("qubits", [1, 3, 10])
def test_bins_of_one_probability_are_filled_alike_by_random_states(qubits):
    idle = expressibility(QuantumCircuit(qubits), 5, 20, binning="probability")
    assert idle.divergence == pytest.approx(math.log(20))
    cumulative = 1 - (1 - idle.edges) ** (2.0**qubits - 1)
    assert cumulative == pytest.approx(np.linspace(0, 1, 21), abs=1e-12)
    assert idle.haar == pytest.approx(np.full(20, 1 / 20))


def test_of_many_qubits_they_tell_circuits_apart():
    def layered(layers):
        circuit = QuantumCircuit(9)
        for k in range(layers):
            for q in range(9):
                circuit.ry(Parameter(f"a{k}_{q}"), q)
                circuit.rz(Parameter(f"b{k}_{q}"), q)
            if layers > 1:
                for q in range(9):
                    circuit.cx(q, (q + 1) % 9)
        return circuit

    product, deep = (
        expressibility(layered(k), 1000, 30, binning="probability", seed=1) for k in (1, 5)
    )
    assert abs(deep.corrected) < 4 * deep.error
    assert product.corrected > 20 * product.error
    assert abs(expressibility(layered(5), 1000, 30, seed=1).divergence) < 1e-3  # all in one bin


def fixed(prepare) -> QuantumCircuit:
    circuit = QuantumCircuit(4)
    prepare(circuit)
    return circuit


def ghz(circuit: QuantumCircuit) -> None:
    circuit.h(0)
    for q in range(circuit.num_qubits - 1):
        circuit.cx(q, q + 1)


def w_state(circuit: QuantumCircuit) -> None:
    n = circuit.num_qubits
    circuit.prepare_state(np.array([(i.bit_count() == 1) / math.sqrt(n) for i in range(2**n)]))


@pytest.mark.parametrize(
    ("prepare", "measure"), [(ghz, 1.0), (w_state, 4 * 3 / 16), (lambda c: c.h(0), 0.0)]
)
def test_states_have_their_meyer_wallach_measures(prepare, measure):
    found = entangling_capability(fixed(prepare), 2)
    assert found.values == pytest.approx([measure, measure], abs=1e-12)


def test_the_measure_is_that_of_reduced_states():
    circuit = sim_circuit(14)
    points = []

    def draw(generator, shape):
        points.append(generator.uniform(0, 7, shape))
        return points[-1]

    found = entangling_capability(circuit, 3, draw=draw, seed=1)
    for point, value in zip(points[0], found.values, strict=True):
        state = Statevector(circuit.assign_parameters(point))
        others = [[q for q in range(4) if q != k] for k in range(4)]
        purities = [partial_trace(state, o).purity().real for o in others]
        assert value == pytest.approx(2 * (1 - np.mean(purities)), abs=1e-12)


@pytest.mark.parametrize(("number", "neighbours"), [(3, [1, 2, 2, 1]), (18, [2, 2, 2, 2])])
def test_controlled_phases_entangle_by_their_neighbours(number, neighbours):
    # A Bloch vector has mean squares 1/2 along Z, and across 1/2 times 3/4 for each neighbour.
    exact = 0.5 * (1 - np.mean([0.75**k for k in neighbours]))
    found = entangling_capability(sim_circuit(number), 20_000, seed=2)
    assert abs(found.mean - exact) < 4 * found.error


def test_deep_circuits_are_entangled_like_random_states():
    found = entangling_capability(sim_circuit(6, 3), 4000, seed=4)
    assert found.haar == pytest.approx(14 / 17)
    assert abs(found.mean - 14 / 17) < 4 * found.error


def test_measured_squares_have_no_bias():
    circuit = QuantumCircuit(2)
    circuit.ry(Parameter("theta"), 0)
    module = TorchQuantumModule(circuit, "ZZ", shots=20, seed=3)
    found = entangling_capability(module, 4000, seed=1)
    assert abs(found.mean) < 4 * found.error  # without correction it would be -0.05
    assert found.error < 0.01


def test_entanglement_of_a_hundred_qubits():
    circuit = QuantumCircuit(100)
    for q in range(100):
        circuit.rx(Parameter(f"w{q}"), q)
    for q in range(0, 100, 2):
        circuit.cz(q, q + 1)
    # One of a pair: sin**2 sin**2 of the two angles, 1/4 on average.
    found = entangling_capability(circuit, 200, seed=1)
    assert abs(found.mean - 0.25) < 4 * found.error


def test_what_makes_no_sense_is_refused():
    with pytest.raises(CircuitError, match="two qubits"):
        entangling_capability(QuantumCircuit(1))
    with pytest.raises(InputError, match="what draw returns"):
        expressibility(sim_circuit(1), 3, draw=lambda generator, shape: np.zeros(3))
    with pytest.raises(InputError, match="finite"):
        expressibility(sim_circuit(1), 3, draw=lambda generator, shape: np.full(shape, np.nan))


def test_plots_have_both_histograms():
    ax = expressibility(sim_circuit(2), 100, seed=1).plot()
    assert "random states" in [t.get_text() for t in ax.get_legend().get_texts()]
    again = entangling_capability(sim_circuit(2), 100, seed=1).plot(ax)
    assert again is ax


def test_seeds_make_it_reproducible_and_torch_is_left_alone():
    state = torch.get_rng_state()
    first, second = (expressibility(sim_circuit(1), 50, seed=9).fidelities for _ in range(2))
    assert (first == second).all()
    assert torch.equal(state, torch.get_rng_state())
