# SPDX-License-Identifier: Apache-2.0
"""The batched sampler where other packages use Qiskit's, with nothing else changed.

What they compute from shots is compared with exact values, for both samplers alike. Each test makes
one decision at a false-alarm rate of 1e-6 over all numbers it looks at (Bonferroni).
"""

from __future__ import annotations

import numpy as np
import pytest
from circuits import A, X, hybrid
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.circuit.library import n_local, zz_feature_map
from qiskit.primitives import StatevectorSampler
from qiskit.quantum_info import SparsePauliOp, Statevector
from qiskit_algorithms import QAOA, SamplingVQE
from qiskit_algorithms.optimizers import COBYLA, OptimizerResult
from qiskit_machine_learning.algorithms import VQC, NeuralNetworkClassifier
from qiskit_machine_learning.gradients import ParamShiftSamplerGradient
from qiskit_machine_learning.kernels import FidelityQuantumKernel
from qiskit_machine_learning.neural_networks import SamplerQNN
from qiskit_machine_learning.optimizers import COBYLA as QMLCOBYLA
from qiskit_machine_learning.state_fidelities import ComputeUncompute
from qiskit_optimization.algorithms import MinimumEigenOptimizer
from qiskit_optimization.minimum_eigensolvers import QAOA as SolverQAOA
from qiskit_optimization.problems import QuadraticProgram
from scipy import stats

from qiskit_torch_bridge.primitives import BatchedStatevectorSampler

# qiskit-algorithms builds QAOA of what Qiskit has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:The class .*is deprecated as of Qiskit 2.1")

FAMILY = 1e-6
SHOTS = 2000
BOTH = pytest.mark.parametrize(
    "sampler",
    [
        # Of Qiskit's an integer seed would give all circuits the same noise.
        lambda: StatevectorSampler(default_shots=SHOTS, seed=np.random.default_rng(7)),
        lambda: BatchedStatevectorSampler(default_shots=SHOTS, seed=7),
    ],
    ids=["Qiskit's", "batched"],
)
RING = SparsePauliOp.from_sparse_list(
    [("ZZ", [q, (q + 1) % 4], 1.0) for q in range(4)] + [("Z", [0], 0.5)], 4
)


def assert_near(found, expected, errors):
    found, expected, errors = np.broadcast_arrays(found, expected, errors)
    bound = stats.norm.isf(FAMILY / 2 / found.size)
    assert (
        np.abs(found - expected).max() < 1e-9
        or (np.abs(found - expected) < bound * errors + 1e-9).all()
    )


class Standing:
    """An optimizer that stays where it is, so that what is returned is one evaluation."""

    def minimize(self, fun, x0, jac=None, bounds=None):
        result = OptimizerResult()
        result.x, result.fun, result.nfev = np.asarray(x0), fun(np.asarray(x0)), 1
        return result


def exact_moments(circuit, operator):
    """Mean and standard deviation of a diagonal operator."""
    probabilities = Statevector(circuit.remove_final_measurements(inplace=False)).probabilities()
    values = np.real(np.diag(operator.to_matrix()))
    mean = probabilities @ values
    return mean, np.sqrt(probabilities @ (values - mean) ** 2)


@BOTH
def test_energies_of_qaoa_and_sampling_vqe(sampler):
    qaoa = QAOA(sampler(), Standing(), reps=2, initial_point=[0.3, -0.4, 0.8, 0.2])
    ansatz = n_local(4, "ry", "cx", reps=1, entanglement="linear")
    point = np.linspace(-1, 2, ansatz.num_parameters)
    vqe = SamplingVQE(sampler(), ansatz, Standing(), initial_point=point)
    for algorithm in (qaoa, vqe):
        found = algorithm.compute_minimum_eigenvalue(RING)
        bound = found.optimal_circuit.assign_parameters(found.optimal_parameters)
        mean, deviation = exact_moments(bound, RING)
        assert_near(found.eigenvalue, mean, deviation / np.sqrt(SHOTS))
        weights = found.eigenstate
        assert sum(weights.values()) == pytest.approx(1.0)
        exact = Statevector(bound.remove_final_measurements(inplace=False)).probabilities()
        frequencies = np.array([weights.get(f"{k:04b}", 0.0) for k in range(16)])
        assert_near(frequencies, exact, np.sqrt(exact * (1 - exact) / SHOTS) + 1 / SHOTS)


def test_qaoa_finds_the_ground_state():
    best = min(np.real(np.diag(RING.to_matrix())))
    qaoa = QAOA(BatchedStatevectorSampler(seed=1), COBYLA(60), reps=2, initial_point=[0.5] * 4)
    found = qaoa.compute_minimum_eigenvalue(RING)
    assert found.best_measurement["value"].real == best


@BOTH
@pytest.mark.parametrize("aggregation", [0.2])
def test_cvar_of_sampling_vqe(sampler, aggregation):
    """The mean of the lowest outcomes, of which there are two: all shots beyond the fifth."""
    circuit = QuantumCircuit(1)
    circuit.ry(ParameterVector("t", 1)[0], 0)
    vqe = SamplingVQE(
        sampler(), circuit, Standing(), initial_point=[np.pi / 3], aggregation=aggregation
    )
    found = vqe.compute_minimum_eigenvalue(SparsePauliOp("Z"))
    # A quarter of the outcomes are ones, whose value is -1: more than a fifth are, to 1e-6.
    assert stats.binom(SHOTS, 0.25).cdf(aggregation * SHOTS) < FAMILY
    assert found.eigenvalue == pytest.approx(-1.0)


