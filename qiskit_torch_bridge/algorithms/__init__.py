# SPDX-License-Identifier: Apache-2.0
"""The bridge to algorithm objects: PyTorch's optimizers in them, and what modules take from them.

* :class:`TorchOptimizer` goes into VQE, QAOA and others as their optimizer.
* :func:`arguments_of_algorithm` and :func:`arguments_of_qnn` read what
  ``TorchQuantumModule.from_algorithm`` and ``from_qnn`` need.
* :func:`bits_by_qubit` reads what algorithms and samplers measure.
"""

from .bit_strings import bits_by_qubit
from .minimization import History
from .module_parts import arguments_of_algorithm, arguments_of_qnn
from .torch_optimizer import TorchOptimizer

__all__ = [
    "History",
    "TorchOptimizer",
    "arguments_of_algorithm",
    "arguments_of_qnn",
    "bits_by_qubit",
]
