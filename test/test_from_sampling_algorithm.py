# SPDX-License-Identifier: Apache-2.0
"""Algorithms on samplers as sources of a module that samples, and with PyTorch's optimizers."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.primitives import BackendSamplerV2, StatevectorSampler
from qiskit.quantum_info import SparsePauliOp, Statevector
from qiskit_aer import AerSimulator
from qiskit_aer.primitives import SamplerV2 as AerSampler
from qiskit_algorithms import QAOA, SamplingVQE
from qiskit_algorithms.optimizers import COBYLA

from qiskit_torch_bridge import CVaR, TorchQuantumModule, Tracker
from qiskit_torch_bridge.algorithms import TorchOptimizer, bits_by_qubit
from qiskit_torch_bridge.primitives import BatchedStatevectorSampler

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*circuit.library.* is deprecated as of Qiskit 2.1"  # QAOA makes such a circuit
)

OPERATOR = SparsePauliOp(["IZZ", "ZZI", "ZIZ", "ZII"], [1.0, 1.2, 0.7, 0.3])
VALUES = OPERATOR.to_matrix(sparse=False).diagonal().real
SHOTS = 4000
POINT = np.array([0.4, 0.7])


def ansatz():
    angles = ParameterVector("t", 6)
    circuit = QuantumCircuit(3)
    for i, angle in enumerate(angles):
        circuit.ry(angle, i % 3)
        circuit.cx(i % 3, (i + 1) % 3)
    return circuit


def qaoa(sampler, **options):
    return QAOA(sampler, COBYLA(), initial_point=POINT, **options)


def probabilities(algorithm):
    """Of the outcomes at the initial point."""
    algorithm._check_operator_ansatz(OPERATOR)
    return Statevector(algorithm.ansatz.assign_parameters(POINT)).probabilities()


def mean_of_lowest(probability, alpha):
    """The mean over the part ``alpha`` of the distribution that has the lowest values."""
    order = np.argsort(VALUES)
    left = alpha - np.concatenate([[0], np.cumsum(probability[order])[:-1]])
    taken = np.clip(np.minimum(probability[order], left), 0, None)
    return taken @ VALUES[order] / alpha


SAMPLERS = {
    "Qiskit's": lambda: StatevectorSampler(default_shots=SHOTS, seed=1),
    "ours": lambda: BatchedStatevectorSampler(default_shots=SHOTS, seed=1),
    "a backend's": lambda: BackendSamplerV2(
        backend=AerSimulator(), options={"default_shots": SHOTS, "seed_simulator": 2}
    ),
    "Aer's": lambda: AerSampler(default_shots=SHOTS, seed=1),
}


@pytest.mark.parametrize("kind", SAMPLERS)
def test_a_sampler_stays_if_asked(kind):
    """The mean of as many shots, in one job of one circuit, since all terms commute."""
    sampler = SAMPLERS[kind]()
    algorithm = qaoa(sampler)
    module = TorchQuantumModule.from_algorithm(algorithm, OPERATOR, estimator=sampler)
    assert module.estimator is sampler and module.gradient == "parameter-shift"
    with Tracker() as tracker:
        value = module().item()
    assert (tracker.usage.jobs, tracker.usage.circuits) == (1, 1)
    p = probabilities(algorithm)
    deviation = np.sqrt((p @ VALUES**2 - (p @ VALUES) ** 2) / SHOTS)
    assert value == pytest.approx(p @ VALUES, abs=5 * deviation)
    assert module.last_stds.item() == pytest.approx(deviation, rel=0.2)


@pytest.mark.parametrize("alpha", [0.1, 0.5, np.float64(0.35)])
def test_an_aggregation_by_a_number_is_cvar(alpha):
    """Exactly on the exact engine, and with its gradient."""
    algorithm = qaoa(StatevectorSampler(), aggregation=alpha)
    module = TorchQuantumModule.from_algorithm(algorithm, OPERATOR).double()
    assert module.estimator is None
    assert isinstance(module.program.measurement, CVaR)
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(POINT))
    assert module().item() == pytest.approx(mean_of_lowest(probabilities(algorithm), alpha))
    assert torch.autograd.gradcheck(
        lambda w: torch.func.functional_call(module, {"weight": w}, ()), module.weight
    )


@pytest.mark.parametrize("kind", SAMPLERS)
def test_an_aggregation_keeps_the_sampler(kind):
    """The value is what the algorithm makes of its own shots, but for the noise.

    The mean of the lowest half of m shots has the variance of the mean of at least m/2 of these,
    none of which is further from it than the whole range.
    """
    sampler = SAMPLERS[kind]()
    algorithm = SamplingVQE(
        sampler, ansatz(), COBYLA(), initial_point=np.linspace(-1, 1, 6), aggregation=0.5
    )
    module = TorchQuantumModule.from_algorithm(algorithm, OPERATOR)
    assert module.estimator is sampler
    point = module.weight.detach().double().numpy()
    energy = algorithm._get_evaluate_energy(OPERATOR, algorithm.ansatz, [])(point)
    deviation = np.sqrt(2 * 2 / SHOTS) * np.ptp(VALUES) / 2
    assert module().item() == pytest.approx(float(energy), abs=5 * deviation)
    module().backward()
    assert module.weight.grad.abs().max() > 0


@pytest.mark.filterwarnings("ignore:Using Sampler V2 .other than StatevectorSampler")
def test_algorithms_of_qiskit_optimization():
    """Which has copies of the same algorithms."""
    algorithms = pytest.importorskip("qiskit_optimization.minimum_eigensolvers")
    sampler = BatchedStatevectorSampler(default_shots=SHOTS, seed=1)
    theirs = algorithms.QAOA(sampler, COBYLA(), initial_point=POINT, aggregation=0.35)
    p = probabilities(qaoa(sampler))
    module = TorchQuantumModule.from_algorithm(theirs, OPERATOR)
    assert module.estimator is sampler
    assert module().item() == pytest.approx(mean_of_lowest(p, 0.35), abs=0.2)
    theirs = algorithms.QAOA(sampler, COBYLA(), initial_point=POINT)
    module = TorchQuantumModule.from_algorithm(theirs, OPERATOR, estimator=sampler)
    assert module().item() == pytest.approx(p @ VALUES, abs=5 * np.ptp(VALUES) / 2 / SHOTS**0.5)


def test_an_aggregation_of_everything_is_the_mean():
    module = TorchQuantumModule.from_algorithm(
        qaoa(StatevectorSampler(), aggregation=1.0), OPERATOR
    )
    assert module.program.observables and not isinstance(module.program.measurement, CVaR)


def test_the_sampler_of_this_package_means_the_exact_engine(caplog):
    module = TorchQuantumModule.from_algorithm(qaoa(BatchedStatevectorSampler()), OPERATOR)
    assert module.estimator is None and module.gradient == "adjoint"
    assert "takes the place of BatchedStatevectorSampler in QAOA" in caplog.text


# With PyTorch's optimizers

OPTIMIZERS = {
    "finite differences": lambda: TorchOptimizer(
        torch.optim.Adam, 15, lr=0.2, epsilon=0.4, max_evals_grouped=9
    ),
    "SPSA": lambda: TorchOptimizer(
        torch.optim.Adam, 30, lr=0.2, gradient="spsa", epsilon=0.3, seed=1
    ),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("aggregation", [None, 0.2])
def test_qaoa_on_the_sampler_of_this_package(optimizer, aggregation):
    """The lowest bit string is found, and the objective becomes less."""
    algorithm = QAOA(
        BatchedStatevectorSampler(seed=3),
        OPTIMIZERS[optimizer](),
        initial_point=POINT,
        aggregation=aggregation,
    )
    result = algorithm.compute_minimum_eigenvalue(OPERATOR)
    best = result.best_measurement
    assert best["value"] == pytest.approx(VALUES.min())
    values = algorithm.optimizer.history.values
    assert values[-1] < values[0] - 0.2
    module = TorchQuantumModule.from_algorithm(algorithm, OPERATOR, result=result)
    samples = module.sample(shots=2000)
    counts = samples.counts()
    likeliest = max(counts, key=lambda string: (counts[string], -int(string, 2)))
    assert samples.most_frequent.tolist() == list(bits_by_qubit(likeliest))


def test_sampling_vqe_on_the_sampler_of_this_package():
    """The numbers of Qiskit's sampler but for the noise, in less time."""

    def run(sampler):
        optimizer = TorchOptimizer(torch.optim.Adam, 6, lr=0.4, epsilon=0.5, max_evals_grouped=13)
        start = np.linspace(0.3, 1.2, 6)
        algorithm = SamplingVQE(sampler, ansatz(), optimizer, initial_point=start)
        began = time.process_time()
        result = algorithm.compute_minimum_eigenvalue(OPERATOR)
        return result.best_measurement, optimizer.history.values, time.process_time() - began

    run(BatchedStatevectorSampler())  # compiled, or read from the cache
    ours = run(BatchedStatevectorSampler(default_shots=SHOTS, seed=1))
    theirs = run(StatevectorSampler(default_shots=SHOTS, seed=1))
    assert ours[0]["bitstring"] == theirs[0]["bitstring"]
    # The first values are those of the same point.
    deviation = np.ptp(VALUES) / 2 / np.sqrt(SHOTS)
    assert ours[1][0] == pytest.approx(theirs[1][0], abs=5 * np.sqrt(2) * deviation)
    assert ours[1][-1] < ours[1][0] - 0.5
    assert ours[2] < theirs[2]
