# SPDX-License-Identifier: Apache-2.0
"""What a module takes from an algorithm object or from a network of qiskit-machine-learning.

Everything is read from public attributes and by what an object has, not by its class, so that the
algorithms of qiskit-optimization and of older releases are understood as well.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from numbers import Integral
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.primitives import BaseEstimatorV2, BaseSamplerV2, StatevectorSampler
from qiskit.quantum_info.operators.base_operator import BaseOperator
from qiskit_algorithms.gradients import BaseEstimatorGradient, BaseSamplerGradient

from ..arguments import as_real, shown
from ..arrays import FloatArray
from ..backends.counterparts import find_counterpart
from ..backends.prepare import PassManager
from ..exceptions import AlgorithmError, AlgorithmTypeError
from ..execution import Exact, Execution, GradientChoice
from ..primitives import BatchedStatevectorSampler
from ..primitives.capabilities import is_exact
from ..primitives.families import Primitive
from ..primitives.precision import default_shots
from ..program.final_measurements import split_final_measurements
from ..program.interpretations import TABULATED
from ..program.measurements import Measurement
from ..program.outcome_measurements import CVaR, Probabilities
from ..program.readouts import Outcomes

_log = logging.getLogger("qiskit_torch_bridge")

PLACES = frozenset({"estimator", "backend"})
"""Arguments of a module that say where to run, in the place of the algorithm's own primitive."""

EXACT_GRADIENTS = frozenset(
    f"{method}{primitive}Gradient"
    for method in ("Adjoint", "LinComb", "ParamShift")
    for primitive in ("Estimator", "Sampler")
)
"""Gradients that are exact where their primitive is."""

NETWORK_PRECISION = 0.015625
"""The precision that networks ask of their estimator where nobody has chosen one."""

NETWORK_GRADIENTS: dict[str, str | None] = {
    "ParamShiftEstimatorGradient": "parameter-shift",
    "ParamShiftSamplerGradient": "parameter-shift",
    "SPSAEstimatorGradient": "spsa",
    "SPSASamplerGradient": "spsa",
    "FiniteDiffEstimatorGradient": "finite-difference",
    "FiniteDiffSamplerGradient": "finite-difference",
    "LinCombEstimatorGradient": None,
    "LinCombSamplerGradient": None,
    "NoneType": None,
}
"""What stands for the gradients of networks; ``None`` for the default."""

Asked: TypeAlias = "BaseOperator | list[BaseOperator] | Measurement"


