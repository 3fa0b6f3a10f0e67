# SPDX-License-Identifier: Apache-2.0
"""One step of a variational eigensolver: an energy and its gradient by all weights, exactly.

The ansatz is ``efficient_su2(n, reps=3, entanglement="linear")``, as Qiskit builds it; energies are
those of a Heisenberg chain with a field (4n - 3 terms) and of two molecules (631 and 1,086 terms).
"""

from __future__ import annotations

import plots
import report
import suite
from workloads import Spec

NAME = "energy_gradient"
ROWS: list[Spec] = [
    *({"kind": "heisenberg", "qubits": n} for n in (12, 16, 20)),
    *({"kind": "molecule", "name": name} for name in ("lih", "h2o")),
]
TINY: list[Spec] = [{"kind": "heisenberg", "qubits": n} for n in (2, 3)]
CANDIDATES = (
    "lightning-adjoint",
    "lightning-sparse",
    "tensorcircuit-scanned",
    "tensorcircuit-searched",
    "tfq",
    "qulacs",
    "mindquantum-jacobian",
    "mindquantum-sparse",
    "qiskit-reverse",
)


def main() -> None:
    """Compare, time, print and save."""
    parser = suite.parser(__doc__)
    parser.add_argument(
        "--rows", type=int, nargs="+", metavar="ROW", help=f"which of the {len(ROWS)}, from 1"
    )
    options = parser.parse_args()
    specs = TINY if options.quick else ROWS
    specs = [specs[row - 1] for row in options.rows or range(1, len(specs) + 1)]
    names, how = suite.chosen(CANDIDATES, options), suite.method(options)
    with suite.pool(options) as processes:
        peak = suite.machine(processes)
        rows = list(suite.rows(processes, specs, names, how))
        packages = suite.packages(processes, names)
        cores = processes.cores
    plots.steps(rows, "energy and gradient by all weights", options.output / f"{NAME}.png")
    parts = [
        "# Energy and gradient",
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
