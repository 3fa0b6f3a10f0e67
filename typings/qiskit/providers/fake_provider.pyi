from ..transpiler import Target
from . import BackendV2

class GenericBackendV2(BackendV2):
    def __init__(
        self,
        num_qubits: int,
        basis_gates: list[str] | None = None,
        *,
        coupling_map: list[list[int]] | None = None,
        control_flow: bool = False,
        seed: int | None = None,
        noise_info: bool = True,
    ) -> None: ...
    @property
    def target(self) -> Target: ...
    @property
    def max_circuits(self) -> None: ...
