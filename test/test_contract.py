# SPDX-License-Identifier: Apache-2.0
"""What every gradient built of evaluations must do, whatever the rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import qiskit_algorithms.gradients
import torch
from circuits import CONTRACT, A, X, feed_forward, hybrid
from documented import code_with
from estimators import CountingEstimator
from qiskit.primitives import StatevectorEstimator
from reference import expectations, hessian, jacobian
from tensor_kernels import IN_TENSORS, how, is_tried
from test_statevector_cases import FULL
from torch.fx.experimental.proxy_tensor import make_fx

from qiskit_torch_bridge import CircuitProgram, Exact, TorchQuantumModule, expectation
from qiskit_torch_bridge.exceptions import HigherOrderError, TracingError

OBSERVABLES = ["ZI", {"XX": 0.5, "ZZ": -1.0}, "IY"]
GRADIENTS = ["adjoint", "parameter-shift", "aqgd", "finite-difference"]
CIRCUITS = {**CONTRACT, "feed-forward": feed_forward}
COMBINATIONS = [(g, c) for g in GRADIENTS for c in CIRCUITS if (g, c) != ("aqgd", "non-linear")]
COMBINATIONS += [(g, c) for g in IN_TENSORS for c in CIRCUITS if is_tried(g, c == "affine")]
# Central differences with the exact-mode step of 1e-4 and frequencies up to 3 in these circuits:
# h**2 / 6 * 3**3 = 4.5e-8 from the step, and rounding of 1e-15 / h. Twice for second order.
JOBS = {"adjoint": [1]}  # values from the estimator, gradients from this process
TOLERANCE = {"finite-difference": (1e-7, 1e-5)}


@pytest.fixture(params=COMBINATIONS, ids="-".join)
def setting(request):
    gradient, circuit = request.param
    program = CircuitProgram(CIRCUITS[circuit](), OBSERVABLES, input_params=X, weight_params=A)
    return program, gradient


def on(estimator: Any, gradient: str) -> dict[str, Any]:
    """The same beside an estimator, for what makes jobs."""
    if gradient in IN_TENSORS:
        pytest.skip("makes no jobs")
    return {"gradient": gradient, "estimator": estimator}


def points(rows: int = 3):
    generator = torch.Generator().manual_seed(5)
    x = torch.rand(rows, 2, dtype=torch.float64, generator=generator)
    w = torch.rand(3, dtype=torch.float64, generator=generator)
    return x.requires_grad_(), w.requires_grad_()


def close(actual, expected, gradient, order=0):
    tolerance = TOLERANCE.get(gradient, (1e-10, 1e-9))[order]
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


def reference_jacobian(program, x, w):  # (B, O, P) in the order inputs, weights
    order = (*program.input_params, *program.weight_params)
    values = torch.cat([x, w.expand(len(x), -1)], -1).detach()
    return torch.stack(
        [jacobian(program.circuit, program.observables, order, row) for row in values]
    )


def test_values_and_both_jacobians(setting):
    program, gradient = setting
    x, w = points()
    order = (*program.input_params, *program.weight_params)
    values = torch.cat([x, w.expand(3, -1)], -1).detach()
    expected = torch.stack(
        [expectations(program.circuit, program.observables, order, v) for v in values]
    )
    y = expectation(program, x, w, **how(gradient))
    torch.testing.assert_close(y.detach(), expected, rtol=0, atol=1e-10)
    cotangent = torch.randn(3, 3, dtype=torch.float64)
    gx, gw = torch.autograd.grad(y, (x, w), cotangent)
    j = reference_jacobian(program, x, w)
    g = torch.einsum("bo,bop->bp", cotangent, j)
    close(gx, g[:, :2], gradient)
    close(gw, g[:, 2:].sum(0), gradient)


def test_gradcheck_and_gradgradcheck(setting):
    program, gradient = setting
    # Triton's interpreter is slow: along a random direction there, along each on request.
    fast = gradient == "exact by triton" and not FULL
    x, w = points(1 if fast else 2)

    def f(x, w):
        return expectation(program, x, w, **how(gradient))

    assert torch.autograd.gradcheck(f, (x, w), fast_mode=fast)
    assert torch.autograd.gradgradcheck(f, (x, w), fast_mode=fast)


def test_hessian_in_both_modes(setting):
    program, gradient = setting
    x, w = points(1)
    order = (*program.input_params, *program.weight_params)
    point = torch.cat([x[0], w]).detach()
    expected = hessian(program.circuit, program.observables, order, point)[:, 2:, 2:].sum(0)

    def total(w):
        return expectation(program, x.detach(), w, **how(gradient)).sum()

    close(torch.autograd.functional.hessian(total, w.detach()), expected, gradient, 1)
    close(torch.func.hessian(total)(w.detach()), expected, gradient, 1)


def test_backward_with_create_graph_gives_every_term(setting):
    """A penalty on the gradient, differentiated: a dropped term would show."""
    program, gradient = setting
    x, w = points(1)
    order = (*program.input_params, *program.weight_params)
    point = torch.cat([x[0], w]).detach()
    y = expectation(program, x, w, **how(gradient)).sum()
    (gw,) = torch.autograd.grad(y, w, create_graph=True)
    (gw.pow(2).sum() + y).backward()
    j = jacobian(program.circuit, program.observables, order, point).sum(0)
    h = hessian(program.circuit, program.observables, order, point).sum(0)
    expected = 2 * h[:, 2:] @ j[2:] + j
    close(torch.cat([x.grad[0], w.grad]), expected, gradient, 1)


def test_functional_transforms_agree_with_backward(setting):
    program, gradient = setting
    x, w = points()
    j = reference_jacobian(program, x, w)
    x, w = x.detach(), w.detach()

    def f(x, w):
        return expectation(program, x, w, **how(gradient))

    close(torch.func.jacrev(f, argnums=1)(x, w), j[:, :, 2:], gradient)
    close(torch.func.jacfwd(f, argnums=1)(x, w), j[:, :, 2:], gradient)
    per_row = torch.vmap(torch.func.jacrev(f), in_dims=(0, None))(x, w)
    close(per_row, j[:, :, :2], gradient)
    _, tangent = torch.func.jvp(f, (x, w), (torch.ones_like(x), torch.ones_like(w)))
    close(tangent, j.sum(-1), gradient)


def test_vmap_over_inputs_and_stacked_weights_is_one_job(setting):
    program, gradient = setting
    x, w = points()
    x, w = x.detach(), w.detach()
    stacked = torch.stack([w, w + 0.3, w - 1.0, 2 * w])
    estimator = CountingEstimator()

    def f(x, w):
        return expectation(program, x, w, **on(estimator, gradient))

    one_by_one = torch.stack([f(x, v) for v in stacked])
    estimator.clear()
    torch.testing.assert_close(torch.vmap(f, (None, 0))(x, stacked), one_by_one)
    assert estimator.runs == [[(3, 12)]]
    estimator.clear()
    torch.testing.assert_close(torch.vmap(f, (0, None))(x, w), one_by_one[0])
    assert estimator.runs == [[(3, 3)]]
    estimator.clear()
    both = torch.vmap(torch.vmap(f, (0, None)), (None, 0))(x, stacked)
    torch.testing.assert_close(both, one_by_one)
    assert len(estimator.runs) == 1
    estimator.clear()
    g = torch.vmap(torch.func.grad(lambda w: f(x, w).sum()))(stacked)
    assert [len(run) for run in estimator.runs] == JOBS.get(gradient, [1, 1])
    for row, v in zip(g, stacked, strict=True):
        torch.testing.assert_close(row, torch.func.grad(lambda w: f(x, w).sum())(v))


# PyTorch's own constant folding warns so of any function that has a constant.
@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node:UserWarning")
def test_linearize_and_tracing_see_the_circuit(setting):
    """Tracers hand in tensors without data; a derivative must not be made of those."""
    program, gradient = setting
    x, w = points()
    x, w = x.detach(), w.detach()
    j = reference_jacobian(program, x, w)
    order = (*program.input_params, *program.weight_params)

    def f(x, w):
        return expectation(program, x, w, **how(gradient))

    def slope(x, w):
        return torch.func.grad(lambda v: f(x, v).sum())(w)

    one = torch.ones_like(w)
    y, tangent = torch.func.linearize(lambda v: f(x, v), w)
    close(tangent(one), j[:, :, 2:].sum(-1), gradient)
    torch.testing.assert_close(y, f(x, w), rtol=0, atol=0)

    second = torch.stack(
        [
            hessian(program.circuit, program.observables, order, torch.cat([row, w])).sum(0)
            for row in x
        ]
    )[:, 2:, 2:].sum(0)
    close(torch.func.linearize(lambda v: slope(x, v), w)[1](one), second.sum(-1), gradient, 1)
    elsewhere = 0 * x + 0.1, 0 * w + 0.2  # traced at one point, called at another
    for mode in ("real", "fake", "symbolic"):
        close(make_fx(f, tracing_mode=mode)(*elsewhere)(x, w), f(x, w), gradient)
        slopes = make_fx(slope, tracing_mode=mode)(*elsewhere)(x, w)
        close(slopes, j[:, :, 2:].sum((0, 1)), gradient)
    curvature = make_fx(lambda x, w: torch.func.hessian(lambda v: f(x, v).sum())(w))(*elsewhere)
    close(curvature(x, w), second, gradient, 1)


def test_jacobians_by_batches_in_both_modes(setting):
    program, gradient = setting
    x, w = points()
    j = reference_jacobian(program, x, w)

    def f(w):
        return expectation(program, x.detach(), w, **how(gradient))

    for strategy in ("reverse-mode", "forward-mode"):
        found = torch.autograd.functional.jacobian(f, w.detach(), vectorize=True, strategy=strategy)
        close(found, j[:, :, 2:], gradient)


def test_a_compiled_step_is_an_eager_one(setting):
    """With one graph, the same numbers and the same jobs; transforms to second order inside."""
    program, gradient = setting
    estimator = CountingEstimator()
    chosen = how(gradient) if gradient in IN_TENSORS else on(estimator, gradient)
    x, w = points(2)

    def f(x, w):
        return expectation(program, x, w, **chosen)

    def gradients(f):
        estimator.clear()
        y = f(x, w)
        return y.detach(), *torch.autograd.grad(y, (x, w), torch.ones_like(y))

    torch.compiler.reset()
    expected, runs = gradients(f), list(estimator.runs)
    compiled = torch.compile(f, fullgraph=True, backend="aot_eager")
    for found, right in zip(gradients(compiled), expected, strict=True):
        torch.testing.assert_close(found, right, rtol=0, atol=1e-14)
    assert estimator.runs == runs

    def curvature(w):
        return torch.func.hessian(lambda v: f(x.detach(), v).sum())(w)

    found = torch.compile(curvature, fullgraph=True, backend="aot_eager")(w.detach())
    torch.testing.assert_close(found, curvature(w.detach()), rtol=0, atol=1e-12)


def test_exported_programs_stand_alone_or_are_refused(setting, tmp_path):
    """A program of the exact engine holds its circuit; an estimator does not fit into a file."""
    program, gradient = setting
    x, w = points(2)
    node = TorchQuantumModule(
        program.circuit,
        list(program.observables),
        input_params=X,
        weight_params=A,
        initial_weights=w.detach(),
        **how(gradient),
    )
    if gradient != "adjoint" and gradient not in IN_TENSORS:
        with pytest.raises(TracingError, match="gradient='adjoint'"):
            torch.export.export(node, (x.detach(),))
        node = node.with_backend(estimator=Exact(), gradient="adjoint")
    rows = torch.export.Dim("rows", min=2, max=64)
    exported = torch.export.export(node, (x.detach(),), dynamic_shapes=({0: rows},), strict=False)
    torch.export.save(exported, tmp_path / "node.pt2")
    expected = reference_jacobian(program, x, w)
    weights = node.weight.detach().clone()
    del node, exported
    loaded = torch.export.load(tmp_path / "node.pt2").module()
    y = loaded(x.repeat(3, 1))
    (gx,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gx, 3 * expected[:, :, :2].sum(1), rtol=0, atol=1e-10)
    torch.testing.assert_close(loaded.state_dict()["weight"], weights)


def test_counts_of_forward_and_backward(setting):
    """One run and one PUB each way at most; what needs no gradient adds no points."""
    program, gradient = setting
    estimator = CountingEstimator()
    x, w = points(5)

    def f(x, w):
        return expectation(program, x, w, **on(estimator, gradient))

    sizes = {}
    for name, args in {
        "both": (x, w),
        "weights": (x.detach(), w),
        "inputs": (x, w.detach()),
    }.items():
        estimator.clear()
        f(*args).pow(2).sum().backward()
        assert [len(run) for run in estimator.runs] == JOBS.get(gradient, [1, 1])
        assert estimator.runs[0] == [(3, 5)]
        if gradient not in JOBS:
            sizes[name] = estimator.runs[1][0][1]
    # In the non-linear circuit every angle depends on a weight, but not on an input.
    if gradient not in JOBS:
        assert sizes["weights"] <= sizes["both"] and sizes["inputs"] < sizes["both"]
    estimator.clear()
    f(x.detach(), w.detach())
    with torch.no_grad():
        f(x, w)
    assert [len(run) for run in estimator.runs] == [1, 1]


def test_points_of_each_rule_are_as_documented():
    """The hybrid circuit: 7 angles after the controlled rotation is split in two."""
    x, w = points(1)
    expected = {
        # angles: ry(x0), rx(..)/rzx(..) for crx, rz(a1), ry(a1/2+0.2), rx(a2): six of them
        "parameter-shift": 2 * 6,
        # frequencies: x0 {1}, x1 {1/2, 1}, a0 {1, 2}, a1 {1/2, 1, 3/2}, a2 {1}
        "aqgd": 2 * (1 + 2 + 2 + 3 + 1),
        "finite-difference": 2 * 5,
    }
    for gradient, count in expected.items():
        estimator = CountingEstimator()
        program = CircuitProgram(hybrid(), "ZZ", input_params=X)
        y = expectation(program, x, w, **on(estimator, gradient))
        y.sum().backward()
        assert estimator.runs == [[(1, 1)], [(1, count)]], gradient


def documented(words: str) -> dict[str, Any]:
    """Return what a block of the page on engines of one's own defines."""
    names: dict[str, Any] = {}
    page = "how-tos/write-an-engine.rst"
    for part in ("import numpy as np", words):
        exec(code_with(part, page).partition("\nprint(")[0], names)
    return names


