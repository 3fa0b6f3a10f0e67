# SPDX-License-Identifier: Apache-2.0
"""How well a Gram matrix agrees with labels: what trainable kernels are trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..arguments import require_bool
from ..exceptions import InputError
from .points import read_labels, require_gram


def target_alignment(
    gram: Tensor, labels: Any, *, centered: bool = False, balanced: bool = False
) -> Tensor:
    r"""Return the alignment of a Gram matrix with the ideal one of labels.

    .. math:: A(K, T) = \frac{\langle K, T \rangle_F}{\lVert K \rVert_F \lVert T \rVert_F},
              \qquad T_{ij} = \begin{cases} 1 & y_i = y_j \\ -1 / (c - 1) & y_i \neq y_j
              \end{cases}

    It is the cosine of the angle between the two, at most one. For two classes :math:`T = y y^T`
    with labels of one and minus one. To train a kernel, maximise it: ``loss =
    -target_alignment(kernel(x), labels)``.

    Args:
        gram: Shape ``(*batch, N, N)``, symmetric.
        labels: The class of each point: numbers or text, a tensor, array or list of shape ``(N,)``.
        centered: Whether both are centered first, :math:`K_c = H K H` with :math:`H = 1 - 1 1^T /
            N`, so that what all entries have in common does not count. This agrees better with
            accuracies, above all for kernels whose entries are all positive, as those of fidelities
            are.
        balanced: Whether labels are divided by the number of points of their class,
            :math:`T_{ij} / (n_i n_j)`, so that a rare class counts as much as a frequent one.

    Returns:
        Shape ``(*batch,)``, differentiable with respect to ``gram`` as often as wanted.

    Raises:
        InputTypeError: If ``gram`` is no tensor of real floating numbers.
        InputError: If it is not square, or labels are not as many, or not of two classes or more.

    References:
        N. Cristianini et al., NIPS 14 (2001); centered: C. Cortes, M. Mohri, A. Rostamizadeh, J.
        Mach. Learn. Res. 13, 795 (2012), arXiv:1203.0550; of quantum kernels, and balanced: T.
        Hubregtsen et al., Phys. Rev. A 106, 042431 (2022), arXiv:2105.02276; several classes: J. E.
        Camargo, F. A. Gonzalez, CIARP 2009, doi:10.1007/978-3-642-10268-4_56.

    Example:
        >>> import torch
        >>> from qiskit_torch_bridge.kernels import target_alignment
        >>> gram = torch.tensor([[1.0, 0.5], [0.5, 1.0]])
        >>> round(target_alignment(gram, [1, -1]).item(), 4)  # 1 / sqrt(10)
        0.3162
    """
    gram = require_gram(gram, "gram")
    centered, balanced = require_bool(centered, "centered"), require_bool(balanced, "balanced")
    target = _ideal(labels, gram, balanced)
    if centered:
        gram, target = _centre(gram), _centre(target)
    norms = torch.linalg.matrix_norm(gram) * torch.linalg.matrix_norm(target)
    if not bool((norms.detach() > 0).all()):
        raise InputError(
            "Expected a Gram matrix with a direction to compare; got one of norm zero"
            f"{', once it is centered: all of its points are alike' if centered else ''}."
        )
    return (gram * target).sum((-2, -1)) / norms


def _ideal(labels: Any, gram: Tensor, balanced: bool) -> Tensor:
    """Return the Gram matrix ``(N, N)`` that tells classes apart best."""
    classes = read_labels(labels, gram.shape[-1])
    sizes = np.bincount(classes)
    apart = -1 / (len(sizes) - 1)
    target = np.where(classes[:, None] == classes[None, :], 1.0, apart)
    if balanced:
        counts = sizes[classes]
        target = target / np.outer(counts, counts)
    return torch.from_numpy(target).to(gram)


def _centre(matrix: Tensor) -> Tensor:
    matrix = matrix - matrix.mean(-1, keepdim=True)
    return matrix - matrix.mean(-2, keepdim=True)
