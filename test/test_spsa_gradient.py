# SPDX-License-Identifier: Apache-2.0
"""The gradient by simultaneous perturbation: right on average, two evaluations a row, one job."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from circuits import A, X, hybrid
from estimators import CountingEstimator
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit_aer import AerSimulator
from qiskit_algorithms import VQE
from qiskit_algorithms.optimizers import ADAM

from qiskit_torch_bridge import TorchQuantumModule, Tracker
from qiskit_torch_bridge.exceptions import GradientError, HigherOrderError
from qiskit_torch_bridge.gradients import ParameterShiftEstimatorGradient, SPSAEstimatorGradient
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator
from qiskit_torch_bridge.rules import SimultaneousPerturbation

VALUES = [0.3, -0.6, 0.9, 0.4, -0.2]
OBSERVABLE = SparsePauliOp(["ZI", "XX"], [1.0, -0.5])


def module(**options: Any) -> TorchQuantumModule:
    return TorchQuantumModule(
        hybrid(),
        ["ZI", "XX"],
        input_params=X,
        weight_params=A,
        initial_weights=VALUES[:3],
        **{"gradient": "spsa", "seed": 5, **options},
    )


def gradient(**options: Any) -> np.ndarray:
    estimator = BatchedStatevectorEstimator()
    made = SPSAEstimatorGradient(estimator, **{"seed": 4, **options})
    return made.run([hybrid()], [OBSERVABLE], [VALUES]).result().gradients[0]


def exact() -> np.ndarray:
    made = ParameterShiftEstimatorGradient(BatchedStatevectorEstimator())
    return made.run([hybrid()], [OBSERVABLE], [VALUES]).result().gradients[0]


def test_the_mean_over_directions_is_the_gradient() -> None:
    """A component of one estimate is g_c plus the other components with random signs.

    Its variance is the sum of their squares; the bias is h**2 / 6 times third derivatives.
    """
    g, count = exact(), 20_000
    errors = np.sqrt((g @ g - g**2) / count)
    found = gradient(epsilon=1e-3, resamplings=count)
    assert (np.abs(found - g) < 5.5 * errors + 1e-5).all()
    # Along a single direction it is the slope there, with the signs of the direction.
    single = gradient(epsilon=1e-4)
    assert np.unique(np.abs(single).round(12)).size == 1
    assert abs(single @ np.sign(single)) / 5 == pytest.approx(abs(g @ np.sign(single)), abs=1e-6)


def test_each_row_has_directions_of_its_own() -> None:
    x = torch.tensor([[0.4, -0.2]] * 40, dtype=torch.float64, requires_grad=True)
    module()(x).sum().backward()
    signs = torch.sign(x.grad)
    assert 0 < (signs[:, 0] == signs[:, 1]).sum() < 40


def test_one_job_with_one_pub_and_two_points_a_row() -> None:
    counting = CountingEstimator()
    m = module(estimator=counting, shots=100)
    with Tracker() as tracker:
        m(torch.zeros(3, 2)).sum().backward()
    assert counting.runs == [[(2, 3)], [(2, 6)]]
    assert tracker.usage == m.cost(3).usage


def test_the_sum_over_rows_is_right_on_average() -> None:
    """400 equal rows: the weights' gradient is 400 times the mean estimate, with its error."""
    x = torch.tensor([[0.4, -0.2]] * 400, dtype=torch.float64)
    m, reference = module(), module(gradient="adjoint")
    for each in (m, reference):
        each(x).sum().backward()
    g = reference.weight.grad.numpy() / 400
    errors = np.sqrt((g @ g - g**2) / 400)
    assert (np.abs(m.weight.grad.numpy() / 400 - g) < 5.5 * errors + 1e-6).all()


def test_a_frozen_part_is_not_displaced() -> None:
    counting = CountingEstimator()
    m = module(estimator=counting)
    m.weight.requires_grad_(False)
    x = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    m(x).sum().backward()
    assert m.weight.grad is None and x.grad.abs().min() > 0


def test_parameters_that_act_on_nothing_have_derivative_zero() -> None:
    a, b = Parameter("a"), Parameter("b")
    circuit = QuantumCircuit(1)
    circuit.ry(a + 0 * b, 0)
    counting = CountingEstimator()
    m = TorchQuantumModule(
        circuit, "Z", gradient="spsa", estimator=counting, initial_weights={a: 0.5, b: 0.1}
    )
    m().sum().backward()
    assert [p.name for p in m.program.weight_params] == ["a", "b"]
    of_a, of_b = m.weight.grad.tolist()
    assert of_a == pytest.approx(-np.sin(0.5), abs=1e-6) and of_b == 0


def test_seeds_repeat_directions_and_copies_go_on_with_them() -> None:
    assert (gradient() == gradient()).all() and (gradient() != gradient(seed=9)).any()
    rule = SimultaneousPerturbation(0.1, seed=3).rule()
    twins = [copy.deepcopy(rule), pickle.loads(pickle.dumps(rule))]
    drawn = rule.draw_signs(4, 5)
    assert all((twin.draw_signs(4, 5) == drawn).all() for twin in twins)
    assert set(drawn.ravel()) == {-1.0, 1.0}


def test_the_cost_draws_nothing() -> None:
    first, second = module(shots=50), module(shots=50)
    second.cost(7)
    x = torch.zeros(2, 2)
    for m in (first, second):
        m(x).sum().backward()
    assert torch.equal(first.weight.grad, second.weight.grad)


def test_standard_errors_are_those_of_the_shots() -> None:
    """(f(+) - f(-)) / 2h with an error of p in each has an error of p / (sqrt(2) h)."""
    circuit = QuantumCircuit(1)
    circuit.ry(Parameter("t"), 0)
    m = TorchQuantumModule(
        circuit, "Z", backend=AerSimulator(), precision=0.1, gradient="spsa", initial_weights=[0.3]
    )
    m().sum().backward()
    step = (3 * 0.1) ** (1 / 3)
    np.testing.assert_allclose(m.last_gradient_stds, [0.1 / (2**0.5 * step)], rtol=1e-12)


def test_it_is_taken_once() -> None:
    """Derivatives of estimates would be estimates with an error of order 1/h: refused."""
    m = module()
    (g,) = torch.autograd.grad(m(torch.zeros(1, 2)).sum(), m.weight, create_graph=True)
    with pytest.raises(HigherOrderError, match="once"):
        g.sum().backward()


def test_vqe_takes_it() -> None:
    estimator = BatchedStatevectorEstimator()
    ansatz = QuantumCircuit(1)
    ansatz.ry(Parameter("t"), 0)
    vqe = VQE(
        estimator,
        ansatz,
        ADAM(maxiter=150, lr=0.1),
        gradient=SPSAEstimatorGradient(estimator, seed=1),
        initial_point=[0.4],
    )
    # With one parameter every direction gives the slope.
    assert vqe.compute_minimum_eigenvalue(SparsePauliOp("Z")).eigenvalue < -0.999


@pytest.mark.parametrize("options", [{"epsilon": 0}, {"epsilon": True}, {"epsilon": np.nan}])
@pytest.mark.parametrize("resamplings", [1, 0, -1, 1.5, True])
def test_what_is_refused(options: dict[str, Any], resamplings: Any) -> None:
    with pytest.raises(GradientError, match="epsilon"):
        gradient(**options)
    if resamplings is True or resamplings != 1:
        with pytest.raises(GradientError, match="resamplings"):
            gradient(resamplings=resamplings)
