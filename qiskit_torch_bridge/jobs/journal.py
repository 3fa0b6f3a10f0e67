# SPDX-License-Identifier: Apache-2.0
"""A journal of requests, so that a program that was killed pays for no job twice.

A line for each event is on disk before the next thing happens: a request is *intended*,
*submitted* as a job with an id, and *finished* with its values. A program that is started again
from a checkpoint makes the same requests in the same order; those that the journal knows are
answered from it, or by waiting for the job that is already there.

A file that ends earlier than it did looks like one whose process was killed earlier. So what a
journal that is continued does not know may have been submitted all the same, and is looked for by
its tag first. The tag holds the run, the number of the request, and a hash of what is asked.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import secrets
import weakref
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from threading import Lock, RLock
from typing import Any

import numpy as np
from qiskit.primitives import PubResult

from ..exceptions import JournalError
from ..lru_cache import LRUCache
from ..primitives.capabilities import innermost
from ..primitives.families import Primitive, Pub, family_of
from ..primitives.usage import Usage
from ..program.identity import content_digest, content_key
from .journal_data import decode_result, encode_result
from .journal_file import JournalFile, Place

TAG = "qiskit-torch-bridge"
VERSION = 2


@dataclass
class RequestRecord:
    """What is known of a request.

    Attributes:
        number: Its place in the order of requests.
        name: What the tags of its jobs begin with; no other run has it.
        digest: The hash of circuit, values and all else that is asked, where it is written down.
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


class RequestLog:
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

    def begin(self, pub: Pub) -> tuple[RequestRecord, PubResult | None]:
        """Number a request, and return what is known of it, and its result if there is one."""
        with self._lock:
            entry = self._entry(self.position, "")
            self.position += 1
        return entry, None

    def known(self, count: int) -> int:
        """Return how many of the next requests have jobs already, so that none is submitted."""
        return 0

    def _entry(self, number: int, digest: str) -> RequestRecord:
        return RequestRecord(number, f"{TAG}-{self._run}-{number}", digest)

    def submitted(self, entry: RequestRecord, job_id: str, usage: Usage) -> None:
        """Note the id of a request's job, and what it amounts to."""
        with self._lock:
            if entry.job_id == job_id:
                return  # fetched by it
            self._note(entry, "submitted", job=job_id, usage=astuple(usage))

    def intend_again(self, entry: RequestRecord) -> None:
        """Note that a request is about to be submitted, if its job has failed before."""
        with self._lock:
            if entry.failures:
                self._write(event="intended", n=entry.number, digest=entry.digest, tag=entry.tag)

    def failed(self, entry: RequestRecord, why: str) -> None:
        """Note that a request's job is lost, or its result of no use."""
        with self._lock:
            self._note(entry, "failed", why=why)

    def cut(self, entry: RequestRecord) -> None:
        """Note that a request is made in halves instead, which come next."""
        with self._lock:
            self._note(entry, "cut")

    def finished(self, entry: RequestRecord, pub: Pub, result: PubResult) -> None:
        """Note the result of a request for a PUB."""

    def check(self) -> None:
        """Raise if nothing may be submitted, since it could not be written down."""

    def _note(self, entry: RequestRecord, kind: str, **details: Any) -> None:
        """Write down what becomes of a request, and know it."""
        event = {"event": kind, "n": entry.number, **details}
        self._apply(entry, event, self._write(**event))

    def _write(self, **event: Any) -> Any:
        """Write an event down, where that is done, and return its place."""

    def _apply(self, entry: RequestRecord, event: dict[str, Any], place: Any) -> None:
        """Know what an event, which is written down at a place, says of a request."""
        kind = event["event"]
        if kind == "submitted":
            entry.job_id = event["job"]
            self.used += Usage(*event.get("usage", ()))
        elif kind == "failed":
            entry.job_id, entry.attempted = None, False  # until it is intended again
            entry.failures += 1
        elif kind == "cut":
            entry.cut = True
        elif kind == "finished":
            entry.where = place
        else:
            raise ValueError(f"unknown event {kind!r}")

    def __getstate__(self) -> dict[str, Any]:
        return {"position": self.position, "used": self.used}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()  # a copy numbers requests of its own


