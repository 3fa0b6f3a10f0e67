# SPDX-License-Identifier: Apache-2.0
"""Drawing circuits, short where a state is prepared of many amplitudes."""

from __future__ import annotations

from typing import Any

from qiskit.circuit import Gate, QuantumCircuit

from ..arguments import require_choice
from ..exceptions import InputError
from .amplitudes import AmplitudePreparation

DRAWERS = ("text", "mpl", "latex", "latex_source")
"""What Qiskit draws circuits as."""


def draw_circuit(circuit: QuantumCircuit, output: str) -> Any:
    """Return a drawing of a circuit, in which preparations do not list their amplitudes.

    Raises:
        InputError: If ``output`` is none of :data:`DRAWERS`, or a package that it needs is missing.
    """
    require_choice(output, "output", DRAWERS)
    try:
        fold = -1 if output == "text" else None
        return _with_short_labels(circuit).draw(output, fold=fold)
    except ImportError as error:
        raise InputError(
            f"Expected the packages that draw a circuit as {output!r} to be installed: "
            f"{error}. Or draw it as 'text'."
        ) from error


def _with_short_labels(circuit: QuantumCircuit) -> QuantumCircuit:
    if not any(isinstance(step.operation, AmplitudePreparation) for step in circuit.data):
        return circuit
    drawn = circuit.copy_empty_like()
    for step in circuit.data:
        operation = step.operation
        if isinstance(operation, AmplitudePreparation):
            operation = Gate(operation.name, operation.num_qubits, [], label="Amplitudes of x")
        drawn.append(operation, step.qubits, step.clbits)
    return drawn
