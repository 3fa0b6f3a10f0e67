# SPDX-License-Identifier: Apache-2.0
r"""What a measurement makes of the numbers that were read for it, differentiable by torch.

.. code-block:: text

    readout                                 (B, size), real, from an engine
      -> complete                           (B, prod(shape)), what the user asked for

Everything here is made of torch's own operations, so that derivatives of any kind go through.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..arrays import FloatArray
from ..program import CVaR, Entropy, Fidelity, Measurement, Purity, State, Variance
from .constants import constant

SMALLEST = 2.0**-53
"""The smallest amplitude that can be told from zero beside amplitudes of about one."""


def complete(measurement: Measurement, raw: Tensor, coefficients: Tensor | None = None) -> Tensor:
    """Return what a bound measurement makes of what is read, with derivatives of two orders.

    Args:
        measurement: The measurement of a program; see :class:`.Bound`.
        raw: What an engine gives for the program's readout: ``(..., size)``, real.
        coefficients: The values ``(..., C)`` of the measurement's own parameters, if it has any.

    Returns:
        The outputs ``(..., prod(shape))``: complex for :class:`.State`, real for all others.
    """
    if coefficients is not None:
        return _weighted(measurement, raw, coefficients)
    completion = COMPLETIONS.get(type(measurement))
    return raw if completion is None else completion(measurement, raw)


def complete_errors(
    measurement: Measurement, raw: FloatArray, stds: FloatArray
) -> FloatArray | None:
    """Return the standard errors of outputs, to first order in those of what is read.

    Args:
        measurement: The measurement of a program.
        raw: What was read: ``(B, size)``.
        stds: The standard errors of that: ``(B, size)``.

    Returns:
        Standard errors ``(B, prod(shape))``; ``None`` where what is read has none, since it is
        computed.
    """
    if measurement.is_read:
        return stds
    completion = ERRORS.get(type(measurement))
    return None if completion is None else completion(measurement, raw, stds)


# -- observables with coefficients ---------------------------------------------------------------


def _weighted(measurement: Any, raw: Tensor, coefficients: Tensor) -> Tensor:
    """Return the sums of what is read, each times its coefficient or one: ``(..., O)``."""
    factors = torch.cat([torch.ones_like(coefficients[..., :1]), coefficients], -1)
    weighted = raw * factors[..., constant(measurement, "places", raw.device)]
    return weighted @ constant(measurement, "sums", raw.device, raw.dtype)


# -- variances -----------------------------------------------------------------------------------


def _variance(measurement: Variance, raw: Tensor) -> Tensor:
    means, squares = raw.chunk(2, dim=-1)
    return squares - means * means


def _variance_errors(measurement: Variance, raw: FloatArray, stds: FloatArray) -> FloatArray:
    means = np.split(raw, 2, axis=-1)[0]
    of_means, of_squares = np.split(stds, 2, axis=-1)
    result: FloatArray = of_squares + 2 * np.abs(means) * of_means  # however they correlate
    return result


# -- conditional values at risk ------------------------------------------------------------------


def _cvar(measurement: CVaR, raw: Tensor) -> Tensor:
    values = constant(measurement, "values", raw.device, raw.dtype)
    losses = [_below_quantile(measurement.alpha, v, raw) for v in values.unbind()]
    return torch.stack(losses, dim=-1)


def _below_quantile(alpha: float, values: Tensor, raw: Tensor) -> Tensor:
    r"""Return :math:`q - \frac{1}{\alpha} \sum_i p_i \max(q - v_i, 0)` at the quantile ``q``.

    At the largest value of the sum in ``q``, its derivative with respect to ``q`` is zero, or jumps
    over zero, so ``q`` may be held fixed.
    """
    ordered, order = values.sort()
    quantile = ordered[-1]
    if alpha < 1:  # otherwise rounding of the sum of all probabilities would matter
        below = raw.detach()[..., order].cumsum(-1) < alpha
        quantile = torch.where(below, quantile, ordered).amin(-1)
    shortfalls = torch.relu(quantile[..., None] - values)
    return quantile - (raw * shortfalls).sum(-1) / alpha


def _cvar_errors(measurement: CVaR, raw: FloatArray, stds: FloatArray) -> FloatArray:
    r"""Return :math:`\sqrt{(\sum_i p_i g_i^2 - (\sum_i p_i g_i)^2) / s}` for the gradient ``g``.

    Frequencies of outcomes are those of a multinomial distribution; how many shots ``s`` there
    were, their standard errors :math:`\sqrt{p (1 - p) / s}` tell.
    """
    per_shot = np.clip(raw * (1 - raw), 0, None).sum(-1)
    share = np.divide(
        (stds**2).sum(-1), per_shot, out=np.zeros_like(per_shot), where=per_shot > 0
    )  # 1 / s
    found = torch.tensor(raw, requires_grad=True)
    outputs = complete(measurement, found)
    errors = []
    for output in outputs.unbind(-1):
        (gradient,) = torch.autograd.grad(output.sum(), found, retain_graph=True)
        g = gradient.numpy()
        variances = (raw * g**2).sum(-1) - (raw * g).sum(-1) ** 2
        errors.append(np.sqrt(np.clip(variances * share, 0, None)))
    return np.stack(errors, axis=-1)


# -- what is computed from amplitudes ------------------------------------------------------------


def _state(measurement: State, raw: Tensor) -> Tensor:
    return _amplitudes(raw)


def _purity(measurement: Purity, raw: Tensor) -> Tensor:
    matrix = _split(_amplitudes(raw), measurement.positions)
    gram = matrix @ torch.complex(matrix.real, -matrix.imag).transpose(-2, -1)
    return _squared(gram).sum((-2, -1))[..., None]


def _entropy(measurement: Entropy, raw: Tensor) -> Tensor:
    matrix = _split(_amplitudes(raw), measurement.positions)
    return _von_neumann(matrix)[..., None] / math.log(measurement.base)


def _fidelity(measurement: Fidelity, raw: Tensor) -> Tensor:
    state = _amplitudes(raw)
    target = constant(measurement, "amplitudes", state.device, state.dtype)
    matrix = _split(state, measurement.positions, smaller_first=False)
    if target.ndim == 2:
        return _inner(matrix, target @ matrix)[..., None]
    return _squared(target.conj() @ matrix).sum(-1)[..., None]


def _amplitudes(raw: Tensor) -> Tensor:
    """Return real and imaginary parts in turn, ``(..., 2 * 2**n)``, as complex numbers."""
    return torch.complex(raw[..., 0::2], raw[..., 1::2])


def _squared(numbers: Tensor) -> Tensor:
    return numbers.real**2 + numbers.imag**2


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """Return the real part of the inner product of two matrices ``(..., m, n)``."""
    return (a.real * b.real + a.imag * b.imag).sum((-2, -1))


def _split(state: Tensor, positions: tuple[int, ...], smaller_first: bool = True) -> Tensor:
    """Return the amplitudes as a matrix: rows are indices of some qubits, columns of the others.

    Args:
        state: ``(..., 2**n)``.
        positions: Bit ``j`` of the index of a row is bit ``positions[j]`` of that of the state.
        smaller_first: Whether rows and columns may be exchanged, so that there are fewer rows.
    """
    count = (state.shape[-1]).bit_length() - 1
    others = [q for q in range(count) if q not in positions]
    sides = [list(positions), others]
    if smaller_first and len(others) < len(positions):
        sides.reverse()
    lead = state.ndim - 1
    axes = [lead + count - 1 - q for side in sides for q in reversed(side)]  # bit 0 is last
    grid = state.reshape(*state.shape[:-1], *[2] * count).permute(*range(lead), *axes)
    return grid.reshape(*state.shape[:-1], *[1 << len(side) for side in sides])


def _von_neumann(matrix: Tensor) -> Tensor:
    r"""Return :math:`-\sum_i \sigma_i^2 \log \sigma_i^2` of the singular values: ``(...)``.

    Args:
        matrix: :math:`M = U \Sigma V^\dagger`, with no more rows than columns: ``(..., m, n)``.

    The gradient is :math:`U h(\Sigma) V^\dagger` with :math:`h(\sigma) = -2 \sigma (2 \log \sigma +
    1)`, which is zero at :math:`\sigma = 0`. Its derivative in a direction :math:`E` is that of a
    function of the matrix, in which divided differences of ``h`` take the place of its derivative.
    For an odd function it is found from the Hermitian matrix of the blocks :math:`M` and
    :math:`M^\dagger`, whose eigenvalues are :math:`\pm\sigma_i` and zero; with the Hermitian and
    the other part of :math:`U^\dagger E V`:

    .. math:: U \Bigl( \tfrac{h_i - h_j}{\sigma_i - \sigma_j} \circ H
              + \tfrac{h_i + h_j}{\sigma_i + \sigma_j} \circ A \Bigr) V^\dagger
              + U \tfrac{h}{\sigma} U^\dagger E (1 - V V^\dagger)

    None of this depends on how singular vectors of equal values are chosen (Daleckii & Krein, 1965;
    Noferini, SIAM J. Matrix Anal. Appl. 38, 434, 2017, doi:10.1137/16M1063150). So the result is
    written as a polynomial in the deviation of the matrix from what it is, of which torch
    takes these as first and second derivatives. Third ones are zero here; no engine has them.
    """
    fixed = matrix.detach()
    u, sigma, vh = torch.linalg.svd(fixed, full_matrices=False)
    logs = sigma.clamp(min=SMALLEST).log()
    value = -2 * (sigma**2 * logs).sum(-1)
    slopes = -2 * (2 * logs + 1)  # h / sigma
    gradient = u @ ((slopes * sigma)[..., None] * vh)
    deviation = matrix - fixed
    return value + _inner(gradient, deviation) + _curvature(u, sigma, vh, slopes, deviation) / 2


def _curvature(u: Tensor, sigma: Tensor, vh: Tensor, slopes: Tensor, deviation: Tensor) -> Tensor:
    """Return the second derivative of the entropy in the direction of a deviation, twice."""
    rows = u.mH @ deviation
    inner = rows @ vh.mH
    outside = _squared(rows - inner @ vh)
    x, y = inner.real, inner.imag
    hermitian = ((x + x.transpose(-2, -1)) ** 2 + (y - y.transpose(-2, -1)) ** 2) / 4
    rest = ((x - x.transpose(-2, -1)) ** 2 + (y + y.transpose(-2, -1)) ** 2) / 4
    differences, sums = _divided_differences(sigma, slopes)
    within = differences * hermitian + sums * rest
    return within.sum((-2, -1)) + (slopes[..., None] * outside).sum((-2, -1))


def _divided_differences(sigma: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return :math:`(h_i - h_j) / (\sigma_i - \sigma_j)` and the same of sums: ``(..., m, m)``.

    With :math:`a \ge b` and :math:`x = (a - b) / b` the first is
    :math:`-2 (1 + 2 (\log a + \log(1 + x) / x))`, which loses no digits where they are close.
    """
    kept = sigma.clamp(min=SMALLEST)
    a = torch.maximum(kept[..., :, None], kept[..., None, :])
    b = torch.minimum(kept[..., :, None], kept[..., None, :])
    x = (a - b) / b
    ratios = torch.where(x > 0, torch.log1p(x) / torch.where(x > 0, x, 1), 1)
    differences = -2 * (1 + 2 * (a.log() + ratios))
    h = slopes * kept
    sums = (h[..., :, None] + h[..., None, :]) / (kept[..., :, None] + kept[..., None, :])
    return differences, sums


COMPLETIONS: dict[type[Measurement], Callable[[Any, Tensor], Tensor]] = {
    Variance: _variance,
    CVaR: _cvar,
    State: _state,
    Purity: _purity,
    Entropy: _entropy,
    Fidelity: _fidelity,
}
"""What there is to do; a look-up that compilers see through."""
ERRORS: dict[type[Measurement], Callable[[Any, FloatArray, FloatArray], FloatArray]] = {
    Variance: _variance_errors,
    CVaR: _cvar_errors,
}
