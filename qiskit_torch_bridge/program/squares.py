# SPDX-License-Identifier: Apache-2.0
"""The square of an operator as a sum of products, each in it once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import numpy as np
from qiskit.quantum_info import PauliList, SparsePauliOp

from ..arrays import BoolArray, IntArray
from ..exceptions import ObservableError
from .operators import (
    MINUS,
    PROJECTED,
    Observable,
    ProductOperator,
    X,
    Z,
    as_paulis,
    axes_of,
    merge_terms,
    take_terms,
)

MOST_TERMS = 1 << 13
"""An operator of so many terms has a square of 33 million products before equal ones are merged."""
AT_ONCE = 1 << 18
"""Products that are multiplied out together."""

AXIS = X | Z


def without_identity(operator: Observable) -> Observable:
    """Return an operator less its multiple of the identity."""
    x, z = axes_of(operator)
    kept = np.flatnonzero((x | z).any(axis=1))
    if not len(kept):
        return SparsePauliOp("I" * operator.num_qubits, 0.0)
    return take_terms(operator, kept, np.asarray(operator.coeffs)[kept])


def square(operator: Observable) -> Observable:
    r"""Return the square of a Hermitian operator.

    .. math:: \Bigl(\sum_i c_i P_i\Bigr)^2
              = \sum_i c_i^2 P_i^2 + 2 \sum_{i < j,\; [P_i, P_j] = 0} c_i c_j P_i P_j

    Terms that anticommute cancel. Where projectors are named and all terms have the same axis on
    each qubit, the square is one of projectors, too; otherwise it is one of Pauli strings.

    Raises:
        ObservableError: If there are too many terms.
    """
    if isinstance(operator, ProductOperator) and not _has_one_axis(operator):
        operator = as_paulis(operator)
    if len(operator) > MOST_TERMS:
        raise ObservableError(
            f"Expected observables of at most {MOST_TERMS} terms, whose square can be multiplied "
            f"out; got one of {len(operator)}."
        )
    multiply = _multiplier(operator)
    count = len(operator)
    every = np.arange(count)
    result = merge_terms(multiply(every, every, 1.0))
    for first, second in _pairs(count):
        products = multiply(first, second, 2.0)
        if len(products):
            result = merge_terms(_sum(result, products))
    return result


def _pairs(count: int) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield the pairs of different terms in blocks."""
    rows = max(1, AT_ONCE // count)
    for start in range(0, count, rows):
        block = np.arange(start, min(start + rows, count))
        first, second = np.meshgrid(block, np.arange(start, count), indexing="ij")
        kept = first < second
        yield first[kept], second[kept]


def _sum(a: Observable, b: Observable) -> Observable:
    """Return the sum of two operators, each of terms of the same kind."""
    coeffs = np.concatenate([a.coeffs, b.coeffs])
    if isinstance(a, ProductOperator) and isinstance(b, ProductOperator):
        return ProductOperator(np.concatenate([a.letters, b.letters]), coeffs)
    (x, z), (other_x, other_z) = axes_of(a), axes_of(b)
    paulis = PauliList.from_symplectic(np.concatenate([z, other_z]), np.concatenate([x, other_x]))
    return SparsePauliOp(paulis, coeffs)


def _multiplier(operator: Observable) -> Callable[[IntArray, IntArray, float], Observable]:
    """Return what multiplies terms ``first`` by terms ``second`` and by a number."""
    if isinstance(operator, ProductOperator):
        return functools.partial(_multiply_letters, operator)
    return functools.partial(_multiply_paulis, operator)


def _multiply_paulis(
    operator: SparsePauliOp, first: IntArray, second: IntArray, factor: float
) -> SparsePauliOp:
    r"""Return the products of the pairs that commute.

    With :math:`P = i^{|x \wedge z|} X^x Z^z`, moving :math:`Z^{z_1}` past :math:`X^{x_2}` gives
    :math:`(-1)^{|z_1 \wedge x_2|}`.
    """
    x, z = axes_of(operator)
    crossed = _common(z[first], x[second])
    commuting = (crossed + _common(x[first], z[second])) % 2 == 0
    first, second, crossed = first[commuting], second[commuting], crossed[commuting]
    new_x, new_z = x[first] ^ x[second], z[first] ^ z[second]
    ys = _common(x, z)
    power = ys[first] + ys[second] - _common(new_x, new_z) + 2 * crossed
    coeffs = operator.coeffs.real
    signs = 1.0 - power % 4  # the power of i is 0 or 2
    products = factor * coeffs[first] * coeffs[second] * signs
    return SparsePauliOp(PauliList.from_symplectic(new_z, new_x), products)


def _common(a: BoolArray, b: BoolArray) -> IntArray:
    return np.count_nonzero(a & b, axis=1)


def _has_one_axis(operator: ProductOperator) -> bool:
    """Whether the letters on each qubit are of one axis, so that all of them commute."""
    axes = operator.letters & AXIS
    largest = axes.max(axis=0)
    return bool(((axes == 0) | (axes == largest)).all())


def _multiply_letters(
    operator: ProductOperator, first: IntArray, second: IntArray, factor: float
) -> ProductOperator:
    """Return the products of letters of one axis on each qubit.

    A Pauli makes of a projector the same with the sign of its eigenvalue, and projectors on
    different eigenvalues make nothing.
    """
    a, b = operator.letters[first], operator.letters[second]
    projected = (a | b) & PROJECTED
    vanishing = (projected == PROJECTED).any(axis=1)
    a_alone, b_alone = (a & PROJECTED) != 0, (b & PROJECTED) != 0
    plain = (a != 0) & (b != 0) & ~a_alone & ~b_alone  # the same Pauli twice
    letters = np.where(plain, 0, a | b)
    mixed = (a != 0) & (b != 0) & (a_alone != b_alone)
    negative = mixed & ((projected & MINUS) != 0)
    signs = 1.0 - 2.0 * (np.count_nonzero(negative, axis=1) % 2)
    products = factor * operator.coeffs.real[first] * operator.coeffs.real[second] * signs
    kept = ~vanishing
    return ProductOperator(letters[kept], products[kept])
