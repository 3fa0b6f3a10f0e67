from ...circuit import QuantumCircuit
from . import EstimatorPubLike, ShapedMixin
from .bindings_array import BindingsArray
from .observables_array import ObservablesArray

class EstimatorPub(ShapedMixin):
    def __init__(
        self,
        circuit: QuantumCircuit,
        observables: ObservablesArray,
        parameter_values: BindingsArray | None = None,
        precision: float | None = None,
        validate: bool = True,
    ) -> None: ...
    @property
    def circuit(self) -> QuantumCircuit: ...
    @property
    def observables(self) -> ObservablesArray: ...
    @property
    def parameter_values(self) -> BindingsArray: ...
    @property
    def precision(self) -> float | None: ...
    @classmethod
    def coerce(cls, pub: EstimatorPubLike, precision: float | None = None) -> EstimatorPub: ...
    def validate(self) -> None: ...
