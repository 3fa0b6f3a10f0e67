# SPDX-License-Identifier: Apache-2.0
"""Circuits that would not arrive at the service as they are, found before anything is submitted.

They travel as QPY. Some circuits cannot be written in it, or only written: with the parameters of
two gates mixed by binding some of them, for instance, on Qiskit 1. The service would tell so after
the job has waited in its queue.
"""

from __future__ import annotations

import io
import json

from qiskit import qpy
from qiskit.circuit import QuantumCircuit
from qiskit.primitives.containers.estimator_pub import EstimatorPub

from ..exceptions import CircuitError
from ..lru_cache import LRUCache
from ..program.identity import content_key, round_trip_agrees


class TravelCheck:
    """Checks each circuit once, and again when it was changed in place."""

    def __init__(self) -> None:
        self._arrived: LRUCache[None] = LRUCache(64)

    def __call__(self, pub: EstimatorPub) -> None:
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
