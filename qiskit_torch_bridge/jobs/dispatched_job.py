# SPDX-License-Identifier: Apache-2.0
"""A request as one job made of jobs: submitted in parts, waited for, halved, joined."""

from __future__ import annotations

import inspect
import itertools
import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from qiskit.primitives import BasePrimitiveJob, PrimitiveJob, PrimitiveResult, PubResult

from ..exceptions import BridgeError, JobError, ResultError
from ..primitives import cutting
from ..primitives.cutting import PubPart
from ..primitives.families import family_of
from ..primitives.results import UNUSED
from .attempts import PartJob, SubmittedJob, Submitter, read_job_id
from .journal import RequestRecord
from .retry import leaves_job_running, verdict_on

Result = TypeVar("Result", bound=PubResult)


class DispatchedJob(BasePrimitiveJob[PrimitiveResult[Result], Any]):
    """The job of a request, made of the jobs of its parts.

    Args:
        parts: The parts of the request, which the primitives run in turn.
        submitter: Gives them their jobs.
    """

    def __init__(self, parts: Sequence[PubPart], submitter: Submitter) -> None:
        super().__init__(str(uuid.uuid4()))
        self._submitter = submitter
        homes = itertools.cycle(range(len(submitter.primitives)))
        self._part_jobs = [PartJob(part, home) for part, home in zip(parts, homes, strict=False)]
        self._result: PrimitiveResult[Result] | None = None
        self._waiting = threading.RLock()  # two that wait must not submit the same again

    @property
    def job_ids(self) -> tuple[str, ...]:
        """The ids of the jobs submitted, those that failed included."""
        return tuple(self._submitter.ids)

    def submit(self) -> None:
        """Submit all parts, or as many as fit into this process's memory together."""
        parts = [part_job.part for part_job in self._part_jobs]
        first = cutting.group(parts, self._submitter.primitives, cutting.MEMORY)[0]
        for part_job in self._part_jobs[: len(first)]:  # the others follow when these are done
            self._submitter.start(part_job)

    def result(self) -> PrimitiveResult[Result]:
        """Wait for all parts and return their results, put together in order."""
        with self._waiting:
            if self._result is None:
                self._result = self._join_parts()
            return self._result

    def _join_parts(self) -> PrimitiveResult[Result]:
        parts: list[PubPart] = []
        results: list[PubResult] = []
        waiting = list(self._part_jobs)
        while waiting:
            part_job = waiting.pop(0)
            result = self._wait(part_job)
            if result is None:
                waiting[:0] = self._cut_in_halves(part_job)
            else:
                parts.append(part_job.part)
                results.append(result)
        joined: list[Any] = cutting.join_calls([parts], results)
        return PrimitiveResult(joined, metadata={"version": 2})

    def _wait(self, part_job: PartJob) -> PubResult | None:
        """Wait for a part's result; there is none if it must be cut."""
        while part_job.result is None and not part_job.is_cut:
            if part_job.entry is None or part_job.job is None:
                self._submitter.start(part_job)  # it had no room before, or was interrupted
                continue
            entry, failure = part_job.entry, None
            try:
                result = self._result_of(part_job.job)
            except BridgeError:
                raise
            except Exception as error:
                failure = error
            if failure is not None:
                self._handle_failure(part_job, entry, failure)
                continue
            try:
                who = type(self._submitter.primitives[part_job.home]).__name__
                found = _check_only_result(result, part_job, who)
            except ResultError as error:
                self._submitter.entries.failed(entry, str(error))
                raise
            self._submitter.entries.finished(entry, part_job.part.pub, found)
            part_job.result = found
        return part_job.result

    def _result_of(self, job: SubmittedJob) -> Iterable[PubResult] | None:
        """Wait for a job until the deadline, where it can be told of one."""
        wait: Callable[..., Iterable[PubResult] | None] = job.result
        return wait(timeout=self._submitter.seconds_left) if _takes_timeout(wait) else wait()

    def _handle_failure(self, part_job: PartJob, entry: RequestRecord, error: Exception) -> None:
        """Wait longer, cut the part in halves or submit it again, whichever the error asks for."""
        here = isinstance(part_job.job, PrimitiveJob)  # in this process, and over
        if leaves_job_running(error) and not here:
            self._wait_longer(part_job, error)  # for the same job
        elif verdict_on(error) == "too long" and part_job.part.rows > 1:
            self._submitter.entries.cut(entry)
        else:
            self._submitter.entries.failed(entry, repr(error))
            self._submitter.prepare_again(part_job, error)
            self._submitter.start(part_job)

    def _wait_longer(self, part_job: PartJob, error: Exception) -> None:
        """Pause before a job is waited for again, or raise and leave it part_job."""
        retry = self._submitter.retry
        if verdict_on(error) == "permanent" or self._submitter.is_late():
            raise JobError(
                f"Job {read_job_id(part_job.job)} was not done within {retry.deadline:g} s, or the "
                f"service does not answer for it: {error}. It goes on: fetch it by its id, or run "
                "the same program again with the same journal.",
                self.job_ids,
            ) from error
        part_job.waits += 1
        retry.pause(part_job.waits)

    def _cut_in_halves(self, part_job: PartJob) -> list[PartJob]:
        halves = [PartJob(part, part_job.home) for part in part_job.part.halves()]
        place = self._part_jobs.index(part_job)
        self._part_jobs[place : place + 1] = halves
        for half in halves:
            self._submitter.start(half)
        return halves

    def status(self) -> Any:
        """Return the status of the first job that is not done, ``None`` if there is none yet."""
        jobs = [part_job.job for part_job in self._part_jobs if part_job.job is not None]
        chosen = [job for job in jobs if not job.done()] or jobs[-1:]
        return chosen[0].status() if chosen else None

    def done(self) -> bool:
        """Whether all parts are done."""
        return all(r.result is not None or (r.job and r.job.done()) for r in self._part_jobs)

    def running(self) -> bool:
        """Whether a part is under way."""
        return not self.done()

    def cancelled(self) -> bool:
        """Whether a job was cancelled."""
        return any(r.job is not None and r.job.cancelled() for r in self._part_jobs)

    def in_final_state(self) -> bool:
        """Whether all jobs have ended."""
        return self.done()

    def cancel(self) -> None:
        """Cancel all jobs that have not ended; nothing is submitted again.

        Raises:
            JobError: If the service does not answer for one of them; the others are cancelled.
        """
        self._submitter.cancelled = True
        missed: dict[str, Exception] = {}
        for part_job in self._part_jobs:
            if part_job.job is None or part_job.result is not None:
                continue
            try:
                part_job.job.cancel()
            except Exception as error:
                if "RuntimeInvalidStateError" not in {k.__name__ for k in type(error).__mro__}:
                    missed[read_job_id(part_job.job)] = error  # else it has ended
        for job_id, cause in missed.items():
            raise JobError(
                f"{len(missed)} job(s) could not be cancelled and may go on: {', '.join(missed)}. "
                f"Of {job_id}: {cause}. Call cancel() again, or cancel them at the service.",
                tuple(missed),
            ) from cause


def _takes_timeout(result: Callable[..., Any]) -> bool:
    try:
        return "timeout" in inspect.signature(result).parameters
    except (TypeError, ValueError):  # of a compiled function
        return False


def _check_only_result(
    result: Iterable[PubResult] | None, part_job: PartJob, who: str
) -> PubResult:
    """Return the one result there should be, with finite values, or refuse it."""
    where = f"{who} (job {read_job_id(part_job.job)})"
    results = [] if result is None else list(result)
    if len(results) != 1:
        raise ResultError(f"{where} was given 1 PUB and returned {len(results)} results. {UNUSED}")
    family_of(part_job.part.pub).read(results[0], part_job.part.pub, 0, where)
    return results[0]
