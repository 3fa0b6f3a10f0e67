# SPDX-License-Identifier: Apache-2.0
"""The program: a circuit, what is measured, and the roles of its parameters, normalised once."""

from .amplitudes import AmplitudePreparation
from .analysis import AnalysedCircuit, AnalysisCache
from .angle_map import AngleMap, Pullback
from .measurements import Measurement, Variance
from .observables import normalise_observables
from .outcome_measurements import CVaR, Probabilities
from .program import CircuitProgram, as_program
from .state_measurements import Entropy, Fidelity, Purity, State

__all__ = [
    "AmplitudePreparation",
    "AnalysedCircuit",
    "AnalysisCache",
    "AngleMap",
    "CVaR",
    "CircuitProgram",
    "Entropy",
    "Fidelity",
    "Measurement",
    "Probabilities",
    "Pullback",
    "Purity",
    "State",
    "Variance",
    "as_program",
    "normalise_observables",
]
