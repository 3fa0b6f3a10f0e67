# SPDX-License-Identifier: Apache-2.0
"""From what the user chose to the engine that does it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

from qiskit.circuit import QuantumCircuit
from qiskit.providers import BackendV2

from ..backends import prepare
from ..backends.prepare import PassManager
from ..exceptions import CircuitError, GradientError, MeasurementError
from ..execution import Exact, Execution
from ..gradients import AdjointEstimatorGradient, AdjointSamplerGradient
from ..gradients.evaluated_gradient import EvaluatedGradient
from ..primitives import BatchedStatevectorEstimator, BatchedStatevectorSampler, is_aer
from ..primitives.capabilities import (
    innermost,
    names_with_noise,
    refuse_feed_forward,
    runs_boxes,
)
from ..primitives.families import Primitive
from ..primitives.precision import estimate_precision
from ..program import CircuitProgram
from ..program.lowering import refuse_lost_noise
from ..program.readouts import Expectations, Outcomes, Readout, RecordedBits
from ..rules import Rule
from .evaluations import RuleEngine, SimultaneousPerturbationEngine
from .evaluators import Evaluator, make_evaluator
from .exact import AdjointEngine, ExactEngine
from .interface import Engine
from .plugin import make_plugin_engine


@dataclass(frozen=True)
class Place:
    """Where a program runs.

    Attributes:
        program: The program, in the form that runs there.
        simulated: The same in the form that simulators in this process take: amplitudes that are
            parameters are no rotations there.
        primitive: The estimator or sampler that runs it; ``None`` for the exact engine.
        isa_circuit: The circuit for the whole backend; without one, as it was transpiled.
        backend: The backend, if one was named.
    """

    program: CircuitProgram
    simulated: CircuitProgram
    primitive: Primitive | None
    isa_circuit: QuantumCircuit
    backend: BackendV2 | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Place:
        return self  # a primitive may stand for a device or a session, of which there is one


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
        MeasurementError: If what is asked of the state cannot be had there.
    """
    if execution.maker is not None:
        engine = execution.maker.make_engine(program, execution)
        return engine, Place(engine.program, engine.program, None, engine.program.circuit)
    _check_jobs(execution)
    place = _find_place(program, execution)
    exact, gradient = execution.exact or Exact(), execution.gradient_object
    if place.primitive is None and execution.gradient in (None, "adjoint"):
        return ExactEngine(place.program, exact), place
    primitive = place.primitive
    if primitive is None:
        primitive = _exact_primitive(place.program.readout, execution.seed, exact)
    if exact.is_in_tensors and _own_of(gradient).measures:
        raise GradientError(
            f"Expected gradient='adjoint' with {exact!r}, which differentiates what it simulates; "
            f"got {execution.gradient!r}, whose evaluations are computed on the processor. Leave "
            "gradient out, or device and kernels."
        )
    precision = execution.forward_precision or _own_of(gradient).precision
    measured = place.simulated if primitive is None else place.program.with_rotations
    forward = make_evaluator(measured, primitive, precision, exact)
    if gradient is not None:
        return _engine_of(gradient, forward, execution, place), place
    if execution.gradient == "adjoint":
        return AdjointEngine(forward, ExactEngine(place.simulated, exact)), place
    wanted = execution.gradient_precision or execution.forward_precision
    points = forward.at_precision(wanted)
    rule = execution.named_rule(_expect_noise(points, wanted))
    return _engine_with_rule(rule, forward, points), place


def _expect_noise(points: Evaluator, precision: float | None) -> float:
    """Return the standard deviation to expect of an evaluation."""
    return 0.0 if points.primitive is None else estimate_precision(points.primitive, precision)


def _find_place(program: CircuitProgram, execution: Execution) -> Place:
    """Return where a program runs, in the form that runs there."""
    gradient = execution.gradient_object
    of_gradient = _worker_of(gradient)
    on_backend, prepares = execution.on_backend, bool(program.analysed.vectors)
    if on_backend is None:
        primitive = _choose_primitive(program, execution)
        measured = program if primitive is None else program.with_rotations
        transpiled = _transpile(measured, execution)
        measured = form_for(transpiled, (primitive, of_gradient))
        simulated = program if prepares else measured
        return Place(measured, simulated, primitive, transpiled.circuit)
    manager, seed = execution.pass_manager, execution.seed
    found = prepare(program.with_rotations, on_backend, pass_manager=manager, seed=seed)
    measured = form_for(found.program, (found.primitive, of_gradient))
    simulated = program if prepares else measured
    place = Place(measured, simulated, found.primitive, found.isa_circuit, found.backend)
    if _own_of(gradient).measures:
        _check_numbering(of_gradient, place)
    return place


class _Own(NamedTuple):
    """What a gradient object brings along, for where nothing else is said.

    Attributes:
        primitive: Its estimator or sampler, of this package's gradients.
        precision: The precision that it asks for.
        pass_manager: What transpiles for its primitive.
        measures: Whether it evaluates anything on its primitive.
    """

    primitive: Primitive | None = None
    precision: float | None = None
    pass_manager: PassManager | None = None
    measures: bool = True


@functools.singledispatch
def _own_of(gradient: object) -> _Own:
    """Return what a gradient brings along; another package's, or a name, nothing."""
    return _Own()


@_own_of.register
def _(gradient: EvaluatedGradient) -> _Own:
    return _Own(_worker_of(gradient), gradient.precision, gradient.pass_manager)


@_own_of.register
def _(gradient: AdjointEstimatorGradient) -> _Own:
    return _Own(gradient.estimator if gradient.has_estimator else None, measures=False)


