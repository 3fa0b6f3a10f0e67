# SPDX-License-Identifier: Apache-2.0
"""Remembers the analysis of circuits, so that none is analysed twice in a training run."""

from __future__ import annotations

from typing import Any

import numpy as np
from qiskit.circuit import Operation, Parameter, ParameterExpression, QuantumCircuit
from qiskit.circuit.library import UnitaryGate

from ..recent import Recent
from .analysis import AnalysedCircuit
from .evolutions import Evolutions
from .lowering import is_standard
from .reading import text_is_exact


class AnalysisCache:
    """Maps circuits, by content, to their analysis; the least recently used one goes first.

    A circuit that is changed in place is analysed anew. Custom gates count by identity.

    Args:
        evolutions: The form that evolutions are given in all of them.
        size: How many are remembered.
    """

    def __init__(self, evolutions: Evolutions = "definition", size: int = 64) -> None:
        self._evolutions = evolutions
        self._recent: Recent[AnalysedCircuit] = Recent(size)

    def __call__(self, circuit: QuantumCircuit) -> AnalysedCircuit:
        """Return the analysis of ``circuit``, made now or before."""
        return self._recent(
            _key(circuit), lambda: AnalysedCircuit(circuit.copy(), evolutions=self._evolutions)
        )

    def __len__(self) -> int:
        return len(self._recent)


class _ById:
    """An object that equals only itself, kept alive so that its id stays its own."""

    def __init__(self, thing: object) -> None:
        self._thing = thing

    def __hash__(self) -> int:
        return id(self._thing)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ById) and self._thing is other._thing


def _key(circuit: QuantumCircuit) -> tuple[Any, ...]:
    gates = tuple((_operation_key(i.operation), i.qubits, i.clbits) for i in circuit.data)
    return tuple(circuit.qubits), tuple(circuit.parameters), gates


def _operation_key(operation: Operation) -> Any:
    if isinstance(operation, UnitaryGate):  # a new object at every access
        matrix = np.asarray(operation.params[0])
        return operation.name, matrix.shape, matrix.tobytes()
    if not is_standard(operation):
        return _ById(operation)
    state = getattr(operation, "ctrl_state", None)
    return operation.name, tuple(map(_angle_key, operation.params)), state, operation.label


def _angle_key(angle: Any) -> Any:
    """A key for a gate angle. Qiskit 2.6 cannot hash every expression, so its text stands for it.

    Values would not do: some versions bind different expressions to the same ones.
    """
    if not isinstance(angle, ParameterExpression) or isinstance(angle, Parameter):
        return angle
    return (frozenset(angle.parameters), str(angle)) if text_is_exact() else angle
