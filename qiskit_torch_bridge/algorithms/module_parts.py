# SPDX-License-Identifier: Apache-2.0
"""What a module takes from an algorithm object or from a network of qiskit-machine-learning.

Everything is read from public attributes and by what an object has, not by its class, so that the
algorithms of qiskit-optimization and of older releases are understood as well.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.primitives import (
    BackendEstimatorV2,
    BackendSamplerV2,
    BaseEstimatorV2,
    BaseSamplerV2,
    StatevectorSampler,
)
from qiskit.quantum_info.operators.base_operator import BaseOperator

from ..arguments import shown
from ..arrays import FloatArray
from ..backends.prepare import PassManager
from ..exceptions import AlgorithmError, AlgorithmTypeError
from ..execution import Exact, Execution
from ..primitives import BatchedStatevectorEstimator, shots_to_precision
from ..primitives.capabilities import is_exact

_log = logging.getLogger("qiskit_torch_bridge")

PLACES = frozenset({"estimator", "backend"})
"""Arguments of a module that say where to run, in the place of the algorithm's own estimator."""

EXACT_GRADIENTS = frozenset(
    {"AdjointEstimatorGradient", "LinCombEstimatorGradient", "ParamShiftEstimatorGradient"}
)
"""Gradients that are exact where their estimator is."""

NETWORK_PRECISION = 0.015625
"""The precision that networks ask of their estimator where nobody has chosen one."""

NETWORK_GRADIENTS = {
    "ParamShiftEstimatorGradient": "parameter-shift",
    "SPSAEstimatorGradient": "spsa",
    "LinCombEstimatorGradient": None,
    "NoneType": None,
}
"""What stands for the gradients of networks; ``None`` for the default."""


@dataclass(frozen=True)
class ModuleParts:
    """What a module is made of, as far as an algorithm or a network says it.

    Attributes:
        circuit: The ansatz, without measurements.
        observables: The operators.
        execution: Where and how they are evaluated.
        input_params: The parameters that are inputs; ``None`` for the module's default.
        weight_params: Those that are weights; likewise.
        observables_layout: What the observables refer to; likewise.
        initial_weights: Where to start; likewise.
    """

    circuit: QuantumCircuit
    observables: BaseOperator | list[BaseOperator]
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
    found = _read_result(result)
    circuit = (_find_ansatz(algorithm, operator) if found is None else found).copy()
    if "measure" in circuit.count_ops():  # SamplingVQE leaves its own in the ansatz
        with warnings.catch_warnings():  # of Qiskit 2.2, when it puts back registers of its own
            warnings.filterwarnings("ignore", "Trying to add QuantumRegister", UserWarning)
            circuit.remove_final_measurements()
    transpiler = _find_transpiler(algorithm, found)
    return ModuleParts(
        circuit=circuit,
        observables=operator,
        execution=_read_execution(algorithm, circuit.num_qubits, named, transpiler),
        observables_layout=None if circuit.layout is None else _find_layout(circuit, operator),
        initial_weights=(
            None if "initial_weights" in named else _find_start(algorithm, circuit, result)
        ),
    )


