# SPDX-License-Identifier: Apache-2.0
"""The runtime's own client against a service on this machine: each PUB is paid for once.

Everything but the service is real: ``QiskitRuntimeService``, ``EstimatorV2``, ``RuntimeJobV2``,
``Session`` and ``Batch``, their requests, their repetitions of requests, and their decoding.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from circuits import rotation
from faults import FakeTime
from qiskit.circuit import QuantumCircuit
from qiskit.transpiler import generate_preset_pass_manager

from qiskit_torch_bridge import TorchQuantumModule
from qiskit_torch_bridge.exceptions import JobError, UnknownJobError
from qiskit_torch_bridge.jobs import DispatchingEstimator, Jobs, Journal

pytest.importorskip("qiskit_ibm_runtime", reason="the client of IBM's service is not installed")

from ibm_service import CRN, Ending, Fault, IBMService, running  # needs the runtime

pytestmark = [
    # What the runtime says of itself, and what its requests leave to the garbage collector.
    pytest.mark.filterwarnings("ignore:.*EstimatorV2 class is deprecated"),
    pytest.mark.filterwarnings("ignore:.*RuntimeOptions class is deprecated"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

AFTER_TAKING = [
    Fault(None, done=True),  # the connection is cut
    Fault(408, done=True),
    Fault(200, done=True, body=""),
    Fault(200, done=True, body='{"id": "job'),
    Fault(200, done=True, body="{}"),
]
# The client itself repeats a request six times in all where these are answered.
REPEATED, REPETITIONS = (500, 502, 503, 504), 6


@pytest.fixture
def ibm(monkeypatch: pytest.MonkeyPatch) -> Iterator[IBMService]:
    with running(monkeypatch) as service:
        yield service


class Use:
    """A dispatching estimator over one of the runtime's, and a circuit with <Z> = cos(angle)."""

    def __init__(self, ibm: IBMService, mode: Any = None, journal: Any = None, **retry: Any):
        self.ibm, self.time = ibm, FakeTime()
        ibm.clock = lambda: self.time.now
        self.inner = ibm.estimator(mode)
        backend = self.inner.backend()
        circuit, self.theta = rotation()
        # The plugin that a device names for translation does not load in Qiskit 1.4.
        manager = generate_preset_pass_manager(
            0, backend, initial_layout=[0], translation_method="translator"
        )
        self.circuit: QuantumCircuit = manager.run(circuit)
        self.estimator = DispatchingEstimator(
            self.inner, Jobs(retry=self.time.retry(**retry), journal=journal)
        )

    def pub(self, angles: Any = 0.7, observable: Any = "Z") -> Any:
        padded = np.vectorize(lambda label: "IIII" + label, otypes=[object])(observable).tolist()
        return self.circuit, padded, {(self.theta,): np.asarray(angles)[..., None]}

    def evs(self, angles: Any = 0.7, observable: Any = "Z") -> Any:
        job = self.estimator.run([self.pub(angles, observable)])
        return job.result()[0].data.evs


def assert_right(use: Use, pubs: int = 1) -> None:
    """Some PUBs give what they should, and the service is paid for one job each."""
    for k in range(pubs):
        np.testing.assert_allclose(use.evs(0.7 + k), math.cos(0.7 + k), rtol=0, atol=1e-10)
    assert list(use.ibm.paid().values()) == [1] * pubs
    assert use.estimator.used.jobs == len(use.ibm.jobs)


# -- submission --------------------------------------------------------------------------------


def test_tags_arrive_and_the_options_are_as_before(ibm: IBMService) -> None:
    use = Use(ibm)
    use.inner.options.environment.job_tags = ["mine"]
    assert_right(use, pubs=2)
    first, second = (job.tags for job in ibm.jobs)
    assert first[:2] == second[:2] == ["mine", "qiskit-torch-bridge"]
    assert len(first) == len(second) == 3 and first[2] != second[2]
    assert use.inner.options.environment.job_tags == ["mine"]
    found = use.inner._service.jobs(job_tags=["qiskit-torch-bridge"])
    assert [job.job_id() for job in found] == ["job-1", "job-0"]


def test_tags_are_as_before_if_submission_fails(ibm: IBMService) -> None:
    use = Use(ibm)
    before = use.inner.options.environment.job_tags
    ibm.faults["submit"] = [Fault(401)]
    with pytest.raises(JobError, match="none was submitted"):
        use.evs()
    assert use.inner.options.environment.job_tags == before and ibm.jobs == []


