# SPDX-License-Identifier: Apache-2.0
"""What a peer returns: a training step to be timed, and how to read the numbers it computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from adjoint_reference import Step
from numpy.typing import NDArray
from workloads import Workload


class Candidate(NamedTuple):
    """A training step and its numbers.

    Attributes:
        step: Computes expectation values and gradients; this is what is timed. Its work is done,
            not merely queued, when it returns.
        read: Turns what ``step`` returned into NumPy arrays; not timed.
    """

    step: Callable[[], Any]
    read: Callable[[Any], Step]


def reverse_bits(numbers: Any) -> NDArray[np.float64]:
    """Return numbers ``(..., 2**n)`` of outcomes with the other end of their bits first."""
    numbers = np.asarray(numbers, dtype=float)
    shape, width = numbers.shape[:-1], numbers.shape[-1].bit_length() - 1
    bits = numbers.reshape(*shape, *[2] * width)
    kept, axes = range(len(shape)), range(bits.ndim - 1, len(shape) - 1, -1)
    return bits.transpose(*kept, *axes).reshape(numbers.shape)


def split(work: Workload, evs: Any, gradient: Any) -> Step:
    """Return the step of a peer that differentiates all values ``(B, I + W)`` alike."""
    inputs = work.x.shape[1]
    by_values = np.asarray(gradient, dtype=float)
    return Step(
        np.asarray(evs, dtype=float).reshape(len(work.x), len(work.observables)),
        by_values[:, :inputs],
        by_values[:, inputs:].sum(0),
    )
