# SPDX-License-Identifier: Apache-2.0
r"""The autograd functions of engines that compute derivatives themselves, one order or two.

With :math:`f(x, w)` the expectation values and :math:`g = J^T c` the vector-Jacobian product, the
derivatives of each are among these four, so any mixture of backward and forward mode works up to
second derivatives:

* :class:`Expectation`: :math:`f`; differentiated by :class:`_VectorJacobianProduct` and
  :class:`_JacobianVectorProduct`.
* :class:`_VectorJacobianProduct`: :math:`J^T c`; by :class:`_HessianVectorProduct` and
  :class:`_JacobianVectorProduct`.
* :class:`_JacobianVectorProduct`: :math:`J \dot v`; by :class:`_HessianVectorProduct` and
  :class:`_VectorJacobianProduct`.
* :class:`_HessianVectorProduct`: the derivative of :math:`J^T c` along tangents of :math:`x, w` and
  :math:`c`; no further.

An engine of one order has the first two, and the second is differentiated no more. Inputs are
``(B, I)``, weights ``(W,)`` or ``(B, W)``, cotangents ``(B, O)``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..engines.interface import Wanted
from ..exceptions import HigherOrderError
from .nodes import Context, Node
from .operators import ValuesFunction, tangent, vjp, vjp_tangent
from .tensor_engines import Found
from .transforms import (
    BatchInfo,
    Dims,
    combine_basis,
    fold_rows,
    in_forward_mode,
    is_concrete,
    is_differentiated_elsewhere,
    older_vmap,
    transformed,
    unfold_gradients,
)

Pair = tuple[Tensor | None, Tensor | None]


def expectation(
    inputs: Tensor, weights: Tensor, node: Node, arrived: Found | None = None
) -> Tensor:
    """Return expectation values ``(B, O)`` as part of torch's graph."""
    concrete, engine = is_concrete(inputs, weights), node.on(inputs.device)
    if concrete and engine.in_graph is not None and is_differentiated_elsewhere():
        return engine.in_graph(inputs, weights)
    if transformed() or not concrete:
        return Expectation.apply(inputs, weights, node, arrived)
    if engine.may_be_singular:
        x, w = inputs.detach(), weights.detach()
        inputs = _watch(inputs, lambda: engine.check_derivatives(x, w, (True, False)))
        weights = _watch(weights, lambda: engine.check_derivatives(x, w, (False, True)))
    return _apply_directly(inputs, weights, node, arrived)


def _watch(tensor: Tensor, check: Callable[[], None]) -> Tensor:
    """Return a tensor whose gradient, if it is asked for and is not finite, is checked.

    Autograd asks for the gradients of all that requires one, also where the user wants one of them:
    a derivative that does not exist is an error only in the gradient that arrives.
    """
    if not tensor.requires_grad:
        return tensor
    alias = tensor.view_as(tensor)  # the user's own tensor must not gather hooks

    def look_at(gradient: Tensor | None) -> None:
        if gradient is None or older_vmap(gradient) or transformed() or not is_concrete(gradient):
            return  # nothing that could be looked at
        if not torch.isfinite(gradient).all():
            check()

    alias.register_hook(look_at)
    return alias


def _require_order(node: Node, order: int, forward_mode: bool = False) -> None:
    """Raise unless the engine has methods for derivatives of an order."""
    if node.order >= order:
        return
    if node.order >= 2:
        raise HigherOrderError(
            "The exact engine gives first and second derivatives; a third one was asked for. Use "
            "gradient='parameter-shift' or estimator=Exact(kernels='torch'), which can be "
            "differentiated as often as wanted."
        )
    name = node.engine.gradient_name
    if forward_mode:
        raise HigherOrderError(
            f"The gradient {name} has no forward mode. Use gradient='parameter-shift', 'aqgd' or "
            "'finite-difference'."
        )
    raise HigherOrderError(
        f"The gradient {name} can be taken once, not differentiated again. For second derivatives "
        "use gradient='adjoint', 'parameter-shift', 'aqgd' or 'finite-difference'."
    )


