# SPDX-License-Identifier: Apache-2.0
"""Which functions of its inputs a module can be: Fourier series, and their coefficients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..arguments import (
    make_random_generator,
    require_instance,
    require_real_array,
    require_real_number,
    require_whole_number,
    shown,
)
from ..arrays import ComplexArray, FloatArray
from ..exceptions import GradientError, InputError, MeasurementError, MemoryLimitError
from ..module import TorchQuantumModule
from .axes import axes_for
from .subjects import BYTES, Draw, FlatModule, draw_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DIGITS = 9
MOST_POINTS = 1 << 22
"""Of a grid."""
MOST_FOR_ONE = 1 << 14


@dataclass(frozen=True, eq=False)
class FourierSpectrum:
    r"""The Fourier coefficients of a module with respect to some of its inputs.

    Attributes:
        frequencies: For each input the accessible frequencies, ascending, negative ones and zero
            included, in inverse units of the input.
        coefficients: Complex, ``(K, *frequencies, *output_shape)`` for ``K`` sets of weights.
        names: The names of the inputs.
        num_inputs: How many axes of the coefficients are frequencies.
        condition: The condition number of the system that was solved; 1 for a discrete Fourier
            transform, which it is if the frequencies are equally spaced.
    """

    frequencies: tuple[FloatArray, ...]
    coefficients: ComplexArray
    names: tuple[str, ...]
    num_inputs: int
    condition: float

    @property
    def mean_magnitude(self) -> FloatArray:
        """The mean of the coefficients' magnitudes over sets of weights, without the first axis."""
        return np.asarray(np.abs(self.coefficients).mean(axis=0), dtype=float)

    @property
    def variance(self) -> FloatArray:
        """The variance of the complex coefficients over sets of weights, likewise."""
        return np.asarray(np.var(self.coefficients, axis=0), dtype=float)

    def degree(self, threshold: float = 1e-9) -> tuple[float, ...]:
        """Return for each input the largest frequency with a coefficient above a threshold.

        Accessible frequencies can be missing, for instance where no gate mixes them in.
        """
        least = require_real_number(threshold, "threshold", zero=True)
        found = []
        for axis, frequencies in enumerate(self.frequencies):
            magnitudes = np.moveaxis(np.abs(self.coefficients), axis + 1, 0)
            above = magnitudes.reshape(len(frequencies), -1).max(axis=1) > least
            found.append(float(np.abs(frequencies[above]).max(initial=0.0)))
        return tuple(found)

    def __call__(self, inputs: Any) -> ComplexArray:
        """Return the series ``(K, B, *output_shape)`` at inputs ``(B, I)``."""
        points = require_real_array(inputs, "inputs", (None, self.num_inputs))
        result = self.coefficients[:, None]  # (K, 1, *frequencies, *output_shape)
        for column, frequencies in zip(points.T, self.frequencies, strict=True):
            waves = np.exp(1j * np.multiply.outer(column, frequencies))  # (B, F)
            waves = waves.reshape(1, *waves.shape, *(1,) * (result.ndim - 3))
            result = (result * waves).sum(axis=2)
        return result

    def plot(self, ax: Any = None) -> Axes:
        """Draw coefficients of the first output; return the axes.

        Of one input real and imaginary parts for each set of weights, side by side; of two or more,
        the mean magnitude for the first two, at frequency zero of the others.

        Args:
            ax: Axes of matplotlib to draw in; default: those of a new figure.
        """
        axes = axes_for(ax)
        shape = self.coefficients.shape[: 1 + self.num_inputs]
        first = self.coefficients.reshape(*shape, -1)[..., 0]
        for axis in range(self.num_inputs - 1, 1, -1):
            first = first[..., len(self.frequencies[axis]) // 2]
        if self.num_inputs == 1:
            steps = np.diff(self.frequencies[0])
            width = 0.2 * float(steps.min(initial=1.0))
            for part, shift, label in ((first.real, -1, "real"), (first.imag, 1, "imaginary")):
                places = np.broadcast_to(self.frequencies[0] + shift * width, part.shape)
                axes.plot(places.ravel(), part.ravel(), "o", ms=3, alpha=0.5, label=label)
            axes.axhline(0, color="black", lw=0.5)
            axes.set_xlabel(f"frequency of {self.names[0]}")
            axes.set_ylabel("coefficient")
            axes.legend(fontsize="small")
            return axes
        means = np.abs(first).mean(axis=0)
        image = axes.pcolormesh(*self.frequencies[:2], means.T, shading="nearest")
        axes.figure.colorbar(image, ax=axes, label="mean magnitude")
        axes.set_xlabel(f"frequency of {self.names[0]}")
        axes.set_ylabel(f"frequency of {self.names[1]}")
        return axes


def fourier_spectrum(
    module: TorchQuantumModule,
    samples: int = 1,
    *,
    inputs: Sequence[int] | None = None,
    at: Any = None,
    draw: Draw | None = None,
    seed: int | np.random.Generator | None = None,
) -> FourierSpectrum:
    r"""Return the Fourier coefficients of a module with respect to its inputs.

    .. math:: f(x, w) = \sum_{\omega \in \Omega} c_\omega(w)\, e^{i \omega \cdot x}

    The frequencies :math:`\Omega` that are accessible follow from the circuit: differences of the
    eigenvalues of the gates' generators, and sums of these for gates that share an input. With
    them known, the coefficients are found from as many points as there are frequencies, exactly up
    to rounding: by a discrete Fourier transform on a grid where frequencies are multiples of one of
    them, otherwise by least squares on twice as many points for each input.

    Args:
        module: A module with inputs that measures expectation values or probabilities. It is
            evaluated where it runs; noise of shots goes into the coefficients.
        samples: How many sets of weights: the first are the module's own, the others drawn.
        inputs: The places of the inputs that are looked at; default: all.
        at: The values ``(I,)`` of the other inputs, radians; default: zero.
        draw: Returns weights ``(K, W)`` for a ``numpy.random.Generator`` and their shape. Default:
            uniform in :math:`[0, 2\pi)`.
        seed: Of the weights.

    Raises:
        GradientError: If an input enters an expression that is not affine, or has more than 128
            frequencies.
        MeasurementError: If the module gives what is no such series: a function of expectation
            values, or the state.
        MemoryLimitError: If the grid has more than four million points, or 16,384 along an input.

    Cost:
        A forward pass over ``samples * prod(2 d + 1)`` rows for ``d`` positive frequencies of each
        input.

    References:
        M. Schuld, R. Sweke and J. J. Meyer, Physical Review A 103, 032430 (2021).

    Example:
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit_torch_bridge import TorchQuantumModule
        >>> from qiskit_torch_bridge.diagnostics import fourier_spectrum
        >>> x, w = Parameter("x"), Parameter("w")
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.ry(x, 0), circuit.ry(w, 0)  # cos(x + w)
        >>> module = TorchQuantumModule(circuit, "Z", input_params=[x], initial_weights=[0.0])
        >>> found = fourier_spectrum(module)
        >>> found.frequencies[0].tolist(), abs(found.coefficients[0, :, 0]).round(6).tolist()
        ([-1.0, 0.0, 1.0], [0.5, 0.0, 0.5])
    """
    require_instance(module, "module", TorchQuantumModule, "a TorchQuantumModule with inputs")
    program = module.program
    if not program.input_params:
        raise InputError("Expected module to have inputs, of which it is a series; it has none.")
    if not program.measurement.is_read:
        raise MeasurementError(
            "Expected module to measure observables or probabilities, which are Fourier series; "
            f"it measures {program.measured}."
        )
    samples = require_whole_number(samples, "samples", 1, MOST_POINTS)
    count = len(program.input_params)
    chosen = _choose(inputs, count)
    base = np.zeros(count) if at is None else require_real_array(at, "at", (count,))
    if not np.isfinite(base).all():
        raise InputError(f"Expected at to be finite values of the inputs; got {shown(at)}.")
    frequencies = [_accessible(module, i) for i in chosen]
    systems = [_points_for(f) for f in frequencies]
    grid = math.prod(len(points) for points, _ in systems)
    if grid * samples > MOST_POINTS:
        raise MemoryLimitError(
            f"The grid has {grid} points for each of {samples} sets of weights, more than "
            f"{MOST_POINTS} together. Look at fewer inputs (inputs=), or fewer sets of weights."
        )
    mesh = np.meshgrid(*(points for points, _ in systems), indexing="ij")
    rows = np.tile(base, (grid, 1))
    rows[:, chosen] = np.stack([axis.ravel() for axis in mesh], axis=1)
    values = _evaluate(module, torch.from_numpy(rows), samples, draw, seed)
    sizes = [len(points) for points, _ in systems]
    coefficients: Any = values.reshape(samples, *sizes, *program.output_shape)
    for axis, (_, inverse) in enumerate(systems):
        moved = np.moveaxis(coefficients, axis + 1, -1) @ inverse.T
        coefficients = np.moveaxis(moved, -1, axis + 1)
    return FourierSpectrum(
        tuple(frequencies),
        coefficients,
        tuple(program.input_params[i].name for i in chosen),
        len(chosen),
        float(math.prod(float(np.linalg.cond(inverse)) for _, inverse in systems)),
    )


def _choose(inputs: Any, count: int) -> list[int]:
    if inputs is None:
        return list(range(count))
    listed = list(require_instance(inputs, "inputs", (list, tuple, range), "a list of places"))
    chosen = [require_whole_number(i, "each of inputs", 0, count - 1) for i in listed]
    if not chosen or len(set(chosen)) < len(chosen):
        raise InputError(f"Expected inputs to be different places of inputs; got {listed}.")
    return chosen


def _accessible(module: TorchQuantumModule, place: int) -> FloatArray:
    """Return the frequencies of an input, negative ones and zero included."""
    program = module.program
    try:
        positive = np.array(program.analysed.frequencies(program.input_columns[place]), dtype=float)
    except GradientError as error:
        raise GradientError(
            "Expected inputs that enter affine expressions of gates, with a known number of "
            f"frequencies; got {program.input_params[place].name}. Compute what is not affine "
            "before the module, or look at other inputs (inputs=)."
        ) from error
    return np.concatenate([-positive[::-1], [0.0], positive])


def _points_for(frequencies: FloatArray) -> tuple[FloatArray, ComplexArray]:
    """Return points ``(M,)`` of an input, and what makes coefficients ``(F,)`` of values there."""
    positive = frequencies[len(frequencies) // 2 + 1 :]
    if not len(positive):
        return np.zeros(1), np.ones((1, 1), dtype=complex)
    unit = _common_unit(positive)
    if unit:
        number = _checked(2 * round(float(positive[-1]) / unit) + 1)
        points = 2 * math.pi / unit * np.arange(number) / number
        waves: ComplexArray = np.exp(-1j * np.multiply.outer(frequencies, points))
        return points, waves / number
    # The period of the smallest difference, four points to the shortest wave.
    gap = float(np.diff(frequencies).min())
    number = _checked(max(2 * len(frequencies), math.ceil(4 * positive[-1] / gap)))
    points = 2 * math.pi / gap * np.arange(number) / number
    series: ComplexArray = np.exp(1j * np.multiply.outer(points, frequencies))
    return points, np.asarray(np.linalg.pinv(series), dtype=complex)


def _checked(number: int) -> int:
    """Return how many points one input takes, unless they are too many."""
    if number > MOST_FOR_ONE:
        raise MemoryLimitError(
            f"The frequencies of an input take {number} points, more than {MOST_FOR_ONE}: their "
            "differences are small beside the largest of them. Round the factors of the input in "
            "the circuit, or look at other inputs (inputs=)."
        )
    return number


def _common_unit(positive: FloatArray) -> float:
    """Return a number of which all frequencies are small multiples; zero if there is none."""
    for divisor in range(1, 13):
        unit = float(positive[0]) / divisor
        multiples = positive / unit
        if np.abs(multiples - np.round(multiples)).max() < 10.0 ** (2 - DIGITS):
            return unit
    return 0.0


def _evaluate(
    module: TorchQuantumModule, rows: torch.Tensor, samples: int, draw: Any, seed: Any
) -> FloatArray:
    """Return values ``(K, G, *output_shape)`` for the module's own weights and drawn ones."""
    rows = rows.to(module.weight.device)
    with torch.no_grad():
        own = module(rows)[None]
        if samples > 1 and module.weight.numel():
            flat = FlatModule(module)
            shape = (samples - 1, flat.count)
            weights = draw_points(make_random_generator(seed), shape, draw)
            piece = max(1, BYTES // (16 * len(rows) * max(1, own[0, 0].numel())))
            evaluate = flat.over(lambda w: flat.at(w, lambda m: m(rows)), piece)
            own = torch.cat([own, evaluate(torch.from_numpy(weights))])
        elif samples > 1:
            own = own.expand(samples, *own.shape[1:])
    return np.asarray(own.cpu().numpy(), dtype=float)
