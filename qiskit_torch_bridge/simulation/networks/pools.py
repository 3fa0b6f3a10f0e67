# SPDX-License-Identifier: Apache-2.0
r"""The tensors that depend on angles, computed for all networks at once, and their derivatives.

With a gradient :math:`G` of a number by a segment :math:`M = C_K D_K \cdots D_1 C_0`, the gradient
by its parts follows backward; a real number that is the sum of a ket's and its bra's contributions
has twice the real part of what comes from the ket's tensors alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse
from numpy.typing import DTypeLike

from ...arrays import BoolArray, ComplexArray, FloatArray, IntArray
from .tables import Tables

_PARITY = np.array([1.0, -1.0])[:, None]
"""Signs of the rows of a matrix that follows a phase."""
_PAIR_SIGNS = np.array([[1.0, -1.0], [-1.0, 1.0]])


class Tensors(NamedTuple):
    """The arrays of a pool, or derivatives with respect to them or of them.

    Attributes:
        segments: Shape ``(S, R, 2, 2)``.
        pairs: Phases by the bits of two qubits, ``(E, R, 2, 2)``.
        bonds: Cosine, and ``-i`` times sine, of half the angles, ``(E, R, 2)``.
    """

    segments: ComplexArray
    pairs: ComplexArray
    bonds: ComplexArray


class Values(NamedTuple):
    """What a pool has computed for some values.

    Attributes:
        phases: Shape ``(E, R)``.
        after: Segments up to and with each phase, one array for each number of phases.
        tensors: What networks are made of.
    """

    phases: ComplexArray
    after: list[ComplexArray]
    tensors: Tensors


class Pool:
    """Tensors whose angles all depend on the same: on weights, or also on inputs.

    Args:
        tables: All phases and segments.
        segments: The numbers of the segments in the pool,
        pairs: of the phases of pairs, and
        bonds: of those of bonds.
        num_columns: How many columns ``x'`` and ``w'`` have together.
        dtype: Of the tensors.
    """

    def __init__(
        self,
        tables: Tables,
        segments: Sequence[int],
        pairs: Sequence[int],
        bonds: Sequence[int],
        num_columns: int,
        dtype: DTypeLike,
    ) -> None:
        chosen = sorted(segments, key=lambda s: -len(tables.segments[s].phases))
        found = [tables.segments[s] for s in chosen]
        phases = sorted({*(p for s in found for p in s.phases), *pairs, *bonds})
        place = {phase: k for k, phase in enumerate(phases)}
        self.segment_places = {s: k for k, s in enumerate(chosen)}
        self.pair_places = {p: k for k, p in enumerate(pairs)}
        self.bond_places = {p: k for k, p in enumerate(bonds)}
        self._pairs, self._bonds = (
            np.array([place[p] for p in numbers], dtype=np.int64) for numbers in (pairs, bonds)
        )
        longest = max((len(s.phases) for s in found), default=0)
        matrices = np.array([m if m.shape == (2, 2) else _NONE for m in tables.constants.matrices])
        self._constants: list[ComplexArray] = []
        self._of_phase: list[IntArray] = []
        for k in range(longest + 1):
            there = [s for s in found if len(s.phases) >= k]
            numbers = [s.constants[k] for s in there]
            self._constants.append(matrices[numbers][:, None].astype(dtype))
            if k:
                of_phase = [place[s.phases[k - 1]] for s in there]
                self._of_phase.append(np.array(of_phase, dtype=np.int64))
        forms = [tables.forms[p] for p in phases]
        self._offsets = np.array([form.offset for form in forms])
        counts = [len(form.terms) for form in forms]
        terms = np.array([term for form in forms for term in form.terms]).reshape(-1, 2)
        rows, columns = np.repeat(np.arange(len(forms)), counts), terms[:, 0].astype(np.int64)
        shape = (len(forms), num_columns)
        self._map = scipy.sparse.csr_array((terms[:, 1], (rows, columns)), shape=shape)
        self._dtype = np.dtype(dtype)

    def reads(self, columns: BoolArray) -> tuple[BoolArray, BoolArray, BoolArray]:
        """Return for each segment, pair and bond whether it depends on some of the columns."""
        moved = np.asarray(abs(self._map) @ columns.astype(float)) != 0
        segments = np.zeros(len(self.segment_places), dtype=bool)
        for of_phase in self._of_phase:
            segments[: len(of_phase)] |= moved[of_phase]
        return segments, moved[self._pairs], moved[self._bonds]

    def angles(self, values: FloatArray) -> FloatArray:
        """Return the angles ``(E, R)`` at values ``(R, C)`` of ``x'`` and ``w'`` in turn."""
        found: FloatArray = self._map @ values.T
        return found + self._offsets[:, None]

    def moves(self, tangents: FloatArray) -> FloatArray:
        """Return the derivatives ``(E, R)`` of the angles along tangents ``(R, C)``."""
        found: FloatArray = self._map @ tangents.T
        return found

    def by_columns(self, by_angles: FloatArray) -> FloatArray:
        """Return derivatives ``(R, C)`` from those by angles ``(E, R)``."""
        found: FloatArray = (self._map.T @ by_angles).T
        return found

    def values(self, angles: FloatArray) -> Values:
        """Return all tensors at angles ``(E, R)``."""
        phases = np.exp(-0.5j * angles).astype(self._dtype)
        after = []
        rows = angles.shape[1]
        shape = (len(self._constants[0]), rows, 2, 2)
        matrix = np.broadcast_to(self._constants[0], shape).copy()
        for of_phase, constant in zip(self._of_phase, self._constants[1:], strict=True):
            turned = _both(phases[of_phase]) * matrix[: len(of_phase)]
            after.append(turned)
            matrix[: len(of_phase)] = _product(constant, turned)
        pairs, bonds = phases[self._pairs], phases[self._bonds]
        return Values(
            phases,
            after,
            Tensors(
                matrix, _spread(pairs, pairs.conj()), np.stack([bonds.real, 1j * bonds.imag], -1)
            ),
        )

    def tangents(self, values: Values, moves: FloatArray) -> tuple[list[ComplexArray], Tensors]:
        """Return the derivatives of ``after`` and of the tensors along moving angles ``(E, R)``."""
        half = (-0.5j * moves).astype(self._dtype)
        matrix = np.zeros_like(values.tensors.segments)
        after = []
        for k, of_phase in enumerate(self._of_phase):
            there = slice(len(of_phase))
            turned = half[of_phase][..., None, None] * (_PARITY * values.after[k])
            turned += _both(values.phases[of_phase]) * matrix[there]
            after.append(turned)
            matrix[there] = _product(self._constants[k + 1], turned)
        pairs = half[self._pairs] * values.phases[self._pairs]
        bonds = half[self._bonds] * values.phases[self._bonds]
        return after, Tensors(matrix, _spread(pairs, pairs.conj()), _halves(bonds))

    def no_gradients(self, rows: int) -> Tensors:
        """Return zeros in the shapes of all tensors."""
        sizes = len(self.segment_places), len(self._pairs), len(self._bonds)
        shapes = ((sizes[0], rows, 2, 2), (sizes[1], rows, 2, 2), (sizes[2], rows, 2))
        return Tensors(*(np.zeros(shape, self._dtype) for shape in shapes))

    def pull_back(self, values: Values, gradients: Tensors) -> FloatArray:
        """Return the derivatives by angles ``(E, R)``, given those by tensors."""
        found = np.zeros(values.phases.shape)
        gradient = gradients.segments.copy()
        for k in range(len(self._of_phase) - 1, -1, -1):
            of_phase = self._of_phase[k]
            there = slice(len(of_phase))
            upper = _product(self._constants[k + 1].swapaxes(-1, -2), gradient[there])
            np.add.at(found, of_phase, _by_phase(upper, values.after[k]))
            gradient[there] = _both(values.phases[of_phase]) * upper
        by_pairs = (_PAIR_SIGNS * gradients.pairs * values.tensors.pairs).sum((-1, -2)).imag
        np.add.at(found, self._pairs, by_pairs)
        phases, by_bonds = values.phases[self._bonds], gradients.bonds
        by_angles = by_bonds[..., 0].real * phases.imag + by_bonds[..., 1].imag * phases.real
        np.add.at(found, self._bonds, by_angles)
        return found

    def pull_back_tangent(
        self,
        values: Values,
        moves: FloatArray,
        tangents: tuple[list[ComplexArray], Tensors],
        gradients: Tensors,
        dgradients: Tensors,
    ) -> FloatArray:
        """Return the derivative of :meth:`pull_back` along moving angles and gradients."""
        found = np.zeros(values.phases.shape)
        half = (-0.5j * moves).astype(self._dtype)
        after, dtensors = tangents
        gradient, along = gradients.segments.copy(), dgradients.segments.copy()
        for k in range(len(self._of_phase) - 1, -1, -1):
            of_phase = self._of_phase[k]
            there = slice(len(of_phase))
            turned = self._constants[k + 1].swapaxes(-1, -2)
            upper, dupper = _product(turned, gradient[there]), _product(turned, along[there])
            by_phase = _by_phase(dupper, values.after[k]) + _by_phase(upper, after[k])
            np.add.at(found, of_phase, by_phase)
            phases = _both(values.phases[of_phase])
            gradient[there] = phases * upper
            along[there] = phases * dupper
            along[there] += half[of_phase][..., None, None] * (_PARITY * gradient[there])
        moved = dgradients.pairs * values.tensors.pairs + gradients.pairs * dtensors.pairs
        np.add.at(found, self._pairs, (_PAIR_SIGNS * moved).sum((-1, -2)).imag)
        phases = values.phases[self._bonds]
        dphases = half[self._bonds] * phases
        by_bonds, dby_bonds = gradients.bonds, dgradients.bonds
        by_angles = dby_bonds[..., 0].real * phases.imag + dby_bonds[..., 1].imag * phases.real
        by_angles += by_bonds[..., 0].real * dphases.imag + by_bonds[..., 1].imag * dphases.real
        np.add.at(found, self._bonds, by_angles)
        return found


_NONE = np.zeros((2, 2), dtype=complex)


def _both(phases: ComplexArray) -> ComplexArray:
    """Return phases ``(E, R)`` and their conjugates as factors of rows, ``(E, R, 2, 1)``."""
    return np.stack([phases, phases.conj()], -1)[..., None]


def _spread(even: ComplexArray, odd: ComplexArray) -> ComplexArray:
    """Return tensors ``(E, R, 2, 2)`` of what belongs to even and to odd parity."""
    return np.stack([np.stack([even, odd], -1), np.stack([odd, even], -1)], -2)


def _halves(phases: ComplexArray) -> ComplexArray:
    """Return the real parts of phases ``(E, R)``, and ``i`` times the imaginary ones."""
    return np.stack([phases.real, 1j * phases.imag], -1)


def _product(a: ComplexArray, b: ComplexArray) -> ComplexArray:
    """Return products of two-by-two matrices."""
    found: ComplexArray = a[..., :, :1] * b[..., :1, :] + a[..., :, 1:] * b[..., 1:, :]
    return found


def _by_phase(gradient: ComplexArray, after: ComplexArray) -> FloatArray:
    """Return the derivatives ``(E, R)`` by the angles of phases."""
    found: FloatArray = (_PARITY * gradient * after).sum((-1, -2)).imag
    return found
