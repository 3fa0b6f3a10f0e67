# SPDX-License-Identifier: Apache-2.0
"""Estimators for tests: one that counts, one that injects faults. The numbers stay real."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from qiskit.primitives import BaseEstimatorV2, PrimitiveResult, PubResult
from qiskit.primitives.containers import DataBin
from qiskit.primitives.containers.estimator_pub import EstimatorPub

from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator


class CountingEstimator(BaseEstimatorV2):
    """Passes everything on and notes, for each ``run``, the shape and precision of each PUB."""

    def __init__(self, inner: BaseEstimatorV2 | None = None) -> None:
        self.inner = BatchedStatevectorEstimator() if inner is None else inner
        self.default_precision = getattr(self.inner, "default_precision", 0.0)
        self.runs: list[list[tuple[int, ...]]] = []
        self.precisions: list[float | None] = []
        self.circuits: list[Any] = []

    def run(self, pubs: Any, *, precision: float | None = None) -> Any:
        pubs = list(pubs)
        coerced = [EstimatorPub.coerce(pub) for pub in pubs]
        self.runs.append([pub.shape for pub in coerced])
        self.precisions += [precision if p.precision is None else p.precision for p in coerced]
        self.circuits += [pub.circuit for pub in coerced]
        return self.inner.run(pubs, precision=precision)

    @property
    def evaluations(self) -> int:
        """The number of expectation values computed so far."""
        return sum(int(np.prod(shape)) for run in self.runs for shape in run)

    def clear(self) -> None:
        self.runs.clear()
        self.precisions.clear()
        self.circuits.clear()


class FaultyEstimator(BaseEstimatorV2):
    """Applies ``fault`` to the results of exact simulation."""

    def __init__(self, fault: Callable[[list[PubResult]], list[PubResult]]) -> None:
        self.fault = fault
        self.default_precision = 0.0

    def run(self, pubs: Any, *, precision: float | None = None) -> Any:
        results = list(BatchedStatevectorEstimator().run(pubs, precision=precision).result())
        damaged = self.fault(results)

        class Job:
            def result(self) -> PrimitiveResult[PubResult]:
                return PrimitiveResult(damaged)

        return Job()


def with_evs(result: PubResult, evs: np.ndarray) -> PubResult:
    """The same result with other expectation values."""
    return PubResult(DataBin(evs=evs, shape=evs.shape))
