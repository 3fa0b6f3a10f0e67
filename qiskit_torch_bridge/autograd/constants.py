# SPDX-License-Identifier: Apache-2.0
"""Tables of programs and measurements, as tensors that are copied to a device once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..lru_cache import LRUCache
from .tensor_engines import PROCESSOR
from .transforms import is_compiling, is_concrete, undisturbed

_kept: LRUCache[tuple[object, Tensor]] = LRUCache(256, weight=256 << 20)


def constant(
    owner: object, name: str, device: torch.device, dtype: torch.dtype | None = None
) -> Tensor:
    """Return an attribute that never changes as a tensor on a device.

    A table that is copied anew would be waited for in each step, and could be no part of a CUDA
    graph. On the processor it shares the memory of the array, if that is one.

    Args:
        owner: What has the attribute, kept as long as the tensor is.
        name: The attribute's name.
        device: Where the tensor is to be.
        dtype: What it is to hold; default: what the attribute does.
    """
    if is_compiling():
        return torch.as_tensor(getattr(owner, name), dtype=dtype, device=device)
    if device == PROCESSOR or not is_concrete():  # what a tracer sees would be none later
        return torch.as_tensor(getattr(owner, name), dtype=dtype, device=device)

    def make() -> tuple[object, Tensor]:
        table: Any = getattr(owner, name)
        with undisturbed():
            return owner, torch.as_tensor(table, dtype=dtype, device=device)

    key = id(owner), name, device, dtype
    return _kept(key, make, lambda made: made[1].nbytes)[1]