class Journal(RequestLog):
    """Writes down requests, and answers those that it knows.

    Args:
        path: The file; made if it does not exist, continued if it does. One process at a time has
            it open, and one object in it; a file whose name ends in ``.lock`` sees to that.

    Attributes:
        position: The number of the next request. A checkpoint keeps it; loading one sets it back,
            so that the requests made since are answered from the journal.
        used: The :class:`.Usage` of all jobs written down, those of earlier processes included.

    Raises:
        JournalError: If the file is open already, is no journal or damaged (but for the end of its
            last line, which may be missing after a crash: then that line is dropped), was deleted,
            replaced or changed while it was open, or cannot be written; or if a request differs
            from the one written down. Nothing is submitted then.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()  # with an id for a new run, which is in all tags
        self._entries: dict[int, RequestRecord] = {}
        self._digests: LRUCache[str] = LRUCache(64)
        first = {"event": "journal", "version": VERSION, "run": self._run}
        self._file = JournalFile(path, first)
        self.path = self._file.path
        try:
            for number, place, event in self._file.read():
                try:
                    self._take(event, place)
                except JournalError:
                    raise
                except (KeyError, TypeError, ValueError, AttributeError) as error:
                    raise self._file.damaged(number, repr(error)) from error
        except BaseException:
            self.close()
            raise

    def begin(self, pub: Pub) -> tuple[RequestRecord, PubResult | None]:
        """Number a request, and return what is known of it, and its result if there is one."""
        self.check()
        digest = self._digest(pub)
        with self._lock:
            known = self._entries.get(self.position)
            if known is None:
                known = self._entry(self.position, digest)
                self._write(event="intended", n=known.number, digest=digest, tag=known.tag)
            elif known.digest != digest:
                raise JournalError(
                    f"Request {self.position} differs from the one in {self.path}: the journal "
                    "belongs to another run, the run did not resume where its checkpoint was, or "
                    "the circuit was transpiled differently (another release, another calibration "
                    "of the device). Load the checkpoint with journal=, or start with a new file."
                )
            # At once, so that an interrupt comes before or after both.
            self._entries[known.number], self.position = known, known.number + 1
            if known.where is None:
                return known, None
            return known, decode_result(self._file.at(known.where)["data"], pub)

    def known(self, count: int) -> int:
        """Return how many of the next requests have jobs already, so that none is submitted."""
        with self._lock:
            upcoming = (self._entries.get(self.position + i) for i in range(count))
            paid = (e is not None and (e.job_id or e.where is not None or e.cut) for e in upcoming)
            return sum(1 for _ in itertools.takewhile(bool, paid))

    def finished(self, entry: RequestRecord, pub: Pub, result: PubResult) -> None:
        """Write down the result of a request for a PUB."""
        data = encode_result(result, pub)
        with self._lock:
            self._note(entry, "finished", data=data)

    def check(self) -> None:
        """Raise :class:`.JournalError` unless the file is there, and as it was left."""
        self._file.check()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _entry(self, number: int, digest: str) -> RequestRecord:
        # By what is asked, too: lines that are lost may have been about something else.
        name = f"{TAG}-{self._run}-{number}-{digest[:16]}"
        return RequestRecord(number, name, digest, unwritten=not self._file.is_new)

    def _write(self, **event: Any) -> Place:
        try:
            return self._file.append(event)
        except JournalError as error:
            if event["event"] != "submitted":
                raise
            raise JournalError(
                f"Job {event['job']} was submitted, which cannot be written down. {error}"
            ) from error

    def _take(self, event: dict[str, Any], place: Place) -> None:
        kind = event["event"]
        if kind == "journal":
            if event["version"] != VERSION:
                raise self._file.of_version(event["version"])
            self._run = event["run"]
            return
        if kind == "intended":
            entry = self._entry(event["n"], event["digest"])
            # Again, if its job has failed, or an interrupt came before it was noted here.
            self._entries.setdefault(entry.number, entry).attempted = True
            return
        self._apply(self._entries[event["n"]], event, place)

    def _digest(self, pub: Pub) -> str:
        values = pub.parameter_values.as_array(pub.circuit.parameters)
        asked = family_of(pub).describe(pub)
        circuit = self._digests(content_key(pub.circuit), lambda: content_digest(pub.circuit))
        content = hashlib.sha256(circuit.encode())
        content.update(json.dumps(asked, sort_keys=True, default=float).encode())
        content.update(np.ascontiguousarray(values, dtype="<f8").tobytes())
        return content.hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        raise JournalError("A journal belongs to one process; it cannot be pickled or copied.")


@contextlib.contextmanager
def tagged(primitive: Primitive, entry: RequestRecord) -> Iterator[None]:
    """Give jobs the request's tag while it is submitted, where the primitive knows tags.

    Tags are options of the primitive, which others may share: one at a time sets them.
    """
    holder, name = find_tags(primitive)
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


def find_tags(primitive: Primitive) -> tuple[Any, str | None]:
    """Return what holds the tags of a primitive's next job, and as which attribute."""
    if hasattr(primitive, "job_tag"):
        return primitive, "job_tag"
    if hasattr(innermost(primitive), "usage"):  # it makes jobs of its own, with tags of their own
        return primitive, None
    # Primitives of the runtime may have it in common, if they were made with the same options.
    environment = getattr(getattr(primitive, "options", None), "environment", None)
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