def of_another_package(name: str, **options: Any) -> Callable[[], dict[str, Any]]:
    def choices() -> dict[str, Any]:
        return {"gradient": getattr(qiskit_algorithms.gradients, name)(**options)}

    return choices


ON = {"estimator": StatevectorEstimator()}
ONE_ORDER = {
    "LinComb": of_another_package("LinCombEstimatorGradient", **ON),
    "ParamShift": of_another_package("ParamShiftEstimatorGradient", **ON),
    "FiniteDiff": of_another_package("FiniteDiffEstimatorGradient", **ON, epsilon=1e-6),
    "Reverse": of_another_package("ReverseEstimatorGradient"),
    "SPSA": of_another_package("SPSAEstimatorGradient", **ON, epsilon=1e-4, batch_size=200, seed=3),
    "the documentation's gradient": lambda: {
        "gradient": documented("class FourPointDifference")["FourPointDifference"](**ON, step=0.01)
    },
    "the documentation's engine": lambda: {"estimator": documented("class Qiskit:")["Qiskit"]()},
}
"""Gradients and engines of other packages, and those of one's own in the documentation."""


@pytest.fixture(params=ONE_ORDER)
def one_order(request):
    """A program, a function of inputs and weights, and how wrong a gradient of length one may be.

    SPSA's estimate along random signs has a standard error of |g| sqrt(P / samples) a row. The step
    of 0.01 makes errors of h**4 / 30 * 3**5 = 8e-8, forward differences of 1e-6 some of 5e-6.
    """
    circuit = hybrid()
    circuit.data.pop(1)  # LinComb and Reverse cannot do the controlled rotation
    circuit.ry(A[0] + X[1], 1)
    program = CircuitProgram(circuit, OBSERVABLES, input_params=X, weight_params=A)
    choices = ONE_ORDER[request.param]()
    bound = 6 * np.sqrt(5 / 200) if request.param == "SPSA" else 1e-5

    def f(x, w):
        return expectation(program, x, w, **choices)

    return program, f, bound


