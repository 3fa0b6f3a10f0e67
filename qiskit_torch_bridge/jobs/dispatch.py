# SPDX-License-Identifier: Apache-2.0
"""An estimator over other estimators: requests cut, spread, submitted together, seen through."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from qiskit.primitives import BaseEstimatorV2
from qiskit.primitives.containers.estimator_pub import EstimatorPub

from ..arguments import require_instance, require_real_number, shown
from ..exceptions import EstimatorTypeError, InputTypeError
from ..primitives import memory
from ..primitives.aer_circuits import AerCircuits
from ..primitives.kinds import repeats_noise
from ..primitives.parts import Part, cut, rows_of
from ..primitives.precision import default_precision
from ..primitives.submission import coerced_pubs, validated_estimator
from ..primitives.tracking import Usage, usage_of
from .budget import Budget
from .entries import Entries
from .journal import Journal
from .request import Request
from .retry import Retry
from .sizes import Sizes, parts_for

MAX_BYTES = 40_000_000
"""Default limit of a job's input; IBM Quantum takes 50 MB."""


class DispatchingEstimator(BaseEstimatorV2):
    """Runs requests on one or several estimators, and sees them through failures.

    The rows of each PUB are divided among the estimators and cut to the size that a job may have;
    all parts are submitted before any result is waited for, and put together in order.

    * Errors that pass (connection lost, too many requests, faults of the service) are tried again
      after growing, randomised delays, and at last on the other estimators.
    * If waiting for a job is given up by the client, the same job is waited for again; it is never
      submitted twice.
    * If the answer to a submission is lost, the job is looked for by its tag. Where nothing can
      tell whether it was taken, :class:`.UnknownJobError` says so; see :class:`.Retry`.
    * A job over its time limit is submitted again in two halves.
    * Everything else raises :class:`.JobError`, which carries the ids of all jobs.

    Args:
        estimators: One V2 estimator, or several for the same circuits.
        max_bytes: The most bytes of a job's input, estimated.
        retry: How often and how long to try again.
        journal: A path, or a :class:`.Journal`: every request, job id and result is written to it
            before the next, and what it holds is not run again.
        budget: The most shots, or a :class:`.Usage` whose nonzero numbers are limits; a request
            that would exceed what is left raises :class:`.BudgetError` and is not submitted, and so
            does a job that would be submitted again. What the journal knows to be used counts. A
            :class:`.Budget` is shared with others.
        checks: Called with every PUB before anything is submitted; they raise to refuse it.

    Attributes:
        estimators: The estimators.
        entries: Numbers the requests.

    Raises:
        EstimatorTypeError: If there is no estimator, or something else.
        BridgeError: One of its subclasses for anything else that is wrong with the arguments.
        JobError: In ``run()`` and ``result()``, if a job failed for good or took too long.
        UnknownJobError: There, if nothing can tell whether a job was taken.

    Example:
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit_torch_bridge import TorchQuantumModule
        >>> from qiskit_torch_bridge.jobs import DispatchingEstimator
        >>> from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator
        >>> both = [BatchedStatevectorEstimator(), BatchedStatevectorEstimator()]
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.ry(Parameter("theta"), 0)
        >>> module = TorchQuantumModule(
        ...     circuit, estimator=DispatchingEstimator(both), initial_weights=[0.0]
        ... )
        >>> module().item()
        1.0
    """

    counts_itself = True  # trackers are told of each part's job

    def __init__(
        self,
        estimators: BaseEstimatorV2 | Sequence[BaseEstimatorV2],
        *,
        max_bytes: float = MAX_BYTES,
        retry: Retry | None = None,
        journal: Any = None,
        budget: int | Usage | Budget | None = None,
        checks: Sequence[Callable[[EstimatorPub], None]] = (),
    ) -> None:
        several = isinstance(estimators, Sequence) and not isinstance(estimators, (str, bytes))
        given: list[Any] = list(estimators) if several else [estimators]
        if not given:
            raise EstimatorTypeError("Expected at least one estimator; got none.")
        self.estimators = tuple(validated_estimator(e) for e in given)
        self.max_bytes = require_real_number(max_bytes, "max_bytes")
        what = "a jobs.Retry, such as Retry(attempts=5)"
        self.retry = Retry() if retry is None else require_instance(retry, "retry", Retry, what)
        listed: Any = checks
        if not isinstance(listed, (list, tuple)) or not all(map(callable, checks)):
            raise InputTypeError(
                "Expected checks to be a list of functions that take a PUB and raise to refuse it; "
                f"got {shown(checks)}."
            )
        self.checks = tuple(checks)
        self.budget = budget if isinstance(budget, Budget) else Budget(budget)
        self.entries = _entries_of(journal)  # a file is opened last
        if self.budget is not budget:
            self.budget.used = self.entries.used
        self._sizes = Sizes()
        self._for_aer = AerCircuits(self.estimators)

    @property
    def journal(self) -> Journal | None:
        """The journal, if there is one."""
        return self.entries if isinstance(self.entries, Journal) else None

    @property
    def used(self) -> Usage:
        """The usage so far, of all that share the budget."""
        return self.budget.used

    @property
    def default_precision(self) -> float | None:
        """The precision of the first estimator where none is requested."""
        return default_precision(self.estimators[0])

    @property
    def options(self) -> Any:
        """The options of the first estimator."""
        return getattr(self.estimators[0], "options", None)

    def run(self, pubs: Iterable[Any], *, precision: float | None = None) -> Request:
        """Submit ``pubs``, and return a job over all their parts."""
        coerced = [self._for_aer(pub) for pub in coerced_pubs(pubs, precision, self)]
        for check, pub in itertools.product(self.checks, coerced):
            check(pub)
        parts = self._parts(coerced)
        request = Request(parts, self.estimators, self.entries, self.retry, self.budget)
        with self.entries.order, self.budget.order:
            if self.budget.limited:
                self.budget.check(self._usage(parts, self.entries.known(len(parts))))
            request.submit()
        return request

    def usage(self, pubs: Iterable[Any], precision: float | None = None) -> Usage:
        """Return what running ``pubs`` would amount to, if nothing fails."""
        coerced = [self._for_aer(pub) for pub in coerced_pubs(pubs, precision, self)]
        return self._usage(self._parts(coerced))

    def _usage(self, parts: list[Part], first: int = 0) -> Usage:
        homes = zip(parts, itertools.cycle(self.estimators), strict=False)
        wanted = itertools.islice(homes, first, None)
        return sum((usage_of(estimator, [p.pub], None) for p, estimator in wanted), Usage())

    def _parts(self, pubs: list[EstimatorPub]) -> list[Part]:
        return [
            part
            for position, pub in enumerate(pubs)
            for part in cut(pub, position, self._count(pub))
        ]

    def _count(self, pub: EstimatorPub) -> int:
        """Return into how many parts a PUB is cut: at least one for each estimator."""
        pieces, rows = len(self.estimators), rows_of(pub)
        if rows is None:
            return 1
        most = max(memory.memory_of(e, pub) for e in self.estimators)
        if any(repeats_noise(e) for e in self.estimators):
            most = 0.0  # all parts would have the same noise
        for_memory = pieces * math.ceil(most / memory.MOST / pieces)
        return max(for_memory, parts_for(self._sizes(pub), rows, pieces, self.max_bytes))


def _entries_of(journal: Any) -> Entries:
    """Return what numbers requests: a journal, made if it is a path, or what writes nothing."""
    if journal is None:
        return Entries()
    return journal if isinstance(journal, Journal) else Journal(journal)
