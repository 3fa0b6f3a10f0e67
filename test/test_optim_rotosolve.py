# SPDX-License-Identifier: Apache-2.0
"""Rotosolve's steps are the true minima along each weight, by dense search."""

from __future__ import annotations

import copy
import math
import pickle
import warnings

import numpy as np
import pytest
import torch
from circuits import nonlinear, rotation
from hypothesis import given
from hypothesis import strategies as st
from optimizing import (
    GROUND,
    assert_resumes_bit_identically,
    batch,
    energy,
    two_modules,
    weights_of,
    with_inputs,
)
from qiskit.circuit import Parameter, QuantumCircuit

from qiskit_torch_bridge import (
    CVaR,
    Exact,
    Probabilities,
    Purity,
    State,
    TorchQuantumModule,
    Variance,
)
from qiskit_torch_bridge import exceptions as e
from qiskit_torch_bridge.optim import Rotosolve
from qiskit_torch_bridge.optim.rotosolve import choose_sample_points, find_lowest

# Scales of one parameter in RY gates on qubits of their own; frequencies are all sums of them.
SCALES = {
    "one": [1],
    "half": [0.5],
    "equidistant": [1, 1],
    "three": [1, 1, 1],
    "odd": [2, 3],
    "gaps wider than the base": [2, 5],
    "large": [7, 3],
    "incommensurable": [1, math.pi],
    "nearly equal": [1, 1.25],
}


def scaled(scales, start) -> TorchQuantumModule:
    theta = Parameter("theta")
    circuit = QuantumCircuit(len(scales))
    for q, scale in enumerate(scales):
        circuit.rx(0.4 + q, q)
        circuit.ry(scale * theta + 0.3 * q, q)
        circuit.rx(-0.9, q)
    terms = {"Z" * len(scales): 1.0, "X" * len(scales): -0.7}
    for q in range(len(scales)):
        terms["I" * q + "Z" + "I" * (len(scales) - q - 1)] = 0.3 + 0.2 * q
    return TorchQuantumModule(circuit, terms, initial_weights=[start]).double()


@pytest.mark.parametrize("name", SCALES)
@pytest.mark.parametrize("start", [-2.0, 0.3, 5.0])
def test_a_step_reaches_the_least_value_of_a_dense_grid(name, start):
    """The grid's own minimum is never below the true one; the step's must not be above it.

    Commensurable scales have a period of 2 pi over their divisor (here 4 or 8 pi at most), which
    the grid covers; otherwise the documented stretch around the start, pi over the least gap.
    """
    scales = SCALES[name]
    node = scaled(scales, start)
    (spectrum,) = Rotosolve(node)._spectra[node.weight]
    reach = np.pi / np.diff([0, *spectrum]).min() if name == "incommensurable" else 8 * np.pi
    grid = torch.linspace(start - reach, start + reach, 40_001, dtype=torch.float64)
    least = torch.vmap(lambda t: torch.func.functional_call(node, {"weight": t[None]}, ()))(
        grid
    ).min()
    value = Rotosolve(node).step(lambda: node().sum())
    assert value <= least + 1e-12
    assert abs(node().item() - value) < 1e-15


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=6, unique=True).map(sorted),
    st.sampled_from([1.0, 0.5, 1 / 3, math.pi, 0.01]),
    st.integers(0, 2**32 - 1),
)
def test_random_spectra_with_a_period(integers, base, seed):
    """Well-conditioned points and the least value of 30 points per wave over a whole period."""
    spectrum = tuple(np.round(np.array(integers) * base, 9).tolist())  # as programs round them
    coefficients = np.random.default_rng(seed).normal(size=(2, len(spectrum)))

    def f(x):
        phases = np.outer(np.atleast_1d(x), spectrum)
        return np.cos(phases) @ coefficients[0] + np.sin(phases) @ coefficients[1] + 0.3

    points = choose_sample_points(spectrum)
    assert len(points) == 2 * len(spectrum) + 1
    x, value = find_lowest(spectrum, points, f(points))
    period = 2 * np.pi / base
    size = np.abs(coefficients).sum()
    # The rounding of frequencies, 1e-9, over displacements of up to a period.
    assert abs(f(x)[0] - value) < 1e-8 * size
    assert value <= f(np.linspace(-period / 2, period / 2, 30 * 40)).min() + 1e-8 * size * period


