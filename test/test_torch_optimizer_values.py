# SPDX-License-Identifier: Apache-2.0
"""TorchOptimizer without a gradient: made from values, or not needed; and within bounds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from circuits import rotation
from objectives import Counting, Scripted
from qiskit.circuit.library import efficient_su2
from qiskit.quantum_info import SparsePauliOp
from qiskit_algorithms import VQE
from scipy.optimize import minimize

from qiskit_torch_bridge.algorithms import TorchOptimizer
from qiskit_torch_bridge.algorithms.minimization import MinimizedFunction, read_numerical_gradient
from qiskit_torch_bridge.optim import (
    QNSPSA,
    SPSA,
    FubiniStudyMetric,
    QuantumNaturalGradient,
    Rotosolve,
    ScipyMinimize,
    StateFidelity,
)
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator

X0 = [-0.4, 0.7, 0.2]
RNG = np.random.default_rng(5)
MATRIX = RNG.normal(size=(3, 3))
MATRIX = MATRIX @ MATRIX.T + np.eye(3)
SLOPE = RNG.normal(size=3)


def quadratic(x):
    return x @ MATRIX @ x / 2 + SLOPE @ x


def gradient(x):
    return MATRIX @ x + SLOPE


def objective_of(fun, numerical, epsilon, rng=None, grouped=None):
    how = read_numerical_gradient(numerical, epsilon)
    return MinimizedFunction(fun, None, numerical=how, grouped=grouped, rng=rng or RNG)


@pytest.mark.parametrize("epsilon", [2.0, 0.5, 1e-2, None])
def test_central_differences_are_exact_on_quadratics(epsilon):
    """But for rounding, 2**-53 of values of order 10, over the step; by default that is 1e-4."""
    x = np.array(X0)
    value, found = objective_of(quadratic, "finite-difference", epsilon).differentiate(x)
    assert value == quadratic(x)
    np.testing.assert_allclose(found, gradient(x), rtol=0, atol=1e-14 / (epsilon or 1e-4))


def test_central_differences_err_by_the_square_of_the_step():
    """sin(x) has the central difference cos(x) sin(h) / h."""
    x = np.array([0.3])
    for step in (0.4, 0.2, 0.1):
        _, found = objective_of(lambda y: np.sin(y[0]), "finite-difference", step).differentiate(x)
        assert found[0] == pytest.approx(np.cos(0.3) * np.sin(step) / step, abs=1e-14)


class Signs:
    """Draws all vectors of signs, one after the other."""

    def __init__(self, size):
        self.vectors = itertools.cycle(itertools.product([-1.0, 1.0], repeat=size))

    def choice(self, _, size):
        return np.array(next(self.vectors))


def test_the_mean_of_spsa_over_all_signs_is_the_gradient():
    """On a quadratic each estimate is (g . d) d, and the mean of d d^T is the identity."""
    x = np.array(X0)
    objective = objective_of(quadratic, "spsa", 0.3, Signs(3))
    found = [objective.differentiate(x)[1] for _ in range(8)]
    signs = list(itertools.product([-1.0, 1.0], repeat=3))
    np.testing.assert_allclose(
        found, [(gradient(x) @ d) * np.array(d) for d in signs], rtol=0, atol=1e-13
    )
    np.testing.assert_allclose(np.mean(found, 0), gradient(x), rtol=0, atol=1e-13)
    assert (objective.nfev, objective.njev) == (24, 8)


def test_spsa_repeats_with_a_seed_and_varies_without():
    def path(seed):
        counting = Counting()
        optimizer = TorchOptimizer(torch.optim.SGD, 5, gradient="spsa", seed=seed, lr=0.01)
        optimizer.minimize(counting.fun, X0)
        return np.array(counting.points)

    np.testing.assert_array_equal(path(3), path(3))
    assert not np.array_equal(path(3), path(4))
    assert not np.array_equal(path(None), path(None))


@pytest.mark.parametrize(
    ("grouped", "shapes"),
    [
        (None, [(3,)] * 7),
        (1, [(3,)] * 7),
        (3, [(3, 3), (3, 3), (3,)]),
        (4, [(4, 3), (3, 3)]),
        (7, [(7, 3)]),
        (100, [(7, 3)]),
    ],
)
def test_points_are_grouped_as_allowed(grouped, shapes):
    counting, single = Counting(), Counting()
    optimizer = TorchOptimizer(torch.optim.SGD, 2, lr=0.01, max_evals_grouped=grouped)
    result = optimizer.minimize(counting.fun, X0)
    assert counting.shapes == shapes * 2 + [(3,)]
    assert (result.nfev, result.njev, len(counting.points)) == (15, 2, 15)
    assert optimizer.history.evaluations == [7, 14]
    other = TorchOptimizer(torch.optim.SGD, 2, lr=0.01).minimize(single.fun, X0)
    np.testing.assert_array_equal(counting.points, single.points)
    assert other.fun == result.fun


def test_the_limit_of_a_group_can_be_set_later():
    counting = Counting()
    optimizer = TorchOptimizer(torch.optim.SGD, 1)
    optimizer.set_max_evals_grouped(7)
    optimizer.minimize(counting.fun, X0)
    assert counting.shapes == [(7, 3), (3,)]
    assert optimizer.settings["max_evals_grouped"] == 7


def test_vqe_evaluates_a_gradient_in_one_call():
    runs = []

    class Noting(BatchedStatevectorEstimator):
        def run(self, pubs, **options):
            runs.append([np.shape(pub[2])[:-1] for pub in pubs])
            return super().run(pubs, **options)

    ansatz = efficient_su2(2, reps=1)
    optimizer = TorchOptimizer(torch.optim.SGD, 2, lr=0.1, max_evals_grouped=50)
    vqe = VQE(Noting(), ansatz, optimizer, initial_point=[0.1] * 8)
    vqe.compute_minimum_eigenvalue(SparsePauliOp("ZZ"))
    assert runs == [[(17,)], [(17,)], [(1,)]]


def test_the_best_of_noisy_values_is_the_least_that_was_seen():
    noise, seen = np.random.default_rng(1), []

    def fun(x):
        seen.append((quadratic(x) + noise.normal(), x.copy()))
        return seen[-1][0]

    result = TorchOptimizer(torch.optim.Adam, 40, lr=0.1).minimize(fun, X0, gradient)
    least = min(seen, key=lambda pair: pair[0])
    assert result.fun == least[0] and result.fun < seen[-1][0]
    np.testing.assert_array_equal(result.x, least[1])


def test_bounds_are_kept_by_projection():
    counting = Counting(lambda p: (p**2).sum())
    optimizer = TorchOptimizer(torch.optim.SGD, 3, lr=0.25)  # halves what is free
    bounds = [(0.5, None), (None, None), (None, -0.75)]
    result = optimizer.minimize(counting.fun, [1.0, 1.0, 1.0], counting.jac, bounds)
    np.testing.assert_array_equal(
        counting.points, [[1, 1, -0.75], [0.5, 0.5, -0.75], [0.5, 0.25, -0.75], [0.5, 0.125, -0.75]]
    )
    np.testing.assert_array_equal(result.x, [0.5, 0.125, -0.75])


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (torch.optim.LBFGS, {"lr": 1.0}),
        (SPSA, {"perturbation": 0.5, "seed": 1}),
        (Rotosolve, {}),
        (ScipyMinimize, {"method": "BFGS"}),
    ],
)
@pytest.mark.filterwarnings("ignore:The loss after the sweep")  # this loss is not a circuit's
def test_a_point_beyond_the_bounds_is_never_the_result(kind, options):
    """The least point, at zero, is out of bounds, and these evaluate beyond them in a step."""
    counting = Counting(lambda p: (p**2).sum())
    optimizer = TorchOptimizer(kind, 3, **options)
    result = optimizer.minimize(counting.fun, [1.0], counting.jac, [(0.75, 2.0)])
    assert min(p[0] for p in counting.points) < 0.75
    assert 0.75 <= result.x[0] <= 1 and result.fun == result.x[0] ** 2


def test_no_gradient_is_made_for_optimizers_without():
    counting = Counting()
    optimizer = TorchOptimizer(SPSA, 6, lr=0.05, seed=2)
    result = optimizer.minimize(counting.fun, X0, counting.jac)
    assert (counting.gradients, result.njev, result.nfev) == (0, 0, 13)
    assert np.isnan(optimizer.history.gradient_norms).all()
    assert optimizer.history.learning_rates == [0.05] * 6
    # To either side, and their mean.
    sides = [counting.function(torch.from_numpy(p)).item() for p in counting.points[:12]]
    np.testing.assert_allclose(
        optimizer.history.values, np.reshape(sides, (6, 2)).mean(1), rtol=1e-15
    )
    other = Counting()
    TorchOptimizer(SPSA, 6, lr=0.05, seed=2).minimize(other.fun, X0)
    np.testing.assert_array_equal(counting.points, other.points)  # the seed goes to the optimizer


def test_rotosolve_finds_the_minimum_of_a_rotation_in_one_sweep():
    """cos(x) + 2 sin(y), whose least value is -3; it knows the value where it started."""
    optimizer = TorchOptimizer(Rotosolve, 1)
    callback = []
    optimizer.set_options(callback=lambda *seen: callback.append(seen))
    result = optimizer.minimize(lambda x: np.cos(x[0]) + 2 * np.sin(x[1]), [0.4, 0.2])
    assert result.fun == pytest.approx(-3, abs=1e-12)
    assert optimizer.history.values == [np.cos(0.4) + 2 * np.sin(0.2)]
    assert np.isnan(optimizer.history.learning_rates).all()
    assert callback[0][3] is None


def test_scipy_inside_is_scipy_outside():
    counting, direct = Counting(), Counting()
    optimizer = TorchOptimizer(ScipyMinimize, 1, method="BFGS", tolerance=1e-9)
    result = optimizer.minimize(counting.fun, X0, counting.jac)
    theirs = minimize(direct.fun, X0, jac=direct.jac, method="BFGS", tol=1e-9)
    np.testing.assert_array_equal(counting.points[: theirs.nfev], direct.points)
    assert result.fun == theirs.fun


def test_the_natural_gradient_follows_the_metric():
    """RY has the metric 1/4, hence steps four times those of SGD; the damping is zero."""
    circuit, _ = rotation()
    metric = FubiniStudyMetric(circuit)
    natural, plain = Scripted([0] * 4), Scripted([0] * 4)
    TorchOptimizer(QuantumNaturalGradient, 3, lr=0.1, metric=metric, damping=0.0).minimize(
        natural.fun, [0.3], natural.jac
    )
    TorchOptimizer(torch.optim.SGD, 3, lr=0.4).minimize(plain.fun, [0.3], plain.jac)
    np.testing.assert_allclose(natural.points, plain.points, rtol=0, atol=1e-12)


def test_qnspsa_with_fidelities():
    """<Z> after RY is the cosine; 60 steps with exact values end within 0.1 rad of pi."""
    circuit, _ = rotation()
    optimizer = TorchOptimizer(QNSPSA, 60, lr=0.3, fidelity=StateFidelity(circuit), seed=1)
    result = optimizer.minimize(lambda x: np.cos(x[0]), [0.5])
    assert result.fun < np.cos(np.pi - 0.1)


def test_an_optimizer_that_ignores_its_closure_is_refused():
    class Idle(torch.optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {})

        def step(self, closure=None):
            return None

    with pytest.raises(TypeError, match="Expected Idle.step.closure. to call the closure"):
        TorchOptimizer(Idle, 3).minimize(quadratic, X0, gradient)
