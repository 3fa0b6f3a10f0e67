# SPDX-License-Identifier: Apache-2.0
"""The figure of the front page: a circuit between two linear layers, and how it learns.

``python hero.py [FOLDER]`` trains the model on two moons, which takes seconds, and draws it.
"""

import numpy as np
import torch
from drawing import Palette, arrow, box, draw_circuit, save
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from sklearn.datasets import make_moons
from torch import nn

from qiskit_torch_bridge import QuantumLayer

STEPS = 150


def make_data(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw 200 points of two moons."""
    points, labels = make_moons(200, noise=0.15, random_state=seed)
    return torch.tensor(points, dtype=torch.float32), torch.tensor(labels)


torch.manual_seed(1)
model = nn.Sequential(nn.Linear(2, 3), QuantumLayer(3, 3, layers=1, seed=1), nn.Linear(3, 2))
train, test = make_data(seed=0), make_data(seed=1)
optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
history = []
for _ in range(STEPS):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(train[0]), train[1])
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        outputs = model(test[0])
        history.append(
            (
                loss.item(),
                nn.functional.cross_entropy(outputs, test[1]).item(),
                (outputs.argmax(1) == test[1]).double().mean().item(),
            )
        )
losses, test_losses, accuracies = np.array(history).T


def draw_model(ax, palette: Palette) -> None:
    """Linear layer, circuit, linear layer, from left to right."""
    box(ax, (0.75, -1), (1.3, 2.6), palette.classical, "Linear\n2 → 3", fontsize=11)
    end = draw_circuit(ax, model[1].circuit, palette, origin=(3.1, 0))
    for q in range(3):
        arrow(ax, (1.45, -q), (2.1, -q), palette.faint)
        arrow(ax, (end, -q), (end + 0.6, -q), palette.faint)
    box(ax, (end + 1.3, -1), (1.3, 2.6), palette.classical, "Linear\n3 → 2", fontsize=11)
    ax.text(0.75, 0.62, "torch.nn", ha="center", color=palette.classical)
    ax.text(2.4, 0.62, "QuantumLayer(3, 3), a Qiskit circuit:", color=palette.ink)
    ax.text(7.0, 0.62, "what comes in,", color=palette.inputs)
    ax.text(9.2, 0.62, "what is trained", color=palette.weights)
    right = end + 1.95
    ax.set(xlim=(0, right + 0.05), ylim=(-2.42, 0.95), aspect="equal")
    ax.axis("off")


def draw_curve(ax, palette: Palette) -> None:
    """Loss of training and test against steps."""
    ax.plot(losses, color=palette.weights, label="training", lw=2)
    ax.plot(test_losses, color=palette.inputs, label="test", lw=1.4)
    ax.set(xlabel="step", ylabel="cross entropy", ylim=(0, None), xlim=(0, STEPS))
    ax.legend(loc="upper right")
    ax.text(4, 0.03, f"{accuracies[-1]:.0%} of the test points right")


def draw_plane(ax, palette: Palette) -> None:
    """Draw what the model has learned: the test points over its probability."""
    grid = torch.cartesian_prod(torch.linspace(-1.7, 2.7, 160), torch.linspace(-1.2, 1.7, 120))
    with torch.no_grad():
        probability = model(grid).softmax(1)[:, 1].reshape(160, 120).T
    colors = LinearSegmentedColormap.from_list("", [palette.inputs, palette.paper, palette.weights])
    extent = (-1.7, 2.7, -1.2, 1.7)
    ax.imshow(probability, origin="lower", extent=extent, cmap=colors, alpha=0.55, aspect="auto")
    for label, color in enumerate((palette.inputs, palette.weights)):
        points = test[0][test[1] == label]
        ax.scatter(*points.T, s=11, color=color, edgecolor=palette.paper, linewidth=0.4)
    ax.set(xticks=[], yticks=[], xlabel="what it has learned")
    for spine in ax.spines.values():
        spine.set_visible(False)


def draw(palette: Palette) -> Figure:
    """Draw the model above, the curve and the plane below."""
    figure = Figure(figsize=(9, 5.3), layout="constrained")
    axes = figure.subplot_mosaic([["model", "model"], ["curve", "plane"]], height_ratios=(1, 1.05))
    draw_model(axes["model"], palette)
    draw_curve(axes["curve"], palette)
    draw_plane(axes["plane"], palette)
    return figure


save("hero", draw)
print(f"loss {losses[-1]:.3f}, accuracy {accuracies[-1]:.3f}")
