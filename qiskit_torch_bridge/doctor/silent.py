# SPDX-License-Identifier: Apache-2.0
"""Faults of dependencies that give wrong numbers without a word, looked for in what is installed.

Where one is found, the package's way around it is run as well: only if that fails, too, is the
finding a failure.
"""

from __future__ import annotations

import math
from importlib.metadata import version
from typing import Any

import numpy as np

from .findings import Finding

ROUNDING = 1e-9
ANGLES = (0.4, 2.0)


def expressions() -> Finding:
    """Qiskit 2.1.0 to 2.5.1 take x**2 + y**2 for (x + y)**2."""
    import qiskit
    from qiskit.circuit import Parameter

    name, here = "parameter expressions", f"Qiskit {qiskit.__version__}"
    x, y = Parameter("x"), Parameter("y")
    expression, point = x**2 + y**2, {x: 1.0, y: 2.0}
    value = float(expression.bind(point))
    square = (x - y) ** 2
    slope = float(_real(square.gradient(y), point))
    if abs(value - 5) > ROUNDING or abs(slope - 2) > ROUNDING:
        return Finding(
            name,
            "warn",
            f"{here} takes x**2 + y**2 at (1, 2) for {value:g}, the derivative of (x - y)**2 by y "
            f"for {slope:g}",
            "This version miscomputes some expressions. The exact engine and "
            "BatchedStatevectorEstimator compute them themselves, rightly; where an estimator has "
            "Qiskit bind them, modules refuse those that would be wrong. Whatever else binds them "
            "in Qiskit gets wrong angles.",
            'pip install "qiskit>=2.5.2"; or compute such expressions in torch.',
        )
    return Finding(name, "ok", f"{here} evaluates x**2 + y**2 correctly")


def _real(expression: Any, point: dict[Any, float]) -> float:
    if not hasattr(expression, "bind"):
        return float(expression)
    return float(expression.bind({p: point[p] for p in expression.parameters}))


def controlled_gates_on_aer() -> Finding:
    """Aer ignores angles of crx, cry, crz and cp that a PUB binds."""
    from qiskit.circuit import Parameter, QuantumCircuit
    from qiskit_aer.primitives import EstimatorV2

    from .. import TorchQuantumModule

    name, here = "controlled gates on Aer", f"qiskit-aer {version('qiskit-aer')}"
    ignored = []
    for gate, observable in (("crx", "ZI"), ("cp", "XI")):
        angle, other = Parameter("angle"), Parameter("other")
        circuit = QuantumCircuit(2)
        circuit.h([0, 1] if gate == "cp" else 0)
        circuit.rx(other, 1)  # without a parameter that Aer sees, it fails instead
        getattr(circuit, gate)(angle, 0, 1)
        right = [(1 + math.cos(a)) / 2 for a in ANGLES]
        bound = {(angle, other): np.array([[a, 0.0] for a in ANGLES])}
        evs = EstimatorV2().run([(circuit, observable, bound)]).result()[0].data.evs
        if not np.allclose(evs, right, rtol=0, atol=ROUNDING):
            ignored.append(gate)
        for value, expected in zip(ANGLES, right, strict=True):
            module = TorchQuantumModule(
                circuit,
                observable,
                estimator=EstimatorV2(),
                initial_weights={angle: value, other: 0.0},
            ).double()
            found = module().item()
            if abs(found - expected) > 1e-6:  # initial weights are in single precision
                return Finding(
                    name,
                    "fail",
                    f"{here} gives {found:.6f} for {gate}({value}) in a module; right is "
                    f"{expected:.6f}",
                    "Modules with controlled gates compute wrong numbers on Aer.",
                    "Use the exact engine (leave out estimator=), or another version of "
                    "qiskit-aer; and report this.",
                )
    if ignored:
        return Finding(
            name,
            "warn",
            f"{here} ignores angles bound through a PUB in {', '.join(ignored)}",
            "Modules are right: they decompose such gates before they reach Aer. PUBs that you "
            "give to Aer's EstimatorV2 yourself get the value at angle zero.",
            "In your own PUBs to Aer, use circuit.decompose() for parameterized controlled gates.",
        )
    return Finding(name, "ok", f"{here} binds angles of controlled gates correctly")


