# SPDX-License-Identifier: Apache-2.0
"""Samplers for tests: one that counts, and one that knows the probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.primitives import (
    BaseSamplerV2,
    DataBin,
    PrimitiveResult,
    SamplerPubResult,
    StatevectorSampler,
)
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.quantum_info import Statevector


class CountingSampler(BaseSamplerV2):
    """Passes everything on and notes, for each ``run``, the shape and the shots of each PUB."""

    def __init__(self, inner: BaseSamplerV2 | None = None) -> None:
        self.inner = StatevectorSampler() if inner is None else inner
        self.runs: list[list[tuple[int, ...]]] = []
        self.shots: list[int | None] = []
        self.circuits: list[Any] = []

    def run(self, pubs: Any, *, shots: int | None = None) -> Any:
        pubs = list(pubs)
        coerced = [SamplerPub.coerce(pub) for pub in pubs]
        self.runs.append([pub.shape for pub in coerced])
        self.shots += [shots if pub.shots is None else pub.shots for pub in coerced]
        self.circuits += [pub.circuit for pub in coerced]
        return self.inner.run(pubs, shots=shots)


class ExactSampler(BaseSamplerV2):
    """Gives the probabilities themselves, as quasi-probabilities of the bits that are measured.

    Circuits end with a measurement of some qubits into one register, as this package submits them.
    """

    def run(self, pubs: Any, *, shots: int | None = None) -> Any:
        results = [self._sample(SamplerPub.coerce(pub)) for pub in pubs]

        class Job:
            def result(self) -> PrimitiveResult[SamplerPubResult]:
                return PrimitiveResult(results)

        return Job()

    @staticmethod
    def _sample(pub: SamplerPub) -> SamplerPubResult:
        (register,) = pub.circuit.cregs
        index = {qubit: q for q, qubit in enumerate(pub.circuit.qubits)}
        read = {i.clbits[0]: index[i.qubits[0]] for i in pub.circuit.data if i.name == "measure"}
        measured = [read[clbit] for clbit in register]
        gates = QuantumCircuit(pub.circuit.qubits, global_phase=pub.circuit.global_phase)
        for i in pub.circuit.data:
            if i.name not in ("barrier", "measure"):
                gates.append(i.operation, i.qubits)
        weights = np.empty(pub.shape, dtype=object)
        for point, bound in np.ndenumerate(pub.parameter_values.bind_all(gates)):
            weights[point] = dict(enumerate(Statevector(bound).probabilities(measured)))
        return SamplerPubResult(DataBin(**{register.name: weights}, shape=pub.shape))
