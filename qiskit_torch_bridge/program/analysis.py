# SPDX-License-Identifier: Apache-2.0
"""A circuit with everything that its gradients need to know, derived once and kept."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

import numpy as np
from qiskit.circuit import (
    Bit,
    Operation,
    Parameter,
    ParameterExpression,
    ParameterVector,
    QuantumCircuit,
)

from ..arguments import (
    as_real,
    is_whole_number,
    require_choice,
    require_instance,
    require_real_array,
    require_whole_number,
    shown,
)
from ..arrays import FloatArray, IntArray
from ..exceptions import CircuitError, InputError, ParameterError
from ..lru_cache import LRUCache
from .angle_map import AngleMap
from .binding import assign_in_qiskit, assign_parameters, refuse_miscomputed
from .control_flow import find_repeated, normalise_control_flow, parameters_of, repeated_error
from .definitions import blocks_of, is_standard, operations_of, steps_of
from .encodings import (
    Vector,
    VectorMap,
    give_own_numbers,
    vectors_of,
    with_numbers_prepared,
    write_out,
)
from .evolutions import Evolutions
from .expressions import is_free
from .identity import content_key
from .lowering import (
    accepts_aer,
    accepts_shift,
    angles_of,
    expand,
    remove_boxes,
    split_angles,
)
from .parameter_frequencies import Frequencies, find_frequencies, operations_by_parameter
from .validation import leaf_expressions_of, validate


class AnalysedCircuit:
    """A validated circuit, its parameters in a fixed order, and what is derived from them.

    Args:
        circuit: Any circuit of gates, measurements, resets and control flow; parameters may occur
            anywhere in it.
        parameters: The order of the values; default ``circuit.parameters``. Parameters that the
            circuit does not contain are allowed and have derivative zero.
        evolutions: What an evolution by terms that do not commute stands for: the product formula
            of its ``"definition"``, or the ``"exponential"`` that Qiskit's simulators take.
        encoded: Vectors that follow from the parameters, and of which the circuit has angles of
            rotations: parameters of the circuit that are none of the order.

    Attributes:
        circuit: The circuit to evaluate.
        steps: Its operations with the indices of their qubits, without boxes; read-only.
        is_dynamic: Whether it measures, resets, branches, or initializes qubits in its middle;
            what simulates it takes its deferred form (:mod:`.deferral`).
        parameters: The ``P`` parameters, the order of the last axis of ``values``.
        column_of: Where each of them is in it.
        vectors: What is prepared as amplitudes of states.
        encoded: Those of which the circuit has angles of rotations: all or none.
        original: What it was rewritten from, gate by gate; itself, if it was not. Both are the same
            function, and the frequencies of a gate are fewer than the sums of those of its parts.

    Raises:
        CircuitError: If the circuit contains what cannot be run or differentiated.
        ExpressionError: If a parameter expression is complex, or what it is cannot be known.
    """

    def __init__(
        self,
        circuit: QuantumCircuit,
        parameters: Sequence[Parameter] | None = None,
        evolutions: Evolutions = "definition",
        encoded: Sequence[Vector] = (),
    ) -> None:
        require_choice(evolutions, "evolutions", get_args(Evolutions), error=CircuitError)
        valid, self.steps, self.is_dynamic = validate(circuit, evolutions)
        self.circuit = normalise_control_flow(valid) if self.is_dynamic else valid
        if self.circuit is not valid:
            self.steps = steps_of(self.circuit)
        self.parameters = tuple(
            parameters_of(circuit) if parameters is None else _list_parameters(parameters)
        )
        self.column_of = {p: column for column, p in enumerate(self.parameters)}
        self.encoded = _list_vectors(encoded)
        self.vectors = self.encoded or vectors_of(self.steps)
        self._vectors = VectorMap(self.vectors, self.column_of)
        self._columns = self.column_of
        if encoded:
            columns = enumerate((*self.parameters, *self._vectors.angles))
            self._columns = {p: column for column, p in columns}
        present = parameters_of(self.circuit)
        if not all(map(self._columns.__contains__, present)):
            missing = sorted(p.name for p in present if p not in self._columns)
            raise ParameterError(f"The circuit's parameters {missing} have no place in the order.")
        self.original = self
        expressions: list[ParameterExpression] = []
        for operation, _ in self.steps:
            if not is_standard(operation):
                expressions += leaf_expressions_of(operation)
            elif operation.params:
                expressions += filter(is_free, operation.params)
        self._expressions = AngleMap(expressions, self._columns)
        self._frequencies: dict[int, Frequencies] = {}

    def _column(self, column: int) -> int:
        return require_whole_number(column, "column", 0, len(self.parameters) - 1)

    def _values(self, values: FloatArray) -> FloatArray:
        """Return values ``(..., P)`` as they are, or raise unless they are real numbers."""
        fits = type(values) is np.ndarray and values.dtype == np.float64 and values.ndim
        if fits and values.shape[-1] == len(self.parameters):
            return values
        axes = (None,) * max(getattr(values, "ndim", 1) - 1, 1)
        return require_real_array(values, "values", (*axes, len(self.parameters)))

    @property
    def num_parameters(self) -> int:
        """The number ``P`` of parameters."""
        return len(self.parameters)

    def is_used(self, column: int) -> bool:
        """Whether any gate depends on the parameter, the global phase not counted."""
        return self._column(column) in self._used_columns

    @functools.cached_property
    def _used_columns(self) -> frozenset[int]:
        return self._expressions.used_columns.union(*(m.used_columns for m in self._vectors.maps))

    def columns_reaching(
        self, qubits: frozenset[int], bits: frozenset[int] = frozenset()
    ) -> frozenset[int]:
        """Return the parameters that some qubits, and some classical bits, depend on in the end.

        They are those of the operations in the causal cone of these qubits: of those that share a
        qubit or a classical bit with one of them or with a later operation of the cone. All others
        act, one after the other, on qubits that are traced over in the end. A channel on these has
        no influence, so this holds for noisy operations as well, as long as the noise of an
        operation is on its own qubits. Operations of control flow count as one; where there are
        classical variables, all of them that have classical bits or variables are in the cone.
        """
        count = self.circuit.num_qubits
        _require_places(qubits, "qubits", count)
        _require_places(bits, "bits", self.circuit.num_clbits)
        place: dict[Bit, int] = {qubit: q for q, qubit in enumerate(self.circuit.qubits)}
        # One more wire for each classical bit, or for all classical values together.
        for number, clbit in enumerate(self.circuit.clbits):
            place[clbit] = count + (0 if self.circuit.num_vars else number)
        cone = {*qubits, *(place[self.circuit.clbits[bit]] for bit in bits)}
        found = set[int]()
        prepared = {
            p: m.used_columns
            for v, m in zip(self.encoded, self._vectors.maps, strict=False)
            for p in v.angles
        }
        for instruction in reversed(self.circuit.data):
            operation = instruction.operation
            blocks = blocks_of(operation)
            acts_on = [place[bit] for bit in (*instruction.qubits, *instruction.clbits)]
            if self.circuit.num_vars and (blocks or operation.name == "store"):
                acts_on.append(count)
            if operation.name == "barrier" or cone.isdisjoint(acts_on):
                continue
            cone.update(acts_on)
            angles: list[Any] = [*blocks, *filter(is_free, getattr(operation, "params", ()))]
            for p in {p for angle in angles for p in angle.parameters}:
                found.update(prepared.get(p) or (self.column_of[p],))
        return frozenset(found)

    def check(self, values: FloatArray, first_row: int = 0) -> None:
        """Raise unless ``values`` ``(B, P)`` are finite and inside all expressions' domains."""
        values = self._values(values)
        require_whole_number(first_row, "first_row")
        finite = np.isfinite(values)
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            raise InputError(
                f"Expected finite values; row {first_row + row} has {values[row, column]} for "
                f"parameter {self.parameters[column].name!r}. Check the layer or the data before "
                "the circuit, and the learning rate."
            )
        if self.vectors:
            self._vectors.check(values, first_row)
        self._expressions.check(self._extended(values) if self.encoded else values, first_row)

    def _extended(self, values: FloatArray) -> FloatArray:
        """Return values ``(..., P)`` with the angles of rotations that prepare vectors."""
        return np.concatenate([values, self._vectors.rotation_angles(values)], -1)

    def bindings(
        self, values: FloatArray, circuit: QuantumCircuit | None = None
    ) -> dict[tuple[Parameter, ...], FloatArray]:
        """Return ``values`` of shape ``(..., P)`` as bindings for one PUB, by identity.

        Args:
            values: In the order of :attr:`parameters`.
            circuit: The circuit to bind, if it is a transpiled form of this one.
        """
        submitted = self.circuit
        if circuit is not None:
            what = "a transpiled form of this circuit"
            submitted = require_instance(
                circuit, "circuit", QuantumCircuit, what, error=CircuitError
            )
        names = tuple(submitted.parameters)
        foreign = [p.name for p in names if p not in self._columns]
        if foreign:
            raise ParameterError(
                f"Expected a form of this circuit; got one with other parameters: {foreign}."
            )
        values = self._values(values)
        if self.encoded:
            values = self._extended(values)
        return {names: values[..., [self._columns[p] for p in names]]}

    def angle_map(self, expressions: Sequence[ParameterExpression]) -> AngleMap:
        """Return the map to expressions, of which those of :attr:`steps` are compiled already."""
        return self._expressions.of(expressions)

    def check_binding(self) -> None:
        """Raise :class:`ExpressionError` if Qiskit would bind an angle wrongly."""
        refuse_miscomputed(self._expressions.miscomputed)

    def assigned(self, values: Mapping[Parameter, float]) -> QuantumCircuit:
        """Return the circuit with some or all parameters bound; see :func:`.assign_parameters`."""
        present = self.circuit.parameters
        given: Any = values
        if not isinstance(given, Mapping) or not all(
            isinstance(p, Parameter) and math.isfinite(as_real(v)) for p, v in given.items()
        ):
            raise ParameterError(
                "Expected a mapping of the circuit's parameters to finite real numbers; got "
                f"{shown(values)}."
            )
        if self._expressions.miscomputed or not values.keys() >= set(present):
            bound = assign_parameters(self.circuit, values)
        else:
            bound = assign_in_qiskit(self.circuit, {p: values[p] for p in present})
        return with_numbers_prepared(bound) if self.vectors else bound

    @functools.cached_property
    def shift_form(self) -> tuple[AnalysedCircuit, AngleMap]:
        """The circuit with one parameter per gate angle, and the map to those angles.

        Every parameterized gate of it has angles that a two-term shift differentiates exactly;
        fixed gates stay as they are. A circuit that has this form already is its own.

        Raises:
            GradientError: If a gate is in a loop whose rounds depend on outcomes.
        """
        if self._repeated:
            raise repeated_error(self._repeated, "Parameter shift")
        operations = list(operations_of(self.circuit))
        if all(map(accepts_shift, operations)) and not self.encoded:
            angles = [e for operation in operations for e in angles_of(operation)]
            if all(isinstance(e, Parameter) for e in angles) and len(set(angles)) == len(angles):
                own = [p if self.is_used(c) else 0.0 for c, p in enumerate(self.parameters)]
                return self, AngleMap(own, self.column_of)
        expanded = expand(self.circuit, accepts_shift, for_noise=True)
        split, expressions, fresh = split_angles(expanded, self._vectors.angles)
        if not self.encoded:
            return AnalysedCircuit(split), AngleMap(expressions, self.column_of)
        numbers = [number for vector in self.vectors for number in vector.expressions]
        components: list[Parameter] = list(ParameterVector("amplitude", len(numbers)))
        encoded = give_own_numbers(self.vectors, components)
        target = AnalysedCircuit(split, [*fresh, *components], encoded=encoded)
        return target, AngleMap([*expressions, *numbers], self.column_of)

    @property
    def vector_columns(self) -> tuple[IntArray, ...]:
        """The components of each vector that is prepared, where all are parameters."""
        return tuple(
            np.array([self.column_of[p] for p in v.expressions if isinstance(p, Parameter)])
            for v in self.vectors
        )

    @functools.cached_property
    def with_rotations(self) -> AnalysedCircuit:
        """The analysis of the circuit with rotations in place of its preparations of amplitudes.

        That is what estimators and samplers bind: see :meth:`bindings`.
        """
        if self.encoded or not self.vectors:
            return self
        circuit, encoded = write_out(self.circuit)
        result = AnalysedCircuit(circuit, self.parameters, encoded=encoded)
        result.original = self.original
        return result

    def written(self, circuit: QuantumCircuit) -> AnalysedCircuit:
        """Return the analysis of the circuit in another form, over the same parameters."""
        return AnalysedCircuit(circuit, self.parameters, encoded=self.encoded)

    @functools.cached_property
    def aer_form(self) -> QuantumCircuit:
        """The same circuit in gates that Aer runs and binds correctly, parameters unchanged.

        Noise that Aer ties to the names of gates finds those that were rewritten.
        """
        return expand(self.circuit, accepts_aer, for_noise=True)

    @functools.cached_property
    def on_aer(self) -> AnalysedCircuit:
        """The analysis of :attr:`aer_form`."""
        return self._rewritten(self.aer_form)

    @functools.cached_property
    def without_boxes(self) -> AnalysedCircuit:
        """The analysis of the circuit with the contents of boxes in place of these."""
        circuit = remove_boxes(self.circuit)
        return self if circuit is self.circuit else self._rewritten(circuit)

    def _rewritten(self, circuit: QuantumCircuit) -> AnalysedCircuit:
        result = self.written(circuit)
        result.original = self.original
        return result

    def frequencies(self, column: int) -> Frequencies:
        """The positive frequencies of expectation values in one parameter of this circuit.

        Raises:
            GradientError: If the parameter enters a non-affine expression, or is in a loop whose
                rounds depend on outcomes.
        """
        self._column(column)
        if self.parameters[column] in self._repeated:
            raise repeated_error([self.parameters[column]], "AQGD")
        if column not in self._frequencies:
            parameter = self.parameters[column]
            operations = self.original._operations_by_parameter.get(parameter, ())
            self._frequencies[column] = find_frequencies(operations, parameter)
        return self._frequencies[column]

    @functools.cached_property
    def _repeated(self) -> frozenset[Parameter]:
        return find_repeated(self.circuit)

    @functools.cached_property
    def _operations_by_parameter(self) -> dict[Parameter, list[Operation]]:
        return operations_by_parameter(self.circuit)


