# SPDX-License-Identifier: Apache-2.0
"""Circuits that several tests use."""

from __future__ import annotations

from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit

X = ParameterVector("x", 2)
A = ParameterVector("a", 3)  # weights that sort before the inputs


def hybrid() -> QuantumCircuit:
    """Repeated, scaled, shifted and mixed parameters, one of them in a controlled rotation."""
    circuit = QuantumCircuit(2)
    circuit.ry(X[0], 0)
    circuit.crx(2 * A[0] + X[1], 0, 1)
    circuit.rz(A[1], 0)
    circuit.ry(A[1] / 2 + 0.2, 1)
    circuit.cx(0, 1)
    circuit.rx(A[2], 0)
    return circuit


def nonlinear() -> QuantumCircuit:
    """Products, squares and functions of parameters, that every Qiskit computes correctly."""
    circuit = QuantumCircuit(2)
    circuit.ry(X[0] * A[0], 0)
    circuit.rx(X[1].sin() + A[1] ** 2, 1)
    circuit.cx(0, 1)
    circuit.rz((A[2] + X[0]).arctan(), 1)
    circuit.ry(A[2], 1)
    return circuit


def layered(n: int = 4, layers: int = 2) -> tuple[QuantumCircuit, ParameterVector, ParameterVector]:
    """An angle-encoded layered ansatz: circuit, inputs, weights."""
    inputs, weights = ParameterVector("x", n), ParameterVector("w", 2 * n * layers)
    circuit = QuantumCircuit(n)
    angles = iter(weights)
    for q in range(n):
        circuit.ry(inputs[q], q)
    for _ in range(layers):
        for q in range(n):
            circuit.ry(next(angles), q)
            circuit.rz(next(angles), q)
        for q in range(n):
            circuit.cx(q, (q + 1) % n)
    return circuit, inputs, weights


def rotation(name: str = "theta") -> tuple[QuantumCircuit, Parameter]:
    """RY on one qubit: <Z> is the cosine of its angle."""
    theta = Parameter(name)
    circuit = QuantumCircuit(1)
    circuit.ry(theta, 0)
    return circuit, theta


def feed_forward() -> QuantumCircuit:
    """Measured in the middle, with parameters in both branches, and reset."""
    circuit = QuantumCircuit(2, 1)
    circuit.ry(X[0] + A[0], 0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)) as otherwise:
        circuit.rx(2 * A[1], 1)
        circuit.crx(X[1], 0, 1)
    with otherwise:
        circuit.ry(A[1] + 0.3, 1)
    circuit.reset(0)
    circuit.ry(A[2], 0)
    circuit.cx(1, 0)
    return circuit


CONTRACT = {"affine": hybrid, "non-linear": nonlinear}
