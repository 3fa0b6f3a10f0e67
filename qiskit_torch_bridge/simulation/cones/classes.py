# SPDX-License-Identifier: Apache-2.0
"""Classes of light cones that are equal but for names of qubits, signs and angles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse

from ...arrays import FloatArray, IntArray
from ..tape.compile_tape import NO_ANGLE
from ..tape.operations import FixedMatrix, Preparation, Rotation
from ..tape.paulis import PauliString
from .angles import Contents
from .compression import MAX_BITS, Coordinates
from .terms import Terms

FEW_NUMBERS = 1 << 22
"""Coefficients up to which terms are looked at that always come up in the same ratio."""


class Cone(NamedTuple):
    """A light cone in canonical order: numbers of preparations, operations, terms and qubits."""

    preparations: IntArray
    operations: IntArray
    terms: IntArray
    qubits: IntArray


class ConeClass(NamedTuple):
    """Light cones that are rows of one simulation.

    Attributes:
        num_bits: Of the state: at most one for each qubit. Beyond
            :data:`.compression.MAX_BITS` they were not counted.
        num_qubits: That the cone acts on.
        operations: ``S`` rotations with no angle yet, and matrices, on these bits.
        preparations: Amplitudes of bits that do not start in zero.
        observables: What is read: ``U`` sums of strings.
        angles: Which angle each operation has, for each of ``M`` members: ``(M, S)``.
        signs: The signs of the angles, ``(M, S)``.
        weights: What is read of all members contributes to the outputs, ``(M * U, O)``.
        members: How many cones there are, those with equal angles included.
        example: The number of one term.
    """

    num_bits: int
    num_qubits: int
    operations: tuple[Rotation | FixedMatrix, ...]
    preparations: tuple[Preparation, ...]
    observables: tuple[tuple[tuple[PauliString, float], ...], ...]
    angles: IntArray
    signs: IntArray
    weights: scipy.sparse.csr_array
    members: int
    example: int

    @property
    def num_strings(self) -> int:
        """How many strings are read."""
        return len({string for observable in self.observables for string, _ in observable})


class Form:
    """A cone on the bits that its state needs.

    Args:
        preparations: In the order of their canonical form, as
        operations: and
        terms: and
        qubits: are.

    Attributes:
        space: The coordinates of basis states.
        operations: Rotations without signs and angles, and matrices, in coordinates.
        signs: Those that the rotations' strings have there.
        preparations: Amplitudes of coordinates.
        terms: The terms without their signs; ``None`` for one that is zero whatever the angles are.
        term_signs: Their signs.
    """

    def __init__(
        self,
        preparations: Sequence[Preparation],
        operations: Sequence[Rotation | FixedMatrix],
        terms: Sequence[PauliString],
        qubits: Sequence[int],
    ) -> None:
        fixed = {bit for p in preparations for bit in p.bits}
        fixed.update(bit for o in operations if isinstance(o, FixedMatrix) for bit in o.bits)
        hard = [q for q in qubits if q in fixed]
        place = {bit: j for j, bit in enumerate(hard)}
        space = Coordinates(hard)
        for operation in operations:
            if space.num_bits == len(qubits):
                break
            if isinstance(operation, Rotation):
                space.add(operation.pauli.x)
        self.space = space
        self.num_bits, self.num_qubits = min(space.num_bits, MAX_BITS + 1), len(qubits)
        self.operations: list[Rotation | FixedMatrix] = []
        self.signs: list[int] = []
        self.terms: list[PauliString | None] = []
        self.term_signs: list[int] = []
        self.preparations = [
            Preparation(tuple([place[b] for b in p.bits]), p.amplitudes) for p in preparations
        ]
        if space.is_too_large:  # nobody will look at them, but at what is zero
            self.operations = [Rotation(PauliString(0, 0), NO_ANGLE)] * len(operations)
            self.signs, self.term_signs = [1] * len(operations), [1] * len(terms)
            self.terms = [
                None if space.find(term.x) is None else PauliString(0, 0) for term in terms
            ]
            return
        for operation in operations:
            if isinstance(operation, FixedMatrix):
                bits = tuple([place[b] for b in operation.bits])
                self.operations.append(FixedMatrix(bits, operation.matrix))
                self.signs.append(1)
                continue
            found = space.compress(operation.pauli._replace(k=_letters(operation.pauli)))
            assert found is not None  # it is in its own span
            self.operations.append(Rotation(found[0], NO_ANGLE))
            self.signs.append(found[1])
        for term in terms:
            found = space.compress(term)
            self.terms.append(None if found is None else found[0])
            self.term_signs.append(0 if found is None else found[1])

    @property
    def key(self) -> object:
        """What is the same for forms that are one simulation."""
        return (
            self.num_bits,
            tuple([o.pauli if isinstance(o, Rotation) else _content(o) for o in self.operations]),
            tuple([(p.bits, p.amplitudes.tobytes()) for p in self.preparations]),
            tuple(self.terms),
        )


class Reading(NamedTuple):
    """What one row reads: it contributes to what a term does, by its number, with a sign."""

    row: int
    place: int
    term: int
    sign: int


class Gatherer:
    """Gathers the cones of one class.

    Args:
        form: What they all are.

    Attributes:
        cones: All of them, with
        forms: their forms, and
        row_of: the row of each, ``(M,)``, once they are :meth:`settled <settle>`.
        strings: What is read of each row.
        readings: By whom.
    """

    def __init__(self, form: Form) -> None:
        self.form = form
        self.cones: list[Cone] = []
        self.forms: list[Form] = []
        self.strings: list[PauliString | None] = list(form.terms)
        self.readings: list[Reading] = []
        self.example = 0

    def add(self, form: Form, cones: Sequence[Cone]) -> None:
        """Add cones that are equal up to names; ``form`` is that of one of them."""
        self.cones += cones
        self.forms += [form] * len(cones)

    def settle(self, contents: Contents) -> None:
        """Find out which cones have the same angles: they are one row."""
        operations = np.stack([cone.operations for cone in self.cones])
        own = np.array([form.signs for form in self.forms], dtype=np.int64)
        angles = contents.of_operation[operations]
        signs = contents.signs[operations] * own.reshape(angles.shape)
        both, row_of = np.unique(2 * angles + (signs > 0), axis=0, return_inverse=True)
        self.angles, self.signs = both // 2, 2 * (both % 2) - 1
        self.row_of: IntArray = row_of.reshape(-1)
        self.example = int(self.cones[0].terms[0])
        for row, cone, form in zip(self.row_of.tolist(), self.cones, self.forms, strict=True):
            found = zip(cone.terms.tolist(), form.term_signs, strict=True)
            self.readings += [Reading(row, j, t, sign) for j, (t, sign) in enumerate(found)]

    @property
    def terms(self) -> list[int]:
        """All terms that are read, by their numbers."""
        return [reading.term for reading in self.readings]

    @property
    def row_work(self) -> float:
        """What reading one string of all rows takes, in complex multiplications."""
        return len(self.angles) * 2.0**self.form.num_bits

    def place(self, string: PauliString) -> int:
        """Return the place of a string among those that are read, a new one at the end."""
        if string not in self.strings:
            self.strings.append(string)
        return self.strings.index(string)

    def write(self, terms: Terms) -> ConeClass:
        """Return the class."""
        count = len(self.strings)
        row, place, term, sign = np.array(self.readings, dtype=np.int64).T
        collect = scipy.sparse.csr_array(
            (sign.astype(float), (row * count + place, term)),
            shape=(len(self.angles) * count, len(terms.strings)),
        )
        weights = scipy.sparse.csr_array(collect @ terms.coefficients)
        weights.eliminate_zeros()
        observables, weights = _combine(self.strings, weights, len(self.angles))
        return ConeClass(
            self.form.num_bits,
            self.form.num_qubits,
            tuple(self.form.operations),
            tuple(self.form.preparations),
            observables,
            self.angles,
            self.signs,
            weights,
            len(self.cones),
            self.example,
        )


def _combine(
    strings: Sequence[PauliString | None], weights: scipy.sparse.csr_array, members: int
) -> tuple[tuple[tuple[tuple[PauliString, float], ...], ...], scipy.sparse.csr_array]:
    """Return what is read of each member, and what it contributes: strings, or sums of them.

    Args:
        strings: ``K`` of them; ``None`` for those that are zero.
        weights: What they contribute to outputs, ``(M * K, O)``.
        members: The number ``M`` of members.
    """
    count, size = len(strings), weights.shape[1]
    places = [j for j, string in enumerate(strings) if string is not None]
    if len(places) > 1 and weights.shape[0] * size <= FEW_NUMBERS:
        table = weights.toarray().reshape(members, count, size).transpose(0, 2, 1)
        rows: FloatArray = table.reshape(members * size, count)
        used = np.flatnonzero(rows.any(axis=1))
        first = (rows[used] != 0).argmax(axis=1)
        scales = rows[used, first]
        sums, which = np.unique(rows[used] / scales[:, None], axis=0, return_inverse=True)
        if len(sums) < len(places):
            member, output = np.divmod(used, size)
            at = (member * len(sums) + which.reshape(-1), output)
            combined = scipy.sparse.csr_array((scales, at), shape=(members * len(sums), size))
            observables = tuple([
                tuple([(strings[j], c) for j, c in enumerate(row) if c and strings[j] is not None])
                for row in sums.tolist()
            ])  # fmt: skip
            return observables, combined  # type: ignore[return-value]
    kept = (np.arange(members)[:, None] * count + np.array(places, dtype=np.int64)).ravel()
    return tuple([((s, 1.0),) for s in strings if s is not None]), weights[kept]


def _content(matrix: FixedMatrix) -> tuple[tuple[int, ...], bytes]:
    return matrix.bits, matrix.matrix.tobytes()


def _letters(pauli: PauliString) -> int:
    """The power of i of a string without its sign."""
    return (pauli.x & pauli.z).bit_count() % 4
