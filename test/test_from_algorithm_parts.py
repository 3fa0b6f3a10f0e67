# SPDX-License-Identifier: Apache-2.0
"""Circuits of Qiskit's library and samplers as sources of a module."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import qiskit.circuit.library as library
from circuits import hybrid
from qiskit.circuit import Parameter, QuantumCircuit, QuantumRegister
from qiskit.circuit.library import BlueprintCircuit, PauliEvolutionGate
from qiskit.primitives import (
    BackendEstimatorV2,
    BackendSamplerV2,
    StatevectorEstimator,
    StatevectorSampler,
)
from qiskit.quantum_info import SparsePauliOp
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, depolarizing_error
from qiskit_aer.primitives import EstimatorV2 as AerEstimator
from qiskit_aer.primitives import SamplerV2 as AerSampler
from qiskit_algorithms import VQE, SamplingVQE
from qiskit_algorithms.optimizers import SLSQP
from qiskit_ibm_runtime import EstimatorV2 as RuntimeEstimator
from qiskit_ibm_runtime import SamplerV2 as RuntimeSampler
from test_from_algorithm import OPERATOR, assert_energies, energy_of

from qiskit_torch_bridge import TorchQuantumModule
from qiskit_torch_bridge.backends.counterparts import find_counterpart
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator

COST = SparsePauliOp(["IZZ", "ZZI"])
LIBRARY = {
    "efficient_su2": lambda f: f(3, reps=1),
    "EfficientSU2": lambda f: f(3, reps=1),
    "real_amplitudes": lambda f: f(3, reps=3),
    "RealAmplitudes": lambda f: f(3, reps=3),
    "n_local": lambda f: f(3, "rx", "crz", reps=1),
    "NLocal": lambda f: f(3, library.RYGate(Parameter("p")), library.CXGate(), reps=2),
    "TwoLocal": lambda f: f(3, ["ry", "rz"], "cz", reps=1),
    "qaoa_ansatz": lambda f: f(COST, reps=2),
    "QAOAAnsatz": lambda f: f(COST, reps=2),
    # Terms that commute: of others the module takes the product formula, Qiskit's estimator the
    # exact exponential.
    "evolved_operator_ansatz": lambda f: f([COST, SparsePauliOp(["XXI", "ZZI"])], reps=1),
    "EvolvedOperatorAnsatz": lambda f: f([COST, SparsePauliOp(["XXI", "ZZI"])], reps=1),
    "excitation_preserving": lambda f: f(3, reps=1),
}


class Excitations(BlueprintCircuit):
    """Built like the coupled-cluster circuits of qiskit-nature: evolutions after a state."""

    def __init__(self):
        super().__init__()
        self.preferred_init_points = [0.0, 0.0]
        self.qregs = [QuantumRegister(3, "q")]

    def _check_configuration(self, raise_on_failure=True):
        return True

    def _build(self):
        super()._build()
        start = QuantumCircuit(3)
        start.x([0, 1])
        inner = QuantumCircuit(3)
        inner.compose(start, inplace=True)
        for k, labels in enumerate((["IXY", "IYX"], ["XZY", "YZX"])):
            operator = SparsePauliOp(labels, [0.5, -0.5])
            inner.append(PauliEvolutionGate(operator, Parameter(f"t[{k}]")), range(3))
        self.append(inner.to_gate(), range(3))


@pytest.mark.parametrize("name", LIBRARY)
def test_circuits_of_the_library(name):
    """The same numbers as Qiskit's estimator for the circuit, whichever of the kinds exists."""
    if not hasattr(library, name):
        pytest.skip(f"this Qiskit has no {name}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes are deprecated in favour of functions
        circuit = LIBRARY[name](getattr(library, name))
        vqe = VQE(StatevectorEstimator(), circuit, SLSQP())
        module = TorchQuantumModule.from_algorithm(vqe, OPERATOR)
        assert_energies(TorchQuantumModule(circuit, OPERATOR), energy_of(circuit, OPERATOR))
    assert len(module.weight) == circuit.num_parameters > 0
    assert_energies(module, vqe._get_evaluate_energy(circuit, OPERATOR))


def test_a_blueprint_of_excitations():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        circuit = Excitations()
        vqe = VQE(StatevectorEstimator(), circuit, SLSQP())
        module = TorchQuantumModule.from_algorithm(vqe, OPERATOR)
        assert_energies(TorchQuantumModule(circuit, OPERATOR), energy_of(circuit, OPERATOR))
    assert module.weight.tolist() == [0.0, 0.0]  # its preferred point: the state alone
    assert_energies(module, vqe._get_evaluate_energy(circuit, OPERATOR))


@pytest.mark.parametrize("shots", [1, 2, 7, 15, 100, 1000, 1024, 4097])
def test_estimators_take_as_many_shots_as_samplers(shots):
    estimator = find_counterpart(StatevectorSampler(default_shots=shots, seed=5))
    assert isinstance(estimator, BatchedStatevectorEstimator)
    circuit = QuantumCircuit(1)
    circuit.h(0)
    (first,) = estimator.run([(circuit, "Z")]).result()
    assert first.metadata["shots"] == shots
    again = find_counterpart(StatevectorSampler(default_shots=shots, seed=5))
    assert again.run([(circuit, "Z")]).result()[0].data.evs == first.data.evs
    generator = StatevectorSampler(seed=np.random.default_rng(1))
    assert find_counterpart(generator).default_precision == pytest.approx(1 / 32)


def test_a_backends_sampler():
    backend = AerSimulator()
    options = {"default_shots": 15, "seed_simulator": 7}
    estimator = find_counterpart(BackendSamplerV2(backend=backend, options=options))
    assert isinstance(estimator, BackendEstimatorV2) and estimator.backend is backend
    assert estimator.options.seed_simulator == 7
    circuit = QuantumCircuit(1)
    circuit.h(0)
    assert estimator.run([(circuit, "Z")]).result()[0].metadata["shots"] == 15


def flipping():
    """Errors after each X, which leave 1 - 4 p / 3 of the expectation value."""
    noise = NoiseModel()
    noise.add_all_qubit_quantum_error(depolarizing_error(4 / 15, 1), ["x"])
    return noise


@pytest.mark.parametrize(
    "make",
    [
        lambda noise: AerSampler(options={"backend_options": {"noise_model": noise}}, seed=3),
        lambda noise: AerSampler.from_backend(AerSimulator(noise_model=noise), seed=3),
    ],
    ids=["options", "from_backend"],
)
def test_noise_and_seed_of_aer_are_kept(make):
    """Depolarizing by p shrinks Z to (1 - p); the mean of 1024 trajectories errs by 0.03."""
    sampler = make(flipping())
    estimator = find_counterpart(sampler)
    assert isinstance(estimator, AerEstimator)
    assert estimator.options.run_options["seed_simulator"] == 3
    assert estimator.options.default_precision == pytest.approx(1 / 32)
    circuit = QuantumCircuit(1)
    circuit.x(0)
    job = estimator.run([(circuit, "Z")], precision=0.0)
    assert float(job.result()[0].data.evs) == pytest.approx(-(1 - 4 / 15), abs=0.1)


@pytest.mark.filterwarnings("ignore:The (Sampler|Estimator)V2 class is deprecated")
def test_a_runtime_sampler_in_local_mode():
    backend = AerSimulator()
    sampler = RuntimeSampler(mode=backend)
    sampler.options.default_shots = 321
    estimator = find_counterpart(sampler)
    assert isinstance(estimator, RuntimeEstimator)
    assert estimator.options.default_shots == 321
    assert estimator.backend().name == backend.name


class OwnSampler(StatevectorSampler.__mro__[1]):
    def run(self, pubs, *, shots=None):
        raise NotImplementedError


def test_an_unknown_sampler_is_kept():
    """Where no estimator is known that goes with it."""
    algorithm = SamplingVQE(OwnSampler(), hybrid(), SLSQP())
    operator = SparsePauliOp("ZZ")
    module = TorchQuantumModule.from_algorithm(algorithm, operator)
    assert module.estimator is algorithm.sampler
    exact = StatevectorEstimator()
    module = TorchQuantumModule.from_algorithm(algorithm, operator, estimator=exact)
    assert module.estimator is exact
