# SPDX-License-Identifier: Apache-2.0
"""Bad input gets a typed error that says what to do, before any job is submitted."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from circuits import A, X, hybrid, rotation
from estimators import CountingEstimator, FaultyEstimator, with_evs
from qiskit.circuit import (
    AnnotatedOperation,
    Gate,
    InverseModifier,
    Parameter,
    ParameterVector,
    PowerModifier,
    QuantumCircuit,
)
from qiskit.circuit.library import RXGate
from qiskit.primitives import StatevectorEstimator
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import Pauli, SparsePauliOp
from qiskit_algorithms.gradients import ParamShiftEstimatorGradient

from qiskit_torch_bridge import CircuitProgram, TorchQuantumModule, expectation
from qiskit_torch_bridge import exceptions as e


@pytest.fixture
def estimator():
    """Checks, when the test ends, that nothing was submitted."""
    counting = CountingEstimator()
    yield counting
    assert counting.runs == []


@pytest.fixture
def module(estimator):
    return TorchQuantumModule(hybrid(), "ZZ", input_params=X, estimator=estimator)


# -- inputs and weights ------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 2, 1), (0,), (5, 0)])
def test_wrong_last_dimension(module, shape):
    with pytest.raises(e.InputError, match=r"\(\.\.\., 2\); got .*x\[0\], x\[1\]") as caught:
        module(torch.zeros(shape))
    assert str(tuple(shape)) in str(caught.value) and isinstance(caught.value, ValueError)


def test_zero_dimensional_and_missing_inputs(module):
    with pytest.raises(e.InputError, match=r"got \(\)"):
        module(torch.tensor(1.0))
    with pytest.raises(e.InputError, match="got none"):
        module()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_name_row_and_parameter(module, bad):
    x = torch.zeros(4, 2)
    x[2, 1] = bad
    with pytest.raises(e.InputError, match=r"row 2 has -?(nan|inf) for parameter 'x\[1\]'"):
        module(x)
    with torch.no_grad():
        module.weight[0] = bad
    with pytest.raises(e.InputError, match=r"row 0 .*'a\[0\]'"):
        module(torch.zeros(4, 2))


def test_complex_inputs_and_things_that_are_no_tensor(module):
    with pytest.raises(e.InputTypeError, match="complex64.*view_as_real"):
        module(torch.zeros(2, 2, dtype=torch.complex64))
    with pytest.raises(e.InputTypeError, match="ndarray.*as_tensor") as caught:
        module(np.zeros((2, 2)))
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize("weights", [[1.0], np.zeros((3, 1)), torch.zeros(4)])
def test_wrong_number_of_weights(weights):
    with pytest.raises(e.InputError, match=r"shape \(3,\); got .*a\[0\], a\[1\], a\[2\]"):
        TorchQuantumModule(hybrid(), input_params=X, initial_weights=weights)
    with pytest.raises(e.InputError, match=r"shape \(\.\.\., 3\)"):
        expectation(hybrid(), torch.zeros(2), weights, input_params=X)


def test_initial_weights_must_be_finite_real_and_complete():
    with pytest.raises(e.InputError, match="finite"):
        TorchQuantumModule(hybrid(), input_params=X, initial_weights=[0, math.nan, 0])
    with pytest.raises(e.InputTypeError, match="real weights"):
        weights = torch.zeros(3, dtype=torch.complex64)
        TorchQuantumModule(hybrid(), input_params=X, initial_weights=weights)
    with pytest.raises(e.InputError, match=r"missing: \['a\[2\]'\], not among them: \['x\[0\]'\]"):
        initial = {A[0]: 1, A[1]: 2, X[0]: 3}
        TorchQuantumModule(hybrid(), input_params=X, initial_weights=initial)


def test_a_program_has_its_roles_already():
    program = CircuitProgram(hybrid(), "ZZ")
    with pytest.raises(e.InputError, match="already has its observables"):
        expectation(program, weights=torch.zeros(5), observables="XX")
    with pytest.raises(e.InputError, match="already has its input_params"):
        TorchQuantumModule(program, input_params=X)


# -- roles -------------------------------------------------------------------------------------


def roles(**options):
    return TorchQuantumModule(hybrid(), "ZZ", **options)


def test_unlisted_parameters():
    with pytest.raises(e.ParameterError, match=r"a\[1\], a\[2\] are neither inputs nor weights"):
        roles(input_params=X, weight_params=[A[0]])


def test_foreign_parameters():
    with pytest.raises(e.ParameterError, match=r"lists y.*parameters are a\[0\]"):
        roles(input_params=[Parameter("y")])
    with pytest.raises(e.ParameterError, match="lists q"):
        roles(input_params=ParameterVector("q", 2))
    with pytest.raises(e.ParameterError, match=r"another Parameter object of that name"):
        circuit, _ = rotation("theta")
        TorchQuantumModule(circuit, input_params=[Parameter("theta")])


def test_doubled_parameters_and_two_roles():
    with pytest.raises(e.ParameterError, match=r"lists x\[0\] more than once"):
        roles(input_params=[X[0], X[1], X[0]])
    with pytest.raises(e.ParameterError, match=r"lists x\[0\], x\[1\] more than once"):
        roles(input_params=[X, *X])
    with pytest.raises(e.ParameterError, match=r"x\[0\] are listed as inputs and as weights"):
        roles(input_params=X, weight_params=[*A, X[0]])


@pytest.mark.parametrize("item", ["x[0]", 0, None])
def test_parameters_must_be_objects(item):
    with pytest.raises(e.ParameterError, match="Parameter or ParameterVector objects"):
        roles(input_params=[item])


def test_elements_of_a_vector_that_the_circuit_does_not_use_are_allowed():
    x = ParameterVector("x", 3)
    circuit = QuantumCircuit(1)
    circuit.ry(x[1], 0)
    node = TorchQuantumModule(circuit, "Z", input_params=x)
    values = torch.tensor([5.0, 0.4, 7.0], dtype=torch.float64, requires_grad=True)
    node(values).backward()
    np.testing.assert_allclose(values.grad, [0, -math.sin(0.4), 0], atol=1e-12)


# -- observables -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("observables", "message"),
    [
        ("Z", "on 2 qubits; got one on 1"),
        (["ZZ", "ZZZ"], "on 2 qubits; got one on 3"),
        (SparsePauliOp(["ZZ"], [1j]), "Hermitian"),
        (Pauli("iZZ"), "Hermitian"),
        ({"ZZ": 1 + 1e-3j}, "Hermitian"),
        ([], "empty list"),
        ([[], []], "empty list"),
        ({}, "empty one"),
        ({"ZZ": 0.0}, "which is zero"),
        (SparsePauliOp(["ZZ", "ZZ"], [1, -1]), "which is zero"),
        ("", "empty string"),
        ("ZQ", "got 'ZQ'"),
        (SparsePauliOp(["ZZ"], [math.nan]), "not finite"),
        (SparsePauliOp(["ZZ"], np.array([Parameter("c") ** 2], dtype=object)), "weight them in"),
        (3, "got int"),
        ([["ZZ"], "XX"], "mixture of depths"),
        ([["ZZ"], ["XX", "YY"]], "rectangular"),
    ],
)
def test_observables(observables, message):
    with pytest.raises(e.ObservableError, match=message):
        CircuitProgram(hybrid(), observables)


# -- circuits ----------------------------------------------------------------------------------


def measured():
    circuit = hybrid()
    circuit.measure_all()
    return circuit


def inverted_reset():
    inner = QuantumCircuit(1)
    inner.reset(0)
    circuit = hybrid()
    circuit.append(AnnotatedOperation(inner.to_instruction(), InverseModifier()), [0])
    return circuit


def opaque():
    circuit = QuantumCircuit(1)
    circuit.append(Gate("mystery", 1, [Parameter("t")]), [0])
    return circuit


def delayed():
    circuit = QuantumCircuit(1)
    circuit.delay(Parameter("t"), 0, unit="s")
    return circuit


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (measured, "measurement.*remove_final_measurements"),
        (inverted_reset, "inverts, repeats or controls one that is no gate: .* measures, resets"),
        (opaque, "'mystery' is opaque"),
        (delayed, "delay"),
        (lambda: "circuit", "Expected a QuantumCircuit; got str"),
    ],
)
def test_circuits(build, message):
    with pytest.raises(e.CircuitError, match=message):
        TorchQuantumModule(build())


def test_complex_expression():
    t = Parameter("t")
    circuit = QuantumCircuit(1)
    circuit.rx(1j * t, 0)
    with pytest.raises(e.ExpressionError, match="complex"):
        TorchQuantumModule(circuit)


def test_singular_expressions_name_the_expression_and_the_row():
    x, y = Parameter("x"), Parameter("y")
    circuit = QuantumCircuit(1)
    circuit.rx(x / y, 0)
    estimator = CountingEstimator()
    node = TorchQuantumModule(circuit, input_params=[x, y], estimator=estimator)
    with pytest.raises(e.ExpressionError, match=r"x/y is singular.*row 1 has \(2, 0\)"):
        node(torch.tensor([[1.0, 1.0], [2.0, 0.0]]))
    circuit = QuantumCircuit(1)
    circuit.rx(x.log(), 0)
    node = TorchQuantumModule(circuit, input_params=[x], estimator=estimator)
    with pytest.raises(e.ExpressionError, match="singular"):
        node(torch.tensor([[-1.0]]))
    assert estimator.runs == []


def test_singular_derivative():
    x = Parameter("x")
    circuit = QuantumCircuit(1)
    circuit.rx(x**0.5, 0)
    node = TorchQuantumModule(circuit, input_params=[x])
    y = node(torch.zeros(1, requires_grad=True))
    with pytest.raises(e.ExpressionError, match=r"derivative .* is singular"):
        y.backward()


def test_aqgd_refuses_non_affine_expressions_and_names_what_to_use():
    x, y = Parameter("x"), Parameter("y")
    circuit = QuantumCircuit(1)
    circuit.rx(x * y, 0)
    estimator = CountingEstimator()
    with pytest.raises(e.GradientError, match="'x'.*gradient='parameter-shift'"):
        TorchQuantumModule(circuit, gradient="aqgd", estimator=estimator)
    inputs_only = TorchQuantumModule(circuit, gradient="aqgd", input_params=[x, y])
    inputs_only(torch.zeros(2))  # nothing to differentiate: the method is not needed


def test_aqgd_refuses_too_many_frequencies():
    t = Parameter("t")
    circuit = QuantumCircuit(1)
    for k in range(8):
        circuit.rx(math.sqrt(2 + 3 * k) * t, 0)
        circuit.h(0)
    with pytest.raises(e.GradientError, match="more than 128 frequencies.*parameter-shift"):
        TorchQuantumModule(circuit, gradient="aqgd")


# -- choices -----------------------------------------------------------------------------------


@pytest.mark.parametrize("gradient", ["parameter_shift", "adam", 3, object()])
def test_unknown_gradient_lists_the_known(gradient):
    with pytest.raises(e.GradientError, match="'parameter-shift', 'aqgd', 'finite-difference'"):
        roles(gradient=gradient)


def test_gradient_class_instead_of_object():
    with pytest.raises(e.GradientError, match=r"ParamShiftEstimatorGradient\(estimator\)"):
        roles(gradient=ParamShiftEstimatorGradient)


@pytest.mark.parametrize(
    ("estimator", "hint"),
    [
        ("aer", "StatevectorEstimator"),
        (StatevectorEstimator, r"StatevectorEstimator\(\)"),
        (GenericBackendV2(2, seed=1), "BackendEstimatorV2"),
    ],
)
def test_unknown_estimator(estimator, hint):
    with pytest.raises(e.EstimatorTypeError, match=f"BaseEstimatorV2.*{hint}"):
        roles(estimator=estimator)


@pytest.mark.parametrize("shots", [0, -1, 1.5, math.nan, "100", True])
def test_shots(shots):
    with pytest.raises(e.PrecisionError, match="shots to be a whole number from 1 to"):
        roles(shots=shots)


@pytest.mark.parametrize("precision", [0, -0.1, math.nan, math.inf, "0.1", False, 1j])
def test_precision(precision):
    with pytest.raises(e.PrecisionError, match="precision to be a positive finite"):
        roles(precision=precision)


def test_shots_and_precision():
    with pytest.raises(e.PrecisionError, match="not both"):
        roles(shots=100, precision=0.1)


def test_pass_manager_without_run():
    with pytest.raises(e.CircuitError, match="method run"):
        roles(pass_manager=3)


# -- results -----------------------------------------------------------------------------------


def damage(evs):
    return lambda results: [with_evs(r, evs(np.array(r.data.evs))) for r in results]


def nan_in(evs):
    evs[0, 1] = math.nan
    return evs


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (damage(nan_in), r"returned nan for PUB 0 at index \[0, 1\]"),
        (damage(lambda evs: evs[:, :-1]), r"shape \(1, 2\) for PUB 0; expected \(1, 3\)"),
        (damage(lambda evs: evs.T), r"expected \(1, 3\)"),
        (lambda results: [], r"given 1 PUB\(s\) and returned 0"),
        (lambda results: results * 2, "returned 2"),
    ],
)
def test_damaged_results_are_refused_forward_and_backward(fault, message):
    x = torch.rand(3, 2, requires_grad=True)
    node = TorchQuantumModule(hybrid(), "ZZ", input_params=X, estimator=FaultyEstimator(fault))
    with pytest.raises(e.ResultError, match=message):
        node(x)
    node._training.node.engine.forward.primitive = CountingEstimator()
    y = node(x)
    with pytest.raises(e.ResultError):
        y.sum().backward()
    assert node.weight.grad is None and x.grad is None


def test_failures_of_the_estimator_are_chained():
    def fail(results):
        raise OSError("the cable")

    node = TorchQuantumModule(hybrid(), "ZZ", estimator=FaultyEstimator(fail))
    with pytest.raises(e.ExecutionError, match="FaultyEstimator failed.*the cable") as caught:
        node()
    assert isinstance(caught.value.__cause__, OSError)


def short(evs):
    return evs[..., :1]


def test_a_result_that_is_too_short_is_not_stretched():
    node = TorchQuantumModule(hybrid(), "ZZ", estimator=FaultyEstimator(damage(short)))
    y = node()  # one point: nothing is missing
    with pytest.raises(e.ResultError, match=r"shape \(1, 1\)"):
        y.sum().backward()


def test_complex_results_are_refused():
    fault = damage(lambda evs: evs + 0.1j)
    node = TorchQuantumModule(hybrid(), "ZZ", estimator=FaultyEstimator(fault))
    with pytest.raises(e.ResultError, match="complex"):
        node()


def test_weights_are_checked_when_the_module_is_called(module):
    x = torch.zeros(2, 2)
    for weight in (torch.rand(5), torch.rand(2), torch.rand(3, 4)):
        with pytest.raises(e.InputError, match=r"weights of shape \(\.\.\., 3\)"):
            torch.func.functional_call(module, {"weight": weight}, (x,))
    with pytest.raises(e.InputTypeError, match="real weights"):
        torch.func.functional_call(module, {"weight": torch.rand(3, dtype=torch.cfloat)}, (x,))


@pytest.mark.parametrize("seed", ["a", -1, 1.5, True])
def test_seed(seed):
    with pytest.raises(e.InputTypeError, match="seed to be a whole number"):
        roles(seed=seed)


@pytest.mark.parametrize("weights", ["ab", [1j, 0, 0], [[1.0], [1.0, 2.0]]])
def test_initial_weights_that_are_no_numbers(weights):
    with pytest.raises(e.InputTypeError, match="real numbers"):
        TorchQuantumModule(hybrid(), input_params=X, initial_weights=weights)


@pytest.mark.parametrize("weights", [{"a[0]": 1.0}, {A: [1.0]}])
def test_initial_weights_by_mapping_need_parameters(weights):
    with pytest.raises(e.InputError, match="Parameter objects"):
        TorchQuantumModule(hybrid(), input_params=X, initial_weights=weights)


@pytest.mark.parametrize("returned", [None, [hybrid()]])
def test_pass_manager_that_returns_no_circuit(returned):
    class PassManager:
        def run(self, circuit):
            return returned

    with pytest.raises(e.CircuitError, match="return a QuantumCircuit"):
        roles(pass_manager=PassManager())


def test_choices_are_checked_whatever_was_cached_before():
    program = CircuitProgram(hybrid(), "ZZ")
    w = torch.zeros(5)
    expectation(program, weights=w, shots=1)
    for shots in (True, 1.0):
        with pytest.raises(e.PrecisionError):
            expectation(program, weights=w, shots=shots)
    with pytest.raises(e.PrecisionError, match="2\\*\\*52"):
        expectation(program, weights=w, shots=10**400)


def test_fractional_powers_of_parameterized_gates():
    circuit = QuantumCircuit(1)
    gate = AnnotatedOperation(RXGate(Parameter("t")), PowerModifier(0.5))
    circuit.append(gate, [0])
    with pytest.raises(e.CircuitError, match="fractional power"):
        TorchQuantumModule(circuit)


def test_input_params_of_another_type():
    with pytest.raises(e.ParameterError, match="int 5"):
        roles(input_params=5)


def test_every_error_is_the_packages_own():
    kinds = [k for k in vars(e).values() if isinstance(k, type)]
    assert len(kinds) > 10 and all(issubclass(k, e.BridgeError) for k in kinds)
