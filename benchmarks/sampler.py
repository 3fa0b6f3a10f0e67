# SPDX-License-Identifier: Apache-2.0
"""One PUB of many points on samplers in this process, and algorithms of other packages on them.

The points are those of ``primitive.py``: 640 points of a circuit of 4 qubits and 2 layers, 1,024
shots each. Beside the samplers stands what NumPy takes to draw one random number for each shot.
The algorithms are run with Qiskit's ``StatevectorSampler`` and with the batched one, with nothing
else changed and the same number of evaluations.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import harness
import numpy as np
from numpy.typing import NDArray
from peers.qiskit_form import circuit_of
from primitive import Values, shift_points
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.circuit.library import n_local, zz_feature_map
from qiskit.primitives import BaseSamplerV2, StatevectorSampler
from qiskit.quantum_info import SparsePauliOp, Statevector
from qiskit_aer.primitives import SamplerV2
from qiskit_algorithms import QAOA, SamplingVQE
from qiskit_algorithms.optimizers import COBYLA
from qiskit_machine_learning.algorithms import VQC
from qiskit_machine_learning.gradients import ParamShiftSamplerGradient
from qiskit_machine_learning.kernels import FidelityQuantumKernel
from qiskit_machine_learning.neural_networks import SamplerQNN
from qiskit_machine_learning.optimizers import COBYLA as QMLCOBYLA
from qiskit_machine_learning.state_fidelities import ComputeUncompute
from qiskit_optimization.algorithms import MinimumEigenOptimizer
from qiskit_optimization.minimum_eigensolvers import QAOA as SolverQAOA
from qiskit_optimization.problems import QuadraticProgram
from workloads import Workload, build

from qiskit_torch_bridge import __version__
from qiskit_torch_bridge.primitives import BatchedStatevectorSampler

NAME = "sampler"
SHOTS = 1024
CHECKED = 16
"""Points at which outcomes are compared with exact probabilities."""
PACKAGES = (
    "numpy",
    "numba",
    "qiskit",
    "qiskit-aer",
    "qiskit-algorithms",
    "qiskit-machine-learning",
    "qiskit-optimization",
)


def samplers() -> dict[str, BaseSamplerV2]:
    """Return the samplers, the first being Qiskit's own."""
    return {
        "StatevectorSampler": StatevectorSampler(seed=1),
        "Aer SamplerV2": SamplerV2(seed=1),
        "BatchedStatevectorSampler": BatchedStatevectorSampler(seed=1),
    }


def run(sampler: BaseSamplerV2, work: Workload, points: Values) -> Callable[[], NDArray[np.uint8]]:
    """Return what is timed: one run of one PUB."""
    circuit, inputs, weights = circuit_of(work)
    circuit.measure_all()
    pub = (circuit, {(*inputs, *weights): points})

    def call() -> NDArray[np.uint8]:
        packed: NDArray[np.uint8] = sampler.run([pub], shots=SHOTS).result()[0].data.meas.array
        return packed

    return call


def check(
    runs: Mapping[str, Callable[[], NDArray[np.uint8]]], work: Workload, points: Values
) -> float:
    """Return the largest deviation of a frequency from its probability; stop if one is too large.

    Two frequencies in a billion are off by more than six standard errors.
    """
    circuit, inputs, weights = circuit_of(work)
    size, largest = 1 << work.qubits, 0.0
    for name, call in runs.items():
        outcomes = call()[:CHECKED, :, 0]
        for row, values in zip(outcomes, points, strict=False):
            bound = circuit.assign_parameters(dict(zip([*inputs, *weights], values, strict=True)))
            exact = Statevector(bound).probabilities()
            off = np.abs(np.bincount(row, minlength=size) / SHOTS - exact)
            if (off > 6 * np.sqrt(exact * (1 - exact) / SHOTS) + 1 / SHOTS).any():
                raise SystemExit(f"{name} deviates by {off.max():.2g}.")
            largest = max(largest, float(off.max()))
    return largest


# -- algorithms of other packages --------------------------------------------------------------


def algorithms() -> dict[str, Callable[[BaseSamplerV2], Callable[[], object]]]:
    """Return, for each algorithm, what makes it with a sampler."""
    ring = SparsePauliOp.from_sparse_list([("ZZ", [q, (q + 1) % 6], 1.0) for q in range(6)], 6)
    return {
        "qiskit-algorithms QAOA, 6 qubits, 20 evaluations": lambda sampler: (
            lambda: QAOA(
                sampler, COBYLA(20), reps=2, initial_point=[0.5] * 4
            ).compute_minimum_eigenvalue(ring)
        ),
        "qiskit-algorithms SamplingVQE, 6 qubits, 40 evaluations": lambda sampler: (
            lambda: SamplingVQE(
                sampler, n_local(6, "ry", "cx", reps=1), COBYLA(40), initial_point=[0.3] * 12
            ).compute_minimum_eigenvalue(ring)
        ),
        "SamplerQNN, forward and backward, 16 rows": network,
        "VQC, 20 evaluations of 12 rows": classifier,
        "FidelityQuantumKernel, 20 points": kernel,
        "MinimumEigenOptimizer with QAOA, 20 evaluations": solver,
    }


