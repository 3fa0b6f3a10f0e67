# SPDX-License-Identifier: Apache-2.0
"""The observables of a PUB, read once and remembered by their content."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.quantum_info import Pauli, PauliList, SparsePauliOp

from ..arguments import shown
from ..arrays import IntArray
from ..exceptions import ObservableError
from ..lru_cache import LRUCache
from ..program.observables import elements_of, flatten_nested, to_hermitian
from ..program.operators import Observable, ProductOperator

KEPT_TERMS = 1 << 20
"""The most terms of all observables that are remembered, together."""


@dataclass(frozen=True, eq=False)
class ObservableSet:
    """The different observables of an array, and where in it each of them stands.

    A set is equal to itself only, so that it can be a key at no cost.

    Attributes:
        operators: The ``U`` different ones.
        index: Which of them is at each place of the array.
        num_qubits: On how many qubits they are; ``None`` if there are none.
    """

    operators: tuple[Observable, ...]
    index: IntArray
    num_qubits: int | None


class ObservableSets:
    """Reads observables in any form that Qiskit takes; equal contents give the same set."""

    def __init__(self) -> None:
        self._recent: LRUCache[ObservableSet] = LRUCache(64, KEPT_TERMS)

    def __call__(self, observables: Any) -> ObservableSet:
        """Return the set, or raise :class:`ObservableError`."""
        key = _content_key(observables)
        if key is not None:
            return self._recent(key, lambda: _read_all(observables), _weigh)
        found = _read_all(observables)
        key = (found.index.shape, found.index.tobytes(), *map(_content_key, found.operators))
        return self._recent(key, lambda: found, _weigh)


def _weigh(found: ObservableSet) -> int:
    return sum(map(len, found.operators)) + 1


def _read_all(observables: Any) -> ObservableSet:
    """Read observables without Qiskit's conversion, which drops coefficients up to 1e-8."""
    operators: dict[Hashable, Observable] = {}
    places: dict[Hashable, int] = {}
    of_objects: dict[int, int] = {}
    if isinstance(observables, ObservablesArray):
        shape = observables.shape
        flat = elements_of(observables)
    else:
        flat, shape = flatten_nested(observables)
    for observable in flat:
        if id(observable) not in of_objects:
            operator = _read_operator(observable)
            key = _content_key(operator)
            operators.setdefault(key, operator)
            of_objects[id(observable)] = places.setdefault(key, len(places))
    widths = {operator.num_qubits for operator in operators.values()}
    if len(widths) > 1:
        raise ObservableError(f"Expected Hermitian observables of one width; got {sorted(widths)}.")
    index = np.array([of_objects[id(o)] for o in flat], dtype=np.int64).reshape(shape)
    return ObservableSet(tuple(operators.values()), index, widths.pop() if widths else None)


def _read_operator(observable: Any) -> Observable:
    try:
        return to_hermitian(observable)
    except ObservableError as error:
        raise ObservableError(
            "Expected Hermitian observables of one width, as SparsePauliOp, Pauli, label, mapping "
            f"of labels to real coefficients, or nested lists of these; got {shown(observable)}: "
            f"{error}"
        ) from error


def _content_key(observables: object) -> Hashable:
    """Return what tells contents apart, or ``None`` for a form without a quick answer."""
    match observables:
        case str():
            return observables
        case list():
            keys = tuple(map(_content_key, observables))
            return None if None in keys else keys
        case SparsePauliOp() if observables.coeffs.dtype != object:
            return (*_key_of_paulis(observables.paulis), observables.coeffs.tobytes())
        case ProductOperator(letters=letters, coeffs=coeffs):
            return "products", letters.shape, letters.tobytes(), coeffs.tobytes()
        case Pauli():
            return "Pauli", observables.to_label()
        case PauliList():
            return "PauliList", *_key_of_paulis(observables)
        case ObservablesArray() if hasattr(observables, "sparse_observables_array"):
            terms = observables.sparse_observables_array().ravel()
            return observables.shape, *map(_key_of_terms, terms)
        case ObservablesArray():
            return observables.shape, *(frozenset(o.items()) for o in elements_of(observables))
    return None


def _key_of_terms(observable: Any) -> tuple[Hashable, ...]:
    parts = observable.coeffs, observable.bit_terms, observable.indices, observable.boundaries
    return observable.num_qubits, *(np.asarray(part).tobytes() for part in parts)


def _key_of_paulis(paulis: PauliList) -> tuple[Hashable, ...]:
    return paulis.x.shape, paulis.x.tobytes(), paulis.z.tobytes(), paulis.phase.tobytes()
