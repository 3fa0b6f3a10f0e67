# SPDX-License-Identifier: Apache-2.0
"""What may be in a checkpoint, as bytes and back: tensors, numbers, text, and lists of these.

The bytes are a tree in JSON, after its length, and then the numbers of all tensors:

=====  ===================================================================
bytes  content
=====  ===================================================================
8      the length of the tree, little endian
       the tree: ``{"blobs": [their lengths], "content": ...}``
       the blobs one after the other, each padded to a multiple of 64
=====  ===================================================================

None, truth values, numbers, text and lists stand for themselves. Everything else is a mapping with
one key that names its kind. A tensor is its dtype, its shape and a blob, which holds one element
along dimensions that were expanded. So nothing can be executed, and what a file will take in memory
is known before any of it is made.
"""

from __future__ import annotations

import base64
import functools
import json
import math
import struct
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from ..exceptions import CheckpointError

LENGTH = struct.Struct("<Q")
ALIGNMENT = 64
DEPTH = 100
"""How deep lists, tuples and mappings may be nested."""
BYTES_OF_TEXT = 64
"""What a byte of the tree takes in memory, at most, once it is read."""
MARGIN = 64 << 20
REFUSALS = (struct.error, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)


# -- to bytes ------------------------------------------------------------------------------------


def pack(parts: dict[str, Any]) -> bytes:
    """Return values as bytes.

    Raises:
        CheckpointError: If there is something that cannot be kept, naming where.
    """
    packer = _Packer()
    content = {"d": [[name, packer.encode(value, name, 0)] for name, value in parts.items()]}
    tree = {"blobs": [len(blob) for blob in packer.blobs], "content": content}
    text = json.dumps(tree, separators=(",", ":")).encode()
    padded = (part for blob in packer.blobs for part in (blob, bytes(-len(blob) % ALIGNMENT)))
    return b"".join([LENGTH.pack(len(text)), text, *padded])


_MAPPINGS: dict[type, str] = {dict: "d", OrderedDict: "o", Counter: "n"}
_MADE_OF_PAIRS: dict[str, Any] = {kind: type_ for type_, kind in _MAPPINGS.items()}


