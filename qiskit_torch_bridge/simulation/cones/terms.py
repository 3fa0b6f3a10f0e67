# SPDX-License-Identifier: Apache-2.0
"""The terms of observables as Pauli strings of any width, in the frame of a tape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse
from qiskit.quantum_info import SparsePauliOp

from ...arrays import FloatArray, IntArray
from ...exceptions import CircuitError, ObservableError
from ...program.operators import Observable, as_paulis
from ..tape.compile_tape import Tape
from ..tape.paulis import PauliString, find_strings


class Terms(NamedTuple):
    """The different Pauli strings of ``O`` observables.

    Attributes:
        strings: ``T`` of them without their signs, none of them the identity.
        coefficients: What each one contributes to each observable, ``(T, O)``.
        constants: What the identity does, ``(O,)``.
        of_term: Which string each term of all observables in a row is, ``(K,)``; -1 for none. Of a
            product with projectors it is one of its strings.
        first: For each string an observable that has it.
    """

    strings: list[PauliString]
    coefficients: scipy.sparse.csr_array
    constants: FloatArray
    of_term: IntArray
    first: list[int]


def collect_terms(operators: Sequence[Observable], tape: Tape) -> Terms:
    """Return the terms of observables, conjugated by the tape's frame.

    Raises:
        CircuitError: If coefficients are not real, or projectors make too many strings.
    """
    known: dict[tuple[int, int], int] = {}
    strings: list[PauliString] = []
    first: list[int] = []
    entries: list[tuple[int, int, float]] = []
    constants = np.zeros(len(operators))
    of_term: list[int] = []
    for o, operator in enumerate(operators):
        paulis = _as_paulis(operator, o)
        coefficients = np.asarray(paulis.coeffs)
        if np.imag(coefficients).any():
            raise CircuitError(
                "Expected observables with real coefficients, whose light cones are known; those "
                f'of observable {o} are complex. Use Exact(method="statevector").'
            )
        found, kept = find_strings(paulis, tape.position)
        places = np.full(len(coefficients), -1)
        numbers = np.real(coefficients)[kept].tolist()
        for string, at, number in zip(found, kept.tolist(), numbers, strict=True):
            x, z, k = tape.frame.conjugate(string)
            c = own_sign(x, z, k) * float(number)
            if not x | z:
                constants[o] += c
                continue
            places[at] = known.setdefault((x, z), len(strings))
            if places[at] == len(strings):
                strings.append(PauliString(x, z, (x & z).bit_count() % 4))
                first.append(o)
            entries.append((int(places[at]), o, c))
        if paulis is operator:
            of_term += places.tolist()
        else:
            of_term += [int(places.max(initial=-1))] * len(operator)
    rows, columns, summands = zip(*entries, strict=True) if entries else ((), (), ())
    at = np.array(rows, dtype=np.int64), np.array(columns, dtype=np.int64)
    table = scipy.sparse.csr_array(
        (np.array(summands, dtype=float), at), shape=(len(strings), len(operators))
    )
    return Terms(strings, table, constants, np.array(of_term, dtype=np.int64), first)


def own_sign(x: int, z: int, k: int) -> int:
    """Return the sign of a Hermitian string: that of its letters alone is one."""
    return 1 if ((x & z).bit_count() - k) % 4 == 0 else -1


def _as_paulis(operator: Observable, place: int) -> SparsePauliOp:
    try:
        return as_paulis(operator)
    except ObservableError as error:
        raise CircuitError(
            f"Expected observables of few Pauli strings, each of which has a light cone; the "
            f'projectors of observable {place} make too many. Use Exact(method="statevector") or '
            '"columns".'
        ) from error
