# SPDX-License-Identifier: Apache-2.0
"""Observables in any form that Qiskit users write them, as Hermitian operators on the circuit."""

from __future__ import annotations

import cmath
import numbers
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args

import numpy as np
import qiskit.quantum_info
from numpy.typing import ArrayLike, NDArray
from qiskit.circuit import ParameterExpression, QuantumCircuit
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.quantum_info import Operator, Pauli, PauliList, SparsePauliOp

from ..arguments import require_choice, shown
from ..exceptions import ObservableError
from .operators import (
    ROUNDING,
    Observable,
    ProductOperator,
    as_paulis,
    has_projectors,
    is_sparse_observable,
    merge_terms,
    operator_from_list,
    same_operator,
    take_terms,
)

if TYPE_CHECKING:
    from qiskit.quantum_info import SparseObservable  # new in Qiskit 2.0
    from qiskit.quantum_info.operators.base_operator import BaseOperator

Layout: TypeAlias = Literal["auto", "virtual", "physical"]

ObservableLike: TypeAlias = (
    "BaseOperator | SparseObservable | ProductOperator | str | Mapping[str, float] "
    "| Mapping[Pauli, float]"
)
"""What an observable can be written as."""
ObservablesLike: TypeAlias = "ObservableLike | PauliList | Sequence[ObservablesLike] | NDArray[Any]"
"""One observable, or nested lists of them."""

NEGLIGIBLE = 1e-10
"""Imaginary parts up to this, relative to the largest coefficient, are taken for rounding."""

_FORMS = "a SparsePauliOp, a Pauli, a label such as 'ZI', a mapping of labels to coefficients"


def default_observables(circuit: QuantumCircuit) -> list[SparsePauliOp]:
    """Return Z on each qubit that the user sees: the virtual ones if there is a layout."""
    count = circuit.num_qubits
    if circuit.layout is not None:
        count = len(circuit.layout.final_index_layout(filter_ancillas=True))
    z, x = np.eye(count, dtype=bool), np.zeros((count, count), dtype=bool)
    return [_operator(PauliList.from_symplectic(z[[q]], x[[q]]), [1.0]) for q in range(count)]


def normalise_observables(
    observables: ObservablesLike | None, circuit: QuantumCircuit, layout: Layout = "auto"
) -> tuple[tuple[Observable, ...], tuple[int, ...]]:
    """Return the flat operators on the circuit's qubits, and the shape they were nested in.

    Args:
        observables: One observable or nested lists of them; ``None`` for Z on each qubit.
        circuit: The circuit, whose layout is applied to observables given without it.
        layout: ``"virtual"`` if the observables refer to the qubits before transpilation,
            ``"physical"`` if to the circuit's own, ``"auto"`` to tell by their width.

    Raises:
        ObservableError: If an observable is empty, not Hermitian, of the wrong width, or could
            be meant either way.
    """
    require_choice(layout, "observables_layout", get_args(Layout), error=ObservableError)
    if observables is None:
        operators = default_observables(circuit)
        kind: Layout = "auto" if circuit.layout is None else "virtual"
        return tuple(_apply_layout(o, circuit, kind) for o in operators), (len(operators),)
    flat, shape = flatten_nested(observables)
    if not flat:
        raise ObservableError(f"Expected at least one observable ({_FORMS}); got an empty list.")
    return tuple(_apply_layout(to_hermitian(o), circuit, layout) for o in flat), shape or (1,)


DEEPEST = 32
"""As many levels of lists as NumPy's arrays had axes."""


def flatten_nested(
    observables: ObservablesLike, depth: int = 0
) -> tuple[list[ObservableLike], tuple[int, ...]]:
    """Return the observables of nested lists one after the other, and the shape that they form.

    The shape of an observable that is in no list is ``()``.
    """
    if depth > DEEPEST:
        raise ObservableError(f"Expected observables nested at most {DEEPEST} deep; got a list.")
    if isinstance(observables, np.ndarray) and observables.dtype.kind in "OU":
        observables = observables.tolist()
    if isinstance(observables, PauliList):
        observables = list(observables)
    if not isinstance(observables, (list, tuple)):
        return [cast(ObservableLike, observables)], ()
    parts = [flatten_nested(o, depth + 1) for o in observables]
    shapes = {shape for _, shape in parts}
    if len({len(shape) for shape in shapes}) > 1:
        raise ObservableError("Expected observables nested to one depth; got a mixture of depths.")
    if len(shapes) > 1:
        raise ObservableError(
            f"Expected nested observables to form a rectangular array; got lists of shapes "
            f"{sorted(shapes)}."
        )
    inner = shapes.pop() if shapes else ()
    return [o for flat, _ in parts for o in flat], (len(parts), *inner)


