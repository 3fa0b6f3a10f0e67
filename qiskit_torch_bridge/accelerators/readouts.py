# SPDX-License-Identifier: Apache-2.0
r"""What is read of states on a device, and what cotangents make of it, in torch operations.

States are ``(2, B, 2**n)``, real parts and imaginary parts; what is read is ``(B, S)``. Each kind
of readout has the same methods:

* ``read``: what is read, by operations that can be differentiated to any order,
* ``tangent``: its derivative along that of the state,
* ``bra``: for a cotangent :math:`c` the state :math:`\beta` of which
  :math:`2\operatorname{Re}\langle\beta|\partial\psi\rangle` is the derivative of
  :math:`\sum_s c_s f_s`. For observables it is :math:`\sum_s c_s O_s|\psi\rangle`, also where
  their coefficients are not real,
* ``bra_tangent``: its derivative along those of the state and of the cotangent.

Sums have the same order each time.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..arrays import IntArray
from ..simulation.statevector.kernels.tables import Outputs, PauliTables
from ..simulation.statevector.pauli_sums import PauliSums
from ..simulation.statevector.readouts import CompiledReadout
from .projections import ProjectedProducts
from .sparse_maps import SparseMap, to_device
from .steps import Flips, halve, parity_signs
from .tapes import values_dtype

FEW = 64
"""Strings of one mask that are taken by matrices of signs; more are taken by a transform."""
RADIX = 6
"""Bits that one step of a Walsh-Hadamard transform takes."""


class StateReadout(Protocol):
    """What is read of states."""

    def read(self, state: Tensor) -> Tensor:
        """Return what is read, ``(B, S)``."""

    def tangent(self, state: Tensor, dstate: Tensor) -> Tensor:
        """Return its derivative ``(B, S)`` along that of the state."""

    def bra(self, state: Tensor, cotangent: Tensor) -> Tensor:
        """Return the bra of a cotangent ``(B, S)``, in the state's shape."""

    def bra_tangent(
        self, state: Tensor, dstate: Tensor, cotangent: Tensor, dcotangent: Tensor
    ) -> Tensor:
        """Return the derivative of :meth:`bra`."""


def make_readout(
    compiled: CompiledReadout, device: torch.device, dtype: torch.dtype
) -> StateReadout:
    """Return what is read of states whose parts have a type."""
    outputs, n = compiled.outputs, compiled.tape.num_bits
    if len(outputs.powers):
        rounding = None
        if not compiled.is_whole:  # each operation rounds each amplitude once or twice
            operations = len(compiled.tape.operations) + len(compiled.closing)
            rounding = 16 * (operations + 4) * torch.finfo(dtype).eps
        return AmplitudeReadout(outputs, n, device, dtype, rounding)
    if len(outputs.states):
        return ProbabilityReadout(outputs, n, device)
    return ObservableReadout(compiled.sums, device)


# -- observables ---------------------------------------------------------------------------------


