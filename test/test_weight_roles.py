# SPDX-License-Identifier: Apache-2.0
"""Weights that are frozen, shared, or different in each row."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.primitives import StatevectorEstimator
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit_algorithms.gradients import ParamShiftEstimatorGradient
from tensor_kernels import IN_TENSORS

from qiskit_torch_bridge import (
    CircuitProgram,
    Execution,
    TorchQuantumModule,
    Tracker,
    expectation,
)
from qiskit_torch_bridge.exceptions import InputError, ParameterError, StateDictError
from qiskit_torch_bridge.optim import (
    QNSPSA,
    FubiniStudyMetric,
    QuantumNaturalGradient,
    Rotosolve,
)

X, A, B = ParameterVector("x", 2), ParameterVector("a", 3), ParameterVector("b", 2)
PARAMS = [B[1], A[0], A[1], B[0], A[2]]  # in no particular order
WEIGHTS = [0.3, -1.1, 0.7, 2.0, -0.4]
START = torch.tensor(WEIGHTS, dtype=torch.float64)
INPUTS = torch.tensor([[0.1, 0.9], [-0.5, 1.3], [2.0, 0.0]], dtype=torch.float64)
FROZEN = ["a[?]"]  # the brackets of names stand for themselves
TRAINED = [0, 3]  # of PARAMS
EXACT = {"rtol": 0.0, "atol": 1e-12}


def circuit() -> QuantumCircuit:
    result = QuantumCircuit(2)
    for q in range(2):
        result.ry(X[q], q)
        result.rx(A[q], q)
    result.cx(0, 1)
    result.ry(A[2] + 0.5 * A[0], 0)
    result.crz(B[0], 0, 1)
    result.rx(B[1], 1)
    return result


def module(**options: Any) -> TorchQuantumModule:
    chosen = {"input_params": X, "weight_params": PARAMS, "initial_weights": START, **options}
    return TorchQuantumModule(circuit(), ["ZI", "XX"], **chosen).double()


def losses(m: TorchQuantumModule) -> torch.Tensor:
    return (m(INPUTS) * torch.arange(1.0, 7.0, dtype=torch.float64).reshape(3, 2)).sum()


ESTIMATOR = StatevectorEstimator()
WAYS: dict[str, dict[str, Any]] = {
    "exact": {},
    **{name: {"estimator": exact} for name, exact in IN_TENSORS.items()},
    "parameter-shift": {"estimator": ESTIMATOR, "gradient": "parameter-shift"},
    "aqgd": {"estimator": ESTIMATOR, "gradient": "aqgd"},
    "finite-difference": {"estimator": ESTIMATOR, "gradient": "finite-difference"},
    "adjoint": {"estimator": ESTIMATOR, "gradient": "adjoint"},
    "plugin": {"estimator": ESTIMATOR, "gradient": ParamShiftEstimatorGradient(ESTIMATOR)},
}


@pytest.mark.parametrize("way", WAYS)
def test_frozen_weights_count_and_are_not_differentiated(way: str) -> None:
    """Values are those of all weights; the gradient is that of the others, in their order."""
    free, partly = module(**WAYS[way]), module(frozen_params=FROZEN, **WAYS[way])
    assert partly.weight.tolist() == [WEIGHTS[k] for k in TRAINED]
    assert partly.frozen_weight is not None and partly.frozen_weight.tolist() == [-1.1, 0.7, -0.4]
    torch.testing.assert_close(partly.join_weights(), free.weight.detach(), **EXACT)
    torch.testing.assert_close(partly(INPUTS), free(INPUTS), **EXACT)
    losses(free).backward()
    losses(partly).backward()
    torch.testing.assert_close(partly.weight.grad, free.weight.grad[TRAINED], **EXACT)


@pytest.mark.parametrize(("way", "points"), [("parameter-shift", 2), ("finite-difference", 2)])
def test_frozen_weights_cost_no_evaluations(way: str, points: int) -> None:
    """Only the points of the one weight that is trained are evaluated, and foretold."""
    m = module(frozen_params=["a*", B[0]], **WAYS[way])
    with Tracker() as tracker:
        losses(m).backward()
    assert tracker.usage == m.cost(3).usage
    assert tracker.usage.points == 3 + points * 3


@pytest.mark.parametrize("way", ["exact", "exact by torch", "parameter-shift", "aqgd"])
def test_second_derivatives_leave_frozen_weights_out(way: str) -> None:
    free, partly = module(**WAYS[way]), module(frozen_params=FROZEN, **WAYS[way])

    def hessian(m: TorchQuantumModule) -> torch.Tensor:
        def loss(w: torch.Tensor) -> torch.Tensor:
            return torch.func.functional_call(m, {"weight": w}, INPUTS[:1]).prod(-1).sum()

        return torch.autograd.functional.hessian(loss, m.weight.detach())

    expected = hessian(free)[TRAINED][:, TRAINED]
    torch.testing.assert_close(hessian(partly), expected, rtol=0.0, atol=1e-11)


@pytest.mark.parametrize("way", ["exact", "exact by torch", "parameter-shift", "adjoint"])
def test_functions_give_frozen_weights_a_gradient_of_zero(way: str) -> None:
    program = CircuitProgram(
        circuit(), "ZZ", input_params=X, weight_params=PARAMS, frozen_params=FROZEN
    )
    free = CircuitProgram(circuit(), "ZZ", input_params=X, weight_params=PARAMS)
    w = torch.tensor(WEIGHTS, dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(expectation(program, INPUTS, w, **WAYS[way]).sum(), w)
    (whole,) = torch.autograd.grad(expectation(free, INPUTS, w, **WAYS[way]).sum(), w)
    mask = torch.zeros(5, dtype=torch.float64)
    mask[TRAINED] = 1.0
    torch.testing.assert_close(found, whole * mask, **EXACT)

    def total(v: torch.Tensor, p: CircuitProgram) -> torch.Tensor:
        return expectation(p, INPUTS, v, **WAYS[way]).sum()

    v, d = w.detach(), torch.ones(5, dtype=torch.float64)
    _, along = torch.func.jvp(lambda u: total(u, program), (v,), (d,))
    torch.testing.assert_close(along, (whole * mask).sum(), **EXACT)


def test_freezing_later_keeps_weights_and_place() -> None:
    """And back: a module with all weights free is the one that it was."""
    m = module(shots=100, seed=3, backend=GenericBackendV2(2, seed=1))
    transpiled = m.isa_circuit
    partly = m.with_frozen(B)
    assert partly.program.frozen_params == (B[1], B[0])
    assert partly.isa_circuit is transpiled and partly.shots == 100
    assert "frozen=2" in repr(partly) and "frozen" not in repr(m)
    again = partly.with_frozen(None)
    assert again.program == m.program and again.frozen_weight is None
    torch.testing.assert_close(again.weight, m.weight, **EXACT)
    assert m.frozen_weight is None  # nothing of this has changed it


def test_evaluation_and_requires_grad_stay() -> None:

    m = module(evaluation=Execution(shots=64, seed=1))
    m.weight.requires_grad_(False)
    partly = m.with_frozen("a*")
    assert not partly.weight.requires_grad
    assert partly.eval().shots == 64 and partly.train().shots is None


def test_copies_and_files_carry_frozen_weights() -> None:
    m = module(frozen_params=FROZEN)
    state = m.state_dict()
    assert list(state) == ["weight", "frozen_weight"]
    other = module(frozen_params=FROZEN, initial_weights=[0.0] * 5)
    other.load_state_dict(state)
    for found in (other, copy.deepcopy(m), pickle.loads(pickle.dumps(m))):
        torch.testing.assert_close(found(INPUTS), m(INPUTS), **EXACT)
        assert found.program == m.program
    assert m.program != module().program
    assert CircuitProgram.from_state(m.program.to_state()) == m.program
    with pytest.raises(RuntimeError, match="frozen_weight"):
        module().load_state_dict(state)
    bad = {**state, "frozen_weight": torch.full((3,), torch.nan)}
    with pytest.raises(InputError, match="finite"):
        other.load_state_dict(bad)


def test_damaged_states_are_refused() -> None:
    state = module(frozen_params=FROZEN).program.to_state()
    for wrong in ('["a[0]", "x[0]"]', '"a"', "7", '["a[1]", "a[0]"]'):
        text = state["program"].replace('["a[0]", "a[1]", "a[2]"]', wrong)
        assert text != state["program"]
        with pytest.raises(StateDictError):
            CircuitProgram.from_state({**state, "program": text})


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("c*", "none is like 'c\\*'"),
        ([A, "q"], "none is like 'q'"),
        (X, "does not contain"),
        (3, "Parameter"),
        ([None], "Parameter"),
    ],
)
def test_what_is_no_weight_is_refused(wrong: Any, says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        module(frozen_params=wrong)
    with pytest.raises(ParameterError, match=says):
        module().with_frozen(wrong)


def test_trained_circuits_hold_all_weights() -> None:
    m, partly = module(), module(frozen_params=FROZEN)
    assert partly.to_circuit() == m.to_circuit()
    assert partly.bind(INPUTS[0]) == m.bind(INPUTS[0])
    assert partly.most_likely(INPUTS).tolist() == m.most_likely(INPUTS).tolist()


def test_optimizers_leave_frozen_weights_alone() -> None:
    """The metric is a block of that of all weights; other points have the frozen ones in them."""
    m = module(frozen_params=FROZEN)
    assert m.frozen_weight is not None
    frozen = m.frozen_weight.tolist()
    whole = FubiniStudyMetric(module().program)(WEIGHTS, INPUTS.numpy())
    block = FubiniStudyMetric(m.program)(WEIGHTS, INPUTS.numpy())
    np.testing.assert_allclose(block, whole[np.ix_(TRAINED, TRAINED)], rtol=0, atol=1e-12)
    start = m.weight.detach().clone()
    optimizer = QuantumNaturalGradient(m, lr=0.1, damping=0.01)
    losses(m).backward()
    gradient = m.weight.grad.numpy().copy()
    optimizer.step()
    step = np.linalg.solve(block + 0.01 * np.eye(2), gradient)
    np.testing.assert_allclose(m.weight.detach(), start.numpy() - 0.1 * step, rtol=0, atol=1e-9)
    for made in (Rotosolve(m), QNSPSA(m, lr=0.01, seed=1)):
        before = m.weight.detach().clone()

        def closure() -> torch.Tensor:
            return losses(m)

        made.step(closure)
        assert not torch.equal(before, m.weight)
    assert m.frozen_weight.tolist() == frozen


def test_two_modules_share_weights() -> None:
    """As any two modules of torch's do: one Parameter, whose gradient is the sum of both."""
    first, second = (
        module(),
        TorchQuantumModule(circuit(), "YY", input_params=X, weight_params=PARAMS),
    )
    second.weight = first.weight
    assert len({id(p) for p in (*first.parameters(), *second.parameters())}) == 1
    (losses(first) + second(INPUTS).sum()).backward()
    together = first.weight.grad.clone()
    first.weight.grad = None
    losses(first).backward()
    alone = first.weight.grad.clone()
    first.weight.grad = None
    second(INPUTS).sum().backward()
    torch.testing.assert_close(together, alone + first.weight.grad, **EXACT)


