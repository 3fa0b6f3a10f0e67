# SPDX-License-Identifier: Apache-2.0
"""The figures of the two pages for beginners: ``python start.py [FOLDER]``."""

from itertools import pairwise

import numpy as np
import torch
from drawing import Palette, arrow, box, draw_circuit, save
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, depolarizing_error

from qiskit_torch_bridge import Probabilities, TorchQuantumModule

ANGLES = torch.linspace(0, 2 * torch.pi, 25, dtype=torch.float64)[:, None]
FINE = torch.linspace(0, 2 * torch.pi, 300, dtype=torch.float64)[:, None]


def make_rotation(**where) -> TorchQuantumModule:
    """One qubit, one rotation, one input."""
    angle = Parameter("x")
    circuit = QuantumCircuit(1)
    circuit.ry(angle, 0)
    return TorchQuantumModule(circuit, "Z", input_params=[angle], seed=3, **where)


def make_pair() -> tuple[QuantumCircuit, ParameterVector]:
    """Two qubits: an input and a weight on each, and a gate between them."""
    x, w = ParameterVector("x", 2), ParameterVector("w", 2)
    circuit = QuantumCircuit(2)
    for q in range(2):
        circuit.ry(x[q], q)
    circuit.cx(0, 1)
    for q in range(2):
        circuit.rx(w[q], q)
    return circuit, x


def make_noisy_backend() -> AerSimulator:
    """Aer with errors at each gate that leave four fifths of what is measured."""
    noise = NoiseModel()
    noise.add_all_qubit_quantum_error(depolarizing_error(0.2, 1), ["ry"])
    return AerSimulator(noise_model=noise, basis_gates=["ry", "cx"], seed_simulator=5)


EXACT = make_rotation()(FINE).detach()
SHOTS = make_rotation(shots=100)(ANGLES).detach()
NOISY = make_rotation(backend=make_noisy_backend(), shots=10_000)(ANGLES).detach()


def draw_angle(palette: Palette) -> Figure:
    """Draw a circuit of one gate, the arrow that it turns, and what is measured of it."""
    figure = Figure(figsize=(9, 2.9), layout="constrained")
    circuit, circle, curve = figure.subplots(1, 3, width_ratios=(0.8, 0.8, 1.6))
    one = QuantumCircuit(1)
    one.ry(Parameter("x"), 0)
    end = draw_circuit(circuit, one, palette)
    circuit.set(xlim=(-1.2, end), ylim=(-0.9, 0.9), aspect="equal")
    circuit.axis("off")
    t = np.linspace(0, 2 * np.pi, 200)
    circle.plot(np.sin(t), np.cos(t), color=palette.faint, lw=1)
    angle = 1.0
    arrow(circle, (0, 0), (np.sin(angle), np.cos(angle)), palette.inputs)
    s = np.linspace(0, angle, 30)
    circle.plot(0.35 * np.sin(s), 0.35 * np.cos(s), color=palette.inputs)
    circle.text(0.24, 0.42, "x", color=palette.inputs)
    circle.plot([np.sin(angle), 0], [np.cos(angle)] * 2, ":", color=palette.accent)
    circle.plot([0], [np.cos(angle)], "o", color=palette.accent)
    circle.text(0, 1.08, "|0⟩, always +1", ha="center", va="bottom", fontsize=10)
    circle.text(0, -1.08, "|1⟩, always -1", ha="center", va="top", fontsize=10)
    circle.set(xlim=(-1.45, 1.45), ylim=(-1.45, 1.45), aspect="equal")
    circle.axis("off")
    curve.plot(FINE, EXACT, color=palette.accent, lw=2)
    curve.plot([angle], [np.cos(angle)], "o", color=palette.accent)
    curve.set(xlabel="angle x", ylabel="⟨Z⟩ = cos x")
    curve.set_xticks([0, np.pi, 2 * np.pi], ["0", "π", "2π"])
    return figure


def draw_shots(palette: Palette) -> Figure:
    """Draw the same curve from a hundred shots, and with gates that err."""
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for ax, points, color, title in (
        (axes[0], SHOTS, palette.inputs, "100 shots each"),
        (axes[1], NOISY, palette.weights, "10,000 shots each, on noisy gates"),
    ):
        ax.plot(FINE, EXACT, color=palette.faint, lw=1.2, label="exact")
        ax.plot(ANGLES, points, "o", ms=4, color=color, label="measured")
        ax.set_title(title, fontsize=11)
        ax.set_xticks([0, np.pi, 2 * np.pi], ["0", "π", "2π"])
        ax.set_xlabel("angle x")
        ax.legend(loc="lower right", fontsize=9)
    axes[0].set_ylabel("⟨Z⟩")
    return figure


