# SPDX-License-Identifier: Apache-2.0
"""Primitives for tests: some that count, some that inject faults. The numbers stay real."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from qiskit.primitives import (
    BaseEstimatorV2,
    BaseSamplerV2,
    BitArray,
    PrimitiveJob,
    PrimitiveResult,
    PubResult,
    SamplerPubResult,
)
from qiskit.primitives.containers import DataBin
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.quantum_info import Statevector

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


class QuantileSampler(BaseSamplerV2):
    """Takes evenly spaced quantiles of the true distribution for its shots, instead of random ones.

    So a point has the same outcomes whichever others it is asked with, and its frequencies are the
    probabilities but for less than ``2 / shots``. Circuits have one register, measured at the end.
    """

    default_shots = 40

    def run(self, pubs: Any, *, shots: int | None = None) -> Any:
        coerced = [SamplerPub.coerce(pub, shots) for pub in pubs]
        job = PrimitiveJob(lambda: PrimitiveResult([self._one(pub) for pub in coerced]))
        job._submit()
        return job

    def _one(self, pub: SamplerPub) -> SamplerPubResult:
        (register,) = pub.circuit.cregs
        bare = pub.circuit.remove_final_measurements(inplace=False)
        place = {bit: q for q, bit in enumerate(pub.circuit.qubits)}
        wires = {i.clbits[0]: place[i.qubits[0]] for i in pub.circuit.data if i.clbits}
        qubits = [wires[bit] for bit in register]
        shots = pub.shots or self.default_shots
        quantiles = (np.arange(shots) + 0.5) / shots
        values = pub.parameter_values.as_array(pub.circuit.parameters)
        points = values.reshape(-1, values.shape[-1]) if values.shape[-1] else [[]] * pub.size
        outcomes = np.zeros((len(points), shots, -(-register.size // 8)), dtype=np.uint8)
        for row, point in enumerate(points):
            bound = dict(zip(pub.circuit.parameters, point, strict=True))
            state = Statevector(bare.assign_parameters(bound))
            total = state.probabilities(qubits).round(12).cumsum()
            found = np.searchsorted(total, quantiles * total[-1], side="right")
            for byte in range(outcomes.shape[-1]):
                outcomes[row, :, -1 - byte] = found >> 8 * byte & 255
        bits = BitArray(outcomes.reshape(*pub.shape, *outcomes.shape[1:]), register.size)
        data = DataBin(**{register.name: bits}, shape=pub.shape)
        return SamplerPubResult(data, metadata={"shots": shots})


class CountingSampler(BaseSamplerV2):
    """Passes everything on and notes, for each ``run``, the shape and the shots of each PUB."""

    def __init__(self, inner: BaseSamplerV2 | None = None) -> None:
        self.inner = QuantileSampler() if inner is None else inner
        self.default_shots = getattr(self.inner, "default_shots", None)
        self.runs: list[list[tuple[int, ...]]] = []
        self.shots: list[int | None] = []

    def run(self, pubs: Any, *, shots: int | None = None) -> Any:
        coerced = [SamplerPub.coerce(pub) for pub in pubs]
        self.runs.append([pub.shape for pub in coerced])
        self.shots += [shots if p.shots is None else p.shots for p in coerced]
        return self.inner.run(coerced, shots=shots)


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
