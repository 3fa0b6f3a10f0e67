# SPDX-License-Identifier: Apache-2.0
"""Observables whose coefficients are parameters."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.primitives import StatevectorEstimator, StatevectorSampler
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import Pauli, SparsePauliOp

from qiskit_torch_bridge import CircuitProgram, TorchQuantumModule, Tracker, Variance, expectation
from qiskit_torch_bridge.exceptions import ObservableError, ParameterError, StateDictError

X, W = Parameter("x"), ParameterVector("w", 2)
A, B = Parameter("a"), Parameter("b")
TERMS = ["ZI", "IZ", "XX", "ZZ"]
INPUTS = torch.tensor([[0.3], [-1.2], [2.0]], dtype=torch.float64)
START = {A: 0.75, B: -0.375, W: [0.25, 1.125]}
EXACT = {"rtol": 0.0, "atol": 1e-12}


def circuit() -> QuantumCircuit:
    result = QuantumCircuit(2)
    result.ry(X, 0)
    result.rx(W[0], 1)
    result.cx(0, 1)
    result.ry(W[1], 0)
    return result


def weighted(*coefficients: Any, labels: list[str] | None = None) -> SparsePauliOp:
    return SparsePauliOp(labels or TERMS[: len(coefficients)], np.array(coefficients, dtype=object))


OBSERVABLES = [weighted(A, 2 * B + 0.5, 1.0), {"ZZ": A - B, "XX": B - A + 3.0}]


def module(observables: Any = None, **options: Any) -> TorchQuantumModule:
    chosen = {"input_params": [X], "initial_weights": START, **options}
    return TorchQuantumModule(circuit(), observables or OBSERVABLES, **chosen).double()


def by_hand(inputs: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The same from expectation values of the terms, weighted in torch."""
    order = [p.name for p in module().program.weight_params]
    w = dict(zip(order, weight, strict=True))
    terms = CircuitProgram(circuit(), TERMS, input_params=[X])
    z, i, x, zz = expectation(terms, inputs, torch.stack([w["w[0]"], w["w[1]"]])).unbind(-1)
    a, b = w["a"], w["b"]
    return torch.stack([a * z + (2 * b + 0.5) * i + x, (a - b) * zz + (b - a + 3.0) * x], -1)


WAYS: dict[str, dict[str, Any]] = {
    "exact": {},
    "parameter-shift": {"estimator": StatevectorEstimator()},
    "aqgd": {"estimator": StatevectorEstimator(), "gradient": "aqgd"},
    "adjoint": {"estimator": StatevectorEstimator(), "gradient": "adjoint"},
}


@pytest.mark.parametrize("way", WAYS)
def test_values_and_gradients_are_those_of_weighted_terms(way: str) -> None:
    m = module(**WAYS[way])
    inputs = INPUTS.clone().requires_grad_()
    cotangent = torch.tensor([[1.0, -0.5], [0.3, 2.0], [-1.0, 1.0]], dtype=torch.float64)
    found = m(inputs)
    gradients = torch.autograd.grad((found * cotangent).sum(), (inputs, m.weight))
    again, weight = INPUTS.clone().requires_grad_(), m.weight.detach().requires_grad_()
    expected = by_hand(again, weight)
    torch.testing.assert_close(found, expected, **EXACT)
    right = torch.autograd.grad((expected * cotangent).sum(), (again, weight))
    for mine, theirs in zip(gradients, right, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0.0, atol=1e-11)


def test_coefficients_cost_no_evaluations() -> None:
    """Two angles have two points each in three rows, whatever else is trained."""
    m = module(**WAYS["parameter-shift"])
    with Tracker() as tracker:
        m(INPUTS).sum().backward()
    assert tracker.usage == m.cost(3).usage
    assert tracker.usage.points == 3 + 2 * 2 * 3


