# SPDX-License-Identifier: Apache-2.0
"""The bridge to algorithm objects: PyTorch's optimizers in them, and what modules take from them.

* :class:`TorchOptimizer` goes into VQE, QAOA and others as their optimizer.
* :func:`read_algorithm` and :func:`read_qnn` return the :class:`ModuleParts` of which
  ``TorchQuantumModule.from_algorithm`` and ``from_qnn`` make a module.
* :func:`bits_by_qubit` and :func:`unpack_bits` read what algorithms and samplers measure.
"""

from .bit_strings import bits_by_qubit, unpack_bits
from .minimization import History
from .module_parts import ModuleParts, read_algorithm, read_qnn
from .torch_optimizer import TorchOptimizer

__all__ = [
    "History",
    "ModuleParts",
    "TorchOptimizer",
    "bits_by_qubit",
    "read_algorithm",
    "read_qnn",
    "unpack_bits",
]
