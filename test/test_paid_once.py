# SPDX-License-Identifier: Apache-2.0
"""No job is paid for twice: lost answers, tags among threads, budgets, cancelled requests."""

from __future__ import annotations

import gc
import itertools
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from circuits import rotation
from families import SAMPLER, Family, both
from faults import FakeTime, Ledger, Plan, RequestsApiError, SamplerService, Service, failed_job
from qiskit.primitives import (
    BackendEstimatorV2,
    BackendSamplerV2,
    BaseEstimatorV2,
    BaseSamplerV2,
    StatevectorEstimator,
    StatevectorSampler,
)
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.providers.basic_provider import BasicSimulator
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit_aer import AerSimulator
from qiskit_aer.primitives import EstimatorV2 as AerEstimator
from qiskit_aer.primitives import SamplerV2 as AerSampler

from qiskit_torch_bridge import TorchQuantumModule, Tracker
from qiskit_torch_bridge.backends import ExecutorEstimator
from qiskit_torch_bridge.backends.simulators import ExecutorSampler
from qiskit_torch_bridge.exceptions import (
    BudgetError,
    ExecutionError,
    InputError,
    JobError,
    JournalError,
    UnknownJobError,
)
from qiskit_torch_bridge.jobs import (
    Budget,
    DispatchingEstimator,
    DispatchingSampler,
    Jobs,
    Journal,
    Retry,
)
from qiskit_torch_bridge.jobs import journal as entries_of
from qiskit_torch_bridge.jobs.journal import RequestLog, RequestRecord
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator, BatchedStatevectorSampler
from qiskit_torch_bridge.primitives.capabilities import costs_nothing
from qiskit_torch_bridge.primitives.usage import Usage


def pub_of(rows: int = 3, begin: float = 0.0) -> EstimatorPub:
    circuit, theta = rotation()
    angles = begin + np.linspace(0, 1, rows)[:, None]
    return EstimatorPub.coerce((circuit, "Z", {(theta,): angles}))


class _Remote:
    """Of a kind that nobody knows: it takes jobs, and has no index of them."""

    inside: Any

    def __init__(self, *errors: BaseException, environment: Any = None) -> None:
        self.errors = list(errors)  # raised after a job was taken
        self.options = SimpleNamespace(
            environment=SimpleNamespace(job_tags=None) if environment is None else environment
        )
        self.taken: list[tuple[Any, list[str]]] = []

    def run(self, pubs: Any, **options: Any) -> Any:
        (pub,) = pubs
        self.taken.append((pub, self.options.environment.job_tags))
        if self.errors:
            raise self.errors.pop(0)
        return self.inside().run([pub])


class Remote(_Remote, BaseEstimatorV2):
    inside = BatchedStatevectorEstimator


class RemoteSampler(_Remote, BaseSamplerV2):
    inside = SAMPLER.sure


def remote_of(family: Family, *errors: BaseException) -> Any:
    return (RemoteSampler if family is SAMPLER else Remote)(*errors)


class _Late:
    """A service whose index shows a job some seconds after it was taken."""

    def __init__(self, ledger: Any, time: FakeTime, lag: float, plan: Plan) -> None:
        super().__init__(ledger, plan=plan)
        self.time, self.lag, self.taken_at = time, lag, {}

    def run(self, pubs: Any, **options: Any) -> Any:
        self.taken_at.setdefault(self.job_tag, self.time.now)
        return super().run(pubs, **options)

    def find_job(self, tag: str) -> Any:
        due = self.time.now - self.taken_at.get(tag, 0.0) >= self.lag
        return super().find_job(tag) if due else None


class Late(_Late, Service):
    pass


class LateSampler(_Late, SamplerService):
    pass


# -- lost answers ------------------------------------------------------------------------------

LOST = [
    OSError("the file of the certificate"),
    RuntimeError("no event loop"),
    TimeoutError("no answer"),
    ConnectionError("lost"),
    ConnectionResetError("lost"),
    RequestsApiError("no", 408),
    RequestsApiError("no", 503),
    KeyError("id"),
]


