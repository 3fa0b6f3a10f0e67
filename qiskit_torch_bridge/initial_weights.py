# SPDX-License-Identifier: Apache-2.0
"""The weights that a module begins with: drawn, listed, or given parameter by parameter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit.circuit import Parameter, ParameterVector
from torch import Tensor

from .arguments import MOST_SEED, UNREADABLE, require_seed, shown
from .autograd.calls import checked_weights
from .exceptions import BridgeError, InputError, InputTypeError
from .program import CircuitProgram

WeightsChoice: TypeAlias = (
    Tensor | NDArray[Any] | Sequence[float] | Mapping[Parameter | ParameterVector, Any]
)
"""What initial weights are given as."""


def initial_weights(
    program: CircuitProgram, given: WeightsChoice | None, seed: int | None
) -> Tensor:
    """Return the initial weights ``(W,)``, as for :class:`.TorchQuantumModule`."""
    count = len(program.weight_params)
    if given is None:
        seed = require_seed(seed, most=MOST_SEED)
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return torch.empty(count).uniform_(-math.pi, math.pi, generator=generator)
    if not isinstance(given, Tensor):
        try:
            if isinstance(given, Mapping):
                given = _from_mapping(program, given)
            kind = np.asarray(given).dtype
            if kind.kind not in "biufO":  # NumPy makes numbers of text, and of halves of others
                raise TypeError(f"values of dtype {kind}")
            given = torch.as_tensor(np.asarray(given, dtype=float)).to(torch.get_default_dtype())
        except BridgeError:
            raise
        except UNREADABLE as error:
            raise InputTypeError(
                f"Expected initial_weights to be {count} real numbers or a mapping; got "
                f"{shown(given)}."
            ) from error
    if not given.is_complex() and not given.is_floating_point():
        given = given.to(torch.get_default_dtype())
    weights = checked_weights(given, program, rows=False).detach().clone()
    if not torch.isfinite(weights).all():
        raise InputError(f"Expected finite initial weights; got {weights.tolist()}.")
    return weights


def _from_mapping(program: CircuitProgram, given: Mapping[Any, Any]) -> list[float]:
    values: dict[Parameter, float] = {}
    for key, value in given.items():
        keys = list(key) if isinstance(key, ParameterVector) else [key]
        numbers = np.atleast_1d(np.asarray(value, dtype=float)).tolist()
        if len(keys) != len(numbers) or not all(isinstance(k, Parameter) for k in keys):
            raise InputError(
                f"Expected initial_weights to map Parameter objects to numbers and vectors to as "
                f"many numbers as they have elements; got {shown(key)} with {shown(value)}."
            )
        values.update(zip(keys, numbers, strict=True))
    known = set(program.weight_params)
    missing = [p.name for p in program.weight_params if p not in values]
    foreign = [getattr(p, "name", p) for p in values if p not in known]
    if missing or foreign:
        raise InputError(
            f"Expected initial_weights for exactly the circuit's weights; missing: "
            f"{missing or 'none'}, not among them: {foreign or 'none'}."
        )
    return [values[p] for p in program.weight_params]
