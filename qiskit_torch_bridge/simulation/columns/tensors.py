# SPDX-License-Identifier: Apache-2.0
r"""The state as a matrix product: the tensors of all columns, and what lies to their right.

.. math:: |\psi\rangle = \sum_{s_0 \ldots s_{n-1}}
    K_0[0, s_0, :] K_1[:, s_1, :] \cdots K_{n-1}[:, s_{n-1}, 0]\, |s_0 \ldots s_{n-1}\rangle
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...arrays import ComplexArray, FloatArray
from .network import PAULIS, Network, Step, Turn


class MatrixProduct(NamedTuple):
    r"""States as matrix products, all of one circuit.

    Attributes:
        tensors: For each site the columns ``K``, ``(B, l, 2, r)``.
        rights: For each of the ``n + 1`` cuts what the identity gives on all sites to its right,
            ``(B, r, r)``, ket first: :math:`\sum_{s} K[l, s, r] R[r, r'] K^*[l', s, r']`, from one
            at the right end. It is Hermitian; at the left end it is the norm, one.
    """

    tensors: list[ComplexArray]
    rights: list[ComplexArray]


def build_tensors(network: Network, angles: FloatArray) -> list[ComplexArray]:
    """Return the columns ``(B, l, 2, r)`` at angles ``(B, S)``, site by site."""
    cosines, sines = np.cos(angles / 2), np.sin(angles / 2)
    return [_build(network, site, cosines, sines) for site in range(network.num_sites)]


def sweep_right(tensors: list[ComplexArray]) -> list[ComplexArray]:
    """Return what the identity gives to the right of each cut: see :class:`MatrixProduct`."""
    rows = len(tensors[0])
    found = [np.ones((rows, 1, 1), dtype=complex)]
    for k in reversed(tensors):
        _, left, _, right = k.shape
        half = (k.reshape(rows, 2 * left, right) @ found[-1]).reshape(rows, left, 2 * right)
        found.append(half @ k.reshape(rows, left, 2 * right).conj().transpose(0, 2, 1))
    return found[::-1]


def _build(network: Network, site: int, cosines: FloatArray, sines: FloatArray) -> ComplexArray:
    rows = len(cosines)
    state = np.zeros((rows, 2, 1), dtype=complex)
    state[:, 0] = 1
    for step in network.steps[site]:
        if step.merge is not None:
            blocks = state.reshape(rows, 2, step.merge.shape[1], -1)
            state = np.einsum("pk,bskv->bspv", step.merge, blocks).reshape(rows, 2, -1)
            continue
        matrices = _matrices(step, cosines, sines)
        state = np.einsum("bmst,btv->bsmv", matrices, state).reshape(rows, 2, -1)
    column = network.column(site)
    k = np.zeros((rows, 2, column.left * column.right), dtype=complex)
    for wire in column.wires.tolist():
        k[:, :, column.places + wire] = state
    return k.reshape(rows, 2, column.left, column.right).transpose(0, 2, 1, 3)


def _matrices(step: Step, cosines: FloatArray, sines: FloatArray) -> ComplexArray:
    """Return the matrices ``(B, M, 2, 2)`` of a step."""
    before: ComplexArray = PAULIS[:1]
    for factor in step.factors:
        if isinstance(factor, Turn):
            c, s = (a[:, factor.slot, None, None] for a in (cosines, sines))
            before = (c * PAULIS[0] - 1j * s * PAULIS[factor.letter]) @ before
        else:
            before = factor @ before
    found = step.matrices @ before[:, None]
    if step.slot >= 0:
        weights = np.stack([cosines[:, step.slot], -1j * sines[:, step.slot]], axis=1)
        found = found * weights[:, :, None, None]
    return np.broadcast_to(found, (len(cosines), *found.shape[1:]))