def test_one_order_is_right_and_a_second_one_refused(one_order):
    program, f, bound = one_order
    x, w = points(2)
    order = (*program.input_params, *program.weight_params)
    rows = torch.cat([x, w.expand(2, -1)], -1).detach()
    evs = [expectations(program.circuit, program.observables, order, row) for row in rows]
    cotangent = torch.tensor([[1.0, -2.0, 0.5], [0.0, 0.3, 2.0]], dtype=torch.float64)
    y = f(x, w)
    torch.testing.assert_close(y.detach(), torch.stack(evs), rtol=0, atol=1e-10)
    gx, gw = torch.autograd.grad(y, (x, w), cotangent, create_graph=True)
    g = torch.einsum("bo,bop->bp", cotangent, reference_jacobian(program, x, w))
    bound = max(bound * float(g.norm()), 1e-5)
    torch.testing.assert_close(gx.detach(), g[:, :2], rtol=0, atol=bound)
    torch.testing.assert_close(gw.detach(), g[:, 2:].sum(0), rtol=0, atol=2 * bound)
    with pytest.raises(HigherOrderError, match="differentiated again"):
        gw.sum().backward()
    with pytest.raises(HigherOrderError):
        torch.func.grad(lambda v: torch.func.grad(lambda u: f(x, u).sum())(v).sum())(w.detach())
    with pytest.raises(HigherOrderError, match="no forward mode"):
        torch.func.jvp(lambda v: f(x.detach(), v), (w.detach(),), (torch.ones(3).double(),))


