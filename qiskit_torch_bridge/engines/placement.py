# SPDX-License-Identifier: Apache-2.0
"""Where a program runs: on which estimator, in which form, watched over by what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from qiskit.circuit import QuantumCircuit
from qiskit.primitives import BaseEstimatorV2
from qiskit.providers import BackendV2

from ..backends import OnBackend, prepare
from ..exceptions import BackendError, EstimatorTypeError
from ..jobs import DispatchingEstimator, Jobs
from ..primitives import BatchedStatevectorEstimator
from ..primitives.evaluation import validate_estimator
from ..program import CircuitProgram


class Place(NamedTuple):
    """Where a program runs.

    Attributes:
        program: The program, transpiled if a backend was named.
        estimator: What runs it; ``None`` for the exact engine.
        pass_manager: What still has to transpile it.
        isa_circuit: The circuit for the whole backend; ``None`` if no backend was named.
        backend: The backend; ``None`` likewise.
    """

    program: CircuitProgram
    estimator: BaseEstimatorV2 | None
    pass_manager: Any
    isa_circuit: QuantumCircuit | None
    backend: BackendV2 | None


def placed_on(
    program: CircuitProgram,
    *,
    samples: bool,
    estimator: Any = None,
    estimators: Sequence[Any] | None = None,
    backend: Any = None,
    mode: Any = None,
    backend_options: Mapping[str, Any] | None = None,
    optimization_level: int | None = None,
    seed_transpiler: int | None = None,
    pass_manager: Any = None,
    journal: Any = None,
    budget: Any = None,
    seed: int | None = None,
) -> Place:
    """Return where the user wants a program to run.

    Args:
        program: The program.
        samples: Whether shots or a precision are asked for, so that values are sampled even where
            nothing is named to run them on.
        estimator: As for the module, like all that follow.
        estimators: Several estimators that share the rows.
        backend: A backend.
        mode: A session or batch.
        backend_options: Options of the backend's estimator.
        optimization_level: Of the transpilation for the backend.
        seed_transpiler: Makes it reproducible.
        pass_manager: Takes the place of the backend's.
        journal: Where requests are written down.
        budget: What may be used.
        seed: Seeds simulators.

    Raises:
        BackendError: If the choices contradict each other.
    """
    named = {
        "estimator": estimator,
        "estimators": estimators,
        "backend (or mode)": backend if mode is None else mode,
    }
    chosen = [name for name, value in named.items() if value is not None]
    if len(chosen) > 1:
        raise BackendError(
            f"Expected one place to run; got {' and '.join(chosen)}. A backend brings its own "
            "estimator; several backends are given as estimators=[...], one for each."
        )
    isa_circuit, on = None, None
    jobs = None if journal is None and budget is None else Jobs(journal=journal, budget=budget)
    if chosen == ["backend (or mode)"]:
        here = backend if mode is None else mode
        if not isinstance(here, OnBackend):
            here = OnBackend(
                here,
                options=backend_options,
                optimization_level=optimization_level,
                seed_transpiler=seed_transpiler,
                jobs=jobs,
            )
        elif here.jobs is None and jobs is not None:
            here = replace(here, jobs=jobs)
        found = prepare(program, here, pass_manager=pass_manager, seed=seed)
        return Place(found.program, found.estimator, None, found.isa_circuit, found.backend)
    _refuse_without_backend(
        backend_options=backend_options,
        optimization_level=optimization_level,
        seed_transpiler=seed_transpiler,
    )
    several = isinstance(estimator, list)
    if estimators is not None:
        if isinstance(estimators, BaseEstimatorV2) or not isinstance(estimators, Sequence):
            raise EstimatorTypeError(
                f"Expected estimators to be a list of estimators; got {type(estimators).__name__}. "
                "Give a single one as estimator=."
            )
        estimator, several = list(estimators), True
    elif estimator is not None and not several:
        estimator = validate_estimator(estimator)
    elif jobs is not None and samples and not several:
        estimator = BatchedStatevectorEstimator(seed=seed)
    if jobs is not None or several:
        if estimator is None:
            raise BackendError(
                "journal and budget watch over jobs; the exact engine runs none. Name a backend, "
                "an estimator or shots, or leave them out."
            )
        if isinstance(estimator, DispatchingEstimator):
            raise BackendError(
                "The estimator is a DispatchingEstimator already; give journal and budget to it."
            )
        estimator = DispatchingEstimator(estimator, jobs)
    return Place(program, estimator, pass_manager, isa_circuit, on)


def _refuse_without_backend(**given: Any) -> None:
    named = [name for name, value in given.items() if value is not None]
    if named:
        raise BackendError(
            f"{named[0]} belongs to a backend, and none was given. Give backend=, or set the "
            "options where you make the estimator and the pass manager."
        )
