# SPDX-License-Identifier: Apache-2.0
r"""Which measurements give some observables, and with which probabilities their outcomes come.

Terms that commute qubit by qubit are measured together: one basis change for each qubit makes all
of them products of Z, and each shot gives a value to every one of them.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..arrays import FloatArray, IntArray
from ..program import AnalysedCircuit
from ..program.product_operator import Observable, ProductOperator, axes_of
from ..simulation.statevector import StatevectorSimulator
from ..simulation.statevector.paulis import find_masks
from .grouping import group_qubit_wise

ComplexArray = NDArray[np.complex128]

KEPT_VALUES = 1 << 14
"""Numbers in a group's table of values up to which it is kept."""


@dataclass(frozen=True)
class Group:
    """Terms that are measured together.

    Attributes:
        bits: The bits of the state that are measured, ascending; they are the outcome's bits.
        changes: The bits of the state that are measured in X or Y, and whether it is Y.
        members: The observables ``M`` of all that have a term here.
        masks: For each term the bits of the outcome whose parity is its sign,
        fixed: those that its projectors fix, and
        wanted: what they fix them to; other outcomes give it no value.
        owners: Which of the members it belongs to.
        coefficients: With which coefficient.
    """

    bits: tuple[int, ...]
    changes: tuple[tuple[int, bool], ...]
    members: IntArray
    masks: IntArray
    fixed: IntArray
    wanted: IntArray
    owners: IntArray
    coefficients: FloatArray

    @functools.cached_property
    def bound(self) -> FloatArray:
        """The largest size of a shot's value for each member: ``(M,)``."""
        bound = np.zeros(len(self.members))
        np.add.at(bound, self.owners, np.abs(self.coefficients))
        return bound

    def outcome_values(self, first: int, last: int) -> FloatArray:
        r"""Return :math:`\sum_t c_t (-1)^{|s \wedge m_t|}` of each outcome and some members.

        The sum is over the terms without projectors, and those whose projectors let it pass.
        """
        whole = (first, last) == (0, len(self.members))
        if whole and len(self.members) << len(self.bits) <= KEPT_VALUES:
            return self._all_values
        return self._values(first, last)

    @functools.cached_property
    def _all_values(self) -> FloatArray:
        return self._values(0, len(self.members))

    def _values(self, first: int, last: int) -> FloatArray:
        values = np.zeros((1 << len(self.bits), last - first))
        own = (first <= self.owners) & (self.owners < last)
        mine = own & (self.fixed == 0)
        np.add.at(values, (self.masks[mine], self.owners[mine] - first), self.coefficients[mine])
        for bit in range(len(self.bits)):
            pairs = values.reshape(-1, 2, 1 << bit, last - first)
            pairs[:, 0], pairs[:, 1] = pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]
        for t in np.flatnonzero(own & (self.fixed != 0)).tolist():
            passing = self._passing(t)
            values[passing, self.owners[t] - first] += self.values_of(t, passing)
        return values

    def values_of(self, t: int, outcomes: IntArray) -> FloatArray:
        """Return what outcomes give to a term."""
        odd = np.bitwise_count(outcomes & self.masks[t]) & 1
        values: FloatArray = self.coefficients[t] * (1.0 - 2.0 * odd)
        if self.fixed[t]:
            values = values * ((outcomes & self.fixed[t]) == self.wanted[t])
        return values

    def _passing(self, t: int) -> IntArray:
        """Return the outcomes that the projectors of a term let pass."""
        found = self.wanted[t : t + 1]
        for bit in range(len(self.bits)):
            if not self.fixed[t] >> bit & 1:
                found = np.concatenate([found, found | 1 << bit])
        return found

    def probabilities(self, states: ComplexArray) -> FloatArray:
        """Return the probability of each outcome, ``(N, S)``, in states ``(N, 2**n)``.

        All of it is arithmetic number by number, so that what is drawn at one point depends on no
        other one: drawing would turn a difference in the last bit of a half into other counts.
        """
        re, im = states.real.astype(float), states.imag.astype(float)
        for bit, is_y in self.changes:
            (a, b), (c, d) = _halves(re, bit), _halves(im, bit)
            if is_y:  # the second half times -i
                re_second, im_second = a - d, c + b
                a += d
                c -= b
            else:
                re_second, im_second = a - b, c - d
                a += b
                c += d
            b[...], d[...] = re_second, im_second
        weights = np.multiply(re, re, out=re)
        weights += np.multiply(im, im, out=im)
        for bit in reversed(range(weights.shape[1].bit_length() - 1)):
            if bit not in self.bits:
                weights = np.add(*_halves(weights, bit)).reshape(len(weights), -1)
        total = weights
        for bit in reversed(range(len(self.bits))):
            total = np.add(*_halves(total, bit)).reshape(len(weights), -1)
        return weights / total