def _backward(ctx: Context, cotangent: Tensor | None) -> Pair:
    """Return the gradients of inputs and weights, with a graph of their own."""
    if cotangent is None:
        return None, None
    inputs, weights = ctx.saved_tensors
    wanted = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
    if older_vmap(cotangent):
        gx, gw = _gradient_by_basis(inputs, weights, cotangent, ctx.node, wanted)
    else:
        gx, gw = _VectorJacobianProduct.apply(inputs, weights, cotangent, ctx.node, wanted)
    return (gx if wanted[0] else None), (gw if wanted[1] else None)


def _again(ctx: Context, cotangent: Tensor) -> Pair:
    """Return what :func:`_backward` does, by operations that torch differentiates to any order."""
    inputs, weights = ctx.saved_tensors
    needs = ctx.needs_input_grad[:2]
    wanted = [t for t, on in zip((inputs, weights), needs, strict=True) if on]
    assert ctx.engine.in_graph is not None
    with torch.enable_grad():
        values = ctx.engine.in_graph(inputs, weights)
        found = torch.autograd.grad(
            values, wanted, cotangent, create_graph=True, materialize_grads=True
        )
    rest = iter(found)
    return (next(rest) if needs[0] else None), (next(rest) if needs[1] else None)


def _gradient_by_basis(
    inputs: Tensor, weights: Tensor, cotangent: Tensor, node: Node, wanted: Wanted
) -> tuple[Tensor, Tensor]:
    rows, count = inputs.shape[0], node.program.num_outputs
    units = torch.eye(count, dtype=inputs.dtype, device=inputs.device).repeat_interleave(rows, 0)
    x, w = inputs.repeat(count, 1), weights.expand(rows, -1).repeat(count, 1)
    found = _VectorJacobianProduct.apply(x, w, units, node, wanted)
    gx, gw = combine_basis(found, cotangent, rows, weights.dim() == 1)
    return gx, gw


