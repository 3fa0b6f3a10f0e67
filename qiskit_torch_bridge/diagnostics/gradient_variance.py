# SPDX-License-Identifier: Apache-2.0
"""Does the gradient vanish as circuits grow, and how fast?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from scipy import stats

from ..arguments import (
    as_real,
    is_whole_number,
    make_random_generator,
    require_callable,
    require_instance,
    require_whole_number,
    shown,
)
from ..arrays import FloatArray
from ..exceptions import InputError
from ..functional import expectation
from ..module import TorchQuantumModule
from ..program import CircuitProgram
from .axes import axes_for
from .subjects import Draw, all_weights, draw_points, execution_of, require_samples

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EVIDENCE = 2 * math.log(20)
"""The difference of chi-squares at which one of two laws is twenty times as likely."""
SLOW = math.log(5 / 6)
"""A rate at which nothing decays to speak of at the sizes that can be looked at."""
ROUNDING = 1e-28
"""Variances below are those of rounding errors."""

PLATEAU = "barren plateau"
POLYNOMIAL = "polynomial decay"
NONE = "no decay"
UNDECIDED = "undecided"


@dataclass(frozen=True, eq=False)
class GradientVariance:
    r"""Variances of derivatives for circuits of several sizes, and the law that they follow.

    Attributes:
        qubits: The numbers of qubits, ``(N,)``.
        layers: The numbers of layers, ``(M,)``.
        variances: Of the derivative, or averaged over those of all weights: ``(M, N)``.
        errors: Their standard errors ``(M, N)``.
        by_weight: For each ``(qubits, layers)`` the variance of each weight's derivative, ``(W,)``.
        samples: How many points each of them comes from.
        rates: For each number of layers the slope :math:`b` of
            :math:`\ln\mathrm{Var} = a + b\,n`, ``(M,)``; ``exp(b)`` is the factor for one qubit
            more.
        offsets: The :math:`a`, ``(M,)``.
        intervals: Confidence intervals of the slopes, ``(M, 2)``.
        confidence: How confident they are.
        evidence: By how much the chi-square of the power law :math:`a + c \ln n` exceeds that of
            the exponential law, ``(M,)``: above 6 the latter is twenty times as likely, below -6
            the former.
        verdicts: For each number of layers ``"barren plateau"``, ``"polynomial decay"``,
            ``"no decay"`` or ``"undecided"``.
    """

    qubits: tuple[int, ...]
    layers: tuple[int, ...]
    variances: FloatArray
    errors: FloatArray
    by_weight: Mapping[tuple[int, int], FloatArray]
    samples: int
    rates: FloatArray
    offsets: FloatArray
    intervals: FloatArray
    confidence: float
    evidence: FloatArray
    verdicts: tuple[str, ...]

    def plot(self, ax: Any = None) -> Axes:
        """Draw variances with their errors and the fitted exponential laws; return the axes.

        Args:
            ax: Axes of matplotlib to draw in; default: those of a new figure.
        """
        axes = axes_for(ax)
        places = np.array(self.qubits)
        for k, count in enumerate(self.layers):
            label = f"{count} layer{'s' if count != 1 else ''}: {self.verdicts[k]}"
            bars = axes.errorbar(
                places, self.variances[k], self.errors[k], fmt="o", capsize=2, label=label
            )
            law = np.exp(self.offsets[k] + self.rates[k] * places)
            axes.plot(places, law, "--", lw=1, color=bars.lines[0].get_color())
        axes.set_yscale("log")
        axes.set_xticks(places)
        axes.set_xlabel("qubits")
        axes.set_ylabel("variance of a derivative")
        axes.legend(fontsize="small")
        return axes

    def __str__(self) -> str:
        return "\n".join(
            f"{count} layers: {verdict}; variance times {math.exp(rate):.3f} per qubit "
            f"({self.confidence:.0%}: {math.exp(low):.3f} to {math.exp(high):.3f})"
            for count, verdict, rate, (low, high) in zip(
                self.layers, self.verdicts, self.rates, self.intervals, strict=True
            )
        )


def gradient_variance(
    make: Callable[[int, int], CircuitProgram | TorchQuantumModule],
    qubits: Sequence[int],
    layers: Sequence[int] = (1,),
    *,
    samples: int = 200,
    weight: int | None = None,
    draw: Draw | None = None,
    seed: int | np.random.Generator | None = None,
    confidence: float = 0.95,
) -> GradientVariance:
    r"""Return how the variance of derivatives depends on qubits and layers, and a verdict.

    .. math:: \mathrm{Var}_\theta\left[\partial_k f(\theta)\right] \approx e^{a + b\,n}
        \quad\text{on a barren plateau}, \qquad e^a\, n^c \quad\text{elsewhere}

    For each number of layers both laws are fitted to the logarithms of the variances, weighted by
    their standard errors. The interval of the rate :math:`b` is that of the weighted fit, by
    Student's t with the chi-square of the residuals, and never narrower than the standard errors
    alone allow. The verdict is

    * ``"barren plateau"`` if the interval is below zero, and the exponential law at least twenty
      times as likely as the power law (both have two parameters, so likelihoods compare directly);
    * ``"polynomial decay"`` if the interval is below zero, and it is the other way round;
    * ``"no decay"`` if the interval reaches zero, and a decrease by a sixth per qubit is outside;
    * ``"undecided"`` otherwise: take more numbers of qubits, five or more, or more samples.

    It is about the sizes that were looked at. Circuits of fixed depth often decay at first and then
    no longer.

    Args:
        make: Returns for a number of qubits and of layers a :class:`.CircuitProgram`, or a
            :class:`.TorchQuantumModule` to be evaluated where that one is, with one output.
        qubits: At least three numbers of qubits.
        layers: Numbers of layers.
        samples: Points for each circuit.
        weight: The place, among the trained weights, of the one with respect to which is
            differentiated; negative numbers count from the last. Default: the average over the
            variances of all of them, the mean square length of the gradient divided by ``W``.
        draw: Returns points ``(K, P)`` for a ``numpy.random.Generator`` and their shape, inputs
            included, in the order of ``program.parameters``; small angles, for instance. Default:
            uniform in :math:`[0, 2\pi)`.
        seed: Of the points.
        confidence: Of the intervals of the rates.

    Raises:
        InputError: If there are fewer than three numbers of qubits or two samples, or if
            derivatives vanish everywhere.

    Cost:
        One forward and one backward pass over ``samples`` rows for each circuit; on an estimator
        one job each. The noise of shots has a variance of its own, which does not decay with the
        variance that is looked for: take so many shots that it is the smaller one.

    References:
        J. R. McClean et al., Nature Communications 9, 4812 (2018); M. Cerezo et al., Nature
        Communications 12, 1791 (2021).

    Example:
        >>> from qiskit.circuit import ParameterVector, QuantumCircuit
        >>> from qiskit_torch_bridge import CircuitProgram
        >>> from qiskit_torch_bridge.diagnostics import gradient_variance
        >>> def product(n, layers):
        ...     circuit = QuantumCircuit(n)
        ...     for q, angle in enumerate(ParameterVector("w", n)):
        ...         _ = circuit.rx(angle, q)
        ...     return CircuitProgram(circuit, "Z" * n)  # Var = 2**-n
        >>> found = gradient_variance(product, [2, 3, 4, 5, 6], samples=2000, seed=1)
        >>> found.verdicts, bool(abs(found.rates[0] + 0.693) < 0.05)
        (('barren plateau',), True)
    """
    require_callable(make, "make", "a function of a number of qubits and a number of layers")
    sizes = _whole_numbers(qubits, "qubits", 3)
    depths = _whole_numbers(layers, "layers", 1)
    samples = require_samples(samples, 2)
    if weight is not None:
        require_whole_number(weight, "weight", -(1 << 62))
    if not 0 < as_real(confidence) < 1:
        raise InputError(
            f"Expected confidence to be a number between 0 and 1; got {shown(confidence)}."
        )
    generator = make_random_generator(seed)
    variances, errors = np.zeros((2, len(depths), len(sizes)))
    by_weight: dict[tuple[int, int], FloatArray] = {}
    for k, depth in enumerate(depths):
        for j, size in enumerate(sizes):
            derivatives = _derivatives(make(size, depth), weight, samples, draw, generator)
            squares = (derivatives - derivatives.mean(0)) ** 2 * samples / (samples - 1)
            by_weight[size, depth] = squares.mean(0)
            variances[k, j] = squares.mean()
            errors[k, j] = squares.mean(1).std(ddof=1) / math.sqrt(samples)
    if (variances < ROUNDING).any():
        k, j = np.argwhere(variances < ROUNDING)[0]
        raise InputError(
            f"Expected derivatives that vary; those of {sizes[j]} qubits and {depths[k]} layers "
            "vanish everywhere. Measure what depends on the weights, or give another weight=."
        )
    # A standard error of zero comes from derivatives that are the same number everywhere.
    relative = np.maximum(errors / variances, 1e-12)
    fits = [
        _fit(np.array(sizes, dtype=float), np.log(v), r, float(confidence))
        for v, r in zip(variances, relative, strict=True)
    ]
    return GradientVariance(
        tuple(sizes),
        tuple(depths),
        variances,
        errors,
        by_weight,
        samples,
        np.array([fit.rate for fit in fits]),
        np.array([fit.offset for fit in fits]),
        np.array([fit.interval for fit in fits]),
        float(confidence),
        np.array([fit.evidence for fit in fits]),
        tuple(fit.verdict for fit in fits),
    )


def _whole_numbers(given: Any, name: str, least: int) -> list[int]:
    """Return different positive whole numbers, ascending."""
    listed = list(given) if isinstance(given, (list, tuple, np.ndarray, range)) else []
    found = {int(n) for n in listed if is_whole_number(n) and n > 0}
    if len(found) < least or len(found) < len(listed):
        raise InputError(
            f"Expected {name} to be a list of at least {least} different positive whole numbers; "
            f"got {shown(given)}."
        )
    return sorted(found)


def _derivatives(
    made: Any,
    weight: int | None,
    samples: int,
    draw: Draw | None,
    generator: np.random.Generator,
) -> FloatArray:
    """Return derivatives ``(K, C)`` of what was made, with respect to the weights asked for."""
    kinds: Any = (CircuitProgram, TorchQuantumModule)
    subject: CircuitProgram | TorchQuantumModule = require_instance(
        made, "what make returns", kinds, "a CircuitProgram or a TorchQuantumModule"
    )
    program = subject.program if isinstance(subject, TorchQuantumModule) else subject
    count = len(program.trained_columns)
    if math.prod(program.output_shape) != 1:
        raise InputError(
            "Expected what make returns to have one output; got outputs of shape "
            f"{program.output_shape}. Measure one observable, such as their sum."
        )
    if not count:
        raise InputError("Expected what make returns to have weights; got none.")
    if weight is not None and not -count <= weight < count:
        raise InputError(
            f"Expected weight to be the place of one of {count} weights; got {weight}."
        )
    found = sample_derivatives(subject, samples, draw, generator, execution_of(subject))
    return found if weight is None else found[:, [weight]]


def sample_derivatives(
    subject: CircuitProgram | TorchQuantumModule,
    samples: int,
    draw: Draw | None,
    generator: np.random.Generator,
    choices: dict[str, Any] | None = None,
) -> FloatArray:
    """Return derivatives ``(K, W)`` of the sum of all outputs at points drawn.

    Frozen weights of a module keep their values; those of a program are drawn.
    """
    module = subject if isinstance(subject, TorchQuantumModule) else None
    program = subject if isinstance(subject, CircuitProgram) else subject.program
    points = draw_points(generator, (samples, len(program.parameters)), draw)
    if module is not None and program.frozen_params:
        frozen = [k for k in range(len(program.weight_params)) if k not in program.trained]
        points = points.copy()
        points[:, [program.weight_columns[k] for k in frozen]] = all_weights(module)[frozen]
    return derivatives_at(program, points, choices)


def derivatives_at(
    program: CircuitProgram, points: FloatArray, choices: dict[str, Any] | None = None
) -> FloatArray:
    """Return derivatives ``(K, W)`` of the sum of all outputs at points ``(K, P)``."""
    leaf = torch.from_numpy(points).requires_grad_()
    outputs = expectation(program.on(program.analysed), leaf, **(choices or {}))
    if outputs.is_complex():
        raise InputError(
            f"Expected real outputs, of which there is a gradient; measured is {program.measured}."
        )
    (gradients,) = torch.autograd.grad(outputs.sum(), leaf)
    return np.asarray(gradients.numpy()[:, list(program.trained_columns)])


class _Fit(NamedTuple):
    rate: float
    offset: float
    interval: tuple[float, float]
    evidence: float
    verdict: str


def _fit(n: FloatArray, logs: FloatArray, errors: FloatArray, confidence: float) -> _Fit:
    """Fit both laws to logarithms of variances, and compare them."""
    (offset, rate), spread, exponential = _line(n, logs, errors)
    _, _, power = _line(np.log(n), logs, errors)
    freedom = len(n) - 2
    tail = (1 + confidence) / 2
    half = spread * max(
        float(stats.norm.ppf(tail)),
        float(stats.t.ppf(tail, freedom)) * math.sqrt(exponential / freedom),
    )
    evidence = (power - exponential) / max(1.0, min(power, exponential) / freedom)
    verdict = UNDECIDED
    if rate + half >= 0:
        verdict = NONE if rate - half > SLOW else UNDECIDED
    elif abs(evidence) > EVIDENCE:
        verdict = PLATEAU if evidence > 0 else POLYNOMIAL
    return _Fit(rate, offset, (rate - half, rate + half), evidence, verdict)


def _line(
    x: FloatArray, y: FloatArray, errors: FloatArray
) -> tuple[tuple[float, float], float, float]:
    """Return offset and slope of a weighted fit, the slope's standard error, and chi-square."""
    design = np.stack([np.ones_like(x), x], axis=1) / errors[:, None]
    covariance = np.linalg.inv(design.T @ design)
    offset, slope = covariance @ design.T @ (y / errors)
    residuals = (y - offset - slope * x) / errors
    spread = math.sqrt(covariance[1, 1])
    return (float(offset), float(slope)), spread, float(residuals @ residuals)
