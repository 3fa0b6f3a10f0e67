# SPDX-License-Identifier: Apache-2.0
r"""Observables whose coefficients are parameters: trained, or fed by a layer before.

.. math:: f_o = \langle O_{o0} \rangle + \sum_p \lambda_p \langle O_{op} \rangle

What an engine reads are the fixed operators of the sum, one for each parameter; it never sees the
coefficients, which cost no evaluation, whatever is asked of their derivatives.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import Parameter, ParameterExpression, QuantumCircuit
from qiskit.quantum_info import Pauli, SparsePauliOp
from typing_extensions import override

from ..arguments import shown
from ..arrays import FloatArray
from ..exceptions import BridgeError, ObservableError, ParameterError
from .expressions import affine_form, is_free
from .measurements import Bound, ExpectationValues, Measurement
from .observables import Layout, ObservablesLike, flatten_nested, normalise_observables
from .readouts import Expectations, Readout, brief

CONSTANT = -1
"""What stands for the part of an observable that no parameter is before."""


def measure_observables(observables: ObservablesLike | None) -> Measurement:
    """Return the measurement of observables, with parameters among their coefficients or not."""
    if observables is not None and not isinstance(observables, str):
        given, shape = flatten_nested(observables)
        if any(_has_parameters(observable) for observable in given):
            return WeightedExpectationValues(observables=(given, shape))
    return ExpectationValues(observables)


@dataclass(frozen=True, repr=False)
class WeightedExpectationValues(Measurement):
    """Expectation values of observables with parameters among their coefficients.

    Attributes:
        coefficients: The parameters, by their names.
        factors: Which of them is before each operator that is read; :data:`CONSTANT` for none.
        rows: Which observable each operator belongs to.
        observables: As they were given, until they are bound to a circuit.
    """

    coefficients: tuple[str, ...] = ()
    factors: tuple[int, ...] = ()
    rows: tuple[int, ...] = ()
    observables: Any = field(default=None, compare=False)

    reads = Expectations
    is_read = False

    def __post_init__(self) -> None:
        for name in ("coefficients", "factors", "rows"):  # lists in files
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @functools.cached_property
    def places(self) -> NDArray[np.int64]:
        """Where the factor of each operator is among one and the coefficients: ``(size,)``."""
        return np.array(self.factors, dtype=np.int64) - CONSTANT

    @functools.cached_property
    def sums(self) -> FloatArray:
        """The matrix ``(size, O)`` that adds up the operators of each observable."""
        rows = np.array(self.rows)
        return (rows[:, None] == np.arange(rows.max() + 1)).astype(float)

    @override
    def bind(self, circuit: QuantumCircuit, layout: Layout) -> Bound:
        given, shape = self.observables
        parameters: dict[Parameter, int] = {}
        parts, factors, rows = [], [], []
        for row, observable in enumerate(given):
            for parameter, operator in _split(observable).items():
                if parameter is not None:
                    parameters.setdefault(parameter, len(parameters))
                factors.append(CONSTANT if parameter is None else parameters[parameter])
                parts.append(operator)
                rows.append(row)
        _check_names(circuit, parameters)
        operators, _ = normalise_observables(parts, circuit, layout)
        names = tuple(p.name for p in parameters)
        bound = WeightedExpectationValues(names, tuple(factors), tuple(rows))
        _ = bound.places, bound.sums  # before compilers look on
        return Bound(bound, Expectations(operators), shape or (1,), circuit, tuple(parameters))

    @override
    def accepts(self, readout: Readout, shape: tuple[int, ...]) -> bool:
        counted = readout.size == len(self.factors) == len(self.rows)
        known = all(
            type(f) is int and CONSTANT <= f < len(self.coefficients) and type(r) is int
            for f, r in zip(self.factors, self.rows, strict=False)
        )
        whole = set(self.rows) == set(range(math.prod(shape)))
        return counted and known and whole and all(type(name) is str for name in self.coefficients)

    @override
    def settings(self) -> dict[str, Any]:
        parts = {"coefficients": self.coefficients, "factors": self.factors, "rows": self.rows}
        return {name: list(part) for name, part in parts.items()}

    @override
    def describe(self, readout: Readout) -> str:
        texts: dict[int, list[str]] = {}
        for factor, row, operator in zip(self.factors, self.rows, readout.operators, strict=True):
            text = brief(operator)
            if factor != CONSTANT:
                text = f"{self.coefficients[factor]}*{f'({text})' if '+' in text else text}"
            texts.setdefault(row, []).append(text)
        return f"observables=[{', '.join(' + '.join(parts) for parts in texts.values())}]"


def _coefficients(observable: Any) -> Iterator[Any]:
    if isinstance(observable, SparsePauliOp):
        yield from observable.coeffs if observable.coeffs.dtype == object else ()
    elif isinstance(observable, Mapping):
        yield from observable.values()


def _has_parameters(observable: Any) -> bool:
    return any(is_free(c) for c in _coefficients(observable))


def _split(observable: Any) -> dict[Parameter | None, Any]:
    """Return the fixed operators of which an observable consists, by the parameter before each."""
    if not _has_parameters(observable):
        return {None: observable}
    terms: list[tuple[str, Any]]
    if isinstance(observable, SparsePauliOp):
        labels = observable.paulis.to_labels()
        terms = list(zip(labels, observable.coeffs, strict=True))
    else:
        terms = [(_label_of(key), value) for key, value in observable.items()]
    found: dict[Parameter | None, dict[str, complex]] = {}
    for label, coefficient in terms:
        for parameter, factor in _affine(coefficient, observable).items():
            labelled = found.setdefault(parameter, {})
            labelled[label] = labelled.get(label, 0.0) + factor
    kept = {p: {k: c for k, c in labelled.items() if c} for p, labelled in found.items()}
    return {p: labelled for p, labelled in kept.items() if labelled}


def _label_of(key: Any) -> str:
    if isinstance(key, Pauli) and key.phase:
        raise ObservableError(
            f"Expected labels, or Paulis without a sign, before parameters; got {shown(key)}. Put "
            "the sign into the coefficient."
        )
    return str(key)


def _affine(coefficient: Any, observable: Any) -> dict[Parameter | None, Any]:
    """Return offset and factors of a coefficient."""
    if isinstance(coefficient, ParameterExpression) and not is_free(coefficient):
        return {None: complex(coefficient)}
    if not is_free(coefficient):
        return {None: coefficient}
    try:
        form = affine_form(coefficient)
    except BridgeError:
        form = None
    if form is None:
        raise ObservableError(
            f"Expected coefficients that are real multiples of parameters and sums of these; got "
            f"{coefficient} in {shown(observable)}. Give the terms as separate observables, and "
            "weight them in torch."
        )
    offset, factors = form
    found: dict[Parameter | None, Any] = dict(factors.items())
    if offset:
        found[None] = offset
    return found


def _check_names(circuit: QuantumCircuit, parameters: Mapping[Parameter, int]) -> None:
    """Raise unless parameters of one name are one parameter."""
    of_name = {p.name: p for p in circuit.parameters}
    for parameter in parameters:
        other = of_name.setdefault(parameter.name, parameter)
        if other != parameter:
            raise ParameterError(
                f"Two parameters have the name {parameter.name!r}, both used by the circuit or its "
                "observables. Rename one, or use one Parameter object for both."
            )
