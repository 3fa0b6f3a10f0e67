# SPDX-License-Identifier: Apache-2.0
"""How many directions of a model's parameters matter: to its outcomes, and to its states."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.special import logsumexp
from torch import Tensor, nn

from ..arguments import (
    as_real,
    make_random_generator,
    require_instance,
    require_whole_number,
    shown,
)
from ..arrays import FloatArray, IntArray
from ..exceptions import InputError
from ..optim import FubiniStudyMetric
from ..program import CircuitProgram
from .axes import axes_for
from .subjects import BYTES, Circuit, Draw, FlatModule, circuit_of, draw_points, require_samples

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TINY = 1e-300


@dataclass(frozen=True, eq=False)
class EffectiveDimension:
    r"""The effective dimension of a model for numbers of data, and the Fisher matrices behind it.

    Attributes:
        sizes: The numbers of data ``n``, ``(N,)``.
        dimensions: The effective dimension at each, ``(N,)``, between 0 and ``W`` for large ``n``.
        errors: Their standard errors by the jackknife over sets of weights, ``(N,)``.
        fisher: The Fisher matrices at each set of weights, ``(K, W, W)``, normalised so that the
            mean of their traces is ``W``.
        mean_trace: The mean trace before that.
        eigenvalues: Of the normalised matrices, ascending, ``(K, W)``.
        count: The number ``W`` of parameters.
    """

    sizes: IntArray
    dimensions: FloatArray
    errors: FloatArray
    fisher: FloatArray
    mean_trace: float
    eigenvalues: FloatArray
    count: int

    @property
    def normalised(self) -> FloatArray:
        """The effective dimension divided by the number of parameters, ``(N,)``."""
        return self.dimensions / self.count

    def plot(self, ax: Any = None) -> Axes:
        """Draw the normalised effective dimension for numbers of data; return the axes.

        Args:
            ax: Axes of matplotlib to draw in; default: those of a new figure.
        """
        axes = axes_for(ax)
        axes.errorbar(self.sizes, self.normalised, self.errors / self.count, fmt="o-", capsize=2)
        axes.set_xscale("log")
        axes.set_xlabel("number of data")
        axes.set_ylabel(f"effective dimension / {self.count}")
        return axes


@dataclass(frozen=True, eq=False)
class ParameterDimension:
    """How many directions of a circuit's parameters change its state.

    Attributes:
        dimension: The largest rank of the metric that was found.
        ranks: The rank at each point, ``(K,)``.
        eigenvalues: Of the metric at each point, ascending, ``(K, W)``.
        count: The number ``W`` of parameters.
        most: The largest rank there is for states of ``n`` qubits, ``2 * 2**n - 2``.
    """

    dimension: int
    ranks: IntArray
    eigenvalues: FloatArray
    count: int
    most: int

    @property
    def is_redundant(self) -> bool:
        """Whether some directions change nothing at any point that was looked at."""
        return self.dimension < self.count

    def plot(self, ax: Any = None) -> Axes:
        """Draw the eigenvalues of the metric at all points; return the axes.

        Args:
            ax: Axes of matplotlib to draw in; default: those of a new figure.
        """
        axes = axes_for(ax)
        places = np.arange(1, self.count + 1)
        axes.semilogy(places, np.maximum(self.eigenvalues[:, ::-1], 1e-18).T, ".", color="tab:blue")
        axes.axvline(self.dimension + 0.5, color="black", ls="--", label=f"rank {self.dimension}")
        axes.set_xlabel("eigenvalue, largest first")
        axes.set_ylabel("of the Fubini-Study metric")
        axes.legend(fontsize="small")
        return axes


def effective_dimension(
    module: nn.Module,
    inputs: Tensor | None = None,
    sizes: Any = (1_000, 10_000, 100_000, 1_000_000),
    *,
    samples: int = 100,
    gamma: float = 1.0,
    draw: Draw | None = None,
    seed: int | np.random.Generator | None = None,
) -> EffectiveDimension:
    r"""Return the effective dimension of a model that gives probabilities.

    .. math:: d_{\gamma,n} = 2\,\frac{\ln\left(\frac{1}{V} \int_\Theta
        \sqrt{\det\left(1 + \kappa\,\hat F(\theta)\right)}\, d\theta\right)}{\ln \kappa},
        \qquad \kappa = \frac{\gamma\,n}{2\pi \ln n},
        \qquad \hat F(\theta) = W\, \frac{F(\theta)}{\langle\mathrm{Tr}\,F\rangle_\theta}

    with the classical Fisher matrix of the model's probabilities, exact in the outcomes ``y`` and a
    mean over the inputs that are given:

    .. math:: F_{ij}(\theta) = \frac1B \sum_x \sum_y
        \frac{\partial_i p_\theta(y|x)\, \partial_j p_\theta(y|x)}{p_\theta(y|x)} .

    The integral is a mean over drawn points. It is inside a logarithm and dominated by the points
    with the largest determinants, so the estimate has a bias of the order ``1/K``, which is left in
    it. Where a probability is zero its term is left out: for smooth models this happens at isolated
    points, at which the limit may be another. Shots add their noise to the Fisher matrix.

    Args:
        module: Gives probabilities ``(B, Y)``: a :class:`.TorchQuantumModule` with
            :class:`.Probabilities`, or any module that ends with a softmax.
        inputs: The data, ``(B, ...)``, as the module takes them; ``None`` for a module without
            inputs.
        sizes: Numbers of data, a number or a list.
        samples: The number ``K`` of points.
        gamma: The constant :math:`\gamma`, between 0 and 1.
        draw: Returns parameters ``(K, W)`` for a ``numpy.random.Generator`` and their shape.
            Default: uniform in :math:`[0, 2\pi)`, which is for angles; the paper has
            :math:`[-1, 1]` for all models.
        seed: Of the points.

    Raises:
        InputError: If outputs are no probabilities, or :math:`\kappa` is not above one.

    Cost:
        The derivatives of all outputs for ``samples * B`` rows: ``W`` tangents, or ``Y`` backward
        passes if there are fewer outcomes than parameters.

    References:
        A. Abbas et al., Nature Computational Science 1, 403 (2021).

    Example:
        >>> from qiskit.circuit import ParameterVector, QuantumCircuit
        >>> from qiskit_torch_bridge import Probabilities, TorchQuantumModule
        >>> from qiskit_torch_bridge.diagnostics import effective_dimension
        >>> circuit = QuantumCircuit(1)
        >>> for angle in ParameterVector("w", 2):
        ...     _ = circuit.ry(angle, 0)  # two parameters that do the same
        >>> model = TorchQuantumModule(circuit, Probabilities())
        >>> found = effective_dimension(model, sizes=[10**4, 10**12], samples=4, seed=1)
        >>> found.dimensions.round(2).tolist()  # towards one
        [1.14, 1.03]
    """
    flat = FlatModule(module)
    samples = require_samples(samples, 2)
    counts, kappas = _read_sizes(sizes, gamma)
    points = draw_points(make_random_generator(seed), (samples, flat.count), draw)
    fisher = _fisher(flat, inputs, torch.from_numpy(points))
    trace = float(np.trace(fisher, axis1=1, axis2=2).mean())
    if trace < TINY:
        raise InputError("Expected probabilities that depend on the parameters; they do not.")
    fisher *= flat.count / trace
    eigenvalues = np.linalg.eigvalsh(fisher).clip(0.0)
    dimensions, errors = _dimensions(eigenvalues, kappas)
    return EffectiveDimension(counts, dimensions, errors, fisher, trace, eigenvalues, flat.count)


def _read_sizes(sizes: Any, gamma: Any) -> tuple[IntArray, FloatArray]:
    if not 0 < as_real(gamma) <= 1:
        raise InputError(f"Expected gamma to be above 0 and at most 1; got {shown(gamma)}.")
    listed = sizes if isinstance(sizes, (list, tuple, range, np.ndarray)) else [sizes]
    counts = [require_whole_number(n, "each of sizes", 2, 1 << 62) for n in listed]
    kappas = [gamma * n / (2 * math.pi * math.log(n)) for n in counts]
    if not counts or min(kappas) <= 1:
        raise InputError(
            "Expected sizes to be numbers of data n with gamma n / (2 pi ln n) above one, from "
            f"about 20 up for gamma=1; got {shown(sizes)} with gamma={gamma}."
        )
    return np.array(counts, dtype=np.int64), np.array(kappas)


def _fisher(flat: FlatModule, inputs: Any, points: Tensor) -> FloatArray:
    """Return the Fisher matrices ``(K, W, W)`` at points ``(K, W)``."""

    def probabilities(weights: Tensor) -> Tensor:
        found = flat.at(weights, (lambda m: m()) if inputs is None else (lambda m: m(inputs)))
        require_instance(found, "what module returns", Tensor, "a tensor of probabilities")
        found = found if found.is_complex() else found.to(weights)
        return found.reshape(-1, found.shape[-1] if found.dim() else 1)

    with torch.no_grad():
        once = probabilities(points[0])
    off = (once.sum(-1) - 1).abs().max() if once.numel() else torch.tensor(math.inf)
    if once.is_complex() or not bool(off < 1e-4) or bool((once < -1e-6).any()):
        raise InputError(
            "Expected module to give probabilities (B, Y) that sum to one; got outputs of shape "
            f"{tuple(once.shape)} whose sums are off by {float(off):.3g}. Measure Probabilities(), "
            "or put torch.nn.Softmax(-1) behind it."
        )
    rows, outcomes = once.shape
    jacobian = torch.func.jacrev if outcomes < flat.count else torch.func.jacfwd

    def with_values(weights: Tensor) -> tuple[Tensor, Tensor]:
        found = probabilities(weights)
        return found, found

    derivatives = jacobian(with_values, has_aux=True)

    def matrix(weights: Tensor) -> Tensor:
        slopes, values = derivatives(weights)  # (B, Y, W), (B, Y)
        inverse = torch.where(values > 1e-15, 1 / values.clamp(min=1e-15), 0.0)
        return torch.einsum("byi,byj,by->ij", slopes, slopes, inverse) / rows

    piece = max(1, BYTES // (8 * 4 * rows * outcomes * flat.count))
    return np.asarray(flat.over(matrix, piece)(points).detach().numpy(), dtype=float)


def _dimensions(eigenvalues: FloatArray, kappas: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return effective dimensions with the jackknife's errors, for each of the kappas."""
    count = len(eigenvalues)
    traces = eigenvalues.sum(1)
    # Without one of the points the others are normalised by another mean trace.
    others = (traces.sum() - traces) / (count - 1)
    scales = np.where(others > TINY, eigenvalues.shape[1] / np.maximum(others, TINY), 0.0)
    found, errors = [], []
    for kappa in kappas.tolist():
        logs = np.log1p(kappa * eigenvalues).sum(1) / 2
        whole = _log_mean(logs)
        left_out = np.array(
            [
                _log_mean(np.log1p(kappa * scale * np.delete(eigenvalues, k, 0)).sum(1) / 2)
                for k, scale in enumerate(scales.tolist())
            ]
        )
        spread = math.sqrt((count - 1) / count * float(((left_out - left_out.mean()) ** 2).sum()))
        found.append(2 * whole / math.log(kappa))
        errors.append(2 * spread / math.log(kappa))
    return np.array(found), np.array(errors)


