# SPDX-License-Identifier: Apache-2.0
r"""The autograd functions of the exact engine: values, gradients, and tangents of both.

With :math:`f(x, w)` the expectation values and :math:`g = J^T c` the vector-Jacobian product, the
derivatives of each are among these four, so any mixture of backward and forward mode works up to
second derivatives:

* :class:`ExactExpectation`: :math:`f`; differentiated by :class:`_Gradient` and :class:`_Tangent`.
* :class:`_Gradient`: :math:`J^T c`; by :class:`_GradientTangent` and :class:`_Tangent`.
* :class:`_Tangent`: :math:`J \dot v`; by :class:`_GradientTangent` and :class:`_Gradient`.
* :class:`_GradientTangent`: the derivative of :math:`J^T c`, a Hessian-vector product; no further.

Inputs are ``(B, I)``, weights ``(W,)`` or ``(B, W)``, cotangents ``(B, O)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..engines import StatevectorEngine
from ..exceptions import HigherOrderError
from .operators import (
    exact_gradient,
    exact_gradient_tangent,
    exact_tangent,
    exact_values,
    numbers,
    weight_rows,
)
from .transforms import combined, in_forward_mode, is_concrete, older_vmap, transformed

Pair = tuple[Tensor | None, Tensor | None]

_THIRD = (
    "The exact engine gives first and second derivatives; a third one was asked for. Use "
    "gradient='parameter-shift', which can be differentiated as often as wanted."
)


def exact_expectation(inputs: Tensor, weights: Tensor, engine: StatevectorEngine) -> Tensor:
    """Return expectation values ``(B, O)`` as part of torch's graph."""
    if transformed() or not is_concrete(inputs, weights):
        return ExactExpectation.apply(inputs, weights, engine)
    return _apply_directly(inputs, weights, engine)


def _backward(ctx: Any, cotangent: Tensor | None) -> Pair:
    """The gradients of inputs and weights, with a graph of their own if one is asked for."""
    if cotangent is None:
        return None, None
    inputs, weights = ctx.saved_tensors
    needs = ctx.needs_input_grad
    wanted = (needs[0], needs[1])
    if older_vmap(cotangent):
        gx, gw = _gradient_by_basis(inputs, weights, cotangent, ctx.engine, wanted)
    else:
        gx, gw = _Gradient.apply(inputs, weights, cotangent, ctx.engine, wanted)
    return (gx if wanted[0] else None), (gw if wanted[1] else None)


def _gradient_by_basis(
    inputs: Tensor, weights: Tensor, cotangent: Tensor, engine: StatevectorEngine, wanted: Any
) -> tuple[Tensor, Tensor]:
    rows, count = inputs.shape[0], engine.program.num_observables
    units = torch.eye(count, dtype=inputs.dtype).repeat_interleave(rows, 0)
    x, w = inputs.repeat(count, 1), weights.expand(rows, -1).repeat(count, 1)
    gx, gw = _Gradient.apply(x, w, units, engine, wanted)
    gx, gw = combined((gx, gw), cotangent, rows, weights.dim() == 1)
    return gx, gw


def _basis(inputs: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Repeat all rows for each of the ``T = I + W`` unit tangents: ``x, w, dx, dw``."""
    rows, width = inputs.shape
    count = width + weights.shape[-1]
    units = torch.eye(count, dtype=inputs.dtype).repeat_interleave(rows, 0)
    x, w = inputs.repeat(count, 1), weights.expand(rows, -1).repeat(count, 1)
    return x, w, units[:, :width], units[:, width:]


def _gradient_backward_by_basis(
    inputs: Tensor, weights: Tensor, c: Tensor, ux: Tensor, uw: Tensor, engine: StatevectorEngine
) -> tuple[Tensor, ...]:
    rows = inputs.shape[0]
    u = torch.cat([ux, uw.expand(rows, -1)], -1)  # (B, T)
    x, w, dx, dw = _basis(inputs, weights)
    c = c.repeat(u.shape[-1], 1)
    hx, hw = _GradientTangent.apply(x, w, c, dx, dw, torch.zeros_like(c), engine)
    hx, hw = combined((hx, hw), u, rows, weights.dim() == 1)
    (ju,) = combined((_Tangent.apply(x, w, dx, dw, engine),), u, rows)
    return hx, hw, ju


def _forward_mode(ctx: Any, dx: Tensor | None, dw: Tensor | None) -> Tensor:
    inputs, weights = ctx.saved_tensors
    dx = torch.zeros_like(inputs) if dx is None else dx
    dw = torch.zeros_like(weights) if dw is None else dw
    if older_vmap(dx) or older_vmap(dw):
        rows = inputs.shape[0]
        tangents = _Tangent.apply(*_basis(inputs, weights), ctx.engine)
        return combined((tangents,), torch.cat([dx, dw.expand(rows, -1)], -1), rows)[0]
    return _Tangent.apply(inputs, weights, dx, dw, ctx.engine)


class _Direct(torch.autograd.Function):
    """Expectation values outside of ``torch.func``, at the least cost per call."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weights: Tensor, engine: Any) -> Tensor:
        """Evaluate, and keep the final states if a backward pass may follow."""
        ctx.arrays = numbers(inputs), weight_rows(weights)
        needs = ctx.needs_input_grad
        evs, ctx.kept = engine.values(*ctx.arrays, needs[0] or needs[1])
        ctx.save_for_backward(inputs, weights)
        if in_forward_mode():
            ctx.save_for_forward(inputs, weights)
        ctx.set_materialize_grads(False)
        ctx.engine = engine
        return torch.from_numpy(evs)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor | None) -> Any:
        """One backward sweep, whatever the number of parameters."""
        if (
            cotangent is None
            or torch.is_grad_enabled()
            or older_vmap(cotangent)
            or transformed()
            or not is_concrete(cotangent)
        ):
            return *_backward(ctx, cotangent), None
        _, weights = ctx.saved_tensors  # raises if they have been changed meanwhile
        needs = ctx.needs_input_grad
        gx, gw = ctx.engine.gradient(*ctx.arrays, numbers(cotangent), ctx.kept, needs[:2])
        return (
            torch.from_numpy(gx) if needs[0] else None,
            torch.from_numpy(gw if weights.dim() == 2 else gw[0]) if needs[1] else None,
            None,
        )

    @staticmethod
    def jvp(ctx: Any, dx: Tensor | None, dw: Tensor | None, _: None) -> Tensor:
        """One sweep of tangents."""
        return _forward_mode(ctx, dx, dw)


