# SPDX-License-Identifier: Apache-2.0
"""What PyTorch is doing around a function: which transforms and tracers are at work."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

transformed: Callable[[], bool] = getattr(
    torch._C, "_are_functorch_transforms_active", lambda: True
)
"""Whether a transform of ``torch.func`` is at work."""

older_vmap: Callable[[Tensor], bool] = getattr(
    torch._C._functorch, "is_legacy_batchedtensor", lambda tensor: False
)
"""Whether a tensor belongs to the older vmap of ``torch.autograd.functional`` (``vectorize=True``).

It cannot look into a custom function, but what is linear in such tensors can be had for a basis and
then combined by operations that it knows.
"""


def combine_basis(
    parts: tuple[Tensor, ...], u: Tensor, rows: int, shared: bool = False
) -> tuple[Tensor, ...]:
    """Sum what was computed for each of ``T`` basis vectors, ``(T * B, N)``, weighted by ``u``.

    Args:
        parts: Tensors that are linear in what the basis stands for.
        u: Shape ``(B, T)``; it may belong to the older vmap.
        rows: The number ``B``.
        shared: Whether the last of them is also summed over the rows.
    """
    factors = u.transpose(0, 1).unsqueeze(-1)
    sums = [(p.reshape(len(p) // rows, rows, p.shape[1]) * factors).sum(0) for p in parts]
    if shared:
        sums[-1] = sums[-1].sum(0)
    return tuple(sums)


_modes_at_work: Callable[[], int] = getattr(torch._C, "_len_torch_dispatch_stack", lambda: 1)


def is_concrete(*tensors: Tensor) -> bool:
    """Whether tensors hold numbers that can be read without a tracer missing it.

    Tracers such as ``make_fx`` see operators only, and hand in tensors without data: what is read
    from these is uninitialised memory, and what is computed from others becomes a constant.
    """
    if _modes_at_work():
        return False
    for tensor in tensors:  # noqa: SIM110 - a generator would take as long as all the rest
        if type(tensor).__torch_dispatch__ is not Tensor.__torch_dispatch__:
            return False
    return True


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Have tensors made that outlive the transforms, tracers and modes which are at work.

    Within a transform of ``torch.func`` a new tensor belongs to it, within a tracer it may have no
    numbers, and in inference mode it can never be part of a graph.
    """
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        _disable_current_modes(),
        torch._C._DisableFuncTorch(),
    ):
        yield


def is_compiling() -> bool:
    """Whether ``torch.compile``, ``torch.export`` or ``torch.jit.trace`` records what is called."""
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None


def is_exporting() -> bool:
    """Whether ``torch.export`` records what is called, for another process perhaps.

    Before there was a word for it, this was the only compiler that calls Python and says so.
    """
    return getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)()


def is_differentiated_elsewhere() -> bool:
    """Whether derivatives are taken by ``torch.func`` or in forward mode."""
    return transformed() or in_forward_mode()


def in_forward_mode() -> bool:
    """Whether ``torch.autograd.forward_ad`` carries tangents along."""
    return torch.autograd.forward_ad._current_level >= 0


class _TracedArrays:
    """The functions of torch, with constants made in a way that tracers see."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    @staticmethod
    def asarray(array: Any) -> Tensor:
        """Return a constant; ``torch.asarray`` goes unseen by tracers."""
        return torch.tensor(array)

    @staticmethod
    def isfinite(tensor: Tensor) -> Any:
        """Return true: there are no numbers to look at yet."""
        return np.True_


_TRACED = _TracedArrays()


def array_module(*tensors: Tensor) -> Any:
    """Return the module whose functions compute with tensors, traced or not."""
    return torch if is_concrete(*tensors) else _TRACED


class BatchInfo(Protocol):
    """What PyTorch tells a ``vmap`` rule."""

    batch_size: int


Dims = Sequence[int | None]
"""Where the mapped axis is in each argument; ``None`` where it is not."""


def fold_rows(
    size: int,
    in_dims: Dims,
    by_row: tuple[Tensor, ...],
    weights: tuple[Tensor, ...],
    own_rows: bool = False,
) -> tuple[int, list[Tensor]]:
    """Fold the mapped axis of a ``vmap`` into the rows of all tensors.

    Args:
        size: The size of the mapped axis.
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


def unfold_gradients(
    size: int, rows: int, gx: Tensor, gw: Tensor, shared: bool
) -> tuple[Tensor, Tensor]:
    """Give gradients the mapped axis back; weights that all rows share get a sum over these."""
    gx = gx.reshape(size, rows, gx.shape[1])
    gw = gw.reshape(size, rows, gw.shape[1])
    return gx, (gw.sum(1) if shared else gw)
