from . import circuit as circuit
from . import qpy as qpy
from . import quantum_info as quantum_info
from .circuit import QuantumCircuit as QuantumCircuit
from .exceptions import QiskitError as QiskitError

__version__: str
