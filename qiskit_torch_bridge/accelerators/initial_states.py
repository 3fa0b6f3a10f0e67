# SPDX-License-Identifier: Apache-2.0
r"""Initial states on a device: products of single qubits, and preparations of amplitudes.

The first rotations of many tapes act on single bits, one after the other: from zeros they make a
product state, which takes one pass over it. Where a tape begins with preparations, their amplitudes
are :math:`r / \lVert r\rVert` of numbers :math:`r` that are fixed or affine in inputs and weights,
as in :mod:`.simulation.statevector.encoded`. Either is made of differentiable torch operations.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from ..simulation.tape.compile_tape import Tape
from ..simulation.tape.operations import Preparation, Rotation
from .sparse_maps import to_device
from .tapes import TapeAngles, values_dtype


class InitialStates:
    """The states that a tape starts from, as functions of its angles ``(slots, B)``.

    Args:
        tape: The tape.
        angles: The map to its angles: its leading rotations are part of the initial state.
        device: Where the states are.
        dtype: Of their parts.

    Attributes:
        depends: Whether they depend on angles.
    """

    def __init__(
        self, tape: Tape, angles: TapeAngles, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._num_bits, self._device, self._dtype = tape.num_bits, device, dtype
        self.depends = bool(angles.leading) or any(p.numbers for p in tape.preparations)
        self._product = self._prepared = None
        if angles.leading:
            self._product = _Product(angles.leading, tape.num_bits, device, dtype)
        if tape.preparations:
            first = angles.num_rotations
            self._prepared = _Prepared(tape.preparations, first, tape.num_bits, device, dtype)

    def __call__(self, angles: Tensor) -> Tensor:
        """Return the states, ``(2, B, 2**n)``."""
        if self._product is not None:
            return self._product(angles)
        if self._prepared is not None:
            return self._prepared(angles)
        one = torch.ones(1, angles.shape[-1], 1, dtype=self._dtype, device=self._device)
        return pad(one, (0, (1 << self._num_bits) - 1, 0, 0, 0, 1))

    def tangent(self, angles: Tensor, dangles: Tensor) -> Tensor:
        """Return the derivative of the states along tangents of the angles."""
        found: Tensor = torch.func.jvp(self, (angles,), (dangles,))[1]
        return found

    def pull_back(self, angles: Tensor, bra: Tensor) -> Tensor:
        r"""Return the derivatives :math:`2\\operatorname{Re}\\langle\\beta|\\partial\\psi\\rangle`.

        Args:
            angles: Shape ``(slots, B)``.
            bra: What meets the initial states, in their shape.

        Returns:
            With respect to all angles, ``(slots, B)``.
        """
        if not self.depends:
            return torch.zeros_like(angles)
        (found,) = torch.func.vjp(self, angles)[1](2 * bra)
        gradient: Tensor = found
        return gradient

    def pull_back_tangent(
        self, angles: Tensor, bra: Tensor, dangles: Tensor, dbra: Tensor
    ) -> Tensor:
        """Return the derivative of :meth:`pull_back` along tangents of both."""
        if not self.depends:
            return torch.zeros_like(angles)
        found: Tensor = torch.func.jvp(self.pull_back, (angles, bra), (dangles, dbra))[1]
        return found


def multiply_outer(high: Tensor, low: Tensor) -> Tensor:
    """Return the product states of vectors ``(2, B, M)`` and ``(2, B, N)``: ``(2, B, M * N)``."""
    a, b = high[0].unsqueeze(-1), high[1].unsqueeze(-1)
    c, d = low[0].unsqueeze(-2), low[1].unsqueeze(-2)
    return torch.stack([a * c - b * d, a * d + b * c]).flatten(-2)


def _multiply_all(parts: Sequence[Tensor]) -> Tensor:
    """Return the product state of vectors, the least significant one first.

    Halves are multiplied, so that what derivatives keep is as long as the root of the state.
    """
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    return multiply_outer(_multiply_all(parts[middle:]), _multiply_all(parts[:middle]))


class _Product:
    """Rotations of single bits on zeros: those of all bits side by side."""

    def __init__(
        self, leading: Sequence[Rotation], num_bits: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._dtype, self._count = dtype, len(leading)
        by_bit: list[list[int]] = [[] for _ in range(num_bits)]
        for slot, rotation in enumerate(leading):
            support = rotation.pauli.x | rotation.pauli.z
            by_bit[max(0, support.bit_length() - 1)].append(slot)  # a phase is one of any bit
        self._layers: list[tuple[Tensor, Tensor]] = []
        values = values_dtype(device)
        for layer in range(max(map(len, by_bit))):
            slots = np.full(num_bits, len(leading))  # where there is an angle of zero
            generators = np.zeros((num_bits, 4, 4))
            for bit, mine in enumerate(by_bit):
                if layer < len(mine):
                    slots[bit] = mine[layer]
                    generators[bit] = _generator(leading[mine[layer]])
            self._layers.append(
                (to_device(slots, device, torch.int64), to_device(generators, device, values))
            )
        zeros = np.tile(np.eye(4)[0], (num_bits, 1))
        self._zeros = to_device(zeros, device, values)[:, :, None]

    def __call__(self, angles: Tensor) -> Tensor:
        halves = pad(angles[: self._count] / 2, (0, 0, 0, 1))
        vectors = self._zeros.expand(*self._zeros.shape[:2], angles.shape[-1])
        for slots, generators in self._layers:
            h = halves.index_select(0, slots).unsqueeze(1)  # (n, 1, B)
            vectors = h.cos() * vectors + h.sin() * (generators @ vectors)
        parts = vectors.to(self._dtype).unflatten(1, (2, 2)).permute(0, 1, 3, 2)  # (n, 2, B, 2)
        return _multiply_all(parts.unbind(0))


def _generator(rotation: Rotation) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The matrix ``-i P`` of a string on one bit, on real parts and then imaginary parts."""
    x, z, k = rotation.pauli
    matrix = np.array([[1, 0], [0, -1 if z else 1]]) * 1j ** (k - 1)
    if x:
        matrix = matrix[::-1]
    return np.block([[matrix.real, -matrix.imag], [matrix.imag, matrix.real]])