@pytest.mark.parametrize("lag", [0.0, 2.0, 25.0])
@pytest.mark.parametrize("fault", AFTER_TAKING, ids=lambda f: f"{f.status} {f.body!r}")
def test_a_lost_answer_is_found_by_its_tag_however_late(
    ibm: IBMService, fault: Fault, lag: float
) -> None:
    ibm.lag = lag
    ibm.faults["submit"] = [fault]
    use = Use(ibm)
    assert_right(use)
    assert len(ibm.jobs) == 1 and ibm.requests["submit"] == 1


def test_an_answer_that_takes_too_long(ibm: IBMService, monkeypatch: pytest.MonkeyPatch) -> None:
    from qiskit_ibm_runtime.api.session import RetrySession

    use, request = Use(ibm, None), RetrySession.request
    monkeypatch.setattr(
        RetrySession, "request", lambda *a, **k: request(*a, **{**k, "timeout": 0.3})
    )
    ibm.faults["submit"] = [Fault(200, done=True, seconds=0.6)]
    assert_right(use)
    assert len(ibm.jobs) == 1


def test_a_job_that_no_index_shows_in_time_is_submitted_again(ibm: IBMService) -> None:
    """It cannot be known that it was taken; how long to look for it, the user says."""
    ibm.faults["submit"] = [Fault(408)]
    use = Use(ibm, lookup=5.0)
    assert_right(use)
    assert len(ibm.jobs) == 1 and ibm.requests["submit"] == 2
    assert 5.0 <= use.time.now < 7.0  # and the pause before another attempt


def test_without_an_index_the_user_is_asked(ibm: IBMService) -> None:
    ibm.faults["submit"] = [Fault(None, done=True)]
    use = Use(ibm)
    ibm.faults["index"] = [Fault(403)]
    with pytest.raises(UnknownJobError, match="cannot be found out") as caught:
        use.evs()
    assert len(ibm.jobs) == 1 and caught.value.tag == ibm.jobs[0].tags[-1]
    assert caught.value.tag in str(caught.value)


def test_the_index_is_asked_again_if_it_does_not_answer(ibm: IBMService) -> None:
    ibm.faults["submit"] = [Fault(None, done=True)]
    use = Use(ibm)
    ibm.faults["index"] = [Fault(429), Fault(408)]
    assert_right(use)
    assert len(ibm.jobs) == 1


def test_repetitions_by_the_client_itself_are_found_and_cancelled(ibm: IBMService) -> None:
    """The client repeats a POST that is answered with an error, and gives up with the sixth."""
    ibm.faults["submit"] = [Fault(502, done=True)] * REPETITIONS
    ibm.endings = [Ending(before=("Queued",) * 30) for _ in range(REPETITIONS)]
    ibm.endings[2] = Ending()
    use = Use(ibm)
    with pytest.warns(RuntimeWarning, match="job-0, job-1.*result of job-2 is used"):
        job = use.estimator.run([use.pub()])
    assert float(job.result()[0].data.evs) == pytest.approx(math.cos(0.7), abs=1e-10)
    assert [j.cancelled for j in ibm.jobs] == [k != 2 for k in range(REPETITIONS)]
    assert list(ibm.paid().values()) == [1] and use.estimator.used.jobs == REPETITIONS


def test_a_repetition_that_succeeds_is_out_of_reach(ibm: IBMService) -> None:
    """The client hides it; IBM says of its service that it takes no job twice in such a case.

    If this fails with a single job, the client has stopped repeating submissions.
    """
    ibm.faults["submit"] = [Fault(502, done=True)]
    use = Use(ibm)
    assert float(use.evs()) == pytest.approx(math.cos(0.7), abs=1e-10)
    assert ibm.requests["submit"] == len(ibm.jobs) == 2


def test_the_client_side_estimator_has_tags_and_a_service_too(ibm: IBMService) -> None:
    module = pytest.importorskip(
        "qiskit_ibm_runtime.executor_estimator", reason="this release has no client-side estimator"
    )
    use = Use(ibm)
    estimator = module.Estimator(mode=ibm.backend())
    estimator.options.environment.job_tags = ["mine"]
    ibm.faults["submit"] = [Fault(None, done=True)]
    job = DispatchingEstimator(estimator, Jobs(retry=use.time.retry())).run([use.pub()])
    assert job.job_ids == ("job-0",) and len(ibm.jobs) == 1
    assert ibm.jobs[0].body["program_id"] == "executor" and len(ibm.jobs[0].tags) == 3
    assert estimator.options.environment.job_tags == ["mine"]


