# SPDX-License-Identifier: Apache-2.0
"""The compiled passes over a batch: from values to expectation values, and back to gradients.

Everything between two calls from Python happens here, without Python's lock: angles from values,
the sweeps, the sums of Pauli strings and the chain rule back to inputs and weights.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit

from .angle_kernels import chain, prepare
from .basics import aligned, barrier, jit, stopped
from .pauli_kernels import collect, expect, observe, weigh
from .projection_kernels import expect_projections, observe_projections
from .protocol import ADJOINT, STATE, TANGENT_ADJOINT, TANGENT_STATE
from .protocol import LANES as W
from .sweeps import compiled_sweep

sweep, tangent_sweep = compiled_sweep(False), compiled_sweep(True)


@jit
def _start(state, vectors, dim, rows_t, initial, part, parts):
    """Put the initial state into the first vector and zeros into the others."""
    n = dim // rows_t
    first, last = n * part // parts, n * (part + 1) // parts
    for v in range(2 * vectors):
        for i in range(v * dim + first * rows_t, v * dim + last * rows_t):
            state[i] = 0.0
    if len(initial):
        for i in range(first, last):
            for t in range(rows_t):
                state[i * rows_t + t] = initial[2 * i]
                state[dim + i * rows_t + t] = initial[2 * i + 1]
    elif first == 0:
        for t in range(rows_t):
            state[t] = 1.0


@jit
def _duplicate(target, at, source, start, count, part, parts):
    """Copy numbers, each part its share."""
    for i in range(count * part // parts, count * (part + 1) // parts):
        target[at + i] = source[start + i]


def compiled_pass(version: str, tangent: bool) -> Callable[..., bool]:
    """Return the pass, with or without the modes of tangents.

    What the function encloses is part of its key on disk: ``version`` tells kernels apart there,
    and a function that changes from process to process would hide them.
    """

    @njit(nogil=True, error_model="numpy", cache=True)
    def execute(  # noqa: D417
        mode, rows_t, dim, first, last, part, parts, signals, first_run,
        runs, coset_offsets, lanes, operations, signs, matrices,
        slots, sources, coefficients, offsets, initial,
        groups, entries, pointers, targets, weights, tables,
        views, directions, terms, strengths,
        x, w, dx, dw, cotangent, tangent_cotangent, work, kept, totals, evs, gx, gw,
    ):  # fmt: skip
        """Run one mode for some chunks of the batch; false if values are not finite.

        Layout, Pauli sums and projections describe the arrays ``runs`` to ``strengths``.

        Args:
            mode: FORWARD fills ``evs``; ADJOINT adds to ``gx`` and ``gw``; TANGENT fills ``evs``
                with derivatives along ``dx`` and ``dw``; TANGENT_ADJOINT adds the derivatives of
                gradients along these and ``tangent_cotangent``; STATE leaves the final states in
                ``kept``, TANGENT_STATE also their derivatives.
            rows_t: The rows ``T`` of one chunk.
            dim: The numbers in one component of a vector, ``2**n * T``.
            first_run: The first run of the tape with a wanted derivative.
            part: Which of ``parts`` threads this is, if they share chunks.
            signals: Where the threads count each other, and where they are told to give up.
            kept: Final states ``(chunks, 2 * dim)``, written by FORWARD and read by ADJOINT; with
                no rows they are not kept.
        """
        _ = version
        backward = mode in (ADJOINT, TANGENT_ADJOINT)
        # Numba compiles a function anew for constants among its arguments; these are none to it.
        zero, bra, ket_tangent, bra_tangent = parts - parts, np.int64(1), np.int64(2), np.int64(3)
        yes, no = parts > 0, parts < 0
        forward_vectors = np.int64(2 if tangent else 1)
        rotations = len(operations) * W
        c, s = aligned(rotations, work), aligned(rotations, work)
        h = aligned(rotations if tangent else 0, work)
        angles = len(operations) * rows_t
        halves, sines, cosines = np.empty(angles), np.empty(angles), np.empty(angles)
        turns = np.empty(angles if tangent else 0)
        sums = aligned(len(entries) * W, work)
        for i in range(len(sums)):
            sums[i] = 0.0
        weighed = aligned(len(entries) * W if backward else 0, work)
        again = aligned(len(entries) * W if mode == TANGENT_ADJOINT else 0, work)
        for chunk in range(first, last):
            if stopped(signals):
                break
            begin = chunk * rows_t
            count = min(rows_t, len(evs) - begin)
            if not prepare(x, w, dx, dw, tangent, begin, count, rows_t, operations, slots, sources,
                           coefficients, offsets, halves, sines, cosines, turns, c, s,
                           h):  # fmt: skip
                return False
            for i in range(totals.shape[1]):
                totals[part, i] = 0.0
            barrier(signals, parts)
            state = kept[chunk] if len(kept) and not backward else work
            if mode == ADJOINT and len(kept):
                _duplicate(work, zero, kept[chunk], zero, 2 * dim, part, parts)
                barrier(signals, parts)
            else:
                _start(state, forward_vectors, dim, rows_t, initial, part, parts)
                barrier(signals, parts)
                if tangent:
                    tangent_sweep(
                        state, forward_vectors, no, dim, rows_t, zero, runs, coset_offsets, lanes,
                        operations, signs, matrices, c, s, h, totals, part, parts, signals,
                    )  # fmt: skip
                else:
                    sweep(
                        state, forward_vectors, no, dim, rows_t, zero, runs, coset_offsets, lanes,
                        operations, signs, matrices, c, s, h, totals, part, parts, signals,
                    )  # fmt: skip
            if mode in (STATE, TANGENT_STATE):
                continue
            if not backward:
                expect(state, tangent, dim, rows_t, groups, entries, tables, sums, totals, part,
                        parts, signals)  # fmt: skip
                barrier(signals, parts)
                if part == 0:
                    collect(evs, begin, count, rows_t, parts, groups, entries, pointers, targets,
                             weights, totals)  # fmt: skip
                    expect_projections(state, tangent, dim, rows_t, begin, count, views, directions,
                                       terms, strengths, evs, signals)  # fmt: skip
                barrier(signals, parts)
                continue
            weigh(cotangent, begin, count, rows_t, entries, pointers, targets, weights, weighed)
            if tangent:  # ket, its tangent, -, - becomes ket, bra, and both tangents
                _duplicate(work, 4 * dim, work, 2 * dim, 2 * dim, part, parts)
                barrier(signals, parts)
                weigh(tangent_cotangent, begin, count, rows_t, entries, pointers, targets, weights,
                       again)  # fmt: skip
                observe(work, bra_tangent, ket_tangent, no, dim, rows_t, groups, entries, tables,
                         weighed, part, parts, signals)  # fmt: skip
                observe(work, bra_tangent, zero, yes, dim, rows_t, groups, entries, tables, again,
                         part, parts, signals)  # fmt: skip
            observe(work, bra, zero, no, dim, rows_t, groups, entries, tables, weighed, part, parts,
                     signals)  # fmt: skip
            if len(terms):
                barrier(signals, parts)
                if part == 0:  # walks lead anywhere in the state
                    observe_projections(work, bra, zero, cotangent, dim, rows_t, begin, count,
                                        views, directions, terms, strengths, signals)  # fmt: skip
                    if tangent:
                        observe_projections(
                            work, bra_tangent, ket_tangent, cotangent, dim, rows_t, begin, count,
                            views, directions, terms, strengths, signals,
                        )  # fmt: skip
                        observe_projections(
                            work, bra_tangent, zero, tangent_cotangent, dim, rows_t, begin, count,
                            views, directions, terms, strengths, signals,
                        )  # fmt: skip
            barrier(signals, parts)
            if tangent:
                tangent_sweep(
                    work, 2 * forward_vectors, yes, dim, rows_t, first_run, runs, coset_offsets,
                    lanes, operations, signs, matrices, c, s, h, totals, part, parts, signals,
                )  # fmt: skip
            else:
                sweep(
                    work, 2 * forward_vectors, yes, dim, rows_t, first_run, runs, coset_offsets,
                    lanes, operations, signs, matrices, c, s, h, totals, part, parts, signals,
                )  # fmt: skip
            if part == 0:
                chain(gx, gw, begin, count, rows_t, parts, operations, slots, sources, coefficients,
                       totals)  # fmt: skip
            barrier(signals, parts)
        return True

    return execute
