# SPDX-License-Identifier: Apache-2.0
"""Whole training steps, warm: this package, its peers, and this package on the processor.

First all workloads by this package, then by its processor engine and by the peers, whose numbers
must be those that were found; last by plain operations. Each measurement may take some times its
share of the time that is left, so that none that is slow costs others theirs.
"""

from __future__ import annotations

import time
from typing import Any

import adjoint_reference
import torch
from adjoint_reference import Step
from workloads import Spec, build, label

from device.candidates import CONTENDERS, OURS, OWN, PLAIN, PROCESSOR, Contender
from device.setting import Setting

LAYERED = {
    "full": [
        *((4, 3, 4096), (8, 3, 1024), (12, 3, 256), (16, 3, 64), (20, 3, 4)),
        *((24, 3, 1), (28, 3, 1)),
    ],
    "small": [(3, 1, 4), (4, 1, 2)],
    "tiny": [(2, 1, 2)],
}
"""Qubits, layers and rows."""
ENERGIES: dict[str, list[Spec]] = {
    "full": [
        *({"kind": "ising", "qubits": n, "reps": 3} for n in (20, 24, 28)),
        {"kind": "molecule", "name": "h2o"},
        {"kind": "molecule", "name": "lih"},
    ],
    "small": [{"kind": "ising", "qubits": 4, "reps": 1}],
    "tiny": [{"kind": "ising", "qubits": 3, "reps": 1}],
}
CLOSE = {"complex64": 1e-3, "complex128": 1e-8}
"""How far the numbers of candidates may be apart, relative to the largest of each array."""
LIMIT = 25.0
"""Seconds that one candidate may take on one workload, its compilation included,"""
SHARES = 4.0
"""and times an equal share of what is left."""
TIMED = {"full": 0.6, "small": 0.05, "tiny": 0.05}
"""Seconds for which steps are repeated."""


def steps(setting: Setting) -> None:
    """Rows of a layered circuit: inputs, weights, Z on each qubit."""
    sizes = LAYERED[setting.size]
    _compare(
        setting,
        [{"kind": "layered", "qubits": n, "layers": k, "batch": b} for n, k, b in sizes],
    )


def vqe(setting: Setting) -> None:
    """Energies with their gradients: critical Ising chains, and molecules."""
    _compare(setting, ENERGIES[setting.size])


def _compare(setting: Setting, specs: list[Spec]) -> None:
    for name, contender in CONTENDERS.items():
        if contender.missing:
            setting.record(missing=contender.label, packages=contender.missing, candidate=name)
    found: dict[tuple[str, str], Step] = {}
    peers = [name for name in CONTENDERS if name not in OWN]
    jobs = [
        (spec, dtype, name)
        for members in ((OURS,), (PROCESSOR, *peers), (PLAIN,))
        for spec in specs
        for dtype in ("complex64", "complex128")
        for name in members
        if dtype in CONTENDERS[name].dtypes and not CONTENDERS[name].missing
    ]
    for place, (spec, dtype, name) in enumerate(jobs):
        limit = min(LIMIT, SHARES * setting.left / (len(jobs) - place))
        _measure(setting, spec, dtype, name, CONTENDERS[name], found, limit)


def _measure(
    setting: Setting,
    spec: Spec,
    dtype: str,
    name: str,
    contender: Contender,
    found: dict[tuple[str, str], Step],
    limit: float,
) -> None:
    about: dict[str, Any] = {"row": label(spec), "dtype": dtype, "candidate": name}
    about |= {"qubits": build(spec).qubits}
    with setting.recorded(limit, **about) as entry:
        work = build(spec)
        reason = contender.fits(work)
        if reason:
            raise ValueError(reason)
        on_device = setting.device.type == "cuda" and name != PROCESSOR
        if on_device:
            torch.cuda.reset_peak_memory_stats(setting.device)
        start = time.perf_counter()
        candidate = contender.make(work, setting.device, dtype)
        numbers = candidate.read(candidate.step())
        entry["first"] = time.perf_counter() - start
        key = label(spec), dtype
        deviation = adjoint_reference.difference(numbers, found.setdefault(key, numbers))
        entry["deviation"] = deviation
        if not deviation <= CLOSE[dtype]:
            raise ArithmeticError(f"its numbers deviate by {deviation:.2g}")
        entry |= setting.time(candidate.step, TIMED[setting.size])
        if on_device:
            entry["peak_bytes"] = torch.cuda.max_memory_allocated(setting.device)
        del candidate
