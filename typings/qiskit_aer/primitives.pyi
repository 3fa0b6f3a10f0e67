from collections.abc import Iterable
from typing import Any, Self

from qiskit.primitives import (
    BaseEstimatorV2,
    EstimatorPubLike,
    PrimitiveJob,
    PrimitiveResult,
    PubResult,
)
from qiskit.providers import BackendV2

class EstimatorV2(BaseEstimatorV2):
    def __init__(self, *, options: dict[str, Any] | None = None) -> None: ...
    @classmethod
    def from_backend(cls, backend: BackendV2, **options: Any) -> Self: ...
    @property
    def options(self) -> Any: ...
    def run(
        self, pubs: Iterable[EstimatorPubLike], *, precision: float | None = None
    ) -> PrimitiveJob[PrimitiveResult[PubResult]]: ...
