# SPDX-License-Identifier: Apache-2.0
"""What makes two circuits the same, across processes and saved files.

Qiskit compares parameters by identity, so a circuit built again by the same script equals nothing
that was saved. Here two circuits are the same if their parameters have the same names and,
with the same numbers bound, their gates and angles agree.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from qiskit.circuit import (
    AnnotatedOperation,
    ControlledGate,
    Operation,
    Parameter,
    QuantumCircuit,
)

from .binding import assigned
from .lowering import box_settings, has_matrix, is_box, is_standard

TOLERANCE = 1e-9


def same_circuit(
    a: QuantumCircuit, b: QuantumCircuit, order_a: Sequence[Parameter], order_b: Sequence[Parameter]
) -> bool:
    """Whether two circuits agree with equal numbers bound in the given parameter orders."""
    if [p.name for p in order_a] != [p.name for p in order_b]:
        return False
    probes = 0.1 + np.modf(np.arange(1, len(order_a) + 1) * 0.6180339887498949)[0]
    return _same(_bound(a, order_a, probes), _bound(b, order_b, probes))


def _bound(
    circuit: QuantumCircuit, order: Sequence[Parameter], numbers: np.ndarray
) -> QuantumCircuit:
    return assigned(circuit, dict(zip(order, numbers.tolist(), strict=True)))


def _same(a: QuantumCircuit, b: QuantumCircuit) -> bool:
    if (a.num_qubits, a.num_clbits, len(a.data)) != (b.num_qubits, b.num_clbits, len(b.data)):
        return False
    index_a = {q: i for i, q in enumerate(a.qubits)}
    index_b = {q: i for i, q in enumerate(b.qubits)}
    return all(
        [index_a[q] for q in x.qubits] == [index_b[q] for q in y.qubits]
        and _same_operation(x.operation, y.operation)
        for x, y in zip(a.data, b.data, strict=True)
    )


def _same_operation(a: Operation, b: Operation) -> bool:
    if isinstance(a, AnnotatedOperation) or isinstance(b, AnnotatedOperation):
        return (
            isinstance(a, AnnotatedOperation)
            and isinstance(b, AnnotatedOperation)
            and a.modifiers == b.modifiers
            and _same_operation(a.base_op, b.base_op)
        )
    if is_box(a) and is_box(b):
        return box_settings(a) == box_settings(b) and _same(a.body, b.body)
    if is_standard(a) or is_standard(b) or getattr(a, "definition", None) is None:
        return (
            a.name == b.name
            and has_matrix(a) == has_matrix(b)  # QPY keeps the name of a gate, not its class
            and getattr(a, "ctrl_state", None) == getattr(b, "ctrl_state", None)
            and _same_numbers(getattr(a, "params", ()), getattr(b, "params", ()))
        )
    if isinstance(a, ControlledGate) and isinstance(b, ControlledGate):
        return (a.num_qubits, a.ctrl_state) == (b.num_qubits, b.ctrl_state) and _same_operation(
            a.base_gate, b.base_gate
        )
    other = getattr(b, "definition", None)
    return other is not None and _same_phase(a.definition, other) and _same(a.definition, other)


def _same_phase(a: QuantumCircuit, b: QuantumCircuit) -> bool:
    """Compare the phases of definitions, which count once a control is put on them."""
    try:
        phases = [np.exp(1j * float(c.global_phase)) for c in (a, b)]
    except TypeError:  # Qiskit leaves the phase of some definitions unbound
        return True
    return bool(abs(phases[0] - phases[1]) <= TOLERANCE)


def _same_numbers(a: Sequence[object], b: Sequence[object]) -> bool:
    if len(a) != len(b):
        return False
    for x, y in zip(a, b, strict=True):
        try:
            x_array = np.asarray(x, dtype=complex)
            y_array = np.asarray(y, dtype=complex)
        except (TypeError, ValueError):
            if x != y:
                return False
            continue
        if x_array.shape != y_array.shape or not np.allclose(
            x_array, y_array, rtol=0, atol=TOLERANCE
        ):
            return False
    return True