@both
@pytest.mark.parametrize("error", LOST, ids=lambda e: type(e).__name__)
def test_where_nothing_can_tell_the_user_is_asked(error: Exception, family: Family) -> None:
    remote, time = remote_of(family, error), FakeTime()
    request = family.dispatching(remote, Jobs(retry=time.retry()))
    with pytest.raises(UnknownJobError, match="cannot be found out") as caught:
        request.run([family.pub()])
    ((_, tags),) = remote.taken
    assert caught.value.tag == tags[-1] and caught.value.tag in str(caught.value)
    assert caught.value.__cause__ is error and str(error) in str(caught.value)
    assert "none was submitted" not in str(caught.value)
    assert isinstance(caught.value, JobError) and caught.value.job_ids == ()
    assert time.delays == []


@both
@pytest.mark.parametrize("error", LOST[2:7], ids=lambda e: type(e).__name__)
def test_the_user_may_choose_to_pay_again(error: Exception, family: Family) -> None:
    """Both submissions count against the budget, since both may have been taken."""
    remote, time, pub = remote_of(family, error), FakeTime(), family.pub()
    retry = time.retry(lost="again")
    dispatching = family.dispatching(remote, Jobs(retry=retry, budget=Usage(jobs=2)))
    with Tracker() as tracker:
        (found,) = family.values_of(dispatching, pub)
    assert (found == family.truth(pub)[0]).all()
    assert len(remote.taken) == dispatching.used.jobs == 2 and tracker.usage.jobs == 1
    with pytest.raises(BudgetError):
        dispatching.run([pub])


def test_paying_again_has_its_limits() -> None:
    remote, time = Remote(*(ConnectionError("lost") for _ in range(9))), FakeTime()
    estimator = DispatchingEstimator(remote, Jobs(retry=time.retry(lost="again", attempts=3)))
    with pytest.raises(JobError, match="for good after 3.*perhaps one with the tag") as caught:
        estimator.run([pub_of()])
    assert len(remote.taken) == 3 and "none was submitted" not in str(caught.value)


@pytest.mark.parametrize("error", [ValueError("wrong"), TypeError("wrong"), ImportError("none")])
def test_what_is_noticed_before_anything_is_sent_is_no_lost_answer(error: Exception) -> None:
    remote = Remote(error)
    with pytest.raises(JobError, match="none was submitted") as caught:
        DispatchingEstimator(remote).run([pub_of()])
    assert type(caught.value) is JobError


@pytest.mark.parametrize("error", LOST[:2], ids=lambda e: type(e).__name__)
def test_a_lost_answer_is_not_sent_elsewhere(error: Exception, tmp_path: Any) -> None:
    """The error alone says nothing of the job; the other estimator is for jobs that are not."""
    remote, other = Remote(error), Remote()
    with pytest.raises(UnknownJobError):
        DispatchingEstimator([remote, other]).run([pub_of(rows=1)])
    assert len(remote.taken) == 1 and other.taken == []

    plan, ledger = Plan(), Ledger(tmp_path / "ledger")
    plan.on_answer[0] = error
    services = [Service(ledger, name=name, plan=plan) for name in "ab"]
    job = DispatchingEstimator(services).run([pub_of(rows=1)])
    assert job.job_ids == ("a-0",) and job.result() and len(ledger.jobs) == 1


@both
@pytest.mark.parametrize("lag", [0.0, 2.0, 29.0])
@pytest.mark.parametrize("error", LOST, ids=lambda e: type(e).__name__)
def test_the_index_is_waited_for(
    error: Exception, lag: float, family: Family, tmp_path: Any
) -> None:
    time, plan = FakeTime(), Plan()
    plan.on_answer[0] = error
    late = LateSampler if family is SAMPLER else Late
    service = late(tmp_path / "ledger", time, lag, plan)
    estimator = family.dispatching(service, Jobs(retry=time.retry()))
    estimator.run([family.pub()]).result()
    assert len(service.ledger.jobs) == estimator.used.jobs == 1 and lag <= time.now <= 30.0


def test_it_is_waited_for_as_long_as_the_user_says(tmp_path: Any) -> None:
    """A job that shows up later than that is paid for twice; one that was never there, once."""
    for lookup, lag, jobs in ((100.0, 80.0, 1), (10.0, 80.0, 2)):
        time, plan = FakeTime(), Plan()
        plan.on_answer[0] = ConnectionError("lost")
        service = Late(tmp_path / f"ledger-{lookup}", time, lag, plan)
        DispatchingEstimator(service, Jobs(retry=time.retry(lookup=lookup))).run(
            [pub_of()]
        ).result()
        assert len(service.ledger.jobs) == jobs


