# SPDX-License-Identifier: Apache-2.0
"""Points, Gram matrices and labels as they arrive, checked at the door."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit.circuit import Parameter
from torch import Tensor

from .. import memory
from ..arguments import UNREADABLE, shown
from ..exceptions import InputError, InputTypeError


def read_points(value: Any, name: str, features: Sequence[Parameter]) -> Tensor:
    """Return points ``(*batch, N, F)``: a tensor as it is, an array or lists as a tensor.

    Raises:
        InputTypeError: If it is none of these, or not of real numbers.
        InputError: If it has another shape.
    """
    if not isinstance(value, Tensor):
        value = _read_array(value, name)
    _require_real_tensor(value, name)
    if value.dim() < 2 or value.shape[-1] != len(features):
        raise InputError(
            f"Expected {name} to have the shape (*batch, N, {len(features)}), a row for each "
            f"point; got {tuple(value.shape)}. The features of the circuit are "
            f"{', '.join(p.name for p in features)}."
        )
    return value


def require_gram(value: Any, name: str) -> Tensor:
    """Return a Gram matrix ``(*batch, N, N)``, or raise as :func:`read_points` does."""
    _require_real_tensor(value, name)
    if not value.is_floating_point():
        raise InputTypeError(f"Expected {name} to have floating numbers; got {value.dtype}.")
    if value.dim() < 2 or value.shape[-1] != value.shape[-2] or not value.shape[-1]:
        raise InputError(
            f"Expected {name} to be square, of shape (*batch, N, N); got {tuple(value.shape)}."
        )
    return value


def read_labels(value: Any, count: int) -> NDArray[np.int64]:
    """Return the number of the class of each of ``count`` points.

    Raises:
        InputError: If there are not as many labels, or fewer than two classes.
    """
    labels: Any = np.zeros(())
    with contextlib.suppress(*UNREADABLE):
        labels = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    if labels.shape != (count,) or labels.dtype.kind not in "biufU":
        raise InputError(
            f"Expected labels to be a class for each of the {count} points, numbers or text of "
            f"shape ({count},); got {shown(value)}."
        )
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise InputError(f"Expected labels to be finite; got {shown(value)}.")
    classes, which = np.unique(labels, return_inverse=True)
    if len(classes) < 2 or len(classes) > max(2, count // 2):
        raise InputError(
            f"Expected labels of at least two classes, and of fewer classes than points by half; "
            f"got {len(classes)} among {count} points: {shown(value)}."
        )
    return which


def require_room(x: Tensor, y: Tensor) -> None:
    """Raise :class:`.MemoryLimitError` if a Gram matrix does not fit into memory."""
    n, m = x.shape[-2], y.shape[-2]
    needed = 8 * n * m * math.prod(np.broadcast_shapes(x.shape[:-2], y.shape[:-2]))
    memory.require_for(needed, f"A Gram matrix of {n} x {m} points", "Take fewer points at a time.")


def check_pair(x: Tensor, y: Tensor, *, row_by_row: bool = False) -> None:
    """Raise :class:`.InputError` unless two sets of points can be compared."""
    apart = row_by_row and x.shape[-2] != y.shape[-2]
    try:
        np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    except ValueError:
        apart = True
    if apart:
        raise InputError(
            f"Expected y to have the batch shape {'and the rows ' if row_by_row else ''}of x; got "
            f"{tuple(y.shape)} beside {tuple(x.shape)}."
        )


def _read_array(value: Any, name: str) -> Tensor:
    """Return an array, lists of numbers or a table as a tensor in double precision."""
    array: Any = np.zeros((), dtype=object)
    if isinstance(value, (list, tuple)) or hasattr(value, "__array__"):
        with contextlib.suppress(*UNREADABLE):  # ragged lists, and whatever cannot be an array
            array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise InputTypeError(
            f"Expected {name} to be a tensor or an array of real numbers; got {shown(value)}."
        )
    return torch.from_numpy(np.array(array, dtype=np.float64))


def _require_real_tensor(value: Any, name: str) -> None:
    if not isinstance(value, Tensor):
        raise InputTypeError(f"Expected {name} to be a torch.Tensor; got {shown(value)}.")
    if value.is_complex() or value.dtype == torch.bool:
        raise InputTypeError(f"Expected {name} to have real numbers; got {value.dtype}.")
    if value.layout is not torch.strided or value.is_nested or value.is_quantized or value.is_meta:
        raise InputTypeError(
            f"Expected {name} to be a dense tensor of numbers; got {shown(value)}."
        )
