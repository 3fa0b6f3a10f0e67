# SPDX-License-Identifier: Apache-2.0
r"""Initial states that depend on inputs and weights, and derivatives with respect to these.

A preparation makes amplitudes of numbers :math:`r`, which are affine in inputs and weights:

.. math:: \psi = r / \lVert r\rVert .

This is smooth wherever there is a norm, while the angles of rotations that prepare the same state
are not: where a part of the vector vanishes their derivatives are infinite. So the kernels start
from the states and leave, once they are back, the bra :math:`\langle\beta|` that meets the initial
state. Derivatives are :math:`2\,\mathrm{Re}\langle\beta|\dot\psi\rangle`, and with
:math:`\gamma` the gradient with respect to real and imaginary parts of :math:`\psi`

.. math:: \gamma_r = (\gamma - \psi\,(\psi\cdot\gamma)) / \lVert r\rVert .

The derivatives of that along tangents are the second ones. States of several preparations are
products, beside bits that are prepared in fixed states or are zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

from ... import memory
from ...arrays import BoolArray, ComplexArray, FloatArray, IntArray
from ..expressions import Pair
from ..kernels.tables import Sources
from ..tape.operations import Preparation


class Numbers(NamedTuple):
    """The numbers of one preparation: ``offset + x' @ of_inputs + w' @ of_weights``.

    Attributes:
        offset: Shape ``(V,)``.
        of_inputs: Shape ``(I', V)``, sparse.
        of_weights: Shape ``(W', V)``, sparse.
        is_complex: Whether the second half of them are imaginary parts.
    """

    offset: FloatArray
    of_inputs: Any
    of_weights: Any
    is_complex: bool

    def at(self, x: FloatArray, w: FloatArray) -> FloatArray:
        """Return the numbers ``(B, V)``, or their tangents but for the offset."""
        found = np.zeros((max(len(x), len(w)), len(self.offset)))
        found += np.asarray(self.of_inputs.T @ x.T).T
        found += np.asarray(self.of_weights.T @ w.T).T
        return found


class Normalised(NamedTuple):
    """Vectors of numbers with a norm: ``unit`` ``(B, V)`` times ``norm`` ``(B, 1)``."""

    unit: FloatArray
    norm: FloatArray

    def project(self, gradient: FloatArray) -> FloatArray:
        """Return what a change of the numbers changes of the unit vector, or back."""
        along = (self.unit * gradient).sum(-1, keepdims=True)
        found: FloatArray = (gradient - self.unit * along) / self.norm
        return found

    def project_tangent(
        self, gradient: FloatArray, moved: FloatArray, dgradient: FloatArray
    ) -> FloatArray:
        """Return the derivative of :meth:`project` where the numbers move by ``moved``."""
        unit_dot = self.project(moved)
        norm_dot = (self.unit * moved).sum(-1, keepdims=True)
        along = (self.unit * gradient).sum(-1, keepdims=True)
        along_dot = (unit_dot * gradient).sum(-1, keepdims=True)
        turned = (unit_dot * along + self.unit * along_dot) / self.norm
        scaled = self.project(gradient) * norm_dot / self.norm
        found: FloatArray = self.project(dgradient) - turned - scaled
        return found


class EncodedStates:
    """The initial states of a tape whose preparations depend on values.

    Args:
        preparations: The tape's; some with fixed amplitudes perhaps.
        fixed: The state of bits whose amplitudes are fixed, ``(2**n,)``: the others are zero in it.
        sources: Where the numbers of all other preparations come from, one after the other.
        num_inputs: How many columns ``x'`` has; those of ``w'`` follow.
        num_weights: How many ``w'`` has.

    Attributes:
        columns: The columns of ``x'`` and ``w'`` that the numbers depend on, ``(I' + W',)``.
    """

    def __init__(
        self,
        preparations: Sequence[Preparation],
        fixed: ComplexArray,
        sources: Sources,
        num_inputs: int,
        num_weights: int,
    ) -> None:
        self._numbers: list[Numbers] = []
        self._parts: list[IntArray] = []
        encoded = [p for p in preparations if p.numbers]
        self._size = len(fixed)
        spread = np.flatnonzero(fixed)  # no bit that is encoded is set in any of these
        for preparation in encoded:
            masks = [1 << bit for bit in preparation.bits]
            for mask in masks:
                spread = np.concatenate([spread, spread | mask])
        self._support = np.sort(spread)
        every = sum(1 << bit for p in encoded for bit in p.bits)
        self._base: ComplexArray = fixed[self._support & ~every]
        first = 0
        matrix = scipy.sparse.csr_array(
            (sources.coefficients, sources.columns, sources.starts),
            shape=(len(sources.offsets), num_inputs + num_weights),
        )
        self.columns: BoolArray = np.bincount(
            sources.columns, minlength=num_inputs + num_weights
        ).astype(bool)
        for preparation in encoded:
            index = np.zeros_like(self._support)
            for j, bit in enumerate(preparation.bits):
                index |= (self._support >> bit & 1) << j
            self._parts.append(index)
            last = first + len(preparation.numbers)
            rows = matrix[first:last]
            self._numbers.append(
                Numbers(
                    sources.offsets[first:last],
                    rows[:, :num_inputs].T.tocsr(),
                    rows[:, num_inputs:].T.tocsr(),
                    len(preparation.numbers) > 1 << len(preparation.bits),
                )
            )
            first = last

    def normalise(self, x: FloatArray, w: FloatArray) -> list[Normalised] | None:
        """Return the vectors of all preparations; ``None`` if one of them has no norm."""
        found: list[Normalised] = []
        for numbers in self._numbers:
            given = numbers.at(x, w) + numbers.offset
            scale = np.abs(given).max(-1, keepdims=True, initial=0)
            if not (np.isfinite(scale) & (scale > 0)).all():
                return None
            given /= scale
            norm = np.sqrt((given * given).sum(-1, keepdims=True))
            found.append(Normalised(given / norm, norm * scale))
        return found

    def tangents(self, dx: FloatArray, dw: FloatArray) -> list[FloatArray]:
        """Return how the numbers ``(B, V)`` of each preparation move."""
        return [numbers.at(dx, dw) for numbers in self._numbers]

    def states(
        self, vectors: list[Normalised], moved: list[FloatArray] | None = None
    ) -> list[ComplexArray]:
        """Return the states ``(B, N)`` on the support, and their tangents if the numbers move."""
        units = [self._amplitudes(k, v.unit) for k, v in enumerate(vectors)]
        found = [self._product(units)]
        if moved is not None:
            found.append(self._product_tangent(units, self._unit_tangents(vectors, moved)))
        return found

    def pull_back(
        self,
        vectors: list[Normalised],
        moved: list[FloatArray] | None,
        bra: ComplexArray,
        dbra: ComplexArray | None = None,
    ) -> Pair:
        """Return the gradients with respect to ``x'`` ``(B, I')`` and ``w'`` ``(B, W')``.

        Args:
            vectors: From :meth:`normalise`.
            moved: How the numbers move, if the derivatives of gradients along that are wanted.
            bra: What meets the initial states, ``(B, N)`` on the support.
            dbra: Its derivative along the tangents.
        """
        units = [self._amplitudes(k, v.unit) for k, v in enumerate(vectors)]
        dunits = [] if moved is None else self._unit_tangents(vectors, moved)
        found = []
        for k, vector in enumerate(vectors):
            others = self._product(units, k)
            gradient = self._gradient(k, bra, others)
            if moved is None or dbra is None:
                found.append(vector.project(gradient))
                continue
            dgradient = self._gradient(k, dbra, others)
            if len(vectors) > 1:
                dothers = self._product_tangent(units, dunits, k)
                dgradient = dgradient + self._gradient(k, bra, dothers)
            found.append(vector.project_tangent(gradient, moved[k], dgradient))
        return self._to_columns(found)

    def to_chunks(self, states: list[ComplexArray], rows_t: int, dtype: Any) -> Any:
        """Return vectors ``(B, N)`` as the kernels take them: ``(chunks, 2 * V * 2**n * T)``."""
        rows, vectors = len(states[0]), len(states)
        chunks = -(-rows // rows_t)
        size = chunks * 2 * vectors * self._size * rows_t
        memory.require(2 * size * np.dtype(dtype).itemsize, self._size.bit_length() - 1)
        found = np.zeros((chunks * rows_t, vectors, 2, self._size), dtype)
        for k, state in enumerate(states):
            found[:rows, k, 0, self._support] = state.real
            found[:rows, k, 1, self._support] = state.imag
        parts = found.reshape(chunks, rows_t, 2 * vectors * self._size)
        return np.ascontiguousarray(parts.transpose(0, 2, 1)).reshape(chunks, -1)

    def from_chunks(self, chunks: Any, rows: int, vectors: int) -> list[ComplexArray]:
        """Return ``V`` vectors ``(B, N)`` of what kernels have left."""
        parts = chunks.reshape(len(chunks), 2 * vectors * self._size, -1).transpose(0, 2, 1)
        parts = parts.reshape(-1, vectors, 2, self._size)[:rows]
        return [
            parts[:, k, 0, self._support] + 1j * parts[:, k, 1, self._support]
            for k in range(vectors)
        ]

    def _amplitudes(self, k: int, unit: FloatArray) -> ComplexArray:
        """Return the amplitudes of one preparation on the support: ``(B, N)``."""
        half = unit.shape[-1] // 2
        found: Any = unit
        if self._numbers[k].is_complex:
            found = unit[:, :half] + 1j * unit[:, half:]
        amplitudes: ComplexArray = found[:, self._parts[k]].astype(complex, copy=False)
        return amplitudes

    def _unit_tangents(
        self, vectors: list[Normalised], moved: list[FloatArray]
    ) -> list[ComplexArray]:
        pairs = enumerate(zip(vectors, moved, strict=True))
        return [self._amplitudes(k, v.project(r)) for k, (v, r) in pairs]

    def _product(self, units: list[ComplexArray], without: int = -1) -> ComplexArray:
        """Return the product of the amplitudes of all preparations, but for one of them."""
        found = self._base[None]
        for k, unit in enumerate(units):
            if k != without:
                found = found * unit
        return found

    def _product_tangent(
        self, units: list[ComplexArray], dunits: list[ComplexArray], without: int = -1
    ) -> ComplexArray:
        total = np.zeros_like(units[0])
        for moving in range(len(units)):
            if moving != without:
                chosen = [d if k == moving else u for k, (u, d) in enumerate(zip(units, dunits))]  # noqa: B905
                total = total + self._product(chosen, without)
        return total

    def _gradient(self, k: int, bra: ComplexArray, others: ComplexArray) -> FloatArray:
        """Return the gradient ``(B, V)`` with respect to the unit vector of a preparation."""
        met = 2 * bra * others.conj()
        numbers = self._numbers[k]
        count = len(numbers.offset) >> numbers.is_complex
        if len(self._support) == count:
            found = np.empty_like(met)
            found[:, self._parts[k]] = met
        else:
            found = np.zeros((len(met), count), dtype=complex)
            where: Any = (slice(None), self._parts[k])
            np.add.at(found, where, met)
        parts = (found.real, found.imag) if numbers.is_complex else (found.real,)
        return np.concatenate(parts, -1)

    def _to_columns(self, gradients: list[FloatArray]) -> Pair:
        """Return gradients with respect to numbers as those with respect to ``x'`` and ``w'``."""
        pairs = list(zip(self._numbers, gradients, strict=True))
        of_inputs = [np.asarray(numbers.of_inputs @ g.T).T for numbers, g in pairs]
        of_weights = [np.asarray(numbers.of_weights @ g.T).T for numbers, g in pairs]
        return np.sum(of_inputs, axis=0), np.sum(of_weights, axis=0)
