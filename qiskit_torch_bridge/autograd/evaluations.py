# SPDX-License-Identifier: Apache-2.0
"""The autograd function of engines whose gradients are evaluations elsewhere.

It knows no gradient rule. The engine gives a plan of evaluations, which is carried out in torch by
the same function at the displaced points; so a gradient is a graph like any other and can be
differentiated as often as wanted.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..exceptions import HigherOrderError
from ..program import CircuitProgram
from ..rules import Differentiation
from .nodes import Context, Node
from .operators import ValuesFunction, vjp
from .transforms import (
    BatchInfo,
    Dims,
    array_module,
    fold_rows,
    is_concrete,
    older_vmap,
    transformed,
)


class Expectation(ValuesFunction):
    """``(B, I)`` inputs and ``(W,)`` or ``(B, W)`` weights to ``(B, O)`` expectation values."""

    @staticmethod
    def backward(ctx: Context, cotangent: Tensor | None) -> tuple[Tensor | None, ...]:
        """Return the gradients of what needs one, from one job of shift points."""
        if cotangent is None:
            return None, None, None, None
        inputs, weights = ctx.saved_tensors
        needs = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
        graph = torch.is_grad_enabled() or transformed() or older_vmap(cotangent)
        if not graph and is_concrete(inputs, weights, cotangent):
            gx, gw = vjp(ctx.node, inputs, weights, cotangent, needs)
        else:
            gx, gw = _vjp_with_graph(ctx.node, inputs, weights, cotangent, needs)
        return gx if needs[0] else None, gw if needs[1] else None, None, None

    @staticmethod
    def jvp(ctx: Context, dx: Tensor | None, dw: Tensor | None, *_: None) -> Tensor:
        """Return the derivative along tangents, from one job of shift points."""
        if _is_nested_forward_mode():
            raise HigherOrderError(
                "PyTorch drops forward mode over forward mode of custom functions. Use "
                "torch.func.hessian, or jacfwd over jacrev, for second derivatives."
            )
        inputs, weights = ctx.saved_tensors
        program = ctx.node.program
        values = place(inputs, weights, program)
        columns: tuple[int, ...] = ()
        tangents = []
        if dx is not None:
            columns += program.input_columns
            tangents.append(dx)
        if dw is not None:
            columns += program.trained_columns
            trained = dw if not program.frozen_params else dw[..., list(program.trained)]
            tangents.append(trained.expand(values.shape[0], -1))
        tangent = torch.cat(tangents, -1)  # (B, C)
        d, at_points = ctx.node.displaced(columns)
        evs = _at_shift_points(d, at_points, values)  # (S, B, O)
        m = array_module(values)
        jacobian = [d.combine(values, evs[..., o], m) for o in range(evs.shape[-1])]
        return torch.stack([(row * tangent).sum(-1) for row in jacobian], -1)

    @staticmethod
    def vmap(
        info: BatchInfo, in_dims: Dims, inputs: Tensor, weights: Tensor, node: Node, *_: None
    ) -> tuple[Tensor, int]:
        """Fold the mapped axis into the batch: still one job."""
        rows, (x, w) = fold_rows(info.batch_size, in_dims, (inputs,), (weights,))
        evs = Expectation.apply(x, w, node, None)
        return evs.reshape(info.batch_size, rows, evs.shape[-1]), 0


def place(inputs: Tensor, weights: Tensor, program: CircuitProgram) -> Tensor:
    """Put inputs ``(B, I)`` and weights ``(W,)`` or ``(B, W)`` in program order ``(B, P)``."""
    rows = weights.expand(inputs.shape[0], -1)
    order = array_module(inputs, weights).asarray(program.placement)
    return torch.cat([inputs, rows], -1)[:, order]


def _vjp_with_graph(
    node: Node, inputs: Tensor, weights: Tensor, cotangent: Tensor, needs: tuple[bool, bool]
) -> tuple[Tensor, Tensor]:
    """Return the vector-Jacobian products as functions that torch can differentiate."""
    program = node.program
    columns = program.input_columns if needs[0] else ()
    split = len(columns)
    columns += program.trained_columns if needs[1] else ()
    values = place(inputs, weights, program)
    d, at_points = node.displaced(columns)
    evs = _at_shift_points(d, at_points, values)
    weighted = (evs * cotangent).sum(-1)
    gradient = d.combine(values, weighted, array_module(values, cotangent))  # (B, C)
    # narrow, since slices have no batching rule in PyTorch's older vmap (is_grads_batched)
    of_weights = gradient.narrow(1, split, len(columns) - split)
    if program.frozen_params and needs[1]:
        frozen = torch.zeros_like(values.narrow(1, 0, len(program.frozen_params)))
        order = array_module(values, cotangent).asarray(program.weight_placement)
        of_weights = torch.cat([of_weights, frozen], 1)[:, order]
    if weights.dim() == 1:
        of_weights = of_weights.sum(0)
    return gradient.narrow(1, 0, split), of_weights


def _at_shift_points(d: Differentiation, at_points: Node, values: Tensor) -> Tensor:
    """Evaluate all shift points of all rows in one job: ``(S, B, O)``."""
    points = d.points(values, array_module(values))  # (S, B, K)
    flat = points.reshape(math.prod(points.shape[:2]), points.shape[2])
    evs = Expectation.apply(flat, flat.new_zeros(0), at_points, None)
    return evs.reshape(*points.shape[:2], at_points.program.num_outputs)


def _is_nested_forward_mode() -> bool:
    """Whether two ``torch.func`` forward-mode transforms are at work, one inside the other."""
    stack: list[Any] = (
        getattr(getattr(torch._C, "_functorch", None), "get_interpreter_stack", list)() or []
    )
    return sum("Jvp" in str(level.key()) for level in stack) > 1
