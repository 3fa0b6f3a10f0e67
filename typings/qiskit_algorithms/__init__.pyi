from abc import ABC
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.exceptions import QiskitError
from qiskit.primitives import BaseEstimatorV2, BaseSamplerV2, PrimitiveJob
from qiskit.quantum_info.operators.base_operator import BaseOperator
from typing_extensions import TypeVar

from .gradients import BaseEstimatorGradient
from .optimizers import Minimizer, Optimizer, OptimizerResult

_Result = TypeVar("_Result", covariant=True, default=Any)

class AlgorithmError(QiskitError): ...
class AlgorithmJob(PrimitiveJob[_Result]): ...
class AlgorithmResult(ABC): ...

class _Transpiler(Protocol):
    def run(self, circuits: Any, **options: Any) -> Any: ...

class VariationalResult(AlgorithmResult):
    # Each is None until an algorithm sets it.
    optimal_parameters: dict[Parameter, float] | Any
    optimal_point: NDArray[np.float64] | Any
    optimal_value: float | Any
    optimal_circuit: QuantumCircuit | Any
    optimizer_evals: int | Any
    optimizer_result: OptimizerResult | Any
    optimizer_time: float | Any

class MinimumEigensolverResult(AlgorithmResult):
    eigenvalue: complex | Any
    aux_operators_evaluated: Any

class MinimumEigensolver(ABC):
    def compute_minimum_eigenvalue(
        self, operator: BaseOperator, aux_operators: Any = None
    ) -> MinimumEigensolverResult: ...

class VQEResult(VariationalResult, MinimumEigensolverResult):
    cost_function_evals: int | Any

class SamplingVQEResult(VariationalResult, MinimumEigensolverResult):
    cost_function_evals: int | Any
    eigenstate: dict[str, float] | None
    best_measurement: dict[str, Any] | None

class VQE(MinimumEigensolver):
    estimator: BaseEstimatorV2
    ansatz: QuantumCircuit
    optimizer: Optimizer | Minimizer
    gradient: BaseEstimatorGradient | None
    initial_point: NDArray[np.float64] | None
    callback: Callable[[int, NDArray[np.float64], float, dict[str, Any]], None] | None
    def __init__(
        self,
        estimator: BaseEstimatorV2,
        ansatz: QuantumCircuit,
        optimizer: Optimizer | Minimizer,
        *,
        gradient: BaseEstimatorGradient | None = None,
        initial_point: NDArray[np.float64] | None = None,
        callback: Callable[[int, NDArray[np.float64], float, dict[str, Any]], None] | None = None,
        transpiler: _Transpiler | None = None,
        transpiler_options: dict[str, Any] | None = None,
    ) -> None: ...
    def compute_minimum_eigenvalue(
        self, operator: BaseOperator, aux_operators: Any = None
    ) -> VQEResult: ...

class SamplingVQE(MinimumEigensolver):
    sampler: BaseSamplerV2
    ansatz: QuantumCircuit
    optimizer: Optimizer | Minimizer
    initial_point: NDArray[np.float64] | None
    aggregation: float | Callable[[list[float]], float] | None
    def compute_minimum_eigenvalue(
        self, operator: BaseOperator, aux_operators: Any = None
    ) -> SamplingVQEResult: ...

class QAOA(SamplingVQE):
    reps: int
    mixer: QuantumCircuit | BaseOperator | None
    initial_state: QuantumCircuit | None
    def __init__(
        self,
        sampler: BaseSamplerV2,
        optimizer: Optimizer | Minimizer,
        *,
        reps: int = 1,
        initial_state: QuantumCircuit | None = None,
        mixer: QuantumCircuit | BaseOperator | None = None,
        initial_point: NDArray[np.float64] | None = None,
        aggregation: float | Callable[[list[float]], float] | None = None,
        callback: Callable[[int, NDArray[np.float64], float, dict[str, Any]], None] | None = None,
        transpiler: _Transpiler | None = None,
        transpiler_options: dict[str, Any] | None = None,
    ) -> None: ...
