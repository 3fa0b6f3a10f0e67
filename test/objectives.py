# SPDX-License-Identifier: Apache-2.0
"""Objectives for tests of optimizers: they count their calls, or return what is written down."""

from __future__ import annotations

import numpy as np
import torch


def smooth(p: torch.Tensor) -> torch.Tensor:
    """A curved valley with ripples, of three parameters."""
    return (1 - p[0]) ** 2 + 5 * (p[1] - p[0] ** 2) ** 2 + torch.cos(p).sum()


class Counting:
    """A function of tensors as an objective of arrays, with the points it was given."""

    def __init__(self, function=smooth):
        self.function = function
        self.shapes: list[tuple[int, ...]] = []
        self.points: list[np.ndarray] = []
        self.gradients = 0

    def fun(self, x):
        self.shapes.append(x.shape)
        rows = np.atleast_2d(x).copy()
        self.points += list(rows)
        values = [self.function(torch.from_numpy(row)).item() for row in rows]
        return values[0] if x.ndim == 1 else np.array(values)

    def jac(self, x):
        self.gradients += 1
        p = torch.from_numpy(x.copy()).requires_grad_()
        self.function(p).backward()
        return p.grad.numpy()


class Scripted:
    """Returns given values and gradients one after the other, wherever it is evaluated."""

    def __init__(self, values, gradients=None):
        self.values = iter(values)
        self.gradients = None if gradients is None else iter(gradients)
        self.points: list[np.ndarray] = []

    def fun(self, x):
        self.points.append(x)
        return next(self.values)

    def jac(self, x):
        return np.ones_like(x) if self.gradients is None else np.asarray(next(self.gradients))
