# SPDX-License-Identifier: Apache-2.0
"""Requests cut into calls that keep within limits, their results checked and joined in order.

Not everything can be asked of a primitive at once. A service takes jobs up to a size; local
primitives of Qiskit and Aer make a circuit of its own for each point and, where estimators measure,
for each group of observables, so that a large batch of shift points takes gigabytes; Aer keeps
Python's lock from the first circuit of a call to the last, and Ctrl-C waiting. Each of these is a
:class:`Limit`, a number and what is measured to compare with it. PUBs are cut by rows until every
call keeps within all limits that are given.
"""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from qiskit import qpy
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.primitives import BitArray, PubResult
from qiskit.primitives.containers import DataBin
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub

from ..arrays import FloatArray
from ..exceptions import ResultError
from ..lru_cache import LRUCache
from ..program.identity import content_key
from .capabilities import binds_here, is_from_aer, measures, repeats_noise
from .families import Primitive, Pub, family_of
from .results import UNUSED


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
        measure: Returns what a PUB amounts to on a primitive; ``None`` if it must not be cut
            because of this limit.
    """

    most: float
    measure: Callable[[Primitive, Pub], Size | None]


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
    pub: Pub

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.stop - self.start

    def halves(self) -> list[PubPart]:
        """Cut it in two."""
        middle, take_rows = self.rows // 2, family_of(self.pub).take_rows
        return [
            PubPart(self.position, self.start + a, self.start + b, take_rows(self.pub, a, b))
            for a, b in ((0, middle), (middle, self.rows))
        ]


def cut(
    pub: Pub, position: int, primitives: Sequence[Primitive], limits: Iterable[Limit]
) -> list[PubPart]:
    """Cut a PUB into parts that keep within all limits, as many for each primitive.

    They are as few as possible, and their numbers of rows differ by one at most. What cannot be cut
    is one part; single rows are not cut further, nor what exceeds a limit without any rows.

    Args:
        pub: The PUB.
        position: Its place in the request.
        primitives: Which run the parts, in turn.
        limits: For a part each.
    """
    family = family_of(pub)
    rows, pieces = family.count_rows(pub), len(primitives)
    if rows is None:
        return [PubPart(position, 0, 1, pub)]
    count = pieces
    for limit in limits:
        sizes = [limit.measure(primitive, pub) for primitive in primitives]
        known = [size for size in sizes if size is not None]
        if len(known) == len(sizes):
            rows_of_part = min(_count_fitting(size, limit.most, rows) for size in known)
            count = max(count, pieces * math.ceil(rows / rows_of_part / pieces))
    count = min(rows, count)
    if count == 1:
        return [PubPart(position, 0, rows, pub)]
    edges = [rows * i // count for i in range(count + 1)]
    cuts = itertools.pairwise(edges)
    return [PubPart(position, a, b, family.take_rows(pub, a, b)) for a, b in cuts]


def _count_fitting(size: Size, most: float, rows: int) -> int:
    """Return how many rows fit, at least one; all if cutting is of no use."""
    room = most - size.fixed
    return rows if room <= 0 or size.rows <= 0 else min(rows, max(1, int(room * rows / size.rows)))


def cut_into_calls(
    pubs: Sequence[Pub], primitive: Primitive, *limits: Limit
) -> list[list[PubPart]]:
    """Cut PUBs into parts, in calls of a primitive that keep within all limits."""
    parts = [p for i, pub in enumerate(pubs) for p in cut(pub, i, [primitive], limits)]
    return group(parts, [primitive], *limits)


def group(
    parts: Iterable[PubPart], primitives: Sequence[Primitive], *limits: Limit
) -> list[list[PubPart]]:
    """Group parts, in order, so that those of a group keep within all limits together.

    Args:
        parts: The parts.
        primitives: Which run them, in turn.
        limits: For a group each.
    """
    groups: list[list[PubPart]] = [[]]
    taken = [0.0 for _ in limits]
    for part, primitive in zip(parts, itertools.cycle(primitives), strict=False):
        sizes = [sum(limit.measure(primitive, part.pub) or Size()) for limit in limits]
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
    first, result = results[0]
    family = family_of(first.pub)
    found: list[dict[str, Any]] = []
    for part, each in results:
        where = f"A job for rows {part.start} to {part.stop}"
        found.append(family.read(each, part.pub, part.position, where))
    joined = {
        name: _join_rows([fields[name] for fields in found], first.position)
        for name in found[0]
        if all(name in fields for fields in found)
    }
    shape = (*first.pub.shape[:-1], results[-1][0].stop - first.start)
    return family.result_class(DataBin(**joined, shape=shape), dict(result.metadata))


def _join_rows(parts: list[Any], position: int) -> Any:
    """Return numbers, or outcomes, of parts as those of all rows."""
    if not isinstance(parts[0], BitArray):
        return np.concatenate(parts, axis=-1)
    shots = {part.num_shots for part in parts}
    if len(shots) > 1:
        raise ResultError(
            f"Jobs for the rows of PUB {position} took {sorted(shots)} shots; expected as many for "
            f"each. {UNUSED} Name the shots, or give all samplers the same default."
        )
    return BitArray.concatenate(parts, axis=parts[0].ndim - 1)


# -- the input of a job ------------------------------------------------------------------------

ENCODED = 4 / 3
"""Bytes sent for a byte of an array or a circuit: jobs travel as text, base 64."""


def limit_input(max_bytes: float) -> Limit:
    """Return the limit of a job's input in bytes, on its way to a service."""
    return Limit(max_bytes, measure_input)


