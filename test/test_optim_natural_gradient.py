# SPDX-License-Identifier: Apache-2.0
"""The natural gradient is G^-1 g, whatever the coordinates, the batch and the network around it.

Steps in double precision are compared to 1e-10: solutions of systems with condition numbers of at
most 1e3, whose entries are exact to 1e-14 or so. Single precision rounds weights and gradients to
6e-8 each; 1e-5 leaves room for a condition number of 100.
"""

from __future__ import annotations

import copy
import gc
import pickle

import numpy as np
import pytest
import torch
from circuits import A, X, hybrid
from optimizing import (
    GROUND,
    assert_resumes_bit_identically,
    batch,
    energy,
    loss_of,
    trained,
    two_modules,
    with_inputs,
)
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.primitives import StatevectorEstimator
from qiskit_algorithms.gradients import LinCombQGT

from qiskit_torch_bridge import CircuitProgram, TorchQuantumModule
from qiskit_torch_bridge import exceptions as e
from qiskit_torch_bridge.optim import FubiniStudyMetric, QuantumNaturalGradient
from qiskit_torch_bridge.optim.natural_gradient import solve_damped

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


def expected_step(module, gradient, inputs=None, lr=0.1, damping=1e-3, approximation="full"):
    metric = FubiniStudyMetric(module.program, approximation)
    w = module.weight.detach().double().numpy()
    g = metric(w) if inputs is None else metric(w, inputs)
    direction = np.linalg.solve(g + damping * np.eye(len(w)), gradient.double().numpy())
    return w - lr * direction


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("approximation", ["full", "block-diagonal", "diagonal"])
def test_a_step_is_the_solution_by_numpy(dtype, approximation):
    module = with_inputs(dtype)
    optimizer = QuantumNaturalGradient(module, lr=0.2, approximation=approximation, damping=0.05)
    loss_of(module).backward()
    expected = expected_step(module, module.weight.grad, batch(), 0.2, 0.05, approximation)
    before = module.weight.detach().double().numpy().copy()
    assert optimizer.step() is None
    found = module.weight.detach().double().numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE[dtype])
    assert np.abs(found - before).max() > 1e-3 and module.weight.dtype == dtype


def test_the_metric_is_the_mean_over_all_rows_since_the_last_step():
    """Two calls, one by name, as under gradient accumulation; evaluations do not count."""
    module = with_inputs()
    optimizer = QuantumNaturalGradient(module)
    for rows in (batch(), 0.4 - batch()):
        optimizer.zero_grad()
        loss = module(rows[:2]).sum() + module(inputs=rows[2:].reshape(1, 3, 2)).sum()
        with torch.no_grad():
            module(7 * rows)
        loss.backward()
        expected = expected_step(module, module.weight.grad, rows)
        optimizer.step()
        np.testing.assert_allclose(module.weight.detach(), expected, rtol=0, atol=1e-10)


def test_first_order_invariance_under_reparametrization():
    r"""With theta = A phi the metric is A^T G A and the gradient A^T g: steps in theta agree.

    For affine maps they agree exactly, to rounding, without damping.
    """
    theta = ParameterVector("t", 2)
    matrix = np.array([[1.0, 0.5], [-0.7, 2.0]])

    def circuit(first, second):
        qc = QuantumCircuit(2)
        qc.ry(first, 0)
        qc.cx(0, 1)
        qc.rx(second, 1)
        return qc

    phi = ParameterVector("p", 2)
    mixed = [matrix[i, 0] * phi[0] + matrix[i, 1] * phi[1] for i in range(2)]
    start = np.array([0.4, 1.1])
    observable = {"ZI": 1.0, "IZ": 0.4}
    nodes = [TorchQuantumModule(c, observable).double() for c in (circuit(*theta), circuit(*mixed))]
    with torch.no_grad():
        nodes[0].weight.copy_(torch.from_numpy(matrix @ start))
        nodes[1].weight.copy_(torch.from_numpy(start))
    for node in nodes:
        optimizer = QuantumNaturalGradient(node, lr=0.3, damping=0.0)
        for _ in range(4):
            optimizer.zero_grad()
            node().sum().backward()
            optimizer.step()
    plain, other = (node.weight.detach().numpy() for node in nodes)
    np.testing.assert_allclose(matrix @ other, plain, rtol=0, atol=1e-9)
    assert np.abs(plain - matrix @ start).min() > 1e-2


