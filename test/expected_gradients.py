# SPDX-License-Identifier: Apache-2.0
"""What each gradient must give at each place, and how far it may be off by sampling."""

from __future__ import annotations

import numpy as np
from noisy_reference import Array, NoisyReference
from places import ASKED, PLACES, SEED, SHOTS, VALUES, reference


def analytic(place: str, exact: NoisyReference) -> tuple[Array, Array]:
    r"""Derivatives ``(B, P)`` of the loss by each row, and bounds on a shift rule's errors.

    Let R be the highest frequency in a parameter: the sum of its factors r in all gate angles. The
    squared coefficients of a shift rule add up to R**2 / 2 at most: r**2 / 2 for the two points of
    each angle, which take half the difference; (2 R**2 + 1) / 6 for frequencies 1, 2, ... R, and
    in proportion for multiples of others. One evaluation of a term with coefficient c has the
    standard deviation c / sqrt(shots) at most; those of terms that share shots add up at most.
    """
    operators, cotangent = ASKED[place].operators, ASKED[place].cotangent
    derivatives = np.einsum("bo,bop->bp", cotangent, exact.derivative(VALUES))
    sizes = [sum(abs(c) for label, c in o.to_list() if label.strip("I")) for o in operators]
    highest = np.abs(exact.slopes).sum(0)
    return derivatives, np.outer(np.abs(cotangent) @ sizes, highest) / np.sqrt(2 * SHOTS)


def differences(
    place: str, exact: NoisyReference, directions: Array, h: float
) -> tuple[Array, Array]:
    """Central differences ``(D, B)`` of the loss along ``(D, B, P)``, and their errors."""
    cotangent = ASKED[place].cotangent
    ahead, behind = VALUES + h * directions, VALUES - h * directions
    found = (cotangent * (exact(ahead) - exact(behind))).sum(-1) / (2 * h)
    errors = np.hypot(*(exact.spread(v, cotangent, SHOTS) for v in (ahead, behind)))
    return found, errors / (2 * h)


def step_size(place: str) -> float:
    """(3 sigma)**(1/3) where evaluations have a noise of sigma, 1e-4 where they are exact."""
    return (3 / SHOTS**0.5) ** (1 / 3) if PLACES[place].sampled else 1e-4


def spsa_directions() -> Array:
    """The directions ``(B, P)`` that SPSA draws from the module's seed, one for each row."""
    return 2.0 * np.random.default_rng(SEED).integers(0, 2, VALUES.shape) - 1


def expected(place: str, level: int, gradient: str) -> tuple[Array, Array]:
    """Derivatives ``(B, P)`` of the loss by each row there, and bounds on their errors.

    Shift rules are exact under any noise that does not depend on the angles. Differences have a
    bias of their own, which is known. The adjoint gradient is that of the circuit without noise.
    """
    exact, h = reference(place, level, noisy=gradient != "adjoint"), step_size(place)
    if gradient == "finite-difference":
        found, errors = differences(place, exact, np.eye(3)[:, None, :].repeat(2, axis=1), h)
        return found.T, errors.T
    if gradient == "spsa":
        directions = spsa_directions()
        found, errors = differences(place, exact, directions[None], h)
        return found[0][:, None] / directions, np.tile(errors[0][:, None], 3)
    derivatives, errors = analytic(place, exact)
    return derivatives, np.zeros_like(errors) if gradient == "adjoint" else errors
