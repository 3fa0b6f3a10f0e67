# SPDX-License-Identifier: Apache-2.0
"""A service for tests: it keeps a ledger of its jobs, lets them be fetched, and fails on demand."""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from estimators import QuantileSampler
from qiskit.primitives import (
    BaseEstimatorV2,
    BaseSamplerV2,
    BitArray,
    PrimitiveResult,
    PubResult,
    SamplerPubResult,
)
from qiskit.primitives.containers import DataBin
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.providers import JobError, JobTimeoutError

from qiskit_torch_bridge.jobs import Retry
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator

try:
    from qiskit_ibm_runtime.api.exceptions import RequestsApiError
    from qiskit_ibm_runtime.exceptions import (
        IBMRuntimeError,
        RuntimeInvalidStateError,
        RuntimeJobFailureError,
        RuntimeJobMaxTimeoutError,
        RuntimeJobNotFound,
        RuntimeJobTimeoutError,
    )
except ImportError:  # stand-ins: errors are told apart by the names of their classes

    class IBMError(Exception):
        pass

    class IBMRuntimeError(IBMError):
        pass

    class RuntimeInvalidStateError(IBMRuntimeError):
        pass

    class RuntimeJobFailureError(JobError):
        pass

    class RuntimeJobMaxTimeoutError(IBMRuntimeError):
        pass

    class RuntimeJobNotFound(IBMRuntimeError):
        pass

    class RuntimeJobTimeoutError(JobTimeoutError):
        pass

    class RequestsApiError(IBMError):
        def __init__(self, message: str, status_code: int = -1) -> None:
            super().__init__(message)
            self.status_code = status_code


Values = np.ndarray | BitArray
"""What a job gives: expectation values, or outcomes."""
Fault = BaseException | Callable[[Any], Any]


def failed_job(code: int) -> RuntimeJobFailureError:
    """What the runtime raises for a job that failed, in its words."""
    return RuntimeJobFailureError(
        f"Unable to retrieve job result. Error code {code}; It broke after 1024 shots."
    )


def hidden(status: int) -> IBMRuntimeError:
    """What the runtime raises where a submission was refused: the cause is suppressed."""
    try:
        try:
            raise RequestsApiError("the service said no", status)
        except RequestsApiError as error:
            raise IBMRuntimeError(f"Failed to run program: {error}") from None
    except IBMRuntimeError as error:
        return error


class FakeTime:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.delays: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.delays.append(seconds)
        self.now += seconds

    def retry(self, **options: Any) -> Retry:
        return Retry(sleep=lambda seconds: self.sleep(seconds), clock=lambda: self.now, **options)


