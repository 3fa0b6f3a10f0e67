# SPDX-License-Identifier: Apache-2.0
"""The exact engine in tensors, as further places that the contracts of the exact engine hold at.

Triton's kernels run by its interpreter here, which takes a thousand times as long as a GPU does.
"""

from __future__ import annotations

import importlib.util
import os

os.environ.setdefault("TRITON_INTERPRET", "1")  # read when kernels are defined

from qiskit_torch_bridge import Exact

NEEDS = {"torch": "torch", "triton": "qiskit_torch_bridge.accelerators.statevector"}
IN_TENSORS = {
    f"exact by {kernels}": Exact(kernels=kernels)
    for kernels, package in NEEDS.items()
    if importlib.util.find_spec(package) is not None
}
"""By name; each computes on the processor what others compute on an accelerator."""
