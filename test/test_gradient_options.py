# SPDX-License-Identifier: Apache-2.0
"""Gradients by name with options: values that are checked when made, and kept wherever names are.

For a single RY the difference quotients have closed forms: with step h the central one of cos is
-sin(x) sin(h) / h, the forward one (cos(x + h) - cos(x)) / h.
"""

from __future__ import annotations

import copy
import math
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from circuits import X, hybrid, rotation
from estimators import CountingEstimator
from qiskit.quantum_info import SparsePauliOp
from qiskit_aer import AerSimulator

from qiskit_torch_bridge import (
    CircuitProgram,
    Exact,
    Execution,
    TorchQuantumModule,
    expectation,
    functional,
    load_checkpoint,
    save_checkpoint,
)
from qiskit_torch_bridge.algorithms import TorchOptimizer
from qiskit_torch_bridge.engines import make_engine
from qiskit_torch_bridge.exceptions import GradientError, OptimizerError
from qiskit_torch_bridge.gradients import FiniteDifference, SimultaneousPerturbation

ANGLE, STEP = 0.7, 0.4
CENTRAL = -math.sin(ANGLE) * math.sin(STEP) / STEP
FORWARD = (math.cos(ANGLE + STEP) - math.cos(ANGLE)) / STEP
BACKWARD = (math.cos(ANGLE) - math.cos(ANGLE - STEP)) / STEP


def gradient_of(module: TorchQuantumModule) -> float:
    module.weight.grad = None
    module().sum().backward()
    return float(module.weight.grad.item())


def node(gradient: object, **options: object) -> TorchQuantumModule:
    options.setdefault("estimator", CountingEstimator())
    circuit, _ = rotation()
    return TorchQuantumModule(
        circuit, "Z", gradient=gradient, initial_weights=[ANGLE], **options
    ).double()


@pytest.mark.parametrize(
    ("method", "quotient"), [("central", CENTRAL), ("forward", FORWARD), ("backward", BACKWARD)]
)
def test_step_and_method_are_those_of_the_value(method, quotient):
    module = node(FiniteDifference(epsilon=STEP, method=method))
    # The weight was rounded to single precision when it was made: sqrt(2) * 2**-24 at most.
    assert gradient_of(module) == pytest.approx(quotient, abs=1e-7)
    assert module.gradient == f"finite-difference({method}, epsilon=0.4)"


def test_a_value_without_options_is_the_name():
    named, by_value = node("finite-difference"), node(FiniteDifference())
    assert named.gradient == by_value.gradient and gradient_of(named) == gradient_of(by_value)
    named, by_value = node("spsa", seed=3), node(SimultaneousPerturbation(), seed=3)
    assert named.gradient == by_value.gradient and gradient_of(named) == gradient_of(by_value)


def test_directions_are_averaged_and_reproducible():
    def gradients(choice: SimultaneousPerturbation) -> list[torch.Tensor]:
        module = TorchQuantumModule(
            hybrid(), "ZZ", input_params=X, gradient=choice, estimator=CountingEstimator(),
            initial_weights=[0.1, 0.2, 0.3],
        )  # fmt: skip
        found = []
        for _ in range(3):
            module.weight.grad = None
            module(torch.full((1, 2), 0.4)).sum().backward()
            found.append(module.weight.grad)
        return found

    choice = SimultaneousPerturbation(epsilon=0.1, resamplings=4, seed=5)
    first, second = gradients(choice), gradients(choice)
    assert all(map(torch.equal, first, second))
    other = gradients(SimultaneousPerturbation(epsilon=0.1, resamplings=4, seed=6))
    assert not all(map(torch.equal, first, other))
    estimator = CountingEstimator()
    module = node(SimultaneousPerturbation(resamplings=4), estimator=estimator)
    gradient_of(module)
    assert [shape for (shape,) in estimator.runs] == [(1, 1), (1, 8)]


def test_values_are_equal_hashable_readable_and_picklable():
    value = FiniteDifference(epsilon=np.float64(0.25), method="forward")
    assert value == FiniteDifference(0.25, "forward") != FiniteDifference(0.25)
    assert hash(value) == hash(FiniteDifference(0.25, "forward"))
    assert repr(value) == "FiniteDifference(epsilon=0.25, method='forward')"
    assert eval(repr(value)) == value
    spsa = SimultaneousPerturbation(0.1, 2, 3)
    assert repr(spsa) == "SimultaneousPerturbation(epsilon=0.1, resamplings=2, seed=3)"
    for each in (value, spsa):
        assert pickle.loads(pickle.dumps(each)) == copy.deepcopy(each) == each
        with pytest.raises(AttributeError):
            each.epsilon = 1.0


def test_an_unknown_gradient_is_told_of_the_values():
    with pytest.raises(GradientError, match="FiniteDifference or SimultaneousPerturbation"):
        node("finite-differences")


