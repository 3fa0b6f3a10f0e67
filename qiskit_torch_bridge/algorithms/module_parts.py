# SPDX-License-Identifier: Apache-2.0
"""What a module takes from an algorithm object or from a network of qiskit-machine-learning.

Everything is read from public attributes and by what an object has, not by its class, so that the
algorithms of qiskit-optimization and of older releases are understood as well.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Collection
from typing import Any

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.primitives import (
    BackendEstimatorV2,
    BackendSamplerV2,
    BaseEstimatorV2,
    BaseSamplerV2,
    StatevectorSampler,
)

from ..arguments import shown
from ..exceptions import AlgorithmError, AlgorithmTypeError
from ..primitives import BatchedStatevectorEstimator, shots_to_precision
from ..primitives.capabilities import is_exact

_log = logging.getLogger("qiskit_torch_bridge")

PLACES = frozenset({"estimator", "estimators", "backend", "mode"})
"""Arguments of a module that say where to run, in the place of the algorithm's own estimator."""

EXACT_GRADIENTS = frozenset(
    {"AdjointEstimatorGradient", "LinCombEstimatorGradient", "ParamShiftEstimatorGradient"}
)
"""Gradients that are exact where their estimator is."""

NETWORK_PRECISION = 0.015625
"""The precision that networks ask of their estimator where nobody has chosen one."""

NO_ANSATZ = (
    "Expected {name} to have an ansatz, a parameterized QuantumCircuit; it has {found}. Set "
    "{name}.ansatz, or create the module from the circuit: TorchQuantumModule(circuit, operator)."
)


def arguments_of_algorithm(
    algorithm: Any, operator: Any, result: Any = None, given: Collection[str] = ()
) -> dict[str, Any]:
    """Return the arguments of ``TorchQuantumModule`` that an algorithm object stands for.

    Args:
        algorithm: ``VQE``, ``VQD``, ``SamplingVQE``, ``QAOA``, ``AdaptVQE`` that has run, or
            another object with an ``ansatz`` and an ``estimator`` or ``sampler``.
        operator: The operator whose expectation value is wanted.
        result: A result of the algorithm; its circuit and parameters take the place of the ansatz
            and of the initial point.
        given: Arguments that the user gives, which need not be found in the algorithm.

    Raises:
        AlgorithmTypeError: If it is not an algorithm.
        AlgorithmError: If something is missing in it, or has no counterpart in a module.
    """
    _named(given)
    solver = getattr(algorithm, "solver", None)  # AdaptVQE grows the ansatz of its solver
    name = type(algorithm).__name__
    if solver is not None:
        if result is None and not getattr(algorithm, "_excitation_list", None):
            raise AlgorithmError(
                f"The ansatz of {name} is grown by compute_minimum_eigenvalue, which has not been "
                "called. Call it first, or give its result=."
            )
        return arguments_of_algorithm(solver, operator, result, given)
    if not any(hasattr(algorithm, a) for a in ("estimator", "sampler")):
        raise AlgorithmTypeError(
            "Expected an algorithm with an ansatz and an estimator or a sampler, such as VQE, "
            f"SamplingVQE, QAOA or AdaptVQE; got {name}."
        )
    if getattr(algorithm, "aggregation", None) is not None:
        raise AlgorithmError(
            f"{name} has aggregation={algorithm.aggregation!r}; a module gives expectation "
            "values, the plain mean. Leave out aggregation, or keep the algorithm."
        )
    arguments: dict[str, Any] = {"observables": operator}
    circuit = None if result is None else getattr(result, "optimal_circuit", None)
    if result is not None and not isinstance(circuit, QuantumCircuit):
        raise AlgorithmTypeError(
            "Expected result to be what compute_minimum_eigenvalue returned, with an "
            f"optimal_circuit; got {type(result).__name__}."
        )
    arguments["pass_manager"] = _pass_manager(algorithm, circuit)
    if circuit is None:
        circuit = _ansatz(algorithm, operator)
    circuit = circuit.copy()
    if "measure" in circuit.count_ops():  # SamplingVQE leaves its own in the ansatz
        with warnings.catch_warnings():  # of Qiskit 2.2, when it puts back registers of its own
            warnings.filterwarnings("ignore", "Trying to add QuantumRegister", UserWarning)
            circuit.remove_final_measurements()
    arguments["circuit"] = circuit
    if circuit.layout is not None:
        arguments["observables_layout"] = _layout_of(circuit, operator)
    if not PLACES & _named(given):
        primitive = getattr(algorithm, "estimator", None) or getattr(algorithm, "sampler", None)
        gradient = getattr(algorithm, "gradient", None)
        exact = _exact_engine(name, primitive, gradient, circuit.num_qubits, given)
        if exact is not None:
            arguments |= exact
        else:
            arguments["estimator"] = _estimator(algorithm)
            arguments["gradient"] = gradient  # on the same estimator
    if "initial_weights" not in given:
        arguments["initial_weights"] = _start(algorithm, circuit, result)
    return {k: v for k, v in arguments.items() if v is not None}


