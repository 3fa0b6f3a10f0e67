# SPDX-License-Identifier: Apache-2.0
"""Observables that name projectors: right wherever they are evaluated, and never written as Paulis.

Values are compared with matrices, derivatives with those of the same operator as Pauli strings,
which the engine computes in another way. All are of size one, and sums of at most some hundred
products of numbers in double precision, hence 1e-12.
"""

from __future__ import annotations

import functools
import itertools
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from estimators import CountingEstimator
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit, generate_preset_pass_manager, quantum_info
from qiskit.circuit import ParameterVector
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp, Statevector
from qiskit_aer.primitives import EstimatorV2 as AerEstimator
from qiskit_algorithms.gradients import DerivativeType, ParamShiftEstimatorGradient
from qiskit_ibm_runtime import EstimatorV2 as RuntimeEstimator
from test_batched_estimator_noise import assert_normal

from qiskit_torch_bridge import CircuitProgram, TorchQuantumModule, expectation
from qiskit_torch_bridge.exceptions import ObservableError
from qiskit_torch_bridge.gradients import AdjointEstimatorGradient, AQGDEstimatorGradient
from qiskit_torch_bridge.jobs import DispatchingEstimator
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator
from qiskit_torch_bridge.program.operators import ProductOperator, same_operator
from qiskit_torch_bridge.simulation.statevector import StatevectorSimulator, simulator
from qiskit_torch_bridge.simulation.statevector.projections import count_amplitudes

EXACT = 1e-12
ROOT = 0.5**0.5
STATES = {
    "0": [1, 0],
    "1": [0, 1],
    "+": [ROOT, ROOT],
    "-": [ROOT, -ROOT],
    "r": [ROOT, 1j * ROOT],
    "l": [ROOT, -1j * ROOT],
}
MATRICES = {letter: np.outer(s, np.conj(s)) for letter, s in STATES.items()} | {
    "I": np.eye(2),
    "X": np.array([[0, 1], [1, 0]]),
    "Y": np.array([[0, -1j], [1j, 0]]),
    "Z": np.diag([1.0, -1.0]),
}


def matrix_of(terms: dict[str, float]) -> np.ndarray:
    products = [functools.reduce(np.kron, [MATRICES[c] for c in label]) for label in terms]
    return sum(c * m for c, m in zip(terms.values(), products, strict=True))


