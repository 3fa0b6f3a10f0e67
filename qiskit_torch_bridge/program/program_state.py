# SPDX-License-Identifier: Apache-2.0
"""What is kept of a program beside its circuit: the text of its state, and short marks of it.

A state is a program as plain bytes and text, from which it can be made again. Marks are a few short
texts that fit beside weights; they only tell a program from others.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.exceptions import QiskitError

from ..arguments import UNREADABLE, shown
from ..exceptions import BridgeError, ObservableError, StateDictError
from .encodings import Vector
from .expressions import is_free
from .identity import GRIDS, fingerprint, fingerprints_agree
from .interpretations import read_interpretation
from .measured_qubits import refuse_doubled
from .measurements import EXPECTATION_VALUES, Measurement, Variance
from .operators import (
    ROUNDING,
    Observable,
    ProductOperator,
    operator_from_list,
    term_keys,
    terms_of,
)
from .outcome_measurements import CVaR, Probabilities
from .readouts import Amplitudes, Expectations, Outcomes, Readout, RecordedBits
from .state_measurements import Entropy, Fidelity, Purity, State
from .weighted_observables import WeightedExpectationValues

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
    "observables": "the measurement",
    "circuit": "the circuit's gates or angles",
}
"""What is marked, in words; in files, the measurement has the name of its commonest kind."""
KINDS: dict[str, type[Measurement]] = {
    kind.__name__: kind
    for kind in (
        Variance,
        Probabilities,
        CVaR,
        Purity,
        Entropy,
        Fidelity,
        State,
        WeightedExpectationValues,
    )
}
"""The measurements that are no expectation values, by their names in states."""


class ProgramDescription(NamedTuple):
    """What a state says beside the circuit.

    Attributes:
        expanded: Whether the circuit is expanded to gates that QPY keeps.
        parameters: The names of all parameters, in order.
        inputs: The names of the inputs, in order.
        weights: The names of the weights, in order.
        frozen: The names of those that are frozen, in order.
        shape: How the observables were nested.
        measurement: What is asked of the final state.
        readout: What is read for it.
        angles: The names of angles of rotations that prepare vectors, for each of these.
    """

    expanded: bool
    parameters: tuple[str, ...]
    inputs: tuple[str, ...]
    weights: tuple[str, ...]
    frozen: tuple[str, ...]
    shape: tuple[int, ...]
    measurement: Measurement
    readout: Readout
    angles: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def parse(cls, text: str) -> ProgramDescription:
        """Read what :func:`describe_program` wrote, after checking its form.

        Raises:
            StateDictError: If it is something else.
        """
        try:
            found = json.loads(text)
            measurement, readout = _read_measurement(found)
            names, shape = found["parameters"], tuple(found["shape"])
            fits = (
                all(type(name) is str for name in names)
                and len(set(names)) == len(names)
                and sorted([*found["inputs"], *found["weights"]]) == sorted(names)
                and all(type(length) is int and length > 0 for length in shape)
                and measurement.accepts(readout, shape)
                and set(measurement.coefficients) <= set(names)
                and type(found["expanded"]) is bool
            )
            inputs, weights = tuple(found["inputs"]), tuple(found["weights"])
            frozen = tuple(found.get("frozen", ()))
            fits = fits and [name for name in weights if name in frozen] == list(frozen)
            angles = tuple(map(tuple, found.get("angles", ())))
            fits = fits and all(type(name) is str for each in angles for name in each)
        except (*UNREADABLE, QiskitError) as error:
            raise StateDictError(f"The saved program is damaged: {error!r}.") from error
        if not fits:
            raise StateDictError("The saved program is damaged: its parts do not fit each other.")
        parts = (inputs, weights, frozen, shape, measurement, readout, angles)
        return cls(found["expanded"], tuple(names), *parts)

    def find_parameters(
        self, circuit: QuantumCircuit, encoded: Sequence[Vector] = ()
    ) -> tuple[tuple[Parameter, ...], ...]:
        """Return all parameters, inputs, weights and frozen ones among those of the circuit.

        Raises:
            StateDictError: If the description is of another circuit.
        """
        own = {p for vector in encoded for p in vector.angles}
        free = (
            p for vector in encoded for e in vector.expressions if is_free(e) for p in e.parameters
        )
        known = {p.name: p for p in (*circuit.parameters, *free) if p not in own}
        for name in self.parameters:
            known.setdefault(name, Parameter(name))
        if not set(known) <= set(self.parameters) or not _fits(self.readout, circuit):
            raise StateDictError("The saved program is damaged: its circuit is another one.")
        roles = self.parameters, self.inputs, self.weights, self.frozen
        return tuple(tuple([known[name] for name in names]) for names in roles)


def describe_program(program: CircuitProgram, expanded: bool) -> str:
    """Return the text of a state, JSON."""
    described = {
        "expanded": expanded,
        "parameters": [p.name for p in program.parameters],
        "inputs": [p.name for p in program.input_params],
        "weights": [p.name for p in program.weight_params],
        "shape": list(program.output_shape),
        **_describe_readout(program.readout),
    }
    if program.frozen_params:
        described["frozen"] = [p.name for p in program.frozen_params]
    if program.analysed.encoded:
        described["angles"] = [[p.name for p in v.angles] for v in program.analysed.encoded]
    if program.measurement != EXPECTATION_VALUES:
        described["measurement"] = _describe_measurement(program.measurement)
    return json.dumps(described)


def check_state(state: object) -> None:
    """Raise :class:`.StateDictError` unless a state has the parts that it should have."""
    kept: Any = state if isinstance(state, Mapping) else {}
    if not all(isinstance(kept.get(name), kind) for name, kind in STATE.items()):
        raise StateDictError(
            "Expected what CircuitProgram.to_state() returns, a mapping with circuit (bytes) "
            f"and program (text); got {shown(state)}."
        )


# -- what is measured ----------------------------------------------------------------------------


def _describe_measurement(measurement: Measurement) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": type(measurement).__name__,
        "settings": measurement.settings(),
        "operators": list(map(terms_of, measurement.operators)),
    }
    amplitudes = measurement.amplitudes
    if amplitudes is not None:
        described["amplitudes"] = base64.b64encode(amplitudes.tobytes()).decode()
        described["shape"] = list(amplitudes.shape)
    return described


def _read_measurement(found: Any) -> tuple[Measurement, Readout]:
    """Return what a description says is measured, and what is read for it."""
    described = found.get("measurement") if isinstance(found, dict) else found[""]
    if described is None:
        return EXPECTATION_VALUES, _READERS[Expectations](found)
    kind = KINDS[described["name"]]
    amplitudes = None
    if "amplitudes" in described:
        content = base64.b64decode(described["amplitudes"], validate=True)
        amplitudes = np.frombuffer(content, dtype=np.complex128).reshape(described["shape"])
    operators = tuple(map(operator_from_list, described["operators"]))
    measurement = kind.from_parts(described["settings"], operators, amplitudes)
    return measurement, _READERS[kind.reads](found)


@functools.singledispatch
def _describe_readout(readout: Readout) -> dict[str, Any]:
    raise StateDictError(f"Expected a readout that can be saved; got {shown(readout)}.")


@_describe_readout.register
def _(readout: Expectations) -> dict[str, Any]:
    return {"observables": list(map(terms_of, readout.operators))}


@_describe_readout.register
def _(readout: Amplitudes) -> dict[str, Any]:
    return {"qubits": list(readout.qubits)}


@_describe_readout.register
def _(readout: Outcomes) -> dict[str, Any]:
    interpretation = readout.interpretation
    described = None if interpretation is None else interpretation.describe()
    return {"qubits": list(readout.qubits), "interpretation": described}


def _read_expectations(found: Any) -> Expectations:
    return Expectations(tuple(map(operator_from_list, found["observables"])))


@_describe_readout.register
def _(readout: RecordedBits) -> dict[str, Any]:
    interpretation = readout.interpretation
    described = None if interpretation is None else interpretation.describe()
    return {"bits": list(readout.bits), "interpretation": described}


def _read_amplitudes(found: Any) -> Amplitudes:
    return Amplitudes(_read_qubits(found))


def _read_outcomes(found: Any) -> Outcomes | RecordedBits:
    kind, name = (RecordedBits, "bits") if "bits" in found else (Outcomes, "qubits")
    places = _read_qubits(found, name)
    return kind(places, read_interpretation(found["interpretation"], len(places)))


def _read_qubits(found: Any, name: str = "qubits") -> tuple[int, ...]:
    qubits = tuple(found[name])
    if not qubits or any(type(q) is not int or q < 0 for q in qubits):
        raise ValueError("no qubits")
    refuse_doubled(qubits)
    return qubits


_READERS: dict[type[Readout], Callable[[Any], Readout]] = {
    Expectations: _read_expectations,
    Outcomes: _read_outcomes,
    Amplitudes: _read_amplitudes,
}


def _fits(readout: Readout, circuit: QuantumCircuit) -> bool:
    """Whether what is read can be read of a circuit."""
    qubits = getattr(readout, "qubits", ())
    return (
        all(o.num_qubits == circuit.num_qubits for o in readout.operators)
        and max(qubits, default=-1) < circuit.num_qubits
        and max(readout.bits_read, default=-1) < circuit.num_clbits
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
        "observables": _of_measurement(program),
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


def _of_measurement(program: CircuitProgram) -> str:
    measurement, readout = program.measurement, program.readout
    head: Any = program.output_shape
    if measurement != EXPECTATION_VALUES:
        head = (head, type(measurement).__name__, measurement.settings(), _discrete(readout))
    operators = list(map(_expanded, (*readout.operators, *measurement.operators)))
    amplitudes = measurement.amplitudes
    numbers = np.zeros(0) if amplitudes is None else amplitudes.ravel().view(float)
    texts = []
    for grid in GRIDS:
        content = hashlib.sha256(repr(head).encode())
        for operator in operators:
            paulis, place = np.unique(term_keys(operator), return_inverse=True)
            found = np.zeros(len(paulis))
            np.add.at(found, place.reshape(-1), operator.coeffs.real)
            kept = np.abs(found) > 2 * ROUNDING * np.abs(found).max(initial=0)
            content.update(f"{operator.num_qubits} {kept.sum()}".encode())
            content.update(paulis[kept].tobytes())
            content.update("".join(f" {c:.{DIGITS}e}" for c in found[kept] * grid).encode())
        content.update((np.round(numbers * grid, DIGITS) + 0.0).tobytes())  # no negative zeros
        texts.append(content.hexdigest()[:32])
    return "-".join(texts)


def _discrete(readout: Readout) -> tuple[object, ...]:
    """Return what is read beside operators, as text for a mark."""
    interpretation = getattr(readout, "interpretation", None)
    read = readout.measured, interpretation and interpretation.mark
    return (*read, readout.bits_read) if readout.bits_read else read


def _expanded(operator: Observable) -> Observable:
    if isinstance(operator, ProductOperator):
        with contextlib.suppress(ObservableError):
            return operator.expanded(MAX_EXPANDED)
    return operator