def edge():
    problem = QuadraticProgram()
    problem.binary_var("a")
    problem.binary_var("b")
    problem.minimize(linear=[-1, -1], quadratic={("a", "b"): 2})  # the cut of one edge
    return problem


@BOTH
@pytest.mark.filterwarnings("ignore:.*init_observable:DeprecationWarning")
# It warns of every other sampler than Qiskit's own that circuits may have to be transpiled for it.
@pytest.mark.filterwarnings("ignore:Using Sampler V2 .other than StatevectorSampler")
def test_minimum_eigen_optimizer(sampler):
    qaoa = SolverQAOA(sampler(), COBYLA(20), initial_point=[0.5, 0.5])
    result = MinimumEigenOptimizer(qaoa).solve(edge())
    assert result.fval == -1 and sum(result.x) == 1
    assert sum(s.probability for s in result.samples) == pytest.approx(1.0)


def network(sampler, **options):
    return SamplerQNN(
        circuit=hybrid(),
        sampler=sampler,
        input_params=list(X),
        weight_params=[A[2], A[0], A[1]],
        gradient=ParamShiftSamplerGradient(sampler),
        input_gradients=True,
        **options,
    )


ROWS, WEIGHTS = np.array([[0.25, -0.5], [1.0, 2.0], [-0.3, 0.9]]), np.array([0.1, 0.2, 0.3])


def probabilities(row, weights):
    values = dict(zip([*X, A[2], A[0], A[1]], [*row, *weights], strict=True))
    return Statevector(hybrid().assign_parameters(values)).probabilities()


@BOTH
def test_values_of_a_sampler_network(sampler):
    exact = np.array([probabilities(row, WEIGHTS) for row in ROWS])
    found = network(sampler()).forward(ROWS, WEIGHTS)
    assert_near(found, exact, np.sqrt(exact * (1 - exact) / SHOTS) + 1 / SHOTS)
    parity = network(sampler(), interpret=lambda k: k.bit_count() % 2, output_shape=2)
    odd = exact[:, [1, 2]].sum(1)
    expected = np.stack([1 - odd, odd], axis=1)
    found = parity.forward(ROWS, WEIGHTS)
    assert_near(found, expected, np.sqrt(expected * (1 - expected) / SHOTS) + 1 / SHOTS)


@BOTH
def test_gradients_of_a_sampler_network(sampler):
    """Sums of differences of frequencies, each of whose errors is at most a half over root m."""
    step, size = 1e-5, len(WEIGHTS)
    exact = np.stack(
        [
            np.array(
                [
                    probabilities(row, WEIGHTS + step * d) - probabilities(row, WEIGHTS - step * d)
                    for row in ROWS
                ]
            )
            / (2 * step)
            for d in np.eye(size)
        ],
        axis=-1,
    )
    _, found = network(sampler()).backward(ROWS, WEIGHTS)
    # Parameters come up in several gates, with factors; all shifts of one have coefficients whose
    # absolute values add up to less than four.
    assert_near(found, exact, 4 * 0.5 / np.sqrt(SHOTS))


def clusters():
    rng = np.random.default_rng(3)
    labels = np.array([0, 1] * 6)
    return np.where(labels[:, None], 0.8, -0.8) + rng.normal(0, 0.1, (12, 2)), labels


def test_a_classifier_learns():
    x, w = ParameterVector("x", 2), ParameterVector("w", 2)
    circuit = QuantumCircuit(2)
    for q in range(2):
        circuit.ry(x[q] + np.pi / 2 + w[q], q)
    circuit.cx(0, 1)
    sampler = BatchedStatevectorSampler(seed=1)
    qnn = SamplerQNN(
        circuit=circuit,
        sampler=sampler,
        input_params=x,
        weight_params=w,
        interpret=lambda k: k & 1,
        output_shape=2,
    )
    points, labels = clusters()
    classifier = NeuralNetworkClassifier(
        qnn, optimizer=QMLCOBYLA(30), initial_point=np.array([1.0, 0.5])
    )
    classifier.fit(points, labels)
    assert classifier.score(points, labels) == 1.0


def test_a_variational_classifier_learns():
    x = ParameterVector("x", 2)
    features = QuantumCircuit(2)
    for q in range(2):
        features.ry(x[q] + np.pi / 2, q)
    vqc = VQC(
        feature_map=features,
        ansatz=n_local(2, "ry", "cx", reps=1),
        sampler=BatchedStatevectorSampler(seed=1),
        optimizer=QMLCOBYLA(60),
        initial_point=np.full(4, 0.1),
    )
    points, labels = clusters()
    vqc.fit(points, labels)
    assert vqc.score(points, labels) >= 11 / 12


@BOTH
def test_kernels(sampler):
    features = zz_feature_map(2, reps=1)
    kernel = FidelityQuantumKernel(
        feature_map=features,
        fidelity=ComputeUncompute(sampler()),
        enforce_psd=False,
        evaluate_duplicates="all",
    )
    points = np.random.default_rng(1).uniform(-1, 1, (4, 2))
    states = [Statevector(features.assign_parameters(p)).data for p in points]
    exact = np.abs(np.conj(states) @ np.transpose(states)) ** 2
    found = kernel.evaluate(points)
    assert_near(found, exact, np.sqrt(exact * (1 - exact) / SHOTS) + 1 / SHOTS)
    np.testing.assert_array_equal(np.diag(found), 1.0)
