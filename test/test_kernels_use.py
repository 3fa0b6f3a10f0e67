# SPDX-License-Identifier: Apache-2.0
"""Kernels in scikit-learn, gpytorch and PyTorch's optimizers; alignment; others taken over."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from feature_maps import A, X, points, product, trainable
from qiskit.circuit.library import zz_feature_map
from qiskit.primitives import StatevectorSampler
from qiskit_machine_learning.kernels import (
    FidelityQuantumKernel,
    FidelityStatevectorKernel,
    TrainableFidelityQuantumKernel,
)
from qiskit_machine_learning.state_fidelities import ComputeUncompute
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC
from torch.autograd import gradcheck, gradgradcheck

from qiskit_torch_bridge.exceptions import (
    AlgorithmError,
    AlgorithmTypeError,
    InputError,
    InputTypeError,
    MissingPackageError,
)
from qiskit_torch_bridge.kernels import (
    FidelityKernel,
    ProjectedKernel,
    as_gpytorch,
    target_alignment,
)
from qiskit_torch_bridge.primitives import BatchedStatevectorSampler


def classes(count=40, seed=0):
    """Two classes: whether the product of both features is positive."""
    x = points(count, 2, seed=seed).numpy()
    return x, np.where(x[:, 0] * x[:, 1] > 0, 1, -1)


def trained(**options):
    return FidelityKernel(
        trainable(), input_params=X, initial_weights=[0.4, -1.1], **options
    ).double()


# -- alignment -----------------------------------------------------------------------------------


def alignment(gram, target):
    return (gram * target).sum() / np.sqrt((gram**2).sum() * (target**2).sum())


def test_alignment_with_two_classes():
    """Cristianini et al.: y K y / (N |K|)."""
    gram, y = trained()(points(9, 2)).detach(), np.array([1, -1, -1, 1, 1, -1, 1, 1, 1])
    expected = y @ gram.numpy() @ y / (9 * np.linalg.norm(gram))
    for labels in (y, y.tolist(), torch.from_numpy(y), y > 0, np.where(y > 0, "yes", "no")):
        assert target_alignment(gram, labels).item() == pytest.approx(expected, abs=1e-14)
    ideal = torch.from_numpy(np.outer(y, y) * 2.5)
    for centered in (True, False):
        assert target_alignment(ideal, y, centered=centered).item() == pytest.approx(1)
    assert target_alignment(-ideal, y).item() == pytest.approx(-1)


def test_centered_alignment_is_blind_to_a_constant():
    """Cortes et al.: <HKH, yy'> of both centered."""
    gram, y = trained()(points(8, 2)).detach().numpy(), np.array([1, 1, 1, 1, 1, -1, -1, 1])
    h = np.eye(8) - 1 / 8
    expected = alignment(h @ gram @ h, h @ np.outer(y, y) @ h)
    for shift in (0.0, 3.0):
        found = target_alignment(torch.from_numpy(gram + shift), y, centered=True)
        assert found.item() == pytest.approx(expected, abs=1e-13)
    with pytest.raises(InputError, match="alike"):
        target_alignment(torch.zeros(8, 8), y, centered=True)


def test_balanced_alignment_divides_labels_by_the_size_of_their_class():
    gram, y = trained()(points(6, 2)).detach().numpy(), np.array([1, -1, -1, -1, 1, -1])
    scaled = y / np.where(y > 0, 2, 4)
    expected = alignment(gram, np.outer(scaled, scaled))
    found = target_alignment(torch.from_numpy(gram), y, balanced=True)
    assert found.item() == pytest.approx(expected, abs=1e-14)
    h = np.eye(6) - 1 / 6
    centered = target_alignment(torch.from_numpy(gram), y, balanced=True, centered=True)
    expected = alignment(h @ gram @ h, np.outer(scaled, scaled))  # such labels have mean zero
    assert centered.item() == pytest.approx(expected, abs=1e-14)


def test_alignment_with_three_classes_is_best_where_they_are_the_corners_of_a_triangle():
    y = np.array([0, 1, 2, 2, 1, 0, 0])
    angles = 2 * np.pi * y / 3
    corners = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert target_alignment(torch.from_numpy(corners @ corners.T), y).item() == pytest.approx(1)


