# SPDX-License-Identifier: Apache-2.0
"""SPSA and QNSPSA: their estimates are right on average, and runs are kept to the last bit."""

from __future__ import annotations

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch
from circuits import rotation
from optimizing import (
    GROUND,
    assert_resumes_bit_identically,
    batch,
    energy,
    loss_of,
    trained,
    two_modules,
    with_inputs,
)
from qiskit.primitives import StatevectorSampler
from qiskit_algorithms.state_fidelities import ComputeUncompute

from qiskit_torch_bridge import TorchQuantumModule
from qiskit_torch_bridge import exceptions as e
from qiskit_torch_bridge.optim import QNSPSA, SPSA, FubiniStudyMetric, StateFidelity

OPTIMIZERS = [SPSA, QNSPSA]


class AllSigns:
    """In place of the random generator: goes through all sign vectors of some tensors in turn."""

    state = torch.zeros(1)

    def __init__(self, count):
        self._vectors = itertools.cycle(itertools.product((-1.0, 1.0), repeat=count))
        self._rest: list[float] = []

    def draw(self, like):
        if not self._rest:
            self._rest = list(next(self._vectors))
        taken, self._rest = self._rest[: like.numel()], self._rest[like.numel() :]
        return torch.tensor(taken).reshape(like.shape).to(like)


def test_the_estimate_is_unbiased():
    """Over all 2^P sign vectors of a quadratic loss the mean is the gradient, to rounding.

    Cross terms g_j sign_i sign_j have mean zero, and even orders cancel between the two sides.
    """
    generator = np.random.default_rng(1)
    hessian = torch.from_numpy(generator.normal(size=(5, 5)))
    p, q = (torch.nn.Parameter(torch.rand(n, dtype=torch.float64)) for n in (3, 2))

    def loss():
        w = torch.cat([p, q])
        return w @ hessian @ w + 3 * w.sum()

    expected = torch.autograd.grad(loss(), (p, q))
    groups = [{"params": [p]}, {"params": [q], "lr": 2.0, "perturbation": 0.7}]
    optimizer = SPSA(groups, lr=1.0, alpha=0.0, resamplings=32)
    optimizer._generator = AllSigns(5)
    before = p.detach().clone(), q.detach().clone()
    optimizer.step(loss)
    torch.testing.assert_close(before[0] - p, expected[0], rtol=0, atol=1e-12)
    torch.testing.assert_close((before[1] - q) / 2, expected[1], rtol=0, atol=1e-12)


def test_on_a_circuit_it_is_the_central_difference():
    """One RY: (cos(t + c) - cos(t - c)) / 2c = -sin(t) sin(c) / c, whatever the sign."""
    node = TorchQuantumModule(rotation()[0], "Z", initial_weights=[0.7]).double()
    start = node.weight.item()
    SPSA(node, lr=0.5, perturbation=0.2, stability=3.0).step(lambda: node().sum())
    taken = -0.5 / 4**0.602 * -np.sin(start) * np.sin(0.2) / 0.2
    assert abs(node.weight.item() - start - taken) < 1e-14


def test_gains_follow_the_documented_powers():
    """A linear loss makes every estimate exact along its direction: steps show the gains."""
    p = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    asked = []

    def loss():
        asked.append(p.item())
        return p.sum()

    optimizer = SPSA([p], lr=0.3, perturbation=0.2, alpha=0.7, gamma=0.3, stability=2.0)
    for k in range(1, 6):
        before = p.item()
        asked.clear()
        value = optimizer.step(loss)
        assert abs(before - p.item() - 0.3 / (2 + k) ** 0.7) < 1e-14
        assert abs(abs(asked[0] - asked[1]) / 2 - 0.2 / k**0.3) < 1e-14
        assert abs(value - before) < 1e-14  # the mean of both sides


def test_trust_region_and_blocking():
    p = torch.nn.Parameter(torch.tensor([3.0, 4.0], dtype=torch.float64))
    SPSA([p], lr=10.0, trust_region=True).step(lambda: p.square().sum())
    assert abs((p - torch.tensor([3.0, 4.0])).norm().item() - 1) < 1e-12
    count = 0

    def loss():
        nonlocal count
        count += 1
        return p.square().sum()

    optimizer = SPSA([p], lr=1e3, blocking=True, seed=0)
    start, state = p.detach().clone(), optimizer._generator.state
    optimizer.step(loss)  # overshoots, and is undone
    assert torch.equal(p, start) and count == 4  # and one before the first step
    optimizer.step(loss)
    assert torch.equal(p, start) and count == 7
    generous = SPSA([p], lr=1e3, blocking=True, allowed_increase=1e12, seed=0)
    assert torch.equal(generous._generator.state, state)
    generous.step(loss)
    assert not torch.equal(p, start)


def test_calibration_makes_first_steps_as_long_as_asked():
    """A linear loss in one weight has the same slope along each direction: exactly target."""
    p = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = SPSA([p], stability=4.0, seed=1)
    rate = optimizer.calibrate(lambda: 7 * p.sum(), target=0.25, steps=3)
    assert p.item() == 0 and rate == optimizer.param_groups[0]["lr"]
    optimizer.step(lambda: 7 * p.sum())
    assert abs(p.item() + 0.25) < 1e-12
    with pytest.raises(e.OptimizerError, match="does not change along random directions"):
        optimizer.calibrate(lambda: 0 * p.sum())
    with pytest.raises(e.OptimizerError, match="target to be a positive finite number"):
        optimizer.calibrate(lambda: p.sum(), target=0)
    with pytest.raises(ZeroDivisionError):
        optimizer.calibrate(lambda: 1 / 0)
    assert abs(p.item() + 0.25) < 1e-12


