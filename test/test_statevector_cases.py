# SPDX-License-Identifier: Apache-2.0
"""Random circuits over everything that the exact simulator takes, and proof that they are sound.

``QTB_EXACT_CIRCUITS`` sets how many circuits the tests of the simulator draw; the profile
``QTB_HYPOTHESIS_PROFILE=full`` draws 5,000.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from operation_strategies import GATES, _depends_on_parameters, controlled_gate, steps
from qiskit import QuantumCircuit
from qiskit.circuit import AnnotatedOperation, Barrier, Delay, Operation
from qiskit.circuit import ParameterExpression as Expression
from qiskit.circuit import library as lib
from qiskit.circuit.annotated_operation import ControlModifier, InverseModifier, PowerModifier
from qiskit.quantum_info import (
    Operator,
    SparsePauliOp,
    Statevector,
    random_statevector,
    random_unitary,
)
from strategies import PARAMETERS, Case, expressions, observables

from qiskit_torch_bridge import CircuitProgram
from qiskit_torch_bridge.program.readouts import Readout
from qiskit_torch_bridge.simulation.statevector import StatevectorSimulator

FULL = os.environ.get("QTB_HYPOTHESIS_PROFILE") == "full"
CIRCUITS = int(os.environ.get("QTB_EXACT_CIRCUITS", "5000" if FULL else "100"))
ROWS = (1, 2, 3, 5, 8, 31, 32, 33, 64, 70)
SEEDS = st.integers(0, 2**32 - 1)

FIXED = (
    *(lib.XGate(), lib.YGate(), lib.ZGate(), lib.SdgGate(), lib.TdgGate(), lib.SXdgGate()),
    *(lib.CYGate(), lib.CYGate(ctrl_state=0), lib.CZGate(ctrl_state=0), lib.CHGate()),
    *(lib.CSGate(), lib.CSdgGate(), lib.CSXGate(), lib.iSwapGate(), lib.DCXGate()),
    *(lib.CSwapGate(), lib.CCZGate(ctrl_state=1), lib.RCCXGate(), lib.RC3XGate()),
    *(lib.C3XGate(), lib.C3SXGate(), lib.C4XGate(), lib.MCXGate(3, ctrl_state=2)),
    *(lib.PauliGate("XYZ"), lib.PermutationGate([2, 0, 3, 1]), lib.QFTGate(3)),
    *(lib.DiagonalGate([1, -1, 1j, 1]), lib.LinearFunction([[1, 1], [0, 1]])),
    *(lib.RZGate(np.pi / 2), lib.RXXGate(-np.pi), lib.UGate(np.pi, 0.3, np.pi / 2)),
)


@dataclass(frozen=True, repr=False, eq=False)
class ExactCase(Case):
    """A circuit for the exact simulator, with a batch of values ``(B, P)``."""

    twin: QuantumCircuit  # the same unitary on zeros, in operations that the reference reads
    shares_weights: bool  # whether all rows have the same weights


def simulator_of(
    case: Case, states: bool = False, readout: Readout | None = None
) -> StatevectorSimulator:
    """The simulator of a case's circuit and observables, of another readout or of states alone."""
    roles = {"input_params": case.inputs, "weight_params": case.weights}
    program = CircuitProgram(case.circuit, list(case.observables), **roles)
    columns = (program.input_columns, program.weight_columns)
    measured = None if states else readout or program.readout
    return StatevectorSimulator(program.analysed, measured, *columns)


