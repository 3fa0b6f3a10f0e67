# SPDX-License-Identifier: Apache-2.0
"""Seeds for simulators that would otherwise repeat the noise of every job."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock
from typing import Any

import numpy as np
from qiskit.primitives import (
    BaseEstimatorV2,
    PrimitiveJob,
    PrimitiveResult,
    PubResult,
    StatevectorEstimator,
)
from qiskit.primitives.containers.estimator_pub import EstimatorPub

from ..arguments import require_seed
from ..primitives import BatchedStatevectorEstimator, cutting
from ..primitives.precision import default_precision
from ..primitives.submission import coerced_pubs


class FreshSeeds(BaseEstimatorV2):
    """Gives a simulating estimator a new seed for every job, all of them from one seed.

    With a fixed seed, estimators on Aer give every job the same noise: the gradients of all steps
    would be wrong in the same way. What Aer would take long for is run in several calls, one after
    the other, so that an interrupt need not wait for all of it.

    Args:
        estimator: ``BackendEstimatorV2`` or Aer's ``EstimatorV2``.
        seed: Makes the sequence of jobs reproducible; ``None`` for another one each time.
    """

    def __init__(self, estimator: BaseEstimatorV2, seed: int | None) -> None:
        self.inner = estimator
        self._generator = np.random.default_rng(require_seed(seed))
        self._lock = Lock()

    @property
    def options(self) -> Any:
        """The options of the estimator."""
        return getattr(self.inner, "options", None)

    @property
    def default_precision(self) -> float | None:
        """The precision used where none is requested."""
        return default_precision(self.inner)

    def run(self, pubs: Iterable[Any], *, precision: float | None = None) -> Any:
        """Run ``pubs`` with a seed of their own."""
        coerced = coerced_pubs(pubs, precision, self)
        calls = cutting.cut_into_calls(coerced, self.inner, cutting.INTERRUPTS)
        with self._lock:
            seed = self._next()
            if len(calls) == 1:
                return self._run(coerced, seed)
            seeds = np.random.default_rng(seed).integers(1, 2**31, len(calls)).tolist()
            results: list[PubResult] = []
            for call, own in zip(calls, seeds, strict=True):
                results += self._run([part.pub for part in call], own).result()
        job = PrimitiveJob(PrimitiveResult, cutting.join_calls(calls, results), {"version": 2})
        job._submit()
        return job

    def _run(self, pubs: list[EstimatorPub], seed: int) -> Any:
        job = reseeded(self.inner, seed).run(pubs)
        # The job reads the options in its own thread: let it finish before the next seed.
        job.result()
        return job

    def skip_job(self, pub: EstimatorPub) -> None:
        """Go on as after another job: for one that was answered from a journal."""
        with self._lock:
            self._next()

    def _next(self) -> int:
        return int(self._generator.integers(1, 2**31))

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=Lock())


def reseeded(estimator: BaseEstimatorV2, seed: int) -> BaseEstimatorV2:
    """Return a simulating estimator for one job with a seed: the same one, or one like it.

    What does not simulate here is returned as it is.
    """
    if type(estimator) is BatchedStatevectorEstimator:
        return BatchedStatevectorEstimator(
            default_precision=estimator.default_precision,
            noise=estimator.noise,
            seed=seed,
            dtype=estimator.dtype,
        )
    if type(estimator) is StatevectorEstimator:
        return StatevectorEstimator(default_precision=estimator.default_precision, seed=seed)
    options: Any = getattr(estimator, "options", None)
    if hasattr(options, "seed_simulator"):
        options.seed_simulator = seed
    elif isinstance(getattr(options, "run_options", None), dict):
        options.run_options["seed_simulator"] = seed
    elif hasattr(getattr(options, "simulator", None), "seed_simulator"):  # the runtime's local mode
        options.simulator.seed_simulator = seed
    return estimator
