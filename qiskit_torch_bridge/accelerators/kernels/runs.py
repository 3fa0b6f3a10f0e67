# SPDX-License-Identifier: Apache-2.0
r"""The kernel that applies a run of rotations to blocks of states, or undoes it.

Real and imaginary parts are told apart by one more bit of the index, so that a state of :math:`n`
bits is a real vector of :math:`2^{n+1}` numbers. There each rotation has the same form, whatever
letters its string has: with masks :math:`x` and :math:`z` that cover this bit, too,

.. math:: \psi_i \leftarrow \cos\tfrac\alpha2\,\psi_i + \sin\tfrac\alpha2\,(G\psi)_i,
    \qquad G = -iP, \quad (G\psi)_i = \pm(-1)^{|i\wedge z|}\,\psi_{i\oplus x} .

With an even number of Y in the string, both masks have the bit; with an odd one, none has.

A program holds a *block* in registers: one coset of one state, or several small states as a whole.
The place of a number in the block is a *register* and a *thread*. Registers are exchanged for
nothing, since the kernel has a branch for each of their masks. Threads of one warp exchange numbers
by a shuffle, whatever the mask, and those of different warps through shared memory. Signs are
products of one for the coset and the thread and one for the register. So nothing in the code
depends on the circuit: its rotations are records in a table.

Where a bra is carried along, rotations of both are undone, and what is between them is the
derivative, :math:`\operatorname{Im}\langle\lambda|P|\psi\rangle
= \operatorname{Re}\langle\lambda|G\psi\rangle`. Where tangents are,
:math:`|\dot\psi\rangle` receives :math:`\tfrac{\dot\alpha}2 G|\psi\rangle` as well.
"""

from __future__ import annotations

from typing import no_type_check

import triton
import triton.language as tl

NUMBERS = (
    "first", "count", "step", "num_bits", "rows", "thread_bits", "log_cosets", "low_cosets",
    "parts", "from_zero",
)  # fmt: skip
"""Arguments of the kernel that it is not compiled anew for."""

POINTERS = (
    "kets", "ket_tangents", "bras", "bra_tangents", "cosines", "sines", "halves", "derivatives",
    "records", "places",
)  # fmt: skip
"""Arguments whose alignment it is not compiled anew for: each thread reads single numbers."""


@triton.jit
@no_type_check
def _flip(x, mask: tl.constexpr, bits: tl.constexpr, whole: tl.constexpr):
    """Exchange the registers ``k`` and ``k ^ mask``: sums of whole numbers are exact."""
    y = x.to(whole, bitcast=True)
    for bit in tl.static_range(bits):
        if (mask >> bit) & 1:
            y = tl.reshape(y, [1 << (bits - 1 - bit), 2, 1 << bit, x.shape[1], x.shape[2]])
            y = tl.reshape(tl.sum(y, axis=1, keep_dims=True) - y, x.shape)
    return y.to(x.dtype, bitcast=True)


@triton.jit
@no_type_check
def _exchange(x, mask, across: tl.constexpr):
    """Exchange the threads ``t`` and ``t ^ mask``, which may be in different warps or not."""
    if across:
        numbers: tl.constexpr = x.shape[0] * x.shape[1] * x.shape[2]
        at = tl.arange(0, numbers) ^ mask
        return tl.reshape(tl.gather(tl.reshape(x, [numbers]), at, 0), x.shape)
    else:
        at = (tl.arange(0, x.shape[2]) ^ mask)[None, None, :]
        return tl.gather(x, tl.broadcast_to(at, x.shape), 2)


