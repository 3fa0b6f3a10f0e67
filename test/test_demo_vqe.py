# SPDX-License-Identifier: Apache-2.0
"""``demo vqe`` finds ground states that are known, both ways, and counts what it takes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from qiskit.quantum_info import SparsePauliOp, Statevector

from qiskit_torch_bridge import Tracker
from qiskit_torch_bridge.__main__ import build_parser
from qiskit_torch_bridge.demos import contest, vqe
from qiskit_torch_bridge.demos.ising import (
    free_fermion_energy,
    ising,
    ising_ansatz,
    ising_start,
)
from qiskit_torch_bridge.demos.problems import (
    H2,
    Problem,
    exchange_ansatz,
    ground_energy,
    heisenberg,
    rotation_ansatz,
)

PNG = b"\x89PNG\r\n\x1a\n"
H2_ENERGY = -1.85727503020238
"""As in Qiskit's tutorials, where it is computed by NumPyMinimumEigensolver."""


def run(*arguments):
    options = build_parser().parse_args(["demo", "vqe", *map(str, arguments)])
    return options.run(options)


def energy(circuit, angles, operator):
    bound = circuit.assign_parameters(dict(zip(circuit.parameters, angles, strict=True)))
    return Statevector(bound).expectation_value(operator).real


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        (H2, H2_ENERGY),
        (heisenberg(2), -3.0),
        (heisenberg(4), -3 - 2 * math.sqrt(3)),
        (SparsePauliOp(["ZZ", "XI", "IX"], [1.0, 0.5, 0.5]), -math.sqrt(2)),
    ],
)
def test_exact_energies(operator, expected):
    assert ground_energy(operator) == pytest.approx(expected, abs=1e-10)
    dense = np.linalg.eigvalsh(operator.to_matrix())[0]
    assert ground_energy(operator) == pytest.approx(dense, abs=1e-10)


def test_both_circuits_begin_at_a_known_state():
    hartree_fock = np.diag(H2.to_matrix()).real.min()
    ansatz = rotation_ansatz([True, False], 2)
    assert energy(ansatz, np.zeros(6), H2) == pytest.approx(hartree_fock, abs=1e-12)
    # Three singlets: -3 each, and nothing between them.
    chain = exchange_ansatz(6, 2)
    assert chain.num_parameters == 2 * 5
    assert energy(chain, np.zeros(10), heisenberg(6)) == pytest.approx(-9, abs=1e-12)


def test_exchanges_keep_the_total_spin_at_zero():
    size = 6
    chain = exchange_ansatz(size, 3)
    angles = np.random.default_rng(0).uniform(-3, 3, chain.num_parameters)
    pairs = [
        (pauli, [a, b], 0.5) for a in range(size) for b in range(a) for pauli in ("XX", "YY", "ZZ")
    ]
    spin_squared = SparsePauliOp.from_sparse_list([*pairs, ("", [], 0.75 * size)], size)
    assert energy(chain, angles, spin_squared) == pytest.approx(0, abs=1e-12)


def test_prices_are_those_of_the_circuits():
    ansatz = rotation_ansatz([True, False, True], 2)
    assert contest.price_gradient(ansatz, SparsePauliOp("ZZZ"), "parameter-shift") == 2 * 9
    assert contest.price_metric(ansatz, "block-diagonal") == 3  # layers
    assert contest.price_metric(ansatz, "full") == 9 * 8 // 2 + 9  # pairs of gates, and gates
    assert contest.price_metric(exchange_ansatz(6, 2), "block-diagonal") == 2 * 2


@pytest.mark.parametrize("through", ["module", "VQE"])
@pytest.mark.parametrize("method", ["natural", "adam", "slsqp", "spsa"])
def test_what_is_counted_is_what_an_estimator_evaluates(method, through):
    ansatz = rotation_ansatz([True, False], 1)
    start = np.linspace(0.1, 0.4, 4)
    problem = Problem("H2", ansatz, H2, H2_ENERGY, start, tolerance=1e-9)
    price = contest.Price(gradients=8, metrics=2)
    conditions = contest.Conditions(price, 100, gradient="parameter-shift")
    size = vqe.STEP_SIZES["h2"][method]
    with Tracker() as tracker:
        finished = contest.compete(
            contest.Run(contest.CONTESTANTS[method], problem, conditions, size, through)
        )
    counts = finished.counts
    if through == "module":
        # For a slope alone SLSQP's objective evaluates a value that no device would have to.
        again = counts.gradients if method == "slsqp" else 0
        assert finished.spent() == tracker.usage.points - again + 2 * counts.metrics
    assert finished.spent() <= 100
    assert counts.metrics == (counts.gradients if method == "natural" else 0)
    assert energy(ansatz, finished.point, H2) == pytest.approx(finished.best, abs=1e-10)


def test_h2_is_found_both_ways_to_a_microhartree(tmp_path, capsys):
    plot = tmp_path / "vqe.png"
    methods = ["adam", "lbfgs", "natural", "slsqp"]
    labels = [contest.CONTESTANTS[method].label for method in methods]
    (result,) = run("--problem", "h2", "--plot", plot, "--optimizers", *methods)
    module = {finished.contestant.label: finished for finished in result.runs}
    handed = {finished.contestant.label: finished for finished in result.handed}
    assert list(module) == list(handed) == labels
    ansatz = result.problem.circuit
    for label in labels:
        for finished in (module[label], handed[label]):
            error = finished.best - H2_ENERGY
            assert -1e-10 < error < 1e-6
            assert energy(ansatz, finished.point, H2) == pytest.approx(finished.best, abs=1e-9)
    for label in ("Adam", "natural gradient"):
        # The same steps: VQE looks at one more value, where the last step has led.
        counts = module[label].counts
        assert handed[label].counts == counts._replace(values=counts.values + 1)
    assert all(finished.spent() <= 1500 for finished in result.runs)
    out = capsys.readouterr().out
    assert f"{H2_ENERGY:.9f}" in out and "module" in out and "VQE" in out
    assert plot.read_bytes().startswith(PNG)


