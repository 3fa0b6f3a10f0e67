# SPDX-License-Identifier: Apache-2.0
"""Cutting PUBs into parts by rows, and putting results together again in order."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
    if not points or (observables and observables[-1] != 1) or points[-1] < 1:
        return None
    return int(points[-1])


def cut(pub: EstimatorPub, position: int, pieces: int, max_bytes: float, size: float) -> list[Part]:
    """Cut a PUB of ``size`` bytes into equal parts, at least ``pieces`` of them if it has the rows.

    No part has more than ``max_bytes``, unless a single row has.
    """
    rows = rows_of(pub)
    if rows is None:
        return [Part(position, 0, 1, pub)]
    count = min(rows, max(pieces, int(np.ceil(size / max_bytes))))
    edges = [rows * i // count for i in range(count + 1)]
    if count == 1:
        return [Part(position, 0, rows, pub)]
    return [Part(position, a, b, _taken(pub, a, b)) for a, b in itertools.pairwise(edges)]


def _taken(pub: EstimatorPub, start: int, stop: int) -> EstimatorPub:
    values = pub.parameter_values[..., start:stop]
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


class Sizes:
    """Estimates how many bytes a PUB has on its way to a service."""

    def __init__(self) -> None:
        self._circuits: dict[int, tuple[QuantumCircuit, int]] = {}

    def __call__(self, pub: EstimatorPub) -> float:
        """Return the estimate in bytes."""
        circuit = pub.circuit
        known = self._circuits.get(id(circuit))
        if known is None:
            buffer = io.BytesIO()
            qpy.dump(circuit, buffer)
            if len(self._circuits) > 64:
                self._circuits.clear()
            known = self._circuits[id(circuit)] = circuit, buffer.tell()
        terms = sum(len(o) for o in np.ravel(pub.observables.tolist()).tolist())
        numbers = pub.parameter_values.size * pub.parameter_values.num_parameters
        text = terms * (circuit.num_qubits + 24)
        return ENCODED * (known[1] + 8 * numbers) + text
