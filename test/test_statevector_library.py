# SPDX-License-Identifier: Apache-2.0
"""Gates and blocks of Qiskit's library, one by one, against Qiskit's own state vectors.

States of a few qubits after some hundred gates are rounded to 1e-12.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import AnnotatedOperation, Operation, Parameter, PowerModifier
from qiskit.circuit import library as lib
from qiskit.quantum_info import (
    Operator,
    SparsePauliOp,
    Statevector,
    random_clifford,
    random_unitary,
)
from qiskit.synthesis import SuzukiTrotter

from qiskit_torch_bridge import CircuitProgram
from qiskit_torch_bridge.simulation.statevector import StatevectorSimulator

EXACT = 1e-12
T = Parameter("t")
STANDARD = {
    name: gate
    for name, gate in lib.get_standard_gate_name_mapping().items()
    if name not in ("measure", "reset", "delay")
}
COMMUTING = SparsePauliOp(["XXI", "ZZX", "III"], [0.5, -1.2, 0.3])
OTHERS = SparsePauliOp(["XXI", "IZX"], [0.5, -1.2])  # anticommute

BLOCKS: dict[str, Callable[[], Operation]] = {
    "qft": lambda: lib.QFTGate(3),
    "inverse qft": lambda: lib.QFTGate(3).inverse(),
    "permutation": lambda: lib.PermutationGate([2, 0, 1]),
    "linear function": lambda: lib.LinearFunction([[1, 1, 0], [0, 1, 0], [1, 0, 1]]),
    "diagonal": lambda: lib.DiagonalGate(np.exp(1j * np.arange(8)).tolist()),
    "pauli": lambda: lib.PauliGate("XIY"),
    "multiplexed": lambda: lib.UCGate([random_unitary(2, seed=s).data for s in range(4)]),
    "multiplexed ry": lambda: lib.UCRYGate([0.1, 0.2, 0.3, 0.4]),
    "multiplexed pauli": lambda: lib.UCPauliRotGate([0.1, 0.2, 0.3, 0.4], "X"),
    "ms": lambda: lib.MSGate(3, 0.7),
    "rv": lambda: lib.RVGate(0.1, 0.2, 0.3),
    "mcmt": lambda: lib.MCMTGate(lib.RYGate(0.4), 1, 2),
    "isometry": lambda: lib.Isometry(random_unitary(8, seed=1).data, 0, 0),
    "hamiltonian": lambda: lib.HamiltonianGate(COMMUTING.to_matrix(), 0.6),
    "evolution": lambda: lib.PauliEvolutionGate(COMMUTING, 0.6),
    "graph state": lambda: lib.GraphStateGate([[0, 1, 0], [1, 0, 1], [0, 1, 0]]),
    "iqp": lambda: lib.iqp([[1, 2, 0], [2, 3, 1], [0, 1, 4]]).to_gate(),
    "quantum volume": lambda: lib.quantum_volume(3, 2, seed=1).to_gate(),
    "grover": lambda: lib.grover_operator(oracle()).to_gate(),
    "and": lambda: lib.AndGate(2),
    "or": lambda: lib.OrGate(2),
    "inner product": lambda: lib.InnerProductGate(1),
    "half adder": lambda: lib.HalfAdderGate(1),
    "modular adder": lambda: lib.ModularAdderGate(1),
    "xor": lambda: lib.BitwiseXorGate(1, 1),
    "clifford": lambda: random_clifford(3, seed=2).to_instruction(),
    "root": lambda: AnnotatedOperation(lib.SwapGate(), PowerModifier(0.5)),
    "no unitary of its own": lambda: lib.UnitaryGate(random_unitary(8, seed=3)),
    "mcx": lambda: lib.MCXGate(2, ctrl_state=1),
    "controlled unitary": lambda: random_unitary(4, seed=4).to_instruction().control(1),
}
if hasattr(lib, "PauliProductRotationGate"):
    from qiskit.quantum_info import Pauli

    BLOCKS["pauli product"] = lambda: lib.PauliProductRotationGate(Pauli("-XZY"), 0.7)


def oracle() -> QuantumCircuit:
    circuit = QuantumCircuit(3)
    circuit.ccz(0, 1, 2)
    return circuit


def surrounded(op: Operation) -> QuantumCircuit:
    """The operation in falling order between generic layers, the second of them parameterized."""
    circuit = QuantumCircuit(op.num_qubits + 1)
    for q in range(op.num_qubits + 1):
        circuit.u(0.8 + 0.3 * q, 0.5 - 0.4 * q, 0.2, q)
    for q in range(op.num_qubits):
        circuit.cx(q, q + 1)
    circuit.append(op, list(reversed(range(op.num_qubits))))
    for q in range(op.num_qubits + 1):
        circuit.rx(T + q, q)
        circuit.rz(1.1 - q, q)
    return circuit


def check(circuit: QuantumCircuit, twin: QuantumCircuit | None = None) -> None:
    """Two-qubit correlations, and the state, up to a phase, of the qubits that are not idle."""
    n = circuit.num_qubits
    letters = [("XYZ"[q % 3], [q]) for q in range(n)]
    pairs = itertools.product(("XX", "XZ", "YX", "ZZ"), itertools.combinations(range(n), 2))
    observables = [
        SparsePauliOp.from_sparse_list([(label, qubits, 1.0)], n)
        for label, qubits in [*letters, *pairs]
    ]
    program = CircuitProgram(circuit, observables)
    columns = (program.input_columns, program.weight_columns)
    x = np.zeros((2, 0))
    w = np.array([[0.3], [-1.4]])[:, : circuit.num_parameters]
    evs, _ = StatevectorSimulator(program.analysed, program.readout, *columns).evaluate(x, w)
    simulator = StatevectorSimulator(program.analysed, None, *columns)
    states, index = simulator.states(x, w), np.zeros(1, dtype=int)
    for qubit in simulator.tape.position:
        index = np.concatenate([index, index | 1 << qubit])
    for row in range(2):
        psi = Statevector((twin or circuit).assign_parameters(w[row]))
        expected = [psi.expectation_value(o).real for o in observables]
        np.testing.assert_allclose(evs[row], expected, rtol=0, atol=EXACT)
        assert abs(abs(np.vdot(states[row], psi.data[index])) - 1) < EXACT


@pytest.mark.parametrize("name", STANDARD)
def test_standard_gates(name: str) -> None:
    gate = STANDARD[name].to_mutable()
    gate.params = [0.7, -1.9, 0.4, 2.3][: len(gate.params)]
    check(surrounded(gate))


@pytest.mark.parametrize("state", [0, 1])
@pytest.mark.parametrize("name", ["x", "y", "z", "h", "s", "sx", "rx", "ry", "rz", "p", "u"])
def test_an_open_or_closed_control(name: str, state: int) -> None:
    gate = STANDARD[name].to_mutable()
    gate.params = [0.7, -1.9, 0.4][: len(gate.params)]
    check(surrounded(gate.control(1, ctrl_state=state, annotated=False)))


@pytest.mark.parametrize("state", [0, 1, 2, 3])
@pytest.mark.parametrize("name", ["x", "h", "sx", "swap", "ry", "p", "u", "cz", "rxx"])
def test_open_and_closed_controls(name: str, state: int) -> None:
    gate = STANDARD[name].to_mutable()
    gate.params = [0.7, -1.9, 0.4][: len(gate.params)]
    check(surrounded(gate.control(2, ctrl_state=state, annotated=False)))


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks(name: str) -> None:
    check(surrounded(BLOCKS[name]()))


@pytest.mark.parametrize("operator", [OTHERS, [COMMUTING, OTHERS]])
@pytest.mark.parametrize("synthesis", [None, SuzukiTrotter(order=2, reps=2)])
def test_evolution_by_terms_that_do_not_commute(operator: object, synthesis: object) -> None:
    """The product formula of its definition, as on hardware, and not the exact exponential."""
    gate = lib.PauliEvolutionGate(operator, 0.6, synthesis=synthesis)
    check(surrounded(gate), surrounded(gate.definition.to_gate()))


@pytest.mark.parametrize("num_qubits", [1, 2, 3, 4, 5, 6])
def test_wide_unitaries(num_qubits: int) -> None:
    check(surrounded(lib.UnitaryGate(random_unitary(2**num_qubits, seed=num_qubits))))


@pytest.mark.parametrize(
    "phase",
    [
        lib.GlobalPhaseGate(T),
        lib.GlobalPhaseGate(0.4),
        lib.UnitaryGate([[1j]]),
        QuantumCircuit(0, global_phase=0.3).to_gate(),
    ],
)
def test_phases(phase: Operation) -> None:
    """However they are written, phases change nothing."""
    circuit = surrounded(lib.CXGate())
    circuit.append(phase, [])
    circuit.global_phase = T
    check(circuit)


@pytest.mark.parametrize("form", [[0.6, 0.8j], "-", "r", 1, [0.5, 0.5j, -0.5, 0.5], "0l", 2])
@pytest.mark.parametrize("kind", [lib.Initialize, lib.StatePreparation])
@pytest.mark.parametrize("at_start", [True, False])
def test_preparations(form: object, kind: type[Operation], at_start: bool) -> None:
    """At the start by amplitudes; in the middle by what a preparation does there."""
    op = kind(form, num_qubits=2) if isinstance(form, int) else kind(form)
    circuit = QuantumCircuit(3)
    if not at_start:
        if kind is lib.Initialize:
            op = op.definition.data[-1].operation
        circuit.compose(surrounded(lib.CXGate()).assign_parameters([0.4]), inplace=True)
    circuit.append(op, [2, 0][: op.num_qubits])
    circuit.ry(T, 0)
    circuit.crx(T, 0, 2)
    check(circuit)


def test_two_preparations_beside_gates_on_other_qubits() -> None:
    """A gate on other qubits does not make a qubit one that something has acted on."""
    circuit = QuantumCircuit(4)
    circuit.initialize([0.6, 0, 0, 0.8], [3, 1])
    circuit.cx(1, 3)
    circuit.ry(T, 1)
    circuit.id(0)
    circuit.initialize("r", 0)
    circuit.prepare_state([0.28, 0.96], 2)
    circuit.cx(0, 1)
    circuit.rzz(0.3, 2, 3)
    circuit.rx(T, 2)
    check(circuit)


def test_a_matrix_and_its_inverse() -> None:
    """Operators that are no unitary gates in Qiskit's sense, with complex entries everywhere."""
    matrix = Operator(random_unitary(8, seed=9))
    circuit = surrounded(lib.CCXGate())
    circuit.append(matrix, [3, 1, 0])
    circuit.ry(T, 1)
    circuit.append(matrix.adjoint(), [3, 1, 0])
    check(circuit)
