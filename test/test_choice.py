# SPDX-License-Identifier: Apache-2.0
"""Which method simulates a circuit, what is shown of it, and what is refused."""

from __future__ import annotations

import copy
import gc
import logging
import pickle
import tracemalloc
import weakref

import numpy as np
import pytest
import rustworkx as rx
import torch
from qiskit.circuit import ClassicalRegister, Parameter, ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from qiskit_torch_bridge import (
    CircuitProgram,
    Exact,
    Probabilities,
    State,
    TorchQuantumModule,
    expectation,
    memory,
)
from qiskit_torch_bridge.exceptions import CircuitError, MeasurementError, MemoryLimitError
from qiskit_torch_bridge.gradients import AdjointEstimatorGradient, AdjointSamplerGradient
from qiskit_torch_bridge.simulation import choice
from qiskit_torch_bridge.simulation.choice import METHODS, choose, make_simulator
from qiskit_torch_bridge.simulation.combined import CombinedSimulator
from qiskit_torch_bridge.simulation.cones import canonical
from qiskit_torch_bridge.simulation.networks import orders
from qiskit_torch_bridge.simulation.statevector import StatevectorSimulator

EXACT = {"rtol": 0, "atol": 1e-11}


def layers(width: int, depth: int, inputs: int = 0) -> QuantumCircuit:
    """Rotations and a chain of CX, again and again."""
    w = iter([*ParameterVector("x", inputs), *ParameterVector("w", 2 * width * depth - inputs)])
    circuit = QuantumCircuit(width)
    for _ in range(depth):
        for q in range(width):
            circuit.ry(next(w), q)
            circuit.rx(next(w), q)
        for q in range(width - 1):
            circuit.cx(q, q + 1)
    return circuit


def steps_of_qaoa(width: int, edges: list[tuple[int, int]], steps: int = 1) -> QuantumCircuit:
    w = iter(ParameterVector("w", 2 * steps))
    circuit = QuantumCircuit(width)
    circuit.h(range(width))
    for _ in range(steps):
        gamma = next(w)
        for a, b in edges:
            circuit.rzz(gamma, a, b)
        circuit.rx(next(w), range(width))
    return circuit


def ring(width: int) -> list[tuple[int, int]]:
    return [(q, (q + 1) % width) for q in range(width)]


def all_pairs(width: int) -> list[tuple[int, int]]:
    return [(a, b) for a in range(width) for b in range(a)]


def sums(width: int, *terms: tuple[str, list[int], float]) -> SparsePauliOp:
    return SparsePauliOp.from_sparse_list(list(terms), width)


def chosen(circuit: QuantumCircuit, observables=None, method: str = "automatic") -> str:
    p = CircuitProgram(circuit, observables)
    columns = p.input_columns, p.weight_columns
    return choose(method, p.analysed, p.readout, *columns).method


# -- choices ---------------------------------------------------------------------------------------


def test_small_circuits_are_taken_by_the_state_vector_without_a_look_at_others(monkeypatch):
    monkeypatch.setattr(choice, "PLANNERS", {"statevector": choice.PLANNERS["statevector"]})
    monkeypatch.setattr(choice, "_Comparison", None)
    for width in (1, 4, 8, 10):
        assert chosen(layers(width, 2)) == "statevector"
    p = CircuitProgram(layers(4, 2))
    arguments = p.analysed, p.readout, (), p.weight_columns
    assert isinstance(make_simulator("automatic", *arguments), StatevectorSimulator)


@pytest.mark.parametrize(
    ("circuit", "observables", "expected"),
    [
        (layers(60, 3), None, "columns"),
        (layers(100, 2), sums(100, ("Z" * 100, list(range(100)), 1.0)), "columns"),
        (
            steps_of_qaoa(100, [(q, (q * 37 + 11) % 100) for q in range(100)]),
            sums(100, *(("ZZ", [q, (q * 37 + 11) % 100], 1.0) for q in range(100))),
            "light-cones",
        ),
    ],
    ids=["chain", "parity", "sparse graph"],
)
def test_the_cheapest_method_is_taken(circuit, observables, expected: str) -> None:
    assert chosen(circuit, observables) == expected


