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
import json
import os
import secrets
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.primitives import BaseEstimatorV2, PubResult
from qiskit.primitives.containers import DataBin
from qiskit.primitives.containers.estimator_pub import EstimatorPub

from ..exceptions import JournalError
from .fingerprint import described

VERSION = 1
TAG = "qiskit-torch-bridge"
HEADER = b'{"event":"journal",'


@dataclass
class Entry:
    """What the journal knows of a request.

    Attributes:
        digest: The hash of circuit, observables, values and precision.
        name: What the tags of its jobs begin with; no other run has it.
        job_id: The id of its job, if one was submitted and has not failed.
        result: Its values, if it is done.
        cut: Whether its job was over its time limit, so that requests for its halves follow.
        failures: How many of its jobs have failed.
        attempted: Whether there may be a job though no id is written down.
    """

    digest: str
    name: str
    job_id: str | None = None
    result: PubResult | None = None
    cut: bool = False
    failures: int = 0
    attempted: bool = False

    @property
    def tag(self) -> str:
        """What its job is found by at the service, if its id was not written down."""
        return f"{self.name}-{self.failures}"  # jobs that failed are not to be found


class Journal:
    """Writes down requests, and answers those that it knows.

    Args:
        path: The file; made if it does not exist, continued if it does.

    Attributes:
        position: The number of the next request. A checkpoint keeps it; loading one sets it back,
            so that the requests made since are answered from the journal.

    Raises:
        JournalError: If the file is damaged before its last line (the last one may be incomplete
            after a crash, and is dropped), or a request differs from the one written down.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.position = 0
        self._lock = threading.Lock()
        self._entries: dict[int, Entry] = {}
        self._descriptions: dict[int, tuple[QuantumCircuit, bytes]] = {}
        self._run = ""  # in all tags; from the header of the file
        length = self._read() if self.path.exists() else 0
        self._file = open(self.path, "ab")  # noqa: SIM115 - open as long as the journal is
        self._closing = weakref.finalize(self, self._file.close)
        self._file.truncate(length)
        if not length:
            self._run = secrets.token_hex(8)
            self._write({"event": "journal", "version": VERSION, "run": self._run})
            _sync_folder(self.path.parent)

    def begin(self, pub: EstimatorPub) -> tuple[int, Entry]:
        """Number a request, and return what is known of it."""
        digest = self._digest(pub)
        with self._lock:
            number = self.position
            self.position += 1
            known = self._entries.get(number)
            if known is None:
                known = self._entries[number] = Entry(digest, f"{TAG}-{self._run}-{number}")
                self._write({"event": "intended", "n": number, "digest": digest, "tag": known.tag})
            elif known.digest != digest:
                self.position -= 1
                raise JournalError(
                    f"Request {number} differs from the one in {self.path}: the journal belongs to "
                    "another run, or the run did not resume where its checkpoint was. Load the "
                    "checkpoint with journal=, or start with a new file."
                )
        return number, known

    def submitted(self, number: int, job_id: str) -> None:
        """Write down the id of a request's job."""
        with self._lock:
            if self._entries[number].job_id == job_id:
                return  # fetched by it
            self._entries[number].job_id = job_id
            self._write({"event": "submitted", "n": number, "job": job_id})

    def failed(self, number: int, why: str) -> None:
        """Write down that a request's job is lost, or its result of no use."""
        with self._lock:
            entry = self._entries[number]
            entry.job_id, entry.attempted = None, False
            entry.failures += 1
            self._write({"event": "failed", "n": number, "why": why})

    def cut(self, number: int) -> None:
        """Write down that a request is made in halves instead, which come next."""
        with self._lock:
            self._entries[number].cut = True
            self._write({"event": "cut", "n": number})

    def finished(self, number: int, result: PubResult) -> None:
        """Write down a result, with its hash."""
        arrays = {
            name: _encoded(np.real(result.data[name]))
            for name in ("evs", "stds")
            if name in result.data
        }
        digest = hashlib.sha256(json.dumps(arrays, sort_keys=True).encode()).hexdigest()
        with self._lock:
            self._entries[number].result = result
            self._write({"event": "finished", "n": number, "data": arrays, "sha256": digest})

    def attached(self, number: int, estimators: Sequence[BaseEstimatorV2]) -> tuple[Any, int]:
        """Return the job of a request that was submitted before, and which estimator has it.

        Estimators that can fetch jobs have ``retrieve_job(job_id)`` and ``find_job(tag)``; for
        those of the runtime its service is asked. Jobs of simulators in this process have ended
        with the process, and are run again: then the job returned is ``None``.
        """
        entry = self._entries[number]
        if entry.job_id is not None or entry.attempted:
            for home, estimator in enumerate(estimators):
                job = _fetched(estimator, entry)
                if job is not None:
                    return job, home
        return None, 0

    @contextlib.contextmanager
    def tagged(self, estimator: BaseEstimatorV2, number: int) -> Iterator[None]:
        """Give jobs the request's tag while it is submitted, where the estimator knows tags."""
        entry = self._entries[number]
        entry.attempted = True
        environment = getattr(getattr(estimator, "options", None), "environment", None)
        if hasattr(estimator, "job_tag"):
            estimator.job_tag = entry.tag
        if environment is None or not hasattr(environment, "job_tags"):
            yield
            return
        before = environment.job_tags
        environment.job_tags = [*(before if isinstance(before, list) else []), entry.tag]
        try:
            yield
        finally:
            environment.job_tags = before

    def close(self) -> None:
        """Close the file."""
        self._closing()

    def _write(self, event: dict[str, Any]) -> None:
        self._file.write(json.dumps(event, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self) -> int:
        """Take in the file, and return how many bytes of it are whole lines."""
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if not data[: len(HEADER)] == HEADER[: len(data)]:
            raise JournalError(
                f"{self.path} is no journal, or its first line is damaged; nothing was changed. "
                "Name another file."
            )
        for line_number, line in enumerate(data[:whole].splitlines(), 1):
            try:
                self._take(json.loads(line))
            except (KeyError, TypeError, ValueError) as error:
                raise JournalError(
                    f"Line {line_number} of {self.path} is damaged ({error!r}). Restore the file, "
                    "or start with a new one; jobs already paid for can be fetched by their ids."
                ) from error
        return whole

    def _take(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "journal":
            if event["version"] != VERSION:
                raise ValueError(f"version {event['version']} instead of {VERSION}")
            self._run = event["run"]
            return
        if kind == "intended":
            name = f"{TAG}-{self._run}-{event['n']}"
            self._entries[event["n"]] = Entry(event["digest"], name, attempted=True)
            return
        entry = self._entries[event["n"]]
        if kind == "submitted":
            entry.job_id = event["job"]
        elif kind == "failed":
            entry.job_id = None
            entry.failures += 1
        elif kind == "cut":
            entry.cut = True
        elif kind == "finished":
            arrays = event["data"]
            digest = hashlib.sha256(json.dumps(arrays, sort_keys=True).encode()).hexdigest()
            if digest != event["sha256"]:
                raise ValueError("its hash is wrong")
            fields = {name: _decoded(a) for name, a in arrays.items()}
            entry.result = PubResult(DataBin(**fields, shape=fields["evs"].shape))
        else:
            raise ValueError(f"unknown event {kind!r}")

    def _digest(self, pub: EstimatorPub) -> str:
        known = self._descriptions.get(id(pub.circuit))
        if known is None:
            if len(self._descriptions) > 64:
                self._descriptions.clear()
            known = self._descriptions[id(pub.circuit)] = pub.circuit, described(pub.circuit)
        values = pub.parameter_values.as_array(pub.circuit.parameters)
        precision = None if pub.precision is None else float(pub.precision)
        asked = [pub.observables.tolist(), list(values.shape), precision]
        content = hashlib.sha256(known[1])
        content.update(json.dumps(asked, sort_keys=True, default=float).encode())
        content.update(np.ascontiguousarray(values, dtype="<f8").tobytes())
        return content.hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        raise JournalError("A journal belongs to one process; it cannot be pickled or copied.")


def _fetched(estimator: BaseEstimatorV2, known: Entry) -> Any:
    retrieve = getattr(estimator, "retrieve_job", None)
    find = getattr(estimator, "find_job", None)
    service = getattr(estimator, "_service", None)
    if retrieve is None and callable(getattr(service, "job", None)):
        retrieve = service.job  # type: ignore[union-attr]
        find = _by_tag(service)
    if known.job_id is None:
        return None if find is None else find(known.tag)
    if retrieve is None:
        return None
    try:
        return retrieve(known.job_id)
    except Exception as error:
        if isinstance(error, LookupError) or type(error).__name__ == "RuntimeJobNotFound":
            return None  # it is another estimator's, or gone
        raise


def _by_tag(service: Any) -> Any:
    def find(tag: str) -> Any:
        jobs = service.jobs(job_tags=[tag], limit=1) if hasattr(service, "jobs") else []
        return jobs[0] if jobs else None

    return find


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
