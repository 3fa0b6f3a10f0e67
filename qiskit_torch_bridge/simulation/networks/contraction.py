# SPDX-License-Identifier: Apache-2.0
r"""A network contracted pair by pair, and its derivatives by all tensors, to second order.

Each contraction of two tensors is a product of matrices, for each value of the indices that go on
beside both. The derivative of the result by a tensor takes two such products for each contraction,
backward. Arrays are ``(G, R, 2, ..., 2)``: networks that differ in their numbers, rows, and the
tensor's indices; ``G`` and ``R`` are one where nothing differs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from ...arrays import ComplexArray
from .orders import Order

Tensors: TypeAlias = "list[ComplexArray | None]"
"""One array for each tensor; ``None`` stands for zero, or for what nobody asks for."""


class _Side:
    """One of two factors: how its axes come to be those of a matrix, and back.

    Args:
        indices: Its indices.
        wanted: The same ones in the order of the product: those beside, and then both others.
        shape: Their sizes in the product: beside, rows, columns.
    """

    def __init__(
        self, indices: Sequence[int], wanted: Sequence[int], shape: tuple[int, int, int]
    ) -> None:
        axes = [2 + indices.index(i) for i in wanted]
        self._axes = None if axes == sorted(axes) else (0, 1, *axes)
        self._back = tuple(np.argsort((0, 1, *axes)).tolist())
        self._shape, self._full = shape, (2,) * len(indices)

    def matrix(self, tensor: ComplexArray) -> ComplexArray:
        if self._axes is not None:
            tensor = tensor.transpose(self._axes)
        return tensor.reshape(*tensor.shape[:2], *self._shape)

    def tensor(self, matrix: ComplexArray, like: ComplexArray) -> ComplexArray:
        """Return a tensor from its matrix, summed over what the original does not differ in."""
        matrix = sum_to(matrix, like.shape[:2])
        tensor = matrix.reshape(*matrix.shape[:2], *self._full)
        return tensor if self._axes is None else tensor.transpose(self._back)


class _Step:
    """The contraction of two tensors."""

    def __init__(
        self, a: int, b: int, of_a: Sequence[int], of_b: Sequence[int], stay: set[int]
    ) -> None:
        self.a, self.b = a, b
        beside = [i for i in of_a if i in of_b and i in stay]
        summed = [i for i in of_a if i in of_b and i not in stay]
        rows = [i for i in of_a if i not in of_b]
        columns = [i for i in of_b if i not in of_a]
        t, m, k, n = (1 << len(part) for part in (beside, rows, summed, columns))
        self._left = _Side(of_a, [*beside, *rows, *summed], (t, m, k))
        self._right = _Side(of_b, [*beside, *summed, *columns], (t, k, n))
        self.indices = [*beside, *rows, *columns]
        self._full, self._shape = (2,) * len(self.indices), (t, m, n)

    def __call__(self, a: ComplexArray, b: ComplexArray) -> ComplexArray:
        """Return the product."""
        found = multiply(self._left.matrix(a), self._right.matrix(b))
        return found.reshape(*found.shape[:2], *self._full)

    def by_a(self, a: ComplexArray, b: ComplexArray, gradient: ComplexArray) -> ComplexArray:
        """Return the derivative by the left factor, given that by the product."""
        upper = gradient.reshape(*gradient.shape[:2], *self._shape)
        return self._left.tensor(multiply(upper, self._right.matrix(b).swapaxes(-1, -2)), a)

    def by_b(self, a: ComplexArray, b: ComplexArray, gradient: ComplexArray) -> ComplexArray:
        """Return the derivative by the right factor."""
        upper = gradient.reshape(*gradient.shape[:2], *self._shape)
        return self._right.tensor(multiply(self._left.matrix(a).swapaxes(-1, -2), upper), b)


class Contraction:
    """Contracts networks of one form to numbers.

    Args:
        inputs: The indices of each tensor.
        order: In which order.
    """

    def __init__(self, inputs: Sequence[tuple[int, ...]], order: Order) -> None:
        self.num_leaves = len(inputs)
        self._sliced = order.sliced
        tensors = [[i for i in tensor if i not in order.sliced] for tensor in inputs]
        self._axes = [
            [(axis, order.sliced.index(i)) for axis, i in enumerate(t) if i in order.sliced]
            for t in inputs
        ]
        self._widths = [len(tensor) for tensor in tensors]
        remaining = Counter(i for tensor in tensors for i in tensor)
        self._steps: list[_Step] = []
        for pair in order.path:
            if len(pair) != 2:
                raise ValueError(f"Expected contractions of two tensors; got {pair}.")
            a, b = pair
            remaining.subtract(tensors[a])
            remaining.subtract(tensors[b])
            stay = {i for i in (*tensors[a], *tensors[b]) if remaining[i]}
            step = _Step(a, b, tensors[a], tensors[b], stay)
            self._steps.append(step)
            remaining.update(step.indices)
            tensors.append(step.indices)

    @property
    def num_slices(self) -> int:
        """How many contractions are summed."""
        return 1 << len(self._sliced)

    def count_numbers(self, shapes: Sequence[tuple[int, int]]) -> float:
        """Return how many numbers all tensors and results of one slice are.

        Args:
            shapes: Networks and rows that each tensor differs in, ``G`` and ``R``.
        """
        differ = list(shapes)
        total = float(
            sum(g * r << width for (g, r), width in zip(differ, self._widths, strict=True))
        )
        for step in self._steps:
            (g, r), (other_g, other_r) = differ[step.a], differ[step.b]
            differ.append((max(g, other_g), max(r, other_r)))
            total += differ[-1][0] * differ[-1][1] << len(step.indices)
        return total

    def take(self, leaf: int, tensor: ComplexArray, part: int) -> ComplexArray:
        """Return what a slice has of a tensor, a view."""
        if not self._axes[leaf]:
            return tensor
        return tensor[self._place(leaf, tensor, part)]  # type: ignore[index]

    def put(self, leaf: int, total: ComplexArray, gradient: ComplexArray, part: int) -> None:
        """Add a slice's derivative by a tensor to that by the whole one."""
        total[self._place(leaf, total, part)] += gradient  # type: ignore[index]

    def _place(self, leaf: int, tensor: ComplexArray, part: int) -> tuple[object, ...]:
        place: list[object] = [slice(None)] * tensor.ndim
        for axis, bit in self._axes[leaf]:
            place[2 + axis] = part >> bit & 1
        return tuple(place)

    def needed(self, leaves: Sequence[bool]) -> list[bool]:
        """Return for each tensor, and each result, whether it contains a leaf of those given."""
        found = list(leaves)
        for step in self._steps:
            found.append(found[step.a] or found[step.b])
        return found

    def forward(self, leaves: Sequence[ComplexArray]) -> list[ComplexArray]:
        """Return all tensors and results; the last one is the number ``(G, R)``."""
        nodes = list(leaves)
        for step in self._steps:
            nodes.append(step(nodes[step.a], nodes[step.b]))
        return nodes

    def value(self, leaves: Sequence[ComplexArray]) -> ComplexArray:
        """Return the number ``(G, R)`` and keep nothing else."""
        nodes: Tensors = list(leaves)
        for step in self._steps:
            a, b = nodes[step.a], nodes[step.b]
            assert a is not None and b is not None
            nodes[step.a] = nodes[step.b] = None
            nodes.append(step(a, b))
        (found,) = nodes[-1:]
        assert found is not None
        return found

    def forward_tangent(self, nodes: Sequence[ComplexArray], tangents: Tensors) -> Tensors:
        """Return the derivatives of all tensors and results along those of the leaves."""
        found = list(tangents)
        for step in self._steps:
            a, b = found[step.a], found[step.b]
            along = None if a is None else step(a, nodes[step.b])
            if b is not None:
                further = step(nodes[step.a], b)
                along = further if along is None else along + further
            found.append(along)
        return found

    def backward(
        self, nodes: Sequence[ComplexArray], seed: ComplexArray, needed: Sequence[bool]
    ) -> Tensors:
        """Return the derivatives of the number, times ``seed`` ``(G, R)``, by needed leaves."""
        gradients: Tensors = [None] * len(nodes)
        gradients[-1] = sum_to(seed, nodes[-1].shape[:2])
        for place in range(len(nodes) - 1, self.num_leaves - 1, -1):
            gradient, gradients[place] = gradients[place], None
            if gradient is None:
                continue
            step = self._steps[place - self.num_leaves]
            a, b = nodes[step.a], nodes[step.b]
            if needed[step.a]:
                gradients[step.a] = step.by_a(a, b, gradient)
            if needed[step.b]:
                gradients[step.b] = step.by_b(a, b, gradient)
        return gradients[: self.num_leaves]

    def backward_tangent(
        self,
        nodes: Sequence[ComplexArray],
        tangents: Tensors,
        seed: ComplexArray,
        dseed: ComplexArray,
        needed: Sequence[bool],
    ) -> tuple[Tensors, Tensors]:
        """Return what :meth:`backward` does, and its derivative along tangents."""
        gradients: Tensors = [None] * len(nodes)
        dgradients: Tensors = [None] * len(nodes)
        gradients[-1] = sum_to(seed, nodes[-1].shape[:2])
        dgradients[-1] = sum_to(dseed, nodes[-1].shape[:2])
        for place in range(len(nodes) - 1, self.num_leaves - 1, -1):
            gradient, gradients[place] = gradients[place], None
            dgradient, dgradients[place] = dgradients[place], None
            if gradient is None or dgradient is None:
                continue
            step = self._steps[place - self.num_leaves]
            a, b, da, db = nodes[step.a], nodes[step.b], tangents[step.a], tangents[step.b]
            if needed[step.a]:
                gradients[step.a] = step.by_a(a, b, gradient)
                along = step.by_a(a, b, dgradient)
                dgradients[step.a] = along if db is None else along + step.by_a(a, db, gradient)
            if needed[step.b]:
                gradients[step.b] = step.by_b(a, b, gradient)
                along = step.by_b(a, b, dgradient)
                dgradients[step.b] = along if da is None else along + step.by_b(da, b, gradient)
        return gradients[: self.num_leaves], dgradients[: self.num_leaves]


def multiply(a: ComplexArray, b: ComplexArray) -> ComplexArray:
    """Return the matrix products of ``(G, R, T, m, k)`` and ``(G, R, T, k, n)``."""
    if a.shape[-1] == 1 or a.shape[-2] * a.shape[-1] * b.shape[-1] <= SMALL:
        found = a[..., :, :1] * b[..., :1, :]
        for k in range(1, a.shape[-1]):
            found += a[..., :, k : k + 1] * b[..., k : k + 1, :]
        return found
    return np.matmul(a, b)


SMALL = 4
"""Multiplications of a product of matrices below which calls of BLAS take longer."""


def sum_to(array: ComplexArray, shape: Sequence[int]) -> ComplexArray:
    """Return an array summed over those of its first axes of which a shape has only one."""
    for axis, size in enumerate(shape):
        if size == 1 and array.shape[axis] > 1:
            array = array.sum(axis, keepdims=True)
    return array