@dataclass(frozen=True)
class ModuleParts:
    """What a module is made of, as far as an algorithm or a network says it.

    Attributes:
        circuit: The ansatz.
        observables: The operators, or another measurement.
        execution: Where and how they are evaluated.
        input_params: The parameters that are inputs; ``None`` for the module's default.
        weight_params: Those that are weights; likewise.
        observables_layout: What the observables refer to; likewise.
        initial_weights: Where to start; likewise.
    """

    circuit: QuantumCircuit
    observables: Asked
    execution: Execution
    input_params: list[Parameter] | None = None
    weight_params: list[Parameter] | None = None
    observables_layout: str | None = None
    initial_weights: FloatArray | list[float] | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """The keywords that make the module: ``TorchQuantumModule(**arguments)``."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "execution"}
        given = {name: value for name, value in own.items() if value is not None}
        return {**given, **self.execution.given}


def read_algorithm(
    algorithm: object,
    operator: BaseOperator,
    result: object = None,
    given: Collection[str] = (),
) -> ModuleParts:
    """Return what a module takes from an algorithm object.

    Args:
        algorithm: ``VQE``, ``VQD``, ``SamplingVQE``, ``QAOA``, ``AdaptVQE`` that has run, or
            another object with an ``ansatz`` and an ``estimator`` or ``sampler``.
        operator: The operator whose expectation value is wanted.
        result: A result of the algorithm; its circuit and parameters take the place of the ansatz
            and of the initial point.
        given: Names of arguments that the user gives, which need not be found in the algorithm.

    Raises:
        AlgorithmTypeError: If it is not an algorithm.
        AlgorithmError: If something is missing in it, or has no counterpart in a module.
    """
    named = _read_names(given)
    algorithm = _unwrap_solver(algorithm, result)
    _check_algorithm(algorithm)
    asked = _aggregate(algorithm, operator)
    found = _read_result(result)
    circuit = (_find_ansatz(algorithm, operator) if found is None else found).copy()
    if "measure" in circuit.count_ops():  # SamplingVQE leaves its own in the ansatz
        with warnings.catch_warnings():  # of Qiskit 2.2, when it puts back registers of its own
            warnings.filterwarnings("ignore", "Trying to add QuantumRegister", UserWarning)
            circuit.remove_final_measurements()
    transpiler = _find_transpiler(algorithm, found)
    return ModuleParts(
        circuit=circuit,
        observables=asked,
        execution=_read_execution(algorithm, asked, circuit.num_qubits, named, transpiler),
        observables_layout=None if circuit.layout is None else _find_layout(circuit, operator),
        initial_weights=(
            None if "initial_weights" in named else _find_start(algorithm, circuit, result)
        ),
    )


def read_qnn(qnn: object, given: Collection[str] = ()) -> ModuleParts:
    """Return what a module takes from a network of qiskit-machine-learning.

    Args:
        qnn: An ``EstimatorQNN`` or a ``SamplerQNN``.
        given: Names of arguments that the user gives, which need not be found in the network.

    Raises:
        AlgorithmTypeError: If it is another kind of network.
        AlgorithmError: If its primitive is of version 1, or its gradient or what it makes of
            outcomes has no counterpart.
    """
    kind = _SAMPLER_QNN if hasattr(qnn, "sampler") else _ESTIMATOR_QNN
    missing = [a for a in ("circuit", *kind.attributes, *_ROLES) if not hasattr(qnn, a)]
    if missing:
        raise AlgorithmTypeError(
            "Expected an EstimatorQNN or a SamplerQNN of qiskit-machine-learning; got "
            f"{type(qnn).__name__}, which has no {missing[0]}."
        )
    network: Any = qnn
    return ModuleParts(
        circuit=network.circuit,
        observables=kind.measurement(network),
        execution=_read_network_execution(network, kind, _read_names(given)),
        input_params=list(network.input_params or ()),
        weight_params=list(network.weight_params or ()),
        observables_layout=None if network.circuit.layout is None else kind.layout,
    )


def _read_names(given: Collection[str]) -> set[str]:
    """Return the names of arguments that are given, or say what else it is."""
    names: object = given
    listed = isinstance(names, Collection) and not isinstance(names, (str, bytes))
    if not listed or not all(isinstance(name, str) for name in given):
        raise AlgorithmTypeError(
            f"Expected given to be a collection of names of arguments; got {shown(given)}."
        )
    return set(given)


# -- Algorithms ----------------------------------------------------------------------------------


def _unwrap_solver(algorithm: object, result: object) -> object:
    """Return the algorithm that has the ansatz: AdaptVQE grows that of its solver."""
    while (solver := getattr(algorithm, "solver", None)) is not None:
        if result is None and not getattr(algorithm, "_excitation_list", None):
            raise AlgorithmError(
                f"The ansatz of {type(algorithm).__name__} is grown by "
                "compute_minimum_eigenvalue, which has not been called. Call it first, or give its "
                "result=."
            )
        algorithm = solver
    return algorithm


def _check_algorithm(algorithm: object) -> None:
    name = type(algorithm).__name__
    if not any(hasattr(algorithm, a) for a in ("estimator", "sampler")):
        raise AlgorithmTypeError(
            "Expected an algorithm with an ansatz and an estimator or a sampler, such as VQE, "
            f"SamplingVQE, QAOA or AdaptVQE; got {name}."
        )


def _aggregate(algorithm: object, operator: BaseOperator) -> Asked:
    """Return what is made of an operator's values: the mean, or the mean of the lowest."""
    aggregation = getattr(algorithm, "aggregation", None)
    if aggregation is None:
        return operator
    if callable(aggregation):
        name = getattr(aggregation, "__name__", shown(aggregation))
        raise AlgorithmError(
            f"{type(algorithm).__name__} has aggregation={name}, a function; a module gives the "
            "plain mean, or with a number the mean of the lowest values (CVaR). Set aggregation to "
            "None or to a number, or keep the algorithm."
        )
    alpha = as_real(aggregation)
    return operator if math.isclose(alpha, 1) else CVaR(operator, alpha)


def _is_qaoa(algorithm: object) -> bool:
    """Whether it builds its ansatz from the operator that it is given."""
    return hasattr(algorithm, "reps") and hasattr(algorithm, "mixer")


