# SPDX-License-Identifier: Apache-2.0
"""What the figures of these pages share: two palettes, and circuits drawn into axes."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from qiskit.circuit import CircuitInstruction, QuantumCircuit

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉", "[]")
NAMES = {"ry": "RY", "rx": "RX", "rz": "RZ", "h": "H", "p": "P", "measure": "M"}


class Palette(NamedTuple):
    """Colors of one figure: what is written, what is faint, and four that tell things apart."""

    ink: str
    faint: str
    paper: str
    inputs: str
    weights: str
    classical: str
    accent: str


LIGHT = Palette("#1b1f24", "#8a919b", "#ffffff", "#2f6fde", "#c2410c", "#475569", "#0f8a6d")
DARK = Palette("#e6e8eb", "#8d96a3", "#1a1c1e", "#7aa8ff", "#fb9a5b", "#9fb0c6", "#4fd1ae")


@contextmanager
def styled(palette: Palette) -> Iterator[None]:
    """Text and axes in the palette's colors, on nothing; SVG that is the same each time."""
    with matplotlib.rc_context(
        {
            "font.size": 11,
            "font.family": "DejaVu Sans",
            "svg.fonttype": "path",
            "svg.hashsalt": "qiskit-torch-bridge",
            "text.color": palette.ink,
            "axes.labelcolor": palette.ink,
            "axes.edgecolor": palette.faint,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "xtick.color": palette.ink,
            "ytick.color": palette.ink,
            "figure.facecolor": "none",
            "axes.facecolor": "none",
            "savefig.facecolor": "none",
            "legend.frameon": False,
        }
    ):
        yield


def save(name: str, draw: Callable[[Palette], Figure]) -> None:
    """Write NAME.svg and NAME-dark.svg."""
    for suffix, palette in (("", LIGHT), ("-dark", DARK)):
        with styled(palette):
            figure = draw(palette)
            figure.savefig(FOLDER / f"{name}{suffix}.svg", metadata={"Date": None})


def box(
    ax: Axes, center: tuple[float, float], size: tuple[float, float], color: str, text: str, **style
) -> None:
    """Draw a rounded box with words in it, white on dark colors and black on light ones."""
    (x, y), (width, height) = center, size
    corner = (x - width / 2, y - height / 2)
    ink = "white" if sum(to_rgb(color)) < 1.6 else "#16181b"
    ax.add_patch(
        FancyBboxPatch(
            corner,
            width,
            height,
            boxstyle="round,pad=0,rounding_size=0.08",
            facecolor=color,
            edgecolor="none",
        )
    )
    ax.text(x, y, text, ha="center", va="center", **{"color": ink, "fontsize": 9, **style})


def arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], color: str) -> None:
    """Draw an arrow."""
    style = {"arrowstyle": "-|>", "mutation_scale": 12, "color": color, "shrinkA": 0, "shrinkB": 0}
    ax.add_patch(FancyArrowPatch(start, end, **style))


def draw_circuit(
    ax: Axes,
    circuit: QuantumCircuit,
    palette: Palette,
    origin: tuple[float, float] = (0.0, 0.0),
    inputs: str = "x",
    measured: bool = True,
) -> float:
    """Draw a circuit from left to right, qubit 0 at the top; return where its wires end.

    Angles that are named as ``inputs`` have one color and all other gates another.
    """
    left, top = origin
    columns = list(_columns(circuit))
    end = left + (max((c for c, _, _ in columns), default=0) + 1) + (0.75 if measured else 0.1)
    for q in range(circuit.num_qubits):
        ax.plot([left - 0.35, end], [top - q] * 2, color=palette.faint, lw=1.1, zorder=0)
        ax.text(left - 0.45, top - q, "|0⟩", ha="right", va="center", fontsize=10)
    for column, qubits, step in columns:
        x, name = left + column + 0.5, step.operation.name
        if len(qubits) == 2:
            ys = [top - q for q in qubits]
            ax.plot([x, x], ys, color=palette.ink, lw=1.3)
            ax.plot([x], ys[:1], "o", color=palette.ink, ms=5)
            if name == "cz":
                ax.plot([x], ys[1:], "o", color=palette.ink, ms=5)
            else:
                ax.plot([x], ys[1:], "o", color=palette.ink, ms=13, mfc=palette.paper)
                ax.plot([x], ys[1:], "+", color=palette.ink, ms=13)
            continue
        angle = str(step.operation.params[0]) if step.operation.params else ""
        is_input = angle.split("[")[0] == inputs
        color = palette.inputs if is_input else palette.weights
        text = f"{NAMES[name]}\n{angle.translate(SUBSCRIPTS)}" if angle else NAMES[name]
        box(ax, (x, top - qubits[0]), (0.82, 0.72), color if angle else palette.classical, text)
    if measured:
        for q in range(circuit.num_qubits):
            _draw_meter(ax, end, top - q, palette)
    return end + 0.35


def _columns(circuit: QuantumCircuit) -> Iterator[tuple[int, list[int], CircuitInstruction]]:
    """Each gate as far to the left as those before allow."""
    free = [0] * circuit.num_qubits
    for step in circuit.data:
        qubits = [circuit.find_bit(q).index for q in step.qubits]
        span = range(min(qubits), max(qubits) + 1)
        column = max(free[q] for q in span)
        for q in span:
            free[q] = column + 1
        yield column, qubits, step


def _draw_meter(ax: Axes, x: float, y: float, palette: Palette) -> None:
    """Draw the sign of a measurement."""
    ax.add_patch(
        Rectangle((x - 0.3, y - 0.28), 0.6, 0.56, facecolor=palette.paper, edgecolor=palette.ink)
    )
    ax.text(x, y, "⟨Z⟩", ha="center", va="center", fontsize=8.5)
