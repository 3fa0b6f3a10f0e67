# SPDX-License-Identifier: Apache-2.0
"""What optimizers are given, checked at the door."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..arrays import FloatArray
from ..exceptions import InputError, OptimizerError, OptimizerTypeError

Bounds = Sequence[tuple["float | None", "float | None"]]


def validated_class(optimizer: Any) -> type[torch.optim.Optimizer]:
    """Return ``optimizer`` if it is a class of torch optimizers, or say what to give instead."""
    if isinstance(optimizer, type) and issubclass(optimizer, torch.optim.Optimizer):
        return optimizer
    if isinstance(optimizer, torch.optim.Optimizer):
        name = type(optimizer).__name__
        raise OptimizerTypeError(
            f"Expected a class of torch optimizers; got an object of {name}, which is bound to "
            f"parameters of its own. Give the class and its keywords: TorchOptimizer({name}, ...)."
        )
    raise OptimizerTypeError(
        f"Expected a class of torch optimizers, such as torch.optim.Adam; got {optimizer!r}."
    )


def check_whole_numbers(least: int = 0, *, optional: bool = False, **values: Any) -> None:
    """Raise :class:`OptimizerError` unless numbers are whole and at least ``least``."""
    for name, value in values.items():
        if value is None and optional:
            continue
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        if not whole or value < least:
            raise OptimizerError(
                f"Expected {name} to be a whole number from {least} up; got {value!r}."
            )


def check_numbers(*, zero: bool = True, optional: bool = True, **values: Any) -> None:
    """Raise :class:`OptimizerError` unless numbers are finite and not negative."""
    for name, value in values.items():
        if value is None and optional:
            continue
        real = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if not real or not 0 <= value < math.inf or (value == 0 and not zero):
            least = "from 0 up" if zero else "above 0"
            raise OptimizerError(f"Expected {name} to be a number {least}; got {value!r}.")


def validated_point(x0: Any) -> FloatArray:
    """Return the initial point as an array of its own, of shape ``(P,)``; a number is ``(1,)``."""
    if isinstance(x0, torch.Tensor):
        x0 = x0.detach().cpu().resolve_conj().resolve_neg()
        x0 = (x0 if x0.is_complex() else x0.double()).numpy()
    try:
        if np.iscomplexobj(x0):
            raise TypeError("complex numbers")
        point = np.array(x0, dtype=float, ndmin=1)
    except (TypeError, ValueError) as error:
        raise InputError(f"Expected the initial point to be real numbers; got {x0!r}.") from error
    if point.ndim != 1 or not np.isfinite(point).all():
        raise InputError(
            f"Expected the initial point to be finite numbers of shape (P,); got {x0!r}."
        )
    return point


def limits(bounds: Bounds | None, size: int) -> tuple[FloatArray, FloatArray]:
    """Return the lower and the upper bounds, infinite where there are none."""
    if bounds is None:
        return np.full(size, -np.inf), np.full(size, np.inf)
    try:
        pairs = [(low, high) for low, high in bounds]
        lower = np.array([-np.inf if a is None else a for a, _ in pairs], dtype=float)
        upper = np.array([np.inf if b is None else b for _, b in pairs], dtype=float)
    except (TypeError, ValueError) as error:
        raise InputError(
            "Expected bounds to be pairs (lower, upper), one per parameter, with None for no "
            f"limit; got {bounds!r}."
        ) from error
    if len(pairs) != size:
        raise InputError(f"Expected {size} pairs as bounds, one per parameter; got {pairs}.")
    if not (lower <= upper).all():
        raise InputError(f"Expected bounds (lower, upper) with lower <= upper; got {pairs}.")
    return lower, upper
