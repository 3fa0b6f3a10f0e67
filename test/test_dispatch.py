# SPDX-License-Identifier: Apache-2.0
"""Requests cut into parts, spread over primitives and put together again in order."""

from __future__ import annotations

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from circuits import A, X, hybrid, rotation
from estimators import CountingEstimator
from families import SAMPLER, SHOTS, both, measured
from faults import FakeTime, Ledger, Plan, RequestsApiError, failed_job
from qiskit import qpy
from qiskit.circuit import ClassicalRegister, ParameterVector, QuantumCircuit
from qiskit.primitives import SamplerPubResult, StatevectorEstimator, StatevectorSampler
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.quantum_info import SparsePauliOp

from qiskit_torch_bridge import TorchQuantumModule, Tracker
from qiskit_torch_bridge import exceptions as e
from qiskit_torch_bridge.jobs import DispatchingEstimator, DispatchingSampler, Jobs
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator
from qiskit_torch_bridge.primitives.cutting import ENCODED, cut, limit_input, measure_input
from qiskit_torch_bridge.primitives.families import family_of

H = SparsePauliOp(["ZZ", "XI", "YY"], [0.5, -1.25, 0.75])
ONE, COLUMN, ROW = "ZZ", [["ZZ"], ["XX"], [H]], ["ZZ", "XX", H, "YI"]
#                observables, points, rows that it can be cut into
SHAPES = [
    (ONE, (), None),
    (ONE, (1,), 1),
    (ONE, (7,), 7),
    (ONE, (3, 7), 7),
    (ONE, (2, 3, 4), 4),
    ([ONE], (7,), 7),
    (COLUMN, (7,), 7),
    (COLUMN, (1, 7), 7),
    (COLUMN, (3, 7), 7),
    (COLUMN, (2, 1, 7), 7),
    ([COLUMN, COLUMN], (7,), 7),
    (ROW, (4,), None),
    (ROW, (), None),
    (ROW, (3, 4), None),
    (ROW, (3, 1), None),
    (COLUMN, (3, 1), 1),
    (COLUMN, (), None),
]
POINTS = [((), None), ((1,), 1), ((7,), 7), ((3, 7), 7), ((2, 3, 4), 4)]


def pub_of(observables, shape, seed=0):
    circuit = hybrid()
    values = np.random.default_rng(seed).uniform(-3, 3, (*shape, 5))
    return EstimatorPub.coerce((circuit, observables, {tuple(circuit.parameters): values}))


def values_of(estimator, *pubs, **options):
    return [r.data.evs for r in estimator.run(pubs, **options).result()]


def size_of(pub):
    return measure_input(None, pub)


def limit_for(pub, rows):
    """The bytes of a job with that many rows of a PUB."""
    size = size_of(pub)
    return size.fixed + size.rows * rows / family_of(pub).count_rows(pub) + 1e-6


