# SPDX-License-Identifier: Apache-2.0
"""Which estimator it is, also inside others that hold it."""

from __future__ import annotations

from typing import Any

from qiskit.primitives import BackendEstimatorV2, StatevectorEstimator

from .. import free_memory
from ..program.evolutions import Evolutions
from .batched import BatchedStatevectorEstimator


def innermost(estimator: Any) -> Any:
    """Return the estimator that does the work."""
    while hasattr(estimator, "inner"):
        estimator = estimator.inner
    return estimator


def workers(estimator: Any) -> list[Any]:
    """Return the estimators that do the work, of which a dispatching one has several."""
    held = getattr(estimator, "estimators", None)
    if held is None:
        held = [estimator.inner] if hasattr(estimator, "inner") else []
    return [worker for e in held for worker in workers(e)] or [estimator]


def is_aer(estimator: object) -> bool:
    """Whether an estimator is Aer's, which binds parameters of controlled gates wrongly."""
    return any(is_of_aer(e) for e in (estimator, *workers(estimator)))


def evolutions_on(estimator: object, transpiler: object = None) -> Evolutions:
    """Return the form in which an estimator takes the evolutions of circuits handed to it."""
    exact = (StatevectorEstimator, BatchedStatevectorEstimator)
    if transpiler is None and all(isinstance(worker, exact) for worker in workers(estimator)):
        return "simulated"
    return "definition"


def runs_boxes(estimator: object) -> bool:
    """Whether a circuit may be handed over with its boxes: no simulator knows them."""
    return not any(
        isinstance(e, StatevectorEstimator) or is_of_aer(e) or _simulates_a_backend(e)
        for e in workers(estimator)
    )


def _simulates_a_backend(estimator: Any) -> bool:
    backend = getattr(estimator, "backend", None) or getattr(estimator, "_backend", None)
    modules = (kind.__module__ for kind in type(backend).__mro__)
    here = ("fake_provider", "basic_provider")
    return is_of_aer(backend) or any(part in name for name in modules for part in here)


def measures(estimator: object) -> bool:
    """Whether an estimator executes circuits that measure, instead of computing values."""
    inner = innermost(estimator)
    if isinstance(inner, BatchedStatevectorEstimator):
        return inner.noise == "shots"
    return not isinstance(inner, StatevectorEstimator) and not is_of_aer(inner)


def is_exact(estimator: object, num_qubits: int) -> bool:
    """Whether an estimator, as it is set up, gives exact values of circuits of some width.

    Of Aer's that is one without noise on state vectors that are not larger than this process can
    hold: with wider circuits it turns to other methods.
    """
    if type(estimator) in (StatevectorEstimator, BatchedStatevectorEstimator):
        return not estimator.default_precision  # type: ignore[attr-defined]
    backend: Any = getattr(estimator, "_backend", None)
    if type(estimator).__name__ != "EstimatorV2" or type(backend).__name__ != "AerSimulator":
        return False
    if not is_of_aer(estimator) or not is_of_aer(backend):
        return False
    own, options = getattr(estimator, "options"), backend.options  # noqa: B009 - Aer's, known now
    return (
        not own.default_precision
        and not own.run_options
        and options.noise_model is None
        and options.method in ("automatic", "statevector")
        and options.device == "CPU"
        and options.precision == "double"
        and 64 << num_qubits <= free_memory.available()  # a bra and a ket, and as much again
    )


def takes_projectors(estimator: object) -> bool:
    """Whether observables may name projectors: Qiskit's and Aer's estimators take Paulis only."""
    return all(
        isinstance(worker, BatchedStatevectorEstimator) or _is_of_the_service(worker)
        for worker in workers(estimator)
    )


def _is_of_the_service(estimator: object) -> bool:
    packages = {kind.__module__.partition(".")[0] for kind in type(estimator).__mro__}
    return "qiskit_ibm_runtime" in packages and not _is_local_mode(estimator)


def _is_local_mode(estimator: object) -> bool:
    """Whether it is the runtime's local mode, which measures with BackendEstimatorV2."""
    return type(getattr(estimator, "_service", None)).__name__ == "QiskitRuntimeLocalService"


def binds_rightly(estimator: Any) -> bool:
    """Whether an estimator evaluates parameter expressions with the package's own numbers."""
    inner = getattr(estimator, "estimators", None) or [getattr(estimator, "inner", None)]
    if inner != [None]:
        return all(map(binds_rightly, inner))
    return isinstance(estimator, BatchedStatevectorEstimator)


def binds_here(estimator: object) -> bool:
    """Whether an estimator makes a circuit for each point in the memory of this process."""
    inner = innermost(estimator)
    if isinstance(inner, (StatevectorEstimator, BackendEstimatorV2)) or is_of_aer(inner):
        return True
    return _is_local_mode(inner)


def costs_nothing(estimator: object) -> bool:
    """Whether all work is done by simulators known to run here: their jobs end with the process.

    An estimator of an unknown kind may hand its jobs to a service that is paid for them.
    """
    doing = workers(estimator)
    fetched = any(hasattr(e, name) for e in (estimator, *doing) for name in FETCHING)
    return not fetched and all(map(_simulates, doing))


FETCHING = ("retrieve_job", "find_job")
"""Methods of estimators whose jobs outlive the process."""


def _simulates(worker: Any) -> bool:
    if isinstance(worker, (StatevectorEstimator, BatchedStatevectorEstimator)):
        return True
    if isinstance(worker, BackendEstimatorV2):
        return _simulates_a_backend(worker)
    return is_of_aer(worker) or _is_local_mode(worker)


def repeats_noise(estimator: object) -> bool:
    """Whether a fixed seed gives every job of an estimator the same noise."""
    if innermost(estimator) is not estimator:
        return False  # it is given a new seed for every job
    options = getattr(estimator, "options", None)
    run_options = getattr(options, "run_options", None)
    backend = _backend_of(estimator)
    seeds = [
        getattr(estimator, "seed", None),
        getattr(options, "seed_simulator", None),
        run_options.get("seed_simulator") if isinstance(run_options, dict) else None,
        getattr(getattr(options, "simulator", None), "seed_simulator", None),
        getattr(getattr(backend, "options", None), "seed_simulator", None),
    ]
    return any(isinstance(seed, int) for seed in seeds)


def names_with_noise(estimator: Any) -> frozenset[str]:
    """Return the names and labels of gates that a simulator's noise is tied to."""
    several = getattr(estimator, "estimators", None)
    if several:
        return frozenset().union(*map(names_with_noise, several))
    model = getattr(
        getattr(_backend_of(innermost(estimator)), "options", None), "noise_model", None
    )
    return frozenset(getattr(model, "noise_instructions", None) or ())


def _backend_of(estimator: Any) -> Any:
    return getattr(estimator, "backend", None) or getattr(estimator, "_backend", None)


def is_of_aer(thing: object) -> bool:
    """Whether the class of an estimator or backend, or one above it, is from qiskit-aer."""
    packages = {kind.__module__.partition(".")[0] for kind in type(thing).__mro__}
    return "qiskit_aer" in packages
