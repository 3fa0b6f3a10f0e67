# SPDX-License-Identifier: Apache-2.0
"""What is computed: circuits, observables and values, described without any framework.

A workload is made from its specification, a dictionary that survives JSON, so that every
environment builds the same one for itself. Nothing but Python and NumPy is needed here.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

DATA = Path(__file__).parent / "data"
Spec = dict[str, Any]


class Gate(NamedTuple):
    """A rotation ``rx``, ``ry``, ``rz`` or ``rzz`` by a parameter, or ``h``, or ``cx``.

    The latter acts on control and target.
    """

    name: str
    qubits: tuple[int, ...]
    parameter: int | None = None  # its place in the inputs followed by the weights
    factor: float = 1.0  # of the parameter, which gives the angle


class Term(NamedTuple):
    """A coefficient times the Paulis of ``word``, letter by letter on ``qubits``."""

    word: str
    qubits: tuple[int, ...]
    coefficient: float


Observable = tuple[Term, ...]


@dataclass(frozen=True)
class Workload:
    """One training step: expectation values, and gradients of their sum; or probabilities.

    Attributes:
        spec: What it was made from.
        qubits: Their number; qubit 0 is the least significant bit of a basis state.
        gates: The circuit, from the state of all zeros.
        observables: One list of terms per expectation value.
        x: Inputs, ``(B, I)``.
        w: Weights, ``(W,)``.
        layers: How many gates come before the layers, how many one layer has, how many layers.
        costs: If not empty, what each outcome of all qubits costs, ``(2**n,)``: the step is the
            probabilities of all outcomes, and gradients of the sum of mean costs. There are no
            observables then.
    """

    spec: Spec
    qubits: int
    gates: tuple[Gate, ...]
    observables: tuple[Observable, ...]
    x: NDArray[np.float64]
    w: NDArray[np.float64]
    layers: tuple[int, int, int]
    costs: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    @property
    def rotations(self) -> int:
        """How many gates have an angle."""
        return sum(gate.parameter is not None for gate in self.gates)

    @property
    def total(self) -> Observable:
        """The sum of all observables, whose gradient is asked for."""
        merged: dict[tuple[str, tuple[int, ...]], float] = {}
        for observable in self.observables:
            for word, qubits, coefficient in observable:
                merged[word, qubits] = merged.get((word, qubits), 0.0) + coefficient
        return tuple(Term(*key, coefficient) for key, coefficient in merged.items())

    @cached_property
    def values(self) -> NDArray[np.float64]:
        """Inputs and weights side by side, ``(B, I + W)``."""
        return np.hstack([self.x, np.broadcast_to(self.w, (len(self.x), len(self.w)))])


def label(spec: Spec) -> str:
    """Return a short name for tables."""
    if spec["kind"] == "layered":
        text = "chain, " if spec.get("chain") else ""
        text += f"n={spec['qubits']}, L={spec['layers']}, B={spec['batch']}"
        text += f", O={spec['observables']}" if "observables" in spec else ""
        text += ", all outcomes" if "outcomes" in spec else ""
        return text + (f", W={spec['weights']}" if "weights" in spec else "")
    if spec["kind"] == "heisenberg":
        return f"Heisenberg chain, n={spec['qubits']}"
    if spec["kind"] == "ising":
        return f"Ising chain, reverse_linear, n={spec['qubits']}, reps={spec['reps']}"
    if spec["kind"] == "qaoa":
        return f"QAOA, {spec['graph']}, n={spec['qubits']}, p={spec['reps']}"
    return f"{spec['name']}"


def build(spec: Spec) -> Workload:
    """Return the workload of a specification."""
    return BUILDERS[spec["kind"]](spec)


def layered(spec: Spec) -> Workload:
    """Inputs by RY, then layers of RY and RZ on each qubit and a ring of CX.

    The specification names ``qubits``, ``layers`` and ``batch``. Optional are ``chain``, true to
    leave the ring open, ``observables``, a
    number (default: Z on each qubit), ``outcomes``, true for probabilities in their place,
    ``weights``, a number that the rotations share in turn (default: one each), and ``variant``, a
    seed that draws the axes of the rotations and the ring's stride, which makes a circuit of the
    same size that nobody has seen before.
    """
    qubits, layers, batch = spec["qubits"], spec["layers"], spec["batch"]
    axes, stride = ["ry", "rz"] * (qubits * layers), 1
    if "variant" in spec:
        draw = random.Random(spec["variant"])
        axes = [draw.choice(("rx", "ry", "rz")) for _ in range(2 * qubits)] * layers
        stride = draw.choice([k for k in range(1, qubits) if math.gcd(k, qubits) == 1])
    weights = spec.get("weights", 2 * qubits * layers)
    gates = [Gate("ry", (q,), q) for q in range(qubits)]
    used = 0
    for _ in range(layers):
        for q in range(qubits):
            for _ in range(2):
                gates.append(Gate(axes[used], (q,), qubits + used % weights))
                used += 1
        links = qubits - 1 if spec.get("chain") else qubits
        gates += [Gate("cx", (q, (q + stride) % qubits)) for q in range(links)]
    outcomes = spec.get("outcomes", False)
    count = 0 if outcomes else spec.get("observables", qubits)
    observables = tuple(islice(_paulis(qubits), count))
    return Workload(
        spec,
        qubits,
        tuple(gates),
        observables,
        x=_values(batch, qubits),
        w=_values(1, weights)[0],
        layers=(qubits, (len(gates) - qubits) // layers, layers),
        costs=_values(1, 2**qubits if outcomes else 0)[0],
    )


def heisenberg(spec: Spec) -> Workload:
    """The energy of XX, YY and ZZ on a chain of ``qubits`` with a field Z: 4n - 3 terms."""
    qubits = spec["qubits"]
    terms = [
        Term(word, (q, q + 1), 1.0) for q in range(qubits - 1) for word in ("XX", "YY", "ZZ")
    ] + [Term("Z", (q,), 1.0) for q in range(qubits)]
    return _energy(spec, qubits, tuple(terms))


def molecule(spec: Spec) -> Workload:
    """The energy of the molecule in ``data/NAME.json``; see ``data/README.md``."""
    stored = json.loads((DATA / f"{spec['name']}.json").read_text(encoding="utf-8"))
    terms = tuple(
        Term(word, tuple(qubits), coefficient) for word, qubits, coefficient in stored["terms"]
    )
    return _energy(spec, stored["qubits"], terms)


def ising(spec: Spec) -> Workload:
    """The energy of a critical Ising chain in a transverse field, whose ansatz is entangled last
    qubit first, ``entanglement="reverse_linear"``.
    """
    qubits = spec["qubits"]
    bonds = [Term("ZZ", (q, q + 1), -1.0) for q in range(qubits - 1)]
    fields = [Term("X", (q,), -1.0) for q in range(qubits)]
    return _energy(spec, qubits, (*bonds, *fields), range(qubits - 2, -1, -1))


def qaoa(spec: Spec) -> Workload:
    """MaxCut by QAOA, standard form, with ``reps`` layers: the cost is the sum of weighted ZZ.

    The ``graph`` is ``3-regular``, ``dense`` (Sherrington and Kirkpatrick: normal weights over the
    root of ``qubits``), or ``heavy-hex``, which has 127 qubits.
    """
    qubits, reps = spec["qubits"], spec["reps"]
    weighted = GRAPHS[spec["graph"]](qubits)
    gates = [Gate("h", (q,)) for q in range(qubits)]
    for layer in range(reps):
        gates += [Gate("rzz", edge, 2 * layer, weight) for edge, weight in weighted]
        gates += [Gate("rx", (q,), 2 * layer + 1) for q in range(qubits)]
    energy = tuple(Term("ZZ", edge, weight) for edge, weight in weighted)
    period = len(weighted) + qubits
    weights = _values(1, 2 * reps)[0]
    layers = (qubits, period, reps)
    return Workload(spec, qubits, tuple(gates), (energy,), np.empty((1, 0)), weights, layers)


def _regular(qubits: int) -> list[tuple[tuple[int, int], float]]:
    """A random 3-regular graph: stubs are paired until no pair comes twice or meets itself."""
    draw = random.Random(qubits)
    while True:
        stubs = [q for q in range(qubits) for _ in range(3)]
        draw.shuffle(stubs)
        pairs = {(min(a, b), max(a, b)) for a, b in zip(stubs[::2], stubs[1::2], strict=True)}
        if len(pairs) == 3 * qubits // 2 and all(a != b for a, b in pairs):
            return [(pair, 1.0) for pair in sorted(pairs)]


def _dense(qubits: int) -> list[tuple[tuple[int, int], float]]:
    draw = random.Random(qubits)
    edges = [(a, b) for a in range(qubits) for b in range(a + 1, qubits)]
    return [(edge, draw.gauss(0.0, 1.0) / math.sqrt(qubits)) for edge in edges]


def _heavy_hex(qubits: int) -> list[tuple[tuple[int, int], float]]:
    """Seven rows of qubits with four bridges between each two, as devices of 127 qubits have."""
    if qubits != 127:
        raise ValueError(f"the heavy-hex graph has 127 qubits, not {qubits}")
    edges: list[tuple[int, int]] = []
    start = 0
    for row in range(7):
        length, first = (14 if row in (0, 6) else 15), int(row == 6)
        edges += [(start + j, start + j + 1) for j in range(length - 1)]
        if row < 6:
            below = start + length + 4
            for bridge in range(4):
                column, link = 4 * bridge + 2 * (row % 2), start + length + bridge
                edges += [(start + column - first, link), (link, below + column - int(row == 5))]
            start = below
    return [(edge, 1.0) for edge in edges]


GRAPHS: dict[str, Callable[[int], list[tuple[tuple[int, int], float]]]] = {
    "3-regular": _regular, "dense": _dense, "heavy-hex": _heavy_hex,
}  # fmt: skip
BUILDERS: dict[str, Callable[[Spec], Workload]] = {
    "layered": layered, "heisenberg": heisenberg, "molecule": molecule, "ising": ising,
    "qaoa": qaoa,
}  # fmt: skip


def _energy(spec: Spec, qubits: int, terms: Observable, controls: range | None = None) -> Workload:
    """The ansatz of Qiskit's ``efficient_su2(qubits, reps=3, entanglement="linear")``.

    ``controls`` gives the controls of a layer's CX in another order.
    """
    reps = spec.get("reps", 3)
    controls = range(qubits - 1) if controls is None else controls
    gates: list[Gate] = []
    for layer in range(reps + 1):
        first = 2 * qubits * layer
        gates += [Gate("ry", (q,), first + q) for q in range(qubits)]
        gates += [Gate("rz", (q,), first + qubits + q) for q in range(qubits)]
        if layer < reps:
            gates += [Gate("cx", (q, q + 1)) for q in controls]
    weights = _values(1, 2 * qubits * (reps + 1))[0]
    period = 3 * qubits - 1
    return Workload(
        spec, qubits, tuple(gates), (terms,), np.empty((1, 0)), weights, (0, period, reps)
    )


def _paulis(qubits: int) -> Iterator[Observable]:
    """Z, X and Y on each qubit, then ZZ, XX and YY on each pair."""
    for letter in "ZXY":
        for q in range(qubits):
            yield (Term(letter, (q,), 1.0),)
    for letter in "ZXY":
        for p in range(qubits):
            for q in range(p + 1, qubits):
                yield (Term(2 * letter, (p, q), 1.0),)


def _values(rows: int, columns: int) -> NDArray[np.float64]:
    """Angles in [0, 2 pi), the same with every version of Python and NumPy."""
    draw = random.Random(rows * 10_000 + columns)
    flat = [2 * math.pi * draw.random() for _ in range(rows * columns)]
    return np.array(flat).reshape(rows, columns)