@pytest.mark.parametrize("status", REPEATED)
@pytest.mark.parametrize("times", [1, REPETITIONS])
def test_a_service_that_is_down_is_asked_again(ibm: IBMService, status: int, times: int) -> None:
    ibm.faults["submit"] = [Fault(status)] * times
    assert_right(Use(ibm))
    assert len(ibm.jobs) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409])
def test_a_refusal_is_none(ibm: IBMService, status: int) -> None:
    """The service has answered: nothing was taken, and nothing is looked for."""
    ibm.faults["submit"] = [Fault(status)]
    use = Use(ibm)
    with pytest.raises(JobError, match="none was submitted") as caught:
        use.evs()
    assert type(caught.value) is JobError and caught.value.job_ids == ()
    assert ibm.jobs == [] and ibm.requests["index"] == 0 and use.time.delays == []


def test_too_many_requests_pass(ibm: IBMService) -> None:
    ibm.faults["submit"] = [Fault(429), Fault(429)]
    use = Use(ibm)
    assert_right(use)
    assert ibm.requests["index"] == 0 and len(use.time.delays) == 2


@pytest.mark.parametrize("kind", ["usage", "device"])
def test_errors_before_a_job_is_sent(ibm: IBMService, kind: str) -> None:
    """The client asks for the account's usage and the device's status first."""
    use = Use(ibm)
    ibm.faults[kind] = [Fault(429)]
    assert_right(use)
    assert len(ibm.jobs) == 1


def test_wrong_input_is_noticed_by_the_client(ibm: IBMService) -> None:
    """It raises what Qiskit raises, and nothing was sent: nothing is looked for."""
    use = Use(ibm)
    circuit = QuantumCircuit(5)
    circuit.h(0)  # no gate of the device
    with pytest.raises(JobError, match="none was submitted"):
        use.estimator.run([(circuit, "IIIIZ")])
    assert ibm.requests["submit"] == ibm.requests["index"] == 0 and use.time.delays == []


# -- waiting -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["status", "result"])
@pytest.mark.parametrize("status", [408, 429, *REPEATED, None])
def test_asking_again_costs_nothing(ibm: IBMService, kind: str, status: int | None) -> None:
    ibm.faults[kind] = [Fault(status)] * (1 if status in (408, 429) else REPETITIONS)
    use = Use(ibm)
    assert_right(use)
    assert len(ibm.jobs) == 1 and len(use.time.delays) == 1


@pytest.mark.parametrize("kind", ["status", "result"])
@pytest.mark.parametrize("status", [401, 403])
def test_a_job_that_may_not_be_asked_for_goes_on(ibm: IBMService, kind: str, status: int) -> None:
    ibm.faults[kind] = [Fault(status)]
    use = Use(ibm)
    job = use.estimator.run([use.pub()])
    with pytest.raises(JobError, match="job-0.*goes on") as caught:
        job.result()
    assert caught.value.job_ids == ("job-0",) and len(ibm.jobs) == 1
    assert float(job.result()[0].data.evs) == pytest.approx(math.cos(0.7), abs=1e-10)
    assert len(ibm.jobs) == 1


@pytest.mark.parametrize("body", ["", "{", '"text"'])
def test_a_result_that_cannot_be_read_is_no_reason_to_pay_again(ibm: IBMService, body: str) -> None:
    ibm.faults["result"] = [Fault(200, body=body)]
    use = Use(ibm)
    with contextlib.suppress(Exception):
        use.evs()
    assert len(ibm.jobs) == 1


def test_waiting_ends_at_the_deadline(ibm: IBMService) -> None:
    """The client would wait for ever; it asks for the state twice a second."""
    ibm.endings = [Ending(before=("Queued",) * 12)]
    use = Use(ibm)
    use.estimator.retry = type(use.estimator.retry)(deadline=1.0, first_delay=0.01)
    job = use.estimator.run([use.pub()])
    with pytest.raises(JobError, match=r"job-0 was not done within 1 s.*goes on"):
        job.result()
    assert len(ibm.jobs) == 1 and not ibm.jobs[0].cancelled


@pytest.mark.parametrize("code", [1006, 1008, 1010, 1011])
def test_a_fault_of_the_service_is_tried_again(ibm: IBMService, code: int) -> None:
    ibm.endings = [Ending("Failed", "Internal error.", code)]
    use = Use(ibm)
    assert_right(use)
    assert len(ibm.jobs) == 2 and ibm.jobs[0].tags != ibm.jobs[1].tags


def test_a_job_that_failed_for_good(ibm: IBMService) -> None:
    ibm.endings = [Ending("Failed", "Instructions are not supported.", 1517)]
    use = Use(ibm)
    with pytest.raises(JobError, match="1517.*job-0"):
        use.evs()
    assert len(ibm.jobs) == 1


