# SPDX-License-Identifier: Apache-2.0
"""The default estimator's noise: reproducible by its seed, independent wherever it should be.

Each test makes one decision at a false-alarm rate of 1e-6, with fixed seeds.
"""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from circuits import CONTRACT, hybrid, layered, rotation
from qiskit.circuit import QuantumCircuit
from qiskit.primitives import StatevectorEstimator
from scipy import stats

from qiskit_torch_bridge.primitives import (
    BatchedStatevectorEstimator,
    shots_to_precision,
    simulation,
)

FAMILY = 1e-6
ROWS = 4000
NOISES = ["shots", "gaussian"]
POINTS = np.full((ROWS, 1), 1.0)
PRECISION = shots_to_precision(400)


def assert_uncorrelated(series):
    """No two of some rows of independent samples ``(K, N)`` are correlated."""
    r = np.corrcoef(np.asarray(series))[np.triu_indices(len(series), 1)]
    bound = stats.norm.isf(FAMILY / 2 / r.size) / np.sqrt(np.shape(series)[1])
    assert np.abs(r).max() < bound, r


def evs(estimator, *pubs, precision=PRECISION):
    return [result.data.evs for result in estimator.run(pubs, precision=precision).result()]


@pytest.mark.parametrize("noise", NOISES)
def test_calls_pubs_and_points_are_independent(noise):
    """Integer seeds make Qiskit's and Aer's estimators repeat the noise of every PUB and call."""
    pub = (rotation()[0], "Z", POINTS)
    estimator = BatchedStatevectorEstimator(noise=noise, seed=3)
    series = evs(estimator, pub, pub) + evs(estimator, pub)
    assert_uncorrelated(series)
    assert_uncorrelated([series[0][:-1], series[0][1:]])
    assert_uncorrelated([series[0][: ROWS // 2], series[0][ROWS // 2 :]])
    assert_uncorrelated([series[0], evs(BatchedStatevectorEstimator(noise=noise, seed=4), pub)[0]])


@pytest.mark.parametrize("noise", NOISES)
def test_groups_and_blocks_are_independent(noise):
    """Equal laws, so that equal randomness would give equal noise."""
    circuit = QuantumCircuit(1)
    circuit.ry(np.arccos(3**-0.5), 0)
    circuit.rz(np.pi / 4, 0)
    points = np.zeros((2, ROWS, 0))
    pub = (circuit, [["Z"], ["X"], ["Y"]], points[0])
    assert_uncorrelated(evs(BatchedStatevectorEstimator(noise=noise, seed=3), pub)[0])
    paired = (circuit, [["Z"], [{"Z": 2.0}]], points)  # each at points of its own
    assert_uncorrelated(evs(BatchedStatevectorEstimator(noise=noise, seed=3), paired)[0])


@pytest.mark.parametrize("noise", NOISES)
def test_a_seed_repeats_a_sequence_of_runs(noise):
    pub = (hybrid(), [["ZI"], ["XX"]], np.random.default_rng(0).uniform(-3, 3, (20, 5)))

    def sequence(seed):
        estimator = BatchedStatevectorEstimator(noise=noise, seed=seed)
        evs(estimator, pub, precision=0.0)  # an exact run takes no randomness
        return np.array([evs(estimator, pub, pub) for _ in range(2)])

    first = sequence(5)
    assert len({noisy.tobytes() for noisy in first.reshape(4, -1)}) == 4
    np.testing.assert_array_equal(sequence(5), first)
    np.testing.assert_array_equal(sequence(np.random.default_rng(5)), first)
    assert not np.array_equal(sequence(6), first)
    assert not np.array_equal(sequence(None), sequence(None))


def test_generators_are_shared_and_go_on():
    pub = (rotation()[0], "Z", [[1.0]])
    generator = np.random.default_rng(0)
    one, two = (BatchedStatevectorEstimator(seed=generator, noise="gaussian") for _ in range(2))
    found = [*evs(one, pub), *evs(two, pub), *evs(one, pub)]
    alone = BatchedStatevectorEstimator(seed=0, noise="gaussian")
    np.testing.assert_array_equal(found, [evs(alone, pub)[0] for _ in range(3)])


@pytest.mark.parametrize("noise", NOISES)
def test_copies_and_pickles_go_on_from_where_they_were_made(noise):
    pub = (rotation()[0], "Z", POINTS[:3])
    estimator = BatchedStatevectorEstimator(noise=noise, seed=1, dtype="complex64")
    evs(estimator, pub)
    copies = [copy.deepcopy(estimator), pickle.loads(pickle.dumps(estimator))]
    expected = [evs(estimator, pub) for _ in range(2)]
    for other in copies:
        assert other.dtype == "complex64"
        np.testing.assert_array_equal([evs(other, pub) for _ in range(2)], expected)


def test_gaussian_noise_is_normal_and_as_wide_as_asked():
    circuit = hybrid()
    values = np.random.default_rng(0).uniform(-3, 3, (ROWS, 5))
    pub = (circuit, [["ZI"], ["II"]], values)
    estimator = BatchedStatevectorEstimator(noise="gaussian", seed=2)
    exact = evs(estimator, pub, precision=0.0)[0]
    result = estimator.run([pub], precision=0.2).result()[0]
    assert (result.data.stds == 0.2).all()
    z = ((result.data.evs - exact) / 0.2).ravel()
    assert stats.kstest(z, "norm").pvalue > FAMILY / 4
    assert FAMILY / 4 < stats.chi2.cdf((z**2).sum(), z.size) < 1 - FAMILY / 4
    theirs = StatevectorEstimator(default_precision=0.2, seed=1)
    z = z[: ROWS // 10]
    other = theirs.run([(circuit, "II", values[: ROWS // 10])]).result()[0].data.evs
    assert stats.ks_2samp(z, (other - 1) / 0.2).pvalue > FAMILY / 4


def test_many_shots_are_normal():
    """A million shots of Z and of X at 4,000 points: standardised, they are normal."""
    points = np.random.default_rng(0).uniform(0.3, 2.8, (ROWS, 1))
    pub = (rotation()[0], [["Z"], ["X"]], points, 1e-3)
    found = evs(BatchedStatevectorEstimator(seed=9), pub)[0]
    mean = np.array([np.cos(points[:, 0]), np.sin(points[:, 0])])
    z = (found - mean) / np.sqrt(1 - mean**2) * 1e3
    for row in z:
        assert stats.kstest(row, "norm").pvalue > FAMILY / 2


def ghz(n):
    """Probabilities of one half exactly, which rounding must not push to either side."""
    circuit = QuantumCircuit(n)
    circuit.h(range(n))
    for q in range(n - 1):
        circuit.cz(q, q + 1)
    circuit.h(range(1, n))
    return circuit


CHUNKED = {
    **{name: (make, [["ZI"], ["XX"], ["YZ"]]) for name, make in CONTRACT.items()},
    "layered": (lambda: layered(6, 1)[0], [["ZIIIIZ"], ["XXIIYY"], ["YIZIII"]]),
    "ghz": (lambda: ghz(5), [["ZZZII"], ["XXXXX"], ["IIZIX"]]),
}


@pytest.mark.parametrize("name", CHUNKED)
@pytest.mark.parametrize("precision", [0.0, 0.04, 0.4])
def test_chunks_change_no_number(name, precision, monkeypatch):
    make, observables = CHUNKED[name]
    circuit = make()
    values = np.random.default_rng(0).uniform(-3, 3, (500, circuit.num_parameters))
    paired = (circuit, [*[o[0] for o in observables], "I" * circuit.num_qubits], values[:, None])

    def found():
        estimator = BatchedStatevectorEstimator(seed=8)
        return evs(estimator, (circuit, observables, values), paired, precision=precision)

    whole = found()
    sizes = []
    for memory in (1 << 12, 1 << 14, 1 << 16, 100_000):
        monkeypatch.setattr(simulation, "MEMORY", memory)
        sizes.append(len(list(simulation._chunks(500, 32 << circuit.num_qubits))))
        for chunked, expected in zip(found(), whole, strict=True):
            # Of 625 shots, a single other one would make a difference of 1e-3.
            np.testing.assert_allclose(chunked, expected, rtol=0, atol=1e-12)
    assert max(sizes) > 1


def test_a_point_does_not_depend_on_those_after_it():
    values = np.random.default_rng(0).uniform(-3, 3, (40, 5))
    found = [
        evs(BatchedStatevectorEstimator(seed=8), (hybrid(), [["ZI"], ["XX"]], values[:rows]))[0]
        for rows in (40, 39, 17, 3, 1)
    ]
    for few in found[1:]:
        np.testing.assert_allclose(few, found[0][:, : few.shape[1]], rtol=0, atol=1e-12)
