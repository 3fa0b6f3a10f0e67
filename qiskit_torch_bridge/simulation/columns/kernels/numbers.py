# SPDX-License-Identifier: Apache-2.0
"""Numbers of one row, or of as many rows side by side as a vector holds.

A buffer of one axis belongs to one row, and vectors hold numbers that follow each other. In one of
two axes each number is a vector, of the same number of several rows, along the second axis. What is
written with these functions, in steps of :func:`width`, works on both.
"""

from __future__ import annotations

from ...kernels import vectors
from ...kernels.vectors import jit, size


@jit
def width(z):
    """How many numbers of a row a vector holds."""
    if z.ndim == 1:
        return size(z)
    return 1


@jit
def count_rows(z):
    """How many rows lie side by side."""
    if z.ndim == 1:
        return 1
    return size(z)


@jit
def load(z, at):
    """The vector of the numbers from ``at`` on."""
    if z.ndim == 1:
        return vectors.load(z, at)
    return vectors.load(z, at * size(z))


@jit
def store(z, at, vector):
    """Write a vector over the numbers from ``at`` on."""
    if z.ndim == 1:
        vectors.store(z, at, vector)
    else:
        vectors.store(z, at * size(z), vector)


@jit
def get(z, at):
    """One number: a scalar, or a vector that has it for all rows."""
    if z.ndim == 1:
        return z[at]
    return vectors.load(z, at * size(z))


@jit
def put(z, at, number):
    """Write one number."""
    if z.ndim == 1:
        z[at] = number
    else:
        vectors.store(z, at * size(z), number)


@jit
def spread(z, number):
    """The vector to multiply others by to multiply all of them by one number."""
    if z.ndim == 1:
        return vectors.splat(z, number)
    return number


@jit
def constant(z, value):
    """A number that is the same in all rows."""
    if z.ndim == 1:
        return value
    return vectors.splat(z, value)


@jit
def put_in_row(z, at, row, value):
    """Write one number of one of the rows."""
    if z.ndim == 1:
        z[at] = value
    else:
        z[at, row] = value


@jit
def get_from_row(z, at, row):
    """One number of one of the rows, a scalar."""
    if z.ndim == 1:
        return z[at]
    return z[at, row]
