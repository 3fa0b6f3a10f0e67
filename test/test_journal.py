# SPDX-License-Identifier: Apache-2.0
"""The journal: what is on disk when, and what it answers."""

from __future__ import annotations

import base64
import hashlib
import json
import os

import numpy as np
import pytest
import torch
from circuits import X, hybrid, rotation
from families import ESTIMATOR, SAMPLER, both
from faults import Ledger, RequestsApiError, RuntimeJobMaxTimeoutError, failed_job, with_nan
from journals import World, cut_after, events, kinds, pub_of
from qiskit.circuit import ClassicalRegister, Parameter, QuantumCircuit
from qiskit.primitives import BitArray, DataBin, SamplerPubResult, StatevectorEstimator
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.providers.fake_provider import GenericBackendV2

from qiskit_torch_bridge import Execution, OnBackend, Probabilities, TorchQuantumModule
from qiskit_torch_bridge.exceptions import BudgetError, JobError, JournalError, ResultError
from qiskit_torch_bridge.jobs import DispatchingEstimator, Jobs, Journal
from qiskit_torch_bridge.jobs.journal_file import JournalFile
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator, BatchedStatevectorSampler
from qiskit_torch_bridge.primitives.usage import Usage
from qiskit_torch_bridge.program.identity import content_digest


@pytest.fixture(params=[ESTIMATOR, SAMPLER], ids=lambda family: family.name)
def world(request, tmp_path):
    return World(tmp_path, request.param)


# -- order -------------------------------------------------------------------------------------


def test_each_event_is_on_disk_before_the_next_thing_happens(world):
    seen = []
    estimator = world.start(2)
    for service in world.services:
        run = service.run

        def spied(pubs, service=service, run=run, **options):
            seen.append((kinds(world.path)[-1], service.job_tag))
            job = run(pubs, **options)
            result = job.result

            def asked():
                seen.append(kinds(world.path))
                return result()

            job.result = asked
            return job

        service.run = spied
    world.ask(estimator)
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
    world.ask(world.start(on_result={0: [failed_job(1006)]}))
    names = [kind for kind, _ in kinds(world.path)]
    assert names == ["intended", "submitted", "failed", "intended", "submitted", "finished"]
    assert len({j["tag"] for j in world.ledger.jobs}) == 2


# -- answers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2])
def test_results_are_answered_bit_for_bit_without_a_job(world, count):
    first, again = world.ask(world.start(count)), world.start(count)
    found = again.run([world.pub()]).result()[0]
    assert (world.family.values(found) == world.expected()).all()
    assert (first == world.expected()).all()
    if world.family is ESTIMATOR:
        assert found.data.stds.tolist() == np.zeros((2, 4)).tolist()
    else:
        assert isinstance(found, SamplerPubResult) and found.data.meas.num_bits == 2
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
    world.ask(world.start(count))
    cut_after(world.path, "submitted", count)
    estimator = world.start(count)
    assert (world.ask(estimator) == world.expected()).all()
    assert len(world.ledger.jobs) == count and estimator.used.jobs == count
    assert [i for s in world.services for i in s.fetched if i.startswith(s.name)] == [
        j["id"] for j in world.ledger.jobs
    ]


def test_a_job_with_only_an_intention_is_found_by_its_tag(world):
    world.ask(world.start())
    cut_after(world.path, "intended")
    assert (world.ask(world.start()) == world.expected()).all()
    assert len(world.ledger.jobs) == 1 and world.services[0].fetched == ["a-0"]
    assert [kind for kind, _ in kinds(world.path)] == ["intended", "submitted", "finished"]


def test_an_intention_without_a_job_is_submitted(world):
    world.ask(world.start())
    cut_after(world.path, "intended")
    world.ledger.path.unlink()
    world.ledger = Ledger(world.ledger.path)
    world.ask(world.start())
    assert len(world.ledger.jobs) == 1


def test_a_job_that_no_estimator_knows_any_more_is_submitted(world):
    world.ask(world.start())
    cut_after(world.path, "submitted")
    world.end()
    world.services, world.journal = [world.family.usual()], Journal(world.path)
    local = world.dispatch()
    assert world.ask(local).shape == world.expected().shape
    assert local.used.jobs == 2  # the one that is lost was paid for