def test_several_weights_are_solved_one_after_the_other():
    """After a sweep the last weight is at its minimum; each step lowers the loss."""
    node = energy()
    optimizer = Rotosolve(node)
    values = [node().item()] + [optimizer.step(lambda: node().sum()) for _ in range(20)]
    assert (np.diff(values) < 1e-14).all() and values[1] < values[0] - 0.1
    assert abs(values[-1] - GROUND) < 1e-6


def test_counts_of_evaluations():
    node, count = scaled([2, 5], 0.1), 0  # frequencies 2, 3, 5, 7

    def loss():
        nonlocal count
        count += 1
        return node().sum()

    Rotosolve(node).step(loss)
    assert count == 2 * 4 + 1 + 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_inputs_and_linear_layers_around(dtype):
    """A batch and linear layers after the last node keep the loss linear in its expectations."""
    torch.manual_seed(0)
    node = with_inputs(dtype)
    tail = torch.nn.Linear(1, 3).to(dtype)

    def loss():
        return tail(node(batch(dtype))).sum()

    first = loss().item()
    values = [Rotosolve(node).step(loss) for _ in range(3)]
    assert values[0] < first - 0.01 and node.weight.dtype == dtype
    assert values[2] <= values[0] + 1e-5


def test_a_loss_that_is_not_linear_is_told():
    node = energy((1.1, 0.7, 0.3, 0.4))
    with pytest.warns(UserWarning, match="not a linear function of expectation values"):
        Rotosolve(node).step(lambda: (node().sum() - 0.5) ** 4)
    # Frequencies that are too low for parameters of one's own.
    p = torch.nn.Parameter(torch.tensor([0.3], dtype=torch.float64))
    with pytest.warns(UserWarning, match="give frequencies="):
        Rotosolve([p]).step(lambda: torch.cos(7 * p).sum() + torch.sin(5 * p + 1).sum())


def test_no_false_alarm_from_single_precision_or_shots():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in range(5):
            single = energy(dtype=torch.float32)
            half = TorchQuantumModule(
                single.program.circuit, "ZZ", estimator=Exact(dtype="complex64"), seed=seed
            ).double()
            noisy = TorchQuantumModule(single.program.circuit, "ZZ", shots=2000, seed=seed)
            for node in (single, half, noisy):
                optimizer = Rotosolve(node)
                for _ in range(3):
                    optimizer.step(lambda node=node: node().sum() + 100)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_frequencies_of_parameters(order):
    """Shapes of any kind, entries that do not matter, and another layout in memory."""
    p = torch.nn.Parameter(torch.rand(2, 3, dtype=torch.float64).permute(*order))
    q = torch.nn.Parameter(torch.tensor(0.3, dtype=torch.float64))
    spectra = [(1.0,), (2.0,), (), (1.0, 2.0), (3.0,), (0.5,)]

    def loss():
        a, b, _, c, d, f = p.reshape(-1)
        wave = a.cos() + (2 * b).sin() + c.cos() + (2 * c + 1).sin() + (3 * d).cos()
        return wave + (f / 2).cos() + q.sin()

    fixed = p.reshape(-1)[2].item()
    found = Rotosolve([p, q], frequencies={p: spectra, q: [(1.0,)]}).step(loss)
    grid = np.linspace(0, 2 * np.pi, 100_001)
    least = (np.cos(grid) + np.sin(2 * grid + 1)).min()
    assert found <= -5 + least + 1e-12 and p.reshape(-1)[2].item() == fixed
    # Two frequencies for all.
    r = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
    found = Rotosolve([r], frequencies=(2, 1)).step(lambda: (r.cos() + (2 * r + 1).sin()).sum())
    assert 2 * least - 1e-7 < found <= 2 * least + 1e-12


