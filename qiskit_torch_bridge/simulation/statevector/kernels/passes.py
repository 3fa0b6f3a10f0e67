# SPDX-License-Identifier: Apache-2.0
"""The compiled passes over a batch: from values to what is read of states, and back to gradients.

Everything between two calls from Python happens here, without Python's lock: angles from values,
the sweeps, what is read of the states, and the chain rule back to inputs and weights.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...kernels.disk_cache import compile_on_call, name_apart
from ...kernels.tables import LANES as W
from ...kernels.tables import Chunk, Share, Sources, Values
from ...kernels.vectors import aligned, barrier, bounds, jit, stopped
from .angles import chain, count_sums, prepare
from .basis_states import (
    place_amplitudes,
    read_amplitudes,
    read_probabilities,
    weigh_probabilities,
)
from .observables import collect, expect, expect_projections, observe, observe_projections, weigh
from .products import (
    chain_factors,
    contract_halves,
    make_factors,
    multiply_factors,
    start_product,
    wants_factors,
)
from .sweep import compiled_sweep
from .tables import (
    ADJOINT,
    DIRECTION,
    ENTRY,
    GROUP,
    OPERATION,
    RUN,
    STATE,
    TANGENT_ADJOINT,
    TANGENT_STATE,
    TERM,
    VIEW,
    Angles,
    Layout,
    Outputs,
    PauliTables,
    Projections,
)

sweep, tangent_sweep = compiled_sweep(False), compiled_sweep(True)

LAYOUT_NUMBERS, PROGRAM_NUMBERS = 4, 0
"""Numbers before the bounds of the tables; see :func:`.pack`."""


@jit
def _table(packed, like, numbers, place):
    """The table at a place among those that are packed in an array or beside it."""
    at = numbers + 2 * place
    return like[packed[at] : packed[at + 1]]


@jit
def _unpack_layout(ints, floats):
    n = LAYOUT_NUMBERS
    return Layout(
        ints[0],
        ints[1],
        ints[2],
        _table(ints, ints, n, 0).view(RUN),
        _table(ints, ints, n, 1),
        _table(ints, ints, n, 2),
        _table(ints, ints, n, 3).view(OPERATION),
        _table(ints, floats, n, 4),
        _table(ints, floats, n, 5),
        _table(ints, ints, n, 6).view(np.uint8),
    )


@jit
def _unpack_sources(ints, floats):
    n = PROGRAM_NUMBERS
    return Sources(
        _table(ints, ints, n, 0),
        _table(ints, ints, n, 1),
        _table(ints, floats, n, 2),
        _table(ints, floats, n, 3),
    )


@jit
def _unpack_paulis(ints, floats, tables):
    n = PROGRAM_NUMBERS
    return PauliTables(
        _table(ints, ints, n, 4).view(GROUP),
        _table(ints, ints, n, 5).view(ENTRY),
        _table(ints, ints, n, 6),
        _table(ints, ints, n, 7),
        _table(ints, floats, n, 8),
        tables,
    )


@jit
def _unpack_projections(ints, floats):
    n = PROGRAM_NUMBERS
    return Projections(
        _table(ints, ints, n, 9).view(VIEW),
        _table(ints, ints, n, 10).view(DIRECTION),
        _table(ints, ints, n, 11).view(TERM),
        _table(ints, floats, n, 12),
    )


@jit
def _unpack_outputs(ints):
    n = PROGRAM_NUMBERS
    return Outputs(_table(ints, ints, n, 13), _table(ints, ints, n, 14), _table(ints, ints, n, 15))


@jit
def _start(state, vectors, layout, initial, share):
    """Put the initial state into the first vector and zeros into the others."""
    dim, rows_t = layout.dim, layout.rows_t
    first, last = bounds(dim // rows_t, share)
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
def _duplicate(target, at, source, start, count, share):
    """Copy numbers, each part its share."""
    first, last = bounds(count, share)
    for i in range(first, last):
        target[at + i] = source[start + i]


def compiled_pass(version: str, tangent: bool) -> Callable[..., bool]:
    """Return the pass, with or without the modes of tangents.

    What the function encloses is part of its key on disk: ``version`` tells kernels apart there,
    and a function that changes from process to process would hide them.
    """

    @compile_on_call()
    @name_apart(tangent)
    def execute(  # noqa: D417
        mode, first, last, part, parts, signals,
        layout_ints, layout_floats, program_ints, program_floats, tables, initial,
        x, w, dx, dw, cotangent, tangent_cotangent, work, kept, starts, ends, totals, evs, gx, gw,
    ):  # fmt: skip
        """Run one mode for some chunks of the batch; false if values are not finite.

        Args:
            mode: FORWARD fills ``evs``; ADJOINT adds to ``gx`` and ``gw``; TANGENT fills ``evs``
                with derivatives along ``dx`` and ``dw``; TANGENT_ADJOINT adds the derivatives of
                gradients along these and ``tangent_cotangent``; STATE leaves the final states in
                ``kept``, TANGENT_STATE also their derivatives.
            first, last: Chunks from the first one to before the last.
            part: Which of ``parts`` threads this is, if they share chunks.
            signals: Where the threads count each other, and where they are told to give up.
            layout_ints, layout_floats: The layout, as :func:`.pack` has packed it; its numbers are
                ``T``, ``2**n * T``, the operations that are swept, and the first run that is to be
                undone.
            program_ints, program_floats: Sources, Pauli sums without their tables, projections,
                and outputs by basis states, of which there are none beside observables.
            tables: Those of the Pauli sums.
            initial: The initial state; empty if all qubits are zero, or if there are ``starts``.
            work: For the vectors of one chunk.
            kept: Final states ``(chunks, 2 * dim)``, written by FORWARD and read by ADJOINT; with
                no rows they are not kept.
            starts: Initial states of each row, as chunks ``(chunks, 2 * V * dim)`` of the ``V``
                vectors of a forward sweep; with no rows all rows have the same.
            ends: Where backward sweeps leave the bra, and its tangent, at the initial states; with
                no rows nowhere.
            totals: For sums lane by lane, and behind those of the operations for what
                :func:`.contract_halves` leaves; a row for each part.
        """
        _ = version
        layout, first_run = _unpack_layout(layout_ints, layout_floats), layout_ints[3]
        sources = _unpack_sources(program_ints, program_floats)
        paulis = _unpack_paulis(program_ints, program_floats, tables)
        projections = _unpack_projections(program_ints, program_floats)
        outputs = _unpack_outputs(program_ints)
        by_states, by_amplitudes = len(outputs.states) > 0, len(outputs.powers) > 0
        values, share = Values(x, w, dx, dw), Share(part, parts, signals)
        dim, rows_t = layout.dim, layout.rows_t
        backward = mode in (ADJOINT, TANGENT_ADJOINT)
        # Numba compiles a function anew for constants among its arguments; these are none to it.
        zero, bra, ket_tangent, bra_tangent = parts - parts, np.int64(1), np.int64(2), np.int64(3)
        yes, no = parts > 0, parts < 0
        forward_vectors = np.int64(2 if tangent else 1)
        rotations = len(layout.operations) * W
        halves = len(layout.operations) * rows_t
        angles = Angles(
            aligned(rotations, work),
            aligned(rotations, work),
            aligned(rotations if tangent else 0, work),
            np.empty(halves),
            np.empty(halves if tangent else 0),
            np.empty(len(layout.operations), np.int64),
            aligned(2 * count_sums(layout.operations) * rows_t, work),
        )
        is_product = len(layout.operations) > layout.swept
        factors = make_factors(layout, tangent, work)
        ends_in_product = backward and wants_factors(layout)
        beyond = len(layout.operations) * W  # the sums of the sweep
        entries = len(paulis.entries) * W
        sums = aligned(entries, work)
        for i in range(len(sums)):
            sums[i] = 0.0
        weighed = aligned(entries if backward else 0, work)
        again = aligned(entries if mode == TANGENT_ADJOINT else 0, work)
        for number in range(first, last):
            if stopped(share):
                break
            begin = number * rows_t
            chunk = Chunk(begin, min(rows_t, len(evs) - begin))
            if not prepare(values, tangent, chunk, layout, sources, angles):
                return False
            for i in range(totals.shape[1]):
                totals[part, i] = 0.0
            barrier(share)
            if is_product:
                multiply_factors(layout, tangent, angles, factors)
            state = kept[number] if len(kept) and not backward else work
            if mode == ADJOINT and len(kept):
                _duplicate(work, zero, kept[number], zero, 2 * dim, share)
                barrier(share)
            else:
                if len(starts):
                    _duplicate(state, zero, starts[number], zero, 2 * forward_vectors * dim, share)
                elif is_product:
                    start_product(state, tangent, layout, factors, share)
                else:
                    _start(state, forward_vectors, layout, initial, share)
                barrier(share)
                if tangent:
                    tangent_sweep(state, forward_vectors, no, zero, layout, angles, totals, share)
                else:
                    sweep(state, forward_vectors, no, zero, layout, angles, totals, share)
            if mode in (STATE, TANGENT_STATE):
                continue
            if not backward and by_states:
                if by_amplitudes:
                    source = bra if tangent else zero  # where the tangent of the ket is
                    read_amplitudes(state, source, layout, chunk, outputs, evs, share)
                else:
                    read_probabilities(state, tangent, layout, chunk, outputs, evs, share)
                barrier(share)
                continue
            if not backward:
                expect(state, tangent, layout, paulis, sums, totals, share)
                barrier(share)
                if part == 0:
                    collect(evs, chunk, share, layout, paulis, totals)
                    expect_projections(state, tangent, layout, chunk, projections, evs, share)
                barrier(share)
                continue
            if tangent:  # ket, its tangent, -, - becomes ket, bra, and both tangents
                _duplicate(work, 4 * dim, work, 2 * dim, 2 * dim, share)
                barrier(share)
            if by_amplitudes:
                place_amplitudes(work, bra, layout, chunk, outputs, cotangent, share)
                if tangent:
                    place_amplitudes(work, bra_tangent, layout, chunk, outputs, tangent_cotangent,
                                     share)  # fmt: skip
            elif by_states:
                weigh_probabilities(work, bra, zero, no, layout, chunk, outputs, cotangent, share)
                if tangent:
                    weigh_probabilities(work, bra_tangent, ket_tangent, no, layout, chunk, outputs,
                                        cotangent, share)  # fmt: skip
                    weigh_probabilities(work, bra_tangent, zero, yes, layout, chunk, outputs,
                                        tangent_cotangent, share)  # fmt: skip
            else:
                weigh(cotangent, chunk, layout, paulis, weighed)
                if tangent:
                    weigh(tangent_cotangent, chunk, layout, paulis, again)
                    observe(work, bra_tangent, ket_tangent, no, layout, paulis, weighed, share)
                    observe(work, bra_tangent, zero, yes, layout, paulis, again, share)
                observe(work, bra, zero, no, layout, paulis, weighed, share)
            if len(projections.terms):
                barrier(share)
                if part == 0:  # walks lead anywhere in the state
                    observe_projections(work, bra, zero, cotangent, layout, chunk, projections,
                                        share)  # fmt: skip
                    if tangent:
                        observe_projections(work, bra_tangent, ket_tangent, cotangent, layout,
                                            chunk, projections, share)  # fmt: skip
                        observe_projections(work, bra_tangent, zero, tangent_cotangent, layout,
                                            chunk, projections, share)  # fmt: skip
            barrier(share)
            if tangent:
                tangent_sweep(
                    work, 2 * forward_vectors, yes, first_run, layout, angles, totals, share
                )
            else:
                sweep(work, 2 * forward_vectors, yes, first_run, layout, angles, totals, share)
            if len(ends):
                _duplicate(ends[number], zero, work, 2 * dim, 2 * dim, share)
                if tangent:
                    _duplicate(ends[number], 2 * dim, work, 6 * dim, 2 * dim, share)
            if ends_in_product:
                contract_halves(work, bra, bra_tangent, tangent, layout, factors, totals, beyond,
                                share)  # fmt: skip
                barrier(share)
            if part == 0:
                chain(gx, gw, chunk, share, layout, sources, totals)
                if ends_in_product:
                    chain_factors(gx, gw, chunk, tangent, layout, sources, angles, factors, totals,
                                  beyond, share)  # fmt: skip
            barrier(share)
        return True

    return execute
