# SPDX-License-Identifier: Apache-2.0
"""The backends that demonstrations run on by name."""

from __future__ import annotations

import argparse
from typing import Any

from qiskit.circuit import QuantumCircuit
from qiskit.providers import BackendV2

from ..backends import OnBackend, prepare
from ..primitives import BatchedStatevectorEstimator
from ..program import CircuitProgram
from .common import DemoError, MeteredEstimator, require


def add_backend_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--backend``."""
    parser.add_argument(
        "--backend",
        metavar="NAME",
        help="'aer', 'generic' (a made-up noisy device of 5 qubits) or a fake device of IBM "
        "Quantum such as 'fake_sherbrooke' (default: sampled shots of an exact simulation)",
    )


def backend_named(name: str, num_qubits: int) -> BackendV2:
    """Return a backend by the name that ``--backend`` takes."""
    if name == "aer":
        (aer,) = require("qiskit_aer")
        backend: BackendV2 = aer.AerSimulator()
        return backend
    if name == "generic":
        (providers,) = require("qiskit.providers.fake_provider")
        backend = providers.GenericBackendV2(max(5, num_qubits), seed=1)
        return backend
    if name.startswith("fake_"):
        (providers,) = require("qiskit_ibm_runtime.fake_provider")
        try:
            backend = providers.FakeProviderForBackendV2().backend(name)
            return backend
        except Exception as error:
            raise DemoError(
                f"qiskit-ibm-runtime has no fake device {name!r}. For example: fake_sherbrooke, "
                "fake_torino, fake_manila."
            ) from error
    raise DemoError(
        f"Expected --backend to be 'aer', 'generic' or the name of a fake device such as "
        f"'fake_sherbrooke'; got {name!r}. For a real device see the tutorial 'Run on hardware'."
    )


def measured_on(
    name: str | None, circuit: QuantumCircuit, observables: Any, seed: int
) -> tuple[QuantumCircuit, Any, MeteredEstimator]:
    """Return a circuit and observables as a backend takes them, and a counting estimator for it."""
    if name is None:
        estimator = BatchedStatevectorEstimator(seed=seed)
        return circuit, observables, MeteredEstimator(estimator)
    backend = backend_named(name, circuit.num_qubits)
    here = OnBackend(backend, seed_transpiler=seed)
    prepared = prepare(CircuitProgram(circuit, observables), here, seed=seed)
    program = prepared.program
    return program.circuit, list(program.observables), MeteredEstimator(prepared.estimator)
