# SPDX-License-Identifier: Apache-2.0
"""The figures of the page "Encode data": ``python encode_data.py [FOLDER]``."""

import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from qiskit.circuit import CircuitInstruction, QuantumCircuit

from qiskit_torch_bridge import QuantumLayer

FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else "images")
COLORS = {"x": "#9ecae1", "w": "#fdd0a2", "": "#e5e5e5"}
"""Of gates with features, with weights, and with neither."""


# -- the circuits --------------------------------------------------------------------------------


def label(step: CircuitInstruction) -> tuple[str, str]:
    """Return what is written into a gate, and the letter of its parameters."""
    names = sorted(
        {p.name for angle in step.operation.params for p in getattr(angle, "parameters", ())}
    )
    short = [name.replace("[", "").replace("]", "") for name in names]
    text = f"{short[0]} … {short[-1]}" if len(short) > 2 else " ".join(short)
    kind = "state" if len(short) > 2 else step.operation.name.upper()
    if kind == "RX" and "π" in str(step.operation.params[0]):
        text = f"π {text}"
    return f"{kind}\n{text}" if text else kind, short[0][0] if short else ""


def draw_circuit(circuit: QuantumCircuit, axes: Axes, width: float) -> None:
    """Draw gates as boxes, CX and CZ as lines with their ends."""
    filled = [0] * circuit.num_qubits
    for step in circuit.data:
        rows = sorted(circuit.find_bit(q).index for q in step.qubits)
        span = range(rows[0], rows[-1] + 1)
        column = max(filled[row] for row in span)
        for row in span:
            filled[row] = column + 1
        if step.operation.name in ("cx", "cz"):
            first, second = (circuit.find_bit(q).index for q in step.qubits)
            axes.plot([column, column], rows, color="black", linewidth=1, zorder=2)
            axes.plot(column, first, "o", color="black", markersize=4, zorder=3)
            face = "white" if step.operation.name == "cx" else "black"
            size = 8 if step.operation.name == "cx" else 4
            axes.plot(column, second, "o", color="black", markersize=size, mfc=face, zorder=3)
            if step.operation.name == "cx":
                axes.plot(column, second, "+", color="black", markersize=8, zorder=4)
            continue
        text, letter = label(step)
        height = rows[-1] - rows[0] + 0.64
        axes.add_patch(
            FancyBboxPatch(
                (column - 0.38, rows[0] - 0.32),
                0.76,
                height,
                boxstyle="round,pad=0.02",
                facecolor=COLORS[letter],
                edgecolor="0.3",
                linewidth=0.6,
                zorder=3,
            )
        )
        middle = (rows[0] + rows[-1]) / 2
        axes.text(column, middle, text, fontsize=6, ha="center", va="center", zorder=4)
    for row in range(circuit.num_qubits):
        axes.plot([-0.8, max(filled) - 0.3], [row, row], color="0.5", linewidth=0.8, zorder=1)
        axes.text(-0.9, row, f"q{row}", fontsize=7, ha="right", va="center")
    axes.set_xlim(-1.4, width)
    axes.set_ylim(circuit.num_qubits - 0.5, -0.6)
    axes.set_axis_off()


places = (("angle", "reuploading"), ("iqp", "iqp"), ("amplitude", "basis"))
layers = {
    name: QuantumLayer(8 if name == "amplitude" else 3, encoding=name) for name in sum(places, ())
}
layers["iqp"] = QuantumLayer(3, encoding="iqp", layers=1)
figure = Figure(figsize=(11, 5.6), layout="constrained")
for name, axes in figure.subplot_mosaic(places).items():
    draw_circuit(layers[name].circuit, axes, 24.5 if name == "iqp" else 12)
    axes.set_title(f'encoding="{name}", layers={layers[name].layers}', loc="left", fontsize=9)
figure.savefig(FOLDER / "encodings.png", dpi=150)


# -- what one feature can do ---------------------------------------------------------------------

figure = Figure(figsize=(9, 3.4), layout="constrained")
left, right = figure.subplots(1, 2)
points = torch.arange(64, dtype=torch.float64)[:, None] * (2 * torch.pi / 64)
for shift, count in enumerate((1, 2, 4)):
    layer = QuantumLayer(1, layers=count, encoding="reuploading")
    drawn = torch.empty(500, len(layer.weight), dtype=torch.float64)
    drawn.uniform_(-torch.pi, torch.pi, generator=torch.Generator().manual_seed(4))

    def evaluate(weights: torch.Tensor, layer: QuantumLayer = layer) -> torch.Tensor:
        return torch.func.functional_call(layer, {"quantum.weight": weights}, (points,))[:, 0]

    outputs = torch.func.vmap(evaluate)(drawn).numpy()  # (500, 64)
    spectrum = np.abs(np.fft.rfft(outputs)) / outputs.shape[1]
    sizes = np.sqrt(np.mean(spectrum**2, 0))
    (line,) = left.plot(points.numpy(), outputs[1], label=f"{count} upload{'s' * (count > 1)}")
    right.bar(np.arange(7) + 0.25 * (shift - 1), sizes[:7], 0.22, color=line.get_color())
left.set_xticks([0, np.pi, 2 * np.pi], ["0", "π", "2π"])
left.set_xlabel("feature")
left.set_ylabel("output")
left.legend()
right.set_xlabel("frequency")
right.set_ylabel("coefficient, root mean square")
figure.savefig(FOLDER / "frequencies.png", dpi=150)
