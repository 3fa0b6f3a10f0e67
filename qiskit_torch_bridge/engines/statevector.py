# SPDX-License-Identifier: Apache-2.0
"""The exact engine: values and all derivatives from the simulator in this process."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from qiskit.primitives import BaseEstimatorV2

from ..arrays import FloatArray
from ..jobs.cost import Planned
from ..program import CircuitProgram
from ..simulation.interface import Simulator, make_simulator
from .estimator import EstimatorEngine


class StatevectorEngine(EstimatorEngine):
    """Evaluates a program exactly, and differentiates it by the adjoint method.

    It takes inputs and weights as they come, so that what all rows share is computed once.

    Args:
        program: The program.
        estimator: Stands for the engine; evaluates values if ``samples`` is set.
        precision: Requested from the estimator.
        samples: Whether values come from the estimator, and only derivatives are exact.
        dtype: ``complex128`` or ``complex64``.
    """

    def __init__(
        self,
        program: CircuitProgram,
        estimator: BaseEstimatorV2,
        precision: float | None = None,
        *,
        samples: bool = False,
        dtype: Any = np.complex128,
    ) -> None:
        super().__init__(program, estimator, precision)
        self.samples = samples
        self.dtype = dtype
        self.simulator  # noqa: B018 - what cannot be simulated is refused now

    @functools.cached_property
    def simulator(self) -> Simulator:
        """The simulator, compiled for the program's roles."""
        p = self.program
        return make_simulator(
            "statevector", p.analysed, p.observables, p.input_columns, p.weight_columns, self.dtype
        )

    @property
    def gradient_name(self) -> str:
        """The name of the gradient."""
        return "adjoint"

    @property
    def is_affine(self) -> bool:
        """Whether derivatives exist everywhere."""
        return self.simulator.is_affine

    def check_derivatives(self, x: FloatArray, w: FloatArray, wanted: tuple[bool, bool]) -> None:
        """Raise :class:`ExpressionError` where an expression has no derivative that is wanted."""
        self.simulator.check_derivatives(x, w, wanted)

    def values(self, x: FloatArray, w: FloatArray, keep: bool = False) -> tuple[FloatArray, Any]:
        """Return expectation values ``(B, O)`` and what a following :meth:`gradient` can use."""
        return self.simulator.evaluate(x, w, keep)

    def gradient(
        self,
        x: FloatArray,
        w: FloatArray,
        cotangent: FloatArray,
        kept: Any = None,
        wanted: tuple[bool, bool] = (True, True),
    ) -> tuple[FloatArray, FloatArray]:
        """Return the vector-Jacobian products by ``x`` and ``w``."""
        return self.simulator.vjp(x, w, cotangent, kept, wanted)

    def values_at(self, x: FloatArray, w: FloatArray, keep: bool = False) -> tuple[FloatArray, Any]:
        """Evaluate inputs and weights; sampled values leave nothing to keep."""
        if self.samples:
            return super().values_at(x, w)
        return self.values(x, w, keep)

    def gradient_at(
        self,
        x: FloatArray,
        w: FloatArray,
        cotangent: FloatArray,
        kept: Any = None,
        wanted: tuple[bool, bool] = (True, True),
    ) -> tuple[FloatArray, FloatArray]:
        """Return the exact vector-Jacobian products with respect to ``x`` and ``w``."""
        return self.gradient(x, w, cotangent, kept, wanted)

    def vjp(
        self,
        values: FloatArray,
        cotangent: FloatArray,
        columns: tuple[int, ...],
        kept: Any = None,
    ) -> FloatArray:
        """Return the exact vector-Jacobian product ``(B, C)``."""
        p, asked = self.program, set(columns)
        roles = p.input_columns, p.weight_columns
        x, w = (np.ascontiguousarray(values[:, list(role)]) for role in roles)
        wanted = not asked.isdisjoint(roles[0]), not asked.isdisjoint(roles[1])
        gradients = np.hstack(self.simulator.vjp(x, w, cotangent, kept, wanted))
        return gradients[:, p.placement[list(columns)]]

    def tangent(self, x: FloatArray, w: FloatArray, dx: FloatArray, dw: FloatArray) -> FloatArray:
        """Return the derivatives ``(B, O)`` of expectation values along tangents."""
        return self.simulator.tangent(x, w, dx, dw)

    def gradient_tangent(
        self,
        x: FloatArray,
        w: FloatArray,
        cotangent: FloatArray,
        dx: FloatArray,
        dw: FloatArray,
        dcotangent: FloatArray,
    ) -> tuple[FloatArray, FloatArray]:
        """Return the derivative of :meth:`gradient` along tangents."""
        return self.simulator.vjp_tangent(x, w, cotangent, dx, dw, dcotangent)

    def planned(self, rows: int, columns: tuple[int, ...] | None) -> list[Planned]:
        """Return the requests of a pass: of a sampled forward pass one, and none else."""
        return super().planned(rows, None) if self.samples else []

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state.pop("simulator", None)
        return state
