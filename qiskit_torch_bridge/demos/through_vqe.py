# SPDX-License-Identifier: Apache-2.0
"""PyTorch's optimizers handed to ``VQE`` of qiskit-algorithms, with what they ask for counted."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.primitives import BaseEstimatorV2
from qiskit.quantum_info import SparsePauliOp
from qiskit_algorithms import VQE
from qiskit_algorithms.gradients import BaseEstimatorGradient, SPSAEstimatorGradient
from qiskit_algorithms.optimizers import SLSQP, SPSA, Optimizer
from qiskit_algorithms.utils import algorithm_globals

from ..algorithms import TorchOptimizer
from ..arrays import FloatArray
from ..gradients import (
    AdjointEstimatorGradient,
    AQGDEstimatorGradient,
    FiniteDifferenceEstimatorGradient,
    ParameterShiftEstimatorGradient,
)
from ..optim import FubiniStudyMetric
from ..optim.metric import Approximation
from ..primitives import BatchedStatevectorEstimator
from .common import GRADIENTS, MeteredEstimator
from .contest import TORCH, Price, Run

CLASSES: dict[str, Any] = {
    "aqgd": AQGDEstimatorGradient,
    "parameter-shift": ParameterShiftEstimatorGradient,
    "finite-difference": FiniteDifferenceEstimatorGradient,
}

SPSA_EPSILON = 0.1
SPSA_CALIBRATION = 50


class CountedGradient(BaseEstimatorGradient):
    """Passes everything on to a gradient and counts the calls.

    Attributes:
        calls: The number of gradients computed.
    """

    def __init__(self, gradient: BaseEstimatorGradient, estimator: BaseEstimatorV2) -> None:
        super().__init__(estimator)
        self._gradient = gradient
        self.calls = 0

    def _run(
        self,
        circuits: Any,
        observables: Any,
        parameter_values: Any,
        parameters: Any,
        *,
        precision: Any,
    ) -> Any:
        self.calls += len(circuits)
        job = self._gradient.run(
            circuits, observables, parameter_values, parameters, precision=precision
        )
        return job.result()


def through_vqe(
    method: str,
    ansatz: QuantumCircuit,
    operator: SparsePauliOp,
    start: FloatArray,
    price: Price,
    budget: int,
    *,
    step_size: float | None,
    tolerance: float,
    seed: int,
    approximation: Approximation,
    precision: float,
    gradient: str | None,
) -> Run:
    """Let ``VQE`` find the ground state with one of the optimizers; no gradient: the adjoint one.

    The energy is the one that ``VQE`` returns: exact, if its values are.
    """
    run = Run(method, through="VQE")
    meter = MeteredEstimator(BatchedStatevectorEstimator(default_precision=precision, seed=seed))
    counted = CountedGradient(_gradient(gradient, precision, seed), meter)

    def spent() -> bool:
        run.counts.update(values=meter.values, gradients=counted.calls)
        return run.spent(price) >= budget

    if method in TORCH:
        kind, options = TORCH[method]
        if method == "natural":
            options = {**options, "metric": FubiniStudyMetric(ansatz, approximation)}
        metric = price.metric if method == "natural" else 0
        optimizer: Optimizer = TorchOptimizer(
            kind,
            maxiter=max(1, budget // (1 + price.gradient + metric)),
            lr=step_size,
            gradient_tol=tolerance,
            callback=lambda *_: spent(),  # L-BFGS evaluates several times in a step
            **options,
        )
    elif method == "spsa":
        algorithm_globals.random_seed = seed
        optimizer = SPSA(maxiter=max(1, (budget - SPSA_CALIBRATION - 1) // 2))
    else:
        optimizer = SLSQP(maxiter=max(1, budget // (1 + price.gradient)), ftol=tolerance**2)
    vqe = VQE(meter, ansatz, optimizer, gradient=counted, initial_point=start)
    began = time.perf_counter()
    result = vqe.compute_minimum_eigenvalue(operator)
    run.seconds = time.perf_counter() - began
    if method == "natural":
        run.counts["metrics"] = result.optimizer_result.nit
    spent()
    run.point = np.asarray(result.optimal_point)
    run.evaluations.append(run.spent(price))
    run.values.append(float(np.real(result.eigenvalue)))
    return run


def _gradient(name: str | None, precision: float, seed: int) -> BaseEstimatorGradient:
    if name is None:
        return AdjointEstimatorGradient()
    estimator = BatchedStatevectorEstimator(default_precision=precision, seed=seed + 1)
    if name == "spsa":
        return SPSAEstimatorGradient(estimator, SPSA_EPSILON, seed=seed)
    return CLASSES[GRADIENTS[name]](estimator)
