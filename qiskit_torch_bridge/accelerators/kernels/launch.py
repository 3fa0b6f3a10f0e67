# SPDX-License-Identifier: Apache-2.0
r"""Sweeps over states on a device: all rotations of a tape, with derivatives, and undone again.

A state is a real tensor ``(2, B, 2**n)``, contiguous: real parts and imaginary parts. All functions
work in place, on torch's current stream, and wait for nothing. The cosines and sines are those of
half of each rotation's angle, ``(slots, B)`` in the state's precision and contiguous, without any
signs; rotations are numbered by slots in the order of the tape.
"""

from __future__ import annotations

from typing import Any

import torch
import triton.language as tl
from torch import Tensor

from .plan import COSET_BITS, Launch, Matrix, Mode, RunTables, Sweep
from .runs import sweep as _kernel

MATRIX_ROWS = 1 << 22
"""Vectors that a fixed matrix multiplies at a time: it needs room for them in double precision."""

_WHOLE = {torch.float32: tl.int32, torch.float64: tl.int64}


def apply(
    state: Tensor,  # (2, B, 2**n)
    cosines: Tensor,  # (slots, B)
    sines: Tensor,
    tables: RunTables,
    inverse: bool = False,
    from_zero: bool = False,
) -> None:
    """Apply the whole tape to states, or undo it.

    Args:
        state: What it is applied to.
        cosines: Of half of each angle.
        sines: Alike.
        tables: The tape.
        inverse: Whether to undo it.
        from_zero: Whether to begin with the basis state 0, whatever the tensor holds.

    Cost:
        One launch for states of up to 12 bits, or 11 in double precision. For longer ones a launch
        for each run, which reads and writes the state once.
    """
    vectors = state, state, state, state
    _sweep(Mode.KET, vectors, (cosines, sines, sines), tables, inverse, from_zero)


def apply_tangent(
    state: Tensor,  # (2, B, 2**n)
    tangent: Tensor,
    cosines: Tensor,  # (slots, B)
    sines: Tensor,
    half_tangents: Tensor,
    tables: RunTables,
    from_zero: bool = False,
) -> None:
    """Apply the whole tape to states, and its derivative to their tangents.

    Args:
        state: What it is applied to.
        tangent: The derivative of that.
        cosines: Of half of each angle.
        sines: Alike.
        half_tangents: Half of each angle's derivative.
        tables: The tape.
        from_zero: Whether to begin with the basis state 0 and no tangent, whatever the tensors
            hold.
    """
    vectors = state, tangent, state, state
    _sweep(Mode.TANGENT, vectors, (cosines, sines, half_tangents), tables, False, from_zero)


def adjoint(
    ket: Tensor,  # (2, B, 2**n)
    bra: Tensor,
    cosines: Tensor,  # (slots, B)
    sines: Tensor,
    tables: RunTables,
    in_full: bool = False,
) -> Tensor:
    r"""Undo the tape on ket and bra, and return derivatives by slot, ``(slots, B)`` in float64.

    With :math:`|\lambda\rangle` for the bra that is given and :math:`|\psi\rangle` for the ket,
    they are :math:`2\,\mathrm{Re}\langle\lambda|\partial_a\psi\rangle
    = \mathrm{Im}\langle\lambda_a|P_a|\psi_a\rangle`, with respect to each rotation's angle. Those
    that are not wanted are zero. They are the same to the last bit whenever they are computed.

    Args:
        ket: The final states; the initial ones afterwards, if ``in_full``.
        bra: What the derivatives are taken with; undone as well.
        cosines: Of half of each angle.
        sines: Alike.
        tables: The tape, and which derivatives are wanted.
        in_full: Whether all of the tape is to be undone, instead of what comes after the first
            rotation whose derivative is wanted.
    """
    vectors = ket, ket, bra, bra
    return _undo(Mode.ADJOINT, vectors, (cosines, sines, sines), tables, in_full)


def adjoint_tangent(
    ket: Tensor,  # (2, B, 2**n)
    ket_tangent: Tensor,
    bra: Tensor,
    bra_tangent: Tensor,
    cosines: Tensor,  # (slots, B)
    sines: Tensor,
    half_tangents: Tensor,
    tables: RunTables,
    in_full: bool = False,
) -> Tensor:
    """Undo the tape on all vectors, and return the derivative of what :func:`adjoint` returns.

    Args:
        ket: The final states.
        ket_tangent: Their derivative.
        bra: What derivatives are taken with.
        bra_tangent: Its derivative.
        cosines: Of half of each angle.
        sines: Alike.
        half_tangents: Half of each angle's derivative.
        tables: The tape, and which derivatives are wanted.
        in_full: See :func:`adjoint`.
    """
    vectors = ket, ket_tangent, bra, bra_tangent
    angles = cosines, sines, half_tangents
    return _undo(Mode.TANGENT_ADJOINT, vectors, angles, tables, in_full)


_Vectors = tuple[Tensor, Tensor, Tensor, Tensor]
_Angles = tuple[Tensor, Tensor, Tensor]


