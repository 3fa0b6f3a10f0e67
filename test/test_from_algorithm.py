# SPDX-License-Identifier: Apache-2.0
"""A module made from an algorithm object gives the algorithm's own energies."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from estimators import CountingEstimator
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.primitives import BackendEstimatorV2, StatevectorEstimator, StatevectorSampler
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel
from qiskit_aer.primitives import EstimatorV2 as AerEstimator
from qiskit_algorithms import QAOA, VQD, VQE, AdaptVQE, NumPyMinimumEigensolver, SamplingVQE
from qiskit_algorithms.gradients import ParamShiftEstimatorGradient, SPSAEstimatorGradient
from qiskit_algorithms.optimizers import COBYLA, SLSQP
from qiskit_algorithms.state_fidelities import ComputeUncompute

from qiskit_torch_bridge import Exact, Execution, TorchQuantumModule, Tracker
from qiskit_torch_bridge.algorithms import TorchOptimizer
from qiskit_torch_bridge.exceptions import AlgorithmError, AlgorithmTypeError, MeasurementError
from qiskit_torch_bridge.gradients import AdjointEstimatorGradient
from qiskit_torch_bridge.jobs import DispatchingEstimator, Jobs
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator
from qiskit_torch_bridge.primitives.capabilities import workers
from qiskit_torch_bridge.primitives.usage import Usage

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*circuit.library.* is deprecated as of Qiskit 2.1"  # QAOA makes such a circuit
)

OPERATOR = SparsePauliOp(["IZX", "ZZI", "XIY", "III"], [1.0, -0.5, 0.3, 0.2])
DIAGONAL = SparsePauliOp(["IZZ", "ZZI", "ZIZ", "ZII"], [1.0, 1.2, 0.7, 0.3])
SHORT = TorchOptimizer(maxiter=1, gradient="spsa", seed=1)
# Sums of some dozens of products of double precision numbers.
EXACT = {"rtol": 0, "atol": 1e-10}


def ansatz():
    """Twelve parameters, so that t10 sorts before t2 by name alone."""
    angles, extra = ParameterVector("t", 11), Parameter("a")
    circuit = QuantumCircuit(3)
    for i, angle in enumerate([*angles, extra]):
        circuit.ry(angle, i % 3) if i < 6 else circuit.rx(angle, i % 3)
        circuit.cx(i % 3, (i + 1) % 3)
    return circuit


def energies(evaluate, count, points=3):
    """Compare at random points: call with points (P,), get energies."""
    rng = np.random.default_rng(count)
    return [(x, float(evaluate(x))) for x in rng.uniform(-3, 3, (points, count))]


def assert_energies(module, evaluate):
    """The weights are in the order in which the algorithm takes its parameters."""
    module = module.double()
    for x, energy in energies(evaluate, len(module.weight)):
        with torch.no_grad():
            module.weight.copy_(torch.from_numpy(x))
        np.testing.assert_allclose(module().item(), energy, **EXACT)


def energy_of(circuit, operator):
    pub = circuit, operator
    return lambda x: StatevectorEstimator().run([(*pub, x)]).result()[0].data.evs


def test_vqe():
    estimator, start = StatevectorEstimator(), np.linspace(-1, 1, 12)
    vqe = VQE(estimator, ansatz(), SLSQP(), initial_point=start)
    module = TorchQuantumModule.from_algorithm(vqe, OPERATOR)
    assert module.estimator is None and module.execution == Execution()
    assert module.gradient == "adjoint" and module.precision is None
    np.testing.assert_array_equal(module.weight.detach().numpy(), start.astype(np.float32))
    assert module.program.weight_params == tuple(vqe.ansatz.parameters)
    assert_energies(module, vqe._get_evaluate_energy(vqe.ansatz, OPERATOR))


def aer(**options):
    return AerEstimator(options=options)


EXACT_GRADIENT = {"theirs": ParamShiftEstimatorGradient, "ours": AdjointEstimatorGradient}
SIMULATORS = {
    "statevector": StatevectorEstimator,
    "batched": BatchedStatevectorEstimator,
    "aer": AerEstimator,
}
OTHERS = {
    "a precision": lambda: (StatevectorEstimator(default_precision=0.1), None, {}),
    "a precision of ours": lambda: (BatchedStatevectorEstimator(default_precision=0.1), None, {}),
    "a precision of Aer's": lambda: (aer(default_precision=0.1), None, {}),
    "noise": lambda: (aer(backend_options={"noise_model": NoiseModel()}), None, {}),
    "another method": lambda: (
        aer(backend_options={"method": "matrix_product_state"}), None, {}
    ),
    "a backend": lambda: (BackendEstimatorV2(backend=AerSimulator()), None, {}),
    "another class": lambda: (CountingEstimator(), None, {}),
    "a gradient of estimates": lambda: (
        StatevectorEstimator(), SPSAEstimatorGradient(StatevectorEstimator(), 0.1), {}
    ),
    "a gradient of a noisy estimator": lambda: (
        StatevectorEstimator(),
        ParamShiftEstimatorGradient(StatevectorEstimator(default_precision=0.1)),
        {},
    ),
    "a budget": lambda: (
        DispatchingEstimator(StatevectorEstimator(), Jobs(budget=Usage(jobs=5))), None, {}
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", [None, *EXACT_GRADIENT])
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_exact_simulators_mean_the_exact_engine(simulator, kind, caplog):
    """Which says so, differentiates by adjoint, and gives the same numbers."""
    estimator = SIMULATORS[simulator]()
    gradient = kind and EXACT_GRADIENT[kind](estimator)
    vqe = VQE(estimator, ansatz(), SLSQP(), gradient=gradient, initial_point=[0.3] * 12)
    with caplog.at_level("WARNING", "qiskit_torch_bridge"):
        module = TorchQuantumModule.from_algorithm(vqe, OPERATOR).double()
    name = type(estimator).__name__
    assert f"exact engine takes the place of {name} in VQE" in caplog.text
    assert module.gradient == "adjoint" and module.estimator is not estimator
    with Tracker() as tracker:
        module().sum().backward()
    assert tracker.usage.jobs == 0
    caplog.clear()
    kept = TorchQuantumModule.from_algorithm(vqe, OPERATOR, estimator=estimator).double()
    kept().sum().backward()
    assert kept.estimator is estimator and not caplog.text
    np.testing.assert_allclose(module.weight.grad, kept.weight.grad, **EXACT)


@pytest.mark.parametrize("other", OTHERS)
def test_what_is_not_exact_is_kept(other):
    estimator, gradient, options = OTHERS[other]()
    vqe = VQE(estimator, ansatz(), SLSQP(), gradient=gradient)
    module = TorchQuantumModule.from_algorithm(vqe, OPERATOR, **options)
    assert workers(module.estimator) == workers(estimator)
    assert gradient is None or module.gradient != "adjoint"


def test_a_number_format_comes_along():
    for estimator, gradient in (
        (BatchedStatevectorEstimator(dtype="complex64"), None),
        (StatevectorEstimator(), AdjointEstimatorGradient(dtype="complex64")),
    ):
        vqe = VQE(estimator, ansatz(), SLSQP(), gradient=gradient)
        module = TorchQuantumModule.from_algorithm(vqe, OPERATOR)
        assert module.gradient == "adjoint" and module.execution.estimator == Exact(
            dtype="complex64"
        )
        sampled = TorchQuantumModule.from_algorithm(vqe, OPERATOR, shots=10, seed=1)
        assert sampled.precision == pytest.approx(10**-0.5)


def test_shots_that_nobody_asked_for_are_not_drawn():
    """A sampler of state vectors has no other way; with a number of one's own it is meant."""
    qaoa = QAOA(StatevectorSampler(seed=3), COBYLA(), initial_point=[0.4, 0.7])
    module = TorchQuantumModule.from_algorithm(qaoa, DIAGONAL)
    assert module.gradient == "adjoint" and module.precision is None
    qaoa._check_operator_ansatz(DIAGONAL)
    assert_energies(module, energy_of(qaoa.ansatz, DIAGONAL))
    qaoa = QAOA(StatevectorSampler(default_shots=300), COBYLA())
    module = TorchQuantumModule.from_algorithm(qaoa, DIAGONAL)
    assert module.estimator.default_precision == pytest.approx(300**-0.5)
    assert module.gradient == "parameter-shift"


