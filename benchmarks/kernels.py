# SPDX-License-Identifier: Apache-2.0
"""The Gram matrix of the fidelity kernel of one set of points, and a step of training it.

The feature map is the ZZ feature map (V. Havlicek et al., Nature 567, 209 (2019)) of 8 qubits and 8
features with two repetitions, the points are 1,000 random ones. What would take hours is measured
with fewer points and scaled by the number of pairs, which the table says. Candidates:

- qiskit-machine-learning's ``FidelityStatevectorKernel`` and ``FidelityQuantumKernel``, as their
  documentation has them: https://qiskit-community.github.io/qiskit-machine-learning/
- PennyLane's ``qml.kernels.square_kernel_matrix`` with the circuit of a pair, on both simulators:
  https://docs.pennylane.ai/en/stable/code/qml_kernels.html
- PennyLane by hand, as this package does it: ``qml.state()`` of broadcast parameters on
  ``default.qubit``, or of one point after the other on ``lightning.qubit``, and a product of
  matrices. No function of PennyLane's does that.

The step is the centered alignment of the Gram matrix with labels and its gradient with respect to 8
weights that scale the features. Of the peers only PennyLane differentiates kernels.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import harness
import numpy as np
import pennylane as qml
import torch
from numpy.typing import NDArray
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.circuit.library import zz_feature_map
from qiskit.quantum_info import Statevector
from qiskit_machine_learning.kernels import FidelityQuantumKernel, FidelityStatevectorKernel

from qiskit_torch_bridge import Exact, __version__
from qiskit_torch_bridge.kernels import FidelityKernel, target_alignment

NAME = "kernels"
PACKAGES = ("numpy", "torch", "numba", "qiskit", "qiskit-machine-learning", "pennylane",
            "pennylane-lightning")  # fmt: skip
REPS = 2
Array = NDArray[np.float64]


@dataclass
class Candidate:
    """One way to a Gram matrix, or to a step.

    Attributes:
        label: What the table calls it.
        call: Takes points ``(N, n)``.
        points: How many it is timed with.
        bound: How much the result may deviate.
        seconds: What it took, call by call.
    """

    label: str
    call: Callable[[Array], Any]
    points: int
    bound: float = 1e-9
    seconds: list[float] = field(default_factory=list)

    def scaled(self, points: int) -> float:
        """Return the median for so many points, by the number of pairs."""
        pairs = points * (points - 1) / (self.points * (self.points - 1))
        return harness.Timing(self.label, self.seconds).median * pairs


# -- this package --------------------------------------------------------------------------------


def feature_map(num_qubits: int) -> tuple[QuantumCircuit, ParameterVector, ParameterVector]:
    """Return the ZZ feature map with a weight that scales each feature."""
    x, w = ParameterVector("x", num_qubits), ParameterVector("w", num_qubits)
    circuit = QuantumCircuit(num_qubits)
    for _ in range(REPS):
        for q in range(num_qubits):
            circuit.h(q)
            circuit.p(2 * w[q] * x[q], q)
        for i, j in itertools.combinations(range(num_qubits), 2):
            circuit.cx(i, j)
            circuit.p(2 * (np.pi - w[i] * x[i]) * (np.pi - w[j] * x[j]), j)
            circuit.cx(i, j)
    return circuit, x, w


def our_gram(kernel: FidelityKernel, points: Array) -> Array:
    """Return the Gram matrix."""
    return kernel(points)


def our_step(kernel: FidelityKernel, labels: Array, points: Array) -> Array:
    """Return the gradient of the alignment."""
    kernel.weight.grad = None
    gram = kernel(torch.from_numpy(points))
    target_alignment(gram, labels[: len(points)], centered=True).backward()
    return kernel.weight.grad.numpy()


# -- PennyLane -----------------------------------------------------------------------------------


def embed(x: Any, num_qubits: int) -> None:
    """Apply the ZZ feature map of features ``(n,)``, or ``(n, B)`` for a batch of them.

    Phases are rotations but for the global phase, and two CX with a phase between are one IsingZZ.
    """
    for _ in range(REPS):
        for q in range(num_qubits):
            qml.Hadamard(q)
            qml.RZ(2 * x[q], q)
        for i, j in itertools.combinations(range(num_qubits), 2):
            qml.IsingZZ(2 * (np.pi - x[i]) * (np.pi - x[j]), wires=[i, j])


def pair_kernel(device: str, num_qubits: int) -> Callable[[Array], Array]:
    """Return ``square_kernel_matrix`` with the circuit of a pair."""

    @qml.qnode(qml.device(device, wires=num_qubits))
    def overlap(x: Array, y: Array) -> Any:
        embed(x, num_qubits)
        qml.adjoint(embed)(y, num_qubits)
        return qml.probs(wires=range(num_qubits))

    def kernel(x: Array, y: Array) -> float:
        return overlap(x, y)[0]

    return partial(qml.kernels.square_kernel_matrix, kernel=kernel, assume_normalized_kernel=True)


def state_kernel(device: str, num_qubits: int) -> Callable[[Array], Array]:
    """Return the states of all points and their product."""

    @qml.qnode(qml.device(device, wires=num_qubits))
    def state(x: Array) -> Any:
        embed(x, num_qubits)
        return qml.state()

    def gram(points: Array) -> Array:
        if device == "default.qubit":
            states = np.asarray(state(points.T))
        else:
            states = np.array([state(x) for x in points])
        return np.abs(states @ states.conj().T) ** 2

    return gram


def state_step(num_qubits: int, weights: Array, labels: Array) -> Callable[[Array], Array]:
    """Return the gradient of the alignment, by torch through broadcast states."""

    @qml.qnode(
        qml.device("default.qubit", wires=num_qubits), interface="torch", diff_method="backprop"
    )
    def state(x: torch.Tensor) -> Any:
        embed(x, num_qubits)
        return qml.state()

    def step(points: Array) -> Array:
        w = torch.from_numpy(weights).requires_grad_()
        states = state((torch.from_numpy(points) * w).T)
        overlaps = states @ states.mH
        gram = overlaps.real**2 + overlaps.imag**2
        target_alignment(gram, labels[: len(points)], centered=True).backward()
        return w.grad.numpy()

    return step


# -- what is measured ----------------------------------------------------------------------------


def gram_candidates(n: int, points: int, few: int, pairs: int) -> list[Candidate]:
    """Return all ways to the Gram matrix, ours first."""
    circuit = zz_feature_map(n, reps=REPS)
    single = Exact(dtype="complex64")
    return [
        Candidate("this package", partial(our_gram, FidelityKernel(circuit)), points),
        Candidate(
            "this package, complex64",
            partial(our_gram, FidelityKernel(circuit, estimator=single)),
            points,
            1e-4,
        ),
        Candidate(
            "PennyLane, states by hand, default.qubit", state_kernel("default.qubit", n), points
        ),
        Candidate(
            "PennyLane, states by hand, lightning.qubit", state_kernel("lightning.qubit", n), points
        ),
        Candidate(
            "FidelityStatevectorKernel",
            lambda x: FidelityStatevectorKernel(feature_map=circuit).evaluate(x),
            few,
        ),
        Candidate(
            "PennyLane square_kernel_matrix, lightning.qubit",
            pair_kernel("lightning.qubit", n),
            pairs,
        ),
        Candidate(
            "PennyLane square_kernel_matrix, default.qubit", pair_kernel("default.qubit", n), pairs
        ),
        Candidate(
            "FidelityQuantumKernel",
            lambda x: FidelityQuantumKernel(feature_map=circuit, enforce_psd=False).evaluate(x),
            pairs,
            0.25,  # it draws 1,024 shots for each pair: eight standard errors
        ),
    ]


def step_candidates(n: int, points: int, labels: Array) -> list[Candidate]:
    """Return all ways to a step, ours first."""
    weights = np.linspace(0.3, 0.7, n)
    circuit, x, _ = feature_map(n)
    kernel = FidelityKernel(circuit, input_params=x, initial_weights=torch.from_numpy(weights))
    return [
        Candidate("this package", partial(our_step, kernel, labels), points),
        Candidate(
            "PennyLane, states by hand, backpropagation through torch",
            state_step(n, weights, labels),
            points,
        ),
    ]


def check(candidates: list[Candidate], rows: Array, expected: Array | None) -> None:
    """Stop if a result is another one than the first's, or than what is expected."""
    for candidate in candidates:
        found = candidate.call(rows)
        expected = found if expected is None else expected
        deviation = float(np.abs(found - expected).max())
        if not deviation <= candidate.bound:
            raise SystemExit(f"{candidate.label} deviates by {deviation:.2g}.")


