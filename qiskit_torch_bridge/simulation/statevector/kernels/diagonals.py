# SPDX-License-Identifier: Apache-2.0
r"""Groups of diagonal rotations: one phase for each amplitude, and one product for all derivatives.

Rotations about products of Z, :math:`P_j = \pm Z^{z_j}`, turn the amplitude of index :math:`i` by

.. math:: e^{-i\varphi_i}, \qquad \varphi_i = \sum_j \pm (-1)^{|i \wedge z_j|}\,\theta_j / 2 .

Within a piece of a block the signs depend on few bits of the index. Half angles with the same signs
there are added up, and a Walsh-Hadamard transform makes all :math:`\varphi_i` of them. Derivatives
go the other way: the transform of :math:`v_i = \mathrm{Im}(\lambda_i^*\psi_i)` has
:math:`\mathrm{Im}\langle\lambda|P_j|\psi\rangle` for all rotations at once. So the cost for each
amplitude does not depend on how many rotations there are.

Where all angles are small multiples of one, :math:`\theta_j = v_j\theta`, few of the sums
:math:`s_i = \sum_j \pm (-1)^{|i \wedge z_j|} v_j` differ. A table has the one of each amplitude,
whose phase :math:`s_i\theta/2` has its sine and cosine looked up, and the derivative with respect
to :math:`\theta` is :math:`\sum_i s_i v_i`, a single sum.
"""

from __future__ import annotations

import numpy as np

from ...kernels.tables import LANES as W
from ...kernels.trigonometry import sine_and_cosine
from ...kernels.vectors import (
    aligned,
    copy_pair,
    exchange,
    fma,
    fnma,
    jit,
    lane_sign,
    load,
    load_first_of_pairs,
    load_second_of_pairs,
    odd,
    size,
    splat,
    store,
    widen,
)
from .tables import Phases

PIECE = 32
"""Rows of a block whose phases are found at a time: they stay in the fastest cache."""

BITS = 4
"""Bits of a place in the longest vector."""


@jit
def fill_signs(signs):
    """Fill in, for each bit of a lane's place in a vector, 1.0 and -1.0."""
    width = size(signs)
    for bit in range(BITS):
        for lane in range(width):
            signs[bit * width + lane] = lane_sign(lane, 1 << bit)


@jit
def room_for_phases(like, doubles, wanted, tangent):
    """Return room for phases in the precision of an array; none unless it is wanted."""
    count = PIECE * W if wanted else 0
    other = count if tangent else 0
    phases = Phases(
        aligned(count, doubles),
        aligned(count, doubles),
        aligned(count, like),
        aligned(count, like),
        aligned(other, like),
        aligned(count, like),
        aligned(count, like),
        aligned(2 * count, like),
        aligned(BITS * size(doubles), doubles),
        aligned(BITS * size(like), like),
    )
    fill_signs(phases.double_signs)
    fill_signs(phases.signs)
    return phases


