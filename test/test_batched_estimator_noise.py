# SPDX-License-Identifier: Apache-2.0
"""The default estimator's noise: reproducible by its seed, independent, and by the laws of shots.

Each test makes one decision at a false-alarm rate of 1e-6 over all numbers it looks at
(Bonferroni), with fixed seeds. Exact probabilities and moments come from dense matrices.
"""

from __future__ import annotations

import copy
import pickle
import tracemalloc

import numpy as np
import pytest
import torch
from circuits import CONTRACT, hybrid, layered, rotation
from qiskit.circuit import QuantumCircuit
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import PauliList, SparsePauliOp, Statevector, random_pauli_list
from reference import expectations
from scipy import stats
from test_batched_estimator import SHAPES, VALUES, nested

from qiskit_torch_bridge.primitives import (
    BatchedStatevectorEstimator,
    measurement_groups,
    outcome_sources,
    shots_to_precision,
    simulation,
)
from qiskit_torch_bridge.primitives.grouping import group_labels

FAMILY = 1e-6
ROWS = 4000
SAMPLES = 3000
POINT = np.array([0.3, -0.6, 0.9, 0.4, -0.2])
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
        sizes.append(len(list(simulation.split_rows(500, 32 << circuit.num_qubits))))
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


# -- the laws of shots -------------------------------------------------------------------------


def drawn(circuit, observables, values, count, seed=1, **options):
    """Expectation values and standard errors ``(O, N)`` from ``count`` shots."""
    estimator = BatchedStatevectorEstimator(seed=seed, **options)
    pub = (circuit, [[o] for o in observables], values, shots_to_precision(count))
    result = estimator.run([pub]).result()[0]
    assert result.metadata["shots"] == count
    return result.data.evs, result.data.stds


def exact(circuit, operators, point):
    """Expectation values of operators and of their products: ``(O,)`` and ``(O, O)``."""
    products = [(a @ b + b @ a) / 2 for a in operators for b in operators]
    values = torch.tensor(point)
    mean = expectations(circuit, operators, circuit.parameters, values).numpy()
    square = expectations(circuit, products, circuit.parameters, values).numpy()
    return mean, square.reshape(len(operators), -1)


def assert_normal(z):
    """Standard normal numbers, each within what a family of this size exceeds once in 1e6."""
    z = np.ravel(z)
    assert np.abs(z).max() < stats.norm.isf(FAMILY / 2 / z.size), z


def assert_covariance(samples, mean, covariance):
    """Means and products of deviations ``(N, O)`` within the law of large numbers' bounds."""
    deviations = samples - mean
    products = deviations[:, :, None] * deviations[:, None, :]
    assert_normal(deviations.mean(0) / np.sqrt(np.diag(covariance) / len(samples)))
    error = products.std(0) / np.sqrt(len(samples))
    differs = np.abs(products.mean(0) - covariance) > 1e-15
    assert_normal(((products.mean(0) - covariance) / np.where(error, error, 1))[differs])


@pytest.mark.parametrize("bases", ["ZZ", "XZ", "YX", "XX", "ZY"])
@pytest.mark.parametrize("count", [15, 200])
def test_outcomes_follow_the_probabilities(bases, count, monkeypatch):
    """The four projectors of a basis at one point are frequencies of the same shots."""
    for few, table in ((64, 1 << 22), (64, 1), (0, 1)):  # counts at once, or shot by shot
        monkeypatch.setattr(outcome_sources, "FEW_OUTCOMES", few)
        monkeypatch.setattr(outcome_sources, "OUTCOMES_PER_SHOT", few)
        monkeypatch.setattr(measurement_groups, "TABLE_SIZE", table)
        letters = [{"Z": "01", "X": "+-", "Y": "rl"}[basis] for basis in bases]
        labels = [a + b for a in letters[0] for b in letters[1]]
        evs, _ = drawn(hybrid(), labels, np.tile(POINT, (SAMPLES, 1)), count)
        np.testing.assert_allclose(evs.sum(0), 1.0, rtol=0, atol=1e-12)
        counts = evs * count
        np.testing.assert_allclose(counts, counts.round(), rtol=0, atol=1e-9)
        probabilities = [
            Statevector(hybrid().assign_parameters(POINT)).expectation_value(
                SparsePauliOp.from_operator(_projector(label))
            )
            for label in labels
        ]
        p = np.real(probabilities)
        total = stats.chisquare(counts.sum(1), p * count * SAMPLES)
        assert total.pvalue > FAMILY / 3
        spread = ((counts - p[:, None] * count) ** 2 / (p[:, None] * count)).sum(0)
        assert_normal((spread.mean() - 3) / np.sqrt(spread.var() / SAMPLES))