def test_a_method_that_is_asked_for_is_taken() -> None:
    circuit = layers(4, 1)
    for method in METHODS[1:4]:
        assert chosen(circuit, method=method) == method


@pytest.mark.parametrize("method", METHODS[:4])
def test_methods_agree_wherever_a_method_is_given(method: str) -> None:
    """Module, functional form and gradient objects; values and gradients to rounding."""
    circuit = layers(6, 2, inputs=3)
    x = torch.tensor([[0.3, -0.4, 0.9], [1.1, 0.2, -2.0]], dtype=torch.float64)
    choices = {"input_params": circuit.parameters[-3:], "seed": 4}
    observables = ["ZZIIII", sums(6, ("XY", [0, 3], 0.5), ("Z", [5], 1.0))]
    found = []
    for exact in (Exact(method), Exact("statevector")):
        node = TorchQuantumModule(circuit, observables, estimator=exact, **choices).double()
        rows = x.clone().requires_grad_()
        y = node(rows)
        y.pow(2).sum().backward()
        same = expectation(node.program, x, node.weight, estimator=exact)
        torch.testing.assert_close(same, y, **EXACT)
        found.append((y.detach(), rows.grad, node.weight.grad))
    torch.testing.assert_close(*found, **EXACT)
    values = np.linspace(-2, 2, circuit.num_parameters)
    gradients = [
        AdjointEstimatorGradient(method=m).run([circuit], [observables[1]], [values]).result()
        for m in (method, "statevector")
    ]
    np.testing.assert_allclose(gradients[0].gradients, gradients[1].gradients, **EXACT)


@pytest.mark.parametrize("method", METHODS[:4])
def test_gradients_of_outcomes_agree(method: str) -> None:
    circuit = layers(5, 1)
    circuit.add_bits([])
    measured = circuit.copy()
    measured.measure_all()
    values = np.linspace(-2, 2, circuit.num_parameters)
    found, expected = (
        AdjointSamplerGradient(method=m).run([measured], [values]).result().gradients[0]
        for m in (method, "statevector")
    )
    for one, other in zip(found, expected, strict=True):
        outcomes = sorted(set(one) | set(other))
        np.testing.assert_allclose(
            [one.get(o, 0.0) for o in outcomes], [other.get(o, 0.0) for o in outcomes], **EXACT
        )


def test_parts_by_different_methods_add_up() -> None:
    """Local terms by light cones, long strings by columns, constants once: all derivatives."""
    width = 8
    circuit = layers(width, 2)
    operators = [
        sums(width, ("ZZ", [0, 1], 0.3), ("Z" * width, list(range(width)), -1.2), ("", [], 0.7)),
        sums(width, ("X", [5], 2.0)),
        sums(width, ("XYZXYZXY", list(range(width)), 0.4)),
    ]
    p = CircuitProgram(circuit, operators)
    arguments = p.analysed, p.readout, (), p.weight_columns
    comparison = choice._Comparison(choice.Arguments(*arguments, np.complex128), 1)
    comparison._part(p.readout, np.array([False, True, False, False, True]))
    (found, *_) = comparison.choices
    assert found.method == "light-cones+columns" and found.plan.estimate(1).operations > 0
    s, right = found.plan.compile(), make_simulator("statevector", *arguments)
    assert isinstance(s, CombinedSimulator)
    rng = np.random.default_rng(5)
    x, w = np.zeros((3, 0)), rng.normal(size=(3, circuit.num_parameters))
    c, dc, dw = rng.normal(size=(3, 3)), rng.normal(size=(3, 3)), rng.normal(size=w.shape)
    values, kept = s.evaluate(x, w, keep=True)
    np.testing.assert_allclose(values, right.evaluate(x, w)[0], **EXACT)
    expected = right.vjp(x, w, c)[1]
    np.testing.assert_allclose(s.vjp(x, w, c, kept)[1], expected, **EXACT)
    np.testing.assert_allclose(s.vjp(x, w, c)[1], expected, **EXACT)
    np.testing.assert_allclose(s.tangent(x, w, x, dw), right.tangent(x, w, x, dw), **EXACT)
    arguments = (x, w, c, x, dw, dc)
    second = s.vjp_tangent(*arguments)[1], right.vjp_tangent(*arguments)[1]
    np.testing.assert_allclose(*second, rtol=0, atol=1e-10)
    s.check_derivatives(x, w)
    with pytest.raises(MeasurementError, match="statevector"):
        s.states(x, w)


