# SPDX-License-Identifier: Apache-2.0
"""A circuit compiled to Pauli rotations and fixed matrices, Clifford gates absorbed."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from qiskit.circuit import (
    ControlFlowOp,
    Operation,
    ParameterExpression,
)
from qiskit.circuit.library import (
    CXGate,
    CZGate,
    GlobalPhaseGate,
    Initialize,
    StatePreparation,
    SwapGate,
    UnitaryGate,
)
from typing_extensions import override

from ...arrays import ComplexArray
from ...exceptions import CircuitError
from ...program.amplitudes import AmplitudePreparation
from ...program.analysis import AnalysedCircuit
from ...program.angle_map import AngleMap
from ...program.definitions import Step, class_of, opaque_error
from ...program.evolutions import TIMED
from ...program.expressions import is_free
from ...program.lowering import flatten
from .compress import Compression
from .operations import (
    CLIFFORDS,
    EULER,
    NOTHING,
    PHASED,
    ROTATIONS,
    Angle,
    FixedMatrix,
    Preparation,
    Rotation,
    Turn,
    accepts_tape,
    count_quarter_turns,
    expand_evolution,
    find_euler_angles,
    find_prepared_amplitudes,
    is_simple,
)
from .paulis import CliffordFrame, make_pauli_string

NO_ANGLE = Angle()
_NO_AMPLITUDES = np.zeros(0, dtype=complex)


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
        phase: The angle :math:`a` of the phase :math:`e^{-ia/2}` of all this, where it is known:
            see :func:`.compile_tape_with_phase`.
        compression: How the basis states that operations and preparations refer to are numbered;
            ``None`` if by the bits of ``position``. The frame's strings are to be taken through it.
    """

    position: dict[int, int]
    preparations: tuple[Preparation, ...]
    operations: tuple[Rotation | FixedMatrix, ...]
    frame: CliffordFrame
    angle_map: AngleMap
    phase: Angle = NO_ANGLE
    compression: Compression | None = None

    @property
    def num_bits(self) -> int:
        """The number ``n`` of bits of the state that is simulated."""
        return len(self.position) if self.compression is None else self.compression.num_bits

    @functools.cached_property
    def rotations(self) -> tuple[Rotation, ...]:
        """The rotations alone."""
        return tuple(o for o in self.operations if isinstance(o, Rotation))


def compile_tape(
    analysed: AnalysedCircuit, *, in_full: bool = False, axes: str | None = None
) -> Tape:
    """Compile a circuit whose steps and expressions have been read.

    Args:
        analysed: Unitary gates, and state preparations on untouched qubits.
        in_full: Apply the Clifford gates to the state too, so that its amplitudes are the
            circuit's own and the frame is the identity.
        axes: X, Y or Z for each bit: apply them as well, and then turn these axes to Z; the frame
            turns them back.

    Raises:
        CircuitError: If an operation cannot be simulated exactly; it is named.
    """
    builder = TapeBuilder(analysed.steps)
    if in_full or axes is not None:
        builder.apply_frame()
    for bit, axis in enumerate(axes or ""):
        builder.turn(bit, axis)
    return builder.write(analysed)


def compile_placed_tape(analysed: AnalysedCircuit) -> Tape:
    """Compile a circuit so that each operation acts on the qubits of its gate alone.

    Clifford gates are rotations by quarter turns; the frame is the identity. Swaps at the top of
    the circuit are no operations: the tape's ``position`` says where each qubit is at the end.

    Raises:
        CircuitError: If an operation cannot be simulated exactly; it is named.
    """
    return _PlacedBuilder(analysed.steps).write(analysed)


def _accepts_gates(operation: Operation) -> bool:
    return not isinstance(operation, StatePreparation) and accepts_tape(operation)


def _does_nothing(operation: Operation) -> bool:
    """Whether an operation does not change states, as a carrier of noise does not."""
    return isinstance(operation, NOTHING) or (
        isinstance(operation, UnitaryGate)
        and np.array_equal(operation.params[0], np.eye(1 << operation.num_qubits))
    )


