# SPDX-License-Identifier: Apache-2.0
"""Every method of SciPy over torch parameters: minima, derivatives, bounds and failures."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from circuits import rotation
from optimizing import (
    GROUND,
    assert_resumes_bit_identically,
    energy,
    loss_of,
    two_modules,
    weights_of,
    with_inputs,
)
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from qiskit_torch_bridge import TorchQuantumModule
from qiskit_torch_bridge import exceptions as e
from qiskit_torch_bridge.optim import ScipyMinimize
from qiskit_torch_bridge.optim.scipy_minimize import (
    GRADIENTS,
    HESSIANS,
    METHODS,
    PRODUCTS,
    VALUES_ONLY,
    _FlatLoss,
)

BOUNDED = ["Nelder-Mead", "Powell", "COBYLA", "COBYQA", "L-BFGS-B", "TNC", "SLSQP", "trust-constr"]
# CX (0.8 Z + 0.6 X on the one qubit, 0.5 Z + 1.2 X on the other) CX: -1 - 1.3 is its least value.
OPERATOR = SparsePauliOp.from_list([("IZ", 0.8), ("XX", 0.6), ("ZZ", 0.5), ("XI", 1.2)])
LEAST = -2.3


def small(start=(3.0, 5.0), gradient=None) -> TorchQuantumModule:
    """Two weights with a positive definite Hessian around the least point (dogleg needs it)."""
    theta = ParameterVector("t", 2)
    circuit = QuantumCircuit(2)
    circuit.ry(theta[0], 0)
    circuit.ry(theta[1], 1)
    circuit.cx(0, 1)
    weights = torch.tensor(start, dtype=torch.float64)
    return TorchQuantumModule(circuit, OPERATOR, initial_weights=weights, gradient=gradient)


def counted(node):
    calls = []

    def loss():
        calls.append(node.weight.detach().clone())
        return node().sum()

    return loss, calls


@pytest.mark.parametrize("method", METHODS)
def test_every_method_reaches_the_ground_energy(method):
    """Methods stop at a change of 1e-10 or a slope of 1e-10: the energy is 1e-9 close at most."""
    assert np.linalg.eigvalsh(OPERATOR.to_matrix())[0] == pytest.approx(LEAST, abs=1e-12)
    node = small()
    loss, calls = counted(node)
    optimizer = ScipyMinimize(node, method.upper(), max_iter=500, tolerance=1e-10)
    value = optimizer.step(loss)
    assert abs(value - LEAST) < 1e-9
    assert node().item() == pytest.approx(value, abs=1e-12)
    result, number = optimizer.result, len(calls)
    np.testing.assert_array_equal(node.weight.detach(), result.x)
    if method in VALUES_ONLY + GRADIENTS:
        assert number == result.nfev  # a gradient comes with its value
    else:
        # Nothing of finite differences: one more evaluation for each point of a Hessian.
        assert result.nfev < number <= result.nfev + result.nhev
        assert result.nit < 20


def test_methods_are_all_of_scipys():
    import scipy.optimize._minimize as minimize

    known = {name.lower() for name in METHODS}
    assert known == set(minimize.MINIMIZE_METHODS) - {"_custom"}


@pytest.mark.parametrize("model", [small, with_inputs, two_modules])
def test_hessians_and_products_are_exact(model):
    """Against torch's own functional Hessian of all parameters; 1e-9 for sums of some 100 terms."""
    node = model()
    parameters = dict(node.named_parameters())
    optimizer = ScipyMinimize(node.parameters(), "trust-exact")

    def of(*tensors):
        with torch.nn.utils.stateless._reparametrize_module(
            node, dict(zip(parameters, tensors, strict=True))
        ):
            return loss_of(node)

    tensors = tuple(p.detach().clone() for p in node.parameters())
    blocks = torch.autograd.functional.hessian(of, tensors)
    sizes = [t.numel() for t in tensors]
    expected = torch.cat(
        [
            torch.cat([b.reshape(n, m) for b, m in zip(row, sizes, strict=True)], 1)
            for row, n in zip(blocks, sizes, strict=True)
        ]
    ).numpy()
    calls = _FlatLoss(optimizer, lambda: loss_of(node))
    x = weights_of(node)
    with torch.no_grad():
        np.testing.assert_allclose(calls.compute_hessian(x), expected, rtol=0, atol=1e-9)
        vector = np.linspace(-1, 2, len(x))
        np.testing.assert_allclose(
            calls.multiply_hessian(x, vector), expected @ vector, rtol=0, atol=1e-8
        )
    assert np.abs(expected).max() > 0.1