class _Packer:
    """Turns values into a tree and collects the numbers of tensors, those of each tensor once."""

    def __init__(self) -> None:
        self.blobs: list[bytes] = []
        #: By where the numbers are in memory, with the tensor that keeps them there.
        self._known: dict[Any, tuple[int, Tensor]] = {}

    def encode(self, value: Any, where: str, depth: int) -> Any:
        """Return the part of the tree that stands for a value."""
        if depth > DEPTH:
            raise CheckpointError(
                f"Expected lists, tuples and dicts nested at most {DEPTH} deep; {where[:80]}... is "
                "deeper, or contains itself. Nothing was written."
            )
        if value is None or type(value) in (bool, float, str):
            return value
        if type(value) is int:
            return value if abs(value) < 1 << 63 else {"i": hex(value)}
        if isinstance(value, Tensor):
            return {"T": self._encode_tensor(value, where)}
        if type(value) in _LEAVES:
            return _LEAVES[type(value)](value)
        if isinstance(value, np.generic) and value.dtype.kind in "biufc":
            return self.encode(value.item(), where, depth)
        if type(value) in _MAPPINGS:
            for key in value:
                if isinstance(key, Tensor) or (key is not None and type(key) not in _KEYS):
                    raise CheckpointError(
                        f"Expected the keys of {where} to be text or numbers; got {key!r}."
                    )
            items = [
                [
                    self.encode(key, where, depth + 1),
                    self.encode(item, f"{where}[{key!r}]", depth + 1),
                ]
                for key, item in value.items()
            ]
            return {_MAPPINGS[type(value)]: items}
        if type(value) in (list, tuple):
            nodes = [self.encode(v, f"{where}[{i}]", depth + 1) for i, v in enumerate(value)]
            return nodes if type(value) is list else {"t": nodes}
        remedy = "Leave it out, or convert it to one of these."
        if isinstance(value, np.ndarray):
            remedy = "Convert it with torch.from_numpy(...)."
        elif isinstance(value, tuple):
            remedy = "Convert it with tuple(...) or value._asdict()."
        raise CheckpointError(
            f"Expected {where} to consist of tensors, numbers, text, None, lists, tuples and "
            f"dicts; got {type(value).__module__}.{type(value).__qualname__}. {remedy} Nothing was "
            "written."
        )

    def _encode_tensor(self, tensor: Tensor, where: str) -> list[Any]:
        kind = type(tensor).__name__
        dense = tensor.layout is torch.strided and not tensor.is_quantized and not tensor.is_meta
        if type(tensor) not in (Tensor, torch.nn.Parameter) or tensor.is_nested or not dense:
            kind = f"a {kind} ({tensor.layout}, {tensor.dtype}, {tensor.device})"
            raise CheckpointError(
                f"Expected the tensors in {where} to be dense and in memory; got {kind}. Convert "
                "it with to_dense(), dequantize() or full_tensor(). Nothing was written."
            )
        plain = tensor.detach().resolve_conj().resolve_neg()
        for axis, (length, stride) in enumerate(zip(plain.shape, plain.stride(), strict=True)):
            if not stride and length > 1:
                plain = plain.narrow(axis, 0, 1)
        key = (plain.device, plain.data_ptr(), plain.dtype, plain.shape, plain.stride())
        if key not in self._known or not plain.numel():
            self._known[key] = len(self.blobs), plain
            content = plain.cpu().clone(memory_format=torch.contiguous_format)
            content = content.view(-1).view(torch.uint8)
            self.blobs.append(content.numpy().tobytes())
        name = str(plain.dtype).removeprefix("torch.")
        blob, _ = self._known[key]
        return [name, blob, list(tensor.shape), list(plain.shape), tensor.requires_grad]


_LEAVES: dict[type, Callable[[Any], Any]] = {
    complex: lambda value: {"c": [value.real, value.imag]},
    bytes: lambda value: {"b": base64.b64encode(value).decode()},
    torch.Size: lambda value: {"s": list(value)},
    torch.dtype: lambda value: {"y": str(value).removeprefix("torch.")},
}
_KEYS = (bool, int, float, complex, str, bytes, tuple, *_LEAVES)


# -- from bytes ----------------------------------------------------------------------------------


def unpack(payload: bytes, max_bytes: int | None = None) -> dict[str, Any]:
    """Return the values that some bytes stand for.

    Args:
        payload: From :func:`pack`, or made by anyone.
        max_bytes: What they may take in memory; default: 64 MiB more than they need without tensors
            that were expanded.

    Raises:
        CheckpointError: If they are damaged, or would take more.
    """
    try:
        (length,) = LENGTH.unpack_from(payload)
        begin = LENGTH.size + length
        text, blobs = payload[LENGTH.size : begin], memoryview(payload)[begin:]
        needed = BYTES_OF_TEXT * len(text) + len(blobs)
        unpacker = _Unpacker(blobs, needed + MARGIN if max_bytes is None else max_bytes)
        unpacker.spend(needed)
        tree = json.loads(str(text, "ascii"))
        unpacker.locate(tree["blobs"])
        content = unpacker.decode(tree["content"], 0)
    except RecursionError as error:
        _refuse("it is nested too deep", error)
    except CheckpointError:
        raise
    except REFUSALS as error:  # RuntimeError: so PyTorch says that a shape cannot be
        _refuse(f"{type(error).__name__}: {error}", error)
    if type(content) is not dict:
        _refuse("it is no mapping")
    return content


