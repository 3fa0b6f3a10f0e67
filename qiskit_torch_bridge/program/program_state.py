# SPDX-License-Identifier: Apache-2.0
"""What is kept of a program beside its circuit: the text of its state, and short marks of it.

A state is a program as plain bytes and text, from which it can be made again. Marks are a few short
texts that fit beside weights; they only tell a program from others.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.exceptions import QiskitError

from ..arguments import shown
from ..exceptions import BridgeError, ObservableError, StateDictError
from .identity import GRIDS, fingerprint, fingerprints_agree
from .measurements import EXPECTATION_VALUES, Measurement
from .operators import ROUNDING, Observable, ProductOperator, operator_from_list, term_keys
from .readouts import Expectations, Readout

if TYPE_CHECKING:
    from .program import CircuitProgram

STATE = {"circuit": bytes, "program": str}
"""What a state consists of."""
DIGITS = 8
MAX_EXPANDED = 256
"""Products of projectors are marked as the Pauli strings that they are up to this number."""
NAMES = {
    "inputs": "the inputs",
    "weights": "the weights",
    "observables": "the observables",
    "circuit": "the circuit's gates or angles",
}
"""What is marked, in words."""


class ProgramDescription(NamedTuple):
    """What a state says beside the circuit.

    Attributes:
        expanded: Whether the circuit is expanded to gates that QPY keeps.
        parameters: The names of all parameters, in order.
        inputs: The names of the inputs, in order.
        weights: The names of the weights, in order.
        shape: How the observables were nested.
        measurement: What is asked of the final state.
        readout: What is read for it.
    """

    expanded: bool
    parameters: tuple[str, ...]
    inputs: tuple[str, ...]
    weights: tuple[str, ...]
    shape: tuple[int, ...]
    measurement: Measurement
    readout: Readout

    @classmethod
    def parse(cls, text: str) -> ProgramDescription:
        """Read what :func:`describe_program` wrote, after checking its form.

        Raises:
            StateDictError: If it is something else.
        """
        try:
            found = json.loads(text)
            names, shape = found["parameters"], tuple(found["shape"])
            fits = (
                all(type(name) is str for name in names)
                and len(set(names)) == len(names)
                and sorted([*found["inputs"], *found["weights"]]) == sorted(names)
                and all(type(length) is int and length > 0 for length in shape)
                and math.prod(shape) == len(found["observables"])
                and type(found["expanded"]) is bool
            )
            inputs, weights = tuple(found["inputs"]), tuple(found["weights"])
            observables = tuple(operator_from_list(terms) for terms in found["observables"])
        except (KeyError, TypeError, ValueError, RecursionError, QiskitError) as error:
            raise StateDictError(f"The saved program is damaged: {error!r}.") from error
        if not fits:
            raise StateDictError("The saved program is damaged: its parts do not fit each other.")
        parts = (EXPECTATION_VALUES, Expectations(observables))
        return cls(found["expanded"], tuple(names), inputs, weights, shape, *parts)

    def find_parameters(
        self, circuit: QuantumCircuit
    ) -> tuple[tuple[Parameter, ...], tuple[Parameter, ...], tuple[Parameter, ...]]:
        """Return all parameters, the inputs and the weights among those of the circuit.

        Raises:
            StateDictError: If the description is of another circuit.
        """
        known = {p.name: p for p in circuit.parameters}
        for name in self.parameters:
            known.setdefault(name, Parameter(name))
        if not set(known) <= set(self.parameters) or any(
            o.num_qubits != circuit.num_qubits for o in self.readout.operators
        ):
            raise StateDictError("The saved program is damaged: its circuit is another one.")
        parameters, inputs, weights = (
            tuple([known[name] for name in names])
            for names in (self.parameters, self.inputs, self.weights)
        )
        return parameters, inputs, weights


def describe_program(program: CircuitProgram, expanded: bool) -> str:
    """Return the text of a state, JSON."""
    described = {
        "expanded": expanded,
        "parameters": [p.name for p in program.parameters],
        "inputs": [p.name for p in program.input_params],
        "weights": [p.name for p in program.weight_params],
        "shape": list(program.output_shape),
        "observables": [[[label, c.real] for label, c in o.to_list()] for o in program.observables],
    }
    return json.dumps(described)


def check_state(state: object) -> None:
    """Raise :class:`.StateDictError` unless a state has the parts that it should have."""
    kept: Any = state if isinstance(state, Mapping) else {}
    if not all(isinstance(kept.get(name), kind) for name, kind in STATE.items()):
        raise StateDictError(
            "Expected what CircuitProgram.to_state() returns, a mapping with circuit (bytes) "
            f"and program (text); got {shown(state)}."
        )


# -- marks ---------------------------------------------------------------------------------------


def marks_of(program: CircuitProgram) -> dict[str, str]:
    """Return a text for each part of a program, the same for equal programs.

    They do not depend on the process or the version of Qiskit. A circuit with expressions that
    cannot be read has no mark.
    """
    inputs, weights = program.input_params, program.weight_params
    marks = {
        "inputs": _of_names(inputs),
        "weights": _of_names(weights),
        "observables": _of_operators(program.observables, program.output_shape),
    }
    try:
        return {**marks, "circuit": fingerprint(program.circuit, (*inputs, *weights))}
    except BridgeError:
        return marks


def difference_of_marks(mine: Mapping[str, str], theirs: Mapping[str, object]) -> str | None:
    """Name the first part in which two programs differ; ``None`` if none is known to."""
    for part, mark in mine.items():
        other = theirs.get(part)
        if isinstance(other, str) and not fingerprints_agree(mark, other):
            return NAMES[part]
    return None


def _of_names(parameters: Sequence[Parameter]) -> str:
    return hashlib.sha256(repr([p.name for p in parameters]).encode()).hexdigest()[:32]


def _of_operators(operators: Sequence[Observable], shape: tuple[int, ...]) -> str:
    texts = []
    for grid in GRIDS:
        content = hashlib.sha256(repr(shape).encode())
        for operator in map(_expanded, operators):
            paulis, place = np.unique(term_keys(operator), return_inverse=True)
            found = np.zeros(len(paulis))
            np.add.at(found, place.reshape(-1), operator.coeffs.real)
            kept = np.abs(found) > 2 * ROUNDING * np.abs(found).max(initial=0)
            content.update(f"{operator.num_qubits} {kept.sum()}".encode())
            content.update(paulis[kept].tobytes())
            content.update("".join(f" {c:.{DIGITS}e}" for c in found[kept] * grid).encode())
        texts.append(content.hexdigest()[:32])
    return "-".join(texts)


def _expanded(operator: Observable) -> Observable:
    if isinstance(operator, ProductOperator):
        with contextlib.suppress(ObservableError):
            return operator.expanded(MAX_EXPANDED)
    return operator
