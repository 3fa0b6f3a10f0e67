# SPDX-License-Identifier: Apache-2.0
"""The program: a circuit, its observables and the roles of its parameters, normalised once."""

from .analysis import AnalysedCircuit, AnalysisCache
from .angle_map import AngleMap, Pullback
from .observables import normalise_observables
from .program import CircuitProgram

__all__ = [
    "AnalysedCircuit",
    "AnalysisCache",
    "AngleMap",
    "CircuitProgram",
    "Pullback",
    "normalise_observables",
]
