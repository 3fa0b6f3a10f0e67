# SPDX-License-Identifier: Apache-2.0
r"""Which measurements give some observables, and with which probabilities their outcomes come.

Terms that commute qubit by qubit are measured together: one basis change for each qubit makes all
of them products of Z, and each shot gives a value to every one of them.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit.quantum_info import SparsePauliOp

from ..arrays import FloatArray, IntArray
from ..program import AnalysedCircuit
from ..statevector import StatevectorSimulator
from ..statevector.paulis import masks_of

ComplexArray = NDArray[np.complex128]

KEPT_VALUES = 1 << 14
"""Numbers in a group's table of values up to which it is kept."""
SPAN = 4
"""Qubits whose basis is changed by one matrix."""

_TO_X = np.array([[1, 1], [1, -1]], dtype=complex) / np.sqrt(2)
_TO_Y = np.array([[1, -1j], [1, 1j]], dtype=complex) / np.sqrt(2)


@dataclass(frozen=True)
class Group:
    """Terms that are measured together.

    Attributes:
        bits: The bits of the state that are measured, ascending; they are the outcome's bits.
        changes: Basis changes: the first bit, the number of bits, and a matrix on them.
        members: The observables ``M`` of all that have a term here.
        masks: For each term the bits of the outcome whose parity is its sign.
        owners: Which of the members it belongs to.
        coefficients: With which coefficient.
    """

    bits: tuple[int, ...]
    changes: tuple[tuple[int, int, ComplexArray], ...]
    members: IntArray
    masks: IntArray
    owners: IntArray
    coefficients: FloatArray

    @functools.cached_property
    def bound(self) -> FloatArray:
        """The largest size of a shot's value for each member: ``(M,)``."""
        return np.bincount(self.owners, np.abs(self.coefficients), len(self.members))

    def outcome_values(self, first: int, last: int) -> FloatArray:
        r"""Return :math:`\sum_t c_t (-1)^{|s \wedge m_t|}` of each outcome and some members."""
        whole = (first, last) == (0, len(self.members))
        if whole and len(self.members) << len(self.bits) <= KEPT_VALUES:
            return self._all_values
        return self._values(first, last)

    @functools.cached_property
    def _all_values(self) -> FloatArray:
        return self._values(0, len(self.members))

    def _values(self, first: int, last: int) -> FloatArray:
        values = np.zeros((1 << len(self.bits), last - first))
        mine = (first <= self.owners) & (self.owners < last)
        np.add.at(values, (self.masks[mine], self.owners[mine] - first), self.coefficients[mine])
        for bit in range(len(self.bits)):
            pairs = values.reshape(-1, 2, 1 << bit, last - first)
            pairs[:, 0], pairs[:, 1] = pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]
        return values

    def probabilities(self, states: ComplexArray) -> FloatArray:
        """Return the probability of each outcome, ``(N, S)``, in states ``(N, 2**n)``."""
        rows, n = len(states), states.shape[1].bit_length() - 1
        for low, width, matrix in self.changes:
            if low:
                view = states.reshape(-1, 1 << width, 1 << low)
                states = np.matmul(matrix.astype(states.dtype), view).reshape(rows, -1)
            else:
                view = states.reshape(-1, 1 << width)
                states = (view @ matrix.T.astype(states.dtype)).reshape(rows, -1)
        weights = np.square(states.real, dtype=float)
        weights += np.square(states.imag, dtype=float)
        if len(self.bits) < n:
            weights = _marginal(weights, self.bits, n)
        weights /= weights.sum(axis=1, keepdims=True)
        return weights


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


def with_idle_qubits(
    analysed: AnalysedCircuit, observables: Sequence[SparsePauliOp], simulated: Sequence[int]
) -> AnalysedCircuit | None:
    """Return the circuit with the idle qubits that are measured in X or Y, if there are any.

    Their outcomes are random; only Z is known on a qubit that nothing acts on.
    """
    needed = np.zeros(analysed.circuit.num_qubits, dtype=bool)
    for operator in observables:
        needed |= np.asarray(operator.paulis.x).any(axis=0)
    missing = sorted(set(np.flatnonzero(needed).tolist()) - set(simulated))
    if not missing:
        return None
    circuit = analysed.circuit.copy()
    circuit.rz(0.0, missing)
    return AnalysedCircuit(circuit, analysed.parameters)


