# SPDX-License-Identifier: Apache-2.0
"""Coefficients of any size keep their digits: 1e-12 as well as 1e6, alone and side by side.

Expectation values are linear in the observable, so one with a small coefficient is the value of its
Pauli times the coefficient, to the last digits.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.circuit.library import PauliGate, efficient_su2
from qiskit.primitives import BackendEstimatorV2, StatevectorEstimator
from qiskit.quantum_info import Operator, Pauli, SparsePauliOp, Statevector, random_hermitian
from qiskit.transpiler import CouplingMap, generate_preset_pass_manager
from qiskit_aer import AerSimulator
from qiskit_aer.primitives import EstimatorV2 as AerEstimator
from qiskit_algorithms.gradients import ParamShiftEstimatorGradient
from tensor_kernels import IN_TENSORS

from qiskit_torch_bridge import CircuitProgram, TorchQuantumModule, expectation
from qiskit_torch_bridge.backends import ExecutorEstimator
from qiskit_torch_bridge.backends.simulators import FreshSeedsEstimator
from qiskit_torch_bridge.exceptions import ObservableError, StateDictError
from qiskit_torch_bridge.gradients import (
    AdjointEstimatorGradient,
    AQGDEstimatorGradient,
    FiniteDifferenceEstimatorGradient,
    ParameterShiftEstimatorGradient,
    SPSAEstimatorGradient,
)
from qiskit_torch_bridge.jobs import DispatchingEstimator
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator
from qiskit_torch_bridge.program.observables import to_hermitian
from qiskit_torch_bridge.program.operators import same_operator

SIZES = (1e-12, 1e-9, 1e-7, 1.0, 1e6)
ANGLE = 0.5
THETA = Parameter("theta")
PLACES = {
    "exact": {},
    **{name: {"estimator": exact} for name, exact in IN_TENSORS.items()},
    "StatevectorEstimator": {"estimator": StatevectorEstimator()},
    "BatchedStatevectorEstimator": {"estimator": BatchedStatevectorEstimator()},
    "adjoint": {"estimator": StatevectorEstimator(), "gradient": "adjoint"},
    "aqgd": {"estimator": StatevectorEstimator(), "gradient": "aqgd"},
    "a gradient object": {
        "estimator": StatevectorEstimator(),
        "gradient": ParamShiftEstimatorGradient(StatevectorEstimator()),
    },
    "Aer": {"estimator": AerEstimator()},
}
OBJECTS = {
    "parameter shift": ParameterShiftEstimatorGradient,
    "aqgd": AQGDEstimatorGradient,
    "adjoint": AdjointEstimatorGradient,
    "finite difference": FiniteDifferenceEstimatorGradient,
    "spsa": SPSAEstimatorGradient,
}
FORMS = {
    "SparsePauliOp": lambda c: SparsePauliOp("Z", c),
    "mapping": lambda c: {"Z": c},
    "mapping of Paulis": lambda c: {Pauli("-Z"): -c},
    "projectors": lambda c: {"0": c, "1": -c},
    "Operator": lambda c: Operator(c * np.diag([1.0, -1.0])),
    "list": lambda c: [SparsePauliOp("Z", c)],
}


def one_rotation() -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.ry(THETA, 0)
    return circuit


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("place", PLACES)
def test_a_module_gives_value_and_slope_at_any_size(place, size):
    weights = torch.tensor([ANGLE], dtype=torch.float64)
    module = TorchQuantumModule(
        one_rotation(), SparsePauliOp("Z", size), initial_weights=weights, **PLACES[place]
    )
    value = module()
    value.backward()
    assert value.item() == pytest.approx(size * math.cos(ANGLE), rel=1e-13, abs=0)
    assert module.weight.grad.item() == pytest.approx(-size * math.sin(ANGLE), rel=1e-13, abs=0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_an_observable_keeps_its_size(form, size):
    weights = torch.tensor([ANGLE], dtype=torch.float64)
    observable = FORMS[form](size)
    value = expectation(one_rotation(), weights=weights, observables=observable)
    assert value.item() == pytest.approx(size * math.cos(ANGLE), rel=1e-14, abs=0)
    (result,) = BatchedStatevectorEstimator().run([(one_rotation(), observable, [ANGLE])]).result()
    assert np.ravel(result.data.evs) == pytest.approx([size * math.cos(ANGLE)], rel=1e-14, abs=0)


DISPATCHING = {
    "dispatching": lambda: DispatchingEstimator([StatevectorEstimator()]),
    "executor": lambda: ExecutorEstimator(ThreadPoolExecutor(1), StatevectorEstimator()),
    "reseeded": lambda: FreshSeedsEstimator(StatevectorEstimator(), 1),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", DISPATCHING)
def test_estimators_over_estimators_keep_it_too(name, form, size):
    pub = (one_rotation(), FORMS[form](size), [ANGLE])
    (result,) = DISPATCHING[name]().run([pub]).result()
    assert np.ravel(result.data.evs) == pytest.approx([size * math.cos(ANGLE)], rel=1e-13, abs=0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", OBJECTS)
def test_a_gradient_object_gives_the_slope_at_any_size(name, size):
    job = OBJECTS[name](StatevectorEstimator()).run(
        [one_rotation()], [SparsePauliOp("Z", size)], [[ANGLE]]
    )
    # A central difference of step h errs by h**2 / 6, and by rounding of the values over h.
    error = {"finite difference": 1e-7, "spsa": 1e-7}.get(name, 1e-13)
    assert job.result().gradients[0] == pytest.approx([-size * math.sin(ANGLE)], rel=error, abs=0)


@pytest.mark.parametrize("small", [1e-12, 1e-9])
@pytest.mark.parametrize("place", PLACES)
def test_a_small_term_counts_beside_a_large_one(place, small):
    circuit = one_rotation()  # at a right angle, where Z is zero and X is one
    observable = SparsePauliOp(["Z", "X"], [1.0, small])
    module = TorchQuantumModule(
        circuit,
        [observable, "Z"],
        initial_weights=torch.tensor([math.pi / 2], dtype=torch.float64),
        **PLACES[place],
    )
    both, large = module()
    both.backward()
    # Values of size one are rounded to a few 2**-53.
    assert (both - large).item() == pytest.approx(small, abs=1e-15)
    assert module.weight.grad.item() == pytest.approx(-1, abs=1e-14)


@pytest.mark.parametrize("shots", [100, 400])
def test_shots_of_a_small_observable_are_those_of_a_large_one(shots):
    pubs = [(one_rotation(), SparsePauliOp("Z", size), [ANGLE]) for size in (1.0, 1e-9)]
    large, small = (
        BatchedStatevectorEstimator(seed=1).run([pub], precision=shots**-0.5).result()[0]
        for pub in pubs
    )
    assert small.data.evs == pytest.approx(1e-9 * large.data.evs, rel=1e-14, abs=0)
    assert small.data.stds == pytest.approx(1e-9 * large.data.stds, rel=1e-14, abs=0)


@pytest.mark.parametrize("small", [0.5, 1e-9])
def test_noise_of_a_gradient_object_is_as_requested_whatever_small_terms(small):
    """Normal noise of 0.1 in both shifts makes 0.1 / sqrt(2) in the gradient."""
    estimator = StatevectorEstimator(default_precision=0.1, seed=np.random.default_rng(1))
    module = TorchQuantumModule(
        one_rotation(),
        SparsePauliOp(["Z", "X"], [1.0, small]),
        initial_weights=torch.tensor([ANGLE], dtype=torch.float64),
        estimator=estimator,
        gradient=ParamShiftEstimatorGradient(estimator),
    )
    found = [torch.autograd.grad(module(), module.weight)[0].item() for _ in range(100)]
    # The relative error of a standard deviation from N samples is 1 / sqrt(2 N).
    assert np.std(found) == pytest.approx(0.1 / 2**0.5, rel=5 / 200**0.5)


@pytest.mark.parametrize("precision", [None, 0.1])
def test_a_gradient_object_of_another_package_sees_a_tiny_observable(precision):
    gradient = ParamShiftEstimatorGradient(StatevectorEstimator(), precision=precision)
    module = TorchQuantumModule(
        one_rotation(),
        SparsePauliOp("Z", 1e-10),
        initial_weights=torch.tensor([ANGLE], dtype=torch.float64),
        estimator=StatevectorEstimator(),
        gradient=gradient,
    )
    module().backward()
    error = 0 if precision is None else 5 * precision
    assert abs(module.weight.grad.item() / 1e-10 + math.sin(ANGLE)) <= error + 1e-13


def test_a_device_measures_a_small_observable():
    backend = AerSimulator(seed_simulator=5)
    module = TorchQuantumModule(
        one_rotation(),
        SparsePauliOp("Z", 1e-9),
        initial_weights=torch.tensor([ANGLE], dtype=torch.float64),
        estimator=BackendEstimatorV2(backend=backend),
        shots=256,
    )
    assert abs(module().item() / 1e-9 - math.cos(ANGLE)) < 5 * math.sin(ANGLE) / 256**0.5


def test_a_projector_on_eight_qubits_is_complete():
    """Without the terms that Qiskit drops as small by default it would lose 3e-5."""
    circuit = efficient_su2(8, reps=2, entanglement="linear")
    weights = torch.empty(circuit.num_parameters, dtype=torch.float64).uniform_(
        -3, 3, generator=torch.Generator().manual_seed(3)
    )
    psi = Statevector(circuit.assign_parameters(weights.tolist())).data
    projector = Operator(np.outer(psi, psi.conj()))
    module = TorchQuantumModule(circuit, projector, initial_weights=weights)
    fidelity = module()
    fidelity.backward()
    # 2**16 terms of at most 2**-8; their sum is rounded like the state, some 50 gates.
    assert fidelity.item() == pytest.approx(1.0, abs=1e-12)
    assert module.weight.grad.abs().max() < 1e-12


@pytest.mark.parametrize("num_qubits", [1, 2, 4, 6])
def test_a_matrix_and_its_expectation_value_agree(num_qubits):
    matrix = random_hermitian(2**num_qubits, seed=num_qubits)
    circuit = efficient_su2(num_qubits, reps=1)
    weights = np.random.default_rng(num_qubits).uniform(-3, 3, circuit.num_parameters)
    expected = Statevector(circuit.assign_parameters(weights)).expectation_value(matrix).real
    value = expectation(circuit, weights=torch.tensor(weights), observables=matrix)
    assert value.item() == pytest.approx(expected, abs=1e-13 * np.linalg.norm(matrix.data))


def test_rounding_of_a_product_of_matrices_makes_no_terms():
    rotation = Operator(efficient_su2(4, reps=1).assign_parameters(np.linspace(-2, 2, 16)))
    pauli = Operator(PauliGate("XZIY"))
    there_and_back = rotation.adjoint() @ (rotation @ pauli @ rotation.adjoint()) @ rotation
    (found,) = CircuitProgram(QuantumCircuit(4), there_and_back).observables
    assert found.paulis.to_labels() == ["XZIY"]


def test_what_cancels_is_gone_and_what_is_small_stays():
    observable = SparsePauliOp(["ZZ", "ZZ", "ZZ", "XX"], [0.1, 0.2, -0.3, 1e-17])
    (found,) = CircuitProgram(QuantumCircuit(2), observable).observables
    assert found.to_list() == [("XX", 1e-17)]
    with pytest.raises(ObservableError, match="which is zero"):
        CircuitProgram(QuantumCircuit(2), observable[:3])


@pytest.mark.skipif(not hasattr(SparsePauliOp, "from_sparse_observable"), reason="from Qiskit 2.0")
def test_sparse_observables_are_read_as_qiskit_reads_them():
    from qiskit.quantum_info import SparseObservable

    terms = [("XYZI", 0.5), ("01+-", 1e-9), ("rlIY", -2.0), ("IIII", 3.0), ("YYYY", 0.1)]
    observable = SparseObservable.from_list(terms)
    expected = SparsePauliOp.from_sparse_observable(observable)
    assert same_operator(to_hermitian(observable), expected)
    assert same_operator(to_hermitian(SparseObservable.identity(2)), SparsePauliOp("II"))


@pytest.mark.parametrize("size", SIZES)
def test_an_observable_that_is_not_hermitian_is_refused_at_any_size(size):
    skew = SparsePauliOp("Z", size * (1 + 0.5j))
    for observable in (skew, Operator(skew), SparsePauliOp(["Z", "X"], [size, 1e-6j * size])):
        with pytest.raises(ObservableError, match="Hermitian"):
            CircuitProgram(one_rotation(), observable)
        with pytest.raises(ObservableError, match="Hermitian"):
            BatchedStatevectorEstimator().run([(one_rotation(), observable, [ANGLE])])


def test_small_observables_are_told_apart():
    circuit = one_rotation()
    one, other = (CircuitProgram(circuit, SparsePauliOp("Z", c)) for c in (1e-9, 3e-9))
    assert one != other
    assert one.difference(CircuitProgram(circuit, SparsePauliOp("Z", 1e-9))) is None
    mine, theirs = (TorchQuantumModule(p.circuit, p.observables[0]) for p in (one, other))
    with pytest.raises(StateDictError, match="the measurement"):
        mine.load_state_dict(theirs.state_dict())


def test_equal_operators_may_differ_by_rounding_and_order():
    a = SparsePauliOp(["ZZ", "XI"], [0.3, 1e-3])
    b = SparsePauliOp(["XI", "ZZ", "ZZ", "YY"], [1e-3, 0.1, 0.2, 1e-17])
    assert same_operator(a, b)
    assert not same_operator(a, SparsePauliOp(["ZZ", "XI"], [0.3, 1.001e-3]))
    assert not same_operator(a, SparsePauliOp("Z"))


def test_a_small_observable_on_a_permuted_circuit_must_say_which_qubits_are_meant():
    circuit = QuantumCircuit(2)
    circuit.ry(THETA, 0)
    transpiled = generate_preset_pass_manager(
        0, coupling_map=CouplingMap.from_line(2), initial_layout=[1, 0], seed_transpiler=1
    ).run(circuit)
    with pytest.raises(ObservableError, match="observables_layout"):
        CircuitProgram(transpiled, SparsePauliOp("IZ", 1e-9))


def test_idle_qubits_leave_small_terms():
    circuit = QuantumCircuit(2)
    circuit.ry(THETA, 0)
    program, _ = CircuitProgram(
        circuit, SparsePauliOp(["ZZ", "IX"], [1e-9, 2e-12])
    ).without_idle_qubits()
    assert program.observables[0].to_list() == [("Z", 1e-9), ("X", 2e-12)]
