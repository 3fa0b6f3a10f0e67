# SPDX-License-Identifier: Apache-2.0
"""How what is made before the first number grows with the size of what it is made for.

A row of the table is one function with the decorator ``row``, which yields a :class:`Work` for each
size. Each repeat is a process of its own, forked before anything was made: what it makes first
finds no cache filled, and what it makes again finds all of them. Times are those of the process,
so that others do not count; beside them stands what Qiskit takes for its own part, where there is
one: to build the circuit, or to decompose it. The exponent is that of the power of the size that
fits the times best; of sizes that take next to no time it says little.
"""

from __future__ import annotations

import gc
import math
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import harness
import numpy as np
import torch
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.circuit.library import PauliEvolutionGate, PauliFeatureMap, ZZFeatureMap
from qiskit.quantum_info import SparsePauliOp, random_pauli_list
from shift_step import workload

from qiskit_torch_bridge import TorchQuantumModule, __version__

AGAIN = 3
"""How often a process makes its thing again."""


@dataclass(frozen=True)
class Work:
    """One size of a row.

    Attributes:
        label: What people call the size.
        size: A number that the cost should be in proportion to.
        fresh: Makes what the calls are given, anew for each of them; not timed.
        ours: What is timed.
        qiskit: What Qiskit takes for its own part, timed beside it; ``None`` if there is none.
    """

    label: str
    size: float
    fresh: Callable[[], Any]
    ours: Callable[[Any], object]
    qiskit: Callable[[Any], object] | None = None


@dataclass(frozen=True)
class Row:
    """What is measured, what Qiskit's part of it is, and the sizes it is measured at."""

    title: str
    beside: str
    works: Callable[[], Iterator[Work]]


@dataclass
class Times:
    """Seconds by repeat: the first time in a process, again, and Qiskit's part."""

    first: list[float]
    again: list[float]
    qiskit: list[float]


ROWS: dict[str, Row] = {}


def row(title: str, beside: str = "") -> Callable[[Callable[[], Iterator[Work]]], Any]:
    """Make a function that yields works a row of the table, under the function's name."""

    def register(works: Callable[[], Iterator[Work]]) -> Callable[[], Iterator[Work]]:
        ROWS[works.__name__] = Row(title, beside, works)
        return works

    return register


def layers(weights: int, qubits: int = 8) -> QuantumCircuit:
    """Return rotations by one weight each, and a chain of CX after every layer of them."""
    circuit, w = QuantumCircuit(qubits), ParameterVector("w", weights)
    for k in range(weights):
        circuit.ry(w[k], k % qubits)
        if k % qubits == qubits - 1:
            for q in range(qubits - 1):
                circuit.cx(q, q + 1)
    return circuit


def step(module: TorchQuantumModule) -> None:
    """Make one training step."""
    x = torch.full((1, len(module.program.input_params)), 0.3, requires_grad=True)
    module(x if x.numel() else None).sum().backward()


WEIGHTS = (1000, 2000, 4000, 8008)


@row("a module with many weights", "builds the circuit")
def weights() -> Iterator[Work]:
    """Make the module alone."""
    for count in WEIGHTS:
        yield Work(
            f"{count:,} weights", count, lambda n=count: layers(n), TorchQuantumModule,
            lambda _, n=count: layers(n),
        )  # fmt: skip


@row("its first training step")
def first_step() -> Iterator[Work]:
    """Take the first step of a module."""
    for count in WEIGHTS:
        yield Work(f"{count:,} weights", count, lambda n=count: TorchQuantumModule(layers(n)), step)


@row("its parameter-shift plan", "builds the circuit")
def shift_plan() -> Iterator[Work]:
    """Make a module that is differentiated by evaluations."""
    for count in WEIGHTS:
        yield Work(
            f"{count:,} weights", count, lambda n=count: layers(n),
            lambda circuit: TorchQuantumModule(circuit, gradient="parameter-shift", shots=100),
            lambda _, n=count: layers(n),
        )  # fmt: skip


def feature_module(circuit: QuantumCircuit) -> TorchQuantumModule:
    """Return a module whose inputs are the circuit's parameters."""
    return TorchQuantumModule(circuit, "Z" * circuit.num_qubits, input_params=circuit.parameters)


def pairs(qubits: int) -> int:
    """Return the number of products of two inputs in a feature map with all pairs."""
    return qubits * (qubits - 1) // 2


@row("a ZZ feature map as inputs", "builds and decomposes it")
def feature_map() -> Iterator[Work]:
    """Make the module alone, whose state might not fit into memory."""
    for qubits in (8, 16, 24):
        yield Work(
            f"{qubits} qubits", pairs(qubits), lambda n=qubits: ZZFeatureMap(n).decompose(),
            feature_module, lambda _, n=qubits: ZZFeatureMap(n).decompose(),
        )  # fmt: skip


