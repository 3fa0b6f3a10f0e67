# SPDX-License-Identifier: Apache-2.0
"""Landscapes and Hessians of losses, of circuits and of networks with circuits in them."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from matplotlib import pyplot
from qiskit.circuit import ParameterVector, QuantumCircuit
from torch import nn

from qiskit_torch_bridge import TorchQuantumModule
from qiskit_torch_bridge.diagnostics import hessian_spectrum, loss_landscape
from qiskit_torch_bridge.exceptions import HigherOrderError, InputError, InputTypeError
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator


def cosines(n: int, weights=None, **options) -> TorchQuantumModule:
    """The product of the cosines of ``n`` angles."""
    circuit = QuantumCircuit(n)
    for q, angle in enumerate(ParameterVector("w", n)):
        circuit.rx(angle, q)
    return TorchQuantumModule(circuit, "Z" * n, initial_weights=weights, seed=2, **options)


def layered(n: int, layers: int, **options) -> TorchQuantumModule:
    circuit = QuantumCircuit(n)
    angles = iter(ParameterVector("w", 2 * n * layers))
    for _ in range(layers):
        for q in range(n):
            circuit.ry(next(angles), q)
            circuit.rz(next(angles), q)
        for q in range(n):
            circuit.cx(q, (q + 1) % n)
    terms = {"I" * q + "ZZ" + "I" * (n - q - 2): 1.0 for q in range(n - 1)}
    terms["X" * n] = 0.5
    return TorchQuantumModule(circuit, terms, seed=3, **options)


def network() -> tuple[nn.Sequential, torch.Tensor, torch.Tensor]:
    x, w = ParameterVector("x", 2), ParameterVector("w", 4)
    circuit = QuantumCircuit(2)
    for q in range(2):
        circuit.ry(x[q], q)
        circuit.rx(w[q], q)
    circuit.cx(0, 1)
    for q in range(2):
        circuit.ry(w[2 + q], q)
    node = TorchQuantumModule(circuit, input_params=x, seed=1)
    torch.manual_seed(4)
    model = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), node, nn.Linear(2, 1)).double()
    return model, torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 1, dtype=torch.float64)


def replaced(model: nn.Module, flat: np.ndarray) -> nn.Module:
    """A copy of a module with other parameters, one after the other."""
    other = copy.deepcopy(model)
    torch.nn.utils.vector_to_parameters(torch.from_numpy(flat), other.parameters())
    return other


# -- landscapes ----------------------------------------------------------------------------------


def test_a_product_of_cosines_is_its_landscape():
    directions = np.array([[1.0, 0, 0], [0, 0.5, 0.5]])
    center = np.array([0.2, -0.4, 1.0])
    found = loss_landscape(
        cosines(3), center=center, directions=directions, span=(-1.0, 2.0), points=20
    )
    a, b = np.meshgrid(found.a, found.b, indexing="ij")
    exact = np.cos(0.2 + a) * np.cos(-0.4 + b / 2) * np.cos(1 + b / 2)
    assert found.losses == pytest.approx(exact, abs=1e-14)
    assert (found.a[0], found.a[-1]) == (-1.0, 2.0)


def test_networks_are_evaluated_as_they_would_be_one_by_one():
    model, x, y = network()
    before = {k: v.clone() for k, v in model.state_dict().items()}

    def loss(m):
        return nn.functional.mse_loss(m(x), y)

    found = loss_landscape(model, loss, points=5, seed=1)
    for i, j in [(0, 0), (4, 1), (2, 2), (1, 3)]:
        place = found.center + found.a[i] * found.directions[0] + found.b[j] * found.directions[1]
        assert found.losses[i, j] == pytest.approx(loss(replaced(model, place)).item(), rel=1e-12)
    assert found.losses[2, 2] == pytest.approx(loss(model).item(), rel=1e-12)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_drawn_directions_are_normalised_by_filters_and_to_radians():
    model, x, _ = network()
    found = loss_landscape(model, lambda m: m(x).sum(), points=2, seed=3)
    sizes = [p.numel() for p in model.parameters()]
    for row in found.directions:
        parts = np.split(row, np.cumsum(sizes)[:-1])
        for part, parameter in zip(parts, model.parameters(), strict=True):
            if parameter.dim() == 2:
                lengths = np.linalg.norm(part.reshape(parameter.shape), axis=1)
                assert lengths == pytest.approx(parameter.norm(dim=1).detach().numpy())
            else:
                assert np.mean(part**2) == pytest.approx(1)
    angles = loss_landscape(cosines(4), points=2, seed=1).directions
    assert angles[0] @ angles[1] == pytest.approx(0, abs=1e-12)


def test_principal_components_find_the_plane_of_a_trajectory():
    generator = np.random.default_rng(0)
    plane = np.linalg.qr(generator.normal(size=(6, 2)))[0].T
    coordinates = np.cumsum(generator.normal(size=(12, 2)), axis=0) * [1.0, 0.2]
    steps = torch.from_numpy(coordinates @ plane)
    found = loss_landscape(cosines(6), trajectory=list(steps), points=7)
    assert found.explained == pytest.approx(1)
    assert found.directions @ found.directions.T == pytest.approx(np.eye(2), abs=1e-12)
    assert found.path @ found.directions == pytest.approx(steps.numpy() - steps[-1].numpy())
    assert found.path[-1] == pytest.approx([0, 0])
    for k, ends in enumerate((found.a, found.b)):
        assert ends[0] < found.path[:, k].min() and ends[-1] > found.path[:, k].max()
    assert "100%" in found.plot().get_xlabel()


def test_a_training_is_a_trajectory_of_state_dicts():
    module = layered(3, 2)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    steps = []
    for _ in range(10):
        steps.append(copy.deepcopy(module.state_dict()))
        optimizer.zero_grad()
        loss = module().sum()
        loss.backward()
        optimizer.step()
    found = loss_landscape(module, trajectory=steps, points=5)
    assert 0.5 < found.explained <= 1
    assert found.center == pytest.approx(steps[-1]["weight"].double().numpy())
    with pytest.raises(InputTypeError, match="state dicts of the module"):
        loss_landscape(module, trajectory=[{"bias": steps[0]["weight"]}] * 3)


def test_on_an_estimator_it_is_the_same_in_few_jobs():
    exact, moved = cosines(2), cosines(2, estimator=BatchedStatevectorEstimator())
    first, second = (loss_landscape(m, points=9, seed=5).losses for m in (exact, moved))
    assert first == pytest.approx(second, abs=1e-12)


def test_what_is_no_landscape_is_refused():
    with pytest.raises(InputError, match="not parallel"):
        loss_landscape(cosines(2), directions=[[1.0, 0.0], [2.0, 0.0]])
    with pytest.raises(InputError, match="one real number"):
        loss_landscape(cosines(2), lambda m: torch.ones(3))
    with pytest.raises(InputError, match="vmap"):
        loss_landscape(cosines(2), lambda m: torch.tensor(m().item()))
    with pytest.raises(InputError, match="loss to be given"):
        loss_landscape(network()[0][2])
    with pytest.raises(InputError, match="three points"):
        loss_landscape(cosines(2), trajectory=[[0.0, 0.0]])
    with pytest.raises(InputError, match="span"):
        loss_landscape(cosines(2), span=(1.0, -1.0))
    with pytest.raises(InputError, match="trainable"):
        loss_landscape(cosines(2).requires_grad_(False))


# -- Hessians ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 3, 6])
def test_a_product_of_cosines_has_its_hessian(n):
    weights = np.random.default_rng(n).uniform(-1, 1, n).astype(np.float32)
    found = hessian_spectrum(cosines(n, weights))
    theta = weights.astype(float)
    f, t = np.prod(np.cos(theta)), np.tan(theta)
    hessian = f * (np.outer(t, t) - np.diag(1 + t**2))
    assert found.eigenvalues == pytest.approx(np.linalg.eigvalsh(hessian), abs=1e-12)
    assert found.trace == pytest.approx(-n * f)
    assert found.gradient_norm == pytest.approx(abs(f) * np.linalg.norm(t))
    assert found.is_complete and found.trace_error == 0


def test_the_matrix_is_that_of_torch():
    model, x, y = network()

    def loss(m):
        return nn.functional.mse_loss(m(x), y)

    found = hessian_spectrum(model, loss)
    names = [name for name, _ in model.named_parameters()]
    sizes = [p.numel() for p in model.parameters()]
    flat = torch.nn.utils.parameters_to_vector(model.parameters()).detach()

    def of_flat(v):
        parts = zip(names, v.split(sizes), model.parameters(), strict=True)
        given = {name: part.reshape(p.shape) for name, part, p in parts}
        return nn.functional.mse_loss(torch.func.functional_call(model, given, (x,)), y)

    matrix = torch.func.hessian(of_flat)(flat).numpy()
    assert found.eigenvalues == pytest.approx(np.linalg.eigvalsh(matrix), abs=1e-10)


def test_lanczos_finds_extremes_and_moments():
    module = layered(4, 5)  # 40 parameters
    full = hessian_spectrum(module, method="full")
    found = hessian_spectrum(module, method="lanczos", vectors=64, steps=40, seed=1)
    assert found.eigenvalues[:4] == pytest.approx(full.eigenvalues[:4], abs=1e-8)
    assert found.eigenvalues[-4:] == pytest.approx(full.eigenvalues[-4:], abs=1e-8)
    assert not found.is_complete
    assert found.weights.sum() == pytest.approx(1)
    assert abs(found.trace - full.trace) < 4 * found.trace_error
    # Of one vector v the quadrature has the moments v' H**k v exactly. For signs v the variance of
    # v' A v is twice the sum of the squares off the diagonal, here of A = H**2.
    square = full.count * found.weights @ found.nodes**2
    bound = 4 * math.sqrt(2 * (full.eigenvalues**4).sum() / 64)
    assert abs(square - (full.eigenvalues**2).sum()) < bound
    at = np.linspace(-6, 6, 4001)
    assert np.trapezoid(found.density(at, 0.1), at) == pytest.approx(1, abs=1e-6)


def test_quadrature_ends_where_the_space_does():
    found = hessian_spectrum(cosines(3, [0.0] * 3), method="lanczos", vectors=3, steps=9, seed=1)
    assert found.eigenvalues == pytest.approx([-1, -1, -1])
    assert found.nodes == pytest.approx([-1, -1, -1])  # each ended after one step
    assert found.trace == pytest.approx(-3)
    assert found.negative == pytest.approx(1)


def test_minima_and_saddles_are_told_apart():
    assert hessian_spectrum(cosines(2, [math.pi, 0.0])).negative == 0
    assert hessian_spectrum(cosines(2, [math.pi / 2, math.pi / 2])).negative == 0.5


def test_shifts_give_the_same_hessian():
    exact = cosines(2, [0.3, 0.7])
    moved = exact.with_backend(estimator=BatchedStatevectorEstimator())
    first, second = hessian_spectrum(exact), hessian_spectrum(moved)
    assert first.eigenvalues == pytest.approx(second.eigenvalues, abs=1e-6)
    spsa = exact.with_backend(estimator=BatchedStatevectorEstimator(), gradient="spsa")
    with pytest.raises(HigherOrderError):
        hessian_spectrum(spsa)


def test_plots_show_the_eigenvalues():
    axes = hessian_spectrum(layered(3, 2)).plot()
    assert axes.get_ylabel() == "density"
    assert hessian_spectrum(cosines(2, [0.0, 0.0])).plot() is not None
    assert pyplot.fignum_exists(axes.figure.number)  # so a notebook shows it
    with pytest.raises(InputTypeError, match="Axes"):
        hessian_spectrum(cosines(2)).plot("axes")
