# SPDX-License-Identifier: Apache-2.0
"""The compiled passes over a batch: from values to expectation values, and back to gradients.

For each row, or for as many rows side by side as a vector holds: angles, the matrices of all steps;
from right to left, columns and right environments; from left to right, left environments and, site
by site, what is read or the columns' cotangents.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...kernels.disk_cache import compile_on_call
from ...kernels.tables import STOP, Sources, Values
from ...kernels.trigonometry import sine_and_cosine
from ...kernels.vectors import glance, jit
from .numbers import constant, count_rows, get, get_from_row, put, put_in_row
from .products import fill, inner, mix, multiply
from .steps import build, fill_matrices, pull_back, pull_back_matrices
from .tables import (
    ADJOINT,
    AREA,
    COLUMNS,
    CUT,
    EDGE,
    FACTOR,
    NUMBERS,
    SITE,
    STEP,
    Tables,
)


@jit
def _table(ints, like, place):
    at = NUMBERS + 2 * place
    return like[ints[at] : ints[at + 1]]


@jit
def _unpack(ints, floats):
    return Tables(
        _table(ints, ints, 0).view(SITE),
        _table(ints, ints, 1).view(CUT),
        _table(ints, ints, 2).view(STEP),
        _table(ints, ints, 3).view(FACTOR),
        _table(ints, ints, 4).view(EDGE),
        _table(ints, ints, 5).view(AREA),
        _table(ints, ints, 6),
        _table(ints, ints, 7),
        _table(ints, ints, 8),
        _table(ints, floats, 9),
        _table(ints, floats, 10),
        _table(ints, floats, 11),
        _table(ints, floats, 12),
    )


@jit
def _unpack_sources(ints, floats):
    return Sources(
        _table(ints, ints, 13),
        _table(ints, ints, 14),
        _table(ints, floats, 15),
        _table(ints, floats, 16),
    )


@jit
def _turn(z, values, rows, tangent, area, sources, scratch):
    """Compute cosines and sines of half of all angles of some rows; false if one is not finite.

    Rows after the last one are like it.
    """
    x, w, dx, dw = values.x, values.w, values.dx, values.dw
    starts, columns, coefficients = sources.starts, sources.columns, sources.coefficients
    inputs, q, count = x.shape[1], area.quarter, len(sources.offsets)
    halves, sines, cosines = scratch
    for place in range(count_rows(z)):
        row = min(rows[0] + place, rows[1] - 1)
        of_row = 0 if len(w) == 1 else row
        for slot in range(count):
            angle = sources.offsets[slot]
            for e in range(starts[slot], starts[slot + 1]):
                p = columns[e]
                angle += coefficients[e] * (x[row, p] if p < inputs else w[of_row, p - inputs])
            halves[slot] = angle / 2
        if not sine_and_cosine(halves, sines, cosines, count):
            return False
        for slot in range(count):
            put_in_row(z, area.angles_at + slot, place, cosines[slot])
            put_in_row(z, area.angles_at + slot + q, place, sines[slot])
            if tangent:
                turn = 0.0
                for e in range(starts[slot], starts[slot + 1]):
                    p = columns[e]
                    turn += coefficients[e] * (dx[row, p] if p < inputs else dw[of_row, p - inputs])
                at = area.angles_at + slot + 2 * q
                put_in_row(z, at, place, -sines[slot] * turn / 2)
                put_in_row(z, at + q, place, cosines[slot] * turn / 2)
    return True


@jit
def _chain(z, gx, gw, rows, tangent, area, sources):
    """Take the cotangents of cosines and sines back to inputs and weights."""
    inputs, q = gx.shape[1], area.quarter
    starts, columns, coefficients = sources.starts, sources.columns, sources.coefficients
    for slot in range(len(sources.offsets)):
        c, bar = area.angles_at + slot, area.bars_at + slot
        moved = 2 * q if tangent else 0
        total = get(z, c) * get(z, bar + moved + q) - get(z, c + q) * get(z, bar + moved)
        if tangent:
            c += moved
            total = total + (get(z, c) * get(z, bar + q) - get(z, c + q) * get(z, bar))
        put(z, bar, total)
        for e in range(starts[slot], starts[slot + 1]):
            p, half = columns[e], coefficients[e] / 2
            for row in range(rows[0], rows[1]):
                change = half * get_from_row(z, bar, row - rows[0])
                if p < inputs:
                    gx[row, p] += change
                else:
                    gw[0 if len(gw) == 1 else row, p - inputs] += change


@jit
def _place(z, tangent, tables, site):
    """Compute the column of a site."""
    at, own = build(z, tangent, tables, site)
    places, first, wires = tables.places, site.places_at, site.wires_at
    for part in range(4 if tangent else 2):
        moved = part * tables.area[0].quarter
        for s in range(2):
            source = at + moved + s * own
            for w in range(site.wires):
                to = site.column_at + moved + s * site.right_stride + places[wires + w]
                for v in range(site.lattice):
                    put(z, to + places[first + v], get(z, source + v))


@jit
def _transpose(z, q, tangent, out, site):
    """Put the transpose of a column."""
    for part in range(4 if tangent else 2):
        for s in range(2):
            to = out + part * q + s * site.right * site.left_stride
            for left in range(site.left):
                at = site.column_at + part * q + (2 * left + s) * site.right_stride
                for right in range(site.right):
                    put(z, to + right * site.left_stride + left, get(z, at + right))


@jit
def _sweep_right(z, tangent, tables, signals, with_nodes, kept):
    """Compute columns and right environments, from right to left.

    Without nodes only those of strings that have ended are computed; where columns have been kept,
    only the others.
    """
    area, cuts, letters = tables.area[0], tables.cuts, tables.letters
    q = area.quarter
    no = q < 0
    count = len(tables.sites)
    last = cuts[count]
    fill(z, q, tangent, last.right_at + last.nodes * last.size, 1)
    put(z, last.right_at + last.nodes * last.size, constant(z, 1.0))
    for back in range(count):
        i = count - 1 - back
        if glance(signals, STOP) != 0:
            break
        site, cut, beyond = tables.sites[i], cuts[i], cuts[i + 1]
        if not kept:
            _place(z, tangent, tables, site)
        _transpose(z, q, tangent, area.transposed_at, site)
        column, left, right = site.column_at, site.left, site.right
        sr, numbers = site.right_stride, 2 * left * site.right_stride
        ended = beyond.right_at + beyond.nodes * beyond.size
        closes = cut.done > 0 and not kept
        needed = closes or (site.ends > 0 and (with_nodes or area.keeps > 0))
        if beyond.done and needed and not kept:
            multiply(z, q, tangent, site.half_at, sr, column, sr, 1, ended, sr,
                     2 * left, right, sr, no, no, no)  # fmt: skip
        edge = site.first_edge
        for node in range(cut.nodes if with_nodes else 0):
            only = edge + 1 == site.last_edge or tables.edges[edge + 1].source != node
            plain = only and tables.edges[edge].letter == 0 and tables.edges[edge].target >= 0
            if not plain:
                fill(z, q, tangent, area.sum_at, numbers)
            while edge < site.last_edge and tables.edges[edge].source == node:
                e = tables.edges[edge]
                half, weight_at = site.half_at, area.weights_at + e.string
                if e.target >= 0:
                    half, weight_at = area.sum_at if plain else area.y_at, -1
                    environment = beyond.right_at + e.target * beyond.size
                    multiply(z, q, tangent, half, sr, column, sr, 1, environment, sr,
                             2 * left, right, sr, no, no, no)  # fmt: skip
                if not plain:
                    mix(z, q, tangent, area.sum_at, half, letters, e.letter, no, weight_at,
                        left, sr)  # fmt: skip
                edge += 1
            _close(z, q, tangent, area, cut.right_at + node * cut.size, area.sum_at, site)
        if closes:
            _close(z, q, tangent, area, cut.right_at + cut.nodes * cut.size, site.half_at, site)


@jit
def _close(z, q, tangent, area, out, half, site):
    """Put the right environment before a site: its column, conjugate, times half of it."""
    sl, sr = site.left_stride, site.right_stride
    yes, no = q > 0, q < 0
    for s in range(2):
        multiply(z, q, tangent, out, sl, half + s * sr, 2 * sr, 1,
                 area.transposed_at + s * site.right * sl, sl, site.left, site.right, sl, no, yes,
                 s > 0)  # fmt: skip


@jit
def _sweep_left(z, tangent, tables, signals, backward, kept, firsts):
    """Compute left environments from left to right, and what is read, or cotangents."""
    area, cuts, letters = tables.area[0], tables.cuts, tables.letters
    q = area.quarter
    yes, no = q > 0, q < 0
    if cuts[0].nodes:
        fill(z, q, tangent, cuts[0].left_at, 1)
        put(z, cuts[0].left_at, constant(z, 1.0))
    for i in range(len(tables.sites)):
        if glance(signals, STOP) != 0:
            break
        site, cut, beyond = tables.sites[i], cuts[i], cuts[i + 1]
        column, left, right = site.column_at, site.left, site.right
        sl, sr = site.left_stride, site.right_stride
        numbers = 2 * left * sr
        ended = beyond.right_at + beyond.nodes * beyond.size
        wanted = backward and firsts[i] < site.last_step
        started = False  # whether the column's cotangent holds anything
        if not backward and site.ends and not area.keeps:
            multiply(z, q, tangent, site.half_at, sr, column, sr, 1, ended, sr, 2 * left, right,
                     sr, no, no, no)  # fmt: skip
        if backward and beyond.done:
            fill(z, q, tangent, area.done_at, numbers)
        edge = site.first_edge
        for node in range(cut.nodes + cut.done):
            is_done = node == cut.nodes
            if is_done and not backward:
                break
            x = site.states_at + node * site.state_size
            if is_done:
                x = area.done_at
            if is_done or not kept:
                multiply(z, q, tangent, x, 2 * sr, cut.left_at + node * cut.size, sl, 1, column,
                         2 * sr, left, left, 2 * sr, no, yes, is_done)  # fmt: skip
            if is_done:
                break
            measured = False
            while edge < site.last_edge and tables.edges[edge].source == node:
                e = tables.edges[edge]
                edge += 1
                if e.target < 0:
                    if backward:
                        mix(z, q, tangent, area.done_at, x, letters, e.letter, yes,
                            area.weights_at + e.string, left, sr)  # fmt: skip
                    else:
                        if not measured:
                            inner(z, q, tangent, area.small_at, site.half_at, x, left, sr, right)
                            measured = True
                        _read(z, q, area, letters, e.letter, area.found_at + e.string)
                    continue
                mixed = x
                if e.letter != 0 and (wanted or not kept):
                    mixed = area.mixed_at
                    fill(z, q, tangent, mixed, numbers)
                    mix(z, q, tangent, mixed, x, letters, e.letter, yes, -1, left, sr)
                if not kept:
                    _pass_on(z, q, tangent, beyond.left_at + e.target * beyond.size, mixed, site)
                if wanted:
                    environment = beyond.right_at + e.target * beyond.size
                    multiply(z, q, tangent, area.cotangent_at, sr, mixed, sr, 1, environment, sr,
                             2 * left, right, sr, no, yes, started)  # fmt: skip
                    started = True
        if backward and beyond.done:
            _pass_on(z, q, tangent, beyond.left_at + beyond.nodes * beyond.size, area.done_at, site)
        if wanted:
            if beyond.done:
                multiply(z, q, tangent, area.cotangent_at, sr, area.done_at, sr, 1, ended, sr,
                         2 * left, right, sr, no, yes, started)  # fmt: skip
            _pull_back_column(z, tangent, tables, site, firsts[i])


@jit
def _read(z, q, area, letters, letter, out):
    """Put the value of a string that ends with a letter: what that gives with the state there."""
    total = constant(z, 0.0)
    for s in range(2):
        for t in range(2):
            entry, at = 8 * letter + 2 * (2 * t + s), area.small_at + 2 * s + t
            total = total + constant(z, letters[entry]) * get(z, at)
            total = total - constant(z, letters[entry + 1]) * get(z, at + q)
    put(z, out, total)


@jit
def _pass_on(z, q, tangent, out, x, site):
    """Put the left environment beyond a site."""
    sr, no = site.right_stride, q < 0
    multiply(z, q, tangent, out, sr, site.column_at, 1, sr, x, sr, site.right, 2 * site.left, sr,
             no, no, no)  # fmt: skip


@jit
def _pull_back_column(z, tangent, tables, site, first):
    """Take the cotangent of a column back to the matrices of its steps from ``first`` on."""
    area = tables.area[0]
    q, places = area.quarter, tables.places
    end, own = build(z, tangent, tables, site)
    numbers, wires = site.places_at, site.wires_at
    for part in range(4 if tangent else 2):
        for s in range(2):
            to = area.planes_at + part * q + s * own
            source = area.cotangent_at + part * q + s * site.right_stride
            for v in range(site.lattice):
                total = get(z, source + places[numbers + v] + places[wires])
                for w in range(1, site.wires):
                    total = total + get(z, source + places[numbers + v] + places[wires + w])
                put(z, to + v, total)
    pull_back(z, tangent, tables, site, end, first)


@jit
def _weigh(z, tables, cotangent, rows, at, strings):
    """Sum up for each string what the observables' cotangents make of it."""
    for place in range(count_rows(z)):
        row = min(rows[0] + place, rows[1] - 1)
        for k in range(strings):
            put_in_row(z, at + k, place, 0.0)
        for o in range(len(tables.starts) - 1):
            for e in range(tables.starts[o], tables.starts[o + 1]):
                k = at + tables.strings[e]
                share = cotangent[row, o] * tables.weights[e]
                put_in_row(z, k, place, get_from_row(z, k, place) + share)


