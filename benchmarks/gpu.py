# SPDX-License-Identifier: Apache-2.0
"""The exact engine on a GPU: the same numbers, how fast, and how close to the memory's bandwidth.

    python benchmarks/gpu.py                                 # everything, in eight minutes
    python benchmarks/gpu.py --only correctness steps        # some parts
    python benchmarks/gpu.py --device cpu --small            # does the script itself work?

It needs no network. Each part is a process of its own with a time of its own: neither a crash nor
an overrun costs the others anything. Tables are written after every finding, to ``gpu.md`` and
``gpu.json``; parts that are run again replace what they had found. On a processor the package's
kernels run by Triton's interpreter, at sizes that say nothing of their speed.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import harness

SECONDS = {"bandwidth": 70, "correctness": 90, "steps": 170, "vqe": 90, "wide": 45}
"""What the parts may take, in their order; those that follow share what is left."""
SHOWN = (
    *("numpy", "torch", "triton", "numba", "qiskit", "qiskit-torch-bridge", "jax"),
    *("jax-cuda13-plugin", "tensorcircuit-ng", "pennylane", "pennylane-lightning-gpu"),
    *("torchquantum",),
)
COMPILERS = 6
"""Processes among which the device's kernels are divided."""
WARMED = (
    *("warm:statevector:complex128", "warm:statevector:complex64"),
    *("warm:columns:complex128", "warm:columns:complex64"),
    *(f"warm:triton:{share}" for share in range(COMPILERS)),
)
"""Kernels that are compiled meanwhile: the processor's by methods and precisions, and the device's,
none of which is launched for it. A second or two each, on a new machine a minute or two in all."""
COMPILED = 120
"""Seconds from the start up to which parts wait for them."""
GRACE = 10
"""Seconds after its time that a part has to end by itself."""


def main() -> None:
    """Run the parts, or be one of them."""
    options = _parser().parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    if options.part:
        _run_part(options)
        return
    from device import tables

    start = time.monotonic()
    facts: dict[str, Any] = {"parts_run": {}}
    compiled = () if options.size != "full" or options.device == "cpu" else WARMED
    warm = [_start(options, name, COMPILED) for name in compiled]
    facts |= _describe(options)
    chosen = [part for part in SECONDS if part in (options.only or SECONDS)]
    for place, part in enumerate(chosen):
        while part != "bandwidth" and time.monotonic() - start < COMPILED and _are_busy(warm):
            time.sleep(0.5)
        left = options.budget - (time.monotonic() - start)
        seconds = left * SECONDS[part] / sum(SECONDS[p] for p in chosen[place:])
        (options.output / f"gpu_{part}.json").unlink(missing_ok=True)
        began = time.monotonic()
        process = _start(options, part, seconds)
        while process.poll() is None and time.monotonic() - began < seconds + GRACE:
            time.sleep(0.5)
            tables.write(options.output, facts)
        code = process.poll()
        if code is None:
            process.kill()
            process.wait()
        took = f"{time.monotonic() - began:.0f} s of {seconds:.0f}"
        how = {0: "done", None: "stopped"}.get(code, f"ended with exit code {code}")
        facts["parts_run"][part] = f"{how}, {took}"
        tables.write(options.output, facts)
    for process in warm:
        process.kill()
        process.wait()
    facts["seconds"] = round(time.monotonic() - start)
    tables.write(options.output, facts)
    print((options.output / "gpu.md").read_text(encoding="utf-8"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--device", default="cuda", help="of torch (default cuda)")
    add("--only", nargs="+", choices=SECONDS, metavar="PART", help=f"among {', '.join(SECONDS)}")
    sizes = parser.add_mutually_exclusive_group()
    for size, text in (("small", "small workloads, for a processor"), ("tiny", "still smaller")):
        sizes.add_argument(f"--{size}", dest="size", action="store_const", const=size, help=text)
    add("--budget", type=float, default=sum(SECONDS.values()), help="seconds for all (default 465)")
    add("--output", type=Path, default=harness.RESULTS, help="folder of the results")
    add("--part", help=argparse.SUPPRESS)
    add("--seconds", type=float, default=60.0, help=argparse.SUPPRESS)
    add("--began", type=float, default=time.monotonic(), help=argparse.SUPPRESS)
    parser.set_defaults(size="full")
    return parser


def _start(options: argparse.Namespace, part: str, seconds: float) -> subprocess.Popen[bytes]:
    """Start a part in a process of its own."""
    environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    root = str(Path(__file__).resolve().parent.parent)
    environment["PYTHONPATH"] = os.pathsep.join(
        [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    if options.device == "cpu":
        environment["TRITON_INTERPRET"] = "1"
    size = [] if options.size == "full" else [f"--{options.size}"]
    given = ["--device", options.device, "--output", str(options.output), *size]
    return subprocess.Popen(
        [sys.executable, __file__, *given, "--part", part, "--seconds", str(seconds)]
        + ["--began", str(time.monotonic())],  # what is imported counts
        env=environment,
    )


def _run_part(options: argparse.Namespace) -> None:
    """Be a part."""
    import torch
    from device.setting import Setting

    device = torch.device(options.device)
    setting = Setting(
        options.part, device, options.size, options.output, options.seconds, start=options.began
    )
    try:
        if options.part.startswith("warm:triton:"):
            from device.compiling import compile_share

            compile_share(setting, int(options.part.rpartition(":")[2]), COMPILERS)
        elif options.part in WARMED:
            _warm(*options.part.split(":")[1:])
        else:
            module = "steps" if options.part == "vqe" else options.part
            getattr(importlib.import_module(f"device.{module}"), options.part)(setting)
    except Exception as error:
        message = " ".join(f"{type(error).__name__}: {error}".split())
        setting.record(why=message[:300], row="the part itself")
        raise


def _warm(method: str, dtype: str) -> None:
    """Compile the processor's kernels of a method: values, gradients, products of Hessians."""
    import torch
    from device.correctness import compute, draw

    from qiskit_torch_bridge import Exact

    exact = Exact(method, dtype=dtype, device="cpu", kernels="numba")
    compute(*draw(3, 1), exact, torch.device("cpu"), 1)


def _are_busy(processes: list[subprocess.Popen[bytes]]) -> bool:
    return any(process.poll() is None for process in processes)


def _describe(options: argparse.Namespace) -> dict[str, str]:
    """Return what this is run on."""
    import torch

    found = harness.environment(SHOWN) | {"size": options.size, "device": options.device}
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(options.device)
        found["GPU"] = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
        found["CUDA"] = str(torch.version.cuda)
    return found


if __name__ == "__main__":
    main()
