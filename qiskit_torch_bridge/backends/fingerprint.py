# SPDX-License-Identifier: Apache-2.0
"""What a circuit does, in bytes that are the same in every process.

Neither QPY nor ``str`` serves: the one holds identifiers of parameters, the other rounds numbers.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from qiskit.circuit import AnnotatedOperation, ControlledGate, ParameterExpression, QuantumCircuit

from ..program.expressions import affine_form, compile_expression, is_free
from ..program.lowering import box_settings, is_box, is_standard


def described(circuit: QuantumCircuit) -> bytes:
    """Return a description of a circuit: names of its parameters, gates and all their numbers."""
    names = [p.name for p in circuit.parameters]
    return json.dumps([circuit.num_qubits, names, _gates(circuit)]).encode()


def _gates(circuit: QuantumCircuit) -> list[Any]:
    place = {qubit: k for k, qubit in enumerate(circuit.qubits)}
    return [[_operation(i.operation), [place[q] for q in i.qubits]] for i in circuit.data]


def _operation(operation: Any) -> list[Any]:
    if isinstance(operation, AnnotatedOperation):
        return [[repr(m) for m in operation.modifiers], _operation(operation.base_op)]
    if is_box(operation):
        annotations, *duration = box_settings(operation)
        named = [annotation.namespace for annotation in annotations]
        return ["box", named, *map(str, duration), _gates(operation.body)]
    numbers = [_number(p) for p in getattr(operation, "params", ())]
    whole = any(isinstance(p, np.ndarray) for p in getattr(operation, "params", ()))
    if whole or is_standard(operation) or getattr(operation, "definition", None) is None:
        return [operation.name, getattr(operation, "ctrl_state", None), numbers]
    if isinstance(operation, ControlledGate):
        state = operation.num_ctrl_qubits, operation.ctrl_state
        return [*state, _operation(operation.base_gate)]
    # Its name may count the circuits of a process.
    inner = operation.definition
    return [numbers, _number(inner.global_phase), _gates(inner)]


def _number(value: Any) -> Any:
    if isinstance(value, ParameterExpression):
        if not is_free(value):
            return repr(complex(value.numeric()))
        affine = affine_form(value)
        if affine is None:
            return _probed(value)
        return [repr(affine[0]), sorted((p.name, repr(c)) for p, c in affine[1].items())]
    try:
        array = np.asarray(value, dtype="<c16")
    except (TypeError, ValueError):
        return str(value)
    return [list(array.shape), np.ascontiguousarray(array).tobytes().hex()]


def _probed(expression: ParameterExpression) -> list[str]:
    """Return the names in an expression and some of its values: its text rounds numbers."""
    order = sorted(expression.parameters, key=lambda p: p.name)
    compiled = compile_expression(expression, {p: k for k, p in enumerate(order)})
    points = np.multiply.outer((0.5, 1.0, 1.7), 0.1 + 0.618 * np.arange(len(order)))
    values = [complex(compiled.value(point)) for point in points]
    # The order of summation differs between processes, and with it the last digits.
    return [*(p.name for p in order), *(f"{v:.13g}" for v in values)]
