# SPDX-License-Identifier: Apache-2.0
r"""From inputs and weights to the angles of a tape, and back, on one device.

Angles are affine in inputs and weights once the values of all other expressions are columns of
their own, as :mod:`.simulation.expressions` has it: with :math:`x' = (x, F(x, w))` and
:math:`w' = (w, G(w))` they are

.. math:: \alpha = A x' + C w' + \alpha_0 ,

one row for each rotation of the tape, and one for each number that its preparations are made of.
All tables are on the device from the beginning. Sums have the same order each time: nothing is
added by atomic operations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..program.angle_map import AngleMap, Family
from ..simulation.expressions import ExpressionColumns
from ..simulation.statevector.readouts import CompiledReadout
from ..simulation.statevector.simulator import SMALL_PRODUCT
from ..simulation.tape.effective import take_leading
from ..simulation.tape.operations import Angle, FixedMatrix, Rotation
from ..simulation.tape.sources import compile_angles
from .interface import Pair
from .sparse_maps import SparseMap

WITHOUT_DOUBLE = ("mps",)
"""Types of devices that have no double precision."""


def values_dtype(device: torch.device) -> torch.dtype:
    """Return the precision of values, angles and what is read: double where there is any."""
    return torch.float32 if device.type in WITHOUT_DOUBLE else torch.float64


def to_device(array: Any, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Return a table of numbers as a tensor of its own."""
    return torch.tensor(np.ascontiguousarray(array), dtype=dtype, device=device)


def order_operations(
    compiled: CompiledReadout,
) -> tuple[list[Rotation], list[Rotation | FixedMatrix]]:
    """Return the rotations that prepare a product state from zeros, bit by bit, and what follows.

    There are none of the former where that is not worth it. Slots of angles are in this order.
    """
    tape = compiled.tape
    operations = [*tape.operations, *compiled.closing]
    leading, rest = take_leading(operations, tape.num_bits)
    if tape.preparations or len(leading) << tape.num_bits < SMALL_PRODUCT:
        return [], operations
    return leading, rest


