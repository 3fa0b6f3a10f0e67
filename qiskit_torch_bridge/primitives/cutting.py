# SPDX-License-Identifier: Apache-2.0
"""Requests cut into calls that keep within limits, their results checked and joined in order.

Not everything can be asked of an estimator at once. A service takes jobs up to a size; local
estimators of Qiskit and Aer make a circuit of its own for each point and, where they measure, for
each group of observables, so that a large batch of shift points takes gigabytes; Aer keeps Python's
lock from the first circuit of a call to the last, and Ctrl-C waiting. Each of these is a
:class:`Limit`, a number and what is measured to compare with it. PUBs are cut by rows until every
call keeps within all limits that are given.
"""

from __future__ import annotations

import io
import itertools
import math
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from qiskit import qpy
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.primitives import BackendEstimatorV2, BaseEstimatorV2, PubResult
from qiskit.primitives.containers import DataBin
from qiskit.primitives.containers.estimator_pub import EstimatorPub

from ..arrays import FloatArray, read_real_numbers
from ..exceptions import ResultError
from ..lru_cache import LRUCache
from ..program.identity import content_key
from ..program.observables import elements_of
from .capabilities import binds_here, is_from_aer, measures, repeats_noise
from .precision import default_precision
from .usage import count_groups_in, count_terms_in

UNUSED = "Nothing was used; weights are unchanged."


class Evaluation(NamedTuple):
    """Expectation values and, where the primitive tells, standard errors and precision aimed at."""

    evs: FloatArray
    stds: FloatArray | None
    precision: float | None = None


class Size(NamedTuple):
    """What a PUB amounts to in the unit of a limit.

    Attributes:
        fixed: What every part of it has, such as the circuit.
        rows: What all rows have together, in proportion to their number.
    """

    fixed: float = 0.0
    rows: float = 0.0


class Limit(NamedTuple):
    """At most so much in a call.

    Attributes:
        most: How much.
        measure: Returns what a PUB amounts to on an estimator; ``None`` if it must not be cut
            because of this limit.
    """

    most: float
    measure: Callable[[BaseEstimatorV2, EstimatorPub], Size | None]


@dataclass(frozen=True)
class PubPart:
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

    def halves(self) -> list[PubPart]:
        """Cut it in two."""
        middle = self.rows // 2
        return [
            PubPart(self.position, self.start + a, self.start + b, _take_rows(self.pub, a, b))
            for a, b in ((0, middle), (middle, self.rows))
        ]


