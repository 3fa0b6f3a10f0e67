# SPDX-License-Identifier: Apache-2.0
"""The program: expressions as sparse maps and functions, exact rewriting, content, spectra."""

from __future__ import annotations

import json
import math
import pickle

import numpy as np
import pytest
import qiskit
import torch
from circuits import A, X, hybrid
from hypothesis import given
from qiskit.circuit import (
    AnnotatedOperation,
    ControlModifier,
    InverseModifier,
    Parameter,
    ParameterVector,
    QuantumCircuit,
)
from qiskit.circuit.library import (
    CPhaseGate,
    CRXGate,
    CRYGate,
    CRZGate,
    CU1Gate,
    GlobalPhaseGate,
    PauliEvolutionGate,
    RGate,
    RZXGate,
    StatePreparation,
    UnitaryGate,
    XXPlusYYGate,
)
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import Operator, SparsePauliOp
from reference import expectations, statevector
from strategies import Case, cases

from qiskit_torch_bridge import AnalysedCircuit, CircuitProgram, expectation
from qiskit_torch_bridge.exceptions import ParameterError, StateDictError
from qiskit_torch_bridge.program import AngleMap
from qiskit_torch_bridge.program.lowering import accepts_aer, accepts_shift, expand

x, y, z = Parameter("x"), Parameter("y"), Parameter("z")


# -- expressions -------------------------------------------------------------------------------


def test_affine_expressions_are_one_sparse_map():
    expressions = [x, 2 * x - y / 4 + 0.5, 3.0, -(x + y), x - x, (x + 1) * 2 - 2 * x]
    angles = AngleMap(expressions, [x, y, z])
    assert angles.is_affine and len(angles.coefficients) == 5 and angles.used_columns == {0, 1}
    values = np.random.default_rng(1).normal(size=(4, 3))
    a, b = values[:, 0], values[:, 1]
    expected = np.stack([a, 2 * a - b / 4 + 0.5, 0 * a + 3, -a - b, 0 * a, 0 * a + 2], -1)
    np.testing.assert_allclose(angles.angles(values), expected, rtol=0, atol=1e-14)


FORMS = {
    "product": (lambda a, b: a * b, lambda a, b: a * b),
    "quotient": (lambda a, b: a / (b + 3), lambda a, b: a / (b + 3)),
    "power": (lambda a, b: a**3 + b**2, lambda a, b: a**3 + b**2),
    "root": (lambda a, b: (a * a + 1) ** 0.5 + 0 * b, lambda a, b: (a * a + 1) ** 0.5 + 0 * b),
    "inverse": (lambda a, b: 1 / (a + 4) + b, lambda a, b: 1 / (a + 4) + b),
    "sine": (lambda a, b: a.sin() * b.cos(), lambda a, b: m(a).sin(a) * m(b).cos(b)),
    "tangent": (lambda a, b: a.tan() + b, lambda a, b: m(a).tan(a) + b),
    "arcs": (
        lambda a, b: (a / 4).arcsin() + (b / 4).arccos() + a.arctan(),
        lambda a, b: m(a).arcsin(a / 4) + m(a).arccos(b / 4) + m(a).arctan(a),
    ),
    "exponential": (lambda a, b: (a - b).exp(), lambda a, b: m(a).exp(a - b)),
    "logarithm": (lambda a, b: (a * a + 1).log() * b, lambda a, b: m(a).log(a * a + 1) * b),
    "absolute": (lambda a, b: abs(a) * b, lambda a, b: m(a).abs(a) * b),
    "sign": (lambda a, b: a.sign() * b, lambda a, b: m(a).sign(a) * b),
    "conjugate": (lambda a, b: a.conjugate() * b, lambda a, b: a * b),
}


def m(array):
    return torch if isinstance(array, torch.Tensor) else np


