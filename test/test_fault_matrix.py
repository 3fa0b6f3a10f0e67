# SPDX-License-Identifier: Apache-2.0
"""Training through every failure of a service: the same weights to the last bit, or an error."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from circuits import X, hybrid
from faults import (
    FakeTime,
    Ledger,
    Plan,
    RequestsApiError,
    RuntimeInvalidStateError,
    RuntimeJobMaxTimeoutError,
    RuntimeJobTimeoutError,
    SamplerService,
    Service,
    failed_job,
    hidden,
    misshapen,
    missing,
    with_nan,
)

from qiskit_torch_bridge import Probabilities, TorchQuantumModule, Tracker
from qiskit_torch_bridge.exceptions import JobError, ResultError
from qiskit_torch_bridge.jobs import DispatchingEstimator, DispatchingSampler, Jobs, Journal
from qiskit_torch_bridge.primitives.cutting import measure_input

STEPS, ROWS = 3, 6
MODES = ("single", "chunked", "several")
PLACES = ("first", "middle", "last")
EACH = [*(("estimator", place) for place in PLACES), ("sampler", "middle")]
"""What is common to both families is tried at every place with one of them."""
PHASES = ("forward", "backward")


class Phased:
    """Tells the services which request a job is of, and cuts by rows."""

    chunk, requests = False, -1

    def run(self, pubs: Any, **options: Any) -> Any:
        pubs = [self.family.pub_class.coerce(pub) for pub in pubs]
        self.requests += 1
        for service in self.primitives:
            service.phase = f"{self.requests} {PHASES[self.requests % 2]}"
        if self.chunk:
            size, rows = measure_input(self, pubs[0]), pubs[0].shape[-1]
            self.max_bytes = size.fixed + size.rows * (rows / 3) / rows + 1e-6
        return super().run(pubs, **options)


class PhasedEstimator(Phased, DispatchingEstimator):
    pass


class PhasedSampler(Phased, DispatchingSampler):
    pass


class Trained(NamedTuple):
    """What is trained on services of one family.

    Attributes:
        name: Of the family.
        service: The service.
        dispatching: What dispatches to some.
        measurement: What is measured.
        shots: How many.
    """

    name: str
    service: Any
    dispatching: Any
    measurement: Any
    shots: int | None


FAMILIES = {
    "estimator": Trained("estimator", Service, PhasedEstimator, ["ZZ", "XI"], None),
    "sampler": Trained("sampler", SamplerService, PhasedSampler, Probabilities([0, 1]), 40),
}


class Training:
    """Three steps on two observables, or on four probabilities, which are noisy but always alike.

    What a training loop would keep is kept.
    """

    def __init__(
        self,
        folder: Path,
        mode: str,
        plan: Plan,
        journal: Any = None,
        family: str = "estimator",
        **retry: Any,
    ) -> None:
        self.ledger, kind = Ledger(folder / "ledger"), FAMILIES[family]
        names = ("a", "b") if mode == "several" else ("a",)
        services = [kind.service(self.ledger, name=name, plan=plan) for name in names]
        self.services, self.time = services, FakeTime()
        jobs = Jobs(retry=self.time.retry(lookup=0, **retry), journal=journal)
        estimator = kind.dispatching(services, jobs)
        estimator.chunk = mode == "chunked"
        self.estimator = estimator
        self.module = TorchQuantumModule(
            hybrid(),
            kind.measurement,
            input_params=X,
            estimator=estimator,
            shots=kind.shots,
            gradient="parameter-shift",
            initial_weights=[0.3, -0.8, 1.1],
        ).double()
        self.optimizer = torch.optim.Adam(self.module.parameters(), lr=0.1)
        self.done = 0
        self.history = [self.weights]

    @property
    def weights(self) -> list[float]:
        return self.module.weight.tolist()

    def run(self) -> list[float]:
        while self.done < STEPS:
            x = torch.linspace(-1, 1, 2 * ROWS, dtype=torch.float64).reshape(ROWS, 2) + self.done
            self.optimizer.zero_grad()
            self.module(x).square().sum().backward()
            self.optimizer.step()
            self.done += 1
            self.history.append(self.weights)
        return self.weights


class Undisturbed(NamedTuple):
    history: list[list[float]]
    phases: list[str]


@functools.cache
def undisturbed(family: str, mode: str, folder: Path) -> Undisturbed:
    training = Training(folder, mode, Plan(), family=family)
    training.run()
    assert training.ledger.duplicates() == [] and training.time.delays == []
    return Undisturbed(training.history, [j["phase"] for j in training.ledger.jobs])


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The training without failures, of a family in a mode."""
    folder = tmp_path_factory.mktemp("undisturbed")

    def find(family, mode):
        own = folder / f"{family}-{mode}"
        own.mkdir(exist_ok=True)
        return undisturbed(family, mode, own)

    return find


