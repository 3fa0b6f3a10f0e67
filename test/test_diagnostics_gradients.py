# SPDX-License-Identifier: Apache-2.0
"""Variances of gradients: closed forms, random circuits, and verdicts that can be trusted."""

from __future__ import annotations

import math

import numpy as np
import pytest
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from qiskit_torch_bridge import CircuitProgram, Probabilities, TorchQuantumModule
from qiskit_torch_bridge.diagnostics import gradient_variance
from qiskit_torch_bridge.diagnostics.gradient_variance import _fit
from qiskit_torch_bridge.exceptions import InputError, InputTypeError
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator

SIZES = [2, 3, 4, 6, 8]


def turned(n: int) -> QuantumCircuit:
    circuit = QuantumCircuit(n)
    for q, angle in enumerate(ParameterVector("w", n)):
        circuit.rx(angle, q)
    return circuit


def global_cost(n: int, layers: int) -> CircuitProgram:
    return CircuitProgram(turned(n), "0" * n)


def local_cost(n: int, layers: int) -> CircuitProgram:
    terms = [("Z", [q], 0.5 / n) for q in range(n)]
    return CircuitProgram(turned(n), SparsePauliOp.from_sparse_list(terms, n))


def entangling(n: int, layers: int) -> QuantumCircuit:
    circuit = QuantumCircuit(n)
    for k in range(layers):
        for q in range(n):
            circuit.ry(Parameter(f"a{k:02}_{q}"), q)
            circuit.rz(Parameter(f"b{k:02}_{q}"), q)
        for q in range(n if n > 2 else 1):
            circuit.cx(q, (q + 1) % n)
    return circuit


def pair(n: int, layers: int) -> CircuitProgram:
    circuit = entangling(n, layers)
    order = sorted(circuit.parameters, key=lambda p: (p.name[1:3], p.name[0], p.name[3:]))
    return CircuitProgram(circuit, "I" * (n - 2) + "ZZ", weight_params=order)


def test_the_warm_up_example_of_global_and_local_costs():
    # M. Cerezo et al. (2021): 1/8 (3/8)**(n - 1) for one minus the fidelity with zeros, and
    # 1 / (8 n**2) for its local counterpart.
    found = gradient_variance(global_cost, SIZES, samples=4000, weight=0, seed=1)
    exact = np.array([0.375 ** (n - 1) / 8 for n in SIZES])
    assert (np.abs(found.variances[0] - exact) < 4.5 * found.errors[0]).all()
    low, high = found.intervals[0]
    assert low < math.log(3 / 8) < high
    assert high - low < 0.3
    assert found.verdicts == ("barren plateau",)

    found = gradient_variance(local_cost, SIZES, samples=4000, weight=-1, seed=2)
    exact = np.array([1 / (8 * n**2) for n in SIZES])
    assert (np.abs(found.variances[0] - exact) < 4.5 * found.errors[0]).all()
    assert found.verdicts == ("polynomial decay",)


def test_random_circuits_have_the_variance_of_designs():
    # With two-designs on both sides of a rotation exp(-i a P / 2) and a Pauli observable:
    # Var = Tr(M**2) / (N (N + 1)) for M = i [P / 2, U' O U], and Tr(M**2) = N**3 / 2 (N**2 - 1).
    layers, sizes = 40, [2, 3, 4, 5]
    found = gradient_variance(
        lambda n, k: pair(n, layers), sizes, [layers], samples=1500, weight=0, seed=3
    )
    middle = gradient_variance(
        lambda n, k: pair(n, k), sizes, [layers], samples=1500, seed=3
    ).by_weight
    for n in sizes:
        size = 2**n
        exact = size**2 / (2 * (size**2 - 1) * (size + 1))
        inner = middle[n, layers][15 * 2 * n : 25 * 2 * n]  # of layers with 15 others beside them
        assert inner.mean() == pytest.approx(exact, rel=0.03)
    assert found.verdicts == ("barren plateau",)


def test_layers_are_fitted_on_their_own_and_each_weight_is_told():
    found = gradient_variance(pair, [2, 3, 4, 5, 6], [12, 1], samples=300, seed=4)
    assert found.layers == (1, 12)
    assert found.variances.shape == found.errors.shape == (2, 5)
    assert found.intervals.shape == (2, 2)
    assert found.by_weight[4, 12].shape == (96,)
    assert found.by_weight[4, 12].mean() == pytest.approx(found.variances[1, 2])
    assert found.verdicts[1] == "barren plateau"
    assert len(str(found).splitlines()) == 2
    assert found.plot().get_yscale() == "log"


