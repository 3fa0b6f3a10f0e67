# SPDX-License-Identifier: Apache-2.0
"""The module on the exact engine: default, second order, precision, estimators beside it."""

from __future__ import annotations

import copy
import pickle
import re

import numpy as np
import pytest
import torch
from circuits import hybrid, layered, nonlinear, rotation
from estimators import CountingEstimator
from qiskit.circuit import QuantumCircuit
from qiskit.primitives import StatevectorEstimator
from qiskit_aer.primitives import EstimatorV2 as AerEstimator
from reference import hessian
from tensor_kernels import KERNELS

from qiskit_torch_bridge import CircuitProgram, Exact, TorchQuantumModule, expectation
from qiskit_torch_bridge.exceptions import (
    HigherOrderError,
    InputTypeError,
    MemoryLimitError,
    PrecisionError,
)
from qiskit_torch_bridge.gradients import AdjointEstimatorGradient

CLOSE = {"rtol": 0, "atol": 1e-10}

by_all_kernels = pytest.mark.parametrize("kernels", ["automatic", *KERNELS])
"""By Numba here, and by what computes on accelerators: see :mod:`tensor_kernels`."""
by_fast_kernels = pytest.mark.parametrize("kernels", ["automatic", "torch"])
"""Without Triton's interpreter, where there are many passes."""


def module(**choices):
    circuit, inputs, weights = layered(3, 1)
    generator = torch.Generator().manual_seed(1)
    w = torch.rand(len(weights), dtype=torch.float64, generator=generator)
    return TorchQuantumModule(circuit, input_params=inputs, initial_weights=w, **choices)


def rows(count=5, width=3):
    generator = torch.Generator().manual_seed(2)
    return torch.rand(count, width, dtype=torch.float64, generator=generator).requires_grad_()


def by(kernels, **choices):
    return module(estimator=Exact(kernels=kernels), **choices)


def gradients(node, x):
    node.zero_grad()
    x.grad = None
    node(x).pow(2).sum().backward()
    return x.grad.clone(), node.weight.grad.clone()


def test_it_is_the_default_without_estimator_and_shots_only():
    assert module().gradient == "adjoint"
    assert module(shots=100).gradient == "parameter-shift"
    assert module(precision=0.1).gradient == "parameter-shift"
    assert module(estimator=StatevectorEstimator()).gradient == "parameter-shift"
    assert module(gradient="aqgd").gradient == "aqgd"


@by_all_kernels
@pytest.mark.parametrize("make", [StatevectorEstimator, AerEstimator], ids=["Statevector", "Aer"])
def test_values_and_gradients_agree_with_parameter_shift_on_estimators(make, kernels):
    if kernels == "triton" and make is AerEstimator:
        pytest.skip("one estimator is enough for the interpreter, which takes its time")
    x = rows()
    exact, shift = by(kernels), module(estimator=make())
    torch.testing.assert_close(exact(x), shift(x), rtol=0, atol=1e-9)
    for mine, theirs in zip(gradients(exact, x), gradients(shift, x), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-9)


@by_all_kernels
def test_only_what_needs_a_gradient_gets_one(kernels):
    node, x = by(kernels), rows()
    both = gradients(node, x)
    node.weight.requires_grad_(False)
    node.weight.grad = x.grad = None
    node(x).pow(2).sum().backward()
    assert node.weight.grad is None
    torch.testing.assert_close(x.grad, both[0], **CLOSE)
    node.weight.requires_grad_(True)
    node(x.detach()).pow(2).sum().backward()
    torch.testing.assert_close(node.weight.grad, both[1], **CLOSE)


@by_all_kernels
def test_backward_twice_through_a_kept_graph_gives_the_same(kernels):
    node, x = by(kernels), rows()
    y = node(x).pow(2).sum()
    first = torch.autograd.grad(y, x, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(y, x), first, rtol=0, atol=0)


