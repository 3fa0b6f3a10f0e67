# SPDX-License-Identifier: Apache-2.0
"""VQE: ground states with PyTorch's optimizers and the natural gradient, against SLSQP and SPSA."""

from __future__ import annotations

import argparse
from typing import NamedTuple

import numpy as np

from .command_line import (
    DemoError,
    Options,
    check_extras,
    common_options,
    name_values,
    option,
    table,
    whole,
)
from .contest import (
    Conditions,
    Price,
    Run,
    StepSizes,
    choose_step_sizes,
    hold_contest,
    optimizer_options,
    price_gradient,
    price_metric,
)
from .plots import plot_vqe
from .problems import H2, Problem, exchange_ansatz, ground_energy, heisenberg, rotation_ansatz

SUMMARY = "VQE: PyTorch's optimizers and the natural gradient against SLSQP and SPSA"

STEP_SIZES: dict[str, StepSizes] = {
    "h2": {
        "adam": 0.1,
        "momentum": 0.2,
        "lbfgs": 1.0,
        "natural": 0.5,
        "slsqp": None,
        "spsa": None,
    },
    "heisenberg": {
        "adam": 0.2,
        "momentum": 0.05,
        "lbfgs": 1.0,
        "natural": 0.02,
        "slsqp": None,
        "spsa": None,
    },
}
"""Of those tried, the best ones from other starts (seeds from 1000 on)."""

UNITS = {"h2": "hartree", "heisenberg": "J"}
BUDGETS = {"h2": 1500, "heisenberg": 20_000}
METRICS = {
    "full": "one circuit for each pair of gates and for each gate",
    "block-diagonal": "one circuit for each layer",
    "diagonal": "one circuit for each angle",
}
TOLERANCE = 1e-5
START_WIDTH = 0.3

OPTIONS: Options = {
    **common_options(
        shots="default: exact values",
        gradient="default: exact; parameter-shift with --shots",
        plot="write the errors' curves to this file",
    ),
    "--problem": option(
        "the hydrogen molecule or a Heisenberg chain (default: both)", choices=list(UNITS)
    ),
    "--qubits": option("sites of the chain, an even number", whole(4, 16), 10),
    "--reps": option("layers of entanglers (default 1 for h2, 3 for heisenberg)", whole(1)),
    "--evaluations": option(
        "each optimizer's budget (default 1,500 for h2, 20,000 for heisenberg)", whole(1)
    ),
    "--metric": option(
        "metric tensor of the natural gradient", default="block-diagonal", choices=list(METRICS)
    ),
    **optimizer_options(*STEP_SIZES.values()),
}


class Result(NamedTuple):
    """What came of one problem."""

    problem: Problem
    unit: str  # of the energy
    runs: list[Run]  # those on the module, one for each optimizer
    handed: list[Run]  # those in which ``VQE`` of qiskit-algorithms was handed the optimizer
    conditions: Conditions  # of all of them


def make_problem(name: str, options: argparse.Namespace) -> Problem:
    """Return a Hamiltonian with an ansatz that at zero prepares a classical state."""
    if name == "h2":
        title, operator = "H2 molecule", H2
        # One electron pair in the lower orbital: the Hartree-Fock state.
        ansatz = rotation_ansatz([True, False], options.reps or 1)
    else:
        title, operator = f"Heisenberg chain of {options.qubits} qubits", heisenberg(options.qubits)
        ansatz = exchange_ansatz(options.qubits, options.reps or 3)
    # Not at zero: there the slopes vanish for H2, although it is no minimum.
    rng = np.random.default_rng(options.seed)
    start = rng.uniform(-START_WIDTH, START_WIDTH, ansatz.num_parameters)
    energy = ground_energy(operator)
    return Problem(title, ansatz, operator, energy, start, tolerance=TOLERANCE)


def solve(name: str, options: argparse.Namespace) -> Result:
    """Let all chosen optimizers look for the ground state; for H2 through ``VQE`` as well."""
    problem = make_problem(name, options)
    gradient = options.gradient or "parameter-shift"
    price = Price(
        gradients=price_gradient(problem.circuit, problem.operator, gradient),
        metrics=price_metric(problem.circuit, options.metric),
    )
    budget = options.evaluations or BUDGETS[name]
    conditions = Conditions(
        price, budget, options.shots, options.gradient, options.seed, options.metric
    )
    step_sizes = choose_step_sizes(options, STEP_SIZES[name])
    runs, handed = (
        hold_contest(problem, conditions, step_sizes, through) if asked else []
        for through, asked in (("module", True), ("VQE", name == "h2"))
    )
    return Result(problem, UNITS[name], runs, handed, conditions)


def run(options: argparse.Namespace) -> list[Result]:
    """Solve the chosen problems, print a table for each, and plot if asked."""
    if options.qubits % 2:
        raise DemoError(f"Expected --qubits to be even: {options.qubits} sites cannot form pairs.")
    check_extras(options.plot)
    chosen = list(UNITS) if options.problem is None else [options.problem]
    results = [solve(name, options) for name in chosen]
    for result in results:
        print(summarise(result, options))
    if options.plot is not None:
        plot_vqe(options.plot, results)
        print(f"\nThe errors' curves are in {options.plot}.")
    return results


def summarise(result: Result, options: argparse.Namespace) -> str:
    """Return the table of one problem."""
    problem, price = result.problem, result.conditions.price
    header = ("optimizer", "through", "energy", "error", "values", "gradients", "metrics")
    labels = [run.contestant.label for run in result.runs]
    rows = [
        (
            run.contestant.label,
            run.through,
            f"{run.best:.9f}",
            f"{run.best - problem.least:.1e}",
            *(f"{count:,}" for count in (*run.counts[:3], run.spent())),
            f"{run.seconds:.1f}",
        )
        for run in sorted(
            [*result.runs, *result.handed], key=lambda run: labels.index(run.contestant.label)
        )
    ]
    how = (options.gradient or "parameter shift").replace("-", " ")
    exact = ("exact diagonalization", "", f"{problem.least:.9f}", *[""] * 6)
    return f"""
{problem.title}: {len(problem.start)} angles, {name_values(options.shots)}, at most \
{result.conditions.budget:,} evaluations each

{table([*header, "evaluations", "seconds"], [*rows, exact])}

energy: in {result.unit}; the lowest exact one on the way.
evaluations: 1 for a value, {price.gradients:,} for a gradient ({how}), {price.metrics:,} for a \
metric tensor
({options.metric}, {METRICS[options.metric]}). All start from the same angles."""
