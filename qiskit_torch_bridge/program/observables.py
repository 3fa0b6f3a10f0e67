# SPDX-License-Identifier: Apache-2.0
"""Observables in any form that Qiskit users write them, as Hermitian operators on the circuit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from qiskit.circuit import ParameterExpression, QuantumCircuit
from qiskit.quantum_info import Operator, Pauli, PauliList, SparsePauliOp

from ..exceptions import ObservableError

Layout = Literal["auto", "virtual", "physical"]

_PROJECTORS = {  # Qiskit's extended alphabet of single-qubit observables
    "0": (("I", 0.5), ("Z", 0.5)),
    "1": (("I", 0.5), ("Z", -0.5)),
    "+": (("I", 0.5), ("X", 0.5)),
    "-": (("I", 0.5), ("X", -0.5)),
    "r": (("I", 0.5), ("Y", 0.5)),
    "l": (("I", 0.5), ("Y", -0.5)),
}

_FORMS = "a SparsePauliOp, a Pauli, a label such as 'ZI', a mapping of labels to coefficients"


def default_observables(circuit: QuantumCircuit) -> list[SparsePauliOp]:
    """Return Z on each qubit that the user sees: the virtual ones if there is a layout."""
    count = circuit.num_qubits
    if circuit.layout is not None:
        count = len(circuit.layout.final_index_layout(filter_ancillas=True))
    return [SparsePauliOp("I" * (count - 1 - q) + "Z" + "I" * q) for q in range(count)]


def normalise_observables(
    observables: Any, circuit: QuantumCircuit, layout: Layout = "auto"
) -> tuple[tuple[SparsePauliOp, ...], tuple[int, ...]]:
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
    if layout not in ("auto", "virtual", "physical"):
        raise ObservableError(
            f"Expected observables_layout to be 'auto', 'virtual' or 'physical'; got {layout!r}."
        )
    if observables is None:
        observables = default_observables(circuit)
        layout = "auto" if circuit.layout is None else "virtual"
    flat, shape = _flatten(observables)
    return tuple(_placed(_operator(o), circuit, layout) for o in flat), shape


def _flatten(observables: Any) -> tuple[list[Any], tuple[int, ...]]:
    if isinstance(observables, np.ndarray) and observables.dtype == object:
        observables = observables.tolist()
    if isinstance(observables, PauliList):
        observables = list(observables)
    if not isinstance(observables, (list, tuple)):
        return [observables], (1,)
    flat, shape = _nested(observables)
    if not flat:
        raise ObservableError(f"Expected at least one observable ({_FORMS}); got an empty list.")
    return flat, shape


def _nested(observables: Sequence[Any]) -> tuple[list[Any], tuple[int, ...]]:
    if not any(isinstance(o, (list, tuple)) for o in observables):
        return list(observables), (len(observables),)
    if not all(isinstance(o, (list, tuple)) for o in observables):
        raise ObservableError("Expected observables nested to one depth; got a mixture of depths.")
    parts = [_nested(o) for o in observables]
    shapes = {shape for _, shape in parts}
    if len(shapes) > 1:
        raise ObservableError(
            f"Expected nested observables to form a rectangular array; got lists of shapes "
            f"{sorted(shapes)}."
        )
    return [o for flat, _ in parts for o in flat], (len(parts), *shapes.pop())


def _operator(observable: Any) -> SparsePauliOp:
    """Convert one observable to a Hermitian SparsePauliOp."""
    try:
        if isinstance(observable, SparsePauliOp):
            operator = observable
        elif isinstance(observable, Pauli):
            operator = SparsePauliOp(observable)
        elif isinstance(observable, str):
            operator = from_terms({observable: 1.0})
        elif isinstance(observable, Mapping):
            operator = from_terms(observable)
        elif hasattr(SparsePauliOp, "from_sparse_observable") and hasattr(observable, "as_paulis"):
            operator = SparsePauliOp.from_sparse_observable(observable)
        elif isinstance(observable, Operator):
            operator = SparsePauliOp.from_operator(observable)
        else:
            raise ObservableError(
                f"Expected an observable as {_FORMS}, or nested lists of these; got "
                f"{type(observable).__name__}."
            )
    except ObservableError:
        raise
    except Exception as error:
        raise ObservableError(f"Cannot read {observable!r} as an observable: {error}") from error
    return _hermitian(operator, observable)


def from_terms(terms: Mapping[Any, Any]) -> SparsePauliOp:
    """Sum labelled terms, single-qubit projectors among the letters expanded to Paulis."""
    if not terms:
        raise ObservableError("Expected an observable with at least one term; got an empty one.")
    labels: list[tuple[str, complex]] = []
    for key, coefficient in terms.items():
        if isinstance(key, Pauli):
            sign = SparsePauliOp(key)
            expanded = [(sign.paulis.to_labels()[0], complex(sign.coeffs[0]))]
        else:
            expanded = [("", 1.0 + 0j)]
            for letter in str(key):
                expanded = [
                    (label + pauli, factor * part)
                    for label, factor in expanded
                    for pauli, part in _PROJECTORS.get(letter, ((letter, 1.0),))
                ]
        labels += [(label, factor * coefficient) for label, factor in expanded]
    if not all(label for label, _ in labels):
        raise ObservableError("Expected a Pauli label such as 'ZI'; got an empty string.")
    return SparsePauliOp.from_list(labels)


def _hermitian(operator: SparsePauliOp, given: Any) -> SparsePauliOp:
    if operator.coeffs.dtype == object and any(
        isinstance(c, ParameterExpression) and c.parameters for c in operator.coeffs
    ):
        raise ObservableError(
            "An observable has a parameter among its coefficients; observables must be fixed. "
            "Give its terms as separate observables and weight them in torch."
        )
    if not len(operator.paulis):
        raise ObservableError("Expected an observable with at least one term; got an empty one.")
    coefficients = np.asarray(operator.coeffs, dtype=complex)
    if not np.isfinite(coefficients).all():
        raise ObservableError(f"An observable has coefficients that are not finite: {given!r}.")
    combined = SparsePauliOp(operator.paulis, coefficients).simplify()
    size = np.abs(combined.coeffs).max()
    if not size:
        raise ObservableError(
            f"Expected an observable with at least one term; got {given!r}, which is zero. Leave "
            "it out: its expectation value is zero whatever the circuit."
        )
    if np.abs(combined.coeffs.imag).max() > 1e-10 * max(1.0, size):
        raise ObservableError(
            f"Expected a Hermitian observable (real coefficients); got {given!r}. Measure its "
            "Hermitian and anti-Hermitian parts as two observables."
        )
    return SparsePauliOp(combined.paulis, combined.coeffs.real)


def _placed(operator: SparsePauliOp, circuit: QuantumCircuit, layout: Layout) -> SparsePauliOp:
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
        if placement != list(range(physical)) and not moved.equiv(operator):
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
