# SPDX-License-Identifier: Apache-2.0
"""The figure of "Circuits with measurements": ``python circuits_with_measurements.py [FILE]``."""

import sys

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from qiskit.circuit import Parameter, QuantumCircuit

from qiskit_torch_bridge.program.deferral import defer_measurements

FILE = sys.argv[1] if len(sys.argv) > 1 else "images/circuits_with_measurements.png"
BLUE, ORANGE = "#4c78a8", "#f2a03d"


def build() -> QuantumCircuit:
    """Qubit 0 is measured, its outcome turns qubit 1, and qubit 0 begins anew."""
    circuit = QuantumCircuit(2, 1)
    circuit.ry(Parameter("a"), 0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.rx(Parameter("b"), 1)
    circuit.reset(0)
    circuit.cx(1, 0)
    return circuit


def box(
    axes: Axes, x: float, y: float, text: str, color: str = "white", width: float = 0.8
) -> None:
    axes.add_patch(Rectangle((x - width / 2, y - 0.3), width, 0.6, facecolor=color,
        edgecolor="0.2", zorder=3))  # fmt: skip
    axes.text(x, y, text, ha="center", va="center", zorder=4, fontsize=10)


def wires(axes: Axes, names: list[tuple[str, float]], first: float, last: float) -> None:
    for name, y in names:
        axes.plot([first, last], [y, y], color="0.2", linewidth=1, zorder=1)
        axes.text(first - 0.15, y, name, ha="right", va="center", fontsize=10)


def controlled(axes: Axes, x: float, control: float, target: float) -> None:
    """Draw a controlled NOT."""
    axes.plot([x, x], [control, target], color="0.2", linewidth=1, zorder=2)
    axes.plot([x], [control], "o", color="0.2", markersize=6, zorder=3)
    axes.plot([x], [target], "o", color="0.2", markersize=15, markerfacecolor="white", zorder=3)
    axes.plot([x], [target], "+", color="0.2", markersize=15, zorder=4)


figure = Figure(figsize=(10, 2.5), layout="constrained")
left, right = figure.subplots(1, 2)
left.set_title("As it is written, and as devices run it")
wires(left, [(r"$q_0$", 2), (r"$q_1$", 1)], 0, 6)
for gap in (-0.04, 0.04):
    left.plot([0, 6], [gap, gap], color="0.6", linewidth=1, zorder=1)
left.text(-0.15, 0, r"$c$", ha="right", va="center", fontsize=10)
box(left, 0.8, 2, r"$R_y(a)$")
box(left, 2, 2, "measure", ORANGE, 1.3)
left.annotate("", (2, 0.08), (2, 1.7), arrowprops={"arrowstyle": "->", "color": "0.2"}, zorder=2)
left.plot([3.2, 3.2], [0, 0.7], color="0.2", linewidth=2, zorder=2)
left.plot([3.2], [0], "o", color="0.2", markersize=6, zorder=3)
box(left, 3.2, 1, r"$R_x(b)$")
left.text(3.35, 0.32, "if 1", fontsize=9)
box(left, 4.2, 2, r"$|0\rangle$", ORANGE)
controlled(left, 5.3, 1, 2)

right.set_title("Deferred, for simulators of states")
deferred = defer_measurements(build())
assert deferred.circuit.num_qubits == 3  # a wire for the outcome, or one to begin anew on
wires(right, [(r"$q_0$ after", 2), (r"$q_1$", 1), (r"$q_0$ before", 0)], 0, 6)
box(right, 0.8, 0, r"$R_y(a)$")
right.plot([3.2, 3.2], [0, 0.7], color="0.2", linewidth=1, zorder=2)
right.plot([3.2], [0], "o", color=BLUE, markersize=7, zorder=3)
box(right, 3.2, 1, r"$R_x(b)$")
controlled(right, 5.3, 1, 2)
right.text(6.1, 0, "not read", fontsize=9, va="center", color="0.4")
for axes in (left, right):
    axes.set_xlim(-1.5, 7.2)
    axes.set_ylim(-0.6, 2.6)
    axes.set_aspect("equal")
    axes.axis("off")
figure.savefig(FILE, dpi=150)