def arguments_of_qnn(qnn: Any, given: Collection[str] = ()) -> dict[str, Any]:
    """Return the arguments of ``TorchQuantumModule`` that an ``EstimatorQNN`` stands for.

    Args:
        qnn: The network.
        given: Arguments that the user gives, which need not be found in the network.

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
    arguments = {
        "circuit": qnn.circuit,
        "observables": list(qnn.observables),
        "input_params": list(qnn.input_params or ()),
        "weight_params": list(qnn.weight_params or ()),
    }
    if qnn.circuit.layout is not None:
        arguments["observables_layout"] = "physical"  # it hands both to the estimator as they are
    estimator, precision = qnn.estimator, getattr(qnn, "default_precision", None)
    kind = type(qnn.gradient).__name__
    if not PLACES & _named(given):
        exact = None
        if precision in (None, 0.0, NETWORK_PRECISION):
            width = qnn.circuit.num_qubits
            exact = _exact_engine(type(qnn).__name__, estimator, qnn.gradient, width, given)
        if exact is not None:
            return arguments | exact
        if not isinstance(estimator, BaseEstimatorV2):
            raise AlgorithmError(_version("estimator", estimator, "qnn.estimator"))
        arguments["estimator"] = estimator
    if precision:
        arguments["precision"] = precision
    names = {"ParamShiftEstimatorGradient": "parameter-shift", "SPSAEstimatorGradient": "spsa"}
    if kind in names:
        arguments["gradient"] = names[kind]
    elif "gradient" not in given and kind not in ("LinCombEstimatorGradient", "NoneType"):
        raise AlgorithmError(
            f"The network's gradient, {kind}, has no counterpart here. Give gradient= as well: "
            "TorchQuantumModule.from_qnn(qnn, gradient='parameter-shift')."
        )
    return arguments


def _exact_engine(
    owner: str, primitive: Any, gradient: Any, num_qubits: int, given: Collection[str]
) -> dict[str, Any] | None:
    """Return the arguments with which the exact engine takes a simulator's place, and say so.

    ``None`` if it is no exact simulator, if the gradient is one of estimates, or if a journal or a
    budget is to watch over the estimator.
    """
    if {"journal", "budget"} & set(given) or not _is_exact(primitive, num_qubits):
        return None
    if "gradient" not in given and not _is_exact_gradient(gradient, num_qubits):
        return None
    _log.warning(
        "The exact engine takes the place of %s in %s, which simulates circuits exactly as well; "
        "gradients are adjoint unless another one is named. Give estimator= to keep it.",
        type(primitive).__name__,
        owner,
    )
    single = {getattr(thing, "dtype", None) == "complex64" for thing in (primitive, gradient)}
    chosen = {"dtype", "shots", "precision"} & set(given)
    return {"dtype": "complex64"} if True in single and not chosen else {}


def _is_exact(primitive: Any, num_qubits: int) -> bool:
    """Whether what is meant by a primitive are exact values.

    Shots that nobody asked for are not meant: a ``StatevectorSampler`` has no other way to give
    expectation values than the number of shots that it draws by default.
    """
    if type(primitive) is StatevectorSampler:
        return primitive.default_shots == StatevectorSampler().default_shots
    if type(primitive).__name__ == "QMLEstimator":  # the default of qiskit-machine-learning
        return not getattr(primitive, "default_precision", 0.0)
    return is_exact(primitive, num_qubits)


def _is_exact_gradient(gradient: Any, num_qubits: int) -> bool:
    """Whether a gradient is the exact one of real expectation values, by whatever method."""
    kind = getattr(gradient, "derivative_type", None)
    if getattr(kind, "name", "REAL") != "REAL":
        return False
    name = type(gradient).__name__
    if name in ("NoneType", "ReverseEstimatorGradient"):
        return True
    own = getattr(gradient, "_estimator", None)
    return name in EXACT_GRADIENTS and (own is None or _is_exact(own, num_qubits))


def _named(given: Any) -> set[str]:
    """Return the names of arguments that are given, or say what else it is."""
    listed = isinstance(given, Collection) and not isinstance(given, (str, bytes))
    if not listed or not all(isinstance(name, str) for name in given):
        raise AlgorithmTypeError(
            f"Expected given to be a collection of names of arguments; got {shown(given)}."
        )
    return set(given)


def _ansatz(algorithm: Any, operator: Any) -> QuantumCircuit:
    if _is_qaoa(algorithm):
        return _qaoa(algorithm, operator)
    ansatz = getattr(algorithm, "ansatz", None)
    name = type(algorithm).__name__
    if not isinstance(ansatz, QuantumCircuit):
        found = "none" if ansatz is None else type(ansatz).__name__
        raise AlgorithmError(NO_ANSATZ.format(name=name, found=found))
    if not ansatz.num_parameters:
        raise AlgorithmError(NO_ANSATZ.format(name=name, found="a circuit without parameters"))
    return ansatz


def _is_qaoa(algorithm: Any) -> bool:
    """Whether it builds its ansatz from the operator it is given."""
    return hasattr(algorithm, "reps") and hasattr(algorithm, "mixer")


def _pass_manager(algorithm: Any, circuit: QuantumCircuit | None) -> Any:
    """Return what transpiles the ansatz, or the ``circuit`` of a result if it is not yet."""
    if circuit is None and _is_qaoa(algorithm):
        transpiler = getattr(algorithm, "_transpiler", None)
        if transpiler is not None:
            return Transpiling(transpiler, getattr(algorithm, "_transpiler_options", None) or {})
    if circuit is not None and circuit.layout is not None:
        return None
    # VQE of qiskit-algorithms transpiles an ansatz when it is given, qiskit-optimization later.
    return getattr(algorithm, "pass_manager", None)


def _qaoa(algorithm: Any, operator: Any) -> QuantumCircuit:
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


class Transpiling:
    """A pass manager for an object whose ``run`` takes options, as algorithms keep it."""

    def __init__(self, transpiler: Any, options: dict[str, Any]) -> None:
        self._transpiler, self._options = transpiler, options

    def run(self, circuit: QuantumCircuit) -> QuantumCircuit:
        """Return the transpiled circuit."""
        transpiled: QuantumCircuit = self._transpiler.run(circuit, **self._options)
        return transpiled


def _layout_of(circuit: QuantumCircuit, operator: Any) -> str:
    width = getattr(operator, "num_qubits", None)
    virtual = len(circuit.layout.final_index_layout())
    # As VQE does: an operator is meant before transpilation if it can be.
    return "physical" if width == circuit.num_qubits != virtual else "virtual"


def _estimator(algorithm: Any) -> BaseEstimatorV2:
    estimator = getattr(algorithm, "estimator", None)
    if estimator is not None:
        if not isinstance(estimator, BaseEstimatorV2):
            raise AlgorithmError(_version("estimator", estimator, "its estimator"))
        return estimator
    return equivalent_estimator(getattr(algorithm, "sampler", None))


def _version(kind: str, primitive: Any, where: str) -> str:
    return (
        f"Expected {where} to be a V2 {kind} (a subclass of qiskit.primitives.Base"
        f"{kind.capitalize()}V2); got {type(primitive).__name__}, which is none. Give the "
        f"algorithm a V2 {kind}, or the module estimator= of its own."
    )


def equivalent_estimator(sampler: Any) -> BaseEstimatorV2:
    """Return an estimator that measures on the same backend with as many shots as a sampler.

    Raises:
        AlgorithmError: If the sampler is of an unknown kind.
    """
    if not isinstance(sampler, BaseSamplerV2):
        raise AlgorithmError(_version("sampler", sampler, "its sampler"))
    if isinstance(sampler, StatevectorSampler):
        seed = sampler.seed if isinstance(sampler.seed, int) else None
        precision = shots_to_precision(sampler.default_shots)
        return BatchedStatevectorEstimator(default_precision=precision, seed=seed)
    options: Any = getattr(sampler, "options", None)
    if isinstance(sampler, BackendSamplerV2):
        return BackendEstimatorV2(
            backend=sampler.backend,
            options={
                "default_precision": shots_to_precision(options.default_shots),
                "seed_simulator": options.seed_simulator,
            },
        )
    module = type(sampler).__module__.partition(".")[0]
    if module == "qiskit_aer":
        from qiskit_aer.primitives import EstimatorV2

        seeded = {} if sampler.seed is None else {"seed_simulator": sampler.seed}
        # The backend is not public; it may have been given to from_backend with its noise.
        return EstimatorV2.from_backend(
            sampler._backend,
            options={
                "backend_options": dict(options.backend_options),
                "run_options": {**options.run_options, **seeded},
                "default_precision": shots_to_precision(sampler.default_shots),
            },
        )
    if module == "qiskit_ibm_runtime":
        from qiskit_ibm_runtime import EstimatorV2 as RuntimeEstimatorV2

        mode = sampler.mode if sampler.mode is not None else sampler.backend()
        runtime: BaseEstimatorV2 = RuntimeEstimatorV2(mode=mode)
        shots = getattr(options, "default_shots", None)
        if isinstance(shots, int):
            runtime.options.default_shots = shots
        return runtime
    raise AlgorithmError(
        f"A module needs an estimator; none is known that matches {type(sampler).__name__}. Give "
        "one: TorchQuantumModule.from_algorithm(algorithm, operator, estimator=...)."
    )


def _start(algorithm: Any, circuit: QuantumCircuit, result: Any) -> Any:
    if result is not None:
        found = result.optimal_parameters
        return [float(found[p]) for p in circuit.parameters]
    start = getattr(algorithm, "initial_point", None)
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