def read_qnn(qnn: object, given: Collection[str] = ()) -> ModuleParts:
    """Return what a module takes from an ``EstimatorQNN`` of qiskit-machine-learning.

    Args:
        qnn: The network.
        given: Names of arguments that the user gives, which need not be found in the network.

    Raises:
        AlgorithmTypeError: If it is another kind of network.
        AlgorithmError: If its gradient has no counterpart.
    """
    wanted = ("circuit", "observables", "input_params", "weight_params", "estimator", "gradient")
    missing = [a for a in wanted if not hasattr(qnn, a)]
    if missing:
        raise AlgorithmTypeError(
            "Expected an EstimatorQNN of qiskit-machine-learning; got "
            f"{type(qnn).__name__}, which has no {missing[0]}. Networks on samplers give "
            "probabilities, not expectation values: make an EstimatorQNN with observables."
        )
    network: Any = qnn
    return ModuleParts(
        circuit=network.circuit,
        observables=list(network.observables),
        execution=_read_network_execution(network, _read_names(given)),
        input_params=list(network.input_params or ()),
        weight_params=list(network.weight_params or ()),
        # A network hands both to its estimator as they are.
        observables_layout=None if network.circuit.layout is None else "physical",
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
    aggregation = getattr(algorithm, "aggregation", None)
    if aggregation is not None:
        raise AlgorithmError(
            f"{name} has aggregation={aggregation!r}; a module gives expectation values, the plain "
            "mean. Leave out aggregation, or keep the algorithm."
        )


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
    algorithm: Any, num_qubits: int, given: set[str], transpiler: PassManager | None
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
        estimator = make_equivalent_estimator(getattr(algorithm, "sampler", None))
    elif not isinstance(estimator, BaseEstimatorV2):
        raise AlgorithmError(_explain_version("estimator", estimator, "its estimator"))
    # The gradient is one on the same estimator.
    chosen = None if "gradient" in given else gradient
    return Execution(estimator, gradient=chosen, pass_manager=transpiler)


def _read_network_execution(qnn: Any, given: set[str]) -> Execution:
    estimator = None
    precision = getattr(qnn, "default_precision", None) or None
    if not PLACES & given:
        estimator, width = qnn.estimator, qnn.circuit.num_qubits
        if precision in (None, NETWORK_PRECISION):
            exact = _find_exact(type(qnn).__name__, estimator, qnn.gradient, width, given)
            if exact is not None:
                return exact
        if not isinstance(estimator, BaseEstimatorV2):
            raise AlgorithmError(_explain_version("estimator", estimator, "qnn.estimator"))
    kind = type(qnn.gradient).__name__
    if kind not in NETWORK_GRADIENTS and "gradient" not in given:
        raise AlgorithmError(
            f"The network's gradient, {kind}, has no counterpart here. Give gradient= as well: "
            "TorchQuantumModule.from_qnn(qnn, gradient='parameter-shift')."
        )
    return Execution(estimator, gradient=NETWORK_GRADIENTS.get(kind), precision=precision)


def _find_exact(
    owner: str, primitive: object, gradient: object, num_qubits: int, given: set[str]
) -> Execution | None:
    """Return how the exact engine takes a simulator's place, and say so.

    ``None`` if it is no exact simulator, or if the gradient is one of estimates.
    """
    if not _means_exact_values(primitive, num_qubits):
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


def _means_exact_values(primitive: object, num_qubits: int) -> bool:
    """Whether what is meant by a primitive are exact values.

    Shots that nobody asked for are not meant: a ``StatevectorSampler`` has no other way to give
    expectation values than the number of shots that it draws by default.
    """
    if isinstance(primitive, StatevectorSampler) and type(primitive) is StatevectorSampler:
        return primitive.default_shots == StatevectorSampler().default_shots
    if type(primitive).__name__ == "QMLEstimator":  # the default of qiskit-machine-learning
        return not getattr(primitive, "default_precision", 0.0)
    return is_exact(primitive, num_qubits)


def _is_exact_gradient(gradient: object, num_qubits: int) -> bool:
    """Whether a gradient is the exact one of real expectation values, by whatever method."""
    kind = getattr(gradient, "derivative_type", None)
    if getattr(kind, "name", "REAL") != "REAL":
        return False
    name = type(gradient).__name__
    if name in ("NoneType", "ReverseEstimatorGradient"):
        return True
    own = getattr(gradient, "_estimator", None)
    return name in EXACT_GRADIENTS and (own is None or _means_exact_values(own, num_qubits))


def _explain_version(kind: str, primitive: object, where: str) -> str:
    return (
        f"Expected {where} to be a V2 {kind} (a subclass of qiskit.primitives.Base"
        f"{kind.capitalize()}V2); got {type(primitive).__name__}, which is none. Give the "
        f"algorithm a V2 {kind}, or the module estimator= of its own."
    )


def make_equivalent_estimator(sampler: object) -> BaseEstimatorV2:
    """Return an estimator that measures on the same backend with as many shots as a sampler.

    Raises:
        AlgorithmError: If the sampler is of an unknown kind.
    """
    if not isinstance(sampler, BaseSamplerV2):
        raise AlgorithmError(_explain_version("sampler", sampler, "its sampler"))
    for kind in type(sampler).__mro__:
        make = _ESTIMATORS.get((kind.__module__.partition(".")[0], kind.__name__))
        if make is not None:
            return make(sampler)
    raise AlgorithmError(
        f"A module needs an estimator; none is known that matches {type(sampler).__name__}. Give "
        "one: TorchQuantumModule.from_algorithm(algorithm, operator, estimator=...)."
    )


def _make_statevector_estimator(sampler: StatevectorSampler) -> BaseEstimatorV2:
    seed = sampler.seed if isinstance(sampler.seed, int) else None
    precision = shots_to_precision(sampler.default_shots)
    return BatchedStatevectorEstimator(default_precision=precision, seed=seed)


def _make_backend_estimator(sampler: BackendSamplerV2) -> BaseEstimatorV2:
    options = {
        "default_precision": shots_to_precision(sampler.options.default_shots),
        "seed_simulator": sampler.options.seed_simulator,
    }
    return BackendEstimatorV2(backend=sampler.backend, options=options)


def _make_aer_estimator(sampler: Any) -> BaseEstimatorV2:
    from qiskit_aer.primitives import EstimatorV2

    seeded = {} if sampler.seed is None else {"seed_simulator": sampler.seed}
    options = {
        "backend_options": dict(sampler.options.backend_options),
        "run_options": {**sampler.options.run_options, **seeded},
        "default_precision": shots_to_precision(sampler.default_shots),
    }
    # The backend is not public; it may have been given to from_backend with its noise.
    estimator: BaseEstimatorV2 = EstimatorV2.from_backend(sampler._backend, options=options)
    return estimator


def _make_runtime_estimator(sampler: Any) -> BaseEstimatorV2:
    from qiskit_ibm_runtime import EstimatorV2

    estimator = EstimatorV2(mode=sampler.mode if sampler.mode is not None else sampler.backend())
    shots = getattr(sampler.options, "default_shots", None)
    if isinstance(shots, int):
        estimator.options.default_shots = shots
    found: BaseEstimatorV2 = estimator
    return found


_ESTIMATORS: dict[tuple[str, str], Callable[[Any], BaseEstimatorV2]] = {
    ("qiskit", "StatevectorSampler"): _make_statevector_estimator,
    ("qiskit", "BackendSamplerV2"): _make_backend_estimator,
    ("qiskit_aer", "SamplerV2"): _make_aer_estimator,
    ("qiskit_ibm_runtime", "SamplerV2"): _make_runtime_estimator,
}
"""What makes the estimator of a kind of sampler, by package and name of its class."""