def test_another_run_of_the_same_program_has_its_own_jobs(world, tmp_path):
    world.ask(world.start())
    world.path = tmp_path / "second"
    world.ask(world.start())
    assert len(world.ledger.jobs) == 2 and world.services[0].fetched == []
    assert len({j["tag"] for j in world.ledger.jobs}) == 2


@pytest.mark.parametrize("error", [ConnectionError("lost"), RequestsApiError("busy", 503)])
def test_fetching_is_tried_again(world, error):
    world.ask(world.start())
    cut_after(world.path, "submitted")
    estimator = world.start()
    (service,), errors = world.services, [error] * 3
    fetch = service.retrieve_job
    service.retrieve_job = lambda i: (_ for _ in ()).throw(errors.pop()) if errors else fetch(i)
    world.ask(estimator)
    assert len(world.time.delays) == 3 and len(world.ledger.jobs) == 1


def test_nothing_is_submitted_if_it_cannot_be_found_out_what_runs(world):
    world.ask(world.start())
    cut_after(world.path, "submitted")
    estimator = world.start()
    refusal = RequestsApiError("unauthorised", 401)
    world.services[0].retrieve_job = lambda i: (_ for _ in ()).throw(refusal)
    with pytest.raises(JobError, match="Nothing was submitted again") as caught:
        world.ask(estimator)
    assert caught.value.__cause__ is refusal and len(world.ledger.jobs) == 1
    assert (world.ask(world.start()) == world.expected()).all()
    assert len(world.ledger.jobs) == 1


def test_a_job_that_could_not_be_asked_for_is_fetched_later(world):
    estimator = world.start(on_result={0: [RequestsApiError("unauthorised", 401)]})
    with pytest.raises(JobError, match="a-0.*goes on"):
        world.ask(estimator)
    world.ask(world.start())
    assert len(world.ledger.jobs) == 1


def test_a_job_that_failed_for_good_or_gave_nonsense_is_not_fetched_again(world):
    for fault, error in ((failed_job(1517), JobError), (with_nan, ResultError)):
        with pytest.raises(error):
            world.ask(world.start(on_result={0: [fault]}))
    assert (world.ask(world.start()) == world.expected()).all()
    assert len(world.ledger.jobs) == 3 and world.services[0].fetched == []


def test_a_job_over_its_limit_is_not_run_again(world, tmp_path):
    world.options["most_rows"] = 3
    asked = [(0, 10), (1, 2)]
    first = [world.ask(e, *what) for e in [world.start()] for what in asked]
    jobs = len(world.ledger.jobs)
    again = world.start()
    assert all((world.ask(again, *a) == v).all() for a, v in zip(asked, first, strict=True))
    assert len(world.ledger.jobs) == jobs and again.journal.position == jobs
    for count in range(1, len(events(world.path)) + 1):  # killed after each event
        lines = world.path.read_bytes().splitlines(keepends=True)
        path = tmp_path / f"journal-{count}"
        path.write_bytes(b"".join(lines[:count]))
        world.path, whole = path, world.path
        killed = world.start()
        assert all((world.ask(killed, *a) == v).all() for a, v in zip(asked, first, strict=True))
        killed.journal.close()
        world.path = whole
    # Also where the file ends before the first intention, which is on disk before the first job.
    assert jobs == len(world.ledger.jobs)


def test_a_job_too_long_is_cut_where_it_was_before(world):
    world.ask(world.start(on_result={0: [RuntimeJobMaxTimeoutError("1305")]}))
    assert [kind for kind, _ in kinds(world.path)][2:4] == ["cut", "intended"]
    world.ask(world.start())
    assert len(world.ledger.jobs) == 3


# -- position ----------------------------------------------------------------------------------


def test_setting_the_position_back_replays(world):
    estimator = world.start()
    values = [world.ask(estimator, k) for k in range(4)]
    assert estimator.journal.position == 4
    estimator.journal.position = 1
    for k in range(1, 4):
        assert (world.ask(estimator, k) == values[k]).all()
    assert len(world.ledger.jobs) == 4 and estimator.journal.position == 4
    world.ask(estimator, 9)
    assert len(world.ledger.jobs) == 5


def test_requests_of_another_run_are_refused(world):
    world.ask(world.start(), 0)
    estimator = world.start()
    with pytest.raises(JournalError, match="Request 0 differs.*checkpoint with journal="):
        world.ask(estimator, 1)
    assert len(world.ledger.jobs) == 1 and estimator.journal.position == 0
    world.ask(estimator, 0)  # the right one is still answered


