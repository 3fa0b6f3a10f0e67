# SPDX-License-Identifier: Apache-2.0
"""An estimator over other estimators: requests cut, spread, submitted together, seen through."""

from __future__ import annotations

import contextlib
import numbers
import uuid
from collections.abc import Iterable, Sequence
from threading import Lock
from typing import Any

from qiskit.primitives import BaseEstimatorV2, BasePrimitiveJob, PrimitiveResult, PubResult
from qiskit.primitives.containers.estimator_pub import EstimatorPub

from ..exceptions import (
    BridgeError,
    BudgetError,
    EstimatorTypeError,
    InputError,
    JobError,
    ResultError,
)
from ..primitives.precision import default_precision
from ..primitives.submission import UNUSED, checked, validated_estimator
from ..primitives.tracking import Usage, record, usage_of
from .angles import check_angles
from .failures import Retry, leaves_job_running, verdict_on
from .journal import Journal
from .parts import Part, Sizes, cut, joined

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
    * A job over its time limit is submitted again in two halves.
    * Everything else raises :class:`.JobError`, which carries the ids of all jobs.

    Args:
        estimators: One V2 estimator, or several for the same circuits.
        max_bytes: The most bytes of a job's input, estimated.
        retry: How often and how long to try again.
        journal: A path, or a :class:`.Journal`: every request, job id and result is written to it
            before the next, and what it holds is not run again.
        budget: The most shots, or a :class:`.Usage` whose nonzero numbers are limits; a request
            that would exceed what is left raises :class:`.BudgetError` and is not submitted.
        limited_angles: Whether to check the angles of fractional gates, as the devices that have
            them need.

    Attributes:
        estimators: The estimators.
        used: The :class:`.Usage` so far.

    Raises:
        EstimatorTypeError: If there is no estimator, or something else.
        JobError: In ``result()``, if a job failed for good or took too long.

    Example:
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit_torch_bridge import TorchQuantumModule
        >>> from qiskit_torch_bridge.backends import DispatchingEstimator
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
        budget: int | Usage | None = None,
        limited_angles: bool = False,
    ) -> None:
        given = [estimators] if isinstance(estimators, BaseEstimatorV2) else list(estimators)
        if not given:
            raise EstimatorTypeError("Expected at least one estimator; got none.")
        self.estimators = tuple(validated_estimator(e) for e in given)
        if not max_bytes > 0:
            raise InputError(f"Expected max_bytes to be a positive number; got {max_bytes!r}.")
        self.max_bytes = max_bytes
        self.retry = Retry() if retry is None else retry
        self.journal = (
            journal if journal is None or isinstance(journal, Journal) else Journal(journal)
        )
        self.budget = _limits(budget)
        self.limited_angles = limited_angles
        self.used = Usage()
        self._sizes = Sizes()
        self._lock = Lock()
        self._submitting = Lock()

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
        coerced = [EstimatorPub.coerce(pub, precision) for pub in pubs]
        if self.limited_angles:
            for pub in coerced:
                check_angles(pub)
        parts = self._parts(coerced)
        request = Request(self, coerced, parts)
        # One after the other, where a request depends on those before it.
        ordered = self.budget is not None or self.journal is not None
        with self._submitting if ordered else contextlib.nullcontext():
            self._check_budget(parts)
            request._submit()
        return request

    def submitted(self, estimator: BaseEstimatorV2, pub: EstimatorPub) -> None:
        """Count a job."""
        if not getattr(estimator, "counts_itself", False):
            record(estimator, [pub], None)
        usage = usage_of(estimator, [pub], None)
        with self._lock:
            self.used += usage

    def usage(self, pubs: Iterable[Any], precision: float | None = None) -> Usage:
        """Return what running ``pubs`` would amount to, if nothing fails."""
        return self._usage(self._parts([EstimatorPub.coerce(p, precision) for p in pubs]))

    def _usage(self, parts: list[Part]) -> Usage:
        wanted = Usage()
        for i, part in enumerate(parts):
            wanted += usage_of(self.estimators[i % len(self.estimators)], [part.pub], None)
        return wanted

    def _parts(self, pubs: list[EstimatorPub]) -> list[Part]:
        return [
            part
            for position, pub in enumerate(pubs)
            for part in cut(pub, position, len(self.estimators), self.max_bytes, self._sizes(pub))
        ]

    def _check_budget(self, parts: list[Part]) -> None:
        if self.budget is None:
            return
        wanted = self._usage(parts)
        for name in ("jobs", "pubs", "points", "circuits", "shots"):
            limit, used = getattr(self.budget, name), getattr(self.used, name)
            if limit and used + getattr(wanted, name) > limit:
                raise BudgetError(
                    f"This step needs {getattr(wanted, name):,} {name}; {used:,} of the budget of "
                    f"{limit:,} are used. Nothing was submitted. Raise the budget, or use fewer "
                    "shots or rows."
                )

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_lock", "_submitting")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=Lock(), _submitting=Lock())


