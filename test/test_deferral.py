"""Circuits with measurements, resets and control flow on the exact engine.

The reference follows all branches with NumPy (``dynamic_circuits``), and Qiskit's own simulators
where they can; gradients are held against central differences of the reference.
"""

import io
import pickle
import re

import numpy as np
import pytest
import torch
from dynamic_circuits import (
    HAS_BOX,
    bind,
    density_matrix_of,
    distribution_of,
    enumerate_branches,
    random_dynamic_circuit,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Parameter, ParameterVector
from qiskit.circuit.classical import expr, types
from qiskit.circuit.library import PauliEvolutionGate, XGate
from qiskit.quantum_info import (
    DensityMatrix,
    SparsePauliOp,
    Statevector,
    entropy,
    partial_trace,
    purity,
    random_pauli_list,
    state_fidelity,
)

from qiskit_torch_bridge import (
    AmplitudePreparation,
    CVaR,
    Entropy,
    Fidelity,
    Probabilities,
    Purity,
    State,
    TorchQuantumModule,
    Variance,
)
from qiskit_torch_bridge.exceptions import CircuitError, MeasurementError
from qiskit_torch_bridge.gradients import AdjointEstimatorGradient
from qiskit_torch_bridge.optim import QNSPSA
from qiskit_torch_bridge.program import AnalysedCircuit, CircuitProgram, deferral
from qiskit_torch_bridge.program.control_flow import parameters_of
from qiskit_torch_bridge.program.deferral import defer_measurements
from qiskit_torch_bridge.program.readouts import Outcomes, RecordedBits

EXACT = 1e-12
STEP = 1e-4


@pytest.fixture(autouse=True)
def in_double():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def values_for(circuit, seed=0):
    return np.random.default_rng(seed).uniform(-2, 2, len(parameters_of(circuit)))


def module_of(circuit, measurement, values=None, **options):
    return TorchQuantumModule(circuit, measurement, initial_weights=values, **options)


def outputs_of(circuit, measurement, values=None):
    return module_of(circuit, measurement, values)().detach().numpy()


def gradient_of(circuit, measurement, values):
    """The gradient of the sum of the outputs, the first once, the second twice, and so on."""
    module = module_of(circuit, measurement, values)
    found = module()
    (found * torch.arange(1.0, 1 + found.numel())).sum().backward()
    return module.weight.grad.numpy()


def differences_of(function, values):
    """Central differences of the same sum: wrong by a third of STEP**2 times third derivatives."""
    found = []
    for step in STEP * np.eye(len(values)):
        change = function(values + step) - function(values - step)
        found.append(change @ np.arange(1.0, 1 + len(change)) / (2 * STEP))
    return np.array(found)


def reduced(deferred, kept):
    """The density matrix of the first qubits of a circuit of gates."""
    width = deferred.num_qubits
    return partial_trace(Statevector(deferred), range(kept, width)).data


# -- random circuits -------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**32 - 1))
def test_random_circuits_have_the_values_of_all_branches(seed):
    circuit = random_dynamic_circuit(seed, outcomes=5)
    values = values_for(circuit, seed)
    bound = bind(circuit, values)
    paulis = random_pauli_list(circuit.num_qubits, 3, seed=seed, phase=False)
    observables = [SparsePauliOp(p) for p in paulis]
    rho = density_matrix_of(bound)
    expected = [np.trace(rho @ o.to_matrix()).real for o in observables]
    np.testing.assert_allclose(outputs_of(circuit, observables, values), expected, atol=EXACT)


@given(seed=st.integers(0, 2**32 - 1))
def test_random_circuits_have_the_distributions_of_all_branches(seed):
    circuit = random_dynamic_circuit(seed, outcomes=5)
    values = values_for(circuit, seed)
    program = CircuitProgram(circuit, Probabilities())
    bits = program.readout.bits_read or None
    if bits is None:
        circuit.measure(0, 0)  # which ends it
        bits = [0]
    expected = distribution_of(bind(circuit, values), bits)
    found = outputs_of(circuit, Probabilities(), values)
    if found.shape == expected.shape:  # otherwise the last measurement is of one bit of several
        np.testing.assert_allclose(found, expected, atol=EXACT)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=15 if settings().max_examples < 1000 else 500)
