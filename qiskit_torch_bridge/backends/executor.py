# SPDX-License-Identifier: Apache-2.0
"""Jobs of a simulating estimator on a pool of threads or processes, or on a Dask cluster."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

from qiskit.primitives import BaseEstimatorV2, PrimitiveJob, PrimitiveResult, PubResult
from qiskit.primitives.containers import DataBin
from qiskit.primitives.containers.estimator_pub import EstimatorPub

from ..arguments import shown
from ..exceptions import EstimatorTypeError
from ..primitives.aer_circuits import AerCircuits
from ..primitives.submission import coerced_pubs, validated_estimator
from .seeds import FreshSeeds, reseeded


class ExecutorEstimator(FreshSeeds):
    """Runs the jobs of a simulating estimator on an executor, each with a seed of its own.

    One for each worker, given to a module as ``estimators=``, divides every request among the
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
        ...     module = TorchQuantumModule(circuit, estimators=workers, initial_weights=[0.0])
        ...     module().item()
        1.0
    """

    def __init__(
        self, executor: Any, estimator: BaseEstimatorV2, *, seed: int | None = None
    ) -> None:
        super().__init__(validated_estimator(estimator), seed)
        self.executor = executor
        self._for_aer = AerCircuits([estimator])
        self._submit = _submission_to(executor)

    def run(self, pubs: Iterable[Any], *, precision: float | None = None) -> Any:
        """Submit ``pubs`` to the executor."""
        coerced = [self._for_aer(pub) for pub in coerced_pubs(pubs, precision, self)]
        # As it is now: pools of processes pickle it later, and in threads others share it.
        estimator = copy.deepcopy(self.inner)
        with self._lock:
            future = self._submit(_run_there, estimator, coerced, self._next())
        job = PrimitiveJob(_received, future)
        job._submit()
        return job


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
