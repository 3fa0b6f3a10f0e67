# SPDX-License-Identifier: Apache-2.0
"""Kernels on the exact engine: closed forms, Qiskit's own states, derivatives and memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from feature_maps import MAPS, X, fidelities, points, product, states_of, trainable
from hypothesis import given
from hypothesis import strategies as st
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.quantum_info import partial_trace
from strategies import circuits
from torch.autograd import gradcheck, gradgradcheck

from qiskit_torch_bridge import Exact, memory
from qiskit_torch_bridge.exceptions import HigherOrderError, InputError, MemoryLimitError
from qiskit_torch_bridge.kernels import (
    FidelityKernel,
    ProjectedKernel,
    fidelity,
    nearest_psd,
    overlaps,
)

ROUNDING = 1e-13
"""Of double precision: some tens of gates, and sums of at most 16 amplitudes."""


@pytest.fixture
def recomputed(monkeypatch):
    """Simulate every block of states when it is needed."""
    monkeypatch.setattr(overlaps, "KEPT_BYTES", 0)


def trained(**options):
    return FidelityKernel(
        trainable(), input_params=X, initial_weights=[0.4, -1.1], **options
    ).double()


def test_a_product_map_has_its_closed_form():
    x, y = points(4, 3).requires_grad_(), points(5, 3, seed=1)
    gram = FidelityKernel(product())(x, y)
    halves = (x[:, None] - y) / 2
    expected = halves.cos().pow(2).prod(-1)
    torch.testing.assert_close(gram, expected, rtol=0, atol=ROUNDING)
    cotangent = points(4, 5, seed=2)
    ours, theirs = (torch.autograd.grad(k, x, cotangent)[0] for k in (gram, expected))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("name", MAPS)
def test_gram_matrices_are_fidelities_of_qiskits_states(name):
    circuit = MAPS[name]
    kernel = FidelityKernel(circuit)
    params = list(circuit.parameters)
    assert kernel.program.input_params == tuple(params)
    x, y = points(4, 2), points(3, 2, seed=1)
    plain = kernel.program.circuit  # evolutions are product formulas in it
    np.testing.assert_allclose(kernel(x, y), fidelities(plain, params, x, y), atol=ROUNDING)
    np.testing.assert_allclose(kernel(x), fidelities(plain, params, x, x), atol=ROUNDING)


@given(circuits(max_qubits=3), st.integers(0, 2**31))
def test_random_circuits(circuit, seed):
    params = list(circuit.parameters)
    if not params:
        return
    x, y = points(3, len(params), seed=seed), points(2, len(params), seed=seed + 1)
    kernel = FidelityKernel(circuit)
    expected = fidelities(kernel.program.circuit, params, x, y)
    np.testing.assert_allclose(kernel(x, y), expected, atol=1e-12)
    pairs = FidelityKernel(circuit, gradient="parameter-shift")
    np.testing.assert_allclose(pairs(x, y), expected, atol=1e-12)


@pytest.mark.parametrize("gradient", [None, "parameter-shift"])
def test_one_set_of_points_has_a_symmetric_matrix_with_ones_on_its_diagonal(gradient):
    x = points(2, 6, 2)
    kernel = trained(gradient=gradient)
    gram = kernel(x)
    assert torch.equal(gram, gram.mT)
    assert torch.equal(gram.diagonal(dim1=-2, dim2=-1), torch.ones(2, 6, dtype=torch.float64))
    assert torch.linalg.eigvalsh(gram.detach()).min() > -ROUNDING
    torch.testing.assert_close(gram, kernel(x, x.clone()), rtol=0, atol=ROUNDING)
    assert torch.equal(gram, kernel(x, x))  # the same points, not a copy of them


@pytest.mark.parametrize("gradient", [None, "parameter-shift"])
def test_batches_are_matrices_one_after_the_other(gradient):
    kernel = trained(gradient=gradient)
    x, y = points(2, 3, 4, 2), points(2, 3, 5, 2, seed=1)
    gram, own = kernel(x, y), kernel(x)
    assert gram.shape == (2, 3, 4, 5) and own.shape == (2, 3, 4, 4)
    for index in np.ndindex(2, 3):
        torch.testing.assert_close(gram[index], kernel(x[index], y[index]), rtol=0, atol=ROUNDING)
        torch.testing.assert_close(own[index], kernel(x[index]), rtol=0, atol=ROUNDING)
    shared = kernel(x, y[0, 0])
    torch.testing.assert_close(shared[1, 2], kernel(x[1, 2], y[0, 0]), rtol=0, atol=ROUNDING)
    rows = kernel.diagonal(x, y[..., :4, :])
    expected = gram[..., :4].diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(rows, expected, rtol=0, atol=ROUNDING)
    assert torch.equal(kernel.diagonal(x), torch.ones(2, 3, 4, dtype=torch.float64))


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("gradient", [None, "parameter-shift"])
def test_few_points(rows, gradient):
    kernel = trained(gradient=gradient)
    assert torch.equal(kernel(points(rows, 2)), torch.eye(rows, dtype=torch.float64))
    assert kernel(points(rows, 2), points(3, 2)).shape == (rows, 3)
    assert kernel(points(3, 2), points(rows, 2)).shape == (3, rows)


def functions(kernel):
    """Return Gram matrices of one and of two sets, as functions of points and weights."""

    def call(weights, *sets):
        return torch.func.functional_call(kernel, {"weight": weights}, sets)

    return call, (kernel.weight.detach().clone().requires_grad_(),)


@pytest.mark.parametrize("keeps", [True, False], ids=["kept", "recomputed"])
@pytest.mark.parametrize("sets", [1, 2])
def test_derivatives_of_two_orders(keeps, sets, monkeypatch):
    monkeypatch.setattr(overlaps, "BLOCK_ROWS", 2)
    if not keeps:
        monkeypatch.setattr(overlaps, "KEPT_BYTES", 0)
    call, weights = functions(trained())
    rows = [points(3 + k, 2, seed=k).requires_grad_() for k in range(sets)]
    assert gradcheck(call, (*weights, *rows))
    assert gradgradcheck(call, (*weights, *rows))


def test_derivatives_of_batches():
    call, weights = functions(trained())
    rows = points(2, 3, 2).requires_grad_(), points(2, 2, seed=1).requires_grad_()
    assert gradcheck(call, (*weights, *rows)) and gradgradcheck(call, (*weights, *rows))


def test_torch_func_transforms_kernels():
    call, (weights,) = functions(trained())
    x = points(3, 2)
    jacobian = torch.func.jacrev(call)(weights, x)
    expected = torch.autograd.functional.jacobian(lambda w: call(w, x), weights)
    torch.testing.assert_close(jacobian, expected, rtol=0, atol=ROUNDING)


def test_numbers_are_the_same_however_much_is_kept(monkeypatch):
    """Blocks are the same ones, so that every sum is one of the same numbers in the same order."""
    monkeypatch.setattr(overlaps, "BLOCK_ROWS", 128)
    kernel = trained()
    x, y = points(600, 2).requires_grad_(), points(300, 2, seed=1)
    kept, own = kernel(x, y), kernel(x)
    cotangents = points(600, 300, seed=2), points(600, 600, seed=3)
    wanted = [
        torch.autograd.grad(k, (x, kernel.weight), c)
        for k, c in zip((kept, own), cotangents, strict=True)
    ]
    monkeypatch.setattr(overlaps, "KEPT_BYTES", 0)
    again, own_again = kernel(x, y), kernel(x)
    assert torch.equal(kept, again) and torch.equal(own, own_again)
    for gram, cotangent, expected in zip((again, own_again), cotangents, wanted, strict=True):
        found = torch.autograd.grad(gram, (x, kernel.weight), cotangent)
        for f, e in zip(
            found, expected, strict=True
        ):  # sums of 600 and of 360,000 numbers, in another order
            torch.testing.assert_close(f, e, rtol=1e-11, atol=1e-10)
    for rows in (1, 7, 1000):
        monkeypatch.setattr(overlaps, "BLOCK_ROWS", rows)
        torch.testing.assert_close(kernel(x[:20], y[:10]), kept[:20, :10], rtol=0, atol=ROUNDING)


def test_rows_beside_each_other_in_batches_count_for_a_block(monkeypatch):
    kernel, asked = trained(), []
    monkeypatch.setattr(overlaps, "BLOCK_ROWS", 6)
    evaluate = overlaps.evaluate

    def counting(node, rows, weights):
        asked.append(rows.shape[:-1].numel())
        return evaluate(node, rows, weights)

    monkeypatch.setattr(overlaps, "evaluate", counting)
    kernel(points(3, 5, 2))
    assert asked == [6, 6, 3]


def count_states(monkeypatch):
    """Return a list that the numbers of rows go to, of which states are asked for."""
    asked, evaluate = [], overlaps.evaluate

    def counting(node, rows, weights):
        asked.append((len(rows), torch.is_grad_enabled() and rows.requires_grad))
        return evaluate(node, rows, weights)

    monkeypatch.setattr(overlaps, "evaluate", counting)
    return asked


def test_states_are_simulated_once_where_they_are_kept(monkeypatch):
    asked = count_states(monkeypatch)
    kernel, x = trained(), points(7, 2).requires_grad_()
    kernel(x).sum().backward()
    assert asked == [(7, True)]
    kernel(x, points(4, 2)).sum().backward()
    assert sum(rows for rows, _ in asked[1:]) == 7 + 4


def test_one_sweep_back_for_each_block_where_they_are_not(monkeypatch, recomputed):
    monkeypatch.setattr(overlaps, "BLOCK_ROWS", 2)
    asked = count_states(monkeypatch)
    kernel, x = trained(), points(6, 2).requires_grad_()
    gram = kernel(x)
    assert len(asked) == 3 + 2 + 1  # the blocks of rows, and those beside each
    asked.clear()
    gram.sum().backward()
    assert sum(differentiated for _, differentiated in asked) == 3
    assert len(asked) == 3 * (1 + 3)


def test_second_derivatives_need_all_states(monkeypatch, recomputed):
    kernel, x = trained(), points(6, 2).requires_grad_()
    gram = kernel(x)
    monkeypatch.setattr(memory, "fits", lambda needed: False)
    with pytest.raises(MemoryLimitError, match="first derivatives alone"):
        torch.autograd.grad(gram.sum(), x, create_graph=True)


def test_what_does_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "fits", lambda needed: needed < 8 * 20 * 30)
    with pytest.raises(MemoryLimitError, match="20 x 30 points"):
        trained()(points(20, 2), points(30, 2))


def test_single_precision():
    x, y = points(40, 2), points(30, 2, seed=1)
    exact = trained()(x, y)
    single = trained(estimator=Exact(dtype="complex64"))(x, y)
    assert single.dtype == torch.float64
    error = (single - exact).abs().max()
    assert 1e-9 < error < 1e-5  # some tens of gates, each rounding to 6e-8
    tight = trained()(x.float(), y.float())
    assert tight.dtype == torch.float32
    torch.testing.assert_close(tight.double(), trained()(x.float().double(), y.float().double()),
                               rtol=0, atol=1e-7)  # fmt: skip


def test_arrays_come_out_as_arrays():
    kernel, x, y = trained(), points(4, 2), points(3, 2, seed=1)
    gram = kernel(x.numpy(), y.numpy())
    assert isinstance(gram, np.ndarray) and gram.dtype == np.float64
    np.testing.assert_array_equal(gram, kernel(x, y).detach())
    np.testing.assert_array_equal(kernel(x.numpy()), kernel(x).detach())
    # scikit-learn hands in copies of the points that it was fitted with
    np.testing.assert_array_equal(kernel(x.numpy(), x.numpy().copy()), kernel(x).detach())
    np.testing.assert_array_equal(kernel(x.tolist(), y.numpy()), gram)
    whole = kernel(np.ones((2, 2), np.int32))
    np.testing.assert_allclose(whole, np.ones((2, 2)), atol=ROUNDING)


def test_parameters_that_the_circuit_does_not_use():
    """Elements of a vector that come up in no gate are features and weights all the same."""
    long, circuit = ParameterVector("x", 4), QuantumCircuit(2)
    circuit.ry(long[0], 0)
    circuit.ry(long[1], 1)
    kernels = [
        FidelityKernel(circuit, input_params=long, weight_params=[], gradient=gradient)
        for gradient in (None, "parameter-shift")
    ]
    x = points(3, 4)
    for kernel in kernels:
        expected = FidelityKernel(product(2))(x[:, :2])
        torch.testing.assert_close(kernel(x), expected, rtol=0, atol=ROUNDING)


# -- projected kernels ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("name", MAPS)
def test_projected_kernels_are_made_of_reduced_states(size, name):
    circuit, gamma = MAPS[name], 0.7
    kernel = ProjectedKernel(circuit, subsystem_size=size, gamma=gamma)
    params = list(circuit.parameters)
    n = circuit.num_qubits
    if size == 1:
        subsystems = [(q,) for q in range(n)]
    else:
        subsystems = [(p, q) for q in range(n) for p in range(q)]
    plain = kernel.program.circuit

    def reduced(rows):
        return [
            [partial_trace(s, [q for q in range(n) if q not in kept]).data for kept in subsystems]
            for s in states_of(plain, params, rows)
        ]

    x, y = points(3, 2), points(4, 2, seed=1)
    distances = [
        [sum(np.linalg.norm(a - b) ** 2 for a, b in zip(r, s, strict=True)) for s in reduced(y)]
        for r in reduced(x)
    ]
    np.testing.assert_allclose(kernel(x, y), np.exp(-gamma * np.array(distances)), atol=ROUNDING)
    gram = kernel(x)
    assert torch.equal(gram, gram.mT) and bool((gram.diagonal() == 1).all())
    torch.testing.assert_close(gram, kernel(x, x.clone()), rtol=0, atol=1e-12)
    rows = kernel.diagonal(x, y[:3])
    torch.testing.assert_close(rows, kernel(x, y[:3]).diagonal(), rtol=0, atol=ROUNDING)


def test_projected_kernels_of_observables_and_their_derivatives():
    kernel = ProjectedKernel(
        trainable(), ["ZZ", "XI"], gamma=0.3, train_gamma=True, input_params=X,
        initial_weights=[0.4, -1.1],
    ).double()  # fmt: skip
    x, y = points(3, 2).requires_grad_(), points(2, 2, seed=1).requires_grad_()
    z = kernel.features(x)
    assert z.shape == (3, 2)
    expected = torch.exp(-0.3 * ((z[:, None] - kernel.features(y)) ** 2).sum(-1))
    torch.testing.assert_close(kernel(x, y), expected, rtol=0, atol=ROUNDING)
    names = dict(kernel.named_parameters())
    assert set(names) == {"weight", "log_gamma"} and kernel.gamma == pytest.approx(0.3)

    def call(weight, log_gamma, *sets):
        return torch.func.functional_call(kernel, {"weight": weight, "log_gamma": log_gamma}, sets)

    free = [names[n].detach().clone().requires_grad_() for n in ("weight", "log_gamma")]
    for sets in ((x,), (x, y)):
        assert gradcheck(call, (*free, *sets)) and gradgradcheck(call, (*free, *sets))


def test_projected_kernels_of_wide_circuits():
    """Of forty qubits there is no state vector; reduced states come from light cones."""
    kernel = ProjectedKernel(product(40), gamma=0.1)
    x, y = points(3, 40), points(2, 40, seed=1)
    expected = torch.exp(-0.1 * 2 * torch.sin((x[:, None] - y) / 2).pow(2).sum(-1))
    torch.testing.assert_close(kernel(x, y), expected, rtol=0, atol=1e-12)


# -- positive matrices ---------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_the_nearest_positive_matrix(seed):
    """It is the nearest one if what was taken away is negative and orthogonal to what is left."""
    given_ = points(2, 7, 7, seed=seed)
    nearest = nearest_psd(given_)
    symmetric = (given_ + given_.mT) / 2
    change = symmetric - nearest
    assert torch.equal(nearest, nearest.mT)
    assert torch.linalg.eigvalsh(nearest).min() > -1e-13
    assert torch.linalg.eigvalsh(change).max() < 1e-13
    assert (change * nearest).sum((-2, -1)).abs().max() < 1e-12
    assert gradcheck(nearest_psd, (given_.requires_grad_(),))


def test_equal_eigenvalues_have_a_gradient():
    """Twice 2 and twice -1: torch's own gradient of eigenvectors is not finite there."""
    basis = torch.linalg.qr(points(4, 4))[0]
    matrix = basis @ torch.diag(torch.tensor([2.0, 2.0, -1.0, -1.0]).double()) @ basis.mT
    assert gradcheck(nearest_psd, (((matrix + matrix.mT) / 2).requires_grad_(),))
    leaf = matrix.clone().requires_grad_()
    (slope,) = torch.autograd.grad(nearest_psd(leaf)[0, 0], leaf, create_graph=True)
    with pytest.raises(HigherOrderError, match="differentiated once"):
        torch.autograd.grad(slope.sum(), leaf)


def test_matrices_that_are_not_finite():
    with pytest.raises(InputError, match="finite"):
        nearest_psd(torch.full((2, 2), torch.nan))


def test_kernels_are_asked_to_be_positive():
    assert fidelity.PSD == ("clip",)
    noisy = trained(shots=20, seed=4)
    clipped = trained(shots=20, seed=4, psd="clip")
    x = points(12, 2)
    gram = noisy(x).detach()
    assert torch.linalg.eigvalsh(gram).min() < -0.01
    torch.testing.assert_close(clipped(x), nearest_psd(gram), rtol=0, atol=1e-12)
