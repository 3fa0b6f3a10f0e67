# SPDX-License-Identifier: Apache-2.0
"""Parameter expressions mean what they say, whatever the installed Qiskit makes of them."""

from __future__ import annotations

import math
from contextlib import closing

import numpy as np
import pytest
import reference
import torch
from estimators import CountingEstimator
from operation_strategies import BINDS_SQUARES
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.circuit.library import PauliEvolutionGate, zz_feature_map
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp, Statevector
from qiskit_aer.primitives import EstimatorV2 as AerEstimator
from qiskit_algorithms.gradients import (
    LinCombEstimatorGradient,
    LinCombQGT,
    ParamShiftEstimatorGradient,
)
from qiskit_algorithms.state_fidelities import ComputeUncompute

from qiskit_torch_bridge import CircuitProgram, TorchQuantumModule, expectation
from qiskit_torch_bridge.exceptions import ExpressionError, JournalError
from qiskit_torch_bridge.gradients import (
    FiniteDifferenceEstimatorGradient,
    ParameterShiftEstimatorGradient,
)
from qiskit_torch_bridge.jobs import DispatchingEstimator, Jobs, Journal
from qiskit_torch_bridge.optim import FubiniStudyMetric, StateFidelity
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator
from qiskit_torch_bridge.program import AnalysisCache, AngleMap, expressions
from qiskit_torch_bridge.program.identity import same_circuit

x, y, w = Parameter("x"), Parameter("y"), Parameter("w")
EXACT = 1e-12


def rotation(angle) -> QuantumCircuit:
    """RY: <Z> is the cosine of the angle."""
    circuit = QuantumCircuit(1)
    circuit.ry(angle, 0)
    return circuit


