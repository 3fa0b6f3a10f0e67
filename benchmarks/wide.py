# SPDX-License-Identifier: Apache-2.0
"""One exact training step of wide and shallow circuits, and of QAOA, narrow and wide.

Forward, and backward to inputs and weights, in double precision: layers on a chain, an energy of
100 qubits, QAOA on sparse and dense graphs and on the heavy-hexagonal lattice of 127 qubits. Up to
20 qubits all candidates are held to the reference, of wider circuits to this package's numbers.
Then how this package's step grows with qubits and with layers, and the exponents.

    python benchmarks/wide.py --list                      # the rows and their numbers
    python benchmarks/wide.py --rows 1 3 --no-growth      # some of them
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import harness
import numpy as np
import report
import suite
from comparison import Entry, Method, Row
from peers.registry import OURS, PEERS
from processes import Pool
from workloads import Spec, label

NAME = "wide"
CHAIN: Spec = {"kind": "layered", "chain": True}
ROWS: list[Spec] = [
    *(CHAIN | {"qubits": n, "layers": 3, "batch": b} for n in (50, 100) for b in (1, 16)),
    CHAIN | {"qubits": 127, "layers": 4, "batch": 1},
    CHAIN | {"qubits": 100, "layers": 5, "batch": 1},
    {"kind": "ising", "qubits": 100, "reps": 3},
    *(
        {"kind": "qaoa", "graph": graph, "qubits": n, "reps": 5}
        for graph in ("3-regular", "dense")
        for n in (12, 16, 20)
    ),
    *(
        {"kind": "qaoa", "graph": "3-regular", "qubits": n, "reps": p}
        for p in (1, 2)
        for n in (100, 500, 1000)
    ),
    *({"kind": "qaoa", "graph": "heavy-hex", "qubits": 127, "reps": p} for p in (1, 2)),
]
TINY: list[Spec] = [
    CHAIN | {"qubits": 4, "layers": 1, "batch": 2},
    {"kind": "ising", "qubits": 4, "reps": 1},
    {"kind": "qaoa", "graph": "3-regular", "qubits": 6, "reps": 1},
    {"kind": "qaoa", "graph": "dense", "qubits": 4, "reps": 1},
]
WIDE = ("tensorcircuit-wide", "tensorcircuit-wide-searched", "quimb", "pennylane-tensor")
NARROW = ("lightning-adjoint", "tensorcircuit-unrolled", "tensorcircuit-searched", *WIDE)
MOST_NARROW = 20
"""Qubits up to which candidates with a whole state are asked."""

MOST_COMPILING = 900.0
"""Seconds that the kernels of this package may take to be compiled."""

GROWTH = {"qubits": (25, 50, 100, 200), "layers": (1, 2, 3, 4, 5)}
TINY_GROWTH = {"qubits": (3, 4, 5), "layers": (1, 2)}
BASE = {"qubits": 100, "layers": 3, "batch": 1}
TINY_BASE = {"qubits": 3, "layers": 1, "batch": 1}


def candidates(spec: Spec) -> list[str]:
    """Return the candidates of a row."""
    names = NARROW if spec["qubits"] <= MOST_NARROW else WIDE
    own = ("qokit",) if spec["kind"] == "qaoa" and spec["qubits"] <= MOST_NARROW else ()
    return [OURS, *own, *names]


def family(spec: Spec) -> str:
    """Return a name for circuits of which the wider, deeper and denser take longer."""
    return "heavy-hex" if spec.get("graph") == "heavy-hex" else spec["kind"]


def size(spec: Spec) -> tuple[int, int, int, bool]:
    """Return what a row may exceed another one in."""
    layers = spec.get("layers", spec.get("reps", 0))
    return spec["qubits"], layers, spec.get("batch", 1), spec.get("graph") == "dense"


class Patience:
    """Leaves candidates out that took too long on a smaller circuit of the same family."""

    def __init__(self) -> None:
        self._given_up: dict[tuple[str, str], list[Spec]] = {}

    def left_out(self, name: str, spec: Spec) -> Spec | None:
        """Return the smaller circuit that a candidate took too long for."""
        for smaller in self._given_up.get((name, family(spec)), ()):
            if all(a <= b for a, b in zip(size(smaller), size(spec), strict=True)):
                return smaller
        return None

    def look_at(self, row: Row) -> None:
        """Remember who took too long."""
        for entry in row.entries:
            if entry.why.startswith(">"):
                self._given_up.setdefault((entry.name, family(row.spec)), []).append(row.spec)


def compare(
    processes: Pool, specs: Sequence[Spec], only: Sequence[str], how: Method
) -> Iterator[Row]:
    """Compare the candidates on one workload after the other."""
    patience = Patience()
    for spec in specs:
        smaller = {
            name: found
            for name in candidates(spec)
            if (found := patience.left_out(name, spec)) is not None
        }
        names = [n for n in candidates(spec) if n in only and n not in smaller]
        (row,) = suite.rows(processes, [spec], names, how)
        patience.look_at(row)
        row.entries += [
            Entry(name, why=f"it took too long on {label(found)}")
            for name, found in smaller.items()
            if name in only
        ]
        yield row


def compile_kernels(processes: Pool) -> None:
    """Have this package compile its kernels, which it does once on a machine."""
    peer = PEERS[OURS]
    for spec in TINY + [ROWS[0], ROWS[7]]:
        request = {"do": "prepare", "function": peer.function, "spec": spec}
        processes.ask(OURS, peer.environment, MOST_COMPILING, **request)
    processes.forget()


def overview(rows: Sequence[Row]) -> str:
    """Return a line for each workload: ours, the fastest peer, their ratio and first steps."""
    header = (
        *("workload", "this package (ms)", "fastest peer (ms)", "peer", "ratio"),
        *("first gradient (s)", "peer's first (s)"),
    )
    lines = []
    for row in rows:
        ours, peer = row.entry(OURS), row.fastest_peer
        figures = ["-", "none finished", "-", "-"]
        if peer is not None:
            figures = [
                report.milliseconds(peer.median),
                PEERS[peer.name].label,
                f"{peer.median / ours.median:,.1f}",
                f"{peer.first:.1f}",
            ]
        lines.append(
            [
                *(label(row.spec), report.milliseconds(ours.median), *figures[:3]),
                *(f"{ours.first:.2f}", figures[3]),
            ]
        )
    return harness.table(header, lines)


def not_run(rows: Sequence[Row]) -> str:
    """Return who was not run on what, and why."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for entry in row.entries:
            if entry.why:
                reasons.setdefault((entry.name, entry.why), []).append(label(row.spec))
    notes = [
        f"- {PEERS[name].label}: {'; '.join(where)}: {why}"
        for (name, why), where in reasons.items()
    ]
    return "\n".join(["## Not run", "", *(notes or ["Nobody."])])