def to_hermitian(observable: ObservableLike) -> Observable:
    """Convert one observable to a Hermitian operator, each product in it once.

    Observables with projectors stay sums of products of these; as Paulis they may be far too many.
    """
    operator: Observable
    try:
        if isinstance(observable, (SparsePauliOp, ProductOperator)):
            operator = observable
        elif isinstance(observable, Pauli):
            operator = SparsePauliOp(observable)
        elif isinstance(observable, str) and observable and not observable.strip("IXYZ"):
            return _of_letters(observable)
        elif isinstance(observable, str):
            operator = from_terms({observable: 1.0})
        elif isinstance(observable, Mapping):
            operator = from_terms(observable)
        elif isinstance(observable, Operator):
            operator = _from_matrix(observable)
        elif is_sparse_observable(observable):
            read = ProductOperator.from_sparse_observable(observable)
            operator = read if has_projectors(observable) else read.as_letters()
        else:
            raise ObservableError(
                f"Expected an observable as {_FORMS}, or nested lists of these; got "
                f"{type(observable).__name__}."
            )
    except ObservableError:
        raise
    except Exception as error:
        raise ObservableError(
            f"Expected an observable ({_FORMS}); got {shown(observable)}: {error}"
        ) from error
    return _check_hermitian(operator, observable)


def _operator(paulis: PauliList, coefficients: ArrayLike) -> SparsePauliOp:
    """Return an operator of Paulis that have no signs, without copying them."""
    numbers = np.asarray(coefficients, dtype=complex)
    return SparsePauliOp(paulis, numbers, ignore_pauli_phase=True, copy=False)


def _of_letters(label: str) -> SparsePauliOp:
    """Return the operator of a label that has no letters but I, X, Y and Z."""
    letters = np.frombuffer(label[::-1].encode(), dtype=np.uint8)
    x, y, z = (letters == ord(letter) for letter in "XYZ")
    return _operator(PauliList.from_symplectic((z | y)[None], (x | y)[None]), [1.0])


def from_terms(terms: Mapping[str, float] | Mapping[Pauli, float]) -> Observable:
    """Sum labelled terms; with projectors among the letters, as products of one-qubit operators."""
    if not terms:
        raise ObservableError("Expected an observable with at least one term; got an empty one.")
    labels: list[tuple[str, complex]] = []
    for key, coefficient in terms.items():
        if isinstance(coefficient, numbers.Complex) and not cmath.isfinite(coefficient):
            raise ObservableError(
                f"An observable has coefficients that are not finite: {shown(terms)}."
            )
        label, sign = str(key), 1.0 + 0j
        if isinstance(key, Pauli):
            ((label, sign),) = SparsePauliOp(key).to_list()
        labels.append((label, sign * coefficient))
    if not all(label for label, _ in labels):
        raise ObservableError("Expected a Pauli label such as 'ZI'; got an empty string.")
    return operator_from_list(labels)


def observables_array(
    observables: ObservablesArray | ObservablesLike, *, projectors: bool = False
) -> ObservablesArray:
    """Return observables in any form, or nested lists of them, as Qiskit's container.

    Where that holds sparse observables (Qiskit from 2.1 on), Qiskit's own conversion drops
    coefficients up to 1e-8; here all are kept.

    Args:
        observables: The observables.
        projectors: Whether who gets it takes projectors, as the service does; Qiskit's own
            estimators take nothing but Paulis.

    Raises:
        ObservableError: If projectors would have to be written as too many Paulis.
    """
    if isinstance(observables, ObservablesArray):
        return observables
    flat, shape = flatten_nested(observables)
    if not flat:
        return ObservablesArray.coerce(observables)
    converted = np.empty(len(flat), dtype=object)
    for i, observable in enumerate(flat):
        operator = to_hermitian(observable)
        converted[i] = _element(operator if projectors else as_paulis(operator))
    return ObservablesArray(converted.reshape(shape), validate=False)


def elements_of(array: ObservablesArray) -> list[Any]:
    """Return what the container holds, one after the other: no label is written for it."""
    if hasattr(array, "sparse_observables_array"):
        return list(array.sparse_observables_array().ravel())
    return [array[at] for at in np.ndindex(*array.shape)]  # Qiskit before 2.1 keeps mappings


