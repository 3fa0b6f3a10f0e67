# SPDX-License-Identifier: Apache-2.0
"""Contractions of general networks against dense simulation, and closed forms of wide circuits.

Rounding of a contraction of some hundred tensors stays below 1e-12.
"""

from __future__ import annotations

import itertools
import pickle
import sys
from collections.abc import Sequence

import networkx
import numpy as np
import pytest
import reference
from hypothesis import given, settings
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector
from qiskit.circuit.library import PauliEvolutionGate
from qiskit.quantum_info import SparsePauliOp
from test_statevector_cases import CIRCUITS, SEEDS, ExactCase, exact_cases
from test_statevector_random import EXACT, ByValues, check_derivatives
from torch import Tensor

from qiskit_torch_bridge import CircuitProgram
from qiskit_torch_bridge.exceptions import CircuitError, InputError, MeasurementError
from qiskit_torch_bridge.program.readouts import Amplitudes, Outcomes, Readout
from qiskit_torch_bridge.simulation.networks import (
    NetworkPlan,
    orders,
    plan,
    plan_networks,
)
from qiskit_torch_bridge.simulation.networks.contraction import Contraction
from qiskit_torch_bridge.simulation.networks.orders import find_order
from qiskit_torch_bridge.simulation.statevector import StatevectorSimulator

pytest.importorskip("cotengra", reason="the extra 'networks' is not installed")

SINGLE = 2e-5  # some hundred roundings of 2**-24, and sums of as many terms


class ByNetworks(ByValues):
    """The simulator by networks of a case's circuit and observables."""

    def __init__(self, case: ExactCase) -> None:
        self.case = case
        program = CircuitProgram(
            case.circuit,
            list(case.observables),
            input_params=case.inputs,
            weight_params=case.weights,
        )
        self.simulator = NetworkPlan(*arguments_of(program)).compile()


def arguments_of(program: CircuitProgram, readout: Readout | None = None) -> tuple:
    read = program.readout if readout is None else readout
    return program.analysed, read, program.input_columns, program.weight_columns


