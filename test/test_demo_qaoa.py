# SPDX-License-Identifier: Apache-2.0
"""Graphs, cuts and QAOA circuits are what theory says, and ``demo qaoa`` counts and draws them."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import Statevector

from qiskit_torch_bridge import TorchQuantumModule, Tracker, expectation
from qiskit_torch_bridge.__main__ import build_parser
from qiskit_torch_bridge.demos import contest, large_graphs, problems, qaoa
from qiskit_torch_bridge.demos.command_line import DemoError
from qiskit_torch_bridge.demos.problems import Graph

PNG = b"\x89PNG\r\n\x1a\n"


def parsed(*arguments):
    return build_parser().parse_args(["demo", "qaoa", *map(str, arguments)])


def run(*arguments):
    options = parsed(*arguments)
    return options.run(options)


def ring(size):
    return Graph(size, tuple((k, (k + 1) % size) for k in range(size)), (1.0,) * size)


def complete(size):
    edges = tuple(itertools.combinations(range(size), 2))
    return Graph(size, edges, (1.0,) * len(edges))


def weighted(size, seed):
    rng = np.random.default_rng(seed)
    edges = problems.random_gnp(size, 0.6, rng).edges
    return Graph(size, edges, tuple(rng.normal(size=len(edges)).tolist()))


@pytest.mark.parametrize("size", [2, 3, 4, 5, 7])
def test_largest_cuts_of_known_graphs(size):
    assert problems.max_cut(complete(size)) == size**2 // 4
    if size > 2:
        assert problems.max_cut(ring(size)) == size - size % 2


def test_the_petersen_graph_is_itself():
    graph = problems.petersen()
    adjacency = np.zeros((10, 10), dtype=int)
    for u, v in graph.edges:
        adjacency[u, v] = adjacency[v, u] = 1
    # The strongly regular graph (10, 3, 0, 1): A^2 = 3 I + (J - I - A); there is only one.
    expected = 3 * np.eye(10, dtype=int) + 1 - np.eye(10, dtype=int) - adjacency
    assert np.array_equal(adjacency @ adjacency, expected)
    assert problems.max_cut(graph) == 12


def test_all_cuts_against_sets_of_nodes():
    graph = weighted(5, seed=3)
    values = problems.cut_values(graph)
    for size in range(6):
        for side in itertools.combinations(range(5), size):
            pairs = zip(graph.edges, graph.weights, strict=True)
            cut = sum(w for (u, v), w in pairs if (u in side) != (v in side))
            assert values[sum(1 << node for node in side)] == pytest.approx(cut, abs=1e-12)


def test_the_operator_has_the_cuts_on_its_diagonal():
    graph = weighted(4, seed=5)
    matrix = problems.cut_operator(graph).to_matrix()
    assert np.allclose(matrix, np.diag(problems.cut_values(graph)), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("size", "degree"), [(4, 3), (12, 3), (7, 4), (16, 5), (2, 1)])
def test_random_regular_graphs_are_regular(size, degree):
    for seed in range(5):
        graph = problems.random_regular(size, degree, np.random.default_rng(seed))
        assert len(set(graph.edges)) == len(graph.edges) == size * degree // 2
        assert all(u < v for u, v in graph.edges)
        assert np.bincount(np.ravel(graph.edges), minlength=size).tolist() == [degree] * size
        assert graph == problems.random_regular(size, degree, np.random.default_rng(seed))


@pytest.mark.parametrize(("size", "degree"), [(5, 3), (3, 3), (4, 0)])
def test_graphs_that_do_not_exist_are_refused(size, degree):
    with pytest.raises(DemoError, match=f"no graph of {size} nodes with {degree}"):
        problems.random_regular(size, degree, np.random.default_rng())


def test_random_graphs_have_the_edges_that_chance_gives():
    rng = np.random.default_rng(0)
    assert problems.random_gnp(6, 1, rng) == complete(6)
    assert problems.random_gnp(6, 0, rng).edges == ()
    counts = [len(problems.random_gnp(10, 0.3, rng).edges) for _ in range(200)]
    # A mean of 200 binomials (45, 0.3): standard deviation 3.07 / sqrt(200).
    assert abs(np.mean(counts) - 13.5) < 5 * math.sqrt(45 * 0.3 * 0.7 / 200)


@pytest.mark.parametrize(("graph", "degree"), [(ring(6), 2), (problems.petersen(), 3)])
def test_one_layer_without_triangles_has_its_closed_form(graph, degree):
    """Z. Wang, S. Hadfield et al., arXiv:1706.02998, theorem 1, for d - 1 further neighbours."""
    gamma, beta = np.random.default_rng(degree).uniform(-2, 2, 2)
    circuit, gammas, betas = problems.qaoa_circuit(graph, 1)
    weights = {gammas[0]: gamma, betas[0]: beta}
    module = TorchQuantumModule(circuit, problems.cut_operator(graph), initial_weights=weights)
    closed = 0.5 + 0.5 * math.sin(4 * beta) * math.sin(gamma) * math.cos(gamma) ** (degree - 1)
    values = torch.tensor([weights[p] for p in module.program.weight_params], dtype=torch.float64)
    mean = expectation(module.program, weights=values).item() / len(graph.edges)
    assert mean == pytest.approx(closed, abs=1e-10)
    state = Statevector(circuit.assign_parameters(weights))
    by_qiskit = state.expectation_value(problems.cut_operator(graph)).real / len(graph.edges)
    assert by_qiskit == pytest.approx(closed, abs=1e-10)


@pytest.mark.parametrize(("reps", "ratio"), [(1, 3 / 4), (2, 5 / 6)])
def test_a_ring_is_cut_as_theory_predicts(reps, ratio):
    """The ratio is (2p + 1) / (2p + 2) on a ring of more than 2p nodes, an even number."""
    problem = problems.cut_problem("ring", ring(8), reps)
    result = qaoa.solve(problem, parsed("--optimizers", "lbfgs", "cobyla"), seed=0)
    for finished in result.runs:
        # Slopes below 1e-4, or steps, leave an error of their square's size.
        assert result.ratio(finished) == pytest.approx(ratio, abs=1e-6)


def tail_mean(problem, weights, alpha):
    """The mean of the lowest values of a diagonal operator, from Qiskit's state vector."""
    state = Statevector(problem.circuit.assign_parameters(weights))
    values, room, total = np.real(np.diag(problem.operator.to_matrix())), alpha, 0.0
    for index in np.argsort(values):
        part = min(room, state.probabilities()[index])
        total, room = total + part * values[index], room - part
    return total / alpha