def _taken(steps: Iterable[Step], phases: bool) -> Iterator[Step]:
    """Yield the steps that a tape takes and that do something, and phases if they count."""
    for step in steps:
        operation = step[0]
        if is_simple(operation):
            yield step
        elif isinstance(operation, ControlFlowOp):
            raise CircuitError(
                f"The circuit contains the control-flow operation {operation.name!r}, which "
                "the exact engine cannot simulate. Unroll it, or give an estimator that runs "
                "it."
            )
        else:
            for inner in flatten(step, accepts_tape, phases=phases):
                is_phase = isinstance(inner[0], GlobalPhaseGate)
                if phases if is_phase else inner[1] and not _does_nothing(inner[0]):
                    yield inner


class TapeBuilder:
    """Walks a circuit once and writes its tape."""

    follows_phase = False
    """Whether global phases are followed, on which alone amplitudes depend."""

    def __init__(self, steps: Iterable[Step]) -> None:
        taken = list(_taken(steps, self.follows_phase))
        active = sorted(set(itertools.chain.from_iterable(qubits for _, qubits in taken))) or [0]
        self.position = {q: bit for bit, q in enumerate(active)}
        self.frame = CliffordFrame(len(active))
        self.absorbed: list[tuple[Sequence[Turn], tuple[int, ...]]] = []
        self.operations: list[Rotation | FixedMatrix] = []
        self.preparations: list[Preparation] = []
        self.expressions: list[ParameterExpression] = []
        self.pending: dict[int, ComplexArray] = {}
        self.touched: set[int] = set()
        moved = active[-1] >= len(active)
        for operation, qubits in taken:
            bits = tuple([self.position[q] for q in qubits]) if moved else qubits
            self._take(operation, bits)
        self._settle_all(tuple(self.pending))

    def write(self, analysed: AnalysedCircuit, phase: Angle = NO_ANGLE) -> Tape:
        """Return what has been written of a circuit."""
        return Tape(
            self.position,
            tuple(self.preparations),
            tuple(self.operations),
            self.frame,
            analysed.angle_map(self.expressions),
            phase,
        )

    def _turn_phase(self, angle: Angle, factor: float = 1.0) -> None:
        """Turn the phase of the state by :math:`e^{-i f a / 2}`."""

    def _take(self, operation: Operation, bits: tuple[int, ...]) -> None:
        """Write down a step of the circuit."""
        self._append(operation, bits)

    def _append(self, operation: Operation, bits: tuple[int, ...]) -> None:
        kind = class_of(operation)
        letters = ROTATIONS.get(kind)
        if letters is not None and is_free(operation.params[0]):  # most of what there is
            self._settle_all(bits)
            angle = self._angle(operation.params[0])
            self._rotate(letters, bits, angle)
            if kind in PHASED:
                self._turn_phase(angle, -1.0)
            return
        if len(bits) == 1 and self._merge(operation, kind, bits[0]):
            return
        if kind not in _GATES and isinstance(operation, _PREPARE):
            self._prepare(operation, bits)
            return
        self._settle_all(bits)
        if kind in CLIFFORDS:
            self._clifford(kind, bits)
        elif letters is not None:
            self._rotate(letters, bits, self._angle(operation.params[0]))
        elif kind in EULER:
            theta, phi, lam = (
                Angle(offset=np.pi / 2) if place is None else self._angle(operation.params[place])
                for place in EULER[kind]
            )
            for letter, angle in (("Z", lam), ("Y", theta), ("Z", phi)):
                self._rotate(letter, bits, angle)
            self._turn_phase(phi, -1.0)
            self._turn_phase(lam, -1.0)
        elif isinstance(operation, TIMED):
            self._evolve(operation, bits)
        elif isinstance(operation, GlobalPhaseGate):
            self._turn_phase(self._angle(operation.params[0]), -2.0)
        elif isinstance(operation, UnitaryGate):
            self.apply_frame()
            matrix = np.asarray(operation.to_matrix(), dtype=complex)
            self.operations.append(FixedMatrix(bits, matrix))
        else:
            raise opaque_error(operation)

    def _merge(self, operation: Operation, kind: type[Operation], bit: int) -> bool:
        """Multiply a fixed gate on one qubit with its neighbours before it is looked at."""
        if kind in CLIFFORDS:
            matrix = _matrix_of_kind(cast(Hashable, kind))
        elif any(map(is_free, operation.params)) or (
            kind not in _GATES and isinstance(operation, (*TIMED, *_PREPARE))
        ):
            return False
        else:
            matrix = np.asarray(operation.to_matrix(), dtype=complex)
        before = self.pending.get(bit)
        self.pending[bit] = matrix if before is None else matrix @ before
        return True

    def _settle_all(self, bits: tuple[int, ...]) -> None:
        """Make bits ready for an operation on all of them."""
        self.touched.update(bits)
        for bit in bits if self.pending else ():
            if bit in self.pending:
                self._settle(bit)

    def _settle(self, bit: int) -> None:
        """Write down the fixed gates that have been merged on one bit."""
        self.touched.add(bit)
        matrix = self.pending.pop(bit).tobytes()
        for letter, turns, angle in _turns_of(matrix):
            if turns is None:
                self._rotate(letter, (bit,), Angle(offset=angle))
            else:
                self._turn((letter, turns), (bit,))
        if self.follows_phase:
            self._turn_phase(Angle(offset=_phase_angle_of(matrix)))

    def _angle(self, angle: ParameterExpression | float) -> Angle:
        if not is_free(angle):
            return Angle(offset=float(angle))
        self.expressions.append(angle)
        return Angle(0.0, ((len(self.expressions) - 1, 1.0),))

    def _rotate(self, letters: str, bits: tuple[int, ...], angle: Angle) -> None:
        if angle.is_fixed:
            turns = count_quarter_turns(angle.offset)
            if turns is not None:
                self._turn((letters, turns), bits)
                self._turn_phase(Angle(offset=angle.offset - turns * np.pi / 2))
                return
        pauli = self.frame.conjugate(_string(letters, bits))
        self.operations.append(Rotation(pauli, angle))

    def _turn(self, turn: Turn, bits: tuple[int, ...]) -> None:
        if turn[1]:
            self.frame.append_rotation(_string(turn[0], bits), turn[1])
            self.absorbed.append(((turn,), bits))

    def _clifford(self, kind: type[Operation], bits: tuple[int, ...]) -> None:
        if kind is CXGate:
            self.frame.append_cx(*bits)
        elif kind is CZGate:
            self.frame.append_cz(*bits)
        else:
            for turn in CLIFFORDS[kind]:
                self._turn(turn, bits)
            return
        self.absorbed.append((CLIFFORDS[kind], bits))

    def _evolve(self, operation: Operation, bits: tuple[int, ...]) -> None:
        time = self._angle(operation.params[0])
        turns = expand_evolution(cast("Any", operation))  # one of those that TIMED names
        assert turns is not None
        for letters, places, factor in turns:
            if letters:
                self._rotate(letters, tuple([bits[q] for q in places]), NO_ANGLE.plus(time, factor))
            else:
                self._turn_phase(time, factor)

    def _prepare(self, operation: Operation, bits: tuple[int, ...]) -> None:
        if isinstance(operation, AmplitudePreparation):  # first on its qubits, which is checked
            self.touched.update(bits)
            numbers = tuple([self._angle(number) for number in operation.params])
            self.preparations.append(Preparation(bits, _NO_AMPLITUDES, numbers))
            return
        amplitudes = find_prepared_amplitudes(operation)
        fresh = not self.touched.intersection(bits) and not any(b in self.pending for b in bits)
        if not fresh and isinstance(operation, StatePreparation):
            by_gates = flatten((operation, bits), _accepts_gates, phases=self.follows_phase)
            for inner, places in by_gates:
                self._append(inner, places)
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
        self._settle_all(tuple(self.pending))
        for turns, bits in self.absorbed:
            self.operations += [
                Rotation(_string(letters, bits), Angle(offset=count * np.pi / 2))
                for letters, count in turns
            ]
        self.absorbed = []
        self.frame = CliffordFrame(self.frame.num_bits)

    def turn(self, bit: int, axis: str) -> None:
        """Turn an axis to Z, and back in the frame."""
        if axis == "Z":
            return
        about, turns = make_pauli_string("Y", [bit]), 3
        if axis == "Y":
            about, turns = make_pauli_string("X", [bit]), 1
        self.operations.append(Rotation(about, Angle(offset=turns * np.pi / 2)))
        self.frame.append_rotation(about, -turns)