def measurement(
    simulator: StatevectorSimulator, observables: Sequence[SparsePauliOp]
) -> Measurement:
    """Plan the measurement of ``observables`` on the states that ``simulator`` prepares."""
    position = simulator.tape.position
    parts: list[IntArray] = []
    coefficients: list[FloatArray] = []
    for o, operator in enumerate(observables):
        x, z, kept = masks_of(operator, position)
        parts.append(np.stack([x, z, np.full_like(x, o)], axis=1))
        coefficients.append(np.asarray(operator.coeffs).real[kept])
    terms, c = np.concatenate(parts), np.concatenate(coefficients)
    constants = np.zeros(len(observables))
    trivial = (terms[:, :2] == 0).all(axis=1)
    np.add.at(constants, terms[trivial, 2], c[trivial])
    terms, c = terms[~trivial], c[~trivial]
    group_of = group_qubit_wise(terms[:, 0], terms[:, 1], simulator.tape.num_bits)
    groups = tuple(
        _group(terms[group_of == g], c[group_of == g], simulator.tape.num_bits)
        for g in range(group_of.max(initial=-1) + 1)
    )
    return Measurement(simulator, groups, constants)


def group_qubit_wise(x: IntArray, z: IntArray, num_bits: int) -> IntArray:
    """Return the group of each Pauli string, given by its masks: as few groups as a greedy finds.

    Strings with many conflicts come first, those with equally many by their labels. That is what
    Qiskit's ``PauliList.group_commuting(qubit_wise=True)`` makes of a sorted list.
    """
    letter_at = [(x >> b & 1) + (z >> b & 1) * (3 - 2 * (x >> b & 1)) for b in range(num_bits)]
    order = np.lexsort(letter_at)
    pairs = np.stack([x, z], axis=1)[order]
    new = np.any(np.diff(pairs, axis=0, prepend=-1) != 0, axis=1)
    string_of = np.empty(len(x), dtype=np.int64)
    string_of[order] = np.cumsum(new) - 1
    return _coloured(*pairs[new].T)[string_of]


def _coloured(x: IntArray, z: IntArray) -> IntArray:
    conflicts = [np.count_nonzero(_conflict(x[t], z[t], x, z)) for t in range(len(x))]
    group_x, group_z, group_of = (np.zeros(len(x), dtype=np.int64) for _ in range(3))
    count = 0
    for t in np.argsort(-np.array(conflicts, dtype=np.int64), kind="stable"):
        fits = ~_conflict(x[t], z[t], group_x[:count], group_z[:count])
        g = int(np.argmax(fits)) if fits.any() else count
        count = max(count, g + 1)
        group_x[g] |= x[t]
        group_z[g] |= z[t]
        group_of[t] = g
    return group_of


def _conflict(x: Any, z: Any, others_x: IntArray, others_z: IntArray) -> Any:
    """Whether a string has another letter than others somewhere where both have one."""
    return ((x ^ others_x) | (z ^ others_z)) & (x | z) & (others_x | others_z) != 0


def _group(terms: IntArray, c: FloatArray, num_bits: int) -> Group:
    x, z = (int(np.bitwise_or.reduce(column)) for column in (terms[:, 0], terms[:, 1]))
    bits = tuple(b for b in range(num_bits) if (x | z) >> b & 1)
    support = terms[:, 0] | terms[:, 1]
    masks = np.zeros(len(terms), dtype=np.int64)
    for place, bit in enumerate(bits):
        masks |= (support >> bit & 1) << place
    changes = []
    for low in range(0, num_bits, SPAN):
        width = min(SPAN, num_bits - low)
        if x >> low & ((1 << width) - 1):
            matrix = np.ones((1, 1), dtype=complex)
            for bit in range(low, low + width):
                change = (_TO_Y if z >> bit & 1 else _TO_X) if x >> bit & 1 else np.eye(2)
                matrix = np.kron(change, matrix)
            changes.append((low, width, matrix))
    members, owners = np.unique(terms[:, 2], return_inverse=True)
    return Group(bits, tuple(changes), members, masks, owners, c)


def _marginal(weights: FloatArray, bits: Sequence[int], num_bits: int) -> FloatArray:
    """Sum probabilities ``(N, 2**n)`` over all bits but some."""
    kept = [bit in bits for bit in reversed(range(num_bits))]
    runs = [0, *(b for b in range(1, num_bits) if kept[b] != kept[b - 1]), num_bits]
    sizes = [1 << (stop - start) for start, stop in itertools.pairwise(runs)]
    dropped = tuple(1 + r for r, start in enumerate(runs[:-1]) if not kept[start])
    return weights.reshape(-1, *sizes).sum(axis=dropped).reshape(len(weights), -1)