def test_cvar_is_trained_beside_the_mean():
    problem, alpha = problems.cut_problem("ring", ring(6), 1), 0.3
    options = parsed("--optimizers", "adam", "--steps", 40, "--alpha", alpha)
    result = qaoa.solve(problem, options, seed=0)
    point, mean_point = result.tail.run.point, result.runs[0].point
    assert result.tail.label == "Adam, CVaR 0.3"
    assert result.tail.run.best == pytest.approx(tail_mean(problem, point, alpha), abs=1e-9)
    assert result.tail.run.best < tail_mean(problem, problem.start, alpha) - 0.01
    assert result.tail.run.best <= tail_mean(problem, mean_point, alpha) + 1e-6
    state = Statevector(problem.circuit.assign_parameters(point))
    assert result.tail.mean == pytest.approx(
        state.expectation_value(problem.operator).real, abs=1e-9
    )
    # The share of largest cuts that were sampled is binomial.
    right = state.probabilities()[problems.cut_values(problem.graph) == 6].sum()
    found = np.mean(result.tail.cuts == 6)
    assert abs(found - right) < 5 * math.sqrt(right * (1 - right) / qaoa.SAMPLES)


def test_the_side_of_a_node_is_the_bit_of_its_qubit():
    graph = Graph(3, ((0, 1), (1, 2)), (5.0, 1.0))
    theta, circuit = Parameter("theta"), QuantumCircuit(3)
    circuit.rx(theta, 0)
    operator, start = problems.cut_operator(graph), np.array([math.pi])
    problem = problems.Problem("one node on the other side", circuit, operator, 0.0, start, graph)
    conditions = contest.Conditions(contest.Price(), budget=1)
    finished = contest.Run(contest.CONTESTANTS["adam"], problem, conditions, point=start)
    cuts, sides = qaoa.sample(finished)
    assert cuts.tolist() == [5.0] * qaoa.SAMPLES and sides == (1, 0, 0)