# Without what torch.autograd.Function looks for around it: there are no transforms here.
_apply_directly = super(torch.autograd.Function, _Direct).apply


class ExactExpectation(torch.autograd.Function):
    """Expectation values in any composition of ``torch.func`` transforms."""

    @staticmethod
    def forward(inputs: Tensor, weights: Tensor, engine: Any) -> Tensor:
        """Evaluate all rows."""
        return exact_values(engine, inputs, weights)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep inputs and weights."""
        ctx.save_for_backward(*inputs[:2])
        ctx.save_for_forward(*inputs[:2])
        ctx.set_materialize_grads(False)
        ctx.engine = inputs[2]

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor | None) -> Any:
        """One backward sweep, whatever the number of parameters."""
        return *_backward(ctx, cotangent), None

    @staticmethod
    def jvp(ctx: Any, dx: Tensor | None, dw: Tensor | None, *_: Any) -> Tensor:
        """One sweep of tangents."""
        return _forward_mode(ctx, dx, dw)

    @staticmethod
    def vmap(info: Any, in_dims: Any, inputs: Tensor, weights: Tensor, *rest: Any) -> Any:
        """Fold the mapped axis into the batch."""
        rows, (x, w) = _folded(info.batch_size, in_dims, (inputs,), (weights,))
        evs = ExactExpectation.apply(x, w, *rest)
        return evs.reshape(info.batch_size, rows, evs.shape[-1]), 0


class _Gradient(torch.autograd.Function):
    """The vector-Jacobian product as a function that can be differentiated."""

    @staticmethod
    def forward(
        inputs: Tensor, weights: Tensor, cotangent: Tensor, engine: Any, wanted: Any
    ) -> tuple[Tensor, Tensor]:
        return exact_gradient(engine, inputs, weights, cotangent, wanted)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:3])
        ctx.save_for_forward(*inputs[:3])
        ctx.engine, ctx.wanted = inputs[3:]

    @staticmethod
    def backward(ctx: Any, ux: Tensor, uw: Tensor) -> Any:
        inputs, weights, cotangent = ctx.saved_tensors
        given = zip((ux, uw), ctx.wanted, strict=True)
        ux, uw = (u if on else torch.zeros_like(u) for u, on in given)
        if older_vmap(ux) or older_vmap(uw):
            saved = inputs, weights, cotangent
            return *_gradient_backward_by_basis(*saved, ux, uw, ctx.engine), None, None
        hx = hw = ju = None
        if any(ctx.needs_input_grad[:2]):
            still = torch.zeros_like(cotangent)
            hx, hw = _GradientTangent.apply(inputs, weights, cotangent, ux, uw, still, ctx.engine)
        if ctx.needs_input_grad[2]:
            ju = _Tangent.apply(inputs, weights, ux, uw, ctx.engine)
        return hx, hw, ju, None, None

    @staticmethod
    def jvp(ctx: Any, dx: Any, dw: Any, dc: Any, *_: Any) -> Any:
        saved = ctx.saved_tensors
        given = zip(saved, (dx, dw, dc), strict=True)
        tangents = [torch.zeros_like(s) if d is None else d for s, d in given]
        return _GradientTangent.apply(*saved, *tangents, ctx.engine)

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, inputs: Tensor, weights: Tensor, cotangent: Tensor, *rest: Any
    ) -> Any:
        dims = (in_dims[0], in_dims[2], in_dims[1])
        rows, (x, c, w) = _folded(info.batch_size, dims, (inputs, cotangent), (weights,), True)
        shared = weights.dim() - (in_dims[1] is not None) == 1
        gx, gw = _Gradient.apply(x, w, c, *rest)
        return _unfolded(info.batch_size, rows, gx, gw, shared), (0, 0)


class _Tangent(torch.autograd.Function):
    """The Jacobian-vector product as a function that can be differentiated."""

    @staticmethod
    def forward(inputs: Tensor, weights: Tensor, dx: Tensor, dw: Tensor, engine: Any) -> Tensor:
        return exact_tangent(engine, inputs, weights, dx, dw)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:4])
        ctx.engine = inputs[4]

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> Any:
        inputs, weights, dx, dw = ctx.saved_tensors
        still = torch.zeros_like(u)
        hx, hw = _GradientTangent.apply(inputs, weights, u, dx, dw, still, ctx.engine)
        gx, gw = _Gradient.apply(inputs, weights, u, ctx.engine, (True, True))
        return hx, hw, gx, gw, None

    @staticmethod
    def jvp(ctx: Any, *_: Any) -> Any:
        raise HigherOrderError(
            "PyTorch drops forward mode over forward mode of custom functions. For second "
            "derivatives use torch.func.hessian, or jacfwd over jacrev; for third ones "
            "gradient='parameter-shift' and reverse mode."
        )

    @staticmethod
    def vmap(info: Any, in_dims: Any, *arguments: Any) -> Any:
        inputs, weights, dx, dw, engine = arguments
        dims = (in_dims[0], in_dims[2], in_dims[1], in_dims[3])
        rows, folded = _folded(info.batch_size, dims, (inputs, dx), (weights, dw), True)
        evs = _Tangent.apply(folded[0], folded[2], folded[1], folded[3], engine)
        return evs.reshape(info.batch_size, rows, evs.shape[-1]), 0


class _GradientTangent(torch.autograd.Function):
    """The derivative of a vector-Jacobian product along tangents; differentiable no more."""

    @staticmethod
    def forward(
        inputs: Tensor, weights: Tensor, c: Tensor, dx: Tensor, dw: Tensor, dc: Tensor, engine: Any
    ) -> tuple[Tensor, Tensor]:
        return exact_gradient_tangent(engine, inputs, weights, c, dx, dw, dc)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Nothing is kept: there is no further derivative."""

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise HigherOrderError(_THIRD)

    @staticmethod
    def jvp(ctx: Any, *_: Any) -> Any:
        raise HigherOrderError(_THIRD)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *arguments: Any) -> Any:
        inputs, weights, c, dx, dw, dc, engine = arguments
        dims = [in_dims[i] for i in (0, 2, 3, 5, 1, 4)]
        rows, folded = _folded(info.batch_size, dims, (inputs, c, dx, dc), (weights, dw), True)
        x, c, dx, dc, w, dw = folded
        shared = weights.dim() - (in_dims[1] is not None) == 1
        gx, gw = _GradientTangent.apply(x, w, c, dx, dw, dc, engine)
        return _unfolded(info.batch_size, rows, gx, gw, shared), (0, 0)