def measure_input(primitive: Primitive, pub: Pub) -> Size:
    """Return about how many bytes a PUB has on its way to a service.

    Circuit and observables are in every part of it; the values of the parameters are its rows'.
    """
    numbers = pub.parameter_values.size * pub.parameter_values.num_parameters
    circuit = _known_bytes(content_key(pub.circuit), lambda: _bytes_of(pub.circuit))
    return Size(ENCODED * circuit + family_of(pub).measure_text(pub), ENCODED * 8 * numbers)


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


def measure_memory(primitive: Primitive, pub: Pub) -> Size | None:
    """Return about how many bytes the circuits take that a primitive makes for a PUB.

    ``None`` where a fixed seed would give all parts the same noise.
    """
    if not binds_here(primitive):
        return Size()
    family = family_of(pub)
    if family.is_noisy(primitive, family.effort_of(pub)) and repeats_noise(primitive):
        return None
    size = _bytes_of_points(pub.circuit, math.prod(pub.parameter_values.shape))
    settings = family.count_settings(pub, grouped=True) if measures(primitive) else 1
    return Size(0.0, size * settings)


def surely_fits(pubs: Sequence[Any]) -> bool:
    """Whether PUBs fit into memory whatever their observables are, which are not looked at.

    Args:
        pubs: As :func:`.make_points_pub` makes them, or Qiskit's own.
    """
    total = 0.0
    for pub in pubs:
        if isinstance(pub, (EstimatorPub, SamplerPub)):
            circuit, points = pub.circuit, math.prod(pub.parameter_values.shape)
        else:
            circuit, _, *values = pub
            points = _count_points(values[0]) if values else 1
        # No more groups than bases that the qubits can be measured in.
        total += _bytes_of_points(circuit, points) * 3.0 ** min(circuit.num_qubits, 600)
    return total <= MEMORY.most


def _count_points(values: Mapping[tuple[Parameter, ...], FloatArray]) -> int:
    return max((v.size // len(names) for names, v in values.items()), default=1)


def _bytes_of_points(circuit: QuantumCircuit, points: int) -> float:
    return points * (OF_A_CIRCUIT + OF_A_GATE * len(circuit.data))


MEMORY = Limit(1e9, measure_memory)
"""The bytes of circuits that a primitive makes in this process."""

# -- how long an interrupt waits ---------------------------------------------------------------

CIRCUIT, SHOT, TRAJECTORY = 300_000, 200, 3
"""What a circuit costs, what a shot costs, and how many times as much an amplitude costs that is
changed on a trajectory, in amplitudes changed in the same time."""
SHOTS = 1024
"""Trajectories of a noisy circuit from which Aer's own estimator computes expectation values."""


def measure_work(primitive: Primitive, pub: Pub) -> Size:
    """Return the amplitudes that Aer changes for a PUB; it depends on nothing but the request."""
    backend: Any = getattr(primitive, "_backend", None)
    if not is_from_aer(backend):
        return Size()
    family = family_of(pub)
    terms = family.count_settings(pub, grouped=False)
    circuits, shots, measured = 1, SHOTS, measures(primitive)
    if measured:  # an estimator at most one circuit for each term
        circuits, shots = terms, family.count_shots(primitive, family.effort_of(pub))
    states = 1 << _count_qubits(pub.circuit)
    if getattr(backend.options, "noise_model", None) is not None:
        # A trajectory for each shot, or a density matrix.
        states *= TRAJECTORY * shots if shots <= states else states
    work = (len(pub.circuit.data) + terms) * states + CIRCUIT
    if measured:
        work += SHOT * shots
    return Size(0.0, math.prod(pub.parameter_values.shape) * circuits * work)


def _count_qubits(circuit: QuantumCircuit) -> int:
    return len({qubit for instruction in circuit.data for qubit in instruction.qubits})


INTERRUPTS = Limit(60_000_000, measure_work)
"""The amplitudes that Aer changes in a call: about half a second, for which it keeps Python's lock,
so that no other thread runs and Ctrl-C is not noticed. A single circuit cannot be interrupted."""
