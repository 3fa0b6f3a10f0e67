# SPDX-License-Identifier: Apache-2.0
"""From what the user chose to the engine that does it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

from qiskit.circuit import QuantumCircuit
from qiskit.primitives import BaseEstimatorV2
from qiskit.providers import BackendV2
from qiskit_algorithms.gradients import BaseEstimatorGradient

from ..backends import prepare
from ..backends.prepare import PassManager
from ..exceptions import GradientError
from ..execution import GRADIENTS, Exact, Execution
from ..gradients import AdjointEstimatorGradient, EstimatorGradient
from ..primitives import BatchedStatevectorEstimator, is_aer
from ..primitives.capabilities import innermost, names_with_noise, runs_boxes
from ..primitives.precision import estimate_precision
from ..program import CircuitProgram
from ..program.lowering import refuse_lost_noise
from .estimation import Estimation
from .evaluations import RuleEngine, SimultaneousPerturbationEngine
from .exact import AdjointEngine, ExactEngine
from .interface import Engine
from .plugin import PluginEngine


@dataclass(frozen=True)
class Place:
    """Where a program runs.

    Attributes:
        program: The program, in the form that runs there.
        estimator: What runs it; ``None`` for the exact engine.
        isa_circuit: The circuit for the whole backend; the program's own if there is none.
        backend: The backend, if one was named.
    """

    program: CircuitProgram
    estimator: BaseEstimatorV2 | None
    isa_circuit: QuantumCircuit
    backend: BackendV2 | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Place:
        return self  # an estimator may stand for a device or a session, of which there is one


def make_engine(program: CircuitProgram, execution: Execution) -> tuple[Engine, Place]:
    """Return the engine for a choice, and the place where it runs.

    Args:
        program: The program.
        execution: Where and how it is evaluated, checked already.

    Raises:
        BackendError: If a backend and its options do not go together.
        GradientError: If the gradient would use another estimator, or other qubits.
        CircuitError: If the pass manager returns something else than this circuit, or the circuit
            cannot be run or differentiated there.
    """
    if execution.maker is not None:
        engine = execution.maker.make_engine(program, execution)
        return engine, Place(engine.program, None, engine.program.circuit)
    _check_jobs(execution)
    place = _find_place(program, execution)
    exact = execution.exact or Exact()
    if place.estimator is None and execution.gradient in (None, "adjoint"):
        return ExactEngine(place.program, exact), place
    estimator = place.estimator
    if estimator is None:
        estimator = BatchedStatevectorEstimator(seed=execution.seed, dtype=exact.dtype)
    gradient = execution.gradient_object or _named_gradient(execution, estimator)
    precision = execution.forward_precision or _own_of(gradient).precision
    forward = Estimation(place.program, estimator, precision)
    return _engine_of(gradient, forward, execution, place), place


def _find_place(program: CircuitProgram, execution: Execution) -> Place:
    """Return where a program runs, in the form that runs there."""
    gradient = execution.gradient_object
    of_gradient = getattr(gradient, "_estimator", None)  # also where it is another package's
    on_backend = execution.on_backend
    if on_backend is None:
        estimator = _choose_estimator(execution)
        program = _form_for(_transpile(program, execution), (estimator, of_gradient))
        return Place(program, estimator, program.circuit)
    manager, seed = execution.pass_manager, execution.seed
    found = prepare(program, on_backend, pass_manager=manager, seed=seed)
    program = _form_for(found.program, (found.estimator, of_gradient))
    place = Place(program, found.estimator, found.isa_circuit, found.backend)
    if _own_of(gradient).measures:
        _check_numbering(of_gradient, place)
    return place


class _Own(NamedTuple):
    """What a gradient object brings along, for where nothing else is said.

    Attributes:
        estimator: Its estimator, of this package's gradients.
        precision: The precision that it asks for.
        pass_manager: What transpiles for its estimator.
        measures: Whether it evaluates anything on its estimator.
    """

    estimator: BaseEstimatorV2 | None = None
    precision: float | None = None
    pass_manager: PassManager | None = None
    measures: bool = True


@functools.singledispatch
def _own_of(gradient: object) -> _Own:
    """Return what a gradient brings along; another package's, or a name, nothing."""
    return _Own()


@_own_of.register
def _(gradient: EstimatorGradient) -> _Own:
    return _Own(gradient.estimator, gradient.precision, gradient.pass_manager)


