# SPDX-License-Identifier: Apache-2.0
"""Gram matrices made positive semidefinite where noise has left them indefinite."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from ..exceptions import HigherOrderError, InputError
from .points import require_gram

PSD = ("clip",)
"""The ways that have a name."""


def nearest_psd(gram: Tensor) -> Tensor:
    r"""Return the positive semidefinite matrix that is nearest in the Frobenius norm.

    .. math:: K_+ = V \max(\Lambda, 0)\, V^T, \qquad \tfrac{1}{2} (K + K^T) = V \Lambda V^T

    Shots and noise make a Gram matrix indefinite, which solvers of support vector machines and
    Gaussian processes do not expect. Clipping its negative eigenvalues changes it the least; what
    the diagonal gains thereby is not taken away again.

    It can be differentiated once, by the divided differences of :math:`\max(\lambda, 0)` (Daleckii
    & Krein, 1965), which have no poles where eigenvalues are equal. Where one of them is exactly
    zero there is no derivative, and one side's is returned.

    Args:
        gram: Shape ``(*batch, N, N)``; of one that is not symmetric, the symmetric part counts.

    Returns:
        Shape ``(*batch, N, N)``.

    Raises:
        InputTypeError: If it is no tensor of real floating numbers.
        InputError: If it is not square, or not finite.
        HigherOrderError: If it is differentiated twice.

    Cost:
        That of the eigenvalues, about :math:`10 N^3` operations.

    References:
        N. J. Higham, Linear Algebra Appl. 103, 103 (1988), doi:10.1016/0024-3795(88)90223-6.

    Example:
        >>> import torch
        >>> from qiskit_torch_bridge.kernels import nearest_psd
        >>> nearest_psd(torch.tensor([[1.0, 2.0], [2.0, 1.0]]))  # eigenvalues 3 and -1
        tensor([[1.5000, 1.5000],
                [1.5000, 1.5000]])
    """
    gram = require_gram(gram, "gram")
    if not bool(torch.isfinite(gram).all()):
        raise InputError("Expected gram to be finite; got infinite or undefined entries.")
    return cast(Tensor, _Clipped.apply((gram + gram.mT) / 2))


class _Clipped(torch.autograd.Function):
    """A symmetric matrix with the negative eigenvalues clipped."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(matrix)
        ctx.save_for_backward(matrix, values, vectors)
        kept = vectors * values.clamp(min=0)[..., None, :]
        clipped = kept @ vectors.mT
        return (clipped + clipped.mT) / 2

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> Tensor:
        matrix, values, vectors = ctx.saved_tensors
        return cast(Tensor, _ClippedGradient.apply(matrix, cotangent, values, vectors))


class _ClippedGradient(torch.autograd.Function):
    """The gradient, which is differentiated no further."""

    @staticmethod
    def forward(
        ctx: Any, matrix: Tensor, cotangent: Tensor, values: Tensor, vectors: Tensor
    ) -> Tensor:
        above, below = values.clamp(min=0), (-values).clamp(min=0)
        above, below = (torch.maximum(v[..., :, None], v[..., None, :]) for v in (above, below))
        kept = values > 0
        both = kept[..., :, None] & kept[..., None, :]
        # Of a pair on both sides of zero, the part of its distance that is above.
        slopes = torch.where(both, 1.0, above / torch.where(below > 0, above + below, 1))
        inner = vectors.mT @ ((cotangent + cotangent.mT) / 2) @ vectors
        return vectors @ (slopes * inner) @ vectors.mT

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor, ...]:
        raise HigherOrderError(
            "The nearest positive semidefinite matrix can be differentiated once; a second "
            "derivative was asked for. Leave out psd= where second derivatives are needed."
        )
