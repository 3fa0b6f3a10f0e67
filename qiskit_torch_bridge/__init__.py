# SPDX-License-Identifier: Apache-2.0
"""Parameterized quantum circuits as PyTorch modules, on any Qiskit V2 estimator."""

from importlib.metadata import PackageNotFoundError, version

from .backends import OnBackend
from .checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from .encoding import AmplitudeEncoding, amplitude_encoding
from .execution import Exact, Execution, Shots
from .functional import expectation
from .jobs import Jobs
from .layer import QuantumLayer
from .module import TorchQuantumModule
from .primitives import Tracker
from .program import (
    AmplitudePreparation,
    AnalysedCircuit,
    CircuitProgram,
    CVaR,
    Entropy,
    Fidelity,
    Probabilities,
    Purity,
    State,
    Variance,
)
from .samples import Samples

try:
    __version__ = version("qiskit-torch-bridge")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0.1.0"

__all__ = [
    "AmplitudeEncoding",
    "AmplitudePreparation",
    "AnalysedCircuit",
    "CVaR",
    "Checkpoint",
    "CircuitProgram",
    "Entropy",
    "Exact",
    "Execution",
    "Fidelity",
    "Jobs",
    "OnBackend",
    "Probabilities",
    "Purity",
    "QuantumLayer",
    "Samples",
    "Shots",
    "State",
    "TorchQuantumModule",
    "Tracker",
    "Variance",
    "__version__",
    "amplitude_encoding",
    "expectation",
    "load_checkpoint",
    "save_checkpoint",
]