def test_a_long_string_among_local_terms_goes_to_another_method() -> None:
    """One step of QAOA on a random graph, and the parity of a chain of others beside it."""
    edges = list(rx.undirected_gnm_random_graph(100, 150, seed=3).edge_list())
    circuit = QuantumCircuit(160)
    circuit.compose(steps_of_qaoa(100, edges), range(100), inplace=True)
    chain = layers(60, 2).assign_parameters(np.linspace(0, 3, 240))
    circuit.compose(chain, range(100, 160), inplace=True)
    terms = [("ZZ", list(edge), 1.0) for edge in edges] + [("Z" * 60, list(range(100, 160)), 1.0)]
    observables = [sums(160, *some) for some in (terms, terms[:-1], terms[-1:])]
    nodes = [TorchQuantumModule(circuit, o, initial_weights=[0.4, 0.3]) for o in observables]
    assert "Exact(method='light-cones+columns')" in repr(nodes[0])
    assert "Exact(method='light-cones')" in repr(nodes[1])
    assert "Exact(method='columns')" in repr(nodes[2])
    whole, *parts = [node.double()() for node in nodes]
    torch.testing.assert_close(whole, parts[0] + parts[1], **EXACT)


def test_the_same_circuit_is_compared_once(monkeypatch) -> None:
    """Built again, it is taken by the method that was chosen, and nothing keeps it alive."""
    compared = []

    class Counted(choice._Comparison):
        def __init__(self, *arguments, **options) -> None:
            super().__init__(*arguments, **options)
            compared.append(self)

    monkeypatch.setattr(choice, "_Comparison", Counted)
    monkeypatch.setattr(choice, "_decisions", type(choice._decisions)(4))
    circuit = layers(30, 2)
    first = CircuitProgram(circuit)
    names = []
    for program in (first, CircuitProgram(circuit.copy())):
        arguments = program.analysed, program.readout, (), program.weight_columns
        names.append(choose("automatic", *arguments).method)
    assert names == ["columns"] * 2 and len(compared) == 1
    for other in (CircuitProgram(circuit, "Z" * 30), CircuitProgram(layers(30, 3))):
        choose("automatic", other.analysed, other.readout, (), other.weight_columns)
    assert len(compared) == 3
    gone = weakref.ref(first.analysed)
    del first, program, other, arguments
    compared.clear()
    gc.collect()
    assert gone() is None


def test_less_memory_than_before_is_noticed(monkeypatch) -> None:
    circuit = dense(12)
    assert chosen(circuit, "Z" * 12) == "statevector"
    monkeypatch.setattr(memory, "GRANTED", 0)
    monkeypatch.setattr(memory, "available", lambda: 1 << 10)
    with pytest.raises(MemoryLimitError):
        chosen(circuit, "Z" * 12)


# -- what is shown and kept ------------------------------------------------------------------------


