# SPDX-License-Identifier: Apache-2.0
"""The engine for evaluation, where it has other settings than training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..exceptions import InputError
from ..program import CircuitProgram
from .estimator import EstimatorEngine
from .selection import make_engine


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
    unknown = sorted(set(evaluation) - set(choices))
    if unknown:
        raise InputError(
            f"Expected evaluation to name arguments of the module; got {unknown}. It takes "
            f"{', '.join(sorted(choices))}."
        )
    changed = dict(choices)
    for name in ("journal", "budget"):
        if choices[name] is not None:
            changed[name] = getattr(training.estimator, name)
    if {"shots", "precision"} & set(evaluation):
        changed.update(shots=None, precision=None)
    if {"estimator", "estimators", "backend", "mode"} & set(evaluation):
        changed.update(estimator=None, estimators=None, backend=None, mode=None, gradient=None)
    return make_engine(program, **{**changed, **evaluation})
