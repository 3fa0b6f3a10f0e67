# SPDX-License-Identifier: Apache-2.0
"""Drawing outcomes of measured bits: from states to probabilities, outcomes and packed bits."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..arrays import FloatArray, IntArray

ComplexArray = NDArray[np.complex128]
ByteArray = NDArray[np.uint8]


def find_probabilities(
    states: ComplexArray, bits: Sequence[int], changes: Sequence[tuple[int, bool]] = ()
) -> FloatArray:
    """Return the probability of each outcome of ``bits``, ``(N, S)``, in states ``(N, 2**n)``.

    All of it is arithmetic number by number, so that what is drawn at one point depends on no
    other one: drawing would turn a difference in the last bit of a half into other counts.

    Args:
        states: Their norms may be off by rounding.
        bits: The bits that are measured, ascending; they are the outcome's bits.
        changes: The bits that are measured in X or Y, and whether it is Y.
    """
    re, im = states.real.astype(float), states.imag.astype(float)
    for bit, is_y in changes:
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
        if bit not in bits:
            weights = np.add(*_halves(weights, bit)).reshape(len(weights), -1)
    total = weights
    for bit in reversed(range(len(bits))):
        total = np.add(*_halves(total, bit)).reshape(len(weights), -1)
    return weights / total


def _halves(numbers: FloatArray, bit: int) -> tuple[FloatArray, FloatArray]:
    """Return the numbers ``(N, S)`` at which a bit of the index is zero, and those where one."""
    pairs = numbers.reshape(len(numbers), -1, 2, 1 << bit)
    return pairs[:, :, 0], pairs[:, :, 1]


def draw_outcomes(
    probabilities: FloatArray, shots: int, generator: np.random.Generator
) -> IntArray:
    """Draw outcomes one after the other, each independent of those before: ``(N, shots)``.

    Args:
        probabilities: Of each outcome, in any unit, shape ``(N, S)``.
        shots: How many to draw from each row.
        generator: Where randomness comes from; rows take it one after the other.
    """
    from .inversion import invert  # which takes longer to import than this package

    outcomes = np.empty((len(probabilities), shots), dtype=np.int64)
    invert(probabilities, generator.random(outcomes.shape), outcomes)
    return outcomes


def pack_outcomes(outcomes: IntArray, places: tuple[int | None, ...], packed: ByteArray) -> None:
    """Write the bits of a register as Qiskit packs them: ``(..., bytes)``, the first bit last.

    Args:
        outcomes: Whole numbers of any shape.
        places: For each bit of the register, the bit of the outcome that it shows; ``None`` if it
            is zero.
        packed: Where they go; zero so far.
    """
    parts = outcomes.astype("<i8", copy=False).view(np.uint8).reshape(*outcomes.shape, 8)
    for byte, at, table in _tables_of(places):
        packed[..., at] |= np.take(table, parts[..., byte])


def pack_bits(bits: ByteArray, places: tuple[int | None, ...], packed: ByteArray) -> None:
    """Write the bits of a register as :func:`pack_outcomes` does, from zeros and ones.

    Args:
        bits: The bits of each outcome, shape ``(..., k)``.
        places: For each bit of the register, the one of the outcome that it shows; ``None`` if it
            is zero.
        packed: Where they go, shape ``(..., bytes)``.
    """
    shown = np.zeros((*bits.shape[:-1], 8 * packed.shape[-1]), np.uint8)
    columns = [-1 - bit for bit, place in enumerate(places) if place is not None]
    shown[..., columns] = bits[..., [place for place in places if place is not None]]
    packed[...] = np.packbits(shown, axis=-1)


@functools.lru_cache(maxsize=64)
def _tables_of(places: tuple[int | None, ...]) -> list[tuple[int, int, ByteArray]]:
    """Return which byte of the outcome shows in which byte of the register, and how: ``(256,)``."""
    found: dict[tuple[int, int], ByteArray] = {}
    values = np.arange(256)
    for bit, place in enumerate(places):
        if place is not None:
            key = place // 8, -(-len(places) // 8) - 1 - bit // 8
            value = ((values >> place % 8 & 1) << bit % 8).astype(np.uint8)
            found[key] = found[key] | value if key in found else value
    return [(*key, table) for key, table in found.items()]
