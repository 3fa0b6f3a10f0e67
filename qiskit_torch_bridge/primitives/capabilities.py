# SPDX-License-Identifier: Apache-2.0
"""What each kind of primitive is known to do: one table, and the few facts that its setup decides.

A primitive is an estimator or a sampler. Those that hold others (``inner``, or several as
``primitives``) are judged by those that do the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Flag, auto
from typing import Any

from qiskit.circuit import QuantumCircuit
from qiskit.primitives import (
    BackendEstimatorV2,
    BackendSamplerV2,
    BaseSamplerV2,
    StatevectorEstimator,
    StatevectorSampler,
)
from qiskit.transpiler import Target

from .. import memory
from ..exceptions import CircuitError
from ..program.control_flow import find_steps_at_run_time
from ..program.evolutions import Evolutions
from .batched_estimator import BatchedStatevectorEstimator
from .batched_sampler import BatchedStatevectorSampler


class Facts(Flag):
    """What is known of a primitive by its kind."""

    SIMULATES = auto()
    """All work is done in this process and ends with it, so a job costs nothing."""
    MEASURES = auto()
    """Circuits are executed and measured, as every sampler does; else values are computed."""
    BINDS_HERE = auto()
    """A circuit is made for each point in the memory of this process."""
    BINDS_RIGHTLY = auto()
    """Parameter expressions are evaluated with this package's own numbers."""
    TAKES_PROJECTORS = auto()
    """Observables may name projectors, which samplers measure as they do Z; else Paulis only."""
    RUNS_BOXES = auto()
    """Circuits may have boxes, unless its backend is a simulator."""
    FEEDS_FORWARD = auto()
    """Circuits may measure, reset and branch before their end, if its backend has all of it."""
    EXPONENTIATES = auto()
    """Evolutions by terms that do not commute are exponentials; else product formulas."""


def is_from_aer(thing: object) -> bool:
    """Whether the class of a primitive or backend, or one above it, is from qiskit-aer."""
    return _is_from(thing, "qiskit_aer")


def _is_from(thing: object, package: str) -> bool:
    return any(kind.__module__.partition(".")[0] == package for kind in type(thing).__mro__)


def find_backend(primitive: object) -> Any:
    """Return the backend of a primitive that does the work itself; ``None`` without one."""
    # That of the runtime's primitives is what a method called backend returns.
    return getattr(primitive, "_backend", None) or getattr(primitive, "backend", None)


def _holds_simulator(primitive: object) -> bool:
    """Whether a primitive runs circuits on a backend that is known to be a simulator."""
    backend = find_backend(primitive)
    modules = [kind.__module__ for kind in type(backend).__mro__]
    simulators = ("fake_provider", "basic_provider")
    return is_from_aer(backend) or any(part in name for name in modules for part in simulators)


def _is(*kinds: type) -> Callable[[object], bool]:
    return lambda primitive: isinstance(primitive, kinds)


def is_sampler(primitive: object) -> bool:
    """Whether a primitive is a V2 sampler."""
    return isinstance(primitive, BaseSamplerV2)


def _is_batched_with_shots(primitive: object) -> bool:
    return isinstance(primitive, BatchedStatevectorEstimator) and primitive.noise == "shots"


def _is_on_a_simulator(primitive: object) -> bool:
    kinds = (BackendEstimatorV2, BackendSamplerV2)
    return isinstance(primitive, kinds) and _holds_simulator(primitive)


def _is_of_runtime(primitive: object) -> bool:
    return _is_from(primitive, "qiskit_ibm_runtime")


def is_in_local_mode(primitive: object) -> bool:
    """Whether it is the runtime's local mode, which has Qiskit's primitives for backends."""
    return type(getattr(primitive, "_service", None)).__name__ == "QiskitRuntimeLocalService"


_BATCHED = (
    Facts.SIMULATES
    | Facts.BINDS_RIGHTLY
    | Facts.TAKES_PROJECTORS
    | Facts.RUNS_BOXES
    | Facts.FEEDS_FORWARD
    | Facts.EXPONENTIATES
)
_HERE = Facts.SIMULATES | Facts.BINDS_HERE
_BACKEND = Facts.MEASURES | Facts.BINDS_HERE | Facts.FEEDS_FORWARD
_ELSEWHERE = Facts.MEASURES | Facts.RUNS_BOXES | Facts.FEEDS_FORWARD
_OF_SAMPLERS = Facts.MEASURES | Facts.TAKES_PROJECTORS