def _projector(label):
    states = [Statevector.from_label(letter).to_operator() for letter in label]
    return states[0].tensor(states[1])


def test_terms_of_a_group_share_their_shots():
    """Covariances of observables that are measured together, and of those that are not."""
    labels = ["ZI", "IZ", "ZZ", "XX", "XI", "YY"]
    together = [{"ZI", "IZ", "ZZ"}, {"XX", "XI"}, {"YY"}]
    operators = [SparsePauliOp(label) for label in labels]
    mean, square = exact(hybrid(), operators, POINT)
    shared = np.array([[any({a, b} <= g for g in together) for a in labels] for b in labels])
    covariance = np.where(shared, square - np.outer(mean, mean), 0.0) / 64
    evs, _ = drawn(hybrid(), operators, np.tile(POINT, (SAMPLES, 1)), 64)
    assert_covariance(evs.T, mean, covariance)


def test_sums_have_the_variance_of_their_groups():
    operators = [
        SparsePauliOp(["ZI", "IZ", "ZZ", "II"], [1.0, -0.5, 0.25, 7.0]),
        SparsePauliOp(["ZI", "XX", "XI"], [0.5, 1.0, -2.0]),
    ]
    mean, _ = exact(hybrid(), operators, POINT)
    variance = np.zeros(2)
    for o, groups in enumerate([[[0, 1, 2]], [[0], [1, 2]]]):
        for group in groups:
            m, square = exact(hybrid(), [operators[o][group]], POINT)
            variance[o] += (square[0, 0] - m[0] ** 2) / 16
    evs, stds = drawn(hybrid(), operators, np.tile(POINT, (SAMPLES, 1)), 16)
    deviations = evs - mean[:, None]
    assert_normal(deviations.mean(1) / np.sqrt(variance / SAMPLES))
    ratio = (deviations**2).sum(1) / variance
    assert_normal(stats.norm.ppf(stats.chi2.cdf(ratio, SAMPLES)))
    # Reported variances are unbiased.
    assert_normal(((stds**2).mean(1) - variance) / ((stds**2).std(1) / np.sqrt(SAMPLES)))


def test_intervals_hold_the_truth_as_often_as_they_say():
    """At 40,000 shots means are normal to 0.5 %, and coverage is to be seen to 0.4 %."""
    operators = [SparsePauliOp(["ZI", "IZ", "XX"], [1.0, -0.5, 0.25]), SparsePauliOp("YY")]
    mean, _ = exact(hybrid(), operators, POINT)
    evs, stds = drawn(hybrid(), operators, np.tile(POINT, (SAMPLES, 1)), 40_000)
    for width in (1, 2, 3):
        covered = (np.abs(evs - mean[:, None]) < width * stds).mean(1)
        p = 1 - 2 * stats.norm.sf(width)
        assert_normal((covered - p) / np.sqrt(p * (1 - p) / SAMPLES))


@pytest.mark.parametrize(("observables_shape", "points_shape"), SHAPES)
def test_shots_are_where_the_values_belong(observables_shape, points_shape):
    values = VALUES.reshape(-1, 5)[: int(np.prod(points_shape))].reshape(*points_shape, 5)
    pubs = [(hybrid(), nested(observables_shape), values, p) for p in (0.0, 0.01)]
    true, noisy = BatchedStatevectorEstimator(seed=2).run(pubs).result()
    assert noisy.data.evs.shape == noisy.data.stds.shape == true.data.evs.shape
    assert_normal((noisy.data.evs - true.data.evs) / noisy.data.stds)


def test_nothing_is_reported_of_what_has_no_noise():
    bell = QuantumCircuit(2)
    bell.h(0)
    bell.cx(0, 1)
    operators = ["ZZ", "XX", "II", SparsePauliOp(["YY", "II"], [0.3, 0.1])]
    evs, stds = drawn(bell, operators, None, 100)
    np.testing.assert_allclose(evs[:, 0], [1.0, 1.0, 1.0, -0.2], rtol=0, atol=1e-12)
    assert not stds.any()


def test_one_shot_reports_a_bound():
    evs, stds = drawn(hybrid(), ["ZI", SparsePauliOp(["ZI", "XX"], [2.0, 1.0])], POINT[None], 1)
    assert set(np.abs(evs[0])) == {1.0}
    np.testing.assert_allclose(stds[:, 0], [1.0, np.sqrt(5.0)], rtol=0, atol=1e-12)


