# SPDX-License-Identifier: Apache-2.0
"""A tape with as few operations and bits as what is read of its state allows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from ...arrays import IntArray
from .compile_tape import Tape
from .compress import find_compression
from .effective import act_on_zeros, drop_ineffective, merge_rotations
from .operations import FixedMatrix, Rotation

WIDEST = 62
"""Bits up to which masks are numbers of arrays."""


def reduce_tape(tape: Tape, masks: IntArray | None, further: Iterable[int] = ()) -> Tape:
    """Return a tape of which the same is read, on the basis states that it reaches.

    Operations without effect are left out, strings become shorter where they act on zeros,
    rotations about one string become one, and basis states are numbered anew if some are not
    reached: see :func:`.drop_ineffective`, :func:`.act_on_zeros`, :func:`.merge_rotations` and
    :func:`.find_compression`.

    Args:
        tape: As it has been compiled.
        masks: The masks ``x`` and ``z`` of strings, shape ``(K, 2)``, on which alone depends what
            is read; phases do not count then. ``None`` if amplitudes are read, or imaginary parts.
        further: Masks ``x`` of strings that are to be applied to the state, too.
    """
    operations: Sequence[Rotation | FixedMatrix] = tape.operations
    if masks is not None:
        operations = drop_ineffective(operations, tape.preparations, masks, tape.num_bits)
    operations = act_on_zeros(operations, tape.preparations, tape.num_bits)
    compression = find_compression(operations, tape.preparations, further)
    if compression.num_bits < tape.num_bits:
        operations = compression.operations(operations)
        tape = dataclasses.replace(
            tape,
            preparations=compression.preparations(tape.preparations),
            compression=compression,
        )
    if masks is not None:
        operations = [o for o in operations if isinstance(o, FixedMatrix) or any(o.pauli[:2])]
    operations = merge_rotations(operations, up_to_phase=masks is not None)
    return dataclasses.replace(tape, operations=tuple(operations))
