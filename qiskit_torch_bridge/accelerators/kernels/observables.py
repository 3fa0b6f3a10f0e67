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

from typing import NamedTuple, no_type_check

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from ...arrays import FloatArray, IntArray
from ...simulation.statevector.pauli_sums import PauliSums

COLUMNS = 5
"""Bits of the columns of a tile: a line of the second cache."""
LONG, SHORT = 10, 8
"""Bits of a tile: of those of large batches, and of others, which would be too few programs; at
most twice those of the columns, for whose signs there is a word."""
MANY = 1 << 19
"""Amplitudes of a batch from which tiles are long."""
PROGRAMS = 1 << 10
"""Programs that keep a device busy."""
FEWEST = 64
"""Terms that are worth a program of their own."""
ADDED = 1 << 10
"""Tiles that are added up side by side."""

_PARITIES = np.bitwise_count(np.arange(32)[:, None] & np.arange(32)).astype(np.uint32) & 1
_SIGN_WORDS = (_PARITIES << np.arange(32, dtype=np.uint32)).sum(1, dtype=np.uint32).view(np.int32)
"""For five bits of a mask the parities of its product with each number, as bits of a word."""


class Terms(NamedTuple):
    """Terms of observables by groups, on a device.

    Attributes:
        groups: ``(G, 5)``: the mask ``x``, whether the number of Y is odd, where the terms start,
            where those begin that are tables, and where they end.
        signs: Mask ``z`` of each term, or the number of its table; and its signs by rows and by
            columns of a tile, as the bits of a word each: ``(K, 3)``.
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
    sizes = paulis.groups["stop"] - paulis.groups["start"]
    group_of = np.repeat(np.arange(len(sizes)), sizes)
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

    words = [_SIGN_WORDS[terms.signs >> bits & 31] for bits in (COLUMNS, 0)]
    signs = np.stack([terms.signs.astype(np.int32), *words], axis=1)
    weights = torch.tensor(terms.weights, dtype=dtype, device=device)
    return Terms(numbers(terms.groups), numbers(signs), weights, numbers(terms.observables))


class _Tiling(NamedTuple):
    """How a batch is cut into tiles.

    Attributes:
        tiles: Of each row.
        programs: Tiles of all blocks of rows. They are along the first axis of a grid, since the
            others have no more than 65535.
        options: What the kernels are compiled for.
    """

    tiles: int
    programs: int
    options: dict[str, int]


def _tile(rows: int, num_bits: int, vectors: int) -> _Tiling:
    """Cut a batch into tiles, smaller ones where several vectors are held in registers."""
    is_long = rows << num_bits >= MANY
    bits = LONG + 1 - vectors if is_long else SHORT
    columns = min(COLUMNS, num_bits)
    in_row = min(num_bits, bits)
    return _Tiling(
        1 << (num_bits - in_row),
        triton.cdiv(rows, 1 << (bits - in_row)) << (num_bits - in_row),
        {"WIDTH": 1 << columns, "HEIGHT": 1 << (bits - columns), "ROW_BITS": bits - in_row,
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
    shares = min(segments, triton.cdiv(PROGRAMS, tiling.programs))
    each = triton.cdiv(segments, shares)
    constant = tangent is None
    with torch.cuda.device_of(state):
        _expect[tiling.programs, triton.cdiv(segments, each)](
            state, state if tangent is None else tangent, sums, tables.segments,
            *tables.by_observable[:3], tables.tables, tables.constants,
            rows, tables.num_bits, tiling.tiles, segments, each,
            SCALE=1.0 if constant else 2.0, CONSTANT=constant and at_once,
            SAME=0 if constant else -1,
            **tiling.options, enable_fp_fusion=True,
        )  # fmt: skip
        if not at_once:
            _collect[count * rows,](
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
    dstate, dcotangent, out_tangent = tangents or (state, cotangent, out)
    with torch.cuda.device_of(state):
        _observe[tiling.programs,](
            state, dstate, cotangent, dcotangent.contiguous(), out, out_tangent, *tables.by_mask,
            tables.tables, rows, tables.num_bits, tiling.tiles, tables.num_observables,
            len(tables.by_mask.groups), TANGENT=tangents is not None,
            **tiling.options, enable_fp_fusion=True,
        )  # fmt: skip


@triton.jit
@no_type_check
def _tile_of(
    rows, num_bits, tiles, WIDTH: tl.constexpr, HEIGHT: tl.constexpr, ROW_BITS: tl.constexpr
):
    """Where a program's tile is: those of a row have consecutive programs, a power of two.

    Returns:
        The bits of the index that all amplitudes of the tile have, and the whole index
        ``(HEIGHT, WIDTH)``; the rows of the batch and where they begin, two numbers or for each row
        of the tile; and whether these are there.
    """
    side = tl.arange(0, HEIGHT)
    base = (tl.program_id(0) & (tiles - 1)) * ((HEIGHT >> ROW_BITS) * WIDTH)
    block = tl.program_id(0) // tiles
    high = side & ((HEIGHT >> ROW_BITS) - 1)
    index = (base + high * WIDTH)[:, None] + tl.arange(0, WIDTH)[None, :]
    if ROW_BITS == 0:
        row = block
        begin = row.to(tl.int64) << num_bits
    else:
        row = (block << ROW_BITS) + side // (HEIGHT >> ROW_BITS)
        begin = (row.to(tl.int64) << num_bits)[:, None]
    return base, index, row, begin, row < rows


@triton.jit
@no_type_check
def _load(pointers, here, ROW_BITS: tl.constexpr):
    """Amplitudes of a tile; zeros in rows that are not there."""
    if ROW_BITS == 0:
        return tl.load(pointers)
    else:
        return tl.load(pointers, mask=here[:, None], other=0.0)


@triton.jit
@no_type_check
def _store(pointers, values, here, ROW_BITS: tl.constexpr):
    """Write amplitudes of a tile."""
    if ROW_BITS == 0:
        tl.store(pointers, values)
    else:
        tl.store(pointers, values, mask=here[:, None])


@triton.jit
@no_type_check
def _share(cotangent, at, here, like, ROW_BITS: tl.constexpr):
    """The cotangent of one observable, a number or for each row of a tile."""
    if ROW_BITS == 0:
        return tl.load(cotangent + at).to(like.dtype)
    else:
        return tl.load(cotangent + at, mask=here, other=0.0).to(like.dtype)


@triton.jit
@no_type_check
def _odd(bits):
    """The parity of the bits of a number."""
    bits ^= bits >> 16
    bits ^= bits >> 8
    bits ^= bits >> 4
    bits ^= bits >> 2
    return (bits ^ (bits >> 1)) & 1


@triton.jit
@no_type_check
def _signs(signs, e, base, WIDTH: tl.constexpr, HEIGHT: tl.constexpr, ROW_BITS: tl.constexpr):
    """The signs of one term, as the highest bits of numbers, by rows and by columns of a tile."""
    odd = _odd(tl.load(signs + 3 * e) & base)
    of_rows, of_columns = tl.load(signs + 3 * e + 1) ^ -odd, tl.load(signs + 3 * e + 2)
    high = tl.arange(0, HEIGHT) & ((HEIGHT >> ROW_BITS) - 1)
    return of_rows << (31 - high), of_columns << (31 - tl.arange(0, WIDTH))


@triton.jit
@no_type_check
def _signed(weight, of_rows, of_columns):
    """A weight, or one for each row of a tile, with the signs of a term, ``(HEIGHT, WIDTH)``."""
    LAST: tl.constexpr = -(1 << 31)
    if weight.dtype == tl.float32:
        rows = weight.to(tl.int32, bitcast=True) ^ (of_rows & LAST)
        return (rows[:, None] ^ (of_columns & LAST)[None, :]).to(tl.float32, bitcast=True)
    else:
        rows = weight.to(tl.int64, bitcast=True) ^ ((of_rows & LAST).to(tl.int64) << 32)
        columns = (of_columns & LAST).to(tl.int64) << 32
        return (rows[:, None] ^ columns[None, :]).to(tl.float64, bitcast=True)


@triton.jit(do_not_specialize=["rows", "num_bits", "tiles", "segments", "each"])
@no_type_check
def _expect(
    left, right, sums, starts, groups, signs, weights, tables, constants,
    rows, num_bits, tiles, segments, each,
    SCALE: tl.constexpr, CONSTANT: tl.constexpr, SAME: tl.constexpr,
    WIDTH: tl.constexpr, HEIGHT: tl.constexpr, ROW_BITS: tl.constexpr,
):  # fmt: skip
    """Fill in the sums of some segments over one tile."""
    base, index, _, begin, here = _tile_of(rows, num_bits, tiles, WIDTH, HEIGHT, ROW_BITS)
    imaginary = rows.to(tl.int64) << num_bits
    a_re = _load(right + begin + index, here, ROW_BITS)
    a_im = _load(right + imaginary + begin + index, here, ROW_BITS)
    left_re, left_im = left + begin, left + imaginary + begin
    b_re, b_im, last_x = a_re, a_im, tl.full((), SAME, tl.int32)
    first = tl.program_id(1) * each
    for segment in range(first, tl.minimum(first + each, segments)):
        total = tl.zeros([HEIGHT, WIDTH], a_re.dtype)
        for g in range(tl.load(starts + segment), tl.load(starts + segment + 1)):
            x = tl.load(groups + 5 * g)
            odd = tl.load(groups + 5 * g + 1)
            start = tl.load(groups + 5 * g + 2)
            middle = tl.load(groups + 5 * g + 3)
            stop = tl.load(groups + 5 * g + 4)
            if x != last_x:
                b_re = _load(left_re + (index ^ x), here, ROW_BITS)
                b_im = _load(left_im + (index ^ x), here, ROW_BITS)
                last_x = x
            d = tl.zeros([HEIGHT, WIDTH], a_re.dtype)
            for e in range(start, middle):
                of_rows, of_columns = _signs(signs, e, base, WIDTH, HEIGHT, ROW_BITS)
                d += _signed(tl.load(weights + e), of_rows, of_columns)
            for e in range(middle, stop):
                table = tl.load(signs + 3 * e).to(tl.int64) << num_bits
                d += tl.load(weights + e) * tl.load(tables + table + index)
            if odd == 0:
                total += d * (b_re * a_re + b_im * a_im)
            else:
                total += d * (b_re * a_im - b_im * a_re)
        in_row = tl.reshape(tl.sum(total, 1).to(tl.float64), [1 << ROW_BITS, HEIGHT >> ROW_BITS])
        found = SCALE * tl.sum(in_row, 1)
        if CONSTANT:
            found += tl.load(constants + segment)
        of = (tl.program_id(0) // tiles << ROW_BITS) + tl.arange(0, 1 << ROW_BITS)
        to = (of.to(tl.int64) * segments + segment) * tiles + (tl.program_id(0) & (tiles - 1))
        tl.store(sums + to, found, mask=of < rows)


@triton.jit(do_not_specialize=["count", "segments", "tiles"])
@no_type_check
def _collect(
    sums, evs, owners, constants, count, segments, tiles,
    CONSTANT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Add up the sums of one observable for one row."""
    o, row = tl.program_id(0) % count, (tl.program_id(0) // count).to(tl.int64)
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


@triton.jit(
    do_not_specialize=["rows", "num_bits", "tiles", "count", "num_groups"],
    do_not_specialize_on_alignment=[
        "cotangent",
        "dcotangent",
    ],  # parts of a batch may begin anywhere
)
@no_type_check
def _observe(
    ket, dket, cotangent, dcotangent, bra, dbra,
    groups, signs, weights, observables, tables, rows, num_bits, tiles, count, num_groups,
    TANGENT: tl.constexpr, WIDTH: tl.constexpr, HEIGHT: tl.constexpr, ROW_BITS: tl.constexpr,
):  # fmt: skip
    """Fill in one tile of what the observables make of the state."""
    base, index, row, begin, here = _tile_of(rows, num_bits, tiles, WIDTH, HEIGHT, ROW_BITS)
    imaginary = rows.to(tl.int64) << num_bits
    ket_re, ket_im = ket + begin, ket + imaginary + begin
    dket_re, dket_im = dket + begin, dket + imaginary + begin
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
            weight, o = tl.load(weights + e), tl.load(observables + e)
            of_rows, of_columns = _signs(signs, e, base, WIDTH, HEIGHT, ROW_BITS)
            share = _share(cotangent, of + o, here, zeros, ROW_BITS)
            d += _signed(weight * share, of_rows, of_columns)
            if TANGENT:
                share = _share(dcotangent, of + o, here, zeros, ROW_BITS)
                dot += _signed(weight * share, of_rows, of_columns)
        for e in range(middle, stop):
            weight, o = tl.load(weights + e), tl.load(observables + e)
            table = tl.load(signs + 3 * e).to(tl.int64) << num_bits
            value = weight * tl.load(tables + table + index)
            share = _share(cotangent, of + o, here, zeros, ROW_BITS)
            d += value * (share if ROW_BITS == 0 else share[:, None])
            if TANGENT:
                share = _share(dcotangent, of + o, here, zeros, ROW_BITS)
                dot += value * (share if ROW_BITS == 0 else share[:, None])
        at = index ^ x
        b_re, b_im = _load(ket_re + at, here, ROW_BITS), _load(ket_im + at, here, ROW_BITS)
        if odd == 0:
            re += d * b_re
            im += d * b_im
        else:
            re -= d * b_im
            im += d * b_re
        if TANGENT:
            c_re, c_im = _load(dket_re + at, here, ROW_BITS), _load(dket_im + at, here, ROW_BITS)
            if odd == 0:
                d_re += d * c_re + dot * b_re
                d_im += d * c_im + dot * b_im
            else:
                d_re -= d * c_im + dot * b_im
                d_im += d * c_re + dot * b_re
    _store(bra + begin + index, re, here, ROW_BITS)
    _store(bra + imaginary + begin + index, im, here, ROW_BITS)
    if TANGENT:
        _store(dbra + begin + index, d_re, here, ROW_BITS)
        _store(dbra + imaginary + begin + index, d_im, here, ROW_BITS)
