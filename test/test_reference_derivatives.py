# SPDX-License-Identifier: Apache-2.0
"""The reference's expressions and derivatives are held to closed forms and to numerical ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from operator import methodcaller
from types import SimpleNamespace

import pytest
import reference
import torch
from hypothesis import given
from operation_strategies import BINDS_SQUARES
from qiskit import QuantumCircuit
from qiskit.circuit import Operation, Parameter
from qiskit.circuit import library as lib
from qiskit.quantum_info import SparsePauliOp
from strategies import Case, cases
from torch import Tensor

EXACT = 1e-12  # a few thousand float64 roundings of numbers of size one
ANGLES = tuple(Parameter(f"angle_{i}") for i in range(4))
NUMBERS = torch.tensor([0.7, -1.9, 0.4, 2.3], dtype=torch.float64)

# Each form is written once and evaluated twice: on Qiskit's parameters and on torch's numbers.
AFFINE_FORMS: dict[str, Callable] = {
    "scaled": lambda x, y, f: -1.5 * x,
    "shifted": lambda x, y, f: 0.25 - x,
    "halved": lambda x, y, f: x / 2 + math.pi,
    "difference": lambda x, y, f: x - y,
    "nested": lambda x, y, f: 2 * x - (y - (0.5 - x)),
    "negated": lambda x, y, f: -(x - 1.5 * y),
    "cancelled": lambda x, y, f: x - x + 0 * y,
}
NONLINEAR_FORMS: dict[str, Callable] = {
    "product": lambda x, y, f: x * y,
    "quotient": lambda x, y, f: (x - y) / (2 + y * x),
    "squares": lambda x, y, f: x**2 + y**2,
    "cube": lambda x, y, f: -((x - y) ** 3) / 6,
    "root": lambda x, y, f: (x * x + 1) ** 0.5,
    "reciprocal": lambda x, y, f: 1 / x - 2 * x**-2,
    "tower": lambda x, y, f: x**y,
    "sin": lambda x, y, f: f.sin(2 * x - y),
    "cos": lambda x, y, f: f.cos(x * y),
    "tan": lambda x, y, f: f.tan(x / 3),
    "exp": lambda x, y, f: f.exp(-x / 2) * y,
    "log": lambda x, y, f: f.log(x + y**2),
    "abs": lambda x, y, f: f.abs(y - 2 * x),
    "sign": lambda x, y, f: f.sign(y - 2 * x) * x,
    "arcsin": lambda x, y, f: f.arcsin(x / 4),
    "arccos": lambda x, y, f: f.arccos(x / 4),
    "arctan": lambda x, y, f: f.arctan(x - y),
}
ON_PARAMETERS = SimpleNamespace(
    abs=abs,
    **{
        name: methodcaller(name)
        for name in ("sin", "cos", "tan", "exp", "log", "sign", "arcsin", "arccos", "arctan")
    },
)


def _check_form(form: Callable) -> None:
    parameters, point = ANGLES[:2], torch.tensor([0.8, 1.3], dtype=torch.float64)
    expression = form(*parameters, ON_PARAMETERS)

    def ours(values: Tensor) -> Tensor:
        return reference.evaluate(expression, dict(zip(parameters, values, strict=True)))

    def truth(values: Tensor) -> Tensor:
        return form(values[0], values[1], torch)

    if form is not NONLINEAR_FORMS["squares"] or BINDS_SQUARES:
        bound = expression.bind(dict(zip(parameters, point.tolist(), strict=True)), True)
        assert float(bound) == pytest.approx(truth(point).item(), abs=EXACT)
    for order in range(3):
        torch.testing.assert_close(ours(point), truth(point), rtol=EXACT, atol=EXACT)
        if order < 2:
            ours, truth = torch.func.jacrev(ours), torch.func.jacrev(truth)


@pytest.mark.parametrize("name", AFFINE_FORMS)
def test_affine_expression(name: str) -> None:
    _check_form(AFFINE_FORMS[name])


@pytest.mark.parametrize("name", NONLINEAR_FORMS)
def test_nonlinear_expression(name: str) -> None:
    _check_form(NONLINEAR_FORMS[name])


@given(cases(max_qubits=3, max_gates=4, max_parameters=3, max_observables=2))
def test_derivatives_of_random_circuits(case: Case) -> None:
    def evs(values: Tensor) -> Tensor:
        return reference.expectations(case.circuit, case.observables, case.parameters, values)

    if case.parameters:
        values = case.values.requires_grad_()
        assert torch.autograd.gradcheck(evs, values)


@pytest.mark.parametrize("build", [lib.RXGate, lib.CRXGate, lib.RYGate, lib.CRYGate])
def test_rotation_closed_form(build: Callable[..., Operation]) -> None:
    """<Z> = cos(2 theta + 1/2), also where the angle sits in a controlled gate."""
    circuit = QuantumCircuit(2)
    circuit.x(0)
    gate = build(2 * ANGLES[0] + 0.5)
    circuit.append(gate, [0, 1][-gate.num_qubits :])
    theta = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None]
    problem = (circuit, [SparsePauliOp("ZI")], ANGLES[:1], theta)
    phase = 2 * theta + 0.5
    close = {"rtol": 0, "atol": EXACT}
    torch.testing.assert_close(reference.expectations(*problem), phase.cos(), **close)
    torch.testing.assert_close(reference.jacobian(*problem)[..., 0], -2 * phase.sin(), **close)
    torch.testing.assert_close(reference.hessian(*problem)[..., 0, 0], -4 * phase.cos(), **close)


def test_shared_parameter_closed_form() -> None:
    """Ry(x), Ry(x y): <Z> = cos(x + x y)"""
    x, y = ANGLES[:2]
    circuit = QuantumCircuit(1)
    circuit.ry(x, 0)
    circuit.ry(x * y, 0)
    point = torch.tensor([0.6, -1.1], dtype=torch.float64)

    def truth(v: Tensor) -> Tensor:
        second = v[0] * v[1]
        return torch.stack([torch.cos(v[0] + second), torch.sin(v[0] + second)])

    problem = (circuit, [SparsePauliOp("Z"), SparsePauliOp("X")], (x, y), point)
    first = torch.func.jacrev(truth)
    close = {"rtol": 0, "atol": EXACT}
    torch.testing.assert_close(reference.expectations(*problem), truth(point), **close)
    torch.testing.assert_close(reference.jacobian(*problem), first(point), **close)
    torch.testing.assert_close(
        reference.hessian(*problem), torch.func.jacrev(first)(point), **close
    )


def test_autograd_to_second_order() -> None:
    circuit = QuantumCircuit(2)
    circuit.u(*ANGLES[:3], 0)
    circuit.append(lib.XXPlusYYGate(ANGLES[3], ANGLES[0]), [0, 1])
    values = NUMBERS.clone().requires_grad_()

    def evs(values: Tensor) -> Tensor:
        return reference.expectations(circuit, [SparsePauliOp(["ZX", "YY"])], ANGLES, values)

    assert torch.autograd.gradgradcheck(evs, values)


def test_parameters_that_do_not_matter() -> None:
    circuit = QuantumCircuit(1, global_phase=ANGLES[1])
    circuit.h(0)
    values = NUMBERS[:2].clone().requires_grad_()
    evs = reference.expectations(circuit, [SparsePauliOp("X")], ANGLES[:2], values)
    (gradient,) = torch.autograd.grad(evs.sum(), values)
    assert gradient.abs().max() < EXACT
    nothing = reference.jacobian(QuantumCircuit(1), [SparsePauliOp("Z")], (), NUMBERS[:0])
    assert nothing.shape == (1, 0)