def test_gradients_come_along():
    estimator = CountingEstimator()
    vqe = VQE(estimator, ansatz(), SLSQP(), gradient=AdjointEstimatorGradient(estimator))
    assert TorchQuantumModule.from_algorithm(vqe, OPERATOR).gradient == "adjoint"
    theirs = ParamShiftEstimatorGradient(estimator)
    vqe = VQE(estimator, ansatz(), SLSQP(), gradient=theirs)
    module = TorchQuantumModule.from_algorithm(vqe, OPERATOR).double()
    module().sum().backward()
    x = module.weight.detach().numpy()
    (expected,) = theirs.run([vqe.ansatz], [OPERATOR], [x]).result().gradients
    np.testing.assert_allclose(module.weight.grad, expected, **EXACT)


def test_options_replace_what_the_algorithm_has():
    vqe = VQE(StatevectorEstimator(), ansatz(), SLSQP(), initial_point=[0.1] * 5)
    module = TorchQuantumModule.from_algorithm(
        vqe, OPERATOR, estimator=CountingEstimator(), initial_weights=[0.5] * 12, gradient="aqgd"
    )
    assert isinstance(module.estimator, CountingEstimator) and module.gradient == "aqgd"
    assert module.weight.tolist() == [0.5] * 12


def test_without_an_initial_point_weights_are_random():
    vqe = VQE(StatevectorEstimator(), ansatz(), SLSQP())
    first = TorchQuantumModule.from_algorithm(vqe, OPERATOR, seed=1)
    other = TorchQuantumModule.from_algorithm(vqe, OPERATOR, seed=2)
    assert not torch.equal(first.weight, other.weight)


