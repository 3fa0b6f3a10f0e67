# SPDX-License-Identifier: Apache-2.0
r"""The columns of all sites at once, in a few operations on tensors.

A column is made by steps, each of which applies matrices of two rows to the numbers of its site, as
:mod:`.simulation.columns.network` says. Step ``t`` of every site is one operation here, whatever
sites there are: tables say which matrix makes each number, and of which numbers of the step before.
The matrices themselves are products of factors :math:`\cos\frac a2\,A + \sin\frac a2\,A'`.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..arrays import ComplexArray, IntArray
from ..simulation.columns.network import PAULIS, Network, Step, Turn
from .sparse_maps import SparseMap, to_device
from .tapes import values_dtype

IDENTITY: ComplexArray = PAULIS[0]
NOTHING: ComplexArray = np.zeros((2, 2), dtype=complex)

Factor = tuple[int, ComplexArray, ComplexArray]
"""The slot of an angle, or -1, and what its cosine and its sine are multiplied by."""


class _Multiply(NamedTuple):
    """A step that applies matrices: which one to which numbers."""

    matrices: SparseMap
    numbers: SparseMap

    def __call__(self, state: Tensor, matrices: Tensor) -> Tensor:
        return (self.matrices(matrices) * self.numbers(state)[:, :, None, :]).sum(-1)


class _Merge(NamedTuple):
    """A step that adds numbers up."""

    numbers: SparseMap

    def __call__(self, state: Tensor, matrices: Tensor) -> Tensor:
        return self.numbers(state)


class ColumnTensors:
    r"""Makes the columns ``(B, n, D, 2, D)`` of a network, all padded to its largest bond ``D``.

    Args:
        network: The columns.
        dtype: Complex, of the columns.
        device: Where they are made.

    Attributes:
        bond: The dimension ``D``.
    """

    def __init__(self, network: Network, dtype: torch.dtype, device: torch.device) -> None:
        self._dtype, self._device = dtype, device
        self._real = torch.float32 if dtype == torch.complex64 else torch.float64
        self.bond = max(network.cuts)
        self._sites = network.num_sites
        self._write_factors(network)
        self._write_steps(network)

    def __call__(self, angles: Tensor) -> Tensor:
        """Return the columns at the angles of all slots, ``(B, S)``."""
        rows, halves = len(angles), self._halves(angles)
        cosines, sines = (f(halves).to(self._real)[..., None, None] for f in (torch.cos, torch.sin))
        factors = cosines * self._of_cosines + sines * self._of_sines
        factors = factors.reshape(rows, self._num_matrices, -1, 2, 2)
        while factors.shape[2] > 1:
            first, second = factors.unflatten(2, (-1, 2)).unbind(3)
            factors = (second[..., None] * first[..., None, :, :]).sum(-2)
        matrices = factors.squeeze(2)
        state = self._zero.expand(rows, -1, -1)
        for step in self._steps:
            state = step(state, matrices)
        placed = self._places(state.flatten(1))
        return placed.reshape(rows, self._sites, self.bond, 2, self.bond)

    def _write_factors(self, network: Network) -> None:
        chains: list[list[Factor]] = [[]]  # the first one is the identity
        self._first: list[list[int]] = []  # for each site the first matrix of each of its steps
        for steps in network.steps:
            self._first.append([])
            for step in steps:
                self._first[-1].append(len(chains))
                if step.merge is None:
                    chains += _chains_of(step)
        self._num_matrices = len(chains)
        length = max(1, max(map(len, chains)))
        length = 1 << (length - 1).bit_length()
        slots = np.full((len(chains), length), -1, dtype=np.int64)
        numbers = np.zeros((2, len(chains), length, 2, 2), dtype=complex)
        numbers[0] = IDENTITY
        for c, chain in enumerate(chains):
            for f, (slot, of_cosine, of_sine) in enumerate(chain):
                slots[c, f], numbers[0, c, f], numbers[1, c, f] = slot, of_cosine, of_sine
        (rotated,) = np.nonzero(slots.ravel() >= 0)
        self._halves = SparseMap(
            rotated,
            slots.ravel()[rotated],
            np.full(len(rotated), 0.5),
            (slots.size, len(network.rotations)),
            values_dtype(self._device),
            self._device,
        )
        flat = numbers.reshape(2, -1, 2, 2)
        self._of_cosines, self._of_sines = torch.tensor(
            flat, dtype=self._dtype, device=self._device
        )

    def _write_steps(self, network: Network) -> None:
        count = network.num_sites
        self._zero = to_device(np.tile([1.0, 0.0], (1, count, 1)), self._device, self._dtype)
        self._steps: list[_Multiply | _Merge] = []
        lengths = np.ones(count, dtype=np.int64)
        done = [0] * count
        while any(at < len(steps) for at, steps in zip(done, network.steps, strict=True)):
            for merges in (False, True):
                upcoming = [
                    steps[at] if at < len(steps) and (steps[at].merge is not None) == merges
                    else None
                    for at, steps in zip(done, network.steps, strict=True)
                ]  # fmt: skip
                if any(step is not None for step in upcoming):
                    write = self._write_merges if merges else self._write_products
                    lengths = write(upcoming, done, lengths)
                done = [at + (step is not None) for at, step in zip(done, upcoming, strict=True)]
        self._write_places(network, lengths)

    def _write_products(
        self, upcoming: list[Step | None], done: list[int], lengths: IntArray
    ) -> IntArray:
        which, source = [], []
        starts = np.cumsum(lengths) - lengths
        blocks = np.array([1 if step is None else step.num_blocks for step in upcoming])
        for site, step in enumerate(upcoming):
            first = 0 if step is None else self._first[site][done[site]]
            which.append(np.repeat(first + np.arange(blocks[site]), lengths[site]))
            source.append(np.tile(starts[site] + np.arange(lengths[site]), blocks[site]))
        after = lengths * blocks
        take = functools.partial(self._map, np.arange(after.sum()))
        self._steps.append(
            _Multiply(
                take(np.concatenate(which), None, self._num_matrices),
                take(np.concatenate(source), None, int(lengths.sum())),
            )
        )
        return after

    def _write_merges(
        self, upcoming: list[Step | None], done: list[int], lengths: IntArray
    ) -> IntArray:
        rows, columns, coefficients = [], [], []
        after = np.array(
            [
                n if step is None else step.after(n)
                for step, n in zip(upcoming, lengths.tolist(), strict=True)
            ]
        )
        starts, places = np.cumsum(lengths) - lengths, np.cumsum(after) - after
        for site, step in enumerate(upcoming):
            merge = np.eye(1) if step is None or step.merge is None else step.merge
            inner = lengths[site] // merge.shape[1]
            p, k, v = (a.ravel() for a in np.indices((*merge.shape, inner)))
            rows.append(places[site] + p * inner + v)
            columns.append(starts[site] + k * inner + v)
            coefficients.append(merge[p, k])
        self._steps.append(
            _Merge(
                self._map(
                    np.concatenate(rows), np.concatenate(columns), np.concatenate(coefficients),
                    int(lengths.sum()), int(after.sum()),
                )
            )
        )  # fmt: skip
        return after

    def _write_places(self, network: Network, lengths: IntArray) -> None:
        starts, bond = np.cumsum(lengths) - lengths, self.bond
        rows, columns = [], []
        for site in range(network.num_sites):
            column = network.column(site)
            at = np.add.outer(column.wires, column.places)  # (W, V)
            left, right = np.divmod(at, column.right)
            number = np.broadcast_to(starts[site] + np.arange(lengths[site]), at.shape)
            for s in range(2):
                rows.append((((site * bond + left) * 2 + s) * bond + right).ravel())
                columns.append((2 * number + s).ravel())
        self._places = self._map(
            np.concatenate(rows), np.concatenate(columns), None,
            2 * int(lengths.sum()), 2 * network.num_sites * bond * bond,
        )  # fmt: skip

    def _map(
        self,
        rows: IntArray,
        columns: IntArray,
        coefficients: ComplexArray | None,
        count: int,
        size: int | None = None,
    ) -> SparseMap:
        dtype = self._real if coefficients is None else self._dtype
        shape = (len(rows) if size is None else size, count)
        return SparseMap(rows, columns, coefficients, shape, dtype, self._device)


def _chains_of(step: Step) -> list[list[Factor]]:
    """Return the factors of each matrix of a step, in the order of time."""
    before: list[Factor] = [
        (factor.slot, IDENTITY, -1j * PAULIS[factor.letter])
        if isinstance(factor, Turn)
        else (-1, factor, NOTHING)
        for factor in step.factors
    ]
    found: list[list[Factor]] = []
    for m, matrix in enumerate(step.matrices):
        by_sine = step.slot >= 0 and m > 0
        last: Factor = (
            (step.slot, NOTHING, -1j * matrix) if by_sine else (step.slot, matrix, NOTHING)
        )
        found.append([*before, last])
    return found
