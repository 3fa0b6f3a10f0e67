# SPDX-License-Identifier: Apache-2.0
"""Kernels as covariances of Gaussian processes, as gpytorch takes them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..arguments import require_instance
from ..exceptions import MissingPackageError
from .kernel import QuantumKernel


def as_gpytorch(kernel: QuantumKernel) -> Any:
    """Return a ``gpytorch.kernels.Kernel`` whose covariance is this kernel's Gram matrix.

    It goes wherever gpytorch takes a kernel, alone or in a ``ScaleKernel`` or a sum; the weights of
    the feature map train with the other hyperparameters, on the marginal likelihood. gpytorch is
    not installed along with this package. Gaussian processes factorise the matrix: a kernel that is
    measured with shots should clip it (``psd="clip"``).

    Args:
        kernel: The kernel; it is shared, not copied.

    Returns:
        The covariance, a module with the kernel as ``quantum_kernel``. ``ard_num_dims``,
        ``last_dim_is_batch`` and lengthscales have no meaning for it.

    Raises:
        InputTypeError: If it is something else.
        MissingPackageError: If gpytorch cannot be imported.

    References:
        J. R. Gardner et al., NeurIPS 31 (2018), arXiv:1809.11165.
    """
    require_instance(kernel, "kernel", QuantumKernel, "a FidelityKernel or a ProjectedKernel")
    try:
        from gpytorch.kernels import Kernel
    except ImportError as error:
        raise MissingPackageError(
            f"A covariance for gpytorch needs gpytorch, which cannot be imported ({error}). "
            "Install it: pip install gpytorch"
        ) from error

    class QuantumCovariance(Kernel):
        """A quantum kernel as gpytorch calls it."""

        has_lengthscale = False
        is_stationary = False

        def __init__(self, quantum_kernel: QuantumKernel) -> None:
            super().__init__()
            self.quantum_kernel = quantum_kernel

        def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
            """Return the covariances ``(..., N, M)``, or ``(..., N)`` of rows with themselves."""
            same = x1.shape == x2.shape and torch.equal(x1, x2)
            others = None if same else x2
            return (
                self.quantum_kernel.diagonal(x1, others)
                if diag
                else self.quantum_kernel(x1, others)
            )

    return QuantumCovariance(kernel)
