# SPDX-License-Identifier: Apache-2.0
r"""Operators: Qiskit's sums of Pauli strings, and sums of products with projectors among them.

A projector is half of the sum or difference of the identity and a Pauli, so a product of :math:`f`
projectors is a sum of :math:`2^f` Pauli strings. In a :class:`ProductOperator` it stays one term.
The functions below take both kinds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias, TypeGuard, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from qiskit.quantum_info import Pauli, PauliList, SparsePauliOp

from ..arguments import shown
from ..arrays import BoolArray, FloatArray, IntArray
from ..exceptions import ObservableError

if TYPE_CHECKING:
    from qiskit.quantum_info import SparseObservable  # new in Qiskit 2.0
    from qiskit.transpiler import TranspileLayout

LETTERS = {
    "I": 0, "Z": 1, "X": 2, "Y": 3, "1": 5, "-": 6, "l": 7, "0": 9, "+": 10, "r": 11
}  # fmt: skip
"""The letters of Qiskit's alphabet of one-qubit observables, as its ``BitTerm`` numbers them: bits
for Z and X, and for projectors one that tells on which of the eigenvalues -1 and 1."""
Z, X, MINUS, PROJECTED = 1, 2, 4, 12

PROJECTORS = frozenset(letter for letter, code in LETTERS.items() if code & PROJECTED)

ROUNDING = 2.0**-53
"""The relative error of a number in double precision."""

FEW = 3
"""Up to this number of projectors, the Pauli strings of a term are no more work than the term."""

MAX_EXPANDED = 1 << 16
"""Pauli strings that projectors are written as for an estimator that takes nothing else."""

_CODES = np.zeros(128, dtype=np.uint8)
_CODES[[ord(letter) for letter in LETTERS]] = list(LETTERS.values())
_NAMES = np.zeros(12, dtype=np.uint8)
_NAMES[list(LETTERS.values())] = [ord(letter) for letter in LETTERS]

_DIAGONALS = {
    LETTERS["I"]: np.array([1.0, 1.0]),
    LETTERS["Z"]: np.array([1.0, -1.0]),
    LETTERS["0"]: np.array([1.0, 0.0]),
    LETTERS["1"]: np.array([0.0, 1.0]),
}


_Number = TypeVar("_Number", np.float64, np.int16)


class ProductOperator:
    """A sum of products of one-qubit Paulis and projectors.

    Args:
        letters: The numbers of :data:`LETTERS` of each term by qubit, shape ``(K, n)``.
        coeffs: The coefficients, shape ``(K,)``.
    """

    def __init__(self, letters: NDArray[np.uint8], coeffs: ArrayLike) -> None:
        self.letters = letters
        self.coeffs = np.asarray(coeffs)

    @classmethod
    def from_list(cls, terms: Iterable[tuple[str, complex]]) -> ProductOperator:
        """Read labels, the rightmost letter on qubit 0, and coefficients.

        Raises:
            ObservableError: If labels differ in length or have letters that are unknown.
        """
        labels, coeffs = zip(*terms, strict=True)
        check_labels(labels)
        codes = _CODES[np.frombuffer("".join(labels).encode(), dtype=np.uint8)]
        return cls(codes.reshape(len(labels), -1)[:, ::-1], coeffs)

    @classmethod
    def from_sparse_observable(cls, observable: SparseObservable) -> ProductOperator:
        """Read a ``SparseObservable``, whose terms list the letters that are not I."""
        count = len(observable)
        letters = np.zeros((count, observable.num_qubits), dtype=np.uint8)
        terms = np.repeat(np.arange(count), np.diff(np.asarray(observable.boundaries, dtype=int)))
        letters[terms, np.asarray(observable.indices)] = np.asarray(observable.bit_terms)
        return cls(letters, np.asarray(observable.coeffs))

    @property
    def num_qubits(self) -> int:
        """The number ``n`` of qubits."""
        return self.letters.shape[1]

    @property
    def x(self) -> BoolArray:
        """Where a letter is X or Y or a projector of these: ``(K, n)``."""
        return (self.letters & X) != 0

    @property
    def z(self) -> BoolArray:
        """Where a letter is Z or Y or a projector of these: ``(K, n)``."""
        return (self.letters & Z) != 0

    @property
    def projected(self) -> BoolArray:
        """Where a letter is a projector: ``(K, n)``."""
        return (self.letters & PROJECTED) != 0

    @property
    def negative(self) -> BoolArray:
        """Where it projects on the eigenvalue -1: ``(K, n)``."""
        return (self.letters & MINUS) != 0

    def __len__(self) -> int:
        return len(self.letters)

    def to_list(self) -> list[tuple[str, complex]]:
        """Return labels and coefficients."""
        names = _NAMES[self.letters[:, ::-1]]
        return [
            (row.tobytes().decode(), complex(c)) for row, c in zip(names, self.coeffs, strict=True)
        ]

    def apply_layout(
        self, layout: TranspileLayout | Sequence[int], num_qubits: int
    ) -> ProductOperator:
        """Put it on the qubits of a transpiled circuit, as Qiskit does with its operators."""
        places = layout if isinstance(layout, Sequence) else layout.final_index_layout()
        if len(places) != self.num_qubits:
            raise ObservableError(
                f"Expected an observable on {len(places)} qubits, as the layout has; got one on "
                f"{self.num_qubits}."
            )
        letters = np.zeros((len(self), num_qubits), dtype=np.uint8)
        letters[:, list(places)] = self.letters
        return ProductOperator(letters, self.coeffs)

    def on_qubits(self, kept: Sequence[int]) -> ProductOperator:
        """Return what is left on some qubits, in their order, where all others are in state zero.

        There Z and its projector on 1 are one, that on -1 and X and Y zero, and projectors of the
        latter a half.
        """
        if list(kept) == list(range(self.num_qubits)):
            return self
        others = np.ones(self.num_qubits, dtype=bool)
        others[list(kept)] = False
        rest = self.letters[:, others]
        of_x, projected = (rest & X) != 0, (rest & PROJECTED) != 0
        vanishing = (of_x & ~projected) | (rest == LETTERS["1"])
        factors = np.where(vanishing, 0.0, np.where(of_x & projected, 0.5, 1.0)).prod(axis=1)
        stay = np.flatnonzero(factors)
        return ProductOperator(self.letters[stay][:, list(kept)], (self.coeffs * factors)[stay])

    def expanded(self, most: int = MAX_EXPANDED) -> SparsePauliOp:
        """Return it as Pauli strings.

        Raises:
            ObservableError: If there would be more than ``most``.
        """
        total = sum(1 << count for count in self.projected.sum(axis=1).tolist())
        if total > most:
            raise ObservableError(
                "An observable of projectors is a sum of at least "
                f"2**{total.bit_length() - 1} Pauli strings, and the estimator takes nothing else; "
                f"at most 2**{most.bit_length() - 1} are written out. Leave out estimator= for "
                "the exact engine, or give a BatchedStatevectorEstimator or an estimator of "
                "qiskit-ibm-runtime, which take projectors as they are."
            )
        letters, coeffs = self.letters, np.asarray(self.coeffs, dtype=complex)
        for q in range(self.num_qubits):
            column = letters[:, q]
            split = np.flatnonzero(column & PROJECTED)
            if len(split):
                ones, paulis = letters[split].copy(), letters.copy()
                ones[:, q], paulis[:, q] = 0, column & (X | Z)
                halves, sign = coeffs.copy(), np.where(column[split] & MINUS, -0.5, 0.5)
                halves[split] *= sign
                coeffs = np.concatenate([halves, 0.5 * coeffs[split]])
                letters = np.concatenate([paulis, ones])
        return ProductOperator(letters, coeffs).as_letters()

    def as_letters(self) -> SparsePauliOp:
        """Return the Pauli strings that the terms are, if there are no projectors."""
        return SparsePauliOp(PauliList.from_symplectic(self.z, self.x), self.coeffs)

    def __mul__(self, factor: complex) -> ProductOperator:
        return ProductOperator(self.letters, factor * self.coeffs)

    __rmul__ = __mul__

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ProductOperator)
            and np.array_equal(self.letters, other.letters)
            and np.array_equal(self.coeffs, other.coeffs)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"ProductOperator.from_list({self.to_list()})"


Observable: TypeAlias = SparsePauliOp | ProductOperator
"""An operator as the package keeps it: projectors stay what they are."""


def check_labels(labels: Collection[str]) -> None:
    """Raise :class:`.ObservableError` unless labels have one length and letters that are known."""
    lengths, unknown = set(map(len, labels)), set("".join(labels)) - LETTERS.keys()
    if len(lengths) > 1:
        raise ObservableError(f"Expected labels of one length; got {sorted(lengths)}.")
    if unknown:
        wrong = next(label for label in labels if unknown & set(label))
        raise ObservableError(
            f"Expected labels of the letters {', '.join(LETTERS)}; got {shown(wrong)}."
        )


def is_sparse_observable(observable: object) -> TypeGuard[SparseObservable]:
    """Whether something is Qiskit's ``SparseObservable``, which its version 1 does not have."""
    return hasattr(observable, "bit_terms")


