# SPDX-License-Identifier: Apache-2.0
"""What Python and the kernels of the state vector agree on: numbers, and tables of records."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ....arrays import FloatArray, IntArray

DIAGONAL, X_LIKE, Y_LIKE, MATRIX, PHASES, GROUPED, ON_X, ON_Y, ON_Z, ON_NONE = range(10)
"""Kinds of operations: rotations by their effect on a pair of amplitudes, fixed matrices, groups of
diagonal rotations, which follow their group one by one, and rotations of a single bit that prepare
the initial state, by their letter; the last kind is a phase."""

FORWARD, ADJOINT, TANGENT, TANGENT_ADJOINT, STATE, TANGENT_STATE = range(6)
"""What a pass computes."""

FLUSH = 64
"""Blocks after which sums in the state's precision are added up in double precision."""

NEAR = 1 << 15
"""Numbers of a state up to which a core finds them near enough without asking for them ahead."""


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
    "within",  # mask of X and Y within the block; of signs there if it is in a group; its members;
    # the bit, where it is a single one
    "signs_at",  # where its signs start; of a group, the whole numbers of its sums
    "z",  # mask of its signs
    "wanted",  # whether its derivative is
    "slot",  # its place among all rotations
    "sign",  # of the string
    "across",  # mask of the lanes' signs; the largest sum of a group that looks its sums up, else 0
    "matrix_at",  # where its matrix starts; of such a group, the sines of its sums
    "shift",  # how far X and Y displace lanes
)
"""A rotation, a fixed matrix or a group."""

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
    r"""The schedule of one tape for one number ``T`` of rows side by side.

    Attributes:
        rows_t: The rows ``T`` of one chunk.
        dim: The numbers in one component of a vector, ``2**n * T``.
        swept: The operations that runs apply; those after them prepare the initial state, bit by
            bit.
        runs: Shape ``(R,)`` of :data:`RUN`.
        coset_offsets: Elements of the runs' subspaces.
        lanes: Elements spanned by the runs' lanes.
        operations: Shape ``(G,)`` of :data:`OPERATION`.
        signs: For each operation the signs of the block's rows.
        matrices: Real and imaginary parts of all fixed matrices.
        sums: For groups whose angles are multiples :math:`v_j` of the first one's, which of the
            sums :math:`s_i=\sum_j \pm v_j` from ``-largest`` in steps of 2 each amplitude has,
            in single bytes, ``2**n`` of them for each kind of group.
    """

    rows_t: int
    dim: int
    swept: int
    runs: Any
    coset_offsets: IntArray
    lanes: IntArray
    operations: Any
    signs: FloatArray
    matrices: FloatArray
    sums: IntArray


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


class Gate(NamedTuple):
    """A rotation of one block.

    Attributes:
        kind: Of the operation.
        within: Mask of X and Y within the block.
        signs_at: Where the signs of its rows start.
        rows: The block's rows.
        at: Where the lanes of its angle, and of its derivative, start.
        shift: How far it displaces lanes: it mixes lanes ``l`` and ``l ^ shift``.
    """

    kind: int
    within: int
    signs_at: int
    rows: int
    at: int
    shift: int


class Angles(NamedTuple):
    """What all blocks read of the rotations' angles for one chunk.

    Attributes:
        cosines: Of half of each angle, ``LANES`` for each operation.
        sines: Alike, with the sign of string and lane.
        tangents: Half of each angle's tangent, alike; empty without tangents.
        halves: Half of the angle of each rotation in a group, with its string's sign, in double
            precision: ``T`` for each operation.
        half_tangents: Half of their tangents, alike.
        uniform: For each group whether all rows have the same angles.
        of_sums: For each group that looks its sums up, cosine and sine of its first half angle
            times each of them: ``T`` pairs for each sum.
    """

    cosines: FloatArray
    sines: FloatArray
    tangents: FloatArray
    halves: FloatArray
    half_tangents: FloatArray
    uniform: IntArray
    of_sums: FloatArray


class Phases(NamedTuple):
    """Room for the phases of one piece of a block, in the state's precision unless it says else.

    Attributes:
        angles: In double precision, without the rows that are equal; then their sines.
        compact: Their cosines, alike.
        cosines: Lane by lane.
        sines: Lane by lane.
        tangents: Tangents of angles, lane by lane.
        products: Of bra and ket, and what a transform makes of them.
        sums: Of multiples of an angle, where they are looked up, lane by lane.
        pairs: Cosine and sine, lane by lane.
        double_signs: See :func:`.fill_signs`; in double precision.
        signs: Alike.
    """

    angles: FloatArray
    compact: FloatArray
    cosines: FloatArray
    sines: FloatArray
    tangents: FloatArray
    products: FloatArray
    sums: FloatArray
    pairs: FloatArray
    double_signs: FloatArray
    signs: FloatArray


class Factors(NamedTuple):
    """Room for a product state: the vector of each bit, and products of these.

    Complex numbers are components one after the other: real and imaginary parts, and then those of
    their tangents, if there are any; within each the ``T`` rows of the chunk are innermost.

    Attributes:
        low: The number of bits in the lower half.
        high: That in the upper half.
        numbers: Of one component of the vectors, two for each bit.
        stride: Of one component of the products.
        u: The vectors.
        beta: What the bra makes of all other bits, alike.
        p: For either half the products over its first bits, ever more of them.
    """

    low: int
    high: int
    numbers: int
    stride: int
    u: FloatArray
    beta: FloatArray
    p: FloatArray
