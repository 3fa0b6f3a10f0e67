# SPDX-License-Identifier: Apache-2.0
"""From inputs and weights to the angles of a tape's rotations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ...program.angle_map import AngleMap
from ..expressions import ExpressionColumns
from ..kernels.tables import Sources
from .operations import Angle, FixedMatrix, Rotation


def compile_sources(
    operations: Iterable[Rotation | FixedMatrix],
    angle_map: AngleMap,
    columns: ExpressionColumns,
    inputs: Sequence[int],
    weights: Sequence[int],
) -> Sources:
    """Return where the angle of each rotation, in turn, comes from.

    Args:
        operations: A tape's; matrices have no angle, and no slot.
        angle_map: The tape's, from values to the angles that rotations refer to.
        columns: What the non-affine expressions add to inputs and weights.
        inputs: The columns of the values that ``x`` holds.
        weights: Those that ``w`` holds.
    """
    angles = [o.angle for o in operations if isinstance(o, Rotation)]
    return compile_angles(angles, angle_map, columns, inputs, weights)


def compile_angles(
    angles: Iterable[Angle],
    angle_map: AngleMap,
    columns: ExpressionColumns,
    inputs: Sequence[int],
    weights: Sequence[int],
) -> Sources:
    """Return where angles, or other numbers of a tape, come from: see :func:`compile_sources`."""
    places = {column: i for i, column in enumerate(inputs)}
    places |= {column: columns.num_inputs + i for i, column in enumerate(weights)}
    entries = {a: [(place, 1.0)] for a, place in columns.of_angle.items()}
    affine = angle_map.rows.tolist(), angle_map.columns.tolist(), angle_map.coefficients.tolist()
    for a, p, c in zip(*affine, strict=True):
        entries.setdefault(a, []).append((places[p], c))
    starts: list[int] = [0]
    read: list[int] = []
    coefficients: list[float] = []
    offsets: list[float] = []
    for angle in angles:
        total, scales = angle.offset, dict[int, float]()
        for source, scale in angle.terms:
            total += scale * angle_map.offset[source]
            for place, c in entries.get(source, ()):
                scales[place] = scales.get(place, 0.0) + c * scale
        read += scales.keys()
        coefficients += scales.values()
        offsets.append(total)
        starts.append(len(read))
    return Sources(
        np.array(starts, dtype=np.int64),
        np.array(read, dtype=np.int64),
        np.array(coefficients, dtype=np.float64),
        np.array(offsets, dtype=np.float64),
    )
