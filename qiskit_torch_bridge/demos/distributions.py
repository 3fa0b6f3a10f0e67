# SPDX-License-Identifier: Apache-2.0
"""Distributions of bit strings that a circuit learns, and how far it is from them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from .problems import FloatArray

HAMMING_WIDTHS = (0.5, 2.0, 8.0)
"""Of the exponentials in the kernel for patterns: bits that differ."""

NUMBER_WIDTHS = (1 / 64, 1 / 16, 1 / 4)
"""Of the Gaussians in the kernel for numbers: parts of their range."""

LEAST = 1e-12
"""Smaller probabilities count as this in a divergence, which would be infinite at zero."""


@dataclass(frozen=True)
class Target:
    """A distribution of the outcomes of ``n`` qubits."""

    title: str
    probabilities: FloatArray  # (2**n,), in the order of outcomes: bit k is qubit k
    kernel: FloatArray  # (2**n, 2**n): how alike two outcomes are
    bonds: tuple[tuple[int, int], ...]  # which qubits a circuit for it couples
    side: int | None = None  # outcomes are square images of so many pixels each way, or numbers

    @property
    def num_qubits(self) -> int:
        """How many qubits there are."""
        return len(self.probabilities).bit_length() - 1

    @property
    def bits(self) -> FloatArray:
        """The bits of each outcome, ``(2**n, n)``."""
        outcomes = np.arange(len(self.probabilities))
        return (outcomes[:, None] >> np.arange(self.num_qubits) & 1).astype(float)

    def divergence(self, found: FloatArray) -> float:
        r"""Return :math:`\sum_x q(x) \log(q(x) / p(x))` of the target ``q`` from what was found."""
        there = self.probabilities > 0
        wanted, probabilities = self.probabilities[there], np.maximum(found[there], LEAST)
        return float((wanted * np.log(wanted / probabilities)).sum())

    def distance(self, found: FloatArray) -> float:
        """Return the total variation distance: the probability that is in the wrong place."""
        return float(np.abs(self.probabilities - found).sum() / 2)


def bars_and_stripes(side: int = 3) -> Target:
    """Return square black and white images whose rows, or whose columns, are of one colour.

    Pixel ``k`` is qubit ``k``, row by row; all images are equally likely. In a square of three
    times three pixels there are 14 among 512.
    """
    images = set()
    for colours in itertools.product((0, 1), repeat=side):
        stripes = np.repeat(np.array(colours)[:, None], side, axis=1)
        images |= {tuple(image.ravel().tolist()) for image in (stripes, stripes.T)}
    probabilities = np.zeros(2**side**2)
    probabilities[[sum(bit << k for k, bit in enumerate(image)) for image in images]] = 1
    pixels = range(side**2)
    across = [(k, k + 1) for k in pixels if (k + 1) % side]
    down = [(k, k + side) for k in pixels if k + side in pixels]
    outcomes = np.arange(2**side**2)
    differing = np.bitwise_count(outcomes[:, None] ^ outcomes).astype(float)
    kernel = np.mean([np.exp(-differing / width) for width in HAMMING_WIDTHS], axis=0)
    title = f"bars and stripes, {side} x {side}"
    return Target(title, probabilities / len(images), kernel, (*across, *down), side)


def mixture(num_qubits: int) -> Target:
    """Return two Gaussians on the numbers from 0 to ``2**num_qubits - 1``."""
    size = 2**num_qubits
    place = np.arange(size) / size
    heaps = ((0.6, 0.28, 0.06), (0.4, 0.7, 0.1))  # weight, mean and deviation, as parts of the size
    densities = sum(
        weight / deviation * np.exp(-(((place - mean) / deviation) ** 2) / 2)
        for weight, mean, deviation in heaps
    )
    squares = (place[:, None] - place) ** 2
    kernel = np.mean([np.exp(-squares / (2 * width**2)) for width in NUMBER_WIDTHS], axis=0)
    bonds = tuple((k, k + 1) for k in range(num_qubits - 1))
    title = f"two Gaussians on {size} numbers"
    return Target(title, densities / np.sum(densities), kernel, bonds)
