# SPDX-License-Identifier: Apache-2.0
"""Light cones: what they are, how many differ, and that nothing is lost by looking at them alone.

``test_methods.py`` holds their simulator to the contract of all. Here it meets closed forms on
graphs and chains of any width, and itself where a circuit is the same at another place.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import rustworkx
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector
from qiskit.circuit.library import StatePreparation, UnitaryGate
from qiskit.quantum_info import SparsePauliOp, StabilizerState, random_clifford, random_unitary
from qiskit_aer.primitives import EstimatorV2

from qiskit_torch_bridge.exceptions import (
    CircuitError,
    ExpressionError,
    InputError,
    MeasurementError,
    MemoryLimitError,
)
from qiskit_torch_bridge.program import AnalysedCircuit
from qiskit_torch_bridge.program.operators import ProductOperator
from qiskit_torch_bridge.program.readouts import Amplitudes, Expectations
from qiskit_torch_bridge.simulation import threads
from qiskit_torch_bridge.simulation.cones import (
    LightConeSimulator,
    canonical,
    effective_columns,
    find,
    plan_cones,
)
from qiskit_torch_bridge.simulation.statevector import StatevectorSimulator

EXACT = 1e-10
NO_INPUTS = np.zeros((1, 0))


def z_on(num_qubits: int, *qubits: int) -> SparsePauliOp:
    return SparsePauliOp.from_sparse_list([("Z" * len(qubits), qubits, 1.0)], num_qubits)


def compiled(circuit, observables, make=LightConeSimulator, inputs=(), dtype=np.complex128):
    """The simulator of a circuit whose parameters are weights but for those that are inputs."""
    count = circuit.num_parameters
    weights = [c for c in range(count) if c not in inputs]
    readout = Expectations(tuple(observables))
    return make(AnalysedCircuit(circuit), readout, list(inputs), weights, dtype)


def planned(circuit, observables):
    readout = Expectations(tuple(observables))
    return plan_cones(AnalysedCircuit(circuit), readout, [], range(circuit.num_parameters))


def value_and_gradient(simulator, w, cotangent=None):
    values, kept = simulator.evaluate(NO_INPUTS, w, keep=True)
    cotangent = np.ones_like(values) if cotangent is None else cotangent
    return values, simulator.vjp(NO_INPUTS, w, cotangent, kept)[1]


# MaxCut


def regular_graph(nodes: int, degree: int, seed: int) -> list[tuple[int, int]]:
    """A random regular graph, by pairing of ends until no edge comes twice."""
    rng = np.random.default_rng(seed)
    edges = np.sort(rng.permutation(np.repeat(np.arange(nodes), degree)).reshape(-1, 2), axis=1)
    while True:
        _, first, count = np.unique(edges, axis=0, return_index=True, return_counts=True)
        bad = np.ones(len(edges), dtype=bool)
        bad[first[count == 1]] = False
        bad |= edges[:, 0] == edges[:, 1]
        if not bad.any():
            return [(int(u), int(v)) for u, v in edges]
        some = np.flatnonzero(bad)
        swapped = np.concatenate([some, rng.choice(len(edges), len(some), replace=False)])
        ends = rng.permutation(edges[np.unique(swapped)].ravel())
        edges[np.unique(swapped)] = np.sort(ends.reshape(-1, 2), axis=1)


def maxcut(nodes: int, edges, reps: int) -> QuantumCircuit:
    gammas, betas = ParameterVector("g", reps), ParameterVector("b", reps)
    circuit = QuantumCircuit(nodes)
    circuit.h(range(nodes))
    for gamma, beta in zip(gammas, betas, strict=True):
        for u, v in edges:
            circuit.rzz(-gamma, u, v)  # exp(-i gamma C) with C = (1 - ZZ) / 2, up to a phase
        circuit.rx(2 * beta, range(nodes))
    return circuit


def at(circuit: QuantumCircuit, gammas, betas) -> np.ndarray:
    """The angles as weights, in the order of the circuit's parameters."""
    values = {"g": gammas, "b": betas}
    return np.array([[values[p.name[0]][p.index] for p in circuit.parameters]])


