# SPDX-License-Identifier: Apache-2.0
"""Column networks: bonds, orders and strings, and circuits too wide for any state vector.

What every method must give on random circuits is in ``test_methods``; here are the matrix product
itself, what decides its size, and closed forms at 30 to 127 qubits.
"""

from __future__ import annotations

import networkx
import numpy as np
import pytest
import scipy.sparse.csgraph
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.circuit.library import PauliEvolutionGate, QFTGate, UnitaryGate
from qiskit.quantum_info import SparsePauliOp, Statevector, random_unitary
from test_statevector_cases import FULL

from qiskit_torch_bridge import CircuitProgram
from qiskit_torch_bridge.exceptions import CircuitError, MeasurementError, MemoryLimitError
from qiskit_torch_bridge.program.operators import ProductOperator
from qiskit_torch_bridge.program.readouts import Amplitudes, Expectations
from qiskit_torch_bridge.simulation.columns import ColumnPlan
from qiskit_torch_bridge.simulation.columns.layout import Form
from qiskit_torch_bridge.simulation.columns.order import cost_of_cuts, cut_widths, order_bits
from qiskit_torch_bridge.simulation.columns.strings import count_edges, find_automaton
from qiskit_torch_bridge.simulation.columns.tensors import build_tensors
from qiskit_torch_bridge.simulation.statevector import StatevectorSimulator

EXACT = 1e-10
NOTHING = np.zeros((1, 0))


def columns_of(*arguments):
    """The column networks of a circuit."""
    return ColumnPlan(*arguments).compile()


def simulate(circuit, observables, kind=columns_of, inputs=0):
    """A simulator whose first columns are inputs, and all others weights."""
    program = CircuitProgram(circuit, list(observables))
    columns = list(range(len(circuit.parameters)))
    return kind(program.analysed, program.readout, columns[:inputs], columns[inputs:])


def layered(n, layers, ring=False):
    p = iter(ParameterVector("p", n * (2 * layers + 1)))
    circuit = QuantumCircuit(n)
    for q in range(n):
        circuit.ry(next(p), q)
    for _ in range(layers):
        for q in range(n):
            circuit.ry(next(p), q)
            circuit.rz(next(p), q)
        for q in range(n if ring else n - 1):
            circuit.cx(q, (q + 1) % n)
    return circuit


def each(letter, n):
    return [SparsePauliOp.from_sparse_list([(letter, [q], 1.0)], n) for q in range(n)]


def odd_gates(seed=5):
    """Preparations, matrices of several qubits, evolutions, swaps, an idle qubit."""
    p = ParameterVector("p", 6)
    circuit = QuantumCircuit(7)
    amplitudes = np.array([1, 2j, -1, 0.5])
    circuit.initialize(amplitudes / np.linalg.norm(amplitudes), [0, 4])
    circuit.ry(p[0], 1)
    circuit.append(UnitaryGate(random_unitary(8, seed=seed)), [3, 0, 5])
    circuit.crx(p[1] * p[2], 5, 1)
    circuit.swap(1, 4)
    circuit.append(PauliEvolutionGate(SparsePauliOp("XYZ"), p[3]), [0, 4, 3])
    circuit.append(UnitaryGate(random_unitary(4, seed=seed)), [5, 0])
    circuit.rxx(p[4], 3, 4)
    circuit.cp(p[5] - p[0], 0, 1)
    circuit.append(QFTGate(3), [1, 3, 5])
    return circuit