def _halves(numbers: FloatArray, bit: int) -> tuple[FloatArray, FloatArray]:
    """Return the numbers ``(N, S)`` at which a bit of the index is zero, and those where one."""
    pairs = numbers.reshape(len(numbers), -1, 2, 1 << bit)
    return pairs[:, :, 0], pairs[:, :, 1]


@dataclass(frozen=True)
class Measurement:
    """All that is measured for some observables on one circuit.

    Attributes:
        simulator: Prepares the states.
        groups: What is measured on them.
        constants: What terms without any Pauli contribute, ``(O,)``.
    """

    simulator: StatevectorSimulator
    groups: tuple[Group, ...]
    constants: FloatArray

    @property
    def kept_numbers(self) -> int:
        """About how many numbers its groups keep."""
        return sum(
            len(g.masks) + min(KEPT_VALUES, len(g.members) << len(g.bits)) for g in self.groups
        )


def idle_qubits(observables: Sequence[Observable], simulated: Collection[int]) -> tuple[int, ...]:
    """Return the qubits that are measured in X or Y though nothing acts on them.

    Their outcomes are random; only Z is known of a qubit in state zero.
    """
    needed = np.any([axes_of(o)[0].any(axis=0) for o in observables], axis=0)
    return tuple(q for q in np.flatnonzero(needed).tolist() if q not in simulated)


def with_qubits(analysed: AnalysedCircuit, qubits: Sequence[int]) -> AnalysedCircuit:
    """Return the circuit with gates on ``qubits`` that do nothing, so that these are simulated."""
    circuit = analysed.circuit.copy()
    circuit.rz(0.0, list(qubits))
    return AnalysedCircuit(circuit, analysed.parameters)


def measurement(simulator: StatevectorSimulator, observables: Sequence[Observable]) -> Measurement:
    """Plan the measurement of ``observables`` on the states that ``simulator`` prepares."""
    position = simulator.tape.position
    parts: list[IntArray] = []
    coefficients: list[FloatArray] = []
    by_bit = sorted(position, key=position.__getitem__)
    weights = np.int64(1) << np.arange(len(by_bit), dtype=np.int64)
    for o, operator in enumerate(observables):
        if isinstance(operator, ProductOperator):
            operator = operator.on_qubits(by_bit)
            tables = operator.x, operator.z, operator.projected, operator.negative
            x, z, fixed, wanted = (table @ weights for table in tables)
            kept = np.arange(len(operator))
        else:
            x, z, kept = find_masks(operator, position)
            fixed = wanted = np.zeros_like(x)
        parts.append(np.stack([x, z, np.full_like(x, o), fixed, wanted], axis=1))
        coefficients.append(np.asarray(operator.coeffs).real[kept])
    terms, c = np.concatenate(parts), np.concatenate(coefficients)
    constants = np.zeros(len(observables))
    trivial = (terms[:, :2] == 0).all(axis=1)
    np.add.at(constants, terms[trivial, 2], c[trivial])
    terms, c = terms[~trivial], c[~trivial]
    group_of = group_qubit_wise(terms[:, :1], terms[:, 1:2], simulator.tape.num_bits)
    groups = tuple(
        _group(terms[group_of == g], c[group_of == g], simulator.tape.num_bits)
        for g in range(group_of.max(initial=-1) + 1)
    )
    return Measurement(simulator, groups, constants)


def _group(terms: IntArray, c: FloatArray, num_bits: int) -> Group:
    x, z = (int(np.bitwise_or.reduce(column)) for column in (terms[:, 0], terms[:, 1]))
    bits = tuple(b for b in range(num_bits) if (x | z) >> b & 1)
    fixed, wanted = terms[:, 3], terms[:, 4]
    parity = (terms[:, 0] | terms[:, 1]) & ~fixed
    masks, fixed, wanted = (
        np.bitwise_or.reduce([(m >> bit & 1) << place for place, bit in enumerate(bits)], axis=0)
        for m in (parity, fixed, wanted)
    )
    changes = tuple((b, bool(z >> b & 1)) for b in range(num_bits) if x >> b & 1)
    members, owners = np.unique(terms[:, 2], return_inverse=True)
    return Group(bits, changes, members, masks, fixed, wanted, owners, c)
