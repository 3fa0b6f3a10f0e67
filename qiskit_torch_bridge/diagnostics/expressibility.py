# SPDX-License-Identifier: Apache-2.0
"""How evenly a circuit's states fill the space of states, and how entangled they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch

from ..arguments import make_random_generator, require_choice, require_whole_number
from ..arrays import FloatArray
from ..exceptions import CircuitError
from ..module import TorchQuantumModule
from .axes import axes_for
from .subjects import (
    Circuit,
    Draw,
    circuit_of,
    draw_points,
    execution_of,
    prepare_states,
    require_samples,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 75
"""Of histograms of fidelities, as in the paper."""
MOST_BINS = 10**6
Binning = Literal["width", "probability"]


@dataclass(frozen=True, eq=False)
class Expressibility:
    r"""How far the fidelities of a circuit's states are from those of random states.

    Attributes:
        divergence: The Kullback-Leibler divergence of the histogram, in nats: the estimate of the
            paper, smaller for more expressive circuits.
        bias: What it has too much on average, since the histogram is one of finitely many samples:
            :math:`(m - 1) / 2S` for ``m`` bins that are not empty. What is below it is noise.
        error: Its standard error.
        fidelities: The fidelities ``(S,)`` of independent pairs.
        edges: The edges of the bins, ``(bins + 1,)``.
        histogram: The frequency of each bin, ``(bins,)``; they sum to one.
        haar: The probability of each bin for random states, ``(bins,)``.
        num_qubits: The number ``n`` of qubits.
    """

    divergence: float
    bias: float
    error: float
    fidelities: FloatArray
    edges: FloatArray
    histogram: FloatArray
    haar: FloatArray
    num_qubits: int

    @property
    def corrected(self) -> float:
        """The divergence less its bias, in nats; about zero for random states."""
        return self.divergence - self.bias

    def plot(self, ax: Any = None) -> Axes:
        """Draw the histogram of fidelities beside that of random states; return the axes.

        Args:
            ax: Axes of matplotlib to draw in; default: those of a new figure.
        """
        axes = axes_for(ax)
        axes.stairs(self.histogram, self.edges, fill=True, alpha=0.5, label="circuit")
        axes.stairs(self.haar, self.edges, color="black", label="random states")
        axes.set_xlabel("fidelity of two states")
        axes.set_ylabel("probability of a bin")
        axes.set_title(
            f"divergence {self.divergence:.3f} ± {self.error:.3f} nats", fontsize="medium"
        )
        axes.legend(fontsize="small")
        return axes


@dataclass(frozen=True, eq=False)
class EntanglingCapability:
    """How entangled a circuit's states are on average.

    Attributes:
        mean: The mean Meyer-Wallach measure, between 0 and 1.
        error: Its standard error.
        values: The measure of each state, ``(S,)``. From shots single ones may be below zero.
        haar: What random states of as many qubits have on average,
            :math:`(2^n - 2) / (2^n + 1)`.
    """

    mean: float
    error: float
    values: FloatArray
    haar: float

    def plot(self, ax: Any = None) -> Axes:
        """Draw a histogram of the measure, with its mean and that of random states.

        Args:
            ax: Axes of matplotlib to draw in; default: those of a new figure.
        """
        axes = axes_for(ax)
        low, high = min(0.0, float(self.values.min())), max(1.0, float(self.values.max()))
        axes.hist(self.values, bins=np.linspace(low, high, 41).tolist(), alpha=0.5)
        axes.axvline(self.mean, label=f"mean {self.mean:.3f} ± {self.error:.3f}")
        axes.axvline(self.haar, color="black", ls="--", label=f"random states {self.haar:.3f}")
        axes.set_xlabel("Meyer-Wallach measure")
        axes.set_ylabel("states")
        axes.legend(fontsize="small")
        return axes


def expressibility(
    circuit: Circuit,
    samples: int = 5000,
    bins: int = BINS,
    *,
    binning: Binning = "width",
    draw: Draw | None = None,
    seed: int | np.random.Generator | None = None,
) -> Expressibility:
    r"""Return how far a circuit's states are from random ones, by their fidelities.

    .. math:: D_\mathrm{KL}\left(\hat P(F)\,\|\,P_\mathrm{Haar}(F)\right) = \sum_b \hat p_b
        \ln\frac{\hat p_b}{q_b}, \qquad P_\mathrm{Haar}(F \le f) = 1 - (1 - f)^{2^n - 1}

    for the histogram of fidelities :math:`|\langle\psi(\theta)|\psi(\theta')\rangle|^2` of pairs at
    random points. The pairs are independent, so the standard error is that of a multinomial,
    :math:`\sqrt{\mathrm{Var}_{\hat p}[\ln \hat p_b / q_b] / S + (m - 1) / 2S^2}`.

    A circuit without parameters has the largest value there is, :math:`(2^n - 1) \ln(\text{bins})`;
    the value depends on the number of bins, and values are to be compared at the same one. Of many
    qubits, as soon as :math:`2^n` is much more than the number of bins, nearly all fidelities are
    in the first bin, and the divergence is zero whatever the circuit: bins that random states fill
    alike tell circuits apart there, too.

    Args:
        circuit: A circuit, or a program or module that has one; all its parameters are drawn.
        samples: The number ``S`` of pairs. The paper takes 5000.
        bins: Of the histogram.
        binning: ``"width"``, bins of one width as in the paper; or ``"probability"``, bins of one
            probability for random states, of which the largest divergence is
            :math:`\ln(\text{bins})`.
        draw: Returns points ``(K, P)`` for a ``numpy.random.Generator`` and their shape, in the
            order of ``circuit.parameters``. Default: uniform in :math:`[0, 2\pi)`, as in the paper.
        seed: Of the points.

    Raises:
        InputError: If there are fewer than two samples or bins.
        MemoryLimitError: If a state does not fit into memory.

    Cost:
        ``2 S`` states, exactly, in this process, in pieces of 128 MiB.

    References:
        S. Sim, P. D. Johnson and A. Aspuru-Guzik, Advanced Quantum Technologies 2, 1900070 (2019);
        the bias is that of G. A. Miller (1955).

    Example:
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit_torch_bridge.diagnostics import expressibility
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.h(0), circuit.rz(Parameter("theta"), 0)
        >>> found = expressibility(circuit, seed=1)  # of infinitely many pairs: 0.1961
        >>> bool(abs(found.corrected - 0.1961) < 3 * found.error)
        True
    """
    quantum = circuit_of(circuit)
    samples = require_samples(samples, 2)
    require_choice(binning, "binning", get_args(Binning))
    bins = require_whole_number(bins, "bins", 2, MOST_BINS)
    points = draw_points(make_random_generator(seed), (2 * samples, quantum.num_parameters), draw)
    num_qubits = quantum.num_qubits
    overlaps = [
        torch.linalg.vecdot(states[0::2], states[1::2])
        for states in prepare_states(quantum, points, multiple_of=2)
    ]
    found = torch.cat(overlaps).abs().square().numpy().clip(0.0, 1.0)
    edges, logs = _BINNINGS[binning](bins, 2.0**num_qubits - 1)
    counts = np.histogram(found, edges)[0]
    histogram = counts / samples
    filled = counts > 0
    ratios = np.log(histogram[filled]) - logs[filled]
    divergence = float(histogram[filled] @ ratios)
    excess = int(filled.sum()) - 1
    variance = float(histogram[filled] @ (ratios - divergence) ** 2)
    return Expressibility(
        divergence,
        excess / (2 * samples),
        math.sqrt(variance / samples + excess / (2 * samples**2)),
        found,
        edges,
        histogram,
        np.exp(logs),
        num_qubits,
    )


def _equal_width(bins: int, power: float) -> tuple[FloatArray, FloatArray]:
    """Return edges of bins, and logarithms of their probabilities for random states."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    below, above = edges[:-1], edges[1:]
    shrink = power * (np.log1p(-above[:-1]) - np.log1p(-below[:-1]))
    logs = power * np.log1p(-below)
    logs[:-1] += np.log(-np.expm1(shrink))
    return edges, logs


