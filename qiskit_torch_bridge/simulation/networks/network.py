# SPDX-License-Identifier: Apache-2.0
r"""The network of one Pauli string: :math:`\langle 0|U^\dagger P U|0\rangle`, small tensors only.

Each Pauli rotation is turned to one of Z by fixed one-qubit gates. It then is diagonal: a tensor of
phases over the qubits' indices, which go on to other tensors. So an index joins any number of
tensors, and changes only where one-qubit gates that are not diagonal come between: their product
is a matrix. The bra has the complex conjugates of the ket's tensors, and shares its last indices.

Reference: I. L. Markov and Y. Shi, arXiv:quant-ph/0511069; diagonal gates as hyperedges:
S. Boixo, S. V. Isakov, V. N. Smelyanskiy and H. Neven, arXiv:1712.05384.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from ...arrays import ComplexArray
from ..tape.compile_tape import Tape
from ..tape.operations import FixedMatrix, Preparation
from .past import Past, X, Z
from .tables import Tables

FIXED, VECTOR, MATRIX, PAIR, BOND = range(5)
"""Kinds of tensors: fixed; a segment on :math:`|0\\rangle`, and between two indices; the phases of
a rotation on two qubits; and :math:`(\\cos, -i\\sin)` of half an angle, which several qubits share.
"""

_H = np.array([[1, 1], [1, -1]]) / np.sqrt(2)
_TO_Z: dict[int, ComplexArray] = {
    X: _H.astype(complex),
    Z: np.eye(2, dtype=complex),
    X | Z: _H @ np.diag([1, -1j]),
}
"""Unitaries ``V`` that make Z of a letter ``P``: ``V P V^dagger = Z``."""
_SIGNS = np.array([[1.0, 1.0], [1.0, -1.0]]).astype(complex)


class Leaf(NamedTuple):
    """A tensor of the ket: its kind, its indices, and the number of what it holds."""

    kind: int
    indices: tuple[int, ...]
    number: int


class Network(NamedTuple):
    """The tensors of the ket, and of the observable, which are on indices of ket and bra.

    Attributes:
        ket: Its tensors; the bra's are their conjugates, on indices of its own.
        middle: The indices on which Z is measured.
        shared: All indices that ket and bra have in common.
    """

    ket: tuple[Leaf, ...]
    middle: tuple[int, ...]
    shared: frozenset[int]

    @property
    def least_width(self) -> int:
        """How many indices every contraction meets at once, and one more, at least.

        It is the largest number of others that each index of a part of the network comes together
        with, which the treewidth of the network exceeds or is.

        Reference: A. M. C. A. Koster, T. Wolle and H. L. Bodlaender, LNCS 3503 (2005) 101.
        """
        count = 1 + max((i for leaf in self.ket for i in leaf.indices), default=0)
        others: dict[int, set[int]] = {}
        for leaf in self.ket:
            for first in (0, count):
                indices = [i if i in self.shared else i + first for i in leaf.indices]
                for i in indices:
                    others.setdefault(i, set()).update(j for j in indices if j != i)
        by_degree = [(len(found), i) for i, found in others.items()]
        heapq.heapify(by_degree)
        width = 0
        while by_degree:
            degree, i = heapq.heappop(by_degree)
            if i in others and degree == len(others[i]):
                width = max(width, degree)
                for j in others.pop(i):
                    others[j].remove(i)
                    heapq.heappush(by_degree, (len(others[j]), j))
        return width


class NetworkBuilder:
    """Makes the networks of strings over one tape.

    Args:
        tape: As :func:`.compile_placed_tape` writes it.
        slots: The slot of each rotation, by its place in the tape.
        tables: Takes what the networks refer to.
    """

    def __init__(self, tape: Tape, slots: Mapping[int, int], tables: Tables) -> None:
        self.past = Past(tape)
        self.tape, self._slots, self.tables = tape, slots, tables
        self._prepared: dict[int, Preparation] = {b: p for p in tape.preparations for b in p.bits}
        number = tables.constants.number
        self._to_z = {letter: number(v) for letter, v in _TO_Z.items()}
        self._from_z = {letter: number(v.conj().T) for letter, v in _TO_Z.items()}
        self._one = self._to_z[Z]
        self._products: dict[tuple[int, int], int] = {}
        self._is_diagonal: dict[int, bool] = {}
        self._turns: dict[tuple[int, float], int] = {}

    def build(self, string: Mapping[int, int]) -> Network:
        """Return the network of a string, given by its letters by bit."""
        writer = _Writer(self)
        places = self.past.operations_before(string)
        prepared = {
            id(p): p
            for bit in {*string, *(b for place in places for b in self.past.letters_at(place))}
            if (p := self._prepared.get(bit)) is not None
        }
        for preparation in prepared.values():
            writer.prepare(preparation)
        for place in places:
            operation = self.tape.operations[place]
            if isinstance(operation, FixedMatrix):
                writer.apply(operation)
            else:
                sign = -1 if (operation.pauli.k - _count_y(operation.pauli)) % 4 else 1
                writer.rotate(self.past.letters_at(place), self._slots[place], sign)
        return writer.close(string)

    def product(self, later: int, earlier: int) -> int:
        """Return the number of the product of two fixed one-qubit gates."""
        found = self._products.get((later, earlier))
        if found is None:
            matrices = self.tables.constants.matrices
            product = matrices[later] @ matrices[earlier]
            product[np.abs(product) < 1e-15] = 0.0  # so that inverses cancel exactly
            near = np.round(product)
            product = np.where(np.abs(product - near) < 4e-16, near, product)
            found = self._products[later, earlier] = self.tables.constants.number(product)
        return found

    def fixed_turn(self, letter: int, angle: float) -> int:
        """Return the number of a rotation by a fixed angle about a letter."""
        found = self._turns.get((letter, angle))
        if found is None:
            half = np.exp(-0.5j * angle)
            turn = self.tables.constants.number(np.diag([half, half.conjugate()]))
            found = self.product(self.product(self._from_z[letter], turn), self._to_z[letter])
            self._turns[letter, angle] = found
        return found

    def is_diagonal(self, constant: int) -> bool:
        """Whether a fixed one-qubit gate is diagonal."""
        found = self._is_diagonal.get(constant)
        if found is None:
            matrix = self.tables.constants.matrices[constant]
            found = self._is_diagonal[constant] = not (matrix[0, 1] or matrix[1, 0])
        return found


class _Line:
    """A qubit while a network is written: its index, and the gates that wait to be a tensor.

    Attributes:
        index: ``None`` as long as the qubit is in state zero but for what waits.
        constants: Fixed gates around the phases that wait, the first one first: one more than
            phases.
    """

    def __init__(self, one: int) -> None:
        self.index: int | None = None
        self.constants: list[int] = [one]
        self.phases: list[int] = []


class _Writer:
    def __init__(self, builder: NetworkBuilder) -> None:
        self.builder, self.tables = builder, builder.tables
        self.lines: dict[int, _Line] = {}
        self.leaves: list[Leaf] = []
        self.count = 0

    def _new_index(self) -> int:
        self.count += 1
        return self.count - 1

    def _line(self, bit: int) -> _Line:
        line = self.lines.get(bit)
        if line is None:
            line = self.lines[bit] = _Line(self.builder._one)
        return line

    def prepare(self, preparation: Preparation) -> None:
        """Write amplitudes."""
        indices = []
        for bit in preparation.bits:
            line = self._line(bit)
            line.index = self._new_index()
            indices.append(line.index)
        shape = (2,) * len(indices)
        # The first bit is the least significant one, which is the last axis.
        tensor = preparation.amplitudes.reshape(shape)
        number = self.tables.constants.number(tensor)
        self.leaves.append(Leaf(FIXED, tuple(reversed(indices)), number))

    def apply(self, operation: FixedMatrix) -> None:
        """Write a matrix."""
        if len(operation.bits) == 1:
            self._then(
                self._line(operation.bits[0]), self.tables.constants.number(operation.matrix)
            )
            return
        lines = [self._line(bit) for bit in operation.bits]
        before = [self._settle(line) for line in lines]
        after = []
        for line in lines:
            line.index = self._new_index()
            after.append(line.index)
        number = self.tables.constants.number(operation.matrix.reshape((2,) * (2 * len(lines))))
        self.leaves.append(Leaf(FIXED, (*reversed(after), *reversed(before)), number))

    def rotate(self, letters: Mapping[int, int], slot: int, sign: int) -> None:
        """Write a rotation about a string that is given by its letters."""
        form = self.tables.form_of_slot(slot)
        if len(letters) == 1 and not form.terms:
            ((bit, letter),) = letters.items()
            self._then(self._line(bit), self.builder.fixed_turn(letter, sign * form.offset))
            return
        for bit, letter in letters.items():
            self._then(self._line(bit), self.builder._to_z[letter])
        # A qubit in state zero adds nothing to a parity.
        lines = [self._line(bit) for bit in letters]
        turning = [line for line in lines if not self._is_zero(line)]
        if len(turning) == 1:
            self._turn(turning[0], self.tables.phase(form, sign))
        elif turning:
            phase = self.tables.phase(form, sign)
            indices = [self._settle_but_diagonal(line) for line in turning]
            if len(indices) == 2:
                self.leaves.append(Leaf(PAIR, tuple(indices), phase))
            else:
                bond = self._new_index()
                self.leaves.append(Leaf(BOND, (bond,), phase))
                signs = self.tables.constants.number(_SIGNS)
                self.leaves += [Leaf(FIXED, (bond, index), signs) for index in indices]
        for line, letter in zip(lines, letters.values(), strict=True):
            self._then(line, self.builder._from_z[letter])

    def close(self, string: Mapping[int, int]) -> Network:
        """Measure a string; what only turns what is not measured cancels with the bra."""
        middle = []
        for bit, letter in string.items():
            line = self._line(bit)
            self._then(line, self.builder._to_z[letter])
            if not self._is_zero(line):
                middle.append(self._settle_but_diagonal(line))
        shared = frozenset(line.index for line in self.lines.values() if line.index is not None)
        return Network(tuple(self.leaves), tuple(middle), shared)

    def _is_zero(self, line: _Line) -> bool:
        """Whether a qubit is in state zero, up to a phase."""
        return line.index is None and self._is_diagonal(line)

    def _is_diagonal(self, line: _Line) -> bool:
        return all(map(self.builder.is_diagonal, line.constants))

    def _then(self, line: _Line, constant: int) -> None:
        """Apply a fixed gate."""
        if line.index is None and not line.phases and self.builder.is_diagonal(line.constants[0]):
            line.constants[0] = constant  # whatever phase state zero had does not matter
        else:
            line.constants[-1] = self.builder.product(constant, line.constants[-1])

    def _turn(self, line: _Line, phase: int) -> None:
        """Apply a rotation about Z."""
        form = self.tables.forms[phase]
        if not form.terms:
            self._then(line, self.builder.fixed_turn(Z, form.offset))
            return
        line.phases.append(phase)
        line.constants.append(self.builder._one)

    def _settle_but_diagonal(self, line: _Line) -> int:
        """Return the index that a diagonal gate acts on: diagonal gates may wait longer."""
        if line.index is not None and self._is_diagonal(line):
            return line.index
        return self._settle(line)

    def _settle(self, line: _Line) -> int:
        """Write the gates that wait as a tensor, and return the index after them."""
        before = line.index
        if before is not None and not line.phases and line.constants[0] == self.builder._one:
            return before
        number = self.tables.segment(line.constants, line.phases)
        line.constants, line.phases = [self.builder._one], []
        line.index = self._new_index()
        if before is None:
            self.leaves.append(Leaf(VECTOR, (line.index,), number))
        else:
            self.leaves.append(Leaf(MATRIX, (line.index, before), number))
        return line.index


def _count_y(pauli: Iterable[int]) -> int:
    x, z, _ = pauli
    return (x & z).bit_count()
