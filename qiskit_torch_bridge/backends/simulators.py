# SPDX-License-Identifier: Apache-2.0
"""Primitives on simulators: each job with a seed of its own, here or on an executor."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from threading import Lock
from typing import Any, ClassVar

import numpy as np
from qiskit.primitives import (
    BaseEstimatorV2,
    BaseSamplerV2,
    PrimitiveJob,
    PrimitiveResult,
    PubResult,
    StatevectorEstimator,
    StatevectorSampler,
)
from qiskit.primitives.containers import DataBin

from ..arguments import require_seed, shown
from ..exceptions import EstimatorTypeError
from ..primitives import BatchedStatevectorEstimator, BatchedStatevectorSampler, cutting
from ..primitives.aer_circuits import AerCircuits
from ..primitives.capabilities import is_from_aer
from ..primitives.evaluation import coerce_pubs
from ..primitives.families import ESTIMATORS, SAMPLERS, Effort, Primitive, Pub
from ..primitives.precision import default_precision, default_shots


class FreshSeeds:
    """Gives a simulating primitive a new seed for every job, all of them from one seed.

    With a fixed seed, primitives on Aer give every job the same noise: the gradients of all steps
    would be wrong in the same way. What Aer would take long for is run in several calls, one after
    the other, so that an interrupt need not wait for all of it.

    Args:
        inner: The estimator or sampler.
        seed: Makes the sequence of jobs reproducible; ``None`` for another one each time.
    """

    stream: ClassVar[tuple[int, ...]] = ()
    """Tells the seeds of jobs apart that others make from the same seed."""

    inner: Any

    def __init__(self, inner: Primitive, seed: int | None) -> None:
        self.inner = inner
        source = np.random.SeedSequence(require_seed(seed), spawn_key=self.stream)
        self._generator = np.random.default_rng(source)
        self._lock = Lock()

    @property
    def options(self) -> Any:
        """The options of the primitive."""
        return getattr(self.inner, "options", None)

    def _start(self, pubs: Iterable[Any], effort: Effort) -> Any:
        """Run ``pubs`` with a seed of their own."""
        coerced = coerce_pubs(pubs, effort, self.inner)
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

    def _run(self, pubs: list[Any], seed: int) -> Any:
        job = reseeded(self.inner, seed).run(pubs)
        # The job reads the options in its own thread: let it finish before the next seed.
        job.result()
        return job

    def skip_job(self, pub: Pub) -> None:
        """Go on as after another job: for one that was answered from a journal."""
        with self._lock:
            self._next()

    def spawn_seed(self) -> int:
        """Return a seed for random numbers that are independent of these, another each time."""
        (spawned,) = self._generator.spawn(1)
        return int(spawned.integers(1, 2**31))

    def _next(self) -> int:
        return int(self._generator.integers(1, 2**31))

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=Lock())


class FreshSeedsEstimator(FreshSeeds, BaseEstimatorV2):
    """Gives ``BackendEstimatorV2`` or Aer's ``EstimatorV2`` a new seed for every job."""

    @property
    def default_precision(self) -> float | None:
        """The precision used where none is requested."""
        return default_precision(self.inner)

    def run(self, pubs: Iterable[Any], *, precision: float | None = None) -> Any:
        """Run ``pubs`` with a seed of their own."""
        return self._start(pubs, precision)


class FreshSeedsSampler(FreshSeeds, BaseSamplerV2):
    """Gives ``BackendSamplerV2`` or Aer's ``SamplerV2`` a new seed for every job.

    They are not those that an estimator gets from the same seed: what is sampled beside values that
    are estimated has noise of its own.
    """

    stream = (1,)

    @property
    def default_shots(self) -> int | None:
        """The shots taken where none are requested."""
        return default_shots(self.inner)

    def run(self, pubs: Iterable[Any], *, shots: int | None = None) -> Any:
        """Run ``pubs`` with a seed of their own."""
        return self._start(pubs, shots)


class _OnExecutor(FreshSeeds):
    """Runs jobs on an executor."""

    def __init__(self, executor: Any, inner: Primitive, seed: int | None) -> None:
        super().__init__(inner, seed)
        self.executor = executor
        self._for_aer = AerCircuits([inner])
        self._submit = _submission_to(executor)

    def _start(self, pubs: Iterable[Any], effort: Effort) -> Any:
        coerced = [self._for_aer(pub) for pub in coerce_pubs(pubs, effort, self.inner)]
        # As it is now: pools of processes pickle it later, and in threads others share it.
        inner = copy.deepcopy(self.inner)
        with self._lock:
            future = self._submit(_run_there, inner, coerced, self._next())
        job = PrimitiveJob(_received, future)
        job._submit()
        return job


