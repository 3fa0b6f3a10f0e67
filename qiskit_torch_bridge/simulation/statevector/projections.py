# SPDX-License-Identifier: Apache-2.0
r"""Products of projectors on a state, as walks over the amplitudes that they leave.

In the frame of a tape a projector on one qubit is :math:`(1 \pm S)/2` with a Pauli string
:math:`S`. A product of :math:`f` of them projects on a space that the strings' products fix, of
which those without X hold the index of the state to a subspace. The others connect its elements,
:math:`2^r` at a time; in each such orbit one vector of the space is left, with one of
:math:`1, i, -1, -i` for each element:

.. math:: \Pi|\psi\rangle = 2^{-r} \sum_{\text{orbits}} |v\rangle\langle v|\psi\rangle, \qquad
    v_{i \oplus x_j} = \pm i^{k_j} (-1)^{|i \wedge z_j|} v_i.

So a term costs :math:`2^{n-f+r}` amplitudes, of which :math:`2^{n-f}` are orbits: one, if it is a
basis state, and never more than the state has. Strings multiplied to the projectors
commute with them, and act on what is left.

Terms with the same letters differ in their signs alone. They share a *view*: which strings have
been multiplied together, and the directions of subspace and orbits.

Reference: D. Gottesman, arXiv:quant-ph/9705052, on the spaces that commuting Pauli strings fix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...arrays import FloatArray, IntArray
from ...program.operators import ProductOperator
from ..tape.compress import Compression
from ..tape.paulis import CliffordFrame, PauliString, make_pauli_string
from .kernels.tables import DIRECTION, TERM, VIEW, Projections

_Row = tuple[PauliString, int]
"""A string, and of which of the projectors' strings it is the product, as bits."""

_NONE = Projections(*(np.zeros(0, dtype) for dtype in (VIEW, DIRECTION, TERM, float)))


def find_projected_masks(operator: ProductOperator, frame: CliffordFrame) -> IntArray:
    """Return the masks ``x`` and ``z`` of all strings that products depend on, shape ``(K, 2)``."""
    if not len(operator):
        return np.zeros((0, 2), dtype=np.int64)
    x, z, _ = frame.conjugate_terms(*_multiplied(operator, frame.num_bits))
    axes = np.where(operator.projected, operator.letters & 3, 0)
    letters = [(q, axis) for axis in (1, 2, 3) for q in np.flatnonzero((axes == axis).any(axis=0))]
    strings = [frame.conjugate(make_pauli_string("IZXY"[axis], [int(q)])) for q, axis in letters]
    return np.concatenate([np.stack([x, z], axis=1), np.array([s[:2] for s in strings])])


def _multiplied(operator: ProductOperator, num_bits: int) -> tuple[IntArray, IntArray]:
    """Return the masks of the strings that are multiplied to the projectors."""
    bits = np.int64(1) << np.arange(num_bits, dtype=np.int64)
    x, z = ((table & ~operator.projected) @ bits for table in (operator.x, operator.z))
    return x, z


def compile_projections(
    operator: ProductOperator,
    owners: IntArray,
    frame: CliffordFrame,
    compression: Compression | None,
) -> Projections:
    """Conjugate products of projectors by a frame, and find what they leave of the index.

    Args:
        operator: All products, on the bits of the tape.
        owners: The observable that each belongs to, shape ``(K,)``.
        frame: The tape's frame.
        compression: The tape's, which reaches the states of :func:`find_projected_masks`.
    """
    if not len(operator):
        return _NONE
    projected = operator.projected
    axes = np.where(projected, operator.letters & 3, 0)
    _, first, view_of = np.unique(axes, axis=0, return_index=True, return_inverse=True)
    x, z, k = frame.conjugate_terms(*_multiplied(operator, frame.num_bits))
    if compression is not None:
        x, z, k, _ = compression.strings(x, z, k)
    num_bits = frame.num_bits if compression is None else compression.num_bits
    coefficients = np.asarray(operator.coeffs, dtype=complex)
    views: list[tuple[int, int, int]] = []
    directions: list[PauliString] = []
    terms: list[IntArray] = []
    strengths: list[FloatArray] = []
    for number, example in enumerate(first.tolist()):
        mine = np.flatnonzero(view_of.ravel() == number)
        where = np.flatnonzero(projected[example])
        letters = [(q, "IZXY"[axes[example, q]]) for q in where.tolist()]
        strings = [frame.conjugate(make_pauli_string(letter, [q])) for q, letter in letters]
        if compression is not None:
            strings = [s for string in strings if (s := compression.string(string)) is not None]
        view = _View(strings, num_bits)
        mine = mine[view.leaves_any(operator.negative[np.ix_(mine, where)])]
        start, middle = len(directions), len(directions) + len(view.between)
        directions += [*(PauliString(v, 0) for v in view.between), *view.connecting]
        views.append((start, middle, len(directions)))
        offsets, signs = view.of(operator.negative[np.ix_(mine, where)])
        for part, turn in ((coefficients.real, 0), (coefficients.imag, 1)):
            some = np.flatnonzero(part[mine])
            at = mine[some]
            columns = [
                np.full_like(at, number), offsets[some], signs[some], x[at], z[at],
                (k[at] + turn) % 4, owners[at],
            ]  # fmt: skip
            terms.append(np.stack(columns, axis=1))
            strengths.append(part[at] / (1 << len(view.connecting)))
    return Projections(
        np.array(views, dtype=VIEW),
        np.array([tuple(d) for d in directions], dtype=DIRECTION),
        np.concatenate(terms).view(TERM)[:, 0],
        np.concatenate(strengths),
    )