@_own_of.register
def _(gradient: AdjointEstimatorGradient) -> _Own:
    return _Own(gradient.estimator if gradient.has_estimator else None, measures=False)


def _choose_estimator(execution: Execution) -> BaseEstimatorV2 | None:
    """Return the estimator, given, a gradient's own or a sampler; ``None`` for exact values."""
    if execution.estimator is None:
        sampler = BatchedStatevectorEstimator(seed=execution.seed) if execution.samples else None
        return _own_of(execution.gradient).estimator or sampler
    return execution.own_estimator


def _transpile(program: CircuitProgram, execution: Execution) -> CircuitProgram:
    """Transpile by the pass manager, or by that of the gradient object."""
    pass_manager = execution.pass_manager or _own_of(execution.gradient).pass_manager
    return program if pass_manager is None else program.rewritten(pass_manager.run)


def _form_for(program: CircuitProgram, estimators: tuple[Any, Any]) -> CircuitProgram:
    """Decompose for simulators what they do not know or would bind wrongly."""
    on_aer = [estimator for estimator in estimators if is_aer(estimator)]
    for estimator in on_aer:
        refuse_lost_noise(program.circuit, names_with_noise(estimator))
    if on_aer:
        return program.on_aer
    return program if all(map(runs_boxes, estimators)) else program.without_boxes


def _named_gradient(execution: Execution, estimator: BaseEstimatorV2) -> BaseEstimatorGradient:
    """Return the gradient object for a name, with or without options."""
    choice: Any = execution.gradient or "parameter-shift"
    name, options = (choice, {}) if isinstance(choice, str) else (choice.name, vars(choice))
    if name == "spsa" and options.get("seed") is None:
        options = {**options, "seed": execution.seed}
    precision = execution.gradient_precision or execution.forward_precision
    return GRADIENTS[name](estimator, precision=precision, **options)


@functools.singledispatch
def _engine_of(
    gradient: BaseEstimatorGradient, forward: Estimation, execution: Execution, place: Place
) -> Engine:
    """Return the engine with a gradient; in general one that asks the gradient object."""
    return PluginEngine(
        forward, gradient, execution.gradient_precision or execution.forward_precision
    )


@_engine_of.register
def _(
    gradient: AdjointEstimatorGradient, forward: Estimation, execution: Execution, place: Place
) -> Engine:
    chosen = execution.exact or Exact(dtype=gradient.dtype.name)
    exact = ExactEngine(forward.program, chosen)
    return exact if place.estimator is None else AdjointEngine(forward, exact)


@_engine_of.register
def _(
    gradient: EstimatorGradient, forward: Estimation, execution: Execution, place: Place
) -> Engine:
    own = execution.gradient_precision or gradient.precision or forward.precision
    rule = gradient.rule(estimate_precision(gradient.estimator, own))
    points = Estimation(forward.program, gradient.estimator, own)
    if rule.is_random:
        return SimultaneousPerturbationEngine(forward, rule, points)
    engine = RuleEngine(forward, rule, points)
    engine.differentiation(forward.program.weight_columns)  # what cannot be planned is refused now
    return engine


def _check_jobs(execution: Execution) -> None:
    """Raise if a gradient's own estimator would escape the journal or the budget."""
    gradient, jobs = execution.gradient_object, execution.jobs
    named = [n for n in ("journal", "budget") if getattr(jobs, n, None) is not None]
    own = getattr(gradient, "_estimator", None)
    if not named or own is None or own is execution.estimator:
        return
    raise GradientError(
        f"{' and '.join(named)} would know nothing of the jobs of {type(gradient).__name__}, which "
        "has an estimator of its own. Name the gradient (gradient='parameter-shift'), or give the "
        "same jobs.DispatchingEstimator to the gradient and as estimator=."
    )


def _check_numbering(of_gradient: Any, place: Place) -> None:
    """Raise if a gradient's estimator would take the qubits in use for others of its device.

    Of a fake device only the qubits in use are simulated, and numbered anew.
    """
    backend: Any = getattr(innermost(of_gradient), "_backend", None)
    placed = getattr(backend, "coupling_map", None) is not None
    size = place.program.circuit.num_qubits
    if placed and size != place.isa_circuit.num_qubits and size != backend.num_qubits:
        raise GradientError(
            f"The gradient has an estimator of its own, on {backend.name}; the module simulates "
            f"the {size} qubits in use, and that estimator would take them for others. Name the "
            "gradient (gradient='parameter-shift'), or give estimator= and pass_manager= instead "
            "of backend=."
        )
