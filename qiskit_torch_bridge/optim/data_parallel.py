# SPDX-License-Identifier: Apache-2.0
"""The processes among which ``DistributedDataParallel`` divides a batch.

Gradients are averaged over them. Whatever else an optimizer computes, losses and metrics, belongs
to the rows of one process until it is averaged in the same way. Only forward passes through a
``DistributedDataParallel`` that holds the optimizer's parameters tell that there is something to
average: processes that train models of their own never communicate.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.nn.parallel import DistributedDataParallel

from ..arrays import FloatArray

if TYPE_CHECKING:
    from .quantum_optimizer import SignGenerator


def has_several_processes() -> bool:
    """Whether this process is one of a distributed run."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


class Replicas:
    """Finds the processes that share a batch, and averages over them.

    Args:
        optimizer: Its parameters are those to look for.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = weakref.ref(optimizer)
        self._group: Any = None
        self._device = torch.device("cpu")
        self._agreed = False
        self.listening = False

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Watch the forward passes made in the block; earlier ones no longer count."""
        self.forget()
        if not has_several_processes():
            yield
            return
        handle = register_module_forward_pre_hook(_Watch(self))
        try:
            yield
        finally:
            handle.remove()

    def listen(self) -> None:
        """Watch all forward passes that record a graph, as long as the optimizer exists."""
        if has_several_processes() and not self.listening:
            handle = register_module_forward_pre_hook(_Watch(self, recorded_only=True))
            weakref.finalize(self, handle.remove).atexit = False
            self.listening = True

    def forget(self) -> None:
        """Forget the forward passes seen so far."""
        self._group = None

    def notice(self, model: DistributedDataParallel) -> None:
        """Take note of a model that is being called.

        Without synchronisation, under ``no_sync()``, gradients remain those of one process, and so
        does everything else.
        """
        optimizer = self._optimizer()
        if optimizer is None or not model.require_backward_grad_sync:
            return
        own = {id(p) for group in optimizer.param_groups for p in group["params"]}
        held = next((p for p in model.parameters() if id(p) in own), None)
        if held is not None:
            self._group, self._device = model.process_group, held.device

    def mean(self, numbers: FloatArray) -> FloatArray:
        """Return the mean over the processes, which is the same on all of them."""
        if self._group is None:
            return numbers
        total = torch.tensor(numbers, dtype=torch.float64, device=self._device)
        dist.all_reduce(total, group=self._group)
        return (total / dist.get_world_size(self._group)).cpu().numpy()

    def agree(self, generator: SignGenerator, state: Tensor) -> bool:
        """Give all processes a random state of the first one, when they are first found.

        Returns:
            Whether this has been done just now, so that what was drawn before must be drawn again.
        """
        if self._group is None or self._agreed:
            return False
        sent = state.to(self._device)
        dist.broadcast(sent, src=dist.get_global_rank(self._group, 0), group=self._group)
        generator.state = sent.cpu()
        self._agreed = True
        return True


class _Watch:
    """A hook that reports calls of models that divide a batch, as long as the optimizer exists."""

    def __init__(self, replicas: Replicas, recorded_only: bool = False) -> None:
        self._replicas, self._recorded_only = weakref.ref(replicas), recorded_only

    def __call__(self, module: nn.Module, arguments: Any) -> None:
        if not isinstance(module, DistributedDataParallel):
            return
        replicas = self._replicas()
        if replicas is not None and (torch.is_grad_enabled() or not self._recorded_only):
            replicas.notice(module)