def test_products_at_one_point_share_an_evaluation():
    node = small()
    loss, calls = counted(node)
    functions = _FlatLoss(ScipyMinimize(node, "trust-ncg"), loss)
    x = weights_of(node)
    with torch.no_grad():
        first = [functions.multiply_hessian(x, v) for v in np.eye(2)]
        assert len(calls) == 1
        functions.differentiate(x + 1)  # moves the weights that the graph was made of
        again = [functions.multiply_hessian(x, v) for v in np.eye(2)]
        assert len(calls) == 3
        functions.multiply_hessian(x + 1, np.ones(2))
        assert len(calls) == 4
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("method", PRODUCTS + HESSIANS)
def test_parameters_in_which_the_loss_is_linear_or_absent(method):
    """Their second derivatives are zero, and the others' still right."""
    a, b, c = (torch.nn.Parameter(torch.full((2,), 0.3, dtype=torch.float64)) for _ in range(3))
    calls = _FlatLoss(ScipyMinimize([a, b, c], method), lambda: a.sum() + b.pow(3).sum())
    x = np.array([0.0, 0.0, 1.0, 2.0, 5.0, 5.0])
    with torch.no_grad():
        expected = np.diag([0, 0, 6, 12, 0, 0]).astype(float)
        np.testing.assert_allclose(calls.compute_hessian(x), expected, atol=1e-14)
        np.testing.assert_allclose(
            calls.multiply_hessian(x, np.ones(6)), expected.sum(0), atol=1e-14
        )


@pytest.mark.parametrize("method", BOUNDED)
def test_bounds_are_kept(method):
    """The least point of a cosine within [0.5, 2.0] is its upper end, seen from any method."""
    node = TorchQuantumModule(rotation()[0], "Z", initial_weights=[0.7]).double()
    loss, calls = counted(node)
    optimizer = ScipyMinimize(node, method, bounds=[(0.5, 2.0)], max_iter=300, tolerance=1e-9)
    with warnings.catch_warnings():
        # SciPy remarks on steps that a bound leaves no room for.
        warnings.filterwarnings("ignore", message="delta_grad == 0.0", category=UserWarning)
        value = optimizer.step(loss)
    assert 0.5 <= node.weight.item() <= 2.0 + 1e-9
    if method != "COBYLA":  # which takes bounds for constraints that it may violate on its way
        assert all(0.5 <= w.item() <= 2.0 + 1e-9 for w in calls)
    # The barrier of interior points ends at 1e-3 from a bound or so, the others at the bound.
    assert abs(value - np.cos(2.0)) < (1e-3 if method == "trust-constr" else 1e-6)


def test_bounds_of_frozen_parameters_are_left_out():
    p, q, r = (torch.nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(3))
    bounds = [(0, 1), (0, 2), (None, 3), (4, None), (-5, 5), (-6, 6)]
    optimizer = ScipyMinimize([p, q, r], bounds=bounds)
    q.requires_grad_(False)
    optimizer.step(lambda: -p.sum() - q.sum() - r.sum())
    assert (p.tolist(), q.tolist(), r.tolist()) == ([1, 2], [1, 1], [5, 6])


def test_closures_with_and_without_backward():
    results = []
    for backward in (False, True):
        model = two_modules()
        optimizer = ScipyMinimize(model.parameters(), "BFGS", max_iter=5)

        def closure(model=model, optimizer=optimizer, backward=backward):
            optimizer.zero_grad()
            loss = loss_of(model)
            if backward:
                loss.backward()
            return loss

        results.append((optimizer.step(closure), weights_of(model)))
    assert results[0][0] == pytest.approx(results[1][0], abs=1e-10)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=0, atol=1e-8)


