# SPDX-License-Identifier: Apache-2.0
"""One call of a program: tensors checked and converted, and the output given back alike.

What an engine reads is real, ``(B, O)``. Where a measurement makes something else of it, this
happens in double precision, before the output gets the caller's dtype and shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from qiskit.circuit import Parameter
from torch import Tensor

from ..accelerators.tapes import values_dtype
from ..arguments import UNREADABLE, shown
from ..exceptions import InputError, InputTypeError, TracingError
from ..program import CircuitProgram
from .completions import complete
from .constants import constant
from .tensor_engines import PROCESSOR

FindDevice: TypeAlias = Callable[[Tensor, Tensor], torch.device]
"""Tells for inputs and weights where values are computed."""


def on_processor(inputs: Tensor, weights: Tensor) -> torch.device:
    """Return the processor, wherever tensors are."""
    return PROCESSOR


class Call(NamedTuple):
    """Checked inputs ``(B, I)`` and weights in double precision, and how outputs must look.

    Weights are ``(W,)``, or ``(B, W)`` where each row has its own.
    """

    inputs: Tensor
    weights: Tensor
    like: Tensor
    batch: tuple[int, ...]
    program: CircuitProgram

    @classmethod
    def of(
        cls,
        program: CircuitProgram,
        inputs: Tensor | None,
        weights: Tensor,
        find_device: FindDevice = on_processor,
    ) -> Call:
        """Check what a program is called with, and convert it for the device that computes."""
        if isinstance(inputs, Tensor) and not isinstance(weights, Tensor):
            weights = checked_weights(weights, program).to(inputs.device)
        weights = checked_weights(weights, program)
        like = weights
        if inputs is None:
            if program.input_params:
                raise InputError(
                    f"Expected inputs of shape (..., {len(program.input_params)}); got none. The "
                    f"circuit's inputs are {_listing(program.input_params)}."
                )
            inputs = weights.new_zeros(0)
        else:
            inputs = checked_inputs(inputs, len(program.input_params), program.input_params)
            like = inputs if inputs.is_floating_point() else weights
        batch = tuple(inputs.shape[:-1])
        if weights.dim() > 1:
            batch = common_batch(batch, tuple(weights.shape[:-1]))
            inputs = inputs.expand(*batch, inputs.shape[-1])
            weights = weights.expand(*batch, weights.shape[-1])
            weights = weights.reshape(math.prod(batch), weights.shape[-1])
        if inputs.dim() != 2:
            inputs = inputs.reshape(math.prod(batch), inputs.shape[-1])
        device = find_device(inputs, weights)
        return cls(double(inputs, device), double(weights, device), like, batch, program)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the output."""
        return self.like.dtype if self.like.is_floating_point() else torch.get_default_dtype()

    def finished(self, read: Tensor) -> Tensor:
        """Return what was read, ``(B, O)``, completed and as the caller had the inputs."""
        return self._finished(complete(self.program.measurement, read, self._coefficients()))

    def _coefficients(self) -> Tensor | None:
        """Return the values ``(B, C)`` of the parameters among the coefficients of observables."""
        if not self.program.measurement.coefficients:
            return None
        rows = self.weights.expand(len(self.inputs), -1)
        places = constant(self.program, "coefficient_places", self.inputs.device)
        return torch.cat([self.inputs, rows], -1)[:, places]

    def _finished(self, values: Tensor) -> Tensor:
        shape = (*self.batch, *self.program.output_shape)
        device, dtype = self.like.device, self.dtype
        if values.is_complex():
            dtype = _COMPLEX.get(dtype, torch.complex64)
        if dtype != values.dtype or device != values.device:
            values = values.to(device=device, dtype=dtype)
        return values if values.shape == shape else values.reshape(shape)

    def recorded(self, read: Tensor) -> Tensor:
        """Return what an operator gives that a compiler has recorded.

        It is the output, or what it will be made of: ``(B, O)`` in double precision.
        """
        return self._finished(read) if self.program.measurement.is_read else read

    def recorded_empty(self) -> Tensor:
        """Return a tensor such as :meth:`recorded` does, without values."""
        if self.program.measurement.is_read:
            return self.like.new_empty((*self.batch, *self.program.output_shape), dtype=self.dtype)
        return self.inputs.new_empty(len(self.inputs), self.program.num_outputs)

    def received(self, cotangent: Tensor) -> Tensor:
        """Return a cotangent of the output as ``(B, O)`` in double precision."""
        return double(cotangent, self.inputs.device).reshape(len(self.inputs), -1)


_COMPLEX = {torch.float64: torch.complex128}
"""The complex counterpart of a dtype; of all others it is complex64."""