@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node:UserWarning")
def test_one_order_under_transforms_and_tracers(one_order):
    program, f, bound = one_order
    x, w = (t.detach() for t in points(2))
    j = reference_jacobian(program, x, w)
    bound = max(bound * float(j.norm()), 1e-5)

    def slope(x, w):
        return torch.func.grad(lambda v: f(x, v).sum())(w)

    jacobians = [
        torch.func.jacrev(lambda v: f(x, v))(w),
        torch.autograd.functional.jacobian(lambda v: f(x, v), w, vectorize=True),
    ]
    for found in jacobians:
        torch.testing.assert_close(found, j[:, :, 2:], rtol=0, atol=bound)
    per_row = torch.vmap(torch.func.jacrev(f), in_dims=(0, None))(x, w)
    torch.testing.assert_close(per_row, j[:, :, :2], rtol=0, atol=bound)
    stacked = torch.stack([w, w + 0.3])
    one_by_one = torch.stack([f(x, v) for v in stacked])
    torch.testing.assert_close(torch.vmap(f, (None, 0))(x, stacked), one_by_one)
    traced = make_fx(slope)(0 * x + 0.1, 0 * w + 0.2)  # at one point, called at another
    right = j[:, :, 2:].sum((0, 1))
    torch.testing.assert_close(traced(x, w), right, rtol=0, atol=6 * bound)


def test_one_order_of_what_is_wanted_only(one_order):
    """Frozen weights cost nothing, and a second pass adds to the first."""
    program, f, bound = one_order
    x, w = points(2)
    j = reference_jacobian(program, x, w).sum(1)
    bound = max(bound * float(j.norm()), 1e-5)
    frozen = f(x, w.detach())
    for _ in range(2):
        frozen.sum().backward(retain_graph=True)
    assert w.grad is None
    torch.testing.assert_close(x.grad, 2 * j[:, :2], rtol=0, atol=4 * bound)
    f(x.detach(), w).sum().backward()
    torch.testing.assert_close(w.grad, j[:, 2:].sum(0), rtol=0, atol=4 * bound)


def test_named_spsa_trains():
    torch.manual_seed(0)
    module = TorchQuantumModule(hybrid(), "ZZ", gradient="spsa", seed=1)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    first = None
    for _ in range(60):
        optimizer.zero_grad()
        loss = module().sum()
        first = loss.item() if first is None else first
        loss.backward()
        optimizer.step()
    assert "spsa" in repr(module) and loss.item() < first - 0.2