@by_all_kernels
def test_hessian_vector_product_is_the_hessian_times_the_vector(kernels):
    circuit, inputs, _ = layered(2, 1)
    program = CircuitProgram(circuit, ["ZI"], input_params=inputs)
    x, w = rows(1, 2), torch.rand(4, dtype=torch.float64).requires_grad_()
    v = torch.rand(4, dtype=torch.float64)
    y = expectation(program, x, w, estimator=Exact(kernels=kernels)).sum()
    (g,) = torch.autograd.grad(y, w, create_graph=True)
    (product,) = torch.autograd.grad(g @ v, w)
    order = (*program.input_params, *program.weight_params)
    h = hessian(circuit, program.observables, order, torch.cat([x[0], w]).detach())[0]
    torch.testing.assert_close(product, h[2:, 2:] @ v, rtol=0, atol=1e-8)


@by_fast_kernels
@pytest.mark.parametrize("vectorize", [False, True])
def test_torch_autograd_functional(vectorize, kernels):
    """Its vectorised form uses PyTorch's older vmap, which looks into no custom function."""
    node, shift = module(), module(gradient="parameter-shift")
    x = rows(2)

    def f(**engine):
        return lambda x, w: expectation(node.program, x, w, **engine)

    w = node.weight.detach()
    for order in ("jacobian", "hessian"):
        derive = getattr(torch.autograd.functional, order)
        results = []
        for engine in ({"estimator": Exact(kernels=kernels)}, {"gradient": "parameter-shift"}):
            g = f(**engine)
            scalar = g if order == "jacobian" else (lambda x, w, g=g: g(x, w).pow(2).sum())
            results.append(derive(scalar, (x.detach(), w), vectorize=vectorize))
        torch.testing.assert_close(*results, rtol=0, atol=1e-9)
    assert shift.gradient == "parameter-shift"


@by_fast_kernels
def test_all_mixtures_of_modes_agree(kernels):
    program = module().program
    x, w = rows(2).detach(), module().weight.detach()

    def f(w):
        return expectation(program, x, w, estimator=Exact(kernels=kernels)).sum()

    func = torch.func
    right = hessian_by_shift(program, x, w)
    for outer, inner in (
        (func.jacrev, func.jacrev),
        (func.jacfwd, func.jacrev),
        (func.jacrev, func.jacfwd),
    ):
        torch.testing.assert_close(outer(inner(f))(w), right, rtol=0, atol=1e-9)
    twice = func.jacfwd(func.jacfwd(f))
    if kernels == "torch":  # differentiates its operations as torch does
        torch.testing.assert_close(twice(w), right, rtol=0, atol=1e-9)
        return
    with pytest.raises(HigherOrderError, match="jacfwd over jacrev"):
        twice(w)


def hessian_by_shift(program, x, w):
    return torch.func.hessian(lambda w: expectation(program, x, w, gradient="aqgd").sum())(w)


@pytest.mark.parametrize("kernels", ["automatic", *(k for k in KERNELS if k != "torch")])
def test_a_third_derivative_is_refused_with_the_remedy(kernels):
    node, x = by(kernels), rows(1)
    (g,) = torch.autograd.grad(node(x).sum(), node.weight, create_graph=True)
    (h,) = torch.autograd.grad(g.sum(), node.weight, create_graph=True)
    with pytest.raises(HigherOrderError, match="parameter-shift"):
        h.sum().backward()


@by_fast_kernels
def test_second_order_through_expressions_that_are_not_affine(kernels):
    program, exact = CircuitProgram(nonlinear(), ["ZZ", "XI"]), Exact(kernels=kernels)
    w = torch.tensor([0.3, -0.2, 0.5, 0.4, 0.9], dtype=torch.float64, requires_grad=True)

    def values(w):
        return expectation(program, weights=w, estimator=exact)

    assert torch.autograd.gradgradcheck(values, (w,))


@pytest.mark.parametrize("make", [hybrid, nonlinear])
def test_with_an_estimator_values_are_its_own_and_gradients_exact(make):
    estimator = CountingEstimator()
    circuit = make()
    by_name = TorchQuantumModule(
        circuit, estimator=estimator, gradient="adjoint", precision=0.5, seed=3
    )
    exact = TorchQuantumModule(circuit, seed=3)
    values = [by_name() for _ in range(2)]
    assert estimator.precisions == [0.5, 0.5]
    assert not torch.equal(values[0], exact())  # noise of half a unit
    estimator.clear()
    by_name().sum().backward()
    exact().sum().backward()
    assert len(estimator.runs) == 1  # the values; nothing for the gradient
    torch.testing.assert_close(by_name.weight.grad, exact.weight.grad, rtol=0, atol=1e-6)


