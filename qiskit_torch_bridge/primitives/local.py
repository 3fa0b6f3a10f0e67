# SPDX-License-Identifier: Apache-2.0
"""The estimator that is used when none is given: exact on Aer, or with sampled shots."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from qiskit.primitives import BaseEstimatorV2, PrimitiveJob, PrimitiveResult, PubResult
from qiskit.primitives.containers import DataBin, EstimatorPubLike
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.quantum_info import Pauli

from ..arrays import FloatArray
from ..exceptions import PrecisionError
from ..program import AnalysisCache
from ..program.observables import from_terms

CHUNK = 4096
"""Points simulated at a time: Aer keeps some kilobytes for each until all are done."""


class LocalEstimator(BaseEstimatorV2):
    r"""Evaluates PUBs in this process: exactly, or with real shots when a precision is asked for.

    States are simulated by Aer; parameter expressions, controlled gates and library blocks are
    resolved here first, so any circuit of unitary gates runs. With precision :math:`\epsilon`,
    every Pauli term is measured on its own with :math:`\lceil\epsilon^{-2}\rceil` shots, drawn
    from its binomial distribution, and ``stds`` are the standard errors estimated from them.

    Args:
        default_precision: Used where neither the PUB nor ``run`` names one; zero is exact.
        seed: Seeds the one generator that all calls draw from, one after the other.

    Cost:
        One simulation per point, whatever the number of observables; memory ``16 * 2**n`` bytes
        for the state and about 60 MB for the results under way.

    Example:
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit_torch_bridge.primitives import LocalEstimator
        >>> theta = Parameter("theta")
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.ry(theta, 0)
        >>> job = LocalEstimator().run([(circuit, "Z", [[0.0], [1.0]])])
        >>> [round(float(value), 4) for value in job.result()[0].data.evs]
        [1.0, 0.5403]
    """

    def __init__(
        self, *, default_precision: float = 0.0, seed: int | np.random.Generator | None = None
    ) -> None:
        if not 0 <= default_precision < math.inf:
            raise PrecisionError(
                f"Expected default_precision to be zero (exact) or more; got {default_precision!r}."
            )
        self.default_precision = default_precision
        self._generator = np.random.default_rng(seed)
        self._analysed = AnalysisCache()

    def run(
        self, pubs: Iterable[EstimatorPubLike], *, precision: float | None = None
    ) -> PrimitiveJob[PrimitiveResult[PubResult]]:
        """Evaluate ``pubs``; see :meth:`qiskit.primitives.BaseEstimatorV2.run`."""
        wanted = self.default_precision if precision is None else precision
        coerced = [EstimatorPub.coerce(pub, wanted) for pub in pubs]
        for pub in coerced:
            if not 0 <= pub.precision < math.inf:
                raise PrecisionError(
                    f"Expected a precision of zero (exact) or more; got {pub.precision!r}."
                )
        job: PrimitiveJob[PrimitiveResult[PubResult]] = PrimitiveJob(self._run, coerced)
        job._submit()
        return job

    def _run(self, pubs: list[EstimatorPub]) -> PrimitiveResult[PubResult]:
        return PrimitiveResult([self._run_pub(pub) for pub in pubs], metadata={"version": 2})

    def _run_pub(self, pub: EstimatorPub) -> PubResult:
        observables = np.empty(pub.observables.shape, dtype=object)
        for index in np.ndindex(*observables.shape):
            observables[index] = _pauli_terms(pub.observables[index])
        labels: dict[str, int] = {}
        for terms in observables.ravel():
            for label in terms:
                labels.setdefault(label, len(labels))
        points = np.arange(pub.parameter_values.size).reshape(pub.parameter_values.shape)
        points, observables = np.broadcast_arrays(points, observables)
        exact = self._expectations(pub, list(labels))  # (N, number of labels)
        shots = math.ceil(1 / pub.precision**2) if pub.precision else 0
        evs = np.zeros(points.shape)
        variances = np.zeros(points.shape)
        by_terms: dict[int, list[int]] = {}
        flat = observables.ravel()
        for position, terms in enumerate(flat):
            by_terms.setdefault(id(terms), []).append(position)
        for positions in by_terms.values():
            terms = flat[positions[0]]
            coefficients = np.array([float(np.real(c)) for c in terms.values()])
            rows = points.ravel()[positions]
            values = exact[np.ix_(rows, np.array([labels[label] for label in terms]))]  # (N', T)
            if shots:
                identity = np.array([set(label) == {"I"} for label in terms])
                counts = self._generator.binomial(shots, np.clip((1 + values) / 2, 0, 1))
                values = np.where(identity, values, 2 * counts / shots - 1)
                spread = np.where(identity, 0, 1 - values**2) / shots
                variances.ravel()[positions] = spread @ coefficients**2
            evs.ravel()[positions] = values @ coefficients
        return PubResult(
            DataBin(evs=evs, stds=np.sqrt(variances), shape=evs.shape),
            metadata={"target_precision": pub.precision, "shots": shots},
        )

    def _expectations(self, pub: EstimatorPub, labels: list[str]) -> FloatArray:
        """Return exact expectation values of Pauli ``labels`` at every point: ``(N, L)``."""
        from qiskit_aer import AerSimulator

        analysed = self._analysed(pub.circuit)
        split, angle_map = analysed.aer_angles
        values = pub.parameter_values.as_array(analysed.parameters)
        values = values.reshape(pub.parameter_values.size, analysed.num_parameters)
        circuit = split.copy()
        for label in labels:
            circuit.save_expectation_value(Pauli(label), range(circuit.num_qubits), label=label)
        # Without this Aer makes a bound copy of the circuit for every point, in Python and C++.
        simulator = AerSimulator(method="statevector", runtime_parameter_bind_enable=True)

        def simulated(angles: FloatArray) -> list[list[float]]:
            options: dict[str, Any] = {}
            if split.parameters:
                binds = {p: angles[:, a].tolist() for a, p in enumerate(split.parameters)}
                options["parameter_binds"] = [binds]
            result = simulator.run(circuit, **options).result()
            if not result.success:
                raise RuntimeError(f"Aer: {result.status}")
            rows = [result.data(i) for i in range(len(angles) if split.parameters else 1)]
            return [[float(np.real(row[label])) for label in labels] for row in rows]

        angles = angle_map.angles(values)
        exact = np.zeros((len(values), len(labels)))
        for start in range(0, len(values), CHUNK):
            exact[start : start + CHUNK] = simulated(angles[start : start + CHUNK])
        return exact


def _pauli_terms(terms: Mapping[str, float]) -> dict[str, float]:
    """Write projectors such as ``"0"`` and ``"+"`` as Pauli terms."""
    if all(set(label) <= set("IXYZ") for label in terms):
        return dict(terms)
    return {label: float(c.real) for label, c in from_terms(terms).simplify().to_list()}