def double(tensor: Tensor, device: torch.device = PROCESSOR) -> Tensor:
    """Return a tensor on a device, in double precision unless the device has none."""
    if tensor.device != device:
        if device.type == "cpu":  # in this order: not every device has float64
            return tensor.to(device).to(torch.float64)
        tensor = tensor.to(device)
    dtype = values_dtype(device)
    return tensor if tensor.dtype == dtype else tensor.to(dtype)


def _listing(parameters: Sequence[Parameter]) -> str:
    return ", ".join(p.name for p in parameters) or "(none)"


def check_readable(tensor: Any, role: str) -> None:
    """Raise unless there are numbers in a tensor, one after the other."""
    if isinstance(tensor, Tensor):
        dense = tensor.layout is torch.strided
        if dense and not (tensor.is_nested or tensor.is_quantized or tensor.is_meta):
            return
    elif type(tensor).__module__.startswith("torch.fx"):
        raise TracingError(
            "qiskit_torch_bridge cannot be traced symbolically: torch.fx hands in proxies, and the "
            "shapes of what a circuit is given must be known. Use torch.compile, torch.export or "
            "torch.fx.experimental.proxy_tensor.make_fx, or make TorchQuantumModule a leaf of a "
            "torch.fx.Tracer of your own (is_leaf_module)."
        )
    else:
        return
    if tensor.is_nested:
        kind, remedy = "a nested tensor", "torch.nested.to_padded_tensor(...), or a loop over it"
    elif tensor.is_quantized:
        kind, remedy = f"a quantized one ({tensor.dtype})", "tensor.dequantize()"
    elif tensor.is_meta:
        kind, remedy = "a meta tensor, which has none", "module.to_empty(device='cpu') and weights"
    else:
        kind, remedy = f"one of layout {tensor.layout}", "tensor.to_dense()"
    raise InputTypeError(
        f"qiskit_torch_bridge expects {role} to be a dense tensor of numbers; got {kind}. Use "
        f"{remedy}."
    )


def checked_inputs(inputs: Any, expected: int, parameters: Sequence[Parameter] = ()) -> Tensor:
    """Return inputs ``(*batch, expected)``, or say what is wrong with them."""
    check_readable(inputs, "inputs")
    if not isinstance(inputs, Tensor):
        raise InputTypeError(
            f"Expected inputs to be a torch.Tensor; got {type(inputs).__name__}. Convert them "
            "with torch.as_tensor(...)."
        )
    if inputs.is_complex():
        raise InputTypeError(
            f"Expected real inputs; got {inputs.dtype}. Gate angles are real: pass the real and "
            "imaginary parts as two inputs, with torch.view_as_real(...)."
        )
    if inputs.dim() == 0 or inputs.shape[-1] != expected:
        names = f" The circuit's inputs are {_listing(parameters)}." if parameters else ""
        raise InputError(
            f"Expected inputs of shape (..., {expected}); got {tuple(inputs.shape)}.{names}"
        )
    return inputs


def common_batch(of_inputs: tuple[int, ...], of_weights: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape to which the axes of rows broadcast."""
    try:
        return tuple(np.broadcast_shapes(of_inputs, of_weights))
    except ValueError:
        raise InputError(
            f"Expected inputs and weights whose axes before the last one broadcast; got "
            f"{of_inputs} and {of_weights}. Each row of inputs takes the weights of its own row; "
            "for all pairs of rows insert an axis, weights[:, None]."
        ) from None


def checked_weights(weights: Any, program: CircuitProgram, *, rows: bool = True) -> Tensor:
    """Return weights as a tensor, or say what is wrong with them.

    Args:
        weights: Shape ``(W,)``, or ``(*batch, W)``.
        program: Whose weights they are.
        rows: Whether there may be a batch of them.
    """
    check_readable(weights, "weights")
    if not isinstance(weights, Tensor):
        try:
            weights = torch.as_tensor(np.asarray(weights))
        except UNREADABLE as error:
            raise InputTypeError(
                f"Expected weights to be real numbers; got {shown(weights)}."
            ) from error
    if weights.is_complex():
        raise InputTypeError(f"Expected real weights; got {weights.dtype}.")
    expected = len(program.weight_params)
    if not weights.dim() or weights.shape[-1] != expected or (weights.dim() > 1 and not rows):
        shape = f"(..., {expected})" if rows else f"({expected},)"
        raise InputError(
            f"Expected weights of shape {shape}; got {tuple(weights.shape)}. The circuit's "
            f"weights are {_listing(program.weight_params)}."
        )
    return weights
