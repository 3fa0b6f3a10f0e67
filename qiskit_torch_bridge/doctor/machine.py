# SPDX-License-Identifier: Apache-2.0
"""What the exact engine has to work with: compiled kernels, threads, memory."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import memory
from .report import Finding

GIB = 1 << 30
CGROUP = Path("/sys/fs/cgroup")
CACHE_REMEDY = (
    "Set the environment variable NUMBA_CACHE_DIR to a folder that can be written, before Python "
    "starts."
)


class _ColdError(Exception):
    """The kernels are not on disk."""


def check_kernels(compile_now: bool = False) -> list[Finding]:
    """Whether the compiled kernels are on disk, and what the exact engine computes with them.

    Args:
        compile_now: Whether to compile them if they are not; it takes about a minute.
    """
    with contextlib.nullcontext() if compile_now else _compilation_forbidden():
        return _examine_kernels()


def _examine_kernels() -> list[Finding]:
    from ..simulation.statevector.kernels import kernel

    try:
        execute = kernel(False)
    except RuntimeError as error:  # Numba finds no folder to write to
        return [
            Finding(
                "kernels on disk",
                "fail",
                f"no folder for compiled kernels: {error}",
                "The exact engine cannot be used: neither the package's folder nor your cache "
                "folder can be written.",
                CACHE_REMEDY,
            )
        ]
    folder = Path(execute.stats.cache_path)  # type: ignore[attr-defined]
    begin = time.perf_counter()
    try:
        value, slope = _evaluate_once()
    except _ColdError:
        return [_report_cold(folder)]
    return [_report_warm(folder, time.perf_counter() - begin), _report_exact(value, slope)]


def _evaluate_once() -> tuple[float, float]:
    import torch
    from qiskit.circuit import Parameter, QuantumCircuit

    from .. import TorchQuantumModule

    circuit = QuantumCircuit(1)
    circuit.ry(Parameter("angle"), 0)
    weight = torch.tensor([0.5], dtype=torch.float64)
    module = TorchQuantumModule(circuit, "Z", initial_weights=weight)
    value = module()
    value.sum().backward()
    assert module.weight.grad is not None
    return value.item(), module.weight.grad.item()


@contextlib.contextmanager
def _compilation_forbidden() -> Iterator[None]:
    """Raise where a kernel would be compiled.

    This comes before the package's own listener, which would announce a compilation that does not
    happen.
    """
    from numba.core import event

    class Refusal(event.Listener):
        """Stops the first compilation of a kernel before it begins."""

        def on_start(self, event: event.Event) -> None:
            raise _ColdError

        def on_end(self, event: event.Event) -> None:
            """Nothing has been done."""

    refusal = Refusal()
    event.register("numba:compile", refusal)
    try:
        yield
    finally:
        event.unregister("numba:compile", refusal)


def _report_cold(folder: Path) -> Finding:
    writable = _is_writable(folder)
    return Finding(
        "kernels on disk",
        "warn",
        f"not compiled yet, in {folder}" + ("" if writable else ", which cannot be written"),
        "The first evaluation compiles for about a minute"
        + ("; later processes load the result." if writable else ", in every process."),
        "qiskit-torch-bridge doctor --compile does it now, for example while an image is built."
        if writable
        else CACHE_REMEDY,
    )


def _report_warm(folder: Path, seconds: float) -> Finding:
    name, found = "kernels on disk", f"compiled, in {folder}; loaded and run in {seconds:.1f} s"
    if _is_writable(folder):
        return Finding(name, "ok", found)
    return Finding(
        name,
        "warn",
        f"{found}; the folder cannot be written",
        "After an upgrade of Python, Numba or this package they would be compiled in every "
        "process; so would those of complex64 and second derivatives if they are not there.",
        CACHE_REMEDY,
    )


def _report_exact(value: float, slope: float) -> Finding:
    wrong = max(abs(value - math.cos(0.5)), abs(slope + math.sin(0.5)))
    if wrong > 1e-12:
        return Finding(
            "exact engine",
            "fail",
            f"cos(0.5) and its derivative are off by {wrong:.1e}",
            "The compiled kernels compute wrong numbers on this processor.",
            "Remove the folder of the kernels on disk, named above, and try again; if that does "
            "not help, use estimator=StatevectorEstimator() and report this.",
        )
    return Finding("exact engine", "ok", f"cos(0.5) and its derivative, off by {wrong:.0e}")


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def check_threads() -> Finding:
    """How many threads torch and the exact engine use, and whether there are cores for them."""
    import torch

    count, cores = torch.get_num_threads(), _count_cores()
    share = _read_quota()
    said = os.environ.get("OMP_NUM_THREADS")
    found = f"{count} of torch and of the exact engine, on {cores} cores"
    found += f" of which this container may use {share:g}" if share is not None else ""
    found += f" (OMP_NUM_THREADS={said})" if said else ""
    usable = cores if share is None else min(cores, max(1, math.ceil(share)))
    if count > usable:
        return Finding(
            "threads",
            "warn",
            found,
            "More threads than cores wait for each other: everything gets slower.",
            f"Set OMP_NUM_THREADS={usable} before Python starts, or call "
            f"torch.set_num_threads({usable}).",
        )
    if count == 1 and usable > 1:
        return Finding(
            "threads",
            "ok",
            found,
            "Right for many processes at a time. One process alone would be faster with "
            f"torch.set_num_threads({usable}).",
        )
    return Finding("threads", "ok", found)


def _count_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _read_quota() -> float | None:
    """Return how many cores a container may use, if it is limited."""
    try:
        share, period = (CGROUP / "cpu.max").read_text().split()
        return None if share == "max" else int(share) / int(period)
    except (OSError, ValueError):
        return None


def check_memory() -> Finding:
    """How much memory there is, and the most qubits whose exact gradient fits into it."""
    free, limit = memory.available(), _read_memory_limit()
    if free >= 1 << 60:
        return Finding("memory", "ok", "the system does not tell")
    usable = free if limit is None else min(free, limit)
    # Values and gradients need a bra and a ket, of 16 bytes a number.
    qubits = int(math.log2(max(usable, 64) / 32))
    found = (
        f"{usable / GIB:.1f} GiB free: exact gradients by state vector up to {qubits} qubits, "
        f"{qubits + 1} with Exact(dtype='complex64')"
    )
    if limit is not None and limit < free:
        return Finding(
            "memory",
            "warn",
            f"{found}; this container is limited to less than the {free / GIB:.1f} GiB of the "
            "machine",
            "What does not fit is refused by the machine's memory, not by the container's: a "
            "simulation in between is killed by the system.",
            f"Stay at or below {qubits} qubits, or raise the container's limit.",
        )
    if qubits < 20:
        return Finding(
            "memory",
            "warn",
            found,
            "Circuits of 20 qubits and more are refused for lack of memory.",
            "End other programs, or simulate elsewhere.",
        )
    return Finding("memory", "ok", found)


def check_accelerators() -> Finding:
    """Which devices torch has besides the CPU, and what fits on them."""
    import torch

    found = [f"CUDA {i}: {_describe_cuda(i)}" for i in range(_count_devices("cuda"))]
    found += [f"XPU {i}" for i in range(_count_devices("xpu"))]
    if torch.backends.mps.is_available():
        found.append("MPS, for Exact(device='mps', dtype='complex64')")
    return Finding(
        "devices of torch",
        "ok",
        "; ".join(["CPU", *found]),
        "Circuits are computed where tensors are on CUDA and XPU, and on the CPU otherwise; "
        "qubits are those of an exact gradient of one row in complex64."
        if found
        else "",
    )


def _count_devices(kind: str) -> int:
    import torch

    module: Any = getattr(torch, kind, None)
    return module.device_count() if module is not None and module.is_available() else 0


def _describe_cuda(index: int) -> str:
    """Return the name of a device, its memory, its compute capability, and what fits into it."""
    import torch

    free, total = torch.cuda.mem_get_info(index)
    major, minor = torch.cuda.get_device_capability(index)
    # Values and gradients need a bra and a ket, of 8 bytes a number.
    qubits = int(math.log2(max(free, 32) / 16))
    return (
        f"{torch.cuda.get_device_name(index)}, compute capability {major}.{minor}, "
        f"{free / GIB:.1f} of {total / GIB:.1f} GiB free, {qubits} qubits"
    )


UNTRIED = (
    "These kernels were checked by Triton's interpreter on a CPU and compiled for GPUs, but have "
    "not run on one."
)


def check_device_kernels() -> Finding:
    """Whether there is Triton, and what stands in its place."""
    from importlib.metadata import PackageNotFoundError, version

    from ..accelerators.choose import has_triton

    name = "kernels for GPUs"
    if not has_triton():
        return Finding(
            name,
            "ok",
            "operations of PyTorch; there is no Triton 3.3 or newer",
            "On CUDA Triton's kernels would be faster; it comes with PyTorch for CUDA on Linux.",
        )
    try:
        found = f"Triton {version('triton')}"
    except PackageNotFoundError:
        found = "Triton"
    if not _count_devices("cuda"):
        return Finding(name, "ok", f"{found}, and no GPU that it would compile for", UNTRIED)
    return Finding(
        name,
        "warn",
        f"{found}, checked by the interpreter only",
        UNTRIED,
        "Compare a step with one of Exact(kernels='torch') before you rely on it.",
    )


def _read_memory_limit() -> int | None:
    """Return the bytes that a container may still take, if it is limited."""
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        used = int((CGROUP / "memory.current").read_text())
        return None if limit == "max" else max(0, int(limit) - used)
    except (OSError, ValueError):
        return None
