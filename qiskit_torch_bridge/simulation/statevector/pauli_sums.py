# SPDX-License-Identifier: Apache-2.0
r"""Observables as sums over few masks: what a kernel needs to take all of them in one sweep.

All terms with the same mask ``x`` share the products :math:`\psi^*_{i\oplus x}\psi_i`. A group's
terms differ by signs :math:`(-1)^{|i\wedge z|}` only; where they are many, they are summed
beforehand to one table over ``i``, by a Walsh-Hadamard transform. So the cost grows with the number
of masks, not of terms.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from qiskit.quantum_info import SparsePauliOp

from ... import memory
from ...arrays import ComplexArray, FloatArray, IntArray
from ...program.analysis import AnalysedCircuit
from ...program.operators import FEW, Observable, ProductOperator, walsh_hadamard
from ..tape.axes import turn_axes
from ..tape.compile_tape import Tape, compile_tape
from ..tape.paulis import find_masks
from ..tape.reduce import WIDEST, reduce_tape
from .kernels.tables import ENTRY, GROUP, PauliTables, Projections
from .projections import are_connected, compile_projections, count_amplitudes, find_projected_masks

Require: TypeAlias = Callable[[int, int], None]
"""Raises unless so many bytes are there for states of so many qubits, as :mod:`.memory` has it."""

MAX_TABLES = 1 << 26
"""Numbers that all tables may hold (half a GiB); beyond it, terms are summed one by one."""

TOGETHER = 3
"""Strings of Z that cost as much as all of them together, which transforms take."""


@dataclass(frozen=True)
class PauliSums:
    """Observables over one tape, in the form that the kernels read.

    Attributes:
        num_observables: Their number ``O``.
        num_bits: Of the state.
        constants: What terms without any Pauli contribute to values, shape ``(O,)``.
        paulis: Sums of Pauli strings.
        projections: Products of projectors.
    """

    num_observables: int
    num_bits: int
    constants: FloatArray
    paulis: PauliTables
    projections: Projections

    @property
    def work(self) -> float:
        """What one application to a state costs, in states that are passed over."""
        amplitudes = 2 * count_amplitudes(self.projections) + len(self.projections.terms)
        groups, entries = self.paulis.groups[:1], self.paulis.entries
        together = 0
        if len(groups) and groups["x"][0] == 0 and entries["table_at"][0] < 0:
            together = max(0, int(groups["middle"][0] - groups["start"][0]) - TOGETHER)
        return len(entries) - together + amplitudes / (1 << self.num_bits)


class _Terms(NamedTuple):
    """The terms of observables in the frame of a tape.

    Attributes:
        num_observables: Their number ``O``.
        strings: Masks ``x`` and ``z``, power ``k`` of i, and observable of each: ``(4, K)``.
        coefficients: Shape ``(K,)``.
        products: Those of many projectors, on the bits of the tape, and the observables they
            belong to.
    """

    num_observables: int
    strings: IntArray
    coefficients: ComplexArray
    products: tuple[ProductOperator, IntArray]


def _conjugate(observables: Sequence[Observable], tape: Tape) -> _Terms:
    """Conjugate observables by a tape's frame."""
    no_mask = np.zeros(0, dtype=np.int64)
    parts: list[tuple[Any, ...]] = [(no_mask, no_mask, no_mask, np.zeros(0, dtype=complex))]
    paulis, products = _parted(observables, tape)
    for o, operator, position in paulis:
        x, z, kept = find_masks(operator, position)
        c = np.asarray(operator.coeffs, dtype=complex)[kept]
        parts.append((x, z, np.full_like(x, o), c))
    x, z, target, c = map(np.concatenate, zip(*parts, strict=True))
    x, z, k = tape.frame.conjugate_terms(x, z)
    return _Terms(len(observables), np.array([x, z, k, target]), c, products)


def compile_sums(observables: Sequence[Observable], tape: Tape) -> PauliSums:
    """Conjugate observables by the tape's frame and group their terms.

    Imaginary parts of coefficients count only where the operator is applied to a state: with
    :math:`i`, an even number of Y takes the place of an odd one.
    """
    return _write(_compressed(_conjugate(observables, tape), tape), tape)


