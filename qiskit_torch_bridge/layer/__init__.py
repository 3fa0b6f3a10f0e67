# SPDX-License-Identifier: Apache-2.0
"""A layer in one line: data in, a circuit of Qiskit's library with trainable angles, values out."""

from .quantum_layer import QuantumLayer

__all__ = ["QuantumLayer"]
