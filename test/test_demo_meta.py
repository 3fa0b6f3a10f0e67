# SPDX-License-Identifier: Apache-2.0
"""Learned optimizers learn, are compared fairly, and have not seen what they are tested on."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import rustworkx
import torch
from qiskit.quantum_info import Statevector

from qiskit_torch_bridge.__main__ import build_parser
from qiskit_torch_bridge.demos import learned_optimizer, meta, problems
from qiskit_torch_bridge.demos.command_line import DemoError
from qiskit_torch_bridge.demos.learned_optimizer import LearnedOptimizer, Task

PNG = b"\x89PNG\r\n\x1a\n"
SMALL = ("--epochs", "2", "--steps", "2", "--hidden", "4")
SMALL_QAOA = ("--part", "qaoa", "--layers", "1", "--nodes", "5", "--graphs", "3", "--unseen", "2")


@pytest.fixture(autouse=True)
def few_targets(monkeypatch):
    monkeypatch.setattr(meta, "TARGETS", 64)
    monkeypatch.setattr(meta, "TUNED_ON_TARGETS", 16)


def run(*arguments):
    options = build_parser().parse_args(["demo", "meta", *map(str, arguments)])
    return options.run(options)


def rotations(rows, seed):
    torch.manual_seed(seed)
    return meta.rotation_problem(meta.rotation_node(), *meta.draw_rotations(rows))


@pytest.mark.parametrize("slopes", [False, True])
def test_a_trained_optimizer_beats_its_untrained_self_and_reaches_its_targets(slopes):
    steps, unseen, start = 8, rotations(200, seed=1), torch.zeros(200, 1)
    torch.manual_seed(2)
    optimizer = LearnedOptimizer(1, 16, slopes)
    before = optimizer(unseen, start, steps)[0].detach()
    assert torch.equal(before, before[:1].expand(steps + 1, -1))  # it stays where it is

    torch.manual_seed(3)
    node = meta.rotation_node()
    draw = lambda: (meta.rotation_problem(node, *meta.draw_rotations(64)), start[:64])  # noqa: E731
    losses = learned_optimizer.train(optimizer, draw, steps, 100, "")
    after = optimizer(unseen, start, steps)[0].detach()
    assert losses[-1] < losses[0] / 3
    assert after[-1].mean() < before.mean() / 10
    assert after[-1].sqrt().median() < 0.1


def test_what_is_observed_is_the_circuits_distance_from_the_target():
    torch.manual_seed(4)
    (hidden, targets), angles = meta.draw_rotations(50), torch.rand(50, 1)
    problem = meta.rotation_problem(meta.rotation_node(), hidden, targets)
    expected = torch.cos(hidden + angles)[:, 0] - targets
    torch.testing.assert_close(problem.observe(angles), expected, rtol=0, atol=1e-6)


def quadratic():
    return Task(lambda angles: angles.sum(-1), torch.square)


@pytest.mark.parametrize("slopes", [False, True])
def test_the_way_back_goes_through_values_and_not_through_slopes(slopes):
    """Against differences of the loss: they agree only where slopes are constants."""
    optimizer = LearnedOptimizer(2, 3, slopes).double()
    for weight in optimizer.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    start = torch.full((1, 2), 0.3, dtype=torch.float64)
    bias = optimizer.head.bias

    def loss():
        return optimizer(quadratic(), start, 3)[0].sum()

    loss().backward()
    differences = []
    for k in range(2):
        with torch.no_grad():
            values = []
            for step in (1e-6, -2e-6):
                bias[k] += step
                values.append(loss().item())
            bias[k] += 1e-6
        differences.append((values[0] - values[1]) / 2e-6)
    agree = np.allclose(bias.grad.numpy(), differences, rtol=1e-6)
    assert agree != slopes


def test_a_guess_is_where_an_untrained_optimizer_leaps():
    guess = torch.tensor([0.1, -0.2])
    places = LearnedOptimizer(2, 4, guess=guess).walk(quadratic(), torch.ones(3, 2), 2)
    assert torch.equal(places, torch.stack([torch.ones(3, 2), *[guess.expand(3, 2)] * 2]))


def test_torchs_optimizers_walk_as_they_do_elsewhere():
    start = torch.tensor([[1.0, 2.0]])
    places = learned_optimizer.descend(torch.optim.SGD, 0.1, quadratic(), start, 1)
    assert torch.equal(places, torch.stack([start, start - 0.1 * 2 * 3.0]))
    # With one angle the loss is its square: half of its slope leads to the minimum.
    assert learned_optimizer.best_rate(torch.optim.SGD, quadratic(), torch.ones(2, 1), 3) == 0.5


def test_cuts_are_those_of_the_graphs():
    rng = np.random.default_rng(0)
    drawn = meta.draw_graphs(2, [5, 6], rng)
    problem = meta.cut_problem(meta.cut_nodes(drawn, 2))
    angles = meta.random_angles(6, 2).double()
    shares = problem.observe(angles) + 0.5
    for graph, rows, found in zip(drawn, angles.split(3), shares.split(3), strict=True):
        circuit, gammas, betas = problems.qaoa_circuit(graph, 2)
        for row, share in zip(rows.tolist(), found.tolist(), strict=True):
            bound = circuit.assign_parameters(dict(zip([*gammas, *betas], row, strict=True)))
            mean_cut = Statevector(bound).probabilities() @ problems.cut_values(graph)
            assert share * len(graph.edges) == pytest.approx(mean_cut, abs=1e-10)
    largest = torch.tensor([problems.max_cut(graph) / len(graph.edges) for graph in drawn])
    expected = shares.reshape(2, 3).mean(1) / largest
    ratios = meta.approximation_ratios(problem, drawn, angles)
    torch.testing.assert_close(ratios, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(("part", "rows"), [("rotation", 12), ("qaoa", 8)])
def test_rate_batch_and_memory_are_taken_from_the_flags(part, rows, monkeypatch):
    """For QAOA it is half as many walks, in whole graphs of four."""
    trained = []

    def train(optimizer, draw, steps, epochs, label, rate):
        _, start = draw()
        trained.append((optimizer.cell.hidden_size, len(start), rate, epochs))

    monkeypatch.setattr(meta, "train", train)
    options = ("--hidden", 1, "--lr", 0.1, "--batch-size", 12, "--epochs", 7, "--steps", 1)
    run("--part", part, *SMALL_QAOA[2:], *options)
    assert trained == [(1, rows, 0.1, 7)] * 2


def test_no_unseen_graph_is_a_known_one_renumbered():
    rng = np.random.default_rng(1)
    known = meta.draw_graphs(30, [6], rng)
    unseen = meta.draw_graphs(30, [6], rng, known)
    everything = [meta.as_rustworkx(graph) for graph in known + unseen]
    assert all(rustworkx.is_connected(graph) for graph in everything)
    for k, graph in enumerate(everything):
        assert not any(rustworkx.is_isomorphic(graph, other) for other in everything[:k])


def test_too_many_graphs_of_a_size_are_refused():
    with pytest.raises(DemoError, match=r"too few different graphs of 4 nodes.*of 7"):
        meta.draw_graphs(7, [4], np.random.default_rng(0))  # there are six


def test_typical_angles_are_better_than_random_ones():
    drawn = meta.draw_graphs(4, [6], np.random.default_rng(2))
    nodes = meta.cut_nodes(drawn, 1)
    problem = meta.cut_problem(nodes)
    torch.manual_seed(0)
    typical = meta.typical_angles(nodes, 1)
    shares = problem.observe(typical.expand(4, -1))
    others = problem.observe(meta.random_angles(4 * 100, 1)).reshape(4, -1)
    assert shares.mean() > others.mean(0).max() - 1e-3


def test_qaoa_on_unseen_graphs_beats_adam_from_the_same_starts():
    comparisons = run("--part", "qaoa", "--layers", 1, "--nodes", 6, "--graphs", 6, "--unseen", 6,
                      "--epochs", 5, "--steps", 4)  # fmt: skip
    for comparison in comparisons:
        learned_ones = [curve for curve in comparison.curves if curve.is_learned]
        adam = comparison.curves[2]
        assert len(learned_ones) == 2
        for curve in learned_ones:
            assert torch.equal(curve.values[0], adam.values[0])
            assert curve.values.shape == adam.values.shape
            assert bool((curve.values <= 1 + 1e-6).all())
            gain, error, _ = comparison.gain(curve, adam)
            assert gain > 3 * error > 0


def test_evaluations_are_counted():
    node = meta.rotation_node(**meta.Places.chosen("finite-difference", None, 0).to_count)
    problem = meta.rotation_problem(node, *meta.draw_rotations(1))
    start, adam = torch.zeros(1, 1), partial(learned_optimizer.descend, torch.optim.Adam, 0.1)
    count = partial(meta.count_evaluations, problem=problem, start=start, steps=10)
    assert count(adam) == 10 * (1 + 2)
    assert count(LearnedOptimizer(1, 4).walk) == 11
    assert count(LearnedOptimizer(1, 4, slopes=True).walk) == 10 * (1 + 2) + 1


def test_a_seed_repeats_a_run_and_the_random_state_stays_as_it_was(tmp_path, capsys):
    plot = tmp_path / "meta.png"
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = run(*SMALL, *SMALL_QAOA, "--plot", plot)
    assert torch.rand(1) == expected
    assert plot.read_bytes().startswith(PNG)
    out = capsys.readouterr().out
    again, other = run(*SMALL, *SMALL_QAOA), run(*SMALL, *SMALL_QAOA, "--seed", 1)
    for a, b, c in zip(first, again, other, strict=True):
        assert a.title in out
        for x, y, z in zip(a.curves, b.curves, c.curves, strict=True):
            assert x.label in out
            assert torch.equal(x.values, y.values) and not torch.equal(x.values, z.values)


@pytest.mark.parametrize(
    "flags", [("--shots", 50), ("--gradient", "spsa"), ("--shots", 20, "--gradient", "analytic")]
)
def test_shots_and_gradients_reach_both_parts(flags, tmp_path, capsys):
    plot = tmp_path / "meta.png"
    (rotation, *cuts) = run(*SMALL, *SMALL_QAOA[2:], *flags, "--plot", plot)
    assert plot.read_bytes().startswith(PNG)
    assert rotation.sign == -1 and [c.sign for c in cuts] == [1, 1]
    for comparison in (rotation, *cuts):
        assert all(math.isfinite(mean) for curve in comparison.curves for mean in curve.means)
    if "spsa" in flags:  # a value and two more for each gradient
        assert [round(c.evaluations) for c in rotation.curves] == [3, 7, 6, 6]
    exact = run(*SMALL, "--part", "rotation")[0]
    assert not torch.equal(exact.curves[-1].values, rotation.curves[-1].values)
