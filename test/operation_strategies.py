# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies for one operation: tables of gates, controls, blocks, evolutions."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Callable
from typing import NamedTuple

import qiskit
from hypothesis import strategies as st
from qiskit import QuantumCircuit
from qiskit.circuit import Gate, Operation
from qiskit.circuit import ParameterExpression as Expression
from qiskit.circuit import library as lib
from qiskit.exceptions import QiskitError
from qiskit.quantum_info import Pauli, SparsePauliOp

_VERSION = tuple(int(part) for part in re.findall(r"\d+", qiskit.__version__)[:3])

BINDS_SQUARES = not (2, 1, 0) <= _VERSION <= (2, 5, 1)
"""False on the Qiskit versions that bind ``x**2 + y**2`` as ``(x + y)**2``."""

# Qiskit 2.0 gives a custom gate that contains SX or ECR a wrong phase when it is controlled.
_CONTROLS_SX_WRONGLY = _VERSION[:2] == (2, 0)


class Template(NamedTuple):
    """How to build a gate from its angles."""

    build: Callable[..., Operation]
    num_params: int
    num_qubits: int


GATES: dict[str, Template] = {
    "rx": Template(lib.RXGate, 1, 1),
    "ry": Template(lib.RYGate, 1, 1),
    "rz": Template(lib.RZGate, 1, 1),
    "p": Template(lib.PhaseGate, 1, 1),
    "u1": Template(lib.U1Gate, 1, 1),
    "r": Template(lib.RGate, 2, 1),
    "u2": Template(lib.U2Gate, 2, 1),
    "u": Template(lib.UGate, 3, 1),
    "u3": Template(lib.U3Gate, 3, 1),
    "global_phase": Template(lib.GlobalPhaseGate, 1, 0),
    "rxx": Template(lib.RXXGate, 1, 2),
    "ryy": Template(lib.RYYGate, 1, 2),
    "rzz": Template(lib.RZZGate, 1, 2),
    "rzx": Template(lib.RZXGate, 1, 2),
    "xx_plus_yy": Template(lib.XXPlusYYGate, 2, 2),
    "xx_minus_yy": Template(lib.XXMinusYYGate, 2, 2),
}
CONTROLLED_GATES: dict[str, Template] = {
    "crx": Template(lib.CRXGate, 1, 2),
    "cry": Template(lib.CRYGate, 1, 2),
    "crz": Template(lib.CRZGate, 1, 2),
    "cp": Template(lib.CPhaseGate, 1, 2),
    "cu1": Template(lib.CU1Gate, 1, 2),
    "cu": Template(lib.CUGate, 4, 2),
    "cu3": Template(lib.CU3Gate, 3, 2),
    "mcphase": Template(lambda angle: lib.MCPhaseGate(angle, 2), 1, 3),
    "mcu1": Template(lambda angle: lib.MCU1Gate(angle, 2), 1, 3),
}
FIXED_GATES: tuple[Gate, ...] = (
    lib.HGate(),
    lib.SGate(),
    lib.TGate(),
    lib.SXGate(),
    lib.CXGate(),
    lib.CZGate(),
    lib.ECRGate(),
    lib.SwapGate(),
    lib.CXGate(ctrl_state=0),
    lib.CCXGate(),
)


@st.composite
def steps(
    draw: st.DrawFn,
    num_qubits: int,
    angles: st.SearchStrategy[Expression],
    affine_only: bool,
    controlled: bool,
    depth: int,
    gates_only: bool = False,
) -> tuple[Operation, list[int]]:
    """One operation and the qubits it acts on; ``depth`` bounds the nesting of custom blocks."""
    kinds = ["gate", "gate", "fixed"]
    if controlled and num_qubits > 1:
        kinds += ["controlled", "control"]
    if depth:
        kinds += ["evolution", "library", "custom"]
    kind = draw(st.sampled_from(kinds))
    if kind == "fixed":
        fitting = [gate for gate in FIXED_GATES if gate.num_qubits <= num_qubits]
        if gates_only and _CONTROLS_SX_WRONGLY:
            fitting = [gate for gate in fitting if gate.name not in ("sx", "ecr")]
        op = draw(st.sampled_from(fitting))
    elif kind == "evolution":
        op = draw(_evolutions(num_qubits, angles))
    elif kind == "library":
        op = draw(_library_blocks(num_qubits, angles, affine_only))
    elif kind == "custom":
        op = draw(_custom(num_qubits, angles, affine_only, controlled, depth, gates_only))
    elif kind == "control":
        base = draw(_from_table(GATES, num_qubits - 1, angles))
        op = draw(_controls(base, num_qubits))
    else:
        op = draw(_from_table(GATES if kind == "gate" else CONTROLLED_GATES, num_qubits, angles))
    return op, draw(st.permutations(range(num_qubits)))[: op.num_qubits]


