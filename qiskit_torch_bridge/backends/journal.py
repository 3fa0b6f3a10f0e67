# SPDX-License-Identifier: Apache-2.0
"""A journal of requests, so that a program that was killed pays for no job twice.

One line of JSON for each event, on disk before the next thing happens: a request is *intended*,
*submitted* as a job with an id, and *finished* with its values. A program that is started again
from a checkpoint makes the same requests in the same order; those that the journal knows are
answered from it, or by waiting for the job that is already there.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import json
import os
import secrets
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from qiskit.primitives import PubResult
from qiskit.primitives.containers import DataBin
from qiskit.primitives.containers.estimator_pub import EstimatorPub

from ..arguments import file_path
from ..exceptions import JournalError
from ..primitives.tracking import Usage
from ..program.identity import content_digest, content_key
from ..recent import Recent
from .entries import Entries, Entry

VERSION = 1
HEADER = b'{"event":"journal",'


class Journal(Entries):
    """Writes down requests, and answers those that it knows.

    Args:
        path: The file; made if it does not exist, continued if it does. One process at a time has
            it open, and one object in it.

    Attributes:
        position: The number of the next request. A checkpoint keeps it; loading one sets it back,
            so that the requests made since are answered from the journal.
        used: The :class:`.Usage` of all jobs written down, those of earlier processes included.

    Raises:
        JournalError: If the file is open already, damaged before its last line (the last one may be
            incomplete after a crash, and is dropped), or a request differs from the one written
            down.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self.path = file_path(path, "journal", error=JournalError)
        self._entries: dict[int, Entry] = {}
        self._digests: Recent[str] = Recent(64)
        self._process = os.getpid()
        self._run = ""  # in all tags; from the header of the file
        try:
            self._file = open(self.path, "a+b")  # noqa: SIM115 - open as long as the journal is
        except OSError as error:
            raise JournalError(
                f"Expected a journal to be a file that can be written; {self.path}: "
                f"{error.strerror}. Name a file in a folder that exists."
            ) from error
        self._closing = weakref.finalize(self, self._file.close)
        try:
            _lock(self._file, self.path)
            length = self._read()
        except BaseException:
            self._closing()
            raise
        self._file.truncate(length)
        if not length:
            self._run = secrets.token_hex(8)
            self._write(event="journal", version=VERSION, run=self._run)
            _sync_folder(self.path.parent)

    def begin(self, pub: EstimatorPub) -> tuple[Entry, PubResult | None]:
        """Number a request, and return what is known of it, and its result if there is one."""
        if os.getpid() != self._process:
            raise JournalError(
                f"{self.path} is open in another process, which this one was forked from. Two "
                "processes would number their requests alike: give each a journal of its own, or "
                "evaluate in one of them only."
            )
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
        """Write down a result, with its hash."""
        arrays = {
            name: _encoded(np.real(getattr(result.data, name)))
            for name in ("evs", "stds")
            if getattr(result.data, name, None) is not None
        }
        with self._lock:
            self._file.seek(0, os.SEEK_END)
            where = self._file.tell()
            self._write(event="finished", n=entry.number, data=arrays, sha256=_hash(arrays))
            entry.where = where

    def close(self) -> None:
        """Close the file."""
        self._closing()

    def _write(self, **event: Any) -> None:
        self._file.write(json.dumps(event, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self) -> int:
        """Take in the file, and return how many bytes of it are whole lines."""
        whole = 0
        self._file.seek(0)
        for number, line in enumerate(self._file, 1):
            if number == 1 and line[: len(HEADER)] != HEADER[: len(line)]:
                raise JournalError(
                    f"{self.path} is no journal, or its first line is damaged; nothing was "
                    "changed. Name another file."
                )
            if not line.endswith(b"\n"):
                break
            try:
                self._take(json.loads(line), whole)
            except (KeyError, TypeError, ValueError) as error:
                raise JournalError(
                    f"Line {number} of {self.path} is damaged ({error!r}). Restore the file, "
                    "or start with a new one; jobs already paid for can be fetched by their ids."
                ) from error
            whole += len(line)
        return whole

    def _take(self, event: dict[str, Any], where: int) -> None:
        kind = event["event"]
        if kind == "journal":
            if event["version"] != VERSION:
                raise ValueError(f"version {event['version']} instead of {VERSION}")
            self._run = event["run"]
            return
        if kind == "intended":
            entry = self._entries[event["n"]] = self._entry(event["n"], event["digest"])
            entry.attempted = True
            return
        entry = self._entries[event["n"]]
        if kind == "submitted":
            entry.job_id = event["job"]
            self.used += Usage(*event.get("usage", ()))
        elif kind == "failed":
            entry.job_id = None
            entry.failures += 1
        elif kind == "cut":
            entry.cut = True
        elif kind == "finished":
            _result_in(event)
            entry.where = where
        else:
            raise ValueError(f"unknown event {kind!r}")

    def _result_at(self, where: int) -> PubResult:
        self._file.seek(where)
        return _result_in(json.loads(self._file.readline()))

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


def _result_in(event: dict[str, Any]) -> PubResult:
    """Return the result that an event has written down, if its hash is right."""
    arrays = event["data"]
    if _hash(arrays) != event["sha256"]:
        raise ValueError("its hash is wrong")
    fields = {name: _decoded(a) for name, a in arrays.items()}
    return PubResult(DataBin(**fields, shape=fields["evs"].shape))


def _hash(arrays: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(arrays, sort_keys=True).encode()).hexdigest()


def _encoded(array: Any) -> dict[str, Any]:
    data = np.ascontiguousarray(array, dtype="<f8")
    return {"shape": list(data.shape), "base64": base64.b64encode(data.tobytes()).decode()}


def _decoded(described: dict[str, Any]) -> Any:
    data = np.frombuffer(base64.b64decode(described["base64"]), dtype="<f8")
    return data.reshape(described["shape"]).copy()


def _sync_folder(folder: Path) -> None:
    """Make a new file's name durable, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _lock(file: Any, path: Path) -> None:
    """Keep others from opening a journal while it is open here; its end, however, opens it."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise JournalError(
            f"{path} is open already, in this process or another. Give the Journal object to all "
            "that share it, or close() it first; two processes need a journal each."
        ) from error
    except OSError:  # a file system without locks
        return