def test_what_does_not_depend_on_qubits_does_not_decay():
    def one(n: int, layers: int) -> CircuitProgram:
        return CircuitProgram(turned(n), "I" * (n - 1) + "Z")

    found = gradient_variance(one, SIZES, samples=500, weight=0, seed=5)
    assert found.verdicts == ("no decay",)
    assert (np.abs(found.variances[0] - 0.5) < 4.5 * found.errors[0]).all()


def test_intervals_cover_and_verdicts_err_rarely():
    generator, n = np.random.default_rng(0), np.arange(2.0, 9.0)
    errors = np.full(7, 0.08)
    exponential, power, flat = [], [], []
    for _ in range(400):
        noise = errors * generator.normal(size=7)
        exponential.append(_fit(n, -0.5 * n + noise, errors, 0.95))
        power.append(_fit(n, -2 * np.log(n) + noise, errors, 0.95))
        flat.append(_fit(n, noise, errors, 0.95))
    covered = np.mean([f.interval[0] < -0.5 < f.interval[1] for f in exponential])
    assert covered > 0.95 - 3 * math.sqrt(0.05 * 0.95 / 400)
    assert sum(f.verdict == "polynomial decay" for f in exponential) <= 4  # 1 in 20 would be 20
    assert sum(f.verdict == "barren plateau" for f in power) <= 4
    assert sum(f.verdict == "barren plateau" for f in exponential) > 380
    assert sum(f.verdict == "polynomial decay" for f in power) > 380
    assert sum(f.verdict != "no decay" for f in flat) < 400 * 0.025 + 3 * math.sqrt(10)


def test_few_samples_leave_it_undecided():
    generator, n = np.random.default_rng(1), np.arange(3.0, 7.0)
    errors = np.full(4, 0.15)
    fits = [_fit(n, -0.4 * n + errors * generator.normal(size=4), errors, 0.95) for _ in range(50)]
    assert not any(f.verdict == "polynomial decay" for f in fits)
    assert any(f.verdict == "undecided" for f in fits)
    n, errors = np.arange(8.0, 11.0), np.full(3, 0.1)
    fits = [_fit(n, -0.7 * n + errors * generator.normal(size=3), errors, 0.95) for _ in range(50)]
    assert not any(f.verdict == "no decay" for f in fits)  # three sizes do not tell


def test_modules_are_evaluated_where_they_run():
    def measured(n: int, layers: int) -> TorchQuantumModule:
        return TorchQuantumModule(turned(n), "Z" * n, estimator=BatchedStatevectorEstimator())

    def exact(n: int, layers: int) -> TorchQuantumModule:
        return TorchQuantumModule(turned(n), "Z" * n)

    first, second = (gradient_variance(m, [2, 3, 4], samples=30, seed=6) for m in (measured, exact))
    assert first.variances == pytest.approx(second.variances, rel=1e-10)


def test_inputs_are_drawn_but_not_differentiated():
    def with_input(n: int, layers: int) -> CircuitProgram:
        circuit = turned(n)
        x = Parameter("x")
        circuit.rx(x, 0)
        return CircuitProgram(circuit, "Z" * n, input_params=[x])

    found = gradient_variance(with_input, [1, 2, 3], samples=4000, seed=7)
    exact = np.array([0.5**n for n in (1, 2, 3)])
    assert (np.abs(found.variances[0] - exact) < 4.5 * found.errors[0]).all()
    assert found.by_weight[3, 1].shape == (3,)


def test_small_angles_escape():
    def small(generator, shape):
        return 0.5 * generator.normal(size=shape) / math.sqrt(shape[1])

    found = gradient_variance(
        lambda n, k: CircuitProgram(turned(n), "Z" * n), SIZES, draw=small, samples=2000, seed=8
    )
    assert found.verdicts != ("barren plateau",)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(InputError, match="at least 3 different"):
        gradient_variance(global_cost, [2, 3, 3])
    with pytest.raises(InputError, match="one output"):
        gradient_variance(lambda n, k: CircuitProgram(turned(n), Probabilities()), [1, 2, 3])
    with pytest.raises(InputError, match="vanish everywhere"):
        gradient_variance(lambda n, k: CircuitProgram(turned(n), "X" * n), [1, 2, 3])
    with pytest.raises(InputError, match="one of 1 weights"):
        gradient_variance(global_cost, [1, 2, 3], weight=1)
    with pytest.raises(InputTypeError, match="what make returns"):
        gradient_variance(lambda n, k: turned(n), [1, 2, 3])