def _compressed(terms: _Terms, tape: Tape) -> _Terms:
    """Return terms on the basis states that a tape reaches."""
    if tape.compression is None:
        return terms
    *masks, target = terms.strings
    x, z, k, stay = tape.compression.strings(*masks)
    strings = np.array([x, z, k, target[stay]])
    return terms._replace(strings=strings, coefficients=terms.coefficients[stay])


def _write(given: _Terms, tape: Tape) -> PauliSums:
    """Group terms that are on the bits of the tape's state."""
    x, z, k, target = given.strings
    c = given.coefficients
    uneven = np.bitwise_count(x & z).astype(np.int64) & 1
    # i**k with k = 0, 2: a real part with its sign; k = 1, 3: minus and plus an imaginary part
    c = c * _SIGNS[k]
    terms, numbers = np.array([x, uneven, z, target]), c.real
    if c.imag.any():
        terms = np.hstack([terms, [x, 1 - uneven, z, target]])
        numbers = np.concatenate([numbers, np.where(uneven, -c.imag, c.imag)])
    trivial = ~(terms[0] | terms[1] | terms[2]).astype(bool)
    sums = np.bincount(terms[3, trivial], numbers[trivial], given.num_observables).astype(float)
    counts = np.flatnonzero((numbers != 0) & ~trivial)
    counts = counts[np.lexsort(terms[::-1, counts])]
    terms, numbers = terms[:, counts], numbers[counts]
    writer = _Writer(tape.num_bits)
    starts = _changes(terms[0])
    for start, stop in itertools.pairwise([*starts, terms.shape[1]]):
        writer.group(terms[:, start:stop], numbers[start:stop])
    projections = compile_projections(*given.products, tape.frame, tape.compression)
    return PauliSums(given.num_observables, tape.num_bits, sums, writer.write(), projections)


def compile_both(
    analysed: AnalysedCircuit,
    observables: Sequence[Observable],
    itemsize: int = 16,
    require: Require = memory.require,
) -> tuple[Tape, PauliSums]:
    """Compile a circuit and its observables, in the frame in which both take the least work.

    Clifford gates that are left out of the tape make each product of projectors as large as the
    state. Where there are many, they are put in, and their projectors are on the bits.
    """
    tape = compile_tape(analysed)
    is_real = not any(np.imag(o.coeffs).any() for o in observables)
    tape, sums = _compile(observables, tape, is_real, itemsize, require)
    if not are_connected(sums.projections):
        return tape, sums
    products, _ = _parted(observables, tape)[1]
    counts = [
        np.count_nonzero(products.projected & (products.letters & 3 == axis), axis=0)
        for axis in (1, 2, 3)
    ]
    axes = "".join("ZXY"[axis] for axis in np.argmax(counts, axis=0))
    turned, others = _compile(
        observables, compile_tape(analysed, axes=axes), is_real, itemsize, require
    )
    if len(turned.operations) + others.work < len(tape.operations) + sums.work:
        return turned, others
    return tape, sums


def count_bits(analysed: AnalysedCircuit, observables: Sequence[Observable]) -> int:
    """Return on how many bits the state is that observables with real coefficients depend on."""
    return _reduce(observables, compile_tape(analysed), True)[0].num_bits


def _reduce(observables: Sequence[Observable], tape: Tape, is_real: bool) -> tuple[Tape, _Terms]:
    """Reduce a tape to what observables depend on; their terms are those in its frame."""
    terms = _conjugate(observables, tape)
    projected = find_projected_masks(terms.products[0], tape.frame)
    masks = np.concatenate([terms.strings[:2, terms.coefficients != 0].T, projected])
    # What cancels from <O> does not cancel from the imaginary part of <psi|O|d psi>.
    return reduce_tape(tape, masks if is_real else None, projected[:, 0].tolist()), terms