def cut_by_closed_form(edges, gamma: float, beta: float) -> list[float]:
    """The probabilities that edges are cut: theorem 1 of Wang et al., arXiv:1706.02998."""
    neighbours: dict[int, set[int]] = {}
    for u, v in edges:
        neighbours.setdefault(u, set()).add(v)
        neighbours.setdefault(v, set()).add(u)
    found = []
    for u, v in edges:
        d, e = len(neighbours[u]) - 1, len(neighbours[v]) - 1
        f = len(neighbours[u] & neighbours[v])
        c = math.cos(gamma)
        first = math.sin(4 * beta) * math.sin(gamma) * (c**d + c**e) / 4
        second = math.sin(2 * beta) ** 2 * c ** (d + e - 2 * f) * (1 - math.cos(2 * gamma) ** f) / 4
        found.append(0.5 + first - second)
    return found


def random_graph(nodes: int, num_edges: int, seed: int) -> list[tuple[int, int]]:
    pairs = list(itertools.combinations(range(nodes), 2))
    chosen = np.random.default_rng(seed).choice(len(pairs), num_edges, replace=False)
    return [pairs[k] for k in chosen]


@pytest.mark.parametrize(
    ("nodes", "edges"),
    [
        (500, regular_graph(500, 3, 1)),
        (300, regular_graph(300, 4, 2)),
        (12, random_graph(12, 30, 3)),  # with triangles
        (200, random_graph(200, 250, 4)),
    ],
)
def test_each_edge_of_qaoa_with_one_layer_has_its_closed_form(nodes, edges):
    circuit = maxcut(nodes, edges, 1)
    simulator = compiled(circuit, [z_on(nodes, u, v) for u, v in edges])
    gamma, beta = 0.7, 0.35
    values, _ = simulator.evaluate(NO_INPUTS, at(circuit, [gamma], [beta]))
    expected = 1 - 2 * np.array(cut_by_closed_form(edges, gamma, beta))
    np.testing.assert_allclose(values[0], expected, rtol=0, atol=EXACT)


def test_gradients_of_qaoa_are_slopes_of_the_closed_form():
    edges = regular_graph(200, 3, 5)
    circuit = maxcut(200, edges, 1)
    total = sum(z_on(200, u, v) for u, v in edges).simplify(atol=0, rtol=0)
    _, gradient = value_and_gradient(compiled(circuit, [total]), at(circuit, [0.5], [0.3]))
    step = 1e-5

    def closed(gamma, beta):
        return sum(1 - 2 * p for p in cut_by_closed_form(edges, gamma, beta))

    slopes = {
        "g": (closed(0.5 + step, 0.3) - closed(0.5 - step, 0.3)) / (2 * step),
        "b": (closed(0.5, 0.3 + step) - closed(0.5, 0.3 - step)) / (2 * step),
    }
    expected = [slopes[p.name[0]] for p in circuit.parameters]
    # step**2 times a third derivative, of at most some ten for each of the 300 edges, over 6.
    np.testing.assert_allclose(gradient[0], expected, rtol=0, atol=300 * 64 * step**2)


def tree(depth: int) -> tuple[int, list[tuple[int, int]]]:
    """All within some distance from one edge, (0, 1), where each node has three neighbours."""
    edges, ends = [(0, 1)], [0, 1]
    nodes = 2
    for _ in range(depth):
        further = []
        for end in ends:
            for _ in range(2):
                edges.append((end, nodes))
                further.append(nodes)
                nodes += 1
        ends = further
    return nodes, edges


@pytest.mark.parametrize(
    ("gammas", "betas", "ratio"),
    [([0.616], [0.393], 0.6924), ([0.488, 0.898], [0.555, 0.293], 0.7559)],
)
def test_large_girth_ratios_are_the_published_ones(gammas, betas, ratio):
    """Ratios of 3-regular graphs without short cycles, cut off after four digits.

    Reference: J. Basso et al., arXiv:2110.14206, and what it cites.
    """
    reps = len(gammas)
    nodes, edges = tree(reps)
    circuit = maxcut(nodes, edges, reps)
    simulator = compiled(circuit, [z_on(nodes, 0, 1)])
    w = at(circuit, gammas, betas)
    for _ in range(100):  # to the maximum that these angles are near to
        w = w - 0.03 * value_and_gradient(simulator, w)[1]
    value = simulator.evaluate(NO_INPUTS, w)[0][0, 0]
    assert ratio <= (1 - value) / 2 < ratio + 1e-4


