# SPDX-License-Identifier: Apache-2.0
"""The seam to torch: which autograd function an engine has, and what it looks like to tracers."""

from __future__ import annotations

import math

from torch import Tensor

from . import analytic, evaluations
from .nodes import Node
from .tensor_engines import Found


def expectation(
    inputs: Tensor, weights: Tensor, node: Node, arrived: Found | None = None
) -> Tensor:
    """Return expectation values ``(B, O)`` in torch's graph, by the function for the engine.

    Args:
        inputs: Shape ``(B, I)``.
        weights: Shape ``(W,)``, or ``(B, W)`` with a row of weights for each of the inputs.
        node: What evaluates them.
        arrived: Values that are there already, of a job that was submitted before.
    """
    if math.isinf(node.order):
        return evaluations.Expectation.apply(inputs, weights, node, arrived)
    return analytic.expectation(inputs, weights, node, arrived)


__all__ = ["Node", "expectation"]
