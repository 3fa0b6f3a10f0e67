# SPDX-License-Identifier: Apache-2.0
"""Reading PUBs: what one asks for, and which observables at which points.

Everything that can be wrong with a PUB is found here, before anything runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.primitives.containers.estimator_pub import EstimatorPub

from ..arguments import shown
from ..arrays import FloatArray, IntArray
from ..exceptions import (
    BridgeError,
    CircuitError,
    InputError,
    InputTypeError,
    ObservableError,
    ParameterError,
)
from ..program import AnalysedCircuit
from .observable_sets import ObservableSet
from .precision import validate_target_precision


@dataclass(frozen=True)
class AnalysedPub:
    """What one PUB asks for, checked and in canonical form.

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
    metadata: Mapping[str, Any] | None


def read_pub(
    pub: Any,
    precision: float,
    analyse: Callable[[QuantumCircuit, ObservableSet], tuple[AnalysedCircuit, ObservableSet]],
    observable_set: Callable[[Any], ObservableSet],
) -> AnalysedPub:
    """Read a PUB in any form that Qiskit takes.

    Args:
        pub: An ``EstimatorPub``, or a sequence of circuit, observables and, as far as needed,
            parameter values and precision.
        precision: Used if the PUB has none of its own.
        analyse: Returns the analysis of a circuit of gates, and observables on it, which have the
            values that those given have after a circuit of any kind.
        observable_set: Returns observables in canonical form.

    Raises:
        BridgeError: What is wrong, in its kind that says what it is about.
    """
    circuit, observables, values, own = _split_parts(pub)
    if not isinstance(circuit, QuantumCircuit):
        raise CircuitError(
            f"Expected the PUB to begin with a QuantumCircuit; got {type(circuit).__name__}."
        )
    wanted = validate_target_precision(precision if own is None else own)
    found = observable_set(observables)
    if found.num_qubits not in (None, circuit.num_qubits):
        raise ObservableError(
            f"Expected observables on {circuit.num_qubits} qubits, as many as the circuit has; got "
            f"{found.num_qubits}. Pad them with 'I', or apply the layout of a transpiled circuit: "
            "observable.apply_layout(circuit.layout)."
        )
    bindings = read_bindings(values, circuit)
    try:
        shape = np.broadcast_shapes(bindings.shape, found.index.shape)
    except ValueError as error:
        raise InputError(
            f"Expected parameter values and observables that broadcast; got the shapes "
            f"{bindings.shape} and {found.index.shape}. To take all observables at all points, "
            "give the observables as a column: [[first], [second]]."
        ) from error
    analysed, found = analyse(circuit, found)
    points = read_points(bindings, analysed)
    analysed.check(points)
    return AnalysedPub(analysed, found, points, bindings.shape, shape, wanted, circuit.metadata)


def check_pubs(pubs: object, example: str = "(circuit, observables, values)") -> None:
    """Raise :class:`InputTypeError` unless PUBs can be gone through one by one."""
    if not isinstance(pubs, Iterable) or isinstance(pubs, (str, bytes, Mapping, QuantumCircuit)):
        raise InputTypeError(
            f"Expected pubs to be a list of PUBs, such as [{example}]; got {shown(pubs)}."
        )


def _split_parts(pub: Any) -> tuple[Any, Any, Any, Any]:
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


def read_bindings(values: Any, circuit: QuantumCircuit) -> BindingsArray:
    """Return parameter values in any form as Qiskit's, as many as the circuit has parameters."""
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


def read_points(bindings: BindingsArray, analysed: AnalysedCircuit) -> FloatArray:
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


class PointBlock(NamedTuple):
    """Points at which the same observables are asked for, every observable at every point.

    Attributes:
        points: Ascending, shape ``(N,)``.
        observables: Ascending, shape ``(O,)``.
        places: Where the block's values go in the flattened result, shape ``(K,)``.
        rows: Which of ``points`` belongs to each place.
        columns: Which of ``observables`` belongs to each place.
    """

    points: IntArray
    observables: IntArray
    places: IntArray
    rows: IntArray
    columns: IntArray


def split_into_blocks(
    points_shape: tuple[int, ...], index: IntArray, count: int
) -> list[PointBlock]:
    """Broadcast an array of points against one of observables and split the result into blocks.

    Args:
        points_shape: The shape of the points, which count in C order.
        index: Which observable stands at each place of the array.
        count: How many different observables there are.
    """
    num_points = math.prod(points_shape)
    numbers = np.arange(num_points).reshape(points_shape)
    point, observable = (a.ravel() for a in np.broadcast_arrays(numbers, index))
    if not point.size:
        return []
    if point.size >= num_points * count:
        asked = np.zeros((num_points, count), dtype=bool)
        asked[point, observable] = True
        if asked.all():
            everything = np.arange(num_points), np.arange(count), np.arange(point.size)
            return [PointBlock(*everything, point, observable)]
    return _group_points(point, observable, num_points, count)


def merge_blocks(blocks: Sequence[PointBlock]) -> PointBlock:
    """Return one block of all points and all observables, of which only some values are asked."""
    return PointBlock(
        np.unique(np.concatenate([b.points for b in blocks])),
        np.unique(np.concatenate([b.observables for b in blocks])),
        np.concatenate([b.places for b in blocks]),
        np.concatenate([b.points[b.rows] for b in blocks]),
        np.concatenate([b.observables[b.columns] for b in blocks]),
    )


def _group_points(
    point: IntArray, observable: IntArray, num_points: int, count: int
) -> list[PointBlock]:
    codes = np.unique(point * count + observable)
    starts = np.flatnonzero(np.diff(codes // count, prepend=-1))
    members: dict[bytes, list[int]] = {}
    for p, asked in enumerate(np.split(codes % count, starts[1:])):
        members.setdefault(asked.tobytes(), []).append(p)
    block_of = np.empty(num_points, dtype=np.int64)
    row_of = np.empty(num_points, dtype=np.int64)
    for b, points in enumerate(members.values()):
        block_of[points] = b
        row_of[points] = np.arange(len(points))
    order = np.argsort(block_of[point], kind="stable")
    ends = np.cumsum(np.bincount(block_of[point], minlength=len(members)))
    blocks = []
    for (key, points), places in zip(members.items(), np.split(order, ends[:-1]), strict=True):
        observables = np.frombuffer(key, dtype=np.int64)
        columns = np.searchsorted(observables, observable[places])
        blocks.append(
            PointBlock(np.array(points), observables, places, row_of[point[places]], columns)
        )
    return blocks
