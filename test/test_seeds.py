# SPDX-License-Identifier: Apache-2.0
"""Every job of a simulator has noise of its own, and a seed repeats the whole sequence."""

from __future__ import annotations

import copy
import pickle
import threading

import numpy as np
import pytest
from circuits import rotation
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.primitives import BackendEstimatorV2, BackendSamplerV2, StatevectorSampler
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit_aer import AerSimulator
from qiskit_aer.primitives import EstimatorV2 as AerEstimator
from qiskit_aer.primitives import SamplerV2 as AerSampler
from scipy import stats

from qiskit_torch_bridge.backends.simulators import FreshSeedsEstimator, FreshSeedsSampler
from qiskit_torch_bridge.primitives import cutting

CIRCUIT, THETA = rotation()
PUB = (CIRCUIT, "Z", {(THETA,): np.linspace(1, 2, 8)[:, None]})

MAKERS = {
    "aer": lambda: AerEstimator(options={"default_precision": 0.01}),
    "backend": lambda: BackendEstimatorV2(
        backend=AerSimulator(), options={"default_precision": 0.01}
    ),
    "generic": lambda: BackendEstimatorV2(
        backend=GenericBackendV2(2, seed=1), options={"default_precision": 0.01}
    ),
}


@pytest.fixture(params=["aer", "backend"])
def make(request):
    return MAKERS[request.param]


def sequence(estimator, jobs=4, **options):
    return [tuple(estimator.run([PUB], **options).result()[0].data.evs) for _ in range(jobs)]


def count_calls(estimator, pub):
    return len(cutting.cut_into_calls([pub], estimator, cutting.INTERRUPTS))


def test_jobs_differ_and_the_sequence_repeats(make):
    first = sequence(FreshSeedsEstimator(make(), 5))
    assert len(set(first)) == 4
    assert sequence(FreshSeedsEstimator(make(), 5)) == first
    assert set(sequence(FreshSeedsEstimator(make(), 6))).isdisjoint(first)
    assert set(sequence(FreshSeedsEstimator(make(), None))).isdisjoint(first)


def test_a_fixed_seed_would_repeat_its_noise(make):
    """The trap that this avoids; if it is gone, the class is of no use any more."""
    estimator = make()
    if hasattr(estimator.options, "seed_simulator"):
        estimator.options.seed_simulator = 5
    else:
        estimator.options.run_options["seed_simulator"] = 5
    assert len(set(sequence(estimator))) == 1


def test_on_a_generic_backend():
    first = sequence(FreshSeedsEstimator(MAKERS["generic"](), 5), 2)
    assert (
        len(set(first)) == 2 and sequence(FreshSeedsEstimator(MAKERS["generic"](), 5), 2) == first
    )


def test_values_have_the_noise_asked_for(make):
    found = np.array(sequence(FreshSeedsEstimator(make(), 1), 8, precision=0.05))
    exact = np.cos(np.linspace(1, 2, 8))
    # 64 values of standard deviation at most 0.05 each; 5 standard deviations.
    assert np.abs(found - exact).max() < 5 * 0.05
    assert found.std(axis=0).min() > 0


def test_options_and_default_precision_are_the_estimators(make):
    estimator = make()
    fresh = FreshSeedsEstimator(estimator, 1)
    assert fresh.options is estimator.options and fresh.default_precision == 0.01


def test_threads_take_their_seeds_from_one_sequence(make):
    expected = sorted(sequence(FreshSeedsEstimator(make(), 9), 12))
    shared, found = FreshSeedsEstimator(make(), 9), []

    def work():
        found.extend(sequence(shared, 3))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(found) == expected


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_go_on_where_the_original_is(copied):
    estimator = FreshSeedsEstimator(MAKERS["aer"](), 3)
    sequence(estimator, 2)
    twin = copied(estimator)
    assert sequence(twin, 2) == sequence(estimator, 2)


def test_what_takes_long_is_run_in_several_calls(make, monkeypatch):
    """Each has noise of its own, and together they are in order; they count as one job."""
    runs, estimator = [], make()
    run = estimator.run
    estimator.run = lambda pubs: (runs.append(len(pubs)), run(pubs))[1]
    points = np.repeat(np.linspace(1, 2, 3), 4)
    pub = (CIRCUIT, [["Z"], ["X"]], {(THETA,): points[:, None]})
    whole = FreshSeedsEstimator(estimator, 5)
    assert count_calls(estimator, EstimatorPub.coerce(pub)) == 1
    whole.run([pub], precision=0.05)
    assert len(runs) == 1
    monkeypatch.setattr(cutting, "INTERRUPTS", cutting.INTERRUPTS._replace(most=1))
    fresh, again = FreshSeedsEstimator(estimator, 5), FreshSeedsEstimator(estimator, 5)
    result = fresh.run([pub, PUB], precision=0.05).result()
    assert len(runs) == 1 + 12 + 8
    found = result[0].data.evs
    assert found.shape == (2, 12) and result[1].data.evs.shape == (8,)
    # 24 values of standard deviation at most 0.05 each; 5 standard deviations.
    assert np.abs(found - [np.cos(points), np.sin(points)]).max() < 5 * 0.05
    assert (np.diff(found.reshape(2, 3, 4)) != 0).any(-1).all()
    assert (again.run([pub, PUB], precision=0.05).result()[0].data.evs == found).all()
    assert fresh._next() == whole._next()


