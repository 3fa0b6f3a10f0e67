# SPDX-License-Identifier: Apache-2.0
r"""Observables as sums over few masks: what a kernel needs to take all of them in one sweep.

All terms with the same mask ``x`` share the products :math:`\psi^*_{i\oplus x}\psi_i`. A group's
terms differ by signs :math:`(-1)^{|i\wedge z|}` only; where they are many, they are summed
beforehand to one table over ``i``, by a Walsh-Hadamard transform. So the cost grows with the number
of masks, not of terms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from ..arrays import FloatArray, IntArray
from ..program.product_operator import Observable, ProductOperator
from .paulis import masks_of
from .projections import FEW, Projections, compile_projections
from .tape import Tape, compile_tape

MAX_TABLES = 1 << 26
"""Numbers that all tables may hold (half a GiB); beyond it, terms are summed one by one."""


@dataclass(frozen=True)
class PauliSums:
    """Observables over one tape, in the form that the kernels read.

    Attributes:
        num_observables: Their number ``O``.
        num_bits: Of the state.
        constants: What terms without any Pauli contribute to values, shape ``(O,)``.
        groups: For each mask: the mask, where its entries start, where those with an odd number
            of Y start, and where they end.
        entries: For each entry the mask ``z`` of its signs, or where its table starts (else -1).
        pointers: Where the targets of each entry start, shape ``(E + 1,)``.
        targets: Observables that entries contribute to.
        weights: With which coefficient.
        tables: Sums of signs, ``2**n`` numbers each.
        projections: Products of projectors, and
        masks: The masks ``x`` and ``z`` of all terms and of what projects, shape ``(K, 2)``.
    """

    num_observables: int
    num_bits: int
    constants: FloatArray
    groups: IntArray
    entries: IntArray
    pointers: IntArray
    targets: IntArray
    weights: FloatArray
    tables: FloatArray
    projections: Projections
    masks: IntArray

    @property
    def arrays(self) -> tuple[Any, ...]:
        """The arrays that kernels take, in their order."""
        return (
            self.groups, self.entries, self.pointers, self.targets, self.weights, self.tables,
            *self.projections,
        )  # fmt: skip

    @property
    def work(self) -> float:
        """What one application to a state costs, in states that are passed over."""
        states = self.projections.numbers / (1 << self.num_bits)
        return len(self.entries) + 2 * states + len(self.projections.terms) / (1 << self.num_bits)


def compile_sums(observables: Sequence[Observable], tape: Tape) -> PauliSums:
    """Conjugate observables by the tape's frame and group their terms.

    Imaginary parts of coefficients count only where the operator is applied to a state: with
    :math:`i`, an even number of Y takes the place of an odd one.
    """
    parts: list[IntArray] = [np.zeros((0, 4), dtype=np.int64)]
    coefficients: list[FloatArray] = [np.zeros(0)]
    paulis, products = _parted(observables, tape)
    for o, operator, position in paulis:
        x, z, kept = masks_of(operator, position)
        x, z, k = tape.frame.conjugated_terms(x, z)
        c = np.asarray(operator.coeffs, dtype=complex)[kept]
        uneven = np.bitwise_count(x & z).astype(np.int64) & 1
        # i**k with k = 0, 2: a real part with its sign; k = 1, 3: minus and plus an imaginary part
        c = np.where(np.isin(k, (1, 2)), -c, c)
        parts.append(np.stack([x, uneven, z, np.full_like(x, o)], axis=1))
        coefficients.append(c.real)
        if c.imag.any():
            parts.append(np.stack([x, 1 - uneven, z, np.full_like(x, o)], axis=1))
            coefficients.append(np.where(uneven, -c.imag, c.imag))
    terms, c = np.concatenate(parts), np.concatenate(coefficients)
    terms, c = terms[c != 0], c[c != 0]
    constants = np.zeros(len(observables))
    trivial = (terms[:, :3] == 0).all(axis=1)
    np.add.at(constants, terms[trivial, 3], c[trivial])
    terms, c = terms[~trivial], c[~trivial]
    order = np.lexsort(terms.T[::-1])
    terms, c = terms[order], c[order]
    writer = _Writer(tape.num_bits)
    starts = np.flatnonzero(np.r_[True, np.any(np.diff(terms[:, :1], axis=0) != 0, axis=1)])
    for start, stop in zip(starts, [*starts[1:], len(terms)], strict=True):
        if start < stop:
            writer.group(terms[start:stop], c[start:stop])
    projections, masks = compile_projections(*products, tape.frame)
    masks = np.concatenate([terms[:, [0, 2]], masks])
    return writer.sums(len(observables), constants, projections, masks)


def compiled(
    circuit: QuantumCircuit, parameters: Sequence[Parameter], observables: Sequence[Observable]
) -> tuple[Tape, PauliSums]:
    """Compile a circuit and its observables, in the frame in which both take the least work.

    Clifford gates that are left out of the tape make each product of projectors as large as the
    state. Where there are many, they are put in, and their projectors are on the bits.
    """
    tape = compile_tape(circuit, parameters)
    sums = compile_sums(observables, tape)
    if not sums.projections.are_connected:
        return tape, sums
    products, _ = _parted(observables, tape)[1]
    counts = [
        np.count_nonzero(products.projected & (products.letters & 3 == axis), axis=0)
        for axis in (1, 2, 3)
    ]
    axes = "".join("ZXY"[axis] for axis in np.argmax(counts, axis=0))
    turned = compile_tape(circuit, parameters, axes=axes)
    others = compile_sums(observables, turned)
    if len(turned.operations) + others.work < len(tape.operations) + sums.work:
        return turned, others
    return tape, sums


def _parted(
    observables: Sequence[Observable], tape: Tape
) -> tuple[list[tuple[int, SparsePauliOp, dict[int, int]]], tuple[ProductOperator, IntArray]]:
    """Tell products of many projectors from the rest.

    Returns:
        Pauli strings: to which observable they belong, and the bits of their qubits. Then all
        products, on the bits of the tape, and to which observables these belong.
    """
    paulis: list[tuple[int, SparsePauliOp, dict[int, int]]] = []
    letters = [np.zeros((0, tape.num_bits), dtype=np.uint8)]
    coefficients: list[Any] = [np.zeros(0)]
    owners: list[IntArray] = [np.zeros(0, dtype=np.int64)]
    by_bit = sorted(tape.position, key=tape.position.__getitem__)
    for o, operator in enumerate(observables):
        if isinstance(operator, SparsePauliOp):
            paulis.append((o, operator, tape.position))
            continue
        there = operator.on_qubits(by_bit)
        many = there.projected.sum(axis=1) > FEW
        if not many.all():
            few = ProductOperator(there.letters[~many], there.coeffs[~many])
            own = {bit: bit for bit in range(tape.num_bits)}
            paulis.append((o, few.expanded(len(few) << FEW), own))
        letters.append(there.letters[many])
        coefficients.append(there.coeffs[many])
        owners.append(np.full(np.count_nonzero(many), o, dtype=np.int64))
    products = ProductOperator(np.concatenate(letters), np.concatenate(coefficients))
    return paulis, (products, np.concatenate(owners))


class _Writer:
    def __init__(self, num_bits: int) -> None:
        self.num_bits = num_bits
        self.groups: list[tuple[int, int, int, int]] = []
        self.entries: list[tuple[int, int]] = []
        self.pointers = [0]
        self.targets: list[int] = []
        self.weights: list[float] = []
        self.tables: list[FloatArray] = []

    def group(self, terms: IntArray, c: FloatArray) -> None:
        """Add the terms ``(K, 4)`` of one mask: mask, parity of Y, signs, observable."""
        bounds = [len(self.entries)]
        for parity in (0, 1):
            chosen = terms[:, 1] == parity
            self._half(terms[chosen], c[chosen])
            bounds.append(len(self.entries))
        start, middle, stop = bounds
        self.groups.append((int(terms[0, 0]), start, middle, stop))

    def _half(self, terms: IntArray, c: FloatArray) -> None:
        signs, term_of = np.unique(terms[:, 2], return_inverse=True)
        observables = np.unique(terms[:, 3])
        size = (len(self.tables) + len(observables)) << self.num_bits
        if len(signs) > 2 * len(observables) and size <= MAX_TABLES:
            for o in observables:
                mine = terms[:, 3] == o
                table = np.zeros(1 << self.num_bits)
                np.add.at(table, terms[mine, 2], c[mine])
                self.entries.append((0, len(self.tables) << self.num_bits))
                self._weigh([int(o)], [1.0])
                self.tables.append(_walsh_hadamard(table))
            return
        for e, z in enumerate(signs):
            mine = term_of == e
            self.entries.append((int(z), -1))
            self._weigh(terms[mine, 3].tolist(), c[mine].tolist())

    def _weigh(self, targets: list[int], weights: list[float]) -> None:
        self.targets += targets
        self.weights += weights
        self.pointers.append(len(self.targets))

    def sums(
        self, count: int, constants: FloatArray, projections: Projections, masks: IntArray
    ) -> PauliSums:
        return PauliSums(
            count,
            self.num_bits,
            constants,
            np.array(self.groups, dtype=np.int64).reshape(-1, 4),
            np.array(self.entries, dtype=np.int64).reshape(-1, 2),
            np.array(self.pointers, dtype=np.int64),
            np.array(self.targets, dtype=np.int64),
            np.array(self.weights, dtype=float),
            np.concatenate(self.tables) if self.tables else np.zeros(0),
            projections,
            masks,
        )


def _walsh_hadamard(coefficients: FloatArray) -> FloatArray:
    r"""Return :math:`\sum_z c_z (-1)^{|i \wedge z|}` for every ``i``."""
    table = coefficients.copy()
    step = 1
    while step < len(table):
        pairs = table.reshape(-1, 2, step)
        table = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], 1).ravel()
        step *= 2
    return table