def test_weights_of_any_size_are_cut_alike():
    graph = weighted(5, seed=1)
    ratios = []
    for factor in (1.0, 1000.0):
        scaled = graph._replace(weights=tuple(factor * weight for weight in graph.weights))
        problem = problems.cut_problem("graph", scaled, 2)
        options = parsed("--optimizers", "adam", "--steps", 5)
        result = qaoa.solve(problem, options, seed=0)
        assert result.largest_cut == pytest.approx(factor * problems.max_cut(graph))
        ratios.append(result.ratio(result.runs[0]))
    assert ratios[0] == pytest.approx(ratios[1], abs=1e-9)


def test_the_case_of_the_beginning_has_its_closed_form():
    problem = problems.origin_problem()
    module = TorchQuantumModule(problem.circuit, problem.operator, initial_weights=[0.4, 1.3])
    value = module()
    value.sum().backward()
    assert value.item() == pytest.approx(-(math.cos(0.4) ** 2) / 4, abs=1e-6)  # float32
    expected = torch.tensor([math.sin(0.8) / 4, 0.0])  # by beta, and by gamma
    torch.testing.assert_close(module.weight.grad, expected, rtol=0, atol=1e-6)


def test_a_gradient_has_the_price_that_its_rule_says():
    graph = problems.petersen()
    circuit, _, _ = problems.qaoa_circuit(graph, 2)
    operator = problems.cut_operator(graph)
    prices = [
        contest.price_gradient(circuit, operator, name)
        for name in ("finite-difference", "spsa", "parameter-shift")
    ]
    assert prices == [2 * 4, 2, 2 * 2 * (15 + 10)]


@pytest.mark.parametrize("method", ["adam", "lbfgs", "cobyla", "spsa", "slsqp"])
def test_what_is_counted_is_what_an_estimator_evaluates(method):
    problem = problems.cut_problem("ring", ring(4), 1)
    gradients = contest.price_gradient(problem.circuit, problem.operator, "parameter-shift")
    conditions = contest.Conditions(
        contest.Price(gradients=gradients), budget=130, gradient="parameter-shift"
    )
    problem = dataclasses.replace(problem, tolerance=1e-9)
    size = qaoa.STEP_SIZES.get(method)
    with Tracker() as tracker:
        finished = contest.compete(
            contest.Run(contest.CONTESTANTS[method], problem, conditions, size)
        )
    # For a slope alone SLSQP's objective evaluates a value that no device would have to.
    again = finished.counts.gradients if method == "slsqp" else 0
    assert finished.spent() == tracker.usage.points - again <= 130
    evaluations = finished.evaluations()
    assert evaluations == sorted(evaluations)
    assert finished.best == min(v for _, v in finished.trace) < finished.trace[0][1]


def test_three_problems_are_solved_and_drawn(tmp_path, capsys):
    plot = tmp_path / "qaoa.png"
    file = tmp_path / "own.txt"
    file.write_text("# a square with a diagonal\n1 2\n2 3 1.5\n\n3 4 # comment\n4 1 2\n1 3 0.25\n")
    results = run("--nodes", 6, "--graph", file, "--reps", 2, "--steps", 20, "--plot", plot)
    assert [len(result.runs) for result in results] == [6, 6, 6]
    for result in results:
        best = max(result.ratio(finished) for finished in result.runs)
        assert 0.9 < best <= 1 + 1e-9
        budget = 20 * (1 + result.price.gradients)
        assert all(finished.spent() <= budget for finished in result.runs)
        assert len({finished.trace[0][1] for finished in result.runs}) == 1  # one start for all
    for result in results[1:]:
        index = sum(side << node for node, side in enumerate(result.best_sides))
        drawn = problems.cut_values(result.problem.graph)[index]
        assert drawn == max(cuts.max() for cuts in result.cuts) <= result.largest_cut
    assert results[2].problem.graph.labels == (1, 2, 3, 4)
    assert results[2].largest_cut == 5.5
    assert plot.read_bytes().startswith(PNG)
    out = capsys.readouterr().out
    assert "largest cut 5.5" in out and all(f"{name}" in out for name in ("L-BFGS", "COBYLA"))


def test_shots_and_gradients_are_taken_from_the_flags():
    options = ("--nodes", 4, "--reps", 1, "--steps", 3, "--optimizers", "adam", "spsa")
    first, again = (run(*options, "--shots", 50) for _ in range(2))
    assert [r.runs[0].trace for r in first] == [r.runs[0].trace for r in again]
    assert [r.price.gradients for r in first] == [6, 2 * (6 + 4), 2 * (15 + 10)]
    spsa = run(*options, "--gradient", "spsa")
    assert [r.price.gradients for r in spsa] == [2, 2, 2]


