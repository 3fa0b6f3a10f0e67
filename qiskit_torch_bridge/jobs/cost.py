# SPDX-License-Identifier: Apache-2.0
"""What a step will cost, worked out without running anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from qiskit.circuit import QuantumCircuit
from qiskit.primitives import BaseEstimatorV2
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.providers import BackendV2
from qiskit.transpiler import Target

from ..primitives.cutting import measure_input
from ..primitives.submission import usage_of_request
from ..primitives.usage import Usage

REPETITION_DELAY = 250e-6
"""Seconds between two shots, to reset the qubits: the default of IBM's devices."""


@dataclass(frozen=True)
class Cost:
    """The price of a step.

    Attributes:
        usage: Jobs, PUBs, points, circuits and shots: what a :class:`.Tracker` will count.
        bytes: Estimated input of all jobs.
        seconds: Estimated seconds on the device: shots times the duration of the circuit and the
            delay between shots; ``None`` where no device with known durations is named. Overheads
            of jobs and of mitigation are not in it.
    """

    usage: Usage
    bytes: int
    seconds: float | None


class Planned(NamedTuple):
    """A request that a step will make."""

    estimator: BaseEstimatorV2
    pub: Any
    precision: float | None


def cost_of(
    requests: Sequence[Planned], isa_circuit: QuantumCircuit | None, backend: BackendV2 | None
) -> Cost:
    """Return what requests will cost."""
    # Made once: Qiskit writes a label for every term whenever it makes one.
    requests = [p._replace(pub=EstimatorPub.coerce(p.pub, p.precision)) for p in requests]
    usage = usage_of_requests(requests)
    size = sum(sum(measure_input(p.estimator, p.pub)) for p in requests)
    seconds = None
    if backend is not None and isa_circuit is not None:
        duration = duration_of(isa_circuit, backend.target)
        seconds = None if duration is None else usage.shots * (duration + REPETITION_DELAY)
    return Cost(usage, round(size), seconds)


def usage_of_requests(requests: Sequence[Planned]) -> Usage:
    """Return what requests will amount to, as a :class:`.Tracker` counts it."""
    usages = (usage_of_request(p.estimator, [p.pub], p.precision) for p in requests)
    return sum(usages, Usage())


def duration_of(circuit: QuantumCircuit, target: Target) -> float | None:
    """Return the seconds that a transpiled circuit and its measurement take, if they are known."""
    measured = circuit.copy()
    if "measure" in target.operation_names:
        measured.measure_all()
    try:
        return float(measured.estimate_duration(target, unit="s"))
    except Exception:  # instructions without durations: each release has an error of its own
        return None
