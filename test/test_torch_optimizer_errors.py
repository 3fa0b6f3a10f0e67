# SPDX-License-Identifier: Apache-2.0
"""TorchOptimizer's settings, copies and errors: each says what was expected, and what to do."""

from __future__ import annotations

import copy
import math
import pickle
import sys

import numpy as np
import pytest
import scipy.optimize
import torch
from objectives import Counting, Scripted
from scipy.optimize import Bounds
from torch import optim
from torch.optim import lr_scheduler

from qiskit_torch_bridge.algorithms import TorchOptimizer
from qiskit_torch_bridge.exceptions import (
    BridgeError,
    InputError,
    ObjectiveError,
    OptimizerError,
    OptimizerTypeError,
)
from qiskit_torch_bridge.optim import SPSA

X0 = [-0.4, 0.7, 0.2]


def halving(optimizer):
    return lr_scheduler.StepLR(optimizer, 1, gamma=0.5)


def stop_late(step, parameters, value, gradient):
    return step == 6


SETTINGS = {
    "optimizer": optim.SGD,
    "maxiter": 7,
    "gradient": "spsa",
    "epsilon": 0.05,
    "max_evals_grouped": 2,
    "scheduler": halving,
    "clip_norm": 2.0,
    "tol": 1e-9,
    "gradient_tol": 1e-9,
    "patience": 5,
    "min_improvement": 1e-12,
    "callback": stop_late,
    "progress": False,
    "seed": 4,
    "lr": 0.02,
    "momentum": 0.5,
}


def path(optimizer):
    counting = Counting()
    optimizer.minimize(counting.fun, X0)
    return np.array(counting.points)


def test_settings_make_the_same_optimizer():
    optimizer = TorchOptimizer(**SETTINGS)
    assert optimizer.settings == SETTINGS
    expected = path(optimizer)
    assert len(expected) > 10
    for other in (
        TorchOptimizer(**optimizer.settings),
        copy.deepcopy(optimizer),
        pickle.loads(pickle.dumps(optimizer)),
        optimizer,  # nothing is carried over from one run to the next
    ):
        np.testing.assert_array_equal(path(other), expected)
        assert other.history.values == optimizer.history.values


@pytest.mark.parametrize("name", [n for n in SETTINGS if n not in ("progress", "callback")])
def test_every_setting_counts(name):
    """Without it the run is another one, so that the comparison above means something."""
    alone = {"optimizer": optim.SGD, "maxiter": 20, "lr": 0.02, "seed": 4, "gradient": "spsa"}
    changed = {
        "optimizer": optim.Adam,
        "gradient": "finite-difference",
        "gradient_tol": 100.0,
        "tol": 100.0,
        "patience": 1,
        "min_improvement": 100.0,
        "clip_norm": 0.01,
    }
    if name == "min_improvement":
        alone["patience"] = 3
    if name == "patience":
        alone["min_improvement"] = 100.0

    def trace(settings):
        counting = Counting()
        TorchOptimizer(**settings).minimize(counting.fun, X0)
        return counting.shapes, np.array(counting.points).tobytes()

    default = trace(alone)
    value = changed.get(name, 5 if name == "seed" else SETTINGS[name])
    if name == "lr":
        value = 0.01
    assert trace({**alone, name: value}) != default


def test_history_belongs_to_the_last_run():
    optimizer = TorchOptimizer(optim.SGD, 4, lr=0.01)
    path(optimizer)
    first = optimizer.history
    optimizer.set_options(maxiter=2)
    assert optimizer.history is first
    path(optimizer)
    assert (len(first.values), len(optimizer.history.values)) == (4, 2)


def test_set_options_checks_as_the_constructor_does():
    optimizer = TorchOptimizer(optim.SGD, 4, lr=0.01)
    with pytest.raises(OptimizerError, match="maxiter"):
        optimizer.set_options(maxiter=-1)
    with pytest.raises(OptimizerError, match="beta"):
        optimizer.set_options(beta=1)
    assert optimizer.settings["maxiter"] == 4 and "beta" not in optimizer.settings
    optimizer.set_options(optimizer=optim.Adam, lr=0.5)
    assert repr(optimizer) == "TorchOptimizer(Adam, maxiter=4, lr=0.5)"