class TapeAngles:
    """The map from inputs and weights to the angles of a tape, with its derivatives.

    Args:
        compiled: The tape and what is read of it.
        inputs: The columns of the circuit's parameters that ``x`` holds.
        weights: Those that ``w`` holds.
        device: Where values and angles are.

    Attributes:
        leading: The rotations that prepare a product state, bit by bit.
        rest: The rotations and matrices that follow.
        num_rotations: The number of slots that are rotations: first those of ``leading``, then
            those of ``rest``. The other slots are numbers of preparations.
        sources: Where all slots come from, on the processor; columns are those of :meth:`extend`.
        num_inputs: The number of columns of ``x'``; those of ``w'`` follow.
        num_weights: The number of columns of ``w'``.
        dtype: Of values and angles.
    """

    def __init__(
        self,
        compiled: CompiledReadout,
        inputs: Sequence[int],
        weights: Sequence[int],
        device: torch.device,
    ) -> None:
        tape = compiled.tape
        self.leading, self.rest = order_operations(compiled)
        operations = [*self.leading, *self.rest]
        angles = [o.angle for o in operations if isinstance(o, Rotation)]
        self.num_rotations = len(angles)
        angles += [number for p in tape.preparations for number in p.numbers]
        self._set_up(angles, tape.angle_map, inputs, weights, device)

    @classmethod
    def of_angles(
        cls,
        angles: Sequence[Angle],
        angle_map: AngleMap,
        inputs: Sequence[int],
        weights: Sequence[int],
        device: torch.device,
    ) -> TapeAngles:
        """Return the map to some angles of a tape, all of them rotations' of no particular order.

        Args:
            angles: Which ones, by the angles of the map.
            angle_map: The tape's.
            inputs: The columns of the circuit's parameters that ``x`` holds.
            weights: Those that ``w`` holds.
            device: Where values and angles are.
        """
        found = cls.__new__(cls)
        found.leading, found.rest, found.num_rotations = [], [], len(angles)
        found._set_up(angles, angle_map, inputs, weights, device)
        return found

    def _set_up(
        self,
        angles: Sequence[Angle],
        angle_map: AngleMap,
        inputs: Sequence[int],
        weights: Sequence[int],
        device: torch.device,
    ) -> None:
        self.dtype = values_dtype(device)
        columns = ExpressionColumns(angle_map, inputs, weights)
        self.num_inputs, self.num_weights = columns.num_inputs, columns.num_weights
        sources = compile_angles(angles, angle_map, columns, inputs, weights)
        place = {column: k for k, column in enumerate([*inputs, *weights])}
        by_row = [a for a, at in columns.of_angle.items() if at < columns.num_inputs]
        shared = [a for a, at in columns.of_angle.items() if at >= columns.num_inputs]
        self._by_row = Expressions(angle_map.restricted(by_row), place, device)
        own = {column: k for k, column in enumerate(weights)}
        self._shared = Expressions(angle_map.restricted(shared), own, device)
        renumbered = np.arange(self.num_inputs + self.num_weights)
        renumbered[len(inputs) :][: len(by_row)] = len(inputs) + self._by_row.places
        first = self.num_inputs + len(weights)
        renumbered[first:] = first + self._shared.places
        self.sources = sources._replace(columns=renumbered[sources.columns])
        self._offsets = to_device(sources.offsets, device, self.dtype)[:, None]
        rows = np.repeat(np.arange(len(angles)), np.diff(sources.starts))
        self._of_inputs, self._of_weights = (
            SparseMap(
                rows[mine],
                self.sources.columns[mine] - start,
                sources.coefficients[mine],
                (len(angles), size),
                self.dtype,
                device,
            )
            for start, size, mine in (
                (0, self.num_inputs, self.sources.columns < self.num_inputs),
                (self.num_inputs, self.num_weights, self.sources.columns >= self.num_inputs),
            )
        )

    def __call__(self, x: Tensor, w: Tensor) -> Tensor:
        """Return all angles, ``(slots, B)``: differentiable to any order."""
        x, w = self.extend(x, w)
        return self._affine(x, w) + self._offsets

    def extend(self, x: Tensor, w: Tensor) -> Pair:
        """Return ``x'`` and ``w'``."""
        further_x, further_w = x, w
        if self._by_row.count:
            further_x = torch.cat([x, self._by_row(self._both(x, w))], -1)
        if self._shared.count:
            further_w = torch.cat([w, self._shared(w)], -1)
        return further_x, further_w

    def extend_tangents(self, x: Tensor, w: Tensor, dx: Tensor, dw: Tensor) -> Pair:
        """Return the tangents of ``x'`` and ``w'``; what does not move needs no derivative."""
        further_x, further_w = dx, dw
        if self._by_row.count:
            moved = self._by_row.tangents(self._both(x, w), self._both(dx, dw))
            further_x = torch.cat([dx, moved], -1)
        if self._shared.count:
            further_w = torch.cat([dw, self._shared.tangents(w, dw)], -1)
        return further_x, further_w

    def tangents(self, x: Tensor, w: Tensor, dx: Tensor, dw: Tensor) -> Tensor:
        """Return the tangents of all angles, ``(slots, B)``."""
        return self._affine(*self.extend_tangents(x, w, dx, dw))

    def pull_back(self, x: Tensor, w: Tensor, gradient: Tensor, wanted: tuple[bool, bool]) -> Pair:
        """Return the gradients with respect to ``x`` and ``w``, in their shapes.

        Args:
            x: Shape ``(B, I)``.
            w: Shape ``(1, W)`` or ``(B, W)``.
            gradient: With respect to all angles, ``(slots, B)``.
            wanted: Whether the gradients with respect to ``x`` and to ``w`` are needed. The others
                are zero.
        """
        return self.pull_back_columns(x, w, self._to_columns(gradient, len(w)), wanted)

    def pull_back_columns(
        self, x: Tensor, w: Tensor, gradients: Pair, wanted: tuple[bool, bool]
    ) -> Pair:
        """Map gradients with respect to ``x'`` and ``w'`` to those with respect to ``x`` and ``w``.

        What is not wanted is zero.
        """
        gx, gw, by_row, shared = self._split(x, w, gradients)
        if self._by_row.count:
            found = self._by_row.pull_back(self._both(x, w), by_row)
            gx, gw = _add(gx, gw, found)
        if self._shared.count:
            gw = gw + self._shared.pull_back(w, shared)
        return _only(gx, gw, wanted)

    def pull_back_tangent(
        self,
        x: Tensor,
        w: Tensor,
        gradient: Tensor,
        dx: Tensor,
        dw: Tensor,
        dgradient: Tensor,
        wanted: tuple[bool, bool],
    ) -> Pair:
        """Return the derivatives of :meth:`pull_back` along ``dx``, ``dw`` and ``dgradient``."""
        gradients, dgradients = (self._to_columns(g, len(w)) for g in (gradient, dgradient))
        hx, hw = self.pull_back_columns(x, w, dgradients, wanted)
        if self._by_row.count or self._shared.count:
            _, _, by_row, shared = self._split(x, w, gradients)
            if self._by_row.count:
                moved = self._both(dx, dw)
                found = self._by_row.pull_back_tangent(self._both(x, w), by_row, moved)
                hx, hw = _add(hx, hw, found)
            if self._shared.count:
                hw = hw + self._shared.pull_back_tangent(w, shared, dw)
        return _only(hx, hw, wanted)

    def _affine(self, x: Tensor, w: Tensor) -> Tensor:
        """The linear part of the angles, ``(slots, B)``."""
        return (self._of_inputs(x) + self._of_weights(w)).transpose(-1, -2)

    def _to_columns(self, gradient: Tensor, rows: int) -> Pair:
        """Gradients with respect to ``x'`` and to ``w'`` of so many rows."""
        summed = gradient.sum(-1, keepdim=True) if rows == 1 else gradient
        return (
            self._of_inputs.transposed(gradient.transpose(-1, -2)),
            self._of_weights.transposed(summed.transpose(-1, -2)),
        )

    def _split(
        self, x: Tensor, w: Tensor, gradients: Pair
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Split into those of inputs and weights, and of the expressions beside either."""
        gx, gw = gradients
        num_x, num_w = x.shape[-1], w.shape[-1]
        return gx[:, :num_x], gw[:, :num_w], gx[:, num_x:], gw[:, num_w:]

    @staticmethod
    def _both(x: Tensor, w: Tensor) -> Tensor:
        """Inputs and weights of each row, ``(B, I + W)``."""
        return torch.cat([x, w.expand(len(x), w.shape[-1])], -1)


def _add(gx: Tensor, gw: Tensor, found: Tensor) -> Pair:
    """Add what ``found`` ``(B, I + W)`` holds for inputs and then weights."""
    by_weights = found[:, gx.shape[-1] :]
    if len(gw) == 1:
        by_weights = by_weights.sum(0, keepdim=True)
    return gx + found[:, : gx.shape[-1]], gw + by_weights


def _only(gx: Tensor, gw: Tensor, wanted: tuple[bool, bool]) -> Pair:
    """Return gradients with zeros for what is not wanted."""
    return gx if wanted[0] else torch.zeros_like(gx), gw if wanted[1] else torch.zeros_like(gw)


class _Functions:
    """The functions of torch, with numbers in place of constants: they are on every device."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    @staticmethod
    def asarray(constant: Any) -> Any:
        """Return the number that a constant of a formula is."""
        return constant.item()


_FUNCTIONS = _Functions()


class Expressions:
    """Non-affine expressions of columns of values, ``(B, N)`` to ``(B, F)``.

    Args:
        angle_map: The expressions, none of which is affine.
        place_of: The place in the ``N`` columns of each parameter.
        device: Where the values are.

    Attributes:
        count: The number ``F`` of expressions.
        places: Where each of them comes out: those of a family are together.
    """

    def __init__(self, angle_map: AngleMap, place_of: dict[int, int], device: torch.device) -> None:
        self._families: list[Family] = angle_map.families
        self.count = angle_map.num_angles
        order = [a for family in self._families for a in family.angles.tolist()]
        self.places = np.argsort(np.array(order, dtype=np.int64))
        read = [place_of[c] for f in self._families for c in f.columns.ravel().tolist()]
        shape = len(read), len(place_of)
        self._read = SparseMap(
            np.arange(len(read)), read, None, shape, values_dtype(device), device
        )

    def __call__(self, values: Tensor) -> Tensor:
        """Return the expressions, differentiable to any order."""
        found = [f.evaluators.value(args, _FUNCTIONS) for f, args in self._arguments(values)]
        return torch.cat(found, -1)

    def tangents(self, values: Tensor, moved: Tensor) -> Tensor:
        """Return the tangents of the expressions; what does not move needs no derivative."""
        pairs = zip(self._arguments(values), self._arguments(moved), strict=True)
        found = []
        for (family, args), (_, dargs) in pairs:
            slopes = [slope(args, _FUNCTIONS) for slope in family.evaluators.derivatives]
            found.append(_along(slopes, dargs))
        return torch.cat(found, -1)

    def pull_back(self, values: Tensor, gradient: Tensor) -> Tensor:
        """Return the gradient with respect to the columns, ``(B, N)``, of that ``(B, F)``."""
        parts = []
        for (family, args), g in self._with(gradient, values):
            parts += [g * slope(args, _FUNCTIONS) for slope in family.evaluators.derivatives]
        return self._read.transposed(torch.cat(parts, -1))

    def pull_back_tangent(self, values: Tensor, gradient: Tensor, moved: Tensor) -> Tensor:
        """Return how the derivatives in :meth:`pull_back` change it along tangents of values."""
        parts = []
        arguments = zip(self._with(gradient, values), self._arguments(moved), strict=True)
        for ((family, args), g), (_, dargs) in arguments:
            for k in range(len(args)):
                seconds = [
                    family.evaluators.second_derivatives(k, q)(args, _FUNCTIONS)
                    for q in range(len(args))
                ]
                parts.append(g * _along(seconds, dargs))
        return self._read.transposed(torch.cat(parts, -1))

    def _arguments(self, values: Tensor) -> Iterator[tuple[Family, list[Tensor]]]:
        """Yield the families with their arguments, each ``(B, F)`` of the family."""
        read, first = self._read(values), 0
        for family in self._families:
            places, count = family.columns.shape
            args = [read[:, first + k * count :][:, :count] for k in range(places)]
            first += places * count
            yield family, args

    def _with(
        self, gradient: Tensor, values: Tensor
    ) -> Iterator[tuple[tuple[Family, list[Tensor]], Tensor]]:
        """Yield the families with their arguments and their part of a gradient."""
        first = 0
        for family, args in self._arguments(values):
            count = len(family.angles)
            yield (family, args), gradient[:, first : first + count]
            first += count


def _along(slopes: list[Any], moved: list[Tensor]) -> Tensor:
    """Return the derivative along what moves; what does not, may have no derivative."""
    total = torch.zeros_like(moved[0])
    for slope, d in zip(slopes, moved, strict=True):
        total = total + torch.where(d != 0, slope * d, 0.0)
    return total
