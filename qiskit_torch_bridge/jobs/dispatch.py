# SPDX-License-Identifier: Apache-2.0
"""A primitive over others of its kind: requests cut, spread, submitted together, seen through."""

from __future__ import annotations

import functools
import itertools
import os
from abc import ABC
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from qiskit.primitives import BaseEstimatorV2, BaseSamplerV2, PubResult, SamplerPubResult
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub

from ..arguments import require_instance, require_path, require_real_number, show_given, shown
from ..exceptions import InputTypeError, JournalError
from ..primitives import cutting
from ..primitives.aer_circuits import AerCircuits
from ..primitives.cutting import PubPart
from ..primitives.evaluation import coerce_pubs
from ..primitives.families import ESTIMATORS, SAMPLERS, Effort, Family, Pub
from ..primitives.precision import default_precision, default_shots
from ..primitives.usage import Usage, count_usage
from .attempts import Submitter
from .budget import Budget
from .dispatched_job import DispatchedJob
from .journal import Journal, RequestLog
from .retry import Retry


@dataclass(frozen=True)
class Jobs:
    """How jobs are written down, limited and tried again.

    Primitives that are made with one value share its journal and its budget. The journal's file is
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


class Dispatching(ABC):
    """Runs requests on one or several primitives of a family, and sees them through failures.

    Attributes:
        primitives: Those that do the work.
        jobs: What was given.
        retry: The :class:`Retry`.
        max_bytes: The most bytes of a job's input.
        checks: Called with every PUB before anything is submitted.
    """

    counts_itself = True  # trackers are told of each part's job
    family: ClassVar[Family[Any]]

    def __init__(self, primitives: Any, jobs: Jobs | None, checks: Any) -> None:
        given: list[Any] = [primitives]
        if isinstance(primitives, Sequence) and not isinstance(primitives, (str, bytes)):
            given = list(primitives)
        if not given:
            raise self.family.type_error(f"Expected at least one {self.family.name}; got none.")
        self.primitives: tuple[Any, ...] = tuple(self.family.validate(p) for p in given)
        what = "a Jobs, such as Jobs(journal='training.journal', budget=100_000)"
        self.jobs = Jobs() if jobs is None else require_instance(jobs, "jobs", Jobs, what)
        self.retry, self.max_bytes = self.jobs.retry or Retry(), self.jobs.max_bytes
        if not isinstance(checks, (list, tuple)) or not all(map(callable, checks)):
            raise InputTypeError(
                "Expected checks to be a list of functions that take a PUB and raise to refuse it; "
                f"got {shown(checks)}."
            )
        self.checks = tuple(checks)
        self._for_aer = AerCircuits(self.primitives)
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
    def options(self) -> Any:
        """The options of the first primitive."""
        return getattr(self.primitives[0], "options", None)

    def __repr__(self) -> str:
        names = ", ".join(type(primitive).__name__ for primitive in self.primitives)
        jobs = "" if self.jobs == Jobs() else f", {self.jobs!r}"
        return f"{type(self).__name__}([{names}]{jobs})"

    def _submit(self, pubs: Iterable[Any], effort: Effort) -> DispatchedJob[Any]:
        """Submit ``pubs``, and return a job over all their parts."""
        coerced = self._coerce(pubs, effort)
        for check, pub in itertools.product(self.checks, coerced):
            check(pub)
        parts = self._cut(coerced)
        submitter = Submitter(self.primitives, self.entries, self.retry, self.budget)
        request: DispatchedJob[Any] = DispatchedJob(parts, submitter)
        with self.entries.order, self.budget.order:
            if self.budget.limited:
                self.budget.check(self._count(parts, self.entries.known(len(parts))))
            request.submit()
        return request

    def _coerce(self, pubs: Iterable[Any], effort: Effort) -> list[Pub]:
        primitive: Any = self
        return [self._for_aer(pub) for pub in coerce_pubs(pubs, effort, primitive)]

    def _usage(self, pubs: Iterable[Any], effort: Effort) -> Usage:
        return self._count(self._cut(self._coerce(pubs, effort)))

    def _count(self, parts: list[PubPart], first: int = 0) -> Usage:
        homes = zip(parts, itertools.cycle(self.primitives), strict=False)
        wanted = itertools.islice(homes, first, None)
        return sum((count_usage(primitive, [p.pub], None) for p, primitive in wanted), Usage())

    def _cut(self, pubs: list[Pub]) -> list[PubPart]:
        limits = [cutting.limit_input(self.max_bytes), cutting.MEMORY]
        parts = (cutting.cut(pub, i, self.primitives, limits) for i, pub in enumerate(pubs))
        return list(itertools.chain(*parts))


class DispatchingEstimator(Dispatching, BaseEstimatorV2):
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

    family = ESTIMATORS

    def __init__(
        self,
        estimators: BaseEstimatorV2 | Sequence[BaseEstimatorV2],
        jobs: Jobs | None = None,
        *,
        checks: Sequence[Callable[[EstimatorPub], None]] = (),
    ) -> None:
        super().__init__(estimators, jobs, checks)

    @property
    def estimators(self) -> tuple[BaseEstimatorV2, ...]:
        """The estimators that do the work."""
        return self.primitives

    @property
    def default_precision(self) -> float | None:
        """The precision of the first estimator where none is requested."""
        return default_precision(self.primitives[0])

    def run(
        self, pubs: Iterable[Any], *, precision: float | None = None
    ) -> DispatchedJob[PubResult]:
        """Submit ``pubs``, and return a job over all their parts."""
        return self._submit(pubs, precision)

    def usage(self, pubs: Iterable[Any], precision: float | None = None) -> Usage:
        """Return what running ``pubs`` would amount to, if nothing fails."""
        return self._usage(pubs, precision)


class DispatchingSampler(Dispatching, BaseSamplerV2):
    """Runs requests on one or several samplers, and sees them through failures.

    It does for samplers what :class:`DispatchingEstimator` does for estimators: rows are divided
    and cut, jobs tried again, found again and halved, and with a journal paid for once. The
    outcomes of all parts are put together in order, each shot as it came.

    Args:
        samplers: One V2 sampler, or several for the same circuits.
        jobs: How jobs are written down, limited and tried again; default: ``Jobs()``.
        checks: Called with every PUB before anything is submitted; they raise to refuse it.

    Attributes:
        samplers: The samplers.
        jobs: What was given.
        retry: The :class:`Retry`.
        max_bytes: The most bytes of a job's input.

    Raises:
        SamplerTypeError: If there is no sampler, or something else.
        JournalError: If the journal cannot be opened.
        BridgeError: One of its subclasses for anything else that is wrong with the arguments.
        JobError: In ``run()`` and ``result()``, if a job failed for good or took too long.
        UnknownJobError: There, if nothing can tell whether a job was taken.

    Example:
        >>> from qiskit import QuantumCircuit
        >>> from qiskit.primitives import StatevectorSampler
        >>> from qiskit_torch_bridge.jobs import DispatchingSampler, Jobs
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.x(0)
        >>> circuit.measure_all()
        >>> sampler = DispatchingSampler(StatevectorSampler(), Jobs(budget=10_000))
        >>> sampler.run([circuit], shots=100).result()[0].data.meas.get_counts()
        {'1': 100}
        >>> sampler.used
        Usage(jobs=1, pubs=1, points=1, circuits=1, shots=100)
    """

    family = SAMPLERS

    def __init__(
        self,
        samplers: BaseSamplerV2 | Sequence[BaseSamplerV2],
        jobs: Jobs | None = None,
        *,
        checks: Sequence[Callable[[SamplerPub], None]] = (),
    ) -> None:
        super().__init__(samplers, jobs, checks)

    @property
    def samplers(self) -> tuple[BaseSamplerV2, ...]:
        """The samplers that do the work."""
        return self.primitives

    @property
    def default_shots(self) -> int | None:
        """The shots of the first sampler where none are requested."""
        return default_shots(self.primitives[0])

    def run(
        self, pubs: Iterable[Any], *, shots: int | None = None
    ) -> DispatchedJob[SamplerPubResult]:
        """Submit ``pubs``, and return a job over all their parts."""
        return self._submit(pubs, shots)

    def usage(self, pubs: Iterable[Any], shots: int | None = None) -> Usage:
        """Return what running ``pubs`` would amount to, if nothing fails."""
        return self._usage(pubs, shots)
