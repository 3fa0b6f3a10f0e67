# SPDX-License-Identifier: Apache-2.0
"""One call of a primitive: all PUBs in one ``run``, every result checked before it is used."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from qiskit.circuit import QuantumCircuit
from qiskit.primitives import BaseEstimatorV2, BaseSamplerV2, PubResult
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.observables_array import ObservablesArray

from ..arguments import shown
from ..arrays import FloatArray
from ..exceptions import BridgeError, ExecutionError, InputError, ResultError
from ..program import AnalysedCircuit
from ..program.observables import observables_array
from . import cutting
from .capabilities import binds_here
from .cutting import PubPart
from .families import ESTIMATORS, SAMPLERS, Effort, Primitive, Pub, family_of
from .families import validate_primitive as validate_primitive
from .precision import validate_target_precision
from .pubs import check_pubs
from .results import UNUSED as UNUSED
from .results import Evaluation as Evaluation
from .results import check_result
from .usage import Usage, count_usage, record_job


def make_points_pub(
    analysed: AnalysedCircuit,
    observables: ObservablesArray | list[Any],
    points: FloatArray,
    circuit: Any = None,
) -> tuple[Any, ...]:
    """Return the PUB that evaluates ``points`` of shape ``(N, P)``.

    Args:
        analysed: The circuit.
        observables: Operators of a shape that broadcasts against ``(N,)``; ``(O, 1)`` gives
            ``(O, N)``.
        points: Values in the order of the circuit's parameters.
        circuit: A transpiled form to submit instead.
    """
    taken = analysed.circuit if circuit is None else circuit
    operators = observables_array(observables)
    if not taken.parameters:
        return taken, operators
    return taken, operators, analysed.bindings(points, taken)


def make_sampling_pub(
    analysed: AnalysedCircuit, points: FloatArray, measured: QuantumCircuit
) -> tuple[Any, ...]:
    """Return the PUB that samples ``points`` of shape ``(N, P)``.

    Args:
        analysed: The circuit without measurements.
        points: Values in the order of the circuit's parameters.
        measured: The circuit, or a transpiled form of it, with measurements.
    """
    if not measured.parameters:
        return (measured,)
    return measured, analysed.bindings(points, measured)


def coerce_pub(pub: Any, effort: Effort = None, primitive: Primitive | None = None) -> Any:
    """Return a PUB in any form as Qiskit's, for an estimator unless ``primitive`` is a sampler."""
    family = ESTIMATORS if primitive is None else family_of(primitive)
    return family.coerce(pub, effort, primitive)


def coerce_pubs(pubs: Any, effort: Any = None, primitive: Primitive | None = None) -> list[Any]:
    """Return all PUBs of a call of ``run``, or say what is wrong with one of them."""
    family = ESTIMATORS if primitive is None else family_of(primitive)
    check_pubs(pubs)
    wanted = family.validate_effort(effort)
    return [family.coerce(pub, wanted, primitive) for pub in pubs]


def evaluate(
    estimator: BaseEstimatorV2,
    pubs: Sequence[tuple[Any, ...]],
    shapes: Sequence[tuple[int, ...]],
    precision: float | None = None,
) -> list[Evaluation]:
    """Run ``pubs`` in one job and return their expectation values in the expected shapes.

    Args:
        estimator: Any V2 estimator.
        pubs: What to run; nothing is submitted if it is empty.
        shapes: The shape of each PUB's expectation values.
        precision: Passed to ``run`` unchanged, and left out if it is ``None``.

    Raises:
        ExecutionError: If the estimator raises; its error is chained.
        ResultError: If a PUB's result is missing, misshapen or not finite.
    """
    validate_estimator(estimator)
    check_pubs(pubs)
    given: Any = (pubs, shapes)
    sized = all(isinstance(each, Sequence) for each in given)
    if not sized or len(pubs) != len(shapes) or not all(isinstance(s, tuple) for s in given[1]):
        raise InputError(
            "Expected a list of PUBs, and one with the shape of each PUB's expectation values; got "
            f"{shown(pubs)} and {shown(shapes)}."
        )
    for pub in given[0]:
        sequence = isinstance(pub, (tuple, list)) and 2 <= len(pub) <= 4
        if not sequence and not isinstance(pub, EstimatorPub):
            coerce_pub(pub)  # raises
    if precision is not None:
        validate_target_precision(precision)
    return submit(estimator, pubs, shapes, precision)()