@st.composite
def exact_cases(
    draw: st.DrawFn,
    max_qubits: int = 8,
    affine_only: bool = False,
    max_gates: int = 8,
    max_strings: int = 30,
) -> ExactCase:
    """Circuits of 1 to ``max_qubits`` qubits, some of them idle, for batches of all sizes.

    One of the observables has up to ``max_strings`` random strings.
    """
    width = draw(st.integers(1, max_qubits))
    used = draw(st.permutations(range(width)))[: draw(st.integers(1, width))]
    parameters = draw(st.lists(st.sampled_from(PARAMETERS), min_size=1, max_size=5, unique=True))
    affine_only = affine_only or draw(st.integers(0, 4)) < 4  # SymPy takes its time
    angles = expressions(parameters, affine_only)
    circuit, twin = QuantumCircuit(width), QuantumCircuit(width)
    free = list(used)
    for _ in range(draw(st.integers(0, 2))):
        if free:
            op, state = draw(_preparations(len(free)))
            qubits, free = free[: op.num_qubits], free[op.num_qubits :]
            circuit.append(op, qubits)
            twin.append(_with_first_column(state), qubits)
    operations = draw(st.lists(_steps(len(used), angles, affine_only), max_size=max_gates))
    mixed = draw(st.integers(0, 3)), draw(st.integers(0, 2))
    for op, places in [*_mixing(used, mixed[0]), *operations, *_mixing(used, mixed[1])]:
        qubits = [used[q] for q in places]
        circuit.append(op, qubits)
        twin.append(_for_reference(op), qubits)
    order = tuple(draw(st.permutations(list(circuit.parameters))))
    num_inputs, shared = draw(st.integers(0, len(order))), draw(st.booleans())
    rng = np.random.default_rng(draw(SEEDS))
    values = rng.uniform(-3, 3, (draw(st.sampled_from(ROWS)), len(order)))
    if shared:
        values[:, num_inputs:] = values[0, num_inputs:]
    count = draw(st.integers(0, max_strings))
    labels = ["".join(row) for row in rng.choice(list("IXYZ"), (count, width))]
    many = SparsePauliOp([*labels, "I" * width, "Z" * width], rng.normal(size=len(labels) + 2))
    measured = [*draw(observables(width)), many]
    return ExactCase(
        circuit, order, num_inputs, tuple(measured), torch.from_numpy(values), twin, shared
    )


def _mixing(used: list[int], wanted: int) -> list[tuple[Operation, list[int]]]:
    """A fixed generic layer, without which most random gates leave most observables unmoved."""
    if not wanted:
        return []
    turns = [(lib.UGate(0.8 + 0.3 * q, 0.5 - 0.4 * q, 0.2), [q]) for q in range(len(used))]
    return turns + [(lib.CXGate(), [q, q + 1]) for q in range(len(used) - 1)]


@st.composite
def _steps(
    draw: st.DrawFn, num_qubits: int, angles: st.SearchStrategy[Expression], affine_only: bool
) -> tuple[Operation, list[int]]:
    fixed = [gate for gate in FIXED if gate.num_qubits <= num_qubits]
    kinds: list[st.SearchStrategy[Operation]] = [
        st.sampled_from(fixed),
        _unitaries(num_qubits),
        _preparations(num_qubits).map(lambda found: _without_reset(found[0])),
        _annotated(num_qubits, angles),
        _blocks(num_qubits, angles),
        st.sampled_from((Barrier(num_qubits), Delay(100))),
    ]
    if num_qubits > 1:
        kinds.append(_controlled(num_qubits, angles))
    kind = draw(st.integers(-5, len(kinds) - 1))
    if kind < 0:
        return draw(steps(num_qubits, angles, affine_only, controlled=True, depth=2))
    op = draw(kinds[kind])
    return op, draw(st.permutations(range(num_qubits)))[: op.num_qubits]


@st.composite
def _unitaries(draw: st.DrawFn, num_qubits: int) -> lib.UnitaryGate:
    return lib.UnitaryGate(
        random_unitary(2 ** draw(st.integers(1, min(4, num_qubits))), seed=draw(SEEDS))
    )


@st.composite
def _preparations(draw: st.DrawFn, num_qubits: int) -> tuple[Operation, np.ndarray]:
    """An operation that prepares a state, by amplitudes, label or number; and the state."""
    width = draw(st.integers(1, min(3, num_qubits)))
    form: list[complex] | str | int
    form = draw(SEEDS.map(lambda seed: random_statevector(2**width, seed).data.tolist()))
    if draw(st.integers(0, 3)) == 0:
        form = draw(st.text("01+-rl", min_size=width, max_size=width) | st.just(2**width - 1))
    kind = draw(st.sampled_from((lib.StatePreparation, lib.Initialize)))
    if isinstance(form, str):
        return kind(form), Statevector.from_label(form).data
    if isinstance(form, int):
        return kind(form, num_qubits=width), np.eye(2**width)[form]
    return kind(form), np.array(form)


def _without_reset(op: Operation) -> Operation:
    return (
        op if isinstance(op, lib.StatePreparation) else op.definition.data[-1].operation.inverse()
    )


