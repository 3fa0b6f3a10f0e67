# SPDX-License-Identifier: Apache-2.0
"""How many circuits some observables amount to at the points where they are asked for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.observables_array import ObservablesArray

from ..lru_cache import LRUCacheByIdentity
from .grouping import find_basis, group_labels
from .pubs import split_into_blocks


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
