# SPDX-License-Identifier: Apache-2.0
"""An accelerator that is none: tensors that say they are there and hold numbers of the processor.

It goes by the name of "meta", which every build of PyTorch knows as a device. What a GPU refuses is
refused: arrays of NumPy that share memory, operations on tensors of two devices. What waits for a
GPU is written down: numbers and whole tensors that are read by the processor, shapes that depend on
values, and tables that are copied to the device.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from qiskit_torch_bridge.accelerators import choose
from qiskit_torch_bridge.autograd import calls, constants, nodes

aten = torch.ops.aten
DEVICE = torch.device("meta")
WAITING = {
    aten._local_scalar_dense, aten.equal, aten.is_nonzero, aten.nonzero, aten.masked_select,
    aten._unique2, aten.unique_dim, aten.repeat_interleave,
}  # fmt: skip
"""Operations whose results the processor waits for."""


class Waits(list[str]):
    """The operations for which the processor has waited, in their order."""


_waits: list[Waits] = []


def _note(what: str) -> None:
    for waits in _waits:
        waits.append(what)


class Elsewhere(Tensor):
    """A tensor that says it is on the device."""

    inner: Tensor
    is_meta = False  # there are numbers in it

    @staticmethod
    def __new__(cls, inner: Tensor) -> Elsewhere:
        made = torch.Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(),
            dtype=inner.dtype, device=DEVICE,
        )  # fmt: skip
        made.inner = inner
        return made

    def __repr__(self) -> str:
        return f"Elsewhere({self.inner!r})"

    def numpy(self, *args: Any, **options: Any) -> Any:
        raise TypeError(f"can't convert {self.device} device type tensor to numpy")

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


def _is_there(value: Any) -> bool:
    return isinstance(value, Elsewhere)


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Do on the processor what is asked for elsewhere."""
    tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, Tensor)]
    there, op = any(map(_is_there, tensors)), func.overloadpacket
    copies = op in (aten._to_copy, aten.copy_)
    target = kwargs.get("device")
    back = there if target is None else torch.device(target) == DEVICE
    if there and not copies:
        _check(func, op, args, tensors)
    if copies and (back != there or any(map(_is_there, tensors)) != all(map(_is_there, tensors))):
        _note(f"{op} between the processor and the device")
    if target is not None:
        kwargs = {**kwargs, "device": "cpu"}
    plain = tree_map(lambda t: t.inner if _is_there(t) else t, (args, kwargs))
    if op is aten.add_ and _is_there(
        args[0]
    ):  # autograd adds to what it takes for its own; memory is shared here
        args[0].inner = torch.add(*plain[0], **plain[1])
        return args[0]
    found = func(*plain[0], **plain[1])
    if func._schema.name.endswith("_") or not back:
        return args[0] if back else found
    # The wrapper does not say that numbers are conjugates still to be made, so they are made now.
    return tree_map(
        lambda t: Elsewhere(t.resolve_conj().resolve_neg()) if isinstance(t, Tensor) else t, found
    )


def _check(func: Any, op: Any, args: Any, tensors: list[Tensor]) -> None:
    """Refuse what no accelerator does, and write down what it is waited for."""
    indexes = op in (aten.index, aten.index_put, aten.index_put_)
    if any(t.dim() and not _is_there(t) for t in tensors):
        if not indexes:
            raise RuntimeError(f"{func}: expected all tensors on one device, found some on cpu")
        _note(f"{func} by indices on the processor")
    if indexes and any(isinstance(t, Tensor) and t.dtype == torch.bool for t in args[1]):
        _note(f"{func} by truth values")
    if op in WAITING:
        _note(str(func))


class _Factories(TorchDispatchMode):
    """Has tensors made on the device as well."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


@contextlib.contextmanager
def emulated_device() -> Iterator[None]:
    """Pretend that there is an accelerator, whose tensors are followed and are what they seem."""
    package = [m for n, m in sys.modules.items() if n.startswith("qiskit_torch_bridge")]
    autocast = torch.autocast

    def cast(device_type: str, **options: Any) -> Any:
        return autocast("cpu" if device_type == DEVICE.type else device_type, **options)

    with contextlib.ExitStack() as stack:
        for module in package:
            if hasattr(module, "is_concrete"):
                stack.enter_context(mock.patch.object(module, "is_concrete", lambda *_: True))
        stack.enter_context(mock.patch.object(choose, "FOLLOWED", ("cuda", "meta")))
        stack.enter_context(mock.patch.object(choose, "require_device", lambda device: None))
        for module in (constants, nodes):  # what emulates is a mode itself
            stack.enter_context(mock.patch.object(module, "undisturbed", contextlib.nullcontext))
        stack.enter_context(mock.patch.object(calls, "check_readable", lambda *_: None))
        stack.enter_context(mock.patch.object(torch, "autocast", cast))
        stack.enter_context(_Factories())
        yield


@contextlib.contextmanager
def waiting() -> Iterator[Waits]:
    """Write down what the processor waits for."""
    waits = Waits()
    _waits.append(waits)
    try:
        yield waits
    finally:
        _waits.remove(waits)
