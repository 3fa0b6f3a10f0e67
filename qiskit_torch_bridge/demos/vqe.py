# SPDX-License-Identifier: Apache-2.0
"""VQE: ground states with PyTorch's optimizers and the natural gradient, against SLSQP and SPSA."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .command_line import (
    DemoError,
    Options,
    check_extras,
    common_options,
    name_values,
    number,
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
from .ising import free_fermion_energy, ising, ising_ansatz, ising_start
from .plots import plot_vqe
from .problems import H2, Problem, exchange_ansatz, ground_energy, heisenberg, rotation_ansatz

SUMMARY = "VQE: PyTorch's optimizers and the natural gradient against SLSQP and SPSA"
TAKES = "1 min"

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
    "ising": {"adam": 0.05, "momentum": 0.02, "lbfgs": 1.0, "natural": 0.05},
}
"""Of those tried, the best ones from other starts (seeds from 1000 on)."""

IF_ASKED = {"ising": {"natural"}}
"""Who takes part only where it is named: a metric of 700 angles takes as long as ten gradients."""

UNITS = {"h2": "hartree", "heisenberg": "J", "ising": "J"}
BUDGETS = {"h2": 1500, "heisenberg": 20_000}
ISING_STEPS = 200
QUBITS = {"heisenberg": 10, "ising": 100}
MOST_QUBITS = {"heisenberg": 16, "ising": 1000}
METRICS = {
    "full": "one circuit for each pair of gates and for each gate",
    "block-diagonal": "one circuit for each layer",
    "diagonal": "one circuit for each angle",
}
FIELDS = (0.5, 1.0, 1.5)
TOLERANCE = 1e-5
ISING_TOLERANCE = 1e-4
START_WIDTH = 0.3

OPTIONS: Options = {
    **common_options(
        shots="default: exact values",
        gradient="default: exact; parameter-shift with --shots",
        plot="write the errors' curves to this file",
    ),
    "--problem": option(
        "the hydrogen molecule, a Heisenberg chain, or an Ising chain in a transverse field "
        "(default: the first two)",
        choices=list(UNITS),
    ),
    "--qubits": option(
        "sites of the chain (default 10 for heisenberg, an even number up to 16; 100 for ising)",
        whole(2, max(MOST_QUBITS.values())),
    ),
    "--field": option(
        "transverse fields of the Ising chain; it is critical at 1 (default 0.5 1 1.5)",
        number(0, 100),
        nargs="+",
        metavar="FIELD",
    ),
    "--reps": option(
        "layers of entanglers (default 1 for h2, 3 for heisenberg, 2 for ising)", whole(1)
    ),
    "--evaluations": option(
        "each optimizer's budget (default 1,500 for h2, 20,000 for heisenberg, "
        f"{ISING_STEPS} values with gradients for ising)",
        whole(1),
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
    is_ising: bool  # whether the exact energy is that of free fermions


def make_problem(name: str, options: argparse.Namespace) -> Problem:
    """Return a Hamiltonian with an ansatz that at zero prepares a classical state."""
    size = options.qubits or QUBITS.get(name, 2)
    if name == "h2":
        title, operator = "H2 molecule", H2
        # One electron pair in the lower orbital: the Hartree-Fock state.
        ansatz = rotation_ansatz([True, False], options.reps or 1)
    else:
        title, operator = f"Heisenberg chain of {size} qubits", heisenberg(size)
        ansatz = exchange_ansatz(size, options.reps or 3)
    # Not at zero: there the slopes vanish for H2, although it is no minimum.
    rng = np.random.default_rng(options.seed)
    start = rng.uniform(-START_WIDTH, START_WIDTH, ansatz.num_parameters)
    energy = ground_energy(operator)
    return Problem(title, ansatz, operator, energy, start, tolerance=TOLERANCE)


def make_ising_problem(field: float, options: argparse.Namespace) -> Problem:
    """Return the Ising chain at a field, with an ansatz that starts at a product state."""
    size, reps = options.qubits or QUBITS["ising"], options.reps or 2
    start = ising_start(size, field, reps, np.random.default_rng(options.seed))
    return Problem(
        f"Ising chain of {size} qubits, field {field:g}",
        ising_ansatz(size, reps),
        ising(size, field),
        free_fermion_energy(size, field),
        start,
        tolerance=ISING_TOLERANCE,
    )


def solve(name: str, options: argparse.Namespace) -> list[Result]:
    """Let all chosen optimizers look for ground states; for H2 through ``VQE`` as well."""
    if name != "ising":
        return [_solve(name, make_problem(name, options), options)]
    fields = options.field or FIELDS
    return [_solve(name, make_ising_problem(field, options), options) for field in fields]


def _solve(name: str, problem: Problem, options: argparse.Namespace) -> Result:
    gradient = options.gradient or "parameter-shift"
    step_sizes = choose_step_sizes(options, STEP_SIZES[name])
    if not options.optimizers:
        step_sizes = {k: v for k, v in step_sizes.items() if k not in IF_ASKED.get(name, ())}
    price = Price(
        gradients=price_gradient(problem.circuit, problem.operator, gradient),
        metrics=price_metric(problem.circuit, options.metric) if "natural" in step_sizes else 0,
    )
    default = BUDGETS.get(name, ISING_STEPS * (price.values + price.gradients))
    conditions = Conditions(
        price,
        options.evaluations or default,
        options.shots,
        options.gradient,
        options.seed,
        options.metric,
    )
    runs, handed = (
        hold_contest(problem, conditions, step_sizes, through) if asked else []
        for through, asked in (("module", True), ("VQE", name == "h2"))
    )
    return Result(problem, UNITS[name], runs, handed, conditions, name == "ising")


def run(options: argparse.Namespace) -> list[Result]:
    """Solve the chosen problems, print a table for each, and plot if asked."""
    chosen = ["h2", "heisenberg"] if options.problem is None else [options.problem]
    check(chosen, options)
    check_extras(options.plot)
    results = [result for name in chosen for result in solve(name, options)]
    for result in results:
        print(summarise(result, options))
    if options.plot is not None:
        plot_vqe(options.plot, results)
        print(f"\nThe errors' curves are in {options.plot}.")
    return results


def check(chosen: Sequence[str], options: argparse.Namespace) -> None:
    """Raise where options do not go with each other."""
    if "heisenberg" in chosen and options.qubits is not None:
        if options.qubits % 2:
            raise DemoError(
                f"Expected --qubits to be even: {options.qubits} sites cannot form pairs."
            )
        if not 4 <= options.qubits <= MOST_QUBITS["heisenberg"]:
            raise DemoError(
                f"Expected --qubits to be from 4 to {MOST_QUBITS['heisenberg']} for the Heisenberg "
                f"chain, which is diagonalised exactly; got {options.qubits}. Longer chains: "
                "--problem ising."
            )
    if options.field and "ising" not in chosen:
        raise DemoError("--field is that of the Ising chain: add --problem ising.")
    for name in chosen:
        if options.optimizers and not set(options.optimizers) & set(STEP_SIZES[name]):
            raise DemoError(
                f"None of the chosen optimizers suits {name}. Expected some of "
                f"{', '.join(STEP_SIZES[name])}; got {', '.join(options.optimizers)}."
            )


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
    metric = (
        f", {price.metrics:,} for a metric tensor\n({options.metric}, {METRICS[options.metric]})"
        if price.metrics
        else ""
    )
    known = "free fermions, exact" if result.is_ising else "exact diagonalization"
    exact = (known, "", f"{problem.least:.9f}", *[""] * 6)
    return f"""
{problem.title}: {len(problem.start)} angles, {name_values(options.shots)}, at most \
{result.conditions.budget:,} evaluations each

{table([*header, "evaluations", "seconds"], [*rows, exact])}

energy: in {result.unit}; the lowest exact one on the way.
evaluations: 1 for a value, {price.gradients:,} for a gradient ({how}){metric}. \
All start from the same angles."""
