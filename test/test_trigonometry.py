# SPDX-License-Identifier: Apache-2.0
"""Sines and cosines in the kernels, against NumPy's.

Two units in the last place of numbers up to one are 4.4e-16.
"""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from qiskit_torch_bridge.arrays import FloatArray
from qiskit_torch_bridge.simulation.kernels import trigonometry

TWO_UNITS = 2 * float(np.finfo(float).eps)


@njit
def fill(angles, sines, cosines, count):  # Numba compares signatures: no annotations
    return trigonometry.sine_and_cosine(angles, sines, cosines, count)


def both(angles: FloatArray) -> tuple[bool, FloatArray, FloatArray]:
    sines, cosines = np.empty((2, len(angles)))
    return fill(angles, sines, cosines, len(angles)), sines, cosines


@pytest.mark.parametrize("scale", [1e-9, 1.0, 100.0, 3e4, 1e7])
@pytest.mark.parametrize("count", [1, 7, 64, 1001])
def test_sines_and_cosines(count: int, scale: float) -> None:
    angles = np.random.default_rng(count).uniform(-scale, scale, count)
    finite, sines, cosines = both(angles)
    assert finite
    np.testing.assert_allclose(sines, np.sin(angles), rtol=0, atol=TWO_UNITS * min(1, scale))
    np.testing.assert_allclose(cosines, np.cos(angles), rtol=0, atol=TWO_UNITS)


def test_quarter_turns() -> None:
    """Where the reduction takes the other multiple, or one function crosses zero."""
    angles = np.pi / 4 * np.arange(-4000, 4001)
    for near in (angles, np.nextafter(angles, np.inf), np.nextafter(angles, -np.inf)):
        _, sines, cosines = both(near)
        np.testing.assert_allclose(sines, np.sin(near), rtol=0, atol=TWO_UNITS)
        np.testing.assert_allclose(cosines, np.cos(near), rtol=0, atol=TWO_UNITS)


def test_rounding_does_not_depend_on_the_place() -> None:
    angles = np.full(67, 2.3456)
    _, sines, cosines = both(angles)
    assert len(set(sines)) == len(set(cosines)) == 1


def test_sines_may_take_the_place_of_angles() -> None:
    angles = np.linspace(-5, 5, 43)
    _, sines, cosines = both(angles)
    again = np.empty(43)
    assert fill(angles, angles, again, 43)
    np.testing.assert_array_equal([angles, again], [sines, cosines])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 15, 33])
def test_what_is_not_finite_is_told(bad: float, place: int) -> None:
    angles = np.linspace(-5, 5, 34)
    angles[place] = bad
    assert not both(angles)[0]