class _Strings:
    """Strings with one mask ``x`` and one parity of Y: sums of signed products of amplitudes.

    Args:
        z: The masks of their signs, all different: ``(E,)``.
        tables: Sums of signs in place of a mask, ``(T, 2**n)``.
        num_bits: The number ``n`` of bits.
        device: Where states are.
    """

    def __init__(self, z: IntArray, tables: Tensor, num_bits: int, device: torch.device) -> None:
        dtype = values_dtype(device)
        self._num_bits, self._tables = num_bits, tables
        self._count = len(z)
        self._places = self._upper = self._lower = None
        if len(z) > FEW:
            self._places = to_device(z, device, torch.int64)
        elif len(z):
            high, low = halve(num_bits)
            self._upper = to_device(parity_signs((z >> low).tolist(), high), device, dtype)
            mask = (1 << low) - 1
            self._lower = to_device(parity_signs((z & mask).tolist(), low), device, dtype)

    def sum_up(self, products: Tensor) -> Tensor:
        """Return the sum of each string and then of each table, ``(E + T, B)``, of ``(B, N)``."""
        parts = []
        if self._places is not None:
            parts.append(walsh_hadamard(products, self._num_bits).index_select(-1, self._places))
        elif self._upper is not None and self._lower is not None:
            whole = products.unflatten(-1, (self._upper.shape[1], self._lower.shape[1]))
            sums = whole @ self._lower.transpose(0, 1)  # (B, 2**high, E)
            parts.append((sums * self._upper.transpose(0, 1)).sum(-2))
        if len(self._tables):
            parts.append(products @ self._tables.transpose(0, 1))
        return torch.cat(parts, -1).transpose(-1, -2)

    def spread(self, weights: Tensor) -> Tensor:
        """Return the sums ``(B, N)`` of all signs by weights ``(E + T, B)``."""
        by_string = weights[: self._count].transpose(-1, -2)
        total = None
        if self._places is not None:
            zeros = weights.new_zeros((weights.shape[-1], 1 << self._num_bits))
            total = walsh_hadamard(zeros.index_copy(-1, self._places, by_string), self._num_bits)
        elif self._upper is not None and self._lower is not None:
            upper = by_string.unsqueeze(-2) * self._upper.transpose(0, 1)  # (B, 2**high, E)
            total = (upper @ self._lower).flatten(-2)
        if len(self._tables):
            rest = weights[self._count :].transpose(-1, -2) @ self._tables
            total = rest if total is None else total + rest
        assert total is not None
        return total


def walsh_hadamard(vectors: Tensor, num_bits: int) -> Tensor:
    r"""Return :math:`\sum_j (-1)^{|i \wedge j|} v_j` for vectors ``(B, 2**n)``."""
    shape = vectors.shape
    for first in range(0, num_bits, RADIX):
        bits = min(RADIX, num_bits - first)
        signs = _hadamard(bits, vectors)
        parts = vectors.reshape(shape[0], 1 << (num_bits - first - bits), 1 << bits, 1 << first)
        vectors = signs @ parts
    return vectors.reshape(shape)


def _hadamard(bits: int, like: Tensor) -> Tensor:
    """The matrix of signs of a few bits, made on the device."""
    signs = like.new_ones((1, 1))
    for _ in range(bits):
        upper = torch.cat([signs, signs], 1)
        signs = torch.cat([upper, torch.cat([signs, -signs], 1)], 0)
    return signs