@pytest.mark.parametrize("inputs", [False, True])
def test_the_sampled_metric_is_on_average_the_metric(inputs):
    """Over all pairs of sign vectors; the error shrinks as c^2, so a tenth of c gives a hundredth.

    Third differences cancel in the mean over signs, fourth ones remain.
    """
    node = with_inputs() if inputs else energy()
    metric = FubiniStudyMetric(node.program)
    w = node.weight.detach().numpy()
    expected = metric(w, batch()) if inputs else metric(w)
    errors = []
    for c in (1e-1, 1e-2):
        optimizer = QNSPSA(node, perturbation=c)
        optimizer._generator = AllSigns(2 * len(w))
        optimizer._recorder.active = True
        loss_of(node)
        origin = node.weight.detach()
        pairs = range(4 ** len(w))
        found = np.mean([optimizer._sample_metric(node.weight, origin, c) for _ in pairs], axis=0)
        errors.append(np.abs(found - expected).max())
    assert 1e-4 < errors[0] < 0.1
    assert errors[1] / errors[0] == pytest.approx(1e-2, rel=0.05)


def value_at(node, weights):
    values = torch.from_numpy(weights)
    return torch.func.functional_call(node, {"weight": values}, ()).item()


def test_a_step_of_qnspsa_by_numpy():
    """The metrics of all steps and the identity are averaged; the root of its square is taken."""
    node = energy()
    optimizer = QNSPSA(node, lr=0.1, damping=0.02, metric_resamplings=2, seed=5)
    replay = QNSPSA(node, lr=0.1, damping=0.02, seed=5)
    fidelity, average, c = StateFidelity(node.program), np.eye(4), 0.1
    for k in range(1, 4):
        w, width = node.weight.detach().numpy().copy(), c / k**0.101

        signs = [replay._generator.draw(node.weight).numpy() for _ in range(5)]
        plus, minus = (value_at(node, w + side * width * signs[0]) for side in (1, -1))
        gradient = (plus - minus) / (2 * width) * signs[0]
        samples = []
        for a, b in (signs[1:3], signs[3:5]):
            ends = [a + b, a, b - a, -a]
            f = fidelity(w, [w + width * d for d in ends])
            outer = np.outer(a, b)
            samples.append(-(f[0] - f[1] - f[2] + f[3]) / (4 * width**2) * (outer + outer.T) / 2)
        average = (k * average + np.mean(samples, axis=0)) / (k + 1)
        values, vectors = np.linalg.eigh(average @ average)
        root = vectors @ np.diag(np.sqrt(np.abs(values))) @ vectors.T
        direction = np.linalg.solve(root + 0.02 * np.eye(4), gradient)
        optimizer.step(lambda: node().sum())
        expected = w - 0.1 / k**0.602 * direction
        # sqrt halves the digits of small eigenvalues of the square: 1e-8, over the damping.
        np.testing.assert_allclose(node.weight.detach(), expected, rtol=0, atol=1e-6)


def test_fidelities_of_a_sampler():
    node = energy()
    fidelity = ComputeUncompute(StatevectorSampler(default_shots=2000, seed=1))
    optimizer = QNSPSA(node, fidelity=fidelity, seed=2)
    trained(node, optimizer, 2)
    (metric,) = optimizer._metrics.values()
    assert np.isfinite(metric).all() and not np.array_equal(metric, np.eye(4))


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_the_ground_state_is_found(kind):
    """Noise of the directions shrinks with the step, so a percent is what 300 steps must reach."""
    node = energy()
    optimizer = kind(node, lr=0.1, alpha=0.0, perturbation=0.01, seed=3)
    for _ in range(300):
        optimizer.step(lambda: node().sum())
    assert node().item() - GROUND < 0.01


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("model", [energy, with_inputs, two_modules])
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_resumes_bit_identically(kind, model, dtype):
    options = {"seed": 4, "blocking": True, "allowed_increase": 0.01}
    assert_resumes_bit_identically(lambda: model(dtype=dtype), lambda m: kind(m, **options))
    # An unseeded optimizer differs from another, but takes over the other's random state.
    assert_resumes_bit_identically(lambda: model(dtype=dtype), kind)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_copies_go_on_as_the_originals(kind):
    model = two_modules()
    optimizer = kind(model, seed=1)
    trained(model, optimizer, 2)
    copies = [copy.deepcopy((model, optimizer)), pickle.loads(pickle.dumps((model, optimizer)))]
    expected = trained(model, optimizer, 3)
    assert [trained(*pair, 3) for pair in copies] == [expected] * 2


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_schedulers(kind):
    first, second = energy(), energy()
    plain, scheduled = (kind(n, lr=0.4, alpha=0.0, seed=6) for n in (first, second))
    step = torch.optim.lr_scheduler.StepLR(scheduled, 1, 0.5)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(scheduled, patience=0, factor=0.1)
    for rate in (0.4, 0.2, 0.1):
        with torch.no_grad():
            second.weight.copy_(first.weight)
            start = first.weight.clone()
        trained(first, plain, 1)
        trained(second, scheduled, 1)
        moved = (second.weight - start) / (first.weight - start)
        torch.testing.assert_close(moved, torch.full_like(moved, rate / 0.4), rtol=1e-9, atol=0)
        step.step()
    plateau.step(1.0)
    plateau.step(2.0)
    assert scheduled.param_groups[0]["lr"] == pytest.approx(0.005)
