# SPDX-License-Identifier: Apache-2.0
"""A circuit with everything that its gradients need to know, derived once and kept."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

import numpy as np
from qiskit.circuit import Operation, Parameter, ParameterExpression, QuantumCircuit

from ..arguments import (
    as_real,
    require_choice,
    require_instance,
    require_real_array,
    require_whole_number,
    shown,
)
from ..arrays import FloatArray
from ..exceptions import CircuitError, InputError, ParameterError
from ..lru_cache import LRUCache
from .angle_map import AngleMap
from .binding import assign_in_qiskit, assign_parameters, refuse_miscomputed
from .definitions import is_standard, operations_of
from .evolutions import Evolutions
from .expressions import expressions_of, is_free
from .identity import content_key
from .lowering import accepts_aer, accepts_shift, expand, remove_boxes, split_angles
from .parameter_frequencies import Frequencies, find_frequencies, operations_by_parameter
from .validation import leaf_expressions_of, validate


class AnalysedCircuit:
    """A validated circuit, its parameters in a fixed order, and what is derived from them.

    Args:
        circuit: Any circuit of unitary gates; parameters may occur anywhere in it.
        parameters: The order of the values; default ``circuit.parameters``. Parameters that the
            circuit does not contain are allowed and have derivative zero.
        evolutions: What an evolution by terms that do not commute stands for: the product formula
            of its ``"definition"``, or the ``"exponential"`` that Qiskit's simulators take.

    Attributes:
        circuit: The circuit to evaluate.
        steps: Its operations with the indices of their qubits, without boxes; read-only.
        parameters: The ``P`` parameters, the order of the last axis of ``values``.
        column_of: Where each of them is in it.
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
    ) -> None:
        require_choice(evolutions, "evolutions", get_args(Evolutions), error=CircuitError)
        self.circuit, self.steps = validate(circuit, evolutions)
        self.parameters = tuple(
            circuit.parameters if parameters is None else _list_parameters(parameters)
        )
        self.column_of = {p: column for column, p in enumerate(self.parameters)}
        present = self.circuit.parameters
        if not all(map(self.column_of.__contains__, present)):
            missing = sorted(p.name for p in present if p not in self.column_of)
            raise ParameterError(f"The circuit's parameters {missing} have no place in the order.")
        self.original = self
        expressions: list[ParameterExpression] = []
        for operation, _ in self.steps:
            if not is_standard(operation):
                expressions += leaf_expressions_of(operation)
            elif operation.params:
                expressions += filter(is_free, operation.params)
        self._expressions = AngleMap(expressions, self.column_of)
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
        return self._column(column) in self._expressions.used_columns

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
        self._expressions.check(values, first_row)

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
        foreign = [p.name for p in names if p not in self.column_of]
        if foreign:
            raise ParameterError(
                f"Expected a form of this circuit; got one with other parameters: {foreign}."
            )
        return {names: self._values(values)[..., [self.column_of[p] for p in names]]}

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
            return assign_parameters(self.circuit, values)
        return assign_in_qiskit(self.circuit, {p: values[p] for p in present})

    @functools.cached_property
    def shift_form(self) -> tuple[AnalysedCircuit, AngleMap]:
        """The circuit with one parameter per gate angle, and the map to those angles.

        Every parameterized gate of it has angles that a two-term shift differentiates exactly;
        fixed gates stay as they are. A circuit that has this form already is its own.
        """
        operations = [operation for operation, _ in self.steps]
        if all(map(accepts_shift, operations)):
            angles = [e for operation in operations for e in expressions_of(operation)]
            if all(isinstance(e, Parameter) for e in angles) and len(set(angles)) == len(angles):
                own = [p if self.is_used(c) else 0.0 for c, p in enumerate(self.parameters)]
                return self, AngleMap(own, self.column_of)
        split, expressions = split_angles(expand(self.circuit, accepts_shift, for_noise=True))
        return AnalysedCircuit(split), AngleMap(expressions, self.column_of)

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
        result = AnalysedCircuit(circuit, self.parameters)
        result.original = self.original
        return result

    def frequencies(self, column: int) -> Frequencies:
        """The positive frequencies of expectation values in one parameter of this circuit.

        Raises:
            GradientError: If the parameter enters a non-affine expression.
        """
        self._column(column)
        if column not in self._frequencies:
            parameter = self.parameters[column]
            operations = self.original._operations_by_parameter.get(parameter, ())
            self._frequencies[column] = find_frequencies(operations, parameter)
        return self._frequencies[column]

    @functools.cached_property
    def _operations_by_parameter(self) -> dict[Parameter, list[Operation]]:
        return operations_by_parameter(operations_of(self.circuit))


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


def _list_parameters(parameters: Any) -> list[Parameter]:
    """Return an order of parameters as a list; raise unless all are parameters."""
    listed = list(parameters) if isinstance(parameters, Iterable) else [parameters]
    if not all(isinstance(p, Parameter) for p in listed):
        raise ParameterError(
            f"Expected parameters to be a list of Parameter objects; got {shown(parameters)}."
        )
    return listed