@jit
def _sum_up(z, tables, evs, rows, at):
    """Put the values of observables, the sums over their strings."""
    for row in range(rows[0], rows[1]):
        for o in range(len(tables.starts) - 1):
            total = 0.0
            for e in range(tables.starts[o], tables.starts[o + 1]):
                value = get_from_row(z, at + tables.strings[e], row - rows[0])
                total += tables.weights[e] * value
            evs[row, o] = total


def compiled_pass(version: str) -> Callable[..., bool]:
    """Return the pass; ``version`` tells kernels apart on disk."""

    @compile_on_call()
    def execute(  # noqa: D417
        mode, tangent, first, last, signals, ints, floats, x, w, dx, dw, cotangent, dcotangent,
        firsts, kept, buffers, evs, gx, gw,
    ):  # fmt: skip
        """Run one mode for some rows; false if values are not finite.

        Args:
            mode: FORWARD fills ``evs``, with tangents by derivatives; ADJOINT adds to ``gx`` and
                ``gw``, with tangents the derivatives of gradients; COLUMNS leaves the columns and
                the right environments of strings that have ended in the buffer.
            tangent: Whether with tangents.
            first, last: Rows from the first one to before the last.
            signals: Where it is told to give up.
            ints, floats: The tables, as :func:`.pack` has packed them.
            firsts: For each site the first of its steps that has an angle whose derivative is
                wanted, or how many steps there are up to its end.
            kept: Whether the buffers are as FORWARD at the same values has left them.
            buffers: One buffer for all rows, or one each for those that lie side by side, from that
                of row zero on.
        """
        _ = version
        tables, sources = _unpack(ints, floats), _unpack_sources(ints, floats)
        values = Values(x, w, dx, dw)
        backward = mode == ADJOINT
        slots, strings = len(sources.offsets), ints[0]
        scratch = np.empty(slots), np.empty(slots), np.empty(slots)
        area = tables.area[0]
        q, side_by_side = area.quarter, count_rows(buffers[0])
        for row in range(first, last, side_by_side):
            if glance(signals, STOP) != 0:
                break
            rows = row, min(row + side_by_side, last)
            z = buffers[row // side_by_side % len(buffers)]
            if not kept:
                if not _turn(z, values, rows, tangent, area, sources, scratch):
                    return False
                fill_matrices(z, tangent, tables)
            if backward:
                _weigh(z, tables, cotangent, rows, area.weights_at, strings)
                if tangent:
                    _weigh(z, tables, dcotangent, rows, area.weights_at + 2 * q, strings)
                fill(z, q, tangent, area.turned_at, area.small_at - area.turned_at)
                fill(z, q, tangent, area.bars_at, slots)
            _sweep_right(z, tangent, tables, signals, backward, kept)
            if mode == COLUMNS:
                continue
            _sweep_left(z, tangent, tables, signals, backward, kept, firsts)
            if backward:
                pull_back_matrices(z, tangent, tables, firsts)
                _chain(z, gx, gw, rows, tangent, area, sources)
            else:
                _sum_up(z, tables, evs, rows, area.found_at)
        return True

    return execute