def test_random_circuits_have_the_gradients_of_all_branches(seed):
    circuit = random_dynamic_circuit(seed, outcomes=4, length=8, num_parameters=2)
    values = values_for(circuit, seed)
    if not len(values):
        return
    observables = [SparsePauliOp(p) for p in random_pauli_list(3, 2, seed=seed, phase=False)]

    def reference(at):
        rho = density_matrix_of(bind(circuit, at))
        return np.array([np.trace(rho @ o.to_matrix()).real for o in observables])

    # Angles are up to six times a parameter, and there are up to about ten of them.
    expected = differences_of(reference, values)
    np.testing.assert_allclose(gradient_of(circuit, observables, values), expected, atol=2e-3)


# -- closed forms ----------------------------------------------------------------------------------


def teleportation(angles):
    """Qubit 0 is sent to qubit 2."""
    circuit = QuantumCircuit(3, 2)
    circuit.u(*angles, 0)
    circuit.h(1), circuit.cx(1, 2)
    circuit.cx(0, 1), circuit.h(0)
    circuit.measure([0, 1], [0, 1])
    with circuit.if_test((circuit.clbits[1], 1)):
        circuit.x(2)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.z(2)
    return circuit


def test_teleportation_sends_the_state_and_takes_no_qubit_more():
    theta, phi = Parameter("theta"), Parameter("phi")
    circuit = teleportation((theta, phi, 0.0))
    module = module_of(circuit, ["XII", "YII", "ZII"], [0.4, 1.1])
    expected = [np.sin(1.1) * np.cos(0.4), np.sin(1.1) * np.sin(0.4), np.cos(1.1)]
    np.testing.assert_allclose(module().detach(), expected, atol=EXACT)
    assert module.weight.shape == (2,)
    assert module.program.deferred.circuit.num_qubits == 3