class ExecutorEstimator(_OnExecutor, FreshSeedsEstimator):
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
        super().__init__(executor, ESTIMATORS.validate(estimator), seed)

    def run(self, pubs: Iterable[Any], *, precision: float | None = None) -> Any:
        """Submit ``pubs`` to the executor."""
        return self._start(pubs, precision)


class ExecutorSampler(_OnExecutor, FreshSeedsSampler):
    """Runs the jobs of a simulating sampler on an executor, each with a seed of its own.

    It is to samplers what :class:`ExecutorEstimator` is to estimators.

    Args:
        executor: A ``concurrent.futures.Executor``, or the ``Client`` of a Dask cluster.
        sampler: Aer's ``SamplerV2``, ``BackendSamplerV2`` on a simulator, ``StatevectorSampler`` or
            :class:`.BatchedStatevectorSampler`.
        seed: Makes the sequence of jobs reproducible; ``None`` for another one each time.

    Raises:
        EstimatorTypeError: If ``executor`` is something else.
        SamplerTypeError: If ``sampler`` is something else.

    Example:
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit_aer.primitives import SamplerV2
        >>> from qiskit_torch_bridge import Probabilities, TorchQuantumModule
        >>> from qiskit_torch_bridge.backends import ExecutorSampler
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.ry(Parameter("theta"), 0)
        >>> with ThreadPoolExecutor(2) as pool:
        ...     workers = [ExecutorSampler(pool, SamplerV2(), seed=k) for k in range(2)]
        ...     module = TorchQuantumModule(
        ...         circuit, Probabilities(), estimator=workers, initial_weights=[0.0]
        ...     )
        ...     module().tolist()
        [1.0, 0.0]
    """

    def __init__(self, executor: Any, sampler: BaseSamplerV2, *, seed: int | None = None) -> None:
        super().__init__(executor, SAMPLERS.validate(sampler), seed)

    def run(self, pubs: Iterable[Any], *, shots: int | None = None) -> Any:
        """Submit ``pubs`` to the executor."""
        return self._start(pubs, shots)


def reseeded(primitive: Any, seed: int) -> Any:
    """Return a simulating primitive for one job with a seed: the same one, or one like it.

    What does not simulate here is returned as it is.
    """
    make = _MADE_ANEW.get(type(primitive))
    if make is not None:
        return make(primitive, seed)
    if isinstance(primitive, BaseSamplerV2) and is_from_aer(primitive):
        return _reseed_aers_sampler(primitive, seed)
    options: Any = getattr(primitive, "options", None)
    if hasattr(options, "seed_simulator"):
        options.seed_simulator = seed
    elif isinstance(getattr(options, "run_options", None), dict):
        options.run_options["seed_simulator"] = seed
    elif hasattr(getattr(options, "simulator", None), "seed_simulator"):  # the runtime's local mode
        options.simulator.seed_simulator = seed
    return primitive


_MADE_ANEW: dict[type, Callable[[Any, int], Primitive]] = {
    BatchedStatevectorEstimator: lambda e, seed: BatchedStatevectorEstimator(
        default_precision=e.default_precision, noise=e.noise, seed=seed, dtype=e.dtype
    ),
    BatchedStatevectorSampler: lambda s, seed: BatchedStatevectorSampler(
        default_shots=s.default_shots, seed=seed, dtype=s.dtype
    ),
    StatevectorEstimator: lambda e, seed: StatevectorEstimator(
        default_precision=e.default_precision, seed=seed
    ),
    StatevectorSampler: lambda s, seed: StatevectorSampler(
        default_shots=s.default_shots, seed=seed
    ),
}
"""Primitives whose seed cannot be set."""


def _reseed_aers_sampler(sampler: Any, seed: int) -> Any:
    """Return a sampler of Aer's like another: its own seed comes before the one among its options.

    Aer 0.17 does not take that one at all.
    """
    options = {k: v for k, v in sampler.options.run_options.items() if k != "seed_simulator"}
    return type(sampler).from_backend(
        sampler._backend,
        default_shots=sampler.default_shots,
        seed=seed,
        options={"run_options": options},
    )


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
    primitive: Any, pubs: Sequence[Pub], seed: int
) -> list[tuple[type[PubResult], dict[str, Any], tuple[int, ...], dict[str, Any]]]:
    # Not the results themselves: before Qiskit 2.2 they do not survive being pickled.
    return [
        (type(r), dict(r.data.items()), r.data.shape, dict(r.metadata))
        for r in reseeded(primitive, seed).run(pubs).result()
    ]


def _received(future: Any) -> PrimitiveResult[PubResult]:
    results = [
        kind(DataBin(**fields, shape=shape), metadata)
        for kind, fields, shape, metadata in future.result()
    ]
    return PrimitiveResult(results, metadata={"version": 2})
