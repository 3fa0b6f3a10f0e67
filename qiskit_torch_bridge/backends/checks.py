# SPDX-License-Identifier: Apache-2.0
"""What a device or its service would refuse, found before anything is submitted."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

from qiskit import qpy
from qiskit.circuit import QuantumCircuit
from qiskit.providers import BackendV2

from ..arrays import FloatArray
from ..exceptions import CircuitError, InputError
from ..lru_cache import LRUCache
from ..primitives.capabilities import NAMES_IN_TARGETS
from ..primitives.families import Pub
from ..program import AngleMap
from ..program.definitions import blocks_of, operations_of
from ..program.identity import content_key, round_trip_agrees

Check: TypeAlias = Callable[[Pub], None]
"""Raises to refuse a PUB before anything is submitted."""


def check_isa(circuit: QuantumCircuit, backend: BackendV2) -> None:
    """Raise :class:`CircuitError` if some instruction is none of the backend's."""
    size = backend.num_qubits  # a simulator may have no number of its own
    if size is not None and circuit.num_qubits > size:
        raise CircuitError(
            f"The circuit has {circuit.num_qubits} qubits; {backend.name} has {size}."
        )
    _check_gates(circuit, range(circuit.num_qubits), backend)


def _check_gates(circuit: QuantumCircuit, indices: Sequence[int], backend: BackendV2) -> None:
    target = backend.target
    place = dict(zip(circuit.qubits, indices, strict=True))
    for instruction in circuit.data:
        name = instruction.operation.name
        qubits = tuple(place[q] for q in instruction.qubits)
        for block in blocks_of(instruction.operation):
            _check_gates(block, qubits, backend)
        if name in NAMES_IN_TARGETS or name == "store":
            continue  # they come with the loop around them, and with variables
        if name != "barrier" and not target.instruction_supported(name, qubits):
            raise CircuitError(
                f"{backend.name} has no {name} on qubits {qubits}: the circuit is not transpiled "
                "for it. Leave out pass_manager, or give one made for this backend: "
                "generate_preset_pass_manager(1, backend)."
            )


def check_measured(qubits: Sequence[int], backend: BackendV2) -> None:
    """Raise :class:`CircuitError` if a backend cannot measure some of the qubits."""
    target = backend.target
    wrong = [q for q in qubits if not target.instruction_supported("measure", (q,))]
    if wrong:
        raise CircuitError(
            f"{backend.name} cannot measure {'qubits' if len(wrong) > 1 else 'qubit'} "
            f"{', '.join(map(str, wrong))}, where the transpiler has put what is asked for. Choose "
            "others: OnBackend(backend, initial_layout=[...]), one for each qubit of the circuit."
        )


LIMITED = {"rzz": (0.0, math.pi / 2)}
SLACK = 1e-9


def has_limited_angles(circuit: QuantumCircuit) -> bool:
    """Whether a transpiled circuit has a gate with a limited angle."""
    return any(operation.name in LIMITED for operation in operations_of(circuit))


def check_angles(pub: Pub) -> None:
    """Raise :class:`.InputError` if a PUB binds an angle that its gate does not take."""
    circuit = pub.circuit
    parameters = list(circuit.parameters)
    values = pub.parameter_values.as_array(parameters).reshape(-1, len(parameters))
    for operation in operations_of(circuit):
        limits = LIMITED.get(operation.name)
        if limits is None:
            continue
        (angle,) = operation.params
        found: FloatArray = AngleMap([angle], parameters).angles(values)[:, 0]
        outside = (found < limits[0] - SLACK) | (found > limits[1] + SLACK)
        if outside.any():
            raise InputError(
                f"The device runs {operation.name} with angles from 0 to pi/2; "
                f"{angle} is {found[outside][0]:.6g} at one of the points. Nothing was submitted. "
                "Get the device without fractional gates, "
                "service.backend(name, use_fractional_gates=False), and make the module anew."
            )


class TravelCheck:
    """Checks each circuit once, and again when it was changed in place."""

    def __init__(self) -> None:
        self._arrived: LRUCache[None] = LRUCache(64)

    def __call__(self, pub: Pub) -> None:
        """Raise :class:`.CircuitError` if the circuit of a PUB cannot be sent."""
        self._arrived(content_key(pub.circuit), lambda: check_travels(pub.circuit))


def check_travels(circuit: QuantumCircuit) -> None:
    """Raise :class:`.CircuitError` unless a circuit comes out of QPY as it went in."""
    remedy = (
        "Nothing was submitted. Decompose that part of the circuit, or build it from standard "
        "gates with parameters of their own."
    )
    try:
        arrived = _sent(circuit)
    except Exception as error:  # of many types
        raise CircuitError(
            f"The circuit cannot be sent to a service: QPY fails with {type(error).__name__}: "
            f"{error}. {remedy}"
        ) from error
    # Compared by what they do: equality of circuits also compares how expressions are written.
    if not round_trip_agrees(arrived, circuit, arrived.parameters, circuit.parameters):
        raise CircuitError(
            "The circuit would arrive at a service as another one: it changes on its way through "
            f"QPY. {remedy}"
        )


def _sent(circuit: QuantumCircuit) -> QuantumCircuit:
    """Return a circuit as the service reads it."""
    try:
        from qiskit_ibm_runtime import RuntimeDecoder, RuntimeEncoder
    except ImportError:
        buffer = io.BytesIO()
        qpy.dump(circuit, buffer)
        buffer.seek(0)
        (arrived,) = qpy.load(buffer)
    else:
        arrived = json.loads(json.dumps(circuit, cls=RuntimeEncoder), cls=RuntimeDecoder)
    found: QuantumCircuit = arrived
    return found