def controlled_gate(
    gate: Gate, num_controls: int, state: int | None = None, annotated: bool = False
) -> Operation:
    """``gate.control(...)``, annotated also where Qiskit cannot synthesise unbound angles."""
    with warnings.catch_warnings():
        # Qiskit 1.4 and 2.0 call a method of their own that is pending deprecation.
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        if not annotated:
            with contextlib.suppress(QiskitError):
                return gate.control(num_controls, ctrl_state=state, annotated=False)
        return gate.control(num_controls, ctrl_state=state, annotated=True)


@st.composite
def _from_table(
    draw: st.DrawFn,
    table: dict[str, Template],
    num_qubits: int,
    angles: st.SearchStrategy[Expression],
) -> Gate:
    fitting = [name for name, template in table.items() if template.num_qubits <= num_qubits]
    template = table[draw(st.sampled_from(fitting))]
    return template.build(*[draw(angles) for _ in range(template.num_params)])


@st.composite
def _controls(draw: st.DrawFn, gate: Gate, num_qubits: int) -> Operation:
    num_controls = draw(st.integers(1, min(2, num_qubits - gate.num_qubits)))
    last = 2**num_controls - 1
    state = last - draw(st.integers(0, last))
    return controlled_gate(gate, num_controls, state, draw(st.booleans()))


@st.composite
def _evolutions(
    draw: st.DrawFn, num_qubits: int, angles: st.SearchStrategy[Expression]
) -> lib.PauliEvolutionGate:
    width = draw(st.integers(1, num_qubits))
    terms: list[tuple[str, float]] = []
    for label in draw(st.lists(st.text("ZXYI", min_size=width, max_size=width), min_size=1)):
        if all(Pauli(label).commutes(Pauli(other)) for other, _ in terms):
            terms.append((label, draw(st.sampled_from((0.5, -0.5, 1.0)))))
    # Qiskit 2.2 to 2.6 cannot synthesise an identity term whose time cancels.
    time = draw(angles.filter(_depends_on_parameters))
    return lib.PauliEvolutionGate(SparsePauliOp.from_list(terms[:4]), time)


def _depends_on_parameters(angle: Expression) -> bool:
    return bool(angle.sympify().free_symbols)


@st.composite
def _library_blocks(
    draw: st.DrawFn, num_qubits: int, angles: st.SearchStrategy[Expression], affine_only: bool
) -> Gate:
    width = draw(st.integers(1, min(3, num_qubits)))
    blocks = [
        lambda: lib.real_amplitudes(width, reps=1),
        lambda: lib.efficient_su2(width, reps=1),
        lambda: lib.z_feature_map(width, reps=1, parameter_prefix="data"),
    ]
    if not affine_only:
        blocks.append(lambda: lib.zz_feature_map(max(2, width), reps=1, parameter_prefix="data"))
    block = draw(st.sampled_from(blocks if num_qubits > 1 else blocks[:3]))()
    # Qiskit 2.6.2 refuses to assign an expression whose parameters cancel.
    kept = angles.filter(_depends_on_parameters)
    return block.assign_parameters([draw(kept) for _ in block.parameters]).to_gate()


@st.composite
def _custom(
    draw: st.DrawFn,
    num_qubits: int,
    angles: st.SearchStrategy[Expression],
    affine_only: bool,
    controlled: bool,
    depth: int,
    gates_only: bool,
) -> Operation:
    """A sub-circuit with a phase of its own as gate, instruction, inverse or controlled gate."""
    wraps = ["gate", "inverse"]
    if not gates_only:
        wraps.append("instruction")
    if controlled and num_qubits > 1:
        wraps.append("controlled")
    wrap = draw(st.sampled_from(wraps))
    width = draw(st.integers(1, num_qubits - (wrap == "controlled")))
    inner = steps(width, angles, affine_only, controlled, depth - 1, wrap != "instruction")
    block = QuantumCircuit(width)
    for op, qubits in draw(st.lists(inner, min_size=1, max_size=3)):
        block.append(op, qubits)
    block.global_phase = draw(st.just(0.0) | angles)
    if wrap == "instruction":
        return block.to_instruction()
    if wrap == "inverse":
        return block.to_gate().inverse()
    return draw(_controls(block.to_gate(), num_qubits)) if wrap == "controlled" else block.to_gate()
