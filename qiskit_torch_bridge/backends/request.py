# SPDX-License-Identifier: Apache-2.0
"""A request under way: its parts submitted, waited for, tried again, moved elsewhere, halved."""

from __future__ import annotations

import inspect
import threading
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from qiskit.primitives import (
    BaseEstimatorV2,
    BasePrimitiveJob,
    PrimitiveJob,
    PrimitiveResult,
    PubResult,
)
from qiskit.primitives.containers.estimator_pub import EstimatorPub

from ..exceptions import BridgeError, BudgetError, JobError, ResultError, UnknownJobError
from ..primitives import memory
from ..primitives.kinds import costs_nothing
from ..primitives.parts import Part, joined
from ..primitives.submission import UNUSED, checked
from ..primitives.tracking import Usage, record_usage, usage_of
from .budget import Budget
from .entries import Entries, Entry, tagged
from .failures import Retry, leaves_job_running, refuses, verdict_on
from .lookup import finds_jobs, id_of, jobs_of, only_one


class _Running:
    """A part under way: where it was submitted, as which job, how often."""

    def __init__(self, part: Part, home: int) -> None:
        self.part, self.home = part, home
        self.job: Any = None
        self.entry: Entry | None = None
        self.waits = 0  # how often waiting for its job was given up
        self.result: PubResult | None = None
        self.attempts = 0
        self.tried: list[int] = [home]
        self.counted: Usage | None = None  # while it is open whether its job was taken

    @property
    def is_cut(self) -> bool:
        return self.entry is not None and self.entry.cut


