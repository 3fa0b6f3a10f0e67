# SPDX-License-Identifier: Apache-2.0
r"""Sums of Pauli strings: their expectation values, and what they make of a state.

The terms of an observable with one mask ``x`` and one parity of Y are a *group*. With the sum of
their signs :math:`d(i)=\sum_e w_e\,(-1)^{|i\wedge z_e|}`

.. math:: \langle O\rangle = \sum_x\sum_i d(i)\,\mathrm{Re}\,\psi^*_{i\oplus x}\psi_i,\qquad
    (O\psi)_i = \sum_x d(i)\,\psi_{i\oplus x},

and where the number of Y is odd the imaginary part, and :math:`i` times that. Each program takes a
tile of consecutive amplitudes of a row, or of several rows that are as short. It looks the tile's
partners ``i ^ x`` up group after group; these are a tile too, in another order. A sign is the
product of that of the tile's row and of its column, so that a term costs one multiplication for
each amplitude. Groups come in the order of their masks: those that differ in the lowest bits only
find the same tile of partners in the first cache.

Cost:
    Expectation values of all observables are one launch, and a second one that adds the tiles up
    in double precision and in a fixed order where a row has more than one, or an observable very
    many terms. The state is read once for each mask of an observable that differs beyond the
    tile's bits, from the second cache unless it is larger. Strings of Z alone need no partners:
    however many observables these are, the state is read once. The bra of a cotangent, and its
    tangent, are one launch and one write, and are read likewise.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from ...arrays import FloatArray, IntArray
from ...simulation.statevector.pauli_sums import PauliSums

LONG, SHORT = 11, 8
"""Bits of a tile: of those of large batches, and of others, which would be too few programs."""
MANY = 1 << 19
"""Amplitudes of a batch from which tiles are long."""
COLUMNS = 6, 5
"""Bits of the columns of long and of short tiles: lines of the second cache."""
PROGRAMS = 1 << 10
"""Programs that keep a device busy."""
FEWEST = 64
"""Terms that are worth a program of their own."""
ADDED = 1 << 10
"""Tiles that are added up side by side."""


class Terms(NamedTuple):
    """Terms of observables by groups, on a device.

    Attributes:
        groups: ``(G, 5)``: the mask ``x``, whether the number of Y is odd, where the terms start,
            where those begin that are tables, and where they end.
        signs: Mask ``z`` of each term, or the number of its table, ``(K,)``.
        weights: In the state's precision, ``(K,)``.
        observables: To which each term belongs, ``(K,)``.
    """

    groups: Tensor
    signs: Tensor
    weights: Tensor
    observables: Tensor


class ObservableTables(NamedTuple):
    """Observables on a device.

    Attributes:
        num_bits: Of the state.
        num_observables: Their number ``O``.
        by_observable: Terms, one observable after the other; groups of different ones are apart.
        segments: Where the groups of each segment start, which adds up to one number: ``(S + 1,)``.
        owners: Where the segments of each observable start, ``(O + 1,)``.
        by_mask: Terms by mask, whatever observable they belong to.
        tables: Sums of signs, ``2**n`` numbers each, in the state's precision.
        constants: What terms without any Pauli contribute, ``(O,)``, ``float64``.
    """

    num_bits: int
    num_observables: int
    by_observable: Terms
    segments: Tensor
    owners: Tensor
    by_mask: Terms
    tables: Tensor
    constants: Tensor

    @property
    def is_empty(self) -> bool:
        """Whether there is no string."""
        return not len(self.by_mask.signs)


class _Host(NamedTuple):
    """What :class:`Terms` are, and how many terms come before each group."""

    groups: IntArray
    signs: IntArray
    weights: FloatArray
    observables: IntArray


def make_observable_tables(
    sums: PauliSums, dtype: torch.dtype, device: torch.device
) -> ObservableTables:
    """Put observables on a device, for states in ``float32`` or ``float64``."""
    count, paulis = sums.num_observables, sums.paulis
    entry = np.repeat(np.arange(len(paulis.entries)), np.diff(paulis.pointers))
    group_of = np.repeat(
        np.arange(len(paulis.groups)), paulis.groups["stop"] - paulis.groups["start"]
    )
    group = group_of[entry]
    table_at, z = paulis.entries["table_at"][entry], paulis.entries["z"][entry]
    masks = paulis.groups["x"][group]
    odd = (entry >= paulis.groups["middle"][group]).astype(np.int64)
    is_table = (table_at >= 0).astype(np.int64)
    signs = np.where(is_table, table_at >> sums.num_bits, z)
    keys = masks, odd, is_table, signs, paulis.weights, paulis.targets
    by_mask = _grouped(*keys, np.zeros_like(masks))
    by_observable = _grouped(*keys, paulis.targets)
    segments, owners = _segment(by_observable, count, sums.num_bits)
    return ObservableTables(
        sums.num_bits,
        count,
        _move(by_observable, dtype, device),
        torch.tensor(segments, dtype=torch.int32, device=device),
        torch.tensor(owners, dtype=torch.int32, device=device),
        _move(by_mask, dtype, device),
        torch.tensor(paulis.tables, dtype=dtype, device=device),
        torch.tensor(sums.constants, dtype=torch.float64, device=device),
    )


def _grouped(
    masks: IntArray, odd: IntArray, is_table: IntArray, signs: IntArray, weights: FloatArray,
    observables: IntArray, apart: IntArray,
) -> _Host:  # fmt: skip
    """Sort terms by what tells them apart, by mask, and by parity of Y; tables come last."""
    order = np.lexsort((signs, is_table, odd, masks, apart))
    heads = np.stack([apart, masks, odd])[:, order]
    starts = np.flatnonzero(np.diff(heads, axis=1, prepend=-1).any(axis=0))
    stops = np.append(starts[1:], len(order)) if len(starts) else starts
    tables = np.add.reduceat(is_table[order], starts) if len(starts) else starts
    groups = np.stack([heads[1, starts], heads[2, starts], starts, stops - tables, stops], axis=1)
    return _Host(groups, signs[order], weights[order], observables[order])


def _segment(terms: _Host, count: int, num_bits: int) -> tuple[IntArray, IntArray]:
    """Part the groups of each observable, where states are so small that programs would be few."""
    tiles = max(1, 1 << num_bits >> SHORT)
    most = max(FEWEST, len(terms.signs) * tiles // PROGRAMS)
    segments, owners = [0], [0]
    owner = terms.observables[terms.groups[:, 2]] if len(terms.groups) else terms.groups[:, 2]
    bounds = np.searchsorted(owner, np.arange(count + 1))
    for o in range(count):
        first, last = int(bounds[o]), int(bounds[o + 1])
        if tiles < PROGRAMS and last > first:
            before = terms.groups[first:last, 2] - terms.groups[first, 2]
            segments += (first + 1 + np.flatnonzero(np.diff(before // most))).tolist()
        segments.append(last)
        owners.append(len(segments) - 1)
    return np.array(segments), np.array(owners)


def _move(terms: _Host, dtype: torch.dtype, device: torch.device) -> Terms:
    def numbers(array: IntArray) -> Tensor:
        return torch.tensor(array, dtype=torch.int32, device=device)

    weights = torch.tensor(terms.weights, dtype=dtype, device=device)
    return Terms(numbers(terms.groups), numbers(terms.signs), weights, numbers(terms.observables))


class _Tiling(NamedTuple):
    """How a batch is cut into tiles.

    Attributes:
        tiles: Of each row.
        blocks: Of rows.
        options: What the kernels are compiled for.
    """

    tiles: int
    blocks: int
    options: dict[str, int]


def _tile(rows: int, num_bits: int, vectors: int) -> _Tiling:
    """Cut a batch into tiles, smaller ones where several vectors are held in registers."""
    is_long = rows << num_bits >= MANY
    bits = LONG + 1 - vectors if is_long else SHORT
    columns = min(COLUMNS[0 if is_long else 1], num_bits)
    high = min(num_bits, bits) - columns
    in_tile = bits - columns - high
    return _Tiling(
        1 << (num_bits - columns - high),
        triton.cdiv(rows, 1 << in_tile),
        {"COLUMN_BITS": columns, "HIGH_BITS": high, "ROW_BITS": in_tile,
         "num_warps": 4 if is_long else 2},
    )  # fmt: skip


def expect(tables: ObservableTables, state: Tensor, tangent: Tensor | None = None) -> Tensor:
    """Return the expectation values of all observables, ``(B, O)``, or their derivatives.

    Args:
        tables: The observables.
        state: Real and imaginary parts of the states, ``(2, B, 2**n)``.
        tangent: The derivative of the states, if that of the expectation values is wanted.
    """
    rows, count = state.shape[1], tables.num_observables
    evs = torch.empty((rows, count), dtype=torch.float64, device=state.device)
    if not rows or not count:
        return evs
    tiling = _tile(rows, tables.num_bits, 1)
    segments = len(tables.segments) - 1
    at_once = tiling.tiles == 1 and segments == count
    sums = evs if at_once else evs.new_empty((rows, segments, tiling.tiles))
    shares = min(segments, triton.cdiv(PROGRAMS, tiling.tiles * tiling.blocks))
    each = triton.cdiv(segments, shares)
    constant = tangent is None
    with torch.cuda.device_of(state):
        _expect[tiling.tiles, tiling.blocks, triton.cdiv(segments, each)](
            state, state if tangent is None else tangent, sums, tables.segments,
            *tables.by_observable[:3], tables.tables, tables.constants,
            rows, tables.num_bits, segments, each,
            SCALE=1.0 if constant else 2.0, CONSTANT=constant and at_once,
            **tiling.options, enable_fp_fusion=True,
        )  # fmt: skip
        if not at_once:
            _collect[count, rows](
                sums, evs, tables.owners, tables.constants, count, segments, tiling.tiles,
                CONSTANT=constant, BLOCK=ADDED, num_warps=4, enable_fp_fusion=True,
            )  # fmt: skip
    return evs


def observe(
    tables: ObservableTables,
    state: Tensor,
    cotangent: Tensor,
    out: Tensor,
    tangents: tuple[Tensor, Tensor, Tensor] | None = None,
) -> None:
    """Apply the observables that the cotangent weighs, one operator for each row, to the states.

    Args:
        tables: The observables.
        state: Shape ``(2, B, 2**n)``.
        cotangent: Shape ``(B, O)``, ``float64``.
        out: Where the result is put, in the shape of the state.
        tangents: The derivatives of state and cotangent, and where that of the result is put.
    """
    rows = state.shape[1]
    if not rows:
        return
    tiling = _tile(rows, tables.num_bits, 1 if tangents is None else 2)
    cotangent = cotangent.contiguous()
    dstate, dcotangent, dout = tangents or (state, cotangent, out)
    with torch.cuda.device_of(state):
        _observe[tiling.tiles, tiling.blocks](
            state, dstate, cotangent, dcotangent.contiguous(), out, dout, *tables.by_mask,
            tables.tables, rows, tables.num_bits, tables.num_observables,
            len(tables.by_mask.groups), TANGENT=tangents is not None,
            **tiling.options, enable_fp_fusion=True,
        )  # fmt: skip


@triton.jit
def _odd(bits, COUNT: tl.constexpr):
    """The parity of the lowest bits of numbers that have no others."""
    if COUNT > 16:
        bits ^= bits >> 16
    if COUNT > 8:
        bits ^= bits >> 8
    if COUNT > 4:
        bits ^= bits >> 4
    if COUNT > 2:
        bits ^= bits >> 2
    if COUNT > 1:
        bits ^= bits >> 1
    return bits & 1


@triton.jit
def _signs(z, base, high, low, like, COLUMN_BITS: tl.constexpr, HIGH_BITS: tl.constexpr):
    """Whether the signs of a tile's rows are negative, and the signs of its columns."""
    odd = _odd(high & (z >> COLUMN_BITS), HIGH_BITS) ^ _odd(base & z, 31)
    columns = tl.where(_odd(low & z, COLUMN_BITS) == 1, -1.0, 1.0)
    return odd == 1, columns.to(like.dtype)