@pytest.mark.parametrize("form", FORMS)
def test_functions_values_and_derivatives_of_any_order(form):
    """Against the same function written directly in NumPy and differentiated by torch."""
    build, direct = FORMS[form]
    angles = AngleMap([y, build(x, y)], [y, x])  # the parameter order is not the name order
    assert not angles.is_affine
    values = np.random.default_rng(2).uniform(-1, 1, (5, 2))
    expected = direct(values[:, 1], values[:, 0])
    np.testing.assert_allclose(angles.angles(values)[:, 1], expected, rtol=0, atol=1e-13)
    pullback = angles.pullback([1], [0, 1])
    t = torch.from_numpy(values).requires_grad_()
    (g,) = torch.autograd.grad(direct(t[:, 1], t[:, 0]).sum(), t, create_graph=True)
    ones = np.ones((5, 1))
    np.testing.assert_allclose(pullback(values, ones), g.detach(), rtol=0, atol=1e-12)
    ours = pullback(t, torch.from_numpy(ones), torch)
    assert ours.requires_grad or not g.requires_grad
    if g.requires_grad:  # second order: torch differentiates the compiled derivative
        (h,) = torch.autograd.grad(g.sum(), t)
        (k,) = torch.autograd.grad(ours.sum(), t)
        torch.testing.assert_close(k, h, rtol=0, atol=1e-11)


def test_variances_follow_squared_derivatives():
    angles = AngleMap([2 * x, 3 * x + y], [x, y])
    pullback = angles.pullback([0, 1], [0, 1])
    result = pullback.variances(np.zeros((1, 2)), np.array([[0.1, 0.2]]))
    np.testing.assert_allclose(result, [[4 * 0.1 + 9 * 0.2, 0.2]])


# -- rewriting ---------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", [CRXGate, CRYGate, CRZGate, CPhaseGate, CU1Gate])
@pytest.mark.parametrize("state", [0, 1])
def test_controlled_rotations_are_commuting_rotations(gate, state):
    circuit = QuantumCircuit(2)
    circuit.append(gate(1.234, ctrl_state=state), [1, 0])
    free = QuantumCircuit(2)
    free.append(gate(x, ctrl_state=state), [1, 0])
    rewritten = expand(free, accepts_aer).assign_parameters({x: 1.234})
    assert Operator(rewritten).equiv(Operator(circuit))
    assert not {"cx", "cz", gate(x).name} & set(rewritten.count_ops())


@given(cases(max_qubits=4))
def test_expansion_keeps_the_state(case: Case):
    numbers = dict(zip(case.parameters, case.values.tolist(), strict=True))
    for accept in (accepts_shift, accepts_aer):
        expanded = expand(case.circuit, accept)
        assert all(accept(i.operation) for i in expanded.data)
        present = {p: v for p, v in numbers.items() if p in expanded.parameters}
        bound = expanded.assign_parameters(present)
        state = Operator(bound).data[:, 0]
        expected = statevector(case.circuit, case.parameters, case.values).detach().numpy()
        # Equal up to a global phase, which is dropped on purpose.
        assert abs(np.vdot(state, expected)) == pytest.approx(1, abs=1e-9)


def test_shift_form_of_a_circuit_that_has_it_is_itself():
    circuit = QuantumCircuit(2)
    circuit.rx(x, 0)
    circuit.append(RZXGate(y), [0, 1])
    analysed = AnalysedCircuit(circuit)
    assert analysed.shift_form[0] is analysed
    circuit.rz(x, 1)  # a second occurrence needs an angle of its own
    assert AnalysedCircuit(circuit).shift_form[0].num_parameters == 3


def test_a_product_formula_is_expanded_so_that_every_estimator_means_the_same():
    """Terms that do not commute: simulators take the exponential, transpilers the formula."""
    gate = PauliEvolutionGate(SparsePauliOp(["XX", "ZI"], [1.0, 0.5]), time=x)
    circuit = QuantumCircuit(2)
    circuit.h([0, 1])
    circuit.append(gate, [0, 1])
    assert "PauliEvolution" not in AnalysedCircuit(circuit).circuit.count_ops()
    commuting = QuantumCircuit(2)
    commuting.append(PauliEvolutionGate(SparsePauliOp(["XX", "ZZ"]), time=x), [0, 1])
    assert AnalysedCircuit(commuting).circuit.count_ops() == {"PauliEvolution": 1}


