# SPDX-License-Identifier: Apache-2.0
"""How many evaluations optimizers need: QAOA, a molecule, and a chain for the natural gradient.

Nothing is timed. Values and gradients are exact; what is counted is what a device would have to
evaluate, so the figures do not depend on the machine, up to rounding.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import harness
import matplotlib.pyplot as plt
import numpy as np
import torch
from numpy.typing import NDArray
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from qiskit_torch_bridge import __version__
from qiskit_torch_bridge.demos.contest import (
    CONTESTANTS,
    Conditions,
    Contestant,
    Price,
    Run,
    compete,
    price_gradient,
    price_metric,
    with_rate,
)
from qiskit_torch_bridge.demos.problems import (
    H2,
    Problem,
    cut_operator,
    ground_energy,
    max_cut,
    qaoa_circuit,
    random_regular,
)
from qiskit_torch_bridge.optim import (
    QNSPSA,
    SPSA,
    FubiniStudyMetric,
    Rotosolve,
    ScipyMinimize,
    StateFidelity,
)

NAME = "optimizers"
NODES, LAYERS = 10, 2
CHEMICAL_ACCURACY, FAR = 1.6e-3, 1e-6  # hartree
RELATIVE_ERROR = 1e-4  # of the chain's ground state energy
MOST_GRADIENTS = 500
TOLERANCE = 1e-6
SCIPY_TOLERANCES = {"L-BFGS-B": 1e-12, "COBYLA": TOLERANCE}  # of values, and of points
ON_CHAIN = (
    "Adam",
    "SGD, momentum 0.9",
    "LBFGS",
    "natural gradient, full",
    "natural gradient, block-diagonal",
)


class Entrant(NamedTuple):
    """An optimizer that takes part, and the step sizes to choose from."""

    contestant: Contestant
    sizes: tuple[float, ...] = ()
    approximation: str = "full"  # of the metric

    @property
    def package(self) -> str:
        """Where it is from."""
        names = {"torch": "torch", "qiskit_algorithms": "qiskit-algorithms"}
        return names.get(self.contestant.kind.__module__.partition(".")[0], "this package")


def _spsa(run: Run) -> dict[str, Any]:
    options = {"perturbation": 0.1, "stability": 20, "seed": run.conditions.seed}
    return with_rate(run, **options)


def _qnspsa(run: Run) -> dict[str, Any]:
    fidelity = StateFidelity(run.problem.circuit)

    def charged(weights: Any, others: Any) -> NDArray[np.float64]:
        run.charge(fidelities=len(others))
        return fidelity(weights, others)

    return {**_spsa(run), "alpha": 0.0, "fidelity": charged, "damping": 1e-2}


def _no_options(run: Run) -> dict[str, Any]:
    return {}


def _scipy(run: Run, method: str) -> dict[str, Any]:
    return {"method": method, "max_iter": 10_000, "tolerance": SCIPY_TOLERANCES[method]}


def _entrant(name: str, label: str, *sizes: float, approximation: str = "full") -> Entrant:
    return Entrant(replace(CONTESTANTS[name], label=label), sizes, approximation)


METRIC_SIZES = (0.02, 0.05, 0.1, 0.5, 1.0)
ENTRANTS = (
    _entrant("adam", "Adam", 0.05, 0.1, 0.2, 0.4, 0.8),
    _entrant("rmsprop", "RMSprop", 0.01, 0.02, 0.05, 0.1),
    _entrant("momentum", "SGD, momentum 0.9", 0.005, 0.01, 0.05, 0.2),
    _entrant("lbfgs", "LBFGS", 1.0),
    *(
        _entrant("natural", f"natural gradient, {name}", *METRIC_SIZES, approximation=name)
        for name in ("full", "block-diagonal")
    ),
    Entrant(Contestant("SPSA", SPSA, _spsa, displaced=True), (0.1, 0.3, 1.0, 3.0)),
    Entrant(Contestant("QNSPSA", QNSPSA, _qnspsa, displaced=True), (0.01, 0.02, 0.05, 0.2)),
    Entrant(Contestant("Rotosolve", Rotosolve, _no_options, settled=1e-12, takes_module=True)),
    *(
        Entrant(
            Contestant(
                f"ScipyMinimize, {method}",
                ScipyMinimize,
                partial(_scipy, method=method),
                settled=math.inf,
            )
        )
        for method in SCIPY_TOLERANCES
    ),
    _entrant("slsqp", "SLSQP"),
    _entrant("cobyla", "COBYLA"),
    _entrant("spsa", "SPSA, calibrated"),
)


class Case(NamedTuple):
    """A problem with a start, and what its runs may spend.

    Attributes:
        problem: The problem.
        by: How to count: ``"shift"``, ``"difference"`` or, gradients only, ``"gradient"``; see
            :func:`price`.
        budget: The most evaluations, counted like this.
        target: A run ends at this value.
    """

    problem: Problem
    by: str
    budget: int
    target: float = -math.inf

    def run(self, entrant: Entrant, size: float | None, seed: int, through: str = "module") -> Run:
        """Let an optimizer minimise."""
        conditions = Conditions(
            price(self.problem, entrant, self.by),
            self.budget,
            seed=seed,
            approximation=entrant.approximation,
            target=self.target,
        )
        return compete(Run(entrant.contestant, self.problem, conditions, size, through))


def price(problem: Problem, entrant: Entrant, by: str) -> Price:
    """Return what a device would have to evaluate.

    A value and a fidelity are one each. By ``"shift"``, a gradient is two for each gate angle, and
    a metric what measures it. By ``"difference"``, a gradient is two for each parameter, and a
    metric two fidelities for each of its entries on and above the diagonal.
    """
    if by == "gradient":
        return Price(values=0, gradients=1, fidelities=0)
    circuit, approximation = problem.circuit, entrant.approximation
    if by == "difference":
        blocks = FubiniStudyMetric(circuit, approximation).blocks()
        sizes = [len(block) for block in blocks]
        return Price(
            gradients=2 * circuit.num_parameters,
            metrics=sum(size * (size + 1) for size in sizes),
        )
    return Price(
        gradients=price_gradient(circuit, problem.operator, "parameter-shift"),
        metrics=price_metric(circuit, approximation),
    )


@dataclass
class Line:
    """A line of a table: what one optimizer's runs came to."""

    entrant: Entrant
    size: float | None
    runs: list[Run]
    through: str = "module"

    @property
    def labels(self) -> list[str]:
        """Name, package and step size, as tables show them."""
        size = "" if self.size is None else f"{self.size:g}"
        return [self.entrant.contestant.label, self.entrant.package, size]

    def evaluations_at(self, run: Run, value: float, by: str) -> float:
        """Return the evaluations of a run until a value was reached."""
        return run.evaluations_at(value, price(run.problem, self.entrant, by))