STEP_LR = lr_scheduler.StepLR
BAD_SETTINGS = [
    ({"optimizer": optim.Adam([torch.zeros(1)])}, "object of Adam.*TorchOptimizer.Adam, "),
    ({"optimizer": "Adam"}, "such as torch.optim.Adam; got 'Adam'"),
    ({"optimizer": torch.nn.Linear}, "such as torch.optim.Adam; got <class"),
    ({"optimizer": optim.Optimizer}, "missing 1 required"),
    ({"learning_rate": 0.1}, "unexpected keyword argument 'learning_rate'. It takes: lr, betas"),
    ({"lr": -0.1}, "Adam can be made with; got {'lr': -0.1}: Invalid learning rate"),
    ({"lr": "fast"}, "Adam can be made with; got {'lr': 'fast'}"),
    ({"optimizer": optim.SGD, "nesterov": True}, "Nesterov momentum requires a momentum"),
    (
        {"optimizer": SPSA, "perturbation": 0.0},
        "perturbation to be a positive finite number; got 0.0",
    ),
    ({"maximize": True}, "minimise the negative operator"),
    ({"gradient": "exact"}, "'finite-difference' or 'spsa'; got 'exact'"),
    ({"epsilon": 0.0}, "epsilon, the step .* to be a positive finite number; got 0.0"),
    ({"epsilon": math.inf}, "positive finite number; got inf"),
    ({"maxiter": -1}, "maxiter to be a whole number from 0 up; got -1"),
    ({"maxiter": 2.5}, "maxiter to be a whole number from 0 up; got 2.5"),
    ({"maxiter": True}, "whole number from 0 up; got True"),
    ({"maxiter": None}, "whole number from 0 up; got None"),
    ({"tol": -1.0}, "tol to be a finite number from 0 up; got -1.0"),
    ({"gradient_tol": "small"}, "gradient_tol to be a finite number from 0 up; got 'small'"),
    ({"min_improvement": math.nan}, "min_improvement to be a finite number from 0 up; got nan"),
    ({"clip_norm": 0}, "clip_norm to be a positive finite number; got 0"),
    ({"patience": 0}, "patience to be a whole number from 1 up; got 0"),
    ({"max_evals_grouped": 0}, "max_evals_grouped to be a whole number from 1 up; got 0"),
    ({"seed": 1.5}, "seed to be a whole number from 0 to .*; got 1.5"),
    ({"callback": "print"}, "callback to be a function of step, .*; got str"),
    ({"scheduler": 50}, "scheduler to be a function .* lambda o: .*StepLR.*; got int"),
    ({"scheduler": STEP_LR}, "scheduler to be a function .* it raised TypeError.*step_size"),
    ({"scheduler": lambda o: None}, "scheduler to be a function .* it returned NoneType"),
    ({"scheduler": STEP_LR(optim.SGD([torch.zeros(1)]), 5)}, "lambda o: .*; got StepLR"),
]


@pytest.mark.parametrize(("settings", "message"), BAD_SETTINGS)
def test_bad_settings_are_refused_at_once(settings, message):
    with pytest.raises((OptimizerError, OptimizerTypeError), match=message) as caught:
        TorchOptimizer(**settings)
    assert not str(caught.value).startswith("'") and str(caught.value).endswith(".")


def test_the_kind_of_error_tells_types_from_values():
    with pytest.raises(TypeError):
        TorchOptimizer("Adam")
    with pytest.raises(ValueError):
        TorchOptimizer(maxiter=-1)


def test_limits_of_groups_are_checked_wherever_they_are_set():
    optimizer = TorchOptimizer()
    for limit in (0, -2, 2.5, "all"):
        with pytest.raises(OptimizerError, match="whole number from 1 up"):
            optimizer.set_max_evals_grouped(limit)


def test_a_missing_tqdm_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(OptimizerError, match="pip install tqdm"):
        TorchOptimizer(progress=True)


BAD_POINTS = [[[0.1]], ["a"], [1j], np.array([1j]), torch.tensor(1j), [math.nan], None]


@pytest.mark.parametrize("x0", BAD_POINTS, ids=str)
def test_bad_initial_points(x0):
    with pytest.raises(InputError, match="Expected the initial point to be"):
        TorchOptimizer().minimize(Counting().fun, x0)


def test_tensors_and_lists_are_initial_points_and_stay_as_they_are():
    for x0 in (torch.nn.Parameter(torch.tensor(X0)), torch.tensor(X0), list(X0), np.array(X0)):
        before = copy.deepcopy(x0)
        counting = Counting()
        TorchOptimizer(maxiter=1, lr=0.1).minimize(counting.fun, x0, counting.jac)
        assert np.allclose(counting.points[0], X0, rtol=1e-6)  # single precision among them
        assert all(a == b for a, b in zip(x0, before, strict=True))


@pytest.mark.parametrize("kind", [float, np.array, torch.tensor, np.float32, torch.nn.Parameter])
@pytest.mark.parametrize("bounds", [None, [(-1.0, 0.6)]])
def test_a_number_is_an_initial_point_of_one_parameter(kind, bounds):
    """As in SciPy: the objective gets, and the result is, an array of one number."""
    start = kind(torch.tensor(0.5)) if kind is torch.nn.Parameter else kind(0.5)
    shapes = set()

    def fun(x):
        shapes.add(x.shape)
        return x.item() ** 2

    for jac in (None, lambda x: 2 * x, lambda x: 2 * x.item()):
        result = TorchOptimizer(torch.optim.SGD, 1, lr=0.25).minimize(fun, start, jac, bounds)
        reference = scipy.optimize.minimize(fun, 0.5, bounds=bounds)
        assert result.x.shape == reference.x.shape == (1,)
        # Half of the start is left; central differences of a square are exact but for rounding
        # of values of order 1 over steps of 1e-4.
        np.testing.assert_allclose(result.x, 0.25, rtol=0, atol=1e-11)
    assert shapes == {(1,)}


