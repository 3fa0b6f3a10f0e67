# SPDX-License-Identifier: Apache-2.0
"""What an engine is: it evaluates a program and differentiates it, with NumPy arrays alone.

``B`` rows of ``I`` inputs come with ``W`` weights, shape ``(1, W)``, or ``(B, W)`` if each row has
its own; there are ``O`` observables. What torch does with an engine follows from its ``order``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from typing_extensions import Self

from ..arrays import FloatArray
from ..jobs.budget import PlannedRequest
from ..program import CircuitProgram
from ..rules import Differentiation

Wanted = tuple[bool, bool]
"""Whether the gradients with respect to inputs and to weights are asked for."""
BOTH: Wanted = (True, True)


class Values(NamedTuple):
    """The result of a forward pass.

    Attributes:
        evs: Expectation values ``(B, O)``; the array is the caller's to keep.
        stds: Their standard errors ``(B, O)``, where there are any.
        kept: What :meth:`Engine.vjp` can use at the same point.
    """

    evs: FloatArray
    stds: FloatArray | None = None
    kept: object = None


class Gradients(NamedTuple):
    """The result of a backward pass.

    Attributes:
        inputs: Shape ``(B, I)``; zeros where it was not wanted.
        weights: Shape ``(1, W)`` or ``(B, W)``, as the weights; zeros likewise.
        stds: Standard errors of the gradient of the ``T`` trained weights, where there are any:
            ``(T,)``, or ``(B, T)`` if each row has weights of its own.
    """

    inputs: FloatArray
    weights: FloatArray
    stds: FloatArray | None = None


class Engine(Protocol):
    """Evaluates a program and gives vector-Jacobian products.

    Attributes:
        program: The program as it is evaluated.
        order: How often its values can be differentiated: 1 where only :meth:`vjp` is there, 2
            where it is a :class:`TangentEngine`, infinity where it is a :class:`ShiftEngine`.
        gradient_name: The name of its gradient, with its settings.
        precision: What a forward pass asks for; ``None`` for a default or for exact values.
        stands_alone: Whether program and settings are all there is to it, so that an exported
            program can carry it to another process.
    """

    program: CircuitProgram
    order: float
    stands_alone: bool

    @property
    def gradient_name(self) -> str:
        """The name of the gradient, with its settings."""
        ...

    @property
    def precision(self) -> float | None:
        """The precision of a forward pass."""
        ...

    def evaluate(self, x: FloatArray, w: FloatArray, keep: bool = False) -> Values:
        """Evaluate all rows; ``keep`` says that a backward pass may follow."""
        ...

    def submit(self, x: FloatArray, w: FloatArray) -> Callable[[], Values]:
        """Submit the job of :meth:`evaluate`, and return what waits for its result."""
        ...

    def vjp(
        self,
        x: FloatArray,
        w: FloatArray,
        cotangent: FloatArray,
        kept: object = None,
        wanted: Wanted = BOTH,
    ) -> Gradients:
        """Return the vector-Jacobian products for a cotangent ``(B, O)``."""
        ...

    def plan(self, rows: int, columns: tuple[int, ...] | None) -> list[PlannedRequest]:
        """Return the requests of a step over ``rows``, before anything runs.

        Args:
            rows: The batch.
            columns: The parameters with respect to which a backward pass differentiates; ``None``
                for a forward pass alone.
        """
        ...

    @property
    def is_limited(self) -> bool:
        """Whether there is a budget."""
        ...

    def check_budget(self, rows: int, columns: tuple[int, ...]) -> None:
        """Raise :class:`.BudgetError` if there is no room for a step; submit nothing."""
        ...

    def at_precision(self, forward: float | None, gradient: float | None) -> Engine:
        """Return the engine that asks for other precisions, and is the same otherwise."""
        ...

    def random_sources(self) -> dict[str, object]:
        """Return what may hold random generators, by name; checkpoints save their states."""
        ...


class TangentEngine(Engine, Protocol):
    """An engine with derivatives along tangents, also of its gradients: two orders.

    Attributes:
        is_affine: Whether all parameter expressions are affine, so that derivatives exist
            everywhere. Elsewhere gradients may be infinite or NaN.
    """

    @property
    def is_affine(self) -> bool:
        """Whether derivatives exist everywhere."""
        ...

    def check_derivatives(self, x: FloatArray, w: FloatArray, wanted: Wanted = BOTH) -> None:
        """Raise :class:`.ExpressionError` where a wanted derivative does not exist."""
        ...

    def tangent(self, x: FloatArray, w: FloatArray, dx: FloatArray, dw: FloatArray) -> FloatArray:
        """Return the derivatives ``(B, O)`` of expectation values along ``dx`` and ``dw``."""
        ...

    def vjp_tangent(
        self,
        x: FloatArray,
        w: FloatArray,
        cotangent: FloatArray,
        dx: FloatArray,
        dw: FloatArray,
        dcotangent: FloatArray,
    ) -> tuple[FloatArray, FloatArray]:
        """Return the derivatives of both gradients along the three tangents."""
        ...


class ShiftEngine(Engine, Protocol):
    """An engine whose gradients are evaluations of a circuit elsewhere: any order."""

    def differentiation(self, columns: tuple[int, ...]) -> tuple[Differentiation, Engine]:
        """Return the plan for derivatives with respect to columns, and the engine for its points.

        That engine takes all parameters of the plan's target as inputs, and no weights.
        """
        ...


class InProcess:
    """The half of an engine that runs no jobs: what it needs besides values and gradients."""

    precision: float | None = None
    stands_alone = False
    is_limited = False

    def submit(self: Engine, x: FloatArray, w: FloatArray) -> Callable[[], Values]:
        """Evaluate at once: there is no job to wait for."""
        values = self.evaluate(x, w, keep=True)
        return lambda: values

    def plan(self, rows: int, columns: tuple[int, ...] | None) -> list[PlannedRequest]:
        """Return nothing: no pass makes a request."""
        return []

    def check_budget(self, rows: int, columns: tuple[int, ...]) -> None:
        """Do nothing: no pass uses any of a budget."""

    def at_precision(self, forward: float | None, gradient: float | None) -> Self:
        """Return the engine itself: its values are exact."""
        return self

    def random_sources(self) -> dict[str, object]:
        """Return nothing: nothing is drawn."""
        return {}