class _PlacedBuilder(TapeBuilder):
    """Writes a tape that leaves every gate on its own qubits: swaps move names, not states.

    What reads such tapes takes no amplitudes that are parameters.
    """

    def __init__(self, steps: Iterable[Step]) -> None:
        self._bit_of: dict[int, int] = {}
        super().__init__(steps)

    @override
    def write(self, analysed: AnalysedCircuit, phase: Angle = NO_ANGLE) -> Tape:
        self.position = {q: self._bit_of.get(bit, bit) for q, bit in self.position.items()}
        return super().write(analysed, phase)

    @override
    def _take(self, operation: Operation, bits: tuple[int, ...]) -> None:
        places = tuple([self._bit_of.get(bit, bit) for bit in bits])
        if class_of(operation) is SwapGate:
            self._bit_of.update(zip(bits, reversed(places), strict=True))
            self.touched.update(places)
        else:
            self._append(operation, places)

    @override
    def _prepare(self, operation: Operation, bits: tuple[int, ...]) -> None:
        if isinstance(operation, AmplitudePreparation):
            raise CircuitError(
                "The circuit prepares amplitudes that are parameters, which the state vector alone "
                "takes. Use Exact(method='statevector')."
            )
        super()._prepare(operation, bits)

    @override
    def _turn(self, turn: Turn, bits: tuple[int, ...]) -> None:
        letters, count = turn
        if count:
            self.operations.append(
                Rotation(_string(letters, bits), Angle(offset=count * np.pi / 2))
            )

    @override
    def _clifford(self, kind: type[Operation], bits: tuple[int, ...]) -> None:
        for turn in CLIFFORDS[kind]:
            self._turn(turn, bits)