def _find_ansatz(algorithm: Any, operator: BaseOperator) -> QuantumCircuit:
    if _is_qaoa(algorithm):
        return _build_qaoa_ansatz(algorithm, operator)
    ansatz = getattr(algorithm, "ansatz", None)
    name = type(algorithm).__name__
    found = "none" if ansatz is None else type(ansatz).__name__
    if isinstance(ansatz, QuantumCircuit):
        if ansatz.num_parameters:
            return ansatz
        found = "a circuit without parameters"
    raise AlgorithmError(
        f"Expected {name} to have an ansatz, a parameterized QuantumCircuit; it has {found}. Set "
        f"{name}.ansatz, or create the module from the circuit: TorchQuantumModule(circuit, "
        "operator)."
    )


def _build_qaoa_ansatz(algorithm: Any, operator: BaseOperator) -> QuantumCircuit:
    options = {
        "reps": algorithm.reps,
        "initial_state": algorithm.initial_state,
        "mixer_operator": algorithm.mixer,
    }
    if not isinstance(algorithm.mixer, QuantumCircuit):  # which the function does not take
        try:
            from qiskit.circuit.library import qaoa_ansatz

            return qaoa_ansatz(operator, **options)
        except ImportError:
            pass  # an older Qiskit has the class alone
    from qiskit.circuit.library import QAOAAnsatz

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        circuit = QAOAAnsatz(operator, **options)
        return circuit.decompose()


def _find_transpiler(algorithm: Any, found: QuantumCircuit | None) -> PassManager | None:
    """Return what transpiles the ansatz, or the circuit of a result unless it was transpiled."""
    if found is not None and found.layout is not None:
        return None
    transpiler = getattr(algorithm, "_transpiler", None)
    if found is None and _is_qaoa(algorithm) and transpiler is not None:
        options = getattr(algorithm, "_transpiler_options", None) or {}
        return TranspilerWithOptions(transpiler, options)
    # VQE of qiskit-algorithms transpiles an ansatz when it is given, qiskit-optimization later.
    return getattr(algorithm, "pass_manager", None)


class TranspilerWithOptions:
    """A pass manager for an object whose ``run`` takes options, as algorithms keep it."""

    def __init__(self, transpiler: Any, options: dict[str, Any]) -> None:
        self._transpiler, self._options = transpiler, options

    def run(self, circuits: QuantumCircuit, /) -> QuantumCircuit:
        """Return the transpiled circuit."""
        transpiled: QuantumCircuit = self._transpiler.run(circuits, **self._options)
        return transpiled


def _read_result(result: object) -> QuantumCircuit | None:
    circuit = getattr(result, "optimal_circuit", None)
    if result is not None and not isinstance(circuit, QuantumCircuit):
        raise AlgorithmTypeError(
            "Expected result to be what compute_minimum_eigenvalue returned, with an "
            f"optimal_circuit; got {type(result).__name__}."
        )
    return circuit


def _find_layout(circuit: QuantumCircuit, operator: BaseOperator) -> str:
    width = getattr(operator, "num_qubits", None)
    virtual = len(circuit.layout.final_index_layout())
    # As VQE does: an operator is meant before transpilation if it can be.
    return "physical" if width == circuit.num_qubits != virtual else "virtual"


def _find_start(
    algorithm: object, circuit: QuantumCircuit, result: Any
) -> FloatArray | list[float] | None:
    if result is not None:
        return [float(result.optimal_parameters[p]) for p in circuit.parameters]
    start: Sequence[float] | FloatArray | None = getattr(algorithm, "initial_point", None)
    if start is None:
        start = getattr(getattr(algorithm, "ansatz", None), "preferred_init_points", None)
        if start is None or len(start) != circuit.num_parameters:
            return None
    start = np.asarray(start)
    if start.shape != (circuit.num_parameters,):
        raise AlgorithmError(
            f"Expected an initial point for {circuit.num_parameters} parameters; "
            f"{type(algorithm).__name__} has one of shape {start.shape}. Give the module "
            "initial_weights= of its own."
        )
    return start


# -- Where to run --------------------------------------------------------------------------------