def number_of(reference: Undisturbed, place: str, phase: str) -> int:
    """Which job is the first, the middle or the last one of its phase."""
    jobs = [k for k, p in enumerate(reference.phases) if p.endswith(phase)]
    return jobs[{"first": 0, "middle": len(jobs) // 2, "last": -1}[place]]


class Case(NamedTuple):
    """A failure, and what must come of it.

    Attributes:
        where: When it strikes.
        make: Makes it; a new one each time.
        single: The error that training ends with, ``None`` if it goes on.
        several: The same, if there is another estimator.
        lost: Whether a job is lost, and so submitted again.
        waits: Whether time passes before it is tried again.
    """

    where: str
    make: Any
    single: type[Exception] | None = None
    several: type[Exception] | None = None
    lost: bool = False
    waits: bool = False


def api(status: int) -> Any:
    return lambda: RequestsApiError("the service said no", status)


CASES = {
    "refused-connection": Case("submission", lambda: ConnectionError("lost"), waits=True),
    **{f"refused-{s}": Case("submission", api(s), waits=True) for s in (429, 503)},
    "refused-hidden-503": Case("submission", lambda: hidden(503), waits=True),
    "refused-401": Case("submission", api(401), JobError),
    "refused-input": Case("submission", lambda: ValueError("wrong"), JobError),
    **{
        f"failed-{c}": Case("result", lambda c=c: failed_job(c), lost=True, waits=True)
        for c in (1006, 1011)
    },
    "failed-1517": Case("result", lambda: failed_job(1517), JobError, lost=True),
    "cancelled": Case("result", lambda: RuntimeInvalidStateError("cancelled"), JobError, lost=True),
    "timed-out": Case("result", lambda: RuntimeJobTimeoutError("slow"), waits=True),
    "asking-connection": Case("result", lambda: ConnectionError("lost"), waits=True),
    "asking-503": Case("result", api(503), waits=True),
    "asking-401": Case("result", api(401), JobError, JobError),
    "nan": Case("result", lambda: with_nan, ResultError, ResultError),
    "misshapen": Case("result", lambda: misshapen, ResultError, ResultError),
    "missing": Case("result", lambda: missing, ResultError, ResultError),
    "nothing": Case("result", lambda: lambda values: None, ResultError, ResultError),
}


@pytest.mark.parametrize(("family", "place"), EACH)
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", CASES)
def test_one_failure(reference, synchronised_path, name, family, mode, phase, place):
    case, truth = CASES[name], reference(family, mode)
    number, plan, fault = number_of(truth, place, phase), Plan(), CASES[name].make()
    (plan.on_submission if case.where == "submission" else plan.on_result)[number] = [fault]
    training = Training(synchronised_path, mode, plan, family=family)
    expected = case.several if mode == "several" else case.single
    ledger = training.ledger
    if expected is None:
        assert training.run() == truth.history[-1]
        assert len(ledger.jobs) == len(truth.phases) + case.lost
        assert len(training.time.delays) == case.waits
    else:
        with pytest.raises(expected) as caught:
            training.run()
        assert type(caught.value) is expected
        assert training.weights == truth.history[training.done]
        assert training.module.weight.grad is None
        sent = [j["id"] for j in ledger.jobs if j["phase"] == training.services[0].phase]
        if expected is JobError:
            assert caught.value.__cause__ is fault
            assert caught.value.job_ids == tuple(sent)
        else:
            assert any(job_id in str(caught.value) for job_id in sent)
        assert ("goes on" if name == "asking-401" else "weights are unchanged") in str(caught.value)
        assert training.estimator.requests % 2 == PHASES.index(phase)
    assert ledger.duplicates() == []
    assert len(ledger.failed) == case.lost


@pytest.mark.parametrize(("family", "place"), EACH)
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("mode", MODES)
def test_a_job_over_its_limit(reference, synchronised_path, family, mode, phase, place):
    truth, plan = reference(family, mode), Plan()
    plan.on_result[number_of(truth, place, phase)] = [RuntimeJobMaxTimeoutError("code 1305")]
    training = Training(synchronised_path, mode, plan, family=family)
    assert training.run() == truth.history[-1]
    jobs = training.ledger.jobs
    assert len(jobs) == len(truth.phases) + 2 and len(training.ledger.failed) == 1
    (lost,) = (j["shape"][-1] for j in jobs if j["id"] in training.ledger.failed)
    assert training.ledger.duplicates() == [] and lost >= 2


@pytest.mark.parametrize(("family", "place"), EACH)
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("error", [ConnectionError("lost"), TimeoutError("no answer")])
@pytest.mark.parametrize("written", [True, False], ids=["journal", "no journal"])
def test_an_answer_lost_after_submission(
    reference, synchronised_path, written, error, family, mode, phase, place
):
    """The job is there though its id is not known; it is found by its tag."""
    truth, plan = reference(family, mode), Plan()
    plan.on_answer[number_of(truth, place, phase)] = error
    journal = Journal(synchronised_path / "journal") if written else None
    training = Training(synchronised_path, mode, plan, journal, family)
    with Tracker() as tracker:
        assert training.run() == truth.history[-1]
    assert len(training.ledger.jobs) == len(truth.phases)
    assert training.ledger.duplicates() == []
    assert tracker.usage.jobs == training.estimator.used.jobs == len(truth.phases)


@pytest.mark.parametrize(("family", "place"), EACH)
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("mode", MODES)
def test_an_interrupt(reference, synchronised_path, family, mode, phase, place):
    """What was submitted before is found again by the next process with the same journal."""
    truth, plan = reference(family, mode), Plan()
    plan.on_result[number_of(truth, place, phase)] = [KeyboardInterrupt()]
    journal = Journal(synchronised_path / "journal")
    training = Training(synchronised_path, mode, plan, journal, family)
    with pytest.raises(KeyboardInterrupt):
        training.run()
    assert training.weights == truth.history[training.done]
    journal.close()  # a restart without a checkpoint: everything is asked for again
    again = Journal(synchronised_path / "journal")
    training = Training(synchronised_path, mode, plan, again, family)
    assert training.run() == truth.history[-1]
    assert len(training.ledger.jobs) == len(truth.phases)
    assert training.ledger.duplicates() == []


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mode", MODES)
def test_many_failures_at_once(reference, synchronised_path, family, mode):
    truth, plan = reference(family, mode), Plan()
    for k in range(0, 40, 3):
        plan.on_submission[k] = [RequestsApiError("busy", 429), ConnectionError("lost")]
    for k in range(0, 60, 2):
        plan.on_result[k] = [RuntimeJobTimeoutError("slow"), ConnectionError(), failed_job(1006)]
    training = Training(synchronised_path, mode, plan, family=family, attempts=100)
    assert training.run() == truth.history[-1]
    assert (
        training.ledger.duplicates() == [] and len(training.ledger.failed) > len(truth.phases) / 4
    )
