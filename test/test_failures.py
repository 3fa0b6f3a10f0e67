# SPDX-License-Identifier: Apache-2.0
"""What is made of each error that a service raises, and how long it is tried again."""

from __future__ import annotations

import json

import numpy as np
import pytest
from circuits import rotation
from families import both
from faults import (
    FakeTime,
    IBMRuntimeError,
    Plan,
    RequestsApiError,
    RuntimeInvalidStateError,
    RuntimeJobFailureError,
    RuntimeJobMaxTimeoutError,
    RuntimeJobTimeoutError,
    failed_job,
    hidden,
)
from qiskit.primitives import StatevectorEstimator
from qiskit.providers import JobError as QiskitJobError
from qiskit.providers import JobTimeoutError

from qiskit_torch_bridge.exceptions import JobError
from qiskit_torch_bridge.jobs import DispatchingEstimator, Jobs, Retry, verdict_on
from qiskit_torch_bridge.jobs.retry import leaves_job_running, refuses

requests = pytest.importorskip("requests")


class IBMNotAuthorizedError(Exception):
    """As the runtime names it."""


def chained(outer: Exception, cause: Exception) -> Exception:
    outer.__cause__ = cause
    return outer


CASES = [
    *((failed_job(code), "transient", False) for code in (1006, 1008, 1010, 1011)),
    *((failed_job(code), "permanent", False) for code in (1000, 1517, 1603, 9999)),
    (RuntimeJobFailureError("1006: internal error"), "transient", False),
    (RuntimeJobFailureError("Unable to retrieve job result. None"), "permanent", False),
    (QiskitJobError("Error code 1011; lost"), "transient", False),
    (RuntimeJobMaxTimeoutError("Error code 1305; ran too long"), "too long", False),
    (RuntimeJobMaxTimeoutError("no code at all"), "too long", False),
    (failed_job(1305), "too long", False),
    (RuntimeInvalidStateError("Job was cancelled."), "permanent", False),
    (RuntimeJobTimeoutError("Timed out waiting for job"), "waiting", True),
    (JobTimeoutError("Timed out waiting for job"), "waiting", True),
    (TimeoutError(), "waiting", True),
    *(
        (RequestsApiError("no", status), "transient", True)
        for status in (-1, 408, 425, 429, 500, 502, 503)
    ),
    *((RequestsApiError("no", status), "permanent", True) for status in (400, 401, 403, 404, 409)),
    (hidden(503), "transient", True),
    (hidden(-1), "transient", True),
    (hidden(401), "permanent", True),
    (ConnectionError("lost"), "transient", True),
    (ConnectionResetError("lost"), "transient", True),
    (requests.exceptions.ConnectionError("lost"), "transient", True),
    (requests.exceptions.ReadTimeout("slow"), "transient", True),
    (chained(RuntimeError("failed"), ConnectionError("lost")), "transient", True),
    (chained(RuntimeError("failed"), RequestsApiError("no", 401)), "permanent", True),
    (chained(RuntimeJobFailureError("odd"), failed_job(1006)), "transient", False),
    # Errors that say nothing of the job: it may go on, and is not to be paid for again.
    (IBMRuntimeError("Failed to run program"), "permanent", True),
    (IBMNotAuthorizedError("the token has expired"), "permanent", True),
    (ValueError("1006 is no code here"), "permanent", True),
    (OSError("disk"), "permanent", True),
]


@pytest.mark.parametrize(
    ("error", "verdict", "runs_on"), CASES, ids=[f"{type(e).__name__}-{v}" for e, v, _ in CASES]
)
def test_verdicts(error, verdict, runs_on):
    assert verdict_on(error) == verdict
    assert leaves_job_running(error) is runs_on


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        *((RequestsApiError("no", status), True) for status in (400, 401, 404, 409, 429)),
        *((RequestsApiError("no", status), False) for status in (-1, 408, 425, 500, 503)),
        (hidden(401), True),
        (hidden(503), False),
        (ConnectionError("lost"), False),
        (TimeoutError(), False),
        # What checks raise, before anything is sent.
        (ValueError("odd"), True),
        (TypeError("odd"), True),
        (ImportError("odd"), True),
        (chained(RuntimeError("odd"), ValueError("odd")), False),
        (IBMRuntimeError("The session is closed."), True),
        # An answer that cannot be read, and errors that may come at any time.
        (requests.exceptions.JSONDecodeError("odd", "", 0), False),
        (json.JSONDecodeError("odd", "", 0), False),
        (UnicodeDecodeError("utf-8", b"", 0, 1, "odd"), False),
        (chained(ValueError("odd"), ConnectionError("lost")), False),
        (OSError("disk"), False),
        (RuntimeError("odd"), False),
        (KeyError("id"), False),
        (ConnectionRefusedError(), False),
    ],
)
def test_only_an_answer_says_that_a_job_was_not_taken(error, refused):
    assert refuses(error) is refused


def test_numbers_in_a_message_are_no_codes_if_it_names_one():
    assert verdict_on(RuntimeJobFailureError("Error code 1517; 1006 gates")) == "permanent"


def test_an_unrelated_error_that_was_being_handled_decides_nothing():
    try:
        try:
            raise ConnectionError("lost")
        except ConnectionError:
            raise ValueError("wrong option")  # noqa: B904 - the context is the point
    except ValueError as error:
        assert verdict_on(error) == "permanent"


