# SPDX-License-Identifier: Apache-2.0
"""The engine for evaluation, where it has other settings than training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..arguments import shown
from ..backends.prepare import AlreadyTranspiled
from ..exceptions import InputError
from ..program import CircuitProgram
from .estimator import EstimatorEngine
from .selection import make_engine


def check_evaluation(choices: Mapping[str, Any], evaluation: Any) -> None:
    """Raise :class:`.InputError` unless ``evaluation`` names some choices."""
    if not isinstance(evaluation, Mapping):
        raise InputError(
            "Expected evaluation to be a mapping of arguments of the module, such as "
            f"{{'shots': 4000}}; got {shown(evaluation)}."
        )
    unknown = [name for name in evaluation if name not in choices]
    if unknown:
        raise InputError(
            f"Expected evaluation to name arguments of the module; got {shown(unknown)}. It takes "
            f"{', '.join(sorted(choices))}."
        )


def make_evaluation_engine(
    program: CircuitProgram,
    training: EstimatorEngine,
    choices: Mapping[str, Any],
    evaluation: Mapping[str, Any],
) -> EstimatorEngine:
    """Return the engine for a module in ``eval()`` mode.

    Args:
        program: The program.
        training: The engine for training; journal and budget are shared with it.
        choices: What that was made from.
        evaluation: What is different.

    Raises:
        InputError: If ``evaluation`` names something that is no choice.
        BridgeError: As :func:`.make_engine` does.
    """
    check_evaluation(choices, evaluation)
    changed = dict(choices)
    for name in ("journal", "budget"):
        if choices[name] is not None:
            changed[name] = getattr(training.estimator, name)
    if {"shots", "precision"} & set(evaluation):
        changed.update(shots=None, precision=None)
    moved = {"estimator", "estimators", "backend", "mode"} & set(evaluation)
    if moved:
        changed.update(estimator=None, estimators=None, backend=None, mode=None, gradient=None)
    how = {"pass_manager", "optimization_level", "seed_transpiler", "backend", "mode"}
    if training.backend is not None and not how & set(evaluation) and not moved:
        changed["pass_manager"] = AlreadyTranspiled(training.isa_circuit)
    return make_engine(program, **{**changed, **evaluation})
