# SPDX-License-Identifier: Apache-2.0
"""How many evaluations optimizers need: QAOA, a molecule, and a chain for the natural gradient.

Nothing is timed. Values and gradients are exact; what is counted is what a device would have to
evaluate, so the figures do not depend on the machine, up to rounding.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import harness
import matplotlib.pyplot as plt
import numpy as np
import torch
from contestants import CONTESTANTS, Contestant, Problem, Run, best_size, on_module, through_vqe
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from scipy.sparse.linalg import eigsh

from qiskit_torch_bridge import __version__
from qiskit_torch_bridge.demos.graphs import cut_operator, max_cut, qaoa_circuit, random_regular
from qiskit_torch_bridge.demos.vqe_problems import H2

NAME = "optimizers"
NODES, LAYERS = 10, 2
CHEMICAL_ACCURACY, FAR = 1.6e-3, 1e-6  # hartree
RELATIVE_ERROR = 1e-4  # of the chain's ground state energy
MOST_GRADIENTS = 500
ON_CHAIN = (
    "Adam",
    "SGD, momentum 0.9",
    "LBFGS",
    "natural gradient, full",
    "natural gradient, block-diagonal",
)


@dataclass
class Line:
    """A line of a table: what one contestant's runs came to."""

    contestant: Contestant
    size: float | None
    runs: list[Run]
    through: str = "module"

    @property
    def rate(self) -> str:
        """The step size, as tables show it."""
        return "" if self.size is None else f"{self.size:g}"


def cuts(graphs: int, rng: np.random.Generator, budget: int) -> list[tuple[Problem, Any]]:
    """Return QAOA problems on random 3-regular graphs, and a random start for each."""
    cases = []
    for _ in range(graphs):
        graph = random_regular(NODES, 3, rng)
        circuit, _, _ = qaoa_circuit(graph, LAYERS)
        problem = Problem(
            circuit, -cut_operator(graph), -max_cut(graph), budget=budget, by="difference"
        )
        # Values repeat after pi / 2 in beta and 2 pi in gamma, and if all angles change sign.
        top = [np.pi / 2 if p.name.startswith("beta") else np.pi for p in circuit.parameters]
        cases.append((problem, rng.uniform(0, top)))
    return cases


def molecules(starts: int, rng: np.random.Generator) -> list[tuple[Problem, Any]]:
    """Return the energy of H2 with RY rotations around a CX, and random starts."""
    theta = ParameterVector("theta", 4)
    circuit = QuantumCircuit(2)
    for layer in range(2):
        for q in range(2):
            circuit.ry(theta[2 * layer + q], q)
        if not layer:
            circuit.cx(0, 1)
    problem = Problem(circuit, H2, _ground(H2), budget=1000)
    return [(problem, rng.uniform(-np.pi, np.pi, 4)) for _ in range(starts)]


def chains(qubits: int, starts: int, rng: np.random.Generator) -> list[tuple[Problem, Any]]:
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
    least = _ground(operator)
    target = RELATIVE_ERROR * abs(least)
    problem = Problem(circuit, operator, least, budget=MOST_GRADIENTS, target=target, by="gradient")
    return [(problem, rng.uniform(-np.pi, np.pi, qubits)) for _ in range(starts)]


def _ground(operator: SparsePauliOp) -> float:
    matrix = operator.to_matrix(sparse=operator.num_qubits > 4)
    if operator.num_qubits <= 4:
        return float(np.linalg.eigvalsh(matrix)[0])
    start = np.random.default_rng(0).normal(size=matrix.shape[0])
    return float(eigsh(matrix, k=1, which="SA", return_eigenvectors=False, v0=start)[0])