# -- parts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("observables", "shape", "rows"), SHAPES)
@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("most", [1, 2, 100])
def test_every_shape_equals_the_uncut_run(observables, shape, rows, pieces, most):
    pub = pub_of(observables, shape)
    counters = [CountingEstimator() for _ in range(pieces)]
    limit = 1e9 if rows is None else limit_for(pub, most)
    (found,) = values_of(DispatchingEstimator(counters, Jobs(max_bytes=limit)), pub)
    (expected,) = values_of(BatchedStatevectorEstimator(), pub)
    assert family_of(pub).count_rows(pub) == rows
    assert found.shape == pub.shape and (found == expected).all()
    reference = StatevectorEstimator().run([pub]).result()[0].data.evs
    np.testing.assert_allclose(found, reference, rtol=0, atol=1e-12)
    shapes = [s for c in counters for (s,) in c.runs]
    if rows is None:
        assert shapes == [pub.shape]
    else:
        assert sum(s[-1] for s in shapes) == rows
        assert max(s[-1] for s in shapes) <= max(1, min(most, -(-rows // pieces)))


@pytest.mark.parametrize(("shape", "rows"), POINTS)
@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("most", [1, 2, 100])
def test_outcomes_are_those_of_the_uncut_run(shape, rows, pieces, most):
    pub = SAMPLER.pub(shape)
    counters = [SAMPLER.counting() for _ in range(pieces)]
    limit = 1e9 if rows is None else limit_for(pub, most)
    result = DispatchingSampler(counters, Jobs(max_bytes=limit)).run([pub]).result()[0]
    (expected,) = SAMPLER.truth(pub)
    assert family_of(pub).count_rows(pub) == rows
    assert result.data.shape == result.data.meas.shape == pub.shape
    assert isinstance(result, SamplerPubResult) and result.metadata["shots"] == SHOTS
    assert (SAMPLER.values(result) == expected).all() and len(np.unique(expected)) > 1
    shapes = [s for c in counters for (s,) in c.runs]
    if rows is None:
        assert shapes == [pub.shape]
    else:
        assert sum(s[-1] for s in shapes) == rows
        assert max(s[-1] for s in shapes) <= max(1, min(most, -(-rows // pieces)))


def test_registers_are_put_together_each_by_itself():
    circuit = hybrid()
    low, high = ClassicalRegister(1, "low"), ClassicalRegister(9, "high")
    circuit.add_register(low, high)
    circuit.measure([0, 1], [low[0], high[8]])
    values = np.random.default_rng(0).uniform(-3, 3, (2, 7, 5))
    pub = SamplerPub.coerce((circuit, {tuple(circuit.parameters): values}, 11))
    parts = [StatevectorSampler(seed=k) for k in range(3)]
    data = DispatchingSampler(parts).run([pub]).result()[0].data
    again = [StatevectorSampler(seed=k) for k in range(3)]
    for name, width in (("low", 1), ("high", 9)):
        alone = []
        for sampler, rows in zip(again, ([0, 1], [2, 3], [4, 5, 6]), strict=True):
            part = (circuit, {tuple(circuit.parameters): values[:, rows]}, 11)
            alone.append(sampler.run([part]).result()[0].data[name].array)
        assert data[name].num_bits == width
        assert (data[name].array == np.concatenate(alone, axis=1)).all()
        again = [StatevectorSampler(seed=k) for k in range(3)]


def test_parts_that_took_different_shots_are_not_put_together():
    pub = SamplerPub.coerce((measured(), np.zeros((4, 5))))
    samplers = [StatevectorSampler(default_shots=shots) for shots in (10, 20)]
    job = DispatchingSampler(samplers).run([pub])
    with pytest.raises(e.ResultError, match=r"\[10, 20\] shots.*same default"):
        job.result()
    assert DispatchingSampler(samplers).run([pub], shots=7).result()[0].data.meas.num_shots == 7


def test_parameters_without_names_in_common_arrays_are_cut_together():
    circuit = hybrid()
    rng = np.random.default_rng(3)
    bindings = BindingsArray({tuple(X): rng.random((7, 2)), **{a: rng.random(7) for a in A}})
    pub = EstimatorPub.coerce((circuit, COLUMN, bindings))
    (found,) = values_of(DispatchingEstimator([BatchedStatevectorEstimator()] * 3), pub)
    assert (found == values_of(BatchedStatevectorEstimator(), pub)[0]).all()


@both
@pytest.mark.parametrize("shape", [(), (5,)])
def test_circuits_without_parameters_run_once(family, shape):
    circuit = QuantumCircuit(1)
    circuit.x(0)
    pub = EstimatorPub.coerce((circuit, "Z", BindingsArray({}, shape=shape)))
    if family is SAMPLER:
        circuit.measure_all()
        pub = SamplerPub.coerce((circuit, BindingsArray({}, shape=shape), 3))
    counters = [family.counting(family.usual()) for _ in range(2)]
    dispatching = family.dispatching(counters, Jobs(max_bytes=1.0))
    (found,) = family.values_of(dispatching, pub)
    expected = np.full((*shape, 3), 1) if family is SAMPLER else np.full(shape, -1.0)
    assert found.tolist() == expected.tolist()
    assert [c.runs for c in counters] == [[[shape]], []]


@both
def test_no_part_has_more_bytes_than_allowed(family):
    generator = np.random.default_rng(5)
    for _ in range(200):
        rows, width = (int(n) for n in generator.integers(1, 40, 2))
        x = ParameterVector("x", width)
        circuit = QuantumCircuit(1)
        for angle in x:
            circuit.rx(angle, 0)
        pub = EstimatorPub.coerce((circuit, "Z", {tuple(x): np.zeros((rows, width))}))
        if family is SAMPLER:
            pub = SamplerPub.coerce((circuit, {tuple(x): np.zeros((rows, width))}))
        pieces = [BatchedStatevectorEstimator()] * int(generator.integers(1, 4))
        limit = limit_for(pub, float(generator.uniform(1, rows + 1)))
        parts = cut(pub, 0, pieces, [limit_input(limit)])
        assert [p.start for p in parts[1:]] == [p.stop for p in parts[:-1]]
        assert parts[0].start == 0 and parts[-1].stop == rows
        assert all(p.rows == p.pub.shape[-1] > 0 for p in parts)
        assert max(p.rows for p in parts) - min(p.rows for p in parts) <= 1
        assert all(sum(size_of(p.pub)) <= limit for p in parts)


@both
def test_sizes_are_not_smaller_than_what_travels(family):
    pub = family.pub((50,))
    buffer = io.BytesIO()
    qpy.dump(pub.circuit, buffer)
    values = pub.parameter_values.as_array().nbytes
    assert sum(size_of(pub)) >= ENCODED * (buffer.tell() + values)


def test_circuits_larger_than_a_job_are_not_cut_into_single_rows():
    pub = pub_of(ONE, (7,))
    assert len(cut(pub, 0, [BatchedStatevectorEstimator()] * 2, [limit_input(1.0)])) == 2


# -- several primitives ------------------------------------------------------------------------


@both
@pytest.mark.parametrize("rows", [12, 13])
@pytest.mark.parametrize("most", [100, 5, 4, 1])
def test_all_get_equal_shares(family, rows, most):
    pub = family.pub((rows,))
    counters = [family.counting() for _ in range(3)]
    family.values_of(family.dispatching(counters, Jobs(max_bytes=limit_for(pub, most))), pub)
    jobs = [len(c.runs) for c in counters]
    shares = [sum(s[-1] for (s,) in c.runs) for c in counters]
    assert sum(shares) == rows
    # A part more or a row more in each part, where the numbers do not divide.
    assert max(jobs) - min(jobs) <= (rows < 3 * max(jobs))
    assert max(shares) - min(shares) <= max(jobs)


@both
def test_all_parts_are_submitted_before_a_result_is_asked_for(family, tmp_path):
    plan, ledger = Plan(), Ledger(tmp_path / "ledger")
    services = [family.service(ledger, name=name, plan=plan) for name in "abc"]
    uncut = family.pub(()) if family is SAMPLER else pub_of(ROW, (4,))
    pubs = [family.pub((6,)), family.pub((2, 5), 1), uncut]
    job = family.dispatching(services).run(pubs)
    assert [what for what, _ in plan.log] == ["accepted"] * 7
    assert job.job_ids == tuple(j["id"] for j in ledger.jobs) and job.done()
    found = [family.values(result) for result in job.result()]
    expected = family.truth(*pubs)
    assert all((a == b).all() for a, b in zip(found, expected, strict=True))
    assert job.result() is job.result()


@both
@pytest.mark.parametrize("where", ["submission", "result"])
@pytest.mark.parametrize("broken", [0, 1, 2])
def test_another_does_what_one_cannot(family, tmp_path, where, broken):
    plan, ledger, time = Plan(), Ledger(tmp_path / "ledger"), FakeTime()
    services = [family.service(ledger, name=name, plan=plan) for name in "abc"]
    if where == "submission":
        plan.on_submission[broken] = [RequestsApiError("unauthorised", 401)]
    else:
        plan.on_result[broken] = [failed_job(1517)]
    pub = family.pub((9,))
    (found,) = family.values_of(family.dispatching(services, Jobs(retry=time.retry())), pub)
    assert (found == family.truth(pub)[0]).all()
    homes = [j["id"][0] for j in ledger.jobs if j["id"] not in ledger.failed]
    assert len(homes) == 3 and "abc"[broken] not in homes
    assert time.delays == [] and ledger.duplicates() == []


@both
def test_none_left_to_do_it(family, tmp_path):
    ledger, plan = Ledger(tmp_path / "ledger"), Plan()
    services = [family.service(ledger, name=name, plan=plan) for name in "ab"]
    plan.on_submission = {k: [RequestsApiError("unauthorised", 401)] for k in (1, 2)}
    with pytest.raises(e.JobError, match="a-0") as caught:
        family.dispatching(services).run([family.pub((4,))])
    assert caught.value.job_ids == ("a-0",)
    assert caught.value.__cause__.status_code == 401


@both
def test_a_job_over_its_limit_is_halved_until_it_fits(family, tmp_path):
    service = family.service(tmp_path / "ledger", most_rows=3)
    pub = family.pub((13,))
    (found,) = family.values_of(family.dispatching(service), pub)
    assert (found == family.truth(pub)[0]).all()
    shapes = [j["shape"][-1] for j in service.ledger.jobs]
    assert shapes[:3] == [13, 6, 7] and max(s for s in shapes if s <= 3) == 3
    lasting = [j for j in service.ledger.jobs if j["id"] not in service.ledger.failed]
    assert sum(j["shape"][-1] for j in lasting) == 13


@both
def test_a_single_row_over_its_limit_is_an_error(family, tmp_path):
    service = family.service(tmp_path / "ledger", most_rows=0)
    with pytest.raises(e.JobError, match="1305") as caught:
        family.values_of(family.dispatching(service), family.pub((4,)))
    assert caught.value.job_ids == ("job-0", "job-1", "job-2", "job-3", "job-4")


# -- use ---------------------------------------------------------------------------------------


def test_precision_of_run_and_pub_reach_each_part():
    counters = [CountingEstimator() for _ in range(2)]
    dispatching = DispatchingEstimator(counters)
    circuit, theta = rotation()
    pub = (circuit, "Z", {(theta,): np.zeros((4, 1))})
    values_of(dispatching, pub, (*pub, 0.25), precision=0.5)
    assert [c.precisions for c in counters] == [[0.5, 0.25]] * 2


def test_shots_of_run_and_pub_reach_each_part():
    counters = [SAMPLER.counting() for _ in range(2)]
    pub = (measured(), np.zeros((4, 5)))
    dispatching = DispatchingSampler(counters)
    results = dispatching.run([pub, (*pub, 25)], shots=50).result()
    assert [c.shots for c in counters] == [[50, 25]] * 2
    assert [result.data.meas.num_shots for result in results] == [50, 25]
    dispatching.run([pub]).result()
    assert counters[0].shots[2:] == [None]  # its own


def test_a_module_trains_the_same_on_two():
    def gradient(estimator):
        module = TorchQuantumModule(
            hybrid(),
            ["ZZ", "XI"],
            input_params=X,
            estimator=estimator,
            gradient="parameter-shift",
            initial_weights=[0.1, 0.2, 0.3],
        )
        x = torch.linspace(0, 1, 10, dtype=torch.float64).reshape(5, 2).requires_grad_()
        module(x).square().sum().backward()
        return torch.cat([module.weight.grad, x.grad.ravel()])

    two = gradient(DispatchingEstimator([BatchedStatevectorEstimator() for _ in range(2)]))
    assert torch.equal(two, gradient(BatchedStatevectorEstimator()))


@both
@pytest.mark.parametrize("nothing", [[], ()])
def test_at_least_one_of_its_family(family, nothing):
    with pytest.raises(family.error, match=f"at least one {family.name}"):
        family.dispatching(nothing)
    for other in ("aer", family.usual, family.others()):
        with pytest.raises(family.error, match=f"V2 {family.name} primitive"):
            family.dispatching([family.usual(), other])


@pytest.mark.parametrize("option", [{"max_bytes": 0}, {"max_bytes": float("nan")}])
@pytest.mark.parametrize("value", [0, -5, True, 1.5, "many"])
def test_limits_are_checked(option, value):
    with pytest.raises(e.InputError, match="max_bytes"):
        DispatchingEstimator(BatchedStatevectorEstimator(), Jobs(**option))
    with pytest.raises(e.InputError, match="budget"):
        DispatchingEstimator(BatchedStatevectorEstimator(), Jobs(budget=value))


@both
def test_no_pubs(family):
    job = family.dispatching(family.usual()).run([])
    assert len(job.result()) == 0 and job.done() and job.job_ids == ()


@both
def test_one_inside_another_counts_once(family):
    pub = family.pub((8,))
    inner = family.dispatching([family.sure() for _ in range(2)])
    with Tracker() as tracker:
        (found,) = family.values_of(family.dispatching([inner, family.sure()]), pub)
    assert (tracker.usage.jobs, tracker.usage.points) == (3, 8)
    assert (found == family.truth(pub)[0]).all()


@both
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_work(family, copied):
    twin = copied(family.dispatching(family.sure()))
    pub = family.pub((2,))
    assert (family.values_of(twin, pub)[0] == family.truth(pub)[0]).all()


def test_what_a_sampler_cannot_take_is_refused_before_anything_runs():
    sampler = SAMPLER.counting()
    dispatching = DispatchingSampler(sampler)
    for wrong in (measured(), "pub", 5, None, {"pub": measured()}):
        with pytest.raises(e.BridgeError, match="Expected pubs to be a list"):
            dispatching.run(wrong)
    for wrong in (5, (measured(),), (measured(), np.zeros((4, 3))), (measured(), 1, 2, 3)):
        with pytest.raises(e.InputError, match=r"\(circuit, parameter values, shots\)"):
            dispatching.run([(measured(), np.zeros(5)), wrong])
    for shots in (0, -1, 1.5, True, "many"):
        with pytest.raises(e.PrecisionError, match="shots"):
            dispatching.run([(measured(), np.zeros(5))], shots=shots)
    assert sampler.runs == []


def test_a_circuit_that_grew_where_it_was_is_larger():
    """The limit of a job is for what is sent now, whatever was sent before."""
    circuit = QuantumCircuit(2)
    found = []
    for _ in range(3):
        for angle in np.linspace(0, 1, 50):
            circuit.rx(angle, 0)
        found.append(size_of(EstimatorPub.coerce((circuit, "ZZ"))).fixed)
    assert found == [size_of(EstimatorPub.coerce((c, "ZZ"))).fixed for c in grown(circuit)]
    assert found[0] < found[1] < found[2]


def grown(circuit):
    """The circuit when it had a third, two thirds, and all of its gates."""
    for count in (50, 100, 150):
        part = circuit.copy_empty_like()
        for instruction in circuit.data[:count]:
            part.append(instruction)
        yield part
