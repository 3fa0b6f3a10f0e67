# SPDX-License-Identifier: Apache-2.0
"""Choosing an engine from what the user named: an estimator, a gradient, a precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.primitives import BaseEstimatorV2
from qiskit_algorithms.gradients import BaseEstimatorGradient

from ..arguments import DTYPES, MOST_SEED, require_complex_dtype, require_seed, shown
from ..backends.prepare import check_pass_manager
from ..exceptions import GradientError, InputError
from ..gradients import (
    AdjointEstimatorGradient,
    AQGDEstimatorGradient,
    EstimatorGradient,
    FiniteDifferenceEstimatorGradient,
    ParameterShiftEstimatorGradient,
    SPSAEstimatorGradient,
)
from ..gradients.derivative_type import REAL_IN_TORCH, require_real
from ..primitives import BatchedStatevectorEstimator, is_aer
from ..primitives.kinds import innermost, names_with_noise, runs_boxes
from ..primitives.precision import assumed_precision, validated_precision
from ..program import CircuitProgram
from ..program.lowering import refuse_lost_noise
from ..rules import SPSARule
from ..rules.options import named
from .estimator import EstimatorEngine
from .placement import placed_on
from .plugin import PluginEngine
from .spsa import SPSAEngine
from .statevector import StatevectorEngine


def _adjoint(
    estimator: BaseEstimatorV2, precision: float | None = None
) -> AdjointEstimatorGradient:
    return AdjointEstimatorGradient(estimator)  # exact, whatever precision values have


GRADIENTS: dict[str, Callable[..., BaseEstimatorGradient]] = {
    "adjoint": _adjoint,
    "parameter-shift": ParameterShiftEstimatorGradient,
    "aqgd": AQGDEstimatorGradient,
    "finite-difference": FiniteDifferenceEstimatorGradient,
    "spsa": SPSAEstimatorGradient,
}
"""The gradients that have a name; any ``BaseEstimatorGradient`` instance works as well."""


def make_engine(
    program: CircuitProgram,
    *,
    gradient: Any = None,
    shots: Any = None,
    precision: Any = None,
    gradient_shots: Any = None,
    seed: int | None = None,
    dtype: Any = None,
    **place: Any,
) -> EstimatorEngine:
    """Return the engine for the user's choices, after checking every one of them.

    Args:
        program: The program.
        gradient: As for the module, like all that follow.
        shots: Shots, or
        precision: the standard error of every evaluation.
        gradient_shots: Shots for gradients.
        seed: Seeds simulators.
        dtype: Of the exact engine.
        **place: Where to run: the arguments of :func:`.placed_on`.

    Raises:
        EstimatorTypeError: If ``estimator`` is not a V2 estimator.
        BackendError: If the place to run is contradictory.
        GradientError: If ``gradient`` is unknown.
        PrecisionError: If shots or precision are wrong, or both are given.
        CircuitError: If the pass manager returns something else than this circuit.
    """
    requested = validated_precision(shots, precision)
    for_gradient = validated_precision(gradient_shots, None)
    require_seed(seed, most=MOST_SEED)
    given = _instance(gradient)
    samples = requested is not None or for_gradient is not None
    _check_watched(given, place)
    found = placed_on(program, samples=samples, seed=seed, **place)
    program, estimator, pass_manager = found.program, found.estimator, found.pass_manager
    if estimator is None and isinstance(given, EstimatorGradient):
        estimator = given.estimator
    if estimator is None and isinstance(given, AdjointEstimatorGradient) and given.has_estimator:
        estimator = given.estimator
    exact = estimator is None and not samples
    number = _dtype(dtype, exact)
    if estimator is None:
        estimator = BatchedStatevectorEstimator(seed=seed, dtype=number)
    if given is None:
        choice = gradient or ("adjoint" if exact else "parameter-shift")
        name, options = (choice, {}) if isinstance(choice, str) else (choice.name, vars(choice))
        if name == "spsa" and options.get("seed") is None:
            options = {**options, "seed": seed}
        given = GRADIENTS[name](estimator, precision=for_gradient or requested, **options)
    elif requested is None and isinstance(given, EstimatorGradient):
        requested = given.precision
    if pass_manager is None and found.isa_circuit is None and isinstance(given, EstimatorGradient):
        pass_manager = given.pass_manager
    of_gradient = getattr(given, "_estimator", None)  # also where it is another package's
    if found.isa_circuit is not None and not isinstance(given, AdjointEstimatorGradient):
        _check_numbering(of_gradient, program.circuit, found.isa_circuit)
    program = _prepared(program, (estimator, of_gradient), pass_manager)
    engine = _engine(program, estimator, given, requested, for_gradient, exact, dtype, number)
    engine.isa_circuit = program.circuit if found.isa_circuit is None else found.isa_circuit
    engine.backend, engine.mode, engine.shots = found.backend, place.get("mode"), shots
    return engine


def _engine(
    program: CircuitProgram,
    estimator: BaseEstimatorV2,
    given: BaseEstimatorGradient,
    requested: float | None,
    for_gradient: float | None,
    exact: bool,
    dtype: Any,
    number: str,
) -> EstimatorEngine:
    if isinstance(given, AdjointEstimatorGradient):
        number = number if dtype is not None else given.dtype.name
        return StatevectorEngine(
            program, estimator, requested, samples=not exact, dtype=np.dtype(number)
        )
    if not isinstance(given, EstimatorGradient):
        return PluginEngine(program, estimator, requested, given, for_gradient)
    own = for_gradient or given.precision or requested
    rule = given.rule(assumed_precision(given.estimator, own))
    kind = SPSAEngine if isinstance(rule, SPSARule) else EstimatorEngine
    engine = kind(
        program,
        estimator,
        requested,
        rule,
        gradient_estimator=given.estimator,
        gradient_precision=own,
    )
    engine.evaluations_for(program.weight_columns)  # what cannot be planned is refused here
    return engine


def _check_watched(given: BaseEstimatorGradient | None, place: dict[str, Any]) -> None:
    """Raise if a gradient's own estimator would escape the journal or the budget."""
    named = [name for name in ("journal", "budget") if place.get(name) is not None]
    if not named or given is None:
        return
    if isinstance(given, AdjointEstimatorGradient) and not given.has_estimator:
        return  # it runs no jobs
    raise GradientError(
        f"{' and '.join(named)} would know nothing of the jobs of {type(given).__name__}, which "
        "has an estimator of its own. Name the gradient (gradient='parameter-shift'), or give "
        "journal and budget to a jobs.DispatchingEstimator, and that one to the gradient and "
        "as estimator=."
    )