@settings(max_examples=max(10, CIRCUITS // 8))
@given(exact_cases(max_strings=8), SEEDS)  # each string is a network
def test_values_and_all_derivatives(case: ExactCase, seed: int) -> None:
    norms = [float(np.abs(o.coeffs).sum()) for o in case.observables]

    def read(values: Tensor) -> Tensor:
        return reference.expectations(case.twin, case.observables, case.parameters, values)

    check_derivatives(ByNetworks(case), read, seed, max(1.0, *norms))


def layered(num_qubits: int, layers: int) -> CircuitProgram:
    """An encoding, and layers of rotations and a ring of CX; Z on all qubits, and long strings."""
    x, w = ParameterVector("x", num_qubits), ParameterVector("w", 2 * num_qubits * layers)
    circuit, angles = QuantumCircuit(num_qubits), iter(w)
    for q in range(num_qubits):
        circuit.ry(x[q], q)
    for _ in range(layers):
        for q in range(num_qubits):
            circuit.ry(next(angles), q)
            circuit.rz(next(angles), q)
        for q in range(num_qubits):
            circuit.cx(q, (q + 1) % num_qubits)
    observables = [
        SparsePauliOp.from_sparse_list([("Z", [q], 1.0)], num_qubits=num_qubits)
        for q in range(num_qubits)
    ]
    long = SparsePauliOp(["Y" * num_qubits, "X" + "Z" * (num_qubits - 1)], [0.3, -0.7])
    return CircuitProgram(circuit, [*observables, long], input_params=x, weight_params=w)


def point(program: CircuitProgram, rows: int, shared: bool = True) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(rows, len(program.input_columns)))
    w = rng.normal(size=(1 if shared else rows, len(program.weight_columns)))
    cotangent = rng.normal(size=(rows, program.readout.size))
    found = {"x": x, "w": w, "cotangent": cotangent}
    return found | {f"d{key}": rng.normal(size=array.shape) for key, array in found.items()}


def everything(simulator, at: dict[str, np.ndarray], keep: bool = True) -> list[np.ndarray]:
    """Values, both gradients, tangents and both products of a Hessian."""
    x, w, cotangent = at["x"], at["w"], at["cotangent"]
    evs, kept = simulator.evaluate(x, w, keep)
    tangents = simulator.tangent(x, w, at["dx"], at["dw"])
    turned = simulator.vjp_tangent(x, w, cotangent, at["dx"], at["dw"], at["dcotangent"])
    return [evs, *simulator.vjp(x, w, cotangent, kept), tangents, *turned]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("rows", [1, 3])
def test_layers_against_the_state_vector(rows: int, shared: bool) -> None:
    program = layered(6, 2)
    at = point(program, rows, shared)
    expected = everything(StatevectorSimulator(*arguments_of(program)), at)
    found = everything(NetworkPlan(*arguments_of(program)).compile(), at)
    for f, e in zip(found, expected, strict=True):
        np.testing.assert_allclose(f, e, rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize(
    ("limit", "value"), [("BLOCK_BYTES", 1 << 9), ("KEPT_BYTES", 1 << 9), ("MAX_NUMBERS", 1 << 11)]
)
def test_memory_limits_change_no_number(
    limit: str, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = layered(5, 2)
    at = point(program, 4)
    expected = everything(NetworkPlan(*arguments_of(program)).compile(), at)
    monkeypatch.setattr(plan, limit, value)
    monkeypatch.setattr(
        sys.modules["qiskit_torch_bridge.simulation.networks.simulator"], limit, value, False
    )
    limited = NetworkPlan(*arguments_of(program)).compile()
    slices = [compiled.contraction.num_slices for compiled in limited._compiled]
    assert (max(slices) > 1) is (limit == "MAX_NUMBERS")
    for f, e in zip(everything(limited, at), expected, strict=True):
        np.testing.assert_allclose(f, e, rtol=EXACT, atol=EXACT)


def test_single_precision() -> None:
    program = layered(5, 2)
    at = point(program, 3)
    expected = everything(NetworkPlan(*arguments_of(program)).compile(), at)
    found = everything(NetworkPlan(*arguments_of(program), np.complex64).compile(), at)
    for f, e in zip(found, expected, strict=True):
        assert f.dtype == np.float64 and np.abs(f - e).max() > 0
        np.testing.assert_allclose(f, e, atol=SINGLE * np.abs(e).max())


@pytest.mark.parametrize("wanted", [(True, False), (False, True)])
def test_only_what_is_wanted(wanted: tuple[bool, bool]) -> None:
    program = layered(4, 1)
    at = point(program, 2)
    simulator = NetworkPlan(*arguments_of(program)).compile()
    both = simulator.vjp(at["x"], at["w"], at["cotangent"])
    some = simulator.vjp(at["x"], at["w"], at["cotangent"], wanted=wanted)
    for is_wanted, f, e in zip(wanted, some, both, strict=True):
        np.testing.assert_allclose(f, e if is_wanted else np.zeros_like(e), atol=EXACT)


def qaoa(graph: networkx.Graph, reps: int) -> CircuitProgram:
    """Phases of each edge and mixers, every other edge in two colours' order; ZZ of each edge."""
    n = graph.number_of_nodes()
    w = ParameterVector("w", 2 * reps)
    circuit = QuantumCircuit(n)
    circuit.h(range(n))
    for layer in range(reps):
        for a, b in graph.edges:
            circuit.rzz(w[2 * layer], a, b)
        circuit.rx(w[2 * layer + 1], range(n))
    edges = [
        SparsePauliOp.from_sparse_list([("ZZ", edge, 1.0)], num_qubits=n) for edge in graph.edges
    ]
    return CircuitProgram(circuit, edges, weight_params=w)


def edge_values(graph: networkx.Graph, gamma: float, beta: float) -> list[float]:
    r"""<ZZ> of each edge of QAOA with p = 1 (arXiv:1706.02998, equation 14).

    Phases are :math:`e^{-i\gamma ZZ/2}` and mixers :math:`e^{-i\beta X/2}` here; signs of the
    paper's gamma are those of its cost, which counts cut edges.
    """
    found = []
    for u, v in graph.edges:
        around_u, around_v = set(graph[u]) - {v}, set(graph[v]) - {u}
        common = len(around_u & around_v)
        d, e = len(around_u), len(around_v)
        first = np.sin(2 * beta) * np.sin(gamma) * (np.cos(gamma) ** d + np.cos(gamma) ** e) / 2
        second = np.sin(beta) ** 2 * np.cos(gamma) ** (d + e - 2 * common)
        found.append(first + second * (1 - np.cos(2 * gamma) ** common) / 2)
    return found


def heavy_hex() -> networkx.Graph:
    """The 127 qubits of three generations of devices: rows of bridged qubits."""
    rows = [range(14), *(range(15) for _ in range(5)), range(14)]
    starts = list(itertools.accumulate((len(row) + 4 for row in rows), initial=0))
    graph = networkx.Graph()
    for k, row in enumerate(rows):
        first, start = int(k == 6), starts[k]
        graph.add_edges_from((start + j, start + j + 1) for j in range(len(row) - 1))
        if k == 6:
            break
        for bridge in range(4):
            column = 4 * bridge + 2 * (k % 2)
            below = column - int(k + 1 == 6)
            link = start + len(row) + bridge
            graph.add_edge(start + column - first, link)
            graph.add_edge(link, starts[k + 1] + below)
    return graph


@pytest.mark.parametrize(
    "graph",
    [
        networkx.convert_node_labels_to_integers(networkx.grid_2d_graph(4, 4)),
        networkx.random_regular_graph(3, 40, seed=2),
        networkx.complete_graph(5),
        heavy_hex(),
    ],
    ids=["grid", "regular", "complete", "heavy-hex"],
)
def test_one_layer_of_qaoa_has_its_closed_form(graph: networkx.Graph) -> None:
    simulator = NetworkPlan(*arguments_of(qaoa(graph, 1))).compile()
    gamma, beta, step = 0.7, -1.1, 1e-4
    x, w = np.zeros((1, 0)), np.array([[gamma, beta]])
    evs, _ = simulator.evaluate(x, w)
    np.testing.assert_allclose(evs[0], edge_values(graph, gamma, beta), rtol=0, atol=EXACT)
    _, gradient = simulator.vjp(x, w, np.ones_like(evs))
    shifted = [
        sum(edge_values(graph, gamma + s, beta)) - sum(edge_values(graph, gamma - s, beta))
        for s in (step, step / 2)
    ]
    # Central differences, extrapolated: the error is of order step**4 for each edge.
    slope = (8 * shifted[1] - shifted[0]) / (6 * step)
    assert gradient[0, 0] == pytest.approx(slope, abs=1e-8 * len(graph.edges))


def test_heavy_hex_is_that_of_the_devices() -> None:
    graph = heavy_hex()
    degrees = [degree for _, degree in graph.degree]
    assert sorted(graph) == list(range(127)) and len(graph.edges) == 144
    assert [degrees.count(d) for d in (1, 2, 3)] == [2, 89, 36]


def test_two_layers_of_a_grid_against_the_state_vector() -> None:
    graph = networkx.convert_node_labels_to_integers(networkx.grid_2d_graph(4, 3))
    program = qaoa(graph, 2)
    at = point(program, 1)
    expected = everything(StatevectorSimulator(*arguments_of(program)), at)
    simulator = NetworkPlan(*arguments_of(program)).compile()
    for f, e in zip(everything(simulator, at), expected, strict=True):
        np.testing.assert_allclose(f, e, rtol=EXACT, atol=EXACT)


def test_what_depends_on_much_is_known_without_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a ladder of CX, each qubit depends on all before."""
    monkeypatch.setattr(orders, "_search", None)
    n = 60
    w, circuit = ParameterVector("w", 2 * n), QuantumCircuit(n)
    for layer in range(2):
        for q in range(n):
            circuit.ry(w[layer * n + q], q)
        for q in range(n - 1):
            circuit.cx(q, q + 1)
    observables = [
        SparsePauliOp.from_sparse_list([("Z", [q], 1.0)], num_qubits=n) for q in range(n)
    ]
    program = CircuitProgram(circuit, observables, weight_params=w)
    assert plan_networks(*arguments_of(program)).takes_more_than(1e7, 1)


def test_no_more_orders_are_searched_than_tell_that_all_take_more(monkeypatch) -> None:
    """The largest group of networks takes more than half of their mean."""
    planned, asked = NetworkPlan(*arguments_of(layered(5, 2))), []
    operations = planned.estimate(1).operations
    monkeypatch.setattr(planned, "_takes_more_whatever_the_orders", lambda *_: False)
    monkeypatch.setattr(orders, "_orders", lambda key, make: (asked.append(key), make())[1])
    assert planned.takes_more_than(operations / len(planned.groups) / 2, 1)
    assert 0 < len(asked) < len(planned.groups)
    assert not planned.takes_more_than(operations, 1)


def test_equal_networks_are_contracted_once() -> None:
    ring = networkx.cycle_graph(60)
    names = np.random.default_rng(0).permutation(60).tolist()
    ring = networkx.relabel_nodes(ring, dict(enumerate(names)))
    planned = plan_networks(*arguments_of(qaoa(ring, 2)))
    assert [len(group.numbers) for group in planned.groups] == [1]
    assert planned.coefficients.shape == (60, 1)


def test_networks_of_one_form_share_an_order() -> None:
    n = 30
    x = ParameterVector("x", n)
    circuit = QuantumCircuit(n)
    for q in range(n):
        circuit.ry(x[q], q)
    for first in (0, 1):
        for q in range(first, n - 1, 2):
            circuit.cz(q, q + 1)
            circuit.rx(0.3 * (1 + first), [q, q + 1])
    observables = [
        SparsePauliOp.from_sparse_list([("Z", [q], 1.0)], num_qubits=n) for q in range(n)
    ]
    program = CircuitProgram(circuit, observables, input_params=x)
    planned = plan_networks(*arguments_of(program))
    assert sum(len(group.numbers) for group in planned.groups) == n
    assert len(planned.groups) <= 6  # inside, on either side of a gate, and at the ends


def test_long_rotations_are_shared_by_several_qubits() -> None:
    t, n = Parameter("t"), 5
    circuit = QuantumCircuit(n)
    circuit.ry(0.4, range(n))
    circuit.append(PauliEvolutionGate(SparsePauliOp(["XYZXY"]), t), range(n))
    circuit.rx(0.9, range(n))
    program = CircuitProgram(circuit, [SparsePauliOp("ZIZIZ")], input_params=[t])
    at = point(program, 3)
    expected = everything(StatevectorSimulator(*arguments_of(program)), at)
    found = everything(NetworkPlan(*arguments_of(program)).compile(), at)
    for f, e in zip(found, expected, strict=True):
        np.testing.assert_allclose(f, e, rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize(("label", "value"), [("ZII", 1.0), ("XII", 0.0), ("III", 1.0)])
def test_qubits_left_alone(label: str, value: float) -> None:
    x = Parameter("x")
    circuit = QuantumCircuit(3)
    circuit.ry(x, 0)
    program = CircuitProgram(circuit, [SparsePauliOp(label)], input_params=[x])
    simulator = NetworkPlan(*arguments_of(program)).compile()
    evs, _ = simulator.evaluate(np.array([[0.3]]), np.zeros((1, 0)))
    assert evs.tolist() == [[value]]
    gx, _ = simulator.vjp(np.array([[0.3]]), np.zeros((1, 0)), np.ones((1, 1)))
    assert gx.tolist() == [[0.0]]


def test_travels_in_a_pickle() -> None:
    program = layered(3, 1)
    at = point(program, 2)
    simulator = NetworkPlan(*arguments_of(program)).compile()
    copied = pickle.loads(pickle.dumps(simulator))
    for f, e in zip(everything(copied, at), everything(simulator, at), strict=True):
        np.testing.assert_array_equal(f, e)


def test_no_rows() -> None:
    program = layered(3, 1)
    simulator = NetworkPlan(*arguments_of(program)).compile()
    at = point(program, 0)
    for found in everything(simulator, at):
        assert not found.any()


def test_values_that_are_not_finite() -> None:
    program = layered(3, 1)
    simulator = NetworkPlan(*arguments_of(program)).compile()
    at = point(program, 2)
    at["x"][1, 0] = np.nan
    with pytest.raises(InputError, match="row 1"):
        simulator.evaluate(at["x"], at["w"])


@pytest.mark.parametrize("readout", [None, Outcomes((0,)), Amplitudes((0, 1))], ids=str)
def test_what_cannot_be_read_is_named(readout: Readout | None) -> None:
    program = layered(2, 1)
    arguments = (program.analysed, readout, program.input_columns, program.weight_columns)
    with pytest.raises(MeasurementError, match="expectation values"):
        plan_networks(*arguments)


def test_imaginary_coefficients_are_refused() -> None:
    program = layered(2, 1)
    readout = type(program.readout)((SparsePauliOp("ZZ", 1j),))
    with pytest.raises(MeasurementError, match="Hermitian"):
        plan_networks(*arguments_of(program, readout))


def test_states_are_refused() -> None:
    program = layered(2, 1)
    simulator = NetworkPlan(*arguments_of(program)).compile()
    at = point(program, 1)
    with pytest.raises(MeasurementError, match="state vector alone"):
        simulator.states(at["x"], at["w"])
    with pytest.raises(MeasurementError, match="state vector alone"):
        simulator.tangent_states(at["x"], at["w"], at["dx"], at["dw"])


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cotengra", None)
    with pytest.raises(CircuitError, match=r'pip install "qiskit-torch-bridge\[networks\]"') as e:
        plan_networks(*arguments_of(layered(2, 1)))
    assert isinstance(e.value, ImportError) and isinstance(e.value, orders.MissingNetworksError)


def test_the_estimate_is_what_is_counted() -> None:
    planned = NetworkPlan(*arguments_of(layered(4, 1)))
    one, many = planned.estimate(1), planned.estimate(64)
    multiplications = sum(
        len(group.numbers) * order.multiplications
        for group, order in zip(planned.groups, planned.orders, strict=True)
    )
    assert many.operations - one.operations == pytest.approx(63 * 12 * multiplications)
    assert many.bytes > one.bytes
    assert not planned.takes_more_than(one.operations, 1)
    assert planned.takes_more_than(1e3, 1)
    # Steps are counted once for a block of rows.
    assert one.operations < many.operations < 64 * one.operations
    assert not planned.takes_more_than(many.operations, 64)
    assert planned.takes_more_than(0.5 * many.operations, 64)


def contract(inputs: Sequence[tuple[int, ...]], tensors: Sequence[np.ndarray]) -> complex:
    pairs = itertools.chain.from_iterable(zip(tensors, map(list, inputs), strict=True))
    return complex(np.einsum(*pairs, []))


@given(SEEDS)
@settings(max_examples=30)
def test_contractions_are_those_of_einsum(seed: int) -> None:
    """Also where an index joins more than two tensors, and with slices."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 7))
    drawn = [rng.permutation(6)[: rng.integers(1, 4)].tolist() for _ in range(count)]
    inputs = [tuple(t) for t in drawn]
    once = {i for i in range(6) if sum(i in t for t in inputs) == 1}
    inputs += [(i,) for i in sorted(once)]  # each index joins tensors
    shapes = [(2,) * len(t) for t in inputs]
    tensors, tangents = (
        [rng.normal(size=s) + 1j * rng.normal(size=s) for s in shapes] for _ in range(2)
    )
    for most in (1e9, 16):
        order = find_order(inputs, most)
        contraction = Contraction(inputs, order)
        leaves, moved = ([t[None, None] for t in found] for found in (tensors, tangents))
        value, along = 0.0, 0.0
        gradients = [np.zeros_like(leaf) for leaf in leaves]
        for part in range(contraction.num_slices):
            taken = [contraction.take(k, t, part) for k, t in enumerate(leaves)]
            turned = [contraction.take(k, t, part) for k, t in enumerate(moved)]
            nodes = contraction.forward(taken)
            value += nodes[-1][0, 0]
            along += contraction.forward_tangent(nodes, turned)[-1][0, 0]
            needed = contraction.needed([True] * len(inputs))
            for k, g in enumerate(contraction.backward(nodes, np.ones((1, 1)), needed)):
                if contraction.num_slices > 1:
                    contraction.put(k, gradients[k], g, part)
                else:
                    gradients[k] = g
        assert value == pytest.approx(contract(inputs, tensors), rel=1e-10, abs=1e-10)
        slope = sum(np.vdot(g.conj(), t) for g, t in zip(gradients, tangents, strict=True))
        assert along == pytest.approx(slope, rel=1e-10, abs=1e-10)
        for k, (g, t) in enumerate(zip(gradients, tangents, strict=True)):
            replaced = [*tensors[:k], t, *tensors[k + 1 :]]
            assert np.vdot(g.conj(), t) == pytest.approx(contract(inputs, replaced), abs=1e-9)