def test_many_graphs_become_one_table(tmp_path, capsys):
    plot = tmp_path / "survey.png"
    options = ("--nodes", 6, "--reps", 1, "--steps", 10, "--optimizers", "lbfgs", "spsa")
    results = run("--graphs", 3, *options, "--plot", plot)
    edges = [result.problem.graph.edges for result in results]
    assert len(results) == 3 and len(set(edges)) > 1
    ratios = [result.ratio(result.runs[0]) for result in results]
    out = capsys.readouterr().out
    assert f"{np.mean(ratios):.4f}" in out and f"{np.min(ratios):.4f}" in out
    means = [result.tail.mean / result.problem.least for result in results]
    assert "L-BFGS, CVaR 0.5" in out and f"{np.mean(means):.4f}" in out
    assert plot.read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0 1\n1\n", "line 2.*there are 1 words"),
        ("0 1 2 3\n", "line 1.*there are 4 words"),
        ("0 x\n", "line 1.*invalid literal"),
        ("0 1 heavy\n", "line 1.*could not convert"),
        ("0 1 inf\n", "line 1.*finite"),
        ("# loop\n2 2\n", "line 2.*joined to itself"),
        ("0 1\n1 0 3\n", "line 2.*0 and 1 are joined already"),
        ("# nothing\n", "0 nodes and 0 edges"),
        ("\n".join(f"{k} {k + 1}" for k in range(2000)), "2001 nodes and 2000 edges"),
    ],
)
def test_a_wrong_graph_file_is_named_with_its_line(tmp_path, content, message):
    path = tmp_path / "graph.txt"
    path.write_text(content)
    with pytest.raises(DemoError, match=message) as error:
        problems.read_edge_list(path)
    assert str(path) in str(error.value)


def test_unreadable_graph_files_are_explained(tmp_path):
    with pytest.raises(DemoError, match="Cannot read the graph"):
        problems.read_edge_list(tmp_path / "missing.txt")
    path = tmp_path / "binary.txt"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DemoError, match="Cannot read the graph"):
        problems.read_edge_list(path)


def test_a_graph_without_any_cut_above_zero_is_refused():
    graph = Graph(3, ((0, 1), (1, 2)), (-1.0, -2.0))
    with pytest.raises(DemoError, match="nothing to find"):
        problems.cut_problem("this graph", graph, 1)


# Large graphs


