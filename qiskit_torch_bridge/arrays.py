# SPDX-License-Identifier: Apache-2.0
"""The array types that annotations name, and what counts as numbers in a result."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


class Numbers(Protocol):
    """What arrays of NumPy and tensors of PyTorch have in common, as far as formulas need it.

    Functions of them take NumPy or torch as an argument ``m``.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the axes."""
        ...

    @property
    def T(self) -> Self:
        """The same with the axes in reverse order."""
        ...

    def __getitem__(self, key: Any, /) -> Self: ...
    def __add__(self, other: Any, /) -> Self: ...
    def __radd__(self, other: Any, /) -> Self: ...
    def __sub__(self, other: Any, /) -> Self: ...
    def __rsub__(self, other: Any, /) -> Self: ...
    def __mul__(self, other: Any, /) -> Self: ...
    def __rmul__(self, other: Any, /) -> Self: ...
    def __truediv__(self, other: Any, /) -> Self: ...

    def reshape(self, shape: Any, /) -> Self:
        """Return the same numbers in another shape."""
        ...

    def sum(self, axis: Any, /) -> Self:
        """Return the sums along an axis."""
        ...


N = TypeVar("N", bound=Numbers)
"""Arrays of one of the two kinds."""


def read_real_numbers(found: Any) -> FloatArray:
    """Return an array of real numbers, or say what else it is.

    NumPy makes numbers of much: of text and of dates, and of what a mask hides.

    Raises:
        ValueError: If ``found`` is no array of integers or floating numbers (complex ones may be
            real to nine digits), or if it has a mask.
    """
    if isinstance(found, np.ma.MaskedArray):
        raise ValueError("an array with a mask: values are missing")
    try:
        array = np.asarray(found)
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{type(found).__name__}: {error}") from error
    if array.dtype.kind not in "iufc":
        raise ValueError(f"values of dtype {array.dtype}")
    if array.dtype.kind == "c":
        size, imaginary = (np.abs(part).max(initial=0) for part in (array.real, array.imag))
        if imaginary > 1e-9 * size + 1e-14:
            raise ValueError("complex values")
    return np.array(array.real, dtype=float)