def test_circular_causes_end():
    a, b = RuntimeError("a"), RuntimeError("b")
    a.__cause__, b.__cause__ = b, a
    assert verdict_on(a) == "permanent"


# -- delays ------------------------------------------------------------------------------------


def test_delays_grow_are_jittered_and_capped():
    time = FakeTime()
    retry = time.retry(first_delay=2.0, longest_delay=50.0, rng=np.random.default_rng(1))
    whole = [min(2.0 * 2**k, 50.0) for k in range(12)]
    for attempt in range(1, 13):
        for _ in range(50):
            retry.pause(attempt)
    shares = np.reshape(time.delays, (12, 50)) / np.array(whole)[:, None]
    assert shares.min() >= 0.5 and shares.max() <= 1.0
    # Fifty uniform numbers leave a fifth of their range empty at one end with 0.8**50 = 1e-5.
    assert (shares.min(axis=1) < 0.6).all() and (shares.max(axis=1) > 0.9).all()


def test_delays_do_not_overflow():
    time = FakeTime()
    time.retry(longest_delay=60.0).pause(5000)
    assert 30 <= time.delays[0] <= 60


def test_two_clients_wait_differently():
    delays = []
    for _ in range(2):
        time = FakeTime()
        time.retry().pause(1)
        delays += time.delays
    assert delays[0] != delays[1]


def test_defaults_really_wait():
    import time

    assert Retry().sleep is time.sleep and Retry().clock is time.monotonic


# -- attempts and deadline ---------------------------------------------------------------------


def run(family, service, retry, rows=3):
    return family.dispatching(service, Jobs(retry=retry)).run([family.pub((rows,))]).result()


@both
def test_as_many_attempts_as_allowed(family, tmp_path):
    for failures, attempts in ((4, 5), (0, 1)):
        plan, time = Plan(), FakeTime()
        plan.on_submission[0] = [ConnectionError("lost")] * failures
        service = family.service(tmp_path / "ledger", plan=plan)
        run(family, service, time.retry(attempts=attempts, lookup=0))
        assert len(time.delays) == failures
    assert time.now == 0


@both
def test_one_more_failure_raises_with_its_cause(family, tmp_path):
    plan, time = Plan(), FakeTime()
    errors = [ConnectionError(str(k)) for k in range(5)]
    plan.on_submission[0] = list(errors)
    service = family.service(tmp_path / "ledger", plan=plan)
    with pytest.raises(JobError, match="none was submitted") as caught:
        run(family, service, time.retry(attempts=5, lookup=0))
    assert caught.value.__cause__ is errors[-1] and caught.value.job_ids == ()
    assert len(time.delays) == 4 and time.delays[3] > time.delays[0] * 4 * 0.999
    assert service.ledger.jobs == []


@both
def test_the_deadline_ends_submission(family, tmp_path):
    plan, time = Plan(), FakeTime()
    plan.on_submission[0] = [RequestsApiError("busy", 429)] * 1000
    service = family.service(tmp_path / "ledger", plan=plan)
    with pytest.raises(JobError):
        run(family, service, time.retry(attempts=1000, deadline=300.0))
    assert 300 < time.now <= 360  # at most one longest delay late


@both
def test_the_deadline_ends_waiting_and_leaves_the_job(family, tmp_path):
    plan, time = Plan(), FakeTime()
    plan.on_result[0] = [RuntimeJobTimeoutError("slow")] * 10_000
    service = family.service(tmp_path / "ledger", plan=plan)
    with pytest.raises(JobError, match="job-0 was not done within 3600 s.* goes on") as caught:
        run(family, service, time.retry(deadline=3600.0))
    assert caught.value.job_ids == ("job-0",)
    assert isinstance(caught.value.__cause__, RuntimeJobTimeoutError)
    assert 3600 < time.now <= 3660 and len(service.ledger.jobs) == 1


@both
def test_job_ids_name_the_jobs_that_failed_before(family, tmp_path):
    plan, time = Plan(), FakeTime()
    plan.on_result = {0: [failed_job(1006)], 1: [failed_job(1010)], 2: [failed_job(9999)]}
    with pytest.raises(JobError, match="job-0, job-1, job-2") as caught:
        run(family, family.service(tmp_path / "ledger", plan=plan), time.retry())
    assert caught.value.job_ids == ("job-0", "job-1", "job-2")
    assert "9999" in str(caught.value.__cause__)


def test_a_job_of_this_process_that_lost_its_connection_is_made_again():
    """Qiskit's own jobs are over when they raise: asking them again raises the same for ever."""

    class Flaky(StatevectorEstimator):
        runs = 0

        def _run(self, pubs):
            self.runs += 1
            if self.runs == 1:
                raise ConnectionError("lost")
            return super()._run(pubs)

    time, flaky = FakeTime(), Flaky()
    circuit, theta = rotation()
    job = DispatchingEstimator(flaky, Jobs(retry=time.retry())).run(
        [(circuit, "Z", {(theta,): [[0.0]]})]
    )
    assert job.result()[0].data.evs.tolist() == [1.0]
    assert flaky.runs == 2 and len(time.delays) == 1