def _check_numbering(
    of_gradient: Any, submitted: QuantumCircuit, isa_circuit: QuantumCircuit
) -> None:
    """Raise if a gradient's estimator would take the qubits in use for others of its device.

    Of a fake device only the qubits in use are simulated, and numbered anew.
    """
    backend: Any = getattr(innermost(of_gradient), "_backend", None)
    placed = getattr(backend, "coupling_map", None) is not None
    size = submitted.num_qubits
    if placed and size != isa_circuit.num_qubits and size != backend.num_qubits:
        raise GradientError(
            f"The gradient has an estimator of its own, on {backend.name}; the module simulates "
            f"the {size} qubits in use, and that estimator would take them for others. Name the "
            "gradient (gradient='parameter-shift'), or give estimator= and pass_manager= instead "
            "of backend=."
        )


def _dtype(dtype: Any, exact: bool) -> str:
    """Return the name of the complex dtype to simulate in."""
    if dtype is None:
        return DTYPES[0]
    name = require_complex_dtype(dtype)
    if not exact:
        raise InputError(
            "dtype is the exact engine's number format; an estimator or shots were given too. "
            "Leave out dtype, or the estimator and the shots."
        )
    return name


def _instance(gradient: Any) -> BaseEstimatorGradient | None:
    """Return a gradient object, ``None`` for a name, with options or without, or raise."""
    known_name = isinstance(gradient, str) and gradient in GRADIENTS
    if gradient is None or known_name or (named(gradient) and not isinstance(gradient, str)):
        return None
    if isinstance(gradient, BaseEstimatorGradient):
        require_real(gradient, REAL_IN_TORCH)
        return gradient
    known = ", ".join(repr(name) for name in GRADIENTS)
    if isinstance(gradient, type) and issubclass(gradient, BaseEstimatorGradient):
        raise GradientError(
            f"Expected a gradient object; got the class {gradient.__name__}. Create it: "
            f"{gradient.__name__}(estimator)."
        )
    raise GradientError(
        f"Expected gradient to be one of {known}, a gradients.FiniteDifference or "
        "SimultaneousPerturbation for options of these, or a BaseEstimatorGradient instance; got "
        f"{shown(gradient)}."
    )


def _prepared(
    program: CircuitProgram, estimators: tuple[Any, Any], pass_manager: Any
) -> CircuitProgram:
    """Transpile once, and decompose for simulators what they do not know or would bind wrongly."""
    if pass_manager is not None:
        check_pass_manager(pass_manager)
        program = program.rewritten(pass_manager.run)
    on_aer = [estimator for estimator in estimators if is_aer(estimator)]
    for estimator in on_aer:
        refuse_lost_noise(program.circuit, names_with_noise(estimator))
    if on_aer:
        return program.on_aer
    return program if all(map(runs_boxes, estimators)) else program.without_boxes
