# SPDX-License-Identifier: Apache-2.0
"""How many bytes a PUB has on its way to a service, and into how many parts it is cut for that."""

from __future__ import annotations

import io
import math
from typing import NamedTuple

from qiskit import qpy
from qiskit.circuit import QuantumCircuit
from qiskit.primitives.containers.estimator_pub import EstimatorPub

from ..lru_cache import LRUCache
from ..program.identity import content_key
from ..program.observables import elements_of

ENCODED = 4 / 3
"""Bytes sent for a byte of an array or a circuit: jobs travel as text, base 64."""


class Size(NamedTuple):
    """About how many bytes a PUB has on its way to a service.

    Attributes:
        fixed: Circuit and observables, which every part has.
        values: The values of the parameters, in proportion to the rows.
    """

    fixed: float
    values: float


def parts_for(size: Size, rows: int, pieces: int, max_bytes: float) -> int:
    """Return how many equal parts, a multiple of ``pieces``, have at most ``max_bytes`` each.

    Circuit and observables are in each of them: if these alone are larger, it is ``pieces``.
    """
    room = max_bytes - size.fixed
    if room <= 0 or size.values <= 0:
        return pieces
    most = max(1, int(room * rows / size.values))  # rows of a part
    return pieces * math.ceil(rows / most / pieces)


class Sizes:
    """Estimates the sizes of PUBs."""

    def __init__(self) -> None:
        self._known: LRUCache[int] = LRUCache(64)

    def __call__(self, pub: EstimatorPub) -> Size:
        """Return the estimate in bytes."""
        terms = sum(map(len, elements_of(pub.observables)))
        numbers = pub.parameter_values.size * pub.parameter_values.num_parameters
        text = terms * (pub.circuit.num_qubits + 24)
        circuit = self._known(content_key(pub.circuit), lambda: _bytes_of(pub.circuit))
        return Size(ENCODED * circuit + text, ENCODED * 8 * numbers)


def _bytes_of(circuit: QuantumCircuit) -> int:
    buffer = io.BytesIO()
    try:
        qpy.dump(circuit, buffer)
    except Exception:  # of many types, for what QPY cannot hold; it may never have to
        return 100 * len(circuit.data)
    return buffer.tell()