class _Running:
    """A part under way: where it was submitted, as which job, how often."""

    def __init__(self, part: Part, home: int) -> None:
        self.part, self.home = part, home
        self.job: Any = None
        self.entry: int | None = None  # its number in the journal
        self.cut = False  # known to be over its time limit
        self.waits = 0  # how often waiting for its job was given up
        self.result: PubResult | None = None
        self.attempts = 0
        self.tried: list[int] = [home]


class Request(BasePrimitiveJob[PrimitiveResult[PubResult], Any]):
    """A request under way: a job made of jobs."""

    def __init__(
        self, dispatcher: DispatchingEstimator, pubs: list[EstimatorPub], parts: list[Part]
    ) -> None:
        super().__init__(str(uuid.uuid4()))
        self._dispatcher, self._pubs = dispatcher, pubs
        count = len(dispatcher.estimators)
        self._running = [_Running(part, i % count) for i, part in enumerate(parts)]
        self._result: PrimitiveResult[PubResult] | None = None
        self._begun = dispatcher.retry.clock()
        self._ids: list[str] = []

    @property
    def job_ids(self) -> tuple[str, ...]:
        """The ids of the jobs submitted, those that failed included."""
        return tuple(self._ids)

    def _submit(self) -> None:
        for running in self._running:
            self._start(running)

    def _start(self, running: _Running) -> None:
        """Submit a part, on another estimator if one refuses."""
        d = self._dispatcher
        if d.journal is not None and running.entry is None:
            running.entry, known = d.journal.begin(running.part.pub)
            running.result, running.cut = known.result, known.cut
            if running.cut or running.result is not None:
                return
        running.job = None
        while not self._attach(running):
            running.attempts += 1
            estimator = d.estimators[running.home]
            try:
                if d.journal is not None and running.entry is not None:
                    with d.journal.tagged(estimator, running.entry):
                        job = estimator.run([running.part.pub])
                else:
                    job = estimator.run([running.part.pub])
            except BridgeError:
                raise
            except Exception as error:
                self._again(running, error)
                continue
            self._has(running, job)
            d.submitted(estimator, running.part.pub)
            return

    def _attach(self, running: _Running) -> bool:
        """Find the job of a part that was submitted before, perhaps without an answer."""
        d = self._dispatcher
        if d.journal is None or running.entry is None:
            return False
        tries = 0
        while True:
            try:
                job, home = d.journal.attached(running.entry, d.estimators)
            except Exception as error:
                tries += 1
                passes = verdict_on(error) in ("transient", "waiting")
                if not passes or tries >= d.retry.attempts or self._late():
                    raise JobError(
                        "It cannot be found out whether a part of this request runs already: "
                        f"{error}. Nothing was submitted again; run the same program again with "
                        "the same journal.",
                        self.job_ids,
                    ) from error
                d.retry.pause(tries)
                continue
            if job is None:
                return False
            running.home = home
            if home not in running.tried:
                running.tried.append(home)
            self._has(running, job)
            return True

    def _has(self, running: _Running, job: Any) -> None:
        """Note a part's job."""
        d = self._dispatcher
        running.job = job
        self._ids.append(_id_of(job))
        if d.journal is not None and running.entry is not None:
            d.journal.submitted(running.entry, _id_of(job))

    def _again(self, running: _Running, error: Exception) -> None:
        """Prepare another attempt, or raise."""
        d = self._dispatcher
        if verdict_on(error) not in ("transient", "waiting") or self._late():
            self._elsewhere(running, error)
        elif running.attempts < d.retry.attempts:
            d.retry.pause(max(1, running.attempts))
        else:
            self._elsewhere(running, error)

    def _elsewhere(self, running: _Running, error: Exception) -> None:
        """Move a part to an estimator that has not had it yet, or raise."""
        d = self._dispatcher
        others = [i for i in range(len(d.estimators)) if i not in running.tried]
        if not others or self._late():
            name = type(d.estimators[running.home]).__name__
            raise JobError(
                f"{name} failed for good after {max(1, running.attempts)} attempt(s): {error}. Ids "
                f"of the request's jobs: {', '.join(self.job_ids) or 'none was submitted'}. "
                "Nothing was used; weights are unchanged.",
                self.job_ids,
            ) from error
        running.home, running.attempts = others[0], 0
        running.tried.append(others[0])

    def _late(self) -> bool:
        retry = self._dispatcher.retry
        return retry.clock() - self._begun > retry.deadline

    def result(self) -> PrimitiveResult[PubResult]:
        """Wait for all parts and return their results, put together in order."""
        if self._result is None:
            found: dict[int, list[tuple[Part, PubResult]]] = {}
            waiting = list(self._running)
            while waiting:
                running = waiting.pop(0)
                halves = self._wait(running)
                if halves is not None:
                    waiting[:0] = halves
                    continue
                found.setdefault(running.part.position, []).append((running.part, running.result))
            results = [joined(found[i], pub) for i, pub in enumerate(self._pubs)]
            self._result = PrimitiveResult(results, metadata={"version": 2})
        return self._result

    def _wait(self, running: _Running) -> list[_Running] | None:
        """Wait for a part; return its halves if it must be cut."""
        d = self._dispatcher
        while running.result is None:
            if running.cut:
                return self._cut(running)
            try:
                result = running.job.result()
            except BridgeError:
                raise
            except Exception as error:
                if leaves_job_running(error):
                    self._wait_on(running, error)  # for the same job
                elif verdict_on(error) == "too long" and running.part.rows > 1:
                    running.cut = True
                    if d.journal is not None and running.entry is not None:
                        d.journal.cut(running.entry)
                else:
                    self._lost(running, repr(error))
                    self._again(running, error)
                    self._start(running)
                continue
            try:
                running.result = _only(result, running, type(d.estimators[running.home]).__name__)
            except ResultError as error:
                self._lost(running, str(error))
                raise
            if d.journal is not None and running.entry is not None:
                d.journal.finished(running.entry, running.result)
        return None

    def _wait_on(self, running: _Running, error: Exception) -> None:
        """Pause before a job is waited for again, or raise and leave it running."""
        d = self._dispatcher
        if verdict_on(error) == "permanent" or self._late():
            raise JobError(
                f"Job {_id_of(running.job)} was not done within {d.retry.deadline:g} s, or cannot "
                f"be asked for: {error}. It goes on: fetch it by its id, or run the same program "
                "again with the same journal.",
                self.job_ids,
            ) from error
        running.waits += 1
        d.retry.pause(running.waits)

    def _lost(self, running: _Running, why: str) -> None:
        if self._dispatcher.journal is not None and running.entry is not None:
            self._dispatcher.journal.failed(running.entry, why)

    def _cut(self, running: _Running) -> list[_Running]:
        halves = [_Running(part, running.home) for part in running.part.halves()]
        place = self._running.index(running)
        self._running[place : place + 1] = halves
        for half in halves:
            self._start(half)
        return halves

    def status(self) -> Any:
        """Return the status of the first job that is not done."""
        for running in self._running:
            if running.result is None and running.job is not None and not running.job.done():
                return running.job.status()
        return self._running[-1].job.status() if self._running and self._running[-1].job else None

    def done(self) -> bool:
        """Whether all parts are done."""
        return all(r.result is not None or (r.job and r.job.done()) for r in self._running)

    def running(self) -> bool:
        """Whether a part is under way."""
        return not self.done()

    def cancelled(self) -> bool:
        """Whether a job was cancelled."""
        return any(r.job is not None and r.job.cancelled() for r in self._running)

    def in_final_state(self) -> bool:
        """Whether all jobs have ended."""
        return self.done()

    def cancel(self) -> None:
        """Cancel all jobs."""
        for running in self._running:
            if running.job is not None:
                running.job.cancel()


def _id_of(job: Any) -> str:
    identity = getattr(job, "job_id", None)
    return str(identity()) if callable(identity) else str(id(job))


def _only(result: Any, running: _Running, who: str) -> PubResult:
    """Return the one result there should be, with finite values, or refuse it."""
    where = f"{who} (job {_id_of(running.job)})"
    results = [] if result is None else list(result)
    if len(results) != 1:
        raise ResultError(f"{where} was given 1 PUB and returned {len(results)} results. {UNUSED}")
    checked(results[0], running.part.pub.shape, 0, where)
    return results[0]


def _limits(budget: Any) -> Usage | None:
    if budget is None or isinstance(budget, Usage):
        return budget
    if isinstance(budget, bool) or not isinstance(budget, numbers.Integral) or budget < 1:
        raise InputError(
            f"Expected budget to be a Usage or a positive number of shots; got {budget!r}."
        )
    return Usage(shots=int(budget))