def curved(x: Any) -> Any:
    """Return a feature of some inputs: powers, quotients and trigonometric functions of them."""
    if len(x) == 1:
        return x[0] ** 2 - x[0].sin() / 3
    return (math.pi - x[0]).cos() * (math.pi - x[1]) ** 3 / 7 + x[0] * x[1]


@row("a Pauli feature map with a map of its own", "builds and decomposes it")
def curved_map() -> Iterator[Work]:
    """Make a module of expressions that no library circuit has."""

    def build(qubits: int) -> QuantumCircuit:
        paulis = ["Z", "YY", "ZX"]
        return PauliFeatureMap(qubits, 1, paulis=paulis, data_map_func=curved).decompose()

    for qubits in (6, 10, 14):
        yield Work(
            f"{qubits} qubits", 2 * pairs(qubits), lambda n=qubits: build(n), feature_module,
            lambda _, n=qubits: build(n),
        )  # fmt: skip


def searched(rng: np.random.Generator, qubits: int, gates: int) -> QuantumCircuit:
    """Return a random circuit, as a search for an architecture tries them."""
    circuit, w = QuantumCircuit(qubits), ParameterVector("w", gates)
    for k in range(gates):
        a, b = rng.choice(qubits, 2, replace=False).tolist()
        match rng.integers(5):
            case 0 | 1 | 2 as axis:
                (circuit.rx, circuit.ry, circuit.rz)[axis](w[k], a)
            case 3:
                circuit.h(a)
            case 4:
                circuit.cx(a, b)
    return circuit


@row("200 new circuits of 8 qubits, a gradient each: each of them", "builds the circuit")
def new_circuits() -> Iterator[Work]:
    """Make modules of circuits that no cache knows, and take a step with each."""

    def build(gates: int, count: int = 200) -> list[QuantumCircuit]:
        rng = np.random.default_rng(time.perf_counter_ns())
        return [searched(rng, 8, gates) for _ in range(count)]

    def each(circuits: list[QuantumCircuit]) -> float:
        start = time.process_time()
        for circuit in circuits:
            step(TorchQuantumModule(circuit, "Z" * 8))
        return (time.process_time() - start) / len(circuits)

    for gates in (20, 40, 80, 160):
        yield Work(
            f"{gates} gates", gates, lambda n=gates: build(n), each,
            lambda _, n=gates: build(n, 1),
        )  # fmt: skip


def terms_of(qubits: int, count: int, seed: int = 0) -> SparsePauliOp:
    """Return a sum of random Pauli strings."""
    paulis = random_pauli_list(qubits, count, seed=seed, phase=False)
    return SparsePauliOp(paulis, np.random.default_rng(seed).normal(size=count))


@row("an evolution by terms that do not commute", "decomposes it")
def evolution() -> Iterator[Work]:
    """Make the module alone: of one gate on 8 qubits, and of four on 10."""

    def build(qubits: int, count: int, gates: int) -> QuantumCircuit:
        circuit = QuantumCircuit(qubits)
        for k in range(gates):
            gate = PauliEvolutionGate(terms_of(qubits, count, k), Parameter(f"t{k}"))
            circuit.append(gate, range(qubits))
        return circuit

    for qubits, count, gates in ((8, 500, 1), (8, 2000, 1), (10, 3000, 4)):
        yield Work(
            f"{gates} x {count:,} terms", gates * count,
            lambda n=qubits, k=count, g=gates: build(n, k, g),
            lambda circuit: TorchQuantumModule(circuit, "Z" * circuit.num_qubits),
            QuantumCircuit.decompose,
        )  # fmt: skip


@row("all outcomes of some qubits, as projectors")
def projectors() -> Iterator[Work]:
    """Make the module, and take a step with it."""
    for qubits in (6, 8, 10):
        labels = [format(k, f"0{qubits}b") for k in range(1 << qubits)]
        yield Work(
            f"{1 << qubits:,} labels", 1 << qubits, lambda n=qubits: layers(2 * n, n),
            lambda circuit, o=labels: step(TorchQuantumModule(circuit, o)),
        )  # fmt: skip


@row("a projector on all qubits")
def one_projector() -> Iterator[Work]:
    """Make the module alone."""
    for qubits in (10, 14, 20):
        yield Work(
            f"{qubits} qubits", qubits, lambda n=qubits: layers(2 * n, n),
            lambda circuit: TorchQuantumModule(circuit, "0" * circuit.num_qubits),
        )  # fmt: skip


