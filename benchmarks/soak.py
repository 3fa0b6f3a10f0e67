# SPDX-License-Identifier: Apache-2.0
"""Ten thousand training steps: resident memory, open files and threads from beginning to end.

The steps change between batch sizes, with and without gradients, first and second order, so that
what is allocated for one is not simply right for the next.
"""

from __future__ import annotations

import argparse
import gc
import os
import threading
from pathlib import Path

import harness
import torch
from shift_step import workload

from qiskit_torch_bridge import TorchQuantumModule

STATUS = Path("/proc/self/status")


def resident() -> float:
    """Return the resident memory in MiB, as Linux tells it."""
    line = next(x for x in STATUS.read_text().splitlines() if x.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def main() -> None:
    """Train and print a line for every tenth of the steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000, help="default 10,000")
    options = parser.parse_args()
    work = workload(6, 2, 48)
    node = TorchQuantumModule(
        work.circuit,
        work.observables,
        input_params=work.inputs,
        weight_params=work.weights,
        initial_weights=work.w,
    )
    optimizer = torch.optim.Adam(node.parameters(), lr=0.01)
    rows: list[list[str]] = []
    for step in range(options.steps + 1):
        if step % max(1, options.steps // 10) == 0:
            gc.collect()
            files = len(os.listdir("/proc/self/fd"))
            native = len(os.listdir("/proc/self/task"))
            rows.append(
                [f"{step:,}", f"{resident():.1f}", str(files), str(threading.active_count()),
                 str(native)]
            )  # fmt: skip
            print(" ".join(f"{cell:>12}" for cell in rows[-1]), flush=True)
        optimizer.zero_grad()
        x = work.x[: 1 + step % len(work.x)]
        if step % 10 == 0:
            with torch.no_grad():
                node(x)
        loss = node(x).square().mean()
        if step % 25 == 0:
            (g,) = torch.autograd.grad(loss, node.weight, create_graph=True)
            loss = loss + g.square().sum()
        loss.backward()
        optimizer.step()
    header = ("steps", "resident (MiB)", "open files", "Python threads", "threads")
    text = "\n\n".join(["# Ten thousand training steps", harness.table(header, rows)])
    harness.save("soak", text, {"rows": rows}, harness.RESULTS)


if __name__ == "__main__":
    main()
