# SPDX-License-Identifier: Apache-2.0
"""What optimizers are given, checked at the door."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..arguments import (
    UNREADABLE,
    as_real,
    require_real_array,
    require_real_number,
    require_whole_number,
    shown,
)
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
        f"Expected a class of torch optimizers, such as torch.optim.Adam; got {shown(optimizer)}."
    )


def check_whole_numbers(least: int = 0, *, optional: bool = False, **values: Any) -> None:
    """Raise :class:`OptimizerError` unless numbers are whole and at least ``least``."""
    for name, value in values.items():
        if value is not None or not optional:
            require_whole_number(value, name, least, error=OptimizerError)


def check_numbers(*, zero: bool = True, optional: bool = True, **values: Any) -> None:
    """Raise :class:`OptimizerError` unless numbers are finite and not negative."""
    for name, value in values.items():
        if value is not None or not optional:
            require_real_number(value, name, zero=zero, error=OptimizerError)


def validated_point(x0: Any) -> FloatArray:
    """Return the initial point as an array of its own, of shape ``(P,)``; a number is ``(1,)``."""
    given = x0
    if isinstance(x0, torch.Tensor) and not x0.is_meta and not x0.is_complex():
        given = (x0 if x0.dtype == torch.bool else x0.double()).detach().cpu().numpy()
    if math.isfinite(as_real(given)) or getattr(given, "shape", None) == ():
        given = [given]  # a number, as SciPy has it
    point = require_real_array(given, "the initial point", (None,))
    if not np.isfinite(point).all():
        raise InputError(
            f"Expected the initial point to be finite numbers of shape (P,); got {shown(x0)}."
        )
    return point.copy()


def limits(bounds: Bounds | None, size: int) -> tuple[FloatArray, FloatArray]:
    """Return the lower and the upper bounds, infinite where there are none."""
    if bounds is None:
        return np.full(size, -np.inf), np.full(size, np.inf)
    try:
        pairs = [(low, high) for low, high in bounds]
        lower = np.array([-np.inf if a is None else a for a, _ in pairs], dtype=float)
        upper = np.array([np.inf if b is None else b for _, b in pairs], dtype=float)
    except UNREADABLE as error:
        raise InputError(
            f"Expected {size} pairs (lower, upper) as bounds, one per parameter, with None for no "
            f"limit; got {shown(bounds)}."
        ) from error
    if len(pairs) != size:
        raise InputError(
            f"Expected {size} pairs (lower, upper) as bounds, one per parameter; got "
            f"{shown(bounds)}."
        )
    if not (lower <= upper).all():
        raise InputError(f"Expected bounds (lower, upper) with lower <= upper; got {pairs}.")
    return lower, upper