def cuts(graphs: int, rng: np.random.Generator, budget: int) -> list[Case]:
    """Return QAOA problems on random 3-regular graphs with random starts."""
    cases = []
    for _ in range(graphs):
        graph = random_regular(NODES, 3, rng)
        circuit, _, _ = qaoa_circuit(graph, LAYERS)
        # Values repeat after pi / 2 in beta and 2 pi in gamma, and if all angles change sign.
        top = [np.pi / 2 if p.name.startswith("beta") else np.pi for p in circuit.parameters]
        problem = Problem(
            "cut",
            circuit,
            -cut_operator(graph),
            -max_cut(graph),
            rng.uniform(0, top),
            tolerance=TOLERANCE,
        )
        cases.append(Case(problem, "difference", budget))
    return cases


def molecules(starts: int, rng: np.random.Generator) -> list[Case]:
    """Return the energy of H2 with RY rotations around a CX, and random starts."""
    theta = ParameterVector("theta", 4)
    circuit = QuantumCircuit(2)
    for layer in range(2):
        for q in range(2):
            circuit.ry(theta[2 * layer + q], q)
        if not layer:
            circuit.cx(0, 1)
    least, draw = ground_energy(H2), partial(rng.uniform, -np.pi, np.pi, 4)
    problems = [
        Problem("H2", circuit, H2, least, draw(), tolerance=TOLERANCE) for _ in range(starts)
    ]
    return [Case(problem, "shift", 1000) for problem in problems]