@triton.jit(do_not_specialize=["rows", "num_bits", "segments", "each"])
def _expect(
    left, right, sums, starts, groups, signs, weights, tables, constants,
    rows, num_bits, segments, each,
    SCALE: tl.constexpr, CONSTANT: tl.constexpr,
    COLUMN_BITS: tl.constexpr, HIGH_BITS: tl.constexpr, ROW_BITS: tl.constexpr,
):  # fmt: skip
    """Fill in the sums of some segments over one tile."""
    HEIGHT: tl.constexpr = 1 << (HIGH_BITS + ROW_BITS)
    WIDTH: tl.constexpr = 1 << COLUMN_BITS
    tile, tiles = tl.program_id(0), tl.num_programs(0)
    side, low = tl.arange(0, HEIGHT), tl.arange(0, WIDTH)
    high = side & ((1 << HIGH_BITS) - 1)
    row = (tl.program_id(1) << ROW_BITS) + (side >> HIGH_BITS)
    base = tile << (HIGH_BITS + COLUMN_BITS)
    index = (base | (high << COLUMN_BITS))[:, None] | low[None, :]
    begin = (row.to(tl.int64) << num_bits)[:, None]
    exists = (row < rows)[:, None]
    imaginary = rows.to(tl.int64) << num_bits
    a_re = tl.load(right + begin + index, mask=exists, other=0.0)
    a_im = tl.load(right + begin + imaginary + index, mask=exists, other=0.0)
    b_re, b_im, last_x = a_re, a_im, -1
    first = tl.program_id(2) * each
    for segment in range(first, tl.minimum(first + each, segments)):
        total = tl.zeros([HEIGHT, WIDTH], a_re.dtype)
        for g in range(tl.load(starts + segment), tl.load(starts + segment + 1)):
            x = tl.load(groups + 5 * g)
            odd = tl.load(groups + 5 * g + 1)
            start = tl.load(groups + 5 * g + 2)
            middle = tl.load(groups + 5 * g + 3)
            stop = tl.load(groups + 5 * g + 4)
            if x != last_x:
                at = begin + (index ^ x)
                b_re = tl.load(left + at, mask=exists, other=0.0)
                b_im = tl.load(left + imaginary + at, mask=exists, other=0.0)
                last_x = x
            d = tl.zeros([HEIGHT, WIDTH], a_re.dtype)
            for e in range(start, middle):
                z, weight = tl.load(signs + e), tl.load(weights + e)
                negative, columns = _signs(z, base, high, low, d, COLUMN_BITS, HIGH_BITS)
                d += tl.where(negative, -weight, weight)[:, None] * columns[None, :]
            for e in range(middle, stop):
                table = tl.load(signs + e).to(tl.int64) << num_bits
                d += tl.load(weights + e) * tl.load(tables + table + index)
            if odd == 0:
                total += d * (b_re * a_re + b_im * a_im)
            else:
                total += d * (b_re * a_im - b_im * a_re)
        in_row = tl.reshape(tl.sum(total, 1).to(tl.float64), [1 << ROW_BITS, 1 << HIGH_BITS])
        found = SCALE * tl.sum(in_row, 1)
        if CONSTANT:
            found += tl.load(constants + segment)
        of = (tl.program_id(1) << ROW_BITS) + tl.arange(0, 1 << ROW_BITS)
        to = (of.to(tl.int64) * segments + segment) * tiles + tile
        tl.store(sums + to, found, mask=of < rows)


