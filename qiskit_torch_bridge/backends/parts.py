# SPDX-License-Identifier: Apache-2.0
"""Cutting PUBs into parts by rows, and putting results together again in order."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from qiskit import qpy
from qiskit.circuit import QuantumCircuit
from qiskit.primitives import PubResult
from qiskit.primitives.containers import DataBin
from qiskit.primitives.containers.estimator_pub import EstimatorPub

from ..exceptions import ResultError

ENCODED = 4 / 3
"""Bytes sent for a byte of an array or a circuit: jobs travel as text, base 64."""


@dataclass(frozen=True)
class Part:
    """Some rows of one PUB.

    Attributes:
        position: Which PUB of the request.
        start: The first row.
        stop: One past the last row.
        pub: The PUB of these rows alone.
    """

    position: int
    start: int
    stop: int
    pub: EstimatorPub

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.stop - self.start

    def halves(self) -> list[Part]:
        """Cut it in two."""
        middle = self.rows // 2
        return [
            Part(self.position, self.start + a, self.start + b, _taken(self.pub, a, b))
            for a, b in ((0, middle), (middle, self.rows))
        ]


def rows_of(pub: EstimatorPub) -> int | None:
    """Return how many rows a PUB can be cut into, ``None`` if it cannot be cut.

    Rows are the last axis of its points, if all observables are asked for at each of them.
    """
    points, observables = pub.parameter_values.shape, pub.observables.shape
    if not pub.parameter_values.num_parameters or not points or points[-1] < 1:
        return None
    if observables and observables[-1] != 1:
        return None
    return int(points[-1])


def cut(pub: EstimatorPub, position: int, pieces: int, max_bytes: float, size: Size) -> list[Part]:
    """Cut a PUB into equal parts: a multiple of ``pieces``, if it has the rows.

    No part has more than ``max_bytes``, unless a single row has: circuit and observables are in
    each of them.
    """
    rows = rows_of(pub)
    if rows is None:
        return [Part(position, 0, 1, pub)]
    count, room = pieces, max_bytes - size.fixed
    if room > 0 and size.values > 0:
        most = max(1, int(room * rows / size.values))  # rows of a part
        count = pieces * math.ceil(rows / most / pieces)
    count = min(rows, count)
    if count == 1:
        return [Part(position, 0, rows, pub)]
    edges = [rows * i // count for i in range(count + 1)]
    return [Part(position, a, b, _taken(pub, a, b)) for a, b in itertools.pairwise(edges)]


def _taken(pub: EstimatorPub, start: int, stop: int) -> EstimatorPub:
    # Named axis by axis: for bindings "..." would reach into the axis of parameters.
    before = (slice(None),) * (pub.parameter_values.ndim - 1)
    values = pub.parameter_values[(*before, slice(start, stop))]
    return EstimatorPub(pub.circuit, pub.observables, values, pub.precision, validate=False)


def joined(results: Sequence[tuple[Part, PubResult]], pub: EstimatorPub) -> PubResult:
    """Put the results of a PUB's parts, in order, together."""
    if len(results) == 1:
        return results[0][1]
    for part, result in results:
        expected = (*pub.shape[:-1], part.rows)
        found = np.asarray(result.data.evs).shape
        if found != expected:
            raise ResultError(
                f"Rows {part.start} to {part.stop} of a PUB came back in shape {found}; expected "
                f"{expected}. Nothing was used."
            )
    fields: dict[str, Any] = {
        name: np.concatenate([np.asarray(r.data[name]) for _, r in results], axis=-1)
        for name in ("evs", "stds")
        if all(name in r.data for _, r in results)
    }
    data = DataBin(**fields, shape=pub.shape)
    return PubResult(data, metadata=dict(results[0][1].metadata))


class Size(NamedTuple):
    """About how many bytes a PUB has on its way to a service.

    Attributes:
        fixed: Circuit and observables, which every part has.
        values: The values of the parameters, in proportion to the rows.
    """

    fixed: float
    values: float


class Sizes:
    """Estimates the sizes of PUBs."""

    def __init__(self) -> None:
        self._circuits: dict[int, tuple[QuantumCircuit, int]] = {}

    def __call__(self, pub: EstimatorPub) -> Size:
        """Return the estimate in bytes."""
        circuit = pub.circuit
        known = self._circuits.get(id(circuit))
        if known is None:
            if len(self._circuits) > 64:
                self._circuits.clear()
            known = self._circuits[id(circuit)] = circuit, _bytes_of(circuit)
        terms = sum(len(o) for o in np.ravel(pub.observables.tolist()).tolist())
        numbers = pub.parameter_values.size * pub.parameter_values.num_parameters
        text = terms * (circuit.num_qubits + 24)
        return Size(ENCODED * known[1] + text, ENCODED * 8 * numbers)


def _bytes_of(circuit: QuantumCircuit) -> int:
    buffer = io.BytesIO()
    try:
        qpy.dump(circuit, buffer)
    except Exception:  # of many types, for what QPY cannot hold; it may never have to
        return 100 * len(circuit.data)
    return buffer.tell()
