# SPDX-License-Identifier: Apache-2.0
"""Amplitudes as parameters: states, derivatives at zeros, estimators and samplers, files.

The reference is the quadratic form that an expectation value is of the amplitudes: its matrix comes
from Qiskit's operators, and torch differentiates it.
"""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from estimators import CountingEstimator
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.circuit.library import real_amplitudes
from qiskit.primitives import StatevectorEstimator
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import Operator, SparsePauliOp, Statevector
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_aer.primitives import EstimatorV2 as AerEstimator

from qiskit_torch_bridge import (
    AmplitudePreparation,
    AnalysedCircuit,
    CircuitProgram,
    Exact,
    Fidelity,
    Probabilities,
    State,
    TorchQuantumModule,
    amplitude_encoding,
    load_checkpoint,
    save_checkpoint,
)
from qiskit_torch_bridge.exceptions import (
    CircuitError,
    GradientError,
    InputError,
    InputTypeError,
)
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator, BatchedStatevectorSampler
from qiskit_torch_bridge.simulation import threads

OBSERVABLES = {
    1: [SparsePauliOp(["X", "Z"], [0.7, -0.4]), SparsePauliOp("Y")],
    2: [SparsePauliOp(["XX", "ZI", "YX"], [0.3, 1.0, -0.5]), SparsePauliOp("IZ")],
    3: [SparsePauliOp(["XIX", "ZZI", "YXZ"], [0.3, 1.0, -0.5]), SparsePauliOp("IIX")],
}


