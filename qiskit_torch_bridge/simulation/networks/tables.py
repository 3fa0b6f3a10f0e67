# SPDX-License-Identifier: Apache-2.0
r"""The tensors of networks that depend on angles, each once, and the angles that they depend on.

A **phase** is :math:`e^{-ia/2}` of an angle :math:`a`. A **segment** is a product of one-qubit
gates, :math:`C_K D(a_K) C_{K-1} \cdots D(a_1) C_0`, with fixed matrices :math:`C_k` and
:math:`D(a) = \mathrm{diag}(e^{-ia/2}, e^{ia/2})`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...arrays import ComplexArray
from ..kernels.tables import Sources

ROUNDING = 1e-15


class AngleForm(NamedTuple):
    """An affine angle: an offset, and coefficients of columns of ``x'`` followed by ``w'``."""

    offset: float
    terms: tuple[tuple[int, float], ...]


class Constants:
    """Fixed matrices, each once: equal ones have one number."""

    def __init__(self) -> None:
        self.matrices: list[ComplexArray] = []
        self._numbers: dict[bytes, int] = {}

    def number(self, matrix: ComplexArray) -> int:
        """Return the number of a matrix or tensor."""
        key = np.ascontiguousarray(matrix + 0.0).tobytes()  # no negative zeros
        found = self._numbers.get(key)
        if found is None:
            found = self._numbers[key] = len(self.matrices)
            self.matrices.append(np.array(matrix, dtype=complex))
        return found


class Segment(NamedTuple):
    """A product of one-qubit gates: numbers of ``K + 1`` fixed matrices and of ``K`` phases."""

    constants: tuple[int, ...]
    phases: tuple[int, ...]


class Tables:
    """What the networks of one circuit refer to by number.

    Args:
        sources: The angles of the tape's rotations.
        num_inputs: How many columns ``x'`` has: what depends on one of them differs between rows.
    """

    def __init__(self, sources: Sources, num_inputs: int) -> None:
        self.num_inputs = num_inputs
        self.constants = Constants()
        self.forms: list[AngleForm] = []
        self.segments: list[Segment] = []
        self._form_numbers: dict[AngleForm, int] = {}
        self._segment_numbers: dict[Segment, int] = {}
        self._slots = _forms_of(sources)

    def form_of_slot(self, slot: int) -> AngleForm:
        """Return the angle of a rotation."""
        return self._slots[slot]

    def phase(self, form: AngleForm, sign: int = 1) -> int:
        """Return the number of the phase of an angle, or of its negative."""
        if sign < 0:
            form = AngleForm(-form.offset, tuple((c, -f) for c, f in form.terms))
        found = self._form_numbers.get(form)
        if found is None:
            found = self._form_numbers[form] = len(self.forms)
            self.forms.append(form)
        return found

    def segment(self, constants: Sequence[int], phases: Sequence[int]) -> int:
        """Return the number of a segment."""
        segment = Segment(tuple(constants), tuple(phases))
        found = self._segment_numbers.get(segment)
        if found is None:
            found = self._segment_numbers[segment] = len(self.segments)
            self.segments.append(segment)
        return found

    def is_by_row(self, phase: int) -> bool:
        """Whether a phase depends on inputs, and so differs between rows."""
        return any(column < self.num_inputs for column, _ in self.forms[phase].terms)


def _forms_of(sources: Sources) -> list[AngleForm]:
    starts, columns = sources.starts.tolist(), sources.columns.tolist()
    coefficients, offsets = sources.coefficients.tolist(), sources.offsets.tolist()
    return [
        AngleForm(
            offset,
            tuple(sorted(zip(columns[start:stop], coefficients[start:stop], strict=True))),
        )
        for offset, start, stop in zip(offsets, starts[:-1], starts[1:], strict=True)
    ]
