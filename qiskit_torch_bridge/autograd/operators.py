# SPDX-License-Identifier: Apache-2.0
"""What engines compute, as operators that PyTorch can trace.

Where nothing but Python looks on, an operator is a function call. Where a tracer does (``make_fx``,
``torch.func.linearize``, fake tensors), it goes through PyTorch's dispatcher: the tracer sees one
operator, with the shapes of what it returns, and calls it when there are numbers.

An operator takes tensors, numbers and text only, so a node is handed over by its name.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar, cast

import torch
from torch import Tensor

from ..engines.interface import Wanted
from .nodes import Context, Node, node_named
from .tensor_engines import Found
from .transforms import is_concrete

_Computes = TypeVar("_Computes", bound=Callable[..., Any])

NAMESPACE = "qiskit_torch_bridge"
_LIBRARY = torch.library.Library(NAMESPACE, "DEF")


def define(
    name: str, schema: str, compute: Callable[..., Any], fake: Callable[..., Any], **options: Any
) -> Any:
    """Define an operator that computes on any device, and return it.

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


def _values_like(node: Node, inputs: Tensor, *_: Any) -> Tensor:
    return inputs.new_empty(inputs.shape[0], node.program.num_outputs)


def _gradients_like(node: Node, inputs: Tensor, weights: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return torch.empty_like(inputs), torch.empty_like(weights)


@_traceable("Tensor inputs, Tensor weights) -> Tensor", _values_like)
def evaluate(node: Node, inputs: Tensor, weights: Tensor) -> Tensor:
    """Return the expectation values ``(B, O)``."""
    return node.on(inputs.device).evaluate(inputs, weights).read


@_traceable(
    "Tensor inputs, Tensor weights, Tensor cotangent, bool[] wanted) -> (Tensor, Tensor)",
    _gradients_like,
)
def vjp(
    node: Node, inputs: Tensor, weights: Tensor, cotangent: Tensor, wanted: Wanted
) -> tuple[Tensor, Tensor]:
    """Return the vector-Jacobian products with respect to inputs and weights."""
    engine = node.on(inputs.device)
    return engine.vjp(inputs, weights, cotangent, None, (wanted[0], wanted[1]))


@_traceable("Tensor inputs, Tensor weights, Tensor dx, Tensor dw) -> Tensor", _values_like)
def tangent(node: Node, inputs: Tensor, weights: Tensor, dx: Tensor, dw: Tensor) -> Tensor:
    """Return the derivatives ``(B, O)`` of expectation values along tangents."""
    return node.on(inputs.device).tangent(inputs, weights, dx, dw)


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
    return node.on(inputs.device).vjp_tangent(inputs, weights, cotangent, dx, dw, dc)


class ValuesFunction(torch.autograd.Function):
    """The forward half of the functions of expectation values; their derivatives differ."""

    apply: ClassVar[Callable[..., Tensor]]

    @staticmethod
    def forward(inputs: Tensor, weights: Tensor, node: Node, arrived: Found | None) -> Tensor:
        """Evaluate all rows, unless their values have arrived already."""
        if arrived is not None:
            return arrived.read
        return evaluate(node, inputs, weights)

    @staticmethod
    def setup_context(ctx: Context, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep inputs and weights: nothing else is needed for derivatives."""
        ctx.save_for_backward(*inputs[:2])
        ctx.save_for_forward(*inputs[:2])
        ctx.set_materialize_grads(False)  # a missing tangent must not cost evaluations
        ctx.node = inputs[2]
