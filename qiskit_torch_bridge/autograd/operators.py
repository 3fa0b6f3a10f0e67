# SPDX-License-Identifier: Apache-2.0
"""What engines compute, as operators that PyTorch can trace.

Numbers are read from tensors and made into tensors here and nowhere else. Where nothing but Python
looks on, that is a function call. Where a tracer does (``make_fx``, ``torch.func.linearize``, fake
tensors), it goes through PyTorch's dispatcher: the tracer sees one operator, with the shapes of
what it returns, and calls it when there are numbers.

An operator takes tensors, numbers and text only, so an engine is handed over by its name.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..engines import EstimatorEngine, engine_named
from .transforms import is_concrete

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


def _traceable(schema: str, fake: Callable[..., Any]) -> Callable[[Any], Any]:
    """Make a function of an engine, tensors and options one that tracers can see.

    Args:
        schema: The types of what follows the engine, and of what is returned.
        fake: Takes the same, and returns tensors like the results.
    """

    def decorate(compute: Callable[..., Any]) -> Callable[..., Any]:
        operator = define(
            compute.__name__,
            f"(str name, {schema}",
            lambda name, *rest: compute(engine_named(name), *rest),
            lambda name, *rest: fake(engine_named(name), *rest),
        )

        @functools.wraps(compute)
        def call(engine: EstimatorEngine, *rest: Any) -> Any:
            if is_concrete(*(r for r in rest if isinstance(r, Tensor))):
                return compute(engine, *rest)
            return operator(engine.name, *rest)

        return call

    return decorate


def numbers(tensor: Tensor) -> Any:
    """Return the contiguous, writable array that kernels take."""
    array = tensor.contiguous().numpy(force=True)
    return array if array.flags.writeable else array.copy()


def weight_rows(weights: Tensor) -> Any:
    """Return weights as ``(1, W)``, or ``(B, W)`` if they have rows of their own."""
    array = numbers(weights)
    return array if array.ndim == 2 else array[None]


def _tensors(gradients: tuple[Any, Any], weights: Tensor) -> tuple[Tensor, Tensor]:
    gx, gw = gradients
    return torch.from_numpy(gx), torch.from_numpy(gw if weights.dim() == 2 else gw[0])


def _values_like(engine: EstimatorEngine, inputs: Tensor, *_: Any) -> Tensor:
    return inputs.new_empty(inputs.shape[0], engine.program.num_observables)


def _gradients_like(
    engine: EstimatorEngine, inputs: Tensor, weights: Tensor, *_: Any
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(inputs), torch.empty_like(weights)


@_traceable("Tensor inputs, Tensor weights) -> Tensor", _values_like)
def exact_values(engine: Any, inputs: Tensor, weights: Tensor) -> Tensor:
    """Return the exact expectation values ``(B, O)``."""
    return torch.from_numpy(engine.values(numbers(inputs), weight_rows(weights))[0])


@_traceable(
    "Tensor inputs, Tensor weights, Tensor cotangent, bool[] wanted) -> (Tensor, Tensor)",
    _gradients_like,
)
def exact_gradient(
    engine: Any, inputs: Tensor, weights: Tensor, cotangent: Tensor, wanted: Any
) -> tuple[Tensor, Tensor]:
    """Return the vector-Jacobian products with respect to inputs and weights."""
    arrays = numbers(inputs), weight_rows(weights), numbers(cotangent)
    return _tensors(engine.gradient(*arrays, None, tuple(wanted)), weights)


@_traceable("Tensor inputs, Tensor weights, Tensor dx, Tensor dw) -> Tensor", _values_like)
def exact_tangent(engine: Any, inputs: Tensor, weights: Tensor, dx: Tensor, dw: Tensor) -> Tensor:
    """Return the derivatives ``(B, O)`` of expectation values along tangents."""
    arrays = numbers(inputs), weight_rows(weights), numbers(dx), weight_rows(dw)
    return torch.from_numpy(engine.tangent(*arrays))


@_traceable(
    "Tensor inputs, Tensor weights, Tensor cotangent, Tensor dx, Tensor dw, Tensor dc)"
    " -> (Tensor, Tensor)",
    _gradients_like,
)
def exact_gradient_tangent(
    engine: Any,
    inputs: Tensor,
    weights: Tensor,
    cotangent: Tensor,
    dx: Tensor,
    dw: Tensor,
    dc: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return the derivatives of :func:`exact_gradient` along tangents."""
    arrays = numbers(inputs), weight_rows(weights), numbers(cotangent)
    tangents = numbers(dx), weight_rows(dw), numbers(dc)
    return _tensors(engine.gradient_tangent(*arrays, *tangents), weights)


@_traceable("Tensor values) -> Tensor", _values_like)
def estimated_values(engine: EstimatorEngine, values: Tensor) -> Tensor:
    """Return the expectation values ``(B, O)`` that the engine's estimator gives, from one job."""
    return torch.from_numpy(engine.evaluate(numbers(values)).evs)


@_traceable(
    "Tensor values, Tensor cotangent, int[] columns) -> Tensor",
    lambda engine, values, cotangent, columns: values.new_empty(values.shape[0], len(columns)),
)
def own_gradient(engine: Any, values: Tensor, cotangent: Tensor, columns: Any) -> Tensor:
    """Return the vector-Jacobian product ``(B, C)`` as the engine computes it, without a graph."""
    return torch.from_numpy(engine.vjp(numbers(values), numbers(cotangent), tuple(columns)))
