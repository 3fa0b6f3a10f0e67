# SPDX-License-Identifier: Apache-2.0
"""A circuit compiled to Pauli rotations and fixed matrices, Clifford gates absorbed."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from qiskit.circuit import (
    ControlFlowOp,
    Operation,
    Parameter,
    ParameterExpression,
    QuantumCircuit,
)
from qiskit.circuit.library import Initialize, StatePreparation, UnitaryGate

from ..exceptions import CircuitError
from ..program.angle_map import AngleMap
from ..program.lowering import expand, kind_of, opaque, operations_of
from ..program.validation import TIMED
from .operations import (
    CLIFFORDS,
    EULER,
    NOTHING,
    ROTATIONS,
    Angle,
    ComplexArray,
    FixedMatrix,
    Preparation,
    Rotation,
    accepts_tape,
    euler_angles,
    evolution_turns,
    is_fixed,
    prepared_amplitudes,
    quarter_turns,
)
from .paulis import CliffordFrame, PauliString, pauli_string

MAX_BITS = 62


@dataclass(frozen=True)
class Tape:
    r"""What is left of a circuit: :math:`F \prod_g U_g |\varphi_0\rangle`.

    Attributes:
        position: Maps the circuit's qubits that anything acts on to bits ``0 .. n-1`` of the state;
            the others stay in state zero and are not simulated.
        preparations: Amplitudes of bits that do not start in zero.
        operations: Rotations and matrices in the order in which they act.
        frame: The Clifford gates :math:`F` that were absorbed, for the observables.
        angle_map: From values ``(B, P)`` to the angles that rotations refer to.
    """

    position: dict[int, int]
    preparations: tuple[Preparation, ...]
    operations: tuple[Rotation | FixedMatrix, ...]
    frame: CliffordFrame
    angle_map: AngleMap

    @property
    def num_bits(self) -> int:
        """The number ``n`` of qubits that are simulated."""
        return len(self.position)

    @functools.cached_property
    def rotations(self) -> tuple[Rotation, ...]:
        """The rotations alone."""
        return tuple(o for o in self.operations if isinstance(o, Rotation))


def compile_tape(
    circuit: QuantumCircuit,
    parameters: Sequence[Parameter],
    *,
    in_full: bool = False,
    axes: str | None = None,
) -> Tape:
    """Compile a validated circuit.

    Args:
        circuit: Unitary gates, and state preparations on untouched qubits.
        parameters: The order of the values.
        in_full: Apply the Clifford gates to the state too, so that its amplitudes are the
            circuit's own and the frame is the identity.
        axes: Do so, and turn each bit from the axis given, X, Y or Z, to Z; the frame turns back.

    Raises:
        CircuitError: If an operation cannot be simulated exactly; it is named.
    """
    builder = _Builder(circuit, parameters)
    if in_full or axes is not None:
        builder.apply_frame()
    for bit, axis in enumerate(axes or ""):
        builder.turn(bit, axis)
    return builder.tape()


def _accepts_gates(operation: Operation) -> bool:
    return not isinstance(operation, StatePreparation) and accepts_tape(operation)


def _does_nothing(operation: Operation) -> bool:
    """Whether an operation does not change states, as a carrier of noise does not."""
    return isinstance(operation, NOTHING) or (
        isinstance(operation, UnitaryGate)
        and np.array_equal(operation.params[0], np.eye(1 << operation.num_qubits))
    )


class _Builder:
    """Walks the circuit once and writes the tape."""

    def __init__(self, circuit: QuantumCircuit, parameters: Sequence[Parameter]) -> None:
        for operation in operations_of(circuit):
            if isinstance(operation, ControlFlowOp):
                raise CircuitError(
                    f"The circuit contains the control-flow operation {operation.name!r}, which "
                    "the exact engine cannot simulate. Unroll it, or give an estimator that runs "
                    "it."
                )
        expanded = expand(circuit, accepts_tape)
        index = {qubit: q for q, qubit in enumerate(expanded.qubits)}
        steps = [
            (i.operation, tuple(index[q] for q in i.qubits))
            for i in expanded.data
            if i.qubits and not _does_nothing(i.operation)
        ]
        active = sorted({q for _, qubits in steps for q in qubits}) or [0]
        if len(active) > MAX_BITS:
            raise CircuitError(
                f"The circuit acts on {len(active)} qubits; its state cannot be simulated exactly. "
                "Give an estimator or a backend that can run it."
            )
        self.position = {q: bit for bit, q in enumerate(active)}
        self.parameters = parameters
        self.frame = CliffordFrame(len(active))
        self.absorbed: list[tuple[PauliString, int]] = []
        self.operations: list[Rotation | FixedMatrix] = []
        self.preparations: list[Preparation] = []
        self.expressions: list[ParameterExpression] = []
        self.pending: dict[int, ComplexArray] = {}
        self.touched: set[int] = set()
        for operation, qubits in steps:
            self._append(operation, tuple(self.position[q] for q in qubits))
        for bit in list(self.pending):
            self._settle(bit)

    def tape(self) -> Tape:
        return Tape(
            self.position,
            tuple(self.preparations),
            tuple(self.operations),
            self.frame,
            AngleMap(self.expressions, self.parameters),
        )

    def _append(self, operation: Operation, bits: tuple[int, ...]) -> None:
        kind = kind_of(operation)
        if isinstance(operation, (Initialize, StatePreparation)):
            self._prepare(operation, bits)
            return
        if len(bits) == 1 and self._is_fixed_matrix(operation):
            (bit,) = bits
            matrix = np.asarray(operation.to_matrix(), dtype=complex)
            self.pending[bit] = matrix @ self.pending[bit] if bit in self.pending else matrix
            return
        for bit in bits:
            self._settle(bit)
        self.touched.update(bits)
        if kind in CLIFFORDS:
            self._clifford(kind, bits)
        elif kind in ROTATIONS:
            self._rotate(ROTATIONS[kind], bits, self._angle(operation.params[0]))
        elif kind in EULER:
            theta, phi, lam = (
                Angle(offset=np.pi / 2) if place is None else self._angle(operation.params[place])
                for place in EULER[kind]
            )
            for letter, angle in (("Z", lam), ("Y", theta), ("Z", phi)):
                self._rotate(letter, bits, angle)
        elif isinstance(operation, TIMED):
            self._evolve(operation, bits)
        elif isinstance(operation, UnitaryGate):
            self.apply_frame()
            matrix = np.asarray(operation.to_matrix(), dtype=complex)
            self.operations.append(FixedMatrix(bits, matrix))
        else:
            raise opaque(operation)

    @staticmethod
    def _is_fixed_matrix(operation: Operation) -> bool:
        """Whether a one-qubit gate is best merged with its neighbours before it is looked at."""
        return all(isinstance(p, np.ndarray) or is_fixed(p) for p in operation.params) and (
            not isinstance(operation, TIMED)
        )

    def _settle(self, bit: int) -> None:
        """Write down the fixed gates that have been merged on one bit."""
        matrix = self.pending.pop(bit, None)
        if matrix is None:
            return
        self.touched.add(bit)
        theta, phi, lam = euler_angles(matrix)
        for letter, angle in (("Z", lam), ("Y", theta), ("Z", phi)):
            self._rotate(letter, (bit,), Angle(offset=angle))

    def _angle(self, angle: ParameterExpression | float) -> Angle:
        if is_fixed(angle):
            return Angle(offset=float(angle))
        self.expressions.append(angle)
        return Angle(scale=1.0, source=len(self.expressions) - 1)

    def _rotate(self, letters: str, bits: Sequence[int], angle: Angle) -> None:
        pauli = pauli_string(letters, bits)
        if angle.is_fixed:
            turns = quarter_turns(angle.offset)
            if turns is not None:
                self._turn(pauli, turns)
                return
        self.operations.append(Rotation(self.frame.conjugated(pauli), angle))

    def _turn(self, pauli: PauliString, turns: int) -> None:
        if turns:
            self.frame.append_rotation(pauli, turns)
            self.absorbed.append((pauli, turns))

    def _clifford(self, kind: type[Operation], bits: tuple[int, ...]) -> None:
        turns = CLIFFORDS[kind]
        shortcut = {"CXGate": self.frame.append_cx, "CZGate": self.frame.append_cz}.get(
            kind.__name__
        )
        for letters, count in turns:
            used = [(c, b) for c, b in zip(letters, bits, strict=True) if c != "I"]
            pauli = pauli_string("".join(c for c, _ in used), [b for _, b in used])
            if shortcut is None:
                self._turn(pauli, count)
            else:
                self.absorbed.append((pauli, count))
        if shortcut is not None:
            shortcut(*bits)

    def _evolve(self, operation: Operation, bits: tuple[int, ...]) -> None:
        time = self._angle(operation.params[0])
        turns = evolution_turns(operation)
        assert turns is not None
        for letters, places, factor in turns:
            if letters:
                angle = Angle(factor * time.offset, factor * time.scale, time.source)
                self._rotate(letters, [bits[q] for q in places], angle)

    def _prepare(self, operation: Operation, bits: tuple[int, ...]) -> None:
        amplitudes = prepared_amplitudes(operation)
        fresh = not self.touched.intersection(bits) and not any(b in self.pending for b in bits)
        if not fresh and isinstance(operation, StatePreparation):
            definition = expand(operation.definition, _accepts_gates)
            for inner in definition.data:
                places = [definition.find_bit(q).index for q in inner.qubits]
                self._append(inner.operation, tuple(bits[q] for q in places))
            return
        if not fresh or amplitudes is None:
            raise CircuitError(
                f"The operation {operation.name!r} acts on qubits that other gates have acted on; "
                "it would reset them, which cannot be simulated exactly. Put it first."
            )
        self.touched.update(bits)
        self.preparations.append(Preparation(bits, amplitudes))

    def apply_frame(self) -> None:
        """Write the absorbed Clifford gates as rotations, after which the frame is the identity."""
        for bit in list(self.pending):
            self._settle(bit)
        for pauli, turns in self.absorbed:
            self.operations.append(Rotation(pauli, Angle(offset=turns * np.pi / 2)))
        self.absorbed = []
        self.frame = CliffordFrame(self.frame.num_bits)

    def turn(self, bit: int, axis: str) -> None:
        """Turn an axis to Z, and back in the frame."""
        if axis == "Z":
            return
        about, turns = pauli_string("Y", [bit]), 3
        if axis == "Y":
            about, turns = pauli_string("X", [bit]), 1
        self.operations.append(Rotation(about, Angle(offset=turns * np.pi / 2)))
        self.frame.append_rotation(about, -turns)
