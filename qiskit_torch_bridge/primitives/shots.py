# SPDX-License-Identifier: Apache-2.0
"""Drawing shots: the mean and the standard error that they give for each observable."""

from __future__ import annotations

import numpy as np

from ..arrays import FloatArray, IntArray
from .measuring import Group

FEW = 64
"""Outcomes up to which their counts are drawn, however few the shots are."""
MORE = 4
"""Outcomes for each shot from which drawing shot by shot takes less time."""
TABLE = 1 << 22
"""Numbers in a table of the values that outcomes give to observables."""
EPS = float(np.finfo(float).eps)


def sampled(
    group: Group, probabilities: FloatArray, shots: int, generator: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    r"""Draw shots of one group, for each point, and return means and variances of the means.

    The variance is :math:`\sum_s (v_s - \bar v)^2 / (m - 1) / m` over ``m`` shots with values
    :math:`v_s`; a single shot tells nothing of it, so it is bounded by the largest value.

    Args:
        group: Whose terms are measured.
        probabilities: Of each outcome, shape ``(N, S)``.
        shots: Their number ``m``.
        generator: Where randomness comes from; rows take it one after the other.

    Returns:
        Two arrays of shape ``(N, M)``, for the members of the group.
    """
    if probabilities.shape[1] <= max(FEW, MORE * shots):
        mean, square = _by_counts(group, probabilities, shots, generator)
    else:
        mean, square = _one_by_one(group, probabilities, shots, generator)
    if shots == 1:
        return mean, np.broadcast_to(group.bound**2, mean.shape)
    variance = square - mean**2
    variance[variance < 16 * EPS * square] = 0.0  # all shots gave the same
    return mean, variance / (shots - 1)


def _by_counts(
    group: Group, probabilities: FloatArray, shots: int, generator: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Draw how often each outcome comes; return means of values and of their squares."""
    rows, outcomes = probabilities.shape
    frequencies = generator.multinomial(shots, probabilities) / shots
    mean = np.empty((rows, len(group.members)))
    square = np.empty_like(mean)
    step = max(1, TABLE // outcomes)
    for first in range(0, len(group.members), step):
        last = min(first + step, len(group.members))
        values = group.outcome_values(first, last)
        mean[:, first:last] = frequencies @ values
        square[:, first:last] = frequencies @ values**2
    return mean, square


def _one_by_one(
    group: Group, probabilities: FloatArray, shots: int, generator: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Draw each shot's outcome; return means of values and of their squares."""
    outcomes = _inverse(probabilities, generator.random((len(probabilities), shots)))
    mean = np.empty((len(probabilities), len(group.members)))
    square = np.empty_like(mean)
    for member in range(len(group.members)):
        value = np.zeros(outcomes.shape)
        for t in np.flatnonzero(group.owners == member).tolist():
            value += group.values_of(t, outcomes)
        mean[:, member] = value.mean(axis=1)
        square[:, member] = (value**2).mean(axis=1)
    return mean, square


def _inverse(probabilities: FloatArray, uniform: FloatArray) -> IntArray:
    """Return the outcomes at which the cumulative probability passes each of ``uniform``."""
    cumulative = np.cumsum(probabilities, axis=1)
    cumulative /= cumulative[:, -1:]
    outcomes = np.zeros(uniform.shape, dtype=np.int64)
    step = probabilities.shape[1] // 2
    while step:
        passed = np.take_along_axis(cumulative, outcomes + (step - 1), axis=1) <= uniform
        outcomes += step * passed
        step //= 2
    return outcomes
