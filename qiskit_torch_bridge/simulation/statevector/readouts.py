# SPDX-License-Identifier: Apache-2.0
r"""What is read of a state, in the form that the kernels take, with the tape that suits it.

Clifford gates are not applied to states but absorbed into a frame :math:`F`, so that the circuit's
state is :math:`F|\varphi\rangle`. Observables are conjugated by the frame. Outcomes are told by
the products :math:`F^\dagger Z_q F` of the measured qubits: where these contain X, as few rotations
as there are independent ones turn all of them to products of Z. Each basis state of
:math:`|\varphi\rangle` then belongs to one outcome, whose bits are parities of its index.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse

from ... import memory
from ...arrays import IntArray
from ...program import AnalysedCircuit
from ...program.readouts import Amplitudes, Expectations, Interpretation, Outcomes, Readout
from ..tape.axes import turn_axes
from ..tape.compile_tape import Tape, compile_tape
from ..tape.effective import merge_rotations
from ..tape.operations import Angle, Rotation
from ..tape.paulis import PauliString, diagonalise
from ..tape.reduce import WIDEST, reduce_tape
from .kernels.tables import Outputs
from .pauli_sums import PauliSums, Require, compile_both, compile_sums
from .phases import compile_tape_with_phase, locate_amplitudes

_NO_INDICES = np.zeros(0, dtype=np.int64)
NO_OUTPUTS = Outputs(_NO_INDICES, _NO_INDICES, _NO_INDICES)


@dataclass(frozen=True)
class CompiledReadout:
    """A circuit's tape, and what is read of its state.

    Attributes:
        tape: The circuit.
        sums: The observables; none if it is basis states that are read.
        outputs: The basis states of each output; none if it is observables.
        closing: Rotations that follow the tape.
        is_whole: Whether nothing but the outputs is left of the state, whatever the values are.
    """

    tape: Tape
    sums: PauliSums
    outputs: Outputs = NO_OUTPUTS
    closing: tuple[Rotation, ...] = ()
    is_whole: bool = True

    @property
    def work(self) -> float:
        """What reading costs, in states that are passed over."""
        return self.sums.work + 2 * bool(len(self.outputs.states))


@functools.singledispatch
def compile_readout(
    readout: Readout | None,
    analysed: AnalysedCircuit,
    itemsize: int = 16,
    require: Require = memory.require,
) -> CompiledReadout:
    """Compile a circuit and what is read of it; with ``None`` states are prepared only.

    Args:
        readout: What is read.
        analysed: The circuit.
        itemsize: The bytes that an amplitude will take.
        require: Raises unless so many bytes are there for states of so many qubits: where the
            states will be, which need not be here.

    Raises:
        CircuitError: If the circuit cannot be simulated exactly.
        MemoryLimitError: If ket and bra, or what is read of them, do not fit into memory.
    """
    raise TypeError(f"The state vector cannot be read as {type(readout).__name__}.")


@compile_readout.register
def _(
    readout: None,
    analysed: AnalysedCircuit,
    itemsize: int = 16,
    require: Require = memory.require,
) -> CompiledReadout:
    tape = compile_tape(analysed, in_full=True)
    require(2 * itemsize << tape.num_bits, tape.num_bits)
    tape = dataclasses.replace(tape, operations=tuple(merge_rotations(tape.operations)))
    return CompiledReadout(tape, compile_sums((), tape))


@compile_readout.register
def _(
    readout: Expectations,
    analysed: AnalysedCircuit,
    itemsize: int = 16,
    require: Require = memory.require,
) -> CompiledReadout:
    return CompiledReadout(*compile_both(analysed, readout.operators, itemsize, require))


@compile_readout.register
def _(
    readout: Outcomes,
    analysed: AnalysedCircuit,
    itemsize: int = 16,
    require: Require = memory.require,
) -> CompiledReadout:
    memory.require_outputs(1, readout.size)
    tape = compile_tape(analysed)
    if tape.num_bits > WIDEST:
        require(2 * itemsize << tape.num_bits, tape.num_bits)
    bits = [tape.position.get(q) for q in readout.qubits]
    measured = [PauliString(0, 0 if bit is None else 1 << bit) for bit in bits]
    strings = [tape.frame.conjugate(string) for string in measured]
    masks = np.array([string[:2] for string in strings], dtype=np.int64).reshape(-1, 2)
    turns, diagonal = diagonalise(strings)
    tape = reduce_tape(tape, masks, [about.x for about in turns])
    require(2 * itemsize << tape.num_bits, tape.num_bits)
    if tape.compression is not None:
        strings, turns, diagonal = (
            [s for string in some if (s := tape.compression.string(string)) is not None]
            for some in (strings, turns, diagonal)
        )
    tape, frame = turn_axes(tape, np.array([s[:2] for s in strings], dtype=np.int64).reshape(-1, 2))
    if frame is not None:
        turns, diagonal = diagonalise([frame.conjugate(string) for string in strings])
    labels = _label_states(diagonal, readout.interpretation, tape.num_bits)
    return CompiledReadout(
        tape,
        compile_sums((), tape),
        _sort_states(labels, readout.size),
        tuple(Rotation(about, Angle(offset=np.pi / 2)) for about in turns),
    )


@compile_readout.register
def _(
    readout: Amplitudes,
    analysed: AnalysedCircuit,
    itemsize: int = 16,
    require: Require = memory.require,
) -> CompiledReadout:
    memory.require_outputs(1, readout.size)
    tape = compile_tape_with_phase(analysed)
    if tape.num_bits > WIDEST:
        require(2 * itemsize << tape.num_bits, tape.num_bits)
    tape = reduce_tape(tape, None)
    require(2 * itemsize << tape.num_bits, tape.num_bits)
    bits = [tape.position.get(q) for q in readout.qubits]
    memory.require(40 << len(bits), tape.num_bits)
    outputs = locate_amplitudes(tape.frame, bits, tape.compression)
    return CompiledReadout(
        tape,
        compile_sums((), tape),
        outputs,
        closing=(Rotation(PauliString(0, 0), tape.phase),) if tape.phase != Angle() else (),
        is_whole=len(outputs.states) == 1 << tape.num_bits,
    )


def _label_states(
    strings: Sequence[PauliString], interpretation: Interpretation | None, num_bits: int
) -> IntArray:
    """Return the output that each basis state counts for, ``(2**n,)``.

    Args:
        strings: Products of Z; the eigenvalue of the ``j``-th one gives bit ``j`` of the outcome.
        interpretation: Which output each outcome counts for.
        num_bits: The number ``n`` of bits.
    """
    memory.require(24 << num_bits, num_bits)
    if interpretation is None or len(strings) <= num_bits:
        outcomes = _affine(strings, num_bits)
        return outcomes if interpretation is None else interpretation.table(len(strings))[outcomes]
    # Some qubits are in state zero: of all outcomes, few can occur.
    padding = -len(strings) % 8
    packed = [
        _affine(strings[first : first + 8], num_bits)
        for first in range(0, len(strings) + padding, 8)
    ]
    octets = np.stack(packed[::-1], axis=-1).astype(np.uint8)
    return np.asarray(interpretation.of_packed(octets, len(strings)), dtype=np.int64)


def _affine(strings: Sequence[PauliString], num_bits: int) -> IntArray:
    """Return for each index the number whose bits are the parities that strings ask for."""
    found = np.array([sum((s.k // 2) << j for j, s in enumerate(strings))], dtype=np.int64)
    for bit in range(num_bits):
        column = sum((s.z >> bit & 1) << j for j, s in enumerate(strings))
        found = np.concatenate([found, found ^ column])
    return found


def _sort_states(labels: IntArray, size: int) -> Outputs:
    """Return the basis states by the outputs that they count for."""
    count = len(labels)
    ones, rows = np.ones(count, dtype=np.int8), np.arange(count + 1)
    by_output = scipy.sparse.csr_array((ones, labels, rows), shape=(count, size)).tocsc()
    starts, states = (a.astype(np.int64) for a in (by_output.indptr, by_output.indices))
    return Outputs(starts, states, _NO_INDICES)