def has_projectors(
    observable: ProductOperator
    | SparseObservable
    | str
    | Mapping[str, float]
    | Mapping[Pauli, float],
) -> bool:
    """Whether a label, a mapping of labels or a sparse observable names projectors."""
    if isinstance(observable, ProductOperator):
        return True
    if isinstance(observable, str):
        return not PROJECTORS.isdisjoint(observable)
    if isinstance(observable, Mapping):
        return any(not isinstance(k, Pauli) and has_projectors(str(k)) for k in observable)
    return bool((np.asarray(observable.bit_terms) & PROJECTED).any())


def axes_of(operator: Observable) -> tuple[BoolArray, BoolArray]:
    """Return the tables ``x`` and ``z`` of what is measured on each qubit: ``(K, n)``."""
    if isinstance(operator, ProductOperator):
        return operator.x, operator.z
    return np.asarray(operator.paulis.x), np.asarray(operator.paulis.z)


def as_products(operator: Observable) -> ProductOperator:
    """Return an operator as products, which Pauli strings are, too."""
    if isinstance(operator, ProductOperator):
        return operator
    x, z = axes_of(operator)
    return ProductOperator(np.uint8(X) * x + np.uint8(Z) * z, operator.coeffs)


def as_paulis(operator: Observable) -> SparsePauliOp:
    """Return an operator as Pauli strings."""
    return operator.expanded() if isinstance(operator, ProductOperator) else operator


