# SPDX-License-Identifier: Apache-2.0
"""The batched sampler's outcomes: by the law of the state, independent, reproducible by a seed.

Each test makes one decision at a false-alarm rate of 1e-6 over all numbers it looks at
(Bonferroni), with fixed seeds. Probabilities come from Qiskit's Statevector.
"""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from circuits import CONTRACT, hybrid, layered, rotation
from qiskit.circuit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.quantum_info import Statevector, random_statevector
from scipy import stats

from qiskit_torch_bridge import memory
from qiskit_torch_bridge.exceptions import MemoryLimitError
from qiskit_torch_bridge.primitives import BatchedStatevectorSampler, batched_sampler, simulation
from qiskit_torch_bridge.primitives.inversion import invert

FAMILY = 1e-6
POINTS = np.full((4000, 1), 1.1)


def measured(circuit):
    circuit = circuit.copy()
    circuit.measure_all()
    return circuit


def coin():
    return measured(rotation()[0])


def run(sampler, *pubs, shots=400):
    return [r.data.meas for r in sampler.run(pubs, shots=shots).result()]


def ones(bits):
    """The number of ones at each point of a one-bit register."""
    return bits.array[..., 0].sum(axis=-1).astype(float)


def outcomes_of(bits):
    weights = 256 ** np.arange(bits.array.shape[-1])[::-1]
    return bits.array.astype(np.int64) @ weights


def assert_uncorrelated(series):
    r = np.corrcoef(np.asarray(series))[np.triu_indices(len(series), 1)]
    bound = stats.norm.isf(FAMILY / 2 / r.size) / np.sqrt(np.shape(series)[1])
    assert np.abs(r).max() < bound, r


def assert_frequencies(counts, probabilities, family=FAMILY):
    """Pearson's test, outcomes of less than ten expected counts taken together."""
    expected = probabilities * counts.sum()
    assert not counts[expected < 1e-12].any()
    rare = expected < 10
    found, wanted = counts[~rare], expected[~rare]
    if expected[rare].sum() >= 10:
        found, wanted = (
            np.append(found, counts[rare].sum()),
            np.append(wanted, expected[rare].sum()),
        )
    if len(found) > 1:
        chi = ((found - wanted) ** 2 / wanted).sum()
        assert stats.chi2.sf(chi, max(1, len(found) - 1)) > family


@pytest.mark.parametrize("name", CONTRACT)
@pytest.mark.parametrize("dtype", ["complex128", "complex64"])
def test_outcomes_follow_the_state(name, dtype):
    circuit = CONTRACT[name]()
    values = np.random.default_rng(4).uniform(-3, 3, (3, circuit.num_parameters))
    sampler = BatchedStatevectorSampler(seed=2, dtype=dtype)
    (bits,) = run(sampler, (measured(circuit), values), shots=20_000)
    for row, point in zip(outcomes_of(bits), values, strict=True):
        bound = circuit.assign_parameters(dict(zip(circuit.parameters, point, strict=True)))
        probabilities = Statevector(bound).probabilities()
        if dtype == "complex64":  # amplitudes of rounding
            probabilities = np.where(probabilities < 1e-12, 0.0, probabilities)
        counts = np.bincount(row, minlength=len(probabilities))
        assert_frequencies(counts, probabilities / probabilities.sum(), FAMILY / 3)