@pytest.mark.parametrize("centered", [True, False])
@pytest.mark.parametrize("balanced", [True, False])
def test_alignment_has_derivatives(centered, balanced):
    gram = (points(2, 4, 4) + 3).requires_grad_()

    def call(gram):
        return target_alignment(gram, [0, 1, 1, 1], centered=centered, balanced=balanced)

    assert call(gram).shape == (2,)
    assert gradcheck(call, (gram,)) and gradgradcheck(call, (gram,))


@pytest.mark.parametrize(
    ("gram", "labels", "error", "match"),
    [
        (torch.eye(3), [1, 1, 1], InputError, "at least two classes"),
        (torch.eye(3), [1, 0], InputError, r"shape \(3,\)"),
        (torch.eye(3), [0.1, 0.2, 0.3], InputError, "fewer classes than points"),
        (torch.eye(3)[:2], [1, 0], InputError, "square"),
        (np.eye(2), [1, 0], InputTypeError, "torch.Tensor"),
        (torch.eye(2, dtype=torch.int64), [1, 0], InputTypeError, "floating"),
        (torch.eye(2), [1, np.nan], InputError, "finite"),
    ],
)
def test_alignments_that_are_refused(gram, labels, error, match):
    with pytest.raises(error, match=match):
        target_alignment(gram, labels)


def test_pytorch_trains_a_kernel():
    x, y = classes()
    kernel = FidelityKernel(trainable(), input_params=X, initial_weights=[0.3, 0.2])
    optimizer = torch.optim.Adam(kernel.parameters(), lr=0.1)
    inputs, history = torch.from_numpy(x), []
    for _ in range(30):
        optimizer.zero_grad()
        loss = -target_alignment(kernel(inputs), y, centered=True)
        loss.backward()
        optimizer.step()
        history.append(-loss.item())
    assert history[-1] > history[0] + 0.1
    newton = torch.optim.LBFGS(kernel.parameters(), line_search_fn="strong_wolfe")
    newton.step(lambda: lossed(kernel, newton, inputs, y))
    assert -lossed(kernel, newton, inputs, y).item() >= history[-1] - 1e-6


def lossed(kernel, optimizer, x, y):
    optimizer.zero_grad()
    loss = -target_alignment(kernel(x), y, centered=True)
    loss.backward()
    return loss


# -- scikit-learn --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [FidelityKernel, ProjectedKernel])
def test_support_vector_machines_take_the_kernel_itself(kind):
    x, y = classes()
    test, expected = classes(30, seed=1)
    kernel = kind(zz_feature_map(2, reps=1))
    machine = SVC(kernel=kernel, C=10).fit(x, y)
    by_hand = SVC(kernel="precomputed", C=10).fit(kernel(x), y)
    decisions = machine.decision_function(test)
    np.testing.assert_allclose(decisions, by_hand.decision_function(kernel(test, x)), atol=1e-9)
    assert machine.score(test, expected) == by_hand.score(kernel(test, x), expected)
    twin = clone(machine).fit(x, y)
    np.testing.assert_allclose(twin.decision_function(test), decisions, atol=1e-9)


def test_grid_search():
    x, y = classes()
    kernels = [FidelityKernel(product(2)), FidelityKernel(zz_feature_map(2, reps=1))]
    grid = GridSearchCV(SVC(), {"kernel": kernels, "C": [0.1, 10.0]}, cv=2)
    found = grid.fit(x, y)
    assert found.best_params_["kernel"] in kernels or isinstance(
        found.best_params_["kernel"], FidelityKernel
    )
    assert found.best_score_ > 0.6


# -- gpytorch ------------------------------------------------------------------------------------