def test_without_damping_the_pseudo_inverse_is_taken():
    generator = np.random.default_rng(0)
    b = generator.normal(size=(4, 2))
    metric, g = b @ b.T, generator.normal(size=4)  # of rank two
    np.testing.assert_allclose(solve_damped(metric, g, 0.0), np.linalg.pinv(metric) @ g, atol=1e-10)
    damped = np.linalg.solve(metric + 0.1 * np.eye(4), g)
    np.testing.assert_allclose(solve_damped(metric, g, 0.1), damped, atol=1e-10)
    assert not solve_damped(np.zeros((3, 3)), np.ones(3), 0.0).any()
    # Negative eigenvalues are noise: they count as zero, so that no step goes uphill.
    np.testing.assert_allclose(solve_damped(np.diag([-1.0, 2.0]), np.ones(2), 0.5), [2.0, 0.4])


def test_several_modules_have_their_own_metrics_and_groups():
    model = two_modules()
    nodes = [m for m in model if isinstance(m, TorchQuantumModule)]
    seen = {}
    for node in nodes:
        node.register_forward_pre_hook(lambda m, args: seen.update({m: args[0].detach().numpy()}))
    quantum = QuantumNaturalGradient(model, lr=0.1)
    quantum.param_groups[1]["lr"], quantum.param_groups[1]["damping"] = 0.3, 0.01
    loss_of(model).backward()
    expected = [
        expected_step(nodes[0], nodes[0].weight.grad, seen[nodes[0]]),
        expected_step(nodes[1], nodes[1].weight.grad, seen[nodes[1]], 0.3, 0.01),
    ]
    before = model[0].weight.clone()
    quantum.step()
    for node, weights in zip(nodes, expected, strict=True):
        np.testing.assert_allclose(node.weight.detach(), weights, rtol=0, atol=1e-10)
    assert torch.equal(model[0].weight, before)  # left to another optimizer


def test_groups_with_metrics_of_their_own_and_frozen_weights():
    p, q = (torch.nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(2))
    group = {"params": [q], "metric": lambda w: np.diag([1.0, 10.0]), "damping": 0.0}
    optimizer = QuantumNaturalGradient(
        [{"params": [p]}, group], lr=1.0, metric=lambda w: 2 * np.eye(2), damping=0.0
    )
    assert "metric" in group  # the caller's own is as it was
    p.grad, q.grad = torch.ones_like(p), torch.ones_like(q)
    optimizer.step()
    assert p.tolist() == [0.5, 0.5] and q.tolist() == [0.0, 0.9]
    p.grad = None
    optimizer.step()
    assert p.tolist() == [0.5, 0.5] and q.tolist() == [-1.0, 0.8]


def test_a_measured_metric_gives_the_same_step():
    exact, measured = energy(), energy()
    qgt = LinCombQGT(StatevectorEstimator())
    for node, options in ((exact, {}), (measured, {"qgt": qgt})):
        node().sum().backward()
        QuantumNaturalGradient(node, **options).step()
    torch.testing.assert_close(measured.weight, exact.weight, rtol=0, atol=1e-9)


def test_it_finds_the_ground_state():
    node = energy()
    optimizer = QuantumNaturalGradient(node, lr=0.2)

    def closure():
        optimizer.zero_grad()
        loss = node().sum()
        loss.backward()
        return loss

    for _ in range(100):
        optimizer.step(closure)
    assert abs(node().item() - GROUND) < 1e-6


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("model", [energy, with_inputs, two_modules])
def test_resumes_bit_identically(model, dtype):
    assert_resumes_bit_identically(
        lambda: model(dtype=dtype), QuantumNaturalGradient, backward=True
    )


def test_schedulers():
    node = energy()
    optimizer = QuantumNaturalGradient(node, lr=0.4)
    halving = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    for rate in (0.4, 0.2, 0.1):
        optimizer.zero_grad()
        node().sum().backward()
        expected = expected_step(node, node.weight.grad, None, rate)
        optimizer.step()
        halving.step()
        np.testing.assert_allclose(node.weight.detach(), expected, rtol=0, atol=1e-9)


