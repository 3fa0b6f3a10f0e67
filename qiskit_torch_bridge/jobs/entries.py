# SPDX-License-Identifier: Apache-2.0
"""Requests numbered and tagged, so that their jobs are told apart and found again."""

from __future__ import annotations

import contextlib
import secrets
import weakref
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from threading import Lock, RLock
from typing import Any

from qiskit.primitives import BaseEstimatorV2, PubResult
from qiskit.primitives.containers.estimator_pub import EstimatorPub

from ..primitives.usage import Usage

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

    def intend_again(self, entry: Entry) -> None:
        """Note that a request is about to be submitted, if its job has failed before."""
        with self._lock:
            if entry.failures:
                self._write(event="intended", n=entry.number, digest=entry.digest, tag=entry.tag)

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
    """Give jobs the request's tag while it is submitted, where the estimator knows tags.

    Tags are options of the estimator, which others may share: one at a time sets them.
    """
    holder, name = tags_of(estimator)
    if name is None:
        entry.attempted = True
        yield
        return
    with _lock_of(holder):
        before = getattr(holder, name)
        own = [TAG, entry.tag]  # one for all jobs, and one for this job alone
        several = [*(before if isinstance(before, list) else []), *own]
        setattr(holder, name, several if name == "job_tags" else entry.tag)
        entry.attempted = True
        try:
            yield
        finally:
            setattr(holder, name, before)


def tags_of(estimator: BaseEstimatorV2) -> tuple[Any, str | None]:
    """Return what holds the tags of an estimator's next job, and as which attribute."""
    if hasattr(estimator, "job_tag"):
        return estimator, "job_tag"
    if hasattr(estimator, "usage"):  # it makes jobs of its own, with tags of their own
        return estimator, None
    # Estimators of the runtime may have it in common, if they were made with the same options.
    environment = getattr(getattr(estimator, "options", None), "environment", None)
    return environment, "job_tags" if hasattr(environment, "job_tags") else None


_LOCKS: dict[int, Any] = {}
_ORDER = Lock()


def _lock_of(thing: Any) -> Any:
    """Return the lock that belongs to an object as long as it lives."""
    with _ORDER:
        if id(thing) not in _LOCKS:
            with contextlib.suppress(TypeError):  # else a later object has it as well
                weakref.finalize(thing, _LOCKS.pop, id(thing), None).atexit = False
            _LOCKS[id(thing)] = RLock()
        return _LOCKS[id(thing)]
