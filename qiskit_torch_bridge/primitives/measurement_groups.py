# SPDX-License-Identifier: Apache-2.0
r"""Which terms are measured together, and what outcomes say of the observables that have them.

Terms that commute qubit by qubit are measured together: one basis change for each qubit makes all
of them products of Z, and each shot gives a value to every one of them.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import BoolArray, FloatArray, IntArray
from ..program.operators import Observable, ProductOperator, as_products
from .grouping import group_qubit_wise, pack_words

KEPT_VALUES = 1 << 14
"""The most numbers of a table of values that a group keeps."""
TABLE_SIZE = 1 << 22
"""The most numbers in a table of the values that outcomes give to observables."""
WORD = 62
"""The most bits of an outcome that is one whole number."""
EPS = float(np.finfo(float).eps)


@dataclass(frozen=True)
class MeasurementGroup:
    """Terms that are measured together.

    Attributes:
        bits: The qubits that are measured, ascending; they are the outcome's bits.
        changes: The qubits that are measured in X or Y, and whether it is Y.
        members: The ``M`` observables that have a term here.
        masks: For each term, the bits of the outcome whose parity is the term's sign. These are
            whole numbers, as outcomes are, or several words each along a last axis if there are
            more than :data:`WORD` bits.
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
        odd = self._join(np.bitwise_xor, np.bitwise_count(outcomes & self.masks[t])) & 1
        values: FloatArray = self.coefficients[t] * (1.0 - 2.0 * odd)
        if np.any(self.fixed[t]):
            passed = (outcomes & self.fixed[t]) == self.wanted[t]
            values = values * self._join(np.logical_and, passed)
        return values

    def _join(self, function: np.ufunc, words: Any) -> Any:
        """Join what was found for each word of the outcomes."""
        return words if self.masks.ndim == 1 else function.reduce(words, axis=-1)

    def _passing(self, t: int) -> IntArray:
        """Return the outcomes that the projectors of a term let pass."""
        found = self.wanted[t : t + 1]
        for bit in range(len(self.bits)):
            if not self.fixed[t] >> bit & 1:
                found = np.concatenate([found, found | 1 << bit])
        return found


def group_terms(
    observables: Sequence[Observable],
) -> tuple[tuple[MeasurementGroup, ...], FloatArray]:
    """Return how ``O`` observables are measured, in as few groups as a greedy search finds.

    Returns:
        The groups, and the sums of the coefficients of terms without any Pauli, ``(O,)``.
    """
    products = [as_products(observable) for observable in observables]
    owners = np.repeat(np.arange(len(products)), [len(product) for product in products])
    c = np.concatenate([np.zeros(0), *(np.real(product.coeffs) for product in products)])
    constants = np.zeros(len(products))
    if not len(c):
        return (), constants
    letters = np.concatenate([product.letters for product in products])
    trivial = (letters == 0).all(axis=1)
    np.add.at(constants, owners[trivial], c[trivial])
    letters, owners, c = letters[~trivial], owners[~trivial], c[~trivial]
    terms = ProductOperator(letters, c)
    group_of = group_qubit_wise(pack_words(terms.x), pack_words(terms.z), terms.num_qubits)
    groups = (
        _make_group(letters[group_of == g], c[group_of == g], owners[group_of == g])
        for g in range(group_of.max(initial=-1) + 1)
    )
    return tuple(groups), constants


def _make_group(letters: Any, c: FloatArray, owners: IntArray) -> MeasurementGroup:
    terms = ProductOperator(letters, c)
    x, z = terms.x, terms.z
    bits = np.flatnonzero((x | z).any(axis=0)).tolist()
    changes = tuple((b, bool(z[:, b].any())) for b in np.flatnonzero(x.any(axis=0)).tolist())
    parity = (x | z) & ~terms.projected
    masks, fixed, wanted = (
        _as_outcomes(table[:, bits]) for table in (parity, terms.projected, terms.negative)
    )
    members, places = np.unique(owners, return_inverse=True)
    return MeasurementGroup(tuple(bits), changes, members, masks, fixed, wanted, places, c)


def _as_outcomes(table: BoolArray) -> IntArray:
    """Return bits ``(T, k)`` as whole numbers ``(T,)``, or as words ``(T, words)``."""
    words = pack_words(table)
    # NumPy counts the bits of the absolute value of negative numbers.
    return words[:, 0] if table.shape[1] <= WORD else words.view(np.uint64)


def estimate_from_counts(
    group: MeasurementGroup, frequencies: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return means of values and of their squares, ``(N, M)``, from how often outcomes came.

    Args:
        group: Whose terms were measured.
        frequencies: Of each outcome, shape ``(N, S)``.
    """
    rows, outcomes = frequencies.shape
    mean = np.empty((rows, len(group.members)))
    square = np.empty_like(mean)
    step = max(1, TABLE_SIZE // outcomes)
    for first in range(0, len(group.members), step):
        last = min(first + step, len(group.members))
        values = group.outcome_values(first, last)
        mean[:, first:last] = frequencies @ values
        square[:, first:last] = frequencies @ values**2
    return mean, square


def estimate_from_outcomes(
    group: MeasurementGroup, outcomes: IntArray, weights: FloatArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """Return means of values and of their squares, ``(N, M)``, from each shot's outcome.

    Args:
        group: Whose terms were measured.
        outcomes: Shape ``(N, shots)``, or ``(N, shots, words)``.
        weights: Of the outcomes, ``(shots,)``, adding up to one; default: all the same.
    """
    shape = outcomes.shape[:2]
    weights = np.full(shape[1], 1 / shape[1]) if weights is None else weights
    mean = np.empty((shape[0], len(group.members)))
    square = np.empty_like(mean)
    for member in range(len(group.members)):
        value = np.zeros(shape)
        for t in np.flatnonzero(group.owners == member).tolist():
            value += group.values_of(t, outcomes)
        mean[:, member] = value @ weights
        square[:, member] = value**2 @ weights
    return mean, square


def find_variances(
    group: MeasurementGroup, mean: FloatArray, square: FloatArray, shots: int
) -> FloatArray:
    r"""Return the variances of the means, ``(N, M)``.

    They are :math:`\sum_s (v_s - \bar v)^2 / (m - 1) / m` over ``m`` shots with values
    :math:`v_s`. A single shot tells nothing of it; then it is the square of the largest value.
    """
    if shots == 1:
        return np.broadcast_to(group.bound**2, mean.shape)
    variance = square - mean**2
    variance[variance < 16 * EPS * square] = 0.0  # all shots gave the same
    return variance / (shots - 1)
