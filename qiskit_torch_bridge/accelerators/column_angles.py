# SPDX-License-Identifier: Apache-2.0
"""From inputs and weights to half of the angle of every factor of every column."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..arrays import IntArray
from ..simulation.columns import ColumnPlan
from ..simulation.tape.sources import compile_sources
from .sparse_maps import SparseMap


class ColumnAngles:
    """The map from values to halves of angles: affine, of values and of functions of them.

    Args:
        plan: The circuit.
        slots: The slot of each angle, or -1 for zero, shape ``(F,)``.
        device: Where values are.
    """

    def __init__(self, plan: ColumnPlan, slots: IntArray, device: torch.device) -> None:
        angle_map, inputs, weights = plan.tape.angle_map, plan.inputs, plan.weights
        sources = compile_sources(plan.network.rotations, angle_map, plan.columns, inputs, weights)
        num_values = 1 + len(inputs) + len(weights)  # after a one
        place_of = {p: 1 + k for k, p in enumerate([*inputs, *weights])}
        self._module = _Constants(device)
        self._families: list[tuple[Any, list[SparseMap]]] = []
        function_at: dict[int, int] = {}
        for family in angle_map.families():
            takes = [
                self._map(np.arange(len(c)), [place_of[p] for p in c.tolist()], None,
                          (len(c), num_values), device)
                for c in family.columns
            ]  # fmt: skip
            for a in family.angles.tolist():
                function_at[a] = num_values + len(function_at)
            self._families.append((family.evaluators.value, takes))
        places = {k: 1 + k for k in range(len(inputs))}
        first = plan.columns.num_inputs
        places |= {first + k: 1 + len(inputs) + k for k in range(len(weights))}
        places |= {place: function_at[a] for a, place in plan.columns.of_angle.items()}
        rows, columns, numbers = [], [], []
        for f, slot in enumerate(slots.tolist()):
            if slot < 0:
                continue
            rows.append(f)
            columns.append(0)
            numbers.append(sources.offsets[slot] / 2)
            for e in range(sources.starts[slot], sources.starts[slot + 1]):
                rows.append(f)
                columns.append(places[int(sources.columns[e])])
                numbers.append(sources.coefficients[e] / 2)
        self._halves = self._map(
            rows, columns, numbers, (len(slots), num_values + len(function_at)), device
        )

    def __call__(self, x: Tensor, w: Tensor) -> Tensor:
        """Return halves of angles ``(B, F)`` at inputs ``(B, I)`` and weights ``(1 or B, W)``."""
        rows = len(x)
        values = torch.cat([x.new_ones(rows, 1), x, w.expand(rows, -1)], 1)
        found = [values]
        for function, takes in self._families:
            of_family = function([take(values) for take in takes], self._module)
            found.append(of_family.expand(rows, -1))
        return self._halves(torch.cat(found, 1))

    @staticmethod
    def _map(
        rows: Any, columns: Any, numbers: Any, shape: tuple[int, int], device: torch.device
    ) -> SparseMap:
        return SparseMap(rows, columns, numbers, shape, torch.float64, device)


class _Constants:
    """The functions of torch, with constants on a device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._known: dict[int, tuple[Any, Tensor]] = {}

    def asarray(self, array: Any) -> Tensor:
        """Return an array as a tensor, the same one each time."""
        known = self._known.get(id(array))
        if known is None:
            known = array, torch.tensor(array, device=self._device)
            self._known[id(array)] = known
        return known[1]

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)
