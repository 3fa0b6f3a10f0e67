# SPDX-License-Identifier: Apache-2.0
"""Values, gradients and Hessians that are known in closed form, to a few dozen roundings: 1e-13."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.circuit import library as lib
from qiskit.quantum_info import SparsePauliOp
from torch import Tensor

from qiskit_torch_bridge import CircuitProgram
from qiskit_torch_bridge.simulation.statevector import StatevectorSimulator

EXACT = 1e-13
T = ParameterVector("t", 3)

Formula = Callable[[Tensor], Tensor]  # angles (3,) to the expectation value


def built(num_qubits: int, *steps: tuple) -> QuantumCircuit:
    circuit = QuantumCircuit(num_qubits)
    for op, *qubits in steps:
        circuit.append(op, qubits)
    return circuit


H, ZZ = lib.HGate(), SparsePauliOp("ZZ")
U, RXX = lib.UGate(T[0], T[1], T[2]), lib.RXXGate(T[0])
ISING = (lib.PauliEvolutionGate(ZZ, T[0]), 0, 1)
GHZ = built(
    3,
    (H, 0),
    (lib.CXGate(), 0, 1),
    (lib.CXGate(), 1, 2),
    *((lib.RZGate(T[q]), q) for q in range(3)),
)
CRY = built(2, (lib.RYGate(T[0]), 0), (lib.CRYGate(T[1]), 0, 1))

CLOSED: dict[str, tuple[QuantumCircuit, str, Formula]] = {
    "ry, z": (built(1, (lib.RYGate(T[0]), 0)), "Z", lambda t: t[0].cos()),
    "ry, x": (built(1, (lib.RYGate(T[0]), 0)), "X", lambda t: t[0].sin()),
    "rx, y": (built(1, (lib.RXGate(T[0]), 0)), "Y", lambda t: -t[0].sin()),
    "rx, x": (built(1, (lib.RXGate(T[0]), 0)), "X", lambda t: 0 * t[0]),
    "rz, x": (built(1, (H, 0), (lib.RZGate(T[0]), 0)), "X", lambda t: t[0].cos()),
    "p, y": (built(1, (H, 0), (lib.PhaseGate(T[0]), 0)), "Y", lambda t: t[0].sin()),
    "scaled and shifted": (
        built(1, (lib.RYGate(3 * T[0] + 0.4), 0)),
        "Z",
        lambda t: (3 * t[0] + 0.4).cos(),
    ),
    "repeated": (
        built(1, (lib.RYGate(T[0]), 0), (lib.RYGate(T[1] - 2 * T[0]), 0)),
        "Z",
        lambda t: (t[1] - t[0]).cos(),
    ),
    "u, x": (built(1, (U, 0)), "X", lambda t: t[0].sin() * t[1].cos()),
    "u, y": (built(1, (U, 0)), "Y", lambda t: t[0].sin() * t[1].sin()),
    "u, z": (built(1, (U, 0)), "Z", lambda t: t[0].cos()),
    "rxx, zi": (built(2, (RXX, 0, 1)), "ZI", lambda t: t[0].cos()),
    "rxx, zz": (built(2, (RXX, 0, 1)), "ZZ", lambda t: 1 + 0 * t[0]),
    "rxx, xy": (built(2, (RXX, 0, 1)), "XY", lambda t: -t[0].sin()),
    "ising, x": (built(2, (H, 0), (H, 1), ISING), "IX", lambda t: (2 * t[0]).cos()),
    "ising, yz": (built(2, (H, 0), (H, 1), ISING), "ZY", lambda t: (2 * t[0]).sin()),
    "cry, target": (
        CRY,
        "ZI",
        lambda t: 1 - (t[0] / 2).sin() ** 2 * (1 - t[1].cos()),
    ),
    "cry, control": (CRY, "IX", lambda t: t[0].sin() * (t[1] / 2).cos()),
    "ghz phase": (GHZ, "XXX", lambda t: t.sum().cos()),
}


def check(circuit: QuantumCircuit, observable: str, formula: Formula, rows: int) -> None:
    """Value, gradient, Hessian and directional derivative of one expectation value."""
    program = CircuitProgram(circuit, observable, input_params=list(circuit.parameters))
    columns = (program.input_columns, program.weight_columns)
    s = StatevectorSimulator(program.analysed, program.readout, *columns)
    rng = np.random.default_rng(rows)
    x, dx = rng.uniform(-3, 3, (2, rows, circuit.num_parameters))
    none, ones = np.zeros((1, 0)), np.ones((rows, 1))
    t = torch.from_numpy(x)
    evs, _ = s.evaluate(x, none)
    np.testing.assert_allclose(evs[:, 0], [formula(row) for row in t], rtol=0, atol=EXACT)
    gradients = torch.stack([torch.func.jacrev(formula)(row) for row in t]).numpy()
    np.testing.assert_allclose(s.vjp(x, none, ones)[0], gradients, rtol=0, atol=EXACT)
    along = (gradients * dx).sum(1, keepdims=True)
    np.testing.assert_allclose(s.tangent(x, none, dx, none), along, rtol=0, atol=10 * EXACT)
    hessians = torch.stack([torch.func.hessian(formula)(row) for row in t]).numpy()
    for column, unit in enumerate(np.eye(circuit.num_parameters)):
        tangent = np.tile(unit, (rows, 1))
        found, _ = s.vjp_tangent(x, none, ones, tangent, none, 0 * ones)
        np.testing.assert_allclose(found, hessians[:, :, column], rtol=0, atol=10 * EXACT)


@pytest.mark.parametrize("name", CLOSED)
def test_one_to_three_angles(name: str) -> None:
    check(*CLOSED[name], rows=7)


@pytest.mark.parametrize("num_qubits", [1, 2, 4, 5, 7, 10])
def test_products_over_qubits(num_qubits: int) -> None:
    """The expectation value of Z on every qubit is the product of the cosines."""
    t = ParameterVector("t", num_qubits)
    circuit = built(num_qubits, *((lib.RYGate(t[q]), q) for q in range(num_qubits)))
    check(circuit, "Z" * num_qubits, lambda t: t.cos().prod(), rows=3)


@pytest.mark.parametrize("num_qubits", [2, 5, 8])
def test_sums_over_a_chain(num_qubits: int) -> None:
    """CX carries the last qubit's Z to the parity of all of them."""
    t = ParameterVector("t", num_qubits)
    circuit = built(num_qubits, *((lib.RXGate(t[q]), q) for q in range(num_qubits)))
    for q in range(num_qubits - 1):
        circuit.cx(q, q + 1)
    check(circuit, "Z" + "I" * (num_qubits - 1), lambda t: t.cos().prod(), rows=3)


