# SPDX-License-Identifier: Apache-2.0
"""What the estimator and the sampler on the exact engine have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from qiskit.primitives import PrimitiveJob, PrimitiveResult

from ..arguments import make_random_generator, require_complex_dtype
from ..program import AnalysisCache
from .simulation import Simulators

_Plan = TypeVar("_Plan")
_Result = TypeVar("_Result")


class BatchedPrimitive:
    """A primitive that simulates all points of a PUB at once, with noise of its own in every call.

    What it has compiled is remembered, and not part of its copies and pickles.

    Args:
        seed: Makes the noise of a sequence of runs reproducible.
        dtype: The number format of the states.
    """

    def __init__(self, seed: int | np.random.Generator | None, dtype: Any) -> None:
        self.dtype = require_complex_dtype(dtype)
        self._generator = make_random_generator(seed)
        self._analysed = AnalysisCache("simulated")
        self._simulators = Simulators(self.dtype)

    def _draw_entropy(self) -> list[int]:
        """Return what seeds the noise of one call: 128 bits; the generator locks itself."""
        return self._generator.integers(0, 1 << 32, 4).tolist()


def submit_plans(
    plans: Sequence[_Plan],
    evaluate: Callable[[_Plan, np.random.SeedSequence], _Result],
    entropy: list[int],
) -> PrimitiveJob[PrimitiveResult[_Result]]:
    """Start a job that evaluates the plans of all PUBs, each with a stream of randomness."""
    job: PrimitiveJob[PrimitiveResult[_Result]] = PrimitiveJob(_run, plans, evaluate, entropy)
    job._submit()
    return job


def _run(
    plans: Sequence[_Plan],
    evaluate: Callable[[_Plan, np.random.SeedSequence], _Result],
    entropy: list[int],
) -> PrimitiveResult[_Result]:
    results = [
        evaluate(plan, np.random.SeedSequence(entropy, spawn_key=(number,)))
        for number, plan in enumerate(plans)
    ]
    return PrimitiveResult(results, metadata={"version": 2})