def with_triangles(size, seed):
    graph = problems.random_gnp(size, 0.5, np.random.default_rng(seed))
    isolated = set(range(size)) - {node for edge in graph.edges for node in edge}
    assert not isolated
    return graph


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_one_layer_has_its_closed_form_on_every_edge_of_any_graph(seed):
    graph, rng = with_triangles(8, seed), np.random.default_rng(seed)
    gamma, beta = rng.uniform(-2, 2, 2)
    circuit, gammas, betas = problems.qaoa_circuit(graph, 1)
    state = Statevector(circuit.assign_parameters({gammas[0]: gamma, betas[0]: beta}))
    index = np.arange(2**8)
    chances = [
        state.probabilities()[((index >> u ^ index >> v) & 1) == 1].sum() for u, v in graph.edges
    ]
    closed = large_graphs.one_layer_cuts(graph, gamma, beta)
    assert closed == pytest.approx(chances, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_local_search_ends_where_no_move_gains(seed):
    graph = weighted(9, seed)
    cuts, sides = large_graphs.search_locally(graph, 50, np.random.default_rng(seed))
    assert large_graphs.cut_sizes(graph, sides[None]) == pytest.approx(cuts.max())
    for node in range(9):
        moved = sides.copy()
        moved[node] = 1 - moved[node]
        assert large_graphs.cut_sizes(graph, moved[None])[0] <= cuts.max() + 1e-9
    # From fifty starts it misses the largest of 256 cuts with no chance to speak of.
    assert cuts.max() == pytest.approx(problems.max_cut(graph))


@pytest.mark.parametrize("graph", [ring(9), problems.petersen(), weighted(10, 4), complete(7)])
def test_the_largest_cut_is_found_node_by_node(graph):
    assert large_graphs.largest_cut(graph) == pytest.approx(problems.max_cut(graph))


def test_graphs_of_hundreds_of_nodes():
    cubic = large_graphs.random_cubic(300, 5)
    assert np.bincount(np.ravel(cubic.edges)).tolist() == [3] * 300
    assert cubic == large_graphs.random_cubic(300, 5) != large_graphs.random_cubic(300, 6)
    assert large_graphs.largest_cut(cubic) is None and large_graphs.find_width(cubic) > 20
    narrow = large_graphs.narrow_cubic(300, np.random.default_rng(5))
    degrees = np.bincount(np.ravel(narrow.edges))
    assert sorted(set(degrees)) == [2, 3] and (degrees == 2).sum() == 2
    assert len(set(narrow.edges)) == len(narrow.edges) and large_graphs.find_width(narrow) <= 4
    found = large_graphs.search_locally(narrow, 200, np.random.default_rng(0))[0].max()
    assert 0.8 < found / large_graphs.largest_cut(narrow) <= 1


def test_what_an_edge_sees():
    """The Petersen graph has girth 5: two steps from an edge are all ten nodes."""
    near, far = (large_graphs.surroundings(problems.petersen(), reps) for reps in (1, 2))
    assert set(near) == {(6, 5)} and near[0].is_tree
    assert {seen.nodes for seen in far} == {10} and not far[0].is_tree
    triangle = large_graphs.surroundings(complete(3), 1)
    assert set(triangle) == {(3, 3)}


def test_large_graphs_are_trained_exactly_sampled_and_drawn(tmp_path, capsys):
    plot = tmp_path / "large.png"
    flags = ("--nodes", 60, "--steps", 15, "--optimizers", "lbfgs")
    random, chain = run(*flags, "--reps", 1, 2, "--plot", plot)
    for result in (random, chain):
        one, two = result.trainings
        assert one.theory.error < 1e-12
        assert 0.6 < one.fraction(one.best) < two.fraction(two.best) < 1
        assert result.local.max() <= (result.largest or result.total)
        assert one.fraction(one.best) == pytest.approx(
            large_graphs.one_layer_cuts(result.graph, *one.best.point[::-1]).mean(), abs=1e-10
        )
    for training in random.trainings:
        # No angles cut more of an edge without cycles nearby; here cycles elsewhere move them.
        theory = training.theory
        assert 0 <= theory.large_girth + 5e-5 - theory.tree_value < 2e-3
        assert training.cuts is None and "edges lead over the busiest place" in training.refusal
    for training in chain.trainings:
        cuts = training.cuts / chain.total
        error = cuts.std() / math.sqrt(len(cuts))
        assert abs(cuts.mean() - training.fraction(training.best)) < 5 * error
        assert cuts.max() * chain.total <= chain.largest
    assert plot.read_bytes().startswith(PNG)
    out = capsys.readouterr().out
    assert "closed form" in out and "0.6925 at best" in out and "0.7559 at best" in out


def test_a_large_graph_of_the_users_own(tmp_path, capsys):
    file = tmp_path / "ring.txt"
    file.write_text("".join(f"{k} {(k + 1) % 40}\n" for k in range(40)))
    (result,) = run("--graph", file, "--reps", 1, "--steps", 15, "--optimizers", "lbfgs")
    (training,) = result.trainings
    assert result.largest == 40 and training.fraction(training.best) == pytest.approx(3 / 4)
    assert training.theory.large_girth is None and "ring.txt" in capsys.readouterr().out


def test_three_layers_cut_what_theory_has_without_short_cycles(tmp_path):
    """The Tutte-Coxeter graph has girth 8, so that three layers see trees from every edge.

    The published values are rounded to four digits; slopes below 1e-4 leave an error of their
    square's size.
    """
    chords = [-13, -9, 7, -7, 9, 13]
    edges = {tuple(sorted((k, (k + d) % 30))) for k in range(30) for d in (1, chords[k % 6])}
    file = tmp_path / "tutte_coxeter.txt"
    file.write_text("".join(f"{u} {v}\n" for u, v in edges))
    flags = ("--reps", 1, 2, 3, "--steps", 40, "--optimizers", "lbfgs")
    (result,) = run("--graph", file, *flags)
    assert result.largest == 45  # it is bipartite
    for training in result.trainings:
        theory = training.theory
        assert theory.trees == len(result.graph.edges) == 45
        assert theory.tree_value == pytest.approx(training.fraction(training.best), abs=1e-10)
        assert abs(theory.tree_value - theory.large_girth) <= 5e-5 + 1e-6
    assert result.trainings[0].theory.large_girth == pytest.approx(0.5 + 1 / math.sqrt(27))
