from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

_Vector = NDArray[np.float64]

class OptimizerResult:
    # Each is None until an optimizer sets it.
    x: _Vector | Any
    fun: float | Any
    jac: _Vector | None
    nfev: int | Any
    njev: int | None
    nit: int | Any
    def __init__(self) -> None: ...

class OptimizerSupportLevel(IntEnum):
    not_supported = 0
    ignored = 1
    supported = 2
    required = 3

class Minimizer(Protocol):
    def __call__(
        self,
        fun: Callable[[_Vector], float],
        x0: _Vector,
        jac: Callable[[_Vector], _Vector] | None,
        bounds: list[tuple[float, float]] | None,
    ) -> Any: ...

class Optimizer(ABC):
    _max_evals_grouped: int
    def set_max_evals_grouped(self, limit: int | None) -> None: ...
    @abstractmethod
    def __init__(self) -> None: ...
    @abstractmethod
    def get_support_level(self) -> Mapping[str, OptimizerSupportLevel]: ...
    @property
    def settings(self) -> dict[str, Any]: ...
    @abstractmethod
    def minimize(
        self,
        fun: Callable[[_Vector], float],
        x0: _Vector,
        jac: Callable[[_Vector], _Vector] | None = None,
        bounds: list[tuple[float, float]] | None = None,
    ) -> OptimizerResult: ...

class SciPyOptimizer(Optimizer):
    def __init__(
        self,
        method: str | Callable[..., Any],
        options: dict[str, Any] | None = None,
        max_evals_grouped: int = 1,
        **kwargs: Any,
    ) -> None: ...
    def get_support_level(self) -> dict[str, OptimizerSupportLevel]: ...
    def minimize(
        self,
        fun: Callable[[_Vector], float],
        x0: _Vector,
        jac: Callable[[_Vector], _Vector] | None = None,
        bounds: list[tuple[float, float]] | None = None,
    ) -> OptimizerResult: ...

class COBYLA(SciPyOptimizer):
    def __init__(
        self,
        maxiter: int = 1000,
        disp: bool = False,
        rhobeg: float | None = 1.0,
        tol: float | None = None,
        options: dict[str, Any] | None = None,
    ) -> None: ...

class SLSQP(SciPyOptimizer):
    def __init__(
        self,
        maxiter: int = 100,
        disp: bool = False,
        ftol: float = 1e-06,
        tol: float | None = None,
    ) -> None: ...

class SPSA(Optimizer):
    def __init__(self, maxiter: int = 100, **options: Any) -> None: ...
    def get_support_level(self) -> dict[str, OptimizerSupportLevel]: ...
    def minimize(
        self,
        fun: Callable[[_Vector], float],
        x0: _Vector,
        jac: Callable[[_Vector], _Vector] | None = None,
        bounds: list[tuple[float, float]] | None = None,
    ) -> OptimizerResult: ...
