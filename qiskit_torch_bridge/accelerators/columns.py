# SPDX-License-Identifier: Apache-2.0
"""Values and derivatives of wide circuits from column networks, in torch operations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..exceptions import MeasurementError
from ..program import AnalysedCircuit
from ..program.readouts import Readout
from ..simulation.choice import COLUMNS, choose
from ..simulation.columns import ColumnPlan
from ..simulation.interface import NO_STATES
from ..simulation.pauli_outcomes import OutcomesPlan
from . import device_memory
from .column_strings import StringReader
from .column_sweeps import choose_chunks, sweep
from .column_tensors import ColumnTensors
from .interface import Pair, TensorSimulator, keep_precision
from .outcomes import OutcomesOf
from .sparse_maps import to_device
from .tapes import TapeAngles, values_dtype

COPIES = 12
"""Tensors as large as all columns that are there at a time, for values and a gradient."""


class TensorColumns(TensorSimulator):
    r"""Expectation values of one circuit from its columns, differentiable by torch to any order.

    What it is made of is as :class:`.ColumnPlan` takes it. All columns are made at once, and their
    environments in a number of operations that grows as the root of that of the qubits; see
    :func:`.sweep`. Nothing is truncated.

    Args:
        analysed: The circuit.
        readout: Expectation values, or outcomes of up to twelve qubits, or of any for their parity.
        inputs: The columns of the circuit's parameters that ``x`` holds.
        weights: The columns that ``w`` holds.
        dtype: ``torch.complex128`` or ``torch.complex64``.
        device: Where everything is.

    Raises:
        CircuitError: If the circuit cannot be simulated exactly.
        MeasurementError: If amplitudes are read, or outcomes of too many qubits.
        MemoryLimitError: If the columns do not fit into the device's memory.

    Cost:
        With the largest bond dimension ``D``, memory :math:`O(n D^2)` for each row, and
        :math:`O(n D^3)` operations; where that is little, ``D**2`` times as much of both.
    """

    order = math.inf
    kernels = "torch"
    method = COLUMNS

    def __init__(
        self,
        analysed: AnalysedCircuit,
        readout: Readout | None,
        inputs: Sequence[int],
        weights: Sequence[int],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.device, self.dtype = device, dtype
        name = "complex64" if dtype == torch.complex64 else "complex128"
        plan = choose(COLUMNS, analysed, readout, inputs, weights, name).plan
        self._outcomes: OutcomesOf | None = None
        if isinstance(plan, OutcomesPlan):
            self._outcomes = OutcomesOf(plan.readout, self.device)
            plan = plan.inner
        assert isinstance(plan, ColumnPlan)
        self.plan = plan
        self._bond, self._sites = max(plan.bonds), plan.network.num_sites
        self._constants = to_device(plan.strings.constants, self.device, values_dtype(self.device))
        self._has_strings = plan.strings.coefficients.nnz > 0
        self.size = plan.strings.constants.size if self._outcomes is None else self._outcomes.size
        if not self._has_strings:
            return
        self._require(1)
        self._tensors = ColumnTensors(plan.network, dtype, self.device)
        self._angles = TapeAngles.of_angles(
            [rotation.angle for rotation in plan.network.rotations],
            plan.tape.angle_map,
            inputs,
            weights,
            self.device,
        )
        self._reader = StringReader(plan.strings, plan.automaton, dtype, self.device)

    def count_bytes(self, rows: int) -> int:
        """Return about how many bytes values and a gradient take."""
        itemsize = 8 if self.dtype == torch.complex64 else 16
        edges = self.plan.automaton.num_edges
        bond, sites = self._bond, self._sites
        numbers = 2 * bond**2 * (COPIES * sites + 4 * edges)
        if self._chunks(rows) > 1:
            numbers += 6 * sites * bond**4
        return itemsize * rows * numbers

    def evaluate(self, x: Tensor, w: Tensor, keep: bool = False) -> tuple[Tensor, Any]:
        """Return what is read, ``(B, S)``: see :meth:`.TensorSimulator.evaluate`."""
        if not keep:
            return self._evaluate(x, w), None
        with torch.enable_grad():
            leaves = _leaves(x, w, (True, True))
            values = self._evaluate(*leaves)
        return values.detach(), [(leaves, values)]

    def vjp(
        self,
        x: Tensor,
        w: Tensor,
        cotangent: Tensor,
        kept: Any = None,
        wanted: tuple[bool, bool] = (True, True),
    ) -> Pair:
        """Return the gradients: see :meth:`.TensorSimulator.vjp`."""
        with torch.enable_grad():
            if kept:
                leaves, values = kept.pop()  # a graph serves once
            else:
                leaves = _leaves(x, w, wanted)
                values = self._evaluate(*leaves)
            return _gradients(values, leaves, wanted, cotangent)

    def tangent(self, x: Tensor, w: Tensor, dx: Tensor, dw: Tensor) -> Tensor:
        """Return the derivatives ``(B, S)`` along ``dx`` and ``dw``."""
        with torch.enable_grad():
            leaves = _leaves(x, w, (True, True))
            values = self._evaluate(*leaves)
            weights = torch.zeros_like(values).requires_grad_()
            along = _along(values, leaves, weights, (dx, dw))
            if not along.requires_grad:
                return torch.zeros_like(values)
            (found,) = torch.autograd.grad(along, weights)
        return found

    def vjp_tangent(
        self,
        x: Tensor,
        w: Tensor,
        cotangent: Tensor,
        dx: Tensor,
        dw: Tensor,
        dcotangent: Tensor,
        wanted: tuple[bool, bool] = (True, True),
    ) -> Pair:
        """Return the derivatives of :meth:`vjp` along ``dx``, ``dw`` and ``dcotangent``."""
        with torch.enable_grad():
            leaves = _leaves(x, w, (True, True))
            values = self._evaluate(*leaves)
            along = _along(values, leaves, cotangent, (dx, dw))
            return _gradients(along + (values * dcotangent).sum(), leaves, wanted)

    def states(self, x: Tensor, w: Tensor) -> Tensor:
        """Raise :class:`.MeasurementError`: there is no state vector."""
        raise MeasurementError(NO_STATES)

    def _evaluate(self, x: Tensor, w: Tensor) -> Tensor:
        rows = len(x)
        values = self._constants.expand(rows, -1)
        if self._has_strings and rows:
            self._require(rows)
            with keep_precision(self.device):
                columns = self._tensors(self._angles(x, w).mT)
                environments = sweep(columns, self._chunks(rows))
                values = values + self._reader(columns, environments)
        return values if self._outcomes is None else self._outcomes(values)

    def _chunks(self, rows: int) -> int:
        return choose_chunks(rows, self._sites, self._bond, self.device.type)

    def _require(self, rows: int) -> None:
        """Raise :class:`.MemoryLimitError` if so many rows do not fit."""
        device_memory.require(
            self.count_bytes(rows),
            self.device,
            f"A column network of {self._sites} qubits and bond dimension {self._bond}",
            "Use fewer layers of gates, fewer gates between distant qubits, fewer rows at a time, "
            "or Exact(dtype='complex64'), which halves it.",
        )


def _leaves(x: Tensor, w: Tensor, wanted: tuple[bool, bool]) -> Pair:
    """Return inputs and weights as where a graph begins."""
    first, second = (
        v.detach().requires_grad_(asked) for v, asked in zip((x, w), wanted, strict=True)
    )
    return first, second


def _gradients(
    outputs: Tensor,
    leaves: Pair,
    wanted: tuple[bool, bool],
    weights: Tensor | None = None,
    create_graph: bool = False,
) -> Pair:
    """Return the gradients of outputs; zeros where none is wanted, or nothing depends on it."""
    asked = [leaf for leaf, is_wanted in zip(leaves, wanted, strict=True) if is_wanted]
    found: list[Tensor | None] = [None] * len(asked)
    if asked and outputs.requires_grad:
        found = list(
            torch.autograd.grad(
                outputs, asked, weights, allow_unused=True, create_graph=create_graph
            )
        )
    gradients = iter(found)
    first, second = (
        _or_zeros(next(gradients) if is_wanted else None, leaf)
        for leaf, is_wanted in zip(leaves, wanted, strict=True)
    )
    return first, second


def _or_zeros(gradient: Tensor | None, leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if gradient is None else gradient


def _along(values: Tensor, leaves: Pair, weights: Tensor, tangents: Pair) -> Tensor:
    """Return the derivative along tangents of a weighted sum of values, as part of the graph."""
    gradients = _gradients(values, leaves, (True, True), weights, create_graph=True)
    first, second = (
        (gradient * tangent).sum() for gradient, tangent in zip(gradients, tangents, strict=True)
    )
    return first + second
