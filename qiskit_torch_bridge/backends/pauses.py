# SPDX-License-Identifier: Apache-2.0
"""How much to ask of Aer at once.

Aer keeps Python's lock from the first circuit of a call to the last one: until then no other thread
runs, and Ctrl-C is not noticed. So it is given fewer circuits in a call. A single circuit cannot be
interrupted.
"""

from __future__ import annotations

import math
from typing import Any

from qiskit.circuit import QuantumCircuit
from qiskit.primitives import BackendEstimatorV2, BaseEstimatorV2
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.observables_array import ObservablesArray

from ..lru_cache import LRUCacheByIdentity
from ..primitives.kinds import is_of_aer
from ..primitives.parts import rows_of

CALL = 60_000_000
"""Amplitudes that one call may change: about half a second, beside which its own cost is little."""
CIRCUIT, SHOT, TRAJECTORY = 300_000, 200, 3
"""What a circuit costs, what a shot costs, and how many times as much an amplitude costs that is
changed on a trajectory, in amplitudes changed in the same time."""
SHOTS = 1024
"""Trajectories of a noisy circuit from which Aer's own estimator computes expectation values."""


def calls_for(estimator: BaseEstimatorV2, pub: EstimatorPub) -> int:
    """Return in how many calls to run a PUB; it depends on nothing but the request."""
    backend: Any = getattr(estimator, "_backend", None)
    rows = rows_of(pub)
    if rows is None or not is_of_aer(backend):
        return 1
    terms = _terms_in(pub.observables)
    circuits, shots = 1, SHOTS
    if isinstance(estimator, BackendEstimatorV2):  # at most one circuit for each term
        precision = pub.precision or estimator.options.default_precision
        circuits, shots = terms, math.ceil(1 / precision**2)
    states = 1 << _count_qubits(pub.circuit)
    if getattr(backend.options, "noise_model", None) is not None:
        # A trajectory for each shot, or a density matrix.
        states *= TRAJECTORY * shots if shots <= states else states
    work = (len(pub.circuit.data) + terms) * states + CIRCUIT
    if isinstance(estimator, BackendEstimatorV2):
        work += SHOT * shots
    points = math.prod(pub.parameter_values.shape)
    return min(rows, math.ceil(points * circuits * work / CALL))


def _count_qubits(circuit: QuantumCircuit) -> int:
    return len({qubit for instruction in circuit.data for qubit in instruction.qubits})


def _count_terms(observables: ObservablesArray) -> int:
    return len({label for o in observables.ravel().tolist() for label in o})


_terms_in = LRUCacheByIdentity(_count_terms)  # every step asks for the same ones
