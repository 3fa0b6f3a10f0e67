# SPDX-License-Identifier: Apache-2.0
"""Trackers count what estimators really get, and budgets stop before more is submitted."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from circuits import X, hybrid, rotation
from estimators import CountingEstimator, CountingSampler
from families import ESTIMATOR, both
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.primitives import (
    BackendEstimatorV2,
    BackendSamplerV2,
    StatevectorEstimator,
    StatevectorSampler,
)
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import SparsePauliOp, random_pauli_list
from qiskit_aer import AerSimulator
from qiskit_aer.primitives import EstimatorV2 as AerEstimator
from qiskit_aer.primitives import SamplerV2 as AerSampler
from qiskit_algorithms.gradients import ParamShiftEstimatorGradient

from qiskit_torch_bridge import Probabilities, TorchQuantumModule, Tracker
from qiskit_torch_bridge.backends.simulators import FreshSeedsEstimator, FreshSeedsSampler
from qiskit_torch_bridge.exceptions import BudgetError, InputError, InputTypeError
from qiskit_torch_bridge.jobs import Budget, DispatchingEstimator, DispatchingSampler, Jobs
from qiskit_torch_bridge.primitives import (
    BatchedStatevectorEstimator,
    BatchedStatevectorSampler,
    shots_to_precision,
)
from qiskit_torch_bridge.primitives.usage import Usage, count_usage

OBSERVABLES = ["ZZ", "XX", SparsePauliOp(["IZ", "YI"], [0.5, 2.0])]
GROUPS = 3  # of ZZ, XX, IZ, YI: {ZZ, IZ}, {XX}, {YI}


class Bench:
    """An AerSimulator that notes the circuits and shots of each call."""

    def __init__(self) -> None:
        self.backend = AerSimulator(method="statevector")
        self.circuits = self.shots = 0
        inner = self.backend.run

        def run(circuits, **options):
            circuits = circuits if isinstance(circuits, list) else [circuits]
            self.circuits += len(circuits)
            self.shots += len(circuits) * options["shots"]
            return inner(circuits, **options)

        self.backend.run = run

    def estimator(self, **options) -> BackendEstimatorV2:
        return BackendEstimatorV2(backend=self.backend, options=options)


def step(estimator, rows=2, measurement=OBSERVABLES, **options):
    """One pass forward and one backward."""
    module = TorchQuantumModule(
        hybrid(),
        measurement,
        input_params=X,
        estimator=estimator,
        gradient="parameter-shift",
        initial_weights=[0.1, 0.2, 0.3],
        **options,
    )
    module(torch.linspace(0, 1, 2 * rows).reshape(rows, 2)).square().sum().backward()
    return module.cost(rows).usage


# -- against what estimators see ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "shots", "samples"),
    [
        (lambda: BatchedStatevectorEstimator(), None, False),
        (lambda: BatchedStatevectorEstimator(), 50, True),
        (lambda: BatchedStatevectorEstimator(default_precision=0.125), None, True),
        (lambda: BatchedStatevectorEstimator(noise="gaussian"), 50, False),
        (lambda: StatevectorEstimator(), None, False),
        (lambda: StatevectorEstimator(default_precision=0.125), None, False),
        (lambda: AerEstimator(), None, False),
        (lambda: AerEstimator(), 50, False),
        (lambda: FreshSeedsEstimator(AerEstimator(), 1), 50, False),
    ],
)
def test_usage_is_what_a_counting_estimator_sees(make, shots, samples):
    counting = CountingEstimator(make())
    with Tracker() as tracker:
        step(counting, shots=shots)
    points = sum(shape[-1] for run in counting.runs for shape in run)
    assert counting.runs[0] == [(3, 2)] and len(counting.runs) == 2
    circuits = GROUPS * points if samples else 0
    each = 50 if shots else 64
    assert tracker.usage == Usage(2, 2, points, circuits, circuits * each)
    if not samples:
        return
    precision = None if shots is None else shots_to_precision(shots)
    probe = make().run([(hybrid().assign_parameters([0.0] * 5), "ZZ")], precision=precision)
    assert probe.result()[0].metadata["shots"] == each


SAMPLERS = {
    "batched": lambda: BatchedStatevectorSampler(default_shots=64, seed=1),
    "statevector": lambda: StatevectorSampler(default_shots=64),
    "Aer": lambda: AerSampler(default_shots=64),
    "backend": lambda: BackendSamplerV2(backend=AerSimulator(), options={"default_shots": 64}),
    "fresh seeds": lambda: FreshSeedsSampler(AerSampler(default_shots=64), 1),
    "dispatching": lambda: DispatchingSampler(StatevectorSampler(default_shots=64)),
}


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("shots", [50, None])
def test_a_sampler_measures_a_circuit_for_each_point(name, shots):
    counting = CountingSampler(SAMPLERS[name]())
    with Tracker() as tracker:
        cost = step(counting, measurement=Probabilities([0, 1]), shots=shots)
    points = sum(shape[-1] for run in counting.runs for shape in run)
    assert counting.runs[0] == [(2,)] and len(counting.runs) == 2
    assert set(counting.shots) == {shots}
    assert tracker.usage == cost == Usage(2, 2, points, points, points * (shots or 64))


@pytest.mark.parametrize("name", SAMPLERS)
def test_circuits_of_observables_on_a_sampler_are_counted(name):
    """One for each group at each point, whoever counts: the step, its cost and the sampler."""
    counting = CountingSampler(SAMPLERS[name]())
    with Tracker() as tracker:
        cost = step(counting, shots=50)
    circuits = sum(shape[-1] for run in counting.runs for shape in run)
    assert len(counting.runs[0]) == GROUPS and set(counting.shots) == {50}
    assert tracker.usage == cost
    assert (tracker.usage.circuits, tracker.usage.shots) == (circuits, 50 * circuits)


def test_observables_on_dispatched_samplers_are_counted_once():
    """Where they run, and a step that would exceed their budget is not begun."""
    counters = [CountingSampler() for _ in range(2)]
    sampler = DispatchingSampler(counters, Jobs(budget=Usage(shots=10_000)))
    with Tracker() as tracker:
        cost = step(sampler, shots=10)
    assert tracker.usage == cost == sampler.used
    assert tracker.usage.jobs == sum(len(c.runs) for c in counters)
    before = tracker.usage
    with pytest.raises(BudgetError, match="This step needs"):
        step(sampler, rows=50, shots=10)
    assert sampler.used == before


@pytest.mark.parametrize("grouping", [True, False])
def test_circuits_and_shots_are_those_that_the_backend_gets(grouping):
    bench = Bench()
    with Tracker() as tracker:
        step(bench.estimator(abelian_grouping=grouping), shots=10)
    assert (tracker.usage.circuits, tracker.usage.shots) == (bench.circuits, bench.shots)
    assert bench.circuits == (GROUPS if grouping else 4) * tracker.usage.points


@pytest.mark.parametrize("precision", [0.3, 1 / np.sqrt(3), 1 / np.sqrt(7), 0.25, None])
def test_shots_are_rounded_as_the_backend_does(precision):
    bench = Bench()
    estimator = bench.estimator(default_precision=0.2)
    circuit = QuantumCircuit(1)
    estimator.run([(circuit, "Z")], precision=precision).result()
    assert count_usage(estimator, [(circuit, "Z")], precision).shots == bench.shots
    batched = BatchedStatevectorEstimator(default_precision=0.2, seed=1)
    job = batched.run([(circuit, "Z")], precision=precision)
    assert job.result()[0].metadata["shots"] == bench.shots


@pytest.mark.parametrize("seed", range(6))
def test_groups_of_random_observables_paired_with_points_and_not(seed):
    bench, rng = Bench(), np.random.default_rng(seed)
    estimator = bench.estimator(default_precision=0.5)
    circuit = QuantumCircuit(3)
    for q in range(3):
        circuit.ry(Parameter(f"t{q}"), q)

    def observable():
        terms = random_pauli_list(3, int(rng.integers(1, 5)), rng, phase=False).to_labels()
        return SparsePauliOp(terms, rng.uniform(1, 2, len(terms)))

    for observables, shape in (
        ([observable() for _ in range(4)], (4,)),
        ([[observable()] for _ in range(3)], (4,)),
        ([observable() for _ in range(3)], (4, 1)),
        ([[observable() for _ in range(2)] for _ in range(3)], (3, 2)),
        ([observable() for _ in range(3)], ()),
        (observable(), (2, 2)),
        ("III", (3,)),
    ):
        bench.circuits = bench.shots = 0
        pub = (circuit, observables, rng.random((*shape, 3)))
        estimator.run([pub]).result()
        usage = count_usage(estimator, [pub], None)
        assert (usage.circuits, usage.shots) == (bench.circuits, bench.shots)
        assert usage.points == np.prod(shape)


def test_gradients_of_another_package_on_a_dispatching_estimator():
    bench = Bench()
    estimator = DispatchingEstimator(bench.estimator(default_precision=0.25))
    circuit = QuantumCircuit(1)
    circuit.ry(Parameter("t"), 0)
    gradient = ParamShiftEstimatorGradient(estimator)
    module = TorchQuantumModule(
        circuit, ["Z", "X"], estimator=estimator, gradient=gradient, initial_weights=[0.4]
    )
    with Tracker() as tracker:
        module().sum().backward()
    assert (tracker.usage.circuits, tracker.usage.shots) == (bench.circuits, bench.shots)
    assert estimator.used == tracker.usage


def test_parts_are_counted_as_jobs_where_they_run():
    benches = [Bench(), Bench()]
    estimator = DispatchingEstimator([b.estimator(default_precision=0.5) for b in benches])
    with Tracker() as tracker:
        step(estimator, rows=4)
    assert estimator.used == tracker.usage and tracker.usage.jobs == 4
    assert tracker.usage.circuits == sum(b.circuits for b in benches)
    assert tracker.usage.shots == sum(b.shots for b in benches)


# -- trackers ----------------------------------------------------------------------------------


def test_nested_and_consecutive_trackers():
    estimator = BatchedStatevectorEstimator()
    with Tracker() as outer:
        step(estimator)
        with Tracker() as inner:
            step(estimator)
        assert outer.usage == inner.usage + inner.usage
        before = inner.usage
        step(estimator)
    step(estimator)
    assert inner.usage == before and outer.usage.jobs == 3 * before.jobs == 6


def test_a_tracker_closes_when_the_block_raises():
    tracker = Tracker()
    with pytest.raises(ZeroDivisionError), tracker:
        step(BatchedStatevectorEstimator())
        _ = 1 / 0
    step(BatchedStatevectorEstimator())
    assert tracker.usage.jobs == 2


def test_threads_are_counted_all_of_them():
    threads, each = 6, 5
    estimator = BatchedStatevectorEstimator()
    opened = []

    def work():
        with Tracker() as own:
            for _ in range(each):
                step(estimator, rows=1)
        opened.append(own.usage.jobs)

    with Tracker() as tracker:
        workers = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert tracker.usage.jobs == 2 * threads * each
    assert all(2 * each <= jobs <= 2 * threads * each for jobs in opened)  # those of others, too
    with Tracker() as after:
        pass
    assert after.usage == Usage()


# -- budget ------------------------------------------------------------------------------------


def training(budget, count=1, steps=10, family=ESTIMATOR):
    """Train until the budget ends; return weights after each step and what was seen."""
    counters = [family.counting() for _ in range(count)]
    estimator = family.dispatching(counters, Jobs(budget=budget))
    module = TorchQuantumModule(
        hybrid(),
        OBSERVABLES if family is ESTIMATOR else Probabilities([0, 1]),
        input_params=X,
        estimator=estimator,
        gradient="parameter-shift",
        shots=10,
        seed=1,
        initial_weights=[0.1, 0.2, 0.3],
    )
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    done = 0
    for _ in range(steps):
        before = module.weight.detach().clone()
        runs = sum(len(c.runs) for c in counters)
        optimizer.zero_grad()
        try:
            y = module(torch.ones(4, 2))
            runs = sum(len(c.runs) for c in counters)
            y.sum().backward()
        except BudgetError as error:
            assert torch.equal(module.weight, before) and module.weight.grad is None
            assert sum(len(c.runs) for c in counters) == runs  # nothing of it was submitted
            return done, estimator.used, str(error)
        optimizer.step()
        done += 1
    return done, estimator.used, ""


@both
def test_the_step_that_would_exceed_the_budget_is_not_submitted(family):
    _, one, _ = training(None, steps=1, family=family)
    for steps, budget in ((2, 2 * one.shots), (2, 3 * one.shots - 1), (0, one.shots - 1)):
        done, used, message = training(budget, family=family)
        assert done == steps and used.shots <= budget
        assert "Nothing was submitted" in message and f"{budget:,}" in message


@pytest.mark.parametrize("name", ["jobs", "pubs", "points", "circuits", "shots"])
@pytest.mark.parametrize("count", [1, 2])
@both
def test_every_number_can_be_limited(family, name, count):
    _, one, _ = training(None, count, steps=1, family=family)
    limit = 2 * getattr(one, name)
    done, used, message = training(Usage(**{name: limit}), count, family=family)
    assert done == 2 and getattr(used, name) == limit and name in message


@both
def test_a_budget_holds_for_threads_together(family):
    estimator = family.dispatching(family.sure(), Jobs(budget=Usage(jobs=10)))
    pub = family.pub((1,))
    refused = []

    def work():
        for _ in range(5):
            try:
                estimator.run([pub]).result()
            except BudgetError:
                refused.append(1)

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert estimator.used.jobs == 10 and len(refused) == 30


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:The EstimatorV2 class is deprecated")
def test_measuring_estimators_that_hide_their_precision_are_counted_at_the_usual_one():
    """The runtime leaves it unset and takes 1/64; a budget of shots must not count that as none."""
    runtime = pytest.importorskip("qiskit_ibm_runtime")
    estimator = runtime.EstimatorV2(mode=GenericBackendV2(2, seed=1))
    circuit, theta = rotation()
    pub = EstimatorPub.coerce((circuit, "Z", {(theta,): np.zeros((3, 1))}))
    assert count_usage(estimator, [pub], None).shots == 3 * 64**2


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 1.5, 1e6, -1, True, "100", None, [1], np.nan, np.bool_(1)]
)
@pytest.mark.parametrize("name", ["jobs", "pubs", "points", "circuits", "shots"])
def test_limits_are_whole_numbers(name, value):
    with pytest.raises(InputError, match=f"{name} of a Usage"):
        Usage(**{name: value})


def test_numbers_of_numpy_are_taken():
    assert Usage(shots=np.int64(5)) + Usage(shots=2) == Usage(shots=7)
    assert type(Usage(shots=np.int64(5)).shots) is int


@pytest.mark.parametrize("used", [5, "5", (1, 2)])
def test_what_was_used_is_a_usage(used):
    with pytest.raises(InputTypeError, match="used"):
        Budget(100, used)
