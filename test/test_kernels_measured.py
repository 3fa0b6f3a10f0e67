# SPDX-License-Identifier: Apache-2.0
"""Kernels on estimators, samplers and backends: what is measured, how often, and how well."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from estimators import CountingEstimator
from feature_maps import MAPS, A, X, fidelities, points, product, trainable
from qiskit.circuit import ClassicalRegister, Parameter, QuantumCircuit
from qiskit.primitives import StatevectorEstimator
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_aer import AerSimulator
from qiskit_aer.primitives import SamplerV2 as AerSampler
from samplers import CountingSampler
from torch.autograd import gradcheck, gradgradcheck

from qiskit_torch_bridge import Exact
from qiskit_torch_bridge.exceptions import (
    BridgeError,
    CircuitError,
    InputError,
    InputTypeError,
    MeasurementError,
    ParameterError,
    StateDictError,
)
from qiskit_torch_bridge.kernels import FidelityKernel, ProjectedKernel
from qiskit_torch_bridge.primitives import (
    BatchedStatevectorEstimator,
    BatchedStatevectorSampler,
)

FAILS = 1e-9
"""How often a correct sampler may exceed a bound."""


def trained(**options):
    return FidelityKernel(
        trainable(), input_params=X, initial_weights=[0.4, -1.1], **options
    ).double()


def bound(shots, entries):
    """Return what no frequency is off by, after W. Hoeffding, J. Am. Stat. Assoc. 58, 13 (1963)."""
    return math.sqrt(math.log(2 * entries / FAILS) / (2 * shots))


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("estimator", [StatevectorEstimator, BatchedStatevectorEstimator])
def test_pairs_have_the_fidelities_of_qiskits_states(estimator, name):
    kernel = FidelityKernel(MAPS[name], estimator=estimator())
    x, y = points(3, 2), points(2, 2, seed=1)
    params = list(kernel.program.input_params)
    expected = fidelities(kernel.program.circuit, params, x, y)
    np.testing.assert_allclose(kernel(x, y), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("sampler", "shots"),
    [(AerSampler, 4000), (BatchedStatevectorSampler, 4000), (None, 4000), ("aer", 4000)],
)
def test_shots_are_within_their_bounds(sampler, shots):
    place = {"estimator": sampler(seed=11)} if callable(sampler) else {}
    if sampler == "aer":
        place = {"backend": AerSimulator(seed_simulator=11)}
    kernel = trained(shots=shots, seed=5, **place)
    x, y = points(8, 2), points(5, 2, seed=1)
    exact = trained()
    for sets in ((x,), (x, y)):
        found, expected = kernel(*sets), exact(*sets)
        assert (found - expected).abs().max() < bound(shots, found.numel())
        assert (found - expected).abs().max() > 1e-4  # it is not simulated exactly
    own = kernel(x)
    assert torch.equal(own, own.mT) and bool((own.diagonal() == 1).all())


@pytest.mark.parametrize("kind", [CountingSampler, CountingEstimator])
def test_only_the_pairs_that_are_needed_are_measured(kind):
    primitive = kind()
    kernel = trained(estimator=primitive)
    x = points(6, 2)

    def measured():
        shapes = [shape for run in primitive.runs for shape in run]
        jobs = len(primitive.runs)
        primitive.runs.clear()
        return jobs, [math.prod(shape) for shape in shapes]

    kernel(x)
    assert measured() == (1, [6 * 5 // 2])
    kernel(x, x)
    assert measured() == (1, [6 * 5 // 2])
    kernel(x, points(4, 2))
    assert measured() == (1, [6 * 4])
    kernel(x.reshape(2, 3, 2))
    assert measured() == (1, [2 * 3])
    kernel(x[:1]), kernel.diagonal(x), kernel(x, x[:0])
    assert measured() == (0, [])
    kernel.diagonal(x, points(6, 2, seed=1))
    assert measured() == (1, [6])


def test_a_gradient_takes_one_job_with_two_points_for_each_angle():
    """Of product maps a pair has four angles: two of each point."""
    primitive = CountingEstimator()
    kernel = FidelityKernel(product(2), estimator=primitive)
    x = points(4, 2).requires_grad_()
    gram = kernel(x)
    primitive.clear()
    gram.sum().backward()
    assert [[math.prod(shape) for shape in run] for run in primitive.runs] == [[6 * 2 * 4]]
    expected = torch.autograd.grad(FidelityKernel(product(2))(x).sum(), x)[0]
    torch.testing.assert_close(x.grad, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("gradient", ["parameter-shift", "aqgd"])
def test_shift_rules_differentiate_as_the_exact_engine_does(gradient):
    circuit, (a,) = QuantumCircuit(2), (Parameter("a"),)
    circuit.ry(X[0], 0)
    circuit.rzz(2 * a, 0, 1)
    circuit.rx(X[1], 1)
    circuit.rzz(a, 0, 1)
    circuit.ry(X[0], 1)
    kernels = [
        FidelityKernel(circuit, input_params=X, initial_weights=[0.7], gradient=g).double()
        for g in (None, gradient)
    ]
    rows, cotangent = points(4, 2), points(4, 4, seed=2)
    found = []
    for kernel in kernels:
        x = rows.clone().requires_grad_()
        free = (x, kernel.weight)
        first = torch.autograd.grad((kernel(x) * cotangent).sum(), free, create_graph=True)
        found.append((*first, *torch.autograd.grad(first[0].square().sum() + first[1].sum(), free)))
    for exact, shifted in zip(*found, strict=True):
        torch.testing.assert_close(shifted, exact, rtol=0, atol=1e-9)


def test_derivatives_of_two_orders_on_an_estimator():
    kernel = trained(estimator=BatchedStatevectorEstimator())
    weights = kernel.weight.detach().clone().requires_grad_()
    x = points(2, 2).requires_grad_()

    def call(weights, *sets):
        return torch.func.functional_call(kernel, {"weight": weights}, sets)

    for sets in ((x,), (x, points(1, 2, seed=1).requires_grad_())):
        assert gradcheck(call, (weights, *sets)) and gradgradcheck(call, (weights, *sets))


def test_transpiled_pairs():
    backend = GenericBackendV2(4, coupling_map=[[0, 1], [1, 2], [2, 3]], seed=1)
    manager = generate_preset_pass_manager(1, backend=backend, seed_transpiler=3)
    circuit = product(3)
    circuit.cx(0, 2)
    circuit.rz(circuit.parameters[0], 2)
    circuit.cx(2, 1)
    kernel = FidelityKernel(circuit, estimator=StatevectorEstimator(), pass_manager=manager)
    assert kernel.circuit.num_qubits == 4
    x = points(3, 3)
    torch.testing.assert_close(kernel(x), FidelityKernel(circuit)(x), rtol=0, atol=1e-12)
    ready = FidelityKernel(manager.run(circuit), estimator=StatevectorEstimator())
    torch.testing.assert_close(ready(x), FidelityKernel(circuit)(x), rtol=0, atol=1e-12)
    exact = FidelityKernel(manager.run(circuit))
    torch.testing.assert_close(exact(x), FidelityKernel(circuit)(x), rtol=0, atol=1e-12)


def test_noise_makes_fidelities_smaller():
    backend = GenericBackendV2(2, seed=1)
    kernel = trained(backend=backend, shots=4000, seed=2)
    x = points(3, 2)
    y = x + 0.01  # nearly the same points: without noise, fidelities of nearly one
    assert trained().diagonal(x, y).min() > 0.999
    noisy = kernel.diagonal(x, y)
    assert noisy.max() < 0.999 - bound(4000, 3) / 10 and noisy.min() > 0.5


def test_projected_kernels_take_one_point_for_each_row():
    primitive = CountingEstimator()
    kernel = ProjectedKernel(
        trainable(), input_params=X, initial_weights=[0.4, -1.1], estimator=primitive
    ).double()
    exact = ProjectedKernel(trainable(), input_params=X, initial_weights=[0.4, -1.1]).double()
    x, y = points(5, 2), points(3, 2, seed=1)
    torch.testing.assert_close(kernel(x, y), exact(x, y), rtol=0, atol=1e-12)
    assert [[math.prod(shape) for shape in run] for run in primitive.runs] == [[5 * 6], [3 * 6]]
    noisy = ProjectedKernel(trainable(), input_params=X, shots=10, seed=1)
    assert torch.linalg.eigvalsh(noisy(points(20, 2)).detach()).min() > -1e-12


# -- where it runs, and back ---------------------------------------------------------------------


def test_a_kernel_moves_with_its_weights():
    kernel = trained()
    x = points(4, 2)
    measured = kernel.with_backend(estimator=StatevectorEstimator())
    assert torch.equal(measured.weight, kernel.weight)
    torch.testing.assert_close(measured(x), kernel(x), rtol=0, atol=1e-12)
    back = measured.with_backend(estimator=Exact(dtype="complex64"))
    assert back.estimator is None
    torch.testing.assert_close(back(x), kernel(x), rtol=0, atol=1e-5)
    with torch.no_grad():
        kernel.weight.fill_(0.0)
    assert measured.weight[0].item() == pytest.approx(0.4)
    with pytest.raises(InputError, match="psd"):
        kernel.with_backend(psd="clip")


def test_states_of_kernels_are_loaded_wherever_they_run():
    kernel, x = trained(), points(4, 2)
    other = FidelityKernel(trainable(), input_params=X, estimator=StatevectorEstimator()).double()
    other.load_state_dict(kernel.state_dict())
    torch.testing.assert_close(other(x), kernel(x), rtol=0, atol=1e-12)
    with pytest.raises(StateDictError, match="another program"):
        FidelityKernel(trainable(), input_params=A).load_state_dict(kernel.state_dict())
    with pytest.raises(InputError, match="finite"):
        kernel.load_state_dict({"weight": torch.full((2,), torch.nan)})


def test_copies_and_pickles():
    kernel, x = trained(), points(4, 2)
    for twin in (copy.deepcopy(kernel), pickle.loads(pickle.dumps(kernel))):
        assert torch.equal(twin(x), kernel(x))
        with torch.no_grad():
            twin.weight.zero_()
        assert not torch.equal(twin(x), kernel(x))


def test_shown():
    assert repr(trained()) == (
        "FidelityKernel(qubits=2, features=2, weights=2, estimator=Exact(), gradient=adjoint)"
    )
    assert "shots=100" in repr(trained(shots=100)) and "gamma" in repr(ProjectedKernel(product()))


# -- what is wrong -------------------------------------------------------------------------------


def measured_circuit():
    circuit = product(2)
    circuit.add_register(ClassicalRegister(1))
    circuit.measure(0, 0)
    return circuit


def opaque():
    circuit = product(1)
    circuit.initialize([0.6, 0.8], 0)
    return circuit


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: FidelityKernel(None), CircuitError, "QuantumCircuit"),
        (lambda: FidelityKernel(QuantumCircuit(1)), ParameterError, "inputs"),
        (lambda: FidelityKernel(product(), weight_params=[A[0]]), ParameterError, r"a\[0\]"),
        (lambda: FidelityKernel(trainable(), weight_params=[*A, *X]), ParameterError, "inputs"),
        (lambda: FidelityKernel(trainable(), psd="higham"), InputError, "'clip'"),
        (lambda: FidelityKernel(trainable(), initial_weights=[0.1]), InputError, "weights"),
        (lambda: FidelityKernel(trainable(), shots=0), BridgeError, "shots"),
        (
            lambda: FidelityKernel(product(), estimator=Exact(method="columns")),
            MeasurementError,
            "statevector",
        ),
        (lambda: ProjectedKernel(product(), gamma=0.0), InputError, "gamma"),
        (lambda: ProjectedKernel(product(), subsystem_size=3), InputError, "subsystem_size"),
        (lambda: ProjectedKernel(product(), train_gamma=1), InputTypeError, "train_gamma"),
        (lambda: ProjectedKernel(product(2), "ZZZ"), BridgeError, "one on 3"),
    ],
)
def test_kernels_that_cannot_be_made(make, error, match):
    with pytest.raises(error, match=match):
        make()


@pytest.mark.parametrize(
    ("sets", "error", "match"),
    [
        ((points(4, 3),), InputError, r"\(\*batch, N, 2\).*\(4, 3\).*x\[0\], x\[1\]"),
        ((points(2),), InputError, "a row for each point"),
        ((points(4, 2), points(3, 1)), InputError, "y"),
        ((points(2, 4, 2), points(3, 4, 2)), InputError, "batch shape"),
        (([[0.0, 1.0], [0.0]],), InputTypeError, "tensor or an array of real numbers"),
        ((points(4, 2), np.zeros((3, 2))), None, ""),
        ((np.array([["a", "b"]]),), InputTypeError, "real numbers"),
        ((points(4, 2).to(torch.complex64),), InputTypeError, "complex64"),
        ((points(4, 2).to_sparse(),), InputTypeError, "dense"),
        ((torch.full((3, 2), torch.nan),), InputError, "finite"),
        ((points(4, 2), torch.full((3, 2), torch.inf)), InputError, "finite"),
    ],
)
def test_points_that_are_refused_before_a_job(sets, error, match):
    primitive = CountingEstimator()
    for kernel in (trained(), trained(estimator=primitive)):
        if error is None:
            assert kernel(*sets).shape == (4, 3)
            primitive.clear()
            continue
        with pytest.raises(error, match=match):
            kernel(*sets)
    assert not primitive.runs
    with pytest.raises(InputError, match="rows of x"):
        trained().diagonal(points(4, 2), points(3, 2))