def _for_reference(op: Operation) -> Operation:
    """Spell out what a preparation does in the middle; take all controls first, as they commute."""
    if isinstance(op, lib.StatePreparation):
        return lib.UnitaryGate(Operator(op))
    if isinstance(op, AnnotatedOperation):
        return AnnotatedOperation(
            op.base_op, sorted(op.modifiers, key=lambda m: not isinstance(m, ControlModifier))
        )
    return op


def _with_first_column(state: np.ndarray) -> lib.UnitaryGate:
    """Any unitary that takes zeros to the state: the others are orthogonal to it."""
    others = np.linalg.svd(state[:, None])[0][:, 1:]
    return lib.UnitaryGate(np.column_stack([state, others]))


@st.composite
def _controlled(
    draw: st.DrawFn, num_qubits: int, angles: st.SearchStrategy[Expression]
) -> Operation:
    """Up to four controls, each open or closed."""
    count = draw(st.integers(1, min(4, num_qubits - 1)))
    state = draw(st.integers(0, 2**count - 1))
    kind = draw(st.integers(0, 3))
    if kind == 0:
        return lib.MCPhaseGate(draw(angles), count)
    if kind == 1:
        return lib.MCXGate(count, ctrl_state=state)
    base = draw(_gates(num_qubits - count, angles))
    return controlled_gate(base, count, state, annotated=kind == 2)


@st.composite
def _gates(draw: st.DrawFn, num_qubits: int, angles: st.SearchStrategy[Expression]) -> Operation:
    fitting = [t for t in GATES.values() if t.num_qubits <= num_qubits]
    template = draw(st.sampled_from(fitting))
    return template.build(*[draw(angles) for _ in range(template.num_params)])


@st.composite
def _annotated(
    draw: st.DrawFn, num_qubits: int, angles: st.SearchStrategy[Expression]
) -> AnnotatedOperation:
    """Gates with inverse, power and control modifiers in any order."""
    op = draw(_gates(num_qubits, angles) | st.sampled_from((lib.HGate(), lib.SXGate())))
    modifiers, room = [], num_qubits - op.num_qubits
    for kind in draw(st.lists(st.sampled_from("ipc"), min_size=1, max_size=3)):
        if kind == "c" and room:
            modifiers.append(ControlModifier(1, draw(st.integers(0, 1))))
            room -= 1
        elif kind == "p":
            modifiers.append(PowerModifier(draw(st.integers(-2, 3))))
        else:
            modifiers.append(InverseModifier())
    return AnnotatedOperation(op, modifiers)


@st.composite
def _blocks(draw: st.DrawFn, num_qubits: int, angles: st.SearchStrategy[Expression]) -> Operation:
    """Ansatz circuits of the library with expressions for their parameters."""
    width = draw(st.integers(1, min(4, num_qubits)))
    cost = SparsePauliOp(["Z" * width, "I" * (width - 1) + "Z"], [0.5, -1.5])
    makers: list[Callable[[], QuantumCircuit]] = [
        lambda: lib.efficient_su2(width, ["ry", "rz"], reps=1, entanglement="reverse_linear"),
        lambda: lib.qaoa_ansatz(cost, reps=1),
        lambda: lib.pauli_two_design(width, reps=1, seed=width),
        lambda: lib.excitation_preserving(max(2, width), reps=1, entanglement="linear"),
        lambda: lib.n_local(max(2, width), ["rx", "h"], "crz", reps=1, insert_barriers=True),
    ]
    block = draw(st.sampled_from(makers[: 5 if num_qubits > 1 else 3]))()
    kept = angles.filter(_depends_on_parameters)
    few = [draw(kept) for _ in range(3)]
    values = [few[i % 3] for i in range(len(block.parameters))]
    return block.assign_parameters(values).to_instruction()


@settings(max_examples=min(CIRCUITS, 500) // 5)
@given(exact_cases(max_qubits=5))
def test_the_reference_agrees_with_qiskit(case: ExactCase) -> None:
    """Both are rounding away from the truth: 1e-12 is thousands of roundings of numbers near 1."""
    row = case.values[0]
    bound = case.circuit.assign_parameters(dict(zip(case.parameters, row.tolist(), strict=True)))
    expected = Statevector(bound)
    found = Statevector(reference.statevector(case.twin, case.parameters, row).numpy())
    assert abs(1 - abs(np.vdot(found.data, expected.data))) < 1e-12
