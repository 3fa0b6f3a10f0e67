# SPDX-License-Identifier: Apache-2.0
"""A request under way: its parts submitted, waited for, tried again, moved elsewhere, halved."""

from __future__ import annotations

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

from ..exceptions import BridgeError, JobError, ResultError
from ..primitives import memory
from ..primitives.parts import Part, joined
from ..primitives.submission import UNUSED, checked
from ..primitives.tracking import Usage
from .entries import Entries, Entry, job_of, tagged
from .failures import Retry, leaves_job_running, refuses, verdict_on


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
        count: Told of every job that was submitted; returns what it amounts to.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        estimators: Sequence[BaseEstimatorV2],
        entries: Entries,
        retry: Retry,
        count: Callable[[BaseEstimatorV2, Part], Usage],
    ) -> None:
        super().__init__(str(uuid.uuid4()))
        self._estimators, self._entries, self._retry = estimators, entries, retry
        self._count = count
        self._running = [_Running(part, i % len(estimators)) for i, part in enumerate(parts)]
        self._result: PrimitiveResult[PubResult] | None = None
        self._begun = retry.clock()
        self._ids: list[str] = []

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
        while not self._attach(running, entry):
            running.attempts += 1
            self._entries.check()
            estimator = self._estimators[running.home]
            try:
                with self._entries.order, tagged(estimator, entry):
                    job = estimator.run([running.part.pub])
            except BridgeError:
                raise
            except Exception as error:
                entry.attempted = not refuses(error)
                self._again(running, error)
                continue
            self._has(running, entry, job, self._count(estimator, running.part))
            return

    def _attach(self, running: _Running, entry: Entry) -> bool:
        """Find the job of a part that was submitted before, perhaps without an answer."""
        tries = 0
        while True:
            try:
                job, home = job_of(entry, self._estimators)
            except Exception as error:
                tries += 1
                passes = verdict_on(error) in ("transient", "waiting")
                if not passes or tries >= self._retry.attempts or self._late():
                    raise JobError(
                        "It cannot be found out whether a part of this request runs already: "
                        f"{error}. Nothing was submitted again; run the same program again with "
                        f"the same journal, or look for a job with the tag {entry.tag}.",
                        self.job_ids,
                    ) from error
                self._retry.pause(tries)
                continue
            if job is None:
                return False
            running.home = home
            if home not in running.tried:
                running.tried.append(home)
            # Found by its tag, it was submitted without being counted.
            lost = entry.job_id is None
            usage = self._count(self._estimators[home], running.part) if lost else Usage()
            self._has(running, entry, job, usage)
            return True

    def _has(self, running: _Running, entry: Entry, job: Any, usage: Usage) -> None:
        """Note a part's job."""
        running.job = job
        self._ids.append(_id_of(job))
        self._entries.submitted(entry, _id_of(job), usage)

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
                f"of the request's jobs: {', '.join(self.job_ids) or 'none was submitted'}. "
                "Nothing was used; weights are unchanged.",
                self.job_ids,
            ) from error
        running.home, running.attempts = others[0], 0
        running.tried.append(others[0])

    def _late(self) -> bool:
        return self._retry.clock() - self._begun > self._retry.deadline

    def result(self) -> PrimitiveResult[PubResult]:
        """Wait for all parts and return their results, put together in order."""
        if self._result is None:
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
            self._result = PrimitiveResult(results, metadata={"version": 2})
        return self._result

    def _wait(self, running: _Running) -> PubResult | None:
        """Wait for a part's result; there is none if it must be cut."""
        while running.result is None and not running.is_cut:
            if running.entry is None or running.job is None:
                self._start(running)  # it had no room before, or was interrupted
                continue
            entry = running.entry
            try:
                result = running.job.result()
            except BridgeError:
                raise
            except Exception as error:
                here = isinstance(running.job, PrimitiveJob)  # in this process, and over
                if leaves_job_running(error) and not here:
                    self._wait_on(running, error)  # for the same job
                elif verdict_on(error) == "too long" and running.part.rows > 1:
                    self._entries.cut(entry)
                else:
                    self._entries.failed(entry, repr(error))
                    self._again(running, error)
                    self._start(running)
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

    def _wait_on(self, running: _Running, error: Exception) -> None:
        """Pause before a job is waited for again, or raise and leave it running."""
        if verdict_on(error) == "permanent" or self._late():
            raise JobError(
                f"Job {_id_of(running.job)} was not done within {self._retry.deadline:g} s, or "
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
        """Cancel all jobs."""
        for running in self._running:
            if running.job is not None:
                running.job.cancel()


def _skip_noise(estimator: BaseEstimatorV2, pub: EstimatorPub) -> None:
    """Let a simulator's noise go on as if it had run a job that is answered without it."""
    skip = getattr(estimator, "skip_job", None)
    if skip is not None:
        skip(pub)


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
