# SPDX-License-Identifier: Apache-2.0
"""The demonstration of a convolutional network that measures: what it learns, and where it runs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from dynamic_circuits import density_matrix_of

from qiskit_torch_bridge.__main__ import build_parser
from qiskit_torch_bridge.demos import qcnn
from qiskit_torch_bridge.demos.command_line import DemoError
from qiskit_torch_bridge.program.lowering import find_active_qubits


def run(*arguments):
    options = build_parser().parse_args(["demo", "qcnn", *map(str, arguments)])
    return options.run(options)


def test_it_learns_to_tell_digits_apart_and_aer_agrees(tmp_path, capsys):
    plot, shots, judged = tmp_path / "qcnn.png", 300, 8
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    training = run("--epochs", 2, "--shots", shots, "--judged", judged, "--plot", plot)
    assert torch.rand(1) == expected  # the caller's random numbers
    assert len(training.losses) == 2 * 25 and len(training.accuracies) == 2
    assert np.mean(training.losses[-10:]) < np.mean(training.losses[:10]) / 1.5
    # Guessing 500 digits would be right 250 times, give or take 11.
    assert len(training.exact) == 500 and training.accuracies[-1] > 0.5 + 10 * 11 / 500
    difference = training.sampled - training.exact[:judged]
    assert len(difference) == judged and difference.abs().max() < 5.5 / math.sqrt(shots)
    assert plot.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    out = capsys.readouterr().out
    assert f"{training.accuracies[-1]:.2%} of held-out digits" in out
    assert "8 qubits, 7 measured before the end, 39 weights" in out


def test_the_network_is_what_every_outcome_followed_says(monkeypatch):
    monkeypatch.setattr(qcnn, "NUM_QUBITS", 4)
    torch.manual_seed(3)
    model = qcnn.make_model(None, seed=1).double()
    images = torch.rand(1, 1, 28, 28, dtype=torch.float64)
    inputs = qcnn.angles_of(images)[:, :8]
    program = model.program
    values = dict(zip(program.input_params, inputs[0].tolist(), strict=True))
    values |= dict(zip(program.weight_params, model.weight.tolist(), strict=True))
    rho = density_matrix_of(program.circuit.assign_parameters(values))
    exact = sum(rho[i, i].real * (1 - 2 * (i & 1)) for i in range(16))
    assert model(inputs).item() == pytest.approx(exact, abs=1e-12)
    assert program.circuit.num_clbits == 3
    assert len(find_active_qubits(model.circuit)) == 4  # no outcome takes a qubit of its own


def test_two_digits_are_different():
    with pytest.raises(DemoError, match="two different digits"):
        run("--digits", 4, 4)