def lines(
    name: str,
    contestant: Contestant,
    tuning: Sequence[tuple[Problem, Any]],
    cases: Sequence[tuple[Problem, Any]],
) -> list[Line]:
    """Choose the step size on some cases, and return what comes of others."""
    torch.set_num_threads(1)
    score = {"cuts": mean_excess, "molecule": median_need(FAR), "chain": median_need()}[name]
    size = best_size(contestant, tuning, score)
    numbered = list(enumerate(cases))
    runs = [on_module(contestant, p, x, size, seed) for seed, (p, x) in numbered]
    result = [Line(contestant, size, runs)]
    if name == "molecule":
        runs = [through_vqe(contestant, p, x, size, seed) for seed, (p, x) in numbered]
        result.append(Line(contestant, size, runs, "VQE"))
    print(f"{name}: {contestant.name} ({contestant.package})", flush=True)
    return result


def mean_excess(runs: list[Run]) -> float:
    """Return how far runs end above the least value, by the mean of three moments."""
    budget = runs[0].problem.budget
    moments = (budget / 10, budget / 3, budget)
    return statistics.mean(r.best_after(m) - r.problem.least for r in runs for m in moments)


def median_need(target: float | None = None) -> Callable[[list[Run]], tuple[float, float]]:
    """Return a score: the median of evaluations until a target, then the mean excess."""

    def score(runs: list[Run]) -> tuple[float, float]:
        need = [
            r.evaluations_at(r.problem.least + (r.problem.target if target is None else target))
            for r in runs
        ]
        return statistics.median(need), statistics.mean(r.best - r.problem.least for r in runs)

    return score


def cut_table(table: Sequence[Line], budget: int) -> str:
    """Return mean approximation ratios and the evaluations they took."""
    moments = (budget // 10, budget // 3)
    header = (
        "optimizer",
        "package",
        "rate",
        *(f"ratio after {m:,}" for m in moments),
        "ratio at the end",
        "evaluations, differences",
        "evaluations, shifts",
    )
    rows = []
    for line in table:
        ratios = [
            statistics.mean(r.best_after(m) / r.problem.least for r in line.runs)
            for m in (*moments, budget)
        ]
        needs = [
            statistics.median(
                r.evaluations_at(r.best - 1e-3 * r.problem.least, by) for r in line.runs
            )
            for by in ("difference", "shift")
        ]
        rows.append(
            [
                line.contestant.name,
                line.contestant.package,
                line.rate,
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
                line.contestant.name,
                line.contestant.package,
                line.rate,
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
        reached = [(r, r.problem.least + r.problem.target) for r in line.runs]
        gradients = sorted(r.evaluations_at(goal) for r, goal in reached)
        evaluations = [r.evaluations_at(goal, "shift") for r, goal in reached]
        rows.append(
            [
                line.contestant.name,
                line.rate,
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
        means = [
            statistics.mean(r.best_after(m) / r.problem.least for r in line.runs) for m in moments
        ]
        style = "--" if line.contestant.package == "qiskit-algorithms" else "-"
        name = f"{line.contestant.name} ({line.contestant.package})"
        left.plot(moments, means, style, color=colors[index % 20], label=name)
    left.set_xscale("log")
    left.set_xlabel("evaluations, gradients by differences")
    left.set_ylabel("mean approximation ratio")
    left.set_title(f"QAOA, {LAYERS} layers, 3-regular graphs of {NODES} nodes")
    left.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
    steps = np.arange(1, MOST_GRADIENTS + 1)
    for line in chain_lines:
        errors = [
            statistics.median(r.best_after(k) / r.problem.least - 1 for r in line.runs)
            for k in steps
        ]
        right.plot(steps, np.abs(errors), label=line.contestant.name)
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
        "optimizer": line.contestant.name,
        "package": line.contestant.package,
        "step size": line.size,
        "chosen from": line.contestant.sizes,
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
    chosen = dict.fromkeys(tasks, CONTESTANTS) | {
        "chain": [c for c in CONTESTANTS if c.name in ON_CHAIN]
    }
    # Nothing is timed, so runs may share the machine.
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
        waiting = {
            name: [pool.submit(lines, name, c, *tasks[name]) for c in chosen[name]]
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