def _sweep(
    mode: Mode,
    vectors: _Vectors,
    angles: _Angles,
    tables: RunTables,
    inverse: bool,
    from_zero: bool,
) -> None:
    """Apply the tape to ket and tangent, or undo it."""
    sweep = tables.sweep(mode)
    moved = vectors[:2] if mode.has_tangents else vectors[:1]
    if from_zero and not (sweep.steps and isinstance(sweep.steps[0], Launch)):
        for vector in moved:
            vector.zero_()
        vectors[0][0, :, 0] = 1
        from_zero = False
    for step in reversed(sweep.steps) if inverse else sweep.steps:
        if isinstance(step, Matrix):
            for vector in moved:
                multiply(vector, step, inverse)
        else:
            _launch(mode, vectors, angles, vectors[0], tables, sweep, step, inverse, from_zero, 0)
        from_zero = False


def _undo(
    mode: Mode, vectors: _Vectors, angles: _Angles, tables: RunTables, in_full: bool
) -> Tensor:
    """Undo the tape on ket and bra, and tangents of both, and return the derivatives."""
    sweep, ket = tables.sweep(mode), vectors[0]
    rows = ket.shape[1]
    moved = vectors if mode.has_tangents else vectors[::2]
    derivatives = torch.zeros(tables.slots, rows, dtype=torch.float64, device=ket.device)
    warps = 1 << (sweep.block.threads - sweep.block.lanes)
    first = 0 if in_full else sweep.first
    ends = [step.last for step in sweep.steps if isinstance(step, Launch)]
    for step in reversed(sweep.steps):
        if not in_full and not any(end > first for end in ends):
            break
        if isinstance(step, Matrix):
            for vector in moved:
                multiply(vector, step, True)
            continue
        ends.pop()
        parts = warps << step.log_cosets
        if parts == 1:
            _launch(mode, vectors, angles, derivatives, tables, sweep, step, True, False, first)
            continue
        places = len(step.slots) if step.log_cosets else tables.slots
        partial = derivatives.new_zeros(places, rows, parts)
        _launch(mode, vectors, angles, partial, tables, sweep, step, True, False, first)
        if step.log_cosets:
            derivatives.index_copy_(0, step.slots, partial.sum(2))
        else:
            derivatives += partial.sum(2)
    return derivatives


def _launch(
    mode: Mode,
    vectors: _Vectors,
    angles: _Angles,
    derivatives: Tensor,
    tables: RunTables,
    sweep: Sweep,
    step: Launch,
    inverse: bool,
    from_zero: bool,
    first: int,
) -> None:
    """Apply the rotations of one launch, or undo them down to the first that is to be undone."""
    block, ket = sweep.block, vectors[0]
    rows, begin = ket.shape[1], max(step.first, first)
    programs = -(-rows // block.rows) << step.log_cosets
    kernel: Any = _kernel
    with torch.cuda.device_of(ket):
        kernel[programs,](
            *vectors,
            *angles,
            derivatives,
            sweep.records,
            step.places,
            step.last - 1 if inverse else begin,
            step.last - begin,
            -1 if inverse else 1,
            tables.num_bits,
            rows,
            block.threads,
            step.log_cosets,
            min(step.log_cosets, COSET_BITS),
            1 << (block.threads - block.lanes + step.log_cosets),
            int(from_zero),
            bits=block.registers + 1,
            group_bits=block.groups,
            lane_bits=block.lanes,
            crosses=block.threads > block.lanes,
            has_bra=mode.has_bra,
            has_tangents=mode.has_tangents,
            whole=_WHOLE[ket.dtype],
            num_warps=1 << block.warps,
            enable_fp_fusion=True,
        )


def multiply(vector: Tensor, step: Matrix, adjoint: bool) -> None:
    """Apply a fixed matrix, or its adjoint, to states in place.

    It is computed in double precision: products in single precision may be rounded to fewer digits
    by a user's settings.
    """
    _, rows, size = vector.shape
    bits, dimension = size.bit_length() - 1, len(step.bits)
    real, imaginary = step.matrix
    if adjoint:
        real, imaginary = real.T, -imaginary.T
    both = torch.cat([torch.cat([real, -imaginary], 1), torch.cat([imaginary, real], 1)]).T
    axes = [2 + bits - 1 - bit for bit in step.bits[::-1]]
    others = [axis for axis in range(1, 2 + bits) if axis not in axes]
    cut = vector.view(2, rows, *[2] * bits).permute(*others, 0, *axes)
    # One bit of the index at a time, until what is multiplied at a time is small enough.
    parts = [cut]
    while parts[0].numel() > MATRIX_ROWS << (dimension + 1) and parts[0].dim() > dimension + 2:
        parts = [part for whole in parts for part in whole.unbind(0)]
    for part in parts:
        flat = part.reshape(-1, 2 << dimension).to(torch.float64)
        part.copy_((flat @ both).reshape(part.shape))
