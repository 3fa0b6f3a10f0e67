# SPDX-License-Identifier: Apache-2.0
r"""How far apart a circuit's states are: overlaps, and the metric they induce on its parameters.

The Fubini-Study metric is the real part of the quantum geometric tensor (J. P. Provost & G. Vallee,
Communications in Mathematical Physics 76, 289 (1980)),

.. math:: G_{ij} = \mathrm{Re}\left(\langle\partial_i\psi|\partial_j\psi\rangle
    - \langle\partial_i\psi|\psi\rangle\langle\psi|\partial_j\psi\rangle\right),

so that :math:`|\langle\psi(\theta)|\psi(\theta + d)\rangle|^2 = 1 - d^T G\, d + O(d^3)`; it is a
quarter of the quantum Fisher information.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...arrays import FloatArray
from ...program import AnalysedCircuit
from .simulator import StatevectorSimulator

_NO_WEIGHTS = np.zeros((1, 0))


class StateGeometry:
    """Metric and fidelities of the states that a circuit prepares, by exact simulation.

    Args:
        analysed: The circuit.

    Raises:
        CircuitError: If the circuit cannot be simulated exactly.

    Cost:
        For ``C`` parameters one sweep over ``C`` pairs of vectors, and a product of matrices
        ``(C, 2**n)``; memory for these.
    """

    def __init__(self, analysed: AnalysedCircuit) -> None:
        columns = range(analysed.num_parameters)
        self._simulator = StatevectorSimulator(analysed, None, columns, ())

    def metric(self, values: FloatArray, columns: Sequence[int]) -> FloatArray:
        """Return the Fubini-Study metric ``(C, C)`` at ``values`` ``(P,)`` for some parameters."""
        row = np.ascontiguousarray(values, dtype=float)[None]
        if not len(columns):
            self._simulator.analysed.check(row)
            return np.zeros((0, 0))
        directions = np.zeros((len(columns), row.shape[1]))
        directions[np.arange(len(columns)), list(columns)] = 1
        states, tangents = self._simulator.tangent_states(
            np.repeat(row, len(columns), axis=0), _NO_WEIGHTS, directions, _NO_WEIGHTS
        )
        along = tangents @ states[0].conj()  # what is a change of phase only
        products = tangents.conj() @ tangents.T - np.outer(along.conj(), along)
        metric: FloatArray = np.real(products)
        return (metric + metric.T) / 2

    def fidelities(self, values: FloatArray, others: FloatArray) -> FloatArray:
        """Return the fidelities ``(K,)`` of the state at ``values`` ``(P,)`` with ``(K, P)``."""
        points = np.vstack([np.asarray(values, dtype=float)[None], others])
        states = self._simulator.states(points, _NO_WEIGHTS)
        overlaps = states[1:] @ states[0].conj()
        return np.asarray(np.abs(overlaps) ** 2, dtype=float)