def test_a_gradient_object_is_accepted():
    node = module(gradient=AdjointEstimatorGradient())
    x = rows()
    for mine, right in zip(gradients(node, x), gradients(module(), x), strict=True):
        torch.testing.assert_close(mine, right, **CLOSE)


@by_fast_kernels
@pytest.mark.parametrize("dtype", ["complex64", np.complex64, torch.complex64])
def test_single_precision_on_request(dtype, kernels):
    """Rounding of 6e-8 a step over some dozens of steps."""
    node, exact, x = module(estimator=Exact(dtype=dtype, kernels=kernels)), module(), rows()
    difference = (node(x) - exact(x)).abs().max()
    assert 1e-12 < difference < 1e-5
    for mine, right in zip(gradients(node, x), gradients(exact, x), strict=True):
        torch.testing.assert_close(mine, right, rtol=0, atol=1e-4)


def test_dtype_must_be_one_and_the_engine_the_exact_one():
    with pytest.raises(InputTypeError, match="'complex128' or 'complex64'.*got 'float16'"):
        Exact(dtype="float16")
    with pytest.raises(PrecisionError, match="computes exactly and measures nothing"):
        module(estimator=Exact(dtype="complex64"), shots=10)


@by_all_kernels
def test_copies_and_pickles_compute_the_same(kernels):
    node, x = by(kernels), rows()
    y = node(x)
    for other in (copy.deepcopy(node), pickle.loads(pickle.dumps(node))):
        torch.testing.assert_close(other(x), y, rtol=0, atol=0)
        assert other.gradient == "adjoint"


@by_fast_kernels
def test_a_state_that_does_not_fit_is_refused_with_its_size(kernels):
    """By Numba when the module is made; in tensors at the first call, where these are."""
    circuit = QuantumCircuit(48)
    for layer in range(2):
        for q in range(48):
            circuit.ry(rotation(f"t{layer},{q}")[1], q)
        for q in range(48):
            for other in range(q):
                circuit.cz(q, other)
    circuit.h(range(48))
    sizes = r"48 qubits exactly needs (.*) GiB, .* by the cheapest method, .*; (.*) GiB are avail"
    observable = "I" * 47 + "Z"
    if kernels == "torch":
        sizes = "48 qubits exactly needs (.*) GiB on cpu; (.*) GiB are available there"
        node = TorchQuantumModule(circuit, observable, estimator=Exact(kernels="torch"))
    with pytest.raises(MemoryLimitError, match=sizes) as error:
        node() if kernels == "torch" else TorchQuantumModule(circuit, observable)
    needed, available = re.search(sizes, str(error.value)).groups()
    assert float(needed) > float(available)


@by_all_kernels
def test_idle_qubits_cost_nothing(kernels):
    """Forty of forty-two qubits are never touched: their Z is one, their X is zero."""
    circuit = QuantumCircuit(42)
    theta = rotation()[1]
    circuit.ry(theta, 41)
    circuit.cx(41, 7)
    labels = [{41: "Z"}, {0: "Z"}, {0: "X"}, {7: "Z", 3: "Z"}]
    observables = ["".join(o.get(41 - q, "I") for q in range(42)) for o in labels]
    exact = Exact(kernels=kernels)
    node = TorchQuantumModule(circuit, observables, initial_weights=[0.3], estimator=exact)
    right = [np.cos(0.3), 1.0, 0.0, np.cos(0.3)]
    np.testing.assert_allclose(node().detach().numpy(), right, rtol=0, atol=1e-6)


def test_values_come_from_the_estimator_of_a_gradient_object():
    estimator = CountingEstimator()
    node = module(gradient=AdjointEstimatorGradient(estimator))
    assert node.estimator is estimator
    node(rows()).sum().backward()
    assert estimator.runs == [[(3, 5)]]


def test_third_derivatives_in_forward_mode_are_refused_too():
    program, x = module().program, rows(1).detach()
    w = module().weight.detach()

    def slope(w):
        return torch.func.grad(lambda w: expectation(program, x, w).sum())(w)

    with pytest.raises(HigherOrderError, match="parameter-shift"):
        torch.func.jacfwd(torch.func.jacrev(slope))(w)
