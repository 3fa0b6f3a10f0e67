# SPDX-License-Identifier: Apache-2.0
"""How a part of a request gets its one job: submitted, found again, or moved to another primitive.

A job is paid for once. So whatever may have been submitted already is looked for first: by its id,
or by its tag if no id has arrived.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeAlias

from qiskit.primitives import BasePrimitiveJob, PubResult

from ..exceptions import BridgeError, BudgetError, JobError, UnknownJobError
from ..primitives.capabilities import costs_nothing
from ..primitives.cutting import PubPart
from ..primitives.families import Primitive
from ..primitives.results import UNUSED
from ..primitives.usage import Usage, count_usage, counts_itself, record_usage
from .budget import Budget
from .journal import RequestLog, RequestRecord, find_tags, tagged
from .retry import Retry, refuses, verdict_on

MOST_DUPLICATES = 10
"""Jobs to look for with one tag; the client of the runtime repeats a request up to five times."""

SubmittedJob: TypeAlias = BasePrimitiveJob[Iterable[PubResult], Any]
"""The job of any primitive; its ``result`` may take a ``timeout``, and give nothing."""


class JobService(Protocol):
    """The part of a service of the runtime that finds jobs."""

    def job(self, job_id: str, /) -> SubmittedJob:
        """Return the job with an id."""

    def jobs(self, **criteria: Any) -> list[SubmittedJob]:
        """Return the jobs that meet some criteria, the newest first."""


class PartJob:
    """A part of a request and its job.

    Attributes:
        part: The part.
        home: Which of the primitives it is submitted to.
        job: Its job, once there is one.
        entry: What the log of requests knows of it.
        waits: How often waiting for its job was given up.
        result: Its result, once there is one.
        attempts: How often it was submitted to this primitive.
        tried: The primitives that it was submitted to.
        counted: What a submission is counted as while it is open whether it was taken.
    """

    def __init__(self, part: PubPart, home: int) -> None:
        self.part, self.home = part, home
        self.job: SubmittedJob | None = None
        self.entry: RequestRecord | None = None
        self.waits = 0
        self.result: PubResult | None = None
        self.attempts = 0
        self.tried: list[int] = [home]
        self.counted: Usage | None = None

    @property
    def is_cut(self) -> bool:
        """Whether its halves take its place."""
        return self.entry is not None and self.entry.cut


class Submitter:
    """Gives the parts of a request their jobs, each paid for once.

    Args:
        primitives: Which run the parts.
        entries: Numbers the parts, and writes down what becomes of them.
        retry: How often and how long to try again.
        budget: Asked before every submission, and told of it.

    Attributes:
        ids: The ids of the jobs submitted, those that failed included.
        cancelled: Whether nothing may be submitted any more.
    """

    def __init__(
        self,
        primitives: Sequence[Primitive],
        entries: RequestLog,
        retry: Retry,
        budget: Budget,
    ) -> None:
        self.primitives, self.entries, self.retry = primitives, entries, retry
        self._budget = budget
        self._begun = retry.clock()
        self._doubtful: list[str] = []  # tags of jobs that may exist as well
        self.ids: list[str] = []
        self.cancelled = False

    @property
    def seconds_left(self) -> float:
        """Until the deadline."""
        return max(self._begun + self.retry.deadline - self.retry.clock(), 0.0)

    def start(self, part_job: PartJob) -> None:
        """Submit a part, on another primitive if one refuses."""
        if part_job.entry is None:
            part_job.entry, part_job.result = self.entries.begin(part_job.part.pub)
            if part_job.result is not None:
                # A simulator's noise goes on as if it had run the job.
                skip = getattr(self.primitives[part_job.home], "skip_job", lambda pub: None)
                skip(part_job.part.pub)
            if part_job.is_cut or part_job.result is not None:
                return
        entry, part_job.job = part_job.entry, None
        attached = self._attach(part_job, entry)
        while not attached:
            part_job.attempts += 1
            error = self._submit(part_job, entry)
            if error is None:
                return
            attached = self._attach(part_job, entry, error)
            if not attached:
                self.prepare_again(part_job, error)

    def _submit(self, part_job: PartJob, entry: RequestRecord) -> Exception | None:
        """Submit a part once if the budget has room for it, and return the error if that failed."""
        primitive = self.primitives[part_job.home]
        with self.entries.order, self._budget.order:
            usage = self._require_room(part_job)
            self.entries.check()
            self.entries.intend_again(entry)
            self._count(part_job, usage)
            try:
                with tagged(primitive, entry):
                    run: Callable[..., SubmittedJob] = primitive.run
                    job = run([part_job.part.pub])
            except BaseException as error:
                entry.attempted = _may_be_taken(error, primitive)
                if not entry.attempted:
                    self._settle(part_job, taken=False)
                if isinstance(error, BridgeError) or not isinstance(error, Exception):
                    raise
                return error
            self._settle(part_job, taken=True)
            self._record(primitive, usage)
            if not callable(getattr(job, "result", None)):
                raise JobError(
                    f"Expected run() of {type(primitive).__name__} to return a job, which has a "
                    f"method result(); got {job!r}. If it was taken, it has the tag {entry.tag}, "
                    f"where tags are known. {UNUSED} Return the job from run().",
                    tuple(self.ids),
                )
            self._note_job(part_job, entry, job, usage)
        if self.cancelled:  # meanwhile
            job.cancel()
        return None

    def _require_room(self, part_job: PartJob) -> Usage:
        """Return what submitting a part amounts to, or raise if there is no room for it."""
        if self.cancelled:
            raise JobError(
                f"The request was cancelled, and nothing is submitted again. Ids of its jobs: "
                f"{self._list_ids()}. {UNUSED}",
                tuple(self.ids),
            )
        usage = self._count_usage(part_job)
        if self._budget.limited:
            try:
                self._budget.check(usage, "Another job for this step" if self.ids else "This step")
            except BudgetError as error:
                ids = self._list_ids("none")
                raise BudgetError(f"{error} Ids of its jobs so far: {ids}.") from None
        return usage

    def _count_usage(self, part_job: PartJob) -> Usage:
        return count_usage(self.primitives[part_job.home], [part_job.part.pub], None)

    def _count(self, part_job: PartJob, usage: Usage) -> None:
        """Count a submission against the budget before it is known whether it is taken."""
        part_job.counted = usage
        self._budget.add(usage)

    def _settle(self, part_job: PartJob, *, taken: bool) -> None:
        """Keep a submission in the count if it was taken, and take it back otherwise."""
        if not taken and part_job.counted is not None:
            self._budget.give_back(part_job.counted)
        part_job.counted = None

    def _record(self, primitive: Primitive, usage: Usage) -> None:
        if not counts_itself(primitive):
            record_usage(usage)

    def _attach(
        self, part_job: PartJob, entry: RequestRecord, error: Exception | None = None
    ) -> bool:
        """Find the job of a part that was submitted before, perhaps without an answer."""
        doubt = entry.job_id is not None or entry.attempted
        if not doubt and not entry.unwritten:
            return False
        asked = self.primitives if error is None else [self.primitives[part_job.home]]
        costly = [e for e in asked if not costs_nothing(e)]
        told = entry.job_id is None and all(map(can_find_jobs, costly))  # if there is none
        for _ in self.retry.looks() if doubt and costly and told else (None,):
            found = self._ask_for_jobs(entry)
            if found:
                self._take(part_job, entry, found)
                return True
        if doubt and costly and not told:
            if self.retry.lost == "ask":
                raise self._make_unknown_error(entry, error) from error
            self._doubtful.append(entry.tag)
            if entry.job_id is None and part_job.counted is None:
                self._count(part_job, self._count_usage(part_job))
            self._settle(part_job, taken=True)
        self._settle(part_job, taken=False)
        entry.job_id, entry.attempted, entry.unwritten = None, False, False
        return False

    def _ask_for_jobs(self, entry: RequestRecord) -> list[tuple[SubmittedJob, int]]:
        """Ask for the jobs of a part, as often as it takes to get an answer."""
        tries = 0
        while True:
            try:
                return find_jobs(entry, self.primitives)
            except Exception as error:
                tries += 1
                passes = verdict_on(error) in ("transient", "waiting")
                if not passes or tries >= self.retry.attempts or self.is_late():
                    raise self._make_unknown_error(entry, error) from error
                self.retry.pause(tries)

    def _take(
        self, part_job: PartJob, entry: RequestRecord, found: list[tuple[SubmittedJob, int]]
    ) -> None:
        """Go on with the job that was found; cancel others that do the same."""
        part_job.home = found[0][1]
        if part_job.home not in part_job.tried:
            part_job.tried.append(part_job.home)
        usage = Usage()
        if entry.job_id is None:  # else it was noted, and counted, by an earlier process
            usage = self._count_usage(part_job)
            for _ in found:
                if part_job.counted is None:
                    self._count(part_job, usage)
                self._settle(part_job, taken=True)
                self._record(self.primitives[part_job.home], usage)
        job = choose_one([job for job, _ in found])
        self._note_job(part_job, entry, job, sum([usage] * len(found), Usage()))

    def _make_unknown_error(self, entry: RequestRecord, error: Exception | None) -> UnknownJobError:
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
            'Jobs a Retry(lost="again") to submit it again, which may be paid for '
            f"twice. Ids of the request's other jobs: {self._list_ids('none')}. {UNUSED}",
            tuple(self.ids),
            entry.tag,
        )

    def _list_ids(self, none: str = "none was submitted") -> str:
        doubtful = [f"perhaps one with the tag {tag}" for tag in self._doubtful]
        return ", ".join(self.ids + doubtful) or none

    def _note_job(
        self, part_job: PartJob, entry: RequestRecord, job: SubmittedJob, usage: Usage
    ) -> None:
        part_job.job = job
        self.ids.append(read_job_id(job))
        self.entries.submitted(entry, read_job_id(job), usage)

    def prepare_again(self, part_job: PartJob, error: Exception) -> None:
        """Prepare another attempt, or raise."""
        passes = verdict_on(error) in ("transient", "waiting") and not self.is_late()
        if passes and part_job.attempts < self.retry.attempts:
            self.retry.pause(max(1, part_job.attempts))
        else:
            self._move_elsewhere(part_job, error)

    def _move_elsewhere(self, part_job: PartJob, error: Exception) -> None:
        """Move a part to a primitive that has not had it yet, or raise."""
        others = [i for i in range(len(self.primitives)) if i not in part_job.tried]
        if not others or self.is_late():
            name = type(self.primitives[part_job.home]).__name__
            raise JobError(
                f"{name} failed for good after {max(1, part_job.attempts)} attempt(s): {error}. "
                f"Ids of the request's jobs: {self._list_ids()}. {UNUSED}",
                tuple(self.ids),
            ) from error
        part_job.home, part_job.attempts = others[0], 0
        part_job.tried.append(others[0])

    def is_late(self) -> bool:
        """Whether nothing is tried again, or waited for, any more."""
        return self.retry.clock() - self._begun > self.retry.deadline


def _may_be_taken(error: BaseException, primitive: Primitive) -> bool:
    """Whether there may be a job, which would be paid for, though its submission failed."""
    if costs_nothing(primitive):
        return False
    return isinstance(error, JobError) if isinstance(error, BridgeError) else not refuses(error)


# -- jobs that were submitted before ------------------------------------------------------------


def find_jobs(
    entry: RequestRecord, primitives: Sequence[Primitive]
) -> list[tuple[SubmittedJob, int]]:
    """Return the jobs of a request that was submitted before, and which primitive has each.

    There is more than one if the client of a service has repeated a submission by itself.
    Primitives that can fetch jobs have ``retrieve_job(job_id)`` and ``find_job(tag)``; for those of
    the runtime its service is asked.
    """
    found = []
    for home, primitive in enumerate(primitives):
        found += [(job, home) for job in _fetch_jobs(primitive, entry)]
        if found:
            break
    return found


def can_find_jobs(primitive: Primitive) -> bool:
    """Whether the jobs of a primitive can be found by their tags."""
    if hasattr(primitive, "find_job"):
        return True
    return find_tags(primitive)[1] is not None and hasattr(_find_service(primitive), "jobs")


def _fetch_jobs(primitive: Primitive, entry: RequestRecord) -> list[SubmittedJob]:
    service = _find_service(primitive)
    if entry.job_id is None:
        if hasattr(primitive, "find_job"):
            job = primitive.find_job(entry.tag)
            return [] if job is None else [job]
        if service is None or not can_find_jobs(primitive):
            return []
        return _search_service(service, entry.tag, primitive)
    retrieve = getattr(primitive, "retrieve_job", getattr(service, "job", None))
    if retrieve is None:
        return []
    try:
        return [retrieve(entry.job_id)]
    except Exception as error:
        if isinstance(error, LookupError) or type(error).__name__ == "RuntimeJobNotFound":
            return []  # it is another primitive's, or gone
        raise


def _find_service(primitive: Primitive) -> JobService | None:
    """Return the service that has the jobs of a primitive of the runtime."""
    service = getattr(primitive, "_service", None)
    return service if callable(getattr(service, "job", None)) else None


def _search_service(service: JobService, tag: str, primitive: Primitive) -> list[SubmittedJob]:
    """Return the jobs with a tag, the oldest first.

    A service with several instances looks in the one that was used last, by whomever.
    """
    jobs = service.jobs(job_tags=[tag], limit=MOST_DUPLICATES)
    instance = getattr(getattr(primitive, "_backend", None), "_instance", None)
    if not jobs and instance is not None:
        jobs = service.jobs(job_tags=[tag], limit=MOST_DUPLICATES, instance=instance)
    return list(reversed(jobs))


def choose_one(jobs: Sequence[SubmittedJob]) -> SubmittedJob:
    """Return the job whose result comes first, and cancel others, which do the same."""
    if len(jobs) == 1:
        return jobs[0]
    done = [job for job in jobs if job.done()]
    job = [*done, *(job for job in jobs if not job.in_final_state()), *jobs][0]
    ids = ", ".join(map(read_job_id, jobs))
    warnings.warn(
        f"A submission was repeated on its way: jobs {ids} do the same. The result of "
        f"{read_job_id(job)} is used, and the others are cancelled if they have not run yet; check "
        "whether they are on your bill.",
        RuntimeWarning,
        stacklevel=2,
    )
    for other in jobs:
        if other is not job:
            with contextlib.suppress(Exception):  # it has ended
                other.cancel()
    return job


def read_job_id(job: object) -> str:
    """Return what a service calls a job."""
    identity = getattr(job, "job_id", None)
    identity = identity() if callable(identity) else identity
    return str(id(job) if identity is None else identity)
