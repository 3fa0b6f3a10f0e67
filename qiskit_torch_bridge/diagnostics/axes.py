# SPDX-License-Identifier: Apache-2.0
"""Axes for the plots; matplotlib is imported when a plot is asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..exceptions import InputTypeError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (5.2, 3.6)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise InputTypeError(
            "Plots need matplotlib. Install it: pip install 'qiskit-torch-bridge[demos]'."
        ) from error


def axes_for(ax: Any) -> Axes:
    """Return the axes that are given, or those of a new figure of pyplot, which notebooks show.

    Raises:
        InputTypeError: If they are no axes, or if matplotlib is not installed.
    """
    with _explained():
        from matplotlib import pyplot
        from matplotlib.axes import Axes
    if ax is None:
        return pyplot.figure(figsize=SIZE, layout="constrained").subplots()
    if not isinstance(ax, Axes):
        raise InputTypeError(
            f"Expected ax to be matplotlib's Axes, or None for a new figure; got "
            f"{type(ax).__name__}. Of plt.subplots() it is the second thing."
        )
    return ax


def new_axes() -> Axes:
    """Return axes of a new figure that pyplot does not know: it is shown by whoever has it.

    Raises:
        InputTypeError: If matplotlib is not installed.
    """
    with _explained():
        from matplotlib.figure import Figure
    return Figure(figsize=SIZE, layout="constrained").subplots()


def angle_label(what: str) -> str:
    """Return the label of an axis of angles."""
    return f"{what} (radians)"
