# SPDX-License-Identifier: Apache-2.0
"""Quantum kernels: Gram matrices of what a circuit does with two points, fixed or trained.

* :class:`FidelityKernel` compares whole states, :class:`ProjectedKernel` reduced ones. Both are
  modules of PyTorch, take NumPy's arrays as scikit-learn gives them, and run wherever modules do.
* :func:`target_alignment` is what a kernel is trained on before a classifier sees it.
* :func:`nearest_psd` makes noisy Gram matrices positive semidefinite.
* :func:`as_gpytorch` makes a covariance for Gaussian processes of a kernel.
"""

from .alignment import target_alignment
from .fidelity import FidelityKernel
from .gaussian_processes import as_gpytorch
from .kernel import QuantumKernel
from .positive import nearest_psd
from .projected import ProjectedKernel

__all__ = [
    "FidelityKernel",
    "ProjectedKernel",
    "QuantumKernel",
    "as_gpytorch",
    "nearest_psd",
    "target_alignment",
]
