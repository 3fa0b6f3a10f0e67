# SPDX-License-Identifier: Apache-2.0
"""Where a program is computed in tensors, by which method and with which kernels."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import logging
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ..exceptions import CircuitError, DeviceError, MeasurementError, MemoryLimitError
from ..execution import NUMBA, ON_DEVICES, TORCH, TRITON, Exact
from ..program import CircuitProgram
from ..program.readouts import Expectations
from ..simulation.choice import AUTOMATIC, COLUMNS, PLANNERS, SPEEDS, STATEVECTOR, choose
from ..simulation.statevector.plan import StatevectorPlan
from . import device_memory
from .interface import TensorSimulator

_log = logging.getLogger("qiskit_torch_bridge")

PROCESSOR = torch.device("cpu")
OLDEST_TRITON = (3, 3)
FOLLOWED = ("cuda", "xpu")
"""Devices whose tensors are computed where they are; all have numbers in double precision."""
SMALL = 14
"""Up to so many qubits the state vector is taken on a device: calls take longer than it does."""
ADVANTAGE = 20.0
"""How much faster a device is taken to be than the processor, per operation."""

Maker: TypeAlias = Callable[..., TensorSimulator]


def _plain() -> Maker:
    from .plain import PlainStatevector

    return PlainStatevector


def _triton() -> Maker:
    from .statevector import TritonStatevector

    return TritonStatevector


def _columns() -> Maker:
    from .columns import TensorColumns

    return TensorColumns


STATEVECTORS: dict[str, Callable[[], Maker]] = {TORCH: _plain, TRITON: _triton}
"""What loads the state vector of each kind of kernels."""


def make_tensor_simulator(
    program: CircuitProgram, exact: Exact, device: torch.device
) -> TensorSimulator:
    """Return what simulates a program in tensors on a device.

    Args:
        program: The program; its circuit is deferred.
        exact: How it is simulated.
        device: Where, as :func:`find_device` has found it.

    Raises:
        DeviceError: If it cannot be done there.
        CircuitError: If the circuit cannot be simulated exactly.
        MemoryLimitError: If the device has too little memory, before any is allocated.
    """
    require_device(device)
    kernels = choose_kernels(exact, device)
    method = choose_method(program, exact, device) or STATEVECTOR
    make = _columns() if method == COLUMNS else STATEVECTORS[kernels]()
    p, dtype = program, torch.complex64 if exact.dtype == "complex64" else torch.complex128
    return make(p.analysed, p.readout, p.input_columns, p.weight_columns, dtype, device)


def find_device(program: CircuitProgram, exact: Exact, device: torch.device) -> torch.device:
    """Return where a program is computed if its tensors are, or are to be, on a device.

    That is there, unless the engine follows tensors and their device has no method for it.
    """
    if exact.is_on_device:
        return device
    if device.type not in FOLLOWED or exact.kernels == NUMBA or exact.device != AUTOMATIC:
        return PROCESSOR
    if choose_method(program, exact, device) is not None:
        return device
    _log.info(
        "Simulating on the processor what is on %s: no method that computes there is as fast for "
        "this circuit as those of the processor, or it was not chosen. Exact(device='%s') computes "
        "there nevertheless.",
        device,
        device,
    )
    return PROCESSOR


def common_device(exact: Exact, inputs: Tensor, weights: Tensor) -> torch.device:
    """Return the device of tensors, or the one that was chosen wherever these are.

    Raises:
        DeviceError: If they are on several, one of which would be followed.
    """
    found = {t.device for t in (inputs, weights) if t.numel()} or {inputs.device}
    if exact.is_on_device:
        return _named_device(exact.device, found)
    followed = [device for device in found if device.type in FOLLOWED]
    if len(found) > 1 and followed and exact.device == AUTOMATIC and exact.kernels != NUMBA:
        raise DeviceError(
            "Expected inputs and weights on one device, where the exact engine computes; got "
            f"inputs on {inputs.device} and weights on {weights.device}. Move the module, "
            f"module.to('{followed[0]}'), or the inputs; or name where to compute: "
            "Exact(device=...)."
        )
    return followed[0] if followed else inputs.device


def _named_device(name: str, found: set[torch.device]) -> torch.device:
    """Return the device of a name: without a number, that of the tensors or else the current."""
    device = torch.device(name)
    if device.type == "mps" or device.index is not None:
        return torch.device(device.type, device.index or 0)
    there = sorted(d.index for d in found if d.type == device.type)
    if there:
        return torch.device(device.type, there[0])
    require_device(device)
    module: Any = getattr(torch, device.type)
    return torch.device(device.type, module.current_device())


def chosen_device(exact: Exact) -> torch.device:
    """Return the device that was named."""
    return _named_device(exact.device, set())


def require_device(device: torch.device) -> None:
    """Raise unless this build of PyTorch computes on a device, and it is there.

    Raises:
        DeviceError: If it is not.
    """
    if device.type == "cpu":
        return
    module: Any = getattr(torch, device.type, None)
    name = device.type.upper()
    if module is None or not module.is_available():
        built = {"cuda": torch.version.cuda}.get(device.type, "") is not None
        reason = "finds no such device here" if built else f"is built without {name}"
        raise DeviceError(
            f"Expected a device of {name}; PyTorch {torch.__version__} {reason}. Leave out device "
            "to compute where tensors are; `qiskit-torch-bridge doctor` tells what is there."
        )
    count, index = module.device_count(), device.index or 0
    if index >= count:
        raise DeviceError(
            f"Expected a device from {device.type}:0 to {device.type}:{count - 1}; got {device}."
        )


def choose_kernels(exact: Exact, device: torch.device) -> str:
    """Return what computes on a device.

    Raises:
        DeviceError: If Triton is asked for and cannot compute there.
    """
    if exact.kernels == TORCH:
        return TORCH
    if exact.kernels == AUTOMATIC and (device.type != "cuda" or not has_triton()):
        return TORCH
    if not has_triton():
        raise DeviceError(
            "Expected Triton 3.3 or newer, which kernels='triton' compiles with; there is none. It "
            "comes with PyTorch for CUDA on Linux, 2.7 or newer; use kernels='torch' elsewhere."
        )
    if device.type != "cuda" and not interprets():
        raise DeviceError(
            f"Expected tensors on CUDA for kernels='triton'; got them on {device}, where Triton's "
            "kernels run by its interpreter alone, in tests: with TRITON_INTERPRET=1 in the "
            "environment before Python starts. Use kernels='torch' there, or leave kernels out."
        )
    return TRITON


@functools.cache
def has_triton() -> bool:
    """Whether Triton is there, in a version that has what kernels need, ``gather`` above all."""
    if importlib.util.find_spec("triton") is None:
        return False
    import triton

    return tuple(map(int, triton.__version__.split(".")[:2])) >= OLDEST_TRITON


def interprets() -> bool:
    """Whether Triton runs kernels by its interpreter, in which a processor can do so."""
    import triton

    knobs = getattr(triton, "knobs", None)  # since Triton 3.4
    if knobs is not None:
        return bool(knobs.runtime.interpret)
    import os

    return os.environ.get("TRITON_INTERPRET", "0") == "1"


def choose_method(program: CircuitProgram, exact: Exact, device: torch.device) -> str | None:
    """Return the method by which a device simulates a program.

    Returns:
        The name; ``None`` if the processor's methods are the better ones, and may be taken.
    """
    if exact.method != AUTOMATIC:
        return exact.method if exact.method in ON_DEVICES else None
    p = program
    arguments = p.analysed, p.readout, p.input_columns, p.weight_columns, np.dtype(exact.dtype)
    state = StatevectorPlan(*arguments)
    bits = state.num_bits
    times: dict[str, float] = {}
    if device_memory.fits(2 * arguments[-1].itemsize << bits, device):
        if bits <= SMALL:
            return STATEVECTOR
        times[STATEVECTOR] = state.most_operations(bits)
    if isinstance(p.readout, Expectations) and not p.analysed.vectors:
        with contextlib.suppress(CircuitError, MeasurementError):
            cost = PLANNERS[COLUMNS]()(*arguments).estimate(1)
            if device_memory.fits(cost.bytes, device):
                times[COLUMNS] = SPEEDS[COLUMNS].factor * cost.operations
    best = min(times, key=times.__getitem__, default=None)
    if exact.is_in_tensors:
        return best or STATEVECTOR  # whose error says how much memory there is
    try:
        here = choose(AUTOMATIC, *arguments)
    except MemoryLimitError:
        if best is None:
            raise
        return best  # the device has more memory than the processor
    if best is not None and times[best] <= max(ADVANTAGE * here.time, SPEEDS[STATEVECTOR].start):
        return best
    return None
