# SPDX-License-Identifier: Apache-2.0
r"""Gram matrices of states that are simulated: N + M states and products of their matrices.

With the states as rows of :math:`S` and :math:`T`, entry :math:`ij` is :math:`|O_{ij}|^2` of
:math:`O = S T^\dagger`, and a cotangent :math:`C` of the entries gives
:math:`2\,(C \circ O)\,T` for the states :math:`S`, which one adjoint sweep over each state leads
back to the parameters.

Rows are taken in blocks, always the same ones, so that a number does not depend on how much memory
there was. Where all states fit, they are in torch's graph. Where they do not, each block is
simulated when it is needed, and anew in the backward pass, which then sweeps once over each block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from .. import memory
from ..autograd import Node
from ..functional import evaluate

BLOCK_ROWS = 1024
"""States that are multiplied at a time, at most."""
BLOCK_BYTES = 1 << 28
"""What these states may take."""
KEPT_BYTES = 1 << 30
"""States up to this size are kept, if there is room for them and what is made of them."""
COPIES = 4
"""How often there are states at a time: as read, as complex numbers, turned, and as gradients."""


class Overlaps(NamedTuple):
    """What makes Gram matrices of the states of one program.

    Attributes:
        node: Gives the states of a program that measures :class:`.State`.
        dtype: The complex numbers in which they are multiplied.
    """

    node: Node
    dtype: torch.dtype

    def gram(self, x: Tensor, y: Tensor | None, weights: Tensor) -> Tensor:
        """Return the fidelities ``(*batch, N, M)`` of the states of all rows of ``x`` and ``y``.

        Args:
            x: Shape ``(*batch, N, I)``, double precision.
            y: Shape ``(*batch, M, I)``; ``None`` for those of ``x`` among each other.
            weights: Shape ``(W,)``.
        """
        rows = [x] if y is None else [x, y]
        needed = sum(map(self._bytes, rows))
        if needed <= KEPT_BYTES and memory.fits(COPIES * needed):
            return self._in_graph(x, y, weights)
        if y is not None:
            lead = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
            x, y = (rows.expand(*lead, *rows.shape[-2:]) for rows in (x, y))
        return cast(Tensor, _Recomputed.apply(x, y, weights, self))

    def diagonal(self, x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
        """Return the fidelities ``(*batch, N)`` of each row of ``x`` with that of ``y``."""
        parts = [
            _squares((self.states(x_rows, weights) * self.states(y_rows, weights).conj()).sum(-1))
            for x_rows, y_rows in zip(self._blocks(x), self._blocks(y), strict=True)
        ]
        return torch.cat(parts, dim=-1)

    def states(self, rows: Tensor, weights: Tensor) -> Tensor:
        """Return the states ``(*batch, R, 2**n)`` of rows ``(*batch, R, I)``."""
        return evaluate(self.node, rows, weights).to(self.dtype)

    def _bytes(self, rows: Tensor) -> int:
        """Return what the states of so many rows take."""
        return rows[..., 0].numel() * self._bytes_of_state

    @property
    def _bytes_of_state(self) -> int:
        return self.node.program.output_shape[0] * self.dtype.itemsize

    def _blocks(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Cut rows ``(*batch, N, I)`` into the blocks that are simulated together."""
        beside = max(1, rows[..., 0, 0].numel()) if rows.shape[-2] else 1
        most = min(BLOCK_ROWS, BLOCK_BYTES // self._bytes_of_state) // beside
        return rows.split(max(1, most), dim=-2)

    def _in_graph(self, x: Tensor, y: Tensor | None, weights: Tensor) -> Tensor:
        """Return the Gram matrix with all states at hand, differentiable as often as they are."""
        left = [self.states(rows, weights) for rows in self._blocks(x)]
        if y is None:
            pairs = {(i, j): _fidelities(left[i], left[j]) for i, j in _upper(len(left))}
            return _assemble([_own_fidelities(states) for states in left], pairs)
        right = [self.states(rows, weights) for rows in self._blocks(y)]
        rows = (torch.cat([_fidelities(s, t) for t in right], dim=-1) for s in left)
        return torch.cat(list(rows), dim=-2)

    def block_by_block(self, x: Tensor, y: Tensor | None, weights: Tensor) -> Tensor:
        """Return the same as :meth:`gram`, holding the states of two blocks at a time."""
        left = self._blocks(x)
        if y is None:
            own, pairs = [], {}
            for i, rows in enumerate(left):
                states = self.states(rows, weights)
                own.append(_own_fidelities(states))
                for j in range(i + 1, len(left)):
                    pairs[i, j] = _fidelities(states, self.states(left[j], weights))
            return _assemble(own, pairs)
        lines = []
        for rows in left:
            states = self.states(rows, weights)
            others = (self.states(block, weights) for block in self._blocks(y))
            lines.append(torch.cat([_fidelities(states, other) for other in others], dim=-1))
        return torch.cat(lines, dim=-2)

    def gradients(
        self, x: Tensor, y: Tensor, weights: Tensor, cotangent: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the gradients by way of the states of ``x``, those of ``y`` held fixed.

        Args:
            x: Shape ``(*batch, N, I)``.
            y: Shape ``(*batch, M, I)``.
            weights: Shape ``(W,)``.
            cotangent: Shape ``(*batch, N, M)``.

        Returns:
            Shapes ``(*batch, N, I)`` and ``(W,)``.
        """
        blocks, others = self._blocks(x), self._blocks(y)
        of_weights, of_rows = torch.zeros_like(weights), []
        lengths = [block.shape[-2] for block in others]
        for rows, lines in zip(blocks, cotangent.split(_lengths(blocks), dim=-2), strict=True):
            leaves = [tensor.detach().requires_grad_() for tensor in (rows, weights)]
            with torch.enable_grad():
                states = self.states(*leaves)
            fixed = states.detach()
            gradient = torch.zeros_like(fixed)
            for block, part in zip(others, lines.split(lengths, dim=-1), strict=True):
                other = self.states(block, weights)
                overlaps = fixed @ other.mH
                gradient += (2 * part.to(overlaps.real.dtype) * overlaps) @ other
            found = torch.autograd.grad(states, leaves, gradient)
            of_rows.append(found[0])
            of_weights += found[1]
        return torch.cat(of_rows, dim=-2), of_weights

    def with_graph(self, x: Tensor, y: Tensor | None, weights: Tensor) -> Tensor:
        """Return the same as :meth:`gram` with all states in the graph, whatever they take.

        Raises:
            MemoryLimitError: If they do not fit into memory.
        """
        needed = sum(self._bytes(rows) for rows in (x, y) if rows is not None)
        memory.require_for(
            COPIES * needed,
            "The graph of a gradient of a Gram matrix holds all states, which",
            "Take fewer points at a time, or first derivatives alone.",
        )
        return self._in_graph(x, y, weights)


class _Recomputed(torch.autograd.Function):
    """A Gram matrix whose states are simulated anew in the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor | None, weights: Tensor, overlaps: Overlaps) -> Any:
        ctx.overlaps, ctx.symmetric = overlaps, y is None
        ctx.save_for_backward(x, weights, *([] if y is None else [y]))
        return overlaps.block_by_block(x, y, weights)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        x, weights, *rest = ctx.saved_tensors
        y: Tensor | None = rest[0] if rest else None
        overlaps: Overlaps = ctx.overlaps
        wanted = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():  # second derivatives are to follow
            gram = overlaps.with_graph(x, y, weights)
            asked = [t for t, w in zip((x, y, weights), wanted, strict=True) if w]
            found = iter(torch.autograd.grad(gram, asked, cotangent, create_graph=True))
            return (*(next(found) if w else None for w in wanted), None)
        if y is None:
            both = (cotangent + cotangent.mT).triu(1)
            gx, gw = overlaps.gradients(x, x, weights, both + both.mT)
            return gx, None, gw, None
        gx, by_x = overlaps.gradients(x, y, weights, cotangent)
        gy, by_y = overlaps.gradients(y, x, weights, cotangent.mT)
        return gx, gy, by_x + by_y, None


def _squares(numbers: Tensor) -> Tensor:
    return numbers.real**2 + numbers.imag**2


def _fidelities(left: Tensor, right: Tensor) -> Tensor:
    """Return ``(..., R, S)`` for states ``(..., R, 2**n)`` and ``(..., S, 2**n)``.

    In real numbers, in which matrices multiply fastest: real parts of inner products with the
    states and with those times ``i`` are real and imaginary parts.
    """
    parts = _reals(left) @ _reals(torch.cat([right, 1j * right], dim=-2)).mT
    real, imaginary = parts.chunk(2, dim=-1)
    return torch.addcmul(real * real, imaginary, imaginary)


def _own_fidelities(states: Tensor) -> Tensor:
    r"""Return ``(..., R, R)`` for states ``(..., R, 2**n)`` among each other: half of the work.

    Real parts of inner products are symmetric and imaginary parts antisymmetric. The sum of both,
    :math:`Q`, is the real part of inner products with the states times ``1 + i``, and so

    .. math:: |O_{ij}|^2 = (Q_{ij}^2 + Q_{ji}^2) / 2.
    """
    turned = math.sqrt(0.5) * (1 + 1j) * states
    squares = (_reals(states) @ _reals(turned).mT) ** 2
    return with_ones(squares + squares.mT)


def _reals(states: Tensor) -> Tensor:
    """Return real and imaginary parts in turn, ``(..., R, 2 * 2**n)``."""
    return torch.view_as_real(states).flatten(-2)


def _upper(count: int) -> Iterator[tuple[int, int]]:
    return ((i, j) for i in range(count) for j in range(i + 1, count))


def _lengths(blocks: tuple[Tensor, ...]) -> list[int]:
    return [block.shape[-2] for block in blocks]


def _assemble(own: list[Tensor], pairs: dict[tuple[int, int], Tensor]) -> Tensor:
    """Return the symmetric matrix with blocks on its diagonal and, by their places, above it."""
    lines = []
    for i, block in enumerate(own):
        left = [pairs[j, i].mT for j in range(i)]
        right = [pairs[i, j] for j in range(i + 1, len(own))]
        lines.append(torch.cat([*left, block, *right], dim=-1))
    return torch.cat(lines, dim=-2) if len(lines) > 1 else lines[0]


def mirrored(matrix: Tensor) -> Tensor:
    """Return the symmetric matrix with the upper half of this one, and a diagonal of ones."""
    upper = matrix.triu(1)
    return with_ones(upper + upper.mT)


def with_ones(matrix: Tensor) -> Tensor:
    """Put ones, which nothing changes, on the diagonal of a new matrix, and return it."""
    matrix.diagonal(dim1=-2, dim2=-1).fill_(1.0)
    return matrix