def test_idle_qubits_are_random_where_they_are_not_measured_in_z():
    circuit = QuantumCircuit(5)
    circuit.ry(0.7, 1)
    labels = ["XIIII", "ZIIII", "IIXZI", "IIIZI", "YIIZI"]
    mean = np.array([0.0, 1.0, 0.0, np.cos(0.7), 0.0])
    evs, stds = drawn(circuit, labels, np.zeros((SAMPLES, 0)), 50)
    noisy = [0, 2, 3, 4]
    variance = (1 - mean**2) / 50
    assert_normal((evs.mean(1) - mean)[noisy] / np.sqrt(variance[noisy] / SAMPLES))
    ratio = ((evs - mean[:, None]) ** 2).sum(1)[noisy] / variance[noisy]
    assert_normal(stats.norm.ppf(stats.chi2.cdf(ratio, SAMPLES)))
    assert (evs[1] == 1).all() and not stds[1].any()


def test_many_outcomes_and_few_shots():
    """Eight qubits, bases of all kinds, drawn shot by shot, against the exact moments."""
    circuit, _, _ = layered(8, 1)
    point = np.random.default_rng(0).uniform(-3, 3, circuit.num_parameters)
    operators = [
        SparsePauliOp(["XYZXYZXY", "IYIIIZII", "XIIIIIII"], [0.5, 1.0, -1.0]),
        SparsePauliOp("IIZXYIII"),
        SparsePauliOp("ZZZZZZZZ"),
    ]
    mean, square = exact(circuit, operators, point)
    covariance = square - np.outer(mean, mean)
    covariance[2, :2] = covariance[:2, 2] = 0
    evs, _ = drawn(circuit, operators, np.tile(point, (SAMPLES, 1)), 40)
    assert_covariance(evs.T, mean, covariance / 40)


@pytest.mark.parametrize("widest", [7, 70, 140])
def test_groups_are_those_of_qiskit(widest):
    rng = np.random.default_rng(0)
    for _ in range(60):
        width = rng.integers(max(1, widest - 7), widest)
        letters = np.full((rng.integers(1, 40), width), "I")
        places = rng.choice(width, min(6, width), replace=False)
        letters[:, places] = rng.choice(list("IXYZ"), (len(letters), len(places)))
        labels = sorted({"".join(row) for row in letters} - {"I" * width})
        theirs = PauliList([*labels, "I" * width]).group_commuting(qubit_wise=True)
        shuffled = rng.permutation(labels)
        groups = group_labels(shuffled.tolist()) if len(labels) else np.zeros(0, dtype=int)
        ours = {frozenset(shuffled[groups == g].tolist()) for g in set(groups.tolist())}
        assert ours == {frozenset(g.to_labels()) - {"I" * width} for g in theirs} - {frozenset()}


def test_pairs_of_terms_are_not_kept():
    """Qiskit makes a graph with an edge for each pair in conflict: 4,000,000 here, 500 MB."""
    labels = random_pauli_list(12, 3000, seed=1, phase=False).to_labels()
    tracemalloc.start()
    groups = group_labels(labels)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20
    masks = PauliList(labels)
    for g in range(groups.max() + 1):
        x, z = masks.x[groups == g], masks.z[groups == g]
        axes = {(q, a, b) for q in range(12) for a, b in zip(x[:, q], z[:, q], strict=True)}
        assert len({q for q, a, b in axes if a or b}) == sum(a or b for _, a, b in axes)


def test_a_single_pauli_is_binomial():
    """<Z> of RY(1) at 50 shots: only multiples of 1/25, in the proportions of the binomial law."""
    circuit, _ = rotation()
    evs, _ = drawn(circuit, ["Z"], np.full((4000, 1), 1.0), 50, seed=4)
    counts = (evs[0] + 1) * 25
    np.testing.assert_allclose(counts, counts.round(), atol=1e-9)
    law = stats.binom(50, (1 + np.cos(1.0)) / 2)
    edges = np.arange(33, 45)
    observed = np.histogram(counts.round(), [-0.5, *(edges - 0.5), 50.5])[0]
    expected = np.diff([0, *law.cdf(edges - 1), 1]) * len(counts)
    assert stats.chisquare(observed, expected).pvalue > FAMILY


def test_shots_are_taken_exactly():
    for count in [*range(1, 3000), 10_000, 12_345, 10**6, 10**9 + 7]:
        assert int(np.ceil(1 / shots_to_precision(count) ** 2)) == count