@pytest.mark.parametrize("reps", [1, 2])
def test_a_regular_graph_has_few_cones(reps):
    nodes = 400
    edges = regular_graph(nodes, 3, 6)
    circuit = maxcut(nodes, edges, reps)
    total = sum(z_on(nodes, u, v) for u, v in edges).simplify(atol=0, rtol=0)
    classes = planned(circuit, [total]).cones.classes
    # A tree has 2 + 4 + ... nodes; half of its states are those of one parity.
    assert max(c.num_qubits for c in classes) == [6, 14][reps - 1]
    assert max(c.num_bits for c in classes) == [5, 13][reps - 1]
    assert sum(c.members for c in classes) == len(edges)
    assert all(len(c.angles) == 1 for c in classes)  # their angles are the same
    assert len(classes) == count_neighbourhoods(nodes, edges, reps)


def count_neighbourhoods(nodes, edges, reps) -> int:
    """How many subgraphs around edges differ, by an independent test of isomorphism."""
    neighbours: dict[int, list[int]] = {}
    for u, v in edges:
        neighbours.setdefault(u, []).append(v)
        neighbours.setdefault(v, []).append(u)
    known: dict[tuple[int, int], list] = {}
    for edge in edges:
        distance = dict.fromkeys(edge, 0)
        ends = list(edge)
        for k in range(reps):
            ends = [n for e in ends for n in neighbours[e] if distance.setdefault(n, k + 1) > k]
        graph = rustworkx.PyGraph()
        place = {n: graph.add_node(distance[n]) for n in distance}
        for u, v in edges:
            # The outermost layer of gates is that of edges which end further inside.
            if u in place and v in place and min(distance[u], distance[v]) < reps:
                graph.add_edge(place[u], place[v], min(distance[u], distance[v]))
        same = known.setdefault((graph.num_nodes(), graph.num_edges()), [])
        if not any(
            rustworkx.is_isomorphic(graph, g, node_matcher=int.__eq__, edge_matcher=int.__eq__)
            for g in same
        ):
            same.append(graph)
    return sum(map(len, known.values()))


def test_names_of_qubits_and_the_order_of_gates_do_not_matter():
    edges = regular_graph(60, 3, 7)
    rng = np.random.default_rng(0)
    names = rng.permutation(60).tolist()
    renamed = [(names[u], names[v]) for u, v in edges]
    shuffled = [renamed[k] for k in rng.permutation(len(edges))]
    total = [sum(z_on(60, u, v) for u, v in e).simplify(atol=0, rtol=0) for e in (edges, shuffled)]
    first, second = maxcut(60, edges, 2), maxcut(60, shuffled, 2)
    w = rng.normal(size=(1, 4))
    one, other = compiled(first, [total[0]]), compiled(second, [total[1]])
    values = value_and_gradient(one, w), value_and_gradient(other, w)
    for found, expected in zip(*values, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=60 * EXACT)
    counts = [len(planned(*p).cones.classes) for p in ((first, total[:1]), (second, total[1:]))]
    assert counts[0] == counts[1]


def test_colours_that_collide_lose_nothing_but_time(monkeypatch):
    """Forms are compared, not colours: where all of these are the same, values are right."""
    edges = random_graph(10, 16, 8)
    circuit = maxcut(10, edges, 2)
    observables = [z_on(10, u, v) for u, v in edges]
    w = np.random.default_rng(1).normal(size=(1, 4))
    expected = value_and_gradient(compiled(circuit, observables, StatevectorSimulator), w)
    few = len(planned(circuit, observables).cones.classes)
    monkeypatch.setattr(canonical, "_mix", np.zeros_like)
    found = value_and_gradient(compiled(circuit, observables), w)
    for f, e in zip(found, expected, strict=True):
        np.testing.assert_allclose(f, e, rtol=0, atol=len(edges) * EXACT)
    assert len(planned(circuit, observables).cones.classes) >= few


# Chains


