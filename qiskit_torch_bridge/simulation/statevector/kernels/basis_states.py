# SPDX-License-Identifier: Apache-2.0
"""The kernels that read a state basis state by basis state: probabilities and amplitudes.

The rows of the batch are innermost in a state, and the outputs of a row are in what is returned.
So both ways lead through a block of a few outputs for all rows of a chunk, which stays in the
fastest cache: a line of the state and a line of the results are each touched once.
"""

from __future__ import annotations

from ...kernels.vectors import (
    aligned,
    barrier,
    bounds,
    cosine,
    fma,
    jit,
    load,
    sine,
    size,
    splat,
    stopped,
    store,
)
from .tables import FLUSH

SIDE = 32
"""Outputs in a block."""


@jit
def _output_at(starts, position):
    """The first output of which no basis state comes before a position in the list of all."""
    low, high = 0, len(starts) - 1
    while low < high:
        middle = (low + high) // 2
        if starts[middle] < position:
            low = middle + 1
        else:
            high = middle
    return low


@jit
def read_probabilities(state, tangent, layout, chunk, outputs, evs, share):
    r"""Fill in the sums of :math:`|\psi_i|^2` of each output, or their derivatives.

    Each part takes the outputs that begin in its share of the basis states.
    """
    width = size(state)
    dim, rows_t = layout.dim, layout.rows_t
    starts, states = outputs.starts, outputs.states
    here, there = bounds(len(states), share)
    first, last = _output_at(starts, here), _output_at(starts, there)
    if share.part == share.parts - 1:
        last = len(starts) - 1
    block, sums = aligned(SIDE * rows_t, evs), aligned(rows_t, state)
    for begin in range(first, last, SIDE):
        if stopped(share):
            return
        end = min(begin + SIDE, last)
        for i in range((end - begin) * rows_t):
            block[i] = 0.0
        for output in range(begin, end):
            at = (output - begin) * rows_t
            for piece in range(starts[output], starts[output + 1], FLUSH):
                stop = min(piece + FLUSH, starts[output + 1])
                if rows_t >= width:
                    for lane in range(0, rows_t, width):
                        total = splat(state, 0.0)
                        for e in range(piece, stop):
                            i = states[e] * rows_t + lane
                            re, im = load(state, i), load(state, dim + i)
                            if tangent:
                                total = fma(re, load(state, 2 * dim + i), total)
                                total = fma(im, load(state, 3 * dim + i), total)
                            else:
                                total = fma(im, im, fma(re, re, total))
                        store(sums, lane, total)
                    for t in range(rows_t):
                        block[at + t] += sums[t]
                    continue
                for e in range(piece, stop):
                    i = states[e] * rows_t
                    for t in range(rows_t):
                        re, im = state[i + t], state[dim + i + t]
                        if tangent:
                            re_dot, im_dot = state[2 * dim + i + t], state[3 * dim + i + t]
                            block[at + t] += re * re_dot + im * im_dot
                        else:
                            block[at + t] += re * re + im * im
        factor = 2.0 if tangent else 1.0
        for t in range(chunk.rows):
            for output in range(begin, end):
                evs[chunk.begin + t, output] = factor * block[(output - begin) * rows_t + t]


@jit
def weigh_probabilities(state, out, source, accumulate, layout, chunk, outputs, cotangent, share):
    """Put vector ``source`` of the state, each amplitude times its cotangent, into ``out``."""
    width = size(state)
    dim, rows_t = layout.dim, layout.rows_t
    starts, states = outputs.starts, outputs.states
    o, s = 2 * out * dim, 2 * source * dim
    here, there = bounds(len(states), share)
    weights = aligned(SIDE * rows_t, state)
    for i in range(len(weights)):
        weights[i] = 0.0  # rows of which there are none stay so
    begin = max(0, _output_at(starts, here + 1) - 1)
    while begin < len(starts) - 1 and starts[begin] < there:
        if stopped(share):
            return
        end = min(begin + SIDE, len(starts) - 1)
        for t in range(chunk.rows):
            for output in range(begin, end):
                weights[(output - begin) * rows_t + t] = cotangent[chunk.begin + t, output]
        for output in range(begin, end):
            at = (output - begin) * rows_t
            for e in range(max(starts[output], here), min(starts[output + 1], there)):
                i = states[e] * rows_t
                if rows_t >= width:
                    for lane in range(0, rows_t, width):
                        weight = load(weights, at + lane)
                        re = weight * load(state, s + i + lane)
                        im = weight * load(state, s + dim + i + lane)
                        if accumulate:
                            re = re + load(state, o + i + lane)
                            im = im + load(state, o + dim + i + lane)
                        store(state, o + i + lane, re)
                        store(state, o + dim + i + lane, im)
                    continue
                for t in range(rows_t):
                    re = weights[at + t] * state[s + i + t]
                    im = weights[at + t] * state[s + dim + i + t]
                    if accumulate:
                        re += state[o + i + t]
                        im += state[o + dim + i + t]
                    state[o + i + t] = re
                    state[o + dim + i + t] = im
        begin = end


@jit
def read_amplitudes(state, source, layout, chunk, outputs, evs, share):
    """Fill in real and imaginary parts of the amplitudes of vector ``source`` in turn."""
    dim, rows_t = layout.dim, layout.rows_t
    starts, states, powers = outputs.starts, outputs.states, outputs.powers
    s = 2 * source * dim
    first, last = bounds(len(starts) - 1, share)
    for begin in range(first, last, SIDE):
        if stopped(share):
            return
        for t in range(chunk.rows):
            for output in range(begin, min(begin + SIDE, last)):
                if starts[output] == starts[output + 1]:
                    continue  # a qubit that stays in state zero would be in state one
                e = starts[output]
                i, c, d = s + states[e] * rows_t + t, cosine(powers[e]), sine(powers[e])
                evs[chunk.begin + t, 2 * output] = c * state[i] - d * state[dim + i]
                evs[chunk.begin + t, 2 * output + 1] = d * state[i] + c * state[dim + i]


@jit
def place_amplitudes(state, out, layout, chunk, outputs, cotangent, share):
    r"""Put half of the bra that the cotangent is into vector ``out`` of the state.

    The derivative of the amplitudes along their cotangent is
    :math:`\operatorname{Re}\langle\lambda|\partial\psi\rangle`; that of an observable has twice
    the real part.
    """
    dim, rows_t = layout.dim, layout.rows_t
    starts, states, powers = outputs.starts, outputs.states, outputs.powers
    o = 2 * out * dim
    here, there = bounds(2 * dim, share)
    for i in range(o + here, o + there):
        state[i] = 0.0
    barrier(share)
    first, last = bounds(len(starts) - 1, share)
    for begin in range(first, last, SIDE):
        if stopped(share):
            return
        for t in range(chunk.rows):
            for output in range(begin, min(begin + SIDE, last)):
                if starts[output] == starts[output + 1]:
                    continue
                e = starts[output]
                i, c, d = o + states[e] * rows_t + t, cosine(powers[e]), sine(powers[e])
                re = cotangent[chunk.begin + t, 2 * output] / 2
                im = cotangent[chunk.begin + t, 2 * output + 1] / 2
                state[i] = c * re + d * im
                state[dim + i] = c * im - d * re
