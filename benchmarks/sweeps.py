# SPDX-License-Identifier: Apache-2.0
"""How the cost of an exact training step grows, one size at a time.

Varied are qubits, layers, rows of a batch, observables, and the number of weights that a circuit of
fixed size shares; the rest stays at 8 qubits, 3 layers, 32 rows, Z on each qubit and one weight per
rotation.
"""

from __future__ import annotations

import plots
import report
import suite
from workloads import Spec

NAME = "sweeps"
CANDIDATES = ("tensorcircuit-scanned", "tensorcircuit-searched", "mindquantum-total", "tfq")
BASE = {"kind": "layered", "qubits": 8, "layers": 3, "batch": 32}
SWEEPS = {
    "qubits": (2, 4, 6, 8, 10, 12, 14),
    "layers": (1, 2, 4, 8, 16),
    "batch": (1, 4, 16, 64, 256),
    "observables": (1, 2, 4, 8, 16, 32, 64),
    "weights": (1, 4, 12, 48),
}
TINY_BASE = {"kind": "layered", "qubits": 3, "layers": 2, "batch": 2}
TINY = {
    "qubits": (2, 3),
    "layers": (1, 2),
    "batch": (1, 2),
    "observables": (1, 4),
    "weights": (1, 4),
}


def specs_of(base: Spec, name: str, values: tuple[int, ...]) -> list[Spec]:
    """Return the base with one of its sizes varied."""
    return [base | {name: value} for value in values]


def main() -> None:
    """Compare, time, print and save."""
    parser = suite.parser(__doc__)
    parser.add_argument("--sweeps", nargs="+", choices=SWEEPS, default=list(SWEEPS))
    parser.set_defaults(repeats=7, compile_budget=120)
    options = parser.parse_args()
    base, sweeps = (TINY_BASE, TINY) if options.quick else (BASE, SWEEPS)
    names, how = suite.chosen(CANDIDATES, options), suite.method(options)
    with suite.pool(options) as processes:
        peak = suite.machine(processes)
        panels = {
            name: (
                sweeps[name],
                list(suite.rows(processes, specs_of(base, name, sweeps[name]), names, how)),
            )
            for name in options.sweeps
        }
        packages = suite.packages(processes, names)
        cores = processes.cores
    plots.sweeps(panels, options.output / f"{NAME}.png")
    rows = [row for _, found in panels.values() for row in found]
    parts = [
        "# The cost of a step as one size grows",
        *(f"## {name}\n\n{report.overview(found)}" for name, (_, found) in panels.items()),
        f"![time of a step against each size]({NAME}.png)",
        report.roofline(rows, peak),
        report.conditions(how, cores, packages),
    ]
    facts = report.facts(
        rows,
        sweeps={name: list(sweeps[name]) for name in panels},
        peak=peak,
        method=vars(how),
        cores=cores,
        packages=packages,
    )
    suite.save(NAME, parts, facts, options.output)


if __name__ == "__main__":
    main()
