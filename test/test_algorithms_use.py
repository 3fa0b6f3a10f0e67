# SPDX-License-Identifier: Apache-2.0
"""The same programs of qiskit-algorithms with their optimizers and with PyTorch's."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.circuit.library import EvolvedOperatorAnsatz, PauliEvolutionGate, qaoa_ansatz
from qiskit.primitives import (
    BackendEstimatorV2,
    BackendSamplerV2,
    StatevectorEstimator,
    StatevectorSampler,
)
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_aer import AerSimulator
from qiskit_aer.primitives import EstimatorV2 as AerEstimator
from qiskit_aer.primitives import SamplerV2 as AerSampler
from qiskit_algorithms import QAOA, VQD, VQE, AdaptVQE, SamplingVQE
from qiskit_algorithms.gradients import ParamShiftEstimatorGradient
from qiskit_algorithms.optimizers import ADAM, COBYLA, SLSQP, SPSA
from qiskit_algorithms.state_fidelities import ComputeUncompute
from qiskit_algorithms.utils import algorithm_globals

from qiskit_torch_bridge import TorchQuantumModule
from qiskit_torch_bridge.algorithms import TorchOptimizer
from qiskit_torch_bridge.backends import ExecutorEstimator
from qiskit_torch_bridge.gradients import (
    AdjointEstimatorGradient,
    AQGDEstimatorGradient,
    FiniteDifferenceEstimatorGradient,
    ParameterShiftEstimatorGradient,
)
from qiskit_torch_bridge.jobs import DispatchingEstimator
from qiskit_torch_bridge.optim import FubiniStudyMetric, QuantumNaturalGradient, Rotosolve
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator
from qiskit_torch_bridge.program import AnalysedCircuit

HYDROGEN = SparsePauliOp(
    ["II", "IZ", "ZI", "ZZ", "XX"],
    [
        -1.052373245772859,
        0.39793742484318045,
        -0.39793742484318045,
        -0.01128010425623538,
        0.18093119978423156,
    ],
)
LEVELS = np.linalg.eigvalsh(HYDROGEN.to_matrix())
START = [0.1, 0.2, 0.3, 0.4]
CHEMICAL = 1.6e-3  # one kilocalorie per mole in Hartree: where a run counts as converged
PRECISION = 0.03
# The noise of an energy is the precision times the root of the sum of squared coefficients, at
# most. The least of N = 500 normal numbers is no more than sqrt(2 log N) + 3 of these too low.
NOISE = PRECISION * np.linalg.norm(HYDROGEN.coeffs[1:].real) * (np.sqrt(2 * np.log(500)) + 3)

EXACT_OPTIMIZERS = {
    "SLSQP": lambda: SLSQP(maxiter=30),
    "COBYLA": lambda: COBYLA(maxiter=120, tol=1e-4),
    "SPSA": lambda: SPSA(maxiter=50),
    "ADAM": lambda: ADAM(maxiter=50, lr=0.2),
    "torch Adam": lambda: TorchOptimizer(torch.optim.Adam, 50, lr=0.2, max_evals_grouped=50),
    "torch LBFGS": lambda: TorchOptimizer(torch.optim.LBFGS, 4, max_evals_grouped=50),
    "Rotosolve": lambda: TorchOptimizer(Rotosolve, 6),
}
NOISY_OPTIMIZERS = {
    "SPSA": lambda: SPSA(maxiter=50, learning_rate=0.5, perturbation=0.3),
    "torch SPSA gradient": lambda: TorchOptimizer(
        torch.optim.Adam, 40, lr=0.3, gradient="spsa", epsilon=0.3, seed=1, max_evals_grouped=3
    ),
    "torch wide differences": lambda: TorchOptimizer(
        torch.optim.Adam, 15, lr=0.4, epsilon=0.7, max_evals_grouped=50
    ),
    "Rotosolve": lambda: TorchOptimizer(Rotosolve, 4),
}


@pytest.fixture(autouse=True)
def seeded():
    algorithm_globals.random_seed = 1


def two_layers(cls=QuantumCircuit):
    angles = ParameterVector("t", 4)
    circuit = cls(2)
    for q in range(2):
        circuit.ry(angles[q], q)
    circuit.cx(0, 1)
    for q in range(2):
        circuit.ry(angles[2 + q], q)
    return circuit


def backend():
    return AerSimulator(seed_simulator=3)


def transpiler():
    return generate_preset_pass_manager(1, backend(), seed_transpiler=1)


def exact_energy(result):
    circuit, operator = result.optimal_circuit, HYDROGEN
    if circuit.layout is not None:
        operator = operator.apply_layout(circuit.layout)
    pub = (circuit, operator, result.optimal_point)
    return float(StatevectorEstimator().run([pub]).result()[0].data.evs)


@pytest.mark.parametrize(
    ("estimator", "transpiled", "optimizer"),
    [
        *((BatchedStatevectorEstimator, False, name) for name in EXACT_OPTIMIZERS),
        *((StatevectorEstimator, False, n) for n in ("SLSQP", "torch LBFGS", "torch Adam")),
        *((AerEstimator, True, n) for n in ("COBYLA", "torch LBFGS", "Rotosolve")),
    ],
)
def test_vqe_on_exact_estimators(estimator, transpiled, optimizer):
    vqe = VQE(
        estimator(),
        two_layers(),
        optimizer=EXACT_OPTIMIZERS[optimizer](),
        initial_point=START,
        transpiler=transpiler() if transpiled else None,
    )
    result = vqe.compute_minimum_eigenvalue(HYDROGEN, aux_operators=[HYDROGEN])
    assert LEVELS[0] - 1e-10 < result.eigenvalue < LEVELS[0] + CHEMICAL
    assert result.eigenvalue == pytest.approx(exact_energy(result), abs=1e-10)
    assert result.aux_operators_evaluated[0][0] == pytest.approx(result.eigenvalue, abs=1e-10)


@pytest.mark.parametrize("optimizer", NOISY_OPTIMIZERS)
@pytest.mark.parametrize("on_backend", [False, True])
def test_vqe_on_sampling_estimators(on_backend, optimizer):
    if on_backend:
        options = {"default_precision": PRECISION, "seed_simulator": 3}
        estimator = BackendEstimatorV2(backend=backend(), options=options)
    else:
        estimator = BatchedStatevectorEstimator(default_precision=PRECISION, seed=2)
    vqe = VQE(
        estimator,
        two_layers(),
        optimizer=NOISY_OPTIMIZERS[optimizer](),
        initial_point=START,
        transpiler=transpiler() if on_backend else None,
    )
    result = vqe.compute_minimum_eigenvalue(HYDROGEN)
    assert abs(result.eigenvalue - LEVELS[0]) < NOISE
    assert exact_energy(result) - LEVELS[0] < NOISE


def with_metric(circuit):
    return TorchOptimizer(
        QuantumNaturalGradient, 60, lr=0.2, metric=FubiniStudyMetric(circuit), damping=1e-3
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda _: TorchOptimizer(torch.optim.Adam, 250, lr=0.1),
        lambda _: TorchOptimizer(torch.optim.LBFGS, 10),
        with_metric,
    ],
    ids=["Adam", "LBFGS", "QuantumNaturalGradient"],
)
@pytest.mark.parametrize("gradient", [AdjointEstimatorGradient, ParamShiftEstimatorGradient])
def test_hydrogen_to_a_microhartree_through_vqe(make, gradient):
    estimator, ansatz = BatchedStatevectorEstimator(), two_layers()
    vqe = VQE(
        estimator,
        ansatz,
        optimizer=make(ansatz),
        gradient=gradient(estimator),
        initial_point=START,
    )
    result = vqe.compute_minimum_eigenvalue(HYDROGEN)
    assert result.eigenvalue == pytest.approx(LEVELS[0], abs=1e-6)
    assert result.optimizer_result.njev >= result.optimizer_result.nit > 0


@pytest.mark.parametrize(
    ("make", "steps"),
    [
        (lambda m: torch.optim.Adam(m.parameters(), lr=0.1), 250),
        (lambda m: torch.optim.LBFGS(m.parameters()), 10),
        (lambda m: QuantumNaturalGradient(m, lr=0.2, damping=1e-3), 60),
    ],
    ids=["Adam", "LBFGS", "QuantumNaturalGradient"],
)
def test_hydrogen_to_a_microhartree_through_the_module(make, steps):
    vqe = VQE(BatchedStatevectorEstimator(), two_layers(), SLSQP(), initial_point=START)
    module = TorchQuantumModule.from_algorithm(vqe, HYDROGEN, gradient="adjoint").double()
    optimizer = make(module)

    def closure():
        optimizer.zero_grad()
        energy = module().sum()
        energy.backward()
        return energy

    for _ in range(steps):
        optimizer.step(closure)
    assert module().item() == pytest.approx(LEVELS[0], abs=1e-6)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: SLSQP(maxiter=100),
        lambda: TorchOptimizer(torch.optim.LBFGS, 10, max_evals_grouped=50),
        lambda: TorchOptimizer(Rotosolve, 5, frequencies=(2.0,)),  # of exp(-i t XY)
    ],
    ids=["SLSQP", "torch LBFGS", "Rotosolve"],
)
def test_adaptive_vqe(optimizer):
    start = QuantumCircuit(2)
    start.x(0)
    solver = VQE(BatchedStatevectorEstimator(), QuantumCircuit(2), optimizer=optimizer())
    adaptive = AdaptVQE(
        solver, operators=[SparsePauliOp("XY"), SparsePauliOp("YX")], initial_state=start
    )
    result = adaptive.compute_minimum_eigenvalue(HYDROGEN)
    assert LEVELS[0] - 1e-10 < result.eigenvalue < LEVELS[0] + CHEMICAL
    assert result.num_iterations >= 1


def test_excited_states():
    """A fidelity sampled with 2**14 shots errs by 0.004, and a penalty of 3 makes that 0.012."""
    fidelity = ComputeUncompute(StatevectorSampler(default_shots=1 << 14, seed=1))
    vqd = VQD(
        BatchedStatevectorEstimator(),
        fidelity,
        two_layers(),
        [COBYLA(maxiter=40), TorchOptimizer(Rotosolve, 2)],
        k=2,
        betas=[3.0, 3.0],
        initial_point=[START, [0.1, 2.9, 0.1, 0.1]],
    )
    found = vqd.compute_eigenvalues(HYDROGEN).eigenvalues.real
    np.testing.assert_allclose(found, LEVELS[:2], rtol=0, atol=5 * 0.012)


SAMPLERS = {
    "statevector": lambda: StatevectorSampler(default_shots=2000, seed=1),
    "Aer": lambda: AerSampler(default_shots=2000, seed=1),
    "backend": lambda: BackendSamplerV2(
        backend=backend(), options={"default_shots": 2000, "seed_simulator": 1}
    ),
}
SAMPLED = {
    "COBYLA": lambda: COBYLA(maxiter=30, rhobeg=0.5),
    "torch": lambda: TorchOptimizer(torch.optim.Adam, 12, lr=0.3, epsilon=0.5, max_evals_grouped=9),
}


@pytest.mark.parametrize("optimizer", SAMPLED)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_sampling_vqe(sampler, optimizer):
    """ZZ + ZI / 2 is least in |10>, where no shot gives anything but -3/2: there is no noise."""
    operator = SparsePauliOp(["ZZ", "ZI"], [1.0, 0.5])
    angles, ansatz = ParameterVector("t", 2), QuantumCircuit(2)
    ansatz.ry(angles[0], 0)
    ansatz.ry(angles[1], 1)
    vqe = SamplingVQE(
        SAMPLERS[sampler](), ansatz, optimizer=SAMPLED[optimizer](), initial_point=[0.8, 2.0]
    )
    result = vqe.compute_minimum_eigenvalue(operator)
    assert -1.5 <= result.eigenvalue < -1.4
    assert result.best_measurement["bitstring"] == "10"


@pytest.mark.filterwarnings(
    "ignore:.*circuit.library.* is deprecated as of Qiskit 2.1"
)  # QAOA's own
@pytest.mark.parametrize("optimizer", SAMPLED)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_qaoa(sampler, optimizer):
    """One layer solves one edge: its energy sin(4 b) sin(2 g), up to signs, reaches -1."""
    qaoa = QAOA(
        SAMPLERS[sampler](),
        optimizer=SAMPLED[optimizer](),
        initial_point=[0.5, 0.5],
        transpiler=None if sampler == "statevector" else transpiler(),
    )
    result = qaoa.compute_minimum_eigenvalue(SparsePauliOp(["ZZ"]))
    assert -1 <= result.eigenvalue < -0.95
    assert result.best_measurement["bitstring"] in ("01", "10")


def blocks() -> QuantumCircuit:
    """What Aer calls unknown instructions, and a rotation whose angle it would ignore."""
    circuit = QuantumCircuit(2)
    start = QuantumCircuit(2, name="start")
    start.h([0, 1])
    circuit.append(start.to_gate(), [0, 1])
    circuit.append(qaoa_ansatz(SparsePauliOp(["ZZ", "IZ"]), reps=1, flatten=False), [0, 1])
    circuit.append(PauliEvolutionGate(SparsePauliOp(["XY", "YX"]), Parameter("t")), [0, 1])
    circuit.crx(Parameter("w"), 0, 1)
    return circuit


GRADIENTS = (
    AdjointEstimatorGradient,
    AQGDEstimatorGradient,
    FiniteDifferenceEstimatorGradient,
    ParameterShiftEstimatorGradient,
)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_gradients_of_library_blocks_on_aer(gradient):
    """They are decomposed on the way, and AQGD needs no more points for it."""
    circuit, point = blocks(), [0.3, 0.5, -0.4, 0.7]
    exact = AdjointEstimatorGradient().run([circuit], [HYDROGEN], [point]).result().gradients[0]
    found = gradient(AerEstimator()).run([circuit], [HYDROGEN], [point]).result().gradients[0]
    # Central differences step 1e-3 or less, with third derivatives of at most 10.
    np.testing.assert_allclose(found, exact, atol=1e-5)
    analysed = AnalysedCircuit(circuit)
    for column in range(analysed.num_parameters):
        assert analysed.on_aer.frequencies(column) == analysed.frequencies(column)


@pytest.mark.parametrize("gradient", [None, *GRADIENTS])
def test_adaptive_vqe_on_aer(gradient):
    """Its circuits grow from evolution gates, which Aer does not know."""
    aer = DispatchingEstimator(AerEstimator())
    pool = [SparsePauliOp(labels) for labels in ("YZ", "XY", "ZY")]
    start = QuantumCircuit(2)
    start.x(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # AdaptVQE needs the class, which is deprecated
        ansatz = EvolvedOperatorAnsatz(pool, initial_state=start)
        vqe = VQE(aer, ansatz, SLSQP(), gradient=None if gradient is None else gradient(aer))
        found = AdaptVQE(vqe).compute_minimum_eigenvalue(HYDROGEN)
    assert found.eigenvalue == pytest.approx(LEVELS[0], abs=1e-6)


@pytest.mark.parametrize("estimator", ["dispatching", "executor"])
def test_estimators_around_aer_decompose_what_algorithms_hand_over(estimator):
    circuit, points = blocks(), np.random.default_rng(2).uniform(-2, 2, (3, 4))
    circuit.global_phase = Parameter("phase")
    points = np.hstack([points, np.ones((3, 1))])
    pub = (circuit, [[HYDROGEN], ["XY"]], {tuple(circuit.parameters): points})
    with ThreadPoolExecutor(1) as pool:
        around = {
            "dispatching": lambda: DispatchingEstimator(AerEstimator()),
            "executor": lambda: ExecutorEstimator(pool, AerEstimator()),
        }[estimator]()
        found = around.run([pub]).result()[0].data.evs
    right = BatchedStatevectorEstimator().run([pub]).result()[0].data.evs
    np.testing.assert_allclose(found, right, atol=1e-9)