@pytest.mark.parametrize("written", [True, False])
def test_asking_twice_looks_again(tmp_path: Any, written: bool) -> None:
    """Once the service answers again, the job is found."""
    plan, time = Plan(), FakeTime()
    plan.on_result[0] = [failed_job(1006)]
    plan.on_answer[1] = ConnectionError("lost")
    service = Service(tmp_path / "ledger", plan=plan)
    journal = Journal(tmp_path / "journal") if written else None
    job = DispatchingEstimator(service, Jobs(retry=time.retry(), journal=journal)).run([pub_of()])
    find = service.find_job
    service.find_job = lambda tag: (_ for _ in ()).throw(RequestsApiError("no", 401))
    with pytest.raises(UnknownJobError, match="job-0"):
        job.result()
    service.find_job = find
    assert job.result() and job.job_ids == ("job-0", "job-1") and len(service.ledger.jobs) == 2


def test_an_intention_without_a_job_is_asked_about_if_nothing_can_tell(tmp_path: Any) -> None:
    """The process may have been killed after the job was sent."""
    remote = Remote(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        DispatchingEstimator(remote, Jobs(journal=tmp_path / "journal")).run([pub_of()])
    gc.collect()  # the estimator is in a cycle with the error, and holds the file
    again = DispatchingEstimator(Remote(), Jobs(journal=tmp_path / "journal"))
    with pytest.raises(UnknownJobError) as caught:
        again.run([pub_of()])
    assert caught.value.tag == remote.taken[0][1][-1] and again.estimators[0].taken == []


@pytest.mark.parametrize("killed", [False, True])
def test_a_job_that_has_failed_leaves_no_doubt_until_it_is_replaced(
    tmp_path: Any, killed: bool
) -> None:
    """That it failed is written down, and so is that another job is to take its place."""

    class Failing(Remote):
        def run(self, pubs: Any, *, precision: float | None = None) -> Any:
            def fail() -> Any:
                raise failed_job(1006 if killed else 1517)

            if len(self.taken):
                self.errors = [KeyboardInterrupt()]  # once it was taken
            super().run(pubs)
            return SimpleNamespace(result=fail, job_id=lambda: "1")

    first = DispatchingEstimator(
        Failing(), Jobs(retry=FakeTime().retry(), journal=tmp_path / "journal")
    )
    with pytest.raises(KeyboardInterrupt if killed else JobError):
        first.run([pub_of()]).result()
    first.journal.close()
    again = DispatchingEstimator(Remote(), Jobs(journal=tmp_path / "journal"))
    if killed:
        with pytest.raises(UnknownJobError) as caught:
            again.run([pub_of()])
        assert caught.value.tag == first.estimators[0].taken[1][1][-1]
    else:
        again.run([pub_of()]).result()
    assert len(again.estimators[0].taken) == (0 if killed else 1)


@pytest.mark.parametrize("known", [True, False])
def test_what_may_have_been_written_down_is_looked_for_once(tmp_path: Any, known: bool) -> None:
    """After a damaged end nothing says that there is a job: it is not waited or asked for."""

    class Continued(RequestLog):
        def _entry(self, number: int, digest: str) -> RequestRecord:
            return RequestRecord(number, f"run-{number}", digest, unwritten=True)

    time, service = FakeTime(), Service(tmp_path / "ledger")
    if known:
        service.job_tag = "run-0-0"
        service.run([pub_of()])
    for one, jobs in ((service, 1), (Remote(), 0)):
        continued = Jobs(journal=Continued(), retry=time.retry())
        estimator = DispatchingEstimator(one, continued)
        evs = estimator.run([pub_of()]).result()[0].data.evs
        np.testing.assert_allclose(evs, np.cos(np.linspace(0, 1, 3)), rtol=0, atol=1e-12)
        assert time.delays == [] and estimator.used.jobs == 1
        assert len(service.ledger.jobs) == 1 and len(getattr(one, "taken", [])) == 1 - jobs


def test_nothing_is_submitted_that_cannot_be_written_down() -> None:
    class Full(RequestLog):
        def check(self) -> None:
            raise JournalError("the disk is full")

    remote = Remote()
    estimator = DispatchingEstimator(remote, Jobs(journal=Full()))
    with pytest.raises(JournalError, match="full"):
        estimator.run([pub_of()])
    assert remote.taken == []


LOCAL = {
    "statevector": StatevectorEstimator,
    "batched": BatchedStatevectorEstimator,
    "aer": AerEstimator,
    "backend, aer": lambda: BackendEstimatorV2(backend=AerSimulator()),
    "backend, fake": lambda: BackendEstimatorV2(backend=GenericBackendV2(2, seed=1)),
    "backend, basic": lambda: BackendEstimatorV2(backend=BasicSimulator()),
    "several": lambda: DispatchingEstimator([AerEstimator(), StatevectorEstimator()]),
    "statevector sampler": StatevectorSampler,
    "batched sampler": BatchedStatevectorSampler,
    "aer sampler": AerSampler,
    "backend sampler, aer": lambda: BackendSamplerV2(backend=AerSimulator()),
    "backend sampler, fake": lambda: BackendSamplerV2(backend=GenericBackendV2(2, seed=1)),
    "several samplers": lambda: DispatchingSampler([AerSampler(), StatevectorSampler()]),
}


@pytest.mark.parametrize("name", LOCAL)
def test_simulators_here_cost_nothing(name: str) -> None:
    primitive = LOCAL[name]()
    assert costs_nothing(primitive)
    executor = ExecutorSampler if "sampler" in name else ExecutorEstimator
    with ThreadPoolExecutor(1) as pool:
        assert costs_nothing(executor(pool, primitive))


def test_everything_else_may_cost(tmp_path: Any) -> None:
    assert not costs_nothing(Remote())
    assert not costs_nothing(Service(tmp_path / "ledger"))
    assert not costs_nothing(DispatchingEstimator([StatevectorEstimator(), Remote()]))
    assert not costs_nothing(RemoteSampler())
    assert not costs_nothing(SamplerService(tmp_path / "ledger"))
    assert not costs_nothing(DispatchingSampler([StatevectorSampler(), RemoteSampler()]))
    device = GenericBackendV2(2, seed=1)
    foreign = type("Device", (type(device).__mro__[1],), {"__module__": "provider"})
    assert not costs_nothing(SimpleNamespace(backend=foreign))


@pytest.mark.parametrize("error", LOST[2:7], ids=lambda e: type(e).__name__)
def test_simulators_here_are_just_asked_again(error: Exception) -> None:
    class Flaky(StatevectorEstimator):
        runs = 0

        def run(self, pubs: Any, *, precision: float | None = None) -> Any:
            self.runs += 1
            if self.runs == 1:
                raise error
            return super().run(pubs, precision=precision)

    time, flaky = FakeTime(), Flaky()
    evs = DispatchingEstimator(flaky, Jobs(retry=time.retry())).run([pub_of()]).result()[0].data.evs
    np.testing.assert_allclose(evs, np.cos(np.linspace(0, 1, 3)), rtol=0, atol=1e-12)
    assert flaky.runs == 2 and len(time.delays) == 1


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), "5", True, None])
def test_how_long_to_look_is_checked(value: Any) -> None:
    with pytest.raises(InputError, match="lookup"):
        Retry(lookup=value)


