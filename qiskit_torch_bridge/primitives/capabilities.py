# SPDX-License-Identifier: Apache-2.0
"""What each kind of estimator is known to do: one table, and the few facts that its setup decides.

Estimators that hold others (``inner``, or several as ``estimators``) are judged by those that do
the work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from qiskit.primitives import BackendEstimatorV2, StatevectorEstimator

from .. import free_memory
from ..program.evolutions import Evolutions
from .batched_estimator import BatchedStatevectorEstimator


class EstimatorKind(NamedTuple):
    """A kind of estimator and what all of that kind do.

    Attributes:
        name: What it is.
        includes: Whether an estimator is of this kind and of none before it in the table.
        simulates: All work is done in this process and ends with it, so a job costs nothing.
        measures: Circuits are executed and measured; else expectation values are computed.
        binds_here: A circuit is made for each point in the memory of this process.
        binds_rightly: Parameter expressions are evaluated with this package's own numbers.
        takes_projectors: Observables may name projectors; else Paulis only.
        runs_boxes: Circuits may have boxes, unless its backend is a simulator.
        exponentiates: Evolutions by terms that do not commute are matrix exponentials; else
            product formulas.
    """

    name: str
    includes: Callable[[object], bool]
    simulates: bool = False
    measures: bool = False
    binds_here: bool = False
    binds_rightly: bool = False
    takes_projectors: bool = False
    runs_boxes: bool = False
    exponentiates: bool = False


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


def _draws_shots(estimator: object) -> bool:
    return isinstance(estimator, BatchedStatevectorEstimator) and estimator.noise == "shots"


def _is_in_local_mode(estimator: object) -> bool:
    """Whether it is the runtime's local mode, which measures with BackendEstimatorV2."""
    return type(getattr(estimator, "_service", None)).__name__ == "QiskitRuntimeLocalService"


_BATCHED = EstimatorKind(
    "batched",
    lambda estimator: isinstance(estimator, BatchedStatevectorEstimator),
    simulates=True,
    binds_rightly=True,
    takes_projectors=True,
    runs_boxes=True,
    exponentiates=True,
)
_SAMPLING = _BATCHED._replace(name="batched with shots", includes=_draws_shots, measures=True)

KINDS = (
    _SAMPLING,
    _BATCHED,
    EstimatorKind(
        "statevector",
        lambda estimator: isinstance(estimator, StatevectorEstimator),
        simulates=True,
        binds_here=True,
        exponentiates=True,
    ),
    EstimatorKind("Aer", is_from_aer, simulates=True, binds_here=True),
    EstimatorKind(
        "backend estimator on a simulator",
        lambda estimator: isinstance(estimator, BackendEstimatorV2) and _holds_simulator(estimator),
        simulates=True,
        measures=True,
        binds_here=True,
    ),
    EstimatorKind(
        "backend estimator on a device",
        lambda estimator: isinstance(estimator, BackendEstimatorV2),
        measures=True,
        binds_here=True,
        runs_boxes=True,
    ),
    EstimatorKind(
        "runtime in local mode",
        _is_in_local_mode,
        simulates=True,
        measures=True,
        binds_here=True,
        runs_boxes=True,
    ),
    EstimatorKind(
        "runtime",
        lambda estimator: _is_from(estimator, "qiskit_ibm_runtime"),
        measures=True,
        takes_projectors=True,
        runs_boxes=True,
    ),
    # It may hand its jobs to a service that charges for them.
    EstimatorKind("unknown", lambda estimator: True, measures=True, runs_boxes=True),
)


def find_kind(estimator: object) -> EstimatorKind:
    """Return the row of the table for an estimator that does the work itself."""
    return next(kind for kind in KINDS if kind.includes(estimator))


def innermost(estimator: Any) -> Any:
    """Return the estimator that does the work, through those that hold one other."""
    while hasattr(estimator, "inner"):
        estimator = estimator.inner
    return estimator


def workers(estimator: Any) -> list[Any]:
    """Return the estimators that do the work, of which a dispatching one has several."""
    held = getattr(estimator, "estimators", None)
    if held is None:
        held = [estimator.inner] if hasattr(estimator, "inner") else []
    return [worker for e in held for worker in workers(e)] or [estimator]


def _kinds_of_workers(estimator: object) -> list[EstimatorKind]:
    return [find_kind(worker) for worker in workers(estimator)]


def is_aer(estimator: object) -> bool:
    """Whether an estimator is Aer's, which binds parameters of controlled gates wrongly."""
    return any(is_from_aer(e) for e in (estimator, *workers(estimator)))


def evolutions_on(estimator: object, transpiler: object = None) -> Evolutions:
    """Return the form in which an estimator takes the evolutions of circuits handed to it."""
    exact = transpiler is None and all(kind.exponentiates for kind in _kinds_of_workers(estimator))
    return "simulated" if exact else "definition"


def runs_boxes(estimator: object) -> bool:
    """Whether a circuit may be handed over with its boxes: no simulator of a backend runs them."""
    return all(find_kind(e).runs_boxes and not _holds_simulator(e) for e in workers(estimator))


def takes_projectors(estimator: object) -> bool:
    """Whether observables may name projectors."""
    return all(kind.takes_projectors for kind in _kinds_of_workers(estimator))


def binds_rightly(estimator: object) -> bool:
    """Whether an estimator evaluates parameter expressions with the package's own numbers."""
    return all(kind.binds_rightly for kind in _kinds_of_workers(estimator))


def measures(estimator: object) -> bool:
    """Whether an estimator executes circuits that measure, instead of computing values."""
    return find_kind(innermost(estimator)).measures


def binds_here(estimator: object) -> bool:
    """Whether an estimator makes a circuit for each point in the memory of this process."""
    return find_kind(innermost(estimator)).binds_here


FETCHING = ("retrieve_job", "find_job")
"""Methods of estimators whose jobs outlive the process."""


def costs_nothing(estimator: object) -> bool:
    """Whether all work is done by simulators known to run here: their jobs end with the process."""
    fetched = any(hasattr(e, m) for e in (estimator, *workers(estimator)) for m in FETCHING)
    return not fetched and all(kind.simulates for kind in _kinds_of_workers(estimator))


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
        and 64 << num_qubits <= free_memory.available()  # a bra and a ket, and as much again
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