_PREPARE = (Initialize, StatePreparation, AmplitudePreparation)
_GATES = frozenset((*CLIFFORDS, *ROTATIONS, *EULER))


_string = functools.lru_cache(maxsize=4096)(make_pauli_string)


@functools.cache
def _matrix_of_kind(kind: Any) -> ComplexArray:
    """Return the matrix of a gate without angles."""
    return np.asarray(kind().to_matrix(), dtype=complex)


@functools.lru_cache(maxsize=4096)
def _phase_angle_of(matrix: bytes) -> float:
    """Return the angle of the phase that a matrix has beside its rotations."""
    rest = np.frombuffer(matrix, dtype=complex).reshape(2, 2)
    for letter, turns, angle in reversed(_turns_of(matrix)):
        half = (angle if turns is None else turns * np.pi / 2) / 2
        pauli = np.array([[0, -1j], [1j, 0]]) if letter == "Y" else np.diag([1, -1])
        rest = (np.cos(half) * np.eye(2) + 1j * np.sin(half) * pauli) @ rest
    return -2 * float(np.angle(np.trace(rest)))


@functools.lru_cache(maxsize=4096)
def _turns_of(matrix: bytes) -> tuple[tuple[str, int | None, float], ...]:
    """Return a matrix as rotations in turn: letter, quarter turns if it is whole ones, angle."""
    theta, phi, lam = find_euler_angles(np.frombuffer(matrix, dtype=complex).reshape(2, 2))
    angles = (("Z", lam), ("Y", theta), ("Z", phi))
    turns = ((letter, count_quarter_turns(angle), angle) for letter, angle in angles)
    return tuple(turn for turn in turns if turn[1] != 0)
