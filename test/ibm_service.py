# SPDX-License-Identifier: Apache-2.0
"""IBM's service on this machine: an HTTP server that qiskit-ibm-runtime's own client talks to.

It takes jobs of estimators and samplers, simulates what arrives, and keeps account of what it would
be paid for. Faults are
scheduled for each kind of request: an answer that is an error, with the work done before or not,
an answer that never comes, a connection that is cut.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from faults import content_of
from qiskit.circuit import ClassicalRegister, QuantumCircuit
from qiskit.primitives import (
    BitArray,
    PrimitiveResult,
    PubResult,
    SamplerPubResult,
    StatevectorEstimator,
)
from qiskit.primitives.containers import DataBin
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.quantum_info import Statevector

CRN = "crn:v1:bluemix:public:quantum-computing:us-east:a/{0}:{0}::".format
DEVICE = "ibm_test"
FINAL = ("Completed", "Failed", "Cancelled")
PUBS: dict[str, Any] = {"estimator": EstimatorPub, "sampler": SamplerPub}
SHOTS = 4096
"""Where nobody asks for a number."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong with a request.

    Attributes:
        status: Of the answer; ``None`` if the connection is cut instead of one.
        done: Whether what was asked for is done all the same.
        seconds: How long the answer takes.
        body: Of the answer, in the place of the right one.
    """

    status: int | None
    done: bool = False
    seconds: float = 0.0
    body: str | None = None


@dataclass
class Ending:
    """How a job ends, and in which states it is seen before."""

    state: str = "Completed"
    reason: str | None = None
    code: int | None = None
    before: tuple[str, ...] = ()


@dataclass
class Job:
    """A job that was taken."""

    id: str
    instance: str
    body: dict[str, Any]
    pub: Any
    at: float
    ending: Ending
    seen: int = 0
    cancelled: bool = False

    @property
    def tags(self) -> list[str]:
        return self.body.get("tags", [])

    def state(self) -> dict[str, Any]:
        """Go on to the next state, and return it."""
        if self.cancelled:
            return {"status": "Cancelled"}
        if self.seen < len(self.ending.before):
            self.seen += 1
            return {"status": self.ending.before[self.seen - 1]}
        why = {"reason": self.ending.reason, "reason_code": self.ending.code}
        return {"status": self.ending.state, **{k: v for k, v in why.items() if v is not None}}

    @property
    def final(self) -> bool:
        return self.cancelled or self.seen >= len(self.ending.before)


@dataclass
class IBMService:
    """The server and its account.

    Attributes:
        jobs: All that were taken, in order.
        faults: What goes wrong with the next requests, by kind: ``"submit"``, ``"status"``,
            ``"result"``, ``"index"``, ``"cancel"``, ``"device"``, ``"usage"``.
        endings: How the next jobs end.
        lag: Seconds until a job is found by its tag.
        clock: Tells the time that ``lag`` is measured in.
        shaped: Makes the arrays of a result of the expectation values.
    """

    lag: float = 0.0
    clock: Callable[[], float] = time.monotonic
    jobs: list[Job] = field(default_factory=list)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    endings: list[Ending] = field(default_factory=list)
    sessions: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    shaped: Callable[[np.ndarray], dict[str, Any]] = lambda evs: {
        "evs": evs,
        "stds": np.full(evs.shape, 0.01),
        "ensemble_standard_error": np.full(evs.shape, 0.01),
    }
    url: str = ""
    order: threading.Lock = field(default_factory=threading.Lock)

    def paid(self) -> dict[str, int]:
        """How many jobs there are for each PUB, but for those that failed or were cancelled."""
        lasting = [j for j in self.jobs if not j.cancelled and j.ending.state == "Completed"]
        return dict(Counter(content_of(j.pub) for j in lasting))

    # -- what is asked of it -------------------------------------------------------------------

    def submit(self, body: dict[str, Any], instance: str) -> dict[str, Any]:
        pubs = body["params"].get("pubs")  # client-side primitives send circuits instead
        pub = None if pubs is None else PUBS[body["program_id"]].coerce(tuple(*pubs))
        session = body.get("session_id")
        with self.order:
            if session is not None and not self.sessions[session]["accepting_jobs"]:
                raise Refused(400, "Session has been closed.", 1217)
            ending = self.endings.pop(0) if self.endings else Ending()
            job = Job(f"job-{len(self.jobs)}", instance, body, pub, self.clock(), ending)
            self.jobs.append(job)
        return {"id": job.id, "backend": body["backend"]}

    def job(self, job_id: str, instance: str) -> Job:
        found = [j for j in self.jobs if j.id == job_id and j.instance == instance]
        if not found:
            raise Refused(404, f"Job not found. Job ID: {job_id}", 1291)
        return found[0]

    def described(self, job: Job) -> dict[str, Any]:
        state = job.state()
        return {
            "id": job.id,
            "backend": job.body["backend"],
            "program": {"id": job.body["program_id"]},
            "state": state,
            "status": state["status"],
            "tags": job.tags,
            "session_id": job.body.get("session_id"),
            "created": "2026-01-01T00:00:00Z",
        }

    def index(self, asked: dict[str, list[str]], instance: str) -> dict[str, Any]:
        """The jobs that have all tags asked for, the newest first."""
        wanted = set(asked.get("tags", []))
        found = [
            job
            for job in reversed(self.jobs)
            if job.instance == instance
            and wanted <= set(job.tags)
            and self.clock() - job.at >= self.lag
        ]
        begin = int(asked.get("offset", ["0"])[0])
        page = found[begin : begin + int(asked.get("limit", ["200"])[0])]
        return {"jobs": [self.described(j) for j in page], "count": len(found)}

    def result(self, job: Job) -> str:
        from qiskit_ibm_runtime import RuntimeEncoder

        if job.ending.state != "Completed":
            return ""
        found = self.samples(job) if isinstance(job.pub, SamplerPub) else self.values(job.pub)
        return json.dumps(PrimitiveResult([found]), cls=RuntimeEncoder)

    def values(self, pub: EstimatorPub) -> PubResult:
        """Exact expectation values."""
        exact_pub = EstimatorPub(pub.circuit, pub.observables, pub.parameter_values)
        exact = StatevectorEstimator().run([exact_pub]).result()[0].data.evs
        arrays = self.shaped(np.asarray(exact))
        return PubResult(DataBin(**arrays, shape=np.shape(arrays["evs"])), {"shots": SHOTS})

    def samples(self, job: Job) -> SamplerPubResult:
        """Outcomes as often as they are expected, but for less than one shot."""
        options = job.body["params"].get("options", {})
        shots = job.pub.shots or options.get("default_shots") or SHOTS
        circuits = job.pub.parameter_values.bind_all(job.pub.circuit)
        fields = {}
        for register in job.pub.circuit.cregs:
            rows = [outcomes(circuit, register, shots) for circuit in np.ravel(circuits)]
            packed = np.reshape(rows, (*job.pub.shape, *np.shape(rows)[1:]))
            fields[register.name] = BitArray(packed, register.size)
        return SamplerPubResult(DataBin(**fields, shape=job.pub.shape), {"shots": shots})

    def cancel(self, job: Job) -> dict[str, Any]:
        if job.final:
            raise Refused(409, "Job cannot be cancelled.", 1292)
        job.cancelled = True
        return {}

    # -- running it ----------------------------------------------------------------------------

    def client(self, instance: str | None = "one", **options: Any) -> Any:
        """A ``QiskitRuntimeService`` whose repetitions of requests do not wait."""
        from qiskit_ibm_runtime import QiskitRuntimeService

        service = QiskitRuntimeService(
            channel="ibm_quantum_platform",
            token="token",
            instance=None if instance is None else CRN(instance),
            url=self.url,
            url_resolver=lambda *_: self.url,
            **options,
        )
        for client in (service._active_api_client, *service._api_clients.values()):
            client._session._initialize_retry(5, 3, 0.0)
        return service

    def backend(self, service: Any = None, instance: str | None = None) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what Qiskit 1.4 removes later
            where = {} if instance is None else {"instance": CRN(instance)}
            return (service or self.client()).backend(DEVICE, **where)

    def estimator(self, mode: Any = None, **options: Any) -> Any:
        """The runtime's ``EstimatorV2`` on the device, or in a session or batch."""
        return self.primitive("EstimatorV2", mode, **options)

    def sampler(self, mode: Any = None, **options: Any) -> Any:
        """The runtime's ``SamplerV2`` likewise."""
        return self.primitive("SamplerV2", mode, **options)

    def primitive(self, name: str, mode: Any = None, **options: Any) -> Any:
        import qiskit_ibm_runtime

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", f"The {name} class is deprecated")
            kind = getattr(qiskit_ibm_runtime, name)
            return kind(mode=self.backend() if mode is None else mode, **options)


