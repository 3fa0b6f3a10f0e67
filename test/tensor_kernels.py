# SPDX-License-Identifier: Apache-2.0
"""The exact engine in tensors, as further places that the contracts of the exact engine hold at.

Triton's kernels run by its interpreter here, which takes a thousand times as long as a GPU does.
"""

from __future__ import annotations

from typing import Any

from qiskit_torch_bridge import Exact
from qiskit_torch_bridge.accelerators.choose import has_triton

KERNELS = ("torch", "triton") if has_triton() else ("torch",)
IN_TENSORS = {f"exact by {kernels}": Exact(kernels=kernels) for kernels in KERNELS}
"""By name; each computes on the processor what others compute on an accelerator."""


def is_tried(name: str, chosen: bool) -> bool:
    """Whether kernels are tried on something: Triton's, since it is slow, on what is chosen."""
    return chosen or name != "exact by triton"


def how(gradient: str) -> dict[str, Any]:
    """The arguments that choose a gradient by name, or one of these engines with its own."""
    exact = IN_TENSORS.get(gradient)
    return {"gradient": gradient} if exact is None else {"estimator": exact}