def test_the_chain_has_one_budget_for_all(tmp_path):
    plot = tmp_path / "vqe.png"
    flags = ("--qubits", 4, "--reps", 2, "--evaluations", 900)
    (result,) = run("--problem", "heisenberg", *flags, "--plot", plot)
    assert not result.handed
    assert all(finished.spent() <= 900 for finished in result.runs)
    found = {run.contestant.label: run.best - result.problem.least for run in result.runs}
    assert all(error > -1e-9 for error in found.values())
    # From below the start's energy of two singlets, -6, to the exact -6.46.
    assert found["L-BFGS"] < 1e-3 and found["SLSQP"] < 1e-3 and max(found.values()) < 0.2
    assert plot.read_bytes().startswith(PNG)


@pytest.mark.parametrize("gradient", ["analytic", "finite-difference", "spsa", "parameter-shift"])
def test_both_ways_work_with_shots_and_any_gradient(gradient, capsys):
    flags = ("--shots", 500, "--gradient", gradient, "--evaluations", 60, "--optimizers")
    (result,) = run("--problem", "h2", *flags, "adam", "natural", "spsa")
    assert all(len(finished.trace) > 1 for finished in (*result.runs, *result.handed))
    assert result.conditions.price.gradients == (2 if gradient == "spsa" else 8)
    assert "500 shots" in capsys.readouterr().out


def test_the_full_metric_has_its_price(capsys):
    (result,) = run("--problem", "h2", "--metric", "full", "--optimizers", "natural")
    assert result.conditions.price.metrics == 4 * 3 // 2 + 4
    assert -1e-10 < result.runs[0].best - H2_ENERGY < 1e-6
    assert "one circuit for each pair" in capsys.readouterr().out


# The Ising chain


@pytest.mark.parametrize(("size", "field"), [(2, 0.3), (5, 1.0), (8, 0.5), (9, 2.0)])
def test_free_fermions_have_the_energy_of_the_chain(size, field):
    dense = np.linalg.eigvalsh(ising(size, field).to_matrix())[0]
    assert free_fermion_energy(size, field) == pytest.approx(dense, abs=1e-12 * size)


def test_the_energy_of_a_critical_chain_has_its_closed_form():
    """With field 1 the modes are 2 sin of equal steps: 1 - 1 / sin(pi / (4 n + 2)) in all."""
    for size in (3, 30, 200):
        closed = 1 - 1 / math.sin(math.pi / (4 * size + 2))
        assert free_fermion_energy(size, 1.0) == pytest.approx(closed, rel=1e-12)


def test_the_ising_ansatz_is_real_and_starts_at_the_product_state():
    size, rng = 5, np.random.default_rng(1)
    ansatz = ising_ansatz(size, 2)
    angles = rng.uniform(-3, 3, ansatz.num_parameters)
    bound = ansatz.assign_parameters(dict(zip(ansatz.parameters, angles, strict=True)))
    assert np.abs(Statevector(bound).data.imag).max() < 1e-14
    for field, expected in ((0.5, -(1 - 0.25**2) * 4 - 0.5 * 0.25 * 5), (1.5, -1.5 * 5)):
        start = np.zeros(ansatz.num_parameters)
        near = ising_start(size, field, 2, rng)
        angle = math.pi / 2 if field >= 1 else math.asin(field / 2)
        assert np.abs(near[:size] - angle).max() <= 0.1 and np.abs(near[size:]).max() <= 0.1
        start[:size] = angle
        assert energy(ansatz, start, ising(size, field)) == pytest.approx(expected, abs=1e-12)


def test_a_long_ising_chain_is_trained_near_its_exact_energy(tmp_path, capsys):
    plot = tmp_path / "ising.png"
    flags = ("--problem", "ising", "--qubits", 40, "--reps", 1, "--evaluations", 40 * 313)
    results = run(*flags, "--field", 0.5, 1, "--optimizers", "lbfgs", "--plot", plot)
    for result, most in zip(results, (1e-4, 3e-3), strict=True):
        (finished,) = result.runs
        least = result.problem.least
        assert 0 < (finished.best - least) / -least < most
        assert result.conditions.price.gradients == 2 * (40 + 3 * 40 - 2)
    assert plot.read_bytes().startswith(PNG)
    out = capsys.readouterr().out
    assert "40 qubits, field 0.5" in out and f"{results[1].problem.least:.9f}" in out


def test_a_long_ising_chain_by_the_natural_gradient_if_asked(capsys):
    """A metric of blocks costs a circuit for each layer: two on a step of the staircase."""
    flags = ("--problem", "ising", "--qubits", 30, "--reps", 1, "--field", 1)
    gradient = 2 * (30 + 3 * 30 - 2)
    (result,) = run(*flags, "--optimizers", "natural", "--evaluations", 12 * (gradient + 100))
    (finished,) = result.runs
    assert result.conditions.price.metrics == 2 * 30
    assert finished.counts.metrics == finished.counts.gradients > 10
    least = result.problem.least
    assert least < finished.best < finished.trace[0][1] - 0.5 * (finished.trace[0][1] - least)
    assert "circuit for each layer" in capsys.readouterr().out
    (result,) = run(*flags, "--evaluations", gradient + 1)
    assert [r.contestant.label for r in result.runs] == ["Adam", "SGD, momentum", "L-BFGS"]
