# SPDX-License-Identifier: Apache-2.0
"""The exact engine: values and two orders of derivatives from a simulator in this process."""

from __future__ import annotations

import functools
from typing import Any

from ..arrays import FloatArray
from ..execution import Exact
from ..jobs.budget import PlannedRequest
from ..program import CircuitProgram
from ..simulation.interface import Simulator, make_simulator
from .evaluators import Evaluator
from .interface import BOTH, Gradients, InProcess, Values, Wanted
from .measured_forward import MeasuredForward


class ExactEngine(InProcess):
    """Evaluates a program exactly, and differentiates it by the adjoint method.

    Args:
        program: The program.
        exact: How it is simulated.

    Raises:
        BridgeError: If it cannot be simulated.
    """

    order = 2.0
    stands_alone = True
    gradient_name = "adjoint"

    def __init__(self, program: CircuitProgram, exact: Exact) -> None:
        self.program = program
        self.exact = exact
        _ = self.simulator  # what cannot be simulated is refused now

    @functools.cached_property
    def simulator(self) -> Simulator:
        """The simulator, compiled for the program's roles."""
        p, exact = self.program, self.exact
        return make_simulator(
            exact.method, p.analysed, p.readout, p.input_columns, p.weight_columns, exact.dtype
        )

    @property
    def is_affine(self) -> bool:
        """Whether derivatives exist everywhere."""
        return self.simulator.is_affine

    def check_derivatives(self, x: FloatArray, w: FloatArray, wanted: Wanted = BOTH) -> None:
        """Raise :class:`.ExpressionError` where a wanted derivative does not exist."""
        self.simulator.check_derivatives(x, w, wanted)

    def evaluate(self, x: FloatArray, w: FloatArray, keep: bool = False) -> Values:
        """Evaluate all rows in one sweep over the state."""
        evs, kept = self.simulator.evaluate(x, w, keep)
        return Values(evs, None, kept)

    def vjp(
        self,
        x: FloatArray,
        w: FloatArray,
        cotangent: FloatArray,
        kept: Any = None,
        wanted: Wanted = BOTH,
    ) -> Gradients:
        """Return the vector-Jacobian products, from two sweeps or one that was kept."""
        return Gradients(*self.simulator.vjp(x, w, cotangent, kept, wanted))

    def tangent(self, x: FloatArray, w: FloatArray, dx: FloatArray, dw: FloatArray) -> FloatArray:
        """Return the derivatives ``(B, O)`` of expectation values along tangents."""
        return self.simulator.tangent(x, w, dx, dw)

    def vjp_tangent(
        self,
        x: FloatArray,
        w: FloatArray,
        cotangent: FloatArray,
        dx: FloatArray,
        dw: FloatArray,
        dcotangent: FloatArray,
    ) -> tuple[FloatArray, FloatArray]:
        """Return the derivatives of both gradients along tangents."""
        return self.simulator.vjp_tangent(x, w, cotangent, dx, dw, dcotangent)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "simulator"}


class AdjointEngine(MeasuredForward):
    """Values from a primitive, exact derivatives from a simulator in this process.

    Args:
        forward: Evaluates values.
        exact: Gives their derivatives; nothing is simulated before one is asked for.
    """

    order = 2.0
    gradient_name = "adjoint"

    def __init__(self, forward: Evaluator, exact: ExactEngine) -> None:
        super().__init__(forward)
        self.exact = exact
        self.is_affine = exact.is_affine
        self.vjp, self.tangent, self.vjp_tangent = exact.vjp, exact.tangent, exact.vjp_tangent
        self.check_derivatives = exact.check_derivatives

    def plan(self, rows: int, columns: tuple[int, ...] | None) -> list[PlannedRequest]:
        """Return the request of the forward pass: a gradient makes none."""
        return self.forward.request(rows)

    def at_precision(self, forward: float | None, gradient: float | None) -> AdjointEngine:
        """Return the engine that asks for another precision."""
        return AdjointEngine(self.forward.at_precision(forward), self.exact)
