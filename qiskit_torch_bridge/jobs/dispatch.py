# SPDX-License-Identifier: Apache-2.0
"""An estimator over other estimators: requests cut, spread, submitted together, seen through."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from qiskit.primitives import BaseEstimatorV2
from qiskit.primitives.containers.estimator_pub import EstimatorPub

from ..arguments import require_instance, require_path, require_real_number, show_given, shown
from ..exceptions import EstimatorTypeError, InputTypeError, JournalError
from ..primitives import cutting
from ..primitives.aer_circuits import AerCircuits
from ..primitives.cutting import PubPart
from ..primitives.evaluation import coerce_pubs, validate_estimator
from ..primitives.precision import default_precision
from ..primitives.usage import Usage, count_usage
from .attempts import Submitter
from .budget import Budget
from .dispatched_job import DispatchedJob
from .journal import Journal, RequestLog
from .retry import Retry


@dataclass(frozen=True)
class Jobs:
    """How jobs are written down, limited and tried again.

    Estimators that are made with one value share its journal and its budget. The journal's file is
    opened with the first of them.

    Attributes:
        journal: A path, or a :class:`Journal`: every request, job id and result is written to it
            before the next, and what it holds is not run again.
        budget: The most shots, or a :class:`.Usage` whose nonzero numbers are limits; a request
            that would exceed what is left raises :class:`.BudgetError` and is not submitted, and so
            does a job that would be submitted again. What the journal knows to be used counts. A
            :class:`Budget` can be shared with others.
        retry: How often and how long to try again; default: ``Retry()``.
        max_bytes: The most bytes of a job's input, estimated. IBM Quantum takes 50 MB.

    Raises:
        JournalError: If ``journal`` is neither a path nor a journal.
        BridgeError: One of its subclasses if another argument is something else.

    Example:
        >>> from qiskit_torch_bridge.jobs import Jobs
        >>> Jobs(journal="training.journal", budget=1_000_000)
        Jobs(journal='training.journal', budget=1000000)
    """

    journal: str | os.PathLike[str] | Journal | None = None
    budget: int | Usage | Budget | None = None
    retry: Retry | None = None
    max_bytes: float = 40_000_000

    def __post_init__(self) -> None:
        if self.journal is not None and not isinstance(self.journal, RequestLog):
            require_path(self.journal, "journal", error=JournalError)
        if not isinstance(self.budget, Budget):
            Budget(self.budget)  # refuses what is no limit
        if self.retry is not None:
            require_instance(self.retry, "retry", Retry, "a jobs.Retry, such as Retry(attempts=5)")
        require_real_number(self.max_bytes, "max_bytes")

    @functools.cached_property
    def opened(self) -> tuple[RequestLog, Budget]:
        """What numbers the requests, a journal or what writes nothing, and the budget."""
        if self.journal is None:
            entries = RequestLog()
        elif isinstance(self.journal, RequestLog):
            entries = self.journal
        else:
            entries = Journal(self.journal)
        if isinstance(self.budget, Budget):
            return entries, self.budget
        return entries, Budget(self.budget, entries.used)

    def __deepcopy__(self, memo: dict[int, Any]) -> Jobs:
        return self  # nothing in it changes, and copies share the journal and the budget

    def __repr__(self) -> str:
        return show_given(self)


class DispatchingEstimator(BaseEstimatorV2):
    """Runs requests on one or several estimators, and sees them through failures.

    The rows of each PUB are divided among the estimators and cut to the size that a job may have;
    all parts are submitted before any result is waited for, and put together in order.

    * Errors that pass (connection lost, too many requests, faults of the service) are tried again
      after growing, randomised delays, and at last on the other estimators.
    * If waiting for a job is given up by the client, the same job is waited for again; it is never
      submitted twice.
    * If the answer to a submission is lost, the job is looked for by its tag. Where nothing can
      tell whether it was taken, :class:`.UnknownJobError` says so; see :class:`Retry`.
    * A job over its time limit is submitted again in two halves.
    * Everything else raises :class:`.JobError`, which carries the ids of all jobs.

    Args:
        estimators: One V2 estimator, or several for the same circuits.
        jobs: How jobs are written down, limited and tried again; default: ``Jobs()``.
        checks: Called with every PUB before anything is submitted; they raise to refuse it.

    Attributes:
        estimators: The estimators.
        jobs: What was given.
        retry: The :class:`Retry`.
        max_bytes: The most bytes of a job's input.

    Raises:
        EstimatorTypeError: If there is no estimator, or something else.
        JournalError: If the journal cannot be opened.
        BridgeError: One of its subclasses for anything else that is wrong with the arguments.
        JobError: In ``run()`` and ``result()``, if a job failed for good or took too long.
        UnknownJobError: There, if nothing can tell whether a job was taken.

    Example:
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit_torch_bridge import TorchQuantumModule
        >>> from qiskit_torch_bridge.jobs import DispatchingEstimator, Jobs
        >>> from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator
        >>> both = [BatchedStatevectorEstimator(), BatchedStatevectorEstimator()]
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.ry(Parameter("theta"), 0)
        >>> estimator = DispatchingEstimator(both, Jobs(budget=10_000))
        >>> module = TorchQuantumModule(circuit, estimator=estimator, initial_weights=[0.0])
        >>> module().item()
        1.0
    """

    counts_itself = True  # trackers are told of each part's job

    def __init__(
        self,
        estimators: BaseEstimatorV2 | Sequence[BaseEstimatorV2],
        jobs: Jobs | None = None,
        *,
        checks: Sequence[Callable[[EstimatorPub], None]] = (),
    ) -> None:
        given: list[Any] = [estimators]
        if isinstance(estimators, Sequence) and not isinstance(estimators, (str, bytes)):
            given = list(estimators)
        if not given:
            raise EstimatorTypeError("Expected at least one estimator; got none.")
        self.estimators = tuple(validate_estimator(e) for e in given)
        what = "a Jobs, such as Jobs(journal='training.journal', budget=100_000)"
        self.jobs = Jobs() if jobs is None else require_instance(jobs, "jobs", Jobs, what)
        self.retry, self.max_bytes = self.jobs.retry or Retry(), self.jobs.max_bytes
        listed: Any = checks
        if not isinstance(listed, (list, tuple)) or not all(map(callable, checks)):
            raise InputTypeError(
                "Expected checks to be a list of functions that take a PUB and raise to refuse it; "
                f"got {shown(checks)}."
            )
        self.checks = tuple(checks)
        self._for_aer = AerCircuits(self.estimators)
        _ = self.jobs.opened  # a file is opened last

    @property
    def entries(self) -> RequestLog:
        """What numbers the requests."""
        return self.jobs.opened[0]

    @property
    def budget(self) -> Budget:
        """The budget; without limits if none were given."""
        return self.jobs.opened[1]

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

    def __repr__(self) -> str:
        names = ", ".join(type(estimator).__name__ for estimator in self.estimators)
        jobs = "" if self.jobs == Jobs() else f", {self.jobs!r}"
        return f"DispatchingEstimator([{names}]{jobs})"

    @property
    def options(self) -> Any:
        """The options of the first estimator."""
        return getattr(self.estimators[0], "options", None)

    def run(self, pubs: Iterable[Any], *, precision: float | None = None) -> DispatchedJob:
        """Submit ``pubs``, and return a job over all their parts."""
        coerced = [self._for_aer(pub) for pub in coerce_pubs(pubs, precision, self)]
        for check, pub in itertools.product(self.checks, coerced):
            check(pub)
        parts = self._parts(coerced)
        submitter = Submitter(self.estimators, self.entries, self.retry, self.budget)
        request = DispatchedJob(parts, submitter)
        with self.entries.order, self.budget.order:
            if self.budget.limited:
                self.budget.check(self._usage(parts, self.entries.known(len(parts))))
            request.submit()
        return request

    def usage(self, pubs: Iterable[Any], precision: float | None = None) -> Usage:
        """Return what running ``pubs`` would amount to, if nothing fails."""
        coerced = [self._for_aer(pub) for pub in coerce_pubs(pubs, precision, self)]
        return self._usage(self._parts(coerced))

    def _usage(self, parts: list[PubPart], first: int = 0) -> Usage:
        homes = zip(parts, itertools.cycle(self.estimators), strict=False)
        wanted = itertools.islice(homes, first, None)
        return sum((count_usage(estimator, [p.pub], None) for p, estimator in wanted), Usage())

    def _parts(self, pubs: list[EstimatorPub]) -> list[PubPart]:
        limits = [cutting.limit_input(self.max_bytes), cutting.MEMORY]
        parts = (cutting.cut(pub, i, self.estimators, limits) for i, pub in enumerate(pubs))
        return list(itertools.chain(*parts))