class _Group:
    """All strings with one mask ``x``: those with an even number of Y, and those with an odd."""

    def __init__(
        self, paulis: PauliTables, number: int, num_bits: int, device: torch.device
    ) -> None:
        group = paulis.groups[number]
        self.flips = Flips(int(group["x"]), num_bits)
        bounds = [int(group[name]) for name in ("start", "middle", "stop")]
        self.entries: list[int] = []
        halves = []
        for start, stop in ((bounds[0], bounds[1]), (bounds[1], bounds[2])):
            entries = np.arange(start, stop)
            at = paulis.entries["table_at"][start:stop]
            strings, tables = entries[at < 0], entries[at >= 0]
            self.entries += [*strings.tolist(), *tables.tolist()]
            rows = [paulis.tables[t : t + (1 << num_bits)] for t in at[at >= 0].tolist()]
            whole = np.array(rows).reshape(len(rows), 1 << num_bits)
            made = _Strings(
                paulis.entries["z"][strings],
                to_device(whole, device, values_dtype(device)),
                num_bits,
                device,
            )
            halves.append(made if stop > start else None)
        self.even, self.odd = halves
        self.middle = bounds[1] - bounds[0]

    def sum_up(self, state: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the sums of products of amplitudes for each entry, ``(E, B)``."""
        moved = self.flips(state)
        (a, b), (c, d) = state.unbind(0), moved.unbind(0)
        parts = []
        if self.even is not None:
            parts.append(self.even.sum_up((c * a + d * b).to(dtype)))
        if self.odd is not None:
            parts.append(self.odd.sum_up((c * b - d * a).to(dtype)))
        return torch.cat(parts, 0)

    def apply(self, state: Tensor, weights: Tensor) -> Tensor:
        """Return the strings, by weights ``(E, B)``, on a state."""
        moved = self.flips(state)
        found = None
        if self.even is not None:
            found = self.even.spread(weights[: self.middle]).to(state.dtype) * moved
        if self.odd is not None:
            by = self.odd.spread(weights[self.middle :]).to(state.dtype)
            turned = torch.stack([-by * moved[1], by * moved[0]])
            found = turned if found is None else found + turned
        assert found is not None
        return found


class ObservableReadout:
    """Expectation values of observables: Pauli strings, and products of projectors.

    Args:
        sums: The observables.
        device: Where states are.
    """

    def __init__(self, sums: PauliSums, device: torch.device) -> None:
        self._dtype = values_dtype(device)
        n, paulis = sums.num_bits, sums.paulis
        self._groups = [_Group(paulis, k, n, device) for k in range(len(paulis.groups))]
        order = np.array([e for group in self._groups for e in group.entries], dtype=np.int64)
        place = np.argsort(order)
        entries = place[np.repeat(np.arange(len(order)), np.diff(paulis.pointers))]
        shape = sums.num_observables, len(order)
        self._weights = SparseMap(
            paulis.targets, entries, paulis.weights, shape, self._dtype, device
        )
        self._constants = to_device(sums.constants, device, self._dtype)
        self._projections = None
        if len(sums.projections.terms):
            self._projections = ProjectedProducts(sums, device)

    def read(self, state: Tensor) -> Tensor:
        """Return the expectation values, ``(B, O)``."""
        return self._read(state) + self._constants

    def _read(self, state: Tensor) -> Tensor:
        found = [group.sum_up(state, self._dtype) for group in self._groups]
        no_entries = state.new_zeros((0, state.shape[1]), dtype=self._dtype)
        entries = torch.cat(found) if found else no_entries
        evs = self._weights(entries.transpose(-1, -2))
        return evs if self._projections is None else evs + self._projections.read(state)

    def tangent(self, state: Tensor, dstate: Tensor) -> Tensor:
        """Return the derivatives along that of the state.

        Values are a quadratic form of the state, so differences of them are derivatives; both
        states are of one length there, for the sake of rounding.
        """
        length = dstate.square().sum((0, 2), keepdim=True).sqrt()
        along = dstate / torch.where(length > 0, length, 1)
        return (self._read(state + along) - self._read(state - along)) / 2 * length[0]

    def bra(self, state: Tensor, cotangent: Tensor) -> Tensor:
        """Return the observables, by weights ``(B, O)``, on the state."""
        weights = self._weights.transposed(cotangent).transpose(-1, -2)
        total, first = torch.zeros_like(state), 0
        for group in self._groups:
            total = total + group.apply(state, weights[first : first + len(group.entries)])
            first += len(group.entries)
        if self._projections is not None:
            total = total + self._projections.apply(state, cotangent)
        return total

    def bra_tangent(
        self, state: Tensor, dstate: Tensor, cotangent: Tensor, dcotangent: Tensor
    ) -> Tensor:
        """Return the derivative of :meth:`bra`, which is linear in both."""
        return self.bra(dstate, cotangent) + self.bra(state, dcotangent)


# -- basis states --------------------------------------------------------------------------------


class ProbabilityReadout:
    """Probabilities: sums of squares over the basis states that count for each output.

    Args:
        outputs: The basis states of each output; each of the state's belongs to one.
        num_bits: Of the state.
        device: Where states are.
    """

    def __init__(self, outputs: Outputs, num_bits: int, device: torch.device) -> None:
        self._dtype = values_dtype(device)
        counts = np.diff(outputs.starts)
        labels = np.repeat(np.arange(len(counts)), counts)
        shape = len(counts), 1 << num_bits
        self._sums = SparseMap(labels, outputs.states, None, shape, self._dtype, device)

    def read(self, state: Tensor) -> Tensor:
        """Return the probabilities, ``(B, S)``."""
        return self._read(state, state)

    def _read(self, state: Tensor, other: Tensor) -> Tensor:
        products = (state[0] * other[0] + state[1] * other[1]).to(self._dtype)
        return self._sums(products)

    def tangent(self, state: Tensor, dstate: Tensor) -> Tensor:
        """Return the derivatives along that of the state."""
        return 2 * self._read(state, dstate)

    def bra(self, state: Tensor, cotangent: Tensor) -> Tensor:
        """Return the state, each amplitude times its cotangent."""
        return state * self._sums.transposed(cotangent).to(state.dtype)

    def bra_tangent(
        self, state: Tensor, dstate: Tensor, cotangent: Tensor, dcotangent: Tensor
    ) -> Tensor:
        """Return the derivative of :meth:`bra`, which is linear in both."""
        return self.bra(dstate, cotangent) + self.bra(state, dcotangent)


class AmplitudeReadout:
    """Real and imaginary parts of amplitudes in turn.

    Args:
        outputs: The basis state of each amplitude, none where it is zero in any case; and the
            powers of i that they are multiplied by.
        num_bits: Of the state.
        device: Where states are.
        dtype: Of their parts.
        rounding: How much of a state may be missing from the amplitudes that are read; a row that
            misses more is not a number. ``None`` if they are all that there is.
    """

    def __init__(
        self,
        outputs: Outputs,
        num_bits: int,
        device: torch.device,
        dtype: torch.dtype,
        rounding: float | None,
    ) -> None:
        self._rounding = rounding
        self._dtype, self._num_bits = values_dtype(device), num_bits
        count = len(outputs.starts) - 1
        there = np.flatnonzero(np.diff(outputs.starts))
        self._states = to_device(outputs.states, device, torch.int64)
        self._there = self._places = None
        if len(there) < count:
            places = np.full(count, len(there))  # where there is a zero
            places[there] = np.arange(len(there))
            self._there = to_device(there, device, torch.int64)
            self._places = to_device(places, device, torch.int64)
        factors = 1j ** (outputs.powers & 3)
        self._cosines = to_device(factors.real.round(), device, dtype)
        self._sines = to_device(factors.imag.round(), device, dtype)

    def read(self, state: Tensor) -> Tensor:
        """Return the amplitudes, ``(B, S)``."""
        found = self._amplitudes(state)
        if self._rounding is None:
            return found
        missing = 1 - (found * found).sum(-1, keepdim=True)
        return torch.where(missing > self._rounding, torch.nan, found)

    def _amplitudes(self, state: Tensor) -> Tensor:
        re, im = state.index_select(-1, self._states).unbind(0)
        c, s = self._cosines, self._sines
        found = torch.stack([c * re - s * im, s * re + c * im], -1).to(self._dtype)
        if self._places is not None:
            padded = torch.nn.functional.pad(found, (0, 0, 0, 1))
            found = padded.index_select(-2, self._places)
        return found.flatten(-2)

    def tangent(self, state: Tensor, dstate: Tensor) -> Tensor:
        """Return the derivatives along that of the state."""
        return self._amplitudes(dstate)

    def bra(self, state: Tensor, cotangent: Tensor) -> Tensor:
        """Return half of the bra that the cotangent is."""
        pairs = cotangent.to(state.dtype).unflatten(-1, (-1, 2)) / 2
        if self._there is not None:
            pairs = pairs.index_select(-2, self._there)
        re, im = pairs.unbind(-1)
        c, s = self._cosines, self._sines
        parts = torch.stack([c * re + s * im, c * im - s * re])
        zeros = parts.new_zeros((*parts.shape[:-1], 1 << self._num_bits))
        return zeros.index_copy(-1, self._states, parts)

    def bra_tangent(
        self, state: Tensor, dstate: Tensor, cotangent: Tensor, dcotangent: Tensor
    ) -> Tensor:
        """Return the derivative of :meth:`bra`, which is linear in the cotangent alone."""
        return self.bra(state, dcotangent)
