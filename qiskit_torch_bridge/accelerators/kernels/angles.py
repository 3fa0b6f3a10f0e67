# SPDX-License-Identifier: Apache-2.0
r"""Between values and angles: cosines and sines ahead of the runs, the chain rule after them.

Slot ``a`` of the tape has the angle :math:`\theta_a=o_a+\sum_p C_{ap}\,v_p` of inputs and weights
:math:`v=(x', w')`. One kernel makes of it :math:`\cos\theta_a/2` and :math:`\sin\theta_a/2` for
every row, and :math:`\dot\theta_a/2` along tangents; angle, cosine and sine are computed in double
precision, and of an angle of any size exactly. Another kernel takes gradients with respect to
angles back by the transposed map. Where rows share their weights, it adds rows up in blocks and
the blocks in turn, so that a sum is the same to the last bit every time.

Cost:
    One launch for the angles. One for the gradients, and a sum over blocks where more than
    :data:`ROWS` rows share weights. Everything is read and written once.
"""

from __future__ import annotations

from typing import Any, NamedTuple, no_type_check

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from ...arrays import BoolArray
from ...simulation.kernels.tables import Sources

ROWS = 32
"""Rows that one program takes: consecutive numbers of a slot, which are read together."""
ANGLES = 128
"""Angles that one program computes."""
ENTRIES = 32
"""Entries of a column that are added up side by side."""

POINTERS = (
    "x", "w", "dx", "dw", "cosines", "sines", "tangents", "gradients", "gx", "gw",
)  # fmt: skip
"""Arguments whose alignment kernels are not compiled anew for, as it changes with the batch."""


class AngleTables(NamedTuple):
    """The sparse affine map from inputs and weights to angles, on a device.

    Attributes:
        starts: Where the entries of each slot start, ``(A + 1,)``.
        columns: The column of ``x'`` followed by ``w'`` that each entry reads.
        coefficients: What it is multiplied by.
        offsets: Of each slot, ``(A,)``.
    """

    starts: Tensor
    columns: Tensor
    coefficients: Tensor
    offsets: Tensor


class Transposed(NamedTuple):
    """The same map by columns, as far as their derivatives are wanted.

    Attributes:
        starts: Where the entries of each column start, ``(I' + W' + 1,)``; those that are not
            wanted have none.
        slots: The slot of each entry.
        coefficients: As before.
    """

    starts: Tensor
    slots: Tensor
    coefficients: Tensor


def make_angle_tables(sources: Sources, device: torch.device) -> AngleTables:
    """Put the map of a tape on a device."""
    return AngleTables(
        _numbers(sources.starts, device),
        _numbers(sources.columns, device),
        torch.tensor(sources.coefficients, dtype=torch.float64, device=device),
        torch.tensor(sources.offsets, dtype=torch.float64, device=device),
    )


def transpose(sources: Sources, wanted: BoolArray, device: torch.device) -> Transposed:
    """Put the transposed map on a device.

    Args:
        sources: The map.
        wanted: Which columns of ``x'`` and ``w'`` are, ``(I' + W',)``.
        device: Where to.
    """
    slots = np.repeat(np.arange(len(sources.offsets)), np.diff(sources.starts))
    entries = np.flatnonzero(wanted[sources.columns])
    entries = entries[np.argsort(sources.columns[entries], kind="stable")]
    counts = np.bincount(sources.columns[entries], minlength=len(wanted))
    return Transposed(
        _numbers(np.concatenate([[0], np.cumsum(counts)]), device),
        _numbers(slots[entries], device),
        torch.tensor(sources.coefficients[entries], dtype=torch.float64, device=device),
    )


def _numbers(numbers: Any, device: torch.device) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int32, device=device)


def compute_angles(
    tables: AngleTables,
    x: Tensor,
    w: Tensor,
    dtype: torch.dtype,
    tangents: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, ...]:
    """Return cosines and sines of half of all angles, and half of the angles' tangents.

    Args:
        tables: The map.
        x: Inputs ``x'``, ``(B, I')``, ``float64``.
        w: Weights ``w'``, ``(1, W')`` or ``(B, W')``.
        dtype: Of what is returned: ``float32`` or ``float64``.
        tangents: Those of ``x'`` and ``w'``, if there are any.

    Returns:
        Two tensors ``(A, B)``, or three with tangents.
    """
    rows, slots = len(x), len(tables.offsets)
    count = 2 if tangents is None else 3
    found = torch.empty((count, slots, rows), dtype=dtype, device=x.device)
    if slots and rows:
        shape = slots, rows, x.shape[1], 0 if len(w) == 1 else w.shape[1]
        x, w, dx, dw = (
            t.contiguous() if t.numel() else tables.offsets for t in (x, w, *(tangents or (x, w)))
        )
        few = 1 if rows < 4 else 4 if rows < ROWS else ROWS
        block = ANGLES // few
        with torch.cuda.device_of(x):
            _angles[triton.cdiv(slots, block) * triton.cdiv(rows, few),](
                x, w, dx, dw, *tables, *found[:2], found[-1], *shape,
                TANGENT=tangents is not None, SLOTS=block, ROWS=few, num_warps=2,
                enable_fp_fusion=True,
            )  # fmt: skip
    return found.unbind()