@pytest.mark.parametrize("way", ["exact", "parameter-shift"])
def test_second_derivatives(way: str) -> None:
    """Those between a coefficient and an angle are there, and those of coefficients are zero."""
    m = module(**WAYS[way])

    def values(w: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(m, {"weight": w}, INPUTS)

    weight = m.weight.detach().requires_grad_()
    assert torch.autograd.gradcheck(values, (weight,))
    assert torch.autograd.gradgradcheck(values, (weight,))


def test_roles_are_as_for_any_parameter() -> None:
    """Fed by a layer before, frozen, or in the circuit as well."""
    fed = TorchQuantumModule(
        circuit(), OBSERVABLES, input_params=[X, A], initial_weights={B: -0.375, W: [0.25, 1.125]}
    ).double()
    inputs = torch.cat([INPUTS, torch.full((3, 1), 0.75, dtype=torch.float64)], 1)
    torch.testing.assert_close(fed(inputs), module()(INPUTS), **EXACT)
    frozen = module(frozen_params="a")
    frozen(INPUTS).sum().backward()
    assert frozen.weight.grad is not None and frozen.weight.grad.shape == (3,)
    both = TorchQuantumModule(
        circuit(), {"ZI": W[0]}, input_params=[X], initial_weights={W: [0.25, 1.125]}
    ).double()
    plain = module(["ZI"], initial_weights={W: [0.25, 1.125]})
    torch.testing.assert_close(both(INPUTS), 0.25 * plain(INPUTS), **EXACT)
    assert torch.autograd.gradcheck(
        lambda w: torch.func.functional_call(both, {"weight": w}, INPUTS),
        (both.weight.detach().requires_grad_(),),
    )


def test_rows_of_coefficients() -> None:
    program = CircuitProgram(circuit(), weighted(A, B), input_params=[X])
    order = [p.name for p in program.weight_params]
    rows = torch.randn(
        3, len(order), dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )
    found = expectation(program, INPUTS, rows)
    for k, row in enumerate(rows):
        torch.testing.assert_close(found[k], expectation(program, INPUTS[k], row), **EXACT)
    torch.testing.assert_close(
        torch.func.vmap(lambda x, w: expectation(program, x, w))(INPUTS, rows), found, **EXACT
    )


def test_places_and_compilers() -> None:
    m, expected = module(), module()(INPUTS)
    torch.testing.assert_close(torch.compile(m, backend="eager")(INPUTS), expected, **EXACT)
    device = m.with_backend(GenericBackendV2(4, seed=1, noise_info=False), shots=40_000, seed=3)
    # Three terms with coefficients up to 3 at five standard errors of 40,000 shots.
    assert (device(INPUTS) - expected).abs().max() < 5 * 5 / 40_000**0.5
    sampled = m.with_backend(estimator=StatevectorSampler(seed=1), shots=40_000)
    assert (sampled(INPUTS) - expected).abs().max() < 5 * 5 / 40_000**0.5


def test_programs_travel_and_are_told_apart() -> None:
    m = module()
    torch.testing.assert_close(pickle.loads(pickle.dumps(m))(INPUTS), m(INPUTS), **EXACT)
    again = CircuitProgram.from_state(m.program.to_state())
    assert again == m.program and again.marks == m.program.marks
    other = module([weighted(B, 2 * A + 0.5, 1.0), OBSERVABLES[1]])
    assert other.program != m.program
    with pytest.raises(StateDictError, match="measurement"):
        other.load_state_dict(m.state_dict())


@pytest.mark.parametrize(
    "damage",
    [{"factors": [0]}, {"factors": [9] * 7}, {"rows": [0] * 7}, {"coefficients": ["q", "p"]}],
)
def test_damaged_states_are_refused(damage: dict[str, Any]) -> None:
    state = module().program.to_state()
    described = json.loads(state["program"])
    described["measurement"]["settings"].update(damage)
    with pytest.raises(StateDictError):
        CircuitProgram.from_state({**state, "program": json.dumps(described)})


@pytest.mark.parametrize(
    ("observables", "error", "says"),
    [
        (weighted(A * B), ObservableError, "weight them in torch"),
        (weighted(A**2), ObservableError, "weight them in torch"),
        (weighted(1j * A), ObservableError, "weight them in torch"),
        ({Pauli("-ZI"): A}, ObservableError, "sign into the coefficient"),
        (weighted(Parameter("x")), ParameterError, "Two parameters have the name 'x'"),
        ([{"ZI": A}, {"Z": 1.0}], ObservableError, "qubits"),
    ],
)
def test_what_cannot_be_is_refused(observables: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        CircuitProgram(circuit(), observables, input_params=[X])


def test_other_measurements_take_fixed_observables() -> None:
    with pytest.raises(ObservableError, match="parameter among its coefficients"):
        Variance(weighted(A))


def test_it_reads_as_it_was_written() -> None:
    assert "a*ZI" in repr(CircuitProgram(circuit(), weighted(A)))
    assert module().last_stds is None


def test_coefficients_that_cancel_are_constants() -> None:
    m = module([weighted(A - A + 2.0, 1.0), {"ZZ": A}], initial_weights={A: 1.0, W: [0.25, 1.125]})
    expected = expectation(
        CircuitProgram(circuit(), ["ZI", "IZ"], input_params=[X]), INPUTS, m.weight[:2]
    )
    torch.testing.assert_close(m(INPUTS)[:, 0], 2 * expected[:, 0] + expected[:, 1], **EXACT)
