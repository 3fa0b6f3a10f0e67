# SPDX-License-Identifier: Apache-2.0
"""What tells programs apart without the programs: a few short texts that fit beside weights."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from qiskit.circuit import Parameter

from ..exceptions import BridgeError, ObservableError
from .identity import GRIDS, fingerprint, fingerprints_agree
from .operators import ROUNDING, Observable, ProductOperator, term_keys

if TYPE_CHECKING:
    from .program import CircuitProgram

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