def _element(operator: Observable) -> SparseObservable | dict[str, float]:
    """Return what the container holds for an operator."""
    if isinstance(operator, ProductOperator):
        terms = [(label, c.real) for label, c in operator.to_list()]
        if not hasattr(ObservablesArray, "sparse_observables_array"):
            return dict(terms)
        return qiskit.quantum_info.SparseObservable.from_list(terms).simplify(0.0)
    if not hasattr(ObservablesArray, "sparse_observables_array"):
        return ObservablesArray.coerce_observable(operator)
    sparse = qiskit.quantum_info.SparseObservable.from_sparse_pauli_op(operator)
    return sparse.simplify(0.0)  # sorts the terms


def _from_matrix(matrix: Operator) -> SparsePauliOp:
    r"""Decompose a matrix to Paulis, leaving out what is rounding.

    Entries of a matrix that comes from a product of matrices :math:`2^n` wide have errors of
    :math:`2^n u` relative to the Frobenius norm. The smallest terms are left out as long as their
    joint Frobenius norm is within that: no expectation value changes by more.
    """
    operator = SparsePauliOp.from_operator(matrix, atol=0, rtol=0)
    sizes = np.abs(operator.coeffs)
    if not np.isfinite(sizes).all() or not sizes.any():
        return operator
    order = np.argsort(sizes)
    squares = np.cumsum((sizes[order] / sizes.max()) ** 2)
    bound = (2.0**operator.num_qubits * ROUNDING) ** 2 * squares[-1]
    kept = np.sort(order[squares > bound])
    return SparsePauliOp(operator.paulis[kept], operator.coeffs[kept])


def _check_hermitian(operator: Observable, given: ObservableLike) -> Observable:
    if operator.coeffs.dtype == object and any(
        isinstance(c, ParameterExpression) and c.parameters for c in operator.coeffs
    ):
        raise ObservableError(
            "An observable has a parameter among its coefficients. Where expectation values are "
            "asked for, these may be parameters; other measurements take fixed observables."
        )
    if not len(operator):
        raise ObservableError("Expected an observable with at least one term; got an empty one.")
    coefficients = np.asarray(operator.coeffs, dtype=complex)
    if not np.isfinite(coefficients).all():
        raise ObservableError(
            f"An observable has coefficients that are not finite: {shown(given)}."
        )
    merged = merge_terms(take_terms(operator, np.arange(len(operator)), coefficients))
    size = np.abs(merged.coeffs).max()
    if not size:
        raise ObservableError(
            f"Expected an observable with at least one term; got {shown(given)}, which is zero. "
            "Leave it out: its expectation value is zero whatever the circuit."
        )
    if np.abs(merged.coeffs.imag).max() > NEGLIGIBLE * size:
        raise ObservableError(
            f"Expected a Hermitian observable (real coefficients); got {shown(given)}. Measure its "
            "Hermitian and anti-Hermitian parts as two observables."
        )
    real = merged.coeffs.real
    kept = np.flatnonzero(real)
    return take_terms(merged, kept, real[kept])


def _apply_layout(operator: Observable, circuit: QuantumCircuit, layout: Layout) -> Observable:
    """Put an operator on the circuit's own qubits, applying its layout where that is due."""
    width, physical = operator.num_qubits, circuit.num_qubits
    if circuit.layout is None:
        if width != physical:
            raise _wrong_width(width, f"{physical} qubits")
        return operator
    placement = circuit.layout.final_index_layout(filter_ancillas=True)
    virtual = len(placement)
    if layout == "auto" and virtual == physical == width:
        moved = operator.apply_layout(circuit.layout, physical)
        if placement != list(range(physical)) and not same_operator(moved, operator):
            raise ObservableError(
                "The circuit has a layout that permutes its qubits, and the observables have the "
                "width of both the virtual and the physical circuit. Say which is meant with "
                "observables_layout='virtual' (qubits as before transpilation) or "
                "observables_layout='physical' (layout already applied)."
            )
        return operator
    if width == virtual and layout != "physical":
        return operator.apply_layout(circuit.layout, physical)
    if width == physical and layout != "virtual":
        return operator
    expected = f"{virtual if layout == 'virtual' else physical} qubits"
    if layout == "auto" and virtual != physical:
        expected += f" (layout applied) or {virtual} (before transpilation)"
    raise _wrong_width(width, expected)


def _wrong_width(width: int | None, expected: str) -> ObservableError:
    return ObservableError(
        f"Expected observables on {expected}; got one on {width}. Pad its label with 'I', "
        "or check that it belongs to this circuit."
    )