def test_tensors_of_less_precision_are_initial_points():
    start = torch.tensor([0.5], dtype=torch.bfloat16)
    assert TorchOptimizer(maxiter=0).minimize(lambda x: x.item(), start).x == [0.5]


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ([(0, 1)], "Expected 3 pairs .* as bounds, one per parameter; got .*0, 1"),
        ([(0, 1, 2)] * 3, "pairs .lower, upper. as bounds, one per parameter"),
        ([1, 2, 3], "with None for no limit; got"),
        ([None] * 3, "with None for no limit; got"),
        (5, "with None for no limit; got 5"),
        ([("a", 1)] * 3, "with None for no limit; got"),
        (Bounds([0] * 3, [1] * 3), "pairs .lower, upper. as bounds, one per parameter"),
        ([(1, 0)] * 3, "lower <= upper; got .*1, 0"),
        ([(0, math.nan)] * 3, "lower <= upper; got .*nan"),
    ],
)
def test_bad_bounds(bounds, message):
    with pytest.raises(InputError, match=message):
        TorchOptimizer().minimize(Counting().fun, X0, bounds=bounds)


BAD_VALUES = [math.nan, math.inf, -math.inf, 1 + 1j, "much", None, [1.0, 2.0], [], {}]


@pytest.mark.parametrize("bad", BAD_VALUES, ids=str)
def test_bad_values_keep_what_was_found(bad):
    script = Scripted([3.0, 1.0, 2.0, bad])
    with pytest.raises(ObjectiveError) as caught:
        TorchOptimizer(optim.SGD, 9, lr=1.0).minimize(script.fun, [0.0], script.jac)
    error = caught.value
    assert (error.best_point, error.best_value) == ([-1.0], 1.0)
    assert "The best value before was 1; its point is the error's best_point." in str(error)
    finite = isinstance(bad, float)
    assert ("Lower the learning rate" in str(error)) == finite
    assert finite or f"1 real number(s) for points of shape (1,); got {bad!r}" in str(error)


@pytest.mark.parametrize("bad", [[math.nan], [-math.inf], [1j], [1.0, 2.0], None, "g", []], ids=str)
def test_bad_gradients_keep_what_was_found(bad):
    """Also the value where the gradient is bad, which is the best here."""

    def jac(x):
        return np.ones(1) if x[0] > -2 else bad

    with pytest.raises(ObjectiveError, match="[Tt]he gradient") as caught:
        TorchOptimizer(optim.SGD, 9, lr=1.0).minimize(lambda x: x[0], [0.0], jac)
    assert (caught.value.best_point, caught.value.best_value) == ([-2.0], -2.0)
    with pytest.raises(ObjectiveError) as caught:
        TorchOptimizer().minimize(lambda x: math.nan, [0.0], jac)
    assert caught.value.best_point is None
    assert "No point had been evaluated before." in str(caught.value)


def test_real_numbers_come_in_many_forms():
    for form in (float, np.float32, np.array, torch.tensor, lambda v: [v], lambda v: v + 0j, int):
        result = TorchOptimizer(optim.SGD, 1).minimize(
            lambda x, form=form: form(2.0), [0.0], lambda x, form=form: [[form(0.0)]]
        )
        assert result.fun == 2.0 and type(result.fun) is float


def test_an_objective_for_single_points_is_told_apart():
    optimizer = TorchOptimizer(max_evals_grouped=10)
    with pytest.raises(ObjectiveError, match="7 real number.*got 1.0. Set max_evals_grouped=1"):
        optimizer.minimize(lambda x: 1.0, X0)


def test_tensors_with_a_graph_are_named():
    weight = torch.ones(1, requires_grad=True)
    with pytest.raises(ObjectiveError, match=r"Return a number such as loss.item\(\)"):
        TorchOptimizer().minimize(lambda x: weight.sum(), X0)


def test_a_diverging_run_ends_with_its_best_point():
    counting = Counting()
    with pytest.raises(ObjectiveError, match="Lower the learning rate") as caught:
        TorchOptimizer(optim.SGD, 50, lr=10.0).minimize(counting.fun, X0, counting.jac)
    np.testing.assert_array_equal(caught.value.best_point, X0)
    assert len(counting.points) > 3


def test_errors_of_the_objective_itself_come_through():
    def fun(x):
        raise ConnectionError("the device is gone")

    with pytest.raises(ConnectionError, match="gone"):
        TorchOptimizer().minimize(fun, X0)
    assert not issubclass(ConnectionError, BridgeError)
