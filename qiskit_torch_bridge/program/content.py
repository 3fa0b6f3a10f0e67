# SPDX-License-Identifier: Apache-2.0
"""Circuits written as QPY and read back, held against what they were."""

from __future__ import annotations

import functools
import io
import operator
import warnings
from collections.abc import Sequence
from typing import Any

import qiskit
from qiskit import qpy
from qiskit.circuit import Parameter, QuantumCircuit

from ..exceptions import StateDictError
from .binding import without_quotients
from .expressions import affine_form, expressions_of, is_free
from .identity import same_circuit
from .lowering import accepts_aer, expand

PORTABLE_QPY = 13  # the newest version that Qiskit 1.4 reads


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
