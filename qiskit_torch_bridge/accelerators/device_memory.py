# SPDX-License-Identifier: Apache-2.0
"""How much memory a device has left for torch, and the error for what does not fit."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import torch

from .. import memory
from ..exceptions import MemoryLimitError

GRANTED = 256 << 20
"""Bytes that are not asked for: asking takes a call of the driver."""


def available(device: torch.device) -> int:
    """Return the bytes that tensors can take on a device, as far as it tells.

    What torch's allocator holds without using it counts: it is given to the next tensors.
    """
    if device.type == "cpu":
        return memory.available()
    module: ModuleType | None = getattr(torch, device.type, None)
    if module is None or not hasattr(module, "mem_get_info"):
        return 1 << 62  # torch's own error will tell
    free, _ = module.mem_get_info(device)
    return int(free + module.memory_reserved(device) - module.memory_allocated(device))


def fits(needed: int, device: torch.device) -> bool:
    """Whether so many bytes can be taken on a device."""
    return needed < GRANTED or _is_capturing(device) or needed <= available(device)


def _is_capturing(device: torch.device) -> bool:
    """Whether a CUDA graph is recorded, which has its own memory and has been tried before."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def require(needed: int, device: torch.device, what: str, advice: str = "") -> None:
    """Raise unless so many bytes can be taken on a device, before any is.

    Args:
        needed: The bytes.
        device: Where.
        what: What needs them, as the subject of a sentence.
        advice: What to do; default: what helps with states.

    Raises:
        MemoryLimitError: If there are fewer; it names both in GiB.
    """
    if fits(needed, device):
        return
    advice = advice or (
        "Use fewer rows or qubits at a time, Exact(dtype='complex64'), which halves it, or free "
        "what other tensors hold."
    )
    raise MemoryLimitError(
        f"{what} needs {memory.gib(needed)} GiB on {device}; {memory.gib(available(device))} GiB "
        f"are available there. {advice}"
    )


def for_states(device: torch.device) -> Callable[[int, int], None]:
    """Return what asks for the bytes of states of so many qubits, as :func:`.memory.require`."""

    def require_states(needed: int, num_qubits: int) -> None:
        require(needed, device, f"Simulating {num_qubits} qubits exactly")

    return require_states