@pytest.mark.parametrize("state", ["Failed", "Cancelled"])
def test_a_job_over_its_time_is_halved(ibm: IBMService, state: str) -> None:
    ibm.endings = [Ending(state, "Ran too long.", 1305)]
    use, angles = Use(ibm), np.linspace(0, 1, 5)
    np.testing.assert_allclose(use.evs(angles), np.cos(angles), rtol=0, atol=1e-10)
    assert [j.pub.shape for j in ibm.jobs] == [(5,), (2,), (3,)]


def test_a_job_that_someone_cancelled(ibm: IBMService) -> None:
    ibm.endings = [Ending("Cancelled", before=("Queued",))]
    use = Use(ibm)
    with pytest.raises(JobError, match=r"[Cc]ancelled.*job-0"):
        use.evs()
    assert len(ibm.jobs) == 1


def test_a_request_that_is_cancelled_submits_nothing_more(ibm: IBMService) -> None:
    """The one that has ended does not keep the other from being cancelled."""
    ibm.endings = [Ending(), Ending(before=("Queued",) * 30)]
    use = Use(ibm)
    job = use.estimator.run([use.pub(0.1), use.pub(0.2)])
    job.cancel()
    assert [j.cancelled for j in ibm.jobs] == [False, True] and job.cancelled()
    with pytest.raises(JobError, match="was cancelled.*job-0, job-1"):
        job.result()
    assert len(ibm.jobs) == 2


def test_what_could_not_be_cancelled_is_said(ibm: IBMService) -> None:
    ibm.endings = [Ending(before=("Queued",) * 30), Ending(before=("Queued",) * 30)]
    use = Use(ibm)
    job = use.estimator.run([use.pub(0.1), use.pub(0.2)])
    ibm.faults["cancel"] = [Fault(403)]
    with pytest.raises(JobError, match="may go on: job-0") as caught:
        job.cancel()
    assert caught.value.job_ids == ("job-0",)
    assert [j.cancelled for j in ibm.jobs] == [False, True]


# -- results -----------------------------------------------------------------------------------


@pytest.mark.parametrize("observables", ["Z", ["Z", "X"], [["Z"], ["X"]]], ids=str)
@pytest.mark.parametrize("shape", [(), (1,), (2,), (2, 2)], ids=str)
def test_results_arrive_in_their_shapes(ibm: IBMService, shape: Any, observables: Any) -> None:
    use = Use(ibm)
    angles = np.linspace(-2, 2, math.prod(shape)).reshape(shape)
    labels, turned = np.broadcast_arrays(np.asarray(observables), angles)
    expected = np.where(labels == "Z", np.cos(turned), np.sin(turned))
    data = use.estimator.run([use.pub(angles, observables)]).result()[0].data
    np.testing.assert_allclose(data.evs, expected, rtol=0, atol=1e-10)
    assert np.shape(data.evs) == np.shape(data.stds) == expected.shape
    assert np.all(np.asarray(data.stds) == 0.01)


@pytest.mark.parametrize("stds", [None, 0.25])
def test_single_values_may_come_as_plain_numbers(ibm: IBMService, stds: float | None) -> None:
    more = {} if stds is None else {"stds": stds}
    ibm.shaped = lambda evs: {"evs": float(evs), **more}
    data = Use(ibm).estimator.run([Use(ibm).pub()]).result()[0].data
    assert float(data.evs) == pytest.approx(math.cos(0.7), abs=1e-10)
    assert getattr(data, "stds", None) == stds


# -- sessions and batches ----------------------------------------------------------------------


@pytest.mark.parametrize(("name", "mode"), [("Session", "dedicated"), ("Batch", "batch")])
def test_jobs_belong_to_their_session(ibm: IBMService, name: str, mode: str) -> None:
    import qiskit_ibm_runtime

    with getattr(qiskit_ibm_runtime, name)(backend=ibm.backend()) as opened:
        ibm.faults["submit"] = [Fault(None, done=True)]  # so is what is found by its tag
        use = Use(ibm, opened)
        assert_right(use, pubs=2)
    assert [job.body["session_id"] for job in ibm.jobs] == [opened.session_id] * 2
    assert ibm.sessions[opened.session_id]["mode"] == mode


@pytest.mark.parametrize("closed", ["here", "there"])
@pytest.mark.parametrize("name", ["Session", "Batch"])
def test_a_closed_session_takes_no_jobs(ibm: IBMService, name: str, closed: str) -> None:
    import qiskit_ibm_runtime

    opened = getattr(qiskit_ibm_runtime, name)(backend=ibm.backend())
    use = Use(ibm, opened)
    if closed == "here":
        opened.close()
    else:
        ibm.sessions[opened.session_id]["accepting_jobs"] = False
    with pytest.raises(JobError, match="closed.*none was submitted"):
        use.evs()
    assert ibm.jobs == [] and ibm.requests["index"] == 0 and use.time.delays == []


