# SPDX-License-Identifier: Apache-2.0
r"""Engines as autograd asks them: tensors in and tensors out, all on the device that computes.

There are two kinds. Most engines know arrays, so tensors of the processor are handed to them as
arrays, which share their memory. The exact engine has a simulator in tensors on other devices, and
on the processor if that was chosen.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor

from ..accelerators.interface import TensorSimulator
from ..accelerators.tapes import values_dtype
from ..arrays import FloatArray
from ..engines import Engine, Values
from ..engines.interface import BOTH, TangentEngine, Wanted
from ..exceptions import ResultError

PROCESSOR = torch.device("cpu")


class StandardErrors(threading.local):
    """The standard errors of the last passes of a thread; each thread sees its own."""

    stds: FloatArray | None = None
    values: FloatArray | None = None
    gradient: FloatArray | None = None


class Found(NamedTuple):
    """What an engine has found in a forward pass.

    Attributes:
        read: What is read of the states, ``(B, O)``.
        kept: What :meth:`TensorEngine.vjp` can use at the same point.
    """

    read: Tensor
    kept: object = None


class TensorEngine(Protocol):
    """Evaluates a program in tensors on one device, and differentiates it.

    Inputs are ``(B, I)``, weights ``(W,)`` or ``(B, W)``, cotangents ``(B, O)``; gradients have
    these shapes, too.

    Attributes:
        dtype: The real dtype of what goes in and comes out.
        order: How often values can be differentiated by the methods.
        method: How the circuit is simulated in tensors; ``None`` if it is not.
        in_graph: What returns values by operations of torch, which torch itself differentiates; if
            there is such a thing.
        may_be_singular: Whether derivatives of expressions may not exist, and
            :meth:`check_derivatives` tells which.
    """

    dtype: torch.dtype
    order: float
    method: str | None
    in_graph: Callable[[Tensor, Tensor], Tensor] | None

    @property
    def may_be_singular(self) -> bool:
        """Whether derivatives have to be looked at."""
        ...

    def check_derivatives(self, inputs: Tensor, weights: Tensor, wanted: Wanted) -> None:
        """Raise :class:`.ExpressionError` where a wanted derivative does not exist."""
        ...

    def evaluate(self, inputs: Tensor, weights: Tensor, keep: bool = False) -> Found:
        """Return what is read."""
        ...

    def submit(self, inputs: Tensor, weights: Tensor) -> Callable[[], Found]:
        """Submit the job of :meth:`evaluate`, and return what waits for its result."""
        ...

    def vjp(
        self,
        inputs: Tensor,
        weights: Tensor,
        cotangent: Tensor,
        kept: object = None,
        wanted: Wanted = BOTH,
    ) -> tuple[Tensor, Tensor]:
        """Return the gradients; zeros where one is not wanted."""
        ...

    def tangent(self, inputs: Tensor, weights: Tensor, dx: Tensor, dw: Tensor) -> Tensor:
        """Return the derivatives ``(B, O)`` along tangents."""
        ...

    def vjp_tangent(
        self,
        inputs: Tensor,
        weights: Tensor,
        cotangent: Tensor,
        dx: Tensor,
        dw: Tensor,
        dc: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return the derivatives of :meth:`vjp` along tangents."""
        ...