def vectors(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    """Return vectors: dense, without signs, sparse, with one component, each in turn."""
    found = rng.normal(size=(count, size)) * 10.0 ** rng.integers(-3, 4, (count, 1))
    found[1::4] = abs(found[1::4])
    found[2::4] *= rng.random(found[2::4].shape) < 0.3
    found[3::4] *= np.eye(size)[rng.integers(size, size=len(found[3::4]))]
    lost = ~found.any(-1)
    found[lost, rng.integers(size, size=lost.sum())] = -2.0
    return found


def as_states(numbers: Any, is_complex: bool) -> Any:
    """Return the states that numbers stand for, in torch."""
    numbers = torch.as_tensor(numbers)
    half = numbers.shape[-1] // 2
    found = torch.complex(numbers[..., :half], numbers[..., half:]) if is_complex else numbers
    return (found / torch.linalg.vector_norm(numbers, dim=-1, keepdim=True)).to(torch.complex128)


class Case:
    """An encoding with an ansatz, and its expectation values by matrices."""

    def __init__(self, num_qubits: int, is_complex: bool = False, further: int = 0) -> None:
        self.is_complex = is_complex
        self.encoding = amplitude_encoding(num_qubits, is_complex=is_complex)
        total = num_qubits + further
        self.ansatz = real_amplitudes(total, reps=1)
        circuit = QuantumCircuit(total)
        circuit.compose(self.encoding.circuit, inplace=True)
        self.circuit = circuit.compose(self.ansatz)
        self.observables = OBSERVABLES[total]
        self.size, self.total = 1 << num_qubits, 1 << total
        self.weights = np.arange(self.ansatz.num_parameters) / 4 - 1  # exact in single precision

    def module(self, **options: Any) -> TorchQuantumModule:
        return TorchQuantumModule(
            self.circuit, options.pop("observables", self.observables),
            input_params=self.encoding.parameters, initial_weights=self.weights, **options,
        ).double()  # fmt: skip

    def expected(self, numbers: Any) -> Any:
        unitary = Operator(self.ansatz.assign_parameters(self.weights)).data
        states = torch.nn.functional.pad(
            as_states(numbers, self.is_complex), (0, self.total - self.size)
        )
        matrices = [unitary.conj().T @ o.to_matrix() @ unitary for o in self.observables]
        m = torch.tensor(np.array(matrices))
        return torch.einsum("...i,oij,...j->...o", states.conj(), m, states).real

    def points(self, count: int = 4) -> torch.Tensor:
        size = len(self.encoding.parameters)
        return torch.tensor(vectors(np.random.default_rng(size), count, size))


CASES = [(1, False, 0), (1, True, 0), (2, False, 0), (2, True, 0), (2, True, 1), (2, False, 1)]


@pytest.fixture(params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(*request.param)


def gradients(module: TorchQuantumModule, points: torch.Tensor) -> list[np.ndarray]:
    """Return values, and the gradients of a weighted sum with respect to inputs and weights."""
    points = points.detach().clone().requires_grad_()
    values = module(points)
    cotangent = torch.linspace(-1, 2, values.numel(), dtype=values.dtype).reshape(values.shape)
    found = torch.autograd.grad((cotangent * values).sum(), [points, module.weight])
    return [values.detach().numpy(), *[g.numpy() for g in found]]


# -- states --------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("num_qubits", [1, 2, 3, 4, 6])
def test_states_are_the_unit_vectors_in_the_order_of_qiskit(num_qubits, is_complex):
    """Five hundred vectors in all, of which some are also prepared by rotations."""
    encoding = amplitude_encoding(num_qubits, is_complex=is_complex)
    rng = np.random.default_rng([num_qubits, is_complex])
    given = vectors(rng, 50, len(encoding.parameters))
    module = TorchQuantumModule(encoding.circuit, State(), input_params=encoding.parameters)
    found = module.double()(torch.tensor(given)).detach().numpy()
    expected = as_states(given, is_complex).numpy()
    assert np.abs(found - expected).max() < 1e-12
    angles = encoding.angles(torch.tensor(given if not is_complex else expected)).numpy()
    for k, state in enumerate(expected[:16]):
        turned = Statevector(encoding.rotations.assign_parameters(angles[k])).data
        # Qiskit's preparation of a single qubit leaves out its phase, as ours does by rotations.
        bound = Statevector(encoding.circuit.assign_parameters(given[k])).data
        for other, phased in ((turned, is_complex), (bound, True)):
            phase = np.vdot(state, other) if phased else 1.0
            assert np.abs(other - phase * state).max() < 1e-12


def test_qubits_anywhere_and_in_any_order():
    x = ParameterVector("x", 4)
    circuit = QuantumCircuit(4)
    circuit.initialize([0.6, 0.8j], 2)
    circuit.h(1)
    circuit.append(AmplitudePreparation(x), [3, 0])
    values = torch.tensor([[1.0, -2.0, 0.0, 3.0]]).double()
    found = (
        TorchQuantumModule(circuit, State(), input_params=x).double()(values)[0].detach().numpy()
    )
    unit = values[0].numpy() / np.linalg.norm(values)
    expected = QuantumCircuit(4)
    expected.initialize([0.6, 0.8j], 2)
    expected.h(1)
    expected.initialize(unit, [3, 0])
    assert np.abs(found - Statevector(expected).data).max() < 1e-14


# -- values and derivatives on the exact engine ---------------------------------------------------


def test_values_are_quadratic_forms(case):
    points = case.points(9)
    found = case.module()(points).detach()
    assert (found - case.expected(points)).abs().max() < 1e-12


@pytest.mark.parametrize("gradient", ["adjoint", "parameter-shift"])
def test_derivatives_of_the_first_two_orders_at_zeros_as_well(case, gradient):
    module = case.module(gradient=gradient)
    row = torch.tensor([1.0, -0.5]).double()
    for point in [*case.points(4), torch.eye(len(case.encoding.parameters)).double()[-1]]:
        point = point / point.norm()
        expected = torch.func.hessian(lambda x: case.expected(x) @ row)(point)
        slope = torch.func.grad(lambda x: case.expected(x) @ row)(point)
        assert (torch.func.grad(lambda x: module(x) @ row)(point) - slope).abs().max() < 1e-11
        found = torch.func.hessian(lambda x: module(x) @ row)(point)
        assert (found - expected).abs().max() < 1e-11


@pytest.mark.parametrize("gradient", ["adjoint", "parameter-shift"])
def test_gradcheck_and_gradgradcheck(gradient):
    case = Case(2, is_complex=True)
    module = case.module(gradient=gradient)
    points = case.points(4)[[0, 3]]
    points[1] = torch.eye(8)[2]
    points = (points / points.norm(dim=-1, keepdim=True)).requires_grad_()

    def call(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(module, {"weight": w}, (x,))

    weights = module.weight.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(call, (points, weights), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(call, (points, weights))


@pytest.mark.parametrize("gradient", ["adjoint", "parameter-shift"])
def test_transforms(gradient):
    case = Case(2)
    module, points = case.module(gradient=gradient), case.points(3)
    expected = torch.func.vmap(torch.func.jacrev(case.expected))(points)
    for transform in (torch.func.jacrev, torch.func.jacfwd):
        assert torch.allclose(torch.func.vmap(transform(module))(points), expected, atol=1e-9)
    for row in points:
        older = torch.autograd.functional.hessian(lambda x: module(x)[0], row, vectorize=True)
        newer = torch.func.hessian(lambda x: case.expected(x)[0])(row)
        assert torch.allclose(older, newer, atol=1e-9 * newer.abs().max().item())


def test_through_the_encoding_and_compiled():
    encoding = amplitude_encoding(2, is_complex=True)
    circuit = encoding.circuit.compose(real_amplitudes(2, reps=1))
    module = TorchQuantumModule(circuit, "XZ", input_params=encoding.parameters, seed=1)
    given = torch.randn(3, 4, dtype=torch.complex64, requires_grad=True)

    def loss(vectors: torch.Tensor) -> torch.Tensor:
        return module(encoding(vectors)).sum()

    eager = loss(given)
    (expected,) = torch.autograd.grad(eager, given)
    compiled = torch.compile(loss, backend="aot_eager")(given)
    (found,) = torch.autograd.grad(compiled, given)
    assert torch.allclose(eager, compiled) and torch.allclose(expected, found, atol=1e-6)
    assert torch.autograd.gradcheck(
        encoding, torch.randn(2, 4, dtype=torch.complex128, requires_grad=True)
    )


def test_states_of_half_the_precision_and_rows_on_several_threads(monkeypatch):
    case = Case(2, further=1)
    points = case.points(70)
    exact = gradients(case.module(), points)
    scale = np.abs(exact[1]).max(-1, keepdims=True)
    single = gradients(case.module(estimator=Exact(dtype="complex64")), points)
    assert np.abs(single[0] - exact[0]).max() < 1e-5
    assert (np.abs(single[1] - exact[1]) < 1e-4 * (1 + scale)).all()
    monkeypatch.setattr(threads, "count_threads", lambda: 2)
    monkeypatch.setattr(
        "qiskit_torch_bridge.simulation.statevector.simulator.count_threads", lambda: 2
    )
    monkeypatch.setattr("qiskit_torch_bridge.simulation.statevector.simulator.SMALL_WORK", 1)
    for shared in (1 << 40, 1):  # rows of their own, or one state together
        monkeypatch.setattr(
            "qiskit_torch_bridge.simulation.statevector.simulator.SHARED_STATE", shared
        )
        again = gradients(case.module(), points)
        assert all(
            np.allclose(a, b, rtol=1e-12, atol=1e-12) for a, b in zip(exact, again, strict=True)
        )


@pytest.mark.parametrize("gradient", ["adjoint", "parameter-shift"])
def test_expressions_roles_and_preparations_beside_each_other(gradient):
    """Amplitudes that are weights, occur twice, in other gates, in expressions, or are numbers."""
    x, w, t = ParameterVector("x", 3), ParameterVector("w", 3), Parameter("t")
    circuit = QuantumCircuit(5)
    circuit.append(AmplitudePreparation([x[0], 2 * x[1] - w[0], 0.0, x[1] * x[2]]), [0, 3])
    circuit.append(AmplitudePreparation([w[0], w[1].sin(), 0.5, x[0]], is_complex=True), [1])
    circuit.append(AmplitudePreparation([1.0, t, 0.0, w[2]]), [2, 4])
    circuit.ry(x[0] + w[1], 0)
    for q in range(4):
        circuit.cx(q, q + 1)
        circuit.rx(t * w[2], q)
    operator = SparsePauliOp(["XZIYX", "ZZXII"], [1.0, 0.3])
    module = TorchQuantumModule(
        circuit,
        operator,
        input_params=x,
        initial_weights=[0.5, -0.25, 0.75, 0.0],
        gradient=gradient,
    ).double()

    def expected(x_values: torch.Tensor, weights: torch.Tensor) -> float:
        order = dict(zip(module.program.weight_params, weights.tolist(), strict=True))
        bound = circuit.assign_parameters({**order, **dict(zip(x, x_values.tolist(), strict=True))})
        return float(Statevector(bound).expectation_value(operator).real)

    points = torch.tensor([[0.3, -0.2, 0.9], [1.0, 0.5, 0.0]]).double()
    for point, value in zip(points, module(points), strict=True):
        assert value.item() == pytest.approx(expected(point, module.weight), abs=1e-12)

    def call(inputs: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(module, {"weight": weights}, (inputs,))

    weights = module.weight.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(call, (points.clone().requires_grad_(), weights))
    assert torch.autograd.gradgradcheck(call, (points.clone().requires_grad_(), weights))


# -- estimators and samplers ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "estimator",
    [
        StatevectorEstimator,
        BatchedStatevectorEstimator,
        lambda: AerEstimator(options={"default_precision": 0.0}),
    ],
    ids=["qiskit", "ours", "aer"],
)
@pytest.mark.parametrize("gradient", ["parameter-shift", "adjoint"])
def test_estimators_agree_with_the_exact_engine(case, estimator, gradient):
    points = case.points(4)
    points[3] = torch.eye(points.shape[1])[1]
    found = gradients(case.module(estimator=estimator(), gradient=gradient), points)
    for a, b in zip(found, gradients(case.module(), points), strict=True):
        assert np.abs(a - b).max() < 1e-11 * (1 + np.abs(b).max())


@pytest.mark.parametrize("level", [1, 3])
def test_on_a_backend_and_transpiled(level):
    case = Case(2, is_complex=True)
    manager = generate_preset_pass_manager(level, GenericBackendV2(4, seed=1), seed_transpiler=2)
    points = case.points(4)
    module = case.module(
        estimator=StatevectorEstimator(), gradient="parameter-shift", pass_manager=manager
    )
    for a, b in zip(gradients(module, points), gradients(case.module(), points), strict=True):
        assert np.abs(a - b).max() < 1e-10 * (1 + np.abs(b).max())
    assert "amplitudes" not in str(module.isa_circuit.count_ops())


def test_other_rules_displace_amplitudes_as_any_parameters():
    case = Case(2)
    points = case.points(1)
    points = points / points.norm()
    exact = gradients(case.module(), points)
    found = gradients(case.module(gradient="finite-difference"), points)
    assert np.abs(found[1] - exact[1]).max() < 1e-6
    spsa = gradients(case.module(gradient="spsa", seed=3), points)
    assert np.isfinite(spsa[1]).all()
    with pytest.raises(GradientError, match="is an amplitude of a state"):
        gradients(case.module(gradient="aqgd"), points)


def test_two_evaluations_for_each_component_and_angle():
    case = Case(2)
    estimator = CountingEstimator()
    module = case.module(estimator=estimator, gradient="parameter-shift")
    gradients(module, case.points(3))
    assert estimator.runs == [[(2, 3)], [(2, 3 * 2 * (4 + 4))]]


def test_probabilities_from_samples():
    case = Case(2)
    points = case.points(4)[:2]
    shots = 40_000
    exact = case.module(observables=Probabilities([1]))
    sampled = case.module(
        observables=Probabilities([1]), estimator=BatchedStatevectorSampler(seed=5), shots=shots,
        gradient="parameter-shift",
    )  # fmt: skip
    values, slopes, _ = gradients(sampled, points)
    expected, expected_slopes, _ = gradients(exact, points)
    assert np.abs(values - expected).max() < 6 * 0.5 / np.sqrt(shots)
    # Two evaluations, each times at most one over the norm, of two outcomes with weights up to two.
    bound = 6 * np.sqrt(2) * 3 / np.sqrt(shots) / points.norm(dim=-1, keepdim=True).numpy()
    assert (np.abs(slopes - expected_slopes) < bound).all()
    assert sampled.sample(points, shots=10).bits.shape == (2, 10, 1)
    assert (exact.most_likely(points) == exact.sample(points, shots=999).most_frequent).all()


def test_standard_errors_of_shifted_vectors():
    case = Case(1)
    module = case.module(
        estimator=StatevectorEstimator(), precision=0.02, gradient="parameter-shift"
    )
    point = torch.tensor([[0.6, 0.8]]).double().expand(400, 2).clone().requires_grad_()
    cotangent = torch.tensor([-1.0, 2.0]).double()
    (slopes,) = torch.autograd.grad(((module(point) - 0) @ cotangent).sum(), point)
    exact = point[:1].detach().requires_grad_()
    (expected,) = torch.autograd.grad((case.module()(exact) @ cotangent).sum(), exact)
    sigma = 0.02 * np.sqrt(2 * 5) * (2 - np.array([0.6, 0.8]) ** 2) / 2
    assert (np.abs((slopes.mean(0) - expected[0]).numpy()) < 6 * sigma / 20).all()
    assert (np.abs(slopes.std(0).numpy() / sigma - 1) < 6 / np.sqrt(2 * 400)).all()


# -- what other packages have ---------------------------------------------------------------------


def raw_features() -> QuantumCircuit:
    """Return the circuit of four features, by the function or by the class that was before it."""
    library = pytest.importorskip("qiskit_machine_learning.circuit.library")
    make = getattr(library, "RawFeatureVector", None) or library.raw_feature_vector
    found = QuantumCircuit(2)
    return found.compose(make(4))


def test_raw_feature_vector_of_qiskit_machine_learning():
    networks = pytest.importorskip("qiskit_machine_learning.neural_networks")
    features = raw_features()
    ansatz = real_amplitudes(2, reps=1)
    inputs = list(features.parameters)
    nested = QuantumCircuit(2)
    nested.append(features.to_instruction(), [0, 1])
    for circuit in (features.compose(ansatz), nested.compose(ansatz)):
        ours = [p for p in circuit.parameters if p.name in {q.name for q in inputs}]
        network = networks.EstimatorQNN(
            circuit=features.compose(ansatz),
            input_params=inputs,
            weight_params=ansatz.parameters,
            observables=[SparsePauliOp("ZX")],
            estimator=StatevectorEstimator(),
            default_precision=0.0,
        )
        weights = np.array([-1.0, -0.25, 0.5, 1.0])
        points = vectors(np.random.default_rng(0), 8, 4)
        module = TorchQuantumModule(
            circuit, "ZX", input_params=ours, initial_weights=weights
        ).double()
        found = module(torch.tensor(points)).detach().numpy()
        assert np.abs(found - network.forward(points, weights)).max() < 1e-6
    converted = TorchQuantumModule.from_qnn(network, estimator=Exact()).double()
    with torch.no_grad():
        converted.weight.copy_(torch.tensor(weights))
    assert np.allclose(converted(torch.tensor(points)).detach().numpy(), found, atol=1e-12)
    assert gradients(converted, torch.eye(4).double())[1].any()


@pytest.mark.skipif(not hasattr(QuantumCircuit, "box"), reason="Qiskit 2 has boxes")
def test_preparations_in_boxes():
    x = ParameterVector("x", 2)
    circuit = QuantumCircuit(2)
    with circuit.box():
        circuit.append(AmplitudePreparation(x), [1])
    circuit.cx(1, 0)
    point = torch.tensor([[0.6, -0.8]]).double()
    exact, shifted = (
        gradients(
            TorchQuantumModule(circuit, "XX", input_params=x, gradient=gradient).double(), point
        )
        for gradient in ("adjoint", "parameter-shift")
    )
    assert exact[0].item() == pytest.approx(-0.96)
    assert np.allclose(exact[1], shifted[1], atol=1e-12)


def test_raw_feature_vectors_in_the_middle_reset_their_qubits():
    features = raw_features()
    circuit = QuantumCircuit(3)
    circuit.rx(0.3, 2)
    circuit.cx(2, 0)
    circuit.compose(features, [0, 1], inplace=True)
    circuit.cx(0, 1)
    observables = ["ZII", "IXX", "IZI"]
    values = torch.tensor([[0.5, 1.0, 0.0, -2.0]]).double()
    state = QuantumCircuit(2)
    state.initialize((values[0] / values.norm()).numpy(), [0, 1])
    state.cx(0, 1)
    known = [Statevector(state).expectation_value(SparsePauliOp(o)).real for o in ("XX", "ZI")]
    expected = np.array([np.cos(0.3), *known])
    modules = [
        TorchQuantumModule(
            circuit, observables, input_params=circuit.parameters, **options
        ).double()
        for options in ({}, {"gradient": "parameter-shift"})
    ]
    slopes = []
    for module in modules:
        assert np.abs(module(values)[0].detach().numpy() - expected).max() < 1e-12
        slopes.append(gradients(module, values)[1])
    assert np.abs(slopes[0] - slopes[1]).max() < 1e-12


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"estimator": StatevectorEstimator()}], ids=["exact", "qiskit"]
)
@pytest.mark.parametrize("bad", [0.0, float("nan"), float("inf")])
def test_rows_without_a_direction_are_named(options, bad):
    case = Case(2)
    points = case.points(4)
    points[2] = bad
    with pytest.raises(InputError, match="row 2 has"):
        case.module(gradient="parameter-shift" if options else None, **options)(points)
    with pytest.raises(InputError, match="row 2 is (zero|not finite)"):
        case.encoding(points)


def test_vectors_of_other_sizes_and_kinds():
    encoding = amplitude_encoding(2)
    with pytest.raises(InputError, match=r"shape \(\.\.\., 4\).*padded with pad=True"):
        encoding(torch.ones(2, 3))
    with pytest.raises(InputError, match="with at most 4 components"):
        amplitude_encoding(2, pad=True)(torch.ones(2, 5))
    with pytest.raises(InputTypeError, match="is_complex=True"):
        encoding(torch.ones(2, 4, dtype=torch.complex64))
    with pytest.raises(InputTypeError, match="torch.Tensor"):
        encoding(np.ones((2, 4)))  # type: ignore[arg-type]
    padded = amplitude_encoding(2, pad=True)(torch.tensor([[3, 0, 4]]))
    assert torch.allclose(padded, torch.tensor([[0.6, 0.0, 0.8, 0.0]]))
    both = amplitude_encoding(1, is_complex=True)
    assert torch.allclose(both(torch.tensor([3.0, 4.0j])), torch.tensor([0.6, 0.0, 0.0, 0.8]))
    assert torch.allclose(both(torch.tensor([3.0, 4.0])), torch.tensor([0.6, 0.8, 0.0, 0.0]))


def test_preparations_are_first_on_their_qubits_and_not_controlled():
    x = ParameterVector("x", 2)
    late = QuantumCircuit(2)
    late.h(0)
    late.append(AmplitudePreparation(x), [0])
    with pytest.raises(CircuitError, match="'amplitudes' prepares amplitudes on qubits that other"):
        AnalysedCircuit(late)
    inside = QuantumCircuit(2, 1)
    inside.measure(0, 0)
    with inside.if_test((inside.clbits[0], 1)):
        inside.append(AmplitudePreparation(x), [1])
    with pytest.raises(CircuitError, match="'if_else' prepares amplitudes"):
        AnalysedCircuit(inside)
    part = QuantumCircuit(1, name="part")
    part.append(AmplitudePreparation(x), [0])
    controlled = QuantumCircuit(2)
    controlled.append(part.to_gate().control(1, annotated=True), [0, 1])
    with pytest.raises(CircuitError, match="inverts, repeats or controls a preparation"):
        AnalysedCircuit(controlled)
    for wrong in ([x[0]], [x[0], x[1], 1.0], [x[0], "a"], [0.0, 0.0]):
        with pytest.raises(CircuitError, match="Expected amplitudes"):
            AmplitudePreparation(wrong)


def test_other_methods_and_gradients_refuse():
    case = Case(2)
    for method in ("light-cones", "columns"):
        with pytest.raises(CircuitError, match="prepares amplitudes that are parameters"):
            case.module(estimator=Exact(method=method))
    from qiskit_algorithms.gradients import SPSAEstimatorGradient

    with pytest.raises(GradientError, match="prepares amplitudes that are parameters"):
        case.module(gradient=SPSAEstimatorGradient(StatevectorEstimator(), epsilon=0.1))
    manager = generate_preset_pass_manager(1)
    with pytest.raises(CircuitError, match="no pass manager knows"):
        case.module(pass_manager=manager)


def test_many_qubits_beside_the_encoded_ones_are_no_obstacle():
    """Automatic choices look at no other method, though light cones would be small."""
    x = ParameterVector("x", 4)
    circuit = QuantumCircuit(14)
    circuit.append(AmplitudePreparation(x), [0, 13])
    for q in range(13):
        circuit.rzz(Parameter(f"w{q}"), q, q + 1)
        circuit.ry(0.3, q)
    module = TorchQuantumModule(circuit, "Z" + "I" * 13, input_params=x, seed=1)
    assert module(torch.ones(2, 4)).shape == (2, 1)


# -- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"estimator": StatevectorEstimator(), "gradient": "parameter-shift"}]
)
def test_programs_come_back_from_files(case, options, tmp_path):
    module = case.module(**options)
    points = case.points(3)
    expected = gradients(module, points)
    for again in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert all(map(np.array_equal, gradients(again, points), expected))
    saved = CircuitProgram.from_state(module.program.to_state())
    assert saved == module.program and hash(saved) == hash(module.program)
    other = Case(2, is_complex=not case.is_complex).module()
    assert other.program != module.program
    fresh = case.module(**options)
    with torch.no_grad():
        fresh.weight.zero_()
    fresh.load_state_dict(module.state_dict())
    assert np.array_equal(fresh(points).detach(), expected[0])
    save_checkpoint(tmp_path / "saved", model=module)
    load_checkpoint(tmp_path / "saved", model=fresh)
    rotated = pickle.loads(pickle.dumps(module.program.with_rotations))
    assert [v.angles for v in rotated.analysed.encoded] != []
    assert rotated == module.program.with_rotations


