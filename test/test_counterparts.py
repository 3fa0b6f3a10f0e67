# SPDX-License-Identifier: Apache-2.0
"""The sampler that goes with an estimator, and the other way round: where, how much, how noisy."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.primitives import (
    BackendEstimatorV2,
    BackendSamplerV2,
    BaseEstimatorV2,
    BaseSamplerV2,
    StatevectorEstimator,
    StatevectorSampler,
)
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, ReadoutError
from qiskit_aer.primitives import EstimatorV2 as AerEstimator
from qiskit_aer.primitives import SamplerV2 as AerSampler

from qiskit_torch_bridge import CircuitProgram, OnBackend, Probabilities
from qiskit_torch_bridge.backends import ExecutorEstimator, ExecutorSampler, prepare
from qiskit_torch_bridge.backends.counterparts import find_counterpart, prepare_counterpart
from qiskit_torch_bridge.backends.simulators import FreshSeedsEstimator, FreshSeedsSampler
from qiskit_torch_bridge.jobs import DispatchingEstimator, DispatchingSampler, Jobs
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator, BatchedStatevectorSampler
from qiskit_torch_bridge.primitives.precision import default_precision, default_shots
from qiskit_torch_bridge.program.readouts import Outcomes

DEVICE = GenericBackendV2(3, noise_info=False, seed=1)
POOL = ThreadPoolExecutor(1)
ESTIMATOR = BackendEstimatorV2(backend=DEVICE, options={"default_precision": 0.1})
SAMPLER = BackendSamplerV2(backend=DEVICE, options={"default_shots": 100})

PAIRS: dict[str, tuple[Any, Any]] = {
    "statevector": (
        StatevectorEstimator(default_precision=0.1),
        BatchedStatevectorSampler(default_shots=100),
    ),
    "batched": (
        BatchedStatevectorEstimator(default_precision=0.1, noise="shots"),
        BatchedStatevectorSampler(default_shots=100),
    ),
    "backend": (ESTIMATOR, SAMPLER),
    "aer": (AerEstimator(options={"default_precision": 0.1}), AerSampler(default_shots=100)),
    "fresh seeds": (
        FreshSeedsEstimator(AerEstimator(options={"default_precision": 0.1}), 5),
        FreshSeedsSampler(AerSampler(default_shots=100), 5),
    ),
    "executor": (
        ExecutorEstimator(POOL, StatevectorEstimator(default_precision=0.1)),
        ExecutorSampler(POOL, BatchedStatevectorSampler(default_shots=100)),
    ),
    "dispatching": (
        DispatchingEstimator(
            BackendEstimatorV2(backend=DEVICE, options={"default_precision": 0.1})
        ),
        DispatchingSampler(BackendSamplerV2(backend=DEVICE, options={"default_shots": 100})),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_as_many_shots_in_the_same_place(name: str) -> None:
    """A precision of 0.1 is that of 100 shots."""
    estimator, sampler = PAIRS[name]
    found = find_counterpart(estimator)
    assert type(found) is type(sampler) and default_shots(found) == 100
    back = find_counterpart(sampler)
    assert isinstance(back, BaseEstimatorV2) and default_precision(back) == 0.1
    if name != "statevector":
        assert type(back) is type(estimator)
    for one, other in ((estimator, found), (sampler, back)):
        assert getattr(one, "backend", None) is getattr(other, "backend", None)
        assert getattr(one, "executor", None) is getattr(other, "executor", None)


def test_what_is_exact_gets_the_samplers_own_default() -> None:
    for estimator in (StatevectorEstimator(), BatchedStatevectorEstimator(), AerEstimator()):
        found: Any = find_counterpart(estimator)
        assert found.default_shots == type(found)().default_shots
    assert type(find_counterpart(StatevectorSampler())) is BatchedStatevectorEstimator


def flipping() -> AerSimulator:
    """A simulator whose first qubit reads 1 for 0 always."""
    noise = NoiseModel()
    noise.add_readout_error(ReadoutError([[0, 1], [0, 1]]), [0])
    return AerSimulator(noise_model=noise)


@pytest.mark.parametrize(
    "estimator",
    [AerEstimator.from_backend(flipping()), BackendEstimatorV2(backend=flipping())],
    ids=["aer", "backend"],
)
def test_noise_is_that_of_the_same_backend(estimator: Any) -> None:
    circuit = QuantumCircuit(2)
    circuit.measure_all()
    for primitive in (estimator, FreshSeedsEstimator(estimator, 1)):
        sampler: Any = find_counterpart(primitive)
        assert sampler.run([circuit], shots=20).result()[0].data.meas.get_counts() == {"01": 20}
        again: Any = find_counterpart(find_counterpart(sampler))
        assert again.run([circuit], shots=20).result()[0].data.meas.get_counts() == {"01": 20}


def counts(sampler: Any) -> tuple[int, ...]:
    """How often 1 is found in five jobs."""
    theta = Parameter("theta")
    circuit = QuantumCircuit(1)
    circuit.ry(theta, 0)
    circuit.measure_all()
    jobs = [sampler.run([(circuit, [1.5])], shots=1000).result()[0].data.meas for _ in range(5)]
    return tuple(bits.get_counts()["1"] for bits in jobs)


@pytest.mark.parametrize(
    "make",
    [
        lambda: FreshSeedsEstimator(AerEstimator(), 5),
        lambda: BatchedStatevectorEstimator(seed=5),
        lambda: ExecutorEstimator(POOL, AerEstimator(), seed=5),
    ],
    ids=["fresh seeds", "batched", "executor"],
)
def test_random_numbers_are_reproducible_and_its_own(make: Any) -> None:
    """Two counterparts of one estimator differ, and those of its equal are the same two."""
    estimator, equal = make(), make()
    first, second = counts(find_counterpart(estimator)), counts(find_counterpart(estimator))
    assert first != second and len(set(first)) > 1
    assert [counts(find_counterpart(equal)) for _ in "12"] == [first, second]


@pytest.mark.parametrize(
    "estimator",
    [
        BackendEstimatorV2(backend=AerSimulator(), options={"seed_simulator": 7}),
        AerEstimator(options={"run_options": {"seed_simulator": 7}}),
    ],
    ids=["backend", "aer"],
)
def test_a_fixed_seed_stays_fixed(estimator: Any) -> None:
    assert len(set(counts(find_counterpart(estimator)))) == 1


def test_journal_budget_and_checks_go_along() -> None:
    jobs = Jobs(budget=1000)
    estimator = DispatchingEstimator([StatevectorEstimator()] * 2, jobs, checks=[print])
    found: Any = find_counterpart(estimator)
    assert [type(s) for s in found.samplers] == [BatchedStatevectorSampler] * 2
    assert found.budget is estimator.budget and found.checks == estimator.checks


class Foreign(BaseEstimatorV2):
    """Of an unknown kind."""

    def run(self, pubs: Any, *, precision: float | None = None) -> Any:
        raise NotImplementedError


class Derived(BackendEstimatorV2):
    """Of a known kind, in somebody's own class."""


