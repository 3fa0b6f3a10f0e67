# SPDX-License-Identifier: Apache-2.0
"""Derivatives through expressions that are not affine, to second order, and what they take.

With ``ry`` alone, <Z> is the cosine of the sum of all angles, so everything has a closed form.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from qiskit.circuit import Parameter, QuantumCircuit

from qiskit_torch_bridge import CircuitProgram
from qiskit_torch_bridge.exceptions import ExpressionError, InputError
from qiskit_torch_bridge.simulation.choice import METHODS, make_simulator
from qiskit_torch_bridge.simulation.interface import Simulator
from qiskit_torch_bridge.simulation.statevector import StatevectorSimulator

X, W, V = Parameter("x"), Parameter("w"), Parameter("v")
EXACT = 1e-12


def made(*angles, inputs=(X,), weights=(W,), **options) -> StatevectorSimulator:
    circuit = QuantumCircuit(1)
    for angle in angles:
        circuit.ry(angle, 0)
    program = CircuitProgram(circuit, "Z", input_params=list(inputs), weight_params=list(weights))
    columns = program.input_columns, program.weight_columns
    return StatevectorSimulator(program.analysed, program.readout, *columns, **options)


FORMS = {  # an expression, its value, first and second derivatives by x, w: xx, xw, ww
    "product": (
        X * W,
        lambda x, w: (x * w, w, x, 0, 1, 0),
    ),
    "power": (
        X**W,
        lambda x, w: (
            x**w,
            w * x ** (w - 1),
            x**w * math.log(x),
            w * (w - 1) * x ** (w - 2),
            x ** (w - 1) * (1 + w * math.log(x)),
            x**w * math.log(x) ** 2,
        ),
    ),
    "of each": (
        X.sin() + W.exp(),
        lambda x, w: (
            *(math.sin(x) + math.exp(w), math.cos(x), math.exp(w)),
            *(-math.sin(x), 0, math.exp(w)),
        ),
    ),
    "quotient": (
        W / (1 + X * X),
        lambda x, w: (
            w / (1 + x * x),
            -2 * x * w / (1 + x * x) ** 2,
            1 / (1 + x * x),
            w * (6 * x * x - 2) / (1 + x * x) ** 3,
            -2 * x / (1 + x * x) ** 2,
            0,
        ),
    ),
}


@pytest.mark.parametrize("own_weights", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_closed_forms(form: str, own_weights: bool) -> None:
    """<Z> = cos(f + x + w) of an expression f and two affine angles, for three rows."""
    expression, derivatives = FORMS[form]
    s = made(expression, X, W)
    x = np.array([[0.4], [1.3], [0.8]])
    w = np.array([[0.6], [1.7], [0.9]]) if own_weights else np.array([[0.6]])
    c, dc = np.array([[0.5], [-1.5], [2.0]]), np.array([[0.3], [0.2], [-0.7]])
    dx, dw = np.array([[0.2], [-0.4], [1.1]]), np.array([[0.7], [0.1], [-0.5]])[: len(w)]
    table = zip(x.ravel(), np.broadcast_to(w, x.shape).ravel(), strict=True)
    f, fx, fw, fxx, fxw, fww = np.array([derivatives(*at) for at in table]).T[..., None]
    angle, ax, aw = f + x + w, fx + 1, fw + 1
    cosine, sine = np.cos(angle), np.sin(angle)

    def reduced(by_row: np.ndarray) -> np.ndarray:
        return by_row if own_weights else by_row.sum(0, keepdims=True)

    evs, kept = s.evaluate(x, w, keep=True)
    np.testing.assert_allclose(evs, cosine, rtol=0, atol=EXACT)
    for given in (None, kept):
        gx, gw = s.vjp(x, w, c, given)
        np.testing.assert_allclose(gx, -c * sine * ax, rtol=0, atol=EXACT)
        np.testing.assert_allclose(gw, reduced(-c * sine * aw), rtol=0, atol=EXACT)
    turn = ax * dx + aw * dw
    np.testing.assert_allclose(s.tangent(x, w, dx, dw), -sine * turn, rtol=0, atol=EXACT)
    hx = -c * (cosine * turn * ax + sine * (fxx * dx + fxw * dw)) - dc * sine * ax
    hw = -c * (cosine * turn * aw + sine * (fxw * dx + fww * dw)) - dc * sine * aw
    for wanted in ((True, True), (True, False), (False, True)):
        found = s.vjp_tangent(x, w, c, dx, dw, dc, wanted)
        for part, right, asked in zip(found, (hx, reduced(hw)), wanted, strict=True):
            np.testing.assert_allclose(part, right if asked else 0 * right, rtol=0, atol=EXACT)


def test_second_derivatives_are_those_of_the_gradient() -> None:
    """Central differences of gradients, many parameters and rotations about other axes between."""
    circuit = QuantumCircuit(2)
    circuit.ry(X * W, 0)
    circuit.rx((W * V).sin(), 1)
    circuit.cx(0, 1)
    circuit.rz((X - V) ** 2, 1)
    circuit.rx(X.exp() / 3 + V, 0)
    circuit.ry(W**3, 1)
    program = CircuitProgram(circuit, ["ZI", "XY"], input_params=[X], weight_params=[V, W])
    columns = program.input_columns, program.weight_columns
    s = StatevectorSimulator(program.analysed, program.readout, *columns)
    rng = np.random.default_rng(5)
    x, dx, (c, dc) = rng.normal(size=(3, 1)), rng.normal(size=(3, 1)), rng.normal(size=(2, 3, 2))
    for rows in (1, 3):
        w, dw = rng.normal(size=(2, rows, 2))
        found = s.vjp_tangent(x, w, c, dx, dw, dc)
        h = 1e-5
        ahead, behind = (s.vjp(x + h * t * dx, w + h * t * dw, c + h * t * dc) for t in (1, -1))
        for part, a, b in zip(found, ahead, behind, strict=True):
            np.testing.assert_allclose(part, (a - b) / (2 * h), rtol=0, atol=1e-7)


def test_rows_share_expressions_of_shared_weights() -> None:
    """Such an angle is computed once, however many rows there are."""
    s = made(X.exp(), W.exp(), X * W)
    x, w = s._columns.extend(np.zeros((7, 1)), np.zeros((1, 1)))
    assert x.shape == (7, 3) and w.shape == (1, 2)


def test_what_is_not_wanted_needs_no_derivative() -> None:
    s = made(X.arccos(), (W**0.5).sin())
    x, w, c = np.array([[0.3], [1.0]]), np.zeros((1, 1)), np.ones((2, 1))
    gx, gw = s.vjp(x, w, c)
    assert math.isfinite(gx[0, 0]) and not math.isfinite(gx[1, 0]) and not math.isfinite(gw[0, 0])
    s.check_derivatives(x[:1], w, (True, False))
    with pytest.raises(ExpressionError, match=r"derivative .*acos\(x\) is singular"):
        s.check_derivatives(x, w, (True, False))
    with pytest.raises(ExpressionError, match=r"derivative .*w.* is singular"):
        s.check_derivatives(x, w, (False, True))
    still, one = np.zeros((2, 1)), np.zeros((1, 1))
    np.testing.assert_array_equal(s.tangent(x, w, still, one), 0)
    with pytest.raises(ExpressionError, match="derivative .* is singular"):
        s.tangent(x, w, np.ones((2, 1)), one)


def test_second_derivatives_may_be_singular_where_first_ones_are_not() -> None:
    s = made(X**1.5, W)
    x, w, c, dx = np.zeros((1, 1)), np.zeros((1, 1)), np.ones((1, 1)), np.ones((1, 1))
    assert s.vjp(x, w, c)[0] == 0
    assert s.vjp_tangent(x, w, c, 0 * x, w, c)[0] == 0  # nothing moves
    with np.errstate(all="ignore"):
        assert not np.isfinite(s.vjp_tangent(x, w, c, dx, w, c)[0]).all()
    with pytest.raises(ExpressionError, match="second derivative .* is singular"):
        s.check_derivatives(x, w)


def test_a_power_has_second_derivatives_at_base_zero() -> None:
    """x**w at x = 0 and w = 3, where the formula has the logarithm of zero: all are zero."""
    s = made(X**W)
    x, w, c = np.zeros((1, 1)), np.full((1, 1), 3.0), np.ones((1, 1))
    for found in s.vjp_tangent(x, w, c, c, c, 0 * c):
        np.testing.assert_array_equal(found, 0)


@pytest.mark.parametrize(
    "x, w, error, named",
    [
        (np.nan, 1.0, InputError, "row 1 has nan for parameter 'x'"),
        (0.1, np.inf, InputError, "row 0 has inf for parameter 'w'"),
        (0.1, -1.0, ExpressionError, r"log\(w\) is singular.*row 0 has \(-1\)"),
        (1e200, 1.0, ExpressionError, "is singular.*row 1"),
    ],
)
def test_values_are_checked_by_every_method(x, w, error, named) -> None:
    s = made(W.log(), X**2 if x > 1 else X)
    x, w, c = np.array([[0.2], [x]]), np.array([[w]]), np.ones((2, 1))
    dx, dw = np.zeros((2, 1)), np.zeros((1, 1))
    for call in (
        lambda: s.evaluate(x, w),
        lambda: s.vjp(x, w, c),
        lambda: s.tangent(x, w, dx, dw),
        lambda: s.vjp_tangent(x, w, c, dx, dw, c),
        lambda: s.states(x, w),
        lambda: s.tangent_states(x, w, dx, dw),
    ):
        with pytest.raises(error, match=named):
            call()


def test_no_rows() -> None:
    s = made(X * W)
    x, w, none = np.zeros((0, 1)), np.ones((1, 1)), np.zeros((0, 1))
    assert s.evaluate(x, w, keep=True)[0].shape == s.tangent(x, w, x, w).shape == (0, 1)
    for gx, gw in (s.vjp(x, w, none), s.vjp_tangent(x, w, none, x, w, none)):
        assert gx.shape == (0, 1) and gw.tolist() == [[0]]


# -- how simulators are made, and what they cost ---------------------------------------------------


def test_simulators_go_by_name() -> None:
    assert METHODS == ("automatic", "statevector", "light-cones", "columns", "network")
    program = CircuitProgram(QuantumCircuit(1), "Z")
    arguments = program.analysed, program.readout, (), ()
    simulator: Simulator = make_simulator("statevector", *arguments, "complex64")
    evs, _ = simulator.evaluate(np.zeros((2, 0)), np.zeros((1, 0)))
    assert simulator.is_affine and evs.tolist() == [[1], [1]]
    with pytest.raises(InputError, match=r"method to be .*'statevector'.*; got 'tensors'"):
        make_simulator("tensors", *arguments)


def wide(num_qubits: int, dtype: str = "complex128") -> StatevectorSimulator:
    circuit = QuantumCircuit(num_qubits)
    circuit.ry(W, range(num_qubits))
    circuit.ryy(W, 0, 1)
    program = CircuitProgram(circuit, "Z" * num_qubits)
    return StatevectorSimulator(program.analysed, program.readout, (), range(1), dtype)


def test_estimates_grow_as_the_state_does() -> None:
    """Ket, bra and the states kept: three of them, 16 bytes for an amplitude or half of it.

    The value and its cotangent take eight bytes each.
    """
    assert wide(20).estimate(1).bytes == (3 * 16 << 20) + 16
    assert wide(20, "complex64").estimate(1).bytes == (3 * 8 << 20) + 16
    costs = [wide(n).estimate(rows) for n, rows in ((12, 64), (13, 64), (13, 128))]
    assert [round(b.operations / costs[0].operations) for b in costs] == [1, 2, 4]
    assert costs[0].bytes < costs[1].bytes < costs[2].bytes


def test_an_estimate_allocates_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    s = wide(24)
    monkeypatch.setattr("qiskit_torch_bridge.memory.aligned", None)
    assert s.estimate(1 << 20).bytes >= 2 * 16 << 24
