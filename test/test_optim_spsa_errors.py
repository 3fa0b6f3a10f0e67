# SPDX-License-Identifier: Apache-2.0
"""SPSA and QNSPSA: what a failing loss leaves behind, frozen weights, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from optimizing import energy, trained, two_modules
from qiskit.primitives import StatevectorSampler
from qiskit_algorithms.state_fidelities import ComputeUncompute

from qiskit_torch_bridge import exceptions as e
from qiskit_torch_bridge.optim import QNSPSA, SPSA

OPTIMIZERS = [SPSA, QNSPSA]


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("error", ["nan", "raised"])
@pytest.mark.parametrize(
    ("blocking", "at"), [*((False, i) for i in (1, 2)), *((True, i) for i in (1, 2, 3, 4))]
)
def test_failing_losses_restore_everything_but_the_random_state(kind, blocking, error, at):
    node = energy()
    optimizer = kind(node, blocking=blocking, allowed_increase=10.0, seed=0)
    before, state, count = node.weight.detach().clone(), optimizer._own_state(), 0

    def loss():
        nonlocal count
        count += 1
        if count == at and error == "raised":
            raise KeyboardInterrupt
        return node().sum() * (float("nan") if count == at else 1)

    expected = e.ObjectiveError if error == "nan" else KeyboardInterrupt
    with pytest.raises(expected):
        optimizer.step(loss)
    assert torch.equal(node.weight, before) and count == at
    after = optimizer._own_state()
    assert (after["steps"], after["accepted_loss"]) == (state["steps"], state["accepted_loss"])
    for old, new in zip(state.get("metrics", ()), after.get("metrics", ()), strict=True):
        assert torch.equal(old, new)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_frozen_weights_stay(kind):
    model = two_modules()
    optimizer = kind(model, seed=0)
    frozen, free = model[1].weight, model[3].weight
    before = frozen.detach().clone(), free.detach().clone()
    frozen.requires_grad_(False)
    trained(model, optimizer, 1)
    assert torch.equal(frozen, before[0]) and not torch.equal(free, before[1])
    frozen.requires_grad_()
    trained(model, optimizer, 1)
    assert not torch.equal(frozen, before[0])
    for p in (frozen, free):
        p.requires_grad_(False)
    with pytest.raises(e.OptimizerError, match=r"all are frozen. Call requires_grad_\(\)"):
        trained(model, optimizer, 1)


def test_options_and_closures_that_are_refused():
    node = energy()
    for name, value, least in [
        ("lr", -0.1, "a finite number from 0 up"),
        ("perturbation", 0.0, "a positive finite number"),
        ("alpha", np.inf, "a finite number from 0 up"),
        ("gamma", "x", "a finite number from 0 up"),
        ("stability", True, "a finite number from 0 up"),
        ("allowed_increase", -1, "a finite number from 0 up"),
    ]:
        with pytest.raises(e.OptimizerError, match=f"{name} to be {least}; got {value!r}"):
            SPSA(node, **{name: value})
    with pytest.raises(e.OptimizerError, match="damping to be a positive finite number"):
        QNSPSA(node, damping=0)
    for kind, name in ((SPSA, "resamplings"), (QNSPSA, "metric_resamplings")):
        for value in (0, 1.5, True):
            with pytest.raises(e.OptimizerError, match=f"{name} to be a whole number from 1 up"):
                kind(node, **{name: value})
    optimizer = SPSA(node)
    with pytest.raises(e.OptimizerError, match=r"needs a closure.*optimizer.step\(closure\)"):
        optimizer.step()
    with pytest.raises(e.OptimizerError, match=r"without calling backward\(\)"):
        optimizer.step(lambda: node().sum().backward())
    with pytest.raises(e.OptimizerError, match="needs the loss: return it from the closure"):
        optimizer.step(lambda: None)
    with pytest.raises(e.OptimizerError, match=r"one real number; got Tensor of shape \(2, 1\)"):
        optimizer.step(lambda: torch.zeros(2, 1))
    with pytest.raises(RuntimeError, match="^another$"):
        optimizer.step(lambda: (_ for _ in ()).throw(RuntimeError("another")))
    with pytest.raises(e.OptimizerError, match="state dict of QNSPSA.*'metrics'.*class it was"):
        QNSPSA(node).load_state_dict(optimizer.state_dict())
    with pytest.raises(e.OptimizerError, match=r"state dict of SPSA.*got \[\]"):
        optimizer.load_state_dict(torch.optim.Adam(node.parameters()).state_dict())


def test_fidelities_that_are_refused():
    node = energy()
    for given in (None, ComputeUncompute(StatevectorSampler())):
        with pytest.raises(e.OptimizerTypeError, match="together with fidelity=, a function"):
            QNSPSA(node.parameters(), fidelity=given)
    optimizer = QNSPSA(node)
    with pytest.raises(e.OptimizerTypeError, match="got parameters and NoneType"):
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(2))]})
    assert len(optimizer.param_groups) == 1
    wrong = QNSPSA(node.parameters(), fidelity=lambda w, others: np.ones(3))
    with pytest.raises(e.OptimizerError, match="Expected 4 finite fidelities; got array"):
        trained(node, wrong, 1)