def test_the_matrix_product_is_the_state():
    circuit = odd_gates()
    program = CircuitProgram(circuit, "Z" * 7)
    columns = range(len(circuit.parameters))
    simulator = columns_of(program.analysed, None, columns, [])
    values = np.random.default_rng(1).normal(size=(3, len(columns)))
    found = simulator.matrix_product(values, NOTHING)
    states = found.tensors[0][:, 0]
    for k in found.tensors[1:]:
        states = np.einsum("b...l,blsr->b...sr", states, k)
    site_of, axes = simulator.plan.site_of, []
    assert set(site_of) == set(range(7)) - {2, 6}
    for q in (5, 4, 3, 1, 0):
        axes.append(1 + site_of[q])
    states = states[..., 0].transpose([0, *axes]).reshape(3, -1)
    exact = StatevectorSimulator(program.analysed, None, columns, []).states(values, NOTHING)
    fidelity = np.abs(np.einsum("bi,bi->b", states.conj(), exact)) ** 2
    np.testing.assert_allclose(fidelity, 1, atol=EXACT)
    np.testing.assert_allclose(found.rights[0].ravel(), 1, atol=EXACT)
    for right in found.rights:
        np.testing.assert_allclose(right, right.conj().transpose(0, 2, 1), atol=EXACT)


def test_kernels_build_the_columns_that_their_definition_gives():
    circuit = odd_gates()
    program = CircuitProgram(circuit, "Z" * 7)
    simulator = columns_of(program.analysed, None, range(6), [])
    values = np.random.default_rng(2).normal(size=(2, 6))
    sources = simulator._sources
    x, _ = simulator._columns.extend(values, NOTHING)
    slots = np.repeat(np.arange(len(sources.offsets)), np.diff(sources.starts))
    angles = np.tile(sources.offsets, (2, 1))
    np.add.at(angles.T, slots, (sources.coefficients * x[:, sources.columns]).T)
    expected = build_tensors(simulator.plan.network, angles)
    for k, e in zip(simulator.matrix_product(values, NOTHING).tensors, expected, strict=True):
        np.testing.assert_allclose(k, e, atol=EXACT)


@pytest.mark.parametrize("circuit", [odd_gates(), layered(7, 2, ring=True)], ids=["odd", "ring"])
def test_long_strings_many_observables_and_projectors(circuit):
    rng = np.random.default_rng(3)
    labels = ["".join(rng.choice(list("IXYZ"), 7)) for _ in range(60)]
    parts = [labels[k : k + 4] for k in range(0, 60, 4)]
    observables = [SparsePauliOp(part, rng.normal(size=len(part))) for part in parts]
    observables += [SparsePauliOp("IIIIIII", 2.5), SparsePauliOp(["XYZIXYZ", "XYZIXYI"], [1, -2])]
    projected = [("0X+I1Zr", 0.7), ("I1111-I", 2.0), ("IIIIIlI", -1.0)]
    for extra in ([], [ProductOperator.from_list(projected)]):
        mine, exact = (
            simulate(circuit, [*observables, *extra], kind, inputs=2)
            for kind in (columns_of, StatevectorSimulator)
        )
        count, size = len(circuit.parameters), len(observables) + len(extra)
        x, dx, w, dw = (rng.normal(size=(3, k)) for k in (2, 2, count - 2, count - 2))
        c, dc = rng.normal(size=(2, 3, size))  # weights row by row, too
        near = {"rtol": EXACT, "atol": 60 * EXACT}
        np.testing.assert_allclose(mine.evaluate(x, w)[0], exact.evaluate(x, w)[0], **near)
        for f, e in zip(mine.vjp(x, w, c), exact.vjp(x, w, c), strict=True):
            np.testing.assert_allclose(f, e, **near)
        tangents = (s.tangent(x, w, dx, dw) for s in (mine, exact))
        np.testing.assert_allclose(*tangents, **near)
        products = (s.vjp_tangent(x, w, c, dx, dw, dc) for s in (mine, exact))
        for f, e in zip(*products, strict=True):
            np.testing.assert_allclose(f, e, **near)


# -- wider than any state vector ------------------------------------------------------------------