def test_weights_that_do_not_matter_stay_and_frozen_ones_too():
    node = scaled([1], 0.3)
    constant = Rotosolve([node.weight], frequencies={node.weight: [()]})
    before = node.weight.detach().clone()
    assert constant.step(lambda: node().sum()) == node().item()
    assert torch.equal(node.weight, before)
    model = two_modules()
    optimizer = Rotosolve(model)
    frozen = model[1].weight.requires_grad_(False)
    before = frozen.clone()
    optimizer.step(lambda: model(batch()).sum())
    assert torch.equal(frozen, before)
    model[3].weight.requires_grad_(False)
    with pytest.raises(e.OptimizerError, match="all are frozen"):
        optimizer.step(lambda: model(batch()).sum())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_resumes_bit_identically(dtype):
    # The loss there is a square, of which it warns; energies are linear.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The loss after the sweep")
        assert_resumes_bit_identically(lambda: energy(dtype=dtype), Rotosolve)


def test_copies_go_on_as_the_originals():
    node = energy()
    optimizer = Rotosolve(node)
    pairs = [copy.deepcopy((node, optimizer)), pickle.loads(pickle.dumps((node, optimizer)))]
    expected = optimizer.step(lambda: node().sum())
    assert [o.step(lambda n=n: n().sum()) for n, o in pairs] == [expected] * 2


@pytest.mark.parametrize("at", [1, 5, 12, 13])
@pytest.mark.parametrize("error", ["nan", "raised"])
def test_a_failing_loss_restores_the_weights(at, error):
    """Anywhere in the sweep: 4 weights with 3 values each, and the value after it."""
    node = energy()
    before, count = weights_of(node), 0

    def loss():
        nonlocal count
        count += 1
        if count == at and error == "raised":
            raise KeyError("mine")
        return node().sum() * (float("nan") if count == at else 1)

    with pytest.raises(e.ObjectiveError if error == "nan" else KeyError):
        Rotosolve(node).step(loss)
    np.testing.assert_array_equal(weights_of(node), before)
    assert count == at


def test_what_is_refused_and_how():
    node = energy()
    with pytest.raises(e.OptimizerError, match="brings the frequencies of its circuit"):
        Rotosolve(node, frequencies=(1.0,))
    for wrong in ((0.0,), (-1.0, 2.0), 1.0, "ab", (np.nan,), [[1.0]]):
        with pytest.raises(e.OptimizerError, match="frequencies to be (positive|real) .*; got"):
            Rotosolve(node.parameters(), frequencies=wrong)
    for wrong in ({}, {node.weight: [(1.0,)]}, {node.weight: 1.0}):
        with pytest.raises(e.OptimizerError, match=r"one tuple per entry, here of shape \(4,\)"):
            Rotosolve(node.parameters(), frequencies=wrong)
    optimizer = Rotosolve(node.parameters(), frequencies={node.weight: [(1.0,)] * 4})
    with pytest.raises(e.OptimizerError, match="one tuple per entry"):
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(2))]})
    assert len(optimizer.param_groups) == 1
    with pytest.raises(e.OptimizerError, match=r"needs a closure.*step\(closure\)"):
        optimizer.step()
    with pytest.raises(e.OptimizerError, match=r"without calling backward\(\)"):
        optimizer.step(lambda: node().sum().backward())


def test_weights_of_unknown_frequency_are_named():
    with pytest.raises(e.GradientError, match=r"'a\[0\]' are unknown.*such as ScipyMinimize"):
        Rotosolve(TorchQuantumModule(nonlinear()))


@pytest.mark.parametrize("measurement", [Variance("Z"), CVaR("Z", 0.5), Purity([0]), State()])
def test_what_is_not_linear_in_expectation_values_is_refused(measurement):
    circuit, _ = rotation()
    with pytest.raises(e.OptimizerError, match=f"{type(measurement).__name__}.*not linear"):
        Rotosolve(TorchQuantumModule(circuit, measurement))


def test_probabilities_are_minimised_in_one_sweep():
    """cos(theta / 2)**2 is least at pi, wherever one begins."""
    circuit, _ = rotation()
    node = TorchQuantumModule(circuit, Probabilities(), initial_weights=[0.4])
    assert Rotosolve(node).step(lambda: node()[0]) == pytest.approx(0, abs=1e-7)
    assert abs(node.weight.item()) == pytest.approx(np.pi, abs=1e-3)