def measure(candidates: list[Candidate], rows: Array, repeats: int, budget: float) -> None:
    """Time all candidates in turns; who takes long gets fewer of them, but one at least.

    Those that take no seconds for it are called once before, all with as many points as they get.
    """
    for candidate in candidates:
        begin = time.perf_counter()
        candidate.call(rows[: max(2, candidate.points // 10)])
        if time.perf_counter() - begin < 1:
            candidate.call(rows[: candidate.points])
    for _ in range(repeats):
        for candidate in candidates:
            if candidate.seconds and sum(candidate.seconds) > budget:
                continue
            begin = time.perf_counter()
            candidate.call(rows[: candidate.points])
            candidate.seconds.append(time.perf_counter() - begin)


def table(candidates: list[Candidate], points: int) -> str:
    """Return the table: seconds for all points, and how many times longer than ours."""
    header = ("candidate", "seconds", "quartiles of what was timed (s)", "points timed", "repeats",
              "this package is faster by")  # fmt: skip
    ours = candidates[0].scaled(points)
    lines = []
    for candidate in sorted(candidates, key=lambda c: c.scaled(points)):
        scaled = candidate.points != points
        low, high = harness.Timing("", candidate.seconds).quartiles
        lines.append(
            [
                candidate.label,
                f"{'about ' if scaled else ''}{candidate.scaled(points):,.3g}",
                f"{low:.3g} to {high:.3g}",
                f"{candidate.points:,}{', scaled' if scaled else ''}",
                str(len(candidate.seconds)),
                f"{candidate.scaled(points) / ours:,.1f}",
            ]
        )
    return harness.table(header, lines)


def main() -> None:
    """Check, time, print and save."""
    parser = harness.parser(__doc__, repeats=9, budget=60)
    parser.add_argument("--qubits", type=int, default=8, help="default 8")
    parser.add_argument("--points", type=int, default=1000, help="default 1000")
    parser.add_argument("--pairs", type=int, default=16, help="points of slow candidates: 16")
    options = parser.parse_args()
    n, points = options.qubits, options.points
    pairs = min(options.pairs, points)
    generator = np.random.default_rng(1)
    rows = generator.uniform(0, 2, (points, n))
    labels = generator.integers(0, 2, points)

    grams = gram_candidates(n, points, points, pairs)
    circuit = zz_feature_map(n, reps=REPS)
    states = np.array([Statevector(circuit.assign_parameters(x)).data for x in rows[:8]])
    check(grams, rows[:8], np.abs(states @ states.conj().T) ** 2)
    measure(grams, rows, options.repeats, options.budget)
    steps = step_candidates(n, points, labels)
    check(step_candidates(n, 8, np.arange(8) % 2), rows[:8], None)
    measure(steps, rows, max(3, options.repeats // 3), options.budget)

    environment = harness.environment(PACKAGES) | {"qiskit-torch-bridge": __version__}
    environment["threads"] = str(torch.get_num_threads())
    parts = [
        f"# Fidelity kernels of {points:,} points on {n} qubits",
        "## The Gram matrix of one set of points",
        table(grams, points),
        "All agreed with Qiskit's own states on 8 points before. 'about': timed with fewer points "
        "and scaled by the number of pairs. PennyLane's own function is `square_kernel_matrix`; "
        "'by hand' is what one would write instead. FidelityQuantumKernel draws 1,024 shots.",
        "## A step: centered alignment and its gradient with respect to weights",
        table(steps, points),
        ", ".join(f"{key} {value}" for key, value in environment.items()),
    ]
    text = "\n\n".join(parts)
    print(text)
    facts = {
        "workload": {"qubits": n, "points": points, "pairs": pairs},
        "gram": {c.label: {"points": c.points, "seconds": c.seconds} for c in grams},
        "step": {c.label: {"points": c.points, "seconds": c.seconds} for c in steps},
    }
    harness.save(NAME, text, facts | {"environment": environment}, options.output)


if __name__ == "__main__":
    main()
