# SPDX-License-Identifier: Apache-2.0
"""The figure of the page "Quantum kernels": ``python quantum_kernels.py [FILE]``."""

import sys

import numpy as np
import torch
from matplotlib.figure import Figure
from qiskit.circuit.library import zz_feature_map

from qiskit_torch_bridge.kernels import FidelityKernel, ProjectedKernel, nearest_psd

FILE = sys.argv[1] if len(sys.argv) > 1 else "images/quantum-kernels.png"
SHOTS, POINTS = 50, 40

torch.manual_seed(0)
figure = Figure(figsize=(9, 3.4), layout="constrained")
left, right = figure.subplots(1, 2)

x = 2 * torch.rand(POINTS, 3, dtype=torch.float64)
exact = FidelityKernel(zz_feature_map(3, reps=2))
measured = exact.with_backend(shots=SHOTS, seed=1)(x)
for gram, label, style in (
    (exact(x), "exact", "o-"),
    (measured, f"{SHOTS} shots", "s-"),
    (nearest_psd(measured), 'with psd="clip"', "x--"),
):
    values = torch.linalg.eigvalsh(gram).flip(0)
    left.plot(np.arange(1, POINTS + 1), values, style, markersize=3, linewidth=1, label=label)
left.axhline(0, color="0.6", linewidth=0.8)
left.set(xlabel="number of the eigenvalue", title="Smaller eigenvalues of a Gram matrix")
left.set(xlim=(14.5, 40.5), ylim=(-0.4, 1.2))
left.legend(frameon=False)

sizes = range(2, 13)
means: dict[str, list[float]] = {"fidelity": [], "projected": []}
for n in sizes:
    x = 2 * torch.rand(POINTS, n, dtype=torch.float64)
    circuit = zz_feature_map(n, reps=2, entanglement="linear")
    for kernel, found in zip(
        (FidelityKernel(circuit), ProjectedKernel(circuit, gamma=1.0)), means.values(), strict=True
    ):
        found.append(kernel(x)[tuple(torch.triu_indices(POINTS, POINTS, 1))].mean().item())
for (name, found), style in zip(means.items(), ("o-", "s--"), strict=True):
    right.plot(sizes, found, style, markersize=4, label=name)
right.plot(sizes, [2.0**-n for n in sizes], ":", color="0.5", label=r"$2^{-n}$")
right.set(yscale="log", xlabel="qubits", title="Mean of the entries off the diagonal")
right.legend(frameon=False)

figure.savefig(FILE, dpi=150)
