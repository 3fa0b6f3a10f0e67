# SPDX-License-Identifier: Apache-2.0
"""One training step by parameter shift, exact: this package and qiskit-machine-learning.

The step is forward and backward, with gradients of inputs and weights, of RY(x) on each qubit,
layers of RY and RZ on each qubit and a ring of CX, with Z on each qubit as observables.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import harness
import numpy as np
import torch
from numpy.typing import NDArray
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.primitives import BaseEstimatorV2, StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp
from qiskit_aer.primitives import EstimatorV2

from qiskit_torch_bridge import TorchQuantumModule, __version__

NAME = "shift_step"
BASELINE = "qiskit-machine-learning, its default estimator"
TOLERANCE = 1e-9
PACKAGES = (
    "numpy",
    "torch",
    "qiskit",
    "qiskit-aer",
    "qiskit-algorithms",
    "qiskit-machine-learning",
)

Gradients = tuple[NDArray[np.float64], NDArray[np.float64]]


class Workload(NamedTuple):
    """The circuit, its roles and the values at which the step is made, in double precision."""

    circuit: QuantumCircuit
    inputs: ParameterVector
    weights: ParameterVector
    observables: list[SparsePauliOp]
    x: torch.Tensor  # (B, I)
    w: torch.Tensor  # (W,)


class Candidate(NamedTuple):
    """A step to be timed, and its gradients in double precision."""

    step: Callable[[], object]
    gradients: Callable[[], Gradients]


def workload(qubits: int, layers: int, batch: int) -> Workload:
    """Return the benchmark's circuit and reproducible values."""
    inputs = ParameterVector("x", qubits)
    weights = ParameterVector("w", 2 * qubits * layers)
    remaining = iter(weights)
    circuit = QuantumCircuit(qubits)
    for q in range(qubits):
        circuit.ry(inputs[q], q)
    for _ in range(layers):
        for q in range(qubits):
            circuit.ry(next(remaining), q)
            circuit.rz(next(remaining), q)
        for q in range(qubits):
            circuit.cx(q, (q + 1) % qubits)
    observables = [
        SparsePauliOp.from_sparse_list([("Z", [q], 1.0)], num_qubits=qubits) for q in range(qubits)
    ]
    generator = torch.Generator().manual_seed(0)
    x, w = (
        2 * torch.pi * torch.rand(shape, dtype=torch.float64, generator=generator)
        for shape in ((batch, qubits), (len(weights),))
    )
    return Workload(circuit, inputs, weights, observables, x, w)


def training_step(module: torch.nn.Module, x: torch.Tensor) -> Callable[[], None]:
    """Return what is timed, the same for all: forward, and backward to inputs and weights."""

    def step() -> None:
        module.zero_grad()
        x.grad = None
        module(x).sum().backward()

    return step


def bridge(work: Workload, estimator: BaseEstimatorV2 | None) -> Candidate:
    """This package's module with parameter shift."""
    module = TorchQuantumModule(
        work.circuit,
        work.observables,
        input_params=work.inputs,
        weight_params=work.weights,
        estimator=estimator,
        gradient="parameter-shift",
        initial_weights=work.w,
    )
    x = work.x.clone().requires_grad_()
    step = training_step(module, x)

    def gradients() -> Gradients:
        step()
        return x.grad.numpy().copy(), module.weight.grad.numpy().copy()

    return Candidate(step, gradients)


def peer(work: Workload, estimator: BaseEstimatorV2 | None) -> Candidate:
    """Its ``EstimatorQNN`` and ``TorchConnector``, as its documentation puts them together.

    The connector casts to single precision; gradients for the comparison are therefore taken
    from the network itself.
    """
    from qiskit_machine_learning.connectors import TorchConnector
    from qiskit_machine_learning.gradients import ParamShiftEstimatorGradient
    from qiskit_machine_learning.neural_networks import EstimatorQNN

    network = EstimatorQNN(
        circuit=work.circuit,
        observables=work.observables,
        input_params=list(work.inputs),
        weight_params=list(work.weights),
        estimator=estimator,
        gradient=None if estimator is None else ParamShiftEstimatorGradient(estimator),
        input_gradients=True,
        default_precision=0.0,
    )
    module = TorchConnector(network, initial_weights=work.w.numpy())
    step = training_step(module, work.x.clone().requires_grad_())

    def gradients() -> Gradients:
        by_inputs, by_weights = network.backward(work.x.numpy(), work.w.numpy())
        return by_inputs.sum(1), by_weights.sum((0, 1))

    return Candidate(step, gradients)


def agree(candidates: dict[str, Candidate]) -> float:
    """Return the largest difference between gradients; raise if it is above the tolerance."""
    (first, reference), *others = ((name, c.gradients()) for name, c in candidates.items())
    largest = 0.0
    for name, found in others:
        for mine, theirs in zip(reference, found, strict=True):
            difference = float(np.abs(mine - theirs).max())
            if not difference <= TOLERANCE:
                raise SystemExit(f"Gradients differ by {difference:.2g}: {first} and {name}.")
            largest = max(largest, difference)
    return largest


def main() -> None:
    """Compare, time, print and save."""
    parser = harness.parser(__doc__, repeats=15, budget=60)
    parser.add_argument("--qubits", type=int, default=4, help="default 4")
    parser.add_argument("--layers", type=int, default=2, help="default 2")
    parser.add_argument("--batch", type=int, default=16, help="default 16")
    options = parser.parse_args()
    work = workload(options.qubits, options.layers, options.batch)
    candidates = {
        "this package, its default estimator": bridge(work, None),
        "this package, Aer's EstimatorV2": bridge(work, EstimatorV2()),
        "this package, StatevectorEstimator": bridge(work, StatevectorEstimator()),
        BASELINE: peer(work, None),
        "qiskit-machine-learning, Aer's EstimatorV2": peer(work, EstimatorV2()),
    }
    difference = agree(candidates)
    timings = harness.time_interleaved(
        {name: c.step for name, c in candidates.items()}, options.repeats, options.budget
    )
    environment = harness.environment(PACKAGES) | {"qiskit-torch-bridge": __version__}
    size = f"n={options.qubits}, L={options.layers}, B={options.batch}"
    header = ("candidate", "median (ms)", "quartiles (ms)", "repeats", "times faster")
    text = "\n\n".join(
        [
            f"# One training step by parameter shift, exact simulation: {size}",
            harness.table(header, harness.timing_rows(timings, BASELINE)),
            f"'times faster': than {BASELINE}, in the same run. Gradients of all candidates "
            f"agree to {difference:.1e} in double precision.",
            ", ".join(f"{key} {value}" for key, value in environment.items()),
        ]
    )
    print(text)
    facts = {
        "workload": {"qubits": options.qubits, "layers": options.layers, "batch": options.batch},
        "environment": environment,
        "gradient_difference": difference,
        "seconds": {t.name: t.seconds for t in timings},
    }
    harness.save(NAME, text, facts, options.output)


if __name__ == "__main__":
    main()
