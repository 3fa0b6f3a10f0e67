# SPDX-License-Identifier: Apache-2.0
"""Circuits learn distributions, which are what they are said to be, as are the distances."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from qiskit.quantum_info import Statevector
from scipy.stats import entropy

from qiskit_torch_bridge.__main__ import build_parser
from qiskit_torch_bridge.demos import distributions, generative

PNG = b"\x89PNG\r\n\x1a\n"
SMALL = ("--target", "mixture", "--qubits", 3, "--reps", 1)


def parsed(*arguments):
    return build_parser().parse_args(["demo", "generative", *map(str, arguments)])


def run(*arguments):
    options = parsed(*arguments)
    return options.run(options)


def random_distribution(size, seed):
    weights = np.random.default_rng(seed).random(size)
    return weights / weights.sum()


@pytest.mark.parametrize(("side", "count"), [(2, 6), (3, 14)])
def test_bars_and_stripes_have_rows_or_columns_of_one_colour(side, count):
    target = distributions.bars_and_stripes(side)
    for outcome, probability in enumerate(target.probabilities):
        image = np.array([outcome >> k & 1 for k in range(side**2)]).reshape(side, side)
        assert np.array_equal(image.ravel(), target.bits[outcome])
        striped = (image == image[:, :1]).all() or (image == image[:1]).all()
        assert probability == (1 / count if striped else 0)
    assert len(target.bonds) == 2 * side * (side - 1)
    for a, b in target.bonds:  # neighbours in a row or in a column
        assert b - a == side or (b - a == 1 and a // side == b // side)


def test_the_mixture_is_two_gaussians():
    target = distributions.mixture(8)
    x = np.arange(256) / 256
    mean = target.probabilities @ x
    assert target.probabilities.sum() == pytest.approx(1)
    # What is cut off at the upper end, three deviations away, is 0.05 % of the whole.
    assert mean == pytest.approx(0.6 * 0.28 + 0.4 * 0.7, abs=1e-3)
    within = 0.6 * (0.06**2 + 0.28**2) + 0.4 * (0.1**2 + 0.7**2)
    assert target.probabilities @ x**2 == pytest.approx(within, abs=1e-3)


def test_kernels_have_their_closed_forms():
    bars, heaps = distributions.bars_and_stripes(2), distributions.mixture(4)
    for x, y in [(0, 0), (5, 6), (0, 15), (9, 1)]:
        differing = sum(a != b for a, b in zip(f"{x:04b}", f"{y:04b}", strict=True))
        patterns = [math.exp(-differing / width) for width in distributions.HAMMING_WIDTHS]
        assert bars.kernel[x, y] == pytest.approx(np.mean(patterns))
        numbers = [
            math.exp(-((x - y) ** 2) / (2 * (16 * width) ** 2))
            for width in distributions.NUMBER_WIDTHS
        ]
        assert heaps.kernel[x, y] == pytest.approx(np.mean(numbers))
    for target in (bars, heaps):  # a difference is seen whatever it is
        assert np.linalg.eigvalsh(target.kernel).min() > 0


def test_divergence_and_distance_are_those_of_the_books():
    target, found = distributions.mixture(4), random_distribution(16, seed=0)
    assert target.divergence(found) == pytest.approx(entropy(target.probabilities, found))
    assert target.distance(found) == pytest.approx(np.abs(target.probabilities - found).sum() / 2)
    assert target.divergence(target.probabilities) == pytest.approx(0, abs=1e-12)
    uniform = np.full(512, 1 / 512)
    assert distributions.bars_and_stripes().divergence(uniform) == pytest.approx(math.log(512 / 14))


def test_the_discrepancy_is_zero_at_the_target_alone():
    target = distributions.bars_and_stripes(2)
    loss, found = generative.discrepancy(target), random_distribution(16, seed=1)
    difference = found - target.probabilities
    expected = sum(
        difference[x] * difference[y] * target.kernel[x, y] for x in range(16) for y in range(16)
    )
    assert loss(torch.from_numpy(found)).item() == pytest.approx(expected)
    assert loss(torch.from_numpy(target.probabilities)).item() == pytest.approx(0, abs=1e-15)


def test_the_adversary_learns_to_tell_outcomes_apart():
    """The best one gives odds of q to p, and the loss is then -sum p log(q / (p + q))."""
    torch.manual_seed(0)
    p, q = (random_distribution(8, seed) for seed in (2, 3))
    target = dataclasses.replace(distributions.mixture(3), probabilities=q)
    loss, found = generative.adversary(target), torch.from_numpy(p)
    values = [loss(found).item() for _ in range(200)]
    best = -(p * np.log(q / (p + q))).sum()
    assert abs(values[-1] - best) < abs(values[0] - best) / 10


def test_the_circuit_has_rotations_and_bonds_and_starts_near_the_uniform_distribution():
    target = distributions.mixture(4)
    circuit = generative.build_circuit(target, reps=2)
    assert dict(circuit.count_ops()) == {"ry": 12, "rz": 12, "rzz": 6}
    module = generative.build_module(target, parsed("--seed", 3), reps=2)
    state = Statevector(module.bind())
    exact = generative.exact_probabilities(module)
    assert exact == pytest.approx(state.probabilities(), abs=1e-7)  # weights of single precision
    with torch.no_grad():
        module.weight.zero_()
        module.weight[-7::2] = math.pi / 2
    assert generative.exact_probabilities(module) == pytest.approx(np.full(16, 1 / 16), abs=1e-7)


def test_bars_and_stripes_are_learned(tmp_path, capsys):
    """What knows nothing has 14 of 512 parts in the right place."""
    plot = tmp_path / "bars.png"
    (training,) = run("--target", "bars", "--steps", 100, "--plot", plot)
    assert len(training.divergences) == 101
    assert training.divergences[0] == training.target.divergence(training.before)
    assert training.divergences[-1] == training.target.divergence(training.after)
    assert training.divergences[-1] < training.divergences[0] / 4
    assert training.after[training.target.probabilities > 0].sum() > 0.5
    assert plot.read_bytes().startswith(PNG)
    assert f"{training.divergences[-1]:.3f}" in capsys.readouterr().out


def test_a_mixture_is_learned_by_both_methods(tmp_path, capsys):
    plot = tmp_path / "mixture.png"
    options = ("--target", "mixture", "--qubits", 4, "--reps", 3, "--steps", 150, "--plot", plot)
    trainings = run(*options)
    assert [t.method for t in trainings] == ["mmd", "gan"]
    assert np.array_equal(trainings[0].before, trainings[1].before)
    for training in trainings:
        assert training.divergences[-1] < training.divergences[0] / 4
        assert training.target.distance(training.after) < 0.25
    assert plot.read_bytes().startswith(PNG)
    assert "two Gaussians on 16 numbers, gan" in capsys.readouterr().out


def test_shots_are_drawn_repeatably_and_counted():
    options = (*SMALL, "--method", "mmd", "--steps", 4, "--shots", 200)
    first, again, other = (run(*options, *seed)[0] for seed in ((), (), ("--seed", 1)))
    assert first.divergences == again.divergences != other.divergences
    angles = first.module.weight.numel()
    assert first.points == 4 * (1 + 2 * angles)  # one forward, and two for each angle
    differences = run(*options, "--gradient", "spsa")[0]
    assert differences.points == 4 * (1 + 2)


def test_a_backend_is_sampled():
    (training,) = run(*SMALL, "--method", "gan", "--steps", 2, "--backend", "aer")
    assert training.points == 2 * (1 + 2 * training.module.weight.numel())
    assert training.module.shots == generative.SHOTS_ON_BACKEND


def test_all_targets_are_drawn_and_callers_keep_their_random_numbers(tmp_path):
    plot = tmp_path / "all.png"
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    trainings = run("--qubits", 3, "--reps", 1, "--steps", 2, "--plot", plot)
    assert torch.rand(1) == expected
    assert [(t.target.num_qubits, t.method) for t in trainings] == [
        (9, "mmd"),
        (3, "mmd"),
        (3, "gan"),
    ]
    assert plot.read_bytes().startswith(PNG)
