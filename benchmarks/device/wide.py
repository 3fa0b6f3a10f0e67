# SPDX-License-Identifier: Apache-2.0
"""Circuits of 50 to 127 qubits as column networks: on the device, and on the processor."""

from __future__ import annotations

from typing import Any

import adjoint_reference
import torch
from adjoint_reference import Step
from peers.qiskit_form import circuit_of, observables_of
from workloads import Spec, build, label

from device.candidates import REAL, stepping
from device.setting import Setting
from qiskit_torch_bridge import Exact, TorchQuantumModule

SIZES = {
    "full": [(50, 3, 1), (50, 3, 64), (100, 3, 1), (100, 4, 1), (100, 3, 256), (127, 5, 1)],
    "small": [(20, 2, 2)],
    "tiny": [(12, 1, 1)],
}
"""Qubits of an open chain, layers and rows."""
CLOSE = {"complex64": 1e-3, "complex128": 1e-8}
LIMIT = 15.0


def wide(setting: Setting) -> None:
    """Compare whole module steps; the processor's come last."""
    found: dict[tuple[str, str], Step] = {}
    ways = [("device", setting.device), ("processor", torch.device("cpu"))]
    for where, device in ways:
        for qubits, layers, batch in SIZES[setting.size]:
            spec: Spec = {
                "kind": "layered", "qubits": qubits, "layers": layers, "batch": batch, "chain": True
            }  # fmt: skip
            for dtype in ("complex64", "complex128"):
                about = {"row": label(spec), "dtype": dtype, "candidate": where}
                with setting.recorded(LIMIT, **about) as entry:
                    _measure(setting, spec, dtype, device, where, found, entry)


def _measure(
    setting: Setting,
    spec: Spec,
    dtype: str,
    device: torch.device,
    where: str,
    found: dict[tuple[str, str], Step],
    entry: dict[str, Any],
) -> None:
    work = build(spec)
    kernels = "torch" if where == "device" else "numba"
    exact = Exact("columns", dtype=dtype, kernels=kernels)
    circuit, inputs, weights = circuit_of(work)
    node = TorchQuantumModule(
        circuit, observables_of(work), input_params=inputs, weight_params=weights,
        initial_weights=torch.tensor(work.w), estimator=exact,
    ).to(device, REAL[dtype])  # fmt: skip
    x = torch.tensor(work.x, dtype=REAL[dtype], device=device, requires_grad=True)
    candidate = stepping(lambda: node(x), x, node.weight)
    numbers = candidate.read(candidate.step())
    entry["deviation"] = adjoint_reference.difference(
        numbers, found.setdefault((label(spec), dtype), numbers)
    )
    if not entry["deviation"] <= CLOSE[dtype]:
        raise ArithmeticError(f"its numbers deviate by {entry['deviation']:.2g}")
    candidate.step()
    entry |= setting.time(candidate.step, 1.0 if setting.size == "full" else 0.05)