def test_it_moves_with_the_module():
    choice = FiniteDifference(STEP, "forward")
    module = node(choice)
    moved = module.with_backend(estimator=CountingEstimator())
    assert moved.gradient == "finite-difference(forward, epsilon=0.4)"
    assert gradient_of(moved) == pytest.approx(FORWARD, abs=1e-7)
    on_aer = module.with_backend(AerSimulator(), shots=10)
    assert on_aer.gradient == "finite-difference(forward, epsilon=0.4)"
    assert on_aer.with_backend(estimator=Exact(), gradient="adjoint").gradient == "adjoint"
    exact = node(choice, estimator=None)
    assert copy.deepcopy(exact).gradient == pickle.loads(pickle.dumps(exact)).gradient


def test_it_is_another_one_for_evaluation():
    module = node("parameter-shift", evaluation=Execution(gradient=FiniteDifference(STEP)))
    assert gradient_of(module) == pytest.approx(-math.sin(ANGLE), abs=1e-7)
    assert gradient_of(module.eval()) == pytest.approx(CENTRAL, abs=1e-7)


def test_checkpoints_keep_its_directions(tmp_path):
    def made() -> TorchQuantumModule:
        choice = SimultaneousPerturbation(epsilon=0.1, seed=5)
        return TorchQuantumModule(
            hybrid(), "ZZ", gradient=choice, estimator=CountingEstimator(),
            initial_weights=[0.1, 0.2, 0.3, 0.4, 0.5],
        )  # fmt: skip

    def step(module: TorchQuantumModule) -> torch.Tensor:
        module.weight.grad = None
        module().sum().backward()
        return module.weight.grad

    module, later = made(), made()
    step(module)
    save_checkpoint(tmp_path / "run", model=module)
    expected = [step(module) for _ in range(3)]
    load_checkpoint(tmp_path / "run", model=later)
    assert all(map(torch.equal, expected, [step(later) for _ in range(3)]))


def test_functions_take_it_and_prepare_once_for_equal_values(monkeypatch):
    made = []
    monkeypatch.setattr(functional, "make_engine", lambda *a: made.append(a) or make_engine(*a))
    circuit, _ = rotation()
    program, estimator = CircuitProgram(circuit, "Z"), CountingEstimator()
    angle = torch.tensor([ANGLE], dtype=torch.float64, requires_grad=True)
    for step, count in ((STEP, 1), (STEP, 1), (STEP / 2, 2)):
        angle.grad = None
        choice = FiniteDifference(step)
        value = expectation(program, weights=angle, estimator=estimator, gradient=choice)
        value.sum().backward()
        quotient = -math.sin(ANGLE) * math.sin(step) / step
        assert angle.grad.item() == pytest.approx(quotient, abs=1e-12) and len(made) == count


def test_from_qnn_takes_it():
    circuit, theta = rotation()
    qnn = SimpleNamespace(
        circuit=circuit, observables=[SparsePauliOp("Z")], input_params=[], weight_params=[theta],
        estimator=CountingEstimator(), gradient=None,
    )  # fmt: skip
    module = TorchQuantumModule.from_qnn(qnn, gradient=FiniteDifference(STEP, "backward"))
    assert module.gradient == "finite-difference(backward, epsilon=0.4)"


@pytest.mark.parametrize("method", ["central", "forward", "backward"])
def test_torch_optimizers_in_algorithms_take_it(method):
    """One step of gradient descent with rate 1 from x goes to x minus the quotient."""
    quotient = {"central": CENTRAL, "forward": FORWARD, "backward": BACKWARD}[method]
    asked: list[float] = []

    def cosine(x: np.ndarray) -> float:
        asked.append(float(x[0]))
        return math.cos(x[0])

    choice = FiniteDifference(STEP, method)
    TorchOptimizer(torch.optim.SGD, maxiter=1, gradient=choice, lr=1.0).minimize(cosine, [ANGLE])
    assert asked[-1] == pytest.approx(ANGLE - quotient, abs=1e-12)
    with pytest.raises(OptimizerError, match="epsilon to be left out .* epsilon=0.1"):
        TorchOptimizer(gradient=choice, epsilon=0.1)


def test_torch_optimizers_average_directions():
    """Each direction gives the derivative along it of a linear function exactly."""
    slope, asked = np.array([1.0, 2.0, 4.0]), []

    def linear(x: np.ndarray) -> float:
        asked.append(x.copy())
        return float(slope @ x)

    choice = SimultaneousPerturbation(0.5, resamplings=6, seed=3)
    TorchOptimizer(torch.optim.SGD, maxiter=1, gradient=choice, lr=1.0).minimize(
        linear, np.zeros(3)
    )
    points = np.array(asked[1:-1])  # between the start and the end
    directions = points[:6] / 0.5
    assert np.array_equal(np.abs(directions), np.ones((6, 3)))
    assert np.array_equal(points[6:], -points[:6])
    assert asked[-1] == pytest.approx(-(directions.T @ (directions @ slope)) / 6, abs=1e-12)