class OnArrays:
    """An engine of arrays, asked in tensors of the processor.

    Args:
        engine: The engine.
        last: Is told the standard errors of each pass.
    """

    dtype = torch.float64
    method: str | None = None
    in_graph: Callable[[Tensor, Tensor], Tensor] | None = None

    def __init__(self, engine: Engine, last: StandardErrors) -> None:
        self._engine, self._last = engine, last
        self.order = engine.order

    @property
    def _with_tangents(self) -> TangentEngine:
        return cast("TangentEngine", self._engine)  # of an order that has them

    @property
    def may_be_singular(self) -> bool:
        """Whether derivatives have to be looked at."""
        return self.order == 2 and not self._with_tangents.is_affine

    def check_derivatives(self, inputs: Tensor, weights: Tensor, wanted: Wanted) -> None:
        """Raise :class:`.ExpressionError` where a wanted derivative does not exist."""
        self._with_tangents.check_derivatives(numbers(inputs), weight_rows(weights), wanted)

    def evaluate(self, inputs: Tensor, weights: Tensor, keep: bool = False) -> Found:
        """Return what is read, and keep the arrays as well."""
        x, w = numbers(inputs), weight_rows(weights)
        return self._found(x, w, self._engine.evaluate(x, w, keep))

    def submit(self, inputs: Tensor, weights: Tensor) -> Callable[[], Found]:
        """Submit the job of a forward pass."""
        x, w = numbers(inputs), weight_rows(weights)
        wait = self._engine.submit(x, w)
        return lambda: self._found(x, w, wait())

    def _found(self, x: FloatArray, w: FloatArray, values: Values) -> Found:
        self._note(values)
        kept = None if values.kept is None else (x, w, values.kept)
        return Found(torch.from_numpy(values.evs), kept)

    def _note(self, values: Values) -> None:
        """Note the standard errors of a forward pass.

        Raises:
            ResultError: If an engine of somebody else has read something else than was asked for.
        """
        program = self._engine.program
        if values.evs.shape[1:] != (program.num_outputs,):
            raise ResultError(
                f"{type(self._engine).__name__} returned values of shape {values.evs.shape}; "
                f"expected ({len(values.evs)}, {program.num_outputs}), the numbers that "
                f"{program.measurement!r} reads. An engine for observables only has to refuse "
                "other measurements: see the page 'Write an engine of your own'."
            )
        self._last.stds, self._last.values = values.stds, None
        if values.stds is not None and not program.measurement.is_read:
            self._last.values = values.evs.copy()  # the array itself is the caller's

    def vjp(
        self,
        inputs: Tensor,
        weights: Tensor,
        cotangent: Tensor,
        kept: Any = None,
        wanted: Wanted = BOTH,
    ) -> tuple[Tensor, Tensor]:
        """Return the gradients, and note their standard errors."""
        x, w, of_engine = kept or (numbers(inputs), weight_rows(weights), None)
        found = self._engine.vjp(x, w, numbers(cotangent), of_engine, wanted)
        self._last.gradient = found.stds
        return torch.from_numpy(found.inputs), by_weights(found.weights, weights)

    def tangent(self, inputs: Tensor, weights: Tensor, dx: Tensor, dw: Tensor) -> Tensor:
        """Return the derivatives ``(B, O)`` along tangents."""
        arrays = numbers(inputs), weight_rows(weights), numbers(dx), weight_rows(dw)
        return torch.from_numpy(self._with_tangents.tangent(*arrays))

    def vjp_tangent(
        self,
        inputs: Tensor,
        weights: Tensor,
        cotangent: Tensor,
        dx: Tensor,
        dw: Tensor,
        dc: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return the derivatives of the gradients along tangents."""
        arrays = numbers(inputs), weight_rows(weights), numbers(cotangent)
        tangents = numbers(dx), weight_rows(dw), numbers(dc)
        gx, gw = self._with_tangents.vjp_tangent(*arrays, *tangents)
        return torch.from_numpy(gx), by_weights(gw, weights)


class InTensors:
    """A simulator in tensors, asked with weights of either shape."""

    may_be_singular = False  # looking would wait for the device

    def __init__(self, simulator: TensorSimulator) -> None:
        self._simulator = simulator
        self.dtype = values_dtype(simulator.device)
        self.method: str | None = simulator.method
        self.order = min(simulator.order, 2)
        self.in_graph: Callable[[Tensor, Tensor], Tensor] | None = None
        if simulator.order > self.order:
            self.in_graph = self._in_graph

    def _in_graph(self, inputs: Tensor, weights: Tensor) -> Tensor:
        return self._simulator.evaluate(inputs, _rows(weights))[0]

    def check_derivatives(self, inputs: Tensor, weights: Tensor, wanted: Wanted) -> None:
        """Do nothing: what does not exist is not finite."""

    def evaluate(self, inputs: Tensor, weights: Tensor, keep: bool = False) -> Found:
        """Return what is read."""
        return Found(*self._simulator.evaluate(inputs, _rows(weights), keep))

    def submit(self, inputs: Tensor, weights: Tensor) -> Callable[[], Found]:
        """Evaluate at once: there is no job to wait for."""
        found = self.evaluate(inputs.detach(), weights.detach(), keep=True)
        return lambda: found

    def vjp(
        self,
        inputs: Tensor,
        weights: Tensor,
        cotangent: Tensor,
        kept: object = None,
        wanted: Wanted = BOTH,
    ) -> tuple[Tensor, Tensor]:
        """Return the gradients."""
        gx, gw = self._simulator.vjp(inputs, _rows(weights), cotangent, kept, wanted)
        return gx, gw.reshape(weights.shape)

    def tangent(self, inputs: Tensor, weights: Tensor, dx: Tensor, dw: Tensor) -> Tensor:
        """Return the derivatives ``(B, O)`` along tangents."""
        return self._simulator.tangent(inputs, _rows(weights), dx, _rows(dw))

    def vjp_tangent(
        self,
        inputs: Tensor,
        weights: Tensor,
        cotangent: Tensor,
        dx: Tensor,
        dw: Tensor,
        dc: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return the derivatives of the gradients along tangents."""
        at = inputs, _rows(weights), cotangent
        gx, gw = self._simulator.vjp_tangent(*at, dx, _rows(dw), dc)
        return gx, gw.reshape(weights.shape)


def _rows(weights: Tensor) -> Tensor:
    """Return weights as ``(1, W)``, or ``(B, W)`` if they have rows of their own."""
    return weights if weights.dim() == 2 else weights[None]


def numbers(tensor: Tensor) -> FloatArray:
    """Return the contiguous, writable array that kernels take."""
    array: FloatArray = tensor.contiguous().numpy(force=True)
    return array if array.flags.writeable else array.copy()


def weight_rows(weights: Tensor) -> FloatArray:
    """Return weights as ``(1, W)``, or ``(B, W)`` if they have rows of their own."""
    array = numbers(weights)
    return array if array.ndim == 2 else array[None]


def by_weights(gradient: FloatArray, weights: Tensor) -> Tensor:
    """Return the gradient ``(1, W)`` or ``(B, W)`` in the shape that weights have."""
    return torch.from_numpy(gradient if weights.dim() == 2 else gradient[0])
