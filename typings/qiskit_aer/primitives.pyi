from collections.abc import Iterable
from typing import Any

from qiskit.primitives import (
    BaseEstimatorV2,
    BaseSamplerV2,
    EstimatorPubLike,
    PrimitiveJob,
    PrimitiveResult,
    PubResult,
    SamplerPubLike,
    SamplerPubResult,
)
from qiskit.providers import BackendV2
from typing_extensions import Self

class EstimatorV2(BaseEstimatorV2):
    def __init__(self, *, options: dict[str, Any] | None = None) -> None: ...
    @classmethod
    def from_backend(cls, backend: BackendV2, **options: Any) -> Self: ...
    @property
    def options(self) -> Any: ...
    def run(
        self, pubs: Iterable[EstimatorPubLike], *, precision: float | None = None
    ) -> PrimitiveJob[PrimitiveResult[PubResult]]: ...

class SamplerV2(BaseSamplerV2):
    def __init__(
        self,
        *,
        default_shots: int = 1024,
        seed: int | None = None,
        options: dict[str, Any] | None = None,
    ) -> None: ...
    @classmethod
    def from_backend(cls, backend: BackendV2, **options: Any) -> Self: ...
    @property
    def default_shots(self) -> int: ...
    @property
    def seed(self) -> int | None: ...
    @property
    def options(self) -> Any: ...
    def run(
        self, pubs: Iterable[SamplerPubLike], *, shots: int | None = None
    ) -> PrimitiveJob[PrimitiveResult[SamplerPubResult]]: ...