# -- weights of their own for each row -----------------------------------------------------------


def program() -> CircuitProgram:
    return CircuitProgram(circuit(), ["ZI", "XX"], input_params=X, weight_params=PARAMS)


def rows(*batch: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(*batch, 5, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(
    "way", ["exact", *IN_TENSORS, "parameter-shift", "aqgd", "adjoint", "plugin"]
)
def test_rows_with_weights_of_their_own(way: str) -> None:
    """Values and both gradients are those of one call for each row; it is one job."""
    p, w = program(), rows(3).requires_grad_()
    x = INPUTS.clone().requires_grad_()
    cotangent = torch.tensor([[1.0, -2.0], [0.5, 3.0], [-1.0, 0.3]], dtype=torch.float64)
    with Tracker() as tracker:
        found = expectation(p, x, w, **WAYS[way])
        gx, gw = torch.autograd.grad((found * cotangent).sum(), (x, w))
    assert way in ("exact", *IN_TENSORS, "plugin") or tracker.usage.jobs == (
        1 if way == "adjoint" else 2
    )
    for k in range(3):
        v, z = w[k].detach().requires_grad_(), x[k].detach().requires_grad_()
        one = expectation(p, z, v)
        torch.testing.assert_close(found[k], one, **EXACT)
        hx, hw = torch.autograd.grad((one * cotangent[k]).sum(), (z, v))
        torch.testing.assert_close(gx[k], hx, rtol=0.0, atol=1e-11)
        torch.testing.assert_close(gw[k], hw, rtol=0.0, atol=1e-11)


@pytest.mark.parametrize("compiled", [False, True])
def test_axes_of_inputs_and_weights_broadcast(compiled: bool) -> None:
    p, w = program(), rows(4, 1).requires_grad_()

    def values(x: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return expectation(p, x, v)

    function = torch.compile(values, backend="eager") if compiled else values
    found = function(INPUTS, w)
    assert found.shape == (4, 3, 2)
    expected = torch.stack([expectation(p, INPUTS, v[0]) for v in w])
    torch.testing.assert_close(found, expected, **EXACT)
    (gradient,) = torch.autograd.grad(found.prod(-1).sum(), w)
    (right,) = torch.autograd.grad(expected.prod(-1).sum(), w)
    torch.testing.assert_close(gradient, right, **EXACT)


def test_weights_alone_have_rows() -> None:
    plain = QuantumCircuit(1)
    plain.ry(A[0], 0)
    angles = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None]
    torch.testing.assert_close(expectation(plain, weights=angles, observables="Z"), angles.cos())


def test_per_row_weights_to_second_order_and_under_vmap() -> None:
    p, w = program(), rows(3).requires_grad_()

    def total(v: torch.Tensor, x: torch.Tensor = INPUTS) -> torch.Tensor:
        return expectation(p, x, v)

    assert torch.autograd.gradcheck(total, (w,))
    assert torch.autograd.gradgradcheck(total, (w,))
    mapped = torch.func.vmap(lambda v: expectation(p, INPUTS, v))(w.detach())
    direct = expectation(p, INPUTS, w.detach()[:, None])
    torch.testing.assert_close(mapped, direct, **EXACT)
    stacked = torch.stack([w.detach(), 2 * w.detach()])
    nested = torch.func.vmap(total)(stacked)
    torch.testing.assert_close(nested[1], total(2 * w.detach()), **EXACT)


def test_a_hypernetwork_trains() -> None:
    """Weights that another network computes of the row: the gradient reaches that network."""
    torch.manual_seed(1)
    p, network = program(), torch.nn.Linear(2, 5).double()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    first = last = 0.0
    for step in range(30):
        optimizer.zero_grad()
        loss = (expectation(p, INPUTS, network(INPUTS))[:, 0] + 1).pow(2).mean()
        loss.backward()
        optimizer.step()
        first, last = (loss.item() if step == 0 else first), loss.item()
    assert last < 0.1 * first


@pytest.mark.parametrize(
    ("inputs", "weights", "says"),
    [
        (INPUTS, rows(2), "broadcast"),
        (INPUTS, torch.zeros(3, 4), "shape"),
        (INPUTS, torch.tensor(1.0), "shape"),
    ],
)
def test_rows_that_do_not_fit_are_refused(
    inputs: torch.Tensor, weights: torch.Tensor, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        expectation(program(), inputs, weights)
    with pytest.raises(InputError, match="shape"):
        module(initial_weights=rows(3))