def _compile(
    observables: Sequence[Observable], tape: Tape, is_real: bool, itemsize: int, require: Require
) -> tuple[Tape, PauliSums]:
    """Reduce a tape to what observables depend on, and compile these."""
    if tape.num_bits > WIDEST:
        require(2 * itemsize << tape.num_bits, tape.num_bits)
    tape, terms = _reduce(observables, tape, is_real)
    require(2 * itemsize << tape.num_bits, tape.num_bits)
    terms = _compressed(terms, tape)
    if not len(terms.products[0]):
        tape, frame = turn_axes(tape, terms.strings[:2].T)
        if frame is not None:
            x, z, k, target = terms.strings
            turned = frame.conjugate_terms(x, z, k)
            terms = terms._replace(strings=np.array([*turned, target]))
    return tape, _write(terms, tape)


def _parted(
    observables: Sequence[Observable], tape: Tape
) -> tuple[list[tuple[int, SparsePauliOp, dict[int, int]]], tuple[ProductOperator, IntArray]]:
    """Tell products of many projectors from the rest.

    Returns:
        Pauli strings: to which observable they belong, and the bits of their qubits. Then all
        products, on the bits of the tape, and to which observables these belong.
    """
    paulis: list[tuple[int, SparsePauliOp, dict[int, int]]] = []
    letters = [np.zeros((0, len(tape.position)), dtype=np.uint8)]
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
            own = {bit: bit for bit in range(len(by_bit))}
            paulis.append((o, few.expanded(len(few) << FEW), own))
        letters.append(there.letters[many])
        coefficients.append(there.coeffs[many])
        owners.append(np.full(np.count_nonzero(many), o, dtype=np.int64))
    products = ProductOperator(np.concatenate(letters), np.concatenate(coefficients))
    return paulis, (products, np.concatenate(owners))


_SIGNS = np.array([1.0, -1.0, -1.0, 1.0])


def _changes(sorted_numbers: IntArray) -> list[int]:
    """Return where equal numbers begin."""
    if not len(sorted_numbers):
        return []
    changes: list[int] = (np.flatnonzero(sorted_numbers[1:] != sorted_numbers[:-1]) + 1).tolist()
    return [0, *changes]


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
        """Add the terms ``(4, K)`` of one mask: mask, parity of Y, signs, observable; sorted."""
        middle = terms.shape[1] - int(terms[1].sum())
        bounds = [len(self.entries)]
        for half in (slice(middle), slice(middle, None)):
            self._half(terms[2, half], terms[3, half], c[half])
            bounds.append(len(self.entries))
        start, between, stop = bounds
        self.groups.append((int(terms[0, 0]), start, between, stop))

    def _half(self, signs: IntArray, targets: IntArray, c: FloatArray) -> None:
        starts = _changes(signs)
        if len(starts) > 2:
            observables = np.unique(targets)
            size = (len(self.tables) + len(observables)) << self.num_bits
            if len(starts) > 2 * len(observables) and size <= MAX_TABLES:
                for o in observables:
                    mine = targets == o
                    table = np.bincount(signs[mine], c[mine], 1 << self.num_bits).astype(float)
                    self.entries.append((0, len(self.tables) << self.num_bits))
                    self._weigh([int(o)], [1.0])
                    self.tables.append(walsh_hadamard(table))
                return
        for start, stop in itertools.pairwise([*starts, len(signs)]):
            self.entries.append((int(signs[start]), -1))
            self._weigh(targets[start:stop].tolist(), c[start:stop].tolist())

    def _weigh(self, targets: list[int], weights: list[float]) -> None:
        self.targets += targets
        self.weights += weights
        self.pointers.append(len(self.targets))

    def write(self) -> PauliTables:
        return PauliTables(
            np.array(self.groups, dtype=GROUP),
            np.array(self.entries, dtype=ENTRY),
            np.array(self.pointers, dtype=np.int64),
            np.array(self.targets, dtype=np.int64),
            np.array(self.weights, dtype=float),
            np.concatenate(self.tables) if self.tables else np.zeros(0),
        )
