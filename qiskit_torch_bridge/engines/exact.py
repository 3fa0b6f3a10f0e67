# SPDX-License-Identifier: Apache-2.0
"""The exact engine: values and two orders of derivatives from a simulator in this process."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

from ..arrays import FloatArray
from ..exceptions import MemoryLimitError
from ..execution import Exact
from ..jobs.budget import PlannedRequest, Simulation
from ..program import CircuitProgram
from ..simulation.choice import Choice, choose
from ..simulation.interface import Simulator
from .evaluators import Evaluator
from .interface import BOTH, Engine, Gradients, InProcess, Values, Wanted
from .measured_forward import MeasuredForward

BATCH = 8
"""For so many rows at a time methods are compared, if the program has inputs."""


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
        self.program = program.deferred
        self.exact = exact
        if not exact.is_on_device:
            # What does not fit here may fit where tensors are, if it is computed in these.
            too_large = (MemoryLimitError,) if exact.is_in_tensors else ()
            with contextlib.suppress(*too_large):
                _ = self.simulator  # what cannot be simulated is refused now

    @functools.cached_property
    def choice(self) -> Choice:
        """The method that simulates the program, and how."""
        return self._choose(self.exact.method)

    def _choose(self, method: str) -> Choice:
        p, dtype = self.program, self.exact.dtype
        rows = BATCH if p.input_columns else 1
        return choose(method, p.analysed, p.readout, p.input_columns, p.weight_columns, dtype, rows)

    @functools.cached_property
    def simulator(self) -> Simulator:
        """The simulator, compiled for the program's roles."""
        return self.choice.plan.compile()

    @property
    def method(self) -> str:
        """The name of the method; of several, joined by ``+``."""
        return self.choice.method

    def simulation(self, rows: int, method: str | None = None) -> Simulation:
        """Return what values and a gradient of so many rows take.

        Args:
            rows: How many.
            method: By which method; default: the one that is chosen on the processor.
        """
        choice = self.choice if method is None else self._choose(method)
        cost = choice.plan.estimate(rows)
        return Simulation(choice.method, cost.operations, cost.bytes)

    @property
    def is_affine(self) -> bool:
        """Whether derivatives exist everywhere."""
        return self.simulator.is_affine

    def check_derivatives(self, x: FloatArray, w: FloatArray, wanted: Wanted = BOTH) -> None:
        """Raise :class:`.ExpressionError` where a wanted derivative does not exist."""
        self.simulator.check_derivatives(x, w, wanted)

    def evaluate(self, x: FloatArray, w: FloatArray, keep: bool = False) -> Values:
        """Evaluate all rows, by the state vector in one sweep over it."""
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
        """Return the vector-Jacobian products, from the states that were kept if there are any."""
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
        return {k: v for k, v in self.__dict__.items() if k not in ("choice", "simulator")}


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

    def simulation(self, rows: int, method: str | None = None) -> Simulation:
        """Return what a gradient of so many rows takes."""
        return self.exact.simulation(rows, method)

    def at_precision(self, forward: float | None, gradient: float | None) -> AdjointEngine:
        """Return the engine that asks for another precision."""
        return AdjointEngine(self.forward.at_precision(forward), self.exact)


def method_of(engine: Engine) -> str | None:
    """Return the method by which an engine simulates values; ``None`` if it is another engine."""
    return engine.method if isinstance(engine, ExactEngine) else None


def simulation_of(engine: Engine, rows: int, method: str | None = None) -> Simulation | None:
    """Return what of so many rows an engine simulates exactly; ``None`` if it is none of these."""
    if isinstance(engine, (ExactEngine, AdjointEngine)):
        return engine.simulation(rows, method)
    return None
