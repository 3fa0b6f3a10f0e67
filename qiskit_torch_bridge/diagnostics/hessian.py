# SPDX-License-Identifier: Apache-2.0
"""How a loss curves: eigenvalues of its Hessian, from products with vectors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh
from torch import nn

from ..arguments import (
    make_random_generator,
    require_choice,
    require_real_array,
    require_real_number,
    require_whole_number,
    shown,
)
from ..arrays import FloatArray
from ..exceptions import InputError
from .axes import axes_for
from .subjects import FlatModule, Loss

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Method = Literal["auto", "full", "lanczos"]
FULL = 256
"""Up to so many parameters the matrix is made, unless something else is asked for."""
CHUNK = 64
"""So many products are made at once."""


@dataclass(frozen=True, eq=False)
class HessianSpectrum:
    """Eigenvalues of a loss's Hessian at a point.

    Attributes:
        eigenvalues: Ascending. All of them, ``(W,)``; or, by Lanczos, the extremes: the smallest
            and the largest, as many as were asked for.
        nodes: Where the density has its weights, ``(N,)``: the eigenvalues, or Ritz values.
        weights: The shares of all eigenvalues there, ``(N,)``; they sum to one.
        trace: The trace; by Lanczos an estimate from random vectors.
        trace_error: Its standard error; zero if all eigenvalues are known.
        gradient_norm: The length of the gradient at the point: at a minimum it is zero.
        count: The number ``W`` of parameters.
        is_complete: Whether all eigenvalues are there.
    """

    eigenvalues: FloatArray
    nodes: FloatArray
    weights: FloatArray
    trace: float
    trace_error: float
    gradient_norm: float
    count: int
    is_complete: bool

    @property
    def negative(self) -> float:
        """The share of eigenvalues that are below zero, as far as known; rounding not counted."""
        size = max(1e-300, float(np.abs(self.nodes).max(initial=0.0)))
        return float(self.weights[self.nodes < -1e-6 * size].sum())

    def density(self, at: FloatArray, width: float) -> FloatArray:
        """Return the density of eigenvalues at points ``(A,)``, smoothed by Gaussians."""
        width = require_real_number(width, "width")
        points = require_real_array(at, "at", (None,))
        if not np.isfinite(points).all():
            raise InputError(f"Expected at to be finite numbers; got {shown(at)}.")
        distances = (points[:, None] - self.nodes) / width
        heights = np.exp(-(distances**2) / 2) / (width * math.sqrt(2 * math.pi))
        return np.asarray(heights @ self.weights, dtype=float)

    def plot(self, ax: Any = None) -> Axes:
        """Draw the density of eigenvalues, and those that are known; return the axes.

        Args:
            ax: Axes of matplotlib to draw in; default: those of a new figure.
        """
        axes = axes_for(ax)
        low = float(min(self.eigenvalues[0], self.nodes.min()))
        high = float(max(self.eigenvalues[-1], self.nodes.max()))
        spread = max(high - low, 1e-12)
        at = np.linspace(low - 0.1 * spread, high + 0.1 * spread, 400)
        axes.plot(at, self.density(at, 0.02 * spread), label="density")
        axes.plot(self.eigenvalues, np.zeros_like(self.eigenvalues), "|", color="black", ms=12)
        axes.axvline(0, color="gray", lw=0.5)
        axes.set_xlabel("eigenvalue of the Hessian")
        axes.set_ylabel("density")
        return axes


def hessian_spectrum(
    module: nn.Module,
    loss: Loss | None = None,
    *,
    method: Method = "auto",
    extremes: int = 4,
    vectors: int = 8,
    steps: int = 40,
    seed: int | np.random.Generator | None = None,
) -> HessianSpectrum:
    r"""Return the spectrum of a loss's Hessian with respect to a module's parameters.

    .. math:: H_{ij} = \frac{\partial^2 L}{\partial\theta_i\, \partial\theta_j}

    The Hessian is symmetric, so its product with a vector is that of the gradient's Jacobian and a
    cotangent: one more backward pass, on the exact engine a few sweeps whatever the number of
    parameters, and many products are one batch. With
    ``"full"`` the matrix is made of ``W`` of these and diagonalised. With ``"lanczos"`` there is
    no matrix: the extremes come from ARPACK, and the density from stochastic Lanczos quadrature,
    which makes ``steps`` products for each of some random vectors.

    Args:
        module: Any module, quantum or with classical layers.
        loss: A function of the module that returns one number, as for :func:`loss_landscape`.
        method: ``"full"``, ``"lanczos"``, or ``"auto"``: the former up to 256 parameters.
        extremes: How many eigenvalues from each end, by Lanczos; of few parameters, all.
        vectors: How many random vectors, by Lanczos.
        steps: Products for each of them, by Lanczos.
        seed: Of the random vectors.

    Raises:
        InputError: If the loss is not one number, or cannot be evaluated by ``torch.func``.
        HigherOrderError: If the module's gradient cannot be differentiated.

    Cost:
        ``W`` products, or about ``vectors * steps`` and what ARPACK takes, some tens for each
        extreme. On an estimator a product takes the evaluations of second derivatives by shifts.

    References:
        B. Ghorbani, S. Krishnan and Y. Xiao, ICML (2019), for the quadrature; P. Huembeli and A.
        Dauphin, Quantum Science and Technology 6, 025011 (2021), for Hessians of circuits.

    Example:
        >>> from qiskit.circuit import ParameterVector, QuantumCircuit
        >>> from qiskit_torch_bridge import TorchQuantumModule
        >>> from qiskit_torch_bridge.diagnostics import hessian_spectrum
        >>> circuit = QuantumCircuit(2)
        >>> for q, angle in enumerate(ParameterVector("w", 2)):
        ...     _ = circuit.rx(angle, q)
        >>> energy = TorchQuantumModule(circuit, "ZZ", initial_weights=[0.0, 0.0])
        >>> hessian_spectrum(energy).eigenvalues  # of cos(a) cos(b) at its maximum
        array([-1., -1.])
    """
    flat = FlatModule(module)
    require_choice(method, "method", get_args(Method))
    extremes = require_whole_number(extremes, "extremes", 1, 1 << 16)
    vectors = require_whole_number(vectors, "vectors", 2, 1 << 16)
    steps = require_whole_number(steps, "steps", 2, 1 << 16)
    gradient = torch.func.grad(flat.loss(loss))
    slope, pullback = torch.func.vjp(gradient, flat.center)[:2]
    products = flat.over(lambda vector: pullback(vector)[0], CHUNK)
    norm = float(slope.detach().norm())
    if method == "full" or (method == "auto" and flat.count <= FULL):
        matrix = products(torch.eye(flat.count, dtype=torch.float64)).detach().numpy()
        _check_finite(matrix)
        values = np.linalg.eigvalsh((matrix + matrix.T) / 2)
        shares = np.full(flat.count, 1 / flat.count)
        trace = float(np.trace(matrix))
        return HessianSpectrum(values, values, shares, trace, 0.0, norm, flat.count, True)
    generator = make_random_generator(seed)

    def apply(rows: FloatArray) -> FloatArray:
        found: FloatArray = products(torch.from_numpy(rows)).detach().numpy()
        _check_finite(found)
        return found

    nodes, shares, traces = _quadrature(apply, flat.count, vectors, steps, generator)
    return HessianSpectrum(
        _extremes(apply, flat.count, extremes, generator),
        nodes,
        shares,
        float(traces.mean()),
        float(traces.std(ddof=1) / math.sqrt(vectors)),
        norm,
        flat.count,
        False,
    )


def _check_finite(found: FloatArray) -> None:
    if not np.isfinite(found).all():
        raise InputError(
            "Expected a loss with finite second derivatives at the module's parameters; some are "
            "not finite. Look at the loss there, or at parameter expressions that are singular."
        )


def _extremes(apply: Any, count: int, extremes: int, generator: np.random.Generator) -> FloatArray:
    """Return the smallest and the largest eigenvalues, ascending."""
    if 2 * extremes >= count:
        matrix = apply(np.eye(count))
        values = np.linalg.eigvalsh((matrix + matrix.T) / 2)
        return np.asarray(values, dtype=float)

    def multiply(vector: FloatArray) -> FloatArray:
        return np.asarray(apply(np.ascontiguousarray(vector).reshape(1, -1))[0], dtype=float)

    operator = LinearOperator((count, count), matvec=multiply, dtype=np.float64)
    try:
        values = eigsh(
            operator,
            k=2 * extremes,
            which="BE",
            v0=generator.normal(size=count),
            return_eigenvectors=False,
        )
    except ArpackError as error:
        raise InputError(
            f"ARPACK found no {extremes} eigenvalues at each end: {error}. Ask for others with "
            "extremes=, or for method='full'."
        ) from error
    return np.sort(np.asarray(values, dtype=float))


def _quadrature(
    apply: Any, count: int, vectors: int, steps: int, generator: np.random.Generator
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return Ritz values, their weights, and an estimate of the trace from each random vector.

    All vectors take their steps together. Each is kept orthogonal to all that came before it.
    """
    steps = min(steps, count)
    current = generator.choice([-1.0, 1.0], size=(vectors, count)) / math.sqrt(count)
    kept = [current]
    alphas, betas = np.zeros((vectors, steps)), np.zeros((vectors, steps))
    for step in range(steps):
        found = apply(current)
        alphas[:, step] = (found * current).sum(1)
        basis = np.stack(kept, axis=1)  # (vectors, steps, count)
        for _ in range(2):
            overlaps = np.einsum("vsc,vc->vs", basis, found)
            found = found - np.einsum("vs,vsc->vc", overlaps, basis)
        norms = np.linalg.norm(found, axis=1)
        ended = norms < 1e-10
        betas[:, step] = np.where(ended, 0.0, norms)
        current = np.where(ended[:, None], 0.0, found / np.where(ended, 1.0, norms)[:, None])
        kept.append(current)
    nodes, shares = [], []
    for alpha, beta in zip(alphas, betas, strict=True):
        ends = np.flatnonzero(beta[:-1] == 0.0)
        size = int(ends[0]) + 1 if len(ends) else steps
        matrix = (
            np.diag(alpha[:size]) + np.diag(beta[: size - 1], 1) + np.diag(beta[: size - 1], -1)
        )
        values, states = np.linalg.eigh(matrix)
        nodes.append(values)
        shares.append(states[0] ** 2 / vectors)
    return np.concatenate(nodes), np.concatenate(shares), alphas[:, 0] * count
