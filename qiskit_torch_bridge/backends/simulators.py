# SPDX-License-Identifier: Apache-2.0
"""Estimators on simulators: each job with a seed of its own, here or on an executor."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
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
from qiskit.primitives.containers import DataBin
from qiskit.primitives.containers.estimator_pub import EstimatorPub

from ..arguments import require_seed, shown
from ..exceptions import EstimatorTypeError
from ..primitives import BatchedStatevectorEstimator, cutting
from ..primitives.aer_circuits import AerCircuits
from ..primitives.evaluation import coerce_pubs, validate_estimator
from ..primitives.precision import default_precision


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
        coerced = coerce_pubs(pubs, precision, self)
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


class ExecutorEstimator(FreshSeeds):
    """Runs the jobs of a simulating estimator on an executor, each with a seed of its own.

    One for each worker, given to a module as ``estimator=[...]``, divides every request among the
    workers. Aer's own option for this, ``AerSimulator(executor=...)``, has no effect in Aer 0.17.0
    to 0.18.2.

    Args:
        executor: A ``concurrent.futures.Executor``, or the ``Client`` of a Dask cluster.
        estimator: Aer's ``EstimatorV2``, ``BackendEstimatorV2`` on a simulator,
            ``StatevectorEstimator`` or :class:`.BatchedStatevectorEstimator`. It travels to the
            worker with every job, with its simulator and noise model, so it must be possible to
            pickle it (but for threads).
        seed: Makes the sequence of jobs reproducible; ``None`` for another one each time.

    Raises:
        EstimatorTypeError: If one of them is something else.

    Cost:
        Some milliseconds for a job on its way, on top of its run: it pays where a worker's share of
        a request takes longer.

    Example:
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit_aer.primitives import EstimatorV2
        >>> from qiskit_torch_bridge import TorchQuantumModule
        >>> from qiskit_torch_bridge.backends import ExecutorEstimator
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.ry(Parameter("theta"), 0)
        >>> with ThreadPoolExecutor(2) as pool:
        ...     workers = [ExecutorEstimator(pool, EstimatorV2(), seed=k) for k in range(2)]
        ...     module = TorchQuantumModule(circuit, estimator=workers, initial_weights=[0.0])
        ...     module().item()
        1.0
    """

    def __init__(
        self, executor: Any, estimator: BaseEstimatorV2, *, seed: int | None = None
    ) -> None:
        super().__init__(validate_estimator(estimator), seed)
        self.executor = executor
        self._for_aer = AerCircuits([estimator])
        self._submit = _submission_to(executor)

    def run(self, pubs: Iterable[Any], *, precision: float | None = None) -> Any:
        """Submit ``pubs`` to the executor."""
        coerced = [self._for_aer(pub) for pub in coerce_pubs(pubs, precision, self)]
        # As it is now: pools of processes pickle it later, and in threads others share it.
        estimator = copy.deepcopy(self.inner)
        with self._lock:
            future = self._submit(_run_there, estimator, coerced, self._next())
        job = PrimitiveJob(_received, future)
        job._submit()
        return job


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


def _submission_to(executor: Any) -> Any:
    """Return a function that runs another on the executor and returns its future."""
    if hasattr(executor, "get_executor"):  # a Dask client
        # Two equal jobs would be taken for one, and have the same noise.
        executor = executor.get_executor(pure=False)
    if isinstance(executor, type) or not callable(getattr(executor, "submit", None)):
        raise EstimatorTypeError(
            "Expected executor to be a concurrent.futures.Executor or a Dask Client; got "
            f"{shown(executor)}. For example concurrent.futures.ProcessPoolExecutor(4)."
        )
    return executor.submit


def _run_there(
    estimator: BaseEstimatorV2, pubs: Sequence[EstimatorPub], seed: int
) -> list[tuple[Any, Any, dict[str, Any]]]:
    results = reseeded(estimator, seed).run(pubs).result()
    # Not the results themselves: before Qiskit 2.2 they do not survive being pickled.
    return [(r.data.evs, getattr(r.data, "stds", None), dict(r.metadata)) for r in results]


def _received(future: Any) -> PrimitiveResult[PubResult]:
    results = []
    for evs, stds, metadata in future.result():
        arrays = {"evs": evs} if stds is None else {"evs": evs, "stds": stds}
        results.append(PubResult(DataBin(**arrays, shape=evs.shape), metadata))
    return PrimitiveResult(results, metadata={"version": 2})
