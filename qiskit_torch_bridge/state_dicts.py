# SPDX-License-Identifier: Apache-2.0
"""What keeps the weights of a saved module from ending up in another circuit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .exceptions import InputError, StateDictError
from .program import CircuitProgram
from .program.program_state import NAMES, difference_of_marks

OLD_KEY = "_extra_state"
MARKS = "marks"
"""Under which the marks of a program are kept."""
WEIGHTS = ("weight", "frozen_weight")
"""The names of weights in state dicts."""


class MarkedModule(nn.Module):
    """A module whose state dicts say which program their weights belong to, and are checked.

    Attributes:
        program: The program.
    """

    program: CircuitProgram

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        mark(getattr(destination, "_metadata", None), prefix, self.program)

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: Mapping[str, Any],
        *args: Any,
    ) -> None:
        # Before any weight is copied: a mismatch must leave the module as it was.
        refuse_old(state_dict, prefix)
        check_marks(self.program, local_metadata)
        check_weights(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)


def check_weights(state_dict: Mapping[str, Any], prefix: str) -> None:
    """Raise :class:`.InputError` if saved weights ``(W,)`` are not finite numbers."""
    for name in WEIGHTS:
        weights: Any = state_dict.get(f"{prefix}{name}")
        # Of other kinds, such as a part of weights that are spread over processes, nothing is
        # known.
        if type(weights) not in (Tensor, nn.Parameter) or weights.is_meta:
            continue
        if not torch.isfinite(weights).all():
            raise InputError(
                f"Expected a state dict with finite weights; got {weights.tolist()}. No weight of "
                "this module was changed. The training it was saved from diverged: load an earlier "
                "one."
            )


def refuse_old(state_dict: Mapping[str, Any], prefix: str) -> None:
    """Raise :class:`.StateDictError` if an earlier release made a state dict."""
    old = state_dict.get(f"{prefix}{OLD_KEY}")  # not one of a subclass's own
    if isinstance(old, Mapping) and {"circuit", "program"} <= set(old):
        raise StateDictError(
            "The state dict was saved by an earlier release, which kept the circuit in it in a "
            "form that is not read any more: it could hide code. No weight of this module was "
            "changed. To load the weights alone, into the circuit that they were trained in: "
            "module.load_state_dict({k: v for k, v in state.items() if not "
            f"k.endswith('{OLD_KEY}')}})."
        )


def mark(metadata: Any, prefix: str, program: CircuitProgram) -> None:
    """Write down, beside a state dict, which program the weights belong to.

    PyTorch keeps this in the file; tools that make a state dict anew leave it out.
    """
    if isinstance(metadata, Mapping) and prefix[:-1] in metadata:
        metadata[prefix[:-1]][MARKS] = dict(program.marks)


def check_marks(program: CircuitProgram, metadata: Mapping[str, Any]) -> None:
    """Raise :class:`.StateDictError` if weights are said to belong to another program."""
    saved = metadata.get(MARKS)
    difference = difference_of_marks(program.marks, saved) if isinstance(saved, Mapping) else None
    if difference is not None:
        raise _another(difference)


def saved_program(program: CircuitProgram) -> dict[str, Any]:
    """Return a program as bytes and text, and its marks."""
    return {**program.to_state(), MARKS: dict(program.marks)}


def check_program(program: CircuitProgram, state: Any, max_bytes: int | None = None) -> None:
    """Raise :class:`.StateDictError` unless a program from a file is the one that is here."""
    kinds = {"circuit": bytes, "program": str, MARKS: dict}
    if not isinstance(state, Mapping) or {k: type(v) for k, v in state.items()} != kinds:
        raise StateDictError("The saved program is damaged: it has other parts. Nothing was read.")
    marks = state[MARKS]
    complete = set(program.marks) == set(marks) == set(NAMES)
    if complete and difference_of_marks(program.marks, marks) is None:
        return
    # Another program, or the same one, taken apart in another way by another version of Qiskit.
    difference = program.difference_from_state(dict(state), max_bytes=max_bytes)
    if difference is not None:
        raise _another(difference)


def _another(difference: str) -> StateDictError:
    return StateDictError(
        f"The state belongs to another program; they differ in {difference} (this module against "
        "the saved one). No weight of this module was changed. Build it with the circuit, "
        "measurement and roles it was saved with."
    )
