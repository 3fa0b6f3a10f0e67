# SPDX-License-Identifier: Apache-2.0
"""Engines: what evaluates a program and its derivatives, on NumPy arrays."""

from .exact import method_of, simulation_of
from .interface import Engine, Gradients, Values
from .make import Place, make_engine

__all__ = ["Engine", "Gradients", "Place", "Values", "make_engine", "method_of", "simulation_of"]
