# SPDX-License-Identifier: Apache-2.0
"""One call of an estimator: all PUBs in one ``run``, every result checked before it is used."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from qiskit.primitives import BaseEstimatorV2
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.observables_array import ObservablesArray

from ..arguments import shown
from ..arrays import FloatArray
from ..exceptions import (
    BridgeError,
    EstimatorTypeError,
    ExecutionError,
    InputError,
    ResultError,
)
from ..program import AnalysedCircuit
from ..program.observables import observables_array
from . import cutting
from .capabilities import binds_here, takes_projectors
from .cutting import UNUSED as UNUSED
from .cutting import Evaluation as Evaluation
from .cutting import PubPart, check_result
from .precision import validate_target_precision
from .pubs import check_pubs
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


def coerce_pub(pub: Any, precision: float | None = None, estimator: object = None) -> EstimatorPub:
    """Return a PUB in any form as Qiskit's, with every coefficient of its observables.

    Projectors stay projectors where the ``estimator`` that it is for takes them.
    """
    try:
        if isinstance(pub, (tuple, list)) and len(pub) > 1:
            named = estimator is not None and takes_projectors(estimator)
            pub = (pub[0], observables_array(pub[1], projectors=named), *pub[2:])
        return EstimatorPub.coerce(pub, precision)
    except BridgeError:
        raise
    except Exception as error:  # Qiskit's own, which are of many kinds
        raise InputError(
            "Expected a PUB, (circuit, observables, parameter values, precision) as far as needed; "
            f"got {shown(pub)}: {error}"
        ) from error


def coerce_pubs(pubs: Any, precision: Any = None, estimator: object = None) -> list[EstimatorPub]:
    """Return all PUBs of a call of ``run``, or say what is wrong with one of them."""
    check_pubs(pubs)
    wanted = None if precision is None else validate_target_precision(precision)
    return [coerce_pub(pub, wanted, estimator) for pub in pubs]


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
    """Run ``pubs`` in one job, and return what waits for it: see :func:`evaluate`.

    More than one job is made where the circuits of one would not fit into this process's memory;
    each is then waited for before the next.
    """
    if not pubs:
        return list
    calls = _calls_of(estimator, pubs, precision)
    first = _run(estimator, pubs if calls is None else [p.pub for p in calls[0]], precision)

    def wait() -> list[Evaluation]:
        results = first()
        if calls is not None:
            for call in calls[1:]:
                results += _run(estimator, [p.pub for p in call], precision)()
            results = cutting.join_calls(calls, results)
        who, pairs = type(estimator).__name__, zip(results, shapes, strict=True)
        return [check_result(r, shape, i, who) for i, (r, shape) in enumerate(pairs)]

    return wait


def count_request_usage(
    estimator: BaseEstimatorV2, pubs: Sequence[Any], precision: float | None = None
) -> Usage:
    """Return what :func:`submit` will amount to, if nothing fails."""
    calls = _calls_of(estimator, pubs, precision)
    asked = [pubs] if calls is None else [[part.pub for part in call] for call in calls]
    return sum((count_usage(estimator, each, precision) for each in asked), Usage())


def _calls_of(
    estimator: BaseEstimatorV2, pubs: Sequence[Any], precision: float | None
) -> list[list[PubPart]] | None:
    """Return the parts of PUBs in calls that fit into memory; ``None`` if one call does."""
    if not binds_here(estimator) or cutting.surely_fits(pubs):
        return None
    coerced = [EstimatorPub.coerce(pub, precision) for pub in pubs]
    calls = cutting.cut_into_calls(coerced, estimator, cutting.MEMORY)
    return calls if len(calls) > 1 else None


def _run(
    estimator: BaseEstimatorV2, pubs: Sequence[Any], precision: float | None
) -> Callable[[], list[Any]]:
    options = {} if precision is None else {"precision": precision}
    with _errors_named(estimator, len(pubs)):
        job = estimator.run(pubs, **options)
        if not getattr(estimator, "counts_itself", False):
            record_job(estimator, pubs, precision)

    def results() -> list[Any]:
        with _errors_named(estimator, len(pubs)):
            found = list(job.result())
        if len(found) != len(pubs):
            raise ResultError(
                f"{type(estimator).__name__} was given {len(pubs)} PUB(s) and returned "
                f"{len(found)} result(s); the values cannot be assigned. {UNUSED}"
            )
        return found

    return results


@contextlib.contextmanager
def _errors_named(estimator: BaseEstimatorV2, count: int) -> Iterator[None]:
    """Turn an estimator's errors into :class:`ExecutionError`."""
    try:
        yield
    except BridgeError:
        raise
    except Exception as error:
        raise ExecutionError(
            f"{type(estimator).__name__} failed on {count} PUB(s): {error}"
        ) from error


def validate_estimator(estimator: Any) -> BaseEstimatorV2:
    """Return ``estimator`` if it is a V2 estimator, or say what to use instead."""
    if isinstance(estimator, BaseEstimatorV2):
        return estimator
    if isinstance(estimator, type):
        hint = f"Create it first: {estimator.__name__}()."
    elif hasattr(estimator, "target") or hasattr(estimator, "configuration"):
        hint = "Wrap the backend: qiskit.primitives.BackendEstimatorV2(backend=...)."
    else:
        hint = "For example qiskit.primitives.StatevectorEstimator()."
    raise EstimatorTypeError(
        f"Expected estimator to be a V2 estimator primitive (BaseEstimatorV2); got "
        f"{estimator if isinstance(estimator, type) else type(estimator).__name__}. {hint}"
    )
