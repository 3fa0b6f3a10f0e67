# SPDX-License-Identifier: Apache-2.0
"""A pass of a module as one operator, for ``torch.compile``, ``torch.export`` and ``torch.jit``.

A compiler records the operator and calls it when there are numbers. What the forward pass keeps for
the backward pass of a module that is called as usual is kept here, too: a compiled step costs what
any other does, in jobs and in sweeps. It is differentiated once; under transforms of ``torch.func``
the operators of :mod:`.operators` are recorded instead, with derivatives to second order.
"""

from __future__ import annotations

import itertools
import weakref
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..exceptions import HigherOrderError
from .calls import Call
from .nodes import Context, Node, node_named
from .operators import define

_NO_TOKEN = 0

_kept: dict[int, Any] = {}
_tokens = itertools.count(_NO_TOKEN + 1)


def _keep(what: Any) -> Tensor:
    """Keep something for the backward pass, and return the token that it lives as long as."""
    token = np.array([next(_tokens)])
    _kept[int(token[0])] = what
    weakref.finalize(token, _kept.pop, int(token[0]), None)
    return torch.from_numpy(token)  # its memory is the array's: both go together


def _compute(
    inputs: Tensor | None, weights: Tensor, name: str, for_inputs: bool, for_weights: bool
) -> tuple[Tensor, Tensor]:
    """Return expectation values, and the token of what is kept for the backward pass."""
    node = node_named(name)
    call = Call.of(node.program, inputs, weights, node.find_device)
    check_budget(node, len(call.inputs), for_inputs, for_weights)
    engine = node.on(call.inputs.device)
    read, kept = engine.evaluate(call.inputs, call.weights, for_inputs or for_weights)
    token = torch.tensor([_NO_TOKEN]) if kept is None else _keep(kept)
    return call.recorded(read), token


def check_budget(node: Node, rows: int, for_inputs: bool, for_weights: bool) -> None:
    """Raise if there is no room for this evaluation and the backward pass that may follow."""
    if node.engine.is_limited:
        columns = node.program.input_columns if for_inputs else ()
        columns += node.program.trained_columns if for_weights else ()
        node.engine.check_budget(rows, columns)


def _like(inputs: Tensor | None, weights: Tensor, name: str, *_: bool) -> tuple[Tensor, Tensor]:
    node = node_named(name)
    call = Call.of(node.program, inputs, weights, node.find_device)
    return call.recorded_empty(), torch.empty(1, dtype=torch.int64, device="cpu")


def _compute_gradients(
    cotangent: Tensor,
    token: Tensor,
    inputs: Tensor | None,
    weights: Tensor,
    name: str,
    for_inputs: bool,
    for_weights: bool,
) -> tuple[Tensor, ...]:
    """Return the gradients of inputs and weights; empty ones where they are not wanted."""
    node = node_named(name)
    call = Call.of(node.program, inputs, weights, node.find_device)
    # Nothing is kept where a saved tensor was moved or copied meanwhile.
    kept = _kept.get(int(token.item()))
    received, wanted = call.received(cotangent), (for_inputs, for_weights)
    engine = node.on(call.inputs.device)
    found = engine.vjp(call.inputs, call.weights, received, kept, wanted)
    like = _gradients_like(cotangent, token, inputs, weights, name, for_inputs, for_weights)
    return tuple(
        g.reshape(t.shape).to(t) if t.numel() else t for g, t in zip(found, like, strict=True)
    )


def _gradients_like(
    cotangent: Tensor,
    token: Tensor,
    inputs: Tensor | None,
    weights: Tensor,
    name: str,
    *wanted: bool,
) -> tuple[Tensor, ...]:
    return tuple(
        torch.empty_like(t) if t is not None and on else cotangent.new_empty(0)
        for t, on in zip((inputs, weights), wanted, strict=True)
    )


_FLAGS = "Tensor? inputs, Tensor weights, str name, bool for_inputs, bool for_weights"
_PASS = (torch.Tag.nondeterministic_seeded,)  # two passes with shots are two passes
evaluate = define("expectation", f"({_FLAGS}) -> (Tensor, Tensor)", _compute, _like, tags=_PASS)
differentiate = define(
    "expectation_backward",
    f"(Tensor cotangent, Tensor token, {_FLAGS}) -> (Tensor, Tensor)",
    _compute_gradients,
    _gradients_like,
    tags=_PASS,
)


def _set_up(ctx: Context, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, w, ctx.name = inputs[:3]
    ctx.save_for_backward(x, w, output[1])


def _backward(ctx: Context, cotangent: Tensor, _: Any) -> tuple[Tensor | None, ...]:
    x, w, token = ctx.saved_tensors
    needs = ctx.needs_input_grad[:2]
    gx, gw = differentiate(cotangent, token, x, w, ctx.name, *needs)
    return gx if needs[0] else None, gw if needs[1] else None, None, None, None


def _refuse(ctx: Context, *_: Any) -> Any:
    raise HigherOrderError(
        "What torch.compile and torch.export record is differentiated once. For second "
        "derivatives compile a function that takes them with torch.func, or use create_graph=True "
        "on the module itself."
    )


torch.library.register_autograd(evaluate, _backward, setup_context=_set_up)
torch.library.register_autograd(differentiate, _refuse)
