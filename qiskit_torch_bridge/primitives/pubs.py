# SPDX-License-Identifier: Apache-2.0
"""Reading a PUB: everything that can be wrong with one is found here, before anything runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.primitives.containers.estimator_pub import EstimatorPub

from ..arguments import require_real_number, shown
from ..arrays import FloatArray
from ..exceptions import (
    BridgeError,
    CircuitError,
    InputError,
    InputTypeError,
    ObservableError,
    ParameterError,
    PrecisionError,
)
from ..program import AnalysedCircuit
from .observable_sets import ObservableSet
from .precision import MOST_SHOTS


@dataclass(frozen=True)
class Request:
    """What one PUB asks for.

    Attributes:
        circuit: The analysed circuit.
        observables: The observables, of any shape.
        values: The points in C order, shape ``(N, P)``.
        points_shape: The shape of the points.
        shape: The shape of the result.
        precision: The precision wanted; zero is exact.
        metadata: The metadata of the circuit.
    """

    circuit: AnalysedCircuit
    observables: ObservableSet
    values: FloatArray
    points_shape: tuple[int, ...]
    shape: tuple[int, ...]
    precision: float
    metadata: Any


def read_pub(
    pub: Any,
    precision: float,
    analyse: Callable[[QuantumCircuit], AnalysedCircuit],
    observable_set: Callable[[Any], ObservableSet],
) -> Request:
    """Read a PUB in any form that Qiskit takes.

    Args:
        pub: An ``EstimatorPub``, or a sequence of circuit, observables and, as far as needed,
            parameter values and precision.
        precision: Used if the PUB has none of its own.
        analyse: Returns the analysis of a circuit.
        observable_set: Returns observables in canonical form.

    Raises:
        BridgeError: What is wrong, in its kind that says what it is about.
    """
    circuit, observables, values, own = _parts(pub)
    if not isinstance(circuit, QuantumCircuit):
        raise CircuitError(
            f"Expected the PUB to begin with a QuantumCircuit; got {type(circuit).__name__}."
        )
    wanted = validated(precision if own is None else own)
    found = observable_set(observables)
    if found.num_qubits not in (None, circuit.num_qubits):
        raise ObservableError(
            f"Expected observables on {circuit.num_qubits} qubits, as many as the circuit has; got "
            f"{found.num_qubits}. Pad them with 'I', or apply the layout of a transpiled circuit: "
            "observable.apply_layout(circuit.layout)."
        )
    bindings = _bindings(values, circuit)
    try:
        shape = np.broadcast_shapes(bindings.shape, found.index.shape)
    except ValueError as error:
        raise InputError(
            f"Expected parameter values and observables that broadcast; got the shapes "
            f"{bindings.shape} and {found.index.shape}. To take all observables at all points, "
            "give the observables as a column: [[first], [second]]."
        ) from error
    analysed = analyse(circuit)
    points = _points(bindings, analysed)
    analysed.check(points)
    return Request(analysed, found, points, bindings.shape, shape, wanted, circuit.metadata)


def check_pubs(pubs: Any) -> None:
    """Raise :class:`InputTypeError` unless PUBs can be gone through one by one."""
    if not isinstance(pubs, Iterable) or isinstance(pubs, (str, bytes, Mapping)):
        raise InputTypeError(
            "Expected pubs to be a list of PUBs, such as [(circuit, observables, values)]; got "
            f"{shown(pubs)}."
        )


def validated(precision: Any) -> float:
    """Return a precision as a number, or raise :class:`PrecisionError`."""
    hint = " Zero is exact; for a number of shots it is 1/sqrt(shots)."
    return require_real_number(precision, "precision", zero=True, error=PrecisionError, hint=hint)


def shots_for(precision: float) -> int:
    """Return the shots that give a precision; zero if it is exact."""
    if not precision:
        return 0
    if precision < MOST_SHOTS**-0.5:
        raise PrecisionError(
            f"Expected a precision from 2**-26 (2**52 shots) up; got {shown(precision)}. Use zero "
            "for exact values, or noise='gaussian'."
        )
    return math.ceil(1 / precision**2)


def _parts(pub: Any) -> tuple[Any, Any, Any, Any]:
    if isinstance(pub, EstimatorPub):
        return pub.circuit, pub.observables, pub.parameter_values, pub.precision
    if not isinstance(pub, (tuple, list)) or not 2 <= len(pub) <= 4:
        what = f"a sequence of {len(pub)}" if isinstance(pub, (tuple, list)) else repr(pub)
        raise InputError(
            "Expected each PUB to be (circuit, observables), (circuit, observables, values) or "
            f"(circuit, observables, values, precision); got {what}. A single PUB goes into a "
            "list: run([(circuit, observables, values)])."
        )
    circuit, observables, values, precision = (*pub, None, None)[:4]
    return circuit, observables, values, precision


def _bindings(values: Any, circuit: QuantumCircuit) -> BindingsArray:
    names = tuple(circuit.parameters)
    try:
        if values is None:
            bindings = BindingsArray()
        elif isinstance(values, (BindingsArray, Mapping)):
            bindings = BindingsArray.coerce(values)
        else:
            bindings = BindingsArray.coerce({names: values})
    except BridgeError:
        raise
    except Exception as error:
        raise InputError(
            f"Expected parameter values as real numbers of shape (..., {len(names)}), or a "
            f"mapping of parameters to these; got {shown(values)}: {error}"
        ) from error
    if bindings.num_parameters != len(names):
        listed = ", ".join(p.name for p in names[:8]) + (", ..." if len(names) > 8 else "")
        raise InputError(
            f"Expected values for {len(names)} parameters ({listed or 'none'}); got "
            f"{bindings.num_parameters}. Give an array with one column for each, in the order of "
            "circuit.parameters, or a mapping."
        )
    return bindings


def _points(bindings: BindingsArray, analysed: AnalysedCircuit) -> FloatArray:
    """Return the values in the circuit's order of parameters: ``(N, P)``."""
    names = tuple(p.name for p in analysed.parameters)
    data = bindings.data
    if len(data) == 1 and names in data:
        values = np.asarray(data[names])
    else:
        given = [name for key in data for name in key]
        if sorted(given) != sorted(names):
            raise ParameterError(
                f"Expected values for each of the parameters {list(names)}; got them for {given}. "
                "Give every parameter once."
            )
        values = np.empty((*bindings.shape, len(names)))
        column_of = {name: column for column, name in enumerate(names)}
        for key, part in data.items():
            values[..., [column_of[name] for name in key]] = part
    return np.ascontiguousarray(values, dtype=float).reshape(bindings.size, len(names))