@jit
def transform(numbers, count, step, signs):
    r"""Replace numbers by their Walsh-Hadamard transform over the bits of the index from ``step``.

    That is :math:`a_i \to \sum_j (-1)^{|i \wedge j|} a_j`, where ``j`` differs from ``i`` in these
    bits only; ``count`` and ``step`` are powers of two.
    """
    width = size(numbers)
    if count < width:
        h = step
        while h < count:
            for i in range(count):
                if not i & h:
                    a, b = numbers[i], numbers[i + h]
                    numbers[i], numbers[i + h] = a + b, a - b
            h *= 2
        return
    if step < width:
        for i in range(0, count, width):
            a = load(numbers, i)
            if step <= 1:
                a = fma(load(signs, 0), a, exchange(a, 1))
            if step <= 2:
                a = fma(load(signs, width), a, exchange(a, 2))
            if step <= 4 and width > 4:
                a = fma(load(signs, 2 * width), a, exchange(a, 4))
            if step <= 8 and width > 8:
                a = fma(load(signs, 3 * width), a, exchange(a, 8))
            store(numbers, i, a)
    h = max(step, width)
    while 2 * h < count:
        for start in range(0, count, 4 * h):
            for i in range(start, start + h, width):
                a, b = load(numbers, i), load(numbers, i + h)
                c, d = load(numbers, i + 2 * h), load(numbers, i + 3 * h)
                p, q, r, s = a + b, a - b, c + d, c - d
                store(numbers, i, p + r)
                store(numbers, i + h, q + s)
                store(numbers, i + 2 * h, p - r)
                store(numbers, i + 3 * h, q - s)
        h *= 4
    if h < count:
        for i in range(0, count // 2, width):
            a, b = load(numbers, i), load(numbers, i + h)
            store(numbers, i, a + b)
            store(numbers, i + h, a - b)


@jit
def _add_up(angles, members, group, halves, rows_t, rows, lanes, step, index):
    """Add up half angles that have the same signs in a piece that begins at an index."""
    for i in range(rows * lanes):
        angles[i] = 0.0
    for o in range(group + 1, group + 1 + members[group].within):
        member = members[o]
        sign = 1.0 - 2.0 * odd(index & member.z)
        at = (member.within & (rows - 1)) * lanes + member.across * step
        for t in range(step):
            angles[at + t] += sign * halves[o * rows_t + t]


@jit
def _spread(compact, lanes, step, rows, rows_t):
    """Give each row of the batch its numbers, or all of them the same ones."""
    width = size(lanes)
    count = rows * (W // rows_t)
    if step == rows_t:
        for i in range(count * rows_t):
            lanes[i] = compact[i]
    elif rows_t >= width:
        for i in range(count):
            number = splat(lanes, compact[i])
            for t in range(0, rows_t, width):
                store(lanes, i * rows_t + t, number)
    else:
        for i in range(count):
            for t in range(rows_t):
                lanes[i * rows_t + t] = compact[i]


@jit
def find_phases(phases, members, group, angles, rows_t, rows, index, tangent):
    """Fill in cosines and sines, and tangents of angles, for a piece of a block."""
    step = 1 if angles.uniform[group] else rows_t
    lanes = W // rows_t * step
    count = rows * lanes
    _add_up(phases.angles, members, group, angles.halves, rows_t, rows, lanes, step, index)
    transform(phases.angles, count, step, phases.double_signs)
    sine_and_cosine(phases.angles, phases.angles, phases.compact, count)
    _spread(phases.angles, phases.sines, step, rows, rows_t)
    _spread(phases.compact, phases.cosines, step, rows, rows_t)
    if tangent:
        halves = angles.half_tangents
        _add_up(phases.angles, members, group, halves, rows_t, rows, lanes, step, index)
        transform(phases.angles, count, step, phases.double_signs)
        _spread(phases.angles, phases.tangents, step, rows, rows_t)


@jit
def look_up_phases(
    phases, members, group, angles, layout, offsets_at, rows, index, weighs, tangent
):  # fmt: skip
    """Fill in the same for a group whose angles are multiples of one; and the sums, to weigh by."""
    rows_t, which, offsets = layout.rows_t, layout.sums, layout.coset_offsets
    pairs, sums, of_sums = phases.pairs, phases.sums, angles.of_sums
    width, largest = size(sums), members[group].across
    first, table_at = members[group].matrix_at, members[group].signs_at
    double, less = splat(sums, 2.0), splat(sums, -1.0 * largest)
    for row in range(rows):
        i, at = row * W, table_at + (index ^ offsets[offsets_at + row])
        if 2 * rows_t >= width:
            for m in range(W // rows_t):
                source = 2 * rows_t * (first + np.int64(which[at + m]))
                for t in range(0, 2 * rows_t, width):
                    store(pairs, 2 * (i + m * rows_t) + t, load(of_sums, source + t))
        else:
            for t in range(rows_t):
                for m in range(W // rows_t):
                    source = 2 * (rows_t * (first + np.int64(which[at + m])) + t)
                    copy_pair(pairs, 2 * (i + m * rows_t + t), of_sums, source)
        if not weighs:
            continue
        if rows_t == 1:
            for m in range(0, W, width):
                store(sums, i + m, fma(double, widen(sums, which, at + m), less))
        elif rows_t >= width:
            for m in range(W // rows_t):
                number = splat(sums, 2 * np.int64(which[at + m]) - largest)
                for t in range(0, rows_t, width):
                    store(sums, i + m * rows_t + t, number)
        else:
            for m in range(W // rows_t):
                for t in range(rows_t):
                    sums[i + m * rows_t + t] = 2 * np.int64(which[at + m]) - largest
    for i in range(0, rows * W, width):
        store(phases.cosines, i, load_first_of_pairs(pairs, 2 * i))
        store(phases.sines, i, load_second_of_pairs(pairs, 2 * i))
    if tangent:
        for i in range(rows * W):
            half = angles.half_tangents[(group + 1) * rows_t + (i & (rows_t - 1))]
            phases.tangents[i] = sums[i] * half


@jit
def turn(block, vectors, comp, first, count, phases, direction):
    """Turn some amplitudes of all vectors by the phases; ``direction`` -1.0 undoes it."""
    width = size(block)
    way = splat(block, direction)
    for v in range(vectors):
        re = 2 * v * comp + first
        im = re + comp
        for i in range(0, count, width):
            c, s = load(phases.cosines, i), load(phases.sines, i) * way
            a, b = load(block, re + i), load(block, im + i)
            store(block, re + i, fma(s, b, c * a))
            store(block, im + i, fnma(s, a, c * b))


@jit
def differentiate(block, out, source, comp, first, count, phases, direction):
    """Add to a vector the derivative of another one's phases along their tangents."""
    width = size(block)
    way = splat(block, direction)
    o, s = 2 * out * comp + first, 2 * source * comp + first
    for i in range(0, count, width):
        d = load(phases.tangents, i) * way
        store(block, o + i, fma(d, load(block, s + comp + i), load(block, o + i)))
        store(block, o + comp + i, fnma(d, load(block, s + i), load(block, o + comp + i)))


@jit
def multiply_amplitudes(block, bra, ket, comp, first, count, phases, accumulate):
    """Put the imaginary parts of conjugate amplitudes times amplitudes into the products."""
    width = size(block)
    b, k = 2 * bra * comp + first, 2 * ket * comp + first
    products = phases.products
    for i in range(0, count, width):
        dot = load(block, b + i) * load(block, k + comp + i)
        if accumulate:
            dot = dot + load(products, i)
        store(products, i, fnma(load(block, b + comp + i), load(block, k + i), dot))


@jit
def inner_of_sums(block, bra, ket, comp, first, count, phases, at, sums):
    """Add ``Im <bra|S|ket>`` of some amplitudes, ``S`` having the sums, lane by lane."""
    width = size(block)
    b, k = 2 * bra * comp + first, 2 * ket * comp + first
    for lane in range(0, W, width):
        total = splat(sums, 0.0)
        for i in range(lane, count, W):
            dot = load(block, b + i) * load(block, k + comp + i)
            dot = fnma(load(block, b + comp + i), load(block, k + i), dot)
            total = fma(load(phases.sums, i), dot, total)
        store(sums, at + lane, total + load(sums, at + lane))


@jit
def collect_phases(phases, members, group, rows_t, rows, index, sums):
    """Add ``Im <bra|P|ket>`` of the piece to the sums of each member, in its first lanes."""
    transform(phases.products, rows * W, rows_t, phases.signs)
    for o in range(group + 1, group + 1 + members[group].within):
        member = members[o]
        if member.wanted:
            sign = 1.0 - 2.0 * odd(index & member.z)
            at = (member.within & (rows - 1)) * W + member.across * rows_t
            for t in range(rows_t):
                sums[o * W + t] += sign * phases.products[at + t]
