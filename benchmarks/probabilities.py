# SPDX-License-Identifier: Apache-2.0
"""One exact training step whose outputs are the probabilities of all outcomes.

The circuit is that of ``exact_step.py``; the step is the probabilities of all outcomes for a batch
of inputs, and the gradients of the sum of mean costs by inputs and weights. Beside it the same
circuit with Z on each qubit, on this package alone: what probabilities cost more.
"""

from __future__ import annotations

import plots
import report
import suite
from comparison import compare
from peers.registry import OURS

NAME = "probabilities"
ROWS = [(4, 2, 64), (8, 2, 64), (12, 2, 64)]
TINY = [(2, 1, 3), (3, 2, 2)]
CANDIDATES = (
    "qiskit-ml-sampler",
    "pennylane-probs",
    "tensorcircuit-unrolled",
    "tensorcircuit-scanned",
    "tensorcircuit-searched",
)


def main() -> None:
    """Compare, time, print and save."""
    parser = suite.parser(__doc__)
    parser.add_argument(
        "--rows", type=int, nargs="+", metavar="ROW", help=f"which of the {len(ROWS)} sizes, from 1"
    )
    options = parser.parse_args()
    sizes = TINY if options.quick else ROWS
    sizes = [sizes[row - 1] for row in options.rows or range(1, len(sizes) + 1)]
    observed = [
        {"kind": "layered", "qubits": n, "layers": layers, "batch": batch}
        for n, layers, batch in sizes
    ]
    specs = [{**spec, "outcomes": True} for spec in observed]
    names, how = suite.chosen(CANDIDATES, options), suite.method(options)
    with suite.pool(options) as processes:
        rows = list(suite.rows(processes, specs, names, how))
        alone = [compare(processes, spec, [OURS], how) for spec in observed]
        packages = suite.packages(processes, names)
        cores = processes.cores
    plots.steps(rows, "a step with probabilities", options.output / f"{NAME}.png")
    parts = [
        "# A training step with the probabilities of all outcomes",
        report.overview(rows),
        f"![medians of all candidates]({NAME}.png)",
        "On this package, against Z on each qubit of the same circuit: "
        + "; ".join(
            f"{report.milliseconds(row.entry(OURS).median)} and "
            f"{report.milliseconds(other.entry(OURS).median)} ms with {n} qubits"
            for row, other, (n, _, _) in zip(rows, alone, sizes, strict=True)
        )
        + ".",
        *(report.details(row) for row in rows),
        report.conditions(how, cores, packages),
    ]
    facts = report.facts(rows, method=vars(how), cores=cores, packages=packages)
    facts["observables"] = [row.facts() for row in alone]
    suite.save(NAME, parts, facts, options.output)


if __name__ == "__main__":
    main()