def chains(qubits: int, starts: int, rng: np.random.Generator) -> list[Case]:
    r"""Return the critical transverse-field Ising ring, and random starts.

    Its ansatz alternates :math:`e^{-i\gamma_k\sum Z_jZ_{j+1}/2}` and
    :math:`e^{-i\beta_k\sum X_j/2}` ``qubits / 2`` times from all spins along the field, which
    can prepare the ground state (W. W. Ho, T. H. Hsieh, SciPost Phys. 6, 029 (2019)).
    """
    ring = [(q, (q + 1) % qubits) for q in range(qubits)]
    terms = [("ZZ", list(bond), -1.0) for bond in ring] + [("X", [q], -1.0) for q in range(qubits)]
    operator = SparsePauliOp.from_sparse_list(terms, qubits)
    theta = ParameterVector("theta", qubits)
    circuit = QuantumCircuit(qubits)
    circuit.h(range(qubits))
    for layer in range(qubits // 2):
        for bond in ring:
            circuit.rzz(theta[2 * layer], *bond)
        circuit.rx(theta[2 * layer + 1], range(qubits))
    least, draw = ground_energy(operator), partial(rng.uniform, -np.pi, np.pi, qubits)
    target = least + RELATIVE_ERROR * abs(least)
    problems = [
        Problem("chain", circuit, operator, least, draw(), tolerance=TOLERANCE)
        for _ in range(starts)
    ]
    return [Case(problem, "gradient", MOST_GRADIENTS, target) for problem in problems]


def lines(name: str, position: int, tuning: Sequence[Case], cases: Sequence[Case]) -> list[Line]:
    """Choose the step size of an entrant on some cases, and return what comes of others."""
    torch.set_num_threads(1)
    entrant = ENTRANTS[position]
    score = {"cuts": mean_excess, "molecule": median_need(FAR), "chain": median_need()}[name]
    size = best_size(entrant, tuning, score)
    result = []
    for through in ("module", "VQE") if name == "molecule" else ("module",):
        runs = [case.run(entrant, size, seed, through) for seed, case in enumerate(cases)]
        result.append(Line(entrant, size, runs, through))
    print(f"{name}: {entrant.contestant.label} ({entrant.package})", flush=True)
    return result


def best_size(
    entrant: Entrant, cases: Sequence[Case], score: Callable[[list[Run]], Any]
) -> float | None:
    """Return the step size whose runs have the least score."""
    if len(entrant.sizes) < 2:
        return entrant.sizes[0] if entrant.sizes else None

    def scored(size: float) -> Any:
        return score([case.run(entrant, size, seed) for seed, case in enumerate(cases)])

    return min(entrant.sizes, key=scored)


def mean_excess(runs: list[Run]) -> float:
    """Return how far runs end above the least value, by the mean of three moments."""
    budget = runs[0].conditions.budget
    moments = np.array([budget / 10, budget / 3, budget])
    return float(np.mean([r.best_after(moments) - r.problem.least for r in runs]))


def median_need(excess: float | None = None) -> Callable[[list[Run]], tuple[float, float]]:
    """Return a score: the median of evaluations until a target, then the mean excess."""

    def score(runs: list[Run]) -> tuple[float, float]:
        need = [
            r.evaluations_at(r.conditions.target if excess is None else r.problem.least + excess)
            for r in runs
        ]
        return statistics.median(need), statistics.mean(r.best - r.problem.least for r in runs)

    return score


def cut_table(table: Sequence[Line], budget: int) -> str:
    """Return mean approximation ratios and the evaluations they took."""
    moments = (budget // 10, budget // 3, budget)
    header = (
        "optimizer",
        "package",
        "rate",
        *(f"ratio after {m:,}" for m in moments[:2]),
        "ratio at the end",
        "evaluations, differences",
        "evaluations, shifts",
    )
    rows = []
    for line in table:
        ratios = np.mean([r.best_after(moments) / r.problem.least for r in line.runs], 0)
        needs = [
            statistics.median(
                line.evaluations_at(r, r.best - 1e-3 * r.problem.least, by) for r in line.runs
            )
            for by in ("difference", "shift")
        ]
        rows.append(
            [
                *line.labels,
                *(f"{ratio:.3f}" for ratio in ratios),
                *(f"{need:,.0f}" for need in needs),
            ]
        )
    return harness.table(header, rows)


def molecule_table(table: Sequence[Line]) -> str:
    """Return errors and evaluations, through the module and through VQE."""
    header = (
        "optimizer",
        "package",
        "rate",
        "through",
        "median error",
        "largest error",
        "evaluations to 1.6e-3",
        "to 1e-6",
        "starts that reach 1e-6",
    )
    rows = []
    for line in table:
        errors = [r.best - r.problem.least for r in line.runs]
        needs = [
            [r.evaluations_at(r.problem.least + error) for r in line.runs]
            for error in (CHEMICAL_ACCURACY, FAR)
        ]
        rows.append(
            [
                *line.labels,
                line.through,
                _error(statistics.median(errors)),
                _error(max(errors)),
                *(_count(statistics.median(need)) for need in needs),
                f"{sum(np.isfinite(needs[1]))} of {len(line.runs)}",
            ]
        )
    return harness.table(header, rows)


def chain_table(table: Sequence[Line]) -> str:
    """Return the gradients and evaluations until the target."""
    header = (
        "optimizer",
        "rate",
        "gradients, median",
        "fewest to most",
        "starts that reach it",
        "evaluations, median",
    )
    rows = []
    for line in table:
        goal = line.runs[0].conditions.target
        gradients = sorted(r.evaluations_at(goal) for r in line.runs)
        evaluations = [line.evaluations_at(r, goal, "shift") for r in line.runs]
        rows.append(
            [
                line.labels[0],
                line.labels[2],
                _count(statistics.median(gradients)),
                f"{gradients[0]:,.0f} to {_count(gradients[-1])}"
                if np.isfinite(gradients[0])
                else "-",
                f"{sum(np.isfinite(gradients))} of {len(line.runs)}",
                _count(statistics.median(evaluations)),
            ]
        )
    return harness.table(header, rows)


def _error(error: float) -> str:
    return "< 1e-12" if error < 1e-12 else f"{error:.0e}"


def _count(number: float) -> str:
    return f"{number:,.0f}" if np.isfinite(number) else "not reached"


def draw(cut_lines: Sequence[Line], chain_lines: Sequence[Line], budget: int, path: Path) -> None:
    """Draw mean ratios against evaluations, and median errors against gradients."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 6), layout="constrained")
    moments = np.unique(np.geomspace(5, budget, 80).astype(int))
    colors = plt.get_cmap("tab20").colors
    for index, line in enumerate(cut_lines):
        means = np.mean([r.best_after(moments) / r.problem.least for r in line.runs], 0)
        style = "--" if line.entrant.package == "qiskit-algorithms" else "-"
        name = f"{line.labels[0]} ({line.entrant.package})"
        left.plot(moments, means, style, color=colors[index % 20], label=name)
    left.set_xscale("log")
    left.set_xlabel("evaluations, gradients by differences")
    left.set_ylabel("mean approximation ratio")
    left.set_title(f"QAOA, {LAYERS} layers, 3-regular graphs of {NODES} nodes")
    left.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
    steps = np.arange(1, MOST_GRADIENTS + 1)
    for line in chain_lines:
        errors = np.median([r.best_after(steps) / r.problem.least - 1 for r in line.runs], 0)
        right.plot(steps, np.abs(errors), label=line.labels[0])
    right.axhline(RELATIVE_ERROR, color="black", linewidth=0.8, linestyle=":")
    right.set_xscale("log")
    right.set_yscale("log")
    right.set_xlabel("gradients")
    right.set_ylabel("median relative error of the energy")
    right.set_title("critical Ising ring")
    right.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def facts(line: Line) -> dict[str, Any]:
    """Return a line's figures for a file."""
    return {
        "optimizer": line.labels[0],
        "package": line.entrant.package,
        "step size": line.size,
        "chosen from": line.entrant.sizes,
        "through": line.through,
        "runs": [
            {"best": r.best, "least": r.problem.least, "asked": r.counts._asdict()}
            for r in line.runs
        ],
    }


def report(
    cut_lines: Sequence[Line],
    molecule_lines: Sequence[Line],
    chain_lines: Sequence[Line],
    budget: int,
    qubits: int,
    versions: dict[str, str],
) -> str:
    """Return everything as text."""
    return "\n\n".join(
        [
            "# Optimizers",
            "Evaluations are points that a device would have to evaluate, and do not depend on the "
            "machine. A value is one, with all terms of the operator; a fidelity is one. A "
            "gradient by *differences* is two for each parameter, by *shifts* two for each gate "
            "angle. A full metric by shifts is one for each gate and each pair of gates, a "
            "block-diagonal one is one for each block; by differences both are two fidelities for "
            "each entry on and above the diagonal. Values and gradients are exact. Learning rates "
            "are the best of four or five (LBFGS: 1) on other graphs and starts than those of the "
            "tables. SPSA and QNSPSA are judged by where they stand, the others by their lowest "
            "value.",
            f"![ratios and errors]({NAME}.png)",
            "## QAOA for MaxCut",
            f"{len(cut_lines[0].runs)} random 3-regular graphs of {NODES} nodes, {LAYERS} layers, "
            f"4 parameters in 50 gates, a random start for each; at most {budget:,} evaluations "
            "by differences. The ratio is the mean cut over the largest one, averaged over "
            "graphs. The last columns are medians of the evaluations until a run is within 0.001 "
            "of its own last ratio, counted in two ways.",
            cut_table(cut_lines, budget),
            "## The hydrogen molecule",
            f"Two qubits, 4 RY rotations around a CX, {len(molecule_lines[0].runs)} random starts; "
            "at most 1,000 evaluations. Errors are in hartree, evaluations are medians. Each "
            "optimizer works on the module, and on `VQE` of qiskit-algorithms as its optimizer; "
            "there, where SPSA and QNSPSA stand is seen a step later.",
            molecule_table(molecule_lines),
            "## Natural gradient and Adam",
            f"The critical transverse-field Ising ring of {qubits} spins with the Hamiltonian "
            f"variational ansatz of {qubits // 2} layers, {qubits} parameters in {qubits**2} "
            f"gates, as in D. Wierichs et al., Phys. Rev. Research 2, 043246 (2020); "
            f"{len(chain_lines[0].runs)} random starts, at most {MOST_GRADIENTS} gradients. A run "
            f"ends at a relative error of {RELATIVE_ERROR:g}. There is one gradient to each step, "
            "but LBFGS takes several.",
            chain_table(chain_lines),
            ", ".join(f"{key} {value}" for key, value in versions.items()),
        ]
    )


def main() -> None:
    """Count, print and save."""
    parser = harness.parser(__doc__, repeats=20, budget=500)
    parser.add_argument("--quick", action="store_true", help="few starts, a short chain")
    parser.add_argument("--seed", type=int, default=0, help="of graphs and starts (default 0)")
    parser.add_argument("--processes", type=int, default=2, help="default 2")
    options = parser.parse_args()
    count, few, qubits = (2, 1, 4) if options.quick else (options.repeats, 3, 8)
    budget = int(options.budget)
    # Step sizes are chosen on graphs and starts that the tables do not have.
    draws = np.random.default_rng(options.seed).spawn(6)

    tasks = {
        "chain": (chains(qubits, few, draws[4]), chains(qubits, count // 2, draws[5])),
        "cuts": (cuts(few, draws[0], budget), cuts(count, draws[1], budget)),
        "molecule": (molecules(few, draws[2]), molecules(count // 2, draws[3])),
    }
    every = range(len(ENTRANTS))
    chosen = dict.fromkeys(tasks, every) | {
        "chain": [k for k in every if ENTRANTS[k].contestant.label in ON_CHAIN]
    }
    # Nothing is timed, so runs may share the machine.
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
        waiting = {
            name: [pool.submit(lines, name, k, *tasks[name]) for k in chosen[name]]
            for name in tasks
        }
        found = {
            name: [x for f in futures for x in f.result()] for name, futures in waiting.items()
        }
    chain_lines, cut_lines, molecule_lines = (found[name] for name in tasks)

    options.output.mkdir(parents=True, exist_ok=True)
    draw(cut_lines, chain_lines, budget, options.output / f"{NAME}.png")
    figures = {name: [facts(line) for line in table] for name, table in found.items()}
    packages = ("numpy", "scipy", "torch", "qiskit", "qiskit-algorithms")
    versions = {**harness.environment(packages), "qiskit-torch-bridge": __version__}
    text = report(cut_lines, molecule_lines, chain_lines, budget, qubits, versions)
    print(text)
    harness.save(NAME, text, {"environment": versions, **figures}, options.output)


if __name__ == "__main__":
    main()