@_own_of.register
def _(gradient: AdjointSamplerGradient) -> _Own:
    return _Own(gradient.sampler if gradient.has_sampler else None, measures=False)


def _choose_primitive(program: CircuitProgram, execution: Execution) -> Primitive | None:
    """Return the primitive, given, a gradient's own or with shots; ``None`` for exact values."""
    if execution.estimator is None:
        own = _own_of(execution.gradient).primitive
        if own is None and execution.samples:
            own = _primitive_with_shots(program.readout, program, execution.seed)
        return own
    return execution.primitive


@functools.singledispatch
def _primitive_with_shots(readout: Readout, program: CircuitProgram, seed: int | None) -> Primitive:
    """Return what measures with shots in this process."""
    raise MeasurementError(
        f"{program.measurement!r} needs the amplitudes of the state, which shots do not "
        "give. Leave out shots and precision for the exact engine, or ask for Probabilities."
    )


@_primitive_with_shots.register
def _(readout: Expectations, program: CircuitProgram, seed: int | None) -> Primitive:
    return BatchedStatevectorEstimator(seed=seed)


@_primitive_with_shots.register(Outcomes)
@_primitive_with_shots.register(RecordedBits)
def _(readout: Readout, program: CircuitProgram, seed: int | None) -> Primitive:
    return BatchedStatevectorSampler(seed=seed)


@functools.singledispatch
def _exact_primitive(readout: Readout, seed: int | None, exact: Exact) -> Primitive | None:
    """Return what evaluates exactly in this process; ``None`` if that is no primitive."""
    return None


@_exact_primitive.register
def _(readout: Expectations, seed: int | None, exact: Exact) -> Primitive | None:
    return BatchedStatevectorEstimator(seed=seed, dtype=exact.dtype)


def _transpile(program: CircuitProgram, execution: Execution) -> CircuitProgram:
    """Transpile by the pass manager, or by that of the gradient object."""
    pass_manager = execution.pass_manager or _own_of(execution.gradient).pass_manager
    if pass_manager is None:
        return program
    if any(not vector.angles for vector in program.analysed.vectors):
        raise CircuitError(
            "The circuit prepares amplitudes that are parameters, which the exact engine takes as "
            "they are, and no pass manager knows. Leave out pass_manager, or give an estimator."
        )
    return program.rewritten(pass_manager.run)


def form_for(program: CircuitProgram, primitives: tuple[Any, ...]) -> CircuitProgram:
    """Decompose for simulators what they do not know or would bind wrongly.

    Raises:
        CircuitError: If one of the primitives cannot run the circuit.
    """
    for primitive in primitives:
        refuse_feed_forward(program.circuit, primitive)
    on_aer = [primitive for primitive in primitives if is_aer(primitive)]
    for primitive in on_aer:
        refuse_lost_noise(program.circuit, names_with_noise(primitive))
    if on_aer:
        return program.on_aer
    return program if all(map(runs_boxes, primitives)) else program.without_boxes


def _worker_of(gradient: object) -> Any:
    """Return what a gradient object evaluates on, also where it is another package's."""
    return getattr(gradient, "_estimator", getattr(gradient, "_sampler", None))


@functools.singledispatch
def _engine_of(gradient: object, forward: Evaluator, execution: Execution, place: Place) -> Engine:
    """Return the engine with a gradient; in general one that asks the gradient object."""
    precision = execution.gradient_precision or execution.forward_precision
    return make_plugin_engine(gradient, forward, precision)


@_engine_of.register(AdjointEstimatorGradient)
@_engine_of.register(AdjointSamplerGradient)
def _(
    gradient: AdjointEstimatorGradient | AdjointSamplerGradient,
    forward: Evaluator,
    execution: Execution,
    place: Place,
) -> Engine:
    chosen = execution.exact or Exact(gradient.method, gradient.dtype.name)
    exact = ExactEngine(place.simulated, chosen)
    return exact if place.primitive is None else AdjointEngine(forward, exact)


@_engine_of.register
def _(
    gradient: EvaluatedGradient, forward: Evaluator, execution: Execution, place: Place
) -> Engine:
    own = execution.gradient_precision or gradient.precision or forward.precision
    points = make_evaluator(forward.program, _worker_of(gradient), own, Exact())
    return _engine_with_rule(gradient.rule(_expect_noise(points, own)), forward, points)


def _engine_with_rule(rule: Rule, forward: Evaluator, points: Evaluator) -> Engine:
    """Return the engine that differentiates by a rule, evaluating displaced points."""
    if not forward.program.readout.is_expectation:
        raise GradientError(
            f"The rule {rule.name} is for expectation values and probabilities; "
            f"{forward.program.measurement!r} needs the amplitudes of the state, whose exact "
            "gradient is 'adjoint'. Leave gradient out."
        )
    if rule.is_random:
        return SimultaneousPerturbationEngine(forward, rule, points)
    engine = RuleEngine(forward, rule, points)
    engine.differentiation(forward.program.trained_columns)  # what cannot be planned is refused now
    return engine


def _check_jobs(execution: Execution) -> None:
    """Raise if a gradient's own primitive would escape the journal or the budget."""
    gradient, jobs = execution.gradient_object, execution.jobs
    named = [n for n in ("journal", "budget") if getattr(jobs, n, None) is not None]
    own = _worker_of(gradient)
    if not named or own is None or own is execution.estimator:
        return
    raise GradientError(
        f"{' and '.join(named)} would know nothing of the jobs of {type(gradient).__name__}, which "
        "has a primitive of its own. Name the gradient (gradient='parameter-shift'), or give the "
        "same dispatching estimator or sampler to the gradient and as estimator=."
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