def pull_back(
    transposed: Transposed, gradients: Tensor, num_inputs: int, shared: bool
) -> tuple[Tensor, Tensor]:
    """Return gradients with respect to inputs ``(B, I')`` and weights ``(1, W')`` or ``(B, W')``.

    Args:
        transposed: The map; what it holds no entries of is zero.
        gradients: With respect to the angles, ``(A, B)``, ``float64``; slots that no column reads
            are not looked at.
        num_inputs: The number ``I'``.
        shared: Whether all rows have the same weights.
    """
    rows, columns = gradients.shape[1], len(transposed.starts) - 1
    weights, blocks = columns - num_inputs, triton.cdiv(rows, ROWS)
    gx = gradients.new_empty((rows, num_inputs))
    gw = gradients.new_empty((blocks if shared else rows, weights))
    if rows and columns:
        with torch.cuda.device_of(gradients):
            _pull_back[columns * blocks,](
                gradients.contiguous(), *transposed, gx, gw, rows, num_inputs, weights,
                SHARED=shared, ROWS=ROWS, ENTRIES=ENTRIES, num_warps=4, enable_fp_fusion=True,
            )  # fmt: skip
    return gx, gw.sum(0, keepdim=True) if shared and blocks != 1 else gw


@triton.jit(
    do_not_specialize=["slots", "rows", "inputs", "w_stride"],
    do_not_specialize_on_alignment=POINTERS[:7],
)
@no_type_check
def _angles(
    x, w, dx, dw, starts, columns, coefficients, offsets, cosines, sines, tangents,
    slots, rows, inputs, w_stride,
    TANGENT: tl.constexpr, SLOTS: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Fill in a block of slots for a block of rows."""
    blocks = tl.cdiv(rows, ROWS)
    slot = tl.program_id(0) // blocks * SLOTS + tl.arange(0, SLOTS)
    row = (tl.program_id(0) % blocks * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    there, here = slot < slots, row[None, :] < rows
    first = tl.load(starts + slot, mask=there, other=0)
    count = tl.load(starts + slot + 1, mask=there, other=0) - first
    offset = tl.load(offsets + slot, mask=there, other=0.0)
    angle = tl.zeros([SLOTS, ROWS], tl.float64) + offset[:, None]
    turn = tl.zeros([SLOTS, ROWS], tl.float64)
    for e in range(tl.max(count, 0)):
        some = e < count
        column = tl.load(columns + first + e, mask=some, other=0)
        coefficient = tl.load(coefficients + first + e, mask=some, other=0.0)[:, None]
        of_x = row[None, :] * inputs + column[:, None]
        of_w = row[None, :] * w_stride + (column - inputs)[:, None]
        in_x = here & (some & (column < inputs))[:, None]
        in_w = here & (some & (column >= inputs))[:, None]
        value = tl.load(w + of_w, mask=in_w, other=0.0)
        value = tl.load(x + of_x, mask=in_x, other=0.0) + value
        angle += coefficient * value
        if TANGENT:
            value = tl.load(dw + of_w, mask=in_w, other=0.0)
            value = tl.load(dx + of_x, mask=in_x, other=0.0) + value
            turn += coefficient * value
    half = 0.5 * angle
    at = slot.to(tl.int64)[:, None] * rows + row[None, :]
    exists = there[:, None] & here
    tl.store(cosines + at, tl.cos(half).to(cosines.dtype.element_ty), mask=exists)
    tl.store(sines + at, tl.sin(half).to(sines.dtype.element_ty), mask=exists)
    if TANGENT:
        tl.store(tangents + at, (0.5 * turn).to(tangents.dtype.element_ty), mask=exists)


@triton.jit(
    do_not_specialize=["rows", "inputs", "weights"],
    do_not_specialize_on_alignment=POINTERS[7:],
)
@no_type_check
def _pull_back(
    gradients, starts, slots, coefficients, gx, gw, rows, inputs, weights,
    SHARED: tl.constexpr, ROWS: tl.constexpr, ENTRIES: tl.constexpr,
):  # fmt: skip
    """Fill in one column for a block of rows."""
    blocks = tl.cdiv(rows, ROWS)
    column, block = tl.program_id(0) // blocks, (tl.program_id(0) % blocks).to(tl.int64)
    row = block * ROWS + tl.arange(0, ROWS)
    exists = row < rows
    first, last = tl.load(starts + column), tl.load(starts + column + 1)
    total = tl.zeros([ENTRIES, ROWS], tl.float64)
    for begin in range(first, last, ENTRIES):
        entry = begin + tl.arange(0, ENTRIES)
        some = entry < last
        slot = tl.load(slots + entry, mask=some, other=0).to(tl.int64)
        coefficient = tl.load(coefficients + entry, mask=some, other=0.0)
        at = slot[:, None] * rows + row[None, :]
        given = tl.load(gradients + at, mask=some[:, None] & exists[None, :], other=0.0)
        total += coefficient[:, None] * given
    found = tl.sum(total, 0)
    if column < inputs:
        tl.store(gx + row * inputs + column, found, mask=exists)
    elif SHARED:
        tl.store(gw + block * weights + (column - inputs), tl.sum(found, 0))
    else:
        tl.store(gw + row * weights + (column - inputs), found, mask=exists)
