# SPDX-License-Identifier: Apache-2.0
"""How long a new circuit takes until its first gradient is there.

In a warm process: the package is imported and has differentiated another circuit of the same size;
then one that it has not seen comes, with other axes and another ring, from its description to the
gradient. In a fresh process: from starting Python to the gradient of a circuit that an earlier
process has differentiated, so that caches on disk are warm, JAX's own among them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence

import adjoint_reference
import harness
import report
import suite
from comparison import verify
from peers.registry import OURS, PEERS
from processes import START, NotRun, Pool
from workloads import Spec, build, label

NAME = "first_gradient"
SIZES = [(4, 2, 64), (8, 3, 32), (12, 3, 8)]
TINY = [(3, 2, 2)]
CANDIDATES = (
    "tensorcircuit-unrolled",
    "tensorcircuit-scanned",
    "tensorcircuit-searched",
    "tfq",
    "mindquantum-total",
    "pennylane-backprop",
)
# Its order is searched anew in each process, so JAX's cache on disk never holds its program.
NEVER_CACHED = "tensorcircuit-searched"
Seconds = dict[str, list[float]]
Size = tuple[int, int, int]


def spec_of(size: Size, variant: int) -> Spec:
    """Return a circuit of a size; each variant is another circuit."""
    qubits, layers, batch = size
    sizes = {"qubits": qubits, "layers": layers, "batch": batch}
    return {"kind": "layered", **sizes, "variant": variant}


def warm(pool: Pool, size: Size, names: Sequence[str], options: argparse.Namespace) -> Seconds:
    """Return the seconds to the first gradient of new circuits in a warm process."""

    def first(name: str, variant: int) -> float:
        peer, spec = PEERS[name], spec_of(size, variant)
        pool.ask(name, peer.environment, START, do="load", function=peer.function)
        limit, request = options.compile_budget, {"function": peer.function, "spec": spec}
        answer = pool.ask(name, peer.environment, limit, do="prepare", **request)
        verify(name, spec, answer, adjoint_reference.step(build(spec)))
        return float(answer["seconds"])

    seconds = in_turns(names, first, options.repeats)
    pool.forget()
    return seconds


def fresh(pool: Pool, size: Size, names: Sequence[str], options: argparse.Namespace) -> Seconds:
    """Return the seconds from the start of a process to its first gradient, with warm caches."""
    spec = spec_of(size, 0)
    expected = adjoint_reference.step(build(spec))

    def first(name: str, _: int) -> float:
        peer = PEERS[name]
        start = time.perf_counter()
        process = pool.start(peer.environment, variables)
        try:
            process.ask(START, do="load", function=peer.function)
            limit, request = options.compile_budget, {"function": peer.function, "spec": spec}
            answer = process.ask(limit, do="prepare", **request)
            seconds = time.perf_counter() - start
        finally:
            process.close()
        verify(name, spec, answer, expected)
        return seconds

    with tempfile.TemporaryDirectory() as cache:
        # https://docs.jax.dev/en/latest/persistent_compilation_cache.html
        variables = {
            "JAX_COMPILATION_CACHE_DIR": cache,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        return in_turns(names, first, options.repeats)


def in_turns(names: Sequence[str], first: Callable[[str, int], float], repeats: int) -> Seconds:
    """Return what ``first`` took for each candidate, in turns; call 0 warms up."""
    seconds: Seconds = {name: [] for name in names}
    for repeat in range(repeats + 1):
        for name in list(seconds):
            try:
                taken = first(name, repeat)
            except NotRun as reason:
                if name == OURS:  # without it there is nothing to compare
                    raise SystemExit(f"{name} not run: {reason}") from None
                print(f"{name} not run: {reason}", flush=True)
                del seconds[name]
                continue
            if repeat:
                seconds[name].append(taken)
    return seconds


def table(size: Size, names: Sequence[str], seconds: Seconds) -> str:
    """Return medians and ranges, and the ratio to ours."""
    lines = []
    for name in names:
        found = seconds.get(name)
        if not found:
            lines.append([PEERS[name].label, "not run", "", ""])
            continue
        timing = harness.Timing(name, found)
        ratio = timing.median / harness.Timing(OURS, seconds[OURS]).median
        spread = f"{min(found):.3f} to {max(found):.3f}"
        lines.append([PEERS[name].label, f"{timing.median:.3f}", spread, f"{ratio:,.1f}"])
    header = ("candidate", "median (s)", "range (s)", "this package is faster by")
    return f"### {label(spec_of(size, 0))}\n\n{harness.table(header, lines)}"


def main() -> None:
    """Time, print and save."""
    parser = suite.parser(__doc__)
    parser.set_defaults(repeats=3)
    options = parser.parse_args()
    sizes = TINY if options.quick else SIZES
    names = suite.chosen(CANDIDATES, options)
    parts, facts = ["# Time to the first gradient"], {}
    with suite.pool(options) as pool:
        for title, measure in (("a warm", warm), ("a fresh", fresh)):
            parts.append(f"## A circuit in {title} process")
            asked = [name for name in names if measure is warm or name != NEVER_CACHED]
            for size in sizes if measure is warm else sizes[:2]:
                seconds = measure(pool, size, asked, options)
                parts.append(table(size, asked, seconds))
                print(parts[-1], flush=True)
                facts[f"{measure.__name__} {label(spec_of(size, 0))}"] = seconds
        packages = suite.packages(pool, names)
        text = (
            f"One run, candidates in turns, {options.repeats} circuits or processes each after one "
            f"that warms up, all with {pool.cores} cores and nothing else running. Values and "
            "gradients agreed with the reference."
        )
        parts += ["## Conditions", text, report.system(pool.cores, packages)]
    suite.save(NAME, parts, facts | {"packages": packages}, options.output)


if __name__ == "__main__":
    main()