def test_copies_of_modules_and_what_remains_of_a_dropped_optimizer():
    module = with_inputs()
    optimizer = QuantumNaturalGradient(module)
    trained(module, optimizer, 1, backward=True)
    loss_of(module).backward()
    copies = [copy.deepcopy(module), pickle.loads(pickle.dumps(module))]
    for other in copies:
        torch.testing.assert_close(other(batch()), module(batch()), rtol=0, atol=0)
    seen = optimizer._recorder._seen
    assert list(seen) == [module] and len(seen[module]) == len(copies) + 1
    # A copy of both together goes on as the originals do.
    pair = module, optimizer
    for both in (copy.deepcopy(pair), pickle.loads(pickle.dumps(pair))):
        trained(*both, 2, backward=True)
        copies.append(both[0])
    trained(module, optimizer, 2, backward=True)
    assert all(torch.equal(other.weight, module.weight) for other in copies[2:])
    del optimizer, seen, pair, both
    gc.collect()
    assert not module._forward_pre_hooks  # nothing is recorded that nobody reads


def test_a_loss_or_gradient_that_is_not_finite_leaves_the_weights():
    node = energy()
    optimizer = QuantumNaturalGradient(node)
    before = node.weight.detach().clone()
    with pytest.raises(e.ObjectiveError, match="The loss is nan.*lower the learning rate"):
        optimizer.step(lambda: node().sum() * float("nan"))
    node.weight.grad = torch.tensor([0.1, float("inf"), 0.0, 0.0], dtype=torch.float64)
    with pytest.raises(e.ObjectiveError, match=r"gradient is not finite: \[0.1"):
        optimizer.step()
    assert torch.equal(node.weight, before)


def test_a_closure_that_returns_nothing_may_do_so():
    node = energy()
    optimizer = QuantumNaturalGradient(node)
    before = node.weight.detach().clone()
    assert optimizer.step(lambda: node().sum().backward()) is None
    assert not torch.equal(node.weight, before)


def test_what_is_refused_and_how():
    node, linear = with_inputs(), torch.nn.Linear(2, 2)
    with pytest.raises(e.OptimizerTypeError, match="a module with a TorchQuantumModule.*Linear"):
        QuantumNaturalGradient(linear)
    with pytest.raises(e.OptimizerTypeError, match="together with metric=.*got parameters alone"):
        QuantumNaturalGradient(node.parameters())
    with pytest.raises(e.OptimizerTypeError, match="got Parameter. Give module, or module.param"):
        QuantumNaturalGradient(node.weight)
    with pytest.raises(e.OptimizerError, match="brings the metric of its circuit"):
        QuantumNaturalGradient(node, metric=np.diag)
    for option in ({"approximation": "diagonal"}, {"qgt": LinCombQGT(StatevectorEstimator())}):
        with pytest.raises(e.OptimizerError, match="approximation and qgt are for modules"):
            QuantumNaturalGradient(node.parameters(), metric=np.diag, **option)
    for name, value in [("lr", -1), ("lr", "fast"), ("damping", -1e-9), ("damping", np.nan)]:
        with pytest.raises(e.OptimizerError, match=f"{name} to be a finite number from 0 up; got"):
            QuantumNaturalGradient(node, **{name: value})
    with pytest.raises(e.OptimizerError, match=r"has a gradient. Call loss.backward\(\) before"):
        QuantumNaturalGradient(node).step()
    optimizer = QuantumNaturalGradient(node)
    node.weight.grad = torch.ones(3, dtype=torch.float64)
    with pytest.raises(e.OptimizerError, match=r"not been called.*Call step\(\) after a forward"):
        optimizer.step()
    wrong = QuantumNaturalGradient(node.parameters(), metric=lambda w: np.eye(2))
    with pytest.raises(e.OptimizerError, match=r"metric of shape \(3, 3\); got shape \(2, 2\)"):
        wrong.step()
    with pytest.raises(e.OptimizerError, match="state dict of QuantumNatural.*class it was"):
        optimizer.load_state_dict(torch.optim.SGD(node.parameters()).state_dict())
    with pytest.raises(TypeError, match="param_group to be a dict"):
        optimizer.add_param_group([node.weight])


def test_programs_with_inputs_as_metric_need_none():
    """A metric of parameters is a function of weights alone: bind the inputs oneself."""
    node = with_inputs()
    program = CircuitProgram(hybrid(), input_params=X, weight_params=A)
    metric = FubiniStudyMetric(program)
    optimizer = QuantumNaturalGradient(
        node.parameters(), metric=lambda w: metric(w, batch().numpy())
    )
    loss_of(node).backward()
    expected = expected_step(node, node.weight.grad, batch())
    optimizer.step()
    np.testing.assert_allclose(node.weight.detach(), expected, rtol=0, atol=1e-10)