@pytest.mark.parametrize("value", [None, "pay", True, 1])
def test_what_to_do_about_lost_jobs_is_checked(value: Any) -> None:
    with pytest.raises(InputError, match="lost"):
        Retry(lost=value)


# -- what is no job ----------------------------------------------------------------------------


@pytest.mark.parametrize("returned", [None, 5, "job-1", Ellipsis], ids=repr)
@pytest.mark.parametrize("base", [Remote, StatevectorEstimator])
def test_run_must_return_a_job(returned: Any, base: type) -> None:
    class Wrong(base):  # type: ignore[misc]
        runs = 0

        def run(self, pubs: Any, *, precision: float | None = None) -> Any:
            self.runs += 1
            assert self.runs < 5
            return returned

    wrong = Wrong()
    estimator = DispatchingEstimator(wrong)
    with pytest.raises(JobError, match=r"run\(\) of Wrong to return a job.*got"):
        estimator.run([pub_of()])
    assert wrong.runs == estimator.used.jobs == 1

    direct = Wrong()
    module = TorchQuantumModule(rotation()[0], "Z", estimator=direct)
    with pytest.raises(ExecutionError):
        module()
    assert direct.runs == 1


# -- budgets -----------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_what_is_tried_again_counts_before_it_is_tried(
    tmp_path: Any, limit: int, family: Family
) -> None:
    plan, time = Plan(), FakeTime()
    plan.on_result = {k: [failed_job(1006)] for k in range(3)}
    service = family.service(tmp_path / "ledger", plan=plan)
    jobs = Jobs(retry=time.retry(), budget=Usage(jobs=limit))
    estimator = family.dispatching(service, jobs)
    with pytest.raises(BudgetError, match=rf"{limit} of the budget of {limit}.*job-0"):
        estimator.run([family.pub()]).result()
    assert len(service.ledger.jobs) == estimator.used.jobs == limit


