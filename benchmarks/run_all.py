# SPDX-License-Identifier: Apache-2.0
"""Make the candidates' environments and run the benchmarks, one after the other.

The Python that runs this is the environment ``main``: it needs ``requirements/main.txt``.

    python benchmarks/run_all.py                                 # everything; takes hours
    python benchmarks/run_all.py exact_step --without qtm        # one benchmark, less to install
    python benchmarks/run_all.py --quick                         # tiny workloads: does it work?
    python benchmarks/run_all.py exact_step -- --rows 1 2 3      # options of the benchmark
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import environments

HERE = Path(__file__).parent
# These need no environment but main.
ALONE = (
    *("primitive", "sampler", "shift_step", "second_order", "call", "construction", "optimizers"),
    *("choice", "layer_accuracy", "amplitudes", "kernels"),
)
COMPARING = ("exact_step", "probabilities", "energy_gradient", "sweeps", "first_gradient", "wide")
QUICK = {
    **dict.fromkeys(COMPARING, ("--quick", "--repeats", "3", "--turn", "0.05")),
    **dict.fromkeys(
        ALONE[:3], ("--qubits", "2", "--layers", "1", "--batch", "2", "--repeats", "3")
    ),
    "second_order": ("--repeats", "3"),
    "call": ("--repeats", "3", "--calls", "10", "--backend", "aot_eager"),
    "construction": ("--quick", "--repeats", "1"),
    "optimizers": ("--quick",),
    "layer_accuracy": ("--quick",),
    "amplitudes": ("--qubits", "2", "--batch", "2", "--repeats", "3"),
    "kernels": ("--qubits", "2", "--points", "20", "--pairs", "4", "--repeats", "1"),
    "choice": ("--cases", "8", "--budget", "0.01"),
}


def main() -> int:
    """Return the number of benchmarks that failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(COMPARING + ALONE))
    parser.add_argument("--quick", action="store_true", help="tiny workloads, nothing is kept")
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        choices=environments.OTHERS,
        help="an environment to do without: its candidates are recorded as not run",
    )
    parser.add_argument(
        "--environments", type=Path, default=environments.FOLDER, help="where they are made"
    )
    arguments = sys.argv[1:]
    split = arguments.index("--") if "--" in arguments else len(arguments)
    options, further = parser.parse_args(arguments[:split]), arguments[split + 1 :]
    names = options.names or [*COMPARING, *ALONE]
    if unknown := set(names) - set(COMPARING + ALONE):
        parser.error(f"expected some of {', '.join(COMPARING + ALONE)}; got {', '.join(unknown)}")

    for name in environments.OTHERS:
        if name not in options.without and set(names) & set(COMPARING):
            try:
                environments.make(name, options.environments)
            except (OSError, subprocess.CalledProcessError) as error:
                print(f"Environment '{name}': {error}. Its candidates are not run.", flush=True)
    failed = 0
    for name in names:
        command = [sys.executable, str(HERE / f"{name}.py")]
        if name in COMPARING:
            command += ["--environments", str(options.environments)]
        if options.quick:
            command += [*QUICK[name], "--output", str(options.environments / "quick")]
        print(f"\n== {name}\n", flush=True)
        failed += subprocess.run([*command, *further]).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
