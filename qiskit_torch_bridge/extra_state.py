# SPDX-License-Identifier: Apache-2.0
"""What a module's state dict holds besides the weights: the program that they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .arguments import shown
from .exceptions import InputError, StateDictError
from .program import CircuitProgram

VERSION = 1


def state_of(program: CircuitProgram) -> dict[str, Any]:
    """Return circuit (QPY), observables and roles, as tensors and text."""
    state = program.to_state()
    circuit = torch.frombuffer(bytearray(state["circuit"]), dtype=torch.uint8)
    return {"version": VERSION, "circuit": circuit, "program": state["program"]}


def check_weights(weights: Any) -> None:
    """Raise :class:`.InputError` if saved weights ``(W,)`` are not finite numbers."""
    # Of other kinds, such as a part of weights that are spread over processes, nothing is known.
    if type(weights) not in (Tensor, torch.nn.Parameter) or weights.is_meta:
        return
    if not torch.isfinite(weights).all():
        raise InputError(
            f"Expected a state dict with finite weights; got {weights.tolist()}. No weight of this "
            "module was changed. The training it was saved from diverged: load an earlier one."
        )


def check_state(program: CircuitProgram, state: Any) -> None:
    """Raise :class:`.StateDictError` unless a saved state belongs to a program."""
    if not isinstance(state, Mapping) or not {"version", "circuit", "program"} <= set(state):
        raise StateDictError(
            "Expected the extra state of a TorchQuantumModule (version, circuit, program); got "
            f"{type(state).__name__}. The state dict belongs to another kind of module."
        )
    if state["version"] != VERSION:
        raise StateDictError(
            f"The state has version {shown(state['version'])}; this release reads version "
            f"{VERSION}. Upgrade qiskit-torch-bridge."
        )
    if not isinstance(state["circuit"], Tensor) or not isinstance(state["program"], str):
        raise StateDictError("The extra state is damaged: circuit must be a tensor, program text.")
    circuit = state["circuit"].cpu().numpy().tobytes()
    saved = {"circuit": circuit, "program": state["program"]}
    difference = program.difference_from_state(saved)
    if difference is not None:
        raise StateDictError(
            f"The state dict belongs to another program; they differ in {difference} (this "
            "module against the saved one). No weight of this module was changed. Build it with "
            "the circuit, observables and roles it was saved with."
        )
