# SPDX-License-Identifier: Apache-2.0
"""The compiled loop that draws outcomes site by site; imported when it is first called."""

from __future__ import annotations

import numpy as np

from ...kernels.disk_cache import compile_on_call

LANES = 64
"""Shots side by side: each number of a tensor is read once for all of them."""


@compile_on_call(fastmath={"contract", "nsz"})
def draw(tensors, starts, bonds, uniform, bits):
    r"""Write the outcomes of one state's sites, shot by shot.

    A shot that has found :math:`s_0 \ldots s_{i-1}` so far is the vector
    :math:`v = K_0[s_0] \cdots K_{i-1}[s_{i-1}]` over the bond, scaled to length one. The lengths of
    :math:`v K_i[0]` and :math:`v K_i[1]` are the probabilities of the next outcome, since all that
    lies to the right is an isometry (A. J. Ferris & G. Vidal, arXiv:1201.3974).

    Args:
        tensors: The right-canonical tensors one after the other, each as ``(2, r, l, 2)``: outcome,
            bonds to the right and left, real and imaginary part.
        starts: Where the tensor of each site begins, ``(k,)``.
        bonds: The dimensions of the cuts, ``(k + 1,)`` or more.
        uniform: Numbers from 0 to below 1, ``(shots, k)``.
        bits: Where outcomes go, ``(shots, k)``.
    """
    shots, sites = uniform.shape
    widest = bonds.max()
    vector = np.zeros((widest, 2, LANES))
    next_vectors = np.zeros((2, widest, 2, LANES))
    lengths = np.zeros((2, LANES))
    found = np.zeros(LANES, np.int64)
    for first in range(0, shots, LANES):
        count = min(LANES, shots - first)
        vector[0, 0, :] = 1.0
        vector[0, 1, :] = 0.0
        for site in range(sites):
            left, right = bonds[site], bonds[site + 1]
            place = starts[site]
            for outcome in range(2):
                length = lengths[outcome]
                length[:] = 0.0
                for r in range(right):
                    re, im = next_vectors[outcome, r, 0], next_vectors[outcome, r, 1]
                    re[:] = 0.0
                    im[:] = 0.0
                    for bond in range(left):
                        k_re, k_im = tensors[place], tensors[place + 1]
                        place += 2
                        v_re, v_im = vector[bond, 0], vector[bond, 1]
                        for s in range(LANES):
                            re[s] += v_re[s] * k_re - v_im[s] * k_im
                            im[s] += v_re[s] * k_im + v_im[s] * k_re
                    for s in range(LANES):
                        length[s] += re[s] * re[s] + im[s] * im[s]
            for s in range(count):
                outcome = (
                    uniform[first + s, site] * (lengths[0, s] + lengths[1, s]) >= lengths[0, s]
                )
                bits[first + s, site] = outcome
                found[s] = outcome
            for s in range(LANES):
                lengths[0, s] = 1 / np.sqrt(lengths[found[s], s])
            scale = lengths[0]
            for r in range(right):
                for part in range(2):
                    target = vector[r, part]
                    zero, one = next_vectors[0, r, part], next_vectors[1, r, part]
                    for s in range(LANES):
                        target[s] = (one[s] if found[s] else zero[s]) * scale[s]
