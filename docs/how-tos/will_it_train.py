# SPDX-License-Identifier: Apache-2.0
"""The figures of the page "Will it train?": ``python will_it_train.py [FOLDER]``."""

import copy
import sys
import time
from pathlib import Path

import torch
from matplotlib.figure import Figure
from qiskit.circuit import ParameterVector, QuantumCircuit

from qiskit_torch_bridge import CircuitProgram, Probabilities, TorchQuantumModule
from qiskit_torch_bridge import diagnostics as d

FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else "images")


def ansatz(n: int, layers: int) -> QuantumCircuit:
    """Layers of RY, RZ and a ring of CX."""
    circuit = QuantumCircuit(n)
    angles = iter(ParameterVector("w", 2 * n * layers))
    for _ in range(layers):
        for q in range(n):
            circuit.ry(next(angles), q)
            circuit.rz(next(angles), q)
        for q in range(n if n > 2 else 1):
            circuit.cx(q, (q + 1) % n)
    return circuit


def ising(n: int, layers: int) -> QuantumCircuit:
    """Layers of two evolutions of an Ising chain in a transverse field."""
    circuit = QuantumCircuit(n)
    angles = iter(ParameterVector("w", 2 * layers))
    circuit.h(range(n))
    for _ in range(layers):
        bonds, field = next(angles), next(angles)
        for q in range(n - 1):
            circuit.rzz(bonds, q, q + 1)
        circuit.rx(field, range(n))
    return circuit


def bond(n: int) -> str:
    return "I" * (n - 2) + "ZZ"


def uploading(layers: int) -> TorchQuantumModule:
    x, w = ParameterVector("x", 1), ParameterVector("w", 3 * layers + 3)
    circuit, angles = QuantumCircuit(1), iter(w)
    for k in range(layers + 1):
        circuit.u(next(angles), next(angles), next(angles), 0)
        if k < layers:
            circuit.rx(x[0], 0)
    return TorchQuantumModule(circuit, "Z", input_params=x, seed=1)


def classifier() -> TorchQuantumModule:
    x = ParameterVector("x", 4)
    circuit = QuantumCircuit(4)
    for q in range(4):
        circuit.h(q)
        circuit.rz(x[q], q)
    circuit.compose(ansatz(4, 2), inplace=True)
    return TorchQuantumModule(circuit, Probabilities(), input_params=x, seed=1)


def trained(module: TorchQuantumModule, steps: int) -> list[dict[str, torch.Tensor]]:
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    states = []
    for _ in range(steps):
        states.append(copy.deepcopy(module.state_dict()))
        optimizer.zero_grad()
        module().backward()
        optimizer.step()
    return states


def timed(name: str, function, *arguments, **options):
    start = time.perf_counter()
    result = function(*arguments, **options)
    print(f"{name:<28}{1000 * (time.perf_counter() - start):8.0f} ms")
    return result


def energy(n: int, layers: int) -> TorchQuantumModule:
    terms = {"I" * q + "ZZ" + "I" * (n - q - 2): -1.0 for q in range(n - 1)}
    terms |= {"I" * q + "X" + "I" * (n - q - 1): -1.0 for q in range(n)}
    return TorchQuantumModule(ansatz(n, layers), [terms][0], seed=2)


# -- gradients -----------------------------------------------------------------------------------

figure = Figure(figsize=(9.5, 3.8), layout="constrained")
left, right = figure.subplots(1, 2)
deep = d.gradient_variance(
    lambda n, k: CircuitProgram(ansatz(n, k), bond(n)), range(2, 11), [2, 30], samples=300, seed=1
)
deep.plot(left).set_title("RY, RZ, ring of CX; ZZ of one pair", fontsize="medium")
chain = d.gradient_variance(
    lambda n, k: CircuitProgram(ising(n, k), bond(n)), range(3, 11), [2, 30], samples=300, seed=1
)
chain.plot(right).set_title("evolution of an Ising chain", fontsize="medium")
for ax in (left, right):
    ax.set_ylim(3e-4, 1)
