# SPDX-License-Identifier: Apache-2.0
"""What does a training step cost whose inputs are amplitudes: images of 16 x 16 in 8 qubits?

A batch of 64 images, of which about half of the pixels are zero as in those of digits, is prepared
as states; two layers of RY and RZ on each qubit and a ring of CX follow, and Z of each qubit is
read. A step is values and gradients, in double precision, of the weights alone, or of the images as
well. PennyLane's ``AmplitudeEmbedding`` does the same where it is installed: ``default.qubit`` by
backpropagation, broadcast over the batch, as its documentation recommends
(https://docs.pennylane.ai/en/stable/code/api/pennylane.AmplitudeEmbedding.html).
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import harness
import torch
from qiskit.circuit import ParameterVector, QuantumCircuit

from qiskit_torch_bridge import TorchQuantumModule, __version__, amplitude_encoding

QUBITS, LAYERS, BATCH = 8, 2, 64
TOLERANCE = 1e-10
OURS, THEIRS = "qiskit-torch-bridge", "PennyLane, default.qubit, backprop"

Call = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def images(batch: int, size: int) -> torch.Tensor:
    """Return reproducible images ``(B, size)`` with values from 0 to 1, about half of them zero."""
    generator = torch.Generator().manual_seed(1)
    return torch.rand(batch, size, generator=generator, dtype=torch.float64).sub(0.5).clamp(min=0)


def bridge(qubits: int, layers: int) -> Call:
    """Return the expectation values as a function of images and weights, by this package."""
    encoding = amplitude_encoding(qubits)
    weights = ParameterVector("w", 2 * qubits * layers)
    ansatz, left = QuantumCircuit(qubits), iter(weights)
    for _ in range(layers):
        for q in range(qubits):
            ansatz.ry(next(left), q)
            ansatz.rz(next(left), q)
        for q in range(qubits):
            ansatz.cx(q, (q + 1) % qubits)
    module = TorchQuantumModule(
        encoding.circuit.compose(ansatz),
        input_params=encoding.parameters,
        weight_params=weights,
    ).double()

    def call(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(module, {"weight": w}, (encoding(x),))

    return call


def pennylane(qubits: int, layers: int) -> Call:
    """Return the same by PennyLane, whose first wire is the most significant bit."""
    import pennylane as qml

    wires = list(reversed(range(qubits)))  # of each of our qubits

    @qml.qnode(qml.device("default.qubit", wires=qubits), interface="torch", diff_method="backprop")
    def circuit(x: torch.Tensor, w: torch.Tensor) -> Any:
        qml.AmplitudeEmbedding(x, wires=range(qubits), normalize=True)
        left = iter(w)
        for _ in range(layers):
            for wire in wires:
                qml.RY(next(left), wire)
                qml.RZ(next(left), wire)
            for q in range(qubits):
                qml.CNOT((wires[q], wires[(q + 1) % qubits]))
        return [qml.expval(qml.Z(wire)) for wire in wires]

    return lambda x, w: torch.stack(tuple(circuit(x, w)), -1)


def step(call: Call, x: torch.Tensor, w: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return values, and gradients of a loss with respect to whatever needs one."""
    values = call(x, w)
    wanted = [tensor for tensor in (w, x) if tensor.requires_grad]
    return values.detach(), *torch.autograd.grad((values**2).sum(), wanted)


def main() -> None:
    """Check, time, print and save."""
    parser = harness.parser(__doc__, repeats=40, budget=40)
    parser.add_argument("--qubits", type=int, default=QUBITS)
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--batch", type=int, default=BATCH)
    options = parser.parse_args()
    calls = {OURS: bridge(options.qubits, options.layers)}
    if importlib.util.find_spec("pennylane") is not None:
        calls[THEIRS] = pennylane(options.qubits, options.layers)
    w = torch.linspace(-1, 1, 2 * options.qubits * options.layers, dtype=torch.float64)
    w.requires_grad_()
    sections, seconds = [], {}
    for what, of_images in (("weights", False), ("weights and images", True)):
        x = images(options.batch, 1 << options.qubits).requires_grad_(of_images)
        found = [step(call, x, w) for call in calls.values()]
        for other in found[1:]:
            for ours, theirs in zip(found[0], other, strict=True):
                assert torch.allclose(ours, theirs, atol=TOLERANCE), what
        timings = harness.time_interleaved(
            {name: functools.partial(step, call, x, w) for name, call in calls.items()},
            options.repeats,
            options.budget,
        )
        seconds[what] = {t.name: t.seconds for t in timings}
        header = ("candidate", "median (ms)", "quartiles (ms)", "repeats", f"against {OURS}")
        sections += [
            f"## Gradients of {what}",
            harness.table(header, harness.timing_rows(timings, OURS)),
        ]
    facts = harness.environment(("numpy", "numba", "torch", "qiskit", "pennylane"))
    facts["qiskit-torch-bridge"] = __version__
    facts["threads of torch"] = str(torch.get_num_threads())
    size = f"{options.batch} vectors of {1 << options.qubits} amplitudes, {options.layers} layers"
    text = "\n\n".join(
        [
            f"# A training step on amplitudes: {size}",
            *sections,
            ", ".join(f"{key} {value}" for key, value in facts.items()),
        ]
    )
    print(text)
    harness.save("amplitudes", text, {"environment": facts, "seconds": seconds}, options.output)


if __name__ == "__main__":
    main()
