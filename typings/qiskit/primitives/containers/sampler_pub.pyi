from ...circuit import QuantumCircuit
from . import SamplerPubLike, ShapedMixin
from .bindings_array import BindingsArray

class SamplerPub(ShapedMixin):
    def __init__(
        self,
        circuit: QuantumCircuit,
        parameter_values: BindingsArray | None = None,
        shots: int | None = None,
        validate: bool = True,
    ) -> None: ...
    @property
    def circuit(self) -> QuantumCircuit: ...
    @property
    def parameter_values(self) -> BindingsArray: ...
    @property
    def shots(self) -> int | None: ...
    @classmethod
    def coerce(cls, pub: SamplerPubLike, shots: int | None = None) -> SamplerPub: ...
    def validate(self) -> None: ...
