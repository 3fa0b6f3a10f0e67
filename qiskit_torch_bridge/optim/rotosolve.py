# SPDX-License-Identifier: Apache-2.0
"""Coordinate descent with exact steps: the loss is a known function of each angle."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.linalg
import scipy.optimize
import torch
from torch import Tensor

from ..arrays import FloatArray
from ..exceptions import GradientError, OptimizerError
from ..module import TorchQuantumModule
from .base import Closure, QuantumOptimizer, required, value_of

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
    are those that the circuit's gates imply.

    Args:
        params: A module that contains :class:`.TorchQuantumModule`, or parameters.
        frequencies: With parameters: the positive frequencies :math:`\omega_l`, for all of them
            or as a mapping from each parameter tensor to a list with one tuple per entry; default
            ``(1.0,)``, right for parameters of one Pauli rotation each.

    Raises:
        OptimizerError: If the closure is missing or frequencies are wrong.
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
        params: Any,
        *,
        frequencies: Sequence[float] | Mapping[Tensor, Sequence[Sequence[float]]] | None = None,
    ) -> None:
        super().__init__(params, {})
        if self._module_of and frequencies is not None:
            raise OptimizerError(
                "A module brings the frequencies of its circuit; give module.parameters() together "
                "with frequencies=, or leave frequencies out."
            )
        self._spectra: dict[Tensor, list[tuple[float, ...]]] = {}
        for parameter, _ in self._parameters():
            module = self._module_of.get(parameter)
            if module is not None:
                self._spectra[parameter] = _spectra(module)
            elif isinstance(frequencies, Mapping):
                spectra = [_checked(f) for f in frequencies.get(parameter, ())]
                if len(spectra) != parameter.numel():
                    raise OptimizerError(
                        f"Expected one tuple of frequencies for each of {parameter.numel()} "
                        f"entries; got {len(spectra)}."
                    )
                self._spectra[parameter] = spectra
            else:
                common = _checked((1.0,) if frequencies is None else frequencies)
                self._spectra[parameter] = [common] * parameter.numel()

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> float:  # type: ignore[override]
        """Sweep once over all weights.

        Args:
            closure: Returns the loss, without calling ``backward()``.

        Returns:
            The loss after the sweep.
        """
        closure = required(closure, self)
        seen: list[float] = []
        expected: float | None = None
        for parameter, _ in self._parameters():
            flat = parameter.view(-1)
            for i, spectrum in enumerate(self._spectra[parameter]):
                if not spectrum:
                    continue  # the loss does not depend on it
                start = flat[i].clone()
                values = []
                points = sample_points(spectrum)
                try:
                    for point in points:
                        flat[i] = start + point
                        values.append(value_of(closure, self))
                except BaseException:
                    flat[i] = start
                    raise
                displacement, expected = lowest(spectrum, points, np.array(values))
                flat[i] = start + displacement
                seen += values
        after = value_of(closure, self)
        if expected is not None:
            spread = max(seen) - min(seen)
            single = min(p.dtype.itemsize for p, _ in self._parameters()) < 8
            allowed = (1e-3 if single else 1e-6) if self._exact() else 0.5
            if abs(after - expected) > allowed * spread + 1e-9 * max(map(abs, seen)):
                warnings.warn(NOT_LINEAR.format(after=after, expected=expected), stacklevel=2)
        return after

    def _exact(self) -> bool:
        """Whether values are known to have no noise."""
        return bool(self._module_of) and all(
            m.gradient == "adjoint" and m.precision is None for m in self._module_of.values()
        )


def _spectra(module: TorchQuantumModule) -> list[tuple[float, ...]]:
    program = module.program
    try:
        return [program.analysed.frequencies(c) for c in program.weight_columns]
    except GradientError as error:
        raise GradientError(f"Rotosolve needs the frequencies of every weight: {error}") from error


def _checked(frequencies: Any) -> tuple[float, ...]:
    try:
        array = np.asarray(frequencies, dtype=float)
    except (TypeError, ValueError):
        array = np.array([np.nan])
    if array.ndim != 1 or not np.isfinite(array).all() or (array <= 0).any():
        raise OptimizerError(
            f"Expected frequencies to be positive numbers such as (1.0, 2.0); got {frequencies!r}."
        )
    return tuple(np.unique(array).tolist())


def _basis(spectrum: tuple[float, ...], points: FloatArray) -> FloatArray:
    """Return the columns 1, cos and sin of all frequencies at some points."""
    phases = np.outer(points, spectrum)
    return np.concatenate([np.ones((len(points), 1)), np.cos(phases), np.sin(phases)], axis=1)


def sample_points(spectrum: tuple[float, ...]) -> FloatArray:
    """Return ``2 R + 1`` displacements, zero among them, whose values determine the function."""
    omega = np.array(spectrum)
    count = 2 * len(omega) + 1
    multiples = omega / omega[0]
    if np.allclose(multiples, np.arange(1, len(omega) + 1), rtol=0, atol=1e-9):
        return 2 * np.pi / omega[0] * (np.arange(count) - len(omega)) / count
    window = _window(spectrum)
    grid = np.linspace(-window, window, 64 * count + 1)
    basis = _basis(spectrum, grid)
    pivots = scipy.linalg.qr(basis.T, mode="r", pivoting=True)[1][:count]
    return np.sort(grid[pivots])


def _window(spectrum: tuple[float, ...]) -> float:
    """Half the stretch to search for the least point: a period, if there is one."""
    gaps = np.diff(np.array([0.0, *spectrum]))
    return float(np.pi / min(gaps.min(), spectrum[0]))


def lowest(
    spectrum: tuple[float, ...], points: FloatArray, values: FloatArray
) -> tuple[float, float]:
    """Return the displacement at which the function through the values is least, and its value."""
    coefficients = np.linalg.lstsq(_basis(spectrum, points), values, rcond=None)[0]

    def f(x: Any) -> Any:
        return _basis(spectrum, np.atleast_1d(x)) @ coefficients

    if len(spectrum) == 1:
        omega = spectrum[0]
        constant, cosine, sine = coefficients
        amplitude = float(np.hypot(cosine, sine))
        x = float(np.arctan2(-sine, -cosine)) / omega if amplitude else 0.0
        return x, float(constant) - amplitude
    window = _window(spectrum)
    grid = np.linspace(-window, window, 32 * max(4, round(window * spectrum[-1])) + 1)
    at = grid[int(np.argmin(f(grid)))]
    width = grid[1] - grid[0]
    found = scipy.optimize.minimize_scalar(
        lambda x: float(f(x)[0]), bounds=(at - width, at + width), options={"xatol": 1e-12}
    )
    return float(found.x), float(found.fun)