def test_covariances_of_gaussian_processes():
    gpytorch = pytest.importorskip("gpytorch")
    x = points(12, 2)
    y = torch.sin(2 * x[:, 0]) * x[:, 1].cos()
    test = points(5, 2, seed=3)
    kernel = trained()

    class Process(gpytorch.models.ExactGP):
        def __init__(self, likelihood):
            super().__init__(x, y, likelihood)
            self.mean_module = gpytorch.means.ZeroMean()
            self.covar_module = gpytorch.kernels.ScaleKernel(as_gpytorch(kernel))

        def forward(self, rows):
            return gpytorch.distributions.MultivariateNormal(
                self.mean_module(rows), self.covar_module(rows)
            )

    likelihood = gpytorch.likelihoods.GaussianLikelihood()
    process = Process(likelihood).double()
    likelihood.noise = 0.05
    process.covar_module.outputscale = 1.7
    process.eval(), likelihood.eval()
    gram = 1.7 * kernel(x).detach() + 0.05 * torch.eye(12, dtype=torch.float64)
    cross = 1.7 * kernel(test, x).detach()
    with torch.no_grad():
        found = process(test)
    expected = cross @ torch.linalg.solve(gram, y)
    torch.testing.assert_close(found.mean, expected, rtol=1e-6, atol=1e-6)
    variance = 1.7 - (cross * torch.linalg.solve(gram, cross.mT).mT).sum(-1)
    torch.testing.assert_close(found.variance, variance, rtol=1e-5, atol=1e-6)

    process.train(), likelihood.train()
    marginal = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, process)
    optimizer = torch.optim.Adam(process.parameters(), lr=0.05)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = -marginal(process(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] and kernel.weight.grad.abs().min() > 0
    assert torch.equal(as_gpytorch(kernel)(x, diag=True), torch.ones(12, dtype=torch.float64))


def test_gpytorch_that_is_not_there(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gpytorch.kernels", None)
    with pytest.raises(MissingPackageError, match="pip install gpytorch"):
        as_gpytorch(trained())
    with pytest.raises(InputTypeError, match="FidelityKernel or a ProjectedKernel"):
        as_gpytorch(GaussianProcessRegressor())


# -- qiskit-machine-learning ---------------------------------------------------------------------


def test_statevector_kernels_are_taken_over():
    theirs = FidelityStatevectorKernel(feature_map=zz_feature_map(2, reps=2))
    ours = FidelityKernel.from_quantum_kernel(theirs)
    x, y = points(5, 2).numpy(), points(4, 2, seed=1).numpy()
    np.testing.assert_allclose(ours(x), theirs.evaluate(x), atol=1e-12)
    np.testing.assert_allclose(ours(x, y), theirs.evaluate(x, y), atol=1e-12)
    noisy = FidelityStatevectorKernel(feature_map=zz_feature_map(2), shots=50)
    measured = FidelityKernel.from_quantum_kernel(noisy, seed=1)
    assert measured.execution.shots == 50 and measured.psd == "clip"


def test_quantum_kernels_are_taken_over():
    fidelity = ComputeUncompute(sampler=StatevectorSampler())
    theirs = FidelityQuantumKernel(feature_map=zz_feature_map(2), fidelity=fidelity)
    exact = FidelityKernel.from_quantum_kernel(theirs)
    assert exact.estimator is None and exact.psd is None
    sampler = BatchedStatevectorSampler(default_shots=200, seed=3)
    fidelity = ComputeUncompute(sampler=sampler)
    theirs = FidelityQuantumKernel(feature_map=zz_feature_map(2), fidelity=fidelity)
    ours = FidelityKernel.from_quantum_kernel(theirs)
    assert ours.psd == "clip"
    x = points(4, 2)
    # W. Hoeffding (1963): six frequencies of 200 shots, once in 10^9; clipping changes less
    assert np.abs(ours(x.numpy()) - exact(x.numpy())).max() < 2 * 0.25
    moved = FidelityKernel.from_quantum_kernel(theirs, shots=7, estimator=None)
    assert moved.execution.shots == 7 and moved.psd is None


def test_trainable_kernels_are_taken_over():
    theirs = TrainableFidelityQuantumKernel(
        feature_map=trainable(),
        fidelity=ComputeUncompute(sampler=StatevectorSampler()),
        training_parameters=list(A),
    )
    ours = FidelityKernel.from_quantum_kernel(theirs, seed=1)
    assert ours.program.weight_params == tuple(A) and ours.program.input_params == tuple(X)
    theirs.assign_training_parameters([0.4, -1.1])
    ours = FidelityKernel.from_quantum_kernel(theirs)
    assert ours.weight.tolist() == pytest.approx([0.4, -1.1])
    half = copy.copy(theirs)
    half._parameter_dict = {A[0]: 0.1, A[1]: None}
    with pytest.raises(AlgorithmError, match=r"a\[1\]"):
        FidelityKernel.from_quantum_kernel(half)
    with pytest.raises(AlgorithmTypeError, match="got 5"):
        FidelityKernel.from_quantum_kernel(5)