def test_qubits_alone_turn_as_one_does():
    n = 100
    p = ParameterVector("p", n)
    circuit = QuantumCircuit(n)
    for q in range(n):
        circuit.ry(p[q], q)
    strings = [SparsePauliOp("Z" * n), SparsePauliOp("X" * n), *each("Z", n)]
    simulator = simulate(circuit, strings)
    angles = np.linspace(-0.4, 0.3, n)[None]
    values, _ = simulator.evaluate(np.zeros((1, 0)), angles)
    np.testing.assert_allclose(values[0, 2:], np.cos(angles[0]), atol=EXACT)
    products = [np.cos(angles).prod(), np.sin(angles).prod()]
    np.testing.assert_allclose(values[0, :2], products, rtol=EXACT, atol=1e-300)
    _, gradient = simulator.vjp(np.zeros((1, 0)), angles, np.eye(1, n + 2))
    np.testing.assert_allclose(gradient, -products[0] * np.tan(angles), atol=EXACT)


@pytest.mark.parametrize("measured", ["in front", "at the end"])
def test_a_clifford_circuit_of_127_qubits(measured):
    """The cat state: any two Z agree, and the product of all X is one."""
    n = 127
    p = ParameterVector("p", 2)
    circuit = QuantumCircuit(n)
    circuit.h(0)
    for q in range(n - 1):
        circuit.cx(q, q + 1)
    circuit.rz(p[0], 0 if measured == "in front" else n - 1)
    circuit.rz(p[1], n // 2)
    turned = "X" * (n - 1) + "Y", "X" * n
    pairs = [SparsePauliOp.from_sparse_list([("ZZ", [q, (7 * q + 3) % n], 1)], n) for q in range(5)]
    simulator = simulate(circuit, [*map(SparsePauliOp, turned), *pairs, *each("Z", n)[:3]])
    a, b = 0.3, 1.1
    values, _ = simulator.evaluate(np.zeros((1, 0)), np.array([[a, b]]))
    expected = [np.sin(a + b), np.cos(a + b), 1, 1, 1, 1, 1, 0, 0, 0]
    np.testing.assert_allclose(values[0], expected, atol=EXACT)
    gradient = simulator.vjp(np.zeros((1, 0)), np.array([[a, b]]), np.eye(1, 10))[1]
    np.testing.assert_allclose(gradient, np.full((1, 2), np.cos(a + b)), atol=EXACT)


def test_all_sites_of_a_uniform_ring_are_alike():
    """Equal angles in layers that commute with shifts: a Z of one site is that of any other."""
    n = 40
    p = ParameterVector("p", 4)
    circuit = QuantumCircuit(n)
    for layer in range(2):
        for q in range(n):
            circuit.ry(p[2 * layer], q)
        for q in range(n):
            circuit.rzz(p[2 * layer + 1], q, (q + 1) % n)
    circuit.rx(0.0, 0)
    turned = QuantumCircuit(n).compose(circuit)
    for q in range(n):
        turned.rx(0.7, q)
    simulator = simulate(turned, each("Z", n))
    angles = np.array([[0.4, 0.9, -0.8, 0.5]])
    values, _ = simulator.evaluate(np.zeros((1, 0)), angles)
    np.testing.assert_allclose(values, values[0, 0], atol=EXACT)
    # A site has two neighbours on either side within its light cone.
    small = QuantumCircuit(9)
    for layer in range(2):
        for q in range(9):
            small.ry(angles[0, 2 * layer], q)
        for q in range(9):
            small.rzz(angles[0, 2 * layer + 1], q, (q + 1) % 9)
    for q in range(9):
        small.rx(0.7, q)
    exact = Statevector(small).expectation_value(SparsePauliOp("IIIIZIIII")).real
    np.testing.assert_allclose(values[0, 0], exact, atol=EXACT)


def test_aers_matrix_products_agree_at_sixty_qubits():
    aer = pytest.importorskip("qiskit_aer")
    n = 60
    circuit = layered(n, 2)
    rng = np.random.default_rng(6)
    values = rng.normal(size=(1, len(circuit.parameters)))
    observables = [*each("Z", n)[::7], SparsePauliOp.from_sparse_list([("XZY", [3, 9, 30], 1)], n)]
    found, _ = simulate(circuit, observables).evaluate(np.zeros((1, 0)), values)
    bound = circuit.assign_parameters(values[0])
    for k, observable in enumerate(observables):
        bound.save_expectation_value(observable, range(n), label=str(k))
    options = {"method": "matrix_product_state", "matrix_product_state_truncation_threshold": 0.0}
    data = aer.AerSimulator(**options).run(bound).result().data()
    expected = [data[str(k)] for k in range(len(observables))]
    np.testing.assert_allclose(found[0], expected, atol=1e-9)  # of its singular values' rounding


def test_derivatives_of_a_hundred_qubits():
    """Gradients against the parameter-shift rule, and a Hessian against itself transposed."""
    n = 100
    circuit = layered(n, 3)
    simulator = simulate(circuit, each("Z", n))
    rng = np.random.default_rng(7)
    w = rng.normal(size=(1, len(circuit.parameters)))
    c = rng.normal(size=(1, n))
    nothing = np.zeros((1, 0))
    gradient = simulator.vjp(nothing, w, c)[1]
    for k in rng.choice(w.shape[1], 5, replace=False):
        shift = np.zeros_like(w)
        shift[0, k] = np.pi / 2
        ahead, behind = (simulator.evaluate(nothing, w + s * shift)[0] for s in (1, -1))
        np.testing.assert_allclose(gradient[0, k], c @ (ahead - behind)[0] / 2, atol=EXACT)
    u, v = rng.normal(size=(2, *w.shape))
    along = [simulator.vjp_tangent(nothing, w, c, nothing, d, 0 * c)[1] for d in (u, v)]
    np.testing.assert_allclose((along[0] * v).sum(), (along[1] * u).sum(), rtol=EXACT)
    np.testing.assert_allclose(
        (simulator.tangent(nothing, w, nothing, u) * c).sum(), (gradient * u).sum(), rtol=EXACT
    )


# -- what decides the cost -------------------------------------------------------------------------


def test_bonds_are_as_narrow_as_the_circuit():
    def bonds(circuit, observables=None):
        return max(simulate(circuit, observables or each("Z", circuit.num_qubits)).plan.bonds)

    assert bonds(layered(30, 3)) == 4  # the last layer ends the circuit
    assert bonds(layered(30, 3), each("X", 30)) == 4
    assert bonds(layered(12, 2, ring=True)) <= 16
    crossed = QuantumCircuit(20)  # neighbours that are far apart in the circuit's order
    places = np.random.default_rng(0).permutation(20).tolist()
    p = ParameterVector("p", 39)
    for q in range(20):
        crossed.rx(p[q], q)
    for k in range(19):
        crossed.rzz(p[20 + k], places[k], places[k + 1])
    assert bonds(crossed, each("Y", 20)) == 2
    ladder = QuantumCircuit(6)  # of CX that stand for one rotation
    for q in range(6):
        ladder.h(q)
    for q in range(5):
        ladder.cx(q, q + 1)
    ladder.rz(p[0], 5)
    for q in reversed(range(5)):
        ladder.cx(q, q + 1)
    for q in range(6):
        ladder.rx(p[1 + q], q)
    assert bonds(ladder) == 2


def test_operations_on_two_qubits_take_four_values_at_most():
    n = 6
    p = ParameterVector("p", 40)
    k = iter(p)
    exchange, controlled, mixed = (QuantumCircuit(n) for _ in range(3))
    for circuit in (exchange, controlled, mixed):
        for q in range(n):
            circuit.ry(0.3 * q + 0.2, q)
    for a in range(n - 1):
        exchange.rxx(next(k), a, a + 1)
        exchange.ryy(next(k), a, a + 1)
        exchange.rzz(next(k), a, a + 1)
        controlled.cx(a, a + 1)  # a controlled rotation, written out
        controlled.ry(next(k), a + 1)
        controlled.cx(a, a + 1)
        mixed.rzx(next(k), a, a + 1)
        mixed.rx(next(k), a + 1)
        mixed.ryy(0.4, a, a + 1)
        mixed.h(a + 1)
        mixed.rxx(next(k), a, a + 1)
    rng = np.random.default_rng(8)
    for circuit, bond in ((exchange, 4), (controlled, 2), (mixed, 4)):
        for q in range(n):
            circuit.rx(0.4, q)
        observables = [*each("Z", n), SparsePauliOp("XYZXYZ"), *each("Y", n)]
        mine, exact = (
            simulate(circuit, observables, s) for s in (columns_of, StatevectorSimulator)
        )
        assert max(mine.plan.bonds) == bond
        w, dw = rng.normal(size=(2, 1, len(circuit.parameters)))
        c, x = rng.normal(size=(1, 2 * n + 1)), np.zeros((1, 0))
        both = [
            (s.evaluate(x, w)[0], s.vjp(x, w, c)[1], s.vjp_tangent(x, w, c, x, dw, c)[1])
            for s in (mine, exact)
        ]
        for found, expected in zip(*both, strict=True):
            np.testing.assert_allclose(found, expected, rtol=EXACT, atol=20 * EXACT)


def test_an_order_keeps_gates_off_cuts():
    weights = {(k, (k + 1) % 12): 1.0 for k in range(12)}
    order = order_bits(12, weights)
    assert sorted(order) == list(range(12))
    assert max(cut_widths(order, weights)) == 2
    grid = {(4 * i + j, 4 * i + j + 1): 1.0 for i in range(9) for j in range(3)}
    grid |= {(4 * i + j, 4 * i + j + 4): 1.0 for i in range(8) for j in range(4)}
    shuffled = np.random.default_rng(1).permutation(36).tolist()
    mixed = {(shuffled[a], shuffled[b]): w for (a, b), w in grid.items()}
    assert max(cut_widths(order_bits(36, mixed), mixed)) <= 5


def test_an_order_for_graphs_that_are_no_strips():
    """A random 3-regular graph of 60 nodes and one of 50, and idle bits: no order by distances."""
    both = networkx.disjoint_union(
        *(networkx.random_regular_graph(3, nodes, seed=nodes) for nodes in (60, 50))
    )
    names = np.random.default_rng(0).permutation(113)
    weights = {tuple(sorted(names[[u, v]].tolist())): 1.0 for u, v in both.edges}
    quick, thorough = (order_bits(113, weights, flag) for flag in (False, True))
    assert sorted(quick) == sorted(thorough) == list(range(113))
    ends = np.array(list(weights)).T
    graph = scipy.sparse.csr_array((np.ones(len(weights)), ends), shape=(113, 113))
    by_distances = scipy.sparse.csgraph.reverse_cuthill_mckee(graph + graph.T, True).tolist()
    assert max(cut_widths(quick, weights)) <= max(cut_widths(by_distances, weights)) * 2 / 3
    least = cost_of_cuts(cut_widths(thorough, weights))
    assert least < cost_of_cuts(cut_widths(quick, weights))
    for start in range(0, 113, 9):  # no bit has a better place
        rest = thorough[:start] + thorough[start + 1 :]
        for place in range(max(start - 20, 0), min(start + 20, 112) + 1):
            moved = [*rest[:place], thorough[start], *rest[place:]]
            assert cost_of_cuts(cut_widths(moved, weights)) >= least * (1 - 1e-6)


def test_strings_share_their_beginnings():
    letters = np.array([[1, 1, 1, 0], [1, 1, 0, 2], [1, 1, 1, 1], [0, 0, 3, 0]])
    automaton = find_automaton(letters)
    assert automaton.nodes == [1, 2, 2, 2, 0]
    assert automaton.first_end == 2
    assert sum(edge.target < 0 for edges in automaton.edges for edge in edges) == 4
    ends = np.tril(np.ones((50, 50), dtype=int))
    assert count_edges(ends) == 99 and count_edges(ends[:, ::-1]) == 1275


FORMS = [(together, keeps) for together in (False, True) for keeps in (False, True)]


def choosing(simulator, together, keeps):
    """A simulator whose rows lie side by side or not, and that keeps environments or not."""
    plan = simulator.plan
    plan.choose_form = lambda rows, keep=False, separately=False: Form(together, keep and keeps)
    return simulator


@pytest.mark.parametrize(("together", "keeps"), FORMS)
@pytest.mark.parametrize("rows", [1, 8, 19])
@pytest.mark.parametrize("shared", [False, True])
def test_rows_side_by_side_and_rows_by_themselves(together, keeps, rows, shared):
    rng = np.random.default_rng(rows)
    observables = [
        SparsePauliOp(["ZIIIIII", "IXYIIII"], [0.5, -2]), SparsePauliOp("IIZIYXI"),
        SparsePauliOp(["IIIIIIZ", "IXYZIII", "ZZZZZZZ"], [1, 0.3, 2]),
    ]  # fmt: skip
    right = simulate(odd_gates(), observables, StatevectorSimulator, inputs=2)
    found = choosing(simulate(odd_gates(), observables, inputs=2), together, keeps)
    x, dx = rng.normal(size=(2, rows, 2))
    w, dw = rng.normal(size=(2, 1 if shared else rows, 4))
    c, dc = rng.normal(size=(2, rows, 3))
    values, kept = found.evaluate(x, w, keep=True)
    assert (kept is not None) == keeps
    np.testing.assert_allclose(values, right.evaluate(x, w)[0], rtol=0, atol=EXACT)
    np.testing.assert_allclose(found.evaluate_separately(x, w), values, rtol=0, atol=EXACT)
    tangent = right.tangent(x, w, dx, dw)
    np.testing.assert_allclose(found.tangent(x, w, dx, dw), tangent, rtol=0, atol=EXACT)
    gradient, of_right = right.vjp(x, w, c), right.vjp_tangent(x, w, c, dx, dw, dc)
    # What is not wanted is left out alike for any number of rows, and each time is slow.
    fewer = ((True, False), (False, True), (False, False)) if rows == 8 or FULL else ()
    for wanted in ((True, True), *fewer):
        for part, of_part, is_wanted in zip(
            found.vjp(x, w, c, kept, wanted), gradient, wanted, strict=True
        ):
            np.testing.assert_allclose(part, of_part * is_wanted, rtol=0, atol=rows * EXACT)
        further = found.vjp_tangent(x, w, c, dx, dw, dc, wanted)
        for part, of_part, is_wanted in zip(further, of_right, wanted, strict=True):
            np.testing.assert_allclose(part, of_part * is_wanted, rtol=0, atol=10 * rows * EXACT)


@pytest.mark.parametrize("together", [False, True])
def test_a_backward_pass_takes_what_a_forward_pass_has_left(together):
    simulator = choosing(simulate(layered(9, 3), each("Z", 9)), together, True)
    w, others = np.random.default_rng(3).normal(size=(2, 4, 63))
    x, c = np.zeros((4, 0)), np.ones((4, 9))
    _, kept = simulator.evaluate(x, w, keep=True)
    (gradient,) = simulator.vjp(x, others, c, kept)[1:]  # where it was, not where it is now
    assert not kept
    np.testing.assert_allclose(gradient, simulator.vjp(x, w, c)[1], rtol=0, atol=EXACT)
    again = simulator.vjp(x, others, c, kept)[1]  # nothing is left: it is computed
    np.testing.assert_array_equal(again, simulator.vjp(x, others, c)[1])
    assert np.abs(again - gradient).max() > 0.1


def test_steps_before_the_first_wanted_derivative_are_left_out():
    simulator = simulate(odd_gates(), each("Z", 7), inputs=1)
    firsts = [simulator._firsts_of(w) for w in ((True, True), (True, False), (False, False))]
    ends = np.cumsum([len(steps) for steps in simulator.plan.network.steps])
    np.testing.assert_array_equal(firsts[2], ends)
    assert (firsts[0] <= firsts[1]).all() and (firsts[0] < firsts[1]).any()
    assert (firsts[1] < ends).any()


def test_narrow_bonds_have_rows_side_by_side_and_wide_ones_many_threads():
    plans = [simulate(layered(30, layers), each("Z", 30)).plan for layers in (3, 8)]
    assert [plan.choose_form(64).together for plan in plans] == [True, False]
    assert not any(plan.choose_form(1).together for plan in plans)
    assert plans[0].count_operations(64) < 64 * plans[0].count_operations(1) / 3
    assert plans[1].count_operations(64) == 64 * plans[1].count_operations(1)
    assert plans[0].choose_form(8, True).keeps and plans[1].choose_form(1, True).keeps
    assert not plans[1].choose_form(1000, True).keeps


@pytest.mark.parametrize(("layers", "rows"), [(5, 1), (3, 40), (5, 24), (2, 1000)])
def test_memory_is_estimated(layers, rows):
    simulator = simulate(layered(40, layers), each("Z", 40))
    w = np.random.default_rng(0).normal(size=(rows, len(simulator.analysed.parameters)))
    x, c = np.zeros((rows, 0)), np.ones((rows, 40))
    values, kept = simulator.evaluate(x, w, keep=True)
    gradients = simulator.vjp(x, w, c, kept)
    (buffers,) = (found for spare in simulator._spare.values() for found in spare)
    taken = buffers.nbytes + values.nbytes + c.nbytes
    assert taken / 2 <= simulator.estimate(rows).bytes <= 2 * taken
    assert np.isfinite(gradients[1]).all()


def test_memory_is_refused_before_it_is_taken():
    dense = QuantumCircuit(100)
    p = ParameterVector("p", 100 * 99 // 2)
    pairs = [(a, b) for a in range(100) for b in range(a)]
    for q in range(100):
        dense.rx(0.3, q)
    for angle, pair in zip(p, pairs, strict=True):
        dense.rzz(angle, *pair)
    dense.rx(p[0], 0)
    refused = simulate(dense, each("Y", 100))
    assert refused.estimate(1).operations > 1e50
    with pytest.raises(MemoryLimitError, match="100 qubits and bond dimension"):
        refused.evaluate(np.zeros((1, 0)), np.zeros((1, len(p))))


def test_amplitudes_and_states_are_refused():
    circuit = layered(3, 1)
    program = CircuitProgram(circuit, "ZZZ")
    with pytest.raises(CircuitError, match="cannot read amplitudes"):
        ColumnPlan(program.analysed, Amplitudes((0, 1, 2)), range(9), [])
    simulator = columns_of(program.analysed, program.readout, range(9), [])
    with pytest.raises(MeasurementError, match="without one"):
        simulator.states(np.zeros((1, 9)), NOTHING)
    complex_sum = Expectations((SparsePauliOp("ZZZ", 1j),))
    with pytest.raises(CircuitError, match="Hermitian"):
        ColumnPlan(program.analysed, complex_sum, range(9), [])


def test_clifford_ends_go_into_observables_with_their_signs():
    rng = np.random.default_rng(9)
    circuit = QuantumCircuit(4)
    for q in range(4):
        circuit.ry(rng.normal(), q)
        circuit.rz(rng.normal(), q)
    for gate, qubits in (("cx", (0, 2)), ("s", (2,)), ("cz", (2, 3)), ("h", (3,)), ("cy", (1, 3))):
        getattr(circuit, gate)(*qubits)
    circuit.sdg(1)
    circuit.swap(0, 1)
    labels = ["".join(row) for row in rng.choice(list("IXYZ"), (80, 4))]
    simulator = simulate(circuit, map(SparsePauliOp, labels))
    assert max(simulator.plan.bonds) == 1
    values, _ = simulator.evaluate(np.zeros((1, 0)), NOTHING)
    state = Statevector(circuit)
    expected = [state.expectation_value(SparsePauliOp(label)).real for label in labels]
    np.testing.assert_allclose(values[0], expected, atol=EXACT)
