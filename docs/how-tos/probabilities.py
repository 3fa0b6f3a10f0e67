# SPDX-License-Identifier: Apache-2.0
"""The figure of the page "Probabilities and samples": ``python probabilities.py [FILE]``."""

import sys

import numpy as np
import torch
from matplotlib.figure import Figure
from qiskit.circuit import Parameter, QuantumCircuit

from qiskit_torch_bridge import Entropy, Probabilities, Purity, TorchQuantumModule
from qiskit_torch_bridge.primitives import BatchedStatevectorSampler

FILE = sys.argv[1] if len(sys.argv) > 1 else "images/probabilities.png"
SHOTS = 500


def layers() -> QuantumCircuit:
    circuit = QuantumCircuit(4)
    for q in range(4):
        circuit.ry(Parameter(f"w{q}"), q)
    for q in range(3):
        circuit.cx(q, q + 1)
    return circuit


figure = Figure(figsize=(9, 3.4), layout="constrained")
left, right = figure.subplots(1, 2)

weights = [0.9, 0.6, 2.0, 1.1]
exact = TorchQuantumModule(layers(), Probabilities(), initial_weights=weights)
sampled = TorchQuantumModule(
    layers(),
    Probabilities(),
    initial_weights=weights,
    estimator=BatchedStatevectorSampler(seed=3),
    shots=SHOTS,
)
chances, frequencies = exact().numpy(force=True), sampled().numpy(force=True)
errors = sampled.last_stds.numpy()
places = np.arange(16)
left.bar(places - 0.2, chances, 0.4, label="exact")
left.bar(places + 0.2, frequencies, 0.4, yerr=errors, capsize=2, label=f"{SHOTS} shots")
left.set_xticks(places, [format(i, "04b") for i in places], rotation=90)
left.set_xlabel("outcome, qubit 0 last")
left.set_ylabel("probability")
left.legend()

pair = QuantumCircuit(2)
theta = Parameter("theta")
pair.ry(theta, 0)
pair.cx(0, 1)
angles = torch.linspace(0, torch.pi, 101, dtype=torch.float64)[:, None]
for measurement, label in ((Entropy([0], base=2), "entropy, bits"), (Purity([0]), "purity")):
    module = TorchQuantumModule(pair, measurement, input_params=[theta])
    inputs = angles.clone().requires_grad_()
    outputs = module(inputs)
    (slopes,) = torch.autograd.grad(outputs.sum(), inputs)
    (line,) = right.plot(angles.numpy(), outputs.numpy(force=True), label=label)
    right.plot(angles.numpy(), slopes.numpy(), "--", color=line.get_color(), label="its derivative")
right.set_xticks([0, np.pi / 2, np.pi], ["0", "π/2", "π"])
right.set_xlabel("angle of ry before cx")
right.legend()

figure.savefig(FILE, dpi=150)