def _basis(inputs: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Repeat all rows for each of the ``T = I + W`` unit tangents: ``x, w, dx, dw``."""
    rows, width = inputs.shape
    count = width + weights.shape[-1]
    units = torch.eye(count, dtype=inputs.dtype, device=inputs.device).repeat_interleave(rows, 0)
    x, w = inputs.repeat(count, 1), weights.expand(rows, -1).repeat(count, 1)
    return x, w, units[:, :width], units[:, width:]


def _gradient_backward_by_basis(
    inputs: Tensor, weights: Tensor, c: Tensor, ux: Tensor, uw: Tensor, node: Node
) -> tuple[Tensor, ...]:
    rows = inputs.shape[0]
    u = torch.cat([ux, uw.expand(rows, -1)], -1)  # (B, T)
    x, w, dx, dw = _basis(inputs, weights)
    c = c.repeat(u.shape[-1], 1)
    second = _HessianVectorProduct.apply(x, w, c, dx, dw, torch.zeros_like(c), node)
    hx, hw = combine_basis(second, u, rows, weights.dim() == 1)
    (ju,) = combine_basis((_JacobianVectorProduct.apply(x, w, dx, dw, node),), u, rows)
    return hx, hw, ju


def _forward_mode(ctx: Context, dx: Tensor | None, dw: Tensor | None) -> Tensor:
    _require_order(ctx.node, 2, forward_mode=True)
    inputs, weights = ctx.saved_tensors
    dx = torch.zeros_like(inputs) if dx is None else dx
    dw = torch.zeros_like(weights) if dw is None else dw
    if older_vmap(dx) or older_vmap(dw):
        rows = inputs.shape[0]
        tangents = _JacobianVectorProduct.apply(*_basis(inputs, weights), ctx.node)
        return combine_basis((tangents,), torch.cat([dx, dw.expand(rows, -1)], -1), rows)[0]
    return _JacobianVectorProduct.apply(inputs, weights, dx, dw, ctx.node)


class _Direct(torch.autograd.Function):
    """Expectation values outside of ``torch.func``, at the least cost per call."""

    @staticmethod
    def forward(
        ctx: Context, inputs: Tensor, weights: Tensor, node: Node, arrived: Found | None
    ) -> Tensor:
        """Evaluate, and keep what a backward pass can use if one may follow."""
        ctx.engine = node.on(inputs.device)
        needs = ctx.needs_input_grad
        read, ctx.kept = arrived or ctx.engine.evaluate(inputs, weights, needs[0] or needs[1])
        ctx.save_for_backward(inputs, weights)
        if in_forward_mode():
            ctx.save_for_forward(inputs, weights)
        ctx.set_materialize_grads(False)
        ctx.node = node
        return read

    @staticmethod
    def backward(ctx: Context, cotangent: Tensor | None) -> tuple[Tensor | None, ...]:
        """One backward sweep, whatever the number of parameters."""
        if cotangent is None or older_vmap(cotangent) or not is_concrete(cotangent):
            return *_backward(ctx, cotangent), None, None
        if torch.is_grad_enabled() or transformed():
            in_graph = ctx.engine.in_graph
            found = _backward(ctx, cotangent) if in_graph is None else _again(ctx, cotangent)
            return *found, None, None
        inputs, weights = ctx.saved_tensors  # raises if they have been changed meanwhile
        needs = ctx.needs_input_grad
        wanted = needs[0], needs[1]
        gx, gw = ctx.engine.vjp(inputs, weights, cotangent, ctx.kept, wanted)
        return gx if needs[0] else None, gw if needs[1] else None, None, None

    @staticmethod
    def jvp(ctx: Context, dx: Tensor | None, dw: Tensor | None, *_: None) -> Tensor:
        """One sweep of tangents."""
        return _forward_mode(ctx, dx, dw)


# Without what torch.autograd.Function looks for around it: there are no transforms here.
_apply_directly = super(torch.autograd.Function, _Direct).apply


class Expectation(ValuesFunction):
    """Expectation values in any composition of ``torch.func`` transforms."""

    @staticmethod
    def backward(ctx: Context, cotangent: Tensor | None) -> tuple[Tensor | None, ...]:
        """One backward sweep, whatever the number of parameters."""
        return *_backward(ctx, cotangent), None, None

    @staticmethod
    def jvp(ctx: Context, dx: Tensor | None, dw: Tensor | None, *_: Any) -> Tensor:
        """One sweep of tangents."""
        return _forward_mode(ctx, dx, dw)

    @staticmethod
    def vmap(
        info: BatchInfo, in_dims: Dims, inputs: Tensor, weights: Tensor, *rest: Any
    ) -> tuple[Tensor, int]:
        """Fold the mapped axis into the batch."""
        rows, (x, w) = fold_rows(info.batch_size, in_dims, (inputs,), (weights,))
        evs = Expectation.apply(x, w, *rest)
        return evs.reshape(info.batch_size, rows, evs.shape[-1]), 0


class _VectorJacobianProduct(torch.autograd.Function):
    """The vector-Jacobian product as a function that can be differentiated."""

    apply: ClassVar[Callable[..., tuple[Tensor, Tensor]]]

    @staticmethod
    def forward(
        inputs: Tensor, weights: Tensor, cotangent: Tensor, node: Node, wanted: Wanted
    ) -> tuple[Tensor, Tensor]:
        return vjp(node, inputs, weights, cotangent, wanted)

    @staticmethod
    def setup_context(ctx: Context, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:3])
        ctx.save_for_forward(*inputs[:3])
        ctx.node, ctx.wanted = inputs[3:]

    @staticmethod
    def backward(ctx: Context, ux: Tensor, uw: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weights, cotangent = ctx.saved_tensors
        _require_order(ctx.node, 2)
        given = zip((ux, uw), ctx.wanted, strict=True)
        ux, uw = (u if on else torch.zeros_like(u) for u, on in given)
        if older_vmap(ux) or older_vmap(uw):
            saved = inputs, weights, cotangent
            return *_gradient_backward_by_basis(*saved, ux, uw, ctx.node), None, None
        hx = hw = ju = None
        if any(ctx.needs_input_grad[:2]):
            still = torch.zeros_like(cotangent)
            hx, hw = _HessianVectorProduct.apply(
                inputs, weights, cotangent, ux, uw, still, ctx.node
            )
        if ctx.needs_input_grad[2]:
            ju = _JacobianVectorProduct.apply(inputs, weights, ux, uw, ctx.node)
        return hx, hw, ju, None, None

    @staticmethod
    def jvp(
        ctx: Context, dx: Tensor | None, dw: Tensor | None, dc: Tensor | None, *_: None
    ) -> tuple[Tensor, Tensor]:
        _require_order(ctx.node, 2)
        saved = ctx.saved_tensors
        given = zip(saved, (dx, dw, dc), strict=True)
        tangents = [torch.zeros_like(s) if d is None else d for s, d in given]
        return _HessianVectorProduct.apply(*saved, *tangents, ctx.node)

    @staticmethod
    def vmap(
        info: BatchInfo,
        in_dims: Dims,
        inputs: Tensor,
        weights: Tensor,
        cotangent: Tensor,
        node: Node,
        wanted: Wanted,
    ) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        dims = (in_dims[0], in_dims[2], in_dims[1])
        rows, (x, c, w) = fold_rows(info.batch_size, dims, (inputs, cotangent), (weights,), True)
        shared = weights.dim() - (in_dims[1] is not None) == 1
        gx, gw = _VectorJacobianProduct.apply(x, w, c, node, wanted)
        return unfold_gradients(info.batch_size, rows, gx, gw, shared), (0, 0)


class _JacobianVectorProduct(torch.autograd.Function):
    """The Jacobian-vector product as a function that can be differentiated."""

    apply: ClassVar[Callable[..., Tensor]]

    @staticmethod
    def forward(inputs: Tensor, weights: Tensor, dx: Tensor, dw: Tensor, node: Node) -> Tensor:
        return tangent(node, inputs, weights, dx, dw)

    @staticmethod
    def setup_context(ctx: Context, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:4])
        ctx.node = inputs[4]

    @staticmethod
    def backward(ctx: Context, u: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weights, dx, dw = ctx.saved_tensors
        still = torch.zeros_like(u)
        hx, hw = _HessianVectorProduct.apply(inputs, weights, u, dx, dw, still, ctx.node)
        gx, gw = _VectorJacobianProduct.apply(inputs, weights, u, ctx.node, (True, True))
        return hx, hw, gx, gw, None

    @staticmethod
    def jvp(ctx: Context, *_: Any) -> Any:
        raise HigherOrderError(
            "PyTorch drops forward mode over forward mode of custom functions. For second "
            "derivatives use torch.func.hessian, or jacfwd over jacrev; for third ones "
            "gradient='parameter-shift' and reverse mode."
        )

    @staticmethod
    def vmap(
        info: BatchInfo,
        in_dims: Dims,
        inputs: Tensor,
        weights: Tensor,
        dx: Tensor,
        dw: Tensor,
        node: Node,
    ) -> tuple[Tensor, int]:
        dims = (in_dims[0], in_dims[2], in_dims[1], in_dims[3])
        rows, folded = fold_rows(info.batch_size, dims, (inputs, dx), (weights, dw), True)
        evs = _JacobianVectorProduct.apply(folded[0], folded[2], folded[1], folded[3], node)
        return evs.reshape(info.batch_size, rows, evs.shape[-1]), 0


class _HessianVectorProduct(torch.autograd.Function):
    """The derivative of a vector-Jacobian product along tangents; differentiable no more."""

    apply: ClassVar[Callable[..., tuple[Tensor, Tensor]]]

    @staticmethod
    def forward(
        inputs: Tensor, weights: Tensor, c: Tensor, dx: Tensor, dw: Tensor, dc: Tensor, node: Node
    ) -> tuple[Tensor, Tensor]:
        return vjp_tangent(node, inputs, weights, c, dx, dw, dc)

    @staticmethod
    def setup_context(ctx: Context, inputs: tuple[Any, ...], output: Any) -> None:
        """Keep nothing: there is no further derivative."""
        ctx.node = inputs[6]

    @staticmethod
    def backward(ctx: Context, *_: Any) -> Any:
        _require_order(ctx.node, 3)

    @staticmethod
    def jvp(ctx: Context, *_: Any) -> Any:
        _require_order(ctx.node, 3)

    @staticmethod
    def vmap(
        info: BatchInfo,
        in_dims: Dims,
        inputs: Tensor,
        weights: Tensor,
        c: Tensor,
        dx: Tensor,
        dw: Tensor,
        dc: Tensor,
        node: Node,
    ) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        dims = [in_dims[i] for i in (0, 2, 3, 5, 1, 4)]
        rows, folded = fold_rows(info.batch_size, dims, (inputs, c, dx, dc), (weights, dw), True)
        x, c, dx, dc, w, dw = folded
        shared = weights.dim() - (in_dims[1] is not None) == 1
        gx, gw = _HessianVectorProduct.apply(x, w, c, dx, dw, dc, node)
        return unfold_gradients(info.batch_size, rows, gx, gw, shared), (0, 0)
