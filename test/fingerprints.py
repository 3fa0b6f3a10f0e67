# SPDX-License-Identifier: Apache-2.0
"""Circuits and requests that differ in one thing each, and their digests."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from qiskit.circuit import (
    AnnotatedOperation,
    ClassicalRegister,
    Clbit,
    ControlModifier,
    Gate,
    InverseModifier,
    Parameter,
    ParameterVector,
    PowerModifier,
    QuantumCircuit,
    Qubit,
)
from qiskit.circuit.library import (
    HamiltonianGate,
    Initialize,
    PauliEvolutionGate,
    PauliGate,
    PermutationGate,
    RXGate,
    UnitaryGate,
)
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.quantum_info import Clifford, SparsePauliOp
from qiskit.synthesis import LieTrotter, SuzukiTrotter

from qiskit_torch_bridge.jobs import Journal
from qiskit_torch_bridge.program.identity import content_digest, fingerprint


def up(x: float) -> float:
    """The next number."""
    return math.nextafter(x, math.inf)


def circuit_of(
    change: Callable[[QuantumCircuit, list[Parameter]], Any],
    parameters: Sequence[Parameter] | None = None,
) -> QuantumCircuit:
    b, a, c = [Parameter(name) for name in "bac"] if parameters is None else parameters
    circuit = QuantumCircuit(2)
    circuit.rx(0.1 * a + 0.3 * b + c, 0)
    change(circuit, [a, b, c])
    return circuit


def _matrix(entry: float) -> np.ndarray:
    return np.diag([1, np.exp(1j * entry), 1, 1])


def _block(angle: float, phase: float = 0, name: str | None = None) -> Any:
    inner = QuantumCircuit(1, global_phase=phase, name=name)  # else its name counts circuits
    inner.ry(angle, 0)
    return inner.to_gate()


def _evolution(time: Any, label: str | None = None, **synthesis: Any) -> PauliEvolutionGate:
    chosen = SuzukiTrotter(**synthesis) if "order" in synthesis else LieTrotter(**synthesis)
    terms = SparsePauliOp(["XX", "ZI"], [0.5, 0.25])
    return PauliEvolutionGate(terms, time, synthesis=chosen, label=label)


class ByMatrix(Gate):
    """A gate of which only the matrix is known."""

    def __init__(self, entry: float) -> None:
        super().__init__("by_matrix", 1, [])
        self.entry = entry

    def to_matrix(self) -> np.ndarray:
        return np.diag([1, np.exp(1j * self.entry)])


def _clifford(change: Callable[[QuantumCircuit], Any]) -> Clifford:
    circuit = QuantumCircuit(2)
    change(circuit)
    return Clifford(circuit)


def _conditioned(circuit: QuantumCircuit, value: int, bit: int = 0, turns: int = 1) -> None:
    circuit.add_bits([Clbit(), Clbit()])
    with circuit.if_test((circuit.clbits[bit], value)):
        for _ in range(turns):
            circuit.x(0)


def _switched(circuit: QuantumCircuit, case: int) -> None:
    circuit.add_bits([Clbit()])
    with circuit.switch(circuit.clbits[0]) as when, when(case):
        circuit.x(0)


def _repeated(circuit: QuantumCircuit, times: int) -> None:
    with circuit.for_loop(range(times)):
        circuit.x(0)


def _phase(circuit: QuantumCircuit, phase: Any) -> None:
    circuit.global_phase = phase


V = ParameterVector("v", 3)
GATES: dict[str, Callable[..., Any]] = {
    "angle": lambda q, p: q.rx(0.7, 0),
    "another angle": lambda q, p: q.rx(up(0.7), 0),
    "another gate": lambda q, p: q.ry(0.7, 0),
    "another qubit": lambda q, p: q.rx(0.7, 1),
    "control": lambda q, p: q.cx(0, 1),
    "another control": lambda q, p: q.cx(1, 0),
    "open control": lambda q, p: q.cx(0, 1, ctrl_state=0),
    "coefficient": lambda q, p: q.rx(0.7 * p[0], 0),
    "another coefficient": lambda q, p: q.rx(up(0.7) * p[0], 0),
    "another parameter": lambda q, p: q.rx(0.7 * p[1], 0),
    "offset": lambda q, p: q.rx(0.7 * p[0] + 0.3, 0),
    "another offset": lambda q, p: q.rx(0.7 * p[0] + up(0.3), 0),
    "product": lambda q, p: q.rx(0.7 * p[0] * p[1], 0),
    "another product": lambda q, p: q.rx((0.7 + 1e-11) * p[0] * p[1], 0),
    "function": lambda q, p: q.rx(p[0].sin() + p[1] * p[2], 0),
    "another function": lambda q, p: q.rx(p[0].cos() + p[1] * p[2], 0),
    "matrix": lambda q, p: q.append(UnitaryGate(_matrix(0.5)), [0, 1]),
    "another matrix": lambda q, p: q.append(UnitaryGate(_matrix(up(0.5))), [0, 1]),
    "state": lambda q, p: q.append(Initialize([0.6, 0.8]), [0]),
    "another state": lambda q, p: q.append(Initialize([0.8, 0.6]), [0]),
    "Hamiltonian": lambda q, p: q.append(HamiltonianGate(np.diag([1.0, 2.0]), 0.3), [0]),
    "another Hamiltonian": lambda q, p: q.append(HamiltonianGate(np.diag([1, up(2.0)]), 0.3), [0]),
    "evolution": lambda q, p: q.append(
        PauliEvolutionGate(SparsePauliOp(["ZZ"], [0.5]), p[0]), [0, 1]
    ),
    "another evolution": lambda q, p: q.append(
        PauliEvolutionGate(SparsePauliOp(["ZZ"], [0.75]), p[0]), [0, 1]
    ),
    "block": lambda q, p: q.append(_block(0.7), [0]),
    "another block": lambda q, p: q.append(_block(up(0.7)), [0]),
    "controlled block": lambda q, p: q.append(_block(0.7).control(), [0, 1]),
    "block that turns": lambda q, p: q.append(_block(0.7, phase=0.3), [0]),
    "named block": lambda q, p: q.append(_block(0.7, name="own"), [0]),
    "controlled other block": lambda q, p: q.append(_block(up(0.7)).control(), [0, 1]),
    "openly controlled block": lambda q, p: q.append(_block(0.7).control(ctrl_state=0), [0, 1]),
    "label": lambda q, p: q.append(RXGate(0.7, label="noisy"), [0]),
    "another label": lambda q, p: q.append(RXGate(0.7, label="noisier"), [0]),
    "phase": lambda q, p: _phase(q, 0.3),
    "another phase": lambda q, p: _phase(q, p[0]),
    "qubit": lambda q, p: q.add_bits([Qubit()]),
    "clbit": lambda q, p: q.add_bits([Clbit()]),
    "barrier": lambda q, p: q.barrier(0),
    "another barrier": lambda q, p: q.barrier(0, 1),
    "delay": lambda q, p: q.delay(10, 0, unit="dt"),
    "another delay": lambda q, p: q.delay(11, 0, unit="dt"),
    "long delay": lambda q, p: q.delay(10, 0, unit="ms"),
    "twice": lambda q, p: (q.rx(0.7, 0), q.rx(0.7, 0)),
    "by matrix": lambda q, p: q.append(ByMatrix(0.3), [0]),
    "by another matrix": lambda q, p: q.append(ByMatrix(up(0.3)), [0]),
    "of a device": lambda q, p: q.append(Gate("own", 1, [0.3]), [0]),
    "another of a device": lambda q, p: q.append(Gate("another", 1, [0.3]), [0]),
    "Paulis": lambda q, p: q.append(PauliGate("XY"), [0, 1]),
    "other Paulis": lambda q, p: q.append(PauliGate("YX"), [0, 1]),
    "permutation": lambda q, p: q.append(PermutationGate([0, 1]), [0, 1]),
    "another permutation": lambda q, p: q.append(PermutationGate([1, 0]), [0, 1]),
    "Clifford": lambda q, p: q.append(_clifford(lambda c: c.h(0)), [0, 1]),
    "another Clifford": lambda q, p: q.append(_clifford(lambda c: c.h(1)), [0, 1]),
    "formula": lambda q, p: q.append(_evolution(p[0]), [0, 1]),
    "later": lambda q, p: q.append(_evolution(2 * p[0]), [0, 1]),
    "labelled formula": lambda q, p: q.append(_evolution(p[0], label="own"), [0, 1]),
    "finer formula": lambda q, p: q.append(_evolution(p[0], reps=2), [0, 1]),
    "formula of order two": lambda q, p: q.append(_evolution(p[0], order=2), [0, 1]),
    "formula of order four": lambda q, p: q.append(_evolution(p[0], order=4), [0, 1]),
    "chain": lambda q, p: q.append(_evolution(p[0], cx_structure="fountain"), [0, 1]),
    "condition": lambda q, p: _conditioned(q, 1),
    "another condition": lambda q, p: _conditioned(q, 0),
    "condition on another": lambda q, p: _conditioned(q, 1, bit=1),
    "conditioned twice": lambda q, p: _conditioned(q, 1, turns=2),
    "switch": lambda q, p: _switched(q, 1),
    "another switch": lambda q, p: _switched(q, 0),
    "loop": lambda q, p: _repeated(q, 2),
    "another loop": lambda q, p: _repeated(q, 3),
    "inverse": lambda q, p: q.append(AnnotatedOperation(RXGate(0.7), InverseModifier()), [0]),
    "modified": lambda q, p: q.append(AnnotatedOperation(RXGate(0.7), ControlModifier(1)), [0, 1]),
    "openly modified": lambda q, p: q.append(
        AnnotatedOperation(RXGate(0.7), ControlModifier(1, 0)), [0, 1]
    ),
    "element": lambda q, p: q.rx(V[1], 0),
    "another element": lambda q, p: q.rx(V[2], 0),
    "power": lambda q, p: q.append(AnnotatedOperation(RXGate(0.7), PowerModifier(2)), [0]),
    "another power": lambda q, p: q.append(AnnotatedOperation(RXGate(0.7), PowerModifier(3)), [0]),
}
NEARBY = {
    "another angle": "angle",
    "another coefficient": "coefficient",
    "another offset": "offset",
    "another product": "product",
    "another matrix": "matrix",
    "another Hamiltonian": "Hamiltonian",
    "another block": "block",
    "by another matrix": "by matrix",
    "controlled other block": "controlled block",
    "named block": "block",
    "label": "angle",
    "another label": "angle",
    "phase": "nothing",
    "another phase": "nothing",
    "labelled formula": "formula",
    "chain": "formula",
}
"""Those that compute what others do, but for rounding, a phase of the whole, or a name."""
GATES["nothing"] = lambda q, p: None
POINTS = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
REQUESTED = [name for name in GATES if name not in ("qubit", "element", "another element")]
"""Those on two qubits with three parameters."""
Z = SparsePauliOp(["ZI", "XX"], [0.1, 0.2])


def measured(
    registers: Sequence[tuple[str, Sequence[int]]] = (("c", (0, 1)),),
    qubits: Sequence[int] = (0, 1),
) -> QuantumCircuit:
    """The plain circuit, read into two bits that are in some registers."""
    circuit = circuit_of(GATES["angle"])
    bits = [Clbit(), Clbit()]
    circuit.add_bits(bits)
    for name, places in registers:
        circuit.add_register(ClassicalRegister(bits=[bits[c] for c in places], name=name))
    circuit.measure(qubits, bits)
    return circuit


def requests() -> dict[str, EstimatorPub | SamplerPub]:
    """Make all of them anew, with parameters of their own."""
    pubs = {name: (circuit_of(GATES[name]), Z, POINTS) for name in REQUESTED}
    plain = circuit_of(GATES["angle"])
    other = POINTS.copy()
    other[1, 2] = up(0.6)
    pubs |= {
        "another point": (plain, Z, other),
        "another shape": (plain, Z, POINTS[:, None]),
        "another observable": (plain, SparsePauliOp(["ZI", "XX"], [0.1, up(0.2)]), POINTS),
        "another Pauli": (plain, SparsePauliOp(["ZI", "XY"], [0.1, 0.2]), POINTS),
        "observables": (plain, [[Z], ["ZZ"]], POINTS),
        "precision": (plain, Z, POINTS, 0.1),
        "another precision": (plain, Z, POINTS, np.float32(0.1)),
        "fewer": (plain, Z, POINTS[:1]),
    }
    two = (("a", (0,)), ("b", (1,)))
    sampled = {
        "outcomes": (measured(), POINTS, 10),
        "other shots": (measured(), POINTS, 11),
        "own shots": (measured(), POINTS),
        "outcomes at another point": (measured(), other, 10),
        "outcomes of another shape": (measured(), POINTS[:, None], 10),
        "outcomes of another circuit": (measured(qubits=(1, 0)), POINTS, 10),
        "another name": (measured((("d", (0, 1)),)), POINTS, 10),
        "another order": (measured((("c", (1, 0)),)), POINTS, 10),
        "two registers": (measured(two), POINTS, 10),
        "two registers in another order": (measured(two[::-1]), POINTS, 10),
        "two registers of other bits": (measured((("a", (1,)), ("b", (0,)))), POINTS, 10),
    }
    estimated = {name: EstimatorPub.coerce(pub) for name, pub in pubs.items()}
    return estimated | {name: SamplerPub.coerce(pub) for name, pub in sampled.items()}


def digests() -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "journal")
        found = {name: journal.begin(pub)[0].digest for name, pub in requests().items()}
        journal.close()
    return found


def identities() -> dict[str, tuple[str, str]]:
    """Return digest and fingerprint of each of the circuits, made anew."""
    found = {}
    for name, change in GATES.items():
        circuit = circuit_of(change)
        found[name] = content_digest(circuit), fingerprint(circuit, list(circuit.parameters))
    return found