class _Unpacker:
    """Turns a tree into values, and keeps to what they may take in memory."""

    def __init__(self, blobs: memoryview, max_bytes: int) -> None:
        self._bytes, self._left, self._all = blobs, max_bytes, max_bytes
        self._ranges: list[tuple[int, int]] = []
        self._made: dict[int, Tensor] = {}

    def spend(self, count: int) -> None:
        """Count bytes that are about to be taken."""
        self._left -= count
        if self._left < 0:
            raise CheckpointError(
                f"Expected a checkpoint that takes at most {self._all:,} bytes of memory "
                "(max_bytes); it would take more. Nothing was loaded. If the file is to be "
                "trusted, pass a larger max_bytes."
            )

    def locate(self, lengths: list[int]) -> None:
        """Find out where the blobs are."""
        end = 0
        for length in lengths:
            if type(length) is not int or length < 0:
                _refuse(f"a blob has {length!r} bytes")
            self._ranges.append((end, end + length))
            end += length + -length % ALIGNMENT
        if end != len(self._bytes):
            _refuse(f"its tensors take {end} bytes, and {len(self._bytes)} are there")

    def decode(self, node: Any, depth: int) -> Any:
        """Return what a part of the tree stands for."""
        if depth > 2 * DEPTH:
            _refuse(f"it is nested more than {DEPTH} deep")
        if isinstance(node, list):
            return [self.decode(item, depth + 1) for item in node]
        if not isinstance(node, dict):
            return node
        ((kind, item),) = node.items()
        if kind == "T":
            return self._decode_tensor(*item)
        if kind in _MADE_OF_PAIRS:
            pairs = [(self.decode(k, depth + 1), self.decode(v, depth + 1)) for k, v in item]
            return _MADE_OF_PAIRS[kind](dict(pairs))
        if kind == "t":
            return tuple(self.decode(item, depth + 1))
        if kind in _DECODERS:
            return _DECODERS[kind](item)
        _refuse(f"it has a value of kind {kind!r}")

    def _decode_tensor(
        self, name: str, blob: int, shape: list[int], stored: list[int], requires_grad: bool
    ) -> Tensor:
        dtype = _find_dtype(name)
        lengths = [*shape, *stored]
        if any(type(n) is not int or n < 0 for n in lengths) or any(
            n not in (1, whole) for n, whole in zip(stored, shape, strict=True)
        ):
            _refuse(f"a tensor of shape {shape} was made from one of shape {stored}")
        if type(blob) is not int or blob < 0:
            _refuse(f"a tensor has the numbers {blob!r}")
        begin, end = self._ranges[blob]
        if math.prod(stored) * dtype.itemsize != end - begin:
            _refuse(f"a tensor of shape {stored} and {dtype} has {end - begin} bytes")
        if shape != stored:
            self.spend(math.prod(shape) * dtype.itemsize)
        if dtype is torch.bool and (np.frombuffer(self._bytes[begin:end], np.uint8) > 1).any():
            _refuse("truth values are other numbers than 0 and 1")
        if blob not in self._made:  # tensors that shared their numbers do so again
            self._made[blob] = torch.empty(end - begin, dtype=torch.uint8)
            self._made[blob].numpy()[:] = np.frombuffer(self._bytes[begin:end], np.uint8)
        result = self._made[blob].view(dtype).view(stored).expand(shape)
        return result.requires_grad_(requires_grad is True)


@functools.cache
def _list_dtypes() -> dict[str, torch.dtype]:
    found = {name: value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
    return {name: value for name, value in found.items() if str(value) == f"torch.{name}"}


def _find_dtype(name: Any) -> torch.dtype:
    if name not in _list_dtypes():
        _refuse(f"PyTorch {torch.__version__} has no dtype {name!r}")
    return _list_dtypes()[name]


_DECODERS: dict[str, Callable[[Any], object]] = {
    "i": lambda item: int(item, 16),
    "c": lambda item: complex(*map(float, item)),
    "b": lambda item: base64.b64decode(item, validate=True),
    "s": torch.Size,
    "y": _find_dtype,
}


def _refuse(what: str, cause: BaseException | None = None) -> NoReturn:
    raise CheckpointError(
        f"The checkpoint is damaged, or was not written by save_checkpoint: {what}. Nothing was "
        "loaded. Restore it from a copy."
    ) from cause
