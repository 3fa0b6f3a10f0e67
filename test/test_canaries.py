# SPDX-License-Identifier: Apache-2.0
"""Facts about the dependencies that the package works around.

Each test fails when a dependency changes, so that the work-around can go. None of them tests
this package.
"""

from __future__ import annotations

import io

import numpy as np
import pytest
import qiskit
import sympy
import torch
from qiskit import qpy
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.circuit.library import PauliEvolutionGate, RXXGate
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import Operator, SparsePauliOp
from qiskit_aer.noise import NoiseModel, depolarizing_error
from qiskit_aer.primitives import EstimatorV2 as AerEstimator
from qiskit_algorithms.gradients import ReverseEstimatorGradient

from qiskit_torch_bridge.program.identity import same_circuit

VERSION = tuple(int(part) for part in qiskit.__version__.split(".")[:2])


def test_aer_ignores_parameters_of_controlled_gates():
    """Worked around by ``AnalysedCircuit.aer_form``."""
    a, b = Parameter("a"), Parameter("b")
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.rx(a, 1)
    circuit.crx(b, 0, 1)
    pub = (circuit, "ZI", {(a, b): np.array([[0.1, 1.0], [0.1, 2.0]])})
    wrong = AerEstimator().run([pub]).result()[0].data.evs
    right = StatevectorEstimator().run([pub]).result()[0].data.evs
    assert wrong[0] == pytest.approx(wrong[1]) and abs(right[0] - right[1]) > 0.1


def test_aer_looks_noise_up_by_the_label_where_there_is_one():
    """Relied on by ``program.lowering``, which rewrites gates: 0.7 of cos 0.9, and all of it."""
    model = NoiseModel(basis_gates=["rx", "rxx", "own"])
    model.add_all_qubit_quantum_error(depolarizing_error(0.3, 2), ["own"])
    values = []
    for label in ("own", "another", None):
        circuit = QuantumCircuit(2)
        circuit.append(RXXGate(0.9, label=label), [0, 1])
        estimator = AerEstimator(options={"backend_options": {"noise_model": model}})
        values.append(float(estimator.run([(circuit, "IZ")]).result()[0].data.evs))
    np.testing.assert_allclose(values, np.cos(0.9) * np.array([0.7, 1, 1]), rtol=0, atol=1e-12)


def test_aer_knows_no_library_blocks():
    t = Parameter("t")
    circuit = QuantumCircuit(2)
    circuit.append(PauliEvolutionGate(SparsePauliOp("XX"), t), [0, 1])
    with pytest.raises(Exception, match="unknown instruction"):
        AerEstimator().run([(circuit, "ZI", [0.3])]).result()


def test_expressions_have_unreliable_witnesses():
    """Why text, symbolic form and values are held against each other (``program/reading.py``)."""
    x, y = Parameter("x"), Parameter("y")
    affected = (2, 1) <= VERSION <= (2, 4)
    value = float((x**2 + y**2).bind({x: 1.0, y: 2.0}))
    assert value == (9.0 if affected else 5.0)
    slope = ((x - y) ** 2).gradient(y).bind({x: 1.0, y: 3.0})
    assert float(slope) == (-4.0 if affected else 4.0)
    exact = repr(0.1 + 0.2) in str((0.1 + 0.2) * x)
    assert exact is (VERSION >= (2, 1))
    quotient = sympy.sympify((x / (2 * y)).sympify()).subs({"x": 1.0, "y": 4.0})
    assert float(quotient) == (8.0 if VERSION == (2, 2) else 0.125)
    written = True
    try:
        sympy.sympify((2**x).sympify())
    except sympy.SympifyError:
        written = False
    assert written is (VERSION not in ((2, 4), (2, 6)))


def test_sums_of_powers_lose_a_base():
    """Qiskit takes 2**x + 3**x for 5**x before anyone can look at it; nothing can be done here."""
    x = Parameter("x")
    found = float((2**x + 3**x).bind({x: 2.0}))
    assert found == (25.0 if (2, 1) <= VERSION <= (2, 4) else 13.0)


@pytest.mark.parametrize("kind", [StatevectorEstimator, AerEstimator])
def test_integer_seeds_repeat_the_noise_of_every_pub(kind):
    """Why all displaced points travel in one PUB."""
    circuit = QuantumCircuit(1)
    circuit.h(0)
    options = {"run_options": {"seed_simulator": 3}}
    estimator = kind(seed=3) if kind is StatevectorEstimator else kind(options=options)
    first, second = estimator.run([(circuit, "Z")] * 2, precision=0.1).result()
    assert float(first.data.evs) == float(second.data.evs) != 0


def test_arrays_of_operators_fall_apart():
    """Why observables are given as nested lists."""
    array = np.array([SparsePauliOp("ZZ"), SparsePauliOp("XX")], dtype=object)
    assert array.shape != (2,)


def test_a_flat_column_is_read_as_points_of_one_parameter():
    """Why bindings name their parameters, with the parameter axis last."""
    theta = Parameter("theta")
    circuit = QuantumCircuit(1)
    circuit.ry(theta, 0)
    run = StatevectorEstimator().run([(circuit, "Z", [[0.1], [0.2], [0.3]])])
    assert run.result()[0].data.evs.shape == (3,)


def test_parameters_sort_by_name_except_in_vectors():
    """Why parameters are bound by identity."""
    circuit = QuantumCircuit(1)
    for p in (Parameter("x2"), Parameter("x10"), *ParameterVector("v", 12)):
        circuit.rx(p, 0)
    names = [p.name for p in circuit.parameters]
    assert names[-2:] == ["x10", "x2"] and names.index("v[2]") < names.index("v[10]")


def test_evolution_gates_mean_different_things_to_simulators_and_transpilers():
    """Why evolutions by terms that do not commute are replaced by their definition."""
    gate = PauliEvolutionGate(SparsePauliOp(["XX", "ZI"], [1.0, 0.5]), time=0.7)
    same = Operator(gate).equiv(Operator(gate.definition))
    assert same is (VERSION < (2, 1))


def test_qpy_changes_some_circuits_without_an_error():
    """Why what is written is read back; quotients up to Qiskit 2.2 stand for others."""
    a, b = Parameter("a"), Parameter("b")
    circuit = QuantumCircuit(1)
    circuit.rx(a / (2 + b * b), 0)
    buffer = io.BytesIO()
    qpy.dump(circuit, buffer, version=13)
    buffer.seek(0)
    (read,) = qpy.load(buffer)
    kept = same_circuit(circuit, read, list(circuit.parameters), list(read.parameters))
    assert kept is (VERSION >= (2, 4))


def test_reverse_gradient_fails_on_controlled_rotations():
    """Why the peers' adjoint is no default."""
    t = Parameter("t")
    circuit = QuantumCircuit(2)
    circuit.crx(t, 0, 1)
    with pytest.raises(Exception, match=r"."):
        ReverseEstimatorGradient().run([circuit], [SparsePauliOp("ZZ")], [[0.1]]).result()


def test_asarray_may_detach():
    """Why no tensor of a graph passes through ``torch.asarray``."""
    x = torch.ones(1, requires_grad=True)
    assert torch.asarray(x.detach().numpy()).requires_grad is False
    constant = torch.asarray(np.array(0.1))
    assert constant.dtype == torch.float64  # a Python float would have become float32
    assert torch.asarray(0.1).dtype == torch.float32