def integer_seeds() -> Finding:
    """Estimators with a whole number as a seed repeat their noise in every PUB and every run."""
    from qiskit.circuit import QuantumCircuit
    from qiskit.primitives import StatevectorEstimator
    from qiskit_aer.primitives import EstimatorV2

    circuit = QuantumCircuit(1)
    circuit.h(0)
    estimators = {
        "StatevectorEstimator(seed=3)": StatevectorEstimator(seed=3),
        "Aer's EstimatorV2 with seed_simulator=3": EstimatorV2(
            options={"run_options": {"seed_simulator": 3}}
        ),
    }
    repeated = []
    for name, estimator in estimators.items():
        runs = [estimator.run([(circuit, "Z")] * 2, precision=0.1).result() for _ in range(2)]
        noise = {float(pub.data.evs) for results in runs for pub in results}
        if len(noise) < 4:
            repeated.append(name)
    if repeated:
        return Finding(
            "seeds of estimators",
            "warn",
            f"the noise of PUBs and runs repeats itself with {' and '.join(repeated)}",
            "With such an estimator, every step of a training repeats the errors of the step "
            "before: they do not average out.",
            "Give modules shots= and seed= instead, or backend= and seed=; or "
            "StatevectorEstimator(seed=numpy.random.default_rng(3)).",
        )
    return Finding("seeds of estimators", "ok", "each PUB and each run gets noise of its own")


def precision_on_aer() -> Finding:
    """Aer's estimator adds Gaussian noise where others draw shots."""
    from qiskit.circuit import QuantumCircuit
    from qiskit_aer.primitives import EstimatorV2

    estimator = EstimatorV2(options={"run_options": {"seed_simulator": 3}})
    pub = (QuantumCircuit(1), "Z")
    value = float(estimator.run([pub], precision=0.1).result()[0].data.evs)
    if value != 1.0:  # all shots of an eigenstate agree
        return Finding(
            "shots on Aer",
            "ok",
            f"Aer's EstimatorV2 adds normal noise of the precision asked for ({value:.3f} for an "
            "eigenvalue of 1)",
            "Values may lie beyond the largest eigenvalue. For real shots use shots= without an "
            "estimator, or BackendEstimatorV2 on AerSimulator().",
        )
    return Finding("shots on Aer", "ok", "Aer's EstimatorV2 draws shots")


def evolution_gates() -> Finding:
    """An evolution by terms that do not commute means one thing simulated, another transpiled."""
    from qiskit.circuit import Parameter, QuantumCircuit
    from qiskit.circuit.library import PauliEvolutionGate
    from qiskit.quantum_info import Operator, SparsePauliOp, Statevector
    from qiskit_aer.primitives import EstimatorV2

    from .. import TorchQuantumModule

    name, operator, time = "evolution gates", SparsePauliOp(["XX", "ZI"], [1.0, 0.5]), 0.7
    gate = PauliEvolutionGate(operator, time=time)
    differ = not Operator(gate).equiv(Operator(gate.definition))
    t = Parameter("t")
    circuit = QuantumCircuit(2)
    circuit.append(PauliEvolutionGate(operator, time=t), [0, 1])
    module = TorchQuantumModule(circuit, "ZI", estimator=EstimatorV2(), initial_weights=[time])
    right = Statevector(gate.definition).expectation_value(SparsePauliOp("ZI")).real
    found = module.double()().item()
    if abs(found - right) > 1e-6:
        return Finding(
            name,
            "fail",
            f"a module gives {found:.6f} where the transpiled circuit gives {right:.6f}",
            "Circuits with PauliEvolutionGate train on other numbers than a device would give.",
            "Decompose the circuit before you make the module: circuit.decompose(); report this.",
        )
    if differ:
        return Finding(
            name,
            "ok",
            "Qiskit simulates the exact exponential, and transpiles its product formula",
            "Modules use the product formula everywhere, as a device does.",
        )
    return Finding(name, "ok", "simulated and transpiled alike")


CHECKS = (
    expressions, controlled_gates_on_aer, integer_seeds, precision_on_aer, evolution_gates,
)  # fmt: skip
