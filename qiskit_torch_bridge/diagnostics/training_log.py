# SPDX-License-Identifier: Apache-2.0
"""The numbers of a training, step by step: kept, drawn as they come, and shown beside a bar."""

from __future__ import annotations

import importlib
import io
import time
from collections.abc import Iterator
from numbers import Real
from types import TracebackType
from typing import Any

from torch import Tensor
from typing_extensions import Self

from ..arguments import as_real, require_bool, require_whole_number, shown
from ..arrays import FloatArray
from ..exceptions import InputError, InputTypeError
from .axes import axes_for, new_axes

SECONDS_BETWEEN = 0.5
"""A figure takes a tenth of a second to draw; a training should not wait for more of them."""


class TrainingLog:
    """Keeps what a training loop tells it, and shows it meanwhile if asked to.

    Iterating over it counts the steps.

    Args:
        steps: How many steps there will be.
        bar: Whether to show a bar of tqdm's with the last numbers.
        live: Whether to draw the curves below a cell of a notebook while they grow, at most twice a
            second.

    Raises:
        InputError: If ``steps`` is no positive whole number.
        InputTypeError: If what it needs is not installed: tqdm, or IPython and matplotlib.

    Example:
        >>> import torch
        >>> from qiskit_torch_bridge import QuantumLayer
        >>> from qiskit_torch_bridge.diagnostics import TrainingLog
        >>> layer = QuantumLayer(2, 1, seed=1)
        >>> optimizer, log = torch.optim.Adam(layer.parameters(), lr=0.1), TrainingLog(20)
        >>> for step in log:
        ...     optimizer.zero_grad()
        ...     loss = layer(torch.zeros(1, 2)).square().sum()
        ...     loss.backward()
        ...     optimizer.step()
        ...     log.add(loss=loss)
        >>> len(log["loss"]), log["loss"][-1] < log["loss"][0]
        (20, True)
        >>> axes = log.plot()
    """

    def __init__(self, steps: int, *, bar: bool = False, live: bool = False) -> None:
        self.steps = require_whole_number(steps, "steps", 1)
        require_bool(bar, "bar")
        require_bool(live, "live")
        self._curves: dict[str, tuple[list[int], list[float]]] = {}
        self._step, self._drawn = 0, 0.0
        self._bar: Any = _require("tqdm.auto").tqdm(total=steps, unit="step") if bar else None
        self._display: Any = None
        if live:
            new_axes()
            self._display = _require("IPython.display").DisplayHandle()

    def __iter__(self) -> Iterator[int]:
        with self:
            for step in range(self.steps):
                self._step = step
                yield step
                if self._bar is not None:
                    self._bar.update()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Draw the last numbers and end the bar."""
        self._show(at_once=True)
        if self._bar is not None:
            self._bar.close()

    def add(self, **numbers: Any) -> None:
        """Keep numbers of this step, by name; what is a tensor of one element is detached.

        Raises:
            InputError: If one of them is no real number.
        """
        for name, value in numbers.items():
            number = _read_number(name, value)
            steps, values = self._curves.setdefault(name, ([], []))
            steps.append(self._step)
            values.append(number)
        if self._bar is not None:
            self._bar.set_postfix({k: f"{v[-1]:.4g}" for k, (_, v) in self._curves.items()})
        self._show()

    def callback(
        self, step: int, parameters: FloatArray, value: float, gradient: FloatArray | None
    ) -> None:
        """Keep a step of :class:`.TorchOptimizer`, given to it as ``callback=log.callback``."""
        self._step = step
        self.add(value=value)

    def __getitem__(self, name: str) -> list[float]:
        """Return the numbers that were kept under a name."""
        try:
            return self._curves[name][1]
        except KeyError:
            raise InputError(
                f"Expected one of the names that were added, {list(self._curves)}; got {name!r}."
            ) from None

    def plot(self, ax: Any = None) -> Any:
        """Draw the numbers over the steps, and return the axes.

        Args:
            ax: The axes of matplotlib; default: those of a new figure.

        Raises:
            InputTypeError: If they are none, or matplotlib is not installed.
        """
        axes = axes_for(ax)
        for name, (steps, values) in self._curves.items():
            axes.plot(steps, values, label=name)
        axes.set(xlabel="step", xlim=(0, self.steps - 1 or 1))
        axes.grid(alpha=0.25)
        if self._curves:
            axes.legend(frameon=False)
        return axes

    def _show(self, at_once: bool = False) -> None:
        now = time.monotonic()
        if self._display is None or not (at_once or now - self._drawn > SECONDS_BETWEEN):
            return
        show = self._display.update if self._drawn else self._display.display
        show(_Picture(self.plot(new_axes()).figure))
        self._drawn = now


class _Picture:
    """A figure as a notebook shows it, whether or not pyplot has told IPython about figures."""

    def __init__(self, figure: Any) -> None:
        self.figure = figure

    def _repr_png_(self) -> bytes:
        png = io.BytesIO()
        self.figure.savefig(png, format="png")
        return png.getvalue()


def _require(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputTypeError(
            f"Expected {name.partition('.')[0]} to be installed; {error}. pip installs it."
        ) from error


def _read_number(name: str, value: Any) -> float:
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if not isinstance(value, Real) or isinstance(value, bool):
        raise InputError(f"Expected {name} to be a real number; got {shown(value)}.")
    return as_real(value)
