# SPDX-License-Identifier: Apache-2.0
"""How far the method that is chosen is from the best one, on random circuits.

Each case is a circuit of one of some families, of random width, depth, connections, observables and
rows. A step is values and the gradient of their sum, of a simulator alone. Every method whose
estimate is within thirty times of the least is timed; so is what ``automatic`` chooses, which is
one of them. The table tells how often which method was the best, how often it was chosen, and how
much longer the choice takes than the best of them.

From the same cases the constants of ``simulation.choice.SPEEDS`` are fitted, which the second table
has as they are written there, by one thread (``OMP_NUM_THREADS=1``): the time of a method
is ``start + factor * operations``, in operations of the state vector, whose own factor is one. With
the state vector's time per operation, from circuits of 10**6 operations and more, ``start`` is the
median time of the cheapest tenth of a method's cases, and ``factor`` the median ratio of the time
beyond it to the operations that the method counts.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import harness
import numpy as np
import rustworkx as rx
import torch
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from qiskit_torch_bridge import CircuitProgram, __version__
from qiskit_torch_bridge.exceptions import BridgeError
from qiskit_torch_bridge.simulation import choice
from qiskit_torch_bridge.simulation.interface import Simulator

METHODS = choice.METHODS[1:]
NEAR = 30.0
"""Methods are timed up to so many times of the least estimate."""
LONGEST = 1e9
"""Operations that a step of the chosen method may take: another case is drawn in place of longer
ones. One of another method may take four times as many."""


class Case(NamedTuple):
    """A circuit and what is read of it."""

    name: str
    circuit: QuantumCircuit
    observables: list[SparsePauliOp]
    rows: int


class Timed(NamedTuple):
    """What one method has taken for one case, and what it had estimated."""

    operations: float
    seconds: float


# -- cases -----------------------------------------------------------------------------------------


def layers(rng: np.random.Generator, width: int, depth: int, closed: bool) -> QuantumCircuit:
    """Return rotations and entangling gates along a chain, or a ring."""
    w = iter(ParameterVector("w", 2 * width * depth + width * depth))
    circuit = QuantumCircuit(width)
    gate = rng.choice(["cx", "cz", "rzz"])
    for _ in range(depth):
        for q in range(width):
            circuit.ry(next(w), q)
            circuit.rz(next(w), q)
        for q in range(width if closed and width > 2 else width - 1):
            pair = (q, (q + 1) % width)
            if gate == "rzz":
                circuit.rzz(next(w), *pair)
            else:
                getattr(circuit, gate)(*pair)
    return circuit


def qaoa(graph: rx.PyGraph[Any, Any], steps: int) -> QuantumCircuit:
    """Return QAOA for the cuts of a graph."""
    w = iter(ParameterVector("w", 2 * steps))
    circuit = QuantumCircuit(graph.num_nodes())
    circuit.h(circuit.qubits)
    for _ in range(steps):
        gamma = next(w)
        for a, b in graph.edge_list():
            circuit.rzz(gamma, a, b)
        circuit.rx(next(w), circuit.qubits)
    return circuit


def random_case(rng: np.random.Generator) -> Case:
    """Return a case of a family that is drawn with it."""
    rows = int(rng.choice([1, 1, 4, 16]))
    family = str(rng.choice(["chain", "ring", "pairs", "QAOA", "dense", "grid"]))
    width, depth = int(rng.integers(6, 28)), int(rng.integers(1, 4))
    if family == "QAOA":
        width = int(rng.choice([12, 16, 20, 40, 100]))
        graph = rx.undirected_gnm_random_graph(width, 3 * width // 2, seed=int(rng.integers(1000)))
        terms = [("ZZ", list(edge), 1.0) for edge in graph.edge_list()]
        circuit = qaoa(graph, int(rng.integers(1, 3)))
        return Case(family, circuit, [SparsePauliOp.from_sparse_list(terms, width)], rows)
    if family == "dense":
        width = int(rng.integers(6, 19))
        terms = [("ZZ", [a, b], 1.0) for a in range(width) for b in range(a)]
        circuit = qaoa(rx.generators.complete_graph(width), depth)
        return Case(family, circuit, [SparsePauliOp.from_sparse_list(terms, width)], rows)
    if family == "grid":
        side = int(rng.integers(3, 6))
        graph = rx.generators.grid_graph(side, side)
        circuit = qaoa(graph, int(rng.integers(1, 3)))
        return Case(family, circuit, local(rng, side * side), rows)
    if family == "pairs":
        circuit = layers(rng, width, depth, closed=False)
        w = ParameterVector("v", 4)
        for k in range(4):
            a, b = rng.choice(width, 2, replace=False).tolist()
            circuit.rzz(w[k], a, b)
            circuit.rx(w[k], a)
        return Case(family, circuit, local(rng, width), rows)
    if rng.random() < 0.4:
        width = int(rng.choice([30, 50, 100]))
    circuit = layers(rng, width, depth if family == "chain" else min(depth, 2), family == "ring")
    return Case(family, circuit, local(rng, width), rows)


def local(rng: np.random.Generator, width: int) -> list[SparsePauliOp]:
    """Return local terms, one by one, summed, a few of them, or with a long one among them."""
    kind = rng.choice(["each", "sum", "few", "long"])
    single = [("Z", [q], 1.0) for q in range(width)]
    pairs = [("ZZ", [q, q + 1], -1.0) for q in range(width - 1)]
    if kind == "each":
        return [SparsePauliOp.from_sparse_list([term], width) for term in single]
    if kind == "few":
        taken = rng.choice(width, 2, replace=False).tolist()
        return [SparsePauliOp.from_sparse_list([("X", [q], 1.0)], width) for q in taken]
    mixed = [*pairs, *(("X", [q], -1.0) for q in range(width))]
    if kind == "long":
        mixed.append(("Z" * width, list(range(width)), 0.5))
    return [SparsePauliOp.from_sparse_list(mixed, width)]


# -- measurements ----------------------------------------------------------------------------------


def step_of(simulator: Simulator, case: Case, outputs: int) -> Callable[[], object]:
    """Return a call that gives values and the gradient of their sum."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-np.pi, np.pi, (case.rows, case.circuit.num_parameters))
    w, cotangent = np.zeros((1, 0)), np.ones((case.rows, outputs))

    def step() -> object:
        values, kept = simulator.evaluate(x, w, keep=True)
        return values, simulator.vjp(x, w, cotangent, kept, (True, False))

    return step