def _log_mean(logs: FloatArray) -> float:
    return float(logsumexp(logs)) - math.log(len(logs))


def parameter_dimension(
    circuit: Circuit,
    samples: int = 5,
    *,
    draw: Draw | None = None,
    seed: int | np.random.Generator | None = None,
    tolerance: float = 1e-10,
) -> ParameterDimension:
    r"""Return the rank of the metric of a circuit's states: how many parameters are independent.

    .. math:: D = \max_\theta\, \mathrm{rank}\, G(\theta)

    with the Fubini-Study metric :math:`G`, a quarter of the quantum Fisher matrix. A circuit whose
    rank no longer grows with more layers is overparameterized: it can move in all directions that
    its gates allow, at most the dimension of its Lie algebra (:func:`lie_algebra_dimension`), and
    spurious local minima tend to disappear.

    Args:
        circuit: A circuit, or a program or module that has one; all its parameters count.
        samples: The number of points; the rank is the same at almost all of them.
        draw: Returns points ``(K, P)``, as for :func:`expressibility`.
        seed: Of the points.
        tolerance: Eigenvalues below the largest one times this count as zero.

    Raises:
        InputError: If the circuit has no parameters.

    Cost:
        Two sweeps over one state for each parameter and point, and a ``(W, W)`` matrix.

    References:
        T. Haug, K. Bharti and M. S. Kim, PRX Quantum 2, 040309 (2021); M. Larocca et al., Nature
        Computational Science 3, 542 (2023).

    Example:
        >>> from qiskit.circuit import ParameterVector, QuantumCircuit
        >>> from qiskit_torch_bridge.diagnostics import parameter_dimension
        >>> circuit = QuantumCircuit(1)
        >>> for angle in ParameterVector("w", 3):
        ...     _ = circuit.ry(angle, 0)
        >>> found = parameter_dimension(circuit, seed=1)
        >>> found.dimension, found.is_redundant
        (1, True)
    """
    quantum = circuit_of(circuit)
    samples = require_samples(samples, 1)
    if not 0 < as_real(tolerance) < 1:
        raise InputError(
            f"Expected tolerance to be a number between 0 and 1; got {shown(tolerance)}."
        )
    if not quantum.num_parameters:
        raise InputError("Expected a circuit with parameters; this one has none.")
    metric = FubiniStudyMetric(CircuitProgram(quantum))
    points = draw_points(make_random_generator(seed), (samples, quantum.num_parameters), draw)
    eigenvalues = np.array([np.linalg.eigvalsh(metric(point)) for point in points])
    # Of states that do not move, the largest eigenvalue is a rounding error as well.
    largest = np.maximum(eigenvalues[:, -1:], 1e-12)
    ranks = (eigenvalues > tolerance * largest).sum(1)
    return ParameterDimension(
        int(ranks.max()),
        ranks,
        eigenvalues,
        quantum.num_parameters,
        2 * 2**quantum.num_qubits - 2,
    )