def _read_execution(
    algorithm: Any,
    asked: Asked,
    num_qubits: int,
    given: set[str],
    transpiler: PassManager | None,
) -> Execution:
    if PLACES & given:
        return Execution(pass_manager=transpiler)
    primitive = getattr(algorithm, "estimator", None) or getattr(algorithm, "sampler", None)
    gradient = getattr(algorithm, "gradient", None)
    name = type(algorithm).__name__
    exact = _find_exact(name, primitive, gradient, num_qubits, given)
    if exact is not None:
        return Execution(exact.estimator, pass_manager=transpiler)
    estimator = getattr(algorithm, "estimator", None)
    if estimator is None:
        estimator = _choose_primitive(getattr(algorithm, "sampler", None), asked)
    elif not isinstance(estimator, BaseEstimatorV2):
        raise AlgorithmError(_explain_version("estimator", estimator, "its estimator"))
    # The gradient is one on the same primitive.
    chosen = None if "gradient" in given else gradient
    return Execution(estimator, gradient=chosen, pass_manager=transpiler)


def _choose_primitive(sampler: object, asked: Asked) -> Primitive:
    """Return what evaluates on a sampler's device: the estimator that goes with it, or itself."""
    if not isinstance(sampler, BaseSamplerV2):
        raise AlgorithmError(_explain_version("sampler", sampler, "its sampler"))
    if isinstance(asked, Measurement) and asked.reads is Outcomes:
        return sampler
    return find_counterpart(sampler) or sampler


class _Network(NamedTuple):
    """One of the two kinds of networks.

    Attributes:
        primitive: The name of what it runs on.
        base: The class of that.
        attributes: What one of this kind has.
        measurement: Returns what it measures.
        layout: Which qubits of a transpiled circuit it means.
    """

    primitive: str
    base: type[BaseEstimatorV2] | type[BaseSamplerV2]
    attributes: tuple[str, ...]
    measurement: Callable[[Any], Asked]
    layout: str


def _read_network_execution(qnn: Any, kind: _Network, given: set[str]) -> Execution:
    primitive = None
    precision = getattr(qnn, "default_precision", None) or None
    if not PLACES & given:
        primitive, width = getattr(qnn, kind.primitive), qnn.circuit.num_qubits
        if precision in (None, NETWORK_PRECISION):
            exact = _find_exact(type(qnn).__name__, primitive, qnn.gradient, width, given)
            if exact is not None:
                return exact
        if not isinstance(primitive, kind.base):
            raise AlgorithmError(
                _explain_version(kind.primitive, primitive, f"qnn.{kind.primitive}")
            )
        if _gives_no_shots(primitive):
            primitive = None
    chosen = None if "gradient" in given else _network_gradient(qnn.gradient)
    return Execution(primitive, gradient=chosen, precision=precision)


def _network_gradient(gradient: object) -> GradientChoice | None:
    kind = type(gradient).__name__
    if kind in NETWORK_GRADIENTS:
        return NETWORK_GRADIENTS[kind]
    if isinstance(gradient, (BaseEstimatorGradient, BaseSamplerGradient)):
        return gradient
    raise AlgorithmError(
        f"The network's gradient, {kind}, has no counterpart here. Give gradient= as well: "
        "TorchQuantumModule.from_qnn(qnn, gradient='parameter-shift')."
    )


def _find_exact(
    owner: str, primitive: object, gradient: object, num_qubits: int, given: set[str]
) -> Execution | None:
    """Return how the exact engine takes a simulator's place, and say so.

    ``None`` if it is no exact simulator, or if the gradient is one of estimates.
    """
    if not means_exact_values(primitive, num_qubits):
        return None
    if "gradient" not in given and not _is_exact_gradient(gradient, num_qubits):
        return None
    _log.warning(
        "The exact engine takes the place of %s in %s, which simulates circuits exactly as well; "
        "gradients are adjoint unless another one is named. Give estimator= to keep it.",
        type(primitive).__name__,
        owner,
    )
    single = any(getattr(thing, "dtype", None) == "complex64" for thing in (primitive, gradient))
    if single and not {"shots", "precision"} & given:
        return Execution(Exact(dtype="complex64"))
    return Execution()


def means_exact_values(primitive: object, num_qubits: int) -> bool:
    """Whether what is meant by a primitive are exact values.

    Shots that nobody asked for are not meant: samplers of state vectors have no other way to give
    anything than the number of shots that they draw by default.
    """
    if _gives_no_shots(primitive):
        return True
    if type(primitive) in (StatevectorSampler, BatchedStatevectorSampler):
        sampler = cast(BaseSamplerV2, primitive)
        return default_shots(sampler) == default_shots(type(sampler)())
    if type(primitive).__name__ == "QMLEstimator":  # the default of qiskit-machine-learning
        return not getattr(primitive, "default_precision", 0.0)
    return is_exact(primitive, num_qubits)


