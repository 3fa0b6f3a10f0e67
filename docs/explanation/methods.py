# SPDX-License-Identifier: Apache-2.0
"""The figure of the page "How the exact engine works": ``python methods.py [FILE]``.

It measures values and a gradient by each method, up to the width at which a step takes too long or
does not fit into memory. One thread; the fastest of a few repetitions.
"""

import sys
import time
from collections.abc import Callable, Iterator

import networkx
import numpy as np
import torch
from matplotlib.figure import Figure
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from qiskit_torch_bridge import Exact, TorchQuantumModule
from qiskit_torch_bridge.exceptions import BridgeError

FILE = sys.argv[1] if len(sys.argv) > 1 else "images/methods.png"
LONGEST = 1.0  # seconds
STYLES = {
    "statevector": ("tab:red", "o"),
    "light-cones": ("tab:green", "^"),
    "columns": ("tab:blue", "s"),
    "network": ("tab:purple", "d"),
    "automatic": ("0.3", ""),
}
Case = tuple[QuantumCircuit, list[SparsePauliOp]]


def chain(num_qubits: int, layers: int) -> Case:
    """Layers of RY, RZ and a staircase of CX; Z of every qubit."""
    angles = iter(ParameterVector("w", 2 * num_qubits * layers))
    circuit = QuantumCircuit(num_qubits)
    for _ in range(layers):
        for q in range(num_qubits):
            circuit.ry(next(angles), q)
            circuit.rz(next(angles), q)
        for q in range(num_qubits - 1):
            circuit.cx(q, q + 1)
    z = [SparsePauliOp.from_sparse_list([("Z", [q], 1.0)], num_qubits) for q in range(num_qubits)]
    return circuit, z


def qaoa(num_qubits: int, layers: int) -> Case:
    """QAOA for MaxCut on a random 3-regular graph; the mean cut."""
    edges = list(networkx.random_regular_graph(3, num_qubits, seed=num_qubits).edges)
    gamma, beta = ParameterVector("gamma", layers), ParameterVector("beta", layers)
    circuit = QuantumCircuit(num_qubits)
    circuit.h(range(num_qubits))
    for layer in range(layers):
        for u, v in edges:
            circuit.rzz(gamma[layer], u, v)
        circuit.rx(beta[layer], range(num_qubits))
    terms = [("ZZ", list(edge), -0.5) for edge in edges]
    return circuit, [SparsePauliOp.from_sparse_list(terms, num_qubits)]


def measure(method: str, case: Case) -> float:
    """The time of values and a gradient."""
    circuit, observables = case
    weights = np.random.default_rng(0).uniform(-1, 1, circuit.num_parameters)
    module = TorchQuantumModule(
        circuit,
        observables,
        estimator=Exact(method=method),
        initial_weights=torch.from_numpy(weights),
    )
    module().sum().backward()  # kernels are loaded, and memory is touched
    fastest, began = np.inf, time.perf_counter()
    for _ in range(30):
        module.zero_grad()
        start = time.perf_counter()
        module().sum().backward()
        fastest = min(fastest, time.perf_counter() - start)
        if time.perf_counter() - began > LONGEST:
            break
    return fastest


def curve(
    method: str, make: Callable[[int], Case], widths: list[int]
) -> Iterator[tuple[int, float]]:
    for width in widths:
        try:
            seconds = measure(method, make(width))
        except (BridgeError, ImportError) as error:
            print(method, width, str(error)[:90], flush=True)
            return
        print(method, width, f"{1e3 * seconds:.2f} ms", flush=True)
        yield width, seconds
        if seconds > LONGEST:
            return


if __name__ == "__main__":
    torch.set_num_threads(1)
    panels = {
        "3 layers of a chain, every Z": (
            lambda n: chain(n, 3),
            [4, 8, 12, 16, 20, 22, 32, 64, 127],
        ),
        "QAOA, 2 layers, 3-regular graphs": (
            lambda n: qaoa(n, 2),
            [4, 8, 12, 16, 20, 22, 32, 64, 128, 500],
        ),
    }
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for panel, (title, (make, widths)) in zip(axes, panels.items(), strict=True):
        for method, (color, marker) in STYLES.items():
            points = list(curve(method, make, widths))
            if points:
                style = "--" if method == "automatic" else "-"
                panel.plot(
                    *zip(*points, strict=True), style, marker=marker, color=color,
                    markersize=4, label=method, zorder=3 if method == "automatic" else 2,
                )  # fmt: skip
        ticks = [n for n in (4, 8, 16, 32, 64, 128, 256, 512) if n <= widths[-1] + 1]
        panel.set(xscale="log", yscale="log", xlabel="qubits", title=title)
        panel.set_xticks(ticks, [str(n) for n in ticks])
        panel.minorticks_off()
        panel.grid(alpha=0.25)
    axes[0].set_ylabel("values and gradient (s)")
    axes[0].legend(frameon=False)
    figure.savefig(FILE, dpi=150)