class _Prepared:
    """Products of preparations, beside bits that are zero."""

    def __init__(
        self,
        preparations: Sequence[Preparation],
        first: int,
        num_bits: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._dtype = dtype
        self._parts: list[functools.partial[Tensor]] = []
        for p in preparations:
            if p.numbers:
                is_complex = len(p.numbers) > 1 << len(p.bits)
                slots = slice(first, first + len(p.numbers))
                self._parts.append(functools.partial(_normalise, slots, is_complex))
                first += len(p.numbers)
            else:
                parts = np.stack([p.amplitudes.real, p.amplitudes.imag])[:, None]
                fixed = to_device(parts, device, values_dtype(device))
                self._parts.append(functools.partial(_expand, fixed))
        bits = [bit for p in preparations for bit in p.bits]
        self._idle = (1 << num_bits) - (1 << len(bits))
        bits += sorted(set(range(num_bits)).difference(bits))
        self._order = None
        if bits != sorted(bits):
            index, order = np.arange(1 << num_bits), np.zeros(1 << num_bits, dtype=np.int64)
            for j, bit in enumerate(bits):
                order |= (index >> bit & 1) << j
            self._order = to_device(order, device, torch.int64)

    def __call__(self, angles: Tensor) -> Tensor:
        product = _multiply_all([part(angles).to(self._dtype) for part in self._parts])
        states = pad(product, (0, self._idle))
        return states if self._order is None else states.index_select(-1, self._order)


def _normalise(slots: slice, is_complex: bool, angles: Tensor) -> Tensor:
    """Return the amplitudes ``(2, B, N)`` that numbers make."""
    numbers = angles[slots]
    # The scale guards against overflow; the result does not depend on it.
    numbers = numbers / numbers.abs().amax(0).detach()
    unit = numbers / (numbers * numbers).sum(0).sqrt()
    parts = unit.unflatten(0, (2, -1)) if is_complex else unit.unsqueeze(0)
    parts = parts.transpose(-1, -2)
    return parts if is_complex else pad(parts, (0, 0, 0, 0, 0, 1))


def _expand(fixed: Tensor, angles: Tensor) -> Tensor:
    """Return fixed amplitudes for each row."""
    return fixed.expand(2, angles.shape[-1], fixed.shape[-1])
