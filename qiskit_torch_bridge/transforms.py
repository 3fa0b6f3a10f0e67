# SPDX-License-Identifier: Apache-2.0
"""What PyTorch is doing around a function: which transforms are at work on its tensors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

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