class Ledger:
    """The jobs of a service, in a file that outlives the processes of its users."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._seen: tuple[list[dict[str, Any]], int] = [], 0  # events, and where they end

    def write(self, **event: Any) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            os.write(descriptor, json.dumps(event).encode() + b"\n")  # one call: whole or not
        finally:
            os.close(descriptor)

    def _events(self) -> list[dict[str, Any]]:
        """Read what was added since the last time; other processes may have added it."""
        if self.path.exists():
            known, end = self._seen
            with open(self.path, "rb") as file:
                file.seek(end)
                # Both at once: an interrupt comes before or after.
                self._seen = [*known, *map(json.loads, file)], file.tell()
        return self._seen[0]

    @property
    def jobs(self) -> list[dict[str, Any]]:
        """All jobs accepted, in order."""
        return [e for e in self._events() if "digest" in e]

    @property
    def failed(self) -> dict[str, str]:
        """The ids of jobs that failed, and what of."""
        return {e["failed"]: e["why"] for e in self._events() if "failed" in e}

    def duplicates(self) -> list[str]:
        """Contents that more than one job has which did not fail: paid for twice."""
        failed = self.failed
        counts = Counter(job["digest"] for job in self.jobs if job["id"] not in failed)
        return [digest for digest, count in counts.items() if count > 1]


class Plan:
    """Which submission, counted over all services, meets which faults.

    Attributes:
        on_submission: Raised instead of taking the job.
        on_answer: Raised after the job was taken.
        on_result: For each time the result is asked for, an error to raise or a function that
            damages the values.
    """

    def __init__(self) -> None:
        self.on_submission: dict[int, list[BaseException]] = {}
        self.on_answer: dict[int, BaseException] = {}
        self.on_result: dict[int, list[Fault]] = {}
        self.count = 0
        self.log: list[tuple[str, str]] = []  # what happened in which order


EXACT = BatchedStatevectorEstimator()
ANSWERS: dict[str, Values] = {}  # the same question has the same answer, and saves time
LOSES_JOB = ("RuntimeJobFailureError", "RuntimeJobMaxTimeoutError", "RuntimeInvalidStateError")


class _Service:
    """A primitive with jobs that have ids, tags and a ledger, and can be fetched."""

    def __init__(
        self,
        ledger: Ledger | Path,
        *,
        name: str = "job",
        plan: Plan | None = None,
        most_rows: int | None = None,
    ) -> None:
        self.ledger = ledger if isinstance(ledger, Ledger) else Ledger(ledger)
        self.name = name
        self.plan = Plan() if plan is None else plan
        self.most_rows = most_rows
        self.job_tag: str | None = None
        self.phase = ""  # written to the ledger with each job
        self.fetched: list[str] = []

    def _compute(self, pub: Any) -> Values:
        """Work out the answer to a PUB."""
        raise NotImplementedError

    def _take(self, pubs: list[Any]) -> Job:
        plan, number = self.plan, self.plan.count
        plan.count += 1
        refusals = plan.on_submission.get(number)
        if refusals:
            error = refusals.pop(0)
            plan.count -= bool(refusals)  # the next attempt meets the next one
            raise error
        (pub,) = pubs
        digest = content_of(pub)
        if digest not in ANSWERS:
            ANSWERS[digest] = self._compute(pub)
        values = ANSWERS[digest]
        job_id = f"{self.name}-{len(self.ledger.jobs)}"
        self.ledger.write(
            id=job_id,
            digest=digest,
            tag=self.job_tag,
            phase=self.phase,
            shape=list(values.shape),
            values=written(values),
        )
        plan.log.append(("accepted", job_id))
        if number in plan.on_answer:
            raise plan.on_answer.pop(number)
        faults = plan.on_result.get(number, [])
        return Job(self, job_id, values, self._too_long(values) or faults)

    def _too_long(self, values: Values) -> list[Fault]:
        if self.most_rows is None or values.shape[-1] <= self.most_rows:
            return []
        return [RuntimeJobMaxTimeoutError("Error code 1305; Job took too long.")]

    def retrieve_job(self, job_id: str) -> Job:
        self.fetched.append(job_id)
        for job in self.ledger.jobs:
            if job["id"] == job_id and job_id.startswith(self.name):
                values = read(job["values"], job["shape"])
                return Job(self, job_id, values, self._too_long(values))
        raise RuntimeJobNotFound(f"Job not found: {job_id}")

    def find_job(self, tag: str) -> Job | None:
        ids = [j["id"] for j in self.ledger.jobs if j["tag"] == tag]
        ids = [i for i in ids if i.startswith(self.name)]
        return self.retrieve_job(ids[-1]) if ids else None


class Service(_Service, BaseEstimatorV2):
    """An exact estimator."""

    default_precision = 0.0

    def run(self, pubs: Any, *, precision: float | None = None) -> Job:
        return self._take([EstimatorPub.coerce(pub, precision) for pub in pubs])

    def _compute(self, pub: Any) -> Values:
        return np.asarray(EXACT.run([pub]).result()[0].data.evs)


class SamplerService(_Service, BaseSamplerV2):
    """A sampler that is sure of its outcomes, in one register called ``meas``."""

    default_shots = 40

    def run(self, pubs: Any, *, shots: int | None = None) -> Job:
        return self._take([SamplerPub.coerce(pub, shots) for pub in pubs])

    def _compute(self, pub: Any) -> Values:
        found: BitArray = QuantileSampler().run([pub]).result()[0].data.meas
        return found


class Job:
    """A job of a service; one that has failed stays so."""

    def __init__(self, service: _Service, job_id: str, values: Values, faults: list[Fault]):
        self.service, self._id, self.values = service, job_id, values
        self.faults = faults

    def job_id(self) -> str:
        return self._id

    def done(self) -> bool:
        return True

    def result(self) -> PrimitiveResult[PubResult]:
        self.service.plan.log.append(("asked", self._id))
        why = self.service.ledger.failed.get(self._id)
        if why is not None:
            too_long = "1305" in why
            raise RuntimeJobMaxTimeoutError(why) if too_long else RuntimeJobFailureError(why)
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, BaseException):
            if any(kind.__name__ in LOSES_JOB for kind in type(fault).__mro__):
                self.service.ledger.write(failed=self._id, why=str(fault))
            raise fault
        if fault is not None:
            return fault(copy.deepcopy(self.values))
        return result_of(self.values)


def written(values: Values) -> Any:
    """Values as the ledger keeps them."""
    if isinstance(values, BitArray):
        return {"bits": values.num_bits, "array": values.array.tolist()}
    return [float(v).hex() for v in values.ravel()]


def read(kept: Any, shape: list[int]) -> Values:
    """Values from the ledger."""
    if isinstance(kept, dict):
        return BitArray(np.array(kept["array"], dtype=np.uint8), kept["bits"])
    return np.array([float.fromhex(v) for v in kept]).reshape(shape)


def result_of(values: Values) -> PrimitiveResult[PubResult]:
    if isinstance(values, BitArray):
        return PrimitiveResult([SamplerPubResult(DataBin(meas=values, shape=values.shape))])
    data = DataBin(evs=values, stds=np.zeros(values.shape), shape=values.shape)
    return PrimitiveResult([PubResult(data)])


def with_nan(values: Values) -> PrimitiveResult[PubResult]:
    """A value that is no number, or an outcome of more bits than were measured."""
    if isinstance(values, BitArray):
        values.array.flat[-1] = 255
    else:
        values.flat[-1] = np.nan
    return result_of(values)


def misshapen(values: Values) -> PrimitiveResult[PubResult]:
    every = (slice(None),) * (values.ndim - 1)
    return result_of(values[(*every, slice(-1))])


def missing(values: Values) -> PrimitiveResult[PubResult]:
    return PrimitiveResult([])


def content_of(pub: EstimatorPub | SamplerPub) -> str:
    """The content of a PUB, described independently of the package."""
    bound = pub.parameter_values.as_array(pub.circuit.parameters)
    place = {qubit: k for k, qubit in enumerate(pub.circuit.qubits)}
    gates = [
        (i.operation.name, [str(p) for p in i.operation.params], [place[q] for q in i.qubits])
        for i in pub.circuit.data
    ]
    asked: list[Any] = [getattr(pub, "shots", None), [r.name for r in pub.circuit.cregs]]
    if isinstance(pub, EstimatorPub):
        asked = [pub.precision, pub.observables.tolist()]
    described = [gates, asked, bound.tolist()]
    return hashlib.sha256(json.dumps(described, default=float).encode()).hexdigest()
