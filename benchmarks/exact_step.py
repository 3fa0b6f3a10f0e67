# SPDX-License-Identifier: Apache-2.0
"""One exact training step: this package and what else computes such gradients.

The step is expectation values of Z on each qubit for a batch of inputs, and the gradients of their
sum by inputs and weights, of RY(x) on each qubit and layers of RY and RZ on each qubit and a ring
of CX. The machine's peak is measured in the same run.
"""

from __future__ import annotations

import plots
import report
import suite

NAME = "exact_step"
ROWS = [(2, 1, 64), (4, 2, 64), (8, 3, 32), (12, 3, 8), (16, 2, 1), (20, 2, 1)]
TINY = [(2, 1, 3), (3, 2, 2)]
CANDIDATES = (
    "pennylane-backprop",
    "lightning-adjoint",
    "lightning-threads",
    "lightning-vjp",
    "tensorcircuit-unrolled",
    "tensorcircuit-scanned",
    "tensorcircuit-searched",
    "tfq",
    "qulacs",
    "mindquantum-jacobian",
    "mindquantum-total",
    "qiskit-reverse",
    "qiskit-torch-module",
    "qiskit-ml",
    "qiskit-ml-aer",
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
    specs = [
        {"kind": "layered", "qubits": n, "layers": layers, "batch": batch}
        for n, layers, batch in sizes
    ]
    names, how = suite.chosen(CANDIDATES, options), suite.method(options)
    with suite.pool(options) as processes:
        peak = suite.machine(processes)
        rows = list(suite.rows(processes, specs, names, how))
        packages = suite.packages(processes, names)
        cores = processes.cores
    plots.steps(rows, "one exact training step", options.output / f"{NAME}.png")
    parts = [
        "# One exact training step",
        report.overview(rows),
        f"![medians of all candidates]({NAME}.png)",
        report.roofline(rows, peak),
        *(report.details(row) for row in rows),
        report.conditions(how, cores, packages),
    ]
    facts = report.facts(rows, peak=peak, method=vars(how), cores=cores, packages=packages)
    suite.save(NAME, parts, facts, options.output)


if __name__ == "__main__":
    main()