def network(sampler: BaseSamplerV2) -> Callable[[], object]:
    """Return a call of a network's values and gradients."""
    x, w = ParameterVector("x", 4), ParameterVector("w", 8)
    circuit = QuantumCircuit(4)
    for q in range(4):
        circuit.ry(x[q], q)
    circuit.compose(n_local(4, "ry", "cx", reps=1).assign_parameters(w), inplace=True)
    qnn = SamplerQNN(
        circuit=circuit,
        sampler=sampler,
        input_params=x,
        weight_params=w,
        interpret=lambda outcome: outcome.bit_count() % 2,
        output_shape=2,
        gradient=ParamShiftSamplerGradient(sampler),
    )
    rows, weights = np.linspace(-1, 1, 64).reshape(16, 4), np.linspace(-1, 1, 8)
    return lambda: (qnn.forward(rows, weights), qnn.backward(rows, weights))


def classifier(sampler: BaseSamplerV2) -> Callable[[], object]:
    """Return a call that trains a classifier."""
    labels = np.array([0, 1] * 6)
    points = np.where(labels[:, None], 0.8, -0.8) + np.linspace(-0.1, 0.1, 24).reshape(12, 2)
    return lambda: VQC(
        feature_map=zz_feature_map(2, reps=1),
        ansatz=n_local(2, "ry", "cx", reps=1),
        sampler=sampler,
        optimizer=QMLCOBYLA(20),
        initial_point=np.full(4, 0.1),
    ).fit(points, labels)


def kernel(sampler: BaseSamplerV2) -> Callable[[], object]:
    """Return a call of a kernel's matrix."""
    made = FidelityQuantumKernel(
        feature_map=zz_feature_map(4, reps=1), fidelity=ComputeUncompute(sampler)
    )
    points = np.linspace(-1, 1, 80).reshape(20, 4)
    return lambda: made.evaluate(points)


def solver(sampler: BaseSamplerV2) -> Callable[[], object]:
    """Return a call that solves a problem of six variables."""
    problem = QuadraticProgram()
    for k in range(6):
        problem.binary_var(f"b{k}")
    pairs = {(f"b{k}", f"b{(k + 1) % 6}"): 2 for k in range(6)}
    problem.minimize(linear=[-2] * 6, quadratic=pairs)
    qaoa = SolverQAOA(sampler, COBYLA(20), initial_point=[0.5, 0.5])
    return lambda: MinimumEigenOptimizer(qaoa).solve(problem)


def main() -> None:
    """Check, time, print and save."""
    # qiskit-optimization warns of every sampler but one; others build what Qiskit has deprecated.
    warnings.simplefilter("ignore")
    parser = harness.parser(__doc__, repeats=15, budget=60)
    parser.add_argument("--qubits", type=int, default=4, help="default 4")
    parser.add_argument("--layers", type=int, default=2, help="default 2")
    parser.add_argument("--batch", type=int, default=16, help="default 16")
    options = parser.parse_args()
    size = {"qubits": options.qubits, "layers": options.layers, "batch": options.batch}
    work = build({"kind": "layered", **size})
    points = shift_points(work)

    runs: dict[str, Callable[[], Any]] = {
        name: run(sampler, work, points) for name, sampler in samplers().items()
    }
    deviation = check(runs, work, points)
    generator = np.random.default_rng(1)
    runs["a random number for each shot"] = lambda: generator.random((len(points), SHOTS))
    timings = harness.time_interleaved(runs, options.repeats, options.budget)
    header = ("sampler", "median (ms)", "quartiles (ms)", "repeats", "times faster")
    ours, aer = timings[2].median, timings[1].median
    parts = [
        f"# One PUB of {len(points)} points, {SHOTS:,} shots each",
        harness.table(header, harness.timing_rows(timings, timings[0].name)),
        f"'times faster': than {timings[0].name}. BatchedStatevectorSampler is {aer / ours:,.1f} "
        f"times as fast as Aer SamplerV2, and takes {ours / timings[3].median:,.1f} times as long "
        f"as its random numbers alone. The largest deviation of a frequency from its probability "
        f"at {CHECKED} points is {deviation:.1e}.",
        "# Algorithms of other packages, nothing but the sampler changed",
    ]
    facts: dict[str, Any] = {"workload": size, "PUB": {t.name: t.seconds for t in timings}}
    rows, facts["algorithms"] = [], {}
    for name, make in algorithms().items():
        calls = {
            kind.__name__: make(kind(seed=1))
            for kind in (StatevectorSampler, BatchedStatevectorSampler)
        }
        first, second = harness.time_interleaved(calls, 3, options.budget)
        rows.append(
            [
                name,
                f"{1e3 * first.median:,.0f}",
                f"{1e3 * second.median:,.0f}",
                f"{first.median / second.median:,.1f}",
            ]
        )
        facts["algorithms"][name] = {t.name: t.seconds for t in (first, second)}
    header = ("algorithm", "StatevectorSampler (ms)", "batched (ms)", "times faster")
    parts.append(harness.table(header, rows))
    environment = harness.environment(PACKAGES) | {"qiskit-torch-bridge": __version__}
    parts.append(", ".join(f"{key} {value}" for key, value in environment.items()))
    text = "\n\n".join(parts)
    print(text)
    harness.save(NAME, text, facts | {"environment": environment}, options.output)


if __name__ == "__main__":
    main()