@pytest.mark.parametrize("gradient", ["parameter-shift", "aqgd"])
@pytest.mark.parametrize("wrap", ["gate", "nested", "inverse", "controlled"])
def test_product_formulas_are_found_wherever_they_hide(wrap, gradient):
    """Value and gradient belong to one function on an estimator that takes exponentials."""
    inner = QuantumCircuit(2)
    inner.append(PauliEvolutionGate(SparsePauliOp(["XX", "ZI"], [1.0, 0.5]), time=x), [0, 1])
    gate = inner.to_gate()
    if wrap == "nested":
        outer = QuantumCircuit(2)
        outer.append(gate, [0, 1])
        gate = outer.to_gate()
    elif wrap == "inverse":
        gate = AnnotatedOperation(gate, InverseModifier())
    elif wrap == "controlled":
        gate = AnnotatedOperation(gate, ControlModifier(1))
    circuit = QuantumCircuit(3)
    circuit.h([0, 1, 2])
    circuit.append(gate, range(gate.num_qubits))
    program = CircuitProgram(circuit, "IYX")
    w = torch.tensor([0.6], dtype=torch.float64, requires_grad=True)
    estimator = StatevectorEstimator()
    (g,) = torch.autograd.grad(
        expectation(program, weights=w, estimator=estimator, gradient=gradient).sum(), w
    )
    h = 1e-4
    plus, minus = (
        expectation(program, weights=w.detach() + s, estimator=estimator).item() for s in (h, -h)
    )
    assert g.item() == pytest.approx((plus - minus) / (2 * h), abs=1e-6)


def test_fixed_blocks_run_everywhere():
    """State preparation, unitaries and initialisation among parameterized gates."""
    circuit = QuantumCircuit(2)
    circuit.append(StatePreparation([0.6, 0, 0, 0.8]), [0, 1])
    circuit.append(UnitaryGate(Operator.from_label("HX").data), [0, 1])
    circuit.barrier()
    circuit.rx(x, 0)
    program = CircuitProgram(circuit, ["ZZ", "XI"])
    w = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    direct = [
        complex(
            Operator(circuit.assign_parameters([0.3])).data[:, 0].conj()
            @ SparsePauliOp(o).to_matrix()
            @ Operator(circuit.assign_parameters([0.3])).data[:, 0]
        ).real
        for o in ("ZZ", "XI")
    ]
    result = expectation(program, weights=w)
    assert result.tolist() == pytest.approx(direct, abs=1e-10)


# -- spectra -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        (CRXGate(x), (0.5, 1.0)),
        (CRZGate(2 * x), (1.0, 2.0)),
        (CPhaseGate(x), (1.0,)),
        (XXPlusYYGate(x), (0.5, 1.0)),
        (XXPlusYYGate(0.3, x), (1.0, 2.0)),
        (PauliEvolutionGate(SparsePauliOp(["ZZ"]), x), (2.0,)),
        (PauliEvolutionGate(SparsePauliOp(["ZI", "IZ"]), x), (2.0, 4.0)),
    ],
)
def test_frequencies_of_gates(gate, expected):
    circuit = QuantumCircuit(2)
    circuit.append(gate, [0, 1])
    assert AnalysedCircuit(circuit).frequencies(0) == pytest.approx(expected)


@given(cases(max_qubits=3, affine_only=True, unit_coefficients=True, max_gates=4))
def test_no_other_frequencies_occur(case: Case):
    """Sampled along one parameter, the Fourier transform is zero off the predicted spectrum."""
    for column, parameter in enumerate(case.parameters):
        analysed = AnalysedCircuit(case.circuit, case.parameters)
        try:
            predicted = analysed.frequencies(column)
        except Exception as error:
            assert "more than" in str(error), parameter
            continue
        highest = max((1.0, *predicted))
        period, count = 4 * math.pi, 2 * math.ceil(2 * highest + 4)  # half-integer frequencies
        rows = case.values.repeat(count, 1)
        rows[:, column] = torch.arange(count, dtype=torch.float64) * period / count
        samples = torch.stack(
            [expectations(case.circuit, case.observables, case.parameters, r) for r in rows]
        )
        spectrum = torch.fft.rfft(samples, dim=0).abs().amax(-1) / count
        found = {k / 2 for k, size in enumerate(spectrum.tolist()) if size > 1e-9 and k}
        assert all(any(abs(f - p) < 1e-6 for p in predicted) for f in found)


# -- content -----------------------------------------------------------------------------------


def rebuilt():
    """The hybrid circuit over parameters of the same names but other identity."""
    new_x, new_a = ParameterVector("x", 2), ParameterVector("a", 3)
    circuit = hybrid().assign_parameters(dict(zip([*X, *A], [*new_x, *new_a], strict=True)))
    return circuit, new_x


def test_programs_are_equal_by_content():
    circuit, new_x = rebuilt()
    one = CircuitProgram(hybrid(), ["ZI"], input_params=X)
    two = CircuitProgram(circuit, ["ZI"], input_params=new_x)
    assert one == two and hash(one) == hash(two) and len({one, two}) == 1
    assert one != CircuitProgram(hybrid(), ["IZ"], input_params=X)
    assert one != CircuitProgram(hybrid(), ["ZI"])
    assert one != 3


