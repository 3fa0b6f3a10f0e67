# SPDX-License-Identifier: Apache-2.0
"""What makes two circuits the same, across processes and saved files.

Qiskit compares parameters by identity, so a circuit built again by the same script equals nothing
that was saved. Here two circuits are the same if their parameters have the same names and,
with the same numbers bound, their gates and angles agree.
"""

from __future__ import annotations

import functools
import io
import operator
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import qiskit
from qiskit import qpy
from qiskit.circuit import (
    AnnotatedOperation,
    ControlledGate,
    Operation,
    Parameter,
    QuantumCircuit,
)

from ..exceptions import StateDictError
from .binding import assigned, without_quotients
from .expressions import affine_form, expressions_of, is_free
from .lowering import accepts_aer, box_settings, expand, has_matrix, is_box, is_standard

TOLERANCE = 1e-9
PORTABLE_QPY = 13  # the newest version that Qiskit 1.4 reads


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


def circuit_to_bytes(circuit: QuantumCircuit, order: Sequence[Parameter]) -> tuple[bytes, bool]:
    """Serialise to QPY, in a version that older Qiskit reads where the circuit allows it.

    What is written is read back and compared, since QPY changes some circuits without an error:
    controlled gates with non-linear angles, and quotients on Qiskit 1.4 in version 13.

    Returns:
        The bytes, and whether they hold the circuit expanded to gates that QPY keeps.
    """
    cause: Exception | None = None
    for expanded in (False, True):
        written = _with_sums(expand(circuit, accepts_aer)) if expanded else circuit
        for version in _versions():
            try:
                buffer = io.BytesIO()
                qpy.dump(written, buffer, version=version)
                data = buffer.getvalue()
                read = circuit_from_bytes(data)
                names = {p.name: p for p in read.parameters}
                if same_circuit(written, read, order, [names.get(p.name, p) for p in order]):
                    return data, expanded
            except Exception as error:  # QPY raises errors of many types for what it cannot hold
                cause = error
    raise StateDictError(
        f"Qiskit {qiskit.__version__} cannot write the circuit as QPY, so the state would not say "
        "which circuit its weights belong to. Replace custom Python gates by gates with a "
        "definition and quotients of parameters by other expressions, or save module.weight alone."
    ) from cause


def _with_sums(circuit: QuantumCircuit) -> QuantumCircuit:
    """Write expressions as sums and products, since QPY of Qiskit 2.2 turns quotients around.

    Differences, too. Expressions in which all parameters cancel become numbers; it cannot write
    them at all.
    """
    result = circuit.copy_empty_like()
    for i in circuit.data:
        operation = i.operation
        if expressions_of(operation):
            operation = operation.to_mutable()
            operation.params = [_sum_of_terms(p) for p in operation.params]
        result.append(operation, i.qubits, i.clbits, copy=False)
    return result


def _sum_of_terms(angle: Any) -> Any:
    if not is_free(angle):
        return angle
    affine = affine_form(angle)
    if affine is None:
        return without_quotients(angle)
    offset, coefficients = affine
    # Neither one times a parameter nor zero added to it: those stay expressions, and break QPY.
    terms = [p if c == 1 else c * p for p, c in coefficients.items()]
    terms += [offset] if offset or not terms else []
    return functools.reduce(operator.add, terms)


def _versions() -> list[int]:
    """QPY versions to try: the portable one, the newest, then older ones with other defects."""
    oldest, newest = qpy.QPY_COMPATIBILITY_VERSION, qpy.common.QPY_VERSION
    portable = min(max(PORTABLE_QPY, oldest), newest)
    return list(dict.fromkeys([portable, newest, *range(portable - 1, oldest - 1, -1)]))


def circuit_from_bytes(data: bytes) -> QuantumCircuit:
    """Read a circuit back from QPY."""
    try:
        with warnings.catch_warnings():
            # A circuit need not use all elements of a vector; they are matched by name here.
            warnings.filterwarnings("ignore", message="The ParameterVector", category=UserWarning)
            return qpy.load(io.BytesIO(data))[0]
    except Exception as error:
        raise StateDictError(
            "The saved circuit cannot be read by this Qiskit version; it was probably saved with "
            "a newer one. Load it with the version that wrote it."
        ) from error
