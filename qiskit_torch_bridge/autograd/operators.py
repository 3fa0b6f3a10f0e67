# SPDX-License-Identifier: Apache-2.0
"""What engines compute, as operators that PyTorch can trace.

Numbers are read from tensors and made into tensors here and nowhere else. Where nothing but Python
looks on, that is a function call. Where a tracer does (``make_fx``, ``torch.func.linearize``, fake
tensors), it goes through PyTorch's dispatcher: the tracer sees one operator, with the shapes of
what it returns, and calls it when there are numbers.

An operator takes tensors, numbers and text only, so a node is handed over by its name.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar, cast

import torch
from torch import Tensor

from ..arrays import FloatArray
from ..engines import Values
from ..engines.interface import TangentEngine, Wanted
from .nodes import Context, Node, node_named
from .transforms import is_concrete

_Computes = TypeVar("_Computes", bound=Callable[..., Any])

NAMESPACE = "qiskit_torch_bridge"
_LIBRARY = torch.library.Library(NAMESPACE, "DEF")


def define(
    name: str, schema: str, compute: Callable[..., Any], fake: Callable[..., Any], **options: Any
) -> Any:
    """Define an operator that computes on the processor, and return it.

    Args:
        name: Its name.
        schema: Its arguments and results, in PyTorch's notation.
        compute: Does it.
        fake: Returns tensors like the results, without computing any.
        **options: ``tags``.
    """
    _LIBRARY.define(name + schema, **options)
    _LIBRARY.impl(name, compute, "CompositeExplicitAutograd")
    torch.library.register_fake(f"{NAMESPACE}::{name}", fake, lib=_LIBRARY)
    return getattr(getattr(torch.ops, NAMESPACE), name).default


def _traceable(schema: str, fake: Callable[..., Any]) -> Callable[[_Computes], _Computes]:
    """Make a function of a node, tensors and options one that tracers can see.

    Args:
        schema: The types of what follows the node, and of what is returned.
        fake: Takes the same, and returns tensors like the results.
    """

    def decorate(compute: _Computes) -> _Computes:
        operator = define(
            compute.__name__,
            f"(str name, {schema}",
            lambda name, *rest: compute(node_named(name), *rest),
            lambda name, *rest: fake(node_named(name), *rest),
        )

        @functools.wraps(compute)
        def call(node: Node, *rest: Any) -> Any:
            if is_concrete(*(r for r in rest if isinstance(r, Tensor))):
                return compute(node, *rest)
            return operator(node.name, *rest)

        return cast("_Computes", call)

    return decorate


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


def _values_like(node: Node, inputs: Tensor, *_: Any) -> Tensor:
    return inputs.new_empty(inputs.shape[0], node.program.num_outputs)


def _gradients_like(node: Node, inputs: Tensor, weights: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return torch.empty_like(inputs), torch.empty_like(weights)


@_traceable("Tensor inputs, Tensor weights) -> Tensor", _values_like)
def evaluate(node: Node, inputs: Tensor, weights: Tensor) -> Tensor:
    """Return the expectation values ``(B, O)``."""
    return torch.from_numpy(node.evaluate(numbers(inputs), weight_rows(weights)).evs)


@_traceable(
    "Tensor inputs, Tensor weights, Tensor cotangent, bool[] wanted) -> (Tensor, Tensor)",
    _gradients_like,
)
def vjp(
    node: Node, inputs: Tensor, weights: Tensor, cotangent: Tensor, wanted: Wanted
) -> tuple[Tensor, Tensor]:
    """Return the vector-Jacobian products with respect to inputs and weights."""
    arrays = numbers(inputs), weight_rows(weights), numbers(cotangent)
    found = node.vjp(*arrays, None, (wanted[0], wanted[1]))
    return torch.from_numpy(found.inputs), by_weights(found.weights, weights)


@_traceable("Tensor inputs, Tensor weights, Tensor dx, Tensor dw) -> Tensor", _values_like)
def tangent(node: Node, inputs: Tensor, weights: Tensor, dx: Tensor, dw: Tensor) -> Tensor:
    """Return the derivatives ``(B, O)`` of expectation values along tangents."""
    engine = cast("TangentEngine", node.engine)  # of an order that has it
    arrays = numbers(inputs), weight_rows(weights), numbers(dx), weight_rows(dw)
    return torch.from_numpy(engine.tangent(*arrays))


@_traceable(
    "Tensor inputs, Tensor weights, Tensor cotangent, Tensor dx, Tensor dw, Tensor dc)"
    " -> (Tensor, Tensor)",
    _gradients_like,
)
def vjp_tangent(
    node: Node,
    inputs: Tensor,
    weights: Tensor,
    cotangent: Tensor,
    dx: Tensor,
    dw: Tensor,
    dc: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return the derivatives of :func:`vjp` along tangents."""
    engine = cast("TangentEngine", node.engine)
    arrays = numbers(inputs), weight_rows(weights), numbers(cotangent)
    gx, gw = engine.vjp_tangent(*arrays, numbers(dx), weight_rows(dw), numbers(dc))
    return torch.from_numpy(gx), by_weights(gw, weights)


class ValuesFunction(torch.autograd.Function):
    """The forward half of the functions of expectation values; their derivatives differ."""

    apply: ClassVar[Callable[..., Tensor]]

    @staticmethod
    def forward(inputs: Tensor, weights: Tensor, node: Node, arrived: Values | None) -> Tensor:
        """Evaluate all rows, unless their values have arrived already."""
        if arrived is not None:
            return torch.from_numpy(arrived.evs)
        return evaluate(node, inputs, weights)

    @staticmethod
    def setup_context(ctx: Context, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep inputs and weights: nothing else is needed for derivatives."""
        ctx.save_for_backward(*inputs[:2])
        ctx.save_for_forward(*inputs[:2])
        ctx.set_materialize_grads(False)  # a missing tangent must not cost evaluations
        ctx.node = inputs[2]