def _gives_no_shots(primitive: object) -> bool:
    """Whether it is the sampler of qiskit-machine-learning that gives probabilities instead."""
    options = getattr(primitive, "options", None)
    return type(primitive).__name__ == "QMLSampler" and (
        getattr(options, "default_shots", None) is None
    )


def _is_exact_gradient(gradient: object, num_qubits: int) -> bool:
    """Whether a gradient is the exact one of real expectation values, by whatever method."""
    kind = getattr(gradient, "derivative_type", None)
    if getattr(kind, "name", "REAL") != "REAL":
        return False
    name = type(gradient).__name__
    if name in ("NoneType", "ReverseEstimatorGradient"):
        return True
    own = getattr(gradient, "_estimator", getattr(gradient, "_sampler", None))
    return name in EXACT_GRADIENTS and (own is None or means_exact_values(own, num_qubits))


def _explain_version(kind: str, primitive: object, where: str) -> str:
    return (
        f"Expected {where} to be a V2 {kind} (a subclass of qiskit.primitives.Base"
        f"{kind.capitalize()}V2); got {type(primitive).__name__}, which is none. Give the "
        f"algorithm a V2 {kind}, or the module estimator= of its own."
    )


# -- Networks on samplers ------------------------------------------------------------------------


def _read_outcomes(network: Any) -> Probabilities:
    """Return the probabilities that a ``SamplerQNN`` gives."""
    shape = tuple(int(size) for size in network.output_shape)
    if network.sparse:
        _log.warning(
            "%s is sparse; a module returns dense tensors, here of shape (*batch, %s).",
            type(network).__name__,
            ", ".join(map(str, shape)),
        )
    places = _bits_of_outcomes(network.circuit)
    outputs = _Outputs(network.interpret, places, shape)
    if len(places) > TABULATED:
        return Probabilities(interpret=outputs, output_size=shape)
    table = np.array([outputs(outcome) for outcome in range(1 << len(places))])
    plain = shape == table.shape and np.array_equal(table, np.arange(len(table)))
    return Probabilities() if plain else Probabilities(interpret=table, output_size=shape)


def _bits_of_outcomes(circuit: QuantumCircuit) -> list[int]:
    """Return which bit of the number that a network reads is each measured bit.

    A network reads the register ``meas`` if there is one, and otherwise all registers; it measures
    all qubits of a circuit without classical bits.
    """
    if not circuit.num_clbits:
        count = circuit.num_qubits
        if circuit.layout is not None:
            count = len(circuit.layout.final_index_layout(filter_ancillas=True))
        return list(range(count))
    registers = [r for r in circuit.cregs if r.name == "meas"] or circuit.cregs
    number = {bit: i for i, bit in enumerate(bit for register in registers for bit in register)}
    measured = [circuit.clbits[c] for c in split_final_measurements(circuit).qubit_of]
    if not number.keys() >= set(measured):
        raise AlgorithmError(
            "The network reads the register 'meas' alone, and its circuit measures into others as "
            "well. Measure once, into one register."
        )
    return [number[bit] for bit in measured]


class _Outputs:
    """Which output of a network an outcome counts for, all of them numbered in C order."""

    def __init__(
        self,
        interpret: Callable[[int], int | Iterable[int]] | None,
        places: list[int],
        shape: tuple[int, ...],
    ) -> None:
        self._interpret, self._places, self._shape = interpret, places, shape

    def __call__(self, outcome: int) -> int:
        number = sum((outcome >> i & 1) << place for i, place in enumerate(self._places))
        found: Any = number if self._interpret is None else self._interpret(number)
        try:
            index = (found,) if isinstance(found, Integral) else tuple(found)
            return int(np.ravel_multi_index(index, self._shape))
        except (TypeError, ValueError) as error:
            raise AlgorithmError(
                f"Expected the network's interpret to give an index of an output of shape "
                f"{self._shape}; for {number} it gave {shown(found)}."
            ) from error


_ROLES = ("input_params", "weight_params", "gradient")
_ESTIMATOR_QNN = _Network(
    primitive="estimator",
    base=BaseEstimatorV2,
    attributes=("observables", "estimator"),
    measurement=lambda network: list(network.observables),
    layout="physical",  # it hands circuit and observables to its estimator as they are
)
_SAMPLER_QNN = _Network(
    primitive="sampler",
    base=BaseSamplerV2,
    attributes=("sampler", "interpret", "output_shape", "sparse"),
    measurement=_read_outcomes,
    layout="virtual",
)