def test_preferred_points_of_an_ansatz():
    circuit = ansatz()
    circuit.preferred_init_points = list(np.linspace(0, 1.5, 12))
    vqe = VQE(StatevectorEstimator(), circuit, SLSQP())
    module = TorchQuantumModule.from_algorithm(vqe, OPERATOR)
    np.testing.assert_allclose(module.weight.tolist(), np.linspace(0, 1.5, 12), rtol=1e-6)


@pytest.mark.parametrize(("qubits", "layout"), [(3, [2, 0, 1]), (5, [4, 1, 3]), (3, None)], ids=str)
def test_vqe_that_transpiles(qubits, layout):
    manager = generate_preset_pass_manager(
        1,
        basis_gates=["rz", "sx", "x", "cx"],
        coupling_map=[[i, i + 1] for i in range(qubits - 1)],
        initial_layout=layout,
        seed_transpiler=3,
    )
    vqe = VQE(StatevectorEstimator(), ansatz(), SLSQP(), transpiler=manager)
    module = TorchQuantumModule.from_algorithm(vqe, OPERATOR)
    placed = OPERATOR.apply_layout(vqe.ansatz.layout)
    assert_energies(module, vqe._get_evaluate_energy(vqe.ansatz, placed))
    assert_energies(module, energy_of(ansatz(), OPERATOR))


def test_a_result_gives_circuit_and_weights():
    vqe = VQE(StatevectorEstimator(), ansatz(), TorchOptimizer(maxiter=3), initial_point=[0.3] * 12)
    result = vqe.compute_minimum_eigenvalue(OPERATOR)
    module = TorchQuantumModule.from_algorithm(vqe, OPERATOR, result=result)
    np.testing.assert_array_equal(module.weight.tolist(), result.optimal_point.astype(np.float32))
    module = TorchQuantumModule.from_algorithm(
        vqe, OPERATOR, result=result, initial_weights=result.optimal_point
    ).double()
    assert_energies(module, energy_of(ansatz(), OPERATOR))


def test_sampling_vqe():
    """Before it has run and after, when it has left its measurements in the ansatz."""
    vqe = SamplingVQE(StatevectorSampler(seed=1), ansatz(), SHORT)
    for _ in range(2):
        module = TorchQuantumModule.from_algorithm(vqe, DIAGONAL, estimator=StatevectorEstimator())
        assert_energies(module, energy_of(ansatz(), DIAGONAL))
        result = vqe.compute_minimum_eigenvalue(DIAGONAL)
    assert vqe.ansatz.num_clbits == 3  # it was not changed by the module
    module = TorchQuantumModule.from_algorithm(
        vqe, DIAGONAL, result=result, estimator=StatevectorEstimator()
    )
    found = [result.optimal_parameters[p] for p in module.program.weight_params]
    np.testing.assert_array_equal(module.weight.tolist(), np.float32(found))
    assert_energies(module, energy_of(ansatz(), DIAGONAL))


def mixer_circuit():
    a, b = Parameter("z"), Parameter("a")
    circuit = QuantumCircuit(3)
    circuit.rx(a, 0)
    circuit.ry(b, 1)
    circuit.rx(2 * a, 2)
    return circuit


def prepared():
    circuit = QuantumCircuit(3)
    circuit.x(0)
    circuit.h([1, 2])
    return circuit


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"reps": 2},
        {"reps": 11},  # two digits, to be sorted as numbers
        {"initial_state": prepared()},
        {"mixer": SparsePauliOp(["XXI", "IXX"]), "reps": 2},
        {"mixer": mixer_circuit(), "reps": 2},
        {"mixer": mixer_circuit(), "initial_state": prepared()},
    ],
    ids=["plain", "2", "11", "state", "mixer", "mixer circuit", "both"],
)
def test_qaoa(options):
    qaoa = QAOA(StatevectorSampler(), COBYLA(), **options)
    module = TorchQuantumModule.from_algorithm(qaoa, DIAGONAL, estimator=StatevectorEstimator())
    qaoa._check_operator_ansatz(DIAGONAL)  # where it makes its ansatz
    assert_energies(module, energy_of(qaoa.ansatz, DIAGONAL))


