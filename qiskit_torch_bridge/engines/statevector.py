# SPDX-License-Identifier: Apache-2.0
"""The exact engine: values and all derivatives from the simulator in this process."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from qiskit.primitives import BaseEstimatorV2

from ..arrays import FloatArray
from ..exceptions import BridgeError, ExpressionError, InputError
from ..jobs.budget import PlannedRequest
from ..program import CircuitProgram
from ..simulation.statevector import Kept, StatevectorSimulator
from .estimator import EstimatorEngine

NO_WEIGHTS = np.zeros((1, 0))


class StatevectorEngine(EstimatorEngine):
    """Evaluates a program exactly, and differentiates it by the adjoint method.

    It takes inputs and weights as they come, so that what all rows share is computed once. Where
    parameter expressions are not affine, ``takes_angles`` is set: inputs are then the angles that
    :meth:`angles` gives, without weights, and the chain rule is the caller's.

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
    def simulator(self) -> StatevectorSimulator:
        """The simulator, compiled for the program's roles."""
        p = self.program
        return StatevectorSimulator(
            p.analysed, p.observables, p.input_columns, p.weight_columns, self.dtype
        )

    @property
    def gradient_name(self) -> str:
        """The name of the gradient."""
        return "adjoint"

    @property
    def takes_angles(self) -> bool:
        """Whether inputs must be the tape's angles."""
        return self.simulator.takes_angles

    def angles(self, values: Any, m: Any, columns: Any = None) -> Any:
        """Return the tape's angles ``(B, A)`` at ``values`` ``(B, P)``; see :class:`.AngleMap`."""
        return self.simulator.tape.angle_map.angles(values, m, columns)

    def check_derivatives(self, values: FloatArray, columns: Sequence[int]) -> None:
        """Raise :class:`ExpressionError` where an expression has no derivative by ``columns``."""
        angle_map = self.simulator.tape.angle_map
        angles = range(angle_map.num_angles)
        angle_map.pullback(angles, columns)(values, np.zeros((len(values), len(angles))))

    def values(
        self, x: FloatArray, w: FloatArray, keep: bool = False
    ) -> tuple[FloatArray, Kept | None]:
        """Return expectation values ``(B, O)`` and what a following :meth:`gradient` can use."""
        if not len(x):
            return np.zeros((0, self.program.num_observables)), None
        if not self.simulator.reads_all:
            # The kernels see only what observables depend on. A product sums up faster than
            # isfinite; where it exceeds the range of numbers, each of them is looked at.
            total = np.vdot(x, x) + np.vdot(w, w)
            if not math.isfinite(total) and not (np.isfinite(x).all() and np.isfinite(w).all()):
                raise self._not_finite(x, w)
        try:
            return self.simulator.expval(x, w, keep)
        except FloatingPointError:
            raise self._not_finite(x, w) from None

    def gradient(
        self,
        x: FloatArray,
        w: FloatArray,
        cotangent: FloatArray,
        kept: Kept | None = None,
        wanted: tuple[bool, bool] = (True, True),
    ) -> tuple[FloatArray, FloatArray]:
        """Return the vector-Jacobian products by ``x`` and ``w``."""
        if not len(x):
            return np.zeros_like(x), np.zeros_like(w)
        return self.simulator.vjp(x, w, cotangent, kept, wanted)

    def values_at(self, x: FloatArray, w: FloatArray, keep: bool = False) -> tuple[FloatArray, Any]:
        """Evaluate inputs and weights; sampled values leave nothing to keep."""
        if self.samples:
            return super().values_at(x, w)
        if not self.takes_angles:
            return self.values(x, w, keep)
        values = self.program.placed(x, w)
        self.program.analysed.check(values)
        return self.values(self.angles(values, np), NO_WEIGHTS, keep)

    def gradient_at(
        self,
        x: FloatArray,
        w: FloatArray,
        cotangent: FloatArray,
        kept: Any = None,
        wanted: tuple[bool, bool] = (True, True),
    ) -> tuple[FloatArray, FloatArray]:
        """Return the exact vector-Jacobian products with respect to ``x`` and ``w``."""
        if not self.takes_angles:
            return self.gradient(x, w, cotangent, kept, wanted)
        return super().gradient_at(x, w, cotangent, kept, wanted)

    def vjp(
        self,
        values: FloatArray,
        cotangent: FloatArray,
        columns: tuple[int, ...],
        kept: Any = None,
    ) -> FloatArray:
        """Return the exact vector-Jacobian product ``(B, C)``, with the chain rule."""
        angle_map = self.simulator.tape.angle_map
        by_angles, _ = self.gradient(self.angles(values, np), NO_WEIGHTS, cotangent, kept)
        pullback = angle_map.pullback(range(angle_map.num_angles), columns)
        return pullback(values, by_angles)

    def tangent(self, x: FloatArray, w: FloatArray, dx: FloatArray, dw: FloatArray) -> FloatArray:
        """Return the derivatives ``(B, O)`` of expectation values along tangents."""
        if not len(x):
            return np.zeros((0, self.program.num_observables))
        return self.simulator.jvp(x, w, dx, dw)

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
        if not len(x):
            return np.zeros_like(x), np.zeros_like(w)
        return self.simulator.vjp_tangent(x, w, cotangent, dx, dw, dcotangent)

    def planned(self, rows: int, columns: tuple[int, ...] | None) -> list[PlannedRequest]:
        """Return the requests of a pass: of a sampled forward pass one, and none else."""
        return super().planned(rows, None) if self.samples else []

    def _not_finite(self, x: FloatArray, w: FloatArray) -> Exception:
        p = self.program
        if self.takes_angles:
            return ExpressionError(
                "A parameter expression is singular at the values given. Keep the values inside "
                "the domain of the circuit's expressions, for instance with a bounded activation."
            )
        if np.isfinite(x).all() and np.isfinite(w).all():
            return InputError(
                "Expected angles that are finite numbers; the circuit's expressions exceed the "
                "range of double precision at these values. Scale the inputs."
            )
        values = np.empty((len(x), len(p.parameters)))
        values[:, list(p.input_columns)] = x
        values[:, list(p.weight_columns)] = w
        try:
            p.analysed.check(values)
        except BridgeError as error:
            return error
        raise AssertionError("a value is not finite")

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state.pop("simulator", None)
        return state
