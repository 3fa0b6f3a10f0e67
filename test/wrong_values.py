# SPDX-License-Identifier: Apache-2.0
"""Values that are seldom what an argument should be.

Each is made anew for every call but the deep list, which takes as long as a hundred calls.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from qiskit.circuit import QuantumCircuit

DEPTH = 20_000
"""More levels than anything that walks down by calling itself can take."""


@functools.cache
def _nested() -> list[Any]:
    nested: list[Any] = []
    for _ in range(DEPTH):
        nested = [nested]
    return nested


class Anything:
    """A class that can be made of anything, and is good for nothing."""

    def __init__(self, *_: Any, **__: Any) -> None: ...


class Silent:
    """An object that cannot even be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("it has no text")


WRONG: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "5": lambda: 5,
    "-1": lambda: -1,
    "0": lambda: 0,
    "10**9": lambda: 10**9,
    "10**400": lambda: 10**400,
    "1.5": lambda: 1.5,
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "True": lambda: True,
    "1j": lambda: 1j,
    "'a'": lambda: "a",
    "''": lambda: "",
    "NUL": lambda: "\0",
    "bytes": lambda: b"x",
    "object": object,
    "a class": lambda: Anything,
    "a silent object": Silent,
    "a function": lambda: lambda *_, **__: None,
    "a generator": lambda: (i for i in range(2)),
    "[]": list,
    "[None]": lambda: [None],
    "{}": dict,
    "{'a': 1}": lambda: {"a": 1},
    "(0,)": lambda: (0,),
    "(0, 0)": lambda: (0, 0),
    "(nan, 1)": lambda: (float("nan"), 1),
    "a deep list": _nested,
    "an array of text": lambda: np.array(["a", "b"]),
    "a complex array": lambda: np.array([1j, 0.0]),
    "an array of another shape": lambda: np.zeros((2, 3, 4)),
    "a tensor of another shape": lambda: torch.zeros(2, 3, 4),
    "a complex tensor": lambda: torch.zeros(2, dtype=torch.complex64),
    "a tensor of bools": lambda: torch.zeros(2, dtype=torch.bool),
    "a meta tensor": lambda: torch.zeros(2, device="meta"),
    "a circuit without parameters": lambda: QuantumCircuit(1),
}
