# SPDX-License-Identifier: Apache-2.0
"""Counting what runs: jobs, PUBs, points, circuits, shots."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import Any

from ..arguments import require_whole_number
from ..exceptions import InputError
from .capabilities import innermost
from .families import Effort, Primitive, family_of


@dataclass(frozen=True)
class Usage:
    """What requests ask of a primitive.

    Attributes:
        jobs: Calls of ``run``.
        pubs: PUBs in them.
        points: Points: bindings of a circuit's parameters.
        circuits: Circuits to execute: of a sampler one for each point; of an estimator a point once
            for each group of observables that are measured together, and zero where expectation
            values are computed without measuring.
        shots: Executions of circuits in total; zero likewise.

    Raises:
        InputError: If one of them is no whole number, or negative.
    """

    jobs: int = 0
    pubs: int = 0
    points: int = 0
    circuits: int = 0
    shots: int = 0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            number = require_whole_number(
                value, f"{name} of a Usage", hint=" In a budget, 0 is no limit."
            )
            object.__setattr__(self, name, number)  # also if it was one of NumPy's

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __mul__(self, times: int) -> Usage:
        times = require_whole_number(times, "times")
        return Usage(*(times * a for a in astuple(self)))

    __rmul__ = __mul__

    def __sub__(self, other: Usage) -> Usage:
        return Usage(*(a - b for a, b in zip(astuple(self), astuple(other), strict=True)))


def count_usage(primitive: Primitive, pubs: Iterable[Any], effort: Effort) -> Usage:
    """Return what one ``run`` call of an estimator or a sampler amounts to.

    Args:
        primitive: Which runs them.
        pubs: The PUBs.
        effort: The precision or the shots of those that have none of their own.
    """
    worker = innermost(primitive)
    if hasattr(worker, "usage"):  # it makes jobs of its own
        if family_of(worker) is not family_of(primitive):
            pubs, effort = primitive.sampler_pubs(pubs, effort), None
        own: Usage = worker.usage(pubs, effort)
        return own
    family = family_of(primitive)
    total = Usage(jobs=1)
    for pub in pubs:
        coerced = family.pub_class.coerce(pub, effort)
        points = math.prod(coerced.parameter_values.shape)
        shots = family.count_shots(primitive, family.effort_of(coerced))
        circuits = family.count_circuits(coerced, primitive) if shots else 0
        total += Usage(0, 1, points, circuits, circuits * shots)
    return total


class Tracker:
    """Counts what really runs while it is open, in all threads.

    Attributes:
        usage: The :class:`Usage` so far.

    The exact engine runs no jobs and counts nothing. Estimators and samplers of another package's
    gradients are counted where that package calls those of a module.

    Example:
        >>> import torch
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit_torch_bridge import Tracker, TorchQuantumModule
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.ry(Parameter("theta"), 0)
        >>> module = TorchQuantumModule(circuit, shots=100, seed=0)
        >>> with Tracker() as tracker:
        ...     module().sum().backward()
        >>> tracker.usage  # one value, then two shifted ones
        Usage(jobs=2, pubs=2, points=3, circuits=3, shots=300)
    """

    def __init__(self) -> None:
        self.usage = Usage()
        self._lock = threading.Lock()

    def add(self, usage: Usage) -> None:
        """Add to the count."""
        with self._lock:
            self.usage += usage

    def __enter__(self) -> Tracker:
        with _LOCK:
            if self in _OPEN:
                raise InputError("Expected a tracker that is not open; this one counts already.")
            _OPEN.append(self)
        return self

    def __exit__(self, *_: Any) -> None:
        with _LOCK:
            if self not in _OPEN:
                raise InputError(
                    "Expected a tracker that is open; this one is not. Use it as `with Tracker() "
                    "as tracker:`, which opens and closes it once."
                )
            _OPEN.remove(self)


_LOCK = threading.Lock()
_OPEN: list[Tracker] = []


def record_job(primitive: Primitive, pubs: Iterable[Any], effort: Effort) -> None:
    """Tell all open trackers that a job was submitted, unless the primitive tells them itself."""
    if _OPEN and not counts_itself(primitive):  # else nothing is worth computing
        record_usage(count_usage(primitive, pubs, effort))


def counts_itself(primitive: Primitive) -> bool:
    """Whether a primitive tells the trackers of each of its jobs by itself."""
    return bool(getattr(innermost(primitive), "counts_itself", False))


def record_usage(usage: Usage) -> None:
    """Tell all open trackers what a job that was submitted amounts to."""
    for tracker in list(_OPEN):
        tracker.add(usage)