def cut(
    pub: EstimatorPub, position: int, estimators: Sequence[BaseEstimatorV2], limits: Iterable[Limit]
) -> list[PubPart]:
    """Cut a PUB into parts that keep within all limits, as many for each estimator.

    They are as few as possible, and their numbers of rows differ by one at most. What cannot be cut
    is one part; single rows are not cut further, nor what exceeds a limit without any rows.

    Args:
        pub: The PUB.
        position: Its place in the request.
        estimators: Which run the parts, in turn.
        limits: For a part each.
    """
    rows, pieces = count_rows(pub), len(estimators)
    if rows is None:
        return [PubPart(position, 0, 1, pub)]
    count = pieces
    for limit in limits:
        sizes = [limit.measure(estimator, pub) for estimator in estimators]
        known = [size for size in sizes if size is not None]
        if len(known) == len(sizes):
            rows_of_part = min(_count_fitting(size, limit.most, rows) for size in known)
            count = max(count, pieces * math.ceil(rows / rows_of_part / pieces))
    count = min(rows, count)
    if count == 1:
        return [PubPart(position, 0, rows, pub)]
    edges = [rows * i // count for i in range(count + 1)]
    return [PubPart(position, a, b, _take_rows(pub, a, b)) for a, b in itertools.pairwise(edges)]


def _count_fitting(size: Size, most: float, rows: int) -> int:
    """Return how many rows fit, at least one; all if cutting is of no use."""
    room = most - size.fixed
    return rows if room <= 0 or size.rows <= 0 else min(rows, max(1, int(room * rows / size.rows)))


def cut_into_calls(
    pubs: Sequence[EstimatorPub], estimator: BaseEstimatorV2, *limits: Limit
) -> list[list[PubPart]]:
    """Cut PUBs into parts, in calls of an estimator that keep within all limits."""
    parts = [p for i, pub in enumerate(pubs) for p in cut(pub, i, [estimator], limits)]
    return group(parts, [estimator], *limits)


def group(
    parts: Iterable[PubPart], estimators: Sequence[BaseEstimatorV2], *limits: Limit
) -> list[list[PubPart]]:
    """Group parts, in order, so that those of a group keep within all limits together.

    Args:
        parts: The parts.
        estimators: Which run them, in turn.
        limits: For a group each.
    """
    groups: list[list[PubPart]] = [[]]
    taken = [0.0 for _ in limits]
    for part, estimator in zip(parts, itertools.cycle(estimators), strict=False):
        sizes = [sum(limit.measure(estimator, part.pub) or Size()) for limit in limits]
        taken = [a + b for a, b in zip(taken, sizes, strict=True)]
        if groups[-1] and any(t > limit.most for t, limit in zip(taken, limits, strict=True)):
            groups.append([])
            taken = sizes
        groups[-1].append(part)
    return groups


def join_calls(calls: Sequence[Sequence[PubPart]], results: Iterable[PubResult]) -> list[PubResult]:
    """Return the result of each PUB from those of all parts in order."""
    found: dict[int, list[tuple[PubPart, PubResult]]] = {}
    for part, result in zip(itertools.chain(*calls), results, strict=True):
        found.setdefault(part.position, []).append((part, result))
    return [join_results(found[position]) for position in sorted(found)]


def join_results(results: Sequence[tuple[PubPart, PubResult]]) -> PubResult:
    """Put the results of a PUB's parts, in order, together."""
    if len(results) == 1:
        return results[0][1]
    found = []
    for part, result in results:
        where = f"A job for rows {part.start} to {part.stop}"
        found.append(check_result(result, part.pub.shape, part.position, where))
    fields: dict[str, Any] = {"evs": np.concatenate([each.evs for each in found], axis=-1)}
    stds = [each.stds for each in found if each.stds is not None]
    if len(stds) == len(found):
        fields["stds"] = np.concatenate(stds, axis=-1)
    data = DataBin(**fields, shape=fields["evs"].shape)
    return PubResult(data, metadata=dict(results[0][1].metadata))


def check_result(result: PubResult, shape: tuple[int, ...], position: int, who: str) -> Evaluation:
    """Return the values of a PUB's result, or raise :class:`ResultError` if they cannot be used."""
    evs = _numbers(result, "evs", "expectation values", shape, position, who)
    metadata = getattr(result, "metadata", None)
    aimed = metadata.get("target_precision") if isinstance(metadata, Mapping) else None
    precision = float(aimed) if isinstance(aimed, numbers.Real) else None
    if getattr(result.data, "stds", None) is None:
        return Evaluation(evs, None, precision)
    stds = _numbers(result, "stds", "standard errors", shape, position, who)
    if (stds < 0).any():
        raise ResultError(
            f"{who} returned a negative standard error, {stds.min()}, for PUB {position}. {UNUSED}"
        )
    return Evaluation(evs, stds, precision)


def _numbers(
    result: PubResult, name: str, what: str, shape: tuple[int, ...], position: int, who: str
) -> FloatArray:
    try:
        found = read_real_numbers(getattr(result.data, name))
    except (AttributeError, ValueError) as error:
        raise ResultError(
            f"{who} returned {what} (data.{name}) that are no real numbers for PUB {position}: "
            f"{error}. {UNUSED}"
        ) from error
    if found.shape != shape:
        raise ResultError(
            f"{who} returned {what} of shape {found.shape} for PUB {position}; expected "
            f"{shape}. {UNUSED}"
        )
    if not np.isfinite(found).all():
        where = np.argwhere(~np.isfinite(found))[0].tolist()
        raise ResultError(
            f"{who} returned {found[tuple(where)]} for PUB {position} at index {where} of its "
            f"{what}. {UNUSED}"
        )
    return found


def count_rows(pub: EstimatorPub) -> int | None:
    """Return how many rows a PUB can be cut into, ``None`` if it cannot be cut.

    Rows are the last axis of its points, if all observables are asked for at each of them.
    """
    points, observables = pub.parameter_values.shape, pub.observables.shape
    if not pub.parameter_values.num_parameters or not points or points[-1] < 1:
        return None
    if observables and observables[-1] != 1:
        return None
    return int(points[-1])


def _take_rows(pub: EstimatorPub, start: int, stop: int) -> EstimatorPub:
    # Named axis by axis: for bindings "..." would reach into the axis of parameters.
    before = (slice(None),) * (pub.parameter_values.ndim - 1)
    values = pub.parameter_values[(*before, slice(start, stop))]
    return EstimatorPub(pub.circuit, pub.observables, values, pub.precision, validate=False)


# -- the input of a job ------------------------------------------------------------------------

ENCODED = 4 / 3
"""Bytes sent for a byte of an array or a circuit: jobs travel as text, base 64."""


def limit_input(max_bytes: float) -> Limit:
    """Return the limit of a job's input in bytes, on its way to a service."""
    return Limit(max_bytes, measure_input)


def measure_input(estimator: BaseEstimatorV2, pub: EstimatorPub) -> Size:
    """Return about how many bytes a PUB has on its way to a service.

    Circuit and observables are in every part of it; the values of the parameters are its rows'.
    """
    terms = sum(map(len, elements_of(pub.observables)))
    numbers = pub.parameter_values.size * pub.parameter_values.num_parameters
    text = terms * (pub.circuit.num_qubits + 24)
    circuit = _known_bytes(content_key(pub.circuit), lambda: _bytes_of(pub.circuit))
    return Size(ENCODED * circuit + text, ENCODED * 8 * numbers)


def _bytes_of(circuit: QuantumCircuit) -> int:
    buffer = io.BytesIO()
    try:
        qpy.dump(circuit, buffer)
    except Exception:  # of many types, for what QPY cannot hold; it may never have to
        return 100 * len(circuit.data)
    return buffer.tell()


_known_bytes: LRUCache[int] = LRUCache(64)

# -- the memory of circuits in this process ----------------------------------------------------

OF_A_CIRCUIT, OF_A_GATE = 20e3, 1.5e3
"""Bytes of a bound circuit, and of each gate in it; measured, at the upper end."""


def measure_memory(estimator: BaseEstimatorV2, pub: EstimatorPub) -> Size | None:
    """Return about how many bytes the circuits take that an estimator makes for a PUB.

    ``None`` where a fixed seed would give all parts the same noise.
    """
    if not binds_here(estimator):
        return Size()
    if _would_repeat(estimator, pub.precision):
        return None
    size = _bytes_of_points(pub.circuit, math.prod(pub.parameter_values.shape))
    return Size(0.0, size * count_groups_in(pub.observables) if measures(estimator) else size)


def surely_fits(pubs: Sequence[Any]) -> bool:
    """Whether PUBs fit into memory whatever their observables are, which are not looked at.

    Args:
        pubs: As :func:`.points_pub` makes them, or Qiskit's own.
    """
    total = 0.0
    for pub in pubs:
        if isinstance(pub, EstimatorPub):
            circuit, points = pub.circuit, math.prod(pub.parameter_values.shape)
        else:
            circuit, _, *values = pub
            points = _count_points(values[0]) if values else 1
        # No more groups than bases that the qubits can be measured in.
        total += _bytes_of_points(circuit, points) * 3.0 ** min(circuit.num_qubits, 600)
    return total <= MEMORY.most


def _would_repeat(estimator: BaseEstimatorV2, precision: float | None) -> bool:
    """Whether all calls of an estimator would have the same noise."""
    noisy = measures(estimator) or precision or default_precision(estimator)
    return bool(noisy) and repeats_noise(estimator)


def _count_points(values: Mapping[tuple[Parameter, ...], FloatArray]) -> int:
    return max((v.size // len(names) for names, v in values.items()), default=1)


def _bytes_of_points(circuit: QuantumCircuit, points: int) -> float:
    return points * (OF_A_CIRCUIT + OF_A_GATE * len(circuit.data))


MEMORY = Limit(1e9, measure_memory)
"""The bytes of circuits that an estimator makes in this process."""

# -- how long an interrupt waits ---------------------------------------------------------------

CIRCUIT, SHOT, TRAJECTORY = 300_000, 200, 3
"""What a circuit costs, what a shot costs, and how many times as much an amplitude costs that is
changed on a trajectory, in amplitudes changed in the same time."""
SHOTS = 1024
"""Trajectories of a noisy circuit from which Aer's own estimator computes expectation values."""


def measure_work(estimator: BaseEstimatorV2, pub: EstimatorPub) -> Size:
    """Return the amplitudes that Aer changes for a PUB; it depends on nothing but the request."""
    backend: Any = getattr(estimator, "_backend", None)
    if not is_from_aer(backend):
        return Size()
    terms = count_terms_in(pub.observables)
    circuits, shots = 1, SHOTS
    if isinstance(estimator, BackendEstimatorV2):  # at most one circuit for each term
        precision = pub.precision or estimator.options.default_precision
        circuits, shots = terms, math.ceil(1 / precision**2)
    states = 1 << _count_qubits(pub.circuit)
    if getattr(backend.options, "noise_model", None) is not None:
        # A trajectory for each shot, or a density matrix.
        states *= TRAJECTORY * shots if shots <= states else states
    work = (len(pub.circuit.data) + terms) * states + CIRCUIT
    if isinstance(estimator, BackendEstimatorV2):
        work += SHOT * shots
    return Size(0.0, math.prod(pub.parameter_values.shape) * circuits * work)


def _count_qubits(circuit: QuantumCircuit) -> int:
    return len({qubit for instruction in circuit.data for qubit in instruction.qubits})


INTERRUPTS = Limit(60_000_000, measure_work)
"""The amplitudes that Aer changes in a call: about half a second, for which it keeps Python's lock,
so that no other thread runs and Ctrl-C is not noticed. A single circuit cannot be interrupted."""