@row("the first cost() with shots")
def first_cost() -> Iterator[Work]:
    """Work out what a step costs, for which the terms are grouped."""
    for count in (1250, 2500, 5000):
        yield Work(
            f"{count:,} terms", count,
            lambda k=count: TorchQuantumModule(layers(24, 12), terms_of(12, k), shots=1000),
            TorchQuantumModule.cost,
        )  # fmt: skip


@row("a module with the gradient aqgd", "builds the circuit")
def aqgd() -> Iterator[Work]:
    """Make a module whose parameters are displaced as they are."""
    for count in (250, 500, 1000):
        yield Work(
            f"{count:,} weights", count, lambda n=count: layers(n),
            lambda circuit: TorchQuantumModule(circuit, gradient="aqgd", shots=100),
            lambda _, n=count: layers(n),
        )  # fmt: skip


def measured(call: Callable[[Any], object], thing: Any) -> float:
    """Return the seconds of a call, or those that it returns itself."""
    start = time.process_time()
    found = call(thing)
    return found if isinstance(found, float) else time.process_time() - start


def in_a_process(work: Work, sender: Connection) -> None:
    """Measure a work, the caches of this process being empty."""
    torch.set_num_threads(1)
    first = measured(work.ours, work.fresh())
    again = [measured(work.ours, work.fresh()) for _ in range(AGAIN)]
    qiskit = [measured(work.qiskit, work.fresh()) for _ in range(AGAIN)] if work.qiskit else []
    sender.send((first, statistics.median(again), statistics.median(qiskit) if qiskit else None))


def repeated(work: Work, repeats: int, budget: float) -> Times:
    """Measure a work in as many processes as fit into the budget, in one at least."""
    times = Times([], [], [])
    fork = multiprocessing.get_context("fork")
    while len(times.first) < repeats:
        receiver, sender = fork.Pipe(duplex=False)
        process = fork.Process(target=in_a_process, args=(work, sender))
        process.start()
        sender.close()
        first, again, qiskit = receiver.recv()
        process.join()
        times.first.append(first)
        times.again.append(again)
        times.qiskit += [] if qiskit is None else [qiskit]
        if sum(times.first) + AGAIN * sum(times.again) > budget:
            break
    return times


def exponent(sizes: list[float], seconds: list[float]) -> float:
    """Return the power of the size that the times grow with."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def lines_of(row: Row, works: list[Work], times: list[Times]) -> list[list[str]]:
    """Return a line for each size, the exponents in the last one."""
    sizes = [work.size for work in works]
    columns = [
        [statistics.median(seconds) for seconds in column if seconds]
        for column in zip(*((t.first, t.again, t.qiskit) for t in times), strict=True)
    ]
    lines = []
    for k, work in enumerate(works):
        shown = [f"{1e3 * column[k]:,.1f}" if column else "" for column in columns]
        lines.append([row.title if not k else "", work.label, *shown, ""])
    fitted = [f"{exponent(sizes, column):.1f}" if column else "" for column in columns]
    lines.append(["", "exponent", *fitted, row.beside])
    return lines


def main() -> None:
    """Time, print and save."""
    parser = harness.parser(__doc__, repeats=5, budget=60)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="default: all")
    parser.add_argument("--quick", action="store_true", help="the two smallest sizes of each row")
    options = parser.parse_args()
    torch.set_num_threads(1)
    work = workload(2, 1, 4)  # loads the kernels; their cache is none of those in question
    step(TorchQuantumModule(work.circuit, work.observables, input_params=work.inputs))
    gc.collect()
    gc.freeze()  # else each process would copy all of this when it looks for garbage
    lines, found = [], {}
    for name in options.rows:
        works = list(ROWS[name].works())[: 2 if options.quick else None]
        times = [repeated(work, options.repeats, options.budget) for work in works]
        lines += lines_of(ROWS[name], works, times)
        found[name] = {w.label: vars(t) for w, t in zip(works, times, strict=True)}
        print(harness.table(HEADER, lines[-len(works) - 1 :]), flush=True)
    facts = harness.environment(("numpy", "numba", "torch", "qiskit"))
    facts["qiskit-torch-bridge"] = __version__
    text = "\n\n".join(
        [
            "# What is made before the first number",
            harness.table(HEADER, lines),
            "Milliseconds of one process, medians; the first time in a process, and again for "
            "another thing of the same size. Beside them what Qiskit takes for its own part.",
            ", ".join(f"{key} {value}" for key, value in facts.items()),
        ]
    )
    print(text)
    harness.save("construction", text, {"environment": facts, "seconds": found}, options.output)


HEADER = ("what", "size", "first (ms)", "again (ms)", "Qiskit (ms)", "Qiskit's part")

if __name__ == "__main__":
    main()