@pytest.mark.parametrize("shots", [30, 1000, 100_000])
def test_few_and_many_shots_of_many_outcomes(shots):
    """Ten of twelve qubits in an order of their own, on one state."""
    state = random_statevector(1 << 12, seed=3)
    circuit = QuantumCircuit(QuantumRegister(12), ClassicalRegister(10, "meas"))
    circuit.prepare_state(state)
    order = np.random.default_rng(1).permutation(12)[:10].tolist()
    circuit.measure(order, range(10))
    (bits,) = run(
        BatchedStatevectorSampler(seed=2), (circuit, np.zeros((300_000 // shots, 0))), shots=shots
    )
    counts = np.bincount(outcomes_of(bits).ravel(), minlength=1 << 10)
    assert_frequencies(counts, state.probabilities(order))


def test_counts_are_binomial():
    """Neither more alike than drawn shot by shot, nor less."""
    (bits,) = run(BatchedStatevectorSampler(seed=5), (coin(), POINTS), shots=50)
    law = stats.binom(50, np.sin(0.55) ** 2)
    assert_frequencies(np.bincount(ones(bits).astype(int), minlength=51), law.pmf(np.arange(51)))


def test_shots_come_in_no_order():
    """Distances between ones are geometric: made continuous, they are uniform by Kolmogorov."""
    (bits,) = run(BatchedStatevectorSampler(seed=6), (coin(), POINTS[:5]), shots=100_000)
    p = np.sin(0.55) ** 2
    for row in bits.array[..., 0]:
        gaps = np.diff(np.flatnonzero(row))
        law = stats.geom(p)
        spread = np.random.default_rng(1).random(len(gaps))
        assert (
            stats.kstest(law.cdf(gaps - 1) + spread * law.pmf(gaps), "uniform").pvalue > FAMILY / 5
        )


def test_calls_pubs_points_and_shots_are_independent():
    pub, sampler = (coin(), POINTS), BatchedStatevectorSampler(seed=3)
    series = [ones(bits) for bits in (*run(sampler, pub, pub), *run(sampler, pub))]
    assert_uncorrelated(series)
    assert_uncorrelated([series[0][:-1], series[0][1:]])
    assert_uncorrelated([series[0][:2000], series[0][2000:]])
    assert_uncorrelated([series[0], ones(run(BatchedStatevectorSampler(seed=4), pub)[0])])
    shots = run(sampler, pub, shots=30)[0].array[..., 0].astype(float)
    assert_uncorrelated(shots.T)


def test_bits_of_one_shot_belong_together():
    """All registers show the same outcome: those of a Bell pair agree, shot by shot."""
    circuit = QuantumCircuit(QuantumRegister(2), *(ClassicalRegister(1, name) for name in "abc"))
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure([0, 1, 0], [0, 1, 2])
    data = BatchedStatevectorSampler(seed=1).run([circuit], shots=1000).result()[0].data
    assert 0 < data.a.array.sum() < 1000
    np.testing.assert_array_equal(data.a.array, data.b.array)
    np.testing.assert_array_equal(data.a.array, data.c.array)


def test_a_seed_repeats_a_sequence_of_runs():
    pub = (measured(hybrid()), np.random.default_rng(0).uniform(-3, 3, (20, 5)))

    def sequence(seed):
        sampler = BatchedStatevectorSampler(seed=seed)
        return np.array([[b.array for b in run(sampler, pub, pub)] for _ in range(2)])

    first = sequence(5)
    assert len({noisy.tobytes() for noisy in first.reshape(4, -1)}) == 4
    np.testing.assert_array_equal(sequence(5), first)
    np.testing.assert_array_equal(sequence(np.random.default_rng(5)), first)
    assert not np.array_equal(sequence(6), first)
    assert not np.array_equal(sequence(None), sequence(None))


def test_copies_pickles_and_skipped_jobs_go_on():
    pub = (coin(), POINTS[:5])
    sampler = BatchedStatevectorSampler(default_shots=50, seed=1, dtype="complex64")
    run(sampler, pub)
    others = [copy.deepcopy(sampler), pickle.loads(pickle.dumps(sampler))]
    for other in others:
        assert (other.default_shots, other.dtype) == (50, "complex64")
    skipped = copy.deepcopy(sampler)
    skipped.skip_job(SamplerPub.coerce(pub))
    first, second = (run(sampler, pub)[0].array for _ in range(2))
    for other in others:
        np.testing.assert_array_equal(run(other, pub)[0].array, first)
    np.testing.assert_array_equal(run(skipped, pub)[0].array, second)
    sampler.run([]).result()  # takes no randomness
    np.testing.assert_array_equal(run(skipped, pub)[0].array, run(sampler, pub)[0].array)


def test_chunks_change_no_outcome(monkeypatch):
    pub = (measured(layered(5, 1)[0]), np.random.default_rng(0).uniform(-3, 3, (60, 15)))
    (whole,) = run(BatchedStatevectorSampler(seed=8), pub, shots=700)
    for states, drawn in ((1 << 12, 1 << 20), (1 << 26, 1 << 10), (5000, 50_000)):
        monkeypatch.setattr(simulation, "MEMORY", states)
        monkeypatch.setattr(batched_sampler, "NEAR_BYTES", drawn)
        (chunked,) = run(BatchedStatevectorSampler(seed=8), pub, shots=700)
        np.testing.assert_array_equal(chunked.array, whole.array)


def test_what_is_impossible_is_never_drawn():
    """At both ends of the numbers from 0 to 1, and beside outcomes that have no probability."""
    below = np.nextafter(1.0, 0.0)
    rng = np.random.default_rng(1)
    uniform = np.concatenate([[0.0, below, 0.5, 0.25, 0.75], rng.random(1000)])
    for size in (1, 2, 8, 1 << 10, 1 << 17):
        for scale in (1.0, 0.1, 1e-3, 3.0):
            weights = rng.random(size) * (rng.random(size) < 0.3)
            weights[rng.integers(size)] = 1.0
            weights[[0, -1]] = 0.0 if size > 2 else 1.0
            probabilities = np.tile(scale * weights / weights.sum(), (2, 1))
            found = np.full((2, len(uniform)), -1)
            invert(probabilities, np.tile(uniform, (2, 1)), found)
            assert (probabilities[0][found] > 0).all()
            cumulative = np.cumsum(probabilities[0])
            expected = np.searchsorted(cumulative, uniform * cumulative[-1], side="right")
            np.testing.assert_array_equal(
                found[1], np.minimum(expected, np.flatnonzero(weights)[-1])
            )


def test_threads_share_a_sampler():
    pubs = [(measured(layered(n, 1)[0]), np.full((20, 3 * n), 0.7)) for n in (2, 3, 4)]
    sampler = BatchedStatevectorSampler(seed=1)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda k: (k % 3, run(sampler, pubs[k % 3])[0]), range(60)))
    for k in range(3):
        arrays = [bits.array for which, bits in found if which == k]
        assert len({array.tobytes() for array in arrays}) == 20
        assert {bits.num_bits for which, bits in found if which == k} == {k + 2}


def test_outcomes_that_do_not_fit_into_memory(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 1 << 28)
    sampler = BatchedStatevectorSampler()
    with pytest.raises(
        MemoryLimitError, match="outcomes of all shots needs 0.373 GiB.*fewer shots"
    ):
        sampler.run([(coin(), POINTS)], shots=100_000)
