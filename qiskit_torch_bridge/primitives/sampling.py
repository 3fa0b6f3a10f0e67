# SPDX-License-Identifier: Apache-2.0
r"""Shots: which bases some observables are measured in, and the outcomes drawn there.

Terms that commute qubit by qubit are measured together: one basis change for each qubit makes all
of them products of Z, and each shot gives a value to every one of them. Drawing gives the mean and
the standard error of each observable.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from ..arrays import FloatArray, IntArray
from ..program import AnalysedCircuit
from ..program.operators import Observable, ProductOperator, axes_of
from ..simulation.statevector import StatevectorSimulator
from ..simulation.statevector.paulis import find_masks
from .drawing import ComplexArray, draw_outcomes, find_probabilities
from .grouping import group_qubit_wise

KEPT_VALUES = 1 << 14
"""The most numbers of a table of values that a group keeps."""
FEW_OUTCOMES = 64
"""Outcomes up to which their counts are drawn, however few the shots are."""
OUTCOMES_PER_SHOT = 4
"""Outcomes for each shot above which drawing shot by shot takes less time."""
TABLE_SIZE = 1 << 22
"""The most numbers in a table of the values that outcomes give to observables."""
EPS = float(np.finfo(float).eps)


@dataclass(frozen=True)
class MeasurementGroup:
    """Terms that are measured together.

    Attributes:
        bits: The bits of the state that are measured, ascending; they are the outcome's bits.
        changes: The bits of the state that are measured in X or Y, and whether it is Y.
        members: The ``M`` observables that have a term here.
        masks: For each term, the bits of the outcome whose parity is the term's sign.
        fixed: For each term, the bits of the outcome that its projectors fix.
        wanted: For each term, the values they fix these bits to; a term is zero for every other
            outcome.
        owners: For each term, which of the members it belongs to.
        coefficients: For each term, its coefficient.
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
        """The largest absolute value that a shot can give to each member: ``(M,)``."""
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
        """Return the values that outcomes give to a term."""
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
        """Return the probability of each outcome, ``(N, S)``, in states ``(N, 2**n)``."""
        return find_probabilities(states, self.bits, self.changes)


@dataclass(frozen=True)
class MeasurementPlan:
    """All measurements that some observables on one circuit need.

    Attributes:
        simulator: Prepares the states.
        groups: What is measured on them.
        constants: The sums of the coefficients of terms without any Pauli, ``(O,)``.
    """

    simulator: StatevectorSimulator
    groups: tuple[MeasurementGroup, ...]
    constants: FloatArray

    @property
    def kept_numbers(self) -> int:
        """About how many numbers the groups keep in memory."""
        return sum(
            len(g.masks) + min(KEPT_VALUES, len(g.members) << len(g.bits)) for g in self.groups
        )


def find_idle_qubits(
    observables: Sequence[Observable], simulated: Collection[int]
) -> tuple[int, ...]:
    """Return the qubits that are measured in X or Y though nothing acts on them.

    Their outcomes are random; only Z is known of a qubit in state zero.
    """
    needed = np.any([axes_of(o)[0].any(axis=0) for o in observables], axis=0)
    return tuple(q for q in np.flatnonzero(needed).tolist() if q not in simulated)


def add_identities(analysed: AnalysedCircuit, qubits: Sequence[int]) -> AnalysedCircuit:
    """Return the circuit with identities on ``qubits``, so that these are simulated."""
    circuit = analysed.circuit.copy()
    circuit.rz(0.0, list(qubits))
    return AnalysedCircuit(circuit, analysed.parameters)


def plan_measurement(
    simulator: StatevectorSimulator, observables: Sequence[Observable]
) -> MeasurementPlan:
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
    return MeasurementPlan(simulator, groups, constants)


def _group(terms: IntArray, c: FloatArray, num_bits: int) -> MeasurementGroup:
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
    return MeasurementGroup(bits, changes, members, masks, fixed, wanted, owners, c)


def sample_group(
    group: MeasurementGroup, probabilities: FloatArray, shots: int, generator: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    r"""Draw shots of one group, for each point, and return means and variances of the means.

    The variance is :math:`\sum_s (v_s - \bar v)^2 / (m - 1) / m` over ``m`` shots with values
    :math:`v_s`. A single shot tells nothing of it; then it is the square of the largest value.

    Args:
        group: Whose terms are measured.
        probabilities: Of each outcome, shape ``(N, S)``.
        shots: Their number ``m``.
        generator: Where randomness comes from; rows take it one after the other.

    Returns:
        Two arrays of shape ``(N, M)``, for the members of the group.
    """
    if probabilities.shape[1] <= max(FEW_OUTCOMES, OUTCOMES_PER_SHOT * shots):
        mean, square = _draw_counts(group, probabilities, shots, generator)
    else:
        mean, square = _draw_shots(group, probabilities, shots, generator)
    if shots == 1:
        return mean, np.broadcast_to(group.bound**2, mean.shape)
    variance = square - mean**2
    variance[variance < 16 * EPS * square] = 0.0  # all shots gave the same
    return mean, variance / (shots - 1)


def _draw_counts(
    group: MeasurementGroup, probabilities: FloatArray, shots: int, generator: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Draw how often each outcome comes; return means of values and of their squares."""
    rows, outcomes = probabilities.shape
    frequencies = generator.multinomial(shots, probabilities) / shots
    mean = np.empty((rows, len(group.members)))
    square = np.empty_like(mean)
    step = max(1, TABLE_SIZE // outcomes)
    for first in range(0, len(group.members), step):
        last = min(first + step, len(group.members))
        values = group.outcome_values(first, last)
        mean[:, first:last] = frequencies @ values
        square[:, first:last] = frequencies @ values**2
    return mean, square


def _draw_shots(
    group: MeasurementGroup, probabilities: FloatArray, shots: int, generator: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Draw each shot's outcome; return means of values and of their squares."""
    outcomes = draw_outcomes(probabilities, shots, generator)
    mean = np.empty((len(probabilities), len(group.members)))
    square = np.empty_like(mean)
    for member in range(len(group.members)):
        value = np.zeros(outcomes.shape)
        for t in np.flatnonzero(group.owners == member).tolist():
            value += group.values_of(t, outcomes)
        mean[:, member] = value.mean(axis=1)
        square[:, member] = (value**2).mean(axis=1)
    return mean, square