def test_the_choice_is_shown_and_what_was_given_stays(caplog) -> None:
    with caplog.at_level(logging.INFO, "qiskit_torch_bridge"):
        node = TorchQuantumModule(layers(40, 2))
    logged = [r.getMessage() for r in caplog.records if "by method 'columns'" in r.getMessage()]
    assert len(logged) == 1 and "40 qubits" in logged[0] and "operations" in logged[0]
    assert node.execution.estimator is None
    assert "estimator=Exact(method='columns'), gradient=adjoint" in repr(node)
    one, many = node.cost().simulation, node.cost(8).simulation
    assert one.method == "columns" and 0 < one.operations < many.operations and one.bytes > 0
    single = TorchQuantumModule(layers(3, 1), estimator=Exact(dtype="complex64"))
    assert "Exact(method='statevector', dtype='complex64')" in repr(single)
    assert single.execution.estimator == Exact(dtype="complex64")
    assert TorchQuantumModule(layers(3, 1), shots=10).cost().simulation is None


def test_copies_and_pickles_make_the_same_choice() -> None:
    node = TorchQuantumModule(layers(40, 2), estimator=Exact("columns"), seed=1)
    y = node()
    for other in (copy.deepcopy(node), pickle.loads(pickle.dumps(node))):
        torch.testing.assert_close(other(), y, rtol=0, atol=0)
        assert "Exact(method='columns')" in repr(other)
        assert other.execution == node.execution


def test_a_module_moves_between_methods() -> None:
    node = TorchQuantumModule(layers(6, 1), seed=1)
    for method in METHODS[1:4]:
        moved = node.with_backend(estimator=Exact(method))
        torch.testing.assert_close(moved(), node(), rtol=0, atol=1e-6)
        assert f"method='{method}'" in repr(moved)


# -- refusals --------------------------------------------------------------------------------------


def dense(width: int) -> QuantumCircuit:
    """Two steps on all pairs: nothing is local, nothing is narrow."""
    return steps_of_qaoa(width, all_pairs(width), 2)


def test_what_no_method_has_the_memory_for_is_refused_before_anything_is_allocated() -> None:
    circuit = dense(45)
    pair = sums(45, ("ZZ", [0, 1], 1.0))
    tracemalloc.start()
    with pytest.raises(MemoryLimitError) as error:
        TorchQuantumModule(circuit, pair)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 << 20  # what is traced is Python's own and NumPy's
    text = str(error.value)
    for part in (
        "45 qubits exactly needs", "GiB", "operations", "cheapest method, '", "are available",
        "fewer layers", "matrix_product_state", "parameter-shift", "backend=",
    ):  # fmt: skip
        assert part in text


def test_what_is_dense_is_refused_without_a_search(monkeypatch) -> None:
    """Costs are bounded: no cones are compared with each other, no orders of contraction sought."""
    monkeypatch.setattr(canonical, "_tell_apart", None)
    monkeypatch.setattr(orders, "_search", None)
    edges = all_pairs(44)
    energy = sums(44, *(("ZZ", list(edge), 1 + 0.1 * k) for k, edge in enumerate(edges)))
    with pytest.raises(MemoryLimitError):
        chosen(dense(44), energy)
    with pytest.raises(MemoryLimitError, match="on 44 qubits"):
        TorchQuantumModule(dense(44), energy, estimator=Exact("light-cones"))


@pytest.mark.parametrize("width", [40, 45, 46, 70])
@pytest.mark.parametrize("label", ["Z", "ZZZ"])
def test_what_a_symmetry_makes_zero_takes_nothing(width: int, label: str) -> None:
    """Flipping all qubits leaves the states of QAOA as they are, and changes the sign of Z."""
    single = sums(width, (label, list(range(len(label))), 1.0))
    node = TorchQuantumModule(dense(width), single, initial_weights=[0.3, 0.2, 0.5, 0.7])
    assert "light-cones" in repr(node) and node.cost().simulation.operations == 0
    y = node()
    y.sum().backward()
    assert y.item() == 0 and not node.weight.grad.any()


