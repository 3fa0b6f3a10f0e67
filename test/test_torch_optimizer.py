# SPDX-License-Identifier: Apache-2.0
"""TorchOptimizer takes the very steps of a plain torch loop, and says what it did."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from objectives import Counting, Scripted, smooth
from qiskit_algorithms.optimizers import OptimizerResult, OptimizerSupportLevel
from torch import optim
from torch.optim import lr_scheduler

from qiskit_torch_bridge.algorithms import TorchOptimizer

X0 = [-0.4, 0.7, 0.2]
OPTIMIZERS = {
    "Adadelta": (optim.Adadelta, {"lr": 1.0}),
    "Adafactor": (optim.Adafactor, {}),
    "Adagrad": (optim.Adagrad, {"lr": 0.1, "lr_decay": 0.01}),
    "Adam": (optim.Adam, {"lr": 0.05}),
    "Adam amsgrad": (optim.Adam, {"lr": 0.05, "amsgrad": True, "betas": (0.8, 0.9)}),
    "AdamW": (optim.AdamW, {"lr": 0.05, "weight_decay": 0.1}),
    "Adamax": (optim.Adamax, {"lr": 0.05}),
    "ASGD": (optim.ASGD, {"lr": 0.01, "t0": 3.0}),
    "LBFGS": (optim.LBFGS, {"lr": 0.5, "max_iter": 4}),
    "LBFGS searching": (optim.LBFGS, {"line_search_fn": "strong_wolfe", "history_size": 3}),
    "NAdam": (optim.NAdam, {"lr": 0.05}),
    "RAdam": (optim.RAdam, {"lr": 0.05}),
    "RMSprop": (optim.RMSprop, {"lr": 0.01, "centered": True, "momentum": 0.5}),
    "Rprop": (optim.Rprop, {"lr": 0.05, "etas": (0.4, 1.3)}),
    "SGD": (optim.SGD, {"lr": 0.01, "momentum": 0.9}),
    "SGD nesterov": (optim.SGD, {"lr": 0.01, "momentum": 0.9, "nesterov": True}),
}
# The base class, one for sparse gradients and one for matrices alone.
UNUSABLE = {"Optimizer", "SparseAdam", "Muon"}


def plain_run(optimizer_class, steps, schedule=None, **options):
    """Points and values at the start of each step, the last point, and the learning rates."""
    p = torch.nn.Parameter(torch.tensor(X0, dtype=torch.float64))
    optimizer = optimizer_class([p], **options)
    scheduler = None if schedule is None else schedule(optimizer)
    points, values, rates = [], [], []

    def closure():
        optimizer.zero_grad()
        loss = smooth(p)
        loss.backward()
        return loss

    for _ in range(steps):
        points.append(p.detach().numpy().copy())
        rates.append(optimizer.param_groups[0]["lr"])
        values.append(optimizer.step(closure).item())
        if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
            scheduler.step(values[-1])
        elif scheduler is not None:
            scheduler.step()
    return np.array(points), values, p.detach().numpy(), rates


def assert_same_run(optimizer, objective, plain):
    points, values, last, rates = plain
    np.testing.assert_array_equal(optimizer.history.parameters, points)
    assert optimizer.history.values == values
    assert optimizer.history.learning_rates == rates
    np.testing.assert_array_equal(objective.points[-1], last)


def test_every_optimizer_of_torch_is_tested_here():
    classes = {n for n, c in vars(optim).items() if isinstance(c, type) and n[0].isupper()}
    assert classes - UNUSABLE <= {c.__name__ for c, _ in OPTIMIZERS.values()}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_bit_for_bit_a_plain_torch_loop(name):
    kind, options = OPTIMIZERS[name]
    objective = Counting()
    optimizer = TorchOptimizer(kind, maxiter=25, **options)
    result = optimizer.minimize(objective.fun, X0, objective.jac)
    assert_same_run(optimizer, objective, plain_run(kind, 25, **options))
    assert isinstance(result, OptimizerResult) and result.nit == 25
    assert not np.array_equal(objective.points[0], objective.points[-1])


@pytest.mark.parametrize(
    "schedule",
    [
        lambda o: lr_scheduler.StepLR(o, 4, gamma=0.5),
        lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=10),
        lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=1, factor=0.5),
        lambda o: lr_scheduler.LambdaLR(o, lambda k: 1 / (1 + k)),
        lambda o: lr_scheduler.OneCycleLR(o, 0.01, total_steps=30),
    ],
    ids=["StepLR", "CosineAnnealingLR", "ReduceLROnPlateau", "LambdaLR", "OneCycleLR"],
)
def test_schedulers_step_as_in_a_plain_loop(schedule):
    objective = Counting()
    optimizer = TorchOptimizer(optim.SGD, maxiter=25, lr=0.1, scheduler=schedule)
    optimizer.minimize(objective.fun, X0, objective.jac)
    assert_same_run(optimizer, objective, plain_run(optim.SGD, 25, schedule, lr=0.1))
    assert len(set(optimizer.history.learning_rates)) > 2


def test_a_plateau_halves_the_rate_when_values_stop_falling():
    optimizer = TorchOptimizer(
        optim.SGD,
        maxiter=6,
        lr=1.0,
        scheduler=lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0, factor=0.5),
    )
    script = Scripted([3, 2, 2.5, 1, 1.5, 1.6, 0])
    optimizer.minimize(script.fun, [0.0], script.jac)
    assert optimizer.history.learning_rates == [1, 1, 1, 0.5, 0.5, 0.25]


def test_a_tensor_as_learning_rate_is_the_same_in_the_next_run():
    """Schedulers change it in place."""
    rate = torch.tensor(0.125)
    optimizer = TorchOptimizer(
        optim.SGD, maxiter=3, lr=rate, scheduler=lambda o: lr_scheduler.StepLR(o, 1, 0.5)
    )
    for _ in range(2):
        objective = Counting()
        optimizer.minimize(objective.fun, X0, objective.jac)
        assert optimizer.history.learning_rates == [0.125, 0.0625, 0.03125]
    assert rate.item() == 0.125


def test_clipping_shortens_long_gradients_and_leaves_short_ones():
    long, short = [3.0, -4.0], [0.3, 0.4]
    script = Scripted([0, 0, 0], [long, short])
    optimizer = TorchOptimizer(optim.SGD, maxiter=2, lr=1.0, clip_norm=2.5)
    optimizer.minimize(script.fun, [0.0, 0.0], script.jac)
    # Half of the gradient of norm 5, then all of that of norm 1/2. Sums are rounded to 2**-53.
    np.testing.assert_array_equal(script.points[1], [-1.5, 2.0])
    np.testing.assert_allclose(script.points[2], [-1.8, 1.6], rtol=1e-15)
    assert optimizer.history.gradient_norms == [5.0, 0.5]  # before clipping


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_few_steps(steps):
    objective = Counting()
    optimizer = TorchOptimizer(optim.SGD, maxiter=steps, lr=0.01)
    result = optimizer.minimize(objective.fun, X0, objective.jac)
    assert (result.nit, result.njev, result.nfev) == (steps, steps, steps + 1)
    assert (objective.gradients, len(objective.points)) == (steps, steps + 1)
    assert len(optimizer.history.values) == steps
    np.testing.assert_array_equal(result.x, objective.points[-1])  # it goes down here
    assert result.fun == objective.function(torch.from_numpy(result.x)).item()
    np.testing.assert_array_equal(objective.points[0], X0)


@pytest.mark.parametrize(
    ("criterion", "values", "steps"),
    [
        ({"tol": 0.5}, [10, 8, 7.5, 7, 0], 3),
        ({"tol": 0.5}, [10, 8, 8.5, 0], 3),  # up as well as down
        ({"tol": 0.5}, [10, 8, 9, 8.7, 0], 4),
        ({"tol": 0}, [2, 1, 1, 0], 3),
        ({"patience": 2}, [5, 4, 4.5, 3.9, 4.2, 4.3, 0], 6),
        ({"patience": 2, "min_improvement": 0.2}, [5, 4, 4.5, 3.9, 0], 4),
        ({"patience": 1}, [5, 4, 3, 3, 0], 4),
        ({}, [1] * 9, 8),
    ],
)
def test_stopping_by_values(criterion, values, steps):
    script = Scripted(values)
    optimizer = TorchOptimizer(optim.SGD, maxiter=8, lr=0.1, **criterion)
    assert optimizer.minimize(script.fun, [0.0], script.jac).nit == steps
    assert len(optimizer.history.values) == steps


def test_stopping_by_the_gradients_largest_component():
    gradients = [[1.0, 0.05], [0.05, -0.2], [0.09, -0.1], [0.0, 0.0]]
    script = Scripted(range(9), gradients)
    optimizer = TorchOptimizer(optim.SGD, maxiter=8, lr=0.1, gradient_tol=0.1)
    assert optimizer.minimize(script.fun, [0.0, 0.0], script.jac).nit == 3


@pytest.mark.parametrize("answer", [True, np.True_])
def test_the_callback_sees_each_step_and_can_stop(answer):
    seen = []

    def callback(step, parameters, value, gradient):
        seen.append((step, parameters.copy(), value, gradient.copy()))
        parameters[:] = gradient[:] = math.nan  # its own copies
        return answer if step == 3 else step  # other true values do not stop

    objective = Counting()
    optimizer = TorchOptimizer(optim.SGD, maxiter=9, lr=0.01, callback=callback)
    result = optimizer.minimize(objective.fun, X0, objective.jac)
    assert [step for step, *_ in seen] == [1, 2, 3] and result.nit == 3
    for (_, point, value, gradient), at in zip(seen, objective.points, strict=False):
        np.testing.assert_array_equal(point, at)
        assert value == objective.function(torch.from_numpy(at)).item()
        np.testing.assert_array_equal(gradient, Counting().jac(at))
    np.testing.assert_array_equal(optimizer.history.parameters, [p for _, p, _, _ in seen])


def test_the_best_point_seen_is_returned_not_the_last():
    script = Scripted([3.0, -1.0, 2.0, 5.0], [[1.0], [2.0], [3.0]])
    optimizer = TorchOptimizer(optim.SGD, maxiter=3, lr=1.0)
    result = optimizer.minimize(script.fun, [0.0], script.jac)
    assert (result.x, result.fun, result.jac) == ([-1.0], -1.0, [2.0])
    last = Scripted([3.0, 2.0, 1.0])
    result = optimizer.set_options(maxiter=2) or optimizer.minimize(last.fun, [0.0], last.jac)
    assert (result.x, result.fun, result.jac) == ([-2.0], 1.0, None)


def test_history_has_one_entry_per_step():
    objective = Counting()
    optimizer = TorchOptimizer(optim.LBFGS, maxiter=3, max_iter=3)
    assert optimizer.history.values == []
    result = optimizer.minimize(objective.fun, X0, objective.jac)
    history = optimizer.history
    lists = vars(history)
    assert {len(entries) for entries in lists.values()} == {3}
    assert history.evaluations[-1] + 1 == result.nfev == len(objective.points)
    assert result.njev == objective.gradients == history.evaluations[-1] > 3
    for point, value, norm in zip(
        history.parameters, history.values, history.gradient_norms, strict=True
    ):
        assert value == objective.function(torch.from_numpy(point)).item()
        assert norm == pytest.approx(np.linalg.norm(Counting().jac(point)), rel=1e-15)


def test_it_is_a_minimizer_and_an_optimizer():
    objective = Counting()
    options = {"maxiter": 5, "lr": 0.1}
    as_minimizer = TorchOptimizer(optim.Adam, **options)(
        fun=objective.fun, x0=np.array(X0), jac=objective.jac, bounds=[(None, None)] * 3
    )
    direct = TorchOptimizer(optim.Adam, **options).minimize(objective.fun, X0, objective.jac)
    np.testing.assert_array_equal(as_minimizer.x, direct.x)
    assert as_minimizer.fun == direct.fun
    levels = TorchOptimizer().get_support_level()
    assert levels["gradient"] == levels["bounds"] == OptimizerSupportLevel.supported
    assert TorchOptimizer().is_initial_point_required


def test_a_progress_bar_counts_steps(capsys):
    objective = Counting()
    TorchOptimizer(maxiter=4, progress=True).minimize(objective.fun, X0, objective.jac)
    assert "4/4" in capsys.readouterr().err


@pytest.mark.parametrize("context", [torch.no_grad, torch.enable_grad])
def test_it_does_not_mind_where_it_is_called(context):
    objective = Counting()
    with context():
        optimizer = TorchOptimizer(optim.Adam, maxiter=5, lr=0.05)
        optimizer.minimize(objective.fun, X0, objective.jac)
    assert_same_run(optimizer, objective, plain_run(optim.Adam, 5, lr=0.05))