def operator_from_list(terms: list[tuple[str, complex]]) -> Observable:
    """Sum labels with coefficients."""
    if any(has_projectors(label) for label, _ in terms):
        return ProductOperator.from_list(terms)
    check_labels([label for label, _ in terms])
    return SparsePauliOp.from_list(terms)


def terms_of(operator: Observable) -> list[tuple[str, float]]:
    """Return labels and real coefficients, as JSON has them."""
    return [(label, c.real) for label, c in operator.to_list()]


def term_keys(operator: Observable) -> NDArray[np.void]:
    """Return a key for each term, the same for terms of the same letters: ``(K,)``."""
    if isinstance(operator, ProductOperator):
        keys = np.ascontiguousarray(operator.letters)
    else:
        keys = np.packbits(np.hstack(axes_of(operator)), axis=1)
    return np.ascontiguousarray(keys).view(f"V{keys.shape[1]}").ravel()


def merge_terms(operator: Observable) -> Observable:
    """Return the operator with each product once, whatever the size of its coefficients.

    Terms that are exactly zero and terms that have cancelled are left out: the sum of :math:`K`
    coefficients is rounding if it is below :math:`K u` times the sum of their sizes.
    """
    if len(operator) == 1 and operator.coeffs[0]:
        return operator
    _, first, group_of = np.unique(term_keys(operator), return_index=True, return_inverse=True)
    coefficients = np.asarray(operator.coeffs, dtype=complex)
    sums, sizes = np.zeros(len(first), dtype=complex), np.zeros(len(first))
    np.add.at(sums, group_of, coefficients)
    np.add.at(sizes, group_of, np.abs(coefficients))
    counts = np.bincount(group_of)
    sums[(counts > 1) & (np.abs(sums) <= counts * ROUNDING * sizes)] = 0
    kept = np.flatnonzero(sums)
    kept = kept[np.argsort(first[kept])]
    if not len(kept):
        return SparsePauliOp("I" * operator.num_qubits, 0.0)
    return take_terms(operator, first[kept], sums[kept])


def take_terms(operator: Observable, terms: IntArray, coefficients: ArrayLike) -> Observable:
    """Return the operator of some of the terms, with coefficients in place of their own."""
    if isinstance(operator, ProductOperator):
        return ProductOperator(operator.letters[terms], coefficients)
    return SparsePauliOp(operator.paulis[terms], coefficients)