KINDS: tuple[tuple[str, Callable[[object], bool], Facts], ...] = (
    ("batched with shots", _is_batched_with_shots, _BATCHED | Facts.MEASURES),
    ("batched", _is(BatchedStatevectorEstimator, BatchedStatevectorSampler), _BATCHED),
    ("statevector", _is(StatevectorEstimator, StatevectorSampler), _HERE | Facts.EXPONENTIATES),
    ("Aer", is_from_aer, _HERE | Facts.FEEDS_FORWARD),
    ("simulated backend", _is_on_a_simulator, _BACKEND | Facts.SIMULATES),
    ("backend", _is(BackendEstimatorV2, BackendSamplerV2), _BACKEND | Facts.RUNS_BOXES),
    ("local mode", is_in_local_mode, _BACKEND | Facts.SIMULATES | Facts.RUNS_BOXES),
    ("runtime", _is_of_runtime, _ELSEWHERE | Facts.TAKES_PROJECTORS),
    ("unknown", _is(object), _ELSEWHERE),
)
"""The kinds of primitives, what belongs to each and to none before it, and what is known of it.

Jobs of an unknown kind may go to a service that charges for them.
"""


def find_facts(primitive: object) -> Facts:
    """Return what is known of a primitive that does the work itself."""
    found = next(facts for _, includes, facts in KINDS if includes(primitive))
    return found | _OF_SAMPLERS if is_sampler(primitive) else found


def innermost(primitive: Any) -> Any:
    """Return the primitive that does the work, through those that hold one other."""
    while hasattr(primitive, "inner"):
        primitive = primitive.inner
    return primitive


def workers(primitive: Any) -> list[Any]:
    """Return the primitives that do the work, of which a dispatching one has several."""
    held = getattr(primitive, "primitives", None)
    if held is None:
        held = [primitive.inner] if hasattr(primitive, "inner") else []
    return [worker for e in held for worker in workers(e)] or [primitive]


def _all_workers(primitive: object, fact: Facts) -> bool:
    return all(fact in find_facts(worker) for worker in workers(primitive))


def is_aer(primitive: object) -> bool:
    """Whether a primitive is Aer's, which binds parameters of controlled gates wrongly."""
    return any(is_from_aer(e) for e in (primitive, *workers(primitive)))


def evolutions_on(primitive: object, transpiler: object = None) -> Evolutions:
    """Return the form in which a primitive takes the evolutions of circuits handed to it."""
    exact = transpiler is None and _all_workers(primitive, Facts.EXPONENTIATES)
    return "simulated" if exact else "definition"


def runs_boxes(primitive: object) -> bool:
    """Whether a circuit may be handed over with its boxes: no simulator of a backend runs them."""
    simulators = map(_holds_simulator, workers(primitive))
    return _all_workers(primitive, Facts.RUNS_BOXES) and not any(simulators)


NAMES_IN_TARGETS = {"break_loop": "break", "continue_loop": "continue"}
"""What some targets call operations."""
_UNNAMED = frozenset(["barrier", "store"])


def refuse_feed_forward(circuit: QuantumCircuit, primitive: object) -> None:
    """Raise if a circuit measures, resets or branches before its end, and a primitive cannot.

    Raises:
        CircuitError: If so; it names a primitive that can.
    """
    steps = find_steps_at_run_time(circuit)
    for worker in workers(primitive) if steps else ():
        name = type(worker).__name__
        if Facts.FEEDS_FORWARD not in find_facts(worker):
            raise CircuitError(
                f"The circuit has {_listed(steps)} before its end, which {name} does not run: it "
                "computes from one state, and takes one outcome at random where it does not fail. "
                f"{ELSEWHERE}"
            )
        if is_from_aer(worker) and not is_sampler(worker):
            _refuse_untold_runs(worker)
        target = getattr(find_backend(worker), "target", None)
        if target is not None:
            refuse_missing_steps(steps, target, getattr(find_backend(worker), "name", name))


