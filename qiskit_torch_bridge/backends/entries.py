# SPDX-License-Identifier: Apache-2.0
"""Requests numbered and tagged, so that their jobs are told apart and found again."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from threading import RLock
from typing import Any

from qiskit.primitives import BaseEstimatorV2, PubResult
from qiskit.primitives.containers.estimator_pub import EstimatorPub

from ..primitives.tracking import Usage

TAG = "qiskit-torch-bridge"


@dataclass
class Entry:
    """What is known of a request.

    Attributes:
        number: Its place in the order of requests.
        name: What the tags of its jobs begin with; no other run has it.
        digest: The hash of circuit, observables, values and precision, where it is written down.
        job_id: The id of its job, if one was submitted and has not failed.
        cut: Whether its job was over its time limit, so that requests for its halves follow.
        failures: How many of its jobs have failed.
        attempted: Whether there may be a job though no id is known.
        where: Where its result is written down.
        unwritten: Whether lines about it may be lost, so that there may be a job all the same.
    """

    number: int
    name: str
    digest: str = ""
    job_id: str | None = None
    cut: bool = False
    failures: int = 0
    attempted: bool = False
    where: Any = None
    unwritten: bool = False

    @property
    def tag(self) -> str:
        """What its job is found by at the service, if its id is not known."""
        return f"{self.name}-{self.failures}"  # jobs that failed are not to be found


class Entries:
    """Numbers requests, and knows what became of those under way.

    Attributes:
        position: The number of the next request.
        used: What the requests have amounted to.
        order: Held while a request is numbered and submitted.
    """

    def __init__(self) -> None:
        self.position = 0
        self.used = Usage()
        self._begin()

    def _begin(self) -> None:
        self._run = secrets.token_hex(8)  # in all tags
        self.order, self._lock = RLock(), RLock()

    def begin(self, pub: EstimatorPub) -> tuple[Entry, PubResult | None]:
        """Number a request, and return what is known of it, and its result if there is one."""
        with self._lock:
            entry = self._entry(self.position, "")
            self.position += 1
        return entry, None

    def known(self, count: int) -> int:
        """Return how many of the next requests have jobs already, so that none is submitted."""
        return 0

    def _entry(self, number: int, digest: str) -> Entry:
        return Entry(number, f"{TAG}-{self._run}-{number}", digest)

    def submitted(self, entry: Entry, job_id: str, usage: Usage) -> None:
        """Note the id of a request's job, and what it amounts to."""
        with self._lock:
            if entry.job_id == job_id:
                return  # fetched by it
            self._write(event="submitted", n=entry.number, job=job_id, usage=astuple(usage))
            entry.job_id = job_id
            self.used += usage

    def failed(self, entry: Entry, why: str) -> None:
        """Note that a request's job is lost, or its result of no use."""
        with self._lock:
            self._write(event="failed", n=entry.number, why=why)
            entry.job_id, entry.attempted = None, False
            entry.failures += 1

    def cut(self, entry: Entry) -> None:
        """Note that a request is made in halves instead, which come next."""
        with self._lock:
            self._write(event="cut", n=entry.number)
            entry.cut = True

    def finished(self, entry: Entry, result: PubResult) -> None:
        """Note a result."""

    def check(self) -> None:
        """Raise if nothing may be submitted, since it could not be written down."""

    def _write(self, **event: Any) -> Any:
        """Write an event down, where that is done, and return its place."""

    def __getstate__(self) -> dict[str, Any]:
        return {"position": self.position, "used": self.used}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()  # a copy numbers requests of its own


@contextlib.contextmanager
def tagged(estimator: BaseEstimatorV2, entry: Entry) -> Iterator[None]:
    """Give jobs the request's tag while it is submitted, where the estimator knows tags."""
    entry.attempted = True
    environment = getattr(getattr(estimator, "options", None), "environment", None)
    if hasattr(estimator, "job_tag"):
        estimator.job_tag = entry.tag
    if environment is None or not hasattr(environment, "job_tags"):
        yield
        return
    before = environment.job_tags
    own = [TAG, entry.tag]  # one for all jobs, and one for this job alone
    environment.job_tags = [*(before if isinstance(before, list) else []), *own]
    try:
        yield
    finally:
        environment.job_tags = before


def job_of(entry: Entry, estimators: Sequence[BaseEstimatorV2]) -> tuple[Any, int]:
    """Return the job of a request that was submitted before, and which estimator has it.

    Estimators that can fetch jobs have ``retrieve_job(job_id)`` and ``find_job(tag)``; for those of
    the runtime its service is asked. Jobs of simulators in this process have ended with the
    process, and are run again: then the job returned is ``None``.
    """
    if entry.job_id is not None or entry.attempted or entry.unwritten:
        for home, estimator in enumerate(estimators):
            job = _fetched(estimator, entry)
            if job is not None:
                return job, home
    return None, 0


def _fetched(estimator: BaseEstimatorV2, entry: Entry) -> Any:
    retrieve = getattr(estimator, "retrieve_job", None)
    find = getattr(estimator, "find_job", None)
    service = getattr(estimator, "_service", None)
    if retrieve is None and callable(getattr(service, "job", None)):
        retrieve, find = service.job, _ByTag(service)  # type: ignore[union-attr]
    if entry.job_id is None:
        return None if find is None else find(entry.tag)
    if retrieve is None:
        return None
    try:
        return retrieve(entry.job_id)
    except Exception as error:
        if isinstance(error, LookupError) or type(error).__name__ == "RuntimeJobNotFound":
            return None  # it is another estimator's, or gone
        raise


class _ByTag:
    """Finds jobs at a service of the runtime."""

    def __init__(self, service: Any) -> None:
        self.service = service

    def __call__(self, tag: str) -> Any:
        if not hasattr(self.service, "jobs"):
            return None
        found = self.service.jobs(job_tags=[tag], limit=1)
        return found[0] if found else None
