# SPDX-License-Identifier: Apache-2.0
"""What each kind of estimator is known to do: one table, and the few facts that its setup decides.

Estimators that hold others (``inner``, or several as ``primitives``) are judged by those that do
the work.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Flag, auto
from typing import Any

from qiskit.primitives import BackendEstimatorV2, StatevectorEstimator

from .. import memory
from ..program.evolutions import Evolutions
from .batched_estimator import BatchedStatevectorEstimator


class Facts(Flag):
    """What is known of an estimator by its kind."""

    SIMULATES = auto()
    """All work is done in this process and ends with it, so a job costs nothing."""
    MEASURES = auto()
    """Circuits are executed and measured; else expectation values are computed."""
    BINDS_HERE = auto()
    """A circuit is made for each point in the memory of this process."""
    BINDS_RIGHTLY = auto()
    """Parameter expressions are evaluated with this package's own numbers."""
    TAKES_PROJECTORS = auto()
    """Observables may name projectors; else Paulis only."""
    RUNS_BOXES = auto()
    """Circuits may have boxes, unless its backend is a simulator."""
    EXPONENTIATES = auto()
    """Evolutions by terms that do not commute are exponentials; else product formulas."""


def is_from_aer(thing: object) -> bool:
    """Whether the class of an estimator or backend, or one above it, is from qiskit-aer."""
    return _is_from(thing, "qiskit_aer")


def _is_from(thing: object, package: str) -> bool:
    return any(kind.__module__.partition(".")[0] == package for kind in type(thing).__mro__)


def _backend_of(estimator: object) -> Any:
    return getattr(estimator, "backend", None) or getattr(estimator, "_backend", None)


def _holds_simulator(estimator: object) -> bool:
    """Whether an estimator runs circuits on a backend that is known to be a simulator."""
    backend = _backend_of(estimator)
    modules = [kind.__module__ for kind in type(backend).__mro__]
    simulators = ("fake_provider", "basic_provider")
    return is_from_aer(backend) or any(part in name for name in modules for part in simulators)


def _is(kind: type) -> Callable[[object], bool]:
    return lambda estimator: isinstance(estimator, kind)


def _is_batched_with_shots(estimator: object) -> bool:
    return isinstance(estimator, BatchedStatevectorEstimator) and estimator.noise == "shots"


def _is_on_a_simulator(estimator: object) -> bool:
    return isinstance(estimator, BackendEstimatorV2) and _holds_simulator(estimator)


def _is_of_runtime(estimator: object) -> bool:
    return _is_from(estimator, "qiskit_ibm_runtime")


def _is_in_local_mode(estimator: object) -> bool:
    """Whether it is the runtime's local mode, which measures with BackendEstimatorV2."""
    return type(getattr(estimator, "_service", None)).__name__ == "QiskitRuntimeLocalService"


_BATCHED = (
    Facts.SIMULATES
    | Facts.BINDS_RIGHTLY
    | Facts.TAKES_PROJECTORS
    | Facts.RUNS_BOXES
    | Facts.EXPONENTIATES
)
_HERE = Facts.SIMULATES | Facts.BINDS_HERE
_BACKEND = Facts.MEASURES | Facts.BINDS_HERE
_ELSEWHERE = Facts.MEASURES | Facts.RUNS_BOXES

KINDS: tuple[tuple[str, Callable[[object], bool], Facts], ...] = (
    ("batched with shots", _is_batched_with_shots, _BATCHED | Facts.MEASURES),
    ("batched", _is(BatchedStatevectorEstimator), _BATCHED),
    ("statevector", _is(StatevectorEstimator), _HERE | Facts.EXPONENTIATES),
    ("Aer", is_from_aer, _HERE),
    ("simulated backend", _is_on_a_simulator, _BACKEND | Facts.SIMULATES),
    ("backend", _is(BackendEstimatorV2), _BACKEND | Facts.RUNS_BOXES),
    ("local mode", _is_in_local_mode, _BACKEND | Facts.SIMULATES | Facts.RUNS_BOXES),
    ("runtime", _is_of_runtime, _ELSEWHERE | Facts.TAKES_PROJECTORS),
    ("unknown", _is(object), _ELSEWHERE),
)
"""The kinds of estimators, what belongs to each and to none before it, and what is known of it.

Jobs of an unknown kind may go to a service that charges for them.
"""


def find_facts(estimator: object) -> Facts:
    """Return what is known of an estimator that does the work itself."""
    return next(facts for _, includes, facts in KINDS if includes(estimator))