def test_a_module_means_its_quantum_weights():
    model = two_modules()
    classical = [p.detach().clone() for layer in (model[0], model[2]) for p in layer.parameters()]
    first = loss_of(model).item()
    assert ScipyMinimize(model, max_iter=5).step(lambda: loss_of(model)) < first
    after = [p for layer in (model[0], model[2]) for p in layer.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(classical, after, strict=True))


def test_single_precision():
    """Weights are rounded to 1e-7; the energy is flat at its minimum, so 1e-6 is left."""
    node = energy(dtype=torch.float32)
    value = ScipyMinimize(node).step(lambda: node().sum())
    assert abs(value - GROUND) < 1e-5 and node.weight.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("method", ["COBYLA", "BFGS", "trust-ncg"])
def test_resumes_bit_identically(method, dtype):
    def make(model):
        options = {"rhobeg": 0.1} if method == "COBYLA" else {}
        return ScipyMinimize(model, method, max_iter=9 if options else 1, options=options)

    assert_resumes_bit_identically(lambda: energy(dtype=dtype), make)


def test_copies_go_on_as_the_originals():
    node = small()
    optimizer = ScipyMinimize(node, max_iter=2)
    optimizer.step(lambda: node().sum())
    pairs = [copy.deepcopy((node, optimizer)), pickle.loads(pickle.dumps((node, optimizer)))]
    expected = optimizer.step(lambda: node().sum())
    assert [o.step(lambda n=n: n().sum()) for n, o in pairs] == [expected] * 2


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("error", ["nan", "raised"])
def test_a_failing_loss_restores_the_weights(method, error):
    node = small()
    before, count = weights_of(node), 0

    def loss():
        nonlocal count
        count += 1
        if count == 3 and error == "raised":
            raise KeyError("mine")
        return node().sum() * (float("nan") if count >= 3 else 1)

    # A second derivative may be what fails first; SciPy then hands on what it finds in it.
    expected = (e.ObjectiveError, ValueError) if error == "nan" else KeyError
    with pytest.raises(expected):
        ScipyMinimize(node, method).step(loss)
    np.testing.assert_array_equal(weights_of(node), before)


def test_options_that_are_refused():
    node = small()
    with pytest.raises(e.OptimizerError, match="one of Nelder-Mead, .*dogleg.*; got 'Adam'"):
        ScipyMinimize(node, "Adam")
    for value in (0, 2.5):
        with pytest.raises(e.OptimizerError, match="max_iter to be a whole number from 1 up"):
            ScipyMinimize(node, max_iter=value)
    with pytest.raises(e.OptimizerError, match="tolerance to be a positive finite number; got 0"):
        ScipyMinimize(node, tolerance=0)
    for bounds in ([(0, 1)], [(0, 1), 2], [(0, 1), (2, 1)], 3, [("a", 1), (0, 1)]):
        with pytest.raises(e.InputError, match=r"\(lower, upper\) (as bounds|with lower <= upper)"):
            ScipyMinimize(node, bounds=bounds)


def test_closures_that_are_refused():
    node = small()
    with pytest.raises(e.OptimizerError, match=r"needs a closure.*step\(closure\)"):
        ScipyMinimize(node).step()
    with pytest.raises(e.OptimizerError, match=r"^ScipyMinimize needs no gradient.*backward\(\)"):
        ScipyMinimize(node, "COBYLA").step(lambda: node().sum().backward())
    message = "L-BFGS-B needs a gradient: its closure must return the loss, one number that"
    for wrong in (None, node().expand(2), node().item(), torch.ones(())):
        with pytest.raises(e.OptimizerError, match=message):
            ScipyMinimize(node).step(lambda wrong=wrong: wrong)
    with pytest.raises(e.OptimizerError, match="needs the loss: return it"):
        ScipyMinimize(node).step(lambda: node().sum().backward())

    def backward():
        loss = node().sum()
        loss.backward()
        return loss

    for method in PRODUCTS + HESSIANS:
        with pytest.raises(e.OptimizerError, match=r"second derivatives: .*without calling back"):
            ScipyMinimize(node, method).step(backward)
    once = small(gradient="spsa")
    with pytest.raises(e.BridgeError):
        ScipyMinimize(once, "trust-exact").step(lambda: once().sum())
    assert weights_of(once).tolist() == [3.0, 5.0]