def test_kinds_that_nothing_is_known_of_have_none() -> None:
    assert find_counterpart(Foreign()) is None
    assert find_counterpart(FreshSeedsEstimator(Foreign(), 1)) is None
    assert find_counterpart(DispatchingEstimator([StatevectorEstimator(), Foreign()])) is None
    assert type(find_counterpart(Derived(backend=DEVICE))) is BackendSamplerV2


@pytest.mark.filterwarnings("ignore:.*V2 class is deprecated")
def test_of_the_runtime() -> None:
    """In the same session, with the options that both have."""
    runtime = pytest.importorskip("qiskit_ibm_runtime")
    session = runtime.Session(backend=DEVICE)
    options = {
        "default_shots": 100,
        "resilience_level": 1,
        "dynamical_decoupling": {"enable": True},
        "simulator": {"seed_simulator": 3},
    }
    estimator = runtime.EstimatorV2(mode=session, options=options)
    sampler: Any = find_counterpart(estimator)
    assert type(sampler) is runtime.SamplerV2 and sampler.mode is session
    assert sampler.options.default_shots == 100
    assert sampler.options.dynamical_decoupling.enable is True
    assert sampler.options.simulator.seed_simulator == 3
    sampler.options.simulator.seed_simulator = 4
    assert estimator.options.simulator.seed_simulator == 3
    back: Any = find_counterpart(sampler)
    assert type(back) is runtime.EstimatorV2 and back.mode is session
    assert back.options.default_shots == 100
    alone: Any = find_counterpart(runtime.EstimatorV2(mode=DEVICE))
    assert alone.mode is None and alone.backend() is DEVICE


def test_of_the_runtimes_client_side_primitives() -> None:
    estimators = pytest.importorskip("qiskit_ibm_runtime.executor_estimator")
    samplers = pytest.importorskip("qiskit_ibm_runtime.executor_sampler")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = estimators.Estimator(mode=DEVICE)
        estimator.options.default_shots = 100
        sampler: Any = find_counterpart(estimator)
        back: Any = find_counterpart(sampler)
    assert type(sampler) is samplers.Sampler and sampler.backend() is DEVICE
    assert sampler.options.default_shots == 100
    assert type(back) is estimators.Estimator and back.options.default_shots == 100


def test_a_transpiled_circuit_is_sampled_where_it_is() -> None:
    """With the options that a sampler has, and a precision as shots."""
    circuit = QuantumCircuit(2)
    circuit.x(0)
    options = {"abelian_grouping": False, "default_precision": 0.1}
    on = OnBackend(GenericBackendV2(4, noise_info=False, seed=2), options=options)
    observed = prepare(CircuitProgram(circuit, "ZZ"), on, seed=1)
    asked = CircuitProgram(circuit, Probabilities([1, 0]))
    found = prepare_counterpart(asked, on, observed.isa_circuit, 1)
    assert found.isa_circuit is observed.isa_circuit
    assert isinstance(found.primitive, BaseSamplerV2) and found.primitive.default_shots == 100
    readout = found.program.readout
    assert isinstance(readout, Outcomes)
    result = found.primitive.run([readout.measure(found.program.circuit)]).result()
    assert result[0].data.meas.get_counts() == {"10": 100}
    back = prepare_counterpart(CircuitProgram(circuit, "ZZ"), on, observed.isa_circuit)
    assert back.primitive.options.abelian_grouping is False
