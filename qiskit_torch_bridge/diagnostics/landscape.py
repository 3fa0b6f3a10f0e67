# SPDX-License-Identifier: Apache-2.0
"""What a loss looks like around a point, along two directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ..arguments import (
    UNREADABLE,
    as_real,
    make_random_generator,
    require_real_array,
    require_whole_number,
    shown,
)
from ..arrays import FloatArray
from ..exceptions import InputError, InputTypeError
from .axes import axes_for
from .subjects import FlatModule, Loss

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CHUNK = 256
"""So many points are evaluated at once."""


@dataclass(frozen=True, eq=False)
class LossLandscape:
    """A loss on a grid of points in a plane.

    Attributes:
        losses: The loss ``(X, Y)`` at ``center + a * directions[0] + b * directions[1]``.
        a: Where along the first direction, ``(X,)``.
        b: Where along the second, ``(Y,)``.
        center: The parameters ``(W,)`` at ``a = b = 0``, in the order of ``module.parameters()``
            as far as they are trainable.
        directions: The two directions, ``(2, W)``.
        path: The trajectory in the plane, ``(T, 2)``, where one was given.
        explained: The share of the trajectory's variance that lies in the plane, where one was
            given: what the plane does not show is the rest.
    """

    losses: FloatArray
    a: FloatArray
    b: FloatArray
    center: FloatArray
    directions: FloatArray
    path: FloatArray | None = None
    explained: float | None = None

    def plot(self, ax: Any = None) -> Axes:
        """Draw the losses as colors with contours, and the path; return the axes.

        Args:
            ax: Axes of matplotlib to draw in; default: those of a new figure.
        """
        axes = axes_for(ax)
        image = axes.contourf(self.a, self.b, self.losses.T, levels=30)
        axes.contour(
            self.a, self.b, self.losses.T, 10, colors="black", linewidths=0.3, linestyles="solid"
        )
        axes.figure.colorbar(image, ax=axes, label="loss")
        if self.path is not None:
            axes.plot(self.path[:, 0], self.path[:, 1], ".-", color="white", lw=1, ms=3)
        axes.plot(0, 0, "x", color="red")
        share = "" if self.explained is None else f" ({self.explained:.0%} of the path's variance)"
        axes.set_xlabel(f"first direction{share}")
        axes.set_ylabel("second direction")
        return axes


def loss_landscape(
    module: nn.Module,
    loss: Loss | None = None,
    *,
    center: Any = None,
    directions: Any = None,
    trajectory: Sequence[Any] | None = None,
    span: float | tuple[float, float] | None = None,
    points: int = 41,
    seed: int | np.random.Generator | None = None,
) -> LossLandscape:
    r"""Return a loss on a grid around a point, along two directions.

    .. math:: \ell(a, b) = L(\theta + a\,d_1 + b\,d_2)

    Three ways to choose the directions:

    * they are given;
    * from a ``trajectory``, the parameters at some steps of a training: its two principal
      components around its last point, orthonormal;
    * otherwise drawn from a normal distribution, orthogonal, and normalised: in a circuit to a root
      mean square of one radian for each angle; in classical layers filter by filter to the length
      of the filter (H. Li et al.), a row of a matrix, say. Angles are not normalised so, since the
      length of a vector of angles means nothing.

    Args:
        module: Any module, quantum or with classical layers. It stays as it is.
        loss: A function of the module that returns one number, such as
            ``lambda m: criterion(m(inputs), targets)``. Default: what a module without inputs
            gives, an energy.
        center: The point ``(W,)``. Default: the module's parameters, or the last of the trajectory.
        directions: Two rows ``(2, W)``.
        trajectory: At least three points, each ``(W,)`` or a ``state_dict`` of the module.
        span: From where to where along both directions, a pair, or from minus to plus a number.
            Default: 1; for trajectories, what holds the path.
        points: How many along each direction.
        seed: Of drawn directions.

    Raises:
        InputError: If shapes do not fit, the loss is not one number, or the module and the loss
            cannot be evaluated for many parameters at once by ``torch.func.vmap``.

    Cost:
        A forward pass over ``points**2`` sets of parameters, 256 at a time; on an estimator one job
        for each 256.

    References:
        H. Li, Z. Xu, G. Taylor, C. Studer and T. Goldstein, NeurIPS (2018).

    Example:
        >>> from qiskit.circuit import ParameterVector, QuantumCircuit
        >>> from qiskit_torch_bridge import TorchQuantumModule
        >>> from qiskit_torch_bridge.diagnostics import loss_landscape
        >>> circuit = QuantumCircuit(2)
        >>> for q, angle in enumerate(ParameterVector("w", 2)):
        ...     _ = circuit.rx(angle, q)
        >>> energy = TorchQuantumModule(circuit, "ZZ", initial_weights=[0.0, 0.0])
        >>> axes = [[1.0, 0.0], [0.0, 1.0]]
        >>> found = loss_landscape(energy, directions=axes, span=3.14159265, points=3)
        >>> found.losses.round(6) + 0.0  # cos(a) cos(b)
        array([[ 1., -1.,  1.],
               [-1.,  1., -1.],
               [ 1., -1.,  1.]])
    """
    flat = FlatModule(module)
    points = require_whole_number(points, "points", 2, 4096)
    steps = None if trajectory is None else _read_trajectory(trajectory, flat)
    if center is not None:
        middle = require_real_array(_plain(center), "center", (flat.count,))
    else:
        middle = flat.center.numpy() if steps is None else steps[-1]
    if directions is not None:
        plane = require_real_array(_plain(directions), "directions", (2, flat.count))
    elif steps is not None:
        plane = _principal(steps - middle)
    else:
        plane = _random_directions(flat, middle, make_random_generator(seed))
    if not np.isfinite(plane).all() or np.linalg.matrix_rank(plane) < 2:
        raise InputError("Expected two finite directions that are not parallel.")
    path, explained = (None, None) if steps is None else _project(steps - middle, plane)
    lows, highs = _read_span(span, path)
    a, b = (np.linspace(low, high, points) for low, high in zip(lows, highs, strict=True))
    grid = np.stack(np.meshgrid(a, b, indexing="ij"), axis=-1).reshape(-1, 2)
    evaluate = flat.over(flat.loss(loss), CHUNK)
    with torch.no_grad():
        losses = evaluate(torch.from_numpy(middle + grid @ plane)).numpy()
    return LossLandscape(losses.reshape(points, points), a, b, middle, plane, path, explained)


def _plain(given: Any) -> Any:
    """Return tensors as arrays, and everything else as it is."""
    if not isinstance(given, Tensor):
        return given
    if given.is_complex() or given.is_meta:
        raise InputTypeError(f"Expected tensors of real numbers; got {shown(given)}.")
    return given.detach().cpu().double().numpy()


def _read_trajectory(given: Any, flat: FlatModule) -> FloatArray:
    """Return the points of a trajectory, ``(T, W)``."""
    if isinstance(given, (str, bytes, Mapping)) or not hasattr(given, "__len__") or len(given) < 3:
        raise InputError(
            "Expected trajectory to be a list of at least three points, tensors of shape "
            f"({flat.count},) or state dicts; got {shown(given)}."
        )
    rows = []
    for point in given:
        if isinstance(point, Mapping):
            try:
                parts = [point[name].reshape(-1).double() for name in flat.parameters]
            except UNREADABLE as error:
                raise InputTypeError(
                    "Expected state dicts of the module in trajectory, with "
                    f"{', '.join(flat.parameters)}; got {shown(list(point))}."
                ) from error
            point = torch.cat(parts)
        rows.append(require_real_array(_plain(point), "each of trajectory", (flat.count,)))
    return np.stack(rows)


def _principal(steps: FloatArray) -> FloatArray:
    """Return the two directions in which steps from a point reach farthest."""
    vectors = np.linalg.svd(steps, full_matrices=False)[2]
    return np.asarray(vectors[:2], dtype=float)


def _project(steps: FloatArray, plane: FloatArray) -> tuple[FloatArray, float]:
    """Return steps in the coordinates of a plane, and the share of their squares in it."""
    path = np.asarray(np.linalg.lstsq(plane.T, steps.T, rcond=None)[0].T, dtype=float)
    total = float((steps**2).sum())
    return path, float(((path @ plane) ** 2).sum()) / total if total else 1.0


def _random_directions(
    flat: FlatModule, center: FloatArray, generator: np.random.Generator
) -> FloatArray:
    raw = generator.normal(size=(2, flat.count))
    if flat.count > 1:
        raw[1] -= raw[0] * (raw[0] @ raw[1]) / (raw[0] @ raw[0])
    split = flat.split(torch.from_numpy(center))
    rows = []
    for direction in raw:
        parts = flat.split(torch.from_numpy(direction))
        scaled = [_normalised(part, split[name], name) for name, part in parts.items()]
        rows.append(torch.cat([part.reshape(-1) for part in scaled]).numpy())
    return np.stack(rows)


def _normalised(direction: Tensor, parameter: Tensor, name: str) -> Tensor:
    """Scale a direction as its parameter is: by filters, or to a radian for each angle."""
    if direction.dim() < 2:  # angles, and biases
        return direction / direction.square().mean().sqrt()
    filters, own = direction.flatten(1), parameter.flatten(1)
    lengths = own.norm(dim=1, keepdim=True) / filters.norm(dim=1, keepdim=True)
    return (filters * lengths).reshape(direction.shape)


def _read_span(span: Any, path: FloatArray | None) -> tuple[FloatArray, FloatArray]:
    """Return where the grid begins and ends along both directions."""
    if span is None and path is not None:
        low, high = path.min(0), path.max(0)
        margin = 0.25 * np.maximum(high - low, 0.1 * float((high - low).max()) or 1.0)
        return low - margin, high + margin
    given = 1.0 if span is None else span
    ends = list(given) if isinstance(given, (list, tuple)) else [given]
    high = as_real(ends[-1]) if ends else np.nan
    low = as_real(ends[0]) if len(ends) == 2 else -high
    if len(ends) > 2 or not -np.inf < low < high < np.inf:
        raise InputError(
            f"Expected span to be a positive number or a pair (from, to); got {shown(span)}."
        )
    return np.full(2, low), np.full(2, high)
