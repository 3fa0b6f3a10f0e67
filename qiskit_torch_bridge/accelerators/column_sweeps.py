# SPDX-License-Identifier: Apache-2.0
r"""Environments of all sites of a matrix product, and what strings read with them.

With the columns :math:`K[l, s, r]` the environment of what lies to the left of a cut and that of
what lies to its right are

.. math::
    L'[r, r'] = \sum_{l l' s} K[l, s, r]\, L[l, l']\, K^*[l', s, r'], \qquad
    R'[l, l'] = \sum_{r r' s} K[l, s, r]\, R[r, r']\, K^*[l', s, r'],

each from the one before it. A device that waits longer for an operation to start than to end does
not like a hundred of them one after the other. So the line is cut into chunks: the map of each
chunk, :math:`D^2 \times D^2`, is found for all chunks together, one site of each at a time; the
chunks' maps give the environments between chunks, and from these all chunks are swept together.
With :math:`n` sites and :math:`C` chunks :math:`7 n / C + 2 C` products take the place of
:math:`4 n`, at :math:`D^2` times as many multiplications.

Strings leave the environment of the identity where they begin, and end where they meet the one of
the identity from the right. So they need no order either: step ``d`` of every string is one
operation.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

LAUNCH = {"cpu": 3e4}
"""Complex multiplications that a kind of device could do while an operation starts."""
ACCELERATED = 1e6
"""The same for all others."""
WIDEST = 1 << 20
"""A bond that nothing is cut for."""


class Environments(NamedTuple):
    """What every site sees of the others, with the identity read there.

    Attributes:
        lefts: The left environment times the conjugate column, ``(B, n, l, s, r')``.
        rights: The column times the right environment, ``(B, n, l, s, r')``.
    """

    lefts: Tensor
    rights: Tensor


def choose_chunks(rows: int, sites: int, bond: int, kind: str) -> int:
    """Return into how many chunks a line is cut.

    Args:
        rows: How many matrix products there are.
        sites: Of how many sites.
        bond: The dimension of the bonds between them.
        kind: The kind of the device.
    """
    launch, bond = LAUNCH.get(kind, ACCELERATED), min(bond, WIDEST)
    chunks = max(1, round(math.sqrt(3.5 * sites)))
    whole = 4 * sites * launch + 8.0 * rows * sites * bond**3
    cut = (7 * sites / chunks + 2 * chunks) * launch + 4.0 * rows * sites * bond**5
    return chunks if cut < whole else 1


def sweep(columns: Tensor, chunks: int) -> Environments:
    """Return the environments of columns ``(B, n, D, 2, D)``, whose outermost bonds are one."""
    rows, sites, bond = columns.shape[:3]
    length = -(-sites // chunks)
    if chunks * length > sites:
        further = pad(columns.new_ones(1, 1, 1, 1, 1), (0, bond - 1, 0, 1, 0, bond - 1))
        padding = further.expand(rows, chunks * length - sites, -1, -1, -1)
        columns = torch.cat([columns, padding], 1)
    cut = columns.unflatten(1, (chunks, length))
    pairs = list(zip(cut.unbind(2), cut.conj().resolve_conj().unbind(2), strict=True))
    end = pad(columns.new_ones(rows, 1, 1, 1), (0, bond - 1, 0, bond - 1))
    lefts = rights = end
    if chunks > 1:
        lefts, rights = _between(pairs, end)
    found: list[list[Tensor]] = [[], []]
    environment = lefts
    for place, pair in enumerate(pairs):
        half = _read_left(environment[:, :, :, None], pair[1])
        found[0].append(half.squeeze(4))
        if place < length - 1:
            environment = _close_left(half, pair[0]).squeeze(3)
    environment = rights
    for place, pair in reversed(list(enumerate(pairs))):
        half = pair[0].flatten(2, 3) @ environment
        half = half.unflatten(2, (bond, 2))
        found[1].append(half)
        if place:
            environment = half.flatten(3) @ pair[1].flatten(3).mT
    ordered = found[0], found[1][::-1]
    return Environments(*(torch.stack(of, 2).flatten(1, 2)[:, :sites] for of in ordered))


def _between(pairs: list[tuple[Tensor, Tensor]], end: Tensor) -> tuple[Tensor, Tensor]:
    """Return the environments to the left and to the right of each chunk, ``(B, C, D, D)``."""
    rows, chunks, bond = pairs[0][0].shape[:3]
    unit = torch.eye(bond * bond, dtype=end.dtype, device=end.device)
    unit = unit.unflatten(1, (bond, bond)).transpose(0, 1)  # (l, b, l')
    moved = unit.expand(rows, chunks, -1, -1, -1)
    for column, conjugate in pairs:
        moved = _close_left(_read_left(moved, conjugate), column)
    maps = moved.transpose(2, 3).flatten(3).unbind(1)  # each (B, l l', r r')
    left, right = end.flatten(2), end.flatten(2).mT
    lefts, rights = [left], [right]
    for of_chunk in maps[:-1]:
        left = left @ of_chunk
        lefts.append(left)
    for of_chunk in maps[:0:-1]:
        right = of_chunk @ right
        rights.append(right)
    return (
        torch.cat(lefts, 1).unflatten(2, (bond, bond)),
        torch.cat(rights[::-1], 2).mT.unflatten(2, (bond, bond)),
    )


def _read_left(environments: Tensor, conjugate: Tensor) -> Tensor:
    """Return environments ``(B, C, l, b, l')`` times a conjugate: ``(B, C, l, s, b, r')``."""
    bond = conjugate.shape[2]
    half = environments.flatten(2, 3) @ conjugate.flatten(3)
    return half.reshape(*environments.shape[:4], 2, bond).transpose(3, 4)


def _close_left(half: Tensor, column: Tensor) -> Tensor:
    """Return the environments ``(B, C, r, b, r')`` beyond a column."""
    closed = column.flatten(2, 3).mT @ half.flatten(2, 3).flatten(3)
    return closed.unflatten(3, half.shape[4:])
