# SPDX-License-Identifier: Apache-2.0
"""Leaving out the qubits that a circuit does not act on, and observables without them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from .observables import combined
from .product_operator import Observable, ProductOperator


def active_qubits(circuit: QuantumCircuit) -> tuple[int, ...]:
    """Return the indices of the qubits that some gate acts on, at least one, ascending."""
    place = {qubit: i for i, qubit in enumerate(circuit.qubits)}
    used = {
        place[q]
        for instruction in circuit.data
        if instruction.operation.name != "barrier"
        for q in instruction.qubits
    }
    return tuple(sorted(used)) or (0,) * bool(circuit.qubits)


def restricted_circuit(circuit: QuantumCircuit, kept: Sequence[int]) -> QuantumCircuit:
    """Return the circuit on the qubits ``kept`` alone, in their order; it has no layout."""
    place = {circuit.qubits[q]: i for i, q in enumerate(kept)}
    result = QuantumCircuit(len(kept), name=circuit.name, global_phase=circuit.global_phase)
    for instruction in circuit.data:
        qubits = [place[q] for q in instruction.qubits if q in place]
        if instruction.operation.name == "barrier":
            if qubits:
                result.barrier(qubits)
            continue
        result.append(instruction.operation, qubits)
    return result


def restricted_operator(operator: Observable, kept: Sequence[int]) -> Observable:
    """Return the operator on the qubits ``kept``, the others being in their initial state zero.

    There Z has the value one, and X and Y the value zero.
    """
    if isinstance(operator, ProductOperator):
        rest = operator.on_qubits(kept)
        return combined(rest) if len(rest) else SparsePauliOp("I" * len(kept), 0.0)
    others = np.ones(operator.num_qubits, dtype=bool)
    others[list(kept)] = False
    vanishing = operator.paulis.x[:, others].any(axis=1)
    x, z = operator.paulis.x[:, list(kept)], operator.paulis.z[:, list(kept)]
    labels = [
        "".join("IZXY"[2 * int(a) + int(b)] for a, b in zip(xs[::-1], zs[::-1], strict=True))
        for xs, zs in zip(x, z, strict=True)
    ]
    coefficients = np.where(vanishing, 0.0, np.asarray(operator.coeffs))
    return combined(SparsePauliOp(labels, coefficients))
