# SPDX-License-Identifier: Apache-2.0
"""Coordinate descent with exact steps: the loss is a known function of each angle."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import scipy.linalg
import scipy.optimize
import torch
from torch import Tensor

from ..arguments import require_real_array, shown
from ..arrays import FloatArray
from ..exceptions import GradientError, OptimizerError
from ..module import TorchQuantumModule
from .quantum_optimizer import Closure, Group, Params, QuantumOptimizer

MAX_DENOMINATOR = 128  # of ratios of frequencies, and
MAX_MULTIPLE = 1024  # of the base frequency: a period is searched in so many waves at most
NOT_LINEAR = (
    "The loss after the sweep is {after:.6g}, where {expected:.6g} was expected: it is not a "
    "linear function of expectation values, or their frequencies are others. Rotosolve's steps are "
    "then not minima; use another optimizer, or give frequencies=."
)


class Rotosolve(QuantumOptimizer):
    r"""Minimise the loss exactly along one weight after the other, without a learning rate.

    In one weight that enters Pauli rotations the expectation value is

    .. math:: f(\theta) = a_0 + \sum_{l=1}^{R} a_l \cos\omega_l\theta + b_l \sin\omega_l\theta ,

    known from ``2 R + 1`` values; a step goes to its least point (K. M. Nakanishi, K. Fujii,
    S. Todo, Phys. Rev. Research 2, 043158 (2020); M. Ostaszewski, E. Grant, M. Benedetti, Quantum
    5, 391 (2021); several frequencies: D. Wierichs et al., Quantum 6, 677 (2022)). The frequencies
    are those that the circuit's gates imply. If they have no common period, the least point is
    sought in a stretch of two pi over the least difference between them.

    Args:
        params: A module that contains :class:`.TorchQuantumModule`, or parameters.
        frequencies: With parameters: the positive frequencies :math:`\omega_l`, for all of them
            or as a mapping from each parameter tensor to a list with one tuple per entry; default
            ``(1.0,)``, right for parameters of one Pauli rotation each.

    Raises:
        OptimizerError: If the closure is missing, frequencies are wrong, or a module measures
            something that is not linear in expectation values.
        GradientError: If a weight enters a non-affine expression, whose frequencies are unknown.

    The loss must be a *linear* function of expectation values, such as an energy; a warning tells
    if the value after a sweep is not what these would give.

    Cost:
        ``2 R + 1`` evaluations of the loss per weight and sweep, and one more per sweep.

    Example:
        >>> import torch
        >>> from qiskit.circuit import ParameterVector, QuantumCircuit
        >>> from qiskit_torch_bridge import TorchQuantumModule
        >>> from qiskit_torch_bridge.optim import Rotosolve
        >>> theta = ParameterVector("theta", 2)
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.rx(theta[0], 0), circuit.ry(theta[1], 0)
        >>> node = TorchQuantumModule(circuit, "Z", initial_weights=[0.5, 0.3])
        >>> optimizer = Rotosolve(node)
        >>> round(optimizer.step(lambda: node().sum()), 6)  # one sweep
        -1.0
    """

    def __init__(
        self,
        params: Params,
        *,
        frequencies: Sequence[float] | Mapping[Tensor, Sequence[Sequence[float]]] | None = None,
    ) -> None:
        self._frequencies = frequencies
        self._spectra: dict[Tensor, list[tuple[float, ...]]] = {}
        super().__init__(params, {})
        if self._module_of and frequencies is not None:
            raise OptimizerError(
                "A module brings the frequencies of its circuit; give module.parameters() together "
                "with frequencies=, or leave frequencies out."
            )

    def _prepare_group(self, group: Group) -> None:
        for parameter in group["params"]:
            self._spectra[parameter] = self._spectra_of(parameter)

    def _spectra_of(self, parameter: Tensor) -> list[tuple[float, ...]]:
        module, frequencies = self._module_of.get(parameter), self._frequencies
        if module is not None:
            return _find_spectra(module)
        if not isinstance(frequencies, Mapping):
            common = _check_frequencies((1.0,) if frequencies is None else frequencies)
            return [common] * parameter.numel()
        given: object = frequencies.get(parameter, ())
        if not isinstance(given, Sequence) or len(given) != parameter.numel():
            raise OptimizerError(
                f"Expected frequencies to map each parameter to a list with one tuple per entry, "
                f"here of shape {tuple(parameter.shape)}; got {shown(given)}. Give an empty tuple "
                "for an entry on which the loss does not depend."
            )
        return [_check_frequencies(f) for f in given]

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> float:  # type: ignore[override]
        """Sweep once over all weights.

        Args:
            closure: Returns the loss, without calling ``backward()``.

        Returns:
            The loss after the sweep.
        """
        closure = self._require_closure(closure)
        with self._restored_on_error():
            seen, expected = self._sweep(closure)
            after = self._evaluate(closure)
        if expected is not None:
            spread = max(seen) - min(seen)
            single = min(p.dtype.itemsize for p, _ in self._parameters()) < 8
            allowed = (1e-3 if single else 1e-6) if self._is_exact() else 0.5
            if abs(after - expected) > allowed * spread + 1e-9 * max(map(abs, seen)):
                warnings.warn(NOT_LINEAR.format(after=after, expected=expected), stacklevel=2)
        return after

    def _sweep(self, closure: Closure) -> tuple[list[float], float | None]:
        """Minimise along each weight; return the losses seen and what the last one should be."""
        seen: list[float] = []
        expected: float | None = None
        for parameter, _ in self._parameters():
            entries = itertools.product(*map(range, parameter.shape))
            for entry, spectrum in zip(entries, self._spectra[parameter], strict=True):
                if not spectrum:
                    continue  # the loss does not depend on it
                start = parameter[entry].clone()
                values = []
                points = choose_sample_points(spectrum)
                for point in points:
                    parameter[entry] = start + point
                    values.append(self._evaluate(closure))
                displacement, expected = find_lowest(spectrum, points, np.array(values))
                parameter[entry] = start + displacement
                seen += values
        return seen, expected

    def _is_exact(self) -> bool:
        """Whether values are known to have no noise."""
        return bool(self._module_of) and all(
            m.gradient == "adjoint" and m.precision is None for m in self._module_of.values()
        )


def _find_spectra(module: TorchQuantumModule) -> list[tuple[float, ...]]:
    program = module.program
    if not program.measurement.is_read:
        raise OptimizerError(
            "Rotosolve needs outputs that are expectation values or probabilities, whose course "
            f"along a weight is known; {program.measurement!r} is not linear in these. Use another "
            "optimizer, such as ScipyMinimize."
        )
    spectra = []
    for parameter, column in zip(program.trained_params, program.trained_columns, strict=True):
        try:
            spectra.append(program.analysed.frequencies(column))
        except GradientError as error:
            raise GradientError(
                f"Rotosolve needs the frequencies of every weight; those of {parameter.name!r} are "
                "unknown or too many. Use another optimizer, such as ScipyMinimize, or compute in "
                "torch what is not affine."
            ) from error
    return spectra


def _check_frequencies(frequencies: Any) -> tuple[float, ...]:
    array = require_real_array(frequencies, "frequencies", (None,), error=OptimizerError)
    if not np.isfinite(array).all() or (array <= 0).any():
        raise OptimizerError(
            "Expected frequencies to be positive numbers such as (1.0, 2.0); got "
            f"{shown(frequencies)}."
        )
    return tuple(np.unique(array).tolist())


def _evaluate_basis(spectrum: tuple[float, ...], points: FloatArray) -> FloatArray:
    """Return the columns 1, cos and sin of all frequencies at some points."""
    phases = np.outer(points, spectrum)
    return np.concatenate([np.ones((len(points), 1)), np.cos(phases), np.sin(phases)], axis=1)


def choose_sample_points(spectrum: tuple[float, ...]) -> FloatArray:
    """Return ``2 R + 1`` displacements, zero among them, whose values determine the function."""
    omega = np.array(spectrum)
    count = 2 * len(omega) + 1
    multiples = omega / omega[0]
    if np.allclose(multiples, np.arange(1, len(omega) + 1), rtol=0, atol=1e-9):
        return 2 * np.pi / omega[0] * (np.arange(count) - len(omega)) / count
    window = _choose_window(spectrum)
    grid = np.linspace(-window, window, 64 * count + 1)
    basis = _evaluate_basis(spectrum, grid)
    pivots = scipy.linalg.qr(basis.T, mode="r", pivoting=True)[1][:count]
    return np.sort(grid[pivots])


def _choose_window(spectrum: tuple[float, ...]) -> float:
    """Return half the stretch to search for the least point: of a period, if there is one."""
    omega = np.array(spectrum)
    ratios = [Fraction(w).limit_denominator(MAX_DENOMINATOR) for w in omega / omega[0]]
    common = omega[0] / math.lcm(*(r.denominator for r in ratios))
    multiples = omega / common
    near = np.allclose(multiples, np.round(multiples), rtol=1e-8, atol=0)
    if near and multiples[-1] <= MAX_MULTIPLE:
        return float(np.pi / common)
    return float(np.pi / np.diff(omega, prepend=0.0).min())


def find_lowest(
    spectrum: tuple[float, ...], points: FloatArray, values: FloatArray
) -> tuple[float, float]:
    """Return the displacement at which the function through the values is least, and its value."""
    coefficients = np.linalg.lstsq(_evaluate_basis(spectrum, points), values, rcond=None)[0]

    count = len(spectrum)
    cosines, sines = coefficients[1 : count + 1], coefficients[count + 1 :]

    def f(x: Any) -> Any:
        waves = zip(spectrum, cosines, sines, strict=True)
        return coefficients[0] + sum(a * np.cos(w * x) + b * np.sin(w * x) for w, a, b in waves)

    if count == 1:
        amplitude = float(np.hypot(cosines[0], sines[0]))
        x = float(np.arctan2(-sines[0], -cosines[0])) / spectrum[0] if amplitude else 0.0
        return x, float(coefficients[0]) - amplitude
    window = _choose_window(spectrum)
    grid = np.linspace(-window, window, 32 * max(4, round(window * spectrum[-1])) + 1)
    heights, width = f(grid), grid[1] - grid[0]
    # By Taylor's theorem the least point is at most this much below a point of the grid next to it.
    curvature = np.square(spectrum) @ np.hypot(cosines, sines)
    low = heights <= heights.min() + curvature * width**2 / 8
    ends = np.pad(heights, 1, constant_values=np.inf)
    starts = grid[low & (heights < ends[:-2]) & (heights <= ends[2:])]
    found = [
        scipy.optimize.minimize_scalar(f, bounds=(at - width, at + width), options={"xatol": 1e-12})
        for at in starts
    ]
    x = float(min(found, key=lambda result: result.fun).x)
    # Values tell where the least one is to the root of their rounding only, slopes to all digits.
    phases = np.array(spectrum) * x
    slope = np.array(spectrum) @ (sines * np.cos(phases) - cosines * np.sin(phases))
    bend = -np.square(spectrum) @ (cosines * np.cos(phases) + sines * np.sin(phases))
    if bend > 1e-3 * curvature:
        x -= float(slope / bend)
    return x, float(f(x))