def growth(name: str, rows: Sequence[Row]) -> str:
    """Return this package's medians against one size, and how they grow with it."""
    sizes = np.array([row.spec[name] for row in rows], dtype=float)
    medians = np.array([row.entry(OURS).median for row in rows])
    if name == "qubits":
        slope = np.polyfit(np.log(sizes), np.log(medians), 1)[0]
        fitted = f"The time grows as the power {slope:.2f} of the number of qubits."
    else:
        slope = np.polyfit(sizes, np.log2(medians), 1)[0]
        fitted = f"The time grows by the factor {2**slope:.2f} for each layer."
    figures = [report.milliseconds(median) for median in medians]
    lines = [["this package (ms)", *figures]]
    text = harness.table([name, *(f"{size:g}" for size in sizes)], lines)
    return f"### {label(rows[0].spec)} to {label(rows[-1].spec)}\n\n{text}\n\n{fitted}"


def main() -> None:
    """Compare, time, print, and save after each row."""
    parser = suite.parser(__doc__)
    parser.set_defaults(repeats=7, compile_budget=60)
    parser.add_argument(
        "--rows", type=int, nargs="+", metavar="ROW", help=f"which of the {len(ROWS)}, from 1"
    )
    parser.add_argument(
        "--name", default=NAME, help=f"of the files of results, so that parts stay (default {NAME})"
    )
    parser.add_argument("--list", action="store_true", help="print the rows and do nothing else")
    parser.add_argument("--no-growth", action="store_true", help="without growth by qubits, layers")
    options = parser.parse_args()
    specs = TINY if options.quick else ROWS
    if options.list:
        print("\n".join(f"{place:3} {label(spec)}" for place, spec in enumerate(specs, 1)))
        return
    specs = [specs[row - 1] for row in options.rows or range(1, len(specs) + 1)]
    used = [name for spec in specs for name in candidates(spec)]
    names, how = suite.chosen(dict.fromkeys(used), options), suite.method(options)
    sizes, base = (TINY_GROWTH, TINY_BASE) if options.quick else (GROWTH, BASE)
    rows: list[Row] = []
    grown: dict[str, list[Row]] = {}
    with suite.pool(options) as processes:
        compile_kernels(processes)
        packages = suite.packages(processes, names)
        conditions = report.conditions(how, processes.cores, packages)
        method = {"method": vars(how), "cores": processes.cores, "packages": packages}

        def save() -> str:
            parts = [
                "# Wide circuits, and QAOA",
                overview(rows),
                not_run(rows),
                *(["## Growth"] if grown else []),
                *(growth(name, found) for name, found in grown.items()),
                *(report.details(row) for row in rows),
                conditions,
            ]
            everything = [*rows, *(row for found in grown.values() for row in found)]
            text = "\n\n".join(parts)
            harness.save(options.name, text, report.facts(everything, **method), options.output)
            return text

        for row in compare(processes, specs, names, how):
            rows.append(row)
            save()
        if not options.no_growth:
            for name, values in sizes.items():
                varied = [CHAIN | base | {name: value} for value in values]
                grown[name] = list(suite.rows(processes, varied, [OURS], how))
        print(save(), flush=True)


if __name__ == "__main__":
    main()
