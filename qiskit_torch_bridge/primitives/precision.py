# SPDX-License-Identifier: Apache-2.0
"""Shots and precision: one setting in two units, and what estimators take where none is given."""

from __future__ import annotations

import math
import numbers

from qiskit.primitives import BaseEstimatorV2, BaseSamplerV2

from ..arguments import require_real_number, require_whole_number, shown
from ..exceptions import PrecisionError

MOST_SHOTS = 2**52
"""With more, neighbouring numbers of shots have the same precision."""


def validate_precision(shots: int | None, precision: float | None) -> float | None:
    """Return the precision to request from ``shots`` or ``precision``, of which one may be given.

    Raises:
        PrecisionError: If both are given, or one is not a positive finite number.
    """
    if shots is not None and precision is not None:
        raise PrecisionError(
            f"Expected shots or precision, not both; got shots={shown(shots)} and "
            f"precision={shown(precision)}. They are one setting: precision = 1/sqrt(shots)."
        )
    if shots is not None:
        return shots_to_precision(shots)
    if precision is None:
        return None
    hint = " Leave it out for the estimator's own default (exact, where it simulates exactly)."
    return require_real_number(precision, "precision", error=PrecisionError, hint=hint)


def shots_to_precision(shots: int) -> float:
    """Return the precision for which an estimator takes exactly ``shots`` shots.

    Primitives take ``ceil(1 / precision**2)`` shots; the value is nudged where rounding of
    ``1 / sqrt(shots)`` would make that one more.

    Example:
        >>> from qiskit_torch_bridge.primitives import shots_to_precision
        >>> shots_to_precision(100)
        0.1
    """
    hint = " Leave it out for the estimator's own default."
    shots = require_whole_number(shots, "shots", 1, MOST_SHOTS, error=PrecisionError, hint=hint)
    precision = 1 / math.sqrt(shots)
    while math.ceil(1 / precision**2) > shots:
        precision = math.nextafter(precision, math.inf)
    return precision


def validate_shots(shots: object) -> int:
    """Return the number of shots that a PUB asks for.

    Raises:
        PrecisionError: If it is no whole number from 1 up.
    """
    return require_whole_number(shots, "shots", 1, MOST_SHOTS, error=PrecisionError)


def precision_to_shots(precision: float) -> int:
    """Return the shots that primitives take for a precision; zero if it is exact."""
    return math.ceil(1 / precision**2) if precision else 0


def validate_target_precision(precision: object) -> float:
    """Return the precision that a PUB asks for; unlike the user's, it may be zero, for exact.

    Raises:
        PrecisionError: If it is negative or no finite number.
    """
    hint = " Zero is exact; for a number of shots it is 1/sqrt(shots)."
    return require_real_number(precision, "precision", zero=True, error=PrecisionError, hint=hint)


UNKNOWN_PRECISION = 1 / 64
"""Assumed where an estimator does not say: the default precision of Qiskit's backend primitives."""


def estimate_precision(
    primitive: BaseEstimatorV2 | BaseSamplerV2, requested: float | None
) -> float:
    """Return the noise to expect of an evaluation: requested, the default, or an assumed one."""
    found = default_precision(primitive) if requested is None else requested
    if found is None:
        shots = default_shots(primitive)
        found = None if shots is None else shots_to_precision(shots)
    return UNKNOWN_PRECISION if found is None else found


def default_precision(primitive: BaseEstimatorV2 | BaseSamplerV2 | None) -> float | None:
    """Return the precision an estimator uses when none is requested; ``None`` if it hides it."""
    for holder in (primitive, getattr(primitive, "options", None)):
        found = getattr(holder, "default_precision", None)
        if isinstance(found, numbers.Real):
            return float(found)
    return None


def default_shots(primitive: BaseEstimatorV2 | BaseSamplerV2 | None) -> int | None:
    """Return the shots a sampler takes when none are requested; ``None`` if it hides them."""
    for holder in (primitive, getattr(primitive, "options", None)):
        found = getattr(holder, "default_shots", None)
        if isinstance(found, numbers.Integral):
            return int(found)
    return None