def are_connected(projections: Projections) -> bool:
    """Whether any orbit has more than one element."""
    return bool((projections.views["stop"] > projections.views["middle"]).any())


def count_amplitudes(projections: Projections) -> float:
    """Return how many amplitudes all terms look at."""
    views = projections.views[projections.terms["view_at"]]
    return float(np.exp2(views["stop"] - views["start"]).sum())


class _View:
    """What commuting strings leave of the index, whatever their signs."""

    def __init__(self, strings: Sequence[PauliString], num_bits: int) -> None:
        connecting: list[_Row] = []
        given = ((string, 1 << number) for number, string in enumerate(strings))
        fixing = [left for row in given if (left := _insert(connecting, row, 0))]
        self.connecting = [string for string, _ in connecting]
        self._of_connecting = [product for _, product in connecting]
        rows: list[_Row] = []
        self._identities = [left for row in fixing if (left := _insert(rows, row, 1))]
        self._rows = rows
        pivots = sum(_top(row.z) for row, _ in rows)
        kernel = [
            1 << b | sum(_top(row.z) for row, _ in rows if row.z >> b & 1)
            for b in range(num_bits)
            if not pivots >> b & 1
        ]
        taken = [string.x for string in self.connecting]
        #: Directions that lead from orbit to orbit.
        self.between: list[int] = []
        echelon: dict[int, int] = {}
        for vector in [*taken, *kernel]:
            rest = vector
            while rest and _top(rest) in echelon:
                rest ^= echelon[_top(rest)]
            if rest:
                echelon[_top(rest)] = rest
                if len(echelon) > len(taken):
                    self.between.append(rest)

    def leaves_any(self, negative: Any) -> NDArray[np.bool_]:
        """Whether projectors with such signs ``(T, f)`` leave anything of the space.

        Where a product of the strings is the identity, its sign must be the product of theirs: on
        fewer bits for a symmetry of the state, nothing is left of an outcome that it rules out.
        """
        words, found = _words(negative), np.ones(len(negative), dtype=bool)
        for string, product in self._identities:
            found &= (np.bitwise_count(words & product).astype(np.int64) + string.k // 2) % 2 == 0
        return found

    def of(self, negative: Any) -> tuple[IntArray, IntArray]:
        """Return elements and signs for projectors on -1 at some strings, ``(T, f)``."""
        words = _words(negative)
        offsets, signs = np.zeros_like(words), np.zeros_like(words)
        for row, product in self._rows:
            # (-1)**|i & z| i**k is to be the product of the signs.
            odd = (np.bitwise_count(words & product).astype(np.int64) + row.k // 2) & 1
            offsets |= odd * _top(row.z)
        for j, product in enumerate(self._of_connecting):
            signs |= (np.bitwise_count(words & product).astype(np.int64) & 1) << j
        return offsets, signs


def _words(negative: Any) -> IntArray:
    """Return signs ``(T, f)`` as the bits of integers."""
    bits = np.int64(1) << np.arange(negative.shape[1], dtype=np.int64)
    words: IntArray = negative.astype(np.int64) @ bits
    return words


def _insert(rows: list[_Row], row: _Row, axis: int) -> _Row | None:
    """Add a row to others, none of which has the highest bit of another one's mask on the axis.

    A row of which no mask is left there is returned instead.
    """
    string, product = row
    for other, its in rows:
        if string[axis] & _top(other[axis]):
            string, product = string * other, product ^ its
    highest = _top(string[axis])
    if not highest:
        return string, product
    rows[:] = [
        (other * string, its ^ product) if other[axis] & highest else (other, its)
        for other, its in rows
    ]
    rows.append((string, product))
    return None


def _top(number: int) -> int:
    """Return the highest bit of a number by itself."""
    return 1 << number.bit_length() >> 1
