# SPDX-License-Identifier: Apache-2.0
"""Compiles Triton's kernels ahead, in several processes: none is launched, all are cached on disk.

A kernel depends on the number of qubits up to 13, on the precision, and on what is computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from device.correctness import compute, draw
from device.setting import Setting
from qiskit_torch_bridge import Exact
from qiskit_torch_bridge.accelerators.kernels import angles, launch, observables

QUBITS = (8, 12, 4, 20, 2, 3, 5, 6, 7, 9, 10, 11, 13, 1)
KERNELS = (
    *((angles, "_angles"), (angles, "_pull_back"), (launch, "_kernel")),
    *((observables, "_expect"), (observables, "_collect"), (observables, "_observe")),
)


class _Compiled:
    """A kernel that is compiled where it would be launched."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        def compile_it(*args: Any, **options: Any) -> None:
            self._kernel.warmup(*args, grid=grid, **options)

        return compile_it


def compile_share(setting: Setting, share: int, shares: int) -> None:
    """Compile the kernels of some numbers of qubits, while there is time."""
    for module, name in KERNELS:
        setattr(module, name, _Compiled(getattr(module, name)))
    for qubits in QUBITS[share::shares]:
        for dtype in ("complex64", "complex128"):
            if setting.left <= 0:
                return
            exact = Exact("statevector", dtype=dtype, kernels="triton")
            compute(*draw(qubits, 1), exact, setting.device, 1)