class AnalysisCache:
    """Maps circuits, by content, to their analysis; the least recently used one goes first.

    A circuit that is changed in place is analysed anew, custom gates in it included.

    Args:
        evolutions: The form that evolutions are given in all of them.
        size: How many are kept.
    """

    def __init__(self, evolutions: Evolutions = "definition", size: int = 64) -> None:
        self._evolutions = evolutions
        self._kept: LRUCache[AnalysedCircuit] = LRUCache(size)

    def __call__(self, circuit: QuantumCircuit) -> AnalysedCircuit:
        """Return the analysis of ``circuit``, made now or before."""
        return self._kept(
            content_key(circuit),
            lambda: AnalysedCircuit(circuit.copy(), evolutions=self._evolutions),
        )

    def __len__(self) -> int:
        return len(self._kept)


def _require_places(places: Any, name: str, count: int) -> None:
    if not isinstance(places, (set, frozenset)) or not all(
        is_whole_number(place) and 0 <= place < count for place in places
    ):
        raise InputError(
            f"Expected {name} to be a set of whole numbers from 0 to {count - 1}; got "
            f"{shown(places)}."
        )


def _list_vectors(encoded: Any) -> tuple[Vector, ...]:
    """Return vectors that angles follow from; raise unless all are."""
    if not isinstance(encoded, (list, tuple)) or not all(isinstance(v, Vector) for v in encoded):
        raise ParameterError(
            "Expected encoded to be the vectors of a circuit's rotations, as with_rotations has "
            f"them; got {shown(encoded)}."
        )
    return tuple(encoded)


def _list_parameters(parameters: Any) -> list[Parameter]:
    """Return an order of parameters as a list; raise unless all are parameters."""
    listed = list(parameters) if isinstance(parameters, Iterable) else [parameters]
    if not all(isinstance(p, Parameter) for p in listed):
        raise ParameterError(
            f"Expected parameters to be a list of Parameter objects; got {shown(parameters)}."
        )
    return listed
