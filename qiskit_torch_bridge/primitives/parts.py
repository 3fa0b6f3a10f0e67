# SPDX-License-Identifier: Apache-2.0
"""Cutting PUBs into parts by rows, and putting results together again in order."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from qiskit.primitives import PubResult
from qiskit.primitives.containers import DataBin
from qiskit.primitives.containers.estimator_pub import EstimatorPub

from ..arrays import FloatArray, read_real_numbers
from ..exceptions import ResultError


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


def cut(pub: EstimatorPub, position: int, count: int) -> list[Part]:
    """Cut a PUB into ``count`` parts of rows, or as many as it has; they differ by one at most."""
    rows = rows_of(pub)
    if rows is None:
        return [Part(position, 0, 1, pub)]
    count = max(1, min(rows, count))
    if count == 1:
        return [Part(position, 0, rows, pub)]
    edges = [rows * i // count for i in range(count + 1)]
    return [Part(position, a, b, _taken(pub, a, b)) for a, b in itertools.pairwise(edges)]


def _taken(pub: EstimatorPub, start: int, stop: int) -> EstimatorPub:
    # Named axis by axis: for bindings "..." would reach into the axis of parameters.
    before = (slice(None),) * (pub.parameter_values.ndim - 1)
    values = pub.parameter_values[(*before, slice(start, stop))]
    return EstimatorPub(pub.circuit, pub.observables, values, pub.precision, validate=False)


def joined(results: Sequence[tuple[Part, PubResult]]) -> PubResult:
    """Put the results of a PUB's parts, in order, together."""
    if len(results) == 1:
        return results[0][1]
    with_stds = all(getattr(r.data, "stds", None) is not None for _, r in results)
    names = ("evs", "stds") if with_stds else ("evs",)
    found: dict[str, list[FloatArray]] = {name: [] for name in names}
    for part, result in results:
        for name in names:
            try:
                numbers = read_real_numbers(getattr(result.data, name))
            except (AttributeError, ValueError) as error:
                raise ResultError(
                    f"Rows {part.start} to {part.stop} of a PUB came back without real numbers "
                    f"as data.{name}: {error}. Nothing was used."
                ) from error
            if numbers.shape != part.pub.shape:
                raise ResultError(
                    f"Rows {part.start} to {part.stop} of a PUB came back in shape "
                    f"{numbers.shape}; expected {part.pub.shape}. Nothing was used."
                )
            found[name].append(numbers)
    fields: dict[str, Any] = {n: np.concatenate(found[n], axis=-1) for n in names}
    data = DataBin(**fields, shape=fields["evs"].shape)
    return PubResult(data, metadata=dict(results[0][1].metadata))