def seconds_of(step: Callable[[], object], budget: float) -> float:
    """Return the least time of some calls, that of the process, so that others do not count."""
    step()  # loads kernels, lays out tables
    found: list[float] = []
    while sum(found) < budget and len(found) < 50:
        start = time.process_time()
        step()
        found.append(time.process_time() - start)
    return min(found)


def methods_of(case: Case) -> tuple[str, dict[str, choice.Choice]]:
    """Return the method that is chosen, and every method that might be worth its time."""
    p = CircuitProgram(case.circuit, case.observables, input_params=case.circuit.parameters)
    columns = p.input_columns, ()
    found: dict[str, choice.Choice] = {}
    for method in METHODS:
        try:
            one = choice.choose(method, p.analysed, p.readout, *columns, rows=case.rows)
        except BridgeError:
            continue
        found[method] = one
    chosen = choice.choose("automatic", p.analysed, p.readout, *columns, rows=case.rows)
    found.setdefault(chosen.method, chosen)
    least = min(c.time for c in found.values())
    near = {m: c for m, c in found.items() if c.time <= min(NEAR * least, 4 * LONGEST)}
    return chosen.method, {chosen.method: chosen, **near}


def measured(rng: np.random.Generator, budget: float) -> tuple[Case, str, dict[str, Timed]]:
    """Return a case, the chosen method, and what each has taken."""
    case = random_case(rng)
    chosen, methods = methods_of(case)
    while methods[chosen].time > LONGEST:
        case = random_case(rng)
        chosen, methods = methods_of(case)
    times: dict[str, Timed] = {}
    for method, one in methods.items():
        operations = one.plan.estimate(case.rows).operations
        step = step_of(one.plan.compile(), case, len(case.observables))
        times[method] = Timed(operations, seconds_of(step, budget))
    return case, chosen, times


