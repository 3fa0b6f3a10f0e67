# SPDX-License-Identifier: Apache-2.0
"""The array types that annotations name, and what counts as numbers in a result."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


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
