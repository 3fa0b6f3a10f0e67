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

import base64
import hashlib
import itertools
import json
import os
from typing import Any

import numpy as np
from qiskit.primitives import PubResult
from qiskit.primitives.containers import DataBin
from qiskit.primitives.containers.estimator_pub import EstimatorPub

from ..exceptions import JournalError
from ..lru_cache import LRUCache
from ..primitives.usage import Usage
from ..program.identity import content_digest, content_key
from .entries import TAG, Entries, Entry
from .lines import Lines, Place

VERSION = 2


class Journal(Entries):
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
        self._entries: dict[int, Entry] = {}
        self._digests: LRUCache[str] = LRUCache(64)
        first = {"event": "journal", "version": VERSION, "run": self._run}
        self._lines = Lines(path, first)
        self.path = self._lines.path
        try:
            for number, place, event in self._lines.read():
                try:
                    self._take(event, place)
                except JournalError:
                    raise
                except (KeyError, TypeError, ValueError, AttributeError) as error:
                    raise self._lines.damaged(number, repr(error)) from error
        except BaseException:
            self.close()
            raise

    def begin(self, pub: EstimatorPub) -> tuple[Entry, PubResult | None]:
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
            return known, None if known.where is None else self._result_at(known.where)

    def known(self, count: int) -> int:
        """Return how many of the next requests have jobs already, so that none is submitted."""
        with self._lock:
            upcoming = (self._entries.get(self.position + i) for i in range(count))
            paid = (e is not None and (e.job_id or e.where is not None or e.cut) for e in upcoming)
            return sum(1 for _ in itertools.takewhile(bool, paid))

    def finished(self, entry: Entry, result: PubResult) -> None:
        """Write down a result."""
        arrays = {
            name: _encoded(np.real(getattr(result.data, name)))
            for name in ("evs", "stds")
            if getattr(result.data, name, None) is not None
        }
        with self._lock:
            entry.where = self._write(event="finished", n=entry.number, data=arrays)

    def check(self) -> None:
        """Raise :class:`.JournalError` unless the file is there, and as it was left."""
        self._lines.check()

    def close(self) -> None:
        """Close the file."""
        self._lines.close()

    def _entry(self, number: int, digest: str) -> Entry:
        # By what is asked, too: lines that are lost may have been about something else.
        name = f"{TAG}-{self._run}-{number}-{digest[:16]}"
        return Entry(number, name, digest, unwritten=not self._lines.is_new)

    def _write(self, **event: Any) -> Place:
        try:
            return self._lines.append(event)
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
                raise self._lines.of_version(event["version"])
            self._run = event["run"]
            return
        if kind == "intended":
            entry = self._entry(event["n"], event["digest"])
            # Again, if its job has failed, or an interrupt came before it was noted here.
            self._entries.setdefault(entry.number, entry).attempted = True
            return
        entry = self._entries[event["n"]]
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

    def _result_at(self, place: Place) -> PubResult:
        arrays = self._lines.at(place)["data"]
        fields = {name: _decoded(a) for name, a in arrays.items()}
        return PubResult(DataBin(**fields, shape=fields["evs"].shape))

    def _digest(self, pub: EstimatorPub) -> str:
        values = pub.parameter_values.as_array(pub.circuit.parameters)
        precision = None if pub.precision is None else float(pub.precision)
        asked = [pub.observables.tolist(), list(values.shape), precision]
        circuit = self._digests(content_key(pub.circuit), lambda: content_digest(pub.circuit))
        content = hashlib.sha256(circuit.encode())
        content.update(json.dumps(asked, sort_keys=True, default=float).encode())
        content.update(np.ascontiguousarray(values, dtype="<f8").tobytes())
        return content.hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        raise JournalError("A journal belongs to one process; it cannot be pickled or copied.")


def _encoded(array: Any) -> dict[str, Any]:
    data = np.asarray(array, dtype="<f8")  # of any shape, that of a number included
    return {"shape": list(data.shape), "base64": base64.b64encode(data.tobytes()).decode()}


def _decoded(described: dict[str, Any]) -> Any:
    data = np.frombuffer(base64.b64decode(described["base64"]), dtype="<f8")
    return data.reshape(described["shape"]).copy()
