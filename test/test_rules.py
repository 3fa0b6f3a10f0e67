# SPDX-License-Identifier: Apache-2.0
"""The rules are exact on the functions they are made for, and of the order they claim."""

from __future__ import annotations

import math

import numpy as np
import pytest
from circuits import rotation
from estimators import CountingEstimator
from hypothesis import given
from hypothesis import strategies as st
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from qiskit_torch_bridge import TorchQuantumModule
from qiskit_torch_bridge.exceptions import GradientError, InputTypeError
from qiskit_torch_bridge.gradients import EstimatorGradient
from qiskit_torch_bridge.program import AnalysedCircuit, parameter_frequencies
from qiskit_torch_bridge.rules import (
    FiniteDifference,
    MultiFrequencyRule,
    ParameterShiftRule,
    SimultaneousPerturbation,
    StencilRule,
    frequency_shifts,
    recommended_epsilon,
)


def trigonometric(frequencies, rng):
    """A random trigonometric polynomial and its derivative at zero."""
    a, b = rng.normal(size=(2, len(frequencies)))
    omega = np.asarray(frequencies)

    def f(x):
        return 0.3 + np.cos(np.outer(x, omega)) @ a + np.sin(np.outer(x, omega)) @ b

    return f, float(omega @ b), np.abs(a).sum() + np.abs(b).sum() + 0.3


@given(st.integers(1, 12), st.floats(0.1, 5), st.integers(0, 2**32 - 1))
def test_equidistant_rule_is_exact(count, spacing, seed):
    frequencies = tuple(spacing * np.arange(1, count + 1))
    f, derivative, size = trigonometric(frequencies, np.random.default_rng(seed))
    x, y = frequency_shifts(frequencies)
    assert len(x) == count
    # Rounding: each of 2 R evaluations of size |f| is off by a few ulp of its argument's phase.
    tolerance = 1e-13 * size * np.abs(y).sum() * (1 + frequencies[-1] * np.abs(x).max())
    assert abs(y @ (f(x) - f(-x)) - derivative) < tolerance


@given(
    st.lists(st.floats(0.2, 6), min_size=1, max_size=6, unique_by=lambda v: round(v, 1)),
    st.integers(0, 2**32 - 1),
)
def test_general_rule_is_exact_for_any_frequencies(frequencies, seed):
    frequencies = tuple(sorted(round(v, 1) + 0.013 * i for i, v in enumerate(frequencies)))
    f, derivative, size = trigonometric(frequencies, np.random.default_rng(seed))
    x, y = frequency_shifts(frequencies)
    # The shifts are chosen for small coefficients, which is what bounds the error.
    tolerance = 1e-12 * size * (1 + np.abs(y).sum()) * (1 + frequencies[-1] * np.abs(x).max())
    assert abs(y @ (f(x) - f(-x)) - derivative) < tolerance


def test_single_frequency_is_the_classic_rule():
    x, y = frequency_shifts((1.0,))
    assert x == pytest.approx([math.pi / 2]) and y == pytest.approx([0.5])


def test_controlled_rotation_rule_is_the_four_term_rule():
    # Frequencies 1/2 and 1 (Anselmetti et al., New J. Phys. 23, 113010 (2021)).
    x, y = frequency_shifts((0.5, 1.0))
    assert x == pytest.approx([math.pi / 2, 3 * math.pi / 2])
    root = math.sqrt(2)
    assert y == pytest.approx([(root + 1) / (4 * root), -(root - 1) / (4 * root)])


def test_no_frequencies_need_no_evaluations():
    x, y = frequency_shifts(())
    assert len(x) == len(y) == 0


@pytest.mark.parametrize(("method", "order"), [("central", 2), ("forward", 1), ("backward", 1)])
def test_finite_difference_has_its_order(method, order):
    """Halving the step divides the error of sin'(0.4) by 2**order, to leading order."""

    class OneParameter:
        parameters = ("v",)

        @staticmethod
        def is_used(column):
            return True

    def error(h):
        d = FiniteDifference(h, method).rule().differentiation(OneParameter(), (0,))
        values = np.array([[0.4]])
        return abs(d.combine(values, np.sin(d.points(values)[..., 0]))[0, 0] - math.cos(0.4))

    ratio = error(2e-2) / error(1e-2)
    assert ratio == pytest.approx(2**order, rel=2e-2)


@pytest.mark.parametrize("method", ["central", "forward"])
@pytest.mark.parametrize("precision", [0.1, 0.01, 0.001])
def test_recommended_epsilon_minimises_the_worst_case_error(method, precision):
    """The documented bound has its minimum at the recommended step."""

    def bound(h):
        if method == "central":
            return (h**2 / 6) ** 2 + precision**2 / (2 * h**2)
        return (h / 2) ** 2 + 2 * precision**2 / h**2

    h = recommended_epsilon(precision, method)
    assert bound(h) <= min(bound(h * f) for f in (0.5, 0.9, 0.99, 1.01, 1.1, 2))


