# SPDX-License-Identifier: Apache-2.0
"""Results in a journal: every number and every shot, to the last bit, as text."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np
from qiskit.primitives import BitArray, PubResult
from qiskit.primitives.containers import DataBin

from ..primitives.families import Pub, family_of


def encode_result(result: PubResult, pub: Pub) -> dict[str, Any]:
    """Return what is used of the result of a PUB in a form that JSON can write."""
    fields = family_of(pub).read(result, pub, 0, "The job")
    return {name: _encode(value) for name, value in fields.items()}


def decode_result(data: dict[str, Any], pub: Pub) -> PubResult:
    """Return the result of a PUB that was encoded."""
    fields = {name: _decode(described) for name, described in data.items()}
    return family_of(pub).result_class(DataBin(**fields, shape=pub.shape))


def _encode(value: Any) -> dict[str, Any]:
    if isinstance(value, BitArray):
        packed = _compress(np.ascontiguousarray(value.array).tobytes())
        shape = list(value.array.shape)
        return {"bits": value.num_bits, "shape": shape, "zlib": base64.b64encode(packed).decode()}
    array = np.asarray(value)
    if array.dtype == object:  # quasi-probabilities
        weights = [[[hex(k), float(p).hex()] for k, p in each.items()] for each in array.flat]
        return {"weights": weights, "shape": list(array.shape)}
    data = array.astype("<f8")  # of any shape, that of a number included
    return {"shape": list(data.shape), "base64": base64.b64encode(data.tobytes()).decode()}


def _compress(data: bytes) -> bytes:
    """Return outcomes in about as many bits as their entropy has.

    Shots do not repeat what others before them were; looking for that takes time and finds chance.
    So bytes are coded by their frequency, and only runs of equal ones by their length.
    """
    coder = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 8, zlib.Z_RLE)
    return coder.compress(data) + coder.flush()


def _decode(described: dict[str, Any]) -> Any:
    shape = described["shape"]
    if "bits" in described:
        packed = zlib.decompress(base64.b64decode(described["zlib"]))
        array = np.frombuffer(packed, dtype=np.uint8).reshape(shape).copy()
        return BitArray(array, described["bits"])
    if "weights" in described:
        found = np.empty(len(described["weights"]), dtype=object)
        for row, pairs in enumerate(described["weights"]):
            found[row] = {int(k, 16): float.fromhex(p) for k, p in pairs}
        return found.reshape(shape)
    data = np.frombuffer(base64.b64decode(described["base64"]), dtype="<f8")
    return data.reshape(shape).copy()
