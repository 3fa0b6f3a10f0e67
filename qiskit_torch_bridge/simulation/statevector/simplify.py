# SPDX-License-Identifier: Apache-2.0
"""Leaving out rotations that no expectation value depends on."""

from __future__ import annotations

from collections.abc import Sequence

from ...arrays import IntArray
from ...program.operators import PauliSpan
from .operations import FixedMatrix, Preparation, Rotation


def effective(
    operations: Sequence[Rotation | FixedMatrix],
    preparations: Sequence[Preparation],
    masks: IntArray,
    num_bits: int,
) -> list[Rotation | FixedMatrix]:
    r"""Return the operations without those that have no effect on some expectation values.

    A rotation that commutes with all observables and with everything after it cancels from
    :math:`U^\dagger O U`. One that is diagonal and commutes with everything before it gives the
    initial state a phase.

    Args:
        operations: The tape.
        preparations: What its initial state holds beside zeros.
        masks: The masks ``x`` and ``z`` of all terms of the observables, shape ``(K, 2)``.
        num_bits: The qubits that are simulated.
    """
    later = PauliSpan(num_bits)
    for x, z in masks.tolist():
        later.add(x, z)
        if later.is_full:
            break
    kept: list[Rotation | FixedMatrix] = []
    for position in range(len(operations) - 1, -1, -1):
        operation = operations[position]
        if isinstance(operation, FixedMatrix):
            kept = [*operations[: position + 1], *reversed(kept)]
            break
        x, z, _ = operation.pauli
        if later.is_full:
            if x or z:
                kept.append(operation)
        elif not later.commutes(x, z):
            kept.append(operation)
            later.add(x, z)
    else:
        kept.reverse()
    prepared = sum(1 << b for p in preparations for b in p.bits)
    earlier = PauliSpan(num_bits)
    result: list[Rotation | FixedMatrix] = []
    for position, operation in enumerate(kept):
        if isinstance(operation, FixedMatrix) or earlier.is_full:
            result += kept[position:]
            break
        x, z, _ = operation.pauli
        if not x and not z & prepared and earlier.commutes(x, z):
            continue
        result.append(operation)
        earlier.add(x, z)
    return result