def mixed_circuit(rng: np.random.Generator, num_qubits: int, gates: int) -> QuantumCircuit:
    """Rotations among Clifford gates, which conjugate what is observed; some qubits idle."""
    circuit, w = QuantumCircuit(num_qubits), ParameterVector("w", 5)
    for k in range(gates):
        a, b = rng.choice(num_qubits, 2, replace=False).tolist()
        if k % (gates // 5) == 0 and k < 5 * (gates // 5):
            (circuit.rx, circuit.ry, circuit.rz)[k % 3](w[k // (gates // 5)], a)
        elif rng.random() < 0.4:
            (circuit.h, circuit.s, circuit.sx)[rng.integers(3)](a)
        else:
            (circuit.cx, circuit.cz, circuit.swap)[rng.integers(3)](a, b)
    return circuit


def terms_of(rng: np.random.Generator, num_qubits: int, count: int) -> dict[str, float]:
    letters = list("IXYZ" + "01+-rl" * 2)
    labels = ["".join(rng.choice(letters, num_qubits)) for _ in range(count)]
    return dict(zip(labels, rng.normal(size=count).tolist(), strict=True))


def as_strings(terms: dict[str, float]) -> SparsePauliOp:
    return ProductOperator.from_list(terms.items()).expanded()


def derivatives(circuit: QuantumCircuit, observables: Any, at: torch.Tensor) -> list[torch.Tensor]:
    """Values, gradients, tangents and Hessian-vector products of one function."""
    program = CircuitProgram(circuit, observables)
    w, weights = at.clone().requires_grad_(), torch.tensor([0.3, -0.8, 1.1], dtype=at.dtype)
    y = expectation(program, weights=w)
    weighed = (weights * y).sum()
    (gradient,) = torch.autograd.grad(weighed, w, create_graph=True)
    (product,) = torch.autograd.grad(gradient, w, torch.ones_like(gradient))
    _, tangent = torch.func.jvp(
        lambda v: expectation(program, weights=v), (at,), (torch.ones_like(at),)
    )
    return [y.detach(), gradient.detach(), product, tangent]


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(4, 7), st.sampled_from([5, 20, 40]))
def test_all_derivatives_of_any_product(seed: int, num_qubits: int, gates: int) -> None:
    rng = np.random.default_rng(seed)
    circuit = mixed_circuit(rng, num_qubits, gates)
    observables = [terms_of(rng, num_qubits, count) for count in (1, 2, 5)]
    at = torch.from_numpy(rng.uniform(-3, 3, circuit.num_parameters))
    found = derivatives(circuit, observables, at)
    state = Statevector(circuit.assign_parameters(at.numpy())).data
    right = [np.vdot(state, matrix_of(o) @ state).real for o in observables]
    np.testing.assert_allclose(found[0], right, rtol=0, atol=EXACT)
    expected = derivatives(circuit, [as_strings(o) for o in observables], at)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=EXACT * 10)


@given(st.integers(0, 2**32 - 1))
def test_the_strings_that_a_product_stands_for(seed: int) -> None:
    terms = terms_of(np.random.default_rng(seed), 4, 3)
    np.testing.assert_allclose(as_strings(terms).to_matrix(), matrix_of(terms), atol=1e-15)


@pytest.mark.parametrize("dtype", ["complex128", "complex64"])
@pytest.mark.parametrize("rows", [1, 37])
@pytest.mark.parametrize("way", [{"SHARED_STATE": 0, "CACHED_NUMBERS": 1 << 20}, {}])
def test_threads_and_rows_side_by_side(
    way: dict[str, int], rows: int, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(rows)
    circuit = mixed_circuit(rng, 6, 30)
    observables = [terms_of(rng, 6, 4), {"0" * 6: 1.0}, {"+" * 6: 1.0, "ZZXXYY": 0.5}]
    x, c = rng.uniform(-3, 3, (rows, 5)), rng.normal(size=(rows, 3))
    dx, dc, w = rng.normal(size=(rows, 5)), rng.normal(size=(rows, 3)), np.zeros((1, 0))
    for name, number in {"SMALL_WORK": 0, **way}.items():
        monkeypatch.setattr(simulator, name, number)
    monkeypatch.setattr(simulator, "count_threads", lambda: 2)
    found = []
    for given_as in (dict, as_strings):
        program = CircuitProgram(circuit, [given_as(o) for o in observables])
        s = StatevectorSimulator(program.analysed, program.readout, range(5), (), dtype)
        found.append(
            [
                s.evaluate(x, w)[0],
                s.vjp(x, w, c)[0],
                s.tangent(x, w, dx, w),
                s.vjp_tangent(x, w, c, dx, w, dc)[0],
            ]
        )
    rounding = EXACT * 10 if dtype == "complex128" else 2e-5  # 30 gates and 64 products of 6e-8
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=rounding)


def layered(num_qubits: int, kind: str) -> QuantumCircuit:
    """The ansatz of QAOA, whose Hadamard gates turn each Z into X, or of rotations alone."""
    circuit, w = QuantumCircuit(num_qubits), ParameterVector("w", 2)
    if kind == "QAOA":
        circuit.h(range(num_qubits))
    for q in range(num_qubits):
        circuit.rzz(w[0], q, (q + 1) % num_qubits)
    circuit.rx(w[1], range(num_qubits))
    return circuit


@pytest.mark.parametrize("letters", ["01", "+-", "rl"])
@pytest.mark.parametrize("kind", ["QAOA", "rotations"])
def test_all_outcomes_cost_a_state(kind: str, letters: str) -> None:
    """A thousand projectors of ten qubits look at each amplitude once, in any basis.

    Where the state has a symmetry, half of the amplitudes are left, and half of the projectors.
    """
    circuit = layered(10, kind)
    labels = ["".join(letter) for letter in itertools.product(letters, repeat=10)]
    program = CircuitProgram(circuit, labels)
    s = StatevectorSimulator(program.analysed, program.readout, (), range(2))
    symmetric = (kind, letters) == ("QAOA", "+-")
    assert s.tape.num_bits == (9 if symmetric else 10)
    assert count_amplitudes(s.sums.projections) == 1 << s.tape.num_bits
    assert not len(s.sums.paulis.entries)
    found = expectation(program, weights=torch.tensor([0.4, 0.7], dtype=torch.float64))
    turned = circuit.assign_parameters([0.4, 0.7])
    for q in range(10):
        if letters == "rl":
            turned.sdg(q)
        if letters != "01":
            turned.h(q)
    np.testing.assert_allclose(found, Statevector(turned).probabilities(), rtol=0, atol=EXACT)


@pytest.mark.parametrize("label", ["0" * 20, "+" * 20, "0" * 10 + "ZZ" + "r" * 8])
def test_a_product_of_twenty_is_one_term(label: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Paulis it would be 2**18 or 2**20 of them, 48 bytes each."""
    circuit = layered(20, "QAOA")
    tracemalloc.start()
    program = CircuitProgram(circuit, label)
    s = StatevectorSimulator(program.analysed, program.readout, (), range(2))
    program.to_state()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(program.observables[0]) == len(s.sums.projections.terms) == 1
    assert count_amplitudes(s.sums.projections) <= 1 << 20
    assert peak < 4 << 20


def test_an_energy_with_a_penalty_for_some_outcomes() -> None:
    """Projectors beside Paulis in one operator, and a derivative by a shift of what is sampled."""
    circuit = layered(6, "QAOA")
    operator = {"000000": 3.0, "111111": 3.0, "ZZIIII": -1.0, "IIZZII": -1.0}
    module = TorchQuantumModule(circuit, operator, initial_weights=[0.3, 0.9]).double()
    module().sum().backward()
    shifted = TorchQuantumModule(
        circuit, operator, estimator=StatevectorEstimator(), initial_weights=module.weight.detach()
    ).double()
    shifted().sum().backward()
    torch.testing.assert_close(module.weight.grad, shifted.weight.grad, rtol=0, atol=1e-10)


@pytest.mark.parametrize("shots", [40, 3000])
def test_shots_of_products(shots: int) -> None:
    """Means and standard errors are those of outcomes that are drawn once for all of a basis."""
    rng = np.random.default_rng(5)
    circuit = mixed_circuit(rng, 5, 30).assign_parameters(rng.uniform(-2, 2, 5))
    observables = [{"0Z10Z": 1.0}, {"11Z0Z": 2.0}, {"0110I": 1.0, "ZIIII": 0.5}, {"+-rlX": 1.0}]
    matrices = [matrix_of(o) for o in observables]
    state = Statevector(circuit).data
    mean = np.array([np.vdot(state, m @ state).real for m in matrices])
    square = np.array([np.vdot(state, m @ m @ state).real for m in matrices])
    rows = 2000
    estimator = BatchedStatevectorEstimator(default_precision=shots**-0.5, seed=2)
    pub = (circuit, [[o] for o in observables], np.zeros((rows, 0)))
    data = estimator.run([pub]).result()[0].data
    one_shot = np.sqrt(square - mean**2)
    assert_normal((data.evs.mean(1) - mean) / (one_shot / np.sqrt(shots * rows)))
    variances = (data.stds**2).mean(1) * shots
    error = (data.stds**2).std(1) * shots / np.sqrt(rows)
    assert_normal((variances - one_shot**2) / error)


def test_outcomes_of_many_qubits_are_one_group() -> None:
    labels = ["0" * 14, "1" * 14, "0" * 13 + "Z", "01" * 7]
    circuit = layered(14, "rotations").assign_parameters([0.3, 0.1])
    module = TorchQuantumModule(circuit, labels, shots=200, seed=1)
    assert module.cost(backward=False).usage.circuits == 1
    exact = TorchQuantumModule(circuit, labels)()
    # Standard errors of frequencies of 200 shots, five of them.
    assert (module() - exact).abs().max() < 5 * 0.5 / 200**0.5


class Remote(RuntimeEstimator):
    """An estimator of the service, as far as it can be known here: it notes what it is sent."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def run(self, pubs: Any, *, precision: float | None = None) -> Any:
        self.sent += [pub[1] if isinstance(pub, tuple) else pub.observables for pub in pubs]
        return BatchedStatevectorEstimator().run(pubs, precision=precision)


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_service_gets_the_label(wrapped: bool) -> None:
    remote = Remote()
    estimator = DispatchingEstimator(remote) if wrapped else remote
    circuit = layered(20, "rotations")
    labels = {"0" * 20: 1.0, "Z" * 19 + "+": 0.5}
    TorchQuantumModule(circuit, labels, estimator=estimator)()
    if wrapped:
        estimator.run([(circuit, labels, [0.1, 0.2])]).result()
    assert len(remote.sent) == 1 + wrapped
    for array in remote.sent:
        assert np.ravel(array.tolist()).tolist() == [labels]


@pytest.mark.parametrize("estimator", [StatevectorEstimator, AerEstimator])
def test_qiskits_own_estimators_get_paulis(estimator: Any) -> None:
    """They take nothing else; what would be too many is refused before anything runs."""
    rng = np.random.default_rng(3)
    circuit = mixed_circuit(rng, 5, 20)
    terms = terms_of(rng, 5, 3)
    module = TorchQuantumModule(circuit, terms, estimator=estimator(), seed=4).double()
    exact = TorchQuantumModule(circuit, terms, initial_weights=module.weight.detach()).double()
    torch.testing.assert_close(module(), exact(), rtol=0, atol=1e-10)
    counting = CountingEstimator(estimator())
    wide = TorchQuantumModule(layered(20, "rotations"), "0" * 20, estimator=counting)
    with pytest.raises(ObservableError, match=r"at least 2\*\*20 Pauli strings.*exact engine"):
        wide()
    assert not counting.runs


@pytest.mark.parametrize("kind", [AdjointEstimatorGradient, AQGDEstimatorGradient])
def test_gradients_of_their_own(kind: Any) -> None:
    """Also the imaginary part, of which the adjoint gradient is capable."""
    rng = np.random.default_rng(7)
    circuit, point = mixed_circuit(rng, 5, 25), rng.uniform(-2, 2, 5)
    label = ProductOperator.from_list([("0Z+1r", 1.0)])
    expanded = label.expanded()
    gradient = kind(BatchedStatevectorEstimator())
    found = gradient.run([circuit, circuit], [label, expanded], [point, point]).result().gradients
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=EXACT)
    theirs = ParamShiftEstimatorGradient(StatevectorEstimator())
    right = theirs.run([circuit], [expanded], [point]).result().gradients[0]
    np.testing.assert_allclose(found[0], right, rtol=0, atol=1e-10)
    if kind is AdjointEstimatorGradient:
        gradient.derivative_type = DerivativeType.COMPLEX
        job = gradient.run([circuit, circuit], [label, expanded], [point, point])
        np.testing.assert_allclose(*job.result().gradients, rtol=0, atol=EXACT)


def test_transpiled_circuits_and_idle_qubits() -> None:
    rng = np.random.default_rng(11)
    circuit, terms = mixed_circuit(rng, 4, 20), {"0+1Z": 1.0, "1XI0": -0.5, "----": 0.3}
    manager = generate_preset_pass_manager(
        1,
        basis_gates=["rz", "sx", "cx"],
        coupling_map=[[k, k + 1] for k in range(6)],
        initial_layout=[5, 2, 3, 4],
    )
    w = torch.from_numpy(rng.uniform(-2, 2, 5))
    right = expectation(CircuitProgram(circuit, terms), weights=w)
    for program in (
        CircuitProgram(manager.run(circuit), terms),
        CircuitProgram(circuit, terms).rewritten(manager.run),
        CircuitProgram(circuit, terms).rewritten(manager.run).without_idle_qubits()[0],
    ):
        torch.testing.assert_close(expectation(program, weights=w), right, rtol=0, atol=EXACT)
    idle = QuantumCircuit(7)
    idle.ry(1.0, 1)
    terms = {"0+0Z00I": 1.0, "000000I": 1.0, "00100ZI": 4.0}
    (result,) = BatchedStatevectorEstimator().run([(idle, terms)]).result()
    assert float(result.data.evs) == pytest.approx(1.5 * np.cos(0.5) ** 2, abs=EXACT)


def forms() -> Iterator[Any]:
    terms = {"0+1Z": 0.5, "YYII": -1.0}
    yield terms
    yield ProductOperator.from_list(terms.items())
    if hasattr(quantum_info, "SparseObservable"):
        yield quantum_info.SparseObservable.from_list(list(terms.items()))


@pytest.mark.parametrize("given_as", list(forms()))
def test_forms_and_saved_states(given_as: Any) -> None:
    circuit = layered(4, "QAOA")
    program = CircuitProgram(circuit, given_as)
    (operator,) = program.observables
    assert sorted(operator.to_list()) == [("0+1Z", 0.5), ("YYII", -1.0)]
    assert CircuitProgram.from_state(program.to_state()) == program
    written_out = CircuitProgram(circuit, operator.expanded())
    assert program == written_out  # as earlier versions have saved it
    assert program != CircuitProgram(circuit, {"0+1Z": 0.5, "YYII": -1.1})
    assert not same_operator(operator, ProductOperator.from_list([("0" * 40, 1.0)]))
    array = BatchedStatevectorEstimator().run([(circuit, given_as, [0.1, 0.2])]).result()[0]
    w = torch.tensor([0.1, 0.2], dtype=torch.float64)
    assert float(array.data.evs) == pytest.approx(expectation(program, weights=w).item(), abs=EXACT)


def test_equal_terms_are_added_up() -> None:
    operator = ProductOperator.from_list([("0+", 1.0), ("II", 0.5), ("0+", 0.25)])
    (found,) = CircuitProgram(QuantumCircuit(2), operator).observables
    assert found.to_list() == [("0+", 1.25), ("II", 0.5)]


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"0A": 1.0}, r"letters I, .*; got '.*A.*'"),
        ({"00": 1.0, "0": 1.0}, r"one length; got \[1, 2\]"),
        ({"00": 1j}, "Hermitian"),
        ({"00": 0.0}, "which is zero"),
        ({"00": float("nan")}, "not finite"),
        ("000", "on 2 qubits; got one on 3"),
    ],
)
def test_what_is_wrong_is_said(terms: Any, message: str) -> None:
    with pytest.raises(ObservableError, match=message):
        CircuitProgram(QuantumCircuit(2), terms)