class Request(BasePrimitiveJob[PrimitiveResult[PubResult], Any]):
    """A request under way: a job made of jobs.

    Args:
        parts: What is asked for, cut already.
        estimators: What it is asked of.
        entries: Numbers the parts, and writes down what becomes of them.
        retry: How often and how long to try again.
        budget: Asked before every submission, and told of it.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        estimators: Sequence[BaseEstimatorV2],
        entries: Entries,
        retry: Retry,
        budget: Budget,
    ) -> None:
        super().__init__(str(uuid.uuid4()))
        self._estimators, self._entries, self._retry = estimators, entries, retry
        self._budget = budget
        self._running = [_Running(part, i % len(estimators)) for i, part in enumerate(parts)]
        self._result: PrimitiveResult[PubResult] | None = None
        self._begun = retry.clock()
        self._ids: list[str] = []
        self._doubtful: list[str] = []  # tags of jobs that there may be as well
        self._cancelled = False
        self._waiting = threading.RLock()  # two that wait must not submit the same again

    @property
    def job_ids(self) -> tuple[str, ...]:
        """The ids of the jobs submitted, those that failed included."""
        return tuple(self._ids)

    def submit(self) -> None:
        """Submit all parts, or as many as fit into this process's memory together."""
        taken = 0.0
        for running in self._running:
            taken += memory.memory_of(self._estimators[running.home], running.part.pub)
            if taken > memory.MOST and running is not self._running[0]:
                break  # the others follow when these are done
            self._start(running)

    def _start(self, running: _Running) -> None:
        """Submit a part, on another estimator if one refuses."""
        if running.entry is None:
            running.entry, running.result = self._entries.begin(running.part.pub)
            if running.result is not None:
                _skip_noise(self._estimators[running.home], running.part.pub)
            if running.is_cut or running.result is not None:
                return
        entry, running.job = running.entry, None
        attached = self._attach(running, entry)
        while not attached:
            running.attempts += 1
            error = self._submit(running, entry)
            if error is None:
                return
            attached = self._attach(running, entry, error)
            if not attached:
                self._again(running, error)

    def _submit(self, running: _Running, entry: Entry) -> Exception | None:
        """Submit a part once if the budget has room for it, and return what came in between."""
        estimator = self._estimators[running.home]
        with self._entries.order, self._budget.order:
            usage = self._affordable(running)
            self._entries.check()
            self._count(running, usage)
            try:
                with tagged(estimator, entry):
                    job = estimator.run([running.part.pub])
            except BridgeError as error:
                entry.attempted = isinstance(error, JobError)
                self._settle(running, taken=entry.attempted)
                raise
            except Exception as error:
                entry.attempted = not refuses(error) and not costs_nothing(estimator)
                if not entry.attempted:
                    self._settle(running, taken=False)
                return error
            self._settle(running, taken=True)
            self._record(estimator, usage)
            if not callable(getattr(job, "result", None)):
                raise JobError(
                    f"Expected run() of {type(estimator).__name__} to return a job, which has a "
                    f"method result(); got {job!r}. If it was taken, it has the tag {entry.tag}, "
                    f"where tags are known. {UNUSED} Return the job from run().",
                    self.job_ids,
                )
            self._has(running, entry, job, usage)
        if self._cancelled:  # meanwhile
            job.cancel()
        return None

    def _affordable(self, running: _Running) -> Usage:
        """Return what submitting a part amounts to, or raise if there is no room for it."""
        if self._cancelled:
            raise JobError(
                f"The request was cancelled, and nothing is submitted again. Ids of its jobs: "
                f"{self._named_ids()}. {UNUSED}",
                self.job_ids,
            )
        usage = self._usage(running)
        if self._budget.limited:
            try:
                self._budget.check(usage, "Another job for this step" if self._ids else "This step")
            except BudgetError as error:
                ids = self._named_ids("none")
                raise BudgetError(f"{error} Ids of its jobs so far: {ids}.") from None
        return usage

    def _usage(self, running: _Running) -> Usage:
        return usage_of(self._estimators[running.home], [running.part.pub], None)

    def _count(self, running: _Running, usage: Usage) -> None:
        """Count a submission against the budget before it is known whether it is taken."""
        running.counted = usage
        self._budget.add(usage)

    def _settle(self, running: _Running, *, taken: bool) -> None:
        """End a submission's count being open."""
        if not taken and running.counted is not None:
            self._budget.give_back(running.counted)
        running.counted = None

    def _record(self, estimator: BaseEstimatorV2, usage: Usage) -> None:
        if not getattr(estimator, "counts_itself", False):
            record_usage(usage)

    def _attach(self, running: _Running, entry: Entry, error: Exception | None = None) -> bool:
        """Find the job of a part that was submitted before, perhaps without an answer."""
        doubt = entry.job_id is not None or entry.attempted
        if not doubt and not entry.unwritten:
            return False
        asked = self._estimators if error is None else [self._estimators[running.home]]
        costly = [e for e in asked if not costs_nothing(e)]
        told = entry.job_id is None and all(map(finds_jobs, costly))  # if there is none
        for _ in self._retry.looks() if doubt and costly and told else (None,):
            found = self._found(entry)
            if found:
                self._take(running, entry, found)
                return True
        if doubt and costly and not told:
            if self._retry.lost == "ask":
                raise self._unknown(entry, error) from error
            self._doubtful.append(entry.tag)
            if entry.job_id is None and running.counted is None:
                self._count(running, self._usage(running))
            self._settle(running, taken=True)
        self._settle(running, taken=False)
        entry.job_id, entry.attempted, entry.unwritten = None, False, False
        return False

    def _found(self, entry: Entry) -> list[tuple[Any, int]]:
        """Ask for the jobs of a part, as often as it takes to get an answer."""
        tries = 0
        while True:
            try:
                return jobs_of(entry, self._estimators)
            except Exception as error:
                tries += 1
                passes = verdict_on(error) in ("transient", "waiting")
                if not passes or tries >= self._retry.attempts or self._late():
                    raise self._unknown(entry, error) from error
                self._retry.pause(tries)

    def _take(self, running: _Running, entry: Entry, found: list[tuple[Any, int]]) -> None:
        """Go on with the job that was found; cancel others that do the same."""
        running.home = found[0][1]
        if running.home not in running.tried:
            running.tried.append(running.home)
        usage = Usage()
        if entry.job_id is None:  # else it was noted, and counted, by an earlier process
            usage = self._usage(running)
            for _ in found:
                if running.counted is None:
                    self._count(running, usage)
                self._settle(running, taken=True)
                self._record(self._estimators[running.home], usage)
        job = only_one([job for job, _ in found])
        self._has(running, entry, job, sum([usage] * len(found), Usage()))

    def _unknown(self, entry: Entry, error: Exception | None) -> UnknownJobError:
        """Return the error that says what is not known, and how to find out."""
        why = "" if error is None else f": {error}"
        if entry.job_id is None:
            what = f"a part of this request was submitted{why}. If it was, its job has the tag "
            what += entry.tag
        else:
            what = f"job {entry.job_id} is still there{why}. Its tag is {entry.tag}"
        return UnknownJobError(
            f"It cannot be found out whether {what}. Nothing was submitted again. Look for it at "
            "the service; run the same program again with the same journal if it is there, or give "
            'DispatchingEstimator a Retry(lost="again") to submit it again, which may be paid for '
            f"twice. Ids of the request's other jobs: {self._named_ids('none')}. {UNUSED}",
            self.job_ids,
            entry.tag,
        )

    def _named_ids(self, none: str = "none was submitted") -> str:
        doubtful = [f"perhaps one with the tag {tag}" for tag in self._doubtful]
        return ", ".join(self._ids + doubtful) or none

    def _has(self, running: _Running, entry: Entry, job: Any, usage: Usage) -> None:
        """Note a part's job."""
        running.job = job
        self._ids.append(id_of(job))
        self._entries.submitted(entry, id_of(job), usage)

    def _again(self, running: _Running, error: Exception) -> None:
        """Prepare another attempt, or raise."""
        if verdict_on(error) not in ("transient", "waiting") or self._late():
            self._elsewhere(running, error)
        elif running.attempts < self._retry.attempts:
            self._retry.pause(max(1, running.attempts))
        else:
            self._elsewhere(running, error)

    def _elsewhere(self, running: _Running, error: Exception) -> None:
        """Move a part to an estimator that has not had it yet, or raise."""
        others = [i for i in range(len(self._estimators)) if i not in running.tried]
        if not others or self._late():
            name = type(self._estimators[running.home]).__name__
            raise JobError(
                f"{name} failed for good after {max(1, running.attempts)} attempt(s): {error}. Ids "
                f"of the request's jobs: {self._named_ids()}. {UNUSED}",
                self.job_ids,
            ) from error
        running.home, running.attempts = others[0], 0
        running.tried.append(others[0])

    def _late(self) -> bool:
        return self._retry.clock() - self._begun > self._retry.deadline

    def result(self) -> PrimitiveResult[PubResult]:
        """Wait for all parts and return their results, put together in order."""
        with self._waiting:
            if self._result is None:
                self._result = self._joined()
            return self._result

    def _joined(self) -> PrimitiveResult[PubResult]:
        found: dict[int, list[tuple[Part, PubResult]]] = {}
        waiting = list(self._running)
        while waiting:
            running = waiting.pop(0)
            result = self._wait(running)
            if result is None:
                waiting[:0] = self._cut(running)
                continue
            found.setdefault(running.part.position, []).append((running.part, result))
        results = [joined(found[position]) for position in sorted(found)]
        return PrimitiveResult(results, metadata={"version": 2})

    def _wait(self, running: _Running) -> PubResult | None:
        """Wait for a part's result; there is none if it must be cut."""
        while running.result is None and not running.is_cut:
            if running.entry is None or running.job is None:
                self._start(running)  # it had no room before, or was interrupted
                continue
            entry, failure = running.entry, None
            try:
                result = self._result_of(running.job)
            except BridgeError:
                raise
            except Exception as error:
                failure = error
            if failure is not None:
                self._failed(running, entry, failure)
                continue
            try:
                who = type(self._estimators[running.home]).__name__
                found = _only(result, running, who)
            except ResultError as error:
                self._entries.failed(entry, str(error))
                raise
            self._entries.finished(entry, found)
            running.result = found
        return running.result

    def _result_of(self, job: Any) -> Any:
        """Wait for a job until the deadline, where it can be told of one."""
        if not _takes_timeout(job.result):
            return job.result()
        return job.result(timeout=max(self._begun + self._retry.deadline - self._retry.clock(), 0))

    def _failed(self, running: _Running, entry: Entry, error: Exception) -> None:
        """Do what is due where a job gave no result."""
        here = isinstance(running.job, PrimitiveJob)  # in this process, and over
        if leaves_job_running(error) and not here:
            self._wait_on(running, error)  # for the same job
        elif verdict_on(error) == "too long" and running.part.rows > 1:
            self._entries.cut(entry)
        else:
            self._entries.failed(entry, repr(error))
            self._again(running, error)
            self._start(running)

    def _wait_on(self, running: _Running, error: Exception) -> None:
        """Pause before a job is waited for again, or raise and leave it running."""
        if verdict_on(error) == "permanent" or self._late():
            raise JobError(
                f"Job {id_of(running.job)} was not done within {self._retry.deadline:g} s, or "
                f"cannot be asked for: {error}. It goes on: fetch it by its id, or run the same "
                "program again with the same journal.",
                self.job_ids,
            ) from error
        running.waits += 1
        self._retry.pause(running.waits)

    def _cut(self, running: _Running) -> list[_Running]:
        halves = [_Running(part, running.home) for part in running.part.halves()]
        place = self._running.index(running)
        self._running[place : place + 1] = halves
        for half in halves:
            self._start(half)
        return halves

    def status(self) -> Any:
        """Return the status of the first job that is not done, ``None`` if there is none yet."""
        jobs = [running.job for running in self._running if running.job is not None]
        chosen = [job for job in jobs if not job.done()] or jobs[-1:]
        return chosen[0].status() if chosen else None

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
        """Cancel all jobs that have not ended; nothing is submitted again.

        Raises:
            JobError: If the service does not answer for one of them; the others are cancelled.
        """
        self._cancelled = True
        missed: dict[str, Exception] = {}
        for running in self._running:
            if running.job is None or running.result is not None:
                continue
            try:
                running.job.cancel()
            except Exception as error:
                if "RuntimeInvalidStateError" not in {k.__name__ for k in type(error).__mro__}:
                    missed[id_of(running.job)] = error  # else it has ended
        for job_id, cause in missed.items():
            raise JobError(
                f"{len(missed)} job(s) could not be cancelled and may go on: {', '.join(missed)}. "
                f"Of {job_id}: {cause}. Call cancel() again, or cancel them at the service.",
                tuple(missed),
            ) from cause


def _skip_noise(estimator: BaseEstimatorV2, pub: EstimatorPub) -> None:
    """Let a simulator's noise go on as if it had run a job that is answered without it."""
    skip = getattr(estimator, "skip_job", None)
    if skip is not None:
        skip(pub)


def _takes_timeout(result: Callable[..., Any]) -> bool:
    try:
        return "timeout" in inspect.signature(result).parameters
    except (TypeError, ValueError):  # of a compiled function
        return False


def _only(result: Any, running: _Running, who: str) -> PubResult:
    """Return the one result there should be, with finite values, or refuse it."""
    where = f"{who} (job {id_of(running.job)})"
    results = [] if result is None else list(result)
    if len(results) != 1:
        raise ResultError(f"{where} was given 1 PUB and returned {len(results)} results. {UNUSED}")
    checked(results[0], running.part.pub.shape, 0, where)
    return results[0]
