# SPDX-License-Identifier: Apache-2.0
"""The autograd functions: expectation values and their derivatives as parts of torch's graph.

They know no gradient rule. The engine is asked for a plan of evaluations, which is carried out in
torch by the same function at the displaced points; so a gradient is a graph like any other and can
be differentiated as often as wanted.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..engines import EstimatorEngine
from ..exceptions import HigherOrderError
from ..program import CircuitProgram
from ..rules import Differentiation
from .operators import estimated_values, own_gradient
from .transforms import array_module, combined, is_concrete, older_vmap, transformed


class Expectation(torch.autograd.Function):
    """``(B, I)`` inputs and ``(W,)`` or ``(B, W)`` weights to ``(B, O)`` expectation values."""

    @staticmethod
    def forward(inputs: Tensor, weights: Tensor, engine: EstimatorEngine) -> Tensor:
        """Evaluate the program at all rows, in one job."""
        return estimated_values(engine, placed(inputs, weights, engine.program))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep inputs and weights: evaluations elsewhere are all that derivatives need."""
        ctx.save_for_backward(*inputs[:2])
        ctx.save_for_forward(*inputs[:2])
        ctx.set_materialize_grads(False)  # a missing tangent must not cost evaluations
        ctx.engine = inputs[2]

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor | None) -> tuple[Tensor | None, Tensor | None, None]:
        """Return the gradients of what needs one, from one job of shift points."""
        if cotangent is None:
            return None, None, None
        inputs, weights = ctx.saved_tensors
        program = ctx.engine.program
        needs_inputs, needs_weights = ctx.needs_input_grad[:2]
        columns = program.input_columns if needs_inputs else ()
        columns += program.weight_columns if needs_weights else ()
        values = placed(inputs, weights, program)
        gradient = _vjp(ctx.engine, values, cotangent, columns)  # (B, C)
        split = len(program.input_columns) if needs_inputs else 0
        # narrow, since slices have no batching rule in PyTorch's older vmap (is_grads_batched)
        for_weights = gradient.narrow(1, split, len(columns) - split)
        if weights.dim() == 1:
            for_weights = for_weights.sum(0)
        return (
            gradient.narrow(1, 0, split) if needs_inputs else None,
            for_weights if needs_weights else None,
            None,
        )

    @staticmethod
    def jvp(ctx: Any, inputs_t: Tensor | None, weights_t: Tensor | None, _: None) -> Tensor:
        """Return the derivative along tangents, from one job of shift points."""
        if _is_nested_forward_mode():
            raise HigherOrderError(
                "PyTorch drops forward mode over forward mode of custom functions. Use "
                "torch.func.hessian, or jacfwd over jacrev, for second derivatives."
            )
        inputs, weights = ctx.saved_tensors
        program = ctx.engine.program
        values = placed(inputs, weights, program)
        columns: tuple[int, ...] = ()
        tangents = []
        if inputs_t is not None:
            columns += program.input_columns
            tangents.append(inputs_t)
        if weights_t is not None:
            columns += program.weight_columns
            tangents.append(weights_t.expand(values.shape[0], -1))
        found = ctx.engine.differentiation(columns)
        if found is None:
            raise HigherOrderError(
                f"The gradient {ctx.engine.gradient_name} has no forward mode. Use "
                "gradient='parameter-shift', 'aqgd' or 'finite-difference'."
            )
        tangent = torch.cat(tangents, -1)  # (B, C)
        evs = _at_shift_points(found, values)  # (S, B, O)
        m = array_module(values)
        jacobian = [found[0].combine(values, evs[..., o], m) for o in range(evs.shape[-1])]
        return torch.stack([(row * tangent).sum(-1) for row in jacobian], -1)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], inputs: Tensor, weights: Tensor, engine: Any
    ) -> tuple[Tensor, int]:
        """Fold the mapped axis into the batch: still one job."""
        size = info.batch_size
        inputs = _front(inputs, in_dims[0], size)  # (N, B, I)
        rows = inputs.shape[1]
        if in_dims[1] is not None:
            weights = weights.movedim(in_dims[1], 0)
            if weights.dim() == 2:  # one vector of weights per mapped element
                weights = weights[:, None].expand(-1, rows, -1)
            weights = weights.reshape(size * rows, weights.shape[-1])
        elif weights.dim() == 2:
            weights = weights.repeat(size, 1)
        evs = Expectation.apply(inputs.reshape(size * rows, inputs.shape[2]), weights, engine)
        return evs.reshape(size, rows, engine.program.num_observables), 0