def test_a_call_has_about_as_many_circuits_as_aer_simulates_in_half_a_second():
    """Noise, qubits, terms and shots make them fewer."""

    def calls(simulator, qubits, terms=1, shots=100):
        theta = Parameter("theta")
        circuit = QuantumCircuit(qubits)
        for q in range(qubits):
            circuit.ry(theta, q)
        observables = [["Z" * qubits], ["X" * qubits]][:terms]
        values = {(theta,): np.zeros((1000, 1))}
        pub = EstimatorPub.coerce((circuit, observables, values), shots**-0.5)
        return count_calls(BackendEstimatorV2(backend=simulator), pub)

    noisy = AerSimulator.from_backend(GenericBackendV2(8, seed=1))
    assert calls(AerSimulator(), 2) < calls(AerSimulator(), 2, terms=2)
    assert calls(AerSimulator(), 2) < calls(AerSimulator(), 2, shots=10_000)
    assert calls(AerSimulator(), 2) == calls(noisy, 2) < 10
    assert calls(AerSimulator(), 8) < calls(noisy, 7) < calls(noisy, 8) <= 1000
    assert calls(GenericBackendV2(2, seed=1), 2) == 1  # it is not known how long that takes


# -- samplers --------------------------------------------------------------------------------------

SAMPLERS = {
    "aer": AerSampler,
    "aer with a seed": lambda: AerSampler(seed=3),
    "aer with an option": lambda: AerSampler(
        options={"run_options": {"fusion_enable": False}, "backend_options": {"seed_simulator": 4}}
    ),
    "backend": lambda: BackendSamplerV2(backend=AerSimulator()),
    "generic": lambda: BackendSamplerV2(backend=GenericBackendV2(2, seed=1)),
    "statevector": lambda: StatevectorSampler(seed=3),
}
MEASURED = CIRCUIT.copy()
MEASURED.measure_all()
SAMPLED = (MEASURED, {(THETA,): np.linspace(1, 2, 8)[:, None]})


def outcomes(sampler, jobs=3, shots=200):
    """All outcomes of some jobs, as bytes."""
    run = [sampler.run([SAMPLED], shots=shots).result()[0].data.meas for _ in range(jobs)]
    return [bits.array.tobytes() for bits in run]


@pytest.mark.parametrize("name", SAMPLERS)
def test_jobs_of_samplers_differ_and_the_sequence_repeats(name):
    """Whatever seed the sampler itself has."""
    make = SAMPLERS[name]
    first = outcomes(FreshSeedsSampler(make(), 5))
    assert len(set(first)) == 3
    assert outcomes(FreshSeedsSampler(make(), 5)) == first
    assert set(outcomes(FreshSeedsSampler(make(), 6))).isdisjoint(first)


@pytest.mark.parametrize("name", ["aer", "backend", "generic"])
def test_points_of_a_job_have_shots_of_their_own(name):
    """Both points of a shift are in one job, and so are equal rows of a batch."""
    values = {(THETA,): np.full((50, 1), 1.2)}
    sampler = FreshSeedsSampler(SAMPLERS[name](), 2)
    bits = sampler.run([(MEASURED, values)], shots=100).result()[0].data.meas
    ones = (bits.array & 1).sum((-2, -1))
    p = np.sin(0.6) ** 2
    # The variance of 50 independent counts, by chi-square at one in a million.
    statistic = ((ones - 100 * p) ** 2).sum() / (100 * p * (1 - p))
    low, high = stats.chi2.ppf([5e-7, 1 - 5e-7], 50)
    assert len(set(map(bytes, bits.array[..., 0]))) == 50 and low < statistic < high


def test_a_sampler_does_not_repeat_the_noise_of_an_estimator():
    """From one seed both draw other seeds for their jobs."""
    estimator = FreshSeedsEstimator(MAKERS["aer"](), 7)
    sampler = FreshSeedsSampler(AerSampler(), 7)
    assert {estimator._next() for _ in range(5)}.isdisjoint({sampler._next() for _ in range(5)})


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_of_samplers_go_on_where_the_original_is(copied):
    sampler = FreshSeedsSampler(AerSampler(default_shots=17), 3)
    outcomes(sampler, 2)
    twin = copied(sampler)
    assert outcomes(twin, 2) == outcomes(sampler, 2)
    assert twin.default_shots == 17 and twin.options.run_options == {}


def test_a_job_of_a_sampler_may_be_skipped():
    whole, part = FreshSeedsSampler(AerSampler(), 5), FreshSeedsSampler(AerSampler(), 5)
    part.skip_job(SamplerPub.coerce(SAMPLED))
    assert outcomes(whole, 2)[1:] == outcomes(part, 1)


def test_what_takes_a_sampler_long_is_run_in_several_calls(monkeypatch):
    """Each has outcomes of its own, and together they are in order."""
    sampler, runs = BackendSamplerV2(backend=AerSimulator()), []
    run = sampler.run
    sampler.run = lambda pubs: (runs.append(len(pubs)), run(pubs))[1]
    monkeypatch.setattr(cutting, "INTERRUPTS", cutting.INTERRUPTS._replace(most=1))
    points = np.repeat([0.0, np.pi], 4)
    pub = (MEASURED, {(THETA,): points[:, None]})
    bits = FreshSeedsSampler(sampler, 5).run([pub], shots=30).result()[0].data.meas
    assert runs == [1] * 8 and (bits.shape, bits.num_shots) == ((8,), 30)
    assert ((bits.array & 1).mean((-2, -1)) == (points > 0)).all()
