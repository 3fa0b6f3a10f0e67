# SPDX-License-Identifier: Apache-2.0
r"""Fixed sparse linear maps of tensors, :math:`y_j = \sum_k c_{jk} x_{s(j, k)}`, to any derivative.

PyTorch differentiates indexing by adding up in whatever order the device gets to it, so that a
gradient differs in its last bits from run to run. Here the transpose is a table like the map
itself: what goes into one number is read by whoever writes it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..arrays import IntArray

WASTE = 4
"""How many times longer a table may be than what it holds before rows are sorted by length."""


class SparseMap:
    """A linear map along axis 1 of tensors ``(B, M, ...)``, to ``(B, N, ...)``.

    Args:
        rows: Which of the ``N`` numbers each entry adds to, shape ``(E,)``.
        columns: Of which of the ``M`` numbers, shape ``(E,)``.
        coefficients: What that is multiplied by, shape ``(E,)``; ``None``: by one.
        shape: ``(N, M)``.
        dtype: Of the coefficients, real or complex; of tensors it must be that or complex.
        device: Where the tensors are.
    """

    def __init__(
        self,
        rows: ArrayLike,
        columns: ArrayLike,
        coefficients: ArrayLike | None,
        shape: tuple[int, int],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        row, column = (np.asarray(a, dtype=np.int64).ravel() for a in (rows, columns))
        given = np.ones(len(row)) if coefficients is None else np.asarray(coefficients).ravel()
        self._shape = shape
        self._forward = _Table(row, column, given, shape[0], dtype, device)
        self._backward = _Table(column, row, np.conj(given), shape[1], dtype, device)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the map of ``x``."""
        if not all(self._shape):  # there is nothing to be read, or to be written
            return x.new_zeros((len(x), self._shape[0], *x.shape[2:]))
        result: Tensor = _Apply.apply(x, self._forward, self._backward)
        return result

    def transposed(self, y: Tensor) -> Tensor:
        """Return what the map's adjoint makes of ``y``, of shape ``(B, N, ...)``."""
        result: Tensor = _Apply.apply(y, self._backward, self._forward)
        return result


class _Table:
    """Rows of entries, padded to as many as the longest has, or to several lengths."""

    def __init__(
        self,
        row: IntArray,
        column: IntArray,
        coefficients: NDArray[Any],
        count: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        lengths = np.bincount(row, minlength=count)
        classes = np.zeros(count, dtype=np.int64)
        if count * lengths.max(initial=0) > WASTE * len(row) + count:
            classes = np.ceil(np.log2(np.maximum(lengths, 1))).astype(np.int64)
        order = np.argsort(row, kind="stable")
        starts = np.concatenate([[0], np.cumsum(lengths)])
        self.parts: list[_Part] = []
        members = []
        for of_class in np.unique(classes):
            own = np.flatnonzero(classes == of_class)
            members.append(own)
            width = int(lengths[own].max(initial=0))
            if not width:
                self.parts.append(_Part(len(own), 0))
                continue
            places = starts[own][:, None] + np.arange(width)
            is_entry = np.arange(width) < lengths[own][:, None]
            taken = order[np.where(is_entry, places, 0)]
            numbers = np.where(is_entry, coefficients[taken], 1.0)
            self.parts.append(
                _Part(
                    len(own),
                    width,
                    to_device(column[taken].ravel(), device),
                    None if (numbers == 1).all() else _of_type(numbers, dtype, device),
                    None if is_entry.all() else to_device(is_entry, device),
                )
            )
        self.order: Tensor | None = None
        if len(members) > 1:
            self.order = to_device(np.argsort(np.concatenate(members)), device)

    def apply(self, x: Tensor) -> Tensor:
        """Return the map of ``x``."""
        found = [part.take(x) for part in self.parts]
        if self.order is None:
            return found[0] if found else x.new_zeros((len(x), 0, *x.shape[2:]))
        return torch.cat(found, 1).index_select(1, self.order)


class _Part(NamedTuple):
    """Rows of one length.

    Attributes:
        rows: How many there are.
        width: Their length.
        source: What they read, ``(rows * width,)``.
        weights: What that is multiplied by, ``(rows, width)``; ``None``: by one.
        is_entry: Where rows are as long as that; ``None``: all are. What fills the others up counts
            for nothing, even if it is not finite.
    """

    rows: int
    width: int
    source: Tensor | None = None
    weights: Tensor | None = None
    is_entry: Tensor | None = None

    def take(self, x: Tensor) -> Tensor:
        """Return what the rows are of ``x``."""
        if self.source is None:
            return x.new_zeros((len(x), self.rows, *x.shape[2:]))
        taken = x.index_select(1, self.source)
        taken = taken.reshape(len(x), self.rows, self.width, *x.shape[2:])
        further = [1] * (x.ndim - 2)
        if self.weights is not None:
            taken = taken * self.weights.reshape(self.rows, self.width, *further)
        if self.is_entry is not None:
            is_entry = self.is_entry.reshape(self.rows, self.width, *further)
            taken = torch.where(is_entry, taken, 0.0)
        return taken.sum(2) if self.width > 1 else taken.squeeze(2)


def to_device(array: ArrayLike, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Return a table of numbers as a tensor of its own."""
    return torch.from_numpy(np.array(array, order="C")).to(device, dtype)


def _of_type(numbers: NDArray[Any], dtype: torch.dtype, device: torch.device) -> Tensor:
    return to_device(numbers if dtype.is_complex else numbers.real, device, dtype)


class _Apply(torch.autograd.Function):
    """The map; its transpose is the gradient, whose gradient is the map again."""

    @staticmethod
    def forward(x: Tensor, forward: _Table, backward: _Table) -> Tensor:
        return forward.apply(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.table, ctx.transposed = inputs

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor, None, None]:
        return _Apply.apply(cotangents[0], ctx.transposed, ctx.table), None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        return _Apply.apply(tangents[0], ctx.table, ctx.transposed)

    @staticmethod
    def vmap(
        info: Any, dims: tuple[Any, ...], x: Tensor, forward: _Table, backward: _Table
    ) -> tuple[Tensor, int]:
        together = x.movedim(dims[0], 0)
        found = _Apply.apply(together.flatten(0, 1), forward, backward)
        return found.unflatten(0, together.shape[:2]), 0