# -- other processes and instances -------------------------------------------------------------


@pytest.mark.parametrize("known", ["id", "tag"])
def test_a_new_process_finds_the_job(ibm: IBMService, tmp_path: Any, known: str) -> None:
    from journals import cut_after

    use = Use(ibm, journal=Journal(tmp_path / "journal"))
    assert_right(use)
    use.estimator.journal.close()
    cut_after(tmp_path / "journal", "submitted" if known == "id" else "intended")
    again = Use(ibm, journal=Journal(tmp_path / "journal"))
    assert_right(again)
    assert len(ibm.jobs) == 1


def test_a_job_that_is_gone_is_asked_about(ibm: IBMService, tmp_path: Any) -> None:
    """It was paid for; whether to pay again is for the user to say."""
    from journals import cut_after

    use = Use(ibm, journal=Journal(tmp_path / "journal"))
    assert_right(use)
    use.estimator.journal.close()
    cut_after(tmp_path / "journal", "submitted")
    ibm.jobs[0].instance = "another account's"
    again = Use(ibm, journal=Journal(tmp_path / "journal"))
    with pytest.raises(UnknownJobError, match="job-0 is still there.*Nothing was submitted"):
        again.evs()
    assert len(ibm.jobs) == 1
    again.estimator.journal.position = 0
    jobs = replace(again.estimator.jobs, retry=again.time.retry(lost="again"))
    again.estimator = DispatchingEstimator(again.inner, jobs)
    assert float(again.evs()) == pytest.approx(math.cos(0.7), abs=1e-10)
    assert len(ibm.jobs) == again.estimator.used.jobs == 2


def test_a_job_in_another_instance_than_the_one_used_last(ibm: IBMService) -> None:
    service = ibm.client(None)
    backend = ibm.backend(service, "two")
    use = Use(ibm, backend)
    ibm.faults["submit"] = [Fault(None, done=True)]
    listing = service.jobs

    def elsewhere(**options: Any) -> Any:
        """Another thread has asked for something in between."""
        if not elsewhere.calls:
            listing(instance=CRN("one"))
        elsewhere.calls += 1
        return listing(**options)

    elsewhere.calls = 0
    service.jobs = elsewhere
    assert_right(use)
    assert [j.instance for j in ibm.jobs] == [CRN("two")]


# -- use ---------------------------------------------------------------------------------------


def test_a_step_of_training(ibm: IBMService) -> None:
    """With the first answer of each pass lost: value, gradient, two jobs."""
    module = TorchQuantumModule(
        rotation()[0], "Z", backend=ibm.backend(), shots=4096, initial_weights=[0.7]
    )
    ibm.faults["submit"] = [Fault(None, done=True)]
    value = module()
    ibm.faults["submit"] = [Fault(None, done=True)]
    value.sum().backward()
    torch.testing.assert_close(value.item(), math.cos(0.7), rtol=0, atol=1e-6)  # single precision
    torch.testing.assert_close(module.weight.grad.item(), -math.sin(0.7), rtol=0, atol=1e-6)
    assert list(ibm.paid().values()) == [1, 1] and module.estimator.used.jobs == 2


def test_threads_that_share_an_estimator_do_not_mix_up_tags(ibm: IBMService) -> None:
    """Each job has the tag of the dispatching estimator whose PUB it is, and no other's."""
    use, count = Use(ibm), 5
    estimators = [DispatchingEstimator(use.inner) for _ in range(4)]
    barrier, errors = threading.Barrier(len(estimators)), []

    def work(owner: int) -> None:
        try:
            barrier.wait(30)
            for k in range(count):
                angle = 100 * owner + k
                data = estimators[owner].run([use.pub(angle)]).result()[0].data
                assert float(data.evs) == pytest.approx(math.cos(angle), abs=1e-10)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(estimators))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and len(ibm.jobs) == len(estimators) * count
    tags: dict[int, set[str]] = {}
    for job in ibm.jobs:
        assert len(job.tags) == 2
        owner = round(float(job.pub.parameter_values.as_array().ravel()[0])) // 100
        tags.setdefault(owner, set()).add(job.tags[-1].rsplit("-", 2)[0])
    assert sorted(map(len, tags.values())) == [1] * len(estimators)
    assert len(set.union(*tags.values())) == len(estimators)
