# SPDX-License-Identifier: Apache-2.0
"""One PUB of many points and observables on estimators in this process.

The points are those of a parameter-shift gradient: each of the circuit's rotations shifted by plus
and minus a quarter turn, for each row of a batch: 640 points and 4 observables with 4 qubits, 2
layers and 16 rows. Exact estimators and those that draw 1,024 shots are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import adjoint_reference
import harness
import numpy as np
from numpy.typing import NDArray
from peers.qiskit_form import circuit_of, observables_of
from qiskit.primitives import BackendEstimatorV2, BaseEstimatorV2, StatevectorEstimator
from qiskit_aer import AerSimulator
from qiskit_aer.primitives import EstimatorV2
from workloads import Workload, build

from qiskit_torch_bridge import __version__
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator

NAME = "primitive"
SHOTS = 1024
PRECISION = SHOTS**-0.5
PACKAGES = ("numpy", "numba", "qiskit", "qiskit-aer")
Values = NDArray[np.float64]  # (O, points)


def exact_estimators() -> dict[str, BaseEstimatorV2]:
    """Return estimators without noise, the first being Qiskit's own."""
    return {
        "StatevectorEstimator": StatevectorEstimator(),
        "Aer EstimatorV2": EstimatorV2(),
        "BatchedStatevectorEstimator": BatchedStatevectorEstimator(),
    }


def sampling_estimators() -> dict[str, BaseEstimatorV2]:
    """Return estimators that draw shots, the first being Qiskit's own on Aer."""
    return {
        "BackendEstimatorV2 on AerSimulator": BackendEstimatorV2(
            backend=AerSimulator(),
            options={"default_precision": PRECISION, "seed_simulator": 1},
        ),
        "BatchedStatevectorEstimator": BatchedStatevectorEstimator(
            default_precision=PRECISION, seed=1
        ),
    }


def shift_points(work: Workload) -> Values:
    """Return the points of a parameter-shift gradient, ``(points, I + W)``."""
    size = work.values.shape[1]
    shifts = np.pi / 2 * np.vstack([np.eye(size), -np.eye(size)])
    return (work.values + shifts[:, None]).reshape(-1, size)


def run(estimator: BaseEstimatorV2, work: Workload, points: Values) -> Callable[[], Values]:
    """Return what is timed: one run of one PUB."""
    circuit, inputs, weights = circuit_of(work)
    observables = [[observable] for observable in observables_of(work)]
    pub = (circuit, observables, {(*inputs, *weights): points})
    return lambda: estimator.run([pub]).result()[0].data.evs


def check(runs: Mapping[str, Callable[[], Values]], expected: Values, bound: float) -> float:
    """Return the largest deviation from the reference; stop if one is above ``bound``."""
    largest = 0.0
    for name, call in runs.items():
        deviation = float(np.abs(call() - expected).max())
        if not deviation <= bound:
            raise SystemExit(f"{name} deviates by {deviation:.2g}.")
        largest = max(largest, deviation)
    return largest


def main() -> None:
    """Check, time, print and save."""
    parser = harness.parser(__doc__, repeats=15, budget=60)
    parser.add_argument("--qubits", type=int, default=4, help="default 4")
    parser.add_argument("--layers", type=int, default=2, help="default 2")
    parser.add_argument("--batch", type=int, default=16, help="default 16")
    options = parser.parse_args()
    size = {"qubits": options.qubits, "layers": options.layers, "batch": options.batch}
    work = build({"kind": "layered", **size})
    points = shift_points(work)
    expected = np.array([adjoint_reference.expectations(work, values) for values in points]).T

    header = ("estimator", "median (ms)", "quartiles (ms)", "repeats", "times faster")
    parts = [f"# One PUB of {len(points)} points x {len(work.observables)} observables"]
    facts = {"workload": size}
    # Two means in a billion are off by more than six standard errors.
    for title, estimators, bound in (
        ("Exact", exact_estimators(), 1e-9),
        (f"{SHOTS:,} shots", sampling_estimators(), 6 * PRECISION),
    ):
        runs = {name: run(estimator, work, points) for name, estimator in estimators.items()}
        deviation = check(runs, expected, bound)
        timings = harness.time_interleaved(runs, options.repeats, options.budget)
        first = timings[0].name
        parts += [
            f"## {title}",
            harness.table(header, harness.timing_rows(timings, first)),
            f"'times faster': than {first}. The largest deviation from exact values is "
            f"{deviation:.1e}.",
        ]
        facts[title] = {t.name: t.seconds for t in timings}
    environment = harness.environment(PACKAGES) | {"qiskit-torch-bridge": __version__}
    parts.append(", ".join(f"{key} {value}" for key, value in environment.items()))
    text = "\n\n".join(parts)
    print(text)
    harness.save(NAME, text, facts | {"environment": environment}, options.output)


if __name__ == "__main__":
    main()
