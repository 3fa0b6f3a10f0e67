# SPDX-License-Identifier: Apache-2.0
"""A part of a request getting its job: submitted, found again, tried again, moved elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qiskit.primitives import BaseEstimatorV2, PubResult
from qiskit.primitives.containers.estimator_pub import EstimatorPub

from ..exceptions import BridgeError, BudgetError, JobError, UnknownJobError
from ..primitives.capabilities import costs_nothing
from ..primitives.cutting import PubPart
from ..primitives.submission import UNUSED
from ..primitives.usage import Usage, count_usage, record_usage
from .budget import Budget
from .entries import Entries, Entry, tagged
from .lookup import finds_jobs, id_of, jobs_of, only_one
from .retry import Retry, refuses, verdict_on


class Running:
    """A part under way: where it was submitted, as which job, how often."""

    def __init__(self, part: PubPart, home: int) -> None:
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
        """Whether its halves take its place."""
        return self.entry is not None and self.entry.cut


class Placing:
    """Gives parts of a request their jobs, each paid for once.

    Args:
        estimators: What they are asked of.
        entries: Numbers the parts, and writes down what becomes of them.
        retry: How often and how long to try again.
        budget: Asked before every submission, and told of it.

    Attributes:
        ids: The ids of the jobs submitted, those that failed included.
        cancelled: Whether nothing may be submitted any more.
    """

    def __init__(
        self,
        estimators: Sequence[BaseEstimatorV2],
        entries: Entries,
        retry: Retry,
        budget: Budget,
    ) -> None:
        self._estimators, self._entries, self._retry = estimators, entries, retry
        self._budget = budget
        self._begun = retry.clock()
        self._doubtful: list[str] = []  # tags of jobs that there may be as well
        self.ids: list[str] = []
        self.cancelled = False

    @property
    def seconds_left(self) -> float:
        """Until the deadline."""
        return max(self._begun + self._retry.deadline - self._retry.clock(), 0.0)

    def start(self, running: Running) -> None:
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
                self.again(running, error)

    def _submit(self, running: Running, entry: Entry) -> Exception | None:
        """Submit a part once if the budget has room for it, and return what came in between."""
        estimator = self._estimators[running.home]
        with self._entries.order, self._budget.order:
            usage = self._affordable(running)
            self._entries.check()
            self._entries.intend_again(entry)
            self._count(running, usage)
            try:
                with tagged(estimator, entry):
                    job = estimator.run([running.part.pub])
            except BaseException as error:
                entry.attempted = _may_be_taken(error, estimator)
                if not entry.attempted:
                    self._settle(running, taken=False)
                if isinstance(error, BridgeError) or not isinstance(error, Exception):
                    raise
                return error
            self._settle(running, taken=True)
            self._record(estimator, usage)
            if not callable(getattr(job, "result", None)):
                raise JobError(
                    f"Expected run() of {type(estimator).__name__} to return a job, which has a "
                    f"method result(); got {job!r}. If it was taken, it has the tag {entry.tag}, "
                    f"where tags are known. {UNUSED} Return the job from run().",
                    tuple(self.ids),
                )
            self._has(running, entry, job, usage)
        if self.cancelled:  # meanwhile
            job.cancel()
        return None

    def _affordable(self, running: Running) -> Usage:
        """Return what submitting a part amounts to, or raise if there is no room for it."""
        if self.cancelled:
            raise JobError(
                f"The request was cancelled, and nothing is submitted again. Ids of its jobs: "
                f"{self._named_ids()}. {UNUSED}",
                tuple(self.ids),
            )
        usage = self._usage(running)
        if self._budget.limited:
            try:
                self._budget.check(usage, "Another job for this step" if self.ids else "This step")
            except BudgetError as error:
                ids = self._named_ids("none")
                raise BudgetError(f"{error} Ids of its jobs so far: {ids}.") from None
        return usage

    def _usage(self, running: Running) -> Usage:
        return count_usage(self._estimators[running.home], [running.part.pub], None)

    def _count(self, running: Running, usage: Usage) -> None:
        """Count a submission against the budget before it is known whether it is taken."""
        running.counted = usage
        self._budget.add(usage)

    def _settle(self, running: Running, *, taken: bool) -> None:
        """End a submission's count being open."""
        if not taken and running.counted is not None:
            self._budget.give_back(running.counted)
        running.counted = None

    def _record(self, estimator: BaseEstimatorV2, usage: Usage) -> None:
        if not getattr(estimator, "counts_itself", False):
            record_usage(usage)

    def _attach(self, running: Running, entry: Entry, error: Exception | None = None) -> bool:
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
                if not passes or tries >= self._retry.attempts or self.is_late():
                    raise self._unknown(entry, error) from error
                self._retry.pause(tries)

    def _take(self, running: Running, entry: Entry, found: list[tuple[Any, int]]) -> None:
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
            tuple(self.ids),
            entry.tag,
        )

    def _named_ids(self, none: str = "none was submitted") -> str:
        doubtful = [f"perhaps one with the tag {tag}" for tag in self._doubtful]
        return ", ".join(self.ids + doubtful) or none

    def _has(self, running: Running, entry: Entry, job: Any, usage: Usage) -> None:
        """Note a part's job."""
        running.job = job
        self.ids.append(id_of(job))
        self._entries.submitted(entry, id_of(job), usage)

    def again(self, running: Running, error: Exception) -> None:
        """Prepare another attempt, or raise."""
        if verdict_on(error) not in ("transient", "waiting") or self.is_late():
            self._elsewhere(running, error)
        elif running.attempts < self._retry.attempts:
            self._retry.pause(max(1, running.attempts))
        else:
            self._elsewhere(running, error)

    def _elsewhere(self, running: Running, error: Exception) -> None:
        """Move a part to an estimator that has not had it yet, or raise."""
        others = [i for i in range(len(self._estimators)) if i not in running.tried]
        if not others or self.is_late():
            name = type(self._estimators[running.home]).__name__
            raise JobError(
                f"{name} failed for good after {max(1, running.attempts)} attempt(s): {error}. Ids "
                f"of the request's jobs: {self._named_ids()}. {UNUSED}",
                tuple(self.ids),
            ) from error
        running.home, running.attempts = others[0], 0
        running.tried.append(others[0])

    def is_late(self) -> bool:
        """Whether nothing is tried again, or waited for, any more."""
        return self._retry.clock() - self._begun > self._retry.deadline


def _may_be_taken(error: BaseException, estimator: BaseEstimatorV2) -> bool:
    """Whether there may be a job, which would be paid for, though its submission failed."""
    if costs_nothing(estimator):
        return False
    return isinstance(error, JobError) if isinstance(error, BridgeError) else not refuses(error)


def _skip_noise(estimator: BaseEstimatorV2, pub: EstimatorPub) -> None:
    """Let a simulator's noise go on as if it had run a job that is answered without it."""
    skip = getattr(estimator, "skip_job", None)
    if skip is not None:
        skip(pub)