def double(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


@pytest.fixture
def squares_misbound(monkeypatch):
    """Qiskit 2.1.0 to 2.5.1, whichever is installed: x**2 + y**2 is bound as (x + y)**2."""

    def bound(expression, parameters, point):
        return complex(sum(point) ** 2 if "**2 + " in str(expression) else math.nan)

    monkeypatch.setattr(expressions, "_bind", bound)
    monkeypatch.setattr(expressions, "_difference_in_steps", lambda *_: "")


# -- values and derivatives ----------------------------------------------------------------------

FORMS = {
    "squares": (lambda a, b: a**2 + b**2, lambda a, b: a**2 + b**2),
    "cubes": (lambda a, b: a**3 - b**3, lambda a, b: a**3 - b**3),
    "squares halved": (lambda a, b: (a**2 - b**2) / 2, lambda a, b: (a**2 - b**2) / 2),
    "quotient": (lambda a, b: a / (2 * b), lambda a, b: a / (2 * b)),
    "difference": (lambda a, b: (b - 2 * a) ** 2, lambda a, b: (b - 2 * a) ** 2),
    "product": (lambda a, b: (a * b) ** 2, lambda a, b: (a * b) ** 2),
    "feature map": (lambda a, b: 2 * (math.pi - a) * (math.pi - b),) * 2,
    "constant base": (lambda a, b: 2 ** (3 * a) * b, lambda a, b: 2 ** (3 * a) * b),
    "small base": (lambda a, b: 0.3 ** (a - b), lambda a, b: 0.3 ** (a - b)),
    "tower": (lambda a, b: (a + 2) ** b, lambda a, b: (a + 2) ** b),
    "fraction": (lambda a, b: (a + b) ** -1.5, lambda a, b: (a + b) ** -1.5),
    "root": (lambda a, b: a**0.5 - b**0.5, lambda a, b: a**0.5 - b**0.5),
    "reciprocals": (lambda a, b: 1 / a + b**-2, lambda a, b: 1 / a + b**-2),
    "imaginary units": (lambda a, b: (1j * a) * (1j * b), lambda a, b: -a * b),
    "conjugate": (lambda a, b: (a * b).conjugate(), lambda a, b: a * b),
    "absolute": (lambda a, b: abs(a - b) * b, lambda a, b: torch.abs(a - b) * b),
    "sign": (lambda a, b: (a - b).sign() * a, lambda a, b: torch.sign(a - b) * a),
    "logarithm": (lambda a, b: (a * b).log(), lambda a, b: torch.log(a * b)),
    "arctangent": (lambda a, b: (a / b).arctan(), lambda a, b: torch.arctan(a / b)),
}


@pytest.mark.parametrize("gradient", ["adjoint", "parameter-shift"])
@pytest.mark.parametrize("form", FORMS)
def test_values_gradients_and_hessians(form, gradient):
    """Against the cosine of the same function, written in torch."""
    build, direct = FORMS[form]
    program = CircuitProgram(rotation(build(x, y)), "Z", weight_params=[x, y])

    def ours(v):
        return expectation(program, weights=v, gradient=gradient)[0]

    def truth(v):
        return torch.cos(direct(v[0], v[1]))

    point = double(0.7, 0.45)
    for _ in range(3):
        torch.testing.assert_close(ours(point), truth(point), rtol=1e-11, atol=1e-11)
        ours, truth = torch.func.jacrev(ours), torch.func.jacrev(truth)


def test_a_power_with_a_parameter_above_has_a_derivative_at_base_zero():
    """d/dy x**y = x**y log x, whose limit at zero is zero, and d/dx = y x**(y - 1)."""
    angles = AngleMap([x**y], [x, y])
    slope = angles.pullback([0], [0, 1])(np.array([[0.0, 2.0]]), np.ones((1, 1)))
    assert slope.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("angle", [1j * x, (1j * x).exp(), (-2) ** x])
def test_what_has_no_real_value_is_refused(angle):
    with pytest.raises(ExpressionError, match="is complex"):
        TorchQuantumModule(rotation(angle))


def test_long_products_stay_functions():
    """Expanded it would have 2**30 terms; it is evaluated as it is written."""
    v = ParameterVector("v", 30)
    angles = AngleMap([math.prod(1 + p for p in v)], list(v))
    assert not angles.is_affine
    assert angles.angles(np.full((1, 30), 0.01))[0, 0] == pytest.approx(1.01**30, abs=EXACT)


def test_what_cancels_is_affine():
    expressions = [(x + y) ** 2 - x * x - 2 * x * y - y * y + w, x.sin() * 2 + w - 2 * x.sin()]
    angles = AngleMap(expressions, [x, y, w])
    assert angles.is_affine
    assert angles.angles(np.array([[0.3, 0.4, 0.5]])).tolist() == [[0.5, 0.5]]


def test_the_zz_feature_map_runs_everywhere():
    circuit = zz_feature_map(3, reps=2)
    observables = [SparsePauliOp("ZZI"), SparsePauliOp("XIY")]
    point = double(0.3, -1.1, 2.0)
    right = reference.expectations(circuit, observables, circuit.parameters, point)
    slopes = reference.jacobian(circuit, observables, circuit.parameters, point)
    program = CircuitProgram(circuit, observables)
    for estimator in (None, StatevectorEstimator(), AerEstimator()):
        found = torch.func.jacrev(
            lambda v, e=estimator: expectation(program, weights=v, estimator=e)
        )
        torch.testing.assert_close(found(point), slopes, rtol=0, atol=1e-9)
        value = expectation(program, weights=point, estimator=estimator)
        torch.testing.assert_close(value, right, rtol=0, atol=1e-10)


# -- derivatives where a function of other columns has none ----------------------------------------

SINGULAR = {
    "arccos": (x.arccos(), 1.0, 0.0),
    "root": (x**0.5, 0.0, 0.0),
    "arccos times weight": (w * x.arccos(), 1.0, 0.0),
    "root times weight": (w * (x**0.5 + 1), 0.0, 1.0),
}


@pytest.mark.parametrize("gradient", ["adjoint", "parameter-shift"])
@pytest.mark.parametrize("weight", [0.3, 0.0])
@pytest.mark.parametrize("form", SINGULAR)
def test_only_wanted_columns_need_a_derivative(form, weight, gradient):
    """<Z> of ry(f(x, w)) rx(w) is cos(f) cos(w); f is linear in w and singular in x."""
    angle, at, slope = SINGULAR[form]
    circuit = rotation(angle)
    circuit.rx(w, 0)
    program = CircuitProgram(circuit, "Z", input_params=[x], weight_params=[w])
    weights, inputs = double(weight).requires_grad_(), double(at)
    right = torch.cos(slope * weights) * torch.cos(weights)
    (expected,) = torch.autograd.grad(right.sum(), weights)

    def ours(v):
        return expectation(program, inputs, v, gradient=gradient)

    (found,) = torch.autograd.grad(ours(weights).sum(), weights)
    torch.testing.assert_close(found, expected, rtol=0, atol=EXACT)
    for mode in (torch.func.jacrev, torch.func.jacfwd):
        torch.testing.assert_close(mode(ours)(weights.detach())[0], expected, rtol=0, atol=EXACT)


def test_a_gradient_nobody_asked_for_may_be_singular():
    circuit = rotation(x.arccos())
    circuit.rx(w, 0)
    node = TorchQuantumModule(circuit, "Z", input_params=[x], initial_weights=[0.3]).double()
    inputs = double(1.0).requires_grad_()
    (found,) = torch.autograd.grad(node(inputs).sum(), node.weight)
    assert found.item() == pytest.approx(-math.sin(node.weight.item()), abs=EXACT)
    with pytest.raises(ExpressionError, match=r"derivative .* is singular"):
        node(inputs).sum().backward()


# -- where Qiskit binds ----------------------------------------------------------------------------


def test_the_packages_estimators_compute_expressions_themselves():
    circuit = rotation(x**2 + y**2)
    value = math.cos(0.5**2 + 0.8**2)
    pub = (circuit, "Z", {(x, y): [0.5, 0.8]})
    ours = BatchedStatevectorEstimator()
    assert float(ours.run([pub]).result()[0].data.evs) == pytest.approx(value, abs=EXACT)
    weights = {x: 0.5, y: 0.8}
    for place in ({}, {"estimator": ours}, {"estimator": DispatchingEstimator([ours, ours])}):
        node = TorchQuantumModule(circuit, "Z", **place).double()
        with torch.no_grad():
            node.weight.copy_(double(*(weights[p] for p in node.program.weight_params)))
        assert node().item() == pytest.approx(value, abs=EXACT)


PLACES = {
    "statevector": lambda c: TorchQuantumModule(c, "Z", estimator=StatevectorEstimator()),
    "aer": lambda c: TorchQuantumModule(c, "Z", estimator=AerEstimator()),
    "mixed": lambda c: TorchQuantumModule(
        c,
        "Z",
        estimator=DispatchingEstimator([BatchedStatevectorEstimator(), StatevectorEstimator()]),
    ),
    "exact slopes": lambda c: TorchQuantumModule(
        c, "Z", estimator=StatevectorEstimator(), gradient="adjoint"
    ),
    "plugin": lambda c: TorchQuantumModule(
        c,
        "Z",
        estimator=StatevectorEstimator(),
        gradient=ParamShiftEstimatorGradient(StatevectorEstimator()),
    ),
    "finite difference": lambda c: (
        FiniteDifferenceEstimatorGradient(StatevectorEstimator())
        .run([c], [SparsePauliOp("Z")], [[0.5, 0.8]])
        .result()
    ),
    "metric": lambda c: FubiniStudyMetric(c, qgt=LinCombQGT(StatevectorEstimator())),
    "fidelity": lambda c: StateFidelity(c, ComputeUncompute(_sampler())),
}


def _sampler():
    from qiskit.primitives import StatevectorSampler

    return StatevectorSampler()


@pytest.mark.parametrize("place", PLACES)
def test_what_qiskit_would_bind_wrongly_is_refused_before_anything_runs(place, squares_misbound):
    with pytest.raises(ExpressionError, match=r"binds the parameter expression .*\*\*2 .* to "):
        PLACES[place](rotation(x**2 + y**2))


@pytest.mark.skipif(BINDS_SQUARES, reason="this Qiskit binds it rightly")
@pytest.mark.parametrize("place", PLACES)
def test_the_installed_qiskit_is_refused(place):
    with pytest.raises(ExpressionError, match="Leave out the estimator"):
        PLACES[place](rotation(x**2 + y**2))


def test_shift_points_are_bare_angles():
    """So parameter shift is right on an estimator that would bind the circuit itself wrongly."""
    gradient = ParameterShiftEstimatorGradient(CountingEstimator(StatevectorEstimator()))
    job = gradient.run([rotation(x**2 + y**2)], [SparsePauliOp("Z")], [[0.5, 0.8]])
    slope = -math.sin(0.5**2 + 0.8**2)
    assert job.result().gradients[0].tolist() == pytest.approx([slope, 1.6 * slope], abs=EXACT)


def test_gradients_of_others_must_differentiate_rightly():
    """Qiskit 2.2 differentiates (x - y)**2 by y with the wrong sign."""
    estimator = StatevectorEstimator()
    wrong = abs(float(((x - y) ** 2).gradient(y).bind({x: 1.0, y: 3.0})) - 4) > EXACT

    def node():
        return TorchQuantumModule(
            rotation((x - y) ** 2),
            "Z",
            estimator=estimator,
            gradient=LinCombEstimatorGradient(estimator),
            initial_weights={x: 0.4, y: 1.1},
        ).double()

    if wrong:
        with pytest.raises(ExpressionError, match="differentiates the parameter expression"):
            node()
        return
    module = node()
    module().sum().backward()
    place = module.program.weight_params.index(y)
    apart = module.weight[1 - place].item() - module.weight[place].item()
    right = 2 * apart * math.sin(apart**2)
    assert module.weight.grad[place].item() == pytest.approx(right, abs=1e-9)


# -- circuits, journals, files ---------------------------------------------------------------------


def nested() -> QuantumCircuit:
    """Squares in a gate, in a custom gate, in an evolution and in the phase."""
    inner = QuantumCircuit(2)
    inner.h([0, 1])
    inner.rzz(x**2 + w**2, 0, 1)
    circuit = QuantumCircuit(2, global_phase=x**2 - w**2)
    circuit.ry(x**2 + w**2, 0)
    circuit.append(inner.to_gate(), [0, 1])
    circuit.append(PauliEvolutionGate(SparsePauliOp("XX"), time=w**2 - x**2), [0, 1])
    circuit.rx(2 * w, 1)
    return circuit


def test_circuits_get_the_right_numbers():
    node = TorchQuantumModule(nested(), ["ZZ", "YI"], input_params=[x], initial_weights=[0.7])
    node = node.double()
    a, b = 0.4, node.weight.item()
    bound = node.bind([a])
    numbers = {"inner": a**2 + b**2, "time": b**2 - a**2}
    assert bound.num_parameters == 0
    assert bound.data[0].operation.params[0] == pytest.approx(numbers["inner"], abs=EXACT)
    assert float(bound.global_phase) % (2 * math.pi) == pytest.approx(
        (a**2 - b**2) % (2 * math.pi), abs=EXACT
    )
    state = Statevector(bound)
    right = [state.expectation_value(SparsePauliOp(o)).real for o in ("ZZ", "YI")]
    assert node(double(a)).tolist() == pytest.approx(right, abs=1e-10)
    trained = node.to_circuit()
    assert set(trained.parameters) == {x}
    later = TorchQuantumModule(trained, ["ZZ", "YI"], input_params=[x]).double()
    torch.testing.assert_close(later(double(a)), node(double(a)), rtol=0, atol=1e-10)


def test_sums_of_squares_are_no_squares_of_sums():
    sums, squares = rotation(x**2 + y**2), rotation((x + y) ** 2)
    assert not same_circuit(sums, squares, [x, y], [x, y])
    cache = AnalysisCache()
    assert cache(sums) is not cache(squares) and len(cache) == 2
    node, other = (TorchQuantumModule(c, "Z", initial_weights=[0.5, 0.8]) for c in (sums, squares))
    assert node.program != other.program
    assert node().item() != pytest.approx(other().item(), abs=0.1)


def test_a_journal_knows_them_apart(tmp_path):
    """One that took them for the same would answer the second request from what it holds."""
    sums, squares = x**2 + y**2, (x + y) ** 2
    for angle in (sums, sums, squares):
        with closing(Journal(tmp_path / "journal")) as journal:
            ours = BatchedStatevectorEstimator()
            estimator = DispatchingEstimator([ours], Jobs(journal=journal))
            pub = (rotation(angle), "Z", {(x, y): [0.5, 0.8]})
            if angle is squares:
                with pytest.raises(JournalError, match="Request 0 differs"):
                    estimator.run([pub])
            else:
                evs = estimator.run([pub]).result()[0].data.evs
                assert evs.item() == pytest.approx(math.cos(0.89), abs=EXACT)


@pytest.mark.parametrize("angle", [x**2 + y**2, 0.7 * x * y, x / (2 * y), 2 ** (3 * x) * y])
def test_states_are_saved_and_loaded(angle):
    program = CircuitProgram(rotation(angle), "Z")
    again = CircuitProgram.from_state(program.to_state())
    assert again == program
    point = double(0.5, 0.8)
    torch.testing.assert_close(
        expectation(again, weights=point), expectation(program, weights=point), rtol=0, atol=EXACT
    )
