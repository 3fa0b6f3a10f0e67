# SPDX-License-Identifier: Apache-2.0
r"""Products of projectors on states on a device, in torch operations.

:mod:`.simulation.statevector.projections` finds what they leave of the index: orbits of
:math:`2^r` elements, each with one of :math:`1, i, -1, -i`. Terms with the same letters share the
directions of orbits and elements, and are taken together. With the strings :math:`i^{k_j}
X^{x_j} Z^{z_j}` that connect an orbit's elements, that of the set :math:`m` of them is

.. math:: v_{i \oplus x_m} = i^{k_m + 2|s \wedge m| + 2|i \wedge z_m|}\, v_i ,

:math:`x_m` and :math:`z_m` being sums, and :math:`k_m` a number that depends on the set alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..arrays import IntArray
from ..simulation.statevector.kernels.tables import Projections
from ..simulation.statevector.pauli_sums import PauliSums
from ..simulation.tape.paulis import PauliString
from .sparse_maps import SparseMap, to_device
from .tapes import values_dtype

AT_ONCE = 1 << 12
"""Amplitudes that are taken at once, though a state has fewer."""


class _Terms(NamedTuple):
    """Terms that share a view, ``T`` of them, with ``F`` orbits of ``E`` elements.

    Attributes:
        orbits: From orbit to orbit, ``(F,)``.
        x: From element to element, ``(E,)``.
        z: Masks of the elements' signs, ``(E,)``.
        k: Their powers of i, ``(E,)``.
        offsets: An index that belongs to each term, ``(T, 1)``.
        signs: Of the strings that connect elements, ``(T, 1)``.
        string_x: Of the string multiplied to each term, ``(T, 1, 1)``.
        string_z: Alike.
        string_k: Alike.
        weights: From terms to observables, by their coefficients.
    """

    orbits: Tensor
    x: Tensor
    z: Tensor
    k: Tensor
    offsets: Tensor
    signs: Tensor
    string_x: Tensor
    string_z: Tensor
    string_k: Tensor
    weights: SparseMap


class _Places(NamedTuple):
    """Where the amplitudes of terms are, all of shape ``(T, F, E)``.

    Attributes:
        source: Those that are read.
        target: Those that they lead to.
        power: The power of i in each element.
        turn: The power of i at its target.
    """

    source: Tensor
    target: Tensor
    power: Tensor
    turn: Tensor


class ProjectedProducts:
    """Observables that are products of projectors.

    Args:
        sums: All observables.
        device: Where states are.
    """

    def __init__(self, sums: PauliSums, device: torch.device) -> None:
        self._dtype = values_dtype(device)
        self._num_observables, self._num_bits = sums.num_observables, sums.num_bits
        self._groups = list(self._group(sums.projections, device))
        self._cosines = to_device(np.array([1, 0, -1, 0]), device, self._dtype)
        self._sines = to_device(np.array([0, 1, 0, -1]), device, self._dtype)

    def read(self, state: Tensor) -> Tensor:
        """Return the expectation values, ``(B, O)``."""
        total = state.new_zeros((state.shape[1], self._num_observables), dtype=self._dtype)
        for terms in self._groups:
            places = _find_places(terms)
            re, im = self._projected(state, places)
            a, b = state.to(self._dtype)[..., places.target].unbind(0)
            total = total + terms.weights((a * re + b * im).sum((-2, -1)))
        return total

    def apply(self, state: Tensor, cotangent: Tensor) -> Tensor:
        """Return the observables, by weights ``(B, O)``, on a state."""
        rows, size = state.shape[1:]
        total = torch.zeros(size, 2, rows, dtype=self._dtype, device=state.device)
        for terms in self._groups:
            places = _find_places(terms)
            weights = terms.weights.transposed(cotangent)[..., None, None]
            parts = torch.stack(self._projected(state, places)) * weights  # (2, B, T, F, E)
            values = parts.flatten(2).permute(2, 0, 1)
            # Accumulated in the order of their places, which are sorted for it.
            total = total.index_put((places.target.flatten(),), values, accumulate=True)
        return total.permute(1, 2, 0).to(state.dtype)

    def _projected(self, state: Tensor, places: _Places) -> tuple[Tensor, Tensor]:
        """What projectors and strings make of a state, ``(B, T, F, E)``: real, imaginary parts."""
        re, im = state.to(self._dtype)[..., places.source].unbind(0)
        c, s = self._cosines[places.power], self._sines[places.power]
        a = (c * re + s * im).sum(-1, keepdim=True)
        b = (c * im - s * re).sum(-1, keepdim=True)
        c, s = self._cosines[places.turn], self._sines[places.turn]
        return c * a - s * b, s * a + c * b

    def _group(self, projections: Projections, device: torch.device) -> Iterator[_Terms]:
        """Yield the terms of each view, so many at a time that they fit beside a state."""
        directions = [PauliString(*map(int, d)) for d in projections.directions.tolist()]
        views = projections.views.tolist()
        for number in np.unique(projections.terms["view_at"]).tolist():
            start, middle, stop = views[number]
            orbits = _span([d.x for d in directions[start:middle]])
            elements = _elements(directions[middle:stop])
            mine = np.flatnonzero(projections.terms["view_at"] == number)
            some = max(1, max(AT_ONCE, 1 << self._num_bits) // (len(orbits) * len(elements)))
            on_orbits, x, z, k = (to_device(a, device, torch.int64) for a in (orbits, *elements.T))
            for first in range(0, len(mine), some):
                at = mine[first : first + some]
                terms, strengths = projections.terms[at], projections.strengths[at]
                offsets, signs, *string = (
                    to_device(terms[name], device, torch.int64)
                    for name in ("offset", "signs", "x", "z", "k")
                )
                weights = SparseMap(
                    terms["observable"],
                    np.arange(len(at)),
                    strengths,
                    (self._num_observables, len(at)),
                    self._dtype,
                    device,
                )
                string_x, string_z, string_k = (a[:, None, None] for a in string)
                yield _Terms(
                    on_orbits, x, z, k, offsets[:, None], signs[:, None], string_x, string_z,
                    string_k, weights,
                )  # fmt: skip


def _find_places(terms: _Terms) -> _Places:
    entries = terms.offsets ^ terms.orbits  # (T, F)
    index = entries[..., None] ^ terms.x
    chosen = torch.arange(len(terms.x), device=terms.x.device)
    power = terms.k + 2 * _parity(terms.signs & chosen)[:, None]
    power = power + 2 * _parity(entries[..., None] & terms.z)
    turn = power + terms.string_k + 2 * _parity(index & terms.string_z)
    return _Places(index, index ^ terms.string_x, power & 3, turn & 3)


def _parity(words: Tensor) -> Tensor:
    """The parities of words of up to 32 bits."""
    for shift in (16, 8, 4, 2, 1):
        words = words ^ (words >> shift)
    return words & 1


def _span(vectors: list[int]) -> IntArray:
    """All sums of vectors over GF(2)."""
    found = np.zeros(1, dtype=np.int64)
    for vector in vectors:
        found = np.concatenate([found, found ^ vector])
    return found


def _elements(strings: list[PauliString]) -> IntArray:
    """The masks x and z and the power of i of all products, ``(2**r, 3)``."""
    found = [PauliString(0, 0)]
    for string in strings:
        # The last string acts where those before it have led to.
        found += [
            PauliString(
                p.x ^ string.x, p.z ^ string.z, (p.k + string.k + 2 * _odd(p.x & string.z)) % 4
            )
            for p in found
        ]
    return np.array([tuple(p) for p in found], dtype=np.int64)


def _odd(word: int) -> int:
    return word.bit_count() & 1
