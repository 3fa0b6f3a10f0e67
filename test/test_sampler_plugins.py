# SPDX-License-Identifier: Apache-2.0
"""Gradient objects of samplers as the gradient of modules of probabilities: theirs, and ours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from circuits import A, X, hybrid
from qiskit.circuit.library import efficient_su2
from qiskit.primitives import StatevectorEstimator, StatevectorSampler
from qiskit_algorithms import AlgorithmJob
from qiskit_algorithms.gradients import (
    BaseSamplerGradient,
    FiniteDiffSamplerGradient,
    LinCombSamplerGradient,
    ParamShiftEstimatorGradient,
    ParamShiftSamplerGradient,
    SamplerGradientResult,
    SPSASamplerGradient,
)
from samplers import CountingSampler, ExactSampler

from qiskit_torch_bridge import Probabilities, TorchQuantumModule
from qiskit_torch_bridge.exceptions import (
    ExecutionError,
    GradientError,
    HigherOrderError,
    ResultError,
)
from qiskit_torch_bridge.gradients import (
    AdjointSamplerGradient,
    AQGDSamplerGradient,
    FiniteDifferenceSamplerGradient,
    ParameterShiftSamplerGradient,
)
from qiskit_torch_bridge.gradients import (
    SPSASamplerGradient as OurSPSASamplerGradient,
)

SHOTS = 4_000
CIRCUIT = efficient_su2(3, reps=1)
POINT = np.random.default_rng(5).uniform(-3, 3, CIRCUIT.num_parameters)
MEASUREMENTS = {
    "marginal, turned round": Probabilities([2, 0]),
    "parity": Probabilities(interpret="parity"),
    "table": Probabilities([1, 2], interpret=[2, 0, 1, 1]),
}
THEIRS = {
    "ParamShift": lambda s: ParamShiftSamplerGradient(s),
    "LinComb": lambda s: LinCombSamplerGradient(s),
    "FiniteDiff": lambda s: FiniteDiffSamplerGradient(s, 0.3),
}
OURS = {
    "parameter-shift": ParameterShiftSamplerGradient,
    "aqgd": AQGDSamplerGradient,
    "finite-difference": lambda s: FiniteDifferenceSamplerGradient(s, epsilon=1e-4),
    "adjoint": AdjointSamplerGradient,
}


def module(measurement, **options):
    options = {"initial_weights": POINT, **options}
    return TorchQuantumModule(CIRCUIT, measurement, **options).double()


def product(made, cotangent):
    (found,) = torch.autograd.grad((made() * cotangent).sum(), made.weight)
    return found


@pytest.mark.parametrize("name", THEIRS)
@pytest.mark.parametrize("measurement", MEASUREMENTS)
def test_theirs_within_their_noise(name, measurement):
    """Whatever they measure of a circuit: LinComb measures all of it anew."""
    asked = MEASUREMENTS[measurement]
    sampler = StatevectorSampler(default_shots=SHOTS, seed=1)
    made = module(asked, estimator=sampler, gradient=THEIRS[name](sampler))
    cotangent = torch.linspace(-1, 1, made().numel(), dtype=torch.float64)
    # At most max|c| / sqrt(shots) for each evaluation; two are halved and added, or differenced
    # with a step of 0.3, whose square is multiplied with a third derivative of at most one.
    scale = 1 / (0.3 * np.sqrt(2)) if name == "FiniteDiff" else 1.0
    bias = 0.3**2 / 6 if name == "FiniteDiff" else 0.0
    error = (product(made, cotangent) - product(module(asked), cotangent)).abs().max()
    assert error < 5.5 * scale / np.sqrt(SHOTS) + bias


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("measurement", MEASUREMENTS)
def test_ours_to_the_last_digits(name, measurement):
    asked = MEASUREMENTS[measurement]
    sampler = ExactSampler()
    made = module(asked, estimator=sampler, gradient=OURS[name](sampler))
    cotangent = torch.linspace(-1, 1, made().numel(), dtype=torch.float64)
    tolerance = 1e-7 if name == "finite-difference" else 1e-12
    found, right = product(made, cotangent), product(module(asked), cotangent)
    torch.testing.assert_close(found, right, rtol=0, atol=tolerance)
    assert made.gradient.startswith(name)


def test_ours_evaluate_where_they_say_and_spsa_as_its_seed_says():
    counting = CountingSampler()
    found = [
        module(MEASUREMENTS["parity"], gradient=OurSPSASamplerGradient(counting, 0.2, 100, seed=4))
        for _ in range(2)
    ]
    signs = [torch.sign(product(made, torch.tensor([1.0, 0.0]))) for made in found]
    assert counting.runs == [[(1,)], [(2,)]] * 2 and set(counting.shots) == {100}
    assert torch.equal(*(row * row[0] for row in signs)) and len(signs[0].unique()) == 2


def test_rows_are_entries_of_one_call():
    """With inputs and weights, of which only what is wanted is differentiated."""
    calls = []

    class Noting(ParamShiftSamplerGradient):
        def run(self, circuits, parameter_values, parameters=None, *, shots=None):
            calls.append((len(circuits), {len(p) for p in parameters}, shots))
            return super().run(circuits, parameter_values, parameters, shots=shots)

    sampler = StatevectorSampler(seed=1)
    circuit = hybrid().decompose("crx")
    made = TorchQuantumModule(
        circuit,
        Probabilities(),
        input_params=X,
        weight_params=A,
        estimator=sampler,
        gradient=Noting(sampler),
        shots=400,
    )
    x = torch.zeros(5, 2, requires_grad=True)
    y = made(x)
    y[:4, 0].sum().backward()  # nothing is asked of the last row
    assert calls == [(4, {5}, 400)]
    assert not x.grad[4].any() and x.grad[:4].any()


def test_it_is_taken_once():
    sampler = StatevectorSampler()
    made = module(MEASUREMENTS["parity"], gradient=ParamShiftSamplerGradient(sampler), shots=10)
    (g,) = torch.autograd.grad(made()[0], made.weight, create_graph=True)
    with pytest.raises(HigherOrderError):
        g.sum().backward()


def test_gradients_of_something_else_are_refused():
    with pytest.raises(GradientError, match="gradients of probabilities"):
        module(None, gradient=ParamShiftSamplerGradient(StatevectorSampler()))
    with pytest.raises(GradientError, match="gradients of expectation values"):
        module(Probabilities(), gradient=ParamShiftEstimatorGradient(StatevectorEstimator()))


class Wrong(BaseSamplerGradient):
    """Returns what it is told to."""

    def __init__(self, returned):
        super().__init__(StatevectorSampler())
        self.returned = returned

    def _run(self, circuits, parameter_values, parameters, *, shots):
        if isinstance(self.returned, Exception):
            raise self.returned
        return SamplerGradientResult(self.returned, [], 1)

    def run(self, *arguments, **options):
        job = AlgorithmJob(self._run, *arguments, shots=None)
        job._submit()
        return job


COUNT = CIRCUIT.num_parameters
RETURNED = {
    "nothing": ([], "asked for 1 gradients and returned 0"),
    "too few": ([[{0: 1.0}]], f"expected {COUNT}, each a mapping"),
    "numbers": ([[0.5] * COUNT], "expected a mapping"),
    "a foreign outcome": ([[{8: 1.0}] * COUNT], "below 8"),
    "a negative outcome": ([[{-1: 1.0}] * COUNT], "below 8"),
    "not a number": ([[{0: float("nan")}] * COUNT], "finite"),
    "complex": ([[{0: 1j}] * COUNT], "real numbers"),
    "text": ([[{"a": 1.0}] * COUNT], "whole numbers"),
}


@pytest.mark.parametrize("name", RETURNED)
def test_what_cannot_be_used_is_refused(name):
    returned, words = RETURNED[name]
    made = module(Probabilities(), gradient=Wrong(returned), estimator=StatevectorSampler())
    y = made()
    with pytest.raises(ResultError, match=words):
        y[0].backward()
    assert made.weight.grad is None


def test_its_own_errors_are_chained():
    made = module(
        Probabilities(), gradient=Wrong(ValueError("no luck")), estimator=StatevectorSampler()
    )
    with pytest.raises(ExecutionError, match="Wrong failed: no luck"):
        made()[0].backward()


def test_outcomes_left_out_are_zero():
    made = module(
        Probabilities([0]), gradient=Wrong([[{}] * COUNT]), estimator=StatevectorSampler()
    )
    made()[0].backward()
    assert not made.weight.grad.any()


def test_spsa_of_theirs():
    """One direction: the slope along its signs."""
    sampler = StatevectorSampler(default_shots=SHOTS, seed=1)
    made = module(
        MEASUREMENTS["parity"],
        estimator=sampler,
        gradient=SPSASamplerGradient(sampler, 0.2, seed=1),
    )
    made()[0].backward()
    assert made.weight.grad.abs().unique().numel() <= 2  # up to rounding
