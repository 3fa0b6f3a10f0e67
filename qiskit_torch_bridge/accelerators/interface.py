# SPDX-License-Identifier: Apache-2.0
r"""What a simulator on torch's tensors offers.

It is :class:`.simulation.interface.Simulator` with tensors in place of arrays. All tensors that go
in and come out are on one device; the values, gradients and tangents are ``float64`` there, and the
state has the precision that was asked for. Nothing is copied to the processor, and nothing waits
for the device.
"""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor

Pair = tuple[Tensor, Tensor]
"""A tensor for inputs ``(B, ...)`` and one for weights ``(1, ...)`` or ``(B, ...)``."""


def keep_precision(device: torch.device) -> AbstractContextManager[object]:
    """Return a context that computes in the precision of tensors, whatever the caller does in."""
    if not torch.amp.is_autocast_available(device.type):
        return contextlib.nullcontext()
    return torch.autocast(device.type, enabled=False)


class TensorSimulator(Protocol):
    """Evaluates and differentiates what is read of one circuit's state, on one device.

    Inputs ``x`` are ``(B, I)``, weights ``w`` are ``(1, W)``, which all rows share, or ``(B, W)``;
    ``S`` numbers are read of each state. Values that are not finite give results that are not:
    looking at them would wait for the device.

    Attributes:
        device: Where everything is.
        dtype: Of the state, ``torch.complex64`` or ``torch.complex128``.
        order: How often :meth:`evaluate` can be differentiated: 2, by the other methods, or
            infinity, by autograd.
        kernels: What computes, as :class:`.Exact` names it.
        method: How the circuit is simulated, as :class:`.Exact` names it.
    """

    device: torch.device
    dtype: torch.dtype
    order: float
    kernels: str
    method: str

    def evaluate(self, x: Tensor, w: Tensor, keep: bool = False) -> tuple[Tensor, Any]:
        """Return what is read of the states, ``(B, S)``, and what a following :meth:`vjp` can use.

        Raises:
            MemoryLimitError: If the device has too little memory, before any is allocated.
        """

    def vjp(
        self,
        x: Tensor,
        w: Tensor,
        cotangent: Tensor,
        kept: Any = None,
        wanted: tuple[bool, bool] = (True, True),
    ) -> Pair:
        """Return the gradients with respect to ``x`` and ``w``, in their shapes.

        Args:
            x: Shape ``(B, I)``.
            w: Shape ``(1, W)`` or ``(B, W)``.
            cotangent: Weights of what is read, ``(B, S)``.
            kept: What :meth:`evaluate` has returned at the same ``x`` and ``w``.
            wanted: Whether the gradients with respect to ``x`` and to ``w`` are needed. The others
                are zero.
        """

    def tangent(self, x: Tensor, w: Tensor, dx: Tensor, dw: Tensor) -> Tensor:
        """Return the derivatives ``(B, S)`` of what is read along ``dx`` and ``dw``."""

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

    def states(self, x: Tensor, w: Tensor) -> Tensor:
        """Return the final states ``(B, 2**n)`` of the qubits that are simulated."""