# -- budget ------------------------------------------------------------------------------------


def test_a_budget_goes_on_where_the_last_process_left_it(world):
    """Two jobs of four points each are allowed in all, whichever process makes them."""
    limits = Usage(points=8)
    for seed in (0, 1):
        estimator = world.start()
        estimator = world.dispatch(budget=limits)
        for k in range(seed + 1):
            world.ask(estimator, k)
        assert estimator.used.points == 4 * (seed + 1)
    world.start()
    estimator = world.dispatch(budget=limits)
    for k in (0, 1):
        world.ask(estimator, k)
    with pytest.raises(BudgetError, match="8 of the budget of 8 are used"):
        world.ask(estimator, 2)
    assert len(world.ledger.jobs) == 2


def test_training_and_evaluation_share_journal_and_budget(world):
    """With one journal each they would number their requests alike."""
    module = TorchQuantumModule(
        hybrid(),
        "ZZ" if world.family is ESTIMATOR else Probabilities([0, 1]),
        input_params=X,
        estimator=world.family.dispatching(
            world.family.service(world.ledger), Jobs(journal=world.path, budget=Usage(points=5))
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


MEASURED = {"estimator": "Z", "sampler": Probabilities([0])}
SIMULATORS = {"estimator": BatchedStatevectorEstimator, "sampler": BatchedStatevectorSampler}


@both
@pytest.mark.parametrize("place", ["sampling", "backend"])
def test_simulated_noise_goes_on_where_it_was(tmp_path, family, place):
    """What is answered from the journal takes its share of the seeds all the same."""

    def start(path):
        jobs, simulator = Jobs(journal=path), SIMULATORS[family.name](seed=3)
        options = {
            "sampling": {"estimator": family.dispatching(simulator, jobs)},
            "backend": {"backend": OnBackend(GenericBackendV2(2, seed=1), jobs=jobs)},
        }[place]
        return TorchQuantumModule(
            rotation()[0], MEASURED[family.name], shots=50, seed=3, initial_weights=[1.2], **options
        )

    undisturbed = start(tmp_path / "undisturbed")
    expected = [undisturbed()[0].item() for _ in range(4)]
    assert len(set(expected)) > 1
    first = start(tmp_path / "journal")
    assert [first()[0].item() for _ in range(2)] == expected[:2]
    first.estimator.journal.close()
    again = start(tmp_path / "journal")
    assert [again()[0].item() for _ in range(4)] == expected
    assert again.estimator.used.jobs == 4


@both
def test_what_an_earlier_process_paid_for_needs_no_budget(tmp_path, family):
    """Two jobs were made and are in the journal; a budget without room answers from it."""

    def start(budget):
        jobs = Jobs(journal=tmp_path / "journal", budget=budget)
        return TorchQuantumModule(
            rotation()[0],
            MEASURED[family.name],
            estimator=family.dispatching(SIMULATORS[family.name](seed=3), jobs),
            shots=100,
            initial_weights=[1.2],
        )

    module = start(1000)
    module()[0].backward()
    module.estimator.journal.close()
    again = start(300)
    again()[0].backward()
    assert torch.equal(again.weight.grad, module.weight.grad) and module.weight.grad.any()
    with pytest.raises(BudgetError, match="300 of the budget of 300 are used"):
        again()


# -- what is written of samplers ---------------------------------------------------------------


def outcomes(shape, shots, widths, seed=0):
    """A circuit of registers, a PUB for it and random outcomes of all its bits."""
    generator = np.random.default_rng(seed)
    circuit, theta = rotation()
    for k, width in enumerate(widths):
        circuit.add_register(ClassicalRegister(width, f"r{k}"))
    pub = SamplerPub.coerce((circuit, {(theta,): np.zeros((*shape, 1))}, shots))
    fields = {}
    for k, width in enumerate(widths):
        packed = generator.integers(0, 256, (*shape, shots, -(-width // 8)), dtype=np.uint8)
        packed[..., 0] &= 255 >> -width % 8
        fields[f"r{k}"] = BitArray(packed, width)
    return pub, SamplerPubResult(DataBin(**fields, shape=shape))


def written_and_read(path, pub, result):
    journal = Journal(path)
    journal.finished(journal.begin(pub)[0], pub, result)
    journal.close()
    journal = Journal(path)
    known = journal.begin(pub)[1]
    journal.close()
    return known


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3)])
@pytest.mark.parametrize("widths", [(1,), (8,), (3, 9), (127, 1, 16)])
def test_every_shot_survives_in_its_place(tmp_path, shape, widths):
    pub, result = outcomes(shape, 50, widths)
    known = written_and_read(tmp_path / "journal", pub, result)
    assert isinstance(known, SamplerPubResult) and known.data.shape == shape
    assert list(known.data) == list(result.data)
    for name, bits in result.data.items():
        assert known.data[name] == bits and known.data[name].num_bits == bits.num_bits
    assert known.join_data() == result.join_data()


def test_outcomes_take_no_more_room_than_they_have_information(tmp_path):
    """Ten thousand outcomes of three bits that are equally likely are 3,750 bytes, 5,000 in text
    of base 64; those of a state that is prepared well take next to nothing."""
    pub, result = outcomes((10,), 1000, (3,))
    written_and_read(tmp_path / "journal", pub, result)
    assert (tmp_path / "journal").stat().st_size < 1.3 * 5000
    result.data.r0.array[:] = 5
    written_and_read(tmp_path / "certain", pub, result)
    assert (tmp_path / "certain").stat().st_size < 1000


def test_quasi_probabilities_survive_to_the_last_digit(tmp_path):
    pub, _ = outcomes((2,), 50, (3, 70))
    weights = np.empty(2, dtype=object)
    weights[:] = [{0: 1 / 3, 1 << 72: 2 / 3}, {5: 1.1, 7: -0.1, 8: -5e-324}]
    result = SamplerPubResult(DataBin(quasi=weights, shape=(2,)))
    known = written_and_read(tmp_path / "journal", pub, result)
    assert known.data.quasi.tolist() == weights.tolist()


def test_a_request_is_another_one_with_other_shots_registers_or_family(tmp_path):
    """Each is refused where the journal knows the first, and nothing is made of its result."""
    pub, result = outcomes((3,), 50, (2,))
    written_and_read(tmp_path / "journal", pub, result)
    journal, circuit = Journal(tmp_path / "journal"), pub.circuit
    renamed = rotation()[0]
    renamed.add_register(ClassicalRegister(2, "other"))
    values = np.zeros((3, 1))
    for other in (
        SamplerPub.coerce((circuit, values, 51)),
        SamplerPub.coerce((circuit, values)),
        SamplerPub.coerce((circuit, values + 1, 50)),
        SamplerPub.coerce((renamed, values, 50)),
        EstimatorPub.coerce((circuit, "Z", values)),
    ):
        with pytest.raises(JournalError, match="Request 0 differs"):
            journal.begin(other)
    assert journal.begin(pub)[1].data.r0 == result.data.r0


def test_journals_of_earlier_releases_are_read(tmp_path):
    """Which knew estimators only: how a request was hashed, and how its values are written."""
    pub, values = pub_of(), np.random.default_rng(1).random((2, 2, 4))
    points = pub.parameter_values.as_array(pub.circuit.parameters)
    digest = hashlib.sha256(content_digest(pub.circuit).encode())
    asked = [pub.observables.tolist(), [4, 5], None]
    digest.update(json.dumps(asked, sort_keys=True).encode())
    digest.update(points.astype("<f8").tobytes())
    evs, stds = (
        {"shape": [2, 4], "base64": base64.b64encode(part.tobytes()).decode()} for part in values
    )
    file = JournalFile(tmp_path / "journal", {"event": "journal", "version": 2, "run": "0" * 16})
    name = digest.hexdigest()
    list(file.read())
    file.append({"event": "intended", "n": 0, "digest": name, "tag": f"t-{name[:16]}-0"})
    file.append({"event": "submitted", "n": 0, "job": "a", "usage": [1, 1, 4, 8, 80]})
    file.append({"event": "finished", "n": 0, "data": {"evs": evs, "stds": stds}})
    file.close()
    estimator = DispatchingEstimator(StatevectorEstimator(), Jobs(journal=tmp_path / "journal"))
    data = estimator.run([pub]).result()[0].data
    assert (data.evs == values[0]).all() and (data.stds == values[1]).all()
    assert estimator.used == Usage(1, 1, 4, 8, 80)


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
