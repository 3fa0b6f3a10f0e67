# SPDX-License-Identifier: Apache-2.0
"""Transpiled circuits, layouts and backends: the layout is applied exactly once."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from circuits import A, X, hybrid
from estimators import CountingEstimator
from qiskit.circuit import ClassicalRegister
from qiskit.primitives import BackendEstimatorV2, StatevectorEstimator
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import Layout, generate_preset_pass_manager
from qiskit_aer import AerSimulator
from qiskit_aer.primitives import EstimatorV2 as AerEstimator

from qiskit_torch_bridge import (
    CircuitProgram,
    OnBackend,
    Probabilities,
    TorchQuantumModule,
    expectation,
)
from qiskit_torch_bridge.backends import prepare
from qiskit_torch_bridge.exceptions import BackendError, CircuitError, ObservableError
from qiskit_torch_bridge.jobs import Jobs
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator

OBSERVABLES = ["ZI", SparsePauliOp(["XX", "IY"], [0.5, 1.0])]
BASIS = ["rz", "sx", "x", "cx"]
WEIGHTS = torch.tensor([0.3, -0.6, 0.9], dtype=torch.float64)
INPUTS = torch.tensor([[0.4, -0.2], [1.0, 0.7]], dtype=torch.float64)


def five_qubits(level):
    return generate_preset_pass_manager(
        level,
        basis_gates=BASIS,
        coupling_map=[[0, 1], [1, 2], [2, 3], [3, 4]],
        initial_layout=[3, 1],
        seed_transpiler=4,
    )


def value_and_gradient(circuit, observables=OBSERVABLES, **options):
    program = CircuitProgram(
        circuit,
        observables,
        input_params=X,
        weight_params=A,
        observables_layout=options.pop("observables_layout", "auto"),
    )
    w = WEIGHTS.clone().requires_grad_()
    y = expectation(program, INPUTS, w, **options)
    (g,) = torch.autograd.grad(y.pow(2).sum(), w)
    return torch.cat([y.detach().flatten(), g])


EXPECTED = value_and_gradient(hybrid())


@pytest.mark.parametrize("level", [0, 1, 2, 3])
@pytest.mark.parametrize("gradient", ["parameter-shift", "aqgd", "finite-difference"])
def test_pass_manager_changes_nothing_but_the_circuit(level, gradient):
    result = value_and_gradient(hybrid(), pass_manager=five_qubits(level), gradient=gradient)
    tolerance = 1e-6 if gradient == "finite-difference" else 1e-10
    torch.testing.assert_close(result, EXPECTED, rtol=0, atol=tolerance)


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_observables_with_and_without_the_circuits_layout(level):
    isa = five_qubits(level).run(hybrid())
    virtual = value_and_gradient(isa)
    physical = value_and_gradient(
        isa, [SparsePauliOp(o).apply_layout(isa.layout) for o in OBSERVABLES]
    )
    torch.testing.assert_close(virtual, EXPECTED, rtol=0, atol=1e-10)
    torch.testing.assert_close(physical, EXPECTED, rtol=0, atol=1e-10)


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_outcomes_with_and_without_the_circuits_layout(level):
    """Of qubit 1 as bit 0: named before transpilation, on the device, or by measurements."""
    isa = five_qubits(level).run(hybrid())
    expected = value_and_gradient(hybrid(), Probabilities([1, 0]))
    places = isa.layout.final_index_layout()
    physical = Probabilities([places[1], places[0]])
    measured = hybrid()
    measured.add_register(ClassicalRegister(2, "c"))
    measured.measure([1, 0], [0, 1])
    for found in (
        value_and_gradient(isa, Probabilities([1, 0]), observables_layout="virtual"),
        value_and_gradient(isa, physical, observables_layout="physical"),
        value_and_gradient(hybrid(), Probabilities([1, 0]), pass_manager=five_qubits(level)),
        value_and_gradient(five_qubits(level).run(measured), Probabilities()),
    ):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_default_observables_of_a_transpiled_circuit_are_the_virtual_qubits():
    isa = five_qubits(1).run(hybrid())
    torch.testing.assert_close(
        value_and_gradient(isa, None), value_and_gradient(hybrid(), None), rtol=0, atol=1e-10
    )


def test_a_permutation_of_the_same_width_must_be_said():
    isa = generate_preset_pass_manager(1, basis_gates=BASIS, initial_layout=[1, 0]).run(hybrid())
    with pytest.raises(ObservableError, match="observables_layout='virtual'"):
        CircuitProgram(isa, OBSERVABLES)
    CircuitProgram(isa, "ZZ")  # the same either way
    virtual = value_and_gradient(isa, observables_layout="virtual")
    torch.testing.assert_close(virtual, EXPECTED, rtol=0, atol=1e-10)
    moved = [SparsePauliOp(o).apply_layout(isa.layout) for o in OBSERVABLES]
    physical = value_and_gradient(isa, moved, observables_layout="physical")
    torch.testing.assert_close(physical, EXPECTED, rtol=0, atol=1e-10)
    with pytest.raises(ObservableError, match="'auto', 'virtual' or 'physical'"):
        CircuitProgram(isa, OBSERVABLES, observables_layout="logical")
    with pytest.raises(ObservableError, match="on 2 qubits; got one on 3"):
        CircuitProgram(isa, "ZZZ")


def test_transpiled_once_and_the_isa_circuit_is_what_runs():
    runs = []
    inner = five_qubits(1)

    class PassManager:
        def run(self, circuit):
            runs.append(circuit)
            return inner.run(circuit)

    estimator = CountingEstimator()
    node = TorchQuantumModule(
        hybrid(), OBSERVABLES, input_params=X, estimator=estimator, pass_manager=PassManager()
    )
    for _ in range(3):
        node(INPUTS).sum().backward()
    assert len(runs) == 1
    for circuit in estimator.circuits:  # the gradient's circuits are in the basis as well
        assert set(circuit.count_ops()) <= set(BASIS) and circuit.num_qubits == 5


def test_pass_manager_that_changes_the_problem_is_refused():
    class Widening:
        def run(self, circuit):
            wide = circuit.copy()
            from qiskit.circuit import QuantumRegister

            wide.add_register(QuantumRegister(1, "extra"))
            return wide

    with pytest.raises(CircuitError, match="without a layout"):
        TorchQuantumModule(hybrid(), pass_manager=Widening())


def test_a_parameter_that_the_transpiler_removes_has_gradient_zero():
    circuit = hybrid()
    circuit.rz(A[2], 0)
    circuit.rz(-A[2], 0)
    only = hybrid()
    only.data.pop()
    only.rz(A[2], 0)
    only.rz(-A[2], 0)
    for level in (0, 3):
        result = value_and_gradient(only, pass_manager=five_qubits(level))
        assert abs(result[-1]) < 1e-12


ESTIMATORS = {
    "statevector": StatevectorEstimator,
    "aer": AerEstimator,
    "local": BatchedStatevectorEstimator,
}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("gradient", ["parameter-shift", "aqgd", "finite-difference"])
def test_exact_estimators_agree(name, gradient):
    """Aer gets its parameterized controlled gate decomposed without being asked."""
    result = value_and_gradient(hybrid(), estimator=ESTIMATORS[name](), gradient=gradient)
    tolerance = 1e-6 if gradient == "finite-difference" else 1e-9
    torch.testing.assert_close(result, EXPECTED, rtol=0, atol=tolerance)


SAMPLING = {
    "aer": lambda: (BackendEstimatorV2(backend=AerSimulator(seed_simulator=11)), None),
    "generic": lambda: generic(),
    "fake": lambda: fake(),
}


def generic():
    backend = GenericBackendV2(3, seed=5, noise_info=False)
    return BackendEstimatorV2(backend=backend), generate_preset_pass_manager(
        1, backend, seed_transpiler=5
    )


def fake():
    runtime = pytest.importorskip("qiskit_ibm_runtime", reason="the runtime extra is missing")
    from qiskit_ibm_runtime.fake_provider import FakeManilaV2

    backend = FakeManilaV2()
    noiseless = AerSimulator(seed_simulator=7)
    pass_manager = generate_preset_pass_manager(1, backend, seed_transpiler=5)
    return runtime.EstimatorV2(mode=noiseless), pass_manager


@pytest.mark.filterwarnings("ignore")  # the runtime's local mode warns of what it ignores
@pytest.mark.parametrize("name", SAMPLING)
@pytest.mark.parametrize("gradient", ["parameter-shift", "aqgd"])
def test_backends_sample_the_same_numbers(name, gradient):
    """Every entry within six standard errors at 4,096 shots of the exact one."""
    estimator, pass_manager = SAMPLING[name]()
    program = CircuitProgram(hybrid(), OBSERVABLES, input_params=X, weight_params=A)
    w = WEIGHTS.clone().requires_grad_()
    y = expectation(
        program,
        INPUTS,
        w,
        estimator=estimator,
        pass_manager=pass_manager,
        gradient=gradient,
        shots=4096,
    )
    exact_w = WEIGHTS.clone().requires_grad_()
    exact = expectation(program, INPUTS, exact_w)
    (g,) = torch.autograd.grad(y.sum(), w)
    (exact_g,) = torch.autograd.grad(exact.sum(), exact_w)
    # An observable's coefficients sum to at most 1.5, so its standard error is below 1.5 / 64.
    one = 1.5 / 64
    assert (y - exact).abs().max() < 6 * one
    # At most 12 displaced evaluations, coefficients below 1, for two rows and two observables.
    assert (g - exact_g).abs().max() < 6 * one * np.sqrt(12 * 4)


# -- the transpiler's settings of a backend ------------------------------------------------------


def line_of_five():
    return GenericBackendV2(
        5, basis_gates=BASIS, coupling_map=[[0, 1], [1, 2], [2, 3], [3, 4]], seed=4
    )


@pytest.mark.parametrize("layout", [[3, 4], (4, 3), np.array([1, 2]).tolist()])
@pytest.mark.parametrize("level", [0, 3])
def test_the_initial_layout_is_kept(layout, level):
    """A program on chosen qubits of a device, in the order chosen."""
    on = OnBackend(line_of_five(), initial_layout=layout, optimization_level=level)
    prepared = prepare(CircuitProgram(hybrid(), "ZI"), on, seed=1)
    found = prepared.isa_circuit.layout.initial_index_layout(filter_ancillas=True)
    assert found == list(layout)


def test_a_layout_object_and_transpile_options_reach_the_transpiler():
    circuit = hybrid()
    layout = Layout({circuit.qubits[0]: 2, circuit.qubits[1]: 1})
    on = OnBackend(
        line_of_five(), initial_layout=layout, transpile_options={"routing_method": "basic"}
    )
    isa = prepare(CircuitProgram(circuit, "ZI"), on).isa_circuit
    assert isa.layout.initial_index_layout(filter_ancillas=True) == [2, 1]
    wrong = replace(on, transpile_options={"routing_method": "no such method"})
    with pytest.raises(BackendError, match="does not take these options.*no such method"):
        prepare(CircuitProgram(circuit, "ZI"), wrong)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"initial_layout": [0, 0]}, "different qubits"),
        ({"initial_layout": [3, 5]}, "which has 5"),
        ({"initial_layout": "01"}, "list of the device's qubits"),
        ({"initial_layout": [-1, 0]}, "list of the device's qubits"),
        ({"transpile_options": {"routing": "sabre"}}, "no option 'routing'.*routing_method"),
        ({"transpile_options": {"initial_layout": [0]}}, "OnBackend itself"),
        ({"transpile_options": "sabre"}, "mapping"),
        ({"optimization_level": 4}, "0, 1, 2 or 3"),
        ({"options": 5}, "mapping"),
    ],
)
def test_settings_are_checked_when_they_are_made(options, words):
    with pytest.raises(BackendError, match=words):
        OnBackend(line_of_five(), **options)


def test_a_layout_has_a_qubit_for_each_of_the_circuit():
    on = OnBackend(line_of_five(), initial_layout=[1, 2, 3])
    with pytest.raises(BackendError, match="each of the circuit's 2"):
        prepare(CircuitProgram(hybrid(), "ZI"), on)


def test_a_pass_manager_takes_the_place_of_all_settings():
    on = OnBackend(line_of_five(), initial_layout=[1, 2], optimization_level=2)
    with pytest.raises(BackendError, match="Leave out optimization_level and initial_layout"):
        prepare(CircuitProgram(hybrid(), "ZI"), on, pass_manager=five_qubits(1))


def test_the_value_reads_as_it_was_written():
    device = line_of_five()
    on = OnBackend(device, options={"abelian_grouping": False}, jobs=Jobs(budget=100))
    assert repr(on) == (
        "OnBackend(generic_backend_5q, options={'abelian_grouping': False}, jobs=Jobs(budget=100))"
    )
    assert OnBackend.coerce(on) is on and copy.deepcopy(on) is on
    assert OnBackend.coerce(device) == OnBackend(device)
