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
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from qiskit.primitives import BaseEstimatorV2, PubResult
from qiskit.primitives.containers import DataBin
from qiskit.primitives.containers.estimator_pub import EstimatorPub

from ..exceptions import JournalError

VERSION = 1
TAG = "qiskit-torch-bridge"


@dataclass
class Entry:
    """What the journal knows of a request.

    Attributes:
        digest: The hash of circuit, observables, values and precision.
        tag: What the job is found by at the service, if its id was not written down.
        job_id: The id of its job, if one was submitted and has not failed.
        result: Its values, if it is done.
    """

    digest: str
    tag: str
    job_id: str | None = None
    result: PubResult | None = None


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
        length = self._read() if self.path.exists() else 0
        new = not length
        self._file = open(self.path, "ab")  # noqa: SIM115 - open as long as the journal is
        self._file.truncate(length)
        if new:
            self._write({"event": "journal", "version": VERSION})
            _sync_folder(self.path.parent)

    def begin(self, pub: EstimatorPub) -> tuple[int, Entry]:
        """Number a request, and return what is known of it."""
        digest = self._digest(pub)
        with self._lock:
            number = self.position
            self.position += 1
            known = self._entries.get(number)
            if known is None:
                tag = f"{TAG}-{digest[:16]}-{number}"
                known = self._entries[number] = Entry(digest, tag)
                self._write({"event": "intended", "n": number, "digest": digest, "tag": tag})
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
            self._entries[number].job_id = job_id
            self._write({"event": "submitted", "n": number, "job": job_id})

    def failed(self, number: int, why: str) -> None:
        """Write down that a request's job is lost."""
        with self._lock:
            self._entries[number].job_id = None
            self._write({"event": "failed", "n": number, "why": why})

    def finished(self, number: int, result: PubResult) -> None:
        """Write down a result, with its hash."""
        arrays = {
            name: _encoded(np.asarray(result.data[name], dtype=float))
            for name in ("evs", "stds")
            if name in result.data
        }
        digest = hashlib.sha256(json.dumps(arrays, sort_keys=True).encode()).hexdigest()
        with self._lock:
            self._entries[number].result = result
            self._write({"event": "finished", "n": number, "data": arrays, "sha256": digest})

    def attached(self, known: Entry, estimators: Sequence[BaseEstimatorV2]) -> Any:
        """Return the job of a request that was submitted before, or ``None``.

        Estimators that can fetch jobs have ``retrieve_job(job_id)`` and ``find_job(tag)``; for
        those of the runtime its service is asked. Jobs of simulators in this process have ended
        with the process, and are run again.
        """
        for estimator in estimators:
            found = _fetched(estimator, known)
            if found is not None:
                return found
        return None

    @contextlib.contextmanager
    def tagged(self, estimator: BaseEstimatorV2, number: int) -> Iterator[None]:
        """Give jobs the request's tag while it is submitted, where the estimator knows tags."""
        tag = self._entries[number].tag
        environment = getattr(getattr(estimator, "options", None), "environment", None)
        if hasattr(estimator, "job_tag"):
            estimator.job_tag = tag
        if environment is None or not hasattr(environment, "job_tags"):
            yield
            return
        before = environment.job_tags
        environment.job_tags = [*(before if isinstance(before, list) else []), tag]
        try:
            yield
        finally:
            environment.job_tags = before

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, event: dict[str, Any]) -> None:
        self._file.write(json.dumps(event, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self) -> int:
        """Take in the file, and return how many bytes of it are whole lines."""
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
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
            return
        if kind == "intended":
            self._entries[event["n"]] = Entry(event["digest"], event["tag"])
            return
        entry = self._entries[event["n"]]
        if kind == "submitted":
            entry.job_id = event["job"]
        elif kind == "failed":
            entry.job_id = None
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
        content = hashlib.sha256()
        names = [p.name for p in pub.circuit.parameters]
        values = pub.parameter_values.as_array(pub.circuit.parameters)
        place = {qubit: k for k, qubit in enumerate(pub.circuit.qubits)}
        gates = [
            [i.operation.name, [str(p) for p in i.operation.params], [place[q] for q in i.qubits]]
            for i in pub.circuit.data
        ]  # not QPY: it holds identifiers of parameters, which differ from process to process
        described = [gates, names, pub.observables.tolist(), list(values.shape), pub.precision]
        content.update(json.dumps(described, sort_keys=True).encode())
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
    if known.job_id is not None:
        return None if retrieve is None else retrieve(known.job_id)
    return None if find is None else find(known.tag)


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