def _folded(
    size: int,
    in_dims: Sequence[int | None],
    by_row: tuple[Tensor, ...],
    weights: tuple[Tensor, ...],
    own_rows: bool = False,
) -> tuple[int, list[Tensor]]:
    """Fold a mapped axis of ``size`` into the rows of all tensors.

    Args:
        size: The mapped axis.
        in_dims: Where it is in each tensor; ``None`` if it is not.
        by_row: Tensors of shape ``(B, ...)`` but for the mapped axis.
        weights: Tensors ``(W,)`` or ``(B, W)`` but for it.
        own_rows: Whether weights must get a row for each row of the others in any case.

    Returns:
        The rows ``B`` before, and the tensors in the same order.
    """
    result: list[Tensor] = []
    rows = 0
    for tensor, dim in zip(by_row, in_dims, strict=False):
        front = tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
        rows = front.shape[1]
        result.append(front.reshape(size * rows, front.shape[2]))
    for tensor, dim in zip(weights, in_dims[len(by_row) :], strict=False):
        if dim is None and tensor.dim() == 1 and not own_rows:
            result.append(tensor)
            continue
        front = tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
        if front.dim() == 2:
            front = front[:, None].expand(-1, rows, -1)
        result.append(front.reshape(size * rows, front.shape[2]))
    return rows, result


def _unfolded(size: int, rows: int, gx: Tensor, gw: Tensor, shared: bool) -> tuple[Tensor, Tensor]:
    gx = gx.reshape(size, rows, gx.shape[1])
    gw = gw.reshape(size, rows, gw.shape[1])
    return gx, (gw.sum(1) if shared else gw)
