# SPDX-License-Identifier: Apache-2.0
"""What Python and the compiled kernels agree on: numbers, and the tables that kernels read.

Tables are arrays of records, and go to the kernels together: an array of whole numbers and one of
floating numbers hold all that belongs to one layout, and two more what belongs to one program. A
call from Python pays for each argument, however small it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ....arrays import FloatArray, IntArray

LANES = 32
"""Numbers that a kernel handles side by side: a row of a block."""

DIAGONAL, X_LIKE, Y_LIKE, MATRIX = range(4)
"""Kinds of operations: rotations by their effect on a pair of amplitudes, and fixed matrices."""

FORWARD, ADJOINT, TANGENT, TANGENT_ADJOINT, STATE, TANGENT_STATE = range(6)
"""What a pass computes."""

FLUSH = 64
"""Blocks after which sums in the state's precision are added up in double precision."""

NEAR = 1 << 15
"""Numbers of a state up to which a core finds them near enough without asking for them ahead."""

PATIENCE = 1000
"""Looks at a barrier after which a thread lets others have its core."""

ARRIVALS, STOP = 0, 8
"""Where the signals of a pass have the arrivals at barriers, and whether to give the pass up.

They are a cache line apart: the one is written all the time, the other one only read."""

SIGNALS = 9
"""How many numbers the signals are."""


def _record(*fields: str) -> np.dtype[np.void]:
    return np.dtype([(field, np.int64) for field in fields], align=True)


RUN = _record(
    "dimension",  # of the subspace: a block has 2**dimension rows
    "first", "last",  # operations, from the first one to before the last
    "offsets_at",  # where its coset's offsets start
    "free",  # mask of the bits that tell the cosets apart
    "lanes_at",  # where its lanes start
    "has_lowest_lanes",  # whether the lanes are the lowest bits of the index
    "log_cosets",
)  # fmt: skip
"""Operations that act within the cosets of one subspace."""

OPERATION = _record(
    "kind",
    "within",  # mask of X and Y within the block
    "signs_at",  # where its signs start
    "z",  # mask of its signs
    "wanted",  # whether its derivative is
    "slot",  # its place among all rotations
    "sign",  # of the string
    "across",  # mask of the lanes' signs
    "matrix_at",  # where its matrix starts
)
"""A rotation or a fixed matrix."""

GROUP = _record("x", "start", "middle", "stop")
"""Terms with one mask ``x``: their entries, those with an odd number of Y from ``middle`` on."""

ENTRY = _record("z", "table_at")
"""Terms with one mask ``z`` of signs, or with a table of them: where it starts, else -1."""

VIEW = _record("start", "middle", "stop")
"""Directions of products of projectors, those within an orbit from ``middle`` on."""

DIRECTION = _record("x", "z", "k")
"""A Pauli string; from orbit to orbit only ``x`` counts."""

TERM = _record("view_at", "offset", "signs", "x", "z", "k", "observable")
"""One product: its view, an element of its subspace, the signs of the strings that connect its
orbits, and the string multiplied to it."""


class Layout(NamedTuple):
    """The schedule of one tape for one number ``T`` of rows side by side.

    Attributes:
        rows_t: The rows ``T`` of one chunk.
        dim: The numbers in one component of a vector, ``2**n * T``.
        runs: Shape ``(R,)`` of :data:`RUN`.
        coset_offsets: Elements of the runs' subspaces.
        lanes: Elements spanned by the runs' lanes.
        operations: Shape ``(G,)`` of :data:`OPERATION`.
        signs: For each operation the signs of the block's rows.
        matrices: Real and imaginary parts of all fixed matrices.
    """

    rows_t: int
    dim: int
    runs: Any
    coset_offsets: IntArray
    lanes: IntArray
    operations: Any
    signs: FloatArray
    matrices: FloatArray


class Sources(NamedTuple):
    """From which input or weight each rotation's angle comes: a sparse affine map by rows.

    Entry ``e`` of slot ``a``, ``starts[a] <= e < starts[a + 1]``, adds ``coefficients[e]`` times
    input ``columns[e]``, or weight ``columns[e] - I``, to ``offsets[a]``.
    """

    starts: IntArray
    columns: IntArray
    coefficients: FloatArray
    offsets: FloatArray


class PauliTables(NamedTuple):
    """Sums of Pauli strings.

    Attributes:
        groups: One :data:`GROUP` for each mask.
        entries: Each an :data:`ENTRY`, ``(E,)``.
        pointers: Where the targets of each entry start, shape ``(E + 1,)``.
        targets: Observables that entries contribute to.
        weights: With which coefficient.
        tables: Sums of signs, ``2**n`` numbers each.
    """

    groups: Any
    entries: Any
    pointers: IntArray
    targets: IntArray
    weights: FloatArray
    tables: FloatArray


class Projections(NamedTuple):
    """Products of projectors.

    Attributes:
        views: Each a :data:`VIEW`; terms with the same letters share one.
        directions: Each a :data:`DIRECTION`.
        terms: Each a :data:`TERM`.
        strengths: The terms' coefficients, ``2**-r`` included.
    """

    views: Any
    directions: Any
    terms: Any
    strengths: FloatArray


class Outputs(NamedTuple):
    """Which basis states of the state each output reads, output by output.

    Attributes:
        starts: Where those of each output start in the list of all, shape ``(S + 1,)``.
        states: Their indices, shape ``(N,)``; none if it is observables that are read.
        powers: The powers of i that amplitudes are multiplied by; none if it is probabilities.
    """

    starts: IntArray
    states: IntArray
    powers: IntArray


class Values(NamedTuple):
    """Inputs and weights of a whole batch, and their tangents."""

    x: FloatArray
    w: FloatArray
    dx: FloatArray
    dw: FloatArray


class Chunk(NamedTuple):
    """Rows of the batch that lie side by side: the first one, and how many there are."""

    begin: int
    rows: int


class Share(NamedTuple):
    """Which of how many threads this is, if they share chunks, and how they reach each other."""

    part: int
    parts: int
    signals: IntArray


class Gate(NamedTuple):
    """A rotation of one block.

    Attributes:
        kind: Of the operation.
        within: Mask of X and Y within the block.
        signs_at: Where the signs of its rows start.
        rows: The block's rows.
        at: Where the lanes of its angle, and of its derivative, start.
    """

    kind: int
    within: int
    signs_at: int
    rows: int
    at: int


def pack(numbers: Sequence[int], tables: Sequence[Any]) -> tuple[IntArray, FloatArray]:
    """Put numbers and tables into one array of whole numbers and one of floating numbers.

    The former begins with the numbers, and with the bounds of each table.
    """
    ints: list[IntArray] = []
    floats: list[FloatArray] = [np.zeros(0)]
    bounds: list[int] = []
    num_ints, num_floats = len(numbers) + 2 * len(tables), 0
    for table in tables:
        if table.dtype.kind == "f":
            floats.append(table)
            bounds += [num_floats, num_floats + len(table)]
            num_floats = bounds[-1]
        else:
            ints.append(np.ascontiguousarray(table).view(np.int64))
            bounds += [num_ints, num_ints + len(ints[-1])]
            num_ints = bounds[-1]
    header = np.array([*numbers, *bounds], dtype=np.int64)
    return np.concatenate([header, *ints]), np.concatenate(floats)