@given(cases(max_qubits=3))
def test_state_and_pickle_keep_the_program(case: Case):
    program = CircuitProgram(
        case.circuit, list(case.observables), input_params=case.inputs, weight_params=case.weights
    )
    try:
        state = program.to_state()
    except StateDictError:  # QPY of these versions changes some expressions: better no file
        assert qiskit.__version__.startswith(("2.0", "2.2"))
        return
    assert program.difference_from_state(state) is None
    saved = pickle.loads(pickle.dumps(program))
    assert saved.difference_from_state(state) is None
    # Where a file holds the gates of which the circuit is made, so may a pickle on Qiskit 1.
    assert saved == program or json.loads(state["program"])["expanded"]
    x = case.values[: case.num_inputs]
    w = case.values[case.num_inputs :]
    assert [p.name for p in saved.weight_params] == [p.name for p in case.weights]
    torch.testing.assert_close(
        expectation(saved, x, w), expectation(program, x, w), rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("annotated", [False, True])
@pytest.mark.parametrize("state", [0, 1])
def test_what_controlled_gates_are_built_from_is_saved(annotated, state):
    """QPY of Qiskit 1.4 turns quotients around in definitions only, and those are simulated."""
    (x,) = ParameterVector("x", 1)
    circuit = QuantumCircuit(2)
    circuit.rx(2 * x, 0)
    phase = GlobalPhaseGate(x / (x**2 + 2))
    circuit.append(phase.control(1, ctrl_state=state, annotated=annotated), [0])
    program = CircuitProgram(circuit, ["IX", "IY"])
    values, angle = torch.tensor([0.1], dtype=torch.float64), 0.1 / 2.01 * (1 if state else -1)
    expected = [math.sin(0.2) * math.sin(angle), -math.sin(0.2) * math.cos(angle)]
    read = CircuitProgram.from_state(program.to_state())
    for saved in (program, read, pickle.loads(pickle.dumps(program))):
        found = expectation(saved, weights=values).tolist()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("angle", [lambda x, a: a, lambda x, a: a + x])
def test_parameters_of_controlled_gates_are_those_of_the_circuit(angle):
    """QPY reads those of a definition as others of the same name."""
    x, a = ParameterVector("x", 1)[0], ParameterVector("a", 1)[0]
    circuit = QuantumCircuit(3)
    circuit.rx(x, 0)
    circuit.append(RGate(x, angle(x, a)).control(1), [0, 1])
    program = CircuitProgram(circuit, ["ZII", "IXI"])
    w = torch.tensor([0.3, 0.8], dtype=torch.float64)
    for saved in (
        CircuitProgram.from_state(program.to_state()),
        pickle.loads(pickle.dumps(program)),
    ):
        assert saved.difference_from_state(program.to_state()) is None
        torch.testing.assert_close(
            expectation(saved, weights=w), expectation(program, weights=w), rtol=0, atol=1e-12
        )


def test_phases_of_controlled_blocks_count():
    """A phase is global only until it is controlled."""

    def program(phase):
        block = QuantumCircuit(1, global_phase=phase)
        block.x(0)
        circuit = QuantumCircuit(2)
        circuit.ry(x, 0)
        circuit.append(block.to_gate().control(1), [0, 1])
        return CircuitProgram(circuit, "IX")

    assert program(0.0) == program(2 * math.pi) == program(0.0)
    assert program(0.0) != program(1.5)


def test_programs_are_immutable():
    program = CircuitProgram(hybrid(), "ZZ")
    with pytest.raises(AttributeError, match="immutable"):
        program.observables = ()


def test_damaged_states():
    state = CircuitProgram(hybrid(), "ZZ").to_state()
    with pytest.raises(StateDictError, match="newer"):
        CircuitProgram.from_state({**state, "circuit": b"QISKIT\xff\xff"})
    with pytest.raises(StateDictError, match="damaged"):
        CircuitProgram.from_state({**state, "program": "{}"})


def test_the_users_circuit_is_copied():
    circuit = hybrid()
    program = CircuitProgram(circuit, "ZZ")
    circuit.x(0)
    assert program.circuit.count_ops() == hybrid().count_ops()
    with pytest.raises(ParameterError, match="no place"):
        AnalysedCircuit(circuit, [A[0]])
