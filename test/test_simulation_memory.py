# SPDX-License-Identifier: Apache-2.0
"""What methods estimate to take of memory is what they take, and what is refused takes none.

Every allocation of Python and NumPy is counted, the kernels' buffers among them, from the first
call of a simulator on; the kernels allocate nothing themselves.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from qiskit_torch_bridge import CircuitProgram, memory
from qiskit_torch_bridge.exceptions import MemoryLimitError
from qiskit_torch_bridge.simulation.choice import choose
from qiskit_torch_bridge.simulation.interface import Plan, Simulator

TABLES = 1 << 18
"""Bytes that the tables of circuits this small may take: as much as the circuit, not its states."""


class Case(NamedTuple):
    """A circuit, how many of its parameters are inputs, and what is read."""

    circuit: QuantumCircuit
    inputs: int
    observables: SparsePauliOp | list[SparsePauliOp]


def chain(width: int, depth: int) -> Case:
    """An encoding, layers of rotations and CX, Z of each qubit: all is needed for the last one."""
    circuit = QuantumCircuit(width)
    x, w = ParameterVector("x", width), iter(ParameterVector("y", 2 * width * depth))
    for q in range(width):
        circuit.ry(x[q], q)
    for _ in range(depth):
        for q in range(width):
            circuit.rx(next(w), q)
            circuit.rz(next(w), q)
        for q in range(width - 1):
            circuit.cx(q, q + 1)
    return Case(
        circuit,
        width,
        [SparsePauliOp.from_sparse_list([("Z", [q], 1.0)], width) for q in range(width)],
    )


def qaoa(width: int, edges: list[tuple[int, int]], steps: int) -> Case:
    """The energy of a graph, nothing being an input."""
    circuit, w = QuantumCircuit(width), ParameterVector("w", 2 * steps)
    circuit.h(range(width))
    for step in range(steps):
        for k, (a, b) in enumerate(edges):
            circuit.rzz((1 + 0.1 * k) * w[2 * step], a, b)
        circuit.rx(w[2 * step + 1], range(width))
    return Case(circuit, 0, SparsePauliOp.from_sparse_list([("ZZ", e, 1.0) for e in edges], width))


def grid(rows: int, columns: int) -> list[tuple[int, int]]:
    across = [
        (r * columns + c, r * columns + c + 1) for r in range(rows) for c in range(columns - 1)
    ]
    return across + [(k, k + columns) for k in range((rows - 1) * columns)]


def strides(width: int, step: int) -> list[tuple[int, int]]:
    return [(q, (step * q + 1) % width) for q in range(width)]


def all_pairs(width: int) -> list[tuple[int, int]]:
    return [(a, b) for a in range(width) for b in range(a)]


CASES: dict[str, tuple[str, Callable[[], Case]]] = {
    "state vector of a chain": ("statevector", lambda: chain(14, 2)),
    "state vector of a graph": ("statevector", lambda: qaoa(15, all_pairs(15), 1)),
    "light cones of a chain": ("light-cones", lambda: chain(13, 2)),
    "light cones of a graph": ("light-cones", lambda: qaoa(40, strides(40, 7), 3)),
    "columns of a chain": ("columns", lambda: chain(16, 5)),
    "columns of a ring": ("columns", lambda: qaoa(24, strides(24, 1), 3)),
    "network of a chain": ("network", lambda: chain(12, 2)),
    "network of a grid": ("network", lambda: qaoa(12, grid(3, 4), 2)),
}  # fmt: skip


@pytest.fixture(params=CASES)
def planned(request) -> tuple[CircuitProgram, Callable[[str], Plan]]:
    method, make = CASES[request.param]
    case = make()
    inputs = [p for p in case.circuit.parameters if p.name.startswith("x")] or None
    p = CircuitProgram(case.circuit, case.observables, input_params=inputs)

    def plan(dtype: str = "complex128") -> Plan:
        columns = p.input_columns, p.weight_columns
        return choose(method, p.analysed, p.readout, *columns, np.dtype(dtype)).plan

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield p, plan
    torch.set_num_threads(threads)


def peak_of(call: Callable[[], object]) -> int:
    """Return the most bytes that are allocated at once."""
    gc.collect()
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def values_and_gradient(p: CircuitProgram, simulator: Simulator, rows: int) -> None:
    rng = np.random.default_rng(rows)
    x = rng.normal(size=(rows, len(p.input_columns)))
    w = rng.normal(size=(1 if len(p.input_columns) else rows, len(p.weight_columns)))
    _, kept = simulator.evaluate(x, w, keep=True)
    simulator.vjp(x, w, rng.normal(size=(rows, p.readout.size)), kept)


@pytest.mark.parametrize("dtype", ["complex128", "complex64"])
def test_estimates_are_within_a_factor_of_two(planned, dtype: str) -> None:
    p, plan = planned
    for rows in (1, 16):
        values_and_gradient(p, plan(dtype).compile(), rows)  # loads the kernels
        fresh = plan(dtype)
        simulator = fresh.compile()
        peak = peak_of(lambda r=rows, s=simulator: values_and_gradient(p, s, r))
        for estimated in (fresh.estimate(rows).bytes, simulator.estimate(rows).bytes):
            assert peak / 2 - TABLES / 2 <= estimated <= 2 * peak, (rows, estimated, peak)


def test_what_is_refused_takes_nothing(planned, monkeypatch) -> None:
    p, plan = planned
    needed = plan().estimate(64).bytes
    monkeypatch.setattr(memory, "GRANTED", 0)
    monkeypatch.setattr(memory, "available", lambda: 1 << 10)

    def refused() -> None:
        with pytest.raises(MemoryLimitError):
            values_and_gradient(p, plan().compile(), 64)

    assert peak_of(refused) < max(needed // 4, 4 * TABLES)
