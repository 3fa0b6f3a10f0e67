# SPDX-License-Identifier: Apache-2.0
r"""A circuit compiled with the phase of its state, and where each of its amplitudes is found.

Amplitudes need what other readouts do not ask for. Global phases are followed, those of gates and
definitions included: they add up to one angle, which may depend on parameters. And the frame holds
only gates that take basis states to basis states:

.. math:: F|i\rangle = i^{p_i}\,|\ell_i\rangle .

With the strings :math:`F^\dagger X_q F = i^k X^x Z^z` it follows from one of the basis states what
the frame makes of all others: :math:`\ell_{i \oplus x} = \ell_i \oplus e_q` and
:math:`p_{i \oplus x} = p_i - k - 2|i \wedge z|`. Other Clifford gates, such as H, are rotations on
the tape.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from qiskit.circuit import Operation
from qiskit.circuit.library import CXGate, CYGate, GlobalPhaseGate, SwapGate
from typing_extensions import override

from ...arrays import IntArray
from ...program import AnalysedCircuit
from ...program.definitions import Step, global_phases_of
from ..tape.compile_tape import Tape, TapeBuilder
from ..tape.compress import Compression
from ..tape.operations import CLIFFORDS, Angle, Rotation, Turn
from ..tape.paulis import CliffordFrame, PauliString, make_pauli_string
from .kernels.tables import Outputs


def compile_tape_with_phase(analysed: AnalysedCircuit) -> Tape:
    """Compile a circuit so that its amplitudes can be read, phases included.

    Raises:
        CircuitError: If an operation cannot be simulated exactly; it is named.
    """
    phases = [(GlobalPhaseGate(p), ()) for p in global_phases_of(analysed.circuit)]
    builder = _PhaseBuilder([*analysed.steps, *phases])
    return builder.write(analysed, builder.phase)


def locate_amplitudes(
    frame: CliffordFrame, bits: Sequence[int | None], compression: Compression | None = None
) -> Outputs:
    """Return which basis state each amplitude is found at, and its power of i.

    Args:
        frame: The frame of :func:`compile_tape_with_phase`.
        bits: The bit of the state that is each bit of an amplitude's index; ``None`` for a qubit
            that stays in state zero. The bits left out are zero.
        compression: How basis states are numbered; those that are not reached are not found.
    """
    states, powers = np.array([_origin(frame)], dtype=np.int64), np.zeros(1, dtype=np.int64)
    for bit in bits:
        if bit is None:
            states = np.concatenate([states, np.full_like(states, -1)])
            powers = np.concatenate([powers, powers])
            continue
        x, z, k = frame.of_x[bit]
        odd = np.bitwise_count(states & z).astype(np.int64) & 1
        states = np.concatenate([states, np.where(states < 0, states, states ^ x)])
        powers = np.concatenate([powers, (powers - k - 2 * odd) & 3])
    if compression is not None:
        states = compression.states(states)
    found = states >= 0
    starts: IntArray = np.concatenate([[0], np.cumsum(found)])
    return Outputs(starts, states[found], powers[found])


def _origin(frame: CliffordFrame) -> int:
    """Return the basis state of which the frame makes zeros."""
    found = 0
    for of_x, of_z in zip(frame.of_x, frame.of_z, strict=True):
        if of_z.k // 2:  # from zeros, this bit comes out as one
            found ^= of_x.x
    return found


class _PhaseBuilder(TapeBuilder):
    """Writes a tape, follows the phase and keeps to gates that permute basis states in the frame.

    Phases are written as angles :math:`a` of :math:`e^{-ia/2}`.
    """

    follows_phase = True

    def __init__(self, steps: Iterable[Step]) -> None:
        self._phase = Angle()
        self._of_origin = 0.0  # what the frame makes of its origin: zeros with this phase
        self._of_rotations = 0.0  # the phase of the frame's gates beside their rotations
        super().__init__(steps)

    @property
    def phase(self) -> Angle:
        """The angle of the phase; zero if there is none."""
        offset = math.remainder(self._phase.offset + self._of_origin, 4 * math.pi)
        return self._phase._replace(offset=offset if abs(offset) > 1e-15 else 0.0)

    @override
    def _turn_phase(self, angle: Angle, factor: float = 1.0) -> None:
        self._phase = self._phase.plus(angle, factor)

    @override
    def _turn(self, turn: Turn, bits: tuple[int, ...]) -> None:
        letters, count = turn
        pauli = make_pauli_string(letters, bits)
        if not pauli.x:
            self._of_origin += count * math.pi / 2
        elif count % 2:
            image = self.frame.conjugate(pauli)
            self.operations.append(Rotation(image, Angle(offset=count * math.pi / 2)))
            return
        elif count:  # half a turn is -i times the string
            shift = self.frame.conjugate(PauliString(pauli.x, 0))
            signs = (pauli.x & pauli.z).bit_count() + (_origin(self.frame) & shift.z).bit_count()
            self._of_origin -= (pauli.k - shift.k - 1 + 2 * signs) * math.pi
        super()._turn(turn, bits)

    @override
    def _clifford(self, kind: type[Operation], bits: tuple[int, ...]) -> None:
        if kind is SwapGate:
            for pair in (bits, bits[::-1], bits):
                self._clifford(CXGate, pair)
        elif kind is CYGate:
            self._turn(("Z", 3), bits[1:])
            self._clifford(CXGate, bits)
            self._turn(("Z", 1), bits[1:])
            self._turn_phase(Angle(2 * math.pi))  # a whole turn is -1
        else:
            super()._clifford(kind, bits)
            # On a state that all of its rotations leave alone but for a phase, CX or CZ is one.
            self._of_rotations -= sum(count for _, count in CLIFFORDS[kind]) * math.pi / 2

    @override
    def apply_frame(self) -> None:
        super().apply_frame()
        self._turn_phase(Angle(self._of_rotations))
        self._of_origin = self._of_rotations = 0.0