def chain(num_qubits: int, reps: int, shared: bool = False, turn: str = "rx") -> QuantumCircuit:
    """Rotations of all qubits and CZ in bricks, several times."""
    count = 2 * reps * (1 if shared else num_qubits)
    w = ParameterVector("w", count)
    circuit = QuantumCircuit(num_qubits)
    for layer in range(reps):
        for q in range(num_qubits):
            first = 2 * (layer if shared else layer * num_qubits + q)
            circuit.ry(w[first], q)
            getattr(circuit, turn)(w[first + 1], q)
        for q in [*range(0, num_qubits - 1, 2), *range(1, num_qubits - 1, 2)]:
            circuit.cz(q, q + 1)
    return circuit


def test_equal_angles_make_equal_cones_of_a_chain():
    """Far from the ends, a chain of 100 qubits is one of 20, shifted by an even number."""
    w = np.random.default_rng(2).normal(size=(1, 4))
    values = {}
    for n in (20, 100):
        simulator = compiled(chain(n, 2, shared=True), [z_on(n, q, q + 1) for q in range(n - 1)])
        values[n] = value_and_gradient(simulator, w, np.eye(1, n - 1, 9))
        found = simulator.evaluate(NO_INPUTS, w)[0][0]
        np.testing.assert_allclose(found[6 : n - 8], np.tile(found[6:8], n)[: n - 14], atol=EXACT)
    np.testing.assert_allclose(values[100][1], values[20][1], rtol=0, atol=EXACT)
    plan = planned(chain(100, 2, shared=True), [z_on(100, q, q + 1) for q in range(99)])
    assert sum(len(c.angles) for c in plan.cones.classes) <= 12  # two bonds, and both ends


def test_different_angles_are_rows_of_one_simulation():
    n = 100
    plan = planned(chain(n, 3), [z_on(n, q) for q in range(n)])
    assert len(plan.cones.classes) <= 12
    assert max(len(c.angles) for c in plan.cones.classes) >= n // 2 - 6