def _equal_probability(bins: int, power: float) -> tuple[FloatArray, FloatArray]:
    """Return what :func:`_equal_width` does, for bins of one probability."""
    inner = -np.expm1(np.log1p(-np.arange(bins) / bins) / power)
    return np.append(inner, 1.0), np.full(bins, -math.log(bins))


_BINNINGS = {"width": _equal_width, "probability": _equal_probability}


def entangling_capability(
    circuit: Circuit,
    samples: int = 1000,
    *,
    draw: Draw | None = None,
    seed: int | np.random.Generator | None = None,
) -> EntanglingCapability:
    r"""Return the mean Meyer-Wallach measure of a circuit's states at random points.

    .. math:: Q(\psi) = 2\left(1 - \frac1n \sum_k \mathrm{Tr}\,\rho_k^2\right)
        = 1 - \frac1n \sum_k \left(\langle X_k\rangle^2 + \langle Y_k\rangle^2
        + \langle Z_k\rangle^2\right)

    with the reduced state :math:`\rho_k` of each qubit: 0 for products, 1 if every qubit is
    maximally entangled with the others. It is evaluated by ``3 n`` observables, so that a module is
    evaluated where it runs, and wide circuits by what is narrow in them. From shots the squares of
    standard errors are subtracted, without which squares would be too large on average. Noise,
    measurements and resets make states mixed, which counts like entanglement.

    Args:
        circuit: A circuit or a program, evaluated exactly; or a module, evaluated where it runs.
            All its parameters are drawn.
        samples: The number of points.
        draw: As for :func:`expressibility`.
        seed: Of the points.

    Raises:
        InputError: If there are fewer than two samples.
        CircuitError: If the circuit has fewer than two qubits.

    Cost:
        One forward pass over ``samples`` rows with ``3 n`` observables; on an estimator one job.

    References:
        S. Sim et al. (2019) as for :func:`expressibility`; D. A. Meyer and N. R. Wallach, Journal
        of Mathematical Physics 43, 4273 (2002); G. K. Brennen, Quantum Information & Computation 3,
        619 (2003).

    Example:
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit_torch_bridge.diagnostics import entangling_capability
        >>> circuit = QuantumCircuit(2)
        >>> _ = circuit.ry(Parameter("theta"), 0), circuit.cx(0, 1)  # Q = sin(theta)**2
        >>> found = entangling_capability(circuit, seed=1)
        >>> bool(abs(found.mean - 0.5) < 4 * found.error)
        True
    """
    quantum = circuit_of(circuit)
    samples = require_samples(samples, 2)
    n = quantum.num_qubits
    if n < 2:
        raise CircuitError(
            "Expected a circuit of at least two qubits, which can be entangled; got a "
            f"QuantumCircuit of {n}."
        )
    labels = ["I" * (n - 1 - q) + letter + "I" * q for q in range(n) for letter in "XYZ"]
    points = draw_points(make_random_generator(seed), (samples, quantum.num_parameters), draw)
    module = TorchQuantumModule(
        quantum, labels, input_params=list(quantum.parameters), **execution_of(circuit)
    )
    with torch.no_grad():
        squares = module(torch.from_numpy(points)).square()
    if module.last_stds is not None:
        squares = squares - module.last_stds.square()
    values = 1 - squares.sum(1).numpy() / n
    size = 2.0**n
    return EntanglingCapability(
        float(values.mean()),
        float(values.std(ddof=1) / math.sqrt(samples)),
        values,
        (size - 2) / (size + 1),
    )
