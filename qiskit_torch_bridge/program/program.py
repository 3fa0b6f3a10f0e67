# SPDX-License-Identifier: Apache-2.0
"""The program of a quantum node: circuit, observables and roles, normalised at the door."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.quantum_info import SparsePauliOp
from typing_extensions import Self

from ..arguments import require_callable, require_instance, require_real_array, shown
from ..arrays import FloatArray
from ..exceptions import CircuitError, InputError, ParameterError
from .analysis import AnalysedCircuit
from .control_flow import parameters_of
from .deferral import defer
from .encodings import take_vectors, with_vectors
from .identity import same_circuit
from .lowering import accepts_aer, expand, find_active_qubits, restrict_circuit
from .measurements import Measurement
from .observables import Layout, ObservablesLike, observables_array
from .operators import Observable
from .program_state import ProgramDescription, check_state, describe_program, marks_of
from .qpy_bytes import circuit_from_bytes, circuit_to_bytes, read_circuit
from .readouts import Readout
from .weighted_observables import measure_observables

Parameters: TypeAlias = Iterable[Parameter | ParameterVector] | Parameter | ParameterVector
FrozenLike: TypeAlias = Iterable[Parameter | ParameterVector | str] | Parameter | ParameterVector
"""What frozen parameters are given as; text is one of these iterables, a name or a pattern."""


class CircuitProgram:
    r"""A circuit, what to measure and the roles of its parameters; immutable.

    With observables it stands for the function

    .. math:: f_o(x, w) = \langle 0 | U^\dagger(x, w)\, O_o\, U(x, w) | 0 \rangle

    of inputs :math:`x` and weights :math:`w`; with another measurement, such as
    :class:`.Probabilities`, for what that one says. Parameters are bound by identity, whatever
    their names sort like. Programs are equal and hash alike if circuit, measurement and roles
    agree; parameters then correspond by name.

    A ``PauliEvolutionGate`` whose terms do not commute is replaced by its definition, the product
    formula that a transpiler would use too, wherever in the circuit it is and whether or not its
    time is a parameter: simulators on their own take it for the exact exponential, and a circuit
    must be one function wherever it runs. A ``HamiltonianGate`` is its exact exponential.

    Args:
        circuit: Any parameterized circuit, transpiled or not: of gates, and of measurements, resets
            and control flow in its middle. It is copied.
        observables: A ``SparsePauliOp``, ``Pauli``, label, mapping of labels to real
            coefficients, or nested lists of these; default Z on each qubit. Labels may have the
            letters of one-qubit projectors, ``0 1 + - r l``. Or a measurement:
            :class:`.Probabilities`, :class:`.CVaR`, :class:`.Variance`, :class:`.Purity`,
            :class:`.Entropy`, :class:`.Fidelity`, :class:`.State`.
        input_params: Parameters fed from outside, in the order of the inputs' last axis; a
            ``ParameterVector`` stands for its elements. Default: none.
        weight_params: Parameters with weights, in the order of the weights. Default: every
            parameter of the circuit that is not an input.
        frozen_params: Those of the weights that are not trained: parameters, vectors, names, or
            patterns of names in which ``*`` stands for any text and ``?`` for a letter. No
            derivative with respect to them is evaluated.
        observables_layout: Whether observables refer to the ``"virtual"`` qubits before
            transpilation or to the ``"physical"`` ones; ``"auto"`` tells by their width.

    Attributes:
        measurement: What is asked of the final state.
        readout: What an engine reads for it, on the circuit's qubits.
        output_shape: The shape of the output of one row: how the observables were nested, ``(O,)``
            for a flat list; or what the measurement says.

    Raises:
        CircuitError: If the circuit cannot be run or differentiated.
        ObservableError: If an observable does not fit or is not Hermitian.
        ParameterError: If a parameter is foreign, missing, doubled or in two roles.

    Example:
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit_torch_bridge import CircuitProgram
        >>> x, w = Parameter("x"), Parameter("a")
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.ry(x, 0), circuit.rx(w, 0)
        >>> CircuitProgram(circuit, "Z", input_params=[x])
        CircuitProgram(qubits=1, inputs=[x], weights=[a], observables=[Z])
    """

    analysed: AnalysedCircuit
    measurement: Measurement
    readout: Readout
    output_shape: tuple[int, ...]
    input_params: tuple[Parameter, ...]
    weight_params: tuple[Parameter, ...]
    input_columns: tuple[int, ...]
    weight_columns: tuple[int, ...]
    frozen_params: tuple[Parameter, ...]
    coefficient_places: NDArray[np.int64]

    def __init__(
        self,
        circuit: QuantumCircuit,
        observables: ObservablesLike | Measurement | None = None,
        *,
        input_params: Parameters | None = None,
        weight_params: Parameters | None = None,
        frozen_params: FrozenLike | None = None,
        observables_layout: Layout = "auto",
    ) -> None:
        if not isinstance(circuit, QuantumCircuit):
            raise CircuitError(f"Expected a QuantumCircuit; got {type(circuit).__name__}.")
        measurement = observables
        if not isinstance(measurement, Measurement):
            measurement = measure_observables(measurement)
        bound = measurement.bind(circuit.copy(), observables_layout)
        circuit = bound.circuit
        known = list(dict.fromkeys([*parameters_of(circuit), *bound.parameters]))
        inputs = list_parameters(input_params, known, "input_params")
        if weight_params is None:
            taken = set(inputs)
            weights = tuple(p for p in known if p not in taken)
        else:
            weights = list_parameters(weight_params, known, "weight_params")
            check_roles(known, inputs, weights)
        analysed = AnalysedCircuit(circuit, tuple(dict.fromkeys([*known, *inputs, *weights])))
        frozen = find_frozen(frozen_params, weights)
        self._set(analysed, bound.measurement, bound.readout, bound.shape, inputs, weights, frozen)

    def _set(
        self,
        analysed: AnalysedCircuit,
        measurement: Measurement,
        readout: Readout,
        shape: tuple[int, ...],
        inputs: tuple[Parameter, ...],
        weights: tuple[Parameter, ...],
        frozen: tuple[Parameter, ...] = (),
    ) -> Self:
        """Put parts that have been normalised before into this program, and return it."""
        column_of = analysed.column_of
        names = names_of((*inputs, *weights)) if measurement.coefficients else []
        places = [names.index(c) for c in measurement.coefficients if c in names]  # of angles: none
        self.__dict__.update(
            analysed=analysed,
            measurement=measurement,
            readout=readout,
            output_shape=shape,
            input_params=inputs,
            weight_params=weights,
            input_columns=tuple(column_of[p] for p in inputs),
            weight_columns=tuple(column_of[p] for p in weights),
            frozen_params=frozen,
            coefficient_places=np.array(places, dtype=np.int64),
        )
        return self

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"A CircuitProgram is immutable: cannot set {name}. Make a new one.")

    @property
    def circuit(self) -> QuantumCircuit:
        """The circuit as it will be evaluated. Treat it as read-only."""
        return self.analysed.circuit

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The ``P`` parameters in the order of the values' last axis."""
        return self.analysed.parameters

    @property
    def observables(self) -> tuple[Observable, ...]:
        """The operators that are read, on the circuit's qubits; none for other measurements.

        Each is a ``SparsePauliOp``, or a sum of products with a ``to_list()`` of the same form
        where projectors are named.
        """
        return self.readout.operators

    @property
    def measured(self) -> str:
        """What is measured, in words that ``print`` shows."""
        return self.measurement.describe(self.readout)

    @property
    def num_outputs(self) -> int:
        """The real numbers that an engine gives for each row, nesting flattened."""
        return self.readout.size

    @functools.cached_property
    def placement(self) -> NDArray[np.int64]:
        """For each parameter its position in inputs followed by weights: shape ``(P,)``."""
        order = np.empty(len(self.parameters), dtype=np.int64)
        order[list(self.input_columns + self.weight_columns)] = np.arange(len(order))
        return order

    def placed(self, x: FloatArray, w: FloatArray) -> FloatArray:
        """Put inputs ``(B, I)`` and weights ``(1, W)`` or ``(B, W)`` in order: ``(B, P)``."""
        if not (type(x) is type(w) is np.ndarray and x.ndim == w.ndim == 2):
            x = require_real_array(x, "x", (None, len(self.input_params)))
            w = require_real_array(w, "w", (None, len(self.weight_params)))
        if x.shape[1] + w.shape[1] != len(self.parameters) or len(w) not in (1, len(x)):
            raise InputError(
                f"Expected inputs of shape (B, {len(self.input_params)}) and weights of shape "
                f"(1, {len(self.weight_params)}) or (B, {len(self.weight_params)}); got {x.shape} "
                f"and {w.shape}."
            )
        rows = np.broadcast_to(w, (len(x), w.shape[1]))
        return np.concatenate([x, rows], axis=-1)[:, self.placement]

    @functools.cached_property
    def observables_array(self) -> ObservablesArray:
        """The observables as the column ``(O, 1)`` that broadcasts against a PUB's points."""
        return observables_array([[operator] for operator in self.observables])

    @functools.cached_property
    def projectors_array(self) -> ObservablesArray:
        """The same column for who takes projectors: what names some is left as it is."""
        if all(isinstance(operator, SparsePauliOp) for operator in self.observables):
            return self.observables_array
        return observables_array([[o] for o in self.observables], projectors=True)

    def rewritten(self, rewrite: Callable[[QuantumCircuit], QuantumCircuit]) -> CircuitProgram:
        """Return the program with its circuit transformed and what is measured moved along.

        Args:
            rewrite: For instance ``pass_manager.run``. If the circuit that it returns has a
                layout, what is measured gets it too.
        """
        require_callable(rewrite, "rewrite", "a function of a circuit, such as pass_manager.run")
        circuit = rewrite(self.circuit)
        if not isinstance(circuit, QuantumCircuit):
            raise CircuitError(
                f"Expected the pass manager's run to return a QuantumCircuit; got "
                f"{type(circuit).__name__}."
            )
        readout = self.readout
        if circuit.layout is not None and circuit.layout is not self.circuit.layout:
            readout = readout.apply_layout(circuit.layout, circuit.num_qubits)
        elif circuit.num_qubits != self.circuit.num_qubits:
            raise CircuitError(
                f"The pass manager returned a circuit of {circuit.num_qubits} qubits without a "
                f"layout for a circuit of {self.circuit.num_qubits}; what is measured cannot "
                "be placed on it. Use a pass manager that sets the layout."
            )
        encoded = {p for vector in self.analysed.encoded for p in vector.angles}
        foreign = set(circuit.parameters) - set(self.parameters) - encoded
        if foreign:
            raise CircuitError(
                f"The pass manager returned a circuit with new parameters "
                f"{sorted(p.name for p in foreign)}."
            )
        return self._with_circuit(circuit, readout)

    def without_idle_qubits(self) -> tuple[CircuitProgram, tuple[int, ...]]:
        """Return the program on the qubits that are acted on or read out, and which these are.

        The values are the same; simulators need not carry the others.
        """
        kept = tuple(sorted({*find_active_qubits(self.circuit), *self.readout.measured}))
        circuit = restrict_circuit(self.circuit, kept)
        return self._with_circuit(circuit, self.readout.restrict(kept)), kept

    def with_readout(self, readout: Readout) -> CircuitProgram:
        """Return the program of the same circuit of which something else is read."""
        require_instance(readout, "readout", Readout, "a Readout")
        return self._changed(readout=readout)

    def _changed(
        self, analysed: AnalysedCircuit | None = None, readout: Readout | None = None
    ) -> CircuitProgram:
        """Return the program of the same measurement and roles with another circuit or readout."""
        parts = (analysed or self.analysed, self.measurement, readout or self.readout)
        roles = (self.input_params, self.weight_params, self.frozen_params)
        return _new_program()._set(*parts, self.output_shape, *roles)

    @property
    def trained_params(self) -> tuple[Parameter, ...]:
        """The weights that are trained, in their order."""
        return tuple(self.weight_params[k] for k in self.trained)

    @functools.cached_property
    def trained(self) -> tuple[int, ...]:
        """Which of the weights are trained, ascending."""
        frozen = set(self.frozen_params)
        return tuple(k for k, p in enumerate(self.weight_params) if p not in frozen)

    @functools.cached_property
    def frozen(self) -> tuple[int, ...]:
        """Which of the weights are frozen, ascending."""
        return tuple(sorted({*range(len(self.weight_params))}.difference(self.trained)))

    @functools.cached_property
    def trained_columns(self) -> tuple[int, ...]:
        """Where the trained weights are among the parameters."""
        return tuple(self.weight_columns[k] for k in self.trained)

    @functools.cached_property
    def weight_placement(self) -> NDArray[np.int64]:
        """For each weight its position in the trained ones followed by the frozen: ``(W,)``."""
        return np.argsort([*self.trained, *self.frozen])

    def with_frozen(self, frozen_params: FrozenLike | None) -> CircuitProgram:
        """Return the program in which other weights are frozen; those that are not are trained.

        Args:
            frozen_params: As for the program; ``None`` to train all weights.
        """
        frozen = find_frozen(frozen_params, self.weight_params)
        parts = (self.analysed, self.measurement, self.readout, self.output_shape)
        return _new_program()._set(*parts, self.input_params, self.weight_params, frozen)

    def _with_circuit(self, circuit: QuantumCircuit, readout: Readout) -> CircuitProgram:
        return self._changed(self.analysed.written(circuit), readout)

    @functools.cached_property
    def on_aer(self) -> CircuitProgram:
        """The program in gates that Aer runs and binds correctly, and that QPY keeps."""
        return self.rewritten(lambda _: self.analysed.aer_form)

    @functools.cached_property
    def without_boxes(self) -> CircuitProgram:
        """The program with the contents of boxes in place of these, for simulators."""
        plain = self.analysed.without_boxes
        return self if plain is self.analysed else self.rewritten(lambda _: plain.circuit)

    @functools.cached_property
    def deferred(self) -> CircuitProgram:
        """The program with measurements, resets and control flow deferred, for simulators.

        It has the same parameters in the same roles, and is itself if its circuit has gates alone;
        see :mod:`.deferral`.

        Raises:
            CircuitError: If something depends on outcomes in a way that cannot be deferred.
            MeasurementError: If what is asked of the state is for pure states, and it is mixed.
        """
        analysed, readout = defer(self.analysed, self.readout)
        if analysed is self.analysed:
            return self
        if analysed.circuit.num_qubits > self.circuit.num_qubits:
            self.measurement.check_mixed()
        return self._changed(analysed, readout)

    @functools.cached_property
    def with_rotations(self) -> CircuitProgram:
        """The program with rotations in place of its preparations of amplitudes.

        Estimators and samplers bind their angles, which follow from the same values.
        """
        rotated = self.analysed.with_rotations
        return self if rotated is self.analysed else self._changed(rotated)

    def on(self, analysed: AnalysedCircuit) -> CircuitProgram:
        """Return the same measurement of another form of the circuit, all parameters inputs."""
        require_instance(analysed, "analysed", AnalysedCircuit, "an AnalysedCircuit")
        parts = (self.measurement, self.readout, self.output_shape)
        return _new_program()._set(analysed, *parts, analysed.parameters, ())

    @functools.cached_property
    def marks(self) -> dict[str, str]:
        """Short texts that tell the program from others: see :func:`.marks_of`."""
        return marks_of(self)

    def to_state(self) -> dict[str, Any]:
        """Return the program as plain bytes and text: QPY, and JSON for the rest.

        Raises:
            StateDictError: If Qiskit cannot write the circuit.
        """
        return dict(self._state)

    @functools.cached_property
    def _state(self) -> dict[str, Any]:
        return self._write(for_pickle=False)

    def _write(self, for_pickle: bool) -> dict[str, Any]:
        encoded = self.analysed.encoded
        order = (*self.parameters, *(p for vector in encoded for p in vector.angles))
        whole = with_vectors(self.circuit, encoded)
        circuit, expanded = circuit_to_bytes(whole, order, for_pickle=for_pickle)
        return {"circuit": circuit, "program": describe_program(self, expanded)}

    @classmethod
    def from_state(cls, state: Any, *, max_bytes: int | None = None) -> CircuitProgram:
        """Rebuild a program from :meth:`to_state`.

        Nothing in the state is executed, wherever it comes from.

        Args:
            state: What :meth:`to_state` returned.
            max_bytes: What the circuit may take in memory; default: 256 MiB and 64 times the size
                of its bytes.

        Raises:
            StateDictError: If the state is damaged, was written by a newer Qiskit or an earlier
                release, or would take more memory.
        """
        check_state(state)
        return _rebuild(circuit_from_bytes(state["circuit"], max_bytes), state["program"])

    def difference(self, other: CircuitProgram) -> str | None:
        """Name the first thing in which two programs differ; ``None`` if they are equal."""
        require_instance(other, "other", CircuitProgram, "a CircuitProgram")
        parts: tuple[tuple[str, object, object], ...] = (
            ("qubits", self.circuit.num_qubits, other.circuit.num_qubits),
            ("inputs", names_of(self.input_params), names_of(other.input_params)),
            ("weights", names_of(self.weight_params), names_of(other.weight_params)),
            ("frozen weights", names_of(self.frozen_params), names_of(other.frozen_params)),
            ("measurement", self.measurement, other.measurement),
            ("shape of outputs", self.output_shape, other.output_shape),
        )
        for what, mine, theirs in parts:
            if mine != theirs:
                return f"{what}: {mine} against {theirs}"
        different = self.readout.difference(other.readout)
        if different is not None:
            return different
        if not same_circuit(
            self.circuit,
            other.circuit,
            (*self.input_params, *self.weight_params),
            (*other.input_params, *other.weight_params),
        ):
            return "the circuit's gates or angles"
        return None

    def difference_from_state(
        self, state: dict[str, Any], *, max_bytes: int | None = None
    ) -> str | None:
        """Name the first thing in which a saved program differs from this one."""
        saved = CircuitProgram.from_state(state, max_bytes=max_bytes)
        if ProgramDescription.parse(state["program"]).expanded:
            # What is saved needs no noise, and no step that does nothing but carry it.
            return self.rewritten(lambda c: expand(c, accepts_aer)).difference(saved)
        return self.difference(saved)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CircuitProgram):
            return NotImplemented
        return self is other or self.difference(other) is None

    def __hash__(self) -> int:
        return hash(
            (
                self.circuit.num_qubits,
                len(self.circuit.data),
                tuple(names_of(self.input_params)),
                tuple(names_of(self.weight_params)),
                self.output_shape,
            )
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # Through QPY that was read back and compared: on some versions Qiskit's own pickle changes
        # parameter expressions. What was derived is worked out again where the program arrives.
        return _from_pickle, (self._write(for_pickle=True),)

    def __copy__(self) -> CircuitProgram:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> CircuitProgram:
        return self

    def __repr__(self) -> str:
        return (
            f"CircuitProgram(qubits={self.circuit.num_qubits}, "
            f"inputs=[{', '.join(names_of(self.input_params))}], "
            f"weights=[{', '.join(names_of(self.weight_params))}], "
            f"{self.measured})"
        )


def _new_program() -> CircuitProgram:
    return CircuitProgram.__new__(CircuitProgram)


def _from_pickle(state: dict[str, Any]) -> CircuitProgram:
    return _rebuild(read_circuit(state["circuit"]), state["program"])


def _rebuild(circuit: QuantumCircuit, text: str) -> CircuitProgram:
    """Make a program from a circuit that was read and the text beside it."""
    described = ProgramDescription.parse(text)
    circuit, encoded = take_vectors(circuit, described.angles)
    parameters, *roles = described.find_parameters(circuit, encoded)
    analysed = AnalysedCircuit(circuit, parameters, encoded=encoded)
    parts = (described.measurement, described.readout, described.shape)
    return _new_program()._set(analysed, *parts, *roles)


# -- roles ---------------------------------------------------------------------------------------


def names_of(parameters: Iterable[Parameter]) -> list[str]:
    """Return the parameters' names, in order."""
    return [p.name for p in parameters]


def as_program(
    circuit: QuantumCircuit | CircuitProgram, observables: Any = None, **roles: Any
) -> CircuitProgram:
    """Return a program as it is, or that of a circuit with the arguments that are not ``None``.

    Raises:
        InputError: If a program is given together with what it has already.
    """
    given = {"observables": observables, **roles}
    given = {name: value for name, value in given.items() if value is not None}
    if not isinstance(circuit, CircuitProgram):
        return CircuitProgram(circuit, **given)
    if given:
        raise InputError(
            f"A CircuitProgram already has its {next(iter(given))}; give it when making the "
            "program."
        )
    return circuit


def list_parameters(
    given: Parameters | None, known: Sequence[Parameter], role: str
) -> tuple[Parameter, ...]:
    """Flatten a list of parameters and vectors, refusing what is foreign or doubled."""
    if given is None:
        return ()
    items: list[object] = [given]
    if isinstance(given, Iterable) and not isinstance(
        given, (Parameter, ParameterVector, str, bytes, Mapping)
    ):
        items = list(given)
    circuit_parameters = set(known)
    result: list[Parameter] = []
    for item in items:
        if isinstance(item, ParameterVector):
            # Elements that the circuit does not use are kept: their derivative is zero.
            if not circuit_parameters.intersection(item):
                raise _foreign(item.name, known, role)
            result += list(item)
        elif not isinstance(item, Parameter):
            raise ParameterError(
                f"Expected {role} to hold Parameter or ParameterVector objects; got "
                f"{type(item).__name__} {shown(item)}. Use the objects that the circuit was built "
                "with, or pick from circuit.parameters."
            )
        elif item not in circuit_parameters:
            raise _foreign(item.name, known, role)
        else:
            result.append(item)
    if len(set(result)) < len(result):
        doubled = sorted({p.name for p, count in Counter(result).items() if count > 1})
        raise ParameterError(f"{role} lists {', '.join(doubled)} more than once.")
    return tuple(result)


def _foreign(name: str, known: Sequence[Parameter], role: str) -> ParameterError:
    names = names_of(known)
    if name in names:
        hint = (
            "The circuit has another Parameter object of that name; parameters are matched by "
            "identity, so pass the circuit's own, from circuit.parameters."
        )
    else:
        hint = f"The circuit's parameters are {', '.join(names) or '(none)'}."
    return ParameterError(f"{role} lists {name}, which the circuit does not contain. {hint}")


def find_frozen(given: FrozenLike | None, weights: Sequence[Parameter]) -> tuple[Parameter, ...]:
    """Return the weights that parameters, vectors, names and patterns of names mean."""
    if given is None:
        return ()
    one = isinstance(given, (str, bytes, Mapping, Parameter, ParameterVector))
    items = [given] if one or not isinstance(given, Iterable) else list(given)
    found: set[Parameter] = set()
    for item in items:
        if not isinstance(item, str):
            found.update(list_parameters(cast(Any, [item]), weights, "frozen_params"))
            continue
        pattern = re.escape(item).replace(r"\*", ".*").replace(r"\?", ".")
        matching = [p for p in weights if re.fullmatch(pattern, p.name)]
        if not matching:
            raise ParameterError(
                f"Expected frozen_params to name weights of the circuit; none is like {item!r}. "
                f"The weights are {', '.join(names_of(weights)) or '(none)'}."
            )
        found.update(matching)
    return tuple(p for p in weights if p in found)


def check_roles(
    known: Sequence[Parameter], inputs: Sequence[Parameter], weights: Sequence[Parameter]
) -> None:
    """Raise unless every parameter of the circuit has exactly one role."""
    both = sorted(p.name for p in set(inputs) & set(weights))
    if both:
        raise ParameterError(
            f"Parameters {', '.join(both)} are listed as inputs and as weights; each must have "
            "one role."
        )
    listed_once = set(inputs) | set(weights)
    unlisted = [p.name for p in known if p not in listed_once]
    if unlisted:
        raise ParameterError(
            f"Parameters {', '.join(unlisted)} are neither inputs nor weights. List them in "
            "input_params or weight_params, or leave weight_params out to train all that are "
            "not inputs."
        )