def test_bound_circuits_are_qiskits_own():
    case = Case(2, is_complex=True)
    module, points = case.module(), case.points(2)
    bound = module.bind(points)
    for circuit, value in zip(bound, module(points), strict=True):
        assert "state_preparation" in circuit.count_ops()
        expected = [Statevector(circuit).expectation_value(o).real for o in case.observables]
        assert np.allclose(value.detach(), expected, atol=1e-12)
    left = module.to_circuit()
    assert set(left.parameters) == set(case.encoding.parameters)
    drawn = str(case.encoding.draw("text"))
    assert "Amplitudes of x" in drawn and "x[3]" not in drawn
    assert repr(case.encoding) == "AmplitudeEncoding(qubits=2, complex amplitudes)"


def test_fidelities_with_what_is_encoded():
    encoding = amplitude_encoding(2)
    target = Statevector([0.5, 0.5, -0.5, 0.5])
    module = TorchQuantumModule(
        encoding.circuit, Fidelity(target), input_params=encoding.parameters
    )
    given = torch.tensor([[1.0, 2.0, 0.0, -1.0]]).double().requires_grad_()
    found = module.double()(given)
    expected = (given @ torch.tensor(target.data.real)) ** 2 / (given * given).sum()
    assert torch.allclose(found, expected)
    ours, theirs = (torch.autograd.grad(f.sum(), given)[0] for f in (found, expected))
    assert torch.allclose(ours, theirs)