@both
def test_what_is_done_elsewhere_counts_before_it_is_sent(tmp_path: Any, family: Family) -> None:
    plan, ledger = Plan(), Ledger(tmp_path / "ledger")
    plan.on_result = {0: [failed_job(1517)]}
    services = [family.service(ledger, name=name, plan=plan) for name in "ab"]
    estimator = family.dispatching(services, Jobs(budget=Usage(points=1)))
    with pytest.raises(BudgetError, match="1 of the budget of 1 are used.*a-0"):
        estimator.run([family.pub((1,))]).result()
    assert len(ledger.jobs) == 1


@both
def test_halves_count_before_they_are_sent(tmp_path: Any, family: Family) -> None:
    service = family.service(tmp_path / "ledger", most_rows=2)
    estimator = family.dispatching(service, Jobs(budget=Usage(jobs=2)))
    with pytest.raises(BudgetError, match="2 of the budget of 2"):
        estimator.run([family.pub((4,))]).result()
    assert len(service.ledger.jobs) == 2


def test_what_is_looked_for_counts_meanwhile(tmp_path: Any) -> None:
    """Another that shares the budget must not use the room of a job that may have been taken."""
    time, plan = FakeTime(), Plan()
    plan.on_answer[0] = ConnectionError("lost")
    service = Late(tmp_path / "ledger", time, 2.0, plan)
    budget = Budget(Usage(jobs=1))
    other = Remote()
    refused = []

    def sleep(seconds: float) -> None:
        time.sleep(seconds)
        with pytest.raises(BudgetError):
            DispatchingEstimator(other, Jobs(budget=budget)).run([pub_of()])
        refused.append(seconds)

    retry = Retry(sleep=sleep, clock=lambda: time.now)
    DispatchingEstimator(service, Jobs(retry=retry, budget=budget)).run([pub_of()])
    assert len(refused) >= 2 and other.taken == [] and budget.used.jobs == 1


def test_what_was_not_taken_does_not_count(tmp_path: Any) -> None:
    plan, time = Plan(), FakeTime()
    plan.on_submission[0] = [ConnectionError("lost"), RequestsApiError("no", 503)]
    service = Service(tmp_path / "ledger", plan=plan)
    estimator = DispatchingEstimator(service, Jobs(retry=time.retry(), budget=Usage(jobs=1)))
    estimator.run([pub_of()]).result()
    assert len(service.ledger.jobs) == estimator.used.jobs == 1


def test_a_refused_submission_does_not_count(tmp_path: Any) -> None:
    plan, time = Plan(), FakeTime()
    plan.on_submission[0] = [RequestsApiError("busy", 429)] * 3
    service = Service(tmp_path / "ledger", plan=plan)
    estimator = DispatchingEstimator(service, Jobs(retry=time.retry(), budget=Usage(jobs=1)))
    estimator.run([pub_of()]).result()
    assert len(service.ledger.jobs) == estimator.used.jobs == 1


# -- tags --------------------------------------------------------------------------------------


class Watched(SimpleNamespace):
    """Options that someone else looks at, and that take their time."""

    def __setattr__(self, name: str, value: Any) -> None:
        threading.Event().wait(0.0005)
        super().__setattr__(name, value)


@pytest.mark.parametrize("shared", ["estimator", "options", "environment", "job_tag"])
def test_threads_do_not_mix_up_tags(shared: str) -> None:
    """Six dispatching estimators with ten requests each: a job has the tag of its own request."""
    environment = Watched(job_tags=["mine"])
    if shared in ("estimator", "job_tag"):
        remotes = [Remote(environment=environment)] * 6
    else:
        remotes = [Remote(environment=environment) for _ in range(6)]
    if shared == "options":
        for remote in remotes:
            remote.options = remotes[0].options
    if shared == "job_tag":
        remotes[0].options.environment = _TagHolder(remotes[0])
        remotes[0].job_tag = "mine"
    estimators = [DispatchingEstimator(remote) for remote in remotes]
    barrier = threading.Barrier(len(estimators))

    def work(owner: int) -> None:
        barrier.wait(30)
        for k in range(10):
            estimators[owner].run([pub_of(begin=100 * owner + k)])

    with ThreadPoolExecutor(len(estimators)) as pool:
        list(pool.map(work, range(len(estimators))))
    taken = list(itertools.chain(*(r.taken for r in dict.fromkeys(remotes))))
    own: dict[int, set[str]] = {}
    numbers = set()
    for pub, tags in taken:
        owner = int(pub.parameter_values.as_array().ravel()[0]) // 100
        own.setdefault(owner, set()).add(tags[-1].rsplit("-", 2)[0])
        numbers.add(tags[-1])
        assert len(tags) == (1 if shared == "job_tag" else 3)
    assert len(taken) == len(numbers) == 60
    assert all(len(names) == 1 for names in own.values()) and len(set.union(*own.values())) == 6
    assert environment.job_tags == ["mine"]
    if shared == "job_tag":
        assert remotes[0].job_tag == "mine"