def test_expensive_terms_leave_the_cones_of_the_others(monkeypatch) -> None:
    """A dense block of 24 qubits beside a wide sparse graph: cones take the latter's terms."""
    edges = list(rx.undirected_gnm_random_graph(100, 150, seed=3).edge_list())
    block = [(100 + a, 100 + b) for a, b in all_pairs(24)]
    circuit = steps_of_qaoa(124, edges + block)
    terms = [("ZZ", list(edge), 1.0) for edge in [*edges, block[0]]]
    p = CircuitProgram(circuit, sums(124, *terms))
    arguments = choice.Arguments(p.analysed, p.readout, (), p.weight_columns, np.complex128)
    comparison = choice._Comparison(arguments, 1, limit=1e8)
    cones, heavy = comparison._cones(p.readout)
    assert cones is None
    assert heavy.sum() == 1
    assert p.readout.operators[0].paulis[np.flatnonzero(heavy)[0]].to_label().count("Z") == 2
    kept, _ = comparison._cones(choice.take_terms(p.readout, ~heavy)[0])
    assert kept is not None and len(kept.groups()[0]) == 150


def test_amplitudes_are_the_state_vectors_alone() -> None:
    with pytest.raises(MemoryLimitError, match="Amplitudes are read, which the state vector alone"):
        TorchQuantumModule(layers(50, 1), State())
    for method in METHODS[2:]:
        with pytest.raises(MeasurementError, match=f"method='{method}' never has.*'statevector'"):
            TorchQuantumModule(layers(3, 1), State(), estimator=Exact(method))
    assert chosen(layers(12, 3), State()) == "statevector"


def test_imaginary_parts_are_the_state_vectors_alone() -> None:
    """What cancels from an expectation value does not cancel from them."""
    p = CircuitProgram(layers(12, 3), "Z" * 12)
    turned = type(p.readout)(tuple(1j * o for o in p.readout.operators))
    arguments = p.analysed, turned, (), p.weight_columns
    assert choose("automatic", *arguments).method == "statevector"
    with pytest.raises(MeasurementError, match="'statevector'"):
        choose("columns", *arguments)


def test_probabilities_of_few_qubits_of_a_wide_circuit() -> None:
    circuit = layers(60, 2)
    node = TorchQuantumModule(circuit, Probabilities([0, 30, 59]), seed=2).double()
    p = node()
    assert p.shape == (8,) and p.sum().item() == pytest.approx(1, abs=1e-10)
    label = "I" * 59 + "Z"
    z = TorchQuantumModule(circuit, label, initial_weights=node.weight.detach()).double()()
    bits = torch.arange(8) & 1
    assert (p * (1 - 2 * bits)).sum().item() == pytest.approx(z.item(), abs=1e-10)
    with pytest.raises(MeasurementError, match="at most 12 measured qubits"):
        TorchQuantumModule(circuit, Probabilities(range(20)))


def test_what_cannot_be_simulated_at_all_is_refused_for_that() -> None:
    circuit = layers(60, 1)
    circuit.add_register(ClassicalRegister(1))
    circuit.measure(0, 0)
    with circuit.while_loop((circuit.clbits[0], 1)):
        circuit.ry(0.3, 0)
        circuit.measure(0, 0)
    with pytest.raises(CircuitError, match="while_loop"):
        TorchQuantumModule(circuit)


def test_little_memory_changes_the_choice(monkeypatch) -> None:
    """24 qubits that all act on each other, first with room for 512 MiB, then with none."""
    circuit = dense(24)
    assert chosen(circuit, "Z" * 24) == "statevector"
    monkeypatch.setattr(memory, "available", lambda: 1 << 20)
    with pytest.raises(MemoryLimitError):
        chosen(circuit, "Z" * 24)
    assert chosen(layers(24, 2)) in ("columns", "light-cones")
    assert chosen(layers(24, 2), "Z" * 24) == "columns"


def test_a_parameter_without_any_effect_has_derivative_zero() -> None:
    circuit = layers(40, 1)
    circuit.rz(Parameter("z"), 39)
    node = TorchQuantumModule(circuit, "I" * 39 + "Z", seed=3)
    node().sum().backward()
    assert node.weight.grad[-1] == 0 and node.weight.grad.count_nonzero() == 2
