# SPDX-License-Identifier: Apache-2.0
"""The likeliest outcome of a circuit's qubits, without shots."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .. import memory
from ..arrays import FloatArray
from ..exceptions import MemoryLimitError
from ..execution import Exact
from ..primitives.outcome_sources import make_outcome_source
from ..program import CircuitProgram
from ..program.lowering import find_active_qubits
from ..program.readouts import Outcomes
from ..simulation.columns import plan_columns
from ..simulation.columns.sampling import ColumnSampler
from .evaluators import Simulation

TIE = {"complex128": 1e-12, "complex64": 1e-5}
"""Probabilities that differ by less, relatively, count as equal: rounding makes as much."""

_Bits = NDArray[np.int8]


def find_likeliest(program: CircuitProgram, exact: Exact, points: FloatArray) -> _Bits:
    """Return the likeliest outcome at each point, as bits ``(N, k)``.

    Of several that are equally likely it is the smallest as a number. Where the state vector is not
    the way to simulate the circuit, beginnings of outcomes are followed along its columns.

    Args:
        program: Whose outcomes are read, each on its own: bits are in the order of its readout's.
        exact: How it is simulated.
        points: Shape ``(N, P)``.

    Raises:
        BridgeError: If it cannot be simulated.
        MemoryLimitError: If there are more probabilities than memory holds, and a search among the
            largest of them does not settle the matter.
    """
    program = program.deferred
    qubits = program.readout.measured
    active = set(find_active_qubits(program.circuit))
    places = [k for k, qubit in enumerate(qubits) if qubit in active]
    found = np.zeros((len(points), len(qubits)), np.int8)
    if places:
        measured = program.with_readout(Outcomes(tuple(qubits[k] for k in places)))
        found[:, places] = _find_in(measured, len(active), exact, points)
    return found


def _find_in(program: CircuitProgram, active: int, exact: Exact, points: FloatArray) -> _Bits:
    """Return the likeliest outcome of qubits that gates act on."""
    readout = program.readout
    assert isinstance(readout, Outcomes)
    sampler = _sampler_of(program, readout, exact)
    if sampler is None:
        return _look_at_all(program, len(readout.qubits), exact, points)
    sites = [sampler.site_of[q] for q in readout.qubits]
    try:
        rows = _split_rows(len(points), sampler.estimate(1, 0).bytes, len(sites))
        found = [
            sampler.prepare(points[some]).find_most_likely(sites, TIE["complex128"])
            for some in rows
        ]
        return np.concatenate(found).astype(np.int8)
    except MemoryLimitError:
        if not memory.fits(48 << active):
            raise
        return _look_at_all(program, len(readout.qubits), exact, points)


def _sampler_of(program: CircuitProgram, readout: Outcomes, exact: Exact) -> ColumnSampler | None:
    """Return what searches along columns; ``None`` if all probabilities are to be looked at."""
    columns = range(len(program.parameters))
    if exact.method == "columns":
        return ColumnSampler(plan_columns(program.analysed, readout, columns, ()))
    if exact.method != "automatic":
        return None
    source = make_outcome_source(program.analysed, readout, exact.dtype)
    return source if isinstance(source, ColumnSampler) else None


def _look_at_all(program: CircuitProgram, width: int, exact: Exact, points: FloatArray) -> _Bits:
    """Return the likeliest of all outcomes of ``width`` qubits."""
    likeliest = np.zeros(len(points), np.int64)
    simulation = Simulation(program, exact)
    for rows in _split_rows(len(points), 8 << width, width):
        probabilities = simulation.evaluate(points[rows]).values
        largest = probabilities.max(axis=1, keepdims=True)
        likeliest[rows] = (probabilities >= largest * (1 - TIE[exact.dtype])).argmax(axis=1)
    bits: _Bits = (likeliest[:, None] >> np.arange(width) & 1).astype(np.int8)
    return bits


def _split_rows(count: int, row_bytes: int, width: int) -> Iterator[slice]:
    """Yield rows that fit into memory together."""
    room = memory.available() // 4 // row_bytes
    if not room:
        raise MemoryLimitError(
            f"The probabilities of all outcomes of {width} qubits do not fit into memory. Give "
            "shots=, to take the most frequent of as many samples."
        )
    for start in range(0, count, room):
        yield slice(start, start + room)