@triton.jit
@no_type_check
def _locate(places, thread, coset, row, rows, num_bits, threads, registers: tl.constexpr):
    """Return each number's index with the bit of imaginary parts, its address, and whether it is.

    Where there are fewer amplitudes than registers, or fewer rows than threads, some are none.
    """
    register = tl.arange(0, registers)
    imaginary = (register // (registers // 2))[:, None, None]
    place = places + threads + (register & (registers // 2 - 1))
    index = tl.load(place, volatile=True)[:, None, None]  # not to be taken from an earlier call
    index = index ^ (tl.load(places + thread)[None, :, :] ^ coset)
    valid = (row < rows)[None, :, :] & ((index >> num_bits) == 0)
    at = ((imaginary * rows.to(tl.int64) + row[None, :, :]) << num_bits) + index
    return index | imaginary, at, valid


@triton.jit
@no_type_check
def _turn(  # noqa: D417
    ket, dket, bra, dbra, ket_there, dket_there, bra_there, dbra_there,
    c, s, h, sign, wanted, inner,
    mask: tl.constexpr, bits: tl.constexpr, whole: tl.constexpr,
    has_bra: tl.constexpr, has_tangents: tl.constexpr,
):  # fmt: skip
    """Apply a rotation to all vectors, after taking the inner product if it is wanted.

    Args:
        ket, dket, bra, dbra: Blocks of the vectors. Those that there are none of are anything.
        ket_there, dket_there, bra_there, dbra_there: The same, threads having exchanged them.
        c, s, h: Cosine, sine and tangent of half of the angle, with the signs of threads.
        sign: Those of registers.
        wanted: Whether the inner product is.
        inner: What it is otherwise.
        mask: Which registers are exchanged.
        bits: Of a register's number.
        whole: Whole numbers of as many bits as those of the vectors.
        has_bra, has_tangents: Which vectors there are.
    """
    t = s * sign
    x = _flip(ket_there, mask, bits, whole)
    if has_tangents:
        y = _flip(dket_there, mask, bits, whole)
        e, f = (h * c) * sign, h * s
    if has_bra:  # noqa: SIM102 - this is decided by the compiler
        if wanted != 0:
            if has_tangents:
                inner = tl.sum(sign * (dbra * x + bra * y), axis=0)
            else:
                inner = tl.sum(sign * (bra * x), axis=0)
    if has_tangents:
        dket = c * dket + t * y + e * x - f * ket
    ket = c * ket + t * x
    if has_bra:
        x = _flip(bra_there, mask, bits, whole)
        if has_tangents:
            dbra = c * dbra + t * _flip(dbra_there, mask, bits, whole) + e * x - f * bra
        bra = c * bra + t * x
    return ket, dket, bra, dbra, inner


@triton.jit(do_not_specialize=NUMBERS, do_not_specialize_on_alignment=POINTERS)
@no_type_check
def sweep(  # noqa: D417
    kets, ket_tangents, bras, bra_tangents, cosines, sines, halves, derivatives, records, places,
    first, count, step, num_bits, rows, thread_bits, log_cosets, low_cosets, parts, from_zero,
    bits: tl.constexpr, group_bits: tl.constexpr, lane_bits: tl.constexpr, crosses: tl.constexpr,
    has_bra: tl.constexpr, has_tangents: tl.constexpr, whole: tl.constexpr,
):  # fmt: skip
    """Apply some rotations to one block of all vectors, or undo them.

    Args:
        kets, ket_tangents, bras, bra_tangents: Vectors ``(2, B, 2**n)``; those that there are none
            of are anything.
        cosines, sines, halves: Of half angles, and half of their tangents: ``(slots, B)``.
        derivatives: By place and row, ``parts`` numbers that add up to the derivative.
        records: Of all rotations; see :class:`.plan.Sweep`.
        places: Indices of the run's threads, of registers, and of cosets, by the low bits and by
            the high bits of their number. That of an amplitude is an exclusive or of these.
        first, count, step: The record of the rotation that acts first, how many act, and 1; or -1
            to undo them in reverse.
        num_bits, rows: ``n`` and ``B``.
        thread_bits: How many bits of a thread's number tell amplitudes apart; the others are rows.
        log_cosets, low_cosets: Bits of a coset's number, and how many the first table is for.
        parts: Of each derivative: cosets, times warps in which a row's amplitudes are.
        from_zero: Whether the ket begins as the basis state 0, and its tangent as zero, whatever
            they hold.
        bits: Of a register's number, the highest of which tells imaginary parts from real ones.
        group_bits, lane_bits: Of a thread's number: which group it is in, all of one row and in one
            warp, and which of that.
        crosses: Whether amplitudes of one row are in several warps.
        has_bra, has_tangents: Which vectors there are.
        whole: Whole numbers of as many bits as those of the vectors.
    """
    groups: tl.constexpr = 1 << group_bits
    lanes: tl.constexpr = 1 << lane_bits
    threads: tl.constexpr = groups * lanes
    registers: tl.constexpr = 1 << bits
    program = tl.program_id(0)
    number = program & ((1 << log_cosets) - 1)
    cosets = places + threads + registers // 2
    coset = tl.load(cosets + (number & ((1 << low_cosets) - 1)))
    coset = coset ^ tl.load(cosets + (1 << low_cosets) + (number >> low_cosets))
    group = tl.arange(0, groups)
    thread = group[:, None] * lanes + tl.arange(0, lanes)[None, :]
    register = tl.arange(0, registers)
    first_row = (program >> log_cosets) * (threads >> thread_bits)
    row = (first_row + (thread >> thread_bits)).to(tl.int64)
    in_batch = row < rows
    index, at, valid = _locate(places, thread, coset, row, rows, num_bits, threads, registers)
    if from_zero != 0:
        ket = tl.where(index == 0, 1.0, 0.0).to(kets.dtype.element_ty)
    else:
        ket = tl.load(kets + at, valid, 0.0)
    dket, bra, dbra = ket, ket, ket
    if has_tangents:
        if from_zero != 0:  # noqa: SIM108 - tensors have no such expression
            dket = tl.zeros_like(ket)
        else:
            dket = tl.load(ket_tangents + at, valid, 0.0)
    if has_bra:
        bra = tl.load(bras + at, valid, 0.0)
        if has_tangents:
            dbra = tl.load(bra_tangents + at, valid, 0.0)
    direction = step.to(ket.dtype)
    nothing = tl.zeros([groups, lanes], ket.dtype)
    for turn in range(count):
        record = records + 4 * (first + step * turn)
        masks, z = tl.load(record), tl.load(record + 1)
        slot, place = tl.load(record + 2), tl.load(record + 3)
        mask, key = masks & 0xFFFF, masks >> 16
        slot, wanted = slot >> 1, slot & 1
        angle = slot.to(tl.int64) * rows + row
        c = tl.load(cosines + angle, in_batch, 1.0)[None, :, :]
        s = tl.load(sines + angle, in_batch, 0.0)
        # The parity of all signs but the registers' ends up in four bits, and then in one.
        z = (coset | -2147483648) & z
        z = z ^ (z >> 16)
        parity = (thread & key) ^ ((z ^ (z >> 8)) & 0xFF)
        parity = parity ^ (parity >> 8)
        parity = (0x6996 >> ((parity ^ (parity >> 4)) & 15)) & 1
        thread_sign = tl.where(parity == 1, -1.0, 1.0).to(s.dtype)
        s = (s * thread_sign * direction)[None, :, :]
        h = s
        if has_tangents:
            h = tl.load(halves + angle, in_batch, 0.0)
            h = (h * thread_sign * direction)[None, :, :]
        sign = tl.full([registers], 1.0, ket.dtype)
        key = key >> (group_bits + lane_bits)
        for bit in tl.static_range(bits):
            minus = tl.where((key >> bit) & 1 == 1, -1.0, 1.0).to(s.dtype)
            sign = tl.where((register >> bit) & 1 == 1, sign * minus, sign)
        sign = sign[:, None, None]
        among, exchanged = mask & (threads - 1), mask >> (group_bits + lane_bits)
        ket_there, dket_there, bra_there, dbra_there = ket, dket, bra, dbra
        if among >= lanes:
            if crosses:
                ket_there = _exchange(ket, among, True)
                if has_tangents:
                    dket_there = _exchange(dket, among, True)
                if has_bra:
                    bra_there = _exchange(bra, among, True)
                    if has_tangents:
                        dbra_there = _exchange(dbra, among, True)
        elif among != 0:
            ket_there = _exchange(ket, among, False)
            if has_tangents:
                dket_there = _exchange(dket, among, False)
            if has_bra:
                bra_there = _exchange(bra, among, False)
                if has_tangents:
                    dbra_there = _exchange(dbra, among, False)
        inner = nothing
        for each in tl.static_range(registers):
            if exchanged == each:
                ket, dket, bra, dbra, inner = _turn(
                    ket, dket, bra, dbra, ket_there, dket_there, bra_there, dbra_there,
                    c, s, h, sign, wanted, inner,
                    each, bits, whole, has_bra, has_tangents,
                )  # fmt: skip
        if has_bra:  # noqa: SIM102 - this is decided by the compiler
            if wanted != 0:
                total = tl.sum(inner * thread_sign, axis=1).to(tl.float64)
                row_bits = thread_bits - lane_bits
                row_of = (first_row + (group >> row_bits)).to(tl.int64)
                part = (number << row_bits) + (group & ((1 << row_bits) - 1))
                to = (place.to(tl.int64) * rows + row_of) * parts + part
                tl.store(derivatives + to, total, row_of < rows)
    # Once more, so that registers need not hold it in the meantime.
    index, at, valid = _locate(places, thread, coset, row, rows, num_bits, threads, registers)
    tl.store(kets + at, ket, valid)
    if has_tangents:
        tl.store(ket_tangents + at, dket, valid)
    if has_bra:
        tl.store(bras + at, bra, valid)
        if has_tangents:
            tl.store(bra_tangents + at, dbra, valid)
