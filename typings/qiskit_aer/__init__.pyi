from typing import Any

from qiskit.providers import BackendV2, Options
from qiskit.transpiler import Target
from typing_extensions import Self

__version__: str

class AerSimulator(BackendV2):
    def __init__(
        self,
        configuration: Any = None,
        properties: Any = None,
        provider: Any = None,
        target: Target | None = None,
        **backend_options: Any,
    ) -> None: ...
    @classmethod
    def from_backend(cls, backend: BackendV2, **options: Any) -> Self: ...
    @classmethod
    def _default_options(cls) -> Options: ...
    @property
    def target(self) -> Target: ...
    @property
    def max_circuits(self) -> int | None: ...
    def available_methods(self) -> tuple[str, ...]: ...
    def available_devices(self) -> tuple[str, ...]: ...
    def run(  # type: ignore[override]  # it names its arguments otherwise
        self, circuits: Any, parameter_binds: Any = None, **run_options: Any
    ) -> Any: ...