def test_qaoa_that_transpiles_and_its_result():
    """Its own values are right for the trivial layout only, which full coupling gives."""
    manager = generate_preset_pass_manager(1, basis_gates=["rz", "sx", "x", "cx"])
    qaoa = QAOA(StatevectorSampler(seed=1), SHORT, transpiler=manager)
    module = TorchQuantumModule.from_algorithm(qaoa, DIAGONAL, estimator=StatevectorEstimator())
    assert set(module.circuit.count_ops()) <= {"rz", "sx", "x", "cx", "barrier"}
    result = qaoa.compute_minimum_eigenvalue(DIAGONAL)
    qaoa._check_operator_ansatz(DIAGONAL)
    assert_energies(module, energy_of(qaoa.ansatz, DIAGONAL))
    module = TorchQuantumModule.from_algorithm(
        qaoa, DIAGONAL, result=result, estimator=StatevectorEstimator()
    )
    np.testing.assert_array_equal(module.weight.tolist(), np.float32(result.optimal_point))
    assert_energies(module, energy_of(qaoa.ansatz, DIAGONAL))


def test_adaptive_vqe_after_its_run():
    solver = VQE(StatevectorEstimator(), QuantumCircuit(2), SLSQP())
    pool = [SparsePauliOp(label) for label in ("XY", "YX", "YI")]
    adaptive = AdaptVQE(solver, operators=pool, max_iterations=2)
    operator = SparsePauliOp(["ZZ", "XI", "IX"], [1.0, 0.5, 0.5])
    with pytest.raises(AlgorithmError, match="not been called. Call it first, or give its result="):
        TorchQuantumModule.from_algorithm(adaptive, operator)
    result = adaptive.compute_minimum_eigenvalue(operator)
    module = TorchQuantumModule.from_algorithm(adaptive, operator)
    assert_energies(module, energy_of(solver.ansatz, operator))
    module = TorchQuantumModule.from_algorithm(adaptive, operator, result=result)
    # The weights are single, as torch's default; the energy is flat around them.
    assert module().item() == pytest.approx(result.eigenvalue, abs=1e-5)


def test_vqd():
    fidelity = ComputeUncompute(StatevectorSampler())
    points = [[0.1] * 12, [0.2] * 12]
    vqd = VQD(StatevectorEstimator(), fidelity, ansatz(), SLSQP(), initial_point=points)
    with pytest.raises(AlgorithmError, match="12 parameters; VQD .*initial_weights="):
        TorchQuantumModule.from_algorithm(vqd, OPERATOR)
    module = TorchQuantumModule.from_algorithm(vqd, OPERATOR, initial_weights=points[0])
    assert_energies(module, energy_of(ansatz(), OPERATOR))


class OfVersionOne:
    """What primitives of version 1 look like from here."""


def refused(error, message, algorithm, **options):
    with pytest.raises(error, match=message):
        TorchQuantumModule.from_algorithm(algorithm, OPERATOR, **options)


def test_what_cannot_be_read_is_refused():
    sampler, estimator = StatevectorSampler(), StatevectorEstimator()
    refused(AlgorithmError, "ansatz.*it has none. Set VQE.ansatz", VQE(estimator, None, SLSQP()))
    without = VQE(estimator, QuantumCircuit(3), SLSQP())
    refused(AlgorithmError, "a circuit without parameters. Set VQE.ansatz", without)
    old = VQE(OfVersionOne(), ansatz(), SLSQP())
    refused(AlgorithmError, "V2 estimator .*got OfVersionOne.*estimator= of its own", old)
    old = SamplingVQE(OfVersionOne(), ansatz(), SLSQP())
    refused(AlgorithmError, "V2 sampler .*got OfVersionOne.*Give the algorithm a V2 sampler", old)
    own = SamplingVQE(sampler, ansatz(), SLSQP(), aggregation=max)
    refused(AlgorithmError, "aggregation=max, a function; .*None or to a number", own)
    for alpha in (0, 1.5, "a"):
        own.aggregation = alpha
        with pytest.raises(MeasurementError, match="alpha to be a number above 0"):
            TorchQuantumModule.from_algorithm(own, DIAGONAL)
    short = VQE(estimator, ansatz(), SLSQP(), initial_point=[0.1])
    refused(AlgorithmError, r"12 parameters; VQE has one of shape \(1,\)", short)
    for other in (NumPyMinimumEigensolver(), 3, None, ansatz(), VQE):
        refused(AlgorithmTypeError, "Expected an algorithm with an ansatz and .*; got", other)
    good = VQE(estimator, ansatz(), SLSQP())
    numerical = NumPyMinimumEigensolver().compute_minimum_eigenvalue(DIAGONAL)
    for wrong in (numerical, 1.0, {}):
        refused(AlgorithmTypeError, "Expected result to be what .*; got", good, result=wrong)
