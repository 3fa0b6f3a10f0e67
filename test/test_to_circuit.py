# SPDX-License-Identifier: Apache-2.0
"""Trained circuits for other tools: weights bound, inputs free or bound."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from circuits import A, X, hybrid, nonlinear
from qiskit import qpy
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import generate_preset_pass_manager

from qiskit_torch_bridge import TorchQuantumModule
from qiskit_torch_bridge.exceptions import InputError

ZI, XX = SparsePauliOp("ZI"), SparsePauliOp(["XX", "ZZ"], [0.5, -1.0])
ROWS = torch.tensor([[0.25, -0.5], [1.0, 2.0], [-3.0, 0.1]], dtype=torch.float64)


def module_of(circuit, observables=(ZI, XX), **options):
    """In double precision, as every comparison here is to 1e-9."""
    torch.manual_seed(1)
    return TorchQuantumModule(circuit, list(observables), **options).double()


def expectation(circuit, observables):
    pub = circuit, list(observables)
    return StatevectorEstimator().run([pub]).result()[0].data.evs


def assert_same(module, bound, inputs, observables):
    found = module(inputs).detach().numpy()
    np.testing.assert_allclose(expectation(bound, observables), found, rtol=0, atol=1e-9)


@pytest.mark.parametrize("make", [hybrid, nonlinear])
def test_bound_circuits_have_the_modules_expectation_values(make):
    module = module_of(make(), input_params=X)
    circuits = module.bind(ROWS)
    assert isinstance(circuits, list) and len(circuits) == 3
    for circuit, row in zip(circuits, ROWS, strict=True):
        assert circuit.num_parameters == 0
        assert_same(module, circuit, row, (ZI, XX))
        assert module.bind(row) == circuit
    assert circuits[0] != circuits[1]


def test_inputs_stay_the_same_parameters():
    circuit = hybrid()
    module = module_of(circuit, input_params=[X[1], X[0]])
    trained = module.to_circuit()
    assert list(trained.parameters) == list(X)
    row = ROWS[1]
    bound = trained.assign_parameters({X[1]: row[0].item(), X[0]: row[1].item()})
    assert_same(module, bound, row, (ZI, XX))  # the module's order of inputs is its own
    assert_same(module, module.bind(row), row, (ZI, XX))
    assert set(circuit.parameters) == set(module.program.circuit.parameters) == {*X, *A}


def test_the_circuit_is_a_copy_with_the_weights_of_now():
    module = module_of(hybrid())
    first = module.to_circuit()
    with torch.no_grad():
        module.weight += 0.5
    second = module.to_circuit()
    assert first != second and second == module.bind()
    second.h(0)
    assert len(module.to_circuit().data) == len(second.data) - 1
    assert_same(module, module.bind(), None, (ZI, XX))


def test_single_precision_weights_are_bound_as_they_are():
    module = TorchQuantumModule(hybrid(), ZI, initial_weights=[0.1, 0.2, 0.3, 0.4, 0.5])
    (last,) = module.to_circuit().data[-1].operation.params
    position = module.program.weight_params.index(A[2])
    assert last == module.weight[position].item() == float(np.float32(last))


def test_elements_of_a_shared_vector_and_unused_ones():
    """A vector shared by inputs and weights, of which one element is not in the circuit."""
    v, unused = ParameterVector("v", 4), ParameterVector("u", 2)
    circuit = QuantumCircuit(2)
    circuit.ry(v[3], 0)
    circuit.rx(v[0] + 2 * v[2], 1)
    circuit.cx(0, 1)
    circuit.ry(unused[1] - v[3], 1)
    module = module_of(circuit, input_params=[v[2], v[3]], weight_params=[v[0], unused])
    assert module.weight.shape == (3,)
    assert {p.name for p in module.to_circuit().parameters} == {"v[2]", "v[3]"}
    for row, bound in zip(ROWS, module.bind(ROWS), strict=True):
        assert_same(module, bound, row, (ZI, XX))


def test_a_global_phase_is_bound():
    phase, theta = Parameter("phase"), Parameter("theta")
    circuit = QuantumCircuit(1, global_phase=phase)
    circuit.ry(theta, 0)
    module = TorchQuantumModule(circuit, "Z", initial_weights={phase: 0.25, theta: 0.5})
    assert module.bind().global_phase == 0.25


@pytest.mark.parametrize("form", [list, np.array, torch.tensor, lambda v: torch.tensor(v).half()])
def test_inputs_come_in_many_forms(form):
    module = module_of(hybrid(), input_params=X)
    values = [[0.25, -0.5], [1.0, 2.0]]  # exact in half precision
    assert module.bind(form(values)) == module.bind(ROWS[:2])
    assert module.bind(form(values[0])) == module.bind(ROWS[0])
    assert module.bind(ROWS[0].clone().requires_grad_()) == module.bind(ROWS[0])


def test_no_inputs_and_empty_batches():
    module = module_of(hybrid())
    for inputs in (None, np.zeros(0), torch.zeros(0)):
        assert module.bind(inputs) == module.to_circuit()
    assert module.bind(torch.zeros(3, 0)) == [module.to_circuit()] * 3
    module = module_of(hybrid(), input_params=X)
    assert module.bind(torch.zeros(0, 2)) == []


@pytest.mark.parametrize(
    "inputs",
    [None, 0.5, [0.5], [0.1, 0.2, 0.3], np.zeros((2, 3)), np.zeros((2, 2, 2)), [np.nan, 0.0]]
    + [[0.0, np.inf], ["a", "b"], [1j, 0.0], np.array([1j, 0]), torch.tensor([1j, 0]), {}, [[]]],
    ids=str,
)
def test_bad_inputs(inputs):
    module = module_of(hybrid(), input_params=X)
    message = r"finite inputs of shape \(2,\) or \(B, 2\); got .*inputs are x\[0\], x\[1\]\."
    with pytest.raises(InputError, match="(?s)" + message):
        module.bind(inputs)


def test_inputs_where_there_are_none():
    with pytest.raises(InputError, match=r"shape \(0,\) .*inputs are \(none\)"):
        module_of(hybrid()).bind([0.1])


def through_qpy(circuit):
    file = io.BytesIO()
    qpy.dump(circuit, file)
    file.seek(0)
    return qpy.load(file)[0]


def test_qpy_keeps_bound_circuits():
    module = module_of(hybrid(), input_params=X)
    bound = through_qpy(module.bind(ROWS[0]))
    assert bound == module.bind(ROWS[0])
    assert_same(module, bound, ROWS[0], (ZI, XX))


def test_qpy_keeps_trained_circuits_with_inputs():
    module = module_of(hybrid(), input_params=X)
    trained = through_qpy(module.to_circuit())
    assert trained == module.to_circuit()
    assert_same(module, trained.assign_parameters(ROWS[0].tolist()), ROWS[0], (ZI, XX))


def manager(qubits=5, layout=(4, 1)):
    return generate_preset_pass_manager(
        1,
        basis_gates=["rz", "sx", "x", "cx"],
        coupling_map=[[i, i + 1] for i in range(qubits - 1)],
        initial_layout=list(layout),
        seed_transpiler=3,
    )


def test_the_layout_of_a_transpiled_circuit_is_kept():
    transpiled = manager().run(hybrid())
    module = module_of(transpiled, input_params=X, observables_layout="virtual")
    for circuit in (module.to_circuit(), *module.bind(ROWS)):
        assert circuit.layout == transpiled.layout and circuit.num_qubits == 5
    placed = [o.apply_layout(transpiled.layout) for o in (ZI, XX)]
    for row, bound in zip(ROWS, module.bind(ROWS), strict=True):
        assert_same(module, bound, row, placed)


def test_with_a_pass_manager_it_is_the_circuit_as_given():
    module = module_of(hybrid(), input_params=X, pass_manager=manager())
    assert module.circuit.num_qubits == 5 and module.bind(ROWS[0]).num_qubits == 2
    assert_same(module, module.bind(ROWS[0]), ROWS[0], (ZI, XX))
