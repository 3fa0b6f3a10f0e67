# SPDX-License-Identifier: Apache-2.0
r"""In which basis a tape's rotations are cheapest.

A state that starts in zeros may as well start in any other product of eigenstates of X, Y and Z.
With single-qubit Clifford gates :math:`V`, :math:`U|0\rangle = U V^\dagger\,(V|0\rangle)`: what
acts on the product :math:`V|0\rangle` are the same rotations with the axes of each qubit exchanged.
QAOA begins with :math:`H^{\otimes n}` and goes on with rotations about :math:`Z_i Z_j`. In the
frame that has absorbed these H, the many rotations are about :math:`X_i X_j` and the few of the
mixer about :math:`Z_i`; with the axes X and Z exchanged, it is the many that are diagonal.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ...arrays import IntArray
from .compile_tape import Tape
from .operations import Angle, FixedMatrix, Rotation
from .paulis import CliffordFrame, make_pauli_string

DIAGONAL_COST = 0.2
"""What a diagonal rotation costs, compared with another one."""
TURNED_COST = 0.1
"""What starting in another eigenstate costs for each bit, compared with a rotation."""
WORTHWHILE = 0.9
"""The share of the cost below which other axes are taken."""


_TURNS_TO_Z = {"X": ("Y", 3), "Y": ("X", 1)}
"""About which letter to turn an axis to Z, and by how many quarters."""


def turn_axes(tape: Tape, masks: IntArray) -> tuple[Tape, CliffordFrame | None]:
    """Return the tape with the axes of :func:`find_axes`.

    Args:
        tape: Reduced to what is read of it.
        masks: As there.

    Returns:
        The tape, which begins with turning its bits; and the frame by which strings that are read
        are to be conjugated. ``None`` if the tape is the same as before.
    """
    axes = find_axes(tape, masks)
    if axes is None:
        return tape, None
    frame = CliffordFrame(tape.num_bits)
    opening: list[Rotation | FixedMatrix] = []
    for bit, axis in enumerate(axes):
        if axis != "Z":
            letter, turns = _TURNS_TO_Z[axis]
            about = make_pauli_string(letter, [bit])
            opening.append(Rotation(about, Angle(offset=turns * math.pi / 2)))
            frame.append_rotation(about, -turns)
    turned = [o._replace(pauli=frame.conjugate(o.pauli)) for o in tape.rotations]
    return dataclasses.replace(tape, operations=(*opening, *turned)), frame


def find_axes(tape: Tape, masks: IntArray) -> str | None:
    """Return which axis of each bit to make Z at the start; ``None`` if all are to stay.

    Args:
        tape: One that starts with these axes as they are.
        masks: The masks ``x`` and ``z`` of strings that are read of its state, shape ``(K, 2)``.
            Those that share the mask ``x`` are read together.
    """
    n = tape.num_bits
    if n > 62 or tape.preparations or any(isinstance(o, FixedMatrix) for o in tape.operations):
        return None
    strings = np.array([o.pauli[:2] for o in tape.rotations], dtype=np.int64).reshape(-1, 2)
    if not strings.size:
        return None
    count = len(strings)
    x, z = np.concatenate([strings, masks.astype(np.int64)]).T

    def cost(new_x: IntArray, turned: int) -> float:
        rotations, read = new_x[:count], new_x[count:]
        displacing = np.count_nonzero(rotations)
        groups = len(set(read.tolist()) - {0})
        diagonal = DIAGONAL_COST * (count - displacing)
        return displacing + diagonal + groups + TURNED_COST * turned

    everything = (1 << n) - 1
    first = cost(x, 0)
    uniform = {"Z": x, "X": z, "Y": x ^ z}
    costs = {axis: cost(new_x, n * (axis != "Z")) for axis, new_x in uniform.items()}
    best = min(costs, key=costs.__getitem__)
    axes, found, least = [best] * n, uniform[best], costs[best]
    for bit in range(n):
        mask = 1 << bit
        for axis, other in uniform.items():
            changed = (found & (everything ^ mask)) | (other & mask)
            turned = sum(a != "Z" for b, a in enumerate(axes) if b != bit) + (axis != "Z")
            now = cost(changed, turned)
            if now < least:
                axes[bit], found, least = axis, changed, now
    return "".join(axes) if least < WORTHWHILE * first else None
