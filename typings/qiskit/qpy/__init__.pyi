from collections.abc import Sequence
from typing import IO

from ..circuit import QuantumCircuit
from ..exceptions import QiskitError
from . import common as common

class QpyError(QiskitError): ...

def dump(
    programs: QuantumCircuit | Sequence[QuantumCircuit],
    file_obj: IO[bytes],
    *,
    version: int = ...,
    use_symengine: int = ...,  # a bool
) -> None: ...
def load(file_obj: IO[bytes]) -> list[QuantumCircuit]: ...
