# SPDX-License-Identifier: Apache-2.0
"""The observables of a PUB, read once however often the same ones are given."""

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
"""Terms of all observables that are remembered."""


@dataclass(frozen=True, eq=False)
class ObservableSet:
    """The different observables of an array, and where in it they stand; equal to itself only.

    Attributes:
        operators: The ``U`` different ones.
        index: For each place of the array which of them is there.
        num_qubits: On how many qubits they are; ``None`` if there are none.
    """

    operators: tuple[Observable, ...]
    index: IntArray
    num_qubits: int | None

    @property
    def num_terms(self) -> int:
        """The number of terms of all operators."""
        return sum(len(operator) for operator in self.operators)


class ObservableSets:
    """Reads observables in any form that Qiskit takes; equal contents give the same set."""

    def __init__(self) -> None:
        self._recent: LRUCache[ObservableSet] = LRUCache(64, KEPT_TERMS)

    def __call__(self, observables: Any) -> ObservableSet:
        """Return the set, or raise :class:`ObservableError`."""
        key = _key(observables)
        if key is not None:
            return self._recent(key, lambda: _read(observables), _weight)
        found = _read(observables)
        key = (found.index.shape, found.index.tobytes(), *map(_key, found.operators))
        return self._recent(key, lambda: found, _weight)


def _weight(found: ObservableSet) -> int:
    return found.num_terms + 1


def _read(observables: Any) -> ObservableSet:
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
            operator = _operator(observable)
            key = _key(operator)
            operators.setdefault(key, operator)
            of_objects[id(observable)] = places.setdefault(key, len(places))
    widths = {operator.num_qubits for operator in operators.values()}
    if len(widths) > 1:
        raise ObservableError(f"Expected Hermitian observables of one width; got {sorted(widths)}.")
    index = np.array([of_objects[id(o)] for o in flat], dtype=np.int64).reshape(shape)
    return ObservableSet(tuple(operators.values()), index, widths.pop() if widths else None)


def _operator(observable: Any) -> Observable:
    try:
        return to_hermitian(observable)
    except ObservableError as error:
        raise ObservableError(
            "Expected Hermitian observables of one width, as SparsePauliOp, Pauli, label, mapping "
            f"of labels to real coefficients, or nested lists of these; got {shown(observable)}: "
            f"{error}"
        ) from error


def _key(observables: Any) -> Hashable:
    """Return what tells contents apart, or ``None`` for a form without a quick answer."""
    if isinstance(observables, str):
        return observables
    if isinstance(observables, list):
        keys = tuple(map(_key, observables))
        return None if None in keys else keys
    if isinstance(observables, SparsePauliOp):
        if observables.coeffs.dtype == object:
            return None
        return (*_key_of_paulis(observables.paulis), observables.coeffs.tobytes())
    if isinstance(observables, ProductOperator):
        shape, letters = observables.letters.shape, observables.letters.tobytes()
        return "products", shape, letters, observables.coeffs.tobytes()
    if isinstance(observables, Pauli):
        return "Pauli", observables.to_label()
    if isinstance(observables, PauliList):
        return "PauliList", *_key_of_paulis(observables)
    if isinstance(observables, ObservablesArray):
        return _key_of_array(observables)
    return None


def _key_of_paulis(paulis: PauliList) -> tuple[Hashable, ...]:
    return paulis.x.shape, paulis.x.tobytes(), paulis.z.tobytes(), paulis.phase.tobytes()


def _key_of_array(array: ObservablesArray) -> Hashable:
    if not hasattr(array, "sparse_observables_array"):
        return array.shape, *(frozenset(terms.items()) for terms in elements_of(array))
    parts = (
        (o.num_qubits, *(np.asarray(part).tobytes() for part in _raw_parts(o)))
        for o in array.sparse_observables_array().ravel()
    )
    return array.shape, *parts


def _raw_parts(observable: Any) -> tuple[Any, ...]:
    return observable.coeffs, observable.bit_terms, observable.indices, observable.boundaries
