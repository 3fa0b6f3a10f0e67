# SPDX-License-Identifier: Apache-2.0
"""Shot noise is right: mean, variance and independence of gradients over many seeds.

Each test makes one decision at a false-alarm rate of 1e-6 over all numbers it looks at
(Bonferroni), so a correct build fails about once in a million runs. A bias of 5 % is caught.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from circuits import X, hybrid, rotation
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp
from qiskit_aer.primitives import EstimatorV2 as AerEstimator
from scipy import stats

from qiskit_torch_bridge import TorchQuantumModule
from qiskit_torch_bridge.gradients import (
    AQGDEstimatorGradient,
    FiniteDifferenceEstimatorGradient,
    ParameterShiftEstimatorGradient,
)
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator, shots_to_precision

FAMILY = 1e-6
SEEDS = 400
SHOTS = 256
VALUES = [0.3, -0.6, 0.9, 0.4, -0.2]
OBSERVABLE = SparsePauliOp(["ZI", "XX"], [1.0, -0.5])

GRADIENTS = {
    "parameter-shift": ParameterShiftEstimatorGradient,
    "aqgd": AQGDEstimatorGradient,
    "finite-difference": lambda e, precision: FiniteDifferenceEstimatorGradient(
        e, epsilon=0.3, precision=precision
    ),
}


def z_scores(samples, mean, std):  # (N, C), (C,), (C,)
    return (samples.mean(0) - mean) / (std / np.sqrt(len(samples)))


def assert_mean(samples, mean, std):
    """All means within the z bound that a family of this size exceeds once in a million."""
    z = np.abs(z_scores(samples, mean, std))
    assert z.max() < stats.norm.isf(FAMILY / 2 / z.size), z


def assert_variance(samples, mean, std):
    """Sums of squared deviations follow a chi-square distribution with N degrees of freedom."""
    n, c = samples.shape
    ratio = ((samples - mean) ** 2).sum(0) / std**2
    tail = FAMILY / 2 / c
    assert (ratio > stats.chi2.ppf(tail, n)).all() and (ratio < stats.chi2.isf(tail, n)).all(), (
        ratio / n
    )


@pytest.fixture(scope="module", params=GRADIENTS, ids=str)
def sampled(request):
    """Gradients over seeds, with their exact mean and standard deviation at shift points."""
    make = GRADIENTS[request.param]
    precision = shots_to_precision(SHOTS)
    circuit = hybrid()
    exact = make(BatchedStatevectorEstimator(), precision=None)
    mean = exact.run([circuit], [OBSERVABLE], [VALUES]).result().gradients[0]
    gradient = make(BatchedStatevectorEstimator(seed=7), precision=precision)
    results = [gradient.run([circuit], [OBSERVABLE], [VALUES]).result() for _ in range(SEEDS)]
    samples = np.array([r.gradients[0] for r in results])
    # What the binomial law says of every displaced evaluation, carried through the rule.
    analysed = exact._analysed(circuit)
    d = exact.rule(0.0).differentiation(analysed, tuple(range(5)))
    points = d.points(np.array([VALUES]))
    pauli = np.stack(
        [
            BatchedStatevectorEstimator()
            .run([(d.target.circuit, p, d.target.bindings(points[:, 0]))])
            .result()[0]
            .data.evs
            for p in ("ZI", "XX")
        ]
    )
    variance = ((1 - pauli**2) * np.array([[1.0], [0.25]])).sum(0) / SHOTS
    std = d.standard_errors(np.array([VALUES]), np.sqrt(variance)[:, None])[0]
    return samples, mean, std, np.array([r.stds[0] for r in results])


def test_gradient_is_unbiased(sampled):
    samples, mean, std, _ = sampled
    assert_mean(samples, mean, std)


def test_gradient_has_the_variance_of_its_shots(sampled):
    samples, mean, std, _ = sampled
    assert_variance(samples, mean, std)


def test_reported_standard_errors_are_honest(sampled):
    """Mean reported variance against the true one: its own spread is a few per cent at most."""
    _, _, std, reported = sampled
    np.testing.assert_allclose((reported**2).mean(0), std**2, rtol=0.05)


def test_a_bias_of_five_per_cent_is_caught(sampled):
    samples, mean, std, _ = sampled
    with pytest.raises(AssertionError):
        assert_mean(samples + 0.05 * np.abs(mean).max(), mean, std)
    with pytest.raises(AssertionError):
        assert_variance(mean + 1.35 * (samples - mean), mean, std)


@pytest.mark.parametrize(
    "estimator",
    [
        BatchedStatevectorEstimator(default_precision=0.1, seed=3),
        StatevectorEstimator(default_precision=0.1, seed=3),
        AerEstimator(options={"default_precision": 0.1, "run_options": {"seed_simulator": 3}}),
    ],
    ids=lambda e: type(e).__module__.split(".")[0] + "-" + type(e).__name__,
)
def test_plus_and_minus_points_have_independent_noise(estimator):
    """Integer seeds make Qiskit's and Aer's estimators repeat the noise of every PUB.

    In two PUBs the noise of the plus and the minus point would cancel, and the gradient of
    <Z> = cos(0.5) come out exact or nearly so. In one PUB its standard deviation is
    precision / sqrt(2); with 600 rows the chi-square bounds are 25 % at this family error.
    """
    circuit, theta = rotation()
    node = TorchQuantumModule(circuit, "Z", input_params=[theta], estimator=estimator)
    x = torch.full((600, 1), 0.5, dtype=torch.float64, requires_grad=True)
    node(x).sum().backward()
    g = x.grad.numpy()
    law = 0.1
    if isinstance(
        estimator, BatchedStatevectorEstimator
    ):  # shots of cos(0.5 + pi/2), not Gaussian noise
        law *= np.sqrt(1 - np.sin(0.5) ** 2)
    std = np.array([law / np.sqrt(2)])
    assert_mean(g, -np.sin(np.array([0.5])), std)
    assert_variance(g, -np.sin(np.array([0.5])), std)


def test_module_gradient_has_the_noise_of_its_shots():
    """Forward and backward of the module, 300 rows of the same input at 256 shots."""
    module = TorchQuantumModule(
        hybrid(), OBSERVABLE, input_params=X, initial_weights=[0.3, -0.6, 0.9], shots=SHOTS, seed=2
    )
    exact = TorchQuantumModule(
        hybrid(), OBSERVABLE, input_params=X, initial_weights=[0.3, -0.6, 0.9]
    )
    x = torch.tensor([[0.4, -0.2]], dtype=torch.float64)
    y = module(x.expand(300, 2)).detach().numpy()
    mean = exact(x).detach().numpy()[0]
    order = [*exact.program.weight_params, *exact.program.input_params]
    assert [p.name for p in order] == ["a[0]", "a[1]", "a[2]", "x[0]", "x[1]"]
    terms = [
        TorchQuantumModule(hybrid(), p, input_params=X, initial_weights=[0.3, -0.6, 0.9])(x).item()
        for p in ("ZI", "XX")
    ]
    std = np.array([np.sqrt((1 - terms[0] ** 2 + 0.25 * (1 - terms[1] ** 2)) / SHOTS)])
    assert_mean(y, mean, std)
    assert_variance(y, mean, std)


def test_local_estimator_draws_binomial_shots():
    """<Z> of RY(1) at 50 shots: only multiples of 1/25, in the proportions of the binomial law."""
    circuit, _ = rotation()
    points = np.full((4000, 1), 1.0)
    evs = BatchedStatevectorEstimator(seed=4).run(
        [(circuit, "Z", points)], precision=shots_to_precision(50)
    )
    counts = (evs.result()[0].data.evs + 1) * 25
    np.testing.assert_allclose(counts, counts.round(), atol=1e-9)
    law = stats.binom(50, (1 + np.cos(1.0)) / 2)
    edges = np.arange(33, 45)
    observed = np.histogram(counts.round(), [-0.5, *(edges - 0.5), 50.5])[0]
    expected = np.diff([0, *law.cdf(edges - 1), 1]) * len(points)
    assert stats.chisquare(observed, expected).pvalue > FAMILY