def test_a_wide_chain_agrees_with_matrix_products():
    n = 40
    circuit = chain(n, 2)
    observables = [z_on(n, q, q + 1) for q in range(n - 1)]
    w = np.random.default_rng(3).normal(size=(1, circuit.num_parameters))
    values, gradient = value_and_gradient(compiled(circuit, observables), w)
    aer = EstimatorV2(options={"backend_options": {"method": "matrix_product_state"}})
    expected = aer.run([(circuit, observables, w[0])]).result()[0].data.evs
    np.testing.assert_allclose(values[0], expected, rtol=0, atol=1e-9)
    column = 2 * (n // 2)  # of RY in the first layer: values at two shifts tell the derivative
    shifted = np.repeat(w, 2, axis=0)
    shifted[:, column] += [np.pi / 2, -np.pi / 2]
    plus, minus = aer.run([(circuit, [[sum(observables)]], shifted)]).result()[0].data.evs.ravel()
    assert gradient[0, column] == pytest.approx((plus - minus) / 2, abs=1e-8)


def test_z_passes_a_control():
    circuit = QuantumCircuit(3)
    a = ParameterVector("a", 3)
    for q in range(3):
        circuit.ry(a[q], q)
    circuit.cx(0, 1)
    circuit.cx(0, 2)
    (cone,) = planned(circuit, [z_on(3, 0)]).cones.classes
    assert cone.num_qubits == 1 and len(cone.operations) == 1
    _, gradient = value_and_gradient(compiled(circuit, [z_on(3, 0)]), np.full((1, 3), 0.4))
    np.testing.assert_allclose(gradient, [[-math.sin(0.4), 0, 0]], rtol=0, atol=EXACT)
    assert not gradient[0, 1:].any()


def test_a_long_string_of_a_product_takes_one_bit():
    """Nothing but products of X on all qubits acts: of 2**60 states, two are reached."""
    n = 60
    circuit = QuantumCircuit(n)
    circuit.rx(Parameter("a"), 0)
    for q in range(n - 1):
        circuit.cx(q, q + 1)
    simulator = compiled(circuit, [z_on(n, n - 1), SparsePauliOp("Y" + "X" * (n - 1))])
    w = np.array([[0.6]])
    # The state is cos(a/2)|0..0> - i sin(a/2)|1..1>.
    expected = [[math.cos(0.6), -math.sin(0.6)]]
    np.testing.assert_allclose(simulator.evaluate(NO_INPUTS, w)[0], expected, rtol=0, atol=EXACT)


def test_cliffords_of_200_qubits_have_values_of_zero_and_one():
    n, blocks = 200, 20
    circuit = QuantumCircuit(n)
    for k in range(blocks):
        block = random_clifford(n // blocks, seed=k).to_circuit()
        circuit.compose(block, range(k * n // blocks, (k + 1) * n // blocks), inplace=True)
    for q in range(0, n - 1, 7):
        circuit.cx(q, q + 1)
    state = StabilizerState(circuit)
    stabilizers = state.clifford.to_labels(mode="S")[::40]
    labels = [label.lstrip("+-") for label in stabilizers] + ["Z" * n, "I" * (n - 1) + "X"]
    observables = [SparsePauliOp(label) for label in labels]
    found = compiled(circuit, observables).evaluate(NO_INPUTS, NO_INPUTS)[0][0]
    signs = [-1.0 if label[0] == "-" else 1.0 for label in stabilizers]
    assert found[: len(signs)].tolist() == signs
    others = [state.expectation_value(o.paulis[0]).real for o in observables[len(signs) :]]
    assert found[len(signs) :].tolist() == others


# Against the state vector


def mixed(num_qubits: int, seed: int, affine: bool = True) -> QuantumCircuit:
    """Inputs, weights, shared and, if asked, not affine angles, on a line, with what is fixed."""
    rng = np.random.default_rng(seed)
    x, w = ParameterVector("x", 3), ParameterVector("w", 4)
    angles = [x[0], w[0], 2 * w[1] - x[1] + 0.3, -w[2], x[2] / 2, w[3]]
    if not affine:
        angles += [w[0] * w[1], x[0].sin() + w[2], (w[3] * w[3] + 1).log(), x[1] * x[2]]
    circuit = QuantumCircuit(num_qubits)
    circuit.append(StatePreparation([0.6, 0, 0, 0.8j]), [1, 2])
    for _ in range(2):
        for q in range(num_qubits):
            turn = (circuit.rx, circuit.ry, circuit.rz)[rng.integers(3)]
            turn(angles[rng.integers(len(angles))], q)
        for q in range(num_qubits - 1):
            if rng.random() < 0.6:
                circuit.rzz(angles[rng.integers(len(angles))], q, q + 1)
            else:
                circuit.cx(q, q + 1)
    circuit.append(UnitaryGate(random_unitary(4, seed=seed)), [0, num_qubits - 1])
    for q in range(num_qubits):
        circuit.ry(angles[rng.integers(len(angles))], q)
    return circuit


def random_observables(num_qubits: int, seed: int) -> list:
    rng = np.random.default_rng(seed)
    labels = ["".join(row) for row in rng.choice(list("IIIXYZ"), (6, num_qubits))]
    projectors = ProductOperator.from_list([("0" * 2 + "I" * (num_qubits - 2), 0.7)])
    return [
        *(z_on(num_qubits, q) for q in range(num_qubits)),
        SparsePauliOp(labels, rng.normal(size=6)),
        projectors,
        SparsePauliOp("I" * num_qubits, 2.5),
    ]


def inputs_of(circuit: QuantumCircuit) -> list[int]:
    return [c for c, p in enumerate(circuit.parameters) if p.name[0] == "x"]


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_everything_agrees_with_the_state_vector(seed, shared, affine):
    n = 5 + seed
    circuit, observables = mixed(n, seed, affine), random_observables(n, seed)
    simulators = [
        compiled(circuit, observables, make, inputs_of(circuit))
        for make in (LightConeSimulator, StatevectorSimulator)
    ]
    rng = np.random.default_rng(seed)
    num_inputs, size = len(inputs_of(circuit)), len(observables)
    x, dx = rng.normal(size=(2, 3, num_inputs))
    w, dw = rng.normal(size=(2, 1 if shared else 3, circuit.num_parameters - num_inputs))
    c, dc = rng.normal(size=(2, 3, size))
    results = []
    for simulator in simulators:
        values, kept = simulator.evaluate(x, w, keep=True)
        found = [values, *simulator.vjp(x, w, c, kept), *simulator.vjp(x, w, c)]
        found.append(simulator.tangent(x, w, dx, dw))
        found += simulator.vjp_tangent(x, w, c, dx, dw, dc)
        for wanted in ((True, False), (False, True)):
            found += simulator.vjp(x, w, c, wanted=wanted)
            found += simulator.vjp_tangent(x, w, c, dx, dw, dc, wanted)
        results.append(found)
    for found, expected in zip(*results, strict=True):
        assert found.shape == expected.shape and found.flags.c_contiguous
        np.testing.assert_allclose(found, expected, rtol=EXACT, atol=size * EXACT)


@pytest.mark.parametrize("seed", range(3))
def test_all_short_strings_agree_with_the_state_vector(seed):
    """Many cones of one circuit, of which some are parts of others, with signs of all kinds."""
    n, rng = 5, np.random.default_rng(seed)
    x, w = ParameterVector("x", 4), ParameterVector("w", 8)
    circuit = QuantumCircuit(n)
    for angle in [*x, *w, *x, *w]:
        if rng.random() < 0.5:
            turn = (circuit.rxx, circuit.ryy, circuit.rzz, circuit.rzx)[rng.integers(4)]
            turn(angle, *rng.choice(n, 2, replace=False).tolist())
        else:
            (circuit.rx, circuit.ry, circuit.rz)[rng.integers(3)](angle, int(rng.integers(n)))
    pairs = itertools.product(itertools.combinations(range(n), 2), itertools.product("XYZ", "XYZ"))
    strings = [("".join(letters), list(on), 1.0) for on, letters in pairs]
    strings += [(letter, [q], 1.0) for q in range(n) for letter in "XYZ"]
    observables = [SparsePauliOp.from_sparse_list([string], n) for string in strings]
    inputs = inputs_of(circuit)
    values, shared = rng.normal(size=(3, 4)), rng.normal(size=(1, 8))
    cotangent = rng.normal(size=(3, len(observables)))
    found, expected = (
        [simulator.evaluate(values, shared)[0], *simulator.vjp(values, shared, cotangent)]
        for simulator in (
            compiled(circuit, observables, make, inputs)
            for make in (LightConeSimulator, StatevectorSimulator)
        )
    )
    for f, e in zip(found, expected, strict=True):
        np.testing.assert_allclose(f, e, rtol=0, atol=len(observables) * EXACT)


def test_letters_tell_cones_apart():
    """Three turns of one qubit each, in the same places, about different axes."""
    a = ParameterVector("a", 3)
    circuit = QuantumCircuit(2)
    for q, middle in enumerate((circuit.rz, circuit.ry)):
        circuit.rx(a[0], q)
        middle(a[1], q)
        circuit.rx(a[2], q)
    observables = [z_on(2, 0), z_on(2, 1)]
    w = np.array([[0.3, 0.5, 0.7]])
    found, expected = (
        compiled(circuit, observables, make).evaluate(NO_INPUTS, w)[0]
        for make in (LightConeSimulator, StatevectorSimulator)
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=EXACT)
    assert abs(found[0, 0] - found[0, 1]) > 0.01


def test_weights_are_shared_where_rows_share_them():
    x, w = Parameter("x"), Parameter("w")
    circuit = QuantumCircuit(1)
    circuit.ry(x, 0)
    circuit.rx(w, 0)
    inputs = inputs_of(circuit)
    simulator = compiled(circuit, [z_on(1, 0)], inputs=inputs)
    values, weight = np.array([[0.1], [0.2], [0.3]]), np.array([[0.4]])
    gx, gw = simulator.vjp(values, weight, np.ones((3, 1)))
    # The value is cos(x) cos(w).
    np.testing.assert_allclose(gx, -np.sin(values) * np.cos(0.4), rtol=0, atol=EXACT)
    np.testing.assert_allclose(gw, [[-np.cos(values).sum() * np.sin(0.4)]], rtol=0, atol=EXACT)


def test_single_precision_is_that():
    circuit, observables = mixed(6, 0), random_observables(6, 0)
    w = np.random.default_rng(0).normal(size=(1, circuit.num_parameters))
    double = value_and_gradient(compiled(circuit, observables), w)
    single = value_and_gradient(compiled(circuit, observables, dtype=np.complex64), w)
    for found, expected in zip(single, double, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    assert not np.array_equal(single[0], double[0])


def test_threads_give_what_one_thread_gives(monkeypatch):
    n = 24
    circuit = chain(n, 3)
    observables = [z_on(n, q) for q in range(n)]
    simulator = compiled(circuit, observables)
    rows = 64
    w = np.random.default_rng(4).normal(size=(rows, circuit.num_parameters))
    x, c = np.zeros((rows, 0)), np.ones((rows, n))
    results = []
    for count in (1, 3):
        monkeypatch.setattr(threads, "_cores", lambda count=count: count)
        monkeypatch.setitem(threads.sys.modules, "torch", None)
        assert threads.count_threads() == count
        results.append((simulator.evaluate(x, w)[0], simulator.vjp(x, w, c)[1]))
    for one, several in zip(*results, strict=True):
        np.testing.assert_allclose(several, one, rtol=0, atol=1e-12)


def test_a_cone_within_another_one_is_read_there():
    n = 30
    terms = [("ZZ", [q, q + 1], -1.0) for q in range(n - 1)] + [("X", [q], -0.7) for q in range(n)]
    energy = SparsePauliOp.from_sparse_list(terms, n)
    circuit = chain(n, 3, turn="rz")
    plan = planned(circuit, [energy])
    alone = [
        planned(circuit, [SparsePauliOp.from_sparse_list(some, n)])
        for some in (terms[: n - 1], terms[n - 1 :])
    ]
    rows, *others = (sum(len(c.angles) for c in p.cones.classes) for p in (plan, *alone))
    assert rows <= max(others) + 4  # of the ends, some cones are not parts of others
    w = np.random.default_rng(5).normal(size=(1, circuit.num_parameters))
    found = value_and_gradient(plan.compile(), w)
    each = [SparsePauliOp.from_sparse_list([term], n) for term in terms]
    parts = [value_and_gradient(compiled(circuit, [o]), w) for o in each]
    for k in range(2):
        total = np.sum([part[k] for part in parts], axis=0)
        np.testing.assert_allclose(found[k], total, rtol=0, atol=n * EXACT)


def test_much_of_a_circuit_is_one_cone(monkeypatch):
    """Where cones would take long to tell apart they are not, and the values are the same."""
    circuit, observables = mixed(7, 1), random_observables(7, 1)
    w = np.random.default_rng(1).normal(size=(1, circuit.num_parameters))
    expected = value_and_gradient(compiled(circuit, observables), w)
    monkeypatch.setattr(find, "MAX_PAIRS", 0)
    assert len(planned(circuit, observables).cones.classes) == 1
    found = value_and_gradient(compiled(circuit, observables), w)
    for f, e in zip(found, expected, strict=True):
        np.testing.assert_allclose(f, e, rtol=0, atol=EXACT)


# What is outside


def test_columns_outside_of_all_cones_have_exactly_no_derivative():
    n = 12
    circuit = chain(n, 2)
    observables = [z_on(n, 3), z_on(n, 4)]
    effective = effective_columns(AnalysedCircuit(circuit), observables)
    simulator = compiled(circuit, observables)
    w = np.random.default_rng(6).normal(size=(1, circuit.num_parameters))
    _, gradient = value_and_gradient(simulator, w)
    assert set(np.flatnonzero(gradient[0]).tolist()) == set(effective)
    assert 0 < len(effective) < circuit.num_parameters // 2


def test_effective_columns_see_through_expressions_and_width():
    a, b, c = (Parameter(name) for name in "abc")
    circuit = QuantumCircuit(150)
    circuit.ry(a * b, 0)
    circuit.ry(c, 149)
    circuit.cx(0, 1)
    analysed = AnalysedCircuit(circuit)
    assert effective_columns(analysed, [z_on(150, 1)]) == {0, 1}
    assert effective_columns(analysed, [z_on(150, 149)]) == {2}
    assert effective_columns(analysed, [z_on(150, 70)]) == set()
    assert effective_columns(analysed, []) == set()


def test_idle_qubits_of_a_device_take_nothing():
    circuit = QuantumCircuit(127)
    circuit.ry(Parameter("a"), 100)
    circuit.cx(100, 101)
    observables = [z_on(127, 101), z_on(127, 5, 100), SparsePauliOp("I" * 120 + "X" + "I" * 6)]
    simulator = compiled(circuit, observables)
    found, gradient = value_and_gradient(simulator, np.array([[0.3]]))
    np.testing.assert_allclose(found, [[math.cos(0.3), math.cos(0.3), 0]], rtol=0, atol=EXACT)
    np.testing.assert_allclose(gradient, [[-2 * math.sin(0.3)]], rtol=0, atol=EXACT)


# Plans and refusals


def test_a_plan_tells_the_groups_of_terms():
    n = 40
    circuit = chain(n, 2)
    observables = [z_on(n, 10), SparsePauliOp("I" * n), z_on(n, 20) + z_on(n, 0, n - 1)]
    plan = planned(circuit, observables)
    group_of, operations = plan.groups()
    assert group_of.shape == (4,) and group_of[1] == -1
    assert group_of[0] == group_of[2] != group_of[3]
    assert len(operations) == len(plan.cones.classes) and (operations > 0).all()
    one, many = plan.estimate(1), plan.estimate(64)
    assert one.operations < many.operations <= 64 * one.operations


def test_a_cone_too_large_is_named_before_anything_is_allocated():
    n = 90
    circuit = QuantumCircuit(n)
    w = ParameterVector("w", 2 * n)
    for q in range(n):
        circuit.ry(w[q], q)
    for q in range(n - 1):
        circuit.cx(q, q + 1)
    for q in range(n):
        circuit.rx(w[n + q], q)
    plan = planned(circuit, [z_on(n, 0), z_on(n, n - 1)])
    assert plan.estimate(1).bytes > 1 << 40
    with pytest.raises(MemoryLimitError, match=r"observable 1, .* on 90 qubits .*columns"):
        plan.compile()


def test_what_has_no_cone_is_refused():
    circuit = QuantumCircuit(2)
    circuit.ry(Parameter("a"), 0)
    analysed = AnalysedCircuit(circuit)
    for readout in (None, Amplitudes((0, 1))):
        with pytest.raises(MeasurementError, match="statevector"):
            LightConeSimulator(analysed, readout, [], [0])
    with pytest.raises(CircuitError, match="real coefficients"):
        compiled(circuit, [SparsePauliOp("ZZ", 1j)])
    many = ProductOperator.from_list([("0" * 20, 1.0)])
    with pytest.raises(CircuitError, match="few Pauli strings"):
        compiled(QuantumCircuit(20), [many])
    simulator = compiled(circuit, [z_on(2, 0)])
    with pytest.raises(MeasurementError, match="statevector"):
        simulator.states(NO_INPUTS, np.zeros((1, 1)))
    with pytest.raises(MeasurementError, match="statevector"):
        simulator.tangent_states(*[NO_INPUTS, np.zeros((1, 1))] * 2)


def test_values_that_are_no_numbers_are_refused():
    a, b = Parameter("a"), Parameter("b")
    circuit = QuantumCircuit(2)
    circuit.ry(a.log(), 0)
    circuit.ry(b * 1e300, 1)
    simulator = compiled(circuit, [z_on(2, 0), z_on(2, 1)])
    with pytest.raises(ExpressionError, match="singular"):
        simulator.evaluate(NO_INPUTS, np.array([[0.0, 1.0]]))
    with pytest.raises(InputError, match="finite"):
        simulator.evaluate(NO_INPUTS, np.array([[1.0, np.nan]]))
    with pytest.raises(InputError, match="range"):
        simulator.evaluate(NO_INPUTS, np.array([[1.0, 1e20]]))


def test_circuits_of_matrices_alone_have_no_angles():
    circuit = QuantumCircuit(4)
    circuit.append(StatePreparation([0.6, 0, 0, 0.8j]), [1, 2])
    circuit.append(UnitaryGate(random_unitary(4, seed=3)), [0, 1])
    observables = [SparsePauliOp(["IIII", "ZZZZ"], [0.25, -0.5]), SparsePauliOp("IXYX")]
    nothing = np.zeros((1, 0))
    at, c = (NO_INPUTS, nothing), np.ones((1, 2))
    light, state = (
        compiled(circuit, observables, m) for m in (LightConeSimulator, StatevectorSimulator)
    )
    values, right = light.evaluate(*at)[0], state.evaluate(*at)[0]
    np.testing.assert_allclose(values, right, rtol=0, atol=1e-14)
    assert np.abs(right - [[0.25, 0]]).min() > 0.01
    assert [g.shape for g in light.vjp(*at, c)] == [(1, 0), (1, 0)]
