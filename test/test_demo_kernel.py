# SPDX-License-Identifier: Apache-2.0
"""A kernel is trained and machines use it before and after; data are what they are said to be."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from feature_maps import fidelities
from qiskit.circuit.library import zz_feature_map

from qiskit_torch_bridge.__main__ import build_parser
from qiskit_torch_bridge.demos import kernel

PNG = b"\x89PNG\r\n\x1a\n"
SMALL = ("--qubits", 3, "--layers", 2, "--points", 40, "--tests", 60)


def run(*arguments):
    options = build_parser().parse_args(["demo", "kernel", *map(str, arguments)])
    return options.run(options)


def test_fields_of_the_board_have_two_classes_in_turn():
    points = kernel.checkerboard(2000, np.random.default_rng(0))
    assert np.abs(points.x).max() <= 1
    for (a, b), label in zip(points.x, points.y, strict=True):
        fields = math.floor((a + 1) / 0.5) + math.floor((b + 1) / 0.5)
        assert label == fields % 2
    # Half of the fields are of each class: five standard errors of 2,000 fair coins
    assert abs(points.y.mean() - 0.5) < 5 * 0.5 / math.sqrt(2000)


def test_moons_are_half_circles_with_noise():
    """Distances from the centre of a moon's circle are one, but for the noise."""
    points = kernel.moons(4000, np.random.default_rng(0))
    x = points.x * [1.5, 0.8] + [0.5, 0.25]
    for label, centre in ((0, [0.0, 0.0]), (1, [1.0, 0.5])):
        radii = np.linalg.norm(x[points.y == label] - centre, axis=1)
        # E r = 1 + s^2 / 2 for a deviation s across, to second order
        assert radii.mean() == pytest.approx(1 + kernel.MOON_NOISE**2 / 2, abs=0.02)
        assert radii.std() == pytest.approx(kernel.MOON_NOISE, abs=0.02)


def test_the_fixed_kernel_is_that_of_the_zz_feature_map():
    circuit, x = zz_feature_map(2, reps=2), torch.rand(5, 2, dtype=torch.float64)
    expected = fidelities(circuit, list(circuit.parameters), x, x)
    np.testing.assert_allclose(kernel.zz_kernel()(x), expected, atol=1e-13)


def test_training_raises_alignment_and_is_drawn(tmp_path, capsys):
    plot = tmp_path / "kernel.png"
    done = run(*SMALL, "--repeats", 2, "--steps", 15, "--plot", plot)
    assert [len(repeat.alignments) for repeat in done] == [16, 16]
    for repeat in done:
        assert repeat.alignments[-1] > repeat.alignments[0]
        before, after = repeat.kernels
        assert not torch.equal(before.weight, after.weight)
        assert all(0 <= found <= 1 for found in repeat.accuracies.values())
    assert done[0].alignments != done[1].alignments
    assert plot.read_bytes().startswith(PNG)
    printed = capsys.readouterr().out
    assert "circuit, trained" in printed and "15 steps" in printed


def test_runs_repeat():
    first, again, other = (
        run(*SMALL, "--data", "moons", "--repeats", 1, "--steps", 2, "--seed", seed)[0]
        for seed in (1, 1, 2)
    )
    assert first.alignments == again.alignments != other.alignments
    assert first.accuracies == again.accuracies


def test_machines_see_shots(capsys):
    arguments = (*SMALL, "--points", 20, "--tests", 20, "--repeats", 1, "--steps", 2)
    exact, measured = run(*arguments)[0], run(*arguments, "--shots", 10)[0]
    assert measured.alignments == exact.alignments  # the training is exact
    assert measured.kernels[1].execution.shots is None
    assert "10 shots a pair" in capsys.readouterr().out


def test_alignment_raises_accuracy_on_the_board():
    """Of machines that see the same points: the mean over three boards, as the tutorial has it."""
    done = run("--repeats", 3, "--steps", 40)
    means = [
        np.mean([repeat.accuracies[name] for repeat in done])
        for name in ("circuit, untrained", "circuit, trained")
    ]
    assert means[1] > means[0] + 0.04