def innermost(estimator: Any) -> Any:
    """Return the estimator that does the work, through those that hold one other."""
    while hasattr(estimator, "inner"):
        estimator = estimator.inner
    return estimator


def workers(estimator: Any) -> list[Any]:
    """Return the estimators that do the work, of which a dispatching one has several."""
    held = getattr(estimator, "primitives", None)
    if held is None:
        held = [estimator.inner] if hasattr(estimator, "inner") else []
    return [worker for e in held for worker in workers(e)] or [estimator]


def _all_workers(estimator: object, fact: Facts) -> bool:
    return all(fact in find_facts(worker) for worker in workers(estimator))


def is_aer(estimator: object) -> bool:
    """Whether an estimator is Aer's, which binds parameters of controlled gates wrongly."""
    return any(is_from_aer(e) for e in (estimator, *workers(estimator)))


def evolutions_on(estimator: object, transpiler: object = None) -> Evolutions:
    """Return the form in which an estimator takes the evolutions of circuits handed to it."""
    exact = transpiler is None and _all_workers(estimator, Facts.EXPONENTIATES)
    return "simulated" if exact else "definition"


def runs_boxes(estimator: object) -> bool:
    """Whether a circuit may be handed over with its boxes: no simulator of a backend runs them."""
    simulators = map(_holds_simulator, workers(estimator))
    return _all_workers(estimator, Facts.RUNS_BOXES) and not any(simulators)


def takes_projectors(estimator: object) -> bool:
    """Whether observables may name projectors."""
    return _all_workers(estimator, Facts.TAKES_PROJECTORS)


def binds_rightly(estimator: object) -> bool:
    """Whether an estimator evaluates parameter expressions with the package's own numbers."""
    return _all_workers(estimator, Facts.BINDS_RIGHTLY)


def measures(estimator: object) -> bool:
    """Whether an estimator executes circuits that measure, instead of computing values."""
    return Facts.MEASURES in find_facts(innermost(estimator))


def binds_here(estimator: object) -> bool:
    """Whether an estimator makes a circuit for each point in the memory of this process."""
    return Facts.BINDS_HERE in find_facts(innermost(estimator))


FETCHING = ("retrieve_job", "find_job")
"""Methods of estimators whose jobs outlive the process."""


def costs_nothing(estimator: object) -> bool:
    """Whether all work is done by simulators known to run here: their jobs end with the process."""
    fetched = any(hasattr(e, m) for e in (estimator, *workers(estimator)) for m in FETCHING)
    return not fetched and _all_workers(estimator, Facts.SIMULATES)


def is_exact(estimator: Any, num_qubits: int) -> bool:
    """Whether an estimator, as it is set up, gives exact values of circuits of some width.

    Of Aer's that is one without noise on state vectors that are not larger than this process can
    hold: with wider circuits it turns to other methods.
    """
    if type(estimator) in (StatevectorEstimator, BatchedStatevectorEstimator):
        return not estimator.default_precision
    backend: Any = getattr(estimator, "_backend", None)
    if (type(estimator).__name__, type(backend).__name__) != ("EstimatorV2", "AerSimulator"):
        return False
    if not is_from_aer(estimator) or not is_from_aer(backend):
        return False
    own, options = estimator.options, backend.options
    return (
        not own.default_precision
        and not own.run_options
        and options.noise_model is None
        and options.method in ("automatic", "statevector")
        and options.device == "CPU"
        and options.precision == "double"
        and 64 << num_qubits <= memory.available()  # a bra and a ket, and as much again
    )


def repeats_noise(estimator: object) -> bool:
    """Whether a fixed seed gives every job of an estimator the same noise."""
    if innermost(estimator) is not estimator:
        return False  # it is given a new seed for every job
    options = getattr(estimator, "options", None)
    run_options = getattr(options, "run_options", None)
    seeds = [
        getattr(estimator, "seed", None),
        getattr(options, "seed_simulator", None),
        run_options.get("seed_simulator") if isinstance(run_options, dict) else None,
        getattr(getattr(options, "simulator", None), "seed_simulator", None),
        getattr(getattr(_backend_of(estimator), "options", None), "seed_simulator", None),
    ]
    return any(isinstance(seed, int) for seed in seeds)


def names_with_noise(estimator: object) -> frozenset[str]:
    """Return the names and labels of gates that a simulator's noise is tied to."""
    names: frozenset[str] = frozenset()
    for worker in workers(estimator):
        model = getattr(getattr(_backend_of(worker), "options", None), "noise_model", None)
        names |= frozenset(getattr(model, "noise_instructions", None) or ())
    return names