def _refuse_untold_runs(estimator: Any) -> None:
    """Raise unless Aer's estimator has been told how many runs of a circuit it is to average."""
    if "shots" not in estimator.options.run_options:
        raise CircuitError(
            "The circuit has outcomes before its end. Aer's EstimatorV2 averages 1024 runs of such "
            "a circuit, whatever precision is asked for, and reports no error. Say how many with "
            "EstimatorV2(options={'run_options': {'shots': 10000}}), or use "
            "BackendEstimatorV2(backend=AerSimulator()) or backend=AerSimulator(), whose shots "
            "follow the precision."
        )


def refuse_missing_steps(steps: Iterable[str], target: Target, name: str) -> None:
    """Raise :class:`.CircuitError` if a target lacks some of the operations with outcomes."""
    known = set(target.operation_names) | _UNNAMED
    missing = {s for s in steps if s not in known and NAMES_IN_TARGETS.get(s) not in known}
    if missing:
        raise CircuitError(
            f"The circuit has {_listed(missing)}, which {name} does not have. {ELSEWHERE}"
        )


ELSEWHERE = (
    "Use the exact engine (leave out estimator= and backend=), BatchedStatevectorEstimator or "
    "BatchedStatevectorSampler, or a backend with control flow, such as AerSimulator()."
)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, sorted(names)))


def takes_projectors(primitive: object) -> bool:
    """Whether observables may name projectors."""
    return _all_workers(primitive, Facts.TAKES_PROJECTORS)


def binds_rightly(primitive: object) -> bool:
    """Whether a primitive evaluates parameter expressions with the package's own numbers."""
    return _all_workers(primitive, Facts.BINDS_RIGHTLY)


def measures(primitive: object) -> bool:
    """Whether a primitive executes circuits that measure, instead of computing values."""
    return Facts.MEASURES in find_facts(innermost(primitive))


def binds_here(primitive: object) -> bool:
    """Whether a primitive makes a circuit for each point in the memory of this process."""
    return Facts.BINDS_HERE in find_facts(innermost(primitive))


FETCHING = ("retrieve_job", "find_job")
"""Methods of primitives whose jobs outlive the process."""


def costs_nothing(primitive: object) -> bool:
    """Whether all work is done by simulators known to run here: their jobs end with the process."""
    fetched = any(hasattr(e, m) for e in (primitive, *workers(primitive)) for m in FETCHING)
    return not fetched and _all_workers(primitive, Facts.SIMULATES)


def is_exact(primitive: Any, num_qubits: int) -> bool:
    """Whether a primitive, as it is set up, gives exact values of circuits of some width.

    Of Aer's that is one without noise on state vectors that are not larger than this process can
    hold: with wider circuits it turns to other methods.
    """
    if type(primitive) in (StatevectorEstimator, BatchedStatevectorEstimator):
        return not primitive.default_precision
    backend: Any = getattr(primitive, "_backend", None)
    if (type(primitive).__name__, type(backend).__name__) != ("EstimatorV2", "AerSimulator"):
        return False
    if not is_from_aer(primitive) or not is_from_aer(backend):
        return False
    own, options = primitive.options, backend.options
    return (
        not own.default_precision
        and not own.run_options
        and options.noise_model is None
        and options.method in ("automatic", "statevector")
        and options.device == "CPU"
        and options.precision == "double"
        and 64 << num_qubits <= memory.available()  # a bra and a ket, and as much again
    )


def repeats_noise(primitive: object) -> bool:
    """Whether a fixed seed gives every job of a primitive the same noise."""
    primitive = getattr(primitive, "sampler", primitive)  # which seeds nothing itself
    if innermost(primitive) is not primitive:
        return False  # it is given a new seed for every job
    options = getattr(primitive, "options", None)
    run_options = getattr(options, "run_options", None)
    seeds = [
        getattr(primitive, "seed", None),
        getattr(options, "seed_simulator", None),
        run_options.get("seed_simulator") if isinstance(run_options, dict) else None,
        getattr(getattr(options, "simulator", None), "seed_simulator", None),
        getattr(getattr(find_backend(primitive), "options", None), "seed_simulator", None),
    ]
    return any(isinstance(seed, int) for seed in seeds)


def names_with_noise(primitive: object) -> frozenset[str]:
    """Return the names and labels of gates that a simulator's noise is tied to."""
    names: frozenset[str] = frozenset()
    for worker in workers(primitive):
        model = getattr(getattr(find_backend(worker), "options", None), "noise_model", None)
        names |= frozenset(getattr(model, "noise_instructions", None) or ())
    return names