def test_a_gate_on_an_outcome_is_turned_with_its_probability():
    """<Z> of RY(b) on qubit 1 with probability sin(a/2)**2 is 1 - sin(a/2)**2 (1 - cos b)."""
    a, b = Parameter("a"), Parameter("b")
    circuit = QuantumCircuit(2, 1)
    circuit.rx(a, 0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.ry(b, 1)
    x, y = 0.7, 1.3
    share = np.sin(x / 2) ** 2
    np.testing.assert_allclose(outputs_of(circuit, "ZI", [x, y]), [1 - share * (1 - np.cos(y))])
    expected = [-np.sin(x) / 2 * (1 - np.cos(y)), -share * np.sin(y)]
    np.testing.assert_allclose(gradient_of(circuit, "ZI", [x, y]), expected, atol=EXACT)


def test_second_derivatives_go_through_outcomes():
    a, b = Parameter("a"), Parameter("b")
    circuit = QuantumCircuit(2, 1)
    circuit.rx(a, 0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.ry(b, 1)
    module = module_of(circuit, "ZI")
    weight = torch.tensor([0.7, 1.3], requires_grad=True)

    def value(w):
        return torch.func.functional_call(module, {"weight": w}, ()).sum()

    hessian = torch.autograd.functional.hessian(value, weight)
    mixed = -np.sin(0.7) / 2 * np.sin(1.3)
    share = np.sin(0.35) ** 2
    expected = [[-np.cos(0.7) / 2 * (1 - np.cos(1.3)), mixed], [mixed, -share * np.cos(1.3)]]
    np.testing.assert_allclose(hessian, expected, atol=EXACT)


def test_what_is_measured_has_no_coherence():
    circuit = QuantumCircuit(1, 1)
    circuit.ry(Parameter("a"), 0)
    circuit.measure(0, 0)
    circuit.rz(0.3, 0)
    np.testing.assert_allclose(outputs_of(circuit, ["X", "Y", "Z"], [0.5]), [0, 0, np.cos(0.5)])


def test_a_reset_leaves_the_others_mixed():
    circuit = QuantumCircuit(2)
    circuit.ry(Parameter("a"), 0), circuit.cx(0, 1), circuit.reset(0)
    found = outputs_of(circuit, ["IZ", "ZI", "XI"], [0.5])
    np.testing.assert_allclose(found, [1, np.cos(0.5), 0], atol=EXACT)


def test_initialize_in_the_middle_resets_its_qubits():
    circuit = QuantumCircuit(2)
    circuit.ry(Parameter("a"), 0), circuit.cx(0, 1)
    circuit.initialize([0.6, 0.8j], 0)
    found = outputs_of(circuit, ["IZ", "IY", "ZI"], [0.5])
    np.testing.assert_allclose(found, [0.36 - 0.64, 0.96, np.cos(0.5)], atol=EXACT)


def test_a_register_as_a_number_and_switch():
    """Four outcomes are equally likely, and turn a qubit by 0, a, b and a + b."""
    a, b = ParameterVector("w", 2)
    circuit = QuantumCircuit(QuantumRegister(3), ClassicalRegister(2, "c"))
    circuit.h([0, 1])
    circuit.measure([0, 1], [0, 1])
    with circuit.switch(circuit.cregs[0]) as case:
        with case(1):
            circuit.ry(a, 2)
        with case(2):
            circuit.ry(b, 2)
        with case(case.DEFAULT):
            circuit.ry(a + b, 2)
    expected = np.mean([np.cos(0.9), np.cos(0.4), np.cos(0.5), np.cos(0.9)])
    np.testing.assert_allclose(outputs_of(circuit, "ZII", [0.4, 0.5]), [expected])


def test_a_bit_that_is_stored_to_another_is_measured_before():
    circuit = QuantumCircuit(1, 2)
    circuit.ry(0.8, 0)
    circuit.measure(0, 0)
    circuit.store(circuit.clbits[1], expr.logic_not(circuit.clbits[0]))
    share = np.sin(0.4) ** 2
    np.testing.assert_allclose(outputs_of(circuit, Probabilities()), [0, share, 1 - share, 0])
    np.testing.assert_allclose(outputs_of(circuit, ["X", "Z"]), [0, 1 - 2 * share], atol=EXACT)


def test_an_outcome_is_kept_where_its_qubit_is_turned_later():
    """Turned qubits do not hold their outcomes, neither where they are read nor where they act."""
    circuit = QuantumCircuit(2, 1)
    circuit.ry(0.8, 0)
    circuit.measure(0, 0)
    circuit.x(0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.ry(0.5, 1)
    circuit.cx(0, 1)
    share = np.sin(0.4) ** 2
    expected = share * np.cos(0.5) - (1 - share)
    np.testing.assert_allclose(outputs_of(circuit, "ZI"), [expected])


def test_what_copies_a_superposition_is_needed_in_any_basis():
    """X before a CX onto a measured qubit is X of both, of which the measurement leaves nothing."""
    circuit = QuantumCircuit(2, 1)
    circuit.h([0, 1])
    circuit.measure(1, 0)
    circuit.cx(0, 1)
    np.testing.assert_allclose(outputs_of(circuit, "IX"), [0], atol=EXACT)
    circuit.h(1), circuit.cx(1, 0)
    expected = np.trace(density_matrix_of(circuit) @ SparsePauliOp("IZ").to_matrix()).real
    np.testing.assert_allclose(outputs_of(circuit, "IZ"), [expected], atol=EXACT)


def test_a_gate_on_the_outcome_of_its_own_qubit():
    """A controlled gate cannot have its control as its target, though it is diagonal there."""
    circuit = QuantumCircuit(2, 1)
    circuit.h(0), circuit.h(1)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.cp(0.7, 0, 1)
    np.testing.assert_allclose(outputs_of(circuit, "XI"), [(1 + np.cos(0.7)) / 2])


def test_a_bit_that_is_written_again_has_the_later_value():
    circuit = QuantumCircuit(2, 1)
    circuit.x(0)
    circuit.measure(0, 0)
    circuit.ry(Parameter("a"), 1)
    circuit.measure(1, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(0)
    np.testing.assert_allclose(outputs_of(circuit, "IZ", [0.5]), [-np.cos(0.5)])


@pytest.mark.skipif(not hasattr(expr, "add"), reason="new in Qiskit 2.0")
def test_variables_count_outcomes():
    circuit = QuantumCircuit(2, 1)
    count = circuit.add_var("count", expr.lift(0, types.Uint(4)))
    turn = Parameter("a")
    with circuit.for_loop(range(3)):
        circuit.ry(turn, 0)
        circuit.measure(0, 0)
        circuit.reset(0)
        circuit.store(count, expr.add(count, expr.cast(circuit.clbits[0], types.Uint(4))))
    with circuit.if_test(expr.equal(count, 2)):
        circuit.x(1)
    share = np.sin(0.35) ** 2
    expected = 1 - 2 * 3 * share**2 * (1 - share)
    np.testing.assert_allclose(outputs_of(circuit, "ZI", [0.7]), [expected])


def test_a_qubit_that_is_flipped_by_its_outcome_and_reset_is_fresh():
    """So that amplitudes can be prepared on it."""
    circuit = QuantumCircuit(2, 1)
    circuit.h(0), circuit.cx(0, 1), circuit.measure(0, 0), circuit.x(0), circuit.reset(0)
    circuit.append(AmplitudePreparation(ParameterVector("x", 2)), [0])
    found = outputs_of(circuit, ["IZ", "IX", "ZI"], [0.6, 0.8])
    np.testing.assert_allclose(found, [-0.28, 0.96, 0], atol=EXACT)
    assert CircuitProgram(circuit, "IZ").deferred.circuit.num_qubits == 2


def test_a_loop_that_is_left_on_an_outcome():
    """Three tries to measure one; each outcome of zero leads to another."""
    circuit = QuantumCircuit(1, 1)
    with circuit.for_loop(range(3)):
        circuit.ry(0.8, 0)
        circuit.measure(0, 0)
        with circuit.if_test((circuit.clbits[0], 1)):
            circuit.break_loop()
    share = np.sin(0.4) ** 2
    expected = [(1 - share) ** 3, 1 - (1 - share) ** 3]
    np.testing.assert_allclose(outputs_of(circuit, Probabilities()), expected)


def test_a_round_that_is_skipped_on_an_outcome():
    circuit = QuantumCircuit(2, 1)
    circuit.ry(0.8, 0)
    circuit.measure(0, 0)
    with circuit.for_loop(range(2)):
        with circuit.if_test((circuit.clbits[0], 1)):
            circuit.continue_loop()
        circuit.ry(0.3, 1)
    share = np.sin(0.4) ** 2
    np.testing.assert_allclose(outputs_of(circuit, "ZI"), [share + (1 - share) * np.cos(0.6)])


def test_a_while_loop_whose_rounds_are_known_is_unrolled():
    circuit = QuantumCircuit(1, 1)
    circuit.x(0)
    circuit.measure(0, 0)
    with circuit.while_loop((circuit.clbits[0], 1)):
        circuit.x(0)
        circuit.measure(0, 0)
    np.testing.assert_allclose(outputs_of(circuit, "Z"), [1.0])


def test_evolutions_in_branches_are_their_product_formulas():
    operator = SparsePauliOp(["XX", "ZI", "IY"], [0.3, 0.7, -0.4])
    gate = PauliEvolutionGate(operator, Parameter("t"))
    circuit = QuantumCircuit(3, 1)
    circuit.ry(1.0, 0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.append(gate, [1, 2])
    plain = QuantumCircuit(2)
    plain.append(gate, [0, 1])
    once = outputs_of(plain, ["ZI", "XY"], [0.8])
    share = np.sin(0.5) ** 2
    expected = share * once + (1 - share) * np.array([1.0, 0.0])
    np.testing.assert_allclose(outputs_of(circuit, ["ZII", "XYI"], [0.8]), expected, atol=EXACT)


@pytest.mark.skipif(hasattr(XGate, "c_if") is False, reason="Qiskit 2 has no c_if")
def test_conditions_of_qiskit_1_count():
    circuit = QuantumCircuit(QuantumRegister(3), ClassicalRegister(2, "c"))
    circuit.ry(Parameter("a"), 0)
    circuit.measure(0, 0)
    circuit.rx(Parameter("b"), 1).c_if(circuit.clbits[0], 1)
    circuit.x(2).c_if(circuit.cregs[0], 1)
    share = np.sin(0.25) ** 2
    expected = [1 - share * (1 - np.cos(0.7)), 1 - 2 * share]
    np.testing.assert_allclose(outputs_of(circuit, ["IZI", "ZII"], [0.5, 0.7]), expected)


# -- how many qubits it takes ----------------------------------------------------------------------


def test_what_nothing_depends_on_takes_no_qubit():
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.measure(0, 0)  # nobody uses it
    circuit.h(0), circuit.ry(0.4, 1)
    program = CircuitProgram(circuit, "ZI")
    assert [i.name for i in program.deferred.circuit.data] == ["ry"]
    assert program.deferred.circuit.num_qubits == 2


def test_a_reset_of_a_qubit_in_zero_takes_no_qubit():
    circuit = QuantumCircuit(2)
    circuit.reset([0, 1]), circuit.ry(0.4, 1), circuit.reset(0)
    assert defer_measurements(circuit).circuit.num_qubits == 2


def test_syndromes_take_a_qubit_for_each_outcome_that_is_used():
    """Three rounds of a repetition code on 5 qubits, of which two are measured and reset."""
    circuit = QuantumCircuit(5, 6)
    for step in range(3):
        for k in range(2):
            circuit.cx(k, 3 + k), circuit.cx(k + 1, 3 + k)
            circuit.measure(3 + k, 2 * step + k)
            circuit.reset(3 + k)
        circuit.ry(0.1, range(3))
    with circuit.if_test(expr.bit_xor(circuit.clbits[0], circuit.clbits[2])):
        circuit.x(0)
    deferred = defer_measurements(circuit, {0: "Z", 1: "Z", 2: "Z"}, [])
    assert deferred.circuit.num_qubits <= 5 + 6
    assert deferred.qubit_of == {}


def test_the_bits_of_one_outcome_have_a_qubit_each():
    circuit = QuantumCircuit(1, 2)
    circuit.h(0)
    circuit.measure([0, 0], [0, 1])
    circuit.x(0)
    qubit_of = defer_measurements(circuit).qubit_of
    assert qubit_of.keys() == {0, 1} and qubit_of[0] != qubit_of[1]
    np.testing.assert_allclose(outputs_of(circuit, Probabilities()), [0.5, 0, 0, 0.5], atol=EXACT)


def test_a_circuit_of_gates_is_its_own():
    circuit = QuantumCircuit(1)
    circuit.ry(Parameter("a"), 0)
    program = CircuitProgram(circuit)
    assert program.deferred is program and not program.analysed.is_dynamic
    start = QuantumCircuit(2)
    start.initialize([0.6, 0.8], 0)
    start.initialize([0.8, 0.6], 1)
    assert not AnalysedCircuit(start).is_dynamic


# -- measurements ----------------------------------------------------------------------------------


def mixing():
    """Two qubits that end in a mixed state, entangled, with one bit used and one written last."""
    a, b = Parameter("a"), Parameter("b")
    circuit = QuantumCircuit(2, 2)
    circuit.ry(a, 0), circuit.h(1)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.ry(b, 1)
    circuit.h(0), circuit.cx(0, 1), circuit.rx(0.3, 1)
    return circuit


MIXING = [0.9, 0.6]


def mixed_state():
    return density_matrix_of(bind(mixing(), MIXING))


@pytest.mark.parametrize("qubits", [[0], [1], [0, 1]])
def test_purity_and_entropy_are_those_of_the_mixed_state(qubits):
    rho = partial_trace(DensityMatrix(mixed_state()), [q for q in (0, 1) if q not in qubits])
    found = outputs_of(mixing(), Purity(qubits), MIXING)
    np.testing.assert_allclose(found, [purity(rho).real], atol=EXACT)
    found = outputs_of(mixing(), Entropy(qubits, base=2), MIXING)
    np.testing.assert_allclose(found, [entropy(rho, base=2)], atol=1e-10)


@pytest.mark.parametrize("qubits", [None, [1]])
def test_fidelity_is_that_of_the_mixed_state(qubits):
    target = Statevector([0.6, 0.8j] if qubits else [0.5, 0.5j, -0.5, 0.5])
    rho = DensityMatrix(mixed_state())
    if qubits:
        rho = partial_trace(rho, [0])
    found = outputs_of(mixing(), Fidelity(target, qubits), MIXING)
    np.testing.assert_allclose(found, [state_fidelity(target, rho)], atol=1e-10)


@pytest.mark.parametrize(
    "measurement",
    [Purity([0]), Entropy([1]), Fidelity([1, 0, 0, 0]), Variance("ZX"), CVaR("ZZ", 0.4)],
)
def test_gradients_of_what_is_made_of_the_mixed_state(measurement):
    expected = differences_of(lambda at: outputs_of(mixing(), measurement, at), np.array(MIXING))
    np.testing.assert_allclose(gradient_of(mixing(), measurement, MIXING), expected, atol=1e-6)


def test_variance_and_cvar_are_those_of_the_mixed_state():
    rho = mixed_state()
    operator = SparsePauliOp("ZX").to_matrix()
    mean = np.trace(rho @ operator).real
    np.testing.assert_allclose(outputs_of(mixing(), Variance("ZX"), MIXING), [1 - mean**2])
    p = np.diag(rho).real
    lowest = p[1] + p[2]  # where ZZ is -1
    expected = (-min(lowest, 0.4) + max(0.4 - lowest, 0)) / 0.4
    np.testing.assert_allclose(outputs_of(mixing(), CVaR("ZZ", 0.4), MIXING), [expected])


def test_a_mixed_state_has_no_amplitudes():
    with pytest.raises(MeasurementError, match="mixed state, which has no amplitudes. Ask for"):
        module_of(mixing(), State(), MIXING)
    with pytest.raises(MeasurementError, match="mixed one; got a mixed target"):
        module_of(mixing(), Fidelity(np.eye(4) / 4), MIXING)


def test_a_state_that_stays_pure_has_amplitudes_and_its_phase():
    circuit = QuantumCircuit(2, 1, global_phase=0.3)
    circuit.reset(0), circuit.rz(Parameter("a"), 0)
    with circuit.for_loop(range(2)):
        circuit.ry(0.3, 1)
    if HAS_BOX:
        with circuit.box():
            circuit.p(0.2, 1)
    plain = QuantumCircuit(2, global_phase=0.3)
    plain.rz(0.4, 0), plain.ry(0.6, 1)
    if HAS_BOX:
        plain.p(0.2, 1)
    found = outputs_of(circuit, State(), [0.4])
    np.testing.assert_allclose(found, Statevector(plain).data, atol=EXACT)


def test_probabilities_are_of_the_bits_that_are_written():
    circuit = mixing()
    program = CircuitProgram(circuit, Probabilities())
    assert program.readout == RecordedBits((0,)) and "bit 0" in repr(program)
    measured = mixing()
    measured.measure(1, 1)
    assert CircuitProgram(measured, Probabilities()).readout == RecordedBits((0, 1))
    expected = distribution_of(bind(measured, MIXING))
    np.testing.assert_allclose(outputs_of(measured, Probabilities(), MIXING), expected, atol=EXACT)
    assert CircuitProgram(measured, Probabilities([0])).readout == Outcomes((0,))
    found = outputs_of(measured, Probabilities([1, 0]), MIXING)
    np.testing.assert_allclose(found, np.diag(mixed_state()).real[[0, 2, 1, 3]], atol=EXACT)
    odd = outputs_of(measured, Probabilities(interpret="parity"), MIXING)
    np.testing.assert_allclose(odd, [expected[0] + expected[3], expected[1] + expected[2]])


def test_the_likeliest_outcome_is_that_of_the_bits():
    circuit = mixing()
    circuit.measure(1, 1)
    module = module_of(circuit, Probabilities(), MIXING)
    best = int(distribution_of(bind(circuit, MIXING)).argmax())
    assert module.most_likely().tolist() == [best & 1, best >> 1]


def test_aer_has_the_same_density_matrix():
    """Where all that is dynamic is measurement and reset, Aer averages over outcomes."""
    aer = pytest.importorskip("qiskit_aer")
    circuit = QuantumCircuit(3, 1)
    circuit.ry(0.7, 0), circuit.cx(0, 1), circuit.ry(0.4, 1), circuit.cx(1, 2)
    circuit.reset(1), circuit.rx(0.8, 1), circuit.cx(1, 0)
    deferred = defer_measurements(circuit).circuit
    circuit.save_density_matrix()
    simulator = aer.AerSimulator(method="density_matrix")
    found = simulator.run(circuit, shots=1).result().data()["density_matrix"]
    np.testing.assert_allclose(reduced(deferred, 3), found, atol=EXACT)


def test_gradient_objects_and_metrics():
    circuit = mixing()
    gradient = AdjointEstimatorGradient()
    found = gradient.run([circuit], [SparsePauliOp("ZX")], [MIXING]).result().gradients[0]
    np.testing.assert_allclose(found, gradient_of(circuit, "ZX", MIXING), atol=EXACT)
    with pytest.raises(CircuitError, match="metric and fidelities are those of pure states"):
        QNSPSA(module_of(circuit, "ZX", MIXING))


# -- what stays what it is -------------------------------------------------------------------------


def saved_and_read(program):
    return CircuitProgram.from_state(program.to_state())


def branching(number=1, angle=0.5, turns=2):
    weight = Parameter("w")
    circuit = QuantumCircuit(2, 2)
    circuit.ry(weight, 0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], number)) as otherwise:
        circuit.rx(angle * weight, 1)
    with otherwise:
        circuit.reset(1)
    with circuit.for_loop(range(turns), Parameter("k")) as k:
        circuit.rz(k * weight, 1)
    return circuit


def test_programs_with_branches_are_told_apart():
    same = CircuitProgram(branching())
    assert same == CircuitProgram(branching())
    assert same.marks == CircuitProgram(branching()).marks
    for other in (branching(number=0), branching(angle=0.4), branching(turns=3)):
        assert same != CircuitProgram(other)
        assert same.marks != CircuitProgram(other).marks


def test_pickles_keep_branches():
    program = CircuitProgram(branching(), Probabilities())
    again = pickle.loads(pickle.dumps(program))
    assert again == program and again.readout == program.readout
    module = module_of(branching(), Probabilities(), [0.4])
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    again = torch.load(buffer, weights_only=False)
    np.testing.assert_array_equal(again().detach(), module().detach())


def test_states_keep_branches():
    program = CircuitProgram(branching(), Probabilities())
    again = saved_and_read(program)
    assert again == program
    assert again.readout == program.readout


@given(seed=st.integers(0, 2**32 - 1))
def test_states_keep_random_circuits(seed):
    circuit = random_dynamic_circuit(seed)
    program = CircuitProgram(circuit, Probabilities([0, 1]))
    again = saved_and_read(program)
    assert again == program and again.marks == program.marks
    values = values_for(circuit, seed)
    if again.circuit.num_clbits == circuit.num_clbits:
        expected = np.diag(density_matrix_of(bind(circuit, values))).real
        kept = [p for p in again.parameters if p in again.circuit.parameters]
        named = dict(zip((p.name for p in parameters_of(circuit)), values, strict=True))
        bound = again.circuit.assign_parameters({p: named[p.name] for p in kept})
        np.testing.assert_allclose(np.diag(density_matrix_of(bound)).real, expected, atol=1e-9)


# -- what is refused -------------------------------------------------------------------------------


def waiting():
    """Repeats until it succeeds."""
    circuit = QuantumCircuit(1, 1)
    circuit.h(0)
    circuit.measure(0, 0)
    with circuit.while_loop((circuit.clbits[0], 0)):
        circuit.h(0)
        circuit.measure(0, 0)
    return circuit


def endless():
    circuit = QuantumCircuit(1, 1)
    with circuit.while_loop((circuit.clbits[0], 0)):
        circuit.h(0)
    return circuit


def wide():
    circuit = QuantumCircuit(QuantumRegister(17), ClassicalRegister(16, "c"))
    circuit.h(range(16))
    circuit.measure(range(16), range(16))
    with circuit.if_test((circuit.cregs[0], 5)):
        circuit.x(16)
    return circuit


def given_at_run_time():
    circuit = QuantumCircuit(1, 1)
    variable = circuit.add_input("angle_known_later", types.Bool())
    with circuit.if_test(variable):
        circuit.x(0)
    return circuit


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (waiting, "How often a while_loop .* depends on outcomes, .* Use a for_loop"),
        (endless, "while_loop of the circuit has more than 50 rounds"),
        (wide, "depends on 1[5-6] outcomes; the exact engine follows up to 14"),
        (given_at_run_time, "reads the variable 'angle_known_later', which has no value"),
    ],
)
def test_what_cannot_be_deferred_is_refused_by_name(make, says, monkeypatch):
    monkeypatch.setattr(deferral, "MOST_ROUNDS", 50)
    with pytest.raises(CircuitError, match=says):
        module_of(make(), "Z" * make().num_qubits)


def test_measurements_that_only_end_a_circuit_are_refused_for_observables():
    circuit = QuantumCircuit(1, 1)
    circuit.h(0)
    circuit.measure(0, 0)
    with pytest.raises(CircuitError, match=re.escape("remove_final_measurements(inplace=False)")):
        CircuitProgram(circuit, "X")


def test_measurements_in_an_instruction_count():
    inner = QuantumCircuit(1, 1)
    inner.h(0), inner.measure(0, 0), inner.h(0)
    circuit = QuantumCircuit(1, 1)
    circuit.append(inner.to_instruction(), [0], [0])
    np.testing.assert_allclose(outputs_of(circuit, ["X", "Z"]), [0, 0], atol=EXACT)
    np.testing.assert_allclose(outputs_of(circuit, Probabilities()), [0.5, 0.5])


def test_the_reference_is_right_about_a_coin():
    """Of the tests themselves: a measured coin that flips another one."""
    circuit = QuantumCircuit(2, 1)
    circuit.ry(2 * np.arcsin(np.sqrt(0.3)), 0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    assert len(enumerate_branches(circuit)) == 2
    np.testing.assert_allclose(np.diag(density_matrix_of(circuit)).real, [0.7, 0, 0, 0.3])
