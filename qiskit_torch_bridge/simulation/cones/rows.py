# SPDX-License-Identifier: Apache-2.0
"""The members of a class of light cones as rows of one simulator, and where their angles are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse
from numpy.typing import DTypeLike
from qiskit.circuit import Parameter
from qiskit.quantum_info import PauliList, SparsePauliOp

from ...arrays import FloatArray
from ...program import AnalysedCircuit
from ...program.angle_map import AngleMap
from ..statevector import StatevectorSimulator
from ..statevector.pauli_sums import compile_sums
from ..statevector.readouts import CompiledReadout
from ..tape.compile_tape import Tape
from ..tape.operations import Angle, FixedMatrix, Rotation
from ..tape.paulis import CliffordFrame, PauliString
from .angles import Contents
from .classes import ConeClass


class Slots(NamedTuple):
    """The angles of one class as columns of what its simulator takes.

    Attributes:
        slopes: Of the ``S`` columns of each of ``M`` members in ``C`` inputs and weights,
            ``(M * S, C)``, and
        offsets: constants, ``(M * S,)``.
        num_inputs: How many of the columns, the first ones, depend on inputs alone; all others are
            given as weights.
    """

    slopes: scipy.sparse.csr_array
    offsets: FloatArray
    num_inputs: int


def lay_out_rows(
    cone_class: ConeClass, contents: Contents, num_inputs: int
) -> tuple[Slots, tuple[Rotation | FixedMatrix, ...]]:
    """Return the columns of a class, and its operations with angles that are these.

    Angles that are the same in all members, or opposite, are one column; what is the same number
    whatever the inputs and weights are is none.

    Args:
        cone_class: The class.
        contents: The angles of the tape.
        num_inputs: How many of the columns that angles depend on are inputs.
    """
    starts = contents.slopes.indptr
    fixed = np.diff(starts) == 0
    reads_weights = np.zeros(len(fixed), dtype=bool)
    at = np.repeat(np.arange(len(fixed)), np.diff(starts))
    reads_weights[at[contents.slopes.indices >= num_inputs]] = True
    angles, signs = cone_class.angles, cone_class.signs
    relative = signs * signs[:1]
    same = fixed[angles] & (angles == angles[:1]) & (relative == 1)
    constant = np.logical_and.reduce(same, axis=0)
    by_weights = np.logical_or.reduce(reads_weights[angles], axis=0)
    known: dict[tuple[bool, bytes, bytes], list[int]] = {}
    for j, operation in enumerate(cone_class.operations):
        if isinstance(operation, Rotation) and not constant[j]:
            key = (bool(by_weights[j]), angles[:, j].tobytes(), relative[:, j].tobytes())
            known.setdefault(key, []).append(j)
    columns = sorted(known, key=lambda key: key[0])
    column_of = {j: c for c, key in enumerate(columns) for j in known[key]}
    chosen = [known[key][0] for key in columns]
    which, own = angles[:, chosen].ravel(), relative[:, chosen].ravel()
    scale = scipy.sparse.diags_array(own.astype(float))
    slots = Slots(
        scipy.sparse.csr_array(scale @ contents.slopes[which]) if len(which) else
        scipy.sparse.csr_array((0, contents.slopes.shape[1])),
        own * contents.offsets[which],
        sum(not key[0] for key in columns),
    )  # fmt: skip
    operations: list[Rotation | FixedMatrix] = []
    for j, operation in enumerate(cone_class.operations):
        if isinstance(operation, Rotation):
            sign = float(signs[0, j])
            angle = Angle(0.0, ((column_of[j], sign),)) if j in column_of else Angle(
                sign * float(contents.offsets[angles[0, j]])
            )  # fmt: skip
            operation = Rotation(operation.pauli, angle)
        operations.append(operation)
    return slots, tuple(operations)


def make_row_simulator(
    cone_class: ConeClass,
    operations: Sequence[Rotation | FixedMatrix],
    slots: Slots,
    analysed: AnalysedCircuit,
    dtype: DTypeLike,
) -> StatevectorSimulator:
    """Return the simulator of a class, of which members are rows and slots are columns."""
    count = slots.slopes.shape[0] // len(cone_class.angles)
    parameters = _take_parameters(count)
    tape = Tape(
        {bit: bit for bit in range(cone_class.num_bits)},
        cone_class.preparations,
        tuple(operations),
        CliffordFrame(cone_class.num_bits),
        AngleMap(parameters, parameters),
    )
    observables = [_as_operator(terms, cone_class.num_bits) for terms in cone_class.observables]
    compiled = CompiledReadout(tape, compile_sums(observables, tape))
    first = slots.num_inputs
    return StatevectorSimulator.of_tape(
        compiled, len(observables), analysed, range(first), range(first, count), dtype
    )


def _as_operator(terms: Sequence[tuple[PauliString, float]], num_bits: int) -> SparsePauliOp:
    """Return a sum of strings as Qiskit has it."""
    shifts = np.arange(max(num_bits, 1))
    x, z = (
        (np.array([s[side] for s, _ in terms], dtype=np.int64)[:, None] >> shifts & 1).astype(bool)
        for side in (0, 1)
    )
    return SparsePauliOp(PauliList.from_symplectic(z, x), [c for _, c in terms])


_parameters: list[Parameter] = []


def _take_parameters(count: int) -> list[Parameter]:
    """Return so many parameters: making one takes longer than all else about it."""
    while len(_parameters) < count:
        _parameters.append(Parameter(f"angle {len(_parameters)}"))
    return _parameters[:count]