# -- tables ----------------------------------------------------------------------------------------


def fitted(found: list[tuple[Case, str, dict[str, Timed]]]) -> Iterator[list[str]]:
    """Yield the speed of each method."""
    states = [t["statevector"] for _, _, t in found if "statevector" in t]
    unit = statistics.median(t.seconds / t.operations for t in states if t.operations > 1e6)
    for method in METHODS:
        times = sorted(t[method] for _, _, t in found if method in t)
        if len(times) < 5:
            continue
        start = statistics.median(t.seconds for t in times[: max(3, len(times) // 10)])
        beyond = [(t.seconds - start) / t.operations for t in times if t.seconds > 2 * start]
        factor = statistics.median(beyond) / unit if beyond else float("nan")
        yield [method, str(len(times)), f"{start / unit:.2g}", f"{factor:.2g}"]
    yield ["nanoseconds for an operation of the state vector", "", f"{1e9 * unit:.2f}", ""]


def main() -> None:
    """Time, print and save."""
    parser = harness.parser(__doc__, repeats=1, budget=0.2)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=14)
    parser.add_argument(
        "--minutes", type=float, default=10, help="after which no case is begun (default 10)"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(options.seed)
    found: list[tuple[Case, str, dict[str, Timed]]] = []
    end = time.monotonic() + 60 * options.minutes
    for number in range(options.cases):
        if found and time.monotonic() > end:
            break
        case, chosen, times = measured(rng, options.budget)
        found.append((case, chosen, times))
        best = min(times, key=lambda m: times[m].seconds)
        ratio = times[chosen].seconds / times[best].seconds
        shown = ", ".join(
            f"{m} {1e3 * t.seconds:.3f} ms ({t.operations:.1e})" for m, t in times.items()
        )
        print(
            f"{number} {case.name} n={case.circuit.num_qubits} B={case.rows} "
            f"O={len(case.observables)}: {chosen}, {ratio:.2f}; {shown}",
            flush=True,
        )
    ratios = sorted(
        t[chosen].seconds / min(one.seconds for one in t.values()) for _, chosen, t in found
    )
    lines = []
    for method in sorted({m for _, _, t in found for m in t}):
        best = sum(min(t, key=lambda m: t[m].seconds) == method for _, _, t in found)
        lines.append([method, str(sum(c == method for _, c, _ in found)), str(best)])
    within = sum(ratio <= 1.5 for ratio in ratios)
    facts = harness.environment(("numpy", "numba", "qiskit", "cotengra"))
    facts["qiskit-torch-bridge"] = __version__
    text = "\n\n".join(
        [
            "# The method that is chosen, against the best one",
            harness.table(("method", "chosen", "best"), lines),
            f"{within} of {len(ratios)} choices take at most 1.5 times as long as the best method; "
            f"median {statistics.median(ratios):.2f}, the worst {ratios[-1]:.2f}.",
            harness.table(("method", "cases", "start", "factor"), list(fitted(found))),
            ", ".join(f"{key} {value}" for key, value in facts.items()),
        ]
    )
    print(text)
    cases = [
        {
            "family": case.name, "qubits": case.circuit.num_qubits, "rows": case.rows,
            "chosen": chosen, "times": {m: t._asdict() for m, t in times.items()},
        }
        for case, chosen, times in found
    ]  # fmt: skip
    harness.save("choice", text, {"environment": facts, "cases": cases}, options.output)


if __name__ == "__main__":
    main()