figure.savefig(FOLDER / "gradient_variance.png", dpi=150)
print(deep, chain, sep="\n")

# -- states --------------------------------------------------------------------------------------

figure = Figure(figsize=(9.5, 3.4), layout="constrained")
axes = figure.subplots(1, 3)
for layers, ax in zip((1, 3), axes, strict=False):
    d.expressibility(ansatz(4, layers), seed=1).plot(ax)
    ax.set_xlabel(f"fidelity of two states, {layers} layer{'s' * (layers > 1)}")
d.entangling_capability(ansatz(4, 1), 5000, seed=1).plot(axes[2])
figure.savefig(FOLDER / "expressibility.png", dpi=150)

# -- functions of inputs -------------------------------------------------------------------------

figure = Figure(figsize=(9.5, 3.0), layout="constrained")
for layers, ax in zip((1, 2, 4), figure.subplots(1, 3, sharey=True), strict=True):
    d.fourier_spectrum(uploading(layers), 100, seed=1).plot(ax)
    ax.set_title(f"{layers} encoding{'s' * (layers > 1)}", fontsize="medium")
    ax.set_xlim(-5, 5)
figure.savefig(FOLDER / "fourier_spectrum.png", dpi=150)

# -- losses --------------------------------------------------------------------------------------

module = energy(4, 3)
states = trained(module, 80)
figure = Figure(figsize=(9.5, 3.8), layout="constrained")
left, right = figure.subplots(1, 2)
d.loss_landscape(module, trajectory=states, points=61).plot(left)
d.hessian_spectrum(module).plot(right)
figure.savefig(FOLDER / "loss_landscape.png", dpi=150)

# -- dimensions ----------------------------------------------------------------------------------

figure = Figure(figsize=(9.5, 3.4), layout="constrained")
left, middle, right = figure.subplots(1, 3)
model = classifier()
data = torch.randn(50, 4, generator=torch.Generator().manual_seed(1))
d.effective_dimension(model, data, seed=1).plot(left)
d.parameter_dimension(ansatz(3, 4), seed=1).plot(middle)
d.lie_algebra_dimension(ising(5, 2)).plot(right)
right.set_title("Ising chain", fontsize="medium")
figure.savefig(FOLDER / "dimensions.png", dpi=150)

# -- times, for six qubits and three layers ------------------------------------------------------

module = energy(6, 3)
d.diagnose(module, 10)  # kernels are loaded
print(d.diagnose(module, seed=1))
print(module.weight.numel(), "weights")
small = [4, 5, 6]
timed(
    "gradient_variance",
    d.gradient_variance,
    lambda n, k: CircuitProgram(ansatz(n, k), bond(n)),
    small,
    [3],
    seed=1,
)
timed("expressibility", d.expressibility, module, seed=1)
timed("entangling_capability", d.entangling_capability, module, seed=1)
timed("loss_landscape", d.loss_landscape, module, seed=1)
timed("hessian_spectrum", d.hessian_spectrum, module)
timed("lanczos", d.hessian_spectrum, module, method="lanczos", seed=1)
probabilities = TorchQuantumModule(ansatz(6, 3), Probabilities(), seed=1)
timed("effective_dimension", d.effective_dimension, probabilities, seed=1)
timed("parameter_dimension", d.parameter_dimension, module, seed=1)
timed("lie_algebra_dimension", d.lie_algebra_dimension, module)
x = ParameterVector("x", 6)
encoded = QuantumCircuit(6)
for q in range(6):
    encoded.rx(x[q], q)
encoded.compose(ansatz(6, 3), inplace=True)
of_inputs = TorchQuantumModule(encoded, "Z" * 6, input_params=x, seed=1)
timed("fourier_spectrum", d.fourier_spectrum, of_inputs, 10, inputs=[0, 1, 2], seed=1)
timed("diagnose", d.diagnose, module, seed=1)
