# SPDX-License-Identifier: Apache-2.0
"""Counting what runs: jobs, PUBs, points, circuits, shots."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from qiskit.primitives import BaseEstimatorV2
from qiskit.primitives.containers import EstimatorPubLike
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.observables_array import ObservablesArray

from ..arguments import require_whole_number
from ..exceptions import InputError
from ..lru_cache import LRUCacheByIdentity
from .capabilities import innermost, measures
from .grouping import find_basis, group_labels
from .precision import estimate_precision, precision_to_shots
from .pubs import split_into_blocks


@dataclass(frozen=True)
class Usage:
    """What requests ask of a primitive.

    Attributes:
        jobs: Calls of ``run``.
        pubs: PUBs in them.
        points: Points: bindings of a circuit's parameters.
        circuits: Circuits to execute: a point once for each group of observables that are measured
            together; zero where expectation values are computed without measuring.
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

    def __sub__(self, other: Usage) -> Usage:
        return Usage(*(a - b for a, b in zip(astuple(self), astuple(other), strict=True)))


def count_usage(
    estimator: BaseEstimatorV2, pubs: Iterable[EstimatorPubLike], precision: float | None
) -> Usage:
    """Return what one ``run`` call of an estimator amounts to."""
    if hasattr(estimator, "usage"):  # it makes jobs of its own
        own: Usage = estimator.usage(pubs, precision)
        return own
    total = Usage(jobs=1)
    for pub in pubs:
        coerced = EstimatorPub.coerce(pub, precision)
        points = math.prod(coerced.parameter_values.shape)
        shots = count_shots(estimator, coerced.precision)
        circuits = count_circuits(coerced, grouped=_measures_groups(estimator)) if shots else 0
        total += Usage(0, 1, points, circuits, circuits * shots)
    return total


def count_shots(estimator: BaseEstimatorV2, precision: float | None) -> int:
    """Return the shots per circuit; zero where values are computed without measuring."""
    if not measures(estimator):
        return 0
    inner = innermost(estimator)
    if precision is None:
        options = getattr(inner, "options", None)
        default_shots = getattr(options, "default_shots", None)
        if isinstance(default_shots, int):
            return default_shots
    return precision_to_shots(estimate_precision(inner, precision))


def _measures_groups(estimator: BaseEstimatorV2) -> bool:
    """Whether an estimator measures terms together that commute qubit by qubit."""
    options = getattr(innermost(estimator), "options", None)
    return getattr(options, "abelian_grouping", True) is not False


def count_circuits(pub: EstimatorPub, *, grouped: bool = True) -> int:
    """Return how many circuits a PUB's points amount to, with the observables asked for at each."""
    points, shape = pub.parameter_values.shape, pub.observables.shape
    apart = all(a == 1 or b == 1 for a, b in zip(points[::-1], shape[::-1], strict=False))
    if apart:  # all observables at every point
        count = count_groups_in if grouped else count_terms_in
        return math.prod(points) * count(pub.observables)
    observables = np.array([None] * pub.observables.size, dtype=object)
    observables[:] = _list_observables(pub.observables)
    index = np.arange(len(observables)).reshape(pub.observables.shape)
    blocks = split_into_blocks(pub.parameter_values.shape, index, len(observables))
    return sum(
        len(block.points) * count_groups(observables[block.observables], grouped=grouped)
        for block in blocks
    )


def count_groups(observables: Iterable[Mapping[str, Any]], *, grouped: bool = True) -> int:
    """Return how many measurements give some observables: a group of terms, or a term, for each."""
    labels = {find_basis(label) for observable in observables for label in observable}
    if not grouped:
        return len(labels)
    labels = {label for label in labels if label.strip("I")}
    return int(group_labels(list(labels)).max()) + 1 if labels else 1


def _list_observables(observables: ObservablesArray) -> list[Mapping[str, Any]]:
    listed: list[Mapping[str, Any]] = np.ravel(observables.tolist()).tolist()
    return listed


# Remembered, since every step asks for the same observables.
count_groups_in = LRUCacheByIdentity(lambda array: count_groups(_list_observables(array)))
count_terms_in = LRUCacheByIdentity(
    lambda array: count_groups(_list_observables(array), grouped=False)
)


class Tracker:
    """Counts what really runs while it is open, in all threads.

    Attributes:
        usage: The :class:`Usage` so far.

    The exact engine runs no jobs and counts nothing. Estimators of another package's gradients
    are counted where that package calls a module's estimator.

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


def record_job(
    estimator: BaseEstimatorV2, pubs: Iterable[EstimatorPubLike], precision: float | None
) -> None:
    """Tell all open trackers that a job was submitted."""
    if _OPEN:  # else nothing is worth computing
        record_usage(count_usage(estimator, pubs, precision))


def record_usage(usage: Usage) -> None:
    """Tell all open trackers what a job that was submitted amounts to."""
    for tracker in list(_OPEN):
        tracker.add(usage)