class _TagHolder:
    """Shows ``job_tag`` where :class:`Remote` looks for tags, and has no tags to set."""

    def __init__(self, remote: Any) -> None:
        object.__setattr__(self, "remote", remote)

    @property
    def job_tags(self) -> list[str]:
        return [self.remote.job_tag]


@pytest.mark.parametrize("before", [None, [], ["mine"]])
@pytest.mark.parametrize("error", [ValueError("wrong"), KeyboardInterrupt(), OSError("lost")])
def test_tags_are_as_before_after_an_error(before: Any, error: BaseException) -> None:
    remote = Remote(error)
    remote.options.environment.job_tags = before
    with pytest.raises((JobError, KeyboardInterrupt)):
        DispatchingEstimator(remote).run([pub_of()])
    assert remote.options.environment.job_tags == before


def test_one_inside_another_and_by_itself_do_not_wait_for_each_other() -> None:
    """Two locks taken in both orders would."""
    remote = Remote(environment=Watched(job_tags=None))
    inner = DispatchingEstimator(remote)
    outer = DispatchingEstimator(inner)
    with ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(lambda e: [e.run([pub_of()]) for _ in range(10)], estimator)
            for estimator in (inner, outer)
        ]
        assert all(len(job.result(60)) == 10 for job in jobs)
    assert len({tags[-1] for _, tags in remote.taken}) == len(remote.taken) == 20
    assert all(len(tags) == 2 for _, tags in remote.taken)


def test_locks_live_as_long_as_what_they_are_for() -> None:
    gc.collect()
    before = len(entries_of._LOCKS)
    remote = Remote(environment=Watched(job_tags=None))
    DispatchingEstimator(remote).run([pub_of()])
    assert len(entries_of._LOCKS) == before + 1
    gone = weakref.ref(remote.options.environment)
    del remote
    gc.collect()
    assert gone() is None and len(entries_of._LOCKS) == before


# -- waiting and cancelling --------------------------------------------------------------------


def test_two_that_wait_for_a_request_submit_it_once(tmp_path: Any) -> None:
    plan, time = Plan(), FakeTime()
    plan.on_result[0] = [failed_job(1006)]
    service = Service(tmp_path / "ledger", plan=plan)
    asked, barrier = service.retrieve_job, threading.Barrier(2)
    job = DispatchingEstimator(service, Jobs(retry=time.retry())).run([pub_of()])

    def wait() -> Any:
        barrier.wait(30)
        return job.result()

    with ThreadPoolExecutor(2) as pool:
        first, second = (pool.submit(wait) for _ in range(2))
    assert first.result() is second.result() and len(service.ledger.jobs) == 2
    assert asked == service.retrieve_job


def test_cancelled_requests_submit_nothing_more(tmp_path: Any) -> None:
    """Neither again, nor elsewhere, whatever their jobs say."""
    plan, ledger, time = Plan(), Ledger(tmp_path / "ledger"), FakeTime()
    plan.on_result = {k: [failed_job(1006)] for k in range(2)}
    services = [Service(ledger, name=name, plan=plan) for name in "ab"]
    cancelled = []
    job = DispatchingEstimator(services, Jobs(retry=time.retry())).run([pub_of(rows=2)])
    for part_job in job._part_jobs:
        part_job.job.cancel = lambda job=part_job.job: cancelled.append(job.job_id())
    job.cancel()
    with pytest.raises(JobError, match="was cancelled.*a-0, b-1"):
        job.result()
    assert cancelled == ["a-0", "b-1"] and len(ledger.jobs) == 2
