# SPDX-License-Identifier: Apache-2.0
"""How much memory estimators in this process take, and requests in calls that fit into it.

Qiskit's and Aer's local estimators make a circuit of its own for each point and, where they
measure, for each group of observables: a large batch of shift points takes gigabytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.primitives import BaseEstimatorV2
from qiskit.primitives.containers.estimator_pub import EstimatorPub

from ..arrays import FloatArray
from .capabilities import binds_here, measures, repeats_noise
from .parts import Part, cut
from .precision import default_precision
from .usage import count_groups_in

MOST = 1e9
"""Bytes that the circuits of one call may take."""
OF_A_CIRCUIT, OF_A_GATE = 20e3, 1.5e3
"""Bytes of a bound circuit, and of each gate in it; measured, at the upper end."""


def memory_of(estimator: BaseEstimatorV2, pub: EstimatorPub) -> float:
    """Return about how many bytes the circuits take that an estimator makes for a PUB."""
    if not binds_here(estimator):
        return 0.0
    points = _bytes_of_points(pub.circuit, math.prod(pub.parameter_values.shape))
    return points * count_groups_in(pub.observables) if measures(estimator) else points


def calls_of(
    estimator: BaseEstimatorV2, pubs: Sequence[Any], precision: float | None
) -> list[list[Part]] | None:
    """Return the parts of PUBs in calls that fit into memory; ``None`` if one call does.

    Nothing is cut where a fixed seed would give all parts the same noise.

    Args:
        estimator: What runs them.
        pubs: As :func:`.points_pub` makes them, or Qiskit's own.
        precision: Requested in the call.
    """
    if not binds_here(estimator) or _surely_fits(pubs):
        return None
    coerced = [EstimatorPub.coerce(pub) for pub in pubs]
    sizes = [memory_of(estimator, pub) for pub in coerced]
    noisy = measures(estimator) or precision or default_precision(estimator)
    if sum(sizes) <= MOST or (noisy and repeats_noise(estimator)):
        return None
    calls: list[list[Part]] = [[]]
    taken = 0.0
    for position, (pub, size) in enumerate(zip(coerced, sizes, strict=True)):
        parts = cut(pub, position, math.ceil(size / MOST))
        for part in parts:
            if calls[-1] and taken + size / len(parts) > MOST:
                calls.append([])
                taken = 0.0
            calls[-1].append(part)
            taken += size / len(parts)
    return calls if len(calls) > 1 else None


def _surely_fits(pubs: Sequence[Any]) -> bool:
    """Whether PUBs fit whatever their observables are; known without looking at these."""
    total = 0.0
    for pub in pubs:
        if isinstance(pub, EstimatorPub):
            circuit, points = pub.circuit, math.prod(pub.parameter_values.shape)
        else:
            circuit, _, *values = pub
            points = _points_in(values[0]) if values else 1
        # No more groups than bases that the qubits can be measured in.
        total += _bytes_of_points(circuit, points) * 3.0 ** min(circuit.num_qubits, 600)
    return total <= MOST


def _points_in(values: Mapping[tuple[Parameter, ...], FloatArray]) -> int:
    return max((v.size // len(names) for names, v in values.items()), default=1)


def _bytes_of_points(circuit: QuantumCircuit, points: int) -> float:
    return points * (OF_A_CIRCUIT + OF_A_GATE * len(circuit.data))