def test_recommended_epsilon_beats_fixed_steps_on_a_rotation():
    """Mean squared error of cos' at noise 0.1, worst over the angle, from the exact formulas."""

    def worst(h):
        return (1 - math.sin(h) / h) ** 2 + 0.1**2 / (2 * h**2)

    assert worst(recommended_epsilon(0.1)) < 0.25 * worst(0.1)


@pytest.mark.parametrize("value", [FiniteDifference, SimultaneousPerturbation])
@pytest.mark.parametrize("epsilon", [0, -0.1, math.nan, math.inf, "0.1", True, 1j])
def test_epsilon_must_be_positive(value, epsilon):
    with pytest.raises(GradientError, match="epsilon.*positive finite number; got"):
        value(epsilon)


def test_unknown_method_lists_the_known_ones():
    with pytest.raises(GradientError, match="'central', 'forward' or 'backward'; got 'sideways'"):
        FiniteDifference(0.1, "sideways")


@pytest.mark.parametrize("resamplings", [0, -1, 1.5, True])
def test_resamplings_must_be_a_positive_whole_number(resamplings):
    with pytest.raises(GradientError, match=f"from 1 up; got {resamplings}"):
        SimultaneousPerturbation(resamplings=resamplings)


def test_the_seed_must_be_a_whole_number():
    with pytest.raises(InputTypeError, match="from 0 up; got -1"):
        SimultaneousPerturbation(seed=-1)


RULES = {
    "finite-difference": FiniteDifference(0.1).rule,
    "spsa": SimultaneousPerturbation(0.1).rule,
    "parameter-shift": ParameterShiftRule,
    "aqgd": MultiFrequencyRule,
}


@pytest.mark.parametrize("name", RULES)
def test_columns_must_be_those_of_parameters(name):
    circuit = QuantumCircuit(1)
    circuit.ry(Parameter("theta"), 0)
    rule = RULES[name]()
    assert rule.name == name
    for columns in ((1,), (-1,), (0.0,), (True,), 0, None):
        with pytest.raises(GradientError, match="whole numbers from 0 to 0"):
            rule.differentiation(AnalysedCircuit(circuit), columns)
    with pytest.raises(GradientError, match="AnalysedCircuit"):
        rule.differentiation(circuit, (0,))


def test_only_directions_are_drawn_anew():
    assert {name for name, make in RULES.items() if make().is_random} == {"spsa"}


def test_each_gate_is_looked_at_once_for_all_frequencies(monkeypatch):
    """And not once for each parameter, which takes a time that grows as their square."""
    count = 50
    weights = ParameterVector("w", count)
    circuit = QuantumCircuit(1)
    for k in range(count):
        circuit.ry((1 + k % 3) * weights[k], 0)
        circuit.rz(weights[k], 0)
    analysed = AnalysedCircuit(circuit)
    seen = []
    monkeypatch.setattr(
        parameter_frequencies,
        "expressions_of",
        lambda operation: seen.append(operation) or operation.params,
    )
    found = [analysed.frequencies(analysed.parameters.index(w)) for w in weights]
    right = [(1.0, 2.0), (1.0, 2.0, 3.0), (1.0, 2.0, 3.0, 4.0)]  # 1 with 1, 2 and 3
    assert found == [right[k % 3] for k in range(count)]
    assert len(seen) <= 2 * len(circuit.data)  # by the index, and by the gate itself


class FivePoints(StencilRule):
    """f' = (8 f(h) - 8 f(-h) - f(2h) + f(-2h)) / 12h, up to f''''' h**4 / 30."""

    name = "five-points"
    h = 0.1

    def stencil(self, circuit, column):
        return self.h * np.array([1, -1, 2, -2]), np.array([8, -8, -1, 1]) / (12 * self.h)


class FivePointGradient(EstimatorGradient):
    def rule(self, precision):
        return FivePoints()


def test_a_rule_of_ones_own():
    circuit, _ = rotation()
    estimator = CountingEstimator()
    gradient = FivePointGradient(estimator)
    result = gradient.run([circuit], [SparsePauliOp("Z")], [[0.5]]).result()
    assert estimator.runs == [[(1, 4)]]
    assert result.gradients[0] == pytest.approx([-math.sin(0.5)], abs=FivePoints.h**4 / 30)
    module = TorchQuantumModule(circuit, "Z", gradient=gradient, initial_weights=[0.5])
    module().sum().backward()
    assert module.weight.grad.item() == pytest.approx(-math.sin(0.5), abs=FivePoints.h**4 / 30)
    assert module.gradient == "five-points"