@triton.jit(do_not_specialize=["count", "segments", "tiles"])
def _collect(
    sums, evs, owners, constants, count, segments, tiles,
    CONSTANT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Add up the sums of one observable for one row."""
    o, row = tl.program_id(0), tl.program_id(1).to(tl.int64)
    first = tl.load(owners + o).to(tl.int64) * tiles
    last = tl.load(owners + o + 1).to(tl.int64) * tiles
    total = tl.zeros([BLOCK], tl.float64)
    for at in range(first, last, BLOCK):
        one = at + tl.arange(0, BLOCK)
        total += tl.load(sums + row * segments * tiles + one, mask=one < last, other=0.0)
    found = tl.sum(total, 0)
    if CONSTANT:
        found += tl.load(constants + o)
    tl.store(evs + row * count + o, found)


@triton.jit(do_not_specialize=["rows", "num_bits", "count", "num_groups"])
def _observe(
    ket, dket, cotangent, dcotangent, bra, dbra,
    groups, signs, weights, observables, tables, rows, num_bits, count, num_groups,
    TANGENT: tl.constexpr,
    COLUMN_BITS: tl.constexpr, HIGH_BITS: tl.constexpr, ROW_BITS: tl.constexpr,
):  # fmt: skip
    """Fill in one tile of what the observables make of the state."""
    HEIGHT: tl.constexpr = 1 << (HIGH_BITS + ROW_BITS)
    WIDTH: tl.constexpr = 1 << COLUMN_BITS
    tile = tl.program_id(0)
    side, low = tl.arange(0, HEIGHT), tl.arange(0, WIDTH)
    high = side & ((1 << HIGH_BITS) - 1)
    row = (tl.program_id(1) << ROW_BITS) + (side >> HIGH_BITS)
    base = tile << (HIGH_BITS + COLUMN_BITS)
    index = (base | (high << COLUMN_BITS))[:, None] | low[None, :]
    begin = (row.to(tl.int64) << num_bits)[:, None]
    here = row < rows
    exists = here[:, None]
    imaginary = rows.to(tl.int64) << num_bits
    of = row.to(tl.int64) * count
    zeros = tl.zeros([HEIGHT, WIDTH], ket.dtype.element_ty)
    re, im, d_re, d_im = zeros, zeros, zeros, zeros
    for g in range(num_groups):
        x = tl.load(groups + 5 * g)
        odd = tl.load(groups + 5 * g + 1)
        start = tl.load(groups + 5 * g + 2)
        middle = tl.load(groups + 5 * g + 3)
        stop = tl.load(groups + 5 * g + 4)
        d, dot = zeros, zeros
        for e in range(start, middle):
            z, weight = tl.load(signs + e), tl.load(weights + e)
            o = tl.load(observables + e)
            negative, columns = _signs(z, base, high, low, d, COLUMN_BITS, HIGH_BITS)
            signed = tl.where(negative, -weight, weight)
            share = tl.load(cotangent + of + o, mask=here, other=0.0).to(d.dtype)
            d += (signed * share)[:, None] * columns[None, :]
            if TANGENT:
                share = tl.load(dcotangent + of + o, mask=here, other=0.0).to(d.dtype)
                dot += (signed * share)[:, None] * columns[None, :]
        for e in range(middle, stop):
            table, o = tl.load(signs + e).to(tl.int64) << num_bits, tl.load(observables + e)
            value = tl.load(weights + e) * tl.load(tables + table + index)
            share = tl.load(cotangent + of + o, mask=here, other=0.0).to(d.dtype)
            d += share[:, None] * value
            if TANGENT:
                share = tl.load(dcotangent + of + o, mask=here, other=0.0).to(d.dtype)
                dot += share[:, None] * value
        at = begin + (index ^ x)
        b_re = tl.load(ket + at, mask=exists, other=0.0)
        b_im = tl.load(ket + imaginary + at, mask=exists, other=0.0)
        if odd == 0:
            re += d * b_re
            im += d * b_im
        else:
            re -= d * b_im
            im += d * b_re
        if TANGENT:
            c_re = tl.load(dket + at, mask=exists, other=0.0)
            c_im = tl.load(dket + imaginary + at, mask=exists, other=0.0)
            if odd == 0:
                d_re += d * c_re + dot * b_re
                d_im += d * c_im + dot * b_im
            else:
                d_re -= d * c_im + dot * b_im
                d_im += d * c_re + dot * b_re
    at = begin + index
    tl.store(bra + at, re, mask=exists)
    tl.store(bra + imaginary + at, im, mask=exists)
    if TANGENT:
        tl.store(dbra + at, d_re, mask=exists)
        tl.store(dbra + imaginary + at, d_im, mask=exists)
