# SPDX-License-Identifier: Apache-2.0
"""The observables of a PUB, read once however often the same ones are given."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.quantum_info import Pauli, PauliList, SparsePauliOp

from ..arrays import IntArray
from ..exceptions import ObservableError
from ..program.observables import from_terms
from ..recent import Recent

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

    operators: tuple[SparsePauliOp, ...]
    index: IntArray
    num_qubits: int | None

    @property
    def num_terms(self) -> int:
        """The number of terms of all operators."""
        return sum(len(operator) for operator in self.operators)


class ObservableSets:
    """Reads observables in any form that Qiskit takes; equal contents give the same set."""

    def __init__(self) -> None:
        self._recent: Recent[ObservableSet] = Recent(64, KEPT_TERMS)

    def __call__(self, observables: Any) -> ObservableSet:
        """Return the set, or raise :class:`ObservableError`."""
        key = _key(observables)
        if key is None:
            observables = _coerced(observables)
            key = _key(observables)
        return self._recent(
            key, lambda: _read(_coerced(observables)), lambda found: found.num_terms + 1
        )


def _coerced(observables: Any) -> ObservablesArray:
    try:
        return ObservablesArray.coerce(observables)
    except Exception as error:
        raise ObservableError(
            "Expected Hermitian observables of one width, as SparsePauliOp, Pauli, label, mapping "
            f"of labels to real coefficients, or nested lists of these; got {observables!r}: "
            f"{error}"
        ) from error


def _read(array: ObservablesArray) -> ObservableSet:
    index = np.empty(array.shape, dtype=np.int64)
    places: dict[Hashable, int] = {}
    operators: list[SparsePauliOp] = []
    for at in np.ndindex(*array.shape):
        terms = array[at]
        key = frozenset(terms.items())
        if key not in places:
            places[key] = len(operators)
            operators.append(_operator(terms))
        index[at] = places[key]
    return ObservableSet(tuple(operators), index, operators[0].num_qubits if operators else None)


def _operator(terms: Mapping[str, Any]) -> SparsePauliOp:
    """Return the sum of terms, projectors such as ``"0"`` and ``"+"`` written as Paulis."""
    try:
        coefficients = np.array([complex(c).real for c in terms.values()])
    except TypeError as error:  # Qiskit 1.4 lets parameters pass
        raise ObservableError(
            f"Expected Hermitian observables with numbers as coefficients; got {dict(terms)!r}. "
            "Give terms with a parameter as observables of their own and weigh their values."
        ) from error
    if not np.isfinite(coefficients).all():
        raise ObservableError(
            f"Expected observables with finite coefficients; got {dict(terms)!r}."
        )
    if all(set(label) <= set("IXYZ") for label in terms):
        return SparsePauliOp(list(terms), coefficients)
    return from_terms(terms).simplify()


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
    if not hasattr(array, "sparse_observables_array"):  # Qiskit before 2.1 keeps mappings
        return array.shape, *(frozenset(array[at].items()) for at in np.ndindex(*array.shape))
    parts = (
        (o.num_qubits, *(np.asarray(part).tobytes() for part in _raw_parts(o)))
        for o in array.sparse_observables_array().ravel()
    )
    return array.shape, *parts


def _raw_parts(observable: Any) -> tuple[Any, ...]:
    return observable.coeffs, observable.bit_terms, observable.indices, observable.boundaries