def submit(
    estimator: BaseEstimatorV2,
    pubs: Sequence[tuple[Any, ...]],
    shapes: Sequence[tuple[int, ...]],
    precision: float | None = None,
) -> Callable[[], list[Evaluation]]:
    """Run ``pubs`` in one job, and return what waits for it: see :func:`evaluate`."""
    results, who = submit_pubs(estimator, pubs, precision), type(estimator).__name__

    def wait() -> list[Evaluation]:
        pairs = zip(results(), shapes, strict=True)
        return [check_result(r, shape, i, who) for i, (r, shape) in enumerate(pairs)]

    return wait


def submit_pubs(
    primitive: Primitive, pubs: Sequence[Any], effort: Effort = None
) -> Callable[[], list[PubResult]]:
    """Run ``pubs`` in one job, and return what waits for their results.

    More than one job is made where the circuits of one would not fit into this process's memory;
    each is then waited for before the next.

    Args:
        primitive: An estimator or a sampler.
        pubs: What to run; nothing is submitted if it is empty.
        effort: The precision or the shots, passed to ``run`` unchanged, and left out if ``None``.
    """
    if not pubs:
        return list
    calls = _calls_of(primitive, pubs, effort)
    first = _run(primitive, pubs if calls is None else [p.pub for p in calls[0]], effort)

    def wait() -> list[PubResult]:
        results = first()
        if calls is None:
            return results
        for call in calls[1:]:
            results += _run(primitive, [p.pub for p in call], effort)()
        return cutting.join_calls(calls, results)

    return wait


def count_request_usage(primitive: Primitive, pubs: Sequence[Any], effort: Effort = None) -> Usage:
    """Return what :func:`submit_pubs` will amount to, if nothing fails."""
    calls = _calls_of(primitive, pubs, effort)
    asked = [pubs] if calls is None else [[part.pub for part in call] for call in calls]
    return sum((count_usage(primitive, each, effort) for each in asked), Usage())


def _calls_of(
    primitive: Primitive, pubs: Sequence[Any], effort: Effort
) -> list[list[PubPart]] | None:
    """Return the parts of PUBs in calls that fit into memory; ``None`` if one call does."""
    if not binds_here(primitive) or cutting.surely_fits(pubs):
        return None
    pub_class = family_of(primitive).pub_class
    coerced: list[Pub] = [pub_class.coerce(pub, effort) for pub in pubs]
    calls = cutting.cut_into_calls(coerced, primitive, cutting.MEMORY)
    return calls if len(calls) > 1 else None


def _run(
    primitive: Primitive, pubs: Sequence[Any], effort: Effort
) -> Callable[[], list[PubResult]]:
    options: dict[str, Any] = family_of(primitive).options(effort)
    with _errors_named(primitive, len(pubs)):
        job = primitive.run(pubs, **options)
        record_job(primitive, pubs, effort)

    def results() -> list[PubResult]:
        with _errors_named(primitive, len(pubs)):
            found = list(job.result())
        if len(found) != len(pubs):
            raise ResultError(
                f"{type(primitive).__name__} was given {len(pubs)} PUB(s) and returned "
                f"{len(found)} result(s); the values cannot be assigned. {UNUSED}"
            )
        return found

    return results


@contextlib.contextmanager
def _errors_named(primitive: Primitive, count: int) -> Iterator[None]:
    """Turn a primitive's errors into :class:`ExecutionError`."""
    try:
        yield
    except BridgeError:
        raise
    except Exception as error:
        raise ExecutionError(
            f"{type(primitive).__name__} failed on {count} PUB(s): {error}"
        ) from error


def validate_estimator(estimator: Any) -> BaseEstimatorV2:
    """Return ``estimator`` if it is a V2 estimator, or say what to use instead."""
    found: BaseEstimatorV2 = ESTIMATORS.validate(estimator)
    return found


def validate_sampler(sampler: Any) -> BaseSamplerV2:
    """Return ``sampler`` if it is a V2 sampler, or say what to use instead."""
    found: BaseSamplerV2 = SAMPLERS.validate(sampler)
    return found