def draw_pair(palette: Palette) -> Figure:
    """Draw a circuit with inputs and weights, and the probabilities of its outcomes."""
    circuit, inputs = make_pair()
    figure = Figure(figsize=(9, 2.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.6, 1))
    end = draw_circuit(left, circuit, palette)
    left.set(xlim=(-1.1, end), ylim=(-1.6, 0.6), aspect="equal")
    left.axis("off")
    module = TorchQuantumModule(
        circuit, Probabilities(), input_params=inputs, initial_weights=[0.8, 0.5]
    )
    heights = module(torch.tensor([1.2, 0.4])).detach()
    right.bar(["00", "01", "10", "11"], heights, color=palette.accent, width=0.6)
    right.set(xlabel="outcome", ylabel="probability")
    return figure


def draw_graph(palette: Palette) -> Figure:
    """Draw what PyTorch writes down going forward, and how it walks back."""
    figure = Figure(figsize=(9, 2.2), layout="constrained")
    ax = figure.subplots()
    ax.set(xlim=(-0.2, 12.4), ylim=(-1.15, 1.1), aspect="equal")
    ax.axis("off")
    places = (
        (0.7, "data\n(32, 2)", palette.inputs),
        (3.4, "Linear\nweights", palette.classical),
        (6.1, "circuit\nweights", palette.weights),
        (8.8, "loss\nfunction", palette.classical),
        (11.5, "one\nnumber", palette.accent),
    )
    for x, text, color in places:
        box(ax, (x, 0), (1.5, 0.9), color, text, fontsize=10)
    for (x, *_), (y, *_) in pairwise(places):
        arrow(ax, (x + 0.8, 0.18), (y - 0.8, 0.18), palette.ink)
        arrow(ax, (y - 0.8, -0.18), (x + 0.8, -0.18), palette.weights)
    ax.text(6.1, 0.72, "model(data), then the loss: values", ha="center")
    ax.text(6.1, -0.95, "loss.backward(): derivatives", ha="center", color=palette.weights)
    return figure


def train() -> tuple[np.ndarray, np.ndarray, torch.Tensor]:
    """Walk down the energy of two spins, and map its surroundings."""
    w = ParameterVector("w", 2)
    circuit = QuantumCircuit(2)
    circuit.ry(w[0], 0)
    circuit.cx(0, 1)
    circuit.ry(w[1], 1)
    observable = {"ZZ": 1.0, "XI": 0.5}
    module = TorchQuantumModule(circuit, observable, initial_weights=[1.6, -0.6])
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    path, energies = [], []
    for _ in range(60):
        optimizer.zero_grad()
        energy = module().sum()
        energy.backward()
        path.append(module.weight.tolist())
        energies.append(energy.item())
        optimizer.step()
    grid = torch.linspace(-torch.pi, torch.pi, 80)
    landscape = TorchQuantumModule(circuit, observable, input_params=w)
    with torch.no_grad():
        heights = landscape(torch.cartesian_prod(grid, grid)).reshape(80, 80).T
    return np.array(path), np.array(energies), heights


PATH, ENERGIES, HEIGHTS = train()


def draw_descent(palette: Palette) -> Figure:
    """Draw the path of two weights over their landscape, and the energy along it."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.3))
    extent = (-np.pi, np.pi) * 2
    drawn = left.imshow(HEIGHTS, origin="lower", extent=extent, cmap="viridis", aspect="auto")
    figure.colorbar(drawn, ax=left, label="energy")
    left.plot(*PATH.T, "-", color="white", lw=1.6)
    left.plot(*PATH[0], "o", color="white", ms=5)
    left.plot(*PATH[-1], "*", color="white", ms=11)
    _label(left, "first weight", "second weight")
    left.set(xlim=extent[:2], ylim=extent[2:])
    right.plot(ENERGIES, color=palette.weights, lw=2)
    _label(right, "step", "energy")
    return figure


def _label(ax: Axes, x: str, y: str) -> None:
    """Name both axes."""
    ax.set(xlabel=x, ylabel=y)


save("angle", draw_angle)
save("shots", draw_shots)
save("pair", draw_pair)
save("graph", draw_graph)
save("descent", draw_descent)
print(f"energy {ENERGIES[-1]:.4f}")
