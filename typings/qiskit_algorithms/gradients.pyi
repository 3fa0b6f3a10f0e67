from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.primitives import BaseEstimatorV2, BaseSamplerV2
from qiskit.quantum_info.operators.base_operator import BaseOperator

from . import AlgorithmJob, _Transpiler

class DerivativeType(Enum):
    REAL = "real"
    IMAG = "imag"
    COMPLEX = "complex"

@dataclass(frozen=True)
class EstimatorGradientResult:
    gradients: list[NDArray[Any]]
    metadata: list[dict[str, Any]]
    precision: Any  # what run was given

@dataclass(frozen=True)
class SamplerGradientResult:
    gradients: list[list[dict[int, float]]]
    metadata: list[dict[str, Any]] | list[list[dict[str, Any]]]
    shots: Any  # what run was given

@dataclass(frozen=True)
class QGTResult:
    qgts: list[NDArray[Any]]
    derivative_type: DerivativeType
    metadata: list[dict[str, Any]] | list[list[dict[str, Any]]]
    precision: float | Sequence[float]

@dataclass(frozen=True)
class QFIResult:
    qfis: list[NDArray[np.float64]]
    metadata: dict[str, Any]
    precision: float | Sequence[float]

class BaseEstimatorGradient(ABC):
    _estimator: BaseEstimatorV2
    _precision: float | None
    _derivative_type: DerivativeType
    _transpiler: _Transpiler | None
    _transpiler_options: dict[str, Any]
    def __init__(
        self,
        estimator: BaseEstimatorV2,
        precision: float | None = None,
        derivative_type: DerivativeType = ...,
        *,
        transpiler: _Transpiler | None = None,
        transpiler_options: dict[str, Any] | None = None,
    ) -> None: ...
    @property
    def derivative_type(self) -> DerivativeType: ...
    @property
    def precision(self) -> float | None: ...
    @precision.setter
    def precision(self, precision: float | None) -> None: ...
    def run(
        self,
        circuits: Sequence[QuantumCircuit],
        observables: Sequence[BaseOperator],
        parameter_values: Sequence[Sequence[float]],
        parameters: Sequence[Sequence[Parameter] | None] | None = None,
        *,
        precision: float | Sequence[float] | None = None,
    ) -> AlgorithmJob[EstimatorGradientResult]: ...
    @abstractmethod
    def _run(
        self,
        circuits: Sequence[QuantumCircuit],
        observables: Sequence[BaseOperator],
        parameter_values: Sequence[Sequence[float]],
        parameters: Sequence[Sequence[Parameter]],
        *,
        precision: float | Sequence[float] | None,
    ) -> EstimatorGradientResult: ...

class FiniteDiffEstimatorGradient(BaseEstimatorGradient):
    def _run(
        self,
        circuits: Sequence[QuantumCircuit],
        observables: Sequence[BaseOperator],
        parameter_values: Sequence[Sequence[float]],
        parameters: Sequence[Sequence[Parameter]],
        *,
        precision: float | Sequence[float] | None,
    ) -> EstimatorGradientResult: ...

class SPSAEstimatorGradient(BaseEstimatorGradient):
    _seed: int | None
    def __init__(
        self,
        estimator: BaseEstimatorV2,
        epsilon: float,
        batch_size: int = 1,
        seed: int | None = None,
        precision: float | None = None,
        *,
        transpiler: _Transpiler | None = None,
        transpiler_options: dict[str, Any] | None = None,
    ) -> None: ...
    def _run(
        self,
        circuits: Sequence[QuantumCircuit],
        observables: Sequence[BaseOperator],
        parameter_values: Sequence[Sequence[float]],
        parameters: Sequence[Sequence[Parameter]],
        *,
        precision: float | Sequence[float] | None,
    ) -> EstimatorGradientResult: ...

class ReverseEstimatorGradient(BaseEstimatorGradient):
    def __init__(self, derivative_type: DerivativeType = ...) -> None: ...
    def _run(
        self,
        circuits: Sequence[QuantumCircuit],
        observables: Sequence[BaseOperator],
        parameter_values: Sequence[Sequence[float]],
        parameters: Sequence[Sequence[Parameter]],
        *,
        precision: float | Sequence[float] | None,
    ) -> EstimatorGradientResult: ...

class BaseSamplerGradient(ABC):
    _sampler: BaseSamplerV2
    _shots: int | None
    _transpiler: _Transpiler | None
    _transpiler_options: dict[str, Any]
    def __init__(
        self,
        sampler: BaseSamplerV2,
        shots: int | None = None,
        *,
        transpiler: _Transpiler | None = None,
        transpiler_options: dict[str, Any] | None = None,
    ) -> None: ...
    @property
    def shots(self) -> int | None: ...
    @shots.setter
    def shots(self, shots: int | None) -> None: ...
    def run(
        self,
        circuits: Sequence[QuantumCircuit],
        parameter_values: Sequence[Sequence[float]],
        parameters: Sequence[Sequence[Parameter] | None] | None = None,
        *,
        shots: int | Sequence[int] | None = None,
    ) -> AlgorithmJob[SamplerGradientResult]: ...
    @abstractmethod
    def _run(
        self,
        circuits: Sequence[QuantumCircuit],
        parameter_values: Sequence[Sequence[float]],
        parameters: Sequence[Sequence[Parameter]],
        *,
        shots: int | Sequence[int] | None,
    ) -> SamplerGradientResult: ...

class FiniteDiffSamplerGradient(BaseSamplerGradient):
    def _run(
        self,
        circuits: Sequence[QuantumCircuit],
        parameter_values: Sequence[Sequence[float]],
        parameters: Sequence[Sequence[Parameter]],
        *,
        shots: int | Sequence[int] | None,
    ) -> SamplerGradientResult: ...

class SPSASamplerGradient(BaseSamplerGradient):
    def _run(
        self,
        circuits: Sequence[QuantumCircuit],
        parameter_values: Sequence[Sequence[float]],
        parameters: Sequence[Sequence[Parameter]],
        *,
        shots: int | Sequence[int] | None,
    ) -> SamplerGradientResult: ...

class BaseQGT(ABC):
    @property
    def derivative_type(self) -> DerivativeType: ...
    def run(
        self,
        circuits: Sequence[QuantumCircuit],
        parameter_values: Sequence[Sequence[float]],
        parameters: Sequence[Sequence[Parameter] | None] | None = None,
        *,
        precision: float | Sequence[float] | None = None,
    ) -> AlgorithmJob[QGTResult]: ...

class QFI:
    def __init__(self, qgt: BaseQGT, precision: float | None = None) -> None: ...
    def run(
        self,
        circuits: Sequence[QuantumCircuit],
        parameter_values: Sequence[Sequence[float]],
        parameters: Sequence[Sequence[Parameter] | None] | None = None,
        *,
        precision: float | Sequence[float] | None = None,
    ) -> AlgorithmJob[QFIResult]: ...