def outcomes(circuit: QuantumCircuit, register: ClassicalRegister, shots: int) -> np.ndarray:
    """Outcomes of a register as a ``BitArray`` packs them, each as often as it is expected."""
    measured = {
        instruction.clbits[0]: circuit.find_bit(instruction.qubits[0]).index
        for instruction in circuit.data
        if instruction.operation.name == "measure"
    }
    bare = QuantumCircuit(circuit.qubits, global_phase=circuit.global_phase)
    for instruction in circuit.data:
        if not instruction.clbits and instruction.operation.name != "barrier":
            bare.append(instruction.operation, instruction.qubits)
    state = Statevector(bare)
    exact = shots * state.probabilities([measured[bit] for bit in register])
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact)[: shots - counts.sum()]] += 1  # the largest remainders
    found = np.repeat(np.arange(len(counts)), counts)
    bits = found[:, None] >> np.arange(8 * -(-register.size // 8))[::-1] & 1
    return np.packbits(bits.astype(np.uint8), axis=-1)


class Refused(Exception):
    """An answer that is an error, as the service words it."""

    def __init__(self, status: int, message: str, code: int) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"errors": [{"code": code, "message": message}]}


class Handler(BaseHTTPRequestHandler):
    """Takes requests apart."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else the body waits 40 ms for the headers' acknowledgement
    service: IBMService

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def answer(self, method: str) -> None:
        from qiskit_ibm_runtime import RuntimeDecoder

        parts = urlsplit(self.path)
        asked, (where, *rest) = parse_qs(parts.query), parts.path.strip("/").split("/")
        length = int(self.headers.get("Content-Length") or 0)
        text = self.rfile.read(length).decode()
        instance = self.headers.get("Service-CRN", "")
        kind, act = self.route(method, where, rest, asked, text, instance, RuntimeDecoder)
        with self.service.order:
            self.service.requests[kind] += 1
            planned = self.service.faults.get(kind)
            fault = planned.pop(0) if planned else None
        status, body = 200, ""
        if fault is None or fault.done:
            try:
                made = act()
                body = made if isinstance(made, str) else json.dumps(made)
            except Refused as error:
                status, body = error.status, json.dumps(error.body)
        if fault is not None:
            time.sleep(fault.seconds)
            if fault.status is None:
                self.close_connection = True
                return
            status = fault.status
            if fault.body is not None:
                body = fault.body
            elif status != 200:
                body = json.dumps({"error": {"message": "as planned", "code": status}})
        data = body.encode()
        with contextlib.suppress(ConnectionError):  # who asked has gone
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def route(
        self,
        method: str,
        where: str,
        rest: list[str],
        asked: dict[str, list[str]],
        text: str,
        instance: str,
        decoder: Any,
    ) -> tuple[str, Callable[[], Any]]:
        service = self.service
        if where == "backends":
            return "device", lambda: device(rest)
        if where == "instances":
            return "usage", dict
        if where == "sessions":
            return "session", lambda: self.session(method, rest, text)
        assert where == "jobs", self.path
        if method == "POST" and not rest:
            return "submit", lambda: service.submit(json.loads(text, cls=decoder), instance)
        if not rest:
            return "index", lambda: service.index(asked, instance)
        if rest[1:] == ["results"]:
            return "result", lambda: service.result(service.job(rest[0], instance))
        if rest[1:] == ["cancel"]:
            return "cancel", lambda: service.cancel(service.job(rest[0], instance))
        return "status", lambda: service.described(service.job(rest[0], instance))

    def session(self, method: str, rest: list[str], text: str) -> Any:
        sessions = self.service.sessions
        if method == "POST":
            made = f"session-{len(sessions)}"
            mode = json.loads(text)["mode"]
            sessions[made] = {"id": made, "accepting_jobs": True, "state": "open", "mode": mode}
            return sessions[made]
        if method in ("PATCH", "DELETE"):
            sessions[rest[0]]["accepting_jobs"] = False
        return sessions[rest[0]]

    def do_GET(self) -> None:
        self.answer("GET")

    def do_POST(self) -> None:
        self.answer("POST")

    def do_PATCH(self) -> None:
        self.answer("PATCH")

    def do_DELETE(self) -> None:
        self.answer("DELETE")


def device(rest: list[str]) -> Any:
    """What the service says of its one device: five qubits in a row."""
    from qiskit_ibm_runtime.fake_provider import FakeManilaV2

    if not rest:
        return {"devices": [{"name": DEVICE, "qubits": 5}]}
    if rest[1] == "status":
        return {"state": True, "status": "active", "length_queue": 0}
    file = FakeManilaV2.conf_filename if rest[1] == "configuration" else FakeManilaV2.props_filename
    described = json.loads(Path(FakeManilaV2.dirname, file).read_text())
    return {**described, "backend_name": DEVICE, "simulator": False}


@contextlib.contextmanager
def running(monkeypatch: pytest.MonkeyPatch, **options: Any) -> Iterator[IBMService]:
    """Serve for a while; the client's account has the instances ``one`` and ``two``."""
    from qiskit_ibm_runtime.accounts import account
    from qiskit_ibm_runtime.api.auth import CloudAuth

    service = IBMService(**options)
    handler = type("Bound", (Handler,), {"service": service})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    service.url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("USAGE_DATA_OPT_OUT", "True")  # else all frames are read for each request
    # Two other services are left out: one says which instances there are, one gives tokens.
    plan = {"tags": [], "plan": "open", "pricing_type": "free"}
    instances = [{"crn": CRN(name), "name": name, **plan} for name in ("one", "two")]
    kind = getattr(account, "CloudAccount", account.Account)  # the former up to release 0.47
    monkeypatch.setattr(kind, "list_instances", lambda self: instances)
    monkeypatch.setattr(
        CloudAuth, "get_headers", lambda self: {"Service-CRN": self.crn, "Authorization": "apikey"}
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