def test_a_weight_that_all_rows_share_gathers_their_gradients() -> None:
    circuit = built(1, (lib.RYGate(T[0] + 2 * T[1]), 0))
    program = CircuitProgram(circuit, "Z", input_params=[T[0]])
    columns = (program.input_columns, program.weight_columns)
    s = StatevectorSimulator(program.analysed, program.readout, *columns)
    x, w, c = np.linspace(-2, 2, 40)[:, None], np.array([[0.3]]), np.linspace(1, 3, 40)[:, None]
    sine, cosine = np.sin(x + 0.6), np.cos(x + 0.6)
    gx, gw = s.vjp(x, w, c)
    np.testing.assert_allclose(gx, -c * sine, rtol=0, atol=EXACT)
    np.testing.assert_allclose(gw, [[(-2 * c * sine).sum()]], rtol=0, atol=40 * EXACT)
    hx, hw = s.vjp_tangent(x, w, c, 0 * x, np.ones((1, 1)), 0 * c)
    np.testing.assert_allclose(hx, -2 * c * cosine, rtol=0, atol=EXACT)
    np.testing.assert_allclose(hw, [[(-4 * c * cosine).sum()]], rtol=0, atol=80 * EXACT)


def test_a_gradient_that_is_not_wanted_is_zero() -> None:
    """Also where an angle depends on inputs and weights, so that its derivative is taken."""
    circuit = built(1, (lib.RYGate(T[0] + 2 * T[1]), 0), (lib.RYGate(T[1]), 0))
    program = CircuitProgram(circuit, "Z", input_params=[T[0]])
    columns = (program.input_columns, program.weight_columns)
    s = StatevectorSimulator(program.analysed, program.readout, *columns)
    x, w, c = np.linspace(-2, 2, 40)[:, None], np.array([[0.3]]), np.ones((40, 1))
    gx, gw = s.vjp(x, w, c)
    one, none = s.vjp(x, w, c, wanted=(True, False))
    np.testing.assert_array_equal(one, gx)
    assert not none.any()
    none, one = s.vjp(x, w, c, wanted=(False, True))
    np.testing.assert_array_equal(one, gw)
    assert not none.any()


@pytest.mark.parametrize("largest", [1e-300, 1e-8, 3.0, 1e3, 2e5, 2.1e5, 1e9, 1e16, 1e300])
def test_angles_of_any_size(largest: float) -> None:
    """Sine and cosine are as exact at large angles, and where the quadrant changes.

    Both come from those of half the angle, each wrong by about 1e-16: together by less than 1e-15.
    """
    rng = np.random.default_rng(1)
    whole = np.pi / 2 * np.floor(rng.uniform(-largest, largest, 50) / (np.pi / 2))
    angles = np.concatenate(
        [
            rng.uniform(-largest, largest, 50),
            *(whole, np.nextafter(whole, np.inf), np.nextafter(whole, -np.inf)),
            [largest, -largest, 0.0, -0.0, 0.7],
        ]
    )[:, None]
    circuit = built(1, (lib.RYGate(T[0]), 0))
    program = CircuitProgram(circuit, ["Z", "X"], input_params=[T[0]])
    s = StatevectorSimulator(program.analysed, program.readout, program.input_columns, ())
    evs, _ = s.evaluate(angles, np.zeros((1, 0)))
    expected = np.hstack([np.cos(angles), np.sin(angles)])
    np.testing.assert_allclose(evs, expected, rtol=0, atol=1e-15)


def test_an_empty_batch() -> None:
    circuit = built(1, (lib.RYGate(T[0] + T[1]), 0))
    program = CircuitProgram(circuit, ["Z", "X"], input_params=[T[0]])
    columns = (program.input_columns, program.weight_columns)
    s = StatevectorSimulator(program.analysed, program.readout, *columns)
    x, w, c = np.zeros((0, 1)), np.ones((1, 1)), np.zeros((0, 2))
    evs, kept = s.evaluate(x, w, keep=True)
    assert evs.shape == (0, 2)
    gx, gw = s.vjp(x, w, c, kept)
    assert gx.shape == (0, 1)
    np.testing.assert_array_equal(gw, [[0.0]])


def test_a_circuit_without_gates() -> None:
    """Idle qubits are zeros: Z is one there, and X and Y are zero."""
    program = CircuitProgram(QuantumCircuit(3), ["ZII", "XIZ", "IYI", "III"])
    s = StatevectorSimulator(program.analysed, program.readout, (), ())
    evs, _ = s.evaluate(np.zeros((2, 0)), np.zeros((1, 0)))
    np.testing.assert_array_equal(evs, [[1, 0, 0, 1]] * 2)
