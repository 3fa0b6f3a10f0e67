# SPDX-License-Identifier: Apache-2.0
"""Axes for the plots: matplotlib is imported here, when a plot is asked for, and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..exceptions import InputTypeError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def axes_for(ax: Any) -> Axes:
    """Return the axes that are given, or those of a new figure, which opens no window.

    Raises:
        InputTypeError: If they are no axes, or if matplotlib is not installed.
    """
    try:
        from matplotlib.axes import Axes
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputTypeError(
            "Plots need matplotlib. Install it: pip install 'qiskit-torch-bridge[demos]'."
        ) from error
    if ax is None:
        return Figure(figsize=(5.2, 3.6), layout="constrained").subplots()
    if not isinstance(ax, Axes):
        raise InputTypeError(
            f"Expected ax to be matplotlib's Axes, or None for a new figure; got "
            f"{type(ax).__name__}. Of plt.subplots() it is the second thing."
        )
    return ax


def angle_label(what: str) -> str:
    """Return the label of an axis of angles."""
    return f"{what} (radians)"
