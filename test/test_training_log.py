# SPDX-License-Identifier: Apache-2.0
"""A log keeps what it is told, and shows it where it is asked to."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from qiskit_torch_bridge.algorithms import TorchOptimizer
from qiskit_torch_bridge.diagnostics import TrainingLog
from qiskit_torch_bridge.exceptions import InputError, InputTypeError


def test_numbers_are_kept_by_step_and_without_their_graphs():
    log, x = TrainingLog(4), torch.ones((), requires_grad=True)
    for step in log:
        log.add(loss=x * step)
        if step % 2:
            log.add(accuracy=np.float32(step / 4))
    assert log["loss"] == [0.0, 1.0, 2.0, 3.0] and type(log["loss"][0]) is float
    lines = {line.get_label(): line for line in log.plot().get_lines()}
    assert list(lines["accuracy"].get_xdata()) == [1, 3]
    assert list(lines["accuracy"].get_ydata()) == log["accuracy"] == [0.25, 0.75]


def test_a_loss_that_is_none_any_more_is_kept():
    log = TrainingLog(1)
    log.add(loss=float("nan"), other=float("inf"))
    assert np.isnan(log["loss"][0]) and np.isinf(log["other"][0])


@pytest.mark.parametrize("wrong", [torch.zeros(2), "0.5", None, True, 1j])
def test_what_is_no_number_is_named(wrong):
    with pytest.raises(InputError, match="Expected loss to be a real number"):
        TrainingLog(3).add(loss=wrong)


def test_a_name_that_was_not_added_is_answered_by_those_that_were():
    log = TrainingLog(3)
    log.add(loss=1)
    with pytest.raises(InputError, match=r"\['loss'\]; got 'los'"):
        log["los"]


def test_a_bar_shows_the_last_numbers_and_ends_with_an_error(capsys):
    with pytest.raises(KeyError), TrainingLog(3, bar=True) as log:
        for step in log:
            log.add(loss=step / 8)
            if step == 1:
                raise KeyError
    assert log._bar.disable  # closed
    assert "loss=0.125" in capsys.readouterr().err


def test_a_figure_is_shown_once_and_then_replaced(monkeypatch):
    shown = []
    handle = SimpleNamespace(
        display=lambda figure: shown.append(("new", figure)),
        update=lambda figure: shown.append(("again", figure)),
    )
    display = SimpleNamespace(DisplayHandle=lambda: handle)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    log = TrainingLog(50, live=True)
    for step in log:
        log.add(loss=step)
    kinds = [kind for kind, _ in shown]
    # The first one, the last one, and hardly one between: fifty steps take no time.
    assert kinds[0] == "new" and set(kinds[1:]) == {"again"} and len(kinds) < 50
    picture = shown[-1][1]
    assert picture._repr_png_().startswith(b"\x89PNG")  # what IPython asks for
    (line,) = picture.figure.axes[0].get_lines()
    assert list(line.get_ydata()) == log["loss"] == list(range(50))


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    with pytest.raises(InputTypeError, match="IPython"):
        TrainingLog(3, live=True)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(InputTypeError, match="tqdm"):
        TrainingLog(3, bar=True)


def test_optimizers_of_algorithms_call_it_back():

    log = TrainingLog(3)
    optimizer = TorchOptimizer(torch.optim.SGD, maxiter=3, lr=0.1, callback=log.callback)
    result = optimizer.minimize(lambda x: float(x @ x), np.array([1.0, 2.0]), lambda x: 2 * x)
    assert log["value"][0] == 5.0 and log["value"] == sorted(log["value"], reverse=True)
    assert result.fun <= log["value"][-1]