class _PluginGradient(torch.autograd.Function):
    """The vector-Jacobian product of an engine that computes it itself; differentiable no more."""

    @staticmethod
    def forward(values: Tensor, cotangent: Tensor, engine: Any, columns: Any) -> Tensor:
        return own_gradient(engine, values, cotangent, columns)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.name = inputs[2].gradient_name

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> Any:
        raise HigherOrderError(
            f"The gradient {ctx.name} can be taken once, not differentiated again. For second "
            "derivatives use gradient='adjoint', 'parameter-shift', 'aqgd' or "
            "'finite-difference'."
        )

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], values: Tensor, cotangent: Tensor, *rest: Any
    ) -> tuple[Tensor, int]:
        size = info.batch_size
        values = _front(values, in_dims[0], size)
        cotangent = _front(cotangent, in_dims[1], size)
        result = _PluginGradient.apply(values.flatten(0, 1), cotangent.flatten(0, 1), *rest)
        return result.reshape(*values.shape[:2], result.shape[-1]), 0


def _is_nested_forward_mode() -> bool:
    """Whether two ``torch.func`` forward-mode transforms are at work, one inside the other."""
    stack: list[Any] = (
        getattr(getattr(torch._C, "_functorch", None), "get_interpreter_stack", list)() or []
    )
    return sum("Jvp" in str(level.key()) for level in stack) > 1


def _front(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """Bring the mapped axis to the front, or repeat a tensor that has none."""
    return tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def placed(inputs: Tensor, weights: Tensor, program: CircuitProgram) -> Tensor:
    """Put inputs ``(B, I)`` and weights ``(W,)`` or ``(B, W)`` in program order ``(B, P)``."""
    rows = weights.expand(inputs.shape[0], -1)
    order = array_module(inputs, weights).asarray(program.placement)
    return torch.cat([inputs, rows], -1)[:, order]


def _vjp(
    engine: EstimatorEngine, values: Tensor, cotangent: Tensor, columns: tuple[int, ...]
) -> Tensor:
    """Return the vector-Jacobian product ``(B, C)``."""
    found = engine.differentiation(columns)
    if found is None and older_vmap(cotangent):
        rows, count = values.shape[0], engine.program.num_observables
        units = torch.eye(count, dtype=values.dtype).repeat_interleave(rows, 0)
        gradients = _PluginGradient.apply(values.repeat(count, 1), units, engine, columns)
        return combined((gradients,), cotangent, rows)[0]
    if found is None:
        return _PluginGradient.apply(values, cotangent, engine, columns)
    graph = torch.is_grad_enabled() or transformed() or older_vmap(cotangent)
    if not graph and is_concrete(values, cotangent):
        return own_gradient(engine, values, cotangent, columns)
    evs = _at_shift_points(found, values)
    return found[0].combine(values, (evs * cotangent).sum(-1), array_module(values, cotangent))


def _at_shift_points(found: tuple[Differentiation, EstimatorEngine], values: Tensor) -> Tensor:
    """Evaluate all shift points of all rows in one job: ``(S, B, O)``."""
    d, target = found
    points = d.points(values, array_module(values))  # (S, B, K)
    flat = points.reshape(math.prod(points.shape[:2]), points.shape[2])
    evs = Expectation.apply(flat, flat.new_zeros(0), target)
    return evs.reshape(*points.shape[:2], target.program.num_observables)
