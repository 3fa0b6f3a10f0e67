# SPDX-License-Identifier: Apache-2.0
"""The journal: what is on disk when, and what it answers."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from circuits import X, hybrid, rotation
from faults import (
    Ledger,
    RequestsApiError,
    RuntimeJobMaxTimeoutError,
    Service,
    failed_job,
    with_nan,
)
from journals import World, cut_after, events, evs, kinds, pub_of
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.providers.fake_provider import GenericBackendV2

from qiskit_torch_bridge import Execution, OnBackend, TorchQuantumModule
from qiskit_torch_bridge.exceptions import BudgetError, JobError, JournalError, ResultError
from qiskit_torch_bridge.jobs import DispatchingEstimator, Jobs, Journal
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator
from qiskit_torch_bridge.primitives.usage import Usage


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


# -- order -------------------------------------------------------------------------------------


def test_each_event_is_on_disk_before_the_next_thing_happens(world):
    seen = []
    estimator = world.start(2)
    for service in world.services:
        run = service.run

        def spied(pubs, *, precision=None, service=service, run=run):
            seen.append((kinds(world.path)[-1], service.job_tag))
            job = run(pubs, precision=precision)
            result = job.result

            def asked():
                seen.append(kinds(world.path))
                return result()

            job.result = asked
            return job

        service.run = spied
    evs(estimator, pub_of())
    tags = [j["tag"] for j in world.ledger.jobs]
    both = [(k, n) for n in (0, 1) for k in ("intended", "submitted")]
    assert seen == [
        (("intended", 0), tags[0]),
        (("intended", 1), tags[1]),
        both,
        [*both, ("finished", 0)],
    ]
    assert kinds(world.path) == [*both, ("finished", 0), ("finished", 1)]
    written = [e["tag"] for e in events(world.path) if e["event"] == "intended"]
    assert written == tags and len(set(tags)) == 2


def test_failures_are_written_and_the_next_job_has_another_tag(world):
    evs(world.start(on_result={0: [failed_job(1006)]}), pub_of())
    names = [kind for kind, _ in kinds(world.path)]
    assert names == ["intended", "submitted", "failed", "intended", "submitted", "finished"]
    assert len({j["tag"] for j in world.ledger.jobs}) == 2


# -- answers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2])
def test_results_are_answered_bit_for_bit_without_a_job(world, count):
    first = [evs(world.start(count), pub_of(0))]
    expected = evs(BatchedStatevectorEstimator(), pub_of(0))
    again = world.start(count)
    found = again.run([pub_of(0)]).result()[0]
    assert (found.data.evs == expected).all() and (first[0] == expected).all()
    assert found.data.stds.tolist() == np.zeros((2, 4)).tolist()
    # What was paid for before counts as used, and nothing more.
    assert len(world.ledger.jobs) == count and again.used.jobs == count
    assert world.services[0].fetched == []


def test_extreme_numbers_survive(tmp_path):
    from faults import result_of

    odd = np.array([5e-324, -0.0, 1 / 3, -1.7976931348623157e308])
    journal = Journal(tmp_path / "journal")
    circuit, theta = rotation()
    pub = EstimatorPub.coerce((circuit, "Z", {(theta,): np.zeros((4, 1))}))
    entry, _ = journal.begin(pub)
    journal.finished(entry, pub, result_of(odd)[0])
    journal.close()
    _, known = Journal(tmp_path / "journal").begin(pub)
    assert known.data.evs.tobytes() == odd.tobytes()


@pytest.mark.parametrize("count", [1, 2])
def test_a_job_with_an_id_is_fetched(world, count):
    evs(world.start(count), pub_of())
    cut_after(world.path, "submitted", count)
    estimator = world.start(count)
    assert (evs(estimator, pub_of()) == evs(BatchedStatevectorEstimator(), pub_of())).all()
    assert len(world.ledger.jobs) == count and estimator.used.jobs == count
    assert [i for s in world.services for i in s.fetched if i.startswith(s.name)] == [
        j["id"] for j in world.ledger.jobs
    ]


def test_a_job_with_only_an_intention_is_found_by_its_tag(world):
    evs(world.start(), pub_of())
    cut_after(world.path, "intended")
    assert (evs(world.start(), pub_of()) == evs(BatchedStatevectorEstimator(), pub_of())).all()
    assert len(world.ledger.jobs) == 1 and world.services[0].fetched == ["a-0"]
    assert [kind for kind, _ in kinds(world.path)] == ["intended", "submitted", "finished"]


def test_an_intention_without_a_job_is_submitted(world):
    evs(world.start(), pub_of())
    cut_after(world.path, "intended")
    world.ledger.path.unlink()
    world.ledger = Ledger(world.ledger.path)
    evs(world.start(), pub_of())
    assert len(world.ledger.jobs) == 1


def test_a_job_that_no_estimator_knows_any_more_is_submitted(world):
    evs(world.start(), pub_of())
    cut_after(world.path, "submitted")
    world.end()
    local = DispatchingEstimator(BatchedStatevectorEstimator(), Jobs(journal=world.path))
    assert (evs(local, pub_of()) == evs(BatchedStatevectorEstimator(), pub_of())).all()
    assert local.used.jobs == 2  # the one that is lost was paid for


def test_another_run_of_the_same_program_has_its_own_jobs(world, tmp_path):
    evs(world.start(), pub_of())
    world.path = tmp_path / "second"
    evs(world.start(), pub_of())
    assert len(world.ledger.jobs) == 2 and world.services[0].fetched == []
    assert len({j["tag"] for j in world.ledger.jobs}) == 2


@pytest.mark.parametrize("error", [ConnectionError("lost"), RequestsApiError("busy", 503)])
def test_fetching_is_tried_again(world, error):
    evs(world.start(), pub_of())
    cut_after(world.path, "submitted")
    estimator = world.start()
    (service,), errors = world.services, [error] * 3
    fetch = service.retrieve_job
    service.retrieve_job = lambda i: (_ for _ in ()).throw(errors.pop()) if errors else fetch(i)
    evs(estimator, pub_of())
    assert len(world.time.delays) == 3 and len(world.ledger.jobs) == 1


def test_nothing_is_submitted_if_it_cannot_be_found_out_what_runs(world):
    evs(world.start(), pub_of())
    cut_after(world.path, "submitted")
    estimator = world.start()
    refusal = RequestsApiError("unauthorised", 401)
    world.services[0].retrieve_job = lambda i: (_ for _ in ()).throw(refusal)
    with pytest.raises(JobError, match="Nothing was submitted again") as caught:
        evs(estimator, pub_of())
    assert caught.value.__cause__ is refusal and len(world.ledger.jobs) == 1
    assert (evs(world.start(), pub_of()) == evs(BatchedStatevectorEstimator(), pub_of())).all()
    assert len(world.ledger.jobs) == 1


def test_a_job_that_could_not_be_asked_for_is_fetched_later(world):
    estimator = world.start(on_result={0: [RequestsApiError("unauthorised", 401)]})
    with pytest.raises(JobError, match="a-0.*goes on"):
        evs(estimator, pub_of())
    evs(world.start(), pub_of())
    assert len(world.ledger.jobs) == 1


def test_a_job_that_failed_for_good_or_gave_nonsense_is_not_fetched_again(world):
    for fault, error in ((failed_job(1517), JobError), (with_nan, ResultError)):
        with pytest.raises(error):
            evs(world.start(on_result={0: [fault]}), pub_of())
    assert (evs(world.start(), pub_of()) == evs(BatchedStatevectorEstimator(), pub_of())).all()
    assert len(world.ledger.jobs) == 3 and world.services[0].fetched == []


def test_a_job_over_its_limit_is_not_run_again(tmp_path):
    world = World(tmp_path, most_rows=3)
    pubs = [pub_of(0, 10), pub_of(1, 2)]
    first = [evs(e, pub) for e in [world.start()] for pub in pubs]
    jobs = len(world.ledger.jobs)
    again = world.start()
    assert all((evs(again, p) == v).all() for p, v in zip(pubs, first, strict=True))
    assert len(world.ledger.jobs) == jobs and again.journal.position == jobs
    for count in range(1, len(events(world.path)) + 1):  # killed after each event
        lines = world.path.read_bytes().splitlines(keepends=True)
        path = tmp_path / f"journal-{count}"
        path.write_bytes(b"".join(lines[:count]))
        world.path, whole = path, world.path
        killed = world.start()
        assert all((evs(killed, p) == v).all() for p, v in zip(pubs, first, strict=True))
        killed.journal.close()
        world.path = whole
    # Also where the file ends before the first intention, which is on disk before the first job.
    assert jobs == len(world.ledger.jobs)


def test_a_job_too_long_is_cut_where_it_was_before(world):
    evs(world.start(on_result={0: [RuntimeJobMaxTimeoutError("1305")]}), pub_of())
    assert [kind for kind, _ in kinds(world.path)][2:4] == ["cut", "intended"]
    evs(world.start(), pub_of())
    assert len(world.ledger.jobs) == 3


# -- position ----------------------------------------------------------------------------------


def test_setting_the_position_back_replays(world):
    estimator = world.start()
    values = [evs(estimator, pub_of(k)) for k in range(4)]
    assert estimator.journal.position == 4
    estimator.journal.position = 1
    for k in range(1, 4):
        assert (evs(estimator, pub_of(k)) == values[k]).all()
    assert len(world.ledger.jobs) == 4 and estimator.journal.position == 4
    evs(estimator, pub_of(9))
    assert len(world.ledger.jobs) == 5


def test_requests_of_another_run_are_refused(world):
    evs(world.start(), pub_of(0))
    estimator = world.start()
    with pytest.raises(JournalError, match="Request 0 differs.*checkpoint with journal="):
        evs(estimator, pub_of(1))
    assert len(world.ledger.jobs) == 1 and estimator.journal.position == 0
    evs(estimator, pub_of(0))  # the right one is still answered


# -- budget ------------------------------------------------------------------------------------


def test_a_budget_goes_on_where_the_last_process_left_it(world):
    """Two jobs of four points each are allowed in all, whichever process makes them."""
    limits = Usage(points=8)
    for seed in (0, 1):
        estimator = world.start()
        estimator = DispatchingEstimator(world.services, Jobs(journal=world.journal, budget=limits))
        for k in range(seed + 1):
            evs(estimator, pub_of(k))
        assert estimator.used.points == 4 * (seed + 1)
    world.start()
    estimator = DispatchingEstimator(world.services, Jobs(journal=world.journal, budget=limits))
    for k in (0, 1):
        evs(estimator, pub_of(k))
    with pytest.raises(BudgetError, match="8 of the budget of 8 are used"):
        evs(estimator, pub_of(2))
    assert len(world.ledger.jobs) == 2


def test_training_and_evaluation_share_journal_and_budget(world):
    """With one journal each they would number their requests alike."""
    module = TorchQuantumModule(
        hybrid(),
        "ZZ",
        input_params=X,
        estimator=DispatchingEstimator(
            Service(world.ledger), Jobs(journal=world.path, budget=Usage(points=5))
        ),
        evaluation=Execution(shots=400),
    )
    inputs = torch.zeros(2, 2)
    with torch.no_grad():
        module(inputs)
        module.eval()(inputs)
    assert module.estimator.journal.position == 2
    assert module.estimator.used.points == module.train().estimator.used.points == 4
    with pytest.raises(BudgetError, match="4 of the budget of 5 are used"):
        module(inputs)


# -- noise -------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["sampling", "backend"])
def test_simulated_noise_goes_on_where_it_was(tmp_path, place):
    """What is answered from the journal takes its share of the seeds all the same."""

    def start(path):
        jobs, simulator = Jobs(journal=path), BatchedStatevectorEstimator(seed=3)
        options = {
            "sampling": {"estimator": DispatchingEstimator(simulator, jobs)},
            "backend": {"backend": OnBackend(GenericBackendV2(2, seed=1), jobs=jobs)},
        }[place]
        return TorchQuantumModule(
            rotation()[0], "Z", shots=50, seed=3, initial_weights=[1.2], **options
        )

    undisturbed = start(tmp_path / "undisturbed")
    expected = [undisturbed().item() for _ in range(4)]
    assert len(set(expected)) > 1
    first = start(tmp_path / "journal")
    assert [first().item() for _ in range(2)] == expected[:2]
    first.estimator.journal.close()
    again = start(tmp_path / "journal")
    assert [again().item() for _ in range(4)] == expected
    assert again.estimator.used.jobs == 4


def test_what_an_earlier_process_paid_for_needs_no_budget(tmp_path):
    """Two jobs were made and are in the journal; a budget without room answers from it."""

    def start(budget):
        jobs = Jobs(journal=tmp_path / "journal", budget=budget)
        estimator = DispatchingEstimator(BatchedStatevectorEstimator(seed=3), jobs)
        return TorchQuantumModule(
            rotation()[0], "Z", estimator=estimator, shots=100, initial_weights=[1.2]
        )

    module = start(1000)
    module().backward()
    module.estimator.journal.close()
    again = start(300)
    again().backward()
    assert torch.equal(again.weight.grad, module.weight.grad)
    with pytest.raises(BudgetError, match="300 of the budget of 300 are used"):
        again()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_does_not_write_on(tmp_path):
    """A child of a fork shares the open file, and would number its requests alike."""
    journal = Journal(tmp_path / "journal")
    pid = os.fork()
    if not pid:
        try:
            journal.begin(pub_of())
        except JournalError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0


def test_the_same_circuit_is_transpiled_for_a_journal(tmp_path):
    """Else the next process would ask for another circuit, and get no answers."""
    circuit = QuantumCircuit(4)
    for q in range(4):
        circuit.ry(Parameter(f"a{q}"), q)
        circuit.cx(q, (q + 1) % 4)
    device = GenericBackendV2(7, coupling_map=[[q, q + 1] for q in range(6)], seed=2)
    made = []
    for k in range(3):
        there = OnBackend(device, jobs=Jobs(journal=tmp_path / str(k)))
        made.append(TorchQuantumModule(circuit, backend=there, shots=10).isa_circuit)
    assert made[0] == made[1] == made[2]