def same_operator(a: Observable, b: Observable) -> bool:
    """Whether two operators agree in each coefficient, to nine digits or rounding of the largest.

    Qiskit's ``equiv`` takes any two small operators for equal.
    """
    if a.num_qubits != b.num_qubits:
        return False
    if type(a) is not type(b):
        try:
            a, b = as_paulis(a), as_paulis(b)
        except ObservableError:
            return False  # of that many Paulis nobody writes the sum
    keys = np.concatenate([term_keys(a), term_keys(b)])
    paulis, place = np.unique(keys, return_inverse=True)
    mine, theirs = np.zeros((2, len(paulis)), dtype=complex)
    np.add.at(mine, place[: len(a)], a.coeffs)
    np.add.at(theirs, place[len(a) :], b.coeffs)
    rounding = 2 * ROUNDING * max(np.abs(mine).max(), np.abs(theirs).max())
    return bool((np.abs(mine - theirs) <= 1e-9 * np.abs(mine) + rounding).all())


def diagonal_of(operator: Observable) -> FloatArray:
    """Return the values ``(2**n,)`` of an operator of Z and projectors on 0 and 1, by outcome."""
    if isinstance(operator, ProductOperator):
        table = np.zeros(1 << operator.num_qubits)
        for letters, coefficient in zip(operator.letters, operator.coeffs.real, strict=True):
            term = np.full(1, coefficient)
            for letter in letters:
                term = np.multiply.outer(_DIAGONALS[letter], term).ravel()
            table += term
        return table
    table = np.zeros(1 << operator.num_qubits)
    masks = axes_of(operator)[1] @ (1 << np.arange(operator.num_qubits))
    np.add.at(table, masks, operator.coeffs.real)
    return walsh_hadamard(table)


def restrict_operator(operator: Observable, kept: Sequence[int]) -> Observable:
    """Return the operator on the qubits ``kept``, the others being in their initial state zero.

    There Z has the value one, and X and Y the value zero.
    """
    if isinstance(operator, ProductOperator):
        rest = operator.on_qubits(kept)
        return merge_terms(rest) if len(rest) else SparsePauliOp("I" * len(kept), 0.0)
    x, z = axes_of(operator)
    others = np.ones(operator.num_qubits, dtype=bool)
    others[list(kept)] = False
    coefficients = np.where(x[:, others].any(axis=1), 0.0, np.asarray(operator.coeffs))
    paulis = PauliList.from_symplectic(z[:, list(kept)], x[:, list(kept)])
    return merge_terms(SparsePauliOp(paulis, coefficients))


def walsh_hadamard(coefficients: NDArray[_Number]) -> NDArray[_Number]:
    r"""Return :math:`\sum_z c_z (-1)^{|i \wedge z|}`: what a sum of Z strings makes of ``i``.

    Further axes are transformed side by side.
    """
    table = coefficients.copy()
    step = 1
    while step < len(table):
        pairs = table.reshape(len(table) // (2 * step), 2, step, *table.shape[1:])
        sums, differences = pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]
        table = np.stack([sums, differences], 1).reshape(table.shape)
        step *= 2
    return table


class PauliSpan:
    """Pauli strings and all their products, up to phases.

    What commutes with some strings commutes with their products, so only those are kept that are
    not products of others: at most two for each qubit, however many strings are added.

    Args:
        num_qubits: On which the strings are. They are given by the numbers of their masks: the bits
            of ``x`` say where X or Y is, those of ``z`` where Z or Y is.
    """

    def __init__(self, num_qubits: int) -> None:
        self._num_qubits = num_qubits
        self._basis: dict[int, tuple[int, int]] = {}  # by the highest bit of both masks

    def add(self, x: int, z: int) -> None:
        """Add a string."""
        if self.is_full:
            return
        while word := x << self._num_qubits | z:
            other = self._basis.setdefault(word.bit_length(), (x, z))
            x, z = x ^ other[0], z ^ other[1]  # nothing is left if it is the string itself

    def commutes(self, x: int, z: int) -> bool:
        """Whether a string commutes with all of them."""
        for a, b in self._basis.values():
            if ((x & b).bit_count() + (z & a).bit_count()) & 1:
                return False
        return True

    @property
    def is_full(self) -> bool:
        """Whether all strings are in it, so that the identity alone commutes with them."""
        return len(self._basis) == 2 * self._num_qubits

    @property
    def rank(self) -> int:
        """How many strings are kept, of which all others are products."""
        return len(self._basis)


def acted_on(operator: Observable) -> frozenset[int]:
    """Return the qubits on which some term has another letter than I."""
    if isinstance(operator, ProductOperator):
        acts = operator.letters != 0
    else:
        acts = np.asarray(operator.paulis.x) | np.asarray(operator.paulis.z)
    return frozenset(np.flatnonzero(acts.any(axis=0)).tolist())
