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
from qiskit.quantum_info import SparsePauliOp

from ..arrays import FloatArray, IntArray
from .paulis import masks_of
from .tape import Tape

MAX_TABLES = 1 << 26
"""Numbers that all tables may hold (half a GiB); beyond it, terms are summed one by one."""


@dataclass(frozen=True)
class PauliSums:
    """Observables over one tape, in the form that the kernels read.

    Attributes:
        num_observables: Their number ``O``.
        constants: What terms without any Pauli contribute to values, shape ``(O,)``.
        groups: For each mask: the mask, where its entries start, where those with an odd number
            of Y start, and where they end.
        entries: For each entry the mask ``z`` of its signs, or where its table starts (else -1).
        pointers: Where the targets of each entry start, shape ``(E + 1,)``.
        targets: Observables that entries contribute to.
        weights: With which coefficient.
        tables: Sums of signs, ``2**n`` numbers each.
        masks: The masks ``x`` and ``z`` of all terms, shape ``(K, 2)``.
    """

    num_observables: int
    constants: FloatArray
    groups: IntArray
    entries: IntArray
    pointers: IntArray
    targets: IntArray
    weights: FloatArray
    tables: FloatArray
    masks: IntArray

    @property
    def arrays(self) -> tuple[Any, ...]:
        """The arrays that kernels take, in their order."""
        return (
            self.groups, self.entries, self.pointers, self.targets, self.weights, self.tables
        )  # fmt: skip


def compile_sums(observables: Sequence[SparsePauliOp], tape: Tape) -> PauliSums:
    """Conjugate observables by the tape's frame and group their terms.

    Imaginary parts of coefficients count only where the operator is applied to a state: with
    :math:`i`, an even number of Y takes the place of an odd one.
    """
    parts: list[IntArray] = [np.zeros((0, 4), dtype=np.int64)]
    coefficients: list[FloatArray] = [np.zeros(0)]
    for o, operator in enumerate(observables):
        x, z, kept = masks_of(operator, tape.position)
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
    return writer.sums(len(observables), constants, terms[:, [0, 2]])


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

    def sums(self, count: int, constants: FloatArray, masks: IntArray) -> PauliSums:
        return PauliSums(
            count,
            constants,
            np.array(self.groups, dtype=np.int64).reshape(-1, 4),
            np.array(self.entries, dtype=np.int64).reshape(-1, 2),
            np.array(self.pointers, dtype=np.int64),
            np.array(self.targets, dtype=np.int64),
            np.array(self.weights, dtype=float),
            np.concatenate(self.tables) if self.tables else np.zeros(0),
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
